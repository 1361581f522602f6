// volume.h - one branch of a database as a set of files: what DuckDB's database file and its WAL files really are.
//
// All operations on a branch's files go, in one total order, into a journal: an append-only file of checksummed records.
// Each fsync of DuckDB becomes a barrier record. A position (LSN) is a byte position in that order; every prefix that ends
// at a barrier is a database that DuckDB opens. A full journal is closed at a barrier and becomes a sealed layer.
//
//   V1  What is read is what was last written: from the journal, or from the sealed layer the page table names, after its
//       hash was compared once. A mismatch is OD_CORRUPT with object and offset, never data.
//   V2  After a crash the volume is its last durable barrier, with all four files as they were there.
//   V3  od_volume_barrier returns when the barrier has its position; it is durable once od_volume_durable_lsn covers it.
//       Nobody is told of a commit before.
//   V4  A request's ledger entry is part of the barrier record that makes its commit durable: both are there, or neither.
//   V5  A failed write or sync of the journal poisons the volume: every later write and barrier fails, waiters get
//       OD_OUTCOME_UNKNOWN, reads of what is durable go on. It is never tried again on the same volume.
//   V6  Nobody is told of a commit of a branch whose policy is OD_BRANCH_REMOTE before it is in a layer (od_volume_wait).
//
// Threads: all functions, except open and close. Reads never wait for writers' disk operations.
#ifndef OD_STORAGE_VOLUME_H
#define OD_STORAGE_VOLUME_H

#include "base/error.h"
#include "metastore/metastore.h"

#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

struct od_volume;

enum od_volume_file {
    OD_VOLUME_DATABASE,       // headers of 4096 bytes at 0, 4096, 8192; blocks from 12288
    OD_VOLUME_WAL,            // NAME.wal
    OD_VOLUME_WAL_CHECKPOINT, // NAME.wal.checkpoint
    OD_VOLUME_WAL_RECOVERY,   // NAME.wal.recovery
    OD_VOLUME_FILES
};

#define OD_REQUEST_ID_BYTES 64u
#define OD_LEDGER_RESULT_BYTES_MAX (64u * 1024u)

// The outcome of a write request that committed.
struct od_ledger_entry {
    char request_id[OD_REQUEST_ID_BYTES]; // with the final NUL
    uint64_t changed_rows;                // UINT64_MAX: not known
    uint64_t time_us;                     // of the barrier; filled by the volume
    uint64_t lsn;                         // of the barrier's end; filled by the volume
};

// ---- files. Errors beyond the obvious: OD_READ_ONLY (a frozen volume), OD_FENCED (another writer has taken over),
// OD_LIMIT (disk full; reads go on), OD_IO (poisoned: says by what).

bool od_volume_exists(struct od_volume *volume, enum od_volume_file file);
uint64_t od_volume_size(struct od_volume *volume, enum od_volume_file file); // 0 when it does not exist
OD_CHECKED od_code od_volume_create(struct od_volume *volume, enum od_volume_file file,
                                    struct od_error *err); // an existing one is left as it is
// All of `bytes`, or an error (OD_IO beyond the end).
OD_CHECKED od_code od_volume_read(struct od_volume *volume, enum od_volume_file file, uint64_t offset, void *out,
                                  size_t bytes, struct od_error *err);
OD_CHECKED od_code od_volume_write(struct od_volume *volume, enum od_volume_file file, uint64_t offset,
                                   const void *data, size_t bytes, struct od_error *err);
OD_CHECKED od_code od_volume_truncate(struct od_volume *volume, enum od_volume_file file, uint64_t bytes,
                                      struct od_error *err);
// Blocks whose content nobody needs any more. Offsets and lengths are whole blocks.
OD_CHECKED od_code od_volume_trim(struct od_volume *volume, enum od_volume_file file, uint64_t offset, uint64_t bytes,
                                  struct od_error *err);
OD_CHECKED od_code od_volume_remove(struct od_volume *volume, enum od_volume_file file, struct od_error *err);
// Replaces `to`.
OD_CHECKED od_code od_volume_rename(struct od_volume *volume, enum od_volume_file from, enum od_volume_file to,
                                    struct od_error *err);
// DuckDB's fsync. entry: the ledger entry this barrier makes true, or NULL. *lsn: the end of the barrier.
OD_CHECKED od_code od_volume_barrier(struct od_volume *volume, const struct od_ledger_entry *entry, uint64_t *lsn,
                                     struct od_error *err);

// A barrier of our own, so that a snapshot need not wait. DuckDB leaves operations behind its last fsync: a checkpoint ends
// with cutting and removing files, a bulk load writes blocks for as long as it runs. What they leave is what a killed process
// leaves. Nothing happens when there are none, or when a WAL was written since the last barrier: that may be a commit, whose
// own barrier brings its ledger entry (V4).
OD_CHECKED od_code od_volume_settle(struct od_volume *volume, struct od_error *err);

// ---- durability

uint64_t od_volume_barrier_lsn(struct od_volume *volume); // end of the last barrier
uint64_t od_volume_durable_lsn(struct od_volume *volume); // end of the last durable barrier
uint64_t od_volume_epoch(struct od_volume *volume);
const struct od_uuid *od_volume_branch(const struct od_volume *volume); // lives as long as the volume
// Returns when durable_lsn >= lsn (a group fsync serves all waiters). OD_OUTCOME_UNKNOWN when the volume was poisoned
// before.
OD_CHECKED od_code od_volume_wait_durable(struct od_volume *volume, uint64_t lsn, struct od_error *err);
// When is a commit acknowledged? When it is on this machine's disk (LOCAL), or in a layer (REMOTE); DATABASE: as the branch's
// policy says.
enum od_durability { OD_DURABILITY_DATABASE, OD_DURABILITY_LOCAL, OD_DURABILITY_REMOTE };
// Returns when a reply may be given that reveals everything up to lsn, a barrier. One object serves all that wait for it.
// OD_OUTCOME_UNKNOWN: poisoned before, or in no layer after a minute; the position may come to be acknowledged later.
// OD_UNAVAILABLE: another place may have taken the branch over.
OD_CHECKED od_code od_volume_wait(struct od_volume *volume, uint64_t lsn, enum od_durability level,
                                  struct od_error *err);
uint64_t od_volume_acknowledged_lsn(struct od_volume *volume, enum od_durability level);
// Calls done(context, rc) once, on a thread of the volume or at once on this one, when wait_durable would return.
void od_volume_when_durable(struct od_volume *volume, uint64_t lsn, void (*done)(void *context, od_code rc),
                            void *context);
// OD_OK, or why the volume takes no writes any more.
OD_CHECKED od_code od_volume_health(struct od_volume *volume, struct od_error *err);

// The outcome of a request, if it committed within the ledger's window (24 h).
bool od_volume_ledger_find(struct od_volume *volume, const char *request_id, struct od_ledger_entry *entry);

// ---- what background threads do; tests call them step by step (od_store_options.threads = false)

// Makes everything up to the last barrier durable: one sync. Wakes waiters.
OD_CHECKED od_code od_volume_flush(struct od_volume *volume, struct od_error *err);
// Closes the journal at its last barrier and goes on in the next one; the closed one waits for od_volume_publish.
// Stalls writers for a moment only. Nothing happens when nothing was written since.
OD_CHECKED od_code od_volume_roll(struct od_volume *volume, struct od_error *err);
// Seals and publishes closed journals, oldest first. Unknown outcomes are resolved by reading back.
OD_CHECKED od_code od_volume_publish(struct od_volume *volume, struct od_error *err);
// Rolls if the size, age or WAL-spread limits say so, then publishes: what the sealing thread calls.
OD_CHECKED od_code od_volume_maintain(struct od_volume *volume, struct od_error *err);

struct od_volume_stats {
    uint64_t barriers, syncs, journal_bytes, layers, page_table_bytes, blocks, wal_bytes, unpublished_bytes;
};
void od_volume_stats_read(struct od_volume *volume, struct od_volume_stats *stats);

OD_END_C

#endif
