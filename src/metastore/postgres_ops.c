// postgres_ops.c - the table of the interface on PostgreSQL: each writing call is a function of the schema, each reading one a
// SELECT.
#include "metastore/postgres_internal.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <stdio.h>

#define LITERAL_BYTES_MAX (256 * OD_MIB)

static struct postgres_store *of(struct od_metastore *store)
{
    return (struct postgres_store *)store;
}

static od_code literal(struct od_buf *buf, const char **text, struct od_error *err)
{
    *text = od_buf_text(buf);
    return *text ? OD_OK : od_fail(err, OD_NO_MEMORY, "out of memory for a row of the metadata");
}

static od_code postgres_now(struct od_metastore *store, uint64_t *us, struct od_error *err)
{
    PGresult *result;
    od_code rc = od_postgres_run(of(store), "SELECT openduck.now_us()", 0, NULL, false, &result, err);
    if (rc != OD_OK)
        return rc;
    rc = od_postgres_take_number(result, 0, 0, us, err);
    PQclear(result);
    return rc;
}

// ---- reading: one row, or an array of them

typedef od_code (*take_fn)(const PGresult *result, int row, void *out, struct od_error *err);

// *rows is released with od_free; rows of `bytes` each.
static od_code read_rows(struct postgres_store *store, const char *text, const char *value, take_fn take, size_t bytes,
                         void **rows, size_t *count, struct od_error *err)
{
    PGresult *result;
    od_code rc = od_postgres_run(store, text, value ? 1 : 0, &value, false, &result, err);
    if (rc != OD_OK)
        return rc;
    int n = PQntuples(result);
    char *all = n ? od_calloc((size_t)n, bytes) : NULL;
    if (n && !all)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for rows of the metadata"));
    for (int i = 0; i < n; i++)
        OD_TRY(take(result, i, all + (size_t)i * bytes, err));
    *rows = all;
    *count = (size_t)n;
    all = NULL;
out:
    PQclear(result);
    if (rc != OD_OK)
        od_free(all);
    return rc;
}

static od_code read_row(struct postgres_store *store, const char *text, const char *value, take_fn take, void *out,
                        const char *noun, struct od_error *err)
{
    PGresult *result;
    od_code rc = od_postgres_run(store, text, 1, &value, false, &result, err);
    if (rc != OD_OK)
        return rc;
    rc = PQntuples(result) ? take(result, 0, out, err) : od_fail(err, OD_NOT_FOUND, "there is no %s %s", noun, value);
    PQclear(result);
    return rc;
}

static od_code take_database(const PGresult *result, int row, void *opaque, struct od_error *err)
{
    struct od_meta_database *out = opaque;
    od_code rc = OD_OK;
    *out = (struct od_meta_database){0};
    OD_TRY(od_postgres_take_text(result, row, 0, out->name, sizeof out->name, err));
    OD_TRY(od_postgres_take_uuid(result, row, 1, &out->branch, err));
    OD_TRY(od_postgres_take_number(result, row, 2, &out->created_us, err));
out:
    return rc;
}

static od_code take_branch(const PGresult *result, int row, void *out, struct od_error *err)
{
    return od_postgres_take_branch(result, row, 0, out, err);
}

static od_code take_layer(const PGresult *result, int row, void *opaque, struct od_error *err)
{
    struct od_meta_layer *out = opaque;
    uint64_t kind;
    od_code rc = OD_OK;
    *out = (struct od_meta_layer){0};
    OD_TRY(od_postgres_take_uuid(result, row, 0, &out->layer, err));
    OD_TRY(od_postgres_take_uuid(result, row, 1, &out->branch, err));
    OD_TRY(od_postgres_take_number(result, row, 2, &out->epoch, err));
    OD_TRY(od_postgres_take_uuid(result, row, 3, &out->parent, err));
    OD_TRY(od_postgres_take_number(result, row, 4, &out->first_lsn, err));
    OD_TRY(od_postgres_take_number(result, row, 5, &out->end_lsn, err));
    OD_TRY(od_postgres_take_number(result, row, 6, &out->first_time_us, err));
    OD_TRY(od_postgres_take_number(result, row, 7, &out->last_time_us, err));
    OD_TRY(od_postgres_take_number(result, row, 8, &out->bytes, err));
    OD_TRY(od_postgres_take_number(result, row, 9, &kind, err));
    OD_TRY(od_postgres_take_text(result, row, 10, out->key, sizeof out->key, err));
    out->kind = (uint32_t)kind;
out:
    return rc;
}

static od_code take_snapshot(const PGresult *result, int row, void *opaque, struct od_error *err)
{
    struct od_meta_snapshot *out = opaque;
    od_code rc = OD_OK;
    *out = (struct od_meta_snapshot){0};
    OD_TRY(od_postgres_take_uuid(result, row, 0, &out->position.branch, err));
    OD_TRY(od_postgres_take_text(result, row, 1, out->name, sizeof out->name, err));
    OD_TRY(od_postgres_take_uuid(result, row, 2, &out->snapshot, err));
    OD_TRY(od_postgres_take_number(result, row, 3, &out->position.epoch, err));
    OD_TRY(od_postgres_take_number(result, row, 4, &out->position.lsn, err));
    OD_TRY(od_postgres_take_uuid(result, row, 5, &out->layer, err));
    OD_TRY(od_postgres_take_number(result, row, 6, &out->time_us, err));
    OD_TRY(od_postgres_take_number(result, row, 7, &out->created_us, err));
    out->automatic = PQgetvalue(result, row, 8)[0] == 't';
out:
    return rc;
}

// ---- databases and branches

static od_code postgres_database_create(struct od_metastore *store, const char *name,
                                        const struct od_meta_branch *branch, struct od_error *err)
{
    struct od_buf row;
    const char *values[2] = {name};
    od_code rc = OD_OK;
    od_buf_init(&row, LITERAL_BYTES_MAX);
    OD_TRY(od_meta_name_check(name, err));
    OD_TRY(od_postgres_branch_literal(&row, branch, err));
    OD_TRY(literal(&row, &values[1], err));
    OD_TRY(od_postgres_call(of(store), "SELECT * FROM openduck.database_create($1, $2::openduck.branch)", 2, values,
                            NULL, err));
out:
    od_buf_release(&row);
    return rc;
}

static od_code postgres_database_get(struct od_metastore *store, const char *name, struct od_meta_database *database,
                                     struct od_error *err)
{
    return read_row(of(store), "SELECT name, branch, created_us FROM openduck.database WHERE name = $1", name,
                    take_database, database, "database", err);
}

static od_code postgres_database_list(struct od_metastore *store, struct od_meta_database **rows, size_t *count,
                                      struct od_error *err)
{
    void *all = NULL;
    od_code rc = read_rows(of(store), "SELECT name, branch, created_us FROM openduck.database ORDER BY name", NULL,
                           take_database, sizeof **rows, &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

static od_code postgres_database_drop(struct od_metastore *store, const char *name, struct od_error *err)
{
    return od_postgres_call(of(store), "SELECT * FROM openduck.database_drop($1)", 1, &name, NULL, err);
}

static od_code postgres_database_point(struct od_metastore *store, const char *name,
                                       const struct od_uuid *expected_branch, const struct od_meta_branch *branch,
                                       struct od_error *err)
{
    struct od_buf row;
    char expected[OD_UUID_TEXT_BYTES];
    const char *values[3] = {name, expected};
    od_code rc = OD_OK;
    od_uuid_format(expected_branch, expected);
    od_buf_init(&row, LITERAL_BYTES_MAX);
    OD_TRY(od_postgres_branch_literal(&row, branch, err));
    OD_TRY(literal(&row, &values[2], err));
    OD_TRY(od_postgres_call(of(store), "SELECT * FROM openduck.database_point($1, $2::uuid, $3::openduck.branch)", 3,
                            values, NULL, err));
out:
    od_buf_release(&row);
    return rc;
}

static od_code postgres_branch_get(struct od_metastore *store, const struct od_uuid *branch, struct od_meta_branch *row,
                                   struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES];
    od_uuid_format(branch, id);
    return read_row(of(store), "SELECT * FROM openduck.branch WHERE branch = $1::uuid", id, take_branch, row, "branch",
                    err);
}

static od_code postgres_branch_list(struct od_metastore *store, struct od_meta_branch **rows, size_t *count,
                                    struct od_error *err)
{
    void *all = NULL;
    od_code rc = read_rows(of(store), "SELECT * FROM openduck.branch ORDER BY branch", NULL, take_branch, sizeof **rows,
                           &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

static od_code postgres_epoch_acquire(struct od_metastore *store, const struct od_uuid *branch, const char *owner,
                                      const struct od_uuid *holder, uint64_t lease_us, bool force,
                                      struct od_meta_branch *row, struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES], place[OD_UUID_TEXT_BYTES], lease[OD_POSTGRES_NUMBER_BYTES];
    const char *values[5] = {id, owner, place, od_postgres_number(lease_us, lease), force ? "t" : "f"};
    PGresult *result;
    od_uuid_format(branch, id);
    od_uuid_format(holder, place);
    od_code rc = od_meta_name_check(owner, err);
    if (rc == OD_OK)
        rc = od_postgres_call(of(store),
                              "SELECT status, detail, (r).* FROM openduck.epoch_acquire($1::uuid, $2, $3::uuid, "
                              "$4::bigint, $5::boolean) OFFSET 0",
                              5, values, &result, err);
    if (rc != OD_OK)
        return rc;
    rc = od_postgres_take_branch(result, 0, 2, row, err);
    PQclear(result);
    return rc;
}

static od_code postgres_lease_renew(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                                    uint64_t lease_us, struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES], number[OD_POSTGRES_NUMBER_BYTES], lease[OD_POSTGRES_NUMBER_BYTES];
    const char *values[3] = {id, od_postgres_number(epoch, number), od_postgres_number(lease_us ? lease_us : 1, lease)};
    od_uuid_format(branch, id);
    return od_postgres_call(of(store), "SELECT * FROM openduck.lease_set($1::uuid, $2::bigint, $3::bigint)", 3, values,
                            NULL, err);
}

static od_code postgres_lease_release(struct od_metastore *store, const struct od_uuid *branch, uint64_t epoch,
                                      bool published, struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES], number[OD_POSTGRES_NUMBER_BYTES];
    const char *values[3] = {id, od_postgres_number(epoch, number), published ? "t" : "f"};
    od_uuid_format(branch, id);
    return od_postgres_call(of(store), "SELECT * FROM openduck.lease_release($1::uuid, $2::bigint, $3::boolean)", 3,
                            values, NULL, err);
}

static od_code postgres_identify(struct od_metastore *store, struct od_uuid *cluster, struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES];
    const char *values[1] = {id};
    PGresult *result;
    od_uuid_format(cluster, id);
    od_code rc = od_postgres_call(of(store), "SELECT * FROM openduck.identify($1::uuid)", 1, values, &result, err);
    if (rc != OD_OK)
        return rc;
    rc = od_postgres_take_uuid(result, 0, 2, cluster, err);
    PQclear(result);
    return rc;
}

// ---- layers and snapshots

static od_code postgres_layer_publish(struct od_metastore *store, const struct od_meta_layer *layer,
                                      const struct od_uuid *expected_tip, struct od_error *err)
{
    struct od_buf row;
    char expected[OD_UUID_TEXT_BYTES];
    const char *values[2] = {NULL, expected};
    od_code rc = OD_OK;
    od_uuid_format(expected_tip, expected);
    od_buf_init(&row, LITERAL_BYTES_MAX);
    OD_TRY(od_postgres_layer_literal(&row, layer, err));
    OD_TRY(literal(&row, &values[0], err));
    OD_TRY(od_postgres_call(of(store), "SELECT * FROM openduck.layer_publish($1::openduck.layer, $2::uuid)", 2, values,
                            NULL, err));
out:
    od_buf_release(&row);
    return rc;
}

static od_code postgres_layer_get(struct od_metastore *store, const struct od_uuid *layer, struct od_meta_layer *row,
                                  struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES];
    od_uuid_format(layer, id);
    return read_row(of(store), "SELECT * FROM openduck.layer WHERE layer = $1::uuid", id, take_layer, row, "layer",
                    err);
}

static od_code postgres_layer_list(struct od_metastore *store, const struct od_uuid *branch,
                                   struct od_meta_layer **rows, size_t *count, struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES];
    void *all = NULL;
    od_uuid_format(branch, id);
    od_code rc =
        read_rows(of(store), "SELECT * FROM openduck.layer WHERE branch = $1::uuid ORDER BY first_lsn, end_lsn, layer",
                  id, take_layer, sizeof **rows, &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

static od_code postgres_layer_forget(struct od_metastore *store, const struct od_uuid *layers, size_t count,
                                     struct od_error *err)
{
    struct od_buf array;
    const char *value;
    od_code rc = OD_OK;
    od_buf_init(&array, LITERAL_BYTES_MAX);
    for (size_t i = 0; i < count; i++) {
        char id[OD_UUID_TEXT_BYTES];
        od_uuid_format(&layers[i], id);
        OD_TRY(od_buf_append(&array, i ? "," : "{", 1, err));
        OD_TRY(od_buf_append_text(&array, id, err));
    }
    OD_TRY(od_buf_append_text(&array, count ? "}" : "{}", err));
    OD_TRY(literal(&array, &value, err));
    OD_TRY(od_postgres_call(of(store), "SELECT * FROM openduck.layer_forget($1::uuid[])", 1, &value, NULL, err));
out:
    od_buf_release(&array);
    return rc;
}

static od_code postgres_snapshot_create(struct od_metastore *store, const struct od_meta_snapshot *snapshot,
                                        struct od_error *err)
{
    struct od_buf row;
    const char *value;
    od_code rc = OD_OK;
    od_buf_init(&row, LITERAL_BYTES_MAX);
    OD_TRY(od_meta_name_check(snapshot->name, err));
    OD_TRY(od_postgres_snapshot_literal(&row, snapshot, err));
    OD_TRY(literal(&row, &value, err));
    OD_TRY(od_postgres_call(of(store), "SELECT * FROM openduck.snapshot_create($1::openduck.snapshot)", 1, &value, NULL,
                            err));
out:
    od_buf_release(&row);
    return rc;
}

static od_code postgres_snapshot_list(struct od_metastore *store, const struct od_uuid *branch,
                                      struct od_meta_snapshot **rows, size_t *count, struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES];
    void *all = NULL;
    od_uuid_format(branch, id);
    od_code rc = read_rows(
        of(store), "SELECT * FROM openduck.snapshot WHERE branch = $1::uuid ORDER BY epoch, lsn, created_us, name", id,
        take_snapshot, sizeof **rows, &all, count, err);
    if (rc == OD_OK)
        *rows = all;
    return rc;
}

static od_code postgres_snapshot_drop(struct od_metastore *store, const struct od_uuid *branch, const char *name,
                                      struct od_error *err)
{
    char id[OD_UUID_TEXT_BYTES];
    const char *values[2] = {id, name};
    od_uuid_format(branch, id);
    return od_postgres_call(of(store), "SELECT * FROM openduck.snapshot_drop($1::uuid, $2)", 2, values, NULL, err);
}

// ---- a whole state: four arrays of rows, one statement

typedef od_code (*literal_fn)(struct od_buf *out, const void *row, struct od_error *err);

static od_code branch_at(struct od_buf *out, const void *row, struct od_error *err)
{
    return od_postgres_branch_literal(out, row, err);
}

static od_code layer_at(struct od_buf *out, const void *row, struct od_error *err)
{
    return od_postgres_layer_literal(out, row, err);
}

static od_code snapshot_at(struct od_buf *out, const void *row, struct od_error *err)
{
    return od_postgres_snapshot_literal(out, row, err);
}

static od_code database_at(struct od_buf *out, const void *row, struct od_error *err)
{
    return od_postgres_database_literal(out, row, err);
}

static od_code array_of(struct od_buf *out, const void *rows, size_t count, size_t bytes, literal_fn one,
                        const char **text, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_buf row;
    const char *composite;
    od_buf_init(&row, LITERAL_BYTES_MAX);
    OD_TRY(od_buf_append(out, "{", 1, err));
    for (size_t i = 0; i < count; i++) {
        od_buf_clear(&row);
        OD_TRY(one(&row, (const char *)rows + i * bytes, err));
        OD_TRY(literal(&row, &composite, err));
        if (i)
            OD_TRY(od_buf_append(out, ",", 1, err));
        OD_TRY(od_postgres_quote(out, composite, err));
    }
    OD_TRY(od_buf_append(out, "}", 1, err));
    OD_TRY(literal(out, text, err));
out:
    od_buf_release(&row);
    return rc;
}

static od_code postgres_restore(struct od_metastore *store, const struct od_meta_database *databases,
                                size_t database_count, const struct od_meta_branch *branches, size_t branch_count,
                                const struct od_meta_layer *layers, size_t layer_count,
                                const struct od_meta_snapshot *snapshots, size_t snapshot_count, struct od_error *err)
{
    struct od_buf arrays[4];
    const char *values[4];
    od_code rc = OD_OK;
    for (int i = 0; i < 4; i++)
        od_buf_init(&arrays[i], LITERAL_BYTES_MAX);
    OD_TRY(array_of(&arrays[0], databases, database_count, sizeof *databases, database_at, &values[0], err));
    OD_TRY(array_of(&arrays[1], branches, branch_count, sizeof *branches, branch_at, &values[1], err));
    OD_TRY(array_of(&arrays[2], layers, layer_count, sizeof *layers, layer_at, &values[2], err));
    OD_TRY(array_of(&arrays[3], snapshots, snapshot_count, sizeof *snapshots, snapshot_at, &values[3], err));
    OD_TRY(od_postgres_call(of(store),
                            "SELECT * FROM openduck.restore($1::openduck.database[], $2::openduck.branch[], "
                            "$3::openduck.layer[], $4::openduck.snapshot[])",
                            4, values, NULL, err));
out:
    for (int i = 0; i < 4; i++)
        od_buf_release(&arrays[i]);
    return rc;
}

const struct od_metastore_ops od_postgres_ops = {
    .kind = "postgres",
    .close = od_postgres_close,
    .now = postgres_now,
    .database_create = postgres_database_create,
    .database_get = postgres_database_get,
    .database_list = postgres_database_list,
    .database_drop = postgres_database_drop,
    .database_point = postgres_database_point,
    .branch_get = postgres_branch_get,
    .branch_list = postgres_branch_list,
    .epoch_acquire = postgres_epoch_acquire,
    .lease_renew = postgres_lease_renew,
    .lease_release = postgres_lease_release,
    .layer_publish = postgres_layer_publish,
    .layer_get = postgres_layer_get,
    .layer_list = postgres_layer_list,
    .layer_forget = postgres_layer_forget,
    .snapshot_create = postgres_snapshot_create,
    .snapshot_list = postgres_snapshot_list,
    .snapshot_drop = postgres_snapshot_drop,
    .identify = postgres_identify,
    .restore = postgres_restore,
};
