// test_metadata_flips.c - one bit flipped anywhere in the metadata file (SQLite keeps no checksums): it is refused when it
// is opened or read, or found by fsck, or changes nothing that anybody reads. What only the metadata knows, and what is of
// no account for any byte of a database, nothing can find out: who wrote last, where, until when, and when a row was made.
// And the same in SQLite's log, whose end a flipped bit cuts off.
//
// OPENDUCK_FLIPS=100000 flips more bits, OPENDUCK_FLIPS_SEED=7 others.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/fsck.h"

#include <stdio.h>
#include <stdlib.h>

struct rows {
    struct od_meta_database *databases;
    struct od_meta_branch *branches;
    size_t database_count, branch_count;
    struct od_meta_layer *layers[8];
    struct od_meta_snapshot *snapshots[8];
    size_t layer_counts[8], snapshot_counts[8];
};

static struct od_objstore *objects;

static uint64_t number_of(const char *variable, uint64_t otherwise)
{
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : otherwise;
}

static void write_all(struct od_metastore *meta)
{
    struct od_store *store;
    struct od_volume *volume;
    struct od_meta_snapshot snapshot;
    struct model *model = calloc(1, sizeof *model);
    uint32_t seed = 7;
    uint64_t lsn;
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
    for (int layer = 0; layer < 6; layer++) {
        for (int i = 0; i < 8; i++)
            random_step(volume, model, &seed);
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        assert_int_equal(od_store_snapshot_create(store, "d", NULL, volume, &snapshot, NULL), OD_OK);
    }
    assert_int_equal(od_store_clone(store, "d", NULL, volume, "clone", NULL), OD_OK);
    od_volume_close(volume);
    od_store_close(store);
    free(model);
}

static void release(struct rows *rows)
{
    for (size_t i = 0; i < 8; i++) {
        od_free(rows->layers[i]);
        od_free(rows->snapshots[i]);
    }
    od_free(rows->databases);
    od_free(rows->branches);
}

static void forget_what_only_rows_know(struct rows *rows)
{
    for (size_t i = 0; i < rows->database_count; i++)
        rows->databases[i].created_us = 0;
    for (size_t i = 0; i < rows->branch_count; i++) {
        struct od_meta_branch *branch = &rows->branches[i];
        branch->epoch = branch->epoch_start_lsn = branch->lease_until_us = branch->held_since = 0;
        branch->holder = (struct od_uuid){0};
        memset(branch->owner, 0, sizeof branch->owner);
        if (od_uuid_is_zero(&branch->tip_layer)) // a clone that has not been written
            branch->tip_time_us = 0;
    }
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < rows->snapshot_counts[i]; k++)
            rows->snapshots[i][k].created_us = 0;
    for (size_t i = 0; i < 8; i++)
        for (size_t k = 0; k < rows->layer_counts[i]; k++)
            rows->layers[i][k].epoch = 0;
}

static od_code read_rows(struct od_metastore *meta, struct rows *rows)
{
    od_code rc = OD_OK;
    *rows = (struct rows){0};
    OD_TRY(meta->ops->database_list(meta, &rows->databases, &rows->database_count, NULL));
    OD_TRY(meta->ops->branch_list(meta, &rows->branches, &rows->branch_count, NULL));
    for (size_t i = 0; i < rows->branch_count && i < 8; i++) {
        const struct od_uuid *branch = &rows->branches[i].branch;
        OD_TRY(meta->ops->layer_list(meta, branch, &rows->layers[i], &rows->layer_counts[i], NULL));
        OD_TRY(meta->ops->snapshot_list(meta, branch, &rows->snapshots[i], &rows->snapshot_counts[i], NULL));
    }
    forget_what_only_rows_know(rows);
out:
    return rc;
}

static bool same(const void *a, const void *b, size_t count, size_t bytes)
{
    return count == 0 || memcmp(a, b, count * bytes) == 0;
}

// What is read is the same. Names the first kind of row that is not.
static const char *difference(const struct rows *a, const struct rows *b)
{
    if (a->database_count != b->database_count ||
        !same(a->databases, b->databases, a->database_count, sizeof *a->databases))
        return "database";
    if (a->branch_count != b->branch_count || !same(a->branches, b->branches, a->branch_count, sizeof *a->branches))
        return "branch";
    for (size_t i = 0; i < a->branch_count; i++) {
        if (a->layer_counts[i] != b->layer_counts[i] ||
            !same(a->layers[i], b->layers[i], a->layer_counts[i], sizeof *a->layers[i]))
            return "layer";
        if (a->snapshot_counts[i] != b->snapshot_counts[i] ||
            !same(a->snapshots[i], b->snapshots[i], a->snapshot_counts[i], sizeof *a->snapshots[i]))
            return "snapshot";
    }
    return NULL;
}

static size_t read_file(const char *path, uint8_t **bytes)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    fseek(file, 0, SEEK_END);
    size_t size = (size_t)ftell(file);
    rewind(file);
    *bytes = malloc(size);
    assert_int_equal(fread(*bytes, 1, size, file), size);
    fclose(file);
    return size;
}

static void write_file(const char *path, const uint8_t *bytes, size_t size)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, size, file), size);
    fclose(file);
}

static bool fsck_finds(struct od_metastore *meta)
{
    struct od_fsck fsck = {.platform = od_platform_real(), .objects = objects, .metadata = meta};
    return od_fsck_run(&fsck, NULL) != OD_OK || fsck.problems > 0;
}

static void test_flips(void **state)
{
    (void)state;
    struct od_metastore *meta;
    struct rows original, found;
    uint8_t *bytes;
    uint64_t opening = 0, reading = 0, fsck = 0, unchanged = 0, silent = 0;
    const uint64_t flips = number_of("OPENDUCK_FLIPS", 300);
    uint32_t seed = (uint32_t)number_of("OPENDUCK_FLIPS_SEED", 1);
    od_log_set_level(OD_LOG_ERROR);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    write_all(meta);
    assert_int_equal(read_rows(meta, &original), OD_OK);
    od_metastore_close(meta);
    const size_t size = read_file(in_scratch("meta.db"), &bytes);
    for (uint64_t i = 0; i < flips; i++) {
        const size_t at = next_random(&seed) % size;
        const uint8_t bit = (uint8_t)(1u << (next_random(&seed) % 8));
        const char *kind;
        bytes[at] ^= bit;
        write_file(in_scratch("flipped.db"), bytes, size);
        bytes[at] ^= bit;
        if (od_metastore_sqlite_open(in_scratch("flipped.db"), false, &meta, NULL) != OD_OK) {
            opening++;
            continue;
        }
        if (read_rows(meta, &found) != OD_OK) {
            reading++;
        } else if (!(kind = difference(&original, &found))) {
            unchanged++;
        } else if (fsck_finds(meta)) {
            fsck++;
        } else {
            silent++;
            print_error("offset %zu, bit %u: a %s row is another, and fsck finds nothing\n", at, bit, kind);
        }
        release(&found);
        od_metastore_close(meta);
    }
    print_message("%llu flips: %llu refused when opened, %llu when read, %llu found by fsck, %llu of no consequence, "
                  "%llu silent\n",
                  (unsigned long long)flips, (unsigned long long)opening, (unsigned long long)reading,
                  (unsigned long long)fsck, (unsigned long long)unchanged, (unsigned long long)silent);
    release(&original);
    free(bytes);
    od_objstore_close(objects);
    assert_int_equal(silent, 0);
}

static od_code take_key(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)bytes;
    (void)err;
    snprintf(context, 200, "%s", key);
    return OD_OK;
}

// Each opening begins with the same metadata, which gives the same epoch: what the opening before has put for it goes.
static void forget_newest_claim(void)
{
    char key[200] = "";
    assert_int_equal(od_objstore_list(objects, "epochs/", take_key, key, NULL), OD_OK);
    if (key[0])
        assert_int_equal(od_objstore_remove(objects, key, NULL), OD_OK);
}

// SQLite ends its log where a frame does not fit: what follows is forgotten. A killed server leaves such a log; a bit of it is
// flipped. The database is what it was, or is refused: its journals say what the metadata must know.
static void test_flips_of_the_log(void **state)
{
    (void)state;
    struct od_metastore *meta;
    struct od_store *store;
    struct od_volume *volume;
    struct model *model = calloc(1, sizeof *model);
    uint8_t *log, *file;
    uint64_t lsn, refused = 0, well = 0;
    const uint64_t flips = number_of("OPENDUCK_FLIPS", 60);
    uint32_t seed = (uint32_t)number_of("OPENDUCK_FLIPS_SEED", 1);
    od_log_set_level(OD_LOG_ERROR);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(od_metastore_sqlite_open(in_scratch("live.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
    for (int layer = 0; layer < 8; layer++) {
        for (int i = 0; i < 8; i++)
            random_step(volume, model, &seed);
        assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
        assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
        assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
        assert_int_equal(od_volume_publish(volume, NULL), OD_OK);
    }
    const size_t log_bytes = read_file(in_scratch("live.db-wal"), &log), bytes = read_file(in_scratch("live.db"), &file);
    copy_journals(in_scratch("journals"), in_scratch("killed"));
    od_volume_close(volume);
    od_store_close(store);
    od_metastore_close(meta);
    for (uint64_t i = 0; i <= flips; i++) {
        const size_t at = next_random(&seed) % log_bytes;
        const uint8_t bit = i ? (uint8_t)(1u << (next_random(&seed) % 8)) : 0; // once without
        struct od_error err = {0};
        (void)remove(in_scratch("flipped.db-shm"));
        write_file(in_scratch("flipped.db"), file, bytes);
        log[at] ^= bit;
        write_file(in_scratch("flipped.db-wal"), log, log_bytes);
        log[at] ^= bit;
        copy_journals(in_scratch("killed"), in_scratch("opened"));
        od_code rc = od_metastore_sqlite_open(in_scratch("flipped.db"), false, &meta, &err);
        if (rc == OD_OK) {
            assert_int_equal(open_store(in_scratch("opened"), meta, objects, &store, NULL), OD_OK);
            rc = od_volume_open(store, "d", true, &volume, &err);
            if (rc == OD_OK) {
                expect_equal(volume, model);
                od_volume_close(volume);
            }
            od_store_close(store);
            od_metastore_close(meta);
            forget_newest_claim();
        }
        assert_true(i > 0 || rc == OD_OK);
        if (rc != OD_OK && rc != OD_CORRUPT && rc != OD_NOT_FOUND)
            fail_msg("byte %zu, bit %u: %s", at, bit, err.message);
        refused += rc != OD_OK;
        well += rc == OD_OK;
    }
    print_message("%llu flips in the log: %llu refused, %llu as it was\n", (unsigned long long)flips,
                  (unsigned long long)refused, (unsigned long long)well);
    assert_true(refused > 0);
    free(log);
    free(file);
    free(model);
    od_objstore_close(objects);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_flips, scratch_make, scratch_remove),
        cmocka_unit_test_setup_teardown(test_flips_of_the_log, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
