// test_import.c - a database made of a file has the file's bytes, appears when all of them are there, and nothing is left of
// one that failed.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/bytes.h"
#include "storage/store_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#define BLOCK 32768u

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;
static char file[256];

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    snprintf(file, sizeof file, "%s", in_scratch("t.duckdb"));
    return 0;
}

static int tear_down(void **state)
{
    od_store_close(store);
    od_objstore_close(objects);
    meta->ops->close(meta);
    return scratch_remove(state);
}

// ---- a file as DuckDB writes it

static void seal_header(uint8_t *header)
{
    uint64_t check = 5381;
    for (int at = 8; at < 4096; at += 8)
        check ^= od_get64(header + at) * UINT64_C(0xbf58476d1ce4e5b9);
    od_put64(header, check);
}

// The first and every fourth block hold something; the root is the first.
static void make_file(uint8_t *bytes, size_t size, uint64_t block, uint32_t seed)
{
    memset(bytes, 0, size);
    memcpy(bytes + 8, "DUCK", 4);
    od_put64(bytes + 12, 64);
    for (int i = 1; i < 3; i++) {
        uint8_t *header = bytes + (size_t)i * 4096;
        od_put64(header + 8, i == 1 ? 7 : 6);     // the first is newer
        od_put64(header + 16, i == 1 ? 0 : 9999); // the root of the other is not there
        od_put64(header + 24, UINT64_MAX);
        od_put64(header + 40, block);
    }
    for (int i = 0; i < 3; i++)
        seal_header(bytes + (size_t)i * 4096);
    for (size_t at = 12288; at < size; at++)
        if ((at - 12288) / BLOCK % 4 == 0)
            bytes[at] = (uint8_t)next_random(&seed);
}

static void put_file(const char *path, const uint8_t *bytes, size_t size)
{
    assert_int_equal(od_file_write(path, bytes, size, 0600, NULL), OD_OK);
}

static void expect_file(struct od_volume *volume, enum od_volume_file which, const uint8_t *bytes, size_t size)
{
    assert_true(od_volume_exists(volume, which));
    assert_int_equal(od_volume_size(volume, which), size);
    uint8_t *out = malloc(size ? size : 1);
    assert_int_equal(od_volume_read(volume, which, 0, out, size, NULL), OD_OK);
    assert_memory_equal(out, bytes, size);
    free(out);
}

static size_t databases(void)
{
    struct od_store_database *rows;
    size_t count;
    assert_int_equal(od_store_list(store, &rows, &count, NULL), OD_OK);
    od_free(rows);
    return count;
}

static size_t rows_of_databases(void) // hidden ones too
{
    struct od_meta_database *rows;
    size_t count;
    assert_int_equal(meta->ops->database_list(meta, &rows, &count, NULL), OD_OK);
    od_free(rows);
    return count;
}

static od_code count_object(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)key, (void)bytes, (void)err;
    ++*(size_t *)context;
    return OD_OK;
}

static size_t objects_of(const char *prefix)
{
    size_t count = 0;
    assert_int_equal(od_objstore_list(objects, prefix, count_object, &count, NULL), OD_OK);
    return count;
}

static void count_progress(void *context, uint64_t done, uint64_t total)
{
    uint64_t *seen = context;
    assert_true(done > seen[0] && done <= total);
    seen[0] = done;
    seen[1] = total;
}

static od_code import(const char *name, struct od_error *err)
{
    return od_store_import(store, name, file, NULL, NULL, err);
}

// ---- tests

static void a_file_becomes_a_database(void **state)
{
    (void)state;
    enum { BLOCKS = 400, ODD = 1000 };
    size_t size = 12288 + (size_t)BLOCKS * BLOCK + ODD; // 13 MB, so several layers; ends within a block
    uint8_t *bytes = malloc(size);
    struct od_error err = {0};
    struct od_volume *volume = NULL;
    uint64_t seen[2] = {0}, lsn;
    char wal[300];
    make_file(bytes, size, BLOCK, 77);
    put_file(file, bytes, size);
    snprintf(wal, sizeof wal, "%s.wal", file);
    put_file(wal, bytes + 12288, 5000);
    if (od_store_import(store, "größe", file, count_progress, seen, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_int_equal(seen[0], size + 5000);
    assert_int_equal(seen[1], size + 5000);
    assert_int_equal(databases(), 1);
    assert_int_equal(rows_of_databases(), 1);
    assert_true(objects_of("layers/") > 2);
    for (int round = 0; round < 2; round++) { // the second time from its own layer
        assert_int_equal(od_volume_open(store, "größe", false, &volume, &err), OD_OK);
        expect_file(volume, OD_VOLUME_DATABASE, bytes, size);
        expect_file(volume, OD_VOLUME_WAL, bytes + 12288, 5000);
        assert_false(od_volume_exists(volume, OD_VOLUME_WAL_CHECKPOINT));
        memset(bytes + 12288 + BLOCK, 0xab, BLOCK);
        assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288 + BLOCK, bytes + 12288 + BLOCK, BLOCK, NULL),
                         OD_OK);
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        od_volume_close(volume);
    }
    // Three quarters of the file are zeros, which cost nothing.
    struct od_meta_branch *branches;
    struct od_meta_layer *layers;
    size_t count, layer_count;
    uint64_t stored = 0;
    assert_int_equal(meta->ops->branch_list(meta, &branches, &count, NULL), OD_OK);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(meta->ops->layer_list(meta, &branches[i].branch, &layers, &layer_count, NULL), OD_OK);
        for (size_t j = 0; j < layer_count; j++)
            stored += layers[j].bytes;
        od_free(layers);
    }
    od_free(branches);
    assert_true(stored < size / 3);
    free(bytes);
}

static void an_empty_database_may_be_all_headers(void **state)
{
    (void)state;
    uint8_t bytes[12288];
    struct od_volume *volume = NULL;
    make_file(bytes, sizeof bytes, 0, 1); // 0: as old files say 256 KiB
    od_put64(bytes + 4096 + 16, UINT64_MAX);
    seal_header(bytes + 4096);
    put_file(file, bytes, sizeof bytes);
    assert_int_equal(import("e", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "e", false, &volume, NULL), OD_OK);
    expect_file(volume, OD_VOLUME_DATABASE, bytes, sizeof bytes);
    od_volume_close(volume);
}

static void expect_refused(od_code code, const char *words)
{
    struct od_error err = {0};
    assert_int_equal(import("x", &err), code);
    if (!strstr(err.message, words) || !strstr(err.message, "t.duckdb"))
        fail_msg("%s", err.message);
    assert_int_equal(rows_of_databases(), 0);
    assert_int_equal(objects_of(""), 0);
}

static void what_is_no_database_is_refused(void **state)
{
    (void)state;
    enum { SIZE = 12288 + 8 * BLOCK };
    static uint8_t good[SIZE], bytes[SIZE];
    make_file(good, SIZE, BLOCK, 3);
    expect_refused(OD_NOT_FOUND, "t.duckdb");
    put_file(file, good, 0);
    expect_refused(OD_UNSUPPORTED, "not a DuckDB database");
    put_file(file, good, 12287);
    expect_refused(OD_UNSUPPORTED, "not a DuckDB database");
    memset(bytes, 'x', SIZE);
    put_file(file, bytes, SIZE);
    expect_refused(OD_UNSUPPORTED, "not a DuckDB database");
    memcpy(bytes, good, SIZE);
    bytes[20] |= 1;
    seal_header(bytes);
    put_file(file, bytes, SIZE);
    expect_refused(OD_UNSUPPORTED, "encrypted");
    for (int i = 0; i < 3; i++) {
        memcpy(bytes, good, SIZE);
        bytes[4096 * i + 300] ^= 4;
        char where[40];
        snprintf(where, sizeof where, "at offset %d", 4096 * i);
        put_file(file, bytes, SIZE);
        expect_refused(OD_CORRUPT, where);
    }
    make_file(bytes, SIZE, 12345, 3);
    put_file(file, bytes, SIZE);
    expect_refused(OD_UNSUPPORTED, "blocks of 12345 bytes");
    put_file(file, good, 12288 + BLOCK - 1);
    expect_refused(OD_CORRUPT, "cut off");
}

static void names_are_checked_first(void **state)
{
    (void)state;
    enum { SIZE = 12288 + 2 * BLOCK };
    static uint8_t bytes[SIZE];
    static const char *const bad[] = {"", "-x", ".x", ".import-x", "a b", "a/b", "a\n", "a'b"};
    struct od_error err = {0};
    char longest[OD_META_NAME_BYTES + 1];
    make_file(bytes, SIZE, BLOCK, 9);
    put_file(file, bytes, SIZE);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(import(bad[i], &err), OD_INVALID);
        assert_int_equal(od_store_create(store, bad[i], &err), OD_INVALID);
    }
    memset(longest, 'n', sizeof longest);
    longest[OD_META_NAME_BYTES] = '\0';
    assert_int_equal(import(longest, &err), OD_INVALID);
    longest[OD_META_NAME_BYTES - 1] = '\0';
    assert_int_equal(import(longest, &err), OD_OK);
    assert_int_equal(import(longest, &err), OD_EXISTS);
    assert_int_equal(import("数据.库-1_x", &err), OD_OK);
    assert_int_equal(databases(), 2);
    assert_int_equal(objects_of("layers/"), 2);
}

static void overwrite_header(void *context, uint64_t done, uint64_t total)
{
    if (done < total)
        return;
    uint8_t *bytes = context;
    od_put64(bytes + 4096 + 8, 8);
    seal_header(bytes + 4096);
    FILE *stream = fopen(file, "r+b");
    assert_int_equal(fwrite(bytes, 1, 12288, stream), 12288);
    fclose(stream);
}

static void a_file_that_changes_is_refused(void **state)
{
    (void)state;
    enum { SIZE = 12288 + 4 * BLOCK };
    static uint8_t bytes[SIZE];
    struct od_error err = {0};
    make_file(bytes, SIZE, BLOCK, 9);
    put_file(file, bytes, SIZE);
    assert_int_equal(od_store_import(store, "x", file, overwrite_header, bytes, &err), OD_BUSY);
    assert_non_null(strstr(err.message, "was written"));
    assert_int_equal(rows_of_databases(), 0);
    assert_int_equal(objects_of(""), 0);
    assert_int_equal(import("x", &err), OD_OK);
}

// A process that dies leaves a hidden database; a later import finds it.
static void what_a_crash_left_is_removed(void **state)
{
    (void)state;
    enum { SIZE = 12288 + 2 * BLOCK };
    static uint8_t bytes[SIZE];
    struct od_volume *volume = NULL;
    struct od_meta_branch branch = {.tip_time_us = 1};
    uint64_t lsn;
    make_file(bytes, SIZE, BLOCK, 9);
    put_file(file, bytes, SIZE);
    branch.branch.bytes[6] = 0x40;
    branch.branch.bytes[8] = 0x80;
    assert_int_equal(od_store_create_branch(store, ".import-1", &branch, NULL), OD_OK);
    assert_int_equal(od_volume_open(store, ".import-1", false, &volume, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, bytes, 1000, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(od_store_import_clean(store, 0, NULL), OD_OK); // it has a lease
    assert_int_equal(rows_of_databases(), 1);
    od_volume_close(volume);
    assert_int_equal(od_store_import_clean(store, 3600000000, NULL), OD_OK); // it is not old
    assert_int_equal(rows_of_databases(), 1);
    assert_int_equal(databases(), 0);
    assert_int_equal(import("x", NULL), OD_OK);
    assert_int_equal(rows_of_databases(), 2);
    assert_int_equal(od_store_import_clean(store, 0, NULL), OD_OK);
    assert_int_equal(rows_of_databases(), 1);
    assert_int_equal(objects_of("layers/"), 1);
    assert_int_equal(databases(), 1);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    enum { SIZE = 12288 + 12 * BLOCK };
    static uint8_t bytes[SIZE];
    make_file(bytes, SIZE, BLOCK, 21);
    put_file(file, bytes, SIZE);
    size_t hidden = 0, layers = 0; // hidden: left where removing failed too
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        od_code rc = import("x", &err);
        bool injected = od_fault_injected(&fault);
        od_fault_end(&fault);
        if (rc != OD_OK && (!injected || err.code != rc || !err.message[0]))
            fail_msg("%s: %s", od_code_name(rc), err.message);
        assert_int_equal(databases(), rc == OD_OK);
        if (rc == OD_OK) {
            struct od_volume *volume = NULL;
            assert_int_equal(od_volume_open(store, "x", true, &volume, &err), OD_OK);
            expect_file(volume, OD_VOLUME_DATABASE, bytes, SIZE);
            od_volume_close(volume);
            assert_int_equal(od_store_drop(store, "x", &err), OD_OK);
        }
        hidden += rows_of_databases() > 0;
        if (fault.run % 2 && rc != OD_OK) { // that one step only
            assert_int_equal(rows_of_databases(), 0);
            assert_int_equal(objects_of("layers/"), layers);
        }
        layers = objects_of("layers/");
        if (rows_of_databases() > 0) { // leases are not waited for
            struct od_meta_database *rows;
            size_t count;
            assert_int_equal(meta->ops->database_list(meta, &rows, &count, NULL), OD_OK);
            for (size_t i = 0; i < count; i++)
                assert_int_equal(od_store_drop(store, rows[i].name, NULL), OD_OK);
            od_free(rows);
        }
    }
    assert_true(hidden > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_file_becomes_a_database),
        TEST(an_empty_database_may_be_all_headers),
        TEST(what_is_no_database_is_refused),
        TEST(names_are_checked_first),
        TEST(a_file_that_changes_is_refused),
        TEST(what_a_crash_left_is_removed),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
