// test_collector.c - a dropped database's layers go by themselves; stopping ends the thread at any time.
#include "base/log.h"
#include "objstore/objstore.h"
#include "os/clock.h"
#include "os/platform.h"
#include "server/collector.h"
#include "storage/store.h"
#include "support/fault.h"
#include "unit/os/scratch.h"

#include <string.h>
#include <time.h>

static od_code count_entry(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)key, (void)bytes, (void)err;
    ++*(size_t *)context;
    return OD_OK;
}

static void what_was_dropped_goes_by_itself(void **state)
{
    (void)state;
    static uint8_t block[16384] = {1};
    struct od_metastore *meta;
    struct od_objstore *objects;
    struct od_store *store;
    struct od_volume *volume;
    struct od_collector *collector;
    uint64_t lsn;
    assert_int_equal(od_metastore_sqlite_open(in_scratch("meta"), true, &meta, NULL), OD_OK);
    assert_int_equal(od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &objects, NULL), OD_OK);
    const struct od_store_options options = {.platform = od_platform_real(),
                                             .objects = objects,
                                             .metadata = meta,
                                             .journal_directory = in_scratch("journals"),
                                             .owner = "test",
                                             .seal_bytes = 1 << 20,
                                             .block_bytes = sizeof block};
    assert_int_equal(od_store_open(&options, &store, NULL), OD_OK);
    assert_int_equal(od_store_create(store, "d", NULL), OD_OK);
    assert_int_equal(od_volume_open(store, "d", true, &volume, NULL), OD_OK);
    assert_int_equal(od_volume_write(volume, OD_VOLUME_DATABASE, 12288, block, sizeof block, NULL), OD_OK);
    assert_int_equal(od_volume_barrier(volume, NULL, &lsn, NULL), OD_OK);
    od_volume_close(volume);
    assert_int_equal(od_store_drop(store, "d", NULL), OD_OK);
    const struct od_collect_policy at_once = {0};
    assert_int_equal(od_collector_start(store, &at_once, 5, &collector, NULL), OD_OK);
    const uint64_t until = od_clock_ms() + 60000;
    size_t left = 1;
    while (left > 0 && od_clock_ms() < until) {
        left = 0;
        assert_int_equal(od_objstore_list(objects, "layers/", count_entry, &left, NULL), OD_OK);
        nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
    }
    assert_int_equal(left, 0);
    od_collector_stop(collector);
    const struct od_collect_policy usual = od_collect_policy_default();
    assert_int_equal(od_collector_start(store, &usual, 3600000, &collector, NULL), OD_OK);
    od_collector_stop(collector); // long before its time
    od_store_close(store);
    od_objstore_close(objects);
    od_metastore_close(meta);
}

int main(void)
{
    od_log_set_level(OD_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_dropped_goes_by_itself, scratch_make, scratch_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
