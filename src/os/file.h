// file.h - whole files and directories. Every operation passes od_fault_point, so tests can make each one fail.
//
// Errors are OD_NOT_FOUND when the path does not exist, OD_FORBIDDEN when permission is missing, else OD_IO; they name
// the path. Threads: all functions may run at once on different paths.
#ifndef OD_OS_FILE_H
#define OD_OS_FILE_H

#include "base/buf.h"
#include "base/cdecl.h"
#include "base/error.h"

OD_BEGIN_C

// Appends the whole file to out, whose limit is the ceiling (OD_LIMIT).
OD_CHECKED od_code od_file_read(const char *path, struct od_buf *out, struct od_error *err);
// Replaces the file in one step: after a crash at any moment it holds the old content or the new one. mode: 0600, ...
OD_CHECKED od_code od_file_write(const char *path, const void *data, size_t bytes, unsigned mode, struct od_error *err);
OD_CHECKED od_code od_file_size(const char *path, uint64_t *bytes, struct od_error *err);
OD_CHECKED od_code od_file_remove(const char *path, struct od_error *err);                 // a missing file is fine
OD_CHECKED od_code od_file_rename(const char *from, const char *to, struct od_error *err); // durable
bool od_file_exists(const char *path);

// Makes the directory and its missing parents.
OD_CHECKED od_code od_directory_make(const char *path, unsigned mode, struct od_error *err);

// Names of the entries ("." and ".." left out), sorted by byte value.
struct od_names {
    char **names;
    size_t count;
};
OD_CHECKED od_code od_directory_list(const char *path, struct od_names *names, struct od_error *err);
void od_names_release(struct od_names *names);

// Removes a file, or a directory with everything in it; follows no symbolic link. A missing path is fine.
OD_CHECKED od_code od_tree_remove(const char *path, struct od_error *err);

// DIRECTORY/NAME in new memory (od_free); NULL: out of memory.
char *od_path_join(const char *directory, const char *name);

// An exclusive lock on a file that also tells who holds it. It dies with the process, however that ends.
struct od_lock_file {
    int descriptor;
    bool held;
};
// OD_LOCKED names the holder's process id.
OD_CHECKED od_code od_lock_file_acquire(struct od_lock_file *lock, const char *path, struct od_error *err);
void od_lock_file_release(struct od_lock_file *lock); // harmless when not held; the file stays

// Value of an environment variable; NULL when unset or empty.
const char *od_environment(const char *name);

OD_END_C

#endif
