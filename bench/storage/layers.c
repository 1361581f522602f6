// layers.c - does it cost anything that a database has many layers, and what does a rebuild cost beside reading the footers?
//
//     bench_storage_layers [--layers 1000] [--rounds 9] [--delay-us 0] [--helpers 0] [--directory /tmp/...]
//
// Two databases with the same blocks are made: one of `layers` layers, one of a single layer. Then, in turns: opening (to the
// first block), reading all blocks again (warm), a rebuild, and what a rebuild cannot do without: the list, and the last 64
// KiB of each object, by as many threads. --delay-us makes every request of the object store as slow as one over a network.
// Prints one row of a Markdown table a case; the ratios are of medians.
#include "base/alloc.h"
#include "base/log.h"
#include "objstore/objstore.h"
#include "os/file.h"
#include "os/platform.h"
#include "os/thread.h"
#include "storage/rebuild.h"
#include "storage/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BLOCK 262144u
#define BLOCKS 200u
#define ROUNDS_MAX 99
#define HELPERS_MAX 64

static struct {
    unsigned layers, rounds, delay_us, helpers;
    const char *directory;
} options = {1000, 9, 0, 0, "/tmp/openduck-bench-layers"};

static void check(od_code rc, const struct od_error *err, const char *what)
{
    if (rc == OD_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    exit(1);
}

// Without a delay the processor's time counts: others use the machine too.
static double now_ms(void)
{
    struct timespec at;
    clock_gettime(options.delay_us ? CLOCK_MONOTONIC : CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

// ---- a store as slow as one over a network

struct slow_store {
    struct od_objstore base;
    struct od_objstore *inner;
};

static void delay(void)
{
    if (options.delay_us)
        nanosleep(&(struct timespec){options.delay_us / 1000000, options.delay_us % 1000000 * 1000}, NULL);
}

static struct od_objstore *inner_of(struct od_objstore *store)
{
    return ((struct slow_store *)store)->inner;
}

static od_code slow_put(struct od_objstore *store, const char *key, const struct iovec *parts, unsigned count,
                        struct od_error *err)
{
    return inner_of(store)->ops->put(inner_of(store), key, parts, count, err);
}

static od_code slow_put_file(struct od_objstore *store, const char *key, const char *path, struct od_error *err)
{
    return inner_of(store)->ops->put_file(inner_of(store), key, path, err);
}

static od_code slow_open(struct od_objstore *store, const char *key, struct od_object **object, struct od_error *err)
{
    delay();
    return inner_of(store)->ops->open(inner_of(store), key, object, err);
}

static od_code slow_open_listed(struct od_objstore *store, const char *key, uint64_t bytes, struct od_object **object,
                                struct od_error *err)
{
    return od_objstore_open_listed(inner_of(store), key, bytes, object, err);
}

static od_code slow_list(struct od_objstore *store, const char *prefix, od_object_entry_fn entry, void *context,
                         struct od_error *err)
{
    delay();
    return inner_of(store)->ops->list(inner_of(store), prefix, entry, context, err);
}

static od_code slow_remove(struct od_objstore *store, const char *key, struct od_error *err)
{
    return inner_of(store)->ops->remove(inner_of(store), key, err);
}

static void slow_close(struct od_objstore *store)
{
    od_objstore_close(inner_of(store));
}

// Objects are the inner store's own, so their reads go there: the delay of a read is that of this table's copy.
static struct od_objstore_ops slow_reads;
static od_code (*fast_read)(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err);

static od_code slow_read(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    delay();
    return fast_read(object, offset, out, bytes, err);
}

static struct od_objstore *open_objects(struct slow_store *slow)
{
    static struct od_objstore_ops ops = {.kind = "slow",
                                         .put = slow_put,
                                         .put_file = slow_put_file,
                                         .open = slow_open,
                                         .open_listed = slow_open_listed,
                                         .list = slow_list,
                                         .remove = slow_remove,
                                         .close = slow_close};
    struct od_error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/objects", options.directory);
    check(od_objstore_directory_open(od_platform_real(), path, &slow->inner, &err), &err, path);
    slow_reads = *slow->inner->ops;
    fast_read = slow_reads.object_read;
    slow_reads.object_read = slow_read;
    slow->inner->ops = &slow_reads;
    slow->base.ops = &ops;
    return &slow->base;
}

// ---- the two databases

static struct od_metastore *meta;
static struct od_objstore *objects;
static struct od_store *store;

static void write_database(const char *name, unsigned layers)
{
    static uint8_t block[BLOCK];
    struct od_error err = {0};
    struct od_volume *volume;
    uint64_t lsn;
    check(od_store_create(store, name, &err), &err, name);
    check(od_volume_open(store, name, true, &volume, &err), &err, name);
    unsigned writes = options.layers > BLOCKS ? options.layers : BLOCKS;
    for (unsigned i = 0; i < writes; i++) {
        memset(block, (int)(i + 1), sizeof block);
        for (unsigned header = 0; header < 3; header++)
            check(od_volume_write(volume, OD_VOLUME_DATABASE, 4096 * header, block, 4096, &err), &err, name);
        check(od_volume_write(volume, OD_VOLUME_DATABASE, 12288 + (uint64_t)BLOCK * (i % BLOCKS), block, BLOCK, &err),
              &err, name);
        if ((uint64_t)(i + 1) * layers / writes == (uint64_t)i * layers / writes && i + 1 < writes)
            continue;
        check(od_volume_barrier(volume, NULL, &lsn, &err), &err, name);
        check(od_volume_flush(volume, &err), &err, name);
        check(od_volume_roll(volume, &err), &err, name);
        check(od_volume_publish(volume, &err), &err, name);
    }
    od_volume_close(volume);
}

static struct od_volume *open_and_read(const char *name)
{
    static uint8_t block[BLOCK];
    struct od_error err = {0};
    struct od_volume *volume;
    check(od_volume_open(store, name, true, &volume, &err), &err, name);
    check(od_volume_read(volume, OD_VOLUME_DATABASE, 0, block, 12288, &err), &err, name);
    check(od_volume_read(volume, OD_VOLUME_DATABASE, 12288, block, BLOCK, &err), &err, name);
    return volume;
}

static double opening(const char *name)
{
    double begin = now_ms();
    struct od_volume *volume = open_and_read(name);
    double took = now_ms() - begin;
    od_volume_close(volume);
    return took;
}

static double reading(const char *name)
{
    static uint8_t block[BLOCK];
    struct od_error err = {0};
    struct od_volume *volume = open_and_read(name);
    double begin = 0;
    for (unsigned pass = 0; pass < 6; pass++) { // the first one opens and verifies
        if (pass == 1)
            begin = now_ms();
        for (unsigned i = 0; i < BLOCKS; i++)
            check(od_volume_read(volume, OD_VOLUME_DATABASE, 12288 + (uint64_t)BLOCK * (i * 37 % BLOCKS), block, BLOCK,
                                 &err),
                  &err, name);
    }
    double took = now_ms() - begin;
    od_volume_close(volume);
    return took;
}

// ---- rebuilding

static double rebuilding(unsigned round)
{
    struct od_error err = {0};
    struct od_metastore *rebuilt;
    char path[512];
    snprintf(path, sizeof path, "%s/rebuilt-%u", options.directory, round);
    check(od_metastore_sqlite_open(path, true, &rebuilt, &err), &err, path);
    double begin = now_ms();
    struct od_rebuild rebuild = {.objects = objects, .metadata = rebuilt, .helpers = options.helpers};
    check(od_rebuild_run(&rebuild, &err), &err, "rebuild");
    double took = now_ms() - begin;
    od_metastore_close(rebuilt);
    return took;
}

struct keys {
    char (*keys)[OD_OBJECT_KEY_BYTES];
    uint64_t *bytes;
    unsigned count, next;
    pthread_mutex_t lock;
};

static od_code note_key(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct keys *keys = context;
    (void)err;
    keys->bytes[keys->count] = bytes;
    snprintf(keys->keys[keys->count++], sizeof *keys->keys, "%s", key);
    return OD_OK;
}

static void read_tails(void *argument)
{
    struct keys *keys = argument;
    static _Thread_local uint8_t tail[65536];
    struct od_error err = {0};
    for (;;) {
        pthread_mutex_lock(&keys->lock);
        unsigned index = keys->next++;
        pthread_mutex_unlock(&keys->lock);
        if (index >= keys->count)
            return;
        struct od_object *object;
        check(od_objstore_open_listed(objects, keys->keys[index], keys->bytes[index], &object, &err), &err, "footers");
        uint64_t bytes = od_object_bytes(object), part = bytes < sizeof tail ? bytes : sizeof tail;
        check(od_object_read(object, bytes - part, tail, (size_t)part, &err), &err, "footers");
        od_object_close(object);
    }
}

static double listing(void)
{
    struct od_error err = {0};
    struct od_thread threads[HELPERS_MAX] = {0};
    struct keys keys = {.lock = PTHREAD_MUTEX_INITIALIZER};
    keys.keys = od_alloc((options.layers + 100) * sizeof *keys.keys);
    keys.bytes = od_alloc((options.layers + 100) * sizeof *keys.bytes);
    double begin = now_ms();
    check(od_objstore_list(objects, "", note_key, &keys, &err), &err, "list");
    for (unsigned i = 0; i < options.helpers; i++)
        check(od_thread_start(&threads[i], "footers", read_tails, &keys, &err), &err, "threads");
    read_tails(&keys);
    for (unsigned i = 0; i < options.helpers; i++)
        od_thread_join(&threads[i]);
    double took = now_ms() - begin;
    od_free(keys.keys);
    od_free(keys.bytes);
    return took;
}

// ---- the report

static int by_value(const void *a, const void *b)
{
    const double *left = a, *right = b;
    return (*left > *right) - (*left < *right);
}

static double median(double *values)
{
    qsort(values, options.rounds, sizeof *values, by_value);
    return values[options.rounds / 2];
}

static void report(const char *what, double *a, double *b)
{
    double base = median(a), measured = median(b);
    printf("| %s | %u | %u | %u | %.2f | %.2f | %.2f |\n", what, options.layers, options.delay_us, options.helpers,
           base, measured, measured / base);
}

static void read_arguments(int argc, char **argv)
{
    for (int i = 1; i + 1 < argc; i += 2) {
        unsigned number = (unsigned)strtoul(argv[i + 1], NULL, 10);
        if (strcmp(argv[i], "--layers") == 0)
            options.layers = number;
        else if (strcmp(argv[i], "--rounds") == 0)
            options.rounds = number < ROUNDS_MAX ? number : ROUNDS_MAX;
        else if (strcmp(argv[i], "--delay-us") == 0)
            options.delay_us = number;
        else if (strcmp(argv[i], "--helpers") == 0)
            options.helpers = number < HELPERS_MAX ? number : HELPERS_MAX;
        else if (strcmp(argv[i], "--directory") == 0)
            options.directory = argv[i + 1];
        else
            check(OD_INVALID, &(struct od_error){.message = "unknown option"}, argv[i]);
    }
}

int main(int argc, char **argv)
{
    static double open_one[ROUNDS_MAX], open_many[ROUNDS_MAX], read_one[ROUNDS_MAX], read_many[ROUNDS_MAX],
        raw[ROUNDS_MAX], rebuilt[ROUNDS_MAX];
    struct od_error err = {0};
    struct slow_store slow;
    char path[512], journals[512];
    read_arguments(argc, argv);
    od_log_set_level(OD_LOG_ERROR);
    check(od_tree_remove(options.directory, &err), &err, options.directory);
    check(od_directory_make(options.directory, 0700, &err), &err, options.directory);
    snprintf(path, sizeof path, "%s/metadata", options.directory);
    snprintf(journals, sizeof journals, "%s/journals", options.directory);
    check(od_metastore_sqlite_open(path, true, &meta, &err), &err, path);
    objects = open_objects(&slow);
    struct od_store_options stored = {.platform = od_platform_real(),
                                      .objects = objects,
                                      .metadata = meta,
                                      .journal_directory = journals,
                                      .owner = "bench",
                                      .block_bytes = BLOCK};
    check(od_store_open(&stored, &store, &err), &err, journals);
    write_database("one", 1);
    write_database("many", options.layers);
    for (unsigned i = 0; i < options.rounds; i++) {
        open_one[i] = opening("one");
        open_many[i] = opening("many");
        read_one[i] = reading("one");
        read_many[i] = reading("many");
        raw[i] = listing();
        rebuilt[i] = rebuilding(i);
    }
    report("opening, beside one layer", open_one, open_many);
    report("reading all blocks warm, beside one layer", read_one, read_many);
    report("rebuild, beside listing and reading footers", raw, rebuilt);
    od_store_close(store);
    od_metastore_close(meta);
    od_objstore_close(objects);
    check(od_tree_remove(options.directory, &err), &err, options.directory);
    return 0;
}
