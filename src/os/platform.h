// platform.h - what the storage needs of the operating system, as a table of functions: files, time, randomness. The
// storage touches nothing else, so a test that hands in a simulated platform decides every write that is lost, torn or
// refused, and replays it from a seed.
//
// Files are read and written at offsets; nothing is durable before sync (a file's content and size) and sync_directory
// (names in a directory). A failed sync is final: what was written since the last good one may be gone, and asking again
// proves nothing (the caller gives the file up).
//
// Errors: OD_NOT_FOUND, OD_EXISTS, OD_FORBIDDEN (permission, read-only disk), OD_LIMIT (disk or quota full), else OD_IO.
// They name the path, and the offset where there is one. Threads: all functions, also several on one file.
#ifndef OD_OS_PLATFORM_H
#define OD_OS_PLATFORM_H

#include "base/error.h"
#include "os/file.h"
#include "os/random.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

OD_BEGIN_C

struct od_platform;
struct od_disk_file;

enum od_disk_mode {
    OD_DISK_READ,   // must exist
    OD_DISK_WRITE,  // read and write; must exist
    OD_DISK_CREATE, // read and write; OD_EXISTS when it is there
};

struct od_platform_ops {
    od_code (*open)(struct od_platform *platform, const char *path, enum od_disk_mode mode, struct od_disk_file **file,
                    struct od_error *err);
    void (*close)(struct od_disk_file *file);
    // All of `bytes`, or an error; OD_IO when the file ends before.
    od_code (*read)(struct od_disk_file *file, uint64_t offset, void *out, size_t bytes, struct od_error *err);
    // All parts one after the other at `offset`. A failed or interrupted write may have written any part of it.
    od_code (*write)(struct od_disk_file *file, uint64_t offset, const struct iovec *parts, unsigned count,
                     struct od_error *err);
    // Reserves disk space, so that later writes there neither run out of it nor change the file's metadata. The file's
    // size becomes at least offset + bytes; what was never written reads as zeros.
    od_code (*allocate)(struct od_disk_file *file, uint64_t offset, uint64_t bytes, struct od_error *err);
    od_code (*truncate)(struct od_disk_file *file, uint64_t bytes, struct od_error *err);
    od_code (*sync)(struct od_disk_file *file, struct od_error *err);
    od_code (*size)(struct od_disk_file *file, uint64_t *bytes, struct od_error *err);

    od_code (*rename)(struct od_platform *platform, const char *from, const char *to, struct od_error *err); // replaces
    od_code (*link)(struct od_platform *platform, const char *from, const char *to, struct od_error *err); // OD_EXISTS
    od_code (*remove)(struct od_platform *platform, const char *path, struct od_error *err);
    od_code (*make_directory)(struct od_platform *platform, const char *path,
                              struct od_error *err); // with its parents; durable
    // OD_NOT_FOUND also for a file.
    od_code (*list)(struct od_platform *platform, const char *path, struct od_names *names, struct od_error *err);
    od_code (*sync_directory)(struct od_platform *platform, const char *path, struct od_error *err);

    uint64_t (*wall_us)(struct od_platform *platform);  // since 1970, UTC; may jump
    uint64_t (*clock_us)(struct od_platform *platform); // monotonic
    void (*random)(struct od_platform *platform, void *out, size_t bytes);
};

struct od_platform {
    const struct od_platform_ops *ops;
};

// The real one. Static: never released.
struct od_platform *od_platform_real(void);

OD_END_C

#endif
