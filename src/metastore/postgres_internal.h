// postgres_internal.h - private to the PostgreSQL backend: connections, statements with a deadline, rows.
#ifndef OD_METASTORE_POSTGRES_INTERNAL_H
#define OD_METASTORE_POSTGRES_INTERNAL_H

#include "base/buf.h"
#include "metastore/metastore.h"

#include <libpq-fe.h>
#include <pthread.h>

#define OD_POSTGRES_VERSION 3
#define OD_POSTGRES_CONNECTIONS 8u

// What leads from version i to i + 1.
extern const char *const od_postgres_migrations[OD_POSTGRES_VERSION];

struct postgres_store {
    struct od_metastore base;
    char *address;
    char where[256]; // host and database, for messages
    pthread_mutex_t lock;
    pthread_cond_t returned;
    PGconn *idle[OD_POSTGRES_CONNECTIONS];
    unsigned idle_count, lent;
};

// A new connection to the primary; `where` is filled.
od_code od_postgres_connect(const char *address, char *where, size_t where_bytes, PGconn **connection,
                            struct od_error *err);
// One statement on one connection, in its own transaction, until the deadline. `effect`: a lost answer leaves its outcome
// unknown. The result (PQclear) has rows. Fails with what the server says.
od_code od_postgres_execute(PGconn *connection, const char *where, const char *text, int count,
                            const char *const *values, bool effect, PGresult **result, struct od_error *err);
// The same on a connection of the store; a reading statement is tried again on a fresh connection.
od_code od_postgres_run(struct postgres_store *store, const char *text, int count, const char *const *values,
                        bool effect, PGresult **result, struct od_error *err);
// Runs a function that answers (status, detail, ...) and turns that into an error. *result may be NULL: not wanted.
od_code od_postgres_call(struct postgres_store *store, const char *text, int count, const char *const *values,
                         PGresult **result, struct od_error *err);

// ---- values

#define OD_POSTGRES_NUMBER_BYTES 24u
const char *od_postgres_number(uint64_t number, char out[OD_POSTGRES_NUMBER_BYTES]);
od_code od_postgres_take_number(const PGresult *result, int row, int column, uint64_t *number, struct od_error *err);
od_code od_postgres_take_uuid(const PGresult *result, int row, int column, struct od_uuid *uuid, struct od_error *err);
od_code od_postgres_take_text(const PGresult *result, int row, int column, char *out, size_t bytes,
                              struct od_error *err);

// Rows as PostgreSQL's composite literals "(a,b,...)", for parameters; text is quoted.
od_code od_postgres_branch_literal(struct od_buf *out, const struct od_meta_branch *row, struct od_error *err);
od_code od_postgres_layer_literal(struct od_buf *out, const struct od_meta_layer *row, struct od_error *err);
od_code od_postgres_snapshot_literal(struct od_buf *out, const struct od_meta_snapshot *row, struct od_error *err);
od_code od_postgres_database_literal(struct od_buf *out, const struct od_meta_database *row, struct od_error *err);
// Appends `text` as an element of an array literal: quoted.
od_code od_postgres_quote(struct od_buf *out, const char *text, struct od_error *err);
od_code od_postgres_take_branch(const PGresult *result, int row, int column, struct od_meta_branch *out,
                                struct od_error *err);

extern const struct od_metastore_ops od_postgres_ops;
void od_postgres_close(struct od_metastore *store);

#endif
