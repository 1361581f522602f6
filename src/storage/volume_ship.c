// volume_ship.c - acknowledgements that wait until a commit is in a layer.
//
// Those that wait gather for a moment; then the journal is closed for all of them, and one object and one row of the metadata
// answer them. Who comes meanwhile is answered by the next one, for which those are waited for, too, that were just answered:
// else clients would fall into two halves that take turns. A writer alone does not gather.
//
//   W1  What is acknowledged here is in a layer that the metadata, and with it the epoch, has accepted.
//   W2  Of a branch that another place may take when its lease has ended, nothing is told by a writer whose lease may have
//       ended: its own clock runs from before the renewal was asked for.
#include "storage/store_internal.h"

#include "base/log.h"
#include "os/clock.h"

#include <inttypes.h>

#define GATHER_MS_MIN 5u
#define GATHER_QUIETS_MAX 4u // of a stream that does not end
#define STATEMENT_WAIT_MS 10000u
#define SETTLE_EVERY_MS 20u
#define SHIP_WAIT_MS 60000u

uint64_t od_volume_published(const struct od_volume *volume)
{
    const struct od_meta_branch *branch = &volume->branch;
    return branch->tip_lsn > branch->start_lsn ? branch->tip_lsn : branch->start_lsn;
}

static bool is_remote(const struct od_volume *volume, enum od_durability level)
{
    return level == OD_DURABILITY_REMOTE ||
           (level == OD_DURABILITY_DATABASE && volume->branch.policy & OD_BRANCH_REMOTE);
}

uint64_t od_volume_acknowledged_lsn(struct od_volume *volume, enum od_durability level)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t lsn = is_remote(volume, level) ? od_volume_published(volume) : volume->durable;
    pthread_mutex_unlock(&volume->lock);
    return lsn;
}

// ---- the lease

od_code od_volume_renew(struct od_volume *volume, struct od_error *err)
{
    struct od_metastore *meta = volume->store->options.metadata;
    uint64_t clock_us = volume->platform->ops->clock_us(volume->platform);
    od_code rc = meta->ops->lease_renew(meta, &volume->branch.branch, volume->epoch, OD_LEASE_US, err);
    struct od_error fenced = {0};
    pthread_mutex_lock(&volume->lock);
    if (rc == OD_OK)
        volume->lease_renewed_us = clock_us;
    if (rc == OD_FENCED) {
        (void)od_fail(&fenced, OD_FENCED, "another writer has taken over %s", volume->name);
        od_volume_poison(volume, &fenced);
    }
    pthread_mutex_unlock(&volume->lock);
    if (rc == OD_FENCED)
        od_volume_answer(volume);
    return rc;
}

static od_code check_lease(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t clock_us = volume->platform->ops->clock_us(volume->platform);
    pthread_mutex_lock(&volume->lock);
    uint64_t age_us = clock_us - volume->lease_renewed_us;
    if (age_us >= OD_LEASE_US)
        rc = od_fail(err, OD_UNAVAILABLE,
                     "the lease on %s could not be renewed for %" PRIu64 " ms: another machine may have taken it over",
                     volume->name, age_us / 1000);
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

// ---- waiting

static od_code not_shipped(struct od_volume *volume, uint64_t lsn, struct od_error *err)
{
    if (volume->poisoned)
        return od_fail(err, OD_OUTCOME_UNKNOWN, "whether position %" PRIu64 " of %s is in a layer is not known: %s", lsn,
                       volume->name, volume->poison.message);
    return od_fail(err, OD_OUTCOME_UNKNOWN,
                   "position %" PRIu64 " of %s is on this machine's disk, but in no layer after %u s: the stores are slow "
                   "or cannot be reached",
                   lsn, volume->name, SHIP_WAIT_MS / 1000);
}

// *proven: the epoch was still the newest after the call began.
static od_code wait_shipped(struct od_volume *volume, uint64_t lsn, bool *proven, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t until = od_clock_ms() + SHIP_WAIT_MS;
    bool in_time = true;
    pthread_mutex_lock(&volume->lock);
    *proven = od_volume_published(volume) < lsn;
    if (*proven && !volume->store->options.threads) {
        pthread_mutex_unlock(&volume->lock);
        return od_volume_publish_at(volume, lsn, err);
    }
    if (lsn > volume->wanted)
        volume->wanted = lsn;
    volume->ship_waiters++;
    volume->ship_arrivals += *proven;
    if (*proven)
        pthread_cond_broadcast(&volume->seal);
    while (od_volume_published(volume) < lsn && !volume->poisoned && in_time)
        in_time = od_cond_wait_until(&volume->moved, &volume->lock, until);
    volume->ship_waiters--;
    if (od_volume_published(volume) < lsn)
        rc = not_shipped(volume, lsn, err);
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

od_code od_volume_wait(struct od_volume *volume, uint64_t lsn, enum od_durability level, struct od_error *err)
{
    bool proven = false;
    od_code rc = is_remote(volume, level) ? wait_shipped(volume, lsn, &proven, err)
                                          : od_volume_wait_durable(volume, lsn, err);
    return rc == OD_OK && volume->branch.policy && !proven ? check_lease(volume, err) : rc;
}

// ---- shipping, on the sealing thread

bool od_volume_ship_wanted(const struct od_volume *volume)
{
    return volume->wanted > od_volume_published(volume) && volume->ship_waiters > 0;
}

// Under `lock`, which is given up meanwhile: until as many have come as are expected, or nobody has come for as long as an
// object takes, which he would otherwise wait for.
static void gather(struct od_volume *volume)
{
    unsigned quiet_ms = volume->ship_ms < GATHER_MS_MIN ? GATHER_MS_MIN : volume->ship_ms;
    uint64_t until = od_clock_ms() + GATHER_QUIETS_MAX * (uint64_t)quiet_ms;
    while (volume->ship_arrivals - volume->ship_closed < volume->ship_expected && !volume->stopping &&
           !volume->poisoned && od_clock_ms() < until)
        if (!od_cond_wait_until(&volume->seal, &volume->lock, od_clock_ms() + quiet_ms))
            break;
}

static od_code close_journal(struct od_volume *volume, uint64_t lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t until = od_clock_ms() + STATEMENT_WAIT_MS;
    for (;;) {
        OD_TRY(od_volume_settle(volume, err));
        OD_TRY(od_volume_roll(volume, err));
        pthread_mutex_lock(&volume->lock);
        if (volume->current->header.first_lsn < lsn && !volume->poisoned)
            (void)od_cond_wait_until(&volume->moved, &volume->lock, od_clock_ms() + SETTLE_EVERY_MS);
        bool closed = volume->current->header.first_lsn >= lsn;
        bool stopping = volume->stopping;
        pthread_mutex_unlock(&volume->lock);
        if (closed)
            break;
        if (stopping || od_clock_ms() > until)
            OD_TRY(od_fail(err, OD_BUSY, "a running statement keeps the journal of position %" PRIu64 " open", lsn));
    }
out:
    return rc;
}

od_code od_volume_ship(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&volume->lock);
    gather(volume);
    uint64_t lsn = volume->wanted, begun_ms = od_clock_ms();
    pthread_mutex_unlock(&volume->lock);
    OD_TRY(close_journal(volume, lsn, err));
    pthread_mutex_lock(&volume->lock);
    uint64_t closed_before = volume->ship_closed;
    volume->ship_closed = volume->ship_arrivals;
    pthread_mutex_unlock(&volume->lock);
    OD_TRY(od_volume_publish(volume, err));
    pthread_mutex_lock(&volume->lock);
    volume->ship_expected = volume->ship_answered - closed_before;
    volume->ship_ms = (unsigned)(od_clock_ms() - begun_ms);
    pthread_mutex_unlock(&volume->lock);
    OD_TRY(od_volume_prepare_next(volume, err)); // now, when nobody waits for it
out:
    return rc;
}

// ---- a bound for what is not shipped

#define UNSHIPPED_WAIT_MS 30000u

od_code od_volume_wait_unshipped(struct od_volume *volume, struct od_error *err)
{
    uint64_t limit = volume->store->options.unshipped_max, until = od_clock_ms() + UNSHIPPED_WAIT_MS;
    uint64_t closed = 0;
    bool in_time = true;
    if (!limit)
        return OD_OK;
    for (;;) {
        closed = volume->current->header.first_lsn - od_volume_published(volume);
        if (closed <= limit || volume->poisoned || !in_time)
            break;
        pthread_cond_broadcast(&volume->seal);
        in_time = od_cond_wait_until(&volume->moved, &volume->lock, until);
    }
    return closed <= limit || volume->poisoned
               ? OD_OK
               : od_fail(err, OD_LIMIT,
                         "%" PRIu64 " MiB of %s wait for the object store, which takes none: %s takes no writes until it "
                         "does",
                         closed >> 20, volume->name, volume->name);
}
