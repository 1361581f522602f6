// rebuild.c - the rows; see rebuild.h.
#include "storage/rebuild_internal.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH_GAP (UINT64_C(1) << 20) // more than the openings between two layers
#define NAME_KEPT 200                 // bytes of a name that another one has, before "-recovered-UUID"

struct rows {
    struct od_meta_branch *branches;
    struct od_meta_database *databases; // as many; in the end those of branches that are not dropped
    struct od_meta_layer *layers;
    struct od_meta_snapshot *snapshots;
    size_t branch_count, database_count, layer_count, snapshot_count;
};

void od_rebuild_problem(void *context, const char *key, const struct od_error *why)
{
    struct od_rebuild_work *work = context;
    if (work->rebuild->problems++ == 0)
        work->first_problem = *why;
    if (work->rebuild->problem)
        work->rebuild->problem(work->rebuild->context, key, why);
}

static void note_progress(void *context, uint64_t objects, uint64_t bytes)
{
    struct od_rebuild *rebuild = ((struct od_rebuild_work *)context)->rebuild;
    rebuild->objects_seen = objects;
    rebuild->bytes = bytes;
    if (rebuild->progress)
        rebuild->progress(rebuild->context, objects, bytes);
}

static struct od_meta_layer layer_row(const struct od_survey_layer *layer)
{
    struct od_meta_layer row = {
        .layer = layer->header.layer,
        .branch = layer->header.branch,
        .epoch = layer->header.epoch,
        .parent = layer->header.parent,
        .first_lsn = layer->header.first_lsn,
        .end_lsn = layer->end.lsn,
        .first_time_us = layer->end.first_time_us,
        .last_time_us = layer->end.time_us,
        .bytes = layer->bytes,
    };
    od_layer_key(&row.layer, row.key);
    return row;
}

static void add_branch(const struct od_rebuilt_branch *branch, struct rows *rows)
{
    struct od_meta_branch *row = &rows->branches[rows->branch_count];
    struct od_meta_database *database = &rows->databases[rows->branch_count++];
    const struct od_branch_description *said = branch->description;
    row->branch = database->branch = branch->branch;
    if (said) {
        row->parent_branch = said->parent_branch;
        row->parent_layer = said->parent_layer;
        row->start_lsn = said->start_lsn;
        row->policy = said->policy;
        row->tip_time_us = database->created_us = said->created_us;
        memcpy(database->name, said->name, sizeof database->name);
    } else {
        if (branch->below) {
            row->parent_branch = branch->below->header.branch;
            row->parent_layer = branch->below->header.layer;
        }
        row->start_lsn = branch->first->header.first_lsn;
        database->created_us = branch->first->end.first_time_us;
    }
    row->tip_lsn = row->start_lsn;
    if (branch->tip) {
        row->tip_layer = branch->tip->header.layer;
        row->tip_lsn = branch->tip->end.lsn;
        row->tip_time_us = branch->tip->end.time_us;
    }
    if (branch->drop)
        row->dropped_us = branch->drop->dropped_us ? branch->drop->dropped_us : 1;
    row->epoch = (branch->claimed > branch->epoch ? branch->claimed : branch->epoch) + EPOCH_GAP;
    row->epoch_start_lsn = row->tip_lsn;
    row->held_since = branch->epoch; // who holds it is not known: journals of older epochs are superseded in any case
}

static void add_layers(const struct od_rebuild_work *work, struct rows *rows)
{
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    for (size_t i = 0; i < work->survey.layers.count; i++)
        if (work->kept[i] && !od_rebuild_find(work, &layers[i].header.branch)->broken)
            rows->layers[rows->layer_count++] = layer_row(&layers[i]);
}

// NAME-recovered-UUID.
static void rename_row(char name[OD_META_NAME_BYTES], const struct od_uuid *uuid)
{
    char text[OD_UUID_TEXT_BYTES], old[OD_META_NAME_BYTES];
    od_uuid_format(uuid, text);
    memcpy(old, name, sizeof old);
    snprintf(name, OD_META_NAME_BYTES, "%.*s%srecovered-%s", NAME_KEPT, old, old[0] ? "-" : "", text);
}

struct candidate {
    struct od_meta_database *database;
    bool has_layers;
};

static int by_name(const void *a, const void *b)
{
    const struct candidate *left = a, *right = b;
    int order = strcmp(left->database->name, right->database->name);
    if (order == 0)
        order = (int)right->has_layers - (int)left->has_layers;
    if (order == 0)
        order = (left->database->created_us < right->database->created_us) -
                (left->database->created_us > right->database->created_us);
    return order;
}

// A refused attempt to make a database left a description too, and a drop may not have been described: of several with one
// name, one keeps it: one with layers, of those the newest.
static od_code name_databases(struct rows *rows, struct od_error *err)
{
    struct candidate *all = od_calloc(rows->branch_count ? rows->branch_count : 1, sizeof *all);
    if (!all)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the names of %zu databases", rows->branch_count);
    for (size_t i = 0; i < rows->branch_count; i++) {
        if (rows->branches[i].dropped_us > 0)
            continue;
        struct od_meta_database *kept = &rows->databases[rows->database_count];
        *kept = rows->databases[i];
        all[rows->database_count++] = (struct candidate){kept, !od_uuid_is_zero(&rows->branches[i].tip_layer)};
    }
    if (rows->database_count > 1)
        qsort(all, rows->database_count, sizeof *all, by_name);
    char last[OD_META_NAME_BYTES] = "";
    for (size_t i = 0; i < rows->database_count; i++) {
        struct od_meta_database *database = all[i].database;
        if (strcmp(database->name, last) == 0) // also without a name
            rename_row(database->name, &database->branch);
        else
            memcpy(last, database->name, sizeof last);
    }
    od_free(all);
    return OD_OK;
}

static struct od_meta_branch *row_of(const struct rows *rows, const struct od_uuid *branch)
{
    for (size_t i = 0; i < rows->branch_count; i++)
        if (od_uuid_equal(&rows->branches[i].branch, branch))
            return &rows->branches[i];
    return NULL;
}

// A restore snapshots what the database was, under the uuid of the branch that takes its place. If the old one has nothing
// beyond that snapshot, the new one has its name, and the old one is reached through the snapshot.
static void drop_restored(const struct od_rebuild_work *work, struct rows *rows)
{
    const struct od_meta_snapshot *all = work->survey.snapshots.rows;
    for (size_t i = 0; i < work->survey.snapshots.count; i++) {
        if (!od_rebuild_find(work, &all[i].snapshot))
            continue; // nearly all: it is no branch's uuid
        const struct od_meta_branch *next = row_of(rows, &all[i].snapshot);
        struct od_meta_branch *old = row_of(rows, &all[i].position.branch);
        if (next && old && od_uuid_equal(&next->parent_branch, &old->branch) && old->tip_lsn <= all[i].position.lsn)
            old->dropped_us = all[i].created_us;
    }
}

static bool holds(const struct od_survey_layer *layer, uint64_t lsn)
{
    return layer->header.first_lsn < lsn && lsn <= layer->end.lsn;
}

// false: its branch is not there; a broken one was reported already.
static bool add_snapshot(struct od_rebuild_work *work, const struct od_meta_snapshot *snapshot, struct rows *rows)
{
    const struct od_rebuilt_branch *branch = od_rebuild_find(work, &snapshot->position.branch);
    if (!branch)
        return false;
    if (branch->broken)
        return true;
    const struct od_survey_layer *named = od_survey_find(&work->survey, &snapshot->layer);
    if (named && work->lost[named - od_survey_layers(&work->survey)])
        return true; // reported already
    struct od_meta_snapshot *row = &rows->snapshots[rows->snapshot_count++];
    *row = *snapshot;
    if (named)
        return true;
    // What was a journal may be a layer now; a position beyond the tip is in a journal still.
    const struct od_survey_layer *layer = branch->tip;
    for (size_t i = 0; i < branch->layers && layer; i++) {
        if (holds(layer, row->position.lsn)) {
            row->layer = layer->header.layer;
            break;
        }
        layer = od_survey_find(&work->survey, &layer->header.parent);
    }
    return true;
}

static int by_branch_and_name(const void *a, const void *b)
{
    const struct od_meta_snapshot *left = a, *right = b;
    int order = memcmp(&left->position.branch, &right->position.branch, sizeof left->position.branch);
    if (order == 0)
        order = strcmp(left->name, right->name);
    return order ? order : (left->created_us < right->created_us) - (left->created_us > right->created_us);
}

static void add_snapshots(struct od_rebuild_work *work, struct rows *rows)
{
    const struct od_meta_snapshot *all = work->survey.snapshots.rows;
    for (size_t i = 0; i < work->survey.snapshots.count; i++) {
        char key[OD_DESCRIPTION_KEY_BYTES];
        struct od_error why;
        if (add_snapshot(work, &all[i], rows))
            continue;
        od_snapshot_key(&all[i].snapshot, key);
        (void)od_fail(&why, OD_CORRUPT, "%s is of a branch of which nothing else is there (offset 32)", key);
        od_rebuild_problem(work, key, &why);
    }
    if (rows->snapshot_count > 1)
        qsort(rows->snapshots, rows->snapshot_count, sizeof *rows->snapshots, by_branch_and_name);
    // Left by a drop that did not finish: the newest has the name.
    const struct od_meta_snapshot *kept = NULL;
    for (size_t i = 0; i < rows->snapshot_count; i++) {
        struct od_meta_snapshot *row = &rows->snapshots[i];
        if (kept && od_uuid_equal(&kept->position.branch, &row->position.branch) && strcmp(kept->name, row->name) == 0)
            rename_row(row->name, &row->snapshot);
        else
            kept = row;
    }
}

static od_code make_rows(struct od_rebuild_work *work, struct rows *rows, struct od_error *err)
{
    size_t layers = work->survey.layers.count, snapshots = work->survey.snapshots.count;
    rows->branches = od_calloc(work->count ? work->count : 1, sizeof *rows->branches);
    rows->databases = od_calloc(work->count ? work->count : 1, sizeof *rows->databases);
    rows->layers = od_calloc(layers ? layers : 1, sizeof *rows->layers);
    rows->snapshots = od_calloc(snapshots ? snapshots : 1, sizeof *rows->snapshots);
    if (!rows->branches || !rows->databases || !rows->layers || !rows->snapshots)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the rows of %zu layers", layers);
    for (size_t i = 0; i < work->count; i++)
        if (!work->branches[i].broken)
            add_branch(&work->branches[i], rows);
    add_layers(work, rows);
    add_snapshots(work, rows);
    drop_restored(work, rows);
    return name_databases(rows, err);
}

// `restore` refuses too, but only after everything was read.
static od_code check_empty(struct od_metastore *metadata, struct od_error *err)
{
    struct od_meta_branch *rows = NULL;
    size_t count = 0;
    od_code rc = metadata->ops->branch_list(metadata, &rows, &count, err);
    od_free(rows);
    if (rc == OD_OK && count > 0)
        rc = od_fail(err, OD_EXISTS, "there is metadata of %zu branches; a rebuild begins with an empty store", count);
    return rc;
}

static od_code refuse(const struct od_rebuild_work *work, struct od_error *err)
{
    return od_fail(err, OD_CORRUPT,
                   "%llu problems among the objects; nothing was written (a partial rebuild goes on without what they "
                   "concern). The first: %s",
                   (unsigned long long)work->rebuild->problems, work->first_problem.message);
}

static od_code note_claim(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct od_uuid uuid;
    uint64_t epoch;
    (void)bytes;
    (void)err;
    if (!od_claim_parse(key, &uuid, &epoch))
        return OD_OK;
    struct od_rebuilt_branch *branch = od_rebuild_find(context, &uuid);
    if (branch && epoch > branch->claimed)
        branch->claimed = epoch;
    return OD_OK;
}

od_code od_rebuild_run(struct od_rebuild *rebuild, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *metadata = rebuild->metadata;
    struct od_rebuild_work work = {.rebuild = rebuild};
    struct rows rows = {0};
    work.survey = (struct od_survey){.objects = rebuild->objects,
                                     .helpers = rebuild->helpers,
                                     .problem = od_rebuild_problem,
                                     .progress = note_progress,
                                     .context = &work};
    rebuild->objects_seen = rebuild->bytes = rebuild->problems = rebuild->outside = 0;
    rebuild->databases = rebuild->branches = rebuild->layers = rebuild->snapshots = 0;
    OD_TRY(check_empty(metadata, err));
    OD_TRY(od_survey_run(&work.survey, err));
    OD_TRY(od_rebuild_histories(&work, err));
    OD_TRY(od_objstore_list(rebuild->objects, OD_CLAIMS, note_claim, &work, err));
    OD_TRY(make_rows(&work, &rows, err));
    if (rebuild->problems > 0 && !rebuild->partial)
        OD_TRY(refuse(&work, err));
    OD_TRY(metadata->ops->restore(metadata, rows.databases, rows.database_count, rows.branches, rows.branch_count,
                                  rows.layers, rows.layer_count, rows.snapshots, rows.snapshot_count, err));
    rebuild->databases = rows.database_count;
    rebuild->branches = rows.branch_count;
    rebuild->layers = rows.layer_count;
    rebuild->snapshots = rows.snapshot_count;
    rebuild->outside = work.survey.layers.count - rows.layer_count;
out:
    od_free(rows.branches);
    od_free(rows.databases);
    od_free(rows.layers);
    od_free(rows.snapshots);
    od_free(work.branches);
    od_free(work.kept);
    od_free(work.lost);
    od_survey_release(&work.survey);
    return rc;
}
