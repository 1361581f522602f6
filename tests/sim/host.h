// host.h - a simulated machine: a disk that forgets what was not synced, a clock that jumps, calls that fail. Its
// platform is what the storage under test sees instead of the operating system.
//
// The disk is stricter than any real one where the rules of os/platform.h leave it room:
//   * a crash keeps any part of the unsynced writes, in any order, torn at 512 bytes; names live on their own;
//   * after a failed sync the pages are clean: some of them never reach the disk, while reads (until the crash) show them,
//     and the next sync succeeds;
//   * the call during which the power goes may have happened in part.
// A machine without power answers every call with an error and does nothing; what ran on it is closed (to give back its
// memory), then the machine is started again with what its disk kept.
#ifndef OD_TESTS_SIM_HOST_H
#define OD_TESTS_SIM_HOST_H

#include "os/platform.h"
#include "sim/bytes.h"
#include "sim/random.h"

#include <pthread.h>

OD_BEGIN_C

#define SIM_SECTOR_BYTES 512u

// How likely the calls of a machine fail, in 1/1000.
struct sim_faults {
    unsigned write_error, sync_error, read_error, name_error, full; // full: an allocation or a growing write
    unsigned object_lost, object_unknown, object_late;              // nothing done; done or not; done later
    unsigned row_lost, row_unknown, row_late;                       // the same of the metadata store
    unsigned clock_jump;
};

// What a crash keeps of the unsynced writes and names.
enum sim_crash {
    SIM_CRASH_PROCESS, // all: only the process died
    SIM_CRASH_NOTHING, // only what was synced
    SIM_CRASH_PREFIX,  // in order, the last one torn
    SIM_CRASH_SOME,    // any subset of the writes, each perhaps torn
    SIM_CRASH_SECTORS, // any subset of the sectors
    SIM_CRASHES
};

struct sim_file;    // an inode
struct sim_name;    // a name of one
struct sim_name_op; // a change of names that no sync_directory has made durable
struct sim_journal; // see sim_host.journal

struct sim_host {
    struct od_platform platform; // first: the platform is the host
    const char *name;
    struct sim_random *random;
    pthread_mutex_t *lock; // the world's
    struct sim_faults faults;
    bool off;             // no power: every call fails
    uint64_t calls;       // of the platform and the stores so far, reads and clocks left out
    uint64_t off_at_call; // the power goes during this call; 0: not planned
    bool disk_full;
    bool thorough_clock; // the wall clock may jump back and forth
    uint64_t clock_us, wall_us;

    struct sim_file **files;
    size_t file_count;
    struct sim_name *names, *durable_names;
    size_t name_count, durable_name_count;
    struct sim_name_op *name_ops;
    size_t name_op_count;
    char **directories;
    size_t directory_count;
    unsigned open_handles;

    // Called with the lock held before a call that changes something is done (for the crash explorer); may be NULL.
    void (*before_change)(void *context, const char *what, const char *path);
    void *before_change_context;
    // A rule that the code under test broke towards the disk (a write to a published file, ...); empty: none.
    char violation[256];
};

void sim_host_init(struct sim_host *host, const char *name, struct sim_random *random, pthread_mutex_t *lock);
void sim_host_release(struct sim_host *host); // no handle may be open
// The disk of `from` as it is now, unsynced writes apart, without handles and faults.
void sim_host_copy(struct sim_host *to, const struct sim_host *from, struct sim_random *random, pthread_mutex_t *lock);
// After everything that ran on it was closed: the disk keeps what `kind` says, and the machine runs again.
void sim_host_crash(struct sim_host *host, enum sim_crash kind);

// For the simulated stores. Counts one call; OD_OK, or OD_IO without power. *last: the power goes during this call, which
// may still have its effect.
od_code sim_host_call(struct sim_host *host, const char *what, const char *key, bool *last, struct od_error *err);
// The content of a complete, synced file, which must not change any more from now on (an object store may link it).
od_code sim_host_publish(struct sim_host *host, const char *path, struct sim_bytes *content, struct od_error *err);
// For tests: the content as a read would see it, and a change behind everybody's back (bit rot). False: no such file.
bool sim_host_peek(struct sim_host *host, const char *path, struct sim_bytes *content);
bool sim_host_flip(struct sim_host *host, const char *path, uint64_t offset, uint8_t bits);

OD_END_C

#endif
