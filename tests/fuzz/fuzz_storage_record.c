// fuzz_storage_record.c - header blocks, records and barriers of a journal: whatever decodes has possible values, and
// encodes to the same bytes.
#include "base/assert.h"
#include "storage/record.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
    if (bytes >= OD_JOURNAL_HEADER_BYTES) {
        struct od_journal_header header;
        uint64_t chain;
        if (od_journal_header_decode(data, "fuzz", &header, &chain, NULL) == OD_OK)
            od_assert(header.block_bytes >= 16384 && header.block_bytes <= 262144);
        data += OD_JOURNAL_HEADER_BYTES;
        bytes -= OD_JOURNAL_HEADER_BYTES;
    }
    struct od_barrier barrier;
    if (od_barrier_decode(data, bytes, &barrier)) {
        uint8_t again[OD_BARRIER_BYTES_MAX];
        od_assert(od_barrier_encode(&barrier, again) == bytes && memcmp(again, data, bytes) == 0);
    }
    if (bytes >= OD_RECORD_HEADER_BYTES) {
        struct od_record record;
        if (od_record_decode(data, 1, 4096, &record))
            od_assert(record.op < OD_RECORD_OPS && record.file < OD_VOLUME_FILES &&
                      record.bytes <= OD_RECORD_PAYLOAD_MAX);
    }
    return 0;
}
