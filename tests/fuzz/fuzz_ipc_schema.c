// fuzz_ipc_schema.c - a schema message of arbitrary bytes is refused with a typed error, or gives a schema that can be
// encoded and decoded again.
#include "arrow/ipc.h"
#include "base/assert.h"
#include "base/limits.h"

#include <nanoarrow/nanoarrow.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct ArrowSchema schema, again;
    struct od_error err = {0};
    od_code rc = od_ipc_decode_schema(data, size, &schema, &err);
    if (rc != OD_OK) {
        od_assert(rc == OD_CORRUPT || rc == OD_UNSUPPORTED || rc == OD_LIMIT);
        od_assert(err.code == rc && err.message[0]);
        return 0;
    }
    struct od_buf message;
    od_buf_init(&message, 64 * OD_MIB);
    od_assert(od_ipc_encode_schema(&schema, &message, &err) == OD_OK);
    od_assert(od_ipc_decode_schema(message.data, message.bytes, &again, &err) == OD_OK);
    od_assert(again.n_children == schema.n_children);
    od_buf_release(&message);
    schema.release(&schema);
    again.release(&again);
    return 0;
}
