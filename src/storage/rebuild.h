// rebuild.h - the metadata from the objects alone, into an empty metadata store.
//
// Each branch that has a description or layers gets a row, and each a database. Its tip is the newest layer of its highest
// epoch, its history what that layer continues, step by step. Layers outside that history (an overtaken writer had put
// them, and was refused) get no row and are left where they are. A branch that is described as dropped stays
// so: it keeps its layers and snapshots, and has no name. One whose drop was not described comes back. Of several with one name, one with layers keeps it (of those the newest); the others are called
// NAME-recovered-UUID. A branch without a description is called recovered-UUID.
//
//   R1  The objects are only read. The metadata gets everything in one transaction, or nothing.
//   R2  The epoch of a branch is far beyond every one that its layers name and that was claimed among the objects (claim.c),
//       so that no number is given twice, also not by one rebuild after another.
//   R3  A history with a missing or damaged layer is never presented as a shorter one, unless `partial`.
#ifndef OD_STORAGE_REBUILD_H
#define OD_STORAGE_REBUILD_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

OD_BEGIN_C

struct od_objstore;
struct od_metastore;

struct od_rebuild {
    struct od_objstore *objects;   // borrowed, like the metadata
    struct od_metastore *metadata; // empty
    // Goes on with what is left after reporting: a history ends below a damaged tip, and branches whose history has a hole
    // are left out.
    bool partial;
    unsigned helpers; // threads besides the caller's that read objects; 0: it alone
    // From any of the threads, one at a time.
    void (*progress)(void *context, uint64_t objects, uint64_t bytes); // NULL is fine, like the next one
    void (*problem)(void *context, const char *key, const struct od_error *why);
    void *context;
    uint64_t objects_seen, bytes;                    // filled
    uint64_t databases, branches, layers, snapshots; // rows made
    uint64_t outside;                                // layers outside every history
    uint64_t problems;
};

// OD_EXISTS: the metadata store is not empty. OD_CORRUPT: there were problems, all of them reported; nothing was written.
// After OD_OUTCOME_UNKNOWN of the metadata: run it again; OD_EXISTS then says that it had worked.
OD_CHECKED od_code od_rebuild_run(struct od_rebuild *rebuild, struct od_error *err);

OD_END_C

#endif
