// sqlite_internal.h - private to the SQLite backend: one connection under a mutex, statements prepared once, transactions.
#ifndef OD_METASTORE_SQLITE_INTERNAL_H
#define OD_METASTORE_SQLITE_INTERNAL_H

#include "metastore/metastore.h"

#include <pthread.h>
#include <sqlite3.h>

#define OD_SQLITE_STATEMENTS_MAX 64u

struct sqlite_store {
    struct od_metastore base;
    sqlite3 *connection;
    pthread_mutex_t lock; // every call holds it from its first statement to its last
    char *path;
    struct {
        const char *text; // a literal: its address is its name
        sqlite3_stmt *statement;
    } prepared[OD_SQLITE_STATEMENTS_MAX];
    unsigned prepared_count;
};

// SQLite's last failure as an error that names the file.
od_code od_sqlite_fail(struct sqlite_store *store, int status, const char *what, struct od_error *err);

// A statement with its parameters: 't' const char *, 'i' uint64_t, 'u' const struct od_uuid *. `text` is a literal.
od_code od_sqlite_start(struct sqlite_store *store, sqlite3_stmt **statement, struct od_error *err, const char *text,
                        const char *types, ...);
// The next row: *row false at the end. The statement is reset at the end, on failure, and by od_sqlite_end.
od_code od_sqlite_next(struct sqlite_store *store, sqlite3_stmt *statement, bool *row, struct od_error *err);
void od_sqlite_end(sqlite3_stmt *statement); // NULL is fine
// One that gives no rows; *changed (may be NULL): rows it changed.
od_code od_sqlite_run(struct sqlite_store *store, int *changed, struct od_error *err, const char *text,
                      const char *types, ...);
uint64_t od_sqlite_number(sqlite3_stmt *statement, int column);
void od_sqlite_uuid(sqlite3_stmt *statement, int column, struct od_uuid *uuid);
void od_sqlite_text(sqlite3_stmt *statement, int column, char *out, size_t bytes);

// lock + BEGIN IMMEDIATE; end: COMMIT when rc is OD_OK, else ROLLBACK, + unlock; returns what the call answers.
od_code od_sqlite_begin(struct sqlite_store *store, struct od_error *err);
od_code od_sqlite_finish(struct sqlite_store *store, od_code rc, struct od_error *err);

// All rows of a started statement (rc: what od_sqlite_start gave) as an array, released with od_free; take fills one of
// row_bytes. The caller holds the lock; this ends the statement and unlocks. On failure *rows and *count are untouched.
od_code od_sqlite_collect(struct sqlite_store *store, od_code rc, sqlite3_stmt *statement,
                          void (*take)(sqlite3_stmt *statement, void *row), size_t row_bytes, void **rows,
                          size_t *count, struct od_error *err);

uint64_t od_sqlite_now(void);

// ---- rows, inside a transaction or under the lock

od_code od_sqlite_branch_get(struct sqlite_store *store, const struct od_uuid *branch, struct od_meta_branch *row,
                             struct od_error *err);
od_code od_sqlite_branch_insert(struct sqlite_store *store, const struct od_meta_branch *row, struct od_error *err);
od_code od_sqlite_layer_insert(struct sqlite_store *store, const struct od_meta_layer *row, struct od_error *err);
od_code od_sqlite_layer_find(struct sqlite_store *store, const struct od_uuid *layer, struct od_meta_layer *row,
                             bool *found, struct od_error *err);
// OD_NOT_FOUND when `layer` is named (not zero) and not there.
od_code od_sqlite_layer_required(struct sqlite_store *store, const struct od_uuid *layer, struct od_error *err);
od_code od_sqlite_snapshot_insert(struct sqlite_store *store, const struct od_meta_snapshot *row, struct od_error *err);

// ---- operations of the table, one file each

od_code od_sqlite_database_create(struct od_metastore *store, const char *name, const struct od_meta_branch *branch,
                                  struct od_error *err);
od_code od_sqlite_database_get(struct od_metastore *store, const char *name, struct od_meta_database *database,
                               struct od_error *err);
od_code od_sqlite_database_list(struct od_metastore *store, struct od_meta_database **rows, size_t *count,
                                struct od_error *err);
od_code od_sqlite_database_drop(struct od_metastore *store, const char *name, struct od_error *err);
od_code od_sqlite_database_point(struct od_metastore *store, const char *name, const struct od_uuid *expected_branch,
                                 const struct od_meta_branch *branch, struct od_error *err);
od_code od_sqlite_branch_read(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_branch *row,
                              struct od_error *err);
od_code od_sqlite_branch_list(struct od_metastore *store, struct od_meta_branch **rows, size_t *count,
                              struct od_error *err);
od_code od_sqlite_epoch_acquire(struct od_metastore *store, const struct od_uuid *branch, const char *owner,
                                const struct od_uuid *holder, uint64_t lease_us, bool force,
                                struct od_meta_branch *row, struct od_error *err);
od_code od_sqlite_lease_renew(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                              uint64_t lease_us, struct od_error *err);
od_code od_sqlite_lease_release(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                                bool published, struct od_error *err);
od_code od_sqlite_layer_publish(struct od_metastore *store, const struct od_meta_layer *layer,
                                const struct od_uuid *expected_tip, struct od_error *err);
od_code od_sqlite_layer_get(struct od_metastore *store, const struct od_uuid *layer, struct od_meta_layer *row,
                            struct od_error *err);
od_code od_sqlite_layer_list(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_layer **rows,
                             size_t *count, struct od_error *err);
od_code od_sqlite_layer_forget(struct od_metastore *store, const struct od_uuid *layers, size_t count,
                               struct od_error *err);
od_code od_sqlite_snapshot_create(struct od_metastore *store, const struct od_meta_snapshot *snapshot,
                                  struct od_error *err);
od_code od_sqlite_snapshot_list(struct od_metastore *store, const struct od_uuid *branch,
                                struct od_meta_snapshot **rows, size_t *count, struct od_error *err);
od_code od_sqlite_snapshot_drop(struct od_metastore *store, const struct od_uuid *branch, const char *name,
                                struct od_error *err);
od_code od_sqlite_identify(struct od_metastore *store, struct od_uuid *cluster, struct od_error *err);
od_code od_sqlite_restore(struct od_metastore *store, const struct od_meta_database *databases, size_t database_count,
                          const struct od_meta_branch *branches, size_t branch_count,
                          const struct od_meta_layer *layers, size_t layer_count,
                          const struct od_meta_snapshot *snapshots, size_t snapshot_count, struct od_error *err);

#endif
