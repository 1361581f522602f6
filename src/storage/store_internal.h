// store_internal.h - private: the state of a store.
#ifndef OD_STORAGE_STORE_INTERNAL_H
#define OD_STORAGE_STORE_INTERNAL_H

#include "metastore/metastore.h"
#include "storage/volume_internal.h"

#define OD_SEAL_BYTES_DEFAULT (UINT64_C(256) << 20)
#define OD_LAYERS_SLACK_DEFAULT 64u
#define OD_SEAL_AGE_MS_DEFAULT 60000u
#define OD_LEDGER_WINDOW_MS_DEFAULT (UINT64_C(24) * 3600 * 1000)
#define OD_BLOCK_BYTES_DEFAULT 262144u
#define OD_LEASE_US 6000000u
#define OD_HIDDEN_NAME_PREFIX "." // of databases that are not listed

struct od_store {
    struct od_store_options options; // the texts are copies
    pthread_mutex_t lock;
    struct od_volume *writers; // linked by next_writer
    struct od_volume *readers; // frozen volumes, too
    size_t open_volumes;
    bool reserve_held, reserve_told; // told: that it could not be taken
    struct od_uuid holder;           // zero: not read yet
};

#define OD_SUPERSEDED_KEPT 32u
// A layer's uuid begins with so many bytes of its branch's, so that the layers of a branch can be listed.
#define OD_LAYER_BRANCH_BYTES 6u
void od_layer_uuid(struct od_platform *platform, const struct od_uuid *branch, struct od_uuid *layer);
// The epoch that the volume was given, among the objects. OD_CORRUPT: it was given before.
OD_CHECKED od_code od_branch_claim(struct od_volume *volume, struct od_error *err);
// Of a branch that nobody will open again: its claims are removed, as far as that works.
void od_branch_unclaim(struct od_store *store, const struct od_uuid *branch);
// Gives rows to the layers that the holder (of the row `before` the epoch) has put beyond the tip.
OD_CHECKED od_code od_branch_roll_forward(struct od_volume *volume, const struct od_meta_branch *before,
                                          struct od_error *err);
// The uuid of the journal directory, made when it has none yet.
OD_CHECKED od_code od_store_holder(struct od_store *store, struct od_uuid *holder, struct od_error *err);
// A journal that is not part of the history any more gets a durable name where no opening looks, if anything was committed
// in it; then the caller removes the old name. Logs what it holds.
OD_CHECKED od_code od_superseded_keep(struct od_volume *volume, struct od_journal *journal, struct od_error *err);

// BRANCH's journals: DIRECTORY/UUID. OD_INVALID when too long.
OD_CHECKED od_code od_store_branch_directory(const struct od_store *store, const struct od_uuid *branch,
                                             char out[OD_JOURNAL_PATH_BYTES], struct od_error *err);

OD_CHECKED od_code od_store_check_name(const char *name, struct od_error *err);
bool od_store_is_open(struct od_store *store, const struct od_uuid *branch); // for writing, in this process
// The branch's description among the objects, then its row. The name is not checked.
OD_CHECKED od_code od_store_create_branch(struct od_store *store, const char *name, const struct od_meta_branch *branch,
                                          struct od_error *err);
OD_CHECKED od_code od_store_describe_branch(struct od_store *store, const char *name,
                                            const struct od_meta_branch *branch, struct od_error *err);
// Says among the objects that the branch was dropped, after its row says so: else a rebuild would bring it back. Harmless
// to repeat.
OD_CHECKED od_code od_store_describe_drop(struct od_store *store, const char *name, const struct od_uuid *branch,
                                          struct od_error *err);

// Removes what imports that did not end have left, if it is at least that old.
OD_CHECKED od_code od_store_import_clean(struct od_store *store, uint64_t older_than_us, struct od_error *err);
// The files of a branch's journals, as far as they can be removed; returns how many were.
size_t od_store_remove_journals(struct od_store *store, const struct od_uuid *branch);
// Takes the reserve, if one is wanted and is not held. Should that fail, it says so in the log, and is tried again later.
void od_reserve_hold(struct od_store *store);
// After an OD_LIMIT that must not be the end: true when there is more room now, so that it is worth another try.
bool od_reserve_give(struct od_store *store);

#endif
