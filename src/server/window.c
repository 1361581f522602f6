// window.c - see window.h.
#include "server/window.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <inttypes.h>
#include <string.h>

#define CAPACITY_MIN 8u

void od_window_init(struct od_window *window, uint64_t limit)
{
    *window = (struct od_window){.limit = limit};
}

static struct od_batch **place(const struct od_window *window, uint64_t number)
{
    return &window->ring[number & (window->capacity - 1)];
}

static void forget_below(struct od_window *window, uint64_t number)
{
    while (window->base < number) {
        struct od_batch *batch = *place(window, window->base);
        if (window->base < window->cursor) {
            window->in_flight -= batch->bytes;
        } else {
            window->unsent -= batch->bytes;
            window->cursor++;
        }
        window->held -= batch->held_bytes;
        window->base++;
        od_batch_unref(batch);
    }
    if (window->sent < window->base)
        window->sent = window->base;
}

void od_window_release(struct od_window *window)
{
    forget_below(window, window->next);
    od_free(window->ring);
    window->ring = NULL;
    window->capacity = 0;
}

static bool grow(struct od_window *window)
{
    size_t capacity = window->capacity ? window->capacity * 2 : CAPACITY_MIN;
    struct od_batch **ring = od_alloc(capacity * sizeof(struct od_batch *));
    if (!ring)
        return false;
    for (uint64_t n = window->base; n < window->next; n++)
        ring[n & (capacity - 1)] = *place(window, n);
    od_free(window->ring);
    window->ring = ring;
    window->capacity = capacity;
    return true;
}

od_code od_window_add(struct od_window *window, struct od_batch *batch, struct od_error *err)
{
    if (window->next - window->base == window->capacity && !grow(window)) {
        od_batch_unref(batch);
        return od_fail(err, OD_NO_MEMORY, "no memory to keep the batches of a result");
    }
    *place(window, window->next++) = batch;
    window->rows += batch->rows;
    window->bytes += batch->bytes;
    window->unsent += batch->bytes;
    window->held += batch->held_bytes;
    return OD_OK;
}

bool od_window_wants(const struct od_window *window)
{
    return window->cursor == window->next && (window->in_flight == 0 || window->in_flight < window->limit);
}

struct od_batch *od_window_send(struct od_window *window, uint64_t *number)
{
    if (window->cursor == window->next)
        return NULL;
    struct od_batch *batch = *place(window, window->cursor);
    if (window->in_flight > 0 && window->in_flight + batch->bytes > window->limit)
        return NULL;
    *number = window->cursor++;
    if (window->sent < window->cursor)
        window->sent = window->cursor;
    window->in_flight += batch->bytes;
    window->unsent -= batch->bytes;
    return batch;
}

od_code od_window_acknowledge(struct od_window *window, uint64_t next, struct od_error *err)
{
    if (next > window->sent)
        return od_fail(err, OD_INVALID, "batches below %" PRIu64 " are acknowledged, but only %" PRIu64 " were sent",
                       next, window->sent);
    forget_below(window, next);
    return OD_OK;
}

od_code od_window_open(struct od_window *window, uint64_t first, uint64_t limit, struct od_error *err)
{
    if (first < window->base)
        return od_fail(err, OD_BATCH_GONE,
                       "batch %" PRIu64 " is gone: batches below %" PRIu64 " were acknowledged before", first,
                       window->base);
    if (first > window->sent)
        return od_fail(err, OD_INVALID, "the stream was to begin at batch %" PRIu64 ", but only %" PRIu64 " were sent",
                       first, window->sent);
    forget_below(window, first);
    window->cursor = window->base;
    window->unsent += window->in_flight;
    window->in_flight = 0;
    window->limit = limit;
    return OD_OK;
}

void od_window_slide(struct od_window *window, uint64_t keep)
{
    while (window->base < window->cursor && window->in_flight > keep)
        forget_below(window, window->base + 1);
}

struct od_batch *od_window_peek(const struct od_window *window, uint64_t number)
{
    return number >= window->base && number < window->next ? *place(window, number) : NULL;
}
