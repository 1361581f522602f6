// test_volume.c - a database on a volume: what reaches it, when a reply may leave, what the ledger answers, and what
// happens when the volume fails. The volume is one in memory (fake_volume.h).
#include "engine_support.h"

#include "fake_volume.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

static struct od_engine_options on(struct od_volume *volume)
{
    return (struct od_engine_options){.volume = volume};
}

static char *run_as(struct od_fixture *fixture, const char *request_id, const char *sql)
{
    const struct od_statement statement = {.request_id = request_id, .sql = sql, .sql_bytes = strlen(sql)};
    return od_run_text(fixture, fixture->connection, &statement);
}

#define assert_run(fixture, request_id, sql, expected)                                                                 \
    do {                                                                                                               \
        char *text_ = run_as(fixture, request_id, sql);                                                                \
        assert_string_equal(text_, expected);                                                                          \
        free(text_);                                                                                                   \
    } while (0)

#define assert_run_has(fixture, request_id, sql, part)                                                                 \
    do {                                                                                                               \
        char *text_ = run_as(fixture, request_id, sql);                                                                \
        if (!strstr(text_, part))                                                                                      \
            fail_msg("%s\n gave: %s\n without: %s", sql, text_, part);                                                 \
        free(text_);                                                                                                   \
    } while (0)

// The process dies: the engine's memory is gone, what was durable is there. Returns the volume after it.
static struct od_volume *crash(struct od_fixture *fixture, struct od_volume *volume)
{
    struct od_volume *after = od_fake_volume_crash(volume);
    const struct od_engine_options options = on(after);
    od_fixture_reopen(fixture, &options);
    od_fake_volume_free(volume);
    return after;
}

static void test_rows_come_back(void **state)
{
    (void)state;
    for (int closed = 0; closed < 2; closed++) {
        struct od_volume *volume = od_fake_volume_new();
        struct od_fixture fixture;
        struct od_engine_options options = on(volume);
        od_fixture_open(&fixture, &options);
        assert_sql(&fixture, fixture.connection, "CREATE TABLE t (i INTEGER PRIMARY KEY, s VARCHAR)", "");
        assert_sql(&fixture, fixture.connection, "INSERT INTO t SELECT range, 'x' || range FROM range(300000)", "300000");
        assert_sql(&fixture, fixture.connection, "UPDATE t SET s = 'y' WHERE i < 10", "10");
        assert_sql(&fixture, fixture.connection, "CHECKPOINT", "");
        assert_sql(&fixture, fixture.connection, "DELETE FROM t WHERE i >= 299990", "10");
        if (closed)
            od_fixture_reopen(&fixture, &options);
        else
            volume = crash(&fixture, volume);
        assert_int_equal(od_volume_exists(volume, OD_VOLUME_WAL), !closed); // a clean close checkpoints
        assert_sql(&fixture, fixture.connection, "SELECT count(*), max(i), count(*) FILTER (s = 'y') FROM t",
                   "299990|299989|10");
        od_fixture_close(&fixture);
        od_fake_volume_free(volume);
    }
}

static void test_read_only(void **state)
{
    (void)state;
    struct od_volume *volume = od_fake_volume_new();
    struct od_fixture fixture;
    struct od_engine_options options = on(volume);
    od_fixture_open(&fixture, &options);
    assert_sql(&fixture, fixture.connection, "CREATE TABLE t AS SELECT 42 AS i", "1");
    struct od_volume *frozen = od_fake_volume_crash(volume); // with its log
    uint64_t barriers = od_fake_volume_barriers(frozen);
    options = on(frozen);
    options.read_only = true;
    od_fixture_reopen(&fixture, &options);
    assert_sql(&fixture, fixture.connection, "SELECT i FROM t", "42");
    assert_sql_has(&fixture, fixture.connection, "INSERT INTO t VALUES (1)", "read-only");
    assert_sql(&fixture, fixture.connection, "CREATE TEMP TABLE u AS SELECT i FROM t", "1");
    assert_sql(&fixture, fixture.connection, "SELECT * FROM u", "42");
    od_fixture_close(&fixture);
    assert_int_equal(od_fake_volume_barriers(frozen), barriers);
    od_fake_volume_free(frozen);
    od_fake_volume_free(volume);
}

// The same request again is answered from the ledger and does not run, also after a crash.
static void test_ledger(void **state)
{
    (void)state;
    struct od_volume *volume = od_fake_volume_new();
    struct od_fixture fixture;
    struct od_engine_options options = on(volume);
    od_fixture_open(&fixture, &options);
    assert_run(&fixture, "create", "CREATE TABLE t (i BIGINT)", "");
    assert_run(&fixture, "one", "INSERT INTO t VALUES (1), (2)", "2");
    assert_run(&fixture, "bulk", "INSERT INTO t SELECT range FROM range(500000)", "500000");
    assert_run(&fixture, "returning", "DELETE FROM t WHERE i = 499999 RETURNING i", "499999");
    assert_run(&fixture, "begin", "BEGIN", "");
    assert_run(&fixture, "inside", "INSERT INTO t VALUES (3)", "1");
    assert_run(&fixture, "commit", "COMMIT", "");
    assert_run(&fixture, "read", "SELECT count(*) FROM t", "500002");
    assert_run(&fixture, "checkpoint", "CHECKPOINT", "");
    assert_int_equal(od_fake_volume_ledger_count(volume), 5);
    // DuckDB executes a COMMIT on any of its threads: it is remembered whichever that was.
    for (int i = 0; i < 50; i++) {
        char id[32];
        snprintf(id, sizeof id, "commit %d", i);
        assert_run(&fixture, NULL, "BEGIN", "");
        assert_run(&fixture, NULL, "CREATE TABLE u (i INTEGER)", "");
        assert_run(&fixture, NULL, "DROP TABLE u", "");
        assert_run(&fixture, id, "COMMIT", "");
        assert_int_equal(od_fake_volume_ledger_count(volume), 6 + i);
    }
    for (int round = 0; round < 2; round++) {
        assert_run(&fixture, "create", "CREATE TABLE t (i BIGINT)", "");
        assert_run(&fixture, "one", "INSERT INTO t VALUES (1), (2)", "2");
        assert_run(&fixture, "bulk", "INSERT INTO t SELECT range FROM range(500000)", "500000");
        assert_run_has(&fixture, "returning", "DELETE FROM t WHERE i = 499999 RETURNING i", "RESULT_GONE");
        assert_run(&fixture, "commit", "COMMIT", "");
        assert_run(&fixture, "read", "SELECT count(*) FROM t", "500002");
        volume = crash(&fixture, volume);
    }
    const struct od_statement unknown = {
        .request_id = "unknown", .remembered_only = true, .sql = "COMMIT", .sql_bytes = 6};
    char *text = od_run_text(&fixture, fixture.connection, &unknown);
    assert_non_null(strstr(text, "NOT_FOUND"));
    free(text);
    od_fixture_close(&fixture);
    od_fake_volume_free(volume);
}

// Several statements of one request, a failed one, one without an effect: nothing is remembered that did not happen.
static void test_ledger_of_failures(void **state)
{
    (void)state;
    struct od_volume *volume = od_fake_volume_new();
    struct od_fixture fixture;
    struct od_engine_options options = on(volume);
    od_fixture_open(&fixture, &options);
    assert_run(&fixture, NULL, "CREATE TABLE t (i BIGINT PRIMARY KEY)", "");
    assert_run(&fixture, NULL, "INSERT INTO t VALUES (1)", "1");
    assert_run_has(&fixture, "twice", "INSERT INTO t VALUES (1)", "Constraint");
    assert_run(&fixture, "none", "DELETE FROM t WHERE i = 5", "0");
    assert_run(&fixture, "temp", "CREATE TEMP TABLE u (i INTEGER)", "");
    assert_int_equal(od_fake_volume_ledger_count(volume), 0);
    assert_run(&fixture, "twice", "INSERT INTO t VALUES (2)", "1");
    assert_int_equal(od_fake_volume_ledger_count(volume), 1);
    od_fixture_close(&fixture);
    od_fake_volume_free(volume);
}

// A write's answer, and the answer of whoever sees the write, waits until it is durable.
static void test_gate(void **state)
{
    (void)state;
    static const char *const followers[] = {"SELECT i FROM t", "INSERT INTO t VALUES (1)", "CREATE TABLE t (i INTEGER)",
                                            "BEGIN"};
    for (unsigned i = 0; i < sizeof followers / sizeof *followers; i++) {
        struct od_volume *volume = od_fake_volume_new();
        struct od_fixture fixture;
        struct od_engine_options options = on(volume);
        struct od_connection *other;
        struct od_error err = {0};
        od_fixture_open(&fixture, &options);
        assert_run(&fixture, NULL, "CREATE TABLE t (i BIGINT PRIMARY KEY)", "");
        assert_int_equal(od_connection_open(fixture.engine, &other, &err), OD_OK);
        od_fake_volume_hold(volume, true);
        const char *insert = "INSERT INTO t VALUES (1)";
        const struct od_statement first = {.request_id = "first", .sql = insert, .sql_bytes = strlen(insert)};
        const struct od_statement second = {.sql = followers[i], .sql_bytes = strlen(followers[i])};
        struct od_running writer, follower;
        struct od_result_info info;
        od_running_start(&writer, &fixture, fixture.connection, &first);
        od_fake_volume_await_waiters(volume, 1);
        od_running_start(&follower, &fixture, other, &second);
        od_fake_volume_await_waiters(volume, 2);
        struct od_batch *batch;
        assert_int_equal(od_result_pop(writer.result, &batch, &err), OD_POP_EMPTY);
        assert_int_equal(od_result_pop(follower.result, &batch, &err), OD_POP_EMPTY);
        assert_false(od_result_ready(writer.result, &info));
        assert_false(od_result_ready(follower.result, &info));
        od_fake_volume_hold(volume, false);
        od_running_join(&writer);
        od_running_join(&follower);
        assert_int_equal(writer.rc, OD_OK);
        od_connection_close(other);
        od_fixture_close(&fixture);
        od_fake_volume_free(volume);
    }
}

// What was not durable when the volume failed: its outcome is unknown until the database is open again; then the request
// runs if it was lost, and only then.
static void test_poison(void **state)
{
    (void)state;
    struct od_volume *volume = od_fake_volume_new();
    struct od_fixture fixture;
    struct od_engine_options options = on(volume);
    struct od_error err = {0};
    od_fixture_open(&fixture, &options);
    assert_run(&fixture, NULL, "CREATE TABLE t (i BIGINT)", "");
    assert_run(&fixture, "durable", "INSERT INTO t VALUES (1)", "1");
    assert_int_equal(od_engine_health(fixture.engine, &err), OD_OK);
    od_fake_volume_hold(volume, true);
    const char *insert = "INSERT INTO t VALUES (2)";
    const struct od_statement lost = {.request_id = "lost", .sql = insert, .sql_bytes = strlen(insert)};
    struct od_running writer;
    od_running_start(&writer, &fixture, fixture.connection, &lost);
    od_fake_volume_await_waiters(volume, 1);
    od_fake_volume_poison(volume);
    od_running_join(&writer);
    assert_int_equal(writer.rc, OD_OUTCOME_UNKNOWN);
    assert_int_not_equal(od_engine_health(fixture.engine, &err), OD_OK);
    assert_run_has(&fixture, "new", "INSERT INTO t VALUES (3)", "UNAVAILABLE");
    assert_run_has(&fixture, "next", "INSERT INTO t VALUES (3)", "UNAVAILABLE");
    assert_run_has(&fixture, NULL, "SELECT * FROM t", "UNAVAILABLE");
    volume = crash(&fixture, volume);
    assert_run(&fixture, "durable", "INSERT INTO t VALUES (1)", "1");
    assert_run(&fixture, "lost", insert, "1");
    assert_run(&fixture, "lost", insert, "1");
    assert_run(&fixture, NULL, "SELECT list(i ORDER BY i) FROM t", "[1, 2]");
    od_fixture_close(&fixture);
    od_fake_volume_free(volume);
}

static void test_full_disk(void **state)
{
    (void)state;
    struct od_volume *volume = od_fake_volume_new();
    struct od_fixture fixture;
    struct od_engine_options options = on(volume);
    struct od_error err = {0};
    od_fixture_open(&fixture, &options);
    assert_run(&fixture, NULL, "CREATE TABLE t (i BIGINT)", "");
    assert_run(&fixture, NULL, "INSERT INTO t VALUES (1)", "1");
    od_fake_volume_fill(volume, true);
    assert_run_has(&fixture, "full", "INSERT INTO t VALUES (2)", "disk is full");
    assert_int_equal(od_fake_volume_ledger_count(volume), 0);
    od_fake_volume_fill(volume, false);
    if (od_engine_health(fixture.engine, &err) == OD_OK)
        assert_run(&fixture, NULL, "SELECT list(i) FROM t", "[1]");
    volume = crash(&fixture, volume);
    assert_run(&fixture, "full", "INSERT INTO t VALUES (2)", "1");
    assert_run(&fixture, NULL, "SELECT list(i ORDER BY i) FROM t", "[1, 2]");
    od_fixture_close(&fixture);
    od_fake_volume_free(volume);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rows_come_back), cmocka_unit_test(test_read_only),
        cmocka_unit_test(test_ledger),         cmocka_unit_test(test_ledger_of_failures),
        cmocka_unit_test(test_gate),           cmocka_unit_test(test_poison),
        cmocka_unit_test(test_full_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
