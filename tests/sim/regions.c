// regions.c - see regions.h. Reads with the storage's own decoders.
#include "sim/regions.h"

#include "storage/footer.h"

static size_t add(struct sim_region *regions, size_t count, size_t limit, enum sim_region_kind kind, uint64_t offset,
                  uint64_t bytes)
{
    if (count < limit && bytes > 0)
        regions[count++] = (struct sim_region){kind, offset, bytes};
    return count;
}

size_t sim_regions(const struct sim_bytes *content, bool sealed, struct sim_region *regions, size_t limit)
{
    uint8_t block[OD_JOURNAL_HEADER_BYTES], end[OD_TRAILER_BYTES];
    struct od_journal_header header;
    struct od_trailer trailer = {0};
    uint64_t chain, at = sizeof block;
    size_t count = 0;
    if (!sim_bytes_read(content, 0, block, sizeof block) ||
        od_journal_header_decode(block, "layer", &header, &chain, NULL) != OD_OK)
        return add(regions, 0, limit, SIM_REGION_DESCRIPTION, 0, content->size);
    count = add(regions, count, limit, SIM_REGION_HEADER, 0, sizeof block);
    const uint64_t seed = od_record_seed(&header.layer);
    for (;;) {
        struct od_record record;
        uint8_t bytes[OD_RECORD_HEADER_BYTES];
        if (!sim_bytes_read(content, at, bytes, sizeof bytes) ||
            !od_record_decode(bytes, seed, header.first_lsn + (at - sizeof block), &record))
            break;
        count = add(regions, count, limit, SIM_REGION_RECORD, at, sizeof bytes);
        count = add(regions, count, limit, SIM_REGION_PAYLOAD, at + sizeof bytes, record.bytes);
        at += od_record_bytes(record.bytes);
    }
    if (!sealed || !sim_bytes_read(content, content->size - sizeof end, end, sizeof end) ||
        od_trailer_decode(end, content->size, "layer", &trailer, NULL) != OD_OK)
        return count;
    count = add(regions, count, limit, SIM_REGION_LEAVES, at, trailer.footer_offset - at);
    count = add(regions, count, limit, SIM_REGION_FOOTER, trailer.footer_offset, trailer.footer_bytes);
    return add(regions, count, limit, SIM_REGION_TRAILER, content->size - sizeof end, sizeof end);
}
