// ipc_echo.c - reads an Arrow IPC stream from standard input, decodes it, encodes it again, writes it to standard
// output. tests/integration/test_ipc_interop.py compares both ends with pyarrow.
//
//     ipc_echo [OFFSET ROWS]     writes only rows OFFSET .. OFFSET + ROWS of each batch (a slice)
//     ipc_echo lz4|zstd          compresses the batches
//
// Exit status 1 and a line on standard error, CODE: MESSAGE, when the stream is refused.
#include "arrow/ipc.h"
#include "base/limits.h"

#include <nanoarrow/nanoarrow.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static od_code read_input(struct od_buf *in, struct od_error *err)
{
    for (;;) {
        od_code rc = od_buf_reserve(in, 65536, err);
        if (rc != OD_OK)
            return rc;
        size_t got = fread(in->data + in->bytes, 1, 65536, stdin);
        in->bytes += got;
        if (got == 0)
            return OD_OK;
    }
}

// Length of the message at `at`; 0 at the end of the stream. Trusts its input: only the tests' own streams come here.
static size_t message_bytes(const struct od_buf *in, size_t at, size_t *header_bytes)
{
    uint32_t length;
    if (in->bytes - at < 8)
        return 0;
    memcpy(&length, in->data + at + 4, 4);
    *header_bytes = 8 + (size_t)length;
    if (length == 0 || in->bytes - at < *header_bytes)
        return 0;
    // The body's length is only in the flatbuffer, so it is found by asking the checker with growing lengths.
    for (size_t bytes = *header_bytes; bytes <= in->bytes - at; bytes += 8)
        if (od_ipc_check(in->data + at, bytes, OD_IPC_BATCH, NULL, NULL, NULL) != OD_CORRUPT)
            return bytes;
    return in->bytes - at;
}

static od_code echo_batch(const uint8_t *data, size_t bytes, size_t header_bytes, const struct ArrowSchema *schema,
                          struct od_ipc_decoder *decoder, const int64_t *slice, enum od_ipc_codec codec,
                          struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_message_buffer buffer = {0};
    struct od_batch *batch = NULL, *again = NULL, *packed = NULL;
    struct ArrowArray array = {.release = NULL};
    OD_TRY(od_message_buffer_get(bytes, header_bytes, &buffer, err));
    memcpy(buffer.data, data, bytes);
    batch = od_batch_from_buffer(&buffer, 0);
    OD_TRY(od_ipc_decode_batch(decoder, batch, &array, err));
    if (slice) {
        array.offset = slice[0];
        array.length = slice[1];
    }
    OD_TRY(od_ipc_encode_array(schema, &array, &again, err));
    OD_TRY(od_ipc_compress_batch(again, codec, &packed, err));
    fwrite(packed->segments[0].data, 1, packed->bytes, stdout);
out:
    if (array.release)
        array.release(&array);
    od_batch_unref(batch);
    od_batch_unref(again);
    od_batch_unref(packed);
    od_message_buffer_put(&buffer);
    return rc;
}

static od_code echo(const int64_t *slice, enum od_ipc_codec codec, struct od_error *err)
{
    od_code rc = OD_OK;
    struct ArrowSchema schema = {.release = NULL};
    struct od_ipc_decoder *decoder = NULL;
    struct od_buf in, out;
    od_buf_init(&in, 256 * OD_MIB);
    od_buf_init(&out, 256 * OD_MIB);
    OD_TRY(read_input(&in, err));
    if (in.bytes < 8)
        OD_TRY(od_fail(err, OD_INVALID, "no schema"));
    uint32_t length;
    memcpy(&length, in.data + 4, 4);
    size_t at = 8 + (size_t)length, header_bytes = 0;
    if (at > in.bytes)
        OD_TRY(od_fail(err, OD_INVALID, "the schema is cut"));
    OD_TRY(od_ipc_decode_schema(in.data, at, &schema, err));
    OD_TRY(od_ipc_decoder_new(&schema, &decoder, err));
    OD_TRY(od_ipc_encode_schema(&schema, &out, err));
    fwrite(out.data, 1, out.bytes, stdout);
    for (size_t bytes; (bytes = message_bytes(&in, at, &header_bytes)) > 0; at += bytes)
        OD_TRY(echo_batch(in.data + at, bytes, header_bytes, &schema, decoder, slice, codec, err));
    fwrite(od_ipc_end_of_stream, 1, sizeof od_ipc_end_of_stream, stdout);
out:
    od_ipc_decoder_free(decoder);
    if (schema.release)
        schema.release(&schema);
    od_buf_release(&in);
    od_buf_release(&out);
    return rc;
}

int main(int argc, char **argv)
{
    struct od_error err = {0};
    int64_t slice[2] = {0};
    if (argc == 3) {
        slice[0] = strtoll(argv[1], NULL, 10);
        slice[1] = strtoll(argv[2], NULL, 10);
    }
    enum od_ipc_codec codec = OD_IPC_PLAIN;
    if (argc == 2)
        codec = strcmp(argv[1], "lz4") == 0 ? OD_IPC_LZ4 : OD_IPC_ZSTD;
    od_code rc = echo(argc == 3 ? slice : NULL, codec, &err);
    if (rc != OD_OK)
        fprintf(stderr, "%s: %s\n", od_code_name(rc), err.message);
    return rc != OD_OK;
}
