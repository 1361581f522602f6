// test_server.c - the server's life: addresses, health, TLS, strange clients.
#include "unit/rpc/fixture.h"

#include "os/clock.h"
#include "rpc/message.h"

#include "grpc/health/v1/health.pb-c.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_start(const char *listen_at, od_code expected, const char *text)
{
    struct od_rpc_server *server = NULL;
    struct od_error err = {0};
    struct od_rpc_server_options options = {.listen = listen_at};
    od_code rc = od_rpc_server_start(&options, &server, &err);
    if (rc == OD_OK)
        od_rpc_server_free(server);
    if (rc != expected || !strstr(err.message, text))
        fail_msg("%s: %s: %s", listen_at, od_code_name(rc), err.message);
    assert_non_null(strstr(err.message, listen_at));
}

static void test_addresses(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL, NULL);
    assert_true(od_rpc_server_port(f.server) > 0);
    expect_start(f.endpoint, OD_LOCKED, "in use by another process");
    fixture_stop(&f);
    expect_start("127.0.0.1", OD_INVALID, "HOST:PORT");
    expect_start("127.0.0.1:seven", OD_INVALID, "HOST:PORT");
    expect_start("192.0.2.1:0", OD_IO, "no such address");
    expect_start("unix:/no/such/directory/socket", OD_IO, "cannot listen on");
}

static void test_unix_socket(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    char listen_at[64];
    snprintf(listen_at, sizeof listen_at, "unix:/tmp/openduck-test-%d.sock", (int)getpid());
    struct od_rpc_server_options options = {.listen = listen_at};
    for (int i = 0; i < 2; i++) { // a socket file left behind is no obstacle
        fixture_start(&f, &options, NULL);
        assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_OK);
        od_received_release(&reply);
        assert_int_equal(strncmp(f.peer, "unix:", 5), 0);
        expect_start(listen_at, OD_LOCKED, "another server answers there");
        assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_OK);
        od_received_release(&reply);
        fixture_stop(&f);
        if (i == 0) {
            int left = socket(AF_UNIX, SOCK_STREAM, 0);
            struct sockaddr_un {
                unsigned short family;
                char path[108];
            } address = {.family = AF_UNIX};
            snprintf(address.path, sizeof address.path, "%s", listen_at + 5);
            unlink(address.path);
            assert_int_equal(bind(left, (struct sockaddr *)&address, sizeof address), 0);
            close(left);
        }
    }
    unlink(listen_at + 5);
}

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
enum {
    SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVING,
    NOT_SERVING = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__NOT_SERVING,
    SERVICE_UNKNOWN = GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__SERVICE_UNKNOWN
};

static struct od_segment health_question(const char *service)
{
    health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct od_segment segment;
    request.service = (char *)(uintptr_t)service;
    assert_int_equal(od_message_pack(&request.base, &segment, NULL), OD_OK);
    return segment;
}

static int health_answer(struct od_received *reply)
{
    ProtobufCMessage *message;
    assert_int_equal(od_message_unpack(&grpc__health__v1__health_check_response__descriptor, reply->data, reply->bytes,
                                       &message, NULL),
                     OD_OK);
    int status = (int)((health_response *)message)->status;
    protobuf_c_message_free_unpacked(message, NULL);
    od_received_release(reply);
    return status;
}

static od_code check(struct fixture *f, const char *service, int *status)
{
    struct od_segment segment = health_question(service);
    struct od_received reply;
    od_code rc = od_channel_call(f->channel, "/grpc.health.v1.Health/Check", &segment, 1, 5000, 0, NULL, &reply, NULL);
    free((void *)(uintptr_t)segment.data);
    if (rc == OD_OK)
        *status = health_answer(&reply);
    return rc;
}

static void test_health_check(void **state)
{
    (void)state;
    struct fixture f;
    int status;
    struct od_rpc_server_options options = {.token = TOKEN};
    fixture_start(&f, &options, NULL); // no token needed
    assert_int_equal(check(&f, "", &status), OD_OK);
    assert_int_equal(status, SERVING);
    assert_int_equal(check(&f, "test.Service", &status), OD_OK);
    assert_int_equal(status, SERVING);
    assert_int_equal(check(&f, "test.Servic", &status), OD_NOT_FOUND);
    assert_int_equal(check(&f, "no.Service", &status), OD_NOT_FOUND);
    od_rpc_server_set_serving(f.server, false);
    assert_int_equal(check(&f, "", &status), OD_OK);
    assert_int_equal(status, NOT_SERVING);
    struct od_received reply;
    struct od_segment garbage = {(const uint8_t *)"\x0a\xff", 2};
    assert_int_equal(
        od_channel_call(f.channel, "/grpc.health.v1.Health/Check", &garbage, 1, 5000, 0, NULL, &reply, NULL),
        OD_INVALID);
    fixture_stop(&f);
}

static struct od_stream *watch(struct fixture *f, const char *service)
{
    struct od_stream *stream;
    struct od_segment segment = health_question(service);
    assert_int_equal(od_stream_open(f->channel, "/grpc.health.v1.Health/Watch", 0, NULL, &stream, NULL), OD_OK);
    assert_int_equal(od_stream_send(stream, &segment, 1, free, (void *)(uintptr_t)segment.data, NULL), OD_OK);
    assert_int_equal(od_stream_half_close(stream, NULL), OD_OK);
    return stream;
}

static int watched(struct od_stream *stream)
{
    struct od_received message;
    bool end;
    assert_int_equal(od_stream_receive(stream, 5000, NULL, &message, &end, NULL), OD_OK);
    return end ? -1 : health_answer(&message);
}

static void test_health_watch(void **state)
{
    (void)state;
    struct fixture f;
    fixture_start(&f, NULL, NULL);
    struct od_stream *all = watch(&f, ""), *unknown = watch(&f, "no.Service"), *left = watch(&f, "test.Service");
    assert_int_equal(watched(all), SERVING);
    assert_int_equal(watched(left), SERVING);
    assert_int_equal(watched(unknown), SERVICE_UNKNOWN);
    od_stream_close(left);
    od_rpc_server_set_serving(f.server, false);
    assert_int_equal(watched(all), NOT_SERVING);
    od_rpc_server_set_serving(f.server, true);
    assert_int_equal(watched(all), SERVING);
    // Watchers do not hold up a stop: they are told and ended.
    uint64_t before = od_clock_ms();
    od_rpc_server_stop(f.server, 60000);
    assert_in_range(od_clock_ms() - before, 0, 20000);
    assert_int_equal(watched(all), NOT_SERVING);
    assert_int_equal(watched(all), -1);
    assert_int_equal(watched(unknown), -1);
    od_stream_close(all);
    od_stream_close(unknown);
    fixture_stop(&f);
}

static void test_call_without_message(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received message;
    struct od_stream *stream;
    bool end;
    fixture_start(&f, NULL, NULL);
    assert_int_equal(od_stream_open(f.channel, "/test.Service/Echo", 0, NULL, &stream, &err), OD_OK);
    assert_int_equal(od_stream_half_close(stream, &err), OD_OK);
    assert_int_equal(od_stream_receive(stream, 5000, NULL, &message, &end, &err), OD_INVALID);
    assert_non_null(strstr(err.message, "without a message"));
    od_stream_close(stream);
    fixture_stop(&f);
}

// Bytes that are no HTTP/2, in several portions, at a server's port.
static void test_garbage_at_the_port(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    fixture_start(&f, NULL, NULL);
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                                  .sin_port = htons((uint16_t)od_rpc_server_port(f.server))};
    static const char *const openings[] = {"GET / HTTP/1.1\r\n\r\n", "", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"};
    for (unsigned i = 0; i < 60; i++) {
        int peer = socket(AF_INET, SOCK_STREAM, 0);
        assert_int_equal(connect(peer, (struct sockaddr *)&address, sizeof address), 0);
        const char *opening = openings[i % 3];
        (void)!send(peer, opening, strlen(opening), MSG_NOSIGNAL);
        uint8_t bytes[300];
        for (unsigned k = 0; k < sizeof bytes; k++)
            bytes[k] = (uint8_t)((i * 2654435761u + k * 40503u) >> 7);
        (void)!send(peer, bytes, sizeof bytes, MSG_NOSIGNAL);
        close(peer);
    }
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "still here", &reply, &err), OD_OK);
    od_received_release(&reply);
    assert_int_equal(f.started, 1);
    fixture_stop(&f);
}

// ---- TLS

static char directory[] = "/tmp/openduck-tls-XXXXXX";
static char *ca, *server_certificate, *server_key, *client_certificate, *client_key;

static char *read_pem(const char *name)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    char *text = calloc(1, 16384);
    assert_true(fread(text, 1, 16383, file) > 0);
    fclose(file);
    return text;
}

static void make_certificates(void)
{
    static const char script[] =
        "cd %s && exec >/dev/null 2>&1 &&"
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test-ca"
        " -keyout ca.key -out ca.crt &&"
        "for who in server client; do"
        " openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=$who -keyout $who.key"
        " -out $who.csr && printf 'subjectAltName=DNS:localhost,IP:127.0.0.1' > san &&"
        " openssl x509 -req -days 2 -in $who.csr -CA ca.crt -CAkey ca.key -CAcreateserial -extfile san -out $who.crt"
        " || exit 1; done";
    char command[2048];
    assert_non_null(mkdtemp(directory));
    snprintf(command, sizeof command, script, directory);
    if (system("command -v openssl >/dev/null") != 0)
        skip();
    assert_int_equal(system(command), 0);
    ca = read_pem("ca.crt");
    server_certificate = read_pem("server.crt");
    server_key = read_pem("server.key");
    client_certificate = read_pem("client.crt");
    client_key = read_pem("client.key");
}

static od_code call_tls(const struct fixture *f, struct od_channel_options options, const char *scheme,
                        struct od_error *err)
{
    struct od_channel *channel;
    struct od_received reply;
    char endpoint[160];
    snprintf(endpoint, sizeof endpoint, "%s%s", scheme, f->endpoint);
    options.endpoint = endpoint;
    assert_int_equal(od_channel_open(&options, &channel, err), OD_OK);
    od_code rc = call_text(channel, "/test.Service/Echo", "x", &reply, err);
    if (rc == OD_OK)
        od_received_release(&reply);
    od_channel_close(channel);
    return rc;
}

static void test_tls(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    make_certificates();
    struct od_rpc_server_options options = {.tls_certificate_pem = server_certificate, .tls_key_pem = server_key};
    fixture_start(&f, &options, NULL);
    assert_int_equal(call_tls(&f, (struct od_channel_options){.tls_ca_pem = ca}, "https://", &err), OD_OK);
    // A CA that did not sign it; the system's roots; a name that is not in it; no TLS at all.
    assert_int_equal(call_tls(&f, (struct od_channel_options){.tls_ca_pem = client_certificate}, "", &err),
                     OD_UNAVAILABLE);
    assert_int_equal(call_tls(&f, (struct od_channel_options){0}, "grpcs://", &err), OD_UNAVAILABLE);
    assert_int_equal(
        call_tls(&f, (struct od_channel_options){.tls_ca_pem = ca, .tls_server_name = "elsewhere"}, "", &err),
        OD_UNAVAILABLE);
    assert_int_equal(
        call_tls(&f, (struct od_channel_options){.tls_ca_pem = ca, .tls_server_name = "localhost"}, "", &err), OD_OK);
    assert_int_equal(call_tls(&f, (struct od_channel_options){0}, "", &err), OD_UNAVAILABLE);
    fixture_stop(&f);

    options.tls_client_ca_pem = ca;
    fixture_start(&f, &options, NULL);
    struct od_channel_options mutual = {
        .tls_ca_pem = ca, .tls_certificate_pem = client_certificate, .tls_key_pem = client_key};
    if (call_tls(&f, mutual, "https://", &err) != OD_OK)
        fail_msg("%s", err.message);
    assert_string_equal(f.identity, "certificate:client");
    od_code rc = call_tls(&f, (struct od_channel_options){.tls_ca_pem = ca}, "https://", &err);
    assert_true(rc == OD_UNAVAILABLE || rc == OD_DISCONNECTED);
    assert_int_equal(f.started, 1);
    fixture_stop(&f);

    struct od_rpc_server *server;
    struct od_rpc_server_options broken = {
        .listen = "127.0.0.1:0", .tls_certificate_pem = "no pem", .tls_key_pem = "no pem"};
    assert_int_equal(od_rpc_server_start(&broken, &server, &err), OD_INVALID);
    broken.tls_key_pem = NULL;
    assert_int_equal(od_rpc_server_start(&broken, &server, &err), OD_INVALID);
    struct od_channel *channel;
    mutual.endpoint = f.endpoint;
    mutual.tls_key_pem = NULL;
    assert_int_equal(od_channel_open(&mutual, &channel, &err), OD_INVALID);
}

static int remove_certificates(void **state)
{
    (void)state;
    char *texts[] = {ca, server_certificate, server_key, client_certificate, client_key};
    for (size_t i = 0; i < 5; i++)
        free(texts[i]);
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", directory);
    return system(command) == 0 ? 0 : 1;
}

// ---- fork

// What a forked child may do: get typed errors and let go. It must not hang or crash.
static int child_of_fork(struct fixture *f, struct od_stream *stream)
{
    struct od_error err = {0};
    struct od_received reply;
    struct od_channel *channel;
    bool end;
    struct od_channel_options options = {.endpoint = f->endpoint};
    if (call_text(f->channel, "/test.Service/Echo", "x", &reply, &err) != OD_UNSUPPORTED ||
        !strstr(err.message, "fork"))
        return 1;
    if (od_channel_open(&options, &channel, &err) != OD_UNSUPPORTED || !strstr(err.message, "spawn"))
        return 2;
    if (od_stream_receive(stream, 0, NULL, &reply, &end, &err) != OD_UNSUPPORTED)
        return 3;
    if (send_bytes(stream, "x", 1, &err) != OD_UNSUPPORTED || od_stream_half_close(stream, &err) != OD_UNSUPPORTED)
        return 4;
    od_stream_cancel(stream);
    od_stream_close(stream);
    od_channel_close(f->channel);
    return 0;
}

static void test_fork(void **state)
{
    (void)state;
    struct fixture f;
    struct od_error err = {0};
    struct od_received reply;
    struct od_stream *stream;
    fixture_start(&f, NULL, NULL);
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_OK);
    od_received_release(&reply);
    assert_int_equal(od_stream_open(f.channel, "/test.Service/Hold", 0, NULL, &stream, &err), OD_OK);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(child_of_fork(&f, stream));
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    // The parent has not noticed anything.
    assert_int_equal(call_text(f.channel, "/test.Service/Echo", "x", &reply, &err), OD_OK);
    od_received_release(&reply);
    od_stream_close(stream);
    fixture_stop(&f);
}

// Nothing of gRPC reaches standard error, not for a refused connection either.
static void test_silence(void **state)
{
    (void)state;
    struct od_error err = {0};
    struct od_received reply;
    struct od_channel *channel;
    struct od_rpc_server *server;
    char path[] = "/tmp/openduck-stderr-XXXXXX";
    int file = mkstemp(path), saved = dup(STDERR_FILENO);
    assert_true(file >= 0 && saved >= 0);
    fflush(stderr);
    dup2(file, STDERR_FILENO);
    struct od_channel_options options = {.endpoint = "127.0.0.1:1"};
    struct od_rpc_server_options taken = {.listen = "192.0.2.1:1"};
    od_code rc = od_channel_open(&options, &channel, &err);
    if (rc == OD_OK) {
        rc = call_text(channel, "/test.Service/Echo", "x", &reply, &err);
        od_channel_close(channel);
    }
    od_code start_rc = od_rpc_server_start(&taken, &server, &err);
    fflush(stderr);
    dup2(saved, STDERR_FILENO);
    off_t written = lseek(file, 0, SEEK_END);
    close(saved);
    close(file);
    unlink(path);
    assert_int_equal(rc, OD_UNAVAILABLE);
    assert_int_equal(start_rc, OD_IO);
    assert_int_equal(written, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_unix_socket),
        cmocka_unit_test(test_health_check),
        cmocka_unit_test(test_health_watch),
        cmocka_unit_test(test_call_without_message),
        cmocka_unit_test(test_garbage_at_the_port),
        cmocka_unit_test_teardown(test_tls, remove_certificates),
        cmocka_unit_test(test_fork),
        cmocka_unit_test(test_silence),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
