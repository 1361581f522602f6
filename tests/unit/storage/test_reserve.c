// test_reserve.c - a full disk: writes are refused, reads go on; a volume is closed and opened with what was kept for that.
#include "fixture.h"

#include "base/log.h"

#define RESERVE_BYTES (4u << 20)

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;

// ---- a disk that is full until the reserve goes

static struct od_platform_ops ops;
static struct od_platform platform = {&ops};
static bool full;

static od_code try_allocate(struct od_disk_file *file, uint64_t offset, uint64_t bytes, struct od_error *err)
{
    return full ? od_fail(err, OD_LIMIT, "the disk is full")
                : od_platform_real()->ops->allocate(file, offset, bytes, err);
}

static od_code try_remove(struct od_platform *self, const char *path, struct od_error *err)
{
    (void)self;
    od_code rc = od_platform_real()->ops->remove(od_platform_real(), path, err);
    if (rc == OD_OK && strstr(path, "/RESERVE"))
        full = false;
    return rc;
}

static void open_again(void)
{
    struct od_store_options options = {.platform = &platform,
                                       .metadata = meta,
                                       .objects = objects,
                                       .journal_directory = in_scratch("journals"),
                                       .owner = "test",
                                       .seal_bytes = 1 << 20,
                                       .block_bytes = 16384,
                                       .reserve_bytes = RESERVE_BYTES};
    assert_int_equal(od_store_open(&options, &store, NULL), OD_OK);
}

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    full = false;
    ops = *od_platform_real()->ops;
    ops.allocate = try_allocate;
    ops.remove = try_remove;
    if (scratch_make(state) != 0)
        return -1;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(&platform, in_scratch("objects"), &objects, NULL), OD_OK);
    open_again();
    return 0;
}

static int tear_down(void **state)
{
    od_store_close(store);
    od_objstore_close(objects);
    od_metastore_close(meta);
    return scratch_remove(state);
}

static od_code write_block(struct od_volume *volume, uint8_t value, struct od_error *err)
{
    static uint8_t block[16384];
    uint64_t lsn;
    od_code rc = OD_OK;
    memset(block, value, sizeof block);
    OD_TRY(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, err));
    OD_TRY(od_volume_barrier(volume, NULL, &lsn, err));
    OD_TRY(od_volume_flush(volume, err));
out:
    return rc;
}

static uint8_t read_byte(struct od_volume *volume)
{
    uint8_t byte = 0;
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 12288 + 99, &byte, 1, NULL), OD_OK);
    return byte;
}

static bool reserve_is_there(void)
{
    uint64_t bytes = 0;
    return od_file_size(in_scratch("journals/RESERVE"), &bytes, NULL) == OD_OK && bytes >= RESERVE_BYTES;
}

static void a_volume_is_closed_on_a_full_disk(void **state)
{
    (void)state;
    struct od_volume *volume;
    struct od_error err;
    struct od_meta_database row;
    struct od_meta_branch branch;
    uint8_t value = 0;
    assert_true(reserve_is_there());
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    full = true;
    od_code rc = OD_OK;
    while (rc == OD_OK && value < 200) { // what was reserved for the journal before is used up
        rc = write_block(volume, (uint8_t)(value + 1), &err);
        value = (uint8_t)(value + (rc == OD_OK));
    }
    assert_int_equal(rc, OD_LIMIT);
    assert_true(value > 0 && full && reserve_is_there());
    assert_int_equal(read_byte(volume), value);
    assert_int_equal(od_volume_health(volume, NULL), OD_OK);
    od_volume_close(volume);
    assert_false(full);
    assert_false(reserve_is_there());
    assert_int_equal(meta->ops->database_get(meta, "d", &row, NULL), OD_OK);
    assert_int_equal(meta->ops->branch_get(meta, &row.branch, &branch, NULL), OD_OK);
    assert_false(od_uuid_is_zero(&branch.tip_layer)); // published, not left for later
    od_store_close(store);
    open_again();
    assert_true(reserve_is_there());
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(read_byte(volume), value);
    od_volume_close(volume);
}

static void a_volume_is_opened_on_a_full_disk(void **state)
{
    (void)state;
    struct od_volume *volume;
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(write_block(volume, 7, NULL), OD_OK);
    od_volume_close(volume);
    full = true;
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(read_byte(volume), 7);
    assert_false(reserve_is_there());
    assert_int_equal(od_volume_maintain(volume, NULL), OD_OK);
    od_volume_close(volume);
    // Given once; then a full disk is what it is.
    full = true;
    struct od_error err;
    assert_int_equal(od_volume_open(store, "d", true, &volume, &err), OD_LIMIT);
    full = false;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_volume_is_closed_on_a_full_disk, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_volume_is_opened_on_a_full_disk, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
