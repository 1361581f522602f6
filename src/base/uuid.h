// uuid.h - 16 random bytes that name something for ever: branches, layers, snapshots (RFC 9562 text form).
#ifndef OD_BASE_UUID_H
#define OD_BASE_UUID_H

#include "base/error.h"

OD_BEGIN_C

#define OD_UUID_BYTES 16u
#define OD_UUID_TEXT_BYTES 37u // with the final NUL

struct od_uuid {
    uint8_t bytes[OD_UUID_BYTES];
};

bool od_uuid_is_zero(const struct od_uuid *uuid);
bool od_uuid_equal(const struct od_uuid *a, const struct od_uuid *b);
// Lower-case, with dashes.
void od_uuid_format(const struct od_uuid *uuid, char out[OD_UUID_TEXT_BYTES]);
// The form that od_uuid_format writes, and no other; OD_INVALID names the text.
OD_CHECKED od_code od_uuid_parse(const char *text, struct od_uuid *uuid, struct od_error *err);
// Marks 16 random bytes as a version 4 uuid.
void od_uuid_mark_random(struct od_uuid *uuid);

OD_END_C

#endif
