// volume_frozen.c - a read-only volume at a position: the state at the end of the newest sealed layer below it, and the
// records from there up to the position.
#include "storage/store_internal.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

// The newest layer of the branch that begins before `lsn`; its parent layer for the branch's beginning. OD_NOT_FOUND when
// there is none: *layer is zeros then, and an empty branch begins with nothing.
static od_code find_layer(struct od_store *store, const struct od_meta_branch *branch,
                          const struct od_position *position, struct od_uuid *layer, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_layer *rows = NULL;
    size_t count = 0;
    *layer = branch->parent_layer;
    OD_TRY(meta->ops->layer_list(meta, &branch->branch, &rows, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (rows[i].first_lsn < position->lsn)
            *layer = rows[i].layer;
    }
out:
    od_free(rows);
    return rc;
}

// The journals of an open writer from `depth` on, up to the one that holds the position.
static od_code add_journals(struct od_volume *volume, uint32_t depth, uint64_t lsn, uint64_t epoch,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_store *store = volume->store;
    struct od_journal *journal = NULL;
    bool found = false;
    pthread_mutex_lock(&store->lock);
    for (struct od_volume *writer = store->writers; writer && rc == OD_OK; writer = writer->next_writer) {
        if (!od_uuid_equal(&writer->branch.branch, &volume->branch.branch))
            continue;
        pthread_mutex_lock(&writer->lock);
        found = lsn <= writer->durable;
        for (uint32_t at = depth; found && rc == OD_OK; at++) {
            const struct od_journal *open = od_lineage_peek(&writer->lineage, at);
            if (!open || open->header.first_lsn >= lsn)
                break;
            char name[OD_UUID_TEXT_BYTES + sizeof OD_JOURNAL_SUFFIX];
            bool used = false;
            if (epoch && epoch < open->header.epoch) {
                rc =
                    od_fail(err, OD_NOT_FOUND,
                            "position %llu of epoch %llu was lost in a takeover; what is there now is of epoch %llu",
                            (unsigned long long)lsn, (unsigned long long)epoch, (unsigned long long)open->header.epoch);
                break;
            }
            od_uuid_format(&open->header.layer, name);
            memcpy(name + OD_UUID_TEXT_BYTES - 1, OD_JOURNAL_SUFFIX, sizeof OD_JOURNAL_SUFFIX);
            rc = od_journal_open(volume->platform, writer->directory, name, &used, &journal, err);
            if (rc != OD_OK)
                break;
            rc = od_lineage_reserve(&volume->lineage, 1, err);
            if (rc == OD_OK) {
                od_lineage_add(&volume->lineage, at, &journal->header.layer, journal);
                journal = NULL;
            }
        }
        pthread_mutex_unlock(&writer->lock);
    }
    pthread_mutex_unlock(&store->lock);
    od_journal_close(journal);
    if (rc == OD_OK && !found)
        rc = od_fail(err, OD_NOT_FOUND, "%s has no durable position %llu", volume->name, (unsigned long long)lsn);
    return rc;
}

static od_code load_frozen(struct od_volume *volume, const struct od_position *position, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_footer footer = {0};
    struct od_journal *layer = NULL;
    struct od_uuid uuid;
    struct od_lineage *lineage = &volume->lineage;
    uint64_t end = volume->branch.start_lsn;
    footer.files.block_bytes = (uint32_t)volume->store->options.block_bytes;
    OD_TRY(find_layer(volume->store, &volume->branch, position, &uuid, err));
    if (!od_uuid_is_zero(&uuid)) {
        OD_TRY(od_layer_open(lineage->objects, &uuid, &layer, err));
        OD_TRY(od_footer_read(layer, volume->ledger.window_us, &footer, err));
        // A later epoch may have given the position again, to other bytes. The epoch that wrote them is the layer's own: the
        // one that published them may be later still, and what an epoch inherited is its own history too.
        if (position->epoch && position->epoch < layer->header.epoch && position->lsn <= footer.end.lsn &&
            od_uuid_equal(&layer->header.branch, &position->branch))
            OD_TRY(od_fail(err, OD_NOT_FOUND,
                           "position %llu of epoch %llu was lost in a takeover; what is there now is of epoch %llu",
                           (unsigned long long)position->lsn, (unsigned long long)position->epoch,
                           (unsigned long long)layer->header.epoch));
        OD_TRY(od_lineage_merge(lineage, footer.below, footer.below_count, err));
        OD_TRY(od_lineage_reserve(lineage, 1, err));
        struct od_journal *added = layer;
        layer = NULL;
        od_lineage_add(lineage, footer.depth, &uuid, added);
        end = footer.end.lsn;
        if (end > position->lsn) {
            od_footer_release(&footer);
            OD_TRY(od_layer_state(lineage, added, position->lsn, volume->ledger.window_us, &footer, err));
            end = footer.end.lsn;
        }
    }
    footer.files.blocks.load = od_layer_load_leaf;
    footer.files.blocks.load_context = lineage;
    if (end < position->lsn) {
        uint32_t depth = od_lineage_next(lineage);
        OD_TRY(add_journals(volume, depth, position->lsn, position->epoch, err));
        for (uint32_t at = depth; at < od_lineage_next(lineage); at++) {
            struct od_journal *journal = od_lineage_peek(lineage, at);
            const struct od_journal *above = od_lineage_peek(lineage, at + 1);
            uint64_t until = above ? above->header.first_lsn : position->lsn;
            if (at == 0)
                footer.files.block_bytes = journal->header.block_bytes;
            OD_TRY(od_journal_replay(journal, until, &footer.files, NULL, &footer.end, err));
            end = footer.end.lsn;
        }
    }
    if (end != position->lsn)
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s has no barrier at position %llu", volume->name,
                       (unsigned long long)position->lsn));
    volume->files = footer.files;
    footer.files = (struct od_files){0};
    volume->time_us = footer.end.time_us;
    volume->epoch = position->epoch;
    volume->tail = volume->content = volume->barrier = volume->durable = volume->synced = end;
out:
    od_journal_close(layer);
    od_footer_release(&footer);
    return rc;
}

od_code od_volume_open_at(struct od_store *store, const char *name, const struct od_position *position,
                          struct od_volume **out, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_volume *volume = od_volume_new(store);
    if (!volume)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the database %s", name);
    volume->read_only = true;
    snprintf(volume->name, sizeof volume->name, "%s", name);
    OD_TRY(meta->ops->branch_get(meta, &position->branch, &volume->branch, err));
    rc = load_frozen(volume, position, err);
    if (rc == OD_NOT_FOUND) { // a journal was published between the two looks
        od_volume_free(volume);
        volume = od_volume_new(store);
        if (!volume)
            return od_fail(err, OD_NO_MEMORY, "out of memory for the database %s", name);
        volume->read_only = true;
        snprintf(volume->name, sizeof volume->name, "%s", name);
        OD_TRY(meta->ops->branch_get(meta, &position->branch, &volume->branch, err));
        rc = load_frozen(volume, position, err);
    }
    OD_TRY(rc);
    pthread_mutex_lock(&store->lock);
    store->open_volumes++;
    volume->next_writer = store->readers;
    store->readers = volume;
    pthread_mutex_unlock(&store->lock);
    *out = volume;
    volume = NULL;
out:
    if (volume)
        od_volume_free(volume);
    return rc;
}
