// trace.c - see trace.h.
#include "server/trace.h"

#include <string.h>

#define TRACE_AT 3u // after the version and a dash
#define TRACE_DIGITS (OD_TRACE_ID_BYTES - 1)
#define SPAN_DIGITS 16u

static size_t digits(const char *text)
{
    return strspn(text, "0123456789abcdef");
}

void od_trace_id(const char *traceparent, char out[OD_TRACE_ID_BYTES])
{
    out[0] = '\0';
    if (!traceparent || digits(traceparent) != 2 || traceparent[2] != '-' || strncmp(traceparent, "ff", 2) == 0)
        return;
    const char *trace = traceparent + TRACE_AT;
    if (digits(trace) != TRACE_DIGITS || trace[TRACE_DIGITS] != '-' || strspn(trace, "0") == TRACE_DIGITS)
        return;
    const char *span = trace + TRACE_DIGITS + 1;
    if (digits(span) != SPAN_DIGITS || span[SPAN_DIGITS] != '-' || strspn(span, "0") == SPAN_DIGITS)
        return;
    memcpy(out, trace, TRACE_DIGITS);
    out[TRACE_DIGITS] = '\0';
}

void od_trace_mark(const char *trace_id, struct od_error *error)
{
    static const char name[] = "trace_id";
    size_t bytes = sizeof name + OD_TRACE_ID_BYTES;
    if (!trace_id[0] || error->extra_bytes > sizeof error->extra || sizeof error->extra - error->extra_bytes < bytes)
        return;
    for (size_t at = 0; at < error->extra_bytes;) {
        if (strcmp(error->extra + at, name) == 0)
            return;
        at += strlen(error->extra + at) + 1; // a name
        at += at < error->extra_bytes ? strlen(error->extra + at) + 1 : 0;
    }
    memcpy(error->extra + error->extra_bytes, name, sizeof name);
    memcpy(error->extra + error->extra_bytes + sizeof name, trace_id, OD_TRACE_ID_BYTES);
    error->extra_bytes += (uint32_t)bytes;
}
