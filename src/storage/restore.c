// restore.c - a database goes on from an earlier point of itself; what it was before stays readable.
//
// Steps: a snapshot of what it is, with the uuid of the branch to come (see history_internal.h); the new branch's
// description; one metadata transaction in which the name goes over to the new branch. A crash before that leaves the
// database as it was, with one snapshot more.
#include "storage/history_internal.h"

#include "base/alloc.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

// ---- earlier selves

// The snapshot that a restore took of `branch`'s parent when it made `branch`, among the parent's; NULL: it is no restore.
static const struct od_meta_snapshot *taken_for(const struct od_meta_branch *branch,
                                                const struct od_meta_snapshot *rows, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (od_uuid_equal(&rows[i].snapshot, &branch->branch))
            return &rows[i];
    return NULL;
}

// The snapshots of the earlier self, if there is one (*taken NULL: there is none). *rows: od_free.
static od_code earlier_snapshots(struct od_store *store, const struct od_meta_branch *branch,
                                 struct od_meta_snapshot **rows, size_t *count, const struct od_meta_snapshot **taken,
                                 struct od_error *err)
{
    struct od_metastore *meta = store->options.metadata;
    *rows = NULL;
    *count = 0;
    *taken = NULL;
    if (od_uuid_is_zero(&branch->parent_branch))
        return OD_OK;
    od_code rc = meta->ops->snapshot_list(meta, &branch->parent_branch, rows, count, err);
    if (rc == OD_OK)
        *taken = taken_for(branch, *rows, *count);
    return rc;
}

od_code od_history_snapshots(struct od_store *store, const struct od_meta_branch *branch,
                             struct od_meta_snapshot **rows, size_t *count, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_branch self = *branch;
    struct od_meta_snapshot *all = NULL, *more = NULL;
    const struct od_meta_snapshot *taken;
    size_t found = 0, added = 0;
    OD_TRY(meta->ops->snapshot_list(meta, &self.branch, &all, &found, err));
    for (;;) {
        OD_TRY(earlier_snapshots(store, &self, &more, &added, &taken, err));
        if (!taken)
            break;
        struct od_meta_snapshot *grown = od_realloc(more, (added + found) * sizeof *more);
        if (!grown)
            OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu snapshots", added + found));
        more = NULL;
        if (found > 0)
            memcpy(grown + added, all, found * sizeof *all);
        od_free(all);
        all = grown;
        found += added;
        struct od_uuid parent = self.parent_branch;
        OD_TRY(meta->ops->branch_get(meta, &parent, &self, err));
    }
    *rows = all;
    *count = found;
    all = NULL;
out:
    od_free(more);
    od_free(all);
    return rc;
}

od_code od_history_self_at(struct od_store *store, uint64_t time_us, struct od_meta_branch *branch, uint64_t *since_us,
                           struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_snapshot *rows = NULL;
    const struct od_meta_snapshot *taken;
    size_t count;
    for (;;) {
        OD_TRY(earlier_snapshots(store, branch, &rows, &count, &taken, err));
        *since_us = taken ? taken->created_us : 0;
        bool earlier = time_us < *since_us;
        od_free(rows);
        rows = NULL;
        if (!earlier)
            break;
        struct od_uuid parent = branch->parent_branch;
        OD_TRY(meta->ops->branch_get(meta, &parent, branch, err));
    }
out:
    od_free(rows);
    return rc;
}

// ---- restoring

static void name_before(uint64_t us, char out[OD_META_NAME_BYTES])
{
    struct tm parts;
    time_t seconds = (time_t)(us / 1000000);
    char text[32];
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y%m%dT%H%M%S", &parts);
    snprintf(out, OD_META_NAME_BYTES, "before-restore-%s.%06uZ", text, (unsigned)(us % 1000000));
}

// The name stands for the new branch now, or it does not.
static od_code point(struct od_store *store, const char *database, const struct od_uuid *expected,
                     const struct od_meta_branch *branch, struct od_error *err)
{
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_database row;
    od_code rc = meta->ops->database_point(meta, database, expected, branch, err);
    if (rc != OD_OUTCOME_UNKNOWN)
        return rc;
    rc = meta->ops->database_get(meta, database, &row, err);
    if (rc == OD_OK && !od_uuid_equal(&row.branch, &branch->branch))
        return od_fail(err, OD_UNAVAILABLE, "the database %s was not restored; try again", database);
    return rc;
}

// The new branch, and the snapshot of what the database is. `writer`: its volume, at rest.
static od_code prepare(struct od_store *store, const char *database, const char *selector, struct od_volume *writer,
                       struct od_meta_branch *branch, struct od_meta_snapshot *before, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_position position;
    struct od_meta_branch from;
    char name[OD_META_NAME_BYTES];
    OD_TRY(od_store_resolve(store, database, selector, writer, &position, err));
    OD_TRY(meta->ops->branch_get(meta, &position.branch, &from, err));
    bool own = od_uuid_equal(&position.branch, &writer->branch.branch);
    OD_TRY(od_history_branch_at(store, &from, &position, own ? writer : NULL, branch, err));
    branch->parent_branch = writer->branch.branch; // whatever the point was in
    name_before(branch->tip_time_us, name);
    OD_TRY(od_history_snapshot(store, database, name, &branch->branch, writer, before, err));
out:
    return rc;
}

od_code od_store_restore(struct od_store *store, const char *database, const char *selector,
                         struct od_meta_snapshot *taken, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_volume *volume = NULL;
    struct od_meta_branch branch, old;
    struct od_meta_snapshot before = {0};
    OD_TRY(od_volume_open(store, database, false, &volume, err)); // finishes what a crash left; refuses one in use
    rc = prepare(store, database, selector, volume, &branch, &before, err);
    old = volume->branch;
    od_volume_close(volume);
    OD_TRY(rc);
    // Closing published all, or said why in the log; what is in journals only would be lost with the name.
    OD_TRY(meta->ops->branch_get(meta, &old.branch, &old, err));
    uint64_t end = od_uuid_is_zero(&old.tip_layer) ? old.start_lsn : old.tip_lsn;
    if (end != before.position.lsn)
        OD_TRY(od_fail(err, OD_UNAVAILABLE,
                       "the newest state of %s (position %llu) could not be published; it was not restored, try again",
                       database, (unsigned long long)before.position.lsn));
    OD_TRY(od_store_describe_branch(store, database, &branch, err));
    OD_TRY(point(store, database, &old.branch, &branch, err));
    if (taken)
        *taken = before;
    struct od_error failure;
    if (od_store_describe_drop(store, database, &old.branch, &failure) != OD_OK) // a rebuild finds out by the snapshot too
        od_log(OD_LOG_WARN, "storage", "%s", failure.message);
out:
    return rc;
}
