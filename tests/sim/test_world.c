// test_world.c - the simulated machines and stores do what their headers say: a simulation on a disk that keeps too much,
// or on a metadata store that lets an old epoch publish, would find nothing.
#include "sim/stores.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

struct world {
    struct sim_random random;
    pthread_mutex_t lock;
    struct sim_host host;
    struct sim_stores stores;
    struct sim_object_link objects;
    struct sim_metadata_link metadata;
};

static void begin(struct world *world, uint64_t seed)
{
    *world = (struct world){.random = {seed}, .lock = PTHREAD_MUTEX_INITIALIZER};
    sim_host_init(&world->host, "north", &world->random, &world->lock);
    sim_stores_init(&world->stores);
    sim_object_link_init(&world->objects, &world->stores.objects, &world->host);
    sim_metadata_link_init(&world->metadata, &world->stores.metadata, &world->host);
    assert_int_equal(world->host.platform.ops->make_directory(&world->host.platform, "/d", NULL), OD_OK);
}

static void end(struct world *world)
{
    sim_host_release(&world->host);
    sim_stores_release(&world->stores);
}

static od_code file_open(struct world *world, const char *path, enum od_disk_mode mode, struct od_disk_file **file)
{
    return world->host.platform.ops->open(&world->host.platform, path, mode, file, NULL);
}

static od_code file_write(struct od_disk_file *file, uint64_t offset, uint8_t byte, size_t bytes)
{
    uint8_t data[8192];
    struct iovec part = {data, bytes};
    struct sim_host host;
    memset(data, byte, sizeof data);
    sim_host_init(&host, "", NULL, NULL); // for its table of functions
    return host.platform.ops->write(file, offset, &part, 1, NULL);
}

static uint8_t byte_of(struct world *world, const char *path, uint64_t offset)
{
    struct sim_bytes content = {0};
    uint8_t byte = 0xff;
    if (sim_host_peek(&world->host, path, &content))
        (void)sim_bytes_read(&content, offset, &byte, 1);
    sim_bytes_release(&content);
    return byte;
}

static bool there(struct world *world, const char *path)
{
    struct sim_bytes content = {0};
    const bool found = sim_host_peek(&world->host, path, &content);
    sim_bytes_release(&content);
    return found;
}

// /d/a of 8192 bytes of 1, synced with its name; then 2 is written over it, not synced.
static void write_two_versions(struct world *world)
{
    const struct od_platform_ops *ops = world->host.platform.ops;
    struct od_disk_file *file;
    assert_int_equal(file_open(world, "/d/a", OD_DISK_CREATE, &file), OD_OK);
    assert_int_equal(file_write(file, 0, 1, 8192), OD_OK);
    assert_int_equal(ops->sync(file, NULL), OD_OK);
    assert_int_equal(ops->sync_directory(&world->host.platform, "/d", NULL), OD_OK);
    assert_int_equal(file_write(file, 0, 2, 4096), OD_OK);
    assert_int_equal(file_write(file, 4096, 2, 4096), OD_OK);
    ops->close(file);
}

static void a_crash_keeps_what_was_synced(void **state)
{
    (void)state;
    bool seen[4] = {false}; // none, first only, second only, both
    bool torn = false;
    for (uint64_t seed = 0; seed < 200; seed++) {
        for (int kind = 0; kind < SIM_CRASHES; kind++) {
            struct world world;
            begin(&world, seed);
            write_two_versions(&world);
            sim_host_crash(&world.host, kind);
            const uint8_t first = byte_of(&world, "/d/a", 0), second = byte_of(&world, "/d/a", 4096);
            assert_in_range(first, 1, 2);
            assert_in_range(second, 1, 2);
            if (kind == SIM_CRASH_PROCESS)
                assert_int_equal(first + second, 4);
            if (kind == SIM_CRASH_NOTHING)
                assert_int_equal(first + second, 2);
            if (kind == SIM_CRASH_PREFIX)
                assert_false(first == 1 && second == 2);
            seen[(first == 2) + 2 * (second == 2)] = true;
            for (uint64_t at = SIM_SECTOR_BYTES; at < 4096; at += SIM_SECTOR_BYTES)
                torn |= byte_of(&world, "/d/a", at) != first;
            assert_int_equal(byte_of(&world, "/d/a", 0), byte_of(&world, "/d/a", SIM_SECTOR_BYTES - 1));
            end(&world);
        }
    }
    assert_true(seen[0] && seen[1] && seen[2] && seen[3] && torn);
}

static void a_name_is_durable_with_its_directory(void **state)
{
    (void)state;
    for (int kind = 0; kind < SIM_CRASHES; kind++) {
        struct world world;
        begin(&world, 7);
        const struct od_platform_ops *ops = world.host.platform.ops;
        struct od_disk_file *file;
        write_two_versions(&world);
        assert_int_equal(file_open(&world, "/d/b", OD_DISK_CREATE, &file), OD_OK);
        assert_int_equal(ops->sync(file, NULL), OD_OK);
        ops->close(file);
        if (kind == SIM_CRASH_SECTORS)
            assert_int_equal(ops->sync_directory(&world.host.platform, "/d", NULL), OD_OK);
        sim_host_crash(&world.host, kind);
        assert_true(there(&world, "/d/a"));
        if (kind == SIM_CRASH_NOTHING)
            assert_false(there(&world, "/d/b"));
        if (kind == SIM_CRASH_SECTORS || kind == SIM_CRASH_PROCESS)
            assert_true(there(&world, "/d/b"));
        end(&world);
    }
}

static void a_rename_happens_whole_or_not_at_all(void **state)
{
    (void)state;
    unsigned old = 0, new = 0;
    for (uint64_t seed = 0; seed < 50; seed++) {
        struct world world;
        begin(&world, seed);
        write_two_versions(&world);
        assert_int_equal(world.host.platform.ops->rename(&world.host.platform, "/d/a", "/d/c", NULL), OD_OK);
        sim_host_crash(&world.host, SIM_CRASH_SOME);
        assert_int_equal(there(&world, "/d/a") + there(&world, "/d/c"), 1);
        old += there(&world, "/d/a");
        new += there(&world, "/d/c");
        end(&world);
    }
    assert_true(old > 0 && new > 0);
}

static void a_failed_sync_loses_pages_that_reads_still_show(void **state)
{
    (void)state;
    bool lost = false;
    for (uint64_t seed = 0; seed < 20; seed++) {
        struct world world;
        begin(&world, seed);
        const struct od_platform_ops *ops = world.host.platform.ops;
        struct od_disk_file *file;
        write_two_versions(&world);
        assert_int_equal(file_open(&world, "/d/a", OD_DISK_WRITE, &file), OD_OK);
        world.host.faults.sync_error = 1000;
        assert_int_equal(ops->sync(file, NULL), OD_IO);
        world.host.faults.sync_error = 0;
        assert_int_equal(byte_of(&world, "/d/a", 0), 2);
        assert_int_equal(ops->sync(file, NULL), OD_OK); // and proves nothing
        ops->close(file);
        sim_host_crash(&world.host, SIM_CRASH_NOTHING);
        lost |= byte_of(&world, "/d/a", 0) == 1;
        end(&world);
    }
    assert_true(lost);
}

static void a_full_disk_refuses_what_was_not_allocated(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 3);
    const struct od_platform_ops *ops = world.host.platform.ops;
    struct od_disk_file *file;
    assert_int_equal(file_open(&world, "/d/a", OD_DISK_CREATE, &file), OD_OK);
    assert_int_equal(ops->allocate(file, 0, 8192, NULL), OD_OK);
    world.host.disk_full = true;
    assert_int_equal(file_write(file, 0, 5, 8192), OD_OK);
    assert_int_equal(file_write(file, 8192, 5, 512), OD_LIMIT);
    assert_int_equal(ops->allocate(file, 0, 16384, NULL), OD_LIMIT);
    ops->close(file);
    end(&world);
}

static void a_machine_without_power_does_nothing(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 4);
    const struct od_platform_ops *ops = world.host.platform.ops;
    struct od_disk_file *file;
    write_two_versions(&world);
    assert_int_equal(file_open(&world, "/d/a", OD_DISK_WRITE, &file), OD_OK);
    world.host.off_at_call = world.host.calls + 2;
    assert_int_equal(ops->sync(file, NULL), OD_OK);
    assert_int_equal(ops->sync_directory(&world.host.platform, "/d", NULL), OD_IO);
    assert_int_equal(file_write(file, 0, 9, 512), OD_IO);
    uint8_t byte;
    assert_int_equal(ops->read(file, 0, &byte, 1, NULL), OD_IO);
    ops->close(file);
    sim_host_crash(&world.host, SIM_CRASH_PROCESS);
    assert_int_equal(byte_of(&world, "/d/a", 0), 2);
    end(&world);
}

static void an_object_is_put_once_and_only_from_synced_files(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 5);
    struct od_objstore *store = &world.objects.base;
    struct od_object *object;
    struct od_disk_file *file;
    char abc[] = "abc";
    struct iovec part = {abc, 3};
    char text[3];
    assert_int_equal(store->ops->put(store, "k/1", &part, 1, NULL), OD_OK);
    assert_int_equal(store->ops->put(store, "k/1", &part, 1, NULL), OD_EXISTS);
    assert_int_equal(store->ops->open(store, "k/1", &object, NULL), OD_OK);
    assert_int_equal(store->ops->object_read(object, 0, text, 3, NULL), OD_OK);
    assert_memory_equal(text, "abc", 3);
    assert_int_equal(store->ops->object_read(object, 1, text, 3, NULL), OD_CORRUPT);
    store->ops->object_close(object);
    write_two_versions(&world);
    assert_int_equal(store->ops->put_file(store, "k/2", "/d/a", NULL), OD_OK);
    assert_non_null(strstr(world.host.violation, "not synced"));
    world.host.violation[0] = '\0';
    assert_int_equal(file_open(&world, "/d/a", OD_DISK_WRITE, &file), OD_OK);
    assert_int_equal(file_write(file, 0, 1, 1), OD_OK);
    assert_non_null(strstr(world.host.violation, "is an object"));
    world.host.platform.ops->close(file);
    end(&world);
}

static void a_late_put_arrives_after_its_answer_was_lost(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 6);
    struct od_objstore *store = &world.objects.base;
    struct od_object *object;
    char abc[] = "abc";
    struct iovec part = {abc, 3};
    world.host.faults.object_late = 1000;
    assert_int_equal(store->ops->put(store, "late", &part, 1, NULL), OD_OUTCOME_UNKNOWN);
    assert_int_equal(store->ops->open(store, "late", &object, NULL), OD_NOT_FOUND);
    sim_stores_deliver(&world.stores, &world.random, 1000);
    assert_int_equal(store->ops->open(store, "late", &object, NULL), OD_OK);
    store->ops->object_close(object);
    end(&world);
}

static void only_the_current_epoch_publishes_on_the_expected_tip(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 8);
    struct od_metastore *store = &world.metadata.base;
    struct od_meta_branch branch = {.branch = {{1}}};
    struct od_meta_layer layer = {.layer = {{2}}, .branch = {{1}}, .epoch = 1, .end_lsn = 100, .key = "l"};
    const struct od_uuid none = {{0}}, other = {{9}};
    assert_int_equal(store->ops->database_create(store, "db", &branch, NULL), OD_OK);
    assert_int_equal(
        store->ops->epoch_acquire(store, &branch.branch, "north", &layer.layer, 1000000, false, &branch, NULL), OD_OK);
    assert_int_equal(branch.epoch, 1);
    assert_int_equal(store->ops->epoch_acquire(store, &branch.branch, "south", &other, 1000000, false, &branch, NULL),
                     OD_LOCKED);
    assert_int_equal(store->ops->layer_publish(store, &layer, &other, NULL), OD_STALE);
    assert_int_equal(store->ops->layer_publish(store, &layer, &none, NULL), OD_OK);
    assert_int_equal(store->ops->layer_publish(store, &layer, &none, NULL), OD_OK); // the same again
    struct od_meta_layer next = layer;
    next.layer = (struct od_uuid){{3}};
    next.first_lsn = 100;
    next.end_lsn = 200;
    world.host.faults.row_late = 1000;
    assert_int_equal(store->ops->layer_publish(store, &next, &layer.layer, NULL), OD_OUTCOME_UNKNOWN);
    world.host.faults.row_late = 0;
    assert_int_equal(store->ops->epoch_acquire(store, &branch.branch, "south", &other, 1000000, true, &branch, NULL),
                     OD_OK);
    assert_int_equal(branch.epoch, 2);
    assert_int_equal(branch.epoch_start_lsn, 100);
    sim_stores_deliver(&world.stores, &world.random, 1000); // arrives after the takeover: without effect
    assert_int_equal(world.stores.metadata.layer_count, 1);
    assert_int_equal(store->ops->layer_publish(store, &next, &layer.layer, NULL), OD_FENCED);
    end(&world);
}

static void a_copy_of_a_machine_is_independent(void **state)
{
    (void)state;
    struct world world;
    begin(&world, 10);
    struct sim_host copy;
    struct sim_random random = {1};
    write_two_versions(&world);
    sim_host_copy(&copy, &world.host, &random, &world.lock);
    sim_host_crash(&copy, SIM_CRASH_NOTHING);
    assert_int_equal(byte_of(&world, "/d/a", 0), 2);
    struct sim_bytes content = {0};
    uint8_t byte;
    assert_true(sim_host_peek(&copy, "/d/a", &content));
    assert_true(sim_bytes_read(&content, 0, &byte, 1));
    assert_int_equal(byte, 1);
    sim_bytes_release(&content);
    sim_host_release(&copy);
    end(&world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_crash_keeps_what_was_synced),
        cmocka_unit_test(a_name_is_durable_with_its_directory),
        cmocka_unit_test(a_rename_happens_whole_or_not_at_all),
        cmocka_unit_test(a_failed_sync_loses_pages_that_reads_still_show),
        cmocka_unit_test(a_full_disk_refuses_what_was_not_allocated),
        cmocka_unit_test(a_machine_without_power_does_nothing),
        cmocka_unit_test(an_object_is_put_once_and_only_from_synced_files),
        cmocka_unit_test(a_late_put_arrives_after_its_answer_was_lost),
        cmocka_unit_test(only_the_current_epoch_publishes_on_the_expected_tip),
        cmocka_unit_test(a_copy_of_a_machine_is_independent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
