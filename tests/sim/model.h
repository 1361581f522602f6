// model.h - what a database must hold: its four files after each barrier, and which requests each barrier made true. Kept
// in the plainest way, so that a difference is the storage's fault.
#ifndef OD_TESTS_SIM_MODEL_H
#define OD_TESTS_SIM_MODEL_H

#include "sim/bytes.h"
#include "storage/volume.h"

OD_BEGIN_C

#define MODEL_PAGES 16384u // of a file, at most: bounds what the workload writes

struct model_state {
    bool exists[OD_VOLUME_FILES];
    struct sim_bytes files[OD_VOLUME_FILES];
    uint8_t trimmed[MODEL_PAGES / 8]; // pages of the database file whose content is anybody's guess
};

struct model_barrier {
    uint64_t epoch, lsn;                  // lsn 0: the call failed; whether the barrier is there is not known
    bool acknowledged;                    // somebody was told that it is durable
    char request_id[OD_REQUEST_ID_BYTES]; // empty: no ledger entry
    uint64_t changed_rows;
    struct model_state state;
};

// The history of one branch, as the writer that holds it sees it. barriers[0] is where it begins.
struct model_line {
    struct model_barrier *barriers;
    size_t count;
    struct model_state now;
};

void model_state_release(struct model_state *state);
void model_state_copy(struct model_state *to, const struct model_state *from); // `to` is empty
void model_write(struct model_state *state, enum od_volume_file file, uint64_t offset, const void *data, size_t bytes);
void model_truncate(struct model_state *state, enum od_volume_file file, uint64_t bytes);
void model_trim(struct model_state *state, uint64_t offset, uint64_t bytes);
void model_remove(struct model_state *state, enum od_volume_file file);
void model_rename(struct model_state *state, enum od_volume_file from, enum od_volume_file to);
// True: the same. Else `why` says where they differ.
bool model_same(const struct model_state *found, const struct model_state *expected, char *why, size_t why_bytes);

void model_line_release(struct model_line *line);
// Ends a barrier at the present state. request_id may be NULL.
void model_line_barrier(struct model_line *line, uint64_t epoch, uint64_t lsn, const char *request_id,
                        uint64_t changed_rows);
// Forgets the barriers after `index`, and what was written since.
void model_line_cut(struct model_line *line, size_t index);
// A line that begins with the given state.
void model_line_begin(struct model_line *line, const struct model_state *state, uint64_t epoch, uint64_t lsn);

OD_END_C

#endif
