// run.c - machines and volumes of a simulated history: opening, crashing, and comparing with the model. run.h says what
// must hold; steps.c what happens.
#include "sim/run.h"
#include "base/alloc.h"
#include "base/assert.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *const host_names[RUN_HOSTS] = {"north", "south"};

void run_fail(struct run *run, const char *format, ...)
{
    if (run->failed)
        return;
    run->failed = true;
    int used = snprintf(run->failure, sizeof run->failure,
                        "seed %llu, step %u: ", (unsigned long long)run->options.seed, run->step);
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(run->failure + used, sizeof run->failure - (size_t)used, format, arguments);
    va_end(arguments);
}

void run_say(struct run *run, const char *format, ...)
{
    if (!run->options.verbose)
        return;
    va_list arguments;
    va_start(arguments, format);
    printf("%4u  ", run->step);
    vprintf(format, arguments);
    printf("\n");
    fflush(stdout);
    va_end(arguments);
}

bool run_chance(struct run *run, unsigned per_mille)
{
    return sim_random_chance(&run->random, per_mille);
}

uint64_t run_below(struct run *run, uint64_t limit)
{
    return sim_random_below(&run->random, limit);
}

void run_begin_faults(struct run *run, size_t host)
{
    run->hosts[host].faults = run->faults;
}

void run_end_faults(struct run *run, size_t host)
{
    run->hosts[host].faults = (struct sim_faults){.clock_jump = run->faults.clock_jump};
    run->hosts[host].off_at_call = 0;
}

bool run_open_store(struct run *run, size_t host)
{
    const struct od_store_options options = {
        .platform = &run->hosts[host].platform,
        .objects = &run->objects[host].base,
        .metadata = &run->metadata[host].base,
        .journal_directory = "/data/journals",
        .owner = host_names[host],
        .threads = false,
        .seal_bytes = 1024 * 1024,
        .block_bytes = RUN_BLOCK_BYTES,
        .layers_slack = 1 + run->options.seed % 4,
    };
    struct od_error err = {0};
    const od_code rc = od_store_open(&options, &run->opened[host], &err);
    if (rc != OD_OK)
        run_fail(run, "the store of %s does not open: %s", host_names[host], err.message);
    return rc == OD_OK;
}

// Reads all of a volume. An error of a read is the caller's to judge.
static od_code read_volume(struct od_volume *volume, struct model_state *state, struct od_error *err)
{
    uint8_t page[SIM_PAGE_BYTES];
    for (int f = 0; f < OD_VOLUME_FILES; f++) {
        state->exists[f] = od_volume_exists(volume, f);
        const uint64_t size = state->exists[f] ? od_volume_size(volume, f) : 0;
        for (uint64_t at = 0; at < size; at += sizeof page) {
            const size_t part = size - at < sizeof page ? (size_t)(size - at) : sizeof page;
            const od_code rc = od_volume_read(volume, f, at, page, part, err);
            if (rc != OD_OK)
                return rc;
            sim_bytes_write(&state->files[f], at, page, part);
        }
    }
    return OD_OK;
}

static bool ledger_agrees(struct run *run, struct od_volume *volume, const struct model_line *line, size_t index,
                          char *why, size_t why_bytes)
{
    (void)run;
    for (size_t i = 0; i < line->count; i++) {
        const struct model_barrier *barrier = &line->barriers[i];
        struct od_ledger_entry entry;
        if (barrier->request_id[0] == '\0')
            continue;
        const bool found = od_volume_ledger_find(volume, barrier->request_id, &entry);
        if (found != (i <= index) || (found && entry.changed_rows != barrier->changed_rows)) {
            snprintf(why, why_bytes, "request %s of barrier %zu (recovered: %zu) is%s in the ledger",
                     barrier->request_id, i, index, found ? "" : " not");
            return false;
        }
    }
    return true;
}

// Finds the barrier whose state the volume was recovered to, the newest that fits, and cuts the line there.
static void adopt(struct run *run, struct run_database *database, struct od_volume *volume, size_t oldest)
{
    struct model_line *line = &database->line;
    struct model_state found = {0};
    struct od_error err = {0};
    char why[256] = "", newest[320] = "";
    if (read_volume(volume, &found, &err) != OD_OK) {
        run_fail(run, "%s does not read after opening: %s", database->name, err.message);
        model_state_release(&found);
        return;
    }
    const uint64_t lsn = od_volume_barrier_lsn(volume);
    size_t index = line->count;
    // Barriers with the same content follow each other when blocks were moved: it is the one at that position.
    while (index > oldest + 1 && line->barriers[index - 1].lsn > lsn &&
           model_same(&line->barriers[index - 2].state, &line->barriers[index - 1].state, why, sizeof why) &&
           !line->barriers[index - 1].request_id[0])
        index--;
    why[0] = '\0';
    while (index > 0) {
        const struct model_barrier *barrier = &line->barriers[--index];
        if (model_same(&found, &barrier->state, why, sizeof why) &&
            ledger_agrees(run, volume, line, index, why, sizeof why)) {
            model_state_release(&found);
            if (index < oldest) {
                run_fail(run, "%s was recovered to barrier %zu (LSN %llu), but %zu (LSN %llu) was acknowledged",
                         database->name, index, (unsigned long long)barrier->lsn, oldest,
                         (unsigned long long)line->barriers[oldest].lsn);
                return;
            }
            model_line_cut(line, index);
            line->barriers[index].acknowledged = true;
            if (lsn > line->barriers[index].lsn && line->barriers[index].lsn != 0)
                model_line_barrier(line, od_volume_epoch(volume), lsn, NULL, 0);
            line->barriers[line->count - 1].lsn = lsn;
            line->barriers[line->count - 1].acknowledged = true;
            run_say(run, "%s goes on from barrier %zu, LSN %llu", database->name, index, (unsigned long long)lsn);
            return;
        }
        if (newest[0] == '\0' || index == oldest)
            snprintf(newest, sizeof newest, "barrier %zu: %s", index, why);
    }
    model_state_release(&found);
    run_fail(run, "%s was recovered to no barrier (at LSN %llu, %zu barriers, acknowledged %zu; %s)", database->name,
             (unsigned long long)od_volume_barrier_lsn(volume), line->count, oldest, newest);
}

// The newest barrier that nobody may lose: acknowledged on the machine that opens, else published.
static size_t oldest_allowed(struct run *run, const struct run_database *database, size_t host)
{
    const struct model_line *line = &database->line;
    uint64_t tip = 0;
    for (size_t i = 0; i < run->stores.metadata.database_count; i++) {
        const struct od_meta_database *row = &run->stores.metadata.databases[i];
        if (strcmp(row->name, database->name) != 0)
            continue;
        for (size_t k = 0; k < run->stores.metadata.branch_count; k++)
            if (od_uuid_equal(&run->stores.metadata.branches[k].branch, &row->branch))
                tip = run->stores.metadata.branches[k].tip_lsn;
    }
    size_t oldest = 0;
    for (size_t i = 0; i < line->count; i++) {
        const struct model_barrier *barrier = &line->barriers[i];
        if (database->last_writer == (int)host ? barrier->acknowledged : barrier->lsn && barrier->lsn <= tip)
            oldest = i;
    }
    return oldest;
}

void run_open_writer(struct run *run, size_t number, size_t host)
{
    struct run_database *database = &run->databases[number];
    struct od_volume *volume = NULL;
    struct od_error err = {0};
    const size_t oldest = oldest_allowed(run, database, host);
    const od_code rc = od_volume_open(run->opened[host], database->name, true, &volume, &err);
    if (rc != OD_OK) {
        const struct sim_faults none = {.clock_jump = run->hosts[host].faults.clock_jump};
        if (memcmp(&run->hosts[host].faults, &none, sizeof none) == 0 && !run->hosts[host].off &&
            !run->hosts[host].disk_full)
            run_fail(run, "%s does not open on %s: %s", database->name, host_names[host], err.message);
        else
            run_say(run, "%s does not open on %s: %s", database->name, host_names[host], err.message);
        return;
    }
    database->volumes[host] = volume;
    database->writer = (int)host;
    database->failed = false;
    const struct sim_faults faults = run->hosts[host].faults;
    const uint64_t off_at = run->hosts[host].off_at_call;
    run_end_faults(run, host);
    if (!run->hosts[host].off)
        adopt(run, database, volume, oldest);
    run->hosts[host].faults = faults;
    run->hosts[host].off_at_call = off_at;
    database->last_writer = (int)host;
    database->durable_seen = od_volume_durable_lsn(volume);
}

void run_close_volume(struct run *run, size_t number, size_t host)
{
    struct run_database *database = &run->databases[number];
    if (!database->volumes[host])
        return;
    od_volume_close(database->volumes[host]);
    database->volumes[host] = NULL;
    if (database->writer == (int)host)
        database->writer = -1;
}

void run_restart(struct run *run, size_t host, enum sim_crash kind)
{
    run_say(run, "%s crashes (%d)", host_names[host], (int)kind);
    run->hosts[host].off = true;
    for (size_t i = 0; i < RUN_DATABASES; i++)
        run_close_volume(run, i, host);
    od_store_close(run->opened[host]);
    run->opened[host] = NULL;
    run_end_faults(run, host);
    if (run->hosts[host].open_handles || run->objects[host].open_objects) {
        run_fail(run, "%u files and %u objects are open after everything was closed", run->hosts[host].open_handles,
                 run->objects[host].open_objects);
        return;
    }
    sim_host_crash(&run->hosts[host], kind);
    run->hosts[host].disk_full = false;
    run_open_store(run, host);
}

void run_check_writer(struct run *run, size_t number, bool whole)
{
    struct run_database *database = &run->databases[number];
    struct model_line *line = &database->line;
    if (database->writer < 0)
        return;
    struct od_volume *volume = database->volumes[database->writer];
    const uint64_t durable = od_volume_durable_lsn(volume), last = od_volume_barrier_lsn(volume);
    if (durable > last)
        run_fail(run, "%s: durable_lsn %llu is past the last barrier %llu", database->name, (unsigned long long)durable,
                 (unsigned long long)last);
    if (durable < database->durable_seen)
        run_fail(run, "%s: durable_lsn fell from %llu to %llu", database->name,
                 (unsigned long long)database->durable_seen, (unsigned long long)durable);
    database->durable_seen = durable;
    for (size_t i = 0; i < line->count; i++)
        if (line->barriers[i].lsn && line->barriers[i].lsn <= durable)
            line->barriers[i].acknowledged = true;
    struct od_error err = {0};
    if (od_volume_health(volume, &err) != OD_OK) {
        database->failed = true;
        const uint8_t byte = 1;
        uint64_t lsn;
        if (od_volume_write(volume, OD_VOLUME_WAL, 0, &byte, 1, NULL) == OD_OK ||
            od_volume_barrier(volume, NULL, &lsn, NULL) == OD_OK)
            run_fail(run, "%s takes writes although it failed: %s", database->name, err.message);
        return;
    }
    if (!whole || run->hosts[database->writer].off)
        return;
    struct model_state found = {0};
    char why[256];
    if (read_volume(volume, &found, &err) != OD_OK)
        run_fail(run, "%s does not read: %s", database->name, err.message);
    else if (!model_same(&found, &line->now, why, sizeof why))
        run_fail(run, "%s: %s", database->name, why);
    model_state_release(&found);
}

void run_check_layers(struct run *run, size_t number)
{
    const struct run_database *database = &run->databases[number];
    const struct sim_metadata *m = &run->stores.metadata;
    const struct od_meta_branch *branch = NULL;
    for (size_t i = 0; i < m->database_count; i++)
        for (size_t k = 0; k < m->branch_count; k++)
            if (strcmp(m->databases[i].name, database->name) == 0 &&
                od_uuid_equal(&m->databases[i].branch, &m->branches[k].branch))
                branch = &m->branches[k];
    if (!branch)
        return;
    struct od_uuid below = branch->parent_layer;
    uint64_t lsn = branch->start_lsn, epoch = 0;
    for (size_t i = 0; i < m->layer_count; i++) { // in order of publication
        const struct od_meta_layer *layer = &m->layers[i];
        if (!od_uuid_equal(&layer->branch, &branch->branch))
            continue;
        if (layer->first_lsn != lsn || !od_uuid_equal(&layer->parent, &below) || layer->epoch < epoch ||
            layer->end_lsn <= layer->first_lsn)
            run_fail(run, "%s: layer %s (%llu-%llu, epoch %llu) does not follow LSN %llu of epoch %llu", database->name,
                     layer->key, (unsigned long long)layer->first_lsn, (unsigned long long)layer->end_lsn,
                     (unsigned long long)layer->epoch, (unsigned long long)lsn, (unsigned long long)epoch);
        below = layer->layer;
        lsn = layer->end_lsn;
        epoch = layer->epoch;
    }
}

void run_check_at(struct run *run, size_t host, size_t number, const struct od_position *position,
                  const struct model_state *expected, const char *what)
{
    struct od_volume *volume = NULL;
    struct od_error err = {0};
    struct model_state found = {0};
    char why[256];
    const char *name = run->databases[number].name;
    if (od_volume_open_at(run->opened[host], name, position, &volume, &err) != OD_OK) {
        run_fail(run, "%s: %s at LSN %llu does not open: %s", name, what, (unsigned long long)position->lsn,
                 err.message);
        return;
    }
    if (read_volume(volume, &found, &err) != OD_OK)
        run_fail(run, "%s: %s at LSN %llu does not read: %s", name, what, (unsigned long long)position->lsn,
                 err.message);
    else if (!model_same(&found, expected, why, sizeof why))
        run_fail(run, "%s: %s at LSN %llu: %s", name, what, (unsigned long long)position->lsn, why);
    const uint8_t byte = 1;
    const od_code rc = od_volume_write(volume, OD_VOLUME_WAL, 0, &byte, 1, NULL);
    if (rc != OD_READ_ONLY)
        run_fail(run, "%s: a write to %s is answered %s", name, what, od_code_name(rc));
    model_state_release(&found);
    od_volume_close(volume);
}

// ---- the whole

static void choose_faults(struct run *run)
{
    struct sim_faults *faults = &run->faults;
    const unsigned level = run_chance(run, 300) ? 0 : run_chance(run, 500) ? 5 : 30;
    unsigned *const all[] = {&faults->write_error, &faults->sync_error,     &faults->name_error,  &faults->full,
                             &faults->object_lost, &faults->object_unknown, &faults->object_late, &faults->row_lost,
                             &faults->row_unknown, &faults->row_late};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (run_chance(run, 500))
            *all[i] = level;
    faults->clock_jump = run_chance(run, 300) ? 20 : 0;
}

static void start(struct run *run)
{
    run->random.state = run->options.seed * 0x2545f4914f6cdd1du + 1;
    pthread_mutex_init(&run->lock, NULL);
    sim_stores_init(&run->stores);
    for (size_t i = 0; i < RUN_HOSTS; i++) {
        sim_host_init(&run->hosts[i], host_names[i], &run->random, &run->lock);
        sim_object_link_init(&run->objects[i], &run->stores.objects, &run->hosts[i]);
        sim_metadata_link_init(&run->metadata[i], &run->stores.metadata, &run->hosts[i]);
    }
    for (size_t i = 0; i < RUN_DATABASES; i++) {
        struct run_database *database = &run->databases[i];
        snprintf(database->name, sizeof database->name, "db%zu", i);
        database->writer = database->last_writer = -1;
    }
    choose_faults(run);
    for (size_t i = 0; i < RUN_HOSTS; i++)
        run_open_store(run, i);
}

// Everything is still there when the faults stop: the last word of a history.
static void finish(struct run *run)
{
    for (size_t i = 0; i < RUN_HOSTS && !run->failed; i++)
        run_restart(run, i, (enum sim_crash)run_below(run, SIM_CRASHES));
    sim_stores_deliver(&run->stores, &run->random, 1000);
    for (size_t i = 0; i < RUN_DATABASES && !run->failed; i++) {
        struct run_database *database = &run->databases[i];
        if (!database->exists)
            continue;
        run_open_writer(run, i, database->last_writer < 0 ? 0 : (size_t)database->last_writer);
        run_check_writer(run, i, true);
        run_check_layers(run, i);
    }
    for (size_t i = 0; i < RUN_SNAPSHOTS && !run->failed; i++) {
        struct run_snapshot *snapshot = &run->snapshots[i];
        if (snapshot->used && run->databases[snapshot->database].exists)
            run_check_at(run, run_below(run, RUN_HOSTS), snapshot->database, &snapshot->row.position, &snapshot->state,
                         snapshot->row.name);
    }
}

static void stop(struct run *run)
{
    for (size_t h = 0; h < RUN_HOSTS; h++) {
        run_end_faults(run, h);
        for (size_t i = 0; i < RUN_DATABASES; i++)
            run_close_volume(run, i, h);
        od_store_close(run->opened[h]);
    }
    for (size_t i = 0; i < RUN_DATABASES; i++)
        model_line_release(&run->databases[i].line);
    for (size_t i = 0; i < RUN_SNAPSHOTS; i++)
        model_state_release(&run->snapshots[i].state);
    for (size_t h = 0; h < RUN_HOSTS; h++)
        if (run->hosts[h].open_handles == 0)
            sim_host_release(&run->hosts[h]);
    sim_stores_release(&run->stores);
    pthread_mutex_destroy(&run->lock);
}

bool sim_run(struct run *run, const struct run_options *options)
{
    *run = (struct run){.options = *options};
    start(run);
    for (run->step = 1; run->step <= options->steps && !run->failed; run->step++) {
        run_step(run);
        for (size_t h = 0; h < RUN_HOSTS && !run->failed; h++)
            if (run->hosts[h].violation[0])
                run_fail(run, "%s", run->hosts[h].violation);
    }
    if (!run->failed)
        finish(run);
    stop(run);
    return !run->failed;
}
