// test_thread.c - threads, condition waits, clocks and random bytes.
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"
#include "support/fault.h"

#include <signal.h>
#include <string.h>

struct seen {
    bool ran;
    bool term_blocked, segv_blocked;
    struct od_thread thread;
};

static void look(void *argument)
{
    struct seen *seen = argument;
    sigset_t blocked;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    seen->term_blocked = sigismember(&blocked, SIGTERM);
    seen->segv_blocked = sigismember(&blocked, SIGSEGV);
    seen->ran = true;
}

static void a_thread_runs_with_signals_blocked(void **state)
{
    (void)state;
    struct seen seen = {0};
    sigset_t before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    assert_int_equal(od_thread_start(&seen.thread, "a-name-that-is-too-long", look, &seen, NULL), OD_OK);
    assert_false(od_thread_is_current(&seen.thread));
    od_thread_join(&seen.thread);
    od_thread_join(&seen.thread); // harmless
    assert_true(seen.ran);
    assert_true(seen.term_blocked);
    assert_false(seen.segv_blocked);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    assert_int_equal(sigismember(&before, SIGTERM), sigismember(&after, SIGTERM)); // ours are as before
}

static void starting_may_fail(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct seen seen = {0};
        struct od_error err = {0};
        od_code rc = od_thread_start(&seen.thread, "t", look, &seen, &err);
        od_fault_expect(&fault, rc, &err);
        od_thread_join(&seen.thread);
        assert_int_equal(seen.ran, rc == OD_OK);
    }
}

static void a_wait_ends_at_its_time(void **state)
{
    (void)state;
    pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t cond;
    od_cond_init(&cond);
    pthread_mutex_lock(&mutex);
    assert_false(od_cond_wait_until(&cond, &mutex, 0)); // long past
    uint64_t at = od_clock_ms() + 20;
    while (od_cond_wait_until(&cond, &mutex, at))
        ;
    assert_true(od_clock_ms() >= at);
    pthread_mutex_unlock(&mutex);
    pthread_cond_destroy(&cond);
}

static void clocks_go_forward(void **state)
{
    (void)state;
    uint64_t first = od_clock_us(), second = od_clock_us();
    assert_true(second >= first);
    assert_true(od_clock_ms() >= first / 1000);
    assert_true(od_clock_wall_us() > 1700000000ull * 1000000); // 2023
}

static void random_ids_differ(void **state)
{
    (void)state;
    char ids[50][OD_RANDOM_ID_BYTES];
    for (int i = 0; i < 50; i++) {
        od_random_id(ids[i]);
        assert_int_equal(strspn(ids[i], "0123456789abcdef"), 32);
        assert_int_equal(strlen(ids[i]), 32);
        for (int j = 0; j < i; j++)
            assert_string_not_equal(ids[i], ids[j]);
    }
    uint8_t bytes[1000] = {0};
    od_random_bytes(bytes, sizeof bytes);
    int zeros = 0;
    for (size_t i = 0; i < sizeof bytes; i++)
        zeros += bytes[i] == 0;
    assert_in_range(zeros, 0, 50); // about 4 are expected; the end is filled, too
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thread_runs_with_signals_blocked),
        cmocka_unit_test(starting_may_fail),
        cmocka_unit_test(a_wait_ends_at_its_time),
        cmocka_unit_test(clocks_go_forward),
        cmocka_unit_test(random_ids_differ),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
