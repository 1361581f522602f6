// collect_needed.c - which snapshots are over, and what is needed by those that stay; see collect.h.
#include "storage/collect_internal.h"

#include "base/alloc.h"
#include "storage/footer.h"

#include <stdlib.h>
#include <string.h>

#define NAMING_US (UINT64_C(3600) * 1000000)

void od_collect_failed(struct od_collect_work *work, const struct od_error *why)
{
    if (work->result->failed++ == 0)
        work->result->failure = *why;
}

static od_code grow(void *array, size_t *capacity, size_t needed, size_t bytes, struct od_error *err)
{
    void **items = array;
    if (needed <= *capacity)
        return OD_OK;
    size_t more = needed < 64 ? 64 : 2 * needed;
    void *grown = od_realloc(*items, more * bytes);
    if (!grown)
        return od_fail(err, OD_NO_MEMORY, "out of memory for %zu rows of the metadata", more);
    *items = grown;
    *capacity = more;
    return OD_OK;
}

// Is a time of the past longer ago than that?
static bool is_past(const struct od_collect_work *work, uint64_t since_us, uint64_t kept_us)
{
    return work->now_us >= since_us && work->now_us - since_us >= kept_us;
}

static int by_branch(const void *a, const void *b)
{
    const struct od_meta_branch *left = a, *right = b;
    return memcmp(&left->branch, &right->branch, sizeof left->branch);
}

static struct od_meta_branch *branch_of(const struct od_collect_work *work, const struct od_uuid *branch)
{
    struct od_meta_branch key = {.branch = *branch};
    return work->branch_count ? bsearch(&key, work->branches, work->branch_count, sizeof key, by_branch) : NULL;
}

const struct od_meta_branch *od_collect_branch(const struct od_collect_work *work, const struct od_uuid *branch)
{
    return branch_of(work, branch);
}

// What a restore left is an earlier self of the database: its snapshots and times are read through the branch that took its
// place, and it is dropped when that one is. The restore's snapshot has the uuid of the new branch.
static void find_earlier_selves(struct od_collect_work *work)
{
    bool changed = true;
    for (size_t round = 0; changed && round <= work->branch_count; round++) {
        changed = false;
        for (size_t i = 0; i < work->snapshot_count; i++) {
            const struct od_meta_branch *later = od_collect_branch(work, &work->snapshots[i].snapshot);
            if (!later)
                continue; // nearly all: it is no branch's uuid
            struct od_meta_branch *earlier = branch_of(work, &work->snapshots[i].position.branch);
            if (!earlier || !od_uuid_equal(&later->parent_branch, &earlier->branch) ||
                earlier->dropped_us == later->dropped_us)
                continue;
            earlier->dropped_us = later->dropped_us;
            changed = true;
        }
    }
}

bool od_collect_is_over(const struct od_collect_work *work, const struct od_meta_branch *branch)
{
    return branch->dropped_us && is_past(work, branch->dropped_us, work->policy->dropped_us);
}

static int by_layer(const void *a, const void *b)
{
    const struct od_collect_layer *left = a, *right = b;
    return memcmp(&left->row.layer, &right->row.layer, sizeof left->row.layer);
}

struct od_collect_layer *od_collect_find(const struct od_collect_work *work, const struct od_uuid *layer)
{
    struct od_collect_layer key = {.row.layer = *layer};
    return work->layer_count ? bsearch(&key, work->layers, work->layer_count, sizeof key, by_layer) : NULL;
}

static int by_uuid(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct od_uuid));
}

bool od_collect_is_named(const struct od_collect_work *work, const struct od_uuid *layer)
{
    return work->named_count && bsearch(layer, work->named, work->named_count, sizeof *layer, by_uuid);
}

// ---- reading

static bool snapshot_is_over(const struct od_collect_work *work, const struct od_meta_snapshot *snapshot)
{
    const struct od_meta_branch *branch = od_collect_branch(work, &snapshot->position.branch);
    if (snapshot->automatic && is_past(work, snapshot->created_us, work->policy->automatic_us))
        return true;
    uint64_t kept_us = snapshot->automatic ? work->policy->dropped_us : work->policy->named_us;
    return branch && branch->dropped_us && is_past(work, branch->dropped_us, kept_us);
}

// As od_store_snapshot_drop does it: the row first.
static bool drop_snapshot(struct od_collect_work *work, const struct od_meta_snapshot *snapshot)
{
    struct od_error why;
    char key[OD_DESCRIPTION_KEY_BYTES];
    struct od_metastore *meta = work->store->options.metadata;
    od_snapshot_key(&snapshot->snapshot, key);
    od_code rc = meta->ops->snapshot_drop(meta, &snapshot->position.branch, snapshot->name, &why);
    if (rc == OD_OK) {
        work->result->snapshots++;
        rc = od_objstore_remove(work->store->options.objects, key, &why);
        if (rc != OD_OK)
            od_collect_failed(work, &why);
        return true;
    }
    if (rc == OD_NOT_FOUND)
        return true; // somebody else did it
    od_collect_failed(work, &why);
    return false;
}

static od_code read_snapshots(struct od_collect_work *work, const struct od_meta_branch *branch, struct od_error *err)
{
    struct od_metastore *meta = work->store->options.metadata;
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    od_code rc = meta->ops->snapshot_list(meta, &branch->branch, &rows, &count, err);
    if (rc == OD_OK)
        rc = grow(&work->snapshots, &work->snapshot_capacity, work->snapshot_count + count, sizeof *rows, err);
    if (rc == OD_OK && count > 0)
        memcpy(work->snapshots + work->snapshot_count, rows, count * sizeof *rows);
    if (rc == OD_OK)
        work->snapshot_count += count;
    od_free(rows);
    return rc;
}

static void drop_snapshots(struct od_collect_work *work)
{
    size_t kept = 0;
    for (size_t i = 0; i < work->snapshot_count; i++)
        if (!snapshot_is_over(work, &work->snapshots[i]) || !drop_snapshot(work, &work->snapshots[i]))
            work->snapshots[kept++] = work->snapshots[i];
    work->snapshot_count = kept;
}

static od_code read_layers(struct od_collect_work *work, const struct od_meta_branch *branch, struct od_error *err)
{
    struct od_metastore *meta = work->store->options.metadata;
    struct od_meta_layer *rows = NULL;
    size_t count = 0;
    od_code rc = meta->ops->layer_list(meta, &branch->branch, &rows, &count, err);
    if (rc == OD_OK)
        rc = grow(&work->layers, &work->layer_capacity, work->layer_count + count, sizeof *work->layers, err);
    for (size_t i = 0; i < count && rc == OD_OK; i++)
        work->layers[work->layer_count++] = (struct od_collect_layer){.row = rows[i]};
    od_free(rows);
    return rc;
}

// ---- what is needed

static od_code name(struct od_collect_work *work, const struct od_uuid *layer, struct od_error *err)
{
    od_code rc = grow(&work->named, &work->named_capacity, work->named_count + 1, sizeof *layer, err);
    if (rc == OD_OK)
        work->named[work->named_count++] = *layer;
    return rc;
}

static od_code name_footer(struct od_collect_work *work, const struct od_uuid *layer, bool has_row,
                           struct od_error *err)
{
    od_code rc = OD_OK;
    char key[OD_LAYER_KEY_BYTES];
    struct od_object *object = NULL;
    struct od_journal_header header;
    struct od_footer footer = {0};
    od_layer_key(layer, key);
    rc = od_objstore_open(work->store->options.objects, key, &object, err);
    if (rc == OD_NOT_FOUND && !has_row)
        return OD_OK; // a journal still
    OD_TRY(rc);
    OD_TRY(od_footer_read_object(object, key, 0, &header, &footer, err));
    for (uint32_t i = 0; i < footer.below_count && OD_PLANTED_BUG != 1; i++)
        OD_TRY(name(work, &footer.below[i].layer, err));
out:
    od_footer_release(&footer);
    od_object_close(object);
    return rc;
}

// The state at a position of a layer; UINT64_MAX: at its end.
static od_code need(struct od_collect_work *work, const struct od_uuid *layer, uint64_t lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    while (!od_uuid_is_zero(layer)) {
        struct od_collect_layer *found = od_collect_find(work, layer);
        OD_TRY(name(work, layer, err));
        if (!found) {
            rc = name_footer(work, layer, false, err);
            break;
        }
        bool within = lsn < found->row.end_lsn;
        if (found->whole && (found->within || !within))
            break;
        found->whole = true;
        if (!within)
            break;
        found->within = true;
        layer = &found->row.parent;
        lsn = found->row.first_lsn;
    }
out:
    return rc;
}

// A layer's footer names what its parent's names, and the parent, and nothing else, if it continues the parent's end: of a
// row of layers the oldest says it all.
static od_code name_footers(struct od_collect_work *work, struct od_error *err)
{
    od_code rc = OD_OK;
    for (size_t i = 0; i < work->layer_count && rc == OD_OK; i++) {
        const struct od_collect_layer *layer = &work->layers[i];
        if (!layer->whole)
            continue;
        const struct od_collect_layer *parent = od_collect_find(work, &layer->row.parent);
        if (!parent || !parent->whole || parent->row.end_lsn != layer->row.first_lsn)
            rc = name_footer(work, &layer->row.layer, true, err);
    }
    return rc;
}

// The volumes of this process, exactly.
static od_code name_volumes(struct od_collect_work *work, struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    for (; volume && rc == OD_OK; volume = volume->next_writer) {
        pthread_mutex_lock(&volume->lineage.lock);
        for (size_t i = 0; i < volume->lineage.count && rc == OD_OK; i++)
            rc = name(work, &volume->lineage.entries[i].ref.layer, err);
        pthread_mutex_unlock(&volume->lineage.lock);
    }
    return rc;
}

// Positions of the last while, with an hour for whoever is about to name one; and what was published since the tip was read.
static od_code need_history(struct od_collect_work *work, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t kept_us = work->policy->history_us;
    for (size_t i = 0; i < work->layer_count && rc == OD_OK; i++) {
        const struct od_meta_layer *row = &work->layers[i].row;
        const struct od_meta_branch *branch = od_collect_branch(work, &row->branch);
        if (!branch || od_collect_is_over(work, branch))
            continue;
        bool recent =
            kept_us > 0 && (kept_us > UINT64_MAX - NAMING_US || !is_past(work, row->last_time_us, kept_us + NAMING_US));
        if (recent || row->end_lsn > branch->tip_lsn)
            rc = need(work, &row->layer, row->first_lsn, err);
    }
    return rc;
}

static od_code find_needed(struct od_collect_work *work, struct od_error *err)
{
    od_code rc = OD_OK;
    for (size_t i = 0; i < work->branch_count && rc == OD_OK; i++) {
        const struct od_meta_branch *branch = &work->branches[i];
        if (od_collect_is_over(work, branch))
            continue;
        OD_TRY(need(work, &branch->tip_layer, UINT64_MAX, err));
        OD_TRY(need(work, &branch->parent_layer, branch->start_lsn, err));
    }
    for (size_t i = 0; i < work->snapshot_count && rc == OD_OK; i++)
        OD_TRY(need(work, &work->snapshots[i].layer, work->snapshots[i].position.lsn, err));
    OD_TRY(need_history(work, err));
    OD_TRY(name_footers(work, err));
    pthread_mutex_lock(&work->store->lock);
    rc = name_volumes(work, work->store->readers, err);
    if (rc == OD_OK)
        rc = name_volumes(work, work->store->writers, err);
    pthread_mutex_unlock(&work->store->lock);
    OD_TRY(rc);
    if (work->named_count > 1)
        qsort(work->named, work->named_count, sizeof *work->named, by_uuid);
    for (size_t i = 0; i < work->layer_count; i++)
        work->layers[i].needed = work->layers[i].whole || od_collect_is_named(work, &work->layers[i].row.layer);
out:
    return rc;
}

od_code od_collect_read(struct od_collect_work *work, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = work->store->options.metadata;
    OD_TRY(meta->ops->now(meta, &work->now_us, err));
    OD_TRY(meta->ops->branch_list(meta, &work->branches, &work->branch_count, err));
    if (work->branch_count > 1)
        qsort(work->branches, work->branch_count, sizeof *work->branches, by_branch);
    for (size_t i = 0; i < work->branch_count; i++) {
        OD_TRY(read_layers(work, &work->branches[i], err));
        OD_TRY(read_snapshots(work, &work->branches[i], err));
    }
    if (work->layer_count > 1)
        qsort(work->layers, work->layer_count, sizeof *work->layers, by_layer);
    find_earlier_selves(work);
    drop_snapshots(work);
    OD_TRY(find_needed(work, err));
out:
    return rc;
}

void od_collect_release(struct od_collect_work *work)
{
    od_free(work->branches);
    od_free(work->snapshots);
    od_free(work->layers);
    od_free(work->named);
}
