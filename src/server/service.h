// service.h - what the RPC handlers share.
#ifndef OD_SERVER_SERVICE_H
#define OD_SERVER_SERVICE_H

#include "server/execution.h"

OD_BEGIN_C

// The context of calls that need no more: what they belong to, and what they wait for.
struct od_call_state {
    struct od_server *server;
    struct od_execution *execution; // a reference
};
void od_call_state_start(struct od_call *call, void *service); // for od_method.start
void od_call_state_closed(struct od_call *call, bool cancelled);
struct od_server *od_call_server(struct od_call *call); // of calls with this context; NULL: the call has been failed

// Packs and sends; `last`: ends the call too. A failure fails the call.
void od_send_message(struct od_call *call, const ProtobufCMessage *message, bool last, struct od_error *err);
// A text field with a NUL byte inside would be cut there: OD_INVALID. `fields`: numbers, ending in 0.
OD_CHECKED od_code od_check_texts(const uint8_t *data, size_t bytes, const uint32_t *fields, struct od_error *err);

// Streams of batches (service_stream.c), also for ExecuteFragment. The call's context is the od_stream_call.
void od_stream_sendable(struct od_call *call);
void od_stream_detach(struct od_stream_call *stream, bool cancelled); // the call is over

extern const struct od_method od_stream_method, od_fragment_method, od_upload_method;

OD_END_C

#endif
