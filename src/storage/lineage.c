// lineage.c - opening and keeping the layers of a history; see lineage.h.
#include "storage/lineage.h"

#include "base/alloc.h"

#include <stdio.h>
#include <string.h>

void od_lineage_init(struct od_lineage *lineage, struct od_platform *platform, struct od_objstore *objects)
{
    *lineage = (struct od_lineage){.platform = platform, .objects = objects};
    pthread_mutex_init(&lineage->lock, NULL);
}

void od_lineage_release(struct od_lineage *lineage)
{
    for (size_t i = 0; i < lineage->count; i++)
        od_journal_close(lineage->entries[i].journal);
    od_free(lineage->entries);
    pthread_mutex_destroy(&lineage->lock);
}

od_code od_lineage_reserve(struct od_lineage *lineage, size_t more, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&lineage->lock);
    size_t needed = lineage->count + more;
    if (needed > OD_PLACE_DEPTH_MAX) {
        rc = od_fail(err, OD_LIMIT, "a history has at most %u layers", OD_PLACE_DEPTH_MAX);
    } else if (needed > lineage->capacity) {
        size_t capacity = needed < 2 * lineage->capacity ? 2 * lineage->capacity : needed + 16;
        struct od_lineage_entry *entries = od_realloc(lineage->entries, capacity * sizeof *entries);
        if (entries) {
            lineage->entries = entries;
            lineage->capacity = capacity;
        } else {
            rc = od_fail(err, OD_NO_MEMORY, "out of memory for a history of %zu layers", needed);
        }
    }
    pthread_mutex_unlock(&lineage->lock);
    return rc;
}

void od_lineage_add(struct od_lineage *lineage, const struct od_uuid *layer, struct od_journal *journal)
{
    pthread_mutex_lock(&lineage->lock);
    lineage->entries[lineage->count++] = (struct od_lineage_entry){*layer, journal};
    pthread_mutex_unlock(&lineage->lock);
}

od_code od_lineage_get(struct od_lineage *lineage, uint32_t depth, struct od_journal **journal, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&lineage->lock);
    if (depth >= lineage->count)
        rc = od_fail(err, OD_CORRUPT, "something lies in a layer at depth %u, but the history has %zu", depth,
                     lineage->count);
    else if (!lineage->entries[depth].journal)
        rc = od_layer_open(lineage->objects, &lineage->entries[depth].layer, &lineage->entries[depth].journal, err);
    if (rc == OD_OK && lineage->entries[depth].journal->header.depth != depth)
        rc = od_fail(err, OD_CORRUPT, "%s is at depth %u of its history, not %u (offset 12)",
                     lineage->entries[depth].journal->path, lineage->entries[depth].journal->header.depth, depth);
    if (rc == OD_OK)
        *journal = lineage->entries[depth].journal;
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
