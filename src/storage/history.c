// history.c - points in a database's history: selectors, snapshots, clones, restore.
//
// Nothing here copies data: a snapshot is a position, a clone a branch that begins at one.
#include "storage/describe.h"
#include "storage/store_internal.h"

#include "base/alloc.h"

#include <stdio.h>
#include <stdlib.h>
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
    };
    snprintf(description.name, sizeof description.name, "%s", name);
    od_branch_key(&branch->branch, key);
    return put_description(store, key, bytes, od_branch_encode(&description, bytes), err);
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

// The writer's journal that holds the position: what its layer will be called.
static bool containing_journal(struct od_volume *writer, uint64_t lsn, struct od_uuid *layer)
{
    bool found = false;
    if (!writer)
        return false;
    pthread_mutex_lock(&writer->lock);
    for (size_t i = writer->lineage.count; i-- > 0 && !found;) {
        const struct od_journal *journal = writer->lineage.entries[i].journal;
        if (journal && journal->header.first_lsn < lsn) {
            *layer = journal->header.layer;
            found = true;
        }
    }
    pthread_mutex_unlock(&writer->lock);
    return found;
}

static od_code branch_of(struct od_store *store, const char *name, struct od_meta_branch *branch, struct od_error *err)
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

static bool parse_position(const char *text, uint64_t *epoch, uint64_t *lsn)
{
    char *end;
    size_t digits = strspn(text, "0123456789");
    if (digits == 0 || digits > 20)
        return false;
    *epoch = 0;
    *lsn = strtoull(text, &end, 10);
    if (*end == '.' && strspn(end + 1, "0123456789") == strlen(end + 1) && end[1]) {
        *epoch = *lsn;
        *lsn = strtoull(end + 1, &end, 10);
    }
    return *end == '\0';
}

// YYYY-MM-DD[( |T)HH:MM[:SS[.ffffff]]][Z|+HH[:MM]|-HH[:MM]]
static bool parse_time(const char *text, uint64_t *us)
{
    struct tm parts = {0};
    int used = 0, hours = 0, minutes = 0;
    uint64_t fraction = 0;
    if (sscanf(text, "%4d-%2d-%2d%n", &parts.tm_year, &parts.tm_mon, &parts.tm_mday, &used) != 3)
        return false;
    text += used;
    if (*text == ' ' || *text == 'T') {
        used = 0;
        if (sscanf(text + 1, "%2d:%2d%n", &parts.tm_hour, &parts.tm_min, &used) != 2)
            return false;
        text += 1 + used;
        if (*text == ':') {
            used = 0;
            if (sscanf(text + 1, "%2d%n", &parts.tm_sec, &used) != 1)
                return false;
            text += 1 + used;
        }
        if (*text == '.') {
            uint64_t unit = 100000;
            for (text++; *text >= '0' && *text <= '9'; text++, unit /= 10)
                fraction += unit * (uint64_t)(*text - '0');
        }
    }
    int sign = *text == '+' ? 1 : *text == '-' ? -1 : 0;
    if (*text == 'Z' || *text == 'z') {
        text++;
    } else if (sign) {
        used = 0;
        if (sscanf(text + 1, "%2d%n", &hours, &used) != 1)
            return false;
        text += 1 + used;
        used = 0;
        if (*text == ':' && sscanf(text + 1, "%2d%n", &minutes, &used) == 1)
            text += 1 + used;
    }
    if (*text || parts.tm_mon < 1 || parts.tm_mon > 12 || parts.tm_mday < 1 || parts.tm_mday > 31 ||
        parts.tm_hour > 23 || parts.tm_min > 59 || parts.tm_sec > 60)
        return false;
    parts.tm_year -= 1900;
    parts.tm_mon--;
    int64_t seconds = timegm(&parts) - sign * (hours * 3600 + minutes * 60);
    if (seconds < 0)
        return false;
    *us = (uint64_t)seconds * 1000000 + fraction;
    return true;
}

static void name_nearest(const struct od_meta_snapshot *rows, size_t count, char *out, size_t bytes)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = count > 5 ? count - 5 : 0; i < count && at < bytes; i++)
        at += (size_t)snprintf(out + at, bytes - at, "%s'%.80s'", i ? ", " : "", rows[i].name);
}

static od_code resolve_lsn(struct od_store *store, const struct od_meta_branch *branch, uint64_t epoch, uint64_t lsn,
                           struct od_volume *writer, struct od_position *position, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_layer layer;
    *position = (struct od_position){branch->branch, epoch, lsn};
    OD_TRY(containing_layer(store, branch, lsn, &layer, err));
    if (!od_uuid_is_zero(&layer.layer) || lsn == branch->start_lsn) {
        position->epoch = epoch ? epoch : layer.epoch;
    } else if (writer && lsn <= od_volume_barrier_lsn(writer) && (!epoch || epoch == od_volume_epoch(writer))) {
        OD_TRY(od_volume_wait_durable(writer, lsn, err));
        position->epoch = epoch ? epoch : od_volume_epoch(writer);
    } else {
        OD_TRY(od_fail(err, OD_NOT_FOUND, "the database has no position %llu (it ends at %llu)",
                       (unsigned long long)lsn,
                       (unsigned long long)(writer ? od_volume_barrier_lsn(writer) : branch->tip_lsn)));
    }
out:
    return rc;
}

// The last barrier at or before the time: in the newest layer, or journal of the writer, that begins before it.
static od_code resolve_time(struct od_store *store, const struct od_meta_branch *branch, uint64_t time_us,
                            struct od_volume *writer, struct od_position *position, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_layer *rows = NULL;
    struct od_journal *layer = NULL;
    struct od_journal_end end;
    size_t count = 0;
    if (time_us > store->options.platform->ops->wall_us(store->options.platform))
        return od_fail(err, OD_INVALID, "the timestamp lies in the future");
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
    if (count == 0)
        OD_TRY(od_fail(err, OD_NOT_FOUND, "the database has no position as old as that"));
    if (writer && count == all && rows[count - 1].last_time_us <= time_us &&
        rows[count - 1].end_lsn < od_volume_durable_lsn(writer))
        OD_TRY(od_fail(err, OD_BUSY, "the timestamp lies in a journal that a running statement keeps open; try again"));
    OD_TRY(od_layer_open(store->options.objects, &rows[count - 1].layer, &layer, err));
    OD_TRY(od_journal_find_time(layer, rows[count - 1].end_lsn, time_us, &end, err));
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
    OD_TRY(branch_of(store, name, &branch, err));
    OD_TRY(meta_of(store)->ops->snapshot_list(meta_of(store), &branch.branch, &rows, &count, err));
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].name, selector) == 0) {
            *position = rows[i].position;
            goto out;
        }
    if (parse_position(selector, &epoch, &lsn)) {
        OD_TRY(resolve_lsn(store, &branch, epoch, lsn, writer, position, err));
    } else if (parse_time(selector, &time_us)) {
        OD_TRY(resolve_time(store, &branch, time_us, writer, position, err));
    } else {
        name_nearest(rows, count, nearest, sizeof nearest);
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s has no snapshot '%.200s'%s%s", name, selector,
                       count ? "; the newest are " : "; it has none", nearest));
    }
out:
    od_free(rows);
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

od_code od_store_snapshot_create(struct od_store *store, const char *database, const char *name,
                                 struct od_volume *writer, struct od_meta_snapshot *snapshot, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_platform *platform = store->options.platform;
    struct od_meta_branch branch;
    struct od_meta_layer layer;
    *snapshot = (struct od_meta_snapshot){.automatic = name == NULL};
    if (name)
        OD_TRY(od_store_check_name(name, err));
    OD_TRY(branch_of(store, database, &branch, err));
    OD_TRY(newest(writer, &branch, &snapshot->position, &snapshot->time_us, err));
    if (writer) { // with a statement in between two barriers the journal stays open: then the position is in a journal
        OD_TRY(od_volume_roll(writer, err));
        OD_TRY(od_volume_publish(writer, err));
    }
    OD_TRY(containing_layer(store, &branch, snapshot->position.lsn, &layer, err));
    snapshot->layer = layer.layer;
    if (od_uuid_is_zero(&layer.layer))
        (void)containing_journal(writer, snapshot->position.lsn, &snapshot->layer);
    platform->ops->random(platform, snapshot->snapshot.bytes, sizeof snapshot->snapshot.bytes);
    od_uuid_mark_random(&snapshot->snapshot);
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
    od_code rc = branch_of(store, database, &branch, err);
    return rc == OD_OK ? meta_of(store)->ops->snapshot_list(meta_of(store), &branch.branch, rows, count, err) : rc;
}

od_code od_store_snapshot_drop(struct od_store *store, const char *database, const char *name, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_branch branch;
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0, found = SIZE_MAX;
    char key[OD_DESCRIPTION_KEY_BYTES];
    OD_TRY(branch_of(store, database, &branch, err));
    OD_TRY(meta_of(store)->ops->snapshot_list(meta_of(store), &branch.branch, &rows, &count, err));
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].name, name) == 0)
            found = i;
    if (found == SIZE_MAX)
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s has no snapshot '%.200s'", database, name));
    od_snapshot_key(&rows[found].snapshot, key);
    OD_TRY(meta_of(store)->ops->snapshot_drop(meta_of(store), &branch.branch, name, err));
    OD_TRY(od_objstore_remove(store->options.objects, key, err));
out:
    od_free(rows);
    return rc;
}

// ---- clones

// A branch that begins at a point of another. OD_BUSY: the point is in a journal that cannot be closed now.
static od_code branch_at(struct od_store *store, const struct od_meta_branch *from, const struct od_position *position,
                         struct od_volume *writer, struct od_meta_branch *branch, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_platform *platform = store->options.platform;
    struct od_meta_layer layer;
    if (writer) {
        OD_TRY(od_volume_roll(writer, err));
        OD_TRY(od_volume_publish(writer, err));
    }
    OD_TRY(containing_layer(store, from, position->lsn, &layer, err));
    if (od_uuid_is_zero(&layer.layer) && position->lsn != from->start_lsn)
        OD_TRY(od_fail(err, OD_BUSY, "position %llu is in a journal that a running statement keeps open; try again",
                       (unsigned long long)position->lsn));
    *branch = (struct od_meta_branch){
        .parent_branch = from->branch,
        .parent_layer = layer.layer,
        .start_lsn = position->lsn,
        .epoch_start_lsn = position->lsn,
        .tip_lsn = position->lsn,
        .tip_time_us = platform->ops->wall_us(platform),
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
    OD_TRY(branch_of(store, database, &from, err));
    if (selector)
        OD_TRY(od_store_resolve(store, database, selector, writer, &position, err));
    else
        OD_TRY(newest(writer, &from, &position, &time_us, err));
    if (!od_uuid_equal(&position.branch, &from.branch)) {
        writer = NULL;
        OD_TRY(meta_of(store)->ops->branch_get(meta_of(store), &position.branch, &from, err));
    }
    OD_TRY(branch_at(store, &from, &position, writer, &branch, err));
    OD_TRY(od_store_create_branch(store, new_name, &branch, err));
out:
    return rc;
}
