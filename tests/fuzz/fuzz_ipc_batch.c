// fuzz_ipc_batch.c - a schema message followed by a batch message, both of arbitrary bytes. A batch that is accepted is
// encoded again, which reads every value of it; the result must decode, and encode to the same bytes once more.
#include "arrow/ipc.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"

#include <nanoarrow/nanoarrow.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Memory of exactly the message's size, so that a read beyond it is seen.
static struct od_batch *exact_batch(const uint8_t *data, size_t size)
{
    uint8_t *copy = od_aligned_alloc(64, size);
    od_assert(copy);
    memcpy(copy, data, size);
    struct od_segment whole = {copy, size};
    struct od_batch *batch = od_batch_new(&whole, 1, 0, size, od_free, copy);
    od_assert(batch);
    return batch;
}

static struct od_batch *encode(const struct ArrowSchema *schema, const struct ArrowArray *array)
{
    struct od_batch *batch = NULL;
    struct od_error err = {0};
    od_code rc = od_ipc_encode_array(schema, array, &batch, &err);
    od_assert(rc == OD_OK || rc == OD_LIMIT); // buffers that overlap may add up to more than one message
    return batch;
}

static void check_batch(const struct ArrowSchema *schema, const uint8_t *data, size_t size)
{
    struct od_ipc_decoder *decoder = NULL;
    struct ArrowArray array, again;
    struct od_error err = {0};
    od_assert(od_ipc_decoder_new(schema, &decoder, &err) == OD_OK);
    struct od_batch *batch = exact_batch(data, size);
    od_code rc = od_ipc_decode_batch(decoder, batch, &array, &err);
    od_batch_unref(batch); // the array holds its own reference
    if (rc != OD_OK) {
        od_assert(rc == OD_CORRUPT || rc == OD_UNSUPPORTED || rc == OD_LIMIT);
        od_assert(err.code == rc && err.message[0]);
    } else {
        struct od_batch *first = encode(schema, &array);
        if (first) {
            od_assert(od_ipc_decode_batch(decoder, first, &again, &err) == OD_OK);
            od_assert(again.length == array.length);
            struct od_batch *second = encode(schema, &again);
            od_assert(second && second->bytes == first->bytes &&
                      memcmp(first->segments[0].data, second->segments[0].data, first->bytes) == 0);
            od_batch_unref(second);
            again.release(&again);
        }
        od_batch_unref(first);
        array.release(&array);
    }
    od_ipc_decoder_free(decoder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint32_t header_bytes;
    if (size < 8)
        return 0;
    memcpy(&header_bytes, data + 4, 4);
    if (header_bytes > size - 8)
        return 0;
    size_t schema_bytes = 8 + (size_t)header_bytes;
    struct ArrowSchema schema;
    if (od_ipc_decode_schema(data, schema_bytes, &schema, NULL) != OD_OK)
        return 0;
    check_batch(&schema, data + schema_bytes, size - schema_bytes);
    schema.release(&schema);
    return 0;
}
