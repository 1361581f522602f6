// volume.c - the files of a volume: reading, writing, names. The rules are in volume.h and volume_internal.h.
//
// DuckDB writes whole headers and blocks; every other write is legal too: the cells it covers in part are read, merged and
// written whole, one writer at a time (odd_lock).
#include "storage/volume_internal.h"

#include "base/alloc.h"

#include <string.h>

static pthread_mutex_t odd_lock = PTHREAD_MUTEX_INITIALIZER;

static const char *const FILE_NAMES[OD_VOLUME_FILES] = {"the database file", "the .wal file",
                                                        "the .wal.checkpoint file", "the .wal.recovery file"};

bool od_volume_exists(struct od_volume *volume, enum od_volume_file file)
{
    pthread_mutex_lock(&volume->lock);
    bool exists = volume->files.states[file].exists;
    pthread_mutex_unlock(&volume->lock);
    return exists;
}

uint64_t od_volume_size(struct od_volume *volume, enum od_volume_file file)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t size = volume->files.states[file].size;
    pthread_mutex_unlock(&volume->lock);
    return size;
}

uint64_t od_volume_epoch(struct od_volume *volume)
{
    return volume->epoch;
}

const struct od_uuid *od_volume_branch(const struct od_volume *volume)
{
    return &volume->branch.branch;
}

// ---- reading

static bool in_flight(const struct od_volume *volume, uint64_t lsn)
{
    for (unsigned i = 0; i < OD_FLIGHTS_MAX; i++)
        if (volume->flights[i] == lsn)
            return true;
    return false;
}

// Where the payload of a record is, once it was written; pinned, until od_journal_unpin. Under `lock`, which is given up
// while waiting.
static od_code payload_source(struct od_volume *volume, od_place place, struct od_journal **journal,
                              struct od_error *err)
{
    od_code rc = od_lineage_get(&volume->lineage, od_place_depth(place), journal, err);
    if (rc == OD_OK)
        od_journal_pin(*journal);
    while (rc == OD_OK && in_flight(volume, od_journal_lsn(*journal, od_place_offset(place))))
        pthread_cond_wait(&volume->landed, &volume->lock);
    return rc;
}

static od_code corrupt(const struct od_journal *journal, od_place place, struct od_error *err)
{
    return od_fail(err, OD_CORRUPT, "%s: the payload at offset %llu fails verification", journal->path,
                   (unsigned long long)(od_place_offset(place) + OD_RECORD_HEADER_BYTES));
}

// `bytes` at `within` of a payload. V1: its hash is compared unless it was before.
static od_code read_payload(struct od_journal *journal, od_place place, uint64_t hash, uint32_t payload_bytes,
                            uint32_t within, void *out, uint32_t bytes, struct od_error *err)
{
    uint64_t at = od_place_offset(place) + OD_RECORD_HEADER_BYTES;
    if (place & OD_PLACE_VERIFIED)
        return od_journal_read(journal, at + within, out, bytes, err);
    bool whole = within == 0 && bytes == payload_bytes;
    uint8_t *payload = whole ? out : od_alloc(payload_bytes);
    if (!payload)
        return od_fail(err, OD_NO_MEMORY, "out of memory for %u bytes of %s", payload_bytes, journal->path);
    od_code rc = od_journal_read(journal, at, payload, payload_bytes, err);
    if (rc == OD_OK && od_storage_hash(payload, payload_bytes, 0) != hash)
        rc = corrupt(journal, place, err);
    if (rc == OD_OK && !whole)
        memcpy(out, payload + within, bytes);
    if (!whole)
        od_free(payload);
    return rc;
}

// One piece of the database file, within one cell.
static od_code read_cell(struct od_volume *volume, uint64_t offset, uint8_t *out, size_t limit, size_t *done,
                         struct od_error *err)
{
    pthread_mutex_lock(&volume->lock);
    struct od_cell cell = od_files_cell(&volume->files, offset);
    uint32_t within = (uint32_t)(offset - cell.offset);
    uint32_t bytes = limit < cell.bytes - within ? (uint32_t)limit : cell.bytes - within;
    *done = bytes;
    struct od_page page = {0};
    struct od_journal *journal = NULL;
    od_code rc = od_files_load(&volume->files, &cell, err);
    if (rc == OD_OK)
        page = od_files_page(&volume->files, &cell);
    if (page.place)
        rc = payload_source(volume, page.place, &journal, err);
    pthread_mutex_unlock(&volume->lock);
    if (rc != OD_OK)
        return rc;
    if (!page.place) {
        memset(out, 0, bytes);
        return OD_OK;
    }
    rc = read_payload(journal, page.place, page.hash, cell.bytes, within, out, bytes, err);
    od_journal_unpin(journal);
    if (rc == OD_OK && !(page.place & OD_PLACE_VERIFIED)) {
        pthread_mutex_lock(&volume->lock);
        od_files_verified(&volume->files, &cell, page.place);
        pthread_mutex_unlock(&volume->lock);
    }
    return rc;
}

static od_code read_extent(struct od_volume *volume, enum od_volume_file file, uint64_t offset, uint8_t *out,
                           size_t limit, size_t *done, struct od_error *err)
{
    pthread_mutex_lock(&volume->lock);
    const struct od_extents *extents = &volume->files.extents[file];
    size_t index = od_extents_find(extents, offset);
    struct od_extent extent = index < extents->count ? extents->items[index] : (struct od_extent){.offset = UINT64_MAX};
    struct od_journal *journal = NULL;
    od_code rc = extent.offset <= offset ? payload_source(volume, extent.place, &journal, err) : OD_OK;
    pthread_mutex_unlock(&volume->lock);
    if (rc != OD_OK)
        return rc;
    if (extent.offset > offset) {
        *done = limit < extent.offset - offset ? limit : (size_t)(extent.offset - offset);
        memset(out, 0, *done);
        return OD_OK;
    }
    uint32_t within = (uint32_t)(offset - extent.offset);
    uint32_t bytes = limit < extent.bytes - within ? (uint32_t)limit : extent.bytes - within;
    *done = bytes;
    rc = read_payload(journal, extent.place, extent.hash, extent.payload_bytes, extent.skip + within, out, bytes, err);
    od_journal_unpin(journal);
    return rc;
}

od_code od_volume_read(struct od_volume *volume, enum od_volume_file file, uint64_t offset, void *out, size_t bytes,
                       struct od_error *err)
{
    uint64_t size = od_volume_size(volume, file);
    if (offset > size || bytes > size - offset)
        return od_fail(err, OD_IO, "%s of %s has %llu bytes; %zu at offset %llu were asked for", FILE_NAMES[file],
                       volume->name, (unsigned long long)size, bytes, (unsigned long long)offset);
    uint8_t *at = out;
    while (bytes > 0) {
        size_t done = 0;
        od_code rc = file == OD_VOLUME_DATABASE ? read_cell(volume, offset, at, bytes, &done, err)
                                                : read_extent(volume, file, offset, at, bytes, &done, err);
        if (rc != OD_OK)
            return rc;
        at += done;
        offset += done;
        bytes -= done;
    }
    return OD_OK;
}

// ---- writing

static od_code append_write(struct od_volume *volume, enum od_volume_file file, uint64_t offset, const void *data,
                            size_t bytes, uint64_t write_end, struct od_error *err)
{
    uint64_t lsn;
    struct od_volume_append append = {
        .record = {.op = OD_RECORD_WRITE,
                   .file = file,
                   .offset = offset,
                   .bytes = (uint32_t)bytes,
                   .payload_hash = od_storage_hash(data, bytes, 0)},
        .payload = data,
        .write_end = write_end,
    };
    return od_volume_append(volume, &append, &lsn, err);
}

// Writes a part of a cell: the rest is what was there.
static od_code write_part(struct od_volume *volume, const struct od_cell *cell, uint64_t offset, const void *data,
                          size_t bytes, uint64_t write_end, struct od_error *err)
{
    od_code rc = OD_OK;
    size_t ignored;
    uint8_t *merged = od_alloc(cell->bytes);
    if (!merged)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a block of %u bytes", cell->bytes);
    pthread_mutex_lock(&odd_lock);
    OD_TRY(read_cell(volume, cell->offset, merged, cell->bytes, &ignored, err));
    memcpy(merged + (offset - cell->offset), data, bytes);
    OD_TRY(append_write(volume, OD_VOLUME_DATABASE, cell->offset, merged, cell->bytes, write_end, err));
out:
    pthread_mutex_unlock(&odd_lock);
    od_free(merged);
    return rc;
}

od_code od_volume_write(struct od_volume *volume, enum od_volume_file file, uint64_t offset, const void *data,
                        size_t bytes, struct od_error *err)
{
    od_code rc = OD_OK;
    const uint8_t *at = data;
    if (offset + bytes < offset)
        return od_fail(err, OD_INVALID, "a write at offset %llu is beyond any file", (unsigned long long)offset);
    while (bytes > 0 && rc == OD_OK) {
        size_t done = bytes < OD_RECORD_PAYLOAD_MAX ? bytes : OD_RECORD_PAYLOAD_MAX;
        if (file != OD_VOLUME_DATABASE) {
            rc = append_write(volume, file, offset, at, done, offset + done, err);
        } else {
            struct od_cell cell = od_files_cell(&volume->files, offset); // block_bytes never changes
            uint64_t room = cell.offset + cell.bytes - offset;
            if (done > room)
                done = (size_t)room;
            rc = done == cell.bytes ? append_write(volume, file, offset, at, done, offset + done, err)
                                    : write_part(volume, &cell, offset, at, done, offset + done, err);
        }
        at += done;
        offset += done;
        bytes -= done;
    }
    return rc;
}

static od_code append_simple(struct od_volume *volume, enum od_record_op op, enum od_volume_file file, uint64_t offset,
                             uint64_t length, struct od_error *err)
{
    uint64_t lsn;
    struct od_volume_append append = {.record = {.op = op, .file = file, .offset = offset, .payload_hash = length}};
    return od_volume_append(volume, &append, &lsn, err);
}

od_code od_volume_create(struct od_volume *volume, enum od_volume_file file, struct od_error *err)
{
    if (od_volume_exists(volume, file))
        return OD_OK;
    return append_simple(volume, OD_RECORD_CREATE, file, 0, 0, err);
}

od_code od_volume_truncate(struct od_volume *volume, enum od_volume_file file, uint64_t bytes, struct od_error *err)
{
    if (!od_volume_exists(volume, file))
        return od_fail(err, OD_NOT_FOUND, "%s of %s does not exist", FILE_NAMES[file], volume->name);
    if (file == OD_VOLUME_DATABASE && bytes < od_volume_size(volume, file)) {
        // What is cut off a cell must read as zeros when the file grows again.
        struct od_cell cell = od_files_cell(&volume->files, bytes);
        if (bytes > cell.offset) {
            static const uint8_t zeros[262144];
            od_code rc =
                write_part(volume, &cell, bytes, zeros, (size_t)(cell.offset + cell.bytes - bytes), bytes, err);
            if (rc != OD_OK)
                return rc;
        }
    }
    return append_simple(volume, OD_RECORD_TRUNCATE, file, bytes, 0, err);
}

od_code od_volume_trim(struct od_volume *volume, enum od_volume_file file, uint64_t offset, uint64_t bytes,
                       struct od_error *err)
{
    uint64_t size = od_volume_size(volume, file), block = volume->files.block_bytes;
    if (file != OD_VOLUME_DATABASE || offset < OD_GRID_ORIGIN || (offset - OD_GRID_ORIGIN) % block || bytes % block ||
        offset > size || bytes > size - offset)
        return od_fail(err, OD_INVALID, "only whole blocks of the database file can be trimmed, not %llu bytes at %llu",
                       (unsigned long long)bytes, (unsigned long long)offset);
    return bytes ? append_simple(volume, OD_RECORD_TRIM, file, offset, bytes, err) : OD_OK;
}

od_code od_volume_remove(struct od_volume *volume, enum od_volume_file file, struct od_error *err)
{
    if (!od_volume_exists(volume, file))
        return od_fail(err, OD_NOT_FOUND, "%s of %s does not exist", FILE_NAMES[file], volume->name);
    return append_simple(volume, OD_RECORD_REMOVE, file, 0, 0, err);
}

od_code od_volume_rename(struct od_volume *volume, enum od_volume_file from, enum od_volume_file to,
                         struct od_error *err)
{
    if (from == OD_VOLUME_DATABASE || to == OD_VOLUME_DATABASE)
        return od_fail(err, OD_UNSUPPORTED, "the database file cannot be renamed");
    if (!od_volume_exists(volume, from))
        return od_fail(err, OD_NOT_FOUND, "%s of %s does not exist", FILE_NAMES[from], volume->name);
    return from == to ? OD_OK : append_simple(volume, OD_RECORD_RENAME, from, to, 0, err);
}
