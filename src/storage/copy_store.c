// copy_store.c - see copy_store.h.
#include "storage/copy_store.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/platform.h"

#include <string.h>

#define PIECE_BYTES ((size_t)(4 * OD_MIB))

struct rows {
    struct od_meta_database *databases;
    struct od_meta_branch *branches;
    struct od_meta_layer *layers;
    struct od_meta_snapshot *snapshots;
    size_t database_count, branch_count, layer_count, snapshot_count;
};

static od_code grow(void **rows, size_t count, size_t more, size_t bytes, struct od_error *err)
{
    void *grown = od_realloc(*rows, (count + more ? count + more : 1) * bytes);
    if (!grown)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the metadata to copy");
    *rows = grown;
    return OD_OK;
}

// Layers and snapshots up to the tip that the branch had when its row was read.
static od_code read_branch(struct od_metastore *from, const struct od_meta_branch *branch, struct rows *rows,
                           struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_layer *layers = NULL;
    struct od_meta_snapshot *snapshots = NULL;
    size_t count;
    void *all = rows->layers;
    OD_TRY(from->ops->layer_list(from, &branch->branch, &layers, &count, err));
    OD_TRY(grow(&all, rows->layer_count, count, sizeof *layers, err));
    rows->layers = all;
    for (size_t i = 0; i < count; i++)
        if (layers[i].end_lsn <= branch->tip_lsn)
            rows->layers[rows->layer_count++] = layers[i];
    all = rows->snapshots;
    OD_TRY(from->ops->snapshot_list(from, &branch->branch, &snapshots, &count, err));
    OD_TRY(grow(&all, rows->snapshot_count, count, sizeof *snapshots, err));
    rows->snapshots = all;
    for (size_t i = 0; i < count; i++)
        if (snapshots[i].position.lsn <= branch->tip_lsn)
            rows->snapshots[rows->snapshot_count++] = snapshots[i];
out:
    od_free(layers);
    od_free(snapshots);
    return rc;
}

// Who writes the source has nothing to do with the copy, and nobody has journals that continue it.
static void set_free(struct od_meta_branch *branch)
{
    branch->owner[0] = '\0';
    branch->lease_until_us = 0;
    branch->holder = (struct od_uuid){0};
    branch->held_since = branch->epoch;
}

static od_code read_rows(struct od_metastore *from, struct rows *rows, struct od_error *err)
{
    od_code rc = OD_OK;
    OD_TRY(from->ops->database_list(from, &rows->databases, &rows->database_count, err)); // before their branches
    OD_TRY(from->ops->branch_list(from, &rows->branches, &rows->branch_count, err));
    for (size_t i = 0; i < rows->branch_count; i++) {
        OD_TRY(read_branch(from, &rows->branches[i], rows, err));
        set_free(&rows->branches[i]);
    }
out:
    return rc;
}

static od_code same_content(struct od_object *a, struct od_object *b, const char *key, uint8_t *piece,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t bytes = od_object_bytes(a);
    const size_t half = PIECE_BYTES / 2;
    bool same = bytes == od_object_bytes(b);
    for (uint64_t at = 0; same && at < bytes; at += half) {
        size_t now = bytes - at < half ? (size_t)(bytes - at) : half;
        OD_TRY(od_object_read(a, at, piece, now, err));
        OD_TRY(od_object_read(b, at, piece + half, now, err));
        same = memcmp(piece, piece + half, now) == 0;
    }
    if (!same)
        rc = od_fail(err, OD_EXISTS, "object %s is in the target already, with other content", key);
out:
    return rc;
}

// The object's content in the scratch file, synced.
static od_code fetch(struct od_store_copy *copy, struct od_object *object, uint8_t *piece, struct od_error *err)
{
    const struct od_platform_ops *os = copy->platform->ops;
    struct od_disk_file *file;
    od_code rc = os->remove(copy->platform, copy->scratch, err);
    if (rc != OD_OK && rc != OD_NOT_FOUND)
        return rc;
    rc = os->open(copy->platform, copy->scratch, OD_DISK_CREATE, &file, err);
    if (rc != OD_OK)
        return rc;
    uint64_t bytes = od_object_bytes(object);
    for (uint64_t at = 0; at < bytes; at += PIECE_BYTES) {
        struct iovec part = {piece, bytes - at < PIECE_BYTES ? (size_t)(bytes - at) : PIECE_BYTES};
        OD_TRY(od_object_read(object, at, piece, part.iov_len, err));
        OD_TRY(os->write(file, at, &part, 1, err));
    }
    OD_TRY(os->sync(file, err));
out:
    os->close(file);
    return rc;
}

static od_code copy_object(void *context, const char *key, uint64_t listed, struct od_error *err)
{
    struct od_store_copy *copy = context;
    od_code rc = OD_OK;
    struct od_object *from = NULL, *there = NULL;
    (void)listed;
    if (strcmp(key, "cluster") == 0 || strncmp(key, "epochs/", 7) == 0)
        return OD_OK; // the copy belongs to another one, which gives epochs of its own
    if (strncmp(key, "condemned/", 10) == 0)
        return OD_OK; // by the other store's clock; what it marks is found again
    uint8_t *piece = od_alloc(PIECE_BYTES);
    if (!piece)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for copying objects"));
    OD_TRY(od_objstore_open(copy->from_objects, key, &from, err));
    rc = od_objstore_open(copy->to_objects, key, &there, err);
    if (rc == OD_OK) {
        OD_TRY(same_content(from, there, key, piece, err));
        copy->present++;
    } else if (rc == OD_NOT_FOUND) {
        OD_TRY(fetch(copy, from, piece, err));
        OD_TRY(od_objstore_put_file(copy->to_objects, key, copy->scratch, err));
        // A directory links the file, so the next object must not go on writing it.
        OD_TRY(copy->platform->ops->remove(copy->platform, copy->scratch, err));
        copy->objects++;
        copy->bytes += od_object_bytes(from);
    } else {
        goto out;
    }
    if (copy->progress)
        copy->progress(copy->context, copy->objects + copy->present, copy->bytes);
out:
    od_object_close(from);
    od_object_close(there);
    od_free(piece);
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "copying object %s", key);
}

od_code od_store_copy_run(struct od_store_copy *copy, struct od_error *err)
{
    od_code rc = OD_OK;
    struct rows rows = {0};
    copy->objects = copy->bytes = copy->present = 0;
    OD_TRY(read_rows(copy->from_metadata, &rows, err));
    OD_TRY(od_objstore_list(copy->from_objects, "", copy_object, copy, err));
    OD_TRY(copy->to_metadata->ops->restore(copy->to_metadata, rows.databases, rows.database_count, rows.branches,
                                           rows.branch_count, rows.layers, rows.layer_count, rows.snapshots,
                                           rows.snapshot_count, err));
    copy->databases = rows.database_count;
    copy->branches = rows.branch_count;
    copy->layers = rows.layer_count;
    copy->snapshots = rows.snapshot_count;
out:
    od_free(rows.databases);
    od_free(rows.branches);
    od_free(rows.layers);
    od_free(rows.snapshots);
    return rc;
}
