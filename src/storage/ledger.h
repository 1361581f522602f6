// ledger.h - private: which requests committed, with what outcome, newest OD_LEDGER_ENTRIES_MAX within a time window.
//
//   L1  An entry is found as long as it is in the window and among the newest OD_LEDGER_ENTRIES_MAX.
//   L2  Adding cannot fail after od_ledger_prepare.
//
// Ids are kept as 128-bit hashes. Threads: the caller's lock.
#ifndef OD_STORAGE_LEDGER_H
#define OD_STORAGE_LEDGER_H

#include "storage/volume.h"

#define OD_LEDGER_ENTRIES_MAX (1u << 20)

struct od_ledger_item {
    uint64_t id[2];
    uint64_t changed_rows;
    uint64_t time_us;
    uint64_t lsn;
};

struct od_ledger {
    struct od_ledger_item *items; // a ring: of `count` items, the oldest is first
    uint32_t *next;               // in the chain of the same bucket, newest first; index + 1
    uint32_t *buckets;            // index + 1 of the newest
    uint32_t capacity;            // a power of two, also the number of buckets
    uint32_t first, count;
    uint64_t window_us;
};

// Room for one more.
OD_CHECKED od_code od_ledger_prepare(struct od_ledger *ledger, struct od_error *err);
void od_ledger_add(struct od_ledger *ledger, const struct od_ledger_entry *entry); // prepared
void od_ledger_add_item(struct od_ledger *ledger, const struct od_ledger_item *item);
bool od_ledger_find(const struct od_ledger *ledger, const char *request_id, struct od_ledger_entry *entry);
void od_ledger_release(struct od_ledger *ledger);

#endif
