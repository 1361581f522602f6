// Tests of src/server/admission.c.
#include "server/admission.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

static struct od_admission make(unsigned running, unsigned waiting, unsigned paused)
{
    return (struct od_admission){
        .running_max = running, .waiting_max = waiting, .paused_max = paused, .wait_ms_max = 100};
}

static void test_first_come_first_served(void **state)
{
    (void)state;
    struct od_admission a = make(2, 2, 0);
    struct od_slot s[6] = {0};
    assert_int_equal(od_admission_enter(&a, &s[0], 0), OD_SLOT_RUNNING);
    assert_int_equal(od_admission_enter(&a, &s[1], 0), OD_SLOT_RUNNING);
    assert_int_equal(od_admission_enter(&a, &s[2], 0), OD_SLOT_WAITING);
    assert_int_equal(od_admission_enter(&a, &s[3], 0), OD_SLOT_WAITING);
    assert_int_equal(od_admission_enter(&a, &s[4], 0), OD_SLOT_OUT);
    assert_null(od_admission_next(&a));
    od_admission_leave(&a, &s[0]);
    // A place is free, but somebody waits for it already.
    assert_int_equal(od_admission_enter(&a, &s[5], 0), OD_SLOT_OUT);
    assert_ptr_equal(od_admission_next(&a), &s[2]);
    assert_null(od_admission_next(&a));
    assert_int_equal(od_admission_enter(&a, &s[5], 0), OD_SLOT_WAITING);
    od_admission_leave(&a, &s[3]); // gives up waiting
    od_admission_leave(&a, &s[1]);
    assert_ptr_equal(od_admission_next(&a), &s[5]);
    od_admission_leave(&a, &s[2]);
    od_admission_leave(&a, &s[5]);
    assert_int_equal(a.running + a.waiting + a.paused, 0);
}

static void test_waiting_expires(void **state)
{
    (void)state;
    struct od_admission a = make(1, 5, 0);
    struct od_slot s[3] = {0};
    od_admission_enter(&a, &s[0], 0);
    od_admission_enter(&a, &s[1], 10);
    od_admission_enter(&a, &s[2], 50);
    assert_null(od_admission_expired(&a, 109));
    assert_ptr_equal(od_admission_expired(&a, 110), &s[1]);
    assert_null(od_admission_expired(&a, 110));
    assert_int_equal(s[1].state, OD_SLOT_OUT);
    assert_ptr_equal(od_admission_expired(&a, 150), &s[2]);
    assert_int_equal(a.waiting, 0);
}

static void test_slow_readers_make_room(void **state)
{
    (void)state;
    struct od_admission a = make(1, 5, 1);
    struct od_slot s[3] = {0};
    od_admission_enter(&a, &s[0], 0);
    od_admission_enter(&a, &s[1], 0);
    assert_true(od_admission_pause(&a, &s[0]));
    assert_false(od_admission_pause(&a, &s[0]));
    assert_ptr_equal(od_admission_next(&a), &s[1]);
    assert_false(od_admission_pause(&a, &s[1])); // only one may be paused
    od_admission_resume(&a, &s[0]);              // takes a place beyond the limit
    assert_int_equal(a.running, 2);
    assert_int_equal(a.paused, 0);
    od_admission_enter(&a, &s[2], 0);
    od_admission_leave(&a, &s[0]);
    assert_null(od_admission_next(&a));
    assert_true(od_admission_pause(&a, &s[1]));
    assert_ptr_equal(od_admission_next(&a), &s[2]);
    od_admission_leave(&a, &s[1]);
    od_admission_leave(&a, &s[1]);
    od_admission_leave(&a, &s[2]);
    assert_int_equal(a.running + a.waiting + a.paused, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_come_first_served),
        cmocka_unit_test(test_waiting_expires),
        cmocka_unit_test(test_slow_readers_make_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
