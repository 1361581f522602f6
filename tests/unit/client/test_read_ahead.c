// The queue between receiver and reader, the account of a result, and the threads kept between jobs.
#include "client/read_ahead.h"

#include "base/alloc.h"
#include "client/crew.h"
#include "client/tally.h"
#include "os/thread.h"
#include "support/fault.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <sched.h>
#include <stdatomic.h>

static atomic_uint alive;

static void batch_release(void *owner)
{
    (void)owner;
    atomic_fetch_sub(&alive, 1);
}

static struct od_batch *batch_of(uint64_t rows, size_t held)
{
    static const uint8_t byte;
    struct od_segment segment = {&byte, 1};
    struct od_batch *batch = od_batch_new(&segment, 1, rows, held, batch_release, NULL);
    assert_non_null(batch);
    atomic_fetch_add(&alive, 1);
    return batch;
}

static const struct od_waker wait = {0};

static void wake(void *argument)
{
    atomic_fetch_add((atomic_uint *)argument, 1);
}

static void batches_come_in_order_then_the_end(void **state)
{
    struct od_read_ahead ahead;
    struct od_batch *batch;
    (void)state;
    od_read_ahead_init(&ahead, 1000000);
    for (unsigned i = 0; i < 100; i++) // more than the first ring
        assert_true(od_read_ahead_push(&ahead, batch_of(i, 10)));
    od_read_ahead_finish(&ahead, NULL);
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, NULL), OD_POP_BATCH);
        assert_int_equal(batch->rows, i);
        od_batch_unref(batch);
    }
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, NULL), OD_POP_END);
    od_read_ahead_stop(&ahead);
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, NULL), OD_POP_END); // told is told
    od_read_ahead_release(&ahead);
    assert_int_equal(atomic_load(&alive), 0);
}

static void a_failure_is_told_at_once_and_stays(void **state)
{
    struct od_read_ahead ahead;
    struct od_batch *batch;
    struct od_error failure, err;
    (void)state;
    od_read_ahead_init(&ahead, 1000000);
    assert_true(od_read_ahead_push(&ahead, batch_of(1, 10)));
    (void)od_fail(&failure, OD_SQL, "division by zero");
    od_read_ahead_finish(&ahead, &failure);
    od_read_ahead_finish(&ahead, NULL); // too late
    assert_int_equal(atomic_load(&alive), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, &err), OD_POP_FAILED);
        assert_int_equal(err.code, OD_SQL);
    }
    assert_false(od_read_ahead_push(&ahead, batch_of(1, 10)));
    assert_int_equal(atomic_load(&alive), 0);
    od_read_ahead_release(&ahead);
}

static void each_waker_is_called_once(void **state)
{
    struct od_read_ahead ahead;
    struct od_batch *batch;
    atomic_uint a = 0, b = 0;
    (void)state;
    od_read_ahead_init(&ahead, 1000000);
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, (struct od_waker){wake, &a}, NULL), OD_POP_EMPTY);
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, (struct od_waker){wake, &b}, NULL), OD_POP_EMPTY);
    assert_true(od_read_ahead_push(&ahead, batch_of(1, 10)));
    assert_int_equal(a, 1);
    assert_int_equal(b, 1);
    assert_true(od_read_ahead_push(&ahead, batch_of(2, 10)));
    assert_int_equal(a, 1);
    // One that is given a batch is not kept.
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, (struct od_waker){wake, &a}, NULL), OD_POP_BATCH);
    od_batch_unref(batch);
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, (struct od_waker){wake, &a}, NULL), OD_POP_BATCH);
    od_batch_unref(batch);
    // Beyond the bound the oldest is called early; the rest by stop.
    for (unsigned i = 0; i < OD_WAKERS_MAX + 3; i++)
        assert_int_equal(od_read_ahead_pop(&ahead, &batch, (struct od_waker){wake, &a}, NULL), OD_POP_EMPTY);
    assert_int_equal(a, 1 + 3);
    od_read_ahead_stop(&ahead);
    assert_int_equal(a, 1 + 3 + OD_WAKERS_MAX);
    od_read_ahead_stop(&ahead);
    assert_int_equal(a, 1 + 3 + OD_WAKERS_MAX);
    od_read_ahead_release(&ahead);
}

struct producer {
    struct od_read_ahead *ahead;
    unsigned batches;
    atomic_uint pushed;
    bool refused;
};

static void produce(void *argument)
{
    struct producer *producer = argument;
    for (unsigned i = 0; i < producer->batches && !producer->refused; i++) {
        producer->refused = !od_read_ahead_push(producer->ahead, batch_of(i, 100));
        atomic_fetch_add(&producer->pushed, !producer->refused);
    }
    od_read_ahead_finish(producer->ahead, NULL);
}

static void the_producer_waits_for_room(void **state)
{
    struct od_read_ahead ahead;
    struct od_thread thread;
    struct od_batch *batch;
    struct producer producer = {.ahead = &ahead, .batches = 10000};
    (void)state;
    od_read_ahead_init(&ahead, 250);
    assert_int_equal(od_thread_start(&thread, "producer", produce, &producer, NULL), OD_OK);
    for (unsigned i = 0; i < producer.batches; i++) {
        assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, NULL), OD_POP_BATCH);
        assert_int_equal(batch->rows, i);
        assert_true(atomic_load(&producer.pushed) <= i + 5); // three inside, one popped, one on its way
        od_batch_unref(batch);
    }
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, NULL), OD_POP_END);
    od_thread_join(&thread);
    od_read_ahead_release(&ahead);
    assert_int_equal(atomic_load(&alive), 0);
}

static void stop_frees_a_waiting_producer(void **state)
{
    struct od_read_ahead ahead;
    struct od_thread thread;
    struct od_batch *batch;
    struct od_error err;
    struct producer producer = {.ahead = &ahead, .batches = 1000};
    (void)state;
    od_read_ahead_init(&ahead, 250);
    assert_int_equal(od_thread_start(&thread, "producer", produce, &producer, NULL), OD_OK);
    while (!od_read_ahead_full(&ahead))
        sched_yield();
    od_read_ahead_stop(&ahead);
    od_thread_join(&thread);
    assert_true(producer.refused);
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, &err), OD_POP_FAILED);
    assert_int_equal(err.code, OD_CANCELLED);
    od_read_ahead_release(&ahead);
    assert_int_equal(atomic_load(&alive), 0);
}

static void without_memory_it_fails(void **state)
{
    struct od_read_ahead ahead;
    struct od_batch *batch, *first = batch_of(1, 1);
    struct od_error err;
    (void)state;
    od_read_ahead_init(&ahead, 1000);
    od_fault_arm(0, false);
    bool pushed = od_read_ahead_push(&ahead, first);
    od_fault_disarm();
    assert_false(pushed);
    assert_int_equal(od_read_ahead_pop(&ahead, &batch, wait, &err), OD_POP_FAILED);
    assert_int_equal(err.code, OD_NO_MEMORY);
    od_read_ahead_release(&ahead);
    assert_int_equal(atomic_load(&alive), 0);
}

// ---- the account

static void only_the_next_number_is_accepted(void **state)
{
    struct od_tally tally = {0};
    (void)state;
    assert_int_equal(od_tally_batch(&tally, 0, 5, NULL), OD_OK);
    assert_int_equal(od_tally_batch(&tally, 0, 5, NULL), OD_CORRUPT);
    assert_int_equal(od_tally_batch(&tally, 2, 5, NULL), OD_CORRUPT);
    assert_int_equal(od_tally_batch(&tally, 1, UINT64_MAX, NULL), OD_CORRUPT);
    assert_int_equal(od_tally_batch(&tally, 1, 0, NULL), OD_OK);
    assert_int_equal(od_tally_end(&tally, 2, 5, NULL), OD_OK);
    assert_int_equal(od_tally_end(&tally, 2, 6, NULL), OD_CORRUPT);
    assert_int_equal(od_tally_end(&tally, 3, 5, NULL), OD_CORRUPT);
    assert_int_equal(od_tally_end(&tally, 1, 5, NULL), OD_CORRUPT);
}

// ---- the crew

static void count_up(void *argument)
{
    atomic_fetch_add((atomic_uint *)argument, 1);
}

static void every_job_runs_before_the_crew_is_gone(void **state)
{
    struct od_crew *crew;
    atomic_uint done = 0;
    (void)state;
    assert_int_equal(od_crew_new(&crew, NULL), OD_OK);
    for (unsigned round = 0; round < 20; round++)
        for (unsigned i = 0; i < 2 * OD_CREW_IDLE_MAX; i++)
            assert_int_equal(od_crew_run(crew, count_up, &done, NULL), OD_OK);
    od_crew_free(crew);
    assert_int_equal(atomic_load(&done), 40 * OD_CREW_IDLE_MAX);
}

static void a_crew_without_memory_or_threads_says_so(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_crew *crew;
        struct od_error err = {0};
        atomic_uint done = 0;
        od_code rc = od_crew_new(&crew, &err);
        bool made = rc == OD_OK;
        if (made)
            rc = od_crew_run(crew, count_up, &done, &err);
        od_fault_expect(&fault, rc, &err);
        if (made)
            od_crew_free(crew);
        assert_int_equal(atomic_load(&done), rc == OD_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(batches_come_in_order_then_the_end),
        cmocka_unit_test(a_failure_is_told_at_once_and_stays),
        cmocka_unit_test(each_waker_is_called_once),
        cmocka_unit_test(the_producer_waits_for_room),
        cmocka_unit_test(stop_frees_a_waiting_producer),
        cmocka_unit_test(without_memory_it_fails),
        cmocka_unit_test(only_the_next_number_is_accepted),
        cmocka_unit_test(every_job_runs_before_the_crew_is_gone),
        cmocka_unit_test(a_crew_without_memory_or_threads_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
