// cache.h - an object store in front of another one: blocks of its objects in a file on the local disk, so that what was
// read once is near. For objects that never change, which is what objstore.h promises (B1).
//
//   C1  The file never has more than `bytes`, whatever is read.
//   C2  A cached block is given out only after its hash was compared; one that is bad, cannot be read or was cut off is a
//       miss. So nothing in the file needs to be synced, and a crash costs misses only.
//   C3  A block is fetched once, however many ask for it at the same time; a read that fails fails nobody else.
//   C4  Missing neighbours are fetched in one request, also over a gap of up to 512 KiB. Where a reader goes through an
//       object in order, more and more of what follows is fetched ahead, in several requests at once when there are threads
//       for it; bytes are given out when they arrive, before they are kept.
//   C5  The blocks survive restarts. Those read once give way before those read again (a clock with a second chance), so
//       that a scan does not empty the cache.
//   C6  Everything else goes straight to the other store. The cache failing (disk full, unreadable) fails no read.
//
// Its reader must be the file's only one: whoever holds the data directory's lock.
#ifndef OD_OBJSTORE_CACHE_H
#define OD_OBJSTORE_CACHE_H

#include "objstore/objstore.h"

OD_BEGIN_C

struct od_cache_options {
    struct od_platform *platform; // borrowed
    struct od_objstore *inner;    // taken over when opening succeeds
    const char *path;             // of the file; made when missing, made anew when it is of another shape
    uint64_t bytes;               // at least 64 blocks
    uint32_t block_bytes;         // 0: 64 KiB. A power of two from 4 KiB to 1 MiB
    uint32_t request_bytes;       // 0: 16 MiB. The largest read of the other store; half of it is read ahead at once
    unsigned prefetch_threads;    // 0: what is read ahead is part of the read that needs it
};

struct od_cache_stats {
    uint64_t blocks, capacity_blocks;  // now, at most
    uint64_t hits, misses;             // blocks asked for
    uint64_t joined;                   // of the misses: somebody was fetching it already
    uint64_t requests, fetched_bytes;  // of the other store
    uint64_t asked_bytes;              // by readers
    uint64_t ahead_blocks;             // fetched before anybody asked
    uint64_t evicted, bad, not_stored; // not_stored: the file could not be written, or every block was in use
};

OD_CHECKED od_code od_objstore_cache_open(const struct od_cache_options *options, struct od_objstore **store,
                                          struct od_error *err);
// Of a store made by od_objstore_cache_open. Any thread.
void od_objstore_cache_stats(struct od_objstore *store, struct od_cache_stats *stats);

OD_END_C

#endif
