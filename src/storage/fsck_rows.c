// fsck_rows.c - the metadata against the objects.
#include "storage/fsck_internal.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

static od_code add(void **all, size_t *count, void *more, size_t n, size_t bytes, struct od_error *err)
{
    void *grown = od_realloc(*all, (*count + n ? *count + n : 1) * bytes);
    if (!grown)
        return od_fail(err, OD_NO_MEMORY, "out of memory for %zu rows of the metadata", *count + n);
    if (n > 0)
        memcpy((uint8_t *)grown + *count * bytes, more, n * bytes);
    *all = grown;
    *count += n;
    return OD_OK;
}

static od_code read_branch(struct od_metastore *meta, const struct od_uuid *branch, struct od_fsck_rows *rows,
                           struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_layer *layers = NULL;
    struct od_meta_snapshot *snapshots = NULL;
    void *all_layers = rows->layers, *all_snapshots = rows->snapshots;
    size_t count = 0;
    OD_TRY(meta->ops->layer_list(meta, branch, &layers, &count, err));
    OD_TRY(add(&all_layers, &rows->layer_count, layers, count, sizeof *layers, err));
    OD_TRY(meta->ops->snapshot_list(meta, branch, &snapshots, &count, err));
    OD_TRY(add(&all_snapshots, &rows->snapshot_count, snapshots, count, sizeof *snapshots, err));
out:
    rows->layers = all_layers;
    rows->snapshots = all_snapshots;
    od_free(layers);
    od_free(snapshots);
    return rc;
}

static int by_layer(const void *a, const void *b)
{
    const struct od_meta_layer *left = a, *right = b;
    return memcmp(&left->layer, &right->layer, sizeof left->layer);
}

od_code od_fsck_read_rows(struct od_fsck_work *work, struct od_error *err)
{
    struct od_metastore *meta = work->fsck->metadata;
    struct od_fsck_rows *rows = &work->rows;
    od_code rc = meta->ops->branch_list(meta, &rows->branches, &rows->branch_count, err);
    for (size_t i = 0; i < rows->branch_count && rc == OD_OK; i++)
        rc = read_branch(meta, &rows->branches[i].branch, rows, err);
    if (rc == OD_OK && rows->layer_count > 1)
        qsort(rows->layers, rows->layer_count, sizeof *rows->layers, by_layer);
    work->fsck->rows = rows->branch_count + rows->layer_count + rows->snapshot_count;
    return rc;
}

void od_fsck_rows_release(struct od_fsck_rows *rows)
{
    od_free(rows->branches);
    od_free(rows->layers);
    od_free(rows->snapshots);
}

static void check_layer(struct od_fsck_work *work, const struct od_meta_layer *row)
{
    struct od_error why;
    const struct od_survey_layer *layer = od_survey_find(&work->survey, &row->layer);
    if (!layer)
        (void)od_fail(&why, OD_CORRUPT, "%s has a row in the metadata, but is missing or damaged", row->key);
    else if (!od_uuid_equal(&row->branch, &layer->header.branch) ||
             !od_uuid_equal(&row->parent, &layer->header.parent) || row->first_lsn != layer->header.first_lsn ||
             row->end_lsn != layer->end.lsn || row->first_time_us != layer->end.first_time_us ||
             row->last_time_us != layer->end.time_us || row->bytes != layer->bytes || row->epoch < layer->header.epoch)
        (void)od_fail(&why, OD_CORRUPT, "%s is not what its row in the metadata says (offset 0)", row->key);
    else
        return;
    od_fsck_problem(work, row->key, &why);
}

// Is there a row with this uuid, `at` bytes within it?
static bool is_described(const struct od_survey_list *list, size_t row_bytes, size_t at, const struct od_uuid *uuid)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = memcmp((const uint8_t *)list->rows + middle * row_bytes + at, uuid->bytes, sizeof uuid->bytes);
        if (order == 0)
            return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

static void check_layer_named(struct od_fsck_work *work, const char *key, const struct od_uuid *layer)
{
    struct od_error why;
    char name[OD_LAYER_KEY_BYTES];
    if (od_uuid_is_zero(layer) || od_survey_find(&work->survey, layer))
        return;
    od_layer_key(layer, name);
    (void)od_fail(&why, OD_CORRUPT, "the row of %s names %s, which is missing or damaged", key, name);
    od_fsck_problem(work, key, &why);
}

static bool has_row(const struct od_fsck_rows *rows, const struct od_uuid *layer)
{
    struct od_meta_layer key = {.layer = *layer};
    return rows->layer_count && bsearch(&key, rows->layers, rows->layer_count, sizeof key, by_layer);
}

static void check_branch(struct od_fsck_work *work, const struct od_meta_branch *row)
{
    struct od_error why;
    char key[OD_DESCRIPTION_KEY_BYTES];
    if (row->dropped_us > 0)
        return; // its layers may be gone; those that somebody needs have rows
    if (row->dropped_us && !has_row(&work->rows, &row->tip_layer))
        return; // nothing of it is left, or ever was
    od_branch_key(&row->branch, key);
    check_layer_named(work, key, &row->parent_layer);
    check_layer_named(work, key, &row->tip_layer);
    const struct od_survey_layer *tip = od_survey_find(&work->survey, &row->tip_layer);
    if (tip && (tip->end.lsn != row->tip_lsn || !od_uuid_equal(&tip->header.branch, &row->branch))) {
        (void)od_fail(&why, OD_CORRUPT, "the row of %s says that it ends at position %llu, its newest layer says %llu",
                      key, (unsigned long long)row->tip_lsn, (unsigned long long)tip->end.lsn);
        od_fsck_problem(work, key, &why);
    }
    if (!is_described(&work->survey.branches, sizeof(struct od_branch_description),
                      offsetof(struct od_branch_description, branch), &row->branch)) {
        (void)od_fail(&why, OD_CORRUPT, "%s, from which its row could be made again, is missing or damaged", key);
        od_fsck_problem(work, key, &why);
    }
}

static void check_in_use(struct od_fsck_work *work, const struct od_meta_branch *row)
{
    struct od_error why;
    char key[OD_DESCRIPTION_KEY_BYTES];
    if (row->dropped_us || !is_described(&work->survey.drops, sizeof(struct od_drop_description),
                                         offsetof(struct od_drop_description, branch), &row->branch))
        return;
    od_drop_key(&row->branch, key);
    (void)od_fail(&why, OD_CORRUPT, "%s says that the branch was dropped, but its row is in use: the metadata is older",
                  key);
    od_fsck_problem(work, key, &why);
}

static const struct od_meta_branch *branch_of(const struct od_fsck_rows *rows, const struct od_uuid *branch)
{
    for (size_t i = 0; i < rows->branch_count; i++)
        if (od_uuid_equal(&rows->branches[i].branch, branch))
            return &rows->branches[i];
    return NULL;
}

static void check_snapshot(struct od_fsck_work *work, const struct od_meta_snapshot *row)
{
    struct od_error why;
    char key[OD_DESCRIPTION_KEY_BYTES];
    const struct od_meta_branch *branch = branch_of(&work->rows, &row->position.branch);
    od_snapshot_key(&row->snapshot, key);
    if (branch && row->position.lsn <= branch->tip_lsn) // else it is in a journal still
        check_layer_named(work, key, &row->layer);
    if (!is_described(&work->survey.snapshots, sizeof *row, offsetof(struct od_meta_snapshot, snapshot),
                      &row->snapshot)) {
        (void)od_fail(&why, OD_CORRUPT, "%s, from which its row could be made again, is missing or damaged", key);
        od_fsck_problem(work, key, &why);
    }
}

void od_fsck_check_rows(struct od_fsck_work *work)
{
    struct od_fsck_rows *rows = &work->rows;
    for (size_t i = 0; i < rows->layer_count; i++)
        check_layer(work, &rows->layers[i]);
    for (size_t i = 0; i < rows->branch_count; i++) {
        check_branch(work, &rows->branches[i]);
        check_in_use(work, &rows->branches[i]);
    }
    for (size_t i = 0; i < rows->snapshot_count; i++)
        check_snapshot(work, &rows->snapshots[i]);
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    for (size_t i = 0; i < work->survey.layers.count; i++)
        work->fsck->unreferenced += !has_row(rows, &layers[i].header.layer);
}
