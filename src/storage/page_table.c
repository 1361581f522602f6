// page_table.c - leaves: loaded, owned, shared; see page_table.h.
#include "storage/page_table.h"

#include "base/alloc.h"

#include <string.h>

static void leaf_drop(struct od_leaf *leaf)
{
    if (leaf && atomic_fetch_sub(&leaf->holders, 1) == 1)
        od_free(leaf);
}

od_code od_page_table_grow(struct od_page_table *table, size_t count, struct od_error *err)
{
    if (count <= table->count)
        return OD_OK;
    if (count < 2 * table->count)
        count = 2 * table->count;
    struct od_leaf **leaves = od_realloc(table->leaves, count * sizeof *leaves);
    if (leaves)
        table->leaves = leaves;
    struct od_page *roots = leaves ? od_realloc(table->roots, count * sizeof *roots) : NULL;
    if (!roots)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the page table");
    table->roots = roots;
    memset(leaves + table->count, 0, (count - table->count) * sizeof *leaves);
    memset(roots + table->count, 0, (count - table->count) * sizeof *roots);
    table->count = count;
    return OD_OK;
}

static struct od_leaf *new_leaf(struct od_error *err)
{
    struct od_leaf *leaf = od_alloc(sizeof *leaf);
    if (leaf)
        atomic_init(&leaf->holders, 1);
    else
        (void)od_fail(err, OD_NO_MEMORY, "out of memory for the page table");
    return leaf;
}

od_code od_page_load(struct od_page_table *table, uint64_t block, struct od_error *err)
{
    size_t index = (size_t)(block / OD_LEAF_ENTRIES);
    if (index >= table->count || table->leaves[index] || !table->roots[index].place)
        return OD_OK;
    struct od_leaf *leaf = new_leaf(err);
    if (!leaf)
        return OD_NO_MEMORY;
    od_code rc = table->load(table->load_context, table->roots[index], leaf->pages, err);
    if (rc != OD_OK) {
        od_free(leaf);
        return rc;
    }
    table->leaves[index] = leaf;
    table->loaded++;
    return OD_OK;
}

// P2: a writable leaf is held by this table alone. P3: it will differ from what is stored.
static od_code leaf_own(struct od_page_table *table, size_t index, struct od_error *err)
{
    od_code rc = od_page_load(table, index * (uint64_t)OD_LEAF_ENTRIES, err);
    if (rc != OD_OK)
        return rc;
    struct od_leaf *old = table->leaves[index];
    if (!old || atomic_load(&old->holders) != 1) {
        struct od_leaf *leaf = new_leaf(err);
        if (!leaf)
            return OD_NO_MEMORY;
        if (old)
            memcpy(leaf->pages, old->pages, sizeof leaf->pages);
        else
            memset(leaf->pages, 0, sizeof leaf->pages);
        table->leaves[index] = leaf;
        table->loaded += !old;
        leaf_drop(old);
    }
    table->roots[index] = (struct od_page){0};
    return OD_OK;
}

od_code od_page_prepare(struct od_page_table *table, uint64_t block, struct od_error *err)
{
    if (block >= OD_BLOCKS_MAX)
        return od_fail(err, OD_LIMIT, "a database has at most %llu blocks", (unsigned long long)OD_BLOCKS_MAX);
    size_t index = (size_t)(block / OD_LEAF_ENTRIES);
    od_code rc = od_page_table_grow(table, index + 1, err);
    return rc == OD_OK ? leaf_own(table, index, err) : rc;
}

bool od_page_table_has(const struct od_page_table *table, uint64_t block)
{
    size_t index = (size_t)(block / OD_LEAF_ENTRIES);
    return index < table->count && (table->leaves[index] || table->roots[index].place);
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
    if (block % OD_LEAF_ENTRIES == 0 || !od_page_table_has(table, block))
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
        table->roots[i] = (struct od_page){0};
    }
}

od_code od_page_table_copy(struct od_page_table *to, const struct od_page_table *from, struct od_error *err)
{
    *to = (struct od_page_table){.load = from->load, .load_context = from->load_context};
    if (from->count == 0)
        return OD_OK;
    to->leaves = od_alloc(from->count * sizeof *to->leaves);
    to->roots = od_alloc(from->count * sizeof *to->roots);
    if (!to->leaves || !to->roots) {
        od_free(to->leaves);
        od_free(to->roots);
        *to = (struct od_page_table){0};
        return od_fail(err, OD_NO_MEMORY, "out of memory for the page table");
    }
    memcpy(to->roots, from->roots, from->count * sizeof *to->roots);
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
    od_free(table->roots);
    *table = (struct od_page_table){0};
}

uint64_t od_page_table_bytes(const struct od_page_table *table)
{
    return table->count * (sizeof *table->leaves + sizeof *table->roots) + table->loaded * sizeof(struct od_leaf);
}
