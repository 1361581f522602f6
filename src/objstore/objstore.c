// objstore.c - what all backends share: the rules of keys, and the calls over the table.
#include "objstore/objstore.h"

#include <string.h>

#define KEY_PART_BYTES 255u

od_code od_object_key_check(const char *key, struct od_error *err)
{
    size_t bytes = strnlen(key, OD_OBJECT_KEY_BYTES);
    if (bytes == 0 || bytes >= OD_OBJECT_KEY_BYTES)
        return od_fail(err, OD_INVALID, "an object key has 1 to %u bytes: \"%.60s\"", OD_OBJECT_KEY_BYTES - 1, key);
    size_t start = 0;
    for (size_t i = 0; i <= bytes; i++) {
        char c = key[i];
        if (c != '/' && c != '\0') {
            bool fine = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
            if (!fine)
                return od_fail(err, OD_INVALID, "object key \"%s\": only a-z, 0-9, '.', '_', '-' and '/' may be in it",
                               key);
            continue;
        }
        size_t part = i - start;
        bool dots = (part == 1 && key[start] == '.') || (part == 2 && key[start] == '.' && key[start + 1] == '.');
        if (part == 0 || part > KEY_PART_BYTES || dots)
            return od_fail(err, OD_INVALID,
                           "object key \"%s\": its parts have 1 to %u bytes and are not \".\" or \"..\"", key,
                           KEY_PART_BYTES);
        start = i + 1;
    }
    return OD_OK;
}

od_code od_objstore_put(struct od_objstore *store, const char *key, const void *data, size_t bytes,
                        struct od_error *err)
{
    union {
        const void *from;
        void *to;
    } base = {.from = data}; // an iovec has no const
    struct iovec part = {.iov_base = base.to, .iov_len = bytes};
    od_code rc = od_object_key_check(key, err);
    return rc == OD_OK ? store->ops->put(store, key, &part, 1, err) : rc;
}

od_code od_objstore_put_file(struct od_objstore *store, const char *key, const char *path, struct od_error *err)
{
    od_code rc = od_object_key_check(key, err);
    return rc == OD_OK ? store->ops->put_file(store, key, path, err) : rc;
}

od_code od_objstore_open(struct od_objstore *store, const char *key, struct od_object **object, struct od_error *err)
{
    *object = NULL;
    od_code rc = od_object_key_check(key, err);
    return rc == OD_OK ? store->ops->open(store, key, object, err) : rc;
}

od_code od_objstore_open_listed(struct od_objstore *store, const char *key, uint64_t bytes, struct od_object **object,
                                struct od_error *err)
{
    if (!store->ops->open_listed)
        return od_objstore_open(store, key, object, err);
    *object = NULL;
    od_code rc = od_object_key_check(key, err);
    return rc == OD_OK ? store->ops->open_listed(store, key, bytes, object, err) : rc;
}

od_code od_objstore_list(struct od_objstore *store, const char *prefix, od_object_entry_fn entry, void *context,
                         struct od_error *err)
{
    return store->ops->list(store, prefix, entry, context, err);
}

od_code od_objstore_remove(struct od_objstore *store, const char *key, struct od_error *err)
{
    od_code rc = od_object_key_check(key, err);
    return rc == OD_OK ? store->ops->remove(store, key, err) : rc;
}

void od_objstore_close(struct od_objstore *store)
{
    if (store)
        store->ops->close(store);
}

uint64_t od_object_bytes(const struct od_object *object)
{
    return object->store->ops->object_bytes(object);
}

od_code od_object_read(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err)
{
    uint64_t whole = od_object_bytes(object);
    if (offset > whole || bytes > whole - offset)
        return od_fail(err, OD_IO, "%zu bytes at %llu lie beyond the end of an object of %llu bytes", bytes,
                       (unsigned long long)offset, (unsigned long long)whole);
    return bytes ? object->store->ops->object_read(object, offset, out, bytes, err) : OD_OK;
}

void od_object_close(struct od_object *object)
{
    if (object)
        object->store->ops->object_close(object);
}
