// test_cache.c - the cache: the suite of all backends on it; what it fetches, keeps and gives up; damage to its file; many
// readers at once; every step failing.
#include "conformance/objstore/objstore_conformance.h"
#include "base/alloc.h"
#include "objstore/cache.h"
#include "os/platform.h"
#include "os/thread.h"
#include "support/fault.h"
#include "unit/os/scratch.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define BLOCK 4096u
#define OBJECT_BYTES (1u << 20)
#define READERS 8

// ---- a store of objects whose bytes follow from key and offset; it counts, waits and fails

struct made_store {
    struct od_objstore base;
    _Atomic uint64_t reads, bytes;
    _Atomic unsigned fail;   // so many reads to come fail
    _Atomic unsigned change; // mixed into all bytes: as if objects had been removed and put again
    bool slow;
};

struct made_object {
    struct od_object base;
    uint32_t seed;
};

static uint8_t byte_at(uint32_t seed, uint64_t offset)
{
    return (uint8_t)(seed + offset / 3 + offset / 4099);
}

static uint32_t seed_of(const struct made_store *store, const char *key)
{
    uint32_t seed = store->change;
    while (*key)
        seed = seed * 31 + (uint8_t)*key++;
    return seed;
}

static od_code made_open(struct od_objstore *store, const char *key, struct od_object **out, struct od_error *err)
{
    struct made_object *object = od_calloc(1, sizeof *object);
    if (!object)
        return od_fail(err, OD_NO_MEMORY, "out of memory");
    object->base.store = store;
    object->seed = seed_of((struct made_store *)store, key);
    *out = &object->base;
    return OD_OK;
}

static uint64_t made_bytes(const struct od_object *object)
{
    (void)object;
    return OBJECT_BYTES - 1000; // the last block is a short one
}

static od_code made_read(struct od_object *opaque, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    struct made_object *object = (struct made_object *)opaque;
    struct made_store *store = (struct made_store *)opaque->store;
    atomic_fetch_add(&store->reads, 1);
    atomic_fetch_add(&store->bytes, bytes);
    if (store->slow) {
        pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
        pthread_cond_t never;
        od_cond_init(&never);
        pthread_mutex_lock(&mutex);
        od_cond_wait_until(&never, &mutex, od_platform_real()->ops->clock_us(od_platform_real()) / 1000 + 20);
        pthread_mutex_unlock(&mutex);
        pthread_cond_destroy(&never);
    }
    unsigned left = atomic_load(&store->fail);
    while (left && !atomic_compare_exchange_weak(&store->fail, &left, left - 1))
        ;
    if (left || od_fault_point())
        return od_fail(err, OD_UNAVAILABLE, "the store does not answer");
    for (size_t i = 0; i < bytes; i++)
        ((uint8_t *)out)[i] = byte_at(object->seed, offset + i);
    return OD_OK;
}

static void made_close_object(struct od_object *object)
{
    od_free(object);
}

static od_code made_remove(struct od_objstore *store, const char *key, struct od_error *err)
{
    (void)key, (void)err;
    atomic_fetch_add(&((struct made_store *)store)->change, 1);
    return OD_OK;
}

static void made_close(struct od_objstore *store)
{
    (void)store;
}

static const struct od_objstore_ops MADE_OPS = {.kind = "made",
                                                .open = made_open,
                                                .object_bytes = made_bytes,
                                                .object_read = made_read,
                                                .object_close = made_close_object,
                                                .remove = made_remove,
                                                .close = made_close};

static struct made_store made;
static struct od_objstore *cache;

static od_code open_cache(const char *name, uint64_t blocks, unsigned threads, struct od_error *err)
{
    struct od_cache_options options = {
        .platform = od_platform_real(),
        .inner = &made.base,
        .path = in_scratch(name),
        .bytes = blocks * (BLOCK + 64) + 8192,
        .block_bytes = BLOCK,
        .request_bytes = 64 * BLOCK,
        .prefetch_threads = threads,
    };
    return od_objstore_cache_open(&options, &cache, err);
}

static int set_up(void **state)
{
    atomic_store(&made.reads, 0);
    atomic_store(&made.bytes, 0);
    atomic_store(&made.fail, 0);
    atomic_store(&made.change, 0);
    made.slow = false;
    made.base.ops = &MADE_OPS;
    return scratch_make(state);
}

static int tear_down(void **state)
{
    od_objstore_close(cache);
    cache = NULL;
    return scratch_remove(state);
}

static void expect_read(const char *key, uint64_t offset, size_t bytes)
{
    struct od_object *object;
    uint8_t *out = od_alloc(bytes);
    assert_non_null(out);
    assert_int_equal(od_objstore_open(cache, key, &object, NULL), OD_OK);
    assert_int_equal(od_object_read(object, offset, out, bytes, NULL), OD_OK);
    uint32_t seed = seed_of(&made, key);
    for (size_t i = 0; i < bytes; i++)
        if (out[i] != byte_at(seed, offset + i))
            fail_msg("%s: byte %llu differs", key, (unsigned long long)(offset + i));
    od_object_close(object);
    od_free(out);
}

static struct od_cache_stats stats_now(void)
{
    struct od_cache_stats stats;
    od_objstore_cache_stats(cache, &stats);
    return stats;
}

// ---- what it fetches and keeps

static void what_was_read_is_near_also_after_a_restart(void **state)
{
    (void)state;
    assert_int_equal(open_cache("cache", 512, 0, NULL), OD_OK);
    expect_read("a", 5, 100000);
    uint64_t reads = made.reads;
    assert_int_equal(reads, 1);
    expect_read("a", 7, 90000);
    expect_read("a", 99000, 1000);
    assert_int_equal(made.reads, reads);
    od_objstore_close(cache);
    assert_int_equal(open_cache("cache", 512, 0, NULL), OD_OK);
    expect_read("a", 5, 100000);
    assert_int_equal(made.reads, reads);
    expect_read("a", OBJECT_BYTES - 1000 - 77, 77); // the short block at the end
    expect_read("a", OBJECT_BYTES - 1000 - 77, 77);
    assert_int_equal(made.reads, reads + 1);
    expect_read("b", 5, 100); // another object's blocks are others
    assert_int_equal(made.reads, reads + 2);
    // Of another shape: made anew.
    od_objstore_close(cache);
    assert_int_equal(open_cache("cache", 256, 0, NULL), OD_OK);
    assert_int_equal(stats_now().blocks, 0);
    expect_read("a", 5, 100000);
}

static void the_file_has_a_bound(void **state)
{
    (void)state;
    const uint64_t bound = 64 * (BLOCK + 64) + 8192;
    uint64_t bytes = 0;
    assert_int_equal(open_cache("cache", 64, 0, NULL), OD_OK);
    for (unsigned i = 0; i < 10; i++) {
        char key[] = {(char)('a' + i), 0};
        for (unsigned at = 0; at < OBJECT_BYTES / 2; at += 64 * BLOCK)
            expect_read(key, at, 64 * BLOCK);
    }
    assert_int_equal(od_file_size(in_scratch("cache"), &bytes, NULL), OD_OK);
    struct od_cache_stats stats = stats_now();
    assert_true(bytes <= bound && stats.blocks <= stats.capacity_blocks && stats.evicted > 0);
    struct od_error err;
    struct od_objstore *other;
    struct od_cache_options small = {
        .platform = od_platform_real(), .inner = &made.base, .path = in_scratch("small"), .bytes = 10000};
    assert_int_equal(od_objstore_cache_open(&small, &other, &err), OD_INVALID);
    assert_non_null(strstr(err.message, "too small"));
}

static void a_scan_leaves_what_is_read_again(void **state)
{
    (void)state;
    assert_int_equal(open_cache("cache", 128, 0, NULL), OD_OK);
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < 32; i++)
            expect_read("hot", 3 * i * BLOCK, 100); // every third: nobody reads ahead of that
    for (unsigned at = 0; at < 96 * BLOCK; at += 8 * BLOCK)
        expect_read("scan", at, 8 * BLOCK);
    uint64_t misses = stats_now().misses;
    for (unsigned i = 0; i < 32; i++)
        expect_read("hot", 3 * i * BLOCK, 100);
    assert_int_equal(stats_now().misses, misses);
}

static void reading_in_order_makes_large_requests(void **state)
{
    (void)state;
    const unsigned step = 3 * BLOCK + 100; // as blocks of a layer lie
    for (unsigned threads = 0; threads <= 2; threads += 2) {
        atomic_store(&made.reads, 0);
        atomic_store(&made.bytes, 0);
        made.slow = threads > 0; // else the reader is faster than the threads
        assert_int_equal(open_cache(threads ? "with" : "without", 512, threads, NULL), OD_OK);
        struct od_object *object;
        uint8_t out[3 * BLOCK + 100];
        assert_int_equal(od_objstore_open(cache, "a", &object, NULL), OD_OK);
        for (unsigned at = 0; at + step <= OBJECT_BYTES - 1000; at += step)
            assert_int_equal(od_object_read(object, at, out, step, NULL), OD_OK);
        od_object_close(object);
        struct od_cache_stats stats = stats_now();
        assert_true(made.bytes <= OBJECT_BYTES); // nothing twice
        assert_true(stats.ahead_blocks > (threads ? 0 : 150));
        assert_true(made.reads <= (threads ? 80 : 10)); // of 85 reads; the windows double up to 64 blocks
        od_objstore_close(cache);
    }
    made.slow = false;
    assert_int_equal(open_cache("cache", 512, 0, NULL), OD_OK);
    atomic_store(&made.bytes, 0);
    for (unsigned i = 0; i < 20; i++) // here and there: nothing is read ahead
        expect_read("a", (i * 97 % 240) * BLOCK, 200);
    assert_int_equal(made.bytes, 20 * BLOCK);
}

static void a_small_gap_is_no_reason_for_two_requests(void **state)
{
    (void)state;
    assert_int_equal(open_cache("cache", 512, 0, NULL), OD_OK);
    expect_read("a", 20 * BLOCK, 10 * BLOCK);
    uint64_t reads = made.reads;
    expect_read("a", 3 * BLOCK, 40 * BLOCK);
    assert_int_equal(made.reads, reads + 1);
}

static void damage_is_a_miss(void **state)
{
    (void)state;
    struct od_buf file;
    assert_int_equal(open_cache("cache", 64, 0, NULL), OD_OK);
    expect_read("a", 0, 40 * BLOCK);
    od_objstore_close(cache);
    od_buf_init(&file, 16 << 20);
    assert_int_equal(od_file_read(in_scratch("cache"), &file, NULL), OD_OK);
    for (size_t at = 17; at < file.bytes; at += 1009) { // each region, at some byte or other
        uint8_t was = file.data[at];
        file.data[at] ^= 0x40;
        assert_int_equal(od_file_write(in_scratch("cache"), file.data, file.bytes, 0600, NULL), OD_OK);
        assert_int_equal(open_cache("cache", 64, 0, NULL), OD_OK);
        expect_read("a", 0, 40 * BLOCK);
        od_objstore_close(cache);
        file.data[at] = was;
    }
    // Cut off.
    assert_int_equal(od_file_write(in_scratch("cache"), file.data, file.bytes - 9 * BLOCK, 0600, NULL), OD_OK);
    assert_int_equal(open_cache("cache", 64, 0, NULL), OD_OK);
    expect_read("a", 0, 40 * BLOCK);
    assert_true(stats_now().bad >= 9);
    // While it is open.
    memset(file.data + 12288, 7, file.bytes - 12288);
    assert_int_equal(od_file_write(in_scratch("cache"), file.data, file.bytes, 0600, NULL), OD_OK);
    expect_read("a", 0, 40 * BLOCK);
    od_buf_release(&file);
}

static void what_was_removed_is_forgotten(void **state)
{
    (void)state;
    assert_int_equal(open_cache("cache", 64, 0, NULL), OD_OK);
    expect_read("a", 0, 40 * BLOCK);
    assert_int_equal(od_objstore_remove(cache, "a", NULL), OD_OK);
    assert_int_equal(stats_now().blocks, 0);
    expect_read("a", 0, 40 * BLOCK); // the store has other bytes now
}

static void a_failure_is_told_and_not_kept(void **state)
{
    (void)state;
    struct od_error err;
    struct od_object *object;
    uint8_t out[BLOCK];
    assert_int_equal(open_cache("cache", 64, 0, NULL), OD_OK);
    assert_int_equal(od_objstore_open(cache, "a", &object, NULL), OD_OK);
    atomic_store(&made.fail, 1);
    assert_int_equal(od_object_read(object, 0, out, sizeof out, &err), OD_UNAVAILABLE);
    assert_non_null(strstr(err.message, "does not answer"));
    od_object_close(object);
    expect_read("a", 0, BLOCK);
}

// ---- many at once

static void read_all_of_it(void *context)
{
    (void)context;
    struct od_object *object;
    uint8_t *out = od_alloc(OBJECT_BYTES);
    assert_non_null(out);
    if (od_objstore_open(cache, "a", &object, NULL) == OD_OK) {
        od_code rc = od_object_read(object, 0, out, OBJECT_BYTES - 1000, NULL);
        for (size_t i = 0; i < OBJECT_BYTES - 1000 && rc == OD_OK; i++)
            if (out[i] != byte_at(seed_of(&made, "a"), i))
                rc = OD_CORRUPT;
        if (rc != OD_OK)
            *(atomic_bool *)context = true;
        od_object_close(object);
    }
    od_free(out);
}

static void run_readers(void (*run)(void *context), void *context)
{
    struct od_thread threads[READERS] = {0};
    for (unsigned i = 0; i < READERS; i++)
        assert_int_equal(od_thread_start(&threads[i], "reader", run, context, NULL), OD_OK);
    for (unsigned i = 0; i < READERS; i++)
        od_thread_join(&threads[i]);
}

static void a_block_is_fetched_once_for_all(void **state)
{
    (void)state;
    atomic_bool wrong = false;
    assert_int_equal(open_cache("cache", 512, 2, NULL), OD_OK);
    made.slow = true;
    run_readers(read_all_of_it, &wrong);
    assert_false(wrong);
    assert_int_equal(made.bytes, OBJECT_BYTES - 1000);
    assert_true(stats_now().joined > 0);
}

static void read_at_random(void *context)
{
    atomic_uint *state = context;
    uint32_t random = atomic_fetch_add(state, 7919) * 2654435761u + 1;
    uint8_t out[20000];
    for (unsigned i = 0; i < 400; i++) {
        struct od_object *object;
        random = random * 1664525 + 1013904223;
        char key[] = {(char)('a' + random % 5), 0};
        if (od_objstore_open(cache, key, &object, NULL) != OD_OK)
            continue;
        for (unsigned j = 0; j < 4; j++) { // also in order
            uint64_t offset = random / 64 % (OBJECT_BYTES - 100000) + j * sizeof out;
            size_t bytes = 1 + random % sizeof out;
            if (random % 97 == 0)
                atomic_fetch_add(&made.fail, 1);
            if (od_object_read(object, offset, out, bytes, NULL) == OD_OK)
                for (size_t k = 0; k < bytes; k++)
                    if (out[k] != byte_at(seed_of(&made, key), offset + k))
                        atomic_fetch_add(state, 1u << 31);
        }
        od_object_close(object);
    }
}

static void many_readers_of_a_small_cache_see_what_is_there(void **state)
{
    (void)state;
    atomic_uint seed = 1;
    assert_int_equal(open_cache("cache", 100, 3, NULL), OD_OK);
    run_readers(read_at_random, &seed);
    assert_int_equal(seed, 1 + READERS * 7919);
    assert_true(stats_now().evicted > 0 && stats_now().blocks <= stats_now().capacity_blocks);
}

static void every_step_may_fail(void **state)
{
    (void)state;
    unsigned run = 0;
    uint64_t points = 0;
    uint8_t out[6 * BLOCK];
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_object *object = NULL;
        char name[32];
        snprintf(name, sizeof name, "f%u", run++);
        od_code rc = open_cache(name, 64, 0, &err);
        if (rc == OD_OK)
            rc = od_objstore_open(cache, "a", &object, &err);
        for (unsigned i = 0; i < 3 && rc == OD_OK; i++)
            rc = od_object_read(object, 100 + i * BLOCK, out, sizeof out, &err);
        od_fault_end(&fault);
        if (rc == OD_OK)
            for (size_t i = 0; i < sizeof out; i++)
                assert_int_equal(out[i], byte_at(seed_of(&made, "a"), 100 + 2 * BLOCK + i));
        if (rc == OD_UNAVAILABLE) // the other store's own failure
            rc = err.code = OD_IO;
        od_fault_expect(&fault, rc, &err);
        od_object_close(object);
        od_objstore_close(cache);
        cache = NULL;
        points = fault.points;
    }
    assert_true(points > 15);
}

// ---- the suite of all backends

static od_code open_over_directory(void *context, struct od_objstore **store, struct od_error *err)
{
    (void)context;
    struct od_objstore *inner = NULL;
    od_code rc = od_objstore_directory_open(od_platform_real(), in_scratch("objects"), &inner, err);
    struct od_cache_options options = {.platform = od_platform_real(),
                                       .inner = inner,
                                       .path = in_scratch("cache"),
                                       .bytes = 1 << 20,
                                       .block_bytes = BLOCK,
                                       .request_bytes = 32 * BLOCK,
                                       .prefetch_threads = 1};
    if (rc == OD_OK)
        rc = od_objstore_cache_open(&options, store, err);
    if (rc != OD_OK)
        od_objstore_close(inner);
    return rc;
}

static const char *write_in_scratch(void *context, const void *data, size_t bytes)
{
    (void)context;
    const char *path = in_scratch("file");
    assert_int_equal(od_file_remove(path, NULL), OD_OK);
    assert_int_equal(od_file_write(path, data, bytes, 0600, NULL), OD_OK);
    return path;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_read_is_near_also_after_a_restart, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_has_a_bound, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_scan_leaves_what_is_read_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(reading_in_order_makes_large_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_small_gap_is_no_reason_for_two_requests, set_up, tear_down),
        cmocka_unit_test_setup_teardown(damage_is_a_miss, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_was_removed_is_forgotten, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_failure_is_told_and_not_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_block_is_fetched_once_for_all, set_up, tear_down),
        cmocka_unit_test_setup_teardown(many_readers_of_a_small_cache_see_what_is_there, set_up, tear_down),
        cmocka_unit_test_setup_teardown(every_step_may_fail, set_up, tear_down),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    if (scratch_make(NULL) != 0)
        return 1;
    const struct objstore_subject subject = {
        .name = "objstore cache", .open = open_over_directory, .write_file = write_in_scratch, .threads = 8};
    failed += objstore_conformance_run(&subject);
    return failed + (scratch_remove(NULL) != 0);
}
