// engine_support.h - a database in a fresh directory, and statements whose results come back as text.
#ifndef OD_TESTS_UNIT_ENGINE_ENGINE_SUPPORT_H
#define OD_TESTS_UNIT_ENGINE_ENGINE_SUPPORT_H

#include "engine/engine.h"

#include <pthread.h>

OD_BEGIN_C

struct od_fixture {
    char directory[64];
    char path[96];
    char temp[96];
    struct od_budget *budget;
    struct od_engine *engine;
    struct od_connection *connection;
};

// Opens database "shop" (or options' name) in a new directory; `options` may be NULL, its path is not used.
void od_fixture_open(struct od_fixture *fixture, const struct od_engine_options *options);
void od_fixture_close(struct od_fixture *fixture); // and removes the directory
// Closes and opens the same file again.
void od_fixture_reopen(struct od_fixture *fixture, const struct od_engine_options *options);

// A statement on its own thread.
struct od_running {
    pthread_t thread;
    struct od_connection *connection;
    struct od_statement statement;
    struct od_result *result;
    od_code rc;
    struct od_error err;
};
void od_running_start(struct od_running *running, struct od_fixture *fixture, struct od_connection *connection,
                      const struct od_statement *statement);
void od_running_join(struct od_running *running); // and drops the result

// Runs to the end and gives all rows as text: columns separated by "|", rows by newlines, NULL as "NULL". A failure gives
// "CODE Class: message". The caller frees. Statement NULL fields are fine.
od_code od_run_outcome(struct od_fixture *fixture, struct od_connection *connection,
                       const struct od_statement *statement, char **text); // the same, with the code
char *od_run_text(struct od_fixture *fixture, struct od_connection *connection, const struct od_statement *statement);
char *od_sql_text(struct od_fixture *fixture, struct od_connection *connection, const char *sql);
// Drains a result and counts; decodes nothing. Returns how it ended.
enum od_pop od_drain(struct od_result *result, uint64_t *rows, uint64_t *batches, struct od_error *err);

// One row of parameters as IPC messages, from a SQL expression list: "1::HUGEINT, 'x'".
void od_make_parameters(const char *expressions, uint8_t **bytes, size_t *count);
// Batches of `SELECT ...` run in another DuckDB; schema as an IPC message. Batches are received ones (one segment).
struct od_sample {
    uint8_t *schema;
    size_t schema_bytes;
    struct od_batch *batches[64];
    size_t batch_count;
    uint64_t rows;
};
void od_sample_make(struct od_sample *sample, const char *sql, size_t rows_per_batch);
void od_sample_release(struct od_sample *sample);

#define assert_sql(fixture, connection, sql, expected)                                                                 \
    do {                                                                                                               \
        char *text_ = od_sql_text(fixture, connection, sql);                                                           \
        assert_string_equal(text_, expected);                                                                          \
        free(text_);                                                                                                   \
    } while (0)
// The text (a result or an error) contains `part`.
#define assert_sql_has(fixture, connection, sql, part)                                                                 \
    do {                                                                                                               \
        char *text_ = od_sql_text(fixture, connection, sql);                                                           \
        if (!strstr(text_, part))                                                                                      \
            fail_msg("%s\n gave: %s\n without: %s", sql, text_, part);                                                 \
        free(text_);                                                                                                   \
    } while (0)

OD_END_C

#endif
