// directory.c - objects as files below a directory; the key is the path.
//
//   D1  An object appears under its key complete and synced, by one link(), which refuses a name that is taken.
//   D2  put answers OD_OK after the directory that holds the name is durable. When syncing it fails the object may be there
//       or vanish in a crash: OD_OUTCOME_UNKNOWN; from then on no object is opened before its directory was synced, so that
//       what reading finds is durable.
//   D3  Unfinished content lies in TEMP (upper case: no key can name it) under the time of its beginning; what is a day old
//       is removed when the store is opened.
//   D4  At most DESCRIPTORS_MAX files are open for objects, besides those being read.
//
// All file work goes through the platform's table.
#include "objstore/objstore.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/buf.h"
#include "base/limits.h"
#include "os/platform.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define DESCRIPTORS_MAX 256u
#define COPY_BYTES ((size_t)(1 * OD_MIB))
#define FOLDERS_MAX 256u
#define TEMPORARY_AGE_US (24ull * 3600 * 1000000)
#define PATH_BYTES_MAX 4096u

struct directory_object {
    struct od_object base;
    struct directory_object *newer, *older; // among those with an open file, by last use
    struct od_disk_file *file;              // NULL: to be opened again
    unsigned readers;
    uint64_t bytes;
    char key[];
};

struct directory_store {
    struct od_objstore base;
    struct od_platform *platform;
    char *directory;
    char *temporary;            // DIRECTORY/TEMP
    atomic_bool unsynced;       // a name may be there and not be durable (D2)
    pthread_mutex_t lock;       // guards what follows
    char *folders[FOLDERS_MAX]; // known to be durable, with their parents
    unsigned folder_count;
    struct directory_object *newest, *oldest;
    unsigned descriptors;
};

static struct directory_store *of(struct od_objstore *store)
{
    return (struct directory_store *)store;
}

static od_code no_memory(struct od_error *err, const char *key)
{
    return od_fail(err, OD_NO_MEMORY, "out of memory for the object %s", key);
}

// ---- paths

static char *path_of(const struct directory_store *store, const char *key)
{
    return od_path_join(store->directory, key);
}

// The path of the folder that holds the object's file.
static char *folder_of(const struct directory_store *store, const char *key)
{
    char *path = path_of(store, key);
    if (path)
        *strrchr(path, '/') = '\0';
    return path;
}

static bool folder_known(struct directory_store *store, const char *folder)
{
    bool known = false;
    pthread_mutex_lock(&store->lock);
    for (unsigned i = 0; i < store->folder_count && !known; i++)
        known = strcmp(store->folders[i], folder) == 0;
    pthread_mutex_unlock(&store->lock);
    return known;
}

// Makes the folder durable, once in this store's life.
static od_code folder_make(struct directory_store *store, const char *folder, struct od_error *err)
{
    if (folder_known(store, folder))
        return OD_OK;
    od_code rc = store->platform->ops->make_directory(store->platform, folder, err);
    if (rc != OD_OK)
        return rc;
    pthread_mutex_lock(&store->lock);
    if (store->folder_count < FOLDERS_MAX && (store->folders[store->folder_count] = od_strdup(folder)))
        store->folder_count++;
    pthread_mutex_unlock(&store->lock);
    return OD_OK;
}

// ---- putting

// Gives `from`, complete and synced, the name of the object.
static od_code link_as(struct directory_store *store, const char *from, const char *key, struct od_error *err)
{
    const struct od_platform_ops *os = store->platform->ops;
    od_code rc = OD_OK;
    char *path = path_of(store, key), *folder = folder_of(store, key);
    if (!path || !folder)
        OD_TRY(no_memory(err, key));
    OD_TRY(folder_make(store, folder, err));
    rc = os->link(store->platform, from, path, err);
    if (rc != OD_OK && rc != OD_EXISTS)
        goto out;
    struct od_error why = {0};
    if (os->sync_directory(store->platform, folder, &why) != OD_OK) {
        atomic_store(&store->unsynced, true);
        if (rc == OD_OK)
            rc =
                od_fail(err, OD_OUTCOME_UNKNOWN, "object %s was put, but may be lost in a crash: %s", key, why.message);
    }
out:
    od_free(path);
    od_free(folder);
    if (rc == OD_EXISTS)
        return od_fail(err, OD_EXISTS, "object %s is there already", key);
    return rc;
}

static od_code temporary_create(struct directory_store *store, char **path, struct od_disk_file **file,
                                struct od_error *err)
{
    uint64_t random[2];
    char name[80];
    store->platform->ops->random(store->platform, random, sizeof random);
    snprintf(name, sizeof name, "%llu-%016llx%016llx",
             (unsigned long long)store->platform->ops->wall_us(store->platform), (unsigned long long)random[0],
             (unsigned long long)random[1]);
    *path = od_path_join(store->temporary, name);
    if (!*path)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a path");
    return store->platform->ops->open(store->platform, *path, OD_DISK_CREATE, file, err);
}

static void temporary_remove(struct directory_store *store, char *path, struct od_disk_file *file)
{
    const struct od_platform_ops *os = store->platform->ops;
    if (file) {
        os->close(file);
        os->remove(store->platform, path, NULL); // what cannot be removed now goes when the store is opened later (D3)
    }
    od_free(path);
}

static od_code directory_put(struct od_objstore *opaque, const char *key, const struct iovec *parts, unsigned count,
                             struct od_error *err)
{
    struct directory_store *store = of(opaque);
    const struct od_platform_ops *os = store->platform->ops;
    od_code rc = OD_OK;
    char *path = NULL;
    struct od_disk_file *file = NULL;
    OD_TRY(temporary_create(store, &path, &file, err));
    OD_TRY(os->write(file, 0, parts, count, err));
    OD_TRY(os->sync(file, err));
    OD_TRY(link_as(store, path, key, err));
out:
    temporary_remove(store, path, file);
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "object %s", key);
}

static od_code copy_file(struct directory_store *store, struct od_disk_file *from, struct od_disk_file *to,
                         struct od_error *err)
{
    const struct od_platform_ops *os = store->platform->ops;
    od_code rc = OD_OK;
    uint64_t bytes = 0;
    uint8_t *data = od_alloc(COPY_BYTES);
    if (!data)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for copying"));
    OD_TRY(os->size(from, &bytes, err));
    for (uint64_t at = 0; at < bytes;) {
        struct iovec part = {data, bytes - at < COPY_BYTES ? (size_t)(bytes - at) : COPY_BYTES};
        OD_TRY(os->read(from, at, data, part.iov_len, err));
        OD_TRY(os->write(to, at, &part, 1, err));
        at += part.iov_len;
    }
    OD_TRY(os->sync(to, err));
out:
    od_free(data);
    return rc;
}

static od_code put_copy(struct directory_store *store, const char *key, const char *from, struct od_error *err)
{
    const struct od_platform_ops *os = store->platform->ops;
    od_code rc = OD_OK;
    char *path = NULL;
    struct od_disk_file *source = NULL, *file = NULL;
    OD_TRY(os->open(store->platform, from, OD_DISK_READ, &source, err));
    OD_TRY(temporary_create(store, &path, &file, err));
    OD_TRY(copy_file(store, source, file, err));
    OD_TRY(link_as(store, path, key, err));
out:
    if (source)
        os->close(source);
    temporary_remove(store, path, file);
    return rc;
}

static od_code directory_put_file(struct od_objstore *opaque, const char *key, const char *path, struct od_error *err)
{
    struct directory_store *store = of(opaque);
    od_code rc = link_as(store, path, key, err);
    // Another file system, or one without links (OD_IO, OD_FORBIDDEN): copy. If that fails too, its error is the one told.
    if (rc == OD_IO || rc == OD_FORBIDDEN)
        rc = put_copy(store, key, path, err);
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "object %s from %s", key, path);
}

// ---- open files of objects. All under the lock.

static void lru_remove(struct directory_store *store, struct directory_object *object)
{
    *(object->newer ? &object->newer->older : &store->newest) = object->older;
    *(object->older ? &object->older->newer : &store->oldest) = object->newer;
    object->newer = object->older = NULL;
}

static void lru_add(struct directory_store *store, struct directory_object *object)
{
    object->older = store->newest;
    *(store->newest ? &store->newest->newer : &store->oldest) = object;
    store->newest = object;
}

static void lru_shrink(struct directory_store *store)
{
    struct directory_object *next;
    for (struct directory_object *at = store->oldest; at && store->descriptors > DESCRIPTORS_MAX; at = next) {
        next = at->newer;
        if (at->readers)
            continue;
        lru_remove(store, at);
        store->platform->ops->close(at->file);
        at->file = NULL;
        store->descriptors--;
    }
}

// The object's file, open and kept open until file_release.
static od_code file_acquire(struct directory_object *object, struct od_error *err)
{
    struct directory_store *store = of(object->base.store);
    od_code rc = OD_OK;
    char *path = NULL;
    pthread_mutex_lock(&store->lock);
    if (object->file) {
        lru_remove(store, object);
    } else {
        path = path_of(store, object->key);
        if (!path)
            OD_TRY(no_memory(err, object->key));
        OD_TRY(store->platform->ops->open(store->platform, path, OD_DISK_READ, &object->file, err));
        store->descriptors++;
    }
    object->readers++;
    lru_add(store, object);
    lru_shrink(store);
out:
    pthread_mutex_unlock(&store->lock);
    od_free(path);
    return rc;
}

static void file_release(struct directory_object *object)
{
    struct directory_store *store = of(object->base.store);
    pthread_mutex_lock(&store->lock);
    object->readers--;
    lru_shrink(store);
    pthread_mutex_unlock(&store->lock);
}

// ---- reading

static void directory_object_close(struct od_object *opaque)
{
    struct directory_object *object = (struct directory_object *)opaque;
    struct directory_store *store = of(opaque->store);
    od_assert(object->readers == 0);
    if (object->file) {
        pthread_mutex_lock(&store->lock);
        lru_remove(store, object);
        store->descriptors--;
        pthread_mutex_unlock(&store->lock);
        store->platform->ops->close(object->file);
    }
    od_free(object);
}

static od_code sync_folder_of(struct directory_store *store, const char *key, struct od_error *err)
{
    char *folder = folder_of(store, key);
    od_code rc = folder ? store->platform->ops->sync_directory(store->platform, folder, err) : no_memory(err, key);
    od_free(folder);
    return rc;
}

static od_code directory_open(struct od_objstore *opaque, const char *key, struct od_object **out, struct od_error *err)
{
    struct directory_store *store = of(opaque);
    od_code rc = OD_OK;
    struct directory_object *object = NULL;
    if (atomic_load(&store->unsynced))
        OD_TRY(sync_folder_of(store, key, err));
    size_t key_bytes = strlen(key) + 1;
    object = od_calloc(1, sizeof *object + key_bytes);
    if (!object)
        OD_TRY(no_memory(err, key));
    object->base.store = opaque;
    snprintf(object->key, key_bytes, "%s", key);
    OD_TRY(file_acquire(object, err));
    rc = store->platform->ops->size(object->file, &object->bytes, err);
    file_release(object);
    if (rc != OD_OK)
        goto out;
    *out = &object->base;
    return OD_OK;
out:
    if (object)
        directory_object_close(&object->base);
    if (rc == OD_NOT_FOUND)
        return od_fail(err, OD_NOT_FOUND, "there is no object %s in %s", key, store->directory);
    return od_wrap(err, rc, "object %s", key);
}

static uint64_t directory_object_bytes(const struct od_object *object)
{
    return ((const struct directory_object *)object)->bytes;
}

static od_code directory_object_read(struct od_object *opaque, uint64_t offset, void *out, size_t bytes,
                                     struct od_error *err)
{
    struct directory_object *object = (struct directory_object *)opaque;
    od_code rc = file_acquire(object, err);
    if (rc == OD_OK) {
        rc = of(opaque->store)->platform->ops->read(object->file, offset, out, bytes, err);
        file_release(object);
    }
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "object %s", object->key);
}

// ---- listing

struct listing {
    struct directory_store *store;
    const char *prefix;
    struct found {
        char *key;
        uint64_t bytes;
    } * found;
    size_t count, capacity;
};

static od_code listing_add(struct listing *listing, const char *key, uint64_t bytes, struct od_error *err)
{
    if (listing->count == listing->capacity) {
        size_t capacity = listing->capacity ? 2 * listing->capacity : 64;
        struct found *grown = od_realloc(listing->found, capacity * sizeof *grown);
        if (!grown)
            return od_fail(err, OD_NO_MEMORY, "out of memory for a list of objects");
        listing->found = grown;
        listing->capacity = capacity;
    }
    char *copy = od_strdup(key);
    if (!copy)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a list of objects");
    listing->found[listing->count++] = (struct found){copy, bytes};
    return OD_OK;
}

static od_code listing_add_file(struct listing *listing, const char *key, struct od_error *err)
{
    const struct od_platform_ops *os = listing->store->platform->ops;
    od_code rc = OD_OK;
    struct od_disk_file *file = NULL;
    uint64_t bytes = 0;
    char *path = NULL;
    size_t prefix = strlen(listing->prefix);
    if (strncmp(key, listing->prefix, prefix) != 0)
        return OD_OK;
    path = path_of(listing->store, key);
    if (!path)
        OD_TRY(no_memory(err, key));
    rc = os->open(listing->store->platform, path, OD_DISK_READ, &file, err);
    if (rc == OD_NOT_FOUND) { // removed meanwhile
        rc = OD_OK;
        goto out;
    }
    if (rc != OD_OK)
        goto out;
    OD_TRY(os->size(file, &bytes, err));
    OD_TRY(listing_add(listing, key, bytes, err));
out:
    if (file)
        os->close(file);
    od_free(path);
    return rc;
}

// Everything below `folder` (a key, "" for the top); a path that is no directory is an object. Depth is bounded by the
// length of a key.
static od_code listing_walk(struct listing *listing, const char *folder, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_names names = {0};
    size_t folder_bytes = strlen(folder), prefix_bytes = strlen(listing->prefix);
    char key[OD_OBJECT_KEY_BYTES];
    size_t common = folder_bytes < prefix_bytes ? folder_bytes : prefix_bytes;
    if (memcmp(folder, listing->prefix, common) != 0)
        return OD_OK; // nothing below it begins with the prefix
    char *path = folder_bytes ? path_of(listing->store, folder) : od_strdup(listing->store->directory);
    if (!path)
        OD_TRY(no_memory(err, folder));
    rc = listing->store->platform->ops->list(listing->store->platform, path, &names, err);
    if (rc == OD_NOT_FOUND) {
        rc = folder_bytes ? listing_add_file(listing, folder, err) : OD_OK;
        goto out;
    }
    if (rc != OD_OK)
        goto out;
    for (size_t i = 0; i < names.count; i++) {
        int length = snprintf(key, sizeof key, "%s%s%s", folder, folder_bytes ? "/" : "", names.names[i]);
        if (length < 0 || (size_t)length >= sizeof key || od_object_key_check(key, NULL) != OD_OK)
            continue; // TEMP, and what is not ours
        OD_TRY(listing_walk(listing, key, err));
    }
out:
    od_names_release(&names);
    od_free(path);
    return rc;
}

static int by_key(const void *a, const void *b)
{
    return strcmp(((const struct found *)a)->key, ((const struct found *)b)->key);
}

static od_code directory_list(struct od_objstore *opaque, const char *prefix, od_object_entry_fn entry, void *context,
                              struct od_error *err)
{
    od_code rc = OD_OK;
    struct listing listing = {.store = of(opaque), .prefix = prefix};
    OD_TRY(listing_walk(&listing, "", err));
    if (listing.count)
        qsort(listing.found, listing.count, sizeof *listing.found, by_key); // "a-b" comes before "a/b"
    for (size_t i = 0; i < listing.count; i++)
        OD_TRY(entry(context, listing.found[i].key, listing.found[i].bytes, err));
out:
    for (size_t i = 0; i < listing.count; i++)
        od_free(listing.found[i].key);
    od_free(listing.found);
    return rc;
}

// ---- the rest

static od_code directory_remove(struct od_objstore *opaque, const char *key, struct od_error *err)
{
    struct directory_store *store = of(opaque);
    char *path = path_of(store, key);
    od_code rc = path ? store->platform->ops->remove(store->platform, path, err) : no_memory(err, key);
    od_free(path);
    if (rc == OD_NOT_FOUND)
        return OD_OK;
    return rc == OD_OK ? sync_folder_of(store, key, err) : od_wrap(err, rc, "object %s", key);
}

static void directory_close(struct od_objstore *opaque)
{
    struct directory_store *store = of(opaque);
    od_assert(!store->newest);
    for (unsigned i = 0; i < store->folder_count; i++)
        od_free(store->folders[i]);
    pthread_mutex_destroy(&store->lock);
    od_free(store->directory);
    od_free(store->temporary);
    od_free(store);
}

static od_code remove_old_temporaries(struct directory_store *store, struct od_error *err)
{
    const struct od_platform_ops *os = store->platform->ops;
    struct od_names names = {0};
    uint64_t now = os->wall_us(store->platform);
    od_code rc = OD_OK;
    OD_TRY(os->list(store->platform, store->temporary, &names, err));
    for (size_t i = 0; i < names.count; i++) {
        char *end;
        unsigned long long begun = strtoull(names.names[i], &end, 10);
        if (*end != '-' || now < TEMPORARY_AGE_US || begun > now - TEMPORARY_AGE_US)
            continue;
        char *path = od_path_join(store->temporary, names.names[i]);
        rc = path ? os->remove(store->platform, path, err) : od_fail(err, OD_NO_MEMORY, "out of memory for a path");
        od_free(path);
        if (rc != OD_OK && rc != OD_NOT_FOUND)
            goto out;
        rc = OD_OK;
    }
out:
    od_names_release(&names);
    return rc;
}

od_code od_objstore_directory_open(struct od_platform *platform, const char *directory, struct od_objstore **out,
                                   struct od_error *err)
{
    static const struct od_objstore_ops ops = {
        .kind = "directory",
        .put = directory_put,
        .put_file = directory_put_file,
        .open = directory_open,
        .list = directory_list,
        .remove = directory_remove,
        .close = directory_close,
        .object_bytes = directory_object_bytes,
        .object_read = directory_object_read,
        .object_close = directory_object_close,
    };
    od_code rc = OD_OK;
    *out = NULL;
    struct directory_store *store = od_calloc(1, sizeof *store);
    if (!store)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the object store %s", directory);
    store->base.ops = &ops;
    store->platform = platform;
    pthread_mutex_init(&store->lock, NULL);
    store->directory = od_strdup(directory);
    store->temporary = od_path_join(directory, "TEMP");
    if (!store->directory || !store->temporary)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the object store %s", directory));
    if (strlen(directory) + 1 + OD_OBJECT_KEY_BYTES > PATH_BYTES_MAX)
        OD_TRY(od_fail(err, OD_INVALID, "the path of the object store is too long: %.200s...", directory));
    OD_TRY(platform->ops->make_directory(platform, store->temporary, err));
    OD_TRY(remove_old_temporaries(store, err));
    *out = &store->base;
    return OD_OK;
out:
    directory_close(&store->base);
    return od_wrap(err, rc, "object store %s", directory);
}
