// execution.c - what the state machine decided, done: answers, interrupts, batches to the stream, release. See execution.h.
//
// Invariants
//   X1  The engine's callbacks only post a signal: they may come from inside any engine call we make under our lock.
//   X2  Batches are taken from the result under the lock, by whoever flows, so their numbers follow their order.
//   X3  The window's memory is counted in the server's budget; while the budget is used up, only as much as each
//       statement is guaranteed may be in flight, so readers that do not acknowledge cannot starve the others.
#include "server/execution.h"

#include "arrow/budget.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/clock.h"

#include <inttypes.h>
#include <string.h>

#define PARKED_MAX 64u
#define PAUSE_MS 200u                        // without a batch taken for this long its place goes to another statement
#define PLAIN_UNSENT_BYTES_MAX (4 * OD_MIB) // handed to the transport of a reader that does not acknowledge

// ---- signals

static void signal_run(struct od_job *job)
{
    struct od_signal *signal = od_container(job, struct od_signal, job);
    atomic_store(&signal->queued, false); // what comes from now on is looked at again
    pthread_mutex_lock(&signal->lock);
    struct od_execution *execution = signal->execution;
    // Being freed already? Then its last reference is waiting for signal->lock.
    unsigned references = execution ? atomic_load(&execution->references) : 0;
    while (references > 0 && !atomic_compare_exchange_weak(&execution->references, &references, references + 1)) {
    }
    pthread_mutex_unlock(&signal->lock);
    if (references > 0) {
        od_execution_look(execution);
        od_execution_unref(execution);
    }
}

void od_signal_post(struct od_signal *signal)
{
    if (!atomic_exchange(&signal->queued, true))
        od_workers_submit(signal->server->helpers, &signal->job);
}

// The engine's callback (X1): any thread, any time.
static void on_event(void *argument)
{
    struct od_signal *signal = argument;
    pthread_mutex_lock(&signal->lock);
    bool enough = signal->execution && (!signal->enough_bytes ||
                                        od_result_sendable_bytes(signal->result) >= signal->enough_bytes);
    pthread_mutex_unlock(&signal->lock);
    if (enough)
        od_signal_post(signal);
}

static struct od_signal *signal_get(struct od_server *server)
{
    pthread_mutex_lock(&server->lock);
    struct od_signal *signal = server->free_signals;
    if (signal)
        server->free_signals = signal->next_free;
    pthread_mutex_unlock(&server->lock);
    if (signal)
        return signal;
    signal = od_calloc(1, sizeof *signal);
    if (!signal)
        return NULL;
    signal->job.run = signal_run;
    signal->server = server;
    pthread_mutex_init(&signal->lock, NULL);
    pthread_mutex_lock(&server->lock);
    signal->next_all = server->signals;
    server->signals = signal;
    pthread_mutex_unlock(&server->lock);
    return signal;
}

static void signal_set(struct od_signal *signal, struct od_execution *execution, struct od_result *result,
                       uint64_t enough_bytes)
{
    pthread_mutex_lock(&signal->lock);
    signal->execution = execution;
    signal->result = result;
    signal->enough_bytes = enough_bytes;
    pthread_mutex_unlock(&signal->lock);
}

static void signal_put(struct od_server *server, struct od_signal *signal)
{
    signal_set(signal, NULL, NULL, 0);
    pthread_mutex_lock(&server->lock);
    signal->next_free = server->free_signals;
    server->free_signals = signal;
    pthread_mutex_unlock(&server->lock);
}

// ---- life

void od_task_release(struct od_task *task)
{
    if (task->message)
        protobuf_c_message_free_unpacked(task->message, NULL);
    od_free(task->settings);
    od_free(task->objects);
    *task = (struct od_task){0};
}

static void execution_free(struct od_execution *execution)
{
    struct od_server *server = execution->server;
    if (execution->signal)
        signal_put(server, execution->signal);
    od_window_release(&execution->window);
    if (execution->budgeted)
        od_budget_give(server->budget, execution->budgeted);
    od_result_unref(execution->result);
    od_reply_unref(execution->reply);
    for (size_t i = 0; i < execution->caller_count; i++)
        od_call_unref(execution->callers[i]);
    od_free(execution->callers);
    if (execution->session) {
        pthread_mutex_lock(&server->lock);
        od_session_unref_locked(execution->session);
        pthread_mutex_unlock(&server->lock);
    }
    od_task_release(&execution->task);
    pthread_mutex_destroy(&execution->lock);
    od_free(execution->identity);
    od_free(execution->not_remembered);
    od_free(execution);
}

struct od_execution *od_execution_ref(struct od_execution *execution)
{
    atomic_fetch_add_explicit(&execution->references, 1, memory_order_relaxed);
    return execution;
}

void od_execution_unref(struct od_execution *execution)
{
    if (execution && atomic_fetch_sub_explicit(&execution->references, 1, memory_order_acq_rel) == 1)
        execution_free(execution);
}

od_code od_execution_renew_result(struct od_execution *execution, struct od_error *err)
{
    struct od_result *result;
    od_code rc = od_result_new(execution->server->budget, (struct od_waker){on_event, execution->signal}, &result, err);
    if (rc != OD_OK)
        return rc;
    struct od_result *old = execution->result;
    execution->result = result;
    execution->ended = false;
    od_window_release(&execution->window);
    od_window_init(&execution->window, UINT64_MAX);
    od_execution_account(execution);
    bool answered = execution->core.replied && execution->stream;
    signal_set(execution->signal, execution, result, answered ? 0 : execution->task.inline_limit);
    od_result_unref(old);
    return OD_OK;
}

// The same in every process that serves the database: what one of them committed another has to recognize.
static void ledger_id(const char *identity, const char *request_id, char out[OD_KEY_TEXT_BYTES])
{
    static const struct od_secret fixed = {"openduck request ledger"};
    const struct od_key key = od_digest(&fixed, (const char *const[]){identity, request_id}, 2);
    od_key_text(&key, out);
}

od_code od_execution_new(struct od_server *server, const char *identity, const char *request_id,
                         const struct od_task *task, struct od_call *call, struct od_stream_call *stream,
                         struct od_execution **execution, struct od_error *err)
{
    od_code rc = OD_OK;
    uint64_t now = od_clock_ms();
    struct od_execution *x = od_calloc(1, sizeof *x);
    if (!x)
        return od_fail(err, OD_NO_MEMORY, "no memory for an execution");
    atomic_init(&x->references, 1);
    atomic_init(&x->look_at_ms, OD_NEVER);
    pthread_mutex_init(&x->lock, NULL);
    x->server = server;
    x->job.run = od_execution_run;
    x->arrived_us = od_clock_us();
    x->moved_ms = now;
    x->asked_window = OD_WINDOW_BYTES_DEFAULT;
    x->task = *task;
    x->task.message = NULL; // the caller's until we succeed
    od_random_bytes(x->id.bytes, sizeof x->id.bytes);
    od_key_text(&x->id, x->id_text);
    char random_id[OD_RANDOM_ID_BYTES];
    if (!request_id || !request_id[0]) {
        od_random_id(random_id);
        request_id = random_id;
    } else {
        ledger_id(identity, request_id, x->ledger_id);
    }
    x->request = od_digest(&server->secret, (const char *const[]){"request", identity, request_id}, 3);
    uint64_t timeout = task->timeout_ms;
    uint64_t most = server->options.statement_timeout_ms;
    if (most && (!timeout || timeout > most))
        timeout = most;
    x->task.timeout_ms = timeout;
    od_execution_init(&x->core, &server->times, call != NULL, timeout ? now + timeout : OD_NEVER, now);
    x->stream = stream;
    x->identity = od_strdup(identity);
    x->callers = call ? od_calloc(1, sizeof(struct od_call *)) : NULL;
    x->signal = signal_get(server);
    if (!x->identity || !x->signal || (call && !x->callers))
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for an execution"));
    if (call)
        x->callers[x->caller_count++] = od_call_ref(call);
    OD_TRY(od_execution_renew_result(x, err));
    x->task.message = task->message;
    *execution = x;
    return OD_OK;
out:
    x->task.settings = NULL;
    x->task.objects = NULL;
    od_execution_unref(x);
    return rc;
}

// ---- errors

static void explain_stop(const struct od_execution *execution, struct od_error *error)
{
    if (error->code != OD_CANCELLED)
        return;
    switch (execution->core.stop) {
    case OD_STOP_TIMEOUT:
        (void)od_fail(error, OD_TIMEOUT, "the statement was interrupted: it ran into its time limit of %" PRIu64 " ms",
                      execution->task.timeout_ms);
        break;
    case OD_STOP_UNREAD:
        (void)od_fail(error, OD_TIMEOUT, "the result was given up: nothing of it was read for %" PRIu64 " s",
                      execution->core.times->unread_ms / 1000);
        break;
    case OD_STOP_ABANDONED:
        (void)od_fail(error, OD_CANCELLED, "the statement was interrupted: the connection of its client broke");
        break;
    case OD_STOP_SHUTDOWN:
        (void)od_fail(error, OD_UNAVAILABLE, "the statement was interrupted: the server is stopping");
        break;
    case OD_STOP_CANCELLED:
    case OD_STOP_NONE:
        (void)od_fail(error, OD_CANCELLED, "the statement was cancelled");
        break;
    }
}

void od_execution_explain(const struct od_execution *execution, struct od_error *error)
{
    explain_stop(execution, error);
    od_trace_mark(execution->task.trace_id, error);
}

// ---- memory

void od_execution_account(struct od_execution *execution)
{
    struct od_budget *budget = execution->server->budget;
    uint64_t held = execution->window.held;
    if (held > execution->budgeted) {
        od_budget_take(budget, held - execution->budgeted);
    } else if (held < execution->budgeted) {
        od_budget_give(budget, execution->budgeted - held);
        execution->budgeted = held;
        od_budget_wake_blocked(budget);
    }
    execution->budgeted = held;
}

static uint64_t window_limit(const struct od_execution *execution)
{
    const struct od_server *server = execution->server;
    bool scarce = od_budget_used(server->budget) >= server->options.pool_bytes;
    return scarce && execution->asked_window > OD_POOL_BYTES_GUARANTEED ? OD_POOL_BYTES_GUARANTEED
                                                                        : execution->asked_window;
}

// ---- batches to the stream

static void fail_stream(struct od_execution *execution, struct od_error *error)
{
    struct od_stream_call *stream = execution->stream;
    od_execution_explain(execution, error);
    stream->failed = true;
    stream->type->fail(stream, error);
}

// A reader that does not acknowledge: what the transport took makes room.
static bool plain_room(struct od_execution *execution, struct od_stream_call *stream)
{
    if (od_call_unsent_bytes(stream->call) >= PLAIN_UNSENT_BYTES_MAX)
        return false;
    struct od_batch *next = od_window_peek(&execution->window, execution->window.cursor);
    uint64_t limit = execution->window.limit, bytes = next ? next->bytes : 1;
    od_window_slide(&execution->window, limit > bytes ? limit - bytes : 0);
    return true;
}

// Takes one more batch from the result. False: there is none now, or the stream has ended.
static bool produce(struct od_execution *execution, struct od_stream_call *stream)
{
    struct od_error error = {0};
    struct od_batch *batch;
    if (execution->core.phase == OD_PHASE_DONE && execution->outcome != OD_OK) {
        error = execution->failure;
        fail_stream(execution, &error);
        return false;
    }
    if (execution->ended) {
        if (!stream->end_sent) {
            stream->end_sent = true;
            stream->type->end(stream, execution->window.next, execution->window.rows);
            od_execution_event_locked(execution, OD_EVENT_END_SENT);
            if (stream->plain || execution->window.base == execution->window.next)
                od_execution_event_locked(execution, OD_EVENT_ACKNOWLEDGED);
        }
        return false;
    }
    switch (od_result_pop(execution->result, &batch, &error)) {
    case OD_POP_BATCH:
        execution->moved_ms = od_clock_ms();
        if (od_window_add(&execution->window, batch, &error) == OD_OK)
            return true;
        break;
    case OD_POP_EMPTY:
        return false;
    case OD_POP_END:
        execution->ended = true;
        return true;
    case OD_POP_FAILED:
        break;
    }
    fail_stream(execution, &error);
    return false;
}

void od_execution_flow(struct od_execution *execution)
{
    uint64_t sent = execution->window.sent;
    for (;;) {
        struct od_stream_call *stream = execution->stream;
        if (!stream || stream->failed)
            break;
        execution->window.limit = window_limit(execution);
        if (stream->plain && !plain_room(execution, stream))
            break;
        uint64_t number;
        struct od_batch *batch = od_window_send(&execution->window, &number);
        if (batch) {
            if (!stream->type->batch(stream, number, batch))
                stream->failed = true;
        } else if (!od_window_wants(&execution->window) || !produce(execution, stream)) {
            break;
        }
        od_execution_account(execution);
    }
    if (execution->window.sent > sent)
        od_execution_event_locked(execution, OD_EVENT_HANDED);
}

// ---- actions

static void interrupt(struct od_execution *execution)
{
    struct od_result_info info;
    if (execution->running)
        od_connection_interrupt(execution->running);
    // Rows of a statement that can write are kept until its outcome is known.
    bool rows_are_all = od_result_ready(execution->result, &info) && info.read_only;
    if (execution->core.phase == OD_PHASE_DONE || rows_are_all)
        od_result_stop(execution->result);
    od_signal_post(execution->signal);
}

static void reply(struct od_execution *execution)
{
    bool complete = true;
    struct od_reply *answer = od_execution_make_reply(execution, &complete);
    struct od_error no_memory = {0};
    if (!answer)
        (void)od_fail(&no_memory, OD_NO_MEMORY, "no memory for the answer");
    od_reply_unref(execution->reply);
    execution->reply = answer;
    execution->reply_complete = complete;
    for (size_t i = 0; i < execution->caller_count; i++) {
        if (answer)
            od_reply_send(answer, execution->callers[i]);
        else
            od_call_fail(execution->callers[i], &no_memory);
        od_call_unref(execution->callers[i]);
    }
    execution->caller_count = 0;
    signal_set(execution->signal, execution, execution->result, 0);
    if (execution->session && execution->core.phase == OD_PHASE_DONE && execution->core.stop != OD_STOP_ABANDONED)
        od_registry_keep_last(execution, complete ? answer : NULL, execution->outcome == OD_OK && !execution->wrote);
    if (execution->window.sent > 0)
        od_execution_event_locked(execution, OD_EVENT_HANDED);
    od_execution_event_locked(execution, complete ? OD_EVENT_REPLIED : OD_EVENT_REPLIED_PART);
}

// A write's answer that came in parts is put together again if nothing of it was acknowledged.
static struct od_reply *lasting_reply(struct od_execution *execution)
{
    bool complete = true;
    if (execution->reply && execution->reply_complete)
        return od_reply_ref(execution->reply);
    if (execution->window.base > 0 || execution->window.held > OD_SESSION_REPLY_BYTES_MAX)
        return NULL;
    struct od_reply *again = od_execution_make_reply(execution, &complete);
    if (complete)
        return again;
    od_reply_unref(again);
    return NULL;
}

static void forget(struct od_execution *execution)
{
    struct od_reply *kept = execution->wrote ? lasting_reply(execution) : NULL;
    od_registry_forget(execution, execution->wrote, kept);
    od_reply_unref(kept);
    signal_set(execution->signal, NULL, NULL, 0); // what comes from now on concerns nobody
    od_result_stop(execution->result);
    od_window_release(&execution->window);
    od_execution_account(execution);
}

// Without a file the statement waits on for its reader, until it has been unread for too long.
static void spill(struct od_execution *execution)
{
    struct od_server *server = execution->server;
    struct od_error err = {0};
    void *store = NULL;
    if (!od_result_blocked(execution->result))
        return;
    char *path = od_host_temporary(server->host);
    od_code rc = path ? od_spill_file_open(od_platform_real(), path, &server->spill_space, &store, &err)
                      : od_fail(&err, OD_NO_MEMORY, "no memory for a spill file");
    od_free(path);
    if (rc == OD_OK) {
        od_log(OD_LOG_INFO, "server", "execution %s: its client has read nothing for %" PRIu64 " s; its rows go to disk",
               execution->id_text, execution->core.times->stall_ms / 1000);
        od_result_spill(execution->result, &od_spill_file_ops, store);
    } else {
        od_log(OD_LOG_WARN, "server", "execution %s: its client does not read, and its rows cannot go to disk: %s",
               execution->id_text, err.message);
    }
}

// What the parking space and the ticker must know after each event.
static void settle(struct od_execution *execution)
{
    struct od_server *server = execution->server;
    const struct od_execution_core *core = &execution->core;
    bool parked = core->park_until != OD_NEVER && !core->forgotten;
    if (parked != execution->parked) {
        execution->parked = parked;
        pthread_mutex_lock(&server->lock);
        server->parked = parked ? server->parked + 1 : server->parked - 1;
        pthread_mutex_unlock(&server->lock);
    }
    uint64_t next = core->forgotten ? OD_NEVER : od_execution_next_ms(core);
    if (core->phase == OD_PHASE_RUNNING && core->replied && !execution->paused) {
        uint64_t pause = od_clock_ms() + PAUSE_MS;
        next = next < pause ? next : pause;
    }
    atomic_store(&execution->look_at_ms, next);
}

void od_execution_act(struct od_execution *execution, unsigned actions)
{
    od_assert(!(actions & OD_ACTION_RERUN)); // only the runner can
    if (actions & OD_ACTION_DROP) {
        execution->outcome = od_fail(&execution->failure, OD_CANCELLED, "stopped before it began");
        od_registry_dropped(execution);
        od_signal_post(execution->signal);
    }
    if (actions & OD_ACTION_INTERRUPT)
        interrupt(execution);
    if (actions & OD_ACTION_SPILL)
        spill(execution);
    if (actions & OD_ACTION_REPLY)
        reply(execution);
    if ((actions & OD_ACTION_CLOSE_STREAM) && execution->stream && !execution->stream->failed) {
        execution->stream->failed = true;
        od_call_finish(execution->stream->call);
    }
    if (actions & OD_ACTION_FORGET)
        forget(execution);
}

void od_execution_event_locked(struct od_execution *execution, enum od_execution_event event)
{
    if (event == OD_EVENT_STREAM_BROKEN) {
        pthread_mutex_lock(&execution->server->lock);
        if (execution->server->parked >= PARKED_MAX)
            event = OD_EVENT_STREAM_BROKEN_FULL;
        pthread_mutex_unlock(&execution->server->lock);
    }
    od_execution_act(execution, od_execution_step(&execution->core, event, od_clock_ms()));
    settle(execution);
}

void od_execution_event(struct od_execution *execution, enum od_execution_event event)
{
    pthread_mutex_lock(&execution->lock);
    od_execution_event_locked(execution, event);
    pthread_mutex_unlock(&execution->lock);
}

// ---- looking at everything

// A statement that waits for its reader gives its place to another (admission.h).
static void yield_place(struct od_execution *execution, bool full)
{
    struct od_server *server = execution->server;
    bool still = execution->core.phase == OD_PHASE_RUNNING && execution->core.replied && full &&
                 od_clock_ms() - execution->moved_ms >= PAUSE_MS;
    if (still == execution->paused)
        return;
    pthread_mutex_lock(&server->lock);
    if (still)
        execution->paused = od_admission_pause(&server->admission, &execution->slot);
    else
        od_admission_resume(&server->admission, &execution->slot);
    pthread_mutex_unlock(&server->lock);
    if (!still)
        execution->paused = false;
    else if (execution->paused)
        od_registry_admit(server);
}

void od_execution_look(struct od_execution *execution)
{
    struct od_result_info info;
    pthread_mutex_lock(&execution->lock);
    while (!execution->core.forgotten && od_result_needs_pump(execution->result)) {
        struct od_result *result = od_result_ref(execution->result);
        pthread_mutex_unlock(&execution->lock);
        od_result_pump(result);
        pthread_mutex_lock(&execution->lock);
        od_result_unref(result);
        od_execution_flow(execution);
    }
    if (!execution->core.forgotten) {
        if (!execution->core.ready && od_result_ready(execution->result, &info))
            od_execution_event_locked(execution, OD_EVENT_READY);
        uint64_t sendable = od_result_sendable_bytes(execution->result);
        if (!execution->core.replied && !execution->core.collected && sendable >= execution->task.inline_limit)
            od_execution_event_locked(execution, OD_EVENT_COLLECTED);
        od_execution_flow(execution);
        bool full = od_result_sendable_bytes(execution->result) >= OD_QUEUE_SENDABLE_BYTES;
        bool busy = execution->core.phase == OD_PHASE_RUNNING && !full;
        od_execution_event_locked(execution, busy ? OD_EVENT_TICK_BUSY : OD_EVENT_TICK);
        // From here on every event matters; what came before is looked at once more.
        if (execution->core.due || execution->core.replied)
            signal_set(execution->signal, execution, execution->result, 0);
        if (!execution->core.ready && od_result_ready(execution->result, &info))
            od_execution_event_locked(execution, OD_EVENT_READY);
        od_execution_flow(execution);
        yield_place(execution, full);
    }
    pthread_mutex_unlock(&execution->lock);
}
