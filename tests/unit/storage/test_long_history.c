// test_long_history.c - a database that is sealed again and again: its footers name few layers, its memory stays small, old
// positions are read as they were.
#include "fixture.h"

#include "base/log.h"
#include "storage/footer.h"
#include "storage/fsck.h"
#include "storage/volume_internal.h"

#include <stdio.h>
#include <stdlib.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_footer_names_what_is_needed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(old_positions_stay_readable, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_running_volume_needs_no_more_than_its_footer, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
