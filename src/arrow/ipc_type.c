// ipc_type.c - the type of a field of untrusted bytes: which ones are known, what their parameters may be, and how they
// are written in Arrow's C data interface. The check and the decoder both go through here, so they cannot disagree.
#include "arrow/ipc_message.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FIXED_SIZE_MAX (16 * 1024 * 1024) // bytes of a binary, elements of a list
#define DECIMAL_DIGITS_MAX 76
#define UNION_MEMBERS_MAX 127
#define TIME_ZONE_BYTES_MAX 200

struct reader {
    const struct od_flat_table *field; // the Field
    struct od_flat_table type;         // its type's table
    const char *name;
    const char *type_name;
    char *format;
    bool *keys_sorted;
    struct od_error *err;
};

static od_code fail_parameter(const struct reader *reader, const char *what, int64_t value)
{
    return od_fail(reader->err, OD_CORRUPT, "Arrow schema: column %.200s: %s with %s %" PRId64, reader->name,
                   reader->type_name, what, value);
}

static od_code fail_flat(const struct reader *reader)
{
    return od_fail(reader->err, OD_CORRUPT, "Arrow schema: column %.200s: its %s type is not a valid flatbuffer",
                   reader->name, reader->type_name);
}

static od_code put(const struct reader *reader, const char *format)
{
    snprintf(reader->format, OD_IPC_FORMAT_BYTES, "%s", format);
    return OD_OK;
}

// An enumeration (int16), in range.
static od_code read_unit(const struct reader *reader, const char *what, int16_t fallback, int16_t maximum,
                         int16_t *unit)
{
    *unit = fallback;
    if (!od_flat_scalar(&reader->type, 0, unit, sizeof *unit))
        return fail_flat(reader);
    return *unit < 0 || *unit > maximum ? fail_parameter(reader, what, *unit) : OD_OK;
}

static od_code read_int(const struct reader *reader)
{
    int32_t bits = 0;
    uint8_t is_signed = 0;
    if (!od_flat_scalar(&reader->type, 0, &bits, sizeof bits) ||
        !od_flat_scalar(&reader->type, 1, &is_signed, sizeof is_signed))
        return fail_flat(reader);
    switch (bits) {
    case 8:
        return put(reader, is_signed ? "c" : "C");
    case 16:
        return put(reader, is_signed ? "s" : "S");
    case 32:
        return put(reader, is_signed ? "i" : "I");
    case 64:
        return put(reader, is_signed ? "l" : "L");
    default:
        return fail_parameter(reader, "bit width", bits);
    }
}

static od_code read_float(const struct reader *reader)
{
    static const char *const formats[] = {"e", "f", "g"};
    int16_t precision;
    od_code rc = read_unit(reader, "precision", 0, 2, &precision);
    return rc == OD_OK ? put(reader, formats[precision]) : rc;
}

static od_code read_decimal(const struct reader *reader)
{
    int32_t digits = 0, scale = 0, bits = 128;
    if (!od_flat_scalar(&reader->type, 0, &digits, sizeof digits) ||
        !od_flat_scalar(&reader->type, 1, &scale, sizeof scale) ||
        !od_flat_scalar(&reader->type, 2, &bits, sizeof bits))
        return fail_flat(reader);
    if (bits != 32 && bits != 64 && bits != 128 && bits != 256)
        return fail_parameter(reader, "bit width", bits);
    if (digits < 1 || digits > DECIMAL_DIGITS_MAX)
        return fail_parameter(reader, "precision", digits);
    if (scale < -DECIMAL_DIGITS_MAX || scale > DECIMAL_DIGITS_MAX)
        return fail_parameter(reader, "scale", scale);
    snprintf(reader->format, OD_IPC_FORMAT_BYTES, bits == 128 ? "d:%d,%d" : "d:%d,%d,%d", digits, scale, bits);
    return OD_OK;
}

static od_code read_date(const struct reader *reader)
{
    int16_t unit;
    od_code rc = read_unit(reader, "unit", 1, 1, &unit);
    return rc == OD_OK ? put(reader, unit == 0 ? "tdD" : "tdm") : rc;
}

static od_code read_time(const struct reader *reader)
{
    static const char *const formats[] = {"tts", "ttm", "ttu", "ttn"};
    int16_t unit;
    int32_t bits = 32;
    od_code rc = read_unit(reader, "unit", 1, 3, &unit);
    if (rc != OD_OK)
        return rc;
    if (!od_flat_scalar(&reader->type, 1, &bits, sizeof bits))
        return fail_flat(reader);
    if (bits != (unit < 2 ? 32 : 64))
        return fail_parameter(reader, "bit width", bits);
    return put(reader, formats[unit]);
}

static od_code read_timestamp(const struct reader *reader)
{
    int16_t unit;
    struct od_flat_string zone;
    od_code rc = read_unit(reader, "unit", 0, 3, &unit);
    if (rc != OD_OK)
        return rc;
    if (!od_flat_string_field(&reader->type, 1, &zone))
        return fail_flat(reader);
    if (zone.bytes > TIME_ZONE_BYTES_MAX)
        return fail_parameter(reader, "a time zone of length", zone.bytes);
    snprintf(reader->format, OD_IPC_FORMAT_BYTES, "ts%c:%s", "smun"[unit], zone.present ? zone.text : "");
    return OD_OK;
}

static od_code read_duration(const struct reader *reader)
{
    static const char *const formats[] = {"tDs", "tDm", "tDu", "tDn"};
    int16_t unit;
    od_code rc = read_unit(reader, "unit", 1, 3, &unit);
    return rc == OD_OK ? put(reader, formats[unit]) : rc;
}

static od_code read_interval(const struct reader *reader)
{
    static const char *const formats[] = {"tiM", "tiD", "tin"};
    int16_t unit;
    od_code rc = read_unit(reader, "unit", 0, 2, &unit);
    return rc == OD_OK ? put(reader, formats[unit]) : rc;
}

static od_code read_fixed_size(const struct reader *reader, const char *prefix, int32_t minimum)
{
    int32_t size = 0;
    if (!od_flat_scalar(&reader->type, 0, &size, sizeof size))
        return fail_flat(reader);
    if (size < minimum || size > FIXED_SIZE_MAX)
        return fail_parameter(reader, "size", size);
    snprintf(reader->format, OD_IPC_FORMAT_BYTES, "%s:%" PRId32, prefix, size);
    return OD_OK;
}

static od_code read_map(const struct reader *reader)
{
    uint8_t sorted = 0;
    if (!od_flat_scalar(&reader->type, 0, &sorted, sizeof sorted))
        return fail_flat(reader);
    *reader->keys_sorted = sorted;
    return put(reader, "+m");
}

// Consumers index the members by their type ids, so ids that are not simply 0, 1, 2 ... are refused.
static od_code read_union(const struct reader *reader)
{
    int16_t mode;
    struct od_flat_vector ids, members;
    od_code rc = read_unit(reader, "mode", 0, 1, &mode);
    if (rc != OD_OK)
        return rc;
    if (!od_flat_vector_field(&reader->type, 1, sizeof(int32_t), &ids) ||
        !od_flat_vector_field(reader->field, OD_FIELD_CHILDREN, 4, &members))
        return fail_flat(reader);
    if (members.count > UNION_MEMBERS_MAX)
        return fail_parameter(reader, "a number of members", members.count);
    if (ids.present && ids.count != members.count)
        return fail_parameter(reader, "a number of type ids", ids.count);
    int used = snprintf(reader->format, OD_IPC_FORMAT_BYTES, "+u%c:", mode == 0 ? 's' : 'd');
    for (uint32_t i = 0; i < members.count; i++) {
        int32_t id = (int32_t)i;
        if (ids.present)
            memcpy(&id, od_flat_struct_at(&ids, i), sizeof id);
        if (id != (int32_t)i)
            return od_fail(reader->err, OD_UNSUPPORTED,
                           "Arrow schema: column %.200s: type ids of a union must be 0, 1, 2, ...", reader->name);
        used += snprintf(reader->format + used, OD_IPC_FORMAT_BYTES - (size_t)used, i ? ",%" PRIu32 : "%" PRIu32, i);
    }
    return OD_OK;
}

// Numbers of the union Type in Schema.fbs.
static const char *const type_names[] = {
    [1] = "null",
    [2] = "int",
    [3] = "floating point",
    [4] = "binary",
    [5] = "utf8",
    [6] = "bool",
    [7] = "decimal",
    [8] = "date",
    [9] = "time",
    [10] = "timestamp",
    [11] = "interval",
    [12] = "list",
    [13] = "struct",
    [14] = "union",
    [15] = "fixed-size binary",
    [16] = "fixed-size list",
    [17] = "map",
    [18] = "duration",
    [19] = "large binary",
    [20] = "large utf8",
    [21] = "large list",
    [22] = "run-end encoded",
    [23] = "binary view",
    [24] = "utf8 view",
    [25] = "list view",
    [26] = "large list view",
};

static od_code read_type(const struct reader *reader, uint8_t type)
{
    switch (type) {
    case 1:
        return put(reader, "n");
    case 2:
        return read_int(reader);
    case 3:
        return read_float(reader);
    case 4:
        return put(reader, "z");
    case 5:
        return put(reader, "u");
    case 6:
        return put(reader, "b");
    case 7:
        return read_decimal(reader);
    case 8:
        return read_date(reader);
    case 9:
        return read_time(reader);
    case 10:
        return read_timestamp(reader);
    case 11:
        return read_interval(reader);
    case 12:
        return put(reader, "+l");
    case 13:
        return put(reader, "+s");
    case 14:
        return read_union(reader);
    case 15:
        return read_fixed_size(reader, "w", 1);
    case 16:
        return read_fixed_size(reader, "+w", 0);
    case 17:
        return read_map(reader);
    case 18:
        return read_duration(reader);
    case 19:
        return put(reader, "Z");
    case 20:
        return put(reader, "U");
    case 21:
        return put(reader, "+L");
    default:
        return od_fail(reader->err, OD_UNSUPPORTED,
                       "Arrow schema: column %.200s has the type %s, which is not supported", reader->name,
                       reader->type_name);
    }
}

od_code od_ipc_type_format(const struct od_flat_table *field, const char *name, char format[OD_IPC_FORMAT_BYTES],
                           bool *keys_sorted, struct od_error *err)
{
    uint8_t type = 0;
    struct reader reader = {.field = field, .name = name, .format = format, .keys_sorted = keys_sorted, .err = err};
    *keys_sorted = false;
    if (!od_flat_scalar(field, OD_FIELD_TYPE_TYPE, &type, sizeof type) ||
        !od_flat_table_field(field, OD_FIELD_TYPE, &reader.type))
        return od_fail(err, OD_CORRUPT, "Arrow schema: column %.200s is not a valid flatbuffer", name);
    if (type >= sizeof type_names / sizeof *type_names || !type_names[type])
        return od_fail(err, OD_UNSUPPORTED, "Arrow schema: column %.200s has the unknown type %u", name, type);
    reader.type_name = type_names[type];
    if (!reader.type.present)
        return od_fail(err, OD_CORRUPT, "Arrow schema: column %.200s has a type number but no type", name);
    return read_type(&reader, type);
}
