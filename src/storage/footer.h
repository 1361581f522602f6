// footer.h - private: what stands behind the records of a sealed layer: the leaves it dirtied, the footer and the trailer.
// Encoding and decoding, and reading one from a layer. docs/internals/layer-format.md has the layouts.
//
// The footer is the state of the files at the layer's end, so that opening a history reads one footer, whatever its length.
#ifndef OD_STORAGE_FOOTER_H
#define OD_STORAGE_FOOTER_H

#include "base/buf.h"
#include "storage/lineage.h"

#define OD_TRAILER_BYTES 64u
#define OD_FOOTER_VERSION 2u // that is written; 1 is read too
#define OD_FOOTER_BYTES_MAX (UINT64_C(1) << 30)

struct od_trailer {
    uint64_t footer_offset, footer_bytes, footer_hash;
    uint64_t object_bytes;
    uint64_t head_chain; // of the header block: binds the two ends of the object together
    uint32_t version;    // of the footer
};

struct od_footer {
    struct od_journal_end end;
    struct od_layer_ref *below; // the layers below in which something of the state may lie, in order of depth
    uint32_t below_count;
    uint32_t depth; // of the layer itself
    // When those in which nothing lies were last left out: at which depth, and how many stayed. Zeros: never.
    uint32_t pruned_depth, pruned_count;
    uint32_t version;
    struct od_files files; // leaves are loaded through the table's loader
    struct od_ledger ledger;
};

// Before it: brings along what lies in older layers and is needed to open (headers, WAL files, leaves), when it is small or
// spread over many. `at`: where `out` goes on in the layer at `depth`, which is the last of the lineage.
OD_CHECKED od_code od_footer_carry(struct od_footer *footer, struct od_lineage *lineage, uint32_t depth, uint64_t at,
                                   struct od_buf *out, struct od_error *err);
// Is the layer at this depth among those below? Then *index is where.
bool od_footer_find_below(const struct od_footer *footer, uint32_t depth, uint32_t *index);
// After that: has the list of layers below become long enough to look which of them are needed (in proportion to what stayed
// the last time, so that looking costs little)? `slack`: beyond that.
bool od_footer_is_long(const struct od_footer *footer, uint32_t slack);
// Leaves out those in which nothing of the state lies. Reads all leaves of the page table.
OD_CHECKED od_code od_footer_prune(struct od_footer *footer, struct od_error *err);
// Behind `at` of the object: leaves that have no place yet (they get one), footer and trailer, appended to out.
OD_CHECKED od_code od_footer_encode(struct od_footer *footer, const struct od_journal_header *header,
                                    uint64_t head_chain, uint64_t at, struct od_buf *out, struct od_error *err);
void od_trailer_encode(const struct od_trailer *trailer, uint8_t out[OD_TRAILER_BYTES]);
// OD_CORRUPT naming the object and the offset.
OD_CHECKED od_code od_trailer_decode(const uint8_t in[OD_TRAILER_BYTES], uint64_t object_bytes, const char *name,
                                     struct od_trailer *trailer, struct od_error *err);
// *footer: od_footer_release, also after an error. window_us: of the ledger.
OD_CHECKED od_code od_footer_decode(const uint8_t *in, size_t bytes, uint32_t version,
                                    const struct od_journal_header *header, const char *name, uint64_t window_us,
                                    struct od_footer *footer, struct od_error *err);
void od_footer_release(struct od_footer *footer);
// Of a layer's object, without reading its header block: the footer has a copy of what that says. `name` is for messages.
OD_CHECKED od_code od_footer_read_object(struct od_object *object, const char *name, uint64_t window_us,
                                         struct od_journal_header *header, struct od_footer *footer,
                                         struct od_error *err);
// Of a sealed layer.
OD_CHECKED od_code od_footer_read(struct od_journal *layer, uint64_t window_us, struct od_footer *footer,
                                  struct od_error *err);

#endif
