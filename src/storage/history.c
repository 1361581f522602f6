// history.c - points in a database's history: selectors, snapshots, clones. Restoring is in restore.c.
//
// Nothing here copies data: a snapshot is a position, a clone a branch that begins at one.
#include "storage/describe.h"
#include "storage/footer.h"
#include "storage/history_internal.h"
#include "storage/planted.h"
#include "storage/selector.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static struct od_metastore *meta_of(struct od_store *store)
{
    return store->options.metadata;
}

// An object that may be there from an earlier try of the same call.
static od_code put_description(struct od_store *store, const char *key, const uint8_t *data, size_t bytes,
                               struct od_error *err)
{
    od_code rc = od_objstore_put(store->options.objects, key, data, bytes, err);
    if (rc != OD_OUTCOME_UNKNOWN)
        return rc;
    struct od_object *object = NULL;
    rc = od_objstore_open(store->options.objects, key, &object, err);
    od_object_close(object);
    return rc == OD_NOT_FOUND ? od_fail(err, OD_UNAVAILABLE, "the object %s was not put; try again", key) : rc;
}

od_code od_store_describe_branch(struct od_store *store, const char *name, const struct od_meta_branch *branch,
                                 struct od_error *err)
{
    uint8_t bytes[OD_DESCRIPTION_BYTES_MAX];
    char key[OD_DESCRIPTION_KEY_BYTES];
    struct od_branch_description description = {
        .branch = branch->branch,
        .parent_branch = branch->parent_branch,
        .parent_layer = branch->parent_layer,
        .start_lsn = branch->start_lsn,
        .created_us = branch->tip_time_us,
        .policy = branch->policy,
    };
    snprintf(description.name, sizeof description.name, "%s", name);
    od_branch_key(&branch->branch, key);
    return put_description(store, key, bytes, od_branch_encode(&description, bytes), err);
}

od_code od_store_describe_drop(struct od_store *store, const char *name, const struct od_uuid *branch,
                               struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t bytes[OD_DESCRIPTION_BYTES_MAX];
    char key[OD_DESCRIPTION_KEY_BYTES];
    struct od_drop_description description = {.branch = *branch};
    struct od_meta_branch row;
    OD_TRY(meta_of(store)->ops->branch_get(meta_of(store), branch, &row, err));
    if (row.dropped_us == 0)
        OD_TRY(od_fail(err, OD_INVALID, "the database %s is in use", name));
    description.dropped_us = row.dropped_us;
    snprintf(description.name, sizeof description.name, "%s", name);
    od_drop_key(branch, key);
    rc = put_description(store, key, bytes, od_drop_encode(&description, bytes), err);
    rc = rc == OD_EXISTS ? OD_OK : rc;
out:
    return rc;
}

// ---- where a position is

// The sealed layer that holds the position; zeros: none does (a journal, or the beginning of an empty branch).
static od_code containing_layer(struct od_store *store, const struct od_meta_branch *branch, uint64_t lsn,
                                struct od_meta_layer *layer, struct od_error *err)
{
    struct od_meta_layer *rows = NULL;
    size_t count = 0;
    *layer = (struct od_meta_layer){0};
    if (lsn == branch->start_lsn) {
        layer->layer = branch->parent_layer;
        layer->epoch = branch->epoch;
        return OD_OK;
    }
    od_code rc = meta_of(store)->ops->layer_list(meta_of(store), &branch->branch, &rows, &count, err);
    for (size_t i = 0; i < count && rc == OD_OK; i++)
        if (rows[i].first_lsn < lsn && lsn <= rows[i].end_lsn)
            *layer = rows[i];
    od_free(rows);
    return rc;
}

// The epoch of the writer's journal that holds the position, for one that is in no layer; 0: none does.
static uint64_t journal_epoch(struct od_volume *writer, uint64_t lsn)
{
    uint64_t epoch = 0;
    pthread_mutex_lock(&writer->lock);
    const struct od_journal *journal = lsn <= writer->barrier ? od_lineage_before(&writer->lineage, lsn) : NULL;
    if (journal)
        epoch = journal->header.epoch;
    pthread_mutex_unlock(&writer->lock);
    return epoch;
}

od_code od_history_branch(struct od_store *store, const char *name, struct od_meta_branch *branch, struct od_error *err)
{
    struct od_meta_database database;
    od_code rc = meta_of(store)->ops->database_get(meta_of(store), name, &database, err);
    return rc == OD_OK ? meta_of(store)->ops->branch_get(meta_of(store), &database.branch, branch, err) : rc;
}

// The last barrier: of the writer, made durable, or of the branch's tip.
static od_code newest(struct od_volume *writer, const struct od_meta_branch *branch, struct od_position *position,
                      uint64_t *time_us, struct od_error *err)
{
    if (!writer) {
        bool own = !od_uuid_is_zero(&branch->tip_layer);
        *position = (struct od_position){branch->branch, branch->epoch, own ? branch->tip_lsn : branch->start_lsn};
        *time_us = branch->tip_time_us;
        return OD_OK;
    }
    pthread_mutex_lock(&writer->lock);
    *position = (struct od_position){branch->branch, writer->epoch, writer->barrier};
    *time_us = writer->time_us;
    pthread_mutex_unlock(&writer->lock);
    return od_volume_wait_durable(writer, position->lsn, err);
}

// ---- selectors

#define NO_SNAPSHOT "%s has no snapshot '%.200s'%s%s"
#define HAS_OTHERS "; the newest are "
#define HAS_NONE "; it has none"

static void name_nearest(const struct od_meta_snapshot *rows, size_t count, char *out, size_t bytes)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = count > 5 ? count - 5 : 0; i < count && at < bytes; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s'%.80s'", i ? ", " : "", rows[i].name);
}

#define RECENT_US (UINT64_C(3600) * 1000000)
#define NOT_KEPT "the database's positions from then are not kept any more: only its snapshots are"

// Is every layer there that a state of some time ago needs? Somebody may keep history for a shorter time than this process.
static od_code check_whole(struct od_store *store, const struct od_meta_layer *layer, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t now_us;
    struct od_journal *opened = NULL;
    struct od_footer footer = {0};
    struct od_meta_layer row;
    if (od_uuid_is_zero(&layer->layer))
        return OD_OK;
    OD_TRY(meta_of(store)->ops->now(meta_of(store), &now_us, err));
    if (now_us < layer->last_time_us + RECENT_US)
        return OD_OK;
    OD_TRY(od_layer_open(store->options.objects, &layer->layer, &opened, err));
    OD_TRY(od_footer_read(opened, 0, &footer, err));
    for (uint32_t i = 0; i < footer.below_count && rc == OD_OK; i++)
        rc = meta_of(store)->ops->layer_get(meta_of(store), &footer.below[i].layer, &row, err);
out:
    od_footer_release(&footer);
    od_journal_close(opened);
    return rc == OD_NOT_FOUND ? od_fail(err, OD_NOT_FOUND, NOT_KEPT) : rc;
}

// May a position that no snapshot names be used? Those that are too old may be collected at any moment.
static od_code check_kept(struct od_store *store, const struct od_meta_branch *branch,
                          const struct od_meta_layer *layer, uint64_t lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t now_us, kept_us = store->options.history_ms * 1000;
    struct od_meta_layer parent;
    if (od_uuid_is_zero(&layer->layer) || lsn == branch->tip_lsn || lsn == branch->start_lsn)
        return OD_OK;
    OD_TRY(meta_of(store)->ops->now(meta_of(store), &now_us, err));
    if (kept_us && now_us > layer->last_time_us && now_us - layer->last_time_us > kept_us)
        OD_TRY(od_fail(err, OD_NOT_FOUND, NOT_KEPT));
    if (lsn < layer->end_lsn && !od_uuid_is_zero(&layer->parent))
        rc = meta_of(store)->ops->layer_get(meta_of(store), &layer->parent, &parent, err);
out:
    return rc == OD_NOT_FOUND ? od_fail(err, OD_NOT_FOUND, NOT_KEPT) : rc;
}

static od_code resolve_lsn(struct od_store *store, const struct od_meta_branch *branch, uint64_t epoch, uint64_t lsn,
                           struct od_volume *writer, struct od_position *position, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_layer layer;
    uint64_t wrote;
    struct od_meta_branch below = *branch;
    while (lsn < below.start_lsn && !od_uuid_is_zero(&below.parent_layer)) { // what it began with is its history too
        writer = NULL;
        OD_TRY(meta_of(store)->ops->layer_get(meta_of(store), &below.parent_layer, &layer, err));
        OD_TRY(meta_of(store)->ops->branch_get(meta_of(store), &layer.branch, &below, err));
    }
    branch = &below;
    *position = (struct od_position){branch->branch, epoch, lsn};
    OD_TRY(containing_layer(store, branch, lsn, &layer, err));
    OD_TRY(check_kept(store, branch, &layer, lsn, err));
    if (!od_uuid_is_zero(&layer.layer) || lsn == branch->start_lsn) {
        position->epoch = epoch ? epoch : layer.epoch;
    } else if (writer && (wrote = journal_epoch(writer, lsn)) > 0 && epoch <= od_volume_epoch(writer)) {
        if (epoch && epoch < wrote)
            OD_TRY(od_fail(err, OD_NOT_FOUND,
                           "position %llu of epoch %llu was lost in a takeover; what is there now is of epoch %llu",
                           (unsigned long long)lsn, (unsigned long long)epoch, (unsigned long long)wrote));
        OD_TRY(od_volume_wait_durable(writer, lsn, err));
        position->epoch = epoch ? epoch : wrote;
    } else {
        OD_TRY(od_fail(err, OD_NOT_FOUND, "the database has no position %llu (it ends at %llu)",
                       (unsigned long long)lsn,
                       (unsigned long long)(writer ? od_volume_barrier_lsn(writer) : branch->tip_lsn)));
    }
out:
    return rc;
}

// The last barrier at or before the time: in the newest layer, or journal of the writer, that begins before it. Before a
// restore the database was another branch.
static od_code resolve_time(struct od_store *store, const struct od_meta_branch *now, uint64_t time_us,
                            struct od_volume *writer, struct od_position *position, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_layer *rows = NULL;
    struct od_journal *layer = NULL;
    struct od_journal_end end;
    struct od_meta_branch self = *now;
    const struct od_meta_branch *branch = &self;
    uint64_t since_us;
    size_t count = 0;
    if (time_us > store->options.platform->ops->wall_us(store->options.platform))
        return od_fail(err, OD_INVALID, "the timestamp lies in the future");
    OD_TRY(od_history_self_at(store, time_us, &self, &since_us, err));
    if (!od_uuid_equal(&self.branch, &now->branch))
        writer = NULL;
    if (writer) {
        uint64_t last_us;
        OD_TRY(newest(writer, branch, position, &last_us, err));
        if (last_us <= time_us)
            goto out;
        OD_TRY(od_volume_roll(writer, err));
        OD_TRY(od_volume_publish(writer, err));
    }
    OD_TRY(meta_of(store)->ops->layer_list(meta_of(store), &branch->branch, &rows, &count, err));
    size_t all = count;
    while (count > 0 && rows[count - 1].first_time_us > time_us)
        count--;
    if (count == 0 && all > 0 && rows[0].first_lsn != branch->start_lsn)
        OD_TRY(od_fail(err, OD_NOT_FOUND, NOT_KEPT));
    if (count == 0 && since_us > 0) { // restored by then, and not written since
        *position = (struct od_position){branch->branch, branch->epoch, branch->start_lsn};
        goto out;
    }
    if (count == 0)
        OD_TRY(od_fail(err, OD_NOT_FOUND, "the database has no position as old as that"));
    if (writer && count == all && rows[count - 1].last_time_us <= time_us &&
        rows[count - 1].end_lsn < od_volume_durable_lsn(writer))
        OD_TRY(od_fail(err, OD_BUSY, "the timestamp lies in a journal that a running statement keeps open; try again"));
    // What came between this layer and the next one is gone: the last barrier before the time, too.
    if (count < all && rows[count].first_lsn != rows[count - 1].end_lsn && rows[count - 1].last_time_us < time_us)
        OD_TRY(od_fail(err, OD_NOT_FOUND, NOT_KEPT));
    OD_TRY(od_layer_open(store->options.objects, &rows[count - 1].layer, &layer, err));
    OD_TRY(od_journal_find_time(layer, rows[count - 1].end_lsn, time_us, &end, err));
    OD_TRY(check_kept(store, branch, &rows[count - 1], end.lsn, err));
    *position = (struct od_position){branch->branch, rows[count - 1].epoch, end.lsn};
out:
    od_journal_close(layer);
    od_free(rows);
    return rc;
}

od_code od_store_resolve(struct od_store *store, const char *name, const char *selector, struct od_volume *writer,
                         struct od_position *position, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_branch branch;
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    uint64_t epoch, lsn, time_us;
    char nearest[512];
    OD_TRY(od_history_branch(store, name, &branch, err));
    OD_TRY(od_history_snapshots(store, &branch, &rows, &count, err));
    for (size_t i = count; i-- > 0;)
        if (strcmp(rows[i].name, selector) == 0) { // of several selves the newest
            *position = rows[i].position;
            goto out;
        }
    if (od_selector_position(selector, &epoch, &lsn)) {
        OD_TRY(resolve_lsn(store, &branch, epoch, lsn, writer, position, err));
    } else if (od_selector_time(selector, &time_us)) {
        OD_TRY(resolve_time(store, &branch, time_us, writer, position, err));
    } else {
        name_nearest(rows, count, nearest, sizeof nearest);
        OD_TRY(od_fail(err, OD_NOT_FOUND, NO_SNAPSHOT, name, selector, count ? HAS_OTHERS : HAS_NONE, nearest));
    }
out:
    od_free(rows);
    return rc;
}

// The epoch that wrote what is at a position of the volume's history; 0: nothing is there.
static od_code epoch_at(struct od_store *store, struct od_volume *volume, uint64_t lsn, uint64_t *epoch,
                        struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_layer row;
    struct od_journal *layer = NULL;
    *epoch = volume->read_only ? 0 : journal_epoch(volume, lsn);
    OD_TRY(containing_layer(store, &volume->branch, lsn, &row, err));
    if (!od_uuid_is_zero(&row.layer)) { // the row has the epoch that published it, which may be later
        OD_TRY(od_layer_open(store->options.objects, &row.layer, &layer, err));
        *epoch = layer->header.epoch;
    }
out:
    od_journal_close(layer);
    return rc;
}

od_code od_store_check_commit(struct od_store *store, struct od_volume *volume, const struct od_position *commit,
                              struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t wrote = commit->epoch, last = od_volume_barrier_lsn(volume), epoch = od_volume_epoch(volume);
    unsigned long long lsn = commit->lsn, of = commit->epoch;
    if (!od_uuid_equal(&commit->branch, &volume->branch.branch))
        return od_fail(err, OD_NOT_FOUND, "the commit to be seen is of another database, or of what %s was before a restore",
                       volume->name);
    bool later = volume->read_only && commit->epoch > epoch;
    if (commit->epoch > epoch && !later)
        return od_fail(err, OD_UNAVAILABLE,
                       "the commit to be seen is of epoch %llu, and %s is open here in epoch %llu: another server has "
                       "taken it over since",
                       of, volume->name, (unsigned long long)epoch);
    if (commit->lsn > last || later)
        return od_fail(err, OD_NOT_FOUND,
                       "%s ends at position %llu of epoch %llu: the commit at %llu of epoch %llu was lost in a takeover, or "
                       "is later than what is read",
                       volume->name, (unsigned long long)last, (unsigned long long)epoch, lsn, of);
    if (commit->epoch < epoch)
        OD_TRY(epoch_at(store, volume, commit->lsn, &wrote, err));
    if (wrote > commit->epoch)
        rc = od_fail(err, OD_NOT_FOUND,
                     "the commit at position %llu of epoch %llu was lost in a takeover; what is there now is of epoch %llu",
                     lsn, of, (unsigned long long)wrote);
out:
    return rc;
}

// ---- snapshots

static void automatic_name(uint64_t us, char *out, size_t bytes)
{
    struct tm parts;
    time_t seconds = (time_t)(us / 1000000);
    gmtime_r(&seconds, &parts);
    char text[32];
    strftime(text, sizeof text, "%Y%m%dT%H%M%S", &parts);
    snprintf(out, bytes, "auto-%s.%06uZ", text, (unsigned)(us % 1000000));
}

// Row after object: a row always has its object.
static od_code record_snapshot(struct od_store *store, const struct od_meta_snapshot *snapshot, struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t bytes[OD_DESCRIPTION_BYTES_MAX];
    char key[OD_DESCRIPTION_KEY_BYTES];
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    od_snapshot_key(&snapshot->snapshot, key);
    OD_TRY(put_description(store, key, bytes, od_snapshot_encode(snapshot, bytes), err));
    rc = meta_of(store)->ops->snapshot_create(meta_of(store), snapshot, err);
    if (rc == OD_EXISTS) {
        od_code ignored = od_objstore_remove(store->options.objects, key, NULL); // nobody knows of it
        (void)ignored;
    }
    if (rc != OD_OUTCOME_UNKNOWN)
        goto out;
    OD_TRY(meta_of(store)->ops->snapshot_list(meta_of(store), &snapshot->position.branch, &rows, &count, err));
    rc = OD_UNAVAILABLE;
    for (size_t i = 0; i < count; i++)
        if (od_uuid_equal(&rows[i].snapshot, &snapshot->snapshot))
            rc = OD_OK;
    if (rc != OD_OK)
        rc = od_fail(err, rc, "the snapshot %s was not made; try again", snapshot->name);
out:
    od_free(rows);
    return rc;
}

// A name that reads as a position or a time would hide it.
static od_code check_snapshot_name(const char *name, struct od_error *err)
{
    uint64_t epoch, lsn, time_us;
    od_code rc = od_store_check_name(name, err);
    if (rc == OD_OK && (od_selector_position(name, &epoch, &lsn) || od_selector_time(name, &time_us)))
        rc = od_fail(err, OD_INVALID, "a snapshot cannot be called '%s': that reads as a position or a time", name);
    return rc;
}

// The metadata looks at the branch only.
static od_code check_snapshot_free(struct od_store *store, const struct od_meta_branch *branch, const char *database,
                                   const char *name, struct od_error *err)
{
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    od_code rc = od_history_snapshots(store, branch, &rows, &count, err);
    for (size_t i = 0; i < count && rc == OD_OK; i++)
        if (strcmp(rows[i].name, name) == 0)
            rc = od_fail(err, OD_EXISTS, "%s has a snapshot '%s'", database, name);
    od_free(rows);
    return rc;
}

od_code od_store_snapshot_create(struct od_store *store, const char *database, const char *name,
                                 struct od_volume *writer, struct od_meta_snapshot *snapshot, struct od_error *err)
{
    return od_history_snapshot(store, database, name, NULL, writer, snapshot, err);
}

od_code od_history_snapshot(struct od_store *store, const char *database, const char *name, const struct od_uuid *uuid,
                            struct od_volume *writer, struct od_meta_snapshot *snapshot, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_platform *platform = store->options.platform;
    struct od_meta_branch branch;
    struct od_meta_layer layer;
    *snapshot = (struct od_meta_snapshot){.automatic = name == NULL};
    if (name)
        OD_TRY(check_snapshot_name(name, err));
    OD_TRY(od_history_branch(store, database, &branch, err));
    if (name)
        OD_TRY(check_snapshot_free(store, &branch, database, name, err));
    OD_TRY(newest(writer, &branch, &snapshot->position, &snapshot->time_us, err));
    if (writer)
        OD_TRY(od_volume_publish_at(writer, snapshot->position.lsn, err));
    if (writer && OD_PLANT(SNAPSHOT_TOO_LATE))
        snapshot->position.lsn = writer->tail;
    OD_TRY(containing_layer(store, &branch, snapshot->position.lsn, &layer, err));
    snapshot->layer = layer.layer;
    if (uuid) {
        snapshot->snapshot = *uuid;
    } else {
        platform->ops->random(platform, snapshot->snapshot.bytes, sizeof snapshot->snapshot.bytes);
        od_uuid_mark_random(&snapshot->snapshot);
    }
    OD_TRY(meta_of(store)->ops->now(meta_of(store), &snapshot->created_us, err));
    if (name)
        snprintf(snapshot->name, sizeof snapshot->name, "%s", name);
    else
        automatic_name(snapshot->time_us, snapshot->name, sizeof snapshot->name);
    OD_TRY(record_snapshot(store, snapshot, err));
out:
    return rc;
}

od_code od_store_snapshot_list(struct od_store *store, const char *database, struct od_meta_snapshot **rows,
                               size_t *count, struct od_error *err)
{
    struct od_meta_branch branch;
    od_code rc = od_history_branch(store, database, &branch, err);
    return rc == OD_OK ? od_history_snapshots(store, &branch, rows, count, err) : rc;
}

// The snapshot that a restore took leads to those of the earlier self: it goes last.
static od_code check_not_needed(const struct od_meta_snapshot *rows, size_t count, size_t found,
                                const struct od_meta_branch *branch, struct od_error *err)
{
    bool leads = od_uuid_equal(&rows[found].snapshot, &branch->branch);
    for (size_t i = found + 1; i < count && !leads; i++) // the selves after it
        leads = od_uuid_equal(&rows[found].snapshot, &rows[i].position.branch);
    for (size_t i = 0; i < count && leads; i++)
        if (i != found && (i < found || od_uuid_equal(&rows[i].position.branch, &rows[found].position.branch)))
            return od_fail(err, OD_LOCKED,
                           "the snapshot '%s' was taken by a restore, and older ones are reached through it; drop '%s' "
                           "and the others of before first",
                           rows[found].name, rows[i].name);
    return OD_OK;
}

od_code od_store_snapshot_drop(struct od_store *store, const char *database, const char *name, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_branch branch;
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0, found = SIZE_MAX;
    char key[OD_DESCRIPTION_KEY_BYTES], nearest[512];
    OD_TRY(od_history_branch(store, database, &branch, err));
    OD_TRY(od_history_snapshots(store, &branch, &rows, &count, err));
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].name, name) == 0)
            found = i; // of several selves the newest
    if (found == SIZE_MAX) {
        name_nearest(rows, count, nearest, sizeof nearest);
        OD_TRY(od_fail(err, OD_NOT_FOUND, NO_SNAPSHOT, database, name, count ? HAS_OTHERS : HAS_NONE, nearest));
    }
    OD_TRY(check_not_needed(rows, count, found, &branch, err));
    od_snapshot_key(&rows[found].snapshot, key);
    OD_TRY(meta_of(store)->ops->snapshot_drop(meta_of(store), &rows[found].position.branch, name, err));
    OD_TRY(od_objstore_remove(store->options.objects, key, err));
out:
    od_free(rows);
    return rc;
}

// ---- clones

od_code od_history_branch_at(struct od_store *store, const struct od_meta_branch *from,
                             const struct od_position *position, struct od_volume *writer,
                             struct od_meta_branch *branch, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_platform *platform = store->options.platform;
    struct od_meta_layer layer;
    OD_TRY(containing_layer(store, from, position->lsn, &layer, err));
    if (od_uuid_is_zero(&layer.layer) && position->lsn != from->start_lsn && writer) {
        OD_TRY(od_volume_publish_at(writer, position->lsn, err));
        OD_TRY(containing_layer(store, from, position->lsn, &layer, err));
    }
    if (od_uuid_is_zero(&layer.layer) && position->lsn != from->start_lsn)
        OD_TRY(od_fail(err, OD_NOT_FOUND, "position %llu is in no layer of the database",
                       (unsigned long long)position->lsn));
    OD_TRY(check_whole(store, &layer, err));
    *branch = (struct od_meta_branch){
        .parent_branch = from->branch,
        .parent_layer = layer.layer,
        .start_lsn = position->lsn,
        .epoch_start_lsn = position->lsn,
        .tip_lsn = position->lsn,
        .tip_time_us = platform->ops->wall_us(platform),
        .policy = from->policy,
    };
    platform->ops->random(platform, branch->branch.bytes, sizeof branch->branch.bytes);
    od_uuid_mark_random(&branch->branch);
out:
    return rc;
}

od_code od_store_clone(struct od_store *store, const char *database, const char *selector, struct od_volume *writer,
                       const char *new_name, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_branch from, branch;
    struct od_position position;
    uint64_t time_us;
    OD_TRY(od_store_check_name(new_name, err));
    OD_TRY(od_history_branch(store, database, &from, err));
    if (selector)
        OD_TRY(od_store_resolve(store, database, selector, writer, &position, err));
    else
        OD_TRY(newest(writer, &from, &position, &time_us, err));
    if (!od_uuid_equal(&position.branch, &from.branch)) {
        writer = NULL;
        OD_TRY(meta_of(store)->ops->branch_get(meta_of(store), &position.branch, &from, err));
    }
    OD_TRY(od_history_branch_at(store, &from, &position, writer, &branch, err));
    OD_TRY(od_store_create_branch(store, new_name, &branch, err));
out:
    return rc;
}
