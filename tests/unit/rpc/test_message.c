// test_message.c - wire messages: packed by hand and read by protobuf-c, the other way round, and broken ones.
#include "rpc/message.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "rpc/error_detail.h"
#include "support/fault.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void keep(void *owner)
{
    (void)owner; // the bytes are the test's
}

static struct od_batch *make_batch(const struct od_segment *segments, size_t count, uint64_t rows)
{
    struct od_batch *batch = od_batch_new(segments, count, rows, 0, keep, NULL);
    assert_non_null(batch);
    return batch;
}

// The segments in one piece.
static uint8_t *join(const struct od_segment *segments, size_t count, size_t *bytes)
{
    *bytes = 0;
    for (size_t i = 0; i < count; i++)
        *bytes += segments[i].bytes;
    uint8_t *all = malloc(*bytes + 1), *at = all;
    for (size_t i = 0; i < count; i++) {
        memcpy(at, segments[i].data, segments[i].bytes);
        at += segments[i].bytes;
    }
    return all;
}

static void test_batch_message(void **state)
{
    (void)state;
    uint8_t body[300];
    for (size_t i = 0; i < sizeof body; i++)
        body[i] = (uint8_t)i;
    const struct od_segment segments[3] = {{body, 100}, {body + 100, 0}, {body + 100, 200}};
    const uint64_t numbers[] = {0, 1, 127, 128, UINT64_MAX};
    for (size_t n = 0; n < 5; n++) {
        struct od_batch *batch = make_batch(segments, 3, numbers[n]);
        struct od_segment out[4];
        size_t count, bytes;
        assert_int_equal(od_batch_message(1, numbers[n], batch, out, &count, NULL), OD_OK);
        assert_int_equal(count, 4);
        assert_ptr_equal(out[1].data, body); // not copied
        uint8_t *all = join(out, count, &bytes);
        // protobuf-c reads the same out of it ...
        ProtobufCMessage *message;
        assert_int_equal(od_message_unpack(&openduck__v1__stream_reply__descriptor, all, bytes, &message, NULL), OD_OK);
        Openduck__V1__StreamReply *reply = (Openduck__V1__StreamReply *)message;
        assert_int_equal(reply->message_case, OPENDUCK__V1__STREAM_REPLY__MESSAGE_BATCH);
        assert_true(reply->batch->number == numbers[n] && reply->batch->rows == numbers[n]);
        assert_int_equal(reply->batch->ipc.len, 300);
        assert_memory_equal(reply->batch->ipc.data, body, 300);
        protobuf_c_message_free_unpacked(message, NULL);
        // ... and so does our own reader, without a copy.
        struct od_stream_part part;
        assert_int_equal(od_stream_reply_parse(all, bytes, &part, NULL), OD_OK);
        assert_int_equal(part.kind, OD_STREAM_BATCH);
        assert_true(part.number == numbers[n] && part.rows == numbers[n]);
        assert_int_equal(part.ipc_bytes, 300);
        assert_ptr_equal(part.ipc, all + bytes - 300);
        // Every shorter piece of it is refused.
        for (size_t cut = 1; cut < bytes; cut++) {
            struct od_error err = {0};
            assert_int_equal(od_stream_reply_parse(all, cut, &part, &err), OD_INVALID);
            assert_non_null(strstr(err.message, "StreamReply"));
        }
        free(all);
        od_free((void *)(uintptr_t)out[0].data);
        od_batch_unref(batch);
    }
}

// Batches appended to a packed ExecuteReply are its `batches`.
static void test_batch_in_execute_reply(void **state)
{
    (void)state;
    Openduck__V1__ExecuteReply reply = OPENDUCK__V1__EXECUTE_REPLY__INIT;
    reply.execution_id = (char *)(uintptr_t) "e1";
    struct od_segment parts[3];
    assert_int_equal(od_message_pack(&reply.base, &parts[0], NULL), OD_OK);
    const struct od_segment segment = {(const uint8_t *)"arrow", 5};
    struct od_batch *batch = make_batch(&segment, 1, 3);
    size_t count, bytes;
    assert_int_equal(od_batch_message(3, 7, batch, parts + 1, &count, NULL), OD_OK);
    uint8_t *all = join(parts, 1 + count, &bytes);
    ProtobufCMessage *message;
    assert_int_equal(od_message_unpack(&openduck__v1__execute_reply__descriptor, all, bytes, &message, NULL), OD_OK);
    Openduck__V1__ExecuteReply *read = (Openduck__V1__ExecuteReply *)message;
    assert_string_equal(read->execution_id, "e1");
    assert_int_equal(read->n_batches, 1);
    assert_int_equal(read->batches[0]->number, 7);
    assert_int_equal(read->batches[0]->ipc.len, 5);
    protobuf_c_message_free_unpacked(message, NULL);
    free(all);
    od_free((void *)(uintptr_t)parts[0].data);
    od_free((void *)(uintptr_t)parts[1].data);
    od_batch_unref(batch);
}

static od_code parse_reply(const char *bytes, size_t count, struct od_stream_part *part)
{
    return od_stream_reply_parse((const uint8_t *)bytes, count, part, NULL);
}
#define REPLY(text) parse_reply(text, sizeof text - 1, &part)

static void test_protobuf_rules(void **state)
{
    (void)state;
    struct od_stream_part part;
    // Unknown fields of every kind, around and inside.
    assert_int_equal(REPLY("\x18\x05\x25"
                           "abcd"
                           "\x29"
                           "abcdefgh"
                           "\x0a\x09\x08\x07\x22\x01z\x1a\x02xy\x32\x00"),
                     OD_OK);
    assert_int_equal(part.kind, OD_STREAM_BATCH);
    assert_int_equal(part.number, 7);
    assert_int_equal(part.ipc_bytes, 2);
    // A known number with another type is unknown too.
    assert_int_equal(REPLY("\x08\x05\x0a\x04\x0a\x02hi"), OD_OK);
    assert_int_equal(part.ipc_bytes, 0);
    // The last member of the oneof wins, and leaves nothing of the first.
    assert_int_equal(REPLY("\x0a\x06\x08\x07\x10\x09\x1a\x00\x12\x02\x08\x03"), OD_OK);
    assert_int_equal(part.kind, OD_STREAM_END);
    assert_int_equal(part.batches, 3);
    assert_int_equal(part.rows, 0);
    assert_int_equal(part.number, 0);
    // The same member twice is one message.
    assert_int_equal(REPLY("\x0a\x02\x08\x07\x0a\x02\x10\x09"), OD_OK);
    assert_int_equal(part.number, 7);
    assert_int_equal(part.rows, 9);
    // An empty batch is one; an empty message is none.
    assert_int_equal(REPLY("\x0a\x00"), OD_OK);
    assert_int_equal(part.kind, OD_STREAM_BATCH);
    assert_int_equal(REPLY("\x12\x00"), OD_OK);
    assert_int_equal(part.kind, OD_STREAM_END);
    assert_int_equal(REPLY(""), OD_INVALID);
    assert_int_equal(od_stream_reply_parse(NULL, 0, &part, NULL), OD_INVALID);
    assert_int_equal(REPLY("\x18\x05"), OD_INVALID);
    // Broken: field 0, groups, a varint of eleven bytes, one beyond 64 bits, lengths beyond the end, inside too.
    assert_int_equal(REPLY("\x02\x00"), OD_INVALID);
    assert_int_equal(REPLY("\x0b\x0c"), OD_INVALID);
    assert_int_equal(REPLY("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), OD_INVALID);
    assert_int_equal(REPLY("\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), OD_INVALID);
    assert_int_equal(REPLY("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), OD_INVALID);
    assert_int_equal(REPLY("\x0a\x03\x1a\x05x"), OD_INVALID);
    assert_int_equal(REPLY("\x0a\x02\x08"), OD_INVALID);

    const char upload[] = "\x0a\x03"
                          "abc";
    assert_int_equal(od_upload_request_parse((const uint8_t *)upload, 5, &part, NULL), OD_OK);
    assert_int_equal(part.kind, OD_STREAM_OPEN);
    assert_int_equal(part.open_bytes, 3);
    assert_memory_equal(part.open, "abc", 3);
    assert_int_equal(od_upload_request_parse((const uint8_t *)"\x12\x02\x08\x04", 4, &part, NULL), OD_OK);
    assert_int_equal(part.kind, OD_STREAM_BATCH);
    assert_int_equal(part.number, 4);
    assert_int_equal(od_upload_request_parse((const uint8_t *)"\x1a\x04\x08\x04\x10\x05", 6, &part, NULL), OD_OK);
    assert_int_equal(part.kind, OD_STREAM_END);
    assert_int_equal(part.rows, 5);
}

static void test_layout(void **state)
{
    (void)state;
    // An encapsulated message: marker, 8 bytes of metadata, body.
    uint8_t ipc[8 + 8 + 48] = {0xff, 0xff, 0xff, 0xff, 8};
    const struct od_segment segment = {ipc, sizeof ipc};
    struct od_batch *batch = make_batch(&segment, 1, 1000);
    for (uint32_t field = 1; field <= 2; field++) {
        size_t (*layout)(const uint8_t *, size_t, size_t) =
            field == 1 ? od_stream_reply_layout : od_upload_request_layout;
        struct od_segment out[2];
        size_t count, bytes;
        assert_int_equal(od_batch_message(field, 12345, batch, out, &count, NULL), OD_OK);
        uint8_t *all = join(out, count, &bytes);
        assert_int_equal(layout(all, bytes, bytes), bytes - 48);
        assert_int_equal(layout(all, out[0].bytes + 8, bytes), bytes - 48); // a head is enough
        for (size_t head = 0; head < out[0].bytes + 8; head++)
            assert_int_equal(layout(all, head, bytes), 0);
        assert_int_equal(layout(all, bytes, bytes - 48), 0);
        all[out[0].bytes] = 0;
        assert_int_equal(layout(all, bytes, bytes), 0);
        free(all);
        od_free((void *)(uintptr_t)out[0].data);
    }
    od_batch_unref(batch);
    assert_int_equal(od_stream_reply_layout((const uint8_t *)"\x12\x02\x08\x01", 4, 4), 0);
}

static void test_unpack_limits(void **state)
{
    (void)state;
    struct od_error err = {0};
    ProtobufCMessage *message;
    assert_int_equal(od_message_unpack(&openduck__v1__execute_request__descriptor,
                                       (const uint8_t *)"\x0a\x05"
                                                        "ab",
                                       4, &message, &err),
                     OD_INVALID);
    assert_non_null(strstr(err.message, "openduck.v1.ExecuteRequest"));
    assert_int_equal(od_message_unpack(&openduck__v1__execute_request__descriptor, NULL, 0, &message, &err), OD_OK);
    protobuf_c_message_free_unpacked(message, NULL);
    // A megabyte of empty batches would be a hundred in memory.
    size_t bytes = 1024 * 1024;
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i += 2)
        memcpy(data + i, "\x1a\x00", 2);
    assert_int_equal(od_message_unpack(&openduck__v1__execute_reply__descriptor, data, bytes, &message, &err),
                     OD_INVALID);
    free(data);
    // Small honest messages are far from the limit.
    Openduck__V1__Setting one = OPENDUCK__V1__SETTING__INIT, *settings[5000];
    one.name = (char *)(uintptr_t) "n";
    for (size_t i = 0; i < 5000; i++)
        settings[i] = &one;
    Openduck__V1__ExecuteRequest request = OPENDUCK__V1__EXECUTE_REQUEST__INIT;
    request.n_settings = 5000;
    request.settings = settings;
    struct od_segment packed;
    assert_int_equal(od_message_pack(&request.base, &packed, &err), OD_OK);
    assert_int_equal(
        od_message_unpack(&openduck__v1__execute_request__descriptor, packed.data, packed.bytes, &message, &err),
        OD_OK);
    protobuf_c_message_free_unpacked(message, NULL);
    od_free((void *)(uintptr_t)packed.data);
}

// ---- errors

static void check_round_trip(const struct od_error *error, const char *expected_message)
{
    struct od_buf buf;
    struct od_error read;
    od_buf_init(&buf, 8192);
    assert_int_equal(od_error_pack(error, &buf, NULL), OD_OK);
    assert_true(buf.bytes <= OD_ERROR_DETAIL_BYTES);
    // What we write by hand is an ErrorDetail for everybody.
    ProtobufCMessage *message;
    assert_int_equal(od_message_unpack(&openduck__v1__error_detail__descriptor, buf.data, buf.bytes, &message, NULL),
                     OD_OK);
    Openduck__V1__ErrorDetail *detail = (Openduck__V1__ErrorDetail *)message;
    assert_string_equal(detail->code, od_code_name(error->code));
    assert_int_equal(detail->retryable, error->retryable);
    protobuf_c_message_free_unpacked(message, NULL);
    od_error_unpack(buf.data, buf.bytes, 2, "status text", &read);
    assert_int_equal(read.code, error->code);
    assert_int_equal(read.retryable, error->retryable);
    assert_string_equal(read.error_class, error->error_class);
    assert_string_equal(read.message, expected_message);
    assert_int_equal(read.extra_bytes, error->extra_bytes);
    assert_memory_equal(read.extra, error->extra, error->extra_bytes);
    od_buf_release(&buf);
}

static void test_error_round_trip(void **state)
{
    (void)state;
    struct od_error error = {0};
    for (unsigned code = 1; code < OD_CODE_COUNT; code++) {
        (void)od_fail(&error, (od_code)code, "it is code %u", code);
        check_round_trip(&error, error.message);
    }
    (void)od_fail(&error, OD_SQL, "Ünïcödé \xe2\x82\xac \xf0\x9f\xa6\x86 100%%\nsecond line");
    od_error_set_class(&error, "Binder",
                       "position\0"
                       "7\0candidates\0a, b\0empty\0",
                       34);
    assert_int_equal(error.extra_bytes, 34);
    check_round_trip(&error, error.message);
    // Bytes that are no text become question marks.
    (void)od_fail(&error, OD_SQL, "a\xff\xc3(\xe2\x82z\xed\xa0\x80|");
    check_round_trip(&error, "a?"
                             "?("
                             "?"
                             "?z??"
                             "?|");
}

static void test_error_limits(void **state)
{
    (void)state;
    static struct od_error error, read;
    struct od_buf buf;
    // The longest message and the fullest extra: both arrive, the message cut at a character.
    char text[OD_ERROR_MESSAGE_BYTES];
    for (size_t i = 0; i + 1 < sizeof text; i++)
        text[i] = (i & 1) ? '\xa4' : '\xc3';
    text[sizeof text - 1] = '\0';
    memcpy(text, "x", 1), memcpy(text + 1, "y", 1);
    (void)od_fail(&error, OD_SQL, "%s", text);
    char extra[OD_ERROR_EXTRA_BYTES];
    memset(extra, 'v', sizeof extra);
    extra[4] = extra[sizeof extra - 1] = '\0';
    od_error_set_class(&error, "Constraint", extra, sizeof extra);
    od_buf_init(&buf, 8192);
    assert_int_equal(od_error_pack(&error, &buf, NULL), OD_OK);
    assert_true(buf.bytes <= OD_ERROR_DETAIL_BYTES && buf.bytes > OD_ERROR_DETAIL_BYTES - 20);
    od_error_unpack(buf.data, buf.bytes, 2, "", &read);
    assert_int_equal(read.extra_bytes, sizeof extra);
    size_t bytes = strlen(read.message);
    assert_in_range(bytes, 2500, OD_ERROR_DETAIL_BYTES);
    assert_string_equal(read.message + bytes - 3, "...");
    assert_memory_equal(read.message + bytes - 5, "\xc3\xa4", 2);
    // Hundreds of tiny pairs are dropped rather than the message.
    error.extra_bytes = 1024;
    memset(error.extra, 0, sizeof error.extra);
    for (size_t i = 0; i < 1024; i += 4)
        error.extra[i] = 'n', error.extra[i + 2] = 'v';
    buf.bytes = 0;
    assert_int_equal(od_error_pack(&error, &buf, NULL), OD_OK);
    assert_true(buf.bytes <= OD_ERROR_DETAIL_BYTES);
    od_error_unpack(buf.data, buf.bytes, 2, "", &read);
    assert_true(strlen(read.message) > 2000);
    // A struct that was never filled properly does no harm.
    memset(&error, 0x41, sizeof error);
    error.code = OD_IO;
    error.retryable = false;
    error.message[sizeof error.message - 1] = error.error_class[sizeof error.error_class - 1] = '\0';
    buf.bytes = 0;
    assert_int_equal(od_error_pack(&error, &buf, NULL), OD_OK);
    od_buf_release(&buf);
}

static void test_foreign_errors(void **state)
{
    (void)state;
    struct od_error read;
    od_error_unpack(NULL, 0, 5, "no such thing", &read);
    assert_int_equal(read.code, OD_NOT_FOUND);
    assert_string_equal(read.message, "no such thing");
    // A code of a later version is read by the gRPC status; OK is never an error's code.
    od_error_unpack((const uint8_t *)"\x0a\x03NEW\x1a\x01m", 8, 14, "", &read);
    assert_int_equal(read.code, OD_UNAVAILABLE);
    assert_string_equal(read.message, "m");
    od_error_unpack((const uint8_t *)"\x0a\x02OK", 4, 0, NULL, &read);
    assert_int_equal(read.code, OD_INTERNAL);
    assert_string_equal(read.message, "INTERNAL");
    od_error_unpack((const uint8_t *)"\x0a\x08INTERNAL", 10, 3, NULL, &read);
    assert_int_equal(read.code, OD_INTERNAL);
    // Broken extra information is left out.
    od_error_unpack((const uint8_t *)"\x0a\x03SQL\x2a\x04\x0a\x02"
                                     "ab\x2a\x03\x0a\x09z\x2a\x05\x0a\x03"
                                     "a\0b",
                    22, 2, "x", &read);
    assert_int_equal(read.code, OD_SQL);
    assert_int_equal(read.extra_bytes, 4);
    assert_memory_equal(read.extra, "ab\0\0", 4);
}

static void test_text_clean(void **state)
{
    (void)state;
    char out[64];
    assert_int_equal(od_text_clean(out, sizeof out, "abc", 3, SIZE_MAX), 3);
    assert_int_equal(od_text_clean(out, 4, "abc", 3, SIZE_MAX), 3);
    assert_string_equal(out, "abc");
    assert_int_equal(od_text_clean(out, 4, "abcd", 4, SIZE_MAX), 3);
    assert_string_equal(out, "...");
    od_text_clean(out, sizeof out, "1234567890", 10, 8);
    assert_string_equal(out, "12345...");
    od_text_clean(out, sizeof out, "\xc3\xa4\xc3\xa4\xc3\xa4", 6, 12); // six bytes each when escaped
    assert_string_equal(out, "\xc3\xa4...");
    od_text_clean(out, sizeof out, "a%b", 3, SIZE_MAX);
    assert_string_equal(out, "a%b");
    assert_int_equal(od_text_clean(out, sizeof out, NULL, 0, 100), 0);
}

static void test_faults(void **state)
{
    (void)state;
    const struct od_segment segment = {(const uint8_t *)"arrow", 5};
    struct od_batch *batch = make_batch(&segment, 1, 3);
    Openduck__V1__Setting setting = OPENDUCK__V1__SETTING__INIT, *settings[2] = {&setting, &setting};
    Openduck__V1__ExecuteRequest request = OPENDUCK__V1__EXECUTE_REQUEST__INIT;
    setting.name = (char *)(uintptr_t) "TimeZone";
    request.sql = (char *)(uintptr_t) "SELECT 1";
    request.settings = settings;
    request.n_settings = 2;
    struct od_error failure = {0};
    (void)od_fail(&failure, OD_SQL, "wrong");
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_segment packed = {0}, out[2] = {{0}};
        size_t count;
        od_code rc = od_message_pack(&request.base, &packed, &err);
        od_fault_expect(&fault, rc, &err);
        if (rc == OD_OK) {
            ProtobufCMessage *message;
            rc = od_message_unpack(&openduck__v1__execute_request__descriptor, packed.data, packed.bytes, &message,
                                   &err);
            od_fault_expect(&fault, rc, &err);
            if (rc == OD_OK)
                protobuf_c_message_free_unpacked(message, NULL);
            od_free((void *)(uintptr_t)packed.data);
        }
        rc = od_batch_message(1, 0, batch, out, &count, &err);
        od_fault_expect(&fault, rc, &err);
        if (rc == OD_OK)
            od_free((void *)(uintptr_t)out[0].data);
        struct od_buf buf;
        od_buf_init(&buf, 8192);
        rc = od_error_pack(&failure, &buf, &err);
        od_fault_expect(&fault, rc, &err);
        if (rc != OD_OK)
            assert_int_equal(buf.bytes, 0);
        od_buf_release(&buf);
    }
    od_batch_unref(batch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_batch_message),  cmocka_unit_test(test_batch_in_execute_reply),
        cmocka_unit_test(test_protobuf_rules), cmocka_unit_test(test_layout),
        cmocka_unit_test(test_unpack_limits),  cmocka_unit_test(test_error_round_trip),
        cmocka_unit_test(test_error_limits),   cmocka_unit_test(test_foreign_errors),
        cmocka_unit_test(test_text_clean),     cmocka_unit_test(test_faults),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
