// history_stream.c - answers of many messages: the files of an export, the findings of a check.
#include "base/alloc.h"
#include "client/core.h"
#include "os/file_set.h"

#include <stdio.h>
#include <string.h>

static void free_bytes(void *owner)
{
    od_free(owner);
}

// Sends the one request of a call whose answer is a stream.
static od_code ask(struct od_client *client, const char *method, const ProtobufCMessage *request,
                   struct od_stream **stream, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_segment segment;
    // A round trip that may be repeated finds the endpoint that works.
    OD_TRY(od_client_ping(client, NULL, 0, err));
    OD_TRY(od_stream_open(client->link.endpoints[od_link_current(&client->link)].channel, method, 0,
                          client->link.closing, stream, err));
    OD_TRY(od_message_pack(request, &segment, err));
    OD_TRY(od_stream_send(*stream, &segment, 1, free_bytes, (void *)(uintptr_t)segment.data, err));
    OD_TRY(od_stream_half_close(*stream, err));
out:
    return rc;
}

// The next message; NULL at the end.
static od_code next(struct od_stream *stream, const ProtobufCMessageDescriptor *type, ProtobufCMessage **message,
                    struct od_error *err)
{
    struct od_received received = {0};
    bool end = false;
    *message = NULL;
    od_code rc = od_stream_receive(stream, 0, NULL, &received, &end, err);
    if (rc == OD_OK && !end)
        rc = od_message_unpack(type, received.data, received.bytes, message, err);
    od_received_release(&received);
    return rc;
}

static od_code take_options(void *to, size_t to_bytes, const void *from, const char *name, struct od_error *err)
{
    size_t given = 0;
    if (from)
        memcpy(&given, from, sizeof given);
    if (given < sizeof(size_t) || given > 4096)
        return od_fail(err, OD_INVALID, "%s.struct_bytes is %zu: set it to sizeof(struct %s)", name, given, name);
    memcpy(to, from, given < to_bytes ? given : to_bytes);
    return OD_OK;
}

// ---- export

static const char *const SUFFIXES[] = {"", ".wal", ".wal.checkpoint", ".wal.recovery"};

struct export_job {
    const struct od_export_request *request;
    struct od_file_set files;
    uint64_t left; // of the file being written
    uint64_t done;
};

static od_code path_of(const struct export_job *job, const char *suffix, char **path, struct od_error *err)
{
    size_t bytes = strlen(job->request->file) + strlen(suffix) + 1;
    *path = od_alloc(bytes);
    if (!*path)
        return od_fail(err, OD_NO_MEMORY, "no memory for a path");
    snprintf(*path, bytes, "%s%s", job->request->file, suffix);
    return OD_OK;
}

// Also those that the export may not have: DuckDB would replay a WAL that lies there.
static od_code expect_free(struct export_job *job, struct od_error *err)
{
    for (size_t i = 0; i < sizeof SUFFIXES / sizeof SUFFIXES[0]; i++) {
        char *path = NULL;
        od_code rc = path_of(job, SUFFIXES[i], &path, err);
        if (rc == OD_OK)
            rc = od_file_set_expect_free(&job->files, path, err);
        od_free(path);
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

// The names come from the server: only those four, each once, the database file first.
static od_code begin_file(struct export_job *job, const Openduck__V1__ExportDatabaseReply *part, struct od_error *err)
{
    size_t which = 0, count = sizeof SUFFIXES / sizeof SUFFIXES[0];
    while (which < count && strcmp(part->suffix, SUFFIXES[which]) != 0)
        which++;
    if (which == count || job->left > 0 || (which == 0) != (job->files.count == 0) || job->files.count == count)
        return od_fail(err, OD_CORRUPT, "the server sent the files of an export in an order that cannot be");
    char *path = NULL;
    od_code rc = path_of(job, part->suffix, &path, err);
    if (rc == OD_OK)
        rc = od_file_set_begin(&job->files, path, err);
    od_free(path);
    job->left = part->bytes;
    return rc;
}

static od_code take_part(struct export_job *job, const Openduck__V1__ExportDatabaseReply *part, struct od_error *err)
{
    od_code rc = part->begins ? begin_file(job, part, err) : OD_OK;
    if (rc != OD_OK)
        return rc;
    if (job->files.count == 0 || part->data.len > job->left)
        return od_fail(err, OD_CORRUPT, "the server sent more of a file than it has");
    rc = od_file_set_append(&job->files, part->data.data, part->data.len, err);
    job->left -= part->data.len;
    job->done += part->data.len;
    if (rc == OD_OK && job->request->progress)
        job->request->progress(job->request->context, job->done, part->total_bytes);
    return rc;
}

od_code od_client_export_database(struct od_client *client, const struct od_export_request *given,
                                  struct od_export_summary *summary, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_export_request request = {0};
    struct export_job job = {.request = &request};
    Openduck__V1__ExportDatabaseRequest wanted = OPENDUCK__V1__EXPORT_DATABASE_REQUEST__INIT;
    struct od_stream *stream = NULL;
    ProtobufCMessage *message = NULL;
    od_file_set_init(&job.files, od_platform_real());
    OD_TRY(take_options(&request, sizeof request, given, "od_export_request", err));
    if (!request.database || !request.file || !request.file[0])
        OD_TRY(od_fail(err, OD_INVALID, "an export needs a database and a file"));
    OD_TRY(expect_free(&job, err));
    wanted.database = (char *)(uintptr_t)request.database;
    if (request.selector)
        wanted.selector = (char *)(uintptr_t)request.selector;
    OD_TRY(ask(client, OD_ADMIN_SERVICE "ExportDatabase", &wanted.base, &stream, err));
    for (;;) {
        OD_TRY(next(stream, &openduck__v1__export_database_reply__descriptor, &message, err));
        if (!message)
            break;
        OD_TRY(take_part(&job, (const Openduck__V1__ExportDatabaseReply *)(const void *)message, err));
        protobuf_c_message_free_unpacked(message, NULL);
        message = NULL;
    }
    if (job.files.count == 0 || job.left > 0)
        OD_TRY(od_fail(err, OD_CORRUPT, "the server ended the export before the files were complete"));
    OD_TRY(od_file_set_finish(&job.files, err));
    if (summary)
        *summary = (struct od_export_summary){.files = job.files.count, .bytes = job.done};
out:
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
    if (stream)
        od_stream_close(stream);
    od_file_set_release(&job.files, rc == OD_OK);
    return rc;
}

// ---- check

static void report(const struct od_check_request *request, const Openduck__V1__CheckProblem *problem)
{
    struct od_error why = {0};
    if (!request->problem)
        return;
    (void)od_fail(&why, od_code_from_name(problem->code), "%s", problem->message);
    request->problem(request->context, problem->key, &why);
}

static void take_summary(const Openduck__V1__CheckSummary *from, struct od_check_summary *to)
{
    *to = (struct od_check_summary){.objects = from->objects,
                                    .layers = from->layers,
                                    .bytes = from->bytes,
                                    .rows = from->rows,
                                    .unreferenced = from->unreferenced,
                                    .problems = from->problems};
}

od_code od_client_check_store(struct od_client *client, const struct od_check_request *given,
                              struct od_check_summary *summary, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_check_request request = {0};
    Openduck__V1__CheckStoreRequest wanted = OPENDUCK__V1__CHECK_STORE_REQUEST__INIT;
    struct od_stream *stream = NULL;
    ProtobufCMessage *message = NULL;
    bool complete = false;
    OD_TRY(take_options(&request, sizeof request, given, "od_check_request", err));
    if (request.database)
        wanted.database = (char *)(uintptr_t)request.database;
    OD_TRY(ask(client, OD_ADMIN_SERVICE "CheckStore", &wanted.base, &stream, err));
    for (;;) {
        OD_TRY(next(stream, &openduck__v1__check_store_reply__descriptor, &message, err));
        if (!message)
            break;
        const Openduck__V1__CheckStoreReply *reply = (const Openduck__V1__CheckStoreReply *)(const void *)message;
        if (reply->message_case == OPENDUCK__V1__CHECK_STORE_REPLY__MESSAGE_PROGRESS && request.progress)
            request.progress(request.context, reply->progress->objects, reply->progress->bytes);
        else if (reply->message_case == OPENDUCK__V1__CHECK_STORE_REPLY__MESSAGE_PROBLEM)
            report(&request, reply->problem);
        else if (reply->message_case == OPENDUCK__V1__CHECK_STORE_REPLY__MESSAGE_SUMMARY) {
            take_summary(reply->summary, summary);
            complete = true;
        }
        protobuf_c_message_free_unpacked(message, NULL);
        message = NULL;
    }
    if (!complete)
        OD_TRY(od_fail(err, OD_CORRUPT, "the server ended the check without a summary"));
out:
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
    if (stream)
        od_stream_close(stream);
    return rc;
}
