// store.h - all databases of one place: names, branches, snapshots and clones, over a platform (files, clock), an object
// store and a metadata store. Opens branches as volumes.
//
//   S1  A branch has one writer. The epoch it acquired is checked in every metadata commit; the directory's lock keeps
//       other processes off the journals.
//   S2  A snapshot is a position; nothing is copied. It stays readable, byte for byte, until it is dropped.
//   S3  A clone is a new branch that begins with the layers of another; neither ever changes the other.
//   S4  What a failure leaves unknown is found out by reading, at the next opening at the latest.
//
// Selectors of a point in a database's history, as users write them: a snapshot's name; an LSN (digits), optionally
// EPOCH.LSN; a timestamp (ISO 8601, UTC when it has no zone; the last barrier at or before it, never in the future).
// Errors name the nearest snapshots when there is none. Positions before a clone's beginning are those of what it began with.
#ifndef OD_STORAGE_STORE_H
#define OD_STORAGE_STORE_H

#include "storage/volume.h"

OD_BEGIN_C

struct od_platform;
struct od_objstore;
struct od_store;

#define OD_RESERVE_BYTES (UINT64_C(64) << 20)

struct od_store_options {
    struct od_platform *platform; // borrowed, like the next two
    struct od_objstore *objects;
    struct od_metastore *metadata;
    const char *journal_directory; // local; made when missing
    const char *owner;             // who holds leases: "host:pid" or so
    bool threads;                  // flush and seal in the background
    uint64_t seal_bytes;           // 0: 256 MiB. A journal is rolled at this size ...
    uint64_t seal_age_ms;          // 0: 60 s. ... or when its first unpublished barrier is this old
    uint64_t ledger_window_ms;     // 0: 24 h
    uint64_t history_ms; // positions older than this need a snapshot's name (collect.h); 0: as long as they are there
    // 0: none. So much of the journals' disk is kept for the end (usually OD_RESERVE_BYTES): on a full disk a volume can still
    // be closed, published and opened. Ordinary writes do not get it.
    uint64_t reserve_bytes;
    uint64_t block_bytes;  // DuckDB's block size of new databases; 0: 256 KiB
    // 0: 64. A footer names so many more layers than are needed, before it is looked which are; of small ones so many stay
    // before they are merged.
    uint32_t layers_slack;
    uint64_t unshipped_max; // bytes of closed journals that wait for the object store; writers wait beyond. 0: no bound
    uint64_t policy;        // of new databases: OD_BRANCH_...
};

OD_CHECKED od_code od_store_open(const struct od_store_options *options, struct od_store **store, struct od_error *err);
void od_store_close(struct od_store *store); // all volumes must be closed; NULL is fine

// ---- databases

struct od_store_database {
    char name[OD_META_NAME_BYTES];
    struct od_uuid branch;
    uint64_t created_us;
    uint64_t bytes; // of its layers and journals, without those that another database has too
    uint64_t layers;
};

OD_CHECKED od_code od_store_create(struct od_store *store, const char *name, struct od_error *err);
OD_CHECKED od_code od_store_create_as(struct od_store *store, const char *name, uint64_t policy, struct od_error *err);
// From a DuckDB file (which nobody writes meanwhile) and the WAL files beside it, if there are any: their bytes become
// the first layers, blocks of zeros left out. The database appears when all is there; a failure leaves nothing.
// OD_UNSUPPORTED: not a DuckDB database, or an encrypted one; OD_CORRUPT: a damaged header or a file that is cut off;
// OD_BUSY: it was written meanwhile. progress may be NULL.
OD_CHECKED od_code od_store_import(struct od_store *store, const char *name, const char *file,
                                   void (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                                   struct od_error *err);
OD_CHECKED od_code od_store_import_as(struct od_store *store, const char *name, const char *file, uint64_t policy,
                                      void (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                                      struct od_error *err);
OD_CHECKED od_code od_store_drop(struct od_store *store, const char *name, struct od_error *err);
OD_CHECKED od_code od_store_list(struct od_store *store, struct od_store_database **rows, size_t *count,
                                 struct od_error *err); // od_free

// ---- volumes

// Opens the branch for writing: acquires the next epoch, finishes what a crash left (closed but unpublished journals),
// recovers the last durable barrier. `force`: also while another owner's lease runs.
OD_CHECKED od_code od_volume_open(struct od_store *store, const char *name, bool force, struct od_volume **volume,
                                  struct od_error *err);
// A frozen, read-only view at a position. Several may be open; they share page-table leaves and files.
OD_CHECKED od_code od_volume_open_at(struct od_store *store, const char *name, const struct od_position *position,
                                     struct od_volume **volume, struct od_error *err);
// A writer's volume is flushed, rolled and published first, as far as that works; what does not is done at the next
// opening. NULL is fine.
void od_volume_close(struct od_volume *volume);

// ---- history

// The position a selector means. `writer` is the open volume of the database or NULL: a position that is not durable yet
// is waited for.
OD_CHECKED od_code od_store_resolve(struct od_store *store, const char *name, const char *selector,
                                    struct od_volume *writer, struct od_position *position, struct od_error *err);
// Does the volume's state have this commit? OD_NOT_FOUND: it never had, it was lost in a takeover, or it is of another branch
// (before a restore, or of another database); OD_UNAVAILABLE: it is of a later epoch, whose writer is elsewhere.
OD_CHECKED od_code od_store_check_commit(struct od_store *store, struct od_volume *volume,
                                         const struct od_position *commit, struct od_error *err);
// A named snapshot of the last barrier of `writer` (or of the branch's tip when NULL). Durable, and recorded among the
// objects, when it returns, and readable from every place. The writer is stalled for the change of journals only. While a
// commit is on its way to its barrier its journal stays open: the call waits for it up to 10 s, then it is OD_BUSY and nothing
// was made. name NULL: an automatic one, named by its time.
OD_CHECKED od_code od_store_snapshot_create(struct od_store *store, const char *database, const char *name,
                                            struct od_volume *writer, struct od_meta_snapshot *snapshot,
                                            struct od_error *err);
OD_CHECKED od_code od_store_snapshot_list(struct od_store *store, const char *database, struct od_meta_snapshot **rows,
                                          size_t *count, struct od_error *err);
OD_CHECKED od_code od_store_snapshot_drop(struct od_store *store, const char *database, const char *name,
                                          struct od_error *err);
// A new database that begins at a point of another (selector NULL: now). `writer` and OD_BUSY as above.
OD_CHECKED od_code od_store_clone(struct od_store *store, const char *database, const char *selector,
                                  struct od_volume *writer, const char *new_name, struct od_error *err);
// The database goes on from an earlier point of itself; what it was stays reachable as the snapshot
// "before-restore-TIME", and its snapshots and times before are those of then. Its volume must be closed (OD_LOCKED), and
// a crashed writer's lease over.
// *before: that snapshot; may be NULL.
OD_CHECKED od_code od_store_restore(struct od_store *store, const char *database, const char *selector,
                                    struct od_meta_snapshot *before, struct od_error *err);

OD_END_C

#endif
