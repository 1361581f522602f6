// stores.h - simulated object and metadata stores: one truth that several machines reach, each over a link that loses
// calls and answers. What a call does is what objstore.h (B1-B4) and metastore.h (M1-M4) promise, no more.
//
// A call may be lost before it did anything (OD_UNAVAILABLE), lose its answer (OD_OUTCOME_UNKNOWN, done or not), or arrive
// late: it is answered OD_OUTCOME_UNKNOWN and takes place at a later sim_stores_deliver, also after a takeover.
#ifndef OD_TESTS_SIM_STORES_H
#define OD_TESTS_SIM_STORES_H

#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "sim/host.h"

OD_BEGIN_C

#define SIM_LATE_MAX 32u

struct sim_blob {
    char key[OD_OBJECT_KEY_BYTES];
    struct sim_bytes content;
};

struct sim_objects {
    struct sim_blob *blobs; // in order of key
    size_t count;
    struct sim_blob late[SIM_LATE_MAX];
    size_t late_count;
};

enum sim_row_call { SIM_CALL_DATABASE_CREATE, SIM_CALL_LAYER_PUBLISH, SIM_CALL_SNAPSHOT_CREATE };

struct sim_late_row {
    enum sim_row_call call;
    char name[OD_META_NAME_BYTES];
    struct od_meta_branch branch;
    struct od_meta_layer layer;
    struct od_uuid expected_tip;
    struct od_meta_snapshot snapshot;
};

struct sim_metadata {
    struct od_meta_database *databases;
    struct od_meta_branch *branches;
    struct od_meta_layer *layers;
    struct od_meta_snapshot *snapshots; // of all branches; position.branch says which
    size_t database_count, branch_count, layer_count, snapshot_count;
    struct sim_late_row *late;
    size_t late_count;
    uint64_t now_us;
};

struct sim_stores {
    struct sim_objects objects;
    struct sim_metadata metadata;
};

// How one machine reaches them.
struct sim_object_link {
    struct od_objstore base; // first
    struct sim_objects *objects;
    struct sim_host *host;
    unsigned open_objects;
};

struct sim_metadata_link {
    struct od_metastore base; // first
    struct sim_metadata *metadata;
    struct sim_host *host;
};

void sim_stores_init(struct sim_stores *stores);
void sim_stores_release(struct sim_stores *stores);
void sim_stores_copy(struct sim_stores *to, const struct sim_stores *from);
// Lets late calls take place, each with the given chance in 1/1000.
void sim_stores_deliver(struct sim_stores *stores, struct sim_random *random, unsigned per_mille);

void sim_object_link_init(struct sim_object_link *link, struct sim_objects *objects, struct sim_host *host);
void sim_metadata_link_init(struct sim_metadata_link *link, struct sim_metadata *metadata, struct sim_host *host);

// For the parts of the stores.
void sim_objects_deliver(struct sim_objects *objects, struct sim_random *random, unsigned per_mille);
void sim_metadata_deliver(struct sim_metadata *metadata, struct sim_random *random, unsigned per_mille);

OD_END_C

#endif
