// status.c - from the way gRPC says a call ended to one typed error.
//
// In this order: the server's own ErrorDetail; our own cancellation; a plain status of a foreign server, a proxy or the
// local gRPC library. The question with those is whether the request can have reached the server (OD_DISCONNECTED) or
// not (OD_UNAVAILABLE).
#include "rpc/channel_internal.h"

#include "rpc/error_detail.h"
#include "rpc/message.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

void od_final_init(struct od_final *final)
{
    memset(final, 0, sizeof *final);
    grpc_metadata_array_init(&final->trailing);
    final->details = grpc_empty_slice();
}

void od_final_release(struct od_final *final)
{
    grpc_metadata_array_destroy(&final->trailing);
    grpc_slice_unref(final->details);
}

void od_final_op(struct od_final *final, grpc_op *op)
{
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &final->trailing;
    op->data.recv_status_on_client.status = &final->status;
    op->data.recv_status_on_client.status_details = &final->details;
}

static const grpc_slice *find_detail(const struct od_final *final)
{
    for (size_t i = 0; i < final->trailing.count; i++)
        if (grpc_slice_str_cmp(final->trailing.metadata[i].key, "openduck-error-bin") == 0)
            return &final->trailing.metadata[i].value;
    return NULL;
}

static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static char *after(char *text, const char *mark)
{
    char *found = strstr(text, mark);
    return found ? found + strlen(mark) : text;
}

// gRPC's texts name each layer - "failed to connect to all addresses; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to
// connect to remote host: Connection refused". What the user needs is the reason at the end.
static const char *connect_reason(char *text)
{
    char *reason = after(text, "last error: ");
    size_t name = strspn(reason, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_");
    if (name && strncmp(reason + name, ": ", 2) == 0)
        reason += name + 2;
    if (starts(reason, "ipv4:") || starts(reason, "ipv6:") || starts(reason, "unix:"))
        reason = after(reason, ": ");
    reason = after(reason, "Failed to connect to remote host: ");
    if (isupper((unsigned char)reason[0]) && islower((unsigned char)reason[1]))
        reason[0] = (char)tolower((unsigned char)reason[0]);
    return reason;
}

static const char *resolve_reason(const char *text)
{
    const char *last = text;
    for (const char *at = strstr(text, ": "); at; at = strstr(at + 2, ": "))
        last = at + 2;
    return last;
}

// Where a status came from cannot be told for certain: the library reports its own troubles in the peer's voice.
static od_code plain_code(const struct od_final *final, const char *endpoint, char *text, uint64_t timeout_ms,
                          struct od_error *err)
{
    if (final->status == GRPC_STATUS_UNAVAILABLE) {
        // These come from gRPC's choice of a connection, before anything is sent. Everything else - also what a proxy
        // answers when the server behind it is lost - may have come after.
        if (starts(text, "DNS resolution failed"))
            return od_fail(err, OD_UNAVAILABLE, "cannot reach %s: the host name cannot be resolved: %s", endpoint,
                           resolve_reason(text));
        if (starts(text, "failed to connect to all addresses") || starts(text, "empty address list") ||
            starts(text, "connections to all backends failing"))
            return od_fail(err, OD_UNAVAILABLE, "cannot reach %s: %s", endpoint, connect_reason(text));
        return od_fail(err, OD_DISCONNECTED, "the connection to %s broke: %s", endpoint, text);
    }
    if (starts(text, "Received RST_STREAM") || starts(text, "Stream removed"))
        return od_fail(err, OD_DISCONNECTED, "the call to %s broke off: %s", endpoint, text);
    if (final->status == GRPC_STATUS_DEADLINE_EXCEEDED)
        return timeout_ms ? od_fail(err, OD_TIMEOUT, "%s has not answered within %llu ms", endpoint,
                                    (unsigned long long)timeout_ms)
                          : od_fail(err, OD_TIMEOUT, "%s has not answered in time", endpoint);
    od_code code = od_code_from_grpc((int) final->status);
    return text[0] ? od_fail(err, code, "%s", text)
                   : od_fail(err, code, "%s answered with gRPC status %d and no text", endpoint, (int) final->status);
}

od_code od_final_code(const struct od_final *final, const char *endpoint, bool cancelled, uint64_t timeout_ms,
                      struct od_error *err)
{
    if (final->status == GRPC_STATUS_OK)
        return OD_OK;
    char text[1024];
    od_text_clean(text, sizeof text, (const char *)GRPC_SLICE_START_PTR(final->details),
                  GRPC_SLICE_LENGTH(final->details), SIZE_MAX);
    const grpc_slice *detail = find_detail(final);
    if (detail) {
        struct od_error unpacked;
        od_error_unpack(GRPC_SLICE_START_PTR(*detail), GRPC_SLICE_LENGTH(*detail), (int) final->status, text,
                        &unpacked);
        if (err)
            *err = unpacked;
        return unpacked.code;
    }
    if (cancelled)
        return od_fail(err, OD_CANCELLED, "the call was cancelled");
    return plain_code(final, endpoint, text, timeout_ms, err);
}
