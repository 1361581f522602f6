// history_internal.h - private: what the files that deal with points in a history share.
//
// A restored database is a new branch; the branch it was before is an earlier self of it. Which one that is stands in the
// snapshot that the restore took of it: that snapshot has the uuid of the new branch. So the snapshots of a database are
// those of its branch and of its earlier selves, and a rebuild finds the same.
#ifndef OD_STORAGE_HISTORY_INTERNAL_H
#define OD_STORAGE_HISTORY_INTERNAL_H

#include "storage/store_internal.h"

// The branch that a database's name stands for.
OD_CHECKED od_code od_history_branch(struct od_store *store, const char *name, struct od_meta_branch *branch,
                                     struct od_error *err);
// A new branch that begins at a point of another. OD_BUSY: the point is in a journal that cannot be closed now.
OD_CHECKED od_code od_history_branch_at(struct od_store *store, const struct od_meta_branch *from,
                                        const struct od_position *position, struct od_volume *writer,
                                        struct od_meta_branch *branch, struct od_error *err);
// od_store_snapshot_create with the snapshot's uuid; NULL: a random one.
OD_CHECKED od_code od_history_snapshot(struct od_store *store, const char *database, const char *name,
                                       const struct od_uuid *uuid, struct od_volume *writer,
                                       struct od_meta_snapshot *snapshot, struct od_error *err);
// All snapshots of the branch and its earlier selves, the oldest self first; of one branch in order of position. od_free.
OD_CHECKED od_code od_history_snapshots(struct od_store *store, const struct od_meta_branch *branch,
                                        struct od_meta_snapshot **rows, size_t *count, struct od_error *err);
// What the database was at a time: *branch becomes the self of that time. *since_us: when it became that by a restore; 0: it
// is the first.
OD_CHECKED od_code od_history_self_at(struct od_store *store, uint64_t time_us, struct od_meta_branch *branch,
                                      uint64_t *since_us, struct od_error *err);

#endif
