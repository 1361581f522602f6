// ipc_schema.c - schemas to messages (nanoarrow's encoder) and back (the checked flatbuffer, read field by field).
#include "arrow/ipc_layout.h"
#include "arrow/ipc_message.h"

#include "base/alloc.h"

#include <errno.h>
#include <nanoarrow/nanoarrow_ipc.h>
#include <string.h>

const uint8_t od_ipc_end_of_stream[8] = {0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0};

static od_code fail_nanoarrow(int status, od_code otherwise, const char *what, const struct ArrowError *reason,
                              struct od_error *err)
{
    if (status == ENOMEM)
        return od_fail(err, OD_NO_MEMORY, "out of memory for an Arrow schema");
    return od_fail(err, status == ENOTSUP ? OD_UNSUPPORTED : otherwise, "%s: %s", what, reason->message);
}

static od_code recode(struct od_error *err, od_code code)
{
    if (err)
        err->code = code;
    return code;
}

// ---- encoding

// Arrow lets a name be absent; nanoarrow's encoder does not.
static bool all_named(const struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++)
        if (!schema->children[i]->name || !all_named(schema->children[i]))
            return false;
    return true;
}

static int name_all(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        int status = schema->children[i]->name ? NANOARROW_OK : ArrowSchemaSetName(schema->children[i], "");
        if (status == NANOARROW_OK)
            status = name_all(schema->children[i]);
        if (status != NANOARROW_OK)
            return status;
    }
    return NANOARROW_OK;
}

static int encode(const struct ArrowSchema *schema, struct ArrowBuffer *message, struct ArrowError *reason)
{
    struct ArrowIpcEncoder encoder;
    int status = ArrowIpcEncoderInit(&encoder);
    if (status != NANOARROW_OK)
        return status;
    status = ArrowIpcEncoderEncodeSchema(&encoder, schema, reason);
    if (status == NANOARROW_OK)
        status = ArrowIpcEncoderFinalizeBuffer(&encoder, 1, message);
    ArrowIpcEncoderReset(&encoder);
    return status;
}

od_code od_ipc_encode_schema(const struct ArrowSchema *schema, struct od_buf *out, struct od_error *err)
{
    od_code rc = OD_OK;
    struct ArrowError reason = {0};
    struct ArrowBuffer message;
    ArrowBufferInit(&message);
    struct ArrowSchema named = {.release = NULL};
    struct od_ipc_layout layout;
    OD_TRY(od_ipc_layout_init(schema, &layout, err));
    od_ipc_layout_release(&layout);
    int status = od_fault_point() ? ENOMEM : NANOARROW_OK;
    if (status == NANOARROW_OK && !all_named(schema)) {
        status = ArrowSchemaDeepCopy(schema, &named);
        if (status == NANOARROW_OK)
            status = name_all(&named);
        schema = &named;
    }
    if (status == NANOARROW_OK)
        status = encode(schema, &message, &reason);
    if (status != NANOARROW_OK)
        OD_TRY(fail_nanoarrow(status, OD_INVALID, "cannot encode the Arrow schema", &reason, err));
    OD_TRY(od_buf_append(out, message.data, (size_t)message.size_bytes, err));
out:
    if (named.release)
        named.release(&named);
    ArrowBufferReset(&message);
    return rc;
}

// ---- decoding: the checked flatbuffer, field by field

static int set_metadata(struct ArrowSchema *schema, const struct od_flat_table *table, unsigned field)
{
    struct od_flat_vector pairs;
    if (!od_flat_vector_field(table, field, 4, &pairs) || pairs.count == 0)
        return NANOARROW_OK;
    struct ArrowBuffer metadata;
    int status = ArrowMetadataBuilderInit(&metadata, NULL);
    for (uint32_t i = 0; status == NANOARROW_OK && i < pairs.count; i++) {
        struct od_flat_table pair;
        struct od_flat_string key, value;
        if (!od_flat_table_at(&pairs, i, &pair) || !od_flat_string_field(&pair, OD_KEY_VALUE_KEY, &key) ||
            !od_flat_string_field(&pair, OD_KEY_VALUE_VALUE, &value))
            status = EINVAL;
        else
            status = ArrowMetadataBuilderAppend(&metadata, (struct ArrowStringView){key.text, key.bytes},
                                                (struct ArrowStringView){value.text, value.bytes});
    }
    if (status == NANOARROW_OK)
        status = ArrowSchemaSetMetadata(schema, (const char *)metadata.data);
    ArrowBufferReset(&metadata);
    return status;
}

static int set_children(struct ArrowSchema *schema, const struct od_flat_table *parent, unsigned field);

static int set_field(struct ArrowSchema *schema, const struct od_flat_table *field)
{
    struct od_flat_string name;
    char format[OD_IPC_FORMAT_BYTES];
    uint8_t nullable = 0;
    bool keys_sorted = false;
    if (!od_flat_string_field(field, OD_FIELD_NAME, &name) ||
        !od_flat_scalar(field, OD_FIELD_NULLABLE, &nullable, sizeof nullable) ||
        od_ipc_type_format(field, "", format, &keys_sorted, NULL) != OD_OK)
        return EINVAL;
    int status = ArrowSchemaSetName(schema, name.present ? name.text : "");
    if (status == NANOARROW_OK)
        status = ArrowSchemaSetFormat(schema, format);
    schema->flags = (nullable ? ARROW_FLAG_NULLABLE : 0) | (keys_sorted ? ARROW_FLAG_MAP_KEYS_SORTED : 0);
    if (status == NANOARROW_OK)
        status = set_children(schema, field, OD_FIELD_CHILDREN);
    return status == NANOARROW_OK ? set_metadata(schema, field, OD_FIELD_METADATA) : status;
}

static int set_children(struct ArrowSchema *schema, const struct od_flat_table *parent, unsigned field)
{
    struct od_flat_vector fields;
    if (!od_flat_vector_field(parent, field, 4, &fields))
        return EINVAL;
    int status = ArrowSchemaAllocateChildren(schema, fields.count);
    for (uint32_t i = 0; status == NANOARROW_OK && i < fields.count; i++)
        ArrowSchemaInit(schema->children[i]);
    for (uint32_t i = 0; status == NANOARROW_OK && i < fields.count; i++) {
        struct od_flat_table child;
        status = od_flat_table_at(&fields, i, &child) ? set_field(schema->children[i], &child) : EINVAL;
    }
    return status;
}

od_code od_ipc_decode_schema(const uint8_t *message, size_t bytes, struct ArrowSchema *schema, struct od_error *err)
{
    od_code rc = OD_OK;
    struct ArrowSchema decoded = {.release = NULL};
    struct od_ipc_layout layout;
    struct od_flat_table header;
    OD_TRY(od_ipc_check_schema(message, bytes, &header, err));
    ArrowSchemaInit(&decoded);
    int status = od_fault_point() ? ENOMEM : ArrowSchemaSetFormat(&decoded, "+s");
    if (status == NANOARROW_OK)
        status = set_children(&decoded, &header, OD_SCHEMA_FIELDS);
    if (status == NANOARROW_OK)
        status = set_metadata(&decoded, &header, OD_SCHEMA_METADATA);
    if (status != NANOARROW_OK)
        OD_TRY(fail_nanoarrow(status, OD_CORRUPT, "cannot decode the Arrow schema", &(struct ArrowError){0}, err));
    rc = od_ipc_layout_init(&decoded, &layout, err);
    if (rc == OD_INVALID) // what a caller's schema may not be, a peer's bytes may not be either
        rc = recode(err, OD_CORRUPT);
    if (rc != OD_OK)
        goto out;
    od_ipc_layout_release(&layout);
    *schema = decoded;
    decoded.release = NULL;
out:
    if (decoded.release)
        decoded.release(&decoded);
    return rc;
}
