// window.h - the numbered batches of one result between the statement and its reader: kept until acknowledged, sent
// within a window, sent again from where a new stream begins. Pure, apart from batch references.
//
//        acknowledged | base ... sent ............ cursor ... next | not produced yet
//        (forgotten)    kept, in flight            kept, to be sent
//
//   W1  base <= cursor <= next, cursor <= sent <= next: batch numbers from base up to next are kept, none else.
//   W2  Bytes in flight stay within the limit, except that one batch may always be in flight.
//   W3  Numbers count from 0 in the order of od_window_add and never change.
#ifndef OD_SERVER_WINDOW_H
#define OD_SERVER_WINDOW_H

#include "arrow/batch.h"

OD_BEGIN_C

struct od_window {
    struct od_batch **ring; // batch n is at n % capacity
    size_t capacity;        // a power of two, or 0
    uint64_t base, cursor, sent, next;
    uint64_t rows;             // of all batches added
    uint64_t bytes;            // message bytes of all batches added
    uint64_t in_flight;        // message bytes of base .. cursor
    uint64_t unsent;           // message bytes of cursor .. next
    uint64_t held;             // memory behind what is kept
    uint64_t limit;            // of bytes in flight
};

void od_window_init(struct od_window *window, uint64_t limit);
void od_window_release(struct od_window *window); // forgets everything
OD_CHECKED od_code od_window_add(struct od_window *window, struct od_batch *batch, struct od_error *err); // takes it
// Should another batch be produced now?
bool od_window_wants(const struct od_window *window);
// The batch to send now (borrowed) and its number, marked as sent; NULL: none, or no room.
struct od_batch *od_window_send(struct od_window *window, uint64_t *number);
// All batches below `next` have arrived. Old news is ignored; OD_INVALID for what was never sent.
OD_CHECKED od_code od_window_acknowledge(struct od_window *window, uint64_t next, struct od_error *err);
// A stream begins at `first`: OD_BATCH_GONE below base, OD_INVALID above what was sent. limit: as above.
OD_CHECKED od_code od_window_open(struct od_window *window, uint64_t first, uint64_t limit, struct od_error *err);
// A reader that does not acknowledge: forgets what was sent, oldest first, until at most `keep` bytes are in flight.
void od_window_slide(struct od_window *window, uint64_t keep);
struct od_batch *od_window_peek(const struct od_window *window, uint64_t number); // borrowed; NULL: not kept

OD_END_C

#endif
