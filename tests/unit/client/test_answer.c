// Bytes of a server taken apart: ExecuteReply (answer.c) and Arrow streams (ipc_split.c).
#include "client/answer.h"
#include "client/ipc_split.h"
#include "unit/client/fake_server.h"

#include "arrow/ipc.h"
#include "base/alloc.h"
#include "rpc/message.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

static struct od_segment sample(void)
{
    Openduck__V1__ExecuteReply reply = OPENDUCK__V1__EXECUTE_REPLY__INIT;
    Openduck__V1__Batch a = OPENDUCK__V1__BATCH__INIT, b = OPENDUCK__V1__BATCH__INIT, *batches[] = {&a, &b};
    Openduck__V1__Ticket ticket = OPENDUCK__V1__TICKET__INIT, *tickets[] = {&ticket};
    Openduck__V1__End end = OPENDUCK__V1__END__INIT;
    Openduck__V1__CommitToken commit = OPENDUCK__V1__COMMIT_TOKEN__INIT;
    struct od_segment packed;
    reply.execution_id = (char *)(uintptr_t) "id";
    reply.catalog_version = (char *)(uintptr_t) "v7";
    reply.incarnation = (char *)(uintptr_t) "i";
    reply.statement = (char *)(uintptr_t) "INSERT";
    reply.catalog_name = (char *)(uintptr_t) "main";
    reply.result = OPENDUCK__V1__STATEMENT_RESULT__STATEMENT_RESULT_CHANGED_ROWS;
    reply.in_transaction = true;
    reply.queue_us = 3;
    reply.run_us = UINT64_MAX;
    a.ipc.data = (uint8_t *)(uintptr_t) "first";
    a.ipc.len = 5;
    a.rows = 1000;
    b.number = 1;
    reply.n_batches = 2;
    reply.batches = batches;
    ticket.ticket.data = (uint8_t *)(uintptr_t) "tick";
    ticket.ticket.len = 4;
    ticket.partition = 9;
    reply.n_tickets = 1;
    reply.tickets = tickets;
    end.batches = 2;
    end.rows = 1000;
    reply.end = &end;
    reply.commit = &commit; // not used by this version
    assert_int_equal(od_message_pack(&reply.base, &packed, NULL), OD_OK);
    return packed;
}

static void an_answer_is_taken_apart(void **state)
{
    struct od_answer answer;
    struct od_answer_batch batch;
    struct od_segment packed = sample();
    (void)state;
    assert_int_equal(od_answer_parse(packed.data, packed.bytes, &answer, NULL), OD_OK);
    assert_memory_equal(answer.execution_id.data, "id", 2);
    assert_int_equal(answer.statement.bytes, 6);
    assert_int_equal(answer.result, 1);
    assert_true(answer.in_transaction);
    assert_false(answer.read_only);
    assert_int_equal(answer.queue_us, 3);
    assert_true(answer.run_us == UINT64_MAX);
    assert_true(answer.has_end);
    assert_int_equal(answer.end_batches, 2);
    assert_int_equal(answer.end_rows, 1000);
    assert_int_equal(answer.ticket_count, 1);
    assert_int_equal(answer.ticket_partition, 9);
    assert_memory_equal(answer.ticket.data, "tick", 4);
    assert_int_equal(answer.batch_count, 2);
    assert_true(od_answer_next_batch(&answer, &batch));
    assert_int_equal(batch.rows, 1000);
    assert_memory_equal(batch.ipc.data, "first", 5);
    assert_true(od_answer_next_batch(&answer, &batch));
    assert_int_equal(batch.number, 1);
    assert_int_equal(batch.ipc.bytes, 0);
    assert_false(od_answer_next_batch(&answer, &batch));
    od_free((void *)(uintptr_t)packed.data);
}

static void no_bytes_are_an_empty_answer(void **state)
{
    struct od_answer answer;
    (void)state;
    assert_int_equal(od_answer_parse(NULL, 0, &answer, NULL), OD_OK);
    assert_false(answer.has_end);
    assert_int_equal(answer.ticket_count, 0);
}

// Every cut and every flipped byte: an answer or OD_CORRUPT, never a bad access. The bytes are in a block of exactly
// their size, so that the sanitizer sees a step too far.
static void damaged_answers_are_refused_or_harmless(void **state)
{
    struct od_segment packed = sample();
    unsigned refused = 0;
    (void)state;
    for (size_t bytes = 0; bytes <= packed.bytes; bytes++)
        for (size_t flip = 0; flip < bytes; flip++) {
            struct od_answer answer;
            struct od_answer_batch batch;
            uint8_t *copy = malloc(bytes);
            memcpy(copy, packed.data, bytes);
            copy[flip] ^= 0xff;
            if (od_answer_parse(copy, bytes, &answer, NULL) == OD_OK) {
                while (od_answer_next_batch(&answer, &batch))
                    assert_true(batch.ipc.bytes <= bytes);
            } else {
                refused++;
            }
            free(copy);
        }
    assert_true(refused > 100);
    od_free((void *)(uintptr_t)packed.data);
}

// ---- Arrow streams

static void complete_stream(struct od_buf *out, unsigned batches)
{
    struct ArrowSchema schema;
    od_buf_init(out, 1 << 20);
    make_schema(&schema);
    assert_int_equal(od_ipc_encode_schema(&schema, out, NULL), OD_OK);
    for (unsigned i = 0; i < batches; i++) {
        struct ArrowArray array;
        struct od_batch *batch;
        make_array(&array, i * 100, 100);
        assert_int_equal(od_ipc_encode_array(&schema, &array, &batch, NULL), OD_OK);
        assert_int_equal(od_buf_append(out, batch->segments[0].data, batch->bytes, NULL), OD_OK);
        od_batch_unref(batch);
        array.release(&array);
    }
    assert_int_equal(od_buf_append(out, od_ipc_end_of_stream, 8, NULL), OD_OK);
    schema.release(&schema);
}

static void streams_are_cut_into_messages(void **state)
{
    struct od_buf bytes, twice;
    struct od_ipc_split split;
    struct od_ipc_piece piece;
    bool more;
    unsigned schemas = 0, batches = 0;
    (void)state;
    complete_stream(&bytes, 3);
    od_buf_init(&twice, 1 << 20);
    assert_int_equal(od_buf_append(&twice, bytes.data, bytes.bytes, NULL), OD_OK);
    assert_int_equal(od_buf_append(&twice, bytes.data, bytes.bytes, NULL), OD_OK);
    od_ipc_split_init(&split, twice.data, twice.bytes);
    for (;;) {
        struct od_error err = {0};
        if (od_ipc_split_next(&split, &piece, &more, &err) != OD_OK)
            fail_msg("%s", err.message);
        if (!more)
            break;
        size_t body;
        assert_int_equal(od_ipc_check(piece.message, piece.bytes, piece.schema ? OD_IPC_SCHEMA : OD_IPC_BATCH, &body,
                                      NULL, NULL), OD_OK);
        assert_int_equal(body, piece.header_bytes);
        schemas += piece.schema;
        batches += !piece.schema;
    }
    assert_int_equal(schemas, 2);
    assert_int_equal(batches, 6);
    od_buf_release(&bytes);
    od_buf_release(&twice);
}

static void damaged_streams_are_refused_or_harmless(void **state)
{
    struct od_buf bytes;
    unsigned refused = 0;
    (void)state;
    complete_stream(&bytes, 1);
    for (size_t flip = 0; flip < bytes.bytes; flip++)
        for (unsigned cut = 0; cut < 2; cut++) {
            struct od_ipc_split split;
            struct od_ipc_piece piece;
            bool more = true;
            size_t kept = cut ? flip + 1 : bytes.bytes;
            uint8_t *copy = malloc(kept);
            memcpy(copy, bytes.data, kept);
            copy[flip] ^= 0xff;
            od_ipc_split_init(&split, copy, kept);
            od_code rc = OD_OK;
            while (rc == OD_OK && more)
                rc = od_ipc_split_next(&split, &piece, &more, NULL);
            refused += rc != OD_OK;
            free(copy);
        }
    assert_true(refused > 20);
    od_buf_release(&bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_is_taken_apart),
        cmocka_unit_test(no_bytes_are_an_empty_answer),
        cmocka_unit_test(damaged_answers_are_refused_or_harmless),
        cmocka_unit_test(streams_are_cut_into_messages),
        cmocka_unit_test(damaged_streams_are_refused_or_harmless),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
