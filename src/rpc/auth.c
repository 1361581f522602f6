// auth.c - the server's bearer token; see auth.h.
//
// The identity is a keyed hash (SipHash-2-4, key drawn at each start): equal for equal tokens while the server lives,
// useless to anybody who reads it in a log.
#include "rpc/auth.h"

#include "base/alloc.h"
#include "os/random.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static uint64_t rotate(uint64_t x, unsigned by)
{
    return (x << by) | (x >> (64 - by));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1], v[1] = rotate(v[1], 13) ^ v[0], v[0] = rotate(v[0], 32);
    v[2] += v[3], v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3], v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1], v[1] = rotate(v[1], 17) ^ v[2], v[2] = rotate(v[2], 32);
}

static uint64_t siphash(const uint64_t key[2], const uint8_t *data, size_t bytes)
{
    uint64_t v[4] = {key[0] ^ 0x736f6d6570736575u, key[1] ^ 0x646f72616e646f6du, key[0] ^ 0x6c7967656e657261u,
                     key[1] ^ 0x7465646279746573u};
    for (size_t at = 0; at <= bytes; at += 8) {
        // The last word carries the rest of the bytes and the length.
        size_t part = bytes - at < 8 ? bytes - at : 8;
        uint64_t word = part < 8 ? (uint64_t)bytes << 56 : 0;
        for (size_t i = 0; i < part; i++)
            word |= (uint64_t)data[at + i] << (8 * i);
        v[3] ^= word;
        sip_round(v), sip_round(v);
        v[0] ^= word;
    }
    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++)
        sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

od_code od_auth_init(struct od_auth *auth, const char *token, struct od_error *err)
{
    *auth = (struct od_auth){0};
    if (!token)
        return OD_OK;
    if (!token[0])
        return od_fail(err, OD_INVALID, "the server's token is empty");
    uint64_t key[2];
    od_random_bytes(key, sizeof key);
    auth->token = od_strdup(token);
    if (!auth->token)
        return od_fail(err, OD_NO_MEMORY, "no memory for the server's token");
    auth->token_bytes = strlen(token);
    snprintf(auth->identity, sizeof auth->identity, "token:%016" PRIx64,
             siphash(key, (const uint8_t *)token, auth->token_bytes));
    return OD_OK;
}

void od_auth_release(struct od_auth *auth)
{
    if (auth->token)
        explicit_bzero(auth->token, auth->token_bytes);
    od_free(auth->token);
    *auth = (struct od_auth){0};
}

bool od_auth_token_ok(const struct od_auth *auth, const char *token, size_t bytes)
{
    if (!auth->token)
        return true;
    size_t difference = bytes ^ auth->token_bytes;
    for (size_t i = 0; i < bytes; i++)
        difference |= (uint8_t)(token[i] ^ auth->token[i % auth->token_bytes]);
    return difference == 0;
}

bool od_auth_header_ok(const struct od_auth *auth, const char *header, size_t bytes)
{
    if (!auth->token)
        return true;
    // The scheme's name is case-insensitive (RFC 9110).
    return bytes > 7 && strncasecmp(header, "Bearer ", 7) == 0 && od_auth_token_ok(auth, header + 7, bytes - 7);
}
