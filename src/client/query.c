// query.c - reading a result: inline batches first, then what the job reads ahead; see query.h.
#include "client/query.h"

#include "arrow/ipc.h"
#include "base/alloc.h"
#include "client/client.h"
#include "client/session.h"
#include "openduck/arrow.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define BODY_ALIGNMENT 64u

od_code od_query_new(struct od_client *client, uint64_t window_bytes, uint64_t deadline_ms, struct od_query **out,
                     struct od_error *err)
{
    struct od_query *query = od_calloc(1, sizeof *query);
    struct od_cancel *cancel = od_cancel_new();
    if (!query || !cancel) {
        od_free(query);
        if (cancel)
            od_cancel_unref(cancel);
        return od_fail(err, OD_NO_MEMORY, "no memory for a query");
    }
    atomic_init(&query->references, 1);
    atomic_init(&query->cancelled, false);
    atomic_init(&query->server_done, false);
    query->client = client;
    query->cancel = cancel;
    query->deadline_ms = deadline_ms;
    query->window_bytes = window_bytes ? window_bytes : OD_WINDOW_BYTES_DEFAULT;
    od_read_ahead_init(&query->ahead, query->window_bytes);
    *out = query;
    return OD_OK;
}

void od_query_unref(struct od_query *query)
{
    if (atomic_fetch_sub(&query->references, 1) > 1)
        return;
    if (query->stream)
        od_stream_close(query->stream);
    od_received_release(&query->chunk);
    od_received_release(&query->message);
    if (query->decoder)
        od_ipc_decoder_free(query->decoder);
    od_read_ahead_release(&query->ahead);
    od_cancel_unref(query->cancel);
    if (query->session)
        od_session_unref(query->session);
    od_free(query->end_catalog_version);
    od_free(query->schema_copy);
    od_free(query->texts);
    od_free(query);
}

od_code od_query_batch(const uint8_t *ipc, size_t bytes, uint64_t rows, struct od_received *take,
                       struct od_batch **batch, struct od_error *err)
{
    size_t body = 0;
    uint64_t found = 0;
    struct od_message_buffer buffer = {0};
    *batch = NULL;
    od_code rc = od_ipc_check(ipc, bytes, OD_IPC_BATCH, &body, &found, err);
    if (rc == OD_OK && found != rows)
        rc = od_fail(err, OD_CORRUPT, "a batch that is said to have %llu rows has %llu", (unsigned long long)rows,
                     (unsigned long long)found);
    if (rc != OD_OK) {
        if (take)
            od_received_release(take);
        return rc;
    }
    if (take && (uintptr_t)(ipc + body) % BODY_ALIGNMENT == 0) {
        buffer = (struct od_message_buffer){.data = take->data + (ipc - take->data),
                                            .bytes = bytes,
                                            .memory = take->memory,
                                            .capacity = take->capacity};
        *take = (struct od_received){0};
    } else {
        rc = od_message_buffer_get(bytes, body, &buffer, err);
        if (rc == OD_OK)
            memcpy(buffer.data, ipc, bytes);
        if (take)
            od_received_release(take);
        if (rc != OD_OK)
            return rc;
    }
    *batch = od_batch_from_buffer(&buffer, rows);
    if (!*batch) {
        od_message_buffer_put(&buffer);
        return od_fail(err, OD_NO_MEMORY, "no memory for a batch");
    }
    return OD_OK;
}

// ---- the answer

// Appends a NUL-terminated copy of the text to the query's texts.
static const char *text_of(char **at, const struct od_answer_bytes *text)
{
    char *begin = *at;
    if (text->bytes)
        memcpy(begin, text->data, text->bytes);
    begin[text->bytes] = '\0';
    *at = begin + text->bytes + 1;
    return begin;
}

static od_code take_info(struct od_query *query, struct od_error *err)
{
    const struct od_answer *answer = &query->answer;
    size_t bytes = answer->execution_id.bytes + answer->catalog_version.bytes + answer->incarnation.bytes +
                   answer->statement.bytes + answer->catalog_name.bytes + 5;
    char *at = query->texts = od_alloc(bytes);
    if (!at)
        return od_fail(err, OD_NO_MEMORY, "no memory for a query");
    query->info = (struct od_query_info){
        .execution_id = text_of(&at, &answer->execution_id),
        .statement = text_of(&at, &answer->statement),
        .result = answer->result,
        .read_only = answer->read_only,
        .in_transaction = answer->in_transaction,
        .catalog_version = text_of(&at, &answer->catalog_version),
        .catalog_name = text_of(&at, &answer->catalog_name),
        .incarnation = text_of(&at, &answer->incarnation),
        .schema_message = answer->schema.data,
        .schema_message_bytes = answer->schema.bytes,
        .parameter_schema_message = answer->parameter_schema.data,
        .parameter_schema_message_bytes = answer->parameter_schema.bytes,
        .queue_us = answer->queue_us,
        .run_us = answer->run_us,
    };
    if (*query->info.execution_id)
        snprintf(query->cancel_id, sizeof query->cancel_id, "%s", query->info.execution_id);
    return OD_OK;
}

// What an answer promises must hold before anything is handed on.
static od_code check_answer(struct od_query *query, bool describe_only, struct od_error *err)
{
    struct od_answer *answer = &query->answer;
    struct od_wire_reader from_here = answer->batches;
    struct od_answer_batch batch;
    while (od_answer_next_batch(answer, &batch)) {
        od_code rc = od_tally_batch(&query->tally, batch.number, batch.rows, err);
        if (rc != OD_OK)
            return rc;
    }
    answer->batches = from_here;
    if (describe_only && !answer->has_end && !answer->ticket_count) {
        answer->has_end = true; // nothing ran, so nothing can be missing
        answer->end_batches = query->tally.next;
        answer->end_rows = query->tally.rows;
    }
    if (answer->has_end)
        return od_tally_end(&query->tally, answer->end_batches, answer->end_rows, err);
    if (answer->ticket_count == 0)
        return od_fail(err, OD_CORRUPT, "the server's answer has neither the end of the result nor a ticket for it");
    if (answer->ticket_count > 1)
        return od_fail(err, OD_UNSUPPORTED, "the server offers the result in %zu partitions; this client reads one",
                       answer->ticket_count);
    const struct od_answer_bytes *where = &answer->ticket_endpoint;
    if (!where->bytes)
        return OD_OK;
    for (size_t i = 0; i < query->client->link.count; i++) {
        const char *text = query->client->link.endpoints[i].text;
        if (strlen(text) == where->bytes && memcmp(text, where->data, where->bytes) == 0) {
            query->endpoint = i;
            return OD_OK;
        }
    }
    // The token must not go to an address that only a peer has named.
    return od_fail(err, OD_UNSUPPORTED, "the server wants the result to be fetched from \"%.*s\", which is none of the "
                                        "client's endpoints: add it to the address", (int)where->bytes,
                   (const char *)where->data);
}

od_code od_query_begin(struct od_query *query, struct od_received *message, bool describe_only, struct od_error *err)
{
    od_code rc;
    query->message = *message;
    *message = (struct od_received){0};
    OD_TRY(od_answer_parse(query->message.data, query->message.bytes, &query->answer, err));
    OD_TRY(take_info(query, err));
    OD_TRY(check_answer(query, describe_only, err));
    atomic_store(&query->server_done, query->answer.has_end);
    if (!query->answer.has_end) {
        atomic_fetch_add(&query->references, 1);
        rc = od_crew_run(query->client->crew, od_fetch_run, query, err);
        if (rc != OD_OK)
            od_query_unref(query);
    }
out:
    return rc;
}

// ---- the consumer

void od_query_get_info(const struct od_query *query, struct od_query_info *info)
{
    *info = query->info;
}

static void empty_schema_release(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

od_code od_query_schema(struct od_query *query, struct ArrowSchema *schema, struct od_error *err)
{
    if (query->info.schema_message_bytes)
        return od_ipc_decode_schema(query->info.schema_message, query->info.schema_message_bytes, schema, err);
    // A statement without a result.
    *schema = (struct ArrowSchema){.format = "+s", .name = "", .release = empty_schema_release};
    return OD_OK;
}

static enum od_pop next_inline(struct od_query *query, struct od_batch **batch)
{
    struct od_answer_batch next;
    if (od_answer_next_batch(&query->answer, &next)) {
        struct od_error failure;
        od_code rc = od_query_batch(next.ipc.data, next.ipc.bytes, next.rows, NULL, batch, &failure);
        if (rc == OD_OK)
            return OD_POP_BATCH;
        od_read_ahead_finish(&query->ahead, &failure);
    } else if (query->answer.has_end) {
        od_read_ahead_finish(&query->ahead, NULL);
    }
    query->phase = OD_QUERY_AHEAD;
    return OD_POP_EMPTY;
}

// The end of a stream knows more than the answer, which came before the statement had ended.
static void take_end(struct od_query *query)
{
    if (query->phase == OD_QUERY_ENDED || !query->end_catalog_version)
        return;
    query->info.catalog_version = query->end_catalog_version;
    query->info.in_transaction = query->end_in_transaction;
    if (query->session)
        od_session_ended(query->session, query->sequence, query->end_in_transaction);
}

enum od_pop od_query_next_batch(struct od_query *query, struct od_batch **batch, struct od_waker waker,
                                struct od_error *err)
{
    enum od_pop pop = OD_POP_EMPTY;
    if (query->phase == OD_QUERY_INLINE && !atomic_load(&query->cancelled))
        pop = next_inline(query, batch);
    if (pop == OD_POP_EMPTY)
        pop = od_read_ahead_pop(&query->ahead, batch, waker, err);
    if (pop == OD_POP_BATCH)
        atomic_fetch_add_explicit(&query->client->batches_received, 1, memory_order_relaxed);
    if (pop == OD_POP_END) {
        take_end(query);
        query->phase = OD_QUERY_ENDED;
    }
    return pop;
}

bool od_query_is_complete(const struct od_query *query)
{
    return query->answer.has_end;
}

static od_code need_decoder(struct od_query *query, struct od_error *err)
{
    struct ArrowSchema schema;
    if (query->decoder)
        return OD_OK;
    od_code rc = od_query_schema(query, &schema, err);
    if (rc != OD_OK)
        return rc;
    rc = od_ipc_decoder_new(&schema, &query->decoder, err);
    schema.release(&schema);
    return rc;
}

od_code od_query_next(struct od_query *query, struct ArrowArray *array, struct od_error *err)
{
    struct od_batch *batch;
    struct od_error failure;
    *array = (struct ArrowArray){0};
    switch (od_query_next_batch(query, &batch, (struct od_waker){0}, &failure)) {
    case OD_POP_END:
        return OD_OK;
    case OD_POP_BATCH: {
        od_code rc = need_decoder(query, err);
        if (rc == OD_OK)
            rc = od_ipc_decode_batch(query->decoder, batch, array, err);
        od_batch_unref(batch);
        return rc;
    }
    default:
        if (err)
            *err = failure;
        return failure.code;
    }
}

od_code od_query_drain(struct od_query *query, uint64_t *rows, struct od_error *err)
{
    uint64_t count = 0;
    for (;;) {
        struct od_batch *batch;
        struct od_error failure;
        enum od_pop pop = od_query_next_batch(query, &batch, (struct od_waker){0}, &failure);
        if (pop == OD_POP_BATCH) {
            count += batch->rows;
            od_batch_unref(batch);
            continue;
        }
        if (rows)
            *rows = count;
        if (pop == OD_POP_END)
            return OD_OK;
        if (err)
            *err = failure;
        return failure.code;
    }
}

static void cancel_on_server(struct od_query *query)
{
    od_cancel_fire(query->cancel);
    if (query->stream)
        od_stream_cancel(query->stream);
    if (!atomic_load(&query->server_done))
        od_canceller_post(query->client->canceller, query->endpoint, query->cancel_id);
}

void od_query_cancel(struct od_query *query)
{
    if (atomic_exchange(&query->cancelled, true))
        return;
    od_read_ahead_stop(&query->ahead);
    cancel_on_server(query);
}

void od_query_close(struct od_query *query)
{
    if (!query)
        return;
    bool cancelled = atomic_load(&query->cancelled);
    od_read_ahead_stop(&query->ahead);
    if (!cancelled && query->phase != OD_QUERY_ENDED && !query->answer.has_end)
        cancel_on_server(query);
    od_query_unref(query);
}

// ---- as an ArrowArrayStream

struct query_stream {
    struct od_query *query;
    struct od_error error;
};

static int errno_of(od_code code)
{
    switch (code) {
    case OD_OK:
        return 0;
    case OD_NO_MEMORY:
        return ENOMEM;
    case OD_CANCELLED:
        return ECANCELED;
    case OD_TIMEOUT:
        return ETIMEDOUT;
    case OD_INVALID:
    case OD_SQL:
        return EINVAL;
    default:
        return EIO;
    }
}

static int stream_schema(struct ArrowArrayStream *stream, struct ArrowSchema *out)
{
    struct query_stream *state = stream->private_data;
    return errno_of(od_query_schema(state->query, out, &state->error));
}

static int stream_next(struct ArrowArrayStream *stream, struct ArrowArray *out)
{
    struct query_stream *state = stream->private_data;
    return errno_of(od_query_next(state->query, out, &state->error));
}

static const char *stream_error(struct ArrowArrayStream *stream)
{
    struct query_stream *state = stream->private_data;
    return state->error.code == OD_OK ? NULL : state->error.message;
}

static void stream_release(struct ArrowArrayStream *stream)
{
    struct query_stream *state = stream->private_data;
    od_query_close(state->query);
    od_free(state);
    stream->release = NULL;
}

od_code od_query_stream(struct od_query *query, struct ArrowArrayStream *stream, struct od_error *err)
{
    struct query_stream *state = od_calloc(1, sizeof *state);
    if (!state)
        return od_fail(err, OD_NO_MEMORY, "no memory for a stream");
    state->query = query;
    *stream = (struct ArrowArrayStream){.get_schema = stream_schema,
                                        .get_next = stream_next,
                                        .get_last_error = stream_error,
                                        .release = stream_release,
                                        .private_data = state};
    return OD_OK;
}
