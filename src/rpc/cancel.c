// cancel.c - a flag that cancels every call it was given to, now and later.
//
// Invariant: links are added and removed, and calls cancelled, under the lock; so after od_cancel_remove nobody
// touches the call, and a call is either cancelled by the fire or refused by od_cancel_add.
#include "rpc/channel_internal.h"

#include "base/alloc.h"
#include "rpc/runtime.h"

struct od_cancel {
    atomic_uint references;
    atomic_bool fired;
    pthread_mutex_t lock;
    struct od_cancel_link *first;
};

struct od_cancel *od_cancel_new(void)
{
    struct od_cancel *cancel = od_calloc(1, sizeof *cancel);
    if (cancel) {
        atomic_init(&cancel->references, 1);
        pthread_mutex_init(&cancel->lock, NULL);
    }
    return cancel;
}

struct od_cancel *od_cancel_ref(struct od_cancel *cancel)
{
    if (cancel)
        atomic_fetch_add_explicit(&cancel->references, 1, memory_order_relaxed);
    return cancel;
}

void od_cancel_unref(struct od_cancel *cancel)
{
    if (!cancel || atomic_fetch_sub_explicit(&cancel->references, 1, memory_order_acq_rel) != 1)
        return;
    pthread_mutex_destroy(&cancel->lock);
    od_free(cancel);
}

void od_cancel_fire(struct od_cancel *cancel)
{
    if (!cancel)
        return;
    pthread_mutex_lock(&cancel->lock);
    bool first_time = !atomic_exchange(&cancel->fired, true);
    for (struct od_cancel_link *link = cancel->first; first_time && link && !od_rpc_forked(); link = link->next)
        grpc_call_cancel(link->call, NULL);
    pthread_mutex_unlock(&cancel->lock);
}

bool od_cancel_fired(const struct od_cancel *cancel)
{
    return cancel && atomic_load(&cancel->fired);
}

bool od_cancel_add(struct od_cancel *cancel, struct od_cancel_link *link, grpc_call *call)
{
    *link = (struct od_cancel_link){0};
    if (!cancel)
        return true;
    pthread_mutex_lock(&cancel->lock);
    bool fired = atomic_load(&cancel->fired);
    if (!fired) {
        link->cancel = cancel;
        link->call = call;
        link->next = cancel->first;
        if (link->next)
            link->next->previous = link;
        cancel->first = link;
        od_cancel_ref(cancel);
    }
    pthread_mutex_unlock(&cancel->lock);
    return !fired;
}

void od_cancel_remove(struct od_cancel_link *link)
{
    struct od_cancel *cancel = link->cancel;
    if (!cancel)
        return;
    pthread_mutex_lock(&cancel->lock);
    if (link->previous)
        link->previous->next = link->next;
    else
        cancel->first = link->next;
    if (link->next)
        link->next->previous = link->previous;
    link->cancel = NULL;
    pthread_mutex_unlock(&cancel->lock);
    od_cancel_unref(cancel);
}
