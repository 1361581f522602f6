// Tests of src/server/reply_cache.c.
#include "base/alloc.h"
#include "server/reply_cache.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct od_key key_of(unsigned n)
{
    struct od_key key = {{0}};
    memcpy(key.bytes, &n, sizeof n);
    return key;
}

static struct od_reply *reply_of(void)
{
    struct od_segment head = {od_alloc(100), 100};
    struct od_reply *reply;
    memset((void *)(uintptr_t)head.data, 1, head.bytes);
    assert_int_equal(od_reply_new(head, 3, NULL, 0, &reply, NULL), OD_OK);
    return reply;
}

// -1: unknown; 0: only the fact; 1: the answer
static int found(struct od_reply_cache *cache, unsigned n, uint64_t now)
{
    struct od_reply *reply;
    struct od_key key = key_of(n);
    if (!od_reply_cache_find(cache, &key, now, &reply))
        return -1;
    int whole = reply != NULL;
    od_reply_unref(reply);
    return whole;
}

static void put(struct od_reply_cache *cache, unsigned n, bool whole, uint64_t now)
{
    struct od_reply *reply = whole ? reply_of() : NULL;
    struct od_key key = key_of(n);
    assert_true(od_reply_cache_put(cache, &key, reply, now));
    od_reply_unref(reply);
}

static void test_kept_for_a_while(void **state)
{
    (void)state;
    struct od_reply_cache cache;
    od_reply_cache_init(&cache, 100, 1 << 20, 1000);
    put(&cache, 1, true, 1000);
    put(&cache, 2, false, 1050);
    put(&cache, 1, false, 1060); // the first answer stays
    assert_int_equal(found(&cache, 1, 1099), 1);
    assert_int_equal(found(&cache, 2, 1099), 0);
    assert_int_equal(found(&cache, 3, 1099), -1);
    assert_int_equal(found(&cache, 1, 1100), -1);
    assert_int_equal(found(&cache, 2, 1100), 0);
    assert_int_equal(found(&cache, 2, 1150), -1);
    assert_int_equal(cache.table.count, 0);
    assert_int_equal(cache.bytes, 0);
    put(&cache, 1, true, 1200);
    assert_int_equal(found(&cache, 1, 1200), 1);
    od_reply_cache_release(&cache);
}

static void test_oldest_answers_shrink_to_facts(void **state)
{
    (void)state;
    struct od_reply_cache cache;
    struct od_reply *one = reply_of();
    size_t bytes = od_reply_bytes(one);
    od_reply_unref(one);
    od_reply_cache_init(&cache, 1000, 3 * bytes, 1000);
    for (unsigned n = 0; n < 5; n++)
        put(&cache, n, true, 10);
    for (unsigned n = 0; n < 5; n++)
        assert_int_equal(found(&cache, n, 20), n >= 2);
    put(&cache, 5, false, 20);
    put(&cache, 6, true, 20);
    for (unsigned n = 0; n < 7; n++)
        assert_int_equal(found(&cache, n, 20), n >= 3 && n != 5);
    assert_int_equal(cache.bytes, 3 * bytes);
    od_reply_cache_release(&cache);
    assert_int_equal(cache.bytes, 0);
}

static void test_entries_are_bounded(void **state)
{
    (void)state;
    struct od_reply_cache cache;
    od_reply_cache_init(&cache, 1000, 1 << 20, 10);
    for (unsigned n = 0; n < 25; n++)
        put(&cache, n, n % 2, n);
    assert_int_equal(cache.table.count, 10);
    for (unsigned n = 0; n < 25; n++)
        assert_int_equal(found(&cache, n, 25), n < 15 ? -1 : (int)(n % 2));
    od_reply_cache_release(&cache);
}

static void test_without_memory(void **state)
{
    (void)state;
    struct od_reply_cache cache;
    struct od_reply *reply = reply_of();
    struct od_key key = key_of(1);
    od_reply_cache_init(&cache, 1000, 1 << 20, 10);
    od_fault_arm(0, true);
    assert_false(od_reply_cache_put(&cache, &key, reply, 1));
    od_fault_disarm();
    assert_int_equal(found(&cache, 1, 2), -1);
    od_reply_unref(reply);
    od_reply_cache_release(&cache);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_kept_for_a_while),
        cmocka_unit_test(test_oldest_answers_shrink_to_facts),
        cmocka_unit_test(test_entries_are_bounded),
        cmocka_unit_test(test_without_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
