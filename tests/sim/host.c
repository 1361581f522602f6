// host.c - the calls of a simulated machine: each counted, each able to fail, the last one before the power goes perhaps
// done and perhaps not. What a disk keeps is disk.c's.
#include "sim/disk.h"
#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct od_disk_file {
    struct sim_host *host;
    struct sim_file *file;
    char *path;
    bool writable;
};

static struct sim_host *host_of(struct od_platform *platform)
{
    return (struct sim_host *)platform;
}

static void violate(struct sim_host *host, const char *rule, const char *path)
{
    if (host->violation[0] == '\0')
        snprintf(host->violation, sizeof host->violation, "%s: %s on %s", rule, path, host->name);
}

// ---- calls

// With the lock held. OD_OK, or the error of a machine without power.
static od_code begin(struct sim_host *host, const char *what, const char *path, bool *last, struct od_error *err)
{
    *last = false;
    if (host->off)
        return od_fail(err, OD_IO, "%s: %s: the machine %s is off", path, what, host->name);
    if (host->before_change)
        host->before_change(host->before_change_context, what, path);
    host->calls++;
    host->clock_us += 1 + sim_random_below(host->random, 2000);
    if (host->off_at_call && host->calls >= host->off_at_call) {
        host->off = true;
        host->off_at_call = 0;
        *last = true;
    }
    return OD_OK;
}

od_code sim_host_call(struct sim_host *host, const char *what, const char *key, bool *last, struct od_error *err)
{
    return begin(host, what, key, last, err);
}

// The call in which the power went has its effect or not, but never an answer.
static bool effect_of_last(struct sim_host *host)
{
    return sim_random_chance(host->random, 500);
}

static od_code no_answer(struct sim_host *host, const char *what, const char *path, struct od_error *err)
{
    return od_fail(err, OD_IO, "%s: %s: the power of %s went", path, what, host->name);
}

static od_code host_open(struct od_platform *platform, const char *path, enum od_disk_mode mode,
                         struct od_disk_file **out, struct od_error *err)
{
    struct sim_host *host = host_of(platform);
    od_code rc = OD_OK;
    bool last = false;
    pthread_mutex_lock(host->lock);
    struct sim_name *name = sim_name_find(host->names, host->name_count, path);
    struct sim_file *file = name ? name->file : NULL;
    if (mode == OD_DISK_CREATE) {
        OD_TRY(begin(host, "create", path, &last, err));
        char *parent = sim_parent_of(path);
        const bool known = sim_directory_known(host, parent);
        free(parent);
        if (file)
            OD_TRY(od_fail(err, OD_EXISTS, "%s: exists", path));
        if (!known)
            OD_TRY(od_fail(err, OD_NOT_FOUND, "%s: its directory does not exist", path));
        if (sim_random_chance(host->random, host->faults.name_error))
            OD_TRY(od_fail(err, OD_IO, "%s: create: simulated I/O error", path));
        if (host->disk_full && sim_random_chance(host->random, 300))
            OD_TRY(od_fail(err, OD_LIMIT, "%s: create: no space left (simulated)", path));
        if (!last || effect_of_last(host)) {
            file = sim_must(calloc(1, sizeof *file));
            host->files = sim_must(realloc(host->files, (host->file_count + 1) * sizeof *host->files));
            host->files[host->file_count++] = file;
            sim_name_change(host, path, NULL, path, file);
        }
        if (last)
            OD_TRY(no_answer(host, "create", path, err));
    } else {
        if (host->off)
            OD_TRY(od_fail(err, OD_IO, "%s: open: the machine %s is off", path, host->name));
        if (!file)
            OD_TRY(od_fail(err, OD_NOT_FOUND, "%s: does not exist", path));
    }
    struct od_disk_file *handle = sim_must(calloc(1, sizeof *handle));
    *handle = (struct od_disk_file){
        .host = host, .file = file, .path = sim_must(strdup(path)), .writable = mode != OD_DISK_READ};
    file->handles++;
    host->open_handles++;
    *out = handle;
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static void host_close(struct od_disk_file *handle)
{
    struct sim_host *host = handle->host;
    pthread_mutex_lock(host->lock);
    handle->file->handles--;
    host->open_handles--;
    sim_collect(host);
    pthread_mutex_unlock(host->lock);
    free(handle->path);
    free(handle);
}

static od_code host_read(struct od_disk_file *handle, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    struct sim_host *host = handle->host;
    od_code rc = OD_OK;
    pthread_mutex_lock(host->lock);
    if (host->off)
        OD_TRY(od_fail(err, OD_IO, "%s: read: the machine %s is off", handle->path, host->name));
    if (sim_random_chance(host->random, host->faults.read_error))
        OD_TRY(od_fail(err, OD_IO, "%s: read at %llu: simulated I/O error", handle->path, (unsigned long long)offset));
    if (!sim_bytes_read(&handle->file->now, offset, out, bytes))
        OD_TRY(
            od_fail(err, OD_IO, "%s: the file ends before %llu", handle->path, (unsigned long long)(offset + bytes)));
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static od_code host_write(struct od_disk_file *handle, uint64_t offset, const struct iovec *parts, unsigned count,
                          struct od_error *err)
{
    struct sim_host *host = handle->host;
    struct sim_file *file = handle->file;
    od_code rc = OD_OK;
    bool last = false;
    size_t bytes = 0, filled = 0, kept;
    for (unsigned i = 0; i < count; i++)
        bytes += parts[i].iov_len;
    uint8_t *data = sim_must(malloc(bytes + 1));
    for (unsigned i = 0; i < count; i++) {
        if (parts[i].iov_len)
            memcpy(data + filled, parts[i].iov_base, parts[i].iov_len);
        filled += parts[i].iov_len;
    }
    pthread_mutex_lock(host->lock);
    OD_TRY(begin(host, "write", handle->path, &last, err));
    if (!handle->writable)
        violate(host, "a write through a handle for reading", handle->path);
    if (file->published)
        violate(host, "a write to a file that is an object", handle->path);
    kept = bytes;
    if (last) {
        kept = (size_t)sim_random_below(host->random, bytes + 1);
        rc = no_answer(host, "write", handle->path, err);
    } else if (sim_random_chance(host->random, host->faults.write_error)) {
        kept = (size_t)sim_random_below(host->random, bytes + 1);
        rc = od_fail(err, OD_IO, "%s: write at %llu: simulated I/O error", handle->path, (unsigned long long)offset);
    } else if (offset + bytes > file->allocated &&
               (host->disk_full || sim_random_chance(host->random, host->faults.full))) {
        kept = (size_t)sim_random_below(host->random, bytes + 1);
        rc = od_fail(err, OD_LIMIT, "%s: write at %llu: no space left (simulated)", handle->path,
                     (unsigned long long)offset);
    }
    sim_file_write(file, offset, data, kept);
out:
    pthread_mutex_unlock(host->lock);
    free(data);
    return rc;
}

static od_code host_allocate(struct od_disk_file *handle, uint64_t offset, uint64_t bytes, struct od_error *err)
{
    struct sim_host *host = handle->host;
    struct sim_file *file = handle->file;
    od_code rc = OD_OK;
    bool last = false;
    pthread_mutex_lock(host->lock);
    OD_TRY(begin(host, "allocate", handle->path, &last, err));
    if (file->published)
        violate(host, "allocating in a file that is an object", handle->path);
    if (!last && offset + bytes > file->allocated &&
        (host->disk_full || sim_random_chance(host->random, host->faults.full)))
        OD_TRY(od_fail(err, OD_LIMIT, "%s: no space left for %llu bytes (simulated)", handle->path,
                       (unsigned long long)bytes));
    if (!last || effect_of_last(host)) {
        if (offset + bytes > file->allocated)
            file->allocated = offset + bytes;
        if (offset + bytes > file->now.size)
            sim_file_resize(file, offset + bytes);
    }
    if (last)
        OD_TRY(no_answer(host, "allocate", handle->path, err));
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static od_code host_truncate(struct od_disk_file *handle, uint64_t bytes, struct od_error *err)
{
    struct sim_host *host = handle->host;
    od_code rc = OD_OK;
    bool last = false;
    pthread_mutex_lock(host->lock);
    OD_TRY(begin(host, "truncate", handle->path, &last, err));
    if (handle->file->published)
        violate(host, "a truncation of a file that is an object", handle->path);
    if (!last && sim_random_chance(host->random, host->faults.write_error))
        OD_TRY(od_fail(err, OD_IO, "%s: truncate: simulated I/O error", handle->path));
    if (!last || effect_of_last(host)) {
        sim_file_resize(handle->file, bytes);
        if (handle->file->allocated > bytes)
            handle->file->allocated = bytes;
    }
    if (last)
        OD_TRY(no_answer(host, "truncate", handle->path, err));
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static od_code host_sync(struct od_disk_file *handle, struct od_error *err)
{
    struct sim_host *host = handle->host;
    struct sim_file *file = handle->file;
    od_code rc = OD_OK;
    bool last = false;
    pthread_mutex_lock(host->lock);
    OD_TRY(begin(host, "sync", handle->path, &last, err));
    if (last) {
        if (effect_of_last(host))
            sim_file_sync(file);
        OD_TRY(no_answer(host, "sync", handle->path, err));
    }
    if (sim_random_chance(host->random, host->faults.sync_error)) {
        sim_file_keep(file, host->random, SIM_CRASH_SECTORS); // the rest is clean now, and lost
        OD_TRY(od_fail(err, OD_IO, "%s: sync: simulated I/O error", handle->path));
    }
    sim_file_sync(file);
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static od_code host_size(struct od_disk_file *handle, uint64_t *bytes, struct od_error *err)
{
    pthread_mutex_lock(handle->host->lock);
    const bool off = handle->host->off;
    *bytes = handle->file->now.size;
    pthread_mutex_unlock(handle->host->lock);
    return off ? od_fail(err, OD_IO, "%s: size: the machine is off", handle->path) : OD_OK;
}

static bool same_directory(const char *a, const char *b)
{
    char *left = sim_parent_of(a), *right = sim_parent_of(b);
    const bool same = strcmp(left, right) == 0;
    free(left);
    free(right);
    return same;
}

// The common part of rename, link and remove.
static od_code change_names(struct sim_host *host, const char *what, const char *from, const char *to,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    bool last = false;
    pthread_mutex_lock(host->lock);
    OD_TRY(begin(host, what, from, &last, err));
    const struct sim_name *name = sim_name_find(host->names, host->name_count, from);
    if (!name)
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s: does not exist", from));
    if (sim_random_chance(host->random, host->faults.name_error))
        OD_TRY(od_fail(err, OD_IO, "%s: %s: simulated I/O error", from, what));
    if (to) {
        char *parent = sim_parent_of(to);
        const bool known = sim_directory_known(host, parent);
        free(parent);
        if (!known)
            OD_TRY(od_fail(err, OD_NOT_FOUND, "%s: its directory does not exist", to));
    }
    const bool linking = strcmp(what, "link") == 0;
    if (linking && sim_name_find(host->names, host->name_count, to))
        OD_TRY(od_fail(err, OD_EXISTS, "%s: exists", to));
    if (!last || effect_of_last(host)) {
        struct sim_file *file = name->file;
        if (linking) {
            sim_name_change(host, to, NULL, to, file);
        } else if (!to) {
            sim_name_change(host, from, from, NULL, file);
        } else if (same_directory(from, to)) {
            sim_name_change(host, from, from, to, file);
        } else {
            sim_name_change(host, to, NULL, to, file);
            sim_name_change(host, from, from, NULL, file);
        }
    }
    if (last)
        OD_TRY(no_answer(host, what, from, err));
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static od_code host_rename(struct od_platform *platform, const char *from, const char *to, struct od_error *err)
{
    return change_names(host_of(platform), "rename", from, to, err);
}

static od_code host_link(struct od_platform *platform, const char *from, const char *to, struct od_error *err)
{
    return change_names(host_of(platform), "link", from, to, err);
}

static od_code host_remove(struct od_platform *platform, const char *path, struct od_error *err)
{
    return change_names(host_of(platform), "remove", path, NULL, err);
}

static od_code host_make_directory(struct od_platform *platform, const char *path, struct od_error *err)
{
    struct sim_host *host = host_of(platform);
    od_code rc = OD_OK;
    bool last = false;
    pthread_mutex_lock(host->lock);
    OD_TRY(begin(host, "make_directory", path, &last, err));
    if (!last && sim_random_chance(host->random, host->faults.name_error))
        OD_TRY(od_fail(err, OD_IO, "%s: simulated I/O error", path));
    if (!last || effect_of_last(host))
        sim_directory_add(host, path);
    if (last)
        OD_TRY(no_answer(host, "make_directory", path, err));
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static od_code host_list(struct od_platform *platform, const char *path, struct od_names *names, struct od_error *err)
{
    struct sim_host *host = host_of(platform);
    od_code rc = OD_OK;
    const size_t prefix = strlen(path);
    pthread_mutex_lock(host->lock);
    *names = (struct od_names){0};
    if (host->off)
        OD_TRY(od_fail(err, OD_IO, "%s: list: the machine %s is off", path, host->name));
    if (!sim_directory_known(host, path))
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s: does not exist", path));
    names->names = od_calloc(host->name_count + host->directory_count + 1, sizeof *names->names);
    if (!names->names)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "%s: list: out of memory", path));
    for (size_t i = 0; i < host->name_count + host->directory_count; i++) {
        const char *entry = i < host->name_count ? host->names[i].path : host->directories[i - host->name_count];
        if (strncmp(entry, path, prefix) != 0 || entry[prefix] != '/' || strchr(entry + prefix + 1, '/'))
            continue;
        names->names[names->count] = od_strdup(entry + prefix + 1);
        if (!names->names[names->count])
            OD_TRY(od_fail(err, OD_NO_MEMORY, "%s: list: out of memory", path));
        names->count++;
    }
    qsort(names->names, names->count, sizeof *names->names, by_text);
out:
    pthread_mutex_unlock(host->lock);
    if (rc != OD_OK)
        od_names_release(names);
    return rc;
}

static od_code host_sync_directory(struct od_platform *platform, const char *path, struct od_error *err)
{
    struct sim_host *host = host_of(platform);
    od_code rc = OD_OK;
    bool last = false;
    size_t left = 0;
    pthread_mutex_lock(host->lock);
    OD_TRY(begin(host, "sync_directory", path, &last, err));
    if (!sim_directory_known(host, path))
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s: does not exist", path));
    if (last && !effect_of_last(host))
        OD_TRY(no_answer(host, "sync_directory", path, err));
    if (!last && sim_random_chance(host->random, host->faults.sync_error))
        OD_TRY(od_fail(err, OD_IO, "%s: sync_directory: simulated I/O error", path));
    for (size_t i = 0; i < host->name_op_count; i++) {
        struct sim_name_op op = host->name_ops[i];
        if (strcmp(op.directory, path) == 0) {
            sim_name_op_apply(&host->durable_names, &host->durable_name_count, &op);
            sim_name_op_release(&op);
        } else {
            host->name_ops[left++] = op;
        }
    }
    host->name_op_count = left;
    sim_collect(host);
    if (last)
        OD_TRY(no_answer(host, "sync_directory", path, err));
out:
    pthread_mutex_unlock(host->lock);
    return rc;
}

static uint64_t host_clock_us(struct od_platform *platform)
{
    struct sim_host *host = host_of(platform);
    pthread_mutex_lock(host->lock);
    const uint64_t now = host->clock_us += 1 + sim_random_below(host->random, 50);
    pthread_mutex_unlock(host->lock);
    return now;
}

static uint64_t host_wall_us(struct od_platform *platform)
{
    struct sim_host *host = host_of(platform);
    const uint64_t hour_us = 3600ull * 1000 * 1000;
    pthread_mutex_lock(host->lock);
    if (sim_random_chance(host->random, host->faults.clock_jump)) // up to an hour, there or back
        host->wall_us += sim_random_below(host->random, 2 * hour_us) - hour_us;
    host->clock_us += 1 + sim_random_below(host->random, 50);
    const uint64_t now = host->wall_us + host->clock_us;
    pthread_mutex_unlock(host->lock);
    return now;
}

static void host_random(struct od_platform *platform, void *out, size_t bytes)
{
    struct sim_host *host = host_of(platform);
    pthread_mutex_lock(host->lock);
    sim_random_fill(host->random, out, bytes);
    pthread_mutex_unlock(host->lock);
}

static const struct od_platform_ops host_ops = {
    .open = host_open,
    .close = host_close,
    .read = host_read,
    .write = host_write,
    .allocate = host_allocate,
    .truncate = host_truncate,
    .sync = host_sync,
    .size = host_size,
    .rename = host_rename,
    .link = host_link,
    .remove = host_remove,
    .make_directory = host_make_directory,
    .list = host_list,
    .sync_directory = host_sync_directory,
    .wall_us = host_wall_us,
    .clock_us = host_clock_us,
    .random = host_random,
};

void sim_host_init(struct sim_host *host, const char *name, struct sim_random *random, pthread_mutex_t *lock)
{
    const uint64_t start_us = 1767225600ull * 1000 * 1000; // 2026-01-01
    *host = (struct sim_host){.name = name, .random = random, .lock = lock, .wall_us = start_us};
    host->platform.ops = &host_ops;
}

od_code sim_host_publish(struct sim_host *host, const char *path, struct sim_bytes *content, struct od_error *err)
{
    const struct sim_name *name = sim_name_find(host->names, host->name_count, path);
    if (!name)
        return od_fail(err, OD_NOT_FOUND, "%s: does not exist", path);
    struct sim_file *file = name->file;
    if (file->unsynced_count)
        violate(host, "an object made of a file that is not synced", path);
    if (sim_bytes_difference(&file->now, &file->disk) != UINT64_MAX)
        violate(host, "an object made of a file whose sync had failed", path);
    file->published = true;
    sim_bytes_copy(content, &file->disk);
    return OD_OK;
}

bool sim_host_peek(struct sim_host *host, const char *path, struct sim_bytes *content)
{
    const struct sim_name *name = sim_name_find(host->names, host->name_count, path);
    if (name)
        sim_bytes_copy(content, &name->file->now);
    return name != NULL;
}

bool sim_host_flip(struct sim_host *host, const char *path, uint64_t offset, uint8_t bits)
{
    const struct sim_name *name = sim_name_find(host->names, host->name_count, path);
    uint8_t byte;
    if (!name || !sim_bytes_read(&name->file->now, offset, &byte, 1))
        return false;
    byte ^= bits;
    sim_bytes_write(&name->file->now, offset, &byte, 1);
    sim_bytes_write(&name->file->disk, offset, &byte, 1);
    return true;
}
