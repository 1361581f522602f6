// Tests of src/server/table.c.
#include "base/alloc.h"
#include "server/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define COUNT 1000u

static struct od_key key_of(unsigned n)
{
    struct od_key key = {{0}};
    // Many keys share a bucket: the first bytes, which are the hash, have few values.
    key.bytes[0] = (uint8_t)(n % 7);
    memcpy(key.bytes + 8, &n, sizeof n);
    return key;
}

static void test_put_find_remove(void **state)
{
    (void)state;
    static struct od_node nodes[COUNT];
    struct od_table table;
    od_table_init(&table);
    struct od_key key = key_of(0);
    assert_null(od_table_find(&table, &key));
    for (unsigned i = 0; i < COUNT; i++) {
        key = key_of(i);
        assert_int_equal(od_table_put(&table, &nodes[i], &key, NULL), OD_OK);
    }
    assert_int_equal(table.count, COUNT);
    for (unsigned i = 0; i < COUNT; i += 2)
        od_table_remove(&table, &nodes[i]);
    od_table_remove(&table, &nodes[0]); // again: harmless
    for (unsigned i = 0; i < COUNT; i++) {
        key = key_of(i);
        assert_ptr_equal(od_table_find(&table, &key), i % 2 ? &nodes[i] : NULL);
    }
    od_table_release(&table);
    memset(nodes, 0, sizeof nodes);
}

static void test_walk(void **state)
{
    (void)state;
    struct od_node nodes[300] = {0};
    bool seen[300] = {false};
    struct od_table table;
    od_table_init(&table);
    assert_null(od_table_next(&table, NULL));
    for (unsigned i = 0; i < 300; i++) {
        struct od_key key = key_of(i);
        assert_int_equal(od_table_put(&table, &nodes[i], &key, NULL), OD_OK);
    }
    unsigned count = 0;
    for (struct od_node *node = od_table_next(&table, NULL), *next; node; node = next) {
        assert_false(seen[node - nodes]);
        seen[node - nodes] = true;
        count++;
        next = od_table_next(&table, node);
        od_table_remove(&table, node);
    }
    assert_int_equal(count, 300);
    assert_int_equal(table.count, 0);
    od_table_release(&table);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct od_node first = {0}, more[200] = {0};
    struct od_table table;
    struct od_error err = {0};
    struct od_key key = key_of(1);
    od_table_init(&table);
    od_fault_arm(0, true);
    assert_int_equal(od_table_put(&table, &first, &key, &err), OD_NO_MEMORY);
    assert_false(first.inside);
    od_fault_disarm();
    assert_int_equal(od_table_put(&table, &first, &key, &err), OD_OK);
    // Without memory to grow it goes on with longer chains.
    od_fault_arm(0, true);
    for (unsigned i = 0; i < 200; i++) {
        key = key_of(i + 10);
        assert_int_equal(od_table_put(&table, &more[i], &key, &err), OD_OK);
    }
    od_fault_disarm();
    for (unsigned i = 0; i < 200; i++) {
        key = key_of(i + 10);
        assert_ptr_equal(od_table_find(&table, &key), &more[i]);
    }
    od_table_release(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_put_find_remove),
        cmocka_unit_test(test_walk),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
