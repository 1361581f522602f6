// describe.h - private: the small objects from which the metadata can be made again: one for each branch, one for each
// snapshot, one for each branch that was dropped. Those of branches and snapshots are written before the row, so that a row
// always has its object; an object without a row is a call that did not finish. That of a dropped branch is written after
// its row says so, so that nothing in use ever has one; a row without it is a call that did not finish.
// Encoding and decoding only. docs/internals/layer-format.md has the layouts.
#ifndef OD_STORAGE_DESCRIBE_H
#define OD_STORAGE_DESCRIBE_H

#include "metastore/metastore.h"

#define OD_DESCRIPTION_BYTES_MAX 512u
#define OD_DESCRIPTION_KEY_BYTES 64u

struct od_branch_description {
    struct od_uuid branch, parent_branch, parent_layer;
    uint64_t start_lsn, created_us;
    uint64_t policy; // OD_BRANCH_...
    char name[OD_META_NAME_BYTES]; // of the database, when it was made
};

struct od_drop_description {
    struct od_uuid branch;
    uint64_t dropped_us;
    char name[OD_META_NAME_BYTES]; // of the database, until then
};

// A layer that goes when its time has come (collect.h).
struct od_condemned {
    struct od_uuid layer, branch;
    uint64_t not_before_us; // of the metadata store's clock
    uint32_t depth;
};

void od_branch_key(const struct od_uuid *branch, char key[OD_DESCRIPTION_KEY_BYTES]);     // "branches/UUID"
void od_snapshot_key(const struct od_uuid *snapshot, char key[OD_DESCRIPTION_KEY_BYTES]); // "snapshots/UUID"
void od_drop_key(const struct od_uuid *branch, char key[OD_DESCRIPTION_KEY_BYTES]);       // "dropped/UUID"
void od_condemned_key(const struct od_uuid *layer, char key[OD_DESCRIPTION_KEY_BYTES]);   // "condemned/UUID"
size_t od_branch_encode(const struct od_branch_description *branch, uint8_t out[OD_DESCRIPTION_BYTES_MAX]);
OD_CHECKED od_code od_branch_decode(const uint8_t *in, size_t bytes, const char *key,
                                    struct od_branch_description *branch, struct od_error *err);
size_t od_snapshot_encode(const struct od_meta_snapshot *snapshot, uint8_t out[OD_DESCRIPTION_BYTES_MAX]);
OD_CHECKED od_code od_snapshot_decode(const uint8_t *in, size_t bytes, const char *key,
                                      struct od_meta_snapshot *snapshot, struct od_error *err);
size_t od_drop_encode(const struct od_drop_description *drop, uint8_t out[OD_DESCRIPTION_BYTES_MAX]);
size_t od_condemned_encode(const struct od_condemned *what, uint8_t out[OD_DESCRIPTION_BYTES_MAX]);
OD_CHECKED od_code od_condemned_decode(const uint8_t *in, size_t bytes, const char *key, struct od_condemned *what,
                                       struct od_error *err);
OD_CHECKED od_code od_drop_decode(const uint8_t *in, size_t bytes, const char *key, struct od_drop_description *drop,
                                  struct od_error *err);

#endif
