// lineage.h - private: the layers and journals that a state is made of, by depth: 0 is the oldest of a history, each has one
// parent. Those in which nothing lies that is still needed are left out. Layers are opened when something in them is read.
//
// Threads: all functions. A pointer to a journal stays until the lineage is released, or until od_lineage_keep leaves it out
// and nobody has it pinned.
#ifndef OD_STORAGE_LINEAGE_H
#define OD_STORAGE_LINEAGE_H

#include "objstore/objstore.h"
#include "storage/journal.h"

#include <pthread.h>

// Epochs that were given: OD_CLAIMS BRANCH/EPOCH in 16 hexadecimal digits (claim.c). False: another key.
#define OD_CLAIMS "epochs/"
bool od_claim_parse(const char *key, struct od_uuid *branch, uint64_t *epoch);

struct od_layer_ref {
    struct od_uuid layer;
    uint32_t depth;
};

struct od_lineage_entry {
    struct od_layer_ref ref;
    struct od_journal *journal; // NULL: a layer that was not needed yet
};

struct od_lineage {
    struct od_platform *platform;
    struct od_objstore *objects;
    pthread_mutex_t lock;
    struct od_lineage_entry *entries; // in order of depth
    size_t count, capacity;
    struct od_journal *left_out; // pinned when they were; linked by next_left_out
};

void od_lineage_init(struct od_lineage *lineage, struct od_platform *platform, struct od_objstore *objects);
void od_lineage_release(struct od_lineage *lineage);
// Room for `more` entries, so that od_lineage_add cannot fail.
OD_CHECKED od_code od_lineage_reserve(struct od_lineage *lineage, size_t more, struct od_error *err);
// depth: beyond that of the others.
void od_lineage_add(struct od_lineage *lineage, uint32_t depth, const struct od_uuid *layer,
                    struct od_journal *journal);
// Those that are not there yet, in order of depth. OD_CORRUPT: another layer has one's depth.
OD_CHECKED od_code od_lineage_merge(struct od_lineage *lineage, const struct od_layer_ref *refs, size_t count,
                                    struct od_error *err);
uint32_t od_lineage_next(struct od_lineage *lineage); // the depth beyond the last
// False: it has none of that depth.
bool od_lineage_layer(struct od_lineage *lineage, uint32_t depth, struct od_uuid *layer);
struct od_journal *od_lineage_peek(struct od_lineage *lineage, uint32_t depth); // NULL: none, or not opened yet
// The last of the opened ones that begins before `lsn`, or NULL.
struct od_journal *od_lineage_before(struct od_lineage *lineage, uint64_t lsn);
// Leaves out those that `keep` does not want.
void od_lineage_keep(struct od_lineage *lineage, bool (*keep)(void *context, uint32_t depth), void *context);
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
