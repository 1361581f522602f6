// error.c - filling, wrapping and naming errors; see error.h for the convention.
#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int grpc;
    bool retryable;
} code_table[OD_CODE_COUNT] = {
#define OD_CODE_ROW(name, grpc, retry, text) [OD_##name] = {#name, grpc, retry},
    OD_CODES(OD_CODE_ROW)
#undef OD_CODE_ROW
};

static void cut_message(struct od_error *err, int wanted)
{
    if (wanted < (int)sizeof err->message)
        return;
    size_t at = sizeof err->message - 4;
    while (at > 0 && ((unsigned char)err->message[at] & 0xC0) == 0x80) // not inside a UTF-8 character
        at--;
    memcpy(err->message + at, "...", 4);
}

static void __attribute__((format(printf, 3, 0)))
fill(struct od_error *err, od_code code, const char *format, va_list arguments)
{
    err->code = code;
    err->retryable = od_code_retryable(code);
    err->error_class[0] = '\0';
    err->extra_bytes = 0;
    cut_message(err, vsnprintf(err->message, sizeof err->message, format, arguments));
}

od_code(od_fail)(struct od_error *err, od_code code, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        fill(err, code, format, arguments);
        va_end(arguments);
    }
    return code;
}

od_code(od_fail_os)(struct od_error *err, od_code code, int os_errno, const char *format, ...)
{
    if (err) {
        va_list arguments;
        va_start(arguments, format);
        fill(err, code, format, arguments);
        va_end(arguments);
        char text[128];
        size_t used = strlen(err->message);
        int wanted =
            snprintf(err->message + used, sizeof err->message - used, ": %s", strerror_r(os_errno, text, sizeof text));
        cut_message(err, (int)used + wanted);
    }
    return code;
}

od_code od_wrap(struct od_error *err, od_code code, const char *format, ...)
{
    if (!err)
        return code;
    char inner[OD_ERROR_MESSAGE_BYTES];
    memcpy(inner, err->message, sizeof inner);
    inner[sizeof inner - 1] = '\0';
    va_list arguments;
    va_start(arguments, format);
    int used = vsnprintf(err->message, sizeof err->message, format, arguments);
    va_end(arguments);
    if (used >= 0 && used < (int)sizeof err->message) {
        int wanted = snprintf(err->message + used, sizeof err->message - (size_t)used, ": %s", inner);
        cut_message(err, used + wanted);
    } else {
        cut_message(err, used);
    }
    return err->code;
}

void od_error_set_class(struct od_error *err, const char *error_class, const char *extra, size_t extra_bytes)
{
    if (!err)
        return;
    snprintf(err->error_class, sizeof err->error_class, "%s", error_class ? error_class : "");
    err->extra_bytes = 0;
    const char *end = extra ? extra + extra_bytes : NULL;
    while (extra && extra < end) {
        const char *name_end = memchr(extra, '\0', (size_t)(end - extra));
        const char *value = name_end ? name_end + 1 : end;
        const char *stop = value < end ? memchr(value, '\0', (size_t)(end - value)) : NULL;
        if (!stop)
            break;
        size_t pair_bytes = (size_t)(stop + 1 - extra);
        if (pair_bytes <= sizeof err->extra - err->extra_bytes) {
            memcpy(err->extra + err->extra_bytes, extra, pair_bytes);
            err->extra_bytes += (uint32_t)pair_bytes;
        }
        extra = stop + 1;
    }
}

const char *od_code_name(od_code code)
{
    return (unsigned)code < OD_CODE_COUNT ? code_table[code].name : "INTERNAL";
}

od_code od_code_from_name(const char *name)
{
    for (unsigned i = 0; name && i < OD_CODE_COUNT; i++)
        if (strcmp(code_table[i].name, name) == 0)
            return (od_code)i;
    return OD_INTERNAL;
}

int od_code_grpc(od_code code)
{
    return (unsigned)code < OD_CODE_COUNT ? code_table[code].grpc : 13;
}

// A foreign server sends only the gRPC status; the first code of the table with that status is not always the
// best reading, so the choice is spelled out.
od_code od_code_from_grpc(int grpc_status)
{
    switch (grpc_status) {
    case 0:
        return OD_OK;
    case 1:
        return OD_CANCELLED;
    case 2:
        return OD_SQL; // UNKNOWN is what simple servers answer for any failed query
    case 3:
        return OD_INVALID;
    case 4:
        return OD_TIMEOUT;
    case 5:
        return OD_NOT_FOUND;
    case 6:
        return OD_EXISTS;
    case 7:
        return OD_FORBIDDEN;
    case 8:
        return OD_LIMIT;
    case 9:
        return OD_INVALID;
    case 10:
        return OD_SESSION_LOST;
    case 11:
        return OD_BATCH_GONE;
    case 12:
        return OD_UNSUPPORTED;
    case 14:
        return OD_UNAVAILABLE;
    case 15:
        return OD_CORRUPT;
    case 16:
        return OD_UNAUTHENTICATED;
    default:
        return OD_INTERNAL;
    }
}

bool od_code_retryable(od_code code)
{
    return (unsigned)code < OD_CODE_COUNT && code_table[code].retryable;
}
