// platform.c - the real platform: files by descriptor, offsets and durable names; see platform.h.
//
// A read or write that the kernel cut short goes on where it stopped; EINTR is repeated, except for sync: a sync that did
// not say success is a failed one.
#include "os/platform.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "os/os_call.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PARTS_MAX 64u

struct od_disk_file {
    int descriptor;
    char path[]; // for messages
};

// Like od_os_fail, with the two codes that matter to a store.
static od_code fail(struct od_error *err, int os_errno, const char *what, const char *path)
{
    if (os_errno == EEXIST)
        return od_fail(err, OD_EXISTS, "cannot %s %s: it exists", what, path);
    if (os_errno == ENOSPC || os_errno == EDQUOT || os_errno == EFBIG)
        return od_fail_os(err, OD_LIMIT, os_errno, "cannot %s %s", what, path);
    if (os_errno == EROFS)
        return od_fail_os(err, OD_FORBIDDEN, os_errno, "cannot %s %s", what, path);
    return od_os_fail(err, os_errno, what, path);
}

static od_code fail_at(struct od_error *err, int os_errno, const char *what, const struct od_disk_file *file,
                       uint64_t offset)
{
    char text[48];
    snprintf(text, sizeof text, "%s at offset %llu of", what, (unsigned long long)offset);
    return fail(err, os_errno, text, file->path);
}

static od_code real_open(struct od_platform *platform, const char *path, enum od_disk_mode mode,
                         struct od_disk_file **out, struct od_error *err)
{
    (void)platform;
    size_t bytes = strlen(path) + 1;
    struct od_disk_file *file = od_alloc(sizeof *file + bytes);
    if (!file)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the file %s", path);
    memcpy(file->path, path, bytes);
    int flags = mode == OD_DISK_READ ? O_RDONLY : mode == OD_DISK_WRITE ? O_RDWR : O_RDWR | O_CREAT | O_EXCL;
    file->descriptor = OD_OS_CALL(open(path, flags | O_CLOEXEC, 0600));
    if (file->descriptor < 0) {
        od_code rc = fail(err, errno, mode == OD_DISK_CREATE ? "create" : "open", path);
        od_free(file);
        return rc;
    }
    *out = file;
    return OD_OK;
}

static void real_close(struct od_disk_file *file)
{
    if (!file)
        return;
    close(file->descriptor); // nothing is written by it: what matters was synced before
    od_free(file);
}

static od_code real_read(struct od_disk_file *file, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    uint8_t *at = out;
    while (bytes > 0) {
        ssize_t got = OD_OS_CALL(pread(file->descriptor, at, bytes, (off_t)offset));
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail_at(err, errno, "read", file, offset);
        if (got == 0)
            return od_fail(err, OD_IO, "%s ends at %llu; %zu bytes more were expected", file->path,
                           (unsigned long long)offset, bytes);
        at += got;
        offset += (uint64_t)got;
        bytes -= (size_t)got;
    }
    return OD_OK;
}

static od_code real_write(struct od_disk_file *file, uint64_t offset, const struct iovec *parts, unsigned count,
                          struct od_error *err)
{
    unsigned part = 0;
    size_t done = 0; // of parts[part]
    while (part < count) {
        struct iovec now[PARTS_MAX];
        int taken = 0;
        for (unsigned i = part; i < count && taken < (int)PARTS_MAX; i++) {
            size_t skip = i == part ? done : 0;
            now[taken++] = (struct iovec){(char *)parts[i].iov_base + skip, parts[i].iov_len - skip};
        }
        ssize_t put = OD_OS_CALL(pwritev(file->descriptor, now, taken, (off_t)offset));
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return fail_at(err, errno, "write", file, offset);
        offset += (uint64_t)put;
        size_t left = (size_t)put;
        while (part < count && left >= parts[part].iov_len - done) {
            left -= parts[part].iov_len - done;
            done = 0;
            part++;
        }
        done += left;
    }
    return OD_OK;
}

static od_code real_allocate(struct od_disk_file *file, uint64_t offset, uint64_t bytes, struct od_error *err)
{
    for (;;) {
        if (OD_OS_CALL(fallocate(file->descriptor, 0, (off_t)offset, (off_t)bytes)) == 0)
            return OD_OK;
        if (errno == EINTR)
            continue;
        if (errno != EOPNOTSUPP)
            return fail_at(err, errno, "allocate space", file, offset);
        break;
    }
    // A file system that cannot reserve: only the size is set.
    struct stat status;
    if (OD_OS_CALL(fstat(file->descriptor, &status)) != 0)
        return fail(err, errno, "look at", file->path);
    if ((uint64_t)status.st_size < offset + bytes &&
        OD_OS_CALL(ftruncate(file->descriptor, (off_t)(offset + bytes))) != 0)
        return fail(err, errno, "resize", file->path);
    return OD_OK;
}

static od_code real_truncate(struct od_disk_file *file, uint64_t bytes, struct od_error *err)
{
    while (OD_OS_CALL(ftruncate(file->descriptor, (off_t)bytes)) != 0)
        if (errno != EINTR)
            return fail(err, errno, "resize", file->path);
    return OD_OK;
}

static od_code real_sync(struct od_disk_file *file, struct od_error *err)
{
    return OD_OS_CALL(fdatasync(file->descriptor)) == 0 ? OD_OK : fail(err, errno, "sync", file->path);
}

static od_code real_size(struct od_disk_file *file, uint64_t *bytes, struct od_error *err)
{
    struct stat status;
    if (OD_OS_CALL(fstat(file->descriptor, &status)) != 0)
        return fail(err, errno, "look at", file->path);
    *bytes = (uint64_t)status.st_size;
    return OD_OK;
}

static od_code real_rename(struct od_platform *platform, const char *from, const char *to, struct od_error *err)
{
    (void)platform;
    return OD_OS_CALL(rename(from, to)) == 0 ? OD_OK : fail(err, errno, "rename to", to);
}

static od_code real_link(struct od_platform *platform, const char *from, const char *to, struct od_error *err)
{
    (void)platform;
    return OD_OS_CALL(link(from, to)) == 0 ? OD_OK : fail(err, errno, "link", to);
}

static od_code real_remove(struct od_platform *platform, const char *path, struct od_error *err)
{
    (void)platform;
    return OD_OS_CALL(unlink(path)) == 0 ? OD_OK : fail(err, errno, "remove", path);
}

static od_code sync_directory_at(const char *path, struct od_error *err)
{
    int descriptor = OD_OS_CALL(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (descriptor < 0)
        return fail(err, errno, "open", path);
    od_code rc = OD_OS_CALL(fsync(descriptor)) == 0 ? OD_OK : fail(err, errno, "sync", path);
    close(descriptor);
    return rc;
}

static od_code real_sync_directory(struct od_platform *platform, const char *path, struct od_error *err)
{
    (void)platform;
    return sync_directory_at(path, err);
}

// Every level is synced, also one that was there: who made it may have crashed before doing so.
static od_code real_make_directory(struct od_platform *platform, const char *path, struct od_error *err)
{
    (void)platform;
    od_code rc = OD_OK;
    char parent[PATH_MAX];
    OD_TRY(od_directory_make(path, 0700, err));
    size_t bytes = strlen(path);
    if (bytes >= sizeof parent)
        OD_TRY(od_fail(err, OD_INVALID, "the path %.64s... is too long", path));
    memcpy(parent, path, bytes + 1);
    for (char *slash = strrchr(parent, '/'); slash && slash != parent; slash = strrchr(parent, '/')) {
        *slash = '\0';
        if (access(parent, R_OK | W_OK) != 0)
            break; // not ours: it was there before
        OD_TRY(sync_directory_at(parent, err));
    }
    if (path[0] != '/')
        OD_TRY(sync_directory_at(".", err));
out:
    return rc;
}

static od_code real_list(struct od_platform *platform, const char *path, struct od_names *names, struct od_error *err)
{
    (void)platform;
    return od_directory_list(path, names, err);
}

static uint64_t real_wall_us(struct od_platform *platform)
{
    (void)platform;
    return od_clock_wall_us();
}

static uint64_t real_clock_us(struct od_platform *platform)
{
    (void)platform;
    return od_clock_us();
}

static void real_random(struct od_platform *platform, void *out, size_t bytes)
{
    (void)platform;
    od_random_bytes(out, bytes);
}

struct od_platform *od_platform_real(void)
{
    static const struct od_platform_ops ops = {
        .open = real_open,
        .close = real_close,
        .read = real_read,
        .write = real_write,
        .allocate = real_allocate,
        .truncate = real_truncate,
        .sync = real_sync,
        .size = real_size,
        .rename = real_rename,
        .link = real_link,
        .remove = real_remove,
        .make_directory = real_make_directory,
        .list = real_list,
        .sync_directory = real_sync_directory,
        .wall_us = real_wall_us,
        .clock_us = real_clock_us,
        .random = real_random,
    };
    static struct od_platform platform = {&ops};
    return &platform;
}
