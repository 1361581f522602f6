// host.h - the databases of one place (place.h): the rest of the server knows a database as a name and as something the
// engine can open.
//
// A database is opened when it is used, and closed when nobody has used it for a while. The database "main" exists from the start; it is made when
// it is first used, so that it can still be created from a file until then. What a database was at a snapshot is opened
// beside it, read-only, and closed when nobody has asked for it for a while.
// Threads: all functions are thread-safe. Opening, creating, dropping and listing block: executors only.
#ifndef OD_SERVER_HOST_H
#define OD_SERVER_HOST_H

#include "base/error.h"

OD_BEGIN_C

struct od_host;
struct od_database;
struct od_budget;
struct od_engine;
struct od_connection;
struct od_store;
struct od_volume;
struct od_meta_snapshot;
struct od_fsck;
struct od_snapshot_policy;

#define OD_DATABASE_NAME_BYTES 129u

struct od_host_options {
    const char *directory; // made when missing
    const char *metadata, *objects; // addresses (backends.h); NULL: in the directory
    uint64_t cache_bytes;           // of remote objects; 0: a default
    uint64_t collect_ms;            // how often what nobody needs any more is removed (collector.h); 0: never
    uint64_t keep_dropped_ms;       // of the history of a dropped database
    uint64_t keep_history_ms;       // so long every position is readable; 0: as long as its layers are there
    uint64_t database_idle_ms;      // a database that nobody used for so long is closed; 0: never
    uint64_t unshipped_bytes;       // that may wait for remote objects; 0: a default
    uint64_t policy;                // of databases that are made without one of their own (metastore.h)
    bool take_over;                 // open databases for writing though another machine's lease on them runs
    // What each database is opened with (engine.h). Zero: DuckDB's defaults.
    uint64_t memory_limit_bytes;
    unsigned threads;
    uint64_t temp_bytes_max;
    bool external_access;
    struct od_budget *budget; // may be NULL for offline commands
};

// Locks the directory: OD_LOCKED names the process that holds it.
OD_CHECKED od_code od_host_open(const struct od_host_options *options, struct od_host **host, struct od_error *err);
// Checkpoints and closes all databases. Nothing may be in use.
void od_host_close(struct od_host *host); // NULL is fine

OD_CHECKED od_code od_database_name_check(const char *name, struct od_error *err);

struct od_database_entry {
    char name[OD_DATABASE_NAME_BYTES];
    uint64_t bytes; // of its layers and journals; 0: not made yet
    bool open;
    uint32_t sessions;
};
// *entries is an array in order of name, released with od_free.
OD_CHECKED od_code od_host_list(struct od_host *host, struct od_database_entry **entries, size_t *count,
                                struct od_error *err);

// Makes a database, empty (file NULL) or from a DuckDB file, which is opened first to see that it is one, and removed
// afterwards with `consume`. In one step: after a crash the database is there or not. *created may be NULL; false: it was
// there (if_not_exists).
OD_CHECKED od_code od_host_create(struct od_host *host, const char *name, const char *file, bool consume,
                                  bool if_not_exists, bool *created, struct od_error *err);
// The same with a policy of its own (metastore.h).
OD_CHECKED od_code od_host_create_as(struct od_host *host, const char *name, const char *file, uint64_t policy,
                                     bool consume, bool if_not_exists, bool *created, struct od_error *err);
uint64_t od_host_policy(const struct od_host *host); // of databases that are made without one of their own
// "local" or "remote"; "operator" or "allow-loss"; NULL leaves it as it is.
OD_CHECKED od_code od_host_policy_read(const char *durability, const char *failover, uint64_t *policy,
                                       struct od_error *err);
// OD_BUSY while a session or a statement uses it.
OD_CHECKED od_code od_host_drop(struct od_host *host, const char *name, bool if_exists, bool *dropped,
                                struct od_error *err);
// A fresh path for a file to be created from, in memory of its own (od_free); NULL: out of memory.
char *od_host_temporary(struct od_host *host);

bool od_host_knows(struct od_host *host, const char *name);
struct od_store *od_host_store(struct od_host *host);
// Closes what was open for nobody for too long.
void od_host_sweep(struct od_host *host, uint64_t now_ms);

// ---- history (host_history.c). A selector is as in storage/store.h; NULL: as it is now. All block.

OD_CHECKED od_code od_host_snapshot_create(struct od_host *host, const char *name,
                                           const char *snapshot_name, // NULL: named by its time
                                           struct od_meta_snapshot *snapshot, struct od_error *err);
OD_CHECKED od_code od_host_snapshot_list(struct od_host *host, const char *name, struct od_meta_snapshot **rows,
                                         size_t *count, struct od_error *err); // od_free
OD_CHECKED od_code od_host_snapshot_drop(struct od_host *host, const char *name, const char *snapshot_name,
                                         bool if_exists, bool *dropped, struct od_error *err);
OD_CHECKED od_code od_host_clone(struct od_host *host, const char *database, const char *selector,
                                 const char *new_name, struct od_error *err);
// Automatic snapshots of the databases that are open, and an end to those that are too many. What fails is logged.
void od_host_snapshot_all(struct od_host *host, const struct od_snapshot_policy *policy);
// Nobody may use it (OD_LOCKED: it has sessions; OD_BUSY). *before: a snapshot of what it was.
OD_CHECKED od_code od_host_restore(struct od_host *host, const char *name, const char *selector,
                                   struct od_meta_snapshot *before, struct od_error *err);
// A frozen volume (od_volume_close), and a use of its database, which outlives it; NULL when only its past can be opened.
OD_CHECKED od_code od_host_open_at(struct od_host *host, const char *name, const char *selector,
                                   struct od_database **database, struct od_volume **volume, struct od_error *err);
// Fills the stores, and with a name the branch, of *fsck and runs it.
OD_CHECKED od_code od_host_check(struct od_host *host, const char *name, struct od_fsck *fsck, struct od_error *err);

// ---- use

// Opens it when it is not open; it cannot be dropped until released. OD_NOT_FOUND names what there is. snapshot: a selector
// (storage/store.h) of the moment to read; NULL or "": the newest state. OD_UNAVAILABLE: it is being reopened.
OD_CHECKED od_code od_database_acquire(struct od_host *host, const char *name, const char *snapshot,
                                       struct od_database **database, struct od_error *err);
void od_database_retain(struct od_database *database);  // one more use of one that is in use
void od_database_release(struct od_database *database); // NULL is fine
struct od_engine *od_database_engine(const struct od_database *database);
struct od_volume *od_database_volume(const struct od_database *database);
struct od_store *od_database_store(const struct od_database *database);
const char *od_database_name(const struct od_database *database);
// Is its engine of no use any more (engine.h)? Then nobody new comes in until all have left, and it is opened again for
// the next. True for the first who finds out: its sessions have to end.
bool od_database_condemn_if_broken(struct od_database *database);
void od_database_count_session(struct od_database *database, int change); // for od_host_list

// An idle connection from the pool, or a new one. Given back it is used again if no statement left anything behind
// in it.
OD_CHECKED od_code od_database_connect(struct od_database *database, struct od_connection **connection,
                                       struct od_error *err);
void od_database_disconnect(struct od_database *database, struct od_connection *connection);

OD_END_C

#endif
