// test_alloc.c - the heap's door, and the fault switch that every fault loop relies on.
#include "support/fault.h"

#include <stdint.h>
#include <string.h>

static void memory_behaves_like_the_standard_library(void **state)
{
    (void)state;
    char *text = od_strdup("hello");
    assert_string_equal(text, "hello");
    text = od_realloc(text, 100);
    assert_string_equal(text, "hello");
    od_free(text);
    text = od_strndup("hello", 3);
    assert_string_equal(text, "hel");
    od_free(text);
    int *numbers = od_calloc(10, sizeof *numbers);
    for (int i = 0; i < 10; i++)
        assert_int_equal(numbers[i], 0);
    od_free(numbers);
    void *aligned = od_aligned_alloc(64, 100);
    assert_int_equal((uintptr_t)aligned % 64, 0);
    od_free(aligned);
    void *nothing = od_alloc(0);
    assert_non_null(nothing);
    od_free(nothing);
    od_free(NULL);
    assert_null(od_strdup(NULL));
    volatile size_t huge = SIZE_MAX / 2;
    assert_null(od_calloc(huge, 4)); // the product overflows
}

static void a_transient_fault_fails_one_call(void **state)
{
    (void)state;
    od_fault_arm(2, false);
    for (int i = 0; i < 5; i++)
        assert_int_equal(od_fault_point(), i == 2);
    od_fault_disarm();
    assert_false(od_fault_point());
}

static void a_persistent_fault_fails_all_later_calls(void **state)
{
    (void)state;
    od_fault_arm(2, true);
    for (int i = 0; i < 5; i++)
        assert_int_equal(od_fault_point(), i >= 2);
    od_fault_disarm();
}

static void every_allocation_is_a_fault_point(void **state)
{
    (void)state;
    char *kept = od_strdup("kept");
    od_fault_arm(0, true);
    assert_null(od_alloc(1));
    assert_null(od_calloc(1, 1));
    assert_null(od_aligned_alloc(64, 1));
    assert_null(od_strdup("x"));
    assert_null(od_realloc(kept, 100));
    assert_int_equal(od_fault_count(), 5);
    od_fault_disarm();
    assert_string_equal(kept, "kept"); // survives a failed realloc
    od_free(kept);
}

static void the_loop_meets_each_point_twice(void **state)
{
    (void)state;
    int runs = 0, first_failed = 0, second_failed = 0;
    OD_FAULT_LOOP(fault)
    {
        runs++;
        void *first = od_alloc(1);
        void *second = od_alloc(1);
        first_failed += !first;
        second_failed += !second;
        assert_int_equal(od_fault_injected(&fault), runs > 1);
        od_free(first);
        od_free(second);
    }
    assert_int_equal(runs, 1 + 2 * 2);
    assert_int_equal(first_failed, 2);
    assert_int_equal(second_failed, 3); // and once because the fault at the first persisted
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_behaves_like_the_standard_library), cmocka_unit_test(a_transient_fault_fails_one_call),
        cmocka_unit_test(a_persistent_fault_fails_all_later_calls), cmocka_unit_test(every_allocation_is_a_fault_point),
        cmocka_unit_test(the_loop_meets_each_point_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
