// buf.c - growable byte buffer; growth doubles, and never passes the limit.
#include "base/buf.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <stdio.h>
#include <string.h>

void od_buf_init(struct od_buf *buf, size_t limit)
{
    *buf = (struct od_buf){.limit = limit};
}

void od_buf_release(struct od_buf *buf)
{
    od_free(buf->data);
    *buf = (struct od_buf){.limit = buf->limit};
}

void od_buf_clear(struct od_buf *buf)
{
    buf->bytes = 0;
}

od_code od_buf_reserve(struct od_buf *buf, size_t extra, struct od_error *err)
{
    size_t wanted;
    if (__builtin_add_overflow(buf->bytes, extra, &wanted) || wanted > buf->limit)
        return od_fail(err, OD_LIMIT, "buffer of %zu bytes is full", buf->limit);
    if (wanted <= buf->capacity)
        return OD_OK;
    size_t capacity = buf->capacity ? buf->capacity : 256;
    if (capacity > buf->limit)
        capacity = buf->limit;
    while (capacity < wanted)
        capacity = capacity > buf->limit / 2 ? buf->limit : capacity * 2;
    uint8_t *data = od_realloc(buf->data, capacity);
    if (!data)
        return od_fail(err, OD_NO_MEMORY, "out of memory for a buffer of %zu bytes", capacity);
    buf->data = data;
    buf->capacity = capacity;
    od_assert(buf->bytes <= buf->capacity && buf->capacity <= buf->limit);
    return OD_OK;
}

od_code od_buf_append(struct od_buf *buf, const void *data, size_t bytes, struct od_error *err)
{
    od_code rc = od_buf_reserve(buf, bytes, err);
    if (rc == OD_OK && bytes) {
        memcpy(buf->data + buf->bytes, data, bytes);
        buf->bytes += bytes;
    }
    return rc;
}

od_code od_buf_append_text(struct od_buf *buf, const char *text, struct od_error *err)
{
    return od_buf_append(buf, text, strlen(text), err);
}

od_code od_buf_printf(struct od_buf *buf, struct od_error *err, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    va_list again;
    va_copy(again, arguments);
    int wanted = vsnprintf(NULL, 0, format, arguments);
    va_end(arguments);
    od_code rc = OD_OK;
    if (wanted < 0)
        rc = od_fail(err, OD_INTERNAL, "bad format");
    else
        rc = od_buf_reserve(buf, (size_t)wanted + 1, err);
    if (rc == OD_OK) {
        vsnprintf((char *)buf->data + buf->bytes, (size_t)wanted + 1, format, again);
        buf->bytes += (size_t)wanted;
    }
    va_end(again);
    return rc;
}

const char *od_buf_text(struct od_buf *buf)
{
    if (od_buf_reserve(buf, 1, NULL) != OD_OK)
        return NULL;
    buf->data[buf->bytes] = '\0';
    return (const char *)buf->data;
}

char *od_buf_take_text(struct od_buf *buf)
{
    if (!od_buf_text(buf))
        return NULL;
    char *text = (char *)buf->data;
    *buf = (struct od_buf){.limit = buf->limit};
    return text;
}
