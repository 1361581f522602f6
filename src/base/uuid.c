#include "base/uuid.h"

#include <string.h>

bool od_uuid_is_zero(const struct od_uuid *uuid)
{
    static const struct od_uuid zero;
    return od_uuid_equal(uuid, &zero);
}

bool od_uuid_equal(const struct od_uuid *a, const struct od_uuid *b)
{
    return memcmp(a->bytes, b->bytes, OD_UUID_BYTES) == 0;
}

static bool dash_before(unsigned byte)
{
    return byte == 4 || byte == 6 || byte == 8 || byte == 10;
}

void od_uuid_format(const struct od_uuid *uuid, char out[OD_UUID_TEXT_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (unsigned i = 0; i < OD_UUID_BYTES; i++) {
        if (dash_before(i))
            *out++ = '-';
        *out++ = digits[uuid->bytes[i] >> 4];
        *out++ = digits[uuid->bytes[i] & 15];
    }
    *out = 0;
}

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

od_code od_uuid_parse(const char *text, struct od_uuid *uuid, struct od_error *err)
{
    struct od_uuid parsed;
    const char *at = text;
    for (unsigned i = 0; i < OD_UUID_BYTES; i++) {
        if (dash_before(i) && *at++ != '-')
            return od_fail(err, OD_INVALID, "\"%.64s\" is not a uuid", text);
        int high = digit(at[0]);
        int low = high < 0 ? -1 : digit(at[1]);
        if (low < 0)
            return od_fail(err, OD_INVALID, "\"%.64s\" is not a uuid", text);
        parsed.bytes[i] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    if (*at)
        return od_fail(err, OD_INVALID, "\"%.64s\" is not a uuid", text);
    *uuid = parsed;
    return OD_OK;
}

void od_uuid_mark_random(struct od_uuid *uuid)
{
    uuid->bytes[6] = (uint8_t)((uuid->bytes[6] & 0x0f) | 0x40);
    uuid->bytes[8] = (uint8_t)((uuid->bytes[8] & 0x3f) | 0x80);
}
