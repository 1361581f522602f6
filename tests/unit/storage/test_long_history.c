// test_long_history.c - a database that is sealed again and again: its footers name few layers, its memory stays small, old
// positions are read as they were.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/collect.h"
#include "storage/footer.h"
#include "storage/fsck.h"
#include "storage/rebuild.h"
#include "storage/volume_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define BLOCK 16384u
#define GRID 12288u

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;
static struct od_volume *volume;
static struct model *model;
static uint32_t seed;

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    seed = 7;
    model = calloc(1, sizeof *model);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    return model ? 0 : -1;
}

static int tear_down(void **state)
{
    od_volume_close(volume);
    od_store_close(store);
    od_objstore_close(objects);
    od_metastore_close(meta);
    free(model);
    return scratch_remove(state);
}

static void put(enum od_volume_file file, uint64_t offset, size_t bytes)
{
    static uint8_t data[BLOCK];
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)next_random(&seed);
    assert_int_equal(od_volume_write(volume, file, offset, data, bytes, NULL), OD_OK);
    memcpy(model->files[file].bytes + offset, data, bytes);
    model->files[file].exists = true;
    if (offset + bytes > model->files[file].size)
        model->files[file].size = offset + bytes;
}

static void seal(void)
{
    uint64_t lsn;
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
    assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
    assert_int_equal(od_volume_publish(volume, NULL), OD_OK);
}

// What a checkpoint does: a block or two, a header.
static void write_and_seal(unsigned number, unsigned blocks)
{
    if (number == 0)
        for (unsigned i = 0; i < 3; i++)
            put(OD_VOLUME_DATABASE, 4096 * i, 4096);
    put(OD_VOLUME_DATABASE, 4096 + 4096 * (number % 2), 4096);
    put(OD_VOLUME_DATABASE, GRID + (uint64_t)(number % blocks) * BLOCK, BLOCK);
    put(OD_VOLUME_WAL, model->files[OD_VOLUME_WAL].size % 3000, 100);
    seal();
}

static uint32_t layers_named(void)
{
    struct od_footer footer;
    struct od_journal *tip;
    assert_int_equal(od_layer_open(objects, &volume->branch.tip_layer, &tip, NULL), OD_OK);
    assert_int_equal(od_footer_read(tip, 0, &footer, NULL), OD_OK);
    uint32_t count = footer.below_count;
    od_footer_release(&footer);
    od_journal_close(tip);
    return count;
}

static void expect_sound(void)
{
    struct od_fsck fsck = {.platform = od_platform_real(), .objects = objects, .metadata = meta};
    assert_int_equal(od_fsck_run(&fsck, NULL), OD_OK);
    assert_int_equal(fsck.problems, 0);
}

static void a_footer_names_what_is_needed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 150; i++) {
        write_and_seal(i, 5);
        assert_true(layers_named() <= 2 * 6 + 1);             // five blocks, and what lay around
        assert_true(volume->lineage.count <= 2 * 6 + 3 + 30); // the WAL's pieces are in memory where they were written
    }
    expect_equal(volume, model);
    od_volume_close(volume);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    expect_equal(volume, model);
    assert_true(volume->lineage.count <= 2 * 6 + 3);
    expect_sound();
}

static void old_positions_stay_readable(void **state)
{
    (void)state;
    enum { KEPT = 12 };
    struct model *then = calloc(KEPT, sizeof *then);
    uint64_t at[KEPT];
    assert_non_null(then);
    for (unsigned i = 0; i < 10 * KEPT; i++) {
        write_and_seal(i, 7);
        if (i % 10 == 9) {
            at[i / 10] = od_volume_barrier_lsn(volume);
            then[i / 10] = *model;
        }
    }
    for (unsigned i = 0; i < KEPT; i++) {
        struct od_position position;
        struct od_volume *frozen;
        char selector[32];
        snprintf(selector, sizeof selector, "%llu", (unsigned long long)at[i]);
        assert_int_equal(od_store_resolve(store, "d", selector, volume, &position, NULL), OD_OK);
        assert_int_equal(od_volume_open_at(store, "d", &position, &frozen, NULL), OD_OK);
        expect_equal(frozen, &then[i]);
        od_volume_close(frozen);
    }
    free(then);
}

// What was brought along is read from where it was brought, also by the volume that runs.
static void the_running_volume_needs_no_more_than_its_footer(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 40; i++)
        write_and_seal(i, 3);
    for (size_t i = 0; i < volume->lineage.count; i++) {
        uint32_t depth = volume->lineage.entries[i].ref.depth;
        bool wal = false;
        for (size_t k = 0; k < volume->files.extents[OD_VOLUME_WAL].count; k++)
            wal = wal || od_place_depth(volume->files.extents[OD_VOLUME_WAL].items[k].place) == depth;
        assert_true(wal || depth + 12 > od_lineage_next(&volume->lineage));
    }
    expect_equal(volume, model);
}

static size_t layers_kept(void)
{
    struct od_meta_layer *rows;
    size_t count;
    assert_int_equal(meta->ops->layer_list(meta, &volume->branch.branch, &rows, &count, NULL), OD_OK);
    od_free(rows);
    return count;
}

static od_code count_object(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)key, (void)bytes, (void)err;
    ++*(size_t *)context;
    return OD_OK;
}

static void collect_twice(const struct od_collect_policy *policy)
{
    for (int i = 0; i < 2; i++) {
        struct od_collect_result result;
        struct od_error err = {0};
        if (od_store_collect(store, policy, &result, &err) != OD_OK)
            fail_msg("%s", err.message);
        if (result.failed)
            fail_msg("%s", result.failure.message);
    }
}

static void expect_at(const char *selector, const struct model *then)
{
    struct od_position position;
    struct od_volume *frozen;
    assert_int_equal(od_store_resolve(store, "d", selector, volume, &position, NULL), OD_OK);
    assert_int_equal(od_volume_open_at(store, "d", &position, &frozen, NULL), OD_OK);
    expect_equal(frozen, then);
    od_volume_close(frozen);
}

static od_code resolve(uint64_t number)
{
    struct od_position position;
    char selector[32];
    snprintf(selector, sizeof selector, "%llu", (unsigned long long)number);
    return od_store_resolve(store, "d", selector, volume, &position, NULL);
}

static od_code resolve_time(uint64_t us)
{
    struct od_position position;
    char selector[64];
    struct tm parts;
    time_t seconds = (time_t)(us / 1000000);
    gmtime_r(&seconds, &parts);
    size_t at = strftime(selector, sizeof selector, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(selector + at, sizeof selector - at, ".%06uZ", (unsigned)(us % 1000000));
    return od_store_resolve(store, "d", selector, NULL, &position, NULL);
}

// The history that is kept is the newest state, snapshots and clones; what lies between is gone, and said to be.
static void old_layers_go(void **state)
{
    (void)state;
    struct od_meta_snapshot snapshot;
    struct model *then = calloc(2, sizeof *then);
    uint64_t between = 0, between_us = 0;
    assert_non_null(then);
    for (unsigned i = 0; i < 60; i++) {
        write_and_seal(i, 5);
        if (i == 20) {
            assert_int_equal(od_store_snapshot_create(store, "d", "kept", volume, &snapshot, NULL), OD_OK);
            then[0] = *model;
        } else if (i == 30) {
            between = od_volume_barrier_lsn(volume);
            between_us = volume->time_us;
        } else if (i == 40) {
            assert_int_equal(od_store_clone(store, "d", NULL, volume, "copy", NULL), OD_OK);
            then[1] = *model;
        }
    }
    assert_int_equal(resolve(between), OD_OK);
    assert_int_equal(resolve_time(between_us), OD_OK);
    struct od_collect_policy policy = od_collect_policy_default();
    collect_twice(&policy);
    assert_int_equal(layers_kept(), 60);
    policy = (struct od_collect_policy){.named_us = UINT64_MAX};
    od_volume_close(volume); // one that is open needs the WAL's pieces where they were written
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    collect_twice(&policy);
    size_t objects_left = 0;
    assert_int_equal(od_objstore_list(objects, "layers/", count_object, &objects_left, NULL), OD_OK);
    assert_true(layers_kept() <= 3 * 13 && objects_left == layers_kept());
    expect_equal(volume, model);
    expect_at("kept", &then[0]);
    assert_int_equal(resolve(between), OD_NOT_FOUND);
    assert_int_equal(resolve_time(between_us), OD_NOT_FOUND);
    expect_sound();
    od_volume_close(volume);
    assert_int_equal(od_volume_open(store, "copy", true, &volume, NULL), OD_OK);
    expect_equal(volume, &then[1]);
    od_volume_close(volume);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    expect_equal(volume, model);
    // The metadata is made again of what is left.
    size_t rows = layers_kept();
    od_volume_close(volume);
    od_store_close(store);
    od_metastore_close(meta);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("again.db"), true, &meta, NULL), OD_OK);
    struct od_rebuild rebuild = {.objects = objects, .metadata = meta};
    struct od_error err = {0};
    if (od_rebuild_run(&rebuild, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(layers_kept(), rows);
    expect_equal(volume, model);
    expect_at("kept", &then[0]);
    expect_sound();
    collect_twice(&policy);
    expect_equal(volume, model);
    expect_at("kept", &then[0]);
    expect_sound();
    free(then);
}

// Blocks written once, one in each layer, then nothing but commits: the layers that hold them become one.
static void write_scattered(unsigned blocks)
{
    for (unsigned i = 0; i < blocks; i++)
        write_and_seal(i, blocks);
}

static void merge_all(void)
{
    for (unsigned i = 0; i < 6; i++)
        assert_int_equal(od_volume_maintain(volume, NULL), OD_OK);
    seal(); // from here on the footers say so
    for (unsigned i = 0; i < 3; i++) {
        put(OD_VOLUME_WAL, 0, 100);
        seal();
    }
}

static void small_layers_become_one(void **state)
{
    (void)state;
    write_scattered(24);
    uint32_t scattered = layers_named();
    assert_true(scattered >= 20);
    merge_all();
    expect_equal(volume, model);
    while (layers_named() > 3) { // a list is looked through when it has become twice as long
        put(OD_VOLUME_WAL, 0, 100);
        seal();
        assert_true(layers_named() < 60);
    }
    expect_equal(volume, model);
    expect_sound();
    od_volume_close(volume);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    expect_equal(volume, model);
    const struct od_collect_policy policy = {0};
    collect_twice(&policy);
    assert_true(layers_kept() <= 5);
    expect_equal(volume, model);
    expect_sound();
}

// DuckDB writes a block while it is being moved.
static od_code (*real_read)(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err);
static unsigned written_meanwhile;

static od_code write_meanwhile(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    od_code rc = real_read(object, offset, out, bytes, err);
    if (rc == OD_OK && bytes == BLOCK && written_meanwhile < 20 && pthread_mutex_trylock(&volume->lock) == 0) {
        pthread_mutex_unlock(&volume->lock);
        unsigned number = written_meanwhile++;
        for (unsigned i = 0; i < 24; i += 1 + number % 3) // whichever it is that moves
            put(OD_VOLUME_DATABASE, GRID + (uint64_t)i * BLOCK, BLOCK);
    }
    return rc;
}

static void who_writes_meanwhile_wins(void **state)
{
    (void)state;
    const struct od_objstore_ops *real = objects->ops;
    static struct od_objstore_ops hooked;
    hooked = *real;
    real_read = hooked.object_read;
    hooked.object_read = write_meanwhile;
    written_meanwhile = 20;
    objects->ops = &hooked;
    write_scattered(24);
    assert_true(volume->merge.wanted);
    for (unsigned i = 0; i < 12; i++) {
        uint64_t lsn;
        written_meanwhile = i < 3 ? 17 : 20; // three times
        assert_int_equal(od_volume_maintain(volume, NULL), OD_OK);
        assert_true(i > 0 || written_meanwhile > 17);
        written_meanwhile = 20;
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        expect_equal(volume, model);
    }
    seal();
    od_volume_close(volume);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    expect_equal(volume, model);
    expect_sound();
    objects->ops = real;
}

static void every_step_may_fail(void **state)
{
    (void)state;
    write_scattered(4);
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        volume->merge.wanted = true;
        od_fault_expect(&fault, od_volume_merge(volume, &err), &err);
        od_fault_end(&fault);
        if (od_volume_health(volume, NULL) != OD_OK) {
            od_volume_close(volume);
            assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
        }
        expect_equal(volume, model);
        write_scattered(4); // for the next time
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_footer_names_what_is_needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_positions_stay_readable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(small_layers_become_one, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_step_may_fail, set_up, tear_down),
        cmocka_unit_test_setup_teardown(who_writes_meanwhile_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_layers_go, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_running_volume_needs_no_more_than_its_footer, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
