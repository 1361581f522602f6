// test_snapshot_policy.c - when automatic snapshots are made and which ones go.
#include "server/snapshot_policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define MINUTE UINT64_C(60000000)
#define ROWS_MAX 200

static struct od_meta_snapshot rows[ROWS_MAX];
static bool drop[ROWS_MAX];
static size_t count;
static bool create;

static void add(uint64_t created_us, uint64_t lsn, bool automatic)
{
    rows[count++] = (struct od_meta_snapshot){.created_us = created_us, .position.lsn = lsn, .automatic = automatic};
}

static size_t plan(uint64_t every_us, uint64_t keep, uint64_t lsn, uint64_t now_us)
{
    const struct od_snapshot_policy policy = {every_us, keep};
    const struct od_position newest = {.lsn = lsn};
    size_t dropped = 0;
    od_snapshot_policy_plan(&policy, rows, count, &newest, now_us, &create, drop);
    for (size_t i = 0; i < count; i++)
        dropped += drop[i];
    return dropped;
}

static int set_up(void **state)
{
    (void)state;
    count = 0;
    return 0;
}

static void one_is_made_for_each_interval_with_commits(void **state)
{
    (void)state;
    assert_int_equal(plan(15 * MINUTE, 3, 100, 1000 * MINUTE), 0);
    assert_true(create); // the first
    add(1000 * MINUTE, 100, true);
    assert_int_equal(plan(15 * MINUTE, 3, 100, 1020 * MINUTE), 0);
    assert_false(create); // nothing new
    (void)plan(15 * MINUTE, 3, 200, 1014 * MINUTE);
    assert_false(create); // too early
    (void)plan(15 * MINUTE, 3, 200, 1015 * MINUTE);
    assert_true(create);
    add(1014 * MINUTE, 200, false); // by hand, of the same state
    (void)plan(15 * MINUTE, 3, 200, 1015 * MINUTE);
    assert_false(create);
    (void)plan(15 * MINUTE, 3, 300, 1015 * MINUTE); // one by hand does not put it off
    assert_true(create);
}

static void only_automatic_ones_beyond_the_number_go(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 10; i++)
        add((9 - i) * MINUTE, i, i % 2 == 0); // the oldest last; every other one by hand
    assert_int_equal(plan(100 * MINUTE, 3, 9, 10 * MINUTE), 2);
    assert_false(create);
    assert_true(drop[8] && drop[6]);                           // the oldest automatic ones
    assert_int_equal(plan(1 * MINUTE, 3, 77, 10 * MINUTE), 3); // one more is coming
    assert_true(create);
    assert_true(drop[8] && drop[6] && drop[4]);
    assert_int_equal(plan(1 * MINUTE, 1, 77, 10 * MINUTE), 5);
    assert_int_equal(plan(0, 1, 77, 10 * MINUTE), 0); // switched off
    assert_false(create);
}

static void equal_times_keep_the_number(void **state)
{
    (void)state;
    for (int i = 0; i < 6; i++)
        add(5 * MINUTE, 10, true);
    assert_int_equal(plan(1000 * MINUTE, 4, 11, 6 * MINUTE), 2);
    assert_true(drop[0] && drop[1]);
}

static void a_clock_that_was_set_back_stops_nothing(void **state)
{
    (void)state;
    add(5000 * MINUTE, 10, true);
    assert_int_equal(plan(15 * MINUTE, 2, 20, 100 * MINUTE), 0);
    assert_true(create);
    add(100 * MINUTE, 20, true);
    (void)plan(15 * MINUTE, 2, 30, 101 * MINUTE);
    assert_false(create);
}

// A month of a busy database: the number is kept, and they are as far apart as was asked.
static void a_long_run(void **state)
{
    (void)state;
    uint64_t last = 0, made = 0;
    for (uint64_t now = 1; now < 60 * 24 * 30; now++) {
        size_t kept = 0;
        (void)plan(15 * MINUTE, 96, now, now * MINUTE);
        for (size_t i = 0; i < count; i++)
            if (!drop[i])
                rows[kept++] = rows[i];
        count = kept;
        if (!create)
            continue;
        assert_true(last == 0 || now - last == 15);
        last = now;
        made++;
        add(now * MINUTE, now, true);
        assert_true(count <= 96);
    }
    assert_int_equal(count, 96);
    assert_int_equal(made, 4 * 24 * 30);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, set_up)
    const struct CMUnitTest tests[] = {
        TEST(one_is_made_for_each_interval_with_commits),
        TEST(only_automatic_ones_beyond_the_number_go),
        TEST(equal_times_keep_the_number),
        TEST(a_clock_that_was_set_back_stops_nothing),
        TEST(a_long_run),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
