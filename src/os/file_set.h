// file_set.h - a few files that appear together: they are written under other names beside their own (PATH.partial) and
// renamed at the end, the first one last, so that it is there only when all are. Nothing is overwritten.
//
// Errors are those of the platform; OD_EXISTS: a name is taken. Threads: none.
#ifndef OD_OS_FILE_SET_H
#define OD_OS_FILE_SET_H

#include "os/platform.h"

OD_BEGIN_C

#define OD_FILE_SET_MAX 4u

struct od_file_set_entry {
    char *path, *beside;
    struct od_disk_file *file; // while it is written
    uint64_t bytes;
    bool renamed;
};

struct od_file_set {
    struct od_platform *platform;
    struct od_file_set_entry entries[OD_FILE_SET_MAX];
    unsigned count;
};

void od_file_set_init(struct od_file_set *set, struct od_platform *platform);
// OD_EXISTS when there is something at the path.
OD_CHECKED od_code od_file_set_expect_free(struct od_file_set *set, const char *path, struct od_error *err);
// One more file; its path must be free. What an earlier try has left beside it is removed.
OD_CHECKED od_code od_file_set_begin(struct od_file_set *set, const char *path, struct od_error *err);
// Appends to the last one that was begun.
OD_CHECKED od_code od_file_set_append(struct od_file_set *set, const void *data, size_t bytes, struct od_error *err);
// Durable, under their own names. After an error: release.
OD_CHECKED od_code od_file_set_finish(struct od_file_set *set, struct od_error *err);
// Frees; files of a set that was not finished are removed, as far as that works.
void od_file_set_release(struct od_file_set *set, bool finished);

OD_END_C

#endif
