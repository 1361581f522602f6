// fsck.h - is everything what it says it is? Reads every byte of every layer; changes nothing.
//
// Of each layer: header block, every record's check, chain and payload hash; that the footer and the leaves are exactly
// what the parent's footer and these records give (so every reference to another layer is right, because it is right in
// the parent); that it continues its parent. Of the descriptions: their hashes. Of the metadata: that each row has its
// object and says the same. Objects without a row are counted: a crash between two steps, or an overtaken writer, leaves
// them. It may run beside a writer: rows are read before objects.
#ifndef OD_STORAGE_FSCK_H
#define OD_STORAGE_FSCK_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stdint.h>

OD_BEGIN_C

struct od_platform;
struct od_objstore;
struct od_metastore;

struct od_fsck {
    struct od_platform *platform; // borrowed, like the next two
    struct od_objstore *objects;
    struct od_metastore *metadata; // NULL: the objects only
    // Zeros: everything. Else only the layers that this branch's present state is made of are read in full; of all others
    // header block and footer, and their rows.
    struct od_uuid branch;
    unsigned helpers;              // threads besides the caller's that read footers; 0: it alone
    // Each problem: the key of the object (or the name of the row's object), and what is wrong, with the offset.
    void (*problem)(void *context, const char *key, const struct od_error *why); // NULL is fine, like the next one
    // Objects and bytes that were read so far: all of them by footer first, then layer by layer.
    void (*progress)(void *context, uint64_t objects, uint64_t bytes);
    bool (*stop)(void *context); // asked before each layer; true ends it with OD_CANCELLED. NULL is fine
    void *context;
    uint64_t objects_seen, layers, bytes; // filled: found; layers checked, and their bytes
    uint64_t rows;                        // of the metadata
    uint64_t unreferenced;                // layers without a row
    uint64_t problems;
};

// OD_OK also with problems: they are reported and counted. Errors are those of the stores, which end it: OD_IO, ...
OD_CHECKED od_code od_fsck_run(struct od_fsck *fsck, struct od_error *err);

OD_END_C

#endif
