// bytes.c - shared pages: a page with one reference is changed in place, any other is copied first. NULL is a page of zeros.
#include "sim/bytes.h"
#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

static const struct sim_page zeros;

static void page_drop(struct sim_page *page)
{
    if (page && --page->references == 0)
        free(page);
}

static struct sim_page *page_share(struct sim_page *page)
{
    if (page)
        page->references++;
    return page;
}

void sim_bytes_release(struct sim_bytes *content)
{
    for (size_t i = 0; i < content->count; i++)
        page_drop(content->pages[i]);
    free(content->pages);
    *content = (struct sim_bytes){0};
}

void sim_bytes_copy(struct sim_bytes *to, const struct sim_bytes *from)
{
    *to = (struct sim_bytes){.size = from->size, .count = from->count, .capacity = from->count};
    if (from->count == 0)
        return;
    to->pages = malloc(from->count * sizeof *to->pages);
    od_assert(to->pages);
    for (size_t i = 0; i < from->count; i++)
        to->pages[i] = page_share(from->pages[i]);
}

static void grow(struct sim_bytes *content, size_t pages)
{
    if (pages <= content->count)
        return;
    if (pages > content->capacity) {
        content->capacity = pages + pages / 2;
        content->pages = realloc(content->pages, content->capacity * sizeof *content->pages);
        od_assert(content->pages);
    }
    memset(content->pages + content->count, 0, (pages - content->count) * sizeof *content->pages);
    content->count = pages;
}

static uint8_t *writable(struct sim_bytes *content, size_t number)
{
    struct sim_page *page = content->pages[number];
    if (page && page->references == 1)
        return page->bytes;
    struct sim_page *own = malloc(sizeof *own);
    od_assert(own);
    memcpy(own->bytes, page ? page->bytes : zeros.bytes, SIM_PAGE_BYTES);
    own->references = 1;
    page_drop(page);
    content->pages[number] = own;
    return own->bytes;
}

void sim_bytes_resize(struct sim_bytes *content, uint64_t size)
{
    if (size < content->size) {
        const size_t whole = (size_t)((size + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES);
        while (content->count > whole)
            page_drop(content->pages[--content->count]);
        const size_t rest = (size_t)(size % SIM_PAGE_BYTES);
        if (rest && whole <= content->count && content->pages[whole - 1])
            memset(writable(content, whole - 1) + rest, 0, SIM_PAGE_BYTES - rest);
    }
    content->size = size;
}

void sim_bytes_write(struct sim_bytes *content, uint64_t offset, const void *data, size_t bytes)
{
    const uint8_t *from = data;
    if (bytes == 0)
        return;
    grow(content, (size_t)((offset + bytes + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES));
    if (content->size < offset + bytes)
        content->size = offset + bytes;
    while (bytes > 0) {
        const size_t inside = (size_t)(offset % SIM_PAGE_BYTES);
        const size_t part = bytes < SIM_PAGE_BYTES - inside ? bytes : SIM_PAGE_BYTES - inside;
        memcpy(writable(content, (size_t)(offset / SIM_PAGE_BYTES)) + inside, from, part);
        from += part;
        offset += part;
        bytes -= part;
    }
}

bool sim_bytes_read(const struct sim_bytes *content, uint64_t offset, void *out, size_t bytes)
{
    uint8_t *to = out;
    if (offset > content->size || bytes > content->size - offset)
        return false;
    while (bytes > 0) {
        const size_t number = (size_t)(offset / SIM_PAGE_BYTES), inside = (size_t)(offset % SIM_PAGE_BYTES);
        const size_t part = bytes < SIM_PAGE_BYTES - inside ? bytes : SIM_PAGE_BYTES - inside;
        const struct sim_page *page = number < content->count ? content->pages[number] : NULL;
        memcpy(to, (page ? page->bytes : zeros.bytes) + inside, part);
        to += part;
        offset += part;
        bytes -= part;
    }
    return true;
}

void sim_bytes_take(struct sim_bytes *to, const struct sim_bytes *from, uint64_t offset, uint64_t bytes)
{
    if (bytes == 0)
        return;
    const size_t first = (size_t)(offset / SIM_PAGE_BYTES);
    size_t end = (size_t)((offset + bytes + SIM_PAGE_BYTES - 1) / SIM_PAGE_BYTES);
    if (end > from->count)
        end = from->count;
    if (first < end)
        grow(to, end);
    for (size_t i = first; i < end; i++) {
        struct sim_page *page = page_share(from->pages[i]);
        page_drop(to->pages[i]);
        to->pages[i] = page;
    }
}

uint64_t sim_bytes_difference(const struct sim_bytes *a, const struct sim_bytes *b)
{
    const uint64_t size = a->size < b->size ? a->size : b->size;
    for (uint64_t at = 0; at < size; at += SIM_PAGE_BYTES) {
        const size_t number = (size_t)(at / SIM_PAGE_BYTES);
        const struct sim_page *left = number < a->count ? a->pages[number] : NULL;
        const struct sim_page *right = number < b->count ? b->pages[number] : NULL;
        if (left == right)
            continue;
        const uint8_t *l = left ? left->bytes : zeros.bytes, *r = right ? right->bytes : zeros.bytes;
        const size_t part = size - at < SIM_PAGE_BYTES ? (size_t)(size - at) : SIM_PAGE_BYTES;
        if (memcmp(l, r, part) == 0)
            continue;
        for (size_t i = 0; i < part; i++)
            if (l[i] != r[i])
                return at + i;
    }
    return a->size == b->size ? UINT64_MAX : size;
}
