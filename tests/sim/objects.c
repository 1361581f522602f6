// objects.c - the simulated object store: blobs under keys, put once (B1), whole and durable at once (B2).
#include "sim/stores.h"
#include "base/alloc.h"
#include "base/assert.h"

#include <stdlib.h>
#include <string.h>

struct sim_object {
    struct od_object base; // first
    struct sim_object_link *link;
    char key[OD_OBJECT_KEY_BYTES];
    struct sim_bytes content;
};

static struct sim_object_link *link_of(struct od_objstore *store)
{
    return (struct sim_object_link *)store;
}

static struct sim_blob *blob_find(struct sim_objects *objects, const char *key)
{
    for (size_t i = 0; i < objects->count; i++)
        if (strcmp(objects->blobs[i].key, key) == 0)
            return &objects->blobs[i];
    return NULL;
}

// Takes over the content. False: the key is taken, and the content is released.
static bool blob_add(struct sim_objects *objects, const char *key, struct sim_bytes *content)
{
    if (blob_find(objects, key)) {
        sim_bytes_release(content);
        return false;
    }
    objects->blobs = realloc(objects->blobs, (objects->count + 1) * sizeof *objects->blobs);
    od_assert(objects->blobs && strlen(key) < OD_OBJECT_KEY_BYTES);
    size_t at = objects->count++;
    for (; at > 0 && strcmp(objects->blobs[at - 1].key, key) > 0; at--)
        objects->blobs[at] = objects->blobs[at - 1];
    strcpy(objects->blobs[at].key, key);
    objects->blobs[at].content = *content;
    *content = (struct sim_bytes){0};
    return true;
}

// With the lock held; takes over the content.
static od_code put(struct sim_object_link *link, const char *key, struct sim_bytes *content, bool last,
                   struct od_error *err)
{
    struct sim_objects *objects = link->objects;
    struct sim_random *random = link->host->random;
    if (last || sim_random_chance(random, link->host->faults.object_unknown)) {
        if (sim_random_chance(random, 500))
            blob_add(objects, key, content);
        else
            sim_bytes_release(content);
        return od_fail(err, OD_OUTCOME_UNKNOWN, "%s: put: no answer (simulated)", key);
    }
    if (objects->late_count < SIM_LATE_MAX && sim_random_chance(random, link->host->faults.object_late)) {
        struct sim_blob *late = &objects->late[objects->late_count++];
        strcpy(late->key, key);
        late->content = *content;
        return od_fail(err, OD_OUTCOME_UNKNOWN, "%s: put: no answer (simulated, late)", key);
    }
    if (!blob_add(objects, key, content))
        return od_fail(err, OD_EXISTS, "%s: exists", key);
    return OD_OK;
}

// With the lock held: a call that may be lost on its way.
static od_code reach(struct sim_object_link *link, const char *what, const char *key, bool *last, struct od_error *err)
{
    od_code rc = sim_host_call(link->host, what, key, last, err);
    if (rc == OD_OK && !*last && sim_random_chance(link->host->random, link->host->faults.object_lost))
        rc = od_fail(err, OD_UNAVAILABLE, "%s: %s: unreachable (simulated)", key, what);
    return rc;
}

static od_code objects_put(struct od_objstore *store, const char *key, const struct iovec *parts, unsigned count,
                           struct od_error *err)
{
    struct sim_object_link *link = link_of(store);
    struct sim_bytes content = {0};
    bool last;
    pthread_mutex_lock(link->host->lock);
    od_code rc = reach(link, "put", key, &last, err);
    if (rc == OD_OK) {
        for (unsigned i = 0; i < count; i++)
            sim_bytes_write(&content, content.size, parts[i].iov_base, parts[i].iov_len);
        rc = put(link, key, &content, last, err);
    }
    pthread_mutex_unlock(link->host->lock);
    return rc;
}

static od_code objects_put_file(struct od_objstore *store, const char *key, const char *path, struct od_error *err)
{
    struct sim_object_link *link = link_of(store);
    struct sim_bytes content = {0};
    bool last;
    pthread_mutex_lock(link->host->lock);
    od_code rc = reach(link, "put_file", key, &last, err);
    if (rc == OD_OK)
        rc = sim_host_publish(link->host, path, &content, err);
    if (rc == OD_OK)
        rc = put(link, key, &content, last, err);
    pthread_mutex_unlock(link->host->lock);
    return rc;
}

static od_code objects_open(struct od_objstore *store, const char *key, struct od_object **out, struct od_error *err)
{
    struct sim_object_link *link = link_of(store);
    struct sim_object *object = NULL;
    bool last;
    pthread_mutex_lock(link->host->lock);
    od_code rc = reach(link, "open", key, &last, err);
    const struct sim_blob *blob = blob_find(link->objects, key);
    if (rc == OD_OK && !blob)
        rc = od_fail(err, OD_NOT_FOUND, "%s: no such object", key);
    if (rc == OD_OK) {
        object = calloc(1, sizeof *object);
        od_assert(object);
        object->base.store = store;
        object->link = link;
        strcpy(object->key, key);
        sim_bytes_copy(&object->content, &blob->content);
        link->open_objects++;
        *out = &object->base;
    }
    pthread_mutex_unlock(link->host->lock);
    return rc;
}

static od_code objects_list(struct od_objstore *store, const char *prefix, od_object_entry_fn entry, void *context,
                            struct od_error *err)
{
    struct sim_object_link *link = link_of(store);
    bool last;
    pthread_mutex_lock(link->host->lock);
    od_code rc = reach(link, "list", prefix, &last, err);
    const size_t count = link->objects->count;
    struct sim_blob *blobs = calloc(count + 1, sizeof *blobs); // the callback may call the store
    od_assert(blobs);
    for (size_t i = 0; i < count; i++) {
        strcpy(blobs[i].key, link->objects->blobs[i].key);
        blobs[i].content.size = link->objects->blobs[i].content.size;
    }
    pthread_mutex_unlock(link->host->lock);
    for (size_t i = 0; i < count && rc == OD_OK; i++)
        if (strncmp(blobs[i].key, prefix, strlen(prefix)) == 0)
            rc = entry(context, blobs[i].key, blobs[i].content.size, err);
    free(blobs);
    return rc;
}

static od_code objects_remove(struct od_objstore *store, const char *key, struct od_error *err)
{
    struct sim_object_link *link = link_of(store);
    struct sim_objects *objects = link->objects;
    bool last;
    pthread_mutex_lock(link->host->lock);
    od_code rc = reach(link, "remove", key, &last, err);
    struct sim_blob *blob = blob_find(objects, key);
    if (rc == OD_OK && blob) {
        sim_bytes_release(&blob->content);
        objects->count--;
        memmove(blob, blob + 1, (size_t)(objects->blobs + objects->count - blob) * sizeof *blob);
    }
    pthread_mutex_unlock(link->host->lock);
    return rc;
}

static void objects_close(struct od_objstore *store)
{
    od_assert(link_of(store)->open_objects == 0);
}

static uint64_t object_bytes(const struct od_object *object)
{
    return ((const struct sim_object *)object)->content.size;
}

static od_code object_read(struct od_object *base, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    struct sim_object *object = (struct sim_object *)base;
    struct sim_host *host = object->link->host;
    od_code rc = OD_OK;
    pthread_mutex_lock(host->lock);
    if (host->off)
        rc = od_fail(err, OD_IO, "%s: read: the machine %s is off", object->key, host->name);
    else if (sim_random_chance(host->random, host->faults.read_error))
        rc = od_fail(err, OD_UNAVAILABLE, "%s: read at %llu: simulated", object->key, (unsigned long long)offset);
    else if (!sim_bytes_read(&object->content, offset, out, bytes))
        rc = od_fail(err, OD_CORRUPT, "%s: the object ends before %llu", object->key,
                     (unsigned long long)(offset + bytes));
    pthread_mutex_unlock(host->lock);
    return rc;
}

static void object_close(struct od_object *base)
{
    struct sim_object *object = (struct sim_object *)base;
    pthread_mutex_lock(object->link->host->lock);
    object->link->open_objects--;
    sim_bytes_release(&object->content);
    pthread_mutex_unlock(object->link->host->lock);
    free(object);
}

static const struct od_objstore_ops objects_ops = {
    .kind = "simulated",
    .put = objects_put,
    .put_file = objects_put_file,
    .open = objects_open,
    .list = objects_list,
    .remove = objects_remove,
    .close = objects_close,
    .object_bytes = object_bytes,
    .object_read = object_read,
    .object_close = object_close,
};

void sim_object_link_init(struct sim_object_link *link, struct sim_objects *objects, struct sim_host *host)
{
    *link = (struct sim_object_link){.base = {.ops = &objects_ops}, .objects = objects, .host = host};
}

void sim_objects_deliver(struct sim_objects *objects, struct sim_random *random, unsigned per_mille)
{
    for (size_t i = 0; i < objects->late_count;) {
        if (!sim_random_chance(random, per_mille)) {
            i++;
            continue;
        }
        blob_add(objects, objects->late[i].key, &objects->late[i].content);
        objects->late[i] = objects->late[--objects->late_count];
    }
}
