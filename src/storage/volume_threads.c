// volume_threads.c - what runs in the background of a volume: flushing for waiters without a thread of their own and for bulk
// loads, watermarks of idle volumes; sealing, publishing; keeping the lease.
#include "storage/store_internal.h"

#include "base/limits.h"
#include "base/log.h"
#include "os/clock.h"

#define FLUSH_STEP_BYTES (8 * OD_MIB)
#define MAINTAIN_MS 1000u
#define RETRY_MS 200u

static void run_flusher(void *argument)
{
    struct od_volume *volume = argument;
    pthread_mutex_lock(&volume->lock);
    while (!volume->stopping && !volume->poisoned) {
        bool flush = volume->waiters || volume->tail - volume->synced >= FLUSH_STEP_BYTES;
        if (!flush && od_cond_wait_until(&volume->work, &volume->lock, od_clock_ms() + OD_WATERMARK_MS))
            continue;
        pthread_mutex_unlock(&volume->lock);
        od_code rc = flush ? OD_OK : od_volume_watermark(volume, NULL);
        if (rc == OD_OK)
            rc = od_volume_flush(volume, NULL);
        if (rc != OD_OK && rc != OD_LIMIT)
            od_log(OD_LOG_ERROR, "storage", "flushing %s: %s", volume->name, od_code_name(rc));
        pthread_mutex_lock(&volume->lock);
    }
    pthread_mutex_unlock(&volume->lock);
    od_volume_answer(volume);
}

static void run_sealer(void *argument)
{
    struct od_volume *volume = argument;
    od_code rc = OD_OK;
    uint64_t told_ms = 0, maintained_ms = 0;
    pthread_mutex_lock(&volume->lock);
    while (!volume->stopping && !volume->poisoned) {
        // After a failure nobody hurries it.
        uint64_t until = od_clock_ms() + (rc == OD_OK ? MAINTAIN_MS : RETRY_MS);
        bool early = rc == OD_OK;
        while (!volume->stopping && !volume->poisoned && !(early && od_volume_ship_wanted(volume)))
            if (!od_cond_wait_until(&volume->seal, &volume->lock, until) || early)
                break;
        if (volume->stopping || volume->poisoned)
            break;
        bool ship = od_volume_ship_wanted(volume);
        pthread_mutex_unlock(&volume->lock);
        struct od_error err;
        rc = ship ? od_volume_ship(volume, &err) : OD_OK;
        if (rc == OD_OK && (!ship || od_clock_ms() >= maintained_ms + MAINTAIN_MS)) {
            rc = od_volume_maintain(volume, &err);
            maintained_ms = od_clock_ms();
        }
        if (rc != OD_OK && od_clock_ms() >= told_ms + MAINTAIN_MS) {
            od_log(OD_LOG_WARN, "storage", "sealing %s: %s", volume->name, err.message);
            told_ms = od_clock_ms();
        }
        pthread_mutex_lock(&volume->lock);
    }
    pthread_mutex_unlock(&volume->lock);
}

// A thread of its own: an upload may take longer than a lease.
static void run_leaser(void *argument)
{
    struct od_volume *volume = argument;
    pthread_mutex_lock(&volume->lock);
    while (!volume->stopping && !volume->poisoned) {
        if (od_cond_wait_until(&volume->stop, &volume->lock, od_clock_ms() + OD_LEASE_US / 3000))
            continue;
        pthread_mutex_unlock(&volume->lock);
        struct od_error err;
        if (od_volume_renew(volume, &err) != OD_OK)
            od_log(OD_LOG_WARN, "storage", "renewing the lease of %s: %s", volume->name, err.message);
        pthread_mutex_lock(&volume->lock);
    }
    pthread_mutex_unlock(&volume->lock);
}

od_code od_volume_start_threads(struct od_volume *volume, struct od_error *err)
{
    od_code rc = od_thread_start(&volume->flusher, "od-flush", run_flusher, volume, err);
    if (rc == OD_OK)
        rc = od_thread_start(&volume->sealer, "od-seal", run_sealer, volume, err);
    if (rc == OD_OK)
        rc = od_thread_start(&volume->leaser, "od-lease", run_leaser, volume, err);
    if (rc != OD_OK)
        od_volume_stop_threads(volume);
    return rc;
}

void od_volume_stop_threads(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    volume->stopping = true;
    pthread_cond_broadcast(&volume->work);
    pthread_cond_broadcast(&volume->seal);
    pthread_cond_broadcast(&volume->stop);
    pthread_mutex_unlock(&volume->lock);
    od_thread_join(&volume->flusher);
    od_thread_join(&volume->sealer);
    od_thread_join(&volume->leaser);
}
