// execution.h - one execution: the state machine of execution_core.h with its statement, its calls and its batches.
//
// Threads: Execute and Stream calls come on completion-queue threads, the statement runs on an executor, batches are
// moved by helpers. Everything of an execution is guarded by its lock, unless it says otherwise; it is reference-counted.
#ifndef OD_SERVER_EXECUTION_H
#define OD_SERVER_EXECUTION_H

#include "base/limits.h"
#include "base/uuid.h"
#include "engine/engine.h"
#include "metastore/metastore.h"
#include "rpc/message.h"
#include "server/server_internal.h"
#include "server/session.h"
#include "server/trace.h"
#include "server/window.h"

#include <stdatomic.h>

OD_BEGIN_C

// What the engine's callbacks hold instead of an execution: it is never freed while the server lives, so a late callback
// finds somebody else's execution at worst, which it makes look at itself once for nothing.
struct od_signal {
    struct od_job job;
    struct od_server *server;
    struct od_signal *next_all, *next_free;
    atomic_bool queued;
    pthread_mutex_t lock; // a leaf
    struct od_execution *execution;
    struct od_result *result; // borrowed: whose bytes are counted before the answer
    uint64_t enough_bytes;    // worth waking for; 0: everything is
};

// What is asked for, borrowed from `message`.
struct od_task {
    ProtobufCMessage *message;
    const char *database;
    const char *snapshot; // a selector (storage/store.h); NULL: the newest state
    struct od_position min_commit; // must be seen; lsn 0: none
    const char *sql;
    size_t sql_bytes;
    const uint8_t *parameters;
    size_t parameter_bytes;
    struct od_setting *settings;
    size_t setting_count;
    const char *catalog_version;
    struct od_catalog_object *objects, *tell; // one array: those to tell follow
    size_t object_count, tell_count;
    bool read_only, exact_types, describe_only, begin_transaction;
    char trace_id[OD_TRACE_ID_BYTES]; // of the client's trace context, or empty
    enum od_ipc_codec codec;
    uint64_t timeout_ms;
    uint64_t inline_limit;
    const char *group;
    uint32_t group_size;
};

struct od_stream_call; // service_stream.c: a call that fetches batches

// What a stream does with what it is given; all with the execution's lock held.
struct od_stream_type {
    // Sends one batch; false: the call has been failed.
    bool (*batch)(struct od_stream_call *stream, uint64_t number, struct od_batch *batch);
    void (*end)(struct od_stream_call *stream, uint64_t batches, uint64_t rows); // announces the end
    void (*fail)(struct od_stream_call *stream, const struct od_error *error);
};

struct od_stream_call {
    const struct od_stream_type *type;
    struct od_server *server;
    struct od_call *call;
    struct od_execution *execution; // a reference; NULL before it is known
    bool opened;
    bool plain;  // the reader does not acknowledge: what has left is taken as arrived
    bool failed; // or finished: nothing more may be sent
    bool end_sent;
};

struct od_execution {
    atomic_uint references;
    struct od_server *server;
    struct od_key id, request; // request: digest of identity and request id
    char id_text[OD_KEY_TEXT_BYTES];
    char *identity;
    struct od_task task;
    uint64_t sequence;
    struct od_session *session; // a reference
    char ledger_id[OD_KEY_TEXT_BYTES]; // what the volume remembers its commit by; "": nothing
    // It does not run (its session or its answer is gone): if the ledger knows its commit that is the answer, else this.
    struct od_error *not_remembered;

    // ---- the server's lock
    struct od_node by_id, by_request;
    struct od_execution *live_previous, *live_next;
    struct od_execution *session_next;
    struct od_slot slot;
    struct od_job job;

    atomic_uint_least64_t look_at_ms; // when the ticker is to look at it

    // ---- its own lock
    pthread_mutex_t lock;
    struct od_execution_core core;
    struct od_result *result;
    struct od_signal *signal;
    struct od_window window;
    struct od_reply *reply;
    bool reply_complete;    // nothing is left to stream
    struct od_call **callers; // waiting for the answer, one reference each
    size_t caller_count;
    struct od_stream_call *stream;
    struct od_connection *running; // the connection its statement is running on right now
    od_code outcome;               // of the statement
    struct od_error failure;       // when outcome is not OD_OK
    bool parked;                   // counted in server->parked
    bool paused;                   // has given its place to others
    bool ended;                    // the result has given out its last batch
    bool wrote;                    // its outcome must be remembered
    bool in_transaction;
    uint64_t asked_window;
    uint64_t budgeted;     // bytes counted in the server's budget
    uint64_t moved_ms;     // when a batch was last taken from the result
    uint64_t arrived_us, began_us, done_us;
    char catalog_name[OD_NAME_BYTES_MAX];
    char branch[OD_UUID_TEXT_BYTES];
};

// ---- execution.c
// A new execution with one reference; the task's message is taken on success. `call` waits for the answer (Execute), or
// `stream` carries everything (ExecuteFragment).
OD_CHECKED od_code od_execution_new(struct od_server *server, const char *identity, const char *request_id,
                                    const struct od_task *task, struct od_call *call, struct od_stream_call *stream,
                                    struct od_execution **execution, struct od_error *err);
struct od_execution *od_execution_ref(struct od_execution *execution);
void od_execution_unref(struct od_execution *execution);
void od_task_release(struct od_task *task);

// A fresh result, for a statement that is to run (again). Lock held, or not shared yet.
OD_CHECKED od_code od_execution_renew_result(struct od_execution *execution, struct od_error *err);

// One event, and everything that follows from it. Takes the lock.
void od_execution_event(struct od_execution *execution, enum od_execution_event event);
// The same with the lock held.
void od_execution_event_locked(struct od_execution *execution, enum od_execution_event event);
// Does what a step of the core asked for. Lock held.
void od_execution_act(struct od_execution *execution, unsigned actions);
// Sends what can be sent to the stream. Lock held.
void od_execution_flow(struct od_execution *execution);
// Looks at everything: pumps, takes time into account, sends. Helpers and executors; no lock held.
void od_execution_look(struct od_execution *execution);
void od_signal_post(struct od_signal *signal);
// The statement's error as the client should see it, by why it was stopped.
void od_execution_explain(const struct od_execution *execution, struct od_error *error);
// Recounts the window's memory in the budget. Lock held.
void od_execution_account(struct od_execution *execution);

// ---- execution_run.c
void od_execution_run(struct od_job *job);

// ---- execution_reply.c
// The answer as it stands. Lock held. *complete: nothing is left to stream.
struct od_reply *od_execution_make_reply(struct od_execution *execution, bool *complete);

// ---- registry.c: who is there and who may run
// What became of a request. NEW: it runs or waits. JOINED: the same request is there (*joined is a reference). ANSWERED: it
// has been answered before (*again is a reference). REFUSED: err says why.
enum od_submitted { OD_SUBMITTED_NEW, OD_SUBMITTED_JOINED, OD_SUBMITTED_ANSWERED, OD_SUBMITTED_REFUSED };
// session_id: NULL without one. The caller keeps its reference.
enum od_submitted od_registry_submit(struct od_execution *execution, const char *session_id,
                                     struct od_execution **joined, struct od_reply **again, struct od_error *err);
struct od_execution *od_registry_find(struct od_server *server, const struct od_key *id); // a reference, or NULL
struct od_execution *od_registry_find_request(struct od_server *server, const struct od_key *request);
// The statement has ended or will never begin: the next ones may run. Not with the server's lock held.
void od_registry_finished(struct od_execution *execution);
void od_registry_dropped(struct od_execution *execution);
// Nobody can come for it any more. `reply`: kept for a write (may be NULL: only the fact is).
void od_registry_forget(struct od_execution *execution, bool keep, struct od_reply *reply);
// Lets those run for whom there is a place now. Not with the server's lock held.
void od_registry_admit(struct od_server *server);
void od_registry_keep_last(struct od_execution *execution, struct od_reply *reply, bool repeatable);
// Ends the session. True: `call` will be answered when its connection is closed.
bool od_registry_close_session(struct od_server *server, const struct od_key *key, struct od_call *call);
// Ends sessions that were idle for too long, or all of them.
void od_registry_end_sessions(struct od_server *server, uint64_t now_ms, bool all);
// Ends the sessions of one database. reason: static text.
void od_registry_end_sessions_of(struct od_server *server, const char *database, const char *reason);
// Statements that have waited too long, executions with something due.
void od_registry_tick(struct od_server *server, uint64_t now_ms);

OD_END_C

#endif
