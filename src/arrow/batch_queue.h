// batch_queue.h - encoded batches on their way from DuckDB's threads to one consumer: ordered, bounded, non-blocking.
//
// Producers are pipeline sinks, which must never wait: they ask od_batch_queue_full first, and when it says yes they
// leave a waker and return BLOCKED without touching their chunk. The consumer pops what may be sent.
//
// Invariants:
//   Q1  In an ordered queue a batch is given out only when no batch with a smaller index can still be pushed.
//   Q2  The producer that owns the smallest index is never told "full" because of batches ahead of it.
//   Q3  Every waker left with od_batch_queue_full is called exactly once: on room, advance, stop or finish.
//   Q4  Wakers and the consumer's callback run outside the queue's lock.
//   Q5  Bytes counted in the budget equal held_bytes of the batches inside.
//   Q6  After stop, full() says no, push() drops: producers finish at once.
//   Q7  While a queue spills, nobody is held back: what is pushed goes into its store and takes no memory. It spills from
//       od_batch_queue_spill on until the consumer has taken all there is.
#ifndef OD_ARROW_BATCH_QUEUE_H
#define OD_ARROW_BATCH_QUEUE_H

#include "arrow/batch.h"

OD_BEGIN_C

// Something to call later, once or many times as the function it is given to says.
struct od_waker {
    void (*wake)(void *argument);
    void *argument;
};

// A byte budget shared by many queues. Each queue may always hold `guaranteed` bytes; beyond that all together may
// hold `limit` (producers ask first and push afterwards, so the count may pass it by one batch a producer).
// Thread-safe. Queues blocked by the budget are woken when another queue gives bytes back. NULL: out of memory.
struct od_budget;
struct od_budget *od_budget_new(uint64_t limit_bytes, uint64_t guaranteed_bytes);
void od_budget_free(struct od_budget *budget); // after all queues
uint64_t od_budget_used(const struct od_budget *budget);

struct od_batch_queue_options {
    struct od_budget *budget; // may be NULL
    bool ordered;             // give out by batch index, not by arrival
    uint64_t sendable_bytes;  // full when this much may be sent (0: OD_QUEUE_SENDABLE_BYTES)
    uint64_t ahead_bytes;     // ordered: full for producers ahead of the smallest index beyond this
                              // (0: OD_QUEUE_AHEAD_BYTES)
};

// Where a queue puts batches that its consumer leaves lying (Q7): each is written once, and read at most once. Both
// functions may be called by several threads at once.
struct od_batch_store_ops {
    od_code (*write)(void *self, const struct od_batch *batch, uint64_t *place, struct od_error *err);
    od_code (*read)(void *self, uint64_t place, size_t bytes, uint64_t rows, struct od_batch **batch,
                    struct od_error *err);
    void (*free)(void *self);
};

struct od_batch_queue;
OD_CHECKED od_code od_batch_queue_new(const struct od_batch_queue_options *options, struct od_batch_queue **queue,
                                      struct od_error *err);
struct od_batch_queue *od_batch_queue_ref(struct od_batch_queue *queue);
void od_batch_queue_unref(struct od_batch_queue *queue);

// ---- producers (any number of threads)
// True: no room; `waker` will be called once (Q3). False: go on, the waker is dropped.
bool od_batch_queue_full(struct od_batch_queue *queue, uint64_t index, struct od_waker waker);
// Takes the batch. Batches of one index keep their push order. Never fails: a stopped or finished queue drops it, and
// without memory for the queue itself the queue finishes with OD_NO_MEMORY.
void od_batch_queue_push(struct od_batch_queue *queue, uint64_t index, struct od_batch *batch);
// No batch below `index` will be pushed any more (DuckDB's min_batch_index). Never moves back.
void od_batch_queue_advance(struct od_batch_queue *queue, uint64_t index);
// The end: everything pushed may be given out, then END - or, with an error, FAILED at once (pending batches are
// dropped). The first call counts; later ones are ignored.
void od_batch_queue_finish(struct od_batch_queue *queue, const struct od_error *failure);
// Producers may finish: nothing they push is wanted any more.
bool od_batch_queue_stopped(const struct od_batch_queue *queue);
// True: producers wait for the consumer.
bool od_batch_queue_blocked(struct od_batch_queue *queue);
// Begins to spill and lets all producers go on. Takes `store`: it is freed with the queue, or at once when the queue has
// one already, which is then used. When a batch cannot be written or read the queue fails with the store's error.
void od_batch_queue_spill(struct od_batch_queue *queue, const struct od_batch_store_ops *ops, void *store);

// ---- the consumer (one thread at a time)
enum od_pop { OD_POP_BATCH, OD_POP_EMPTY, OD_POP_END, OD_POP_FAILED };
// Never waits. BATCH gives one reference. FAILED fills err.
enum od_pop od_batch_queue_pop(struct od_batch_queue *queue, struct od_batch **batch, struct od_error *err);
// The same, waiting at most timeout_ms for something other than EMPTY.
enum od_pop od_batch_queue_wait(struct od_batch_queue *queue, uint64_t timeout_ms, struct od_batch **batch,
                                struct od_error *err);
// Called (many times, from any thread, Q4) when pop may answer other than EMPTY. Set it before producers start.
void od_batch_queue_on_ready(struct od_batch_queue *queue, struct od_waker callback);
// The consumer is gone or wants no more. Pending batches are dropped; pop answers FAILED (OD_CANCELLED) from now on,
// unless everything had been given out before. Does not call the ready callback, and neither does anything later; a
// call that another thread has begun may still be running when this returns.
void od_batch_queue_stop(struct od_batch_queue *queue);
// Bytes that could be popped now, and all bytes inside.
uint64_t od_batch_queue_sendable_bytes(struct od_batch_queue *queue);
uint64_t od_batch_queue_held_bytes(struct od_batch_queue *queue);

OD_END_C

#endif
