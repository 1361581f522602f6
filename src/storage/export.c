// export.c - see export.h.
#include "storage/export.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "storage/volume_internal.h"

#include <stdio.h>
#include <string.h>

#define PIECE_BYTES (4 * OD_MIB) // whole blocks, so that each is verified once
#define PATH_BYTES 4096u
#define SUFFIX ".exporting"

static const char *const NAMES[OD_VOLUME_FILES] = {"", ".wal", ".wal.checkpoint", ".wal.recovery"};

struct job {
    struct od_export *request;
    const struct od_platform_ops *ops;
    struct od_platform *platform;
    uint8_t *piece;
    uint64_t total;
    char paths[OD_VOLUME_FILES][PATH_BYTES];
    char beside[OD_VOLUME_FILES][PATH_BYTES];
    bool written[OD_VOLUME_FILES], renamed[OD_VOLUME_FILES];
};

static od_code check_free(struct job *job, const char *path, struct od_error *err)
{
    struct od_disk_file *file;
    od_code rc = job->ops->open(job->platform, path, OD_DISK_READ, &file, err);
    if (rc == OD_NOT_FOUND)
        return OD_OK;
    if (rc != OD_OK)
        return rc;
    job->ops->close(file);
    return od_fail(err, OD_EXISTS, "the file %s exists; nothing was exported", path);
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
    if (strlen(request->path) + sizeof ".wal.checkpoint" SUFFIX > PATH_BYTES)
        return od_fail(err, OD_INVALID, "the path %.80s... is too long", request->path);
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        snprintf(job->paths[i], PATH_BYTES, "%s%s", request->path, NAMES[i]);
        snprintf(job->beside[i], PATH_BYTES, "%s%s" SUFFIX, request->path, NAMES[i]);
        job->total += od_volume_size(request->volume, (enum od_volume_file)i);
        od_code rc = check_free(job, job->paths[i], err);
        if (rc != OD_OK)
            return rc;
    }
    return OD_OK;
}

static od_code copy_content(struct job *job, enum od_volume_file which, struct od_disk_file *file, struct od_error *err)
{
    struct od_export *request = job->request;
    uint64_t size = od_volume_size(request->volume, which);
    uint64_t at = 0;
    while (at < size) {
        uint64_t bytes = which == OD_VOLUME_DATABASE && at == 0 ? (uint64_t)OD_GRID_ORIGIN : PIECE_BYTES;
        struct iovec part = {job->piece, (size_t)(size - at < bytes ? size - at : bytes)};
        od_code rc = od_volume_read(request->volume, which, at, job->piece, part.iov_len, err);
        if (rc == OD_OK)
            rc = job->ops->write(file, at, &part, 1, err);
        if (rc != OD_OK)
            return rc;
        at += part.iov_len;
        request->bytes += part.iov_len;
        if (request->progress)
            request->progress(request->context, request->bytes, job->total);
    }
    return OD_OK;
}

static od_code write_file(struct job *job, enum od_volume_file which, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_disk_file *file;
    rc = job->ops->remove(job->platform, job->beside[which], err); // of an export that was killed
    if (rc != OD_OK && rc != OD_NOT_FOUND)
        return rc;
    rc = job->ops->open(job->platform, job->beside[which], OD_DISK_CREATE, &file, err);
    if (rc != OD_OK)
        return rc;
    job->written[which] = true;
    OD_TRY(copy_content(job, which, file, err));
    OD_TRY(job->ops->sync(file, err));
out:
    job->ops->close(file);
    return rc;
}

static od_code sync_names(struct job *job, struct od_error *err)
{
    char directory[PATH_BYTES];
    snprintf(directory, sizeof directory, "%s", job->paths[OD_VOLUME_DATABASE]);
    char *slash = strrchr(directory, '/');
    if (!slash)
        memcpy(directory, ".", 2);
    else
        slash[slash == directory] = '\0';
    return job->ops->sync_directory(job->platform, directory, err);
}

static od_code rename_files(struct job *job, struct od_error *err)
{
    od_code rc = OD_OK;
    for (int i = OD_VOLUME_FILES - 1; i >= 0; i--) {
        if (!job->written[i])
            continue;
        if (i == OD_VOLUME_DATABASE)
            OD_TRY(sync_names(job, err));
        OD_TRY(job->ops->rename(job->platform, job->beside[i], job->paths[i], err));
        job->renamed[i] = true;
        job->request->files++;
    }
    OD_TRY(sync_names(job, err));
out:
    return rc;
}

static void clean_up(struct job *job)
{
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        if (job->written[i])
            (void)job->ops->remove(job->platform, job->renamed[i] ? job->paths[i] : job->beside[i], NULL);
}

od_code od_export_run(struct od_export *request, struct od_error *err)
{
    od_code rc = OD_OK;
    request->files = request->bytes = 0;
    struct job *job = od_calloc(1, sizeof *job);
    if (!job)
        return od_fail(err, OD_NO_MEMORY, "out of memory for exporting %s", request->volume->name);
    job->request = request;
    job->platform = request->volume->platform;
    job->ops = job->platform->ops;
    OD_TRY(prepare(job, err));
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        if (od_volume_exists(request->volume, (enum od_volume_file)i))
            OD_TRY(write_file(job, (enum od_volume_file)i, err));
    OD_TRY(rename_files(job, err));
out:
    if (rc != OD_OK)
        clean_up(job);
    od_free(job->piece);
    od_free(job);
    return rc;
}
