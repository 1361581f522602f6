// test_restore.c - a restored database is what it was at the point; nothing that it was afterwards is lost, also in a
// rebuild; a restore that fails leaves the database as it is.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "storage/rebuild.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    return 0;
}

static int tear_down(void **state)
{
    od_store_close(store);
    od_objstore_close(objects);
    meta->ops->close(meta);
    return scratch_remove(state);
}

// ---- a database whose whole content is one line in its WAL

static uint64_t set(const char *database, const char *text)
{
    struct od_volume *volume = NULL;
    struct od_error err = {0};
    uint64_t lsn;
    if (od_volume_open(store, database, false, &volume, &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, text, strlen(text) + 1, NULL), OD_OK);
    assert_int_equal(od_volume_truncate(volume, OD_VOLUME_WAL, strlen(text) + 1, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    od_volume_close(volume);
    return lsn;
}

static void expect_in(struct od_volume *volume, const char *text)
{
    char out[64] = "";
    assert_int_equal(od_volume_size(volume, OD_VOLUME_WAL), strlen(text) + 1);
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, 0, out, strlen(text) + 1, NULL), OD_OK);
    assert_string_equal(out, text);
}

static void expect_now(const char *database, const char *text)
{
    struct od_volume *volume = NULL;
    struct od_error err = {0};
    if (od_volume_open(store, database, false, &volume, &err) != OD_OK)
        fail_msg("%s", err.message);
    expect_in(volume, text);
    od_volume_close(volume);
}

static void expect_at(const char *database, const char *selector, const char *text)
{
    struct od_position position;
    struct od_volume *frozen = NULL;
    struct od_error err = {0};
    if (od_store_resolve(store, database, selector, NULL, &position, &err) != OD_OK ||
        od_volume_open_at(store, database, &position, &frozen, &err) != OD_OK)
        fail_msg("%s: %s", selector, err.message);
    expect_in(frozen, text);
    od_volume_close(frozen);
}

static void snapshot(const char *database, const char *name)
{
    struct od_meta_snapshot row;
    struct od_error err = {0};
    if (od_store_snapshot_create(store, database, name, NULL, &row, &err) != OD_OK)
        fail_msg("%s", err.message);
}

static void restore(const char *database, const char *selector)
{
    struct od_error err = {0};
    if (od_store_restore(store, database, selector, NULL, &err) != OD_OK)
        fail_msg("%s", err.message);
}

// The n-th newest snapshot that a restore took.
static void before_restore(const char *database, size_t n, char out[OD_META_NAME_BYTES])
{
    struct od_meta_snapshot *rows;
    size_t count;
    out[0] = '\0';
    assert_int_equal(od_store_snapshot_list(store, database, &rows, &count, NULL), OD_OK);
    for (size_t i = count; i-- > 0 && !out[0];)
        if (strncmp(rows[i].name, "before-restore-", 15) == 0 && n-- == 0)
            memcpy(out, rows[i].name, sizeof rows[i].name);
    od_free(rows);
    assert_true(out[0]);
}

static void now_text(char out[40])
{
    struct timespec now;
    usleep(2000); // times of barriers are to differ
    clock_gettime(CLOCK_REALTIME, &now);
    struct tm parts;
    gmtime_r(&now.tv_sec, &parts);
    size_t used = strftime(out, 40, "%Y-%m-%dT%H:%M:%S", &parts);
    snprintf(out + used, 40 - used, ".%06ldZ", now.tv_nsec / 1000);
    usleep(2000);
}

// ---- tests

static void a_database_goes_back_and_forth(void **state)
{
    (void)state;
    char first[OD_META_NAME_BYTES], second[OD_META_NAME_BYTES], times[5][40], text[64];
    uint64_t one = set("d", "one");
    snapshot("d", "s1");
    now_text(times[0]);
    set("d", "two");
    now_text(times[1]);
    restore("d", "s1");
    now_text(times[2]);
    expect_at("d", times[2], "one"); // before anything is written
    expect_now("d", "one");
    before_restore("d", 0, first);
    expect_at("d", first, "two");
    uint64_t three = set("d", "three");
    now_text(times[3]);
    restore("d", first); // undone
    expect_now("d", "two");
    before_restore("d", 0, second);
    expect_at("d", second, "three");
    set("d", "four");
    now_text(times[4]);
    expect_now("d", "four");
    // Names of every self, times as it was then, positions of what it began with.
    expect_at("d", "s1", "one");
    expect_at("d", first, "two");
    static const char *const then[] = {"one", "two", "one", "three", "four"};
    for (int i = 0; i < 5; i++)
        expect_at("d", times[i], then[i]);
    snprintf(text, sizeof text, "%llu", (unsigned long long)one);
    expect_at("d", text, "one");
    assert_int_not_equal(one, three);
    // A clone of the past stands on its own.
    assert_int_equal(od_store_clone(store, "d", second, NULL, "c", NULL), OD_OK);
    set("c", "five");
    expect_now("c", "five");
    expect_now("d", "four");
    struct od_meta_snapshot *rows;
    size_t count;
    assert_int_equal(od_store_snapshot_list(store, "c", &rows, &count, NULL), OD_OK);
    assert_int_equal(count, 0); // it is no restore of anything
    od_free(rows);
}

static void snapshots_of_earlier_selves(void **state)
{
    (void)state;
    char first[OD_META_NAME_BYTES];
    struct od_error err = {0};
    struct od_meta_snapshot row;
    set("d", "one");
    snapshot("d", "s1");
    set("d", "two");
    restore("d", "s1");
    snapshot("d", "s2");
    before_restore("d", 0, first);
    assert_int_equal(od_store_snapshot_create(store, "d", "s1", NULL, &row, &err), OD_EXISTS);
    assert_int_equal(od_store_snapshot_drop(store, "d", first, &err), OD_LOCKED); // s1 is reached through it
    assert_non_null(strstr(err.message, "'s1'"));
    assert_int_equal(od_store_snapshot_drop(store, "d", "s1", &err), OD_OK);
    assert_int_equal(od_store_snapshot_drop(store, "d", "s1", &err), OD_NOT_FOUND);
    assert_non_null(strstr(err.message, "'s2'"));
    assert_int_equal(od_store_snapshot_drop(store, "d", first, &err), OD_OK);
    assert_int_equal(od_store_snapshot_drop(store, "d", "s2", &err), OD_OK);
    expect_now("d", "one");
    static const char *const bad[] = {"12", "3.14", "2026-01-02", "2026-01-02T10:11", "-a", ".a", "a b", ""};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_int_equal(od_store_snapshot_create(store, "d", bad[i], NULL, &row, &err), OD_INVALID);
}

static void what_cannot_be_restored(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_volume *volume = NULL;
    set("d", "one");
    snapshot("d", "s1");
    assert_int_equal(od_store_restore(store, "missing", "s1", NULL, &err), OD_NOT_FOUND);
    assert_int_equal(od_store_restore(store, "d", "s2", NULL, &err), OD_NOT_FOUND);
    assert_non_null(strstr(err.message, "'s1'"));
    assert_int_equal(od_store_restore(store, "d", "99999999", NULL, &err), OD_NOT_FOUND);
    assert_int_equal(od_volume_open(store, "d", false, &volume, &err), OD_OK);
    assert_int_equal(od_store_restore(store, "d", "s1", NULL, &err), OD_LOCKED);
    od_volume_close(volume);
    struct od_meta_snapshot *rows;
    size_t count;
    assert_int_equal(od_store_snapshot_list(store, "d", &rows, &count, NULL), OD_OK);
    assert_int_equal(count, 1);
    od_free(rows);
    expect_now("d", "one");
}

static void commits_that_a_crash_left_in_a_journal_are_kept(void **state)
{
    (void)state;
    struct od_volume *volume = NULL;
    struct od_store *crashed = NULL;
    char before[OD_META_NAME_BYTES];
    uint64_t lsn;
    set("d", "one");
    snapshot("d", "s1");
    assert_int_equal(od_volume_open(store, "d", false, &volume, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, "two", 4, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(od_volume_flush(volume, NULL), OD_OK);
    copy_journals(in_scratch("journals"), in_scratch("crashed"));
    assert_int_equal(open_store(in_scratch("crashed"), meta, objects, &crashed, NULL), OD_OK);
    assert_int_equal(od_store_restore(crashed, "d", "s1", NULL, NULL), OD_OK);
    od_store_close(crashed);
    od_volume_close(volume); // fenced
    expect_now("d", "one");
    before_restore("d", 0, before);
    expect_at("d", before, "two");
}

// The metadata again, from the objects.
static void rebuild(void)
{
    struct od_metastore *rebuilt = NULL;
    struct od_error err = {0};
    static unsigned times;
    char name[32];
    snprintf(name, sizeof name, "rebuilt%u.db", times++);
    assert_int_equal(od_metastore_sqlite_open(in_scratch(name), true, &rebuilt, NULL), OD_OK);
    struct od_rebuild request = {.objects = objects, .metadata = rebuilt};
    if (od_rebuild_run(&request, &err) != OD_OK)
        fail_msg("%s", err.message);
    od_store_close(store);
    meta->ops->close(meta);
    meta = rebuilt;
    assert_int_equal(open_store(in_scratch("journals"), meta, objects, &store, NULL), OD_OK);
}

static size_t databases(void)
{
    struct od_store_database *rows;
    size_t count;
    assert_int_equal(od_store_list(store, &rows, &count, NULL), OD_OK);
    od_free(rows);
    return count;
}

static void a_rebuild_knows_of_restores(void **state)
{
    (void)state;
    char before[OD_META_NAME_BYTES];
    set("d", "one");
    snapshot("d", "s1");
    set("d", "two");
    restore("d", "s1");
    for (int round = 0; round < 2; round++) { // without a layer of its own, and with one
        rebuild();
        assert_int_equal(databases(), 1);
        expect_now("d", round == 0 ? "one" : "three");
        before_restore("d", 0, before);
        expect_at("d", before, "two");
        expect_at("d", "s1", "one");
        if (round == 0)
            set("d", "three");
    }
    restore("d", before);
    rebuild();
    assert_int_equal(databases(), 1);
    expect_now("d", "two");
    before_restore("d", 0, before);
    expect_at("d", before, "three");
    expect_at("d", "s1", "one");
}

// Each run restores to the other of two states; a failure leaves the one it was.
static void every_step_may_fail(void **state)
{
    (void)state;
    static const char *const names[] = {"s1", "s2"}, *const texts[] = {"one", "two"};
    for (int i = 0; i < 2; i++) {
        set("d", texts[i]);
        snapshot("d", names[i]);
    }
    int is = 1;
    size_t restored = 0, failed = 0;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        od_code rc = od_store_restore(store, "d", names[1 - is], NULL, &err);
        bool injected = od_fault_injected(&fault);
        od_fault_end(&fault);
        if (rc != OD_OK && (!injected || err.code != rc || !err.message[0]))
            fail_msg("%s: %s", od_code_name(rc), err.message);
        if (rc == OD_OK)
            is = 1 - is;
        *(rc == OD_OK ? &restored : &failed) += 1;
        struct od_volume *volume = NULL;
        assert_int_equal(od_volume_open(store, "d", true, &volume, NULL),
                         OD_OK); // the lease may not have been given back
        expect_in(volume, texts[is]);
        od_volume_close(volume);
    }
    assert_true(restored > 0 && failed > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(a_database_goes_back_and_forth), TEST(snapshots_of_earlier_selves),
        TEST(what_cannot_be_restored),        TEST(commits_that_a_crash_left_in_a_journal_are_kept),
        TEST(a_rebuild_knows_of_restores),    TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
