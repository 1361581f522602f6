// s3_http.c - one request to an S3 server: signed, sent, tried again within a deadline.
//
//   H1  409, 429, 5xx and broken connections are tried again after a random wait below a growing bound, until the deadline.
//   H2  A try that was sent and not answered, or answered by 5xx, may have had its effect: reply->maybe_applied.
//   H3  An answer that is shorter than it said is a broken connection, never data.
#include "objstore/s3_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "os/platform.h"
#include "os/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define TRY_MS_MAX 60000L // of one try
#define CONNECT_MS 5000L
#define WAIT_MS_FIRST 50u
#define WAIT_MS_MAX 5000u
#define ANSWER_BYTES_MAX ((size_t)(8 * OD_MIB))
#define STALL_S 20L // a transfer below 1 KiB/s for so long is broken

void od_s3_reply_init(struct s3_reply *reply)
{
    *reply = (struct s3_reply){0};
    od_buf_init(&reply->answer, ANSWER_BYTES_MAX);
}

void od_s3_reply_release(struct s3_reply *reply)
{
    od_buf_release(&reply->answer);
}

bool od_s3_xml(const char *text, const char **at, const char *tag, char *out, size_t bytes)
{
    char open[64], shut[64];
    snprintf(open, sizeof open, "<%s>", tag);
    snprintf(shut, sizeof shut, "</%s>", tag);
    const char *begin = strstr(at && *at ? *at : text, open);
    const char *end = begin ? strstr(begin, shut) : NULL;
    if (!end)
        return false;
    begin += strlen(open);
    size_t length = (size_t)(end - begin);
    if (length >= bytes)
        length = bytes - 1;
    memcpy(out, begin, length);
    out[length] = '\0';
    if (at)
        *at = end + strlen(shut);
    return true;
}

// ---- what curl calls

struct exchange {
    const struct s3_request *request;
    struct s3_reply *reply;
    unsigned part; // of the body
    size_t sent;   // of that part
};

static size_t on_body(char *out, size_t size, size_t count, void *opaque)
{
    struct exchange *exchange = opaque;
    const struct s3_request *request = exchange->request;
    size_t room = size * count, given = 0;
    while (given < room && exchange->part < request->body_count) {
        const struct iovec *part = &request->body[exchange->part];
        size_t left = part->iov_len - exchange->sent, take = left < room - given ? left : room - given;
        memcpy(out + given, (const char *)part->iov_base + exchange->sent, take);
        given += take;
        exchange->sent += take;
        if (exchange->sent == part->iov_len) {
            exchange->part++;
            exchange->sent = 0;
        }
    }
    return given;
}

static size_t on_answer(char *data, size_t size, size_t count, void *opaque)
{
    struct exchange *exchange = opaque;
    struct s3_reply *reply = exchange->reply;
    size_t bytes = size * count;
    if (exchange->request->into && reply->status == 206) {
        if (bytes > exchange->request->range_bytes - reply->received)
            return 0; // more than was asked for: broken
        memcpy((char *)exchange->request->into + reply->received, data, bytes);
        reply->received += bytes;
        return bytes;
    }
    return od_buf_append(&reply->answer, data, bytes, NULL) == OD_OK ? bytes : 0;
}

static void header_value(const char *line, size_t bytes, const char *name, char *out, size_t out_bytes)
{
    size_t name_bytes = strlen(name);
    if (bytes <= name_bytes || strncasecmp(line, name, name_bytes) != 0 || line[name_bytes] != ':')
        return;
    size_t from = name_bytes + 1, to = bytes;
    while (from < to && line[from] == ' ')
        from++;
    while (to > from && (line[to - 1] == '\r' || line[to - 1] == '\n' || line[to - 1] == ' '))
        to--;
    snprintf(out, out_bytes, "%.*s", (int)(to - from), line + from);
}

static size_t on_header(char *line, size_t size, size_t count, void *opaque)
{
    struct exchange *exchange = opaque;
    struct s3_reply *reply = exchange->reply;
    size_t bytes = size * count;
    char number[32] = "";
    if (bytes > 12 && strncmp(line, "HTTP/", 5) == 0 && memchr(line, ' ', bytes))
        reply->status = strtol((const char *)memchr(line, ' ', bytes), NULL, 10);
    header_value(line, bytes, "etag", reply->etag, sizeof reply->etag);
    header_value(line, bytes, OD_S3_PUT_ID, reply->put_id, sizeof reply->put_id);
    header_value(line, bytes, "content-length", number, sizeof number);
    if (number[0])
        reply->length = strtoull(number, NULL, 10);
    return bytes;
}

// ---- one try

static CURL *take_handle(struct s3_store *store)
{
    pthread_mutex_lock(&store->lock);
    CURL *handle = store->idle_count ? store->idle[--store->idle_count] : NULL;
    pthread_mutex_unlock(&store->lock);
    return handle ? handle : curl_easy_init();
}

static void give_handle(struct s3_store *store, CURL *handle)
{
    curl_easy_reset(handle); // its connection stays open
    pthread_mutex_lock(&store->lock);
    bool kept = store->idle_count < OD_S3_HANDLES;
    if (kept)
        store->idle[store->idle_count++] = handle;
    pthread_mutex_unlock(&store->lock);
    if (!kept)
        curl_easy_cleanup(handle);
}

static od_code add_header(struct curl_slist **list, const char *text, struct od_error *err)
{
    struct curl_slist *grown = curl_slist_append(*list, text);
    if (!grown)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a request");
    *list = grown;
    return OD_OK;
}

static od_code signed_headers(struct s3_store *store, const struct s3_request *request, const char *path,
                              struct curl_slist **list, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_buf text;
    struct s3_header headers[8];
    unsigned count = 0;
    char date[OD_S3_DATE_BYTES], hash[OD_S3_HASH_BYTES], range[64];
    time_t now = (time_t)(store->platform->ops->wall_us(store->platform) / 1000000);
    struct tm parts;
    gmtime_r(&now, &parts);
    strftime(date, sizeof date, "%Y%m%dT%H%M%SZ", &parts);
    od_s3_hash(request->body, request->body_count, hash);
    od_buf_init(&text, 16384);

    headers[count++] = (struct s3_header){"host", store->host}; // in order of name
    if (request->if_absent)
        headers[count++] = (struct s3_header){"if-none-match", "*"};
    if (request->range_bytes) {
        snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)request->range_first,
                 (unsigned long long)(request->range_first + request->range_bytes - 1));
        headers[count++] = (struct s3_header){"range", range};
    }
    headers[count++] = (struct s3_header){"x-amz-content-sha256", hash};
    headers[count++] = (struct s3_header){"x-amz-date", date};
    if (request->put_id)
        headers[count++] = (struct s3_header){OD_S3_PUT_ID, request->put_id};
    if (store->session_token)
        headers[count++] = (struct s3_header){"x-amz-security-token", store->session_token};

    for (unsigned i = 1; i < count; i++) {
        od_buf_clear(&text);
        OD_TRY(od_buf_printf(&text, err, "%s: %s", headers[i].name, headers[i].value));
        const char *line = od_buf_text(&text);
        OD_TRY(line ? add_header(list, line, err) : od_fail(err, OD_NO_MEMORY, "out of memory for a request"));
    }
    od_buf_clear(&text);
    OD_TRY(od_buf_append_text(&text, "authorization: ", err));
    OD_TRY(od_s3_sign(&text, store->access_key, store->secret_key, store->region, date, request->method, path,
                      request->query, headers, count, hash, err));
    const char *line = od_buf_text(&text);
    OD_TRY(line ? add_header(list, line, err) : od_fail(err, OD_NO_MEMORY, "out of memory for a request"));
    OD_TRY(add_header(list, "Expect:", err));
    OD_TRY(add_header(list, "Content-Type:", err));
out:
    od_buf_release(&text);
    return rc;
}

static void set_up(CURL *handle, const struct s3_store *store, const char *url, struct exchange *exchange,
                   struct curl_slist *headers, long left_ms)
{
    const struct s3_request *request = exchange->request;
    curl_easy_setopt(handle, CURLOPT_URL, url);
    curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request->method);
    curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(handle, CURLOPT_TIMEOUT_MS, left_ms < TRY_MS_MAX ? left_ms : TRY_MS_MAX);
    curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, CONNECT_MS);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1024L);
    curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, STALL_S);
    curl_easy_setopt(handle, CURLOPT_TCP_KEEPALIVE, 1L);
    if (store->ca_file)
        curl_easy_setopt(handle, CURLOPT_CAINFO, store->ca_file);
    if (strcmp(request->method, "HEAD") == 0)
        curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
    if (strcmp(request->method, "PUT") == 0 || request->body_count) {
        uint64_t bytes = 0;
        for (unsigned i = 0; i < request->body_count; i++)
            bytes += request->body[i].iov_len;
        curl_easy_setopt(handle, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(handle, CURLOPT_READFUNCTION, on_body);
        curl_easy_setopt(handle, CURLOPT_READDATA, exchange);
        curl_easy_setopt(handle, CURLOPT_INFILESIZE_LARGE, (curl_off_t)bytes);
    } else if (strcmp(request->method, "POST") == 0) {
        curl_easy_setopt(handle, CURLOPT_POSTFIELDS, "");
        curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE, 0L);
    }
    curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, on_answer);
    curl_easy_setopt(handle, CURLOPT_WRITEDATA, exchange);
    curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(handle, CURLOPT_HEADERDATA, exchange);
}

// OD_OK: there is an answer, whole. OD_UNAVAILABLE: not; `why` says what happened, *sent whether the server may have acted.
static od_code try_once(struct s3_store *store, const struct s3_request *request, struct s3_reply *reply, long left_ms,
                        bool *sent, struct od_error *why)
{
    od_code rc = OD_OK;
    struct od_buf path, url;
    struct curl_slist *headers = NULL;
    struct exchange exchange = {.request = request, .reply = reply};
    CURL *handle = take_handle(store);
    *sent = false;
    od_buf_init(&path, 8192);
    od_buf_init(&url, 16384);
    if (!handle)
        OD_TRY(od_fail(why, OD_NO_MEMORY, "out of memory for a request"));
    reply->status = 0;
    reply->length = 0;
    reply->received = 0;
    reply->put_id[0] = reply->etag[0] = '\0';
    od_buf_clear(&reply->answer);
    if (request->key[0]) {
        OD_TRY(od_buf_append_text(&path, store->path, why));
        OD_TRY(od_s3_encode(&path, request->key, true, why));
    } else { // the bucket: the path without the prefix
        size_t prefix = strlen(store->prefix), whole = strlen(store->path);
        OD_TRY(od_buf_append(&path, store->path, whole - prefix, why));
    }
    const char *path_text = od_buf_text(&path);
    if (!path_text)
        OD_TRY(od_fail(why, OD_NO_MEMORY, "out of memory for a request"));
    OD_TRY(od_buf_printf(&url, why, "%s%s%s%s", store->scheme_host, path_text, request->query[0] ? "?" : "",
                         request->query));
    const char *url_text = od_buf_text(&url);
    if (!url_text)
        OD_TRY(od_fail(why, OD_NO_MEMORY, "out of memory for a request"));
    OD_TRY(signed_headers(store, request, path_text, &headers, why));
    set_up(handle, store, url_text, &exchange, headers, left_ms);
    CURLcode done = curl_easy_perform(handle);
    if (done != CURLE_OK) {
        *sent = done != CURLE_COULDNT_CONNECT && done != CURLE_COULDNT_RESOLVE_HOST &&
                done != CURLE_SSL_CONNECT_ERROR && done != CURLE_PEER_FAILED_VERIFICATION;
        od_code code = done == CURLE_OUT_OF_MEMORY ? OD_NO_MEMORY : OD_UNAVAILABLE;
        if (done == CURLE_PEER_FAILED_VERIFICATION)
            code = OD_FORBIDDEN;
        OD_TRY(od_fail(why, code, "%s: %s", store->host, curl_easy_strerror(done)));
    }
    if (reply->status == 206 && request->into && reply->received != request->range_bytes)
        OD_TRY(od_fail(why, OD_UNAVAILABLE, "%s sent %zu of %llu bytes", store->host, reply->received,
                       (unsigned long long)request->range_bytes));
out:
    if (handle)
        give_handle(store, handle);
    curl_slist_free_all(headers);
    od_buf_release(&path);
    od_buf_release(&url);
    return rc;
}

// ---- tries

static bool worth_another_try(long status)
{
    return status == 409 || status == 429 || status == 408 || status >= 500;
}

static void wait_a_while(struct s3_store *store, unsigned bound_ms, uint64_t until)
{
    uint32_t random;
    store->platform->ops->random(store->platform, &random, sizeof random);
    uint64_t now = od_clock_ms(), wait = random % (bound_ms + 1);
    if (now >= until)
        return;
    if (wait > until - now)
        wait = until - now;
    struct timespec pause = {.tv_sec = (time_t)(wait / 1000), .tv_nsec = (long)(wait % 1000) * 1000000};
    nanosleep(&pause, NULL);
}

od_code od_s3_send(struct s3_store *store, const struct s3_request *request, struct s3_reply *reply,
                   struct od_error *err)
{
    uint64_t until = od_clock_ms() + store->deadline_ms;
    unsigned bound_ms = WAIT_MS_FIRST, tries = 0;
    struct od_error why = {0};
    for (;;) {
        bool sent;
        uint64_t now = od_clock_ms();
        long left_ms = now < until ? (long)(until - now) : 1;
        od_code rc = try_once(store, request, reply, left_ms, &sent, &why);
        tries++;
        if (rc == OD_OK && !worth_another_try(reply->status))
            return OD_OK;
        if (rc != OD_OK && rc != OD_UNAVAILABLE)
            return od_fail(err, rc, "%s", why.message);
        if (rc == OD_OK) {
            reply->maybe_applied |= reply->status >= 500;
            char code[64] = "";
            const char *text = od_buf_text(&reply->answer);
            od_s3_xml(text ? text : "", NULL, "Code", code, sizeof code);
            (void)od_fail(&why, OD_UNAVAILABLE, "%s answers %ld %s", store->host, reply->status, code);
        } else {
            reply->maybe_applied |= sent;
        }
        if (od_clock_ms() >= until)
            return od_fail(err, OD_UNAVAILABLE, "%s %s: given up after %u tries in %u ms: %s", request->method,
                           request->key[0] ? request->key : store->bucket, tries, store->deadline_ms, why.message);
        wait_a_while(store, bound_ms, until);
        bound_ms = bound_ms * 2 < WAIT_MS_MAX ? bound_ms * 2 : WAIT_MS_MAX;
    }
}

od_code od_s3_status_error(const struct s3_store *store, const struct s3_request *request, const struct s3_reply *reply,
                           struct od_error *err)
{
    char code[64] = "", text[200] = "";
    struct od_buf copy = reply->answer; // its text needs room for a NUL
    const char *answer = copy.bytes ? (const char *)copy.data : "";
    if (copy.bytes && copy.bytes < copy.capacity)
        copy.data[copy.bytes] = '\0';
    else
        answer = "";
    od_s3_xml(answer, NULL, "Code", code, sizeof code);
    od_s3_xml(answer, NULL, "Message", text, sizeof text);
    const char *key = request->key[0] ? request->key : "";
    if (strcmp(code, "NoSuchBucket") == 0)
        return od_fail(err, OD_NOT_FOUND, "there is no bucket %s at %s", store->bucket, store->host);
    if (strcmp(code, "RequestTimeTooSkewed") == 0)
        return od_fail(err, OD_FORBIDDEN, "%s refuses this machine's clock: %s", store->host, text);
    if (strcmp(code, "InvalidAccessKeyId") == 0 || strcmp(code, "SignatureDoesNotMatch") == 0 ||
        strcmp(code, "ExpiredToken") == 0 || strcmp(code, "InvalidToken") == 0 || reply->status == 401)
        return od_fail(err, OD_UNAUTHENTICATED, "%s refuses the credentials for bucket %s: %s %s", store->host,
                       store->bucket, code, text);
    if (reply->status == 301 || reply->status == 307 || strcmp(code, "AuthorizationHeaderMalformed") == 0)
        return od_fail(err, OD_INVALID, "bucket %s is not in region %s: %s %s", store->bucket, store->region, code,
                       text);
    if (reply->status == 403)
        return od_fail(err, OD_FORBIDDEN, "%s of object %s in bucket %s is not allowed: %s %s", request->method, key,
                       store->bucket, code, text);
    if (reply->status == 404)
        return od_fail(err, OD_NOT_FOUND, "there is no object %s in bucket %s", key, store->bucket);
    if (reply->status == 412)
        return od_fail(err, OD_EXISTS, "object %s is there already", key);
    if (reply->status == 507 || strcmp(code, "QuotaExceeded") == 0)
        return od_fail(err, OD_LIMIT, "bucket %s is full: %s", store->bucket, text);
    return od_fail(err, OD_IO, "%s of object %s in bucket %s: %s answers %ld %s %s", request->method, key,
                   store->bucket, store->host, reply->status, code, text);
}
