// thread.c - threads with their signals blocked, and monotonic waits.
#include "os/thread.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <time.h>

static void *thread_main(void *opaque)
{
    struct od_thread *thread = opaque;
    thread->run(thread->argument);
    return NULL;
}

// Signals of the process are blocked; those that a thread raises by its own fault are not.
static void process_signals(sigset_t *signals)
{
    static const int own_faults[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGTRAP, SIGSYS, SIGPROF};
    sigfillset(signals);
    for (size_t i = 0; i < sizeof own_faults / sizeof *own_faults; i++)
        sigdelset(signals, own_faults[i]);
}

od_code od_thread_start(struct od_thread *thread, const char *name, void (*run)(void *argument), void *argument,
                        struct od_error *err)
{
    *thread = (struct od_thread){.run = run, .argument = argument};
    sigset_t blocked, before;
    process_signals(&blocked);
    pthread_sigmask(SIG_BLOCK, &blocked, &before);
    int failed = od_fault_point() ? EAGAIN : pthread_create(&thread->handle, NULL, thread_main, thread);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed)
        return od_fail_os(err, OD_NO_MEMORY, failed, "cannot start thread %s", name);
    char kept[16];
    snprintf(kept, sizeof kept, "%s", name);
    pthread_setname_np(thread->handle, kept);
    thread->started = true;
    return OD_OK;
}

void od_thread_join(struct od_thread *thread)
{
    if (!thread->started)
        return;
    int failed = pthread_join(thread->handle, NULL);
    od_assert(failed == 0);
    thread->started = false;
}

bool od_thread_is_current(const struct od_thread *thread)
{
    return thread->started && pthread_equal(thread->handle, pthread_self());
}

void od_cond_init(pthread_cond_t *cond)
{
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(cond, &attributes);
    pthread_condattr_destroy(&attributes);
}

bool od_cond_wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t at_ms)
{
    const uint64_t farthest_s = INT32_MAX; // 68 years after boot is for ever
    if (at_ms / 1000 >= farthest_s) {
        pthread_cond_wait(cond, mutex);
        return true;
    }
    struct timespec at = {.tv_sec = (time_t)(at_ms / 1000), .tv_nsec = (long)(at_ms % 1000) * 1000000};
    return pthread_cond_timedwait(cond, mutex, &at) != ETIMEDOUT;
}
