// metastore.h - the few rows that say what exists: databases, branches and their tips, layers, snapshots. SQLite,
// PostgreSQL, or a test's model behind one table of functions.
//
// Rules every backend keeps (tests/conformance/metastore runs on all of them):
//   M1  Each call is one transaction: it happened whole, or not at all.
//   M2  Epochs only rise, and an epoch is given once. A layer is added only by the holder of the branch's current epoch,
//       and only on top of the tip that holder expects; after epoch e nothing of a lower one is added (OD_FENCED).
//   M3  A call whose answer was lost is OD_OUTCOME_UNKNOWN; the caller finds out by reading (layer_get, database_get, ...).
//       A repeated call with the same uuid and the same content is OD_OK: it was applied once.
//   M4  Times are the store's own clock, in microseconds since 1970.
//   M5  What a row refers to is there: a branch's parent layer and a snapshot's layer exist when they are named, and a
//       layer that a snapshot, or a branch in use, names is not forgotten.
//   M6  A place is where journals are kept: its uuid never changes. Beyond the tip a branch goes on only in the journals of its
//       holder, and only in those of epochs since held_since: an epoch of another place gives up all of before.
// Numbers stay below 2^63.
// Everything here can be made again from the objects (layers and records describe themselves).
// Errors: OD_NOT_FOUND, OD_EXISTS, OD_FENCED, OD_STALE (the tip is another), OD_UNAVAILABLE (nothing was done),
// OD_OUTCOME_UNKNOWN, OD_LOCKED (a lease), OD_UNSUPPORTED (another schema version: says which, and what to run), OD_CORRUPT,
// OD_LIMIT (disk full), OD_READ_ONLY, OD_FORBIDDEN, OD_INVALID, OD_IO. Threads: all functions.
#ifndef OD_METASTORE_METASTORE_H
#define OD_METASTORE_METASTORE_H

#include "base/error.h"
#include "base/uuid.h"

#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

struct od_platform;
struct od_metastore;

#define OD_META_NAME_BYTES 257u // names of databases, snapshots, owners; with the final NUL

// What a branch promises, set when it is made. Acknowledged is what is in a layer; and: a dead writer may be replaced by
// another place without the operator's word, which loses what was acknowledged and is in no layer. A branch with either is
// free to be taken when its lease has ended (M6).
#define OD_BRANCH_REMOTE UINT64_C(1)
#define OD_BRANCH_FAILOVER UINT64_C(2)

// A position in a branch's history. Positions of different epochs are comparable only through epoch_starts.
struct od_position {
    struct od_uuid branch;
    uint64_t epoch;
    uint64_t lsn;
};

// A name for a branch. A dropped database keeps its row, without its name, as long as something needs its layers.
struct od_meta_database {
    char name[OD_META_NAME_BYTES];
    struct od_uuid branch;
    uint64_t created_us;
};

struct od_meta_branch {
    struct od_uuid branch;
    struct od_uuid parent_branch; // zero: none
    struct od_uuid parent_layer;  // the sealed layer it begins with; zero: it begins empty
    uint64_t start_lsn;           // its first own position; equals the parent's position that it continues
    uint64_t epoch;               // the current one; 0: never opened for writing
    uint64_t epoch_start_lsn;     // the tip that the current epoch inherited
    char owner[OD_META_NAME_BYTES];
    uint64_t lease_until_us;  // liveness only: never decides what is committed
    struct od_uuid tip_layer; // zero: none of its own yet
    uint64_t tip_lsn;         // end of the tip layer; start_lsn when there is none
    uint64_t tip_time_us;     // time of its last barrier
    uint64_t dropped_us;      // 0: in use
    struct od_uuid holder;    // the place whose journals may go on beyond the tip; zero: none is known
    uint64_t held_since;      // journals of lower epochs are superseded, wherever they are
    uint64_t policy;          // OD_BRANCH_...
};

struct od_meta_layer {
    struct od_uuid layer;
    struct od_uuid branch;
    uint64_t epoch;
    struct od_uuid parent;                // the layer below it; zero: the first of a branch that began empty
    uint64_t first_lsn, end_lsn;          // [first_lsn, end_lsn)
    uint64_t first_time_us, last_time_us; // of its barriers
    uint64_t bytes;                       // of the object
    uint32_t kind;                        // 0: delta; 1: image
    char key[513];                        // of the object
};

struct od_meta_snapshot {
    char name[OD_META_NAME_BYTES]; // unique in a database; automatic ones have names too
    struct od_uuid snapshot;
    struct od_position position; // a barrier
    struct od_uuid layer;        // the sealed layer that contains it
    uint64_t time_us;            // of the barrier
    uint64_t created_us;         // 0 in snapshot_create: the store's clock
    bool automatic;
};

struct od_metastore_ops {
    const char *kind; // "sqlite", "postgres"
    void (*close)(struct od_metastore *store);
    od_code (*now)(struct od_metastore *store, uint64_t *us, struct od_error *err);

    // Makes a database and its branch in one step. OD_EXISTS: the name is taken. OD_NOT_FOUND: the parent layer is gone.
    od_code (*database_create)(struct od_metastore *store, const char *name, const struct od_meta_branch *branch,
                               struct od_error *err);
    od_code (*database_get)(struct od_metastore *store, const char *name, struct od_meta_database *database,
                            struct od_error *err);
    // *rows: an array in order of name, released with od_free.
    od_code (*database_list)(struct od_metastore *store, struct od_meta_database **rows, size_t *count,
                             struct od_error *err);
    // Frees the name and marks the branch dropped.
    od_code (*database_drop)(struct od_metastore *store, const char *name, struct od_error *err);
    // `name` stands for `branch`, a new one, from now on (restore); the branch it stood for is marked dropped. One step.
    // OD_STALE: it stands for another than expected.
    od_code (*database_point)(struct od_metastore *store, const char *name, const struct od_uuid *expected_branch,
                              const struct od_meta_branch *branch, struct od_error *err);

    od_code (*branch_get)(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_branch *row,
                          struct od_error *err);
    od_code (*branch_list)(struct od_metastore *store, struct od_meta_branch **rows, size_t *count,
                           struct od_error *err); // dropped ones too
    // The next epoch of a branch for `owner` at the place `holder`, with a lease: *row is the branch after it. Refused
    // (OD_LOCKED, naming the owner) while another place holds the branch, unless its policy is to be free, or a lease of another
    // owner and place runs (with the time left), unless `force`. Who has the place's lock is the place. OD_NOT_FOUND for a dropped branch.
    od_code (*epoch_acquire)(struct od_metastore *store, const struct od_uuid *branch, const char *owner,
                             const struct od_uuid *holder, uint64_t lease_us, bool force, struct od_meta_branch *row,
                             struct od_error *err);
    od_code (*lease_renew)(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch, uint64_t lease_us,
                           struct od_error *err);
    // published: all that this epoch committed is in layers. Then nobody holds the branch any more.
    od_code (*lease_release)(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch, bool published,
                             struct od_error *err);

    // Adds a layer and moves the branch's tip to it, if layer->epoch is current and the tip is still expected_tip. The
    // branch of a dropped database takes none (OD_FENCED).
    od_code (*layer_publish)(struct od_metastore *store, const struct od_meta_layer *layer,
                             const struct od_uuid *expected_tip, struct od_error *err);
    od_code (*layer_get)(struct od_metastore *store, const struct od_uuid *layer, struct od_meta_layer *row,
                         struct od_error *err);
    // In order of first_lsn.
    od_code (*layer_list)(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_layer **rows,
                          size_t *count, struct od_error *err);
    // Forgets layers that nothing refers to any more, all or none. OD_STALE: one is in use after all (M5). Unknown ones are
    // fine.
    od_code (*layer_forget)(struct od_metastore *store, const struct od_uuid *layers, size_t count,
                            struct od_error *err);

    od_code (*snapshot_create)(struct od_metastore *store, const struct od_meta_snapshot *snapshot,
                               struct od_error *err); // OD_EXISTS: the name is taken on this branch
    od_code (*snapshot_list)(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_snapshot **rows,
                             size_t *count, struct od_error *err); // in order of position
    od_code (*snapshot_drop)(struct od_metastore *store, const struct od_uuid *branch, const char *name,
                             struct od_error *err);

    // Which cluster this is: *cluster, when it has been told none yet, else what it was told first, which *cluster becomes.
    od_code (*identify)(struct od_metastore *store, struct od_uuid *cluster, struct od_error *err);

    // For rebuilding: takes a whole state at once into an empty store (else OD_EXISTS).
    od_code (*restore)(struct od_metastore *store, const struct od_meta_database *databases, size_t database_count,
                       const struct od_meta_branch *branches, size_t branch_count, const struct od_meta_layer *layers,
                       size_t layer_count, const struct od_meta_snapshot *snapshots, size_t snapshot_count,
                       struct od_error *err);
};

struct od_metastore {
    const struct od_metastore_ops *ops;
};

void od_metastore_close(struct od_metastore *store); // NULL is fine

// For backends without a language of their own: may `holder` take the next epoch (OD_LOCKED)? Then row becomes what
// epoch_acquire answers. And what lease_release leaves of it.
OD_CHECKED od_code od_meta_branch_acquire(struct od_meta_branch *row, const char *owner, const struct od_uuid *holder,
                                          uint64_t now_us, uint64_t lease_us, bool force, struct od_error *err);
void od_meta_branch_release(struct od_meta_branch *row, bool published);

// For backends: names of 1 to 256 bytes without control characters; and is a repeated call the same one (M3)? Only what
// never changes is compared.
OD_CHECKED od_code od_meta_name_check(const char *name, struct od_error *err);
bool od_meta_branch_same(const struct od_meta_branch *a, const struct od_meta_branch *b);
bool od_meta_layer_same(const struct od_meta_layer *a, const struct od_meta_layer *b);
bool od_meta_snapshot_same(const struct od_meta_snapshot *a, const struct od_meta_snapshot *b);

// The file is made when missing; `create` false: OD_NOT_FOUND then. A file that is not ours, damaged, or of a newer
// version is refused by name.
OD_CHECKED od_code od_metastore_sqlite_open(const char *path, bool create, struct od_metastore **store,
                                            struct od_error *err);

// A PostgreSQL database, by libpq's URL or "key=value" text. It must have been migrated (OD_UNSUPPORTED says what to do).
OD_CHECKED od_code od_metastore_postgres_open(const char *address, struct od_metastore **store, struct od_error *err);
// Makes the tables of this version, or brings those of an older one to it; several may do so at once.
OD_CHECKED od_code od_metastore_postgres_migrate(const char *address, struct od_error *err);
// For rebuilding: are there tables of any version? They get another name ("kept": letters, digits, '_'), or come back
// from there in place of what has been made meanwhile.
OD_CHECKED od_code od_metastore_postgres_exists(const char *address, bool *exists, struct od_error *err);
OD_CHECKED od_code od_metastore_postgres_set_aside(const char *address, const char *kept, struct od_error *err);
OD_CHECKED od_code od_metastore_postgres_put_back(const char *address, const char *kept, struct od_error *err);

OD_END_C

#endif
