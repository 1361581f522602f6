// queue.h - a completion queue of the server with its threads. Who polls, and who does the work of the calls, is in queue.c.
#ifndef OD_RPC_QUEUE_H
#define OD_RPC_QUEUE_H

#include "os/thread.h"
#include "rpc/server.h"

#include <grpc/grpc.h>

#include <pthread.h>

OD_BEGIN_C

// What a completion queue hands back: every started operation points to one of these.
struct od_tag {
    void (*run)(struct od_tag *tag, bool ok);
};

enum { OD_QUEUE_THREADS = 2 };

struct od_queue_thread {
    struct od_queue *queue;
    struct od_thread thread;
    bool calling;                // inside a callback
    void (*run)(void *argument); // what the callback has left to do; NULL: nothing
    void *argument;
};

// Calls that wait for time to pass hang in `delayed`, first the one that is due first.
struct od_queue {
    grpc_completion_queue *core;
    struct od_queue_thread threads[OD_QUEUE_THREADS];

    // ---- the holder's
    struct od_call *delayed, *delayed_last;
    uint64_t crowded_until_ms;
    bool draining; // taking what came during a work

    // ---- under the lock
    pthread_mutex_t lock;
    pthread_cond_t changed; // for the standby
    struct od_queue_thread *holder;
    bool standing_by, asleep, over;
    bool working;   // the holder is
    uint64_t works; // begun so far
};

void od_queue_init(struct od_queue *queue);
OD_CHECKED od_code od_queue_start(struct od_queue *queue, struct od_error *err);
void od_queue_shutdown(struct od_queue *queue);
// After od_queue_shutdown: returns when everything has been taken from it. Also of a queue that was not started.
void od_queue_join(struct od_queue *queue);
void od_queue_free(struct od_queue *queue);
// In the callback of a call's arrival.
void od_queue_arrived(struct od_queue *queue);

// call.c: runs what is due in queue->delayed. Returns when to come again (od_clock_ms; UINT64_MAX: nothing waits).
uint64_t od_call_run_delayed(struct od_queue *queue);
void od_call_drop_delayed(struct od_queue *queue);

OD_END_C

#endif
