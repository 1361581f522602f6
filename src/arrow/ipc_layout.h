// ipc_layout.h - private to src/arrow: how the fields of a schema lie in a batch, flattened in Arrow's pre-order.
#ifndef OD_ARROW_IPC_LAYOUT_H
#define OD_ARROW_IPC_LAYOUT_H

#include "arrow/ipc.h"

// What the buffers of a field are; all but SHAPE_NULL and the unions begin with the validity bitmap.
enum od_ipc_shape {
    OD_SHAPE_NULL,         // none
    OD_SHAPE_BITS,         // bits
    OD_SHAPE_FIXED,        // elements of element_bytes
    OD_SHAPE_BYTES32,      // int32 offsets, bytes
    OD_SHAPE_BYTES64,      // int64 offsets, bytes
    OD_SHAPE_LIST32,       // int32 offsets; one child (maps, too)
    OD_SHAPE_LIST64,       // int64 offsets; one child
    OD_SHAPE_FIXED_LIST,   // one child with `elements` a row
    OD_SHAPE_STRUCT,       // children of the same length
    OD_SHAPE_SPARSE_UNION, // int8 types; children of the same length
    OD_SHAPE_DENSE_UNION,  // int8 types, int32 offsets; children
};

#define OD_LAYOUT_NAME_BYTES 40u

struct od_ipc_field {
    enum od_ipc_shape shape;
    uint32_t element_bytes;
    uint32_t elements;
    uint32_t child_count;
    uint32_t buffer_count;
    char name[OD_LAYOUT_NAME_BYTES]; // for messages; cut
};

struct od_ipc_layout {
    struct od_ipc_field *fields; // pre-order, without the root
    size_t field_count;
    size_t buffer_count;
    size_t column_count; // top level
    bool has_union;
};

// Fails with OD_UNSUPPORTED (naming the column) for a type that does not travel, OD_INVALID for a broken schema. Copies
// what it needs of the schema.
od_code od_ipc_layout_init(const struct ArrowSchema *schema, struct od_ipc_layout *layout, struct od_error *err);
void od_ipc_layout_release(struct od_ipc_layout *layout);

#endif
