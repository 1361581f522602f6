// queue.c - a completion queue and its two threads: one polls it and runs the callbacks, the other stands by.
//
// What a call asks for is done soonest by the thread that received it: nobody has to be woken, and when the answer leaves the
// queue is polled again by who sent it. So a callback may leave work behind (od_rpc_run_here), which its thread does after
// it, while nobody polls. The standby looks every LOOK_MS, and takes the queue over from work that it sees twice: other calls
// wait 2 * LOOK_MS for it at most. Where calls come thick and fast nobody should wait for another's work at all: once a call
// was found waiting after a work, there is none for CROWDED_MS.
//
// Invariants
//   P1  One thread at a time polls and runs callbacks: `holder`. It is changed under the lock, by the standby alone, and
//       only while the holder is at work.
//   P2  Work is accepted only while the other thread stands by.
//   P3  The standby sleeps without a limit only while `asleep` says so; who begins work then wakes it.
#include "rpc/queue.h"

#include "os/clock.h"
#include "rpc/runtime.h"

#define LOOK_MS 2u
#define LOOKS_IDLE 25u // so many without any work, then the standby sleeps
#define CROWDED_MS 100u

static _Thread_local struct od_queue_thread *here;

// Waits until the queue is the thread's; false: it is shut down.
static bool stand_by(struct od_queue_thread *thread)
{
    struct od_queue *queue = thread->queue;
    pthread_mutex_lock(&queue->lock);
    uint64_t seen = queue->works;
    unsigned idle = 0;
    bool looked = false; // at the work that is going on
    queue->standing_by = true;
    while (!queue->over && queue->holder && !(looked && queue->working && queue->works == seen)) {
        idle = queue->works == seen ? idle + 1 : 0;
        seen = queue->works;
        looked = queue->working;
        if (idle < LOOKS_IDLE || looked) {
            (void)od_cond_wait_until(&queue->changed, &queue->lock, od_clock_ms() + LOOK_MS);
            continue;
        }
        queue->asleep = true;
        (void)od_cond_wait_until(&queue->changed, &queue->lock, UINT64_MAX);
        queue->asleep = false;
        idle = 0;
    }
    queue->standing_by = false;
    bool mine = !queue->over;
    if (mine) {
        queue->holder = thread;
        queue->working = false;
        queue->draining = false;
    }
    pthread_mutex_unlock(&queue->lock);
    return mine;
}

// Does what the callback left behind. False: the queue is another thread's now.
static bool work(struct od_queue_thread *thread)
{
    struct od_queue *queue = thread->queue;
    void (*run)(void *argument) = thread->run;
    thread->run = NULL;
    pthread_mutex_lock(&queue->lock);
    queue->works++;
    queue->working = true;
    if (queue->asleep)
        pthread_cond_signal(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
    run(thread->argument);
    pthread_mutex_lock(&queue->lock);
    bool mine = queue->holder == thread;
    if (mine) {
        queue->working = false;
        queue->draining = true;
    }
    pthread_mutex_unlock(&queue->lock);
    return mine;
}

static gpr_timespec next_look(struct od_queue *queue)
{
    uint64_t due = queue->delayed ? od_call_run_delayed(queue) : UINT64_MAX;
    if (queue->draining)
        return gpr_time_0(GPR_CLOCK_MONOTONIC);
    if (due == UINT64_MAX)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    uint64_t now = od_clock_ms();
    return od_rpc_deadline(due > now ? due - now : 1);
}

// Polls; returns true when another thread has taken the queue over, false when it is shut down.
static bool serve(struct od_queue_thread *thread)
{
    struct od_queue *queue = thread->queue;
    for (;;) {
        grpc_event event = grpc_completion_queue_next(queue->core, next_look(queue), NULL);
        if (event.type == GRPC_QUEUE_SHUTDOWN)
            return false;
        if (event.type == GRPC_OP_COMPLETE) {
            struct od_tag *tag = event.tag;
            thread->calling = true;
            tag->run(tag, event.success != 0);
            thread->calling = false;
        } else {
            queue->draining = false;
        }
        if (thread->run && !work(thread))
            return true;
    }
}

static void queue_thread(void *argument)
{
    struct od_queue_thread *thread = argument;
    struct od_queue *queue = thread->queue;
    here = thread;
    while (stand_by(thread) && serve(thread)) {
    }
    pthread_mutex_lock(&queue->lock);
    queue->over = true;
    pthread_cond_broadcast(&queue->changed);
    pthread_mutex_unlock(&queue->lock);
}

bool od_rpc_run_here(void (*run)(void *argument), void *argument)
{
    struct od_queue_thread *thread = here;
    if (!thread || !thread->calling || thread->run || od_clock_ms() < thread->queue->crowded_until_ms)
        return false;
    pthread_mutex_lock(&thread->queue->lock);
    bool accepted = thread->queue->standing_by;
    pthread_mutex_unlock(&thread->queue->lock);
    if (accepted) {
        thread->run = run;
        thread->argument = argument;
    }
    return accepted;
}

void od_queue_arrived(struct od_queue *queue)
{
    if (queue->draining)
        queue->crowded_until_ms = od_clock_ms() + CROWDED_MS;
}

void od_queue_init(struct od_queue *queue)
{
    pthread_mutex_init(&queue->lock, NULL);
    od_cond_init(&queue->changed);
    queue->core = grpc_completion_queue_create_for_next(NULL);
    for (unsigned i = 0; i < OD_QUEUE_THREADS; i++)
        queue->threads[i].queue = queue;
}

od_code od_queue_start(struct od_queue *queue, struct od_error *err)
{
    od_code rc = OD_OK;
    for (unsigned i = 0; rc == OD_OK && i < OD_QUEUE_THREADS; i++)
        rc = od_thread_start(&queue->threads[i].thread, "grpc-server", queue_thread, &queue->threads[i], err);
    return rc;
}

void od_queue_shutdown(struct od_queue *queue)
{
    grpc_completion_queue_shutdown(queue->core);
}

void od_queue_join(struct od_queue *queue)
{
    if (!queue->threads[0].thread.started)
        (void)serve(&queue->threads[0]); // returns when the queue is empty
    for (unsigned i = 0; i < OD_QUEUE_THREADS; i++)
        if (queue->threads[i].thread.started)
            od_thread_join(&queue->threads[i].thread);
    od_call_drop_delayed(queue);
}

void od_queue_free(struct od_queue *queue)
{
    grpc_completion_queue_destroy(queue->core);
    pthread_cond_destroy(&queue->changed);
    pthread_mutex_destroy(&queue->lock);
}
