// snapshot_policy.h - when a database gets an automatic snapshot, and which ones go. Pure: the caller gives the list and the
// clock, and does what it is told.
//
//   P1  One is due when the newest automatic one is as old as the interval, and something was committed since.
//   P2  Only automatic ones go, and only those beyond the number to keep, the oldest first.
//   P3  A clock that was set back does not stop it: snapshots of the future count for P2, not for P1.
#ifndef OD_SERVER_SNAPSHOT_POLICY_H
#define OD_SERVER_SNAPSHOT_POLICY_H

#include "metastore/metastore.h"

OD_BEGIN_C

struct od_snapshot_policy {
    uint64_t every_us; // 0: none are made, none go
    uint64_t keep;     // at least 1
};

// `rows`: the snapshots of one database in any order. newest: its last commit. *create: one is due; drop[i]: rows[i] goes
// (when one is due, there is room for it afterwards).
void od_snapshot_policy_plan(const struct od_snapshot_policy *policy, const struct od_meta_snapshot *rows, size_t count,
                             const struct od_position *newest, uint64_t now_us, bool *create, bool *drop);

OD_END_C

#endif
