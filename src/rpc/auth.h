// auth.h (internal) - the server's bearer token: checked without leaking it. Who knows it is one caller, the
// same in every process and under every token, so that what it asked of one process another can answer.
#ifndef OD_RPC_AUTH_H
#define OD_RPC_AUTH_H

#include "base/error.h"

#include <stddef.h>

OD_BEGIN_C

struct od_auth {
    char *token; // NULL: no authentication
    size_t token_bytes;
    const char *identity; // of callers that know the token; "" without one
};

OD_CHECKED od_code od_auth_init(struct od_auth *auth, const char *token, struct od_error *err);
void od_auth_release(struct od_auth *auth);
// Time depends on the length of `token` only.
bool od_auth_token_ok(const struct od_auth *auth, const char *token, size_t bytes);
// `header` is the value of "authorization".
bool od_auth_header_ok(const struct od_auth *auth, const char *header, size_t bytes);

OD_END_C

#endif
