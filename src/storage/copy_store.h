// copy_store.h - all databases of one place to another: every object, then the rows that name them.
//
// The rows are read first, so the copy is the state of that moment, also while the source goes on writing; what is published
// later is not in it. The target's metadata must be empty. An object that is there already is compared byte by byte, so a
// copy that was interrupted is simply begun again.
#ifndef OD_STORAGE_COPY_STORE_H
#define OD_STORAGE_COPY_STORE_H

#include "base/error.h"

#include <stdint.h>

OD_BEGIN_C

struct od_platform;
struct od_objstore;
struct od_metastore;

struct od_store_copy {
    struct od_platform *platform; // borrowed, like all of these
    struct od_objstore *from_objects, *to_objects;
    struct od_metastore *from_metadata, *to_metadata;
    const char *scratch; // a file that this may make and remove
    void (*progress)(void *context, uint64_t objects, uint64_t bytes);
    void *context;
    uint64_t objects, bytes, present; // filled: copied, their bytes, found there already
    uint64_t branches, layers, snapshots, databases;
};

// OD_EXISTS: the target holds metadata, or an object of the same key with other content.
OD_CHECKED od_code od_store_copy_run(struct od_store_copy *copy, struct od_error *err);

OD_END_C

#endif
