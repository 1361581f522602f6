// batch_queue.c - the queue between DuckDB's threads and one consumer; invariants Q1-Q6 are in batch_queue.h.
//
// The batches lie in one array, sorted by index, with push order kept inside an index. `items[first]` up to
// `first + ready` may be sent (their index is at or below `smallest`), the rest is ahead. Indices come mostly in
// ascending order, so an insertion moves little; an unordered queue uses index 0 for all.
//
// Who may go on (producer_blocked): a producer at the smallest index is held back only by what can be sent already,
// because the consumer alone can make room for it (Q2); one ahead also by the bytes ahead and by all bytes inside.
// Each producer asks before it encodes, so a queue may pass a limit by one batch per producer.
//
// Spilling (Q7): whether a batch goes to the store is decided before it is inserted, so around the change a batch may go
// either way; its place in the order is its item's, wherever its bytes are.
//
// States: OPEN -> FINISHED (od_batch_queue_finish, out of memory in push, or od_batch_queue_stop). A finished queue takes
// nothing, holds nobody back, and has a failure, or batches to give out, or neither (the end).
// Locks: the queue's lock, then the budget's. Wakers, callbacks, the store and releases of batches come outside both (Q4).
#include "arrow/batch_queue.h"

#include "arrow/budget.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <time.h>

struct item {
    uint64_t index;
    struct od_batch *batch; // NULL: in the store, at `place`
    size_t held_bytes;      // 0 in the store
    uint64_t place, rows;
    size_t bytes;
};

struct waiter {
    struct waiter *next;
    uint64_t index;
    struct od_waker waker;
};

struct od_batch_queue {
    atomic_size_t references;
    struct od_batch_queue_options options;
    struct od_budget_member member;
    atomic_bool stopped; // written under the lock
    const struct od_batch_store_ops *store_ops; // with `store`: set once, under the lock
    void *store;

    pthread_mutex_t lock;
    pthread_cond_t changed; // for od_batch_queue_wait
    struct item *items;
    size_t capacity, first, count, ready;
    uint64_t ready_bytes, ahead_bytes;
    uint64_t smallest; // no batch below it can come
    bool finished, spilling;
    struct waiter *waiters;
    struct od_waker on_ready;
    struct od_error failure; // code OD_OK: none
};

static void lock(struct od_batch_queue *queue)
{
    pthread_mutex_lock(&queue->lock);
}

static void unlock(struct od_batch_queue *queue)
{
    pthread_mutex_unlock(&queue->lock);
}

// ---- what may be sent, and who is held back (all under the lock)

static bool may_be_sent(const struct od_batch_queue *queue, uint64_t index)
{
    return queue->finished || index <= queue->smallest;
}

static bool budget_blocks(struct od_batch_queue *queue, uint64_t counted, uint64_t own)
{
    struct od_budget *budget = queue->options.budget;
    return budget && counted >= od_budget_guaranteed(budget) && od_budget_blocks(budget, own, &queue->member);
}

static bool producer_blocked(struct od_batch_queue *queue, uint64_t index)
{
    if (queue->finished || queue->spilling)
        return false;
    if (may_be_sent(queue, index))
        return queue->ready_bytes >= queue->options.sendable_bytes ||
               budget_blocks(queue, queue->ready_bytes, queue->ahead_bytes);
    uint64_t held = queue->ready_bytes + queue->ahead_bytes;
    return queue->ahead_bytes >= queue->options.ahead_bytes ||
           held >= queue->options.ahead_bytes + queue->options.sendable_bytes || budget_blocks(queue, held, 0);
}

// Takes the waiters that may go on out of the queue.
static struct waiter *collect_waiters(struct od_batch_queue *queue)
{
    struct waiter *free_to_go = NULL;
    for (struct waiter **link = &queue->waiters; *link;) {
        struct waiter *waiter = *link;
        if (producer_blocked(queue, waiter->index)) {
            link = &waiter->next;
            continue;
        }
        *link = waiter->next;
        waiter->next = free_to_go;
        free_to_go = waiter;
    }
    return free_to_go;
}

// Lets the batches after the sendable ones become sendable, up to the first that is not. True: there were some.
static bool extend_ready(struct od_batch_queue *queue)
{
    size_t before = queue->ready;
    while (queue->ready < queue->count && may_be_sent(queue, queue->items[queue->first + queue->ready].index)) {
        uint64_t bytes = queue->items[queue->first + queue->ready].held_bytes;
        queue->ready_bytes += bytes;
        queue->ahead_bytes -= bytes;
        queue->ready++;
    }
    return queue->ready > before;
}

// Takes all batches out of the books; the caller releases them outside the lock.
struct dropped {
    struct item *items;
    size_t first, count;
};

static struct dropped drop_all(struct od_batch_queue *queue)
{
    struct dropped dropped = {queue->items, queue->first, queue->count};
    if (queue->options.budget)
        od_budget_give(queue->options.budget, queue->ready_bytes + queue->ahead_bytes);
    queue->items = NULL;
    queue->capacity = queue->first = queue->count = queue->ready = 0;
    queue->ready_bytes = queue->ahead_bytes = 0;
    return dropped;
}

// ---- after the lock

static void wake_waiters(struct waiter *waiters)
{
    while (waiters) {
        struct waiter *waiter = waiters;
        waiters = waiter->next;
        waiter->waker.wake(waiter->waker.argument);
        od_free(waiter);
    }
}

static void wake_consumer(struct od_waker on_ready)
{
    if (on_ready.wake)
        on_ready.wake(on_ready.argument);
}

static void release_dropped(struct od_batch_queue *queue, struct dropped dropped)
{
    for (size_t i = 0; i < dropped.count; i++)
        od_batch_unref(dropped.items[dropped.first + i].batch);
    od_free(dropped.items);
    if (queue->options.budget)
        od_budget_wake_blocked(queue->options.budget);
}

// ---- life

static bool member_try_ref(struct od_budget_member *member)
{
    struct od_batch_queue *queue =
        (struct od_batch_queue *)(void *)((char *)member - offsetof(struct od_batch_queue, member));
    size_t references = atomic_load(&queue->references);
    while (references > 0)
        if (atomic_compare_exchange_weak(&queue->references, &references, references + 1))
            return true;
    return false;
}

static void member_room(struct od_budget_member *member)
{
    struct od_batch_queue *queue =
        (struct od_batch_queue *)(void *)((char *)member - offsetof(struct od_batch_queue, member));
    lock(queue);
    struct waiter *waiters = collect_waiters(queue);
    unlock(queue);
    wake_waiters(waiters);
    od_batch_queue_unref(queue);
}

od_code od_batch_queue_new(const struct od_batch_queue_options *options, struct od_batch_queue **queue,
                           struct od_error *err)
{
    struct od_batch_queue *made = od_calloc(1, sizeof *made);
    if (!made)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a batch queue");
    atomic_init(&made->references, 1);
    made->options = *options;
    if (!made->options.sendable_bytes)
        made->options.sendable_bytes = OD_QUEUE_SENDABLE_BYTES;
    if (!made->options.ahead_bytes)
        made->options.ahead_bytes = OD_QUEUE_AHEAD_BYTES;
    made->member.try_ref = member_try_ref;
    made->member.room = member_room;
    pthread_mutex_init(&made->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&made->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    *queue = made;
    return OD_OK;
}

struct od_batch_queue *od_batch_queue_ref(struct od_batch_queue *queue)
{
    atomic_fetch_add(&queue->references, 1);
    return queue;
}

void od_batch_queue_unref(struct od_batch_queue *queue)
{
    if (!queue || atomic_fetch_sub(&queue->references, 1) > 1)
        return;
    if (queue->options.budget)
        od_budget_leave(queue->options.budget, &queue->member);
    // A waker that nobody has called belongs to a producer that still waits: it must hear of the end (Q3).
    struct waiter *waiters = queue->waiters;
    release_dropped(queue, drop_all(queue));
    wake_waiters(waiters);
    if (queue->store)
        queue->store_ops->free(queue->store);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
    od_free(queue);
}

// ---- producers

bool od_batch_queue_full(struct od_batch_queue *queue, uint64_t index, struct od_waker waker)
{
    if (!queue->options.ordered)
        index = 0;
    lock(queue);
    bool full = producer_blocked(queue, index);
    if (full) {
        struct waiter *waiter = od_alloc(sizeof *waiter);
        if (waiter) {
            *waiter = (struct waiter){queue->waiters, index, waker};
            queue->waiters = waiter;
        }
        // Without memory the producer goes on: one batch too many is better than a producer nobody will wake.
        full = waiter != NULL;
    }
    unlock(queue);
    return full;
}

static bool make_room(struct od_batch_queue *queue)
{
    if (queue->first + queue->count < queue->capacity)
        return true;
    if (queue->first > queue->capacity / 2) {
        memmove(queue->items, queue->items + queue->first, queue->count * sizeof *queue->items);
        queue->first = 0;
        return true;
    }
    size_t capacity = queue->capacity ? queue->capacity * 2 : 16;
    struct item *items = od_realloc(queue->items, capacity * sizeof *items);
    if (!items)
        return false;
    queue->items = items;
    queue->capacity = capacity;
    return true;
}

static void insert(struct od_batch_queue *queue, const struct item *item)
{
    struct item *items = queue->items + queue->first;
    size_t at = queue->count;
    while (at > 0 && items[at - 1].index > item->index)
        at--;
    memmove(items + at + 1, items + at, (queue->count - at) * sizeof *items);
    items[at] = *item;
    queue->count++;
    queue->ahead_bytes += item->held_bytes;
    if (at < queue->ready) { // below the smallest index: the producer broke its word, but nothing may be lost
        queue->ahead_bytes -= item->held_bytes;
        queue->ready_bytes += item->held_bytes;
        queue->ready++;
    }
}

// Under the lock. The first end counts.
static bool set_finished(struct od_batch_queue *queue, const struct od_error *failure)
{
    if (queue->finished)
        return false;
    queue->finished = true;
    if (failure)
        queue->failure = *failure;
    return true;
}

static bool spills(struct od_batch_queue *queue)
{
    lock(queue);
    bool spilling = queue->spilling && !queue->finished;
    unlock(queue);
    return spilling;
}

// The store failed: neither may more come, nor can all that came be given out.
static void fail(struct od_batch_queue *queue, const struct od_error *failure)
{
    lock(queue);
    if (queue->failure.code == OD_OK)
        queue->failure = *failure;
    queue->finished = true;
    atomic_store(&queue->stopped, true);
    struct dropped dropped = drop_all(queue);
    struct waiter *waiters = collect_waiters(queue);
    struct od_waker on_ready = queue->on_ready;
    pthread_cond_broadcast(&queue->changed);
    unlock(queue);
    release_dropped(queue, dropped);
    wake_waiters(waiters);
    wake_consumer(on_ready);
}

void od_batch_queue_push(struct od_batch_queue *queue, uint64_t index, struct od_batch *batch)
{
    struct item item = {.index = queue->options.ordered ? index : 0,
                        .batch = batch,
                        .held_bytes = batch->held_bytes,
                        .rows = batch->rows,
                        .bytes = batch->bytes};
    struct od_error failure = {0};
    struct od_waker on_ready = {0};
    if (spills(queue)) {
        if (queue->store_ops->write(queue->store, batch, &item.place, &failure) != OD_OK) {
            od_batch_unref(batch);
            fail(queue, &failure);
            return;
        }
        od_batch_unref(batch);
        item.batch = batch = NULL;
        item.held_bytes = 0;
    }
    lock(queue);
    if (!queue->finished) {
        if (make_room(queue)) {
            if (queue->options.budget)
                od_budget_take(queue->options.budget, item.held_bytes);
            size_t ready_before = queue->ready;
            insert(queue, &item);
            extend_ready(queue);
            if (queue->ready > ready_before) {
                on_ready = queue->on_ready;
                pthread_cond_broadcast(&queue->changed);
            }
            batch = NULL;
        } else {
            (void)od_fail(&failure, OD_NO_MEMORY, "out of memory for the queue of result batches");
        }
    }
    unlock(queue);
    od_batch_unref(batch);
    if (failure.code != OD_OK)
        od_batch_queue_finish(queue, &failure);
    wake_consumer(on_ready);
}

void od_batch_queue_advance(struct od_batch_queue *queue, uint64_t index)
{
    if (!queue->options.ordered)
        return;
    struct od_waker on_ready = {0};
    struct waiter *waiters = NULL;
    lock(queue);
    if (index > queue->smallest) {
        queue->smallest = index;
        if (extend_ready(queue)) {
            on_ready = queue->on_ready;
            pthread_cond_broadcast(&queue->changed);
        }
        waiters = collect_waiters(queue);
    }
    unlock(queue);
    wake_waiters(waiters);
    wake_consumer(on_ready);
}

void od_batch_queue_finish(struct od_batch_queue *queue, const struct od_error *failure)
{
    struct od_waker on_ready = {0};
    struct waiter *waiters = NULL;
    struct dropped dropped = {0};
    lock(queue);
    if (set_finished(queue, failure)) {
        if (failure)
            dropped = drop_all(queue);
        else
            extend_ready(queue);
        waiters = collect_waiters(queue);
        on_ready = queue->on_ready;
        pthread_cond_broadcast(&queue->changed);
    }
    unlock(queue);
    release_dropped(queue, dropped);
    wake_waiters(waiters);
    wake_consumer(on_ready);
}

bool od_batch_queue_stopped(const struct od_batch_queue *queue)
{
    return atomic_load(&queue->stopped);
}

bool od_batch_queue_blocked(struct od_batch_queue *queue)
{
    lock(queue);
    bool blocked = queue->waiters != NULL;
    unlock(queue);
    return blocked;
}

void od_batch_queue_spill(struct od_batch_queue *queue, const struct od_batch_store_ops *ops, void *store)
{
    void *unwanted = store;
    lock(queue);
    if (!queue->store && !queue->finished) {
        queue->store_ops = ops;
        queue->store = store;
        unwanted = NULL;
    }
    queue->spilling = !queue->finished;
    struct waiter *waiters = collect_waiters(queue);
    unlock(queue);
    if (unwanted)
        ops->free(unwanted);
    wake_waiters(waiters);
}

// ---- the consumer

static enum od_pop pop_locked(struct od_batch_queue *queue, struct item *item, struct waiter **waiters,
                              struct od_error *err)
{
    if (queue->failure.code != OD_OK) {
        if (err)
            *err = queue->failure;
        return OD_POP_FAILED;
    }
    if (queue->ready == 0)
        return queue->finished ? OD_POP_END : OD_POP_EMPTY;
    *item = queue->items[queue->first];
    queue->first++;
    queue->count--;
    queue->ready--;
    if (queue->count == 0) {
        queue->first = 0;
        queue->spilling = false; // the consumer has caught up
    }
    od_assert(item->held_bytes <= queue->ready_bytes);
    queue->ready_bytes -= item->held_bytes;
    if (queue->options.budget)
        od_budget_give(queue->options.budget, item->held_bytes);
    *waiters = collect_waiters(queue);
    return OD_POP_BATCH;
}

static enum od_pop after_pop(struct od_batch_queue *queue, enum od_pop outcome, const struct item *item,
                             struct waiter *waiters, struct od_batch **batch, struct od_error *err)
{
    struct od_error failure = {0};
    wake_waiters(waiters);
    if (outcome != OD_POP_BATCH)
        return outcome;
    if (queue->options.budget)
        od_budget_wake_blocked(queue->options.budget);
    *batch = item->batch;
    if (item->batch ||
        queue->store_ops->read(queue->store, item->place, item->bytes, item->rows, batch, &failure) == OD_OK)
        return OD_POP_BATCH;
    fail(queue, &failure);
    if (err)
        *err = failure;
    return OD_POP_FAILED;
}

enum od_pop od_batch_queue_pop(struct od_batch_queue *queue, struct od_batch **batch, struct od_error *err)
{
    struct item item = {0};
    struct waiter *waiters = NULL;
    lock(queue);
    enum od_pop outcome = pop_locked(queue, &item, &waiters, err);
    unlock(queue);
    return after_pop(queue, outcome, &item, waiters, batch, err);
}

static struct timespec deadline_after(uint64_t timeout_ms)
{
    const uint64_t forever_ms = 1000ull * 3600 * 24 * 365;
    if (timeout_ms > forever_ms)
        timeout_ms = forever_ms;
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += (time_t)(timeout_ms / 1000);
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_sec++;
        at.tv_nsec -= 1000000000;
    }
    return at;
}

enum od_pop od_batch_queue_wait(struct od_batch_queue *queue, uint64_t timeout_ms, struct od_batch **batch,
                                struct od_error *err)
{
    struct timespec deadline = deadline_after(timeout_ms);
    struct item item = {0};
    struct waiter *waiters = NULL;
    lock(queue);
    enum od_pop outcome = pop_locked(queue, &item, &waiters, err);
    bool late = false;
    while (outcome == OD_POP_EMPTY && !late) {
        late = pthread_cond_timedwait(&queue->changed, &queue->lock, &deadline) == ETIMEDOUT;
        outcome = pop_locked(queue, &item, &waiters, err);
    }
    unlock(queue);
    return after_pop(queue, outcome, &item, waiters, batch, err);
}

void od_batch_queue_on_ready(struct od_batch_queue *queue, struct od_waker callback)
{
    lock(queue);
    queue->on_ready = callback;
    unlock(queue);
}

void od_batch_queue_stop(struct od_batch_queue *queue)
{
    struct waiter *waiters = NULL;
    struct dropped dropped = {0};
    lock(queue);
    if (!atomic_load(&queue->stopped)) {
        // A consumer that asks again must not take what it got for the whole result.
        bool whole = queue->finished && queue->count == 0;
        if (!whole && queue->failure.code == OD_OK)
            (void)od_fail(&queue->failure, OD_CANCELLED, "the result is no longer wanted");
        queue->finished = true;
        atomic_store(&queue->stopped, true);
        dropped = drop_all(queue);
        waiters = collect_waiters(queue);
        pthread_cond_broadcast(&queue->changed);
    }
    unlock(queue);
    release_dropped(queue, dropped);
    wake_waiters(waiters);
}

uint64_t od_batch_queue_sendable_bytes(struct od_batch_queue *queue)
{
    lock(queue);
    uint64_t bytes = queue->ready_bytes;
    unlock(queue);
    return bytes;
}

uint64_t od_batch_queue_held_bytes(struct od_batch_queue *queue)
{
    lock(queue);
    uint64_t bytes = queue->ready_bytes + queue->ahead_bytes;
    unlock(queue);
    return bytes;
}
