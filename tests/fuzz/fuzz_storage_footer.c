// fuzz_storage_footer.c - trailers and footers of layers: what decodes has possible values, and what is encoded from that
// comes back as it was. The hash of a trailer is made right first, so that the rest of it is looked at.
#include "base/assert.h"
#include "storage/bytes.h"
#include "storage/footer.h"

#include <string.h>

#define DEPTH_AT 160u
#define FOOTER_BYTES_MIN 272u

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void try_trailer(const uint8_t *data)
{
    uint8_t copy[OD_TRAILER_BYTES], again[OD_TRAILER_BYTES];
    struct od_trailer trailer;
    memcpy(copy, data, sizeof copy);
    od_put64(copy + 56, od_storage_hash(copy, 56, 0));
    uint64_t object_bytes = od_get64(copy + 40);
    if (object_bytes < OD_TRAILER_BYTES || od_trailer_decode(copy, object_bytes, "fuzz", &trailer, NULL) != OD_OK)
        return;
    od_assert(trailer.footer_offset >= OD_JOURNAL_HEADER_BYTES && trailer.footer_bytes <= OD_FOOTER_BYTES_MAX);
    od_assert(trailer.footer_offset + trailer.footer_bytes + OD_TRAILER_BYTES == object_bytes);
    od_trailer_encode(&trailer, again);
    od_assert(memcmp(again, copy, 12) == 0 && memcmp(again + 16, copy + 16, 40) == 0);
}

// Returns the bytes of the footer made from it, without the trailer; 0: it is none.
static size_t reencode(const uint8_t *data, size_t bytes, uint32_t version, struct od_buf *out)
{
    struct od_journal_header header = {.block_bytes = 16384, .depth = OD_PLACE_DEPTH_MAX};
    struct od_footer footer = {0};
    if (bytes >= FOOTER_BYTES_MIN && version == 1)
        header.depth = (uint32_t)od_get64(data + DEPTH_AT);
    od_code rc = od_footer_decode(data, bytes, version, &header, "fuzz", UINT64_C(1) << 40, &footer, NULL);
    if (rc == OD_OK)
        rc = od_footer_encode(&footer, &header, 0, OD_JOURNAL_HEADER_BYTES, out, NULL);
    od_footer_release(&footer);
    return rc == OD_OK ? out->bytes - OD_TRAILER_BYTES : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes >= OD_TRAILER_BYTES)
        try_trailer(data + bytes - OD_TRAILER_BYTES);
    for (uint32_t version = 1; version <= OD_FOOTER_VERSION; version++) {
        struct od_buf once, twice;
        od_buf_init(&once, 64 << 20);
        od_buf_init(&twice, 64 << 20);
        size_t made = reencode(data, bytes, version, &once);
        if (made) // the first time entries outside the ledger's window go
            od_assert(reencode(once.data, made, version, &twice) == made &&
                      memcmp(once.data, twice.data, made) == 0);
        od_buf_release(&once);
        od_buf_release(&twice);
    }
    return 0;
}
