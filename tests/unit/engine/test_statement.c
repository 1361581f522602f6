// test_statement.c - one statement: what it is, what it returns, when it is refused.
#include "engine_support.h"

#include "base/limits.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <cmocka.h>

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

static struct od_statement statement_of(const char *sql)
{
    return (struct od_statement){.sql = sql, .sql_bytes = strlen(sql), .exact_types = true};
}

#define assert_statement(fixture, connection, statement, expected)                                                     \
    do {                                                                                                               \
        char *text_ = od_run_text(fixture, connection, statement);                                                     \
        assert_string_equal(text_, expected);                                                                          \
        free(text_);                                                                                                   \
    } while (0)
#define assert_statement_has(fixture, connection, statement, part)                                                     \
    do {                                                                                                               \
        char *text_ = od_run_text(fixture, connection, statement);                                                     \
        if (!strstr(text_, part))                                                                                      \
            fail_msg("%s\n gave: %s\n without: %s", (statement)->sql, text_, part);                                    \
        free(text_);                                                                                                   \
    } while (0)

static void test_exactly_one(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "SELECT 1; SELECT 2", "INVALID : one statement per request: this one has 2");
    assert_sql(f, f->connection, "", "INVALID : there is no statement in the request");
    assert_sql(f, f->connection, " ;; -- nothing", "INVALID : there is no statement in the request");
    assert_sql(f, f->connection, "SELECT 1;", "1");
    // DuckDB's parser stops at a NUL and would run what comes before it.
    struct od_statement s = {.sql = "SELECT 1\0 FROM absent", .sql_bytes = 22};
    assert_statement(f, f->connection, &s, "INVALID : the statement has a NUL character at byte 8");
    s = (struct od_statement){.sql = "SELECT '\xff\xfe'", .sql_bytes = 11};
    assert_statement_has(f, f->connection, &s, "SQL ");
    assert_sql(f, f->connection, "SELECT 42", "42");
}

// kind, statement name and "cannot change anything" of each sort of statement; run and described alike.
static void test_kinds(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "CREATE TABLE t (i INTEGER PRIMARY KEY, v VARCHAR)", "");
    assert_sql(f, f->connection, "CREATE SEQUENCE q", "");
    static const struct {
        const char *sql;
        enum od_result_kind kind;
        const char *statement;
        bool read_only;
        bool stays_out; // not run: it would change the table of cases
    } cases[] = {
        {"SELECT * FROM t", OD_RESULT_ROWS, "SELECT", true, false},
        {"FROM t", OD_RESULT_ROWS, "SELECT", true, false},
        {"VALUES (1), (2)", OD_RESULT_ROWS, "SELECT", true, false},
        {"WITH a AS (SELECT 1 AS x) SELECT * FROM a", OD_RESULT_ROWS, "SELECT", true, false},
        {"SELECT nextval('q')", OD_RESULT_ROWS, "SELECT", false, false},
        {"INSERT INTO t VALUES (100, 'x')", OD_RESULT_CHANGED_ROWS, "INSERT", false, false},
        {"INSERT INTO t VALUES (101, 'x') RETURNING i", OD_RESULT_ROWS, "INSERT", false, false},
        {"UPDATE t SET v = 'y' WHERE i = 100", OD_RESULT_CHANGED_ROWS, "UPDATE", false, false},
        {"DELETE FROM t WHERE i = 100", OD_RESULT_CHANGED_ROWS, "DELETE", false, false},
        {"MERGE INTO t USING (SELECT 5 AS i) s ON t.i = s.i WHEN NOT MATCHED THEN INSERT VALUES (s.i, 'm')",
         OD_RESULT_CHANGED_ROWS, "MERGE_INTO", false, false},
        {"CREATE TABLE u (i INTEGER)", OD_RESULT_NOTHING, "CREATE", false, false},
        {"CREATE TABLE w AS SELECT 1 AS i", OD_RESULT_NOTHING, "CREATE", false, false},
        {"ALTER TABLE u ADD COLUMN j INTEGER", OD_RESULT_NOTHING, "ALTER", false, true},
        {"DROP TABLE w", OD_RESULT_NOTHING, "DROP", false, true},
        {"EXPLAIN SELECT * FROM t", OD_RESULT_ROWS, "EXPLAIN", true, false},
        {"EXPLAIN DELETE FROM t", OD_RESULT_ROWS, "EXPLAIN", true, false},
        {"EXPLAIN ANALYZE INSERT INTO t VALUES (102, 'x')", OD_RESULT_ROWS, "EXPLAIN", false, false},
        {"SHOW TABLES", OD_RESULT_ROWS, "SELECT", true, false},
        {"DESCRIBE t", OD_RESULT_ROWS, "SELECT", true, false},
        {"SUMMARIZE t", OD_RESULT_ROWS, "SELECT", true, false},
        {"PRAGMA table_info('t')", OD_RESULT_ROWS, "SELECT", true, false},
        {"CALL pragma_version()", OD_RESULT_ROWS, "CALL", false, false},
        {"SET TimeZone = 'UTC'", OD_RESULT_NOTHING, "SET", false, false},
        {"PREPARE p AS SELECT * FROM t WHERE i = $1", OD_RESULT_NOTHING, "PREPARE", false, false},
        {"CREATE TEMP TABLE tt (i INTEGER)", OD_RESULT_NOTHING, "CREATE", false, false},
        {"CHECKPOINT", OD_RESULT_ROWS, "CALL", false, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        for (int describe = 1; describe >= 0; describe--) {
            if (!describe && cases[i].stays_out) {
                continue;
            }
            struct od_statement s = statement_of(cases[i].sql);
            s.describe_only = describe;
            struct od_running running;
            od_running_start(&running, f, f->connection, &s);
            struct od_result *result = od_result_ref(running.result);
            uint64_t rows = 0, batches = 0;
            struct od_error err = {0};
            enum od_pop end = od_drain(result, &rows, &batches, &err);
            od_running_join(&running);
            if (end != OD_POP_END) {
                fail_msg("%s: %s", cases[i].sql, err.message);
            }
            struct od_result_info info;
            assert_true(od_result_ready(result, &info));
            if (info.kind != cases[i].kind || info.read_only != cases[i].read_only ||
                strcmp(info.statement, cases[i].statement) != 0) {
                fail_msg("%s (describe %d): kind %d, %s, read_only %d", cases[i].sql, describe, info.kind,
                         info.statement, info.read_only);
            }
            assert_true(info.schema_bytes > 0);
            if (describe) {
                assert_int_equal(batches, 0);
            }
            od_result_unref(result);
        }
    }
    assert_sql(f, f->connection, "EXECUTE p(101)", "101|x");
    assert_sql(f, f->connection, "SELECT count(*) FROM t", "3"); // described ones have changed nothing
    assert_sql(f, f->connection, "SELECT nextval('q')", "2");
}

static void test_errors_have_class(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "CREATE TABLE t (i INTEGER PRIMARY KEY)", "");
    assert_sql(f, f->connection, "INSERT INTO t VALUES (1)", "1");
    static const char *const cases[][2] = {
        {"SELEC 1", "SQL Parser: "},
        {"SELECT nope FROM t", "SQL Binder: "},
        {"SELECT * FROM absent", "SQL Catalog: "},
        {"INSERT INTO t VALUES (1)", "SQL Constraint: "},
        {"SELECT 'x'::INTEGER", "SQL Conversion: "},
        {"SELECT i::TINYINT FROM range(1000) r(i)", "SQL Conversion: "},
        {"SELECT 9223372036854775807 + 1::BIGINT", "SQL Out of Range: "},
        {"COMMIT", "SQL TransactionContext: "},
        {"EXECUTE absent", "SQL Binder: "},
        {"SELECT error('mine')", "mine"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_sql_has(f, f->connection, cases[i][0], cases[i][1]);
    }
}

static void test_transactions(void **state)
{
    struct od_fixture *f = *state;
    struct od_connection *c = f->connection, *other;
    struct od_error err = {0};
    assert_int_equal(od_connection_open(f->engine, &other, &err), OD_OK);
    assert_sql(f, c, "CREATE TABLE t (i INTEGER PRIMARY KEY)", "");
    assert_false(od_connection_in_transaction(c));
    assert_sql(f, c, "BEGIN", "");
    assert_true(od_connection_in_transaction(c));
    assert_sql(f, c, "INSERT INTO t VALUES (1)", "1");
    assert_sql(f, c, "SELECT * FROM t", "1");
    assert_sql(f, other, "SELECT count(*) FROM t", "0");
    assert_sql(f, c, "COMMIT", "");
    assert_false(od_connection_in_transaction(c));
    assert_false(od_connection_has_state(c));
    assert_sql(f, other, "SELECT count(*) FROM t", "1");

    assert_sql(f, c, "BEGIN", "");
    assert_sql(f, c, "INSERT INTO t VALUES (2)", "1");
    assert_sql_has(f, c, "SELECT nope", "Binder"); // does not abort
    assert_sql(f, c, "SELECT count(*) FROM t", "2");
    assert_sql_has(f, c, "INSERT INTO t VALUES (2)", "Constraint"); // aborts
    assert_sql_has(f, c, "SELECT 1", "Current transaction is aborted");
    assert_sql(f, c, "ROLLBACK", "");
    assert_sql(f, c, "SELECT count(*) FROM t", "1");

    // Two write the same row: the second is told, and its transaction is over.
    assert_sql(f, c, "BEGIN", "");
    assert_sql(f, other, "BEGIN", "");
    assert_sql(f, c, "UPDATE t SET i = 10 WHERE i = 1", "1");
    assert_sql_has(f, other, "UPDATE t SET i = 20 WHERE i = 1", "SQL TransactionContext: ");
    assert_sql(f, other, "ROLLBACK", "");
    assert_sql(f, c, "COMMIT", "");
    assert_sql(f, c, "SELECT * FROM t", "10");

    // Closing rolls back.
    assert_sql(f, other, "BEGIN", "");
    assert_sql(f, other, "DELETE FROM t", "1");
    od_connection_close(other);
    assert_sql(f, c, "SELECT count(*) FROM t", "1");
}

static void test_read_only(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "CREATE TABLE t (i INTEGER)", "");
    assert_sql(f, f->connection, "CREATE SEQUENCE q", "");
    static const char *const refused[] = {"INSERT INTO t VALUES (1)",
                                          "INSERT INTO t VALUES (1) RETURNING i",
                                          "SELECT nextval('q')",
                                          "CREATE TABLE u (i INTEGER)",
                                          "DROP TABLE t",
                                          "EXPLAIN ANALYZE INSERT INTO t VALUES (1)",
                                          "VACUUM",
                                          "DELETE FROM t"};
    static const char *const allowed[] = {"SELECT * FROM t", "EXPLAIN INSERT INTO t VALUES (1)",
                                          "SHOW TABLES",     "CREATE TEMP TABLE tt AS SELECT 1 AS i",
                                          "BEGIN",           "ROLLBACK"};
    for (int describe = 0; describe < 2; describe++) {
        for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
            struct od_statement s = statement_of(refused[i]);
            s.read_only = true;
            s.describe_only = describe;
            assert_statement_has(f, f->connection, &s, "READ_ONLY : ");
        }
    }
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
        struct od_statement s = statement_of(allowed[i]);
        s.read_only = true;
        char *text = od_run_text(f, f->connection, &s);
        if (strstr(text, "READ_ONLY")) {
            fail_msg("%s: %s", allowed[i], text);
        }
        free(text);
    }
    assert_sql(f, f->connection, "SELECT count(*) FROM t", "0");
    assert_sql(f, f->connection, "SELECT nextval('q')", "1");
}

static void test_parameters(void **state)
{
    struct od_fixture *f = *state;
    static const char *const values[][2] = {
        {"true", "true"},
        {"(-7)::TINYINT", "-7"},
        {"255::UTINYINT", "255"},
        {"(-32768)::SMALLINT", "-32768"},
        {"2147483647::INTEGER", "2147483647"},
        {"4294967295::UINTEGER", "4294967295"},
        {"(-9223372036854775807)::BIGINT", "-9223372036854775807"},
        {"18446744073709551615::UBIGINT", "18446744073709551615"},
        {"170141183460469231731687303715884105727::HUGEINT", "170141183460469231731687303715884105727"},
        {"340282366920938463463374607431768211455::UHUGEINT", "340282366920938463463374607431768211455"},
        {"1.25::FLOAT", "1.25"},
        {"'-inf'::DOUBLE", "-inf"},
        {"123.45::DECIMAL(5,2)", "123.45"},
        {"12345678901234567890.123456::DECIMAL(38,6)", "12345678901234567890.123456"},
        {"'text with \"quotes\" and ''these'' and \xc3\xa9'", "text with \"quotes\" and 'these' and \xc3\xa9"},
        {"'\\x00\\xFF'::BLOB", "\\x00\\xFF"},
        {"'10101'::BIT", "10101"},
        {"'eeccb8c5-9943-b2bb-bb5e-222f4e14b687'::UUID", "eeccb8c5-9943-b2bb-bb5e-222f4e14b687"},
        {"'2024-02-29'::DATE", "2024-02-29"},
        {"'infinity'::DATE", "infinity"},
        {"'12:34:56.789012'::TIME", "12:34:56.789012"},
        {"'12:34:56+02'::TIMETZ", "12:34:56+02"},
        {"'2024-02-29 12:34:56.789012'::TIMESTAMP", "2024-02-29 12:34:56.789012"},
        {"'2024-02-29 12:34:56'::TIMESTAMP_S", "2024-02-29 12:34:56"},
        {"'2024-02-29 12:34:56.789012345'::TIMESTAMP_NS", "2024-02-29 12:34:56.789012345"},
        {"'2024-02-29 12:34:56+00'::TIMESTAMPTZ", "2024-02-29 12:34:56+00"},
        {"INTERVAL '1 month 2 days 3.5 seconds'", "1 month 2 days 00:00:03.5"},
        {"[1, NULL, 3]", "[1, NULL, 3]"},
        {"[1, 2, 3]::INTEGER[3]", "[1, 2, 3]"},
        {"{'a': 1, 'b c': ['x', NULL]}", "{'a': 1, 'b c': [x, NULL]}"},
        {"MAP {'k': 1, 'l': 2}", "{k=1, l=2}"},
        {"union_value(n := 5)", "5"},
        {"NULL::INTEGER", "NULL"},
        {"'b'::ENUM('a', 'b')", "b"},
        {"'{\"a\": 1}'::JSON", "{\"a\": 1}"},
    };
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        uint8_t *parameters;
        size_t bytes;
        od_make_parameters(values[i][0], &parameters, &bytes);
        struct od_statement s = statement_of("SELECT $1");
        s.parameters = parameters;
        s.parameter_bytes = bytes;
        char *text = od_run_text(f, f->connection, &s);
        if (strcmp(text, values[i][1]) != 0) {
            fail_msg("%s came back as %s", values[i][0], text);
        }
        free(text);
        // The type comes back too.
        char sql[256], *expected;
        s = statement_of("SELECT typeof($1)");
        s.parameters = parameters;
        s.parameter_bytes = bytes;
        text = od_run_text(f, f->connection, &s);
        snprintf(sql, sizeof(sql), "SELECT typeof(%s)", values[i][0]);
        expected = od_sql_text(f, f->connection, sql);
        assert_string_equal(text, expected);
        free(text);
        free(expected);
        free(parameters);
    }
}

static void test_parameter_names_and_mistakes(void **state)
{
    struct od_fixture *f = *state;
    uint8_t *parameters;
    size_t bytes;
    od_make_parameters("7 AS b, 'x' AS a", &parameters, &bytes);
    struct od_statement s = statement_of("SELECT $a, $b + 1");
    s.parameters = parameters;
    s.parameter_bytes = bytes;
    assert_statement(f, f->connection, &s, "x|8"); // by name
    s.sql = "SELECT $2, $1 + 1", s.sql_bytes = strlen(s.sql);
    assert_statement(f, f->connection, &s, "x|8"); // by position
    s.sql = "SELECT $1", s.sql_bytes = strlen(s.sql);
    assert_statement_has(f, f->connection, &s, "SQL Invalid Input: "); // one too many
    s.sql = "SELECT $1, $2, $3", s.sql_bytes = strlen(s.sql);
    assert_statement_has(f, f->connection, &s, "SQL Invalid Input: ");
    assert_sql_has(f, f->connection, "SELECT $1", "SQL Invalid Input: ");

    // A text parameter is a literal: it takes the type of what it meets.
    uint8_t *text_parameter;
    size_t text_bytes;
    od_make_parameters("'2024-01-02'", &text_parameter, &text_bytes);
    s = statement_of("SELECT DATE '2024-01-02' = $1, $1");
    s.parameters = text_parameter;
    s.parameter_bytes = text_bytes;
    assert_statement(f, f->connection, &s, "true|2024-01-02");
    s.describe_only = true;
    assert_statement(f, f->connection, &s, "");
    free(text_parameter);
    s = statement_of("SELECT $1, $2");
    s.parameters = parameters;

    // Bytes of a peer: every truncation is an error, none a crash.
    for (size_t cut = 1; cut < bytes; cut += 7) {
        s.parameter_bytes = cut;
        char *text = od_run_text(f, f->connection, &s);
        if (!strstr(text, ": ")) {
            fail_msg("%zu of %zu bytes gave %s", cut, bytes, text);
        }
        free(text);
    }
    free(parameters);
}

static void test_describe(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "CREATE TABLE t (i INTEGER, v VARCHAR)", "");
    struct od_statement s = statement_of("SELECT i FROM t WHERE v = $2 AND i = $1");
    s.describe_only = true;
    struct od_running running;
    od_running_start(&running, f, f->connection, &s);
    struct od_result *result = od_result_ref(running.result);
    od_running_join(&running);
    assert_int_equal(running.rc, OD_OK);
    struct od_result_info info;
    assert_true(od_result_ready(result, &info));
    assert_non_null(info.parameter_schema);
    assert_true(info.parameter_schema_bytes > 0);
    struct od_batch *batch;
    assert_int_equal(od_result_pop(result, &batch, NULL), OD_POP_END);
    od_result_unref(result);

    // Nothing runs: not the statement, and not what a PIVOT has to look up first.
    s = statement_of("INSERT INTO t VALUES (1, 'x')");
    s.describe_only = true;
    assert_statement(f, f->connection, &s, "");
    assert_sql(f, f->connection, "SELECT count(*) FROM t", "0");
    s = statement_of("PIVOT (SELECT * FROM (VALUES (1, 'a'), (2, 'b')) v(x, y)) ON y USING sum(x)");
    s.describe_only = true;
    assert_statement(f, f->connection, &s, "");
    assert_false(od_connection_in_transaction(f->connection));
    s.describe_only = false;
    assert_statement(f, f->connection, &s, "1|2");
    s = statement_of("SELECT nope FROM t");
    s.describe_only = true;
    assert_statement_has(f, f->connection, &s, "SQL Binder: ");
}

static void test_settings(void **state)
{
    struct od_fixture *f = *state;
    struct od_setting settings[] = {
        {"TimeZone", "Europe/Berlin"}, {"null_order", "nulls_first"}, {"integer_division", "true"}};
    const char *sql = "SELECT current_setting('TimeZone'), current_setting('default_null_order'), 7 / 2, "
                      "extract(hour FROM '2024-07-01 12:00:00+00'::TIMESTAMPTZ)";
    struct od_statement s = statement_of(sql);
    s.settings = settings;
    s.setting_count = 3;
    assert_statement(f, f->connection, &s, "Europe/Berlin|NULLS_FIRST|3|14");
    assert_sql(f, f->connection, sql, "Etc/UTC|NULLS_LAST|3.5|12"); // for that statement only

    // Also after an error, and over what the session has set.
    assert_sql(f, f->connection, "SET TimeZone = 'Asia/Tokyo'", "");
    s = statement_of("SELECT error('x')");
    s.settings = settings;
    s.setting_count = 3;
    assert_statement_has(f, f->connection, &s, "SQL ");
    assert_sql(f, f->connection, "SELECT current_setting('TimeZone')", "Asia/Tokyo");
    // A SET in the statement is the session's, whatever came with it.
    s = statement_of("SET TimeZone = 'America/Lima'");
    s.settings = settings;
    s.setting_count = 1;
    assert_statement(f, f->connection, &s, "");
    assert_sql(f, f->connection, "SELECT current_setting('TimeZone')", "America/Lima");

    // One whose SET looks into the catalog, outside and inside a transaction.
    struct od_setting collation = {"default_collation", "nocase"};
    s = statement_of("SELECT 'A' = 'a'");
    s.settings = &collation;
    s.setting_count = 1;
    assert_statement(f, f->connection, &s, "true");
    assert_sql(f, f->connection, "BEGIN", "");
    assert_statement(f, f->connection, &s, "true");
    collation.value = "absent";
    assert_statement_has(f, f->connection, &s, "SQL ");
    assert_sql(f, f->connection, "SELECT 'A' = 'a'", "false"); // not aborted
    assert_sql(f, f->connection, "COMMIT", "");

    static const struct od_setting refused[] = {{"threads", "1"},
                                                {"memory_limit", "1GB"},
                                                {"nonsense", "1"},
                                                {"TimeZone", "Nowhere/Else"},
                                                {"search_path", "absent"}};
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        s = statement_of("SELECT 1");
        s.settings = &refused[i];
        s.setting_count = 1;
        char *text = od_run_text(f, f->connection, &s);
        if (strcmp(text, "1") == 0) {
            fail_msg("setting %s was accepted", refused[i].name);
        }
        free(text);
    }
    assert_sql(f, f->connection, "CREATE SCHEMA s", "");
    assert_sql(f, f->connection, "CREATE TABLE s.inside AS SELECT 5 AS i", "1");
    struct od_setting path = {"search_path", "s,main"};
    s = statement_of("SELECT i FROM inside");
    s.settings = &path;
    s.setting_count = 1;
    assert_statement(f, f->connection, &s, "5");
    assert_sql_has(f, f->connection, "SELECT i FROM inside", "Catalog");
}

// Rows of a statement that writes are seen only once its commit is there for all.
static void test_returning_after_commit(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "CREATE TABLE t (i BIGINT)", "");
    struct od_statement s = statement_of("INSERT INTO t SELECT * FROM range(300000) RETURNING i");
    struct od_running running;
    od_running_start(&running, f, f->connection, &s);
    struct od_batch *batch = NULL;
    struct od_error err = {0};
    enum od_pop pop;
    while ((pop = od_result_wait(running.result, 10, &batch, &err)) == OD_POP_EMPTY) {
    }
    assert_int_equal(pop, OD_POP_BATCH);
    struct od_connection *other;
    assert_int_equal(od_connection_open(f->engine, &other, &err), OD_OK);
    assert_sql(f, other, "SELECT count(*) FROM t", "300000");
    od_connection_close(other);
    uint64_t rows = batch->rows, batches = 1;
    od_batch_unref(batch);
    assert_int_equal(od_drain(running.result, &rows, &batches, &err), OD_POP_END);
    assert_int_equal(rows, 300000);
    od_running_join(&running);
}

// A result of an explicit transaction does not hold the connection: the next statement runs while it is still sent.
static void test_spooled_result_outlives_statement(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "BEGIN", "");
    struct od_statement s = statement_of("SELECT i, repeat('x', 100) FROM range(500000) r(i)");
    struct od_running running;
    od_running_start(&running, f, f->connection, &s);
    struct od_result *result = od_result_ref(running.result);
    od_running_join(&running); // ends although nobody reads
    assert_int_equal(running.rc, OD_OK);
    assert_sql(f, f->connection, "SELECT 1", "1");
    assert_sql(f, f->connection, "COMMIT", "");
    assert_true(od_result_sendable_bytes(result) <= 2 * OD_QUEUE_SENDABLE_BYTES);
    uint64_t rows = 0, batches = 0;
    struct od_error err = {0};
    assert_int_equal(od_drain(result, &rows, &batches, &err), OD_POP_END);
    assert_int_equal(rows, 500000);
    od_result_unref(result);
    // Dropped half-way, or never read at all.
    for (int stop = 0; stop < 2; stop++) {
        assert_sql(f, f->connection, "BEGIN", "");
        od_running_start(&running, f, f->connection, &s);
        result = od_result_ref(running.result);
        od_running_join(&running);
        if (stop) {
            od_result_stop(result);
        }
        od_result_unref(result);
        assert_sql(f, f->connection, "COMMIT", "");
    }
}

static void test_large(void **state)
{
    struct od_fixture *f = *state;
    // 10 MB of SQL
    size_t bytes = 10u << 20;
    char *sql = malloc(bytes + 32);
    int start = snprintf(sql, 32, "SELECT length('");
    memset(sql + start, 'x', bytes);
    memcpy(sql + (size_t)start + bytes, "')", 3);
    char expected[32];
    snprintf(expected, sizeof(expected), "%zu", bytes);
    assert_sql(f, f->connection, sql, expected);
    struct od_statement s = {.sql = sql, .sql_bytes = OD_SQL_BYTES_MAX + 1};
    char *big = calloc(1, OD_SQL_BYTES_MAX + 1);
    s.sql = big;
    assert_statement_has(f, f->connection, &s, "LIMIT : ");
    free(big);
    free(sql);

    // 10,000 columns
    size_t room = 10000 * 24;
    sql = malloc(room);
    size_t at = (size_t)snprintf(sql, room, "CREATE TABLE wide AS SELECT ");
    for (int i = 0; i < 10000; i++) {
        at += (size_t)snprintf(sql + at, room - at, "%s%d AS c%d", i ? ", " : "", i, i);
    }
    assert_sql(f, f->connection, sql, "1");
    free(sql);
    char *row = od_sql_text(f, f->connection, "FROM wide");
    assert_non_null(strstr(row, "0|1|2|3|"));
    assert_non_null(strstr(row, "|9998|9999"));
    free(row);
    assert_sql(f, f->connection, "SELECT c9999 FROM wide", "9999");
    // no rows, and no columns
    assert_sql(f, f->connection, "SELECT * FROM wide WHERE c0 = 1", "");
}

static void test_stale_catalog(void **state)
{
    struct od_fixture *f = *state;
    struct od_connection *c = f->connection;
    assert_sql(f, c, "CREATE TABLE t (i INTEGER)", "");
    assert_sql(f, c, "CREATE TABLE u (i INTEGER)", "");
    char version[OD_CATALOG_VERSION_BYTES];
    od_engine_catalog_version(f->engine, version);
    char *hash = od_sql_text(f, c, "SELECT definition_hash FROM openduck_catalog_entry('table', 'main', 't')");
    assert_int_equal(strlen(hash), 32);
    struct od_catalog_object object = {"table", "main", "t", hash};
    struct od_statement s = statement_of("INSERT INTO t VALUES (1)");
    s.catalog_version = version;
    s.catalog_objects = &object;
    s.catalog_object_count = 1;
    assert_statement(f, c, &s, "1");
    // Another object changes: the version differs, the one in use does not.
    assert_sql(f, c, "ALTER TABLE u ADD COLUMN j INTEGER", "");
    assert_statement(f, c, &s, "1");
    // Without objects the version alone counts.
    s.catalog_object_count = 0;
    assert_statement(f, c, &s, "CATALOG_STALE : the catalog of database \"shop\" has changed");
    s.catalog_object_count = 1;
    // The one in use changes: stale before any effect, also where binding would fail, and for a description.
    assert_sql(f, c, "ALTER TABLE t ADD COLUMN j INTEGER", "");
    assert_statement_has(f, c, &s, "CATALOG_STALE : table \"main\".\"t\" has changed");
    s.describe_only = true;
    assert_statement_has(f, c, &s, "CATALOG_STALE : ");
    s.describe_only = false;
    assert_sql(f, c, "SELECT count(*) FROM t", "2");
    // In a transaction it is not aborted by that.
    assert_sql(f, c, "BEGIN", "");
    assert_statement_has(f, c, &s, "CATALOG_STALE : ");
    assert_sql(f, c, "SELECT count(*) FROM t", "2");
    assert_sql(f, c, "ROLLBACK", "");
    assert_sql(f, c, "DROP TABLE t", "");
    assert_statement_has(f, c, &s, "has been dropped");
    free(hash);
}

// The version a result reports.
static void version_of(struct od_fixture *f, struct od_connection *c, const char *sql, char *out)
{
    struct od_statement s = statement_of(sql);
    struct od_running running;
    od_running_start(&running, f, c, &s);
    struct od_result *result = od_result_ref(running.result);
    uint64_t rows = 0, batches = 0;
    struct od_error err = {0};
    assert_int_equal(od_drain(result, &rows, &batches, &err), OD_POP_END);
    od_running_join(&running);
    struct od_result_info info;
    assert_true(od_result_ready(result, &info));
    snprintf(out, OD_CATALOG_VERSION_BYTES, "%s", info.catalog_version);
    od_result_unref(result);
}

static void test_reported_versions(void **state)
{
    struct od_fixture *f = *state;
    struct od_connection *c = f->connection, *other;
    struct od_error err = {0};
    char a[OD_CATALOG_VERSION_BYTES], b[OD_CATALOG_VERSION_BYTES], now[OD_CATALOG_VERSION_BYTES];
    assert_int_equal(od_connection_open(f->engine, &other, &err), OD_OK);
    version_of(f, c, "SELECT 1", a);
    version_of(f, c, "CREATE TABLE t (i INTEGER)", b);
    od_engine_catalog_version(f->engine, now);
    assert_string_not_equal(a, b);
    assert_string_equal(b, now); // own change, nothing between
    version_of(f, c, "INSERT INTO t VALUES (1)", a);
    assert_string_equal(a, now);
    version_of(f, c, "CREATE TABLE IF NOT EXISTS t (i INTEGER)", a);
    assert_string_equal(a, now); // nothing has changed

    // Own uncommitted changes: a version nobody else can have.
    version_of(f, c, "BEGIN", a);
    version_of(f, c, "CREATE TABLE u (i INTEGER)", a);
    assert_string_not_equal(a, now);
    version_of(f, c, "SELECT * FROM u", b);
    assert_string_equal(a, b);
    od_engine_catalog_version(f->engine, b);
    assert_string_equal(b, now);
    // Somebody else's change lies between: the commit must not look as if everything were known.
    assert_sql(f, other, "CREATE TABLE w (i INTEGER)", "");
    version_of(f, c, "COMMIT", a);
    od_engine_catalog_version(f->engine, b);
    assert_string_not_equal(a, b);
    assert_string_equal(a, now);
    od_connection_close(other);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        T(test_exactly_one),
        T(test_kinds),
        T(test_errors_have_class),
        T(test_transactions),
        T(test_read_only),
        T(test_parameters),
        T(test_parameter_names_and_mistakes),
        T(test_describe),
        T(test_settings),
        T(test_returning_after_commit),
        T(test_spooled_result_outlives_statement),
        T(test_large),
        T(test_stale_catalog),
        T(test_reported_versions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
