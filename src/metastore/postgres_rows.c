// postgres_rows.c - values between C and PostgreSQL's text: numbers, uuids, rows as composite and array literals.
#include "metastore/postgres_internal.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *od_postgres_number(uint64_t number, char out[OD_POSTGRES_NUMBER_BYTES])
{
    snprintf(out, OD_POSTGRES_NUMBER_BYTES, "%llu", (unsigned long long)number);
    return out;
}

static od_code wrong_value(const PGresult *result, int column, const char *text, struct od_error *err)
{
    return od_fail(err, OD_CORRUPT, "column %s of PostgreSQL's metadata has the value \"%.100s\"",
                   PQfname(result, column), text);
}

od_code od_postgres_take_number(const PGresult *result, int row, int column, uint64_t *number, struct od_error *err)
{
    const char *text = PQgetvalue(result, row, column);
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (end == text || *end || errno || text[0] == '-')
        return wrong_value(result, column, text, err);
    *number = value;
    return OD_OK;
}

od_code od_postgres_take_uuid(const PGresult *result, int row, int column, struct od_uuid *uuid, struct od_error *err)
{
    const char *text = PQgetvalue(result, row, column);
    return od_uuid_parse(text, uuid, NULL) == OD_OK ? OD_OK : wrong_value(result, column, text, err);
}

od_code od_postgres_take_text(const PGresult *result, int row, int column, char *out, size_t bytes,
                              struct od_error *err)
{
    const char *text = PQgetvalue(result, row, column);
    size_t length = strlen(text);
    if (length >= bytes)
        return wrong_value(result, column, text, err);
    memcpy(out, text, length + 1);
    return OD_OK;
}

od_code od_postgres_take_branch(const PGresult *result, int row, int column, struct od_meta_branch *out,
                                struct od_error *err)
{
    od_code rc = OD_OK;
    *out = (struct od_meta_branch){0};
    OD_TRY(od_postgres_take_uuid(result, row, column, &out->branch, err));
    OD_TRY(od_postgres_take_uuid(result, row, column + 1, &out->parent_branch, err));
    OD_TRY(od_postgres_take_uuid(result, row, column + 2, &out->parent_layer, err));
    OD_TRY(od_postgres_take_number(result, row, column + 3, &out->start_lsn, err));
    OD_TRY(od_postgres_take_number(result, row, column + 4, &out->epoch, err));
    OD_TRY(od_postgres_take_number(result, row, column + 5, &out->epoch_start_lsn, err));
    OD_TRY(od_postgres_take_text(result, row, column + 6, out->owner, sizeof out->owner, err));
    OD_TRY(od_postgres_take_number(result, row, column + 7, &out->lease_until_us, err));
    OD_TRY(od_postgres_take_uuid(result, row, column + 8, &out->tip_layer, err));
    OD_TRY(od_postgres_take_number(result, row, column + 9, &out->tip_lsn, err));
    OD_TRY(od_postgres_take_number(result, row, column + 10, &out->tip_time_us, err));
    OD_TRY(od_postgres_take_number(result, row, column + 11, &out->dropped_us, err));
    OD_TRY(od_postgres_take_uuid(result, row, column + 12, &out->holder, err));
    OD_TRY(od_postgres_take_number(result, row, column + 13, &out->held_since, err));
    OD_TRY(od_postgres_take_number(result, row, column + 14, &out->policy, err));
out:
    return rc;
}

od_code od_postgres_quote(struct od_buf *out, const char *text, struct od_error *err)
{
    od_code rc = od_buf_append(out, "\"", 1, err);
    for (; rc == OD_OK && *text; text++) {
        if (*text == '"' || *text == '\\')
            rc = od_buf_append(out, "\\", 1, err);
        if (rc == OD_OK)
            rc = od_buf_append(out, text, 1, err);
    }
    return rc == OD_OK ? od_buf_append(out, "\"", 1, err) : rc;
}

// Fields by letters, as in "(uuid,number,text)": 'u' const struct od_uuid *, 'i' uint64_t, 't' const char *.
static od_code composite(struct od_buf *out, struct od_error *err, const char *types, ...)
{
    va_list values;
    char id[OD_UUID_TEXT_BYTES], number[OD_POSTGRES_NUMBER_BYTES];
    od_code rc = OD_OK;
    va_start(values, types);
    for (size_t i = 0; types[i]; i++) {
        OD_TRY(od_buf_append(out, i ? "," : "(", 1, err));
        if (types[i] == 'u') {
            od_uuid_format(va_arg(values, const struct od_uuid *), id);
            OD_TRY(od_buf_append_text(out, id, err));
        } else if (types[i] == 'i') {
            OD_TRY(od_buf_append_text(out, od_postgres_number(va_arg(values, uint64_t), number), err));
        } else {
            OD_TRY(od_postgres_quote(out, va_arg(values, const char *), err));
        }
    }
    OD_TRY(od_buf_append(out, ")", 1, err));
out:
    va_end(values);
    return rc;
}

od_code od_postgres_branch_literal(struct od_buf *out, const struct od_meta_branch *row, struct od_error *err)
{
    return composite(out, err, "uuuiiitiuiiiuii", &row->branch, &row->parent_branch, &row->parent_layer, row->start_lsn,
                     row->epoch, row->epoch_start_lsn, row->owner, row->lease_until_us, &row->tip_layer, row->tip_lsn,
                     row->tip_time_us, row->dropped_us, &row->holder, row->held_since, row->policy);
}

od_code od_postgres_layer_literal(struct od_buf *out, const struct od_meta_layer *row, struct od_error *err)
{
    return composite(out, err, "uuiuiiiiiit", &row->layer, &row->branch, row->epoch, &row->parent, row->first_lsn,
                     row->end_lsn, row->first_time_us, row->last_time_us, row->bytes, (uint64_t)row->kind, row->key);
}

od_code od_postgres_snapshot_literal(struct od_buf *out, const struct od_meta_snapshot *row, struct od_error *err)
{
    return composite(out, err, "utuiiuiit", &row->position.branch, row->name, &row->snapshot, row->position.epoch,
                     row->position.lsn, &row->layer, row->time_us, row->created_us, row->automatic ? "t" : "f");
}

od_code od_postgres_database_literal(struct od_buf *out, const struct od_meta_database *row, struct od_error *err)
{
    return composite(out, err, "tui", row->name, &row->branch, row->created_us);
}
