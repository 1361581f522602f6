// answer.h (client) - an ExecuteReply taken apart without a copy: everything points into the message.
//
// protobuf-c would copy each inline batch; a small result should cost one buffer. Bytes of a server are not trusted:
// every length is checked, and what is not understood is skipped.
#ifndef OD_CLIENT_ANSWER_H
#define OD_CLIENT_ANSWER_H

#include "base/error.h"
#include "rpc/wire.h"

OD_BEGIN_C

struct od_answer_bytes {
    const uint8_t *data;
    size_t bytes;
};

struct od_answer {
    struct od_answer_bytes execution_id, catalog_version, incarnation, statement, catalog_name;
    struct od_answer_bytes schema, parameter_schema;
    bool has_end;
    uint64_t end_batches, end_rows;
    size_t batch_count;
    size_t ticket_count;
    struct od_answer_bytes ticket, ticket_endpoint; // of the last ticket
    uint32_t ticket_partition;
    int result;
    bool in_transaction, read_only;
    uint64_t queue_us, run_us;
    struct od_wire_reader batches; // where od_answer_next_batch goes on
};

struct od_answer_batch {
    uint64_t number, rows;
    struct od_answer_bytes ipc;
};

// OD_CORRUPT when the bytes are no ExecuteReply.
OD_CHECKED od_code od_answer_parse(const uint8_t *data, size_t bytes, struct od_answer *answer, struct od_error *err);
// The inline batches in order; false after the last.
bool od_answer_next_batch(struct od_answer *answer, struct od_answer_batch *batch);

OD_END_C

#endif
