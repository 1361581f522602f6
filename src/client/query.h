// query.h - the inside of struct od_query: one statement's answer and what streams in after it.
//
//   Y1  What is handed on is consecutive from batch 0, and the end is told only when the server's totals agree.
//   Y2  Two references at most: the caller's, and the job's that receives. od_query_close never waits for the job.
//   Y3  A statement that may still run when its query is cancelled or closed is cancelled on the server, without waiting.
// Phases of the consumer: INLINE (batches of the answer) -> AHEAD (what the job receives) ; ENDED after the end.
#ifndef OD_CLIENT_QUERY_H
#define OD_CLIENT_QUERY_H

#include "client/answer.h"
#include "client/core.h"
#include "client/ipc_split.h"
#include "client/read_ahead.h"
#include "client/tally.h"
#include "os/random.h"

struct od_ipc_decoder;
struct od_session;

struct od_query {
    atomic_uint references;
    struct od_client *client;
    size_t endpoint;
    uint64_t deadline_ms;
    uint64_t window_bytes;
    struct od_cancel *cancel;     // of what the job calls
    atomic_bool cancelled;        // by the caller
    atomic_bool server_done;      // nothing runs on the server any more
    char cancel_id[64];           // what CancelExecution is told: the execution's id, or the request's
    struct od_received message;   // the answer; info points into it and into texts
    struct od_answer answer;
    struct od_query_info info;
    struct od_session *session; // a reference, or NULL
    uint64_t sequence;
    char *end_catalog_version;  // what the end of the stream said; set by the job before it tells the end
    bool end_in_transaction;
    char *texts;
    uint8_t *schema_copy;         // where the answer is not the one who holds the schema
    enum { OD_QUERY_INLINE, OD_QUERY_AHEAD, OD_QUERY_ENDED } phase;
    struct od_tally tally;        // inline batches; then the job's
    struct od_stream *stream;     // first-generation servers: opened by execute, read by the job
    struct od_received chunk;     // and its message in work
    struct od_ipc_split split;
    struct od_read_ahead ahead;
    struct od_ipc_decoder *decoder;
};

// A query without an answer yet.
OD_CHECKED od_code od_query_new(struct od_client *client, uint64_t window_bytes, uint64_t deadline_ms,
                                struct od_query **query, struct od_error *err);
void od_query_unref(struct od_query *query);
// Takes the message of an ExecuteReply: checks its inline batches, and starts fetching the rest.
OD_CHECKED od_code od_query_begin(struct od_query *query, struct od_received *message, bool describe_only,
                                  struct od_error *err);
// Checks an encapsulated batch and its number of rows, and makes a batch whose body is aligned. With `take` the bytes lie
// in that message, which is taken over (also on failure); else they are copied.
OD_CHECKED od_code od_query_batch(const uint8_t *ipc, size_t bytes, uint64_t rows, struct od_received *take,
                                  struct od_batch **batch, struct od_error *err);

// fetch.c - the job that receives a Stream, acknowledges and resumes it. argument: the query, with a reference.
void od_fetch_run(void *argument);

// fragment.c - ExecuteFragment, the call of first-generation servers: SQL in, complete Arrow streams out. No session, no
// parameters, no resumption. Returns when the schema is there. cancel: of the caller, may be NULL.
OD_CHECKED od_code od_fragment_execute(struct od_query *query, const char *database, const char *sql,
                                       const char *snapshot, const char *request_id, struct od_cancel *cancel,
                                       struct od_error *err);

#endif
