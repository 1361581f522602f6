// engine.h - DuckDB embedded: one instance per open database, many connections, statements whose results stream out
// as encoded Arrow batches while they run. No DuckDB type crosses this header; nothing else in the server calls
// DuckDB.
//
// A database is a volume (src/storage), or, without one, a DuckDB file. On a volume a commit does not wait for the disk
// by itself: od_connection_run returns, and its result gives out rows, only when everything they reveal is durable, and
// one sync of the disk serves all that wait.
//
// Threads: an engine is shared; a connection runs one statement at a time (od_connection_run blocks its caller, an
// executor thread); od_connection_interrupt is for any thread.
#ifndef OD_ENGINE_ENGINE_H
#define OD_ENGINE_ENGINE_H

#include "arrow/batch_queue.h"
#include "arrow/ipc.h"
#include "base/buf.h"
#include "base/error.h"

OD_BEGIN_C

struct od_engine;
struct od_connection;
struct od_result;
struct od_upload;
struct od_volume;

// ---- databases

struct od_engine_options {
    const char *name;            // the database's name; its catalog in SQL is od_engine_catalog_name
    const char *path;            // database file, made when missing; not used with a volume
    struct od_volume *volume;    // borrowed; open until the engine is closed. NULL: `path`
    bool read_only;              // nothing but temporary objects can be written; a frozen volume needs it
    const char *temp_directory;  // for spilling; made when missing
    uint64_t memory_limit_bytes; // 0: DuckDB's default
    unsigned threads;            // 0: DuckDB's default
    uint64_t temp_bytes_max;     // 0: DuckDB's default
    bool external_access;        // may SQL read and write files, load extensions? false: configuration locked
    struct od_budget *budget;    // for result and upload buffers; borrowed
};

OD_CHECKED od_code od_engine_open(const struct od_engine_options *options, struct od_engine **engine,
                                  struct od_error *err);
// Checkpoints and closes. All connections and results must be gone.
void od_engine_close(struct od_engine *engine);
// OD_OK, or why this engine is of no use any more: its volume takes no changes (poisoned, fenced), or what DuckDB has in
// memory is not what is on disk. Its sessions have to end; the database is to be closed and opened again.
OD_CHECKED od_code od_engine_health(struct od_engine *engine, struct od_error *err);
const char *od_engine_catalog_name(const struct od_engine *engine);
// Opaque text that changes whenever a committed definition (table, view, ...) changes, and with each opening.
// out has room for OD_CATALOG_VERSION_BYTES.
#define OD_CATALOG_VERSION_BYTES 64
void od_engine_catalog_version(struct od_engine *engine, char *out);
const char *od_engine_duckdb_version(void);

// ---- connections

OD_CHECKED od_code od_connection_open(struct od_engine *engine, struct od_connection **connection,
                                      struct od_error *err);
// Rolls back an open transaction, drops temporary objects.
void od_connection_close(struct od_connection *connection);
// Stops the running statement at once (any thread; harmless when none runs). The statement fails with OD_CANCELLED
// unless its commit had begun.
void od_connection_interrupt(struct od_connection *connection);
bool od_connection_in_transaction(struct od_connection *connection);
// Has a statement left something behind that the next user of this connection would see (a setting, a temporary
// object, a prepared statement, an open transaction)? Connections without may be used again for anybody.
bool od_connection_has_state(const struct od_connection *connection);

// Begins read transactions on n idle connections that see exactly the same snapshot (no commit lies between them).
// Each lasts until od_connection_end_snapshot.
OD_CHECKED od_code od_connection_begin_snapshot(struct od_connection *const *connections, size_t n,
                                                struct od_error *err);
void od_connection_end_snapshot(struct od_connection *connection);

// ---- statements

struct od_setting {
    const char *name;
    const char *value;
};

struct od_catalog_object {
    const char *kind; // "table", "view", "macro", "table macro", "type", "sequence", "index", "schema"
    const char *schema;
    const char *name;
    const char *definition_hash;
};

// What the ledger of a volume remembers of a request that committed, beside the number of changed rows:
#define OD_OUTCOME_NOTHING (UINT64_MAX - 1) // it returned nothing (CREATE, COMMIT, ...)
#define OD_OUTCOME_ROWS UINT64_MAX          // it returned rows (RETURNING), which are not remembered

struct od_statement {
    // Under which the volume remembers its commit; NULL: it does not. A request that committed before is answered from
    // there and does not run (OD_RESULT_GONE when it had returned rows).
    const char *request_id;
    bool remembered_only; // fail with OD_NOT_FOUND instead of running
    const char *sql; // exactly one statement
    size_t sql_bytes;
    const uint8_t *parameters; // two IPC messages (schema, batch of one row), or NULL
    size_t parameter_bytes;
    const struct od_setting *settings; // applied for this statement only
    size_t setting_count;
    const char *catalog_version; // NULL or "": no check
    const struct od_catalog_object *catalog_objects;
    size_t catalog_object_count;
    // A statement that changes the catalog and returns nothing returns these instead, as they are after it: the rows of
    // openduck_catalog_entry(). Their hashes are not looked at.
    const struct od_catalog_object *tell;
    size_t tell_count;
    bool read_only;     // refuse what can write: OD_READ_ONLY
    bool exact_types;   // DuckDB storage forms allowed on the wire
    bool describe_only; // bind, fill the result's schema and info, run nothing
    enum od_ipc_codec codec; // what the client would have its batches compressed with
};

enum od_result_kind { OD_RESULT_ROWS, OD_RESULT_CHANGED_ROWS, OD_RESULT_NOTHING };

// What a statement is, known from when the schema is.
struct od_result_info {
    enum od_result_kind kind;
    const char *statement; // "SELECT", "INSERT", ...; static text
    bool read_only;        // cannot change anything
    const uint8_t *schema; // encapsulated IPC schema message; lives as long as the result
    size_t schema_bytes;
    const uint8_t *parameter_schema; // describe_only: the same for $1, $2, ...; NULL when none
    size_t parameter_schema_bytes;
    // The catalog version that the statement was bound to; for a statement that changed the catalog, the version after
    // its commit if nobody else's change came between, else still the one before. Text as od_engine_catalog_version.
    const char *catalog_version;
    // A statement that sees this much of the volume's history sees what this one saw or wrote. 0: not on a volume.
    uint64_t epoch, lsn;
};

// A result is filled by od_connection_run on one thread and consumed on another. Reference-counted.
//   events: on_event is called (any thread, no lock held, possibly often) when the schema is known, when batches can be
//   popped, when the result needs pumping, and at the end. Its argument must live until od_connection_run has returned
//   and the last reference is gone.
OD_CHECKED od_code od_result_new(struct od_budget *budget, struct od_waker on_event, struct od_result **result,
                                 struct od_error *err);
struct od_result *od_result_ref(struct od_result *result);
void od_result_unref(struct od_result *result);
// True once the statement is bound and its schema known; fills *info.
bool od_result_ready(struct od_result *result, struct od_result_info *info);
enum od_pop od_result_pop(struct od_result *result, struct od_batch **batch, struct od_error *err);
// Waits at most timeout_ms for something other than EMPTY. EMPTY also when the result needs to be pumped.
enum od_pop od_result_wait(struct od_result *result, uint64_t timeout_ms, struct od_batch **batch,
                           struct od_error *err);
uint64_t od_result_sendable_bytes(struct od_result *result);
// A spooled result (writes, explicit transactions) is encoded on demand: when this says true, call od_result_pump on
// an executor thread; it encodes until the queue is full or the result ends, and returns. Needs no connection.
bool od_result_needs_pump(struct od_result *result);
void od_result_pump(struct od_result *result);
// True: the statement is streaming and waits for the consumer. Then od_result_spill lets it run to its end meanwhile, with
// its rows in `store` (od_batch_queue_spill), which it takes in any case.
bool od_result_blocked(struct od_result *result);
void od_result_spill(struct od_result *result, const struct od_batch_store_ops *ops, void *store);
// The consumer is gone: producers finish at once, pending batches are dropped. (Does not interrupt the statement.)
void od_result_stop(struct od_result *result);

// Runs one statement to its end on the calling thread, filling `result` meanwhile. Statements that cannot write, outside
// an explicit transaction, stream (sinks block when the queue is full); all others are spooled and their result becomes
// available only after the commit. The returned code is the statement's outcome; the same error also ends `result`.
// Errors of DuckDB are OD_SQL with error_class; OD_CANCELLED after an interrupt; OD_CATALOG_STALE before any effect.
OD_CHECKED od_code od_connection_run(struct od_connection *connection, const struct od_statement *statement,
                                     struct od_result *result, struct od_error *err);

// ---- uploads: rows from a client, read by a statement as openduck_upload('ID')

// Registers `id`; the schema message has been checked. Fails with OD_EXISTS when it is there already.
OD_CHECKED od_code od_upload_open(struct od_engine *engine, const char *id, const uint8_t *schema, size_t schema_bytes,
                                  struct od_upload **upload, struct od_error *err);
struct od_upload *od_upload_find(struct od_engine *engine, const char *id); // a reference, or NULL
struct od_upload *od_upload_ref(struct od_upload *upload);
void od_upload_unref(struct od_upload *upload);
// Batches must come in order: a number below the next one is ignored (re-sent), above it is OD_INVALID. Takes the batch.
OD_CHECKED od_code od_upload_push(struct od_upload *upload, uint64_t number, struct od_batch *batch,
                                  struct od_error *err);
uint64_t od_upload_next_batch(struct od_upload *upload);
// False: there is no room; `waker` will be called once there is. True: waker is dropped.
bool od_upload_room(struct od_upload *upload, struct od_waker waker);
// The end, with the totals to verify. Without it the reading statement fails and nothing is kept.
OD_CHECKED od_code od_upload_finish(struct od_upload *upload, uint64_t batches, uint64_t rows, struct od_error *err);
// Ends the upload with an error (client gone); the reading statement fails with it.
void od_upload_abort(struct od_upload *upload, const struct od_error *failure);
// Is a statement reading it, or has one read it to the end?
bool od_upload_claimed(struct od_upload *upload);
// Takes it out of the registry (at statement end, session end or timeout).
void od_upload_close(struct od_engine *engine, const char *id);

OD_END_C

#endif
