// server.h (rpc) - a gRPC server on the C core: methods are rows of a table, calls are objects, nothing blocks.
//
// Completion-queue threads read messages and call the handlers below, which never run SQL or wait: a handler leaves its work
// for after its return (od_rpc_run_here) or hands it to an executor. Replies may be sent from any thread. For each call the callbacks are serialised.
//
// States of a call: OPEN -> (HALF_CLOSED by the peer) -> FINISHED (od_call_finish/fail) ;  any -> GONE (peer left).
// Every call that reached `start` ends in exactly one `closed`; after it no callback runs and the handler's context may
// be freed. After od_call_finish or od_call_fail only `closed` follows.
// Threads: all od_call_* functions are thread-safe and never block. Callbacks of one call run one after another, so
// they need no lock among themselves. The release functions of sent bytes run inside the transport, on any thread:
// they must be quick and must not call od_call_*, od_stream_* or od_cancel_*.
#ifndef OD_RPC_SERVER_H
#define OD_RPC_SERVER_H

#include "arrow/batch.h"
#include "base/error.h"
#include "rpc/received.h"

OD_BEGIN_C

struct od_rpc_server;
struct od_call;

// A method: its full name ("/openduck.v1.ExecutionService/Execute") and what to do. Any callback but start may be
// NULL. Message bytes are borrowed until the callback returns.
struct od_method {
    const char *name;
    bool public_access; // no token needed (health)
    // A call has arrived. Set per-call state with od_call_set_context. Runs before the first message.
    void (*start)(struct od_call *call, void *service);
    // One message of the peer. Unary methods get exactly one. For client-streaming calls the next message is read
    // only after od_call_read_next: that is the back-pressure.
    void (*message)(struct od_call *call, const uint8_t *data, size_t bytes);
    // The peer will send nothing more (noticed while reading, so only after od_call_read_next). A connection that broke
    // never looks like this as long as nothing has been sent. After the first reply this is called 20 ms late, by when
    // a break is nearly always known; what must be certain has to wait for `closed`, whose `cancelled` tells.
    void (*half_closed)(struct od_call *call);
    // Everything given to od_call_send so far has left for the transport (flow control said yes): send more.
    void (*sendable)(struct od_call *call);
    // The call is over: cancelled by the peer, connection lost, deadline, or finished by us. Last callback.
    void (*closed)(struct od_call *call, bool cancelled);
    void *service; // handed to start
    // Where in memory messages of this method should lie (received.h); NULL: anywhere.
    od_layout_fn layout;
};

struct od_rpc_server_options {
    const char *listen;              // "127.0.0.1:7878", "[::1]:0", "unix:/path"
    const char *token;               // NULL: no authentication
    const char *tls_certificate_pem; // NULL: plain text
    const char *tls_key_pem;
    const char *tls_client_ca_pem; // not NULL: clients must present a certificate
    uint64_t message_bytes_max;
    unsigned threads;                // completion-queue threads; 0: one per two processors
    const struct od_method *methods; // borrowed until od_rpc_server_free
    size_t method_count;
    // The standard health service is served by rpc itself from this flag (od_rpc_server_set_serving).
};

OD_CHECKED od_code od_rpc_server_start(const struct od_rpc_server_options *options, struct od_rpc_server **server,
                                       struct od_error *err);
int od_rpc_server_port(const struct od_rpc_server *server);
void od_rpc_server_set_serving(struct od_rpc_server *server, bool serving);
// No new calls; running ones may finish until the deadline, then they are cancelled. Blocks. Then free.
void od_rpc_server_stop(struct od_rpc_server *server, uint64_t drain_ms);
void od_rpc_server_free(struct od_rpc_server *server);

// Only inside a callback: its thread will do this as soon as the callback has returned. The work may take any time and wait
// for anything: another thread then goes on with the calls. False: not accepted, because such work would only be in the way of
// other calls, or the caller is not in a callback; find another thread.
OD_CHECKED bool od_rpc_run_here(void (*run)(void *argument), void *argument);

// ---- one call
void od_call_set_context(struct od_call *call, void *context);
void *od_call_context(struct od_call *call);
// Calls live until `closed` has returned and as long as somebody holds a reference.
struct od_call *od_call_ref(struct od_call *call);
void od_call_unref(struct od_call *call);
// Milliseconds until the client's deadline; UINT64_MAX: none.
uint64_t od_call_deadline_ms(const struct od_call *call);
// "ipv4:127.0.0.1:1234", and a stable text for who the caller is.
const char *od_call_peer(const struct od_call *call);
const char *od_call_identity(const struct od_call *call);
// Value of a request header (lower-case name) or NULL.
const char *od_call_header(const struct od_call *call, const char *name);
// Checks a token that came inside a message (first-generation clients); NULL and "" when it had none. True also when
// the call's header proved it already or the server has no token. Public methods that need one use this; a right token
// becomes the call's identity.
bool od_call_token_ok(struct od_call *call, const char *token);

// Queues one message made of segments, sent without a copy; release(owner) runs when the bytes are no longer needed.
// Any number may be queued; `sendable` says when the queue has drained.
void od_call_send(struct od_call *call, const struct od_segment *segments, size_t count, od_release_fn release,
                  void *owner);
size_t od_call_unsent_bytes(struct od_call *call);
// od_call_send and od_call_finish in one step of the transport: the fast way to answer a unary call.
void od_call_reply(struct od_call *call, const struct od_segment *segments, size_t count, od_release_fn release,
                   void *owner);
// Only inside `message`: takes the memory of the message instead of copying it. The caller releases it.
void od_call_take_message(struct od_call *call, struct od_received *message);
// Reads the next message of a streaming peer (the first one is read without asking).
void od_call_read_next(struct od_call *call);
// Ends the call after all queued messages: status OK, or the error as gRPC status + ErrorDetail. First call wins.
void od_call_finish(struct od_call *call);
void od_call_fail(struct od_call *call, const struct od_error *err);

OD_END_C

#endif
