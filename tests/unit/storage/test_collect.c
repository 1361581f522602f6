// test_collect.c - collections on the real stores: what goes, what stays and until when; a mark that became void; every step
// failing. tests/sim/collect.c has the histories.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/collect.h"
#include "storage/describe.h"
#include "storage/fsck.h"
#include "storage/rebuild.h"

#include <stdio.h>
#include <stdlib.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;
static const struct od_collect_policy AT_ONCE = {.history_us = UINT64_MAX}; // test_long_history.c has less

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    return 0;
}

static int tear_down(void **state)
{
    od_store_close(store);
    od_objstore_close(objects);
    od_metastore_close(meta);
    return scratch_remove(state);
}

// One layer for each value; the first block holds the last one.
static void write_layers(const char *name, int values)
{
    static uint8_t block[16384];
    struct od_volume *volume;
    uint64_t lsn;
    assert_int_equal(od_volume_open(store, name, true, &volume, NULL), OD_OK);
    for (int i = 1; i <= values; i++) {
        memset(block, i, sizeof block);
        assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
        assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
        assert_int_equal(od_volume_publish(volume, NULL), OD_OK);
    }
    od_volume_close(volume);
}

static void make(const char *name, int values)
{
    assert_int_equal(od_store_create(store, name, NULL), OD_OK);
    write_layers(name, values);
}

static struct od_meta_snapshot snapshot(const char *database, const char *name)
{
    struct od_meta_snapshot row;
    assert_int_equal(od_store_snapshot_create(store, database, name, NULL, &row, NULL), OD_OK);
    return row;
}

static struct od_collect_result collect(const struct od_collect_policy *policy)
{
    struct od_collect_result result;
    struct od_error err = {0};
    if (od_store_collect(store, policy, &result, &err) != OD_OK)
        fail_msg("%s", err.message);
    if (result.failed)
        fail_msg("%s", result.failure.message);
    return result;
}

static void tell(void *context, const char *key, const struct od_error *why)
{
    (void)context;
    fprintf(stderr, "%s: %s\n", key, why->message);
}

static od_code count_entry(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)key, (void)bytes, (void)err;
    ++*(size_t *)context;
    return OD_OK;
}

static size_t count(const char *prefix)
{
    size_t found = 0;
    assert_int_equal(od_objstore_list(objects, prefix, count_entry, &found, NULL), OD_OK);
    return found;
}

static void expect_sound(void)
{
    struct od_fsck fsck = {.platform = od_platform_real(), .objects = objects, .metadata = meta, .problem = tell};
    assert_int_equal(od_fsck_run(&fsck, NULL), OD_OK);
    assert_int_equal(fsck.problems, 0);
}

static void expect_block(const char *name, const struct od_position *position, int value)
{
    struct od_volume *volume;
    uint8_t byte = 0;
    od_code rc = position ? od_volume_open_at(store, name, position, &volume, NULL)
                          : od_volume_open(store, name, true, &volume, NULL);
    assert_int_equal(rc, OD_OK);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 12288 + 5000, &byte, 1, NULL), OD_OK);
    assert_int_equal(byte, value);
    od_volume_close(volume);
}

static void a_dropped_database_goes_in_two_passes(void **state)
{
    (void)state;
    make("kept", 2);
    make("gone", 3);
    assert_int_equal(collect(&AT_ONCE).forgotten, 0);
    assert_int_equal(od_store_drop(store, "gone", NULL), OD_OK);
    struct od_collect_policy day = od_collect_policy_default();
    struct od_collect_result result = collect(&day);
    assert_true(result.forgotten == 0 && result.waiting == 0);
    result = collect(&AT_ONCE);
    assert_true(result.forgotten == 3 && result.waiting == 3 && result.deleted == 0 && count("layers/") == 5);
    expect_sound();
    result = collect(&AT_ONCE);
    assert_true(result.deleted == 3 && result.bytes > 3 * 16384 && count("layers/") == 2 && count("condemned/") == 0);
    expect_sound();
    expect_block("kept", NULL, 2);
    result = collect(&AT_ONCE);
    assert_true(result.forgotten == 0 && result.deleted == 0 && result.waiting == 0 && result.unknown == 0);
}

static void what_stands_on_it_keeps_it(void **state)
{
    (void)state;
    make("d", 2);
    struct od_meta_snapshot named = snapshot("d", "named");
    write_layers("d", 3);
    assert_int_equal(od_store_clone(store, "d", NULL, NULL, "clone", NULL), OD_OK);
    write_layers("d", 4);
    struct od_meta_snapshot automatic = snapshot("d", NULL);
    assert_true(automatic.automatic);
    assert_int_equal(od_store_drop(store, "d", NULL), OD_OK);
    struct od_collect_policy policy = {
        .history_us = UINT64_MAX, .automatic_us = UINT64_MAX, .named_us = UINT64_MAX, .dropped_us = UINT64_MAX};
    assert_int_equal(collect(&policy).forgotten, 0);
    policy.automatic_us = policy.dropped_us = 0; // the automatic one goes, and what only it needed
    struct od_collect_result result = collect(&policy);
    assert_true(result.snapshots == 1 && result.forgotten == 7); // each layer wrote the same block
    assert_int_equal(collect(&policy).deleted, 7);
    expect_block("clone", NULL, 3);
    expect_block("d", &named.position, 2);
    expect_sound();
    // A reader keeps it in this process, whatever is dropped.
    struct od_volume *reader;
    uint8_t byte = 0;
    assert_int_equal(od_volume_open_at(store, "d", &named.position, &reader, NULL), OD_OK);
    assert_int_equal(od_store_drop(store, "clone", NULL), OD_OK);
    assert_int_equal(collect(&AT_ONCE).snapshots, 1);
    collect(&AT_ONCE);
    assert_int_equal(count("layers/"), 1);
    assert_int_equal(od_volume_read(reader, OD_VOLUME_DATABASE, 12288, &byte, 1, NULL), OD_OK);
    assert_int_equal(byte, 2);
    od_volume_close(reader);
    collect(&AT_ONCE);
    collect(&AT_ONCE);
    assert_int_equal(count("layers/"), 0);
    expect_sound();
}

static void an_earlier_self_is_part_of_the_database(void **state)
{
    (void)state;
    struct od_meta_snapshot before;
    make("d", 1);
    struct od_meta_snapshot first = snapshot("d", "first");
    write_layers("d", 3);
    assert_int_equal(od_store_restore(store, "d", "first", &before, NULL), OD_OK);
    write_layers("d", 2);
    for (int i = 0; i < 3; i++)
        assert_int_equal(collect(&AT_ONCE).forgotten, 0);
    expect_block("d", &before.position, 3);
    expect_block("d", &first.position, 1);
    assert_int_equal(od_store_drop(store, "d", NULL), OD_OK);
    collect(&AT_ONCE);
    collect(&AT_ONCE);
    assert_int_equal(count("layers/"), 0);
}

static void readers_have_their_time(void **state)
{
    (void)state;
    make("d", 2);
    assert_int_equal(od_store_drop(store, "d", NULL), OD_OK);
    const struct od_collect_policy slow = {.reader_us = UINT64_C(3600) * 1000000};
    assert_int_equal(collect(&slow).waiting, 2);
    for (int i = 0; i < 3; i++) {
        struct od_collect_result result = collect(&AT_ONCE); // the mark says when, not who comes by
        assert_true(result.waiting == 2 && result.deleted == 0);
    }
    assert_int_equal(count("layers/"), 2);
}

// The metadata was lost, and made again: what was condemned has rows again, and its time begins anew.
static void a_rebuild_voids_a_mark(void **state)
{
    (void)state;
    make("d", 2);
    assert_int_equal(od_store_drop(store, "d", NULL), OD_OK);
    collect(&AT_ONCE);
    assert_int_equal(count("condemned/"), 2);
    struct od_metastore *again;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("again.db"), true, &again, NULL), OD_OK);
    struct od_rebuild rebuild = {.objects = objects, .metadata = again};
    assert_int_equal(od_rebuild_run(&rebuild, NULL), OD_OK);
    assert_int_equal(rebuild.layers, 2);
    od_store_close(store);
    od_metastore_close(meta);
    meta = again;
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    const struct od_collect_policy slow = {.reader_us = UINT64_C(3600) * 1000000};
    struct od_collect_result result = collect(&slow);
    assert_int_equal(result.forgotten, 2);
    assert_int_equal(count("condemned/"), 0); // the void ones; new ones when nothing of the old can be seen any more
    assert_int_equal(collect(&slow).waiting, 2);
    assert_int_equal(collect(&AT_ONCE).deleted, 0);
    assert_int_equal(count("layers/"), 2);
}

static void what_is_not_understood_stays(void **state)
{
    (void)state;
    make("d", 2);
    assert_int_equal(od_objstore_put(objects, "layers/other", "x", 1, NULL), OD_OK);
    assert_int_equal(od_objstore_put(objects, "condemned/other", "x", 1, NULL), OD_OK);
    char key[64] = "layers/";
    struct od_uuid uuid = {{1}};
    od_uuid_format(&uuid, key + 7);
    assert_int_equal(od_objstore_put(objects, key, "x", 1, NULL), OD_OK);
    struct od_collect_result result;
    assert_int_equal(od_store_collect(store, &AT_ONCE, &result, NULL), OD_OK);
    assert_true(result.unknown == 1 && result.failed == 2 && result.waiting == 0);
    assert_int_equal(result.failure.code, OD_CORRUPT);
    assert_int_equal(count("layers/"), 4);
}

// Journals of a database that was dropped while they held what was not published.
static void journals_go_too(void **state)
{
    (void)state;
    struct od_meta_database row;
    char path[512], uuid[OD_UUID_TEXT_BYTES];
    make("d", 1);
    assert_int_equal(meta->ops->database_get(meta, "d", &row, NULL), OD_OK);
    od_uuid_format(&row.branch, uuid);
    snprintf(path, sizeof path, "journals/%s/left.journal", uuid);
    assert_int_equal(od_file_write(in_scratch(path), "x", 1, 0600, NULL), OD_OK);
    assert_int_equal(od_store_drop(store, "d", NULL), OD_OK);
    assert_int_equal(collect(&AT_ONCE).journals, 1);
    assert_false(od_file_exists(in_scratch(path)));
}

// Whatever fails, and wherever the process ends: what is in use reads, and later passes make up for it.
static void every_step_may_fail(void **state)
{
    uint64_t points = 0;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_collect_result result;
        od_fault_end(&fault);
        od_fault_disarm();
        make("d", 1);
        struct od_meta_snapshot named = snapshot("d", "named");
        write_layers("d", 1);
        make("gone", 2);
        assert_int_equal(od_store_drop(store, "gone", NULL), OD_OK);
        collect(&AT_ONCE); // condemned
        assert_int_equal(od_store_drop(store, "d", NULL), OD_OK);
        const struct od_collect_policy policy = {.named_us = UINT64_MAX};
        if (fault.run == 0)
            od_fault_start_counting();
        else
            od_fault_arm((fault.run - 1) / 2, fault.run % 2 == 0);
        od_code rc = od_store_collect(store, &policy, &result, &err); // deletes two, condemns one
        if (fault.run == 0)
            points = od_fault_count();
        od_fault_disarm();
        assert_true(fault.run > 0 || (rc == OD_OK && result.failed == 0));
        expect_block("d", &named.position, 1);
        for (int i = 0; i < 3; i++)
            collect(&policy);
        expect_block("d", &named.position, 1);
        assert_int_equal(count("layers/"), 1);
        assert_int_equal(count("condemned/"), 0);
        assert_int_equal(count("dropped/"), 2);
        fault.points = points;
        assert_int_equal(tear_down(state), 0);
        assert_int_equal(set_up(state), 0);
    }
    assert_true(points > 30);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_dropped_database_goes_in_two_passes),
        TEST(what_stands_on_it_keeps_it),
        TEST(an_earlier_self_is_part_of_the_database),
        TEST(readers_have_their_time),
        TEST(a_rebuild_voids_a_mark),
        TEST(what_is_not_understood_stays),
        TEST(journals_go_too),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
