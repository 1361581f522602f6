// rebuild.c - see rebuild.h.
#include "storage/rebuild.h"

#include "base/alloc.h"
#include "metastore/metastore.h"
#include "storage/survey.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH_GAP (UINT64_C(1) << 20) // more than the openings between two layers

struct branch {
    struct od_meta_branch row;
    const struct od_survey_layer *tip, *first, *below; // below: the layer of another branch that it begins with
    size_t count;
    uint64_t epoch; // the highest seen
    bool broken;
};

struct work {
    struct od_rebuild *rebuild;
    struct od_survey survey;
    bool *kept;              // of each layer of the survey: it is in its branch's history
    struct branch *branches; // in order of uuid
    size_t count;
    struct od_error first_problem;
    // rows
    struct od_meta_branch *rows;
    struct od_meta_database *databases;
    struct od_meta_layer *layers;
    size_t layer_count, row_count;
};

static void note_problem(void *context, const char *key, const struct od_error *why)
{
    struct work *work = context;
    if (work->rebuild->problems++ == 0)
        work->first_problem = *why;
    if (work->rebuild->problem)
        work->rebuild->problem(work->rebuild->context, key, why);
}

static void note_progress(void *context, uint64_t objects, uint64_t bytes)
{
    struct od_rebuild *rebuild = ((struct work *)context)->rebuild;
    rebuild->objects_seen = objects;
    rebuild->bytes = bytes;
    if (rebuild->progress)
        rebuild->progress(rebuild->context, objects, bytes);
}

static void break_branch(struct work *work, struct branch *branch, const struct od_survey_layer *layer,
                         const struct od_error *why)
{
    char key[OD_LAYER_KEY_BYTES];
    od_layer_key(&layer->header.layer, key);
    branch->broken = true;
    note_problem(work, key, why);
}

static int by_uuid(const void *a, const void *b)
{
    const struct branch *left = a, *right = b;
    return memcmp(&left->row.branch, &right->row.branch, sizeof left->row.branch);
}

static struct branch *find_branch(const struct work *work, const struct od_uuid *uuid)
{
    struct branch key = {.row.branch = *uuid};
    return bsearch(&key, work->branches, work->count, sizeof key, by_uuid);
}

static bool is_newer(const struct od_survey_layer *layer, const struct od_survey_layer *tip)
{
    if (!tip || layer->header.epoch != tip->header.epoch)
        return !tip || layer->header.epoch > tip->header.epoch;
    return layer->header.depth > tip->header.depth;
}

// One entry for each branch, with its tip.
static od_code find_branches(struct work *work, struct od_error *err)
{
    const struct od_survey *survey = &work->survey;
    size_t kept = 0;
    work->branches = od_calloc(survey->count ? survey->count : 1, sizeof *work->branches);
    work->kept = od_calloc(survey->count ? survey->count : 1, sizeof *work->kept);
    if (!work->branches || !work->kept)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the branches of %zu layers", survey->count);
    for (size_t i = 0; i < survey->count; i++)
        work->branches[i].row.branch = survey->layers[i].header.branch;
    if (survey->count > 1)
        qsort(work->branches, survey->count, sizeof *work->branches, by_uuid);
    for (size_t i = 0; i < survey->count; i++)
        if (kept == 0 || by_uuid(&work->branches[kept - 1], &work->branches[i]) != 0)
            work->branches[kept++] = work->branches[i];
    work->count = kept;
    for (size_t i = 0; i < survey->count; i++) {
        const struct od_survey_layer *layer = &survey->layers[i];
        struct branch *branch = find_branch(work, &layer->header.branch);
        if (is_newer(layer, branch->tip))
            branch->tip = layer;
        if (layer->header.epoch > branch->epoch)
            branch->epoch = layer->header.epoch;
    }
    return OD_OK;
}

// From the tip down to the first layer of the branch. Depths fall, so it ends.
static void walk(struct work *work, struct branch *branch)
{
    struct od_error why = {0};
    const struct od_survey_layer *layer = branch->tip, *parent;
    for (;;) {
        branch->count++;
        branch->first = layer;
        work->kept[layer - work->survey.layers] = true;
        if (od_survey_parent(&work->survey, layer, &parent, &why) != OD_OK) {
            break_branch(work, branch, layer, &why);
            return;
        }
        if (!parent || !od_uuid_equal(&parent->header.branch, &branch->row.branch))
            break;
        layer = parent;
    }
    branch->below = parent;
}

static bool is_kept(const struct work *work, const struct od_survey_layer *layer)
{
    return work->kept[layer - work->survey.layers] && !find_branch(work, &layer->header.branch)->broken;
}

// One epoch is one writer, and one writer has one history.
static void check_epochs(struct work *work)
{
    for (size_t i = 0; i < work->survey.count; i++) {
        const struct od_survey_layer *layer = &work->survey.layers[i];
        struct branch *branch = find_branch(work, &layer->header.branch);
        if (branch->broken || layer->header.epoch != branch->epoch || is_kept(work, layer))
            continue;
        struct od_error why;
        char one[OD_LAYER_KEY_BYTES], other[OD_LAYER_KEY_BYTES];
        od_layer_key(&layer->header.layer, one);
        od_layer_key(&branch->tip->header.layer, other);
        (void)od_fail(&why, OD_CORRUPT, "%s and %s are of epoch %llu of one branch, but of different histories", one,
                      other, (unsigned long long)branch->epoch);
        break_branch(work, branch, layer, &why);
    }
}

// A branch stands on a layer of another one that is kept.
static void check_foundations(struct work *work)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < work->count; i++) {
            struct branch *branch = &work->branches[i];
            if (branch->broken || !branch->below || is_kept(work, branch->below))
                continue;
            struct od_error why;
            char key[OD_LAYER_KEY_BYTES], below[OD_LAYER_KEY_BYTES];
            od_layer_key(&branch->first->header.layer, key);
            od_layer_key(&branch->below->header.layer, below);
            (void)od_fail(&why, OD_CORRUPT, "%s begins with %s, which is in no history (offset 48)", key, below);
            break_branch(work, branch, branch->first, &why);
            changed = true;
        }
    }
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

static void add_branch(struct work *work, const struct branch *branch)
{
    struct od_meta_branch *row = &work->rows[work->row_count];
    struct od_meta_database *database = &work->databases[work->row_count++];
    char uuid[OD_UUID_TEXT_BYTES];
    *row = branch->row;
    if (branch->below) {
        row->parent_branch = branch->below->header.branch;
        row->parent_layer = branch->below->header.layer;
    }
    row->start_lsn = branch->first->header.first_lsn;
    row->epoch = branch->epoch + EPOCH_GAP;
    row->epoch_start_lsn = row->tip_lsn = branch->tip->end.lsn;
    row->tip_layer = branch->tip->header.layer;
    row->tip_time_us = branch->tip->end.time_us;
    od_uuid_format(&row->branch, uuid);
    snprintf(database->name, sizeof database->name, "recovered-%s", uuid);
    database->branch = row->branch;
    database->created_us = branch->first->end.first_time_us;
    const struct od_survey_layer *layer = branch->tip;
    for (size_t i = 0; i < branch->count; i++) {
        work->layers[work->layer_count++] = layer_row(layer);
        layer = od_survey_find(&work->survey, &layer->header.parent);
    }
}

static od_code make_rows(struct work *work, struct od_error *err)
{
    size_t branches = work->count ? work->count : 1, layers = work->survey.count ? work->survey.count : 1;
    work->rows = od_calloc(branches, sizeof *work->rows);
    work->databases = od_calloc(branches, sizeof *work->databases);
    work->layers = od_calloc(layers, sizeof *work->layers);
    if (!work->rows || !work->databases || !work->layers)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the rows of %zu layers", layers);
    for (size_t i = 0; i < work->count; i++)
        if (!work->branches[i].broken)
            add_branch(work, &work->branches[i]);
    return OD_OK;
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

static od_code refuse(const struct work *work, struct od_error *err)
{
    return od_fail(err, OD_CORRUPT,
                   "%llu problems among the layers; nothing was written (a partial rebuild goes on without what they "
                   "concern). The first: %s",
                   (unsigned long long)work->rebuild->problems, work->first_problem.message);
}

od_code od_rebuild_run(struct od_rebuild *rebuild, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *metadata = rebuild->metadata;
    struct work work = {.rebuild = rebuild};
    work.survey = (struct od_survey){
        .objects = rebuild->objects, .problem = note_problem, .progress = note_progress, .context = &work};
    rebuild->objects_seen = rebuild->bytes = rebuild->problems = rebuild->outside = 0;
    rebuild->databases = rebuild->branches = rebuild->layers = 0;
    OD_TRY(check_empty(metadata, err));
    OD_TRY(od_survey_run(&work.survey, err));
    OD_TRY(find_branches(&work, err));
    for (size_t i = 0; i < work.count; i++)
        walk(&work, &work.branches[i]);
    check_epochs(&work);
    check_foundations(&work);
    if (rebuild->problems > 0 && !rebuild->partial)
        OD_TRY(refuse(&work, err));
    OD_TRY(make_rows(&work, err));
    OD_TRY(metadata->ops->restore(metadata, work.databases, work.row_count, work.rows, work.row_count, work.layers,
                                  work.layer_count, NULL, 0, err));
    rebuild->databases = rebuild->branches = work.row_count;
    rebuild->layers = work.layer_count;
    rebuild->outside = work.survey.count - work.layer_count;
out:
    od_free(work.rows);
    od_free(work.databases);
    od_free(work.layers);
    od_free(work.branches);
    od_free(work.kept);
    od_survey_release(&work.survey);
    return rc;
}
