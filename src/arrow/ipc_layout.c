// ipc_layout.c - a schema's fields, each with its shape; also the one list of types that may travel.
#include "arrow/ipc_layout.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <nanoarrow/nanoarrow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *name_of(const struct ArrowSchema *schema)
{
    return schema->name ? schema->name : "";
}

// Consumers index the children by the type id, so ids that are not simply 0, 1, 2 ... are refused.
static bool union_ids_are_plain(const char *ids, int64_t child_count)
{
    for (int64_t i = 0; i < child_count; i++) {
        char *end;
        if (strtol(ids, &end, 10) != i || end == ids)
            return false;
        if (*end != (i + 1 < child_count ? ',' : '\0'))
            return false;
        ids = end + 1;
    }
    return child_count > 0 || *ids == '\0';
}

static od_code find_shape(const struct ArrowSchema *schema, struct od_ipc_field *field, struct od_error *err)
{
    struct ArrowSchemaView view;
    struct ArrowError reason = {0};
    if (ArrowSchemaViewInit(&view, schema, &reason) != NANOARROW_OK)
        return od_fail(err, OD_INVALID, "Arrow schema: column %.200s: %s", name_of(schema), reason.message);
    if (schema->dictionary)
        return od_fail(err, OD_UNSUPPORTED,
                       "Arrow schema: column %.200s is dictionary-encoded, which is not supported; send plain values",
                       name_of(schema));
    switch (view.storage_type) {
    case NANOARROW_TYPE_NA:
        field->shape = OD_SHAPE_NULL;
        return OD_OK;
    case NANOARROW_TYPE_BOOL:
        field->shape = OD_SHAPE_BITS;
        field->buffer_count = 2;
        return OD_OK;
    case NANOARROW_TYPE_INT8:
    case NANOARROW_TYPE_UINT8:
    case NANOARROW_TYPE_INT16:
    case NANOARROW_TYPE_UINT16:
    case NANOARROW_TYPE_INT32:
    case NANOARROW_TYPE_UINT32:
    case NANOARROW_TYPE_INT64:
    case NANOARROW_TYPE_UINT64:
    case NANOARROW_TYPE_HALF_FLOAT:
    case NANOARROW_TYPE_FLOAT:
    case NANOARROW_TYPE_DOUBLE:
    case NANOARROW_TYPE_INTERVAL_MONTHS:
    case NANOARROW_TYPE_INTERVAL_DAY_TIME:
    case NANOARROW_TYPE_INTERVAL_MONTH_DAY_NANO:
    case NANOARROW_TYPE_DECIMAL32:
    case NANOARROW_TYPE_DECIMAL64:
    case NANOARROW_TYPE_DECIMAL128:
    case NANOARROW_TYPE_DECIMAL256:
    case NANOARROW_TYPE_FIXED_SIZE_BINARY:
        field->shape = OD_SHAPE_FIXED;
        field->element_bytes = (uint32_t)(view.layout.element_size_bits[1] / 8);
        field->buffer_count = 2;
        return OD_OK;
    case NANOARROW_TYPE_STRING:
    case NANOARROW_TYPE_BINARY:
        field->shape = OD_SHAPE_BYTES32;
        field->buffer_count = 3;
        return OD_OK;
    case NANOARROW_TYPE_LARGE_STRING:
    case NANOARROW_TYPE_LARGE_BINARY:
        field->shape = OD_SHAPE_BYTES64;
        field->buffer_count = 3;
        return OD_OK;
    case NANOARROW_TYPE_LIST:
    case NANOARROW_TYPE_MAP:
        field->shape = OD_SHAPE_LIST32;
        field->buffer_count = 2;
        return OD_OK;
    case NANOARROW_TYPE_LARGE_LIST:
        field->shape = OD_SHAPE_LIST64;
        field->buffer_count = 2;
        return OD_OK;
    case NANOARROW_TYPE_FIXED_SIZE_LIST:
        if (view.fixed_size < 0)
            return od_fail(err, OD_INVALID, "Arrow schema: column %.200s is a list of %d elements", name_of(schema),
                           view.fixed_size);
        field->shape = OD_SHAPE_FIXED_LIST;
        field->elements = (uint32_t)view.fixed_size;
        field->buffer_count = 1;
        return OD_OK;
    case NANOARROW_TYPE_STRUCT:
        field->shape = OD_SHAPE_STRUCT;
        field->buffer_count = 1;
        return OD_OK;
    case NANOARROW_TYPE_SPARSE_UNION:
    case NANOARROW_TYPE_DENSE_UNION:
        if (!union_ids_are_plain(view.union_type_ids, schema->n_children))
            return od_fail(err, OD_UNSUPPORTED, "Arrow schema: column %.200s: type ids of a union must be 0, 1, 2, ...",
                           name_of(schema));
        field->shape = view.storage_type == NANOARROW_TYPE_SPARSE_UNION ? OD_SHAPE_SPARSE_UNION : OD_SHAPE_DENSE_UNION;
        field->buffer_count = field->shape == OD_SHAPE_SPARSE_UNION ? 1 : 2;
        return OD_OK;
    default:
        return od_fail(err, OD_UNSUPPORTED, "Arrow schema: column %.200s has the type %s, which is not supported",
                       name_of(schema), ArrowTypeString(view.type));
    }
}

static od_code count_fields(const struct ArrowSchema *schema, unsigned depth, size_t *count, struct od_error *err)
{
    if (schema->n_children < 0 || (schema->n_children > 0 && !schema->children))
        return od_fail(err, OD_INVALID, "Arrow schema: column %.200s has no list of children", name_of(schema));
    if (depth == OD_NESTING_MAX && schema->n_children > 0)
        return od_fail(err, OD_LIMIT, "Arrow schema: types are nested more than %u levels deep", OD_NESTING_MAX);
    if ((uint64_t)schema->n_children > OD_COLUMNS_MAX - *count)
        return od_fail(err, OD_LIMIT, "Arrow schema: more than %u columns and nested fields", OD_COLUMNS_MAX);
    *count += (size_t)schema->n_children;
    for (int64_t i = 0; i < schema->n_children; i++) {
        if (!schema->children[i] || !schema->children[i]->release)
            return od_fail(err, OD_INVALID, "Arrow schema: a child of column %.200s is missing", name_of(schema));
        od_code rc = count_fields(schema->children[i], depth + 1, count, err);
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

static od_code add_fields(const struct ArrowSchema *parent, struct od_ipc_layout *layout, struct od_error *err)
{
    od_code rc = OD_OK;
    for (int64_t i = 0; i < parent->n_children; i++) {
        const struct ArrowSchema *child = parent->children[i];
        struct od_ipc_field *field = &layout->fields[layout->field_count++];
        *field = (struct od_ipc_field){.child_count = (uint32_t)child->n_children};
        snprintf(field->name, sizeof field->name, "%s", name_of(child));
        OD_TRY(find_shape(child, field, err));
        layout->buffer_count += field->buffer_count;
        layout->has_union |= field->shape == OD_SHAPE_SPARSE_UNION || field->shape == OD_SHAPE_DENSE_UNION;
        OD_TRY(add_fields(child, layout, err));
    }
out:
    return rc;
}

od_code od_ipc_layout_init(const struct ArrowSchema *schema, struct od_ipc_layout *layout, struct od_error *err)
{
    od_code rc = OD_OK;
    size_t count = 0;
    *layout = (struct od_ipc_layout){0};
    if (!schema->release || !schema->format || strcmp(schema->format, "+s") != 0)
        return od_fail(err, OD_INVALID, "Arrow schema: the top level is not a struct");
    OD_TRY(count_fields(schema, 0, &count, err));
    layout->fields = od_calloc(count, sizeof *layout->fields);
    if (!layout->fields)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a schema of %zu fields", count));
    layout->column_count = (size_t)schema->n_children;
    OD_TRY(add_fields(schema, layout, err));
out:
    if (rc != OD_OK)
        od_ipc_layout_release(layout);
    return rc;
}

void od_ipc_layout_release(struct od_ipc_layout *layout)
{
    od_free(layout->fields);
    *layout = (struct od_ipc_layout){0};
}
