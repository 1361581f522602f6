// place.h - where a server's databases lie: a data directory with everything in it, or, with an object store and a metadata
// store elsewhere, a directory that holds only what is not there yet. Then the machine is replaceable.
//
//   DIR/FORMAT           which layout this is; written last, so without it nothing has been kept here yet
//   DIR/lock             held while a process uses the directory; says which
//   DIR/metadata.sqlite  names, branches, layers, snapshots (src/metastore), unless they are elsewhere
//   DIR/objects/...      sealed layers and descriptions (src/objstore), unless they are elsewhere
//   DIR/cache            blocks of remote objects
//   DIR/journals/...     what was written and is not sealed yet (src/storage)
//   DIR/tmp/...          spill files and files on their way in; emptied at each opening
#ifndef OD_SERVER_PLACE_H
#define OD_SERVER_PLACE_H

#include "base/error.h"
#include "os/file.h"

#include <stdint.h>

OD_BEGIN_C

struct od_metastore;
struct od_objstore;
struct od_store;

struct od_place_options {
    const char *directory;
    const char *metadata, *objects; // addresses (backends.h); NULL: in the directory
    uint64_t cache_bytes;           // of remote objects; 0: 10 GiB
    uint64_t history_ms;            // store.h
    uint64_t unshipped_bytes;       // that may wait for remote objects; 0: 1 GiB
    uint64_t policy;                // of new databases (metastore.h)
};

struct od_place {
    bool shared; // other machines may use the same metadata
    bool remote; // objects are in a bucket
    struct od_lock_file lock;
    char *directory, *temporary;
    struct od_objstore *objects;
    struct od_metastore *metadata;
    struct od_store *store;
};

// The directory is made when missing. OD_LOCKED names the process that holds it; OD_UNSUPPORTED: of another layout;
// OD_CORRUPT: its metadata is gone, and has to be rebuilt from the objects first.
OD_CHECKED od_code od_place_open(const struct od_place_options *options, struct od_place *place,
                                 struct od_error *err);
void od_place_close(struct od_place *place); // zeros are fine; no volume may be open

// Of the file that names the layout. *known false: there is none.
#define OD_PLACE_FORMAT_FILE "FORMAT"
OD_CHECKED od_code od_place_check_format(const char *path, bool *known, struct od_error *err);
OD_CHECKED od_code od_place_write_format(const char *path, struct od_error *err);

// A fresh path below tmp/ in new memory (od_free); NULL: out of memory.
char *od_place_temporary(const struct od_place *place, const char *suffix);
// Removes what is at a path below tmp/. What cannot be removed goes with the next opening.
void od_place_discard(const char *path);

OD_END_C

#endif
