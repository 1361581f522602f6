// test_stream.c - streams both ways: order, back-pressure, cancellation, broken connections.
#include "unit/rpc/fixture.h"

#include "base/limits.h"
#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct od_stream *open_stream(struct fixture *f, const char *method, struct od_cancel *cancel)
{
    struct od_stream *stream = NULL;
    struct od_error err = {0};
    if (od_stream_open(f->channel, method, 0, cancel, &stream, &err) != OD_OK)
        fail_msg("%s", err.message);
    return stream;
}

static void check_ok(od_code rc, const struct od_error *err)
{
    if (rc != OD_OK)
        fail_msg("%s: %s", od_code_name(rc), err->message);
}

static void test_down(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    fixture_start(&f, NULL, NULL);
    const struct {
        const char *request;
        unsigned count, bytes;
    } cases[] = {{"10000 16", 10000, 16}, {"40 1048576", 40, 1048576}, {"0 8", 0, 0}};
    for (size_t c = 0; c < 3; c++) {
        struct od_stream *stream = open_stream(&f, "/test.Service/Down", NULL);
        check_ok(send_bytes(stream, cases[c].request, strlen(cases[c].request), &err), &err);
        check_ok(od_stream_half_close(stream, &err), &err);
        struct od_received message;
        bool end = false;
        for (unsigned i = 0;; i++) {
            check_ok(od_stream_receive(stream, 10000, NULL, &message, &end, &err), &err);
            if (end) {
                assert_int_equal(i, cases[c].count);
                break;
            }
            unsigned number;
            assert_int_equal(message.bytes, cases[c].bytes);
            memcpy(&number, message.data, sizeof number);
            assert_int_equal(number, i);
            assert_int_equal(message.data[message.bytes - 1], i & 0xff);
            od_received_release(&message);
        }
        // The end stays the end.
        check_ok(od_stream_receive(stream, 0, NULL, &message, &end, &err), &err);
        assert_true(end);
        od_stream_close(stream);
    }
    assert_true(f.unsent_max > 0);
    fixture_stop(&f);
}

static void test_up(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received message;
    bool end;
    fixture_start(&f, NULL, NULL);
    struct od_stream *stream = open_stream(&f, "/test.Service/Up", NULL);
    for (unsigned i = 0; i < 10000; i++)
        check_ok(send_bytes(stream, &i, sizeof i, &err), &err);
    check_ok(od_stream_half_close(stream, &err), &err);
    check_ok(od_stream_half_close(stream, &err), &err);
    assert_int_equal(send_bytes(stream, "x", 1, &err), OD_INVALID);
    check_ok(od_stream_receive(stream, 10000, NULL, &message, &end, &err), &err);
    assert_false(end);
    assert_true(received_is(&message, "10000 messages"));
    od_received_release(&message);
    check_ok(od_stream_receive(stream, 10000, NULL, &message, &end, &err), &err);
    assert_true(end);
    od_stream_close(stream);
    assert_int_equal(f.half_closed, 1);
    fixture_stop(&f);
}

static size_t layout_seven(const uint8_t *head, size_t head_bytes, size_t message_bytes)
{
    return head_bytes && head[0] == 'a' && message_bytes > 7 ? 7 : 0;
}

struct sender {
    struct od_stream *stream;
    unsigned count;
    od_code rc;
};

static void *send_many(void *argument)
{
    struct sender *sender = argument;
    struct od_error err = {0};
    for (unsigned i = 0; i < sender->count && sender->rc == OD_OK; i++) {
        char text[600];
        memset(text, 'a', sizeof text);
        memcpy(text + 8, &i, sizeof i);
        sender->rc = send_bytes(sender->stream, text, sizeof text, &err);
    }
    if (sender->rc == OD_OK)
        sender->rc = od_stream_half_close(sender->stream, &err);
    return NULL;
}

static void test_both_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    fixture_start(&f, NULL, NULL);
    struct sender sender = {.stream = open_stream(&f, "/test.Service/Both", NULL), .count = 10000};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, send_many, &sender), 0);
    bool end = false;
    for (unsigned i = 0; !end; i++) {
        struct od_received message;
        check_ok(od_stream_receive(sender.stream, 10000, layout_seven, &message, &end, &err), &err);
        if (end) {
            assert_int_equal(i, 10000);
            break;
        }
        unsigned number;
        memcpy(&number, message.data + 8, sizeof number);
        assert_int_equal(number, i);
        assert_int_equal((uintptr_t)(message.data + 7) % 64, 0);
        od_received_release(&message);
    }
    pthread_join(thread, NULL);
    assert_int_equal(sender.rc, OD_OK);
    od_stream_close(sender.stream);
    fixture_stop(&f);
}

struct pusher {
    struct od_stream *stream;
    atomic_uint sent;
    od_code rc;
    struct od_error err;
};

static void *push_megabytes(void *argument)
{
    struct pusher *pusher = argument;
    uint8_t *data = calloc(1, OD_MIB);
    while (atomic_load(&pusher->sent) < 200 && pusher->rc == OD_OK) {
        pusher->rc = send_bytes(pusher->stream, data, OD_MIB, &pusher->err);
        atomic_fetch_add(&pusher->sent, 1);
    }
    free(data);
    return NULL;
}

static void test_back_pressure(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL, NULL);
    struct pusher pusher = {.stream = open_stream(&f, "/test.Service/Stall", NULL)};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, push_megabytes, &pusher), 0);
    fixture_await(&f, &f.messages, 1);
    // The server reads no more: the sender must come to a halt long before its 200 MiB.
    unsigned before, now = atomic_load(&pusher.sent);
    do {
        before = now;
        wait_ms(300);
        now = atomic_load(&pusher.sent);
    } while (now != before);
    assert_in_range(now, 1, 60);
    assert_int_equal(f.messages, 1);
    // Each read_next lets one more through.
    for (unsigned i = 2; i < 30; i++) {
        od_call_read_next(f.held);
        fixture_await(&f, &f.messages, i);
    }
    wait_ms(100);
    assert_in_range(atomic_load(&pusher.sent), 28, 90);
    assert_int_equal(f.messages, 29);
    // A blocked sender is woken by cancel.
    od_stream_cancel(pusher.stream);
    pthread_join(thread, NULL);
    assert_int_equal(pusher.rc, OD_CANCELLED);
    fixture_await(&f, &f.closed, 1);
    assert_int_equal(f.cancelled, 1);
    assert_int_equal(f.half_closed, 0);
    od_stream_close(pusher.stream);
    fixture_stop(&f);
}

static void test_cancel_is_seen_at_once(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received message;
    bool end;
    fixture_start(&f, NULL, NULL);
    struct od_cancel *cancel = od_cancel_new();
    struct od_stream *first = open_stream(&f, "/test.Service/Hold", cancel);
    struct od_stream *second = open_stream(&f, "/test.Service/Hold", cancel);
    check_ok(send_bytes(first, "x", 1, &err), &err);
    check_ok(send_bytes(second, "x", 1, &err), &err);
    fixture_await(&f, &f.messages, 2);
    assert_int_equal(od_stream_receive(first, 50, NULL, &message, &end, &err), OD_TIMEOUT);
    assert_int_equal(od_stream_receive(first, 50, NULL, &message, &end, &err), OD_TIMEOUT);
    od_cancel_fire(cancel);
    // Nobody reads on the client: the server learns of it all the same.
    fixture_await(&f, &f.closed, 2);
    assert_int_equal(f.cancelled, 2);
    assert_int_equal(od_stream_receive(first, 0, NULL, &message, &end, &err), OD_CANCELLED);
    assert_int_equal(od_stream_receive(first, 0, NULL, &message, &end, &err), OD_CANCELLED);
    assert_int_equal(send_bytes(second, "x", 1, &err), OD_CANCELLED);
    struct od_stream *third;
    assert_int_equal(od_stream_open(f.channel, "/test.Service/Hold", 0, cancel, &third, &err), OD_CANCELLED);
    od_stream_close(first);
    od_stream_close(second);
    od_cancel_unref(cancel);
    fixture_stop(&f);
}

static void test_close_is_a_cancel(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    fixture_start(&f, NULL, NULL);
    struct od_stream *stream = open_stream(&f, "/test.Service/Down", NULL);
    check_ok(send_bytes(stream, "1000 1048576", 12, &err), &err);
    struct od_received message;
    bool end;
    check_ok(od_stream_receive(stream, 0, NULL, &message, &end, &err), &err);
    od_received_release(&message);
    od_stream_close(stream);
    fixture_await(&f, &f.closed, 1);
    assert_int_equal(f.cancelled, 1);
    // A stream may outlive its channel's close: it is cancelled by it.
    stream = open_stream(&f, "/test.Service/Both", NULL);
    fixture_await(&f, &f.started, 2); // a call that never reached the server is not closed there
    od_channel_close(f.channel);
    f.channel = NULL;
    fixture_await(&f, &f.closed, 2);
    assert_int_equal(od_stream_receive(stream, 0, NULL, &message, &end, &err), OD_CANCELLED);
    assert_int_equal(send_bytes(stream, "x", 1, &err), OD_CANCELLED);
    od_stream_close(stream);
    fixture_stop(&f);
}

static void test_server_vanishes(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received message;
    bool end = false;
    fixture_start(&f, NULL, NULL);
    struct od_stream *stream = open_stream(&f, "/test.Service/Hold", NULL);
    check_ok(send_bytes(stream, "x", 1, &err), &err);
    fixture_await(&f, &f.messages, 1);
    od_rpc_server_stop(f.server, 0);
    assert_int_equal(od_stream_receive(stream, 10000, NULL, &message, &end, &err), OD_DISCONNECTED);
    assert_false(end);
    assert_int_equal(od_stream_receive(stream, 10000, NULL, &message, &end, &err), OD_DISCONNECTED);
    assert_int_equal(send_bytes(stream, "x", 1, &err), OD_DISCONNECTED);
    od_stream_close(stream);
    fixture_stop(&f);
}

static void test_error_ends_a_stream(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received message;
    bool end;
    fixture_start(&f, NULL, NULL);
    struct od_stream *stream = open_stream(&f, "/test.Service/Fail", NULL);
    check_ok(send_bytes(stream, "stale", 5, &err), &err);
    assert_int_equal(od_stream_receive(stream, 10000, NULL, &message, &end, &err), OD_CATALOG_STALE);
    assert_string_equal(err.message, "stale");
    // A sender that comes late is told the same.
    od_code rc = OD_OK;
    for (int i = 0; i < 100 && rc == OD_OK; i++)
        rc = send_bytes(stream, "x", 1, &err);
    assert_int_equal(rc, OD_CATALOG_STALE);
    assert_string_equal(err.message, "stale");
    assert_int_equal(od_stream_receive(stream, 10000, NULL, &message, &end, &err), OD_CATALOG_STALE);
    od_stream_close(stream);
    // Deadlines count for streams too.
    assert_int_equal(od_stream_open(f.channel, "/test.Service/Hold", 150, NULL, &stream, &err), OD_OK);
    assert_int_equal(od_stream_receive(stream, 0, NULL, &message, &end, &err), OD_TIMEOUT);
    od_stream_close(stream);
    fixture_stop(&f);
}

// Half a file must not be taken for a whole one.
static void test_break_is_no_half_close(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    fixture_start(&f, NULL, NULL);
    for (unsigned i = 1; i <= 200; i++) {
        struct od_stream *stream = open_stream(&f, "/test.Service/Up", NULL);
        check_ok(send_bytes(stream, "x", 1, &err), &err);
        fixture_await(&f, &f.messages, i); // the server is reading the next one now
        od_stream_close(stream);
        fixture_await(&f, &f.closed, i);
    }
    assert_int_equal(f.cancelled, 200);
    assert_int_equal(f.half_closed, 0);
    // The same on calls that have been answered in part.
    for (unsigned i = 1; i <= 50; i++) {
        struct od_received message;
        bool end;
        struct od_stream *stream = open_stream(&f, "/test.Service/Both", NULL);
        check_ok(send_bytes(stream, "x", 1, &err), &err);
        check_ok(od_stream_receive(stream, 0, NULL, &message, &end, &err), &err);
        od_received_release(&message);
        od_stream_close(stream);
        fixture_await(&f, &f.closed, 200 + i);
    }
    wait_ms(50);
    assert_int_equal(f.cancelled, 250);
    assert_int_equal(f.half_closed, 0);
    fixture_stop(&f);
}

// Messages that were sent before an error arrive before it.
static void test_send_fails_while_messages_wait(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received message;
    bool end;
    fixture_start(&f, NULL, NULL);
    struct od_stream *stream = open_stream(&f, "/test.Service/Down", NULL);
    check_ok(send_bytes(stream, "20 1000", 7, &err), &err);
    fixture_await(&f, &f.closed, 1);
    od_code rc = OD_OK;
    for (int i = 0; i < 1000 && rc == OD_OK; i++) {
        // A send that the transport takes at once does not look at the socket; another call does.
        check_ok(call_text(f.channel, "/test.Service/Echo", "x", &message, &err), &err);
        od_received_release(&message);
        rc = send_bytes(stream, "x", 1, &err);
    }
    assert_int_equal(rc, OD_DISCONNECTED);
    for (unsigned i = 0; i < 20; i++) {
        check_ok(od_stream_receive(stream, 10000, NULL, &message, &end, &err), &err);
        assert_false(end);
        od_received_release(&message);
    }
    check_ok(od_stream_receive(stream, 10000, NULL, &message, &end, &err), &err);
    assert_true(end);
    od_stream_close(stream);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_down),
        cmocka_unit_test(test_up),
        cmocka_unit_test(test_both_at_once),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_cancel_is_seen_at_once),
        cmocka_unit_test(test_close_is_a_cancel),
        cmocka_unit_test(test_server_vanishes),
        cmocka_unit_test(test_error_ends_a_stream),
        cmocka_unit_test(test_break_is_no_half_close),
        cmocka_unit_test(test_send_fails_while_messages_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
