// postgres.c - metadata in PostgreSQL: connections, statements, what their failures mean, versions of the schema.
//
//   G1  Every call is one statement outside any session state: no prepared names, no settings, no session locks. So it works
//       behind a pooler that hands out connections by transaction.
//   G2  A statement with an effect is sent once. When its answer is lost the outcome is unknown (M3); only what the server
//       rolled back for the sake of others (serialization, deadlock) is sent again. Reading statements are repeated.
//   G3  Nothing waits for ever: connecting, and each statement, have a deadline. A statement that passed it is given up with
//       its connection.
//   G4  Only a primary is talked to.
#include "metastore/postgres_internal.h"

#include "base/alloc.h"
#include "base/assert.h"
#include "os/clock.h"
#include "os/thread.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define STATEMENT_MS 30000u
#define CONNECT_S "10"
#define TRIES 5u

// ---- connections

static void strip_line_end(char *text)
{
    size_t bytes = strlen(text);
    while (bytes > 0 && (text[bytes - 1] == '\n' || text[bytes - 1] == ' '))
        text[--bytes] = '\0';
}

static od_code connect_failed(PGconn *connection, const char *where, struct od_error *err)
{
    char text[1024];
    snprintf(text, sizeof text, "%s", connection ? PQerrorMessage(connection) : "out of memory");
    strip_line_end(text);
    od_code code = OD_UNAVAILABLE;
    if (!connection)
        code = OD_NO_MEMORY;
    else if (strstr(text, "authentication failed") || strstr(text, "no password supplied"))
        code = OD_UNAUTHENTICATED;
    else if (strstr(text, "no pg_hba.conf entry"))
        code = OD_FORBIDDEN;
    else if (strstr(text, "FATAL") && strstr(text, "does not exist"))
        code = OD_NOT_FOUND;
    return od_fail(err, code, "PostgreSQL %s: %s", where, text);
}

// What the address leaves open. The primary only (G4); a peer that vanished is noticed (G3).
static const char *const defaults[][2] = {
    {"connect_timeout", CONNECT_S}, {"application_name", "openduck"},       {"client_encoding", "UTF8"},
    {"keepalives_idle", "10"},      {"keepalives_interval", "5"},           {"keepalives_count", "3"},
    {"tcp_user_timeout", "20000"},  {"target_session_attrs", "read-write"},
};
#define DEFAULTS (sizeof defaults / sizeof *defaults)
#define OPTIONS_MAX 64u

static void ignore_notice(void *context, const PGresult *notice)
{
    (void)context;
    (void)notice;
}

od_code od_postgres_connect(const char *address, char *where, size_t where_bytes, PGconn **out, struct od_error *err)
{
    od_code rc = OD_OK;
    const char *keywords[OPTIONS_MAX + DEFAULTS + 1], *values[OPTIONS_MAX + DEFAULTS + 1];
    size_t count = 0;
    char *wrong = NULL;
    PGconn *connection = NULL;
    PQconninfoOption *options = PQconninfoParse(address, &wrong);
    if (!options) {
        rc = od_fail(err, OD_INVALID, "the address of the PostgreSQL metadata is wrong: %s",
                     wrong ? wrong : "out of memory");
        PQfreemem(wrong);
        return rc;
    }
    for (size_t i = 0; i < DEFAULTS; i++) {
        keywords[count] = defaults[i][0];
        values[count++] = defaults[i][1];
    }
    const char *host = "", *database = "";
    for (PQconninfoOption *option = options; option->keyword && count < OPTIONS_MAX + DEFAULTS; option++) {
        if (!option->val)
            continue;
        keywords[count] = option->keyword;
        values[count++] = option->val; // a later value of a keyword counts
        if (strcmp(option->keyword, "host") == 0)
            host = option->val;
        if (strcmp(option->keyword, "dbname") == 0)
            database = option->val;
    }
    keywords[count] = values[count] = NULL;
    snprintf(where, where_bytes, "%.120s/%.120s", host, database);
    connection = PQconnectdbParams(keywords, values, 0);
    if (!connection || PQstatus(connection) != CONNECTION_OK)
        OD_TRY(connect_failed(connection, where, err));
    if (PQsetnonblocking(connection, 1) != 0)
        OD_TRY(connect_failed(connection, where, err));
    PQsetNoticeReceiver(connection, ignore_notice, NULL); // else they go to standard error
    *out = connection;
    connection = NULL;
out:
    PQfinish(connection);
    PQconninfoFree(options);
    return rc;
}

// Has the other side closed an idle connection meanwhile? Found out before a statement is sent: later its outcome would be
// unknown. Nothing else is expected on an idle connection, so one that has something to say is not used again.
static bool still_alive(PGconn *connection)
{
    struct pollfd wait = {.fd = PQsocket(connection), .events = POLLIN};
    return wait.fd >= 0 && PQstatus(connection) == CONNECTION_OK && poll(&wait, 1, 0) == 0;
}

static od_code borrow(struct postgres_store *store, PGconn **connection, struct od_error *err)
{
    uint64_t until = od_clock_ms() + STATEMENT_MS;
    PGconn *idle = NULL;
    pthread_mutex_lock(&store->lock);
    while (store->lent == OD_POSTGRES_CONNECTIONS) {
        if (!od_cond_wait_until(&store->returned, &store->lock, until)) {
            pthread_mutex_unlock(&store->lock);
            return od_fail(err, OD_UNAVAILABLE, "PostgreSQL %s: all %u connections have been busy for %u s",
                           store->where, OD_POSTGRES_CONNECTIONS, STATEMENT_MS / 1000);
        }
    }
    store->lent++;
    if (store->idle_count)
        idle = store->idle[--store->idle_count];
    pthread_mutex_unlock(&store->lock);
    if (idle && still_alive(idle)) {
        *connection = idle;
        return OD_OK;
    }
    PQfinish(idle);
    char where[sizeof store->where]; // store->where is read by others
    od_code rc = od_postgres_connect(store->address, where, sizeof where, connection, err);
    if (rc != OD_OK) {
        pthread_mutex_lock(&store->lock);
        store->lent--;
        pthread_cond_signal(&store->returned);
        pthread_mutex_unlock(&store->lock);
    }
    return rc;
}

static void give_back(struct postgres_store *store, PGconn *connection)
{
    bool keep = PQstatus(connection) == CONNECTION_OK && PQtransactionStatus(connection) == PQTRANS_IDLE;
    if (!keep)
        PQfinish(connection);
    pthread_mutex_lock(&store->lock);
    store->lent--;
    if (keep)
        store->idle[store->idle_count++] = connection;
    pthread_cond_signal(&store->returned);
    pthread_mutex_unlock(&store->lock);
}

// ---- statements

static od_code code_of_state(const char *state)
{
    static const struct {
        const char *prefix;
        od_code code;
    } codes[] = {
        {"23505", OD_EXISTS},      {"25006", OD_UNAVAILABLE}, {"28", OD_UNAUTHENTICATED}, {"40", OD_UNAVAILABLE},
        {"42501", OD_FORBIDDEN},   {"3F000", OD_UNSUPPORTED}, {"42P01", OD_UNSUPPORTED},  {"42883", OD_UNSUPPORTED},
        {"42704", OD_UNSUPPORTED}, {"53300", OD_UNAVAILABLE}, {"53", OD_LIMIT},           {"54", OD_LIMIT},
        {"55P03", OD_UNAVAILABLE}, {"57", OD_UNAVAILABLE},    {"22", OD_INVALID},         {"XX001", OD_CORRUPT},
        {"XX002", OD_CORRUPT},
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++)
        if (strncmp(state, codes[i].prefix, strlen(codes[i].prefix)) == 0)
            return codes[i].code;
    return OD_IO;
}

static od_code statement_failed(const PGresult *result, const char *where, struct od_error *err)
{
    const char *state = PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    od_code code = code_of_state(state ? state : "");
    return od_fail(err, code, "PostgreSQL %s: %s (%s)%s", where, text ? text : "no message", state ? state : "no state",
                   code == OD_UNSUPPORTED ? "; run `openduck migrate`" : "");
}

static od_code answer_lost(PGconn *connection, const char *where, bool effect, const char *why, struct od_error *err)
{
    char text[512];
    snprintf(text, sizeof text, "%s", why ? why : PQerrorMessage(connection));
    strip_line_end(text);
    if (effect)
        return od_fail(err, OD_OUTCOME_UNKNOWN, "PostgreSQL %s: the answer was lost, the change may be there: %s",
                       where, text);
    return od_fail(err, OD_UNAVAILABLE, "PostgreSQL %s: %s", where, text);
}

// Waits until the socket is ready, or false at the deadline.
static bool wait_socket(PGconn *connection, short events, uint64_t until)
{
    for (;;) {
        uint64_t now = od_clock_ms();
        struct pollfd wait = {.fd = PQsocket(connection), .events = events};
        if (now >= until || wait.fd < 0)
            return false;
        int ready = poll(&wait, 1, (int)(until - now));
        if (ready > 0)
            return true;
        if (ready == 0 || errno != EINTR)
            return false;
    }
}

// The answer of a statement that was sent, whole. NULL: lost (*late: by the deadline).
static PGresult *await_result(PGconn *connection, uint64_t until, bool *late)
{
    PGresult *first = NULL;
    *late = false;
    for (;;) {
        int unsent = PQflush(connection);
        if (unsent < 0)
            break;
        if (unsent == 0 && !PQisBusy(connection)) {
            PGresult *next = PQgetResult(connection);
            if (!next)
                return first; // complete
            if (first)
                PQclear(next); // an error after the answer: the connection tells
            else
                first = next;
            continue;
        }
        if (!wait_socket(connection, (short)(POLLIN | (unsent ? POLLOUT : 0)), until)) {
            *late = od_clock_ms() >= until;
            break;
        }
        if (!PQconsumeInput(connection))
            break;
    }
    PQclear(first);
    return NULL;
}

od_code od_postgres_execute(PGconn *connection, const char *where, const char *text, int count,
                            const char *const *values, bool effect, PGresult **out, struct od_error *err)
{
    bool late;
    *out = NULL;
    if (!PQsendQueryParams(connection, text, count, NULL, values, NULL, NULL, 0))
        return answer_lost(connection, where, effect, NULL, err);
    PGresult *result = await_result(connection, od_clock_ms() + STATEMENT_MS, &late);
    if (!result) {
        od_code rc = answer_lost(connection, where, effect, late ? "no answer in 30 s" : NULL, err);
        int socket = PQsocket(connection); // the connection is given up: a late answer must not meet the next statement
        if (socket >= 0)
            shutdown(socket, SHUT_RDWR);
        return rc;
    }
    ExecStatusType status = PQresultStatus(result);
    if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) {
        *out = result;
        return OD_OK;
    }
    // A fatal error ends the connection: whether the statement was committed before is not known.
    od_code rc = PQstatus(connection) != CONNECTION_OK
                     ? answer_lost(connection, where, effect, PQresultErrorMessage(result), err)
                     : statement_failed(result, where, err);
    PQclear(result);
    return rc;
}

// Rolled back for the sake of others: nothing was done, and it may go well the next time.
static bool is_conflict(const struct od_error *err)
{
    return err->code == OD_UNAVAILABLE && (strstr(err->message, "(40001)") || strstr(err->message, "(40P01)"));
}

od_code od_postgres_run(struct postgres_store *store, const char *text, int count, const char *const *values,
                        bool effect, PGresult **result, struct od_error *err)
{
    od_code rc = OD_OK;
    struct od_error why = {0};
    for (unsigned try = 0; try < TRIES; try++) {
        PGconn *connection;
        rc = borrow(store, &connection, &why);
        if (rc != OD_OK)
            break;
        rc = od_postgres_execute(connection, store->where, text, count, values, effect, result, &why);
        give_back(store, connection);
        if (rc != OD_UNAVAILABLE || (effect && !is_conflict(&why)))
            break;
    }
    return rc == OD_OK ? OD_OK : od_fail(err, rc, "%s", why.message);
}

od_code od_postgres_call(struct postgres_store *store, const char *text, int count, const char *const *values,
                         PGresult **out, struct od_error *err)
{
    PGresult *result;
    if (out)
        *out = NULL;
    od_code rc = od_postgres_run(store, text, count, values, true, &result, err);
    if (rc != OD_OK)
        return rc;
    if (PQntuples(result) != 1 || PQnfields(result) < 2)
        rc = od_fail(err, OD_INTERNAL, "PostgreSQL %s: a function answered %d rows", store->where, PQntuples(result));
    else if (strcmp(PQgetvalue(result, 0, 0), "OK") != 0)
        rc = od_fail(err, od_code_from_name(PQgetvalue(result, 0, 0)), "%s", PQgetvalue(result, 0, 1));
    if (rc == OD_OK && out)
        *out = result;
    else
        PQclear(result);
    return rc;
}

// ---- versions

// -1: no schema.
static od_code read_version(PGconn *connection, const char *where, long *version, struct od_error *err)
{
    PGresult *result = NULL;
    *version = -1;
    od_code rc = od_postgres_execute(connection, where, "SELECT to_regclass('openduck.schema_version') IS NOT NULL", 0,
                                     NULL, false, &result, err);
    if (rc != OD_OK)
        return rc;
    bool there = strcmp(PQgetvalue(result, 0, 0), "t") == 0;
    PQclear(result);
    if (!there)
        return OD_OK;
    rc = od_postgres_execute(connection, where, "SELECT max(version) FROM openduck.schema_version", 0, NULL, false,
                             &result, err);
    if (rc != OD_OK)
        return rc;
    *version = PQgetisnull(result, 0, 0) ? -1 : strtol(PQgetvalue(result, 0, 0), NULL, 10);
    PQclear(result);
    return OD_OK;
}

static od_code check_version(const char *where, long version, struct od_error *err)
{
    if (version > OD_POSTGRES_VERSION)
        return od_fail(
            err, OD_UNSUPPORTED,
            "PostgreSQL %s holds metadata of version %ld, this program knows version %d: use the OpenDuck that "
            "migrated it",
            where, version, OD_POSTGRES_VERSION);
    if (version < OD_POSTGRES_VERSION)
        return od_fail(err, OD_UNSUPPORTED,
                       "PostgreSQL %s holds %s, this program needs version %d: run `openduck migrate`", where,
                       version < 0 ? "no metadata yet" : "metadata of an older version", OD_POSTGRES_VERSION);
    return OD_OK;
}

od_code od_metastore_postgres_migrate(const char *address, struct od_error *err)
{
    od_code rc = OD_OK;
    char where[256];
    PGconn *connection = NULL;
    PGresult *result = NULL;
    OD_TRY(od_postgres_connect(address, where, sizeof where, &connection, err));
    // One transaction; others that migrate wait at the lock, which ends with it.
    OD_TRY(od_postgres_execute(connection, where, "BEGIN", 0, NULL, false, &result, err));
    PQclear(result);
    OD_TRY(od_postgres_execute(connection, where, "SELECT pg_advisory_xact_lock(724366411)", 0, NULL, false, &result,
                               err));
    PQclear(result);
    result = NULL;
    long version;
    OD_TRY(read_version(connection, where, &version, err));
    if (version > OD_POSTGRES_VERSION)
        OD_TRY(check_version(where, version, err));
    for (long step = version < 0 ? 0 : version; step < OD_POSTGRES_VERSION; step++) {
        // Several commands in one string need the simple protocol.
        if (PQsetnonblocking(connection, 0) != 0)
            OD_TRY(connect_failed(connection, where, err));
        result = PQexec(connection, od_postgres_migrations[step]);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
            OD_TRY(statement_failed(result, where, err));
        PQclear(result);
        result = NULL;
    }
    OD_TRY(od_postgres_execute(connection, where, "COMMIT", 0, NULL, true, &result, err));
out:
    PQclear(result);
    PQfinish(connection);
    return rc;
}

// ---- opening

void od_postgres_close(struct od_metastore *opaque)
{
    struct postgres_store *store = (struct postgres_store *)opaque;
    od_assert(store->lent == 0);
    for (unsigned i = 0; i < store->idle_count; i++)
        PQfinish(store->idle[i]);
    pthread_cond_destroy(&store->returned);
    pthread_mutex_destroy(&store->lock);
    od_free(store->address);
    od_free(store);
}

od_code od_metastore_postgres_open(const char *address, struct od_metastore **out, struct od_error *err)
{
    od_code rc = OD_OK;
    long version;
    PGconn *connection = NULL;
    *out = NULL;
    struct postgres_store *store = od_calloc(1, sizeof *store);
    if (!store)
        return od_fail(err, OD_NO_MEMORY, "out of memory for the metadata");
    store->base.ops = &od_postgres_ops;
    pthread_mutex_init(&store->lock, NULL);
    od_cond_init(&store->returned);
    store->address = od_strdup(address);
    if (!store->address)
        OD_TRY(od_fail(err, OD_NO_MEMORY, "out of memory for the metadata"));
    OD_TRY(od_postgres_connect(address, store->where, sizeof store->where, &connection, err));
    store->lent++;
    rc = read_version(connection, store->where, &version, err);
    give_back(store, connection);
    if (rc != OD_OK)
        goto out;
    OD_TRY(check_version(store->where, version, err));
    *out = &store->base;
    return OD_OK;
out:
    od_postgres_close(&store->base);
    return rc;
}
