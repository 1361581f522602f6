// steps.c - what happens in a simulated history: the writes DuckDB makes (headers of 4096 bytes, whole blocks, appends to
// the WAL, each followed by its fsync), checkpoints in DuckDB's own order, and everything an operator or a failure does.
//
// After a call that failed the model is told the least that may have happened; what did happen is found at the next
// opening. A volume that has failed is used no more, as the engine drops its instance.
#include "sim/run.h"
#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCKS_MAX 40u
#define BLOCKS_START 12288u
#define WAL_MAX (512u * 1024u)

struct writer {
    struct run *run;
    struct run_database *database;
    size_t number, host;
    struct od_volume *volume;
    bool stop; // a call failed: the rest of the sequence does not happen
};

static void judge(struct writer *w, od_code rc, const struct od_error *err, const char *what)
{
    if (rc == OD_OK)
        return;
    w->stop = true;
    run_say(w->run, "%s: %s: %s", w->database->name, what, err->message);
    if (err->code != rc || err->message[0] == '\0')
        run_fail(w->run, "%s: %s returns %s with an error that is not filled", w->database->name, what,
                 od_code_name(rc));
    if (rc == OD_INTERNAL || rc == OD_CORRUPT)
        run_fail(w->run, "%s: %s: %s", w->database->name, what, err->message);
}

static void do_write(struct writer *w, enum od_volume_file file, uint64_t offset, size_t bytes)
{
    struct od_error err = {0};
    if (w->stop)
        return;
    uint8_t *data = malloc(bytes);
    sim_random_fill(&w->run->random, data, bytes);
    const od_code rc = od_volume_write(w->volume, file, offset, data, bytes, &err);
    if (rc == OD_OK)
        model_write(&w->database->line.now, file, offset, data, bytes);
    judge(w, rc, &err, "write");
    free(data);
}

static void do_append(struct writer *w, enum od_volume_file file)
{
    struct od_error err = {0};
    if (w->stop)
        return;
    if (!w->database->line.now.exists[file]) {
        const od_code rc = od_volume_create(w->volume, file, &err);
        if (rc == OD_OK)
            w->database->line.now.exists[file] = true;
        judge(w, rc, &err, "create");
    }
    const size_t bytes = 1 + run_below(w->run, run_chance(w->run, 100) ? 20000 : 900);
    do_write(w, file, w->database->line.now.files[file].size, bytes);
}

// request: the barrier carries a ledger entry.
static void do_barrier(struct writer *w, bool request)
{
    struct od_error err = {0};
    struct od_ledger_entry entry = {.changed_rows = run_below(w->run, 1000)};
    uint64_t lsn = 0;
    if (w->stop)
        return;
    snprintf(entry.request_id, sizeof entry.request_id, "request-%llu", (unsigned long long)++w->run->requests);
    const uint64_t before = od_volume_barrier_lsn(w->volume);
    const od_code rc = od_volume_barrier(w->volume, request ? &entry : NULL, &lsn, &err);
    if (rc == OD_OK && (lsn <= before || lsn != od_volume_barrier_lsn(w->volume)))
        run_fail(w->run, "%s: a barrier ends at %llu; the last one at %llu", w->database->name, (unsigned long long)lsn,
                 (unsigned long long)before);
    if (rc == OD_OK || od_volume_health(w->volume, NULL) != OD_OK)
        model_line_barrier(&w->database->line, od_volume_epoch(w->volume), rc == OD_OK ? lsn : 0,
                           request ? entry.request_id : NULL, entry.changed_rows);
    judge(w, rc, &err, "barrier");
}

static void commit_small(struct writer *w)
{
    if (w->database->line.now.files[OD_VOLUME_WAL].size > WAL_MAX)
        return;
    do_append(w, OD_VOLUME_WAL);
    do_barrier(w, run_chance(w->run, 800));
}

static void write_block(struct writer *w)
{
    const uint64_t blocks = w->database->blocks;
    uint64_t number = run_below(w->run, blocks + 1);
    if (number >= BLOCKS_MAX)
        number = run_below(w->run, BLOCKS_MAX);
    do_write(w, OD_VOLUME_DATABASE, BLOCKS_START + number * RUN_BLOCK_BYTES, RUN_BLOCK_BYTES);
    if (!w->stop && number >= w->database->blocks)
        w->database->blocks = number + 1;
}

static void commit_bulk(struct writer *w)
{
    for (uint64_t n = 1 + run_below(w->run, 4); n > 0; n--)
        write_block(w);
    do_barrier(w, false);
    do_append(w, OD_VOLUME_WAL);
    do_barrier(w, true);
}

static void create_files(struct writer *w)
{
    for (unsigned i = 0; i < 3; i++)
        do_write(w, OD_VOLUME_DATABASE, i * 4096u, 4096);
    do_barrier(w, false);
}

static void do_remove(struct writer *w, enum od_volume_file file)
{
    struct od_error err = {0};
    if (w->stop || !w->database->line.now.exists[file])
        return;
    const od_code rc = od_volume_remove(w->volume, file, &err);
    if (rc == OD_OK)
        model_remove(&w->database->line.now, file);
    judge(w, rc, &err, "remove");
}

static void do_rename(struct writer *w, enum od_volume_file from, enum od_volume_file to)
{
    struct od_error err = {0};
    if (w->stop || !w->database->line.now.exists[from])
        return;
    const od_code rc = od_volume_rename(w->volume, from, to, &err);
    if (rc == OD_OK)
        model_rename(&w->database->line.now, from, to);
    judge(w, rc, &err, "rename");
}

static void do_trim(struct writer *w)
{
    struct od_error err = {0};
    if (w->stop || w->database->blocks < 2)
        return;
    const uint64_t offset = BLOCKS_START + run_below(w->run, w->database->blocks) * RUN_BLOCK_BYTES;
    if (offset + RUN_BLOCK_BYTES > w->database->line.now.files[OD_VOLUME_DATABASE].size)
        return;
    const od_code rc = od_volume_trim(w->volume, OD_VOLUME_DATABASE, offset, RUN_BLOCK_BYTES, &err);
    if (rc == OD_OK)
        model_trim(&w->database->line.now, offset, RUN_BLOCK_BYTES);
    judge(w, rc, &err, "trim");
}

static void do_truncate(struct writer *w)
{
    struct od_error err = {0};
    if (w->stop || w->database->blocks < 2)
        return;
    const uint64_t blocks = w->database->blocks - 1 - run_below(w->run, 2);
    const uint64_t bytes = BLOCKS_START + blocks * RUN_BLOCK_BYTES;
    if (bytes >= w->database->line.now.files[OD_VOLUME_DATABASE].size)
        return;
    const od_code rc = od_volume_truncate(w->volume, OD_VOLUME_DATABASE, bytes, &err);
    if (rc == OD_OK) {
        model_truncate(&w->database->line.now, OD_VOLUME_DATABASE, bytes);
        w->database->blocks = blocks;
    }
    judge(w, rc, &err, "truncate");
}

// DuckDB's order, with commits between in half of them.
static void checkpoint(struct writer *w)
{
    const bool concurrent = run_chance(w->run, 500);
    if (w->database->line.now.exists[OD_VOLUME_WAL]) {
        do_append(w, OD_VOLUME_WAL); // the marker
        do_barrier(w, false);
    }
    do_remove(w, OD_VOLUME_WAL_CHECKPOINT);
    for (uint64_t n = 1 + run_below(w->run, 5); n > 0; n--) {
        write_block(w);
        if (concurrent && run_chance(w->run, 400)) {
            do_append(w, OD_VOLUME_WAL_CHECKPOINT);
            do_barrier(w, true);
        }
    }
    do_barrier(w, false);
    do_write(w, OD_VOLUME_DATABASE, 4096 + 4096 * (w->database->iteration++ % 2), 4096);
    do_barrier(w, false);
    if (run_chance(w->run, 300))
        do_trim(w);
    if (run_chance(w->run, 300))
        do_truncate(w);
    if (w->database->line.now.exists[OD_VOLUME_WAL_CHECKPOINT])
        do_rename(w, OD_VOLUME_WAL_CHECKPOINT, OD_VOLUME_WAL);
    else
        do_remove(w, OD_VOLUME_WAL);
    if (run_chance(w->run, 300)) { // what recovery from a crash in a checkpoint does
        do_append(w, OD_VOLUME_WAL_RECOVERY);
        do_barrier(w, false);
        do_rename(w, OD_VOLUME_WAL_RECOVERY, OD_VOLUME_WAL);
    }
}

// ---- durability, layers

static void flush(struct writer *w)
{
    struct od_error err = {0};
    const uint64_t last = od_volume_barrier_lsn(w->volume);
    const od_code rc = od_volume_flush(w->volume, &err);
    if (rc == OD_OK && od_volume_durable_lsn(w->volume) < last)
        run_fail(w->run, "%s: flushed, but durable_lsn is %llu of %llu", w->database->name,
                 (unsigned long long)od_volume_durable_lsn(w->volume), (unsigned long long)last);
    if (rc == OD_OK && od_volume_wait_durable(w->volume, last, NULL) != OD_OK)
        run_fail(w->run, "%s: what is durable is not waited for", w->database->name);
    judge(w, rc, &err, "flush");
}

static void maintain(struct writer *w)
{
    struct od_error err = {0};
    static const struct {
        const char *name;
        od_code (*call)(struct od_volume *volume, struct od_error *err);
    } calls[] = {{"roll", od_volume_roll}, {"publish", od_volume_publish}, {"maintain", od_volume_maintain}};
    const size_t which = w->run->options.history ? run_below(w->run, 3) : 0;
    const uint64_t before = od_volume_barrier_lsn(w->volume);
    judge(w, calls[which].call(w->volume, &err), &err, calls[which].name);
    const uint64_t after = od_volume_barrier_lsn(w->volume);
    if (after != before) // blocks were moved out of small layers: the same bytes, at a position of their own
        model_line_barrier(&w->database->line, od_volume_epoch(w->volume), after, NULL, 0);
}

struct waiter {
    unsigned calls;
    od_code rc;
};

static void waited(void *context, od_code rc)
{
    struct waiter *waiter = context;
    waiter->calls++;
    waiter->rc = rc;
}

static void wait_by_callback(struct writer *w)
{
    struct waiter waiter = {0};
    const uint64_t last = od_volume_barrier_lsn(w->volume);
    od_volume_when_durable(w->volume, last, waited, &waiter);
    flush(w);
    if (waiter.calls != 1)
        run_fail(w->run, "%s: a waiter was called %u times", w->database->name, waiter.calls);
    else if ((waiter.rc == OD_OK) != (od_volume_durable_lsn(w->volume) >= last))
        run_fail(w->run, "%s: a waiter was told %s at durable_lsn %llu of %llu", w->database->name,
                 od_code_name(waiter.rc), (unsigned long long)od_volume_durable_lsn(w->volume),
                 (unsigned long long)last);
}

// ---- history

static const struct model_barrier *barrier_at(const struct model_line *line, uint64_t lsn)
{
    for (size_t i = 0; i < line->count; i++)
        if (line->barriers[i].lsn == lsn && lsn)
            return &line->barriers[i];
    return NULL;
}

static void snapshot_create(struct writer *w)
{
    struct run *run = w->run;
    struct run_snapshot *snapshot = NULL;
    struct od_error err = {0};
    char name[32];
    for (size_t i = 0; i < RUN_SNAPSHOTS && !snapshot; i++)
        if (!run->snapshots[i].used)
            snapshot = &run->snapshots[i];
    if (!snapshot)
        return;
    snprintf(name, sizeof name, "snapshot-%llu", (unsigned long long)++run->names);
    const uint64_t last = od_volume_barrier_lsn(w->volume);
    const od_code rc =
        od_store_snapshot_create(run->opened[w->host], w->database->name, name, w->volume, &snapshot->row, &err);
    judge(w, rc, &err, "snapshot_create");
    if (rc != OD_OK)
        return;
    const struct model_barrier *barrier = barrier_at(&w->database->line, snapshot->row.position.lsn);
    if (!barrier || snapshot->row.position.lsn != last) {
        run_fail(run, "%s: snapshot %s is at LSN %llu; the last barrier is %llu", w->database->name, name,
                 (unsigned long long)snapshot->row.position.lsn, (unsigned long long)last);
        return;
    }
    snapshot->used = true;
    snapshot->database = w->number;
    model_state_copy(&snapshot->state, &barrier->state);
}

static void snapshot_check(struct run *run, bool drop)
{
    struct run_snapshot *snapshot = &run->snapshots[run_below(run, RUN_SNAPSHOTS)];
    const size_t host = run_below(run, RUN_HOSTS);
    struct od_error err = {0};
    if (!snapshot->used || !run->databases[snapshot->database].exists)
        return;
    struct run_database *database = &run->databases[snapshot->database];
    struct od_position position;
    const od_code rc = od_store_resolve(run->opened[host], database->name, snapshot->row.name, NULL, &position, &err);
    if (rc != OD_OK)
        run_fail(run, "%s: snapshot %s is gone: %s", database->name, snapshot->row.name, err.message);
    else if (position.lsn != snapshot->row.position.lsn || position.epoch != snapshot->row.position.epoch)
        run_fail(run, "%s: snapshot %s moved to LSN %llu", database->name, snapshot->row.name,
                 (unsigned long long)position.lsn);
    else
        run_check_at(run, host, snapshot->database, &position, &snapshot->state, snapshot->row.name);
    if (!drop || run->failed)
        return;
    if (od_store_snapshot_drop(run->opened[host], database->name, snapshot->row.name, &err) != OD_OK)
        run_fail(run, "%s: snapshot %s is not dropped: %s", database->name, snapshot->row.name, err.message);
    model_state_release(&snapshot->state);
    *snapshot = (struct run_snapshot){0};
}

// Opens the database at one of its published barriers.
static void time_travel(struct writer *w)
{
    const struct model_line *line = &w->database->line;
    const struct model_barrier *barrier = &line->barriers[run_below(w->run, line->count)];
    struct od_error err = {0};
    char selector[64];
    struct od_position position;
    if (barrier->lsn == 0 || !barrier->acknowledged)
        return;
    snprintf(selector, sizeof selector, "%llu", (unsigned long long)barrier->lsn);
    od_code rc = od_store_resolve(w->run->opened[w->host], w->database->name, selector, w->volume, &position, &err);
    if (rc == OD_OK && position.lsn != barrier->lsn) {
        run_fail(w->run, "%s: LSN %s resolves to %llu", w->database->name, selector, (unsigned long long)position.lsn);
        return;
    }
    struct od_volume *volume = NULL;
    if (rc == OD_OK)
        rc = od_volume_open_at(w->run->opened[w->host], w->database->name, &position, &volume, &err);
    if (rc != OD_OK) {
        run_say(w->run, "%s: LSN %s does not open: %s", w->database->name, selector, err.message);
        return;
    }
    od_volume_close(volume);
    run_check_at(w->run, w->host, w->number, &position, &barrier->state, "a barrier");
}

static void clone_database(struct writer *w)
{
    struct run *run = w->run;
    size_t number = 0;
    struct od_error err = {0};
    while (number < RUN_DATABASES && (run->databases[number].exists || run->databases[number].late))
        number++;
    if (number == RUN_DATABASES)
        return;
    struct run_database *copy = &run->databases[number];
    const size_t last = w->database->line.count - 1;
    if (w->database->line.barriers[last].lsn != od_volume_barrier_lsn(w->volume))
        return;
    const od_code rc = od_store_clone(run->opened[w->host], w->database->name, NULL, w->volume, copy->name, &err);
    judge(w, rc, &err, "clone");
    copy->exists = rc == OD_OK;
    copy->late = rc != OD_OK && rc != OD_BUSY;
    if (!copy->exists && !copy->late)
        return;
    copy->blocks = w->database->blocks;
    copy->writer = copy->last_writer = -1;
    model_line_begin(&copy->line, &w->database->line.barriers[last].state, 0, w->database->line.barriers[last].lsn);
    run_say(run, "%s is%s a clone of %s", copy->name, copy->late ? " perhaps" : "", w->database->name);
}

// ---- machines

// The machine that is not the writer takes over; the old one does not notice, and goes on as long as it can.
static void take_over(struct run *run, size_t number)
{
    struct run_database *database = &run->databases[number];
    if (database->writer < 0 || !run->options.history)
        return;
    const size_t old = (size_t)database->writer, host = 1 - old;
    struct od_volume *zombie = database->volumes[old];
    struct od_error err = {0};
    uint8_t data[300];
    uint64_t lsn;
    run_say(run, "%s is taken over by the other machine", database->name);
    database->writer = database->last_writer = -1;
    run_open_writer(run, number, host);
    if (database->writer < 0 || run->failed) {
        database->volumes[old] = zombie;
        run_close_volume(run, number, old);
        return;
    }
    const size_t layers = run->stores.metadata.layer_count;
    memset(data, 0x5a, sizeof data);
    (void)!od_volume_write(zombie, OD_VOLUME_WAL, od_volume_size(zombie, OD_VOLUME_WAL), data, sizeof data, &err);
    (void)!od_volume_barrier(zombie, NULL, &lsn, &err);
    (void)!od_volume_flush(zombie, &err);
    (void)!od_volume_roll(zombie, &err);
    const od_code rc = od_volume_publish(zombie, &err);
    if (run->stores.metadata.layer_count != layers)
        run_fail(run, "%s: a fenced writer published a layer (%s)", database->name, od_code_name(rc));
    od_volume_close(zombie);
    database->volumes[old] = NULL;
}

static void create_database(struct run *run, size_t number)
{
    struct run_database *database = &run->databases[number];
    const size_t host = run_below(run, RUN_HOSTS);
    struct od_error err = {0};
    const od_code rc = od_store_create(run->opened[host], database->name, &err);
    const bool cloned = rc == OD_EXISTS && database->late;
    if (rc != OD_OK && !cloned) {
        run_fail(run, "%s is not created: %s", database->name, err.message);
        return;
    }
    const struct model_state empty = {0};
    if (!cloned) {
        model_line_release(&database->line);
        model_line_begin(&database->line, &empty, 0, 0);
    }
    database->exists = true;
    database->late = false;
    run_open_writer(run, number, host);
}

static void operate(struct writer *w)
{
    const uint64_t what = run_below(w->run, 100);
    if (w->database->line.now.files[OD_VOLUME_DATABASE].size < BLOCKS_START)
        create_files(w);
    else if (what < 45)
        commit_small(w);
    else if (what < 58)
        commit_bulk(w);
    else if (what < 68)
        checkpoint(w);
    else if (what < 78)
        flush(w);
    else if (what < 82)
        wait_by_callback(w);
    else if (what < 92)
        maintain(w);
    else if (!w->run->options.history)
        write_block(w); // and no barrier
    else if (what < 96)
        snapshot_create(w);
    else if (what < 98)
        clone_database(w);
    else
        write_block(w); // and no barrier
}

void run_step(struct run *run)
{
    const size_t number = run_below(run, RUN_DATABASES);
    struct run_database *database = &run->databases[number];
    const uint64_t what = run_below(run, 1000);
    sim_stores_deliver(&run->stores, &run->random, 100);
    if (!run->databases[0].exists) {
        create_database(run, 0);
    } else if (what < 30) {
        run_restart(run, run_below(run, RUN_HOSTS), (enum sim_crash)run_below(run, SIM_CRASHES));
    } else if (what < 60) {
        snapshot_check(run, what < 35);
    } else if (!database->exists) {
        if (what < 80)
            create_database(run, number);
    } else if (what < 70) {
        take_over(run, number);
    } else if (what < 80 && database->writer >= 0) {
        run->hosts[database->writer].disk_full = !run->hosts[database->writer].disk_full;
    } else if (what < 100 && database->writer >= 0) {
        run_close_volume(run, number, (size_t)database->writer);
    } else if (database->writer < 0 || database->failed) {
        const size_t host = database->last_writer >= 0 ? (size_t)database->last_writer : run_below(run, RUN_HOSTS);
        run_close_volume(run, number, host);
        run->hosts[host].disk_full = false;
        if (run_chance(run, 500))
            run_begin_faults(run, host);
        if (run_chance(run, 100))
            run->hosts[host].off_at_call = run->hosts[host].calls + 1 + run_below(run, 40);
        run_open_writer(run, number, host);
        run_end_faults(run, host);
        if (run->hosts[host].off)
            run_restart(run, host, (enum sim_crash)run_below(run, SIM_CRASHES));
    } else {
        const size_t host = (size_t)database->writer;
        struct writer w = {
            .run = run, .database = database, .number = number, .host = host, .volume = database->volumes[host]};
        if (run->options.history && run_chance(run, 50)) {
            time_travel(&w);
        } else {
            run_begin_faults(run, host);
            if (run_chance(run, 60))
                run->hosts[host].off_at_call = run->hosts[host].calls + 1 + run_below(run, 20);
            operate(&w);
            run_end_faults(run, host);
        }
        run_check_writer(run, number, run_chance(run, 200));
        run_check_layers(run, number);
        if (run->hosts[host].off)
            run_restart(run, host, (enum sim_crash)run_below(run, SIM_CRASHES));
    }
}
