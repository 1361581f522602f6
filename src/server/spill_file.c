#include "server/spill_file.h"

#include "base/alloc.h"

#include <inttypes.h>
#include <pthread.h>

struct spill_file {
    struct od_platform *platform;
    struct od_disk_file *file;
    struct od_spill_space *space;
    pthread_mutex_t lock;
    uint64_t end;      // where the next batch goes
    uint64_t unread;   // batches
};

od_code od_spill_file_open(struct od_platform *platform, const char *path, struct od_spill_space *space, void **store,
                           struct od_error *err)
{
    od_code rc = OD_OK;
    struct spill_file *spill = od_calloc(1, sizeof *spill);
    if (!spill)
        return od_fail(err, OD_NO_MEMORY, "no memory for a spill file");
    *spill = (struct spill_file){.platform = platform, .space = space};
    pthread_mutex_init(&spill->lock, NULL);
    OD_TRY(platform->ops->open(platform, path, OD_DISK_CREATE, &spill->file, err));
    OD_TRY(platform->ops->remove(platform, path, err));
    *store = spill;
    spill = NULL;
out:
    if (spill)
        od_spill_file_ops.free(spill);
    return rc;
}

static od_code reserve(struct spill_file *spill, uint64_t bytes, uint64_t *place, struct od_error *err)
{
    struct od_spill_space *space = spill->space;
    if (atomic_fetch_add(&space->used_bytes, bytes) + bytes > space->limit_bytes) {
        atomic_fetch_sub(&space->used_bytes, bytes);
        return od_fail(err, OD_LIMIT,
                       "the client does not read its rows, and the %" PRIu64 " bytes of disk for such rows are in use: "
                       "read faster, ask for fewer rows, or raise the server's --temp-limit",
                       space->limit_bytes);
    }
    pthread_mutex_lock(&spill->lock);
    *place = spill->end;
    spill->end += bytes;
    spill->unread++;
    pthread_mutex_unlock(&spill->lock);
    return OD_OK;
}

static od_code write_batch(void *self, const struct od_batch *batch, uint64_t *place, struct od_error *err)
{
    struct spill_file *spill = self;
    od_code rc = OD_OK;
    struct iovec *parts = od_alloc(batch->segment_count * sizeof *parts);
    if (!parts)
        return od_fail(err, OD_NO_MEMORY, "no memory to spill a batch");
    for (size_t i = 0; i < batch->segment_count; i++)
        parts[i] = (struct iovec){(void *)(uintptr_t)batch->segments[i].data, batch->segments[i].bytes};
    OD_TRY(reserve(spill, batch->bytes, place, err));
    OD_TRY(spill->platform->ops->write(spill->file, *place, parts, (unsigned)batch->segment_count, err));
out:
    od_free(parts);
    return rc;
}

static void give_back(struct spill_file *spill)
{
    struct od_error err;
    pthread_mutex_lock(&spill->lock);
    if (--spill->unread == 0) {
        atomic_fetch_sub(&spill->space->used_bytes, spill->end);
        spill->end = 0;
        (void)spill->platform->ops->truncate(spill->file, 0, &err); // else it is written over, or goes with the file
    }
    pthread_mutex_unlock(&spill->lock);
}

static od_code read_batch(void *self, uint64_t place, size_t bytes, uint64_t rows, struct od_batch **batch,
                          struct od_error *err)
{
    struct spill_file *spill = self;
    struct od_message_buffer buffer = {0};
    od_code rc = OD_OK;
    OD_TRY(od_message_buffer_get(bytes, 0, &buffer, err));
    OD_TRY(spill->platform->ops->read(spill->file, place, buffer.data, bytes, err));
    *batch = od_batch_from_buffer(&buffer, rows);
    if (!*batch)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for a spilled batch"));
    give_back(spill);
out:
    od_message_buffer_put(&buffer);
    return rc;
}

static void free_file(void *self)
{
    struct spill_file *spill = self;
    if (spill->file)
        spill->platform->ops->close(spill->file);
    atomic_fetch_sub(&spill->space->used_bytes, spill->end);
    pthread_mutex_destroy(&spill->lock);
    od_free(spill);
}

const struct od_batch_store_ops od_spill_file_ops = {write_batch, read_batch, free_file};
