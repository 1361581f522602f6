// cache_file.h - private: the blocks of a cache in one file of a fixed number of slots, and which one gives way.
//
// The file: a head of 4096 bytes, 64 bytes about each slot, the slots. It is of this machine only: numbers are as the
// processor has them. What is said about a slot is trusted after the hash of the slot's bytes was compared, never before.
#ifndef OD_OBJSTORE_CACHE_FILE_H
#define OD_OBJSTORE_CACHE_FILE_H

#include "os/platform.h"

#include <pthread.h>
#include <stdbool.h>

struct od_cache_id {
    uint64_t key[2]; // hash of the object's key
    uint64_t block;
};

struct od_cache_slot;

struct od_cache_file {
    struct od_platform *platform;
    struct od_disk_file *file;
    pthread_mutex_t lock; // over all below; never held over the disk's operations
    struct od_cache_slot *slots;
    uint32_t *buckets; // slot + 1; 0: none
    uint32_t count, bucket_mask;
    uint32_t block_bytes;
    uint32_t hand, used;
    uint64_t data_at;
    uint64_t epoch; // of forgetting: what was fetched before is not stored after
    uint64_t evicted, bad, not_stored;
};

struct od_cache_id od_cache_id_of(const char *key);

OD_CHECKED od_code od_cache_file_open(struct od_cache_file *cache, struct od_platform *platform, const char *path,
                                      uint64_t bytes, uint32_t block_bytes, struct od_error *err);
void od_cache_file_close(struct od_cache_file *cache);
bool od_cache_file_has(struct od_cache_file *cache, const struct od_cache_id *id);
// Copies bytes of a block out of the cache. false: it is not there, or is bad. `scratch` has block_bytes.
bool od_cache_file_read(struct od_cache_file *cache, const struct od_cache_id *id, size_t offset, size_t bytes,
                        uint8_t *out, uint8_t *scratch);
uint64_t od_cache_file_epoch(struct od_cache_file *cache);
// Keeps a block that was fetched in `epoch`, unless it is there, or does not fit. `ahead`: nobody asked for it yet.
void od_cache_file_store(struct od_cache_file *cache, const struct od_cache_id *id, const uint8_t *data, size_t bytes,
                         uint64_t epoch, bool ahead);
// All blocks of an object.
void od_cache_file_forget(struct od_cache_file *cache, const struct od_cache_id *id);

#endif
