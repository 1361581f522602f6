// ipc_compress.c - bodies of batches compressed and expanded, buffer by buffer: Arrow's BodyCompression, method BUFFER.
//
// A compressed buffer is an int64 with its plain length and then one LZ4 frame or zstd frame; -1 says that the plain bytes
// follow. An empty buffer stays empty.
//
//   P1  Expanding allocates what the plain lengths add up to, and refuses a sum above OD_MESSAGE_BYTES_MAX first: a
//       sender's claim costs no more memory than a plain message could.
//   P2  A buffer expands to exactly its plain length, or the batch is OD_CORRUPT.
#include "arrow/ipc_message.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"

#include <inttypes.h>
#include <lz4frame.h>
#include <string.h>
#include <zstd.h>

#define PLAIN_LENGTH_BYTES 8u
#define SMALL_BYTES 128u // not worth a frame
#define ZSTD_LEVEL 1     // the wire is what has to be beaten, not the disk

static size_t padded(size_t bytes)
{
    return (bytes + 63) & ~(size_t)63;
}

static struct od_ipc_buffer buffer_at(const struct od_ipc_message *message, uint32_t i)
{
    struct od_ipc_buffer buffer;
    memcpy(&buffer, od_flat_struct_at(&message->buffers, i), sizeof buffer);
    return buffer;
}

static struct od_ipc_node *copy_nodes(const struct od_ipc_message *message)
{
    struct od_ipc_node *nodes = od_calloc(message->nodes.count + 1u, sizeof *nodes);
    for (uint32_t i = 0; nodes && i < message->nodes.count; i++)
        memcpy(&nodes[i], od_flat_struct_at(&message->nodes, i), sizeof *nodes);
    return nodes;
}

// ---- compressing

static size_t frame_bound(enum od_ipc_codec codec, size_t bytes)
{
    return codec == OD_IPC_LZ4 ? LZ4F_compressFrameBound(bytes, NULL) : ZSTD_compressBound(bytes);
}

// Bytes of the frame; 0: it did not become smaller, or there was no memory for it.
static size_t put_frame(enum od_ipc_codec codec, uint8_t *out, size_t room, const uint8_t *data, size_t bytes)
{
    size_t used;
    if (codec == OD_IPC_LZ4) {
        used = LZ4F_compressFrame(out, room, data, bytes, NULL);
        if (LZ4F_isError(used))
            return 0;
    } else {
        used = ZSTD_compress(out, room, data, bytes, ZSTD_LEVEL);
        if (ZSTD_isError(used))
            return 0;
    }
    return used < bytes ? used : 0;
}

static size_t put_compressed(enum od_ipc_codec codec, uint8_t *out, size_t room, const uint8_t *data, size_t bytes)
{
    int64_t plain = (int64_t)bytes;
    size_t used =
        bytes < SMALL_BYTES ? 0 : put_frame(codec, out + PLAIN_LENGTH_BYTES, room - PLAIN_LENGTH_BYTES, data, bytes);
    if (!used) {
        plain = -1;
        memcpy(out + PLAIN_LENGTH_BYTES, data, bytes);
        used = bytes;
    }
    memcpy(out, &plain, sizeof plain);
    return PLAIN_LENGTH_BYTES + used;
}

// The message in one piece of memory (od_free).
static uint8_t *in_one_piece(const struct od_batch *batch)
{
    uint8_t *whole = od_aligned_alloc(64, padded(batch->bytes)), *at = whole;
    for (size_t i = 0; whole && i < batch->segment_count; i++) {
        memcpy(at, batch->segments[i].data, batch->segments[i].bytes);
        at += batch->segments[i].bytes;
    }
    return whole;
}

static od_code compress_body(const uint8_t *body, const struct od_ipc_message *message, enum od_ipc_codec codec,
                             struct od_ipc_buffer *buffers, struct od_buf *out, struct od_error *err)
{
    size_t start = out->bytes;
    for (uint32_t i = 0; i < message->buffers.count; i++) {
        struct od_ipc_buffer plain = buffer_at(message, i);
        size_t at = out->bytes - start, bytes = (size_t)plain.length;
        buffers[i] = (struct od_ipc_buffer){.offset = (int64_t)at};
        if (!bytes)
            continue;
        size_t room = PLAIN_LENGTH_BYTES + (bytes > frame_bound(codec, bytes) ? bytes : frame_bound(codec, bytes));
        od_code rc = od_buf_reserve(out, padded(room), err);
        if (rc != OD_OK)
            return rc;
        uint8_t *place = out->data + out->bytes;
        size_t used = put_compressed(codec, place, room, body + plain.offset, bytes);
        memset(place + used, 0, padded(used) - used);
        out->bytes += padded(used);
        buffers[i].length = (int64_t)used;
    }
    return OD_OK;
}

od_code od_ipc_compress_batch(struct od_batch *batch, enum od_ipc_codec codec, struct od_batch **out,
                              struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_ipc_message message = {0};
    struct od_ipc_node *nodes = NULL;
    struct od_ipc_buffer *buffers = NULL;
    struct od_message_buffer packed = {0};
    struct od_buf header, body;
    od_buf_init(&header, OD_MESSAGE_BYTES_MAX);
    od_buf_init(&body, 2 * OD_MESSAGE_BYTES_MAX); // frames may be a little larger than what they hold
    *out = NULL;
    uint8_t *whole = codec == OD_IPC_PLAIN ? NULL : in_one_piece(batch);
    if (codec == OD_IPC_PLAIN)
        goto out;
    if (!whole)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory to compress a batch of %zu bytes", batch->bytes));
    OD_TRY(od_ipc_check_batch(whole, batch->bytes, &message, err));
    od_assert(message.codec == OD_IPC_PLAIN);
    nodes = copy_nodes(&message);
    buffers = od_calloc(message.buffers.count + 1u, sizeof *buffers);
    if (!nodes || !buffers)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory to compress a batch of %zu bytes", batch->bytes));
    OD_TRY(compress_body(whole + message.body_offset, &message, codec, buffers, &body, err));
    OD_TRY(od_ipc_batch_header_with(codec, message.rows, nodes, message.nodes.count, buffers, message.buffers.count,
                                    (int64_t)body.bytes, &header, err));
    if (header.bytes + body.bytes > batch->bytes - batch->bytes / 8)
        goto out;
    OD_TRY(od_message_buffer_get(header.bytes + body.bytes, header.bytes, &packed, err));
    memcpy(packed.data, header.data, header.bytes);
    if (body.bytes)
        memcpy(packed.data + header.bytes, body.data, body.bytes);
    *out = od_batch_from_buffer(&packed, batch->rows);
    if (!*out)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a compressed batch"));
out:
    if (rc == OD_OK && !*out)
        *out = od_batch_ref(batch);
    od_message_buffer_put(&packed);
    od_free(whole);
    od_free(nodes);
    od_free(buffers);
    od_buf_release(&header);
    od_buf_release(&body);
    return rc;
}

// ---- expanding

// The plain length of a buffer; *stored: its bytes follow as they are.
static od_code plain_length(const uint8_t *data, const struct od_ipc_buffer *buffer, uint32_t i, uint64_t *bytes,
                            bool *stored, struct od_error *err)
{
    int64_t plain;
    *stored = true;
    *bytes = 0;
    if (buffer->length == 0)
        return OD_OK;
    if (buffer->length < (int64_t)PLAIN_LENGTH_BYTES)
        return od_fail(err, OD_CORRUPT, "Arrow batch: compressed buffer %" PRIu32 " has only %" PRId64 " bytes", i,
                       buffer->length);
    memcpy(&plain, data, sizeof plain);
    if (plain < -1)
        return od_fail(err, OD_CORRUPT, "Arrow batch: compressed buffer %" PRIu32 " says it has %" PRId64 " bytes", i,
                       plain);
    *stored = plain == -1;
    *bytes = *stored ? (uint64_t)buffer->length - PLAIN_LENGTH_BYTES : (uint64_t)plain;
    return OD_OK;
}

static bool expand_lz4(uint8_t *out, size_t out_bytes, const uint8_t *data, size_t bytes)
{
    LZ4F_dctx *context = NULL;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&context, LZ4F_VERSION)))
        return false;
    size_t done = 0, taken = 0, hint = 1;
    while (hint && !LZ4F_isError(hint)) {
        size_t room = out_bytes - done, left = bytes - taken;
        hint = LZ4F_decompress(context, out + done, &room, data + taken, &left, NULL);
        done += room;
        taken += left;
        if (!room && !left)
            break; // no progress: cut short, or more than was said
    }
    LZ4F_freeDecompressionContext(context);
    return hint == 0 && done == out_bytes && taken == bytes;
}

static bool expand_frame(enum od_ipc_codec codec, uint8_t *out, size_t out_bytes, const uint8_t *data, size_t bytes)
{
    return codec == OD_IPC_LZ4 ? expand_lz4(out, out_bytes, data, bytes)
                               : ZSTD_decompress(out, out_bytes, data, bytes) == out_bytes;
}

// Lays out the plain body. P1.
static od_code plan_body(const uint8_t *body, const struct od_ipc_message *message, struct od_ipc_buffer *buffers,
                         size_t *body_bytes, struct od_error *err)
{
    uint64_t total = 0;
    for (uint32_t i = 0; i < message->buffers.count; i++) {
        struct od_ipc_buffer buffer = buffer_at(message, i);
        uint64_t bytes;
        bool stored;
        od_code rc = plain_length(body + buffer.offset, &buffer, i, &bytes, &stored, err);
        if (rc != OD_OK)
            return rc;
        if (bytes > OD_MESSAGE_BYTES_MAX || total + bytes > OD_MESSAGE_BYTES_MAX)
            return od_fail(err, OD_LIMIT, "Arrow batch: expands to more than %llu bytes", OD_MESSAGE_BYTES_MAX);
        buffers[i] = (struct od_ipc_buffer){.offset = (int64_t)total, .length = (int64_t)bytes};
        total = padded(total + bytes);
    }
    *body_bytes = (size_t)total;
    return OD_OK;
}

static od_code expand_body(const uint8_t *body, const struct od_ipc_message *message,
                           const struct od_ipc_buffer *buffers, uint8_t *out, struct od_error *err)
{
    for (uint32_t i = 0; i < message->buffers.count; i++) {
        struct od_ipc_buffer packed = buffer_at(message, i);
        uint64_t bytes;
        bool stored;
        const uint8_t *data = body + packed.offset + PLAIN_LENGTH_BYTES;
        od_code rc = plain_length(body + packed.offset, &packed, i, &bytes, &stored, err);
        if (rc != OD_OK)
            return rc;
        if (packed.length == 0)
            continue;
        uint8_t *place = out + buffers[i].offset;
        if (stored)
            memcpy(place, data, bytes);
        else if (!expand_frame(message->codec, place, bytes, data, (size_t)packed.length - PLAIN_LENGTH_BYTES))
            return od_fail(err, OD_CORRUPT, "Arrow batch: buffer %" PRIu32 " does not expand to %" PRIu64 " bytes", i,
                           bytes); // P2
        memset(place + bytes, 0, padded(bytes) - bytes);
    }
    return OD_OK;
}

od_code od_ipc_expand_batch(const struct od_batch *batch, const struct od_ipc_message *message, struct od_batch **out,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    const uint8_t *body = batch->segments[0].data + message->body_offset;
    struct od_ipc_node *nodes = copy_nodes(message);
    struct od_ipc_buffer *buffers = od_calloc(message->buffers.count + 1u, sizeof *buffers);
    struct od_message_buffer plain = {0};
    size_t body_bytes = 0;
    struct od_buf header;
    od_buf_init(&header, OD_MESSAGE_BYTES_MAX);
    if (!nodes || !buffers)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory to expand a batch"));
    OD_TRY(plan_body(body, message, buffers, &body_bytes, err));
    OD_TRY(od_ipc_batch_header_with(OD_IPC_PLAIN, message->rows, nodes, message->nodes.count, buffers,
                                    message->buffers.count, (int64_t)body_bytes, &header, err));
    OD_TRY(od_message_buffer_get(header.bytes + body_bytes, header.bytes, &plain, err));
    memcpy(plain.data, header.data, header.bytes);
    OD_TRY(expand_body(body, message, buffers, plain.data + header.bytes, err));
    *out = od_batch_from_buffer(&plain, batch->rows);
    if (!*out)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for an expanded batch"));
out:
    od_message_buffer_put(&plain);
    od_free(nodes);
    od_free(buffers);
    od_buf_release(&header);
    return rc;
}
