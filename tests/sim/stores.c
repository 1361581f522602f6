#include "sim/stores.h"
#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

void sim_stores_init(struct sim_stores *stores)
{
    *stores = (struct sim_stores){.metadata = {.now_us = 1767225600ull * 1000 * 1000}};
}

static void release_blobs(struct sim_blob *blobs, size_t count)
{
    for (size_t i = 0; i < count; i++)
        sim_bytes_release(&blobs[i].content);
}

void sim_stores_release(struct sim_stores *stores)
{
    release_blobs(stores->objects.blobs, stores->objects.count);
    release_blobs(stores->objects.late, stores->objects.late_count);
    free(stores->objects.blobs);
    free(stores->metadata.databases);
    free(stores->metadata.branches);
    free(stores->metadata.layers);
    free(stores->metadata.snapshots);
    free(stores->metadata.late);
    *stores = (struct sim_stores){0};
}

static void *copy_of(const void *rows, size_t bytes)
{
    void *copy = malloc(bytes + 1);
    od_assert(copy);
    if (bytes)
        memcpy(copy, rows, bytes);
    return copy;
}

void sim_stores_copy(struct sim_stores *to, const struct sim_stores *from)
{
    const struct sim_metadata *rows = &from->metadata;
    *to = *from;
    to->objects.blobs = copy_of(from->objects.blobs, from->objects.count * sizeof *from->objects.blobs);
    for (size_t i = 0; i < from->objects.count; i++)
        sim_bytes_copy(&to->objects.blobs[i].content, &from->objects.blobs[i].content);
    for (size_t i = 0; i < from->objects.late_count; i++)
        sim_bytes_copy(&to->objects.late[i].content, &from->objects.late[i].content);
    to->metadata.databases = copy_of(rows->databases, rows->database_count * sizeof *rows->databases);
    to->metadata.branches = copy_of(rows->branches, rows->branch_count * sizeof *rows->branches);
    to->metadata.layers = copy_of(rows->layers, rows->layer_count * sizeof *rows->layers);
    to->metadata.snapshots = copy_of(rows->snapshots, rows->snapshot_count * sizeof *rows->snapshots);
    to->metadata.late = copy_of(rows->late, rows->late_count * sizeof *rows->late);
}

void sim_stores_deliver(struct sim_stores *stores, struct sim_random *random, unsigned per_mille)
{
    sim_objects_deliver(&stores->objects, random, per_mille);
    sim_metadata_deliver(&stores->metadata, random, per_mille);
}
