// extents.h - private: where the bytes of a WAL file are: ordered, not overlapping pieces of record payloads. The bytes
// themselves stay in the journal.
#ifndef OD_STORAGE_EXTENTS_H
#define OD_STORAGE_EXTENTS_H

#include "storage/page_table.h"

struct od_extent {
    uint64_t offset; // in the file
    od_place place;  // of the record
    uint64_t hash;   // of the record's whole payload
    uint32_t skip;   // bytes of the payload before the piece
    uint32_t bytes;  // of the piece
    uint32_t payload_bytes;
    uint32_t reserved;
};

struct od_extents {
    struct od_extent *items;
    size_t count, capacity;
};

// Room for what one overlay may add. OD_NO_MEMORY.
OD_CHECKED od_code od_extents_prepare(struct od_extents *extents, struct od_error *err);
// The piece replaces what was there. Prepared.
void od_extents_overlay(struct od_extents *extents, struct od_extent piece);
void od_extents_truncate(struct od_extents *extents, uint64_t bytes);
// Index of the first piece that ends after `offset`; count when none does.
size_t od_extents_find(const struct od_extents *extents, uint64_t offset);
OD_CHECKED od_code od_extents_copy(struct od_extents *to, const struct od_extents *from, struct od_error *err);
void od_extents_release(struct od_extents *extents);

#endif
