// auth.c - the server's bearer token; see auth.h.
#include "rpc/auth.h"

#include "base/alloc.h"

#include <string.h>
#include <strings.h>

od_code od_auth_init(struct od_auth *auth, const char *token, struct od_error *err)
{
    *auth = (struct od_auth){.identity = ""};
    if (!token)
        return OD_OK;
    if (!token[0])
        return od_fail(err, OD_INVALID, "the server's token is empty");
    auth->token = od_strdup(token);
    if (!auth->token)
        return od_fail(err, OD_NO_MEMORY, "no memory for the server's token");
    auth->token_bytes = strlen(token);
    auth->identity = "token";
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
