// spill_file.h - the rows of a statement whose client has stopped reading, on disk: a store of batches (batch_queue.h) in a
// file without a name, so that nothing of it outlives the process.
//
//   F1  All files of a server together take at most `limit_bytes`, counted before they are written.
//   F2  What was read is given back when nothing else is left in the file.
#ifndef OD_SERVER_SPILL_FILE_H
#define OD_SERVER_SPILL_FILE_H

#include "arrow/batch_queue.h"
#include "os/platform.h"

#include <stdatomic.h>

OD_BEGIN_C

struct od_spill_space {
    uint64_t limit_bytes;
    atomic_uint_least64_t used_bytes;
};

extern const struct od_batch_store_ops od_spill_file_ops;

// An empty file at `path`, which must not exist and whose name is removed at once. *store is for od_spill_file_ops; the
// space must outlive it.
OD_CHECKED od_code od_spill_file_open(struct od_platform *platform, const char *path, struct od_spill_space *space,
                                      void **store, struct od_error *err);

OD_END_C

#endif
