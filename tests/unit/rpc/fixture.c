// fixture.c - the test server of fixture.h: ten methods and the counters they keep.

#include "unit/rpc/fixture.h"

#include "base/alloc.h"
#include "os/clock.h"
#include "os/thread.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static void seen(struct fixture *f, unsigned *counter)
{
    pthread_mutex_lock(&f->lock);
    (*counter)++;
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
}

static void release_received(void *owner)
{
    struct od_received *received = owner;
    od_received_release(received);
    free(received);
}

static void on_start(struct od_call *call, void *service)
{
    struct fixture *f = service;
    od_call_set_context(call, f);
    const char *header = od_call_header(call, "user-agent");
    pthread_mutex_lock(&f->lock);
    snprintf(f->peer, sizeof f->peer, "%s", od_call_peer(call));
    snprintf(f->identity, sizeof f->identity, "%s", od_call_identity(call));
    snprintf(f->header, sizeof f->header, "%s", header ? header : "");
    f->deadline_ms = od_call_deadline_ms(call);
    pthread_mutex_unlock(&f->lock);
    seen(f, &f->started);
}

static void on_closed(struct od_call *call, bool cancelled)
{
    struct fixture *f = od_call_context(call);
    if (cancelled)
        seen(f, &f->cancelled);
    seen(f, &f->closed);
}

static void count_message(struct fixture *f, const uint8_t *data, size_t bytes)
{
    pthread_mutex_lock(&f->lock);
    f->bytes += bytes;
    f->aligned = (uintptr_t)(data + 1) % 64 == 0;
    pthread_mutex_unlock(&f->lock);
    seen(f, &f->messages);
}

static void on_half_closed(struct od_call *call)
{
    struct fixture *f = od_call_context(call);
    seen(f, &f->half_closed);
    char text[64];
    int bytes = snprintf(text, sizeof text, "%u messages", f->messages);
    struct od_segment segment = {(const uint8_t *)text, (size_t)bytes};
    od_call_reply(call, &segment, 1, NULL, NULL);
}

static void half_closed_finish(struct od_call *call)
{
    struct fixture *f = od_call_context(call);
    seen(f, &f->half_closed);
    od_call_finish(call);
}

static struct od_received *take(struct od_call *call)
{
    struct od_received *mine = malloc(sizeof *mine);
    od_call_take_message(call, mine);
    return mine;
}

static void echo_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fixture *f = od_call_context(call);
    count_message(f, data, bytes);
    struct od_received *mine = take(call);
    struct od_segment halves[2] = {{mine->data, mine->bytes / 2},
                                   {mine->data + mine->bytes / 2, mine->bytes - mine->bytes / 2}};
    od_call_reply(call, halves, 2, release_received, mine);
}

static void both_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fixture *f = od_call_context(call);
    count_message(f, data, bytes);
    struct od_received *mine = take(call);
    struct od_segment segment = {mine->data, mine->bytes};
    od_call_send(call, &segment, 1, release_received, mine);
    od_call_read_next(call);
}

static void up_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    count_message(od_call_context(call), data, bytes);
    od_call_read_next(call);
}

static void hold_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fixture *f = od_call_context(call);
    pthread_mutex_lock(&f->lock);
    if (!f->held)
        f->held = od_call_ref(call);
    pthread_mutex_unlock(&f->lock);
    count_message(f, data, bytes);
}

// "COUNT BYTES": as many messages, a few ahead of the transport.
struct down {
    unsigned left, size, sent;
};
static _Thread_local struct down down; // calls of this method run one at a time in these tests

static void down_more(struct od_call *call)
{
    struct fixture *f = od_call_context(call);
    for (unsigned i = 0; i < 100 && down.left; i++) {
        uint8_t *data = malloc(down.size);
        memset(data, (int)(down.sent & 0xff), down.size);
        memcpy(data, &down.sent, sizeof down.sent);
        struct od_segment segment = {data, down.size};
        od_call_send(call, &segment, 1, free, data);
        down.left--;
        down.sent++;
    }
    size_t unsent = od_call_unsent_bytes(call);
    pthread_mutex_lock(&f->lock);
    if (unsent > f->unsent_max)
        f->unsent_max = unsent;
    pthread_mutex_unlock(&f->lock);
    if (!down.left)
        od_call_finish(call);
}

static void down_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)bytes, (const char *)data);
    down = (struct down){0};
    assert_int_equal(sscanf(text, "%u %u", &down.left, &down.size), 2);
    count_message(od_call_context(call), data, bytes);
    down_more(call);
}

static void fail_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct od_error err = {0};
    (void)od_fail(&err, OD_CATALOG_STALE, "%.*s", (int)bytes, (const char *)data);
    od_error_set_class(&err, "Catalog",
                       "name\0orders\0position\0"
                       "12\0",
                       24);
    od_call_fail(call, &err);
    od_call_fail(call, &err); // the first one counts
    od_call_finish(call);
}

static void token_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    char text[64];
    snprintf(text, sizeof text, "%.*s", (int)bytes, (const char *)data);
    if (!od_call_token_ok(call, text)) {
        struct od_error err = {0};
        (void)od_fail(&err, OD_UNAUTHENTICATED, "wrong token in the message");
        od_call_fail(call, &err);
        return;
    }
    struct od_segment segment = {(const uint8_t *)od_call_identity(call), strlen(od_call_identity(call))};
    od_call_reply(call, &segment, 1, NULL, NULL);
}

// Work for the thread of the call: "wait" waits until /test.Service/Release has come, as only another thread can see it come.
// The answer tells whether the work was accepted.
struct work {
    struct fixture *f;
    struct od_call *call;
    bool wait;
};

static void reply_text(struct od_call *call, const char *text)
{
    struct od_segment segment = {(const uint8_t *)text, strlen(text)};
    od_call_reply(call, &segment, 1, NULL, NULL);
}

static void do_work(void *argument)
{
    struct work *work = argument;
    struct fixture *f = work->f;
    uint64_t end = od_clock_ms() + 20000;
    seen(f, &f->works);
    pthread_mutex_lock(&f->lock);
    bool patient = true;
    while (work->wait && !f->released && patient)
        patient = od_cond_wait_until(&f->changed, &f->lock, end);
    pthread_mutex_unlock(&f->lock);
    reply_text(work->call, patient ? "here" : "nobody took over");
    od_call_unref(work->call);
    free(work);
}

static void work_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct work *work = malloc(sizeof *work);
    *work = (struct work){od_call_context(call), od_call_ref(call), bytes == 4 && memcmp(data, "wait", 4) == 0};
    if (od_rpc_run_here(do_work, work)) {
        if (od_rpc_run_here(do_work, work))
            fail_msg("two works of one callback");
        return;
    }
    od_call_unref(call);
    free(work);
    reply_text(call, "not here");
}

static void release_message(struct od_call *call, const uint8_t *data, size_t bytes)
{
    struct fixture *f = od_call_context(call);
    pthread_mutex_lock(&f->lock);
    f->released = bytes == 0 || data[0] != '0';
    pthread_cond_broadcast(&f->changed);
    pthread_mutex_unlock(&f->lock);
    reply_text(call, "done");
}

// The "body" of these tests begins at byte 1.
static size_t layout_one(const uint8_t *head, size_t head_bytes, size_t message_bytes)
{
    (void)head;
    return head_bytes && message_bytes ? 1 : 0;
}

enum { METHODS = 10 };

void fixture_start(struct fixture *f, const struct od_rpc_server_options *options, const char *token)
{
    static struct od_method methods[METHODS];
    const struct od_method base = {.start = on_start, .closed = on_closed, .service = f};
    for (size_t i = 0; i < METHODS; i++)
        methods[i] = base;
    methods[0].name = "/test.Service/Echo", methods[0].message = echo_message, methods[0].layout = layout_one;
    methods[1].name = "/test.Service/Both", methods[1].message = both_message,
    methods[1].half_closed = half_closed_finish;
    methods[2].name = "/test.Service/Up", methods[2].message = up_message, methods[2].half_closed = on_half_closed;
    methods[3].name = "/test.Service/Hold", methods[3].message = hold_message;
    methods[4].name = "/test.Service/Down", methods[4].message = down_message, methods[4].sendable = down_more;
    methods[5].name = "/test.Service/Fail", methods[5].message = fail_message;
    methods[6].name = "/test.Service/Token", methods[6].message = token_message, methods[6].public_access = true;
    methods[7].name = "/test.Service/Stall", methods[7].message = hold_message, methods[7].half_closed = on_half_closed;
    methods[8].name = "/test.Service/Work", methods[8].message = work_message;
    methods[9].name = "/test.Service/Release", methods[9].message = release_message;

    memset(f, 0, sizeof *f);
    pthread_mutex_init(&f->lock, NULL);
    od_cond_init(&f->changed);
    struct od_rpc_server_options all = options ? *options : (struct od_rpc_server_options){0};
    struct od_error err = {0};
    if (!all.listen)
        all.listen = "127.0.0.1:0";
    all.methods = methods;
    all.method_count = METHODS;
    if (od_rpc_server_start(&all, &f->server, &err) != OD_OK)
        fail_msg("%s", err.message);
    od_rpc_server_set_serving(f->server, true);
    if (strncmp(all.listen, "unix:", 5) == 0)
        snprintf(f->endpoint, sizeof f->endpoint, "%s", all.listen);
    else
        snprintf(f->endpoint, sizeof f->endpoint, "127.0.0.1:%d", od_rpc_server_port(f->server));
    f->channel = fixture_channel(f, token);
}

struct od_channel *fixture_channel(const struct fixture *f, const char *token)
{
    struct od_channel *channel = NULL;
    struct od_error err = {0};
    struct od_channel_options options = {.endpoint = f->endpoint, .token = token};
    if (od_channel_open(&options, &channel, &err) != OD_OK)
        fail_msg("%s", err.message);
    return channel;
}

void fixture_stop(struct fixture *f)
{
    od_channel_close(f->channel);
    if (f->held)
        od_call_unref(f->held);
    if (f->server) {
        od_rpc_server_stop(f->server, 1000);
        od_rpc_server_free(f->server);
    }
    pthread_cond_destroy(&f->changed);
    pthread_mutex_destroy(&f->lock);
}

void fixture_await(struct fixture *f, const unsigned *counter, unsigned value)
{
    uint64_t end = od_clock_ms() + 10000;
    pthread_mutex_lock(&f->lock);
    while (*counter < value && od_clock_ms() < end)
        (void)od_cond_wait_until(&f->changed, &f->lock, end);
    unsigned reached = *counter;
    pthread_mutex_unlock(&f->lock);
    if (reached < value)
        fail_msg("waited for %u, got %u", value, reached);
}

od_code call_text(struct od_channel *channel, const char *method, const char *text, struct od_received *reply,
                  struct od_error *err)
{
    struct od_segment segment = {(const uint8_t *)text, strlen(text)};
    return od_channel_call(channel, method, &segment, 1, 10000, 0, NULL, reply, err);
}

od_code send_bytes(struct od_stream *stream, const void *data, size_t bytes, struct od_error *err)
{
    uint8_t *copy = malloc(bytes ? bytes : 1);
    memcpy(copy, data, bytes);
    struct od_segment segment = {copy, bytes};
    return od_stream_send(stream, &segment, 1, free, copy, err);
}

bool received_is(const struct od_received *received, const char *text)
{
    return received->bytes == strlen(text) && memcmp(received->data, text, received->bytes) == 0;
}

void wait_ms(unsigned ms)
{
    struct timespec pause = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&pause, NULL);
}
