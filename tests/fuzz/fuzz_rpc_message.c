// fuzz_rpc_message.c - every hand-written decoder of src/rpc, and protobuf-c under our limits. The first byte chooses.
//
// Where both readers accept a message with one batch, they must have read the same. (protobuf-c does not merge members
// of a oneof that come twice; ours does, as protobuf says.)
#include "base/assert.h"
#include "rpc/message.h"
#include "rpc/wire.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void inside(const uint8_t *data, size_t bytes, const uint8_t *part, size_t part_bytes)
{
    if (part_bytes)
        od_assert(part >= data && part + part_bytes <= data + bytes);
}

static bool single_field(const uint8_t *data, size_t bytes)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    unsigned count = 0;
    od_wire_reader_init(&reader, data, bytes);
    while (od_wire_next(&reader, &field))
        count++;
    return count == 1;
}

static void fuzz_stream_reply(const uint8_t *data, size_t bytes)
{
    struct od_stream_part part;
    ProtobufCMessage *message;
    (void)od_stream_reply_layout(data, bytes < 256 ? bytes : 256, bytes);
    bool ours = od_stream_reply_parse(data, bytes, &part, NULL) == OD_OK;
    bool theirs = od_message_unpack(&openduck__v1__stream_reply__descriptor, data, bytes, &message, NULL) == OD_OK;
    if (ours)
        inside(data, bytes, part.ipc, part.ipc_bytes);
    if (ours && theirs && single_field(data, bytes)) {
        const Openduck__V1__StreamReply *reply = (const Openduck__V1__StreamReply *)message;
        if (reply->message_case == OPENDUCK__V1__STREAM_REPLY__MESSAGE_BATCH) {
            od_assert(part.kind == OD_STREAM_BATCH && part.number == reply->batch->number);
            od_assert(part.rows == reply->batch->rows && part.ipc_bytes == reply->batch->ipc.len);
            od_assert(part.ipc_bytes == 0 || memcmp(part.ipc, reply->batch->ipc.data, part.ipc_bytes) == 0);
        } else if (reply->message_case == OPENDUCK__V1__STREAM_REPLY__MESSAGE_END) {
            od_assert(part.kind == OD_STREAM_END && part.batches == reply->end->batches);
            od_assert(part.rows == reply->end->rows);
        }
    }
    if (theirs)
        protobuf_c_message_free_unpacked(message, NULL);
}

static void fuzz_upload_request(const uint8_t *data, size_t bytes)
{
    struct od_stream_part part;
    (void)od_upload_request_layout(data, bytes < 256 ? bytes : 256, bytes);
    if (od_upload_request_parse(data, bytes, &part, NULL) != OD_OK)
        return;
    inside(data, bytes, part.ipc, part.ipc_bytes);
    inside(data, bytes, part.open, part.open_bytes);
}

// What has been read can be written again, within the limits, and reads the same.
static void fuzz_error(const uint8_t *data, size_t bytes)
{
    static struct od_error first, second;
    struct od_buf buf;
    int status = bytes ? data[0] % 20 : 0;
    od_error_unpack(data, bytes, status, NULL, &first);
    od_assert(first.code != OD_OK && memchr(first.message, '\0', sizeof first.message));
    od_buf_init(&buf, 4096);
    od_assert(od_error_pack(&first, &buf, NULL) == OD_OK);
    od_error_unpack(buf.data, buf.bytes, status, NULL, &second);
    od_assert(first.code == second.code && strcmp(first.error_class, second.error_class) == 0);
    od_assert(second.extra_bytes == first.extra_bytes || second.extra_bytes == 0);
    od_buf_release(&buf);
}

static void fuzz_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t bytes)
{
    ProtobufCMessage *message;
    if (od_message_unpack(type, data, bytes, &message, NULL) == OD_OK)
        protobuf_c_message_free_unpacked(message, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes == 0)
        return 0;
    // A copy of its own, so that a read past the end is seen.
    size_t rest = bytes - 1;
    uint8_t *copy = malloc(rest ? rest : 1);
    memcpy(copy, data + 1, rest);
    switch (data[0] % 6) {
    case 0:
        fuzz_stream_reply(copy, rest);
        break;
    case 1:
        fuzz_upload_request(copy, rest);
        break;
    case 2:
        fuzz_error(copy, rest);
        break;
    case 3:
        fuzz_unpack(&openduck__v1__execute_request__descriptor, copy, rest);
        break;
    case 4:
        fuzz_unpack(&openduck__v1__execute_reply__descriptor, copy, rest);
        break;
    default:
        fuzz_unpack(&openduck__v1__stream_request__descriptor, copy, rest);
        break;
    }
    free(copy);
    return 0;
}
