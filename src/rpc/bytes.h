// bytes.h (internal) - gRPC's byte buffers from segments and to contiguous memory.
#ifndef OD_RPC_BYTES_H
#define OD_RPC_BYTES_H

#include "arrow/batch.h"
#include "rpc/received.h"

#include <grpc/grpc.h>

OD_BEGIN_C

// A byte buffer over the segments, without a copy (tiny segments are copied: cheaper than a reference). It takes
// `owner` on success: release(owner) runs once the transport has let go of every segment. NULL: out of memory.
grpc_byte_buffer *od_bytes_wrap(const struct od_segment *segments, size_t count, od_release_fn release, void *owner);
// The same with the bytes copied: they may go as soon as this returns, whatever the transport still does.
grpc_byte_buffer *od_bytes_copy(const struct od_segment *segments, size_t count);
size_t od_segments_bytes(const struct od_segment *segments, size_t count);

// Copies a received message into recycled memory, placed by `layout` (may be NULL). The buffer stays the caller's.
OD_CHECKED od_code od_bytes_flatten(grpc_byte_buffer *buffer, od_layout_fn layout, struct od_received *out,
                                    struct od_error *err);

OD_END_C

#endif
