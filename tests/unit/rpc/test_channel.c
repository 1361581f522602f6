// test_channel.c - unary calls: what arrives, and how each way of failing is told.
#include "unit/rpc/fixture.h"

#include "base/limits.h"
#include "os/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void test_echo(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    for (int i = 0; i < 200; i++) {
        if (call_text(f.channel, "/test.Service/Echo", "hello", &reply, &err) != OD_OK)
            fail_msg("%s", err.message);
        assert_true(received_is(&reply, "hello"));
        od_received_release(&reply);
    }
    assert_true(f.aligned);
    assert_int_equal(strncmp(f.peer, "ipv4:127.0.0.1:", 15), 0);
    assert_string_equal(f.identity, "anonymous");
    assert_non_null(strstr(f.header, "grpc-c"));
    assert_in_range(f.deadline_ms, 5000, 10500); // gRPC rounds timeouts up on the wire
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Echo", NULL, 0, 0, 0, NULL, &reply, &err), OD_OK);
    assert_int_equal(reply.bytes, 0);
    od_received_release(&reply);
    assert_true(f.deadline_ms == UINT64_MAX);
    uint64_t sent, received, calls;
    od_channel_traffic(f.channel, &sent, &received, &calls);
    assert_int_equal(sent, 1000);
    assert_int_equal(received, 1000);
    assert_int_equal(calls, 201);
    fixture_await(&f, &f.closed, 201);
    fixture_stop(&f);
}

static void test_large_messages(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    size_t bytes = 24 * OD_MIB + 77;
    uint8_t *data = malloc(bytes);
    for (size_t i = 0; i < bytes; i++)
        data[i] = (uint8_t)(i * 31 >> 7);
    struct od_segment parts[3] = {{data, 100}, {data + 100, 1}, {data + 101, bytes - 101}};
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Echo", parts, 3, 0, 0, NULL, &reply, &err), OD_OK);
    assert_int_equal(reply.bytes, bytes);
    assert_memory_equal(reply.data, data, bytes);
    od_received_release(&reply);
    free(data);
    fixture_stop(&f);
}

static void test_oversized_messages(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    struct od_rpc_server_options options = {.message_bytes_max = OD_MIB};
    fixture_start(&f, &options, NULL);
    uint8_t *data = calloc(1, 2 * OD_MIB);
    struct od_segment segment = {data, 2 * OD_MIB};
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Echo", &segment, 1, 0, 0, NULL, &reply, &err), OD_LIMIT);
    assert_non_null(strstr(err.message, "larger than max"));
    assert_int_equal(f.messages, 0);
    // The other way round: the reply is what does not fit.
    struct od_channel *narrow;
    struct od_channel_options narrow_options = {.endpoint = f.endpoint, .message_bytes_max = 1000};
    assert_int_equal(od_channel_open(&narrow_options, &narrow, &err), OD_OK);
    segment.bytes = 5000;
    assert_int_equal(od_channel_call(narrow, "/test.Service/Echo", &segment, 1, 0, 0, NULL, &reply, &err), OD_LIMIT);
    od_channel_close(narrow);
    free(data);
    fixture_stop(&f);
}

static void test_typed_errors(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    assert_int_equal(call_text(f.channel, "/test.Service/Fail", "100 % sure: größer", &reply, &err), OD_CATALOG_STALE);
    assert_int_equal(err.code, OD_CATALOG_STALE);
    assert_true(err.retryable);
    assert_string_equal(err.message, "100 % sure: größer");
    assert_string_equal(err.error_class, "Catalog");
    assert_int_equal(err.extra_bytes, 24);
    assert_memory_equal(err.extra,
                        "name\0orders\0position\0"
                        "12\0",
                        24);
    // The longest text there is still arrives, cut.
    char text[OD_ERROR_MESSAGE_BYTES + 1000];
    for (size_t i = 0; i + 1 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa4", 2);
    text[sizeof text - 2] = text[sizeof text - 1] = '\0';
    assert_int_equal(call_text(f.channel, "/test.Service/Fail", text, &reply, &err), OD_CATALOG_STALE);
    assert_in_range(strlen(err.message), 3000, OD_ERROR_MESSAGE_BYTES - 1);
    assert_int_equal(call_text(f.channel, "/test.Service/Nothing", "x", &reply, &err), OD_UNSUPPORTED);
    assert_string_equal(err.message, "this server has no method /test.Service/Nothing");
    fixture_stop(&f);
}

static void test_token(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    struct od_rpc_server_options options = {.token = TOKEN};
    fixture_start(&f, &options, TOKEN);
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_OK);
    od_received_release(&reply);
    assert_string_equal(f.identity, "token");
    assert_null(strstr(f.identity, TOKEN));
    const char *wrong[] = {NULL, "", "a-secret-toke", "a-secret-token2", "A-secret-token"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct od_channel *channel = fixture_channel(&f, wrong[i]);
        assert_int_equal(call_text(channel, "/test.Service/Echo", "x", &reply, &err), OD_UNAUTHENTICATED);
        assert_non_null(strstr(err.message, "authorization: Bearer TOKEN"));
        // A public method is reached, and may ask for a token inside the message.
        assert_int_equal(call_text(channel, "/test.Service/Token", "nonsense", &reply, &err), OD_UNAUTHENTICATED);
        assert_int_equal(call_text(channel, "/test.Service/Token", TOKEN, &reply, &err), OD_OK);
        assert_true(received_is(&reply, f.identity) || strcmp(f.identity, "anonymous") == 0);
        od_received_release(&reply);
        od_channel_close(channel);
    }
    assert_int_equal(f.messages, 1);
    struct od_channel_options bad = {.endpoint = f.endpoint, .token = "line\nbreak"};
    struct od_channel *channel;
    assert_int_equal(od_channel_open(&bad, &channel, &err), OD_INVALID);
    fixture_stop(&f);
}

static void test_unreachable(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_received reply;
    struct od_channel *channel;
    struct fixture f;
    fixture_start(&f, NULL, NULL);
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_OK);
    od_received_release(&reply);
    int port = od_rpc_server_port(f.server);
    od_rpc_server_stop(f.server, 0);
    od_rpc_server_free(f.server);
    f.server = NULL;
    // The server has gone: not "may have reached it", for nothing was sent.
    uint64_t before = od_clock_ms();
    for (int i = 0; i < 3; i++) {
        if (call_text(f.channel, "/test.Service/Echo", "x", &reply, &err) != OD_UNAVAILABLE)
            fail_msg("%s: %s", od_code_name(err.code), err.message);
        char expected[128];
        snprintf(expected, sizeof expected, "cannot reach 127.0.0.1:%d: connection refused", port);
        assert_string_equal(err.message, expected);
    }
    assert_in_range(od_clock_ms() - before, 0, 3000);
    // It comes back on the same port: the same channel finds it at once.
    struct fixture again;
    char listen_at[64];
    snprintf(listen_at, sizeof listen_at, "127.0.0.1:%d", port);
    struct od_rpc_server_options options = {.listen = listen_at};
    fixture_start(&again, &options, NULL);
    if (call_text(f.channel, "/test.Service/Echo", "x", &reply, &err) != OD_OK)
        fail_msg("%s", err.message);
    od_received_release(&reply);
    fixture_stop(&again);
    fixture_stop(&f);

    struct od_channel_options nowhere = {.endpoint = "no-such-host.invalid:1"};
    assert_int_equal(od_channel_open(&nowhere, &channel, &err), OD_OK);
    assert_int_equal(call_text(channel, "/test.Service/Echo", "x", &reply, &err), OD_UNAVAILABLE);
    assert_int_equal(
        strncmp(err.message, "cannot reach no-such-host.invalid:1: the host name cannot be resolved: ", 71), 0);
    od_channel_close(channel);
    const char *malformed[] = {"", "host", "host:", "host:12x", ":7", "http://host"};
    for (size_t i = 0; i < sizeof malformed / sizeof malformed[0]; i++) {
        struct od_channel_options options_bad = {.endpoint = malformed[i]};
        assert_int_equal(od_channel_open(&options_bad, &channel, &err), OD_INVALID);
    }
}

// A port where somebody listens who does not speak gRPC.
struct stranger {
    int listener;
    int port;
    const char *says;
    pthread_t thread;
};

static void *stranger_run(void *argument)
{
    struct stranger *s = argument;
    for (;;) {
        int peer = accept(s->listener, NULL, NULL);
        if (peer < 0)
            return NULL;
        if (s->says) {
            (void)!write(peer, s->says, strlen(s->says));
            close(peer);
        }
    }
}

static void stranger_start(struct stranger *s, const char *says)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;
    s->says = says;
    s->listener = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(bind(s->listener, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(listen(s->listener, 8), 0);
    assert_int_equal(getsockname(s->listener, (struct sockaddr *)&address, &bytes), 0);
    s->port = ntohs(address.sin_port);
    assert_int_equal(pthread_create(&s->thread, NULL, stranger_run, s), 0);
}

static void stranger_stop(struct stranger *s)
{
    shutdown(s->listener, SHUT_RDWR);
    pthread_join(s->thread, NULL);
    close(s->listener);
}

static void check_stranger(const char *says, const char *expected)
{
    struct stranger s;
    struct od_channel *channel;
    struct od_error err = {0};
    struct od_received reply;
    char endpoint[64];
    stranger_start(&s, says);
    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", s.port);
    struct od_channel_options options = {.endpoint = endpoint};
    assert_int_equal(od_channel_open(&options, &channel, &err), OD_OK);
    uint64_t before = od_clock_ms();
    od_code rc = od_channel_call(channel, "/test.Service/Echo", NULL, 0, 0, 400, NULL, &reply, &err);
    assert_int_equal(rc, OD_UNAVAILABLE);
    assert_non_null(strstr(err.message, endpoint));
    assert_non_null(strstr(err.message, expected));
    assert_in_range(od_clock_ms() - before, 0, 3000);
    od_channel_close(channel);
    stranger_stop(&s);
}

static void test_strangers(void **state)
{
    (void)state;
    check_stranger("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", "http1");
    check_stranger("\x01\x02\x03garbage garbage garbage garbage garbage garbage", "HTTP/2");
    check_stranger(NULL, "no gRPC server has answered there within 400 ms");
}

static void test_deadline(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    struct od_segment segment = {(const uint8_t *)"x", 1};
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Hold", &segment, 1, 150, 0, NULL, &reply, &err),
                     OD_TIMEOUT);
    assert_non_null(strstr(err.message, "within 150 ms"));
    fixture_await(&f, &f.closed, 1);
    assert_int_equal(f.cancelled, 1);
    fixture_stop(&f);
}

struct fire_later {
    struct od_cancel *cancel;
    struct fixture *f;
};

static void *fire_when_started(void *argument)
{
    struct fire_later *later = argument;
    fixture_await(later->f, &later->f->messages, 1);
    od_cancel_fire(later->cancel);
    return NULL;
}

static void test_cancel(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    struct od_cancel *cancel = od_cancel_new();
    struct fire_later later = {cancel, &f};
    struct od_segment segment = {(const uint8_t *)"x", 1};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, fire_when_started, &later), 0);
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Hold", &segment, 1, 0, 0, cancel, &reply, &err),
                     OD_CANCELLED);
    pthread_join(thread, NULL);
    fixture_await(&f, &f.closed, 1);
    assert_int_equal(f.cancelled, 1);
    // Later calls with it do not even begin; calls without it do.
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Echo", &segment, 1, 0, 0, cancel, &reply, &err),
                     OD_CANCELLED);
    assert_int_equal(f.started, 1);
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_OK);
    od_received_release(&reply);
    od_cancel_fire(cancel);
    od_cancel_unref(cancel);
    fixture_stop(&f);
}

static void *close_when_started(void *argument)
{
    struct fixture *f = argument;
    fixture_await(f, &f->messages, 1);
    od_channel_close(f->channel);
    return NULL;
}

static void test_close_while_calling(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    struct od_segment segment = {(const uint8_t *)"x", 1};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, close_when_started, &f), 0);
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Hold", &segment, 1, 0, 0, NULL, &reply, &err),
                     OD_CANCELLED);
    pthread_join(thread, NULL);
    f.channel = NULL;
    fixture_await(&f, &f.closed, 1);
    fixture_stop(&f);
}

static void *stop_when_started(void *argument)
{
    struct fixture *f = argument;
    fixture_await(f, &f->messages, 1);
    od_rpc_server_stop(f->server, 0);
    return NULL;
}

static void test_server_stops_while_calling(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    struct od_segment segment = {(const uint8_t *)"x", 1};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_when_started, &f), 0);
    // The request had reached the server: whether it took effect is not known here.
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Hold", &segment, 1, 0, 0, NULL, &reply, &err),
                     OD_DISCONNECTED);
    pthread_join(thread, NULL);
    assert_int_equal(f.closed, 1);
    assert_int_equal(f.cancelled, 1);
    fixture_stop(&f);
}

static void test_drain(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    // A held call keeps a reference beyond its end, which must not keep the server from stopping.
    struct od_segment segment = {(const uint8_t *)"x", 1};
    assert_int_equal(od_channel_call(f.channel, "/test.Service/Hold", &segment, 1, 100, 0, NULL, &reply, &err),
                     OD_TIMEOUT);
    uint64_t before = od_clock_ms();
    od_rpc_server_stop(f.server, 60000);
    assert_in_range(od_clock_ms() - before, 0, 20000);
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_UNAVAILABLE);
    od_call_finish(f.held); // the call is over: nothing happens
    od_call_read_next(f.held);
    assert_int_equal(od_call_unsent_bytes(f.held), 0);
    fixture_stop(&f);
}

enum { THREADS = 8, CALLS_EACH = 150 };

// NULL when all went well.
static void *many_calls(void *argument)
{
    struct fixture *f = argument;
    struct od_error err = {0};
    struct od_received reply;
    for (int i = 0; i < CALLS_EACH; i++) {
        char text[32];
        snprintf(text, sizeof text, "%p %d", (void *)&err, i);
        if (call_text(f->channel, "/test.Service/Echo", text, &reply, &err) != OD_OK || !received_is(&reply, text))
            return argument;
        od_received_release(&reply);
    }
    return NULL;
}

static void test_many_threads(void **state)
{
    (void)state;
    struct fixture f;
    pthread_t threads[THREADS];
    fixture_start(&f, NULL, NULL);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, many_calls, &f), 0);
    for (int i = 0; i < THREADS; i++) {
        void *result;
        pthread_join(threads[i], &result);
        assert_null(result);
    }
    fixture_await(&f, &f.closed, THREADS * CALLS_EACH);
    assert_int_equal(f.cancelled, 0);
    fixture_stop(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_echo),
        cmocka_unit_test(test_large_messages),
        cmocka_unit_test(test_oversized_messages),
        cmocka_unit_test(test_typed_errors),
        cmocka_unit_test(test_token),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_close_while_calling),
        cmocka_unit_test(test_server_stops_while_calling),
        cmocka_unit_test(test_drain),
        cmocka_unit_test(test_many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
