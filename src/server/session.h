// session.h - sessions by (identity, database, session id): one connection each, statements in order, an end.
//
// A session is made by statement 1 and outlives connections. Its fields are guarded by the server's lock, but for the
// database and the connection, which belong to the executor of its one running statement, or to the closer when none runs.
#ifndef OD_SERVER_SESSION_H
#define OD_SERVER_SESSION_H

#include "server/server_internal.h"
#include "server/session_core.h"

OD_BEGIN_C

struct od_session {
    struct od_node node; // in server->sessions until it ends
    struct od_server *server;
    unsigned references; // server's lock
    struct od_session_core core;
    char *database_name;
    char *snapshot; // selector of the moment it reads; NULL: the newest state
    struct od_execution *active;               // its running, or admitted, statement
    struct od_execution *first_waiting, *last_waiting; // accepted, behind the active one
    bool ended;
    bool closing;
    struct od_job close_job;
    // The last statement, for when it comes again.
    struct od_key last_request;
    struct od_reply *last_reply; // NULL: not kept
    bool last_repeatable;        // it changed nothing: it may run again
    // Calls that wait for the end.
    struct od_call **waiting_calls;
    size_t waiting_call_count;
    // Not under the lock (see above).
    struct od_database *database;
    struct od_connection *connection;
};

#define OD_SESSION_REPLY_BYTES_MAX (64 * OD_KIB)

// All with the server's lock held.
struct od_session *od_session_find(struct od_server *server, const struct od_key *key);
OD_CHECKED od_code od_session_make(struct od_server *server, const struct od_key *key, const char *database,
                                   const char *snapshot, struct od_session **session, struct od_error *err);
// Fills the error for who asks for a session that is not there.
od_code od_session_fail_lost(struct od_server *server, const struct od_key *key, const char *id, uint64_t sequence,
                             struct od_error *err);
void od_session_unref_locked(struct od_session *session);
// Takes the session out: no statement finds it any more. Its waiting statements are handed back as a list (through
// od_execution.session_next) to be failed by the caller outside the lock; a running one goes on until interrupted.
// reason: static text, remembered for those who ask; may be NULL.
struct od_execution *od_session_end(struct od_session *session, const char *reason);
// After od_session_end, when nothing of it runs: closes the connection on an executor, and answers the waiting calls.
void od_session_close_if_idle(struct od_session *session);
// The call is answered when the session has been closed. False: no memory to wait.
bool od_session_add_call(struct od_session *session, struct od_call *call);

OD_END_C

#endif
