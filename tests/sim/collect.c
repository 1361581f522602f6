// collect.c - collections in a simulated world: two machines make, snapshot, clone, restore and drop databases, and collect,
// with lost and late calls and crashes in the middle. What is reachable reads the same after every step; when the faults
// stop, nothing is left that is not.
//
//   sim_collect [--from SEED] [--seeds N] [--steps N] [--expect-failure]
//
// A database's content is two numbers: the bytes of its first block, written again and again, and those of its second,
// written once, by what it began as. --expect-failure is for builds with a planted bug.
#include "base/alloc.h"
#include "base/log.h"
#include "sim/stores.h"
#include "storage/collect.h"
#include "storage/footer.h"
#include "storage/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HOSTS 2u
#define DATABASES 6u
#define SNAPSHOTS 16u
#define READERS 4u
#define POINTS 32u
#define BLOCK 16384u
#define LONG_US (UINT64_C(1) << 50)

struct database {
    bool exists;
    char name[32];
    size_t host; // where its journals are
    struct od_volume *volume;
    uint8_t value, birth;
};

struct kept {
    bool used;
    char name[32];
    size_t database;
    struct od_position position;
    uint8_t value, birth;
};

struct reader {
    struct od_volume *volume; // NULL: none
    size_t host;
    uint8_t value, birth;
};

struct world {
    uint64_t seed;
    unsigned step;
    struct sim_random random;
    pthread_mutex_t lock;
    struct sim_host hosts[HOSTS];
    struct sim_stores stores;
    struct sim_object_link objects[HOSTS];
    struct sim_metadata_link metadata[HOSTS];
    struct od_store *opened[HOSTS];
    struct database databases[DATABASES];
    struct kept snapshots[SNAPSHOTS];
    struct reader readers[READERS];
    bool keeps_history;         // in this seed every position stays readable
    struct kept points[POINTS]; // then: some of them
    unsigned names;
    uint64_t deleted;
    bool collect_inside; // the other machine collects between a layer's object and its row
    bool failed;
};

static struct world *the_world;

static void fail(struct world *w, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(struct world *w, const char *format, ...)
{
    if (w->failed)
        return;
    w->failed = true;
    printf("seed %llu, step %u: ", (unsigned long long)w->seed, w->step);
    va_list arguments;
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
}

// For what must work, since nothing fails at the moment.
static bool works(struct world *w, od_code rc, const struct od_error *err, const char *what)
{
    if (rc != OD_OK)
        fail(w, "%s: %s", what, err->message);
    return rc == OD_OK;
}

static uint64_t below(struct world *w, uint64_t limit)
{
    return sim_random_below(&w->random, limit);
}

static void open_store(struct world *w, size_t host)
{
    const struct od_store_options options = {.platform = &w->hosts[host].platform,
                                             .objects = &w->objects[host].base,
                                             .metadata = &w->metadata[host].base,
                                             .journal_directory = "/data",
                                             .owner = host ? "south" : "north",
                                             .seal_bytes = 1 << 20,
                                             .layers_slack = 1,
                                             .block_bytes = BLOCK};
    struct od_error err = {0};
    works(w, od_store_open(&options, &w->opened[host], &err), &err, "the store opens");
}

// ---- what is read

static void expect_values(struct world *w, struct od_volume *volume, uint8_t value, uint8_t birth, const char *what)
{
    static uint8_t blocks[2 * BLOCK];
    struct od_error err = {0};
    if (!works(w, od_volume_read(volume, OD_VOLUME_DATABASE, 12288, blocks, sizeof blocks, &err), &err, what))
        return;
    for (size_t i = 0; i < sizeof blocks; i++)
        if (blocks[i] != (i < BLOCK ? value : birth)) {
            fail(w, "%s: byte %zu is %u", what, i, blocks[i]);
            return;
        }
}

static void expect_at(struct world *w, size_t host, const char *name, const struct kept *kept)
{
    struct od_volume *volume;
    struct od_error err = {0};
    if (!works(w, od_volume_open_at(w->opened[host], name, &kept->position, &volume, &err), &err, kept->name))
        return;
    expect_values(w, volume, kept->value, kept->birth, kept->name);
    od_volume_close(volume);
}

static void check_all(struct world *w)
{
    for (size_t i = 0; i < SNAPSHOTS && !w->failed; i++) {
        struct kept *kept = &w->snapshots[i];
        if (kept->used && w->databases[kept->database].exists)
            expect_at(w, below(w, HOSTS), w->databases[kept->database].name, kept);
    }
    for (size_t i = 0; i < POINTS && !w->failed; i++) {
        struct kept *point = &w->points[i];
        if (point->used && w->databases[point->database].exists)
            expect_at(w, below(w, HOSTS), w->databases[point->database].name, point);
    }
    for (size_t i = 0; i < DATABASES && !w->failed; i++)
        if (w->databases[i].volume)
            expect_values(w, w->databases[i].volume, w->databases[i].value, w->databases[i].birth,
                          w->databases[i].name);
    for (size_t i = 0; i < READERS && !w->failed; i++)
        if (w->readers[i].volume)
            expect_values(w, w->readers[i].volume, w->readers[i].value, w->readers[i].birth, "a reader");
}

// ---- what happens

static bool open_writer(struct world *w, struct database *database)
{
    struct od_error err = {0};
    if (!database->volume &&
        !works(w, od_volume_open(w->opened[database->host], database->name, true, &database->volume, &err), &err,
               database->name))
        database->volume = NULL;
    if (database->volume && od_volume_size(database->volume, OD_VOLUME_DATABASE) > 0)
        expect_values(w, database->volume, database->value, database->birth, "a writer that opens");
    return database->volume && !w->failed;
}

static void close_writer(struct database *database)
{
    od_volume_close(database->volume);
    database->volume = NULL;
}

static od_code put_block(struct od_volume *volume, unsigned index, uint8_t value, struct od_error *err)
{
    static uint8_t block[BLOCK];
    memset(block, value, sizeof block);
    return od_volume_write(volume, OD_VOLUME_DATABASE, 12288 + BLOCK * index, block, sizeof block, err);
}

static od_code put_value(struct od_volume *volume, uint8_t value, struct od_error *err)
{
    uint64_t lsn;
    od_code rc = OD_OK;
    OD_TRY(put_block(volume, 0, value, err));
    OD_TRY(od_volume_barrier(volume, NULL, &lsn, err));
    OD_TRY(od_volume_flush(volume, err));
    OD_TRY(od_volume_roll(volume, err));
out:
    return rc;
}

static void publish(struct world *w, struct database *database)
{
    struct od_error err = {0};
    w->collect_inside = below(w, 3) == 0;
    works(w, od_volume_publish(database->volume, &err), &err, "publishing");
    if (below(w, 3) == 0) // small layers are merged
        works(w, od_volume_maintain(database->volume, &err), &err, "maintaining");
}

// Notes what a database is at its newest durable position.
static void note_point(struct world *w, struct database *database)
{
    struct kept *point = &w->points[below(w, POINTS)];
    *point =
        (struct kept){.used = true,
                      .name = "a position",
                      .database = (size_t)(database - w->databases),
                      .position = {*od_volume_branch(database->volume), 0, od_volume_durable_lsn(database->volume)},
                      .value = database->value,
                      .birth = database->birth};
}

static void write_value(struct world *w, struct database *database)
{
    struct od_error err = {0};
    uint8_t value = (uint8_t)(1 + below(w, 255));
    if (!open_writer(w, database) || !works(w, put_value(database->volume, value, &err), &err, database->name))
        return;
    database->value = value;
    if (below(w, 3) == 0) { // the object, the row, or its answer may be lost: then it is published later
        w->hosts[database->host].faults =
            (struct sim_faults){.row_lost = 300, .row_unknown = 300, .row_late = 300, .object_unknown = 300};
        (void)!od_volume_publish(database->volume, &err);
        w->hosts[database->host].faults = (struct sim_faults){0};
    } else {
        publish(w, database);
        if (w->keeps_history && !w->failed)
            note_point(w, database);
    }
}

static void create(struct world *w, struct database *database)
{
    struct od_error err = {0};
    *database = (struct database){.host = below(w, HOSTS)};
    snprintf(database->name, sizeof database->name, "db%u", ++w->names);
    database->exists = works(w, od_store_create(w->opened[database->host], database->name, &err), &err, database->name);
    database->birth = (uint8_t)w->names;
    if (database->exists && open_writer(w, database) &&
        works(w, put_block(database->volume, 1, database->birth, &err), &err, "the first write"))
        write_value(w, database);
}

static struct kept *free_snapshot(struct world *w)
{
    for (size_t i = 0; i < SNAPSHOTS; i++)
        if (!w->snapshots[i].used)
            return &w->snapshots[i];
    return NULL;
}

static void snapshot(struct world *w, size_t number)
{
    struct database *database = &w->databases[number];
    struct kept *kept = free_snapshot(w);
    struct od_meta_snapshot row;
    struct od_error err = {0};
    if (!kept || !open_writer(w, database))
        return;
    publish(w, database);
    snprintf(kept->name, sizeof kept->name, "s%u", ++w->names);
    if (!works(w,
               od_store_snapshot_create(w->opened[database->host], database->name, kept->name, database->volume, &row,
                                        &err),
               &err, "a snapshot"))
        return;
    kept->used = true;
    kept->database = number;
    kept->position = row.position;
    kept->value = database->value;
    kept->birth = database->birth;
}

static struct kept *snapshot_of(struct world *w, size_t number)
{
    size_t first = below(w, SNAPSHOTS);
    for (size_t i = 0; i < SNAPSHOTS; i++) {
        struct kept *kept = &w->snapshots[(first + i) % SNAPSHOTS];
        if (kept->used && kept->database == number)
            return kept;
    }
    return NULL;
}

static void drop_snapshot(struct world *w, size_t number)
{
    struct database *database = &w->databases[number];
    struct kept *kept = snapshot_of(w, number);
    struct od_error err = {0};
    if (kept && works(w, od_store_snapshot_drop(w->opened[below(w, HOSTS)], database->name, kept->name, &err), &err,
                      "dropping a snapshot"))
        kept->used = false;
}

static void clone_one(struct world *w, size_t number)
{
    struct database *from = &w->databases[number], *to = NULL;
    struct kept *kept = snapshot_of(w, number);
    struct od_error err = {0};
    for (size_t i = 0; i < DATABASES; i++)
        if (!w->databases[i].exists)
            to = &w->databases[i];
    if (!to || !open_writer(w, from))
        return;
    *to = (struct database){.host = from->host, .value = kept ? kept->value : from->value, .birth = from->birth};
    snprintf(to->name, sizeof to->name, "db%u", ++w->names);
    to->exists = works(
        w, od_store_clone(w->opened[from->host], from->name, kept ? kept->name : NULL, from->volume, to->name, &err),
        &err, "a clone");
}

static void restore(struct world *w, size_t number)
{
    struct database *database = &w->databases[number];
    struct kept *kept = snapshot_of(w, number);
    struct od_error err = {0};
    if (!kept)
        return;
    close_writer(database);
    if (works(w, od_store_restore(w->opened[database->host], database->name, kept->name, NULL, &err), &err,
              "a restore"))
        database->value = kept->value;
}

// Sometimes without its description, as if the power had gone in between.
static void drop(struct world *w, size_t number)
{
    struct database *database = &w->databases[number];
    struct od_metastore *meta = &w->metadata[database->host].base;
    struct od_error err = {0};
    close_writer(database);
    od_code rc = below(w, 4) ? od_store_drop(w->opened[database->host], database->name, &err)
                             : meta->ops->database_drop(meta, database->name, &err);
    works(w, rc, &err, "a drop");
    database->exists = false;
    for (size_t i = 0; i < SNAPSHOTS; i++)
        if (w->snapshots[i].used && w->snapshots[i].database == number)
            w->snapshots[i].used = false;
    for (size_t i = 0; i < POINTS; i++)
        if (w->points[i].database == number)
            w->points[i].used = false;
}

static void read_for_a_while(struct world *w, size_t number)
{
    struct reader *reader = &w->readers[below(w, READERS)];
    struct kept *kept = snapshot_of(w, number);
    struct od_error err = {0};
    od_volume_close(reader->volume);
    *reader = (struct reader){0};
    if (!kept)
        return;
    reader->host = below(w, HOSTS);
    reader->value = kept->value;
    reader->birth = kept->birth;
    if (!works(w,
               od_volume_open_at(w->opened[reader->host], w->databases[number].name, &kept->position, &reader->volume,
                                 &err),
               &err, "a reader"))
        reader->volume = NULL;
}

// The other machine takes over; what the old one still puts is refused, and stays as an object without a row.
static void take_over(struct world *w, struct database *database)
{
    struct od_error err = {0};
    if (!open_writer(w, database))
        return;
    publish(w, database);
    struct od_volume *old = database->volume;
    database->volume = NULL;
    database->host = 1 - database->host;
    if (open_writer(w, database) && put_value(old, 255, &err) == OD_OK && od_volume_publish(old, &err) == OD_OK)
        fail(w, "a fenced writer published");
    od_volume_close(old);
    write_value(w, database);
}

static void crash(struct world *w, size_t host)
{
    w->hosts[host].off = true;
    for (size_t i = 0; i < DATABASES; i++)
        if (w->databases[i].host == host)
            close_writer(&w->databases[i]);
    for (size_t i = 0; i < READERS; i++)
        if (w->readers[i].volume && w->readers[i].host == host) {
            od_volume_close(w->readers[i].volume);
            w->readers[i] = (struct reader){0};
        }
    od_store_close(w->opened[host]);
    w->hosts[host].faults = (struct sim_faults){0};
    w->hosts[host].off_at_call = 0;
    sim_host_crash(&w->hosts[host], SIM_CRASH_SOME);
    open_store(w, host);
}

static void collect_on(struct world *w, size_t host, bool faults)
{
    struct od_collect_policy policy = {.history_us = w->keeps_history ? UINT64_MAX : 0};
    struct od_collect_result result;
    struct od_error err = {0};
    for (size_t i = 0; i < READERS; i++) // readers of the other machine have time
        if (w->readers[i].volume && w->readers[i].host != host)
            policy.reader_us = policy.orphan_us = LONG_US;
    if (faults)
        w->hosts[host].faults = (struct sim_faults){.object_lost = 30,
                                                    .object_unknown = 30,
                                                    .object_late = 30,
                                                    .row_lost = 30,
                                                    .row_unknown = 30,
                                                    .row_late = 30};
    if (faults && below(w, 3) == 0)
        w->hosts[host].off_at_call = w->hosts[host].calls + 1 + below(w, 40);
    od_code rc = od_store_collect(w->opened[host], &policy, &result, &err);
    if (!faults)
        works(w, rc == OD_OK && result.failed ? OD_IO : rc, rc == OD_OK ? &result.failure : &err, "a collection");
    w->deleted += result.deleted;
    w->hosts[host].faults = (struct sim_faults){0};
    w->hosts[host].off_at_call = 0;
    if (w->hosts[host].off)
        crash(w, host);
}

static void collect(struct world *w, bool faults)
{
    collect_on(w, below(w, HOSTS), faults);
}

static od_code (*real_publish)(struct od_metastore *store, const struct od_meta_layer *layer,
                               const struct od_uuid *expected_tip, struct od_error *err);

static od_code publish_late(struct od_metastore *store, const struct od_meta_layer *layer,
                            const struct od_uuid *expected_tip, struct od_error *err)
{
    struct world *w = the_world;
    if (w->collect_inside) {
        w->collect_inside = false;
        size_t other = store == &w->metadata[0].base;
        collect_on(w, other, false);
        collect_on(w, other, false);
    }
    return real_publish(store, layer, expected_tip, err);
}

static void step(struct world *w)
{
    size_t number = below(w, DATABASES);
    struct database *database = &w->databases[number];
    uint64_t what = below(w, 100);
    sim_stores_deliver(&w->stores, &w->random, 200);
    if (what < 25)
        collect(w, true);
    else if (!database->exists)
        create(w, database);
    else if (what < 45)
        write_value(w, database);
    else if (what < 55)
        snapshot(w, number);
    else if (what < 65)
        clone_one(w, number);
    else if (what < 70)
        drop_snapshot(w, number);
    else if (what < 74)
        restore(w, number);
    else if (what < 80)
        take_over(w, database);
    else if (what < 86)
        read_for_a_while(w, number);
    else if (what < 90)
        crash(w, below(w, HOSTS));
    else
        drop(w, number);
}

// ---- the end: what is left is what is needed

static od_code count_entry(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)key, (void)bytes, (void)err;
    ++*(size_t *)context;
    return OD_OK;
}

static size_t count_objects(struct world *w, const char *prefix)
{
    size_t count = 0;
    struct od_error err = {0};
    works(w, od_objstore_list(&w->objects[0].base, prefix, count_entry, &count, &err), &err, prefix);
    return count;
}

static size_t row_of(const struct sim_metadata *m, const struct od_uuid *layer)
{
    size_t i = 0;
    while (i < m->layer_count && !od_uuid_equal(&m->layers[i].layer, layer))
        i++;
    return i;
}

// The state at a position of a layer needs the layer and what its footer names, and within it the parent's state.
static void need_state(struct world *w, bool *needed, const struct od_uuid *layer, uint64_t lsn)
{
    const struct sim_metadata *m = &w->stores.metadata;
    struct od_error err = {0};
    while (!od_uuid_is_zero(layer) && !w->failed) {
        size_t row = row_of(m, layer);
        struct od_journal *opened = NULL;
        struct od_footer footer = {0};
        if (row == m->layer_count) {
            fail(w, "a layer that is needed has no row");
            return;
        }
        needed[row] = true;
        if (!works(w, od_layer_open(&w->objects[0].base, layer, &opened, &err), &err, "a needed layer"))
            return;
        works(w, od_footer_read(opened, 0, &footer, &err), &err, "its footer");
        for (uint32_t i = 0; i < footer.below_count && !w->failed; i++) {
            size_t below_row = row_of(m, &footer.below[i].layer);
            if (below_row == m->layer_count)
                fail(w, "a layer that a footer names has no row");
            else
                needed[below_row] = true;
        }
        od_footer_release(&footer);
        od_journal_close(opened);
        if (lsn >= m->layers[row].end_lsn)
            return;
        layer = &m->layers[row].parent;
        lsn = m->layers[row].first_lsn;
    }
}

// Has it a name, or did a restore leave it for one that has?
static bool is_in_use(const struct sim_metadata *m, const struct od_meta_branch *branch)
{
    if (!branch->dropped_us)
        return true;
    for (size_t i = 0; i < m->snapshot_count; i++)
        for (size_t k = 0; k < m->branch_count; k++)
            if (od_uuid_equal(&m->snapshots[i].position.branch, &branch->branch) &&
                od_uuid_equal(&m->snapshots[i].snapshot, &m->branches[k].branch) &&
                od_uuid_equal(&m->branches[k].parent_branch, &branch->branch) && is_in_use(m, &m->branches[k]))
                return true;
    return false;
}

// Layers reached from branches in use and from snapshots, found the slow way.
static size_t count_needed(struct world *w)
{
    const struct sim_metadata *m = &w->stores.metadata;
    bool *needed = calloc(m->layer_count + 1, sizeof *needed);
    size_t count = 0;
    for (size_t k = 0; k < m->branch_count && needed; k++) {
        if (!is_in_use(m, &m->branches[k]))
            continue;
        need_state(w, needed, &m->branches[k].tip_layer, UINT64_MAX);
        need_state(w, needed, &m->branches[k].parent_layer, m->branches[k].start_lsn);
    }
    for (size_t k = 0; k < m->snapshot_count && needed; k++)
        need_state(w, needed, &m->snapshots[k].layer, m->snapshots[k].position.lsn);
    for (size_t i = 0; i < m->layer_count; i++)
        count += needed && needed[i];
    free(needed);
    return count;
}

static void finish(struct world *w)
{
    for (size_t i = 0; i < READERS; i++)
        od_volume_close(w->readers[i].volume);
    memset(w->readers, 0, sizeof w->readers);
    sim_stores_deliver(&w->stores, &w->random, 1000);
    for (size_t i = 0; i < DATABASES && !w->failed; i++)
        if (w->databases[i].exists) { // past whatever an overtaken writer left
            write_value(w, &w->databases[i]);
            if (!w->failed && w->databases[i].volume)
                publish(w, &w->databases[i]);
        }
    w->stores.metadata.now_us += 2 * LONG_US; // whatever was to wait for a reader
    w->keeps_history = false;
    memset(w->points, 0, sizeof w->points);
    for (unsigned i = 0; i < 4 && !w->failed; i++)
        collect(w, false);
    check_all(w);
    size_t needed = count_needed(w), objects = count_objects(w, "layers/"), marks = count_objects(w, "condemned/");
    if (objects != needed || w->stores.metadata.layer_count != needed || marks != 0)
        fail(w, "%zu layers are needed; there are %zu objects, %zu rows, %zu marks", needed, objects,
             w->stores.metadata.layer_count, marks);
    size_t dropped = 0;
    for (size_t i = 0; i < w->stores.metadata.branch_count; i++)
        dropped += w->stores.metadata.branches[i].dropped_us > 0;
    if (!w->failed && count_objects(w, "dropped/") != dropped)
        fail(w, "of %zu dropped branches %zu are described", dropped, count_objects(w, "dropped/"));
}

static bool run(struct world *w, uint64_t seed, unsigned steps)
{
    static const char *const names[] = {"north", "south"};
    static struct od_metastore_ops hooked;
    the_world = w;
    *w = (struct world){.seed = seed, .random.state = seed * 0x2545f4914f6cdd1du + 1, .keeps_history = seed % 3 == 0};
    pthread_mutex_init(&w->lock, NULL);
    sim_stores_init(&w->stores);
    for (size_t i = 0; i < HOSTS; i++) {
        sim_host_init(&w->hosts[i], names[i], &w->random, &w->lock);
        sim_object_link_init(&w->objects[i], &w->stores.objects, &w->hosts[i]);
        sim_metadata_link_init(&w->metadata[i], &w->stores.metadata, &w->hosts[i]);
        hooked = *w->metadata[i].base.ops;
        real_publish = hooked.layer_publish;
        hooked.layer_publish = publish_late;
        w->metadata[i].base.ops = &hooked;
        open_store(w, i);
    }
    for (w->step = 1; w->step <= steps && !w->failed; w->step++) {
        step(w);
        if (w->step % 4 == 0 && !w->failed)
            check_all(w);
    }
    if (!w->failed)
        finish(w);
    for (size_t i = 0; i < READERS; i++)
        od_volume_close(w->readers[i].volume);
    for (size_t i = 0; i < DATABASES; i++)
        close_writer(&w->databases[i]);
    for (size_t i = 0; i < HOSTS; i++) {
        od_store_close(w->opened[i]);
        sim_host_release(&w->hosts[i]);
    }
    sim_stores_release(&w->stores);
    pthread_mutex_destroy(&w->lock);
    return !w->failed;
}

int main(int count, char **arguments)
{
    uint64_t from = 1, seeds = 60, deleted = 0;
    unsigned steps = 120;
    bool expect_failure = false, held = true;
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--expect-failure") == 0)
            expect_failure = true;
        else if (i + 1 < count && strcmp(arguments[i], "--from") == 0)
            from = strtoull(arguments[++i], NULL, 10);
        else if (i + 1 < count && strcmp(arguments[i], "--seeds") == 0)
            seeds = strtoull(arguments[++i], NULL, 10);
        else if (i + 1 < count && strcmp(arguments[i], "--steps") == 0)
            steps = (unsigned)strtoul(arguments[++i], NULL, 10);
    }
    od_log_set_level(OD_LOG_ERROR);
    struct world *w = calloc(1, sizeof *w);
    if (!w)
        return 2;
    for (uint64_t seed = from; seed < from + seeds && held; seed++) {
        held = run(w, seed, steps);
        deleted += w->deleted;
    }
    free(w);
    if (held)
        printf("%llu seeds of %u steps: all held, %llu layers deleted\n", (unsigned long long)seeds, steps,
               (unsigned long long)deleted);
    return held == expect_failure || (held && deleted == 0);
}
