// channel.c - a connection to one endpoint and unary calls over it; see channel.h. Streams are in stream.c.
//
// Waiting is done by the calling thread itself in a completion queue of the "pluck" kind, taken from a small stock:
// no thread of ours stands between the caller and the socket, which is what makes a unary call fast.
//
// Before a call the channel must be connected: a call started on an unconnected channel would wait without a bound of
// our own. A channel that failed to connect is thrown away, so that the next attempt starts at once and not after
// gRPC's backoff.
#include "rpc/channel_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "rpc/bytes.h"
#include "rpc/runtime.h"

#include <grpc/byte_buffer.h>
#include <grpc/grpc_security.h>

#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS_DEFAULT 5000u
#define CANCEL_POLL_MS 50u // how often a connecting thread looks at its cancel token
#define LOOKS 4u
#define FRESH_MS 5u // after a call the connection is believed for this long

// A dead server is noticed within this much silence, also while a query runs long without sending anything.
#define KEEPALIVE_TIME_MS 30000
#define KEEPALIVE_TIMEOUT_MS 10000

#define FRAME_BYTES (4 * 1024 * 1024)
#define LOOKAHEAD_BYTES (8 * 1024 * 1024)

// ---- endpoint

struct scheme {
    const char *prefix;
    bool tls;
};

static const struct scheme schemes[] = {{"http://", false}, {"grpc://", false}, {"https://", true}, {"grpcs://", true}};

static bool host_is_loopback(const char *address)
{
    return strncmp(address, "127.", 4) == 0 || strncmp(address, "localhost:", 10) == 0 ||
           strncmp(address, "[::1]:", 6) == 0;
}

static od_code parse_endpoint(struct od_channel *channel, const char *endpoint, bool *tls, struct od_error *err)
{
    if (!endpoint || !endpoint[0])
        return od_fail(err, OD_INVALID, "the endpoint is empty: write HOST:PORT or unix:/path/to/socket");
    const char *address = endpoint;
    for (size_t i = 0; i < sizeof schemes / sizeof schemes[0]; i++) {
        if (strncmp(endpoint, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
            address = endpoint + strlen(schemes[i].prefix);
            *tls = *tls || schemes[i].tls;
        }
    }
    bool is_unix = strncmp(address, "unix:", 5) == 0;
    size_t bytes = strlen(address);
    if (!is_unix && bytes && address[bytes - 1] == '/')
        bytes--; // "http://host:1234/"
    channel->name = od_strndup(address, bytes);
    if (!channel->name)
        return od_fail(err, OD_NO_MEMORY, "no memory for a channel");
    const char *colon = strrchr(channel->name, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    if (!is_unix && (!colon || colon == channel->name || digits == 0 || digits > 5 || colon[1 + digits]))
        return od_fail(err, OD_INVALID, "the endpoint \"%s\" is not HOST:PORT, [IPV6]:PORT or unix:/path/to/socket",
                       endpoint);
    channel->proxy = !is_unix && !host_is_loopback(channel->name);
    // The scheme is spelled out: a host called "dns" or "xds" is a host.
    size_t room = strlen(channel->name) + sizeof "dns:///";
    channel->target = od_alloc(room);
    if (!channel->target)
        return od_fail(err, OD_NO_MEMORY, "no memory for a channel");
    snprintf(channel->target, room, "%s%s", is_unix ? "" : "dns:///", channel->name);
    return OD_OK;
}

static od_code make_credentials(struct od_channel *channel, const struct od_channel_options *options, bool tls,
                                struct od_error *err)
{
    if (!tls) {
        channel->credentials = grpc_insecure_credentials_create();
        return OD_OK;
    }
    if (!options->tls_certificate_pem != !options->tls_key_pem)
        return od_fail(err, OD_INVALID, "a client certificate and its private key are needed together");
    grpc_ssl_pem_key_cert_pair pair = {options->tls_key_pem, options->tls_certificate_pem};
    channel->credentials =
        grpc_ssl_credentials_create(options->tls_ca_pem, options->tls_key_pem ? &pair : NULL, NULL, NULL);
    return channel->credentials ? OD_OK : od_fail(err, OD_INVALID, "gRPC does not accept the TLS certificates");
}

static od_code make_authorization(struct od_channel *channel, const char *token, struct od_error *err)
{
    if (!token)
        return OD_OK;
    size_t room = strlen(token) + sizeof "Bearer ";
    char *text = od_alloc(room);
    if (!text)
        return od_fail(err, OD_NO_MEMORY, "no memory for the token");
    snprintf(text, room, "Bearer %s", token);
    channel->authorization = grpc_slice_from_copied_buffer(text, room - 1);
    channel->has_authorization = true;
    explicit_bzero(text, room);
    od_free(text);
    return grpc_header_nonbin_value_is_legal(channel->authorization)
               ? OD_OK
               : od_fail(err, OD_INVALID, "the token has a character that may not be sent (a line break?)");
}

// ---- opening and closing

static void channel_free(struct od_channel *channel)
{
    if (!od_rpc_forked()) {
        if (channel->core) {
            grpc_channel_destroy(channel->core->channel);
            od_free(channel->core);
        }
        for (unsigned i = 0; i < channel->idle_queue_count; i++) {
            grpc_completion_queue *queue = channel->idle_queues[i];
            grpc_completion_queue_shutdown(queue);
            // Nothing is pending, so the first answer is the shutdown.
            grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
            grpc_completion_queue_destroy(queue);
        }
        if (channel->credentials)
            grpc_channel_credentials_release(channel->credentials);
        if (channel->has_authorization)
            grpc_slice_unref(channel->authorization);
    }
    od_cancel_unref(channel->closing);
    od_free(channel->target);
    od_free(channel->name);
    od_free(channel->server_name);
    pthread_cond_destroy(&channel->quiet);
    pthread_mutex_destroy(&channel->lock);
    od_free(channel);
    od_rpc_runtime_unref();
}

static struct od_core *core_new(struct od_channel *channel)
{
    const struct {
        const char *key;
        int value;
    } settings[] = {
        {GRPC_ARG_MAX_RECEIVE_MESSAGE_LENGTH, (int)channel->message_bytes_max},
        {GRPC_ARG_HTTP2_MAX_FRAME_SIZE, FRAME_BYTES},
        {GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, LOOKAHEAD_BYTES},
        {GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1}, // an own connection: no sharing with other users of gRPC
        {GRPC_ARG_KEEPALIVE_TIME_MS, KEEPALIVE_TIME_MS},
        {GRPC_ARG_KEEPALIVE_TIMEOUT_MS, KEEPALIVE_TIMEOUT_MS},
        {GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0},
        {GRPC_ARG_SERVICE_CONFIG_DISABLE_RESOLUTION, 1},
        {GRPC_ARG_ENABLE_HTTP_PROXY, channel->proxy},
        {GRPC_COMPRESSION_CHANNEL_ENABLED_ALGORITHMS_BITSET, 1},
    };
    enum { COUNT = sizeof settings / sizeof settings[0] };
    grpc_arg arguments[COUNT + 1];
    for (size_t i = 0; i < COUNT; i++)
        arguments[i] = (grpc_arg){
            .type = GRPC_ARG_INTEGER, .key = (char *)(uintptr_t)settings[i].key, .value.integer = settings[i].value};
    arguments[COUNT] = (grpc_arg){.type = GRPC_ARG_STRING,
                                  .key = (char *)(uintptr_t)GRPC_SSL_TARGET_NAME_OVERRIDE_ARG,
                                  .value.string = channel->server_name};
    grpc_channel_args all = {COUNT + (channel->server_name ? 1 : 0), arguments};
    struct od_core *core = od_alloc(sizeof *core);
    if (core) {
        core->channel = grpc_channel_create(channel->target, channel->credentials, &all);
        core->references = 1;
    }
    return core;
}

od_code od_channel_open(const struct od_channel_options *options, struct od_channel **out, struct od_error *err)
{
    od_code rc;
    struct od_channel *channel = NULL;
    OD_TRY(od_rpc_runtime_ref(err));
    channel = od_calloc(1, sizeof *channel);
    if (!channel) {
        od_rpc_runtime_unref();
        return od_fail(err, OD_NO_MEMORY, "no memory for a channel");
    }
    pthread_mutex_init(&channel->lock, NULL);
    pthread_cond_init(&channel->quiet, NULL);
    channel->references = 1;
    uint64_t max = options->message_bytes_max ? options->message_bytes_max : OD_MESSAGE_BYTES_MAX;
    channel->message_bytes_max = max < INT32_MAX ? max : INT32_MAX;
    channel->closing = od_cancel_new();
    channel->server_name = od_strdup(options->tls_server_name);
    if (!channel->closing || (options->tls_server_name && !channel->server_name)) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for a channel");
        goto out;
    }
    bool tls = options->tls_ca_pem || options->tls_certificate_pem || options->tls_server_name;
    OD_TRY(parse_endpoint(channel, options->endpoint, &tls, err));
    OD_TRY(make_credentials(channel, options, tls, err));
    OD_TRY(make_authorization(channel, options->token, err));
    channel->core = core_new(channel);
    if (!channel->core) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for a channel");
        goto out;
    }
    *out = channel;
    return OD_OK;
out:
    if (rc != OD_OK && channel)
        channel_free(channel);
    return rc;
}

void od_channel_unref(struct od_channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    bool last = --channel->references == 0;
    pthread_mutex_unlock(&channel->lock);
    if (last)
        channel_free(channel);
}

void od_channel_close(struct od_channel *channel)
{
    if (!channel)
        return;
    od_cancel_fire(channel->closing);
    pthread_mutex_lock(&channel->lock);
    channel->closed = true;
    // The threads inside did not survive a fork: nobody to wait for.
    while (channel->inside > 0 && !od_rpc_forked())
        pthread_cond_wait(&channel->quiet, &channel->lock);
    pthread_mutex_unlock(&channel->lock);
    od_channel_unref(channel);
}

void od_channel_traffic(const struct od_channel *channel, uint64_t *sent, uint64_t *received, uint64_t *calls)
{
    *sent = atomic_load(&channel->bytes_sent);
    *received = atomic_load(&channel->bytes_received);
    *calls = atomic_load(&channel->calls);
}

od_code od_channel_enter(struct od_channel *channel, struct od_error *err)
{
    if (od_rpc_forked())
        return od_fail(err, OD_UNSUPPORTED,
                       "a connection to %s cannot be used after fork(); open one in the child "
                       "of a process that has none, or use \"spawn\"",
                       channel->name);
    pthread_mutex_lock(&channel->lock);
    bool closed = channel->closed;
    if (!closed)
        channel->inside++;
    pthread_mutex_unlock(&channel->lock);
    return closed ? od_fail(err, OD_CANCELLED, "the connection to %s has been closed", channel->name) : OD_OK;
}

void od_channel_leave(struct od_channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    if (--channel->inside == 0 && channel->closed)
        pthread_cond_broadcast(&channel->quiet);
    pthread_mutex_unlock(&channel->lock);
}

// ---- beginning a call

static grpc_completion_queue *queue_take(struct od_channel *channel)
{
    grpc_completion_queue *queue = NULL;
    pthread_mutex_lock(&channel->lock);
    if (channel->idle_queue_count)
        queue = channel->idle_queues[--channel->idle_queue_count];
    pthread_mutex_unlock(&channel->lock);
    return queue ? queue : grpc_completion_queue_create_for_pluck(NULL);
}

static void queue_give(struct od_channel *channel, grpc_completion_queue *queue)
{
    pthread_mutex_lock(&channel->lock);
    bool kept = channel->idle_queue_count < OD_IDLE_QUEUES_MAX;
    if (kept)
        channel->idle_queues[channel->idle_queue_count++] = queue;
    pthread_mutex_unlock(&channel->lock);
    if (kept)
        return;
    grpc_completion_queue_shutdown(queue);
    grpc_completion_queue_pluck(queue, NULL, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    grpc_completion_queue_destroy(queue);
}

static void core_unref(struct od_channel *channel, struct od_core *core)
{
    pthread_mutex_lock(&channel->lock);
    bool last = --core->references == 0;
    pthread_mutex_unlock(&channel->lock);
    if (last) {
        grpc_channel_destroy(core->channel);
        od_free(core);
    }
}

// A reference to the current core; a new one when the last attempt to connect has failed.
static struct od_core *core_take(struct od_channel *channel)
{
    pthread_mutex_lock(&channel->lock);
    struct od_core *core = channel->core, *old = NULL;
    if (grpc_channel_check_connectivity_state(core->channel, 0) == GRPC_CHANNEL_TRANSIENT_FAILURE) {
        struct od_core *fresh = core_new(channel);
        if (fresh) {
            old = core;
            channel->core = core = fresh;
        }
    }
    core->references++;
    pthread_mutex_unlock(&channel->lock);
    if (old)
        core_unref(channel, old);
    return core;
}

bool od_attempt_cancelled(const struct od_attempt *attempt)
{
    return od_cancel_fired(attempt->cancel) || od_cancel_fired(attempt->channel->closing);
}

// Returns once the channel is connected or has failed to: then the call itself fails at once, with the reason.
static od_code connect_core(struct od_attempt *attempt, uint64_t timeout_ms, struct od_error *err)
{
    grpc_channel *channel = attempt->core->channel;
    grpc_connectivity_state state = grpc_channel_check_connectivity_state(channel, 1);
    // Nobody reads the socket while no call runs. A few looks at it now (each handles one event) tell a connection that
    // the server has closed meanwhile from a good one, before a request is lost in it.
    unsigned looks = od_clock_ms() - atomic_load(&attempt->channel->used_ms) <= FRESH_MS ? 1 : LOOKS;
    for (unsigned i = 0; i < looks && state == GRPC_CHANNEL_READY; i++) {
        grpc_completion_queue_pluck(attempt->queue, NULL, gpr_time_0(GPR_CLOCK_MONOTONIC), NULL);
        state = grpc_channel_check_connectivity_state(channel, 1);
    }
    uint64_t now = od_clock_ms(), end = now + timeout_ms;
    while (state == GRPC_CHANNEL_IDLE || state == GRPC_CHANNEL_CONNECTING) {
        if (od_attempt_cancelled(attempt))
            return od_fail(err, OD_CANCELLED, "cancelled while connecting to %s", attempt->channel->name);
        now = od_clock_ms();
        if (now >= end)
            return od_fail(err, OD_UNAVAILABLE, "cannot reach %s: no gRPC server has answered there within %llu ms",
                           attempt->channel->name, (unsigned long long)timeout_ms);
        uint64_t wait = end - now < CANCEL_POLL_MS ? end - now : CANCEL_POLL_MS;
        grpc_channel_watch_connectivity_state(channel, state, od_rpc_deadline(wait), attempt->queue, attempt);
        grpc_completion_queue_pluck(attempt->queue, attempt, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
        state = grpc_channel_check_connectivity_state(channel, 1);
    }
    return OD_OK;
}

od_code od_channel_begin(struct od_channel *channel, const char *method, uint64_t timeout_ms,
                         uint64_t connect_timeout_ms, struct od_cancel *cancel, struct od_attempt *attempt,
                         struct od_error *err)
{
    od_code rc;
    gpr_timespec deadline = od_rpc_deadline(timeout_ms);
    *attempt = (struct od_attempt){.channel = channel, .cancel = cancel};
    attempt->core = core_take(channel);
    attempt->queue = queue_take(channel);
    uint64_t connect_ms = connect_timeout_ms ? connect_timeout_ms : CONNECT_TIMEOUT_MS_DEFAULT;
    OD_TRY(connect_core(attempt, timeout_ms && timeout_ms < connect_ms ? timeout_ms : connect_ms, err));
    grpc_slice name = grpc_slice_from_copied_string(method);
    attempt->call = grpc_channel_create_call(attempt->core->channel, NULL, GRPC_PROPAGATE_DEFAULTS, attempt->queue,
                                             name, NULL, deadline, NULL);
    grpc_slice_unref(name);
    if (!od_cancel_add(cancel, &attempt->user_link, attempt->call) ||
        !od_cancel_add(channel->closing, &attempt->channel_link, attempt->call)) {
        rc = od_fail(err, OD_CANCELLED, "cancelled before the call to %s began", channel->name);
        goto out;
    }
    atomic_fetch_add_explicit(&channel->calls, 1, memory_order_relaxed);
    return OD_OK;
out:
    od_channel_end(attempt);
    return rc;
}

void od_channel_end(struct od_attempt *attempt)
{
    od_cancel_remove(&attempt->user_link);
    od_cancel_remove(&attempt->channel_link);
    if (attempt->call)
        grpc_call_unref(attempt->call);
    atomic_store(&attempt->channel->used_ms, od_clock_ms());
    queue_give(attempt->channel, attempt->queue);
    core_unref(attempt->channel, attempt->core);
}

size_t od_channel_metadata(const struct od_channel *channel, grpc_metadata *metadata)
{
    if (!channel->has_authorization)
        return 0;
    memset(metadata, 0, sizeof *metadata);
    metadata->key = grpc_slice_from_static_string("authorization");
    metadata->value = channel->authorization;
    return 1;
}

// ---- unary calls

// What a running unary call needs beyond its attempt.
struct unary {
    grpc_metadata_array initial;
    grpc_metadata request_metadata;
    grpc_byte_buffer *request;
    grpc_byte_buffer *reply;
    struct od_final final;
};

static od_code unary_run(struct od_attempt *attempt, struct unary *unary, struct od_error *err)
{
    grpc_op ops[6];
    memset(ops, 0, sizeof ops);
    ops[0].op = GRPC_OP_SEND_INITIAL_METADATA;
    ops[0].data.send_initial_metadata.count = od_channel_metadata(attempt->channel, &unary->request_metadata);
    ops[0].data.send_initial_metadata.metadata = &unary->request_metadata;
    ops[1].op = GRPC_OP_SEND_MESSAGE;
    ops[1].data.send_message.send_message = unary->request;
    ops[2].op = GRPC_OP_SEND_CLOSE_FROM_CLIENT;
    ops[3].op = GRPC_OP_RECV_INITIAL_METADATA;
    ops[3].data.recv_initial_metadata.recv_initial_metadata = &unary->initial;
    ops[4].op = GRPC_OP_RECV_MESSAGE;
    ops[4].data.recv_message.recv_message = &unary->reply;
    od_final_op(&unary->final, &ops[5]);
    grpc_call_error refused = grpc_call_start_batch(attempt->call, ops, 6, unary, NULL);
    if (refused != GRPC_CALL_OK)
        return od_fail(err, OD_INTERNAL, "gRPC refuses to start a call: %s", grpc_call_error_to_string(refused));
    grpc_completion_queue_pluck(attempt->queue, unary, gpr_inf_future(GPR_CLOCK_MONOTONIC), NULL);
    return OD_OK;
}

od_code od_channel_call(struct od_channel *channel, const char *method, const struct od_segment *segments, size_t count,
                        uint64_t timeout_ms, uint64_t connect_timeout_ms, struct od_cancel *cancel,
                        struct od_received *reply, struct od_error *err)
{
    od_code rc;
    struct od_attempt attempt;
    struct unary unary = {0};
    rc = od_channel_enter(channel, err);
    if (rc != OD_OK)
        return rc;
    rc = od_channel_begin(channel, method, timeout_ms, connect_timeout_ms, cancel, &attempt, err);
    if (rc != OD_OK) {
        od_channel_leave(channel);
        return rc;
    }
    grpc_metadata_array_init(&unary.initial);
    od_final_init(&unary.final);
    // Copied, because a call that is cut short by its deadline returns while the transport may still hold the bytes.
    unary.request = od_bytes_copy(segments, count);
    atomic_fetch_add_explicit(&channel->bytes_sent, od_segments_bytes(segments, count), memory_order_relaxed);
    OD_TRY(unary_run(&attempt, &unary, err));
    OD_TRY(od_final_code(&unary.final, channel->name, od_attempt_cancelled(&attempt), timeout_ms, err));
    if (!unary.reply) {
        rc = od_fail(err, OD_INVALID, "%s answered %s without a message", channel->name, method);
        goto out;
    }
    OD_TRY(od_bytes_flatten(unary.reply, NULL, reply, err));
    atomic_fetch_add_explicit(&channel->bytes_received, reply->bytes, memory_order_relaxed);
out:
    grpc_byte_buffer_destroy(unary.request);
    if (unary.reply)
        grpc_byte_buffer_destroy(unary.reply);
    grpc_metadata_array_destroy(&unary.initial);
    od_channel_end(&attempt);
    od_final_release(&unary.final);
    od_channel_leave(channel);
    return rc;
}
