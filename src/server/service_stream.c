// service_stream.c - Stream: the client opens with a ticket and acknowledges; batches and the end go the other way.
//
// The call's context is its od_stream_call. All callbacks of a call run on one thread, so its own fields need no lock
// until it is attached to an execution; from then on that one's lock guards them.
#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "server/execution.h"
#include "server/service.h"

#define STREAM_REPLY_BATCH 1u // field numbers in StreamReply
#define WINDOW_BYTES_MAX (64 * OD_MIB)
#define SEGMENTS_ON_STACK 128u

struct sent {
    struct od_batch *batch;
    void *head;
};

static void sent_release(void *owner)
{
    struct sent *sent = owner;
    od_batch_unref(sent->batch);
    od_free(sent->head);
    od_free(sent);
}

static bool send_batch(struct od_stream_call *stream, uint64_t number, struct od_batch *batch)
{
    struct od_segment few[SEGMENTS_ON_STACK], *segments = few;
    struct od_error err = {0};
    od_code rc = OD_OK;
    size_t count;
    struct sent *sent = od_alloc(sizeof *sent);
    if (batch->segment_count + 1 > SEGMENTS_ON_STACK)
        segments = od_alloc((batch->segment_count + 1) * sizeof *segments);
    if (!sent || !segments)
        OD_TRY(od_fail(&err, OD_NO_MEMORY, "no memory to send a batch"));
    OD_TRY(od_batch_message(STREAM_REPLY_BATCH, number, batch, segments, &count, &err));
    *sent = (struct sent){od_batch_ref(batch), (void *)(uintptr_t)segments[0].data};
    od_call_send(stream->call, segments, count, sent_release, sent);
out:
    if (segments != few)
        od_free(segments);
    if (rc != OD_OK) {
        od_free(sent);
        od_call_fail(stream->call, &err);
    }
    return rc == OD_OK;
}

static void send_end(struct od_stream_call *stream, uint64_t batches, uint64_t rows)
{
    struct od_result_info info = {0};
    struct od_error err = {0};
    Openduck__V1__StreamReply reply = OPENDUCK__V1__STREAM_REPLY__INIT;
    Openduck__V1__End end = OPENDUCK__V1__END__INIT;
    end.batches = batches;
    end.rows = rows;
    end.in_transaction = stream->execution->in_transaction;
    if (od_result_ready(stream->execution->result, &info))
        end.catalog_version = (char *)(uintptr_t)info.catalog_version;
    reply.message_case = OPENDUCK__V1__STREAM_REPLY__MESSAGE_END;
    reply.end = &end;
    od_send_message(stream->call, &reply.base, false, &err);
}

static void send_failure(struct od_stream_call *stream, const struct od_error *error)
{
    od_call_fail(stream->call, error);
}

static const struct od_stream_type stream_type = {.batch = send_batch, .end = send_end, .fail = send_failure};

static void stream_start(struct od_call *call, void *service)
{
    struct od_stream_call *stream = od_calloc(1, sizeof *stream);
    if (!stream) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a stream");
        od_call_fail(call, &err);
        return;
    }
    stream->type = &stream_type;
    stream->server = service;
    stream->call = call;
    od_call_set_context(call, stream);
}

// Execution locked. A newer stream takes the place of the one before.
static void attach(struct od_execution *execution, struct od_stream_call *stream)
{
    struct od_stream_call *before = execution->stream;
    if (before && !before->failed) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_SUPERSEDED, "a newer stream has taken over this result");
        before->failed = true;
        od_call_fail(before->call, &err);
    }
    execution->stream = stream;
    stream->execution = od_execution_ref(execution);
}

static od_code open_stream(struct od_stream_call *stream, const Openduck__V1__StreamOpen *open, struct od_error *err)
{
    struct od_server *server = stream->server;
    struct od_key id;
    od_code rc = OD_OK;
    struct od_execution *execution = NULL;
    OD_TRY(od_ticket_check(&server->secret, open->ticket.data, open->ticket.len, open->partition,
                           od_call_identity(stream->call), od_clock_ms(), &id, err));
    execution = od_registry_find(server, &id);
    if (!execution)
        OD_TRY(od_fail(err, OD_NOT_FOUND,
                       "the execution of this ticket is over: it was read to its end, cancelled, or not asked for in time; "
                       "execute again"));
    uint64_t window = open->window_bytes ? open->window_bytes : OD_WINDOW_BYTES_DEFAULT;
    if (window > WINDOW_BYTES_MAX)
        window = WINDOW_BYTES_MAX;
    pthread_mutex_lock(&execution->lock);
    if (execution->core.forgotten || !execution->core.replied)
        rc = od_fail(err, OD_NOT_FOUND, "the execution of this ticket is over: execute again");
    else
        rc = od_window_open(&execution->window, open->first_batch, window, err);
    if (rc == OD_OK) {
        execution->asked_window = window;
        attach(execution, stream);
        od_execution_event_locked(execution, OD_EVENT_STREAM_OPENED);
        od_execution_account(execution);
        od_execution_flow(execution);
        od_signal_post(execution->signal); // a spooled result may need its pump
    }
    pthread_mutex_unlock(&execution->lock);
out:
    od_execution_unref(execution);
    return rc;
}

static od_code acknowledge(struct od_stream_call *stream, uint64_t next, struct od_error *err)
{
    struct od_execution *execution = stream->execution;
    od_code rc = OD_OK;
    pthread_mutex_lock(&execution->lock);
    if (execution->stream == stream && !stream->failed) {
        rc = od_window_acknowledge(&execution->window, next, err);
        if (rc == OD_OK) {
            od_execution_account(execution);
            od_execution_event_locked(execution, OD_EVENT_PROGRESS);
            if (stream->end_sent && execution->window.base == execution->window.next)
                od_execution_event_locked(execution, OD_EVENT_ACKNOWLEDGED);
            od_execution_flow(execution);
        }
    }
    pthread_mutex_unlock(&execution->lock);
    return rc;
}

static void give_up(struct od_stream_call *stream, const struct od_error *error)
{
    struct od_execution *execution = stream->execution;
    if (execution) {
        pthread_mutex_lock(&execution->lock);
        stream->failed = true;
        pthread_mutex_unlock(&execution->lock);
    }
    od_call_fail(stream->call, error);
}

static void stream_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_stream_call *stream = od_call_context(call);
    struct od_error err = {0};
    ProtobufCMessage *message = NULL;
    od_code rc = OD_OK;
    if (!stream)
        return;
    OD_TRY(od_message_unpack(&openduck__v1__stream_request__descriptor, data, bytes, &message, &err));
    const Openduck__V1__StreamRequest *request = (const Openduck__V1__StreamRequest *)message;
    if (!stream->opened && request->message_case == OPENDUCK__V1__STREAM_REQUEST__MESSAGE_OPEN) {
        stream->opened = true;
        OD_TRY(open_stream(stream, request->open, &err));
    } else if (stream->opened && request->message_case == OPENDUCK__V1__STREAM_REQUEST__MESSAGE_ACK) {
        OD_TRY(acknowledge(stream, request->ack->next_batch, &err));
    } else {
        OD_TRY(od_fail(&err, OD_INVALID, "a stream begins with one `open`, and only `ack` follows"));
    }
    od_call_read_next(call);
out:
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
    if (rc != OD_OK)
        give_up(stream, &err);
}

static void stream_half_closed(struct od_call *call)
{
    struct od_stream_call *stream = od_call_context(call);
    struct od_execution *execution = stream ? stream->execution : NULL;
    if (!execution) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_INVALID, "the stream ended before its first message: `open` with a ticket");
        od_call_fail(call, &err);
        return;
    }
    pthread_mutex_lock(&execution->lock);
    if (execution->stream == stream) {
        stream->plain = true;
        if (stream->end_sent)
            od_execution_event_locked(execution, OD_EVENT_ACKNOWLEDGED);
        od_execution_flow(execution);
    }
    pthread_mutex_unlock(&execution->lock);
}

void od_stream_sendable(struct od_call *call)
{
    struct od_stream_call *stream = od_call_context(call);
    struct od_execution *execution = stream ? stream->execution : NULL;
    if (!execution)
        return;
    pthread_mutex_lock(&execution->lock);
    if (execution->stream == stream && stream->plain) {
        od_execution_event_locked(execution, OD_EVENT_PROGRESS);
        od_execution_flow(execution);
    }
    pthread_mutex_unlock(&execution->lock);
}

void od_stream_detach(struct od_stream_call *stream, bool cancelled)
{
    struct od_execution *execution = stream->execution;
    if (!execution)
        return;
    pthread_mutex_lock(&execution->lock);
    if (execution->stream == stream) {
        execution->stream = NULL;
        od_execution_event_locked(execution, cancelled ? OD_EVENT_STREAM_BROKEN : OD_EVENT_STREAM_CLOSED);
    }
    pthread_mutex_unlock(&execution->lock);
    od_execution_unref(execution);
    stream->execution = NULL;
}

static void stream_closed(struct od_call *call, bool cancelled)
{
    struct od_stream_call *stream = od_call_context(call);
    if (stream)
        od_stream_detach(stream, cancelled);
    od_free(stream);
}

const struct od_method od_stream_method = {
    .name = OD_SERVICE "Stream",
    .start = stream_start,
    .message = stream_message,
    .half_closed = stream_half_closed,
    .sendable = od_stream_sendable,
    .closed = stream_closed,
};
