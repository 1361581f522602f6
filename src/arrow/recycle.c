// recycle.c - the process-wide cache behind od_recycle_get and od_recycle_put (batch.h).
//
// Sizes are powers of two from 4 KiB to 64 MiB, one list a size; larger blocks are never kept. At most
// CACHE_BYTES_MAX bytes lie in the lists together; what does not fit goes back to the system at once.
// The list link lives in the first bytes of a cached block; the rest is poisoned in sanitizer builds, so that a
// use after od_recycle_put is found. Threads: one lock, held for a few instructions.
#include "arrow/batch.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"

#include <pthread.h>

#ifdef OD_SANITIZED
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

#define ALIGNMENT 64u
#define SMALLEST_SHIFT 12u // 4 KiB
#define LARGEST_SHIFT 26u  // 64 MiB
#define CLASS_COUNT (LARGEST_SHIFT - SMALLEST_SHIFT + 1)
#define CACHE_BYTES_MAX ((size_t)(256 * OD_MIB))

struct block {
    struct block *next;
};

static pthread_mutex_t cache_lock = PTHREAD_MUTEX_INITIALIZER;
static struct block *cache_lists[CLASS_COUNT];
static size_t cache_bytes;

// The class whose blocks have room for `bytes`; CLASS_COUNT: too large to be kept.
static unsigned size_class(size_t bytes)
{
    unsigned slot = 0;
    while (slot < CLASS_COUNT && bytes > ((size_t)1 << (slot + SMALLEST_SHIFT)))
        slot++;
    return slot;
}

void *od_recycle_get(size_t bytes, size_t *capacity)
{
    unsigned slot = size_class(bytes);
    if (slot == CLASS_COUNT) {
        if (__builtin_add_overflow(bytes, ALIGNMENT - 1, capacity))
            return NULL;
        *capacity &= ~(size_t)(ALIGNMENT - 1);
        return od_aligned_alloc(ALIGNMENT, *capacity);
    }
    *capacity = (size_t)1 << (slot + SMALLEST_SHIFT);
    pthread_mutex_lock(&cache_lock);
    struct block *block = cache_lists[slot];
    if (block) {
        cache_lists[slot] = block->next;
        cache_bytes -= *capacity;
    }
    pthread_mutex_unlock(&cache_lock);
    if (!block)
        return od_aligned_alloc(ALIGNMENT, *capacity);
    ASAN_UNPOISON_MEMORY_REGION(block, *capacity);
    // A hit passes one fault point as an allocation does, so that fault loops do not depend on the cache's state.
    if (od_fault_point()) {
        od_recycle_put(block, *capacity);
        return NULL;
    }
    return block;
}

void od_recycle_put(void *memory, size_t capacity)
{
    if (!memory)
        return;
    unsigned slot = size_class(capacity);
    if (slot == CLASS_COUNT) {
        od_free(memory);
        return;
    }
    od_assert(capacity == (size_t)1 << (slot + SMALLEST_SHIFT));
    struct block *block = memory;
    pthread_mutex_lock(&cache_lock);
    bool kept = cache_bytes + capacity <= CACHE_BYTES_MAX;
    if (kept) {
        block->next = cache_lists[slot];
        ASAN_POISON_MEMORY_REGION((char *)memory + sizeof *block, capacity - sizeof *block);
        cache_lists[slot] = block;
        cache_bytes += capacity;
    }
    pthread_mutex_unlock(&cache_lock);
    if (!kept)
        od_free(memory);
}
