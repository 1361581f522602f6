// ticket.c - HMAC-SHA256 over everything a ticket is bound to; see ticket.h.
//
//   OFFSET  SIZE  DESCRIPTION
//        0     1  version, 1
//        1     8  when it expires, milliseconds of the server's monotonic clock, little-endian
//        9    16  execution
//       25     4  partition, little-endian
//       29    32  HMAC-SHA256(secret, "ticket" || bytes 0..28 || identity)
#include "server/ticket.h"

#include "base/assert.h"
#include "os/random.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <string.h>

#define SIGNED_BYTES 29u
#define SIGNATURE_BYTES 32u
#define VERSION 1u

void od_secret_make(struct od_secret *secret)
{
    od_random_bytes(secret->bytes, sizeof secret->bytes);
}

// SHA-256 with a key in front and the inner hash hashed again (the HMAC construction), over several pieces.
struct mac {
    uint8_t bytes[SIGNATURE_BYTES];
};

#define BLOCK_BYTES 64u

static EVP_MD *sha256;

static void find_sha256(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

// OpenSSL looks an algorithm up by its name each time it is not handed the one it found, which takes longer than the hash.
static const EVP_MD *hash(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, find_sha256);
    od_assert(sha256);
    return sha256;
}

// Hashes the key, each byte changed by `pad`, and then `bytes`.
static bool hash_keyed(EVP_MD_CTX *context, const struct od_secret *secret, uint8_t pad, const uint8_t *bytes,
                       uint8_t digest[SIGNATURE_BYTES])
{
    _Static_assert(sizeof secret->bytes <= BLOCK_BYTES, "a longer key is hashed first");
    uint8_t block[BLOCK_BYTES];
    memset(block, pad, sizeof block);
    for (size_t i = 0; i < sizeof secret->bytes; i++)
        block[i] ^= secret->bytes[i];
    bool ok = EVP_DigestInit_ex(context, hash(), NULL) == 1 && EVP_DigestUpdate(context, block, sizeof block) == 1 &&
              EVP_DigestUpdate(context, bytes, SIGNATURE_BYTES) == 1 && EVP_DigestFinal_ex(context, digest, NULL) == 1;
    OPENSSL_cleanse(block, sizeof block);
    return ok;
}

static struct mac mac_of(const struct od_secret *secret, const char *purpose, const uint8_t *const *pieces,
                         const size_t *sizes, size_t count)
{
    struct mac mac;
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    od_assert(context); // a few hundred bytes; without them nothing can be authenticated
    uint8_t digest[SIGNATURE_BYTES];
    bool ok =
        EVP_DigestInit_ex(context, hash(), NULL) == 1 && EVP_DigestUpdate(context, purpose, strlen(purpose) + 1) == 1;
    for (size_t i = 0; i < count && ok; i++) {
        uint64_t size = sizes[i];
        ok = EVP_DigestUpdate(context, &size, sizeof size) == 1 && EVP_DigestUpdate(context, pieces[i], sizes[i]) == 1;
    }
    ok = ok && EVP_DigestFinal_ex(context, digest, NULL) == 1 && hash_keyed(context, secret, 0x36, digest, digest) &&
         hash_keyed(context, secret, 0x5c, digest, mac.bytes);
    EVP_MD_CTX_free(context);
    od_assert(ok);
    return mac;
}

#define DIGEST_TEXTS_MAX 4u

struct od_key od_digest(const struct od_secret *secret, const char *const *texts, size_t count)
{
    const uint8_t *pieces[DIGEST_TEXTS_MAX];
    size_t sizes[DIGEST_TEXTS_MAX];
    od_assert(count <= DIGEST_TEXTS_MAX);
    for (size_t i = 0; i < count; i++) {
        pieces[i] = (const uint8_t *)texts[i];
        sizes[i] = strlen(texts[i]);
    }
    struct mac mac = mac_of(secret, "key", pieces, sizes, count);
    struct od_key key;
    memcpy(key.bytes, mac.bytes, sizeof key.bytes);
    return key;
}

static void put(uint8_t *at, uint64_t value, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        at[i] = (uint8_t)(value >> (8 * i));
}

static uint64_t get(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = 0; i < bytes; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static struct mac signature(const struct od_secret *secret, const uint8_t *ticket, const char *identity)
{
    const uint8_t *pieces[] = {ticket, (const uint8_t *)identity};
    const size_t sizes[] = {SIGNED_BYTES, strlen(identity)};
    return mac_of(secret, "ticket", pieces, sizes, 2);
}

void od_ticket_sign(const struct od_secret *secret, const struct od_key *execution, uint32_t partition,
                    const char *identity, uint64_t expires_ms, uint8_t out[OD_TICKET_BYTES])
{
    out[0] = VERSION;
    put(out + 1, expires_ms, 8);
    memcpy(out + 9, execution->bytes, OD_KEY_BYTES);
    put(out + 25, partition, 4);
    struct mac mac = signature(secret, out, identity);
    memcpy(out + SIGNED_BYTES, mac.bytes, SIGNATURE_BYTES);
}

od_code od_ticket_check(const struct od_secret *secret, const uint8_t *ticket, size_t bytes, uint32_t partition,
                        const char *identity, uint64_t now_ms, struct od_key *execution, struct od_error *err)
{
    if (bytes != OD_TICKET_BYTES || ticket[0] != VERSION)
        return od_fail(err, OD_TICKET_INVALID, "%zu bytes that are no ticket of this server", bytes);
    struct mac mac = signature(secret, ticket, identity);
    if (CRYPTO_memcmp(mac.bytes, ticket + SIGNED_BYTES, SIGNATURE_BYTES) != 0)
        return od_fail(err, OD_TICKET_INVALID,
                       "the ticket is forged, of another caller or of an earlier server process: execute again");
    if (get(ticket + 1, 8) <= now_ms)
        return od_fail(err, OD_TICKET_INVALID, "the ticket has expired: execute again");
    if (get(ticket + 25, 4) != partition)
        return od_fail(err, OD_TICKET_INVALID, "the ticket is for partition %u, not for %u",
                       (unsigned)get(ticket + 25, 4), partition);
    memcpy(execution->bytes, ticket + 9, OD_KEY_BYTES);
    return OD_OK;
}

void od_key_text(const struct od_key *key, char out[OD_KEY_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < OD_KEY_BYTES; i++) {
        out[2 * i] = digits[key->bytes[i] >> 4];
        out[2 * i + 1] = digits[key->bytes[i] & 15];
    }
    out[2 * OD_KEY_BYTES] = '\0';
}

static int digit_of(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool od_key_parse(const char *text, struct od_key *key)
{
    if (strlen(text) != 2 * OD_KEY_BYTES)
        return false;
    for (size_t i = 0; i < OD_KEY_BYTES; i++) {
        int high = digit_of(text[2 * i]), low = digit_of(text[2 * i + 1]);
        if (high < 0 || low < 0)
            return false;
        key->bytes[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}
