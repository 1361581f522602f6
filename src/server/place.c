// place.c - see place.h.
#include "server/place.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "metastore/metastore.h"
#include "objstore/cache.h"
#include "objstore/objstore.h"
#include "os/platform.h"
#include "os/random.h"
#include "server/backends.h"
#include "server/identity.h"
#include "storage/store.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FORMAT_TEXT "openduck data directory, format 1\n"
#define FORMAT_BYTES_MAX 256u
#define CACHE_BYTES_DEFAULT (10 * OD_GIB)
#define UNSHIPPED_BYTES_DEFAULT (1 * OD_GIB)
#define PREFETCH_THREADS 2u

char *od_place_temporary(const struct od_place *place, const char *suffix)
{
    char id[OD_RANDOM_ID_BYTES];
    char name[OD_RANDOM_ID_BYTES + 32];
    od_random_id(id);
    snprintf(name, sizeof name, "%s%s", id, suffix);
    return od_path_join(place->temporary, name);
}

void od_place_discard(const char *path)
{
    struct od_error err = {0};
    if (path && od_tree_remove(path, &err) != OD_OK)
        od_log(OD_LOG_WARN, "server", "%s", err.message);
}

od_code od_place_check_format(const char *path, bool *known, struct od_error *err)
{
    struct od_buf text;
    od_buf_init(&text, FORMAT_BYTES_MAX);
    *known = false;
    od_code rc = od_file_read(path, &text, err);
    if (rc == OD_NOT_FOUND) {
        rc = OD_OK;
    } else if (rc == OD_OK) {
        *known = text.bytes == strlen(FORMAT_TEXT) && memcmp(text.data, FORMAT_TEXT, text.bytes) == 0;
        if (!*known)
            rc = od_fail(err, OD_UNSUPPORTED,
                         "%s says \"%.*s\", which this version (%s) does not read: use the version that wrote it", path,
                         (int)(text.bytes && text.data[text.bytes - 1] == '\n' ? text.bytes - 1 : text.bytes),
                         (const char *)text.data, OD_VERSION);
    }
    od_buf_release(&text);
    return rc;
}

od_code od_place_write_format(const char *path, struct od_error *err)
{
    return od_file_write(path, FORMAT_TEXT, strlen(FORMAT_TEXT), 0600, err);
}

// Versions before the first format kept each database as a file.
static od_code check_older(const char *directory, struct od_error *err)
{
    char *databases = od_path_join(directory, "databases");
    if (!databases)
        return od_fail(err, OD_NO_MEMORY, "no memory for the data directory");
    od_code rc = OD_OK;
    if (od_file_exists(databases))
        rc = od_fail(
            err, OD_UNSUPPORTED,
            "an older version made it: each database is a file in %s. Take an empty directory, and bring the files "
            "in with \"openduck db create NAME --from FILE\"",
            databases);
    od_free(databases);
    return rc;
}

// Who holds leases: the same after a restart, so that a server gets its own back at once.
static void owner_name(const char *directory, char *out, size_t bytes)
{
    char host[HOST_NAME_MAX + 1] = "localhost";
    char real[PATH_MAX];
    (void)!gethostname(host, sizeof host - 1);
    snprintf(out, bytes, "%s:%.150s", host, realpath(directory, real) ? real : directory);
}

static od_code open_metadata(struct od_place *place, const struct od_place_options *options, bool known,
                             struct od_error *err)
{
    char *own = od_path_join(place->directory, "metadata.sqlite");
    if (!own)
        return od_fail(err, OD_NO_MEMORY, "no memory for the data directory");
    od_code rc = OD_OK;
    if (options->metadata && od_file_exists(own))
        rc = od_fail(err, OD_INVALID,
                     "it has metadata of its own (%s), and %.200s was given: move the databases with \"openduck copy-store\", "
                     "or take another directory",
                     own, options->metadata);
    else
        rc = od_metadata_open(options->metadata ? options->metadata : own, !known, &place->metadata, err);
    if (rc == OD_NOT_FOUND && !options->metadata)
        rc = od_fail(err, OD_CORRUPT,
                     "%s is missing, but the directory has been used: give --metadata and --objects if it was used with them; "
                     "else run \"openduck rebuild --data %s\", which makes it again from the objects",
                     own, place->directory);
    od_free(own);
    return rc;
}

static od_code open_objects(struct od_place *place, const struct od_place_options *options, struct od_error *err)
{
    bool remote = options->objects && od_objects_are_remote(options->objects);
    char *path = od_path_join(place->directory, remote ? "cache" : "objects");
    if (!path)
        return od_fail(err, OD_NO_MEMORY, "no memory for the data directory");
    struct od_objstore *objects = NULL;
    place->remote = remote;
    od_code rc = od_objects_open(options->objects ? options->objects : path, &objects, err);
    if (rc == OD_OK && remote) {
        const struct od_cache_options cache = {
            .platform = od_platform_real(),
            .inner = objects,
            .path = path,
            .bytes = options->cache_bytes ? options->cache_bytes : CACHE_BYTES_DEFAULT,
            .prefetch_threads = PREFETCH_THREADS,
        };
        rc = od_objstore_cache_open(&cache, &place->objects, err);
        if (rc != OD_OK)
            od_objstore_close(objects);
    } else if (rc == OD_OK) {
        place->objects = objects;
    }
    od_free(path);
    return rc;
}

static od_code open_parts(struct od_place *place, const struct od_place_options *options, bool known,
                          struct od_error *err)
{
    od_code rc = OD_OK;
    char owner[256];
    char *journals = od_path_join(place->directory, "journals");
    if (!journals)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for the data directory"));
    OD_TRY(open_metadata(place, options, known, err));
    OD_TRY(open_objects(place, options, err));
    if (place->shared)
        OD_TRY(od_identity_check(od_platform_real(), place->metadata, place->objects, err));
    owner_name(place->directory, owner, sizeof owner);
    const struct od_store_options store = {
        .platform = od_platform_real(),
        .objects = place->objects,
        .metadata = place->metadata,
        .journal_directory = journals,
        .owner = owner,
        .threads = true,
        .reserve_bytes = OD_RESERVE_BYTES,
        .history_ms = options->history_ms,
        .policy = options->policy,
        .unshipped_max = options->unshipped_bytes ? options->unshipped_bytes : place->remote ? UNSHIPPED_BYTES_DEFAULT : 0,
    };
    OD_TRY(od_store_open(&store, &place->store, err));
out:
    od_free(journals);
    return rc;
}

// Both elsewhere or both here: a directory with half of it would be of no use to anybody else.
static od_code check_options(const struct od_place_options *options, struct od_error *err)
{
    if (!options->metadata == !options->objects)
        return OD_OK;
    return od_fail(err, OD_INVALID, "give --metadata and --objects together: one without the other cannot be opened "
                                    "elsewhere");
}

od_code od_place_open(const struct od_place_options *options, struct od_place *place, struct od_error *err)
{
    od_code rc = OD_OK;
    bool known = false;
    const char *directory = options->directory;
    *place = (struct od_place){.directory = od_strdup(directory),
                               .temporary = od_path_join(directory, "tmp"),
                               .shared = options->metadata && od_metadata_is_remote(options->metadata)};
    char *lock = od_path_join(directory, "lock");
    char *format = od_path_join(directory, OD_PLACE_FORMAT_FILE);
    if (!place->directory || !place->temporary || !lock || !format)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for the data directory"));
    OD_TRY(check_options(options, err));
    OD_TRY(od_directory_make(directory, 0700, err));
    OD_TRY(od_lock_file_acquire(&place->lock, lock, err));
    OD_TRY(od_place_check_format(format, &known, err));
    if (!known)
        OD_TRY(check_older(directory, err));
    OD_TRY(od_tree_remove(place->temporary, err));
    OD_TRY(od_directory_make(place->temporary, 0700, err));
    OD_TRY(open_parts(place, options, known, err));
    if (!known)
        OD_TRY(od_place_write_format(format, err));
out:
    od_free(lock);
    od_free(format);
    if (rc != OD_OK) {
        rc = od_wrap(err, rc, "data directory %s", directory);
        od_place_close(place);
    }
    return rc;
}

void od_place_close(struct od_place *place)
{
    od_store_close(place->store);
    od_metastore_close(place->metadata);
    od_objstore_close(place->objects);
    if (place->lock.held)
        od_place_discard(place->temporary);
    od_lock_file_release(&place->lock);
    od_free(place->directory);
    od_free(place->temporary);
    *place = (struct od_place){0};
}
