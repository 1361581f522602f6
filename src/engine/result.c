// result.c - what a statement returns, shared between the thread that runs it and the one that sends it.
//
// States: NEW -> READY (schema known) -> ENDED. A failure may end it in any state. Rows go through a batch queue, which
// exists from READY on (a result without rows has none).
//
// Invariants:
//   R1  Two counts: `refs` are users, `memory_refs` also count wakers left with the queue. The last user tears the
//       result down (stops the queue, which fires all wakers); the struct goes with the last memory reference.
//   R2  on_event runs outside the lock, and never after the tear-down.
//   R3  At most one thread pumps; the source is freed by the pump or, when none runs, by stop or tear-down.
//   R4  The first finish decides the outcome.
// Threads: all functions from any thread; pop and wait by one consumer at a time.
#include "engine/result.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>

struct od_result {
    atomic_uint refs;
    atomic_uint memory_refs;
    struct od_budget *budget;
    struct od_waker on_event;

    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool described, ready, finished, failed, stopped, dead; // dead: torn down (R2)
    struct od_error failure;
    struct od_batch_queue *queue;

    enum od_result_kind kind;
    bool read_only;
    char statement[32];
    char catalog_version[OD_CATALOG_VERSION_BYTES];
    uint64_t epoch, lsn;
    struct od_buf schema;
    struct od_buf parameter_schema;

    const struct od_result_source *source_type;
    void *source;
    bool pumping;
    bool pump_blocked; // the queue was full; its waker has not come yet
};

static void event(struct od_result *result)
{
    pthread_mutex_lock(&result->lock);
    bool dead = result->dead;
    pthread_cond_broadcast(&result->changed);
    pthread_mutex_unlock(&result->lock);
    if (!dead && result->on_event.wake) {
        result->on_event.wake(result->on_event.argument);
    }
}

static void memory_unref(struct od_result *result)
{
    if (atomic_fetch_sub_explicit(&result->memory_refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    od_buf_release(&result->schema);
    od_buf_release(&result->parameter_schema);
    pthread_cond_destroy(&result->changed);
    pthread_mutex_destroy(&result->lock);
    od_free(result);
}

// Takes the source out, so that exactly one caller frees it. Lock held.
static void *detach_source(struct od_result *result, const struct od_result_source **type)
{
    void *source = result->source;
    *type = result->source_type;
    result->source = NULL;
    return source;
}

od_code od_result_new(struct od_budget *budget, struct od_waker on_event, struct od_result **result,
                      struct od_error *err)
{
    struct od_result *r = od_calloc(1, sizeof(*r));
    if (!r) {
        return od_fail(err, OD_NO_MEMORY, "no memory for a result");
    }
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    atomic_init(&r->refs, 1);
    atomic_init(&r->memory_refs, 1);
    r->budget = budget;
    r->on_event = on_event;
    od_buf_init(&r->schema, OD_MESSAGE_BYTES_MAX);
    od_buf_init(&r->parameter_schema, OD_MESSAGE_BYTES_MAX);
    *result = r;
    return OD_OK;
}

struct od_result *od_result_ref(struct od_result *result)
{
    atomic_fetch_add_explicit(&result->refs, 1, memory_order_relaxed);
    return result;
}

void od_result_unref(struct od_result *result)
{
    if (!result || atomic_fetch_sub_explicit(&result->refs, 1, memory_order_acq_rel) != 1) {
        return;
    }
    pthread_mutex_lock(&result->lock);
    od_assert(!result->pumping);
    result->dead = true;
    struct od_batch_queue *queue = result->queue;
    result->queue = NULL;
    const struct od_result_source *type;
    void *source = detach_source(result, &type);
    pthread_mutex_unlock(&result->lock);

    if (queue) {
        od_batch_queue_on_ready(queue, (struct od_waker){NULL, NULL});
        od_batch_queue_stop(queue);
        od_batch_queue_unref(queue);
    }
    if (source) {
        type->free(source);
    }
    memory_unref(result);
}

// ---- the producer

static od_code copy_bytes(struct od_buf *to, const uint8_t *bytes, size_t count, struct od_error *err)
{
    return count == 0 ? OD_OK : od_buf_append(to, bytes, count, err);
}

od_code od_result_describe(struct od_result *result, const struct od_result_info *info, struct od_error *err)
{
    od_code rc = OD_OK;
    pthread_mutex_lock(&result->lock);
    od_assert(!result->described && !result->ready);
    OD_TRY(copy_bytes(&result->schema, info->schema, info->schema_bytes, err));
    OD_TRY(copy_bytes(&result->parameter_schema, info->parameter_schema, info->parameter_schema_bytes, err));
    result->kind = info->kind;
    result->read_only = info->read_only;
    strncpy(result->statement, info->statement, sizeof(result->statement) - 1);
    strncpy(result->catalog_version, info->catalog_version, sizeof(result->catalog_version) - 1);
    result->described = true;
out:
    pthread_mutex_unlock(&result->lock);
    return rc;
}

void od_result_set_catalog_version(struct od_result *result, const char *catalog_version)
{
    pthread_mutex_lock(&result->lock);
    memset(result->catalog_version, 0, sizeof(result->catalog_version));
    strncpy(result->catalog_version, catalog_version, sizeof(result->catalog_version) - 1);
    pthread_mutex_unlock(&result->lock);
}

void od_result_set_position(struct od_result *result, uint64_t epoch, uint64_t lsn)
{
    pthread_mutex_lock(&result->lock);
    result->epoch = epoch;
    result->lsn = lsn;
    pthread_mutex_unlock(&result->lock);
}

// Makes the queue and, in the same step as the rest of the state, lets the consumer see it.
static od_code become_ready(struct od_result *result, bool ordered, const struct od_result_source *type, void *source,
                            struct od_error *err)
{
    const struct od_batch_queue_options options = {.budget = result->budget, .ordered = ordered};
    struct od_batch_queue *queue;
    od_code rc = od_batch_queue_new(&options, &queue, err);
    if (rc != OD_OK) {
        return rc;
    }
    od_batch_queue_on_ready(queue, result->on_event);
    pthread_mutex_lock(&result->lock);
    od_assert(result->described && !result->queue);
    bool stopped = result->stopped;
    result->queue = queue;
    result->ready = true;
    if (!stopped) {
        result->source_type = type;
        result->source = source;
        source = NULL;
    }
    pthread_mutex_unlock(&result->lock);
    if (stopped) {
        od_batch_queue_stop(queue);
        if (source) {
            type->free(source);
        }
    }
    return OD_OK;
}

od_code od_result_stream(struct od_result *result, bool ordered, struct od_batch_queue **queue, struct od_error *err)
{
    od_code rc = become_ready(result, ordered, NULL, NULL, err);
    if (rc == OD_OK) {
        *queue = result->queue;
        event(result);
    }
    return rc;
}

od_code od_result_spool(struct od_result *result, const struct od_result_source *type, void *self, struct od_error *err)
{
    od_code rc = become_ready(result, false, type, self, err);
    if (rc != OD_OK) {
        type->free(self);
        return rc;
    }
    // Small results are encoded at once, so that nobody needs to be woken for them.
    od_result_pump(result);
    event(result);
    return OD_OK;
}

void od_result_finish(struct od_result *result, const struct od_error *failure)
{
    const struct od_result_source *type = NULL;
    void *source = NULL;
    pthread_mutex_lock(&result->lock);
    if (result->finished) {
        pthread_mutex_unlock(&result->lock);
        return;
    }
    result->finished = true;
    if (failure) {
        result->failed = true;
        result->failure = *failure;
        if (!result->pumping) {
            source = detach_source(result, &type);
        }
    } else if (result->described) {
        result->ready = true;
    }
    struct od_batch_queue *queue = result->queue ? od_batch_queue_ref(result->queue) : NULL;
    // A spooled result ends when its last row has been encoded: od_result_pump finishes the queue.
    bool spooled = !failure && result->source_type != NULL;
    pthread_mutex_unlock(&result->lock);
    if (queue) {
        if (!spooled) {
            od_batch_queue_finish(queue, failure);
        }
        od_batch_queue_unref(queue);
    }
    if (source) {
        type->free(source);
    }
    event(result);
}

// ---- the consumer

bool od_result_ready(struct od_result *result, struct od_result_info *info)
{
    pthread_mutex_lock(&result->lock);
    bool ready = result->ready;
    if (ready) {
        *info = (struct od_result_info){
            .kind = result->kind,
            .statement = result->statement,
            .read_only = result->read_only,
            .schema = result->schema.data,
            .schema_bytes = result->schema.bytes,
            .parameter_schema = result->parameter_schema.data,
            .parameter_schema_bytes = result->parameter_schema.bytes,
            .catalog_version = result->catalog_version,
            .epoch = result->epoch,
            .lsn = result->lsn,
        };
    }
    pthread_mutex_unlock(&result->lock);
    return ready;
}

// What can be said without the queue. EMPTY with *queue set (a reference): ask the queue.
static enum od_pop peek(struct od_result *result, struct od_batch_queue **queue, struct od_error *err)
{
    *queue = NULL;
    if (result->queue) {
        *queue = od_batch_queue_ref(result->queue);
        return OD_POP_EMPTY;
    }
    if (!result->finished) {
        return OD_POP_EMPTY;
    }
    if (result->failed) {
        if (err) {
            *err = result->failure;
        }
        return OD_POP_FAILED;
    }
    return OD_POP_END;
}

enum od_pop od_result_pop(struct od_result *result, struct od_batch **batch, struct od_error *err)
{
    struct od_batch_queue *queue;
    pthread_mutex_lock(&result->lock);
    enum od_pop pop = peek(result, &queue, err);
    pthread_mutex_unlock(&result->lock);
    if (queue) {
        pop = od_batch_queue_pop(queue, batch, err);
        od_batch_queue_unref(queue);
    }
    return pop;
}

static bool needs_pump(const struct od_result *result)
{
    return result->source != NULL && !result->pumping && !result->pump_blocked && !result->stopped;
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000u + (uint64_t)now.tv_nsec / 1000000u;
}

enum od_pop od_result_wait(struct od_result *result, uint64_t timeout_ms, struct od_batch **batch, struct od_error *err)
{
    const uint64_t deadline = now_ms() + timeout_ms;
    const struct timespec until = {.tv_sec = (time_t)(deadline / 1000u), .tv_nsec = (long)(deadline % 1000u) * 1000000};
    struct od_batch_queue *queue;
    pthread_mutex_lock(&result->lock);
    enum od_pop pop = peek(result, &queue, err);
    while (pop == OD_POP_EMPTY && !queue) {
        if (pthread_cond_timedwait(&result->changed, &result->lock, &until) == ETIMEDOUT) {
            break;
        }
        pop = peek(result, &queue, err);
    }
    // Nothing will come by itself while the result waits to be pumped.
    bool pump = needs_pump(result);
    pthread_mutex_unlock(&result->lock);
    if (queue) {
        uint64_t now = now_ms();
        pop = pump || now >= deadline ? od_batch_queue_pop(queue, batch, err)
                                      : od_batch_queue_wait(queue, deadline - now, batch, err);
        od_batch_queue_unref(queue);
    }
    return pop;
}

uint64_t od_result_sendable_bytes(struct od_result *result)
{
    pthread_mutex_lock(&result->lock);
    struct od_batch_queue *queue = result->queue ? od_batch_queue_ref(result->queue) : NULL;
    pthread_mutex_unlock(&result->lock);
    if (!queue) {
        return 0;
    }
    uint64_t bytes = od_batch_queue_sendable_bytes(queue);
    od_batch_queue_unref(queue);
    return bytes;
}

bool od_result_needs_pump(struct od_result *result)
{
    pthread_mutex_lock(&result->lock);
    bool pump = needs_pump(result);
    pthread_mutex_unlock(&result->lock);
    return pump;
}

static void has_room(void *argument)
{
    struct od_result *result = argument;
    pthread_mutex_lock(&result->lock);
    result->pump_blocked = false;
    pthread_mutex_unlock(&result->lock);
    event(result);
    memory_unref(result);
}

void od_result_pump(struct od_result *result)
{
    pthread_mutex_lock(&result->lock);
    if (!needs_pump(result)) {
        pthread_mutex_unlock(&result->lock);
        return;
    }
    result->pumping = true;
    result->pump_blocked = true; // has_room may come before fill returns, and must not be lost
    const struct od_result_source *type = result->source_type;
    void *source = result->source;
    struct od_batch_queue *queue = od_batch_queue_ref(result->queue);
    pthread_mutex_unlock(&result->lock);

    atomic_fetch_add_explicit(&result->memory_refs, 1, memory_order_relaxed);
    struct od_error failure = {0};
    enum od_fill fill = type->fill(source, queue, (struct od_waker){has_room, result}, &failure);
    if (fill != OD_FILL_FULL) {
        memory_unref(result); // the waker was not left
        od_batch_queue_finish(queue, fill == OD_FILL_FAILED ? &failure : NULL);
    }

    pthread_mutex_lock(&result->lock);
    result->pumping = false;
    bool done = fill != OD_FILL_FULL || result->stopped || (result->finished && result->failed);
    source = done ? detach_source(result, &type) : NULL;
    bool again = needs_pump(result);
    pthread_mutex_unlock(&result->lock);
    if (source) {
        type->free(source);
    }
    if (again) {
        event(result);
    }
    od_batch_queue_unref(queue);
}

// The queue of a statement that streams into it: a reference, or NULL.
static struct od_batch_queue *streaming_queue(struct od_result *result)
{
    pthread_mutex_lock(&result->lock);
    bool streaming = result->queue && !result->source_type && !result->finished;
    struct od_batch_queue *queue = streaming ? od_batch_queue_ref(result->queue) : NULL;
    pthread_mutex_unlock(&result->lock);
    return queue;
}

bool od_result_blocked(struct od_result *result)
{
    struct od_batch_queue *queue = streaming_queue(result);
    bool blocked = queue && od_batch_queue_blocked(queue);
    od_batch_queue_unref(queue);
    return blocked;
}

void od_result_spill(struct od_result *result, const struct od_batch_store_ops *ops, void *store)
{
    struct od_batch_queue *queue = streaming_queue(result);
    if (queue)
        od_batch_queue_spill(queue, ops, store);
    else
        ops->free(store);
    od_batch_queue_unref(queue);
}

void od_result_stop(struct od_result *result)
{
    const struct od_result_source *type = NULL;
    void *source = NULL;
    pthread_mutex_lock(&result->lock);
    result->stopped = true;
    if (!result->pumping) {
        source = detach_source(result, &type);
    }
    struct od_batch_queue *queue = result->queue ? od_batch_queue_ref(result->queue) : NULL;
    pthread_mutex_unlock(&result->lock);
    if (queue) {
        od_batch_queue_stop(queue);
        od_batch_queue_unref(queue);
    }
    if (source) {
        type->free(source);
    }
    event(result);
}
