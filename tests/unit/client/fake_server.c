// fake_server.c - see fake_server.h.
#include "unit/client/fake_server.h"

#include "arrow/ipc.h"
#include "base/alloc.h"
#include "os/clock.h"
#include "os/thread.h"
#include "rpc/message.h"
#include "rpc/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// ---- data

static void schema_release(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (schema->children[i]->release)
            schema->children[i]->release(schema->children[i]);
        free(schema->children[i]);
    }
    free(schema->children);
    schema->release = NULL;
}

void make_schema(struct ArrowSchema *schema)
{
    struct ArrowSchema *column = calloc(1, sizeof *column);
    *column = (struct ArrowSchema){
        .format = "l", .name = "n", .flags = ARROW_FLAG_NULLABLE, .release = schema_release};
    *schema = (struct ArrowSchema){.format = "+s", .name = "", .n_children = 1, .release = schema_release};
    schema->children = calloc(1, sizeof(struct ArrowSchema *));
    schema->children[0] = column;
}

static void array_release(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        if (array->children[i]->release)
            array->children[i]->release(array->children[i]);
        free(array->children[i]);
    }
    free(array->children);
    if (array->n_buffers == 2)
        free((void *)(uintptr_t)array->buffers[1]);
    free(array->buffers);
    array->release = NULL;
}

void make_array(struct ArrowArray *array, int64_t from, unsigned rows)
{
    struct ArrowArray *column = calloc(1, sizeof *column);
    int64_t *values = calloc(rows + 1, sizeof *values);
    for (unsigned i = 0; i < rows; i++)
        values[i] = from + i;
    *column = (struct ArrowArray){.length = rows, .n_buffers = 2, .release = array_release};
    column->buffers = calloc(2, sizeof(void *));
    column->buffers[1] = values;
    *array = (struct ArrowArray){.length = rows, .n_buffers = 1, .n_children = 1, .release = array_release};
    array->buffers = calloc(1, sizeof(void *));
    array->children = calloc(1, sizeof(struct ArrowArray *));
    array->children[0] = column;
}

static struct od_batch *make_batch(const struct fake *fake, uint64_t number)
{
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct od_batch *batch;
    struct od_error err;
    make_schema(&schema);
    make_array(&array, (int64_t)(number * fake->rows), fake->rows);
    if (od_ipc_encode_array(&schema, &array, &batch, &err) != OD_OK)
        fail_msg("%s", err.message);
    array.release(&array);
    schema.release(&schema);
    if (fake->damaged && number == 1)
        memset((void *)(uintptr_t)(batch->segments[0].data + 8), 0x5a, 64);
    if (fake->wrong_rows)
        batch->rows++;
    return batch;
}

static void schema_bytes(struct od_buf *out)
{
    struct ArrowSchema schema;
    od_buf_init(out, 1 << 20);
    make_schema(&schema);
    assert_int_equal(od_ipc_encode_schema(&schema, out, NULL), OD_OK);
    schema.release(&schema);
}

// ---- sending

static void free_bytes(void *owner)
{
    od_free(owner);
}

static void send_message(struct od_call *call, const ProtobufCMessage *message)
{
    struct od_segment segment;
    assert_int_equal(od_message_pack(message, &segment, NULL), OD_OK);
    od_call_send(call, &segment, 1, free_bytes, (void *)(uintptr_t)segment.data);
}

static void fail_call(struct od_call *call, od_code code)
{
    struct od_error err;
    (void)od_fail(&err, code, "scripted %s", od_code_name(code));
    od_call_fail(call, &err);
}

struct sent_batch {
    struct od_batch *batch;
    uint8_t *head;
};

static void sent_release(void *owner)
{
    struct sent_batch *sent = owner;
    od_batch_unref(sent->batch);
    od_free(sent->head);
    free(sent);
}

static size_t send_batch(const struct fake *fake, struct od_call *call, uint64_t number)
{
    struct od_segment segments[8];
    size_t count;
    struct sent_batch *sent = calloc(1, sizeof *sent);
    sent->batch = make_batch(fake, number);
    uint64_t told = fake->skip_at && number == fake->skip_at ? number + 1 : number;
    assert_int_equal(od_batch_message(1, told, sent->batch, segments, &count, NULL), OD_OK);
    sent->head = (uint8_t *)(uintptr_t)segments[0].data;
    size_t bytes = sent->batch->bytes;
    od_call_send(call, segments, count, sent_release, sent);
    return bytes;
}

// ---- bookkeeping of all calls

struct fake_call {
    struct fake *fake;
    uint64_t next;      // batch to send
    unsigned sent;      // on this stream
    uint64_t in_flight; // bytes
    uint64_t acked;
    uint64_t window;
    size_t batch_bytes;
    bool opened, over;
    uint64_t expected;  // upload
    bool is_stream;
};

static void on_start(struct od_call *call, void *service)
{
    struct fake_call *state = calloc(1, sizeof *state);
    state->fake = service;
    od_call_set_context(call, state);
    pthread_mutex_lock(&state->fake->lock);
    state->fake->calls++;
    pthread_mutex_unlock(&state->fake->lock);
}

static void on_closed(struct od_call *call, bool cancelled)
{
    struct fake_call *state = od_call_context(call);
    struct fake *fake = state->fake;
    pthread_mutex_lock(&fake->lock);
    fake->calls--;
    if (state->is_stream) {
        fake->streams_closed++;
        fake->streams_cancelled += cancelled;
    }
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
    free(state);
}

static void count(struct fake *fake, unsigned *counter)
{
    pthread_mutex_lock(&fake->lock);
    (*counter)++;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
}

// ---- Execute

static void on_execute(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fake *fake = ((struct fake_call *)od_call_context(call))->fake;
    ProtobufCMessage *unpacked;
    if (!fake->native) {
        fail_call(call, OD_UNSUPPORTED);
        return;
    }
    if (od_message_unpack(&openduck__v1__execute_request__descriptor, data, bytes, &unpacked, NULL) != OD_OK) {
        fail_call(call, OD_INVALID);
        return;
    }
    const Openduck__V1__ExecuteRequest *request = (const void *)unpacked;
    pthread_mutex_lock(&fake->lock);
    unsigned n = fake->executes;
    struct fake_seen_execute *seen = &fake->seen[n % FAKE_SEEN_MAX];
    snprintf(seen->request_id, sizeof seen->request_id, "%s", request->request_id);
    snprintf(seen->session_id, sizeof seen->session_id, "%s", request->session_id);
    snprintf(seen->first_incarnation, sizeof seen->first_incarnation, "%s", request->first_incarnation);
    snprintf(seen->sql, sizeof seen->sql, "%s", request->sql);
    seen->sequence = request->sequence;
    pthread_mutex_unlock(&fake->lock);
    protobuf_c_message_free_unpacked(unpacked, NULL);
    od_code step = n < sizeof fake->execute_steps / sizeof *fake->execute_steps ? fake->execute_steps[n] : OD_OK;
    count(fake, &fake->executes);
    if (step == FAKE_HANG)
        return;
    if (step != OD_OK) {
        fail_call(call, step);
        return;
    }
    Openduck__V1__ExecuteReply reply = OPENDUCK__V1__EXECUTE_REPLY__INIT;
    Openduck__V1__End end = OPENDUCK__V1__END__INIT;
    Openduck__V1__Ticket ticket = OPENDUCK__V1__TICKET__INIT, *tickets[] = {&ticket};
    Openduck__V1__Batch batch[8], *batches[8];
    struct od_batch *encoded[8];
    struct od_buf schema;
    schema_bytes(&schema);
    reply.execution_id = (char *)(uintptr_t) "execution-1";
    reply.incarnation = (char *)(uintptr_t) "incarnation-1";
    reply.statement = (char *)(uintptr_t) "SELECT";
    reply.schema.data = schema.data;
    reply.schema.len = schema.bytes;
    reply.n_batches = fake->inline_batches;
    reply.batches = batches;
    for (unsigned i = 0; i < fake->inline_batches; i++) {
        encoded[i] = make_batch(fake, i);
        openduck__v1__batch__init(&batch[i]);
        batch[i].number = i;
        batch[i].rows = encoded[i]->rows;
        batch[i].ipc.data = (uint8_t *)(uintptr_t)encoded[i]->segments[0].data;
        batch[i].ipc.len = encoded[i]->bytes;
        batches[i] = &batch[i];
    }
    if (fake->inline_batches >= fake->batches) {
        end.batches = (uint64_t)((int64_t)fake->batches + fake->lie_batches);
        end.rows = (uint64_t)((int64_t)fake->batches * fake->rows + fake->lie_rows);
        reply.end = fake->no_end ? NULL : &end;
    } else {
        ticket.ticket.data = (uint8_t *)(uintptr_t) "ticket";
        ticket.ticket.len = 6;
        reply.n_tickets = 1;
        reply.tickets = tickets;
    }
    send_message(call, &reply.base);
    od_call_finish(call);
    for (unsigned i = 0; i < fake->inline_batches; i++)
        od_batch_unref(encoded[i]);
    od_buf_release(&schema);
}

// ---- Stream

static void send_end(struct fake *fake, struct od_call *call)
{
    Openduck__V1__End end = OPENDUCK__V1__END__INIT;
    Openduck__V1__StreamReply reply = OPENDUCK__V1__STREAM_REPLY__INIT;
    static const uint8_t garbage[] = {0x0a, 0xff, 0xff, 0x01};
    if (fake->garbage_at_end) {
        struct od_segment segment = {garbage, sizeof garbage};
        od_call_send(call, &segment, 1, NULL, NULL);
    } else if (!fake->no_end) {
        end.batches = (uint64_t)((int64_t)fake->batches + fake->lie_batches);
        end.rows = (uint64_t)((int64_t)fake->batches * fake->rows + fake->lie_rows);
        reply.message_case = OPENDUCK__V1__STREAM_REPLY__MESSAGE_END;
        reply.end = &end;
        send_message(call, &reply.base);
    }
    od_call_finish(call);
}

static void send_what_may_be_sent(struct fake *fake, struct od_call *call, struct fake_call *state)
{
    while (!state->over && !fake->stall) {
        if (state->next == fake->batches) {
            state->over = true;
            send_end(fake, call);
            return;
        }
        pthread_mutex_lock(&fake->lock);
        bool cut = fake->cuts && state->sent == fake->cut_after;
        fake->cuts -= cut;
        pthread_mutex_unlock(&fake->lock);
        if (cut) {
            state->over = true;
            fail_call(call, fake->cut_code);
            return;
        }
        if (state->in_flight && state->in_flight + state->batch_bytes > state->window)
            return;
        state->batch_bytes = send_batch(fake, call, state->next++);
        state->in_flight += state->batch_bytes;
        state->sent++;
        pthread_mutex_lock(&fake->lock);
        if (state->in_flight > fake->in_flight_max)
            fake->in_flight_max = state->in_flight;
        pthread_mutex_unlock(&fake->lock);
    }
}

static void on_stream(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fake_call *state = od_call_context(call);
    struct fake *fake = state->fake;
    ProtobufCMessage *unpacked;
    if (od_message_unpack(&openduck__v1__stream_request__descriptor, data, bytes, &unpacked, NULL) != OD_OK) {
        fail_call(call, OD_INVALID);
        return;
    }
    const Openduck__V1__StreamRequest *request = (const void *)unpacked;
    if (request->message_case == OPENDUCK__V1__STREAM_REQUEST__MESSAGE_OPEN) {
        state->is_stream = true;
        state->next = state->acked = request->open->first_batch;
        state->window = request->open->window_bytes;
        pthread_mutex_lock(&fake->lock);
        fake->first_batches[fake->streams % FAKE_SEEN_MAX] = request->open->first_batch;
        pthread_mutex_unlock(&fake->lock);
        count(fake, &fake->streams);
    } else if (request->message_case == OPENDUCK__V1__STREAM_REQUEST__MESSAGE_ACK) {
        uint64_t next = request->ack->next_batch;
        if (next > state->acked && next <= state->next) {
            state->in_flight -= (next - state->acked) * state->batch_bytes;
            state->acked = next;
            pthread_mutex_lock(&fake->lock);
            fake->acknowledged = next;
            pthread_mutex_unlock(&fake->lock);
        }
    }
    protobuf_c_message_free_unpacked(unpacked, NULL);
    send_what_may_be_sent(fake, call, state);
    od_call_read_next(call);
}

// ---- Upload

static void upload_reply(struct od_call *call, const struct fake *fake, uint64_t next)
{
    Openduck__V1__UploadReply reply = OPENDUCK__V1__UPLOAD_REPLY__INIT;
    reply.next_batch = next;
    reply.window_bytes = fake->upload_window;
    send_message(call, &reply.base);
}

static void upload_batch(struct fake *fake, struct od_call *call, const struct od_stream_part *part)
{
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct od_ipc_decoder *decoder;
    struct od_message_buffer buffer;
    size_t body;
    if (part->number != fake->upload_batches) {
        if (part->number > fake->upload_batches)
            fail_call(call, OD_INVALID);
        return;
    }
    assert_int_equal(od_ipc_check(part->ipc, part->ipc_bytes, OD_IPC_BATCH, &body, NULL, NULL), OD_OK);
    assert_int_equal(od_message_buffer_get(part->ipc_bytes, body, &buffer, NULL), OD_OK);
    memcpy(buffer.data, part->ipc, part->ipc_bytes);
    struct od_batch *batch = od_batch_from_buffer(&buffer, part->rows);
    make_schema(&schema);
    assert_int_equal(od_ipc_decoder_new(&schema, &decoder, NULL), OD_OK);
    assert_int_equal(od_ipc_decode_batch(decoder, batch, &array, NULL), OD_OK);
    const int64_t *values = array.children[0]->buffers[1];
    for (int64_t i = 0; i < array.length; i++)
        fake->upload_sum += values[i];
    fake->upload_rows += (uint64_t)array.length;
    fake->upload_batches++;
    array.release(&array);
    od_ipc_decoder_free(decoder);
    schema.release(&schema);
    od_batch_unref(batch);
    upload_reply(call, fake, fake->upload_batches);
}

static void on_upload(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fake_call *state = od_call_context(call);
    struct fake *fake = state->fake;
    struct od_stream_part part;
    if (od_upload_request_parse(data, bytes, &part, NULL) != OD_OK) {
        fail_call(call, OD_INVALID);
        return;
    }
    if (part.kind == OD_STREAM_OPEN) {
        count(fake, &fake->uploads);
        upload_reply(call, fake, fake->upload_batches);
    } else if (part.kind == OD_STREAM_BATCH) {
        if (fake->upload_cut_after && fake->upload_batches == fake->upload_cut_after) {
            fake->upload_cut_after = 0;
            fail_call(call, OD_DISCONNECTED);
            return;
        }
        upload_batch(fake, call, &part);
    } else {
        fake->upload_finished = part.batches == fake->upload_batches && part.rows == fake->upload_rows;
        if (fake->upload_finished)
            od_call_finish(call);
        else
            fail_call(call, OD_INVALID);
        return;
    }
    od_call_read_next(call);
}

// ---- the small ones

static void on_cancel(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fake *fake = ((struct fake_call *)od_call_context(call))->fake;
    ProtobufCMessage *unpacked;
    Openduck__V1__CancelReply reply = OPENDUCK__V1__CANCEL_REPLY__INIT;
    if (od_message_unpack(&openduck__v1__cancel_request__descriptor, data, bytes, &unpacked, NULL) != OD_OK) {
        fail_call(call, OD_INVALID);
        return;
    }
    pthread_mutex_lock(&fake->lock);
    snprintf(fake->cancelled_id, sizeof fake->cancelled_id, "%s",
             ((const Openduck__V1__CancelRequest *)(const void *)unpacked)->execution_id);
    pthread_mutex_unlock(&fake->lock);
    protobuf_c_message_free_unpacked(unpacked, NULL);
    send_message(call, &reply.base);
    od_call_finish(call);
    count(fake, &fake->cancels);
}

static void on_close_session(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fake *fake = ((struct fake_call *)od_call_context(call))->fake;
    Openduck__V1__CloseSessionReply reply = OPENDUCK__V1__CLOSE_SESSION_REPLY__INIT;
    (void)data;
    (void)bytes;
    count(fake, &fake->closes);
    send_message(call, &reply.base);
    od_call_finish(call);
}

static void on_server_info(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fake *fake = ((struct fake_call *)od_call_context(call))->fake;
    Openduck__V1__ServerInfoReply reply = OPENDUCK__V1__SERVER_INFO_REPLY__INIT;
    (void)data;
    (void)bytes;
    count(fake, &fake->server_infos);
    if (!fake->native) {
        fail_call(call, OD_UNSUPPORTED);
        return;
    }
    reply.version = (char *)(uintptr_t) "9.9";
    send_message(call, &reply.base);
    od_call_finish(call);
}

// One chunk with a complete IPC stream: schema, batch, end marker.
static void send_fragment(const struct fake *fake, struct od_call *call, uint64_t number)
{
    Openduck__V1__ExecuteFragmentChunk chunk = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__INIT;
    Openduck__V1__ArrowIpcBatch payload = OPENDUCK__V1__ARROW_IPC_BATCH__INIT;
    struct od_buf bytes;
    struct od_batch *batch = make_batch(fake, number);
    schema_bytes(&bytes);
    assert_int_equal(od_buf_append(&bytes, batch->segments[0].data, batch->bytes, NULL), OD_OK);
    assert_int_equal(od_buf_append(&bytes, od_ipc_end_of_stream, 8, NULL), OD_OK);
    payload.ipc_stream_payload.data = bytes.data;
    payload.ipc_stream_payload.len = bytes.bytes;
    chunk.payload_case = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__PAYLOAD_ARROW_BATCH;
    chunk.arrow_batch = &payload;
    send_message(call, &chunk.base);
    od_batch_unref(batch);
    od_buf_release(&bytes);
}

static void on_fragment(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fake *fake = ((struct fake_call *)od_call_context(call))->fake;
    ProtobufCMessage *unpacked;
    if (od_message_unpack(&openduck__v1__execute_fragment_request__descriptor, data, bytes, &unpacked, NULL) != OD_OK) {
        fail_call(call, OD_INVALID);
        return;
    }
    const Openduck__V1__ExecuteFragmentRequest *request = (const void *)unpacked;
    pthread_mutex_lock(&fake->lock);
    snprintf(fake->seen[0].sql, sizeof fake->seen[0].sql, "%.*s", (int)request->plan.len, (const char *)request->plan.data);
    pthread_mutex_unlock(&fake->lock);
    protobuf_c_message_free_unpacked(unpacked, NULL);
    count(fake, &fake->fragments);
    for (unsigned i = 0; i < fake->batches; i++)
        send_fragment(fake, call, i);
    if (!fake->no_finished) {
        Openduck__V1__ExecuteFragmentChunk chunk = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__INIT;
        chunk.payload_case = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__PAYLOAD_FINISHED;
        chunk.finished = 1;
        send_message(call, &chunk.base);
    }
    od_call_finish(call);
}

// ---- life

#define SERVICE(method) "/openduck.v1.ExecutionService/" method
#define ADMIN(method) "/openduck.v1.AdminService/" method

void fake_start(struct fake *fake)
{
    struct od_error err;
    static struct od_method methods[16][8]; // one table a server; they outlive it
    static unsigned tables;
    const struct od_method table[] = {
        {.name = SERVICE("Execute"), .message = on_execute},
        {.name = SERVICE("Stream"), .message = on_stream},
        {.name = SERVICE("Upload"), .message = on_upload},
        {.name = SERVICE("CancelExecution"), .message = on_cancel},
        {.name = SERVICE("CloseSession"), .message = on_close_session},
        {.name = SERVICE("ExecuteFragment"), .message = on_fragment},
        {.name = ADMIN("ServerInfo"), .message = on_server_info},
    };
    size_t n = sizeof table / sizeof *table;
    struct od_method *own = methods[tables++ % 16];
    for (size_t i = 0; i < n; i++) {
        own[i] = table[i];
        own[i].start = on_start;
        own[i].closed = on_closed;
        own[i].service = fake;
    }
    memset(fake, 0, sizeof *fake);
    pthread_mutex_init(&fake->lock, NULL);
    od_cond_init(&fake->changed);
    fake->native = true;
    fake->rows = 10;
    fake->batches = fake->inline_batches = 1;
    fake->cut_code = OD_DISCONNECTED;
    fake->upload_window = 1 << 20;
    struct od_rpc_server_options options = {
        .listen = "127.0.0.1:0", .message_bytes_max = OD_MESSAGE_BYTES_MAX, .methods = own, .method_count = n};
    if (od_rpc_server_start(&options, &fake->server, &err) != OD_OK)
        fail_msg("%s", err.message);
    snprintf(fake->address, sizeof fake->address, "127.0.0.1:%d", od_rpc_server_port(fake->server));
}

void fake_stop(struct fake *fake)
{
    if (fake->server) {
        od_rpc_server_stop(fake->server, 0);
        od_rpc_server_free(fake->server);
        fake->server = NULL;
    }
    pthread_cond_destroy(&fake->changed);
    pthread_mutex_destroy(&fake->lock);
}

void fake_await(struct fake *fake, const unsigned *counter, unsigned value)
{
    uint64_t until = od_clock_ms() + 10000;
    pthread_mutex_lock(&fake->lock);
    while (*counter < value && od_clock_ms() < until)
        (void)od_cond_wait_until(&fake->changed, &fake->lock, until);
    unsigned found = *counter;
    pthread_mutex_unlock(&fake->lock);
    if (found < value)
        fail_msg("a counter stayed at %u and did not reach %u", found, value);
}

struct od_client *fake_client(const struct fake *fake)
{
    struct od_client *client;
    struct od_error err;
    struct od_client_options options = {.struct_bytes = sizeof options, .address = fake->address};
    if (od_client_open(&options, &client, &err) != OD_OK)
        fail_msg("%s", err.message);
    return client;
}
