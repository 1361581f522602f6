// retry.c - the retry policy; see retry.h.
#include "client/retry.h"

#define PAUSE_FIRST_MS 50u
#define PAUSE_MAX_MS 2000u

// xorshift64*: jitter needs to differ between clients, not to be secret.
static uint64_t next_random(uint64_t *state)
{
    uint64_t x = *state ? *state : 0x9e3779b97f4a7c15u;
    x ^= x >> 12;
    x ^= x << 25;
    x ^= x >> 27;
    *state = x;
    return x * 0x2545f4914f6cdd1du;
}

uint64_t od_retry_pause_ms(uint64_t *random, unsigned n)
{
    uint64_t most = n < 6 ? (uint64_t)PAUSE_FIRST_MS << n : PAUSE_MAX_MS;
    if (most > PAUSE_MAX_MS)
        most = PAUSE_MAX_MS;
    return most / 2 + next_random(random) % (most / 2 + 1);
}

void od_retry_init(struct od_retry *retry, const struct od_retry_options *options)
{
    *retry = (struct od_retry){.options = *options, .random = options->seed};
    if (!retry->options.endpoints)
        retry->options.endpoints = 1;
}

static struct od_retry_step stop(void)
{
    return (struct od_retry_step){OD_RETRY_STOP, 0};
}

// A step that would begin at or after the deadline is none.
static struct od_retry_step step(const struct od_retry *retry, enum od_retry_verdict verdict, uint64_t wait_ms,
                                 uint64_t now_ms)
{
    if (retry->options.deadline_ms != UINT64_MAX && now_ms + wait_ms >= retry->options.deadline_ms)
        return stop();
    return (struct od_retry_step){verdict, wait_ms};
}

// The next endpoint at once; after the last one a pause, and a new round.
static struct od_retry_step next_endpoint(struct od_retry *retry, uint64_t now_ms)
{
    const struct od_retry_options *options = &retry->options;
    if (++retry->round_position < options->endpoints)
        return step(retry, OD_RETRY_NEXT, 0, now_ms);
    retry->round_position = 0;
    uint64_t budget = options->connect_ms * options->endpoints;
    if (retry->rounds >= options->retries || now_ms - options->now_ms >= budget)
        return stop();
    uint64_t pause = od_retry_pause_ms(&retry->random, retry->rounds++);
    return step(retry, OD_RETRY_NEXT, pause, now_ms);
}

struct od_retry_step od_retry_after(struct od_retry *retry, od_code failure, uint64_t now_ms)
{
    const struct od_retry_options *options = &retry->options;
    switch (failure) {
    case OD_UNAVAILABLE: // never sent, or refused by a server that is stopping
        return next_endpoint(retry, now_ms);
    case OD_BUSY: { // refused before it ran
        bool hopeless = retry->busy >= OD_RETRY_BUSY_MAX ||
                        (options->deadline_ms == UINT64_MAX && retry->busy >= options->retries);
        if (hopeless)
            return stop();
        uint64_t pause = od_retry_pause_ms(&retry->random, retry->busy++);
        return step(retry, OD_RETRY_SAME, pause, now_ms);
    }
    case OD_DISCONNECTED:
        retry->reached = true;
        if (!options->resend || retry->disconnects >= options->retries)
            return stop();
        // The first repetition at once: an idle connection that was closed is the usual case.
        return step(retry, OD_RETRY_SAME, retry->disconnects++ ? od_retry_pause_ms(&retry->random, retry->disconnects)
                                                               : 0, now_ms);
    case OD_OUTCOME_UNKNOWN: // the server's storage failed in between: asked again, it reads what became of the request
        retry->reached = true;
        if (!options->resend || retry->disconnects >= options->retries)
            return stop();
        return step(retry, OD_RETRY_SAME, od_retry_pause_ms(&retry->random, retry->disconnects++), now_ms);
    default:
        return stop();
    }
}
