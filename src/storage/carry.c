// carry.c - what a footer refers to in older layers, brought along in this one; see footer.h.
//
// A database is opened by reading its headers, its WAL files and the first leaves of its page table. Written at different
// times, they lie in different layers; an empty machine would ask for each. So a seal copies them behind the layer's own
// records, when they are small, or spread over many layers. What is copied depends on the parent's footer and the layer's
// records alone: sealing again does the same.
//
// A copy is 48 zero bytes, where a record would have its header, and the payload, padded to a multiple of 16.
#include "storage/footer.h"

#include "base/alloc.h"

#include <string.h>

#define CARRY_WAL_SMALL (UINT64_C(256) << 10) // carried whenever some of it lies elsewhere
#define CARRY_WAL_MAX (UINT64_C(32) << 20)    // carried when it lies in more than CARRY_LAYERS
#define CARRY_LAYERS 8u
#define CARRY_LEAVES 2u
#define CARRY_PIECE (256u << 10)

struct carry {
    struct od_footer *footer;
    struct od_lineage *lineage;
    uint32_t depth; // of the layer that is being sealed
    uint64_t at;    // of out's first byte in the object
    struct od_buf *out;
    size_t before; // bytes of out that were there
};

// A payload where it is, verified.
static od_code read_payload(struct carry *carry, od_place place, uint64_t hash, void *out, uint32_t bytes,
                            struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *layer;
    uint64_t at = od_place_offset(place) + OD_RECORD_HEADER_BYTES;
    OD_TRY(od_lineage_get(carry->lineage, od_place_depth(place), &layer, err));
    OD_TRY(od_journal_read(layer, at, out, bytes, err));
    if (od_storage_hash(out, bytes, 0) != hash)
        rc = od_fail(err, OD_CORRUPT, "%s: the payload at offset %llu fails verification", layer->path,
                     (unsigned long long)at);
out:
    return rc;
}

static od_code put_payload(struct carry *carry, const void *payload, uint32_t bytes, od_place *place,
                           struct od_error *err)
{
    static const uint8_t zeros[OD_RECORD_HEADER_BYTES];
    od_code rc = OD_OK;
    *place = od_place_make(carry->depth, carry->at + (carry->out->bytes - carry->before));
    OD_TRY(od_buf_append(carry->out, zeros, sizeof zeros, err));
    OD_TRY(od_buf_append(carry->out, payload, bytes, err));
    OD_TRY(od_buf_append(carry->out, zeros, (OD_RECORD_ALIGN - bytes % OD_RECORD_ALIGN) % OD_RECORD_ALIGN, err));
out:
    return rc;
}

static bool is_elsewhere(const struct carry *carry, od_place place)
{
    return place && od_place_depth(place) != carry->depth;
}

static od_code carry_headers(struct carry *carry, struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t header[OD_GRID_HEADER_BYTES];
    for (unsigned i = 0; i < OD_GRID_HEADERS && rc == OD_OK; i++) {
        struct od_page *page = &carry->footer->files.headers[i];
        if (!is_elsewhere(carry, page->place))
            continue;
        OD_TRY(read_payload(carry, page->place, page->hash, header, sizeof header, err));
        OD_TRY(put_payload(carry, header, sizeof header, &page->place, err));
    }
out:
    return rc;
}

// A leaf without a place is written by od_footer_encode.
static od_code carry_leaves(struct carry *carry, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_page_table *table = &carry->footer->files.blocks;
    if (table->count > CARRY_LEAVES)
        return OD_OK;
    for (size_t i = 0; i < table->count && rc == OD_OK; i++) {
        if (!is_elsewhere(carry, table->roots[i].place))
            continue;
        OD_TRY(od_page_load(table, i * (uint64_t)OD_LEAF_ENTRIES, err));
        table->roots[i] = (struct od_page){0};
    }
out:
    return rc;
}

// Should the WAL files be brought along?
static bool wal_is_spread(const struct carry *carry)
{
    uint32_t depths[CARRY_LAYERS];
    unsigned layers = 0;
    uint64_t bytes = 0;
    bool elsewhere = false, many = false;
    for (int file = OD_VOLUME_WAL; file < OD_VOLUME_FILES; file++) {
        const struct od_extents *extents = &carry->footer->files.extents[file];
        for (size_t i = 0; i < extents->count; i++) {
            uint32_t depth = od_place_depth(extents->items[i].place);
            unsigned seen = 0;
            bytes += extents->items[i].bytes;
            elsewhere = elsewhere || depth != carry->depth;
            while (seen < layers && depths[seen] != depth)
                seen++;
            if (seen == layers && layers == CARRY_LAYERS)
                many = true;
            else if (seen == layers)
                depths[layers++] = depth;
        }
    }
    return elsewhere && (bytes <= CARRY_WAL_SMALL || (many && bytes <= CARRY_WAL_MAX));
}

// The pieces that follow each other without a gap from `first` on, as far as one copy holds them; their bytes go to `piece`.
static od_code gather(struct carry *carry, const struct od_extents *extents, size_t *first, uint8_t *piece,
                      uint8_t *payload, uint32_t *bytes, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t begin = extents->items[*first].offset;
    *bytes = 0;
    while (*first < extents->count && rc == OD_OK) {
        const struct od_extent *extent = &extents->items[*first];
        if (extent->offset != begin + *bytes || (*bytes > 0 && *bytes + extent->bytes > CARRY_PIECE))
            break;
        OD_TRY(read_payload(carry, extent->place, extent->hash, payload, extent->payload_bytes, err));
        memcpy(piece + *bytes, payload + extent->skip, extent->bytes);
        *bytes += extent->bytes;
        ++*first;
    }
out:
    return rc;
}

static od_code carry_wal_file(struct carry *carry, struct od_extents *extents, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_extents carried = {0};
    uint32_t largest = CARRY_PIECE;
    if (extents->count == 0)
        return OD_OK;
    for (size_t i = 0; i < extents->count; i++)
        if (extents->items[i].payload_bytes > largest)
            largest = extents->items[i].payload_bytes;
    uint8_t *piece = od_alloc(largest), *payload = od_alloc(largest);
    if (!piece || !payload)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a WAL file"));
    for (size_t next = 0; next < extents->count;) {
        struct od_extent made = {.offset = extents->items[next].offset};
        OD_TRY(gather(carry, extents, &next, piece, payload, &made.bytes, err));
        made.payload_bytes = made.bytes;
        made.hash = od_storage_hash(piece, made.bytes, 0);
        OD_TRY(put_payload(carry, piece, made.bytes, &made.place, err));
        OD_TRY(od_extents_prepare(&carried, err));
        od_extents_overlay(&carried, made);
    }
    od_extents_release(extents);
    *extents = carried;
    carried = (struct od_extents){0};
out:
    od_free(piece);
    od_free(payload);
    od_extents_release(&carried);
    return rc;
}

od_code od_footer_carry(struct od_footer *footer, struct od_lineage *lineage, uint32_t depth, uint64_t at,
                        struct od_buf *out, struct od_error *err)
{
    od_code rc = OD_OK;
    struct carry carry = {footer, lineage, depth, at, out, out->bytes};
    OD_TRY(carry_headers(&carry, err));
    OD_TRY(carry_leaves(&carry, err));
    if (wal_is_spread(&carry))
        for (int file = OD_VOLUME_WAL; file < OD_VOLUME_FILES; file++)
            OD_TRY(carry_wal_file(&carry, &footer->files.extents[file], err));
out:
    return rc;
}
