"""The past of a database: attached as it was, and AT in a query."""
import datetime
import time

import duckdb
import pytest


def moment():
    """Between what was committed before and what is after."""
    time.sleep(0.1)
    now = datetime.datetime.now(datetime.timezone.utc)
    time.sleep(0.1)
    return now


def text(when):
    return when.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Past:
    """A database whose t had ten rows at `ten`, and at `eleven` another column and one row more."""

    def __init__(self, server, name):
        self.server, self.name = server, name
        self.con = con = server.attach("r", name)
        con.execute("CREATE TYPE r.mood AS ENUM ('low', 'high')")
        con.execute("CREATE TABLE r.t AS SELECT range::INTEGER AS i, 'low'::r.mood AS m FROM range(10)")
        con.execute("CREATE VIEW r.v AS SELECT sum(i) AS total FROM t")
        con.execute("CREATE TABLE r.gone AS SELECT 42 AS x")
        self.ten = moment()
        con.execute("ALTER TABLE r.t ADD COLUMN s VARCHAR DEFAULT 'new'")
        con.execute("INSERT INTO r.t VALUES (10, 'high', 'newer')")
        con.execute("DROP TABLE r.gone")
        con.execute("CREATE TABLE r.young AS SELECT 1 AS y")
        self.eleven = moment()
        con.execute("DELETE FROM r.t WHERE i < 5")

    def attach(self, selector=None, alias="past"):
        self.con.execute(f"ATTACH 'openduck:{self.name}?endpoint={self.server.endpoint}&token={self.server.token}"
                         f"&snapshot={selector or text(self.ten)}' AS {alias}")
        return self.con

    def query(self, sql):
        """@ten and @eleven stand for AT clauses."""
        for name in ("ten", "eleven"):
            sql = sql.replace("@" + name, f"AT (TIMESTAMP => TIMESTAMPTZ '{getattr(self, name).isoformat()}')")
        return self.con.execute(sql)


@pytest.fixture(scope="module")
def shared(server, new_database):
    return Past(server, new_database())


@pytest.fixture
def past(shared):
    yield shared
    for alias in ("past", "other"):
        shared.con.execute(f"DETACH DATABASE IF EXISTS {alias}")


# ---- attached as it was

def test_attached_as_it_was(past):
    con = past.attach()
    assert con.execute("SELECT count(*), sum(i) FROM past.t").fetchone() == (10, 45)
    assert con.execute("SELECT column_name FROM (DESCRIBE past.t)").fetchall() == [("i",), ("m",)]
    assert con.execute("FROM past.v").fetchall() == [(45,)]
    assert con.execute("FROM past.gone").fetchall() == [(42,)]
    with pytest.raises(duckdb.CatalogException, match="young"):
        con.execute("FROM past.young")
    assert con.execute("SELECT count(*) FROM past.t JOIN r.t USING (i)").fetchone() == (5,)
    assert con.execute("FROM openduck_query('past', 'SELECT count(*) FROM t')").fetchone() == (10,)


def test_the_past_in_a_transaction(past):
    con = past.attach()
    con.execute("BEGIN")
    assert con.execute("SELECT count(*) FROM past.t").fetchone() == (10,)
    con.execute("INSERT INTO r.young SELECT count(*) FROM past.t")
    assert con.execute("SELECT count(*) FROM past.t, r.young").fetchone() == (20,)
    con.execute("ROLLBACK")
    assert con.execute("SELECT count(*) FROM past.t, r.young").fetchone() == (10,)


@pytest.mark.parametrize("statement", [
    "INSERT INTO past.t VALUES (1, 'low')", "UPDATE past.t SET i = 1", "DELETE FROM past.t", "DROP TABLE past.t",
    "CREATE TABLE past.n (i INTEGER)", "ALTER TABLE past.t ADD COLUMN x INTEGER",
    "CREATE TABLE past.n AS SELECT 1 AS i", "CALL openduck_execute('past', 'DELETE FROM t')"])
def test_the_past_does_not_change(past, statement):
    con = past.attach()
    with pytest.raises(duckdb.Error, match="past.*(read-only|as it was)|as it was"):
        con.execute(statement)
    assert con.execute("SELECT count(*) FROM past.t").fetchone() == (10,)


def test_a_snapshot_that_is_not_there(past):
    with pytest.raises(duckdb.Error, match="nine"):
        past.attach("nine")
    with pytest.raises(duckdb.Error, match="nine"):
        past.con.execute("FROM r.t AT (VERSION => 'nine')")


# ---- AT in a query

@pytest.mark.parametrize("query, expected", [
    ("SELECT count(*), sum(i) FROM r.t @ten", [(10, 45)]),
    ("SELECT * FROM r.t @ten WHERE i = 7", [(7, "low")]),
    ("SELECT t.m, count(*) FROM (FROM r.t @ten) t GROUP BY ALL", [("low", 10)]),
    ("FROM r.v @ten", [(45,)]),
    ("FROM r.v", [(45,)]),
    ("FROM r.v @eleven", [(55,)]),
    ("FROM r.gone @ten", [(42,)]),
    ("SELECT i, s FROM r.t ANTI JOIN (FROM r.t @ten) old USING (i)", [(10, "newer")]),
    ("SELECT count(*) FROM (FROM r.t @ten) a FULL JOIN (FROM r.t @eleven) b USING (i)", [(11,)]),
    ("SELECT (SELECT count(*) FROM r.t @ten), (SELECT count(*) FROM r.t)", [(10, 6)]),
    ("WITH old AS (FROM r.t @ten) SELECT max(i) FROM old WHERE i IN (SELECT i FROM r.t)", [(9,)]),
    ("SELECT i FROM r.t @ten EXCEPT SELECT i FROM r.t ORDER BY i", [(0,), (1,), (2,), (3,), (4,)]),
    ("SELECT i FROM r.t @ten ORDER BY i DESC LIMIT 2", [(9,), (8,)]),
])
def test_at(past, query, expected):
    assert past.query(query).fetchall() == expected


def test_at_a_time(past):
    con = past.con
    for zone in ("UTC", "Asia/Tokyo"):
        con.execute(f"SET TimeZone = '{zone}'")
        con.execute("SET VARIABLE moment = ?::TIMESTAMPTZ", [past.ten.isoformat()])
        local = con.execute("SELECT getvariable('moment')::TIMESTAMP::VARCHAR").fetchone()[0]
        for text in (f"'{past.ten.isoformat()}'", f"TIMESTAMPTZ '{past.ten.isoformat()}'", f"TIMESTAMP '{local}'",
                     "getvariable('moment')"):
            assert con.execute(f"SELECT count(*) FROM r.t AT (TIMESTAMP => {text})").fetchone() == (10,), (zone, text)
    con.execute("RESET TimeZone")


def test_the_past_is_written_into_the_present(past):
    con = past.con
    past.query("CREATE OR REPLACE TABLE r.copy AS FROM r.t @ten")
    assert con.execute("SELECT count(*), sum(i) FROM r.copy").fetchone() == (10, 45)
    con.execute("DELETE FROM r.copy WHERE i < 3")
    past.query("INSERT INTO r.copy FROM r.t @ten WHERE i < 3")
    past.query("UPDATE r.copy SET m = 'high' FROM (FROM r.t @eleven) e WHERE e.i = copy.i AND e.i = 9")
    assert con.execute("SELECT count(*), sum(i), count(*) FILTER (m = 'high') FROM r.copy").fetchone() == (10, 45, 1)
    past.query("CREATE OR REPLACE TEMP TABLE here AS FROM r.t @ten")
    assert con.execute("SELECT count(*) FROM here JOIN r.copy USING (i)").fetchone() == (10,)


def test_at_in_a_transaction_and_again(past):
    con = past.con
    past.query("PREPARE old AS SELECT count(*) FROM r.t @ten WHERE i >= $1")
    con.execute("BEGIN")
    con.execute("DELETE FROM r.t")
    assert past.query("SELECT (SELECT count(*) FROM r.t), (SELECT count(*) FROM r.t @ten)"
                       ).fetchone() == (0, 10)
    assert con.execute("EXECUTE old(5)").fetchone() == (5,)
    con.execute("ROLLBACK")
    assert con.execute("EXECUTE old(0)").fetchone() == (10,)
    assert past.query("EXPLAIN SELECT * FROM r.t @ten").fetchall()


@pytest.mark.parametrize("clause, message", [
    ("VERSION => NULL", "NULL"), ("TIMESTAMP => NULL", "NULL"), ("BRANCH => 'x'", "branch"),
    ("TIMESTAMP => 'infinity'::TIMESTAMP", "infinity"), ("TIMESTAMP => 'soon'", "soon"),
    ("TIMESTAMP => '2020-01-01'", "as old as that"),
])
def test_what_at_refuses(past, clause, message):
    with pytest.raises(duckdb.Error, match=f"(?i){message}"):
        past.con.execute(f"FROM r.t AT ({clause})")


def test_what_was_not_there_then(past):
    with pytest.raises(duckdb.CatalogException, match="young"):
        past.query("FROM r.young @ten")
    with pytest.raises(duckdb.BinderException, match="s"):
        past.query("SELECT s FROM r.t @ten")


def test_by_a_snapshots_name(start_server):
    server = start_server()
    con = server.attach()
    con.execute("CREATE TABLE r.t AS SELECT 1 AS i")
    assert server.run("snapshot", "create", "main", "--name", "before").returncode == 0
    con.execute("UPDATE r.t SET i = 2")
    con.execute("ALTER TABLE r.t ADD COLUMN j INTEGER")
    assert con.execute("FROM r.t AT (VERSION => 'before')").fetchall() == [(1,)]
    assert con.execute("SELECT n.i, b.i FROM r.t AS n, r.t AS b AT (VERSION => 'before')").fetchall() == [(2, 1)]
    con.execute(f"ATTACH 'openduck:main?endpoint={server.endpoint}&token={server.token}&snapshot=before' AS past")
    assert con.execute("FROM past.t").fetchall() == [(1,)]
    with pytest.raises(duckdb.Error, match="read-only"):
        con.execute("INSERT INTO past.t VALUES (3)")
    with pytest.raises(duckdb.Error, match="before"):  # the nearest ones are named
        con.execute("FROM r.t AT (VERSION => 'nothing')")
    server.kill()
    server.start()
    assert con.execute("FROM past.t").fetchall() == [(1,)]
    assert con.execute("FROM r.t AT (VERSION => 'before')").fetchall() == [(1,)]
    assert con.execute("FROM r.t").fetchall() == [(2, None)]
