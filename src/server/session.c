// session.c - the struct's life; see session.h. Which statement runs when is registry.c's business.
#include "server/session.h"

#include "base/alloc.h"
#include "base/log.h"
#include "engine/engine.h"
#include "server/execution.h"

#include <inttypes.h>
#include <string.h>

struct od_session *od_session_find(struct od_server *server, const struct od_key *key)
{
    struct od_node *node = od_table_find(&server->sessions, key);
    return node ? od_container(node, struct od_session, node) : NULL;
}

static void answer(struct od_session *session)
{
    static const uint8_t nothing[1];
    const struct od_segment empty = {nothing, 0};
    for (size_t i = 0; i < session->waiting_call_count; i++) {
        od_call_reply(session->waiting_calls[i], &empty, 1, NULL, NULL);
        od_call_unref(session->waiting_calls[i]);
    }
    session->waiting_call_count = 0;
}

// On an executor: rolling back and dropping temporary objects may take a while.
static void close_run(struct od_job *job)
{
    struct od_session *session = od_container(job, struct od_session, close_job);
    struct od_server *server = session->server;
    od_connection_close(session->connection);
    if (session->database)
        od_database_count_session(session->database, -1);
    od_database_release(session->database);
    session->connection = NULL;
    session->database = NULL;
    answer(session);
    pthread_mutex_lock(&server->lock);
    server->sessions_closing--;
    od_session_unref_locked(session); // the table's
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

od_code od_session_make(struct od_server *server, const struct od_key *key, const char *database,
                        const char *snapshot, struct od_session **session, struct od_error *err)
{
    if (server->sessions.count >= server->options.sessions_max)
        return od_fail(err, OD_LIMIT, "%zu sessions are open, which is the most (max-sessions): close some",
                       server->sessions.count);
    struct od_session *s = od_calloc(1, sizeof *s);
    char *name = s ? od_strdup(database) : NULL;
    if (s && snapshot)
        s->snapshot = od_strdup(snapshot);
    if (!name || (snapshot && !s->snapshot) || od_table_put(&server->sessions, &s->node, key, err) != OD_OK) {
        od_free(name);
        if (s)
            od_free(s->snapshot);
        od_free(s);
        return od_fail(err, OD_NO_MEMORY, "no memory for a session");
    }
    s->server = server;
    s->references = 1;
    s->database_name = name;
    s->close_job.run = close_run;
    *session = s;
    return OD_OK;
}

od_code od_session_fail_lost(struct od_server *server, const struct od_key *key, const char *id, uint64_t sequence,
                             struct od_error *err)
{
    for (unsigned i = 0; i < OD_LOST_SESSIONS_REMEMBERED; i++) {
        const struct od_lost_session *lost = &server->lost[i];
        if (lost->reason && memcmp(&lost->key, key, sizeof *key) == 0)
            return od_fail(err, OD_SESSION_LOST,
                           "session \"%.100s\" is gone: %s. An open transaction of it was rolled back; begin again in a "
                           "new session",
                           id, lost->reason);
    }
    return od_fail(err, OD_SESSION_LOST,
                   "statement %" PRIu64 " came for session \"%.100s\", which this server does not have: it was restarted, "
                   "or the session ended long ago. An open transaction of it was rolled back; begin again in a new session",
                   sequence, id);
}

void od_session_unref_locked(struct od_session *session)
{
    if (--session->references > 0)
        return;
    od_reply_unref(session->last_reply);
    od_free(session->waiting_calls);
    od_free(session->database_name);
    od_free(session->snapshot);
    od_free(session);
}

struct od_execution *od_session_end(struct od_session *session, const char *reason)
{
    struct od_server *server = session->server;
    if (reason && session->core.last > 0) {
        server->lost[server->lost_next] = (struct od_lost_session){session->node.key, reason};
        server->lost_next = (server->lost_next + 1) % OD_LOST_SESSIONS_REMEMBERED;
    }
    od_table_remove(&server->sessions, &session->node);
    server->sessions_closing++;
    session->ended = true;
    struct od_execution *waiting = session->first_waiting;
    session->first_waiting = session->last_waiting = NULL;
    return waiting;
}

void od_session_close_if_idle(struct od_session *session)
{
    if (!session->ended || session->active || session->closing)
        return;
    session->closing = true;
    od_workers_submit(session->server->executors, &session->close_job);
}

bool od_session_add_call(struct od_session *session, struct od_call *call)
{
    struct od_call **calls =
        od_realloc(session->waiting_calls, (session->waiting_call_count + 1) * sizeof(struct od_call *));
    if (!calls)
        return false;
    session->waiting_calls = calls;
    calls[session->waiting_call_count++] = od_call_ref(call);
    return true;
}
