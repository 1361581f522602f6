// batch.c - reference-counted batches and the buffers of received messages; see batch.h for the contract.
//
// The opaque words of struct od_batch: [0] reference count (only touched as an atomic), [1] release function,
// [2] owner, [3] capacity. Without a release function the owner is memory of that capacity from od_recycle_get.
#include "arrow/batch.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdatomic.h>
#include <string.h>

#define BODY_ALIGNMENT 64u

_Static_assert(sizeof(atomic_uintptr_t) == sizeof(void *), "a reference count must fit an opaque word");
_Static_assert(sizeof(od_release_fn) == sizeof(void *), "a release function must fit an opaque word");

static atomic_uintptr_t *reference_count(struct od_batch *batch)
{
    return (atomic_uintptr_t *)(void *)&batch->opaque[0];
}

static struct od_batch *batch_make(const struct od_segment *segments, size_t segment_count, uint64_t rows,
                                   size_t held_bytes)
{
    size_t table_bytes;
    if (__builtin_mul_overflow(segment_count, sizeof *segments, &table_bytes) ||
        __builtin_add_overflow(table_bytes, sizeof(struct od_batch), &table_bytes))
        return NULL;
    struct od_batch *batch = od_alloc(table_bytes);
    if (!batch)
        return NULL;
    struct od_segment *table = (struct od_segment *)(void *)(batch + 1);
    size_t bytes = 0;
    for (size_t i = 0; i < segment_count; i++) {
        table[i] = segments[i];
        bytes += segments[i].bytes;
    }
    *batch = (struct od_batch){
        .rows = rows, .bytes = bytes, .held_bytes = held_bytes, .segment_count = segment_count, .segments = table};
    atomic_init(reference_count(batch), 1);
    return batch;
}

struct od_batch *od_batch_new(const struct od_segment *segments, size_t segment_count, uint64_t rows, size_t held_bytes,
                              od_release_fn release, void *owner)
{
    od_assert(release);
    struct od_batch *batch = batch_make(segments, segment_count, rows, held_bytes);
    if (batch) {
        memcpy(&batch->opaque[1], &release, sizeof release);
        batch->opaque[2] = owner;
    }
    return batch;
}

struct od_batch *od_batch_ref(struct od_batch *batch)
{
    atomic_fetch_add_explicit(reference_count(batch), 1, memory_order_relaxed);
    return batch;
}

void od_batch_unref(struct od_batch *batch)
{
    if (!batch)
        return;
    uintptr_t before = atomic_fetch_sub_explicit(reference_count(batch), 1, memory_order_acq_rel);
    od_assert(before > 0);
    if (before > 1)
        return;
    od_release_fn release;
    memcpy(&release, &batch->opaque[1], sizeof release);
    if (release)
        release(batch->opaque[2]);
    else
        od_recycle_put(batch->opaque[2], (size_t)(uintptr_t)batch->opaque[3]);
    od_free(batch);
}

od_code od_message_buffer_get(size_t bytes, size_t header_bytes, struct od_message_buffer *out, struct od_error *err)
{
    if (header_bytes > bytes)
        return od_fail(err, OD_INVALID, "message of %zu bytes cannot have a header of %zu bytes", bytes, header_bytes);
    size_t skipped = (BODY_ALIGNMENT - header_bytes % BODY_ALIGNMENT) % BODY_ALIGNMENT;
    size_t wanted, capacity;
    // Readers of bitmaps may take the byte after the last one along: there is always one.
    void *memory = __builtin_add_overflow(bytes, skipped + 8, &wanted) ? NULL : od_recycle_get(wanted, &capacity);
    if (!memory)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a message of %zu bytes", bytes);
    *out = (struct od_message_buffer){
        .data = (uint8_t *)memory + skipped, .bytes = bytes, .memory = memory, .capacity = capacity};
    return OD_OK;
}

void od_message_buffer_put(struct od_message_buffer *buffer)
{
    if (buffer->memory)
        od_recycle_put(buffer->memory, buffer->capacity);
    *buffer = (struct od_message_buffer){0};
}

struct od_batch *od_batch_from_buffer(struct od_message_buffer *buffer, uint64_t rows)
{
    struct od_segment whole = {.data = buffer->data, .bytes = buffer->bytes};
    struct od_batch *batch = batch_make(&whole, 1, rows, buffer->capacity);
    if (!batch)
        return NULL;
    batch->opaque[2] = buffer->memory;
    batch->opaque[3] = (void *)(uintptr_t)buffer->capacity;
    *buffer = (struct od_message_buffer){0};
    return batch;
}
