// planted.h - private: where the simulator's proof plants a bug, in a build of the storage of its own (OD_PLANTED_BUGS_BUILT).
// Everywhere else OD_PLANT is false and nothing is left of it.
#ifndef OD_STORAGE_PLANTED_H
#define OD_STORAGE_PLANTED_H

enum od_planted {
    OD_PLANTED_NONE,
    OD_PLANTED_NO_SYNC,              // a flush syncs nothing
    OD_PLANTED_SYNC_FAILURE_IGNORED, // ... or does not look at what became of it
    OD_PLANTED_DURABLE_TOO_EARLY,    // a barrier counts as durable when it has its position
    OD_PLANTED_NAME_NOT_SYNCED,      // a journal's name is not made durable
    OD_PLANTED_LEDGER_APART,         // the ledger's entry is not in the barrier's record
    OD_PLANTED_PAYLOAD_UNCHECKED,    // recovery takes records whose payload is torn
    OD_PLANTED_CACHE_TRUSTED,        // recovery writes nothing again
    OD_PLANTED_FOOTER_TRUSTED,       // a footer counts although its sync failed
    OD_PLANTED_PUT_TRUSTED,          // a put whose answer was lost counts as done
    OD_PLANTED_JOURNAL_GONE_EARLY,   // a journal is removed before its layer is an object (an object without a row is found)
    OD_PLANTED_SUPERSEDED_REPLAYED,  // a journal counts although another place took over
    OD_PLANTED_EPOCH_USED_AGAIN,     // an opening takes no epoch of its own
    OD_PLANTED_SNAPSHOT_TOO_LATE,    // a snapshot is where the next record goes, not at a barrier
    OD_PLANTED_PRUNED_TOO_MUCH,      // a footer's list leaves out layers that hold blocks
    OD_PLANTED_BUGS
};

#ifdef OD_PLANTED_BUGS_BUILT
extern enum od_planted od_planted_bug;
#define OD_PLANT(bug) (od_planted_bug == OD_PLANTED_##bug)
#else
#define OD_PLANT(bug) 0
#endif

#endif
