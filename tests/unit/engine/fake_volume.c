// fake_volume.c - see fake_volume.h.
#include "fake_volume.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define LEDGER_MAX 256u

struct content {
    bool there;
    uint8_t *bytes;
    size_t size;
};

struct image {
    struct content files[OD_VOLUME_FILES];
    struct od_ledger_entry ledger[LEDGER_MAX];
    unsigned ledger_count;
    uint64_t lsn, barriers;
};

struct od_volume {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct image now, durable;
    uint64_t position; // of the last operation
    bool held, poisoned, full;
    unsigned waiters;
};

static void image_copy(struct image *to, const struct image *from)
{
    for (int i = 0; i < OD_VOLUME_FILES; i++)
        free(to->files[i].bytes);
    *to = *from;
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        to->files[i].bytes = malloc(from->files[i].size + 1);
        if (from->files[i].size)
            memcpy(to->files[i].bytes, from->files[i].bytes, from->files[i].size);
    }
}

struct od_volume *od_fake_volume_new(void)
{
    struct od_volume *volume = calloc(1, sizeof *volume);
    pthread_mutex_init(&volume->lock, NULL);
    pthread_cond_init(&volume->changed, NULL);
    return volume;
}

void od_fake_volume_free(struct od_volume *volume)
{
    for (int i = 0; i < OD_VOLUME_FILES; i++) {
        free(volume->now.files[i].bytes);
        free(volume->durable.files[i].bytes);
    }
    pthread_mutex_destroy(&volume->lock);
    pthread_cond_destroy(&volume->changed);
    free(volume);
}

struct od_volume *od_fake_volume_crash(struct od_volume *volume)
{
    struct od_volume *after = od_fake_volume_new();
    pthread_mutex_lock(&volume->lock);
    image_copy(&after->now, &volume->durable);
    image_copy(&after->durable, &volume->durable);
    after->position = volume->durable.lsn;
    pthread_mutex_unlock(&volume->lock);
    return after;
}

void od_fake_volume_hold(struct od_volume *volume, bool hold)
{
    pthread_mutex_lock(&volume->lock);
    volume->held = hold;
    pthread_cond_broadcast(&volume->changed);
    pthread_mutex_unlock(&volume->lock);
}

void od_fake_volume_await_waiters(struct od_volume *volume, unsigned n)
{
    pthread_mutex_lock(&volume->lock);
    while (volume->waiters < n)
        pthread_cond_wait(&volume->changed, &volume->lock);
    pthread_mutex_unlock(&volume->lock);
}

void od_fake_volume_poison(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    volume->poisoned = true;
    pthread_cond_broadcast(&volume->changed);
    pthread_mutex_unlock(&volume->lock);
}

void od_fake_volume_fill(struct od_volume *volume, bool full)
{
    pthread_mutex_lock(&volume->lock);
    volume->full = full;
    pthread_mutex_unlock(&volume->lock);
}

unsigned od_fake_volume_ledger_count(struct od_volume *volume)
{
    return volume->now.ledger_count;
}

uint64_t od_fake_volume_barriers(struct od_volume *volume)
{
    return volume->now.barriers;
}

// ---- files. All but the size and existence: lock held from begin to end.

static od_code begin(struct od_volume *volume, struct od_error *err)
{
    pthread_mutex_lock(&volume->lock);
    volume->position += 64;
    if (volume->poisoned)
        return od_fail(err, OD_IO, "the journal is poisoned");
    return volume->full ? od_fail(err, OD_LIMIT, "the disk is full") : OD_OK;
}

static od_code end(struct od_volume *volume, od_code rc)
{
    pthread_mutex_unlock(&volume->lock);
    return rc;
}

bool od_volume_exists(struct od_volume *volume, enum od_volume_file file)
{
    pthread_mutex_lock(&volume->lock);
    bool there = volume->now.files[file].there;
    pthread_mutex_unlock(&volume->lock);
    return there;
}

uint64_t od_volume_size(struct od_volume *volume, enum od_volume_file file)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t size = volume->now.files[file].size;
    pthread_mutex_unlock(&volume->lock);
    return size;
}

od_code od_volume_create(struct od_volume *volume, enum od_volume_file file, struct od_error *err)
{
    od_code rc = begin(volume, err);
    if (rc == OD_OK)
        volume->now.files[file].there = true;
    return end(volume, rc);
}

od_code od_volume_read(struct od_volume *volume, enum od_volume_file file, uint64_t offset, void *out, size_t bytes,
                       struct od_error *err)
{
    pthread_mutex_lock(&volume->lock);
    const struct content *content = &volume->now.files[file];
    od_code rc = offset + bytes > content->size ? od_fail(err, OD_IO, "a read beyond the end") : OD_OK;
    if (rc == OD_OK)
        memcpy(out, content->bytes + offset, bytes);
    return end(volume, rc);
}

static void resize(struct content *content, size_t size)
{
    content->bytes = realloc(content->bytes, size + 1);
    if (size > content->size)
        memset(content->bytes + content->size, 0, size - content->size);
    content->size = size;
}

od_code od_volume_write(struct od_volume *volume, enum od_volume_file file, uint64_t offset, const void *data,
                        size_t bytes, struct od_error *err)
{
    od_code rc = begin(volume, err);
    if (rc == OD_OK) {
        struct content *content = &volume->now.files[file];
        if (offset + bytes > content->size)
            resize(content, offset + bytes);
        memcpy(content->bytes + offset, data, bytes);
    }
    return end(volume, rc);
}

od_code od_volume_truncate(struct od_volume *volume, enum od_volume_file file, uint64_t bytes, struct od_error *err)
{
    od_code rc = begin(volume, err);
    if (rc == OD_OK)
        resize(&volume->now.files[file], bytes);
    return end(volume, rc);
}

od_code od_volume_trim(struct od_volume *volume, enum od_volume_file file, uint64_t offset, uint64_t bytes,
                       struct od_error *err)
{
    (void)file;
    (void)offset;
    (void)bytes;
    return end(volume, begin(volume, err));
}

od_code od_volume_remove(struct od_volume *volume, enum od_volume_file file, struct od_error *err)
{
    od_code rc = begin(volume, err);
    if (rc == OD_OK) {
        free(volume->now.files[file].bytes);
        volume->now.files[file] = (struct content){0};
    }
    return end(volume, rc);
}

od_code od_volume_rename(struct od_volume *volume, enum od_volume_file from, enum od_volume_file to,
                         struct od_error *err)
{
    od_code rc = begin(volume, err);
    if (rc == OD_OK) {
        free(volume->now.files[to].bytes);
        volume->now.files[to] = volume->now.files[from];
        volume->now.files[from] = (struct content){0};
    }
    return end(volume, rc);
}

od_code od_volume_barrier(struct od_volume *volume, const struct od_ledger_entry *entry, uint64_t *lsn,
                          struct od_error *err)
{
    od_code rc = begin(volume, err);
    if (rc == OD_OK) {
        volume->now.barriers++;
        volume->now.lsn = volume->position;
        *lsn = volume->position;
        if (entry && volume->now.ledger_count < LEDGER_MAX) {
            volume->now.ledger[volume->now.ledger_count] = *entry;
            volume->now.ledger[volume->now.ledger_count++].lsn = *lsn;
        }
        if (!volume->held)
            image_copy(&volume->durable, &volume->now);
    }
    return end(volume, rc);
}

// ---- durability

uint64_t od_volume_barrier_lsn(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t lsn = volume->now.lsn;
    pthread_mutex_unlock(&volume->lock);
    return lsn;
}

uint64_t od_volume_durable_lsn(struct od_volume *volume)
{
    pthread_mutex_lock(&volume->lock);
    uint64_t lsn = volume->durable.lsn;
    pthread_mutex_unlock(&volume->lock);
    return lsn;
}

uint64_t od_volume_epoch(struct od_volume *volume)
{
    (void)volume;
    return 7;
}

od_code od_volume_wait_durable(struct od_volume *volume, uint64_t lsn, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&volume->lock);
    volume->waiters++;
    pthread_cond_broadcast(&volume->changed);
    while (volume->durable.lsn < lsn && volume->held && !volume->poisoned)
        pthread_cond_wait(&volume->changed, &volume->lock);
    volume->waiters--;
    // A durable state is one at a barrier; files that were changed since are part of it, which no test minds.
    if (volume->durable.lsn < lsn && !volume->poisoned)
        image_copy(&volume->durable, &volume->now);
    if (volume->durable.lsn < lsn)
        rc = od_fail(err, OD_OUTCOME_UNKNOWN, "the journal was poisoned before %llu was durable",
                     (unsigned long long)lsn);
    return end(volume, rc);
}

// There is no object store: remote is as local.
od_code od_volume_wait(struct od_volume *volume, uint64_t lsn, enum od_durability level, struct od_error *err)
{
    (void)level;
    return od_volume_wait_durable(volume, lsn, err);
}

uint64_t od_volume_acknowledged_lsn(struct od_volume *volume, enum od_durability level)
{
    (void)level;
    return od_volume_durable_lsn(volume);
}

od_code od_volume_health(struct od_volume *volume, struct od_error *err)
{
    pthread_mutex_lock(&volume->lock);
    return end(volume, volume->poisoned ? od_fail(err, OD_IO, "the journal is poisoned") : OD_OK);
}

bool od_volume_ledger_find(struct od_volume *volume, const char *request_id, struct od_ledger_entry *entry)
{
    bool found = false;
    pthread_mutex_lock(&volume->lock);
    for (unsigned i = 0; i < volume->now.ledger_count && !found; i++) {
        found = strcmp(volume->now.ledger[i].request_id, request_id) == 0;
        if (found)
            *entry = volume->now.ledger[i];
    }
    pthread_mutex_unlock(&volume->lock);
    return found;
}
