// collect_internal.h - private: what the files collect*.c share.
#ifndef OD_STORAGE_COLLECT_INTERNAL_H
#define OD_STORAGE_COLLECT_INTERNAL_H

#include "storage/collect.h"
#include "storage/describe.h"
#include "storage/store_internal.h"

// tests/sim plants bugs, one a build, and sees to it that they are found.
#ifndef OD_PLANTED_BUG
#define OD_PLANTED_BUG 0
#endif

struct od_collect_layer {
    struct od_meta_layer row;
    bool whole;  // the state at its end is needed: the layer, and what its footer names
    bool within; // so are the states within it, which take its parent's
    bool needed, forgotten;
};

struct od_collect_work {
    struct od_store *store;
    const struct od_collect_policy *policy;
    struct od_collect_result *result;
    uint64_t now_us; // of the metadata's clock, when the rows were read
    struct od_meta_branch *branches;
    size_t branch_count;
    struct od_meta_snapshot *snapshots; // those that stay
    size_t snapshot_count, snapshot_capacity;
    struct od_collect_layer *layers; // in order of uuid
    size_t layer_count, layer_capacity;
    struct od_uuid *named; // what is needed, or stood on by something that is; in order
    size_t named_count, named_capacity;
};

// Reads the rows, drops snapshots whose time is over, and finds out what is needed.
OD_CHECKED od_code od_collect_read(struct od_collect_work *work, struct od_error *err);
void od_collect_release(struct od_collect_work *work);
void od_collect_failed(struct od_collect_work *work, const struct od_error *why);
struct od_collect_layer *od_collect_find(const struct od_collect_work *work, const struct od_uuid *layer); // or NULL
bool od_collect_is_named(const struct od_collect_work *work, const struct od_uuid *layer);
const struct od_meta_branch *od_collect_branch(const struct od_collect_work *work, const struct od_uuid *branch);
// Was it dropped, and is the time over for which it is kept all the same?
bool od_collect_is_over(const struct od_collect_work *work, const struct od_meta_branch *branch);

#endif
