// ipc_header.c - the header of a record batch message, written by hand: its flatbuffer has one shape, so only counts
// and numbers differ. (A general flatbuffer builder costs more than encoding a small batch.)
//
// The flatbuffer, by distance from its start (the message's byte 8). References point forward, vtables lie before
// their tables, and 8-byte values lie at multiples of 8:
//     0  uint32 place of the Message table
//     4  vtable of Message, 12 bytes                16  Message, 20 bytes
//    36  vtable of RecordBatch, 10 bytes            48  RecordBatch, 20 bytes
//    68  uint32 node count                          72  nodes, 16 bytes each
//     .  4 bytes of padding, uint32 buffer count     .  buffers, 16 bytes each; then padding
// A compressed batch has one more field in its RecordBatch, so nodes come 8 bytes later, and after the buffers
//     .  vtable of BodyCompression, 8 bytes          .  BodyCompression, 8 bytes
#include "arrow/ipc_message.h"

#include <string.h>

enum { MESSAGE_VTABLE = 4, MESSAGE_TABLE = 16, BATCH_VTABLE = 36, BATCH_TABLE = 48, NODE_COUNT = 68 };
enum { COMPRESSED_NODE_COUNT = 76, BODY_COMPRESSION_BYTES = 16 };

_Static_assert(sizeof(struct od_ipc_node) == 16 && sizeof(struct od_ipc_buffer) == 16, "Arrow's structs of two int64");

static void put16(uint8_t *at, uint16_t value)
{
    memcpy(at, &value, sizeof value);
}

static void put32(uint8_t *at, uint32_t value)
{
    memcpy(at, &value, sizeof value);
}

static void put64(uint8_t *at, int64_t value)
{
    memcpy(at, &value, sizeof value);
}

static void put_vtable(uint8_t *at, const uint16_t *values, size_t count)
{
    for (size_t i = 0; i < count; i++)
        put16(at + 2 * i, values[i]);
}

static void put_body_compression(uint8_t *at, enum od_ipc_codec codec)
{
    static const uint16_t vtable[] = {8, 8, 4, 5}; // codec, method
    put_vtable(at, vtable, 4);
    put32(at + 8, 8);
    at[12] = codec == OD_IPC_ZSTD; // Arrow: LZ4_FRAME 0, ZSTD 1
    at[13] = 0;                    // BUFFER: each buffer by itself
}

od_code od_ipc_batch_header(int64_t rows, const struct od_ipc_node *nodes, size_t node_count,
                            const struct od_ipc_buffer *buffers, size_t buffer_count, int64_t body_bytes,
                            struct od_buf *out, struct od_error *err)
{
    return od_ipc_batch_header_with(OD_IPC_PLAIN, rows, nodes, node_count, buffers, buffer_count, body_bytes, out, err);
}

od_code od_ipc_batch_header_with(enum od_ipc_codec codec, int64_t rows, const struct od_ipc_node *nodes,
                                 size_t node_count, const struct od_ipc_buffer *buffers, size_t buffer_count,
                                 int64_t body_bytes, struct od_buf *out, struct od_error *err)
{
    // vtable size, table size, then the place of each field in the table (0: absent)
    static const uint16_t message_vtable[] = {12, 20, 16, 18, 4, 8};    // version, header type, header, bodyLength
    static const uint16_t batch_vtable[] = {10, 20, 8, 4, 16};          // length, nodes, buffers
    static const uint16_t compressed_vtable[] = {12, 24, 8, 4, 16, 20}; // and compression
    bool plain = codec == OD_IPC_PLAIN;
    const size_t count_max = (size_t)1 << 24;
    if (node_count > count_max || buffer_count > count_max)
        return od_fail(err, OD_LIMIT, "Arrow batch: %zu fields with %zu buffers are too many for one header",
                       node_count, buffer_count);
    size_t node_count_at = plain ? NODE_COUNT : COMPRESSED_NODE_COUNT;
    size_t buffer_count_at = node_count_at + 4 + 16 * node_count + 4;
    size_t compression_at = buffer_count_at + 4 + 16 * buffer_count;
    size_t used = OD_IPC_PREFIX_BYTES + compression_at + (plain ? 0 : BODY_COMPRESSION_BYTES);
    size_t header_bytes = (used + 63) & ~(size_t)63;
    od_code rc = od_buf_reserve(out, header_bytes, err);
    if (rc != OD_OK)
        return rc;
    uint8_t *prefix = out->data + out->bytes;
    memset(prefix, 0, header_bytes);
    put32(prefix, 0xFFFFFFFFu);
    put32(prefix + 4, (uint32_t)(header_bytes - OD_IPC_PREFIX_BYTES));

    uint8_t *flat = prefix + OD_IPC_PREFIX_BYTES;
    put32(flat, MESSAGE_TABLE);
    put_vtable(flat + MESSAGE_VTABLE, message_vtable, 6);
    put32(flat + MESSAGE_TABLE, MESSAGE_TABLE - MESSAGE_VTABLE);
    put32(flat + MESSAGE_TABLE + 4, BATCH_TABLE - (MESSAGE_TABLE + 4));
    put64(flat + MESSAGE_TABLE + 8, body_bytes);
    put16(flat + MESSAGE_TABLE + 16, OD_IPC_METADATA_V5);
    flat[MESSAGE_TABLE + 18] = 3; // RecordBatch

    put_vtable(flat + BATCH_VTABLE, plain ? batch_vtable : compressed_vtable, plain ? 5 : 6);
    put32(flat + BATCH_TABLE, BATCH_TABLE - BATCH_VTABLE);
    put32(flat + BATCH_TABLE + 4, (uint32_t)(node_count_at - (BATCH_TABLE + 4)));
    put64(flat + BATCH_TABLE + 8, rows);
    put32(flat + BATCH_TABLE + 16, (uint32_t)(buffer_count_at - (BATCH_TABLE + 16)));
    if (!plain) {
        put32(flat + BATCH_TABLE + 20, (uint32_t)(compression_at + 8 - (BATCH_TABLE + 20)));
        put_body_compression(flat + compression_at, codec);
    }

    put32(flat + node_count_at, (uint32_t)node_count);
    if (node_count)
        memcpy(flat + node_count_at + 4, nodes, 16 * node_count);
    put32(flat + buffer_count_at, (uint32_t)buffer_count);
    if (buffer_count)
        memcpy(flat + buffer_count_at + 4, buffers, 16 * buffer_count);
    out->bytes += header_bytes;
    return OD_OK;
}
