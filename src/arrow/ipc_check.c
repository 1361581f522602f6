// ipc_check.c - the gate for bytes from outside: what every schema and batch message must fulfil before use.
//
// The header is a flatbuffer (Arrow's Message.fbs and Schema.fbs). It is read with flat.h, so nothing here trusts an
// offset; no other code sees a header from outside (the verifier of flatcc, for one, takes exponential time to reject
// a deeply nested one). What is promised to the users of a checked message:
//   C1  The message is exactly one header and a body of the length the header says.
//   C2  Batch: 0 <= lengths <= INT32_MAX, -1 <= null counts <= lengths; every buffer lies inside the body and begins at
//       a multiple of 8; a compressed body says by which codec (ipc_compress.c checks the buffers as it expands them).
//   C3  Schema: every field has a type table of a supported type with known units (ipc_type.c); no dictionaries;
//       little-endian; at most OD_COLUMNS_MAX fields, OD_NESTING_MAX levels; keys and values of metadata are there.
//   C4  Visiting the schema costs time and memory in proportion to the message's size, although flatbuffers may share
//       parts: shared parts are counted each time they are visited.
#include "arrow/ipc_message.h"

#include "base/limits.h"

#include <inttypes.h>
#include <string.h>

enum { MESSAGE_VERSION = 0, MESSAGE_HEADER_TYPE = 1, MESSAGE_HEADER = 2, MESSAGE_BODY_LENGTH = 3 };
enum { HEADER_SCHEMA = 1, HEADER_DICTIONARY_BATCH = 2, HEADER_RECORD_BATCH = 3 };
enum { COMPRESSION_CODEC = 0, COMPRESSION_METHOD = 1 };
enum { BATCH_LENGTH = 0, BATCH_NODES = 1, BATCH_BUFFERS = 2, BATCH_COMPRESSION = 3, BATCH_VARIADIC = 4 };

#define SHARING_MAX 16u // how often, on average, a part of the header may be shared

static od_code corrupt_header(struct od_error *err)
{
    return od_fail(err, OD_CORRUPT, "Arrow message: the header is not a valid flatbuffer");
}

// ---- the envelope

static od_code open_message(const uint8_t *message, size_t bytes, uint8_t expected, struct od_flat_table *header,
                            struct od_ipc_message *out, struct od_error *err)
{
    if (bytes < OD_IPC_PREFIX_BYTES)
        return od_fail(err, OD_CORRUPT, "Arrow message of %zu bytes is too short", bytes);
    uint32_t continuation, header_bytes;
    memcpy(&continuation, message, 4);
    memcpy(&header_bytes, message + 4, 4);
    if (continuation != 0xFFFFFFFFu)
        return od_fail(err, OD_CORRUPT, "Arrow message does not begin with 0xFFFFFFFF");
    if (header_bytes == 0)
        return od_fail(err, OD_CORRUPT, "Arrow message: end of stream where a message was expected");
    if (header_bytes > INT32_MAX - OD_IPC_PREFIX_BYTES || header_bytes > bytes - OD_IPC_PREFIX_BYTES)
        return od_fail(err, OD_CORRUPT, "Arrow message: header of %" PRIu32 " bytes does not fit %zu bytes",
                       header_bytes, bytes);
    if (header_bytes % 8)
        return od_fail(err, OD_CORRUPT, "Arrow message: header of %" PRIu32 " bytes is not padded to 8", header_bytes);

    struct od_flat_table root;
    uint8_t type = 0;
    int64_t body_length = 0;
    out->metadata_version = 0;
    if (!od_flat_root((struct od_flat){message + OD_IPC_PREFIX_BYTES, header_bytes}, &root) ||
        !od_flat_scalar(&root, MESSAGE_VERSION, &out->metadata_version, sizeof out->metadata_version) ||
        !od_flat_scalar(&root, MESSAGE_HEADER_TYPE, &type, sizeof type) ||
        !od_flat_scalar(&root, MESSAGE_BODY_LENGTH, &body_length, sizeof body_length) ||
        !od_flat_table_field(&root, MESSAGE_HEADER, header))
        return corrupt_header(err);
    if (out->metadata_version != OD_IPC_METADATA_V4 && out->metadata_version != OD_IPC_METADATA_V5)
        return od_fail(err, OD_UNSUPPORTED, "Arrow message: metadata version %d is not supported (5 is)",
                       out->metadata_version + 1);
    if (type == HEADER_DICTIONARY_BATCH)
        return od_fail(err, OD_UNSUPPORTED, "Arrow message: dictionary batches are not supported; send plain values");
    if (type != expected)
        return od_fail(err, OD_CORRUPT, "Arrow message: expected a %s, got message type %u",
                       expected == HEADER_SCHEMA ? "schema" : "record batch", type);
    if (!header->present)
        return od_fail(err, OD_CORRUPT, "Arrow message has a header type but no header");
    out->body_offset = OD_IPC_PREFIX_BYTES + header_bytes;
    out->body_bytes = bytes - out->body_offset;
    if (body_length < 0 || (uint64_t)body_length != out->body_bytes)
        return od_fail(err, OD_CORRUPT, "Arrow message: body of %" PRId64 " bytes announced, %zu received", body_length,
                       out->body_bytes);
    return OD_OK;
}

// ---- batches

static od_code check_nodes(const struct od_flat_vector *nodes, struct od_error *err)
{
    for (uint32_t i = 0; i < nodes->count; i++) {
        struct od_ipc_node node;
        memcpy(&node, od_flat_struct_at(nodes, i), sizeof node);
        if (node.length < 0 || node.length > INT32_MAX)
            return od_fail(err, OD_CORRUPT, "Arrow batch: node %" PRIu32 " has length %" PRId64, i, node.length);
        if (node.null_count < -1 || node.null_count > node.length)
            return od_fail(err, OD_CORRUPT,
                           "Arrow batch: node %" PRIu32 " of length %" PRId64 " has null count %" PRId64, i,
                           node.length, node.null_count);
    }
    return OD_OK;
}

static od_code check_buffers(const struct od_flat_vector *buffers, size_t body_bytes, struct od_error *err)
{
    for (uint32_t i = 0; i < buffers->count; i++) {
        struct od_ipc_buffer buffer;
        memcpy(&buffer, od_flat_struct_at(buffers, i), sizeof buffer);
        if (buffer.offset < 0 || buffer.length < 0 || (uint64_t)buffer.offset > body_bytes ||
            (uint64_t)buffer.length > body_bytes - (uint64_t)buffer.offset)
            return od_fail(err, OD_CORRUPT,
                           "Arrow batch: buffer %" PRIu32 " at %" PRId64 " of %" PRId64
                           " bytes is outside the body of %zu bytes",
                           i, buffer.offset, buffer.length, body_bytes);
        if (buffer.length > 0 && buffer.offset % 8)
            return od_fail(err, OD_CORRUPT,
                           "Arrow batch: buffer %" PRIu32 " at %" PRId64 " does not begin at a multiple of 8", i,
                           buffer.offset);
    }
    return OD_OK;
}

static od_code check_compression(const struct od_flat_table *compression, enum od_ipc_codec *codec,
                                 struct od_error *err)
{
    int8_t number = 0, method = 0;
    *codec = OD_IPC_PLAIN;
    if (!compression->present)
        return OD_OK;
    if (!od_flat_scalar(compression, COMPRESSION_CODEC, &number, 1) ||
        !od_flat_scalar(compression, COMPRESSION_METHOD, &method, 1))
        return corrupt_header(err);
    if (method != 0 || number < 0 || number > 1)
        return od_fail(err, OD_UNSUPPORTED,
                       "Arrow batch: compression codec %d, method %d is not known; use lz4 or zstd", number, method);
    *codec = number == 0 ? OD_IPC_LZ4 : OD_IPC_ZSTD;
    return OD_OK;
}

od_code od_ipc_check_batch(const uint8_t *message, size_t bytes, struct od_ipc_message *out, struct od_error *err)
{
    struct od_flat_table header, compression;
    struct od_flat_vector variadic;
    od_code rc = open_message(message, bytes, HEADER_RECORD_BATCH, &header, out, err);
    if (rc != OD_OK)
        return rc;
    out->rows = 0;
    if (!od_flat_scalar(&header, BATCH_LENGTH, &out->rows, sizeof out->rows) ||
        !od_flat_vector_field(&header, BATCH_NODES, sizeof(struct od_ipc_node), &out->nodes) ||
        !od_flat_vector_field(&header, BATCH_BUFFERS, sizeof(struct od_ipc_buffer), &out->buffers) ||
        !od_flat_table_field(&header, BATCH_COMPRESSION, &compression) ||
        !od_flat_vector_field(&header, BATCH_VARIADIC, sizeof(int64_t), &variadic))
        return corrupt_header(err);
    rc = check_compression(&compression, &out->codec, err);
    if (rc != OD_OK)
        return rc;
    if (variadic.count > 0)
        return od_fail(err, OD_UNSUPPORTED, "Arrow batch: view types are not supported; send plain utf8 or binary");
    if (out->rows < 0 || out->rows > INT32_MAX)
        return od_fail(err, OD_CORRUPT, "Arrow batch: length %" PRId64, out->rows);
    if (out->nodes.count > OD_COLUMNS_MAX)
        return od_fail(err, OD_LIMIT, "Arrow batch: %" PRIu32 " columns and nested fields; %u are allowed",
                       out->nodes.count, OD_COLUMNS_MAX);
    rc = check_nodes(&out->nodes, err);
    return rc == OD_OK ? check_buffers(&out->buffers, out->body_bytes, err) : rc;
}

// ---- schemas

struct schema_check {
    uint32_t fields;
    uint64_t work_left; // C4
    struct od_error *err;
};

static od_code spend(struct schema_check *check, uint64_t work)
{
    if (work > check->work_left)
        return od_fail(check->err, OD_LIMIT, "Arrow schema: parts of the header are shared too often");
    check->work_left -= work;
    return OD_OK;
}

static od_code check_metadata(struct schema_check *check, const struct od_flat_table *table, unsigned field)
{
    struct od_flat_vector pairs;
    if (!od_flat_vector_field(table, field, 4, &pairs))
        return corrupt_header(check->err);
    for (uint32_t i = 0; i < pairs.count; i++) {
        struct od_flat_table pair;
        struct od_flat_string key, value;
        if (!od_flat_table_at(&pairs, i, &pair) || !od_flat_string_field(&pair, OD_KEY_VALUE_KEY, &key) ||
            !od_flat_string_field(&pair, OD_KEY_VALUE_VALUE, &value))
            return corrupt_header(check->err);
        if (!key.present || !value.present)
            return od_fail(check->err, OD_CORRUPT, "Arrow schema: metadata entry without a %s",
                           key.present ? "value" : "key");
        od_code rc = spend(check, (uint64_t)key.bytes + value.bytes + 16);
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

static od_code check_fields(struct schema_check *check, const struct od_flat_table *parent, unsigned field,
                            unsigned depth)
{
    od_code rc = OD_OK;
    struct od_flat_vector fields;
    if (!od_flat_vector_field(parent, field, 4, &fields))
        return corrupt_header(check->err);
    if (depth == OD_NESTING_MAX && fields.count > 0)
        return od_fail(check->err, OD_LIMIT, "Arrow schema: types are nested more than %u levels deep", OD_NESTING_MAX);
    for (uint32_t i = 0; i < fields.count; i++) {
        struct od_flat_table child, dictionary;
        struct od_flat_string name;
        char format[OD_IPC_FORMAT_BYTES];
        uint8_t nullable;
        bool flag;
        if (++check->fields > OD_COLUMNS_MAX)
            return od_fail(check->err, OD_LIMIT, "Arrow schema: more than %u columns and nested fields",
                           OD_COLUMNS_MAX);
        if (!od_flat_table_at(&fields, i, &child) || !od_flat_string_field(&child, OD_FIELD_NAME, &name) ||
            !od_flat_table_field(&child, OD_FIELD_DICTIONARY, &dictionary))
            return corrupt_header(check->err);
        const char *text = name.present ? name.text : "";
        OD_TRY(spend(check, (uint64_t)name.bytes + 16));
        if (dictionary.present)
            return od_fail(
                check->err, OD_UNSUPPORTED,
                "Arrow schema: column %.200s is dictionary-encoded, which is not supported; send plain values", text);
        OD_TRY(od_ipc_type_format(&child, text, format, &flag, check->err));
        if (!od_flat_scalar(&child, OD_FIELD_NULLABLE, &nullable, sizeof nullable))
            return corrupt_header(check->err);
        OD_TRY(check_metadata(check, &child, OD_FIELD_METADATA));
        OD_TRY(check_fields(check, &child, OD_FIELD_CHILDREN, depth + 1));
    }
out:
    return rc;
}

od_code od_ipc_check_schema(const uint8_t *message, size_t bytes, struct od_flat_table *schema, struct od_error *err)
{
    struct od_ipc_message envelope = {0};
    od_code rc = open_message(message, bytes, HEADER_SCHEMA, schema, &envelope, err);
    if (rc != OD_OK)
        return rc;
    int16_t endianness = 0;
    if (!od_flat_scalar(schema, OD_SCHEMA_ENDIANNESS, &endianness, sizeof endianness))
        return corrupt_header(err);
    if (endianness != 0)
        return od_fail(err, OD_UNSUPPORTED, "Arrow schema: only little-endian data is supported");
    if (envelope.body_bytes > 0)
        return od_fail(err, OD_CORRUPT, "Arrow schema: message has a body of %zu bytes", envelope.body_bytes);
    struct schema_check check = {.work_left = (uint64_t)SHARING_MAX * bytes, .err = err};
    OD_TRY(check_metadata(&check, schema, OD_SCHEMA_METADATA));
    OD_TRY(check_fields(&check, schema, OD_SCHEMA_FIELDS, 0));
out:
    return rc;
}

od_code od_ipc_check(const uint8_t *message, size_t bytes, enum od_ipc_kind expected, size_t *body_offset,
                     uint64_t *rows, struct od_error *err)
{
    struct od_ipc_message batch = {.body_offset = bytes};
    struct od_flat_table schema;
    od_code rc = expected == OD_IPC_SCHEMA ? od_ipc_check_schema(message, bytes, &schema, err)
                                           : od_ipc_check_batch(message, bytes, &batch, err);
    if (rc != OD_OK)
        return rc;
    if (body_offset)
        *body_offset = batch.body_offset;
    if (rows)
        *rows = (uint64_t)batch.rows;
    return OD_OK;
}
