// runtime.c - starting, silencing and stopping the gRPC library; see runtime.h.
//
// The extension lives in other people's processes, so: no line of gRPC reaches standard error unless the user asked
// for it with GRPC_VERBOSITY (gRPC logs a refused connection as an error; here it is a returned od_error); no signal
// handler is set; after fork the child is told so instead of hanging on threads that do not exist there.
#include "rpc/runtime.h"

#include "base/log.h"

#include <grpc/grpc.h>
#include <grpc/support/log.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned references;
static atomic_int owner_pid; // of the process whose gRPC threads run; 0: not started

static _Thread_local char complaint[512];

static void log_line(gpr_log_func_args *line)
{
    // An assertion in gRPC aborts right after this line; its reason must not be lost.
    if (strstr(line->message, "assertion failed"))
        od_log(OD_LOG_ERROR, "grpc", "%s:%d: %s", line->file, line->line, line->message);
    else if (getenv("GRPC_VERBOSITY"))
        od_log(line->severity == GPR_LOG_SEVERITY_ERROR ? OD_LOG_ERROR : OD_LOG_INFO, "grpc", "%s:%d: %s", line->file,
               line->line, line->message);
    if (line->severity == GPR_LOG_SEVERITY_ERROR)
        snprintf(complaint, sizeof complaint, "%s", line->message);
}

const char *od_rpc_complaint(void)
{
    return complaint;
}

void od_rpc_complaint_clear(void)
{
    complaint[0] = '\0';
}

bool od_rpc_forked(void)
{
    int pid = atomic_load_explicit(&owner_pid, memory_order_relaxed);
    return pid != 0 && pid != (int)getpid();
}

od_code od_rpc_runtime_ref(struct od_error *err)
{
    if (od_rpc_forked())
        return od_fail(err, OD_UNSUPPORTED,
                       "this process was forked from one with open OpenDuck connections and cannot use gRPC; start it "
                       "with \"spawn\" or \"forkserver\", or close all connections before fork()");
    pthread_mutex_lock(&lock);
    if (references++ == 0) {
        gpr_set_log_function(log_line);
        grpc_init();
        atomic_store(&owner_pid, (int)getpid());
    }
    pthread_mutex_unlock(&lock);
    return OD_OK;
}

void od_rpc_runtime_unref(void)
{
    if (od_rpc_forked())
        return;
    pthread_mutex_lock(&lock);
    if (--references == 0) {
        atomic_store(&owner_pid, 0);
        grpc_shutdown();
    }
    pthread_mutex_unlock(&lock);
}

gpr_timespec od_rpc_deadline(uint64_t timeout_ms)
{
    if (timeout_ms == 0 || timeout_ms > INT64_MAX / 4)
        return gpr_inf_future(GPR_CLOCK_MONOTONIC);
    return gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_millis((int64_t)timeout_ms, GPR_TIMESPAN));
}
