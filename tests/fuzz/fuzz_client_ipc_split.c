// fuzz_client_ipc_split.c - a stream of a first-generation server, of arbitrary bytes: the pieces lie inside it, one
// after the other, and it comes to an end.
#include "base/assert.h"
#include "client/ipc_split.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct od_ipc_split split;
    struct od_ipc_piece piece;
    struct od_error err = {0};
    const uint8_t *at = data;
    bool more = true;
    od_ipc_split_init(&split, data, size);
    for (;;) {
        od_code rc = od_ipc_split_next(&split, &piece, &more, &err);
        if (rc != OD_OK) {
            od_assert((rc == OD_CORRUPT || rc == OD_UNSUPPORTED) && err.code == rc && err.message[0]);
            return 0;
        }
        if (!more)
            return 0;
        od_assert(piece.message >= at && piece.message <= data + size);
        od_assert(piece.bytes > 0 && piece.bytes <= (size_t)(data + size - piece.message));
        od_assert(piece.header_bytes <= piece.bytes);
        at = piece.message + piece.bytes;
    }
}
