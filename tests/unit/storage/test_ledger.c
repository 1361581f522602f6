#include "storage/ledger.h"
#include "support/fault.h"

#include <stdio.h>

static void add(struct od_ledger *ledger, int number, uint64_t time_us)
{
    struct od_ledger_entry entry = {.changed_rows = (uint64_t)number, .time_us = time_us, .lsn = 16};
    snprintf(entry.request_id, sizeof entry.request_id, "request-%d", number);
    assert_int_equal(od_ledger_prepare(ledger, NULL), OD_OK);
    od_ledger_add(ledger, &entry);
}

static bool knows(const struct od_ledger *ledger, int number)
{
    struct od_ledger_entry entry;
    char id[OD_REQUEST_ID_BYTES];
    snprintf(id, sizeof id, "request-%d", number);
    if (!od_ledger_find(ledger, id, &entry))
        return false;
    assert_string_equal(entry.request_id, id);
    assert_int_equal(entry.changed_rows, number);
    return true;
}

static void entries_are_found_within_the_window(void **state)
{
    (void)state;
    struct od_ledger ledger = {.window_us = 1000};
    assert_false(knows(&ledger, 1));
    for (int i = 0; i < 10000; i++) {
        add(&ledger, i, (uint64_t)i);
        assert_true(knows(&ledger, i));
        assert_true(knows(&ledger, i < 1000 ? 0 : i - 1000));
        if (i > 1000)
            assert_false(knows(&ledger, i - 1001));
    }
    assert_int_equal(ledger.count, 1001);
    add(&ledger, 10000, 1000000);
    assert_int_equal(ledger.count, 1);
    od_ledger_release(&ledger);
}

static void the_newest_are_kept_when_it_is_full(void **state)
{
    (void)state;
    struct od_ledger ledger = {.window_us = UINT64_C(1) << 60};
    for (unsigned i = 0; i < OD_LEDGER_ENTRIES_MAX + 100; i++)
        add(&ledger, (int)i, i);
    assert_int_equal(ledger.count, OD_LEDGER_ENTRIES_MAX);
    assert_false(knows(&ledger, 99));
    assert_true(knows(&ledger, 100));
    assert_true(knows(&ledger, OD_LEDGER_ENTRIES_MAX + 99));
    od_ledger_release(&ledger);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_ledger ledger = {.window_us = 1000};
        od_code rc = OD_OK;
        int known = 0;
        for (; known < 70; known++) {
            struct od_ledger_entry entry = {.changed_rows = (uint64_t)known};
            snprintf(entry.request_id, sizeof entry.request_id, "request-%d", known);
            OD_TRY(od_ledger_prepare(&ledger, &err));
            od_ledger_add(&ledger, &entry);
        }
    out:
        od_fault_expect(&fault, rc, &err);
        for (int i = 0; i < known; i++)
            assert_true(knows(&ledger, i));
        od_ledger_release(&ledger);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_found_within_the_window),
        cmocka_unit_test(the_newest_are_kept_when_it_is_full),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
