// import.c - a plain DuckDB file becomes a database.
//
// The bytes go through a volume of a database nobody sees: its name begins with ".import-", which no user's name can. When
// all of its layers are published, the database wanted is made as a clone of it: one step, at the end. Then the hidden name
// is dropped; the layers stay, since the clone begins with them. What a crash leaves is such a hidden database; a later
// import removes it.
#include "storage/describe.h"
#include "storage/duckdb_file.h"
#include "storage/store_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES (4 * OD_MIB)          // whole blocks
#define BARRIER_BYTES (32 * OD_MIB)       // a journal is closed at a barrier only
#define ABANDONED_US UINT64_C(3600000000) // a hidden database without a lease that is as old as this is nobody's

static const char *const SUFFIXES[OD_VOLUME_FILES] = {"", ".wal", ".wal.checkpoint", ".wal.recovery"};

struct import {
    struct od_store *store; // with the file's block size; the caller's but for that
    const struct od_platform_ops *ops;
    struct od_platform *platform;
    struct od_volume *volume;
    char hidden[OD_META_NAME_BYTES];
    struct od_disk_file *files[OD_VOLUME_FILES]; // NULL: there is none
    char paths[OD_VOLUME_FILES][OD_JOURNAL_PATH_BYTES];
    uint64_t sizes[OD_VOLUME_FILES];
    uint8_t headers[OD_GRID_ORIGIN];
    uint8_t *piece;
    uint64_t done, total, since_barrier;
    void (*progress)(void *context, uint64_t done, uint64_t total);
    void *context;
};

// ---- the file

static od_code open_files(struct import *import, const char *file, uint32_t *block_bytes, struct od_error *err)
{
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        int length = snprintf(import->paths[i], OD_JOURNAL_PATH_BYTES, "%s%s", file, SUFFIXES[i]);
        if (length < 0 || length >= (int)OD_JOURNAL_PATH_BYTES)
            return od_fail(err, OD_INVALID, "the path %.80s... is too long", file);
        od_code rc = import->ops->open(import->platform, import->paths[i], OD_DISK_READ, &import->files[i], err);
        if (rc == OD_NOT_FOUND && i != OD_VOLUME_DATABASE)
            continue;
        if (rc == OD_OK)
            rc = import->ops->size(import->files[i], &import->sizes[i], err);
        if (rc != OD_OK)
            return rc;
        import->total += import->sizes[i];
    }
    if (import->sizes[OD_VOLUME_DATABASE] < sizeof import->headers)
        return od_fail(err, OD_UNSUPPORTED, "%s is not a DuckDB database", file);
    od_code rc = import->ops->read(import->files[OD_VOLUME_DATABASE], 0, import->headers, sizeof import->headers, err);
    return rc == OD_OK
               ? od_duckdb_file_check(import->headers, import->sizes[OD_VOLUME_DATABASE], file, block_bytes, err)
               : rc;
}

// The files as they were when the import began? DuckDB changes a header with every checkpoint, and the size of a WAL with
// every commit.
static od_code check_unchanged(struct import *import, struct od_error *err)
{
    static const char changed[] = "%s was written while it was imported; nothing was kept. Close it first";
    uint8_t *headers = import->piece;
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        uint64_t size = 0;
        if (!import->files[i])
            continue;
        od_code rc = import->ops->size(import->files[i], &size, err);
        if (rc != OD_OK)
            return rc;
        if (size != import->sizes[i])
            return od_fail(err, OD_BUSY, changed, import->paths[i]);
    }
    od_code rc = import->ops->read(import->files[OD_VOLUME_DATABASE], 0, headers, sizeof import->headers, err);
    if (rc == OD_OK && memcmp(headers, import->headers, sizeof import->headers) != 0)
        rc = od_fail(err, OD_BUSY, changed, import->paths[OD_VOLUME_DATABASE]);
    return rc;
}

// ---- its bytes

static bool is_zero(const uint8_t *data, size_t bytes)
{
    return bytes == 0 || (data[0] == 0 && memcmp(data, data + 1, bytes - 1) == 0);
}

// Cells of zeros need no record: what was never written reads as zeros.
static od_code write_cells(struct import *import, uint64_t offset, size_t bytes, struct od_error *err)
{
    size_t at = 0;
    while (at < bytes) {
        struct od_cell cell = od_files_cell(&import->volume->files, offset + at);
        size_t part = bytes - at < cell.bytes ? bytes - at : cell.bytes;
        if (!is_zero(import->piece + at, part)) {
            od_code rc =
                od_volume_write(import->volume, OD_VOLUME_DATABASE, offset + at, import->piece + at, part, err);
            if (rc != OD_OK)
                return rc;
        }
        at += part;
    }
    return OD_OK;
}

// Gives the volume a point at which it may close its journal, and lets it.
static od_code note_written(struct import *import, size_t bytes, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t lsn;
    import->done += bytes;
    import->since_barrier += bytes;
    if (import->progress)
        import->progress(import->context, import->done, import->total);
    uint64_t every =
        import->store->options.seal_bytes < BARRIER_BYTES ? import->store->options.seal_bytes : BARRIER_BYTES;
    if (import->since_barrier < every)
        return OD_OK;
    import->since_barrier = 0;
    OD_TRY(od_volume_barrier(import->volume, NULL, &lsn, err));
    OD_TRY(od_volume_maintain(import->volume, err));
out:
    return rc;
}

static od_code copy_file(struct import *import, enum od_volume_file which, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t size = import->sizes[which];
    OD_TRY(od_volume_create(import->volume, which, err));
    for (uint64_t at = 0; at < size;) {
        uint64_t want = which == OD_VOLUME_DATABASE && at == 0 ? (uint64_t)OD_GRID_ORIGIN : PIECE_BYTES;
        size_t bytes = (size_t)(size - at < want ? size - at : want);
        OD_TRY(import->ops->read(import->files[which], at, import->piece, bytes, err));
        if (which == OD_VOLUME_DATABASE)
            OD_TRY(write_cells(import, at, bytes, err));
        else
            OD_TRY(od_volume_write(import->volume, which, at, import->piece, bytes, err));
        OD_TRY(note_written(import, bytes, err));
        at += bytes;
    }
    if (od_volume_size(import->volume, which) != size) // it ends with zeros
        OD_TRY(od_volume_truncate(import->volume, which, size, err));
out:
    return rc;
}

// ---- the hidden database

static od_code make_hidden(struct import *import, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_branch branch = {0};
    char text[OD_UUID_TEXT_BYTES];
    import->ops->random(import->platform, branch.branch.bytes, sizeof branch.branch.bytes);
    od_uuid_mark_random(&branch.branch);
    branch.tip_time_us = import->ops->wall_us(import->platform);
    branch.policy = import->store->options.policy;
    od_uuid_format(&branch.branch, text);
    snprintf(import->hidden, sizeof import->hidden, OD_HIDDEN_NAME_PREFIX "import-%s", text);
    OD_TRY(od_store_create_branch(import->store, import->hidden, &branch, err));
    OD_TRY(od_volume_open(import->store, import->hidden, false, &import->volume, err));
out:
    return rc;
}

// Removes a hidden database with everything in it, unless a database begins with its layers: then its name only. What
// cannot be removed stays hidden.
static void discard(struct od_store *store, const char *hidden)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_database row;
    struct od_meta_layer *layers = NULL;
    struct od_uuid *uuids = NULL;
    struct od_error err = {0};
    size_t count = 0;
    char key[OD_DESCRIPTION_KEY_BYTES];
    rc = meta->ops->database_get(meta, hidden, &row, &err);
    if (rc == OD_NOT_FOUND)
        return;
    OD_TRY(rc);
    OD_TRY(meta->ops->layer_list(meta, &row.branch, &layers, &count, &err));
    uuids = od_calloc(count ? count : 1, sizeof *uuids);
    if (!uuids)
        OD_TRY(od_fail(&err, OD_NO_MEMORY, "out of memory for a list of %zu layers", count));
    for (size_t i = 0; i < count; i++)
        uuids[i] = layers[i].layer;
    OD_TRY(od_store_drop(store, hidden, &err));
    rc = meta->ops->layer_forget(meta, uuids, count, &err);
    if (rc == OD_STALE) {
        rc = OD_OK;
        goto out;
    }
    OD_TRY(rc);
    for (size_t i = 0; i < count; i++)
        OD_TRY(od_objstore_remove(store->options.objects, layers[i].key, &err));
    od_branch_key(&row.branch, key);
    OD_TRY(od_objstore_remove(store->options.objects, key, &err));
    od_drop_key(&row.branch, key);
    OD_TRY(od_objstore_remove(store->options.objects, key, &err));
    od_branch_unclaim(store, &row.branch);
    (void)od_store_remove_journals(store, &row.branch);
out:
    if (rc != OD_OK)
        od_log(OD_LOG_WARN, "storage", "what is left of an import (%s) could not be removed: %s", hidden, err.message);
    od_free(uuids);
    od_free(layers);
}

od_code od_store_import_clean(struct od_store *store, uint64_t older_than_us, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_database *rows = NULL;
    struct od_meta_branch branch;
    size_t count = 0;
    uint64_t now_us;
    OD_TRY(meta->ops->now(meta, &now_us, err));
    OD_TRY(meta->ops->database_list(meta, &rows, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (strncmp(rows[i].name, OD_HIDDEN_NAME_PREFIX "import-", sizeof OD_HIDDEN_NAME_PREFIX "import-" - 1) != 0 ||
            rows[i].created_us + older_than_us > now_us)
            continue;
        OD_TRY(meta->ops->branch_get(meta, &rows[i].branch, &branch, err));
        if (branch.lease_until_us <= now_us)
            discard(store, rows[i].name);
    }
out:
    od_free(rows);
    return rc;
}

// ---- all of it

// All layers published; only then is there something to clone.
static od_code finish_volume(struct import *import, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t lsn;
    OD_TRY(od_volume_barrier(import->volume, NULL, &lsn, err));
    OD_TRY(od_volume_flush(import->volume, err));
    OD_TRY(od_volume_roll(import->volume, err));
    OD_TRY(od_volume_publish(import->volume, err));
    OD_TRY(check_unchanged(import, err));
out:
    return rc;
}

static od_code run(struct import *import, const char *name, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(make_hidden(import, err));
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        if (import->files[i])
            OD_TRY(copy_file(import, (enum od_volume_file)i, err));
    OD_TRY(finish_volume(import, err));
    OD_TRY(od_store_clone(import->store, import->hidden, NULL, NULL, name, err));
out:
    return rc;
}

static od_code check_free(struct od_store *store, const char *name, struct od_error *err)
{
    struct od_metastore *meta = store->options.metadata;
    struct od_meta_database row;
    od_code rc = od_store_check_name(name, err);
    if (rc != OD_OK)
        return rc;
    rc = meta->ops->database_get(meta, name, &row, err);
    if (rc == OD_NOT_FOUND)
        return OD_OK;
    return rc == OD_OK ? od_fail(err, OD_EXISTS, "a database %s exists", name) : rc;
}

od_code od_store_import(struct od_store *store, const char *name, const char *file,
                        void (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                        struct od_error *err)
{
    return od_store_import_as(store, name, file, store->options.policy, progress, context, err);
}

od_code od_store_import_as(struct od_store *store, const char *name, const char *file, uint64_t policy,
                           void (*progress)(void *context, uint64_t done, uint64_t total), void *context,
                           struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_store_options options = store->options;
    uint32_t block_bytes = 0;
    struct import *import = od_calloc(1, sizeof *import);
    if (!import)
        return od_fail(err, OD_NO_MEMORY, "out of memory for importing %s", file);
    import->platform = options.platform;
    import->ops = options.platform->ops;
    import->progress = progress;
    import->context = context;
    import->piece = od_alloc((size_t)PIECE_BYTES);
    if (!import->piece)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for importing %s", file));
    OD_TRY(check_free(store, name, err));
    OD_TRY(open_files(import, file, &block_bytes, err));
    OD_TRY(od_store_import_clean(store, ABANDONED_US, err));
    options.block_bytes = block_bytes;
    options.threads = false;
    options.policy = policy;
    OD_TRY(od_store_open(&options, &import->store, err));
    rc = run(import, name, err);
    od_volume_close(import->volume);
    if (import->hidden[0])
        discard(import->store, import->hidden);
out:
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        if (import->files[i])
            import->ops->close(import->files[i]);
    od_store_close(import->store);
    od_free(import->piece);
    od_free(import);
    return rc;
}
