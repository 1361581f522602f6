// file_set.c - see file_set.h.
#include "os/file_set.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <string.h>

#define SUFFIX ".partial"

void od_file_set_init(struct od_file_set *set, struct od_platform *platform)
{
    *set = (struct od_file_set){.platform = platform};
}

od_code od_file_set_expect_free(struct od_file_set *set, const char *path, struct od_error *err)
{
    struct od_disk_file *file;
    od_code rc = set->platform->ops->open(set->platform, path, OD_DISK_READ, &file, err);
    if (rc == OD_NOT_FOUND)
        return OD_OK;
    if (rc != OD_OK)
        return rc;
    set->platform->ops->close(file);
    return od_fail(err, OD_EXISTS, "the file %s exists; it is not overwritten", path);
}

static od_code seal_last(struct od_file_set *set, struct od_error *err)
{
    struct od_file_set_entry *last = set->count ? &set->entries[set->count - 1] : NULL;
    if (!last || !last->file)
        return OD_OK;
    od_code rc = set->platform->ops->sync(last->file, err);
    set->platform->ops->close(last->file);
    last->file = NULL;
    return rc;
}

od_code od_file_set_begin(struct od_file_set *set, const char *path, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_platform_ops *ops = set->platform->ops;
    struct od_file_set_entry made = {.path = od_strdup(path)};
    od_assert(set->count < OD_FILE_SET_MAX);
    made.beside = od_alloc(strlen(path) + sizeof SUFFIX);
    if (!made.path || !made.beside)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the file %s", path));
    memcpy(made.beside, path, strlen(path));
    memcpy(made.beside + strlen(path), SUFFIX, sizeof SUFFIX);
    OD_TRY(seal_last(set, err));
    OD_TRY(od_file_set_expect_free(set, path, err));
    rc = ops->remove(set->platform, made.beside, err);
    if (rc != OD_NOT_FOUND)
        OD_TRY(rc);
    OD_TRY(ops->open(set->platform, made.beside, OD_DISK_CREATE, &made.file, err));
    set->entries[set->count++] = made;
    return OD_OK;
out:
    od_free(made.path);
    od_free(made.beside);
    return rc;
}

od_code od_file_set_append(struct od_file_set *set, const void *data, size_t bytes, struct od_error *err)
{
    od_assert(set->count > 0);
    struct od_file_set_entry *last = &set->entries[set->count - 1];
    struct iovec part = {(void *)(uintptr_t)data, bytes};
    od_code rc = bytes ? set->platform->ops->write(last->file, last->bytes, &part, 1, err) : OD_OK;
    if (rc == OD_OK)
        last->bytes += bytes;
    return rc;
}

// Of the folder that holds the first file.
static od_code sync_names(struct od_file_set *set, struct od_error *err)
{
    char *directory = od_strdup(set->entries[0].path);
    if (!directory)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the file %s", set->entries[0].path);
    char *slash = strrchr(directory, '/');
    if (slash)
        slash[slash == directory] = '\0';
    od_code rc = set->platform->ops->sync_directory(set->platform, slash ? directory : ".", err);
    od_free(directory);
    return rc;
}

od_code od_file_set_finish(struct od_file_set *set, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(seal_last(set, err));
    for (unsigned i = set->count; i-- > 0;) {
        struct od_file_set_entry *entry = &set->entries[i];
        if (i == 0)
            OD_TRY(sync_names(set, err));
        OD_TRY(set->platform->ops->rename(set->platform, entry->beside, entry->path, err));
        entry->renamed = true;
    }
    OD_TRY(sync_names(set, err));
out:
    return rc;
}

void od_file_set_release(struct od_file_set *set, bool finished)
{
    for (unsigned i = 0; i < set->count; i++) {
        struct od_file_set_entry *entry = &set->entries[i];
        if (entry->file)
            set->platform->ops->close(entry->file);
        if (!finished)
            (void)set->platform->ops->remove(set->platform, entry->renamed ? entry->path : entry->beside, NULL);
        od_free(entry->path);
        od_free(entry->beside);
    }
    set->count = 0;
}
