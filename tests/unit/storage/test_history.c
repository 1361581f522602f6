// test_history.c - every barrier stays readable as it was, by LSN, by time, as a snapshot and as a clone, on the real
// stores; clones and what they came from never change each other.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/describe.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;
static struct od_volume *volume;

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
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

static void expect_ok(od_code rc, const struct od_error *err)
{
    if (rc != OD_OK)
        fail_msg("%s", err->message);
}

static uint64_t barrier(struct od_volume *of)
{
    uint64_t lsn;
    assert_int_equal(od_volume_barrier(of, NULL, &lsn, NULL), OD_OK);
    return lsn;
}

static void expect_at(const char *database, const char *selector, const struct model *model)
{
    struct od_position position;
    struct od_volume *frozen = NULL;
    struct od_error err = {0};
    expect_ok(od_store_resolve(store, database, selector, volume, &position, &err), &err);
    expect_ok(od_volume_open_at(store, database, &position, &frozen, &err), &err);
    expect_equal(frozen, model);
    assert_int_equal(od_volume_write(frozen, OD_VOLUME_WAL, 0, "x", 1, &err), OD_READ_ONLY);
    od_volume_close(frozen);
}

static void every_barrier_stays_readable(void **state)
{
    (void)state;
    enum { ROUNDS = 24 };
    struct model *models = calloc(ROUNDS + 1, sizeof *models);
    uint64_t ends[ROUNDS + 1] = {0};
    uint32_t seed = 5;
    struct od_error err = {0};
    for (int i = 1; i <= ROUNDS; i++) {
        char name[40];
        models[i] = models[i - 1];
        for (int j = 0; j < 4; j++)
            random_step(volume, &models[i], &seed);
        ends[i] = barrier(volume);
        if (i % 5 == 0)
            expect_ok(od_volume_roll(volume, &err), &err);
        if (i % 7 == 0)
            expect_ok(od_volume_publish(volume, &err), &err);
        if (i % 6 == 0) {
            struct od_meta_snapshot snapshot;
            snprintf(name, sizeof name, "snapshot-%d", i);
            if (i == 12) { // in the middle of something
                models[0] = models[i];
                random_step(volume, &models[i], &seed);
            }
            expect_ok(od_store_snapshot_create(store, "d", name, volume, &snapshot, &err), &err);
            assert_int_equal(snapshot.position.lsn, ends[i]);
            assert_false(od_uuid_is_zero(&snapshot.layer));
            if (i == 12) {
                expect_at("d", name, &models[0]);
                ends[i] = barrier(volume);
            } else {
                expect_at("d", name, &models[i]);
            }
        }
        for (int j = 1; j <= i; j += 1 + (int)(next_random(&seed) % 4)) {
            char text[30];
            snprintf(text, sizeof text, "%llu", (unsigned long long)ends[j]);
            expect_at("d", text, &models[j]);
        }
    }
    od_volume_close(volume);
    volume = NULL;
    for (int i = 1; i <= ROUNDS; i++) { // and without a writer
        char text[30];
        snprintf(text, sizeof text, "%llu", (unsigned long long)ends[i]);
        expect_at("d", text, &models[i]);
    }
    expect_at("d", "snapshot-12", &models[0]);
    expect_at("d", "snapshot-18", &models[18]);
    struct od_position position;
    assert_int_equal(od_store_resolve(store, "d", "snapshot-99", NULL, &position, &err), OD_NOT_FOUND);
    assert_non_null(strstr(err.message, "snapshot-24"));
    assert_int_equal(od_store_resolve(store, "d", "999999999", NULL, &position, &err), OD_NOT_FOUND);
    assert_int_equal(od_store_resolve(store, "d", "2999-01-01", NULL, &position, &err), OD_INVALID);
    assert_int_equal(od_store_resolve(store, "d", "1999-01-01 12:00", NULL, &position, &err), OD_NOT_FOUND);
    expect_ok(od_store_snapshot_drop(store, "d", "snapshot-6", &err), &err);
    assert_int_equal(od_store_resolve(store, "d", "snapshot-6", NULL, &position, &err), OD_NOT_FOUND);
    struct od_meta_snapshot *rows;
    size_t count;
    expect_ok(od_store_snapshot_list(store, "d", &rows, &count, &err), &err);
    assert_int_equal(count, 3);
    od_free(rows);
    // A position between two barriers is none.
    position = (struct od_position){.lsn = ends[3] + 16};
    struct od_volume *frozen;
    expect_ok(od_store_resolve(store, "d", "snapshot-12", NULL, &position, &err), &err);
    position.lsn = ends[3] + 16;
    assert_int_not_equal(od_volume_open_at(store, "d", &position, &frozen, &err), OD_OK);
    free(models);
}

static void times_find_the_last_barrier_before(void **state)
{
    (void)state;
    enum { ROUNDS = 6 };
    struct model *models = calloc(ROUNDS + 1, sizeof *models);
    uint64_t times[ROUNDS + 1];
    uint32_t seed = 77;
    struct od_error err = {0};
    for (int i = 1; i <= ROUNDS; i++) {
        struct od_ledger_entry entry = {.request_id = "r"}, found;
        uint64_t lsn;
        models[i] = models[i - 1];
        for (int j = 0; j < 4; j++)
            random_step(volume, &models[i], &seed);
        assert_int_equal(od_volume_barrier(volume, &entry, &lsn, NULL), OD_OK);
        assert_true(od_volume_ledger_find(volume, "r", &found));
        times[i] = found.time_us;
        if (i == 3)
            expect_ok(od_volume_roll(volume, &err), &err);
    }
    for (int i = 1; i <= ROUNDS; i++) {
        time_t seconds = (time_t)(times[i] / 1000000);
        struct tm parts;
        char text[40], selector[64];
        gmtime_r(&seconds, &parts);
        strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &parts);
        snprintf(selector, sizeof selector, "%s.%06uZ", text, (unsigned)(times[i] % 1000000));
        expect_at("d", selector, &models[i]);
        // The same in another zone.
        seconds += 2 * 3600 + 30 * 60;
        gmtime_r(&seconds, &parts);
        strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
        snprintf(selector, sizeof selector, "%s.%06u+02:30", text, (unsigned)(times[i] % 1000000));
        expect_at("d", selector, &models[i]);
    }
    free(models);
}

static void clones_go_their_own_way(void **state)
{
    (void)state;
    struct model *models = calloc(4, sizeof *models);
    struct od_volume *clone = NULL;
    struct od_error err = {0};
    char text[30];
    uint32_t seed = 2024;
    uint64_t early = 0;
    for (int i = 0; i < 12; i++) {
        random_step(volume, &models[0], &seed);
        if (i == 5) {
            early = barrier(volume);
            models[1] = models[0];
        }
    }
    barrier(volume);
    models[2] = models[0];
    snprintf(text, sizeof text, "%llu", (unsigned long long)early);
    expect_ok(od_store_clone(store, "d", NULL, volume, "now", &err), &err);
    expect_ok(od_store_clone(store, "d", text, volume, "early", &err), &err);
    assert_int_equal(od_store_clone(store, "d", NULL, volume, "now", &err), OD_EXISTS);
    for (int i = 0; i < 8; i++)
        random_step(volume, &models[0], &seed);
    barrier(volume);
    const char *names[2] = {"now", "early"};
    struct model *expected[2] = {&models[2], &models[1]};
    for (int i = 0; i < 2; i++) {
        for (int round = 0; round < 3; round++) { // opened, changed, closed, opened again
            expect_ok(od_volume_open(store, names[i], false, &clone, &err), &err);
            expect_equal(clone, expected[i]);
            for (int j = 0; j < 6; j++)
                random_step(clone, expected[i], &seed);
            barrier(clone);
            expect_equal(clone, expected[i]);
            od_volume_close(clone);
        }
        expect_equal(volume, &models[0]);
    }
    // A clone of a clone.
    expect_ok(od_store_clone(store, "early", NULL, NULL, "third", &err), &err);
    expect_ok(od_volume_open(store, "third", false, &clone, &err), &err);
    expect_equal(clone, &models[1]);
    od_volume_close(clone);
    free(models);
}

static void an_empty_database_has_a_beginning(void **state)
{
    (void)state;
    struct od_meta_snapshot snapshot;
    struct od_error err = {0};
    struct model *model = calloc(1, sizeof *model);
    struct od_volume *clone;
    expect_ok(od_store_snapshot_create(store, "d", "empty", volume, &snapshot, &err), &err);
    expect_ok(od_store_clone(store, "d", NULL, volume, "copy", &err), &err);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, "x", 1, NULL), OD_OK);
    barrier(volume);
    expect_at("d", "empty", model);
    expect_ok(od_volume_open(store, "copy", false, &clone, &err), &err);
    expect_equal(clone, model);
    od_volume_close(clone);
    free(model);
}

// What follows the last barrier keeps a journal open, so that a snapshot cannot be made, unless it may be ended.
static void a_tail_that_is_no_commit_may_be_ended(void **state)
{
    (void)state;
    static uint8_t block[16384] = {7};
    struct od_meta_snapshot snapshot;
    struct od_volume *frozen = NULL;
    struct od_error err = {0};
    uint64_t first = barrier(volume);
    expect_ok(od_volume_settle(volume, &err), &err);
    assert_int_equal(od_volume_barrier_lsn(volume), first); // nothing to end
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    assert_int_equal(od_volume_truncate(volume, OD_VOLUME_DATABASE, 12288 + 16384, NULL), OD_OK);
    expect_ok(od_volume_settle(volume, &err), &err);
    assert_true(od_volume_barrier_lsn(volume) > first);
    expect_ok(od_store_snapshot_create(store, "d", "s", volume, &snapshot, &err), &err);
    expect_ok(od_volume_open_at(store, "d", &snapshot.position, &frozen, &err), &err);
    assert_int_equal(od_volume_size(frozen, OD_VOLUME_DATABASE), 12288 + 16384);
    od_volume_close(frozen);
    uint64_t last = od_volume_barrier_lsn(volume);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, block, 100, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    expect_ok(od_volume_settle(volume, &err), &err);
    assert_int_equal(od_volume_barrier_lsn(volume), last); // a commit may be on its way
    assert_true(barrier(volume) > last);
}

static void descriptions_come_back(void **state)
{
    (void)state;
    uint8_t bytes[OD_DESCRIPTION_BYTES_MAX];
    struct od_error err;
    struct od_branch_description branch = {{{1}}, {{2}}, {{3}}, 4, 5, 0, "name"}, branch_out;
    struct od_meta_snapshot snapshot = {"snap", {{1}}, {{{2}}, 3, 4}, {{5}}, 6, 7, true}, snapshot_out;
    size_t length = od_branch_encode(&branch, bytes);
    assert_int_equal(od_branch_decode(bytes, length, "k", &branch_out, NULL), OD_OK);
    assert_memory_equal(&branch, &branch_out, sizeof branch);
    for (size_t i = 0; i < length; i++) {
        bytes[i] ^= 4;
        assert_int_not_equal(od_branch_decode(bytes, length, "k", &branch_out, &err), OD_OK);
        assert_int_not_equal(od_branch_decode(bytes, i, "k", &branch_out, &err), OD_OK);
        bytes[i] ^= 4;
    }
    branch.policy = OD_BRANCH_REMOTE;
    length = od_branch_encode(&branch, bytes);
    assert_int_equal(od_branch_decode(bytes, length, "k", &branch_out, NULL), OD_OK);
    assert_memory_equal(&branch, &branch_out, sizeof branch);
    length = od_snapshot_encode(&snapshot, bytes);
    assert_int_equal(od_snapshot_decode(bytes, length, "k", &snapshot_out, NULL), OD_OK);
    assert_string_equal(snapshot_out.name, "snap");
    assert_true(od_uuid_equal(&snapshot_out.layer, &snapshot.layer) && snapshot_out.position.lsn == 4 &&
                snapshot_out.position.epoch == 3 && snapshot_out.automatic && snapshot_out.created_us == 7);
    bytes[20] ^= 1;
    assert_int_equal(od_snapshot_decode(bytes, length, "k", &snapshot_out, &err), OD_CORRUPT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_barrier_stays_readable),
        TEST(times_find_the_last_barrier_before),
        TEST(clones_go_their_own_way),
        TEST(an_empty_database_has_a_beginning),
        TEST(a_tail_that_is_no_commit_may_be_ended),
        TEST(descriptions_come_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
