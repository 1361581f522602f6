// endpoint.c - parsing of addresses; see endpoint.h.
#include "client/endpoint.h"

#include "base/assert.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

// Decodes %XX of text[0..bytes) into out, which has room for OD_ENDPOINT_BYTES_MAX.
static od_code decode(const char *text, size_t bytes, char *out, struct od_error *err)
{
    size_t used = 0;
    for (size_t i = 0; i < bytes; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            int high = i + 2 < bytes ? hex_digit(text[i + 1]) : -1;
            int low = i + 2 < bytes ? hex_digit(text[i + 2]) : -1;
            if (high < 0 || low < 0)
                return od_fail(err, OD_INVALID, "endpoint \"%.*s\": %% must be followed by two hexadecimal digits",
                               (int)bytes, text);
            c = high * 16 + low;
            i += 2;
        }
        if (c < 0x21 || c == 0x7f)
            return od_fail(err, OD_INVALID, "endpoint \"%.*s\": blanks and control characters are not allowed",
                           (int)bytes, text);
        if (used + 1 >= OD_ENDPOINT_BYTES_MAX - 32)
            return od_fail(err, OD_INVALID, "endpoint \"%.40s...\" is longer than %u bytes", text,
                           OD_ENDPOINT_BYTES_MAX - 32);
        out[used++] = (char)c;
    }
    out[used] = '\0';
    return OD_OK;
}

static bool port_ok(const char *port)
{
    if (!*port || strspn(port, "0123456789") != strlen(port) || strlen(port) > 5)
        return false;
    long value = strtol(port, NULL, 10);
    return value > 0 && value < 65536;
}

static od_code parse_one(const char *text, size_t bytes, char *out, struct od_error *err)
{
    static const struct {
        const char *prefix;
        bool tls;
    } schemes[] = {{"http://", false}, {"grpc://", false}, {"https://", true}, {"grpcs://", true}};
    char decoded[OD_ENDPOINT_BYTES_MAX];
    od_code rc = decode(text, bytes, decoded, err);
    if (rc != OD_OK)
        return rc;
    if (strncmp(decoded, "unix:", 5) == 0) {
        if (decoded[5] != '/')
            return od_fail(err, OD_INVALID, "endpoint \"%s\": unix: must be followed by an absolute path", decoded);
        memcpy(out, decoded, sizeof decoded);
        return OD_OK;
    }
    char *rest = decoded;
    bool tls = false;
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (strncmp(decoded, schemes[i].prefix, strlen(schemes[i].prefix)) == 0) {
            rest = decoded + strlen(schemes[i].prefix);
            tls = schemes[i].tls;
            break;
        }
    size_t length = strlen(rest);
    if (length && rest[length - 1] == '/')
        rest[--length] = '\0';
    if (!length)
        return od_fail(err, OD_INVALID, "endpoint \"%.*s\" has no host: expected HOST:PORT", (int)bytes, text);
    if (strpbrk(rest, "/?#@\\\"'"))
        return od_fail(err, OD_INVALID,
                       "endpoint \"%s\": expected HOST:PORT, optionally after https:// or http://, and nothing after it",
                       decoded);
    // The colon before the port is the one after the brackets, or the only one.
    char *host_end = rest[0] == '[' ? strchr(rest, ']') : rest;
    if (!host_end || (rest[0] == '[' && (host_end[1] != '\0' && host_end[1] != ':')))
        return od_fail(err, OD_INVALID, "endpoint \"%s\": expected [ADDRESS]:PORT", rest);
    char *colon = strchr(host_end, ':');
    if (rest[0] != '[' && colon && strchr(colon + 1, ':'))
        return od_fail(err, OD_INVALID, "endpoint \"%s\": an IPv6 address needs brackets: [ADDRESS]:PORT", rest);
    if (colon && !port_ok(colon + 1))
        return od_fail(err, OD_INVALID, "endpoint \"%s\": \"%s\" is not a port number", rest, colon + 1);
    if (colon == rest || strcmp(rest, "[]") == 0 || strncmp(rest, "[]:", 3) == 0)
        return od_fail(err, OD_INVALID, "endpoint \"%s\" has no host: expected HOST:PORT", rest);
    int wanted = snprintf(out, OD_ENDPOINT_BYTES_MAX, "%s%s%s", tls ? "https://" : "", rest,
                          colon ? "" : ":" OD_DEFAULT_PORT);
    od_assert(wanted > 0 && (unsigned)wanted < OD_ENDPOINT_BYTES_MAX); // decode left room for it
    return OD_OK;
}

od_code od_endpoint_list_parse(const char *address, struct od_endpoint_list *list, struct od_error *err)
{
    list->count = 0;
    for (const char *at = address;;) {
        size_t bytes = strcspn(at, ",");
        const char *next = at + bytes;
        while (bytes && (*at == ' ' || *at == '\t')) {
            at++;
            bytes--;
        }
        while (bytes && (at[bytes - 1] == ' ' || at[bytes - 1] == '\t'))
            bytes--;
        if (!bytes)
            return od_fail(err, OD_INVALID, "address \"%.200s\" has an empty endpoint: expected HOST:PORT[,HOST:PORT...]",
                           address);
        if (list->count == OD_ENDPOINTS_MAX)
            return od_fail(err, OD_INVALID, "the address has more than %u endpoints", OD_ENDPOINTS_MAX);
        od_code rc = parse_one(at, bytes, list->text[list->count], err);
        if (rc != OD_OK)
            return rc;
        list->count++;
        if (!*next)
            return OD_OK;
        at = next + 1;
    }
}
