// volume_merge.c - layers that hold little that is live are emptied: their blocks are written again at the end of the journal,
// as they are, so that many small layers become one, and nothing needs the old ones but the past (collect.h).
//
// A block that moves is an ordinary record that writes what is there already, so crashes, takeovers, snapshots and rebuilds
// know nothing of it.
//
//   E1  A block moves only if it is, when the record gets its position, where it was before it was read: whoever writes a
//       block meanwhile wins.
//   E2  Moves begin only at a barrier, and end with one of their own unless a commit is on its way (od_volume_settle).
//   E3  Layers are looked through when a footer was (footer_prune.c), so in proportion to what was written; blocks move a few
//       at a time.
#include "storage/store_internal.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdlib.h>
#include <string.h>

#define MOVED_BYTES_MAX (16 * OD_MIB) // in one call
#define MOVED_AT_ONCE 8u              // blocks between two barriers
#define SMALL_PART 16u // of the size at which journals are closed: a layer with less that is live is small

struct layer_use {
    uint32_t depth;
    bool own;               // of this branch: emptied, nobody else may need it
    uint64_t blocks, bytes; // that are live; of the object
};

struct use {
    struct layer_use *layers; // in order of depth
    size_t count;
};

static struct layer_use *find_use(const struct use *use, uint32_t depth)
{
    size_t low = 0, high = use->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (use->layers[middle].depth < depth)
            low = middle + 1;
        else
            high = middle;
    }
    return low < use->count && use->layers[low].depth == depth ? &use->layers[low] : NULL;
}

// The published layers of the volume.
static od_code list_layers(struct od_volume *volume, struct use *use, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_lineage *lineage = &volume->lineage;
    pthread_mutex_lock(&volume->lock);
    uint32_t published = volume->publish_from;
    pthread_mutex_lock(&lineage->lock);
    use->layers = od_calloc(lineage->count + 1, sizeof *use->layers);
    for (size_t i = 0; use->layers && i < lineage->count && lineage->entries[i].ref.depth < published; i++)
        use->layers[use->count++].depth = lineage->entries[i].ref.depth;
    pthread_mutex_unlock(&lineage->lock);
    pthread_mutex_unlock(&volume->lock);
    if (!use->layers)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the layers of %s", volume->name);
    for (size_t i = 0; i < use->count && rc == OD_OK; i++) {
        struct od_journal *layer;
        pthread_mutex_lock(&volume->lock); // none is left out meanwhile
        rc = od_lineage_get(lineage, use->layers[i].depth, &layer, err);
        if (rc == OD_OK)
            rc = od_journal_size(layer, &use->layers[i].bytes, err);
        if (rc == OD_OK)
            use->layers[i].own = od_uuid_equal(&layer->header.branch, &volume->branch.branch);
        pthread_mutex_unlock(&volume->lock);
    }
    return rc;
}

static size_t leaf_count(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    size_t count = volume->files.blocks.count;
    pthread_mutex_unlock(&volume->lock);
    return count;
}

// Under `lock`: a leaf in memory, or NULL.
static od_code leaf_at(struct od_volume *volume, size_t index, const struct od_leaf **leaf, struct od_error *err)
{
    struct od_page_table *table = &volume->files.blocks;
    *leaf = NULL;
    if (index >= table->count)
        return OD_OK;
    od_code rc = od_page_load(table, index * (uint64_t)OD_LEAF_ENTRIES, err);
    *leaf = table->leaves[index];
    return rc;
}

static od_code count_blocks(struct od_volume *volume, struct use *use, struct od_error *err)
{
    od_code rc = OD_OK;
    for (size_t i = 0; i < leaf_count(volume) && rc == OD_OK; i++) {
        const struct od_leaf *leaf;
        pthread_mutex_lock(&volume->lock);
        rc = leaf_at(volume, i, &leaf, err);
        struct layer_use *last = NULL; // neighbours mostly lie in one layer
        for (unsigned k = 0; leaf && k < OD_LEAF_ENTRIES; k++) {
            od_place place = leaf->pages[k].place;
            if (!place)
                continue;
            if (!last || last->depth != od_place_depth(place))
                last = find_use(use, od_place_depth(place));
            if (last)
                last->blocks++;
        }
        pthread_mutex_unlock(&volume->lock);
    }
    return rc;
}

// Small ones when there are many; own ones in which most is dead when that is most of the space.
static od_code choose(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct use use = {0};
    struct od_merge *merge = &volume->merge;
    const struct od_store_options *options = &volume->store->options;
    uint64_t block = volume->files.block_bytes, small = 0, live = 0, bytes = 0;
    OD_TRY(list_layers(volume, &use, err));
    OD_TRY(count_blocks(volume, &use, err));
    for (size_t i = 0; i < use.count; i++) {
        const struct layer_use *layer = &use.layers[i];
        small += layer->blocks * block < options->seal_bytes / SMALL_PART;
        live += layer->own ? layer->blocks * block : 0;
        bytes += layer->own ? layer->bytes : 0;
    }
    merge->depths = od_alloc((use.count + 1) * sizeof *merge->depths);
    if (!merge->depths)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the layers of %s", volume->name));
    for (size_t i = 0; i < use.count; i++) {
        const struct layer_use *layer = &use.layers[i];
        uint64_t holds = layer->blocks * block;
        if ((small > options->layers_slack && holds < options->seal_bytes / SMALL_PART) ||
            (bytes > 2 * live + options->seal_bytes && layer->own && holds < layer->bytes / 4))
            merge->depths[merge->count++] = layer->depth;
    }
    merge->leaf = 0;
out:
    od_free(use.layers);
    return rc;
}

static int by_depth(const void *a, const void *b)
{
    const uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

static bool is_emptied(const struct od_merge *merge, od_place place)
{
    uint32_t depth = od_place_depth(place);
    return place && bsearch(&depth, merge->depths, merge->count, sizeof depth, by_depth);
}

struct move {
    uint64_t block;
    od_place place;
};

// Up to MOVED_AT_ONCE blocks of the leaf that have to move; one of it when the leaf itself has to, which is then written anew.
static od_code find_moves(struct od_volume *volume, struct move moves[MOVED_AT_ONCE], unsigned *count,
                          struct od_error *err)
{
    struct od_merge *merge = &volume->merge;
    const struct od_leaf *leaf;
    struct move any = {0};
    *count = 0;
    pthread_mutex_lock(&volume->lock);
    od_code rc = leaf_at(volume, merge->leaf, &leaf, err);
    for (unsigned k = 0; leaf && k < OD_LEAF_ENTRIES && *count < MOVED_AT_ONCE; k++) {
        struct move found = {merge->leaf * (uint64_t)OD_LEAF_ENTRIES + k, leaf->pages[k].place & ~OD_PLACE_VERIFIED};
        if (found.place)
            any = found;
        if (is_emptied(merge, found.place))
            moves[(*count)++] = found;
    }
    if (leaf && *count == 0 && any.place && is_emptied(merge, volume->files.blocks.roots[merge->leaf].place))
        moves[(*count)++] = any;
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

static od_code move_block(struct od_volume *volume, const struct move *move, uint8_t *block, struct od_error *err)
{
    uint32_t bytes = volume->files.block_bytes;
    uint64_t offset = OD_GRID_ORIGIN + move->block * bytes, lsn;
    if (offset + bytes > od_volume_size(volume, OD_VOLUME_DATABASE))
        return OD_OK; // it is being cut off
    od_code rc = od_volume_read(volume, OD_VOLUME_DATABASE, offset, block, bytes, err);
    if (rc == OD_IO && offset + bytes > od_volume_size(volume, OD_VOLUME_DATABASE))
        return OD_OK;
    if (rc != OD_OK)
        return rc;
    struct od_volume_append append = {
        .record = {.op = OD_RECORD_WRITE,
                   .file = OD_VOLUME_DATABASE,
                   .offset = offset,
                   .bytes = bytes,
                   .payload_hash = od_storage_hash(block, bytes, 0)},
        .payload = block,
        .moved_from = move->place,
    };
    return od_volume_append(volume, &append, &lsn, err);
}

// E2
static bool is_at_barrier(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    bool at = volume->content <= volume->barrier && !volume->stopping && !volume->poisoned;
    pthread_mutex_unlock(&volume->lock);
    return at;
}

static od_code move_some(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_merge *merge = &volume->merge;
    struct move moves[MOVED_AT_ONCE];
    unsigned count;
    uint8_t *block = od_alloc(volume->files.block_bytes);
    if (!block)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a block of %s", volume->name));
    for (uint64_t moved = 0; moved < MOVED_BYTES_MAX && is_at_barrier(volume);) {
        if (merge->leaf >= leaf_count(volume)) {
            od_free(merge->depths);
            *merge = (struct od_merge){.wanted = merge->wanted};
            break;
        }
        OD_TRY(find_moves(volume, moves, &count, err));
        for (unsigned i = 0; i < count; i++)
            OD_TRY(move_block(volume, &moves[i], block, err));
        if (count < MOVED_AT_ONCE)
            merge->leaf++;
        moved += (uint64_t)count * volume->files.block_bytes;
        if (count > 0)
            OD_TRY(od_volume_settle(volume, err));
    }
out:
    od_free(block);
    return rc;
}

od_code od_volume_merge(struct od_volume *volume, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_merge *merge = &volume->merge;
    pthread_mutex_lock(&volume->merge_lock);
    pthread_mutex_lock(&volume->lock);
    bool choosing = merge->wanted && !merge->depths;
    merge->wanted = merge->wanted && !choosing;
    pthread_mutex_unlock(&volume->lock);
    if (choosing)
        OD_TRY(choose(volume, err));
    if (merge->count > 0)
        OD_TRY(move_some(volume, err));
    if (merge->count == 0 && merge->depths) {
        od_free(merge->depths);
        merge->depths = NULL;
    }
out:
    pthread_mutex_unlock(&volume->merge_lock);
    return rc;
}
