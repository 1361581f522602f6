// export.h - the files of a volume as plain files, which DuckDB opens without this program.
#ifndef OD_STORAGE_EXPORT_H
#define OD_STORAGE_EXPORT_H

#include "base/error.h"

#include <stdint.h>

OD_BEGIN_C

struct od_volume;

struct od_export {
    struct od_volume *volume; // borrowed; frozen at the position wanted, or one that nobody writes meanwhile
    const char *path;         // of the database file; the others are beside it: PATH.wal, ...
    void (*progress)(void *context, uint64_t done, uint64_t total); // bytes; NULL is fine
    void *context;
    uint64_t files, bytes; // filled
};

// Writes every file that the volume has (the WAL files hold commits) under another name beside its own, syncs, and renames;
// the database file comes last, so it is there only when all of them are. OD_EXISTS: one of the four names is taken;
// nothing is overwritten. OD_NOT_FOUND: the volume has no database file. After any error no file of the export is left,
// unless removing fails too.
OD_CHECKED od_code od_export_run(struct od_export *request, struct od_error *err);

OD_END_C

#endif
