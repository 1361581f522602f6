// service_execution.c - the unary RPCs: Execute, CancelExecution, CloseSession; and the ones kept for clusters. Handlers
// check what came, make an event of it, and return: they run on completion-queue threads and never wait.
#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "rpc/wire.h"
#include "server/intake.h"
#include "server/service.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define ID_BYTES_MAX 128u
#define TIMEOUT_MS_MAX (30ull * 24 * 60 * 60 * 1000)
#define DEFAULT_DATABASE "main"

// ---- shared by the handlers

void od_call_state_start(struct od_call *call, void *service)
{
    struct od_call_state *state = od_calloc(1, sizeof *state);
    if (!state) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a call");
        od_call_fail(call, &err);
        return;
    }
    state->server = service;
    od_call_set_context(call, state);
}

void od_call_state_closed(struct od_call *call, bool cancelled)
{
    (void)cancelled;
    od_free(od_call_context(call));
}

struct od_server *od_call_server(struct od_call *call)
{
    struct od_call_state *state = od_call_context(call);
    return state ? state->server : NULL;
}

static void free_bytes(void *owner)
{
    od_free(owner);
}

void od_send_message(struct od_call *call, const ProtobufCMessage *message, bool last, struct od_error *err)
{
    struct od_segment segment;
    struct od_error local = {0};
    if (!err)
        err = &local;
    if (od_message_pack(message, &segment, err) != OD_OK) {
        od_call_fail(call, err);
        return;
    }
    void *owner = (void *)(uintptr_t)segment.data;
    if (last)
        od_call_reply(call, &segment, 1, free_bytes, owner);
    else
        od_call_send(call, &segment, 1, free_bytes, owner);
}

od_code od_check_texts(const uint8_t *data, size_t bytes, const uint32_t *fields, struct od_error *err)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    od_wire_reader_init(&reader, data, bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.type != OD_WIRE_BYTES || !memchr(field.data, '\0', field.bytes))
            continue;
        for (const uint32_t *number = fields; *number; number++)
            if (*number == field.number)
                return od_fail(err, OD_INVALID,
                               "text with a NUL character in field %u: write it as chr(0) in SQL", field.number);
    }
    return OD_OK;
}

// ---- Execute

static const char *text_or_null(const char *text)
{
    return text && text[0] ? text : NULL;
}

static od_code check_length(const char *what, const char *text, size_t most, struct od_error *err)
{
    size_t bytes = text ? strlen(text) : 0;
    return bytes <= most ? OD_OK : od_fail(err, OD_INVALID, "a %s of %zu bytes: %zu are allowed", what, bytes, most);
}

static od_code check_request(const Openduck__V1__ExecuteRequest *request, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(check_length("request id", request->request_id, ID_BYTES_MAX, err));
    OD_TRY(check_length("session id", request->session_id, ID_BYTES_MAX, err));
    OD_TRY(check_length("database name", request->database, OD_NAME_BYTES_MAX, err));
    OD_TRY(check_length("statement", request->sql, OD_SQL_BYTES_MAX, err));
    if (request->group)
        OD_TRY(check_length("group id", request->group->id, ID_BYTES_MAX, err));
    if (!request->sql[0])
        OD_TRY(od_fail(err, OD_INVALID, "the request has no SQL"));
    OD_TRY(check_length("snapshot", request->snapshot, OD_NAME_BYTES_MAX, err));
    if (request->session_id[0] && request->sequence == 0)
        OD_TRY(od_fail(err, OD_INVALID, "a statement of a session needs its number (sequence): 1, 2, 3, ..."));
    if (!request->session_id[0] && request->sequence != 0)
        OD_TRY(od_fail(err, OD_INVALID, "a statement number (sequence) needs a session"));
    if (request->begin_transaction && !request->session_id[0])
        OD_TRY(od_fail(err, OD_INVALID, "a transaction (begin_transaction) needs a session"));
    if (request->timeout_ms > TIMEOUT_MS_MAX)
        OD_TRY(od_fail(err, OD_INVALID, "a timeout of %" PRIu64 " ms is longer than 30 days", request->timeout_ms));
out:
    return rc;
}

// The first of the client's codecs that there is.
static enum od_ipc_codec choose_codec(const Openduck__V1__ExecuteRequest *request)
{
    for (size_t i = 0; i < request->n_accept_compression; i++) {
        if (request->accept_compression[i] == OPENDUCK__V1__COMPRESSION__COMPRESSION_LZ4_FRAME)
            return OD_IPC_LZ4;
        if (request->accept_compression[i] == OPENDUCK__V1__COMPRESSION__COMPRESSION_ZSTD)
            return OD_IPC_ZSTD;
        if (request->accept_compression[i] == OPENDUCK__V1__COMPRESSION__COMPRESSION_NONE)
            break;
    }
    return OD_IPC_PLAIN;
}

// What is no uuid is the branch of no database, which is found out when it is looked for.
static struct od_position min_commit(const Openduck__V1__ExecuteRequest *request)
{
    struct od_position position = {0};
    if (!request->min_commit)
        return position;
    (void)!od_uuid_parse(request->min_commit->branch, &position.branch, NULL);
    position.epoch = request->min_commit->epoch;
    position.lsn = request->min_commit->lsn;
    return position;
}

static struct od_catalog_object object_of(const Openduck__V1__CatalogObject *object)
{
    return (struct od_catalog_object){object->kind, object->schema, object->name, object->definition_hash};
}

// Borrows from the message, which the task takes.
static od_code make_task(Openduck__V1__ExecuteRequest *request, struct od_task *task, struct od_error *err)
{
    *task = (struct od_task){
        .message = &request->base,
        .database = request->database[0] ? request->database : DEFAULT_DATABASE,
        .snapshot = text_or_null(request->snapshot),
        .min_commit = min_commit(request),
        .sql = request->sql,
        .sql_bytes = strlen(request->sql),
        .parameters = request->parameters.len ? request->parameters.data : NULL,
        .parameter_bytes = request->parameters.len,
        .read_only = request->read_only,
        .exact_types = request->exact_types,
        .describe_only = request->describe_only,
        .begin_transaction = request->begin_transaction,
        .codec = choose_codec(request),
        .timeout_ms = request->timeout_ms,
        .inline_limit = request->inline_limit ? request->inline_limit : OD_INLINE_BYTES_DEFAULT,
    };
    od_trace_id(request->traceparent, task->trace_id);
    if (request->group && request->group->id[0]) {
        task->group = request->group->id;
        task->group_size = request->group->size;
    }
    size_t settings = request->n_settings, objects = request->catalog ? request->catalog->n_objects : 0;
    task->settings = od_calloc(settings + 1, sizeof *task->settings);
    task->objects = od_calloc(objects + request->n_tell + 1, sizeof *task->objects);
    if (!task->settings || !task->objects)
        return od_fail(err, OD_NO_MEMORY, "no memory for a statement");
    for (size_t i = 0; i < settings; i++)
        task->settings[task->setting_count++] =
            (struct od_setting){request->settings[i]->name, request->settings[i]->value};
    if (request->catalog)
        task->catalog_version = text_or_null(request->catalog->version);
    for (size_t i = 0; i < objects; i++)
        task->objects[task->object_count++] = object_of(request->catalog->objects[i]);
    task->tell = task->objects + objects;
    for (size_t i = 0; i < request->n_tell; i++)
        task->tell[task->tell_count++] = object_of(request->tell[i]);
    return OD_OK;
}

// The call waits for the answer of an execution that is there, or gets it at once. False: it has just been forgotten.
static bool join(struct od_execution *execution, struct od_call *call)
{
    bool joined = true;
    pthread_mutex_lock(&execution->lock);
    if (execution->core.forgotten) {
        joined = false;
    } else if (execution->core.replied && execution->reply) {
        od_reply_send(execution->reply, call);
    } else {
        struct od_call **callers =
            od_realloc(execution->callers, (execution->caller_count + 1) * sizeof(struct od_call *));
        if (callers) {
            execution->callers = callers;
            callers[execution->caller_count++] = od_call_ref(call);
            od_execution_event_locked(execution, OD_EVENT_CALLER_JOINED);
        } else {
            struct od_error err = {0};
            (void)od_fail(&err, OD_NO_MEMORY, "no memory for a call");
            od_call_fail(call, &err);
        }
    }
    pthread_mutex_unlock(&execution->lock);
    return joined;
}

static void execute_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    static const uint32_t texts[] = {1, 2, 3, 5, 7, 18, 19, 0};
    struct od_call_state *state = od_call_context(call);
    struct od_error err = {0};
    struct od_task task = {0};
    struct od_execution *execution = NULL;
    struct od_reply *again;
    od_code rc = OD_OK;
    if (!state)
        return;
    OD_TRY(od_message_unpack(&openduck__v1__execute_request__descriptor, data, bytes, &task.message, &err));
    Openduck__V1__ExecuteRequest *request = (Openduck__V1__ExecuteRequest *)task.message;
    OD_TRY(od_check_texts(data, bytes, texts, &err));
    OD_TRY(check_request(request, &err));
    OD_TRY(make_task(request, &task, &err));
    OD_TRY(od_execution_new(state->server, od_call_identity(call), request->request_id, &task, call, NULL, &execution,
                            &err));
    task = (struct od_task){0};
    execution->sequence = request->sequence;
    for (;;) {
        struct od_execution *there = NULL;
        enum od_submitted submitted =
            od_registry_submit(execution, text_or_null(request->session_id), &there, &again, &err);
        if (submitted == OD_SUBMITTED_NEW) {
            state->execution = od_execution_ref(execution);
        } else if (submitted == OD_SUBMITTED_JOINED) {
            if (!join(there, call)) {
                od_execution_unref(there);
                continue;
            }
            state->execution = there;
        } else if (submitted == OD_SUBMITTED_ANSWERED) {
            od_reply_send(again, call);
            od_reply_unref(again);
        } else {
            rc = err.code;
        }
        break;
    }
out:
    if (rc != OD_OK)
        od_call_fail(call, &err);
    od_execution_unref(execution);
    od_task_release(&task);
}

static void execute_closed(struct od_call *call, bool cancelled)
{
    struct od_call_state *state = od_call_context(call);
    struct od_execution *execution = state ? state->execution : NULL;
    if (execution) {
        bool waited = false;
        pthread_mutex_lock(&execution->lock);
        for (size_t i = 0; i < execution->caller_count && !waited; i++) {
            waited = execution->callers[i] == call;
            if (waited)
                execution->callers[i] = execution->callers[--execution->caller_count];
        }
        if (waited)
            od_execution_event_locked(execution, OD_EVENT_CALLER_LEFT);
        else if (cancelled)
            od_execution_event_locked(execution, OD_EVENT_REPLY_LOST);
        pthread_mutex_unlock(&execution->lock);
        if (waited)
            od_call_unref(call);
        od_execution_unref(execution);
    }
    od_free(state);
}

// ---- CancelExecution

static bool cancel_one(struct od_execution *execution, const char *identity)
{
    bool found = execution && strcmp(execution->identity, identity) == 0;
    if (found) {
        pthread_mutex_lock(&execution->lock);
        found = !execution->core.forgotten;
        if (found)
            od_execution_event_locked(execution, OD_EVENT_CANCEL);
        pthread_mutex_unlock(&execution->lock);
    }
    od_execution_unref(execution);
    return found;
}

static bool cancel(struct od_server *server, const char *identity, const char *id)
{
    struct od_key key;
    if (od_key_parse(id, &key) && cancel_one(od_registry_find(server, &key), identity))
        return true;
    key = od_digest(&server->secret, (const char *const[]){"request", identity, id}, 3);
    return cancel_one(od_registry_find_request(server, &key), identity) || od_intake_cancel(server, identity, id);
}

static void cancel_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_server *server = od_call_server(call);
    struct od_error err = {0};
    ProtobufCMessage *message = NULL;
    od_code rc = OD_OK;
    if (!server)
        return;
    OD_TRY(od_message_unpack(&openduck__v1__cancel_request__descriptor, data, bytes, &message, &err));
    const Openduck__V1__CancelRequest *request = (const Openduck__V1__CancelRequest *)message;
    if (!od_call_token_ok(call, request->access_token))
        OD_TRY(od_fail(&err, OD_UNAUTHENTICATED, "this server needs a token, and this is not the right one"));
    Openduck__V1__CancelReply reply = OPENDUCK__V1__CANCEL_REPLY__INIT;
    reply.acknowledged = cancel(server, od_call_identity(call), request->execution_id);
    od_send_message(call, &reply.base, true, NULL);
out:
    if (rc != OD_OK)
        od_call_fail(call, &err);
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

// ---- CloseSession

static void close_session_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_server *server = od_call_server(call);
    struct od_error err = {0};
    ProtobufCMessage *message = NULL;
    od_code rc = OD_OK;
    if (!server)
        return;
    OD_TRY(od_message_unpack(&openduck__v1__close_session_request__descriptor, data, bytes, &message, &err));
    const Openduck__V1__CloseSessionRequest *request = (const Openduck__V1__CloseSessionRequest *)message;
    const char *database = request->database[0] ? request->database : DEFAULT_DATABASE;
    struct od_key key = od_digest(
        &server->secret, (const char *const[]){"session", od_call_identity(call), database, request->session_id}, 4);
    if (!od_registry_close_session(server, &key, call)) {
        Openduck__V1__CloseSessionReply reply = OPENDUCK__V1__CLOSE_SESSION_REPLY__INIT;
        od_send_message(call, &reply.base, true, NULL);
    }
out:
    if (rc != OD_OK)
        od_call_fail(call, &err);
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
}

// ---- for clusters

static void reserved_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_error err = {0};
    (void)data;
    (void)bytes;
    (void)od_fail(&err, OD_UNSUPPORTED, "this is a single server: it takes no workers");
    od_call_fail(call, &err);
}

void od_service_execution_methods(struct od_server *server, struct od_method *methods)
{
    const struct od_method all[OD_EXECUTION_METHODS] = {
        {.name = OD_SERVICE "Execute",
         .start = od_call_state_start,
         .message = execute_message,
         .closed = execute_closed},
        od_stream_method,
        od_upload_method,
        {.name = OD_SERVICE "CancelExecution",
         .public_access = true, // the token may be in the message
         .start = od_call_state_start,
         .message = cancel_message,
         .closed = od_call_state_closed},
        {.name = OD_SERVICE "CloseSession",
         .start = od_call_state_start,
         .message = close_session_message,
         .closed = od_call_state_closed},
        od_fragment_method,
        {.name = OD_SERVICE "RegisterWorker", .public_access = true, .message = reserved_message},
        {.name = OD_SERVICE "Heartbeat", .public_access = true, .message = reserved_message},
    };
    memcpy(methods, all, sizeof all);
    for (size_t i = 0; i < OD_EXECUTION_METHODS; i++)
        methods[i].service = server;
}
