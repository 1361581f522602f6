// directory.c - making, listing and removing directories; see file.h.
#include "os/file.h"

#include "base/alloc.h"
#include "os/os_call.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TREE_DEPTH_MAX 128u
#define NAMES_MAX 1000000u

static od_code make_one(const char *path, unsigned mode, struct od_error *err)
{
    struct stat status;
    if (OD_OS_CALL(mkdir(path, (mode_t)mode)) == 0)
        return OD_OK;
    int os_errno = errno;
    if (os_errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode))
        return OD_OK;
    return od_os_fail(err, os_errno == EEXIST ? ENOTDIR : os_errno, "make directory", path);
}

od_code od_directory_make(const char *path, unsigned mode, struct od_error *err)
{
    char *copy = od_strdup(path);
    if (!copy)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a path");
    od_code rc = OD_OK;
    for (char *slash = strchr(copy + (copy[0] == '/'), '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        // A parent that exists is left alone, even where it could not be made (read-only mounts).
        if (access(copy, F_OK) != 0)
            OD_TRY(make_one(copy, mode, err));
        *slash = '/';
    }
    OD_TRY(make_one(copy, mode, err));
out:
    od_free(copy);
    return rc;
}

void od_names_release(struct od_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        od_free(names->names[i]);
    od_free(names->names);
    *names = (struct od_names){0};
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(char *const *)left, *(char *const *)right);
}

static od_code read_names(DIR *directory, const char *path, struct od_names *names, struct od_error *err)
{
    size_t capacity = 0;
    for (;;) {
        errno = od_fault_point() ? OD_OS_FAULT_ERRNO : 0;
        struct dirent *entry = errno ? NULL : readdir(directory);
        if (!entry && errno)
            return od_os_fail(err, errno, "list", path);
        if (!entry)
            break;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        if (names->count == NAMES_MAX)
            return od_fail(err, OD_LIMIT, "%s has more than %u entries", path, NAMES_MAX);
        if (names->count == capacity) {
            capacity = capacity ? capacity * 2 : 16;
            char **grown = od_realloc(names->names, capacity * sizeof *grown);
            if (!grown)
                return od_fail(err, OD_NO_MEMORY, "out of memory for the entries of %s", path);
            names->names = grown;
        }
        char *name = od_strdup(entry->d_name);
        if (!name)
            return od_fail(err, OD_NO_MEMORY, "out of memory for the entries of %s", path);
        names->names[names->count++] = name;
    }
    if (names->count > 1)
        qsort(names->names, names->count, sizeof *names->names, compare_names);
    return OD_OK;
}

od_code od_directory_list(const char *path, struct od_names *names, struct od_error *err)
{
    *names = (struct od_names){0};
    int descriptor = OD_OS_CALL(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (descriptor < 0)
        return od_os_fail(err, errno, "list", path);
    DIR *directory = fdopendir(descriptor);
    if (!directory) {
        int os_errno = errno;
        close(descriptor);
        return od_os_fail(err, os_errno, "list", path);
    }
    od_code rc = read_names(directory, path, names, err);
    closedir(directory);
    if (rc != OD_OK)
        od_names_release(names);
    return rc;
}

static od_code remove_at(const char *path, unsigned depth, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_names names = {0};
    char *child = NULL;
    struct stat status;
    if (OD_OS_CALL(lstat(path, &status)) != 0)
        return errno == ENOENT ? OD_OK : od_os_fail(err, errno, "look at", path);
    if (!S_ISDIR(status.st_mode))
        return od_file_remove(path, err);
    if (depth == TREE_DEPTH_MAX)
        return od_fail(err, OD_LIMIT, "%s is nested more than %u directories deep", path, TREE_DEPTH_MAX);
    OD_TRY(od_directory_list(path, &names, err));
    for (size_t i = 0; i < names.count; i++) {
        child = od_path_join(path, names.names[i]);
        if (!child)
            OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a path"));
        OD_TRY(remove_at(child, depth + 1, err));
        od_free(child);
        child = NULL;
    }
    if (OD_OS_CALL(rmdir(path)) != 0 && errno != ENOENT)
        OD_TRY(od_os_fail(err, errno, "remove", path));
out:
    od_free(child);
    od_names_release(&names);
    return rc;
}

od_code od_tree_remove(const char *path, struct od_error *err)
{
    return remove_at(path, 0, err);
}
