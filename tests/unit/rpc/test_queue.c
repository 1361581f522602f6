// test_queue.c - work on the threads of a completion queue: who does it, and that nobody waits for it.
#include "unit/rpc/fixture.h"

#include "os/clock.h"
#include "os/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>

static const struct od_rpc_server_options one_queue = {.threads = 1};

static bool call_is(struct od_channel *channel, const char *method, const char *text, const char *expected)
{
    struct od_received reply;
    struct od_error err = {0};
    if (call_text(channel, method, text, &reply, &err) != OD_OK)
        fail_msg("%s: %s", method, err.message);
    bool is = received_is(&reply, expected);
    od_received_release(&reply);
    return is;
}

// Right after the start, and while calls come thick and fast, none is accepted.
static void await_accepted(struct fixture *f)
{
    uint64_t end = od_clock_ms() + 20000;
    while (!call_is(f->channel, "/test.Service/Work", "", "here")) {
        assert_true(od_clock_ms() < end);
        wait_ms(20);
    }
}

struct caller {
    struct fixture *f;
    struct od_thread thread;
    const char *text;
    od_code rc;
    bool here;
};

static void call_work(void *opaque)
{
    struct caller *caller = opaque;
    struct od_channel *channel = fixture_channel(caller->f, NULL);
    struct od_received reply;
    struct od_error err = {0};
    caller->rc = call_text(channel, "/test.Service/Work", caller->text, &reply, &err);
    if (caller->rc == OD_OK) {
        caller->here = received_is(&reply, "here");
        od_received_release(&reply);
    }
    od_channel_close(channel);
}

static void start_waiting(struct fixture *f, struct caller *caller)
{
    struct od_error err = {0};
    unsigned works = f->works;
    *caller = (struct caller){.f = f, .text = "wait"};
    assert_int_equal(od_thread_start(&caller->thread, "caller", call_work, caller, &err), OD_OK);
    fixture_await(f, &f->works, works + 1);
}

static void test_only_in_callbacks(void **state)
{
    (void)state;
    assert_false(od_rpc_run_here(call_work, NULL));
}

static void test_others_go_on(void **state)
{
    (void)state;
    struct fixture f;
    struct caller caller;
    fixture_start(&f, &one_queue, NULL);
    for (int i = 0; i < 3; i++) {
        await_accepted(&f);
        start_waiting(&f, &caller);
        // Answered by the other thread, which now has nobody to stand by, and works for nobody.
        for (int k = 0; k < 20; k++)
            assert_true(call_is(f.channel, "/test.Service/Echo", "x", "x"));
        assert_true(call_is(f.channel, "/test.Service/Work", "", "not here"));
        assert_true(call_is(f.channel, "/test.Service/Release", "", "done"));
        od_thread_join(&caller.thread);
        assert_int_equal(caller.rc, OD_OK);
        assert_true(caller.here);
        assert_true(call_is(f.channel, "/test.Service/Release", "0", "done"));
    }
    fixture_stop(&f);
}

// After a pause the standby sleeps; work wakes it.
static void test_after_a_pause(void **state)
{
    (void)state;
    struct fixture f;
    struct caller caller;
    fixture_start(&f, &one_queue, NULL);
    await_accepted(&f);
    wait_ms(200);
    start_waiting(&f, &caller);
    assert_true(call_is(f.channel, "/test.Service/Release", "", "done"));
    od_thread_join(&caller.thread);
    assert_true(caller.here);
    fixture_stop(&f);
}

static void release_later(void *opaque)
{
    struct fixture *f = opaque;
    wait_ms(300);
    pthread_mutex_lock(&f->lock);
    f->released = true;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void test_stop_during_work(void **state)
{
    (void)state;
    struct fixture f;
    struct caller caller;
    struct od_thread thread;
    struct od_error err = {0};
    fixture_start(&f, &one_queue, NULL);
    await_accepted(&f);
    start_waiting(&f, &caller);
    assert_int_equal(od_thread_start(&thread, "later", release_later, &f, &err), OD_OK);
    od_rpc_server_stop(f.server, 0); // cancels the call, waits for the work
    od_thread_join(&caller.thread);
    od_thread_join(&thread);
    assert_int_not_equal(caller.rc, OD_OK);
    fixture_stop(&f);
}

static void call_often(void *opaque)
{
    struct caller *caller = opaque;
    struct od_channel *channel = fixture_channel(caller->f, NULL);
    for (int i = 0; i < 200; i++) {
        struct od_received reply;
        struct od_error err = {0};
        caller->rc = call_text(channel, i % 3 ? "/test.Service/Work" : "/test.Service/Echo", "y", &reply, &err);
        if (caller->rc != OD_OK)
            break;
        od_received_release(&reply);
    }
    od_channel_close(channel);
}

static void test_many_callers(void **state)
{
    (void)state;
    enum { CALLERS = 6 };
    struct fixture f;
    struct caller callers[CALLERS];
    struct od_error err = {0};
    fixture_start(&f, &one_queue, NULL);
    for (unsigned i = 0; i < CALLERS; i++) {
        callers[i] = (struct caller){.f = &f};
        assert_int_equal(od_thread_start(&callers[i].thread, "caller", call_often, &callers[i], &err), OD_OK);
    }
    for (unsigned i = 0; i < CALLERS; i++) {
        od_thread_join(&callers[i].thread);
        assert_int_equal(callers[i].rc, OD_OK);
    }
    await_accepted(&f);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_in_callbacks), cmocka_unit_test(test_others_go_on),
        cmocka_unit_test(test_after_a_pause),     cmocka_unit_test(test_stop_during_work),
        cmocka_unit_test(test_many_callers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
