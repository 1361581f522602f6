// metadata.c - the simulated metadata store: rows in arrays, each call one step (M1). Epochs and tips are compared here as
// metastore.h says (M2); a repeated call is answered as the first (M3).
#include "sim/stores.h"
#include "base/alloc.h"
#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

static struct sim_metadata_link *link_of(struct od_metastore *store)
{
    return (struct sim_metadata_link *)store;
}

static void *row_add(void *rows, size_t *count, size_t bytes, const void *row)
{
    uint8_t *grown = realloc(rows, (*count + 1) * bytes);
    od_assert(grown);
    memcpy(grown + (*count)++ * bytes, row, bytes);
    return grown;
}

static void row_drop(void *rows, size_t *count, size_t bytes, size_t at)
{
    uint8_t *row = (uint8_t *)rows + at * bytes;
    memmove(row, row + bytes, (--*count - at) * bytes);
}

static struct od_meta_database *database_find(struct sim_metadata *m, const char *name)
{
    for (size_t i = 0; i < m->database_count; i++)
        if (strcmp(m->databases[i].name, name) == 0)
            return &m->databases[i];
    return NULL;
}

static struct od_meta_branch *branch_find(struct sim_metadata *m, const struct od_uuid *branch)
{
    for (size_t i = 0; i < m->branch_count; i++)
        if (od_uuid_equal(&m->branches[i].branch, branch))
            return &m->branches[i];
    return NULL;
}

static struct od_meta_layer *layer_find(struct sim_metadata *m, const struct od_uuid *layer)
{
    for (size_t i = 0; i < m->layer_count; i++)
        if (od_uuid_equal(&m->layers[i].layer, layer))
            return &m->layers[i];
    return NULL;
}

static struct od_meta_snapshot *snapshot_find(struct sim_metadata *m, const struct od_uuid *branch, const char *name)
{
    for (size_t i = 0; i < m->snapshot_count; i++)
        if (od_uuid_equal(&m->snapshots[i].position.branch, branch) && strcmp(m->snapshots[i].name, name) == 0)
            return &m->snapshots[i];
    return NULL;
}

static uint64_t tick(struct sim_metadata *m)
{
    return m->now_us += 1000;
}

// ---- what the calls do

static od_code create_database(struct sim_metadata *m, const char *name, const struct od_meta_branch *branch,
                               struct od_error *err)
{
    const struct od_meta_database *old = database_find(m, name);
    if (old && od_uuid_equal(&old->branch, &branch->branch))
        return OD_OK;
    if (old)
        return od_fail(err, OD_EXISTS, "database %s exists", name);
    struct od_meta_database row = {.branch = branch->branch, .created_us = tick(m)};
    strncpy(row.name, name, sizeof row.name - 1);
    m->databases = row_add(m->databases, &m->database_count, sizeof row, &row);
    m->branches = row_add(m->branches, &m->branch_count, sizeof *branch, branch);
    return OD_OK;
}

static od_code publish_layer(struct sim_metadata *m, const struct od_meta_layer *layer,
                             const struct od_uuid *expected_tip, struct od_error *err)
{
    const struct od_meta_layer *old = layer_find(m, &layer->layer);
    if (old)
        return old->first_lsn == layer->first_lsn && old->end_lsn == layer->end_lsn && strcmp(old->key, layer->key) == 0
                   ? OD_OK
                   : od_fail(err, OD_EXISTS, "another layer has this uuid");
    struct od_meta_branch *branch = branch_find(m, &layer->branch);
    if (!branch)
        return od_fail(err, OD_NOT_FOUND, "no such branch");
    if (layer->epoch != branch->epoch)
        return od_fail(err, OD_FENCED, "epoch %llu: the branch is at epoch %llu of %s",
                       (unsigned long long)layer->epoch, (unsigned long long)branch->epoch, branch->owner);
    if (!od_uuid_equal(&branch->tip_layer, expected_tip))
        return od_fail(err, OD_STALE, "the tip is another layer, at %llu", (unsigned long long)branch->tip_lsn);
    m->layers = row_add(m->layers, &m->layer_count, sizeof *layer, layer);
    branch->tip_layer = layer->layer;
    branch->tip_lsn = layer->end_lsn;
    branch->tip_time_us = layer->last_time_us;
    return OD_OK;
}

static od_code create_snapshot(struct sim_metadata *m, const struct od_meta_snapshot *snapshot, struct od_error *err)
{
    const struct od_meta_snapshot *old = snapshot_find(m, &snapshot->position.branch, snapshot->name);
    if (old && od_uuid_equal(&old->snapshot, &snapshot->snapshot))
        return OD_OK;
    if (old)
        return od_fail(err, OD_EXISTS, "snapshot %s exists", snapshot->name);
    if (!od_uuid_is_zero(&snapshot->layer) && !layer_find(m, &snapshot->layer))
        return od_fail(err, OD_NOT_FOUND, "no such layer");
    m->snapshots = row_add(m->snapshots, &m->snapshot_count, sizeof *snapshot, snapshot);
    return OD_OK;
}

static od_code apply(struct sim_metadata *m, const struct sim_late_row *call, struct od_error *err)
{
    switch (call->call) {
    case SIM_CALL_DATABASE_CREATE:
        return create_database(m, call->name, &call->branch, err);
    case SIM_CALL_LAYER_PUBLISH:
        return publish_layer(m, &call->layer, &call->expected_tip, err);
    default:
        return create_snapshot(m, &call->snapshot, err);
    }
}

void sim_metadata_deliver(struct sim_metadata *m, struct sim_random *random, unsigned per_mille)
{
    for (size_t i = 0; i < m->late_count;) {
        if (!sim_random_chance(random, per_mille)) {
            i++;
            continue;
        }
        (void)apply(m, &m->late[i], NULL); // whoever asked has gone on without the answer
        row_drop(m->late, &m->late_count, sizeof *m->late, i);
    }
}

// ---- the way there and back

static od_code begin(struct sim_metadata_link *link, const char *what, const char *name, bool *last,
                     struct od_error *err)
{
    od_code rc = sim_host_call(link->host, what, name, last, err);
    if (rc == OD_OK && !*last && sim_random_chance(link->host->random, link->host->faults.row_lost))
        rc = od_fail(err, OD_UNAVAILABLE, "%s: %s: the metadata store is unreachable (simulated)", name, what);
    return rc;
}

// For a call that changes rows: *forget says that its answer will be lost, and *effect whether it is done.
static od_code begin_change(struct sim_metadata_link *link, const char *what, const char *name, bool *forget,
                            bool *effect, struct od_error *err)
{
    bool last;
    pthread_mutex_lock(link->host->lock);
    od_code rc = begin(link, what, name, &last, err);
    *forget = rc == OD_OK && (last || sim_random_chance(link->host->random, link->host->faults.row_unknown));
    *effect = rc == OD_OK && (!*forget || sim_random_chance(link->host->random, 500));
    return rc;
}

static od_code end_change(struct sim_metadata_link *link, const char *what, const char *name, bool forget, od_code rc,
                          struct od_error *err)
{
    pthread_mutex_unlock(link->host->lock);
    return forget ? od_fail(err, OD_OUTCOME_UNKNOWN, "%s: %s: no answer (simulated)", name, what) : rc;
}

static od_code begin_read(struct sim_metadata_link *link, const char *what, const char *name, struct od_error *err)
{
    bool last;
    pthread_mutex_lock(link->host->lock);
    od_code rc = begin(link, what, name, &last, err);
    return rc == OD_OK && last ? od_fail(err, OD_UNAVAILABLE, "%s: %s: the power went", name, what) : rc;
}

static void end_read(struct sim_metadata_link *link)
{
    pthread_mutex_unlock(link->host->lock);
}

static od_code change(struct sim_metadata_link *link, const char *what, const char *name,
                      const struct sim_late_row *call, struct od_error *err)
{
    bool forget, effect;
    od_code rc = begin_change(link, what, name, &forget, &effect, err);
    if (rc == OD_OK && !forget && link->metadata->late_count < SIM_LATE_MAX &&
        sim_random_chance(link->host->random, link->host->faults.row_late)) {
        link->metadata->late = row_add(link->metadata->late, &link->metadata->late_count, sizeof *call, call);
        forget = true;
        effect = false;
    }
    if (effect)
        rc = apply(link->metadata, call, err);
    return end_change(link, what, name, forget, rc, err);
}

// ---- the table

static void meta_close(struct od_metastore *store)
{
    (void)store;
}

static od_code meta_now(struct od_metastore *store, uint64_t *us, struct od_error *err)
{
    od_code rc = begin_read(link_of(store), "now", "clock", err);
    if (rc == OD_OK)
        *us = tick(link_of(store)->metadata);
    end_read(link_of(store));
    return rc;
}

static od_code meta_database_create(struct od_metastore *store, const char *name, const struct od_meta_branch *branch,
                                    struct od_error *err)
{
    struct sim_late_row call = {.call = SIM_CALL_DATABASE_CREATE, .branch = *branch};
    strncpy(call.name, name, sizeof call.name - 1);
    return change(link_of(store), "database_create", name, &call, err);
}

static od_code meta_database_get(struct od_metastore *store, const char *name, struct od_meta_database *out,
                                 struct od_error *err)
{
    od_code rc = begin_read(link_of(store), "database_get", name, err);
    if (rc == OD_OK) {
        const struct od_meta_database *row = database_find(link_of(store)->metadata, name);
        if (row)
            *out = *row;
        else
            rc = od_fail(err, OD_NOT_FOUND, "no database %s", name);
    }
    end_read(link_of(store));
    return rc;
}

// A copy in memory of the library, of the rows for which keep() holds.
static od_code copy_rows(const void *rows, size_t count, size_t bytes, bool (*keep)(const void *row, const void *key),
                         const void *key, void **out, size_t *out_count, struct od_error *err)
{
    uint8_t *copy = od_alloc((count + 1) * bytes);
    if (!copy)
        return od_fail(err, OD_NO_MEMORY, "out of memory");
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        const uint8_t *row = (const uint8_t *)rows + i * bytes;
        if (!keep || keep(row, key))
            memcpy(copy + kept++ * bytes, row, bytes);
    }
    *out = copy;
    *out_count = kept;
    return OD_OK;
}

static int database_order(const void *a, const void *b)
{
    return strcmp(((const struct od_meta_database *)a)->name, ((const struct od_meta_database *)b)->name);
}

static int layer_order(const void *a, const void *b)
{
    const struct od_meta_layer *x = a, *y = b;
    return x->first_lsn < y->first_lsn ? -1 : x->first_lsn > y->first_lsn;
}

static int snapshot_order(const void *a, const void *b)
{
    const struct od_position *x = &((const struct od_meta_snapshot *)a)->position;
    const struct od_position *y = &((const struct od_meta_snapshot *)b)->position;
    return x->lsn < y->lsn ? -1 : x->lsn > y->lsn;
}

static bool layer_of(const void *row, const void *branch)
{
    return od_uuid_equal(&((const struct od_meta_layer *)row)->branch, branch);
}

static bool snapshot_of(const void *row, const void *branch)
{
    return od_uuid_equal(&((const struct od_meta_snapshot *)row)->position.branch, branch);
}

static od_code meta_database_list(struct od_metastore *store, struct od_meta_database **rows, size_t *count,
                                  struct od_error *err)
{
    const struct sim_metadata *m = link_of(store)->metadata;
    void *copy = NULL;
    od_code rc = begin_read(link_of(store), "database_list", "all", err);
    if (rc == OD_OK)
        rc = copy_rows(m->databases, m->database_count, sizeof **rows, NULL, NULL, &copy, count, err);
    if (rc == OD_OK) {
        qsort(copy, *count, sizeof **rows, database_order);
        *rows = copy;
    }
    end_read(link_of(store));
    return rc;
}

static od_code meta_database_drop(struct od_metastore *store, const char *name, struct od_error *err)
{
    struct sim_metadata *m = link_of(store)->metadata;
    bool forget, effect;
    od_code rc = begin_change(link_of(store), "database_drop", name, &forget, &effect, err);
    if (effect) {
        struct od_meta_database *row = database_find(m, name);
        struct od_meta_branch *branch = row ? branch_find(m, &row->branch) : NULL;
        if (branch) {
            branch->dropped_us = tick(m);
            row_drop(m->databases, &m->database_count, sizeof *row, (size_t)(row - m->databases));
        } else {
            rc = od_fail(err, OD_NOT_FOUND, "no database %s", name);
        }
    }
    return end_change(link_of(store), "database_drop", name, forget, rc, err);
}

static od_code meta_database_point(struct od_metastore *store, const char *name, const struct od_uuid *expected_branch,
                                   const struct od_meta_branch *branch, struct od_error *err)
{
    struct sim_metadata *m = link_of(store)->metadata;
    bool forget, effect;
    od_code rc = begin_change(link_of(store), "database_point", name, &forget, &effect, err);
    if (effect) {
        struct od_meta_database *row = database_find(m, name);
        if (!row) {
            rc = od_fail(err, OD_NOT_FOUND, "no database %s", name);
        } else if (od_uuid_equal(&row->branch, &branch->branch)) {
            rc = OD_OK;
        } else if (!od_uuid_equal(&row->branch, expected_branch)) {
            rc = od_fail(err, OD_STALE, "database %s is another branch now", name);
        } else {
            struct od_meta_branch *old = branch_find(m, expected_branch);
            if (old)
                old->dropped_us = tick(m);
            row->branch = branch->branch;
            m->branches = row_add(m->branches, &m->branch_count, sizeof *branch, branch);
        }
    }
    return end_change(link_of(store), "database_point", name, forget, rc, err);
}

static od_code meta_branch_get(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_branch *out,
                               struct od_error *err)
{
    od_code rc = begin_read(link_of(store), "branch_get", "branch", err);
    if (rc == OD_OK) {
        const struct od_meta_branch *row = branch_find(link_of(store)->metadata, branch);
        if (row)
            *out = *row;
        else
            rc = od_fail(err, OD_NOT_FOUND, "no such branch");
    }
    end_read(link_of(store));
    return rc;
}

static od_code meta_branch_list(struct od_metastore *store, struct od_meta_branch **rows, size_t *count,
                                struct od_error *err)
{
    const struct sim_metadata *m = link_of(store)->metadata;
    void *copy = NULL;
    od_code rc = begin_read(link_of(store), "branch_list", "all", err);
    if (rc == OD_OK)
        rc = copy_rows(m->branches, m->branch_count, sizeof **rows, NULL, NULL, &copy, count, err);
    if (rc == OD_OK)
        *rows = copy;
    end_read(link_of(store));
    return rc;
}

static od_code meta_epoch_acquire(struct od_metastore *store, const struct od_uuid *uuid, const char *owner,
                                  const struct od_uuid *holder, uint64_t lease_us, bool force,
                                  struct od_meta_branch *row, struct od_error *err)
{
    struct sim_metadata *m = link_of(store)->metadata;
    bool forget, effect;
    od_code rc = begin_change(link_of(store), "epoch_acquire", owner, &forget, &effect, err);
    if (effect) {
        struct od_meta_branch *branch = branch_find(m, uuid);
        rc = branch ? od_meta_branch_acquire(branch, owner, holder, tick(m), lease_us, force, err)
                    : od_fail(err, OD_NOT_FOUND, "no such branch");
        if (rc == OD_OK)
            *row = *branch;
    }
    return end_change(link_of(store), "epoch_acquire", owner, forget, rc, err);
}

// lease_us 0: given back.
static od_code lease_set(struct od_metastore *store, const char *what, const struct od_uuid *uuid, uint64_t epoch,
                         uint64_t lease_us, bool published, struct od_error *err)
{
    struct sim_metadata *m = link_of(store)->metadata;
    bool forget, effect;
    od_code rc = begin_change(link_of(store), what, "branch", &forget, &effect, err);
    if (effect) {
        struct od_meta_branch *branch = branch_find(m, uuid);
        if (!branch)
            rc = od_fail(err, OD_NOT_FOUND, "no such branch");
        else if (branch->epoch != epoch)
            rc = od_fail(err, OD_FENCED, "the branch is at epoch %llu", (unsigned long long)branch->epoch);
        else if (lease_us)
            branch->lease_until_us = tick(m) + lease_us;
        else
            od_meta_branch_release(branch, published);
    }
    return end_change(link_of(store), what, "branch", forget, rc, err);
}

static od_code meta_lease_renew(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                                uint64_t lease_us, struct od_error *err)
{
    return lease_set(store, "lease_renew", branch, epoch, lease_us ? lease_us : 1, false, err);
}

static od_code meta_lease_release(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                                  bool published, struct od_error *err)
{
    return lease_set(store, "lease_release", branch, epoch, 0, published, err);
}

static od_code meta_layer_publish(struct od_metastore *store, const struct od_meta_layer *layer,
                                  const struct od_uuid *expected_tip, struct od_error *err)
{
    const struct sim_late_row call = {.call = SIM_CALL_LAYER_PUBLISH, .layer = *layer, .expected_tip = *expected_tip};
    return change(link_of(store), "layer_publish", layer->key, &call, err);
}

static od_code meta_layer_get(struct od_metastore *store, const struct od_uuid *layer, struct od_meta_layer *out,
                              struct od_error *err)
{
    od_code rc = begin_read(link_of(store), "layer_get", "layer", err);
    if (rc == OD_OK) {
        const struct od_meta_layer *row = layer_find(link_of(store)->metadata, layer);
        if (row)
            *out = *row;
        else
            rc = od_fail(err, OD_NOT_FOUND, "no such layer");
    }
    end_read(link_of(store));
    return rc;
}

static od_code meta_layer_list(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_layer **rows,
                               size_t *count, struct od_error *err)
{
    const struct sim_metadata *m = link_of(store)->metadata;
    void *copy = NULL;
    od_code rc = begin_read(link_of(store), "layer_list", "branch", err);
    if (rc == OD_OK)
        rc = copy_rows(m->layers, m->layer_count, sizeof **rows, layer_of, branch, &copy, count, err);
    if (rc == OD_OK) {
        qsort(copy, *count, sizeof **rows, layer_order);
        *rows = copy;
    }
    end_read(link_of(store));
    return rc;
}

static od_code meta_layer_forget(struct od_metastore *store, const struct od_uuid *layers, size_t count,
                                 struct od_error *err)
{
    struct sim_metadata *m = link_of(store)->metadata;
    bool forget, effect;
    od_code rc = begin_change(link_of(store), "layer_forget", "layers", &forget, &effect, err);
    for (size_t i = 0; effect && i < count; i++) {
        const struct od_meta_layer *row = layer_find(m, &layers[i]);
        if (row)
            row_drop(m->layers, &m->layer_count, sizeof *row, (size_t)(row - m->layers));
    }
    return end_change(link_of(store), "layer_forget", "layers", forget, rc, err);
}

static od_code meta_snapshot_create(struct od_metastore *store, const struct od_meta_snapshot *snapshot,
                                    struct od_error *err)
{
    const struct sim_late_row call = {.call = SIM_CALL_SNAPSHOT_CREATE, .snapshot = *snapshot};
    return change(link_of(store), "snapshot_create", snapshot->name, &call, err);
}

static od_code meta_snapshot_list(struct od_metastore *store, const struct od_uuid *branch,
                                  struct od_meta_snapshot **rows, size_t *count, struct od_error *err)
{
    const struct sim_metadata *m = link_of(store)->metadata;
    void *copy = NULL;
    od_code rc = begin_read(link_of(store), "snapshot_list", "branch", err);
    if (rc == OD_OK)
        rc = copy_rows(m->snapshots, m->snapshot_count, sizeof **rows, snapshot_of, branch, &copy, count, err);
    if (rc == OD_OK) {
        qsort(copy, *count, sizeof **rows, snapshot_order);
        *rows = copy;
    }
    end_read(link_of(store));
    return rc;
}

static od_code meta_snapshot_drop(struct od_metastore *store, const struct od_uuid *branch, const char *name,
                                  struct od_error *err)
{
    struct sim_metadata *m = link_of(store)->metadata;
    bool forget, effect;
    od_code rc = begin_change(link_of(store), "snapshot_drop", name, &forget, &effect, err);
    if (effect) {
        const struct od_meta_snapshot *row = snapshot_find(m, branch, name);
        if (row)
            row_drop(m->snapshots, &m->snapshot_count, sizeof *row, (size_t)(row - m->snapshots));
        else
            rc = od_fail(err, OD_NOT_FOUND, "no snapshot %s", name);
    }
    return end_change(link_of(store), "snapshot_drop", name, forget, rc, err);
}

static od_code meta_restore(struct od_metastore *store, const struct od_meta_database *databases, size_t database_count,
                            const struct od_meta_branch *branches, size_t branch_count,
                            const struct od_meta_layer *layers, size_t layer_count,
                            const struct od_meta_snapshot *snapshots, size_t snapshot_count, struct od_error *err)
{
    struct sim_metadata *m = link_of(store)->metadata;
    bool forget, effect;
    od_code rc = begin_change(link_of(store), "restore", "all", &forget, &effect, err);
    if (effect && m->branch_count + m->database_count > 0) {
        rc = od_fail(err, OD_EXISTS, "the metadata store is not empty");
    } else if (effect) {
        for (size_t i = 0; i < database_count; i++)
            m->databases = row_add(m->databases, &m->database_count, sizeof *databases, &databases[i]);
        for (size_t i = 0; i < branch_count; i++)
            m->branches = row_add(m->branches, &m->branch_count, sizeof *branches, &branches[i]);
        for (size_t i = 0; i < layer_count; i++)
            m->layers = row_add(m->layers, &m->layer_count, sizeof *layers, &layers[i]);
        for (size_t i = 0; i < snapshot_count; i++)
            m->snapshots = row_add(m->snapshots, &m->snapshot_count, sizeof *snapshots, &snapshots[i]);
    }
    return end_change(link_of(store), "restore", "all", forget, rc, err);
}

static od_code meta_identify(struct od_metastore *store, struct od_uuid *cluster, struct od_error *err)
{
    (void)store;
    (void)cluster;
    return od_fail(err, OD_UNSUPPORTED, "a simulated cluster has no name");
}

static const struct od_metastore_ops metadata_ops = {
    .kind = "simulated",
    .close = meta_close,
    .now = meta_now,
    .database_create = meta_database_create,
    .database_get = meta_database_get,
    .database_list = meta_database_list,
    .database_drop = meta_database_drop,
    .database_point = meta_database_point,
    .branch_get = meta_branch_get,
    .branch_list = meta_branch_list,
    .epoch_acquire = meta_epoch_acquire,
    .lease_renew = meta_lease_renew,
    .lease_release = meta_lease_release,
    .layer_publish = meta_layer_publish,
    .layer_get = meta_layer_get,
    .layer_list = meta_layer_list,
    .layer_forget = meta_layer_forget,
    .snapshot_create = meta_snapshot_create,
    .snapshot_list = meta_snapshot_list,
    .snapshot_drop = meta_snapshot_drop,
    .identify = meta_identify,
    .restore = meta_restore,
};

void sim_metadata_link_init(struct sim_metadata_link *link, struct sim_metadata *metadata, struct sim_host *host)
{
    *link = (struct sim_metadata_link){.base = {.ops = &metadata_ops}, .metadata = metadata, .host = host};
}
