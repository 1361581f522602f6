// s3_put.c - putting objects into S3, once.
//
//   U1  Every put is conditional on the key being free, and carries an id of its own in the object's metadata. When an answer
//       was lost, that id tells whether the object that is there is this put's.
//   U2  Content above LARGE_BYTES goes up in parts; the object appears at the conditional completion, whole or not at all.
#include "objstore/s3_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/platform.h"

#include <stdio.h>
#include <string.h>

#define LARGE_BYTES ((size_t)(64 * OD_MIB))
#define PART_BYTES ((size_t)(16 * OD_MIB))
#define PARTS_MAX 10000u

od_code od_s3_put_resolve(struct s3_store *store, const char *key, const char *put_id, struct od_error *err)
{
    struct s3_request request = {.method = "HEAD", .key = key, .query = ""};
    struct s3_reply reply;
    struct od_error why = {0};
    od_s3_reply_init(&reply);
    od_code rc = od_s3_send(store, &request, &reply, &why);
    if (rc == OD_OK && reply.status == 200)
        rc = strcmp(reply.put_id, put_id) == 0 ? OD_OK : od_fail(err, OD_EXISTS, "object %s is there already", key);
    else // absent now; a request on its way may still put it
        rc = od_fail(err, OD_OUTCOME_UNKNOWN, "whether object %s was put is not known: %s", key,
                     rc == OD_OK ? "it is not there yet" : why.message);
    od_s3_reply_release(&reply);
    return rc;
}

// What the answer of a conditional request means.
static od_code put_outcome(struct s3_store *store, const struct s3_request *request, struct s3_reply *reply, od_code rc,
                           const char *put_id, struct od_error *err)
{
    if (rc == OD_OK && reply->status == 200)
        return OD_OK;
    bool unsure = reply->maybe_applied && (rc == OD_UNAVAILABLE || (rc == OD_OK && reply->status == 412));
    if (unsure)
        return od_s3_put_resolve(store, request->key, put_id, err);
    return rc == OD_OK ? od_s3_status_error(store, request, reply, err) : rc;
}

od_code od_s3_put_once(struct s3_store *store, const char *key, const struct iovec *parts, unsigned count,
                       const char *put_id, struct od_error *err)
{
    struct s3_request request = {.method = "PUT",
                                 .key = key,
                                 .query = "",
                                 .body = parts,
                                 .body_count = count,
                                 .put_id = put_id,
                                 .if_absent = true};
    struct s3_reply reply;
    od_s3_reply_init(&reply);
    od_code rc = od_s3_send(store, &request, &reply, err);
    rc = put_outcome(store, &request, &reply, rc, put_id, err);
    od_s3_reply_release(&reply);
    return rc;
}

// ---- in parts

struct large {
    struct s3_store *store;
    const char *key, *put_id;
    struct od_buf upload; // its id, percent-encoded
    struct od_buf list;   // of parts, for the completion
};

static od_code large_begin(struct large *large, struct od_error *err)
{
    struct s3_request request = {.method = "POST", .key = large->key, .query = "uploads=", .put_id = large->put_id};
    struct s3_reply reply;
    char id[1024];
    od_s3_reply_init(&reply);
    od_code rc = od_s3_send(large->store, &request, &reply, err);
    const char *text = od_buf_text(&reply.answer);
    if (rc == OD_OK && reply.status != 200)
        rc = od_s3_status_error(large->store, &request, &reply, err);
    else if (rc == OD_OK && (!text || !od_s3_xml(text, NULL, "UploadId", id, sizeof id)))
        rc = od_fail(err, OD_IO, "object %s: the server began an upload without an id", large->key);
    if (rc == OD_OK)
        rc = od_s3_encode(&large->upload, id, false, err);
    od_s3_reply_release(&reply);
    return rc;
}

static od_code large_part(struct large *large, unsigned number, void *data, size_t bytes, struct od_error *err)
{
    struct od_buf query;
    struct iovec body = {data, bytes};
    struct s3_request request = {.method = "PUT", .key = large->key, .body = &body, .body_count = 1};
    struct s3_reply reply;
    od_code rc = OD_OK;
    od_buf_init(&query, 4096);
    od_s3_reply_init(&reply);
    OD_TRY(od_buf_printf(&query, err, "partNumber=%u&uploadId=", number));
    OD_TRY(od_buf_append(&query, large->upload.data, large->upload.bytes, err));
    request.query = od_buf_text(&query);
    if (!request.query)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a request"));
    OD_TRY(od_s3_send(large->store, &request, &reply, err));
    if (reply.status != 200 || !reply.etag[0])
        OD_TRY(od_s3_status_error(large->store, &request, &reply, err));
    OD_TRY(od_buf_printf(&large->list, err, "<Part><PartNumber>%u</PartNumber><ETag>%s</ETag></Part>", number,
                         reply.etag));
out:
    od_buf_release(&query);
    od_s3_reply_release(&reply);
    return rc;
}

static od_code large_query(const struct large *large, struct od_buf *query, const char **text, struct od_error *err)
{
    od_code rc = od_buf_append_text(query, "uploadId=", err);
    if (rc == OD_OK)
        rc = od_buf_append(query, large->upload.data, large->upload.bytes, err);
    *text = rc == OD_OK ? od_buf_text(query) : NULL;
    return rc == OD_OK && !*text ? od_fail(err, OD_NO_MEMORY, "out of memory for a request") : rc;
}

static od_code large_complete(struct large *large, struct od_error *err)
{
    struct od_buf query;
    struct s3_request request = {.method = "POST", .key = large->key, .body_count = 1, .if_absent = true};
    struct s3_reply reply;
    char code[64];
    od_code rc = OD_OK;
    od_buf_init(&query, 4096);
    od_s3_reply_init(&reply);
    OD_TRY(od_buf_append_text(&large->list, "</CompleteMultipartUpload>", err));
    struct iovec body = {large->list.data, large->list.bytes};
    request.body = &body;
    OD_TRY(large_query(large, &query, &request.query, err));
    rc = od_s3_send(large->store, &request, &reply, err);
    const char *text = od_buf_text(&reply.answer);
    if (rc == OD_OK && reply.status == 200 && text && od_s3_xml(text, NULL, "Code", code, sizeof code)) {
        // The head of the answer is sent before the outcome is known: the body tells.
        rc = od_s3_put_resolve(large->store, large->key, large->put_id, err);
        goto out;
    }
    if (rc == OD_OK && reply.status == 404 && reply.maybe_applied) // an earlier try completed it: the upload is gone
        rc = od_s3_put_resolve(large->store, large->key, large->put_id, err);
    else
        rc = put_outcome(large->store, &request, &reply, rc, large->put_id, err);
out:
    od_buf_release(&query);
    od_s3_reply_release(&reply);
    return rc;
}

static void large_abort(struct large *large)
{
    struct od_buf query;
    struct s3_request request = {.method = "DELETE", .key = large->key};
    struct s3_reply reply;
    od_buf_init(&query, 4096);
    od_s3_reply_init(&reply);
    // What stays costs space only; buckets have a rule that removes unfinished uploads.
    if (large->upload.bytes && large_query(large, &query, &request.query, NULL) == OD_OK &&
        od_s3_send(large->store, &request, &reply, NULL) != OD_OK)
        reply.status = 0;
    od_buf_release(&query);
    od_s3_reply_release(&reply);
}

static od_code put_parts(struct s3_store *store, const char *key, struct od_disk_file *file, uint64_t bytes,
                         const char *put_id, struct od_error *err)
{
    struct large large = {.store = store, .key = key, .put_id = put_id};
    od_code rc = OD_OK;
    uint64_t least = (bytes + PARTS_MAX - 1) / PARTS_MAX;
    size_t part_bytes = least > PART_BYTES ? (size_t)least : PART_BYTES;
    od_buf_init(&large.upload, 4096);
    od_buf_init(&large.list, 4 * OD_MIB);
    void *data = od_alloc(part_bytes);
    if (!data)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for putting object %s", key));
    OD_TRY(large_begin(&large, err));
    OD_TRY(od_buf_append_text(&large.list, "<CompleteMultipartUpload>", err));
    unsigned number = 0;
    for (uint64_t at = 0; at < bytes; at += part_bytes) {
        size_t now = bytes - at < part_bytes ? (size_t)(bytes - at) : part_bytes;
        OD_TRY(store->platform->ops->read(file, at, data, now, err));
        OD_TRY(large_part(&large, ++number, data, now, err));
    }
    OD_TRY(large_complete(&large, err));
out:
    if (rc != OD_OK && rc != OD_OUTCOME_UNKNOWN)
        large_abort(&large);
    od_free(data);
    od_buf_release(&large.upload);
    od_buf_release(&large.list);
    return rc;
}

od_code od_s3_put_large(struct s3_store *store, const char *key, const char *path, const char *put_id,
                        struct od_error *err)
{
    const struct od_platform_ops *os = store->platform->ops;
    od_code rc = OD_OK;
    struct od_disk_file *file = NULL;
    uint64_t bytes = 0;
    void *data = NULL;
    OD_TRY(os->open(store->platform, path, OD_DISK_READ, &file, err));
    OD_TRY(os->size(file, &bytes, err));
    if (bytes > LARGE_BYTES) {
        OD_TRY(put_parts(store, key, file, bytes, put_id, err));
        goto out;
    }
    data = od_alloc((size_t)bytes);
    if (!data)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for putting object %s", key));
    OD_TRY(os->read(file, 0, data, (size_t)bytes, err));
    struct iovec part = {data, (size_t)bytes};
    OD_TRY(od_s3_put_once(store, key, &part, 1, put_id, err));
out:
    if (file)
        os->close(file);
    od_free(data);
    return rc;
}
