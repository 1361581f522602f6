#include "storage/page_table.h"
#include "support/fault.h"

static void entries_are_kept_and_cut(void **state)
{
    (void)state;
    struct od_page_table table = {0};
    for (uint64_t i = 0; i < 5000; i += 7) {
        assert_int_equal(od_page_prepare(&table, i, NULL), OD_OK);
        od_page_set(&table, i, (struct od_page){od_place_make(3, 16 * i + 16), i});
    }
    for (uint64_t i = 0; i < 6000; i++) {
        struct od_page page = od_page_get(&table, i);
        bool there = i < 5000 && i % 7 == 0;
        assert_int_equal(page.hash, there ? i : 0);
        if (there) {
            assert_int_equal(od_place_depth(page.place), 3);
            assert_int_equal(od_place_offset(page.place), 16 * i + 16);
        }
    }
    od_page_verified(&table, 7, od_place_make(3, 16 * 7 + 16));
    od_page_verified(&table, 14, od_place_make(3, 16 * 7 + 16)); // another place meanwhile
    assert_true(od_page_get(&table, 7).place & OD_PLACE_VERIFIED);
    assert_false(od_page_get(&table, 14).place & OD_PLACE_VERIFIED);
    assert_int_equal(od_place_depth(od_page_get(&table, 7).place), 3);
    assert_int_equal(od_page_table_cut_prepare(&table, 1400, NULL), OD_OK);
    od_page_table_cut(&table, 1400);
    assert_int_equal(od_page_get(&table, 1393).hash, 1393);
    assert_int_equal(od_page_get(&table, 1400).hash, 0);
    assert_int_equal(od_page_get(&table, 4900).hash, 0);
    assert_int_equal(table.loaded, 2);
    assert_int_equal(od_page_prepare(&table, OD_BLOCKS_MAX, NULL), OD_LIMIT);
    od_page_table_release(&table);
}

static void a_copy_stays_as_it_was(void **state)
{
    (void)state;
    struct od_page_table table = {0}, copy;
    for (uint64_t i = 0; i < 3000; i++) {
        assert_int_equal(od_page_prepare(&table, i, NULL), OD_OK);
        od_page_set(&table, i, (struct od_page){16, i});
    }
    assert_int_equal(od_page_table_copy(&copy, &table, NULL), OD_OK);
    assert_ptr_equal(copy.leaves[1], table.leaves[1]);
    assert_int_equal(od_page_prepare(&table, 1500, NULL), OD_OK);
    od_page_set(&table, 1500, (struct od_page){32, 1});
    assert_int_equal(od_page_table_cut_prepare(&table, 100, NULL), OD_OK);
    od_page_table_cut(&table, 100);
    for (uint64_t i = 0; i < 3000; i++)
        assert_int_equal(od_page_get(&copy, i).hash, i);
    assert_int_equal(od_page_get(&table, 1500).hash, 0);
    od_page_table_release(&table);
    assert_int_equal(od_page_get(&copy, 2999).hash, 2999);
    od_page_table_release(&copy);
}

static void memory_may_run_out(void **state)
{
    (void)state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_page_table table = {0}, copy = {0};
        od_code rc = OD_OK;
        OD_TRY(od_page_prepare(&table, 10, &err));
        od_page_set(&table, 10, (struct od_page){16, 1});
        OD_TRY(od_page_table_copy(&copy, &table, &err));
        OD_TRY(od_page_prepare(&table, 5000, &err));
        OD_TRY(od_page_table_cut_prepare(&table, 5, &err));
    out:
        od_fault_expect(&fault, rc, &err);
        od_page_table_release(&table);
        od_page_table_release(&copy);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_kept_and_cut),
        cmocka_unit_test(a_copy_stays_as_it_was),
        cmocka_unit_test(memory_may_run_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
