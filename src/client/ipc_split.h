// ipc_split.h - complete Arrow IPC streams (schema, batches, end marker) cut into their messages. Pure.
//
// First-generation servers send results as a sequence of such streams, each with the schema again. Only the outer
// framing is read here (continuation marker, length, body length): od_ipc_check judges each message afterwards.
#ifndef OD_CLIENT_IPC_SPLIT_H
#define OD_CLIENT_IPC_SPLIT_H

#include "base/error.h"

OD_BEGIN_C

struct od_ipc_split {
    const uint8_t *at, *end;
};

struct od_ipc_piece {
    const uint8_t *message; // encapsulated
    size_t bytes;
    size_t header_bytes; // where its body begins
    bool schema;         // else a record batch
};

void od_ipc_split_init(struct od_ipc_split *split, const uint8_t *data, size_t bytes);
// *more = false at the end of the bytes (end markers are passed over). OD_CORRUPT when the framing does not hold,
// OD_UNSUPPORTED for a dictionary or another kind of message.
OD_CHECKED od_code od_ipc_split_next(struct od_ipc_split *split, struct od_ipc_piece *piece, bool *more,
                                     struct od_error *err);

OD_END_C

#endif
