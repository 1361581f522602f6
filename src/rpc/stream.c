// stream.c - a two-way call of the client: one sender thread, one receiver thread, any thread may cancel.
//
// Invariants
//   T1  One receive is pending from open until the end, so that the transport reads ahead while the caller works.
//   T2  `pending` has the bit of every operation whose completion has not been taken from the queue; the queue goes
//       back to the channel's stock only when it is 0.
//   T3  The status is taken from the queue once, under `final_lock`, and kept: every later call gives the same answer.
//   T4  The status arrives only after all messages have been read; so a sender that failed waits for it a moment and
//       no longer, since the thread that should read may be its own.
#include "rpc/channel_internal.h"

#include "base/alloc.h"
#include "rpc/bytes.h"
#include "rpc/runtime.h"

#include <grpc/byte_buffer.h>

#include <stdio.h>
#include <string.h>

#define SEND_STATUS_WAIT_MS 200u

enum operation { OP_INITIAL, OP_SEND, OP_HALF_CLOSE, OP_RECEIVE, OP_STATUS, OP_COUNT };

struct od_stream {
    struct od_attempt attempt;
    uint64_t timeout_ms;
    atomic_uint pending; // bits of enum operation
    char tags[OP_COUNT]; // their addresses are the tags
    grpc_metadata request_metadata;
    grpc_metadata_array initial;
    grpc_byte_buffer *received;
    atomic_bool cancelled;
    bool half_closed; // sender's
    bool broken;      // sender's: a send failed
    bool ended;       // receiver's: no message will come

    pthread_mutex_t final_lock;
    bool final_known;
    struct od_final final;
};

static od_code start(struct od_stream *stream, enum operation operation, const grpc_op *ops, size_t count,
                     struct od_error *err)
{
    atomic_fetch_or(&stream->pending, 1u << operation);
    grpc_call_error refused = grpc_call_start_batch(stream->attempt.call, ops, count, &stream->tags[operation], NULL);
    if (refused == GRPC_CALL_OK)
        return OD_OK;
    atomic_fetch_and(&stream->pending, ~(1u << operation));
    return od_fail(err, OD_INTERNAL, "gRPC refuses an operation of a stream: %s", grpc_call_error_to_string(refused));
}

// Waits for an operation. False: not within the deadline.
static bool take(struct od_stream *stream, enum operation operation, gpr_timespec deadline, bool *ok)
{
    grpc_event event = grpc_completion_queue_pluck(stream->attempt.queue, &stream->tags[operation], deadline, NULL);
    if (event.type != GRPC_OP_COMPLETE)
        return false;
    atomic_fetch_and(&stream->pending, ~(1u << operation));
    *ok = event.success != 0;
    return true;
}

static bool is_cancelled(const struct od_stream *stream)
{
    return atomic_load(&stream->cancelled) || od_attempt_cancelled(&stream->attempt);
}

static od_code start_receive(struct od_stream *stream, struct od_error *err)
{
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &stream->received;
    return start(stream, OP_RECEIVE, &op, 1, err);
}

od_code od_stream_open(struct od_channel *channel, const char *method, uint64_t timeout_ms, struct od_cancel *cancel,
                       struct od_stream **out, struct od_error *err)
{
    od_code rc;
    OD_TRY(od_channel_enter(channel, err));
    struct od_stream *stream = od_calloc(1, sizeof *stream);
    if (!stream) {
        od_channel_leave(channel);
        return od_fail(err, OD_NO_MEMORY, "no memory for a stream");
    }
    rc = od_channel_begin(channel, method, timeout_ms, 0, cancel, &stream->attempt, err);
    if (rc != OD_OK) {
        od_free(stream);
        od_channel_leave(channel);
        return rc;
    }
    od_cancel_ref(cancel);
    pthread_mutex_lock(&channel->lock);
    channel->references++;
    pthread_mutex_unlock(&channel->lock);
    stream->timeout_ms = timeout_ms;
    pthread_mutex_init(&stream->final_lock, NULL);
    grpc_metadata_array_init(&stream->initial);
    od_final_init(&stream->final);

    grpc_op ops[2];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.count = od_channel_metadata(channel, &stream->request_metadata);
    ops[0].data.send_initial_metadata.metadata = &stream->request_metadata;
    ops[1].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[1].data.recv_initial_metadata.recv_initial_metadata = &stream->initial;
    rc = start(stream, OP_INITIAL, ops, 2, err);
    if (rc == OD_OK) {
        memset(ops, 0, sizeof ops);
        od_final_op(&stream->final, &ops[0]);
        rc = start(stream, OP_STATUS, ops, 1, err);
    }
    if (rc == OD_OK)
        rc = start_receive(stream, err);
    od_channel_leave(channel);
    if (rc == OD_OK)
        *out = stream;
    else
        od_stream_close(stream);
out:
    return rc;
}

// How the call ended, waiting for it until the deadline. *known = false: not yet.
static od_code final_code(struct od_stream *stream, gpr_timespec deadline, bool *known, struct od_error *err)
{
    bool ok;
    pthread_mutex_lock(&stream->final_lock);
    if (!stream->final_known)
        stream->final_known = take(stream, OP_STATUS, deadline, &ok);
    *known = stream->final_known;
    pthread_mutex_unlock(&stream->final_lock);
    return *known ? od_final_code(&stream->final, stream->attempt.channel->name, is_cancelled(stream),
                                  stream->timeout_ms, err)
                  : OD_OK;
}

// ---- sending

static od_code send_failed(struct od_stream *stream, struct od_error *err)
{
    bool known;
    stream->broken = true;
    if (is_cancelled(stream))
        return od_fail(err, OD_CANCELLED, "the call was cancelled");
    od_code rc = final_code(stream, od_rpc_deadline(SEND_STATUS_WAIT_MS), &known, err);
    if (known && rc != OD_OK)
        return rc;
    return od_fail(err, OD_DISCONNECTED, "%s ended the call before it took this message; its last messages say why",
                   stream->attempt.channel->name);
}

od_code od_stream_send(struct od_stream *stream, const struct od_segment *segments, size_t count, od_release_fn release,
                       void *owner, struct od_error *err)
{
    od_code rc;
    bool ok = false;
    struct od_channel *channel = stream->attempt.channel;
    rc = od_channel_enter(channel, err);
    if (rc != OD_OK) {
        if (release)
            release(owner);
        return rc;
    }
    grpc_byte_buffer *buffer = od_bytes_wrap(segments, count, release, owner);
    if (!buffer) {
        if (release)
            release(owner);
        rc = od_fail(err, OD_NO_MEMORY, "no memory to send to %s", channel->name);
        goto out;
    }
    if (stream->half_closed) {
        rc = od_fail(err, OD_INVALID, "nothing can be sent after the half-close");
        goto out;
    }
    if (stream->broken || is_cancelled(stream)) {
        rc = send_failed(stream, err);
        goto out;
    }
    size_t bytes = od_segments_bytes(segments, count);
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_MESSAGE;
    op.data.send_message.send_message = buffer;
    OD_TRY(start(stream, OP_SEND, &op, 1, err));
    (void)take(stream, OP_SEND, gpr_inf_future(GPR_CLOCK_MONOTONIC), &ok);
    if (ok)
        atomic_fetch_add_explicit(&channel->bytes_sent, bytes, memory_order_relaxed);
    else
        rc = send_failed(stream, err);
out:
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    od_channel_leave(channel);
    return rc;
}

od_code od_stream_half_close(struct od_stream *stream, struct od_error *err)
{
    if (od_rpc_forked())
        return od_fail(err, OD_UNSUPPORTED, "a stream cannot be used after fork()");
    if (stream->half_closed)
        return OD_OK;
    if (stream->broken || is_cancelled(stream))
        return send_failed(stream, err);
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    stream->half_closed = true;
    return start(stream, OP_HALF_CLOSE, &op, 1, err);
}

// ---- receiving

od_code od_stream_receive(struct od_stream *stream, uint64_t timeout_ms, od_layout_fn layout,
                          struct od_received *message, bool *end, struct od_error *err)
{
    od_code rc;
    bool ok = false, known = false;
    struct od_channel *channel = stream->attempt.channel;
    *end = false;
    rc = od_channel_enter(channel, err);
    if (rc != OD_OK)
        return rc;
    grpc_byte_buffer *buffer = NULL;
    if (!stream->ended && !take(stream, OP_RECEIVE, od_rpc_deadline(timeout_ms), &ok)) {
        rc = od_fail(err, OD_TIMEOUT, "%s has sent nothing for %llu ms", channel->name, (unsigned long long)timeout_ms);
        goto out;
    }
    buffer = stream->received;
    stream->received = NULL;
    if (is_cancelled(stream)) {
        stream->ended = true;
        rc = od_fail(err, OD_CANCELLED, "the call was cancelled");
    } else if (buffer && ok) {
        OD_TRY(start_receive(stream, err)); // before the copy: the transport goes on meanwhile
        rc = od_bytes_flatten(buffer, layout, message, err);
        if (rc != OD_OK) {
            // A message has been lost: nothing after it may look like the next one.
            od_stream_cancel(stream);
            goto out;
        }
        atomic_fetch_add_explicit(&channel->bytes_received, message->bytes, memory_order_relaxed);
    } else {
        stream->ended = true;
        rc = final_code(stream, gpr_inf_future(GPR_CLOCK_MONOTONIC), &known, err);
        *end = rc == OD_OK;
    }
out:
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    od_channel_leave(channel);
    return rc;
}

// ---- the end

void od_stream_cancel(struct od_stream *stream)
{
    atomic_store(&stream->cancelled, true);
    if (!od_rpc_forked())
        grpc_call_cancel(stream->attempt.call, NULL);
}

void od_stream_close(struct od_stream *stream)
{
    if (!stream)
        return;
    struct od_channel *channel = stream->attempt.channel;
    struct od_cancel *cancel = stream->attempt.cancel;
    if (!od_rpc_forked()) {
        bool ok;
        if (!stream->final_known)
            grpc_call_cancel(stream->attempt.call, NULL);
        for (unsigned operation = 0; operation < OP_COUNT; operation++)
            if (atomic_load(&stream->pending) & (1u << operation))
                (void)take(stream, (enum operation)operation, gpr_inf_future(GPR_CLOCK_MONOTONIC), &ok);
        if (stream->received)
            grpc_byte_buffer_destroy(stream->received);
        grpc_metadata_array_destroy(&stream->initial);
        od_channel_end(&stream->attempt);
        od_final_release(&stream->final);
    }
    od_cancel_unref(cancel);
    pthread_mutex_destroy(&stream->final_lock);
    od_free(stream);
    od_channel_unref(channel);
}
