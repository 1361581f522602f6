// test_export.c - an export is the four files byte for byte, or no file at all.
#include "fixture.h"

#include "base/log.h"
#include "storage/export.h"

#include <stdio.h>
#include <stdlib.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;
static struct od_volume *volume;
static char target[256];

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    meta = fake_meta_open();
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
    assert_int_equal(od_directory_make(in_scratch("out"), 0700, NULL), OD_OK);
    snprintf(target, sizeof target, "%s", in_scratch("out/t.duckdb"));
    return 0;
}

static int tear_down(void **state)
{
    od_volume_close(volume);
    od_store_close(store);
    od_objstore_close(objects);
    meta->ops->close(meta);
    return scratch_remove(state);
}

static size_t files_there(void)
{
    struct od_names names;
    assert_int_equal(od_directory_list(in_scratch("out"), &names, NULL), OD_OK);
    size_t count = names.count;
    od_names_release(&names);
    return count;
}

static void expect_content(const char *suffix, const uint8_t *data, uint64_t bytes)
{
    char path[512];
    struct od_buf buf;
    od_buf_init(&buf, (size_t)512 * 1024);
    snprintf(path, sizeof path, "%s%s", target, suffix);
    assert_int_equal(od_file_read(path, &buf, NULL), OD_OK);
    assert_int_equal(buf.bytes, bytes);
    if (bytes > 0)
        assert_memory_equal(buf.data, data, (size_t)bytes);
    od_buf_release(&buf);
}

static void count_progress(void *context, uint64_t done, uint64_t total)
{
    assert_true(done <= total);
    *(uint64_t *)context = done;
}

static void an_export_is_the_files(void **state)
{
    (void)state;
    static const char *const suffixes[] = {"", ".wal", ".wal.checkpoint", ".wal.recovery"};
    struct model *model = calloc(1, sizeof *model);
    uint32_t seed = 99;
    for (int round = 0; round < 8; round++) {
        uint64_t lsn, done = 0, total = 0, expected = 0;
        for (int i = 0; i < 20; i++)
            random_step(volume, model, &seed);
        assert_int_equal(od_volume_create(volume, OD_VOLUME_DATABASE, NULL), OD_OK);
        model->files[0].exists = true;
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        if (round % 2)
            assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
        struct od_export request = {.volume = volume, .path = target, .progress = count_progress, .context = &done};
        assert_int_equal(od_export_run(&request, NULL), OD_OK);
        for (int i = 0; i < OD_VOLUME_FILES; i++) {
            if (!model->files[i].exists)
                continue;
            expected++;
            total += model->files[i].size;
            expect_content(suffixes[i], model->files[i].bytes, model->files[i].size);
        }
        assert_int_equal(request.files, expected);
        assert_int_equal(files_there(), expected);
        assert_int_equal(request.bytes, total);
        assert_int_equal(done, total);
        assert_int_equal(od_tree_remove(in_scratch("out"), NULL), OD_OK);
        assert_int_equal(od_directory_make(in_scratch("out"), 0700, NULL), OD_OK);
    }
    free(model);
}

static void nothing_is_overwritten(void **state)
{
    (void)state;
    struct od_error err;
    struct od_export request = {.volume = volume, .path = target};
    assert_int_equal(od_export_run(&request, &err), OD_NOT_FOUND);
    assert_int_equal(od_volume_create(volume, OD_VOLUME_DATABASE, NULL), OD_OK);
    assert_int_equal(od_file_write(in_scratch("out/t.duckdb.wal"), "x", 1, 0600, NULL), OD_OK); // would be replayed
    assert_int_equal(od_export_run(&request, &err), OD_EXISTS);
    assert_non_null(strstr(err.message, "t.duckdb.wal"));
    assert_int_equal(files_there(), 1);
    assert_int_equal(od_file_remove(in_scratch("out/t.duckdb.wal"), NULL), OD_OK);
    assert_int_equal(od_file_write(in_scratch("out/t.duckdb.partial"), "xyz", 3, 0600, NULL), OD_OK); // of a crash
    assert_int_equal(od_export_run(&request, &err), OD_OK);
    assert_int_equal(files_there(), 1);
    assert_int_equal(od_export_run(&request, &err), OD_EXISTS);
    request.path = in_scratch("missing/t");
    assert_int_equal(od_export_run(&request, &err), OD_NOT_FOUND);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    static uint8_t block[16384] = {1};
    uint64_t lsn;
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, block, 100, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_export request = {.volume = volume, .path = target};
        od_code rc = od_export_run(&request, &err);
        od_fault_expect(&fault, rc, &err);
        od_fault_end(&fault);
        if (rc == OD_OK)
            assert_int_equal(files_there(), 2);
        else if (fault.run % 2) // else removing fails too
            assert_int_equal(files_there(), 0);
        assert_int_equal(od_tree_remove(in_scratch("out"), NULL), OD_OK);
        assert_int_equal(od_directory_make(in_scratch("out"), 0700, NULL), OD_OK);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(an_export_is_the_files),
        TEST(nothing_is_overwritten),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
