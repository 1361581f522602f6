#include "storage/extents.h"

#include "base/alloc.h"

#include <string.h>

#define OVERLAY_ADDS 2u // the piece itself, and the rest of one that it cut in two

od_code od_extents_prepare(struct od_extents *extents, struct od_error *err)
{
    if (extents->capacity - extents->count >= OVERLAY_ADDS)
        return OD_OK;
    size_t capacity = extents->capacity ? extents->capacity * 2 : 64;
    struct od_extent *items = od_realloc(extents->items, capacity * sizeof *items);
    if (!items)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the extents of a WAL file");
    extents->items = items;
    extents->capacity = capacity;
    return OD_OK;
}

size_t od_extents_find(const struct od_extents *extents, uint64_t offset)
{
    size_t low = 0, high = extents->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (extents->items[middle].offset + extents->items[middle].bytes <= offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void insert(struct od_extents *extents, size_t at, struct od_extent piece)
{
    memmove(extents->items + at + 1, extents->items + at, (extents->count - at) * sizeof piece);
    extents->items[at] = piece;
    extents->count++;
}

void od_extents_overlay(struct od_extents *extents, struct od_extent piece)
{
    uint64_t begin = piece.offset, end = piece.offset + piece.bytes;
    size_t at = od_extents_find(extents, begin);
    if (at < extents->count && extents->items[at].offset < begin) {
        struct od_extent rest = extents->items[at];
        uint32_t kept = (uint32_t)(begin - rest.offset);
        extents->items[at].bytes = kept;
        at++;
        if (rest.offset + rest.bytes > end) {
            rest.skip += (uint32_t)(end - rest.offset);
            rest.bytes -= (uint32_t)(end - rest.offset);
            rest.offset = end;
            insert(extents, at, rest);
        }
    }
    size_t covered = at;
    while (covered < extents->count && extents->items[covered].offset + extents->items[covered].bytes <= end)
        covered++;
    if (covered < extents->count && extents->items[covered].offset < end) {
        uint32_t cut = (uint32_t)(end - extents->items[covered].offset);
        extents->items[covered].skip += cut;
        extents->items[covered].bytes -= cut;
        extents->items[covered].offset = end;
    }
    memmove(extents->items + at, extents->items + covered, (extents->count - covered) * sizeof piece);
    extents->count -= covered - at;
    insert(extents, at, piece);
}

void od_extents_truncate(struct od_extents *extents, uint64_t bytes)
{
    size_t at = od_extents_find(extents, bytes);
    if (at < extents->count && extents->items[at].offset < bytes) {
        extents->items[at].bytes = (uint32_t)(bytes - extents->items[at].offset);
        at++;
    }
    extents->count = at;
}

od_code od_extents_copy(struct od_extents *to, const struct od_extents *from, struct od_error *err)
{
    *to = (struct od_extents){0};
    if (from->count == 0)
        return OD_OK;
    size_t capacity = from->count + OVERLAY_ADDS;
    to->items = od_alloc(capacity * sizeof *to->items);
    if (!to->items)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the extents of a WAL file");
    memcpy(to->items, from->items, from->count * sizeof *to->items);
    to->count = from->count;
    to->capacity = capacity;
    return OD_OK;
}

void od_extents_release(struct od_extents *extents)
{
    od_free(extents->items);
    *extents = (struct od_extents){0};
}
