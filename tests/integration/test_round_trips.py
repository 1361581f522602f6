"""How many requests a statement costs."""
import duckdb
import pytest


SETUP = ("CREATE OR REPLACE TABLE r.t AS SELECT range AS i, 'row ' || range AS s FROM range(1000)",
         "DROP SCHEMA IF EXISTS r.own CASCADE", "DROP TABLE IF EXISTS r.other", "DROP VIEW IF EXISTS r.w",
         "SELECT count(*) FROM r.t")    # the definition of a CREATE TABLE AS is fetched when it is first used
TRIES = 5


@pytest.fixture(scope="module")
def con(attach_empty):
    return attach_empty("r")


def requests(con, *statements):
    """The fewest of some tries: a catalog not heard of for a while is looked at, which a busy machine makes happen."""
    def count():
        return con.execute("SELECT round_trips FROM openduck_stats() WHERE catalog = 'r'").fetchone()[0]
    found = set()
    for _ in range(TRIES):
        for statement in SETUP:
            con.execute(statement).fetchall()
        before = count()
        for statement in statements:
            con.execute(statement).fetchall()
        found.add(count() - before)
    return min(found)


@pytest.mark.parametrize("statement", [
    "SELECT * FROM r.t WHERE i = 7",
    "SELECT count(*) FROM r.t",
    "FROM (SELECT i FROM r.t ORDER BY i LIMIT 3)",
    "INSERT INTO r.t VALUES (1000, 'x')",
    "INSERT INTO r.t VALUES (1001, 'x') RETURNING i",
    "UPDATE r.t SET s = 'y' WHERE i = 7",
    "DELETE FROM r.t WHERE i = 7",
    "CREATE TABLE r.other (a INTEGER)",
    "ALTER TABLE r.t ADD COLUMN n INTEGER",
    "DROP TABLE r.t",
])
def test_a_statement_is_one(con, statement):
    assert requests(con, statement) == 1


def test_a_text_is_two_and_then_one(con):
    text = "FROM openduck_query('r', 'SELECT 1')"
    assert requests(con, text, text) == 2 + 1    # its columns are asked for once


def test_explain_asks_for_the_servers_plan(con):
    assert requests(con, "EXPLAIN SELECT * FROM r.t WHERE i = 7") == 1


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
@pytest.mark.parametrize("statements", [
    ["INSERT INTO r.t VALUES (1000, 'x')"],
    ["SELECT count(*) FROM r.t", "UPDATE r.t SET s = 'y' WHERE i = 7", "DELETE FROM r.t WHERE i = 8",
     "FROM r.t WHERE i = 7", "INSERT INTO r.t VALUES (1002, 'x') RETURNING i"],
])
def test_a_transaction_is_one_more_than_its_statements(con, statements, end):
    assert requests(con, "BEGIN", *statements, end) == len(statements) + 1


DEFINITIONS = ["CREATE TABLE r.other (a INTEGER)", "CREATE SCHEMA r.own", "CREATE TABLE r.own.t (a INTEGER)",
               "CREATE TYPE r.own.mood AS ENUM ('low')", "CREATE MACRO r.own.plus(a) AS a + 1",
               "CREATE TABLE IF NOT EXISTS r.own.t (b INTEGER)", "CREATE VIEW r.w AS SELECT 1 AS x",
               "DROP TABLE IF EXISTS r.nothing", "DROP TABLE r.t"]


def test_definitions_in_a_row(con):
    assert requests(con, *DEFINITIONS) == len(DEFINITIONS)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_definitions_in_a_transaction(con, end):
    assert requests(con, "BEGIN", *DEFINITIONS, end) == len(DEFINITIONS) + 1


CHANGES = ["CREATE TABLE r.other (a INTEGER)", "INSERT INTO r.other VALUES (1)", "FROM r.t WHERE i = 7", "FROM r.other",
           "ALTER TABLE r.other ADD COLUMN b INTEGER DEFAULT 7", "SELECT b FROM r.other",
           "ALTER TABLE r.other RENAME COLUMN b TO c", "COMMENT ON TABLE r.other IS 'more'",
           "COMMENT ON COLUMN r.main.other.c IS 'x'", "CREATE UNIQUE INDEX ix ON r.other (a)",
           "INSERT INTO r.other VALUES (1, 2) ON CONFLICT (a) DO UPDATE SET c = 3", "DROP INDEX r.ix",
           "ALTER TABLE r.other RENAME TO another", "SELECT c FROM r.another", "DROP TABLE r.another"]


def test_definitions_come_with_the_answer(con):
    assert requests(con, *CHANGES) == len(CHANGES)


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_definitions_come_with_the_answer_in_a_transaction(con, end):
    changes = [sql for sql in CHANGES if not sql.startswith("DROP INDEX") and "another" not in sql]
    assert requests(con, "BEGIN", *changes, end) == len(changes) + 1


def test_a_view_asks_for_its_columns(con):
    assert requests(con, "CREATE VIEW r.w AS SELECT i FROM r.t", "FROM r.w", "FROM r.w") == 3 + 1


def test_a_transaction_that_asks_for_nothing_costs_nothing(con):
    assert requests(con, "BEGIN", "SELECT 42", "COMMIT") == 0


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_transaction_whose_first_statement_fails(con, end):
    con.execute("CREATE OR REPLACE TABLE r.k (i INTEGER PRIMARY KEY)")
    con.execute("INSERT INTO r.k VALUES (1)")
    con.execute("BEGIN")
    with pytest.raises(duckdb.ConstraintException):
        con.execute("INSERT INTO r.k VALUES (1)")
    try:
        con.execute(end)
    except duckdb.TransactionException:
        assert end == "COMMIT"    # nothing was committed, and it says so
    con.execute("BEGIN")
    con.execute("INSERT INTO r.k VALUES (2)")
    con.execute("COMMIT")
    assert con.execute("SELECT count(*) FROM r.k").fetchone()[0] == 2


def test_temporary_objects_outlive_a_failed_transaction(con):
    con.execute("CALL openduck_execute('r', 'CREATE TEMP TABLE mine AS SELECT 42 AS x')")
    con.execute("BEGIN")
    with pytest.raises(duckdb.Error):
        con.execute("FROM openduck_query('r', 'SELECT nothing FROM mine')")
    con.execute("ROLLBACK")
    assert con.execute("FROM openduck_query('r', 'SELECT x FROM mine')").fetchall() == [(42,)]
