// execution_reply.c - the answer to Execute: what the statement is, the batches that fit, and where the rest is.
#include "base/alloc.h"
#include "base/limits.h"
#include "os/clock.h"
#include "server/execution.h"

#include <string.h>

#define EXECUTE_REPLY_BATCHES 3u                        // field number in ExecuteReply
#define TICKET_MS (24u * 60u * 60u * 1000u)             // a ticket's execution rarely lives that long
#define INLINE_BYTES_MAX (OD_MESSAGE_BYTES_MAX / 2)

// Takes batches from the result until the answer is full. False: the result failed.
static bool collect(struct od_execution *execution, struct od_error *error)
{
    struct od_batch *batch;
    while (!execution->ended && execution->window.bytes <= execution->task.inline_limit) {
        switch (od_result_pop(execution->result, &batch, error)) {
        case OD_POP_BATCH:
            execution->moved_ms = od_clock_ms();
            if (od_window_add(&execution->window, batch, error) != OD_OK)
                return false;
            break;
        case OD_POP_EMPTY:
            return true;
        case OD_POP_END:
            execution->ended = true;
            break;
        case OD_POP_FAILED:
            return false;
        }
    }
    return true;
}

// How many batches, from the first, fit into the answer.
static size_t fitting(const struct od_execution *execution)
{
    uint64_t bytes = 0;
    size_t count = 0;
    struct od_batch *batch;
    while ((batch = od_window_peek(&execution->window, count))) {
        bytes += batch->bytes;
        if (bytes > execution->task.inline_limit)
            break;
        count++;
    }
    return count;
}

static Openduck__V1__StatementResult result_kind(enum od_result_kind kind)
{
    return kind == OD_RESULT_ROWS           ? OPENDUCK__V1__STATEMENT_RESULT__STATEMENT_RESULT_ROWS
           : kind == OD_RESULT_CHANGED_ROWS ? OPENDUCK__V1__STATEMENT_RESULT__STATEMENT_RESULT_CHANGED_ROWS
                                            : OPENDUCK__V1__STATEMENT_RESULT__STATEMENT_RESULT_NOTHING;
}

static ProtobufCBinaryData binary(const uint8_t *data, size_t bytes)
{
    return (ProtobufCBinaryData){.len = bytes, .data = (uint8_t *)(uintptr_t)data}; // packing only reads
}

static char *text(const char *value)
{
    return (char *)(uintptr_t)value; // packing only reads
}

static od_code pack(struct od_execution *execution, const struct od_result_info *info, bool complete,
                    struct od_segment *head, struct od_error *err)
{
    struct od_server *server = execution->server;
    Openduck__V1__ExecuteReply reply = OPENDUCK__V1__EXECUTE_REPLY__INIT;
    Openduck__V1__CommitToken commit = OPENDUCK__V1__COMMIT_TOKEN__INIT;
    Openduck__V1__End end = OPENDUCK__V1__END__INIT;
    Openduck__V1__Ticket ticket = OPENDUCK__V1__TICKET__INIT, *tickets[] = {&ticket};
    uint8_t signature[OD_TICKET_BYTES];
    uint64_t now_us = od_clock_us();
    reply.execution_id = execution->id_text;
    reply.schema = binary(info->schema, info->schema_bytes);
    reply.parameter_schema = binary(info->parameter_schema, info->parameter_schema_bytes);
    if (complete) {
        end.batches = execution->window.next;
        end.rows = execution->window.rows;
        end.catalog_version = text(info->catalog_version);
        end.in_transaction = execution->in_transaction;
        reply.end = &end;
    } else {
        od_ticket_sign(&server->secret, &execution->id, 0, execution->identity, od_clock_ms() + TICKET_MS, signature);
        ticket.ticket = binary(signature, sizeof signature);
        reply.tickets = tickets;
        reply.n_tickets = 1;
    }
    if (info->lsn) {
        commit.branch = execution->branch;
        commit.epoch = info->epoch;
        commit.lsn = info->lsn;
        reply.commit = &commit;
    }
    reply.catalog_version = text(info->catalog_version);
    reply.catalog_name = execution->catalog_name;
    reply.incarnation = server->incarnation;
    reply.result = result_kind(info->kind);
    reply.in_transaction = execution->in_transaction;
    reply.statement = text(info->statement);
    reply.read_only = info->read_only;
    reply.queue_us = execution->began_us - execution->arrived_us;
    reply.run_us = (execution->done_us ? execution->done_us : now_us) - execution->began_us;
    return od_message_pack(&reply.base, head, err);
}

struct od_reply *od_execution_make_reply(struct od_execution *execution, bool *complete)
{
    struct od_error error = {0};
    struct od_batch **batches = NULL;
    struct od_segment head = {0};
    struct od_reply *reply = NULL;
    struct od_result_info info;
    uint64_t number;
    od_code rc = OD_OK;
    *complete = true;
    if (execution->task.inline_limit > INLINE_BYTES_MAX)
        execution->task.inline_limit = INLINE_BYTES_MAX;
    if (execution->core.phase == OD_PHASE_DONE && execution->outcome != OD_OK) {
        error = execution->failure;
        OD_TRY(error.code);
    }
    if (!collect(execution, &error))
        OD_TRY(error.code);
    if (!od_result_ready(execution->result, &info))
        OD_TRY(od_fail(&error, OD_INTERNAL, "a statement without a schema was to be answered"));
    size_t count = fitting(execution);
    *complete = execution->ended && count == execution->window.next;
    OD_TRY(pack(execution, &info, *complete, &head, &error));
    batches = od_alloc((count + 1) * sizeof(struct od_batch *));
    if (!batches)
        OD_TRY(od_fail(&error, OD_NO_MEMORY, "no memory for the answer"));
    for (size_t i = 0; i < count; i++)
        batches[i] = od_window_peek(&execution->window, i);
    OD_TRY(od_reply_new(head, EXECUTE_REPLY_BATCHES, batches, count, &reply, &error));
    head = (struct od_segment){0};
    while (execution->window.cursor < count)
        if (!od_window_send(&execution->window, &number))
            break;
out:
    od_execution_account(execution);
    od_free(batches);
    od_free((void *)(uintptr_t)head.data);
    if (rc != OD_OK) {
        *complete = true;
        od_execution_explain(execution, &error);
        reply = od_reply_new_error(&error);
    }
    return reply;
}
