// wire.h (internal) - the few protobuf primitives that hand-written messages need: a bounded reader and a head writer.
#ifndef OD_RPC_WIRE_H
#define OD_RPC_WIRE_H

#include "base/cdecl.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

OD_BEGIN_C

enum od_wire_type { OD_WIRE_VARINT = 0, OD_WIRE_FIXED64 = 1, OD_WIRE_BYTES = 2, OD_WIRE_FIXED32 = 5 };

// Untrusted bytes, read front to back. `broken` is sticky: set once bytes do not parse.
struct od_wire_reader {
    const uint8_t *at;
    const uint8_t *end;
    bool broken;
};

struct od_wire_field {
    uint32_t number;
    enum od_wire_type type;
    uint64_t value;      // VARINT, FIXED32, FIXED64
    const uint8_t *data; // BYTES: inside the reader's bytes
    size_t bytes;
};

void od_wire_reader_init(struct od_wire_reader *reader, const uint8_t *data, size_t bytes);
// Next field; false at the end and when the bytes are broken. Groups (long deprecated) count as broken.
bool od_wire_next(struct od_wire_reader *reader, struct od_wire_field *field);
// The same up to the payload of a BYTES field, which may reach beyond the reader's bytes (a message head): fills
// `bytes` with the announced length, leaves the reader at the payload's first byte.
bool od_wire_next_open(struct od_wire_reader *reader, struct od_wire_field *field);

#define OD_VARINT_BYTES_MAX 10u
size_t od_varint_size(uint64_t value);
uint8_t *od_varint_put(uint8_t *at, uint64_t value);
static inline uint64_t od_wire_tag(uint32_t number, enum od_wire_type type)
{
    return ((uint64_t)number << 3) | (uint64_t)type;
}

OD_END_C

#endif
