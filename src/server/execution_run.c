// execution_run.c - running one statement on an executor: finding its connection, running, giving everything back. No
// lock is held while the engine works.
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/clock.h"
#include "server/execution.h"
#include "server/group.h"
#include "storage/store.h"

#include <stdio.h>
#include <string.h>

// What a statement has borrowed for its run.
struct lease {
    struct od_database *database; // a use of its own; NULL: the session's
    struct od_connection *connection;
    bool in_session, in_group;
};

// Before anything runs: a commit that the client has seen is in what it sees now.
static od_code check_min_commit(const struct od_execution *execution, const struct od_database *database,
                                struct od_error *err)
{
    const struct od_position *commit = &execution->task.min_commit;
    return commit->lsn == 0 ? OD_OK
                            : od_store_check_commit(od_database_store(database), od_database_volume(database), commit, err);
}

static od_code connect_session(struct od_execution *execution, struct lease *lease, struct od_error *err)
{
    struct od_session *session = execution->session;
    od_code rc = OD_OK;
    lease->in_session = true;
    if (!session->database) {
        OD_TRY(od_database_acquire(execution->server->host, session->database_name, session->snapshot,
                                   &session->database, err));
        od_database_count_session(session->database, 1);
    }
    OD_TRY(check_min_commit(execution, session->database, err));
    if (!session->connection)
        OD_TRY(od_connection_open(od_database_engine(session->database), &session->connection, err));
    lease->connection = session->connection;
    if (execution->task.group && !od_connection_in_transaction(lease->connection))
        rc = od_fail(err, OD_INVALID,
                     "a snapshot group needs statements outside sessions, or inside a transaction, which is one snapshot");
out:
    return rc;
}

static od_code lease_connection(struct od_execution *execution, struct lease *lease, struct od_error *err)
{
    struct od_server *server = execution->server;
    const struct od_task *task = &execution->task;
    od_code rc = OD_OK;
    if (execution->session)
        return connect_session(execution, lease, err);
    OD_TRY(od_database_acquire(server->host, task->database, task->snapshot, &lease->database, err));
    OD_TRY(check_min_commit(execution, lease->database, err));
    if (task->group && !task->snapshot) { // a snapshot is the same for all
        const struct od_group_member member = {
            .identity = execution->identity,
            .database = lease->database,
            .database_name = task->database,
            .id = task->group,
            .size = task->group_size,
            .request = &execution->request,
        };
        OD_TRY(od_group_take(server, &member, &lease->connection, err));
        lease->in_group = true;
    } else {
        OD_TRY(od_database_connect(lease->database, &lease->connection, err));
    }
out:
    return rc;
}

static void lease_return(struct lease *lease)
{
    if (!lease->in_session && lease->connection)
        od_database_disconnect(lease->database, lease->connection);
    od_database_release(lease->database);
    *lease = (struct lease){0};
}

// Before the statement of a session that asks for it: a transaction, unless one is open.
static od_code begin_transaction(struct od_execution *execution, struct od_connection *connection, struct od_error *err)
{
    static const char begin[] = "BEGIN TRANSACTION";
    const struct od_statement statement = {.sql = begin, .sql_bytes = sizeof begin - 1};
    struct od_result *result;
    if (!execution->task.begin_transaction || !execution->session || od_connection_in_transaction(connection))
        return OD_OK;
    od_code rc = od_result_new(execution->server->budget, (struct od_waker){0}, &result, err);
    if (rc != OD_OK)
        return rc;
    rc = od_connection_run(connection, &statement, result, err);
    od_result_unref(result);
    return rc;
}

static od_code run_statement(struct od_execution *execution, struct lease *lease, struct od_error *err)
{
    const struct od_task *task = &execution->task;
    const struct od_statement statement = {
        .request_id = execution->ledger_id[0] ? execution->ledger_id : NULL,
        .remembered_only = execution->not_remembered != NULL,
        .sql = task->sql,
        .sql_bytes = task->sql_bytes,
        .parameters = task->parameters,
        .parameter_bytes = task->parameter_bytes,
        .settings = task->settings,
        .setting_count = task->setting_count,
        .catalog_version = task->catalog_version,
        .catalog_objects = task->objects,
        .catalog_object_count = task->object_count,
        .tell = task->tell,
        .tell_count = task->tell_count,
        .read_only = task->read_only,
        .exact_types = task->exact_types,
        .describe_only = task->describe_only,
        .codec = task->codec,
    };
    pthread_mutex_lock(&execution->lock);
    bool go = execution->core.stop == OD_STOP_NONE;
    if (go)
        execution->running = lease->connection;
    struct od_result *result = od_result_ref(execution->result);
    pthread_mutex_unlock(&execution->lock);
    od_code rc = go ? begin_transaction(execution, lease->connection, err)
                    : od_fail(err, OD_CANCELLED, "stopped before it began");
    if (rc == OD_OK)
        rc = od_connection_run(lease->connection, &statement, result, err);
    pthread_mutex_lock(&execution->lock);
    execution->running = NULL;
    pthread_mutex_unlock(&execution->lock);
    if (lease->in_group)
        od_connection_end_snapshot(lease->connection);
    if (rc == OD_OK && !execution->session && od_connection_in_transaction(lease->connection))
        rc = od_fail(err, OD_INVALID,
                     "a transaction needs a session: without one each statement is on its own, and this BEGIN had no effect");
    // The spooled rows of a small result are there at once, without a helper.
    if (rc == OD_OK)
        od_result_pump(result);
    od_result_unref(result);
    return rc;
}

static struct od_database *database_of(const struct od_execution *execution, const struct lease *lease)
{
    return lease->in_session ? execution->session->database : lease->database;
}

static void remember_database(struct od_execution *execution, const struct od_database *database)
{
    snprintf(execution->catalog_name, sizeof execution->catalog_name, "%s",
             od_engine_catalog_name(od_database_engine(database)));
    od_uuid_format(od_volume_branch(od_database_volume(database)), execution->branch);
}

// A failed storage takes no more: the sessions end, and the database is opened again from what is durable. Whether the
// statement took effect is then in the ledger, for whoever asks again.
static void end_if_broken(struct od_execution *execution, struct od_database *database)
{
    if (od_database_condemn_if_broken(database))
        od_registry_end_sessions_of(execution->server, od_database_name(database),
                                    "its database had to be opened again after its storage failed");
}

// Runs the statement once and tells the state machine. The actions are the caller's.
static unsigned attempt(struct od_execution *execution, struct lease *lease)
{
    struct od_error error = {0};
    struct od_result_info info = {0};
    execution->began_us = od_clock_us();
    od_code rc = lease_connection(execution, lease, &error);
    if (rc == OD_OK) {
        remember_database(execution, database_of(execution, lease));
        rc = run_statement(execution, lease, &error);
        if (rc == OD_NOT_FOUND && execution->not_remembered) {
            error = *execution->not_remembered;
            rc = error.code;
        }
        if (rc != OD_OK)
            end_if_broken(execution, database_of(execution, lease));
    }
    if (execution->task.trace_id[0])
        od_log(rc == OD_OK ? OD_LOG_DEBUG : OD_LOG_INFO, "server", "trace %s: a statement of database \"%s\": %s %s",
               execution->task.trace_id, execution->task.database, od_code_name(rc), error.error_class);
    pthread_mutex_lock(&execution->lock);
    bool ready = od_result_ready(execution->result, &info);
    unsigned actions = 0;
    if (ready && !execution->core.ready)
        actions |= od_execution_step(&execution->core, OD_EVENT_READY, od_clock_ms());
    execution->done_us = od_clock_us();
    execution->outcome = rc;
    execution->failure = error;
    execution->wrote = rc == OD_OK && ready && !info.read_only && !execution->task.describe_only;
    if (lease->in_session && lease->connection)
        execution->in_transaction = od_connection_in_transaction(lease->connection);
    bool nothing = rc == OD_CANCELLED || (info.read_only && execution->core.stop != OD_STOP_NONE);
    actions |= od_execution_step(&execution->core, nothing ? OD_EVENT_DONE_NOTHING : OD_EVENT_DONE, od_clock_ms());
    if ((actions & OD_ACTION_RERUN) && od_execution_renew_result(execution, &error) != OD_OK) {
        // Without memory for another run the outcome is the one there is: interrupted.
        actions = od_execution_step(&execution->core, OD_EVENT_DONE, od_clock_ms());
    }
    pthread_mutex_unlock(&execution->lock);
    return actions;
}

void od_execution_run(struct od_job *job)
{
    struct od_execution *execution = od_container(job, struct od_execution, job);
    unsigned actions = 0;
    pthread_mutex_lock(&execution->lock);
    od_execution_event_locked(execution, OD_EVENT_BEGIN);
    bool go = execution->core.phase == OD_PHASE_RUNNING;
    // An interrupt inside a transaction ends it, and a group's snapshot ends with its statement.
    if (execution->in_transaction || execution->task.begin_transaction || execution->task.group)
        execution->core.repeatable = false;
    pthread_mutex_unlock(&execution->lock);
    while (go) {
        struct lease lease = {0};
        actions = attempt(execution, &lease);
        go = actions & OD_ACTION_RERUN;
        // Before the answer, so that the client's next statement finds everything free.
        lease_return(&lease);
    }
    od_registry_finished(execution);
    pthread_mutex_lock(&execution->lock);
    od_execution_act(execution, actions & ~(unsigned)OD_ACTION_RERUN);
    od_execution_flow(execution);
    od_execution_event_locked(execution, OD_EVENT_TICK);
    // What came before somebody wanted to hear of it.
    if (!execution->core.forgotten)
        od_signal_post(execution->signal);
    pthread_mutex_unlock(&execution->lock);
    od_execution_unref(execution);
}
