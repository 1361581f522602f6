// collect.h - what nobody needs any more goes: old snapshots, and the layers and journals of dropped databases that no
// snapshot, clone or reader stands on. Called now and then by whoever holds the store; one pass does all that is due.
//
// A layer goes in steps, each of which may be the last before a crash:
//   1  its row goes, together with those of all others that are not needed, in one transaction that refuses when a snapshot or
//      a branch in use names one of them. Nothing new can stand on them from then on: positions older than those that are
//      kept have to have a snapshot's name.
//   2  `condemned/UUID` says from when on it may be deleted, by the metadata store's clock: readers that began before have
//      that long.
//   3  when that time has come, and it still has no row and is named by nobody, the object goes, those that continue it
//      first; then the mark.
//
//   G1  Nothing that is reachable goes: from a branch in use, its positions of the last while, a snapshot, a database dropped
//       a short while ago, or a volume of this process. A layer is reachable when the footer of a reachable one names it
//       (footer.h). Whatever is not understood stays: an object of an unknown branch, or beyond its branch's tip (it may be
//       about to be published, or the metadata may be an old copy).
//   G2  A step that was not reached is made up for by a later pass: a layer without row or mark is found by listing.
//   G3  What could not be removed is counted and stays. A leak is reported, a loss is a bug.
#ifndef OD_STORAGE_COLLECT_H
#define OD_STORAGE_COLLECT_H

#include "base/error.h"

#include <stdint.h>

OD_BEGIN_C

struct od_store;

// Times in microseconds. All zeros: nothing is kept for a time's sake; od_collect_policy_default has the usual ones.
struct od_collect_policy {
    uint64_t history_us;   // every position stays readable so long; then those that have a snapshot
    uint64_t automatic_us; // an automatic snapshot goes so long after it was made
    uint64_t dropped_us;   // a dropped database keeps its history, and its automatic snapshots, so long
    uint64_t named_us;     // its named snapshots so long; UINT64_MAX: for ever
    uint64_t reader_us;    // a reader elsewhere may go on so long with what it has opened
    uint64_t orphan_us;    // a layer that was never published waits so long
};

struct od_collect_result {
    uint64_t snapshots;      // dropped
    uint64_t forgotten;      // layers whose rows went
    uint64_t deleted, bytes; // layers that went, and their bytes
    uint64_t journals;       // files of dropped databases that went
    uint64_t waiting;        // layers that will go when their time has come
    uint64_t unknown;        // layers without a row that stay, see G1
    uint64_t failed;         // steps that did not work; the first of them is `failure`
    struct od_error failure;
};

struct od_collect_policy od_collect_policy_default(void);

// OD_OK also when single steps failed (G3). Errors: the metadata or the list of objects could not be read. One at a time for
// a store; any thread. Several processes may do it: what one undoes of another is made up for later.
OD_CHECKED od_code od_store_collect(struct od_store *store, const struct od_collect_policy *policy,
                                    struct od_collect_result *result, struct od_error *err);

OD_END_C

#endif
