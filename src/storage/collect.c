// collect.c - the steps of a collection, in the order in which they undo and follow each other; see collect.h.
#include "storage/collect_internal.h"

#include "base/alloc.h"

#include <stdlib.h>
#include <string.h>

#define HOUR_US (UINT64_C(3600) * 1000000)

struct mark {
    struct od_condemned what;
    bool lingers; // it is void, and could not be removed
};

struct marks {
    struct od_collect_work *work;
    struct mark *rows; // in order of uuid
    size_t count, capacity;
};

struct od_collect_policy od_collect_policy_default(void)
{
    return (struct od_collect_policy){
        .history_us = 24 * HOUR_US,
        .automatic_us = 24 * HOUR_US,
        .dropped_us = 24 * HOUR_US,
        .named_us = UINT64_MAX,
        .reader_us = HOUR_US,
        .orphan_us = 7 * 24 * HOUR_US,
    };
}

static struct od_objstore *objects_of(const struct od_collect_work *work)
{
    return work->store->options.objects;
}

// ---- marks

static od_code read_mark(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct marks *marks = context;
    uint8_t data[OD_DESCRIPTION_BYTES_MAX];
    struct od_object *object = NULL;
    struct od_error why;
    if (marks->count == marks->capacity) {
        size_t capacity = marks->capacity ? 2 * marks->capacity : 64;
        struct mark *grown = od_realloc(marks->rows, capacity * sizeof *grown);
        if (!grown)
            return od_fail(err, OD_NO_MEMORY, "out of memory for %zu condemned layers", capacity);
        marks->rows = grown;
        marks->capacity = capacity;
    }
    struct mark *mark = &marks->rows[marks->count];
    *mark = (struct mark){0};
    od_code rc = bytes > sizeof data ? od_fail(&why, OD_CORRUPT, "%s is not a mark of OpenDuck (offset 0)", key)
                                     : od_objstore_open(objects_of(marks->work), key, &object, &why);
    if (rc == OD_OK)
        rc = od_object_read(object, 0, data, (size_t)od_object_bytes(object), &why);
    if (rc == OD_OK)
        rc = od_condemned_decode(data, (size_t)od_object_bytes(object), key, &mark->what, &why);
    od_object_close(object);
    if (rc == OD_OK)
        marks->count++;
    else if (rc != OD_NOT_FOUND) // else somebody else removed it
        od_collect_failed(marks->work, &why);
    return OD_OK;
}

static int by_layer(const void *a, const void *b)
{
    const struct mark *left = a, *right = b;
    return memcmp(&left->what.layer, &right->what.layer, sizeof left->what.layer);
}

static struct mark *find_mark(const struct marks *marks, const struct od_uuid *layer)
{
    struct mark key = {.what.layer = *layer};
    return marks->count ? bsearch(&key, marks->rows, marks->count, sizeof key, by_layer) : NULL;
}

static bool remove_object(struct od_collect_work *work, const char *key)
{
    struct od_error why;
    if (od_objstore_remove(objects_of(work), key, &why) == OD_OK)
        return true;
    od_collect_failed(work, &why);
    return false;
}

static bool remove_mark(struct od_collect_work *work, const struct od_uuid *layer)
{
    char key[OD_DESCRIPTION_KEY_BYTES];
    od_condemned_key(layer, key);
    return remove_object(work, key);
}

// Step 2. `kept_us` from now on.
static void put_mark(struct od_collect_work *work, const struct od_uuid *layer, const struct od_uuid *branch,
                     uint32_t depth, uint64_t kept_us)
{
    struct od_condemned what = {.layer = *layer, .branch = *branch, .depth = depth};
    struct od_metastore *meta = work->store->options.metadata;
    struct od_error why;
    uint8_t data[OD_DESCRIPTION_BYTES_MAX];
    char key[OD_DESCRIPTION_KEY_BYTES];
    uint64_t now_us; // after the row went: who found it before began before
    od_condemned_key(layer, key);
    od_code rc = meta->ops->now(meta, &now_us, &why);
    if (rc == OD_OK) {
        what.not_before_us = now_us + kept_us;
        rc = od_objstore_put(objects_of(work), key, data, od_condemned_encode(&what, data), &why);
    }
    if (rc == OD_OK)
        work->result->waiting++;
    else
        od_collect_failed(work, &why); // found again by listing
}

// ---- step 3

static int by_depth(const void *a, const void *b)
{
    const struct od_condemned *left = a, *right = b;
    return (left->depth < right->depth) - (left->depth > right->depth);
}

// Everything is looked at again: rows and names as they are in this pass, and the row once more.
static bool may_go(struct od_collect_work *work, const struct od_condemned *what, uint64_t *bytes)
{
    struct od_metastore *meta = work->store->options.metadata;
    struct od_meta_layer row;
    struct od_error why;
    struct od_object *object;
    char key[OD_LAYER_KEY_BYTES];
    od_code rc = meta->ops->layer_get(meta, &what->layer, &row, &why);
    if (rc == OD_OK)
        return false;
    *bytes = 0;
    od_layer_key(&what->layer, key);
    if (rc == OD_NOT_FOUND) {
        rc = od_objstore_open(objects_of(work), key, &object, &why);
        if (rc == OD_OK) {
            *bytes = od_object_bytes(object);
            od_object_close(object);
        }
    }
    if (rc == OD_OK || rc == OD_NOT_FOUND) // gone already: a crash came before the mark went
        return true;
    od_collect_failed(work, &why);
    return false;
}

static void delete_one(struct od_collect_work *work, const struct od_condemned *what)
{
    char key[OD_LAYER_KEY_BYTES];
    uint64_t bytes;
    if (!may_go(work, what, &bytes))
        return;
    od_layer_key(&what->layer, key);
    if (!remove_object(work, key))
        return;
    work->result->deleted += bytes > 0;
    work->result->bytes += bytes;
    (void)remove_mark(work, &what->layer);
}

static od_code delete_due(struct marks *marks, struct od_error *err)
{
    struct od_collect_work *work = marks->work;
    size_t count = 0;
    struct od_condemned *due = od_calloc(marks->count ? marks->count : 1, sizeof *due);
    if (!due)
        return od_fail(err, OD_NO_MEMORY, "out of memory for %zu condemned layers", marks->count);
    for (size_t i = 0; i < marks->count; i++) {
        const struct od_condemned *what = &marks->rows[i].what;
        if (od_collect_find(work, &what->layer)) // it has a row again: the metadata was made anew
            marks->rows[i].lingers = !remove_mark(work, &what->layer);
        else if (od_collect_is_named(work, &what->layer) || work->now_us < what->not_before_us)
            work->result->waiting++;
        else
            due[count++] = *what;
    }
    if (count > 1)
        qsort(due, count, sizeof *due, by_depth); // those that continue others first: what is left is whole histories
    for (size_t i = 0; i < count; i++)
        delete_one(work, &due[i]);
    od_free(due);
    return OD_OK;
}

// ---- step 1

// All at once: a snapshot or a branch that came in between keeps them all, and is seen next time.
static od_code forget_rows(struct marks *marks, struct od_error *err)
{
    struct od_collect_work *work = marks->work;
    struct od_metastore *meta = work->store->options.metadata;
    struct od_error why;
    size_t count = 0;
    struct od_uuid *uuids = od_calloc(work->layer_count ? work->layer_count : 1, sizeof *uuids);
    if (!uuids)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu layers", work->layer_count);
    for (size_t i = 0; i < work->layer_count; i++) {
        const struct mark *mark = find_mark(marks, &work->layers[i].row.layer);
        if (work->layers[i].needed)
            continue;
        uuids[count++] = work->layers[i].row.layer;
        if (mark && mark->lingers) { // its time may be over already: not before it could be removed
            count = 0;
            break;
        }
    }
    od_code rc = count > 0 ? meta->ops->layer_forget(meta, uuids, count, &why) : OD_OK;
    if (rc == OD_OK)
        work->result->forgotten += count;
    else if (rc != OD_STALE) // a snapshot or clone came in between: next time
        od_collect_failed(work, &why);
    for (size_t i = 0; i < work->layer_count && rc == OD_OK && count > 0; i++)
        work->layers[i].forgotten = !work->layers[i].needed;
    od_free(uuids);
    return OD_OK;
}

// ---- layers without a row

// Can it never be published any more, and is it needed by nobody?
static bool is_orphan(const struct od_collect_work *work, const struct od_journal_header *header, uint64_t *kept_us)
{
    const struct od_meta_branch *branch = od_collect_branch(work, &header->branch);
    if (!branch || od_collect_is_named(work, &header->layer))
        return false;
    *kept_us = od_collect_is_over(work, branch) ? work->policy->reader_us : work->policy->orphan_us;
    return od_collect_is_over(work, branch) || header->first_lsn < branch->tip_lsn || OD_PLANTED_BUG == 2;
}

static od_code look_at_layer(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct marks *marks = context;
    struct od_collect_work *work = marks->work;
    struct od_journal *layer;
    struct od_error why;
    struct od_uuid uuid;
    uint64_t kept_us;
    (void)bytes, (void)err;
    if (od_uuid_parse(key + strlen("layers/"), &uuid, NULL) != OD_OK) {
        work->result->unknown++;
        return OD_OK;
    }
    const struct od_collect_layer *known = od_collect_find(work, &uuid);
    if ((known && !known->forgotten) || find_mark(marks, &uuid))
        return OD_OK;
    od_code rc = od_layer_open(objects_of(work), &uuid, &layer, &why);
    if (rc == OD_NOT_FOUND)
        return OD_OK;
    if (rc != OD_OK) {
        od_collect_failed(work, &why);
        return OD_OK;
    }
    if (is_orphan(work, &layer->header, &kept_us))
        put_mark(work, &uuid, &layer->header.branch, layer->header.depth, kept_us);
    else
        work->result->unknown++;
    od_journal_close(layer);
    return OD_OK;
}

// ---- dropped databases

static bool has_snapshots(const struct od_collect_work *work, const struct od_uuid *branch)
{
    for (size_t i = 0; i < work->snapshot_count; i++)
        if (od_uuid_equal(&work->snapshots[i].position.branch, branch))
            return true;
    return false;
}

static void remove_journals(struct od_collect_work *work)
{
    for (size_t i = 0; i < work->branch_count; i++) {
        const struct od_meta_branch *branch = &work->branches[i];
        if (od_collect_is_over(work, branch) && !has_snapshots(work, &branch->branch) &&
            !od_store_is_open(work->store, &branch->branch))
            work->result->journals += od_store_remove_journals(work->store, &branch->branch);
    }
}

struct described {
    struct od_collect_work *work;
    struct od_uuid *rows; // in order
    size_t count, capacity;
};

static od_code note_described(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    struct described *described = context;
    (void)bytes;
    if (described->count == described->capacity) {
        size_t capacity = described->capacity ? 2 * described->capacity : 64;
        struct od_uuid *grown = od_realloc(described->rows, capacity * sizeof *grown);
        if (!grown)
            return od_fail(err, OD_NO_MEMORY, "out of memory for %zu dropped databases", capacity);
        described->rows = grown;
        described->capacity = capacity;
    }
    described->count += od_uuid_parse(key + strlen("dropped/"), &described->rows[described->count], NULL) == OD_OK;
    return OD_OK;
}

static int by_uuid(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(struct od_uuid));
}

// A drop that ended between its row and its description: else a rebuild would bring the database back.
static od_code describe_drops(struct od_collect_work *work, struct od_error *err)
{
    struct described described = {.work = work};
    struct od_error why;
    od_code rc = od_objstore_list(objects_of(work), "dropped/", note_described, &described, err);
    for (size_t i = 0; i < work->branch_count && rc == OD_OK; i++) {
        const struct od_uuid *branch = &work->branches[i].branch;
        if (!work->branches[i].dropped_us ||
            (described.count && bsearch(branch, described.rows, described.count, sizeof *branch, by_uuid)))
            continue;
        if (od_store_describe_drop(work->store, "", branch, &why) != OD_OK)
            od_collect_failed(work, &why);
    }
    od_free(described.rows);
    return rc;
}

od_code od_store_collect(struct od_store *store, const struct od_collect_policy *policy,
                         struct od_collect_result *result, struct od_error *err)
{
    od_code rc = OD_OK;
    *result = (struct od_collect_result){0};
    struct od_collect_work work = {.store = store, .policy = policy, .result = result};
    struct marks marks = {.work = &work};
    OD_TRY(od_collect_read(&work, err)); // rows before objects: what appears meanwhile is not looked at
    OD_TRY(od_objstore_list(objects_of(&work), "condemned/", read_mark, &marks, err));
    OD_TRY(delete_due(&marks, err));
    OD_TRY(forget_rows(&marks, err));
    OD_TRY(od_objstore_list(objects_of(&work), "layers/", look_at_layer, &marks, err));
    OD_TRY(describe_drops(&work, err));
    remove_journals(&work);
out:
    od_free(marks.rows);
    od_collect_release(&work);
    return rc;
}
