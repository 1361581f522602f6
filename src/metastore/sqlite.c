// sqlite.c - metadata in one SQLite file: opening it, running statements, what its failures mean.
//
//   Q1  WAL with synchronous=FULL: a committed call is on disk.
//   Q2  A commit whose own writing failed is OD_OUTCOME_UNKNOWN: its frames may be found after a crash.
//   Q3  Other processes may use the file: writers wait for each other up to BUSY_MS, then OD_UNAVAILABLE.
//   Q4  The file says whose it is (application_id) and of which version (user_version); nothing else is opened, and nothing
//       is written before both were checked.
#include "metastore/sqlite_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/clock.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define BUSY_MS 10000
#define APPLICATION_ID 0x4f444d31 // "ODM1"
#define SCHEMA_VERSION 3

#define HOLDER "holder BLOB NOT NULL DEFAULT x'00000000000000000000000000000000'"
#define HELD_SINCE "held_since INTEGER NOT NULL DEFAULT 0"
#define POLICY "policy INTEGER NOT NULL DEFAULT 0"
#define CLUSTER "CREATE TABLE cluster(one INTEGER PRIMARY KEY, cluster BLOB NOT NULL);"

// From version i + 1 to the next.
static const char *const migrations[SCHEMA_VERSION - 1] = {
    "ALTER TABLE branch ADD COLUMN " HOLDER "; ALTER TABLE branch ADD COLUMN " HELD_SINCE "; PRAGMA user_version=2",
    "ALTER TABLE branch ADD COLUMN " POLICY "; " CLUSTER " PRAGMA user_version=3",
};

static const char schema[] =
    "CREATE TABLE database(name TEXT PRIMARY KEY, branch BLOB NOT NULL UNIQUE, created_us INTEGER NOT NULL) "
    "WITHOUT ROWID;"
    "CREATE TABLE branch(branch BLOB PRIMARY KEY, parent_branch BLOB NOT NULL, parent_layer BLOB NOT NULL,"
    " start_lsn INTEGER NOT NULL, epoch INTEGER NOT NULL, epoch_start_lsn INTEGER NOT NULL, owner TEXT NOT NULL,"
    " lease_until_us INTEGER NOT NULL, tip_layer BLOB NOT NULL, tip_lsn INTEGER NOT NULL,"
    " tip_time_us INTEGER NOT NULL, dropped_us INTEGER NOT NULL, " HOLDER ", " HELD_SINCE ", " POLICY ") WITHOUT ROWID;"
    "CREATE TABLE layer(layer BLOB PRIMARY KEY, branch BLOB NOT NULL, epoch INTEGER NOT NULL, parent BLOB NOT NULL,"
    " first_lsn INTEGER NOT NULL, end_lsn INTEGER NOT NULL, first_time_us INTEGER NOT NULL,"
    " last_time_us INTEGER NOT NULL, bytes INTEGER NOT NULL, kind INTEGER NOT NULL, key TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX layer_of_branch ON layer(branch, first_lsn);"
    "CREATE TABLE snapshot(branch BLOB NOT NULL, name TEXT NOT NULL, snapshot BLOB NOT NULL UNIQUE,"
    " epoch INTEGER NOT NULL, lsn INTEGER NOT NULL, layer BLOB NOT NULL, time_us INTEGER NOT NULL,"
    " created_us INTEGER NOT NULL, automatic INTEGER NOT NULL, PRIMARY KEY(branch, name)) WITHOUT ROWID;"
    "CREATE INDEX snapshot_of_layer ON snapshot(layer);" CLUSTER;

uint64_t od_sqlite_now(void)
{
    return od_clock_wall_us();
}

od_code od_sqlite_fail(struct sqlite_store *store, int status, const char *what, struct od_error *err)
{
    int system = store->connection ? sqlite3_system_errno(store->connection) : 0;
    const char *text = store->connection ? sqlite3_errmsg(store->connection) : sqlite3_errstr(status);
    od_code code = OD_IO;
    switch (status & 0xff) {
    case SQLITE_NOMEM:
        code = OD_NO_MEMORY;
        break;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return od_fail(err, OD_UNAVAILABLE, "cannot %s %s: another process has been writing it for %d s", what,
                       store->path, BUSY_MS / 1000);
    case SQLITE_FULL:
        code = OD_LIMIT;
        break;
    case SQLITE_READONLY:
        code = OD_READ_ONLY;
        break;
    case SQLITE_PERM:
    case SQLITE_AUTH:
        code = OD_FORBIDDEN;
        break;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return od_fail(err, OD_CORRUPT,
                       "cannot %s %s: %s; `openduck rebuild` makes the metadata again from the objects", what,
                       store->path, text);
    case SQLITE_CANTOPEN:
        code = system == ENOENT ? OD_NOT_FOUND : system == EACCES || system == EPERM ? OD_FORBIDDEN : OD_IO;
        break;
    case SQLITE_CONSTRAINT:
        code = OD_EXISTS;
        break;
    default:
        break;
    }
    if (code == OD_IO && system == ENOSPC)
        code = OD_LIMIT;
    return system ? od_fail_os(err, code, system, "cannot %s %s: %s", what, store->path, text)
                  : od_fail(err, code, "cannot %s %s: %s", what, store->path, text);
}

// ---- statements

static od_code prepare(struct sqlite_store *store, const char *text, sqlite3_stmt **statement, struct od_error *err)
{
    for (unsigned i = 0; i < store->prepared_count; i++)
        if (store->prepared[i].text == text) {
            *statement = store->prepared[i].statement;
            return OD_OK;
        }
    od_assert(store->prepared_count < OD_SQLITE_STATEMENTS_MAX);
    int status = sqlite3_prepare_v3(store->connection, text, -1, SQLITE_PREPARE_PERSISTENT, statement, NULL);
    if (status != SQLITE_OK)
        return od_sqlite_fail(store, status, "use", err);
    store->prepared[store->prepared_count].text = text;
    store->prepared[store->prepared_count++].statement = *statement;
    return OD_OK;
}

static od_code start(struct sqlite_store *store, sqlite3_stmt **statement, struct od_error *err, const char *text,
                     const char *types, va_list values)
{
    od_code rc = prepare(store, text, statement, err);
    if (rc != OD_OK) {
        *statement = NULL;
        return rc;
    }
    for (int i = 0; types[i]; i++) {
        int status = SQLITE_OK;
        if (types[i] == 'i') {
            status = sqlite3_bind_int64(*statement, i + 1, (sqlite3_int64)va_arg(values, uint64_t));
        } else if (types[i] == 't') {
            status = sqlite3_bind_text(*statement, i + 1, va_arg(values, const char *), -1, SQLITE_TRANSIENT);
        } else {
            od_assert(types[i] == 'u');
            status = sqlite3_bind_blob(*statement, i + 1, va_arg(values, const struct od_uuid *)->bytes, OD_UUID_BYTES,
                                       SQLITE_TRANSIENT);
        }
        if (status != SQLITE_OK) {
            od_sqlite_end(*statement);
            *statement = NULL;
            return od_sqlite_fail(store, status, "use", err);
        }
    }
    return OD_OK;
}

od_code od_sqlite_start(struct sqlite_store *store, sqlite3_stmt **statement, struct od_error *err, const char *text,
                        const char *types, ...)
{
    va_list values;
    va_start(values, types);
    od_code rc = start(store, statement, err, text, types, values);
    va_end(values);
    return rc;
}

od_code od_sqlite_next(struct sqlite_store *store, sqlite3_stmt *statement, bool *row, struct od_error *err)
{
    int status = sqlite3_step(statement);
    *row = status == SQLITE_ROW;
    if (*row)
        return OD_OK;
    od_code rc = status == SQLITE_DONE ? OD_OK : od_sqlite_fail(store, status, "use", err);
    od_sqlite_end(statement);
    return rc;
}

void od_sqlite_end(sqlite3_stmt *statement)
{
    if (statement) {
        sqlite3_reset(statement);
        sqlite3_clear_bindings(statement);
    }
}

od_code od_sqlite_run(struct sqlite_store *store, int *changed, struct od_error *err, const char *text,
                      const char *types, ...)
{
    sqlite3_stmt *statement;
    bool row = false;
    va_list values;
    va_start(values, types);
    od_code rc = start(store, &statement, err, text, types, values);
    va_end(values);
    if (rc == OD_OK)
        rc = od_sqlite_next(store, statement, &row, err);
    if (row)
        od_sqlite_end(statement);
    if (rc == OD_OK && changed)
        *changed = sqlite3_changes(store->connection);
    return rc;
}

uint64_t od_sqlite_number(sqlite3_stmt *statement, int column)
{
    return (uint64_t)sqlite3_column_int64(statement, column);
}

void od_sqlite_uuid(sqlite3_stmt *statement, int column, struct od_uuid *uuid)
{
    const void *bytes = sqlite3_column_blob(statement, column);
    *uuid = (struct od_uuid){0};
    if (bytes && sqlite3_column_bytes(statement, column) == (int)OD_UUID_BYTES)
        memcpy(uuid->bytes, bytes, OD_UUID_BYTES);
}

void od_sqlite_text(sqlite3_stmt *statement, int column, char *out, size_t bytes)
{
    const unsigned char *text = sqlite3_column_text(statement, column);
    snprintf(out, bytes, "%s", text ? (const char *)text : "");
}

// Grows *rows for one more; NULL: out of memory.
static void *row_add(void **rows, size_t *count, size_t row_bytes)
{
    if ((*count & (*count - 1)) == 0) { // full at 0, 1, 2, 4, 8, ...
        void *grown = od_realloc(*rows, (*count ? 2 * *count : 1) * row_bytes);
        if (!grown)
            return NULL;
        *rows = grown;
    }
    return (char *)*rows + (*count)++ * row_bytes;
}

od_code od_sqlite_collect(struct sqlite_store *store, od_code rc, sqlite3_stmt *statement,
                          void (*take)(sqlite3_stmt *statement, void *row), size_t row_bytes, void **rows,
                          size_t *count, struct od_error *err)
{
    void *all = NULL;
    size_t n = 0;
    bool more = true;
    while (rc == OD_OK) {
        OD_TRY(od_sqlite_next(store, statement, &more, err));
        if (!more)
            break;
        void *row = row_add(&all, &n, row_bytes);
        if (!row)
            OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for rows of the metadata"));
        take(statement, row);
    }
out:
    od_sqlite_end(statement);
    pthread_mutex_unlock(&store->lock);
    if (rc != OD_OK) {
        od_free(all);
        return rc;
    }
    *rows = all;
    *count = n;
    return OD_OK;
}

// ---- transactions

od_code od_sqlite_begin(struct sqlite_store *store, struct od_error *err)
{
    pthread_mutex_lock(&store->lock);
    od_code rc = od_sqlite_run(store, NULL, err, "BEGIN IMMEDIATE", "");
    if (rc != OD_OK)
        pthread_mutex_unlock(&store->lock);
    return rc;
}

od_code od_sqlite_finish(struct sqlite_store *store, od_code rc, struct od_error *err)
{
    if (rc == OD_OK) {
        struct od_error why = {0};
        od_code committed = od_sqlite_run(store, NULL, &why, "COMMIT", "");
        if (committed == OD_IO)
            rc = od_fail(err, OD_OUTCOME_UNKNOWN, "%s", why.message);
        else if (committed != OD_OK)
            rc = od_fail(err, committed, "%s", why.message);
    }
    if (!sqlite3_get_autocommit(store->connection))
        sqlite3_exec(store->connection, "ROLLBACK", NULL, NULL, NULL);
    pthread_mutex_unlock(&store->lock);
    return rc;
}

// ---- opening

static void sqlite_close(struct od_metastore *opaque)
{
    struct sqlite_store *store = (struct sqlite_store *)opaque;
    for (unsigned i = 0; i < store->prepared_count; i++)
        sqlite3_finalize(store->prepared[i].statement);
    if (store->connection) {
        int closed = sqlite3_close(store->connection);
        od_assert(closed == SQLITE_OK);
    }
    pthread_mutex_destroy(&store->lock);
    od_free(store->path);
    od_free(store);
}

static od_code sqlite_now(struct od_metastore *store, uint64_t *us, struct od_error *err)
{
    (void)store;
    (void)err;
    *us = od_sqlite_now();
    return OD_OK;
}

// A number that the file says of itself.
static od_code ask(struct sqlite_store *store, const char *text, uint64_t *number, struct od_error *err)
{
    sqlite3_stmt *statement;
    bool row;
    od_code rc = od_sqlite_start(store, &statement, err, text, "");
    if (rc == OD_OK)
        rc = od_sqlite_next(store, statement, &row, err);
    if (rc != OD_OK)
        return rc;
    *number = row ? od_sqlite_number(statement, 0) : 0;
    od_sqlite_end(statement);
    return OD_OK;
}

static od_code execute(struct sqlite_store *store, const char *text, struct od_error *err)
{
    int status = sqlite3_exec(store->connection, text, NULL, NULL, NULL);
    return status == SQLITE_OK ? OD_OK : od_sqlite_fail(store, status, "set up", err);
}

// *older: the version to migrate from; 0: none.
static od_code check_version(struct sqlite_store *store, bool *empty, uint64_t *older, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t application, version, objects;
    OD_TRY(ask(store, "PRAGMA application_id", &application, err));
    OD_TRY(ask(store, "PRAGMA user_version", &version, err));
    OD_TRY(ask(store, "SELECT count(*) FROM sqlite_schema", &objects, err));
    *empty = application == 0 && version == 0 && objects == 0;
    *older = application == APPLICATION_ID && version >= 1 && version < SCHEMA_VERSION ? version : 0;
    if (*empty)
        return OD_OK;
    if (application != APPLICATION_ID)
        return od_fail(err, OD_UNSUPPORTED, "%s is an SQLite file of another program, not OpenDuck's metadata",
                       store->path);
    if (version != SCHEMA_VERSION && !*older)
        return od_fail(err, OD_UNSUPPORTED,
                       "%s has metadata of version %llu, this program knows version %d: use the OpenDuck that wrote it",
                       store->path, (unsigned long long)version, SCHEMA_VERSION);
out:
    return rc;
}

static od_code make_schema(struct sqlite_store *store, struct od_error *err)
{
    bool empty;
    uint64_t older;
    char mark[96];
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(check_version(store, &empty, &older, err)); // another process may have been quicker
    for (uint64_t version = older; version && version < SCHEMA_VERSION; version++)
        OD_TRY(execute(store, migrations[version - 1], err));
    if (empty) {
        OD_TRY(execute(store, schema, err));
        snprintf(mark, sizeof mark, "PRAGMA application_id=%d; PRAGMA user_version=%d", APPLICATION_ID, SCHEMA_VERSION);
        OD_TRY(execute(store, mark, err));
    }
out:
    return od_sqlite_finish(store, rc, err);
}

static od_code set_up(struct sqlite_store *store, bool create, struct od_error *err)
{
    od_code rc = OD_OK;
    bool empty;
    uint64_t older;
    sqlite3_busy_timeout(store->connection, BUSY_MS);
    OD_TRY(check_version(store, &empty, &older, err));
    if (empty && !create)
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s has no metadata in it", store->path));
    OD_TRY(execute(store, "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA trusted_schema=OFF", err));
    if (empty || older)
        OD_TRY(make_schema(store, err));
out:
    return rc;
}

// SQLite finds a damaged page only when it stumbles over it, and an index that hides rows never. The file is small.
static od_code check_structure(struct sqlite_store *store, struct od_error *err)
{
    sqlite3_stmt *statement;
    bool row;
    od_code rc = od_sqlite_start(store, &statement, err, "PRAGMA integrity_check(1)", "");
    if (rc == OD_OK)
        rc = od_sqlite_next(store, statement, &row, err);
    if (rc != OD_OK)
        return rc;
    const char *found = row ? (const char *)sqlite3_column_text(statement, 0) : NULL;
    if (!found || strcmp(found, "ok") != 0)
        rc = od_fail(err, OD_CORRUPT, "the metadata %s is damaged (%s): it can be made again from the objects",
                     store->path, found ? found : "it cannot be checked");
    od_sqlite_end(statement);
    return rc;
}

od_code od_metastore_sqlite_open(const char *path, bool create, struct od_metastore **out, struct od_error *err)
{
    static const struct od_metastore_ops ops = {
        .kind = "sqlite",
        .close = sqlite_close,
        .now = sqlite_now,
        .database_create = od_sqlite_database_create,
        .database_get = od_sqlite_database_get,
        .database_list = od_sqlite_database_list,
        .database_drop = od_sqlite_database_drop,
        .database_point = od_sqlite_database_point,
        .branch_get = od_sqlite_branch_read,
        .branch_list = od_sqlite_branch_list,
        .epoch_acquire = od_sqlite_epoch_acquire,
        .lease_renew = od_sqlite_lease_renew,
        .lease_release = od_sqlite_lease_release,
        .layer_publish = od_sqlite_layer_publish,
        .layer_get = od_sqlite_layer_get,
        .layer_list = od_sqlite_layer_list,
        .layer_forget = od_sqlite_layer_forget,
        .snapshot_create = od_sqlite_snapshot_create,
        .snapshot_list = od_sqlite_snapshot_list,
        .snapshot_drop = od_sqlite_snapshot_drop,
        .identify = od_sqlite_identify,
    .restore = od_sqlite_restore,
    };
    od_code rc = OD_OK;
    *out = NULL;
    struct sqlite_store *store = od_calloc(1, sizeof *store);
    if (!store)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the metadata %s", path);
    store->base.ops = &ops;
    pthread_mutex_init(&store->lock, NULL);
    store->path = od_strdup(path);
    if (!store->path)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the metadata %s", path));
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | (create ? SQLITE_OPEN_CREATE : 0);
    int status = sqlite3_open_v2(path, &store->connection, flags, NULL);
    if (status != SQLITE_OK)
        OD_TRY(od_sqlite_fail(store, status, "open", err));
    OD_TRY(set_up(store, create, err));
    OD_TRY(check_structure(store, err));
    *out = &store->base;
    return OD_OK;
out:
    sqlite_close(&store->base);
    return rc;
}
