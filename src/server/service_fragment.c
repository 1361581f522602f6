// service_fragment.c - ExecuteFragment, the one call of first-generation clients: SQL in, complete Arrow IPC streams out.
//
// Such clients take at most 2,048 rows at once and 4 MiB a message, read errors from the data, and cannot resume. So
// batches are cut, errors are a chunk, and a broken call is the end of its statement. Large statements of theirs cost a
// copy of each batch; the others are Execute and Stream.
#include "arrow/ipc.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "openduck/arrow.h"
#include "rpc/wire.h"
#include "server/service.h"

#include <stdio.h>
#include <string.h>

#define CHUNK_ROWS_MAX 2048u
#define CHUNK_BYTES_MAX (3 * OD_MIB)
#define SEGMENTS_ON_STACK 128u

struct fragment {
    struct od_stream_call stream; // first: od_stream_* free this through it
    struct ArrowSchema schema;
    struct od_ipc_decoder *decoder;
    bool sent_any;
};

static struct fragment *fragment_of(struct od_stream_call *stream)
{
    return od_container(stream, struct fragment, stream);
}

// ---- chunks

struct sent {
    struct od_batch *batch;
    struct od_result *result; // whose schema the chunk begins with
    uint8_t head[2 + 2 * OD_VARINT_BYTES_MAX];
};

static void sent_release(void *owner)
{
    struct sent *sent = owner;
    od_batch_unref(sent->batch);
    od_result_unref(sent->result);
    od_free(sent);
}

// ExecuteFragmentChunk{arrow_batch: {ipc_stream_payload: schema, batch, end of stream}}. batch may be NULL.
static od_code send_chunk(struct fragment *fragment, struct od_batch *batch, struct od_error *err)
{
    struct od_segment few[SEGMENTS_ON_STACK], *segments = few;
    struct od_result_info info = {0};
    od_code rc = OD_OK;
    size_t count = 0, batches = batch ? batch->segment_count : 0;
    struct od_result *result = fragment->stream.execution->result;
    struct sent *sent = od_calloc(1, sizeof *sent);
    if (batches + 3 > SEGMENTS_ON_STACK)
        segments = od_alloc((batches + 3) * sizeof *segments);
    if (!sent || !segments)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory to send a chunk"));
    if (!od_result_ready(result, &info))
        OD_TRY(od_fail(err, OD_INTERNAL, "rows came before their schema"));
    size_t payload = info.schema_bytes + (batch ? batch->bytes : 0) + sizeof od_ipc_end_of_stream;
    uint64_t tag = od_wire_tag(1, OD_WIRE_BYTES); // of both fields
    uint8_t *at = od_varint_put(sent->head, tag);
    at = od_varint_put(at, od_varint_size(tag) + od_varint_size(payload) + payload);
    at = od_varint_put(at, tag);
    at = od_varint_put(at, payload);
    segments[count++] = (struct od_segment){sent->head, (size_t)(at - sent->head)};
    segments[count++] = (struct od_segment){info.schema, info.schema_bytes};
    if (batches)
        memcpy(segments + count, batch->segments, batches * sizeof *segments);
    count += batches;
    segments[count++] = (struct od_segment){od_ipc_end_of_stream, sizeof od_ipc_end_of_stream};
    sent->batch = batch ? od_batch_ref(batch) : NULL;
    sent->result = od_result_ref(result);
    od_call_send(fragment->stream.call, segments, count, sent_release, sent);
    sent = NULL;
    fragment->sent_any = true;
out:
    if (segments != few)
        od_free(segments);
    od_free(sent);
    return rc;
}

// ---- cutting

static od_code prepare_decoder(struct fragment *fragment, struct od_error *err)
{
    struct od_result_info info = {0};
    if (fragment->decoder)
        return OD_OK;
    if (!od_result_ready(fragment->stream.execution->result, &info))
        return od_fail(err, OD_INTERNAL, "rows came before their schema");
    od_code rc = od_ipc_decode_schema(info.schema, info.schema_bytes, &fragment->schema, err);
    return rc == OD_OK ? od_ipc_decoder_new(&fragment->schema, &fragment->decoder, err) : rc;
}

// The batch in one piece, as the decoder wants it.
static od_code in_one_piece(struct od_batch *batch, struct od_batch **one, struct od_error *err)
{
    struct od_message_buffer buffer;
    size_t header = batch->segment_count ? batch->segments[0].bytes : 0;
    od_code rc = od_message_buffer_get(batch->bytes, header, &buffer, err);
    if (rc != OD_OK)
        return rc;
    size_t at = 0;
    for (size_t i = 0; i < batch->segment_count; i++) {
        memcpy(buffer.data + at, batch->segments[i].data, batch->segments[i].bytes);
        at += batch->segments[i].bytes;
    }
    *one = od_batch_from_buffer(&buffer, batch->rows);
    if (*one)
        return OD_OK;
    od_message_buffer_put(&buffer);
    return od_fail(err, OD_NO_MEMORY, "no memory to cut a batch");
}

static od_code send_slice(struct fragment *fragment, const struct ArrowArray *array, int64_t from, int64_t rows,
                          struct ArrowArray *columns, struct ArrowArray **pointers, struct od_error *err)
{
    struct od_batch *slice;
    struct ArrowArray part = *array;
    part.length = rows;
    part.children = pointers;
    for (int64_t i = 0; i < array->n_children; i++) {
        columns[i] = *array->children[i];
        columns[i].offset += from;
        columns[i].length = rows;
        columns[i].null_count = columns[i].null_count == 0 ? 0 : -1;
        pointers[i] = &columns[i];
    }
    od_code rc = od_ipc_encode_array(&fragment->schema, &part, &slice, err);
    if (rc == OD_OK) {
        rc = send_chunk(fragment, slice, err);
        od_batch_unref(slice);
    }
    return rc;
}

static od_code send_cut(struct fragment *fragment, struct od_batch *batch, struct od_error *err)
{
    struct od_batch *one = NULL;
    struct ArrowArray array = {0}, *columns = NULL, **pointers = NULL;
    od_code rc = OD_OK;
    OD_TRY(prepare_decoder(fragment, err));
    OD_TRY(in_one_piece(batch, &one, err));
    OD_TRY(od_ipc_decode_batch(fragment->decoder, one, &array, err));
    columns = od_calloc((size_t)array.n_children + 1, sizeof *columns);
    pointers = od_calloc((size_t)array.n_children + 1, sizeof(struct ArrowArray *));
    if (!columns || !pointers)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory to cut a batch"));
    uint64_t step = batch->rows * CHUNK_BYTES_MAX / batch->bytes;
    step = step == 0 ? 1 : step > CHUNK_ROWS_MAX ? CHUNK_ROWS_MAX : step;
    for (uint64_t from = 0; from < batch->rows; from += step) {
        uint64_t rows = batch->rows - from < step ? batch->rows - from : step;
        OD_TRY(send_slice(fragment, &array, (int64_t)from, (int64_t)rows, columns, pointers, err));
    }
out:
    if (array.release)
        array.release(&array);
    od_batch_unref(one);
    od_free(columns);
    od_free(pointers);
    return rc;
}

// ---- the stream

static void send_error(struct od_call *call, const char *message)
{
    Openduck__V1__ExecuteFragmentChunk chunk = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__INIT;
    chunk.payload_case = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__PAYLOAD_ERROR;
    chunk.error = (char *)(uintptr_t)message;
    od_send_message(call, &chunk.base, true, NULL);
}

static void fragment_fail(struct od_stream_call *stream, const struct od_error *error)
{
    send_error(stream->call, error->message);
}

static bool fragment_batch(struct od_stream_call *stream, uint64_t number, struct od_batch *batch)
{
    struct od_error err = {0};
    (void)number;
    bool small = batch->rows <= CHUNK_ROWS_MAX && batch->bytes <= CHUNK_BYTES_MAX;
    od_code rc = small ? send_chunk(fragment_of(stream), batch, &err) : send_cut(fragment_of(stream), batch, &err);
    if (rc != OD_OK)
        send_error(stream->call, err.message);
    return rc == OD_OK;
}

static void fragment_end(struct od_stream_call *stream, uint64_t batches, uint64_t rows)
{
    struct od_error err = {0};
    (void)batches;
    (void)rows;
    // Without rows the schema still has to arrive.
    if (!fragment_of(stream)->sent_any && send_chunk(fragment_of(stream), NULL, &err) != OD_OK) {
        send_error(stream->call, err.message);
        return;
    }
    Openduck__V1__ExecuteFragmentChunk chunk = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__INIT;
    chunk.payload_case = OPENDUCK__V1__EXECUTE_FRAGMENT_CHUNK__PAYLOAD_FINISHED;
    chunk.finished = true;
    od_send_message(stream->call, &chunk.base, false, NULL);
}

static const struct od_stream_type fragment_type = {
    .batch = fragment_batch, .end = fragment_end, .fail = fragment_fail};

// ---- the call

static void fragment_start(struct od_call *call, void *service)
{
    struct fragment *fragment = od_calloc(1, sizeof *fragment);
    if (!fragment) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a stream");
        od_call_fail(call, &err);
        return;
    }
    fragment->stream.type = &fragment_type;
    fragment->stream.server = service;
    fragment->stream.call = call;
    fragment->stream.plain = true;
    od_call_set_context(call, &fragment->stream);
}

static od_code fragment_task(struct od_server *server, Openduck__V1__ExecuteFragmentRequest *request,
                             struct od_task *task, struct od_error *err)
{
    od_code rc = OD_OK;
    const char *database = request->database;
    // What those clients send when no name was given; they know one database a server.
    if (!database[0] || (strcmp(database, "default") == 0 && !od_host_knows(server->host, database)))
        database = "main";
    *task = (struct od_task){
        .message = &request->base,
        .database = database,
        .snapshot = request->snapshot_id[0] ? request->snapshot_id : NULL,
        .sql = (const char *)request->plan.data,
        .sql_bytes = request->plan.len,
        .inline_limit = OD_INLINE_BYTES_DEFAULT,
    };
    if (strlen(request->execution_id) > 128 || strlen(request->snapshot_id) > OD_NAME_BYTES_MAX || strlen(database) > OD_NAME_BYTES_MAX)
        OD_TRY(od_fail(err, OD_INVALID, "an execution id, a snapshot or a database name that is too long"));
    if (request->plan.len == 0 || request->plan.len > OD_SQL_BYTES_MAX)
        OD_TRY(od_fail(err, OD_INVALID, "a plan is the text of one SQL statement, at most %llu bytes", OD_SQL_BYTES_MAX));
    if (memchr(request->plan.data, '\0', request->plan.len))
        OD_TRY(od_fail(err, OD_INVALID, "SQL with a NUL character: write it as chr(0)"));
out:
    return rc;
}

static void fragment_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_stream_call *stream = od_call_context(call);
    struct od_error err = {0};
    struct od_task task = {0};
    struct od_execution *execution = NULL, *there = NULL;
    struct od_reply *again;
    od_code rc = OD_OK;
    if (!stream)
        return;
    OD_TRY(od_message_unpack(&openduck__v1__execute_fragment_request__descriptor, data, bytes, &task.message, &err));
    Openduck__V1__ExecuteFragmentRequest *request = (Openduck__V1__ExecuteFragmentRequest *)task.message;
    if (!od_call_token_ok(call, request->access_token))
        OD_TRY(od_fail(&err, OD_UNAUTHENTICATED, "this server needs a token, and this is not the right one"));
    OD_TRY(fragment_task(stream->server, request, &task, &err));
    OD_TRY(od_execution_new(stream->server, od_call_identity(call), request->execution_id, &task, NULL, stream,
                            &execution, &err));
    task = (struct od_task){0};
    stream->execution = od_execution_ref(execution);
    switch (od_registry_submit(execution, NULL, &there, &again, &err)) {
    case OD_SUBMITTED_NEW:
        break;
    case OD_SUBMITTED_JOINED:
        od_execution_unref(there);
        rc = od_fail(&err, OD_EXISTS, "a statement with this execution id is running");
        break;
    case OD_SUBMITTED_ANSWERED:
        od_reply_unref(again);
        rc = od_fail(&err, OD_EXISTS, "a statement with this execution id has run already");
        break;
    case OD_SUBMITTED_REFUSED:
        rc = err.code;
        break;
    }
    if (rc != OD_OK) { // it is in no table: nothing will come for it
        execution->stream = NULL;
        stream->execution = NULL;
        od_execution_unref(execution);
    }
out:
    if (rc == OD_UNAUTHENTICATED)
        od_call_fail(call, &err);
    else if (rc != OD_OK)
        send_error(call, err.message);
    od_execution_unref(execution);
    od_task_release(&task);
}

static void fragment_closed(struct od_call *call, bool cancelled)
{
    struct od_stream_call *stream = od_call_context(call);
    struct fragment *fragment = stream ? fragment_of(stream) : NULL;
    if (fragment) {
        od_stream_detach(stream, cancelled);
        od_ipc_decoder_free(fragment->decoder);
        if (fragment->schema.release)
            fragment->schema.release(&fragment->schema);
    }
    od_free(fragment);
}

const struct od_method od_fragment_method = {
    .name = OD_SERVICE "ExecuteFragment",
    .public_access = true, // the token may be in the message
    .start = fragment_start,
    .message = fragment_message,
    .sendable = od_stream_sendable,
    .closed = fragment_closed,
};
