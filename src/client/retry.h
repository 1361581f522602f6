// retry.h - may a failed attempt be made again, where, and after how long? Pure: the caller gives the clock and the
// randomness, and does the waiting.
//
//   R1  A request that may have reached a server is sent again only under its request id, first to the same endpoint,
//       because only that server can know it.
//   R2  Every run of attempts ends: by count (retries), by the deadline, or by the connect budget.
//   R3  Once an attempt may have reached a server, giving up says so (`reached`): the outcome is not known.
#ifndef OD_CLIENT_RETRY_H
#define OD_CLIENT_RETRY_H

#include "base/error.h"

OD_BEGIN_C

#define OD_RETRY_BUSY_MAX 64u // attempts against a busy server, however far the deadline is

struct od_retry_options {
    unsigned retries;        // of each kind of failure
    size_t endpoints;        // that may be tried in turn
    uint64_t connect_ms;     // for reaching one endpoint; all together may take endpoints times as long
    uint64_t deadline_ms;    // on the caller's clock; UINT64_MAX: none
    uint64_t now_ms;
    uint64_t seed;
    bool resend;             // the request carries a request id or is idempotent: R1 applies; false: never again
};

struct od_retry {
    struct od_retry_options options;
    uint64_t random;
    unsigned rounds;      // of all endpoints that could not be reached
    unsigned disconnects;
    unsigned busy;
    size_t round_position;
    bool reached;
};

enum od_retry_verdict { OD_RETRY_STOP, OD_RETRY_SAME, OD_RETRY_NEXT };
struct od_retry_step {
    enum od_retry_verdict verdict;
    uint64_t wait_ms;
};

void od_retry_init(struct od_retry *retry, const struct od_retry_options *options);
struct od_retry_step od_retry_after(struct od_retry *retry, od_code failure, uint64_t now_ms);
// A pause before attempt n of something that is repeated (0: the first repetition): 50 ms doubling to 2 s, jittered.
uint64_t od_retry_pause_ms(uint64_t *random, unsigned n);

OD_END_C

#endif
