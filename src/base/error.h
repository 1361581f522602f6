// error.h - the one error type of the project: a code returned, a message filled.
//
// Convention: a fallible function returns od_code and takes `struct od_error *err` last. err may be NULL. On
// success *err is untouched. On failure it is filled completely; a caller that adds context calls od_wrap, so a
// message reads from the outermost to the innermost step. Codes, gRPC statuses and retryability come from the one
// table below; docs/reference/errors.md is generated from it.
#ifndef OD_BASE_ERROR_H
#define OD_BASE_ERROR_H

#include "base/cdecl.h"
#include "openduck/status.h"

#include <stdarg.h>
#include <stddef.h>

OD_BEGIN_C

// Fills *err (if not NULL) with code and a printf-style message; returns code. Messages longer than
// OD_ERROR_MESSAGE_BYTES are cut and end in "...".
od_code od_fail(struct od_error *err, od_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
// The same with the errno of the failed system call: the text of os_errno is appended.
od_code od_fail_os(struct od_error *err, od_code code, int os_errno, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
// Prefixes "CONTEXT: " to the message already in *err; returns err's code (or `code` when err is NULL).
od_code od_wrap(struct od_error *err, od_code code, const char *format, ...) __attribute__((format(printf, 3, 4)));
// Sets the error's DuckDB exception class ("Catalog", "Constraint", ...) and extra information; both may be NULL.
// extra is a sequence of "name\0value\0" pairs of extra_bytes bytes; what does not fit is dropped pair by pair.
void od_error_set_class(struct od_error *err, const char *error_class, const char *extra, size_t extra_bytes);

#ifdef __clang_analyzer__ // tells the analyzer what the function returns, so that it follows only real paths
#define od_fail(err, code, ...) ((void)(od_fail)(err, code, __VA_ARGS__), (od_code)(code))
#define od_fail_os(err, code, ...) ((void)(od_fail_os)(err, code, __VA_ARGS__), (od_code)(code))
#endif

// Name of a code as it crosses the wire ("CATALOG_STALE"); never NULL.
const char *od_code_name(od_code code);
// Inverse of od_code_name; OD_INTERNAL for an unknown name.
od_code od_code_from_name(const char *name);
// gRPC status number for a code, and the code for a gRPC status of a foreign server.
int od_code_grpc(od_code code);
od_code od_code_from_grpc(int grpc_status);
// May the same request be tried again, unchanged?
bool od_code_retryable(od_code code);

// Jumps to `out:` when a call fails. The only control-flow macro of the project: the function has `od_code rc`.
#define OD_TRY(call)                                                                                                   \
    do {                                                                                                               \
        rc = (call);                                                                                                   \
        if (rc != OD_OK)                                                                                               \
            goto out;                                                                                                  \
    } while (0)

OD_END_C

#endif
