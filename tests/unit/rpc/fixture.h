// fixture.h - a server inside the test with methods that echo, stream, swallow and fail, and what it has seen.
#ifndef TESTS_RPC_FIXTURE_H
#define TESTS_RPC_FIXTURE_H

#include "rpc/channel.h"
#include "rpc/server.h"

#include <pthread.h>

#define TOKEN "a-secret-token"

struct fixture {
    struct od_rpc_server *server;
    struct od_channel *channel;
    char endpoint[128];
    // What the handlers have seen; under the lock.
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned started, messages, half_closed, closed, cancelled, works;
    bool released; // /test.Service/Release has come
    uint64_t bytes;
    uint64_t unsent_max;
    char peer[128], identity[128], header[128];
    uint64_t deadline_ms;
    bool aligned;
    struct od_call *held; // of /test/Hold and /test/Stall, a reference
};

// options.listen and methods are filled in; NULL options: plain text, no token.
void fixture_start(struct fixture *f, const struct od_rpc_server_options *options, const char *token);
void fixture_stop(struct fixture *f);
struct od_channel *fixture_channel(const struct fixture *f, const char *token);
// Waits at most ten seconds for a counter to reach a value; fails the test otherwise.
void fixture_await(struct fixture *f, const unsigned *counter, unsigned value);

od_code call_text(struct od_channel *channel, const char *method, const char *text, struct od_received *reply,
                  struct od_error *err);
od_code send_bytes(struct od_stream *stream, const void *data, size_t bytes, struct od_error *err);
bool received_is(const struct od_received *received, const char *text);
void wait_ms(unsigned ms);

#endif
