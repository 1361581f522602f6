// link.h - the endpoints of a client and the unary calls over them: fail-over, safe retries, deadlines.
//
// The endpoint that worked last is asked first. A call may be pinned to one endpoint (a session, a stream and an
// upload live on one server). Retries follow retry.h.
// Threads: everything here is called by any thread.
#ifndef OD_CLIENT_LINK_H
#define OD_CLIENT_LINK_H

#include "base/limits.h"
#include "client/endpoint.h"
#include "rpc/channel.h"

#include <pthread.h>
#include <stdatomic.h>

OD_BEGIN_C

#define OD_INCARNATION_BYTES 128u
// Sent as first_incarnation when the first server's is not known. It equals no server's, so a server that does not
// know the request answers OUTCOME_UNKNOWN for a write instead of perhaps running it twice.
#define OD_INCARNATION_UNKNOWN "unknown"
#define OD_ENDPOINT_ANY SIZE_MAX

// What a server has shown to speak.
enum od_dialect { OD_DIALECT_UNTRIED, OD_DIALECT_NATIVE, OD_DIALECT_FRAGMENT };

struct od_link_endpoint {
    char *text;
    struct od_channel *channel;
    char incarnation[OD_INCARNATION_BYTES]; // of the server last heard there, or empty; under the lock
    enum od_dialect dialect;                // under the lock
};

struct od_link_options {
    const struct od_endpoint_list *endpoints;
    const char *token;
    const char *tls_ca_pem, *tls_certificate_pem, *tls_key_pem;
    uint64_t connect_timeout_ms;
    unsigned retries;
};

struct od_link {
    pthread_mutex_t lock;
    struct od_link_endpoint endpoints[OD_ENDPOINTS_MAX];
    size_t count;
    size_t current; // under the lock
    char *token;
    uint64_t connect_timeout_ms;
    unsigned retries;
    struct od_cancel *closing; // given to calls nobody else can cancel; fired by od_link_close
    atomic_uint_fast64_t retried;
};

OD_CHECKED od_code od_link_open(struct od_link *link, const struct od_link_options *options, struct od_error *err);
void od_link_close(struct od_link *link);

struct od_link_call {
    const char *method;
    struct od_segment request;
    // Appended to the request when it is sent again after it may have reached a server: protobuf takes fields in any
    // order. Called with the incarnation of the server first asked. NULL: the request is idempotent as it is.
    od_code (*resend)(void *argument, const char *first_incarnation, struct od_segment *suffix, struct od_error *err);
    void *argument;
    bool once;            // neither idempotent nor recognised: never sent again when it may have arrived
    size_t endpoint;      // OD_ENDPOINT_ANY, or the only one to ask
    uint64_t deadline_ms; // on od_clock_ms; UINT64_MAX: none
    struct od_cancel *cancel;
};

// On success *reply is the caller's. *answered is the endpoint that was asked last. On failure *reached (may be NULL)
// says whether an attempt may have reached a server whose answer was lost.
OD_CHECKED od_code od_link_send(struct od_link *link, const struct od_link_call *call, struct od_received *reply,
                                size_t *answered, bool *reached, struct od_error *err);

size_t od_link_current(struct od_link *link);
void od_link_prefer(struct od_link *link, size_t endpoint);
// A server at `endpoint` has shown its incarnation and dialect.
void od_link_heard(struct od_link *link, size_t endpoint, const char *incarnation, enum od_dialect dialect);
enum od_dialect od_link_dialect(struct od_link *link, size_t endpoint);
void od_link_incarnation(struct od_link *link, size_t endpoint, char out[OD_INCARNATION_BYTES]);

// Milliseconds until a deadline for a gRPC timeout: a little longer, so that the server's own, better worded timeout
// comes first. 0: none. OD_TIMEOUT when it has passed.
OD_CHECKED od_code od_deadline_left(uint64_t deadline_ms, uint64_t *timeout_ms, struct od_error *err);
// Sleeps; false when `cancel` was fired meanwhile.
bool od_pause(uint64_t ms, struct od_cancel *cancel);

OD_END_C

#endif
