// store.c - opening a store; making, listing and dropping databases.
#include "storage/store_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

od_code od_store_branch_directory(const struct od_store *store, const struct od_uuid *branch,
                                  char out[OD_JOURNAL_PATH_BYTES], struct od_error *err)
{
    char text[OD_UUID_TEXT_BYTES];
    od_uuid_format(branch, text);
    int length = snprintf(out, OD_JOURNAL_PATH_BYTES, "%s/%s", store->options.journal_directory, text);
    if (length < 0 || length >= (int)OD_JOURNAL_PATH_BYTES)
        return od_fail(err, OD_INVALID, "the journal directory's path %.80s... is too long",
                       store->options.journal_directory);
    return OD_OK;
}

od_code od_store_open(const struct od_store_options *options, struct od_store **out, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_store *store = od_calloc(1, sizeof *store);
    if (!store)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a store");
    pthread_mutex_init(&store->lock, NULL);
    store->options = *options;
    store->options.journal_directory = od_strdup(options->journal_directory);
    store->options.owner = od_strdup(options->owner ? options->owner : "");
    if (!store->options.layers_slack)
        store->options.layers_slack = OD_LAYERS_SLACK_DEFAULT;
    if (!store->options.seal_bytes)
        store->options.seal_bytes = OD_SEAL_BYTES_DEFAULT;
    if (!store->options.seal_age_ms)
        store->options.seal_age_ms = OD_SEAL_AGE_MS_DEFAULT;
    if (!store->options.ledger_window_ms)
        store->options.ledger_window_ms = OD_LEDGER_WINDOW_MS_DEFAULT;
    if (!store->options.block_bytes)
        store->options.block_bytes = OD_BLOCK_BYTES_DEFAULT;
    if (!store->options.journal_directory || !store->options.owner)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a store"));
    uint64_t block = store->options.block_bytes;
    if (block < 16384 || block > 262144 || (block & (block - 1)))
        OD_TRY(od_fail(err, OD_INVALID, "a block has 16 to 256 KiB, a power of two; not %llu bytes",
                       (unsigned long long)block));
    OD_TRY(options->platform->ops->make_directory(options->platform, options->journal_directory, err));
    od_reserve_hold(store);
    *out = store;
    store = NULL;
out:
    od_store_close(store);
    return rc;
}

void od_store_close(struct od_store *store)
{
    if (!store)
        return;
    od_assert(store->open_volumes == 0);
    od_free((char *)(uintptr_t)store->options.journal_directory);
    od_free((char *)(uintptr_t)store->options.owner);
    pthread_mutex_destroy(&store->lock);
    od_free(store);
}

od_code od_store_check_name(const char *name, struct od_error *err)
{
    size_t bytes = strlen(name);
    bool ok = bytes > 0 && bytes < OD_META_NAME_BYTES && name[0] != '-' && name[0] != OD_HIDDEN_NAME_PREFIX[0];
    for (size_t i = 0; i < bytes && ok; i++) {
        unsigned char c = (unsigned char)name[i];
        ok =
            c >= 0x80 || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || strchr("_-.", c);
    }
    return ok ? OD_OK
              : od_fail(err, OD_INVALID,
                        "'%.200s' cannot be a name: 1 to %u bytes of letters, digits, '_', '-', '.' and any character "
                        "beyond ASCII, not beginning with '-' or '.'",
                        name, OD_META_NAME_BYTES - 1);
}

od_code od_store_create(struct od_store *store, const char *name, struct od_error *err)
{
    return od_store_create_as(store, name, store->options.policy, err);
}

od_code od_store_create_as(struct od_store *store, const char *name, uint64_t policy, struct od_error *err)
{
    struct od_platform *platform = store->options.platform;
    struct od_meta_branch branch = {0};
    od_code rc = od_store_check_name(name, err);
    if (rc != OD_OK)
        return rc;
    platform->ops->random(platform, branch.branch.bytes, sizeof branch.branch.bytes);
    od_uuid_mark_random(&branch.branch);
    branch.tip_time_us = platform->ops->wall_us(platform);
    branch.policy = policy;
    return od_store_create_branch(store, name, &branch, err);
}

od_code od_store_create_branch(struct od_store *store, const char *name, const struct od_meta_branch *branch,
                               struct od_error *err)
{
    struct od_metastore *meta = store->options.metadata;
    od_code rc = od_store_describe_branch(store, name, branch, err);
    if (rc != OD_OK)
        return rc;
    rc = meta->ops->database_create(meta, name, branch, err);
    if (rc != OD_OUTCOME_UNKNOWN)
        return rc;
    // S4: look whether it was this call that made it.
    struct od_meta_database row;
    rc = meta->ops->database_get(meta, name, &row, err);
    if (rc == OD_OK && !od_uuid_equal(&row.branch, &branch->branch))
        return od_fail(err, OD_EXISTS, "a database %s exists", name);
    if (rc == OD_NOT_FOUND)
        return od_fail(err, OD_UNAVAILABLE, "the database %s was not made; try again", name);
    return rc;
}

bool od_store_is_open(struct od_store *store, const struct od_uuid *branch)
{
    bool found = false;
    pthread_mutex_lock(&store->lock);
    for (struct od_volume *volume = store->writers; volume && !found; volume = volume->next_writer)
        found = od_uuid_equal(&volume->branch.branch, branch);
    pthread_mutex_unlock(&store->lock);
    return found;
}

od_code od_store_drop(struct od_store *store, const char *name, struct od_error *err)
{
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_database row;
    od_code rc = meta->ops->database_get(meta, name, &row, err);
    if (rc != OD_OK)
        return rc;
    if (od_store_is_open(store, &row.branch))
        return od_fail(err, OD_LOCKED, "the database %s is open; close it first", name);
    rc = meta->ops->database_drop(meta, name, err);
    if (rc == OD_OUTCOME_UNKNOWN) {
        struct od_meta_database after;
        rc = meta->ops->database_get(meta, name, &after, err);
        if (rc == OD_OK && od_uuid_equal(&row.branch, &after.branch))
            rc = od_fail(err, OD_UNAVAILABLE, "the database %s was not dropped; try again", name);
        else if (rc == OD_NOT_FOUND)
            rc = OD_OK;
    }
    if (rc != OD_OK)
        return rc;
    struct od_error failure;
    if (od_store_describe_drop(store, name, &row.branch, &failure) != OD_OK)
        od_log(OD_LOG_WARN, "storage", "%s is dropped, but until the next collection a rebuild would bring it back: %s",
               name, failure.message);
    return OD_OK;
}

size_t od_store_remove_journals(struct od_store *store, const struct od_uuid *branch)
{
    struct od_platform *platform = store->options.platform;
    struct od_names names = {0};
    size_t removed = 0;
    char directory[OD_JOURNAL_PATH_BYTES], path[OD_JOURNAL_PATH_BYTES + 300];
    if (od_store_branch_directory(store, branch, directory, NULL) != OD_OK ||
        platform->ops->list(platform, directory, &names, NULL) != OD_OK)
        return 0;
    for (size_t i = 0; i < names.count; i++) {
        snprintf(path, sizeof path, "%s/%s", directory, names.names[i]);
        removed += platform->ops->remove(platform, path, NULL) == OD_OK;
    }
    od_names_release(&names);
    return removed;
}

// What an open branch has written and not published: its journals are larger, because they are made ahead.
static bool measure_open(struct od_store *store, const struct od_uuid *branch, uint64_t *bytes)
{
    bool found = false;
    struct od_volume_stats stats;
    pthread_mutex_lock(&store->lock);
    for (struct od_volume *volume = store->writers; volume && !found; volume = volume->next_writer) {
        found = od_uuid_equal(&volume->branch.branch, branch);
        if (found)
            od_volume_stats_read(volume, &stats);
    }
    pthread_mutex_unlock(&store->lock);
    if (found)
        *bytes += stats.unpublished_bytes;
    return found;
}

// Its own layers, and those of the branches it began with that are nobody's any more (an import's, a restore's).
static od_code measure_layers(struct od_store *store, struct od_store_database *row, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_branch branch, parent = {0};
    struct od_uuid at = row->branch;
    struct od_meta_layer *layers = NULL;
    size_t count = 0;
    do {
        od_free(layers);
        layers = NULL;
        OD_TRY(meta->ops->layer_list(meta, &at, &layers, &count, err));
        for (size_t i = 0; i < count; i++)
            row->bytes += layers[i].bytes;
        row->layers += count;
        OD_TRY(meta->ops->branch_get(meta, &at, &branch, err));
        at = branch.parent_branch;
        if (!od_uuid_is_zero(&at))
            OD_TRY(meta->ops->branch_get(meta, &at, &parent, err));
    } while (!od_uuid_is_zero(&at) && parent.dropped_us);
out:
    od_free(layers);
    return rc;
}

static od_code measure(struct od_store *store, struct od_store_database *row, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_platform_ops *ops = store->options.platform->ops;
    struct od_names names = {0};
    char directory[OD_JOURNAL_PATH_BYTES];
    OD_TRY(measure_layers(store, row, err));
    if (measure_open(store, &row->branch, &row->bytes))
        goto out;
    OD_TRY(od_store_branch_directory(store, &row->branch, directory, err));
    rc = ops->list(store->options.platform, directory, &names, err);
    if (rc == OD_NOT_FOUND)
        rc = OD_OK; // never opened
    for (size_t i = 0; i < names.count && rc == OD_OK; i++) {
        char path[OD_JOURNAL_PATH_BYTES + 300];
        struct od_disk_file *file = NULL;
        uint64_t bytes = 0;
        if (!od_journal_is_name(names.names[i]))
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, names.names[i]);
        od_code opened = ops->open(store->options.platform, path, OD_DISK_READ, &file, err);
        if (opened == OD_NOT_FOUND)
            continue; // sealed meanwhile
        OD_TRY(opened);
        rc = ops->size(file, &bytes, err);
        ops->close(file);
        row->bytes += bytes;
    }
out:
    od_names_release(&names);
    return rc;
}

od_code od_store_list(struct od_store *store, struct od_store_database **rows, size_t *count, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_database *databases = NULL;
    struct od_store_database *out = NULL;
    size_t found = 0;
    OD_TRY(meta->ops->database_list(meta, &databases, &found, err));
    out = od_calloc(found ? found : 1, sizeof *out);
    if (!out)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a list of %zu databases", found));
    size_t shown = 0;
    for (size_t i = 0; i < found; i++) {
        if (databases[i].name[0] == OD_HIDDEN_NAME_PREFIX[0])
            continue;
        memcpy(out[shown].name, databases[i].name, sizeof out[shown].name);
        out[shown].branch = databases[i].branch;
        out[shown].created_us = databases[i].created_us;
        OD_TRY(measure(store, &out[shown], err));
        shown++;
    }
    *rows = out;
    *count = shown;
    out = NULL;
out:
    od_free(out);
    od_free(databases);
    return rc;
}
