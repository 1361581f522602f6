// file.c - reading, replacing and removing files.
#include "os/file.h"

#include "base/alloc.h"
#include "os/os_call.h"
#include "os/random.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_BYTES ((size_t)64 * 1024)

od_code od_os_fail(struct od_error *err, int os_errno, const char *what, const char *path)
{
    od_code code = os_errno == ENOENT || os_errno == ENOTDIR ? OD_NOT_FOUND
                   : os_errno == EACCES || os_errno == EPERM ? OD_FORBIDDEN
                   : os_errno == ENOMEM                      ? OD_NO_MEMORY
                                                             : OD_IO;
    return od_fail_os(err, code, os_errno, "cannot %s %s", what, path);
}

char *od_path_join(const char *directory, const char *name)
{
    size_t directory_bytes = strlen(directory), name_bytes = strlen(name);
    bool slash = directory_bytes > 0 && directory[directory_bytes - 1] != '/';
    char *path = od_alloc(directory_bytes + slash + name_bytes + 1);
    if (!path)
        return NULL;
    memcpy(path, directory, directory_bytes);
    if (slash)
        path[directory_bytes] = '/';
    memcpy(path + directory_bytes + slash, name, name_bytes);
    path[directory_bytes + slash + name_bytes] = '\0';
    return path;
}

od_code od_file_read(const char *path, struct od_buf *out, struct od_error *err)
{
    od_code rc = OD_OK;
    int descriptor = OD_OS_CALL(open(path, O_RDONLY | O_CLOEXEC));
    if (descriptor < 0)
        return od_os_fail(err, errno, "open", path);
    for (;;) {
        // At the limit there may still be nothing more to read: one byte tells.
        uint8_t probe;
        size_t room = out->limit - out->bytes < READ_BYTES ? out->limit - out->bytes : READ_BYTES;
        OD_TRY(od_buf_reserve(out, room, err));
        ssize_t got = OD_OS_CALL(read(descriptor, room ? out->data + out->bytes : &probe, room ? room : 1));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            OD_TRY(od_os_fail(err, errno, "read", path));
        if (got == 0)
            break;
        if (!room)
            OD_TRY(od_fail(err, OD_LIMIT, "%s is larger than %zu bytes", path, out->limit));
        out->bytes += (size_t)got;
    }
out:
    close(descriptor);
    return rc;
}

static od_code write_all(int descriptor, const char *path, const uint8_t *data, size_t bytes, struct od_error *err)
{
    while (bytes > 0) {
        ssize_t written = OD_OS_CALL(write(descriptor, data, bytes));
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return od_os_fail(err, errno, "write", path);
        data += written;
        bytes -= (size_t)written;
    }
    return OD_OK;
}

// A rename is durable once the directory that holds the name is.
static od_code sync_parent(const char *path, struct od_error *err)
{
    char *copy = od_strdup(path);
    if (!copy)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a path");
    const char *parent = dirname(copy);
    od_code rc = OD_OK;
    int descriptor = OD_OS_CALL(open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (descriptor < 0)
        OD_TRY(od_os_fail(err, errno, "open", parent));
    if (OD_OS_CALL(fsync(descriptor)) != 0)
        OD_TRY(od_os_fail(err, errno, "sync", parent));
out:
    if (descriptor >= 0)
        close(descriptor);
    od_free(copy);
    return rc;
}

od_code od_file_rename(const char *from, const char *to, struct od_error *err)
{
    if (OD_OS_CALL(rename(from, to)) != 0)
        return od_os_fail(err, errno, "rename to", to);
    return sync_parent(to, err);
}

od_code od_file_write(const char *path, const void *data, size_t bytes, unsigned mode, struct od_error *err)
{
    od_code rc = OD_OK;
    char id[OD_RANDOM_ID_BYTES], suffix[OD_RANDOM_ID_BYTES + 8];
    od_random_id(id);
    snprintf(suffix, sizeof suffix, ".%s.tmp", id);
    struct od_buf name;
    od_buf_init(&name, 8192);
    int descriptor = -1;
    bool made = false;
    const char *temporary = NULL;

    OD_TRY(od_buf_append_text(&name, path, err));
    OD_TRY(od_buf_append_text(&name, suffix, err));
    temporary = od_buf_text(&name);
    if (!temporary)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a path"));
    descriptor = OD_OS_CALL(open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, (mode_t)mode));
    if (descriptor < 0)
        OD_TRY(od_os_fail(err, errno, "create", temporary));
    made = true;
    OD_TRY(write_all(descriptor, temporary, data, bytes, err));
    if (OD_OS_CALL(fsync(descriptor)) != 0)
        OD_TRY(od_os_fail(err, errno, "sync", temporary));
    int closed = close(descriptor);
    descriptor = -1;
    if (closed != 0)
        OD_TRY(od_os_fail(err, errno, "close", temporary));
    if (OD_OS_CALL(rename(temporary, path)) != 0)
        OD_TRY(od_os_fail(err, errno, "rename to", path));
    made = false;
    OD_TRY(sync_parent(path, err));
out:
    if (descriptor >= 0)
        close(descriptor);
    if (made)
        unlink(temporary);
    od_buf_release(&name);
    return rc;
}

od_code od_file_size(const char *path, uint64_t *bytes, struct od_error *err)
{
    struct stat status;
    if (OD_OS_CALL(stat(path, &status)) != 0)
        return od_os_fail(err, errno, "look at", path);
    *bytes = (uint64_t)status.st_size;
    return OD_OK;
}

od_code od_file_remove(const char *path, struct od_error *err)
{
    if (OD_OS_CALL(unlink(path)) != 0 && errno != ENOENT)
        return od_os_fail(err, errno, "remove", path);
    return OD_OK;
}

bool od_file_exists(const char *path)
{
    return access(path, F_OK) == 0;
}

const char *od_environment(const char *name)
{
    const char *value = getenv(name);
    return value && value[0] ? value : NULL;
}
