// ipc_decode.c - a checked batch message to an ArrowArray whose buffers lie in the message, without a copy.
//
// nanoarrow is not used here: one walk over the schema's layout validates each field and fills in its ArrowArray. After
// it, for every field of length n (D1-D5 are what makes reading the array by its schema memory-safe):
//   D1  the bitmap has n bits, or is absent and there are no nulls
//   D2  fixed elements, type ids and offsets are all there
//   D3  offsets begin at >= 0, never fall, and end inside the bytes or the child
//   D4  children of structs and sparse unions have at least n elements, of fixed-size lists n times their size; columns
//       have exactly the batch's rows
//   D5  type ids name a child, and dense union offsets lie inside that child
// An empty buffer is not NULL (but for bitmaps), so offsets[0] of an empty array can be read. UTF-8 is not looked at.
//
// Memory: one block a batch holds all nodes; each node (the root and every child, which a consumer may move away and
// release by itself) counts as one reference to it, and the block holds one reference to the batch.
#include "arrow/ipc_layout.h"
#include "arrow/ipc_message.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <inttypes.h>
#include <nanoarrow/nanoarrow.h>
#include <stdatomic.h>
#include <string.h>

struct od_ipc_decoder {
    struct od_ipc_layout layout;
};

od_code od_ipc_decoder_new(const struct ArrowSchema *schema, struct od_ipc_decoder **decoder, struct od_error *err)
{
    struct od_ipc_decoder *made = od_calloc(1, sizeof *made);
    if (!made)
        return od_fail(err, OD_NO_MEMORY, "out of memory for an Arrow decoder");
    od_code rc = od_ipc_layout_init(schema, &made->layout, err);
    if (rc != OD_OK)
        od_free(made);
    else
        *decoder = made;
    return rc;
}

void od_ipc_decoder_free(struct od_ipc_decoder *decoder)
{
    if (!decoder)
        return;
    od_ipc_layout_release(&decoder->layout);
    od_free(decoder);
}

// ---- the block of nodes

struct block {
    atomic_size_t references;
    struct od_batch *batch;
    struct ArrowArray nodes[]; // then the lists of children, then the lists of buffers
};

static void block_unref(struct block *block)
{
    if (atomic_fetch_sub(&block->references, 1) > 1)
        return;
    od_batch_unref(block->batch);
    od_free(block);
}

static void release_node(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++)
        if (array->children[i]->release)
            array->children[i]->release(array->children[i]);
    array->release = NULL;
    block_unref(array->private_data);
}

static struct block *block_new(const struct od_ipc_layout *layout, struct ArrowArray ***children, const void ***buffers)
{
    size_t nodes_bytes = layout->field_count * sizeof(struct ArrowArray);
    size_t children_bytes = layout->field_count * sizeof(struct ArrowArray *);
    size_t buffers_bytes = (layout->buffer_count + 1) * sizeof(void *); // the root has a bitmap, absent
    struct block *block = od_calloc(1, sizeof *block + nodes_bytes + children_bytes + buffers_bytes);
    if (!block)
        return NULL;
    atomic_init(&block->references, layout->field_count + 1);
    char *at = (char *)block->nodes + nodes_bytes;
    *children = (struct ArrowArray **)(void *)at;
    *buffers = (const void **)(void *)(at + children_bytes);
    return block;
}

// ---- the walk

struct walk {
    const struct od_ipc_field *fields; // the next one
    const struct od_ipc_message *message;
    const uint8_t *body;
    uint32_t node, buffer; // the next ones
    struct block *block;
    struct ArrowArray **children; // free places
    const void **buffers;         // free places
    struct od_error *err;
};

struct view {
    const uint8_t *data; // NULL when empty
    uint64_t bytes;
};

static const union {
    uint8_t bytes[16];
    int64_t aligned;
} nothing;

static struct view next_buffer(struct walk *walk)
{
    struct od_ipc_buffer buffer;
    memcpy(&buffer, od_flat_struct_at(&walk->message->buffers, walk->buffer++), sizeof buffer);
    if (buffer.length == 0)
        return (struct view){0};
    return (struct view){walk->body + buffer.offset, (uint64_t)buffer.length};
}

static void keep_buffer(struct walk *walk, struct ArrowArray *array, struct view view)
{
    array->buffers[array->n_buffers++] = view.data ? view.data : nothing.bytes;
    walk->buffers++;
}

static od_code fail_short(const struct walk *walk, const struct od_ipc_field *field, const char *what, uint64_t needed,
                          uint64_t bytes)
{
    return od_fail(walk->err, OD_CORRUPT, "Arrow batch: column %s: %s of %" PRIu64 " bytes, %" PRIu64 " needed",
                   field->name, what, bytes, needed);
}

static od_code take_bitmap(struct walk *walk, const struct od_ipc_field *field, struct ArrowArray *array)
{
    struct view bitmap = next_buffer(walk);
    uint64_t needed = ((uint64_t)array->length + 7) / 8;
    if (!bitmap.data && array->null_count > 0)
        return od_fail(walk->err, OD_CORRUPT, "Arrow batch: column %s has %" PRId64 " nulls and no bitmap", field->name,
                       array->null_count);
    if (!bitmap.data)
        array->null_count = 0;
    else if (bitmap.bytes < needed)
        return fail_short(walk, field, "a bitmap", needed, bitmap.bytes);
    keep_buffer(walk, array, bitmap);
    if (!bitmap.data)
        array->buffers[0] = NULL;
    return OD_OK;
}

static od_code take_elements(struct walk *walk, const struct od_ipc_field *field, struct ArrowArray *array,
                             uint64_t needed, const char *what)
{
    struct view elements = next_buffer(walk);
    if (elements.bytes < needed)
        return fail_short(walk, field, what, needed, elements.bytes);
    keep_buffer(walk, array, elements);
    return OD_OK;
}

// Written without an early exit, so that compilers turn it into vector code.
#define NEVER_FALLS(offset_type)                                                                                       \
    static bool never_falls_##offset_type(const offset_type *offsets, int64_t count)                                   \
    {                                                                                                                  \
        bool falls = offsets[0] < 0;                                                                                   \
        for (int64_t i = 0; i < count; i++)                                                                            \
            falls |= offsets[i + 1] < offsets[i];                                                                      \
        return !falls;                                                                                                 \
    }
NEVER_FALLS(int32_t)
NEVER_FALLS(int64_t)

// *end: what the offsets need of the bytes or of the child.
static od_code take_offsets(struct walk *walk, const struct od_ipc_field *field, struct ArrowArray *array, bool wide,
                            uint64_t *end)
{
    struct view offsets = next_buffer(walk);
    uint64_t needed = ((uint64_t)array->length + 1) * (wide ? 8 : 4);
    *end = 0;
    if (array->length == 0) { // whatever is there is not needed, and may be cut short
        keep_buffer(walk, array, (struct view){0});
        return OD_OK;
    }
    if (!offsets.data || offsets.bytes < needed)
        return fail_short(walk, field, "offsets", needed, offsets.bytes);
    keep_buffer(walk, array, offsets);
    const void *values = offsets.data; // aligned: the body is, and the buffer's offset is a multiple of 8
    bool good = wide ? never_falls_int64_t(values, array->length) : never_falls_int32_t(values, array->length);
    if (!good)
        return od_fail(walk->err, OD_CORRUPT, "Arrow batch: column %s: offsets are negative or fall", field->name);
    *end =
        wide ? (uint64_t)((const int64_t *)values)[array->length] : (uint64_t)((const int32_t *)values)[array->length];
    return OD_OK;
}

static od_code check_unions(struct walk *walk, const struct od_ipc_field *field, const struct ArrowArray *array)
{
    const uint8_t *types = array->buffers[0];
    const int32_t *offsets = field->shape == OD_SHAPE_DENSE_UNION ? array->buffers[1] : NULL;
    for (int64_t i = 0; i < array->length; i++) {
        if (types[i] >= field->child_count)
            return od_fail(walk->err, OD_CORRUPT, "Arrow batch: column %s: type id %u of a union of %" PRIu32,
                           field->name, types[i], field->child_count);
        if (offsets && (offsets[i] < 0 || offsets[i] >= array->children[types[i]]->length))
            return od_fail(walk->err, OD_CORRUPT, "Arrow batch: column %s: offset %" PRId32 " of a union is outside",
                           field->name, offsets[i]);
    }
    return OD_OK;
}

static od_code check_children(struct walk *walk, const struct od_ipc_field *field, const struct ArrowArray *array,
                              uint64_t needed)
{
    for (int64_t i = 0; i < array->n_children; i++)
        if ((uint64_t)array->children[i]->length < needed)
            return od_fail(walk->err, OD_CORRUPT,
                           "Arrow batch: a child of column %s has %" PRId64 " elements, %" PRIu64 " are needed",
                           field->name, array->children[i]->length, needed);
    return OD_OK;
}

static od_code take_field(struct walk *walk, struct ArrowArray *array);

static od_code take_children(struct walk *walk, struct ArrowArray *array, uint32_t count)
{
    array->children = walk->children;
    walk->children += count;
    for (uint32_t i = 0; i < count; i++) {
        struct ArrowArray *child = &walk->block->nodes[walk->node];
        array->children[array->n_children++] = child;
        od_code rc = take_field(walk, child);
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

static od_code take_field(struct walk *walk, struct ArrowArray *array)
{
    od_code rc = OD_OK;
    const struct od_ipc_field *field = walk->fields++;
    struct od_ipc_node node;
    memcpy(&node, od_flat_struct_at(&walk->message->nodes, walk->node++), sizeof node);
    *array = (struct ArrowArray){.length = node.length,
                                 .null_count = node.null_count,
                                 .buffers = walk->buffers,
                                 .release = release_node,
                                 .private_data = walk->block};
    uint64_t length = (uint64_t)node.length, end = 0, child_needed = 0;
    bool is_union = field->shape == OD_SHAPE_SPARSE_UNION || field->shape == OD_SHAPE_DENSE_UNION;
    if (field->shape == OD_SHAPE_NULL || is_union)
        array->null_count = is_union ? 0 : node.length;
    else
        OD_TRY(take_bitmap(walk, field, array));
    switch (field->shape) {
    case OD_SHAPE_NULL:
        break;
    case OD_SHAPE_BITS:
        OD_TRY(take_elements(walk, field, array, (length + 7) / 8, "bits"));
        break;
    case OD_SHAPE_FIXED:
        OD_TRY(take_elements(walk, field, array, length * field->element_bytes, "values"));
        break;
    case OD_SHAPE_BYTES32:
    case OD_SHAPE_BYTES64:
        OD_TRY(take_offsets(walk, field, array, field->shape == OD_SHAPE_BYTES64, &end));
        OD_TRY(take_elements(walk, field, array, end, "text or bytes"));
        break;
    case OD_SHAPE_LIST32:
    case OD_SHAPE_LIST64:
        OD_TRY(take_offsets(walk, field, array, field->shape == OD_SHAPE_LIST64, &child_needed));
        break;
    case OD_SHAPE_FIXED_LIST:
        child_needed = length * field->elements;
        break;
    case OD_SHAPE_STRUCT:
        child_needed = length;
        break;
    case OD_SHAPE_SPARSE_UNION:
    case OD_SHAPE_DENSE_UNION:
        OD_TRY(take_elements(walk, field, array, length, "type ids"));
        if (field->shape == OD_SHAPE_DENSE_UNION)
            OD_TRY(take_elements(walk, field, array, length * 4, "union offsets"));
        else
            child_needed = length;
        break;
    }
    OD_TRY(take_children(walk, array, field->child_count));
    OD_TRY(check_children(walk, field, array, child_needed));
    if (is_union)
        OD_TRY(check_unions(walk, field, array));
out:
    return rc;
}

static od_code fill(const struct od_ipc_layout *layout, const struct od_ipc_message *message, struct od_batch *batch,
                    struct ArrowArray *array, struct od_error *err)
{
    struct walk walk = {.fields = layout->fields,
                        .message = message,
                        .body = batch->segments[0].data + message->body_offset,
                        .err = err};
    walk.block = block_new(layout, &walk.children, &walk.buffers);
    if (!walk.block)
        return od_fail(err, OD_NO_MEMORY, "out of memory for an Arrow batch");
    struct ArrowArray root = {.length = message->rows,
                              .n_buffers = 1,
                              .buffers = walk.buffers++, // the absent bitmap
                              .release = release_node,
                              .private_data = walk.block};
    od_code rc = take_children(&walk, &root, (uint32_t)layout->column_count);
    for (int64_t i = 0; rc == OD_OK && i < root.n_children; i++)
        if (root.children[i]->length != message->rows)
            rc = od_fail(err, OD_CORRUPT, "Arrow batch: a column has %" PRId64 " values in a batch of %" PRId64 " rows",
                         root.children[i]->length, message->rows);
    if (rc != OD_OK) {
        od_free(walk.block);
        return rc;
    }
    od_assert(walk.node == layout->field_count && walk.buffer == layout->buffer_count);
    walk.block->batch = od_batch_ref(batch);
    *array = root;
    return OD_OK;
}

static od_code copy_aligned(const struct od_batch *batch, size_t body_offset, struct od_batch **out,
                            struct od_error *err)
{
    struct od_message_buffer buffer;
    od_code rc = od_message_buffer_get(batch->bytes, body_offset, &buffer, err);
    if (rc != OD_OK)
        return rc;
    memcpy(buffer.data, batch->segments[0].data, batch->bytes);
    *out = od_batch_from_buffer(&buffer, batch->rows);
    if (!*out) {
        od_message_buffer_put(&buffer);
        return od_fail(err, OD_NO_MEMORY, "out of memory for an Arrow batch");
    }
    return OD_OK;
}

od_code od_ipc_decode_batch(struct od_ipc_decoder *decoder, struct od_batch *batch, struct ArrowArray *array,
                            struct od_error *err)
{
    const struct od_ipc_layout *layout = &decoder->layout;
    struct od_ipc_message message = {0};
    if (batch->segment_count != 1)
        return od_fail(err, OD_INVALID, "Arrow batch: %zu segments, one is needed", batch->segment_count);
    od_code rc = od_ipc_check_batch(batch->segments[0].data, batch->bytes, &message, err);
    if (rc != OD_OK)
        return rc;
    if (message.nodes.count != layout->field_count || message.buffers.count != layout->buffer_count)
        return od_fail(err, OD_CORRUPT,
                       "Arrow batch: %" PRIu32 " fields with %" PRIu32 " buffers, but the schema has %zu with %zu",
                       message.nodes.count, message.buffers.count, layout->field_count, layout->buffer_count);
    if (layout->has_union && message.metadata_version != OD_IPC_METADATA_V5)
        return od_fail(err, OD_UNSUPPORTED, "Arrow batch: unions need metadata version 5");
    bool plain = message.codec == OD_IPC_PLAIN;
    if (plain && ((uintptr_t)batch->segments[0].data + message.body_offset) % 8 == 0)
        return fill(layout, &message, batch, array, err);
    // Its columns cannot be used where they lie: compressed, or not received into an od_message_buffer.
    struct od_batch *usable;
    rc = plain ? copy_aligned(batch, message.body_offset, &usable, err)
               : od_ipc_expand_batch(batch, &message, &usable, err);
    if (rc != OD_OK)
        return rc;
    rc = od_ipc_check_batch(usable->segments[0].data, usable->bytes, &message, err);
    if (rc == OD_OK)
        rc = fill(layout, &message, usable, array, err);
    od_batch_unref(usable);
    return rc;
}
