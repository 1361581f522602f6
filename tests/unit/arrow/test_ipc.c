// test_ipc.c - schemas and batches go out and come back; forged headers and bodies are refused, each with its reason.
//
// tests/integration/test_ipc_interop.py compares all types with pyarrow; here are the things it cannot do: broken
// messages made on purpose, failing allocations, the life of decoded arrays.
#include "arrow/ipc.h"
#include "base/limits.h"
#include "support/fault.h"

#include <nanoarrow/nanoarrow.h>
#include <stdio.h>
#include <string.h>

// ---- a schema and rows to work with: n int32, s utf8, l list<int64>

static void make_schema(struct ArrowSchema *schema)
{
    ArrowSchemaInit(schema);
    assert_int_equal(ArrowSchemaSetTypeStruct(schema, 3), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetType(schema->children[0], NANOARROW_TYPE_INT32), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetName(schema->children[0], "n"), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetType(schema->children[1], NANOARROW_TYPE_STRING), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetName(schema->children[1], "s"), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetType(schema->children[2], NANOARROW_TYPE_LIST), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetName(schema->children[2], "l"), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetType(schema->children[2]->children[0], NANOARROW_TYPE_INT64), NANOARROW_OK);
}

// Row i: i (null when i % 3 == 2), "row i", [0 .. i % 4).
static void make_rows(const struct ArrowSchema *schema, int rows, struct ArrowArray *array)
{
    assert_int_equal(ArrowArrayInitFromSchema(array, schema, NULL), NANOARROW_OK);
    assert_int_equal(ArrowArrayStartAppending(array), NANOARROW_OK);
    for (int i = 0; i < rows; i++) {
        char text[20];
        snprintf(text, sizeof text, "row %d", i);
        assert_int_equal(i % 3 == 2 ? ArrowArrayAppendNull(array->children[0], 1)
                                    : ArrowArrayAppendInt(array->children[0], i),
                         NANOARROW_OK);
        assert_int_equal(ArrowArrayAppendString(array->children[1], ArrowCharView(text)), NANOARROW_OK);
        for (int j = 0; j < i % 4; j++)
            assert_int_equal(ArrowArrayAppendInt(array->children[2]->children[0], j), NANOARROW_OK);
        assert_int_equal(ArrowArrayFinishElement(array->children[2]), NANOARROW_OK);
        assert_int_equal(ArrowArrayFinishElement(array), NANOARROW_OK);
    }
    assert_int_equal(ArrowArrayFinishBuildingDefault(array, NULL), NANOARROW_OK);
}

static void check_rows(const struct ArrowArray *array, int first, int rows)
{
    assert_int_equal(array->length, rows);
    const uint8_t *bits = array->children[0]->buffers[0];
    const int32_t *numbers = array->children[0]->buffers[1], *ends = array->children[1]->buffers[1];
    const char *text = array->children[1]->buffers[2];
    const int32_t *lists = array->children[2]->buffers[1];
    for (int i = 0; i < rows; i++) {
        char expected[20];
        snprintf(expected, sizeof expected, "row %d", first + i);
        bool valid = !bits || ArrowBitGet(bits, i);
        assert_int_equal(valid, (first + i) % 3 != 2);
        if (valid)
            assert_int_equal(numbers[i], first + i);
        assert_int_equal(ends[i + 1] - ends[i], strlen(expected));
        assert_memory_equal(text + ends[i], expected, strlen(expected));
        assert_int_equal(lists[i + 1] - lists[i], (first + i) % 4);
    }
}

struct fixture {
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct od_ipc_decoder *decoder;
    struct od_batch *batch; // 10 rows
};

static int set_up(void **state)
{
    static struct fixture fixture;
    make_schema(&fixture.schema);
    make_rows(&fixture.schema, 10, &fixture.array);
    assert_int_equal(od_ipc_decoder_new(&fixture.schema, &fixture.decoder, NULL), OD_OK);
    assert_int_equal(od_ipc_encode_array(&fixture.schema, &fixture.array, &fixture.batch, NULL), OD_OK);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *fixture = *state;
    od_fault_disarm();
    od_batch_unref(fixture->batch);
    od_ipc_decoder_free(fixture->decoder);
    fixture->array.release(&fixture->array);
    fixture->schema.release(&fixture->schema);
    return 0;
}

// ---- the good way

static void rows_come_back(void **state)
{
    struct fixture *fixture = *state;
    struct ArrowArray array;
    uint64_t rows = 0;
    size_t body = 0;
    assert_int_equal(fixture->batch->rows, 10);
    assert_int_equal(fixture->batch->segment_count, 1);
    assert_int_equal(
        od_ipc_check(fixture->batch->segments[0].data, fixture->batch->bytes, OD_IPC_BATCH, &body, &rows, NULL), OD_OK);
    assert_int_equal(rows, 10);
    assert_int_equal(body % 64, 0);
    assert_int_equal(od_ipc_decode_batch(fixture->decoder, fixture->batch, &array, NULL), OD_OK);
    check_rows(&array, 0, 10);
    assert_int_equal(array.children[0]->null_count, 3);
    // Not a copy: the buffers lie in the message.
    const uint8_t *numbers = array.children[0]->buffers[1], *message = fixture->batch->segments[0].data;
    assert_true(numbers > message && numbers < message + fixture->batch->bytes);
    array.release(&array);
}

static void an_array_outlives_its_batch_and_its_parent(void **state)
{
    struct fixture *fixture = *state;
    struct ArrowArray array, column;
    struct od_batch *batch = NULL;
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &fixture->array, &batch, NULL), OD_OK);
    assert_int_equal(od_ipc_decode_batch(fixture->decoder, batch, &array, NULL), OD_OK);
    od_batch_unref(batch);
    check_rows(&array, 0, 10);
    column = *array.children[0]; // moved out, as the C data interface allows
    array.children[0]->release = NULL;
    array.release(&array);
    assert_null(array.release);
    assert_int_equal(((const int32_t *)column.buffers[1])[4], 4);
    column.release(&column);
}

static void a_slice_is_resolved(void **state)
{
    struct fixture *fixture = *state;
    struct ArrowArray slice = fixture->array, array;
    struct od_batch *batch = NULL;
    slice.offset = 3;
    slice.length = 5;
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &slice, &batch, NULL), OD_OK);
    assert_int_equal(batch->rows, 5);
    assert_int_equal(od_ipc_decode_batch(fixture->decoder, batch, &array, NULL), OD_OK);
    check_rows(&array, 3, 5);
    assert_int_equal(((const int32_t *)array.children[1]->buffers[1])[0], 0);
    array.release(&array);
    od_batch_unref(batch);
}

static void a_message_at_any_address_is_read(void **state)
{
    struct fixture *fixture = *state;
    for (size_t shift = 0; shift < 9; shift++) {
        uint8_t *memory = od_alloc(fixture->batch->bytes + shift);
        memcpy(memory + shift, fixture->batch->segments[0].data, fixture->batch->bytes);
        struct od_segment whole = {memory + shift, fixture->batch->bytes};
        struct od_batch *batch = od_batch_new(&whole, 1, 10, whole.bytes, od_free, memory);
        struct ArrowArray array;
        assert_int_equal(od_ipc_decode_batch(fixture->decoder, batch, &array, NULL), OD_OK);
        od_batch_unref(batch);
        assert_int_equal((uintptr_t)array.children[0]->buffers[1] % 8, 0);
        check_rows(&array, 0, 10);
        array.release(&array);
    }
}

static void unref_batch(void *batch)
{
    od_batch_unref(batch);
}

static void a_batch_of_segments_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct od_segment halves[2] = {{fixture->batch->segments[0].data, 64},
                                   {fixture->batch->segments[0].data + 64, fixture->batch->bytes - 64}};
    struct od_batch *batch = od_batch_new(halves, 2, 10, 0, unref_batch, od_batch_ref(fixture->batch));
    struct ArrowArray array;
    assert_int_equal(od_ipc_decode_batch(fixture->decoder, batch, &array, NULL), OD_INVALID);
    od_batch_unref(batch);
}

static void a_schema_comes_back(void **state)
{
    struct fixture *fixture = *state;
    struct ArrowSchema schema;
    struct od_buf message;
    od_buf_init(&message, OD_MESSAGE_BYTES_MAX);
    struct ArrowSchema nameless = *fixture->schema.children[0];
    const char *name = nameless.name;
    fixture->schema.children[0]->name = NULL; // Arrow allows it
    assert_int_equal(od_ipc_encode_schema(&fixture->schema, &message, NULL), OD_OK);
    fixture->schema.children[0]->name = name;
    assert_int_equal(message.bytes % 8, 0);
    assert_int_equal(od_ipc_decode_schema(message.data, message.bytes, &schema, NULL), OD_OK);
    assert_int_equal(schema.n_children, 3);
    assert_string_equal(schema.children[0]->name, "");
    assert_string_equal(schema.children[1]->name, "s");
    assert_string_equal(schema.children[2]->children[0]->format, "l");
    schema.release(&schema);
    od_buf_release(&message);
}

static void what_does_not_travel_is_named(void **state)
{
    (void)state;
    struct ArrowSchema schema;
    struct od_error err = {0};
    struct od_buf message;
    od_buf_init(&message, OD_MESSAGE_BYTES_MAX);
    make_schema(&schema);
    assert_int_equal(ArrowSchemaSetFormat(schema.children[1], "vu"), NANOARROW_OK);
    assert_int_equal(od_ipc_encode_schema(&schema, &message, &err), OD_UNSUPPORTED);
    assert_non_null(strstr(err.message, "column s "));
    assert_int_equal(ArrowSchemaSetFormat(schema.children[1], "nonsense"), NANOARROW_OK);
    assert_int_equal(od_ipc_encode_schema(&schema, &message, &err), OD_INVALID);
    assert_int_equal(ArrowSchemaSetFormat(schema.children[1], "i"), NANOARROW_OK);
    assert_int_equal(ArrowSchemaAllocateDictionary(schema.children[1]), NANOARROW_OK);
    assert_int_equal(ArrowSchemaInitFromType(schema.children[1]->dictionary, NANOARROW_TYPE_STRING), NANOARROW_OK);
    assert_int_equal(od_ipc_encode_schema(&schema, &message, &err), OD_UNSUPPORTED);
    assert_non_null(strstr(err.message, "dictionary"));
    struct od_ipc_decoder *decoder = NULL;
    assert_int_equal(od_ipc_decoder_new(schema.children[0], &decoder, &err), OD_INVALID); // not a struct
    schema.release(&schema);
    od_buf_release(&message);
}

static void an_array_that_does_not_fit_its_schema_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct od_batch *batch = NULL;
    struct ArrowArray array = fixture->array;
    array.length = 11; // more than its columns have
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &array, &batch, NULL), OD_INVALID);
    array = fixture->array;
    array.n_children = 2;
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &array, &batch, NULL), OD_INVALID);
    array = fixture->array;
    array.null_count = 1;
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &array, &batch, NULL), OD_INVALID);
    struct ArrowArray kept = *fixture->array.children[0];
    fixture->array.children[0]->n_buffers = 1;
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &fixture->array, &batch, NULL), OD_INVALID);
    *fixture->array.children[0] = kept;
    assert_null(batch);
}

// ---- forged messages. The header is the one of od_ipc_batch_header, so its parts lie where ipc_header.c says.

enum {
    FLAT = 8,
    ROOT = FLAT,
    VERSION = FLAT + 32,
    HEADER_TYPE = FLAT + 34,
    HEADER = FLAT + 20,
    BODY_BYTES = FLAT + 24
};
enum { ROWS = FLAT + 56, NODES_AT = FLAT + 68 };

// Nodes: n, s, l, l's child. Buffers: n bitmap, n values, s bitmap, s offsets, s text, l bitmap, l offsets, child
// bitmap, child values.
enum { NODE_COUNT = 4, BUFFER_COUNT = 9 };

static size_t node_at(int node, bool null_count)
{
    return FLAT + 72 + 16 * (size_t)node + (null_count ? 8 : 0);
}

static size_t buffer_at(int buffer, bool length)
{
    return FLAT + 72 + 16 * NODE_COUNT + 8 + 16 * (size_t)buffer + (length ? 8 : 0);
}

// Changes `bytes` bytes of a copy of the good message, then decodes it.
static od_code decode_forged(struct fixture *fixture, size_t place, const void *value, size_t bytes,
                             struct od_error *err)
{
    struct od_message_buffer buffer;
    struct ArrowArray array;
    assert_int_equal(od_message_buffer_get(fixture->batch->bytes, 0, &buffer, NULL), OD_OK);
    memcpy(buffer.data, fixture->batch->segments[0].data, buffer.bytes);
    memcpy(buffer.data + place, value, bytes);
    struct od_batch *batch = od_batch_from_buffer(&buffer, 10);
    od_code rc = od_ipc_decode_batch(fixture->decoder, batch, &array, err);
    if (rc == OD_OK)
        array.release(&array);
    od_batch_unref(batch);
    return rc;
}

static void expect_refused(struct fixture *fixture, size_t place, int64_t value, size_t bytes, const char *reason)
{
    struct od_error err = {0};
    assert_int_equal(decode_forged(fixture, place, &value, bytes, &err), OD_CORRUPT);
    if (!strstr(err.message, reason))
        fail_msg("expected '%s' in '%s'", reason, err.message);
}

static void forged_headers_are_refused(void **state)
{
    struct fixture *fixture = *state;
    expect_refused(fixture, 0, 0, 4, "0xFFFFFFFF");
    expect_refused(fixture, 4, 0, 4, "end of stream");
    expect_refused(fixture, 4, 0x7FFFFFFF, 4, "does not fit");
    expect_refused(fixture, 4, 0x7FFFFFF0, 4, "does not fit");
    expect_refused(fixture, 4, 4, 4, "padded");
    expect_refused(fixture, ROOT, 0x7FFFFFF0, 4, "flatbuffer");
    expect_refused(fixture, ROOT, 3, 4, "flatbuffer");
    expect_refused(fixture, HEADER_TYPE, 1, 1, "expected a record batch");
    expect_refused(fixture, HEADER_TYPE, 0, 1, "expected a record batch");
    expect_refused(fixture, HEADER, 0x7FFFFFF0, 4, "flatbuffer");
    expect_refused(fixture, FLAT + 4 + 8, 0, 2, "no header"); // the vtable's place of the header
    expect_refused(fixture, FLAT + 4 + 8, 0xFFF0, 2, "flatbuffer");
    expect_refused(fixture, BODY_BYTES, -1, 8, "body of -1 bytes");
    expect_refused(fixture, BODY_BYTES, 64, 8, "body of 64 bytes");
    expect_refused(fixture, ROWS, -1, 8, "length -1");
    expect_refused(fixture, ROWS, INT64_MAX, 8, "length 9223372036854775807");
    expect_refused(fixture, ROWS, 9, 8, "10 values in a batch of 9 rows");
    expect_refused(fixture, NODES_AT, 0x0FFFFFFF, 4, "flatbuffer");
    expect_refused(fixture, NODES_AT, 3, 4, "3 fields");
    struct od_error err = {0};
    const int16_t version_1 = 0;
    assert_int_equal(decode_forged(fixture, VERSION, &version_1, 2, &err), OD_UNSUPPORTED);
    const uint8_t dictionary_batch = 2;
    assert_int_equal(decode_forged(fixture, HEADER_TYPE, &dictionary_batch, 1, &err), OD_UNSUPPORTED);
}

static void forged_nodes_and_buffers_are_refused(void **state)
{
    struct fixture *fixture = *state;
    expect_refused(fixture, node_at(0, false), -1, 8, "node 0 has length -1");
    expect_refused(fixture, node_at(0, false), INT64_MAX / 2, 8, "node 0 has length");
    expect_refused(fixture, node_at(1, true), 11, 8, "null count 11");
    expect_refused(fixture, node_at(1, true), -2, 8, "null count -2");
    expect_refused(fixture, node_at(1, true), 1, 8, "no bitmap");
    expect_refused(fixture, node_at(0, false), INT32_MAX, 8, "column n: a bitmap of 2 bytes, 268435456 needed");
    expect_refused(fixture, node_at(3, false), 2, 8, "child of column l has 2 elements");
    for (int buffer = 0; buffer < BUFFER_COUNT; buffer++) {
        expect_refused(fixture, buffer_at(buffer, false), -8, 8, "outside the body");
        expect_refused(fixture, buffer_at(buffer, true), INT64_MAX, 8, "outside the body");
        expect_refused(fixture, buffer_at(buffer, true), -1, 8, "outside the body");
        expect_refused(fixture, buffer_at(buffer, false), INT64_MAX - 7, 8, "outside the body");
    }
    expect_refused(fixture, buffer_at(1, false), 68, 8, "multiple of 8");
    expect_refused(fixture, buffer_at(1, true), 39, 8, "column n: values of 39 bytes, 40 needed");
    expect_refused(fixture, buffer_at(3, true), 43, 8, "column s: offsets of 43 bytes, 44 needed");
    expect_refused(fixture, buffer_at(4, true), 49, 8, "text or bytes");
    expect_refused(fixture, buffer_at(6, true), 0, 8, "column l: offsets of 0 bytes");
    expect_refused(fixture, buffer_at(8, true), 8, 8, "values of 8 bytes");
}

static void forged_offsets_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct od_ipc_buffer text, list;
    size_t body = 0;
    const uint8_t *message = fixture->batch->segments[0].data;
    memcpy(&text, message + buffer_at(3, false), sizeof text);
    memcpy(&list, message + buffer_at(6, false), sizeof list);
    assert_int_equal(od_ipc_check(message, fixture->batch->bytes, OD_IPC_BATCH, &body, NULL, NULL), OD_OK);
    expect_refused(fixture, body + (size_t)text.offset, -1, 4, "column s: offsets are negative or fall");
    expect_refused(fixture, body + (size_t)text.offset + 4, 1000, 4, "column s: offsets are negative or fall");
    expect_refused(fixture, body + (size_t)text.offset + 40, 51, 4, "column s: text or bytes of 50 bytes, 51 needed");
    expect_refused(fixture, body + (size_t)list.offset + 4, -1, 4, "column l: offsets are negative or fall");
    expect_refused(fixture, body + (size_t)list.offset + 40, 14, 4, "child of column l has 13 elements, 14 are needed");
}

static void any_cut_message_is_refused(void **state)
{
    struct fixture *fixture = *state;
    for (size_t bytes = 0; bytes < fixture->batch->bytes; bytes++) {
        uint8_t *copy = od_alloc(bytes); // exactly as long, so that a read beyond is seen
        memcpy(copy, fixture->batch->segments[0].data, bytes);
        struct od_error err = {0};
        assert_int_equal(od_ipc_check(copy, bytes, OD_IPC_BATCH, NULL, NULL, &err), OD_CORRUPT);
        od_free(copy);
    }
}

static void too_much_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct ArrowSchema schema;
    struct od_error err = {0};
    struct od_buf message;
    od_buf_init(&message, OD_MESSAGE_BYTES_MAX);

    ArrowSchemaInit(&schema);
    assert_int_equal(ArrowSchemaSetTypeStruct(&schema, OD_COLUMNS_MAX + 1), NANOARROW_OK);
    for (int64_t i = 0; i < schema.n_children; i++)
        assert_int_equal(ArrowSchemaSetType(schema.children[i], NANOARROW_TYPE_BOOL), NANOARROW_OK);
    assert_int_equal(od_ipc_encode_schema(&schema, &message, &err), OD_LIMIT);
    schema.release(&schema);

    // Text of which every row is the same 40 MiB: more than one message may hold.
    static char big[1];
    struct ArrowArray text = *fixture->array.children[1];
    const int32_t offsets[] = {0, 40 * 1024 * 1024, 80 * 1024 * 1024};
    const void *buffers[] = {NULL, offsets, big};
    struct ArrowArray kept = text, two_rows = fixture->array;
    text.buffers = buffers;
    text.length = 2;
    *fixture->array.children[1] = text;
    two_rows.length = 2;
    struct od_batch *batch = NULL;
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &two_rows, &batch, &err), OD_LIMIT);
    assert_non_null(strstr(err.message, "fewer rows"));
    *fixture->array.children[1] = kept;
    od_buf_release(&message);
}

static void every_step_may_fail(void **state)
{
    struct fixture *fixture = *state;
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        od_code rc = OD_OK;
        struct ArrowSchema schema = {.release = NULL};
        struct ArrowArray array = {.release = NULL};
        struct od_ipc_decoder *decoder = NULL;
        struct od_batch *batch = NULL;
        struct od_buf message;
        od_buf_init(&message, OD_MESSAGE_BYTES_MAX);
        OD_TRY(od_ipc_encode_schema(&fixture->schema, &message, &err));
        OD_TRY(od_ipc_decode_schema(message.data, message.bytes, &schema, &err));
        OD_TRY(od_ipc_decoder_new(&schema, &decoder, &err));
        OD_TRY(od_ipc_encode_array(&schema, &fixture->array, &batch, &err));
        OD_TRY(od_ipc_decode_batch(decoder, batch, &array, &err));
        check_rows(&array, 0, 10);
    out:
        od_fault_expect(&fault, rc, &err);
        if (array.release)
            array.release(&array);
        if (schema.release)
            schema.release(&schema);
        od_batch_unref(batch);
        od_ipc_decoder_free(decoder);
        od_buf_release(&message);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(rows_come_back),
        TEST(an_array_outlives_its_batch_and_its_parent),
        TEST(a_slice_is_resolved),
        TEST(a_message_at_any_address_is_read),
        TEST(a_batch_of_segments_is_refused),
        TEST(a_schema_comes_back),
        TEST(what_does_not_travel_is_named),
        TEST(an_array_that_does_not_fit_its_schema_is_refused),
        TEST(forged_headers_are_refused),
        TEST(forged_nodes_and_buffers_are_refused),
        TEST(forged_offsets_are_refused),
        TEST(any_cut_message_is_refused),
        TEST(too_much_is_refused),
        TEST(every_step_may_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
