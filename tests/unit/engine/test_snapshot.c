// test_snapshot.c - groups of connections that see one state while others commit as fast as they can.
#include "engine_support.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

enum { GROUP = 4, WRITERS = 2, ACCOUNTS = 8, ROUNDS = 150 };

static int open_fixture(void **state)
{
    struct od_fixture *fixture = malloc(sizeof(*fixture));
    od_fixture_open(fixture, NULL);
    *state = fixture;
    return 0;
}

static int close_fixture(void **state)
{
    od_fixture_close(*state);
    free(*state);
    return 0;
}

static bool run(struct od_fixture *f, struct od_connection *c, const char *sql)
{
    struct od_statement s = {.sql = sql, .sql_bytes = strlen(sql)};
    struct od_result *result;
    struct od_error err = {0};
    if (od_result_new(f->budget, (struct od_waker){NULL, NULL}, &result, &err) != OD_OK) {
        return false;
    }
    bool ok = od_connection_run(c, &s, result, &err) == OD_OK;
    od_result_unref(result);
    return ok;
}

struct writer {
    struct od_fixture *fixture;
    int number;
    atomic_bool *stop;
    unsigned commits;
};

// Moves money between accounts of its own and writes a log entry for each transfer.
static void *write_thread(void *argument)
{
    struct writer *w = argument;
    struct od_connection *c;
    struct od_error err = {0};
    if (od_connection_open(w->fixture->engine, &c, &err) != OD_OK) {
        return NULL;
    }
    for (unsigned i = 0; !atomic_load(w->stop); i++) {
        char sql[160];
        int from = w->number * ACCOUNTS + (int)(i % ACCOUNTS), to = w->number * ACCOUNTS + (int)((i + 1) % ACCOUNTS);
        snprintf(sql, sizeof(sql),
                 "UPDATE accounts SET money = money + CASE WHEN id = %d THEN -1 ELSE 1 END WHERE id IN (%d, %d)", from,
                 from, to);
        bool ok = run(w->fixture, c, "BEGIN") && run(w->fixture, c, sql) &&
                  run(w->fixture, c, "INSERT INTO log VALUES (1)") && run(w->fixture, c, "COMMIT");
        if (ok) {
            w->commits++;
        } else {
            (void)run(w->fixture, c, "ROLLBACK");
        }
    }
    od_connection_close(c);
    return NULL;
}

static void test_group_sees_one_state(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection,
               "CREATE TABLE accounts AS SELECT range::INTEGER AS id, 100::BIGINT AS money FROM range(16)", "16");
    assert_sql(f, f->connection, "CREATE TABLE log (n INTEGER)", "");
    struct od_connection *group[GROUP];
    struct od_error err = {0};
    for (int i = 0; i < GROUP; i++) {
        assert_int_equal(od_connection_open(f->engine, &group[i], &err), OD_OK);
    }
    atomic_bool stop = false;
    struct writer writers[WRITERS];
    pthread_t threads[WRITERS];
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (struct writer){f, i, &stop, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, write_thread, &writers[i]), 0);
    }
    char *first_ever = NULL;
    unsigned differing = 0;
    for (int round = 0; round < ROUNDS; round++) {
        assert_int_equal(od_connection_begin_snapshot(group, GROUP, &err), OD_OK);
        char *first = NULL;
        for (int i = 0; i < GROUP; i++) {
            // Each connection's own view, one after the other while commits go on.
            char *text = od_sql_text(f, group[i],
                                     "SELECT sum(money), sum(money * id), (SELECT count(*) FROM log) FROM accounts");
            assert_memory_equal(text, "1600|", 5);
            if (first) {
                assert_string_equal(text, first);
                free(text);
            } else {
                first = text;
            }
        }
        for (int i = 0; i < GROUP; i++) {
            od_connection_end_snapshot(group[i]);
        }
        if (!first_ever) {
            first_ever = first;
        } else {
            differing += strcmp(first, first_ever) != 0;
            free(first);
        }
    }
    atomic_store(&stop, true);
    unsigned commits = 0;
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        commits += writers[i].commits;
    }
    free(first_ever);
    assert_true(commits > 50);
    assert_true(differing > 0); // the test would prove nothing if nothing had changed meanwhile
    for (int i = 0; i < GROUP; i++) {
        od_connection_close(group[i]);
    }
}

static void test_rules(void **state)
{
    struct od_fixture *f = *state;
    struct od_connection *other;
    struct od_error err = {0};
    assert_int_equal(od_connection_open(f->engine, &other, &err), OD_OK);
    assert_sql(f, f->connection, "CREATE TABLE t (i INTEGER)", "");
    struct od_connection *pair[] = {f->connection, other};
    assert_int_equal(od_connection_begin_snapshot(pair, 2, &err), OD_OK);
    assert_sql_has(f, other, "INSERT INTO t VALUES (1)", "READ_ONLY : ");
    assert_sql(f, other, "SELECT count(*) FROM t", "0");
    // A snapshot does not move, and does not hold up writers.
    struct od_connection *writer;
    assert_int_equal(od_connection_open(f->engine, &writer, &err), OD_OK);
    assert_sql(f, writer, "INSERT INTO t VALUES (1)", "1");
    assert_sql(f, other, "SELECT count(*) FROM t", "0");
    od_connection_end_snapshot(f->connection);
    od_connection_end_snapshot(other);
    od_connection_end_snapshot(other); // harmless
    assert_sql(f, other, "SELECT count(*) FROM t", "1");
    assert_sql(f, other, "INSERT INTO t VALUES (2)", "1");
    // Not inside a transaction of the client's.
    assert_sql(f, other, "BEGIN", "");
    assert_int_equal(od_connection_begin_snapshot(pair, 2, &err), OD_INVALID);
    assert_false(od_connection_in_transaction(f->connection));
    assert_sql(f, other, "COMMIT", "");
    assert_int_equal(od_connection_begin_snapshot(pair, 0, &err), OD_OK);
    od_connection_close(writer);
    od_connection_close(other);
}

// Statements of a group stream, although a transaction is open.
static void test_streams(void **state)
{
    struct od_fixture *f = *state;
    assert_int_equal(od_connection_begin_snapshot(&f->connection, 1, NULL), OD_OK);
    const char *sql = "SELECT i, repeat('x', 100) FROM range(400000) r(i)";
    struct od_statement s = {.sql = sql, .sql_bytes = strlen(sql)};
    struct od_running running;
    od_running_start(&running, f, f->connection, &s);
    uint64_t rows = 0, batches = 0;
    struct od_error err = {0};
    struct od_batch *batch;
    enum od_pop pop;
    while ((pop = od_result_wait(running.result, 10, &batch, &err)) == OD_POP_EMPTY) {
        assert_false(od_result_needs_pump(running.result)); // streamed, not spooled
    }
    assert_int_equal(pop, OD_POP_BATCH);
    rows = batch->rows;
    od_batch_unref(batch);
    assert_int_equal(od_drain(running.result, &rows, &batches, &err), OD_POP_END);
    assert_int_equal(rows, 400000);
    od_running_join(&running);
    od_connection_end_snapshot(f->connection);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {T(test_group_sees_one_state), T(test_rules), T(test_streams)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
