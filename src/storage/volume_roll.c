// volume_roll.c - going over from one journal to the next, at a barrier.
//
// The next journal is made ahead, its name durable; the change itself is one write of 4 KiB to memory. A barrier in the new
// journal becomes durable only after the old one was synced (A3).
#include "storage/store_internal.h"

#include "os/clock.h"

#define STATEMENT_WAIT_MS 10000u
#define SETTLE_EVERY_MS 20u

od_code od_volume_prepare_next(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *made = NULL;
    struct od_uuid layer;
    pthread_mutex_lock(&volume->lock);
    bool there = volume->next != NULL;
    uint64_t removals = volume->removals;
    pthread_mutex_unlock(&volume->lock);
    if (there)
        return OD_OK;
    od_layer_uuid(volume->platform, &volume->branch.branch, &layer);
    OD_TRY(
        od_journal_create(volume->platform, volume->directory, &layer, volume->store->options.seal_bytes, &made, err));
    pthread_mutex_lock(&volume->lock);
    if (volume->removals_durable < removals)
        volume->removals_durable = removals; // with the name of the new one
    rc = od_lineage_reserve(&volume->lineage, 1, err); // under the lock, with which the entries are read elsewhere
    if (rc == OD_OK && !volume->next) {
        volume->next = made;
        made = NULL;
    }
    pthread_mutex_unlock(&volume->lock);
out:
    if (made) {
        // A second one that nobody needs; should this fail, the next opening removes it.
        od_code ignored = volume->platform->ops->remove(volume->platform, made->path, NULL);
        (void)ignored;
    }
    od_journal_close(made);
    return rc;
}

void od_volume_switch(struct od_volume *volume)
{
    struct od_journal *old = volume->current, *next = volume->next;
    struct od_error failure;
    struct od_journal_header header = {
        .layer = next->header.layer,
        .branch = volume->branch.branch,
        .epoch = volume->epoch,
        .first_lsn = volume->barrier,
        .parent_chain = volume->barrier_chain,
        .time_us = volume->time_us,
        .depth = od_lineage_next(&volume->lineage),
        .block_bytes = volume->files.block_bytes,
    };
    if (header.depth > 0)
        (void)od_lineage_layer(&volume->lineage, header.depth - 1, &header.parent); // the last one is always there
    if (od_journal_begin(next, &header, &failure) != OD_OK) {
        od_volume_poison(volume, &failure);
        return;
    }
    if (old) {
        old->end_lsn = volume->barrier;
        old->end_chain = volume->barrier_chain;
    }
    // Watermarks behind the barrier are left behind.
    volume->tail = volume->content = volume->barrier;
    if (volume->synced > volume->tail)
        volume->synced = volume->tail;
    volume->chain = next->head_chain;
    od_lineage_add(&volume->lineage, header.depth, &next->header.layer, next);
    volume->current = next;
    volume->next = NULL;
    volume->roll_wanted = false;
    pthread_cond_broadcast(&volume->moved);
}

static bool flights_from(const struct od_volume *volume)
{
    for (unsigned i = 0; i < OD_FLIGHTS_MAX; i++)
        if (volume->flights[i] >= volume->barrier && volume->flights[i] != UINT64_MAX)
            return true;
    return false;
}

// Under `lock`. An empty journal is not closed: it would be a layer without content, whose chain has no end.
static bool has_barriers(const struct od_volume *volume)
{
    return volume->barrier > volume->current->header.first_lsn;
}

od_code od_volume_roll(struct od_volume *volume, struct od_error *err)
{
    od_code rc = od_volume_health(volume, err);
    pthread_mutex_lock(&volume->lock);
    bool needed = has_barriers(volume);
    pthread_mutex_unlock(&volume->lock);
    if (rc != OD_OK || !needed)
        return rc;
    rc = od_volume_prepare_next(volume, err);
    if (rc != OD_OK)
        return rc;
    pthread_mutex_lock(&volume->lock);
    if (!has_barriers(volume)) { // somebody else has gone over meanwhile
        pthread_mutex_unlock(&volume->lock);
        return OD_OK;
    }
    volume->roll_wanted = true;
    // A watermark behind the barrier must not be written into a journal that is being sealed.
    while (volume->content <= volume->barrier && !volume->poisoned && volume->roll_wanted && flights_from(volume))
        pthread_cond_wait(&volume->landed, &volume->lock);
    if (volume->content <= volume->barrier && !volume->poisoned && volume->roll_wanted && volume->next &&
        has_barriers(volume))
        od_volume_switch(volume);
    pthread_mutex_unlock(&volume->lock);
    return od_volume_health(volume, err);
}

static bool is_closed(struct od_volume *volume, uint64_t lsn)
{
    pthread_mutex_lock(&volume->lock);
    bool closed = volume->current->header.first_lsn >= lsn;
    pthread_mutex_unlock(&volume->lock);
    return closed;
}

od_code od_volume_publish_at(struct od_volume *volume, uint64_t lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    // Without threads nobody else could end the statement.
    uint64_t until = volume->store->options.threads ? od_clock_ms() + STATEMENT_WAIT_MS : 0;
    OD_TRY(od_volume_wait_durable(volume, lsn, err));
    OD_TRY(od_volume_roll(volume, err));
    bool closed = is_closed(volume, lsn);
    // A bulk load writes blocks for as long as it runs: a barrier of our own goes over to the next journal. Only a commit that
    // is on its way, in a WAL file, has to be waited for.
    while (!closed && until > 0 && od_clock_ms() < until) {
        OD_TRY(od_volume_settle(volume, err));
        OD_TRY(od_volume_roll(volume, err));
        pthread_mutex_lock(&volume->lock);
        if (volume->current->header.first_lsn < lsn && !volume->poisoned)
            (void)od_cond_wait_until(&volume->moved, &volume->lock, od_clock_ms() + SETTLE_EVERY_MS);
        pthread_mutex_unlock(&volume->lock);
        OD_TRY(od_volume_health(volume, err));
        closed = is_closed(volume, lsn);
    }
    OD_TRY(od_volume_health(volume, err));
    if (!closed)
        OD_TRY(od_fail(err, OD_BUSY,
                       "a running statement of %s keeps the journal of position %llu open; try again when it has ended",
                       volume->name, (unsigned long long)lsn));
    OD_TRY(od_volume_publish(volume, err));
out:
    return rc;
}
