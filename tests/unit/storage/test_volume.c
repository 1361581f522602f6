// test_volume.c - a volume against a model of its files: reads give what was written, a crash leaves the last durable
// barrier, a torn tail is passed over and damage is refused, and every step may fail.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static struct od_metastore *meta, *copied_meta, *used_meta;
static struct od_objstore *objects, *copied_objects;
static struct od_store *store;
static struct od_volume *volume;

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
    return 0;
}

static int tear_down(void **state)
{
    od_volume_close(volume);
    od_store_close(store);
    od_objstore_close(objects);
    od_objstore_close(copied_objects);
    copied_objects = NULL;
    if (copied_meta)
        meta->ops->close(copied_meta);
    if (used_meta)
        meta->ops->close(used_meta);
    copied_meta = used_meta = NULL;
    meta->ops->close(meta);
    return scratch_remove(state);
}

static void reopen(void)
{
    struct od_error err = {0};
    od_volume_close(volume);
    volume = NULL;
    if (od_volume_open(store, "d", false, &volume, &err) != OD_OK)
        fail_msg("%s", err.message);
}

static uint64_t barrier(const char *request)
{
    struct od_ledger_entry entry = {.changed_rows = 7};
    uint64_t lsn;
    if (request)
        snprintf(entry.request_id, sizeof entry.request_id, "%s", request);
    assert_int_equal(od_volume_barrier(volume, request ? &entry : NULL, &lsn, NULL), OD_OK);
    return lsn;
}

// What a crash now would leave, but for the objects, which are never changed.
static void crash(const char *to)
{
    copy_journals(in_scratch("journals"), in_scratch(to));
    if (copied_meta)
        meta->ops->close(copied_meta);
    copied_meta = fake_meta_copy(meta);
}

// A copy opened: NULL when that is refused as damaged.
static struct od_volume *open_copy(struct od_store **copied, struct od_error *err)
{
    if (used_meta)
        meta->ops->close(used_meta);
    used_meta = fake_meta_copy(copied_meta);
    od_objstore_close(copied_objects);
    copied_objects = NULL;
    link_objects(in_scratch("objects"), in_scratch("copied-objects"));
    assert_int_equal(
        od_objstore_directory_open(od_platform_real(), in_scratch("copied-objects"), &copied_objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("copy"), used_meta, copied_objects, copied, NULL), OD_OK);
    struct od_volume *opened = NULL;
    od_code rc = od_volume_open(*copied, "d", false, &opened, err);
    assert_true(rc == OD_OK || rc == OD_CORRUPT);
    return opened;
}

static void reads_give_what_was_written(void **state)
{
    (void)state;
    struct model *model = calloc(1, sizeof *model);
    uint32_t seed = 12345;
    for (int round = 0; round < 30; round++) {
        for (int i = 0; i < 12; i++)
            random_step(volume, model, &seed);
        expect_equal(volume, model);
        uint64_t lsn = barrier(NULL);
        if (round % 3 == 0)
            assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
        if (round % 4 == 0)
            assert_int_equal(od_volume_wait_durable(volume, lsn, NULL), OD_OK);
        if (round % 6 == 5) {
            assert_int_equal(od_volume_publish(volume, NULL), OD_OK);
            expect_equal(volume, model);
        }
        if (round % 5 == 4)
            reopen();
        expect_equal(volume, model);
    }
    free(model);
}

static void a_read_beyond_the_end_is_refused(void **state)
{
    (void)state;
    struct od_error err;
    char byte = 'x', out[2];
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 5, &byte, 1, NULL), OD_OK);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, 4, out, 2, NULL), OD_OK);
    assert_memory_equal(out, "\0x", 2);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, 5, out, 2, &err), OD_IO);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, UINT64_MAX, out, 2, &err), OD_IO);
    assert_int_equal(od_volume_rename(volume, OD_VOLUME_DATABASE, OD_VOLUME_WAL, &err), OD_UNSUPPORTED);
    assert_int_equal(od_volume_remove(volume, OD_VOLUME_WAL_RECOVERY, &err), OD_NOT_FOUND);
    assert_int_equal(od_volume_trim(volume, OD_VOLUME_DATABASE, 100, 100, &err), OD_INVALID);
}

static void a_crash_leaves_the_last_barrier(void **state)
{
    (void)state;
    struct model *model = calloc(1, sizeof *model), *durable = calloc(1, sizeof *model);
    uint32_t seed = 99;
    for (int round = 0; round < 12; round++) {
        char request[20];
        for (int i = 0; i < 6; i++)
            random_step(volume, model, &seed);
        snprintf(request, sizeof request, "request-%d", round);
        barrier(request);
        assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
        *durable = *model;
        random_step(volume, model, &seed); // and no barrier
        struct od_error err = {0};
        if (round == 8 && od_volume_publish(volume, &err) != OD_OK)
            fail_msg("%s", err.message);
        if (round % 4 == 1)
            assert_int_equal(od_volume_roll(volume, NULL), OD_OK); // waits for the next barrier
        crash("copy");
        struct od_store *copied;
        struct od_volume *opened = open_copy(&copied, NULL);
        assert_non_null(opened);
        expect_equal(opened, durable);
        for (int i = 0; i <= round + 1; i++) {
            struct od_ledger_entry entry;
            snprintf(request, sizeof request, "request-%d", i);
            assert_int_equal(od_volume_ledger_find(opened, request, &entry), i <= round);
            if (i <= round)
                assert_int_equal(entry.changed_rows, 7);
        }
        od_volume_close(opened);
        od_store_close(copied);
    }
    free(model);
    free(durable);
}

// Cuts the journal at each of many places: never an error, always one of the barriers before the cut.
static void a_torn_tail_is_passed_over(void **state)
{
    (void)state;
    enum { ROUNDS = 8 };
    struct model *models = calloc(ROUNDS + 1, sizeof *models);
    uint32_t seed = 4711;
    uint64_t ends[ROUNDS + 1] = {0};
    for (int i = 1; i <= ROUNDS; i++) {
        models[i] = models[i - 1];
        for (int j = 0; j < 2; j++)
            random_step(volume, &models[i], &seed);
        ends[i] = barrier(NULL); // none is synced: the journal may be cut anywhere
    }
    crash("all");
    for (uint64_t cut = 0; cut <= ends[ROUNDS] + 64; cut += 1 + next_random(&seed) % (ends[ROUNDS] / 60)) {
        char path[512];
        copy_journals(in_scratch("all"), in_scratch("copy"));
        find_journal(in_scratch("copy"), path);
        assert_int_equal(truncate(path, (off_t)(4096 + cut)), 0);
        if (next_random(&seed) % 2)
            assert_int_equal(truncate(path, 8 << 20), 0); // zeros instead
        int last = 0;
        while (last < ROUNDS && ends[last + 1] <= cut)
            last++;
        struct od_store *copied;
        struct od_volume *opened = open_copy(&copied, NULL);
        assert_non_null(opened);
        assert_int_equal(od_volume_barrier_lsn(opened), ends[last]);
        expect_equal(opened, &models[last]);
        od_volume_close(opened);
        od_store_close(copied);
    }
    free(models);
}

// Flips a byte before a position that a later record calls durable: refused, with the offset, and nothing is removed.
static void damage_is_refused(void **state)
{
    (void)state;
    struct model *model = calloc(1, sizeof *model);
    uint32_t seed = 31;
    uint64_t end = 0;
    for (int i = 0; i < 5; i++) {
        for (int j = 0; j < 3; j++)
            random_step(volume, model, &seed);
        end = barrier(NULL);
        assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
    }
    barrier(NULL); // says that all before is durable
    crash("all");
    for (int i = 0; i < 60; i++) {
        char path[512];
        struct od_error err = {0};
        copy_journals(in_scratch("all"), in_scratch("copy"));
        find_journal(in_scratch("copy"), path);
        FILE *file = fopen(path, "r+b");
        assert_non_null(file);
        long at = i == 0 ? 70 : (long)(next_random(&seed) % (4096 + end));
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        int byte = fgetc(file);
        assert_int_equal(fseek(file, at, SEEK_SET), 0);
        fputc(byte ^ 0x20, file);
        fclose(file);
        struct od_store *copied;
        struct od_volume *opened = open_copy(&copied, &err);
        if (opened) { // the byte was padding between records
            expect_equal(opened, model);
            od_volume_close(opened);
        } else {
            assert_non_null(strstr(err.message, "offset"));
            assert_int_equal(access(path, F_OK), 0);
        }
        od_store_close(copied);
    }
    free(model);
}

static void damage_is_never_returned(void **state)
{
    (void)state;
    static uint8_t block[16384], out[16384];
    char path[512];
    struct od_error err = {0};
    memset(block, 0x5a, sizeof block);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    find_journal(in_scratch("journals"), path);
    FILE *file = fopen(path, "r+b");
    assert_int_equal(fseek(file, 4096 + 48 + 1000, SEEK_SET), 0);
    fputc(0, file);
    fclose(file);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 12288, out, sizeof out, &err), OD_CORRUPT);
    assert_non_null(strstr(err.message, path));
    assert_int_equal(od_volume_read(volume, OD_VOLUME_DATABASE, 12288 + 8000, out, 10, &err), OD_CORRUPT);
}

static void count_call(void *context, od_code rc)
{
    ((int *)context)[rc == OD_OK ? 0 : 1]++;
}

static void waiters_are_answered(void **state)
{
    (void)state;
    int calls[2] = {0};
    struct od_error err;
    char byte = 1;
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, &byte, 1, NULL), OD_OK);
    uint64_t lsn = barrier("a");
    assert_true(od_volume_durable_lsn(volume) < lsn);
    od_volume_when_durable(volume, lsn, count_call, calls);
    assert_int_equal(calls[0], 0);
    assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
    assert_int_equal(calls[0], 1);
    assert_int_equal(od_volume_durable_lsn(volume), lsn);
    od_volume_when_durable(volume, lsn, count_call, calls);
    assert_int_equal(calls[0], 2);
    assert_int_equal(od_volume_wait_durable(volume, lsn + 16, &err), OD_INVALID);

    // A failed write poisons: waiters are told that the outcome is unknown, and nothing is written any more.
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 1, &byte, 1, NULL), OD_OK);
    lsn = barrier("b");
    od_volume_when_durable(volume, lsn, count_call, calls);
    od_fault_arm(0, true);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 2, &byte, 1, &err), OD_IO);
    od_fault_disarm();
    assert_int_equal(calls[1], 1);
    assert_int_equal(od_volume_wait_durable(volume, lsn, &err), OD_OUTCOME_UNKNOWN);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, &err), OD_IO);
    assert_int_equal(od_volume_health(volume, &err), OD_IO);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, 0, &byte, 1, NULL), OD_OK);
    od_volume_when_durable(volume, UINT64_MAX, count_call, calls);
    assert_int_equal(calls[1], 2);
}

static void a_second_writer_is_refused(void **state)
{
    (void)state;
    struct od_volume *other = NULL;
    struct od_error err;
    assert_int_equal(od_volume_open(store, "d", true, &other, &err), OD_LOCKED);
    assert_int_equal(od_volume_open(store, "nobody", true, &other, &err), OD_NOT_FOUND);
    assert_int_equal(od_store_create(store, "d", &err), OD_EXISTS);
    assert_int_equal(od_store_create(store, "a/b", &err), OD_INVALID);
    assert_int_equal(od_store_drop(store, "d", &err), OD_LOCKED);
    struct od_store_database *rows;
    size_t count;
    assert_int_equal(od_store_list(store, &rows, &count, NULL), OD_OK);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].name, "d");
    assert_int_equal(rows[0].bytes, 0); // what is reserved does not count
    od_free(rows);
    char byte = 1;
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, &byte, 1, NULL), OD_OK);
    assert_int_equal(od_store_list(store, &rows, &count, NULL), OD_OK);
    assert_in_range(rows[0].bytes, 1, 1000);
    od_free(rows);
}

static void a_missing_journal_is_noticed(void **state)
{
    (void)state;
    char path[512];
    struct od_error err = {0};
    char byte = 1;
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, &byte, 1, NULL), OD_OK);
    barrier(NULL);
    find_journal(in_scratch("journals"), path);
    assert_int_equal(od_volume_roll(volume, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 1, &byte, 1, NULL), OD_OK);
    barrier(NULL);
    crash("copy");
    char lost[600];
    snprintf(lost, sizeof lost, "%s%s", in_scratch("copy"), path + strlen(in_scratch("journals")));
    assert_int_equal(unlink(lost), 0);
    struct od_store *copied;
    assert_null(open_copy(&copied, &err));
    od_store_close(copied);
    assert_non_null(strstr(err.message, "continues layer"));
}

static void every_step_may_fail(void **state)
{
    (void)state;
    static uint8_t block[16384];
    od_volume_close(volume);
    volume = NULL;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        od_code rc = OD_OK;
        struct od_store *one = NULL;
        struct od_volume *opened = NULL;
        struct od_ledger_entry entry = {.request_id = "request", .changed_rows = 1}, found;
        uint64_t lsn;
        OD_TRY(open_store(in_scratch("journals"), meta, objects, &one, &err));
        OD_TRY(od_volume_open(one, "d", false, &opened, &err));
        OD_TRY(od_volume_write(opened, OD_VOLUME_DATABASE, 12288, block, sizeof block, &err));
        OD_TRY(od_volume_write(opened, OD_VOLUME_DATABASE, 100, block, 5000, &err));
        OD_TRY(od_volume_write(opened, OD_VOLUME_WAL, 0, block, 100, &err));
        OD_TRY(od_volume_barrier(opened, &entry, &lsn, &err));
        OD_TRY(od_volume_roll(opened, &err));
        OD_TRY(od_volume_wait_durable(opened, lsn, &err));
        OD_TRY(od_volume_publish(opened, &err));
        OD_TRY(od_volume_read(opened, OD_VOLUME_DATABASE, 12288, block, sizeof block, &err));
        OD_TRY(od_volume_truncate(opened, OD_VOLUME_DATABASE, 0, &err));
    out:
        if (rc == OD_OUTCOME_UNKNOWN || rc == OD_UNAVAILABLE) // what a failed sync leaves, or a lost answer
            rc = err.code = OD_IO;
        od_fault_expect(&fault, rc, &err);
        od_fault_disarm();
        od_volume_close(opened);
        od_store_close(one);
        // Whatever failed, the next opening works.
        assert_int_equal(open_store(in_scratch("journals"), meta, objects, &one, NULL), OD_OK);
        assert_int_equal(od_volume_open(one, "d", false, &opened, NULL), OD_OK);
        if (rc == OD_OK)
            assert_true(od_volume_ledger_find(opened, "request", &found));
        od_volume_close(opened);
        od_store_close(one);
        fake_meta_forget(meta);
        assert_int_equal(od_tree_remove(in_scratch("journals"), NULL), OD_OK);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(reads_give_what_was_written),
        TEST(a_read_beyond_the_end_is_refused),
        TEST(a_crash_leaves_the_last_barrier),
        TEST(a_torn_tail_is_passed_over),
        TEST(damage_is_refused),
        TEST(damage_is_never_returned),
        TEST(waiters_are_answered),
        TEST(a_second_writer_is_refused),
        TEST(a_missing_journal_is_noticed),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
