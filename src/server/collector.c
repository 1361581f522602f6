#include "server/collector.h"

#include "base/alloc.h"
#include "base/log.h"
#include "os/clock.h"
#include "os/thread.h"

#include <inttypes.h>

struct od_collector {
    struct od_store *store;
    struct od_collect_policy policy;
    uint64_t interval_ms;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool stopping;
    struct od_thread thread;
};

static void collect(const struct od_collector *collector)
{
    struct od_collect_result result;
    struct od_error err;
    if (od_store_collect(collector->store, &collector->policy, &result, &err) != OD_OK)
        od_log(OD_LOG_WARN, "server", "nothing was collected: %s", err.message);
    else if (result.failed)
        od_log(OD_LOG_WARN, "server", "%" PRIu64 " steps of a collection failed: %s", result.failed,
               result.failure.message);
    else if (result.deleted || result.snapshots)
        od_log(OD_LOG_INFO, "server", "collected: %" PRIu64 " layers of %" PRIu64 " bytes, %" PRIu64 " snapshots",
               result.deleted, result.bytes, result.snapshots);
}

static void run(void *argument)
{
    struct od_collector *collector = argument;
    pthread_mutex_lock(&collector->lock);
    while (!collector->stopping) {
        uint64_t at = od_clock_ms() + collector->interval_ms;
        while (!collector->stopping && od_cond_wait_until(&collector->wake, &collector->lock, at))
            ; // woken before the time
        if (collector->stopping)
            break;
        pthread_mutex_unlock(&collector->lock);
        collect(collector);
        pthread_mutex_lock(&collector->lock);
    }
    pthread_mutex_unlock(&collector->lock);
}

od_code od_collector_start(struct od_store *store, const struct od_collect_policy *policy, uint64_t interval_ms,
                           struct od_collector **out, struct od_error *err)
{
    struct od_collector *collector = od_calloc(1, sizeof *collector);
    *out = NULL;
    if (!collector)
        return od_fail(err, OD_NO_MEMORY, "no memory for collecting");
    collector->store = store;
    collector->policy = *policy;
    collector->interval_ms = interval_ms;
    pthread_mutex_init(&collector->lock, NULL);
    od_cond_init(&collector->wake);
    od_code rc = od_thread_start(&collector->thread, "od-collect", run, collector, err);
    if (rc == OD_OK)
        *out = collector;
    else
        od_collector_stop(collector);
    return rc;
}

void od_collector_stop(struct od_collector *collector)
{
    if (!collector)
        return;
    pthread_mutex_lock(&collector->lock);
    collector->stopping = true;
    pthread_cond_signal(&collector->wake);
    pthread_mutex_unlock(&collector->lock);
    od_thread_join(&collector->thread);
    pthread_cond_destroy(&collector->wake);
    pthread_mutex_destroy(&collector->lock);
    od_free(collector);
}
