// core.h - the inside of struct od_client, shared by the files of this folder.
#ifndef OD_CLIENT_CORE_H
#define OD_CLIENT_CORE_H

#include "client/crew.h"
#include "client/link.h"
#include "openduck/client.h"
#include "rpc/message.h"

OD_BEGIN_C

struct od_canceller;

struct od_client {
    struct od_link link;
    struct od_crew *crew;
    struct od_canceller *canceller;
    uint64_t timeout_ms; // of statements that name none; 0: none
    enum od_compression compression; // of results
    atomic_uint_fast64_t batches_received, batches_sent, resumes;
};

// Deadline on od_clock_ms of something that may take timeout_ms from now (0: UINT64_MAX).
uint64_t od_deadline_after(uint64_t timeout_ms);

// One unary call with protobuf-c messages: packs, sends, unpacks (release with protobuf_c_message_free_unpacked).
OD_CHECKED od_code od_client_call(struct od_client *client, const char *method, const ProtobufCMessage *request,
                                  const ProtobufCMessageDescriptor *reply_type, bool once, size_t endpoint,
                                  uint64_t timeout_ms, struct od_cancel *cancel, ProtobufCMessage **reply,
                                  bool *reached, struct od_error *err);

// canceller.c - CancelExecution without waiting for it: one thread of the crew works off a bounded list. An endpoint
// that does not answer loses its entries; the broken stream tells the server the same, only later.
OD_CHECKED od_code od_canceller_new(struct od_client *client, struct od_canceller **canceller, struct od_error *err);
void od_canceller_post(struct od_canceller *canceller, size_t endpoint, const char *execution_id);
void od_canceller_free(struct od_canceller *canceller); // after the crew has ended

OD_END_C

#endif
