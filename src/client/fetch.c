// fetch.c - receives the Stream of a query: acknowledges, verifies, resumes; see query.h and read_ahead.h.
//
//   F1  A batch is acknowledged when it is in this process's memory: resuming needs nothing below it again. What holds
//       back a fast server is that receiving stops while the read-ahead is full.
//   F2  A broken stream is opened again with the same ticket at the next batch, for at most RESUME_MS after the last
//       batch that came, which is as long as the server keeps the result.
//   F3  The caller hears the end only after the explicit end with agreeing totals (tally.h).
// One thread: a job of the crew, which owns the stream and, until it ends, query->tally.
#include "client/query.h"

#include "base/alloc.h"
#include "client/retry.h"
#include "os/clock.h"

#include <string.h>

#define RESUME_MS OD_PARK_MS
#define FAREWELL_MS 1000u
// Acknowledge after so many bytes: often enough that a window is never half used up by what has arrived.
#define ACK_BYTES(window) ((window) / 8 < OD_MIB ? (window) / 8 : OD_MIB)

struct fetch {
    struct od_query *query;
    struct od_stream *stream;
    uint64_t unacknowledged; // bytes
    uint64_t acknowledged;   // batches
    uint64_t give_up_ms;     // 0: the stream is fine
    unsigned tries;
    uint64_t random;
};

static void free_bytes(void *owner)
{
    od_free(owner);
}

static od_code send_request(struct fetch *fetch, const Openduck__V1__StreamRequest *request, struct od_error *err)
{
    struct od_segment segment;
    od_code rc = od_message_pack(&request->base, &segment, err);
    if (rc != OD_OK)
        return rc;
    return od_stream_send(fetch->stream, &segment, 1, free_bytes, (void *)(uintptr_t)segment.data, err);
}

static od_code open_stream(struct fetch *fetch, struct od_error *err)
{
    struct od_query *query = fetch->query;
    const struct od_answer *answer = &query->answer;
    Openduck__V1__StreamOpen open = OPENDUCK__V1__STREAM_OPEN__INIT;
    Openduck__V1__StreamRequest request = OPENDUCK__V1__STREAM_REQUEST__INIT;
    uint64_t timeout_ms;
    od_code rc = od_deadline_left(query->deadline_ms, &timeout_ms, err);
    if (rc != OD_OK)
        return rc;
    rc = od_stream_open(query->client->link.endpoints[query->endpoint].channel, OD_SERVICE "Stream", timeout_ms,
                        query->cancel, &fetch->stream, err);
    if (rc != OD_OK)
        return rc;
    open.ticket.data = (uint8_t *)(uintptr_t)answer->ticket.data;
    open.ticket.len = answer->ticket.bytes;
    open.partition = answer->ticket_partition;
    open.first_batch = query->tally.next;
    open.window_bytes = query->window_bytes;
    request.message_case = OPENDUCK__V1__STREAM_REQUEST__MESSAGE_OPEN;
    request.open = &open;
    fetch->unacknowledged = 0;
    fetch->acknowledged = query->tally.next;
    return send_request(fetch, &request, err);
}

static void close_stream(struct fetch *fetch)
{
    if (fetch->stream)
        od_stream_close(fetch->stream);
    fetch->stream = NULL;
}

static od_code acknowledge(struct fetch *fetch, struct od_error *err)
{
    Openduck__V1__StreamAck ack = OPENDUCK__V1__STREAM_ACK__INIT;
    Openduck__V1__StreamRequest request = OPENDUCK__V1__STREAM_REQUEST__INIT;
    if (fetch->acknowledged == fetch->query->tally.next)
        return OD_OK;
    ack.next_batch = fetch->query->tally.next;
    request.message_case = OPENDUCK__V1__STREAM_REQUEST__MESSAGE_ACK;
    request.ack = &ack;
    fetch->unacknowledged = 0;
    fetch->acknowledged = ack.next_batch;
    return send_request(fetch, &request, err);
}

static od_code take_batch(struct fetch *fetch, struct od_received *message, const struct od_stream_part *part,
                          bool *stopped, struct od_error *err)
{
    struct od_query *query = fetch->query;
    struct od_batch *batch;
    size_t bytes = message->bytes;
    od_code rc = od_tally_batch(&query->tally, part->number, part->rows, err);
    if (rc != OD_OK) {
        od_received_release(message);
        return rc;
    }
    rc = od_query_batch(part->ipc, part->ipc_bytes, part->rows, message, &batch, err);
    if (rc != OD_OK)
        return rc;
    fetch->give_up_ms = 0;
    fetch->tries = 0;
    fetch->unacknowledged += bytes;
    // A failed acknowledgement means that the connection broke: the next receive finds out.
    if (fetch->unacknowledged >= ACK_BYTES(query->window_bytes) || od_read_ahead_full(&query->ahead))
        (void)acknowledge(fetch, NULL);
    *stopped = !od_read_ahead_push(&query->ahead, batch);
    return OD_OK;
}

// What the end says about the statement beyond its totals. A server that says nothing leaves the field empty.
static od_code take_end(struct od_query *query, const struct od_received *message, struct od_error *err)
{
    ProtobufCMessage *unpacked;
    od_code rc = od_message_unpack(&openduck__v1__stream_reply__descriptor, message->data, message->bytes, &unpacked, err);
    if (rc != OD_OK)
        return rc;
    const Openduck__V1__StreamReply *reply = (const Openduck__V1__StreamReply *)(const void *)unpacked;
    const Openduck__V1__End *end =
        reply->message_case == OPENDUCK__V1__STREAM_REPLY__MESSAGE_END ? reply->end : NULL;
    if (end && *end->catalog_version) {
        query->end_in_transaction = end->in_transaction;
        query->end_catalog_version = od_strdup(end->catalog_version);
        if (!query->end_catalog_version)
            rc = od_fail(err, OD_NO_MEMORY, "no memory for the end of a result");
    }
    protobuf_c_message_free_unpacked(unpacked, NULL);
    return rc;
}

// The end is known; lets the call end in good order, so that the server need not take it for a lost client.
static void farewell(struct fetch *fetch)
{
    struct od_received message = {0};
    bool end = false;
    if (acknowledge(fetch, NULL) == OD_OK && od_stream_half_close(fetch->stream, NULL) == OD_OK &&
        od_stream_receive(fetch->stream, FAREWELL_MS, NULL, &message, &end, NULL) == OD_OK)
        od_received_release(&message);
}

// Receives until the end (*done), a stop by the consumer (*done), or an error.
static od_code receive(struct fetch *fetch, bool *done, struct od_error *err)
{
    struct od_query *query = fetch->query;
    for (;;) {
        struct od_received message = {0};
        struct od_stream_part part;
        bool end = false;
        od_code rc = od_stream_receive(fetch->stream, 0, od_stream_reply_layout, &message, &end, err);
        if (rc != OD_OK)
            return rc;
        if (end)
            return od_fail(err, OD_CORRUPT, "the server ended the result after batch %llu without its totals",
                           (unsigned long long)query->tally.next);
        rc = od_stream_reply_parse(message.data, message.bytes, &part, err);
        if (rc != OD_OK) {
            od_received_release(&message);
            (void)od_wrap(err, rc, "the server's stream");
            return err->code = OD_CORRUPT;
        }
        if (part.kind == OD_STREAM_BATCH) {
            rc = take_batch(fetch, &message, &part, done, err);
            if (rc != OD_OK || *done)
                return rc;
            continue;
        }
        rc = od_tally_end(&query->tally, part.batches, part.rows, err);
        if (rc == OD_OK)
            rc = take_end(query, &message, err);
        od_received_release(&message);
        if (rc != OD_OK)
            return rc;
        atomic_store(&query->server_done, true);
        *done = true;
        od_read_ahead_finish(&query->ahead, NULL);
        farewell(fetch);
        return OD_OK;
    }
}

// After the stream broke: waits a little and says whether to try again. *err keeps the reason when not.
static bool resume_again(struct fetch *fetch, od_code why, struct od_error *err)
{
    struct od_query *query = fetch->query;
    if (why != OD_DISCONNECTED && why != OD_UNAVAILABLE)
        return false;
    uint64_t now = od_clock_ms();
    if (!fetch->give_up_ms)
        fetch->give_up_ms = now + RESUME_MS;
    uint64_t pause = fetch->tries ? od_retry_pause_ms(&fetch->random, fetch->tries) : 0;
    if (now + pause >= fetch->give_up_ms || now + pause >= query->deadline_ms) {
        (void)od_wrap(err, why, "the result broke off after batch %llu and could not be resumed",
                      (unsigned long long)query->tally.next);
        err->code = OD_DISCONNECTED;
        err->retryable = false;
        return false;
    }
    fetch->tries++;
    atomic_fetch_add_explicit(&query->client->resumes, 1, memory_order_relaxed);
    return od_pause(pause, query->cancel);
}

void od_fetch_run(void *argument)
{
    struct od_query *query = argument;
    struct fetch fetch = {.query = query};
    struct od_error failure;
    bool done = false;
    od_code rc;
    od_random_bytes(&fetch.random, sizeof fetch.random);
    do {
        rc = open_stream(&fetch, &failure);
        if (rc == OD_OK)
            rc = receive(&fetch, &done, &failure);
        close_stream(&fetch);
    } while (rc != OD_OK && !done && resume_again(&fetch, rc, &failure));
    if (rc != OD_OK)
        od_read_ahead_finish(&query->ahead, &failure);
    od_query_unref(query);
}
