// flat.c - the few shapes of the flatbuffer format that Arrow's headers use: tables, vectors, strings, structs.
//
// Layout of a table: int32 distance back to its vtable, then the fields. Of a vtable: uint16 own size, uint16 size of
// the table, then one uint16 a field: its place in the table, 0 when absent. References are uint32 forward distances.
#include "arrow/flat.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "Arrow IPC is read and written in host order");

static bool inside(struct od_flat flat, size_t at, size_t bytes)
{
    return at <= flat.bytes && bytes <= flat.bytes - at;
}

static uint32_t read_u32(struct od_flat flat, size_t at)
{
    uint32_t value;
    memcpy(&value, flat.data + at, sizeof value);
    return value;
}

static uint16_t read_u16(struct od_flat flat, size_t at)
{
    uint16_t value;
    memcpy(&value, flat.data + at, sizeof value);
    return value;
}

// Follows the reference stored at `at`, which is inside.
static bool follow(struct od_flat flat, size_t at, size_t *target)
{
    *target = at + read_u32(flat, at); // no overflow: both are far below SIZE_MAX
    return *target > at && *target < flat.bytes;
}

static bool open_table(struct od_flat flat, size_t at, struct od_flat_table *out)
{
    if (!inside(flat, at, 4) || at % 4)
        return false;
    int64_t vtable_at = (int64_t)at - (int32_t)read_u32(flat, at);
    if (vtable_at < 0 || vtable_at % 2 || !inside(flat, (size_t)vtable_at, 4))
        return false;
    size_t vtable = (size_t)vtable_at;
    uint16_t vtable_bytes = read_u16(flat, vtable), table_bytes = read_u16(flat, vtable + 2);
    if (vtable_bytes < 4 || vtable_bytes % 2 || !inside(flat, vtable, vtable_bytes))
        return false;
    if (table_bytes < 4 || !inside(flat, at, table_bytes))
        return false;
    *out = (struct od_flat_table){.flat = flat,
                                  .at = at,
                                  .fields_at = vtable + 4,
                                  .field_count = (uint16_t)(vtable_bytes / 2 - 2),
                                  .table_bytes = table_bytes,
                                  .present = true};
    return true;
}

bool od_flat_root(struct od_flat flat, struct od_flat_table *root)
{
    size_t at;
    return inside(flat, 0, 4) && follow(flat, 0, &at) && open_table(flat, at, root);
}

// *at = 0: absent.
static bool find_field(const struct od_flat_table *table, unsigned field, size_t bytes, size_t *at)
{
    *at = 0;
    if (field >= table->field_count)
        return true;
    uint16_t place = read_u16(table->flat, table->fields_at + 2 * (size_t)field);
    if (place == 0)
        return true;
    *at = table->at + place;
    return place >= 4 && place + bytes <= table->table_bytes && *at % bytes == 0;
}

bool od_flat_scalar(const struct od_flat_table *table, unsigned field, void *out, size_t bytes)
{
    size_t at;
    if (!find_field(table, field, bytes, &at))
        return false;
    if (at)
        memcpy(out, table->flat.data + at, bytes);
    return true;
}

bool od_flat_table_field(const struct od_flat_table *table, unsigned field, struct od_flat_table *out)
{
    size_t at, target;
    *out = (struct od_flat_table){0};
    if (!find_field(table, field, 4, &at))
        return false;
    return !at || (follow(table->flat, at, &target) && open_table(table->flat, target, out));
}

bool od_flat_vector_field(const struct od_flat_table *table, unsigned field, uint32_t element_bytes,
                          struct od_flat_vector *out)
{
    size_t at, target;
    *out = (struct od_flat_vector){0};
    if (!find_field(table, field, 4, &at))
        return false;
    if (!at)
        return true;
    if (!follow(table->flat, at, &target) || !inside(table->flat, target, 4) || target % 4)
        return false;
    uint32_t count = read_u32(table->flat, target);
    *out = (struct od_flat_vector){
        .flat = table->flat, .at = target + 4, .count = count, .element_bytes = element_bytes, .present = true};
    return inside(table->flat, out->at, (size_t)count * element_bytes);
}

bool od_flat_string_field(const struct od_flat_table *table, unsigned field, struct od_flat_string *out)
{
    struct od_flat_vector vector;
    *out = (struct od_flat_string){0};
    if (!od_flat_vector_field(table, field, 1, &vector))
        return false;
    if (!vector.present)
        return true;
    *out = (struct od_flat_string){
        .text = (const char *)vector.flat.data + vector.at, .bytes = vector.count, .present = true};
    return inside(vector.flat, vector.at, (size_t)vector.count + 1) && out->text[vector.count] == '\0';
}

bool od_flat_table_at(const struct od_flat_vector *vector, uint32_t i, struct od_flat_table *out)
{
    size_t target;
    return follow(vector->flat, vector->at + 4 * (size_t)i, &target) && open_table(vector->flat, target, out);
}

const uint8_t *od_flat_struct_at(const struct od_flat_vector *vector, uint32_t i)
{
    return vector->flat.data + vector->at + (size_t)vector->element_bytes * i;
}
