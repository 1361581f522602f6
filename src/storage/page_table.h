// page_table.h - private: where each block of the database file is. Leaves of 1,024 entries, copied when they are written
// while somebody else still holds them, so that a frozen copy costs one pointer a leaf.
//
//   P1  An entry is 16 bytes; a leaf exists only where something was written.
//   P2  A leaf with more than one holder is never changed.
//   P3  A leaf whose root has a place is what is stored there.
//
// Threads: one table is used under its volume's lock; leaves are shared between tables.
#ifndef OD_STORAGE_PAGE_TABLE_H
#define OD_STORAGE_PAGE_TABLE_H

#include "base/error.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define OD_LEAF_ENTRIES 1024u
#define OD_BLOCKS_MAX (UINT64_C(1) << 32)

// A place in a journal or layer: its depth, and the offset of the record in its file. 0: nowhere, which reads as zeros.
// Later places of one history are greater.
typedef uint64_t od_place;

#define OD_PLACE_VERIFIED (UINT64_C(1) << 63) // in memory only: the payload was compared with its hash
#define OD_PLACE_OFFSET_BITS 40u              // of 16-byte units: 16 TiB a layer
#define OD_PLACE_DEPTH_MAX ((1u << 23) - 1u)

static inline od_place od_place_make(uint32_t depth, uint64_t offset)
{
    return (uint64_t)depth << OD_PLACE_OFFSET_BITS | offset / 16;
}

static inline uint32_t od_place_depth(od_place place)
{
    return (uint32_t)((place & ~OD_PLACE_VERIFIED) >> OD_PLACE_OFFSET_BITS);
}

static inline uint64_t od_place_offset(od_place place)
{
    return (place & ((UINT64_C(1) << OD_PLACE_OFFSET_BITS) - 1)) * 16;
}

struct od_page {
    od_place place;
    uint64_t hash; // of the payload
};

struct od_leaf {
    _Atomic uint32_t holders;
    struct od_page pages[OD_LEAF_ENTRIES];
};

// Fills a leaf from where a root says it is.
typedef od_code (*od_leaf_load_fn)(void *context, struct od_page root, struct od_page *pages, struct od_error *err);

struct od_page_table {
    struct od_leaf **leaves; // NULL: not in memory; then `roots` says whether there is one
    struct od_page *roots;   // where the leaf is stored; place 0: nowhere (it was changed since, or never was)
    size_t count;
    uint64_t loaded; // leaves in memory
    od_leaf_load_fn load;
    void *load_context;
};

// Room for `count` leaves.
OD_CHECKED od_code od_page_table_grow(struct od_page_table *table, size_t count, struct od_error *err);
// Brings the entry's leaf into memory, so that od_page_get can be asked. Errors of the loader; OD_NO_MEMORY.
OD_CHECKED od_code od_page_load(struct od_page_table *table, uint64_t block, struct od_error *err);
// Makes the entry writable, so that od_page_set cannot fail. OD_NO_MEMORY, or OD_LIMIT beyond OD_BLOCKS_MAX.
OD_CHECKED od_code od_page_prepare(struct od_page_table *table, uint64_t block, struct od_error *err);
void od_page_set(struct od_page_table *table, uint64_t block, struct od_page page); // prepared
bool od_page_table_has(const struct od_page_table *table, uint64_t block); // is there a leaf, in memory or stored?
struct od_page od_page_get(const struct od_page_table *table, uint64_t block);
// Notes that the entry's payload was verified, if it is still at that place.
void od_page_verified(struct od_page_table *table, uint64_t block, od_place place);
// Forgets blocks from `block` on.
OD_CHECKED od_code od_page_table_cut_prepare(struct od_page_table *table, uint64_t block, struct od_error *err);
void od_page_table_cut(struct od_page_table *table, uint64_t block); // prepared
OD_CHECKED od_code od_page_table_copy(struct od_page_table *to, const struct od_page_table *from, struct od_error *err);
void od_page_table_release(struct od_page_table *table);
uint64_t od_page_table_bytes(const struct od_page_table *table);

#endif
