// objstore.h - immutable objects under keys: a directory, a bucket, or a test's model behind one table of functions.
//
// Rules every backend keeps (tests/conformance/objstore runs on all of them):
//   B1  An object is put once: of any number of puts of one key exactly one succeeds, the others are OD_EXISTS.
//   B2  A put that returned OD_OK is durable, whole and seen by every later read and list, of everybody.
//   B3  A put whose answer was lost is OD_OUTCOME_UNKNOWN: the caller finds out by reading, never by deleting.
//   B4  Reads give the bytes that were put, or an error; never zeros, never fewer.
//   B5  A key is no folder of another key ("a" and "a/b"): some backends cannot keep both, so nobody may try.
// Keys: 1 to 512 bytes of [a-z0-9._/-]; '/' separates folders; parts of at most 255 bytes, none empty, "." or "..".
// Errors: OD_NOT_FOUND, OD_EXISTS, OD_FORBIDDEN, OD_LIMIT (space), OD_UNAVAILABLE (retries exhausted; nothing was done),
// OD_OUTCOME_UNKNOWN, OD_CORRUPT, OD_IO; they name the key. Threads: all functions.
#ifndef OD_OBJSTORE_OBJSTORE_H
#define OD_OBJSTORE_OBJSTORE_H

#include "base/error.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

OD_BEGIN_C

struct od_platform;
struct od_objstore;
struct od_object;

#define OD_OBJECT_KEY_BYTES 513u

// One entry of a listing. Return other than OD_OK to end it with that error.
typedef od_code (*od_object_entry_fn)(void *context, const char *key, uint64_t bytes, struct od_error *err);

struct od_objstore_ops {
    const char *kind; // "directory", "s3": for messages
    od_code (*put)(struct od_objstore *store, const char *key, const struct iovec *parts, unsigned count,
                   struct od_error *err);
    // Puts the content of a complete, synced local file. A backend on the same file system may link it instead of copying:
    // nobody writes the file afterwards.
    od_code (*put_file)(struct od_objstore *store, const char *key, const char *path, struct od_error *err);
    od_code (*open)(struct od_objstore *store, const char *key, struct od_object **object, struct od_error *err);
    // Of an object that a listing has shown with so many bytes: saves asking for them. NULL: `open` does it.
    od_code (*open_listed)(struct od_objstore *store, const char *key, uint64_t bytes, struct od_object **object,
                           struct od_error *err);
    // Keys that begin with `prefix` ("" for all), in byte order.
    od_code (*list)(struct od_objstore *store, const char *prefix, od_object_entry_fn entry, void *context,
                    struct od_error *err);
    od_code (*remove)(struct od_objstore *store, const char *key, struct od_error *err); // a missing one is fine
    void (*close)(struct od_objstore *store);                                            // all objects must be closed

    uint64_t (*object_bytes)(const struct od_object *object);
    // All of `bytes` at `offset`, or an error.
    od_code (*object_read)(struct od_object *object, uint64_t offset, void *out, size_t bytes, struct od_error *err);
    void (*object_close)(struct od_object *object);
};

struct od_objstore {
    const struct od_objstore_ops *ops;
};

struct od_object {
    struct od_objstore *store;
};

OD_CHECKED od_code od_object_key_check(const char *key, struct od_error *err);

// Objects as files below `directory` (made when missing), through the platform alone. put_file links when it can, else
// copies. Any number of objects may be open: only a bounded number of descriptors is.
OD_CHECKED od_code od_objstore_directory_open(struct od_platform *platform, const char *directory,
                                              struct od_objstore **store, struct od_error *err);

// Objects in an S3-compatible bucket. Texts are copied.
struct od_s3_options {
    struct od_platform *platform; // borrowed: local files, randomness, the clock of signatures
    const char *endpoint;         // "https://HOST[:PORT]"; NULL: AWS, by region
    const char *region;           // NULL: us-east-1
    const char *bucket;
    const char *prefix; // of all keys, without '/' at its end; NULL: none
    const char *access_key, *secret_key;
    const char *session_token; // NULL: none
    const char *ca_file;       // NULL: the system's authorities
    bool path_style;           // HOST/BUCKET/KEY instead of BUCKET.HOST/KEY
    unsigned deadline_ms;      // of a request with all its tries; 0: 60 s
};

// Refuses a bucket that cannot be used, after trying: wrong address, credentials, region, clock; OD_UNSUPPORTED where
// conditional puts are ignored or lose races.
OD_CHECKED od_code od_objstore_s3_open(const struct od_s3_options *options, struct od_objstore **store,
                                       struct od_error *err);

// ---- one call each, over the table

OD_CHECKED od_code od_objstore_put(struct od_objstore *store, const char *key, const void *data, size_t bytes,
                                   struct od_error *err);
OD_CHECKED od_code od_objstore_put_file(struct od_objstore *store, const char *key, const char *path,
                                        struct od_error *err);
OD_CHECKED od_code od_objstore_open(struct od_objstore *store, const char *key, struct od_object **object,
                                    struct od_error *err);
OD_CHECKED od_code od_objstore_open_listed(struct od_objstore *store, const char *key, uint64_t bytes,
                                           struct od_object **object, struct od_error *err);
OD_CHECKED od_code od_objstore_list(struct od_objstore *store, const char *prefix, od_object_entry_fn entry,
                                    void *context, struct od_error *err);
OD_CHECKED od_code od_objstore_remove(struct od_objstore *store, const char *key, struct od_error *err);
void od_objstore_close(struct od_objstore *store); // NULL is fine
uint64_t od_object_bytes(const struct od_object *object);
OD_CHECKED od_code od_object_read(struct od_object *object, uint64_t offset, void *out, size_t bytes,
                                  struct od_error *err);
void od_object_close(struct od_object *object); // NULL is fine

OD_END_C

#endif
