// ipc_split.c - see ipc_split.h.
//
// Of the flatbuffer only two fields of its root table (Message) are read: header_type (field 1) and bodyLength
// (field 3). Every access is checked against the metadata's end.
#include "client/ipc_split.h"

enum { MESSAGE_HEADER_TYPE = 1, MESSAGE_BODY_LENGTH = 3 };
enum { HEADER_SCHEMA = 1, HEADER_DICTIONARY = 2, HEADER_RECORD_BATCH = 3 };

void od_ipc_split_init(struct od_ipc_split *split, const uint8_t *data, size_t bytes)
{
    *split = (struct od_ipc_split){data, data + bytes};
}

static uint64_t little_endian(const uint8_t *at, size_t bytes)
{
    uint64_t value = 0;
    for (size_t i = bytes; i-- > 0;)
        value = value << 8 | at[i];
    return value;
}

// Reads a scalar of `width` bytes: field `index` of the table at `table`. Absent fields are 0. False: out of bounds.
static bool table_field(const uint8_t *metadata, size_t bytes, size_t table, unsigned index, size_t width,
                        uint64_t *value)
{
    *value = 0;
    int64_t vtable = (int64_t)table - (int32_t)(uint32_t)little_endian(metadata + table, 4);
    if (vtable < 0 || (uint64_t)vtable + 4 > bytes)
        return false;
    size_t vtable_bytes = (size_t)little_endian(metadata + vtable, 2);
    size_t slot = 4 + 2 * (size_t)index;
    if ((uint64_t)vtable + vtable_bytes > bytes)
        return false;
    if (slot + 2 > vtable_bytes)
        return true;
    size_t offset = (size_t)little_endian(metadata + vtable + slot, 2);
    if (!offset)
        return true;
    if (table + offset + width > bytes)
        return false;
    *value = little_endian(metadata + table + offset, width);
    return true;
}

static od_code corrupt(struct od_error *err, const char *what)
{
    return od_fail(err, OD_CORRUPT, "the server sent an Arrow stream that is not valid: %s", what);
}

od_code od_ipc_split_next(struct od_ipc_split *split, struct od_ipc_piece *piece, bool *more, struct od_error *err)
{
    for (;;) {
        size_t left = (size_t)(split->end - split->at);
        *more = left > 0;
        if (!left)
            return OD_OK;
        if (left < 8 || little_endian(split->at, 4) != 0xffffffffu)
            return corrupt(err, "a message does not begin with the continuation marker");
        size_t metadata_bytes = (size_t)little_endian(split->at + 4, 4);
        if (metadata_bytes == 0) { // the end marker of one stream; another may follow
            split->at += 8;
            continue;
        }
        if (metadata_bytes > left - 8 || metadata_bytes < 8)
            return corrupt(err, "a message header reaches beyond the data");
        const uint8_t *metadata = split->at + 8;
        size_t root = (size_t)little_endian(metadata, 4);
        uint64_t type, body_bytes;
        if (root + 4 > metadata_bytes ||
            !table_field(metadata, metadata_bytes, root, MESSAGE_HEADER_TYPE, 1, &type) ||
            !table_field(metadata, metadata_bytes, root, MESSAGE_BODY_LENGTH, 8, &body_bytes))
            return corrupt(err, "a message header is damaged");
        if (body_bytes > left - 8 - metadata_bytes)
            return corrupt(err, "a message body reaches beyond the data");
        if (type == HEADER_DICTIONARY)
            return od_fail(err, OD_UNSUPPORTED, "the server sent dictionary-encoded columns, which are not supported");
        if (type != HEADER_SCHEMA && type != HEADER_RECORD_BATCH)
            return od_fail(err, OD_UNSUPPORTED, "the server sent an Arrow message of kind %u, which is not supported",
                           (unsigned)type);
        *piece = (struct od_ipc_piece){.message = split->at,
                                       .bytes = 8 + metadata_bytes + (size_t)body_bytes,
                                       .header_bytes = 8 + metadata_bytes,
                                       .schema = type == HEADER_SCHEMA};
        split->at += piece->bytes;
        return OD_OK;
    }
}
