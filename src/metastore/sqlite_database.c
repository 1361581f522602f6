// sqlite_database.c - databases, branches, epochs and leases in SQLite.
#include "metastore/sqlite_internal.h"


#include <string.h>

#define BRANCH_COLUMNS                                                                                                 \
    "branch, parent_branch, parent_layer, start_lsn, epoch, epoch_start_lsn, owner, lease_until_us, tip_layer, "       \
    "tip_lsn, tip_time_us, dropped_us, holder, held_since, policy"

static struct sqlite_store *of(struct od_metastore *store)
{
    return (struct sqlite_store *)store;
}

static void branch_take(sqlite3_stmt *statement, void *out)
{
    struct od_meta_branch *row = out;
    *row = (struct od_meta_branch){0};
    od_sqlite_uuid(statement, 0, &row->branch);
    od_sqlite_uuid(statement, 1, &row->parent_branch);
    od_sqlite_uuid(statement, 2, &row->parent_layer);
    row->start_lsn = od_sqlite_number(statement, 3);
    row->epoch = od_sqlite_number(statement, 4);
    row->epoch_start_lsn = od_sqlite_number(statement, 5);
    od_sqlite_text(statement, 6, row->owner, sizeof row->owner);
    row->lease_until_us = od_sqlite_number(statement, 7);
    od_sqlite_uuid(statement, 8, &row->tip_layer);
    row->tip_lsn = od_sqlite_number(statement, 9);
    row->tip_time_us = od_sqlite_number(statement, 10);
    row->dropped_us = od_sqlite_number(statement, 11);
    od_sqlite_uuid(statement, 12, &row->holder);
    row->held_since = od_sqlite_number(statement, 13);
    row->policy = od_sqlite_number(statement, 14);
}

static od_code branch_find(struct sqlite_store *store, const struct od_uuid *branch, struct od_meta_branch *row,
                           bool *found, struct od_error *err)
{
    sqlite3_stmt *statement;
    od_code rc =
        od_sqlite_start(store, &statement, err, "SELECT " BRANCH_COLUMNS " FROM branch WHERE branch=?", "u", branch);
    if (rc == OD_OK)
        rc = od_sqlite_next(store, statement, found, err);
    if (rc == OD_OK && *found) {
        branch_take(statement, row);
        od_sqlite_end(statement);
    }
    return rc;
}

od_code od_sqlite_branch_get(struct sqlite_store *store, const struct od_uuid *branch, struct od_meta_branch *row,
                             struct od_error *err)
{
    bool found = false;
    od_code rc = branch_find(store, branch, row, &found, err);
    if (rc != OD_OK || found)
        return rc;
    char text[OD_UUID_TEXT_BYTES];
    od_uuid_format(branch, text);
    return od_fail(err, OD_NOT_FOUND, "there is no branch %s", text);
}

od_code od_sqlite_branch_insert(struct sqlite_store *store, const struct od_meta_branch *row, struct od_error *err)
{
    return od_sqlite_run(store, NULL, err, "INSERT INTO branch(" BRANCH_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
                         "uuuiiitiuiiiuii", &row->branch, &row->parent_branch, &row->parent_layer, row->start_lsn,
                         row->epoch, row->epoch_start_lsn, row->owner, row->lease_until_us, &row->tip_layer,
                         row->tip_lsn, row->tip_time_us, row->dropped_us, &row->holder, row->held_since,
                         row->policy);
}

// ---- databases

static void database_take(sqlite3_stmt *statement, void *out)
{
    struct od_meta_database *row = out;
    *row = (struct od_meta_database){0};
    od_sqlite_text(statement, 0, row->name, sizeof row->name);
    od_sqlite_uuid(statement, 1, &row->branch);
    row->created_us = od_sqlite_number(statement, 2);
}

static od_code database_find(struct sqlite_store *store, const char *name, struct od_meta_database *row, bool *found,
                             struct od_error *err)
{
    sqlite3_stmt *statement;
    od_code rc = od_sqlite_start(store, &statement, err, "SELECT name, branch, created_us FROM database WHERE name=?",
                                 "t", name);
    if (rc == OD_OK)
        rc = od_sqlite_next(store, statement, found, err);
    if (rc == OD_OK && *found) {
        database_take(statement, row);
        od_sqlite_end(statement);
    }
    return rc;
}

static od_code database_required(struct sqlite_store *store, const char *name, struct od_meta_database *row,
                                 struct od_error *err)
{
    bool found = false;
    od_code rc = database_find(store, name, row, &found, err);
    return rc != OD_OK || found ? rc : od_fail(err, OD_NOT_FOUND, "there is no database \"%s\"", name);
}

// A branch that is new; when it is there already and the same, *repeated.
static od_code branch_add(struct sqlite_store *store, const struct od_meta_branch *branch, bool *repeated,
                          struct od_error *err)
{
    struct od_meta_branch present;
    od_code rc = branch_find(store, &branch->branch, &present, repeated, err);
    if (rc != OD_OK)
        return rc;
    if (*repeated) {
        char text[OD_UUID_TEXT_BYTES];
        od_uuid_format(&branch->branch, text);
        return od_meta_branch_same(&present, branch) ? OD_OK : od_fail(err, OD_EXISTS, "branch %s is another", text);
    }
    rc = od_sqlite_layer_required(store, &branch->parent_layer, err);
    return rc == OD_OK ? od_sqlite_branch_insert(store, branch, err) : rc;
}

od_code od_sqlite_database_create(struct od_metastore *opaque, const char *name, const struct od_meta_branch *branch,
                                  struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    struct od_meta_database present;
    bool found, repeated;
    od_code rc = od_meta_name_check(name, err);
    if (rc != OD_OK)
        return rc;
    rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(database_find(store, name, &present, &found, err));
    if (found && !od_uuid_equal(&present.branch, &branch->branch))
        OD_TRY(od_fail(err, OD_EXISTS, "there is a database \"%s\" already", name));
    OD_TRY(branch_add(store, branch, &repeated, err));
    if (repeated != found)
        OD_TRY(od_fail(err, OD_EXISTS, "the branch of the new database \"%s\" belongs to another", name));
    if (!found)
        OD_TRY(od_sqlite_run(store, NULL, err, "INSERT INTO database(name, branch, created_us) VALUES(?,?,?)", "tui",
                             name, &branch->branch, od_sqlite_now()));
out:
    return od_sqlite_finish(store, rc, err);
}

od_code od_sqlite_database_get(struct od_metastore *opaque, const char *name, struct od_meta_database *database,
                               struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    pthread_mutex_lock(&store->lock);
    od_code rc = database_required(store, name, database, err);
    pthread_mutex_unlock(&store->lock);
    return rc;
}

od_code od_sqlite_database_list(struct od_metastore *opaque, struct od_meta_database **rows, size_t *count,
                                struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    sqlite3_stmt *statement = NULL;
    void *all = NULL;
    pthread_mutex_lock(&store->lock);
    od_code rc =
        od_sqlite_start(store, &statement, err, "SELECT name, branch, created_us FROM database ORDER BY name", "");
    rc = od_sqlite_collect(store, rc, statement, database_take, sizeof **rows, &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

od_code od_sqlite_database_drop(struct od_metastore *opaque, const char *name, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    struct od_meta_database database;
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(database_required(store, name, &database, err));
    OD_TRY(od_sqlite_run(store, NULL, err, "DELETE FROM database WHERE name=?", "t", name));
    OD_TRY(od_sqlite_run(store, NULL, err, "UPDATE branch SET dropped_us=? WHERE branch=?", "iu", od_sqlite_now(),
                         &database.branch));
out:
    return od_sqlite_finish(store, rc, err);
}

od_code od_sqlite_database_point(struct od_metastore *opaque, const char *name, const struct od_uuid *expected_branch,
                                 const struct od_meta_branch *branch, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    struct od_meta_database database;
    bool repeated;
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(database_required(store, name, &database, err));
    bool done = od_uuid_equal(&database.branch, &branch->branch);
    if (!done && !od_uuid_equal(&database.branch, expected_branch))
        OD_TRY(od_fail(err, OD_STALE, "database \"%s\" has been pointed to another branch meanwhile", name));
    OD_TRY(branch_add(store, branch, &repeated, err));
    if (repeated != done)
        OD_TRY(od_fail(err, OD_EXISTS, "the new branch of database \"%s\" is there already", name));
    if (!done) {
        OD_TRY(
            od_sqlite_run(store, NULL, err, "UPDATE database SET branch=? WHERE name=?", "ut", &branch->branch, name));
        OD_TRY(od_sqlite_run(store, NULL, err, "UPDATE branch SET dropped_us=? WHERE branch=?", "iu", od_sqlite_now(),
                             expected_branch));
    }
out:
    return od_sqlite_finish(store, rc, err);
}

// ---- branches

od_code od_sqlite_branch_read(struct od_metastore *opaque, const struct od_uuid *branch, struct od_meta_branch *row,
                              struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    pthread_mutex_lock(&store->lock);
    od_code rc = od_sqlite_branch_get(store, branch, row, err);
    pthread_mutex_unlock(&store->lock);
    return rc;
}

od_code od_sqlite_branch_list(struct od_metastore *opaque, struct od_meta_branch **rows, size_t *count,
                              struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    sqlite3_stmt *statement = NULL;
    void *all = NULL;
    pthread_mutex_lock(&store->lock);
    od_code rc = od_sqlite_start(store, &statement, err, "SELECT " BRANCH_COLUMNS " FROM branch ORDER BY branch", "");
    rc = od_sqlite_collect(store, rc, statement, branch_take, sizeof **rows, &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

// ---- epochs and leases

static od_code branch_hold(struct sqlite_store *store, const struct od_meta_branch *row, struct od_error *err)
{
    return od_sqlite_run(store, NULL, err,
                         "UPDATE branch SET epoch=?, epoch_start_lsn=?, lease_until_us=?, owner=?, holder=?, "
                         "held_since=? WHERE branch=?",
                         "iiituiu", row->epoch, row->epoch_start_lsn, row->lease_until_us, row->owner, &row->holder,
                         row->held_since, &row->branch);
}

od_code od_sqlite_epoch_acquire(struct od_metastore *opaque, const struct od_uuid *branch, const char *owner,
                                const struct od_uuid *holder, uint64_t lease_us, bool force,
                                struct od_meta_branch *row, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    struct od_meta_branch now_row;
    od_code rc = od_meta_name_check(owner, err);
    if (rc != OD_OK)
        return rc;
    rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(od_sqlite_branch_get(store, branch, &now_row, err));
    OD_TRY(od_meta_branch_acquire(&now_row, owner, holder, od_sqlite_now(), lease_us, force, err));
    OD_TRY(branch_hold(store, &now_row, err));
out:
    rc = od_sqlite_finish(store, rc, err);
    if (rc == OD_OK)
        *row = now_row;
    return rc;
}

// lease_us 0: given back.
static od_code lease_set(struct sqlite_store *store, const struct od_uuid *branch, uint64_t epoch, uint64_t lease_us,
                         bool published, struct od_error *err)
{
    struct od_meta_branch row;
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(od_sqlite_branch_get(store, branch, &row, err));
    if (row.epoch != epoch)
        OD_TRY(od_fail(err, OD_FENCED, "%s has taken over the database with epoch %llu; this writer has %llu",
                       row.owner, (unsigned long long)row.epoch, (unsigned long long)epoch));
    if (lease_us)
        row.lease_until_us = od_sqlite_now() + lease_us;
    else
        od_meta_branch_release(&row, published);
    OD_TRY(branch_hold(store, &row, err));
out:
    return od_sqlite_finish(store, rc, err);
}

od_code od_sqlite_lease_renew(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                              uint64_t lease_us, struct od_error *err)
{
    return lease_set(of(store), branch, epoch, lease_us ? lease_us : 1, false, err);
}

od_code od_sqlite_lease_release(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                                bool published, struct od_error *err)
{
    return lease_set(of(store), branch, epoch, 0, published, err);
}

// ---- which cluster this is

od_code od_sqlite_identify(struct od_metastore *opaque, struct od_uuid *cluster, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    sqlite3_stmt *statement;
    bool found = false;
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(od_sqlite_run(store, NULL, err, "INSERT INTO cluster(one, cluster) VALUES(1, ?) ON CONFLICT DO NOTHING", "u",
                         cluster));
    OD_TRY(od_sqlite_start(store, &statement, err, "SELECT cluster FROM cluster", ""));
    OD_TRY(od_sqlite_next(store, statement, &found, err));
    if (found) {
        od_sqlite_uuid(statement, 0, cluster);
        od_sqlite_end(statement);
    }
out:
    return od_sqlite_finish(store, rc, err);
}
