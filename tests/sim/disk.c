// disk.c - the files and names of a simulated disk, and what a crash leaves of them. disk.h has the invariants.
#include "sim/disk.h"
#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

void *sim_must(void *memory)
{
    od_assert(memory);
    return memory;
}

char *sim_parent_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return sim_must(slash && slash != path ? strndup(path, (size_t)(slash - path)) : strdup(slash ? "/" : "."));
}

// ---- names

struct sim_name *sim_name_find(struct sim_name *names, size_t count, const char *path)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(names[i].path, path) == 0)
            return &names[i];
    return NULL;
}

static void name_remove(struct sim_name *names, size_t *count, const char *path)
{
    struct sim_name *name = sim_name_find(names, *count, path);
    if (!name)
        return;
    free(name->path);
    *name = names[--*count];
}

void sim_name_set(struct sim_name **names, size_t *count, const char *path, struct sim_file *file)
{
    struct sim_name *name = sim_name_find(*names, *count, path);
    if (!name) {
        *names = sim_must(realloc(*names, (*count + 1) * sizeof **names));
        name = &(*names)[(*count)++];
        name->path = sim_must(strdup(path));
    }
    name->file = file;
}

void sim_name_op_apply(struct sim_name **names, size_t *count, const struct sim_name_op *op)
{
    if (op->removed) {
        const struct sim_name *name = sim_name_find(*names, *count, op->removed);
        if (name && (!op->added || name->file == op->file))
            name_remove(*names, count, op->removed);
    }
    if (op->added)
        sim_name_set(names, count, op->added, op->file);
}

void sim_name_op_release(struct sim_name_op *op)
{
    free(op->directory);
    free(op->removed);
    free(op->added);
}

void sim_name_change(struct sim_host *host, const char *directory_of, const char *removed, const char *added,
                     struct sim_file *file)
{
    host->name_ops = sim_must(realloc(host->name_ops, (host->name_op_count + 1) * sizeof *host->name_ops));
    struct sim_name_op *op = &host->name_ops[host->name_op_count++];
    *op = (struct sim_name_op){.directory = sim_parent_of(directory_of), .file = file};
    op->removed = removed ? sim_must(strdup(removed)) : NULL;
    op->added = added ? sim_must(strdup(added)) : NULL;
    sim_name_op_apply(&host->names, &host->name_count, op);
}

bool sim_directory_known(const struct sim_host *host, const char *path)
{
    for (size_t i = 0; i < host->directory_count; i++)
        if (strcmp(host->directories[i], path) == 0)
            return true;
    return strcmp(path, "/") == 0 || strcmp(path, ".") == 0;
}

void sim_directory_add(struct sim_host *host, const char *path)
{
    if (sim_directory_known(host, path))
        return;
    char *parent = sim_parent_of(path);
    sim_directory_add(host, parent);
    free(parent);
    host->directories = sim_must(realloc(host->directories, (host->directory_count + 1) * sizeof *host->directories));
    host->directories[host->directory_count++] = sim_must(strdup(path));
}

// ---- files

static void forget_unsynced(struct sim_file *file)
{
    for (size_t i = 0; i < file->unsynced_count; i++)
        free(file->unsynced[i].data);
    file->unsynced_count = 0;
}

void sim_file_release(struct sim_file *file)
{
    forget_unsynced(file);
    free(file->unsynced);
    sim_bytes_release(&file->now);
    sim_bytes_release(&file->disk);
    free(file);
}

static bool file_needed(const struct sim_host *host, const struct sim_file *file)
{
    for (size_t i = 0; i < host->name_count; i++)
        if (host->names[i].file == file)
            return true;
    for (size_t i = 0; i < host->durable_name_count; i++)
        if (host->durable_names[i].file == file)
            return true;
    for (size_t i = 0; i < host->name_op_count; i++)
        if (host->name_ops[i].file == file)
            return true;
    return file->handles > 0;
}

void sim_collect(struct sim_host *host)
{
    for (size_t i = 0; i < host->file_count;) {
        if (file_needed(host, host->files[i])) {
            i++;
            continue;
        }
        sim_file_release(host->files[i]);
        host->files[i] = host->files[--host->file_count];
    }
}

struct unsynced *sim_unsynced_add(struct sim_file *file)
{
    if (file->unsynced_count == file->unsynced_capacity) {
        file->unsynced_capacity = file->unsynced_capacity * 2 + 8;
        file->unsynced = sim_must(realloc(file->unsynced, file->unsynced_capacity * sizeof *file->unsynced));
    }
    struct unsynced *write = &file->unsynced[file->unsynced_count++];
    *write = (struct unsynced){0};
    return write;
}

void sim_file_write(struct sim_file *file, uint64_t offset, const void *data, size_t bytes)
{
    if (bytes == 0)
        return;
    struct unsynced *write = sim_unsynced_add(file);
    write->offset = offset;
    write->bytes = bytes;
    write->data = sim_must(malloc(bytes));
    memcpy(write->data, data, bytes);
    sim_bytes_write(&file->now, offset, data, bytes);
}

void sim_file_resize(struct sim_file *file, uint64_t bytes)
{
    sim_unsynced_add(file)->offset = bytes;
    sim_bytes_resize(&file->now, bytes);
}

void sim_file_sync(struct sim_file *file)
{
    for (size_t i = 0; i < file->unsynced_count; i++)
        if (!file->unsynced[i].data && file->unsynced[i].offset < file->disk.size)
            sim_bytes_resize(&file->disk, file->unsynced[i].offset);
    for (size_t i = 0; i < file->unsynced_count; i++)
        if (file->unsynced[i].data)
            sim_bytes_take(&file->disk, &file->now, file->unsynced[i].offset, file->unsynced[i].bytes);
    sim_bytes_resize(&file->disk, file->now.size);
    forget_unsynced(file);
}

// Writes the part of one unsynced write that a crash keeps.
static void keep_write(struct sim_file *file, const struct unsynced *write, struct sim_random *random, bool torn,
                       bool sectors)
{
    if (!write->data) {
        sim_bytes_resize(&file->disk, write->offset);
        return;
    }
    const uint64_t limit = torn ? sim_random_below(random, write->bytes / SIM_SECTOR_BYTES + 1) : UINT64_MAX;
    uint64_t number = 0;
    for (size_t at = 0; at < write->bytes; number++) {
        const size_t room = SIM_SECTOR_BYTES - (size_t)((write->offset + at) % SIM_SECTOR_BYTES);
        const size_t part = write->bytes - at < room ? write->bytes - at : room;
        if (number >= limit)
            break;
        if (!sectors || sim_random_chance(random, 500))
            sim_bytes_write(&file->disk, write->offset + at, write->data + at, part);
        at += part;
    }
}

void sim_file_keep(struct sim_file *file, struct sim_random *random, enum sim_crash kind)
{
    const uint64_t prefix = sim_random_below(random, file->unsynced_count + 1);
    for (size_t i = 0; i < file->unsynced_count; i++) {
        const struct unsynced *write = &file->unsynced[i];
        switch (kind) {
        case SIM_CRASH_PREFIX:
            if (i <= prefix)
                keep_write(file, write, random, i == prefix, false);
            break;
        case SIM_CRASH_SOME:
            if (sim_random_chance(random, 500))
                keep_write(file, write, random, sim_random_chance(random, 300), false);
            break;
        case SIM_CRASH_SECTORS:
            if (write->data || sim_random_chance(random, 700))
                keep_write(file, write, random, false, true);
            break;
        default:
            break;
        }
    }
    forget_unsynced(file);
}

// ---- life of the whole disk

static void release_names(struct sim_host *host)
{
    for (size_t i = 0; i < host->name_count; i++)
        free(host->names[i].path);
    for (size_t i = 0; i < host->name_op_count; i++)
        sim_name_op_release(&host->name_ops[i]);
    free(host->names);
    free(host->name_ops);
    host->names = NULL;
    host->name_ops = NULL;
    host->name_count = host->name_op_count = 0;
}

void sim_host_release(struct sim_host *host)
{
    od_assert(host->open_handles == 0);
    release_names(host);
    for (size_t i = 0; i < host->durable_name_count; i++)
        free(host->durable_names[i].path);
    free(host->durable_names);
    for (size_t i = 0; i < host->file_count; i++)
        sim_file_release(host->files[i]);
    free(host->files);
    for (size_t i = 0; i < host->directory_count; i++)
        free(host->directories[i]);
    free(host->directories);
    *host = (struct sim_host){0};
}

static struct sim_file *counterpart(const struct sim_host *to, const struct sim_host *from, const struct sim_file *file)
{
    for (size_t i = 0; i < from->file_count; i++)
        if (from->files[i] == file)
            return to->files[i];
    return NULL;
}

void sim_host_copy(struct sim_host *to, const struct sim_host *from, struct sim_random *random, pthread_mutex_t *lock)
{
    sim_host_init(to, from->name, random, lock);
    to->wall_us = from->wall_us;
    to->clock_us = from->clock_us;
    to->file_count = from->file_count;
    to->files = sim_must(calloc(from->file_count + 1, sizeof *to->files));
    for (size_t i = 0; i < from->file_count; i++) {
        const struct sim_file *file = from->files[i];
        struct sim_file *copy = to->files[i] = sim_must(calloc(1, sizeof *copy));
        sim_bytes_copy(&copy->now, &file->now);
        sim_bytes_copy(&copy->disk, &file->disk);
        copy->allocated = file->allocated;
        copy->published = file->published;
        for (size_t k = 0; k < file->unsynced_count; k++) {
            const struct unsynced *write = &file->unsynced[k];
            struct unsynced *other = sim_unsynced_add(copy);
            *other = *write;
            if (write->data) {
                other->data = sim_must(malloc(write->bytes));
                memcpy(other->data, write->data, write->bytes);
            }
        }
    }
    for (size_t i = 0; i < from->name_count; i++)
        sim_name_set(&to->names, &to->name_count, from->names[i].path, counterpart(to, from, from->names[i].file));
    for (size_t i = 0; i < from->durable_name_count; i++)
        sim_name_set(&to->durable_names, &to->durable_name_count, from->durable_names[i].path,
                     counterpart(to, from, from->durable_names[i].file));
    to->name_ops = sim_must(calloc(from->name_op_count + 1, sizeof *to->name_ops));
    for (size_t i = 0; i < from->name_op_count; i++) {
        const struct sim_name_op *op = &from->name_ops[i];
        to->name_ops[to->name_op_count++] = (struct sim_name_op){
            .directory = sim_must(strdup(op->directory)),
            .removed = op->removed ? sim_must(strdup(op->removed)) : NULL,
            .added = op->added ? sim_must(strdup(op->added)) : NULL,
            .file = counterpart(to, from, op->file),
        };
    }
    for (size_t i = 0; i < from->directory_count; i++)
        sim_directory_add(to, from->directories[i]);
}

void sim_host_crash(struct sim_host *host, enum sim_crash kind)
{
    pthread_mutex_lock(host->lock);
    od_assert(host->open_handles == 0);
    host->off = false;
    host->off_at_call = 0;
    if (kind != SIM_CRASH_PROCESS) {
        for (size_t i = 0; i < host->file_count; i++) {
            struct sim_file *file = host->files[i];
            sim_file_keep(file, host->random, kind);
            sim_bytes_release(&file->now);
            sim_bytes_copy(&file->now, &file->disk);
        }
        const uint64_t prefix = sim_random_below(host->random, host->name_op_count + 1);
        for (size_t i = 0; i < host->name_op_count; i++)
            if (kind == SIM_CRASH_PREFIX ? i < prefix
                                         : kind != SIM_CRASH_NOTHING && sim_random_chance(host->random, 500))
                sim_name_op_apply(&host->durable_names, &host->durable_name_count, &host->name_ops[i]);
        release_names(host);
        for (size_t i = 0; i < host->durable_name_count; i++)
            sim_name_set(&host->names, &host->name_count, host->durable_names[i].path, host->durable_names[i].file);
        sim_collect(host);
    }
    pthread_mutex_unlock(host->lock);
}
