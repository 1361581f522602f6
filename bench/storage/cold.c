// cold.c - a scan through an empty cache beside raw parallel requests for the same bytes.
//
//     bench_storage_cold [--mib 256] [--rounds 5] [--latency-us 20000] [--mib-per-second 25] [--connections 8] [--readers 4]
//
// The store behind the cache answers after a latency, and then at a rate, each request for itself. Raw: `connections` threads
// ask for 16 MiB each. Cached: `readers` threads, as DuckDB's, read 256 KiB after 256 KiB, each a part of the object; the
// cache has as many threads to read ahead. Prints one row of a Markdown table; the ratio is of medians of rates.
#include "base/alloc.h"
#include "base/log.h"
#include "objstore/cache.h"
#include "os/file.h"
#include "os/platform.h"
#include "os/thread.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MIB (1024u * 1024u)
#define RAW_BYTES (16u * MIB)
#define BLOCK (256u * 1024u)
#define THREADS_MAX 32u
#define ROUNDS_MAX 31u

static struct {
    unsigned mib, rounds, latency_us, rate, connections, readers;
} options = {256, 5, 20000, 25, 8, 4};

static void check(od_code rc, const struct od_error *err, const char *what)
{
    if (rc == OD_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    exit(1);
}

static double now_s(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec + (double)at.tv_nsec / 1e9;
}

// ---- the slow store: one object

static struct od_object the_object;

static od_code slow_open(struct od_objstore *store, const char *key, struct od_object **object, struct od_error *err)
{
    (void)key, (void)err;
    the_object.store = store;
    *object = &the_object;
    return OD_OK;
}

static uint64_t slow_bytes(const struct od_object *object)
{
    (void)object;
    return (uint64_t)options.mib * MIB;
}

static od_code slow_read(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    (void)object, (void)offset, (void)err;
    uint64_t us = options.latency_us + (uint64_t)bytes * 1000000 / ((uint64_t)options.rate * MIB);
    nanosleep(&(struct timespec){(time_t)(us / 1000000), (long)(us % 1000000) * 1000}, NULL);
    memset(out, 7, bytes);
    return OD_OK;
}

static void slow_close_object(struct od_object *object)
{
    (void)object;
}

static void slow_close(struct od_objstore *store)
{
    (void)store;
}

static const struct od_objstore_ops OPS = {.kind = "slow",
                                           .open = slow_open,
                                           .object_bytes = slow_bytes,
                                           .object_read = slow_read,
                                           .object_close = slow_close_object,
                                           .close = slow_close};
static struct od_objstore slow = {&OPS};

// ---- the two ways

struct work {
    struct od_objstore *store;
    _Atomic unsigned next;
};

static void read_raw(void *argument)
{
    struct work *work = argument;
    uint8_t *out = od_alloc(RAW_BYTES);
    struct od_object *object;
    struct od_error err = {0};
    check(od_objstore_open(work->store, "a", &object, &err), &err, "raw");
    uint64_t all = od_object_bytes(object);
    for (;;) {
        uint64_t at = (uint64_t)atomic_fetch_add(&work->next, 1) * RAW_BYTES;
        if (at >= all)
            break;
        check(od_object_read(object, at, out, all - at < RAW_BYTES ? (size_t)(all - at) : RAW_BYTES, &err), &err,
              "raw");
    }
    od_object_close(object);
    od_free(out);
}

static void read_blocks(void *argument)
{
    struct work *work = argument;
    uint8_t *out = od_alloc(BLOCK);
    struct od_object *object;
    struct od_error err = {0};
    check(od_objstore_open(work->store, "a", &object, &err), &err, "cached");
    uint64_t part = od_object_bytes(object) / options.readers, at = atomic_fetch_add(&work->next, 1) * part;
    for (uint64_t end = at + part; at + BLOCK <= end; at += BLOCK)
        check(od_object_read(object, at, out, BLOCK, &err), &err, "cached");
    od_object_close(object);
    od_free(out);
}

static double run(struct work *work, unsigned count, void (*body)(void *argument))
{
    struct od_thread threads[THREADS_MAX] = {0};
    struct od_error err = {0};
    double begin = now_s();
    for (unsigned i = 0; i < count; i++)
        check(od_thread_start(&threads[i], "bench", body, work, &err), &err, "threads");
    for (unsigned i = 0; i < count; i++)
        od_thread_join(&threads[i]);
    return options.mib / (now_s() - begin);
}

static double cached(struct od_cache_stats *stats, const char *path)
{
    struct od_error err = {0};
    struct work work = {0};
    struct od_cache_options cache = {.platform = od_platform_real(),
                                     .inner = &slow,
                                     .path = path,
                                     .bytes = (uint64_t)options.mib * MIB * 5 / 4,
                                     .prefetch_threads = options.connections};
    check(od_file_remove(path, &err), &err, path);
    check(od_objstore_cache_open(&cache, &work.store, &err), &err, path);
    double rate = run(&work, options.readers, read_blocks);
    od_objstore_cache_stats(work.store, stats);
    od_objstore_close(work.store);
    return rate;
}

static int by_value(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

int main(int argc, char **argv)
{
    static double raw_rates[ROUNDS_MAX], rates[ROUNDS_MAX];
    struct od_cache_stats stats = {0};
    char path[] = "/tmp/openduck-bench-cold-XXXXXX";
    struct {
        const char *name;
        unsigned *value;
    } known[] = {{"--mib", &options.mib},
                 {"--rounds", &options.rounds},
                 {"--latency-us", &options.latency_us},
                 {"--mib-per-second", &options.rate},
                 {"--connections", &options.connections},
                 {"--readers", &options.readers}};
    for (int i = 1; i + 1 < argc; i += 2)
        for (size_t k = 0; k < sizeof known / sizeof *known; k++)
            if (strcmp(argv[i], known[k].name) == 0)
                *known[k].value = (unsigned)strtoul(argv[i + 1], NULL, 10);
    if (options.readers == 0 || options.connections > 16 || options.readers > THREADS_MAX || options.rounds == 0 ||
        options.rounds > ROUNDS_MAX || options.rate == 0 || options.mib < 16) {
        fprintf(stderr, "cold: impossible options\n");
        return 2;
    }
    int descriptor = mkstemp(path);
    if (descriptor < 0)
        return 1;
    for (unsigned i = 0; i < options.rounds; i++) {
        struct work raw = {.store = &slow};
        raw_rates[i] = run(&raw, options.connections, read_raw);
        rates[i] = cached(&stats, path);
    }
    struct od_error err;
    (void)!od_file_remove(path, &err);
    qsort(raw_rates, options.rounds, sizeof *raw_rates, by_value);
    qsort(rates, options.rounds, sizeof *rates, by_value);
    double raw = raw_rates[options.rounds / 2], rate = rates[options.rounds / 2];
    printf("| %u | %u | %u | %u | %u | %.0f | %.0f | %.2f | %.2f | %.1f |\n", options.mib, options.latency_us,
           options.rate, options.connections, options.readers, raw, rate, rate / raw,
           (double)stats.fetched_bytes / (double)stats.asked_bytes,
           (double)stats.fetched_bytes / (double)stats.requests / MIB);
    return 0;
}
