// reserve.c - space of the disk that is kept for the end: given back when the disk is full and a volume must be closed or
// opened all the same, taken again when there is room.
#include "storage/store_internal.h"

#include "base/log.h"

#include <stdio.h>

static bool reserve_path(const struct od_store *store, char out[OD_JOURNAL_PATH_BYTES])
{
    int length = snprintf(out, OD_JOURNAL_PATH_BYTES, "%s/RESERVE", store->options.journal_directory);
    return length > 0 && length < (int)OD_JOURNAL_PATH_BYTES;
}

static od_code take(struct od_store *store, const char *path, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_platform *platform = store->options.platform;
    struct od_disk_file *file = NULL;
    uint64_t bytes = 0;
    rc = platform->ops->open(platform, path, OD_DISK_WRITE, &file, err);
    if (rc == OD_NOT_FOUND)
        rc = platform->ops->open(platform, path, OD_DISK_CREATE, &file, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(platform->ops->size(file, &bytes, err));
    if (bytes < store->options.reserve_bytes)
        OD_TRY(platform->ops->allocate(file, bytes, store->options.reserve_bytes - bytes, err));
out:
    platform->ops->close(file);
    return rc;
}

void od_reserve_hold(struct od_store *store)
{
    char path[OD_JOURNAL_PATH_BYTES];
    struct od_error err;
    if (store->options.reserve_bytes == 0 || !reserve_path(store, path))
        return;
    pthread_mutex_lock(&store->lock);
    bool wanted = !store->reserve_held;
    if (wanted)
        store->reserve_held = take(store, path, &err) == OD_OK;
    if (wanted && !store->reserve_held && !store->reserve_told)
        od_log(OD_LOG_WARN, "storage", "no space can be kept in reserve: %s", err.message);
    store->reserve_told = !store->reserve_held;
    pthread_mutex_unlock(&store->lock);
}

bool od_reserve_give(struct od_store *store)
{
    char path[OD_JOURNAL_PATH_BYTES];
    struct od_platform *platform = store->options.platform;
    bool given = false;
    pthread_mutex_lock(&store->lock);
    if (store->reserve_held && reserve_path(store, path))
        given = platform->ops->remove(platform, path, NULL) == OD_OK;
    if (given)
        store->reserve_held = false;
    pthread_mutex_unlock(&store->lock);
    if (given)
        od_log(OD_LOG_WARN, "storage", "the disk is full: the reserve %s was given back", path);
    return given;
}
