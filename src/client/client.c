// client.c - opening and closing a client, and the calls that are neither statement nor upload; see openduck/client.h.
#include "client/client.h"

#include "base/alloc.h"
#include "client/core.h"
#include "os/clock.h"
#include "os/file.h"

#include <stdio.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS_DEFAULT 5000u
#define RETRIES_DEFAULT 3u
#define RETRIES_MAX 100u
#define PING_TIMEOUT_MS 10000u
#define PEM_BYTES_MAX (1 * OD_MIB)
#define TOKEN_BYTES_MAX 8192u

uint64_t od_deadline_after(uint64_t timeout_ms)
{
    uint64_t now = od_clock_ms();
    return timeout_ms && timeout_ms < UINT64_MAX - now ? now + timeout_ms : UINT64_MAX;
}

// A struct of an older caller is shorter; what it does not have is zero.
static od_code options_take(const struct od_client_options *given, struct od_client_options *options,
                            struct od_error *err)
{
    *options = (struct od_client_options){0};
    if (!given)
        return OD_OK;
    if (given->struct_bytes < sizeof(size_t) || given->struct_bytes > 4096)
        return od_fail(err, OD_INVALID, "od_client_options.struct_bytes is %zu: set it to sizeof(struct od_client_options)",
                       given->struct_bytes);
    memcpy(options, given, given->struct_bytes < sizeof *options ? given->struct_bytes : sizeof *options);
    return OD_OK;
}

static od_code read_pem(const char *path, struct od_buf *out, const char **text, struct od_error *err)
{
    *text = NULL;
    if (!path)
        return OD_OK;
    od_code rc = od_file_read(path, out, err);
    if (rc != OD_OK)
        return rc;
    *text = od_buf_text(out);
    return *text ? OD_OK : od_fail(err, OD_NO_MEMORY, "no memory for %s", path);
}

// A token travels in a header: one line of visible ASCII.
static od_code check_token(const char *token, struct od_error *err)
{
    size_t bytes = token ? strlen(token) : 0;
    if (bytes > TOKEN_BYTES_MAX)
        return od_fail(err, OD_INVALID, "the token is longer than %u bytes", TOKEN_BYTES_MAX);
    for (size_t i = 0; i < bytes; i++)
        if (token[i] < 0x20 || token[i] > 0x7e)
            return od_fail(err, OD_INVALID, "the token has a character that is not printable ASCII at position %zu "
                                            "(a line end of its file?)", i + 1);
    return OD_OK;
}

od_code od_client_open(const struct od_client_options *given, struct od_client **out, struct od_error *err)
{
    od_code rc;
    struct od_client_options options;
    struct od_endpoint_list *endpoints = NULL;
    struct od_client *client = NULL;
    struct od_buf ca, certificate, key;
    struct od_link_options link = {0};
    bool linked = false;

    *out = NULL;
    od_buf_init(&ca, PEM_BYTES_MAX);
    od_buf_init(&certificate, PEM_BYTES_MAX);
    od_buf_init(&key, PEM_BYTES_MAX);
    OD_TRY(options_take(given, &options, err));
    const char *address = options.address ? options.address : od_environment("OPENDUCK_ENDPOINT");
    const char *token = options.token ? options.token : od_environment("OPENDUCK_TOKEN");
    if (token && !*token)
        token = NULL;
    OD_TRY(check_token(token, err));
    if ((unsigned)options.compression > OD_COMPRESSION_ZSTD) {
        rc = od_fail(err, OD_INVALID, "od_client_options.compression is %u: there are none (0), lz4 (1) and zstd (2)",
                     (unsigned)options.compression);
        goto out;
    }
    if (options.retries > RETRIES_MAX) {
        rc = od_fail(err, OD_INVALID, "od_client_options.retries is %u, more than %u", options.retries, RETRIES_MAX);
        goto out;
    }
    endpoints = od_calloc(1, sizeof *endpoints);
    client = od_calloc(1, sizeof *client);
    if (!endpoints || !client) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for a client");
        goto out;
    }
    OD_TRY(od_endpoint_list_parse(address ? address : OD_DEFAULT_ADDRESS, endpoints, err));
    OD_TRY(read_pem(options.tls_ca_file, &ca, &link.tls_ca_pem, err));
    OD_TRY(read_pem(options.tls_certificate_file, &certificate, &link.tls_certificate_pem, err));
    OD_TRY(read_pem(options.tls_key_file, &key, &link.tls_key_pem, err));
    link.endpoints = endpoints;
    link.token = token;
    link.connect_timeout_ms = options.connect_timeout_ms ? options.connect_timeout_ms : CONNECT_TIMEOUT_MS_DEFAULT;
    link.retries = options.retries ? options.retries : RETRIES_DEFAULT;
    OD_TRY(od_link_open(&client->link, &link, err));
    linked = true;
    client->timeout_ms = options.timeout_ms;
    client->compression = options.compression;
    atomic_init(&client->batches_received, 0);
    atomic_init(&client->batches_sent, 0);
    atomic_init(&client->resumes, 0);
    OD_TRY(od_crew_new(&client->crew, err));
    OD_TRY(od_canceller_new(client, &client->canceller, err));
    *out = client;
out:
    if (rc != OD_OK && client) {
        od_crew_free(client->crew);
        if (linked)
            od_link_close(&client->link);
        od_free(client);
    }
    od_free(endpoints);
    od_buf_release(&ca);
    od_buf_release(&certificate);
    od_buf_release(&key);
    return rc;
}

void od_client_close(struct od_client *client)
{
    if (!client)
        return;
    // Cancellations that were just posted still go out: the crew is waited for before the link closes.
    od_crew_free(client->crew);
    od_canceller_free(client->canceller);
    od_link_close(&client->link);
    od_free(client);
}

od_code od_client_call(struct od_client *client, const char *method, const ProtobufCMessage *request,
                       const ProtobufCMessageDescriptor *reply_type, bool once, size_t endpoint, uint64_t timeout_ms,
                       struct od_cancel *cancel, ProtobufCMessage **reply, bool *reached, struct od_error *err)
{
    struct od_link_call call = {.method = method,
                                .once = once,
                                .endpoint = endpoint,
                                .deadline_ms = od_deadline_after(timeout_ms),
                                .cancel = cancel};
    struct od_received received = {0};
    size_t answered;
    if (reached)
        *reached = false;
    od_code rc = od_message_pack(request, &call.request, err);
    if (rc != OD_OK)
        return rc;
    rc = od_link_send(&client->link, &call, &received, &answered, reached, err);
    od_free((void *)(uintptr_t)call.request.data);
    if (rc != OD_OK)
        return rc;
    rc = od_message_unpack(reply_type, received.data, received.bytes, reply, err);
    od_received_release(&received);
    return rc;
}

static od_code ping_fragment(struct od_client *client, struct od_error *err)
{
    struct od_request request = {.struct_bytes = sizeof request, .sql = "SELECT 1", .timeout_ms = PING_TIMEOUT_MS};
    struct od_query *query;
    od_code rc = od_client_execute(client, NULL, &request, &query, err);
    if (rc != OD_OK)
        return rc;
    rc = od_query_drain(query, NULL, err);
    od_query_close(query);
    return rc;
}

od_code od_client_ping(struct od_client *client, char *version, size_t version_bytes, struct od_error *err)
{
    Openduck__V1__ServerInfoRequest request = OPENDUCK__V1__SERVER_INFO_REQUEST__INIT;
    ProtobufCMessage *reply;
    if (version && version_bytes)
        version[0] = '\0';
    od_code rc = od_client_call(client, OD_ADMIN_SERVICE "ServerInfo", &request.base,
                                &openduck__v1__server_info_reply__descriptor, false, OD_ENDPOINT_ANY, PING_TIMEOUT_MS,
                                client->link.closing, &reply, NULL, err);
    // A foreign server has no administration; that it answers a statement is what the caller wants to know.
    if (rc == OD_UNSUPPORTED)
        return ping_fragment(client, err);
    if (rc != OD_OK)
        return rc;
    const Openduck__V1__ServerInfoReply *info = (const Openduck__V1__ServerInfoReply *)(const void *)reply;
    if (version && version_bytes)
        snprintf(version, version_bytes, "%s", info->version);
    protobuf_c_message_free_unpacked(reply, NULL);
    return OD_OK;
}

void od_client_get_traffic(const struct od_client *client, struct od_client_traffic *traffic)
{
    *traffic = (struct od_client_traffic){0};
    for (size_t i = 0; i < client->link.count; i++) {
        uint64_t sent, received, calls;
        od_channel_traffic(client->link.endpoints[i].channel, &sent, &received, &calls);
        traffic->bytes_sent += sent;
        traffic->bytes_received += received;
        traffic->round_trips += calls;
    }
    traffic->batches_received = atomic_load_explicit(&client->batches_received, memory_order_relaxed);
    traffic->batches_sent = atomic_load_explicit(&client->batches_sent, memory_order_relaxed);
    traffic->retries = atomic_load_explicit(&client->link.retried, memory_order_relaxed);
    traffic->resumes = atomic_load_explicit(&client->resumes, memory_order_relaxed);
}
