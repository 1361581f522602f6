// volume_open.c - opening a branch for writing, and closing it.
//
// Opening finds the branch's journals by listing their directory (not in the metadata: a journal is there before anybody
// could have said so elsewhere), puts them in order by what each says it continues, recovers the last durable barrier, and
// goes on in a new journal. A journal in use that does not fit into the chain is never passed over: it may hold
// acknowledged commits that the metadata has forgotten. There are two exceptions: a journal whose parent lost its own tail
// in a crash, when no journal says that anything beyond that tail was ever durable: none of it was acknowledged; and one
// that another place's takeover left behind (holder.c).
#include "storage/planted.h"
#include "storage/store_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct chain_end {
    struct od_uuid layer;
    uint64_t lsn, chain, time_us;
    uint32_t depth; // of the next
};

struct found {
    struct od_journal **journals;
    struct od_journal_end *ends;
    size_t count;
    struct od_journal **unused; // made ahead, or their header block was lost with everything in them
    size_t unused_count;
    uint64_t durable_lsn; // the highest position that any of them says was durable
};

static void found_release(struct found *found)
{
    for (size_t i = 0; i < found->count; i++)
        od_journal_close(found->journals[i]);
    for (size_t i = 0; i < found->unused_count; i++)
        od_journal_close(found->unused[i]);
    od_free(found->journals);
    od_free(found->unused);
    od_free(found->ends);
}

static int in_order(const void *a, const void *b)
{
    const struct od_journal *left = *(struct od_journal *const *)a, *right = *(struct od_journal *const *)b;
    if (left->header.first_lsn != right->header.first_lsn)
        return left->header.first_lsn < right->header.first_lsn ? -1 : 1;
    return left->header.epoch < right->header.epoch ? -1 : left->header.epoch > right->header.epoch;
}

// A copy that was not finished (od_journal_renew).
static od_code remove_leftover(struct od_volume *volume, const char *name, struct od_error *err)
{
    static const char suffix[] = OD_JOURNAL_SUFFIX OD_JOURNAL_NEW;
    char path[OD_JOURNAL_PATH_BYTES + 300];
    size_t bytes = strlen(name);
    if (bytes < sizeof suffix || strcmp(name + bytes - (sizeof suffix - 1), suffix) != 0)
        return OD_OK;
    snprintf(path, sizeof path, "%s/%s", volume->directory, name);
    return volume->platform->ops->remove(volume->platform, path, err);
}

// The journals in use, in order of position, and the unused ones.
static od_code find_journals(struct od_volume *volume, struct found *found, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_platform *platform = volume->platform;
    struct od_names names = {0};
    struct od_journal *journal = NULL;
    OD_TRY(platform->ops->list(platform, volume->directory, &names, err));
    found->journals = od_calloc(names.count ? names.count : 1, sizeof *found->journals);
    found->ends = od_calloc(names.count ? names.count : 1, sizeof *found->ends);
    found->unused = od_calloc(names.count ? names.count : 1, sizeof *found->unused);
    if (!found->journals || !found->ends || !found->unused)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the journals of %s", volume->name));
    for (size_t i = 0; i < names.count; i++) {
        bool used = false;
        OD_TRY(remove_leftover(volume, names.names[i], err));
        if (!od_journal_is_name(names.names[i]))
            continue;
        OD_TRY(od_journal_open(platform, volume->directory, names.names[i], &used, &journal, err));
        if (used) {
            if (!od_uuid_equal(&journal->header.branch, &volume->branch.branch))
                OD_TRY(od_fail(err, OD_CORRUPT, "%s belongs to another database", journal->path));
            found->journals[found->count++] = journal;
        } else {
            found->unused[found->unused_count++] = journal;
        }
        journal = NULL;
    }
    if (found->count > 1)
        qsort(found->journals, found->count, sizeof *found->journals, in_order);
out:
    od_journal_close(journal);
    od_names_release(&names);
    return rc;
}

// below: the journal before it in this directory, or NULL.
static od_code check_continues(const struct od_journal *journal, const struct chain_end *end,
                               const struct od_journal *below, struct od_error *err)
{
    const struct od_journal_header *header = &journal->header;
    char parent[OD_UUID_TEXT_BYTES], tip[OD_UUID_TEXT_BYTES];
    if (od_uuid_equal(&header->parent, &end->layer) && header->first_lsn == end->lsn &&
        header->parent_chain == end->chain && header->depth == end->depth)
        return OD_OK;
    if (below && od_uuid_equal(&header->parent, &below->header.layer) && header->first_lsn > end->lsn)
        return od_fail(
            err, OD_CORRUPT,
            "%s is damaged behind offset %llu: the barrier there, at position %llu, is its last whole one, but "
            "%s continues it at position %llu. Nothing was changed; restore the file from a copy",
            below->path, (unsigned long long)od_journal_offset(below, end->lsn), (unsigned long long)end->lsn,
            journal->path, (unsigned long long)header->first_lsn);
    od_uuid_format(&header->parent, parent);
    od_uuid_format(&end->layer, tip);
    return od_fail(
        err, OD_CORRUPT,
        "%s continues layer %s at position %llu, but the database ends with layer %s at position %llu: a layer "
        "or journal is missing, or the metadata is older than the journals. Nothing was changed; see "
        "docs/internals/recovery.md",
        journal->path, parent, (unsigned long long)header->first_lsn, tip, (unsigned long long)end->lsn);
}

// A journal that was published before a crash could remove it: the layer has its bytes. One that nothing needs any more is
// not among the layers of the tip; it has a row.
static bool is_published(struct od_volume *volume, const struct od_journal *journal, const struct chain_end *end)
{
    struct od_metastore *meta = volume->store->options.metadata;
    struct od_uuid layer;
    struct od_meta_layer row;
    if (journal->header.depth >= end->depth)
        return false;
    if (od_lineage_layer(&volume->lineage, journal->header.depth, &layer))
        return od_uuid_equal(&layer, &journal->header.layer);
    return meta->ops->layer_get(meta, &journal->header.layer, &row, NULL) == OD_OK && row.end_lsn <= end->lsn;
}

// M6: another place took over after it was written.
static bool is_superseded(const struct od_volume *volume, const struct od_journal *journal)
{
    return journal->header.epoch < volume->branch.held_since && !OD_PLANT(SUPERSEDED_REPLAYED);
}

static bool is_over(struct od_volume *volume, const struct od_journal *journal, const struct chain_end *end)
{
    return is_published(volume, journal, end) || is_superseded(volume, journal);
}

static od_code scan_journals(struct od_volume *volume, struct found *found, const struct chain_end *end,
                             struct od_error *err)
{
    for (size_t i = 0; i < found->count; i++) {
        if (is_over(volume, found->journals[i], end))
            continue;
        od_code rc = od_journal_scan(found->journals[i], &found->ends[i], err);
        if (rc != OD_OK)
            return rc;
        if (found->ends[i].durable_lsn > found->durable_lsn)
            found->durable_lsn = found->ends[i].durable_lsn;
    }
    return OD_OK;
}

// Those that were not taken over, the newest first, each durably before the next: a crash in between leaves a chain. The
// unused ones last, since others may continue them.
static od_code remove_rest(struct od_volume *volume, struct found *found, struct od_error *err)
{
    od_code rc = OD_OK;
    for (size_t i = found->count; i > 0; i--) {
        struct od_journal *journal = found->journals[i - 1];
        if (!journal)
            continue;
        OD_TRY(volume->platform->ops->remove(volume->platform, journal->path, err));
        OD_TRY(volume->platform->ops->sync_directory(volume->platform, volume->directory, err));
    }
    for (size_t i = 0; i < found->unused_count; i++)
        OD_TRY(volume->platform->ops->remove(volume->platform, found->unused[i]->path, err));
out:
    return rc;
}

static bool is_unused(const struct found *found, const struct od_uuid *layer)
{
    for (size_t i = 0; i < found->unused_count; i++)
        if (od_uuid_equal(&found->unused[i]->header.layer, layer))
            return true;
    return false;
}

// Is what the journal continues a layer that the metadata knows, or a journal that is there? A journal's name is durable before
// it is used, and goes only after the metadata has its layer: if neither is there, the metadata has forgotten it.
static bool is_parent_known(struct od_volume *volume, const struct found *found, const struct od_journal *journal,
                            const struct chain_end *end)
{
    struct od_metastore *meta = volume->store->options.metadata;
    const struct od_uuid *parent = &journal->header.parent;
    struct od_meta_layer row;
    struct od_uuid layer;
    if (od_uuid_is_zero(parent) || od_uuid_equal(parent, &end->layer) || is_unused(found, parent))
        return true;
    for (size_t i = 0; i < found->count; i++)
        if (found->journals[i] && od_uuid_equal(&found->journals[i]->header.layer, parent))
            return true;
    if (od_lineage_layer(&volume->lineage, journal->header.depth - 1, &layer) && od_uuid_equal(&layer, parent))
        return true;
    return meta->ops->layer_get(meta, parent, &row, NULL) != OD_NOT_FOUND;
}

// Takes over the journals that hold barriers, applies them, and removes those that hold none or follow a lost tail.
static od_code recover_journals(struct od_volume *volume, struct found *found, struct chain_end *end,
                                struct od_error *err)
{
    od_code rc = OD_OK;
    const struct chain_end tip = *end;
    struct od_uuid below = end->layer; // of the last journal seen, with barriers or without
    const struct od_journal *last = NULL;
    OD_TRY(scan_journals(volume, found, end, err));
    for (size_t i = 0; i < found->count; i++) {
        struct od_journal *journal = found->journals[i];
        struct od_journal_end scanned = found->ends[i];
        if (is_over(volume, journal, end))
            continue;
        if (journal->header.first_lsn > end->lsn && found->durable_lsn <= end->lsn &&
            (od_uuid_equal(&journal->header.parent, &below) || is_unused(found, &journal->header.parent)))
            break; // the journal below lost its tail, and nothing from there on was ever acknowledged
        const struct od_journal *before = last;
        below = journal->header.layer;
        last = journal;
        if (scanned.barriers == 0) {
            if (journal->header.first_lsn > end->lsn && !is_parent_known(volume, found, journal, end))
                OD_TRY(check_continues(journal, end, before, err));
            continue;
        }
        OD_TRY(check_continues(journal, end, before, err));
        OD_TRY(od_lineage_reserve(&volume->lineage, 1, err));
        if (journal->header.block_bytes != volume->files.block_bytes && end->depth == 0)
            volume->files.block_bytes = journal->header.block_bytes;
        if (journal->header.block_bytes != volume->files.block_bytes)
            OD_TRY(od_fail(err, OD_CORRUPT, "%s has another block size than the layers below it", journal->path));
        OD_TRY(od_journal_replay(journal, scanned.lsn, &volume->files, &volume->ledger, &scanned, err));
        journal->end_lsn = scanned.lsn;
        journal->end_chain = scanned.chain;
        od_lineage_add(&volume->lineage, end->depth, &journal->header.layer, journal);
        *end = (struct chain_end){journal->header.layer, scanned.lsn, scanned.chain, scanned.time_us, end->depth + 1};
        found->journals[i] = NULL;
    }
    for (size_t i = 0; i < found->count; i++)
        if (found->journals[i] && is_superseded(volume, found->journals[i]) &&
            !is_published(volume, found->journals[i], &tip))
            OD_TRY(od_superseded_keep(volume, found->journals[i], err));
    OD_TRY(remove_rest(volume, found, err));
out:
    return rc;
}

// What the metadata knows: the branch's newest layer, or the one it begins with.
static od_code load_tip(struct od_volume *volume, struct chain_end *end, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_footer footer = {0};
    struct od_journal *layer = NULL;
    const struct od_meta_branch *branch = &volume->branch;
    bool own = !od_uuid_is_zero(&branch->tip_layer);
    const struct od_uuid *tip = own ? &branch->tip_layer : &branch->parent_layer;
    *end = (struct chain_end){.lsn = branch->start_lsn, .time_us = branch->tip_time_us};
    if (od_uuid_is_zero(tip))
        return OD_OK;
    OD_TRY(od_layer_open(volume->store->options.objects, tip, &layer, err));
    OD_TRY(od_footer_read(layer, volume->ledger.window_us, &footer, err));
    if (own && (footer.end.lsn != branch->tip_lsn || !od_uuid_equal(&layer->header.branch, &branch->branch)))
        OD_TRY(od_fail(err, OD_CORRUPT,
                       "the metadata says that %s ends at position %llu, but layer %s ends at %llu; see "
                       "docs/internals/recovery.md",
                       volume->name, (unsigned long long)branch->tip_lsn, layer->path,
                       (unsigned long long)footer.end.lsn));
    OD_TRY(od_lineage_merge(&volume->lineage, footer.below, footer.below_count, err));
    OD_TRY(od_lineage_reserve(&volume->lineage, 1, err));
    struct od_journal *added = layer;
    layer = NULL;
    od_lineage_add(&volume->lineage, footer.depth, tip, added);
    if (!own && footer.end.lsn != branch->start_lsn) { // a clone of a point within a layer
        od_footer_release(&footer);
        OD_TRY(od_layer_state(&volume->lineage, added, branch->start_lsn, volume->ledger.window_us, &footer, err));
    }
    *end = (struct chain_end){*tip, footer.end.lsn, footer.end.chain, footer.end.time_us, footer.depth + 1};
    volume->publish_from = end->depth;
    od_files_release(&volume->files);
    volume->files = footer.files;
    footer.files = (struct od_files){0};
    volume->files.blocks.load = od_layer_load_leaf;
    volume->files.blocks.load_context = &volume->lineage;
    if (own) { // a clone has a ledger of its own
        od_ledger_release(&volume->ledger);
        volume->ledger = footer.ledger;
        footer.ledger = (struct od_ledger){0};
    }
out:
    od_journal_close(layer);
    od_footer_release(&footer);
    return rc;
}

// Writes again what the journal holds from `from_lsn` on (its header block too, when that is the beginning).
static od_code write_again(struct od_journal *journal, uint64_t from_lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    const size_t step = 1 * OD_MIB;
    uint64_t at = from_lsn > journal->header.first_lsn ? od_journal_offset(journal, from_lsn) : 0;
    uint64_t end = od_journal_offset(journal, journal->end_lsn);
    uint8_t *bytes = od_alloc(step);
    if (!bytes)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for reading %s", journal->path));
    while (at < end) {
        size_t part = end - at < step ? (size_t)(end - at) : step;
        OD_TRY(journal->platform->ops->read(journal->file, at, bytes, part, err));
        OD_TRY(journal->platform->ops->write(journal->file, at, &(struct iovec){bytes, part}, 1, err));
        at += part;
    }
out:
    od_free(bytes);
    return rc;
}

// Opening proves nothing about what the kernel still holds. After a sync that failed, reads show pages that no later sync
// writes, since they count as clean. So of a journal that is no layer yet nothing is trusted but what a record says was
// durable: the rest of its records is written again, and all is synced before anybody builds on it. A footer is trusted
// only when the object is there, which was made after the footer's sync; else od_volume_seal makes it anew. And since an
// object may still come of a file with a footer, such a file is not written to: a copy takes its place.
static od_code sync_recovered(struct od_volume *volume, uint64_t durable_lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    for (uint32_t depth = volume->publish_from; depth < od_lineage_next(&volume->lineage); depth++) {
        struct od_journal *journal = od_lineage_peek(&volume->lineage, depth);
        if (od_volume_looks_sealed(journal, volume->ledger.window_us)) {
            rc = od_volume_check_object(volume, journal, err);
            journal->sealed = rc == OD_OK;
            if (rc == OD_NOT_FOUND)
                rc = od_journal_renew(journal, volume->directory, od_journal_offset(journal, journal->end_lsn), err);
            OD_TRY(rc);
        } else {
            if (journal->end_lsn > durable_lsn && !OD_PLANT(CACHE_TRUSTED))
                OD_TRY(write_again(journal, durable_lsn, err));
            OD_TRY(volume->platform->ops->sync(journal->file, err));
        }
        journal->synced = true;
    }
    OD_TRY(volume->platform->ops->sync_directory(volume->platform, volume->directory, err));
out:
    return rc;
}

static od_code enlist(struct od_volume *volume, struct od_error *err)
{
    struct od_store *store = volume->store;
    od_code rc = OD_OK;
    pthread_mutex_lock(&store->lock);
    for (struct od_volume *other = store->writers; other; other = other->next_writer)
        if (od_uuid_equal(&other->branch.branch, &volume->branch.branch))
            rc = od_fail(err, OD_LOCKED, "the database %s is open for writing in this process", volume->name);
    if (rc == OD_OK) {
        volume->next_writer = store->writers;
        store->writers = volume;
        store->open_volumes++;
    }
    pthread_mutex_unlock(&store->lock);
    return rc;
}

static void delist(struct od_volume *volume)
{
    struct od_store *store = volume->store;
    struct od_volume **list = volume->read_only ? &store->readers : &store->writers;
    pthread_mutex_lock(&store->lock);
    for (struct od_volume **link = list; *link; link = &(*link)->next_writer)
        if (*link == volume) {
            *link = volume->next_writer;
            store->open_volumes--;
            break;
        }
    pthread_mutex_unlock(&store->lock);
}

struct od_volume *od_volume_new(struct od_store *store)
{
    struct od_volume *volume = od_calloc(1, sizeof *volume);
    if (!volume)
        return NULL;
    volume->store = store;
    volume->platform = store->options.platform;
    volume->files.block_bytes = (uint32_t)store->options.block_bytes;
    volume->ledger.window_us = store->options.ledger_window_ms * 1000;
    for (unsigned i = 0; i < OD_FLIGHTS_MAX; i++)
        volume->flights[i] = UINT64_MAX;
    od_lineage_init(&volume->lineage, volume->platform, store->options.objects);
    volume->files.blocks.load = od_layer_load_leaf;
    volume->files.blocks.load_context = &volume->lineage;
    pthread_mutex_init(&volume->merge_lock, NULL);
    pthread_mutex_init(&volume->publish_lock, NULL);
    pthread_mutex_init(&volume->flush_lock, NULL);
    pthread_mutex_init(&volume->lock, NULL);
    od_cond_init(&volume->landed);
    od_cond_init(&volume->moved);
    od_cond_init(&volume->work);
    od_cond_init(&volume->seal);
    od_cond_init(&volume->stop);
    return volume;
}

void od_volume_free(struct od_volume *volume)
{
    od_lineage_release(&volume->lineage);
    od_journal_close(volume->next);
    od_files_release(&volume->files);
    od_ledger_release(&volume->ledger);
    pthread_cond_destroy(&volume->landed);
    pthread_cond_destroy(&volume->moved);
    pthread_cond_destroy(&volume->work);
    pthread_cond_destroy(&volume->seal);
    pthread_cond_destroy(&volume->stop);
    pthread_mutex_destroy(&volume->lock);
    pthread_mutex_destroy(&volume->flush_lock);
    pthread_mutex_destroy(&volume->publish_lock);
    pthread_mutex_destroy(&volume->merge_lock);
    od_free(volume->merge.depths);
    od_free(volume);
}

static od_code begin_journal(struct od_volume *volume, const struct chain_end *end, struct od_error *err)
{
    od_code rc = OD_OK;
    volume->tail = volume->content = volume->barrier = volume->durable = volume->synced = end->lsn;
    volume->barrier_chain = end->chain;
    volume->time_us = end->time_us;
    volume->watermark = end->lsn;
    volume->sync_from = od_lineage_next(&volume->lineage);
    if (volume->sync_from > volume->publish_from)
        volume->current = od_lineage_peek(&volume->lineage, volume->sync_from - 1);
    OD_TRY(od_volume_prepare_next(volume, err));
    pthread_mutex_lock(&volume->lock);
    od_volume_switch(volume);
    pthread_mutex_unlock(&volume->lock);
    OD_TRY(od_volume_health(volume, err));
out:
    return rc;
}

// Says what the takeover costs at most: from when on commits may be missing.
static void tell_takeover(const struct od_volume *volume, const struct od_meta_branch *before,
                          const struct od_uuid *holder)
{
    const struct od_meta_branch *now = &volume->branch;
    if (od_uuid_is_zero(&before->holder) || od_uuid_equal(&before->holder, holder) || before->epoch + 1 != now->epoch)
        return;
    char text[40];
    uint64_t wall_us = volume->platform->ops->wall_us(volume->platform);
    uint64_t age_s = wall_us > now->tip_time_us ? (wall_us - now->tip_time_us) / 1000000 : 0;
    time_t seconds = (time_t)(now->tip_time_us / 1000000);
    struct tm parts;
    gmtime_r(&seconds, &parts);
    strftime(text, sizeof text, "%Y-%m-%d %H:%M:%S", &parts);
    if (now->policy & OD_BRANCH_REMOTE)
        od_log(OD_LOG_WARN, "storage", "took %s over from %s; nothing that was acknowledged as remote is lost", volume->name,
               before->owner);
    else
        od_log(OD_LOG_WARN, "storage",
               "took %s over from %s, as of its newest layer: position %llu, last commit %s UTC (%llu s ago). What was "
               "acknowledged there since and not shipped is not in it; it stays on that machine's disk",
               volume->name, before->owner, (unsigned long long)now->tip_lsn, text, (unsigned long long)age_s);
}

static od_code open_once(struct od_store *store, const char *name, bool force, struct od_volume **out,
                         struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_database database;
    struct od_meta_branch before;
    struct od_uuid holder;
    struct found found = {0};
    bool listed = false;
    struct od_volume *volume = od_volume_new(store);
    if (!volume)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the database %s", name);
    OD_TRY(meta->ops->database_get(meta, name, &database, err));
    memcpy(volume->name, database.name, sizeof volume->name);
    volume->branch.branch = database.branch;
    OD_TRY(enlist(volume, err));
    listed = true;
    OD_TRY(od_store_holder(store, &holder, err));
    OD_TRY(meta->ops->branch_get(meta, &database.branch, &before, err));
    uint64_t asked_us = volume->platform->ops->clock_us(volume->platform);
    if (OD_PLANT(EPOCH_USED_AGAIN))
        OD_TRY(meta->ops->branch_get(meta, &database.branch, &volume->branch, err));
    if (!OD_PLANT(EPOCH_USED_AGAIN) || volume->branch.epoch == 0)
        OD_TRY(meta->ops->epoch_acquire(meta, &database.branch, store->options.owner, &holder, OD_LEASE_US, force,
                                        &volume->branch, err));
    volume->epoch = volume->branch.epoch;
    volume->lease_renewed_us = asked_us;
    OD_TRY(od_branch_claim(volume, err));
    OD_TRY(od_branch_roll_forward(volume, &before, err));
    tell_takeover(volume, &before, &holder);
    OD_TRY(od_store_branch_directory(store, &database.branch, volume->directory, err));
    OD_TRY(volume->platform->ops->make_directory(volume->platform, volume->directory, err));
    OD_TRY(find_journals(volume, &found, err));
    struct chain_end end;
    OD_TRY(load_tip(volume, &end, err));
    OD_TRY(recover_journals(volume, &found, &end, err));
    OD_TRY(sync_recovered(volume, found.durable_lsn, err));
    OD_TRY(begin_journal(volume, &end, err));
    volume->maintained_us = volume->platform->ops->clock_us(volume->platform);
    if (store->options.threads)
        OD_TRY(od_volume_start_threads(volume, err));
    *out = volume;
    volume = NULL;
out:
    found_release(&found);
    if (volume) {
        if (listed)
            delist(volume);
        od_volume_free(volume);
    }
    return rc;
}

od_code od_volume_open(struct od_store *store, const char *name, bool force, struct od_volume **out,
                       struct od_error *err)
{
    od_code rc = open_once(store, name, force, out, err);
    return rc == OD_LIMIT && od_reserve_give(store) ? open_once(store, name, force, out, err) : rc;
}

static od_code finish_writing(struct od_volume *volume, struct od_error *err)
{
    od_code rc = od_volume_flush(volume, err);
    if (rc == OD_OK)
        rc = od_volume_roll(volume, err);
    if (rc == OD_OK)
        rc = od_volume_publish(volume, err);
    return rc;
}

// Journals in which nothing was committed. Should it fail, the next opening does it.
static void remove_unused(struct od_volume *volume)
{
    const struct od_journal *current = volume->current;
    struct od_platform *platform = volume->platform;
    od_code rc = OD_OK;
    if (volume->barrier == current->header.first_lsn)
        rc = platform->ops->remove(platform, current->path, NULL);
    if (rc == OD_OK && volume->next)
        rc = platform->ops->remove(platform, volume->next->path, NULL);
    (void)rc;
}

void od_volume_close(struct od_volume *volume)
{
    if (!volume)
        return;
    if (volume->read_only) {
        delist(volume);
        od_volume_free(volume);
        return;
    }
    struct od_error err = {0};
    od_volume_stop_threads(volume);
    od_code rc = finish_writing(volume, &err);
    if (rc == OD_LIMIT && od_reserve_give(volume->store))
        rc = finish_writing(volume, &err);
    if (rc != OD_OK)
        od_log(OD_LOG_WARN, "storage", "closing %s (the next opening finishes it): %s", volume->name, err.message);
    od_volume_answer(volume);
    remove_unused(volume);
    struct od_metastore *meta = volume->store->options.metadata;
    bool own = !od_uuid_is_zero(&volume->branch.tip_layer);
    bool published = rc == OD_OK && volume->barrier == (own ? volume->branch.tip_lsn : volume->branch.start_lsn);
    if (meta->ops->lease_release(meta, &volume->branch.branch, volume->epoch, published, &err) != OD_OK)
        od_log(OD_LOG_WARN, "storage", "giving back the lease of %s: %s", volume->name, err.message);
    delist(volume);
    od_volume_free(volume);
}

bool od_volume_ledger_find(struct od_volume *volume, const char *request_id, struct od_ledger_entry *entry)
{
    pthread_mutex_lock(&volume->lock);
    bool found = od_ledger_find(&volume->ledger, request_id, entry);
    pthread_mutex_unlock(&volume->lock);
    return found;
}

void od_volume_stats_read(struct od_volume *volume, struct od_volume_stats *stats)
{
    *stats = (struct od_volume_stats){0};
    pthread_mutex_lock(&volume->lock);
    stats->barriers = volume->barriers;
    stats->syncs = volume->syncs;
    stats->journal_bytes = volume->current ? volume->tail - volume->current->header.first_lsn : 0;
    stats->page_table_bytes = od_page_table_bytes(&volume->files.blocks);
    uint64_t size = volume->files.states[OD_VOLUME_DATABASE].size;
    stats->blocks = size > OD_GRID_ORIGIN ? (size - OD_GRID_ORIGIN) / volume->files.block_bytes : 0;
    for (int i = OD_VOLUME_WAL; i < OD_VOLUME_FILES; i++)
        stats->wal_bytes += volume->files.states[i].size;
    uint64_t published =
        volume->branch.tip_lsn > volume->branch.start_lsn ? volume->branch.tip_lsn : volume->branch.start_lsn;
    stats->unpublished_bytes = volume->tail - published;
    stats->layers = volume->publish_from;
    pthread_mutex_unlock(&volume->lock);
}
