// link.c - see link.h.
#include "client/link.h"

#include "base/alloc.h"
#include "client/retry.h"
#include "os/clock.h"
#include "os/random.h"
#include "os/thread.h"

#include <stdio.h>
#include <string.h>

#define DEADLINE_SLACK_MS 2000u
#define PAUSE_STEP_MS 10u

od_code od_link_open(struct od_link *link, const struct od_link_options *options, struct od_error *err)
{
    od_code rc = OD_OK;
    memset(link, 0, sizeof *link);
    pthread_mutex_init(&link->lock, NULL);
    atomic_init(&link->retried, 0);
    link->connect_timeout_ms = options->connect_timeout_ms;
    link->retries = options->retries;
    link->closing = od_cancel_new();
    link->token = od_strdup(options->token);
    if (!link->closing || (options->token && !link->token)) {
        rc = od_fail(err, OD_NO_MEMORY, "no memory for a client");
        goto out;
    }
    for (size_t i = 0; i < options->endpoints->count; i++) {
        struct od_link_endpoint *endpoint = &link->endpoints[i];
        struct od_channel_options channel = {.endpoint = options->endpoints->text[i],
                                             .token = options->token,
                                             .tls_ca_pem = options->tls_ca_pem,
                                             .tls_certificate_pem = options->tls_certificate_pem,
                                             .tls_key_pem = options->tls_key_pem,
                                             .message_bytes_max = OD_MESSAGE_BYTES_MAX};
        endpoint->text = od_strdup(options->endpoints->text[i]);
        link->count = i + 1;
        if (!endpoint->text) {
            rc = od_fail(err, OD_NO_MEMORY, "no memory for a client");
            goto out;
        }
        OD_TRY(od_channel_open(&channel, &endpoint->channel, err));
    }
out:
    if (rc != OD_OK)
        od_link_close(link);
    return rc;
}

void od_link_close(struct od_link *link)
{
    if (link->closing)
        od_cancel_fire(link->closing);
    for (size_t i = 0; i < link->count; i++) {
        if (link->endpoints[i].channel)
            od_channel_close(link->endpoints[i].channel);
        od_free(link->endpoints[i].text);
    }
    if (link->closing)
        od_cancel_unref(link->closing);
    od_free(link->token);
    pthread_mutex_destroy(&link->lock);
    link->count = 0;
}

size_t od_link_current(struct od_link *link)
{
    pthread_mutex_lock(&link->lock);
    size_t current = link->current;
    pthread_mutex_unlock(&link->lock);
    return current;
}

void od_link_prefer(struct od_link *link, size_t endpoint)
{
    pthread_mutex_lock(&link->lock);
    link->current = endpoint;
    pthread_mutex_unlock(&link->lock);
}

void od_link_heard(struct od_link *link, size_t endpoint, const char *incarnation, enum od_dialect dialect)
{
    pthread_mutex_lock(&link->lock);
    struct od_link_endpoint *heard = &link->endpoints[endpoint];
    heard->dialect = dialect;
    if (incarnation && *incarnation)
        snprintf(heard->incarnation, sizeof heard->incarnation, "%s", incarnation);
    pthread_mutex_unlock(&link->lock);
}

enum od_dialect od_link_dialect(struct od_link *link, size_t endpoint)
{
    pthread_mutex_lock(&link->lock);
    enum od_dialect dialect = link->endpoints[endpoint].dialect;
    pthread_mutex_unlock(&link->lock);
    return dialect;
}

void od_link_incarnation(struct od_link *link, size_t endpoint, char out[OD_INCARNATION_BYTES])
{
    pthread_mutex_lock(&link->lock);
    memcpy(out, link->endpoints[endpoint].incarnation, OD_INCARNATION_BYTES);
    pthread_mutex_unlock(&link->lock);
}

od_code od_deadline_left(uint64_t deadline_ms, uint64_t *timeout_ms, struct od_error *err)
{
    *timeout_ms = 0;
    if (deadline_ms == UINT64_MAX)
        return OD_OK;
    uint64_t now = od_clock_ms();
    if (now >= deadline_ms)
        return od_fail(err, OD_TIMEOUT, "the deadline passed before the server had answered");
    *timeout_ms = deadline_ms - now + DEADLINE_SLACK_MS;
    return OD_OK;
}

bool od_pause(uint64_t ms, struct od_cancel *cancel)
{
    pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_cond_t never;
    uint64_t until = od_clock_ms() + ms;
    od_cond_init(&never);
    pthread_mutex_lock(&lock);
    for (;;) {
        uint64_t now = od_clock_ms();
        if (now >= until || (cancel && od_cancel_fired(cancel)))
            break;
        uint64_t step = until - now < PAUSE_STEP_MS ? until - now : PAUSE_STEP_MS;
        (void)od_cond_wait_until(&never, &lock, now + step);
    }
    pthread_mutex_unlock(&lock);
    pthread_cond_destroy(&never);
    pthread_mutex_destroy(&lock);
    return !(cancel && od_cancel_fired(cancel));
}

// The state of one od_link_send.
struct sending {
    struct od_link *link;
    const struct od_link_call *call;
    size_t endpoint;
    char first_incarnation[OD_INCARNATION_BYTES];
    struct od_segment suffix;
};

static od_code attempt(struct sending *sending, struct od_received *reply, struct od_error *err)
{
    struct od_link *link = sending->link;
    const struct od_link_call *call = sending->call;
    struct od_segment segments[2] = {call->request, sending->suffix};
    uint64_t timeout_ms;
    od_code rc = od_deadline_left(call->deadline_ms, &timeout_ms, err);
    if (rc != OD_OK)
        return rc;
    return od_channel_call(link->endpoints[sending->endpoint].channel, call->method, segments,
                           sending->suffix.bytes ? 2 : 1, timeout_ms, link->connect_timeout_ms, call->cancel, reply,
                           err);
}

// The request may have arrived: from now on it says so.
static od_code mark_resend(struct sending *sending, struct od_error *err)
{
    if (!sending->call->resend || sending->suffix.bytes)
        return OD_OK;
    return sending->call->resend(sending->call->argument,
                                 sending->first_incarnation[0] ? sending->first_incarnation : OD_INCARNATION_UNKNOWN,
                                 &sending->suffix, err);
}

od_code od_link_send(struct od_link *link, const struct od_link_call *call, struct od_received *reply,
                     size_t *answered, bool *reached, struct od_error *err)
{
    od_code rc;
    struct sending sending = {.link = link, .call = call};
    struct od_error local;
    struct od_error *why = err ? err : &local;
    struct od_retry retry;
    uint64_t seed;
    bool pinned = call->endpoint != OD_ENDPOINT_ANY;

    sending.endpoint = pinned ? call->endpoint : od_link_current(link);
    od_random_bytes(&seed, sizeof seed);
    struct od_retry_options options = {.retries = link->retries,
                                       .endpoints = pinned ? 1 : link->count,
                                       .connect_ms = link->connect_timeout_ms,
                                       .deadline_ms = call->deadline_ms,
                                       .now_ms = od_clock_ms(),
                                       .seed = seed,
                                       .resend = !call->once};
    od_retry_init(&retry, &options);
    for (;;) {
        if (!sending.suffix.bytes) // what arrives now is what arrives first
            od_link_incarnation(link, sending.endpoint, sending.first_incarnation);
        rc = attempt(&sending, reply, why);
        if (rc == OD_OK)
            break;
        if (call->cancel && od_cancel_fired(call->cancel)) {
            retry.reached = true;
            break;
        }
        struct od_retry_step step = od_retry_after(&retry, rc, od_clock_ms());
        // The server's own timeout comes before the slack is used up; later it is silence.
        if (rc == OD_TIMEOUT && od_clock_ms() + PAUSE_STEP_MS >= call->deadline_ms + DEADLINE_SLACK_MS)
            retry.reached = true;
        if (step.verdict == OD_RETRY_STOP)
            break;
        if (rc == OD_DISCONNECTED) {
            rc = mark_resend(&sending, why);
            if (rc != OD_OK)
                break;
        }
        atomic_fetch_add_explicit(&link->retried, 1, memory_order_relaxed);
        if (!od_pause(step.wait_ms, call->cancel)) {
            rc = od_fail(why, OD_CANCELLED, "the statement was cancelled");
            break;
        }
        if (step.verdict == OD_RETRY_NEXT && !pinned)
            sending.endpoint = (sending.endpoint + 1) % link->count;
    }
    *answered = sending.endpoint;
    if (rc == OD_OK && !pinned)
        od_link_prefer(link, sending.endpoint);
    if (rc == OD_UNAVAILABLE && !pinned && link->count > 1)
        (void)od_wrap(why, rc, "none of the %zu endpoints answers; the last one", link->count);
    if (reached)
        *reached = retry.reached;
    od_free((void *)(uintptr_t)sending.suffix.data);
    return rc;
}
