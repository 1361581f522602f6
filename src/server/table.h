// table.h - a map from 16-byte keys to structs that embed their node. Keys are digests or random ids, so their first
// bytes are the hash. Not thread-safe: the owner's lock guards it.
#ifndef OD_SERVER_TABLE_H
#define OD_SERVER_TABLE_H

#include "base/error.h"

OD_BEGIN_C

#define OD_KEY_BYTES 16u

struct od_key {
    uint8_t bytes[OD_KEY_BYTES];
};

struct od_node {
    struct od_node *next;
    struct od_key key;
    bool inside;
};

struct od_table {
    struct od_node **buckets;
    size_t bucket_count; // a power of two; 0: nothing was ever put
    size_t count;
};

void od_table_init(struct od_table *table);
void od_table_release(struct od_table *table); // the nodes are their owners'
// The key must not be inside yet. OD_NO_MEMORY only while the table has no bucket at all.
OD_CHECKED od_code od_table_put(struct od_table *table, struct od_node *node, const struct od_key *key,
                                struct od_error *err);
struct od_node *od_table_find(const struct od_table *table, const struct od_key *key); // NULL: not there
void od_table_remove(struct od_table *table, struct od_node *node);                    // harmless when not inside
// Walks all nodes: start with NULL, ends with NULL. Removing the node just returned is allowed only after asking for
// the next one.
struct od_node *od_table_next(const struct od_table *table, const struct od_node *node);

#define od_container(pointer, type, member) ((type *)(void *)((char *)(pointer) - offsetof(type, member)))

OD_END_C

#endif
