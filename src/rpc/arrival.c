// arrival.c - a call that has just come in: who calls what, may they, and what handlers may ask about it later. The call
// itself goes on in call.c.
//
// Everything a handler may ask is copied out of gRPC's structs, because those go when the transport is done with the
// call, and handlers may hold it longer.
#include "rpc/call_internal.h"

#include "base/alloc.h"

#include <grpc/grpc_security.h>
#include <grpc/support/alloc.h>

#include <stdio.h>
#include <string.h>

static const struct od_method unknown_method = {.name = "", .public_access = true};

static bool slice_is(grpc_slice slice, const char *text)
{
    return grpc_slice_str_cmp(slice, text) == 0;
}

static const struct od_method *find_method(const struct od_rpc_server *server, grpc_slice name)
{
    for (size_t i = 0; i < server->method_count; i++)
        if (slice_is(name, server->methods[i].name))
            return &server->methods[i];
    for (size_t i = 0; i < OD_HEALTH_METHODS; i++)
        if (slice_is(name, server->health_methods[i].name))
            return &server->health_methods[i];
    return &unknown_method;
}

static bool slice_is_text(grpc_slice slice)
{
    return GRPC_SLICE_LENGTH(slice) == 0 || !memchr(GRPC_SLICE_START_PTR(slice), '\0', GRPC_SLICE_LENGTH(slice));
}

// Secrets and binary values are not kept.
static bool header_kept(const grpc_metadata *header)
{
    return !grpc_is_binary_header(header->key) && !slice_is(header->key, "authorization") &&
           slice_is_text(header->key) && slice_is_text(header->value);
}

static size_t headers_size(const grpc_metadata_array *metadata)
{
    size_t bytes = 0;
    for (size_t i = 0; i < metadata->count; i++)
        if (header_kept(&metadata->metadata[i]))
            bytes += GRPC_SLICE_LENGTH(metadata->metadata[i].key) + GRPC_SLICE_LENGTH(metadata->metadata[i].value) + 2;
    return bytes;
}

static char *put_slice(char *at, grpc_slice slice)
{
    size_t bytes = GRPC_SLICE_LENGTH(slice);
    if (bytes)
        memcpy(at, GRPC_SLICE_START_PTR(slice), bytes);
    at[bytes] = '\0';
    return at + bytes + 1;
}

static void read_certificate(struct od_call *call)
{
    grpc_auth_context *context = grpc_call_auth_context(call->core);
    if (!context)
        return;
    grpc_auth_property_iterator names = grpc_auth_context_find_properties_by_name(context, GRPC_X509_CN_PROPERTY_NAME);
    const grpc_auth_property *name = grpc_auth_property_iterator_next(&names);
    if (name)
        snprintf(call->certificate, sizeof call->certificate, "certificate:%.*s",
                 (int)(name->value_length < 80 ? name->value_length : 80), name->value);
    grpc_auth_context_release(context);
}

static void read_token(struct od_call *call, const grpc_metadata_array *metadata)
{
    const struct od_auth *auth = &call->server->auth;
    for (size_t i = 0; i < metadata->count && !call->token_known; i++) {
        const grpc_metadata *header = &metadata->metadata[i];
        if (slice_is(header->key, "authorization"))
            call->token_known = od_auth_header_ok(auth, (const char *)GRPC_SLICE_START_PTR(header->value),
                                                  GRPC_SLICE_LENGTH(header->value));
    }
    if (!auth->token)
        call->token_known = true;
}

void od_call_accept(struct od_accept *accept)
{
    struct od_rpc_server *server = accept->server;
    size_t header_bytes = headers_size(&accept->metadata);
    struct od_call *call = od_calloc(1, sizeof *call + header_bytes);
    if (!call) {
        grpc_call_cancel_with_status(accept->call, GRPC_STATUS_RESOURCE_EXHAUSTED, "the server is out of memory", NULL);
        grpc_call_unref(accept->call);
        return;
    }
    atomic_init(&call->references, 1);
    pthread_mutex_init(&call->lock, NULL);
    call->server = server;
    call->core = accept->call;
    call->queue = accept->queue;
    call->deadline = accept->details.deadline;
    call->method = find_method(server, accept->details.method);
    call->header_bytes = header_bytes;
    char *at = call->headers;
    for (size_t i = 0; i < accept->metadata.count; i++)
        if (header_kept(&accept->metadata.metadata[i]))
            at = put_slice(put_slice(at, accept->metadata.metadata[i].key), accept->metadata.metadata[i].value);
    char *peer = grpc_call_get_peer(call->core);
    snprintf(call->peer, sizeof call->peer, "%s", peer ? peer : "");
    gpr_free(peer);
    if (server->certificates)
        read_certificate(call);
    read_token(call, &accept->metadata);
    atomic_init(&call->identity, server->auth.token && call->token_known ? server->auth.identity
                                 : call->certificate[0]                  ? call->certificate
                                                                         : "anonymous");
    od_server_call_begun(server);

    if (!od_call_begin(call)) {
        od_call_unref(call);
        return;
    }
    struct od_error err = {0};
    if (call->method == &unknown_method) {
        char *name = grpc_slice_to_c_string(accept->details.method);
        (void)od_fail(&err, OD_UNSUPPORTED, "this server has no method %.200s", name);
        gpr_free(name);
        od_call_fail(call, &err);
    } else if (!call->method->public_access && !call->token_known) {
        (void)od_fail(&err, OD_UNAUTHENTICATED,
                      "this server needs a token: send the right one as \"authorization: Bearer TOKEN\"");
        od_call_fail(call, &err);
    } else {
        call->started = true;
        if (call->method->start)
            call->method->start(call, call->method->service);
        od_call_read_next(call);
    }
    od_call_unref(call);
}

// ---- what handlers ask

void od_call_set_context(struct od_call *call, void *context)
{
    atomic_store(&call->context, context);
}

void *od_call_context(struct od_call *call)
{
    return atomic_load(&call->context);
}

uint64_t od_call_deadline_ms(const struct od_call *call)
{
    if (gpr_time_cmp(call->deadline, gpr_inf_future(call->deadline.clock_type)) == 0)
        return UINT64_MAX;
    gpr_timespec left = gpr_time_sub(call->deadline, gpr_now(call->deadline.clock_type));
    int64_t ms = left.tv_sec * 1000 + left.tv_nsec / 1000000;
    return ms > 0 ? (uint64_t)ms : 0;
}

const char *od_call_peer(const struct od_call *call)
{
    return call->peer;
}

const char *od_call_identity(const struct od_call *call)
{
    return atomic_load(&call->identity);
}

const char *od_call_header(const struct od_call *call, const char *name)
{
    const char *at = call->headers, *end = call->headers + call->header_bytes;
    while (at < end) {
        const char *value = at + strlen(at) + 1;
        if (strcmp(at, name) == 0)
            return value;
        at = value + strlen(value) + 1;
    }
    return NULL;
}

bool od_call_token_ok(struct od_call *call, const char *token)
{
    if (call->token_known)
        return true;
    if (!token || !od_auth_token_ok(&call->server->auth, token, strlen(token)))
        return false;
    atomic_store(&call->identity, call->server->auth.identity);
    return true;
}
