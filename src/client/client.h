// client.h (internal) - what the extension and the CLI use beyond the public interface: encoded batches as they came.
#ifndef OD_CLIENT_CLIENT_H
#define OD_CLIENT_CLIENT_H

#include "arrow/batch_queue.h"
#include "openduck/client.h"

OD_BEGIN_C

struct od_cancel; // rpc/channel.h

// od_client_execute that can be stopped while it waits (in the server's queue, or for the schema): fire `cancel` from any
// thread; it returns OD_CANCELLED and the server is told. Once the query is there, od_query_cancel is what stops it.
OD_CHECKED od_code od_client_execute_with(struct od_client *client, struct od_session *session,
                                          const struct od_request *request, struct od_cancel *cancel,
                                          struct od_query **query, struct od_error *err);

// Next encoded batch without decoding (one segment, body 64-byte aligned, not yet checked beyond its message).
// OD_POP_BATCH gives a reference, OD_POP_END, OD_POP_FAILED (err filled). With waker.wake == NULL it waits; else
// OD_POP_EMPTY means the waker will be called once when there is more. A reader thread of the query keeps up to
// window_bytes ahead.
enum od_pop od_query_next_batch(struct od_query *query, struct od_batch **batch, struct od_waker waker,
                                struct od_error *err);

// Has the whole result come with the answer? Then od_query_next_batch never waits.
bool od_query_is_complete(const struct od_query *query);

// Upload of batches that are encoded already; schema_message is the IPC schema. Takes the batch.
OD_CHECKED od_code od_upload_stream_open_encoded(struct od_client *client, const char *database,
                                                 const uint8_t *schema_message, size_t schema_bytes,
                                                 struct od_upload_stream **upload, struct od_error *err);
OD_CHECKED od_code od_upload_stream_send_batch(struct od_upload_stream *upload, struct od_batch *batch,
                                               struct od_error *err);
// Wakes a sender that waits for room; it and later calls return OD_CANCELLED. Any thread.
void od_upload_stream_cancel(struct od_upload_stream *upload);

OD_END_C

#endif
