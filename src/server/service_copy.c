// service_copy.c - AdminService: calls whose answer is a stream of messages that one job makes: the files of an export, the
// findings of a check.
//
// The job runs on an executor as long as the transport takes what it sends. When enough is under way it ends, and `sendable`
// submits it again; so a slow client holds memory for one window and no thread. A check cannot be interrupted in its middle:
// it goes on, and of what is under way it sends less (progress is left out).
#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "server/service.h"
#include "storage/fsck.h"
#include "storage/store.h"

#include <string.h>

#define PIECE_BYTES ((size_t)OD_MIB)
#define WINDOW_BYTES (8 * OD_MIB)
#define PROGRESS_MS 200u
#define PROBLEMS_SENT_MAX 10000u // the others are counted

struct copy_call {
    atomic_uint references;
    struct od_server *server;
    struct od_call *call; // a reference
    struct od_job job;
    ProtobufCMessage *message; // the request
    atomic_bool gone;
    atomic_bool resting; // the job has ended for want of room; who turns it off submits it again

    // ---- export: touched by the job only
    struct od_database *database; // a use of it
    struct od_volume *volume;
    uint8_t *piece;
    int file; // the one being sent
    uint64_t at, total;

    // ---- check
    uint64_t progress_ms;
    uint64_t problems_sent;
};

static const char *const SUFFIXES[OD_VOLUME_FILES] = {"", ".wal", ".wal.checkpoint", ".wal.recovery"};

static void unref(struct copy_call *c)
{
    if (atomic_fetch_sub_explicit(&c->references, 1, memory_order_acq_rel) != 1)
        return;
    od_volume_close(c->volume);
    od_database_release(c->database);
    od_free(c->piece);
    if (c->message)
        protobuf_c_message_free_unpacked(c->message, NULL);
    od_call_unref(c->call);
    od_free(c);
}

static void copy_start(struct od_call *call, void *service)
{
    struct copy_call *c = od_calloc(1, sizeof *c);
    if (!c) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a call");
        od_call_fail(call, &err);
        return;
    }
    atomic_init(&c->references, 1);
    c->server = service;
    c->call = od_call_ref(call);
    od_call_set_context(call, c);
}

static void submit(struct copy_call *c)
{
    atomic_fetch_add_explicit(&c->references, 1, memory_order_relaxed);
    od_workers_submit(c->server->executors, &c->job);
}

static void copy_sendable(struct od_call *call)
{
    struct copy_call *c = od_call_context(call);
    if (c && atomic_exchange(&c->resting, false))
        submit(c);
}

static void copy_closed(struct od_call *call, bool cancelled)
{
    struct copy_call *c = od_call_context(call);
    (void)cancelled;
    if (!c)
        return;
    atomic_store(&c->gone, true);
    unref(c);
}

static void receive(struct od_call *call, const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t bytes,
                    void (*run)(struct od_job *job))
{
    static const uint32_t texts[] = {1, 2, 0};
    struct copy_call *c = od_call_context(call);
    struct od_error err = {0};
    if (!c)
        return;
    od_code rc = od_check_texts(data, bytes, texts, &err);
    if (rc == OD_OK)
        rc = od_message_unpack(type, data, bytes, &c->message, &err);
    if (rc != OD_OK) {
        od_call_fail(call, &err);
        return;
    }
    c->job.run = run;
    submit(c);
}

// ---- export

static od_code open_export(struct copy_call *c, struct od_error *err)
{
    od_code rc = OD_OK;
    const Openduck__V1__ExportDatabaseRequest *request = (const Openduck__V1__ExportDatabaseRequest *)c->message;
    c->piece = od_alloc(PIECE_BYTES);
    if (!c->piece)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for an export"));
    OD_TRY(od_host_open_at(c->server->host, request->database, request->selector[0] ? request->selector : NULL,
                           &c->database, &c->volume, err));
    if (!od_volume_exists(c->volume, OD_VOLUME_DATABASE))
        OD_TRY(od_fail(err, OD_NOT_FOUND, "the database \"%s\" is empty: it has no file to export yet",
                       request->database));
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        c->total += od_volume_size(c->volume, (enum od_volume_file)i);
out:
    return rc;
}

// One message of the present file; goes on to the next at its end.
static od_code send_piece(struct copy_call *c, struct od_error *err)
{
    od_code rc = OD_OK;
    Openduck__V1__ExportDatabaseReply reply = OPENDUCK__V1__EXPORT_DATABASE_REPLY__INIT;
    enum od_volume_file file = (enum od_volume_file)c->file;
    uint64_t size = od_volume_size(c->volume, file);
    size_t bytes = size - c->at < PIECE_BYTES ? (size_t)(size - c->at) : PIECE_BYTES;
    OD_TRY(od_volume_read(c->volume, file, c->at, c->piece, bytes, err));
    reply.suffix = (char *)(uintptr_t)SUFFIXES[file];
    reply.begins = c->at == 0;
    reply.bytes = size;
    reply.total_bytes = c->total;
    reply.data.data = c->piece;
    reply.data.len = bytes;
    od_send_message(c->call, &reply.base, false, NULL);
    c->at += bytes;
    if (c->at == size) {
        c->file++;
        c->at = 0;
    }
out:
    return rc;
}

// True: there is no more. False: the transport has enough for now, and `sendable` goes on.
static bool export_some(struct copy_call *c, od_code *rc, struct od_error *err)
{
    for (;;) {
        while (c->file < OD_VOLUME_FILES && !od_volume_exists(c->volume, (enum od_volume_file)c->file))
            c->file++;
        if (c->file == OD_VOLUME_FILES || atomic_load(&c->gone))
            return true;
        *rc = send_piece(c, err);
        if (*rc != OD_OK)
            return true;
        if (od_call_unsent_bytes(c->call) < WINDOW_BYTES)
            continue;
        atomic_store(&c->resting, true);
        // `sendable` may have come before that; then nobody else will call.
        if (od_call_unsent_bytes(c->call) > 0 || !atomic_exchange(&c->resting, false))
            return false;
    }
}

static void export_run(struct od_job *job)
{
    struct copy_call *c = od_container(job, struct copy_call, job);
    struct od_error err = {0};
    od_code rc = c->volume ? OD_OK : open_export(c, &err);
    if (rc != OD_OK || export_some(c, &rc, &err)) {
        if (rc == OD_OK)
            od_call_finish(c->call);
        else
            od_call_fail(c->call, &err);
    }
    unref(c);
}

static void export_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__export_database_request__descriptor, data, bytes, export_run);
}

// ---- check

static void note_progress(void *context, uint64_t objects, uint64_t bytes)
{
    struct copy_call *c = context;
    uint64_t now_ms = od_clock_ms();
    if (now_ms - c->progress_ms < PROGRESS_MS || od_call_unsent_bytes(c->call) > 0)
        return;
    c->progress_ms = now_ms;
    Openduck__V1__CheckStoreReply reply = OPENDUCK__V1__CHECK_STORE_REPLY__INIT;
    Openduck__V1__CheckProgress progress = OPENDUCK__V1__CHECK_PROGRESS__INIT;
    progress.objects = objects;
    progress.bytes = bytes;
    reply.message_case = OPENDUCK__V1__CHECK_STORE_REPLY__MESSAGE_PROGRESS;
    reply.progress = &progress;
    od_send_message(c->call, &reply.base, false, NULL);
}

static void note_problem(void *context, const char *key, const struct od_error *why)
{
    struct copy_call *c = context;
    if (c->problems_sent++ >= PROBLEMS_SENT_MAX)
        return;
    Openduck__V1__CheckStoreReply reply = OPENDUCK__V1__CHECK_STORE_REPLY__INIT;
    Openduck__V1__CheckProblem problem = OPENDUCK__V1__CHECK_PROBLEM__INIT;
    problem.key = (char *)(uintptr_t)key;
    problem.code = (char *)(uintptr_t)od_code_name(why->code);
    problem.message = (char *)(uintptr_t)why->message;
    reply.message_case = OPENDUCK__V1__CHECK_STORE_REPLY__MESSAGE_PROBLEM;
    reply.problem = &problem;
    od_send_message(c->call, &reply.base, false, NULL);
}

static bool is_gone(void *context)
{
    return atomic_load(&((struct copy_call *)context)->gone);
}

static void check_run(struct od_job *job)
{
    struct copy_call *c = od_container(job, struct copy_call, job);
    const Openduck__V1__CheckStoreRequest *request = (const Openduck__V1__CheckStoreRequest *)c->message;
    struct od_error err = {0};
    struct od_fsck fsck = {.progress = note_progress, .problem = note_problem, .stop = is_gone, .context = c};
    od_code rc = od_host_check(c->server->host, request->database[0] ? request->database : NULL, &fsck, &err);
    if (rc == OD_OK) {
        Openduck__V1__CheckStoreReply reply = OPENDUCK__V1__CHECK_STORE_REPLY__INIT;
        Openduck__V1__CheckSummary summary = OPENDUCK__V1__CHECK_SUMMARY__INIT;
        summary.objects = fsck.objects_seen;
        summary.layers = fsck.layers;
        summary.bytes = fsck.bytes;
        summary.rows = fsck.rows;
        summary.unreferenced = fsck.unreferenced;
        summary.problems = fsck.problems;
        reply.message_case = OPENDUCK__V1__CHECK_STORE_REPLY__MESSAGE_SUMMARY;
        reply.summary = &summary;
        od_send_message(c->call, &reply.base, true, NULL);
    } else {
        od_call_fail(c->call, &err);
    }
    unref(c);
}

static void check_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    receive(call, &openduck__v1__check_store_request__descriptor, data, bytes, check_run);
}

void od_service_copy_methods(struct od_server *server, struct od_method *methods)
{
    const struct od_method all[OD_COPY_METHODS] = {
        {.name = OD_ADMIN_SERVICE "ExportDatabase",
         .start = copy_start,
         .message = export_message,
         .sendable = copy_sendable,
         .closed = copy_closed},
        {.name = OD_ADMIN_SERVICE "CheckStore", .start = copy_start, .message = check_message, .closed = copy_closed},
    };
    memcpy(methods, all, sizeof all);
    for (size_t i = 0; i < OD_COPY_METHODS; i++)
        methods[i].service = server;
}
