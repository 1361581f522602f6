// stores_rebuild.c - see place_rebuild.h: the metadata in PostgreSQL, made again from the objects of a bucket.
#include "base/alloc.h"
#include "base/log.h"
#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/platform.h"
#include "server/backends.h"
#include "server/identity.h"
#include "server/place_rebuild.h"
#include "storage/rebuild.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define BUCKET_HELPERS 16u

static od_code make(struct od_stores_rebuild *request, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_rebuild *rebuild = request->rebuild;
    OD_TRY(od_metadata_migrate(request->metadata, err));
    OD_TRY(od_metadata_open(request->metadata, false, &rebuild->metadata, err));
    OD_TRY(od_rebuild_run(rebuild, err));
    OD_TRY(od_identity_adopt(od_platform_real(), rebuild->metadata, rebuild->objects, err));
out:
    od_metastore_close(rebuild->metadata);
    rebuild->metadata = NULL;
    return rc;
}

static od_code is_empty(const char *address, bool *empty, struct od_error *err)
{
    struct od_metastore *metadata = NULL;
    struct od_meta_branch *branches = NULL;
    size_t count = 0;
    od_code rc = od_metadata_open(address, false, &metadata, err);
    if (rc == OD_OK)
        rc = metadata->ops->branch_list(metadata, &branches, &count, err);
    // What cannot be read is not called empty.
    *empty = rc == OD_OK && count == 0;
    od_metastore_close(metadata);
    od_free(branches);
    return rc == OD_UNSUPPORTED ? OD_OK : rc;
}

static od_code put_aside(struct od_stores_rebuild *request, bool *aside, struct od_error *err)
{
    bool there = false, empty = false;
    od_code rc = od_metastore_postgres_exists(request->metadata, &there, err);
    if (rc == OD_OK && there)
        rc = is_empty(request->metadata, &empty, err);
    if (rc != OD_OK || !there || empty)
        return rc;
    if (!request->replace)
        return od_fail(err, OD_EXISTS,
                       "there is metadata already; with --replace it is kept under another name and made again");
    char time_text[24];
    time_t now = time(NULL);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(time_text, sizeof time_text, "%Y%m%dt%H%M%Sz", &parts);
    snprintf(request->kept, sizeof request->kept, "openduck_replaced_%s", time_text);
    rc = od_metastore_postgres_set_aside(request->metadata, request->kept, err);
    *aside = rc == OD_OK;
    return rc;
}

od_code od_stores_rebuild(struct od_stores_rebuild *request, struct od_error *err)
{
    od_code rc = OD_OK;
    bool aside = false;
    struct od_error failure;
    struct od_rebuild *rebuild = request->rebuild;
    request->kept[0] = '\0';
    rebuild->objects = NULL;
    rebuild->metadata = NULL;
    if (!od_metadata_is_remote(request->metadata))
        OD_TRY(od_fail(err, OD_INVALID, "\"%.100s\" is no PostgreSQL database: --data DIR rebuilds a data directory",
                       request->metadata));
    OD_TRY(od_objects_open(request->objects, &rebuild->objects, err));
    if (od_objects_are_remote(request->objects))
        rebuild->helpers = BUCKET_HELPERS;
    OD_TRY(put_aside(request, &aside, err));
    rc = make(request, err);
    if (rc != OD_OK && aside && od_metastore_postgres_put_back(request->metadata, request->kept, &failure) != OD_OK)
        od_log(OD_LOG_ERROR, "openduck", "the old metadata stays in the schema %s: %s", request->kept, failure.message);
out:
    od_objstore_close(rebuild->objects);
    return rc;
}
