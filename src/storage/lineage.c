// lineage.c - opening and keeping the layers of a history; see lineage.h.
#include "storage/lineage.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <string.h>

void od_lineage_init(struct od_lineage *lineage, struct od_platform *platform, struct od_objstore *objects)
{
    *lineage = (struct od_lineage){.platform = platform, .objects = objects};
    pthread_mutex_init(&lineage->lock, NULL);
}

// Closes those that were pinned when they were left out, as far as they are not any more.
static void close_left_out(struct od_lineage *lineage, bool all)
{
    for (struct od_journal **link = &lineage->left_out; *link;) {
        struct od_journal *journal = *link;
        if (!all && atomic_load(&journal->pins) > 0) {
            link = &journal->next_left_out;
            continue;
        }
        *link = journal->next_left_out;
        od_journal_close(journal);
    }
}

void od_lineage_release(struct od_lineage *lineage)
{
    for (size_t i = 0; i < lineage->count; i++)
        od_journal_close(lineage->entries[i].journal);
    close_left_out(lineage, true);
    od_free(lineage->entries);
    pthread_mutex_destroy(&lineage->lock);
}

// Index of the first entry at `depth` or beyond. Under `lock`, like the next.
static size_t find(const struct od_lineage *lineage, uint32_t depth)
{
    size_t low = 0, high = lineage->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (lineage->entries[middle].ref.depth < depth)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct od_lineage_entry *entry_at(const struct od_lineage *lineage, uint32_t depth)
{
    size_t index = find(lineage, depth);
    return index < lineage->count && lineage->entries[index].ref.depth == depth ? &lineage->entries[index] : NULL;
}

static uint32_t next_depth(const struct od_lineage *lineage)
{
    return lineage->count ? lineage->entries[lineage->count - 1].ref.depth + 1 : 0;
}

static od_code make_room(struct od_lineage *lineage, size_t more, struct od_error *err)
{
    size_t needed = lineage->count + more;
    if (needed <= lineage->capacity)
        return OD_OK;
    size_t capacity = needed < 2 * lineage->capacity ? 2 * lineage->capacity : needed + 16;
    struct od_lineage_entry *entries = od_realloc(lineage->entries, capacity * sizeof *entries);
    if (!entries)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a history of %zu layers", needed);
    lineage->entries = entries;
    lineage->capacity = capacity;
    return OD_OK;
}

od_code od_lineage_reserve(struct od_lineage *lineage, size_t more, struct od_error *err)
{
    pthread_mutex_lock(&lineage->lock);
    od_code rc = next_depth(lineage) + more > OD_PLACE_DEPTH_MAX
                     ? od_fail(err, OD_LIMIT, "a history has at most %u layers", OD_PLACE_DEPTH_MAX)
                     : make_room(lineage, more, err);
    pthread_mutex_unlock(&lineage->lock);
    return rc;
}

void od_lineage_add(struct od_lineage *lineage, uint32_t depth, const struct od_uuid *layer, struct od_journal *journal)
{
    pthread_mutex_lock(&lineage->lock);
    od_assert(depth >= next_depth(lineage) && lineage->count < lineage->capacity);
    lineage->entries[lineage->count++] = (struct od_lineage_entry){{*layer, depth}, journal};
    pthread_mutex_unlock(&lineage->lock);
}

od_code od_lineage_merge(struct od_lineage *lineage, const struct od_layer_ref *refs, size_t count,
                         struct od_error *err)
{
    pthread_mutex_lock(&lineage->lock);
    od_code rc = make_room(lineage, count, err);
    for (size_t i = 0; i < count && rc == OD_OK; i++) {
        size_t at = find(lineage, refs[i].depth);
        struct od_lineage_entry *entry = &lineage->entries[at];
        if (at == lineage->count || entry->ref.depth != refs[i].depth) {
            memmove(entry + 1, entry, (lineage->count - at) * sizeof *entry);
            *entry = (struct od_lineage_entry){refs[i], NULL};
            lineage->count++;
        } else if (!od_uuid_equal(&entry->ref.layer, &refs[i].layer)) {
            rc = od_fail(err, OD_CORRUPT, "two layers of one history have the depth %u", refs[i].depth);
        }
    }
    pthread_mutex_unlock(&lineage->lock);
    return rc;
}

uint32_t od_lineage_next(struct od_lineage *lineage)
{
    pthread_mutex_lock(&lineage->lock);
    uint32_t depth = next_depth(lineage);
    pthread_mutex_unlock(&lineage->lock);
    return depth;
}

bool od_lineage_layer(struct od_lineage *lineage, uint32_t depth, struct od_uuid *layer)
{
    pthread_mutex_lock(&lineage->lock);
    const struct od_lineage_entry *entry = entry_at(lineage, depth);
    if (entry)
        *layer = entry->ref.layer;
    pthread_mutex_unlock(&lineage->lock);
    return entry != NULL;
}

struct od_journal *od_lineage_peek(struct od_lineage *lineage, uint32_t depth)
{
    pthread_mutex_lock(&lineage->lock);
    const struct od_lineage_entry *entry = entry_at(lineage, depth);
    struct od_journal *journal = entry ? entry->journal : NULL;
    pthread_mutex_unlock(&lineage->lock);
    return journal;
}

struct od_journal *od_lineage_before(struct od_lineage *lineage, uint64_t lsn)
{
    struct od_journal *found = NULL;
    pthread_mutex_lock(&lineage->lock);
    for (size_t i = lineage->count; i-- > 0 && !found;) {
        struct od_journal *journal = lineage->entries[i].journal;
        if (journal && journal->header.first_lsn < lsn)
            found = journal;
    }
    pthread_mutex_unlock(&lineage->lock);
    return found;
}

void od_lineage_keep(struct od_lineage *lineage, bool (*keep)(void *context, uint32_t depth), void *context)
{
    size_t kept = 0;
    pthread_mutex_lock(&lineage->lock);
    for (size_t i = 0; i < lineage->count; i++) {
        struct od_lineage_entry entry = lineage->entries[i];
        if (keep(context, entry.ref.depth)) {
            lineage->entries[kept++] = entry;
        } else if (entry.journal) {
            entry.journal->next_left_out = lineage->left_out;
            lineage->left_out = entry.journal;
        }
    }
    lineage->count = kept;
    close_left_out(lineage, false);
    pthread_mutex_unlock(&lineage->lock);
}

od_code od_lineage_get(struct od_lineage *lineage, uint32_t depth, struct od_journal **journal, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&lineage->lock);
    struct od_lineage_entry *entry = entry_at(lineage, depth);
    if (!entry)
        rc = od_fail(err, OD_CORRUPT, "something lies in a layer at depth %u, which is not among those of the history",
                     depth);
    else if (!entry->journal)
        rc = od_layer_open(lineage->objects, &entry->ref.layer, &entry->journal, err);
    if (rc == OD_OK && entry->journal->header.depth != depth)
        rc = od_fail(err, OD_CORRUPT, "%s is at depth %u of its history, not %u (offset 12)", entry->journal->path,
                     entry->journal->header.depth, depth);
    if (rc == OD_OK)
        *journal = entry->journal;
    pthread_mutex_unlock(&lineage->lock);
    return rc;
}

void od_layer_key(const struct od_uuid *layer, char key[OD_LAYER_KEY_BYTES])
{
    memcpy(key, "layers/", 7);
    od_uuid_format(layer, key + 7);
}

od_code od_layer_open(struct od_objstore *objects, const struct od_uuid *layer, struct od_journal **out,
                      struct od_error *err)
{
    od_code rc = OD_OK;
    char key[OD_LAYER_KEY_BYTES];
    uint8_t block[OD_JOURNAL_HEADER_BYTES];
    od_layer_key(layer, key);
    struct od_journal *journal = od_calloc(1, sizeof *journal);
    if (!journal)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the layer %s", key);
    pthread_rwlock_init(&journal->place, NULL);
    memcpy(journal->path, key, sizeof key);
    OD_TRY(od_objstore_open(objects, key, &journal->object, err));
    journal->reserved = od_object_bytes(journal->object);
    if (journal->reserved < sizeof block)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s ends within its header block (offset %llu)", key,
                       (unsigned long long)journal->reserved));
    OD_TRY(od_object_read(journal->object, 0, block, sizeof block, err));
    OD_TRY(od_journal_header_decode(block, key, &journal->header, &journal->head_chain, err));
    if (!od_uuid_equal(&journal->header.layer, layer))
        OD_TRY(od_fail(err, OD_CORRUPT, "%s holds another layer (offset 16)", key));
    journal->seed = od_record_seed(layer);
    journal->synced = journal->published = true;
    *out = journal;
    journal = NULL;
out:
    od_journal_close(journal);
    return rc;
}
