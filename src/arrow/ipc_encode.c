// ipc_encode.c - any ArrowArray of a supported schema to one message, by copying.
//
// One walk over the schema's layout, done twice: the first time nothing is written and only sizes are added up, the
// second time into memory of exactly that size. Slices (offsets of the array or of any child) are resolved: offsets
// start at 0, lists and text carry only what the slice uses. Padding is zeroed, for the memory is recycled.
#include "arrow/ipc_layout.h"
#include "arrow/ipc_message.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"

#include <inttypes.h>
#include <nanoarrow/nanoarrow.h>
#include <string.h>

struct writer {
    const struct od_ipc_field *fields; // the next one
    uint8_t *body;                     // NULL: measuring
    int64_t at;
    struct od_ipc_node *nodes; // the next ones
    struct od_ipc_buffer *buffers;
    struct od_error *err;
};

// The rows of a field that are to be written: places in its buffers, the array's own offset included.
struct range {
    int64_t start;
    int64_t length;
};

// Records a buffer and moves past it. *place: where to write it, NULL when measuring.
static od_code put_buffer(struct writer *writer, int64_t bytes, uint8_t **place)
{
    *place = writer->body ? writer->body + writer->at : NULL;
    *writer->buffers++ = (struct od_ipc_buffer){.offset = writer->at, .length = bytes};
    if (bytes < 0 || bytes > (int64_t)OD_MESSAGE_BYTES_MAX - writer->at)
        return od_fail(writer->err, OD_LIMIT, "Arrow batch is larger than %llu bytes; send fewer rows at once",
                       OD_MESSAGE_BYTES_MAX);
    int64_t padded = (bytes + 63) & ~(int64_t)63;
    if (*place)
        memset(*place + bytes, 0, (size_t)(padded - bytes));
    writer->at += padded;
    return OD_OK;
}

static od_code fail_array(const struct writer *writer, const struct od_ipc_field *field, const char *what)
{
    return od_fail(writer->err, OD_INVALID, "Arrow array: column %s %s", field->name, what);
}

static bool get_bit(const uint8_t *bits, int64_t i)
{
    return bits[i / 8] >> (i % 8) & 1;
}

static void copy_bits(uint8_t *to, const uint8_t *from, struct range range)
{
    if (range.start % 8 == 0) {
        memcpy(to, from + range.start / 8, (size_t)((range.length + 7) / 8));
        if (range.length % 8)
            to[range.length / 8] &= (uint8_t)((1u << (range.length % 8)) - 1);
        return;
    }
    memset(to, 0, (size_t)((range.length + 7) / 8));
    for (int64_t i = 0; i < range.length; i++)
        to[i / 8] |= (uint8_t)(get_bit(from, range.start + i) << (i % 8));
}

static int64_t count_nulls(const uint8_t *bits, struct range range)
{
    int64_t nulls = 0;
    for (int64_t i = 0; i < range.length; i++)
        nulls += !get_bit(bits, range.start + i);
    return nulls;
}

static od_code put_bitmap(struct writer *writer, const struct ArrowArray *array, struct range range,
                          struct od_ipc_node *node)
{
    const uint8_t *bits = array->null_count == 0 ? NULL : array->buffers[0];
    uint8_t *place;
    node->null_count = bits ? count_nulls(bits, range) : 0;
    int64_t bytes = node->null_count ? (range.length + 7) / 8 : 0;
    od_code rc = put_buffer(writer, bytes, &place);
    if (rc == OD_OK && place && bytes)
        copy_bits(place, bits, range);
    return rc;
}

static od_code put_copy(struct writer *writer, const void *from, int64_t start, int64_t bytes)
{
    uint8_t *place;
    od_code rc = put_buffer(writer, bytes, &place);
    if (rc == OD_OK && place && bytes)
        memcpy(place, (const uint8_t *)from + start, (size_t)bytes);
    return rc;
}

static int64_t offset_at(const void *offsets, bool wide, int64_t i)
{
    return wide ? ((const int64_t *)offsets)[i] : ((const int32_t *)offsets)[i];
}

// Writes length + 1 offsets that begin at 0. *used: the part of the bytes or of the child they refer to.
static od_code put_offsets(struct writer *writer, const struct od_ipc_field *field, const struct ArrowArray *array,
                           bool wide, struct range range, struct range *used)
{
    const void *offsets = array->buffers[1];
    *used = (struct range){0};
    if (range.length > 0) {
        if (!offsets)
            return fail_array(writer, field, "has no offsets");
        used->start = offset_at(offsets, wide, range.start);
        used->length = offset_at(offsets, wide, range.start + range.length) - used->start;
        if (used->start < 0 || used->length < 0)
            return fail_array(writer, field, "has offsets that are negative or fall");
    }
    uint8_t *place;
    od_code rc = put_buffer(writer, (range.length + 1) * (wide ? 8 : 4), &place);
    if (rc != OD_OK || !place)
        return rc;
    for (int64_t i = 0; i <= range.length; i++) {
        int64_t value = range.length ? offset_at(offsets, wide, range.start + i) - used->start : 0;
        if (wide)
            ((int64_t *)(void *)place)[i] = value;
        else
            ((int32_t *)(void *)place)[i] = (int32_t)value;
    }
    return OD_OK;
}

static od_code put_field(struct writer *writer, const struct ArrowArray *array, struct range range);

static od_code put_children(struct writer *writer, const struct ArrowArray *array, struct range range)
{
    od_code rc = OD_OK;
    for (int64_t i = 0; i < array->n_children; i++) {
        const struct ArrowArray *child = array->children[i];
        if (!child || range.start < 0 || range.start + range.length > child->length)
            return fail_array(writer, writer->fields, "has fewer values than its parent needs");
        OD_TRY(put_field(writer, child, (struct range){child->offset + range.start, range.length}));
    }
out:
    return rc;
}

static od_code put_union(struct writer *writer, const struct od_ipc_field *field, const struct ArrowArray *array,
                         struct range range)
{
    od_code rc = OD_OK;
    OD_TRY(put_copy(writer, array->buffers[0], range.start, range.length));
    if (field->shape == OD_SHAPE_SPARSE_UNION)
        return put_children(writer, array, range);
    OD_TRY(put_copy(writer, array->buffers[1], range.start * 4, range.length * 4));
    for (int64_t i = 0; i < array->n_children; i++) { // offsets stay as they are, so the children stay whole
        const struct ArrowArray *child = array->children[i];
        OD_TRY(put_field(writer, child, (struct range){child->offset, child->length}));
    }
out:
    return rc;
}

static od_code check_array(const struct writer *writer, const struct od_ipc_field *field,
                           const struct ArrowArray *array, struct range range)
{
    if (array->length < 0 || array->offset < 0 || array->null_count < -1)
        return fail_array(writer, field, "has a negative length");
    if (array->n_buffers != field->buffer_count || array->n_children != field->child_count)
        return fail_array(writer, field, "does not have the buffers or children of its type");
    if (range.length > INT32_MAX)
        return od_fail(writer->err, OD_LIMIT, "Arrow array: column %s has %" PRId64 " values; send fewer rows at once",
                       field->name, range.length);
    bool has_values = field->shape == OD_SHAPE_BITS || field->shape == OD_SHAPE_FIXED;
    bool is_union = field->shape == OD_SHAPE_SPARSE_UNION || field->shape == OD_SHAPE_DENSE_UNION;
    if (range.length > 0 && ((has_values && !array->buffers[1]) || (is_union && !array->buffers[0]) ||
                             (field->shape == OD_SHAPE_DENSE_UNION && !array->buffers[1])))
        return fail_array(writer, field, "has no values");
    return OD_OK;
}

static od_code put_field(struct writer *writer, const struct ArrowArray *array, struct range range)
{
    od_code rc = OD_OK;
    const struct od_ipc_field *field = writer->fields++;
    struct od_ipc_node *node = writer->nodes++;
    struct range used = {0};
    uint8_t *place;
    OD_TRY(check_array(writer, field, array, range));
    *node = (struct od_ipc_node){.length = range.length, .null_count = 0};
    if (field->shape == OD_SHAPE_NULL) {
        node->null_count = range.length;
        return OD_OK;
    }
    if (field->shape == OD_SHAPE_SPARSE_UNION || field->shape == OD_SHAPE_DENSE_UNION)
        return put_union(writer, field, array, range);
    OD_TRY(put_bitmap(writer, array, range, node));
    switch (field->shape) {
    case OD_SHAPE_BITS:
        OD_TRY(put_buffer(writer, (range.length + 7) / 8, &place));
        if (place && range.length)
            copy_bits(place, array->buffers[1], range);
        break;
    case OD_SHAPE_FIXED:
        OD_TRY(put_copy(writer, array->buffers[1], range.start * field->element_bytes,
                        range.length * field->element_bytes));
        break;
    case OD_SHAPE_BYTES32:
    case OD_SHAPE_BYTES64:
        OD_TRY(put_offsets(writer, field, array, field->shape == OD_SHAPE_BYTES64, range, &used));
        if (used.length && !array->buffers[2])
            OD_TRY(fail_array(writer, field, "has no values"));
        OD_TRY(put_copy(writer, array->buffers[2], used.start, used.length));
        break;
    case OD_SHAPE_LIST32:
    case OD_SHAPE_LIST64:
        OD_TRY(put_offsets(writer, field, array, field->shape == OD_SHAPE_LIST64, range, &used));
        OD_TRY(put_children(writer, array, used));
        break;
    case OD_SHAPE_FIXED_LIST:
        used = (struct range){range.start * field->elements, range.length * field->elements};
        OD_TRY(put_children(writer, array, used));
        break;
    case OD_SHAPE_STRUCT:
        OD_TRY(put_children(writer, array, range));
        break;
    case OD_SHAPE_NULL:
    case OD_SHAPE_SPARSE_UNION:
    case OD_SHAPE_DENSE_UNION:
        break; // done above
    }
out:
    return rc;
}

// One pass over all columns.
static od_code walk(const struct od_ipc_layout *layout, const struct ArrowArray *array, uint8_t *body,
                    struct od_ipc_node *nodes, struct od_ipc_buffer *buffers, int64_t *body_bytes, struct od_error *err)
{
    struct writer writer = {.fields = layout->fields, .body = body, .nodes = nodes, .buffers = buffers, .err = err};
    od_code rc = put_children(&writer, array, (struct range){array->offset, array->length});
    *body_bytes = writer.at;
    return rc;
}

static od_code check_root(const struct od_ipc_layout *layout, const struct ArrowArray *array, struct od_error *err)
{
    if (!array->release || array->length < 0 || array->offset < 0 || (size_t)array->n_children != layout->column_count)
        return od_fail(err, OD_INVALID, "Arrow array does not fit its schema of %zu columns", layout->column_count);
    if (array->null_count > 0)
        return od_fail(err, OD_INVALID, "Arrow array: rows cannot be null, only columns can");
    if (array->length > INT32_MAX)
        return od_fail(err, OD_LIMIT, "Arrow array of %" PRId64 " rows; send fewer rows at once", array->length);
    return OD_OK;
}

od_code od_ipc_encode_array(const struct ArrowSchema *schema, const struct ArrowArray *array, struct od_batch **batch,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_ipc_layout layout;
    struct od_ipc_node *nodes = NULL;
    struct od_ipc_buffer *buffers = NULL;
    struct od_message_buffer message = {0};
    int64_t body_bytes = 0;
    struct od_buf header;
    od_buf_init(&header, OD_MESSAGE_BYTES_MAX);
    OD_TRY(od_ipc_layout_init(schema, &layout, err));
    OD_TRY(check_root(&layout, array, err));
    nodes = od_calloc(layout.field_count, sizeof *nodes);
    buffers = od_calloc(layout.buffer_count, sizeof *buffers);
    if (!nodes || !buffers)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for an Arrow batch"));
    OD_TRY(walk(&layout, array, NULL, nodes, buffers, &body_bytes, err));
    OD_TRY(od_ipc_batch_header(array->length, nodes, layout.field_count, buffers, layout.buffer_count, body_bytes,
                               &header, err));
    OD_TRY(od_message_buffer_get(header.bytes + (size_t)body_bytes, header.bytes, &message, err));
    memcpy(message.data, header.data, header.bytes);
    int64_t written = 0;
    OD_TRY(walk(&layout, array, message.data + header.bytes, nodes, buffers, &written, err));
    od_assert(written == body_bytes);
    *batch = od_batch_from_buffer(&message, (uint64_t)array->length);
    if (!*batch)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for an Arrow batch"));
out:
    od_message_buffer_put(&message);
    od_free(nodes);
    od_free(buffers);
    od_buf_release(&header);
    od_ipc_layout_release(&layout);
    return rc;
}
