// read_ahead.c - see read_ahead.h.
#include "client/read_ahead.h"

#include "base/alloc.h"
#include "os/thread.h"

#include <string.h>

#define RING_FIRST 16u

void od_read_ahead_init(struct od_read_ahead *ahead, uint64_t limit)
{
    memset(ahead, 0, sizeof *ahead);
    pthread_mutex_init(&ahead->lock, NULL);
    od_cond_init(&ahead->readable);
    od_cond_init(&ahead->writable);
    ahead->limit = limit;
}

static void drop_batches(struct od_read_ahead *ahead)
{
    for (; ahead->count; ahead->count--) {
        od_batch_unref(ahead->ring[ahead->head]);
        ahead->head = (ahead->head + 1) % ahead->capacity;
    }
    ahead->bytes = 0;
}

void od_read_ahead_release(struct od_read_ahead *ahead)
{
    drop_batches(ahead);
    od_free(ahead->ring);
    pthread_cond_destroy(&ahead->writable);
    pthread_cond_destroy(&ahead->readable);
    pthread_mutex_destroy(&ahead->lock);
}

// Unlocks, and tells whoever waits that pop has something to say (A2).
static void unlock_and_wake(struct od_read_ahead *ahead)
{
    struct od_waker wakers[OD_WAKERS_MAX];
    size_t count = ahead->waker_count;
    memcpy(wakers, ahead->wakers, count * sizeof *wakers);
    ahead->waker_count = 0;
    pthread_cond_signal(&ahead->readable);
    pthread_mutex_unlock(&ahead->lock);
    for (size_t i = 0; i < count; i++)
        wakers[i].wake(wakers[i].argument);
}

// Keeps a waker. When there are too many, the longest waiting one is given back, to be called.
static struct od_waker leave_waker(struct od_read_ahead *ahead, struct od_waker waker)
{
    struct od_waker first = {0};
    if (ahead->waker_count == OD_WAKERS_MAX) {
        first = ahead->wakers[0];
        ahead->waker_count--;
        memmove(ahead->wakers, ahead->wakers + 1, ahead->waker_count * sizeof waker);
    }
    ahead->wakers[ahead->waker_count++] = waker;
    return first;
}

bool od_read_ahead_full(struct od_read_ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    bool full = ahead->count && ahead->bytes >= ahead->limit && !ahead->stopped;
    pthread_mutex_unlock(&ahead->lock);
    return full;
}

static bool ring_grow(struct od_read_ahead *ahead)
{
    size_t capacity = ahead->capacity ? ahead->capacity * 2 : RING_FIRST;
    struct od_batch **ring = od_alloc(capacity * sizeof(struct od_batch *));
    if (!ring)
        return false;
    for (size_t i = 0; i < ahead->count; i++)
        ring[i] = ahead->ring[(ahead->head + i) % ahead->capacity];
    od_free(ahead->ring);
    ahead->ring = ring;
    ahead->capacity = capacity;
    ahead->head = 0;
    return true;
}

static void fail_locked(struct od_read_ahead *ahead, const struct od_error *failure)
{
    ahead->state = OD_READ_AHEAD_FAILED;
    ahead->failure = *failure;
    drop_batches(ahead);
}

bool od_read_ahead_push(struct od_read_ahead *ahead, struct od_batch *batch)
{
    pthread_mutex_lock(&ahead->lock);
    while (ahead->count && ahead->bytes >= ahead->limit && !ahead->stopped)
        pthread_cond_wait(&ahead->writable, &ahead->lock);
    bool taken = !ahead->stopped && ahead->state == OD_READ_AHEAD_OPEN;
    if (taken && ahead->count == ahead->capacity && !ring_grow(ahead)) {
        struct od_error failure;
        (void)od_fail(&failure, OD_NO_MEMORY, "no memory for the batches that were read ahead");
        fail_locked(ahead, &failure);
        taken = false;
    }
    if (taken) {
        ahead->ring[(ahead->head + ahead->count++) % ahead->capacity] = batch;
        ahead->bytes += batch->held_bytes;
    }
    unlock_and_wake(ahead);
    if (!taken)
        od_batch_unref(batch);
    return taken;
}

void od_read_ahead_finish(struct od_read_ahead *ahead, const struct od_error *failure)
{
    pthread_mutex_lock(&ahead->lock);
    if (ahead->state == OD_READ_AHEAD_OPEN) {
        if (failure)
            fail_locked(ahead, failure);
        else
            ahead->state = OD_READ_AHEAD_ENDED;
    }
    unlock_and_wake(ahead);
}

enum od_pop od_read_ahead_pop(struct od_read_ahead *ahead, struct od_batch **batch, struct od_waker waker,
                              struct od_error *err)
{
    enum od_pop answer;
    struct od_waker early = {0};
    pthread_mutex_lock(&ahead->lock);
    while (!waker.wake && !ahead->count && ahead->state == OD_READ_AHEAD_OPEN && !ahead->stopped)
        pthread_cond_wait(&ahead->readable, &ahead->lock);
    if (ahead->end_told) {
        answer = OD_POP_END;
    } else if (ahead->stopped) {
        answer = OD_POP_FAILED;
        (void)od_fail(err, OD_CANCELLED, "the query was cancelled");
    } else if (ahead->state == OD_READ_AHEAD_FAILED) {
        answer = OD_POP_FAILED;
        if (err)
            *err = ahead->failure;
    } else if (ahead->count) {
        answer = OD_POP_BATCH;
        *batch = ahead->ring[ahead->head];
        ahead->head = (ahead->head + 1) % ahead->capacity;
        ahead->count--;
        bool was_full = ahead->bytes >= ahead->limit;
        ahead->bytes -= (*batch)->held_bytes;
        if (was_full)
            pthread_cond_signal(&ahead->writable);
    } else if (ahead->state == OD_READ_AHEAD_ENDED) {
        answer = OD_POP_END;
        ahead->end_told = true;
    } else {
        answer = OD_POP_EMPTY;
        early = leave_waker(ahead, waker);
    }
    pthread_mutex_unlock(&ahead->lock);
    if (early.wake)
        early.wake(early.argument);
    return answer;
}

void od_read_ahead_stop(struct od_read_ahead *ahead)
{
    pthread_mutex_lock(&ahead->lock);
    ahead->stopped = true;
    drop_batches(ahead);
    pthread_cond_broadcast(&ahead->writable);
    unlock_and_wake(ahead);
}
