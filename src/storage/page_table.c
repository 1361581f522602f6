#include "storage/page_table.h"

#include "base/alloc.h"

#include <string.h>

static void leaf_drop(struct od_leaf *leaf)
{
    if (leaf && atomic_fetch_sub(&leaf->holders, 1) == 1)
        od_free(leaf);
}

// P2: a writable leaf is held by this table alone.
static od_code leaf_own(struct od_page_table *table, size_t index, struct od_error *err)
{
    struct od_leaf *old = table->leaves[index];
    if (old && atomic_load(&old->holders) == 1)
        return OD_OK;
    struct od_leaf *leaf = od_alloc(sizeof *leaf);
    if (!leaf)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the page table");
    atomic_init(&leaf->holders, 1);
    if (old)
        memcpy(leaf->pages, old->pages, sizeof leaf->pages);
    else
        memset(leaf->pages, 0, sizeof leaf->pages);
    table->leaves[index] = leaf;
    table->loaded += !old;
    leaf_drop(old);
    return OD_OK;
}

od_code od_page_prepare(struct od_page_table *table, uint64_t block, struct od_error *err)
{
    if (block >= OD_BLOCKS_MAX)
        return od_fail(err, OD_LIMIT, "a database has at most %llu blocks", (unsigned long long)OD_BLOCKS_MAX);
    size_t index = (size_t)(block / OD_LEAF_ENTRIES);
    if (index >= table->count) {
        size_t count = index + 1 < 2 * table->count ? 2 * table->count : index + 1;
        struct od_leaf **leaves = od_realloc(table->leaves, count * sizeof *leaves);
        if (!leaves)
            return od_fail(err, OD_NO_MEMORY, "out of memory for the page table");
        memset(leaves + table->count, 0, (count - table->count) * sizeof *leaves);
        table->leaves = leaves;
        table->count = count;
    }
    return leaf_own(table, index, err);
}

void od_page_set(struct od_page_table *table, uint64_t block, struct od_page page)
{
    table->leaves[block / OD_LEAF_ENTRIES]->pages[block % OD_LEAF_ENTRIES] = page;
}

struct od_page od_page_get(const struct od_page_table *table, uint64_t block)
{
    size_t index = (size_t)(block / OD_LEAF_ENTRIES);
    if (index >= table->count || !table->leaves[index])
        return (struct od_page){0};
    return table->leaves[index]->pages[block % OD_LEAF_ENTRIES];
}

void od_page_verified(struct od_page_table *table, uint64_t block, od_place place)
{
    size_t index = (size_t)(block / OD_LEAF_ENTRIES);
    if (index >= table->count || !table->leaves[index] || atomic_load(&table->leaves[index]->holders) != 1)
        return; // a shared leaf stays as it is: the block is compared again
    struct od_page *page = &table->leaves[index]->pages[block % OD_LEAF_ENTRIES];
    if (page->place == place)
        page->place |= OD_PLACE_VERIFIED;
}

od_code od_page_table_cut_prepare(struct od_page_table *table, uint64_t block, struct od_error *err)
{
    size_t index = (size_t)(block / OD_LEAF_ENTRIES);
    if (block % OD_LEAF_ENTRIES == 0 || index >= table->count || !table->leaves[index])
        return OD_OK;
    return leaf_own(table, index, err);
}

void od_page_table_cut(struct od_page_table *table, uint64_t block)
{
    size_t index = (size_t)(block / OD_LEAF_ENTRIES), within = (size_t)(block % OD_LEAF_ENTRIES);
    if (within && index < table->count && table->leaves[index])
        memset(table->leaves[index]->pages + within, 0, (OD_LEAF_ENTRIES - within) * sizeof(struct od_page));
    for (size_t i = index + (within > 0); i < table->count; i++) {
        table->loaded -= table->leaves[i] != NULL;
        leaf_drop(table->leaves[i]);
        table->leaves[i] = NULL;
    }
}

od_code od_page_table_copy(struct od_page_table *to, const struct od_page_table *from, struct od_error *err)
{
    *to = (struct od_page_table){0};
    if (from->count == 0)
        return OD_OK;
    to->leaves = od_alloc(from->count * sizeof *to->leaves);
    if (!to->leaves)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the page table");
    memcpy(to->leaves, from->leaves, from->count * sizeof *to->leaves);
    to->count = from->count;
    to->loaded = from->loaded;
    for (size_t i = 0; i < to->count; i++)
        if (to->leaves[i])
            atomic_fetch_add(&to->leaves[i]->holders, 1);
    return OD_OK;
}

void od_page_table_release(struct od_page_table *table)
{
    for (size_t i = 0; i < table->count; i++)
        leaf_drop(table->leaves[i]);
    od_free(table->leaves);
    *table = (struct od_page_table){0};
}

uint64_t od_page_table_bytes(const struct od_page_table *table)
{
    return table->count * sizeof *table->leaves + table->loaded * sizeof(struct od_leaf);
}
