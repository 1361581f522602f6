// test_catalog.c - the catalog functions: every definition makes the same object again; hashes tell changes.
#include "engine_support.h"

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

static const char *const objects[] = {
    "CREATE SCHEMA s",
    "CREATE SCHEMA \"we.ird \"\" x\"",
    "CREATE TYPE mood AS ENUM ('a', 'b,c', 'it''s', '')",
    "CREATE TYPE s.pt AS STRUCT(x INTEGER, y mood)",
    "CREATE SEQUENCE s.q START 5",
    "CREATE SEQUENCE q2 INCREMENT BY -1 MINVALUE -100 MAXVALUE 100 START 7 CYCLE",
    "CREATE TABLE t (i INTEGER PRIMARY KEY DEFAULT nextval('s.q'), v VARCHAR COLLATE nocase UNIQUE, m mood DEFAULT "
    "'it''s', "
    "p s.pt, g INTEGER GENERATED ALWAYS AS (i + 1) VIRTUAL, d DECIMAL(10, 2) NOT NULL DEFAULT 1.5, ts TIMESTAMPTZ "
    "DEFAULT now(), "
    "CHECK (i > 0))",
    "CREATE TABLE parent (a INTEGER, b INTEGER, PRIMARY KEY (a, b), UNIQUE (b, a))",
    "CREATE TABLE child (a INTEGER REFERENCES t (i), b INTEGER, c INTEGER, FOREIGN KEY (b, c) REFERENCES parent (a, "
    "b))",
    "CREATE TABLE selfref (i INTEGER PRIMARY KEY, p INTEGER REFERENCES selfref (i))",
    "CREATE TABLE \"Sel ect\" (\"or der\" INTEGER PRIMARY KEY, \"Group\" VARCHAR, \"q\"\"uo.te\" INTEGER DEFAULT 3)",
    "CREATE TABLE \"fk to it\" (x INTEGER REFERENCES \"Sel ect\" (\"or der\"))",
    "CREATE TABLE s.parent (i INTEGER PRIMARY KEY)",
    "CREATE TABLE s.child (i INTEGER REFERENCES s.parent (i))",
    "CREATE TABLE \"we.ird \"\" x\".\"t.t\" (i INTEGER)",
    "CREATE TABLE nested (a INTEGER[3], b STRUCT(a INTEGER, \"b c\" VARCHAR[]), c MAP(VARCHAR, INTEGER), u UNION(n "
    "INTEGER, s "
    "VARCHAR), e ENUM('x', 'y'), arr mood[], j JSON, vr VARIANT, bn BIGNUM, tz TIMETZ, h UHUGEINT, dec DECIMAL(38, "
    "10), bits BIT)",
    "CREATE VIEW v1 AS SELECT * FROM t",
    "CREATE VIEW s.v2 (a, \"b b\") AS SELECT i, v FROM main.t WHERE v = 'x'",
    "CREATE VIEW v3 AS FROM s.parent",
    "CREATE VIEW v4 AS SELECT * FROM shop.s.parent JOIN shop.main.t USING (i) WHERE EXISTS (SELECT 1 FROM "
    "shop.main.child)",
    "CREATE VIEW v5 AS WITH w AS (SELECT * FROM shop.main.selfref) SELECT shop.main.t.i FROM w, shop.main.t ORDER BY 1 "
    "LIMIT 3",
    "CREATE INDEX idx ON t (d)",
    "CREATE UNIQUE INDEX \"i 2\" ON \"Sel ect\" (\"Group\", (\"or der\" + 1))",
    "CREATE INDEX sidx ON s.parent (i)",
    "CREATE MACRO add1(a, b := 5) AS a + b",
    "CREATE MACRO over(a) AS a, (a, b) AS a * b",
    "CREATE MACRO typed(a INTEGER, b VARCHAR := 'x') AS a::VARCHAR || b",
    "CREATE MACRO s.tm(n) AS TABLE SELECT * FROM shop.main.t WHERE i = n",
    "CREATE MACRO s.usesadd(x) AS shop.main.add1(x) + (SELECT count(*) FROM shop.main.t)",
    "COMMENT ON TABLE t IS 'a ''table'''",
    "COMMENT ON COLUMN t.v IS 'column'",
    "COMMENT ON VIEW v1 IS 'view'",
    "COMMENT ON COLUMN v1.i IS 'of view'",
    "COMMENT ON INDEX idx IS 'index'",
    "COMMENT ON MACRO add1 IS 'macro'",
    "COMMENT ON SEQUENCE q2 IS 'sequence'",
    "COMMENT ON TYPE mood IS 'type'",
};

// The definitions, run one after the other in an empty database of another name, make a catalog with the same ones.
static void test_definitions_make_the_same(void **state)
{
    struct od_fixture *f = *state;
    for (size_t i = 0; i < sizeof(objects) / sizeof(objects[0]); i++) {
        char *text = od_sql_text(f, f->connection, objects[i]);
        if (strcmp(text, "") != 0) {
            fail_msg("%s: %s", objects[i], text);
        }
        free(text);
    }
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog() WHERE definition LIKE '%shop.%'", "0");
    struct od_fixture copy;
    struct od_engine_options options = {.name = "elsewhere"};
    od_fixture_open(&copy, &options);
    char *definitions =
        od_sql_text(f, f->connection, "SELECT replace(definition, chr(10), ' ') FROM openduck_catalog()");
    unsigned count = 0;
    for (char *line = strtok(definitions, "\n"); line; line = strtok(NULL, "\n")) {
        char *text = od_sql_text(&copy, copy.connection, line);
        if (strcmp(text, "") != 0) {
            fail_msg("%s: %s", line, text);
        }
        free(text);
        count++;
    }
    free(definitions);
    assert_int_equal(count, 29);
    const char *sql = "SELECT kind, schema, name, table_name, definition FROM openduck_catalog() ORDER BY ALL";
    char *expected = od_sql_text(f, f->connection, sql), *got = od_sql_text(&copy, copy.connection, sql);
    assert_string_equal(got, expected);
    free(expected);
    free(got);
    od_fixture_close(&copy);

    assert_sql(f, f->connection, "SELECT comment, column_comments FROM openduck_catalog_entry('table', 'main', 't')",
               "a 'table'|{v=column}");
    assert_sql(f, f->connection, "SELECT comment, column_comments FROM openduck_catalog_entry('view', 'main', 'v1')",
               "view|{i=of view}");
    assert_sql(
        f, f->connection,
        "SELECT string_agg(comment, ',' ORDER BY comment) FROM openduck_catalog() WHERE kind NOT IN ('table', 'view')",
        "index,macro,sequence,type");
    // What is asked for singly is what comes with all.
    assert_sql(
        f, f->connection,
        "SELECT count(*) FROM openduck_catalog() a, openduck_catalog_entry('index', 'main', 'i 2') b "
        "WHERE a.kind = b.kind AND a.schema = b.schema AND a.name = b.name AND a.definition_hash = b.definition_hash "
        "AND b.table_name = 'Sel ect'",
        "1");
}

static void test_hash_tells_changes(void **state)
{
    struct od_fixture *f = *state;
    struct od_connection *c = f->connection;
    assert_sql(f, c, "CREATE TABLE t (i INTEGER, j INTEGER)", "");
    assert_sql(f, c, "CREATE SEQUENCE q", "");
    static const char *const changes[] = {
        "ALTER TABLE t ADD COLUMN k INTEGER",  "ALTER TABLE t RENAME COLUMN k TO l",
        "ALTER TABLE t ALTER l SET DEFAULT 3", "ALTER TABLE t ALTER l TYPE BIGINT",
        "ALTER TABLE t ALTER l SET NOT NULL",  "COMMENT ON TABLE t IS 'x'",
        "COMMENT ON COLUMN t.i IS 'y'",        "CREATE OR REPLACE TABLE t (i INTEGER)",
    };
    const char *sql = "SELECT definition_hash FROM openduck_catalog_entry('table', 'main', 't')";
    char *last = od_sql_text(f, c, sql);
    for (size_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        assert_sql(f, c, changes[i], "");
        char *now = od_sql_text(f, c, sql);
        assert_string_not_equal(now, last);
        free(last);
        last = now;
    }
    // Rows, indexes and numbers drawn from a sequence change no definition.
    assert_sql(f, c, "INSERT INTO t VALUES (1)", "1");
    assert_sql(f, c, "CREATE INDEX x ON t (i)", "");
    assert_sql(f, c, sql, last);
    free(last);
    const char *sequence = "SELECT definition_hash FROM openduck_catalog_entry('sequence', 'main', 'q')";
    last = od_sql_text(f, c, sequence);
    assert_sql(f, c, "SELECT nextval('q')", "1");
    assert_sql(f, c, sequence, last);
    free(last);
}

static void test_transaction_view(void **state)
{
    struct od_fixture *f = *state;
    struct od_connection *other;
    struct od_error err = {0};
    assert_int_equal(od_connection_open(f->engine, &other, &err), OD_OK);
    assert_sql(f, f->connection, "BEGIN", "");
    assert_sql(f, f->connection, "CREATE TABLE mine (i INTEGER)", "");
    assert_sql(f, f->connection, "SELECT name FROM openduck_catalog()", "mine");
    assert_sql(f, other, "SELECT count(*) FROM openduck_catalog()", "0");
    assert_sql(f, other, "SELECT count(*) FROM openduck_catalog_entry('table', 'main', 'mine')", "0");
    assert_sql(f, f->connection, "ROLLBACK", "");
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog()", "0");
    // Temporary objects belong to the session, not to the database.
    assert_sql(f, f->connection, "CREATE TEMP TABLE tt (i INTEGER)", "");
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog()", "0");
    od_connection_close(other);
}

static void test_single_entries(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "CREATE TABLE t (i INTEGER)", "");
    assert_sql(f, f->connection, "CREATE VIEW v AS FROM t", "");
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog_entry('table', 'main', 'T')",
               "1"); // as SQL looks up
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog_entry('view', 'main', 't')", "0");
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog_entry('table', 'main', 'v')", "0");
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog_entry('table', 'absent', 't')", "0");
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog_entry('schema', '', 'main')",
               "0"); // DuckDB's own
    assert_sql(f, f->connection, "SELECT count(*) FROM openduck_catalog_entry('macro', 'main', 'abs')", "0");
    assert_sql_has(f, f->connection, "FROM openduck_catalog_entry('chair', 'main', 't')",
                   "no entries of kind \"chair\"");
    assert_sql_has(f, f->connection, "FROM openduck_catalog_entry(NULL, 'main', 't')", "SQL Binder: ");
}

static void test_statistics(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection,
               "CREATE TABLE t AS SELECT i::INTEGER AS i, CASE WHEN i % 2 = 0 THEN i::DECIMAL(9, 2) END AS d, "
               "i::VARCHAR AS s, DATE '2024-01-01' + i::INTEGER AS day FROM range(100) r(i)",
               "100");
    assert_sql(f, f->connection, "SELECT column_name, min, max, has_null FROM openduck_column_statistics('main', 't')",
               "i|0|99|false\nd|0.00|98.00|true\ns|NULL|NULL|false\nday|2024-01-01|2024-04-09|false");
    assert_sql(f, f->connection, "SELECT estimated_rows FROM openduck_catalog()", "100");
    assert_sql_has(f, f->connection, "FROM openduck_column_statistics('main', 'absent')", "SQL Catalog: ");
}

// A CREATE or ALTER gives the objects it was asked to tell of, as they are after it; other statements give what they give.
static void test_told(void **state)
{
    struct od_fixture *f = *state;
    const struct od_catalog_object objects[] = {{"table", "main", "told", ""},
                                                {"view", "main", "told", ""},
                                                {"chair", "main", "told", ""},
                                                {"index", "main", "by i", ""}};
    static const struct {
        const char *sql, *outcome;
    } cases[] = {
        {"CREATE TABLE told (i INTEGER)", "table|main|told|NULL|CREATE TABLE main.told(i INTEGER);"},
        {"INSERT INTO told VALUES (1), (2)", "2"},
        {"CREATE INDEX \"by i\" ON told (i)", "index|main|by i|told|CREATE INDEX \"by i\" ON main.told (i);"},
        {"COMMENT ON TABLE told IS 'here'", "table|main|told|NULL|CREATE TABLE main.told(i INTEGER);"},
        {"SELECT count(*) FROM told", "2"},
        {"CREATE TABLE told (j INTEGER)", "SQL Catalog: "},
        {"BEGIN", ""},
        {"CREATE OR REPLACE TABLE told (k DATE)", "CREATE TABLE main.told(k DATE);"},
        {"ROLLBACK", ""},
        {"EXPLAIN CREATE TABLE other (i INTEGER)", "physical_plan"},
        {"DROP TABLE told", ""},
        {"CREATE TABLE other (i INTEGER)", ""},
        {"CREATE VIEW told AS SELECT 1 AS x", "view|main|told|NULL|CREATE VIEW main.told AS SELECT 1 AS x;"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct od_statement statement = {.sql = cases[i].sql,
                                               .sql_bytes = strlen(cases[i].sql),
                                               .exact_types = true,
                                               .tell = objects,
                                               .tell_count = sizeof objects / sizeof *objects};
        char *text = od_run_text(f, f->connection, &statement);
        if (!strstr(text, cases[i].outcome) || (!cases[i].outcome[0] && text[0]))
            fail_msg("%s\n gave: %s\n without: %s", cases[i].sql, text, cases[i].outcome);
        free(text);
    }
}

// Past a limit definitions are left out, and asked for singly.
static void test_many_tables(void **state)
{
    struct od_fixture *f = *state;
    assert_sql(f, f->connection, "BEGIN", "");
    for (int i = 0; i < 5001; i++) {
        char sql[64];
        snprintf(sql, sizeof(sql), "CREATE TABLE t%d (i INTEGER)", i);
        struct od_statement s = {.sql = sql, .sql_bytes = strlen(sql)};
        struct od_result *result;
        struct od_error err = {0};
        assert_int_equal(od_result_new(f->budget, (struct od_waker){NULL, NULL}, &result, &err), OD_OK);
        assert_int_equal(od_connection_run(f->connection, &s, result, &err), OD_OK);
        od_result_unref(result);
        if (i == 4999) {
            assert_sql(f, f->connection, "SELECT count(*), count(definition) FROM openduck_catalog()", "5000|5000");
        }
    }
    assert_sql(f, f->connection, "SELECT count(*), count(definition), count(definition_hash) FROM openduck_catalog()",
               "5001|0|0");
    assert_sql(f, f->connection, "SELECT definition FROM openduck_catalog_entry('table', 'main', 't77')",
               "CREATE TABLE main.t77(i INTEGER);");
    assert_sql(f, f->connection, "ROLLBACK", "");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, open_fixture, close_fixture)
    const struct CMUnitTest tests[] = {
        T(test_definitions_make_the_same),
        T(test_hash_tells_changes),
        T(test_transaction_view),
        T(test_single_entries),
        T(test_statistics),
        T(test_told),
        T(test_many_tables),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
