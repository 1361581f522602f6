// trace.h - the client's trace context: which of its statements a request belongs to.
#ifndef OD_SERVER_TRACE_H
#define OD_SERVER_TRACE_H

#include "base/error.h"

OD_BEGIN_C

#define OD_TRACE_ID_BYTES 33u

// The trace id in a W3C traceparent ("00-TRACE-SPAN-FLAGS"), 32 lower-case digits; empty when there is none, or no valid
// one: what a server cannot read it ignores.
void od_trace_id(const char *traceparent, char out[OD_TRACE_ID_BYTES]);
// Adds it to an error's extra information as "trace_id", unless it is empty or there already.
void od_trace_mark(const char *trace_id, struct od_error *error);

OD_END_C

#endif
