// reply.h - the answer to one Execute, packed: an error, or the message in segments that share the batches' memory.
// Immutable and reference-counted, so that a request sent again gets the very same answer.
#ifndef OD_SERVER_REPLY_H
#define OD_SERVER_REPLY_H

#include "arrow/batch.h"
#include "rpc/server.h"

OD_BEGIN_C

struct od_reply;

// Takes `head` (allocated, the packed message without its batches) on success. The batches, numbered from 0, are added
// as field `batch_field` and referenced.
OD_CHECKED od_code od_reply_new(struct od_segment head, uint32_t batch_field, struct od_batch *const *batches,
                                size_t batch_count, struct od_reply **reply, struct od_error *err);
struct od_reply *od_reply_new_error(const struct od_error *error); // NULL: out of memory
struct od_reply *od_reply_ref(struct od_reply *reply);
void od_reply_unref(struct od_reply *reply); // NULL is fine
size_t od_reply_bytes(const struct od_reply *reply); // memory behind it
// Answers the call and ends it.
void od_reply_send(struct od_reply *reply, struct od_call *call);

OD_END_C

#endif
