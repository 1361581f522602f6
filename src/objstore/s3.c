// s3.c - objects in an S3-compatible bucket: opening and probing, reading, listing, removing.
//
//   T1  A bucket is used only after it has shown that of two, and of several racing, conditional puts of one key exactly one
//       wins: some servers ignore the condition, others check it without a lock.
//   T2  Integrity: content goes up under its SHA-256, which the server checks; a short answer is an error.
#include "objstore/s3_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/platform.h"
#include "os/random.h"
#include "os/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DEADLINE_MS_DEFAULT 60000u
#define PROBES 8
#define PROBE_ROUNDS 3

struct s3_object {
    struct od_object base;
    uint64_t bytes;
    char key[];
};

static struct s3_store *of(struct od_objstore *store)
{
    return (struct s3_store *)store;
}

static void new_put_id(struct s3_store *store, char out[33])
{
    uint64_t random[2];
    store->platform->ops->random(store->platform, random, sizeof random);
    snprintf(out, 33, "%016llx%016llx", (unsigned long long)random[0], (unsigned long long)random[1]);
}

static od_code s3_put(struct od_objstore *store, const char *key, const struct iovec *parts, unsigned count,
                      struct od_error *err)
{
    char put_id[33];
    new_put_id(of(store), put_id);
    return od_s3_put_once(of(store), key, parts, count, put_id, err);
}

static od_code s3_put_file(struct od_objstore *store, const char *key, const char *path, struct od_error *err)
{
    char put_id[33];
    new_put_id(of(store), put_id);
    return od_s3_put_large(of(store), key, path, put_id, err);
}

static od_code s3_open_listed(struct od_objstore *opaque, const char *key, uint64_t bytes, struct od_object **out,
                              struct od_error *err)
{
    size_t key_bytes = strlen(key) + 1;
    struct s3_object *object = od_calloc(1, sizeof *object + key_bytes);
    if (!object)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the object %s", key);
    object->base.store = opaque;
    object->bytes = bytes;
    snprintf(object->key, key_bytes, "%s", key);
    *out = &object->base;
    return OD_OK;
}

static od_code s3_open(struct od_objstore *opaque, const char *key, struct od_object **out, struct od_error *err)
{
    struct s3_request request = {.method = "HEAD", .key = key, .query = ""};
    struct s3_reply reply;
    od_code rc = OD_OK;
    od_s3_reply_init(&reply);
    OD_TRY(od_s3_send(of(opaque), &request, &reply, err));
    if (reply.status != 200)
        OD_TRY(od_s3_status_error(of(opaque), &request, &reply, err));
    rc = s3_open_listed(opaque, key, reply.length, out, err);
out:
    od_s3_reply_release(&reply);
    return rc;
}

static uint64_t s3_object_bytes(const struct od_object *object)
{
    return ((const struct s3_object *)object)->bytes;
}

static od_code s3_object_read(struct od_object *opaque, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    struct s3_object *object = (struct s3_object *)opaque;
    struct s3_store *store = of(opaque->store);
    struct s3_request request = {
        .method = "GET", .key = object->key, .query = "", .range_first = offset, .range_bytes = bytes, .into = out};
    struct s3_reply reply;
    od_s3_reply_init(&reply);
    od_code rc = od_s3_send(store, &request, &reply, err);
    if (rc == OD_OK && reply.status == 200)
        rc = od_fail(err, OD_UNSUPPORTED, "%s ignores the range of a read of object %s", store->host, object->key);
    else if (rc == OD_OK && reply.status != 206)
        rc = od_s3_status_error(store, &request, &reply, err);
    od_s3_reply_release(&reply);
    return rc;
}

static void s3_object_close(struct od_object *object)
{
    od_free(object);
}

static od_code s3_remove(struct od_objstore *store, const char *key, struct od_error *err)
{
    struct s3_request request = {.method = "DELETE", .key = key, .query = ""};
    struct s3_reply reply;
    od_s3_reply_init(&reply);
    od_code rc = od_s3_send(of(store), &request, &reply, err);
    if (rc == OD_OK && reply.status != 204 && reply.status != 200 && reply.status != 404)
        rc = od_s3_status_error(of(store), &request, &reply, err);
    od_s3_reply_release(&reply);
    return rc;
}

// ---- listing

// One page after the key `last` (with the store's prefix; "" for the first), which becomes the page's last.
static od_code list_page(struct s3_store *store, const char *prefix, char *last, size_t last_bytes, bool *more,
                         od_object_entry_fn entry, void *context, struct od_error *err)
{
    struct s3_request request = {.method = "GET", .key = ""};
    struct s3_reply reply;
    struct od_buf query;
    od_code rc = OD_OK;
    char flag[8] = "", size[24], key[1200];
    od_buf_init(&query, 16384);
    od_s3_reply_init(&reply);
    OD_TRY(od_buf_append_text(&query, "list-type=2&max-keys=1000&prefix=", err));
    OD_TRY(od_s3_encode(&query, store->prefix, false, err));
    OD_TRY(od_s3_encode(&query, prefix, false, err));
    if (last[0]) {
        OD_TRY(od_buf_append_text(&query, "&start-after=", err));
        OD_TRY(od_s3_encode(&query, last, false, err));
    }
    request.query = od_buf_text(&query);
    if (!request.query)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a request"));
    OD_TRY(od_s3_send(store, &request, &reply, err));
    if (reply.status != 200)
        OD_TRY(od_s3_status_error(store, &request, &reply, err));
    const char *text = od_buf_text(&reply.answer), *at = text;
    if (!text || !od_s3_xml(text, NULL, "IsTruncated", flag, sizeof flag))
        OD_TRY(od_fail(err, OD_IO, "the list of bucket %s from %s is not one", store->bucket, store->host));
    *more = strcmp(flag, "true") == 0;
    size_t own = strlen(store->prefix);
    bool any = false;
    while (od_s3_xml(text, &at, "Key", key, sizeof key)) {
        if (!od_s3_xml(text, &at, "Size", size, sizeof size))
            OD_TRY(od_fail(err, OD_IO, "the list of bucket %s from %s gives no size", store->bucket, store->host));
        any = true;
        snprintf(last, last_bytes, "%s", key);
        if (strncmp(key, store->prefix, own) == 0 && od_object_key_check(key + own, NULL) == OD_OK)
            OD_TRY(entry(context, key + own, strtoull(size, NULL, 10), err));
    }
    if (*more && !any)
        OD_TRY(od_fail(err, OD_IO, "the list of bucket %s from %s has no end", store->bucket, store->host));
out:
    od_buf_release(&query);
    od_s3_reply_release(&reply);
    return rc;
}

static od_code s3_list(struct od_objstore *store, const char *prefix, od_object_entry_fn entry, void *context,
                       struct od_error *err)
{
    char last[1200] = "";
    bool more = true;
    od_code rc = OD_OK;
    while (more && rc == OD_OK)
        rc = list_page(of(store), prefix, last, sizeof last, &more, entry, context, err);
    return rc;
}

// ---- probing (T1)

struct probe {
    struct od_thread thread;
    struct s3_store *store;
    const char *key;
    od_code rc;
    struct od_error err;
};

static void probe_put(void *opaque)
{
    struct probe *probe = opaque;
    char put_id[33];
    struct iovec part = {put_id, 32};
    new_put_id(probe->store, put_id);
    probe->rc = od_s3_put_once(probe->store, probe->key, &part, 1, put_id, &probe->err);
}

static od_code probe_race(struct s3_store *store, const char *key, struct probe *probes, struct od_error *err)
{
    int won = 0, started = 0;
    od_code rc = OD_OK;
    for (; started < PROBES && rc == OD_OK; started++) {
        probes[started] = (struct probe){.store = store, .key = key};
        rc = od_thread_start(&probes[started].thread, "s3-probe", probe_put, &probes[started], err);
    }
    for (int i = 0; i < started; i++) {
        od_thread_join(&probes[i].thread);
        won += probes[i].thread.run && probes[i].rc == OD_OK;
    }
    for (int i = 0; i < started && rc == OD_OK; i++)
        if (probes[i].rc != OD_OK && probes[i].rc != OD_EXISTS)
            rc = od_fail(err, probes[i].rc, "%s", probes[i].err.message);
    if (rc == OD_OK && won != 1)
        rc = od_fail(
            err, OD_UNSUPPORTED,
            "%s cannot hold layers: of %d racing puts of one key with If-None-Match, %d succeeded instead of one",
            store->host, PROBES, won);
    return rc;
}

static od_code probe(struct s3_store *store, struct od_error *err)
{
    od_code rc = OD_OK;
    char id[OD_RANDOM_ID_BYTES], key[64];
    struct probe *probes = od_calloc(PROBES, sizeof *probes);
    if (!probes)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the object store");
    for (int round = 0; round < PROBE_ROUNDS && rc == OD_OK; round++) {
        od_random_id(id);
        snprintf(key, sizeof key, "probe-%s", id);
        rc = probe_race(store, key, probes, err);
        struct probe again = {.store = store, .key = key};
        if (rc == OD_OK)
            probe_put(&again);
        if (rc == OD_OK && again.rc != OD_EXISTS)
            rc = again.rc == OD_OK
                     ? od_fail(err, OD_UNSUPPORTED,
                               "%s cannot hold layers: it ignores If-None-Match and overwrites objects", store->host)
                     : od_fail(err, again.rc, "%s", again.err.message);
        od_code removed = s3_remove(&store->base, key, rc == OD_OK ? err : NULL);
        if (rc == OD_OK)
            rc = removed;
    }
    od_free(probes);
    return rc;
}

// ---- opening

static void s3_close(struct od_objstore *opaque)
{
    struct s3_store *store = of(opaque);
    for (unsigned i = 0; i < store->idle_count; i++)
        curl_easy_cleanup(store->idle[i]);
    pthread_mutex_destroy(&store->lock);
    char *texts[] = {store->scheme_host, store->host,       store->path,       store->prefix,        store->bucket,
                     store->region,      store->access_key, store->secret_key, store->session_token, store->ca_file};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        od_free(texts[i]);
    od_free(store);
}

static od_code copy(char **out, const char *text, struct od_error *err)
{
    *out = od_strdup(text);
    return *out || !text ? OD_OK : od_fail(err, OD_NO_MEMORY, "out of memory for the object store");
}

static od_code take_text(char **out, struct od_buf *buf, struct od_error *err)
{
    *out = od_buf_take_text(buf);
    return *out ? OD_OK : od_fail(err, OD_NO_MEMORY, "out of memory for the object store");
}

// Host and path from endpoint, bucket and prefix.
static od_code make_address(struct s3_store *store, const struct od_s3_options *options, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_buf text;
    char stock[160];
    od_buf_init(&text, 4096);
    const char *endpoint = options->endpoint;
    if (!endpoint) {
        snprintf(stock, sizeof stock, "https://s3.%s.amazonaws.com", store->region);
        endpoint = stock;
    }
    const char *host = strstr(endpoint, "://");
    if (!host || (strncmp(endpoint, "http://", 7) != 0 && strncmp(endpoint, "https://", 8) != 0) ||
        strchr(host + 3, '/'))
        OD_TRY(
            od_fail(err, OD_INVALID, "the S3 endpoint %s is not http://HOST[:PORT] or https://HOST[:PORT]", endpoint));
    host += 3;
    OD_TRY(od_buf_printf(&text, err, "%.*s%s%s%s", (int)(host - endpoint), endpoint,
                         options->path_style ? "" : store->bucket, options->path_style ? "" : ".", host));
    OD_TRY(take_text(&store->scheme_host, &text, err));
    OD_TRY(copy(&store->host, strstr(store->scheme_host, "://") + 3, err));
    OD_TRY(
        od_buf_printf(&text, err, "/%s%s", options->path_style ? store->bucket : "", options->path_style ? "/" : ""));
    OD_TRY(od_buf_append_text(&text, store->prefix, err));
    OD_TRY(take_text(&store->path, &text, err));
out:
    od_buf_release(&text);
    return rc;
}

static od_code check_options(const struct od_s3_options *options, struct od_error *err)
{
    if (!options->bucket || !options->bucket[0])
        return od_fail(err, OD_INVALID, "objects in S3 need the name of a bucket");
    for (const char *at = options->bucket; *at; at++)
        if (!((*at >= 'a' && *at <= 'z') || (*at >= '0' && *at <= '9') || *at == '-' || *at == '.'))
            return od_fail(err, OD_INVALID, "\"%s\" is no name of a bucket", options->bucket);
    if (!options->access_key || !options->secret_key)
        return od_fail(err, OD_INVALID, "objects in S3 need an access key and a secret key");
    return OD_OK;
}

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void curl_start(void)
{
    CURLcode started = curl_global_init(CURL_GLOBAL_ALL);
    od_assert(started == CURLE_OK);
}

od_code od_objstore_s3_open(const struct od_s3_options *options, struct od_objstore **out, struct od_error *err)
{
    static const struct od_objstore_ops ops = {
        .kind = "s3",
        .put = s3_put,
        .put_file = s3_put_file,
        .open = s3_open,
        .open_listed = s3_open_listed,
        .list = s3_list,
        .remove = s3_remove,
        .close = s3_close,
        .object_bytes = s3_object_bytes,
        .object_read = s3_object_read,
        .object_close = s3_object_close,
    };
    struct od_buf prefix;
    od_code rc = check_options(options, err);
    *out = NULL;
    if (rc != OD_OK)
        return rc;
    pthread_once(&curl_once, curl_start);
    struct s3_store *store = od_calloc(1, sizeof *store);
    if (!store)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the object store");
    store->base.ops = &ops;
    store->platform = options->platform;
    store->deadline_ms = options->deadline_ms ? options->deadline_ms : DEADLINE_MS_DEFAULT;
    pthread_mutex_init(&store->lock, NULL);
    od_buf_init(&prefix, 1024);
    if (options->prefix && options->prefix[0]) {
        OD_TRY(od_object_key_check(options->prefix, err));
        OD_TRY(od_buf_printf(&prefix, err, "%s/", options->prefix));
    } else {
        OD_TRY(od_buf_append_text(&prefix, "", err));
    }
    OD_TRY(take_text(&store->prefix, &prefix, err));
    OD_TRY(copy(&store->bucket, options->bucket, err));
    OD_TRY(copy(&store->region, options->region ? options->region : "us-east-1", err));
    OD_TRY(copy(&store->access_key, options->access_key, err));
    OD_TRY(copy(&store->secret_key, options->secret_key, err));
    OD_TRY(copy(&store->session_token, options->session_token, err));
    OD_TRY(copy(&store->ca_file, options->ca_file, err));
    OD_TRY(make_address(store, options, err));
    OD_TRY(probe(store, err));
    *out = &store->base;
    store = NULL;
out:
    od_buf_release(&prefix);
    if (store)
        s3_close(&store->base);
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "objects in S3 bucket %s", options->bucket);
}
