// files.h - private: the four files of a volume at one position: which exist, how large they are, where their bytes are.
// The one place where an operation takes effect: the running volume, recovery and frozen views all apply records here, in
// the order of their positions, so that what is read now is what a recovery would find.
//
//   F1  od_files_apply cannot fail after od_files_prepare succeeded for the same record.
//   F2  Within a file's size, what was never written (or was trimmed or cut off) is zeros.
//
// Threads: the caller's lock.
#ifndef OD_STORAGE_FILES_H
#define OD_STORAGE_FILES_H

#include "storage/extents.h"
#include "storage/record.h"

#define OD_GRID_HEADERS 3u
#define OD_GRID_HEADER_BYTES 4096u
#define OD_GRID_ORIGIN (OD_GRID_HEADERS * OD_GRID_HEADER_BYTES)

struct od_files {
    struct od_file_state states[OD_VOLUME_FILES];
    struct od_page headers[OD_GRID_HEADERS];
    struct od_page_table blocks;
    struct od_extents extents[OD_VOLUME_FILES]; // of the WAL files
    uint32_t block_bytes;
};

// The cell of the database file's grid that holds `offset`: a header or a block.
struct od_cell {
    bool header;
    uint64_t index;
    uint64_t offset; // where the cell begins
    uint32_t bytes;
};
struct od_cell od_files_cell(const struct od_files *files, uint64_t offset);
// Before od_files_page.
OD_CHECKED od_code od_files_load(struct od_files *files, const struct od_cell *cell, struct od_error *err);
struct od_page od_files_page(const struct od_files *files, const struct od_cell *cell);
void od_files_verified(struct od_files *files, const struct od_cell *cell, od_place place);

// OD_NO_MEMORY, OD_LIMIT; OD_CORRUPT for a record that cannot be (of a file, not of a caller).
OD_CHECKED od_code od_files_prepare(struct od_files *files, const struct od_record *record, struct od_error *err);
// write_end: the file is at least this large afterwards (a write's cell may be larger than what was written; barriers carry
// the sizes).
void od_files_apply(struct od_files *files, const struct od_record *record, od_place place, uint64_t write_end);
OD_CHECKED od_code od_files_copy(struct od_files *to, const struct od_files *from, struct od_error *err);
void od_files_release(struct od_files *files);

#endif
