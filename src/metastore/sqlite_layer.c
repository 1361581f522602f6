// sqlite_layer.c - layers and snapshots in SQLite, and taking over a whole state.
#include "metastore/sqlite_internal.h"


#define LAYER_COLUMNS "layer, branch, epoch, parent, first_lsn, end_lsn, first_time_us, last_time_us, bytes, kind, key"
#define SNAPSHOT_COLUMNS "branch, name, snapshot, epoch, lsn, layer, time_us, created_us, automatic"

static struct sqlite_store *of(struct od_metastore *store)
{
    return (struct sqlite_store *)store;
}

// ---- layers

static void layer_take(sqlite3_stmt *statement, void *out)
{
    struct od_meta_layer *row = out;
    *row = (struct od_meta_layer){0};
    od_sqlite_uuid(statement, 0, &row->layer);
    od_sqlite_uuid(statement, 1, &row->branch);
    row->epoch = od_sqlite_number(statement, 2);
    od_sqlite_uuid(statement, 3, &row->parent);
    row->first_lsn = od_sqlite_number(statement, 4);
    row->end_lsn = od_sqlite_number(statement, 5);
    row->first_time_us = od_sqlite_number(statement, 6);
    row->last_time_us = od_sqlite_number(statement, 7);
    row->bytes = od_sqlite_number(statement, 8);
    row->kind = (uint32_t)od_sqlite_number(statement, 9);
    od_sqlite_text(statement, 10, row->key, sizeof row->key);
}

od_code od_sqlite_layer_find(struct sqlite_store *store, const struct od_uuid *layer, struct od_meta_layer *row,
                             bool *found, struct od_error *err)
{
    sqlite3_stmt *statement;
    od_code rc =
        od_sqlite_start(store, &statement, err, "SELECT " LAYER_COLUMNS " FROM layer WHERE layer=?", "u", layer);
    if (rc == OD_OK)
        rc = od_sqlite_next(store, statement, found, err);
    if (rc == OD_OK && *found) {
        layer_take(statement, row);
        od_sqlite_end(statement);
    }
    return rc;
}

static od_code layer_get(struct sqlite_store *store, const struct od_uuid *layer, struct od_meta_layer *row,
                         struct od_error *err)
{
    bool found = false;
    od_code rc = od_sqlite_layer_find(store, layer, row, &found, err);
    if (rc != OD_OK || found)
        return rc;
    char text[OD_UUID_TEXT_BYTES];
    od_uuid_format(layer, text);
    return od_fail(err, OD_NOT_FOUND, "there is no layer %s", text);
}

od_code od_sqlite_layer_required(struct sqlite_store *store, const struct od_uuid *layer, struct od_error *err)
{
    struct od_meta_layer row;
    return od_uuid_is_zero(layer) ? OD_OK : layer_get(store, layer, &row, err);
}

od_code od_sqlite_layer_insert(struct sqlite_store *store, const struct od_meta_layer *row, struct od_error *err)
{
    return od_sqlite_run(store, NULL, err, "INSERT INTO layer(" LAYER_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?,?,?)",
                         "uuiuiiiiiit", &row->layer, &row->branch, row->epoch, &row->parent, row->first_lsn,
                         row->end_lsn, row->first_time_us, row->last_time_us, row->bytes, (uint64_t)row->kind,
                         row->key);
}

od_code od_sqlite_layer_publish(struct od_metastore *opaque, const struct od_meta_layer *layer,
                                const struct od_uuid *expected_tip, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    struct od_meta_layer present;
    struct od_meta_branch branch;
    bool found;
    char id[OD_UUID_TEXT_BYTES];
    od_uuid_format(&layer->layer, id);
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(od_sqlite_layer_find(store, &layer->layer, &present, &found, err));
    if (found) { // this very call, repeated
        if (!od_meta_layer_same(&present, layer))
            rc = od_fail(err, OD_EXISTS, "layer %s is there already, with other content", id);
        goto out;
    }
    OD_TRY(od_sqlite_branch_get(store, &layer->branch, &branch, err));
    if (branch.epoch != layer->epoch)
        OD_TRY(od_fail(err, OD_FENCED, "layer %s has epoch %llu, but the branch is at epoch %llu of %s", id,
                       (unsigned long long)layer->epoch, (unsigned long long)branch.epoch, branch.owner));
    if (branch.dropped_us)
        OD_TRY(od_fail(err, OD_FENCED, "the database of layer %s has been dropped", id));
    if (!od_uuid_equal(&branch.tip_layer, expected_tip))
        OD_TRY(od_fail(err, OD_STALE, "the tip of the branch of layer %s has moved", id));
    if (layer->end_lsn < branch.tip_lsn || layer->end_lsn < layer->first_lsn)
        OD_TRY(od_fail(err, OD_INVALID, "layer %s ends at %llu, before the tip %llu", id,
                       (unsigned long long)layer->end_lsn, (unsigned long long)branch.tip_lsn));
    OD_TRY(od_sqlite_layer_insert(store, layer, err));
    OD_TRY(od_sqlite_run(store, NULL, err, "UPDATE branch SET tip_layer=?, tip_lsn=?, tip_time_us=? WHERE branch=?",
                         "uiiu", &layer->layer, layer->end_lsn, layer->last_time_us, &layer->branch));
out:
    return od_sqlite_finish(store, rc, err);
}

od_code od_sqlite_layer_get(struct od_metastore *opaque, const struct od_uuid *layer, struct od_meta_layer *row,
                            struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    pthread_mutex_lock(&store->lock);
    od_code rc = layer_get(store, layer, row, err);
    pthread_mutex_unlock(&store->lock);
    return rc;
}

od_code od_sqlite_layer_list(struct od_metastore *opaque, const struct od_uuid *branch, struct od_meta_layer **rows,
                             size_t *count, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    sqlite3_stmt *statement = NULL;
    void *all = NULL;
    pthread_mutex_lock(&store->lock);
    od_code rc = od_sqlite_start(
        store, &statement, err, "SELECT " LAYER_COLUMNS " FROM layer WHERE branch=? ORDER BY first_lsn, end_lsn, layer",
        "u", branch);
    rc = od_sqlite_collect(store, rc, statement, layer_take, sizeof **rows, &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

od_code od_sqlite_layer_forget(struct od_metastore *opaque, const struct od_uuid *layers, size_t count,
                               struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    for (size_t i = 0; i < count; i++) {
        sqlite3_stmt *statement;
        bool used;
        OD_TRY(od_sqlite_start(store, &statement, err,
                               "SELECT 1 FROM snapshot WHERE layer=?1 UNION ALL SELECT 1 FROM branch WHERE "
                               "dropped_us=0 AND (tip_layer=?1 OR parent_layer=?1) LIMIT 1",
                               "u", &layers[i]));
        OD_TRY(od_sqlite_next(store, statement, &used, err));
        if (used) {
            char id[OD_UUID_TEXT_BYTES];
            od_sqlite_end(statement);
            od_uuid_format(&layers[i], id);
            OD_TRY(od_fail(err, OD_STALE, "layer %s is in use", id));
        }
        OD_TRY(od_sqlite_run(store, NULL, err, "DELETE FROM layer WHERE layer=?", "u", &layers[i]));
    }
out:
    return od_sqlite_finish(store, rc, err);
}

// ---- snapshots

static void snapshot_take(sqlite3_stmt *statement, void *out)
{
    struct od_meta_snapshot *row = out;
    *row = (struct od_meta_snapshot){0};
    od_sqlite_uuid(statement, 0, &row->position.branch);
    od_sqlite_text(statement, 1, row->name, sizeof row->name);
    od_sqlite_uuid(statement, 2, &row->snapshot);
    row->position.epoch = od_sqlite_number(statement, 3);
    row->position.lsn = od_sqlite_number(statement, 4);
    od_sqlite_uuid(statement, 5, &row->layer);
    row->time_us = od_sqlite_number(statement, 6);
    row->created_us = od_sqlite_number(statement, 7);
    row->automatic = od_sqlite_number(statement, 8) != 0;
}

od_code od_sqlite_snapshot_insert(struct sqlite_store *store, const struct od_meta_snapshot *row, struct od_error *err)
{
    return od_sqlite_run(store, NULL, err, "INSERT INTO snapshot(" SNAPSHOT_COLUMNS ") VALUES(?,?,?,?,?,?,?,?,?)",
                         "utuiiuiii", &row->position.branch, row->name, &row->snapshot, row->position.epoch,
                         row->position.lsn, &row->layer, row->time_us,
                         row->created_us ? row->created_us : od_sqlite_now(), (uint64_t)row->automatic);
}

od_code od_sqlite_snapshot_create(struct od_metastore *opaque, const struct od_meta_snapshot *snapshot,
                                  struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    struct od_meta_branch branch;
    struct od_meta_snapshot present;
    sqlite3_stmt *statement;
    bool found;
    od_code rc = od_meta_name_check(snapshot->name, err);
    if (rc != OD_OK)
        return rc;
    rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(od_sqlite_start(store, &statement, err,
                           "SELECT " SNAPSHOT_COLUMNS " FROM snapshot WHERE snapshot=? OR (branch=? AND name=?)", "uut",
                           &snapshot->snapshot, &snapshot->position.branch, snapshot->name));
    OD_TRY(od_sqlite_next(store, statement, &found, err));
    if (found) {
        snapshot_take(statement, &present);
        od_sqlite_end(statement);
        if (!od_meta_snapshot_same(&present, snapshot))
            rc = od_fail(err, OD_EXISTS, "there is a snapshot \"%s\" already", snapshot->name);
        goto out;
    }
    OD_TRY(od_sqlite_branch_get(store, &snapshot->position.branch, &branch, err));
    OD_TRY(od_sqlite_layer_required(store, &snapshot->layer, err));
    OD_TRY(od_sqlite_snapshot_insert(store, snapshot, err));
out:
    return od_sqlite_finish(store, rc, err);
}

od_code od_sqlite_snapshot_list(struct od_metastore *opaque, const struct od_uuid *branch,
                                struct od_meta_snapshot **rows, size_t *count, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    sqlite3_stmt *statement = NULL;
    void *all = NULL;
    pthread_mutex_lock(&store->lock);
    od_code rc = od_sqlite_start(
        store, &statement, err,
        "SELECT " SNAPSHOT_COLUMNS " FROM snapshot WHERE branch=? ORDER BY epoch, lsn, created_us, name", "u", branch);
    rc = od_sqlite_collect(store, rc, statement, snapshot_take, sizeof **rows, &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

od_code od_sqlite_snapshot_drop(struct od_metastore *opaque, const struct od_uuid *branch, const char *name,
                                struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    int changed = 0;
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(od_sqlite_run(store, &changed, err, "DELETE FROM snapshot WHERE branch=? AND name=?", "ut", branch, name));
    if (!changed)
        rc = od_fail(err, OD_NOT_FOUND, "there is no snapshot \"%s\"", name);
out:
    return od_sqlite_finish(store, rc, err);
}

// ---- a whole state

od_code od_sqlite_restore(struct od_metastore *opaque, const struct od_meta_database *databases, size_t database_count,
                          const struct od_meta_branch *branches, size_t branch_count,
                          const struct od_meta_layer *layers, size_t layer_count,
                          const struct od_meta_snapshot *snapshots, size_t snapshot_count, struct od_error *err)
{
    struct sqlite_store *store = of(opaque);
    sqlite3_stmt *statement;
    bool used;
    od_code rc = od_sqlite_begin(store, err);
    if (rc != OD_OK)
        return rc;
    OD_TRY(od_sqlite_start(store, &statement, err,
                           "SELECT 1 FROM branch UNION ALL SELECT 1 FROM database UNION ALL SELECT 1 FROM layer "
                           "UNION ALL SELECT 1 FROM snapshot LIMIT 1",
                           ""));
    OD_TRY(od_sqlite_next(store, statement, &used, err));
    if (used) {
        od_sqlite_end(statement);
        OD_TRY(od_fail(err, OD_EXISTS, "%s holds metadata already; a rebuild begins with an empty one", store->path));
    }
    for (size_t i = 0; i < branch_count; i++)
        OD_TRY(od_sqlite_branch_insert(store, &branches[i], err));
    for (size_t i = 0; i < database_count; i++)
        OD_TRY(od_sqlite_run(store, NULL, err, "INSERT INTO database(name, branch, created_us) VALUES(?,?,?)", "tui",
                             databases[i].name, &databases[i].branch, databases[i].created_us));
    for (size_t i = 0; i < layer_count; i++)
        OD_TRY(od_sqlite_layer_insert(store, &layers[i], err));
    for (size_t i = 0; i < snapshot_count; i++)
        OD_TRY(od_sqlite_snapshot_insert(store, &snapshots[i], err));
out:
    return od_sqlite_finish(store, rc, err);
}
