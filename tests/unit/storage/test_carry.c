// test_carry.c - what a seal brings along: an empty machine opens with few requests, WAL files never lie in many layers, and
// everything stays what it was.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "objstore/cache.h"
#include "storage/footer.h"
#include "storage/fsck.h"

#include <stdlib.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct model *model;
static uint32_t seed;

// ---- requests of the object store, counted

static struct od_objstore_ops counted;
static od_code (*real_open)(struct od_objstore *store, const char *key, struct od_object **object,
                            struct od_error *err);
static od_code (*real_read)(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err);
static unsigned opens, reads;

static od_code count_open(struct od_objstore *store, const char *key, struct od_object **object, struct od_error *err)
{
    opens++;
    return real_open(store, key, object, err);
}

static od_code count_read(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    reads++;
    return real_read(object, offset, out, bytes, err);
}

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    seed = 99;
    model = calloc(1, sizeof *model);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    counted = *objects->ops;
    real_open = counted.open;
    real_read = counted.object_read;
    counted.open = count_open;
    counted.object_read = count_read;
    objects->ops = &counted;
    opens = reads = 0;
    return 0;
}

static int tear_down(void **state)
{
    free(model);
    od_objstore_close(objects);
    od_metastore_close(meta);
    return scratch_remove(state);
}

static void put(struct od_volume *volume, enum od_volume_file file, uint64_t offset, size_t bytes)
{
    static uint8_t data[MODEL_BYTES];
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)next_random(&seed);
    assert_int_equal(od_volume_write(volume, file, offset, data, bytes, NULL), OD_OK);
    memcpy(model->files[file].bytes + offset, data, bytes);
    model->files[file].exists = true;
    if (offset + bytes > model->files[file].size)
        model->files[file].size = offset + bytes;
}

static void seal(struct od_volume *volume)
{
    uint64_t lsn;
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
    assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
    assert_int_equal(od_volume_publish(volume, NULL), OD_OK);
}

// As DuckDB does it: a database file once, then commits that grow the WAL.
static void write_history(struct od_store *store, unsigned layers, size_t wal_bytes)
{
    struct od_volume *volume;
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    for (unsigned i = 0; i < 3; i++)
        put(volume, OD_VOLUME_DATABASE, 4096 * i, 4096);
    put(volume, OD_VOLUME_DATABASE, 12288, 16384);
    seal(volume);
    put(volume, OD_VOLUME_DATABASE, 8192, 4096);
    put(volume, OD_VOLUME_DATABASE, 12288 + 16384, 16384);
    seal(volume);
    for (unsigned i = 0; i < layers; i++) {
        put(volume, OD_VOLUME_WAL, model->files[OD_VOLUME_WAL].size, wal_bytes / 2);
        put(volume, OD_VOLUME_WAL, model->files[OD_VOLUME_WAL].size, wal_bytes - wal_bytes / 2);
        seal(volume);
    }
    od_volume_close(volume);
}

static void expect_sound(void)
{
    struct od_fsck fsck = {.platform = od_platform_real(), .objects = objects, .metadata = meta};
    assert_int_equal(od_fsck_run(&fsck, NULL), OD_OK);
    assert_int_equal(fsck.problems, 0);
}

static void an_empty_machine_opens_with_few_requests(void **state)
{
    (void)state;
    struct od_store *store;
    struct od_volume *volume;
    static uint8_t out[65536];
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    write_history(store, 20, 300);
    od_store_close(store);
    assert_int_equal(open_store(in_scratch("elsewhere"), meta, objects, &store, NULL), OD_OK);
    opens = reads = 0;
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 0, out, 12288, NULL), OD_OK);
    assert_memory_equal(out, model->files[OD_VOLUME_DATABASE].bytes, 12288);
    size_t wal = (size_t)od_volume_size(volume, OD_VOLUME_WAL);
    assert_int_equal(wal, 20 * 300);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, 0, out, wal, NULL), OD_OK);
    assert_memory_equal(out, model->files[OD_VOLUME_WAL].bytes, wal);
    assert_int_equal(opens, 1); // the newest layer holds it all
    assert_true(reads <= 2 + 3 + 2);
    // A block is where it was written: one layer more.
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 12288, out, 16384, NULL), OD_OK);
    assert_int_equal(opens, 2);
    expect_equal(volume, model);
    od_volume_close(volume);
    od_store_close(store);
    expect_sound();
}

// The same through a cache, as on a machine with its objects in a bucket: requests are counted behind it.
static void with_a_cache_the_first_block_takes_four_requests(void **state)
{
    (void)state;
    struct od_store *store;
    struct od_volume *volume;
    struct od_objstore *inner = objects;
    static uint8_t out[65536];
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    write_history(store, 50, 2000);
    od_store_close(store);
    struct od_cache_options options = {
        .platform = od_platform_real(), .inner = inner, .path = in_scratch("cache"), .bytes = 8 << 20};
    assert_int_equal(od_objstore_cache_open(&options, &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("elsewhere"), meta, objects, &store, NULL), OD_OK);
    reads = 0;
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 0, out, 12288, NULL), OD_OK);
    size_t wal = (size_t)od_volume_size(volume, OD_VOLUME_WAL);
    for (size_t at = 0; at < wal; at += 4096) // as DuckDB reads it
        assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, at, out, wal - at < 4096 ? wal - at : 4096, NULL),
                         OD_OK);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 12288, out, 16384, NULL), OD_OK);
    assert_memory_equal(out, model->files[OD_VOLUME_DATABASE].bytes + 12288, 16384);
    assert_true(reads <= 4);
    od_volume_close(volume);
    od_store_close(store);
}

static unsigned wal_layers(void)
{
    struct od_meta_database database;
    struct od_meta_branch branch;
    struct od_journal *tip;
    struct od_footer footer;
    unsigned count = 0;
    uint32_t depths[64];
    assert_int_equal(meta->ops->database_get(meta, "d", &database, NULL), OD_OK);
    assert_int_equal(meta->ops->branch_get(meta, &database.branch, &branch, NULL), OD_OK);
    assert_int_equal(od_layer_open(objects, &branch.tip_layer, &tip, NULL), OD_OK);
    assert_int_equal(od_footer_read(tip, 0, &footer, NULL), OD_OK);
    for (size_t i = 0; i < footer.files.extents[OD_VOLUME_WAL].count; i++) {
        uint32_t depth = od_place_depth(footer.files.extents[OD_VOLUME_WAL].items[i].place);
        unsigned seen = 0;
        while (seen < count && depths[seen] != depth)
            seen++;
        if (seen == count)
            depths[count++] = depth;
    }
    od_footer_release(&footer);
    od_journal_close(tip);
    return count;
}

static void a_large_wal_lies_in_few_layers(void **state)
{
    (void)state;
    struct od_store *store;
    struct od_volume *volume;
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    write_history(store, 8, 50000); // 400 KB: beyond what is carried each time
    assert_true(wal_layers() > 1 && wal_layers() <= 8);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    for (unsigned i = 0; i < 6; i++) {
        put(volume, OD_VOLUME_WAL, model->files[OD_VOLUME_WAL].size, 5000);
        seal(volume);
        assert_true(wal_layers() <= 8);
    }
    // With a hole, a part cut off, and a part written over.
    put(volume, OD_VOLUME_WAL, model->files[OD_VOLUME_WAL].size + 3000, 1000);
    put(volume, OD_VOLUME_WAL, 777, 60000);
    for (unsigned i = 0; i < 12; i++) {
        put(volume, OD_VOLUME_WAL_CHECKPOINT, model->files[OD_VOLUME_WAL_CHECKPOINT].size, 999);
        seal(volume);
    }
    assert_true(wal_layers() <= 8);
    od_volume_close(volume);
    od_store_close(store);
    assert_int_equal(open_store(in_scratch("elsewhere"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    expect_equal(volume, model);
    od_volume_close(volume);
    od_store_close(store);
    expect_sound();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(an_empty_machine_opens_with_few_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(with_a_cache_the_first_block_takes_four_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_large_wal_lies_in_few_layers, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
