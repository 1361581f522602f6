// message.c - packing and unpacking of wire messages; see message.h.
//
// protobuf rules kept by the hand-written part: unknown fields and known numbers with another wire type are skipped;
// the last member of a oneof wins; a repeated embedded message is merged field by field. One exception: a second
// `open` of an UploadRequest replaces the first instead of being merged with it.
#include "rpc/message.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "rpc/wire.h"

#include <string.h>

od_code od_message_pack(const ProtobufCMessage *message, struct od_segment *out, struct od_error *err)
{
    size_t bytes = protobuf_c_message_get_packed_size(message);
    if (bytes > OD_MESSAGE_BYTES_MAX)
        return od_fail(err, OD_LIMIT, "a %s of %zu bytes is larger than the largest message (%llu bytes)",
                       message->descriptor->name, bytes, OD_MESSAGE_BYTES_MAX);
    uint8_t *data = od_alloc(bytes);
    if (!data)
        return od_fail(err, OD_NO_MEMORY, "no memory for a %s of %zu bytes", message->descriptor->name, bytes);
    protobuf_c_message_pack(message, data);
    *out = (struct od_segment){data, bytes};
    return OD_OK;
}

// Small fields make large structs: two bytes of an empty repeated message cost a hundred in memory. The allowance is
// generous for honest messages and keeps hostile ones proportional to what was sent.
#define UNPACK_BYTES_PER_BYTE 32u
#define UNPACK_BYTES_FREE (64u * 1024u)

struct allowance {
    size_t left;
    bool no_memory;
};

static void *allowance_alloc(void *data, size_t bytes)
{
    struct allowance *allowance = data;
    if (bytes > allowance->left)
        return NULL;
    void *memory = od_alloc(bytes);
    if (memory)
        allowance->left -= bytes;
    else
        allowance->no_memory = true;
    return memory;
}

static void allowance_free(void *data, void *memory)
{
    (void)data;
    od_free(memory);
}

od_code od_message_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t bytes,
                          ProtobufCMessage **out, struct od_error *err)
{
    static const uint8_t nothing[1];
    if (bytes > OD_MESSAGE_BYTES_MAX)
        return od_fail(err, OD_LIMIT, "a %s of %zu bytes is larger than the largest message (%llu bytes)", type->name,
                       bytes, OD_MESSAGE_BYTES_MAX);
    struct allowance allowance = {.left = bytes * UNPACK_BYTES_PER_BYTE + UNPACK_BYTES_FREE};
    ProtobufCAllocator allocator = {allowance_alloc, allowance_free, &allowance};
    *out = protobuf_c_message_unpack(type, &allocator, bytes, bytes ? data : nothing);
    if (*out)
        return OD_OK;
    if (allowance.no_memory)
        return od_fail(err, OD_NO_MEMORY, "no memory to read a %s of %zu bytes", type->name, bytes);
    return od_fail(err, OD_INVALID, "%zu bytes are not a valid %s message", bytes, type->name);
}

// ---- messages with a batch

enum { BATCH_NUMBER = 1, BATCH_ROWS = 2, BATCH_IPC = 3 };
enum { END_BATCHES = 1, END_ROWS = 2 };

od_code od_batch_message(uint32_t field, uint64_t number, const struct od_batch *batch, struct od_segment *out,
                         size_t *count, struct od_error *err)
{
    if (batch->bytes > OD_MESSAGE_BYTES_MAX - 64)
        return od_fail(err, OD_LIMIT, "a batch of %zu bytes is larger than the largest message (%llu bytes)",
                       batch->bytes, OD_MESSAGE_BYTES_MAX);
    uint8_t *head = od_alloc(6 * OD_VARINT_BYTES_MAX + 3);
    if (!head)
        return od_fail(err, OD_NO_MEMORY, "no memory for the head of a batch message");
    // The inner fields first, to know their length; proto3 leaves zeros out.
    uint8_t inner[3 * OD_VARINT_BYTES_MAX + 3];
    uint8_t *at = inner;
    if (number) {
        at = od_varint_put(at, od_wire_tag(BATCH_NUMBER, OD_WIRE_VARINT));
        at = od_varint_put(at, number);
    }
    if (batch->rows) {
        at = od_varint_put(at, od_wire_tag(BATCH_ROWS, OD_WIRE_VARINT));
        at = od_varint_put(at, batch->rows);
    }
    at = od_varint_put(at, od_wire_tag(BATCH_IPC, OD_WIRE_BYTES));
    at = od_varint_put(at, batch->bytes);
    size_t inner_bytes = (size_t)(at - inner);

    at = od_varint_put(head, od_wire_tag(field, OD_WIRE_BYTES));
    at = od_varint_put(at, inner_bytes + batch->bytes);
    memcpy(at, inner, inner_bytes);
    at += inner_bytes;
    out[0] = (struct od_segment){head, (size_t)(at - head)};
    if (batch->segment_count)
        memcpy(out + 1, batch->segments, batch->segment_count * sizeof *out);
    *count = batch->segment_count + 1;
    return OD_OK;
}

static bool batch_parse(const struct od_wire_field *outer, struct od_stream_part *part)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    od_wire_reader_init(&reader, outer->data, outer->bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.number == BATCH_NUMBER && field.type == OD_WIRE_VARINT) {
            part->number = field.value;
        } else if (field.number == BATCH_ROWS && field.type == OD_WIRE_VARINT) {
            part->rows = field.value;
        } else if (field.number == BATCH_IPC && field.type == OD_WIRE_BYTES) {
            part->ipc = field.data;
            part->ipc_bytes = field.bytes;
        }
    }
    return !reader.broken;
}

static bool end_parse(const struct od_wire_field *outer, struct od_stream_part *part)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    od_wire_reader_init(&reader, outer->data, outer->bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.number == END_BATCHES && field.type == OD_WIRE_VARINT)
            part->batches = field.value;
        else if (field.number == END_ROWS && field.type == OD_WIRE_VARINT)
            part->rows = field.value;
    }
    return !reader.broken;
}

// Field numbers of a oneof's members; 0: the message has no such member.
struct part_fields {
    const char *message;
    uint32_t open;
    uint32_t batch;
    uint32_t end;
};

static const struct part_fields stream_reply_fields = {"StreamReply", 0, 1, 2};
static const struct part_fields upload_request_fields = {"UploadRequest", 1, 2, 3};

static od_code part_parse(const struct part_fields *fields, const uint8_t *data, size_t bytes,
                          struct od_stream_part *part, struct od_error *err)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    uint32_t member = 0;
    bool sound = true;
    *part = (struct od_stream_part){0};
    od_wire_reader_init(&reader, data, bytes);
    while (sound && od_wire_next(&reader, &field)) {
        if (field.type != OD_WIRE_BYTES ||
            (field.number != fields->open && field.number != fields->batch && field.number != fields->end))
            continue;
        if (field.number != member)
            *part = (struct od_stream_part){0};
        member = field.number;
        if (member == fields->batch) {
            part->kind = OD_STREAM_BATCH;
            sound = batch_parse(&field, part);
        } else if (member == fields->end) {
            part->kind = OD_STREAM_END;
            sound = end_parse(&field, part);
        } else {
            part->kind = OD_STREAM_OPEN;
            part->open = field.data;
            part->open_bytes = field.bytes;
        }
    }
    if (!sound || reader.broken)
        return od_fail(err, OD_INVALID, "%zu bytes are not a valid %s message", bytes, fields->message);
    if (!member)
        return od_fail(err, OD_INVALID, "a %s message of %zu bytes has no content this version knows", fields->message,
                       bytes);
    return OD_OK;
}

od_code od_stream_reply_parse(const uint8_t *data, size_t bytes, struct od_stream_part *part, struct od_error *err)
{
    return part_parse(&stream_reply_fields, data, bytes, part, err);
}

od_code od_upload_request_parse(const uint8_t *data, size_t bytes, struct od_stream_part *part, struct od_error *err)
{
    return part_parse(&upload_request_fields, data, bytes, part, err);
}

// Only a hint for where to put the bytes: anything unexpected gives 0, and a wrong answer costs alignment only.
static size_t batch_layout(uint32_t batch_field, const uint8_t *head, size_t head_bytes, size_t message_bytes)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    od_wire_reader_init(&reader, head, head_bytes);
    if (!od_wire_next_open(&reader, &field) || field.type != OD_WIRE_BYTES || field.number != batch_field)
        return 0;
    while (od_wire_next_open(&reader, &field)) {
        if (field.type != OD_WIRE_BYTES)
            continue;
        size_t left = (size_t)(reader.end - reader.at);
        if (field.number != BATCH_IPC) {
            if (field.bytes > left)
                return 0;
            reader.at += field.bytes;
            continue;
        }
        // An encapsulated Arrow message: continuation marker, metadata length, metadata, body.
        if (left < 8 || memcmp(reader.at, "\xff\xff\xff\xff", 4) != 0)
            return 0;
        size_t metadata_bytes =
            (size_t)reader.at[4] | (size_t)reader.at[5] << 8 | (size_t)reader.at[6] << 16 | (size_t)reader.at[7] << 24;
        size_t body = (size_t)(reader.at - head) + 8 + metadata_bytes;
        return body < message_bytes ? body : 0;
    }
    return 0;
}

size_t od_stream_reply_layout(const uint8_t *head, size_t head_bytes, size_t message_bytes)
{
    return batch_layout(stream_reply_fields.batch, head, head_bytes, message_bytes);
}

size_t od_upload_request_layout(const uint8_t *head, size_t head_bytes, size_t message_bytes)
{
    return batch_layout(upload_request_fields.batch, head, head_bytes, message_bytes);
}
