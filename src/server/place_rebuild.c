// place_rebuild.c - see place_rebuild.h.
#include "server/place_rebuild.h"

#include "base/alloc.h"
#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/file.h"
#include "os/platform.h"
#include "server/place.h"
#include "storage/rebuild.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define METADATA "metadata.sqlite"
#define SUFFIX_BYTES 64u

// SQLite's files: the database, and what it keeps beside it while it is open or after a crash.
static const char *const PARTS[] = {"", "-wal", "-shm"};
#define PART_COUNT (sizeof PARTS / sizeof PARTS[0])

struct names {
    char *lock, *format, *objects, *metadata, *fresh;
};

static void part_name(char *out, size_t bytes, const char *path, size_t part)
{
    snprintf(out, bytes, "%s%s", path, PARTS[part]);
}

static od_code remove_metadata(const char *path, struct od_error *err)
{
    char part[4096];
    for (size_t i = 0; i < PART_COUNT; i++) {
        part_name(part, sizeof part, path, i);
        od_code rc = od_file_remove(part, err);
        if (rc != OD_OK && rc != OD_NOT_FOUND)
            return rc;
    }
    return OD_OK;
}

static od_code run(struct od_place_rebuild *request, const struct names *names, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_rebuild *rebuild = request->rebuild;
    rebuild->objects = NULL;
    rebuild->metadata = NULL;
    OD_TRY(remove_metadata(names->fresh, err)); // of a try that was killed
    OD_TRY(od_objstore_directory_open(od_platform_real(), names->objects, &rebuild->objects, err));
    OD_TRY(od_metastore_sqlite_open(names->fresh, true, &rebuild->metadata, err));
    OD_TRY(od_rebuild_run(rebuild, err));
out:
    od_metastore_close(rebuild->metadata);
    od_objstore_close(rebuild->objects);
    if (rc != OD_OK) {
        od_code ignored = remove_metadata(names->fresh, NULL);
        (void)ignored;
    }
    return rc;
}

// The old metadata under another name; its parts keep belonging together.
static od_code keep_old(struct od_place_rebuild *request, const struct names *names, struct od_error *err)
{
    char time_text[32], from[4096], to[4096 + 8];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(time_text, sizeof time_text, "%Y%m%dT%H%M%SZ", &parts);
    snprintf(request->kept, sizeof request->kept, "%s.replaced-%s", names->metadata, time_text);
    for (size_t i = PART_COUNT; i-- > 0;) {
        part_name(from, sizeof from, names->metadata, i);
        part_name(to, sizeof to, request->kept, i);
        od_code rc = od_file_exists(from) ? od_file_rename(from, to, err) : OD_OK;
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

od_code od_place_rebuild(struct od_place_rebuild *request, struct od_error *err)
{
    od_code rc = OD_OK;
    const char *directory = request->directory;
    struct od_lock_file lock = {0};
    struct names names = {.lock = od_path_join(directory, "lock"),
                          .format = od_path_join(directory, OD_PLACE_FORMAT_FILE),
                          .objects = od_path_join(directory, "objects"),
                          .metadata = od_path_join(directory, METADATA),
                          .fresh = od_path_join(directory, METADATA ".rebuilding")};
    bool known = false;
    request->kept[0] = '\0';
    if (!names.lock || !names.format || !names.objects || !names.metadata || !names.fresh)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for the data directory"));
    if (strlen(directory) > 3900)
        OD_TRY(od_fail(err, OD_INVALID, "the path %.80s... is too long", directory));
    if (!od_file_exists(names.objects))
        OD_TRY(od_fail(err, OD_NOT_FOUND, "%s is not there: nothing to make metadata from", names.objects));
    OD_TRY(od_lock_file_acquire(&lock, names.lock, err));
    OD_TRY(od_place_check_format(names.format, &known, err));
    if (od_file_exists(names.metadata) && !request->replace)
        OD_TRY(od_fail(err, OD_EXISTS, "%s is there; with --replace it is kept under another name and made again",
                       names.metadata));
    OD_TRY(run(request, &names, err));
    if (od_file_exists(names.metadata))
        OD_TRY(keep_old(request, &names, err));
    OD_TRY(od_file_rename(names.fresh, names.metadata, err));
    if (!known)
        OD_TRY(od_place_write_format(names.format, err));
out:
    od_lock_file_release(&lock);
    od_free(names.lock);
    od_free(names.format);
    od_free(names.objects);
    od_free(names.metadata);
    od_free(names.fresh);
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "data directory %s", directory);
}
