// volume_flush.c - what makes barriers durable (A3): group flushes by whoever waits first.
//
// There is no flushing thread on the path of a waiting commit: the first waiter flushes for all, which costs no switch of
// threads; those that come meanwhile wait for the next round, which one of them leads.
#include "storage/planted.h"
#include "storage/volume_internal.h"

#include "base/alloc.h"

#include <string.h>

uint64_t od_volume_barrier_lsn(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t lsn = volume->barrier;
    pthread_mutex_unlock(&volume->lock);
    return lsn;
}

uint64_t od_volume_durable_lsn(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t lsn = volume->durable;
    pthread_mutex_unlock(&volume->lock);
    return lsn;
}

static bool flights_before(const struct od_volume *volume, uint64_t lsn)
{
    for (unsigned i = 0; i < OD_FLIGHTS_MAX; i++)
        if (volume->flights[i] < lsn)
            return true;
    return false;
}

static od_code unknown(struct od_volume *volume, uint64_t lsn, struct od_error *err)
{
    return od_fail(err, OD_OUTCOME_UNKNOWN, "whether position %llu of %s is durable is not known: %s",
                   (unsigned long long)lsn, volume->name, volume->poison.message);
}

// The waiters that have their answer, taken off the list. Under `lock`.
static struct od_waiter *take_answered(struct od_volume *volume)
{
    struct od_waiter *answered = NULL;
    for (struct od_waiter **link = &volume->waiters; *link;) {
        struct od_waiter *waiter = *link;
        if (waiter->lsn <= volume->durable || volume->poisoned) {
            *link = waiter->next;
            waiter->next = answered;
            answered = waiter;
        } else {
            link = &waiter->next;
        }
    }
    return answered;
}

static void answer(struct od_waiter *waiter, uint64_t durable)
{
    while (waiter) {
        struct od_waiter *next = waiter->next;
        waiter->done(waiter->context, waiter->lsn <= durable ? OD_OK : OD_OUTCOME_UNKNOWN);
        od_free(waiter);
        waiter = next;
    }
}

void od_volume_answer(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    struct od_waiter *answered = take_answered(volume);
    uint64_t durable = volume->durable;
    pthread_mutex_unlock(&volume->lock);
    answer(answered, durable);
}

// Everything written before `upto` to disk. With flush_lock held. A3: earlier journals first.
static od_code sync_journals(struct od_volume *volume, uint64_t *upto, uint64_t *barrier, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&volume->lock);
    *barrier = volume->barrier;
    *upto = volume->tail;
    while (flights_before(volume, *upto) && !volume->poisoned)
        pthread_cond_wait(&volume->landed, &volume->lock);
    for (uint32_t depth = volume->sync_from; rc == OD_OK && !volume->poisoned; depth++) {
        struct od_journal *journal;
        if (depth > volume->current->header.depth)
            break;
        rc = od_lineage_get(&volume->lineage, depth, &journal, err);
        if (rc != OD_OK || journal->synced || journal->header.first_lsn >= *upto)
            continue;
        // One that was closed while this waited may have records behind `upto`, which nobody has waited for.
        bool closed = journal != volume->current && journal->end_lsn <= *upto;
        pthread_mutex_unlock(&volume->lock);
        rc = OD_PLANT(NO_SYNC) ? OD_OK : journal->platform->ops->sync(journal->file, err);
        if (OD_PLANT(SYNC_FAILURE_IGNORED))
            rc = OD_OK;
        pthread_mutex_lock(&volume->lock);
        volume->syncs++;
        if (rc == OD_OK && closed) {
            journal->synced = true;
            volume->sync_from = depth + 1;
        }
    }
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

od_code od_volume_flush(struct od_volume *volume, struct od_error *err)
{
    struct od_error failure = {0};
    uint64_t upto = 0, barrier = 0;
    pthread_mutex_lock(&volume->flush_lock);
    pthread_mutex_lock(&volume->lock);
    const struct od_journal *before = volume->current;
    bool nothing = volume->poisoned || volume->read_only || volume->synced == volume->tail;
    if (nothing && !volume->poisoned)
        volume->durable = volume->barrier > volume->durable ? volume->barrier : volume->durable;
    pthread_mutex_unlock(&volume->lock);
    od_code rc = nothing ? OD_OK : sync_journals(volume, &upto, &barrier, &failure);

    pthread_mutex_lock(&volume->lock);
    if (rc != OD_OK)
        od_volume_poison(volume, &failure);
    if (volume->poisoned) {
        rc = unknown(volume, volume->barrier, err);
    } else if (!nothing) {
        // After a change of journals meanwhile, positions from the new one's beginning on are other bytes.
        uint64_t first = volume->current->header.first_lsn;
        volume->synced = volume->current != before && upto > first ? first : upto;
        if (barrier > volume->durable)
            volume->durable = barrier;
    }
    pthread_cond_broadcast(&volume->moved);
    pthread_mutex_unlock(&volume->lock);
    pthread_mutex_unlock(&volume->flush_lock);
    od_volume_answer(volume);
    return rc;
}

od_code od_volume_sync_closed(struct od_volume *volume, struct od_error *err)
{
    struct od_error failure = {0};
    uint64_t upto, barrier;
    pthread_mutex_lock(&volume->flush_lock);
    od_code rc = sync_journals(volume, &upto, &barrier, &failure);
    pthread_mutex_lock(&volume->lock);
    if (rc != OD_OK)
        od_volume_poison(volume, &failure);
    rc = volume->poisoned ? unknown(volume, volume->barrier, err) : OD_OK;
    pthread_mutex_unlock(&volume->lock);
    pthread_mutex_unlock(&volume->flush_lock);
    return rc;
}

od_code od_volume_wait_durable(struct od_volume *volume, uint64_t lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&volume->lock);
    if (lsn > volume->barrier) {
        rc = od_fail(err, OD_INVALID, "position %llu of %s lies beyond its last barrier %llu", (unsigned long long)lsn,
                     volume->name, (unsigned long long)volume->barrier);
        pthread_mutex_unlock(&volume->lock);
        return rc;
    }
    while (volume->durable < lsn && !volume->poisoned) {
        if (volume->flushing) {
            pthread_cond_wait(&volume->moved, &volume->lock);
            continue;
        }
        volume->flushing = true;
        pthread_mutex_unlock(&volume->lock);
        od_code ignored = od_volume_flush(volume, NULL); // what became of it is read below
        (void)ignored;
        pthread_mutex_lock(&volume->lock);
        volume->flushing = false;
        pthread_cond_broadcast(&volume->moved);
    }
    if (volume->durable < lsn)
        rc = unknown(volume, lsn, err);
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

void od_volume_when_durable(struct od_volume *volume, uint64_t lsn, void (*done)(void *context, od_code rc),
                            void *context)
{
    struct od_waiter *waiter = od_alloc(sizeof *waiter);
    pthread_mutex_lock(&volume->lock);
    bool now = volume->durable >= lsn || volume->poisoned;
    bool covered = volume->durable >= lsn;
    if (!now && waiter) {
        *waiter = (struct od_waiter){volume->waiters, lsn, done, context};
        volume->waiters = waiter;
        waiter = NULL;
        pthread_cond_signal(&volume->work);
        pthread_mutex_unlock(&volume->lock);
        return;
    }
    pthread_mutex_unlock(&volume->lock);
    od_free(waiter);
    if (now)
        done(context, covered ? OD_OK : OD_OUTCOME_UNKNOWN);
    else // no memory to remember it: wait here
        done(context, od_volume_wait_durable(volume, lsn, NULL));
}
