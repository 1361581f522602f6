// thread.h - starting and joining threads, and condition variables that wait on the monotonic clock.
//
// Mutexes are plain pthread mutexes. Threads block the signals meant for the process, so that handlers of the
// program (or of the host, when this runs inside somebody's Python) run where the host expects them.
#ifndef OD_OS_THREAD_H
#define OD_OS_THREAD_H

#include "base/cdecl.h"
#include "base/error.h"

#include <pthread.h>

OD_BEGIN_C

// Must stay in place from start to join.
struct od_thread {
    pthread_t handle;
    bool started;
    void (*run)(void *argument);
    void *argument;
};

// name: for debuggers and `top -H`, at most 15 characters are kept.
OD_CHECKED od_code od_thread_start(struct od_thread *thread, const char *name, void (*run)(void *argument),
                                   void *argument, struct od_error *err);
void od_thread_join(struct od_thread *thread); // harmless when not started or already joined
bool od_thread_is_current(const struct od_thread *thread);

void od_cond_init(pthread_cond_t *cond); // pthread_cond_destroy as usual
// Waits until signalled or until od_clock_ms() reaches at_ms (UINT64_MAX: for ever). False: the time came.
// Like every condition wait it may return early: check what you wait for in a loop.
bool od_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t at_ms);

OD_END_C

#endif
