// test_batch_queue.c - invariants Q1 to Q7 of the queue, one by one, and then all at once with many threads.
#include "arrow/batch_queue.h"
#include "base/limits.h"
#include "support/fault.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

// ---- batches and wakers that tell what happened to them

static atomic_int alive; // batches not yet released

static void release(void *owner)
{
    (void)owner;
    atomic_fetch_sub(&alive, 1);
}

// A batch of no bytes that holds `held`, with `rows` to recognise it by.
static struct od_batch *make(uint64_t rows, size_t held)
{
    struct od_batch *batch = od_batch_new(NULL, 0, rows, held, release, NULL);
    assert_non_null(batch);
    atomic_fetch_add(&alive, 1);
    return batch;
}

struct counter {
    atomic_int calls;
    struct od_batch_queue *relock; // not NULL: a call into the queue, which would deadlock under its lock (Q4)
};

static void count(void *argument)
{
    struct counter *counter = argument;
    atomic_fetch_add(&counter->calls, 1);
    if (counter->relock)
        (void)od_batch_queue_held_bytes(counter->relock);
}

static struct od_waker waker(struct counter *counter)
{
    return (struct od_waker){count, counter};
}

static struct od_batch_queue *make_queue(bool ordered, struct od_budget *budget, uint64_t sendable, uint64_t ahead)
{
    struct od_batch_queue_options options = {
        .budget = budget, .ordered = ordered, .sendable_bytes = sendable, .ahead_bytes = ahead};
    struct od_batch_queue *queue = NULL;
    assert_int_equal(od_batch_queue_new(&options, &queue, NULL), OD_OK);
    return queue;
}

// Rows of the next batch, or -1 when there is none to pop.
static int64_t pop(struct od_batch_queue *queue)
{
    struct od_batch *batch = NULL;
    if (od_batch_queue_pop(queue, &batch, NULL) != OD_POP_BATCH)
        return -1;
    int64_t rows = (int64_t)batch->rows;
    od_batch_unref(batch);
    return rows;
}

static enum od_pop pop_kind(struct od_batch_queue *queue, struct od_error *err)
{
    struct od_batch *batch = NULL;
    enum od_pop kind = od_batch_queue_pop(queue, &batch, err);
    od_batch_unref(batch);
    return kind;
}

// ---- a store that keeps references

enum { STORE_BATCHES = 4096 };

struct store {
    pthread_mutex_t lock;
    struct od_batch *batches[STORE_BATCHES];
    uint64_t written;
    uint64_t limit; // writes beyond fail
    bool unreadable;
};

static atomic_int stores;

static od_code store_write(void *self, const struct od_batch *batch, uint64_t *place, struct od_error *err)
{
    struct store *store = self;
    od_code rc = OD_OK;
    pthread_mutex_lock(&store->lock);
    if (store->written >= store->limit)
        rc = od_fail(err, OD_LIMIT, "the store is full");
    else
        store->batches[*place = store->written++] = od_batch_ref((struct od_batch *)(uintptr_t)batch);
    pthread_mutex_unlock(&store->lock);
    return rc;
}

static od_code store_read(void *self, uint64_t place, size_t bytes, uint64_t rows, struct od_batch **batch,
                          struct od_error *err)
{
    struct store *store = self;
    if (store->unreadable)
        return od_fail(err, OD_IO, "the store cannot be read");
    pthread_mutex_lock(&store->lock);
    *batch = store->batches[place];
    store->batches[place] = NULL; // read at most once
    pthread_mutex_unlock(&store->lock);
    assert_non_null(*batch);
    assert_int_equal((*batch)->rows, rows);
    assert_int_equal((*batch)->bytes, bytes);
    return OD_OK;
}

static void store_free(void *self)
{
    struct store *store = self;
    for (uint64_t i = 0; i < store->written; i++)
        od_batch_unref(store->batches[i]);
    pthread_mutex_destroy(&store->lock);
    free(store);
    atomic_fetch_sub(&stores, 1);
}

static const struct od_batch_store_ops STORE = {store_write, store_read, store_free};

static struct store *make_store(uint64_t limit)
{
    struct store *store = calloc(1, sizeof *store);
    assert_non_null(store);
    pthread_mutex_init(&store->lock, NULL);
    store->limit = limit;
    atomic_fetch_add(&stores, 1);
    return store;
}

static int nothing_left(void **state)
{
    (void)state;
    od_fault_disarm();
    assert_int_equal(atomic_load(&alive), 0);
    assert_int_equal(atomic_load(&stores), 0);
    return 0;
}

// ---- one invariant each

static void unordered_gives_out_by_arrival(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(false, NULL, 0, 0);
    od_batch_queue_push(queue, 9, make(1, 10));
    od_batch_queue_push(queue, 3, make(2, 10));
    od_batch_queue_push(queue, 7, make(3, 10));
    assert_int_equal(pop(queue), 1);
    assert_int_equal(pop(queue), 2);
    assert_int_equal(od_batch_queue_sendable_bytes(queue), 10);
    assert_int_equal(pop(queue), 3);
    assert_int_equal(pop_kind(queue, NULL), OD_POP_EMPTY);
    od_batch_queue_finish(queue, NULL);
    assert_int_equal(pop_kind(queue, NULL), OD_POP_END);
    od_batch_queue_unref(queue);
}

static void q1_ordered_waits_for_smaller_indices(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(true, NULL, 0, 0);
    od_batch_queue_push(queue, 5, make(50, 10));
    od_batch_queue_push(queue, 2, make(20, 10));
    od_batch_queue_push(queue, 5, make(51, 10));
    od_batch_queue_push(queue, 2, make(21, 10));
    assert_int_equal(pop(queue), -1);
    assert_int_equal(od_batch_queue_sendable_bytes(queue), 0);
    assert_int_equal(od_batch_queue_held_bytes(queue), 40);
    od_batch_queue_advance(queue, 2); // 2 itself may still be pushed, but nothing smaller
    assert_int_equal(pop(queue), 20);
    assert_int_equal(pop(queue), 21);
    od_batch_queue_push(queue, 2, make(22, 10));
    assert_int_equal(pop(queue), 22);
    assert_int_equal(pop(queue), -1);
    od_batch_queue_advance(queue, 4);
    od_batch_queue_advance(queue, 1); // never moves back
    assert_int_equal(pop(queue), -1);
    od_batch_queue_push(queue, 4, make(40, 10));
    assert_int_equal(pop(queue), 40);
    od_batch_queue_finish(queue, NULL);
    assert_int_equal(pop(queue), 50);
    assert_int_equal(pop(queue), 51);
    assert_int_equal(pop_kind(queue, NULL), OD_POP_END);
    od_batch_queue_unref(queue);
}

static void q2_the_smallest_is_not_held_back_by_those_ahead(void **state)
{
    (void)state;
    struct od_budget *budget = od_budget_new(50, 10);
    struct od_batch_queue *queue = make_queue(true, budget, 100, 60);
    struct counter smallest = {0}, ahead = {0};
    od_batch_queue_push(queue, 8, make(80, 70)); // over the ahead limit and over the budget
    assert_true(od_batch_queue_full(queue, 8, waker(&ahead)));
    assert_false(od_batch_queue_full(queue, 0, waker(&smallest)));
    od_batch_queue_push(queue, 0, make(1, 40));
    assert_false(od_batch_queue_full(queue, 0, waker(&smallest)));
    od_batch_queue_push(queue, 0, make(2, 40)); // 80 sendable: over the budget without those ahead
    assert_true(od_batch_queue_full(queue, 0, waker(&smallest)));
    assert_int_equal(pop(queue), 1);
    assert_int_equal(smallest.calls, 1);
    assert_int_equal(ahead.calls, 0);
    od_batch_queue_unref(queue);
    assert_int_equal(ahead.calls, 1); // nobody is left behind
    od_budget_free(budget);
}

static void q3_wakers_are_called_once(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(true, NULL, 10, 10);
    struct counter on_room = {0}, on_advance = {0}, on_finish = {0};
    od_batch_queue_push(queue, 0, make(1, 10));
    od_batch_queue_push(queue, 3, make(3, 10));
    assert_true(od_batch_queue_full(queue, 0, waker(&on_room)));
    assert_true(od_batch_queue_full(queue, 3, waker(&on_advance)));
    assert_true(od_batch_queue_full(queue, 9, waker(&on_finish)));
    assert_int_equal(pop(queue), 1);
    assert_int_equal(on_room.calls, 1);
    assert_int_equal(on_advance.calls, 0);
    od_batch_queue_advance(queue, 2);
    assert_int_equal(on_advance.calls, 0); // 3 is still ahead, and full
    od_batch_queue_push(queue, 9, make(9, 10));
    assert_int_equal(pop(queue), -1);
    od_batch_queue_advance(queue, 3); // 10 bytes sendable are just full for index 3
    assert_int_equal(on_advance.calls, 0);
    assert_int_equal(pop(queue), 3);
    assert_int_equal(on_advance.calls, 1);
    assert_int_equal(on_finish.calls, 0);
    od_batch_queue_finish(queue, NULL);
    od_batch_queue_stop(queue);
    assert_int_equal(on_room.calls, 1);
    assert_int_equal(on_advance.calls, 1);
    assert_int_equal(on_finish.calls, 1);
    od_batch_queue_unref(queue);
}

static void q4_wakers_and_callback_run_outside_the_lock(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(false, NULL, 10, 10);
    struct counter producer = {.relock = queue}, consumer = {.relock = queue};
    od_batch_queue_on_ready(queue, waker(&consumer));
    od_batch_queue_push(queue, 0, make(1, 10));
    assert_int_equal(consumer.calls, 1);
    assert_true(od_batch_queue_full(queue, 0, waker(&producer)));
    assert_int_equal(pop(queue), 1);
    assert_int_equal(producer.calls, 1);
    od_batch_queue_push(queue, 0, make(2, 10));
    assert_true(od_batch_queue_full(queue, 0, waker(&producer)));
    od_batch_queue_stop(queue);
    assert_int_equal(producer.calls, 2);
    od_batch_queue_finish(queue, NULL);
    assert_int_equal(consumer.calls, 2); // not after stop
    od_batch_queue_unref(queue);
}

static void q5_the_budget_counts_what_is_inside(void **state)
{
    (void)state;
    struct od_budget *budget = od_budget_new(100, 20);
    struct od_batch_queue *one = make_queue(false, budget, 1000, 0), *two = make_queue(true, budget, 1000, 1000);
    struct counter woken = {0}, own = {0};
    od_batch_queue_push(one, 0, make(1, 60));
    od_batch_queue_push(one, 0, make(2, 30));
    od_batch_queue_push(two, 1, make(3, 15));
    assert_int_equal(od_budget_used(budget), 105);
    assert_true(od_batch_queue_full(one, 0, waker(&own)));
    assert_false(od_batch_queue_full(two, 1, waker(&woken))); // its guaranteed bytes
    od_batch_queue_push(two, 1, make(4, 15));
    assert_true(od_batch_queue_full(two, 1, waker(&woken)));
    assert_int_equal(pop(one), 1);
    assert_int_equal(od_budget_used(budget), 60);
    assert_int_equal(own.calls, 1);
    assert_int_equal(woken.calls, 1); // by the other queue
    struct od_error failure = {0};
    (void)od_fail(&failure, OD_SQL, "no");
    od_batch_queue_finish(two, &failure);
    assert_int_equal(od_budget_used(budget), 30);
    od_batch_queue_stop(one);
    assert_int_equal(od_budget_used(budget), 0);
    od_batch_queue_unref(one);
    od_batch_queue_unref(two);
    od_budget_free(budget);
}

static void q6_after_stop_producers_finish(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(true, NULL, 10, 10);
    struct counter woken = {0};
    od_batch_queue_push(queue, 4, make(1, 100));
    assert_true(od_batch_queue_full(queue, 4, waker(&woken)));
    assert_false(od_batch_queue_stopped(queue));
    od_batch_queue_stop(queue);
    assert_true(od_batch_queue_stopped(queue));
    assert_int_equal(woken.calls, 1);
    assert_int_equal(atomic_load(&alive), 0);
    assert_false(od_batch_queue_full(queue, 4, waker(&woken)));
    od_batch_queue_push(queue, 4, make(2, 100));
    assert_int_equal(atomic_load(&alive), 0);
    od_batch_queue_finish(queue, NULL);
    struct od_error err = {0};
    assert_int_equal(pop_kind(queue, &err), OD_POP_FAILED); // what was dropped must not look like a whole result
    assert_int_equal(err.code, OD_CANCELLED);
    od_batch_queue_unref(queue);
}

static void stop_after_everything_was_given_out_is_still_the_end(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(false, NULL, 0, 0);
    od_batch_queue_push(queue, 0, make(1, 10));
    od_batch_queue_finish(queue, NULL);
    assert_int_equal(pop(queue), 1);
    od_batch_queue_stop(queue);
    assert_int_equal(pop_kind(queue, NULL), OD_POP_END);
    od_batch_queue_unref(queue);
}

static void a_failure_comes_at_once_and_stays(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(false, NULL, 0, 0);
    struct counter consumer = {0};
    od_batch_queue_on_ready(queue, waker(&consumer));
    od_batch_queue_push(queue, 0, make(1, 10));
    struct od_error failure = {0}, later = {0}, err = {0};
    (void)od_fail(&failure, OD_SQL, "division by zero");
    (void)od_fail(&later, OD_IO, "later");
    od_batch_queue_finish(queue, &failure);
    od_batch_queue_finish(queue, &later); // the first counts
    assert_int_equal(consumer.calls, 2);
    assert_int_equal(atomic_load(&alive), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pop_kind(queue, &err), OD_POP_FAILED);
        assert_int_equal(err.code, OD_SQL);
        assert_string_equal(err.message, "division by zero");
    }
    od_batch_queue_unref(queue);
}

static void wait_gives_up_after_its_time(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(false, NULL, 0, 0);
    struct od_batch *batch = NULL;
    assert_int_equal(od_batch_queue_wait(queue, 1, &batch, NULL), OD_POP_EMPTY);
    od_batch_queue_push(queue, 0, make(1, 1));
    assert_int_equal(od_batch_queue_wait(queue, UINT64_MAX, &batch, NULL), OD_POP_BATCH);
    od_batch_unref(batch);
    od_batch_queue_unref(queue);
}

static void q7_while_it_spills_nobody_is_held_back(void **state)
{
    (void)state;
    struct od_budget *budget = od_budget_new(100, 20);
    struct od_batch_queue *queue = make_queue(true, budget, 20, 20);
    struct counter woken = {0};
    od_batch_queue_push(queue, 0, make(1, 20));
    assert_false(od_batch_queue_blocked(queue));
    assert_true(od_batch_queue_full(queue, 0, waker(&woken)));
    assert_true(od_batch_queue_blocked(queue));

    struct store *store = make_store(100);
    od_batch_queue_spill(queue, &STORE, store);
    assert_int_equal(woken.calls, 1);
    assert_false(od_batch_queue_full(queue, 7, waker(&woken)));
    od_batch_queue_push(queue, 1, make(3, 1000));
    od_batch_queue_push(queue, 0, make(2, 1000));
    assert_int_equal(od_batch_queue_held_bytes(queue), 20); // the rest takes no memory
    assert_int_equal(od_budget_used(budget), 20);
    assert_int_equal(store->written, 2);

    // In order, wherever their bytes are, and not before their time.
    assert_int_equal(pop(queue), 1);
    assert_int_equal(pop(queue), 2);
    assert_int_equal(pop_kind(queue, NULL), OD_POP_EMPTY);
    assert_false(od_batch_queue_full(queue, 1, waker(&woken)));
    od_batch_queue_advance(queue, 1);
    assert_int_equal(pop(queue), 3);

    // The consumer has caught up: memory, and holding back, as before. Then the same store again.
    od_batch_queue_push(queue, 1, make(4, 20));
    assert_int_equal(od_batch_queue_held_bytes(queue), 20);
    assert_true(od_batch_queue_full(queue, 1, waker(&woken)));
    od_batch_queue_spill(queue, &STORE, make_store(0));
    assert_int_equal(woken.calls, 2);
    od_batch_queue_push(queue, 1, make(5, 1000));
    assert_int_equal(store->written, 3);
    od_batch_queue_finish(queue, NULL);
    assert_int_equal(pop(queue), 4);
    assert_int_equal(pop(queue), 5);
    assert_int_equal(pop_kind(queue, NULL), OD_POP_END);
    od_batch_queue_spill(queue, &STORE, make_store(0)); // too late: nothing to do
    od_batch_queue_unref(queue);
    od_budget_free(budget);
}

static void a_full_store_ends_the_queue(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct counter ready = {0};
    struct od_batch_queue *queue = make_queue(false, NULL, 20, 20);
    od_batch_queue_on_ready(queue, waker(&ready));
    od_batch_queue_spill(queue, &STORE, make_store(1));
    od_batch_queue_push(queue, 0, make(1, 10));
    assert_false(od_batch_queue_stopped(queue));
    od_batch_queue_push(queue, 0, make(2, 10));
    assert_true(od_batch_queue_stopped(queue)); // producers need not go on
    assert_int_equal(ready.calls, 2);
    od_batch_queue_push(queue, 0, make(3, 10));
    od_batch_queue_finish(queue, NULL); // a statement that ends well now has lost rows all the same
    assert_int_equal(pop_kind(queue, &err), OD_POP_FAILED);
    assert_int_equal(err.code, OD_LIMIT);
    od_batch_queue_unref(queue);
}

static void a_store_that_cannot_be_read_ends_the_queue(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_batch_queue *queue = make_queue(false, NULL, 20, 20);
    struct store *store = make_store(10);
    store->unreadable = true;
    od_batch_queue_spill(queue, &STORE, store);
    od_batch_queue_push(queue, 0, make(1, 10));
    od_batch_queue_push(queue, 0, make(2, 10));
    od_batch_queue_finish(queue, NULL);
    assert_int_equal(pop_kind(queue, &err), OD_POP_FAILED);
    assert_int_equal(err.code, OD_IO);
    err = (struct od_error){0};
    assert_int_equal(pop_kind(queue, &err), OD_POP_FAILED); // for ever
    assert_int_equal(err.code, OD_IO);
    od_batch_queue_unref(queue);
}

static void a_spilling_queue_that_is_stopped_drops_what_it_stored(void **state)
{
    (void)state;
    struct od_batch_queue *queue = make_queue(false, NULL, 20, 20);
    od_batch_queue_spill(queue, &STORE, make_store(10));
    od_batch_queue_push(queue, 0, make(1, 10));
    od_batch_queue_stop(queue);
    od_batch_queue_push(queue, 0, make(2, 10));
    assert_int_equal(pop_kind(queue, NULL), OD_POP_FAILED);
    od_batch_queue_unref(queue);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_batch_queue_options options = {.ordered = true, .sendable_bytes = 10, .ahead_bytes = 10};
        struct od_batch_queue *queue = NULL;
        struct counter woken = {0};
        od_code rc = od_batch_queue_new(&options, &queue, &err);
        int left = 0, told_full = 0;
        for (int i = 0; rc == OD_OK && i < 40; i++) { // enough to grow the list of batches
            struct od_batch *batch = od_batch_new(NULL, 0, 1, 10, release, NULL);
            if (!batch) {
                rc = od_fail(&err, OD_NO_MEMORY, "no batch");
                break;
            }
            atomic_fetch_add(&alive, 1);
            od_batch_queue_push(queue, (uint64_t)i, batch);
            told_full += od_batch_queue_full(queue, (uint64_t)i, waker(&woken));
        }
        if (queue)
            od_batch_queue_finish(queue, NULL);
        while (rc == OD_OK) {
            struct od_batch *batch = NULL;
            enum od_pop kind = od_batch_queue_pop(queue, &batch, &err);
            if (kind == OD_POP_FAILED)
                rc = err.code;
            if (kind != OD_POP_BATCH)
                break;
            left++;
            od_batch_unref(batch);
        }
        od_fault_expect(&fault, rc, &err);
        if (rc == OD_OK)
            assert_int_equal(left, 40);
        od_batch_queue_unref(queue);
        assert_int_equal(woken.calls, told_full);
        assert_int_equal(atomic_load(&alive), 0);
    }
}

// ---- all at once

enum { PRODUCERS = 4, INDICES = 60, BATCHES_EACH = 5 };

struct stage {
    struct od_batch_queue *queue;
    bool ordered, spills;
    pthread_mutex_t lock;
    uint64_t next_index;         // to claim
    uint64_t claimed[PRODUCERS]; // the index each producer is at; UINT64_MAX: done
    atomic_int wakers_left, wakers_called;
    uint64_t seen[INDICES * BATCHES_EACH];
    size_t seen_count;
    uint64_t most_held;
    int stop_after; // batches; 0: never
    enum od_pop end;
};

struct gate {
    struct stage *stage;
    pthread_mutex_t lock;
    pthread_cond_t opened;
    bool open;
};

static void open_gate(void *argument)
{
    struct gate *gate = argument;
    pthread_mutex_lock(&gate->lock);
    assert_false(gate->open); // once each (Q3)
    gate->open = true;
    atomic_fetch_add(&gate->stage->wakers_called, 1);
    pthread_cond_signal(&gate->opened);
    pthread_mutex_unlock(&gate->lock);
}

static void wait_for_room(struct stage *stage, uint64_t index)
{
    struct gate gate = {.stage = stage, .lock = PTHREAD_MUTEX_INITIALIZER, .opened = PTHREAD_COND_INITIALIZER};
    while (od_batch_queue_full(stage->queue, index, (struct od_waker){open_gate, &gate})) {
        atomic_fetch_add(&stage->wakers_left, 1);
        pthread_mutex_lock(&gate.lock);
        while (!gate.open)
            pthread_cond_wait(&gate.opened, &gate.lock);
        gate.open = false;
        pthread_mutex_unlock(&gate.lock);
    }
}

// As DuckDB does: the smallest index anybody is at goes to the queue whenever it moves.
static uint64_t claim(struct stage *stage, int me)
{
    pthread_mutex_lock(&stage->lock);
    uint64_t mine = stage->next_index < INDICES ? stage->next_index++ : UINT64_MAX;
    stage->claimed[me] = mine;
    uint64_t smallest = UINT64_MAX;
    for (int i = 0; i < PRODUCERS; i++)
        if (stage->claimed[i] < smallest)
            smallest = stage->claimed[i];
    if (smallest != UINT64_MAX)
        od_batch_queue_advance(stage->queue, smallest);
    pthread_mutex_unlock(&stage->lock);
    return mine;
}

struct producer {
    struct stage *stage;
    int me;
};

static void *produce(void *argument)
{
    struct producer *producer = argument;
    struct stage *stage = producer->stage;
    for (uint64_t index; (index = claim(stage, producer->me)) != UINT64_MAX;)
        for (uint64_t i = 0; i < BATCHES_EACH; i++) {
            wait_for_room(stage, index);
            if (od_batch_queue_stopped(stage->queue))
                return NULL;
            od_batch_queue_push(stage->queue, index, make(index * BATCHES_EACH + i, 10));
            if ((index + i) % 7 == 0)
                sched_yield();
        }
    return NULL;
}

static void *consume(void *argument)
{
    struct stage *stage = argument;
    for (;;) {
        struct od_batch *batch = NULL;
        enum od_pop kind = od_batch_queue_wait(stage->queue, 60000, &batch, NULL);
        if (kind != OD_POP_BATCH) {
            stage->end = kind;
            return NULL;
        }
        stage->seen[stage->seen_count++] = batch->rows;
        uint64_t held = od_batch_queue_held_bytes(stage->queue);
        if (held > stage->most_held)
            stage->most_held = held;
        od_batch_unref(batch);
        if (stage->spills && stage->seen_count % 13 == 0)
            od_batch_queue_spill(stage->queue, &STORE, make_store(STORE_BATCHES));
        if (stage->stop_after && stage->seen_count == (size_t)stage->stop_after)
            od_batch_queue_stop(stage->queue);
    }
}

static int compare_numbers(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;
    return (a > b) - (a < b);
}

static void check_seen(struct stage *stage)
{
    assert_int_equal(stage->end, stage->stop_after ? OD_POP_FAILED : OD_POP_END);
    assert_int_equal(atomic_load(&stage->wakers_left), atomic_load(&stage->wakers_called));
    assert_int_equal(stage->seen_count, stage->stop_after ? stage->stop_after : INDICES * BATCHES_EACH);
    if (!stage->ordered)
        qsort(stage->seen, stage->seen_count, sizeof *stage->seen, compare_numbers);
    for (size_t i = 0; i + 1 < stage->seen_count; i++)
        assert_true(stage->seen[i] < stage->seen[i + 1]);
    if (stage->ordered && stage->seen_count)
        assert_int_equal(stage->seen[stage->seen_count - 1], stage->seen_count - 1);
}

// Several queues, each with its producers and its consumer, share one small budget.
static void run_stages(bool ordered, int queue_count, int stop_after, bool spills)
{
    enum { QUEUES_MAX = 2 };
    struct od_budget *budget = od_budget_new(60, 20);
    static struct stage stages[QUEUES_MAX];
    struct producer producers[QUEUES_MAX][PRODUCERS];
    pthread_t producing[QUEUES_MAX][PRODUCERS], consuming[QUEUES_MAX];
    for (int q = 0; q < queue_count; q++) {
        struct stage *stage = &stages[q];
        memset(stage, 0, sizeof *stage);
        pthread_mutex_init(&stage->lock, NULL);
        stage->ordered = ordered;
        stage->spills = spills;
        stage->stop_after = q == 0 ? stop_after : 0;
        stage->queue = make_queue(ordered, budget, 30, 50);
        for (int i = 0; i < PRODUCERS; i++)
            stage->claimed[i] = 0; // until each has claimed, nothing may be sent past 0
        pthread_create(&consuming[q], NULL, consume, stage);
        for (int i = 0; i < PRODUCERS; i++) {
            producers[q][i] = (struct producer){stage, i};
            pthread_create(&producing[q][i], NULL, produce, &producers[q][i]);
        }
    }
    for (int q = 0; q < queue_count; q++) {
        for (int i = 0; i < PRODUCERS; i++)
            pthread_join(producing[q][i], NULL);
        od_batch_queue_finish(stages[q].queue, NULL);
    }
    for (int q = 0; q < queue_count; q++) {
        pthread_join(consuming[q], NULL);
        check_seen(&stages[q]);
        // sendable + ahead + one batch a producer
        assert_true(stages[q].most_held <= 30 + 50 + PRODUCERS * 10);
        od_batch_queue_unref(stages[q].queue);
        pthread_mutex_destroy(&stages[q].lock);
    }
    assert_int_equal(od_budget_used(budget), 0);
    od_budget_free(budget);
}

static void many_threads_ordered(void **state)
{
    (void)state;
    run_stages(true, 1, 0, false);
}

static void many_threads_unordered(void **state)
{
    (void)state;
    run_stages(false, 1, 0, false);
}

static void two_queues_share_a_budget(void **state)
{
    (void)state;
    run_stages(true, 2, 0, false);
    run_stages(false, 2, 0, false);
}

static void a_consumer_that_leaves_frees_the_producers(void **state)
{
    (void)state;
    run_stages(true, 2, 17, false);
    run_stages(false, 2, 17, false);
}

static void many_threads_now_and_then_spilling(void **state)
{
    (void)state;
    run_stages(true, 2, 0, true);
    run_stages(false, 2, 0, true);
    run_stages(true, 1, 17, true);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_teardown(name, nothing_left)
    const struct CMUnitTest tests[] = {
        TEST(unordered_gives_out_by_arrival),
        TEST(q1_ordered_waits_for_smaller_indices),
        TEST(q2_the_smallest_is_not_held_back_by_those_ahead),
        TEST(q3_wakers_are_called_once),
        TEST(q4_wakers_and_callback_run_outside_the_lock),
        TEST(q5_the_budget_counts_what_is_inside),
        TEST(q6_after_stop_producers_finish),
        TEST(stop_after_everything_was_given_out_is_still_the_end),
        TEST(a_failure_comes_at_once_and_stays),
        TEST(wait_gives_up_after_its_time),
        TEST(q7_while_it_spills_nobody_is_held_back),
        TEST(a_full_store_ends_the_queue),
        TEST(a_store_that_cannot_be_read_ends_the_queue),
        TEST(a_spilling_queue_that_is_stopped_drops_what_it_stored),
        TEST(every_allocation_may_fail),
        TEST(many_threads_ordered),
        TEST(many_threads_unordered),
        TEST(two_queues_share_a_budget),
        TEST(a_consumer_that_leaves_frees_the_producers),
        TEST(many_threads_now_and_then_spilling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
