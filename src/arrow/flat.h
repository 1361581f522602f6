// flat.h - private to src/arrow: reading a flatbuffer of untrusted bytes, every step checked against the end.
//
// A reader that answers false has met bytes that are no flatbuffer; what it was asked to fill is then unspecified.
// An absent field is not an error: scalars keep the default that the caller put there, the rest says `present`.
// Offsets may share targets, so a small buffer can describe a huge tree: callers bound what they visit.
#ifndef OD_ARROW_FLAT_H
#define OD_ARROW_FLAT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct od_flat {
    const uint8_t *data;
    size_t bytes;
};

struct od_flat_table {
    struct od_flat flat;
    size_t at;
    size_t fields_at; // the vtable's list of field offsets
    uint16_t field_count;
    uint16_t table_bytes;
    bool present;
};

struct od_flat_vector {
    struct od_flat flat;
    size_t at; // of the first element
    uint32_t count;
    uint32_t element_bytes;
    bool present;
};

struct od_flat_string {
    const char *text; // NUL-terminated
    uint32_t bytes;
    bool present;
};

bool od_flat_root(struct od_flat flat, struct od_flat_table *root);
// bytes: 1, 2, 4 or 8; little-endian hosts only, as the rest of the project.
bool od_flat_scalar(const struct od_flat_table *table, unsigned field, void *out, size_t bytes);
bool od_flat_table_field(const struct od_flat_table *table, unsigned field, struct od_flat_table *out);
bool od_flat_vector_field(const struct od_flat_table *table, unsigned field, uint32_t element_bytes,
                          struct od_flat_vector *out);
bool od_flat_string_field(const struct od_flat_table *table, unsigned field, struct od_flat_string *out);
// Element i < count of a vector of tables (element_bytes = 4).
bool od_flat_table_at(const struct od_flat_vector *vector, uint32_t i, struct od_flat_table *out);
// Element i < count of a vector of structs.
const uint8_t *od_flat_struct_at(const struct od_flat_vector *vector, uint32_t i);

#endif
