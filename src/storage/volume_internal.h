// volume_internal.h - private: a volume's state, shared by the files volume*.c, seal.c and store.c.
//
// Locks, in the order they are taken:
//   merge_lock  one that empties layers
//   publish_lock one seal and publish at a time; held over all of it
//   flush_lock  one flush at a time; held over the sync
//   lock        everything else; never held over reads or syncs of the disk
//
//   A1  An operation takes effect in `files` under `lock`, at the moment it gets its position. So memory is always exactly
//       what replaying the journal up to `tail` would give.
//   A2  The bytes are written after that, outside the lock. Until then the record is in `flights`; a flush waits for those
//       before its target, and a read of such a block waits for that one.
//   A3  `durable` only moves to the end of a barrier, after a sync that began when every record before it was written, and
//       after every earlier journal was synced.
//   A4  After `poisoned` is set nothing is appended and `durable` stays.
#ifndef OD_STORAGE_VOLUME_INTERNAL_H
#define OD_STORAGE_VOLUME_INTERNAL_H

#include "os/thread.h"
#include "storage/footer.h"
#include "storage/store.h"

#define OD_FLIGHTS_MAX 64u
#define OD_WATERMARK_MS 1000u

struct od_waiter {
    struct od_waiter *next;
    uint64_t lsn;
    void (*done)(void *context, od_code rc);
    void *context;
};

// Layers that are being emptied (volume_merge.c). With merge_lock; `wanted` with lock.
struct od_merge {
    bool wanted;      // a footer was looked through: look which of its layers hold little
    uint32_t *depths; // of those, in order; NULL: none
    size_t count;
    uint64_t leaf; // of the page table, where it goes on
};

struct od_volume {
    struct od_store *store;
    struct od_platform *platform;
    struct od_meta_branch branch;
    char name[OD_META_NAME_BYTES];
    char directory[OD_JOURNAL_PATH_BYTES]; // of the branch's journals
    uint64_t epoch;
    bool read_only;

    pthread_mutex_t merge_lock, publish_lock, flush_lock, lock;
    struct od_merge merge;
    pthread_cond_t landed; // a flight ended
    pthread_cond_t moved;  // durable or poisoned changed
    pthread_cond_t work;   // for the flushing thread
    struct od_files files;
    struct od_ledger ledger;
    struct od_lineage lineage;
    uint32_t sync_from;    // journals below this depth are durable
    uint32_t publish_from; // layers below this depth are published
    struct od_journal *current;
    uint64_t tail, chain;             // where the next record goes
    uint64_t barrier, barrier_chain;  // end of the last barrier
    uint64_t content;                 // end of the last record that is not a watermark
    struct od_journal *next;          // unused yet
    bool roll_wanted;                 // at the next barrier
    uint64_t removals, removals_durable; // of journals that became layers, from the directory
    bool log_written;                 // a WAL file, since the last barrier: a commit may be on its way
    uint64_t time_us;                 // of the last barrier
    uint64_t durable, synced;         // synced: bytes known to be on disk, barrier or not
    uint64_t watermark;               // the newest durable position that is written in the journal
    uint64_t flights[OD_FLIGHTS_MAX]; // positions of records being written; UINT64_MAX: free
    uint64_t barriers, syncs;
    bool flushing; // somebody holds flush_lock for a flush
    bool poisoned, stopping;
    struct od_error poison;
    struct od_waiter *waiters;
    pthread_cond_t seal;       // for the sealing thread
    pthread_cond_t stop;       // for the one that keeps the lease
    uint64_t lease_renewed_us; // monotonic; when the newest renewal that succeeded was asked for
    uint64_t maintained_us;    // monotonic
    uint64_t wanted;           // the highest position that somebody waits for until it is in a layer (volume_ship.c)
    unsigned ship_waiters, ship_ms; // ship_ms: what the last layer took that was made for them
    // All that ever waited; those before the last journal was closed for them, and before its layer was made; how many the
    // next one should wait for.
    uint64_t ship_arrivals, ship_closed, ship_answered, ship_expected;
    struct od_journal *unlinked;     // the newest layer, still read from its file, which has no name any more
    struct od_thread flusher, sealer, leaser;
    struct od_volume *next_writer; // of the store's writers, or readers
};

struct od_volume_append {
    struct od_record record;
    const void *payload;
    uint64_t write_end;
    struct od_barrier *barrier; // of a barrier record: its payload is made under the lock
    bool quiet;                 // a barrier of ours: only if no commit can be on its way, else nothing happens
    od_place moved_from;        // a write of what is there already: only if it lies there still, else nothing happens
};

// Gives the record its position, applies it, writes it. *end_lsn: where it ends.
OD_CHECKED od_code od_volume_append(struct od_volume *volume, struct od_volume_append *append, uint64_t *end_lsn,
                                    struct od_error *err);
// Appends a watermark when something has become durable that the journal does not say yet.
OD_CHECKED od_code od_volume_watermark(struct od_volume *volume, struct od_error *err);
// Empties layers that hold little, as far as it is time for that, and some of their blocks at a time. Harmless to leave out.
OD_CHECKED od_code od_volume_merge(struct od_volume *volume, struct od_error *err);
// Goes over to `next`, at the last barrier, which is also the end of the content. Under `lock`; room for one more source
// was made with `next`. A failure poisons.
void od_volume_switch(struct od_volume *volume);
// Makes a durable layer of everything up to a barrier's end: closes its journal, publishes it. A statement between two
// barriers keeps its journal open: it is waited for, up to 10 s when there are threads, then OD_BUSY.
OD_CHECKED od_code od_volume_publish_at(struct od_volume *volume, uint64_t lsn, struct od_error *err);
// End of the newest layer. Under `lock`.
uint64_t od_volume_published(const struct od_volume *volume);
// Does anybody wait for a layer? Under `lock`. Then od_volume_ship makes it, on the sealing thread.
bool od_volume_ship_wanted(const struct od_volume *volume);
OD_CHECKED od_code od_volume_ship(struct od_volume *volume, struct od_error *err);
// Waits while too much is closed and not published. Under `lock`, which is given up meanwhile. OD_LIMIT.
OD_CHECKED od_code od_volume_wait_unshipped(struct od_volume *volume, struct od_error *err);
// Asks for the lease once more. OD_FENCED poisons.
OD_CHECKED od_code od_volume_renew(struct od_volume *volume, struct od_error *err);
// Makes `next` and room for it. Not under `lock`.
OD_CHECKED od_code od_volume_prepare_next(struct od_volume *volume, struct od_error *err);
// Answers those whose position is durable now, or never will be. Not under `lock`.
void od_volume_answer(struct od_volume *volume);
// The volume takes no writes any more, because of *why. Under `lock`.
void od_volume_poison(struct od_volume *volume, const struct od_error *why);
struct od_volume *od_volume_new(struct od_store *store); // NULL: out of memory
void od_volume_free(struct od_volume *volume);
// Syncs the closed journals, also when nothing new was written.
OD_CHECKED od_code od_volume_sync_closed(struct od_volume *volume, struct od_error *err);
// Is there a footer behind its last barrier? It may be read, and not be on disk: a sync of it may have failed.
bool od_volume_looks_sealed(struct od_journal *journal, uint64_t window_us);
// Q4: OD_OK: the object of this journal is there. OD_NOT_FOUND: it is not. OD_CORRUPT: it is something else.
OD_CHECKED od_code od_volume_check_object(struct od_volume *volume, struct od_journal *journal, struct od_error *err);
// Seals a closed, durable journal: footer and trailer behind its last barrier, synced. Nothing when it is sealed already.
OD_CHECKED od_code od_volume_seal(struct od_volume *volume, struct od_journal *journal, struct od_error *err);
// The state at the end of a sealed layer or at a barrier within it (UINT64_MAX: its end). *footer: od_footer_release.
OD_CHECKED od_code od_layer_state(struct od_lineage *lineage, struct od_journal *layer, uint64_t lsn,
                                  uint64_t window_us, struct od_footer *footer, struct od_error *err);
OD_CHECKED od_code od_volume_start_threads(struct od_volume *volume, struct od_error *err);
void od_volume_stop_threads(struct od_volume *volume); // harmless when there are none

#endif
