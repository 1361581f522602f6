// config_value.c - numbers with units, booleans, and the distance between names.
#include "os/config_value.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit byte_units[] = {
    {"", 1},
    {"B", 1},
    {"K", 1ull << 10},
    {"KB", 1ull << 10},
    {"KiB", 1ull << 10},
    {"M", 1ull << 20},
    {"MB", 1ull << 20},
    {"MiB", 1ull << 20},
    {"G", 1ull << 30},
    {"GB", 1ull << 30},
    {"GiB", 1ull << 30},
    {"T", 1ull << 40},
    {"TB", 1ull << 40},
    {"TiB", 1ull << 40},
    {NULL, 0},
};
static const struct unit duration_units[] = {
    {"", 1}, {"ms", 1}, {"s", 1000}, {"m", 60000}, {"min", 60000}, {"h", 3600000}, {"d", 86400000}, {NULL, 0},
};
static const struct unit no_units[] = {{"", 1}, {NULL, 0}};

static od_code parse_number(const struct unit *units, const char *expected, const char *source, const char *text,
                            uint64_t *number, struct od_error *err)
{
    char *end = NULL;
    errno = 0;
    unsigned long long parsed = strtoull(text, &end, 10);
    bool digits = text[0] >= '0' && text[0] <= '9';
    if (digits && errno == ERANGE)
        return od_fail(err, OD_INVALID, "%s: %s is too large", source, text);
    for (const struct unit *unit = units; digits && unit->suffix; unit++) {
        if (strcasecmp(end, unit->suffix) != 0)
            continue;
        if (__builtin_mul_overflow((uint64_t)parsed, unit->factor, number))
            return od_fail(err, OD_INVALID, "%s: %s is too large", source, text);
        return OD_OK;
    }
    return od_fail(err, OD_INVALID, "%s: '%s' is not %s", source, text, expected);
}

static od_code parse_bool(const char *source, const char *text, uint64_t *number, struct od_error *err)
{
    static const char *const words[2][4] = {{"false", "no", "off", "0"}, {"true", "yes", "on", "1"}};
    for (uint64_t value = 0; value < 2; value++)
        for (size_t i = 0; i < 4; i++)
            if (strcasecmp(text, words[value][i]) == 0) {
                *number = value;
                return OD_OK;
            }
    return od_fail(err, OD_INVALID, "%s: '%s' is neither true nor false", source, text);
}

od_code od_config_value_parse(const struct od_config_field *field, const char *source, const char *text,
                              uint64_t *number, struct od_error *err)
{
    od_code rc = OD_OK;
    *number = 0;
    switch (field->type) {
    case OD_CONFIG_TEXT:
        return OD_OK;
    case OD_CONFIG_BOOL:
        return parse_bool(source, text, number, err);
    case OD_CONFIG_INTEGER:
        rc = parse_number(no_units, "a whole number", source, text, number, err);
        break;
    case OD_CONFIG_BYTES:
        rc = parse_number(byte_units, "a number of bytes (examples: 4096, 512M, 8GiB)", source, text, number, err);
        break;
    case OD_CONFIG_DURATION:
        rc = parse_number(duration_units, "a duration (examples: 500ms, 30s, 10m, 1h)", source, text, number, err);
        break;
    }
    if (rc != OD_OK)
        return rc;
    if (*number < field->minimum)
        return od_fail(err, OD_INVALID, "%s: %s is below the minimum of %llu", source, text,
                       (unsigned long long)field->minimum);
    if (field->maximum && *number > field->maximum)
        return od_fail(err, OD_INVALID, "%s: %s is above the maximum of %llu", source, text,
                       (unsigned long long)field->maximum);
    return OD_OK;
}

#define NAME_MAX_COMPARED 40u

// Insertions, deletions and replacements from one name to the other.
static size_t distance(const char *left, const char *right)
{
    size_t left_bytes = strlen(left), right_bytes = strlen(right);
    if (left_bytes > NAME_MAX_COMPARED || right_bytes > NAME_MAX_COMPARED)
        return SIZE_MAX;
    size_t row[NAME_MAX_COMPARED + 1];
    for (size_t j = 0; j <= right_bytes; j++)
        row[j] = j;
    for (size_t i = 1; i <= left_bytes; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= right_bytes; j++) {
            size_t best = diagonal + (left[i - 1] != right[j - 1]);
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            diagonal = row[j];
            row[j] = best;
        }
    }
    return row[right_bytes];
}

const char *od_config_nearest(const struct od_config_field *fields, size_t field_count, const char *name)
{
    const char *nearest = NULL;
    size_t least = strlen(name) / 3 + 2; // farther than this is a guess, not a correction
    for (size_t i = 0; i < field_count; i++) {
        size_t d = distance(name, fields[i].name);
        // A beginning that names one setting ("memory" for "memory-limit") is near, too.
        if (strlen(name) >= 3 && strncmp(fields[i].name, name, strlen(name)) == 0)
            d = 1;
        if (d < least) {
            least = d;
            nearest = fields[i].name;
        }
    }
    return nearest;
}
