// fake_server.h - a server inside the test that keeps to a script: it loses answers, breaks streams, sends wrong
// numbers, lies about the end, hangs. What it saw is there to be asserted on.
//
// Its result is one column of BIGINT: batch n has `rows` rows with the values n * rows, n * rows + 1, ...
#ifndef TESTS_CLIENT_FAKE_SERVER_H
#define TESTS_CLIENT_FAKE_SERVER_H

#include "arrow/batch.h"
#include "base/limits.h"
#include "openduck/arrow.h"
#include "openduck/client.h"
#include "rpc/server.h"

#include <pthread.h>

#define FAKE_SEEN_MAX 32
#define FAKE_HANG ((od_code)100) // as a step of Execute: no answer

struct fake_seen_execute {
    char request_id[64], session_id[64], first_incarnation[128], sql[64];
    uint64_t sequence;
};

struct fake {
    struct od_rpc_server *server;
    char address[64];
    pthread_mutex_t lock;
    pthread_cond_t changed;

    // ---- script
    od_code execute_steps[8]; // the n-th Execute fails so; OD_OK: it answers
    bool native;              // false: UNIMPLEMENTED but for ExecuteFragment
    unsigned inline_batches, batches;
    unsigned rows;            // of a batch
    unsigned cut_after;       // a stream breaks after so many batches, `cuts` times
    unsigned cuts;
    od_code cut_code;
    unsigned skip_at;         // number of this batch is one too high (0: never)
    int64_t lie_batches, lie_rows; // added to the totals of the end
    bool no_end;              // the call ends without one
    bool garbage_at_end;      // instead of the end
    bool wrong_rows;          // a batch claims one row more than it has
    bool damaged;             // batch 1's Arrow bytes are overwritten
    bool stall;               // the stream sends nothing
    bool no_finished;         // ExecuteFragment without the last message
    uint64_t upload_window;
    unsigned upload_cut_after; // an upload breaks when so many batches have come, once

    // ---- seen
    unsigned executes, streams, cancels, closes, server_infos, fragments, uploads;
    struct fake_seen_execute seen[FAKE_SEEN_MAX];
    uint64_t first_batches[FAKE_SEEN_MAX];
    uint64_t acknowledged;   // highest
    uint64_t in_flight_max;  // bytes
    char cancelled_id[64];
    unsigned streams_closed, streams_cancelled;
    uint64_t upload_batches, upload_rows;
    int64_t upload_sum;
    bool upload_finished;
    unsigned calls; // open now
};

void fake_start(struct fake *fake);
void fake_stop(struct fake *fake);
// Waits at most ten seconds for a counter to reach a value; fails the test otherwise.
void fake_await(struct fake *fake, const unsigned *counter, unsigned value);
struct od_client *fake_client(const struct fake *fake);

// BIGINT rows from, from + 1, ... as an array; and the schema of one such column.
void make_schema(struct ArrowSchema *schema);
void make_array(struct ArrowArray *array, int64_t from, unsigned rows);

#endif
