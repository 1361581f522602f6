// s3_sign.c - AWS Signature Version 4 for requests with signed headers. libcurl only carries what is signed here: its own
// signer differs between versions.
#include "objstore/s3_internal.h"

#include "base/assert.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>

static void to_hex(const unsigned char *bytes, char out[OD_S3_HASH_BYTES])
{
    for (int i = 0; i < 32; i++)
        snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

void od_s3_hash(const struct iovec *parts, unsigned count, char out[OD_S3_HASH_BYTES])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool done = context && EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1;
    for (unsigned i = 0; i < count && done; i++)
        done = EVP_DigestUpdate(context, parts[i].iov_base, parts[i].iov_len) == 1;
    done = done && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    EVP_MD_CTX_free(context);
    if (done)
        to_hex(digest, out);
    else
        out[0] = '\0'; // out of memory: no server accepts the request
}

od_code od_s3_encode(struct od_buf *out, const char *text, bool keep_slash, struct od_error *err)
{
    od_code rc = OD_OK;
    for (; *text && rc == OD_OK; text++) {
        unsigned char c = (unsigned char)*text;
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                     c == '_' || c == '.' || c == '~' || (c == '/' && keep_slash);
        rc = plain ? od_buf_append(out, text, 1, err) : od_buf_printf(out, err, "%%%02X", c);
    }
    return rc;
}

static bool mac(unsigned char key[32], size_t key_bytes, const void *first_key, const char *text)
{
    unsigned char out[EVP_MAX_MD_SIZE];
    unsigned bytes = 0;
    if (!HMAC(EVP_sha256(), first_key ? first_key : key, (int)key_bytes, (const unsigned char *)text, strlen(text), out,
              &bytes))
        return false;
    memcpy(key, out, 32);
    return bytes == 32;
}

od_code od_s3_sign(struct od_buf *out, const char *access_key, const char *secret_key, const char *region,
                   const char *date, const char *method, const char *path, const char *query,
                   const struct s3_header *headers, unsigned header_count, const char *payload_hash,
                   struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_buf text, names;
    char day[9], hash[OD_S3_HASH_BYTES], first_key[256];
    unsigned char key[32];
    memcpy(day, date, 8);
    day[8] = '\0';
    od_buf_init(&text, 64 * 1024);
    od_buf_init(&names, 4096);

    OD_TRY(od_buf_printf(&text, err, "%s\n%s\n%s\n", method, path, query));
    for (unsigned i = 0; i < header_count; i++) {
        od_assert(i == 0 || strcmp(headers[i - 1].name, headers[i].name) < 0);
        OD_TRY(od_buf_printf(&text, err, "%s:%s\n", headers[i].name, headers[i].value));
        OD_TRY(od_buf_printf(&names, err, "%s%s", i ? ";" : "", headers[i].name));
    }
    const char *signed_names = od_buf_text(&names);
    if (!signed_names)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a signature"));
    OD_TRY(od_buf_printf(&text, err, "\n%s\n%s", signed_names, payload_hash));
    struct iovec whole = {text.data, text.bytes};
    od_s3_hash(&whole, 1, hash);

    od_buf_clear(&text);
    OD_TRY(od_buf_printf(&text, err, "AWS4-HMAC-SHA256\n%s\n%s/%s/s3/aws4_request\n%s", date, day, region, hash));
    const char *to_sign = od_buf_text(&text);
    int first_bytes = snprintf(first_key, sizeof first_key, "AWS4%s", secret_key);
    if (!to_sign || first_bytes < 0 || (size_t)first_bytes >= sizeof first_key)
        OD_TRY(od_fail(err, OD_INVALID, "the secret key is too long"));
    if (!mac(key, (size_t)first_bytes, first_key, day) || !mac(key, 32, NULL, region) || !mac(key, 32, NULL, "s3") ||
        !mac(key, 32, NULL, "aws4_request") || !mac(key, 32, NULL, to_sign))
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a signature"));
    to_hex(key, hash);
    OD_TRY(od_buf_printf(out, err, "AWS4-HMAC-SHA256 Credential=%s/%s/%s/s3/aws4_request,SignedHeaders=%s,Signature=%s",
                         access_key, day, region, signed_names, hash));
out:
    OPENSSL_cleanse(first_key, sizeof first_key);
    OPENSSL_cleanse(key, sizeof key);
    od_buf_release(&text);
    od_buf_release(&names);
    return rc;
}
