// journal.h - private: one journal file: making it, growing it, finding its last barrier after a crash.
//
// A journal is BRANCH/LAYER.journal below the journal directory: a header block, then records; what lies at position L is at
// offset 4096 + (L - first_lsn). It is made ahead of need, with its name durable and its header block all zeros; the
// header is written when the volume goes over to it, and becomes durable with the first sync of the journal, so before
// anything in it is acknowledged. A journal belongs to one epoch and one run of one process: an opening never continues one.
#ifndef OD_STORAGE_JOURNAL_H
#define OD_STORAGE_JOURNAL_H

#include "objstore/objstore.h"
#include "os/platform.h"
#include "storage/files.h"
#include "storage/ledger.h"

#include <pthread.h>
#include <stdatomic.h>

#define OD_JOURNAL_SUFFIX ".journal"
#define OD_JOURNAL_NEW ".new" // behind it: a copy that a crash left unfinished
#define OD_JOURNAL_PATH_BYTES 1024u

struct od_journal {
    struct od_platform *platform;
    pthread_rwlock_t place;    // held for writing while `file` gives way to `object`
    struct od_disk_file *file; // NULL: a sealed layer, then `object`
    struct od_object *object;
    struct od_journal_header header;
    uint64_t seed;                    // of the records' checks
    uint64_t head_chain;              // chain(0)
    uint64_t end_lsn;                 // of its last barrier once closed; UINT64_MAX: active
    uint64_t end_chain;               // the chain there
    uint64_t reserved;                // bytes of the file with space on disk
    uint64_t step;                    // of reserving
    bool published;                   // the metadata has it
    bool synced;                      // closed, and known to be durable up to end_lsn
    bool sealed;                      // its footer and trailer are known to be durable too
    _Atomic uint32_t pins;            // somebody reads from it
    struct od_journal *next_left_out; // lineage.h
    char path[OD_JOURNAL_PATH_BYTES];
};

static inline uint64_t od_journal_offset(const struct od_journal *journal, uint64_t lsn)
{
    return OD_JOURNAL_HEADER_BYTES + (lsn - journal->header.first_lsn);
}

// Pinned, it stays although its lineage leaves it out. Pins are taken under the lock of its volume.
static inline void od_journal_pin(struct od_journal *journal)
{
    atomic_fetch_add(&journal->pins, 1);
}

static inline void od_journal_unpin(struct od_journal *journal)
{
    atomic_fetch_sub(&journal->pins, 1);
}

static inline uint64_t od_journal_lsn(const struct od_journal *journal, uint64_t offset)
{
    return journal->header.first_lsn + (offset - OD_JOURNAL_HEADER_BYTES);
}

// An unused journal, to be closed at about seal_bytes; its name is durable when it returns. *journal: od_journal_close.
OD_CHECKED od_code od_journal_create(struct od_platform *platform, const char *directory, const struct od_uuid *layer,
                                     uint64_t seal_bytes, struct od_journal **journal, struct od_error *err);
// Puts it to use: writes the header block (header->layer is the journal's). Not synced.
OD_CHECKED od_code od_journal_begin(struct od_journal *journal, const struct od_journal_header *header,
                                    struct od_error *err);
// An existing one, by its name in `directory`. *used: false when it has no header block and nothing in it was ever
// acknowledged; then it may be removed. OD_CORRUPT when the header block is damaged.
OD_CHECKED od_code od_journal_open(struct od_platform *platform, const char *directory, const char *name, bool *used,
                                   struct od_journal **journal, struct od_error *err);
bool od_journal_is_name(const char *name);         // does a file of this name hold a journal?
void od_journal_close(struct od_journal *journal); // NULL is fine
OD_CHECKED od_code od_journal_read(struct od_journal *journal, uint64_t offset, void *out, size_t bytes,
                                   struct od_error *err);
OD_CHECKED od_code od_journal_size(struct od_journal *journal, uint64_t *bytes, struct od_error *err);
// From now on the bytes are read from `object`, which holds the same; taken over. For a journal that was published: an
// object store keeps few files open, however many layers there are.
void od_journal_retire(struct od_journal *journal, struct od_object *object);
// Copies its first `bytes` bytes to a new, durable file that takes its name: for one that may be on its way into an object
// store, and so must not be written to. A crash leaves one of the two.
OD_CHECKED od_code od_journal_renew(struct od_journal *journal, const char *directory, uint64_t bytes,
                                    struct od_error *err);
// Reserves disk space up to `offset` and some more. OD_LIMIT: the disk is full; nothing has changed.
OD_CHECKED od_code od_journal_reserve(struct od_journal *journal, uint64_t offset, struct od_error *err);

// OD_CORRUPT when a record says that something in this journal, whose header block cannot be read, was durable.
OD_CHECKED od_code od_journal_check_headless(struct od_journal *journal, struct od_error *err);

struct od_journal_end {
    uint64_t lsn, chain, time_us; // of the last barrier; of the journal's beginning when it has none
    uint64_t barriers;
    uint64_t first_time_us; // of the first barrier
    uint64_t durable_lsn;   // the highest position that a record says was durable, of any journal; 0: none
};

// The last barrier before which everything is whole. A tail that was never acknowledged is passed over; damage before a
// position that was durable is OD_CORRUPT with the offset.
OD_CHECKED od_code od_journal_scan(struct od_journal *journal, struct od_journal_end *end, struct od_error *err);
// Applies the records before `until_lsn` (a barrier's end) to the files, and their ledger entries to `ledger` (may be
// NULL). *end as above.
OD_CHECKED od_code od_journal_replay(struct od_journal *journal, uint64_t until_lsn, struct od_files *files,
                                     struct od_ledger *ledger, struct od_journal_end *end, struct od_error *err);

// The last barrier at or before time_us among those up to until_lsn; *end as for a journal without barriers when there is
// none.
OD_CHECKED od_code od_journal_find_time(struct od_journal *journal, uint64_t until_lsn, uint64_t time_us,
                                        struct od_journal_end *end, struct od_error *err);

#endif
