// run.h - one simulated history: two machines, one object store, one metadata store, up to three databases, chosen faults;
// steps that all follow from a seed; and the oracle that is asked after every step.
//
// What must hold (the names are those of volume.h, store.h and metastore.h):
//   V1  every read gives what the model holds;
//   V2  after a crash the files are those of one barrier, none older than the last acknowledged one on this machine;
//   V3  durable_lsn never passes the last barrier, never falls, never moves after a failure of the journal;
//   V4  a request is in the ledger exactly when its barrier is in the recovered history;
//   V5  a failed volume takes no writes;
//   S1  after a takeover the history goes on from the published tip, and the old writer publishes nothing more;
//   S2  a snapshot reads the same for ever, from every machine; S3 a clone and its origin do not touch each other;
//   M2  the layers of a branch are a chain without gaps whose ends are barriers.
#ifndef OD_TESTS_SIM_RUN_H
#define OD_TESTS_SIM_RUN_H

#include "sim/model.h"
#include "sim/stores.h"
#include "storage/store.h"

#define RUN_HOSTS 2u
#define RUN_DATABASES 3u
#define RUN_SNAPSHOTS 24u
#define RUN_BLOCK_BYTES 16384u

struct run_database {
    char name[32];
    bool exists;
    bool late; // a call that was to clone it failed, and may still take place: then it is what `line` says
    struct model_line line;
    int writer;                           // the machine whose volume is the current writer; -1: none
    int last_writer;                      // whose journals may go on; -1: none
    struct od_volume *volumes[RUN_HOSTS]; // one that is not `writer` was fenced
    uint64_t durable_seen;
    bool failed; // the writer's volume takes no writes any more
    uint64_t iteration;
    uint64_t blocks;
};

struct run_snapshot {
    bool used, maybe; // maybe: the answer was lost
    size_t database;
    struct od_meta_snapshot row;
    struct model_state state;
};

struct run_options {
    uint64_t seed;
    unsigned steps;
    bool history; // with layers, snapshots, clones and takeovers; else with journals only
    bool verbose;
};

struct run {
    struct run_options options;
    struct sim_random random;
    pthread_mutex_t lock;
    struct sim_host hosts[RUN_HOSTS];
    struct sim_stores stores;
    struct sim_object_link objects[RUN_HOSTS];
    struct sim_metadata_link metadata[RUN_HOSTS];
    struct od_store *opened[RUN_HOSTS];
    struct run_database databases[RUN_DATABASES];
    struct run_snapshot snapshots[RUN_SNAPSHOTS];
    struct sim_faults faults; // of this seed
    uint64_t requests, names;
    unsigned step;
    bool failed;
    char failure[1024];
};

// Runs the history of a seed. True: everything held; else run->failure says what did not, and at which step.
bool sim_run(struct run *run, const struct run_options *options);

// ---- between the parts of a run

void run_fail(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
void run_say(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool run_chance(struct run *run, unsigned per_mille);
uint64_t run_below(struct run *run, uint64_t limit);
// Faults happen only inside run_begin_faults .. run_end_faults.
void run_begin_faults(struct run *run, size_t host);
void run_end_faults(struct run *run, size_t host);

bool run_open_store(struct run *run, size_t host);                   // without faults
void run_open_writer(struct run *run, size_t database, size_t host); // closes nothing; compares
void run_close_volume(struct run *run, size_t database, size_t host);
void run_restart(struct run *run, size_t host, enum sim_crash kind); // closes all, crashes, opens the store
void run_check_writer(struct run *run, size_t database, bool whole); // the oracle of one step
void run_check_layers(struct run *run, size_t database);
void run_check_at(struct run *run, size_t host, size_t database, const struct od_position *position,
                  const struct model_state *expected, const char *what);

void run_step(struct run *run); // one step of the workload

#endif
