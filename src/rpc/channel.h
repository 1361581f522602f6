// channel.h - the client side of gRPC: a connection to one endpoint, unary calls, and two-way streams. Blocking, with
// deadlines, cancellable from any thread.
//
// Threads: a channel is shared freely; a stream has at most one sender and one receiver thread at a time.
#ifndef OD_RPC_CHANNEL_H
#define OD_RPC_CHANNEL_H

#include "arrow/batch.h"
#include "base/error.h"
#include "rpc/received.h"

OD_BEGIN_C

struct od_channel;

struct od_channel_options {
    const char *endpoint;   // "host:port", "[::1]:port", "unix:/path"; "http://" and "grpc://" prefixes are accepted,
                            // "https://" and "grpcs://" mean TLS
    const char *token;      // sent as "authorization: Bearer"; NULL: none
    const char *tls_ca_pem; // NULL: the system's roots
    const char *tls_certificate_pem; // client certificate, NULL: none
    const char *tls_key_pem;
    const char *tls_server_name; // overrides the name to verify; NULL: from the endpoint
    uint64_t message_bytes_max;
};

OD_CHECKED od_code od_channel_open(const struct od_channel_options *options, struct od_channel **channel,
                                   struct od_error *err); // does not connect yet
void od_channel_close(struct od_channel *channel);        // cancels what is running, waits for it
// Bytes of messages both ways since open (for statistics).
void od_channel_traffic(const struct od_channel *channel, uint64_t *sent, uint64_t *received, uint64_t *calls);

// A flag that several calls may share: od_cancel_fire cancels every call that was given it, now and later.
struct od_cancel;
struct od_cancel *od_cancel_new(void);
struct od_cancel *od_cancel_ref(struct od_cancel *cancel);
void od_cancel_unref(struct od_cancel *cancel);
void od_cancel_fire(struct od_cancel *cancel);
bool od_cancel_fired(const struct od_cancel *cancel);

// One request, one reply. timeout_ms 0: no deadline. `connect_timeout_ms` bounds how long an endpoint that cannot be
// reached is tried (0: 5000); a refused or lost connection is OD_UNAVAILABLE when nothing was sent, and
// OD_DISCONNECTED when the request may have reached the server. cancel may be NULL.
OD_CHECKED od_code od_channel_call(struct od_channel *channel, const char *method, const struct od_segment *segments,
                                   size_t count, uint64_t timeout_ms, uint64_t connect_timeout_ms,
                                   struct od_cancel *cancel, struct od_received *reply, struct od_error *err);

struct od_stream;
OD_CHECKED od_code od_stream_open(struct od_channel *channel, const char *method, uint64_t timeout_ms,
                                  struct od_cancel *cancel, struct od_stream **stream, struct od_error *err);
// Waits until the transport has taken the message. release(owner) runs when the bytes are no longer needed, also on
// failure.
OD_CHECKED od_code od_stream_send(struct od_stream *stream, const struct od_segment *segments, size_t count,
                                  od_release_fn release, void *owner, struct od_error *err);
OD_CHECKED od_code od_stream_half_close(struct od_stream *stream, struct od_error *err);
// Next message; *end = true when the server ended the call with OK. A server's error or a broken connection
// (OD_DISCONNECTED) is returned as such, also by later calls. `layout` (may be NULL) places the bytes (received.h).
// timeout_ms 0: waits as long as the call lives; after OD_TIMEOUT the stream is as before and may be asked again.
OD_CHECKED od_code od_stream_receive(struct od_stream *stream, uint64_t timeout_ms, od_layout_fn layout,
                                     struct od_received *message, bool *end, struct od_error *err);
// Any thread. Pending send and receive return OD_CANCELLED.
void od_stream_cancel(struct od_stream *stream);
// Cancels if the call is not over, waits until nothing is pending, frees.
void od_stream_close(struct od_stream *stream);

OD_END_C

#endif
