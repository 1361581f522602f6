// ipc.h - Arrow IPC messages: schema and record batch, encode, check, decode. The owner of nanoarrow.
//
// Decoding follows one rule: bytes from outside go through od_ipc_check before nanoarrow sees them, because its
// decoder trusts headers that hostile peers can forge (negative lengths, absent tables, offsets past the body).
// Format: Arrow Columnar Format 1.5, encapsulated messages (0xFFFFFFFF, int32 length, flatbuffer, body).
#ifndef OD_ARROW_IPC_H
#define OD_ARROW_IPC_H

#include "arrow/batch.h"
#include "base/buf.h"

OD_BEGIN_C

// The Arrow C data interface structs; their definitions come from duckdb or nanoarrow headers.
struct ArrowSchema;
struct ArrowArray;

enum od_ipc_kind { OD_IPC_SCHEMA, OD_IPC_BATCH };

// Verifies one encapsulated message of untrusted bytes: flatbuffer structure, every length and offset, column and
// nesting limits. *body_offset and *rows (batches) may be NULL. OD_CORRUPT names what is wrong. Does not look into
// the body's values: od_ipc_decode_batch does.
OD_CHECKED od_code od_ipc_check(const uint8_t *message, size_t bytes, enum od_ipc_kind expected, size_t *body_offset,
                                uint64_t *rows, struct od_error *err);

// Schema <-> message. Encode appends to `out`; decode gives *schema (the caller calls schema->release).
OD_CHECKED od_code od_ipc_encode_schema(const struct ArrowSchema *schema, struct od_buf *out, struct od_error *err);
OD_CHECKED od_code od_ipc_decode_schema(const uint8_t *message, size_t bytes, struct ArrowSchema *schema,
                                        struct od_error *err);

// Decodes batches of one schema. One decoder per thread. `full` also validates offsets and UTF-8-independent
// structure of the body (needed for bytes of a peer; it is what makes later reads memory-safe).
struct od_ipc_decoder;
OD_CHECKED od_code od_ipc_decoder_new(const struct ArrowSchema *schema, struct od_ipc_decoder **decoder,
                                      struct od_error *err);
void od_ipc_decoder_free(struct od_ipc_decoder *decoder);
// Checks the message, then gives *array whose buffers lie inside the batch (it holds a reference). The batch must
// have exactly one segment. The caller calls array->release.
OD_CHECKED od_code od_ipc_decode_batch(struct od_ipc_decoder *decoder, struct od_batch *batch, struct ArrowArray *array,
                                       struct od_error *err);

// Compression of a batch's body, buffer by buffer (Arrow's BodyCompression). Numbers as in the protocol's Compression.
enum od_ipc_codec { OD_IPC_PLAIN, OD_IPC_LZ4, OD_IPC_ZSTD };
// A compressed copy of a plain batch of our own, in one segment; the batch itself, once more referenced, when it would not
// become at least an eighth smaller. Decoders need not be told: od_ipc_decode_batch reads both.
OD_CHECKED od_code od_ipc_compress_batch(struct od_batch *batch, enum od_ipc_codec codec, struct od_batch **out,
                                         struct od_error *err);

// Encodes any array of the schema by copying (parameters, ArrowArrayStream uploads, tests): one message, one segment.
// Offsets and dictionaries are resolved (dictionary-encoded columns are not accepted: OD_UNSUPPORTED).
OD_CHECKED od_code od_ipc_encode_array(const struct ArrowSchema *schema, const struct ArrowArray *array,
                                       struct od_batch **batch, struct od_error *err);

// The header of a record batch whose buffers the caller lays out itself (the zero-copy encoder). Nodes and buffers
// in Arrow's pre-order; offsets are multiples of 64 from the start of the body. Appends the encapsulated header,
// padded so that the body starts at a multiple of 64 from the message start.
struct od_ipc_node {
    int64_t length;
    int64_t null_count;
};
struct od_ipc_buffer {
    int64_t offset;
    int64_t length;
};
OD_CHECKED od_code od_ipc_batch_header(int64_t rows, const struct od_ipc_node *nodes, size_t node_count,
                                       const struct od_ipc_buffer *buffers, size_t buffer_count, int64_t body_bytes,
                                       struct od_buf *out, struct od_error *err);

// The end-of-stream marker of the IPC stream format (8 bytes), for complete streams.
extern const uint8_t od_ipc_end_of_stream[8];

OD_END_C

#endif
