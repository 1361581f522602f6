// upload.c - rows to the server; see upload.h.
#include "client/upload.h"

#include "arrow/ipc.h"
#include "base/alloc.h"
#include "client/client.h"
#include "client/retry.h"
#include "openduck/arrow.h"
#include "os/clock.h"
#include "os/thread.h"

#include <inttypes.h>
#include <string.h>

#define RESUME_MS OD_PARK_MS
#define FIRST_REPLY_MS 30000u
#define SEGMENTS_INLINE 64u
#define FIELD_BATCH 2u // of UploadRequest

// ---- messages

struct outgoing {
    uint8_t *head;
    struct od_batch *batch;
};

static void outgoing_release(void *owner)
{
    struct outgoing *outgoing = owner;
    od_free(outgoing->head);
    od_batch_unref(outgoing->batch);
    od_free(outgoing);
}

static void free_bytes(void *owner)
{
    od_free(owner);
}

static od_code send_batch(struct od_stream *stream, uint64_t number, struct od_batch *batch, struct od_error *err)
{
    struct od_segment few[SEGMENTS_INLINE], *segments = few;
    size_t count;
    struct outgoing *outgoing = od_alloc(sizeof *outgoing);
    if (batch->segment_count + 1 > SEGMENTS_INLINE)
        segments = od_alloc((batch->segment_count + 1) * sizeof *segments);
    od_code rc = outgoing && segments ? OD_OK : od_fail(err, OD_NO_MEMORY, "no memory to send a batch");
    if (rc == OD_OK)
        rc = od_batch_message(FIELD_BATCH, number, batch, segments, &count, err);
    if (rc == OD_OK) {
        *outgoing = (struct outgoing){(uint8_t *)(uintptr_t)segments[0].data, od_batch_ref(batch)};
        rc = od_stream_send(stream, segments, count, outgoing_release, outgoing, err);
        outgoing = NULL;
    }
    od_free(outgoing);
    if (segments != few)
        od_free(segments);
    return rc;
}

static od_code send_message(struct od_stream *stream, const Openduck__V1__UploadRequest *request, struct od_error *err)
{
    struct od_segment segment;
    od_code rc = od_message_pack(&request->base, &segment, err);
    if (rc != OD_OK)
        return rc;
    return od_stream_send(stream, &segment, 1, free_bytes, (void *)(uintptr_t)segment.data, err);
}

static od_code send_open(struct od_upload_stream *upload, struct od_stream *stream, struct od_error *err)
{
    Openduck__V1__UploadOpen open = OPENDUCK__V1__UPLOAD_OPEN__INIT;
    Openduck__V1__UploadRequest request = OPENDUCK__V1__UPLOAD_REQUEST__INIT;
    open.database = upload->database;
    open.upload_id = upload->id;
    open.schema.data = upload->schema.data;
    open.schema.len = upload->schema.bytes;
    request.message_case = OPENDUCK__V1__UPLOAD_REQUEST__MESSAGE_OPEN;
    request.open = &open;
    return send_message(stream, &request, err);
}

static od_code send_finish(struct od_upload_stream *upload, struct od_stream *stream, struct od_error *err)
{
    Openduck__V1__End end = OPENDUCK__V1__END__INIT;
    Openduck__V1__UploadRequest request = OPENDUCK__V1__UPLOAD_REQUEST__INIT;
    end.batches = upload->next;
    end.rows = upload->rows;
    request.message_case = OPENDUCK__V1__UPLOAD_REQUEST__MESSAGE_FINISH;
    request.finish = &end;
    od_code rc = send_message(stream, &request, err);
    return rc == OD_OK ? od_stream_half_close(stream, err) : rc;
}

// Next reply; *end when the server has ended the call well.
static od_code receive_reply(struct od_stream *stream, uint64_t timeout_ms, uint64_t *next, uint64_t *window, bool *end,
                             struct od_error *err)
{
    struct od_received message = {0};
    ProtobufCMessage *unpacked;
    od_code rc = od_stream_receive(stream, timeout_ms, NULL, &message, end, err);
    if (rc != OD_OK || *end)
        return rc;
    rc = od_message_unpack(&openduck__v1__upload_reply__descriptor, message.data, message.bytes, &unpacked, err);
    od_received_release(&message);
    if (rc != OD_OK)
        return rc;
    const Openduck__V1__UploadReply *reply = (const Openduck__V1__UploadReply *)(const void *)unpacked;
    *next = reply->next_batch;
    *window = reply->window_bytes;
    protobuf_c_message_free_unpacked(unpacked, NULL);
    return OD_OK;
}

// ---- state, under the lock

// The server holds every batch below `next`.
static od_code acknowledged(struct od_upload_stream *upload, uint64_t next, uint64_t window, struct od_error *err)
{
    if (next < upload->base || next > upload->next)
        return od_fail(err, OD_CORRUPT, "the server acknowledges batch %" PRIu64 " of an upload of which %" PRIu64 " to %" PRIu64
                       " are on their way", next, upload->base, upload->next);
    for (; upload->base < next; upload->base++) {
        struct od_batch *batch = upload->ring[upload->base % upload->capacity];
        upload->kept_bytes -= batch->bytes;
        od_batch_unref(batch);
    }
    if (window)
        upload->window_bytes = window;
    return OD_OK;
}

static od_code keep(struct od_upload_stream *upload, struct od_batch *batch, struct od_error *err)
{
    uint64_t count = upload->next - upload->base;
    if (count == upload->capacity) {
        size_t capacity = upload->capacity ? upload->capacity * 2 : 32;
        struct od_batch **ring = od_alloc(capacity * sizeof(struct od_batch *));
        if (!ring)
            return od_fail(err, OD_NO_MEMORY, "no memory for an upload");
        for (uint64_t n = upload->base; n < upload->next; n++)
            ring[n % capacity] = upload->ring[n % upload->capacity];
        od_free(upload->ring);
        upload->ring = ring;
        upload->capacity = capacity;
    }
    upload->ring[upload->next++ % upload->capacity] = batch;
    upload->rows += batch->rows;
    upload->kept_bytes += batch->bytes;
    return OD_OK;
}

static void set_failed(struct od_upload_stream *upload, const struct od_error *failure)
{
    if (upload->state == OD_UPLOAD_OPEN || upload->state == OD_UPLOAD_RESUMING) {
        upload->state = OD_UPLOAD_FAILED;
        upload->failure = *failure;
    }
    pthread_cond_broadcast(&upload->changed);
}

static od_code state_error(struct od_upload_stream *upload, struct od_error *err)
{
    if (upload->state == OD_UPLOAD_CANCELLED)
        return od_fail(err, OD_CANCELLED, "the upload was cancelled");
    if (err)
        *err = upload->failure;
    return upload->failure.code;
}

static void upload_unref(struct od_upload_stream *upload)
{
    if (atomic_fetch_sub(&upload->references, 1) > 1)
        return;
    if (upload->stream)
        od_stream_close(upload->stream);
    for (; upload->base < upload->next; upload->base++)
        od_batch_unref(upload->ring[upload->base % upload->capacity]);
    od_free(upload->ring);
    if (upload->array_schema && upload->array_schema->release)
        upload->array_schema->release(upload->array_schema);
    od_free(upload->array_schema);
    od_buf_release(&upload->schema);
    od_free(upload->database);
    if (upload->cancel)
        od_cancel_unref(upload->cancel);
    pthread_cond_destroy(&upload->changed);
    pthread_mutex_destroy(&upload->lock);
    od_free(upload);
}

// ---- the connection

// Opens the call; *next and *window are the server's first reply.
static od_code connect_once(struct od_upload_stream *upload, size_t endpoint, struct od_stream **stream,
                            uint64_t *next, uint64_t *window, struct od_error *err)
{
    bool end = false;
    od_code rc = od_stream_open(upload->client->link.endpoints[endpoint].channel, OD_SERVICE "Upload", 0,
                                upload->cancel, stream, err);
    if (rc != OD_OK)
        return rc;
    rc = send_open(upload, *stream, err);
    // When the server has ended the call, the reason is in what it says, not in the failed sending.
    if (rc == OD_OK || rc == OD_DISCONNECTED || rc == OD_UNAVAILABLE)
        rc = receive_reply(*stream, FIRST_REPLY_MS, next, window, &end, err);
    if (rc == OD_OK && end)
        rc = od_fail(err, OD_CORRUPT, "the server ended the upload before it began");
    if (rc != OD_OK) {
        od_stream_close(*stream);
        *stream = NULL;
    }
    return rc;
}

static od_code connect_first(struct od_upload_stream *upload, struct od_error *err)
{
    struct od_link *link = &upload->client->link;
    struct od_retry retry;
    uint64_t seed, next, window;
    od_random_bytes(&seed, sizeof seed);
    struct od_retry_options options = {.retries = link->retries,
                                       .endpoints = link->count,
                                       .connect_ms = link->connect_timeout_ms,
                                       .deadline_ms = UINT64_MAX,
                                       .now_ms = od_clock_ms(),
                                       .seed = seed,
                                       .resend = true};
    od_retry_init(&retry, &options);
    upload->endpoint = od_link_current(link);
    for (;;) {
        od_code rc = connect_once(upload, upload->endpoint, &upload->stream, &next, &window, err);
        if (rc == OD_OK) {
            od_link_prefer(link, upload->endpoint);
            return acknowledged(upload, next, window ? window : OD_WINDOW_BYTES_DEFAULT, err);
        }
        struct od_retry_step step = od_retry_after(&retry, rc, od_clock_ms());
        if (step.verdict == OD_RETRY_STOP || !od_pause(step.wait_ms, upload->cancel))
            return rc;
        if (step.verdict == OD_RETRY_NEXT)
            upload->endpoint = (upload->endpoint + 1) % link->count;
    }
}

// ---- the job

// Sends again what the server does not hold. Senders wait meanwhile, so ring and totals stay as they are.
static od_code send_kept(struct od_upload_stream *upload, struct od_stream *stream, struct od_error *err)
{
    for (uint64_t n = upload->base; n < upload->next; n++) {
        od_code rc = send_batch(stream, n, upload->ring[n % upload->capacity], err);
        if (rc != OD_OK)
            return rc;
    }
    return upload->finish_sent ? send_finish(upload, stream, err) : OD_OK;
}

static bool resumable(od_code rc)
{
    return rc == OD_DISCONNECTED || rc == OD_UNAVAILABLE;
}

// Reconnects after `failure`, which becomes the reason when that does not work. True: goes on.
static bool resume(struct od_upload_stream *upload, struct od_error *failure)
{
    uint64_t give_up_ms = od_clock_ms() + RESUME_MS, random;
    od_random_bytes(&random, sizeof random);

    pthread_mutex_lock(&upload->lock);
    if (upload->state == OD_UPLOAD_OPEN)
        upload->state = OD_UPLOAD_RESUMING;
    while (upload->sending) {
        od_stream_cancel(upload->stream);
        pthread_cond_wait(&upload->changed, &upload->lock);
    }
    struct od_stream *broken = upload->stream;
    upload->stream = NULL;
    bool wanted = upload->state == OD_UPLOAD_RESUMING;
    pthread_mutex_unlock(&upload->lock);
    od_stream_close(broken);

    for (unsigned n = 0; wanted; n++) {
        struct od_stream *stream = NULL;
        uint64_t next, window;
        od_code rc = connect_once(upload, upload->endpoint, &stream, &next, &window, failure);
        atomic_fetch_add_explicit(&upload->client->resumes, 1, memory_order_relaxed);
        pthread_mutex_lock(&upload->lock);
        wanted = upload->state == OD_UPLOAD_RESUMING;
        if (rc == OD_OK && wanted)
            rc = acknowledged(upload, next, window, failure);
        pthread_mutex_unlock(&upload->lock);
        if (rc == OD_OK && wanted)
            rc = send_kept(upload, stream, failure);
        if (rc == OD_OK && wanted) {
            pthread_mutex_lock(&upload->lock);
            upload->stream = stream;
            wanted = upload->state == OD_UPLOAD_RESUMING;
            if (wanted)
                upload->state = OD_UPLOAD_OPEN;
            pthread_cond_broadcast(&upload->changed);
            pthread_mutex_unlock(&upload->lock);
            return wanted;
        }
        if (stream)
            od_stream_close(stream);
        uint64_t pause = od_retry_pause_ms(&random, n);
        if (!wanted || !resumable(rc) || od_clock_ms() + pause >= give_up_ms)
            break;
        (void)od_pause(pause, upload->cancel);
    }
    return false;
}

static void upload_run(void *argument)
{
    struct od_upload_stream *upload = argument;
    struct od_error failure;
    for (;;) {
        uint64_t next = 0, window = 0;
        bool end = false;
        od_code rc = receive_reply(upload->stream, 0, &next, &window, &end, &failure);
        if (resumable(rc) && resume(upload, &failure))
            continue;
        pthread_mutex_lock(&upload->lock);
        if (rc == OD_OK && !end)
            rc = acknowledged(upload, next, window, &failure);
        if (rc != OD_OK)
            set_failed(upload, &failure);
        else if (end && upload->state == OD_UPLOAD_OPEN)
            upload->state = OD_UPLOAD_DONE; // without finish: the statement wants no more rows
        bool over = upload->state != OD_UPLOAD_OPEN;
        pthread_cond_broadcast(&upload->changed);
        pthread_mutex_unlock(&upload->lock);
        if (over)
            break;
    }
    upload_unref(upload);
}

// ---- the caller's side

static od_code upload_start(struct od_client *client, const char *database, struct od_upload_stream *upload,
                            struct od_upload_stream **out, struct od_error *err)
{
    od_code rc;
    upload->client = client;
    upload->database = od_strdup(database ? database : "main");
    upload->cancel = od_cancel_new();
    if (!upload->database || !upload->cancel) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for an upload");
        goto out;
    }
    od_random_id(upload->id);
    OD_TRY(connect_first(upload, err));
    atomic_fetch_add(&upload->references, 1);
    rc = od_crew_run(client->crew, upload_run, upload, err);
    if (rc != OD_OK)
        atomic_fetch_sub(&upload->references, 1);
out:
    if (rc == OD_OK)
        *out = upload;
    else
        upload_unref(upload);
    return rc;
}

static struct od_upload_stream *upload_new(void)
{
    struct od_upload_stream *upload = od_calloc(1, sizeof *upload);
    if (!upload)
        return NULL;
    atomic_init(&upload->references, 1);
    pthread_mutex_init(&upload->lock, NULL);
    od_cond_init(&upload->changed);
    od_buf_init(&upload->schema, OD_MESSAGE_BYTES_MAX / 2);
    return upload;
}

od_code od_upload_stream_open_encoded(struct od_client *client, const char *database, const uint8_t *schema_message,
                                      size_t schema_bytes, struct od_upload_stream **out, struct od_error *err)
{
    struct od_upload_stream *upload = upload_new();
    *out = NULL;
    if (!upload)
        return od_fail(err, OD_NO_MEMORY, "no memory for an upload");
    od_code rc = od_buf_append(&upload->schema, schema_message, schema_bytes, err);
    if (rc != OD_OK) {
        upload_unref(upload);
        return rc;
    }
    return upload_start(client, database, upload, out, err);
}

od_code od_upload_stream_open(struct od_client *client, const char *database, const struct ArrowSchema *schema,
                              struct od_upload_stream **out, struct od_error *err)
{
    struct od_upload_stream *upload = upload_new();
    od_code rc;
    *out = NULL;
    if (!upload)
        return od_fail(err, OD_NO_MEMORY, "no memory for an upload");
    upload->array_schema = od_calloc(1, sizeof *upload->array_schema);
    if (!upload->array_schema) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for an upload");
        goto out;
    }
    OD_TRY(od_ipc_encode_schema(schema, &upload->schema, err));
    // The caller's schema may go; what was encoded is the copy.
    OD_TRY(od_ipc_decode_schema(upload->schema.data, upload->schema.bytes, upload->array_schema, err));
    return upload_start(client, database, upload, out, err);
out:
    upload_unref(upload);
    return rc;
}

const char *od_upload_stream_id(const struct od_upload_stream *upload)
{
    return upload->id;
}

// Waits for the turn to send, and for room for `bytes`. Called and left with the lock. *proceed = false: nothing to
// send any more, all is well.
static od_code wait_turn(struct od_upload_stream *upload, uint64_t bytes, bool *proceed, struct od_error *err)
{
    for (;;) {
        if (upload->state == OD_UPLOAD_FAILED || upload->state == OD_UPLOAD_CANCELLED)
            return state_error(upload, err);
        *proceed = upload->state != OD_UPLOAD_DONE;
        if (!*proceed)
            return OD_OK;
        bool room = upload->kept_bytes == 0 || upload->kept_bytes + bytes <= upload->window_bytes;
        if (upload->state == OD_UPLOAD_OPEN && !upload->sending && room)
            return OD_OK;
        pthread_cond_wait(&upload->changed, &upload->lock);
    }
}

// After sending, with the lock taken. A broken call is the job's business, for what was sent is kept; anything else
// would leave a gap.
static void sent(struct od_upload_stream *upload, od_code rc, const struct od_error *failure)
{
    upload->sending = false;
    bool gap = rc == OD_NO_MEMORY || rc == OD_LIMIT || rc == OD_INTERNAL || rc == OD_INVALID;
    if (gap) {
        set_failed(upload, failure);
        od_stream_cancel(upload->stream);
    }
    pthread_cond_broadcast(&upload->changed);
}

od_code od_upload_stream_send_batch(struct od_upload_stream *upload, struct od_batch *batch, struct od_error *err)
{
    bool proceed = false;
    pthread_mutex_lock(&upload->lock);
    od_code rc = upload->finish_sent ? od_fail(err, OD_INVALID, "the upload was finished before")
                                     : wait_turn(upload, batch->bytes, &proceed, err);
    if (rc == OD_OK && proceed)
        rc = keep(upload, batch, err);
    if (rc != OD_OK || !proceed) {
        pthread_mutex_unlock(&upload->lock);
        od_batch_unref(batch);
        return rc;
    }
    struct od_error failure;
    struct od_stream *stream = upload->stream;
    uint64_t number = upload->next - 1;
    upload->sending = true;
    (void)od_batch_ref(batch); // an acknowledgement may release the kept one meanwhile
    pthread_mutex_unlock(&upload->lock);
    rc = send_batch(stream, number, batch, &failure);
    od_batch_unref(batch);
    atomic_fetch_add_explicit(&upload->client->batches_sent, 1, memory_order_relaxed);
    pthread_mutex_lock(&upload->lock);
    sent(upload, rc, &failure);
    rc = upload->state == OD_UPLOAD_FAILED || upload->state == OD_UPLOAD_CANCELLED ? state_error(upload, err) : OD_OK;
    pthread_mutex_unlock(&upload->lock);
    return rc;
}

od_code od_upload_stream_send(struct od_upload_stream *upload, const struct ArrowArray *array, struct od_error *err)
{
    struct od_batch *batch;
    if (!upload->array_schema)
        return od_fail(err, OD_INVALID, "the upload was opened for encoded batches");
    od_code rc = od_ipc_encode_array(upload->array_schema, array, &batch, err);
    return rc == OD_OK ? od_upload_stream_send_batch(upload, batch, err) : rc;
}

od_code od_upload_stream_finish(struct od_upload_stream *upload, struct od_error *err)
{
    bool proceed;
    struct od_error failure;
    pthread_mutex_lock(&upload->lock);
    od_code rc = wait_turn(upload, 0, &proceed, err);
    if (rc == OD_OK && proceed && !upload->finish_sent) {
        struct od_stream *stream = upload->stream;
        upload->finish_sent = true;
        upload->sending = true;
        pthread_mutex_unlock(&upload->lock);
        rc = send_finish(upload, stream, &failure);
        pthread_mutex_lock(&upload->lock);
        sent(upload, rc, &failure);
        rc = OD_OK;
    }
    while (rc == OD_OK && (upload->state == OD_UPLOAD_OPEN || upload->state == OD_UPLOAD_RESUMING))
        pthread_cond_wait(&upload->changed, &upload->lock);
    if (rc == OD_OK && upload->state != OD_UPLOAD_DONE)
        rc = state_error(upload, err);
    pthread_mutex_unlock(&upload->lock);
    return rc;
}

// Ends it here and, without waiting, on the server.
static void give_up(struct od_upload_stream *upload)
{
    pthread_mutex_lock(&upload->lock);
    bool running = upload->state == OD_UPLOAD_OPEN || upload->state == OD_UPLOAD_RESUMING;
    if (running) {
        upload->state = OD_UPLOAD_CANCELLED;
        if (upload->stream)
            od_stream_cancel(upload->stream);
    }
    pthread_cond_broadcast(&upload->changed);
    pthread_mutex_unlock(&upload->lock);
    if (running) {
        od_cancel_fire(upload->cancel);
        od_canceller_post(upload->client->canceller, upload->endpoint, upload->id);
    }
}

void od_upload_stream_cancel(struct od_upload_stream *upload)
{
    give_up(upload);
}

void od_upload_stream_close(struct od_upload_stream *upload)
{
    if (!upload)
        return;
    give_up(upload);
    upload_unref(upload);
}
