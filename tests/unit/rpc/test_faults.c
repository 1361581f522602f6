// test_faults.c - memory runs out at each step of starting, connecting, calling and streaming: typed errors on the side
// that asked, nothing leaks, nobody waits for ever, and afterwards all is well.
#include "support/fault.h"
#include "unit/rpc/fixture.h"

#include "rpc/message.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void test_start_and_open(void **state)
{
    (void)state;
    struct od_method method = {.name = "/test.Service/None"};
    struct od_rpc_server_options server_options = {
        .listen = "127.0.0.1:0", .token = TOKEN, .methods = &method, .method_count = 1};
    struct od_channel_options options = {.endpoint = "127.0.0.1:1", .token = TOKEN};
    OD_FAULT_LOOP(fault)
    {
        struct od_error err = {0};
        struct od_rpc_server *server;
        struct od_channel *channel;
        od_code rc = od_rpc_server_start(&server_options, &server, &err);
        od_fault_expect(&fault, rc, &err);
        if (rc == OD_OK)
            od_rpc_server_free(server);
        rc = od_channel_open(&options, &channel, &err);
        od_fault_expect(&fault, rc, &err);
        if (rc == OD_OK)
            od_channel_close(channel);
    }
}

// Client and server share the heap here, so the fault hits either: the client hears of it in any case.
static void expect_outcome(od_code rc, const struct od_error *err)
{
    if (rc == OD_OK)
        return;
    od_fault_disarm();
    if (rc != OD_NO_MEMORY && rc != OD_LIMIT && rc != OD_DISCONNECTED)
        fail_msg("%s: %s", od_code_name(rc), err->message);
    assert_int_equal(err->code, rc);
    assert_true(err->message[0]);
}

enum { POINTS = 24 }; // more than a call passes on both sides together

static void test_calls(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    unsigned failed = 0;
    fixture_start(&f, NULL, NULL);
    for (unsigned at = 0; at < POINTS; at++) {
        od_fault_arm(at, false);
        od_code rc = call_text(f.channel, "/test.Service/Echo", "hello", &reply, &err);
        od_fault_disarm();
        expect_outcome(rc, &err);
        failed += rc != OD_OK;
        if (rc == OD_OK)
            od_received_release(&reply);
        od_fault_arm(at, false);
        rc = call_text(f.channel, "/test.Service/Fail", "wrong", &reply, &err);
        od_fault_disarm();
        assert_int_not_equal(rc, OD_OK);
        if (rc != OD_CATALOG_STALE && rc != OD_INVALID) // without memory for the detail the status alone arrives
            expect_outcome(rc, &err);
    }
    assert_true(failed > 0);
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "hello", &reply, &err), OD_OK);
    od_received_release(&reply);
    fixture_stop(&f);
}

static od_code stream_once(struct fixture *f, struct od_error *err)
{
    struct od_stream *stream;
    struct od_received message;
    bool end = false;
    od_code rc = od_stream_open(f->channel, "/test.Service/Both", 0, NULL, &stream, err);
    if (rc != OD_OK)
        return rc;
    for (unsigned i = 0; rc == OD_OK && i < 3; i++)
        rc = send_bytes(stream, "message", 7, err);
    if (rc == OD_OK)
        rc = od_stream_half_close(stream, err);
    for (unsigned i = 0; rc == OD_OK && !end; i++) {
        rc = od_stream_receive(stream, 0, NULL, &message, &end, err);
        if (rc == OD_OK && !end)
            od_received_release(&message);
        else if (rc == OD_OK)
            assert_int_equal(i, 3); // an end is never early
    }
    od_stream_close(stream);
    return rc;
}

static void test_streams(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    fixture_start(&f, NULL, NULL);
    for (unsigned at = 0; at < POINTS; at++) {
        od_fault_arm(at, false);
        od_code rc = stream_once(&f, &err);
        od_fault_disarm();
        expect_outcome(rc, &err);
    }
    assert_int_equal(stream_once(&f, &err), OD_OK);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_start_and_open),
        cmocka_unit_test(test_calls),
        cmocka_unit_test(test_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
