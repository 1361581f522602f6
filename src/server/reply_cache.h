// reply_cache.h - answers of statements that may have written, kept for requests that come again. Pure: guarded by the
// server's lock.
//
//   K1  An answer is remembered for keep_ms. Within bytes_max it is kept whole; beyond, the oldest answers shrink to the
//       fact that there was one, which is enough to never run the statement twice.
//   K2  Beyond entries_max the oldest facts go.
#ifndef OD_SERVER_REPLY_CACHE_H
#define OD_SERVER_REPLY_CACHE_H

#include "server/reply.h"
#include "server/table.h"

OD_BEGIN_C

struct od_reply_entry;

struct od_reply_cache {
    struct od_table table;
    struct od_reply_entry *oldest, *newest; // in order of arrival
    struct od_reply_entry *oldest_whole;    // the first that still has its answer
    uint64_t keep_ms, bytes_max, bytes;
    size_t entries_max;
};

void od_reply_cache_init(struct od_reply_cache *cache, uint64_t keep_ms, uint64_t bytes_max, size_t entries_max);
void od_reply_cache_release(struct od_reply_cache *cache);
// Remembers the answer (a reference is taken; NULL: only that there was one). Without memory it is not remembered:
// false.
bool od_reply_cache_put(struct od_reply_cache *cache, const struct od_key *request, struct od_reply *reply,
                        uint64_t now_ms);
// False: unknown. True: *reply is a reference to the answer, or NULL when only the fact is left.
bool od_reply_cache_find(struct od_reply_cache *cache, const struct od_key *request, uint64_t now_ms,
                         struct od_reply **reply);

OD_END_C

#endif
