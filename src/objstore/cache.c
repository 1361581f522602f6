// cache.c - reads through a cache: hits, flights, what is read ahead; see cache.h.
//
// A flight is one request of the other store, under way or just ended, with the bytes it brings. Its bytes go into the file
// before it leaves the list, so a block is in the file, in a flight, or with nobody. Locks: `lock`, then the file's.
#include "objstore/cache.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "objstore/cache_file.h"
#include "os/thread.h"

#include <stdio.h>
#include <string.h>

#define BLOCK_BYTES_DEFAULT (64u << 10)
#define REQUEST_BYTES_DEFAULT (16u << 20)
#define GAP_BYTES (512u << 10)
#define FLYING_BYTES_MAX (UINT64_C(128) << 20) // beyond it only what is asked for is fetched
#define WINDOW_GROWTH 4u
#define PIECES_AHEAD_MAX 8u // for one reader
#define STREAMS 8u          // readers in order that are told apart in one object
#define JOBS_MAX 64u
#define THREADS_MAX 16u

struct flight {
    struct flight *next;
    struct od_cache_id id; // of its first block
    uint64_t blocks;
    uint8_t *bytes;
    size_t length;
    unsigned holders;
    bool done;
    od_code rc;
};

// One reader that goes through the object in order.
struct stream {
    uint64_t next;   // the block it reads next
    uint64_t window; // blocks to have ahead of it
    uint64_t ahead;  // the first block that was not fetched for it
};

struct cache_object {
    struct od_object base;
    struct od_object *inner;
    unsigned holders; // the reader's handle, and jobs
    struct stream streams[STREAMS];
    unsigned oldest;
    uint64_t bytes;
    struct od_cache_id id;
};

struct job {
    struct cache_object *object;
    uint64_t first, end; // blocks
};

struct cache_store {
    struct od_objstore base;
    struct od_objstore *inner;
    struct od_cache_file file;
    uint32_t block_bytes, request_blocks;
    uint32_t window_blocks, piece_blocks; // read ahead at most so far; in requests of this size
    pthread_mutex_t lock;
    pthread_cond_t landed, work;
    struct flight *flights;
    uint64_t flying_bytes;
    struct job jobs[JOBS_MAX]; // a ring
    unsigned job_first, job_count;
    unsigned thread_count;
    bool stopping;
    struct od_thread threads[THREADS_MAX];
    struct od_cache_stats stats; // the file's own are added when asked for
};

static struct cache_store *of(struct od_objstore *store)
{
    return (struct cache_store *)store;
}

static struct od_cache_id block_id(const struct cache_object *object, uint64_t block)
{
    struct od_cache_id id = object->id;
    id.block = block;
    return id;
}

static uint64_t block_count(const struct cache_store *store, const struct cache_object *object)
{
    return (object->bytes + store->block_bytes - 1) / store->block_bytes;
}

// ---- flights. The lock is held unless said otherwise.

static bool covers(const struct flight *flight, const struct od_cache_id *id)
{
    return flight->id.key[0] == id->key[0] && flight->id.key[1] == id->key[1] && flight->id.block <= id->block &&
           id->block - flight->id.block < flight->blocks;
}

static struct flight *find_flight(struct cache_store *store, const struct od_cache_id *id)
{
    for (struct flight *flight = store->flights; flight; flight = flight->next)
        if (covers(flight, id))
            return flight;
    return NULL;
}

static void release_flight(struct cache_store *store, struct flight *flight)
{
    if (--flight->holders > 0)
        return;
    store->flying_bytes -= flight->length;
    od_free(flight->bytes);
    od_free(flight);
}

// How many blocks from `first` on one request should bring: up to the last missing one before `end` that nobody else
// fetches, and over small gaps of such as are there.
static uint64_t run_of(struct cache_store *store, const struct cache_object *object, uint64_t first, uint64_t end)
{
    uint64_t last = first, gap = GAP_BYTES / store->block_bytes;
    if (end - first > store->request_blocks)
        end = first + store->request_blocks;
    for (uint64_t block = first + 1; block < end && block - last <= gap + 1; block++) {
        struct od_cache_id id = block_id(object, block);
        if (find_flight(store, &id))
            break;
        if (!od_cache_file_has(&store->file, &id))
            last = block;
    }
    return last + 1 - first;
}

// A flight of [first, first + blocks), in the list, held by the caller. NULL: out of memory.
static struct flight *begin_flight(struct cache_store *store, const struct cache_object *object, uint64_t first,
                                   uint64_t blocks)
{
    uint64_t at = first * store->block_bytes, bytes = blocks * store->block_bytes;
    if (bytes > object->bytes - at)
        bytes = object->bytes - at;
    struct flight *flight = od_calloc(1, sizeof *flight);
    uint8_t *buffer = flight ? od_alloc((size_t)bytes) : NULL;
    if (!buffer) {
        od_free(flight);
        return NULL;
    }
    *flight = (struct flight){.next = store->flights,
                              .id = block_id(object, first),
                              .blocks = blocks,
                              .bytes = buffer,
                              .length = (size_t)bytes,
                              .holders = 1};
    store->flights = flight;
    store->flying_bytes += bytes;
    store->stats.requests++;
    store->stats.fetched_bytes += bytes;
    return flight;
}

// Fetches, keeps, and wakes who waits. Not under the lock. `asked_end`: blocks from here on nobody asked for yet.
static void run_flight(struct cache_store *store, struct cache_object *object, struct flight *flight,
                       uint64_t asked_end, struct od_error *err)
{
    uint64_t first = flight->id.block, epoch = od_cache_file_epoch(&store->file);
    od_code rc = od_object_read(object->inner, first * store->block_bytes, flight->bytes, flight->length, err);
    pthread_mutex_lock(&store->lock);
    flight->rc = rc;
    flight->done = true; // who waits has the bytes from here
    pthread_cond_broadcast(&store->landed);
    pthread_mutex_unlock(&store->lock);
    for (uint64_t i = 0; i < flight->blocks && rc == OD_OK; i++) {
        struct od_cache_id id = block_id(object, first + i);
        size_t at = (size_t)(i * store->block_bytes), left = flight->length - at;
        od_cache_file_store(&store->file, &id, flight->bytes + at,
                            left < store->block_bytes ? left : store->block_bytes, epoch, first + i >= asked_end);
    }
    pthread_mutex_lock(&store->lock);
    for (struct flight **link = &store->flights; *link; link = &(*link)->next)
        if (*link == flight) {
            *link = flight->next;
            break;
        }
    if (rc == OD_OK && first + flight->blocks > asked_end)
        store->stats.ahead_blocks += first + flight->blocks - (asked_end > first ? asked_end : first);
    pthread_mutex_unlock(&store->lock);
}

// ---- reading ahead

static void release_object(struct cache_store *store, struct cache_object *object)
{
    pthread_mutex_lock(&store->lock);
    bool last = --object->holders == 0;
    pthread_mutex_unlock(&store->lock);
    if (!last)
        return;
    od_object_close(object->inner);
    od_free(object);
}

static void run_job(struct cache_store *store, const struct job *job)
{
    for (uint64_t block = job->first; block < job->end;) {
        struct od_cache_id id = block_id(job->object, block);
        struct flight *flight = NULL;
        pthread_mutex_lock(&store->lock);
        bool there = od_cache_file_has(&store->file, &id) || find_flight(store, &id) || store->stopping ||
                     store->flying_bytes >= FLYING_BYTES_MAX;
        if (!there)
            flight = begin_flight(store, job->object, block, run_of(store, job->object, block, job->end));
        pthread_mutex_unlock(&store->lock);
        if (!flight) {
            block++;
            continue;
        }
        block += flight->blocks;
        run_flight(store, job->object, flight, 0, NULL); // a failure is for the one who asks for it
        pthread_mutex_lock(&store->lock);
        release_flight(store, flight);
        pthread_mutex_unlock(&store->lock);
    }
}

static void prefetch(void *argument)
{
    struct cache_store *store = argument;
    pthread_mutex_lock(&store->lock);
    for (;;) {
        while (store->job_count == 0 && !store->stopping)
            pthread_cond_wait(&store->work, &store->lock);
        if (store->job_count == 0)
            break;
        struct job job = store->jobs[store->job_first];
        store->job_first = (store->job_first + 1) % JOBS_MAX;
        store->job_count--;
        pthread_mutex_unlock(&store->lock);
        run_job(store, &job);
        release_object(store, job.object);
        pthread_mutex_lock(&store->lock);
    }
    pthread_mutex_unlock(&store->lock);
}

static bool add_job(struct cache_store *store, struct cache_object *object, uint64_t first, uint64_t end)
{
    if (store->job_count == JOBS_MAX)
        return false;
    object->holders++;
    store->jobs[(store->job_first + store->job_count++) % JOBS_MAX] = (struct job){object, first, end};
    pthread_cond_signal(&store->work);
    return true;
}

// The stream that this read goes on, or a new one in the oldest one's place. A block may be read twice in a row: what is
// asked for does not end where blocks do.
static struct stream *stream_of(struct cache_store *store, struct cache_object *object, uint64_t first, uint64_t end)
{
    for (unsigned i = 0; i < STREAMS; i++) {
        struct stream *stream = &object->streams[i];
        if (stream->next == 0 || (first != stream->next && first + 1 != stream->next) || end <= first)
            continue;
        uint64_t window = stream->window ? WINDOW_GROWTH * stream->window : 2 * (end - first);
        stream->window = window < store->window_blocks ? window : store->window_blocks;
        if (end > stream->next)
            stream->next = end;
        return stream;
    }
    struct stream *stream = &object->streams[object->oldest];
    object->oldest = (object->oldest + 1) % STREAMS;
    *stream = (struct stream){.next = end, .ahead = end};
    return stream;
}

// Has [ahead, until) fetched, in pieces that several threads bring at once; what is less than a piece waits until more of it
// is wanted, unless the window is small still, or the object ends there.
static void queue_ahead(struct cache_store *store, struct cache_object *object, struct stream *stream, uint64_t until,
                        uint64_t last)
{
    uint64_t piece = store->piece_blocks < stream->window / 2 ? store->piece_blocks : stream->window / 2 + 1;
    while (until > stream->ahead && (until - stream->ahead >= piece || until == last)) {
        uint64_t end = until - stream->ahead < store->piece_blocks ? until : stream->ahead + store->piece_blocks;
        if (!add_job(store, object, stream->ahead, end))
            return;
        stream->ahead = end;
    }
}

// Notes a read of the blocks [first, end), and has fetched what comes next. Returns up to where a read should fetch itself.
static uint64_t look_ahead(struct cache_store *store, struct cache_object *object, uint64_t first, uint64_t end)
{
    uint64_t last = block_count(store, object);
    pthread_mutex_lock(&store->lock);
    struct stream *stream = stream_of(store, object, first, end);
    uint64_t until = stream->next + stream->window < last ? stream->next + stream->window : last;
    if (stream->ahead < stream->next)
        stream->ahead = stream->next;
    uint64_t fetch_end = end;
    if (store->thread_count == 0)
        fetch_end = until > end ? until : end;
    else if (stream->window > 0)
        queue_ahead(store, object, stream, until, last);
    // A reader that has caught up with what is read ahead does its part, rather than ask for little.
    if (store->thread_count > 0 && stream->window >= store->piece_blocks)
        fetch_end = until < end + store->piece_blocks ? until : end + store->piece_blocks;
    pthread_mutex_unlock(&store->lock);
    return fetch_end;
}

// ---- reading

struct reading {
    struct cache_store *store;
    struct cache_object *object;
    uint64_t at, end; // offsets in the object
    uint64_t fetch_end;
    uint8_t *out; // for `at`
    uint8_t *scratch;
    bool alone; // the block at `at` goes straight through, since somebody's request for it failed
};

static void took(struct reading *reading, size_t bytes)
{
    reading->at += bytes;
    reading->out += bytes;
    reading->alone = false;
}

static bool take_cached(struct reading *reading)
{
    struct cache_store *store = reading->store;
    uint64_t block = reading->at / store->block_bytes, within = reading->at % store->block_bytes;
    uint64_t bytes = store->block_bytes - within;
    struct od_cache_id id = block_id(reading->object, block);
    if (bytes > reading->end - reading->at)
        bytes = reading->end - reading->at;
    if (!od_cache_file_read(&store->file, &id, (size_t)within, (size_t)bytes, reading->out, reading->scratch))
        return false;
    took(reading, (size_t)bytes);
    pthread_mutex_lock(&store->lock);
    store->stats.hits++;
    pthread_mutex_unlock(&store->lock);
    return true;
}

// Copies what a flight brought, or decides that this reader asks for itself. Releases the flight.
static void take_flight(struct reading *reading, struct flight *flight)
{
    struct cache_store *store = reading->store;
    uint64_t from = reading->at - flight->id.block * store->block_bytes, bytes = reading->end - reading->at;
    if (bytes > flight->length - from)
        bytes = flight->length - from;
    if (flight->rc == OD_OK) {
        memcpy(reading->out, flight->bytes + from, (size_t)bytes);
        took(reading, (size_t)bytes);
    } else {
        reading->alone = true;
    }
    pthread_mutex_lock(&store->lock);
    release_flight(store, flight);
    pthread_mutex_unlock(&store->lock);
}

// Straight from the other store: for want of memory, or after somebody else's failure.
static od_code read_alone(struct reading *reading, struct od_error *err)
{
    struct cache_store *store = reading->store;
    uint64_t bytes = store->block_bytes - reading->at % store->block_bytes;
    if (bytes > reading->end - reading->at)
        bytes = reading->end - reading->at;
    pthread_mutex_lock(&store->lock);
    store->stats.requests++;
    store->stats.fetched_bytes += bytes;
    pthread_mutex_unlock(&store->lock);
    od_code rc = od_object_read(reading->object->inner, reading->at, reading->out, (size_t)bytes, err);
    took(reading, (size_t)bytes);
    return rc;
}

// The block at `at` was not in the file a moment ago.
static od_code take_missing(struct reading *reading, struct od_error *err)
{
    struct cache_store *store = reading->store;
    struct od_cache_id id = block_id(reading->object, reading->at / store->block_bytes);
    uint64_t asked_end = (reading->end - 1) / store->block_bytes + 1;
    pthread_mutex_lock(&store->lock);
    struct flight *flight = find_flight(store, &id);
    if (!flight && od_cache_file_has(&store->file, &id)) {
        pthread_mutex_unlock(&store->lock);
        return OD_OK; // it landed meanwhile
    }
    store->stats.misses++;
    if (flight) {
        store->stats.joined++;
        flight->holders++;
        while (!flight->done)
            pthread_cond_wait(&store->landed, &store->lock);
        pthread_mutex_unlock(&store->lock);
        take_flight(reading, flight);
        return OD_OK;
    }
    uint64_t fetch_end = store->flying_bytes < FLYING_BYTES_MAX ? reading->fetch_end : asked_end;
    flight = begin_flight(store, reading->object, id.block, run_of(store, reading->object, id.block, fetch_end));
    pthread_mutex_unlock(&store->lock);
    if (!flight)
        return read_alone(reading, err);
    run_flight(store, reading->object, flight, asked_end, err);
    od_code rc = flight->rc;
    bool beyond = id.block + flight->blocks > asked_end;
    take_flight(reading, flight);
    return beyond ? OD_OK : rc; // what was not asked for may be what failed: then it is tried alone
}

static od_code cache_object_read(struct od_object *opaque, uint64_t offset, void *out, size_t bytes,
                                 struct od_error *err)
{
    od_code rc = OD_OK;
    struct reading reading = {.store = of(opaque->store),
                              .object = (struct cache_object *)opaque,
                              .at = offset,
                              .end = offset + bytes,
                              .out = out};
    struct cache_store *store = reading.store;
    uint64_t first = offset / store->block_bytes, end = (offset + bytes - 1) / store->block_bytes + 1;
    reading.scratch = od_alloc(store->block_bytes);
    if (!reading.scratch)
        return od_object_read(reading.object->inner, offset, out, bytes, err);
    reading.fetch_end = look_ahead(store, reading.object, first, end);
    while (reading.at < reading.end && rc == OD_OK) {
        if (reading.alone)
            rc = read_alone(&reading, err);
        else if (!take_cached(&reading))
            rc = take_missing(&reading, err);
    }
    pthread_mutex_lock(&store->lock);
    store->stats.asked_bytes += bytes;
    pthread_mutex_unlock(&store->lock);
    od_free(reading.scratch);
    return rc;
}

// ---- the rest goes straight through

// Takes `inner` over, also when it fails.
static od_code new_object(struct od_objstore *opaque, const char *key, struct od_object *inner, struct od_object **out,
                          struct od_error *err)
{
    struct cache_object *object = od_calloc(1, sizeof *object);
    if (!object) {
        od_object_close(inner);
        return od_fail(err, OD_NO_MEMORY, "out of memory for the object %s", key);
    }
    object->base.store = opaque;
    object->inner = inner;
    object->holders = 1;
    object->bytes = od_object_bytes(inner);
    object->id = od_cache_id_of(key);
    *out = &object->base;
    return OD_OK;
}

static od_code cache_open(struct od_objstore *opaque, const char *key, struct od_object **out, struct od_error *err)
{
    struct od_object *inner = NULL;
    od_code rc = od_objstore_open(of(opaque)->inner, key, &inner, err);
    return rc == OD_OK ? new_object(opaque, key, inner, out, err) : rc;
}

static od_code cache_open_listed(struct od_objstore *opaque, const char *key, uint64_t bytes, struct od_object **out,
                                 struct od_error *err)
{
    struct od_object *inner = NULL;
    od_code rc = od_objstore_open_listed(of(opaque)->inner, key, bytes, &inner, err);
    return rc == OD_OK ? new_object(opaque, key, inner, out, err) : rc;
}

static uint64_t cache_object_bytes(const struct od_object *object)
{
    return ((const struct cache_object *)object)->bytes;
}

static void cache_object_close(struct od_object *object)
{
    release_object(of(object->store), (struct cache_object *)object);
}

static od_code cache_put(struct od_objstore *opaque, const char *key, const struct iovec *parts, unsigned count,
                         struct od_error *err)
{
    struct cache_store *store = of(opaque);
    return store->inner->ops->put(store->inner, key, parts, count, err);
}

static od_code cache_put_file(struct od_objstore *opaque, const char *key, const char *path, struct od_error *err)
{
    struct cache_store *store = of(opaque);
    return store->inner->ops->put_file(store->inner, key, path, err);
}

static od_code cache_list(struct od_objstore *opaque, const char *prefix, od_object_entry_fn entry, void *context,
                          struct od_error *err)
{
    struct cache_store *store = of(opaque);
    return store->inner->ops->list(store->inner, prefix, entry, context, err);
}

// Before, since the removal may work and its answer be lost; after, since somebody may have read it in between.
static od_code cache_remove(struct od_objstore *opaque, const char *key, struct od_error *err)
{
    struct cache_store *store = of(opaque);
    struct od_cache_id id = od_cache_id_of(key);
    od_cache_file_forget(&store->file, &id);
    od_code rc = store->inner->ops->remove(store->inner, key, err);
    od_cache_file_forget(&store->file, &id);
    return rc;
}

static void stop(struct cache_store *store)
{
    pthread_mutex_lock(&store->lock);
    store->stopping = true;
    pthread_cond_broadcast(&store->work);
    pthread_mutex_unlock(&store->lock);
    for (unsigned i = 0; i < THREADS_MAX; i++)
        od_thread_join(&store->threads[i]);
}

static void release(struct cache_store *store)
{
    stop(store);
    od_assert(!store->flights && store->job_count == 0);
    if (store->file.platform)
        od_cache_file_close(&store->file);
    pthread_cond_destroy(&store->landed);
    pthread_cond_destroy(&store->work);
    pthread_mutex_destroy(&store->lock);
    od_free(store);
}

static void cache_close(struct od_objstore *opaque)
{
    struct od_objstore *inner = of(opaque)->inner;
    release(of(opaque));
    od_objstore_close(inner);
}

void od_objstore_cache_stats(struct od_objstore *opaque, struct od_cache_stats *stats)
{
    struct cache_store *store = of(opaque);
    pthread_mutex_lock(&store->lock);
    *stats = store->stats;
    pthread_mutex_lock(&store->file.lock);
    stats->blocks = store->file.used;
    stats->capacity_blocks = store->file.count;
    stats->evicted = store->file.evicted;
    stats->bad = store->file.bad;
    stats->not_stored = store->file.not_stored;
    pthread_mutex_unlock(&store->file.lock);
    pthread_mutex_unlock(&store->lock);
}

od_code od_objstore_cache_open(const struct od_cache_options *options, struct od_objstore **out, struct od_error *err)
{
    static const struct od_objstore_ops ops = {
        .kind = "cache",
        .put = cache_put,
        .put_file = cache_put_file,
        .open = cache_open,
        .open_listed = cache_open_listed,
        .list = cache_list,
        .remove = cache_remove,
        .close = cache_close,
        .object_bytes = cache_object_bytes,
        .object_read = cache_object_read,
        .object_close = cache_object_close,
    };
    od_code rc = OD_OK;
    uint32_t block = options->block_bytes ? options->block_bytes : BLOCK_BYTES_DEFAULT;
    uint32_t request = options->request_bytes ? options->request_bytes : REQUEST_BYTES_DEFAULT;
    *out = NULL;
    if (block < 4096 || block > 1u << 20 || (block & (block - 1)) || request < block ||
        options->prefetch_threads > THREADS_MAX)
        return od_fail(err, OD_INVALID,
                       "a cache has blocks of 4 KiB to 1 MiB, a power of two, requests of at least one, and up to %u "
                       "threads",
                       THREADS_MAX);
    struct cache_store *store = od_calloc(1, sizeof *store);
    if (!store)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the cache %s", options->path);
    store->base.ops = &ops;
    store->block_bytes = block;
    store->request_blocks = request / block;
    store->piece_blocks = store->request_blocks > 1 ? store->request_blocks / 2 : 1;
    uint32_t pieces = options->prefetch_threads < PIECES_AHEAD_MAX ? options->prefetch_threads : PIECES_AHEAD_MAX;
    store->window_blocks = pieces > 2 ? pieces * store->piece_blocks : store->request_blocks;
    pthread_mutex_init(&store->lock, NULL);
    pthread_cond_init(&store->landed, NULL);
    pthread_cond_init(&store->work, NULL);
    OD_TRY(od_cache_file_open(&store->file, options->platform, options->path, options->bytes, block, err));
    for (; store->thread_count < options->prefetch_threads; store->thread_count++)
        OD_TRY(od_thread_start(&store->threads[store->thread_count], "od-prefetch", prefetch, store, err));
    store->inner = options->inner;
    *out = &store->base;
    store = NULL;
out:
    if (store)
        release(store);
    return rc;
}
