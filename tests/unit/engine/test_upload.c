// test_upload.c - rows from a client that a statement reads: order, ends, mistakes, limits.
#include "engine_support.h"

#include "base/limits.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static int open_fixture(void **state)
{
    struct od_fixture *fixture = malloc(sizeof(*fixture));
    od_fixture_open(fixture, NULL);
    free(od_sql_text(fixture, fixture->connection, "CREATE TABLE t (i BIGINT, s VARCHAR)"));
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

static void sleep_ms(unsigned ms)
{
    struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    nanosleep(&time, NULL);
}

static struct od_upload *open_upload(struct od_fixture *f, const char *id, const struct od_sample *sample)
{
    struct od_upload *upload;
    struct od_error err = {0};
    assert_int_equal(od_upload_open(f->engine, id, sample->schema, sample->schema_bytes, &upload, &err), OD_OK);
    return upload;
}

static void push(struct od_upload *upload, const struct od_sample *sample, size_t number)
{
    struct od_error err = {0};
    assert_int_equal(od_upload_push(upload, number, od_batch_ref(sample->batches[number]), &err), OD_OK);
}

static void close_upload(struct od_fixture *f, struct od_upload *upload, const char *id)
{
    od_upload_close(f->engine, id);
    od_upload_unref(upload);
}

static void test_insert_in_order(void **state)
{
    struct od_fixture *f = *state;
    struct od_sample sample;
    od_sample_make(&sample, "SELECT i, 'row ' || i AS s FROM range(300000) r(i)", 10000);
    assert_int_equal(sample.batch_count, 30);
    for (int late = 0; late < 2; late++) { // the statement first, or the rows first
        struct od_upload *upload = open_upload(f, "u", &sample);
        struct od_statement s = statement_of("INSERT INTO t SELECT * FROM openduck_upload('u')");
        struct od_running running;
        if (!late) {
            od_running_start(&running, f, f->connection, &s);
        }
        for (size_t i = 0; i < sample.batch_count; i++) {
            push(upload, &sample, i);
            if (i % 10 == 5) {
                sleep_ms(5); // the scan runs dry and is resumed
            }
        }
        struct od_error err = {0};
        assert_int_equal(od_upload_next_batch(upload), 30);
        assert_int_equal(od_upload_finish(upload, 30, 300000, &err), OD_OK);
        assert_int_equal(od_upload_finish(upload, 30, 300000, &err), OD_OK); // sent again
        if (late) {
            od_running_start(&running, f, f->connection, &s);
        }
        od_running_join(&running);
        assert_int_equal(running.rc, OD_OK);
        assert_true(od_upload_claimed(upload));
        close_upload(f, upload, "u");
        assert_sql(f, f->connection, "SELECT count(*), sum(i), count(*) FILTER (i = rowid), min(s), max(s) FROM t",
                   "300000|44999850000|300000|row 0|row 99999");
        assert_sql(f, f->connection, "CREATE OR REPLACE TABLE t (i BIGINT, s VARCHAR)", "");
    }
    od_sample_release(&sample);
    assert_int_equal(od_budget_used(f->budget), 0);
}

static void test_incomplete_keeps_nothing(void **state)
{
    struct od_fixture *f = *state;
    struct od_sample sample;
    od_sample_make(&sample, "SELECT i, 'x' AS s FROM range(200000) r(i)", 10000);
    enum { ABORT, WRONG_BATCHES, WRONG_ROWS, CLOSE, CASES };
    for (int how = 0; how < CASES; how++) {
        for (int transaction = 0; transaction < 2; transaction++) {
            struct od_upload *upload = open_upload(f, "u", &sample);
            if (transaction) {
                assert_sql(f, f->connection, "BEGIN", "");
            }
            struct od_statement s = statement_of("INSERT INTO t SELECT * FROM openduck_upload('u')");
            struct od_running running;
            od_running_start(&running, f, f->connection, &s);
            for (size_t i = 0; i < 15; i++) {
                push(upload, &sample, i);
            }
            sleep_ms(20); // most of it has been read
            struct od_error err = {0}, gone = {0};
            (void)od_fail(&gone, OD_DISCONNECTED, "the client went away");
            const char *part = "arrived";
            if (how == ABORT) {
                od_upload_abort(upload, &gone);
                part = "the client went away";
            } else if (how == WRONG_BATCHES) {
                assert_int_equal(od_upload_finish(upload, 16, 150000, &err), OD_INVALID);
            } else if (how == WRONG_ROWS) {
                assert_int_equal(od_upload_finish(upload, 15, 150001, &err), OD_INVALID);
            } else {
                od_upload_close(f->engine, "u");
                part = "closed before its end";
            }
            od_running_join(&running);
            assert_int_not_equal(running.rc, OD_OK);
            if (!strstr(running.err.message, part)) {
                fail_msg("case %d: %s", how, running.err.message);
            }
            if (transaction) {
                free(od_sql_text(f, f->connection, "COMMIT"));
                if (od_connection_in_transaction(f->connection)) {
                    assert_sql(f, f->connection, "ROLLBACK", "");
                }
            }
            close_upload(f, upload, "u");
            assert_sql(f, f->connection, "SELECT count(*) FROM t", "0");
        }
    }
    od_sample_release(&sample);
}

static void test_numbers(void **state)
{
    struct od_fixture *f = *state;
    struct od_sample sample;
    od_sample_make(&sample, "SELECT i, 'x' AS s FROM range(50) r(i)", 10);
    struct od_upload *upload = open_upload(f, "u", &sample), *again;
    struct od_error err = {0};
    assert_int_equal(od_upload_open(f->engine, "u", sample.schema, sample.schema_bytes, &again, &err), OD_EXISTS);
    again = od_upload_find(f->engine, "u");
    assert_ptr_equal(again, upload);
    od_upload_unref(again);
    assert_null(od_upload_find(f->engine, "v"));
    push(upload, &sample, 0);
    push(upload, &sample, 1);
    push(upload, &sample, 0); // sent again: ignored
    assert_int_equal(od_upload_push(upload, 3, od_batch_ref(sample.batches[3]), &err), OD_INVALID);
    assert_int_equal(od_upload_next_batch(upload), 2);
    push(upload, &sample, 2);
    assert_int_equal(od_upload_finish(upload, 3, 30, &err), OD_OK);
    assert_int_equal(od_upload_push(upload, 3, od_batch_ref(sample.batches[3]), &err), OD_INVALID);
    assert_sql(f, f->connection, "SELECT count(*), sum(i) FROM openduck_upload('u')", "30|435");
    close_upload(f, upload, "u");
    od_sample_release(&sample);
}

// Binding takes nothing; running takes all, once.
static void test_read_once(void **state)
{
    struct od_fixture *f = *state;
    struct od_sample sample;
    od_sample_make(&sample, "SELECT i, 'x' AS s FROM range(50) r(i)", 10);
    struct od_upload *upload = open_upload(f, "u", &sample);
    struct od_statement s = statement_of("SELECT i, s FROM openduck_upload('u')");
    s.describe_only = true;
    char *text = od_run_text(f, f->connection, &s);
    assert_string_equal(text, "");
    free(text);
    assert_sql_has(f, f->connection, "EXPLAIN SELECT * FROM openduck_upload('u')", "OPENDUCK_UPLOAD");
    assert_sql_has(f, f->connection, "EXPLAIN SELECT * FROM openduck_upload('u', rows := 12345)", "12,345 rows");
    assert_sql(f, f->connection, "DESCRIBE SELECT * FROM openduck_upload('u')",
               "i|BIGINT|YES|NULL|NULL|NULL\ns|VARCHAR|YES|NULL|NULL|NULL");
    assert_sql(f, f->connection, "PREPARE p AS INSERT INTO t SELECT * FROM openduck_upload('u')", "");
    assert_false(od_upload_claimed(upload));
    for (size_t i = 0; i < sample.batch_count; i++) {
        push(upload, &sample, i);
    }
    struct od_error err = {0};
    assert_int_equal(od_upload_finish(upload, sample.batch_count, sample.rows, &err), OD_OK);
    assert_sql(f, f->connection, "EXECUTE p", "50");
    assert_true(od_upload_claimed(upload));
    assert_sql_has(f, f->connection, "SELECT count(*) FROM openduck_upload('u')", "is read already");
    close_upload(f, upload, "u");
    assert_sql_has(f, f->connection, "SELECT count(*) FROM openduck_upload('u')", "There is no upload \"u\"");
    assert_sql_has(f, f->connection, "SELECT count(*) FROM openduck_upload(NULL)", "SQL Binder: ");

    upload = open_upload(f, "twice", &sample);
    for (size_t i = 0; i < sample.batch_count; i++) {
        push(upload, &sample, i);
    }
    assert_int_equal(od_upload_finish(upload, sample.batch_count, sample.rows, &err), OD_OK);
    assert_sql_has(f, f->connection, "SELECT count(*) FROM openduck_upload('twice') a, openduck_upload('twice') b",
                   "is read already");
    close_upload(f, upload, "twice");
    od_sample_release(&sample);
}

// A statement that waits for rows holds no thread, and can be cancelled.
static void test_waiting_holds_no_thread(void **state)
{
    struct od_fixture *f = *state;
    enum { WAITING = 4 }; // the instance has two threads
    struct od_sample sample;
    od_sample_make(&sample, "SELECT i, 'x' AS s FROM range(50) r(i)", 10);
    struct od_connection *connections[WAITING];
    struct od_upload *uploads[WAITING];
    struct od_running running[WAITING];
    char ids[WAITING][16], sql[WAITING][80];
    struct od_error err = {0};
    for (int i = 0; i < WAITING; i++) {
        assert_int_equal(od_connection_open(f->engine, &connections[i], &err), OD_OK);
        snprintf(ids[i], sizeof(ids[i]), "u%d", i);
        snprintf(sql[i], sizeof(sql[i]), "INSERT INTO t SELECT * FROM openduck_upload('%s')", ids[i]);
        uploads[i] = open_upload(f, ids[i], &sample);
        push(uploads[i], &sample, 0);
        struct od_statement s = statement_of(sql[i]);
        od_running_start(&running[i], f, connections[i], &s);
    }
    for (int i = 0; i < WAITING; i++) {
        while (!od_upload_claimed(uploads[i])) {
            sleep_ms(1);
        }
    }
    sleep_ms(50);
    for (int i = 0; i < 20; i++) {
        assert_sql(f, f->connection, "SELECT count(*) FROM range(100000)", "100000");
    }
    od_connection_interrupt(connections[0]);
    od_connection_interrupt(connections[1]);
    for (int i = 2; i < WAITING; i++) {
        assert_int_equal(od_upload_finish(uploads[i], 1, 10, &err), OD_OK);
    }
    for (int i = 0; i < WAITING; i++) {
        od_running_join(&running[i]);
        assert_int_equal(running[i].rc, i < 2 ? OD_CANCELLED : OD_OK);
        close_upload(f, uploads[i], ids[i]);
        od_connection_close(connections[i]);
    }
    assert_sql(f, f->connection, "SELECT count(*) FROM t", "20");
    od_sample_release(&sample);
}

static void count_wake(void *argument)
{
    atomic_fetch_add((atomic_int *)argument, 1);
}

// A reader that is slow, absent or gone: bounded bytes, and the sender is told when there is room.
static void test_room(void **state)
{
    struct od_fixture *f = *state;
    struct od_sample sample;
    od_sample_make(&sample, "SELECT i, repeat('x', 1000) AS s FROM range(4000) r(i)", 500);
    struct od_upload *upload = open_upload(f, "u", &sample);
    atomic_int wakes = 0;
    struct od_error err = {0};
    uint64_t number = 0, rows = 0;
    while (od_upload_room(upload, (struct od_waker){count_wake, &wakes})) {
        struct od_batch *batch = sample.batches[number % 8];
        rows += batch->rows;
        assert_int_equal(od_upload_push(upload, number, od_batch_ref(batch), &err), OD_OK);
        number++;
        assert_true(number < 1000);
    }
    assert_true(od_budget_used(f->budget) <= OD_QUEUE_SENDABLE_BYTES + 4 * OD_BATCH_BYTES_TARGET);
    assert_int_equal(atomic_load(&wakes), 0);
    assert_int_equal(od_upload_finish(upload, number, rows, &err), OD_OK);
    assert_sql(f, f->connection, "SELECT count(*) > 1000 FROM openduck_upload('u')", "true");
    assert_int_equal(atomic_load(&wakes), 1);
    close_upload(f, upload, "u");

    // The reader stops early: what is left is dropped, and pushing goes nowhere.
    upload = open_upload(f, "u", &sample);
    for (size_t i = 0; i < 4; i++) {
        push(upload, &sample, i);
    }
    assert_sql(f, f->connection, "SELECT count(*) FROM (SELECT i FROM openduck_upload('u') LIMIT 5)", "5");
    for (size_t i = 4; i < 8; i++) {
        push(upload, &sample, i);
    }
    assert_true(od_upload_room(upload, (struct od_waker){count_wake, &wakes}));
    assert_int_equal(od_budget_used(f->budget), 0);
    close_upload(f, upload, "u");

    // Never read.
    upload = open_upload(f, "u", &sample);
    push(upload, &sample, 0);
    close_upload(f, upload, "u");
    assert_int_equal(od_budget_used(f->budget), 0);
    od_sample_release(&sample);
}

static void test_types(void **state)
{
    struct od_fixture *f = *state;
    struct od_sample sample;
    od_sample_make(
        &sample,
        "SELECT 170141183460469231731687303715884105727::HUGEINT AS h, 'b'::ENUM('a', 'b') AS e, "
        "{'a': [1, NULL], 'b': NULL::VARCHAR} AS s, MAP {'k': INTERVAL 1 DAY} AS m, NULL::DECIMAL(30, 3) AS n",
        10);
    struct od_upload *upload = open_upload(f, "types", &sample);
    push(upload, &sample, 0);
    struct od_error err = {0};
    assert_int_equal(od_upload_finish(upload, 1, 1, &err), OD_OK);
    assert_sql(f, f->connection, "CREATE TABLE copy AS SELECT * FROM openduck_upload('types')", "1");
    assert_sql(f, f->connection, "FROM copy",
               "170141183460469231731687303715884105727|b|{'a': [1, NULL], 'b': NULL}|{k=1 day}|NULL");
    assert_sql(f, f->connection, "SELECT string_agg(data_type, ';') FROM duckdb_columns() WHERE table_name = 'copy'",
               "HUGEINT;ENUM('a', 'b');STRUCT(a INTEGER[], b VARCHAR);MAP(VARCHAR, INTERVAL);DECIMAL(30,3)");
    close_upload(f, upload, "types");
    od_sample_release(&sample);
}

// Batches that do not fit their schema are an error, never wrong rows.
static void test_batches_of_another_schema(void **state)
{
    struct od_fixture *f = *state;
    static const char *const others[] = {"SELECT 'text' AS i, 'x' AS s FROM range(50)",
                                         "SELECT 1::TINYINT AS i, 'x' AS s FROM range(50)", "SELECT 1 AS i",
                                         "SELECT 1 AS i, 'x' AS s, 2 AS t", "SELECT [1, 2] AS i, 'x' AS s"};
    struct od_sample sample;
    od_sample_make(&sample, "SELECT i, 'x' AS s FROM range(50) r(i)", 50);
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        struct od_sample other;
        od_sample_make(&other, others[i], 50);
        struct od_upload *upload = open_upload(f, "u", &sample);
        push(upload, &sample, 0);
        struct od_error err = {0};
        assert_int_equal(od_upload_push(upload, 1, od_batch_ref(other.batches[0]), &err), OD_OK);
        assert_int_equal(od_upload_finish(upload, 2, 50 + other.batches[0]->rows, &err), OD_OK);
        char *text = od_sql_text(f, f->connection, "INSERT INTO t SELECT * FROM openduck_upload('u')");
        if (!strstr(text, "SQL ")) {
            fail_msg("%s: %s", others[i], text);
        }
        free(text);
        close_upload(f, upload, "u");
        od_sample_release(&other);
    }
    assert_sql(f, f->connection, "SELECT count(*) FROM t", "0");
    od_sample_release(&sample);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        T(test_insert_in_order), T(test_incomplete_keeps_nothing),  T(test_numbers),
        T(test_read_once),       T(test_waiting_holds_no_thread),   T(test_room),
        T(test_types),           T(test_batches_of_another_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
