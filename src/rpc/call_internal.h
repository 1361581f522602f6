// call_internal.h - the struct of one call on the server, shared by call.c (its life) and arrival.c (its beginning and
// what handlers may ask about it). The invariants are in call.c.
#ifndef OD_RPC_CALL_INTERNAL_H
#define OD_RPC_CALL_INTERNAL_H

#include "rpc/server_internal.h"

OD_BEGIN_C

enum od_finish { OD_FINISH_NONE, OD_FINISH_WANTED, OD_FINISH_STARTED };

struct od_call {
    atomic_uint references;
    struct od_rpc_server *server;
    const struct od_method *method;
    grpc_call *core;
    _Atomic(void *) context;
    gpr_timespec deadline;
    _Atomic(const char *) identity;
    bool token_known; // the header's token was right
    bool started;     // start has run: closed will
    char peer[80];
    char certificate[96];

    pthread_mutex_t lock;
    struct od_outgoing *first, *last; // not yet given to gRPC
    struct od_outgoing *in_flight;
    size_t unsent_bytes;
    bool sending;
    bool metadata_sent;
    bool confirming; // the operation in flight only proves that a half-close is one
    bool reading;
    bool any_message;
    bool broken; // a send failed: close will follow
    bool gone;
    enum od_finish finish;
    unsigned operations;

    struct od_tag send_tag, receive_tag, close_tag;
    grpc_byte_buffer *incoming;
    int cancelled;
    struct od_received *message; // during the message callback
    struct od_queue *queue;
    struct od_call *next_delayed; // in queue->delayed, which holds a reference
    uint64_t due_ms;
    grpc_status_code status;
    char status_text[512];
    grpc_metadata trailing;
    bool has_detail;

    size_t header_bytes;
    char headers[]; // "name\0value\0" pairs
};

// The tags and the first operation of a call that has just been made; false when gRPC considers it dead already.
bool od_call_begin(struct od_call *call);
void od_call_free(struct od_call *call);

OD_END_C

#endif
