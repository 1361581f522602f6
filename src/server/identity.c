// identity.c - see identity.h. The name is the object "cluster" and a row of the metadata; the object is put first, so that it
// is never missing where the row is.
#include "server/identity.h"

#include "base/alloc.h"
#include "base/uuid.h"
#include "metastore/metastore.h"
#include "objstore/objstore.h"
#include "os/platform.h"

#include <stdio.h>
#include <string.h>

#define TEXT_BYTES (OD_UUID_TEXT_BYTES - 1) // then a line end

// *found false: there is none.
static od_code read_object(struct od_objstore *objects, struct od_uuid *cluster, bool *found, struct od_error *err)
{
    struct od_object *object = NULL;
    char text[OD_UUID_TEXT_BYTES] = "";
    od_code rc = od_objstore_open(objects, OD_CLUSTER_KEY, &object, err);
    *found = rc == OD_OK;
    if (rc == OD_NOT_FOUND)
        return OD_OK;
    OD_TRY(rc);
    if (od_object_bytes(object) != TEXT_BYTES + 1)
        OD_TRY(od_fail(err, OD_CORRUPT, "the object " OD_CLUSTER_KEY " does not name a cluster of OpenDuck"));
    OD_TRY(od_object_read(object, 0, text, TEXT_BYTES, err));
    if (od_uuid_parse(text, cluster, NULL) != OD_OK)
        OD_TRY(od_fail(err, OD_CORRUPT, "the object " OD_CLUSTER_KEY " does not name a cluster of OpenDuck"));
out:
    od_object_close(object);
    return rc;
}

// Puts it, or reads what somebody else has put.
static od_code put_object(struct od_platform *platform, struct od_objstore *objects, struct od_uuid *cluster,
                          struct od_error *err)
{
    char text[OD_UUID_TEXT_BYTES + 1];
    bool found = false;
    platform->ops->random(platform, cluster->bytes, sizeof cluster->bytes);
    od_uuid_mark_random(cluster);
    od_uuid_format(cluster, text);
    text[TEXT_BYTES] = '\n';
    od_code rc = od_objstore_put(objects, OD_CLUSTER_KEY, text, TEXT_BYTES + 1, err);
    if (rc != OD_EXISTS && rc != OD_OUTCOME_UNKNOWN)
        return rc;
    rc = read_object(objects, cluster, &found, err);
    return rc == OD_OK && !found ? od_fail(err, OD_UNAVAILABLE, "the object " OD_CLUSTER_KEY " was not put; try again") : rc;
}

static od_code note_any(void *context, const char *key, uint64_t bytes, struct od_error *err)
{
    (void)bytes;
    snprintf(context, OD_UUID_TEXT_BYTES + 16, "%.50s", key);
    return od_fail(err, OD_CANCELLED, "one is enough");
}

// *key: of a branch that the object store describes; "": it describes none.
static od_code any_described(struct od_objstore *objects, char key[OD_UUID_TEXT_BYTES + 16], struct od_error *err)
{
    key[0] = '\0';
    od_code rc = od_objstore_list(objects, "branches/", note_any, key, err);
    return key[0] ? OD_OK : rc;
}

static od_code is_described(struct od_objstore *objects, const struct od_uuid *branch, bool *is, struct od_error *err)
{
    char key[OD_UUID_TEXT_BYTES + 16] = "branches/";
    struct od_object *object = NULL;
    od_uuid_format(branch, key + strlen(key));
    od_code rc = od_objstore_open(objects, key, &object, err);
    od_object_close(object);
    *is = rc == OD_OK;
    return rc == OD_NOT_FOUND ? OD_OK : rc;
}

// Neither store is new: does what the one knows belong to what is in the other?
static od_code check_match(struct od_metastore *metadata, struct od_objstore *objects, bool named, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_meta_database *rows = NULL;
    size_t count = 0;
    bool is = true;
    char key[OD_UUID_TEXT_BYTES + 16];
    OD_TRY(metadata->ops->database_list(metadata, &rows, &count, err));
    if (count > 0)
        OD_TRY(is_described(objects, &rows[0].branch, &is, err));
    if (!is)
        OD_TRY(od_fail(err, OD_INVALID,
                       "the metadata knows %zu databases, but the object store has nothing of \"%s\": this is another bucket "
                       "or prefix than theirs. Nothing was changed",
                       count, rows[0].name));
    if (count > 0 || !named)
        goto out;
    OD_TRY(any_described(objects, key, err));
    if (key[0])
        rc = od_fail(err, OD_INVALID,
                     "the object store has databases (%s, ...), but the metadata is new: run \"openduck rebuild --metadata URL "
                     "--objects URL\" to make it from them, or take another prefix. Nothing was changed",
                     key);
out:
    od_free(rows);
    return rc;
}

od_code od_identity_check(struct od_platform *platform, struct od_metastore *metadata, struct od_objstore *objects,
                          struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_uuid of_objects, of_metadata;
    bool found = false;
    char left[OD_UUID_TEXT_BYTES], right[OD_UUID_TEXT_BYTES];
    OD_TRY(read_object(objects, &of_objects, &found, err));
    OD_TRY(check_match(metadata, objects, found, err));
    if (!found)
        OD_TRY(put_object(platform, objects, &of_objects, err));
    of_metadata = of_objects;
    OD_TRY(metadata->ops->identify(metadata, &of_metadata, err));
    if (od_uuid_equal(&of_objects, &of_metadata))
        goto out;
    od_uuid_format(&of_objects, left);
    od_uuid_format(&of_metadata, right);
    rc = od_fail(err, OD_INVALID,
                 "the object store belongs to cluster %s, the metadata to cluster %s: two clusters cannot share a prefix. Take "
                 "another one, or make the metadata again from these objects with \"openduck rebuild --replace\"",
                 left, right);
out:
    return rc;
}

od_code od_identity_adopt(struct od_platform *platform, struct od_metastore *metadata, struct od_objstore *objects,
                          struct od_error *err)
{
    struct od_uuid cluster;
    bool found = false;
    od_code rc = read_object(objects, &cluster, &found, err);
    if (rc == OD_OK && !found)
        rc = put_object(platform, objects, &cluster, err);
    return rc == OD_OK ? metadata->ops->identify(metadata, &cluster, err) : rc;
}
