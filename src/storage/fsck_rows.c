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
    od_code rc = meta->ops->database_list(meta, &rows->databases, &rows->database_count, err);
    if (rc == OD_OK)
        rc = meta->ops->branch_list(meta, &rows->branches, &rows->branch_count, err);
    for (size_t i = 0; i < rows->branch_count && rc == OD_OK; i++)
        rc = read_branch(meta, &rows->branches[i].branch, rows, err);
    if (rc == OD_OK && rows->layer_count > 1)
        qsort(rows->layers, rows->layer_count, sizeof *rows->layers, by_layer);
    work->fsck->rows = rows->branch_count + rows->layer_count + rows->snapshot_count;
    return rc;
}

void od_fsck_rows_release(struct od_fsck_rows *rows)
{
    od_free(rows->databases);
    od_free(rows->branches);
    od_free(rows->layers);
    od_free(rows->snapshots);
}

static void check_layer(struct od_fsck_work *work, const struct od_meta_layer *row)
{
    struct od_error why;
    const struct od_survey_layer *layer = od_survey_find(&work->survey, &row->layer);
    char key[OD_LAYER_KEY_BYTES];
    od_layer_key(&row->layer, key);
    if (!layer)
        (void)od_fail(&why, OD_CORRUPT, "%s has a row in the metadata, but is missing or damaged", row->key);
    else if (!od_uuid_equal(&row->branch, &layer->header.branch) ||
             !od_uuid_equal(&row->parent, &layer->header.parent) || row->first_lsn != layer->header.first_lsn ||
             row->end_lsn != layer->end.lsn || row->first_time_us != layer->end.first_time_us ||
             row->last_time_us != layer->end.time_us || row->bytes != layer->bytes ||
             row->epoch < layer->header.epoch || row->kind != 0 || strcmp(row->key, key) != 0)
        (void)od_fail(&why, OD_CORRUPT, "%s is not what its row in the metadata says (offset 0)", row->key);
    else
        return;
    od_fsck_problem(work, row->key, &why);
}

// The description with this uuid, `at` bytes within it, or NULL.
static const void *described(const struct od_survey_list *list, size_t row_bytes, size_t at, const struct od_uuid *uuid)
{
    size_t low = 0, high = list->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const uint8_t *row = (const uint8_t *)list->rows + middle * row_bytes;
        int order = memcmp(row + at, uuid->bytes, sizeof uuid->bytes);
        if (order == 0)
            return row;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static const struct od_branch_description *described_branch(struct od_fsck_work *work, const struct od_uuid *branch)
{
    return described(&work->survey.branches, sizeof(struct od_branch_description),
                     offsetof(struct od_branch_description, branch), branch);
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
    if (tip && (tip->end.lsn != row->tip_lsn || tip->end.time_us != row->tip_time_us ||
                row->epoch < tip->header.epoch || !od_uuid_equal(&tip->header.branch, &row->branch))) {
        (void)od_fail(
            &why, OD_CORRUPT,
            "the row of %s says that it ends at position %llu in epoch %llu, its newest layer says %llu, %llu", key,
            (unsigned long long)row->tip_lsn, (unsigned long long)row->epoch, (unsigned long long)tip->end.lsn,
            (unsigned long long)tip->header.epoch);
        od_fsck_problem(work, key, &why);
    }
    const struct od_branch_description *said = described_branch(work, &row->branch);
    if (!said)
        (void)od_fail(&why, OD_CORRUPT, "%s, from which its row could be made again, is missing or damaged", key);
    else if (od_uuid_is_zero(&row->tip_layer) && row->tip_lsn != row->start_lsn)
        (void)od_fail(&why, OD_CORRUPT, "the row of %s has no layer, but ends at position %llu", key,
                      (unsigned long long)row->tip_lsn);
    else if (!od_uuid_equal(&row->parent_branch, &said->parent_branch) ||
             !od_uuid_equal(&row->parent_layer, &said->parent_layer) || row->start_lsn != said->start_lsn)
        (void)od_fail(&why, OD_CORRUPT, "%s says that the branch begins elsewhere than its row", key);
    else
        return;
    od_fsck_problem(work, key, &why);
}

static const struct od_meta_branch *branch_of(const struct od_fsck_rows *rows, const struct od_uuid *branch)
{
    for (size_t i = 0; i < rows->branch_count; i++)
        if (od_uuid_equal(&rows->branches[i].branch, branch))
            return &rows->branches[i];
    return NULL;
}

static void check_database(struct od_fsck_work *work, const struct od_meta_database *row)
{
    struct od_error why;
    char key[OD_DESCRIPTION_KEY_BYTES];
    const struct od_branch_description *said = described_branch(work, &row->branch);
    od_branch_key(&row->branch, key);
    const struct od_meta_branch *branch = branch_of(&work->rows, &row->branch);
    if (!branch)
        (void)od_fail(&why, OD_CORRUPT, "the row of the database '%s' names %s, which has no row", row->name, key);
    else if (branch->dropped_us)
        (void)od_fail(&why, OD_CORRUPT, "the row of the database '%s' names %s, whose row says that it was dropped",
                      row->name, key);
    else if (said && strcmp(row->name, said->name) != 0 && !strstr(row->name, "-recovered-")) // by a rebuild
        (void)od_fail(&why, OD_CORRUPT, "%s says that the database is called '%s', its row '%s'", key, said->name,
                      row->name);
    else
        return;
    od_fsck_problem(work, key, &why);
}

static void check_in_use(struct od_fsck_work *work, const struct od_meta_branch *row)
{
    struct od_error why;
    char key[OD_DESCRIPTION_KEY_BYTES];
    if (row->dropped_us || !described(&work->survey.drops, sizeof(struct od_drop_description),
                                      offsetof(struct od_drop_description, branch), &row->branch))
        return;
    od_drop_key(&row->branch, key);
    (void)od_fail(&why, OD_CORRUPT, "%s says that the branch was dropped, but its row is in use: the metadata is older",
                  key);
    od_fsck_problem(work, key, &why);
}

static void check_snapshot(struct od_fsck_work *work, const struct od_meta_snapshot *row)
{
    struct od_error why;
    char key[OD_DESCRIPTION_KEY_BYTES];
    const struct od_meta_branch *branch = branch_of(&work->rows, &row->position.branch);
    od_snapshot_key(&row->snapshot, key);
    if (branch && row->position.lsn <= branch->tip_lsn) // else it is in a journal still
        check_layer_named(work, key, &row->layer);
    const struct od_meta_snapshot *said =
        described(&work->survey.snapshots, sizeof *row, offsetof(struct od_meta_snapshot, snapshot), &row->snapshot);
    if (!said)
        (void)od_fail(&why, OD_CORRUPT, "%s, from which its row could be made again, is missing or damaged", key);
    else if (strcmp(row->name, said->name) != 0 || !od_uuid_equal(&row->position.branch, &said->position.branch) ||
             row->position.epoch != said->position.epoch || row->position.lsn != said->position.lsn ||
             row->time_us != said->time_us || row->automatic != said->automatic)
        (void)od_fail(&why, OD_CORRUPT, "%s is snapshot '%s' at position %llu, its row says '%s' at %llu", key,
                      said->name, (unsigned long long)said->position.lsn, row->name,
                      (unsigned long long)row->position.lsn);
    else
        return;
    od_fsck_problem(work, key, &why);
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
    for (size_t i = 0; i < rows->database_count; i++)
        check_database(work, &rows->databases[i]);
    for (size_t i = 0; i < rows->snapshot_count; i++)
        check_snapshot(work, &rows->snapshots[i]);
    const struct od_survey_layer *layers = od_survey_layers(&work->survey);
    for (size_t i = 0; i < work->survey.layers.count; i++)
        work->fsck->unreferenced += !has_row(rows, &layers[i].header.layer);
}
