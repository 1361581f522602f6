// cache_file.c - slots, their index, the clock; see cache_file.h.
//
// A slot's bytes are written before what is said about it, both without a sync: whatever a crash leaves of that, the hash
// of the bytes fits or does not. While a slot is read or written it is pinned, and does not give way.
#include "objstore/cache_file.h"

#include "base/alloc.h"

#include <string.h>
#include <xxhash.h>

#define HEAD_BYTES 4096u
#define ABOUT_BYTES 64u
#define SLOTS_MIN 64u
#define ABOUT_CHUNK 4096u // slots of which the index is read at once

static const char FILE_MAGIC[8] = {'O', 'D', 'C', 'A', 'C', 'H', 'E', '1'};

struct od_cache_slot {
    struct od_cache_id id;
    uint64_t hash;
    uint32_t bytes; // 0: the slot is free
    uint32_t next;  // of the bucket; slot + 1
    uint16_t pins;
    bool ahead; // nobody asked for it yet
    bool again; // it was asked for again since the hand passed
    bool gone;  // forgotten while it was pinned: free when the last pin goes
};

struct head {
    char magic[8];
    uint64_t slots, block_bytes, hash;
};

struct about {
    struct od_cache_id id;
    uint64_t data_hash, bytes;
    uint64_t unused[2];
    uint64_t hash;
};

_Static_assert(sizeof(struct about) == ABOUT_BYTES, "64 bytes about each slot");

struct od_cache_id od_cache_id_of(const char *key)
{
    XXH128_hash_t hash = XXH3_128bits(key, strlen(key));
    return (struct od_cache_id){.key = {hash.low64, hash.high64}};
}

static bool same(const struct od_cache_id *a, const struct od_cache_id *b)
{
    return a->key[0] == b->key[0] && a->key[1] == b->key[1] && a->block == b->block;
}

static uint32_t *bucket_of(struct od_cache_file *cache, const struct od_cache_id *id)
{
    return &cache->buckets[(id->key[0] + id->block * UINT64_C(0x9E3779B97F4A7C15)) >> 20 & cache->bucket_mask];
}

static struct od_cache_slot *find(struct od_cache_file *cache, const struct od_cache_id *id)
{
    for (uint32_t at = *bucket_of(cache, id); at; at = cache->slots[at - 1].next)
        if (same(&cache->slots[at - 1].id, id))
            return &cache->slots[at - 1];
    return NULL;
}

static void chain_in(struct od_cache_file *cache, struct od_cache_slot *slot)
{
    uint32_t *bucket = bucket_of(cache, &slot->id);
    slot->next = *bucket;
    *bucket = (uint32_t)(slot - cache->slots) + 1;
}

static void chain_out(struct od_cache_file *cache, struct od_cache_slot *slot)
{
    uint32_t *link = bucket_of(cache, &slot->id), self = (uint32_t)(slot - cache->slots) + 1;
    while (*link && *link != self)
        link = &cache->slots[*link - 1].next;
    if (*link)
        *link = slot->next;
}

// Nobody finds it any more; its place is free when nobody holds it.
static void drop(struct od_cache_file *cache, struct od_cache_slot *slot)
{
    chain_out(cache, slot);
    if (slot->pins) {
        slot->gone = true;
        return;
    }
    cache->used--;
    *slot = (struct od_cache_slot){0};
}

static void unpin(struct od_cache_file *cache, struct od_cache_slot *slot)
{
    if (--slot->pins == 0 && slot->gone) {
        cache->used--;
        *slot = (struct od_cache_slot){0};
    }
}

// A slot for a new block: pinned, found by nobody yet. NULL: all are in use.
static struct od_cache_slot *take(struct od_cache_file *cache)
{
    for (uint64_t step = 0; step < 2 * (uint64_t)cache->count; step++) {
        struct od_cache_slot *slot = &cache->slots[cache->hand];
        cache->hand = (cache->hand + 1) % cache->count;
        if (slot->pins)
            continue;
        if (slot->bytes && slot->again) {
            slot->again = false;
            continue;
        }
        if (slot->bytes) {
            cache->evicted++;
            drop(cache, slot);
        }
        cache->used++;
        slot->pins = 1;
        return slot;
    }
    return NULL;
}

static uint64_t about_at(const struct od_cache_file *cache, const struct od_cache_slot *slot)
{
    return HEAD_BYTES + (uint64_t)(slot - cache->slots) * ABOUT_BYTES;
}

static uint64_t data_at(const struct od_cache_file *cache, const struct od_cache_slot *slot)
{
    return cache->data_at + (uint64_t)(slot - cache->slots) * cache->block_bytes;
}

bool od_cache_file_has(struct od_cache_file *cache, const struct od_cache_id *id)
{
    pthread_mutex_lock(&cache->lock);
    bool has = find(cache, id) != NULL;
    pthread_mutex_unlock(&cache->lock);
    return has;
}

bool od_cache_file_read(struct od_cache_file *cache, const struct od_cache_id *id, size_t offset, size_t bytes,
                        uint8_t *out, uint8_t *scratch)
{
    pthread_mutex_lock(&cache->lock);
    struct od_cache_slot *slot = find(cache, id);
    if (slot)
        slot->pins++;
    pthread_mutex_unlock(&cache->lock);
    if (!slot)
        return false;
    bool whole = offset == 0 && bytes == slot->bytes;
    uint8_t *into = whole ? out : scratch;
    bool fine = offset + bytes <= slot->bytes &&
                cache->platform->ops->read(cache->file, data_at(cache, slot), into, slot->bytes, NULL) == OD_OK;
    fine = fine && XXH3_64bits(into, slot->bytes) == slot->hash;
    if (fine && !whole)
        memcpy(out, into + offset, bytes);
    pthread_mutex_lock(&cache->lock);
    if (fine) {
        slot->again = !slot->ahead;
        slot->ahead = false;
    } else if (!slot->gone) {
        cache->bad++;
        drop(cache, slot);
    }
    unpin(cache, slot);
    pthread_mutex_unlock(&cache->lock);
    return fine;
}

uint64_t od_cache_file_epoch(struct od_cache_file *cache)
{
    pthread_mutex_lock(&cache->lock);
    uint64_t epoch = cache->epoch;
    pthread_mutex_unlock(&cache->lock);
    return epoch;
}

void od_cache_file_store(struct od_cache_file *cache, const struct od_cache_id *id, const uint8_t *data, size_t bytes,
                         uint64_t epoch, bool ahead)
{
    const struct od_platform_ops *ops = cache->platform->ops;
    struct od_cache_slot *slot = NULL;
    pthread_mutex_lock(&cache->lock);
    if (epoch == cache->epoch && !find(cache, id)) {
        slot = take(cache);
        cache->not_stored += !slot;
    }
    pthread_mutex_unlock(&cache->lock);
    if (!slot)
        return;
    struct about about = {.id = *id, .data_hash = XXH3_64bits(data, bytes), .bytes = bytes};
    about.hash = XXH3_64bits(&about, offsetof(struct about, hash));
    union {
        const void *from;
        void *to;
    } base = {.from = data}; // an iovec has no const
    bool written =
        ops->write(cache->file, data_at(cache, slot), &(struct iovec){base.to, bytes}, 1, NULL) == OD_OK &&
        ops->write(cache->file, about_at(cache, slot), &(struct iovec){&about, sizeof about}, 1, NULL) == OD_OK;
    pthread_mutex_lock(&cache->lock);
    if (written && epoch == cache->epoch && !find(cache, id)) {
        *slot = (struct od_cache_slot){
            .id = *id, .hash = about.data_hash, .bytes = (uint32_t)bytes, .ahead = ahead, .pins = 1};
        chain_in(cache, slot);
        unpin(cache, slot);
    } else {
        cache->not_stored += !written;
        cache->used--;
        *slot = (struct od_cache_slot){0};
    }
    pthread_mutex_unlock(&cache->lock);
}

void od_cache_file_forget(struct od_cache_file *cache, const struct od_cache_id *id)
{
    pthread_mutex_lock(&cache->lock);
    cache->epoch++;
    for (uint32_t i = 0; i < cache->count; i++) {
        struct od_cache_slot *slot = &cache->slots[i];
        if (slot->bytes && !slot->gone && slot->id.key[0] == id->key[0] && slot->id.key[1] == id->key[1])
            drop(cache, slot);
    }
    pthread_mutex_unlock(&cache->lock);
}

// ---- opening

static uint64_t data_begin(uint64_t slots)
{
    return (HEAD_BYTES + slots * ABOUT_BYTES + 4095) / 4096 * 4096;
}

static struct head head_of(const struct od_cache_file *cache)
{
    struct head head = {.slots = cache->count, .block_bytes = cache->block_bytes};
    memcpy(head.magic, FILE_MAGIC, sizeof head.magic);
    head.hash = XXH3_64bits(&head, offsetof(struct head, hash));
    return head;
}

// An empty one, in place of whatever is there.
static od_code make_anew(struct od_cache_file *cache, struct od_error *err)
{
    od_code rc = OD_OK;
    const struct od_platform_ops *ops = cache->platform->ops;
    struct head head = head_of(cache);
    OD_TRY(ops->truncate(cache->file, 0, err));
    OD_TRY(ops->truncate(cache->file, cache->data_at, err));
    OD_TRY(ops->write(cache->file, 0, &(struct iovec){&head, sizeof head}, 1, err));
out:
    return rc;
}

// What an earlier run left: nothing of it is verified until it is read.
static od_code load(struct od_cache_file *cache, struct od_error *err)
{
    od_code rc = OD_OK;
    struct about *all = od_alloc(ABOUT_CHUNK * sizeof *all);
    if (!all)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the index of the cache"));
    for (uint32_t from = 0; from < cache->count; from += ABOUT_CHUNK) {
        uint32_t part = cache->count - from < ABOUT_CHUNK ? cache->count - from : ABOUT_CHUNK;
        OD_TRY(cache->platform->ops->read(cache->file, about_at(cache, cache->slots + from), all, part * sizeof *all,
                                          err));
        for (uint32_t i = 0; i < part; i++) {
            struct od_cache_slot *slot = &cache->slots[from + i];
            if (all[i].bytes == 0 || all[i].bytes > cache->block_bytes ||
                all[i].hash != XXH3_64bits(&all[i], offsetof(struct about, hash)) || find(cache, &all[i].id))
                continue;
            slot->id = all[i].id;
            slot->hash = all[i].data_hash;
            slot->bytes = (uint32_t)all[i].bytes;
            chain_in(cache, slot);
            cache->used++;
        }
    }
out:
    od_free(all);
    return rc;
}

od_code od_cache_file_open(struct od_cache_file *cache, struct od_platform *platform, const char *path, uint64_t bytes,
                           uint32_t block_bytes, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t size = 0, slots = bytes / (block_bytes + ABOUT_BYTES);
    while (slots > 0 && data_begin(slots) + slots * block_bytes > bytes)
        slots--;
    *cache = (struct od_cache_file){.platform = platform, .block_bytes = block_bytes};
    pthread_mutex_init(&cache->lock, NULL);
    if (slots < SLOTS_MIN || slots >= UINT32_MAX / 2)
        OD_TRY(od_fail(err, OD_INVALID, "a cache of %llu bytes is too %s; it has %u to 2^31 blocks of %u bytes",
                       (unsigned long long)bytes, slots < SLOTS_MIN ? "small" : "large", SLOTS_MIN, block_bytes));
    cache->count = (uint32_t)slots;
    cache->data_at = data_begin(slots);
    for (cache->bucket_mask = 1; cache->bucket_mask < cache->count;)
        cache->bucket_mask = cache->bucket_mask << 1 | 1;
    cache->slots = od_calloc(cache->count, sizeof *cache->slots);
    cache->buckets = od_calloc((size_t)cache->bucket_mask + 1, sizeof *cache->buckets);
    if (!cache->slots || !cache->buckets)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for a cache of %u blocks", cache->count));
    rc = platform->ops->open(platform, path, OD_DISK_WRITE, &cache->file, err);
    if (rc == OD_NOT_FOUND)
        rc = platform->ops->open(platform, path, OD_DISK_CREATE, &cache->file, err);
    if (rc != OD_OK)
        goto out;
    struct head head = head_of(cache), found = {0};
    OD_TRY(platform->ops->size(cache->file, &size, err));
    if (size >= cache->data_at && size <= bytes)
        OD_TRY(platform->ops->read(cache->file, 0, &found, sizeof found, err));
    if (memcmp(&head, &found, sizeof head) == 0)
        OD_TRY(load(cache, err));
    else
        OD_TRY(make_anew(cache, err));
out:
    if (rc != OD_OK)
        od_cache_file_close(cache);
    return rc == OD_OK ? OD_OK : od_wrap(err, rc, "cache %s", path);
}

void od_cache_file_close(struct od_cache_file *cache)
{
    if (cache->file)
        cache->platform->ops->close(cache->file);
    od_free(cache->slots);
    od_free(cache->buckets);
    pthread_mutex_destroy(&cache->lock);
    *cache = (struct od_cache_file){0};
}
