// files.c - what each operation does to the four files; see files.h.
#include "storage/files.h"

#include <string.h>

struct od_cell od_files_cell(const struct od_files *files, uint64_t offset)
{
    if (offset < OD_GRID_ORIGIN) {
        uint64_t index = offset / OD_GRID_HEADER_BYTES;
        return (struct od_cell){true, index, index * OD_GRID_HEADER_BYTES, OD_GRID_HEADER_BYTES};
    }
    uint64_t index = (offset - OD_GRID_ORIGIN) / files->block_bytes;
    return (struct od_cell){false, index, OD_GRID_ORIGIN + index * files->block_bytes, files->block_bytes};
}

od_code od_files_load(struct od_files *files, const struct od_cell *cell, struct od_error *err)
{
    return cell->header ? OD_OK : od_page_load(&files->blocks, cell->index, err);
}

struct od_page od_files_page(const struct od_files *files, const struct od_cell *cell)
{
    return cell->header ? files->headers[cell->index] : od_page_get(&files->blocks, cell->index);
}

void od_files_verified(struct od_files *files, const struct od_cell *cell, od_place place)
{
    if (!cell->header)
        od_page_verified(&files->blocks, cell->index, place);
    else if (files->headers[cell->index].place == place)
        files->headers[cell->index].place |= OD_PLACE_VERIFIED;
}

// The first block that begins at or after `offset`.
static uint64_t block_from(const struct od_files *files, uint64_t offset)
{
    return offset <= OD_GRID_ORIGIN ? 0 : (offset - OD_GRID_ORIGIN + files->block_bytes - 1) / files->block_bytes;
}

static bool trim_is_whole(const struct od_files *files, uint64_t offset, uint64_t bytes)
{
    return offset >= OD_GRID_ORIGIN && (offset - OD_GRID_ORIGIN) % files->block_bytes == 0 && bytes > 0 &&
           bytes % files->block_bytes == 0 && (offset + bytes - OD_GRID_ORIGIN) / files->block_bytes <= OD_BLOCKS_MAX &&
           offset + bytes > offset;
}

static od_code prepare_trim(struct od_files *files, const struct od_record *record, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t first = block_from(files, record->offset);
    uint64_t end = first + record->payload_hash / files->block_bytes;
    uint64_t known = files->blocks.count * (uint64_t)OD_LEAF_ENTRIES;
    for (uint64_t block = first; block < end && block < known && rc == OD_OK;
         block = (block / OD_LEAF_ENTRIES + 1) * OD_LEAF_ENTRIES)
        if (od_page_table_has(&files->blocks, block))
            rc = od_page_prepare(&files->blocks, block, err);
    return rc;
}

od_code od_files_prepare(struct od_files *files, const struct od_record *record, struct od_error *err)
{
    bool database = record->file == OD_VOLUME_DATABASE;
    switch (record->op) {
    case OD_RECORD_WRITE:
        if (!database) {
            if (record->offset + record->bytes < record->offset)
                break;
            return od_extents_prepare(&files->extents[record->file], err);
        }
        struct od_cell cell = od_files_cell(files, record->offset);
        if (cell.offset != record->offset || cell.bytes != record->bytes)
            break;
        return cell.header ? OD_OK : od_page_prepare(&files->blocks, cell.index, err);
    case OD_RECORD_TRUNCATE:
        return database ? od_page_table_cut_prepare(&files->blocks, block_from(files, record->offset), err) : OD_OK;
    case OD_RECORD_TRIM:
        if (!database || !trim_is_whole(files, record->offset, record->payload_hash))
            break;
        return prepare_trim(files, record, err);
    case OD_RECORD_RENAME:
        if (database || record->offset <= OD_VOLUME_DATABASE || record->offset >= OD_VOLUME_FILES ||
            record->offset == record->file)
            break;
        return OD_OK;
    case OD_RECORD_CREATE:
    case OD_RECORD_REMOVE:
    case OD_RECORD_BARRIER:
    case OD_RECORD_WATERMARK:
        return OD_OK;
    case OD_RECORD_OPS:
        break;
    }
    return od_fail(err, OD_CORRUPT, "the record at position %llu cannot be: operation %d, offset %llu, %u bytes",
                   (unsigned long long)record->lsn, (int)record->op, (unsigned long long)record->offset, record->bytes);
}

static void cut_database(struct od_files *files, uint64_t bytes)
{
    od_page_table_cut(&files->blocks, block_from(files, bytes));
    for (uint64_t i = 0; i < OD_GRID_HEADERS; i++)
        if (i * OD_GRID_HEADER_BYTES >= bytes)
            files->headers[i] = (struct od_page){0};
}

static void apply_write(struct od_files *files, const struct od_record *record, od_place place)
{
    if (record->file != OD_VOLUME_DATABASE) {
        struct od_extent piece = {record->offset, place, record->payload_hash, 0, record->bytes, record->bytes, 0};
        od_extents_overlay(&files->extents[record->file], piece);
        return;
    }
    struct od_cell cell = od_files_cell(files, record->offset);
    struct od_page page = {place, record->payload_hash};
    if (cell.header)
        files->headers[cell.index] = page;
    else
        od_page_set(&files->blocks, cell.index, page);
}

void od_files_apply(struct od_files *files, const struct od_record *record, od_place place, uint64_t write_end)
{
    enum od_volume_file file = record->file;
    struct od_file_state *state = &files->states[file];
    switch (record->op) {
    case OD_RECORD_WRITE:
        apply_write(files, record, place);
        state->exists = true;
        if (write_end > state->size)
            state->size = write_end;
        break;
    case OD_RECORD_CREATE:
        state->exists = true;
        break;
    case OD_RECORD_TRUNCATE:
        if (file == OD_VOLUME_DATABASE)
            cut_database(files, record->offset);
        else
            od_extents_truncate(&files->extents[file], record->offset);
        state->size = record->offset;
        break;
    case OD_RECORD_TRIM:;
        uint64_t first = block_from(files, record->offset);
        uint64_t end = first + record->payload_hash / files->block_bytes;
        uint64_t known = files->blocks.count * (uint64_t)OD_LEAF_ENTRIES;
        for (uint64_t block = first; block < end && block < known; block++)
            if (files->blocks.leaves[block / OD_LEAF_ENTRIES])
                od_page_set(&files->blocks, block, (struct od_page){0});
        break;
    case OD_RECORD_REMOVE:
        if (file == OD_VOLUME_DATABASE)
            cut_database(files, 0);
        else
            files->extents[file].count = 0;
        *state = (struct od_file_state){0};
        break;
    case OD_RECORD_RENAME:;
        enum od_volume_file to = (enum od_volume_file)record->offset;
        struct od_extents replaced = files->extents[to];
        files->extents[to] = files->extents[file];
        files->states[to] = *state;
        replaced.count = 0;
        files->extents[file] = replaced;
        *state = (struct od_file_state){0};
        break;
    case OD_RECORD_BARRIER:
    case OD_RECORD_WATERMARK:
    case OD_RECORD_OPS:
        break;
    }
}

od_code od_files_copy(struct od_files *to, const struct od_files *from, struct od_error *err)
{
    *to = *from;
    memset(to->extents, 0, sizeof to->extents);
    od_code rc = od_page_table_copy(&to->blocks, &from->blocks, err);
    for (int i = 0; i < OD_VOLUME_FILES && rc == OD_OK; i++)
        rc = od_extents_copy(&to->extents[i], &from->extents[i], err);
    if (rc != OD_OK)
        od_files_release(to);
    return rc;
}

void od_files_release(struct od_files *files)
{
    od_page_table_release(&files->blocks);
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        od_extents_release(&files->extents[i]);
    *files = (struct od_files){0};
}
