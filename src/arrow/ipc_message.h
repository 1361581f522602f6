// ipc_message.h - private to src/arrow: what the checks find in a message, for the decoders.
#ifndef OD_ARROW_IPC_MESSAGE_H
#define OD_ARROW_IPC_MESSAGE_H

#include "arrow/flat.h"
#include "arrow/ipc.h"

#define OD_IPC_PREFIX_BYTES 8u // 0xFFFFFFFF and the int32 length
#define OD_IPC_METADATA_V4 3
#define OD_IPC_METADATA_V5 4

// A batch message that passed every check that needs no schema. Points into the message.
struct od_ipc_message {
    size_t body_offset;
    size_t body_bytes;
    int16_t metadata_version;
    int64_t rows;
    enum od_ipc_codec codec;       // of each buffer of the body
    struct od_flat_vector nodes;   // struct od_ipc_node each
    struct od_flat_vector buffers; // struct od_ipc_buffer each
};

od_code od_ipc_check_batch(const uint8_t *message, size_t bytes, struct od_ipc_message *out, struct od_error *err);

// The plain form of a compressed batch of one segment that passed the check, in one segment with an aligned body; at most
// OD_MESSAGE_BYTES_MAX bytes, whatever the sender claims.
od_code od_ipc_expand_batch(const struct od_batch *batch, const struct od_ipc_message *message, struct od_batch **out,
                            struct od_error *err);

// od_ipc_batch_header for a body whose buffers are compressed by codec.
od_code od_ipc_batch_header_with(enum od_ipc_codec codec, int64_t rows, const struct od_ipc_node *nodes,
                                 size_t node_count, const struct od_ipc_buffer *buffers, size_t buffer_count,
                                 int64_t body_bytes, struct od_buf *out, struct od_error *err);

// Field numbers of Arrow's Schema.fbs.
enum { OD_SCHEMA_ENDIANNESS = 0, OD_SCHEMA_FIELDS = 1, OD_SCHEMA_METADATA = 2 };
enum {
    OD_FIELD_NAME = 0,
    OD_FIELD_NULLABLE = 1,
    OD_FIELD_TYPE_TYPE = 2,
    OD_FIELD_TYPE = 3,
    OD_FIELD_DICTIONARY = 4,
    OD_FIELD_CHILDREN = 5,
    OD_FIELD_METADATA = 6
};
enum { OD_KEY_VALUE_KEY = 0, OD_KEY_VALUE_VALUE = 1 };

// Checks a whole schema message; *schema is its Schema table, of which every part may then be read without failing.
od_code od_ipc_check_schema(const uint8_t *message, size_t bytes, struct od_flat_table *schema, struct od_error *err);

// The type of a Field as the format text of Arrow's C data interface ("tsu:UTC"), plus the one property that is a flag
// there. Everything about the type is checked on the way. `name` is for messages.
#define OD_IPC_FORMAT_BYTES 1024u
od_code od_ipc_type_format(const struct od_flat_table *field, const char *name, char format[OD_IPC_FORMAT_BYTES],
                           bool *keys_sorted, struct od_error *err);

#endif
