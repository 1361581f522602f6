// s3_internal.h - private to the S3 backend: signing, and requests that are tried until a deadline.
#ifndef OD_OBJSTORE_S3_INTERNAL_H
#define OD_OBJSTORE_S3_INTERNAL_H

#include "base/buf.h"
#include "objstore/objstore.h"

#include <curl/curl.h>
#include <pthread.h>

#define OD_S3_HASH_BYTES 65u // hex SHA-256 with its NUL
#define OD_S3_DATE_BYTES 17u // 20130524T000000Z
#define OD_S3_HANDLES 32u    // idle connections kept

struct s3_store {
    struct od_objstore base;
    struct od_platform *platform;
    char *scheme_host; // "https://bucket.host" or "http://host:1"
    char *host;        // the Host header
    char *path;        // "/" or "/bucket/", then the prefix, percent-encoded
    char *prefix;      // of keys, ends in '/' or is empty
    char *bucket, *region, *access_key, *secret_key, *session_token, *ca_file;
    unsigned deadline_ms;
    pthread_mutex_t lock;
    CURL *idle[OD_S3_HANDLES];
    unsigned idle_count;
};

// ---- signing (AWS Signature Version 4). Headers are sorted by name, lower case; the query is sorted and encoded.

struct s3_header {
    const char *name, *value;
};

void od_s3_hash(const struct iovec *parts, unsigned count, char out[OD_S3_HASH_BYTES]);
// The Authorization header's value, appended to `out`. path: encoded.
od_code od_s3_sign(struct od_buf *out, const char *access_key, const char *secret_key, const char *region,
                   const char *date, const char *method, const char *path, const char *query,
                   const struct s3_header *headers, unsigned header_count, const char *payload_hash,
                   struct od_error *err);
// Percent-encodes as signatures want it; slashes stay when keep_slash.
od_code od_s3_encode(struct od_buf *out, const char *text, bool keep_slash, struct od_error *err);

// ---- requests

#define OD_S3_PUT_ID "x-amz-meta-openduck-put"

struct s3_request {
    const char *method, *key; // key "": the bucket itself
    const char *query;        // "" or sorted and encoded
    const struct iovec *body;
    unsigned body_count;
    const char *put_id;                // NULL: none
    bool if_absent;                    // If-None-Match: *
    uint64_t range_first, range_bytes; // range_bytes 0: no range
    void *into;                        // of range_bytes, or NULL: the answer goes to `answer`
};

struct s3_reply {
    long status;
    struct od_buf answer; // limited; also an error's text
    uint64_t length;      // Content-Length
    size_t received;      // into request->into
    char put_id[40], etag[128];
    bool maybe_applied; // an earlier try may have had its effect although its answer was lost
};

void od_s3_reply_init(struct s3_reply *reply);
void od_s3_reply_release(struct s3_reply *reply);
// Sends the request until an answer that more tries would not change, or the deadline. OD_OK: reply->status says which;
// OD_UNAVAILABLE otherwise.
od_code od_s3_send(struct s3_store *store, const struct s3_request *request, struct s3_reply *reply,
                   struct od_error *err);
// The error that a final status means.
od_code od_s3_status_error(const struct s3_store *store, const struct s3_request *request, const struct s3_reply *reply,
                           struct od_error *err);
// Text of the first <tag>...</tag> in text[*at...]; *at moves behind it. False: none.
bool od_s3_xml(const char *text, const char **at, const char *tag, char *out, size_t bytes);

od_code od_s3_put_large(struct s3_store *store, const char *key, const char *path, const char *put_id,
                        struct od_error *err);
od_code od_s3_put_once(struct s3_store *store, const char *key, const struct iovec *parts, unsigned count,
                       const char *put_id, struct od_error *err);
// After an effect whose answer was lost: is the object there by this very put? OD_OK, OD_EXISTS, OD_OUTCOME_UNKNOWN.
od_code od_s3_put_resolve(struct s3_store *store, const char *key, const char *put_id, struct od_error *err);

#endif
