// export.c - see export.h.
#include "storage/export.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/file_set.h"
#include "storage/volume_internal.h"

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES (4 * OD_MIB) // whole blocks, so that each is verified once
#define PATH_BYTES 4096u
static const char *const NAMES[OD_VOLUME_FILES] = {"", ".wal", ".wal.checkpoint", ".wal.recovery"};

struct job {
    struct od_export *request;
    struct od_file_set files;
    uint8_t *piece;
    uint64_t total;
    char path[PATH_BYTES];
};

static void name_file(struct job *job, enum od_volume_file which)
{
    snprintf(job->path, PATH_BYTES, "%s%s", job->request->path, NAMES[which]);
}

static od_code prepare(struct job *job, struct od_error *err)
{
    const struct od_export *request = job->request;
    job->piece = od_alloc((size_t)PIECE_BYTES);
    if (!job->piece)
        return od_fail(err, OD_NO_MEMORY, "out of memory for exporting %s", request->volume->name);
    if (!od_volume_exists(request->volume, OD_VOLUME_DATABASE))
        return od_fail(err, OD_NOT_FOUND, "the database %s is empty: it has no file to export yet",
                       request->volume->name);
    if (strlen(request->path) + sizeof ".wal.checkpoint" > PATH_BYTES)
        return od_fail(err, OD_INVALID, "the path %.80s... is too long", request->path);
    for (int i = 0; i < OD_VOLUME_FILES; i++) { // a WAL that is there already would be replayed
        name_file(job, (enum od_volume_file)i);
        job->total += od_volume_size(request->volume, (enum od_volume_file)i);
        od_code rc = od_file_set_expect_free(&job->files, job->path, err);
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

static od_code write_file(struct job *job, enum od_volume_file which, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_export *request = job->request;
    uint64_t size = od_volume_size(request->volume, which);
    name_file(job, which);
    OD_TRY(od_file_set_begin(&job->files, job->path, err));
    for (uint64_t at = 0; at < size;) {
        uint64_t want = which == OD_VOLUME_DATABASE && at == 0 ? (uint64_t)OD_GRID_ORIGIN : PIECE_BYTES;
        size_t bytes = (size_t)(size - at < want ? size - at : want);
        OD_TRY(od_volume_read(request->volume, which, at, job->piece, bytes, err));
        OD_TRY(od_file_set_append(&job->files, job->piece, bytes, err));
        at += bytes;
        request->bytes += bytes;
        if (request->progress)
            request->progress(request->context, request->bytes, job->total);
    }
out:
    return rc;
}

od_code od_export_run(struct od_export *request, struct od_error *err)
{
    od_code rc = OD_OK;
    request->files = request->bytes = 0;
    struct job *job = od_calloc(1, sizeof *job);
    if (!job)
        return od_fail(err, OD_NO_MEMORY, "out of memory for exporting %s", request->volume->name);
    job->request = request;
    od_file_set_init(&job->files, request->volume->platform);
    OD_TRY(prepare(job, err));
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        if (od_volume_exists(request->volume, (enum od_volume_file)i))
            OD_TRY(write_file(job, (enum od_volume_file)i, err));
    OD_TRY(od_file_set_finish(&job->files, err));
    request->files = job->files.count;
out:
    od_file_set_release(&job->files, rc == OD_OK);
    od_free(job->piece);
    od_free(job);
    return rc;
}
