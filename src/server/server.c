// server.c - putting the server together, watching the time, and taking it apart in order; see server.h.
//
// Start: budget, host (data directory), threads, gRPC last. Stop, in the opposite order, in three steps:
//   1  drain: new work is refused; what runs, streams or is in a transaction may finish, for a while
//   2  interrupt: everything left is stopped and its clients are told so
//   3  take apart: no more calls, no more statements, no more batches; then the databases are closed (checkpoint)
#include "server/server_internal.h"

#include "arrow/budget.h"
#include "base/alloc.h"
#include "base/assert.h"
#include "base/limits.h"
#include "base/log.h"
#include "os/clock.h"
#include "server/execution.h"
#include "server/group.h"
#include "server/intake.h"
#include "server/snapshot_policy.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TICK_MS 10u
#define QUIET_MS 1000u      // ticking goes on for this long after the last execution, to spare starting it again
#define SWEEP_MS 1000u      // sessions, uploads and groups are looked at this often
#define DATABASE_IDLE_MS_DEFAULT (15u * 60u * 1000u)
#define KEEP_HISTORY_MS_DEFAULT (24u * 60u * 60u * 1000u)
#define KEEP_DROPPED_MS_DEFAULT (24u * 60u * 60u * 1000u)
#define COLLECT_MS_DEFAULT (10u * 60u * 1000u)
#define SNAPSHOT_LOOK_MS_MIN 250u
#define SNAPSHOT_LOOK_MS_MAX 60000u
#define IDLE_DRAIN_MS 1000u // a transaction idle for longer does not hold up the drain
#define INTERRUPT_MS 3000u  // how long interrupted statements may take to tell their clients
#define CALLS_MS 1000u      // and calls to end
#define PAUSED_PER_RUNNING 4u
#define EXTRA_EXECUTORS 8u // opening and closing, beside statements
#define HELPERS_MIN 2u
#define HELPERS_MAX 8u
#define REPLY_ENTRIES_MAX 1000000u
#define SESSION_STATEMENT_UNREAD_MS_MIN 60000u

// ---- defaults

// What this process may use: the machine's memory, or less in a container.
static uint64_t machine_bytes(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 4 * OD_GIB;
    FILE *file = fopen("/sys/fs/cgroup/memory.max", "re");
    if (file) {
        char text[32] = "";
        char *end = text;
        if (fgets(text, sizeof text, file)) {
            unsigned long long limit = strtoull(text, &end, 10);
            if (end != text && limit > 0 && limit < bytes)
                bytes = limit;
        }
        fclose(file);
    }
    return bytes;
}

static void fill_defaults(struct od_server_options *options)
{
    uint64_t machine = machine_bytes();
    if (!options->directory)
        options->directory = "openduck-data";
    if (!options->listen)
        options->listen = "127.0.0.1:7878";
    if (!options->memory_limit_bytes)
        options->memory_limit_bytes = machine / 10 * 6;
    if (!options->pool_bytes)
        options->pool_bytes = machine / 8 < OD_POOL_BYTES_DEFAULT ? machine / 8 : OD_POOL_BYTES_DEFAULT;
    if (!options->running_max)
        options->running_max = OD_EXECUTORS_DEFAULT;
    if (!options->queued_max)
        options->queued_max = OD_ADMISSION_QUEUE_DEFAULT;
    if (!options->queue_wait_ms)
        options->queue_wait_ms = OD_ADMISSION_WAIT_MS_DEFAULT;
    if (!options->sessions_max)
        options->sessions_max = OD_SESSIONS_MAX_DEFAULT;
    if (!options->database_idle_ms)
        options->database_idle_ms = DATABASE_IDLE_MS_DEFAULT;
    if (!options->keep_dropped_ms)
        options->keep_dropped_ms = KEEP_DROPPED_MS_DEFAULT;
    if (!options->keep_history_ms)
        options->keep_history_ms = KEEP_HISTORY_MS_DEFAULT;
    if (!options->collect_ms)
        options->collect_ms = COLLECT_MS_DEFAULT;
    if (!options->session_idle_ms)
        options->session_idle_ms = OD_SESSION_IDLE_MS_DEFAULT;
    if (!options->spill_after_ms)
        options->spill_after_ms = OD_SPILL_AFTER_MS_DEFAULT;
    if (!options->snapshot_keep)
        options->snapshot_keep = OD_SNAPSHOT_KEEP_DEFAULT;
    if (!options->transaction_idle_ms)
        options->transaction_idle_ms = OD_TRANSACTION_IDLE_MS_DEFAULT;
}

static unsigned helper_count(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    unsigned count = processors > 0 ? (unsigned)processors : 1;
    return count < HELPERS_MIN ? HELPERS_MIN : count > HELPERS_MAX ? HELPERS_MAX : count;
}

// ---- time

static void tick_due(void *argument)
{
    struct od_server *server = argument;
    od_workers_submit(server->helpers, &server->tick_job);
}

static void sweep_due(void *argument)
{
    struct od_server *server = argument;
    od_workers_submit(server->helpers, &server->sweep_job);
}

static void snapshots_due(void *argument)
{
    struct od_server *server = argument;
    od_workers_submit(server->executors, &server->snapshot_job);
}

static void schedule(struct od_server *server, uint64_t in_ms, void (*run)(void *argument))
{
    struct od_error err = {0};
    if (od_timer_schedule(server->timers, od_clock_ms() + in_ms, run, server, NULL, &err) != OD_OK)
        od_log(OD_LOG_ERROR, "server", "no timer: %s", err.message);
}

void od_server_wake_ticker(struct od_server *server)
{
    if (server->ticking)
        return;
    server->ticking = true;
    schedule(server, TICK_MS, tick_due);
}

static void tick_run(struct od_job *job)
{
    struct od_server *server = od_container(job, struct od_server, tick_job);
    uint64_t now = od_clock_ms();
    od_registry_tick(server, now);
    pthread_mutex_lock(&server->lock);
    if (server->live > 0)
        server->quiet_since_ms = now;
    server->ticking = !server->stopped && now - server->quiet_since_ms < QUIET_MS;
    if (server->ticking)
        schedule(server, TICK_MS, tick_due);
    pthread_mutex_unlock(&server->lock);
}

static void sweep_run(struct od_job *job)
{
    struct od_server *server = od_container(job, struct od_server, sweep_job);
    uint64_t now = od_clock_ms();
    od_registry_end_sessions(server, now, false);
    od_intake_sweep(server, now, false);
    od_group_sweep(server, now, false);
    od_host_sweep(server->host, now);
    pthread_mutex_lock(&server->lock);
    if (!server->stopped)
        schedule(server, SWEEP_MS, sweep_due);
    pthread_mutex_unlock(&server->lock);
}

// Looks several times an interval, so that a snapshot is late by a part of it at most.
static uint64_t snapshot_look_ms(const struct od_server *server)
{
    uint64_t look = server->options.snapshot_every_ms / 8;
    return look < SNAPSHOT_LOOK_MS_MIN ? SNAPSHOT_LOOK_MS_MIN : look > SNAPSHOT_LOOK_MS_MAX ? SNAPSHOT_LOOK_MS_MAX : look;
}

static void snapshots_run(struct od_job *job)
{
    struct od_server *server = od_container(job, struct od_server, snapshot_job);
    const struct od_snapshot_policy policy = {.every_us = server->options.snapshot_every_ms * 1000,
                                              .keep = server->options.snapshot_keep};
    od_host_snapshot_all(server->host, &policy);
    pthread_mutex_lock(&server->lock);
    if (!server->stopped)
        schedule(server, snapshot_look_ms(server), snapshots_due);
    pthread_mutex_unlock(&server->lock);
}

// ---- start

static od_code start_rpc(struct od_server *server, struct od_error *err)
{
    const struct od_server_options *options = &server->options;
    od_service_execution_methods(server, server->methods);
    struct od_method *admin = server->methods + OD_EXECUTION_METHODS;
    od_service_admin_methods(server, admin);
    od_service_history_methods(server, admin + OD_ADMIN_METHODS);
    od_service_copy_methods(server, admin + OD_ADMIN_METHODS + OD_HISTORY_METHODS);
    const struct od_rpc_server_options rpc = {
        .listen = options->listen,
        .token = options->token,
        .tls_certificate_pem = options->tls_certificate_pem,
        .tls_key_pem = options->tls_key_pem,
        .tls_client_ca_pem = options->tls_client_ca_pem,
        .message_bytes_max = OD_MESSAGE_BYTES_MAX,
        .methods = server->methods,
        .method_count = OD_METHODS,
    };
    od_code rc = od_rpc_server_start(&rpc, &server->rpc, err);
    if (rc == OD_OK)
        od_rpc_server_set_serving(server->rpc, true);
    return rc;
}

static od_code start_host(struct od_server *server, struct od_error *err)
{
    const struct od_server_options *options = &server->options;
    uint64_t policy = 0;
    od_code rc = od_host_policy_read(options->durability, options->failover, &policy, err);
    if (rc != OD_OK)
        return rc;
    const struct od_host_options host = {
        .directory = options->directory,
        .metadata = options->metadata,
        .objects = options->objects,
        .cache_bytes = options->cache_bytes,
        .collect_ms = options->collect_ms,
        .keep_dropped_ms = options->keep_dropped_ms,
        .keep_history_ms = options->keep_history_ms,
        .database_idle_ms = options->database_idle_ms,
        .unshipped_bytes = options->unshipped_bytes,
        .policy = policy,
        .take_over = options->take_over,
        .memory_limit_bytes = options->memory_limit_bytes,
        .threads = options->threads,
        .temp_bytes_max = options->temp_bytes_max,
        .external_access = options->external_access,
        .budget = server->budget,
    };
    return od_host_open(&host, &server->host, err);
}

static void init(struct od_server *server, const struct od_server_options *options)
{
    server->options = *options;
    fill_defaults(&server->options);
    options = &server->options;
    uint64_t unread = options->session_idle_ms;
    server->times = (struct od_execution_times){
        .reply_delay_ms = OD_REPLY_DELAY_MS,
        .abandon_grace_ms = OD_PARK_GRACE_MS / 2, // with the interrupt still within the grace
        .ticket_open_ms = OD_TICKET_OPEN_MS,
        .park_grace_ms = OD_PARK_GRACE_MS,
        .park_ms = OD_PARK_MS,
        .end_grace_ms = 1000,
        .stall_ms = options->spill_after_ms,
        .unread_ms = unread < SESSION_STATEMENT_UNREAD_MS_MIN ? SESSION_STATEMENT_UNREAD_MS_MIN : unread,
    };
    server->spill_space.limit_bytes = options->temp_bytes_max ? options->temp_bytes_max : OD_SPILL_BYTES_DEFAULT;
    od_random_id(server->incarnation);
    od_secret_make(&server->secret);
    server->started_ms = od_clock_ms();
    pthread_mutex_init(&server->lock, NULL);
    od_cond_init(&server->changed);
    od_table_init(&server->executions);
    od_table_init(&server->requests);
    od_table_init(&server->sessions);
    od_table_init(&server->uploads);
    od_table_init(&server->groups);
    od_reply_cache_init(&server->replies, OD_REPLY_CACHE_MS, OD_REPLY_CACHE_BYTES, REPLY_ENTRIES_MAX);
    server->admission = (struct od_admission){
        .running_max = options->running_max,
        .waiting_max = options->queued_max,
        .paused_max = options->running_max * PAUSED_PER_RUNNING,
        .wait_ms_max = options->queue_wait_ms,
    };
    server->tick_job.run = tick_run;
    server->sweep_job.run = sweep_run;
    server->snapshot_job.run = snapshots_run;
}

od_code od_server_start(const struct od_server_options *options, struct od_server **server, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_server *s = od_calloc(1, sizeof *s);
    if (!s)
        return od_fail(err, OD_NO_MEMORY, "no memory for a server");
    init(s, options);
    s->budget = od_budget_new(s->options.pool_bytes, OD_POOL_BYTES_GUARANTEED);
    if (!s->budget)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "no memory for a server"));
    OD_TRY(start_host(s, err));
    OD_TRY(od_workers_start("od-executor",
                            s->options.running_max * (1 + PAUSED_PER_RUNNING) + EXTRA_EXECUTORS, &s->executors, err));
    OD_TRY(od_workers_start("od-helper", helper_count(), &s->helpers, err));
    OD_TRY(od_timer_service_start(&s->timers, err));
    OD_TRY(start_rpc(s, err));
    schedule(s, SWEEP_MS, sweep_due);
    if (s->options.snapshot_every_ms > 0)
        schedule(s, snapshot_look_ms(s), snapshots_due);
out:
    if (rc == OD_OK)
        *server = s;
    else
        od_server_free(s);
    return rc;
}

int od_server_port(const struct od_server *server)
{
    return od_rpc_server_port(server->rpc);
}

// ---- stop

// Lock held. Is there anything that is worth waiting for?
static bool at_work(struct od_server *server)
{
    if (server->live > 0)
        return true;
    uint64_t now = od_clock_ms();
    for (struct od_node *node = NULL; (node = od_table_next(&server->sessions, node));) {
        const struct od_session_core *core = &od_container(node, struct od_session, node)->core;
        if (core->in_transaction && now - core->used_ms < IDLE_DRAIN_MS)
            return true;
    }
    return false;
}

static void drain(struct od_server *server, uint64_t drain_ms)
{
    uint64_t until = od_clock_ms() + drain_ms;
    pthread_mutex_lock(&server->lock);
    server->draining = true;
    if (server->live > 0)
        od_log(OD_LOG_INFO, "server", "stopping: %u executions have up to %llu ms to finish", server->live,
               (unsigned long long)drain_ms);
    while (!server->hurry && at_work(server) && od_clock_ms() < until) {
        uint64_t soon = od_clock_ms() + 100;
        (void)od_cond_wait_until(&server->changed, &server->lock, soon < until ? soon : until);
    }
    pthread_mutex_unlock(&server->lock);
}

// Tells every execution that the server is stopping.
static void interrupt_all(struct od_server *server)
{
    pthread_mutex_lock(&server->lock);
    unsigned count = 0, most = server->live;
    struct od_execution **all = od_calloc(most + 1, sizeof(struct od_execution *));
    for (struct od_execution *e = server->first_live; e && all && count < most; e = e->live_next)
        all[count++] = od_execution_ref(e);
    pthread_mutex_unlock(&server->lock);
    for (unsigned i = 0; i < count; i++) {
        od_execution_event(all[i], OD_EVENT_SHUTDOWN);
        od_execution_unref(all[i]);
    }
    od_free(all);
}

static void wait_until_quiet(struct od_server *server, uint64_t for_ms)
{
    uint64_t until = od_clock_ms() + for_ms;
    pthread_mutex_lock(&server->lock);
    while ((server->live > 0 || server->sessions_closing > 0) && od_clock_ms() < until)
        (void)od_cond_wait_until(&server->changed, &server->lock, until);
    pthread_mutex_unlock(&server->lock);
}

void od_server_stop(struct od_server *server, uint64_t drain_ms)
{
    if (server->stopped)
        return;
    if (server->rpc) {
        od_rpc_server_set_serving(server->rpc, false);
        drain(server, drain_ms);
        od_intake_sweep(server, od_clock_ms(), true);
        interrupt_all(server);
        od_registry_end_sessions(server, od_clock_ms(), true);
        wait_until_quiet(server, INTERRUPT_MS);
    }
    pthread_mutex_lock(&server->lock);
    server->stopped = true;
    pthread_mutex_unlock(&server->lock);
    od_timer_service_stop(server->timers);
    server->timers = NULL;
    if (server->rpc)
        od_rpc_server_stop(server->rpc, CALLS_MS);
    od_intake_sweep(server, od_clock_ms(), true);
    interrupt_all(server); // what calls that were still there have begun
    od_registry_end_sessions(server, od_clock_ms(), true);
    od_workers_stop(server->executors);
    od_group_sweep(server, od_clock_ms(), true);
    od_workers_stop(server->helpers);
    server->executors = server->helpers = NULL;
    od_assert(server->live == 0 && server->sessions.count == 0 && server->uploads.count == 0);
    od_host_close(server->host);
    server->host = NULL;
}

void od_server_hurry(struct od_server *server)
{
    pthread_mutex_lock(&server->lock);
    server->hurry = true;
    pthread_cond_broadcast(&server->changed);
    pthread_mutex_unlock(&server->lock);
}

void od_server_free(struct od_server *server)
{
    if (!server)
        return;
    od_server_stop(server, 0);
    od_rpc_server_free(server->rpc);
    od_reply_cache_release(&server->replies);
    while (server->signals) {
        struct od_signal *signal = server->signals;
        server->signals = signal->next_all;
        pthread_mutex_destroy(&signal->lock);
        od_free(signal);
    }
    od_table_release(&server->executions);
    od_table_release(&server->requests);
    od_table_release(&server->sessions);
    od_table_release(&server->uploads);
    od_table_release(&server->groups);
    od_budget_free(server->budget);
    pthread_cond_destroy(&server->changed);
    pthread_mutex_destroy(&server->lock);
    od_free(server);
}
