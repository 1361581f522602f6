// test_timer.c - callbacks run once, in order and not early; a cancelled one never runs. No test depends on how fast
// the machine is: waiting is for events, with a bound so generous that reaching it is a failure.
#include "os/clock.h"
#include "os/thread.h"
#include "os/timer.h"
#include "support/fault.h"

#include <string.h>

#define BOUND_MS 60000u

// What the callbacks did, in order.
struct diary {
    pthread_mutex_t lock;
    pthread_cond_t written;
    int entries[200];
    int count;
    struct od_timer_service *service;
    uint64_t id; // of the running timer, for the callbacks that use it
    bool hold;   // a callback waits while it is set
};

struct entry {
    struct diary *diary;
    int number;
    uint64_t at_ms;
};

static struct diary diary;

static void write_entry(struct diary *book, int number)
{
    pthread_mutex_lock(&book->lock);
    book->entries[book->count++] = number;
    pthread_cond_broadcast(&book->written);
    pthread_mutex_unlock(&book->lock);
}

static void note(void *argument)
{
    struct entry *entry = argument;
    write_entry(entry->diary, od_clock_ms() >= entry->at_ms ? entry->number : -1);
}

static void wait_for(int count)
{
    uint64_t bound = od_clock_ms() + BOUND_MS;
    pthread_mutex_lock(&diary.lock);
    while (diary.count < count)
        if (!od_cond_wait_until(&diary.written, &diary.lock, bound))
            break;
    assert_true(diary.count >= count);
    pthread_mutex_unlock(&diary.lock);
}

static int set_up(void **state)
{
    (void)state;
    memset(&diary, 0, sizeof diary);
    pthread_mutex_init(&diary.lock, NULL);
    od_cond_init(&diary.written);
    return od_timer_service_start(&diary.service, NULL) == OD_OK ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    od_fault_disarm();
    od_timer_service_stop(diary.service);
    pthread_cond_destroy(&diary.written);
    pthread_mutex_destroy(&diary.lock);
    return 0;
}

static void callbacks_run_in_order_and_not_early(void **state)
{
    (void)state;
    static struct entry entries[100];
    uint64_t now = od_clock_ms();
    for (int i = 0; i < 100; i++) {
        int rank = (i * 37) % 100; // scheduled in disorder
        entries[rank] = (struct entry){&diary, rank, now + 20 + (uint64_t)rank / 4};
        assert_int_equal(od_timer_schedule(diary.service, entries[rank].at_ms, note, &entries[rank], NULL, NULL),
                         OD_OK);
    }
    wait_for(100);
    for (int i = 1; i < 100; i++)
        assert_true(diary.entries[i] / 4 >= diary.entries[i - 1] / 4); // four each share a time
    for (int i = 0; i < 100; i++)
        assert_in_range(diary.entries[i], 0, 99);
}

static void timers_of_one_time_run_as_scheduled(void **state)
{
    (void)state;
    static struct entry entries[20];
    uint64_t at = od_clock_ms() + 30;
    for (int i = 0; i < 20; i++) {
        entries[i] = (struct entry){&diary, i, at};
        assert_int_equal(od_timer_schedule(diary.service, at, note, &entries[i], NULL, NULL), OD_OK);
    }
    wait_for(20);
    for (int i = 0; i < 20; i++)
        assert_int_equal(diary.entries[i], i);
}

static void a_cancelled_timer_never_runs(void **state)
{
    (void)state;
    static struct entry entries[50];
    uint64_t ids[50], at = od_clock_ms() + 3600ull * 1000;
    for (int i = 0; i < 50; i++) {
        entries[i] = (struct entry){&diary, i, 0};
        assert_int_equal(
            od_timer_schedule(diary.service, at + (uint64_t)(i * 31 % 50), note, &entries[i], &ids[i], NULL), OD_OK);
        assert_int_not_equal(ids[i], 0);
    }
    for (int i = 0; i < 50; i += 2)
        assert_true(od_timer_cancel(diary.service, ids[i]));
    for (int i = 0; i < 50; i += 2)
        assert_false(od_timer_cancel(diary.service, ids[i])); // once
    assert_false(od_timer_cancel(diary.service, 0));
    // One that is due now overtakes all, and the pending ones are dropped by stop (tear_down) without a call.
    struct entry due = {&diary, 99, 0};
    assert_int_equal(od_timer_schedule(diary.service, 0, note, &due, NULL, NULL), OD_OK);
    wait_for(1);
    assert_int_equal(diary.entries[0], 99);
    for (int i = 1; i < 50; i += 2)
        assert_true(od_timer_cancel_wait(diary.service, ids[i]));
    assert_int_equal(diary.count, 1);
}

static void hold(void *argument)
{
    struct diary *book = argument;
    write_entry(book, 1); // begun
    pthread_mutex_lock(&book->lock);
    while (book->hold)
        od_cond_wait_until(&book->written, &book->lock, UINT64_MAX);
    pthread_mutex_unlock(&book->lock);
    write_entry(book, 2); // ended
}

static void let_go(void *argument)
{
    struct diary *book = argument;
    (void)od_timer_cancel(book->service, book->id); // does not wait, though the callback is running
    write_entry(book, 3);
    pthread_mutex_lock(&book->lock);
    book->hold = false;
    pthread_cond_broadcast(&book->written);
    pthread_mutex_unlock(&book->lock);
}

static void cancel_wait_waits_for_the_running_callback(void **state)
{
    (void)state;
    struct od_thread thread;
    diary.hold = true;
    assert_int_equal(od_timer_schedule(diary.service, 0, hold, &diary, &diary.id, NULL), OD_OK);
    wait_for(1);
    assert_int_equal(od_thread_start(&thread, "let-go", let_go, &diary, NULL), OD_OK);
    assert_false(od_timer_cancel_wait(diary.service, diary.id));
    assert_int_equal(diary.count, 3); // the callback has ended
    assert_int_equal(diary.entries[1], 3);
    assert_int_equal(diary.entries[2], 2);
    od_thread_join(&thread);
}

static void again(void *argument)
{
    struct diary *book = argument;
    // From the callback itself: its own id is running, so nothing is cancelled, and nothing waits for itself.
    bool cancelled = od_timer_cancel_wait(book->service, book->id);
    write_entry(book, cancelled);
    if (book->count < 3)
        assert_int_equal(od_timer_schedule(book->service, 0, again, book, &book->id, NULL), OD_OK);
}

static void a_callback_may_schedule_and_cancel(void **state)
{
    (void)state;
    assert_int_equal(od_timer_schedule(diary.service, od_clock_ms() + 5, again, &diary, &diary.id, NULL), OD_OK);
    wait_for(3);
    for (int i = 0; i < 3; i++)
        assert_int_equal(diary.entries[i], 0);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    static struct entry entries[40];
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_timer_service *service = NULL;
        od_code rc = od_timer_service_start(&service, &err);
        for (int i = 0; rc == OD_OK && i < 40; i++)
            rc = od_timer_schedule(service, UINT64_MAX, note, &entries[i], NULL, &err);
        od_fault_expect(&fault, rc, &err);
        od_timer_service_stop(service);
    }
}

static void there_is_a_limit(void **state)
{
    (void)state;
    struct entry entry = {&diary, 0, 0};
    struct od_error err = {0};
    for (unsigned i = 0; i < OD_TIMERS_MAX; i++)
        assert_int_equal(od_timer_schedule(diary.service, UINT64_MAX - i, note, &entry, NULL, NULL), OD_OK);
    assert_int_equal(od_timer_schedule(diary.service, UINT64_MAX, note, &entry, NULL, &err), OD_LIMIT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(callbacks_run_in_order_and_not_early),
        TEST(timers_of_one_time_run_as_scheduled),
        TEST(a_cancelled_timer_never_runs),
        TEST(cancel_wait_waits_for_the_running_callback),
        TEST(a_callback_may_schedule_and_cancel),
        TEST(every_step_may_fail),
        TEST(there_is_a_limit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
