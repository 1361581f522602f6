// received.h - a message as it came: contiguous bytes in recycled memory, laid out for the Arrow body inside.
#ifndef OD_RPC_RECEIVED_H
#define OD_RPC_RECEIVED_H

#include "base/cdecl.h"
#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

// Looks at the first bytes of a message and says at which offset an Arrow body begins that should lie at a 64-byte
// boundary (0: anywhere). A wrong answer costs alignment, nothing else.
typedef size_t (*od_layout_fn)(const uint8_t *head, size_t head_bytes, size_t message_bytes);

// memory and capacity are those of od_recycle_get (arrow/batch.h), so that a batch can take them over.
struct od_received {
    uint8_t *data;
    size_t bytes;
    void *memory;
    size_t capacity;
};
void od_received_release(struct od_received *received); // harmless when empty or released

OD_END_C

#endif
