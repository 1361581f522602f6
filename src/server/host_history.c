// host_history.c - points in the history of a host's databases: snapshots, clones, restores, exports; and the check of
// everything. All of it is in src/storage; here it meets databases that are open.
#include "base/alloc.h"
#include "base/log.h"
#include "os/platform.h"
#include "server/host_internal.h"
#include "server/snapshot_policy.h"
#include "storage/fsck.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BUCKET_HELPERS 16u

// Is it there, but not made yet? ("main")
static bool is_absent(struct od_host *host, const char *name)
{
    pthread_mutex_lock(&host->lock);
    const struct od_database *database = od_host_find(host, name);
    bool absent = database && database->state == OD_DATABASE_ABSENT;
    pthread_mutex_unlock(&host->lock);
    return absent;
}

// OD_NOT_FOUND names what there is.
static od_code check_known(struct od_host *host, const char *name, struct od_error *err)
{
    pthread_mutex_lock(&host->lock);
    od_code rc = od_host_find(host, name) ? OD_OK : od_host_fail_unknown(host, name, err);
    pthread_mutex_unlock(&host->lock);
    return rc;
}

// ---- snapshots

// Not what automatic ones are called, which go by themselves.
static void name_by_time(char out[OD_META_NAME_BYTES])
{
    uint64_t us = od_platform_real()->ops->wall_us(od_platform_real());
    time_t seconds = (time_t)(us / 1000000);
    struct tm parts;
    char text[24];
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y%m%dT%H%M%S", &parts);
    snprintf(out, OD_META_NAME_BYTES, "snapshot-%s.%06uZ", text, (unsigned)(us % 1000000));
}

// With what DuckDB has left behind its last commit ended, so that the journal can be closed; once more, since something
// may have come in between.
static od_code take_snapshot(struct od_host *host, struct od_database *database, const char *snapshot_name,
                             struct od_meta_snapshot *snapshot, struct od_error *err)
{
    struct od_store *store = host->place.store;
    od_code rc = od_volume_settle(database->volume, err);
    if (rc == OD_OK)
        rc = od_store_snapshot_create(store, database->name, snapshot_name, database->volume, snapshot, err);
    if (rc != OD_NOT_FOUND && rc != OD_BUSY)
        return rc;
    rc = od_volume_settle(database->volume, err);
    if (rc == OD_OK)
        rc = od_store_snapshot_create(store, database->name, snapshot_name, database->volume, snapshot, err);
    if (rc == OD_NOT_FOUND)
        rc =
            od_fail(err, OD_BUSY, "a running statement keeps \"%s\" from being snapshotted; try again", database->name);
    return rc;
}

od_code od_host_snapshot_create(struct od_host *host, const char *name, const char *snapshot_name,
                                struct od_meta_snapshot *snapshot, struct od_error *err)
{
    struct od_database *database = NULL;
    char made[OD_META_NAME_BYTES];
    od_code rc = od_database_acquire(host, name, NULL, &database, err);
    if (rc != OD_OK)
        return rc;
    if (!snapshot_name) {
        name_by_time(made);
        snapshot_name = made;
    }
    rc = take_snapshot(host, database, snapshot_name, snapshot, err);
    od_database_release(database);
    return rc;
}

od_code od_host_snapshot_list(struct od_host *host, const char *name, struct od_meta_snapshot **rows, size_t *count,
                              struct od_error *err)
{
    *rows = NULL;
    *count = 0;
    od_code rc = check_known(host, name, err);
    if (rc != OD_OK || is_absent(host, name))
        return rc;
    return od_store_snapshot_list(host->place.store, name, rows, count, err);
}

od_code od_host_snapshot_drop(struct od_host *host, const char *name, const char *snapshot_name, bool if_exists,
                              bool *dropped, struct od_error *err)
{
    struct od_error why = {0};
    *dropped = false;
    od_code rc = check_known(host, name, err);
    if (rc != OD_OK)
        return rc;
    rc = od_store_snapshot_drop(host->place.store, name, snapshot_name, &why);
    *dropped = rc == OD_OK;
    if (rc == OD_NOT_FOUND && if_exists)
        return OD_OK;
    if (rc != OD_OK && err)
        *err = why;
    return rc;
}

// ---- automatic snapshots

// *names: of the databases that are open now, one after the other.
static od_code open_names(struct od_host *host, char (**names)[OD_DATABASE_NAME_BYTES], size_t *count,
                          struct od_error *err)
{
    od_code rc = OD_OK;
    *count = 0;
    pthread_mutex_lock(&host->lock);
    *names = od_calloc(host->count + 1, sizeof **names);
    if (!*names)
        rc = od_fail(err, OD_NO_MEMORY, "no memory for the names of %zu databases", host->count);
    for (struct od_database *d = host->first; d && rc == OD_OK; d = d->next)
        if (d->state == OD_DATABASE_READY && atomic_load(&d->engine))
            memcpy((*names)[(*count)++], d->name, sizeof d->name);
    pthread_mutex_unlock(&host->lock);
    return rc;
}

static od_code follow_policy(struct od_host *host, struct od_database *database,
                             const struct od_snapshot_policy *policy, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_store *store = host->place.store;
    struct od_meta_database row;
    struct od_meta_snapshot *rows = NULL, made;
    bool *drop = NULL, create = false;
    size_t count = 0;
    uint64_t now_us;
    struct od_metastore *metadata = host->place.metadata;
    OD_TRY(metadata->ops->now(metadata, &now_us, err));
    OD_TRY(metadata->ops->database_get(metadata, database->name, &row, err));
    OD_TRY(od_store_snapshot_list(store, database->name, &rows, &count, err));
    drop = od_calloc(count + 1, sizeof *drop);
    if (!drop)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for a list of %zu snapshots", count));
    const struct od_position newest = {.branch = row.branch, .lsn = od_volume_barrier_lsn(database->volume)};
    od_snapshot_policy_plan(policy, rows, count, &newest, now_us, &create, drop);
    if (create)
        OD_TRY(take_snapshot(host, database, NULL, &made, err));
    for (size_t i = 0; i < count; i++)
        if (drop[i])
            OD_TRY(od_store_snapshot_drop(store, database->name, rows[i].name, err));
out:
    od_free(rows);
    od_free(drop);
    return rc;
}

void od_host_snapshot_all(struct od_host *host, const struct od_snapshot_policy *policy)
{
    char(*names)[OD_DATABASE_NAME_BYTES] = NULL;
    size_t count = 0;
    struct od_error err = {0};
    if (open_names(host, &names, &count, &err) != OD_OK)
        od_log(OD_LOG_WARN, "server", "automatic snapshots: %s", err.message);
    for (size_t i = 0; i < count; i++) {
        struct od_database *database = NULL;
        od_code rc = od_database_acquire(host, names[i], NULL, &database, &err);
        if (rc == OD_OK)
            rc = follow_policy(host, database, policy, &err);
        if (rc != OD_OK)
            od_log(OD_LOG_WARN, "server", "automatic snapshots of \"%s\": %s", names[i], err.message);
        od_database_release(database);
    }
    od_free(names);
}

// ---- a point of a database

static bool is_snapshot(struct od_host *host, const char *name, const char *selector)
{
    struct od_meta_snapshot *rows = NULL;
    size_t count = 0;
    bool found = false;
    if (od_store_snapshot_list(host->place.store, name, &rows, &count, NULL) != OD_OK)
        return false;
    for (size_t i = 0; i < count && !found; i++)
        found = strcmp(rows[i].name, selector) == 0;
    od_free(rows);
    return found;
}

// Opens the database to look into its past. When its newest state cannot be opened, its snapshots can be read all the same:
// *database is NULL then. Not so a time: what is nearest to it may be in what cannot be read.
static od_code acquire(struct od_host *host, const char *name, const char *selector, struct od_database **database,
                       struct od_error *err)
{
    struct od_error why = {0};
    od_code rc = od_database_acquire(host, name, NULL, database, &why);
    if (rc == OD_OK)
        return OD_OK;
    *database = NULL;
    if (rc != OD_NOT_FOUND && rc != OD_BUSY && rc != OD_UNAVAILABLE && selector && is_snapshot(host, name, selector)) {
        od_log(OD_LOG_WARN, "server", "\"%s\" cannot be opened, but '%s' may be read: %s", name, selector, why.message);
        return OD_OK;
    }
    if (err)
        *err = why;
    return rc;
}

// ---- clones

struct clone {
    const char *database, *selector;
};

static od_code make_clone(struct od_host *host, const char *new_name, const void *context, struct od_error *err)
{
    const struct clone *clone = context;
    struct od_database *database = NULL;
    od_code rc = acquire(host, clone->database, clone->selector, &database, err);
    if (rc != OD_OK)
        return rc;
    rc = database ? od_volume_settle(database->volume, err) : OD_OK;
    if (rc == OD_OK)
        rc = od_store_clone(host->place.store, clone->database, clone->selector, database ? database->volume : NULL,
                            new_name, err);
    od_database_release(database);
    return rc;
}

od_code od_host_clone(struct od_host *host, const char *database, const char *selector, const char *new_name,
                      struct od_error *err)
{
    const struct clone clone = {database, selector};
    return od_host_make(host, new_name, false, make_clone, &clone, NULL, err);
}

// ---- restores

static od_code restore(struct od_host *host, const char *name, const char *selector, struct od_meta_snapshot *before,
                       struct od_error *err)
{
    // Opening it recovers what a crash left in journals, and closing publishes that.
    struct od_volume *volume = NULL;
    od_code rc = od_volume_open(host->place.store, name, host->options.take_over, &volume, err);
    if (rc != OD_OK)
        return rc;
    od_volume_close(volume);
    return od_store_restore(host->place.store, name, selector, before, err);
}

od_code od_host_restore(struct od_host *host, const char *name, const char *selector, struct od_meta_snapshot *before,
                        struct od_error *err)
{
    struct od_database *database = NULL;
    od_code rc = od_host_claim(host, name, OD_DATABASE_RESTORING, &database, err);
    if (rc != OD_OK)
        return rc;
    od_views_close(host, database, UINT64_MAX);
    od_database_close(database);
    rc = restore(host, name, selector, before, err);
    pthread_mutex_lock(&host->lock);
    database->state = OD_DATABASE_READY;
    pthread_mutex_unlock(&host->lock);
    return rc;
}

// ---- exports

// The newest state that is durable, as a selector.
static od_code select_newest(struct od_volume *volume, char out[48], struct od_error *err)
{
    uint64_t lsn = od_volume_barrier_lsn(volume);
    snprintf(out, 48, "%" PRIu64, lsn);
    return od_volume_wait_durable(volume, lsn, err);
}

od_code od_host_open_at(struct od_host *host, const char *name, const char *selector, struct od_database **database,
                        struct od_volume **volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_database *found = NULL;
    struct od_position position;
    char newest[48];
    OD_TRY(acquire(host, name, selector, &found, err));
    struct od_volume *writer = found ? found->volume : NULL;
    if (!selector && writer) {
        OD_TRY(select_newest(writer, newest, err));
        selector = newest;
    }
    OD_TRY(od_store_resolve(host->place.store, name, selector, writer, &position, err));
    OD_TRY(od_volume_open_at(host->place.store, name, &position, volume, err));
    *database = found;
    found = NULL;
out:
    od_database_release(found);
    return rc;
}

// ---- the check

od_code od_host_check(struct od_host *host, const char *name, struct od_fsck *fsck, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *metadata = host->place.metadata;
    struct od_meta_database row;
    fsck->platform = od_platform_real();
    fsck->objects = host->place.objects;
    fsck->metadata = metadata;
    fsck->helpers = host->place.remote ? BUCKET_HELPERS : 0;
    fsck->branch = (struct od_uuid){0};
    if (name) {
        OD_TRY(check_known(host, name, err));
        if (is_absent(host, name))
            OD_TRY(od_fail(err, OD_NOT_FOUND, "the database \"%s\" is empty and has no file yet", name));
        OD_TRY(metadata->ops->database_get(metadata, name, &row, err));
        fsck->branch = row.branch;
    }
    OD_TRY(od_fsck_run(fsck, err));
out:
    return rc;
}
