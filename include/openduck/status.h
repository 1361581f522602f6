/* status.h - codes and the error struct of OpenDuck's C interface. */
#ifndef OPENDUCK_STATUS_H
#define OPENDUCK_STATUS_H

#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Name, gRPC status, may be retried unchanged, what it means. Numbers never change; new codes go to the end. */
#define OD_CODES(X)                                                                                                    \
    X(OK, 0, false, "success")                                                                                         \
    X(INTERNAL, 13, false, "a bug in OpenDuck")                                                                        \
    X(INVALID, 3, false, "the request or an argument is wrong")                                                        \
    X(SQL, 3, false, "DuckDB refused the statement; error_class says how")                                             \
    X(NOT_FOUND, 5, false, "no such database, snapshot, upload or execution")                                          \
    X(EXISTS, 6, false, "the name is taken")                                                                           \
    X(UNAUTHENTICATED, 16, false, "no token, or a wrong one")                                                          \
    X(FORBIDDEN, 7, false, "the token does not allow this")                                                            \
    X(NO_MEMORY, 8, true, "out of memory")                                                                             \
    X(LIMIT, 8, false, "a configured limit was reached; the message names it")                                         \
    X(BUSY, 14, true, "too many statements are queued; try again")                                                     \
    X(CANCELLED, 1, false, "cancelled by the caller")                                                                  \
    X(TIMEOUT, 4, false, "the deadline passed")                                                                        \
    X(UNAVAILABLE, 14, true, "the server cannot be reached or is stopping")                                            \
    X(DISCONNECTED, 14, false, "the connection broke and the result could not be resumed")                             \
    X(OUTCOME_UNKNOWN, 2, false, "the statement may or may not have taken effect")                                     \
    X(CATALOG_STALE, 9, true, "a table the statement was planned for has changed; run it again")                       \
    X(SESSION_LOST, 10, false, "the session is gone; its transaction was rolled back")                                 \
    X(BATCH_GONE, 11, false, "a batch below the acknowledged one was asked for")                                       \
    X(TICKET_INVALID, 7, false, "the ticket is forged, expired or of another server")                                  \
    X(SUPERSEDED, 10, false, "a newer stream took over this result")                                                   \
    X(CORRUPT, 15, false, "bytes fail verification")                                                                   \
    X(IO, 13, false, "reading or writing failed")                                                                      \
    X(UNSUPPORTED, 12, false, "not supported; the message says what is")                                               \
    X(READ_ONLY, 7, false, "a write where only reads are allowed")                                                     \
    X(LOCKED, 9, false, "another server holds the data directory")                                                     \
    X(RESULT_GONE, 9, false, "the statement took effect, but its result is no longer kept")                            \
    X(FENCED, 10, false, "another writer has taken over the database")                                                 \
    X(STALE, 10, true, "the stored state moved on; read it again")

typedef enum od_code {
#define OD_CODE_ENUM(name, grpc, retry, text) OD_##name,
    OD_CODES(OD_CODE_ENUM)
#undef OD_CODE_ENUM
        OD_CODE_COUNT
} od_code;

#define OD_ERROR_MESSAGE_BYTES 4096
#define OD_ERROR_EXTRA_BYTES 1024

/* Lives wherever the caller puts it; needs no release. Zero-initialise it. */
struct od_error {
    od_code code;
    bool retryable;
    /* DuckDB's exception type ("Catalog", "Binder", "Constraint", "Conversion", ...) or empty. */
    char error_class[32];
    char message[OD_ERROR_MESSAGE_BYTES];
    /* "name\0value\0" pairs: DuckDB's extra information. */
    char extra[OD_ERROR_EXTRA_BYTES];
    uint32_t extra_bytes;
};

#if defined(__GNUC__)
#define OD_CHECKED __attribute__((warn_unused_result))
#define OD_API __attribute__((visibility("default")))
#else
#define OD_CHECKED
#define OD_API
#endif

#ifdef __cplusplus
}
#endif

#endif
