// Tests of src/server/session_core.c.
#include "server/session_core.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static void test_numbers(void **state)
{
    (void)state;
    struct od_session_core core = {0};
    assert_int_equal(od_session_accept(&core, 0, 1), OD_SESSION_STRAYS);
    assert_int_equal(od_session_accept(&core, 2, 1), OD_SESSION_STRAYS); // the first is 1
    assert_int_equal(od_session_accept(&core, 1, 1), OD_SESSION_RUNS);
    assert_int_equal(od_session_accept(&core, 1, 1), OD_SESSION_REPEATS);
    assert_int_equal(od_session_accept(&core, 2, 1), OD_SESSION_RUNS);
    assert_int_equal(od_session_accept(&core, 1, 1), OD_SESSION_STRAYS);
    assert_int_equal(od_session_accept(&core, 7, 1), OD_SESSION_RUNS); // 3 to 6 never arrived
    assert_int_equal(od_session_accept(&core, 5, 1), OD_SESSION_STRAYS);
    assert_int_equal(core.pending, 3);
}

static void test_withdrawn_number_comes_again(void **state)
{
    (void)state;
    struct od_session_core core = {0};
    od_session_accept(&core, 1, 1);
    od_session_finished(&core, false, 1);
    od_session_accept(&core, 4, 1);
    assert_true(od_session_withdraw(&core, 4));
    assert_int_equal(core.pending, 0);
    assert_int_equal(core.last, 1);
    assert_int_equal(od_session_accept(&core, 4, 1), OD_SESSION_RUNS);
    od_session_accept(&core, 5, 1);
    assert_false(od_session_withdraw(&core, 4)); // the client has gone on
    assert_int_equal(core.last, 5);
}

static void test_idle(void **state)
{
    (void)state;
    struct od_session_core core = {0};
    od_session_accept(&core, 1, 100);
    assert_int_equal(od_session_check(&core, 600, 60, 100000), OD_SESSION_LIVES); // a statement runs
    od_session_finished(&core, true, 200);
    assert_int_equal(od_session_check(&core, 600, 60, 259), OD_SESSION_LIVES);
    assert_int_equal(od_session_check(&core, 600, 60, 260), OD_SESSION_TRANSACTION_IDLE);
    od_session_accept(&core, 2, 250);
    od_session_finished(&core, false, 300);
    assert_int_equal(od_session_check(&core, 600, 60, 899), OD_SESSION_LIVES);
    assert_int_equal(od_session_check(&core, 600, 60, 900), OD_SESSION_IDLE);
    assert_int_equal(od_session_check(&core, 600, 60, 10), OD_SESSION_LIVES); // read before the statement ended
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_withdrawn_number_comes_again),
        cmocka_unit_test(test_idle),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
