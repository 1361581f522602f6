// cmd_serve.c - `openduck serve`: settings, signals, and the line that says the server is ready.
//
// SIGTERM and SIGINT drain: no new work, running statements may finish within the drain time; a second signal ends it at
// once. Signals are taken by the main thread alone (they are blocked before any other thread starts).
#include "base/alloc.h"
#include "base/limits.h"
#include "base/log.h"
#include "cli/command.h"
#include "os/file.h"
#include "os/thread.h"
#include "server/server.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PEM_BYTES_MAX (1u << 20)

struct settings {
    const char *data, *metadata, *objects, *listen, *token, *token_file;
    const char *tls_cert, *tls_key, *tls_client_ca;
    const char *durability, *failover;
    uint64_t cache, unshipped_limit, collect_every, keep_dropped, keep_history, database_timeout;
    uint64_t memory_limit, pool, temp_limit, threads;
    uint64_t max_running, max_queued, queue_wait, max_sessions;
    uint64_t spill_after, session_timeout, transaction_timeout, statement_timeout, drain_timeout, snapshot_every, snapshot_keep;
    bool allow_external_access, take_over;
    const char *log_level;
};

#define TEXT(name, field, fallback, value, help)                                                                       \
    {                                                                                                                  \
        name, OD_CONFIG_TEXT, offsetof(struct settings, field), fallback, value, help, 0, 0                            \
    }
#define NUMBER(type, name, field, fallback, value, help, maximum)                                                      \
    {                                                                                                                  \
        name, type, offsetof(struct settings, field), fallback, value, help, 0, maximum                                \
    }

static const struct od_config_field fields[] = {
    TEXT("data", data, "./openduck-data", "DIR", "Data directory; made when missing."),
    TEXT("metadata", metadata, NULL, "URL",
         "Metadata store: postgres://USER@HOST/DATABASE. In the data directory by default."),
    TEXT("objects", objects, NULL, "URL",
         "Object store: s3://BUCKET/PREFIX[?endpoint=URL&region=NAME&path_style=true]. In the data directory by default."),
    NUMBER(OD_CONFIG_BYTES, "cache", cache, NULL, "BYTES", "Local disk for blocks of remote objects; 10 GiB by default.", 0),
    NUMBER(OD_CONFIG_DURATION, "collect-every", collect_every, "10m", "TIME",
           "How often layers and snapshots that nobody needs any more are removed.", 0),
    NUMBER(OD_CONFIG_DURATION, "keep-dropped", keep_dropped, "24h", "TIME",
           "How long the history of a dropped database is kept.", 0),
    NUMBER(OD_CONFIG_DURATION, "keep-history", keep_history, "24h", "TIME",
           "How long every moment of a database can be read; snapshots stay longer.", 0),
    NUMBER(OD_CONFIG_DURATION, "database-timeout", database_timeout, "15m", "TIME",
           "A database that nobody uses for so long is closed; the next statement opens it again.", 0),
    TEXT("durability", durability, "local", "LEVEL",
         "Of databases made here: local (acknowledged when on this machine's disk) or remote (when in the object store)."),
    TEXT("failover", failover, "operator", "POLICY",
         "Of databases made here: operator (only --take-over replaces a dead machine) or allow-loss (any server does)."),
    NUMBER(OD_CONFIG_BYTES, "unshipped-limit", unshipped_limit, NULL, "BYTES",
           "How much may wait for the object store before writers wait too; 1 GiB by default.", 0),
    {"take-over", OD_CONFIG_BOOL, offsetof(struct settings, take_over), NULL, NULL,
     "Open databases though another machine holds them: what it has acknowledged and not shipped stays on its disk.", 0, 0},
    TEXT("listen", listen, "127.0.0.1:7878", "HOST:PORT", "Address to listen on; port 0 takes a free one."),
    TEXT("token", token, NULL, "TOKEN", "Token that clients must present; visible to others in the process list."),
    TEXT("token-file", token_file, NULL, "FILE", "File whose first line is the token."),
    TEXT("tls-cert", tls_cert, NULL, "FILE", "Certificate chain (PEM) for TLS."),
    TEXT("tls-key", tls_key, NULL, "FILE", "Private key (PEM) for TLS."),
    TEXT("tls-client-ca", tls_client_ca, NULL, "FILE", "Clients must present a certificate of this authority (PEM)."),
    NUMBER(OD_CONFIG_BYTES, "memory-limit", memory_limit, NULL, "BYTES",
           "DuckDB's memory for each open database; 60 % of the machine's by default.", 0),
    NUMBER(OD_CONFIG_BYTES, "pool", pool, NULL, "BYTES",
           "Memory for result and upload buffers of all statements together.", 0),
    NUMBER(OD_CONFIG_BYTES, "temp-limit", temp_limit, NULL, "BYTES",
           "Disk space for spilling, for each database, and for all rows that clients do not read.", 0),
    NUMBER(OD_CONFIG_DURATION, "spill-after", spill_after, "30s", "TIME",
           "The rows of a statement go to disk, and it ends, when its client reads nothing for so long.", 0),
    NUMBER(OD_CONFIG_INTEGER, "threads", threads, NULL, "N",
           "DuckDB's threads for each database; the processors by default.", 4096),
    NUMBER(OD_CONFIG_INTEGER, "max-running", max_running, NULL, "N", "Statements that run at once.", 4096),
    NUMBER(OD_CONFIG_INTEGER, "max-queued", max_queued, NULL, "N", "Statements that wait; more are refused as busy.",
           1000000),
    NUMBER(OD_CONFIG_DURATION, "queue-wait", queue_wait, NULL, "TIME", "How long a statement may wait to run.", 0),
    NUMBER(OD_CONFIG_INTEGER, "max-sessions", max_sessions, NULL, "N", "Open sessions.", 1000000),
    NUMBER(OD_CONFIG_DURATION, "session-timeout", session_timeout, NULL, "TIME", "An idle session is closed.", 0),
    NUMBER(OD_CONFIG_DURATION, "transaction-timeout", transaction_timeout, NULL, "TIME",
           "An idle session with an open transaction is closed, the transaction rolled back.", 0),
    NUMBER(OD_CONFIG_DURATION, "statement-timeout", statement_timeout, NULL, "TIME",
           "Longest run of a statement; none by default.", 0),
    NUMBER(OD_CONFIG_DURATION, "drain-timeout", drain_timeout, "30s", "TIME",
           "How long SIGTERM lets running statements finish.", 0),
    NUMBER(OD_CONFIG_DURATION, "snapshot-every", snapshot_every, NULL, "TIME",
           "Automatic snapshots of databases that were written to; none by default.", 0),
    NUMBER(OD_CONFIG_INTEGER, "snapshot-keep", snapshot_keep, "96", "N",
           "How many automatic snapshots of a database stay; the oldest go.", 100000),
    {"allow-external-access", OD_CONFIG_BOOL, offsetof(struct settings, allow_external_access), NULL, NULL,
     "Let SQL read and write the server's files and load extensions.", 0, 0},
    TEXT("log-level", log_level, "info", "LEVEL", "error, warn, info or debug."),
};

static const struct od_config_program program = {
    .name = "openduck serve",
    .section = "server",
    .summary = "Runs a server: the databases of one directory, for any number of clients.",
    .fields = fields,
    .field_count = sizeof fields / sizeof fields[0],
};

// The file's text in new memory (od_free), without the line end.
static od_code read_text(const char *path, char **out, struct od_error *err)
{
    struct od_buf buf;
    od_buf_init(&buf, PEM_BYTES_MAX);
    od_code rc = od_file_read(path, &buf, err);
    if (rc == OD_OK) {
        while (buf.bytes && (buf.data[buf.bytes - 1] == '\n' || buf.data[buf.bytes - 1] == '\r'))
            buf.bytes--;
        *out = od_buf_take_text(&buf);
        if (!*out)
            rc = od_fail(err, OD_NO_MEMORY, "out of memory for %s", path);
    }
    od_buf_release(&buf);
    return rc;
}

static bool is_loopback(const char *listen)
{
    return strncmp(listen, "127.", 4) == 0 || strncmp(listen, "localhost:", 10) == 0 ||
           strncmp(listen, "[::1]:", 6) == 0 || strncmp(listen, "unix:", 5) == 0;
}

struct secrets {
    char *token, *certificate, *key, *client_ca;
};

static void secrets_release(struct secrets *secrets)
{
    od_free(secrets->token);
    od_free(secrets->certificate);
    od_free(secrets->key);
    od_free(secrets->client_ca);
}

static od_code secrets_read(const struct settings *settings, struct secrets *secrets, struct od_error *err)
{
    od_code rc = OD_OK;
    if (settings->token && settings->token_file)
        return od_fail(err, OD_INVALID, "give --token or --token-file, not both");
    if (!settings->tls_cert != !settings->tls_key)
        return od_fail(err, OD_INVALID, "TLS needs both --tls-cert and --tls-key");
    if (settings->tls_client_ca && !settings->tls_cert)
        return od_fail(err, OD_INVALID, "--tls-client-ca needs --tls-cert and --tls-key");
    if (settings->token_file)
        OD_TRY(read_text(settings->token_file, &secrets->token, err));
    else if (settings->token && !(secrets->token = od_strdup(settings->token)))
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory"));
    if (secrets->token && !secrets->token[0])
        OD_TRY(od_fail(err, OD_INVALID, "the token is empty"));
    if (settings->tls_cert)
        OD_TRY(read_text(settings->tls_cert, &secrets->certificate, err));
    if (settings->tls_key)
        OD_TRY(read_text(settings->tls_key, &secrets->key, err));
    if (settings->tls_client_ca)
        OD_TRY(read_text(settings->tls_client_ca, &secrets->client_ca, err));
    if (!is_loopback(settings->listen) && !secrets->token && !secrets->client_ca)
        rc = od_fail(err, OD_INVALID,
                     "%s can be reached from other machines, and anybody there could do anything: give a token with "
                     "--token-file FILE, or listen on 127.0.0.1",
                     settings->listen);
out:
    return rc;
}

static bool set_log_level(const char *name)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    for (int i = 0; i < 4; i++)
        if (strcmp(name, names[i]) == 0) {
            od_log_set_level((enum od_log_level)i);
            return true;
        }
    return false;
}

// The one line on standard output: where the server is, and what to type in DuckDB.
static void print_ready(const struct settings *settings, const struct secrets *secrets, int port)
{
    char host[300];
    const char *colon = strrchr(settings->listen, ':');
    if (strncmp(settings->listen, "unix:", 5) == 0) {
        snprintf(host, sizeof host, "%s", settings->listen);
    } else {
        int bytes = colon ? (int)(colon - settings->listen) : (int)strlen(settings->listen);
        snprintf(host, sizeof host, "%.*s:%d", bytes < 256 ? bytes : 256, settings->listen, port);
    }
    char endpoint[600];
    char name[256] = "HOST";
    bool any = strncmp(host, "0.0.0.0:", 8) == 0 || strncmp(host, "[::]:", 5) == 0;
    if (any) {
        gethostname(name, sizeof name - 1);
        snprintf(endpoint, sizeof endpoint, "%s:%d", name, port);
    } else {
        snprintf(endpoint, sizeof endpoint, "%s", host);
    }
    printf("openduck %s ready on %s; in DuckDB: ATTACH 'openduck:main?endpoint=%s%s%s' AS remote;\n", OD_VERSION, host,
           secrets->certificate ? "https://" : "", endpoint, secrets->token ? "&token=..." : "");
    fflush(stdout);
}

struct stopping {
    struct od_server *server;
    uint64_t drain_ms;
    atomic_bool done;
};

static void stop_server(void *argument)
{
    struct stopping *stopping = argument;
    od_server_stop(stopping->server, stopping->drain_ms);
    atomic_store(&stopping->done, true);
}

static void wait_and_stop(struct od_server *server, const sigset_t *signals, uint64_t drain_ms)
{
    int signal_number = 0;
    while (sigwait(signals, &signal_number) != 0)
        continue;
    od_log(OD_LOG_INFO, "serve", "%s: stopping, statements may finish for %llu ms; a second signal ends them",
           strsignal(signal_number), (unsigned long long)drain_ms);
    struct stopping stopping = {.server = server, .drain_ms = drain_ms};
    struct od_thread thread = {0};
    struct od_error err = {0};
    if (od_thread_start(&thread, "stop", stop_server, &stopping, &err) != OD_OK) {
        od_server_stop(server, drain_ms);
        return;
    }
    const struct timespec moment = {.tv_nsec = 50 * 1000 * 1000};
    while (!atomic_load(&stopping.done))
        if (sigtimedwait(signals, NULL, &moment) > 0)
            od_server_hurry(server);
    od_thread_join(&thread);
}

static od_code serve(const struct settings *settings, const struct secrets *secrets, struct od_error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);

    struct od_server_options options = {
        .directory = settings->data,
        .metadata = settings->metadata,
        .objects = settings->objects,
        .cache_bytes = settings->cache,
        .collect_ms = settings->collect_every,
        .keep_dropped_ms = settings->keep_dropped,
        .keep_history_ms = settings->keep_history,
        .database_idle_ms = settings->database_timeout,
        .unshipped_bytes = settings->unshipped_limit,
        .durability = settings->durability,
        .failover = settings->failover,
        .take_over = settings->take_over,
        .listen = settings->listen,
        .token = secrets->token,
        .tls_certificate_pem = secrets->certificate,
        .tls_key_pem = secrets->key,
        .tls_client_ca_pem = secrets->client_ca,
        .memory_limit_bytes = settings->memory_limit,
        .pool_bytes = settings->pool,
        .temp_bytes_max = settings->temp_limit,
        .threads = (unsigned)settings->threads,
        .running_max = (unsigned)settings->max_running,
        .queued_max = (unsigned)settings->max_queued,
        .queue_wait_ms = settings->queue_wait,
        .sessions_max = (unsigned)settings->max_sessions,
        .spill_after_ms = settings->spill_after,
        .session_idle_ms = settings->session_timeout,
        .transaction_idle_ms = settings->transaction_timeout,
        .statement_timeout_ms = settings->statement_timeout,
        .external_access = settings->allow_external_access,
        .snapshot_every_ms = settings->snapshot_every,
        .snapshot_keep = settings->snapshot_keep,
    };
    struct od_server *server = NULL;
    od_code rc = od_server_start(&options, &server, err);
    if (rc != OD_OK)
        return rc;
    print_ready(settings, secrets, od_server_port(server));
    wait_and_stop(server, &signals, settings->drain_timeout);
    od_server_free(server);
    od_log(OD_LOG_INFO, "serve", "stopped");
    return OD_OK;
}

int od_command_serve(int argc, char **argv)
{
    struct settings settings = {0};
    struct od_config config = {0};
    int status = od_command_read(&program, argc, argv, &settings, &config);
    if (status >= 0)
        return status;
    struct od_error err = {0};
    struct secrets secrets = {0};
    od_code rc = OD_OK;
    if (!set_log_level(settings.log_level))
        rc = od_fail(&err, OD_INVALID, "no log level \"%s\"; there are error, warn, info, debug", settings.log_level);
    if (rc == OD_OK)
        rc = secrets_read(&settings, &secrets, &err);
    if (rc == OD_OK)
        rc = serve(&settings, &secrets, &err);
    status = rc == OD_OK ? OD_EXIT_OK : od_command_fail(&err);
    secrets_release(&secrets);
    od_config_release(&config);
    return status;
}
