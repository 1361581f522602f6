// test_retry.c - what is tried again, where and how often: the policy alone, with a clock of the test.
#include "client/retry.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static struct od_retry retry;

static void begin(unsigned retries, size_t endpoints, uint64_t deadline_ms, bool resend)
{
    const struct od_retry_options options = {.retries = retries,
                                             .endpoints = endpoints,
                                             .connect_ms = 5000,
                                             .deadline_ms = deadline_ms,
                                             .now_ms = 1000,
                                             .seed = 7,
                                             .resend = resend};
    od_retry_init(&retry, &options);
}

static void what_the_server_said_is_final(void **state)
{
    (void)state;
    for (od_code code = OD_INTERNAL; code < OD_CODE_COUNT; code++) {
        if (code == OD_UNAVAILABLE || code == OD_BUSY || code == OD_DISCONNECTED || code == OD_OUTCOME_UNKNOWN)
            continue;
        begin(3, 2, UINT64_MAX, true);
        assert_int_equal(od_retry_after(&retry, code, 1000).verdict, OD_RETRY_STOP);
        assert_false(retry.reached);
    }
}

static void an_outcome_the_server_does_not_know_is_asked_for_again(void **state)
{
    (void)state;
    begin(2, 3, UINT64_MAX, true);
    for (unsigned i = 0; i < 2; i++) {
        struct od_retry_step step = od_retry_after(&retry, OD_OUTCOME_UNKNOWN, 1000);
        assert_int_equal(step.verdict, OD_RETRY_SAME);
        assert_true(step.wait_ms > 0);
        assert_true(retry.reached);
    }
    assert_int_equal(od_retry_after(&retry, OD_OUTCOME_UNKNOWN, 1000).verdict, OD_RETRY_STOP);
    begin(2, 3, UINT64_MAX, false); // not under a request id
    assert_int_equal(od_retry_after(&retry, OD_OUTCOME_UNKNOWN, 1000).verdict, OD_RETRY_STOP);
}

static void endpoints_take_turns_and_rounds_end(void **state)
{
    (void)state;
    begin(2, 3, UINT64_MAX, true);
    unsigned attempts = 1, pauses = 0;
    for (;;) {
        struct od_retry_step step = od_retry_after(&retry, OD_UNAVAILABLE, 1000);
        if (step.verdict == OD_RETRY_STOP)
            break;
        assert_int_equal(step.verdict, OD_RETRY_NEXT);
        attempts++;
        pauses += step.wait_ms > 0;
    }
    assert_int_equal(attempts, 9); // three rounds of three
    assert_int_equal(pauses, 2);
    assert_false(retry.reached);
}

static void the_connect_budget_ends_it(void **state)
{
    (void)state;
    begin(100, 1, UINT64_MAX, true);
    assert_int_equal(od_retry_after(&retry, OD_UNAVAILABLE, 1000).verdict, OD_RETRY_NEXT);
    assert_int_equal(od_retry_after(&retry, OD_UNAVAILABLE, 5999).verdict, OD_RETRY_NEXT);
    assert_int_equal(od_retry_after(&retry, OD_UNAVAILABLE, 6000).verdict, OD_RETRY_STOP);
}

static void a_lost_answer_stays_at_its_endpoint(void **state)
{
    (void)state;
    begin(3, 5, UINT64_MAX, true);
    struct od_retry_step step = od_retry_after(&retry, OD_DISCONNECTED, 1000);
    assert_int_equal(step.verdict, OD_RETRY_SAME);
    assert_int_equal(step.wait_ms, 0);
    assert_true(retry.reached);
    for (unsigned i = 0; i < 2; i++) {
        step = od_retry_after(&retry, OD_DISCONNECTED, 1000);
        assert_int_equal(step.verdict, OD_RETRY_SAME);
        assert_true(step.wait_ms > 0);
    }
    assert_int_equal(od_retry_after(&retry, OD_DISCONNECTED, 1000).verdict, OD_RETRY_STOP);
    assert_true(retry.reached);
}

static void what_cannot_be_recognised_is_never_sent_again(void **state)
{
    (void)state;
    begin(3, 5, UINT64_MAX, false);
    assert_int_equal(od_retry_after(&retry, OD_UNAVAILABLE, 1000).verdict, OD_RETRY_NEXT); // it was not sent
    assert_int_equal(od_retry_after(&retry, OD_DISCONNECTED, 1000).verdict, OD_RETRY_STOP);
    assert_true(retry.reached);
}

static void busy_lasts_until_the_deadline(void **state)
{
    (void)state;
    begin(3, 2, 61000, true);
    uint64_t now = 1000;
    unsigned attempts = 0;
    for (;; attempts++) {
        struct od_retry_step step = od_retry_after(&retry, OD_BUSY, now);
        if (step.verdict == OD_RETRY_STOP)
            break;
        assert_int_equal(step.verdict, OD_RETRY_SAME);
        assert_in_range(step.wait_ms, 25, 2000);
        now += step.wait_ms;
        assert_true(now < 61000);
    }
    assert_in_range(attempts, 20, OD_RETRY_BUSY_MAX);
    // Without a deadline the count bounds it.
    begin(3, 2, UINT64_MAX, true);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(od_retry_after(&retry, OD_BUSY, 1000).verdict, OD_RETRY_SAME);
    assert_int_equal(od_retry_after(&retry, OD_BUSY, 1000).verdict, OD_RETRY_STOP);
    assert_false(retry.reached);
}

static void nothing_begins_after_the_deadline(void **state)
{
    static const od_code failures[] = {OD_UNAVAILABLE, OD_BUSY, OD_DISCONNECTED};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        begin(3, 2, 2000, true);
        assert_int_equal(od_retry_after(&retry, failures[i], 2000).verdict, OD_RETRY_STOP);
    }
}

static void pauses_grow_are_jittered_and_bounded(void **state)
{
    uint64_t a = 1, b = 2;
    unsigned differ = 0;
    (void)state;
    for (unsigned n = 0; n < 100; n++) {
        uint64_t one = od_retry_pause_ms(&a, n), two = od_retry_pause_ms(&b, n);
        uint64_t most = n < 6 ? 50u << n : 2000;
        assert_in_range(one, most / 2 > 1000 ? 1000 : most / 2, most > 2000 ? 2000 : most);
        differ += one != two;
    }
    assert_true(differ > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_server_said_is_final),
        cmocka_unit_test(an_outcome_the_server_does_not_know_is_asked_for_again),
        cmocka_unit_test(endpoints_take_turns_and_rounds_end),
        cmocka_unit_test(the_connect_budget_ends_it),
        cmocka_unit_test(a_lost_answer_stays_at_its_endpoint),
        cmocka_unit_test(what_cannot_be_recognised_is_never_sent_again),
        cmocka_unit_test(busy_lasts_until_the_deadline),
        cmocka_unit_test(nothing_begins_after_the_deadline),
        cmocka_unit_test(pauses_grow_are_jittered_and_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
