// bytes.c - gRPC's byte buffers from segments and to contiguous memory; see bytes.h.
#include "rpc/bytes.h"

#include "base/alloc.h"

#include <grpc/byte_buffer.h>
#include <grpc/byte_buffer_reader.h>

#include <stdatomic.h>
#include <string.h>

#define COPY_BYTES_MAX 128u // up to here a copy is cheaper than a counted reference
#define SLICES_ON_STACK 16u
#define BODY_ALIGNMENT 64u
#define HEAD_BYTES 256u // what a layout function gets to see

// Shared by the slices of one message.
struct holder {
    atomic_size_t references;
    od_release_fn release;
    void *owner;
};

static void holder_unref(void *argument)
{
    struct holder *holder = argument;
    if (atomic_fetch_sub_explicit(&holder->references, 1, memory_order_acq_rel) != 1)
        return;
    if (holder->release)
        holder->release(holder->owner);
    od_free(holder);
}

size_t od_segments_bytes(const struct od_segment *segments, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += segments[i].bytes;
    return bytes;
}

grpc_byte_buffer *od_bytes_wrap(const struct od_segment *segments, size_t count, od_release_fn release, void *owner)
{
    grpc_slice on_stack[SLICES_ON_STACK];
    grpc_slice *slices = on_stack;
    struct holder *holder = od_alloc(sizeof *holder);
    if (!holder)
        return NULL;
    if (count > SLICES_ON_STACK) {
        slices = od_alloc(count * sizeof *slices);
        if (!slices) {
            od_free(holder);
            return NULL;
        }
    }
    atomic_init(&holder->references, 1);
    holder->release = release;
    holder->owner = owner;
    size_t used = 0;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].bytes == 0)
            continue;
        if (segments[i].bytes <= COPY_BYTES_MAX) {
            slices[used++] = grpc_slice_from_copied_buffer((const char *)segments[i].data, segments[i].bytes);
        } else {
            atomic_fetch_add_explicit(&holder->references, 1, memory_order_relaxed);
            slices[used++] = grpc_slice_new_with_user_data((void *)(uintptr_t)segments[i].data, segments[i].bytes,
                                                           holder_unref, holder);
        }
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(slices, used);
    for (size_t i = 0; i < used; i++)
        grpc_slice_unref(slices[i]);
    if (slices != on_stack)
        od_free(slices);
    holder_unref(holder);
    return buffer;
}

grpc_byte_buffer *od_bytes_copy(const struct od_segment *segments, size_t count)
{
    grpc_slice slice = grpc_slice_malloc(od_segments_bytes(segments, count));
    uint8_t *at = GRPC_SLICE_START_PTR(slice);
    for (size_t i = 0; i < count; i++) {
        if (segments[i].bytes)
            memcpy(at, segments[i].data, segments[i].bytes);
        at += segments[i].bytes;
    }
    grpc_byte_buffer *buffer = grpc_raw_byte_buffer_create(&slice, 1);
    grpc_slice_unref(slice);
    return buffer;
}

static size_t body_offset(grpc_byte_buffer *buffer, od_layout_fn layout, size_t bytes)
{
    uint8_t head[HEAD_BYTES];
    size_t head_bytes = 0;
    grpc_byte_buffer_reader reader;
    if (!layout || !grpc_byte_buffer_reader_init(&reader, buffer))
        return 0;
    grpc_slice *slice;
    while (head_bytes < sizeof head && grpc_byte_buffer_reader_peek(&reader, &slice)) {
        size_t part = GRPC_SLICE_LENGTH(*slice);
        if (part > sizeof head - head_bytes)
            part = sizeof head - head_bytes;
        memcpy(head + head_bytes, GRPC_SLICE_START_PTR(*slice), part);
        head_bytes += part;
    }
    grpc_byte_buffer_reader_destroy(&reader);
    return layout(head, head_bytes, bytes);
}

od_code od_bytes_flatten(grpc_byte_buffer *buffer, od_layout_fn layout, struct od_received *out, struct od_error *err)
{
    size_t bytes = grpc_byte_buffer_length(buffer);
    size_t pad = (BODY_ALIGNMENT - body_offset(buffer, layout, bytes) % BODY_ALIGNMENT) % BODY_ALIGNMENT;
    size_t capacity;
    void *memory = od_recycle_get(bytes + pad + 1, &capacity);
    if (!memory)
        return od_fail(err, OD_NO_MEMORY, "no memory for a message of %zu bytes", bytes);
    grpc_byte_buffer_reader reader;
    if (!grpc_byte_buffer_reader_init(&reader, buffer)) {
        od_recycle_put(memory, capacity);
        return od_fail(err, OD_INVALID, "a received message of %zu bytes cannot be decompressed", bytes);
    }
    uint8_t *data = (uint8_t *)memory + pad, *at = data;
    grpc_slice *slice;
    while (grpc_byte_buffer_reader_peek(&reader, &slice)) {
        memcpy(at, GRPC_SLICE_START_PTR(*slice), GRPC_SLICE_LENGTH(*slice));
        at += GRPC_SLICE_LENGTH(*slice);
    }
    grpc_byte_buffer_reader_destroy(&reader);
    *out = (struct od_received){.data = data, .bytes = bytes, .memory = memory, .capacity = capacity};
    return OD_OK;
}

void od_received_release(struct od_received *received)
{
    if (received->memory)
        od_recycle_put(received->memory, received->capacity);
    *received = (struct od_received){0};
}
