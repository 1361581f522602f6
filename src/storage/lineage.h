// lineage.h - private: the layers and journals that a history is made of, by depth: 0 is the oldest, each has one parent.
// Layers are opened when something in them is read.
//
// Threads: all functions; entries are only added, and pointers stay until the lineage is released.
#ifndef OD_STORAGE_LINEAGE_H
#define OD_STORAGE_LINEAGE_H

#include "objstore/objstore.h"
#include "storage/journal.h"

#include <pthread.h>

struct od_lineage_entry {
    struct od_uuid layer;
    struct od_journal *journal; // NULL: a layer that was not needed yet
};

struct od_lineage {
    struct od_platform *platform;
    struct od_objstore *objects;
    pthread_mutex_t lock;
    struct od_lineage_entry *entries;
    size_t count, capacity;
};

void od_lineage_init(struct od_lineage *lineage, struct od_platform *platform, struct od_objstore *objects);
void od_lineage_release(struct od_lineage *lineage);
// Room for `more` entries, so that od_lineage_add cannot fail.
OD_CHECKED od_code od_lineage_reserve(struct od_lineage *lineage, size_t more, struct od_error *err);
void od_lineage_add(struct od_lineage *lineage, const struct od_uuid *layer, struct od_journal *journal);
// The journal or layer at a depth; opens it when needed.
OD_CHECKED od_code od_lineage_get(struct od_lineage *lineage, uint32_t depth, struct od_journal **journal,
                                  struct od_error *err);

// "layers/UUID"
#define OD_LAYER_KEY_BYTES (7u + OD_UUID_TEXT_BYTES)
void od_layer_key(const struct od_uuid *layer, char key[OD_LAYER_KEY_BYTES]);
// A sealed layer, to read; od_journal_close.
OD_CHECKED od_code od_layer_open(struct od_objstore *objects, const struct od_uuid *layer, struct od_journal **journal,
                                 struct od_error *err);

// The page table's loader: the leaf that a root names, verified. context: the lineage.
OD_CHECKED od_code od_layer_load_leaf(void *context, struct od_page root, struct od_page *pages, struct od_error *err);

#endif
