// reply.c - see reply.h. The struct, its error and its segment table are one allocation.
#include "server/reply.h"

#include "base/alloc.h"
#include "rpc/message.h"

#include <stdatomic.h>
#include <string.h>

struct od_reply {
    atomic_uint references;
    struct od_error *error; // NULL: a message
    size_t bytes;
    size_t batch_count;
    size_t segment_count;
    struct od_batch **batches;
    size_t *heads; // which segments are ours to free: those at heads[0..batch_count]
    struct od_segment segments[];
};

static void reply_free(struct od_reply *reply)
{
    for (size_t i = 0; i < reply->batch_count; i++)
        od_batch_unref(reply->batches[i]);
    for (size_t i = 0; reply->heads && i <= reply->batch_count; i++)
        od_free((void *)(uintptr_t)reply->segments[reply->heads[i]].data);
    od_free(reply->batches);
    od_free(reply->heads);
    od_free(reply->error);
    od_free(reply);
}

od_code od_reply_new(struct od_segment head, uint32_t batch_field, struct od_batch *const *batches, size_t batch_count,
                     struct od_reply **reply, struct od_error *err)
{
    size_t segments = 1, bytes = head.bytes;
    for (size_t i = 0; i < batch_count; i++) {
        segments += batches[i]->segment_count + 1;
        bytes += batches[i]->held_bytes;
    }
    struct od_reply *r = od_calloc(1, sizeof *r + segments * sizeof(struct od_segment));
    if (r) {
        r->batches = od_calloc(batch_count + 1, sizeof(struct od_batch *));
        r->heads = od_calloc(batch_count + 1, sizeof(size_t));
    }
    if (!r || !r->batches || !r->heads) {
        if (r) {
            od_free(r->batches);
            od_free(r->heads);
            od_free(r);
        }
        return od_fail(err, OD_NO_MEMORY, "no memory for an answer of %zu bytes", bytes);
    }
    atomic_init(&r->references, 1);
    r->bytes = bytes + sizeof *r + segments * sizeof(struct od_segment);
    r->segment_count = 1; // segments[0] is the head, set last: until then the caller owns it
    od_code rc = OD_OK;
    for (size_t i = 0; i < batch_count; i++) {
        size_t count;
        OD_TRY(od_batch_message(batch_field, i, batches[i], r->segments + r->segment_count, &count, err));
        r->heads[i + 1] = r->segment_count;
        r->segment_count += count;
        r->batches[i] = od_batch_ref(batches[i]);
        r->batch_count++;
    }
    r->segments[0] = head;
    *reply = r;
    return OD_OK;
out:
    reply_free(r);
    return rc;
}

struct od_reply *od_reply_new_error(const struct od_error *error)
{
    struct od_reply *reply = od_calloc(1, sizeof *reply);
    if (reply)
        reply->error = od_alloc(sizeof *error);
    if (!reply || !reply->error) {
        od_free(reply);
        return NULL;
    }
    *reply->error = *error;
    reply->bytes = sizeof *reply + sizeof *error;
    atomic_init(&reply->references, 1);
    return reply;
}

struct od_reply *od_reply_ref(struct od_reply *reply)
{
    atomic_fetch_add_explicit(&reply->references, 1, memory_order_relaxed);
    return reply;
}

void od_reply_unref(struct od_reply *reply)
{
    if (reply && atomic_fetch_sub_explicit(&reply->references, 1, memory_order_acq_rel) == 1)
        reply_free(reply);
}

size_t od_reply_bytes(const struct od_reply *reply)
{
    return reply->bytes;
}

static void release(void *owner)
{
    od_reply_unref(owner);
}

void od_reply_send(struct od_reply *reply, struct od_call *call)
{
    if (reply->error)
        od_call_fail(call, reply->error);
    else
        od_call_reply(call, reply->segments, reply->segment_count, release, od_reply_ref(reply));
}
