// wire.c - protobuf primitives; see wire.h. Every length is checked against what is left before it is used.
#include "rpc/wire.h"

void od_wire_reader_init(struct od_wire_reader *reader, const uint8_t *data, size_t bytes)
{
    static const uint8_t nothing[1];
    reader->at = data ? data : nothing;
    reader->end = reader->at + (data ? bytes : 0);
    reader->broken = false;
}

static bool varint_get(struct od_wire_reader *reader, uint64_t *value)
{
    uint64_t result = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        if (reader->at == reader->end)
            break;
        uint8_t byte = *reader->at++;
        if (shift == 63 && byte > 1)
            break;
        result |= (uint64_t)(byte & 0x7f) << shift;
        if (!(byte & 0x80)) {
            *value = result;
            return true;
        }
    }
    reader->broken = true;
    return false;
}

static bool fixed_get(struct od_wire_reader *reader, size_t bytes, uint64_t *value)
{
    if ((size_t)(reader->end - reader->at) < bytes) {
        reader->broken = true;
        return false;
    }
    uint64_t result = 0;
    for (size_t i = 0; i < bytes; i++)
        result |= (uint64_t)reader->at[i] << (8 * i);
    reader->at += bytes;
    *value = result;
    return true;
}

bool od_wire_next_open(struct od_wire_reader *reader, struct od_wire_field *field)
{
    uint64_t tag;
    if (reader->broken || reader->at == reader->end || !varint_get(reader, &tag))
        return false;
    *field = (struct od_wire_field){.number = (uint32_t)(tag >> 3), .type = (enum od_wire_type)(tag & 7)};
    if (tag >> 32 || field->number == 0) {
        reader->broken = true;
        return false;
    }
    switch (field->type) {
    case OD_WIRE_VARINT:
        return varint_get(reader, &field->value);
    case OD_WIRE_FIXED64:
        return fixed_get(reader, 8, &field->value);
    case OD_WIRE_FIXED32:
        return fixed_get(reader, 4, &field->value);
    case OD_WIRE_BYTES: {
        uint64_t length;
        if (!varint_get(reader, &length))
            return false;
        if (length > SIZE_MAX / 2) {
            reader->broken = true;
            return false;
        }
        field->data = reader->at;
        field->bytes = (size_t)length;
        return true;
    }
    }
    reader->broken = true;
    return false;
}

bool od_wire_next(struct od_wire_reader *reader, struct od_wire_field *field)
{
    if (!od_wire_next_open(reader, field))
        return false;
    if (field->type == OD_WIRE_BYTES) {
        if (field->bytes > (size_t)(reader->end - reader->at)) {
            reader->broken = true;
            return false;
        }
        reader->at += field->bytes;
    }
    return true;
}

size_t od_varint_size(uint64_t value)
{
    size_t bytes = 1;
    for (; value >= 0x80; value >>= 7)
        bytes++;
    return bytes;
}

uint8_t *od_varint_put(uint8_t *at, uint64_t value)
{
    for (; value >= 0x80; value >>= 7)
        *at++ = (uint8_t)(value | 0x80);
    *at++ = (uint8_t)value;
    return at;
}
