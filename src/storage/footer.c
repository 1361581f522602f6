// footer.c - layouts of leaves, footer and trailer; see footer.h.
#include "storage/footer.h"

#include "base/alloc.h"
#include "storage/bytes.h"

#include <string.h>

static const char TRAILER_MAGIC[8] = {'O', 'D', 'L', 'A', 'Y', 'E', 'N', 'D'};

#define FIXED_BYTES 272u
#define COUNTS_AT 120u
#define HEADER_AT 168u // what the header block says: its first bytes; the rest of it follows
#define HEADER_BYTES 104u
#define PAGE_BYTES 16u
#define EXTENT_BYTES 40u
#define LEDGER_BYTES 40u
#define BELOW_BYTES 24u
#define BELOW_BYTES_V1 16u // of version 1: all, in order, without their depth
#define PRUNED_BYTES 8u
#define FILE_ABSENT UINT64_MAX
#define TAIL_BYTES 65536u // read at once: most footers are shorter
#define LEAF_BYTES (OD_LEAF_ENTRIES * PAGE_BYTES)

// ---- encoding

static od_code put_page(struct od_buf *out, struct od_page page, struct od_error *err)
{
    uint8_t bytes[PAGE_BYTES];
    od_put64(bytes, page.place & ~OD_PLACE_VERIFIED);
    od_put64(bytes + 8, page.hash);
    return od_buf_append(out, bytes, sizeof bytes, err);
}

static od_code put_leaves(struct od_page_table *table, uint32_t depth, uint64_t at, struct od_buf *out,
                          struct od_error *err)
{
    od_code rc = OD_OK;
    size_t before = out->bytes;
    for (size_t i = 0; i < table->count; i++) {
        if (!table->leaves[i] || table->roots[i].place)
            continue;
        size_t begin = out->bytes;
        for (unsigned j = 0; j < OD_LEAF_ENTRIES; j++)
            OD_TRY(put_page(out, table->leaves[i]->pages[j], err));
        table->roots[i].place = od_place_make(depth, at + (begin - before));
        table->roots[i].hash = od_storage_hash(out->data + begin, LEAF_BYTES, 0);
    }
out:
    return rc;
}

static od_code put_extent(struct od_buf *out, const struct od_extent *extent, struct od_error *err)
{
    uint8_t bytes[EXTENT_BYTES];
    od_put64(bytes, extent->offset);
    od_put64(bytes + 8, extent->place & ~OD_PLACE_VERIFIED);
    od_put64(bytes + 16, extent->hash);
    od_put32(bytes + 24, extent->skip);
    od_put32(bytes + 28, extent->bytes);
    od_put32(bytes + 32, extent->payload_bytes);
    od_put32(bytes + 36, 0);
    return od_buf_append(out, bytes, sizeof bytes, err);
}

static od_code put_ledger(struct od_buf *out, const struct od_ledger *ledger, struct od_error *err)
{
    od_code rc = OD_OK;
    for (uint32_t i = 0; i < ledger->count && rc == OD_OK; i++) {
        const struct od_ledger_item *item = &ledger->items[(ledger->first + i) & (ledger->capacity - 1)];
        uint8_t bytes[LEDGER_BYTES];
        od_put64(bytes, item->id[0]);
        od_put64(bytes + 8, item->id[1]);
        od_put64(bytes + 16, item->changed_rows);
        od_put64(bytes + 24, item->time_us);
        od_put64(bytes + 32, item->lsn);
        rc = od_buf_append(out, bytes, sizeof bytes, err);
    }
    return rc;
}

static od_code put_below(struct od_buf *out, const struct od_footer *footer, struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t bytes[BELOW_BYTES] = {0};
    if (footer->version > 1) {
        od_put32(bytes, footer->pruned_depth);
        od_put32(bytes + 4, footer->pruned_count);
        OD_TRY(od_buf_append(out, bytes, PRUNED_BYTES, err));
    }
    for (uint32_t i = 0; i < footer->below_count && rc == OD_OK; i++) {
        memcpy(bytes, footer->below[i].layer.bytes, 16);
        od_put32(bytes + 16, footer->below[i].depth);
        od_put32(bytes + 20, 0);
        rc = od_buf_append(out, bytes, footer->version > 1 ? BELOW_BYTES : BELOW_BYTES_V1, err);
    }
out:
    return rc;
}

static od_code put_body(struct od_footer *footer, const struct od_journal_header *header, struct od_buf *out,
                        struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t fixed[FIXED_BYTES], block[OD_JOURNAL_HEADER_BYTES];
    const struct od_files *files = &footer->files;
    od_put64(fixed, footer->end.lsn);
    od_put64(fixed + 8, footer->end.chain);
    od_put64(fixed + 16, footer->end.first_time_us);
    od_put64(fixed + 24, footer->end.time_us);
    od_put64(fixed + 32, footer->end.barriers);
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        od_put64(fixed + 40 + 8 * i, files->states[i].exists ? files->states[i].size : FILE_ABSENT);
    for (unsigned i = 0; i < OD_GRID_HEADERS; i++) {
        od_put64(fixed + 72 + PAGE_BYTES * i, files->headers[i].place & ~OD_PLACE_VERIFIED);
        od_put64(fixed + 80 + PAGE_BYTES * i, files->headers[i].hash);
    }
    od_put64(fixed + COUNTS_AT, files->blocks.count);
    for (int i = OD_VOLUME_WAL; i < OD_VOLUME_FILES; i++)
        od_put64(fixed + COUNTS_AT + 8 * i, files->extents[i].count);
    od_put64(fixed + COUNTS_AT + 32, footer->ledger.count);
    od_put64(fixed + COUNTS_AT + 40, footer->below_count);
    od_journal_header_encode(header, block);
    memcpy(fixed + HEADER_AT, block, HEADER_BYTES);
    OD_TRY(od_buf_append(out, fixed, sizeof fixed, err));
    for (size_t i = 0; i < files->blocks.count; i++)
        OD_TRY(put_page(out, files->blocks.roots[i], err));
    for (int i = OD_VOLUME_WAL; i < OD_VOLUME_FILES; i++)
        for (size_t j = 0; j < files->extents[i].count; j++)
            OD_TRY(put_extent(out, &files->extents[i].items[j], err));
    OD_TRY(put_ledger(out, &footer->ledger, err));
    OD_TRY(put_below(out, footer, err));
out:
    return rc;
}

void od_trailer_encode(const struct od_trailer *trailer, uint8_t out[OD_TRAILER_BYTES])
{
    memcpy(out, TRAILER_MAGIC, sizeof TRAILER_MAGIC);
    od_put32(out + 8, trailer->version);
    od_put32(out + 12, 0);
    od_put64(out + 16, trailer->footer_offset);
    od_put64(out + 24, trailer->footer_bytes);
    od_put64(out + 32, trailer->footer_hash);
    od_put64(out + 40, trailer->object_bytes);
    od_put64(out + 48, trailer->head_chain);
    od_put64(out + 56, od_storage_hash(out, 56, 0));
}

od_code od_footer_encode(struct od_footer *footer, const struct od_journal_header *header, uint64_t head_chain,
                         uint64_t at, struct od_buf *out, struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t trailer[OD_TRAILER_BYTES];
    size_t before = out->bytes;
    OD_TRY(put_leaves(&footer->files.blocks, header->depth, at, out, err));
    size_t begin = out->bytes;
    OD_TRY(put_body(footer, header, out, err));
    struct od_trailer ends = {
        .footer_offset = at + (begin - before),
        .footer_bytes = out->bytes - begin,
        .footer_hash = od_storage_hash(out->data + begin, out->bytes - begin, 0),
        .object_bytes = at + (out->bytes - before) + OD_TRAILER_BYTES,
        .head_chain = head_chain,
        .version = footer->version,
    };
    od_trailer_encode(&ends, trailer);
    OD_TRY(od_buf_append(out, trailer, sizeof trailer, err));
out:
    return rc;
}

// ---- decoding

od_code od_trailer_decode(const uint8_t in[OD_TRAILER_BYTES], uint64_t object_bytes, const char *name,
                          struct od_trailer *trailer, struct od_error *err)
{
    uint64_t at = object_bytes - OD_TRAILER_BYTES;
    if (memcmp(in, TRAILER_MAGIC, sizeof TRAILER_MAGIC) != 0)
        return od_fail(err, OD_CORRUPT,
                       "%s has no trailer at its end (offset %llu): it was never sealed, or is cut off", name,
                       (unsigned long long)at);
    *trailer = (struct od_trailer){od_get64(in + 16), od_get64(in + 24), od_get64(in + 32),
                                   od_get64(in + 40), od_get64(in + 48), od_get32(in + 8)};
    if (od_get64(in + 56) != od_storage_hash(in, 56, 0) || trailer->object_bytes != object_bytes ||
        trailer->footer_bytes < FIXED_BYTES || trailer->footer_bytes > OD_FOOTER_BYTES_MAX ||
        trailer->footer_offset < OD_JOURNAL_HEADER_BYTES || trailer->footer_offset > at ||
        trailer->footer_bytes != at - trailer->footer_offset)
        return od_fail(err, OD_CORRUPT, "%s: the trailer fails verification (offset %llu)", name,
                       (unsigned long long)at);
    if (trailer->version < 1 || trailer->version > OD_FOOTER_VERSION)
        return od_fail(err, OD_UNSUPPORTED, "%s has format version %u; this program reads versions 1 to %u", name,
                       trailer->version, OD_FOOTER_VERSION);
    return OD_OK;
}

static struct od_page get_page(const uint8_t *in)
{
    return (struct od_page){od_get64(in) & ~OD_PLACE_VERIFIED, od_get64(in + 8)};
}

static od_code get_roots(struct od_page_table *table, const uint8_t *in, size_t count, struct od_error *err)
{
    od_code rc = count ? od_page_table_grow(table, count, err) : OD_OK;
    for (size_t i = 0; i < count && rc == OD_OK; i++)
        table->roots[i] = get_page(in + i * PAGE_BYTES);
    return rc;
}

static od_code get_extents(struct od_extents *extents, const uint8_t *in, size_t count, struct od_error *err)
{
    extents->items = od_alloc((count + 2) * sizeof *extents->items);
    if (!extents->items)
        return od_fail(err, OD_NO_MEMORY, "out of memory for %zu WAL extents", count);
    extents->capacity = count + 2;
    for (size_t i = 0; i < count; i++, in += EXTENT_BYTES) {
        struct od_extent extent = {od_get64(in),
                                   od_get64(in + 8),
                                   od_get64(in + 16),
                                   od_get32(in + 24),
                                   od_get32(in + 28),
                                   od_get32(in + 32),
                                   0};
        uint64_t end = i ? extents->items[i - 1].offset + extents->items[i - 1].bytes : 0;
        if (extent.offset < end || extent.bytes == 0 || extent.payload_bytes > OD_RECORD_PAYLOAD_MAX ||
            extent.skip > extent.payload_bytes || extent.bytes > extent.payload_bytes - extent.skip ||
            extent.offset + extent.bytes < extent.offset)
            return od_fail(err, OD_CORRUPT, "a WAL extent cannot be");
        extents->items[i] = extent;
        extents->count = i + 1;
    }
    return OD_OK;
}

static od_code get_ledger(struct od_ledger *ledger, const uint8_t *in, size_t count, struct od_error *err)
{
    od_code rc = OD_OK;
    for (size_t i = 0; i < count && rc == OD_OK; i++, in += LEDGER_BYTES) {
        struct od_ledger_item item = {
            {od_get64(in), od_get64(in + 8)}, od_get64(in + 16), od_get64(in + 24), od_get64(in + 32)};
        rc = od_ledger_prepare(ledger, err);
        if (rc == OD_OK)
            od_ledger_add_item(ledger, &item);
    }
    return rc;
}

// Do the counts add up to the footer's bytes?
static bool counts_fit(const uint64_t counts[6], uint32_t version, size_t bytes)
{
    const uint64_t sizes[6] = {PAGE_BYTES,   EXTENT_BYTES, EXTENT_BYTES,
                               EXTENT_BYTES, LEDGER_BYTES, version > 1 ? BELOW_BYTES : BELOW_BYTES_V1};
    uint64_t sum = FIXED_BYTES + (version > 1 ? PRUNED_BYTES : 0);
    for (int i = 0; i < 6; i++) {
        if (counts[i] > bytes)
            return false;
        sum += counts[i] * sizes[i];
    }
    return sum == bytes && counts[0] <= OD_BLOCKS_MAX / OD_LEAF_ENTRIES;
}

static od_code get_below(struct od_footer *footer, const uint8_t *in, uint32_t count, struct od_error *err)
{
    bool all = footer->version == 1;
    footer->below = od_alloc(count ? count * sizeof *footer->below : 1);
    if (!footer->below)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a list of %u layers", count);
    if (!all) {
        footer->pruned_depth = od_get32(in);
        footer->pruned_count = od_get32(in + 4);
        in += PRUNED_BYTES;
    }
    if (footer->pruned_depth > footer->depth || (all && count != footer->depth))
        return od_fail(err, OD_CORRUPT, "the list of the layers below cannot be");
    for (uint32_t i = 0; i < count; i++, in += all ? BELOW_BYTES_V1 : BELOW_BYTES) {
        struct od_layer_ref *ref = &footer->below[i];
        memcpy(ref->layer.bytes, in, 16);
        ref->depth = all ? i : od_get32(in + 16);
        if (ref->depth >= footer->depth || (i > 0 && ref->depth <= ref[-1].depth) || (!all && od_get32(in + 20) != 0))
            return od_fail(err, OD_CORRUPT, "the list of the layers below cannot be");
        footer->below_count = i + 1;
    }
    return OD_OK;
}

od_code od_footer_decode(const uint8_t *in, size_t bytes, uint32_t version, const struct od_journal_header *header,
                         const char *name, uint64_t window_us, struct od_footer *footer, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t counts[6] = {0};
    *footer = (struct od_footer){.ledger.window_us = window_us,
                                 .files.block_bytes = header->block_bytes,
                                 .depth = header->depth,
                                 .version = version};
    for (int i = 0; i < 6 && bytes >= FIXED_BYTES; i++)
        counts[i] = od_get64(in + COUNTS_AT + 8 * i);
    if (bytes < FIXED_BYTES || !counts_fit(counts, version, bytes) || counts[5] > header->depth ||
        od_get64(in) < header->first_lsn || od_get64(in) % OD_RECORD_ALIGN)
        return od_fail(err, OD_CORRUPT, "%s: the footer has impossible values", name);
    footer->end = (struct od_journal_end){.lsn = od_get64(in),
                                          .chain = od_get64(in + 8),
                                          .first_time_us = od_get64(in + 16),
                                          .time_us = od_get64(in + 24),
                                          .barriers = od_get64(in + 32)};
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        uint64_t size = od_get64(in + 40 + 8 * i);
        footer->files.states[i] = (struct od_file_state){size != FILE_ABSENT, size != FILE_ABSENT ? size : 0};
    }
    for (unsigned i = 0; i < OD_GRID_HEADERS; i++)
        footer->files.headers[i] = get_page(in + 72 + PAGE_BYTES * i);
    in += FIXED_BYTES;
    OD_TRY(get_roots(&footer->files.blocks, in, (size_t)counts[0], err));
    in += counts[0] * PAGE_BYTES;
    for (int i = OD_VOLUME_WAL; i < OD_VOLUME_FILES; i++) {
        OD_TRY(get_extents(&footer->files.extents[i], in, (size_t)counts[i], err));
        in += counts[i] * EXTENT_BYTES;
    }
    OD_TRY(get_ledger(&footer->ledger, in, (size_t)counts[4], err));
    in += counts[4] * LEDGER_BYTES;
    OD_TRY(get_below(footer, in, (uint32_t)counts[5], err));
out:
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "%s", name);
}

void od_footer_release(struct od_footer *footer)
{
    od_free(footer->below);
    od_files_release(&footer->files);
    od_ledger_release(&footer->ledger);
    *footer = (struct od_footer){0};
}

// The header block as the footer tells it; the trailer says that it is the one at the object's beginning.
static od_code get_header(const uint8_t *in, size_t bytes, const struct od_trailer *trailer, const char *name,
                          struct od_journal_header *header, struct od_error *err)
{
    uint8_t block[OD_JOURNAL_HEADER_BYTES] = {0};
    uint64_t chain;
    if (bytes < FIXED_BYTES)
        return od_fail(err, OD_CORRUPT, "%s: the footer has impossible values", name);
    memcpy(block, in + HEADER_AT, HEADER_BYTES);
    od_put64(block + sizeof block - 8, od_storage_hash(block, sizeof block - 8, 0));
    od_code rc = od_journal_header_decode(block, name, header, &chain, err);
    if (rc == OD_OK && chain != trailer->head_chain)
        rc = od_fail(err, OD_CORRUPT, "%s: the footer and the trailer belong to different header blocks", name);
    return rc;
}

// Where the bytes are read.
struct source {
    struct od_journal *layer; // or
    struct od_object *object;
    const char *name;
    uint64_t bytes;
};

static od_code source_read(const struct source *source, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    return source->layer ? od_journal_read(source->layer, offset, out, bytes, err)
                         : od_object_read(source->object, offset, out, bytes, err);
}

static od_code read_footer(const struct source *source, uint64_t window_us, struct od_trailer *trailer,
                           struct od_journal_header *header, struct od_footer *footer, struct od_error *err)
{
    od_code rc = OD_OK;
    uint8_t *tail = NULL, *rest = NULL;
    const char *name = source->name;
    if (source->bytes < OD_JOURNAL_HEADER_BYTES + OD_TRAILER_BYTES)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s is cut off at offset %llu", name, (unsigned long long)source->bytes));
    uint64_t behind = source->bytes - OD_JOURNAL_HEADER_BYTES;
    size_t near = behind < TAIL_BYTES ? (size_t)behind : TAIL_BYTES;
    tail = od_alloc(near);
    if (!tail)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the footer of %s", name));
    OD_TRY(source_read(source, source->bytes - near, tail, near, err));
    OD_TRY(od_trailer_decode(tail + near - OD_TRAILER_BYTES, source->bytes, name, trailer, err));
    size_t bytes = (size_t)trailer->footer_bytes;
    const uint8_t *body = NULL;
    if (bytes + OD_TRAILER_BYTES <= near) {
        body = tail + near - OD_TRAILER_BYTES - bytes;
    } else {
        rest = od_alloc(bytes);
        if (!rest)
            OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the footer of %s", name));
        OD_TRY(source_read(source, trailer->footer_offset, rest, bytes, err));
        body = rest;
    }
    if (od_storage_hash(body, bytes, 0) != trailer->footer_hash)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s: the footer fails verification (offset %llu)", name,
                       (unsigned long long)trailer->footer_offset));
    OD_TRY(get_header(body, bytes, trailer, name, header, err));
    OD_TRY(od_footer_decode(body, bytes, trailer->version, header, name, window_us, footer, err));
out:
    od_free(tail);
    od_free(rest);
    return rc;
}

od_code od_footer_read_object(struct od_object *object, const char *name, uint64_t window_us,
                              struct od_journal_header *header, struct od_footer *footer, struct od_error *err)
{
    struct source source = {.object = object, .name = name, .bytes = od_object_bytes(object)};
    struct od_trailer trailer;
    *footer = (struct od_footer){0};
    return read_footer(&source, window_us, &trailer, header, footer, err);
}

od_code od_footer_read(struct od_journal *layer, uint64_t window_us, struct od_footer *footer, struct od_error *err)
{
    struct source source = {.layer = layer, .name = layer->path};
    struct od_trailer trailer;
    struct od_journal_header header;
    *footer = (struct od_footer){0};
    od_code rc = od_journal_size(layer, &source.bytes, err);
    if (rc == OD_OK)
        rc = read_footer(&source, window_us, &trailer, &header, footer, err);
    if (rc == OD_OK && trailer.head_chain != layer->head_chain)
        rc = od_fail(err, OD_CORRUPT, "%s: the trailer belongs to another header block (offset %llu)", layer->path,
                     (unsigned long long)(source.bytes - OD_TRAILER_BYTES));
    return rc;
}

od_code od_layer_load_leaf(void *context, struct od_page root, struct od_page *pages, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_journal *layer;
    uint8_t *bytes = od_alloc(LEAF_BYTES);
    if (!bytes)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the page table");
    OD_TRY(od_lineage_get(context, od_place_depth(root.place), &layer, err));
    OD_TRY(od_journal_read(layer, od_place_offset(root.place), bytes, LEAF_BYTES, err));
    if (od_storage_hash(bytes, LEAF_BYTES, 0) != root.hash)
        OD_TRY(od_fail(err, OD_CORRUPT, "%s: a leaf of the page table fails verification (offset %llu)", layer->path,
                       (unsigned long long)od_place_offset(root.place)));
    for (unsigned i = 0; i < OD_LEAF_ENTRIES; i++)
        pages[i] = get_page(bytes + i * PAGE_BYTES);
out:
    od_free(bytes);
    return rc;
}
