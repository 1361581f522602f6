// timer.c - a binary heap of deadlines and the thread that sleeps until the first; see timer.h.
//
// Invariants: the heap is ordered by (at_ms, id), so callbacks of one time run in the order they were scheduled;
// `running` is the id of the callback under way, 0 when there is none. All under the lock.
#include "os/timer.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "os/thread.h"

struct timer {
    uint64_t at_ms;
    uint64_t id;
    void (*run)(void *argument);
    void *argument;
};

struct od_timer_service {
    pthread_mutex_t lock;
    pthread_cond_t changed; // for the thread: a new first timer, or stop
    pthread_cond_t ran;     // for od_timer_cancel_wait
    struct timer *heap;
    size_t count, capacity;
    uint64_t last_id;
    uint64_t running;
    bool stopping;
    struct od_thread thread;
};

static bool before(const struct timer *left, const struct timer *right)
{
    return left->at_ms != right->at_ms ? left->at_ms < right->at_ms : left->id < right->id;
}

static void swap(struct timer *left, struct timer *right)
{
    struct timer kept = *left;
    *left = *right;
    *right = kept;
}

static void sift_up(struct timer *heap, size_t at)
{
    while (at > 0 && before(&heap[at], &heap[(at - 1) / 2])) {
        swap(&heap[at], &heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
}

static void sift_down(struct timer *heap, size_t count, size_t at)
{
    for (;;) {
        size_t least = at;
        for (size_t child = 2 * at + 1; child <= 2 * at + 2 && child < count; child++)
            if (before(&heap[child], &heap[least]))
                least = child;
        if (least == at)
            return;
        swap(&heap[at], &heap[least]);
        at = least;
    }
}

static void remove_at(struct od_timer_service *service, size_t at)
{
    service->count--;
    if (at == service->count)
        return;
    service->heap[at] = service->heap[service->count];
    sift_down(service->heap, service->count, at);
    sift_up(service->heap, at);
}

static void timer_main(void *opaque)
{
    struct od_timer_service *service = opaque;
    pthread_mutex_lock(&service->lock);
    while (!service->stopping) {
        if (service->count == 0 || service->heap[0].at_ms > od_clock_ms()) {
            od_cond_wait_until(&service->changed, &service->lock, service->count ? service->heap[0].at_ms : UINT64_MAX);
            continue;
        }
        struct timer due = service->heap[0];
        remove_at(service, 0);
        service->running = due.id;
        pthread_mutex_unlock(&service->lock);
        due.run(due.argument);
        pthread_mutex_lock(&service->lock);
        service->running = 0;
        pthread_cond_broadcast(&service->ran);
    }
    pthread_mutex_unlock(&service->lock);
}

od_code od_timer_service_start(struct od_timer_service **service, struct od_error *err)
{
    struct od_timer_service *made = od_calloc(1, sizeof *made);
    if (!made)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the timers");
    pthread_mutex_init(&made->lock, NULL);
    od_cond_init(&made->changed);
    od_cond_init(&made->ran);
    od_code rc = od_thread_start(&made->thread, "od-timer", timer_main, made, err);
    if (rc != OD_OK)
        od_timer_service_stop(made);
    else
        *service = made;
    return rc;
}

void od_timer_service_stop(struct od_timer_service *service)
{
    if (!service)
        return;
    pthread_mutex_lock(&service->lock);
    service->stopping = true;
    pthread_cond_broadcast(&service->changed);
    pthread_mutex_unlock(&service->lock);
    od_thread_join(&service->thread);
    pthread_cond_destroy(&service->changed);
    pthread_cond_destroy(&service->ran);
    pthread_mutex_destroy(&service->lock);
    od_free(service->heap);
    od_free(service);
}

static od_code make_room(struct od_timer_service *service, struct od_error *err)
{
    if (service->count < service->capacity)
        return OD_OK;
    if (service->count == OD_TIMERS_MAX)
        return od_fail(err, OD_LIMIT, "more than %u timers are pending", OD_TIMERS_MAX);
    size_t capacity = service->capacity ? service->capacity * 2 : 16;
    struct timer *heap = od_realloc(service->heap, capacity * sizeof *heap);
    if (!heap)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a timer");
    service->heap = heap;
    service->capacity = capacity;
    return OD_OK;
}

od_code od_timer_schedule(struct od_timer_service *service, uint64_t at_ms, void (*run)(void *argument), void *argument,
                          uint64_t *id, struct od_error *err)
{
    pthread_mutex_lock(&service->lock);
    od_code rc = make_room(service, err);
    if (rc == OD_OK) {
        uint64_t mine = ++service->last_id;
        service->heap[service->count++] = (struct timer){at_ms, mine, run, argument};
        sift_up(service->heap, service->count - 1);
        if (service->heap[0].id == mine)
            pthread_cond_signal(&service->changed);
        if (id)
            *id = mine;
    }
    pthread_mutex_unlock(&service->lock);
    return rc;
}

static bool cancel_locked(struct od_timer_service *service, uint64_t id)
{
    for (size_t i = 0; i < service->count; i++)
        if (service->heap[i].id == id) {
            remove_at(service, i);
            return true;
        }
    return false;
}

bool od_timer_cancel(struct od_timer_service *service, uint64_t id)
{
    pthread_mutex_lock(&service->lock);
    bool cancelled = cancel_locked(service, id);
    pthread_mutex_unlock(&service->lock);
    return cancelled;
}

bool od_timer_cancel_wait(struct od_timer_service *service, uint64_t id)
{
    pthread_mutex_lock(&service->lock);
    bool cancelled = cancel_locked(service, id);
    while (id != 0 && service->running == id && !od_thread_is_current(&service->thread))
        pthread_cond_wait(&service->ran, &service->lock);
    pthread_mutex_unlock(&service->lock);
    return cancelled;
}
