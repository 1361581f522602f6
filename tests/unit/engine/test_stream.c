// test_stream.c - results that stream: order, back-pressure, cancelling, consumers that go away.
#include "engine_support.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

enum { THREADS = 2 };

static int open_fixture(void **state)
{
    struct od_fixture *fixture = malloc(sizeof(*fixture));
    struct od_engine_options options = {.threads = THREADS};
    od_fixture_open(fixture, &options);
    free(od_sql_text(fixture, fixture->connection,
                     "CREATE TABLE big AS SELECT i, hash(i) AS h, repeat('x', 50) AS s FROM range(1000000) r(i)"));
    *state = fixture;
    return 0;
}

static int close_fixture(void **state)
{
    od_fixture_close(*state);
    free(*state);
    return 0;
}

static struct od_statement statement_of(const char *sql)
{
    return (struct od_statement){.sql = sql, .sql_bytes = strlen(sql), .exact_types = true};
}

static double seconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static double cpu_seconds(void)
{
    return (double)clock() / CLOCKS_PER_SEC;
}

static void sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

// The rows come in the order in which DuckDB itself gives them, whoever encodes them.
static void test_order(void **state)
{
    struct od_fixture *f = *state;
    char *text = od_sql_text(f, f->connection, "SELECT i FROM big");
    const char *at = text;
    for (long i = 0; i < 1000000; i++) {
        char *end;
        if (strtol(at, &end, 10) != i) {
            fail_msg("row %ld is %.20s", i, at);
        }
        at = end + 1;
    }
    free(text);
    assert_sql(f, f->connection, "SELECT i FROM big ORDER BY h DESC, i LIMIT 3", ({
                   static char expected[128];
                   char *again =
                       od_sql_text(f, f->connection,
                                   "SELECT string_agg(i, chr(10)) FROM (SELECT i FROM big ORDER BY h DESC, i LIMIT 3)");
                   snprintf(expected, sizeof(expected), "%s", again);
                   free(again);
                   expected;
               }));
    assert_sql(f, f->connection, "SELECT i FROM big WHERE i % 250000 = 7", "7\n250007\n500007\n750007");
    assert_sql(f, f->connection, "SELECT i FROM big WHERE i < 2 UNION ALL SELECT i FROM big WHERE i > 999997",
               "0\n1\n999998\n999999");
}

// A consumer that does not read: bounded memory, and others are not disturbed however many there are.
static void test_stalled_consumers(void **state)
{
    struct od_fixture *f = *state;
    enum { STALLED = THREADS + 2 };
    struct od_connection *connections[STALLED];
    struct od_running running[STALLED];
    struct od_error err = {0};
    struct od_statement s = statement_of("SELECT i, h, s FROM big");
    for (int i = 0; i < STALLED; i++) {
        assert_int_equal(od_connection_open(f->engine, &connections[i], &err), OD_OK);
        od_running_start(&running[i], f, connections[i], &s);
    }
    for (int i = 0; i < STALLED; i++) {
        while (od_result_sendable_bytes(running[i].result) < OD_QUEUE_SENDABLE_BYTES / 2) {
            sleep_ms(1);
        }
    }
    sleep_ms(200);
    double cpu = cpu_seconds();
    for (int i = 0; i < 50; i++) {
        assert_sql(f, f->connection, "SELECT count(*) FROM big WHERE i < 10", "10");
    }
    sleep_ms(300);
    uint64_t held = od_budget_used(f->budget);
    assert_true(held <= STALLED * (OD_QUEUE_SENDABLE_BYTES + OD_QUEUE_AHEAD_BYTES + 8 * OD_BATCH_BYTES_TARGET));
    // 800 ms of standing still cost next to nothing.
    sleep_ms(500);
    assert_true(cpu_seconds() - cpu < 5.0);
    for (int i = 0; i < STALLED; i++) {
        uint64_t rows = 0, batches = 0;
        assert_int_equal(od_drain(running[i].result, &rows, &batches, &err), OD_POP_END);
        assert_int_equal(rows, 1000000);
        od_running_join(&running[i]);
        assert_int_equal(running[i].rc, OD_OK);
        od_connection_close(connections[i]);
    }
    assert_int_equal(od_budget_used(f->budget), 0);
}

static void test_cancel(void **state)
{
    struct od_fixture *f = *state;
    static const char *const endless[] = {
        "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range * b.range % 7 = 8", // computes
        "SELECT i, h, s FROM big", // blocks: nobody reads
        "CREATE TABLE u AS SELECT count(*) AS c FROM range(100000000) a, range(100000000) b WHERE a.range * b.range % "
        "7 = 8",
    };
    for (size_t i = 0; i < sizeof(endless) / sizeof(endless[0]); i++) {
        struct od_statement s = statement_of(endless[i]);
        struct od_running running;
        od_running_start(&running, f, f->connection, &s);
        sleep_ms(300);
        double began = seconds();
        od_connection_interrupt(f->connection);
        struct od_result *result = od_result_ref(running.result);
        od_running_join(&running);
        assert_true(seconds() - began < 2.0);
        assert_int_equal(running.rc, OD_CANCELLED);
        assert_string_equal(running.err.message, "cancelled");
        struct od_batch *batch = NULL;
        struct od_error err = {0};
        enum od_pop pop;
        while ((pop = od_result_pop(result, &batch, &err)) == OD_POP_BATCH) {
            od_batch_unref(batch);
        }
        assert_int_equal(pop, OD_POP_FAILED);
        assert_int_equal(err.code, OD_CANCELLED);
        od_result_unref(result);
        assert_sql(f, f->connection, "SELECT 1", "1"); // and no CPU is used any more, and the connection works
    }
    od_connection_interrupt(f->connection); // harmless when nothing runs
    assert_sql(f, f->connection, "SELECT 1", "1");
    assert_sql_has(f, f->connection, "FROM u", "Catalog");
}

// A cancelled write in a transaction cannot be committed half-done.
static void test_cancel_in_transaction(void **state)
{
    struct od_fixture *f = *state;
    struct od_connection *c = f->connection;
    assert_sql(f, c, "CREATE TABLE t (i BIGINT)", "");
    assert_sql(f, c, "BEGIN", "");
    struct od_statement s = statement_of("INSERT INTO t SELECT a.range FROM range(10000000) a, range(10000000) b");
    struct od_running running;
    od_running_start(&running, f, c, &s);
    sleep_ms(200);
    od_connection_interrupt(c);
    od_running_join(&running);
    assert_int_equal(running.rc, OD_CANCELLED);
    assert_sql_has(f, c, "SELECT 1", "Current transaction is aborted");
    assert_sql(f, c, "COMMIT", ""); // DuckDB makes a ROLLBACK of it
    assert_sql(f, c, "SELECT count(*) FROM t", "0");
}

// Interrupts at any moment: the statement ends as cancelled or as done, and a commit is never denied.
static void test_interrupt_any_time(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "CREATE TABLE t (i BIGINT)", "");
    uint64_t inserted = 0;
    for (int i = 0; i < 60; i++) {
        struct od_statement s = statement_of("INSERT INTO t SELECT range FROM range(20000)");
        struct od_running running;
        od_running_start(&running, f, f->connection, &s);
        struct timespec time = {.tv_nsec = (i % 30) * 200000};
        nanosleep(&time, NULL);
        od_connection_interrupt(f->connection);
        od_running_join(&running);
        assert_true(running.rc == OD_OK || running.rc == OD_CANCELLED);
        inserted += running.rc == OD_OK ? 20000 : 0;
    }
    char expected[32];
    snprintf(expected, sizeof(expected), "%llu", (unsigned long long)inserted);
    assert_sql(f, f->connection, "SELECT count(*) FROM t", expected);
}

static void test_stop(void **state)
{
    struct od_fixture *f = *state;
    struct od_statement s = statement_of("SELECT i, h, s FROM big");
    struct od_running running;
    od_running_start(&running, f, f->connection, &s);
    struct od_batch *batch = NULL;
    struct od_error err = {0};
    while (od_result_wait(running.result, 1000, &batch, &err) == OD_POP_EMPTY) {
    }
    od_batch_unref(batch);
    od_result_stop(running.result);
    od_running_join(&running);
    assert_int_equal(running.rc, OD_OK); // finished early
    // Stopped before it began.
    struct od_result *result;
    assert_int_equal(od_result_new(f->budget, (struct od_waker){NULL, NULL}, &result, &err), OD_OK);
    od_result_stop(result);
    assert_int_equal(od_connection_run(f->connection, &s, result, &err), OD_OK);
    od_result_unref(result);
    assert_int_equal(od_budget_used(f->budget), 0);
}

// An error after rows have gone out ends the result as failed, never as complete.
static void test_late_error(void **state)
{
    struct od_fixture *f = *state;
    struct od_statement s = statement_of("SELECT CASE WHEN i = 999999 THEN error('late') ELSE s END FROM big");
    struct od_running running;
    od_running_start(&running, f, f->connection, &s);
    uint64_t rows = 0, batches = 0;
    struct od_error err = {0};
    assert_int_equal(od_drain(running.result, &rows, &batches, &err), OD_POP_FAILED);
    assert_non_null(strstr(err.message, "late"));
    assert_true(rows < 1000000);
    od_running_join(&running);
    assert_int_equal(running.rc, OD_SQL);
}

struct events {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    unsigned count;
};

static void count_event(void *argument)
{
    struct events *events = argument;
    pthread_mutex_lock(&events->lock);
    events->count++;
    pthread_cond_signal(&events->changed);
    pthread_mutex_unlock(&events->lock);
}

struct run_arguments {
    struct od_connection *connection;
    struct od_statement statement;
    struct od_result *result;
};

static void *run_thread(void *argument)
{
    struct run_arguments *a = argument;
    struct od_error err = {0};
    od_code rc = od_connection_run(a->connection, &a->statement, a->result, &err);
    return (void *)(intptr_t)rc;
}

// Driven by events alone, the way the server does: nothing is missed.
static void test_events(void **state)
{
    struct od_fixture *f = *state;
    static const char *const statements[] = {"SELECT i, s FROM big",
                                             "INSERT INTO copy SELECT i, s FROM big RETURNING i, s", "SELECT 1",
                                             "CREATE TABLE x (i INTEGER)", "SELECT nope"};
    assert_sql(f, f->connection, "CREATE TABLE copy (i BIGINT, s VARCHAR)", "");
    for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]); i++) {
        struct events events = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, 0};
        struct run_arguments a = {f->connection, statement_of(statements[i]), NULL};
        struct od_error err = {0};
        assert_int_equal(od_result_new(f->budget, (struct od_waker){count_event, &events}, &a.result, &err), OD_OK);
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, run_thread, &a), 0);
        uint64_t rows = 0;
        for (bool done = false; !done;) {
            pthread_mutex_lock(&events.lock);
            while (events.count == 0) {
                struct timespec until;
                clock_gettime(CLOCK_REALTIME, &until);
                until.tv_sec += 60;
                if (pthread_cond_timedwait(&events.changed, &events.lock, &until) != 0) {
                    fail_msg("%s: no event came", statements[i]);
                }
            }
            events.count = 0;
            pthread_mutex_unlock(&events.lock);
            for (;;) {
                struct od_batch *batch = NULL;
                enum od_pop pop = od_result_pop(a.result, &batch, &err);
                if (pop == OD_POP_BATCH) {
                    rows += batch->rows;
                    od_batch_unref(batch);
                } else if (pop == OD_POP_EMPTY) {
                    if (!od_result_needs_pump(a.result)) {
                        break;
                    }
                    od_result_pump(a.result);
                } else {
                    done = true;
                    break;
                }
            }
        }
        pthread_join(thread, NULL);
        assert_int_equal(rows, i < 2 ? 1000000 : i == 2 ? 1 : 0);
        od_result_unref(a.result);
    }
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        T(test_order),
        T(test_stalled_consumers),
        T(test_cancel),
        T(test_cancel_in_transaction),
        T(test_interrupt_any_time),
        T(test_stop),
        T(test_late_error),
        T(test_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
