// registry.c - which executions and sessions there are, who runs next, and what is remembered of those that are gone.
// Everything here is under the server's lock; calls are answered and executions told outside it.
//
// Invariants
//   G1  A request id of one caller is in `requests` or in `replies`, or unknown; so nothing runs twice.
//   G2  A registered execution holds one reference for the tables, and one for the queue it waits in or the job that runs
//       it (given up by od_registry_finished or od_registry_dropped).
//   G3  Of a session one statement is active (in admission or running); the others wait in its list, in order.
#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/clock.h"
#include "server/execution.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define WAITING_IN_SESSION_MAX 16u

static struct od_execution *by_id(struct od_node *node)
{
    return node ? od_container(node, struct od_execution, by_id) : NULL;
}

static struct od_execution *by_request(struct od_node *node)
{
    return node ? od_container(node, struct od_execution, by_request) : NULL;
}

static struct od_execution *by_slot(struct od_slot *slot)
{
    return slot ? od_container(slot, struct od_execution, slot) : NULL;
}

struct od_execution *od_registry_find(struct od_server *server, const struct od_key *id)
{
    pthread_mutex_lock(&server->lock);
    struct od_execution *execution = by_id(od_table_find(&server->executions, id));
    if (execution)
        od_execution_ref(execution);
    pthread_mutex_unlock(&server->lock);
    return execution;
}

struct od_execution *od_registry_find_request(struct od_server *server, const struct od_key *request)
{
    pthread_mutex_lock(&server->lock);
    struct od_execution *execution = by_request(od_table_find(&server->requests, request));
    if (execution)
        od_execution_ref(execution);
    pthread_mutex_unlock(&server->lock);
    return execution;
}

// ---- running

// Lock held. Jobs of executions that hold a place.
static void admit(struct od_server *server)
{
    struct od_execution *execution;
    while ((execution = by_slot(od_admission_next(&server->admission))))
        od_workers_submit(server->executors, &execution->job);
}

void od_registry_admit(struct od_server *server)
{
    pthread_mutex_lock(&server->lock);
    admit(server);
    pthread_mutex_unlock(&server->lock);
}

static void run_here(void *argument)
{
    struct od_execution *execution = argument;
    execution->job.run(&execution->job);
}

// Lock held. A short statement is over soonest on the thread that its request came on. Not one that waits for other requests:
// members of a group, readers of uploads.
static void start(struct od_execution *execution)
{
    struct od_server *server = execution->server;
    bool waits = execution->task.group || server->uploads.count > 0;
    if (waits || !od_rpc_run_here(run_here, execution))
        od_workers_submit(server->executors, &execution->job);
}

// Lock held. False: turned away.
static bool enter(struct od_execution *execution)
{
    struct od_server *server = execution->server;
    enum od_slot_state state = od_admission_enter(&server->admission, &execution->slot, od_clock_ms());
    if (state == OD_SLOT_RUNNING)
        start(execution);
    return state != OD_SLOT_OUT;
}

static od_code fail_busy(struct od_server *server, bool waited, struct od_error *err)
{
    if (waited)
        return od_fail(err, OD_BUSY,
                       "the statement waited %" PRIu64 " ms for its turn: %u statements are running (max-running), %u are "
                       "waiting; try again",
                       server->admission.wait_ms_max, server->admission.running, server->admission.waiting);
    return od_fail(err, OD_BUSY,
                   "%u statements are running and %u are waiting, which is the most (max-running, max-queued); try again",
                   server->admission.running, server->admission.waiting);
}

// Ends one that never began, with the error in its place. Not with the server's lock held.
static void fail_waiting(struct od_execution *execution, const struct od_error *error)
{
    pthread_mutex_lock(&execution->lock);
    if (execution->core.phase == OD_PHASE_WAITING) {
        execution->failure = *error;
        execution->outcome = error->code;
        od_execution_event_locked(execution, OD_EVENT_DONE);
        od_execution_flow(execution);
    }
    pthread_mutex_unlock(&execution->lock);
}

static void fail_list(struct od_execution *first, const struct od_error *error)
{
    while (first) {
        struct od_execution *next = first->session_next;
        first->session_next = NULL;
        fail_waiting(first, error);
        od_execution_unref(first); // of the queue (G2)
        first = next;
    }
}

// Lock held. Starts the session's next statement. Those that cannot get in are handed back.
static struct od_execution *start_next(struct od_session *session)
{
    struct od_execution *turned_away = NULL, **last = &turned_away;
    while (!session->active && session->first_waiting) {
        struct od_execution *execution = session->first_waiting;
        session->first_waiting = execution->session_next;
        if (!session->first_waiting)
            session->last_waiting = NULL;
        execution->session_next = NULL;
        if (enter(execution)) {
            session->active = execution;
        } else {
            // Its number is spent: a client that sends numbers ahead learns the outcome of each.
            od_session_finished(&session->core, session->core.in_transaction, od_clock_ms());
            *last = execution;
            last = &execution->session_next;
        }
    }
    return turned_away;
}

// Lock held.
static struct od_execution *leave_session(struct od_execution *execution)
{
    struct od_session *session = execution->session;
    if (!session || session->active != execution)
        return NULL;
    session->active = NULL;
    od_session_finished(&session->core, execution->in_transaction, od_clock_ms());
    if (session->ended) {
        od_session_close_if_idle(session);
        return NULL;
    }
    return start_next(session);
}

void od_registry_finished(struct od_execution *execution)
{
    struct od_server *server = execution->server;
    struct od_error busy = {0};
    pthread_mutex_lock(&server->lock);
    struct od_execution *turned_away = leave_session(execution);
    od_admission_leave(&server->admission, &execution->slot);
    if (turned_away)
        (void)fail_busy(server, false, &busy);
    admit(server);
    pthread_mutex_unlock(&server->lock);
    fail_list(turned_away, &busy);
}

void od_registry_dropped(struct od_execution *execution)
{
    struct od_server *server = execution->server;
    struct od_session *session = execution->session;
    bool unref = false;
    pthread_mutex_lock(&server->lock);
    if (execution->slot.state == OD_SLOT_WAITING) {
        od_admission_leave(&server->admission, &execution->slot);
        unref = true;
        if (session && session->active == execution) {
            session->active = NULL;
            od_session_finished(&session->core, session->core.in_transaction, od_clock_ms());
            struct od_execution *turned_away = start_next(session);
            od_assert(!turned_away); // the place just left is free
            if (session->ended)
                od_session_close_if_idle(session);
        }
    } else if (execution->slot.state == OD_SLOT_OUT && session) {
        struct od_execution **at = &session->first_waiting, *before = NULL;
        while (*at && *at != execution) {
            before = *at;
            at = &(*at)->session_next;
        }
        if (*at) {
            *at = execution->session_next;
            if (session->last_waiting == execution)
                session->last_waiting = before;
            execution->session_next = NULL;
            od_session_finished(&session->core, session->core.in_transaction, od_clock_ms());
            unref = true;
        }
    }
    // With a place already, its job is on the way and finds that there is nothing to do.
    pthread_mutex_unlock(&server->lock);
    if (unref)
        od_execution_unref(execution); // the caller holds another
}

// ---- coming and going

static void add_live(struct od_server *server, struct od_execution *execution)
{
    execution->live_next = server->first_live;
    if (server->first_live)
        server->first_live->live_previous = execution;
    server->first_live = execution;
    server->live++;
}

static void remove_live(struct od_server *server, struct od_execution *execution)
{
    if (execution->live_previous)
        execution->live_previous->live_next = execution->live_next;
    else
        server->first_live = execution->live_next;
    if (execution->live_next)
        execution->live_next->live_previous = execution->live_previous;
    execution->live_previous = execution->live_next = NULL;
    server->live--;
}

void od_registry_forget(struct od_execution *execution, bool keep, struct od_reply *reply)
{
    struct od_server *server = execution->server;
    pthread_mutex_lock(&server->lock);
    bool inside = execution->by_id.inside;
    if (inside) {
        od_table_remove(&server->executions, &execution->by_id);
        od_table_remove(&server->requests, &execution->by_request);
        remove_live(server, execution);
        if (keep && !od_reply_cache_put(&server->replies, &execution->request, reply, od_clock_ms()))
            od_log(OD_LOG_WARN, "server", "no memory to remember the outcome of request %s", execution->id_text);
        pthread_cond_broadcast(&server->changed);
    }
    pthread_mutex_unlock(&server->lock);
    if (inside)
        od_execution_unref(execution); // the caller holds another
}

void od_registry_keep_last(struct od_execution *execution, struct od_reply *reply, bool repeatable)
{
    struct od_session *session = execution->session;
    struct od_server *server = execution->server;
    struct od_reply *old = NULL;
    pthread_mutex_lock(&server->lock);
    if (session->core.last == execution->sequence) {
        old = session->last_reply;
        session->last_reply = reply && od_reply_bytes(reply) <= OD_SESSION_REPLY_BYTES_MAX ? od_reply_ref(reply) : NULL;
        session->last_request = execution->request;
        session->last_repeatable = repeatable;
    }
    pthread_mutex_unlock(&server->lock);
    od_reply_unref(old);
}

// Lock held.
static od_code refuse_while_draining(struct od_server *server, const struct od_execution *execution,
                                     const char *session_id, struct od_error *err)
{
    if (!server->draining)
        return OD_OK;
    if (session_id) {
        struct od_key key = od_digest(&server->secret,
                                      (const char *const[]){"session", execution->identity, execution->task.database,
                                                            session_id},
                                      4);
        struct od_session *session = od_session_find(server, &key);
        if (session && session->core.in_transaction)
            return OD_OK; // so that it can be committed
    }
    return od_fail(err, OD_UNAVAILABLE, "the server is stopping");
}

// Lock held. A statement that must not run (again), for this reason. If it asks again for the outcome of a commit, the
// ledger has it.
static od_code accept_from_ledger(struct od_execution *execution, const struct od_error *why, struct od_error *err)
{
    struct od_error *kept = od_calloc(1, sizeof *kept);
    if (!kept)
        return od_fail(err, OD_NO_MEMORY, "no memory for a statement");
    *kept = *why;
    od_free(execution->not_remembered);
    execution->not_remembered = kept;
    if (execution->ledger_id[0] && !execution->task.describe_only && !execution->task.read_only)
        return OD_OK;
    *err = *why;
    return err->code;
}

// Lock held. Decides what a session says to a statement; *again: the answer to its repetition.
static od_code accept_in_session(struct od_execution *execution, const char *session_id, struct od_reply **again,
                                 struct od_error *err)
{
    struct od_server *server = execution->server;
    uint64_t sequence = execution->sequence;
    struct od_key key = od_digest(
        &server->secret, (const char *const[]){"session", execution->identity, execution->task.database, session_id}, 4);
    struct od_session *session = od_session_find(server, &key);
    const char *snapshot = execution->task.snapshot;
    if (!session && sequence != 1) {
        struct od_error lost = {0};
        (void)od_session_fail_lost(server, &key, session_id, sequence, &lost);
        return accept_from_ledger(execution, &lost, err);
    }
    if (!session) {
        od_code rc = od_session_make(server, &key, execution->task.database, snapshot, &session, err);
        if (rc != OD_OK)
            return rc;
    }
    if (strcmp(snapshot ? snapshot : "", session->snapshot ? session->snapshot : "") != 0)
        return od_fail(err, OD_INVALID, "session \"%.100s\" reads %s%.100s: another snapshot needs another session",
                       session_id, session->snapshot ? "snapshot " : "the newest state",
                       session->snapshot ? session->snapshot : "");
    bool same = memcmp(&session->last_request, &execution->request, sizeof session->last_request) == 0;
    switch (od_session_accept(&session->core, sequence, od_clock_ms())) {
    case OD_SESSION_RUNS:
        break;
    case OD_SESSION_REPEATS:
        if (!same)
            return od_fail(err, OD_SESSION_LOST,
                           "statement %" PRIu64 " of session \"%.100s\" was another request: the session cannot go on",
                           sequence, session_id);
        if (session->last_reply) {
            *again = od_reply_ref(session->last_reply);
            return OD_OK;
        }
        if (!session->last_repeatable || session->core.pending > 0) {
            struct od_error gone = {0};
            (void)od_fail(&gone, OD_RESULT_GONE,
                          "statement %" PRIu64 " of session \"%.100s\" took effect, but its result is no longer kept",
                          sequence, session_id);
            return accept_from_ledger(execution, &gone, err);
        }
        session->core.pending++; // a read whose rows are gone runs again
        break;
    case OD_SESSION_STRAYS:
        return od_fail(err, OD_SESSION_LOST,
                       "statement %" PRIu64 " of session \"%.100s\" comes too late: %" PRIu64 " has been accepted already",
                       sequence, session_id, session->core.last);
    }
    session->references++;
    execution->session = session;
    execution->in_transaction = session->core.in_transaction;
    session->last_request = execution->request;
    od_reply_unref(session->last_reply);
    session->last_reply = NULL;
    session->last_repeatable = false;
    return OD_OK;
}

// Lock held. Puts it into the tables and lets it run or wait.
static od_code enroll(struct od_execution *execution, struct od_error *err)
{
    struct od_server *server = execution->server;
    struct od_session *session = execution->session;
    od_code rc = od_table_put(&server->executions, &execution->by_id, &execution->id, err);
    if (rc != OD_OK)
        return rc;
    rc = od_table_put(&server->requests, &execution->by_request, &execution->request, err);
    if (rc != OD_OK) {
        od_table_remove(&server->executions, &execution->by_id);
        return rc;
    }
    unsigned waiting = 0;
    if (session)
        for (struct od_execution *e = session->first_waiting; e; e = e->session_next)
            waiting++;
    if (session && (session->active || session->first_waiting)) {
        if (waiting >= WAITING_IN_SESSION_MAX) {
            rc = od_fail(err, OD_BUSY, "%u statements of the session wait for the one before", waiting);
        } else {
            *(session->last_waiting ? &session->last_waiting->session_next : &session->first_waiting) = execution;
            session->last_waiting = execution;
        }
    } else if (enter(execution)) {
        if (session)
            session->active = execution;
    } else {
        rc = fail_busy(server, false, err);
    }
    if (rc != OD_OK) {
        od_table_remove(&server->executions, &execution->by_id);
        od_table_remove(&server->requests, &execution->by_request);
        return rc;
    }
    od_execution_ref(execution); // the tables'
    od_execution_ref(execution); // the queue's
    add_live(server, execution);
    return OD_OK;
}

// Lock held. One that did not get in leaves its session as it was.
static void withdraw(struct od_execution *execution)
{
    struct od_session *session = execution->session;
    if (!session)
        return;
    (void)od_session_withdraw(&session->core, execution->sequence);
    if (session->core.last == 0 && session->core.pending == 0) {
        struct od_execution *none = od_session_end(session, NULL);
        od_assert(!none);
        od_session_close_if_idle(session);
    }
}

enum od_submitted od_registry_submit(struct od_execution *execution, const char *session_id,
                                     struct od_execution **joined, struct od_reply **again, struct od_error *err)
{
    struct od_server *server = execution->server;
    od_code rc = OD_OK;
    *again = NULL;
    pthread_mutex_lock(&server->lock);
    struct od_execution *same = by_request(od_table_find(&server->requests, &execution->request));
    if (same) {
        *joined = od_execution_ref(same);
        pthread_mutex_unlock(&server->lock);
        return OD_SUBMITTED_JOINED;
    }
    if (!od_reply_cache_find(&server->replies, &execution->request, od_clock_ms(), again)) {
        rc = refuse_while_draining(server, execution, session_id, err);
        if (rc == OD_OK && session_id)
            rc = accept_in_session(execution, session_id, again, err);
    } else if (!*again) { // only the fact is left of the answer
        struct od_error gone = {0};
        (void)od_fail(&gone, OD_RESULT_GONE, "the statement took effect, but its result is no longer kept");
        rc = accept_from_ledger(execution, &gone, err);
    }
    if (rc == OD_OK && !*again) {
        rc = enroll(execution, err);
        if (rc != OD_OK)
            withdraw(execution);
    }
    od_server_wake_ticker(server);
    pthread_mutex_unlock(&server->lock);
    return rc != OD_OK ? OD_SUBMITTED_REFUSED : *again ? OD_SUBMITTED_ANSWERED : OD_SUBMITTED_NEW;
}

// ---- time

static void expire_waiting(struct od_server *server, uint64_t now_ms)
{
    struct od_execution *expired = NULL, **last = &expired;
    struct od_error busy = {0};
    struct od_slot *slot;
    pthread_mutex_lock(&server->lock);
    while ((slot = od_admission_expired(&server->admission, now_ms))) {
        struct od_execution *execution = by_slot(slot);
        struct od_session *session = execution->session;
        *last = execution;
        last = &execution->session_next;
        if (session && session->active == execution) {
            session->active = NULL;
            // Nothing of it began: the number may come again, unless the client has gone on already.
            (void)od_session_withdraw(&session->core, execution->sequence);
            struct od_execution *next = start_next(session);
            od_assert(!next || server->admission.waiting_max == 0);
            if (session->ended)
                od_session_close_if_idle(session);
        }
    }
    if (expired)
        (void)fail_busy(server, true, &busy);
    pthread_mutex_unlock(&server->lock);
    fail_list(expired, &busy);
}

// ---- the end of sessions

// Lock held; given up in between.
static void end_session(struct od_session *session, const char *reason)
{
    struct od_server *server = session->server;
    struct od_error lost = {0};
    struct od_execution *waiting = od_session_end(session, reason);
    struct od_execution *active = session->active ? od_execution_ref(session->active) : NULL;
    od_session_close_if_idle(session);
    pthread_mutex_unlock(&server->lock);
    (void)od_fail(&lost, OD_SESSION_LOST, "the session was closed before the statement began");
    fail_list(waiting, &lost);
    if (active) {
        od_execution_event(active, OD_EVENT_CANCEL);
        od_execution_unref(active);
    }
    pthread_mutex_lock(&server->lock);
}

bool od_registry_close_session(struct od_server *server, const struct od_key *key, struct od_call *call)
{
    pthread_mutex_lock(&server->lock);
    struct od_session *session = od_session_find(server, key);
    bool waits = session && od_session_add_call(session, call);
    if (session)
        end_session(session, "it was closed by its client");
    pthread_mutex_unlock(&server->lock);
    return waits;
}

void od_registry_end_sessions(struct od_server *server, uint64_t now_ms, bool all)
{
    const struct od_server_options *options = &server->options;
    pthread_mutex_lock(&server->lock);
    struct od_node *node = od_table_next(&server->sessions, NULL);
    while (node) {
        struct od_session *session = od_container(node, struct od_session, node);
        enum od_session_end end = od_session_check(&session->core, options->session_idle_ms,
                                                   options->transaction_idle_ms, now_ms);
        node = od_table_next(&server->sessions, node);
        if (!all && end == OD_SESSION_LIVES)
            continue;
        end_session(session, all ? "the server is stopping"
                                 : end == OD_SESSION_TRANSACTION_IDLE ? "its transaction was idle for too long"
                                                                      : "it was idle for too long");
        node = od_table_next(&server->sessions, NULL); // the lock was given up
    }
    pthread_mutex_unlock(&server->lock);
}

void od_registry_end_sessions_of(struct od_server *server, const char *database, const char *reason)
{
    pthread_mutex_lock(&server->lock);
    struct od_node *node = od_table_next(&server->sessions, NULL);
    while (node) {
        struct od_session *session = od_container(node, struct od_session, node);
        node = od_table_next(&server->sessions, node);
        if (strcmp(session->database_name, database) != 0)
            continue;
        end_session(session, reason);
        node = od_table_next(&server->sessions, NULL); // the lock was given up
    }
    pthread_mutex_unlock(&server->lock);
}

void od_registry_tick(struct od_server *server, uint64_t now_ms)
{
    expire_waiting(server, now_ms);
    pthread_mutex_lock(&server->lock);
    for (struct od_execution *execution = server->first_live; execution; execution = execution->live_next) {
        if (atomic_load(&execution->look_at_ms) <= now_ms) {
            atomic_store(&execution->look_at_ms, OD_NEVER);
            od_signal_post(execution->signal);
        }
    }
    pthread_mutex_unlock(&server->lock);
}
