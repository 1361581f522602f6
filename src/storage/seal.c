// seal.c - closed journals become layers: sealed (footer), put among the objects, published in the metadata.
//
// What a footer says is made from the parent's footer and the journal's own records, never from the running volume: so
// sealing needs no copy of its state, stalls nobody, and does the same after a crash as before it.
//
//   Q1  A journal is sealed only when it is closed, and durable up to its last barrier; it is an object only after the sync
//       of its footer succeeded. What a failed sync or a crash left behind the records is never trusted, but made anew.
//   Q2  Layers are published in order, each on top of its parent.
//   Q3  The journal's file goes away only after the metadata has the layer, and durably before a layer is published on top of
//       the next one: by then nobody may need it, and its row may go.
//   Q4  An unknown outcome is found out by reading: the object by its trailer, the row by its uuid. Nothing is deleted.
#include "storage/planted.h"
#include "storage/store_internal.h"

#include "base/alloc.h"
#include "base/log.h"

#include <string.h>

od_code od_layer_state(struct od_lineage *lineage, struct od_journal *layer, uint64_t lsn, uint64_t window_us,
                       struct od_footer *footer, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *parent;
    uint32_t depth = layer->header.depth;
    *footer = (struct od_footer){.files.block_bytes = layer->header.block_bytes, .ledger.window_us = window_us};
    if (depth > 0) {
        const struct od_layer_ref below = {layer->header.parent, depth - 1};
        OD_TRY(od_lineage_merge(lineage, &below, 1, err));
        OD_TRY(od_lineage_get(lineage, depth - 1, &parent, err));
        OD_TRY(od_footer_read(parent, window_us, footer, err));
        OD_TRY(od_lineage_merge(lineage, footer->below, footer->below_count, err));
        if (footer->end.lsn > layer->header.first_lsn) { // the first layer of a clone of a point within the parent
            od_footer_release(footer);
            OD_TRY(od_layer_state(lineage, parent, layer->header.first_lsn, window_us, footer, err));
        }
        if (!od_uuid_equal(&parent->header.layer, &layer->header.parent) ||
            footer->end.lsn != layer->header.first_lsn || footer->end.chain != layer->header.parent_chain)
            OD_TRY(od_fail(err, OD_CORRUPT, "%s does not continue %s (offset 48)", layer->path, parent->path));
        // The records of another branch's journal begin a ledger of their own.
        if (!od_uuid_equal(&parent->header.branch, &layer->header.branch))
            od_ledger_release(&footer->ledger);
    }
    footer->files.blocks.load = od_layer_load_leaf;
    footer->files.blocks.load_context = lineage;
    OD_TRY(od_journal_replay(layer, lsn, &footer->files, &footer->ledger, &footer->end, err));
    footer->depth = depth;
    footer->version = OD_FOOTER_VERSION;
    if (depth > 0) {
        size_t count = footer->below_count + (size_t)1;
        struct od_layer_ref *grown = od_realloc(footer->below, count * sizeof *grown);
        if (!grown)
            OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the layers below %s", layer->path));
        grown[footer->below_count++] = (struct od_layer_ref){layer->header.parent, depth - 1};
        footer->below = grown;
    }
out:
    return rc;
}

bool od_volume_looks_sealed(struct od_journal *journal, uint64_t window_us)
{
    struct od_footer footer;
    od_code rc = od_footer_read(journal, window_us, &footer, NULL);
    bool sealed = rc == OD_OK && footer.end.lsn == journal->end_lsn && footer.end.chain == journal->end_chain;
    od_footer_release(&footer);
    return sealed;
}

od_code od_volume_seal(struct od_volume *volume, struct od_journal *journal, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_platform_ops *ops = volume->platform->ops;
    uint64_t at = od_journal_offset(journal, journal->end_lsn);
    struct od_footer footer = {0};
    struct od_buf out;
    od_buf_init(&out, (size_t)OD_FOOTER_BYTES_MAX);
    if (journal->sealed || (OD_PLANT(FOOTER_TRUSTED) && od_volume_looks_sealed(journal, volume->ledger.window_us)))
        goto out;
    OD_TRY(od_layer_state(&volume->lineage, journal, journal->end_lsn, volume->ledger.window_us, &footer, err));
    if (footer.end.chain != journal->end_chain)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s is not what was written: its chain ends differently at position %llu",
                       journal->path, (unsigned long long)journal->end_lsn));
    OD_TRY(od_footer_carry(&footer, &volume->lineage, journal->header.depth, at, &out, err));
    if (od_footer_is_long(&footer, volume->store->options.layers_slack))
        OD_TRY(od_footer_prune(&footer, err));
    OD_TRY(od_footer_encode(&footer, &journal->header, journal->head_chain, at + out.bytes, &out, err));
    OD_TRY(ops->truncate(journal->file, at, err));
    OD_TRY(ops->write(journal->file, at, &(struct iovec){out.data, out.bytes}, 1, err));
    OD_TRY(ops->sync(journal->file, err));
    journal->sealed = true;
out:
    od_buf_release(&out);
    od_footer_release(&footer);
    return rc;
}

od_code od_volume_check_object(struct od_volume *volume, struct od_journal *journal, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *layer = NULL;
    uint8_t mine[OD_TRAILER_BYTES], theirs[OD_TRAILER_BYTES];
    uint64_t bytes, put;
    OD_TRY(od_layer_open(volume->store->options.objects, &journal->header.layer, &layer, err));
    OD_TRY(od_journal_size(journal, &bytes, err));
    OD_TRY(od_journal_size(layer, &put, err));
    OD_TRY(od_journal_read(journal, bytes - sizeof mine, mine, sizeof mine, err));
    if (put == bytes)
        OD_TRY(od_journal_read(layer, put - sizeof theirs, theirs, sizeof theirs, err));
    if (put != bytes || memcmp(mine, theirs, sizeof mine) != 0)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s holds something else than %s", layer->path, journal->path));
out:
    od_journal_close(layer);
    return rc;
}

static od_code put_object(struct od_volume *volume, struct od_journal *journal, struct od_error *err)
{
    char key[OD_LAYER_KEY_BYTES];
    od_layer_key(&journal->header.layer, key);
    od_code rc = od_objstore_put_file(volume->store->options.objects, key, journal->path, err);
    if (rc != OD_EXISTS && rc != OD_OUTCOME_UNKNOWN)
        return rc;
    if (OD_PLANT(PUT_TRUSTED))
        return OD_OK;
    rc = od_volume_check_object(volume, journal, err);
    return rc == OD_NOT_FOUND ? od_fail(err, OD_UNAVAILABLE, "the object %s was not put; try again", key) : rc;
}

// What memory and the footer have in common is from now on where the footer says: what was brought along may be needed
// nowhere else. What a layer up to this one holds in memory, is as it was at this one's end.
static void adopt_places(struct od_volume *volume, uint32_t depth, const struct od_footer *footer)
{
    struct od_files *files = &volume->files;
    for (unsigned i = 0; i < OD_GRID_HEADERS; i++) {
        struct od_page *page = &files->headers[i];
        if (page->place && od_place_depth(page->place) <= depth && page->hash == footer->files.headers[i].hash)
            page->place = footer->files.headers[i].place;
    }
    for (size_t i = 0; i < files->blocks.count && i < footer->files.blocks.count; i++) {
        struct od_page *root = &files->blocks.roots[i];
        if (root->place && od_place_depth(root->place) <= depth && root->hash == footer->files.blocks.roots[i].hash)
            root->place = footer->files.blocks.roots[i].place;
    }
}

struct wanted {
    const struct od_files *files;
    const struct od_footer *footer;
};

// A layer is wanted when the footer names it, when it is newer, or when a piece of a WAL file, which may have been brought
// along, is in memory with its old place.
static bool is_wanted(void *context, uint32_t depth)
{
    const struct wanted *wanted = context;
    uint32_t index;
    if (depth >= wanted->footer->depth || od_footer_find_below(wanted->footer, depth, &index))
        return true;
    for (unsigned i = 0; i < OD_GRID_HEADERS; i++)
        if (wanted->files->headers[i].place && od_place_depth(wanted->files->headers[i].place) == depth)
            return true;
    for (int file = OD_VOLUME_WAL; file < OD_VOLUME_FILES; file++)
        for (size_t i = 0; i < wanted->files->extents[file].count; i++)
            if (od_place_depth(wanted->files->extents[file].items[i].place) == depth)
                return true;
    return false;
}

// Under `lock`: the layer was published.
static void note_published(struct od_volume *volume, struct od_journal *journal, const struct od_footer *footer)
{
    struct wanted wanted = {&volume->files, footer};
    journal->published = true;
    volume->publish_from = journal->header.depth + 1;
    if (volume->sync_from < volume->publish_from)
        volume->sync_from = volume->publish_from;
    adopt_places(volume, journal->header.depth, footer);
    if (footer->pruned_depth == journal->header.depth) {
        od_lineage_keep(&volume->lineage, is_wanted, &wanted);
        volume->merge.wanted = true;
    }
}

static od_code publish_row(struct od_volume *volume, struct od_journal *journal, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = volume->store->options.metadata;
    struct od_footer footer = {0};
    struct od_meta_layer row = {
        .layer = journal->header.layer,
        .branch = volume->branch.branch,
        .epoch = volume->epoch,
        .parent = journal->header.parent,
        .first_lsn = journal->header.first_lsn,
        .end_lsn = journal->end_lsn,
    };
    OD_TRY(od_footer_read(journal, volume->ledger.window_us, &footer, err));
    row.first_time_us = footer.end.first_time_us;
    row.last_time_us = footer.end.time_us;
    OD_TRY(od_journal_size(journal, &row.bytes, err));
    od_layer_key(&row.layer, row.key);
    rc = meta->ops->layer_publish(meta, &row, &volume->branch.tip_layer, err);
    if (rc == OD_OUTCOME_UNKNOWN || rc == OD_STALE || rc == OD_EXISTS) {
        struct od_meta_layer found;
        od_code first = rc;
        rc = meta->ops->layer_get(meta, &row.layer, &found, first == OD_OUTCOME_UNKNOWN ? err : NULL);
        if (rc == OD_NOT_FOUND)
            rc = first == OD_OUTCOME_UNKNOWN
                     ? od_fail(err, OD_UNAVAILABLE, "the layer %s was not published; try again", row.key)
                     : first;
    }
    OD_TRY(rc);
    pthread_mutex_lock(&volume->lock);
    volume->branch.tip_layer = row.layer;
    volume->branch.tip_lsn = row.end_lsn;
    volume->branch.tip_time_us = row.last_time_us;
    if (row.end_lsn > volume->durable) // it was synced before it was sealed
        volume->durable = row.end_lsn;
    volume->ship_answered = volume->ship_arrivals;
    note_published(volume, journal, &footer);
    pthread_cond_broadcast(&volume->moved);
    pthread_mutex_unlock(&volume->lock);
    od_volume_answer(volume);
out:
    od_footer_release(&footer);
    return rc;
}

// From now on it is read from its object. Should it fail, that is so after the next opening.
static void retire(struct od_volume *volume, struct od_journal *journal)
{
    struct od_error err;
    struct od_object *object = NULL;
    uint64_t bytes = 0;
    char key[OD_LAYER_KEY_BYTES];
    if (!journal)
        return;
    od_layer_key(&journal->header.layer, key);
    if (od_journal_size(journal, &bytes, &err) != OD_OK ||
        od_objstore_open_listed(volume->store->options.objects, key, bytes, &object, &err) != OD_OK) {
        od_log(OD_LOG_WARN, "storage", "%s", err.message);
        return;
    }
    od_journal_retire(journal, object);
}

// Q3. The file loses its name; should that fail, the next opening does it. Its bytes stay until the layer above it is made,
// which begins with its footer.
static void unlink_file(struct od_volume *volume, struct od_journal *journal)
{
    struct od_error err;
    if (volume->platform->ops->remove(volume->platform, journal->path, &err) != OD_OK) {
        od_log(OD_LOG_WARN, "storage", "%s", err.message);
        return;
    }
    pthread_mutex_lock(&volume->lock);
    volume->removals++;
    pthread_mutex_unlock(&volume->lock);
    volume->unlinked = journal;
}

static od_code sync_removals(struct od_volume *volume, struct od_error *err)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t removals = volume->removals;
    bool needed = removals > volume->removals_durable;
    pthread_mutex_unlock(&volume->lock);
    od_code rc = needed ? volume->platform->ops->sync_directory(volume->platform, volume->directory, err) : OD_OK;
    pthread_mutex_lock(&volume->lock);
    if (rc == OD_OK && removals > volume->removals_durable)
        volume->removals_durable = removals;
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

static od_code publish_one(struct od_volume *volume, struct od_journal *journal, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(od_volume_seal(volume, journal, err));
    if (OD_PLANT(JOURNAL_GONE_EARLY))
        (void)(volume->platform->ops->remove(volume->platform, journal->path, NULL) == OD_OK);
    OD_TRY(put_object(volume, journal, err));
    retire(volume, volume->unlinked); // from here on it may be closed, when nothing needs it
    volume->unlinked = NULL;
    OD_TRY(sync_removals(volume, err));
    OD_TRY(publish_row(volume, journal, err));
    unlink_file(volume, journal);
out:
    return rc;
}

od_code od_volume_publish(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_error failure = {0};
    pthread_mutex_lock(&volume->publish_lock);
    while (rc == OD_OK) {
        struct od_journal *journal = NULL;
        pthread_mutex_lock(&volume->lock);
        uint32_t depth = volume->publish_from;
        bool closed = depth < volume->current->header.depth;
        bool durable = closed && depth < volume->sync_from;
        pthread_mutex_unlock(&volume->lock);
        if (!closed)
            break;
        if (!durable)
            OD_TRY(od_volume_sync_closed(volume, &failure));
        OD_TRY(od_lineage_get(&volume->lineage, depth, &journal, &failure));
        OD_TRY(publish_one(volume, journal, &failure));
    }
out:
    if (rc == OD_FENCED) {
        pthread_mutex_lock(&volume->lock);
        od_volume_poison(volume, &failure);
        pthread_mutex_unlock(&volume->lock);
        od_volume_answer(volume);
    }
    pthread_mutex_unlock(&volume->publish_lock);
    if (rc != OD_OK && err)
        *err = failure;
    return rc;
}

od_code od_volume_maintain(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_store_options *options = &volume->store->options;
    pthread_mutex_lock(&volume->lock);
    uint64_t bytes = volume->barrier - volume->current->header.first_lsn;
    uint64_t age_us = volume->time_us - volume->current->header.time_us;
    uint64_t now_us = volume->platform->ops->wall_us(volume->platform);
    if (now_us > volume->current->header.time_us)
        age_us = now_us - volume->current->header.time_us;
    pthread_mutex_unlock(&volume->lock);
    if (bytes >= options->seal_bytes || (bytes > 0 && age_us >= options->seal_age_ms * 1000))
        OD_TRY(od_volume_roll(volume, err));
    OD_TRY(od_volume_publish(volume, err));
    rc = od_volume_merge(volume, err);
    if (rc != OD_LIMIT) // on a full disk there is time
        OD_TRY(rc);
    rc = OD_OK;
    uint64_t clock_us = volume->platform->ops->clock_us(volume->platform);
    if (clock_us - volume->maintained_us < OD_LEASE_US / 3)
        goto out;
    volume->maintained_us = clock_us;
    od_reserve_hold(volume->store);
    if (!options->threads)
        OD_TRY(od_volume_renew(volume, err));
out:
    return rc;
}
