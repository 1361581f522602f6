// batch.h - one encoded Arrow record batch: reference-counted, immutable, made of byte segments.
//
// The encoder makes a batch of many segments (message header, then one per column buffer, padded), which go to the
// socket without a copy. The receiver makes a batch of one segment whose Arrow body is 64-byte aligned, so that
// columns can be used where they lie. The same struct serves both ends, and both directions (results, uploads).
//
// Invariants: segments never change after od_batch_new; `bytes` is their sum and the length of the encapsulated IPC
// message; the memory lives until the last od_batch_unref. Threads: ref/unref from any thread.
#ifndef OD_ARROW_BATCH_H
#define OD_ARROW_BATCH_H

#include "base/cdecl.h"
#include "base/error.h"

OD_BEGIN_C

struct od_segment {
    const uint8_t *data;
    size_t bytes;
};

struct od_batch {
    uint64_t rows;
    size_t bytes;      // of the whole encapsulated message
    size_t held_bytes; // memory behind it (capacities), what budgets count
    size_t segment_count;
    const struct od_segment *segments;
    // private: reference count and owner; see batch.c
    void *opaque[4];
};

// Called once, from any thread, when the last reference goes.
typedef void (*od_release_fn)(void *owner);

// Copies the segment table, not the bytes. On success the batch owns `owner` and releases it at the end; on failure
// the caller still owns it. NULL: out of memory.
struct od_batch *od_batch_new(const struct od_segment *segments, size_t segment_count, uint64_t rows, size_t held_bytes,
                              od_release_fn release, void *owner);
struct od_batch *od_batch_ref(struct od_batch *batch);
void od_batch_unref(struct od_batch *batch); // NULL is fine

// One buffer for a received message of `bytes` bytes, laid out so that the Arrow body (which starts `header_bytes`
// into the message) is 64-byte aligned. Fill *data, then od_batch_from_buffer. Recycled through a process-wide pool.
struct od_message_buffer {
    uint8_t *data;
    size_t bytes;
    void *memory;
    size_t capacity;
};
OD_CHECKED od_code od_message_buffer_get(size_t bytes, size_t header_bytes, struct od_message_buffer *out,
                                         struct od_error *err);
void od_message_buffer_put(struct od_message_buffer *buffer);
// Takes the buffer on success.
struct od_batch *od_batch_from_buffer(struct od_message_buffer *buffer, uint64_t rows);

// Recycled 64-byte-aligned memory in powers of two: fresh pages cost more than encoding into them. The cache keeps
// at most a fixed number of bytes (batch.c) and gives the rest back to the system.
void *od_recycle_get(size_t bytes, size_t *capacity);
void od_recycle_put(void *memory, size_t capacity);

OD_END_C

#endif
