// volume_roll.c - going over from one journal to the next, at a barrier.
//
// The next journal is made ahead, its name durable; the change itself is one write of 4 KiB to memory. A barrier in the new
// journal becomes durable only after the old one was synced (A3).
#include "storage/store_internal.h"

#include "base/alloc.h"

od_code od_volume_prepare_next(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *made = NULL;
    struct od_uuid layer;
    pthread_mutex_lock(&volume->lock);
    bool there = volume->next != NULL;
    pthread_mutex_unlock(&volume->lock);
    if (there)
        return OD_OK;
    volume->platform->ops->random(volume->platform, layer.bytes, sizeof layer.bytes);
    od_uuid_mark_random(&layer);
    OD_TRY(
        od_journal_create(volume->platform, volume->directory, &layer, volume->store->options.seal_bytes, &made, err));
    pthread_mutex_lock(&volume->lock);
    if (volume->source_count == volume->source_capacity) {
        size_t capacity = volume->source_capacity ? volume->source_capacity * 2 : 16;
        struct od_source *sources = od_realloc(volume->sources, capacity * sizeof *sources);
        if (sources) {
            volume->sources = sources;
            volume->source_capacity = capacity;
        } else {
            rc = od_fail(err, OD_NO_MEMORY, "out of memory for the journals of %s", volume->name);
        }
    }
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
        .parent = old ? old->header.layer : volume->branch.parent_layer,
        .epoch = volume->epoch,
        .first_lsn = volume->barrier,
        .parent_chain = volume->barrier_chain,
        .time_us = volume->time_us,
        .depth = volume->first_depth + (uint32_t)volume->source_count,
        .block_bytes = volume->files.block_bytes,
    };
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
    volume->sources[volume->source_count++].journal = next;
    volume->current = next;
    volume->next = NULL;
    volume->roll_wanted = false;
}

od_code od_volume_roll(struct od_volume *volume, struct od_error *err)
{
    od_code rc = od_volume_health(volume, err);
    pthread_mutex_lock(&volume->lock);
    bool needed = volume->barrier > volume->current->header.first_lsn;
    pthread_mutex_unlock(&volume->lock);
    if (rc != OD_OK || !needed)
        return rc;
    rc = od_volume_prepare_next(volume, err);
    if (rc != OD_OK)
        return rc;
    pthread_mutex_lock(&volume->lock);
    volume->roll_wanted = true;
    if (volume->content <= volume->barrier && !volume->poisoned && volume->next)
        od_volume_switch(volume);
    pthread_mutex_unlock(&volume->lock);
    return od_volume_health(volume, err);
}
