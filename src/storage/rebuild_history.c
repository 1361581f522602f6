// rebuild_history.c - which branches the objects know, and which layers are the history of each.
#include "storage/rebuild_internal.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static void break_at(struct od_rebuild_work *work, struct od_rebuilt_branch *branch,
                     const struct od_survey_layer *layer, const struct od_error *why)
{
    char key[OD_LAYER_KEY_BYTES];
    od_layer_key(&layer->header.layer, key);
    branch->broken = true;
    od_rebuild_problem(work, key, why);
}

static int by_uuid(const void *a, const void *b)
{
    const struct od_rebuilt_branch *left = a, *right = b;
    return memcmp(&left->branch, &right->branch, sizeof left->branch);
}

struct od_rebuilt_branch *od_rebuild_find(const struct od_rebuild_work *work, const struct od_uuid *uuid)
{
    struct od_rebuilt_branch key = {.branch = *uuid};
    return work->count ? bsearch(&key, work->branches, work->count, sizeof key, by_uuid) : NULL;
}

static bool is_newer(const struct od_survey_layer *layer, const struct od_survey_layer *tip)
{
    if (!tip || layer->header.epoch != tip->header.epoch)
        return !tip || layer->header.epoch > tip->header.epoch;
    return layer->header.depth > tip->header.depth;
}

// One entry for each branch, with its tip.
static od_code find_branches(struct od_rebuild_work *work, struct od_error *err)
{
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    const struct od_branch_description *descriptions = work->survey.branches.rows;
    const struct od_drop_description *drops = work->survey.drops.rows;
    size_t layer_count = work->survey.layers.count, described = work->survey.branches.count;
    size_t all = layer_count + described;
    work->branches = od_calloc(all ? all : 1, sizeof *work->branches);
    work->kept = od_calloc(layer_count ? layer_count : 1, sizeof *work->kept);
    work->lost = od_calloc(layer_count ? layer_count : 1, sizeof *work->lost);
    if (!work->branches || !work->kept || !work->lost)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the branches of %zu objects", all);
    for (size_t i = 0; i < layer_count; i++)
        work->branches[i].branch = layers[i].header.branch;
    for (size_t i = 0; i < described; i++)
        work->branches[layer_count + i].branch = descriptions[i].branch;
    if (all > 1)
        qsort(work->branches, all, sizeof *work->branches, by_uuid);
    for (size_t i = 0; i < all; i++)
        if (work->count == 0 || by_uuid(&work->branches[work->count - 1], &work->branches[i]) != 0)
            work->branches[work->count++] = work->branches[i];
    for (size_t i = 0; i < described; i++)
        od_rebuild_find(work, &descriptions[i].branch)->description = &descriptions[i];
    for (size_t i = 0; i < work->survey.drops.count; i++) { // one of which nothing else is left is no branch any more
        struct od_rebuilt_branch *branch = od_rebuild_find(work, &drops[i].branch);
        if (branch)
            branch->drop = &drops[i];
    }
    for (size_t i = 0; i < layer_count; i++) {
        struct od_rebuilt_branch *branch = od_rebuild_find(work, &layers[i].header.branch);
        if (is_newer(&layers[i], branch->tip))
            branch->tip = &layers[i];
        if (layers[i].header.epoch > branch->epoch)
            branch->epoch = layers[i].header.epoch;
    }
    return OD_OK;
}

static size_t index_of(const struct od_rebuild_work *work, const struct od_survey_layer *layer)
{
    return (size_t)(layer - od_survey_layers(&work->survey));
}

static void keep(void *context, const struct od_survey_layer *layer)
{
    struct od_rebuild_work *work = context;
    work->kept[index_of(work, layer)] = true;
}

// A layer whose state must be whole.
static od_code keep_state(struct od_rebuild_work *work, const struct od_survey_layer *layer, uint64_t lsn,
                          struct od_error *err)
{
    od_code rc = od_survey_state(&work->survey, layer, lsn, keep, work, err);
    if (rc == OD_CORRUPT)
        work->lost[index_of(work, layer)] = true;
    return rc;
}

static od_code keep_or_break(struct od_rebuild_work *work, struct od_rebuilt_branch *branch,
                             const struct od_survey_layer *layer, uint64_t lsn, struct od_error *err)
{
    struct od_error why;
    od_code rc = keep_state(work, layer, lsn, &why);
    if (rc == OD_CORRUPT)
        break_at(work, branch, layer, &why);
    else if (rc != OD_OK && err)
        *err = why;
    return rc == OD_CORRUPT ? OD_OK : rc;
}

// From the tip down to the first layer of the branch, or the last one whose parent is there: what is not needed any more may
// have been collected. Depths fall, so it ends.
static od_code walk(struct od_rebuild_work *work, struct od_rebuilt_branch *branch, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_error why = {0};
    const struct od_survey_layer *parent = NULL;
    if (branch->tip)
        OD_TRY(keep_or_break(work, branch, branch->tip, UINT64_MAX, err));
    if (branch->broken)
        return OD_OK;
    for (const struct od_survey_layer *layer = branch->tip; layer; layer = parent) {
        branch->layers++;
        branch->first = layer;
        keep(work, layer);
        parent = od_survey_find(&work->survey, &layer->header.parent);
        // Where a list of layers became shorter, what is below may need more than what is above.
        if (parent && layer->listed != parent->listed + 1)
            rc = od_survey_state(&work->survey, parent, UINT64_MAX, keep, work, &why);
        if (rc != OD_OK && rc != OD_CORRUPT) {
            if (err)
                *err = why;
            goto out;
        }
        rc = OD_OK;
        if (!parent && !od_uuid_is_zero(&layer->header.parent)) {
            branch->trimmed = true;
            break;
        }
        if (od_survey_parent(&work->survey, layer, &parent, &why) != OD_OK) {
            break_at(work, branch, layer, &why);
            return OD_OK;
        }
        if (parent && !od_uuid_equal(&parent->header.branch, &branch->branch))
            break;
    }
    branch->below = parent;
out:
    return rc;
}

// Does the branch begin where its description says?
static void check_description(struct od_rebuild_work *work, struct od_rebuilt_branch *branch)
{
    const struct od_branch_description *said = branch->description;
    char key[OD_DESCRIPTION_KEY_BYTES];
    struct od_error why;
    if (!said || branch->broken || branch->trimmed)
        return;
    od_branch_key(&branch->branch, key);
    if (branch->first) {
        const struct od_journal_header *first = &branch->first->header;
        if (od_uuid_equal(&first->parent, &said->parent_layer) && first->first_lsn == said->start_lsn)
            return;
        (void)od_fail(&why, OD_CORRUPT,
                      "%s says that the branch begins at position %llu, but its first layer begins at "
                      "%llu, or in another layer (offset 48)",
                      key, (unsigned long long)said->start_lsn, (unsigned long long)first->first_lsn);
    } else {
        branch->below = od_survey_find(&work->survey, &said->parent_layer);
        if (od_uuid_is_zero(&said->parent_layer) || branch->below)
            return;
        (void)od_fail(&why, OD_CORRUPT, "%s begins in a layer that is missing or damaged (offset 48)", key);
    }
    branch->broken = true;
    od_rebuild_problem(work, key, &why);
}

static bool is_kept(const struct od_rebuild_work *work, const struct od_survey_layer *layer)
{
    return work->kept[layer - od_survey_layers(&work->survey)] && !od_rebuild_find(work, &layer->header.branch)->broken;
}

// One epoch is one writer, and one writer has one history.
static void check_epochs(struct od_rebuild_work *work)
{
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    for (size_t i = 0; i < work->survey.layers.count; i++) {
        const struct od_survey_layer *layer = &layers[i];
        struct od_rebuilt_branch *branch = od_rebuild_find(work, &layer->header.branch);
        if (branch->broken || layer->header.epoch != branch->epoch || is_kept(work, layer) ||
            (branch->trimmed && layer->header.depth < branch->first->header.depth))
            continue;
        struct od_error why;
        char one[OD_LAYER_KEY_BYTES], other[OD_LAYER_KEY_BYTES];
        od_layer_key(&layer->header.layer, one);
        od_layer_key(&branch->tip->header.layer, other);
        (void)od_fail(&why, OD_CORRUPT, "%s and %s are of epoch %llu of one branch, but of different histories", one,
                      other, (unsigned long long)branch->epoch);
        break_at(work, branch, layer, &why);
    }
}

// A branch stands on a layer of another one that is kept. Each round leaves out one at least, so it ends.
static void check_foundations(struct od_rebuild_work *work)
{
    bool changed = true;
    while (changed) {
        changed = false;
        for (size_t i = 0; i < work->count; i++) {
            struct od_rebuilt_branch *branch = &work->branches[i];
            if (branch->broken || !branch->below || is_kept(work, branch->below))
                continue;
            struct od_error why;
            char key[OD_DESCRIPTION_KEY_BYTES], below[OD_LAYER_KEY_BYTES];
            od_branch_key(&branch->branch, key);
            od_layer_key(&branch->below->header.layer, below);
            (void)od_fail(&why, OD_CORRUPT, "%s begins in %s, which is in no whole history", key, below);
            branch->broken = true;
            od_rebuild_problem(work, key, &why);
            changed = true;
        }
    }
}

// What branches begin with and snapshots name stays, wherever it lies.
static od_code keep_named(struct od_rebuild_work *work, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_meta_snapshot *snapshots = work->survey.snapshots.rows;
    struct od_error why;
    for (size_t i = 0; i < work->count; i++) {
        struct od_rebuilt_branch *branch = &work->branches[i];
        uint64_t lsn = branch->first && !branch->trimmed ? branch->first->header.first_lsn
                       : branch->description             ? branch->description->start_lsn
                                                         : UINT64_MAX;
        if (branch->trimmed && branch->description)
            branch->below = od_survey_find(&work->survey, &branch->description->parent_layer);
        if (!branch->broken && branch->below)
            OD_TRY(keep_or_break(work, branch, branch->below, lsn, err));
    }
    for (size_t i = 0; i < work->survey.snapshots.count; i++) {
        const struct od_survey_layer *layer = od_survey_find(&work->survey, &snapshots[i].layer);
        char key[OD_DESCRIPTION_KEY_BYTES];
        rc = layer ? keep_state(work, layer, snapshots[i].position.lsn, &why) : OD_OK;
        if (rc == OD_CORRUPT) {
            od_snapshot_key(&snapshots[i].snapshot, key);
            od_rebuild_problem(work, key, &why);
            rc = OD_OK;
        } else if (rc != OD_OK) {
            if (err)
                *err = why;
            goto out;
        }
    }
out:
    return rc;
}

od_code od_rebuild_histories(struct od_rebuild_work *work, struct od_error *err)
{
    od_code rc = find_branches(work, err);
    if (rc != OD_OK)
        return rc;
    for (size_t i = 0; i < work->count && rc == OD_OK; i++) {
        rc = walk(work, &work->branches[i], err);
        check_description(work, &work->branches[i]);
    }
    if (rc == OD_OK)
        rc = keep_named(work, err);
    if (rc != OD_OK)
        return rc;
    check_epochs(work);
    check_foundations(work);
    return OD_OK;
}
