// service_upload.c - Upload: rows from a client to a statement. Opening goes to an executor (the database may have to be
// opened); batches are checked and pushed where they arrive, and the next message is read only when there is room.
//
// The call's context is reference-counted: the call, a job on its way, and a waker left with the engine hold it.
#include "arrow/ipc.h"
#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "server/intake.h"
#include "server/service.h"

#include <inttypes.h>
#include <string.h>

#define ID_BYTES_MAX 128u
#define DEFAULT_DATABASE "main"

struct od_intake_call {
    atomic_uint references;
    struct od_server *server;
    struct od_call *call; // a reference
    struct od_job job;
    ProtobufCMessage *open; // until the job has used it
    bool opened, half_closed, finished;
    _Atomic(struct od_intake *) intake; // a reference
    atomic_bool gone;                   // `closed` has run
};

static void call_unref(struct od_intake_call *c)
{
    if (atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) != 1)
        return;
    if (c->open)
        protobuf_c_message_free_unpacked(c->open, NULL);
    od_intake_unref(atomic_load(&c->intake));
    od_call_unref(c->call);
    od_free(c);
}

static struct od_intake_call *call_ref(struct od_intake_call *c)
{
    atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    return c;
}

void od_intake_call_fail(struct od_intake_call *c, const struct od_error *error)
{
    od_call_fail(c->call, error);
}

static void upload_start(struct od_call *call, void *service)
{
    struct od_intake_call *c = od_calloc(1, sizeof *c);
    if (!c) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for an upload");
        od_call_fail(call, &err);
        return;
    }
    atomic_init(&c->references, 1);
    c->server = service;
    c->call = od_call_ref(call);
    od_call_set_context(call, c);
}

static void send_progress(struct od_intake_call *c, struct od_intake *intake, bool last)
{
    Openduck__V1__UploadReply reply = OPENDUCK__V1__UPLOAD_REPLY__INIT;
    reply.next_batch = od_upload_next_batch(intake->upload);
    reply.window_bytes = OD_WINDOW_BYTES_DEFAULT;
    od_send_message(c->call, &reply.base, last, NULL);
}

// ---- room for more

static void room_run(struct od_job *job)
{
    struct od_intake_call *c = od_container(job, struct od_intake_call, job);
    od_call_read_next(c->call); // harmless when the call is over
    call_unref(c);
}

// The engine's waker: any thread, perhaps with locks of ours held, so it only submits.
static void room_again(void *argument)
{
    struct od_intake_call *c = argument;
    c->job.run = room_run;
    od_workers_submit(c->server->helpers, &c->job);
}

static void read_when_room(struct od_intake_call *c, struct od_intake *intake)
{
    call_ref(c);
    if (od_upload_room(intake->upload, (struct od_waker){room_again, c})) {
        call_unref(c);
        od_call_read_next(c->call);
    }
}

// ---- opening

static od_code check_open(const Openduck__V1__UploadOpen *open, struct od_error *err)
{
    od_code rc = OD_OK;
    size_t id_bytes = strlen(open->upload_id);
    if (id_bytes == 0 || id_bytes > ID_BYTES_MAX)
        OD_TRY(od_fail(err, OD_INVALID, "an upload id has 1 to %u bytes, not %zu", ID_BYTES_MAX, id_bytes));
    if (strlen(open->database) > OD_NAME_BYTES_MAX)
        OD_TRY(od_fail(err, OD_INVALID, "a database name of %zu bytes", strlen(open->database)));
    OD_TRY(od_ipc_check(open->schema.data, open->schema.len, OD_IPC_SCHEMA, NULL, NULL, err));
out:
    return rc;
}

static void attach(struct od_intake_call *c, struct od_intake *intake)
{
    pthread_mutex_lock(&intake->lock);
    if (intake->call) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_SUPERSEDED, "the upload was opened again by another call");
        od_intake_call_fail(intake->call, &err);
    }
    bool gone = atomic_load(&c->gone);
    intake->call = gone ? NULL : c;
    intake->moved_ms = od_clock_ms();
    pthread_mutex_unlock(&intake->lock);
}

static void open_run(struct od_job *job)
{
    struct od_intake_call *c = od_container(job, struct od_intake_call, job);
    const Openduck__V1__UploadOpen *open = (const Openduck__V1__UploadOpen *)c->open;
    struct od_error err = {0};
    struct od_intake *intake;
    const char *database = open->database[0] ? open->database : DEFAULT_DATABASE;
    od_code rc = od_intake_open(c->server, od_call_identity(c->call), database, open->upload_id, open->schema.data,
                                open->schema.len, &intake, &err);
    if (rc == OD_OK) {
        atomic_store(&c->intake, intake);
        attach(c, intake);
        send_progress(c, intake, false);
        read_when_room(c, intake);
    } else {
        od_call_fail(c->call, &err);
    }
    call_unref(c);
}

static od_code begin(struct od_intake_call *c, const struct od_stream_part *part, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(od_message_unpack(&openduck__v1__upload_open__descriptor, part->open, part->open_bytes, &c->open, err));
    OD_TRY(check_open((const Openduck__V1__UploadOpen *)c->open, err));
    c->opened = true;
    c->job.run = open_run;
    od_workers_submit(c->server->executors, &call_ref(c)->job);
out:
    return rc;
}

// ---- batches and the end

static void received_free(void *owner)
{
    struct od_received *received = owner;
    od_received_release(received);
    od_free(received);
}

static od_code push(struct od_intake_call *c, struct od_intake *intake, const struct od_stream_part *part,
                    struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t rows;
    OD_TRY(od_ipc_check(part->ipc, part->ipc_bytes, OD_IPC_BATCH, NULL, &rows, err));
    if (rows != part->rows)
        OD_TRY(od_fail(err, OD_CORRUPT, "batch %" PRIu64 " has %" PRIu64 " rows, not %" PRIu64 " as it says", part->number,
                       rows, part->rows));
    struct od_received *received = od_alloc(sizeof *received);
    if (!received)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for a batch"));
    od_call_take_message(c->call, received);
    const struct od_segment segment = {part->ipc, part->ipc_bytes};
    struct od_batch *batch = od_batch_new(&segment, 1, rows, received->capacity, received_free, received);
    if (!batch) {
        received_free(received);
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for a batch"));
    }
    OD_TRY(od_upload_push(intake->upload, part->number, batch, err));
    pthread_mutex_lock(&intake->lock);
    intake->moved_ms = od_clock_ms();
    pthread_mutex_unlock(&intake->lock);
    send_progress(c, intake, false);
    read_when_room(c, intake);
out:
    return rc;
}

static od_code finish(struct od_intake_call *c, struct od_intake *intake, const struct od_stream_part *part,
                      struct od_error *err)
{
    od_code rc = od_upload_finish(intake->upload, part->batches, part->rows, err);
    if (rc != OD_OK)
        return rc;
    pthread_mutex_lock(&intake->lock);
    intake->ended = true;
    intake->moved_ms = od_clock_ms();
    c->finished = true;
    pthread_mutex_unlock(&intake->lock);
    send_progress(c, intake, true);
    return OD_OK;
}

static void upload_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_intake_call *c = od_call_context(call);
    struct od_error err = {0};
    struct od_stream_part part;
    od_code rc = OD_OK;
    if (!c)
        return;
    struct od_intake *intake = atomic_load(&c->intake);
    OD_TRY(od_upload_request_parse(data, bytes, &part, &err));
    if (!c->opened && part.kind == OD_STREAM_OPEN)
        OD_TRY(begin(c, &part, &err));
    else if (intake && part.kind == OD_STREAM_BATCH)
        OD_TRY(push(c, intake, &part, &err));
    else if (intake && part.kind == OD_STREAM_END)
        OD_TRY(finish(c, intake, &part, &err));
    else
        OD_TRY(od_fail(&err, OD_INVALID, "an upload begins with one `open`, then come batches, then one `finish`"));
out:
    if (rc != OD_OK && intake)
        od_intake_abort(intake, &err); // bytes that cannot be trusted end it for its reader too
    if (rc != OD_OK)
        od_call_fail(call, &err);
}

// Without `finish` before it: the client gave up. A broken connection can look the same until `closed`, which tells.
static void upload_half_closed(struct od_call *call)
{
    struct od_intake_call *c = od_call_context(call);
    struct od_error err = {0};
    if (c)
        c->half_closed = true;
    (void)od_fail(&err, OD_CANCELLED, "the upload ended without `finish`");
    od_call_fail(call, &err);
}

static void upload_closed(struct od_call *call, bool cancelled)
{
    struct od_intake_call *c = od_call_context(call);
    if (!c)
        return;
    atomic_store(&c->gone, true);
    struct od_intake *intake = atomic_load(&c->intake);
    if (intake) {
        pthread_mutex_lock(&intake->lock);
        bool current = intake->call == c;
        if (current) {
            intake->call = NULL;
            intake->moved_ms = od_clock_ms();
        }
        pthread_mutex_unlock(&intake->lock);
        if (current && c->half_closed && !cancelled) {
            struct od_error err = {0};
            (void)od_fail(&err, OD_CANCELLED, "the upload was given up by its client");
            od_intake_abort(intake, &err);
        }
    }
    call_unref(c);
}

const struct od_method od_upload_method = {
    .name = OD_SERVICE "Upload",
    .start = upload_start,
    .message = upload_message,
    .half_closed = upload_half_closed,
    .closed = upload_closed,
    .layout = od_upload_request_layout,
};
