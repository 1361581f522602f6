// toy_store.h - bugs that can be planted in the toy store, to see that the simulator finds each.
#ifndef OD_TESTS_SIM_TOY_STORE_H
#define OD_TESTS_SIM_TOY_STORE_H

enum toy_bug {
    TOY_BUG_NONE,
    TOY_BUG_NO_SYNC,              // durable without a sync
    TOY_BUG_IGNORED_SYNC,         // a failed sync is taken for a good one
    TOY_BUG_EARLY_DURABLE,        // durable when appended
    TOY_BUG_NOT_A_BARRIER,        // recovery keeps what came after the last barrier
    TOY_BUG_NO_DIRECTORY_SYNC,    // the journal's name is not made durable
    TOY_BUG_LEDGER_APART,         // the ledger entry is not in the barrier record
    TOY_BUG_STALE_JOURNAL,        // a journal goes on although another machine wrote since
    TOY_BUG_NO_EPOCH,             // opening takes no epoch
    TOY_BUG_TRUSTING_PUT,         // an object of unknown outcome is taken for stored
    TOY_BUG_UNPUBLISHED_SNAPSHOT, // a snapshot may lie beyond the tip
    TOY_BUGS
};

extern unsigned toy_bug; // one of them, chosen by the test

#endif
