// read_ahead.h - batches between the thread that receives them and the one consumer: bounded, in order.
//
//   A1  The producer waits while `limit` bytes or more are inside (so one batch may overshoot); it is our own thread.
//   A2  A waker left by pop is called exactly once: on a batch, the end, a failure, or stop. Outside the lock. Several
//       may be left, as several scan threads may have asked; all are called (and beyond OD_WAKERS_MAX the first at once).
//   A3  A failure is told at once; batches that wait are dropped, for the result is void.
//   A4  After stop push drops and says so; pop answers FAILED with OD_CANCELLED, unless the end had been told.
// Threads: one producer, one consumer; stop from any.
#ifndef OD_CLIENT_READ_AHEAD_H
#define OD_CLIENT_READ_AHEAD_H

#include "arrow/batch_queue.h"

#include <pthread.h>

OD_BEGIN_C

#define OD_WAKERS_MAX 64u

struct od_read_ahead {
    pthread_mutex_t lock;
    pthread_cond_t readable;
    pthread_cond_t writable;
    struct od_batch **ring;
    size_t capacity, head, count;
    uint64_t bytes, limit;
    enum { OD_READ_AHEAD_OPEN, OD_READ_AHEAD_ENDED, OD_READ_AHEAD_FAILED } state;
    bool stopped;
    bool end_told;
    struct od_waker wakers[OD_WAKERS_MAX];
    size_t waker_count;
    struct od_error failure;
};

void od_read_ahead_init(struct od_read_ahead *ahead, uint64_t limit);
void od_read_ahead_release(struct od_read_ahead *ahead);

// ---- the producer
// Would push wait? For what should be done before a long wait.
bool od_read_ahead_full(struct od_read_ahead *ahead);
// Takes the batch, waiting for room. False: stopped (the batch is dropped), or no memory (then it has failed).
bool od_read_ahead_push(struct od_read_ahead *ahead, struct od_batch *batch);
void od_read_ahead_finish(struct od_read_ahead *ahead, const struct od_error *failure); // NULL: the end

// ---- the consumer
// See od_query_next_batch for the waker.
enum od_pop od_read_ahead_pop(struct od_read_ahead *ahead, struct od_batch **batch, struct od_waker waker,
                              struct od_error *err);
void od_read_ahead_stop(struct od_read_ahead *ahead);

OD_END_C

#endif
