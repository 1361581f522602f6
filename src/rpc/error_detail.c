// error_detail.c - od_error <-> the ErrorDetail message that travels in trailing metadata.
//
// Trailing metadata of one call must stay below what peers accept (8 KiB by default, and "-bin" values may travel in
// base64): a detail never exceeds OD_ERROR_DETAIL_BYTES. The message is cut to what the class and the extra
// information leave. Text is made valid UTF-8 on the way out, because protobuf strings of other languages insist.
#include "rpc/message.h"

#include "rpc/error_detail.h"
#include "rpc/wire.h"

#include <stdio.h>
#include <string.h>

enum { DETAIL_CODE = 1, DETAIL_CLASS = 2, DETAIL_MESSAGE = 3, DETAIL_RETRYABLE = 4, DETAIL_EXTRA = 5 };
enum { SETTING_NAME = 1, SETTING_VALUE = 2 };

// Length of the UTF-8 sequence at `text`, 0 when it is not one. Rejects overlong forms and surrogates.
static size_t utf8_sequence(const char *text, size_t bytes)
{
    const uint8_t *at = (const uint8_t *)text;
    if (at[0] < 0x80)
        return 1;
    size_t length = at[0] >= 0xf0 ? 4 : at[0] >= 0xe0 ? 3 : 2;
    if (at[0] < 0xc2 || at[0] > 0xf4 || length > bytes)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((at[i] & 0xc0) != 0x80)
            return 0;
    if ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f) || (at[0] == 0xf0 && at[1] < 0x90) ||
        (at[0] == 0xf4 && at[1] > 0x8f))
        return 0;
    return length;
}

size_t od_text_clean(char *out, size_t out_bytes, const char *text, size_t text_bytes, size_t escaped_max)
{
    size_t used = 0, escaped = 0, at = 0;
    size_t mark = 0; // the last place where "..." still fits
    while (at < text_bytes) {
        size_t length = utf8_sequence(text + at, text_bytes - at);
        size_t step = length ? length : 1;
        size_t put = length ? length : 1;
        // gRPC percent-encodes all but printable ASCII and '%': three bytes for one.
        uint8_t first = (uint8_t)text[at];
        size_t cost = !length || (first >= 0x20 && first < 0x7f && first != '%') ? put : 3 * put;
        if (used + put + 1 > out_bytes || escaped + cost > escaped_max) {
            memcpy(out + mark, "...", 3);
            used = mark + 3;
            break;
        }
        if (length)
            memcpy(out + used, text + at, length);
        else
            out[used] = '?';
        used += put;
        escaped += cost;
        at += step;
        if (used + 4 <= out_bytes && escaped + 3 <= escaped_max)
            mark = used;
    }
    out[used] = '\0';
    return used;
}

static od_code put_text(struct od_buf *out, uint32_t field, const char *text, size_t bytes, struct od_error *err)
{
    if (!bytes)
        return OD_OK;
    uint8_t head[2 * OD_VARINT_BYTES_MAX];
    uint8_t *at = od_varint_put(head, od_wire_tag(field, OD_WIRE_BYTES));
    at = od_varint_put(at, bytes);
    od_code rc = od_buf_append(out, head, (size_t)(at - head), err);
    return rc == OD_OK ? od_buf_append(out, text, bytes, err) : rc;
}

static od_code put_clean(struct od_buf *out, uint32_t field, const char *text, size_t max, struct od_error *err)
{
    char clean[OD_ERROR_MESSAGE_BYTES];
    size_t room = max + 1 < sizeof clean ? max + 1 : sizeof clean;
    size_t bytes = od_text_clean(clean, room, text, strlen(text), SIZE_MAX);
    return put_text(out, field, clean, bytes, err);
}

static od_code put_extra(struct od_buf *out, const char *name, const char *value, struct od_error *err)
{
    char clean_name[OD_ERROR_EXTRA_BYTES + 4], clean_value[OD_ERROR_EXTRA_BYTES + 4];
    uint8_t head[4 * OD_VARINT_BYTES_MAX];
    size_t name_bytes = od_text_clean(clean_name, sizeof clean_name, name, strlen(name), SIZE_MAX);
    size_t value_bytes = od_text_clean(clean_value, sizeof clean_value, value, strlen(value), SIZE_MAX);
    size_t inner = (name_bytes ? 1 + od_varint_size(name_bytes) + name_bytes : 0) +
                   (value_bytes ? 1 + od_varint_size(value_bytes) + value_bytes : 0);
    uint8_t *at = od_varint_put(head, od_wire_tag(DETAIL_EXTRA, OD_WIRE_BYTES));
    at = od_varint_put(at, inner);
    od_code rc;
    OD_TRY(od_buf_append(out, head, (size_t)(at - head), err));
    OD_TRY(put_text(out, SETTING_NAME, clean_name, name_bytes, err));
    OD_TRY(put_text(out, SETTING_VALUE, clean_value, value_bytes, err));
out:
    return rc;
}

od_code od_error_pack(const struct od_error *error, struct od_buf *out, struct od_error *err)
{
    od_code rc;
    size_t before = out->bytes;
    OD_TRY(put_clean(out, DETAIL_CODE, od_code_name(error->code), 64, err));
    OD_TRY(put_clean(out, DETAIL_CLASS, error->error_class, sizeof error->error_class, err));
    if (error->retryable) {
        const uint8_t yes[2] = {(uint8_t)od_wire_tag(DETAIL_RETRYABLE, OD_WIRE_VARINT), 1};
        OD_TRY(od_buf_append(out, yes, sizeof yes, err));
    }
    size_t extra_bytes = error->extra_bytes <= sizeof error->extra ? error->extra_bytes : 0;
    for (size_t at = 0; at < extra_bytes;) {
        const char *name = error->extra + at;
        const char *name_end = memchr(name, '\0', extra_bytes - at);
        const char *value_end =
            name_end ? memchr(name_end + 1, '\0', (size_t)(error->extra + extra_bytes - name_end - 1)) : NULL;
        if (!value_end)
            break;
        OD_TRY(put_extra(out, name, name_end + 1, err));
        at = (size_t)(value_end + 1 - error->extra);
    }
    // Many tiny pairs can outgrow the budget; then they go before the message does.
    if (out->bytes - before > OD_ERROR_DETAIL_BYTES / 2) {
        out->bytes = before;
        OD_TRY(put_clean(out, DETAIL_CODE, od_code_name(error->code), 64, err));
        OD_TRY(put_clean(out, DETAIL_CLASS, error->error_class, sizeof error->error_class, err));
    }
    OD_TRY(put_clean(out, DETAIL_MESSAGE, error->message, OD_ERROR_DETAIL_BYTES - (out->bytes - before) - 8, err));
out:
    if (rc != OD_OK)
        out->bytes = before;
    return rc;
}

static void get_text(char *out, size_t out_bytes, const struct od_wire_field *field)
{
    od_text_clean(out, out_bytes, (const char *)field->data, field->bytes, SIZE_MAX);
}

static void get_extra(const struct od_wire_field *outer, struct od_error *out)
{
    struct od_wire_reader reader;
    struct od_wire_field field, name = {0}, value = {0};
    od_wire_reader_init(&reader, outer->data, outer->bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.type != OD_WIRE_BYTES)
            continue;
        if (field.number == SETTING_NAME)
            name = field;
        else if (field.number == SETTING_VALUE)
            value = field;
    }
    size_t room = sizeof out->extra - out->extra_bytes;
    if (reader.broken || name.bytes + 2 > room || value.bytes > room - name.bytes - 2)
        return;
    if ((name.bytes && memchr(name.data, '\0', name.bytes)) || (value.bytes && memchr(value.data, '\0', value.bytes)))
        return;
    char *at = out->extra + out->extra_bytes;
    at += od_text_clean(at, name.bytes + 1, (const char *)name.data, name.bytes, SIZE_MAX) + 1;
    at += od_text_clean(at, value.bytes + 1, (const char *)value.data, value.bytes, SIZE_MAX) + 1;
    out->extra_bytes = (uint32_t)(at - out->extra);
}

void od_error_unpack(const uint8_t *data, size_t bytes, int grpc_status, const char *status_message,
                     struct od_error *out)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    char code_name[64] = "";
    *out = (struct od_error){0};
    od_wire_reader_init(&reader, data, bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.number == DETAIL_CODE && field.type == OD_WIRE_BYTES)
            get_text(code_name, sizeof code_name, &field);
        else if (field.number == DETAIL_CLASS && field.type == OD_WIRE_BYTES)
            get_text(out->error_class, sizeof out->error_class, &field);
        else if (field.number == DETAIL_MESSAGE && field.type == OD_WIRE_BYTES)
            get_text(out->message, sizeof out->message, &field);
        else if (field.number == DETAIL_RETRYABLE && field.type == OD_WIRE_VARINT)
            out->retryable = field.value != 0;
        else if (field.number == DETAIL_EXTRA && field.type == OD_WIRE_BYTES)
            get_extra(&field, out);
    }
    // A code this version does not know is read by its gRPC status; an error is never OK.
    out->code = od_code_from_name(code_name);
    if (strcmp(od_code_name(out->code), code_name) != 0)
        out->code = od_code_from_grpc(grpc_status);
    if (out->code == OD_OK)
        out->code = OD_INTERNAL;
    if (!out->message[0]) {
        const char *text = status_message && status_message[0] ? status_message : od_code_name(out->code);
        od_text_clean(out->message, sizeof out->message, text, strlen(text), SIZE_MAX);
    }
}
