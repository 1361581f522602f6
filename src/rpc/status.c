// status.c - from the way gRPC says a call ended to one typed error.
//
// In this order: the server's own ErrorDetail; our own cancellation; a status the peer sent without a detail (a
// foreign server, or a proxy); a status made up by the local gRPC library, where the question is whether the request
// can have reached the server (OD_DISCONNECTED) or not (OD_UNAVAILABLE).
#include "rpc/channel_internal.h"

#include "rpc/error_detail.h"
#include "rpc/message.h"

#include <grpc/support/alloc.h>

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
    gpr_free((void *)(uintptr_t)final->error_text);
}

void od_final_op(struct od_final *final, grpc_op *op)
{
    op->op = GRPC_OP_RECV_STATUS_ON_CLIENT;
    op->data.recv_status_on_client.trailing_metadata = &final->trailing;
    op->data.recv_status_on_client.status = &final->status;
    op->data.recv_status_on_client.status_details = &final->details;
    op->data.recv_status_on_client.error_string = &final->error_text;
}

static const grpc_slice *find_detail(const struct od_final *final)
{
    for (size_t i = 0; i < final->trailing.count; i++)
        if (grpc_slice_str_cmp(final->trailing.metadata[i].key, "openduck-error-bin") == 0)
            return &final->trailing.metadata[i].value;
    return NULL;
}

// gRPC's texts name each layer; what the user needs is the reason at the end.
static const char *connect_reason(char *text)
{
    static const char *const marks[] = {"Failed to connect to remote host: ", "last error: UNKNOWN: ",
                                        "last error: "};
    char *reason = text;
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        char *found = strstr(text, marks[i]);
        if (found) {
            reason = found + strlen(marks[i]);
            break;
        }
    }
    if (isupper((unsigned char)reason[0]) && islower((unsigned char)reason[1]))
        reason[0] = (char)tolower((unsigned char)reason[0]);
    return reason;
}

static bool starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

static od_code peer_code(const struct od_final *final, const char *endpoint, const char *text, struct od_error *err)
{
    // A proxy answers UNAVAILABLE also when the server behind it broke off in the middle.
    od_code code = final->status == GRPC_STATUS_UNAVAILABLE ? OD_DISCONNECTED : od_code_from_grpc((int)final->status);
    return text[0] ? od_fail(err, code, "%s", text)
                   : od_fail(err, code, "%s answered with gRPC status %d and no text", endpoint, (int)final->status);
}

static od_code local_code(const struct od_final *final, const char *endpoint, char *text, uint64_t timeout_ms,
                          struct od_error *err)
{
    switch (final->status) {
    case GRPC_STATUS_UNAVAILABLE:
        // These come from gRPC's choice of a connection, before anything is sent.
        if (starts(text, "failed to connect to all addresses") || starts(text, "DNS resolution failed") ||
            starts(text, "empty address list") || starts(text, "connections to all backends failing"))
            return od_fail(err, OD_UNAVAILABLE, "cannot reach %s: %s", endpoint, connect_reason(text));
        return od_fail(err, OD_DISCONNECTED, "the connection to %s broke: %s", endpoint, text);
    case GRPC_STATUS_CANCELLED:
    case GRPC_STATUS_UNKNOWN:
        return od_fail(err, OD_DISCONNECTED, "the call to %s broke off: %s", endpoint, text);
    case GRPC_STATUS_DEADLINE_EXCEEDED:
        return timeout_ms ? od_fail(err, OD_TIMEOUT, "%s has not answered within %llu ms", endpoint,
                                    (unsigned long long)timeout_ms)
                          : od_fail(err, OD_TIMEOUT, "%s has not answered in time", endpoint);
    case GRPC_STATUS_RESOURCE_EXHAUSTED:
        return od_fail(err, OD_LIMIT, "a message from %s is too large: %s", endpoint, text);
    default:
        return od_fail(err, od_code_from_grpc((int)final->status), "the call to %s failed: %s", endpoint, text);
    }
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
        od_error_unpack(GRPC_SLICE_START_PTR(*detail), GRPC_SLICE_LENGTH(*detail), (int)final->status, text, &unpacked);
        if (err)
            *err = unpacked;
        return unpacked.code;
    }
    if (cancelled)
        return od_fail(err, OD_CANCELLED, "the call was cancelled");
    if (final->error_text && strstr(final->error_text, "Error received from peer"))
        return peer_code(final, endpoint, text, err);
    return local_code(final, endpoint, text, timeout_ms, err);
}
