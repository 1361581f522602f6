// reply_cache.c - see reply_cache.h. All entries live equally long, so the list in order of arrival is also the order in
// which they expire.
#include "server/reply_cache.h"

#include "base/alloc.h"

struct od_reply_entry {
    struct od_node node;
    struct od_reply_entry *newer;
    struct od_reply *reply; // NULL: only the fact
    uint64_t until_ms;
};

void od_reply_cache_init(struct od_reply_cache *cache, uint64_t keep_ms, uint64_t bytes_max, size_t entries_max)
{
    *cache = (struct od_reply_cache){.keep_ms = keep_ms, .bytes_max = bytes_max, .entries_max = entries_max};
    od_table_init(&cache->table);
}

static void shrink(struct od_reply_cache *cache, struct od_reply_entry *entry)
{
    if (!entry->reply)
        return;
    cache->bytes -= od_reply_bytes(entry->reply);
    od_reply_unref(entry->reply);
    entry->reply = NULL;
}

static void drop_oldest(struct od_reply_cache *cache)
{
    struct od_reply_entry *entry = cache->oldest;
    if (cache->oldest_whole == entry)
        cache->oldest_whole = entry->newer;
    cache->oldest = entry->newer;
    if (!cache->oldest)
        cache->newest = NULL;
    shrink(cache, entry);
    od_table_remove(&cache->table, &entry->node);
    od_free(entry);
}

static void expire(struct od_reply_cache *cache, uint64_t now_ms)
{
    while (cache->oldest && cache->oldest->until_ms <= now_ms)
        drop_oldest(cache);
}

void od_reply_cache_release(struct od_reply_cache *cache)
{
    while (cache->oldest)
        drop_oldest(cache);
    od_table_release(&cache->table);
}

bool od_reply_cache_put(struct od_reply_cache *cache, const struct od_key *request, struct od_reply *reply,
                        uint64_t now_ms)
{
    expire(cache, now_ms);
    if (od_table_find(&cache->table, request))
        return true; // the first answer is the answer
    while (cache->oldest && cache->table.count >= cache->entries_max)
        drop_oldest(cache);
    struct od_reply_entry *entry = od_calloc(1, sizeof *entry);
    if (!entry || od_table_put(&cache->table, &entry->node, request, NULL) != OD_OK) {
        od_free(entry);
        return false;
    }
    entry->until_ms = now_ms + cache->keep_ms;
    if (reply) {
        entry->reply = od_reply_ref(reply);
        cache->bytes += od_reply_bytes(reply);
    }
    if (cache->newest)
        cache->newest->newer = entry;
    else
        cache->oldest = entry;
    cache->newest = entry;
    if (!cache->oldest_whole)
        cache->oldest_whole = entry;
    while (cache->bytes > cache->bytes_max && cache->oldest_whole) {
        shrink(cache, cache->oldest_whole);
        cache->oldest_whole = cache->oldest_whole->newer;
    }
    return true;
}

bool od_reply_cache_find(struct od_reply_cache *cache, const struct od_key *request, uint64_t now_ms,
                         struct od_reply **reply)
{
    expire(cache, now_ms);
    struct od_node *node = od_table_find(&cache->table, request);
    if (!node)
        return false;
    struct od_reply_entry *entry = od_container(node, struct od_reply_entry, node);
    *reply = entry->reply ? od_reply_ref(entry->reply) : NULL;
    return true;
}
