// call.c - one call on the server: operations in flight, queued replies, callbacks in order. It begins in arrival.c.
//
// Invariants
//   C1  A call is bound to one completion queue, of which one thread at a time runs callbacks (queue.c): they never overlap.
//   C2  At most one send-side and one read-side operation is in flight besides the close notice; whoever sets
//       `sending` or `reading` under the lock starts the operation, outside the lock (gRPC may run release functions
//       inside).
//   C3  `operations` counts what is in flight. gRPC's call object is let go when it is 0 and `closed` has run, not
//       when the last od_call reference goes: a forgotten reference must not keep the server from stopping.
//   C4  After `gone` or `finish` no message, half_closed or sendable callback begins.
//   C5  Every queued message's release function runs exactly once, also when the peer has left.
#include "rpc/call_internal.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "rpc/bytes.h"
#include "rpc/error_detail.h"
#include "rpc/message.h"

#include <grpc/byte_buffer.h>

#include <string.h>

#define HALF_CLOSE_DELAY_MS 20u

struct od_outgoing {
    struct od_outgoing *next;
    grpc_byte_buffer *buffer;
    size_t bytes;
};

static struct od_call *call_of(struct od_tag *tag, size_t offset)
{
    return (struct od_call *)((char *)tag - offset);
}

// ---- life

void od_call_free(struct od_call *call)
{
    if (call->has_detail) {
        grpc_slice_unref(call->trailing.key);
        grpc_slice_unref(call->trailing.value);
    }
    pthread_mutex_destroy(&call->lock);
    od_free(call);
}

struct od_call *od_call_ref(struct od_call *call)
{
    atomic_fetch_add_explicit(&call->references, 1, memory_order_relaxed);
    return call;
}

void od_call_unref(struct od_call *call)
{
    if (call && atomic_fetch_sub_explicit(&call->references, 1, memory_order_acq_rel) == 1)
        od_call_free(call);
}

// With the lock held, before an operation is started.
static void operation_begin(struct od_call *call)
{
    call->operations++;
    od_call_ref(call);
}

static void operation_end(struct od_call *call)
{
    pthread_mutex_lock(&call->lock);
    bool over = --call->operations == 0 && call->gone;
    pthread_mutex_unlock(&call->lock);
    if (over) {
        grpc_call_unref(call->core);
        call->core = NULL;
        od_server_call_ended(call->server);
    }
    od_call_unref(call);
}

// An operation that gRPC refused to start: only possible on a call it considers dead.
static void operation_refused(struct od_call *call)
{
    grpc_call_cancel(call->core, NULL);
    operation_end(call);
}

static void outgoing_free(struct od_outgoing *item)
{
    while (item) {
        struct od_outgoing *next = item->next;
        grpc_byte_buffer_destroy(item->buffer);
        od_free(item);
        item = next;
    }
}

// ---- sending

// Starts the next send-side operation if there is one and none is in flight.
static void pump(struct od_call *call)
{
    grpc_op ops[3];
    size_t count = 0;
    memset(ops, 0, sizeof ops);
    pthread_mutex_lock(&call->lock);
    if (call->sending || call->gone || call->broken || (!call->first && call->finish != OD_FINISH_WANTED)) {
        pthread_mutex_unlock(&call->lock);
        return;
    }
    if (!call->metadata_sent) {
        call->metadata_sent = true;
        ops[count++].op = GRPC_OP_SEND_INITIAL_METADATA;
    }
    struct od_outgoing *item = call->first;
    if (item) {
        call->first = item->next;
        if (!call->first)
            call->last = NULL;
        item->next = NULL;
        ops[count].op = GRPC_OP_SEND_MESSAGE;
        // More to come at once: gRPC may gather small messages into one write.
        ops[count].flags = call->first ? GRPC_WRITE_BUFFER_HINT : 0;
        ops[count++].data.send_message.send_message = item->buffer;
    }
    grpc_slice details = grpc_empty_slice();
    if (!call->first && call->finish == OD_FINISH_WANTED) {
        call->finish = OD_FINISH_STARTED;
        ops[count].op = GRPC_OP_SEND_STATUS_FROM_SERVER;
        ops[count].data.send_status_from_server.status = call->status;
        if (call->status_text[0]) {
            details = grpc_slice_from_copied_string(call->status_text);
            ops[count].data.send_status_from_server.status_details = &details;
        }
        if (call->has_detail) {
            ops[count].data.send_status_from_server.trailing_metadata_count = 1;
            ops[count].data.send_status_from_server.trailing_metadata = &call->trailing;
        }
        count++;
    }
    call->in_flight = item;
    call->sending = true;
    operation_begin(call);
    pthread_mutex_unlock(&call->lock);
    grpc_call_error refused = grpc_call_start_batch(call->core, ops, count, &call->send_tag, NULL);
    grpc_slice_unref(details);
    if (refused != GRPC_CALL_OK) {
        pthread_mutex_lock(&call->lock);
        call->broken = true;
        call->in_flight = NULL;
        pthread_mutex_unlock(&call->lock);
        outgoing_free(item);
        operation_refused(call);
    }
}

static void on_sent(struct od_tag *tag, bool ok)
{
    struct od_call *call = call_of(tag, offsetof(struct od_call, send_tag));
    pthread_mutex_lock(&call->lock);
    struct od_outgoing *item = call->in_flight;
    bool confirmed = call->confirming && ok;
    call->in_flight = NULL;
    call->sending = false;
    call->confirming = false;
    if (item)
        call->unsent_bytes -= item->bytes;
    if (!ok)
        call->broken = true;
    bool live = !call->gone && !call->broken && call->finish == OD_FINISH_NONE;
    bool drained = live && item && !call->first;
    pthread_mutex_unlock(&call->lock);
    outgoing_free(item);
    if (confirmed && live)
        call->method->half_closed(call);
    if (drained && call->method->sendable)
        call->method->sendable(call);
    pump(call);
    operation_end(call);
}

// Queues one message, and the end after it when `finish`.
static void enqueue(struct od_call *call, const struct od_segment *segments, size_t count, od_release_fn release,
                    void *owner, bool finish)
{
    struct od_outgoing *item = od_alloc(sizeof *item);
    grpc_byte_buffer *buffer = item ? od_bytes_wrap(segments, count, release, owner) : NULL;
    if (!buffer) {
        od_free(item);
        if (release)
            release(owner);
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a reply");
        od_call_fail(call, &err);
        return;
    }
    *item = (struct od_outgoing){.buffer = buffer, .bytes = od_segments_bytes(segments, count)};
    pthread_mutex_lock(&call->lock);
    bool dropped = call->gone || call->broken || call->finish != OD_FINISH_NONE;
    if (!dropped) {
        *(call->last ? &call->last->next : &call->first) = item;
        call->last = item;
        call->unsent_bytes += item->bytes;
        if (finish)
            call->finish = OD_FINISH_WANTED;
    }
    pthread_mutex_unlock(&call->lock);
    if (dropped)
        outgoing_free(item);
    else
        pump(call);
}

void od_call_send(struct od_call *call, const struct od_segment *segments, size_t count, od_release_fn release,
                  void *owner)
{
    enqueue(call, segments, count, release, owner, false);
}

void od_call_reply(struct od_call *call, const struct od_segment *segments, size_t count, od_release_fn release,
                   void *owner)
{
    enqueue(call, segments, count, release, owner, true);
}

size_t od_call_unsent_bytes(struct od_call *call)
{
    pthread_mutex_lock(&call->lock);
    size_t bytes = call->unsent_bytes;
    pthread_mutex_unlock(&call->lock);
    return bytes;
}

void od_call_finish(struct od_call *call)
{
    pthread_mutex_lock(&call->lock);
    if (call->finish == OD_FINISH_NONE)
        call->finish = OD_FINISH_WANTED;
    pthread_mutex_unlock(&call->lock);
    pump(call);
}

void od_call_fail(struct od_call *call, const struct od_error *error)
{
    struct od_buf detail;
    od_buf_init(&detail, OD_ERROR_DETAIL_BYTES + 256);
    // Without memory for the detail the status and its text still say what happened.
    bool packed = od_error_pack(error, &detail, NULL) == OD_OK;
    pthread_mutex_lock(&call->lock);
    if (call->finish == OD_FINISH_NONE && !call->gone) {
        call->finish = OD_FINISH_WANTED;
        call->status = (grpc_status_code)od_code_grpc(error->code == OD_OK ? OD_INTERNAL : error->code);
        od_text_clean(call->status_text, sizeof call->status_text, error->message, strlen(error->message),
                      OD_STATUS_ESCAPED_BYTES);
        if (packed) {
            call->trailing.key = grpc_slice_from_static_string("openduck-error-bin");
            call->trailing.value = grpc_slice_from_copied_buffer((const char *)detail.data, detail.bytes);
            call->has_detail = true;
        }
    }
    pthread_mutex_unlock(&call->lock);
    od_buf_release(&detail);
    pump(call);
}

// ---- reading

void od_call_read_next(struct od_call *call)
{
    pthread_mutex_lock(&call->lock);
    if (call->reading || call->gone || call->finish != OD_FINISH_NONE) {
        pthread_mutex_unlock(&call->lock);
        return;
    }
    call->reading = true;
    operation_begin(call);
    pthread_mutex_unlock(&call->lock);
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_MESSAGE;
    op.data.recv_message.recv_message = &call->incoming;
    if (grpc_call_start_batch(call->core, &op, 1, &call->receive_tag, NULL) != GRPC_CALL_OK)
        operation_refused(call);
}

static void delay(struct od_call *call)
{
    struct od_queue *queue = call->queue;
    call->due_ms = od_clock_ms() + HALF_CLOSE_DELAY_MS;
    call->next_delayed = NULL;
    *(queue->delayed ? &queue->delayed_last->next_delayed : &queue->delayed) = od_call_ref(call);
    queue->delayed_last = call;
}

uint64_t od_call_run_delayed(struct od_queue *queue)
{
    while (queue->delayed) {
        struct od_call *call = queue->delayed;
        if (call->due_ms > od_clock_ms())
            return call->due_ms;
        queue->delayed = call->next_delayed;
        pthread_mutex_lock(&call->lock);
        bool live = !call->gone && !call->broken && call->finish == OD_FINISH_NONE;
        pthread_mutex_unlock(&call->lock);
        if (live)
            call->method->half_closed(call);
        od_call_unref(call);
    }
    return UINT64_MAX;
}

void od_call_drop_delayed(struct od_queue *queue)
{
    while (queue->delayed) {
        struct od_call *call = queue->delayed;
        queue->delayed = call->next_delayed;
        od_call_unref(call);
    }
}

// gRPC reports "no more messages" both for a half-close and for a call that broke, and the news that it broke comes a
// moment later. Sending the initial metadata tells them apart: it succeeds only on a stream that is still open. When
// it has been sent already, waiting for that moment is all that is left.
static void half_close(struct od_call *call)
{
    if (!call->method->half_closed) {
        if (!call->any_message && call->method->message) {
            struct od_error err = {0};
            (void)od_fail(&err, OD_INVALID, "the call %s came without a message", call->method->name);
            od_call_fail(call, &err);
        }
        return;
    }
    pthread_mutex_lock(&call->lock);
    bool confirm = !call->metadata_sent && !call->broken;
    if (confirm) {
        call->metadata_sent = call->sending = call->confirming = true;
        operation_begin(call);
    }
    pthread_mutex_unlock(&call->lock);
    if (!confirm) {
        delay(call);
        return;
    }
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_SEND_INITIAL_METADATA;
    if (grpc_call_start_batch(call->core, &op, 1, &call->send_tag, NULL) != GRPC_CALL_OK)
        operation_refused(call);
}

static void deliver(struct od_call *call, grpc_byte_buffer *buffer)
{
    struct od_received message;
    struct od_error err = {0};
    if (od_bytes_flatten(buffer, call->method->layout, &message, &err) != OD_OK) {
        od_call_fail(call, &err);
        return;
    }
    call->any_message = true;
    if (call->method->message) {
        call->message = &message;
        call->method->message(call, message.data, message.bytes);
        call->message = NULL;
    }
    od_received_release(&message);
}

void od_call_take_message(struct od_call *call, struct od_received *message)
{
    *message = *call->message;
    *call->message = (struct od_received){0};
}

static void on_received(struct od_tag *tag, bool ok)
{
    struct od_call *call = call_of(tag, offsetof(struct od_call, receive_tag));
    pthread_mutex_lock(&call->lock);
    grpc_byte_buffer *buffer = call->incoming;
    call->incoming = NULL;
    call->reading = false;
    bool live = !call->gone && !call->broken && call->finish == OD_FINISH_NONE;
    pthread_mutex_unlock(&call->lock);
    if (live && ok && buffer)
        deliver(call, buffer);
    else if (live && ok)
        half_close(call);
    if (buffer)
        grpc_byte_buffer_destroy(buffer);
    operation_end(call);
}

// ---- the end

static void on_closed(struct od_tag *tag, bool ok)
{
    (void)ok; // this operation always succeeds
    struct od_call *call = call_of(tag, offsetof(struct od_call, close_tag));
    pthread_mutex_lock(&call->lock);
    struct od_outgoing *left = call->first;
    call->first = call->last = NULL;
    call->gone = true;
    for (struct od_outgoing *item = left; item; item = item->next)
        call->unsent_bytes -= item->bytes;
    pthread_mutex_unlock(&call->lock);
    outgoing_free(left);
    if (call->started && call->method->closed)
        call->method->closed(call, call->cancelled != 0);
    operation_end(call);
}

bool od_call_begin(struct od_call *call)
{
    call->send_tag.run = on_sent;
    call->receive_tag.run = on_received;
    call->close_tag.run = on_closed;
    pthread_mutex_lock(&call->lock);
    operation_begin(call);
    pthread_mutex_unlock(&call->lock);
    grpc_op op;
    memset(&op, 0, sizeof op);
    op.op = GRPC_OP_RECV_CLOSE_ON_SERVER;
    op.data.recv_close_on_server.cancelled = &call->cancelled;
    if (grpc_call_start_batch(call->core, &op, 1, &call->close_tag, NULL) == GRPC_CALL_OK)
        return true;
    // Not seen with a call that has just arrived; without the notice the call ends here.
    call->gone = true;
    operation_refused(call);
    return false;
}
