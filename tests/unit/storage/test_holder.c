// test_holder.c - whose journals go on: a place that was taken over keeps its old ones aside, another place takes over only
// by force, or after a close that published everything; a snapshot is a layer or nothing.
#include "fixture.h"

#include "base/alloc.h"
#include "base/log.h"
#include "os/file.h"

#include <stdio.h>
#include <unistd.h>

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *north, *south;

static int set_up(void **state)
{
    od_log_set_level(OD_LOG_ERROR);
    if (scratch_make(state) != 0)
        return -1;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta.db"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("north"), meta, objects, &north, NULL), OD_OK);
    assert_int_equal(open_store(in_scratch("south"), meta, objects, &south, NULL), OD_OK);
    assert_int_equal(od_store_create(north, "d", NULL), OD_OK);
    return 0;
}

static int tear_down(void **state)
{
    od_store_close(north);
    od_store_close(south);
    od_objstore_close(objects);
    meta->ops->close(meta);
    return scratch_remove(state);
}

static struct od_volume *open_at(struct od_store *store, bool force)
{
    struct od_volume *volume = NULL;
    struct od_error err = {0};
    if (od_volume_open(store, "d", force, &volume, &err) != OD_OK)
        fail_msg("%s", err.message);
    return volume;
}

// The whole content is one letter in the WAL.
static uint64_t set(struct od_volume *volume, char letter)
{
    uint64_t lsn;
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, &letter, 1, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    assert_int_equal(od_volume_wait_durable(volume, lsn, NULL), OD_OK);
    return lsn;
}

static char get(struct od_volume *volume)
{
    char letter = 0;
    assert_int_equal(od_volume_read(volume, OD_VOLUME_WAL, 0, &letter, 1, NULL), OD_OK);
    return letter;
}

static size_t count_superseded(void)
{
    struct od_names names, kept;
    size_t count = 0;
    assert_int_equal(od_directory_list(in_scratch("north"), &names, NULL), OD_OK);
    for (size_t i = 0; i < names.count; i++) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s/superseded", in_scratch("north"), names.names[i]);
        if (od_directory_list(path, &kept, NULL) != OD_OK)
            continue;
        count += kept.count;
        od_names_release(&kept);
    }
    od_names_release(&names);
    return count;
}

// North commits b, which it never publishes; south takes over and commits c. Returns the position of b.
static struct od_position take_over(void)
{
    struct od_error err = {0};
    struct od_volume *old = open_at(north, false), *refused = NULL;
    set(old, 'a');
    od_volume_close(old);
    old = open_at(north, false);
    const struct od_position lost = {.epoch = od_volume_epoch(old), .lsn = set(old, 'b')};
    assert_int_equal(od_volume_open(south, "d", false, &refused, &err), OD_LOCKED);
    assert_non_null(strstr(err.message, "another place"));
    struct od_volume *taken = open_at(south, true);
    assert_int_equal(get(taken), 'a');
    set(taken, 'c');
    od_volume_close(old); // it is fenced: its journal stays where it is
    od_volume_close(taken);
    return lost;
}

static void the_journals_of_before_a_takeover_are_kept_aside(void **state)
{
    (void)state;
    char selector[64];
    struct od_position position;
    struct od_error err = {0};
    const struct od_position lost = take_over();
    snprintf(selector, sizeof selector, "%llu.%llu", (unsigned long long)lost.epoch, (unsigned long long)lost.lsn);
    for (int round = 0; round < 3; round++) {
        struct od_volume *volume = open_at(north, false); // south published all and gave it back
        assert_int_equal(get(volume), round == 0 ? 'c' : 'd');
        assert_int_equal(count_superseded(), 1);
        set(volume, 'd');
        od_code rc = od_store_resolve(north, "d", selector, volume, &position, &err);
        struct od_volume *frozen = NULL;
        if (rc == OD_OK)
            rc = od_volume_open_at(north, "d", &position, &frozen, &err);
        assert_int_equal(rc, OD_NOT_FOUND);
        od_volume_close(volume);
    }
}

static void an_opening_that_fails_anywhere_keeps_them_once(void **state)
{
    (void)state;
    take_over();
    od_code rc = OD_INTERNAL;
    for (uint64_t at = 0; rc != OD_OK; at++) {
        struct od_volume *volume = NULL;
        struct od_error err = {0};
        od_fault_arm(at, false);
        rc = od_volume_open(north, "d", false, &volume, &err);
        od_fault_disarm();
        if (rc != OD_OK)
            continue;
        assert_int_equal(get(volume), 'c');
        od_volume_close(volume);
    }
    assert_int_equal(count_superseded(), 1);
}

static void a_place_without_its_uuid_is_refused(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_volume *volume = open_at(north, false);
    set(volume, 'a');
    od_volume_close(volume);
    od_store_close(north);
    assert_int_equal(truncate(in_scratch("north/holder"), 20), 0);
    assert_int_equal(open_store(in_scratch("north"), meta, objects, &north, NULL), OD_OK);
    assert_int_equal(od_volume_open(north, "d", true, &volume, &err), OD_CORRUPT);
    assert_non_null(strstr(err.message, "north/holder"));
}

static void a_snapshot_in_mid_statement_is_refused_and_not_made(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_meta_snapshot snapshot, *rows = NULL;
    struct od_position position;
    size_t count = 0;
    struct od_volume *volume = open_at(north, false), *frozen = NULL;
    set(volume, 'a');
    assert_int_equal(od_volume_write(volume, OD_VOLUME_WAL, 0, "b", 1, NULL), OD_OK);
    assert_int_equal(od_store_snapshot_create(north, "d", "s", volume, &snapshot, &err), OD_BUSY);
    assert_non_null(strstr(err.message, "running statement"));
    assert_int_equal(od_store_snapshot_list(north, "d", &rows, &count, NULL), OD_OK);
    assert_int_equal(count, 0);
    od_free(rows);
    set(volume, 'c');
    assert_int_equal(od_store_snapshot_create(north, "d", "s", volume, &snapshot, &err), OD_OK);
    // From the other place, while the writer goes on.
    assert_int_equal(od_store_resolve(south, "d", "s", NULL, &position, &err), OD_OK);
    assert_int_equal(od_volume_open_at(south, "d", &position, &frozen, &err), OD_OK);
    set(volume, 'd');
    assert_int_equal(get(frozen), 'c');
    od_volume_close(frozen);
    od_volume_close(volume);
}

int main(void)
{
#define HOLDER_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        HOLDER_TEST(the_journals_of_before_a_takeover_are_kept_aside),
        HOLDER_TEST(an_opening_that_fails_anywhere_keeps_them_once),
        HOLDER_TEST(a_place_without_its_uuid_is_refused),
        HOLDER_TEST(a_snapshot_in_mid_statement_is_refused_and_not_made),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
