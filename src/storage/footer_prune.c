// footer_prune.c - which of the layers below a footer's are still needed; see footer.h.
//
// A list only grows with each layer, until it is looked at: then it has exactly the layers that the headers, the WAL files,
// the leaves and the blocks of the state lie in. When that is done follows from the parent's footer and the records, so
// sealing again gives the same.
#include "storage/footer.h"
#include "storage/planted.h"

#include "base/alloc.h"

struct pruning {
    const struct od_footer *footer;
    bool *needed; // of each layer below
    uint32_t last;
};

bool od_footer_is_long(const struct od_footer *footer, uint32_t slack)
{
    return footer->below_count >= 2 * (uint64_t)footer->pruned_count + slack;
}

bool od_footer_find_below(const struct od_footer *footer, uint32_t depth, uint32_t *index)
{
    uint32_t low = 0, high = footer->below_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (footer->below[middle].depth < depth)
            low = middle + 1;
        else
            high = middle;
    }
    *index = low;
    return low < footer->below_count && footer->below[low].depth == depth;
}

static od_code need(struct pruning *pruning, od_place place, struct od_error *err)
{
    const struct od_footer *footer = pruning->footer;
    uint32_t depth = od_place_depth(place);
    if (!place || depth == footer->depth)
        return OD_OK;
    uint32_t index = pruning->last; // neighbours mostly lie in one layer
    bool again = footer->below_count && footer->below[index].depth == depth;
    if (!again && !od_footer_find_below(footer, depth, &index))
        return od_fail(err, OD_CORRUPT, "something lies in a layer at depth %u, which the footer does not name", depth);
    pruning->last = index;
    pruning->needed[index] = true;
    return OD_OK;
}

static od_code need_all(struct pruning *pruning, struct od_files *files, struct od_error *err)
{
    od_code rc = OD_OK;
    for (unsigned i = 0; i < OD_GRID_HEADERS; i++)
        OD_TRY(need(pruning, files->headers[i].place, err));
    for (int file = OD_VOLUME_WAL; file < OD_VOLUME_FILES; file++)
        for (size_t i = 0; i < files->extents[file].count; i++)
            OD_TRY(need(pruning, files->extents[file].items[i].place, err));
    for (size_t i = 0; i < files->blocks.count; i++) {
        OD_TRY(need(pruning, files->blocks.roots[i].place, err));
        OD_TRY(od_page_load(&files->blocks, i * (uint64_t)OD_LEAF_ENTRIES, err));
        const struct od_leaf *leaf = files->blocks.leaves[i];
        for (unsigned k = 0; leaf && k < OD_LEAF_ENTRIES && !OD_PLANT(PRUNED_TOO_MUCH); k++)
            OD_TRY(need(pruning, leaf->pages[k].place, err));
    }
out:
    return rc;
}

od_code od_footer_prune(struct od_footer *footer, struct od_error *err)
{
    od_code rc = OD_OK;
    uint32_t kept = 0;
    struct pruning pruning = {.footer = footer};
    pruning.needed = od_calloc(footer->below_count ? footer->below_count : 1, sizeof *pruning.needed);
    if (!pruning.needed)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a list of %u layers", footer->below_count));
    OD_TRY(need_all(&pruning, &footer->files, err));
    for (uint32_t i = 0; i < footer->below_count; i++)
        if (pruning.needed[i])
            footer->below[kept++] = footer->below[i];
    footer->below_count = footer->pruned_count = kept;
    footer->pruned_depth = footer->depth;
out:
    od_free(pruning.needed);
    return rc;
}
