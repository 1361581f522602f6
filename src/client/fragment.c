// fragment.c - ExecuteFragment, the one call of first-generation servers, behind the same struct od_query.
//
// Each chunk carries a complete Arrow IPC stream (schema, batches, end marker), or an error text, or "finished". The
// schema of the first stream is the result's; a later one that differs is an error. Only "finished" is the end: a call
// that ends without it has lost rows. The executing thread opens the call and waits for the schema; a job of the crew
// reads the rest.
#include "client/query.h"

#include "arrow/ipc.h"
#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

enum { CHUNK_BATCH = 1, CHUNK_ERROR = 2, CHUNK_FINISHED = 3 };
enum { BATCH_PAYLOAD = 1 };

static void free_bytes(void *owner)
{
    od_free(owner);
}

// One chunk taken apart. *payload is set for Arrow data; *finished for the end; an error text is returned as OD_SQL.
static od_code parse_chunk(const struct od_received *chunk, struct od_answer_bytes *payload, bool *finished,
                           struct od_error *err)
{
    struct od_wire_reader reader, inner;
    struct od_wire_field field;
    *payload = (struct od_answer_bytes){0};
    *finished = false;
    od_wire_reader_init(&reader, chunk->data, chunk->bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.number == CHUNK_BATCH && field.type == OD_WIRE_BYTES) {
            od_wire_reader_init(&inner, field.data, field.bytes);
            while (od_wire_next(&inner, &field))
                if (field.number == BATCH_PAYLOAD && field.type == OD_WIRE_BYTES)
                    *payload = (struct od_answer_bytes){field.data, field.bytes};
            reader.broken |= inner.broken;
        } else if (field.number == CHUNK_ERROR && field.type == OD_WIRE_BYTES) {
            return od_fail(err, OD_SQL, "%.*s", field.bytes > 4000 ? 4000 : (int)field.bytes, (const char *)field.data);
        } else if (field.number == CHUNK_FINISHED && field.type == OD_WIRE_VARINT) {
            *finished = field.value != 0;
        }
    }
    if (reader.broken)
        return od_fail(err, OD_CORRUPT, "%zu bytes are not a valid ExecuteFragmentChunk message", chunk->bytes);
    return OD_OK;
}

// The next chunk with something in it; its Arrow data is then in query->split.
static od_code next_chunk(struct od_query *query, bool *finished, struct od_error *err)
{
    for (;;) {
        struct od_answer_bytes payload;
        bool end = false;
        od_received_release(&query->chunk);
        od_code rc = od_stream_receive(query->stream, 0, NULL, &query->chunk, &end, err);
        if (rc != OD_OK)
            return rc;
        if (end)
            return od_fail(err, OD_DISCONNECTED, "the server ended the result without saying that it is complete");
        rc = parse_chunk(&query->chunk, &payload, finished, err);
        if (rc != OD_OK)
            return rc;
        od_ipc_split_init(&query->split, payload.data, payload.bytes);
        if (*finished || payload.bytes)
            return OD_OK;
    }
}

static od_code take_schema(struct od_query *query, const struct od_ipc_piece *piece, struct od_error *err)
{
    struct od_query_info *info = &query->info;
    if (info->schema_message_bytes) {
        if (piece->bytes == info->schema_message_bytes && memcmp(piece->message, info->schema_message, piece->bytes) == 0)
            return OD_OK;
        return od_fail(err, OD_CORRUPT, "the server changed the columns in the middle of the result");
    }
    query->schema_copy = od_alloc(piece->bytes);
    if (!query->schema_copy)
        return od_fail(err, OD_NO_MEMORY, "no memory for the schema of a result");
    memcpy(query->schema_copy, piece->message, piece->bytes);
    info->schema_message = query->schema_copy;
    info->schema_message_bytes = piece->bytes;
    return OD_OK;
}

// Schema pieces are taken; *piece is the next batch, or *more is false when the chunk is used up.
static od_code next_piece(struct od_query *query, struct od_ipc_piece *piece, bool *more, struct od_error *err)
{
    for (;;) {
        od_code rc = od_ipc_split_next(&query->split, piece, more, err);
        if (rc != OD_OK || !*more || !piece->schema)
            return rc;
        rc = take_schema(query, piece, err);
        if (rc != OD_OK)
            return rc;
    }
}

static od_code push_piece(struct od_query *query, const struct od_ipc_piece *piece, bool *stopped,
                          struct od_error *err)
{
    struct od_batch *batch;
    uint64_t rows;
    if (!query->info.schema_message_bytes)
        return od_fail(err, OD_CORRUPT, "the server sent rows before their schema");
    od_code rc = od_ipc_check(piece->message, piece->bytes, OD_IPC_BATCH, NULL, &rows, err);
    if (rc == OD_OK)
        rc = od_query_batch(piece->message, piece->bytes, rows, NULL, &batch, err);
    if (rc == OD_OK)
        *stopped = !od_read_ahead_push(&query->ahead, batch);
    return rc;
}

static void fragment_run(void *argument)
{
    struct od_query *query = argument;
    struct od_error failure;
    bool finished = false, stopped = false;
    od_code rc = OD_OK;
    while (rc == OD_OK && !stopped) {
        struct od_ipc_piece piece;
        bool more;
        rc = next_piece(query, &piece, &more, &failure);
        if (rc == OD_OK && more)
            rc = push_piece(query, &piece, &stopped, &failure);
        else if (rc == OD_OK && finished)
            break;
        else if (rc == OD_OK)
            rc = next_chunk(query, &finished, &failure);
    }
    atomic_store(&query->server_done, rc == OD_OK && !stopped);
    od_read_ahead_finish(&query->ahead, rc == OD_OK ? NULL : &failure);
    od_query_unref(query);
}

static od_code send_request(struct od_query *query, const char *database, const char *sql, const char *snapshot,
                            const char *request_id, struct od_error *err)
{
    Openduck__V1__ExecuteFragmentRequest request = OPENDUCK__V1__EXECUTE_FRAGMENT_REQUEST__INIT;
    struct od_segment segment;
    const char *token = query->client->link.token;
    request.plan.data = (uint8_t *)(uintptr_t)sql;
    request.plan.len = strlen(sql);
    request.database = (char *)(uintptr_t)database;
    request.snapshot_id = (char *)(uintptr_t)(snapshot ? snapshot : "");
    request.access_token = (char *)(uintptr_t)(token ? token : "");
    request.execution_id = (char *)(uintptr_t)request_id;
    od_code rc = od_message_pack(&request.base, &segment, err);
    if (rc != OD_OK)
        return rc;
    rc = od_stream_send(query->stream, &segment, 1, free_bytes, (void *)(uintptr_t)segment.data, err);
    return rc == OD_OK ? od_stream_half_close(query->stream, err) : rc;
}

od_code od_fragment_execute(struct od_query *query, const char *database, const char *sql, const char *snapshot,
                            const char *request_id, struct od_cancel *cancel, struct od_error *err)
{
    uint64_t timeout_ms;
    bool finished = false;
    struct od_client *client = query->client;
    od_code rc = od_deadline_left(query->deadline_ms, &timeout_ms, err);
    if (rc != OD_OK)
        return rc;
    rc = od_stream_open(client->link.endpoints[query->endpoint].channel, OD_SERVICE "ExecuteFragment", timeout_ms,
                        cancel ? cancel : query->cancel, &query->stream, err);
    if (rc != OD_OK)
        return rc;
    snprintf(query->cancel_id, sizeof query->cancel_id, "%s", request_id);
    query->info = (struct od_query_info){
        .execution_id = query->cancel_id, .statement = "", .catalog_version = "", .catalog_name = "", .incarnation = ""};
    OD_TRY(send_request(query, database, sql, snapshot, request_id, err));
    OD_TRY(next_chunk(query, &finished, err));
    if (!finished || query->split.at != query->split.end) {
        // Look at the first piece; the split stays where it is unless that is a schema.
        struct od_ipc_split before = query->split;
        struct od_ipc_piece piece;
        bool more;
        OD_TRY(od_ipc_split_next(&query->split, &piece, &more, err));
        if (!more || !piece.schema) {
            rc = od_fail(err, OD_CORRUPT, "the server's first Arrow data has no schema");
            goto out;
        }
        query->split = before;
        OD_TRY(take_schema(query, &piece, err));
    } else {
        query->info.result = 2; // nothing came, and that was all
    }
    query->phase = OD_QUERY_AHEAD;
    if (finished && query->split.at == query->split.end) {
        atomic_store(&query->server_done, true);
        od_read_ahead_finish(&query->ahead, NULL);
        return OD_OK;
    }
    atomic_fetch_add(&query->references, 1);
    rc = od_crew_run(client->crew, fragment_run, query, err);
    if (rc != OD_OK)
        od_query_unref(query);
out:
    return rc;
}
