// health.c - the standard health service (grpc.health.v1), Check and Watch.
//
// One flag serves for the whole server ("") and for every service that has a method in the table. Watchers are a list
// under the server's lock; they are told of each change and ended when the server stops.
#include "rpc/server_internal.h"

#include "base/alloc.h"
#include "rpc/message.h"

#include "grpc/health/v1/health.pb-c.h"

#include <string.h>

#define WATCHERS_MAX 1024u

typedef Grpc__Health__V1__HealthCheckRequest request_t;
typedef Grpc__Health__V1__HealthCheckResponse response_t;
typedef Grpc__Health__V1__HealthCheckResponse__ServingStatus status_t;

#define STATUS(name) GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##name

static status_t current(struct od_rpc_server *server)
{
    return atomic_load(&server->serving) ? STATUS(SERVING) : STATUS(NOT_SERVING);
}

static bool service_known(const struct od_rpc_server *server, const char *service)
{
    size_t bytes = strlen(service);
    if (bytes == 0)
        return true;
    for (size_t i = 0; i < server->method_count; i++) {
        const char *name = server->methods[i].name;
        if (name[0] == '/' && strncmp(name + 1, service, bytes) == 0 && name[1 + bytes] == '/')
            return true;
    }
    return strcmp(service, "grpc.health.v1.Health") == 0;
}

static void send_status(struct od_call *call, status_t status, bool last)
{
    response_t response = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__INIT;
    response.status = status;
    struct od_segment segment;
    struct od_error err = {0};
    if (od_message_pack(&response.base, &segment, &err) != OD_OK) {
        od_call_fail(call, &err);
        return;
    }
    (last ? od_call_reply : od_call_send)(call, &segment, 1, od_free, (void *)(uintptr_t)segment.data);
}

static void set_server(struct od_call *call, void *service)
{
    od_call_set_context(call, service);
}

static request_t *read_request(struct od_call *call, const uint8_t *data, size_t bytes)
{
    ProtobufCMessage *message;
    struct od_error err = {0};
    if (od_message_unpack(&grpc__health__v1__health_check_request__descriptor, data, bytes, &message, &err) != OD_OK) {
        od_call_fail(call, &err);
        return NULL;
    }
    return (request_t *)message;
}

static void check_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_rpc_server *server = od_call_context(call);
    request_t *request = read_request(call, data, bytes);
    if (!request)
        return;
    if (service_known(server, request->service)) {
        send_status(call, current(server), true);
    } else {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NOT_FOUND, "this server has no service %.200s", request->service);
        od_call_fail(call, &err);
    }
    protobuf_c_message_free_unpacked(&request->base, NULL);
}

// ---- Watch

static void watch_start(struct od_call *call, void *service)
{
    struct od_health_watcher *watcher = od_calloc(1, sizeof *watcher);
    if (!watcher) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_NO_MEMORY, "no memory for a health watcher");
        od_call_fail(call, &err);
        return;
    }
    watcher->server = service;
    watcher->call = call;
    watcher->told = STATUS(UNKNOWN);
    od_call_set_context(call, watcher);
}

static bool watcher_link(struct od_health_watcher *watcher)
{
    struct od_rpc_server *server = watcher->server;
    pthread_mutex_lock(&server->lock);
    bool room = !server->shutdown_begun && server->watcher_count < WATCHERS_MAX && !watcher->linked;
    if (room) {
        watcher->linked = true;
        watcher->next = server->watchers;
        if (watcher->next)
            watcher->next->previous = watcher;
        server->watchers = watcher;
        server->watcher_count++;
    }
    pthread_mutex_unlock(&server->lock);
    return room;
}

// With the server's lock held.
static void watcher_unlink(struct od_health_watcher *watcher)
{
    struct od_rpc_server *server = watcher->server;
    if (!watcher->linked)
        return;
    if (watcher->previous)
        watcher->previous->next = watcher->next;
    else
        server->watchers = watcher->next;
    if (watcher->next)
        watcher->next->previous = watcher->previous;
    watcher->linked = false;
    server->watcher_count--;
}

static void watch_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_health_watcher *watcher = od_call_context(call);
    request_t *request = read_request(call, data, bytes);
    if (!request)
        return;
    watcher->known = service_known(watcher->server, request->service);
    protobuf_c_message_free_unpacked(&request->base, NULL);
    if (watcher_link(watcher)) {
        od_health_changed(watcher->server);
        return;
    }
    struct od_error err = {0};
    (void)od_fail(&err, OD_BUSY, "this server is stopping or has %u health watchers already", WATCHERS_MAX);
    od_call_fail(call, &err);
}

static void watch_closed(struct od_call *call, bool cancelled)
{
    (void)cancelled;
    struct od_health_watcher *watcher = od_call_context(call);
    if (!watcher)
        return;
    pthread_mutex_lock(&watcher->server->lock);
    watcher_unlink(watcher);
    pthread_mutex_unlock(&watcher->server->lock);
    od_free(watcher);
}

// One watcher at a time, because nothing may be sent with the lock held.
void od_health_changed(struct od_rpc_server *server)
{
    for (;;) {
        struct od_call *call = NULL;
        status_t status = STATUS(UNKNOWN);
        pthread_mutex_lock(&server->lock);
        for (struct od_health_watcher *watcher = server->watchers; watcher && !call; watcher = watcher->next) {
            status = watcher->known ? current(server) : STATUS(SERVICE_UNKNOWN);
            if (watcher->told != (int)status) {
                watcher->told = (int)status;
                call = od_call_ref(watcher->call);
            }
        }
        pthread_mutex_unlock(&server->lock);
        if (!call)
            return;
        send_status(call, status, false);
        od_call_unref(call);
    }
}

void od_health_stop(struct od_rpc_server *server)
{
    for (;;) {
        pthread_mutex_lock(&server->lock);
        server->shutdown_begun = true;
        struct od_health_watcher *watcher = server->watchers;
        struct od_call *call = watcher ? od_call_ref(watcher->call) : NULL;
        if (watcher)
            watcher_unlink(watcher);
        pthread_mutex_unlock(&server->lock);
        if (!call)
            return;
        od_call_finish(call);
        od_call_unref(call);
    }
}

void od_health_init(struct od_rpc_server *server)
{
    server->health_methods[0] = (struct od_method){.name = "/grpc.health.v1.Health/Check",
                                                   .public_access = true,
                                                   .start = set_server,
                                                   .message = check_message,
                                                   .service = server};
    server->health_methods[1] = (struct od_method){.name = "/grpc.health.v1.Health/Watch",
                                                   .public_access = true,
                                                   .start = watch_start,
                                                   .message = watch_message,
                                                   .closed = watch_closed,
                                                   .service = server};
}
