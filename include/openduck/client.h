/* client.h - libopenduck: run SQL on an OpenDuck server from C, results as Arrow.
 *
 *   struct od_client *client;
 *   struct od_query *query;
 *   struct ArrowArrayStream stream;
 *   struct od_error err = {0};
 *   od_client_open(&(struct od_client_options){sizeof(struct od_client_options), .address = "127.0.0.1:7878"},
 *                  &client, &err);
 *   od_client_execute(client, NULL, &(struct od_request){sizeof(struct od_request), .database = "main",
 *                     .sql = "SELECT 42"}, &query, &err);
 *   od_query_stream(query, &stream, &err);     // takes the query
 *   ... stream.get_schema, get_next, release ...
 *   od_client_close(client);
 *
 * Ownership: what a function gives, the caller releases with the matching close. Errors: od_code and od_error
 * (status.h). Threads: a client is shared freely; a session runs one statement at a time; a query is read by one
 * thread, and cancelled by any. Nothing here writes to standard output or aborts.
 *
 * Reliability: results are numbered and acknowledged, a broken connection is resumed within the server's patience
 * (10 s) without repeating or losing a row. A request whose reply was lost is sent again under its request id, so it
 * takes effect once. Where the outcome cannot be known the error is OD_OUTCOME_UNKNOWN.
 */
#ifndef OPENDUCK_CLIENT_H
#define OPENDUCK_CLIENT_H

#include "openduck/status.h"

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct ArrowSchema;
struct ArrowArray;
struct ArrowArrayStream;

struct od_client;
struct od_session;
struct od_query;
struct od_upload_stream;

/* How results come over the wire: worth it where the network is slower than about 200 MB/s. */
enum od_compression { OD_COMPRESSION_NONE, OD_COMPRESSION_LZ4, OD_COMPRESSION_ZSTD };

/* All option structs: set struct_bytes to sizeof; zero means default. Strings are copied. */
struct od_client_options {
    size_t struct_bytes;
    /* "host:port", several separated by commas (tried in order); "https://" for TLS. NULL: OPENDUCK_ENDPOINT, else
     * "127.0.0.1:7878". */
    const char *address;
    const char *token; /* NULL: OPENDUCK_TOKEN, else none */
    uint64_t connect_timeout_ms; /* 0: 5000 */
    uint64_t timeout_ms;         /* default deadline of a statement; 0: none */
    unsigned retries;            /* safe retries of one request; 0: 3 */
    const char *tls_ca_file;     /* NULL: the system's */
    const char *tls_certificate_file;
    const char *tls_key_file;
    enum od_compression compression;
};

OD_API OD_CHECKED od_code od_client_open(const struct od_client_options *options, struct od_client **client,
                                         struct od_error *err);
/* Sessions, queries and uploads of the client must be closed first. */
OD_API void od_client_close(struct od_client *client);
/* One round trip: is the server there, does it accept the token, which version is it? Both texts may be NULL. */
OD_API OD_CHECKED od_code od_client_ping(struct od_client *client, char *version, size_t version_bytes,
                                         struct od_error *err);

struct od_client_traffic {
    uint64_t bytes_sent, bytes_received, round_trips, batches_received, batches_sent, retries, resumes;
};
OD_API void od_client_get_traffic(const struct od_client *client, struct od_client_traffic *traffic);

/* ---- sessions: temporary objects, settings, transactions. Without one, each statement is on its own (autocommit). */

OD_API OD_CHECKED od_code od_session_open(struct od_client *client, const char *database, struct od_session **session,
                                          struct od_error *err); /* no round trip */
/* Rolls back an open transaction. One round trip if the session was used. */
OD_API void od_session_close(struct od_session *session);
OD_API bool od_session_in_transaction(const struct od_session *session);

/* ---- statements */

struct od_request_setting {
    const char *name, *value;
};

struct od_request_object {
    const char *kind, *schema, *name, *definition_hash;
};

struct od_request {
    size_t struct_bytes;
    const char *database; /* ignored with a session; NULL: "main" */
    const char *sql;      /* one statement */
    size_t sql_bytes;     /* 0: strlen */
    /* Values of $1, $2, ...: one row. Borrowed. */
    const struct ArrowSchema *parameter_schema;
    const struct ArrowArray *parameters;
    /* Or the same as two IPC messages, already encoded. */
    const uint8_t *parameter_bytes;
    size_t parameter_bytes_count;
    uint64_t timeout_ms; /* 0: the client's */
    const char *snapshot;
    bool read_only;
    bool exact_types;   /* the caller understands DuckDB's storage forms (docs/internals/types.md) */
    bool describe_only; /* bind only */
    const struct od_request_setting *settings;
    size_t setting_count;
    /* What the caller planned against. */
    const char *catalog_version;
    const struct od_request_object *objects;
    size_t object_count;
    /* Statements of one group see one snapshot. */
    const char *snapshot_group;
    uint32_t snapshot_group_size;
    uint64_t window_bytes; /* unacknowledged bytes in flight, and read ahead; 0: 16 MiB */
    /* Needs a session: begins its transaction first, unless one is open. After a failure that the server reports, one is
     * open; to be set again with the next statement in any case where none has succeeded yet. */
    bool begin_transaction;
    /* Objects that a CREATE or ALTER, which returns nothing by itself, returns as they are after it: rows of
     * openduck_catalog_entry(). Their hashes are not looked at. */
    const struct od_request_object *tell;
    size_t tell_count;
    const char *traceparent; /* W3C trace context, for the server's log and errors; NULL: none */
};

/* Returns when the server has bound the statement and the schema is known (small results are then complete). */
OD_API OD_CHECKED od_code od_client_execute(struct od_client *client, struct od_session *session,
                                            const struct od_request *request, struct od_query **query,
                                            struct od_error *err);

struct od_query_info {
    const char *execution_id;
    const char *statement;       /* "SELECT", "INSERT", ... */
    int result;                  /* 0 rows, 1 a count of changed rows, 2 nothing */
    bool read_only;
    bool in_transaction;         /* after the statement (of a long one: final at the end of its result) */
    const char *catalog_version; /* of the server, after the statement */
    const char *catalog_name;    /* of the database in the server's SQL */
    const char *incarnation;
    const uint8_t *schema_message; /* encapsulated Arrow IPC schema */
    size_t schema_message_bytes;
    const uint8_t *parameter_schema_message; /* describe_only */
    size_t parameter_schema_message_bytes;
    uint64_t queue_us, run_us;
};
/* Borrowed from the query until it is closed. */
OD_API void od_query_get_info(const struct od_query *query, struct od_query_info *info);
/* The caller releases the schema. */
OD_API OD_CHECKED od_code od_query_schema(struct od_query *query, struct ArrowSchema *schema, struct od_error *err);
/* Next batch; array->release == NULL at the end. Only an explicit end of the server is an end: anything else is an
 * error. */
OD_API OD_CHECKED od_code od_query_next(struct od_query *query, struct ArrowArray *array, struct od_error *err);
/* Reads to the end and forgets the rows; *rows (may be NULL) counts them. */
OD_API OD_CHECKED od_code od_query_drain(struct od_query *query, uint64_t *rows, struct od_error *err);
/* Gives the rest as a stream. Takes the query: releasing the stream closes it. */
OD_API OD_CHECKED od_code od_query_stream(struct od_query *query, struct ArrowArrayStream *stream,
                                          struct od_error *err);
/* Any thread: interrupts the statement on the server; od_query_next returns OD_CANCELLED. */
OD_API void od_query_cancel(struct od_query *query);
/* Cancels what still runs. */
OD_API void od_query_close(struct od_query *query);

/* ---- uploads: rows that a statement reads as openduck_upload('ID') */

OD_API OD_CHECKED od_code od_upload_stream_open(struct od_client *client, const char *database,
                                                const struct ArrowSchema *schema, struct od_upload_stream **upload,
                                                struct od_error *err);
/* Id for the SQL text: FROM openduck_upload('ID'). */
OD_API const char *od_upload_stream_id(const struct od_upload_stream *upload);
/* Sends a copy of the rows. Waits for room on the server, so a statement must be reading (or the rows be few). */
OD_API OD_CHECKED od_code od_upload_stream_send(struct od_upload_stream *upload, const struct ArrowArray *array,
                                                struct od_error *err);
/* Says that this was all, and waits until the server has it. */
OD_API OD_CHECKED od_code od_upload_stream_finish(struct od_upload_stream *upload, struct od_error *err);
/* Without finish before it, the reading statement fails and keeps nothing. */
OD_API void od_upload_stream_close(struct od_upload_stream *upload);

/* ---- administration */

OD_API OD_CHECKED od_code od_client_create_database(struct od_client *client, const char *name, const char *from_file,
                                                    bool if_not_exists, struct od_error *err);
struct od_database_options {
    size_t struct_bytes;    /* sizeof(struct od_database_options) */
    const char *from_file;  /* a DuckDB file; NULL: empty */
    bool if_not_exists;
    const char *durability; /* "local": acknowledged when on the server's disk; "remote": when in the object store, which
                               lets another machine go on by itself and lose nothing; NULL: as the server makes databases */
    const char *failover;   /* "operator": only an operator's word replaces a dead server whose disk may hold more than the
                               object store; "allow-loss": any server does, without what is on that disk; NULL: the same */
};
OD_API OD_CHECKED od_code od_client_create_database_as(struct od_client *client, const char *name,
                                                       const struct od_database_options *options, struct od_error *err);
OD_API OD_CHECKED od_code od_client_drop_database(struct od_client *client, const char *name, bool if_exists,
                                                  bool *dropped, struct od_error *err);
struct od_database_info {
    char name[256];
    uint64_t bytes;
    bool open;
    uint32_t sessions;
};
/* *databases is an array of *count entries, released with od_client_free_databases. */
OD_API OD_CHECKED od_code od_client_list_databases(struct od_client *client, struct od_database_info **databases,
                                                   size_t *count, struct od_error *err);
OD_API void od_client_free_databases(struct od_database_info *databases);

/* ---- history. A selector is a snapshot's name, a position (LSN or EPOCH.LSN) or a timestamp (ISO 8601; UTC when it has
 * no zone). Databases and selectors are texts of the caller. */

struct od_snapshot_info {
    char name[257];
    uint64_t epoch, lsn;
    uint64_t time_us;    /* of the last commit in it; microseconds since 1970 */
    uint64_t created_us; /* when it was made */
    bool automatic;
};
/* name NULL: named by its time. *snapshot may be NULL. */
OD_API OD_CHECKED od_code od_client_create_snapshot(struct od_client *client, const char *database, const char *name,
                                                    struct od_snapshot_info *snapshot, struct od_error *err);
/* *snapshots is an array of *count entries, released with od_client_free_snapshots. */
OD_API OD_CHECKED od_code od_client_list_snapshots(struct od_client *client, const char *database,
                                                   struct od_snapshot_info **snapshots, size_t *count,
                                                   struct od_error *err);
OD_API void od_client_free_snapshots(struct od_snapshot_info *snapshots);
OD_API OD_CHECKED od_code od_client_drop_snapshot(struct od_client *client, const char *database, const char *name,
                                                  bool if_exists, bool *dropped, struct od_error *err);
/* A new database that begins as another is now (selector NULL) or was; no data is copied. */
OD_API OD_CHECKED od_code od_client_clone_database(struct od_client *client, const char *database, const char *selector,
                                                   const char *new_name, struct od_error *err);
/* The database goes on from an earlier point of itself; *before (may be NULL) is a snapshot of what it was. */
OD_API OD_CHECKED od_code od_client_restore_database(struct od_client *client, const char *database,
                                                     const char *selector, struct od_snapshot_info *before,
                                                     struct od_error *err);

struct od_export_request {
    size_t struct_bytes;
    const char *database;
    const char *selector; /* NULL: as it is now */
    const char *file;     /* must not be there; WAL files, if there are any, come beside it: FILE.wal, ... */
    void (*progress)(void *context, uint64_t done, uint64_t total); /* bytes; may be NULL */
    void *context;
};
struct od_export_summary {
    uint64_t files, bytes;
};
/* The files of a database, which DuckDB opens without a server. They appear when all of them are complete; after a failure
 * none is there. */
OD_API OD_CHECKED od_code od_client_export_database(struct od_client *client, const struct od_export_request *request,
                                                    struct od_export_summary *summary, struct od_error *err);

struct od_check_request {
    size_t struct_bytes;
    const char *database; /* NULL: everything; else only its layers are read in full */
    /* Both may be NULL. A problem names the object and says what is wrong with it, and at which offset. */
    void (*progress)(void *context, uint64_t objects, uint64_t bytes);
    void (*problem)(void *context, const char *key, const struct od_error *why);
    void *context;
};
struct od_check_summary {
    uint64_t objects, layers, bytes, rows, unreferenced, problems;
};
/* Reads every byte that the server keeps of its databases, and changes nothing. OD_OK also when there are problems: they are
 * reported and counted. */
OD_API OD_CHECKED od_code od_client_check_store(struct od_client *client, const struct od_check_request *request,
                                                struct od_check_summary *summary, struct od_error *err);

#ifdef __cplusplus
}
#endif

#endif
