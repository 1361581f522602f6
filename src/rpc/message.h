// message.h - packing and unpacking of the wire messages. Includes the structs generated from the .proto.
//
// Small messages go through protobuf-c. Messages that carry a batch are packed by hand: the few bytes before the Arrow
// bytes are one segment, the batch's own segments follow uncopied. Their decoder is hand-written too (and fuzzed),
// because protobuf-c would copy the batch.
#ifndef OD_RPC_MESSAGE_H
#define OD_RPC_MESSAGE_H

#include "arrow/batch.h"
#include "base/buf.h"

#include "openduck/v1/execution.pb-c.h"

OD_BEGIN_C

#define OD_SERVICE "/openduck.v1.ExecutionService/"
#define OD_ADMIN_SERVICE "/openduck.v1.AdminService/"

// Packs any protobuf-c message into one malloc'ed segment; od_free releases it. *bytes = 0 is legal.
OD_CHECKED od_code od_message_pack(const ProtobufCMessage *message, struct od_segment *out, struct od_error *err);
// Unpacks untrusted bytes with nesting and allocation limits; release with protobuf_c_message_free_unpacked(m, NULL).
// OD_INVALID names the message type that was expected.
OD_CHECKED od_code od_message_unpack(const ProtobufCMessageDescriptor *type, const uint8_t *data, size_t bytes,
                                     ProtobufCMessage **out, struct od_error *err);

// ---- StreamReply and UploadRequest with a batch (field 1 and 2 of their oneof), and Batch inside ExecuteReply.
// The segments of {oneof field `field` = Batch{number, rows, ipc}}: out[0] is the head (od_free it), the rest borrow
// the batch. out has room for batch->segment_count + 1 entries.
OD_CHECKED od_code od_batch_message(uint32_t field, uint64_t number, const struct od_batch *batch,
                                    struct od_segment *out, size_t *count, struct od_error *err);

// A StreamReply or UploadRequest taken apart without a copy; ipc points into data.
enum od_stream_kind { OD_STREAM_BATCH, OD_STREAM_END, OD_STREAM_OPEN };
struct od_stream_part {
    enum od_stream_kind kind;
    uint64_t number;  // BATCH
    uint64_t rows;    // BATCH: claimed rows; END: total rows
    uint64_t batches; // END
    const uint8_t *ipc;
    size_t ipc_bytes;
    const uint8_t *open; // UploadRequest open: the bytes of UploadOpen
    size_t open_bytes;
};
OD_CHECKED od_code od_stream_reply_parse(const uint8_t *data, size_t bytes, struct od_stream_part *part,
                                         struct od_error *err);
OD_CHECKED od_code od_upload_request_parse(const uint8_t *data, size_t bytes, struct od_stream_part *part,
                                           struct od_error *err);
// od_layout_fn for both: where the Arrow body of a batch message begins, 0 when it is not a batch.
size_t od_stream_reply_layout(const uint8_t *head, size_t head_bytes, size_t message_bytes);
size_t od_upload_request_layout(const uint8_t *head, size_t head_bytes, size_t message_bytes);

// ---- errors
// od_error <-> ErrorDetail bytes (trailing metadata "openduck-error-bin").
OD_CHECKED od_code od_error_pack(const struct od_error *error, struct od_buf *out, struct od_error *err);
void od_error_unpack(const uint8_t *data, size_t bytes, int grpc_status, const char *status_message,
                     struct od_error *out);

OD_END_C

#endif
