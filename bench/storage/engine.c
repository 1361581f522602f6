// engine.c - DuckDB on the layered storage beside the same DuckDB on a plain file, in turns, in one run.
//
//     bench_storage_engine [--scale 1.0] [--rounds 5] [--directory /tmp/...]
//
// Both sides are databases of src/engine, which the server runs: one on a volume (od://), its commits told when they are
// durable, one on a file of its own. --scale 1: 4 million rows for scans and loads, 2 seconds for each round of commits.
// Prints one row of a Markdown table a case: ratios are of medians, of rates or times as the case says.
#include "base/alloc.h"
#include "base/log.h"
#include "engine/engine.h"
#include "arrow/batch_queue.h"
#include "objstore/objstore.h"
#include "os/platform.h"
#include "storage/export.h"
#include "storage/store.h"

#include <inttypes.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ROUNDS_MAX 99u
#define CLIENTS_MAX 32u
#define SAMPLES_MAX 400000u
#define LAYERS 1000u

static struct {
    double scale;
    unsigned rounds;
    const char *directory;
} options = {1.0, 5, "/tmp/openduck-bench-engine"};

static void check(od_code rc, const struct od_error *err, const char *what)
{
    if (rc == OD_OK)
        return;
    fprintf(stderr, "%s: %s\n", what, err->message);
    exit(1);
}

static double now_ms(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static double cpu_ms(void)
{
    struct timespec at;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &at);
    return (double)at.tv_sec * 1e3 + (double)at.tv_nsec / 1e6;
}

static double written_mib(void) // by this process, handed to the disk or about to be
{
    FILE *file = fopen("/proc/self/io", "r");
    char line[128];
    uint64_t bytes = 0;
    while (file && fgets(line, sizeof line, file))
        if (strncmp(line, "write_bytes: ", 13) == 0)
            bytes = strtoull(line + 13, NULL, 10);
    if (file)
        fclose(file);
    return (double)bytes / 1048576.0;
}

static int by_value(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static double quantile(double *values, size_t count, double at) // sorts
{
    qsort(values, count, sizeof *values, by_value);
    return count ? values[(size_t)((double)(count - 1) * at)] : 0;
}

static void print_row(const char *what, const char *bar, const char *unit, double native, double ours)
{
    printf("| %s | %s | %.3f %s | %.3f %s | %.2f |\n", what, bar, native, unit, ours, unit,
           native > 0 ? ours / native : 0);
    fflush(stdout);
}

static void print_alone(const char *what, const char *bar, double ours, const char *unit)
{
    printf("| %s | %s | | %.3f %s | |\n", what, bar, ours, unit);
    fflush(stdout);
}

// ---- a database of either kind

struct side {
    struct od_store *store; // NULL: a plain file
    struct od_volume *volume;
    struct od_budget *budget;
    struct od_engine *engine;
    struct od_connection *connections[CLIENTS_MAX + 1];
    char name[32], path[512];
};

static struct od_platform *machine;
static struct od_objstore *objects;
static struct od_metastore *metadata;

static struct od_store *open_store(void)
{
    struct od_error err = {0};
    char path[600], journals[600];
    struct od_store *store = NULL;
    snprintf(path, sizeof path, "%s/objects", options.directory);
    check(od_objstore_directory_open(machine, path, &objects, &err), &err, "objects");
    snprintf(path, sizeof path, "%s/metadata.sqlite", options.directory);
    check(od_metastore_sqlite_open(path, true, &metadata, &err), &err, "metadata");
    snprintf(journals, sizeof journals, "%s/journals", options.directory);
    const struct od_store_options store_options = {.platform = machine,
                                                   .objects = objects,
                                                   .metadata = metadata,
                                                   .journal_directory = journals,
                                                   .owner = "bench",
                                                   .threads = true};
    check(od_store_open(&store_options, &store, &err), &err, "store");
    return store;
}

static void open_side(struct side *side)
{
    struct od_error err = {0};
    char temp[600];
    snprintf(temp, sizeof temp, "%s/temp-%s", options.directory, side->name);
    if (side->store)
        check(od_volume_open(side->store, side->name, true, &side->volume, &err), &err, side->name);
    const struct od_engine_options engine_options = {.name = side->name,
                                                     .path = side->path,
                                                     .volume = side->volume,
                                                     .temp_directory = temp,
                                                     .threads = 2,
                                                     .budget = side->budget};
    check(od_engine_open(&engine_options, &side->engine, &err), &err, side->name);
    for (unsigned i = 0; i <= CLIENTS_MAX; i++)
        check(od_connection_open(side->engine, &side->connections[i], &err), &err, side->name);
}

static void close_side(struct side *side)
{
    for (unsigned i = 0; i <= CLIENTS_MAX; i++)
        od_connection_close(side->connections[i]);
    od_engine_close(side->engine);
    od_volume_close(side->volume);
    side->engine = NULL;
    side->volume = NULL;
}

static void make_side(struct side *side, const char *name, struct od_store *store)
{
    struct od_error err = {0};
    *side = (struct side){.store = store, .budget = od_budget_new(512u << 20, 2u << 20)};
    snprintf(side->name, sizeof side->name, "%s", name);
    snprintf(side->path, sizeof side->path, "%s/%s.duckdb", options.directory, name);
    if (store)
        check(od_store_create(store, name, &err), &err, name);
    open_side(side);
}

static void drain(struct od_result *result, const char *sql)
{
    struct od_error err = {0};
    for (;;) {
        struct od_batch *batch = NULL;
        enum od_pop pop = od_result_wait(result, 100, &batch, &err);
        if (pop == OD_POP_END)
            return;
        if (pop == OD_POP_EMPTY) {
            if (od_result_needs_pump(result))
                od_result_pump(result);
        } else if (pop == OD_POP_FAILED) {
            check(err.code, &err, sql);
        } else {
            od_batch_unref(batch);
        }
    }
}

static void run(struct side *side, unsigned connection, const char *sql)
{
    struct od_error err = {0};
    struct od_result *result = NULL;
    const struct od_statement statement = {.sql = sql, .sql_bytes = strlen(sql)};
    check(od_result_new(side->budget, (struct od_waker){0}, &result, &err), &err, sql);
    check(od_connection_run(side->connections[connection], &statement, result, &err), &err, sql);
    drain(result, sql);
    od_result_unref(result);
}

// ---- statements, in turns

static unsigned long rows(void)
{
    return (unsigned long)(4e6 * options.scale);
}

static void compare(const char *what, const char *bar, struct side *native, struct side *ours, const char *sql,
                    unsigned repeats)
{
    double times[2][ROUNDS_MAX], cpu[2][ROUNDS_MAX];
    struct side *const sides[2] = {native, ours};
    char same[128];
    run(native, 0, sql);
    run(ours, 0, sql);
    for (unsigned round = 0; round < options.rounds; round++)
        for (unsigned k = 0; k < 2; k++) {
            const unsigned which = (round + k) % 2;
            const double begin = now_ms(), used = cpu_ms();
            for (unsigned i = 0; i < repeats; i++)
                run(sides[which], 0, sql);
            times[which][round] = (now_ms() - begin) / repeats;
            cpu[which][round] = (cpu_ms() - used) / repeats;
        }
    print_row(what, bar, "ms", quantile(times[0], options.rounds, 0.5), quantile(times[1], options.rounds, 0.5));
    snprintf(same, sizeof same, "%s, of the processor", what);
    print_row(same, bar, "ms", quantile(cpu[0], options.rounds, 0.5), quantile(cpu[1], options.rounds, 0.5));
}

static void make_table(struct side *side, const char *table, bool checkpoint)
{
    char sql[512];
    snprintf(sql, sizeof sql,
             "CREATE TABLE %s AS SELECT i, i * 7919 %% 1000003 AS a, hash(i) AS h, (i * 31 %% 9973) / 7.0 AS x, "
             "'row ' || hash(i * 3) AS s FROM range(%lu) r(i)",
             table, rows());
    run(side, 0, sql);
    if (checkpoint)
        run(side, 0, "CHECKPOINT");
}

static void loads(struct side *native, struct side *ours)
{
    double times[2][ROUNDS_MAX], mib[2][ROUNDS_MAX];
    struct side *const sides[2] = {native, ours};
    for (unsigned round = 0; round < options.rounds; round++)
        for (unsigned k = 0; k < 2; k++) {
            const unsigned which = (round + k) % 2;
            const double before = written_mib(), begin = now_ms();
            make_table(sides[which], "load", true);
            if (which == 1) {
                struct od_error err = {0};
                check(od_volume_publish(ours->volume, &err), &err, "publish");
            }
            times[which][round] = now_ms() - begin;
            mib[which][round] = written_mib() - before;
            run(sides[which], 0, "DROP TABLE load");
            run(sides[which], 0, "CHECKPOINT");
        }
    print_row("bulk load and checkpoint, time", "<= 1.11", "ms", quantile(times[0], options.rounds, 0.5),
              quantile(times[1], options.rounds, 0.5));
    print_row("bulk load and checkpoint, bytes written", "<= 1.10", "MiB", quantile(mib[0], options.rounds, 0.5),
              quantile(mib[1], options.rounds, 0.5));
}

// ---- commits

struct client {
    struct side *side;
    unsigned number;
    double until;
    _Atomic bool *stop; // NULL: `until` counts
    size_t count;
    double *begins, *latencies; // NULL: only counted
};

static void *commit_rows(void *argument)
{
    struct client *client = argument;
    char sql[96];
    while (client->stop ? !*client->stop : now_ms() < client->until) {
        snprintf(sql, sizeof sql, "INSERT INTO small VALUES (%u, %zu)", client->number, client->count);
        const double begin = now_ms();
        run(client->side, client->number, sql);
        if (client->latencies && client->count < SAMPLES_MAX) {
            client->begins[client->count] = begin;
            client->latencies[client->count] = now_ms() - begin;
        }
        client->count++;
    }
    return NULL;
}

static double commit_rate(struct side *side, unsigned clients)
{
    pthread_t threads[CLIENTS_MAX];
    struct client work[CLIENTS_MAX];
    const double begin = now_ms();
    size_t count = 0;
    for (unsigned i = 0; i < clients; i++) {
        work[i] = (struct client){.side = side, .number = i, .until = begin + 2000 * options.scale};
        pthread_create(&threads[i], NULL, commit_rows, &work[i]);
    }
    for (unsigned i = 0; i < clients; i++) {
        pthread_join(threads[i], NULL);
        count += work[i].count;
    }
    return (double)count / (now_ms() - begin) * 1e3;
}

static void commits(struct side *native, struct side *ours, unsigned clients, const char *bar)
{
    double rates[2][ROUNDS_MAX];
    struct side *const sides[2] = {native, ours};
    char what[64];
    for (unsigned round = 0; round < options.rounds; round++)
        for (unsigned k = 0; k < 2; k++) {
            const unsigned which = (round + k) % 2;
            rates[which][round] = commit_rate(sides[which], clients);
        }
    snprintf(what, sizeof what, "autocommit inserts, %u client%s", clients, clients > 1 ? "s" : "");
    print_row(what, bar, "/s", quantile(rates[0], options.rounds, 0.5), quantile(rates[1], options.rounds, 0.5));
}

static struct client *begin_committing(struct side *side, _Atomic bool *stop, pthread_t *thread)
{
    struct client *client = calloc(1, sizeof *client);
    *client = (struct client){.side = side, .number = 1, .stop = stop};
    client->begins = calloc(SAMPLES_MAX, sizeof(double));
    client->latencies = calloc(SAMPLES_MAX, sizeof(double));
    *stop = false;
    pthread_create(thread, NULL, commit_rows, client);
    return client;
}

static void end_committing(struct client *client)
{
    free(client->begins);
    free(client->latencies);
    free(client);
}

static double p99_during_load(struct side *side)
{
    pthread_t thread;
    _Atomic bool stop;
    struct client *client = begin_committing(side, &stop, &thread);
    make_table(side, "load", false); // which checkpoints by itself
    stop = true;
    pthread_join(thread, NULL);
    const double p99 = quantile(client->latencies, client->count < SAMPLES_MAX ? client->count : SAMPLES_MAX, 0.99);
    end_committing(client);
    run(side, 0, "DROP TABLE load");
    run(side, 0, "CHECKPOINT");
    return p99;
}

static void commits_during_loads(struct side *native, struct side *ours)
{
    double p99[2][ROUNDS_MAX];
    struct side *const sides[2] = {native, ours};
    for (unsigned round = 0; round < options.rounds; round++)
        for (unsigned k = 0; k < 2; k++) {
            const unsigned which = (round + k) % 2;
            p99[which][round] = p99_during_load(sides[which]);
        }
    print_row("commit during a bulk load and its checkpoint, p99", "<= 2.00", "ms",
              quantile(p99[0], options.rounds, 0.5), quantile(p99[1], options.rounds, 0.5));
}

// ---- snapshots and clones

// What the disk takes for the smallest durable write at this moment.
static double sync_ms(void)
{
    static int file = -1;
    char block[4096] = {0}, path[600];
    snprintf(path, sizeof path, "%s/sync", options.directory);
    if (file < 0)
        file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    const double begin = now_ms();
    if (file < 0 || pwrite(file, block, sizeof block, 0) != (ssize_t)sizeof block || fdatasync(file) != 0)
        return 0;
    return now_ms() - begin;
}

// The longest commit that ran during each snapshot, beyond the usual one.
static void snapshots(struct side *ours)
{
    enum { SNAPSHOTS = 40 };
    pthread_t thread;
    _Atomic bool stop;
    double begins[SNAPSHOTS], times[SNAPSHOTS], stalls[SNAPSHOTS], syncs[SNAPSHOTS];
    struct client *client = begin_committing(ours, &stop, &thread);
    struct od_error err = {0};
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        struct od_meta_snapshot snapshot;
        char name[32];
        nanosleep(&(struct timespec){0, 50000000}, NULL);
        syncs[i] = sync_ms();
        snprintf(name, sizeof name, "stall-%u", i);
        begins[i] = now_ms();
        check(od_store_snapshot_create(ours->store, ours->name, name, ours->volume, &snapshot, &err), &err, name);
        times[i] = now_ms() - begins[i];
    }
    stop = true;
    pthread_join(thread, NULL);
    const size_t count = client->count < SAMPLES_MAX ? client->count : SAMPLES_MAX;
    double *sorted = malloc((count + 1) * sizeof *sorted);
    memcpy(sorted, client->latencies, count * sizeof *sorted);
    const double usual = quantile(sorted, count, 0.5);
    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        double longest = usual;
        for (size_t k = 0; k < count; k++) {
            const double begin = client->begins[k], end = begin + client->latencies[k];
            if (end > begins[i] && begin < begins[i] + times[i] && client->latencies[k] > longest)
                longest = client->latencies[k];
        }
        stalls[i] = longest - usual;
    }
    print_alone("snapshot: what it adds to the longest commit meanwhile, median", "<= 1 ms",
                quantile(stalls, SNAPSHOTS, 0.5), "ms");
    print_alone("beside it: one fdatasync of 4 KiB, median", "", quantile(syncs, SNAPSHOTS, 0.5), "ms");
    print_alone("snapshot: the call, median", "", quantile(times, SNAPSHOTS, 0.5), "ms");
    free(sorted);
    end_committing(client);
}

static void clones(struct side *ours)
{
    double times[ROUNDS_MAX];
    struct od_error err = {0};
    for (unsigned i = 0; i < options.rounds; i++) {
        char name[32];
        snprintf(name, sizeof name, "clone-%u", i);
        run(ours, 0, "INSERT INTO small VALUES (0, 0)");
        const double begin = now_ms();
        check(od_store_clone(ours->store, ours->name, NULL, ours->volume, name, &err), &err, name);
        times[i] = now_ms() - begin;
    }
    print_alone("clone of the newest state, of what a scan reads", "<= 10 ms", quantile(times, options.rounds, 0.5),
                "ms");
}

// ---- many layers

static void make_layers(struct side *side)
{
    struct od_error err = {0};
    run(side, 0, "CREATE TABLE small (c INTEGER, n BIGINT)");
    for (unsigned i = 0; i < LAYERS; i++) {
        run(side, 0, "INSERT INTO small SELECT i % 7, hash(i) % 1000000007 FROM range(12000) r(i)");
        run(side, 0, "CHECKPOINT");
        check(od_volume_flush(side->volume, &err), &err, "flush");
        check(od_volume_settle(side->volume, &err), &err, "settle");
        check(od_volume_flush(side->volume, &err), &err, "flush");
        check(od_volume_roll(side->volume, &err), &err, "roll");
        check(od_volume_publish(side->volume, &err), &err, "publish");
    }
}

// The same files as one layer, or a few.
static void flatten(struct side *from, struct side *flat)
{
    struct od_error err = {0};
    char path[600];
    struct od_volume *volume = NULL;
    snprintf(path, sizeof path, "%s/flat.duckdb", options.directory);
    close_side(from);
    check(od_volume_open(from->store, from->name, true, &volume, &err), &err, "export");
    struct od_export request = {.volume = volume, .path = path};
    check(od_export_run(&request, &err), &err, "export");
    od_volume_close(volume);
    check(od_store_import(from->store, "flat", path, NULL, NULL, &err), &err, "import");
    *flat = (struct side){.store = from->store, .budget = od_budget_new(512u << 20, 2u << 20)};
    snprintf(flat->name, sizeof flat->name, "flat");
    open_side(flat);
    open_side(from);
}

static double opening_ms(struct side *side)
{
    close_side(side);
    const double begin = now_ms();
    open_side(side);
    run(side, 0, "SELECT count(*) FROM small");
    return now_ms() - begin;
}

static void layers(struct od_store *store)
{
    struct side many, flat;
    double times[2][ROUNDS_MAX];
    char sql[] = "SELECT sum(c), sum(n), min(n), count(DISTINCT c) FROM small";
    struct od_volume_stats stats;
    make_side(&many, "many", store);
    make_layers(&many);
    od_volume_stats_read(many.volume, &stats);
    flatten(&many, &flat);
    struct side *const sides[2] = {&flat, &many};
    for (unsigned round = 0; round < options.rounds; round++)
        for (unsigned k = 0; k < 2; k++) {
            const unsigned which = (round + k) % 2;
            times[which][round] = opening_ms(sides[which]);
        }
    char what[128];
    snprintf(what, sizeof what, "opening, %" PRIu64 " layers were made, beside one", stats.layers);
    print_row(what, "<= 1.30", "ms", quantile(times[0], options.rounds, 0.5), quantile(times[1], options.rounds, 0.5));
    compare("reading all of it warm, as many layers beside one", "<= 1.02", &flat, &many, sql, 5);
    close_side(&many);
    close_side(&flat);
}

static void page_table(struct side *ours)
{
    struct od_volume_stats stats;
    od_volume_stats_read(ours->volume, &stats);
    print_alone("page table, bytes for each block beyond 1 MiB", "<= 32",
                stats.page_table_bytes > 1048576
                    ? (double)(stats.page_table_bytes - 1048576) / (double)(stats.blocks ? stats.blocks : 1)
                    : 0,
                "bytes");
    print_alone("page table in all", "", (double)stats.page_table_bytes / 1024, "KiB");
}

int main(int count, char **arguments)
{
    for (int i = 1; i + 1 < count; i += 2) {
        if (strcmp(arguments[i], "--scale") == 0)
            options.scale = strtod(arguments[i + 1], NULL);
        else if (strcmp(arguments[i], "--rounds") == 0)
            options.rounds = (unsigned)strtoul(arguments[i + 1], NULL, 10);
        else if (strcmp(arguments[i], "--directory") == 0)
            options.directory = arguments[i + 1];
    }
    if (options.rounds < 1 || options.rounds > ROUNDS_MAX)
        return 2;
    struct side native, ours;
    char sql[128];
    machine = od_platform_real();
    od_log_set_level(OD_LOG_ERROR);
    struct od_store *store = open_store();
    make_side(&native, "native", NULL);
    make_side(&ours, "ours", store);
    make_table(&native, "wide", true);
    make_table(&ours, "wide", true);
    run(&native, 0, "CREATE TABLE small (c INTEGER, n BIGINT)");
    run(&ours, 0, "CREATE TABLE small (c INTEGER, n BIGINT)");
    compare("warm scan", "<= 1.05", &native, &ours, "SELECT sum(i), sum(a), max(h), avg(x), max(s) FROM wide", 3);
    snprintf(sql, sizeof sql, "SELECT * FROM wide WHERE i = %lu", rows() / 2 + 77);
    compare("point read", "<= 1.05", &native, &ours, sql, 200);
    loads(&native, &ours);
    commits(&native, &ours, 1, ">= 0.95");
    commits(&native, &ours, CLIENTS_MAX, ">= 2.00");
    commits_during_loads(&native, &ours);
    snapshots(&ours);
    clones(&ours);
    page_table(&ours);
    close_side(&native);
    close_side(&ours);
    layers(store);
    od_store_close(store);
    od_metastore_close(metadata);
    od_objstore_close(objects);
    return 0;
}
