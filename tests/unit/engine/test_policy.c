// test_policy.c - what SQL may not do without external access, and what it may with it.
#include "engine_support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

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

// Each statement fails with class Permission (or because the configuration is locked), and none of them with a crash.
static void test_refused(void **state)
{
    struct od_fixture *fixture = *state;
    static const char *const refused[] = {
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM read_text('/etc/passwd')",
        "SELECT * FROM read_blob('/etc/passwd')",
        "SELECT * FROM read_json('/etc/passwd')",
        "SELECT * FROM read_parquet('/etc/passwd')",
        "SELECT * FROM read_duckdb('/etc/passwd')",
        "SELECT * FROM parquet_metadata('/etc/passwd')",
        "SELECT * FROM sniff_csv('/etc/passwd')",
        "SELECT * FROM glob('/*')",
        "CREATE VIEW v AS SELECT * FROM read_csv('/etc/passwd')",
        "CREATE TABLE u AS SELECT * FROM read_text('/etc/passwd')",
        "CREATE MACRO m() AS TABLE SELECT * FROM read_text('/etc/passwd')",
        "COPY (SELECT 1) TO '/tmp/openduck-must-not-exist'",
        "COPY (SELECT 1) TO '/tmp/openduck-must-not-exist' (FORMAT parquet)",
        "PREPARE p AS COPY (SELECT 1) TO '/tmp/openduck-must-not-exist'",
        "EXPLAIN ANALYZE COPY (SELECT 1) TO '/tmp/openduck-must-not-exist'",
        "COPY t FROM '/etc/passwd'",
        "EXPORT DATABASE '/tmp/openduck-must-not-exist'",
        "IMPORT DATABASE '/tmp'",
        "ATTACH '/tmp/openduck-must-not-exist' AS o",
        "ATTACH ':memory:' AS o",
        "DETACH shop",
        "DETACH memory",
        "LOAD json",
        "INSTALL json",
        "UPDATE EXTENSIONS",
        "CREATE SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
        "CALL enable_logging()",
        "SELECT (SELECT count(*) FROM enable_logging())",
        "CALL truncate_duckdb_logs()",
        "CALL enable_profiling()",
        "SELECT * FROM arrow_scan(1, 2, 3)",
        "FORCE CHECKPOINT",
        "PRAGMA enable_profiling",
        "PRAGMA enable_progress_bar",
        "PRAGMA enable_verification",
        "PRAGMA disable_checkpoint_on_shutdown",
        "SET GLOBAL TimeZone = 'UTC'",
        "RESET GLOBAL TimeZone",
        "EXPLAIN ANALYZE SET GLOBAL threads = 1",
        "CREATE TABLE memory.main.u (i INTEGER)",
        "CREATE SCHEMA memory.s",
    };
    static const char *const locked[] = {
        "SET memory_limit = '1TB'",
        "SET threads = 100",
        "PRAGMA threads = 100",
        "SET temp_directory = '/tmp'",
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET allowed_paths = ['/etc/passwd']",
        "SET allowed_configs = ['threads']",
        "SET log_query_path = '/tmp/x'",
        "SET profile_output = '/tmp/x'",
        "SET file_search_path = '/etc'",
        "SET home_directory = '/'",
        "SET secret_directory = '/tmp'",
        "SET extension_directory = '/tmp'",
        "SET autoload_known_extensions = true",
        "RESET memory_limit",
    };
    assert_sql(fixture, fixture->connection, "CREATE TABLE t (s VARCHAR)", "");
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
        assert_sql_has(fixture, fixture->connection, refused[i], "SQL Permission: ");
    }
    for (size_t i = 0; i < sizeof(locked) / sizeof(locked[0]); i++) {
        assert_sql_has(fixture, fixture->connection, locked[i], "SQL Invalid Input: ");
    }
    assert_int_equal(access("/tmp/openduck-must-not-exist", F_OK), -1);
}

// DuckDB's own switch leaves these files open to SQL; ours must not.
static void test_own_files_are_refused(void **state)
{
    struct od_fixture *fixture = *state;
    assert_sql(fixture, fixture->connection, "CREATE TABLE t AS SELECT 42 AS i", "1");
    static const char *const forms[][2] = {{"COPY t TO", "'"},
                                           {"COPY t TO", ".wal'"},
                                           {"COPY t TO", ".wal.checkpoint'"},
                                           {"SELECT * FROM read_blob(", "')"}};
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        char sql[256];
        snprintf(sql, sizeof(sql), "%s '%s%s", forms[i][0], fixture->path, forms[i][1]);
        assert_sql_has(fixture, fixture->connection, sql, "SQL Permission: ");
    }
    char sql[256];
    snprintf(sql, sizeof(sql), "COPY t TO '%s/x.csv'", fixture->temp);
    assert_sql_has(fixture, fixture->connection, sql, "SQL Permission: ");
    od_fixture_reopen(fixture, NULL);
    assert_sql(fixture, fixture->connection, "SELECT i FROM t", "42");
}

// A refusal inside a transaction does not abort it.
static void test_refusal_keeps_transaction(void **state)
{
    struct od_fixture *fixture = *state;
    struct od_connection *c = fixture->connection;
    assert_sql(fixture, c, "CREATE TABLE t (i INTEGER)", "");
    assert_sql(fixture, c, "BEGIN", "");
    assert_sql(fixture, c, "INSERT INTO t VALUES (1)", "1");
    assert_sql_has(fixture, c, "SELECT * FROM read_csv('/etc/passwd')", "Permission");
    assert_sql_has(fixture, c, "ATTACH ':memory:' AS o", "Permission");
    assert_sql_has(fixture, c, "CREATE TABLE memory.main.u (i INTEGER)", "Permission");
    assert_sql(fixture, c, "COMMIT", "");
    assert_sql(fixture, c, "SELECT * FROM t", "1");
}

// What one session sets, another does not see, even where DuckDB's scope is the whole instance.
static void test_settings_stay_in_their_session(void **state)
{
    struct od_fixture *fixture = *state;
    struct od_connection *other;
    struct od_error err = {0};
    assert_int_equal(od_connection_open(fixture->engine, &other, &err), OD_OK);
    assert_false(od_connection_has_state(fixture->connection));
    assert_sql(fixture, fixture->connection, "SET TimeZone = 'Asia/Tokyo'", "");
    assert_sql(fixture, fixture->connection, "SET default_null_order = 'nulls_first'", "");
    assert_sql(fixture, fixture->connection, "SET preserve_insertion_order = false", "");
    const char *sql = "SELECT current_setting('TimeZone'), current_setting('default_null_order'), "
                      "current_setting('preserve_insertion_order')";
    assert_sql(fixture, fixture->connection, sql, "Asia/Tokyo|NULLS_FIRST|false");
    assert_sql(fixture, other, sql, "Etc/UTC|NULLS_LAST|true");
    assert_true(od_connection_has_state(fixture->connection));
    assert_false(od_connection_has_state(other));
    assert_sql(fixture, fixture->connection, "RESET TimeZone", "");
    assert_sql(fixture, fixture->connection, "SELECT current_setting('TimeZone')", "Etc/UTC");
    // The default of a connection is the database, not the instance's main database.
    assert_sql(fixture, fixture->connection, "USE memory", "");
    assert_sql(fixture, fixture->connection, "RESET search_path", "");
    assert_sql(fixture, fixture->connection, "SELECT current_database()", "shop");
    od_connection_close(other);
}

static void test_external_access(void **state)
{
    (void)state;
    struct od_fixture fixture;
    struct od_engine_options options = {.external_access = true};
    od_fixture_open(&fixture, &options);
    char sql[256];
    snprintf(sql, sizeof(sql), "COPY (SELECT 7 AS i) TO '%s/out.csv'", fixture.directory);
    assert_sql(&fixture, fixture.connection, sql, "1");
    snprintf(sql, sizeof(sql), "SELECT i FROM read_csv('%s/out.csv')", fixture.directory);
    assert_sql(&fixture, fixture.connection, sql, "7");
    assert_sql(&fixture, fixture.connection, "ATTACH ':memory:' AS o", "");
    assert_sql(&fixture, fixture.connection, "CREATE TABLE o.t (i INTEGER)", "");
    assert_sql_has(&fixture, fixture.connection, "FORCE CHECKPOINT", "");
    // What would break the server itself stays refused.
    assert_sql_has(&fixture, fixture.connection, "DETACH shop", "SQL Permission: ");
    assert_sql_has(&fixture, fixture.connection, "PRAGMA enable_verification", "SQL Permission: ");
    assert_sql_has(&fixture, fixture.connection, "SELECT * FROM arrow_scan(1, 2, 3)", "SQL Permission: ");
    od_fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_refused, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(test_own_files_are_refused, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(test_refusal_keeps_transaction, open_fixture, close_fixture),
        cmocka_unit_test_setup_teardown(test_settings_stay_in_their_session, open_fixture, close_fixture),
        cmocka_unit_test(test_external_access),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
