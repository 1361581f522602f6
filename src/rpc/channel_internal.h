// channel_internal.h - what channel.c, stream.c, cancel.c and status.c share.
#ifndef OD_RPC_CHANNEL_INTERNAL_H
#define OD_RPC_CHANNEL_INTERNAL_H

#include "rpc/channel.h"

#include <grpc/grpc.h>

#include <pthread.h>
#include <stdatomic.h>

OD_BEGIN_C

// ---- cancel.c
// A call's membership in a cancel token.
struct od_cancel_link {
    struct od_cancel *cancel;
    struct od_cancel_link *previous, *next;
    grpc_call *call;
};
// False when the token has fired already: then the link is not in. cancel may be NULL.
OD_CHECKED bool od_cancel_add(struct od_cancel *cancel, struct od_cancel_link *link, grpc_call *call);
// After it the token never touches the call. Harmless for a link that is not in.
void od_cancel_remove(struct od_cancel_link *link);

// ---- channel.c
// The gRPC channel proper. It is replaced when it has failed to connect, because gRPC would wait out a backoff first.
struct od_core {
    grpc_channel *channel;
    unsigned references; // under the od_channel's lock
};

enum { OD_IDLE_QUEUES_MAX = 16 };

struct od_channel {
    pthread_mutex_t lock;
    pthread_cond_t quiet;
    unsigned references; // the owner's, and one per stream
    unsigned inside;     // threads in a blocking function
    bool closed;
    struct od_cancel *closing; // every call is in it
    struct od_core *core;
    grpc_completion_queue *idle_queues[OD_IDLE_QUEUES_MAX];
    unsigned idle_queue_count;
    grpc_channel_credentials *credentials;
    grpc_slice authorization;
    bool has_authorization;
    char *target;      // as gRPC wants it
    char *name;        // as the user wrote it, for messages
    char *server_name; // may be NULL
    uint64_t message_bytes_max;
    bool proxy; // may an HTTP proxy of the environment be used?
    atomic_uint_least64_t bytes_sent, bytes_received, calls;
    atomic_uint_least64_t used_ms; // when a call last ended
};

// A call being made: everything between od_channel_begin and od_channel_end.
struct od_attempt {
    struct od_channel *channel;
    struct od_core *core;
    grpc_completion_queue *queue; // of the pluck kind, nothing pending
    grpc_call *call;
    struct od_cancel *cancel;
    struct od_cancel_link user_link, channel_link;
};

// Marks a thread as inside a blocking function; OD_CANCELLED when the channel is closed.
OD_CHECKED od_code od_channel_enter(struct od_channel *channel, struct od_error *err);
void od_channel_leave(struct od_channel *channel);
void od_channel_unref(struct od_channel *channel);
// Connects if need be and makes the call object, with cancel tokens attached. On failure nothing is left.
OD_CHECKED od_code od_channel_begin(struct od_channel *channel, const char *method, uint64_t timeout_ms,
                                    uint64_t connect_timeout_ms, struct od_cancel *cancel, struct od_attempt *attempt,
                                    struct od_error *err);
// Nothing may be pending on the queue.
void od_channel_end(struct od_attempt *attempt);
// The call's own tokens have fired.
bool od_attempt_cancelled(const struct od_attempt *attempt);
// The request metadata of every call: 0 or 1 entries.
size_t od_channel_metadata(const struct od_channel *channel, grpc_metadata *metadata);

// ---- status.c
// How a call ended, as gRPC tells it.
struct od_final {
    grpc_metadata_array trailing;
    grpc_status_code status;
    grpc_slice details;
};
void od_final_init(struct od_final *final);
void od_final_release(struct od_final *final);
void od_final_op(struct od_final *final, grpc_op *op);
// OD_OK for an OK status. `cancelled`: we asked for it. timeout_ms: for the text.
OD_CHECKED od_code od_final_code(const struct od_final *final, const char *endpoint, bool cancelled,
                                 uint64_t timeout_ms, struct od_error *err);

OD_END_C

#endif
