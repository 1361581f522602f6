// answer.c - see answer.h. The numbers are those of the .proto.
#include "client/answer.h"

enum {
    REPLY_EXECUTION_ID = 1,
    REPLY_SCHEMA = 2,
    REPLY_BATCHES = 3,
    REPLY_END = 4,
    REPLY_TICKETS = 5,
    REPLY_CATALOG_VERSION = 7,
    REPLY_INCARNATION = 8,
    REPLY_RESULT = 9,
    REPLY_IN_TRANSACTION = 10,
    REPLY_STATEMENT = 11,
    REPLY_PARAMETER_SCHEMA = 12,
    REPLY_QUEUE_US = 13,
    REPLY_RUN_US = 14,
    REPLY_CATALOG_NAME = 15,
    REPLY_READ_ONLY = 16,
};
enum { BATCH_NUMBER = 1, BATCH_ROWS = 2, BATCH_IPC = 3 };
enum { END_BATCHES = 1, END_ROWS = 2 };
enum { TICKET_PARTITION = 1, TICKET_TICKET = 2, TICKET_ENDPOINT = 3 };

static struct od_answer_bytes bytes_of(const struct od_wire_field *field)
{
    return (struct od_answer_bytes){field->data, field->bytes};
}

static bool parse_batch(const struct od_wire_field *outer, struct od_answer_batch *batch)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    *batch = (struct od_answer_batch){0};
    od_wire_reader_init(&reader, outer->data, outer->bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.number == BATCH_NUMBER && field.type == OD_WIRE_VARINT)
            batch->number = field.value;
        else if (field.number == BATCH_ROWS && field.type == OD_WIRE_VARINT)
            batch->rows = field.value;
        else if (field.number == BATCH_IPC && field.type == OD_WIRE_BYTES)
            batch->ipc = bytes_of(&field);
    }
    return !reader.broken;
}

static bool parse_end(const struct od_wire_field *outer, struct od_answer *answer)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    answer->has_end = true;
    od_wire_reader_init(&reader, outer->data, outer->bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.number == END_BATCHES && field.type == OD_WIRE_VARINT)
            answer->end_batches = field.value;
        else if (field.number == END_ROWS && field.type == OD_WIRE_VARINT)
            answer->end_rows = field.value;
    }
    return !reader.broken;
}

static bool parse_ticket(const struct od_wire_field *outer, struct od_answer *answer)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    answer->ticket_count++;
    answer->ticket = answer->ticket_endpoint = (struct od_answer_bytes){0};
    answer->ticket_partition = 0;
    od_wire_reader_init(&reader, outer->data, outer->bytes);
    while (od_wire_next(&reader, &field)) {
        if (field.number == TICKET_PARTITION && field.type == OD_WIRE_VARINT)
            answer->ticket_partition = (uint32_t)field.value;
        else if (field.number == TICKET_TICKET && field.type == OD_WIRE_BYTES)
            answer->ticket = bytes_of(&field);
        else if (field.number == TICKET_ENDPOINT && field.type == OD_WIRE_BYTES)
            answer->ticket_endpoint = bytes_of(&field);
    }
    return !reader.broken;
}

static bool parse_bytes(const struct od_wire_field *field, struct od_answer *answer)
{
    struct od_answer_batch ignored;
    switch (field->number) {
    case REPLY_EXECUTION_ID:
        answer->execution_id = bytes_of(field);
        return true;
    case REPLY_SCHEMA:
        answer->schema = bytes_of(field);
        return true;
    case REPLY_BATCHES:
        answer->batch_count++;
        return parse_batch(field, &ignored);
    case REPLY_END:
        return parse_end(field, answer);
    case REPLY_TICKETS:
        return parse_ticket(field, answer);
    case REPLY_CATALOG_VERSION:
        answer->catalog_version = bytes_of(field);
        return true;
    case REPLY_INCARNATION:
        answer->incarnation = bytes_of(field);
        return true;
    case REPLY_STATEMENT:
        answer->statement = bytes_of(field);
        return true;
    case REPLY_PARAMETER_SCHEMA:
        answer->parameter_schema = bytes_of(field);
        return true;
    case REPLY_CATALOG_NAME:
        answer->catalog_name = bytes_of(field);
        return true;
    default:
        return true;
    }
}

static void parse_number(const struct od_wire_field *field, struct od_answer *answer)
{
    switch (field->number) {
    case REPLY_RESULT:
        answer->result = field->value <= 2 ? (int)field->value : 0;
        break;
    case REPLY_IN_TRANSACTION:
        answer->in_transaction = field->value != 0;
        break;
    case REPLY_READ_ONLY:
        answer->read_only = field->value != 0;
        break;
    case REPLY_QUEUE_US:
        answer->queue_us = field->value;
        break;
    case REPLY_RUN_US:
        answer->run_us = field->value;
        break;
    default:
        break;
    }
}

od_code od_answer_parse(const uint8_t *data, size_t bytes, struct od_answer *answer, struct od_error *err)
{
    struct od_wire_reader reader;
    struct od_wire_field field;
    bool sound = true;
    *answer = (struct od_answer){0};
    od_wire_reader_init(&reader, data, bytes);
    while (sound && od_wire_next(&reader, &field)) {
        if (field.type == OD_WIRE_BYTES)
            sound = parse_bytes(&field, answer);
        else if (field.type == OD_WIRE_VARINT)
            parse_number(&field, answer);
    }
    if (!sound || reader.broken)
        return od_fail(err, OD_CORRUPT, "the server's answer of %zu bytes is not a valid ExecuteReply message", bytes);
    od_wire_reader_init(&answer->batches, data, bytes);
    return OD_OK;
}

bool od_answer_next_batch(struct od_answer *answer, struct od_answer_batch *batch)
{
    struct od_wire_field field;
    while (od_wire_next(&answer->batches, &field))
        if (field.number == REPLY_BATCHES && field.type == OD_WIRE_BYTES && parse_batch(&field, batch))
            return true;
    return false;
}
