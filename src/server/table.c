// table.c - chained buckets that double when there are more nodes than buckets; see table.h.
#include "server/table.h"

#include "base/alloc.h"
#include "base/assert.h"

#include <string.h>

#define BUCKETS_MIN 64u

static size_t bucket_of(const struct od_table *table, const struct od_key *key)
{
    uint64_t hash;
    memcpy(&hash, key->bytes, sizeof hash);
    return (size_t)hash & (table->bucket_count - 1);
}

void od_table_init(struct od_table *table)
{
    *table = (struct od_table){0};
}

void od_table_release(struct od_table *table)
{
    od_free(table->buckets);
    *table = (struct od_table){0};
}

// Without memory for more buckets the chains get longer, nothing else.
static void grow(struct od_table *table)
{
    size_t count = table->bucket_count ? table->bucket_count * 2 : BUCKETS_MIN;
    struct od_node **buckets = od_calloc(count, sizeof(struct od_node *));
    if (!buckets)
        return;
    struct od_table wider = {.buckets = buckets, .bucket_count = count, .count = table->count};
    for (size_t i = 0; i < table->bucket_count; i++) {
        for (struct od_node *node = table->buckets[i], *next; node; node = next) {
            next = node->next;
            struct od_node **bucket = &buckets[bucket_of(&wider, &node->key)];
            node->next = *bucket;
            *bucket = node;
        }
    }
    od_free(table->buckets);
    *table = wider;
}

od_code od_table_put(struct od_table *table, struct od_node *node, const struct od_key *key, struct od_error *err)
{
    od_assert(!node->inside);
    if (table->count >= table->bucket_count)
        grow(table);
    if (!table->bucket_count)
        return od_fail(err, OD_NO_MEMORY, "no memory for a table of the server");
    node->key = *key;
    node->inside = true;
    struct od_node **bucket = &table->buckets[bucket_of(table, key)];
    node->next = *bucket;
    *bucket = node;
    table->count++;
    return OD_OK;
}

struct od_node *od_table_find(const struct od_table *table, const struct od_key *key)
{
    if (!table->bucket_count)
        return NULL;
    struct od_node *node = table->buckets[bucket_of(table, key)];
    while (node && memcmp(&node->key, key, sizeof *key) != 0)
        node = node->next;
    return node;
}

void od_table_remove(struct od_table *table, struct od_node *node)
{
    if (!node->inside)
        return;
    struct od_node **at = &table->buckets[bucket_of(table, &node->key)];
    while (*at != node)
        at = &(*at)->next;
    *at = node->next;
    node->next = NULL;
    node->inside = false;
    table->count--;
}

struct od_node *od_table_next(const struct od_table *table, const struct od_node *node)
{
    if (node && node->next)
        return node->next;
    for (size_t i = node ? bucket_of(table, &node->key) + 1 : 0; i < table->bucket_count; i++)
        if (table->buckets[i])
            return table->buckets[i];
    return NULL;
}
