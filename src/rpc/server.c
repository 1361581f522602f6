// server.c - the gRPC server's life: port, credentials, completion queues, stopping. Calls are in call.c, threads in queue.c.
//
// A server always keeps a few requests for new calls open per queue; each is renewed as soon as it has been answered.
#include "rpc/server_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "rpc/runtime.h"

#include <grpc/grpc_security.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PROCESSORS_PER_THREAD 2
#define THREADS_DEFAULT_MAX 8u
#define THREADS_MAX 64u
#define ACCEPTS_PER_QUEUE 8u
#define CALLS_PER_CONNECTION_MAX 4096
#define PROBE_MS 300u

// A dead client is noticed within KEEPALIVE_TIME_MS + KEEPALIVE_TIMEOUT_MS; clients may ping as often as half of it.
#define KEEPALIVE_TIME_MS 20000
#define KEEPALIVE_TIMEOUT_MS 10000

#define FRAME_BYTES (4 * 1024 * 1024)
#define LOOKAHEAD_BYTES (8 * 1024 * 1024)

// ---- calls

static void accept_request(struct od_accept *accept)
{
    accept->call = NULL;
    grpc_call_details_init(&accept->details);
    grpc_metadata_array_init(&accept->metadata);
    if (grpc_server_request_call(accept->server->core, &accept->call, &accept->details, &accept->metadata,
                                 accept->queue->core, accept->queue->core, &accept->tag) != GRPC_CALL_OK) {
        grpc_call_details_destroy(&accept->details);
        grpc_metadata_array_destroy(&accept->metadata);
    }
}

static void on_arrived(struct od_tag *tag, bool ok)
{
    struct od_accept *accept = (struct od_accept *)tag; // its first member
    od_queue_arrived(accept->queue);
    if (ok)
        od_call_accept(accept);
    grpc_call_details_destroy(&accept->details);
    grpc_metadata_array_destroy(&accept->metadata);
    if (ok)
        accept_request(accept);
}

static void on_shutdown(struct od_tag *tag, bool ok)
{
    (void)ok;
    struct od_rpc_server *server = (struct od_rpc_server *)((char *)tag - offsetof(struct od_rpc_server, shutdown_tag));
    pthread_mutex_lock(&server->lock);
    server->shutdown_done = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

void od_server_call_begun(struct od_rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->call_count++;
    pthread_mutex_unlock(&server->lock);
}

void od_server_call_ended(struct od_rpc_server *server)
{
    pthread_mutex_lock(&server->lock);
    if (--server->call_count == 0)
        pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

// ---- start

// Two threads on two processors only wake each other: what one of them reads belongs to the other's queue every other time,
// and both take time from the statements.
static unsigned default_threads(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned threads = processors > PROCESSORS_PER_THREAD ? (unsigned)processors / PROCESSORS_PER_THREAD : 1;
    return threads < THREADS_DEFAULT_MAX ? threads : THREADS_DEFAULT_MAX;
}

static od_code credentials_new(const struct od_rpc_server_options *options, grpc_server_credentials **credentials,
                               struct od_error *err)
{
    if (!options->tls_certificate_pem) {
        if (options->tls_key_pem || options->tls_client_ca_pem)
            return od_fail(err, OD_INVALID, "TLS needs a certificate: the key or client CA was given without one");
        *credentials = grpc_insecure_server_credentials_create();
        return OD_OK;
    }
    if (!options->tls_key_pem)
        return od_fail(err, OD_INVALID, "TLS needs the private key of the certificate");
    grpc_ssl_pem_key_cert_pair pair = {options->tls_key_pem, options->tls_certificate_pem};
    *credentials = grpc_ssl_server_credentials_create_ex(
        options->tls_client_ca_pem, &pair, 1,
        options->tls_client_ca_pem ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                   : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE,
        NULL);
    return *credentials ? OD_OK : od_fail(err, OD_INVALID, "gRPC does not accept the TLS certificate or key");
}

static grpc_server *core_new(uint64_t message_bytes_max)
{
    uint64_t max = message_bytes_max ? message_bytes_max : OD_MESSAGE_BYTES_MAX;
    const struct {
        const char *key;
        int value;
    } settings[] = {
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, max < INT32_MAX ? (int)max : INT32_MAX},
        {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, FRAME_BYTES},
        {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, LOOKAHEAD_BYTES},
        {GRPC_ARG_ALLOW_REUSEPORT, 0}, // a second server on the port must fail, not share it
        {GRPC_ARG_MAX_CONCURRENT_STREAMS, CALLS_PER_CONNECTION_MAX},
        {GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS},
        {GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1},
        {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
        {GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, KEEPALIVE_TIME_MS / 2},
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1}, // identity: no bombs; Arrow compresses itself
    };
    grpc_arg arguments[sizeof settings / sizeof settings[0]];
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        arguments[i] = (grpc_arg){
            .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)settings[i].key, .value.integer = settings[i].value};
    grpc_channel_args all = {sizeof settings / sizeof settings[0], arguments};
    return grpc_server_create(&all, NULL);
}

// gRPC removes an existing socket file before it binds, which would take a live server's address away. Somebody who
// answers there is asked first.
static bool unix_socket_alive(const char *listen)
{
    grpc_channel_credentials *credentials = grpc_insecure_credentials_create();
    grpc_channel *channel = grpc_channel_create(listen, credentials, NULL);
    grpc_completion_queue *queue = grpc_completion_queue_create_for_next(NULL);
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel, 1);
    gpr_timespec deadline = od_rpc_deadline(PROBE_MS);
    while (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_CONNECTING) {
        grpc_channel_watch_connectivity_state(channel, state, deadline, queue, NULL);
        if (!grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).success)
            break;
        state = grpc_channel_check_connectivity_state(channel, 1);
    }
    grpc_channel_destroy(channel);
    grpc_channel_credentials_release(credentials);
    grpc_completion_queue_shutdown(queue);
    while (grpc_completion_queue_next(queue, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL).type != GRPC_QUEUE_SHUTDOWN)
        continue;
    grpc_completion_queue_destroy(queue);
    return state == GRPC_CHANNEL_READY;
}

static od_code bind_address(struct od_rpc_server *server, const struct od_rpc_server_options *options,
                            struct od_error *err)
{
    const char *listen = options->listen;
    bool is_unix = strncmp(listen, "unix:", 5) == 0;
    const char *colon = strrchr(listen, ':');
    if (!colon || (!is_unix && (!colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1))))
        return od_fail(err, OD_INVALID, "cannot listen on \"%s\": write HOST:PORT, [IPV6]:PORT or unix:/path/to/socket",
                       listen);
    if (is_unix && unix_socket_alive(listen))
        return od_fail(err, OD_LOCKED, "cannot listen on %s: another server answers there", listen);
    grpc_server_credentials *credentials;
    od_code rc = credentials_new(options, &credentials, err);
    if (rc != OD_OK)
        return rc;
    od_rpc_complaint_clear();
    server->port = grpc_server_add_http2_port(server->core, listen, credentials);
    grpc_server_credentials_release(credentials);
    if (server->port)
        return OD_OK;
    const char *reason = od_rpc_complaint();
    if (strstr(reason, "Address already in use"))
        return od_fail(err, OD_LOCKED, "cannot listen on %s: the address is in use by another process", listen);
    if (strstr(reason, "Permission denied"))
        return od_fail(err, OD_IO, "cannot listen on %s: permission denied", listen);
    if (strstr(reason, "Cannot assign requested address"))
        return od_fail(err, OD_IO, "cannot listen on %s: this machine has no such address", listen);
    if (options->tls_certificate_pem && !strstr(reason, "No address added"))
        return od_fail(err, OD_INVALID, "cannot listen on %s: the TLS certificate or key is not usable: %s", listen,
                       reason[0] ? reason : "no reason given");
    return od_fail(err, OD_IO, "cannot listen on %s: %s", listen, reason[0] ? reason : "no reason given");
}

static od_code start_threads(struct od_rpc_server *server, struct od_error *err)
{
    od_code rc = OD_OK;
    for (unsigned i = 0; rc == OD_OK && i < server->queue_count; i++)
        rc = od_queue_start(&server->queues[i], err);
    return rc;
}

od_code od_rpc_server_start(const struct od_rpc_server_options *options, struct od_rpc_server **out,
                            struct od_error *err)
{
    od_code rc;
    unsigned threads = options->threads ? options->threads : default_threads();
    if (threads > THREADS_MAX)
        threads = THREADS_MAX;
    struct od_rpc_server *server = NULL;
    OD_TRY(od_rpc_runtime_ref(err));
    server = od_calloc(1, sizeof *server);
    if (!server) {
        od_rpc_runtime_unref();
        return od_fail(err, OD_NO_MEMORY, "no memory for the gRPC server");
    }
    pthread_mutex_init(&server->lock, NULL);
    od_cond_init(&server->changed);
    server->methods = options->methods;
    server->method_count = options->method_count;
    server->certificates = options->tls_client_ca_pem != NULL;
    server->shutdown_tag.run = on_shutdown;
    od_health_init(server);

    server->queues = od_calloc(threads, sizeof *server->queues);
    server->accepts = od_calloc((size_t)threads * ACCEPTS_PER_QUEUE, sizeof *server->accepts);
    if (!server->queues || !server->accepts) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for %u threads of the gRPC server", threads);
        goto out;
    }
    OD_TRY(od_auth_init(&server->auth, options->token, err));
    server->core = core_new(options->message_bytes_max);
    for (unsigned i = 0; i < threads; i++) {
        od_queue_init(&server->queues[i]);
        server->queue_count++;
        grpc_server_register_completion_queue(server->core, server->queues[i].core, NULL);
    }
    OD_TRY(bind_address(server, options, err));
    OD_TRY(start_threads(server, err));
    grpc_server_start(server->core);
    server->started = true;
    for (size_t i = 0; i < (size_t)threads * ACCEPTS_PER_QUEUE; i++) {
        struct od_accept *accept = &server->accepts[i];
        accept->tag.run = on_arrived;
        accept->server = server;
        accept->queue = &server->queues[i % threads];
        accept_request(accept);
    }
    *out = server;
    return OD_OK;
out:
    if (rc != OD_OK && server)
        od_rpc_server_free(server);
    return rc;
}

// ---- stop

// Waits until there is nothing left to do; false after timeout_ms (UINT64_MAX: waits as long as it takes).
static bool wait_quiet(struct od_rpc_server *server, uint64_t timeout_ms)
{
    uint64_t at = timeout_ms == UINT64_MAX ? UINT64_MAX : od_clock_ms() + timeout_ms;
    bool waiting = true;
    pthread_mutex_lock(&server->lock);
    while (waiting && (!server->shutdown_done || server->call_count > 0))
        waiting = od_cond_wait_until(&server->changed, &server->lock, at);
    bool quiet = server->shutdown_done && server->call_count == 0;
    pthread_mutex_unlock(&server->lock);
    return quiet;
}

void od_rpc_server_stop(struct od_rpc_server *server, uint64_t drain_ms)
{
    if (server->stopped)
        return;
    server->stopped = true;
    if (server->started) {
        od_rpc_server_set_serving(server, false);
        od_health_stop(server);
    }
    // gRPC insists on a shutdown also for a server that never started.
    if (server->core)
        grpc_server_shutdown_and_notify(server->core, server->queues[0].core, &server->shutdown_tag);
    if (server->started && !wait_quiet(server, drain_ms)) {
        grpc_server_cancel_all_calls(server->core);
        (void)wait_quiet(server, UINT64_MAX);
    }
    for (unsigned i = 0; i < server->queue_count; i++)
        od_queue_shutdown(&server->queues[i]);
    for (unsigned i = 0; i < server->queue_count; i++)
        od_queue_join(&server->queues[i]);
}

void od_rpc_server_free(struct od_rpc_server *server)
{
    if (!server)
        return;
    od_rpc_server_stop(server, 0);
    if (server->core)
        grpc_server_destroy(server->core);
    for (unsigned i = 0; i < server->queue_count; i++)
        od_queue_free(&server->queues[i]);
    od_auth_release(&server->auth);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    od_free(server->queues);
    od_free(server->accepts);
    od_free(server);
    od_rpc_runtime_unref();
}

int od_rpc_server_port(const struct od_rpc_server *server)
{
    return server->port;
}

void od_rpc_server_set_serving(struct od_rpc_server *server, bool serving)
{
    if (atomic_exchange(&server->serving, serving) != serving)
        od_health_changed(server);
}
