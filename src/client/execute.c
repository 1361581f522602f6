// execute.c - one Execute: the request is built, sent (again, where that is safe), and its answer becomes a query.
//
//   X1  The request id is random and stays the same for every attempt; an attempt that may not be the first carries the
//       incarnation of the server that was asked first.
//   X2  A statement whose answer is lost for good ends in OD_OUTCOME_UNKNOWN (OD_DISCONNECTED when it could only read).
//   X3  Nothing is retried once a query was made: then only its stream can be resumed.
#include "client/client.h"

#include "arrow/ipc.h"
#include "base/alloc.h"
#include "client/query.h"
#include "client/session.h"

#include <stdio.h>
#include <string.h>

#define PARAMETER_BYTES_MAX OD_SQL_BYTES_MAX
#define SETTINGS_MAX 1024u
#define OBJECTS_MAX 65536u

struct execution {
    struct od_client *client;
    struct od_session *session;
    struct od_cancel *cancel;
    struct od_request request; // complete, whatever the size of the caller's
    const char *database;
    char *sql_copy;
    const char *sql;
    struct od_buf parameters;
    char request_id[OD_RANDOM_ID_BYTES];
    uint64_t sequence;
    uint64_t deadline_ms;
    struct od_segment packed;
};

static od_code take_request(struct execution *execution, const struct od_request *given, struct od_error *err)
{
    struct od_request *request = &execution->request;
    if (!given || given->struct_bytes < sizeof(size_t) || given->struct_bytes > 4096)
        return od_fail(err, OD_INVALID, "od_request.struct_bytes is %zu: set it to sizeof(struct od_request)",
                       given ? given->struct_bytes : 0);
    *request = (struct od_request){0};
    memcpy(request, given, given->struct_bytes < sizeof *request ? given->struct_bytes : sizeof *request);
    if (!request->sql)
        return od_fail(err, OD_INVALID, "od_request.sql is NULL");
    size_t bytes = request->sql_bytes ? request->sql_bytes : strlen(request->sql);
    if (bytes > OD_SQL_BYTES_MAX)
        return od_fail(err, OD_LIMIT, "the statement has %zu bytes; at most %llu are accepted", bytes, OD_SQL_BYTES_MAX);
    execution->sql = request->sql;
    if (request->sql_bytes) {
        if (memchr(request->sql, '\0', bytes))
            return od_fail(err, OD_INVALID, "the statement contains a NUL character");
        execution->sql = execution->sql_copy = od_strndup(request->sql, bytes);
        if (!execution->sql)
            return od_fail(err, OD_NO_MEMORY, "no memory for a statement of %zu bytes", bytes);
    }
    if (request->setting_count > SETTINGS_MAX || request->object_count > OBJECTS_MAX)
        return od_fail(err, OD_LIMIT, "a request has at most %u settings and %u catalog objects", SETTINGS_MAX,
                       OBJECTS_MAX);
    execution->database = execution->session ? execution->session->database
                          : request->database ? request->database
                                              : "main";
    execution->deadline_ms = od_deadline_after(request->timeout_ms ? request->timeout_ms
                                                                   : execution->client->timeout_ms);
    return OD_OK;
}

// Parameters as two IPC messages, from whichever form the caller has.
static od_code take_parameters(struct execution *execution, struct od_error *err)
{
    const struct od_request *request = &execution->request;
    struct od_batch *batch;
    if (request->parameter_bytes || !request->parameters)
        return OD_OK;
    if (!request->parameter_schema)
        return od_fail(err, OD_INVALID, "od_request.parameters without parameter_schema");
    od_code rc = od_ipc_encode_schema(request->parameter_schema, &execution->parameters, err);
    if (rc == OD_OK)
        rc = od_ipc_encode_array(request->parameter_schema, request->parameters, &batch, err);
    if (rc != OD_OK)
        return od_wrap(err, rc, "parameters");
    for (size_t i = 0; rc == OD_OK && i < batch->segment_count; i++)
        rc = od_buf_append(&execution->parameters, batch->segments[i].data, batch->segments[i].bytes, err);
    od_batch_unref(batch);
    return rc;
}

static char *text(const char *value)
{
    return (char *)(uintptr_t)(value ? value : "");
}

struct object_table {
    Openduck__V1__CatalogObject *message, **table;
};

// False: no memory. The caller frees both arrays in any case.
static bool fill_objects(struct object_table *filled, const struct od_request_object *objects, size_t count)
{
    filled->message = od_calloc(count, sizeof *filled->message);
    filled->table = od_calloc(count, sizeof(Openduck__V1__CatalogObject *));
    if (!filled->message || !filled->table)
        return false;
    for (size_t i = 0; i < count; i++) {
        openduck__v1__catalog_object__init(&filled->message[i]);
        filled->message[i].kind = text(objects[i].kind);
        filled->message[i].schema = text(objects[i].schema);
        filled->message[i].name = text(objects[i].name);
        filled->message[i].definition_hash = text(objects[i].definition_hash);
        filled->table[i] = &filled->message[i];
    }
    return true;
}

static od_code pack_request(struct execution *execution, struct od_error *err)
{
    const struct od_request *request = &execution->request;
    Openduck__V1__ExecuteRequest message = OPENDUCK__V1__EXECUTE_REQUEST__INIT;
    Openduck__V1__CatalogCheck catalog = OPENDUCK__V1__CATALOG_CHECK__INIT;
    Openduck__V1__SnapshotGroup group = OPENDUCK__V1__SNAPSHOT_GROUP__INIT;
    size_t settings = request->setting_count;
    struct entries {
        Openduck__V1__Setting *setting;
        Openduck__V1__Setting **setting_table;
        struct object_table objects, tell;
    } entries = {0};
    od_code rc = OD_OK;

    message.request_id = execution->request_id;
    message.database = text(execution->database);
    if (execution->session) {
        message.session_id = execution->session->id;
        message.sequence = execution->sequence;
    }
    message.sql = text(execution->sql);
    message.snapshot = text(request->snapshot);
    message.timeout_ms = request->timeout_ms ? request->timeout_ms : execution->client->timeout_ms;
    message.read_only = request->read_only;
    message.exact_types = request->exact_types;
    message.describe_only = request->describe_only;
    message.begin_transaction = request->begin_transaction;
    message.traceparent = text(request->traceparent);
    Openduck__V1__Compression compression = execution->client->compression == OD_COMPRESSION_LZ4
                                                ? OPENDUCK__V1__COMPRESSION__COMPRESSION_LZ4_FRAME
                                                : OPENDUCK__V1__COMPRESSION__COMPRESSION_ZSTD;
    if (execution->client->compression != OD_COMPRESSION_NONE) {
        message.accept_compression = &compression;
        message.n_accept_compression = 1;
    }
    if (request->parameter_bytes) {
        message.parameters.data = (uint8_t *)(uintptr_t)request->parameter_bytes;
        message.parameters.len = request->parameter_bytes_count;
    } else {
        message.parameters.data = execution->parameters.data;
        message.parameters.len = execution->parameters.bytes;
    }
    if (settings) {
        entries.setting = od_calloc(settings, sizeof *entries.setting);
        entries.setting_table = od_calloc(settings, sizeof(Openduck__V1__Setting *));
        if (!entries.setting || !entries.setting_table)
            goto no_memory;
        for (size_t i = 0; i < settings; i++) {
            openduck__v1__setting__init(&entries.setting[i]);
            entries.setting[i].name = text(request->settings[i].name);
            entries.setting[i].value = text(request->settings[i].value);
            entries.setting_table[i] = &entries.setting[i];
        }
        message.n_settings = settings;
        message.settings = entries.setting_table;
    }
    if (request->catalog_version || request->object_count) {
        if (!fill_objects(&entries.objects, request->objects, request->object_count))
            goto no_memory;
        catalog.version = text(request->catalog_version);
        catalog.n_objects = request->object_count;
        catalog.objects = entries.objects.table;
        message.catalog = &catalog;
    }
    if (request->tell_count) {
        if (!fill_objects(&entries.tell, request->tell, request->tell_count))
            goto no_memory;
        message.n_tell = request->tell_count;
        message.tell = entries.tell.table;
    }
    if (request->snapshot_group && *request->snapshot_group) {
        group.id = text(request->snapshot_group);
        group.size = request->snapshot_group_size;
        message.group = &group;
    }
    rc = od_message_pack(&message.base, &execution->packed, err);
    goto out;
no_memory:
    rc = od_fail(err, OD_NO_MEMORY, "no memory for a request");
out:
    od_free(entries.setting);
    od_free(entries.setting_table);
    od_free(entries.objects.message);
    od_free(entries.objects.table);
    od_free(entries.tell.message);
    od_free(entries.tell.table);
    return rc;
}

// Field first_incarnation alone: appended to the packed request it is part of the message.
static od_code resend_suffix(void *argument, const char *first_incarnation, struct od_segment *suffix,
                             struct od_error *err)
{
    Openduck__V1__ExecuteRequest message = OPENDUCK__V1__EXECUTE_REQUEST__INIT;
    (void)argument;
    message.first_incarnation = text(first_incarnation);
    return od_message_pack(&message.base, suffix, err);
}

// ---- servers of the first generation

static od_code execute_fragment(struct execution *execution, struct od_query *query, struct od_error *err)
{
    const struct od_request *request = &execution->request;
    const char *missing = execution->session                                ? "sessions and transactions"
                          : request->parameter_bytes || request->parameters ? "parameters"
                                                                            : NULL;
    struct od_buf limited;
    const char *sql = execution->sql;
    if (missing)
        return od_fail(err, OD_UNSUPPORTED, "%s speaks only ExecuteFragment, which has no %s",
                       execution->client->link.endpoints[query->endpoint].text, missing);
    od_buf_init(&limited, 2 * OD_SQL_BYTES_MAX);
    od_code rc = OD_OK;
    if (request->describe_only) {
        size_t bytes = strlen(sql);
        while (bytes && (strchr(" \t\r\n;", sql[bytes - 1])))
            bytes--;
        OD_TRY(od_buf_append_text(&limited, "SELECT * FROM (", err));
        OD_TRY(od_buf_append(&limited, sql, bytes, err));
        OD_TRY(od_buf_append_text(&limited, "\n) LIMIT 0", err));
        sql = od_buf_text(&limited);
        if (!sql) {
            rc = od_fail(err, OD_NO_MEMORY, "no memory for a statement");
            goto out;
        }
    }
    rc = od_fragment_execute(query, execution->database, sql, request->snapshot, execution->request_id,
                             execution->cancel, err);
out:
    od_buf_release(&limited);
    return rc;
}

// UNIMPLEMENTED to Execute: a foreign server, or one of ours that does not support the statement? One that has an
// administration service, or has answered an Execute before, is no server of the first generation.
static bool is_first_generation(struct execution *execution, size_t endpoint)
{
    struct od_link *link = &execution->client->link;
    enum od_dialect dialect = od_link_dialect(link, endpoint);
    if (dialect != OD_DIALECT_UNTRIED)
        return dialect == OD_DIALECT_FRAGMENT;
    Openduck__V1__ServerInfoRequest request = OPENDUCK__V1__SERVER_INFO_REQUEST__INIT;
    ProtobufCMessage *reply;
    struct od_error err;
    od_code rc = od_client_call(execution->client, OD_ADMIN_SERVICE "ServerInfo", &request.base,
                                &openduck__v1__server_info_reply__descriptor, false, endpoint, 5000,
                                execution->cancel, &reply, NULL, &err);
    if (rc == OD_OK)
        protobuf_c_message_free_unpacked(reply, NULL);
    dialect = rc == OD_UNSUPPORTED ? OD_DIALECT_FRAGMENT : rc == OD_OK ? OD_DIALECT_NATIVE : OD_DIALECT_UNTRIED;
    od_link_heard(link, endpoint, NULL, dialect);
    return dialect == OD_DIALECT_FRAGMENT;
}

// ---- one statement

// A failure after which the statement may have run.
static od_code lost_answer(const struct execution *execution, od_code rc, struct od_error *err)
{
    bool reads = execution->request.read_only || execution->request.describe_only;
    if (reads || (rc != OD_DISCONNECTED && rc != OD_UNAVAILABLE && rc != OD_BUSY && rc != OD_TIMEOUT))
        return rc;
    rc = OD_OUTCOME_UNKNOWN;
    (void)od_wrap(err, rc, "the answer was lost, the statement may or may not have taken effect (request %s)",
                  execution->request_id);
    if (err) {
        err->code = rc;
        err->retryable = false;
    }
    return rc;
}

static od_code send_statement(struct execution *execution, struct od_query *query, bool *reached,
                              struct od_error *err)
{
    struct od_link *link = &execution->client->link;
    struct od_received received = {0};
    struct od_link_call call = {.method = OD_SERVICE "Execute",
                                .resend = resend_suffix,
                                .endpoint = execution->session ? execution->session->endpoint : OD_ENDPOINT_ANY,
                                .deadline_ms = execution->deadline_ms,
                                .cancel = execution->cancel ? execution->cancel : link->closing};
    od_code rc;
    size_t preferred = call.endpoint != OD_ENDPOINT_ANY ? call.endpoint : od_link_current(link);
    if (od_link_dialect(link, preferred) == OD_DIALECT_FRAGMENT) {
        query->endpoint = preferred;
        return execute_fragment(execution, query, err);
    }
    OD_TRY(pack_request(execution, err));
    call.request = execution->packed;
    query->endpoint = preferred;
    rc = od_link_send(link, &call, &received, &query->endpoint, reached, err);
    if (rc == OD_UNSUPPORTED && is_first_generation(execution, query->endpoint)) {
        rc = execute_fragment(execution, query, err);
        goto out;
    }
    if (rc != OD_OK) {
        // Whoever cancelled or ran out of time has told nobody yet.
        if (*reached && (rc == OD_CANCELLED || rc == OD_TIMEOUT))
            od_canceller_post(execution->client->canceller, query->endpoint, execution->request_id);
        if (*reached)
            rc = lost_answer(execution, rc, err);
        goto out;
    }
    snprintf(query->cancel_id, sizeof query->cancel_id, "%s", execution->request_id);
    OD_TRY(od_query_begin(query, &received, execution->request.describe_only, err));
    od_link_heard(link, query->endpoint, query->info.incarnation, OD_DIALECT_NATIVE);
out:
    od_free((void *)(uintptr_t)execution->packed.data);
    execution->packed = (struct od_segment){0};
    return rc;
}

od_code od_client_execute_with(struct od_client *client, struct od_session *session, const struct od_request *given,
                               struct od_cancel *cancel, struct od_query **out, struct od_error *given_err)
{
    od_code rc;
    struct od_error local;
    struct od_error *err = given_err ? given_err : &local;
    struct execution execution = {.client = client, .session = session, .cancel = cancel};
    struct od_query *query = NULL;
    bool entered = false, reached = false;

    *out = NULL;
    od_buf_init(&execution.parameters, PARAMETER_BYTES_MAX);
    OD_TRY(take_request(&execution, given, err));
    if (execution.request.begin_transaction && !session)
        OD_TRY(od_fail(err, OD_INVALID, "od_request.begin_transaction needs a session"));
    OD_TRY(take_parameters(&execution, err));
    OD_TRY(od_query_new(client, execution.request.window_bytes, execution.deadline_ms, &query, err));
    od_random_id(execution.request_id);
    if (session) {
        OD_TRY(od_session_enter(session, &execution.sequence, err));
        entered = true;
        query->session = od_session_ref(session);
        query->sequence = execution.sequence;
    }
    rc = send_statement(&execution, query, &reached, err);
out:
    if (entered)
        od_session_leave(session, query->endpoint, rc, reached,
                         rc == OD_OK ? query->info.in_transaction : execution.request.begin_transaction, err);
    od_free(execution.sql_copy);
    od_buf_release(&execution.parameters);
    if (rc == OD_OK)
        *out = query;
    else if (query)
        od_query_close(query);
    return rc;
}

od_code od_client_execute(struct od_client *client, struct od_session *session, const struct od_request *request,
                          struct od_query **query, struct od_error *err)
{
    return od_client_execute_with(client, session, request, NULL, query, err);
}
