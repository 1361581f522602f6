// cmd_sql.c - `openduck sql`: statements to a server, results to standard output or a file.
//
// Several statements run in order in one session and stop at the first error. A watching thread takes the signals and
// draws the progress line; Ctrl-C cancels the statement on the server, a second one ends the program.
#include "base/alloc.h"
#include "base/limits.h"
#include "cli/command.h"
#include "cli/connect.h"
#include "cli/render.h"
#include "cli/script.h"
#include "client/client.h"
#include "openduck/arrow.h"
#include "os/clock.h"
#include "os/file.h"
#include "os/thread.h"
#include "rpc/channel.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PARAMETERS_MAX 1000u
#define PROGRESS_AFTER_MS 1000u
#define PROGRESS_EVERY_MS 200u

struct settings {
    struct od_connect_settings connect;
    const char *database, *format, *output, *file;
    uint64_t timeout, rows;
    bool read_only, no_progress;
};

static const struct od_config_field fields[] = {
    OD_CONNECT_FIELDS(offsetof(struct settings, connect)),
    {"database", OD_CONFIG_TEXT, offsetof(struct settings, database), "main", "NAME", "Database; also -d NAME.", 0, 0},
    {"file", OD_CONFIG_TEXT, offsetof(struct settings, file), NULL, "FILE", "Read the SQL from here; also -f FILE.", 0,
     0},
    {"format", OD_CONFIG_TEXT, offsetof(struct settings, format), "table", "NAME",
     "table, csv, json, jsonl, parquet or arrow.", 0, 0},
    {"output", OD_CONFIG_TEXT, offsetof(struct settings, output), NULL, "FILE",
     "Write the result here instead of standard output; also -o FILE.", 0, 0},
    {"rows", OD_CONFIG_INTEGER, offsetof(struct settings, rows), "1000", "N", "Most rows that a table shows.", 1,
     10000000},
    {"timeout", OD_CONFIG_DURATION, offsetof(struct settings, timeout), NULL, "TIME",
     "Longest time for each statement; none by default.", 0, 0},
    {"read-only", OD_CONFIG_BOOL, offsetof(struct settings, read_only), NULL, NULL,
     "Refuse statements that can change something.", 0, 0},
    {"no-progress", OD_CONFIG_BOOL, offsetof(struct settings, no_progress), NULL, NULL,
     "No progress line on the terminal.", 0, 0},
};

static const struct od_config_program program = {
    .name = "openduck sql",
    .section = "client",
    .summary = "Runs SQL on a server: the argument, or --file, or standard input. Several statements, separated by "
               "semicolons, run in one session. --param VALUE or --param NAME=VALUE, once for each, gives the values of "
               "$1, $2, ... or $NAME: SQL literals have their type, anything else is text. Exit status: 1 error, 2 wrong "
               "usage, 3 no server there, 4 token refused, 130 interrupted.",
    .operands = "[SQL]",
    .operands_max = 1,
    .fields = fields,
    .field_count = sizeof fields / sizeof fields[0],
};

struct sql {
    struct settings settings;
    enum od_format format;
    struct od_client *client;
    struct od_session *session;
    struct od_cancel *cancel;
    struct od_buf parameters;
    size_t results; // rendered
    // The watching thread.
    struct od_thread watcher;
    atomic_bool stop, interrupted;
    pthread_mutex_t lock;    // guards query
    struct od_query *query;  // running now
    atomic_uint_fast64_t began_ms, rows, bytes; // of it; began_ms 0: none is running
    struct od_error failure; // of the running result, as the client said it
};

// ---- signals and progress

static void interrupt(struct sql *sql)
{
    if (atomic_exchange(&sql->interrupted, true))
        _exit(OD_EXIT_INTERRUPTED);
    od_cancel_fire(sql->cancel);
    pthread_mutex_lock(&sql->lock);
    if (sql->query)
        od_query_cancel(sql->query);
    pthread_mutex_unlock(&sql->lock);
}

static void draw(const struct sql *sql, uint64_t elapsed_ms)
{
    uint64_t bytes = atomic_load(&sql->bytes);
    fprintf(stderr, "\r\033[K%" PRIu64 " rows, %" PRIu64 ".%" PRIu64 " MB, %" PRIu64 " s", atomic_load(&sql->rows),
            bytes / 1000000, bytes / 100000 % 10, elapsed_ms / 1000);
    fflush(stderr);
}

static void watch(void *argument)
{
    struct sql *sql = argument;
    bool progress = isatty(STDERR_FILENO) && !sql->settings.no_progress, drawn = false;
    const struct timespec step = {.tv_nsec = PROGRESS_EVERY_MS * 1000000L};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1); // says that it is over
    while (!atomic_load(&sql->stop)) {
        int signal = sigtimedwait(&signals, NULL, &step);
        if (signal == SIGINT || signal == SIGTERM)
            interrupt(sql);
        uint64_t began = atomic_load(&sql->began_ms), now = od_clock_ms();
        bool wanted = progress && began && now - began >= PROGRESS_AFTER_MS;
        if (wanted)
            draw(sql, now - began);
        else if (drawn)
            fputs("\r\033[K", stderr);
        drawn = wanted;
    }
    if (drawn)
        fputs("\r\033[K", stderr);
}

// ---- one statement

static enum od_pop next_batch(void *context, struct od_batch **batch, struct od_error *err)
{
    struct sql *sql = context;
    enum od_pop pop = od_query_next_batch(sql->query, batch, (struct od_waker){0}, err);
    if (pop == OD_POP_BATCH) {
        atomic_fetch_add(&sql->rows, (*batch)->rows);
        atomic_fetch_add(&sql->bytes, (*batch)->bytes);
    } else if (pop == OD_POP_FAILED) {
        sql->failure = *err;
    } else {
        atomic_store(&sql->began_ms, 0); // what is left is writing: the line would be in its way
    }
    return pop;
}

// How many rows a statement changed is for people: other formats carry results only.
static od_code show_change(struct sql *sql, const struct od_query_info *info, struct od_error *err)
{
    bool counts = info->result == 1;
    for (;;) {
        struct ArrowArray array;
        od_code rc = od_query_next(sql->query, &array, err);
        if (rc != OD_OK || !array.release)
            return rc;
        bool count = counts && array.length == 1 && array.n_children == 1 && array.children[0]->n_buffers == 2 &&
                     array.children[0]->buffers[1];
        if (count && sql->format == OD_FORMAT_TABLE) {
            int64_t rows;
            memcpy(&rows, (const int64_t *)array.children[0]->buffers[1] + array.children[0]->offset, sizeof rows);
            printf("%s: %" PRId64 " row%s changed\n", info->statement, rows, rows == 1 ? "" : "s");
        }
        array.release(&array);
    }
}

static od_code show_rows(struct sql *sql, const struct od_query_info *info, struct od_error *err)
{
    struct od_render_options options = {.format = sql->format,
                                        .output = sql->settings.output,
                                        .schema = info->schema_message,
                                        .schema_bytes = info->schema_message_bytes,
                                        .rows_max = sql->settings.rows};
    bool one_only = sql->settings.output || sql->format == OD_FORMAT_ARROW || sql->format == OD_FORMAT_PARQUET ||
                    sql->format == OD_FORMAT_JSON;
    if (sql->results++ && one_only)
        return od_fail(err, OD_INVALID, "more than one statement has a result, which a file or %s output cannot hold",
                       sql->settings.format);
    od_code rc = od_render(&options, next_batch, sql, err);
    if (rc != OD_OK && sql->failure.code != OD_OK) { // the client's own words, not what the renderer made of them
        *err = sql->failure;
        rc = err->code;
    }
    return rc;
}

static od_code run_statement(struct sql *sql, const struct od_script_statement *statement, struct od_error *err)
{
    struct od_request request = {.struct_bytes = sizeof request,
                                 .database = sql->settings.database,
                                 .sql = statement->text,
                                 .sql_bytes = statement->bytes,
                                 .parameter_bytes = sql->parameters.data,
                                 .parameter_bytes_count = sql->parameters.bytes,
                                 .timeout_ms = sql->settings.timeout,
                                 .read_only = sql->settings.read_only,
                                 .exact_types = sql->format != OD_FORMAT_ARROW};
    struct od_query *query;
    struct od_query_info info;
    atomic_store(&sql->rows, 0);
    atomic_store(&sql->bytes, 0);
    atomic_store(&sql->began_ms, od_clock_ms());
    sql->failure = (struct od_error){0};
    od_code rc = od_client_execute_with(sql->client, sql->session, &request, sql->cancel, &query, err);
    if (rc != OD_OK)
        goto out;
    pthread_mutex_lock(&sql->lock);
    sql->query = query;
    if (atomic_load(&sql->interrupted))
        od_query_cancel(query);
    pthread_mutex_unlock(&sql->lock);
    od_query_get_info(query, &info);
    rc = info.result == 0 ? show_rows(sql, &info, err) : show_change(sql, &info, err);
    pthread_mutex_lock(&sql->lock);
    sql->query = NULL;
    pthread_mutex_unlock(&sql->lock);
    od_query_close(query);
out:
    atomic_store(&sql->began_ms, 0);
    return rc;
}

// ---- the script

static od_code read_standard_input(struct od_buf *text, struct od_error *err)
{
    if (isatty(STDIN_FILENO))
        fputs("SQL, then Ctrl-D:\n", stderr);
    for (;;) {
        od_code rc = od_buf_reserve(text, 65536, err);
        if (rc != OD_OK)
            return rc;
        ssize_t got = read(STDIN_FILENO, text->data + text->bytes, 65536);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return od_fail_os(err, OD_IO, errno, "cannot read standard input");
        if (got == 0)
            return OD_OK;
        text->bytes += (size_t)got;
    }
}

static od_code read_script(const struct settings *settings, const char *operand, struct od_script *script,
                           struct od_error *err)
{
    struct od_buf text;
    od_code rc;
    od_buf_init(&text, OD_SQL_BYTES_MAX);
    if (operand && settings->file) {
        rc = od_fail(err, OD_INVALID, "give the SQL as an argument or with --file, not both");
        goto out;
    }
    if (operand)
        OD_TRY(od_buf_append_text(&text, operand, err));
    else if (settings->file && strcmp(settings->file, "-") != 0)
        OD_TRY(od_file_read(settings->file, &text, err));
    else
        OD_TRY(read_standard_input(&text, err));
    if (memchr(text.data ? (const char *)text.data : "", '\0', text.bytes)) {
        rc = od_fail(err, OD_INVALID, "the SQL has a NUL character: is it a text file?");
        goto out;
    }
    rc = od_script_split((const char *)text.data, text.bytes, script, err);
out:
    od_buf_release(&text);
    return rc;
}

static od_code run_script(struct sql *sql, const struct od_script *script, struct od_error *err)
{
    od_code rc = OD_OK;
    if (script->count > 1)
        rc = od_session_open(sql->client, sql->settings.database, &sql->session, err);
    for (size_t i = 0; rc == OD_OK && i < script->count; i++) {
        if (script->count > 1 && atomic_load(&sql->interrupted))
            return od_fail(err, OD_CANCELLED, "interrupted before statement %zu", i + 1);
        rc = run_statement(sql, &script->statements[i], err);
        if (rc != OD_OK && script->count > 1 && rc != OD_CANCELLED)
            fprintf(stderr, "openduck: statement %zu of %zu failed\n", i + 1, script->count);
    }
    return rc;
}

// ---- the command

static od_code start_watching(struct sql *sql, struct od_error *err)
{
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &signals, NULL); // before any other thread is there
    return od_thread_start(&sql->watcher, "watch", watch, sql, err);
}

static void stop_watching(struct sql *sql)
{
    atomic_store(&sql->stop, true);
    if (sql->watcher.started)
        pthread_kill(sql->watcher.handle, SIGUSR1);
    od_thread_join(&sql->watcher);
}

static od_code check_output(struct sql *sql, struct od_error *err)
{
    od_code rc = od_format_parse(sql->settings.format, &sql->format, err);
    bool binary = sql->format == OD_FORMAT_ARROW || sql->format == OD_FORMAT_PARQUET;
    if (rc == OD_OK && binary && !sql->settings.output && isatty(STDOUT_FILENO))
        rc = od_fail(err, OD_INVALID, "%s output is not for a terminal: give --output FILE, or redirect it",
                     sql->settings.format);
    return rc;
}

static od_code run(struct sql *sql, const char *operand, const char *const *parameters, size_t parameter_count,
                   struct od_error *err)
{
    struct od_script script = {0};
    od_code rc;
    OD_TRY(check_output(sql, err));
    sql->cancel = od_cancel_new();
    if (!sql->cancel) {
        rc = od_fail(err, OD_NO_MEMORY, "out of memory");
        goto out;
    }
    OD_TRY(read_script(&sql->settings, operand, &script, err));
    OD_TRY(start_watching(sql, err));
    if (parameter_count)
        OD_TRY(od_script_parameters(parameters, parameter_count, &sql->parameters, err));
    OD_TRY(od_connect(&sql->settings.connect, &sql->client, err));
    rc = run_script(sql, &script, err);
out:
    od_session_close(sql->session);
    od_client_close(sql->client);
    stop_watching(sql);
    if (sql->cancel)
        od_cancel_unref(sql->cancel);
    od_script_release(&script);
    return rc;
}

// Takes every --param and the short forms out of argv.
static bool take_flags(int *argc, char **argv, const char **parameters, size_t *count, const char **database,
                       const char **file, const char **output)
{
    *count = 0;
    for (;;) {
        const char *value = NULL;
        if (!od_flag_take(argc, argv, "--param", "-p", &value))
            return false;
        if (!value)
            break;
        if (*count == PARAMETERS_MAX)
            return false;
        parameters[(*count)++] = value;
    }
    return od_flag_take(argc, argv, "--database", "-d", database) && od_flag_take(argc, argv, "--file", "-f", file) &&
           od_flag_take(argc, argv, "--output", "-o", output);
}

int od_command_sql(int argc, char **argv)
{
    static struct sql sql;
    static const char *parameters[PARAMETERS_MAX];
    size_t parameter_count;
    const char *database = NULL, *file = NULL, *output = NULL;
    struct od_config config;
    struct od_error err = {0};
    if (!take_flags(&argc, argv, parameters, &parameter_count, &database, &file, &output)) {
        fprintf(stderr, "openduck sql: a flag lacks its value\nTry `openduck sql --help`.\n");
        return OD_EXIT_USAGE;
    }
    int status = od_command_read(&program, argc, argv, &sql.settings, &config);
    if (status >= 0)
        return status;
    if (database)
        sql.settings.database = database;
    if (file)
        sql.settings.file = file;
    if (output)
        sql.settings.output = output;
    pthread_mutex_init(&sql.lock, NULL);
    od_buf_init(&sql.parameters, OD_SQL_BYTES_MAX);
    od_code rc = run(&sql, config.operand_count ? config.operands[0] : NULL, parameters, parameter_count, &err);
    if (atomic_load(&sql.interrupted)) {
        fputs("openduck: interrupted\n", stderr);
        status = OD_EXIT_INTERRUPTED;
    } else {
        status = rc == OD_OK ? OD_EXIT_OK : od_command_fail(&err);
    }
    od_buf_release(&sql.parameters);
    pthread_mutex_destroy(&sql.lock);
    od_config_release(&config);
    return status;
}
