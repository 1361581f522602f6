// test_ipc_compress.c - compressed bodies: they come back as they were, forged ones cost neither memory nor safety.
// tests/integration/test_ipc_interop.py reads and writes them with pyarrow.
#include "arrow/ipc.h"
#include "base/limits.h"
#include "support/fault.h"

#include <nanoarrow/nanoarrow.h>
#include <string.h>

#define ROWS 4000

// Two columns: n int64, half of it null; s utf8, from `texts` different ones.
static void make(struct ArrowSchema *schema, struct ArrowArray *array, int rows, unsigned texts)
{
    uint32_t seed = 1;
    ArrowSchemaInit(schema);
    assert_int_equal(ArrowSchemaSetTypeStruct(schema, 2), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetType(schema->children[0], NANOARROW_TYPE_INT64), NANOARROW_OK);
    assert_int_equal(ArrowSchemaSetType(schema->children[1], NANOARROW_TYPE_STRING), NANOARROW_OK);
    assert_int_equal(ArrowArrayInitFromSchema(array, schema, NULL), NANOARROW_OK);
    assert_int_equal(ArrowArrayStartAppending(array), NANOARROW_OK);
    for (int i = 0; i < rows; i++) {
        uint32_t text[4];
        for (unsigned j = 0; j < 4; j++) {
            seed = seed * 1664525u + 1013904223u;
            text[j] = (seed >> 16) % texts;
        }
        struct ArrowStringView view = {(const char *)text, sizeof text};
        assert_int_equal(i % 2 ? ArrowArrayAppendNull(array->children[0], 1)
                               : ArrowArrayAppendInt(array->children[0], (int64_t)seed % texts),
                         NANOARROW_OK);
        assert_int_equal(ArrowArrayAppendString(array->children[1], view), NANOARROW_OK);
        assert_int_equal(ArrowArrayFinishElement(array), NANOARROW_OK);
    }
    assert_int_equal(ArrowArrayFinishBuildingDefault(array, NULL), NANOARROW_OK);
}

struct fixture {
    struct ArrowSchema schema;
    struct ArrowArray array;
    struct od_ipc_decoder *decoder;
    struct od_batch *plain;
};

static void set_up(struct fixture *fixture, int rows, unsigned texts)
{
    make(&fixture->schema, &fixture->array, rows, texts);
    assert_int_equal(od_ipc_decoder_new(&fixture->schema, &fixture->decoder, NULL), OD_OK);
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &fixture->array, &fixture->plain, NULL), OD_OK);
}

static void tear_down(struct fixture *fixture)
{
    od_batch_unref(fixture->plain);
    od_ipc_decoder_free(fixture->decoder);
    fixture->array.release(&fixture->array);
    fixture->schema.release(&fixture->schema);
}

// Decoded and encoded again it is the plain batch, byte for byte.
static void check_same(struct fixture *fixture, struct od_batch *batch)
{
    struct ArrowArray array;
    struct od_batch *again;
    assert_int_equal(od_ipc_decode_batch(fixture->decoder, batch, &array, NULL), OD_OK);
    assert_int_equal(od_ipc_encode_array(&fixture->schema, &array, &again, NULL), OD_OK);
    assert_int_equal(again->bytes, fixture->plain->bytes);
    assert_memory_equal(again->segments[0].data, fixture->plain->segments[0].data, again->bytes);
    od_batch_unref(again);
    array.release(&array);
}

static void what_was_compressed_comes_back(void **state)
{
    (void)state;
    for (enum od_ipc_codec codec = OD_IPC_LZ4; codec <= OD_IPC_ZSTD; codec++) {
        struct fixture fixture;
        struct od_batch *packed;
        set_up(&fixture, ROWS, 4);
        assert_int_equal(od_ipc_compress_batch(fixture.plain, codec, &packed, NULL), OD_OK);
        assert_true(packed->bytes < fixture.plain->bytes / 2);
        assert_int_equal(packed->rows, ROWS);
        check_same(&fixture, packed);
        od_batch_unref(packed);
        tear_down(&fixture);
    }
}

static void what_does_not_shrink_stays_plain(void **state)
{
    (void)state;
    static const struct {
        int rows;
        unsigned texts;
    } cases[] = {{0, 1}, {1, 2}, {ROWS, 65536}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture fixture;
        struct od_batch *same;
        set_up(&fixture, cases[i].rows, cases[i].texts);
        if (cases[i].texts < 65536) {
            assert_int_equal(od_ipc_compress_batch(fixture.plain, OD_IPC_LZ4, &same, NULL), OD_OK);
            assert_ptr_equal(same, fixture.plain);
            od_batch_unref(same);
        }
        assert_int_equal(od_ipc_compress_batch(fixture.plain, OD_IPC_PLAIN, &same, NULL), OD_OK);
        assert_ptr_equal(same, fixture.plain);
        od_batch_unref(same);
        tear_down(&fixture);
    }
}

// The batch with its bytes changed; the body begins at *body.
static struct od_batch *forge(const struct od_batch *batch, size_t at, const void *bytes, size_t count)
{
    struct od_message_buffer buffer;
    assert_int_equal(od_message_buffer_get(batch->bytes, 0, &buffer, NULL), OD_OK);
    memcpy(buffer.data, batch->segments[0].data, batch->bytes);
    memcpy(buffer.data + at, bytes, count);
    struct od_batch *forged = od_batch_from_buffer(&buffer, batch->rows);
    assert_non_null(forged);
    return forged;
}

static void forged_bodies_are_refused(void **state)
{
    (void)state;
    static const struct {
        int64_t claim;
        od_code expected;
        const char *words;
    } cases[] = {
        {-2, OD_CORRUPT, "says it has -2"},       {INT64_MIN, OD_CORRUPT, "says it has"},
        {INT64_MAX, OD_LIMIT, "expands to more"}, {(int64_t)OD_MESSAGE_BYTES_MAX + 1, OD_LIMIT, "expands to more"},
        {1, OD_CORRUPT, "does not expand to 1"},  {ROWS, OD_CORRUPT, "does not expand"}};
    for (enum od_ipc_codec codec = OD_IPC_LZ4; codec <= OD_IPC_ZSTD; codec++) {
        struct fixture fixture;
        struct od_batch *packed;
        struct ArrowArray array;
        size_t body;
        set_up(&fixture, ROWS, 4);
        assert_int_equal(od_ipc_compress_batch(fixture.plain, codec, &packed, NULL), OD_OK);
        assert_int_equal(od_ipc_check(packed->segments[0].data, packed->bytes, OD_IPC_BATCH, &body, NULL, NULL), OD_OK);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct od_error err = {0};
            struct od_batch *forged = forge(packed, body, &cases[i].claim, sizeof cases[i].claim);
            assert_int_equal(od_ipc_decode_batch(fixture.decoder, forged, &array, &err), cases[i].expected);
            assert_non_null(strstr(err.message, cases[i].words));
            od_batch_unref(forged);
        }
        // Any byte of the frames changed: refused, or (lz4 has no checksum here) other values, never a bad access.
        for (size_t at = body; at < packed->bytes; at += 7) {
            uint8_t byte = (uint8_t)(packed->segments[0].data[at] ^ 0x55);
            struct od_batch *forged = forge(packed, at, &byte, 1);
            if (od_ipc_decode_batch(fixture.decoder, forged, &array, NULL) == OD_OK)
                array.release(&array);
            od_batch_unref(forged);
        }
        od_batch_unref(packed);
        tear_down(&fixture);
    }
}

static void every_failing_step_is_an_error(void **state)
{
    (void)state;
    struct fixture fixture;
    set_up(&fixture, ROWS, 4);
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_batch *packed = NULL;
        struct ArrowArray array;
        od_code rc = od_ipc_compress_batch(fixture.plain, OD_IPC_ZSTD, &packed, &err);
        if (rc == OD_OK) {
            rc = od_ipc_decode_batch(fixture.decoder, packed, &array, &err);
            if (rc == OD_OK)
                array.release(&array);
            od_batch_unref(packed);
        }
        od_fault_expect(&fault, rc, &err);
    }
    tear_down(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_compressed_comes_back),
        cmocka_unit_test(what_does_not_shrink_stays_plain),
        cmocka_unit_test(forged_bodies_are_refused),
        cmocka_unit_test(every_failing_step_is_an_error),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
