// buf.h - a growable byte buffer with a ceiling.
//
// Invariant: bytes <= capacity <= limit; data is NULL exactly when capacity is 0. Errors leave the buffer as it was.
#ifndef OD_BASE_BUF_H
#define OD_BASE_BUF_H

#include "base/cdecl.h"
#include "base/error.h"

OD_BEGIN_C

struct od_buf {
    uint8_t *data;
    size_t bytes;
    size_t capacity;
    size_t limit; // OD_LIMIT when an append would exceed it
};

void od_buf_init(struct od_buf *buf, size_t limit);
void od_buf_release(struct od_buf *buf);
void od_buf_clear(struct od_buf *buf); // keeps the memory
OD_CHECKED od_code od_buf_reserve(struct od_buf *buf, size_t extra, struct od_error *err);
OD_CHECKED od_code od_buf_append(struct od_buf *buf, const void *data, size_t bytes, struct od_error *err);
OD_CHECKED od_code od_buf_append_text(struct od_buf *buf, const char *text, struct od_error *err);
OD_CHECKED od_code od_buf_printf(struct od_buf *buf, struct od_error *err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
// Appends a NUL beyond `bytes` (not counted) and returns the text; NULL when out of memory.
const char *od_buf_text(struct od_buf *buf);
// Gives the memory to the caller (od_free) as NUL-terminated text; the buffer is empty afterwards. NULL: no memory.
char *od_buf_take_text(struct od_buf *buf);

OD_END_C

#endif
