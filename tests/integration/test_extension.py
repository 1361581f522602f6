"""The extension in the stock Python wheel, against the real server."""
import threading
import time

import duckdb
import pytest

from conftest import connect


@pytest.fixture(scope="module")
def con(attach_empty):
    con = attach_empty("r")
    con.execute("CREATE TABLE r.t AS SELECT range AS i, range % 10 AS k, 'row ' || range AS s,"
                " CASE WHEN range % 7 = 0 THEN NULL ELSE range / 4 END AS d FROM range(100000)")
    con.execute("CREATE TEMP TABLE l AS SELECT range AS i, range % 10 AS k, 'row ' || range AS s,"
                " CASE WHEN range % 7 = 0 THEN NULL ELSE range / 4 END AS d FROM range(100000)")
    con.execute("CREATE TEMP TABLE one AS SELECT 1 AS x")
    return con


def received(con):
    return con.execute("SELECT bytes_received FROM openduck_stats() WHERE catalog = 'r'").fetchone()[0]


FILTERS = ["i = 5", "i IN (1, 2, 99999)", "i BETWEEN 10 AND 20", "s = 'row 77'", "s LIKE 'row 99%'", "d IS NULL", "d > 24990.5",
           "d < 1 OR i = 500", "NOT (k > 2) AND i < 100", "i % 1000 = 3", "lower(s) = 'row 8'", "d IS DISTINCT FROM NULL AND i < 9",
           "s > 'row 99990'", "i >= 99990 AND k = 3", "CASE WHEN i < 5 THEN k = 1 ELSE i = 7 END", "length(s) = 5",
           "i = (SELECT max(x) FROM one)", "k = 1 AND s IN (SELECT 'row ' || x FROM one)", "i::VARCHAR = '12'"]


@pytest.mark.parametrize("condition", FILTERS)
def test_filters_equal_local(con, condition):
    """Joined with a local table, so that the scan and not the whole statement goes to the server."""
    text = "SELECT i, k, s, d FROM {} , one WHERE " + condition + " ORDER BY ALL"
    assert con.execute(text.format("r.t")).fetchall() == con.execute(text.format("l")).fetchall()


def test_a_key_look_up_fetches_little(con):
    before = received(con)
    assert con.execute("SELECT s FROM r.t, one WHERE i = 4711").fetchall() == [("row 4711",)]
    assert received(con) - before < 20_000


def test_join_filter_reaches_the_server(con):
    """DuckDB's dynamic join filter becomes part of the text: few rows come over the wire."""
    con.execute("CREATE OR REPLACE TEMP TABLE keys AS SELECT unnest([5, 10, 15]) AS i")
    before = received(con)
    assert con.execute("SELECT count(*) FROM r.t JOIN keys USING (i)").fetchone() == (3,)
    assert received(con) - before < 50_000


def test_every_row_came_over_the_wire(con):
    """The shadow is empty: rows that were read were received. 100,000 BIGINTs are 800,000 bytes."""
    before = received(con)
    rows = con.execute("SELECT i FROM r.t, one").fetchall()
    assert len(rows) == 100000 and received(con) - before >= 800_000


def test_order_is_kept(con):
    assert con.execute("SELECT i FROM r.t").fetchall() == [(i,) for i in range(100000)]
    con.execute("CREATE OR REPLACE TEMP TABLE copied AS SELECT i FROM r.t")
    assert con.execute("SELECT i FROM copied").fetchall() == [(i,) for i in range(100000)]


def test_nothing_runs_at_bind(con):
    con.execute("CREATE OR REPLACE TABLE r.effects (i INTEGER)")
    con.execute("EXPLAIN INSERT INTO r.effects VALUES (1)").fetchall()
    con.execute("PREPARE p AS INSERT INTO r.effects VALUES (2)")
    con.execute("EXPLAIN SELECT * FROM openduck_query('r', 'INSERT INTO effects VALUES (3) RETURNING i')").fetchall()
    assert con.execute("SELECT count(*) FROM r.effects").fetchone() == (0,)
    con.execute("EXECUTE p")
    assert con.execute("SELECT * FROM r.effects").fetchall() == [(2,)]


def test_query_function(con):
    assert con.execute("SELECT * FROM openduck_query('r', 'SELECT 42 AS a, [1, NULL] AS b')").fetchall() == [(42, [1, None])]
    assert con.execute("SELECT sum(i) FROM openduck_query('r', 'SELECT i FROM t WHERE k = 3')").fetchone() == (
        con.execute("SELECT sum(i) FROM l WHERE k = 3").fetchone())
    with pytest.raises(duckdb.CatalogException, match="no_such"):
        con.execute("SELECT * FROM openduck_query('r', 'SELECT * FROM no_such')")


@pytest.mark.parametrize("sql, error, words", [
    ("SELECT * FROM r.no_such", duckdb.CatalogException, "no_such"),
    ("SELECT nope FROM r.t", duckdb.BinderException, "nope"),
    ("SELECT no_function(i) FROM r.t", duckdb.CatalogException, "no_function"),
    ("SELECT 'x'::INTEGER FROM r.t", duckdb.ConversionException, "Could not convert"),
    ("INSERT INTO r.t VALUES (1)", duckdb.BinderException, "columns"),
    ("SELEC 1", duckdb.ParserException, "syntax"),
    ("SELECT error('made') FROM r.t", duckdb.InvalidInputException, "made"),
])
def test_errors_have_their_class(con, sql, error, words):
    with pytest.raises(error, match=words):
        con.execute(sql).fetchall()
    assert con.execute("SELECT count(*) FROM r.t").fetchone() == (100000,)


def test_another_client_sees_changes_at_once(con, server):
    database = con.execute("SELECT database FROM openduck_stats() WHERE catalog = 'r'").fetchone()[0]
    other = server.attach("r", database)
    other.execute("CREATE TABLE r.late (x INTEGER)")
    time.sleep(0.2)  # what was learned of the server is too old to be trusted, also by what words an error
    assert con.execute("FROM r.late").fetchall() == []
    other.execute("DROP TABLE r.late")
    other.execute("CREATE TABLE r.late (x INTEGER, y INTEGER)")
    other.execute("INSERT INTO r.late VALUES (1, 2)")
    time.sleep(0.2)
    assert con.execute("FROM r.late").fetchall() == [(1, 2)]


def test_interrupt_stops_the_server(con, server):
    timer = threading.Timer(0.5, con.interrupt)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(duckdb.InterruptException):
        con.execute("SELECT count(*) FROM r.t a, r.t b WHERE a.i + b.i > 0 AND a.s <> b.s").fetchall()
    assert time.monotonic() - begin < 20
    time.sleep(0.5)
    before = server.cpu_s()
    time.sleep(1)
    assert server.cpu_s() - before < 0.5
    assert con.execute("SELECT 1 FROM r.t LIMIT 1").fetchall() == [(1,)]


def test_two_scans_see_one_snapshot(con, server):
    """While another client moves amounts between two tables, their sum over a join with a local table never changes."""
    database = con.execute("SELECT database FROM openduck_stats() WHERE catalog = 'r'").fetchone()[0]
    con.execute("CREATE OR REPLACE TABLE r.left_side AS SELECT 500 AS v")
    con.execute("CREATE OR REPLACE TABLE r.right_side AS SELECT 500 AS v")
    stop = threading.Event()

    def move():
        other = server.attach("r", database)
        while not stop.is_set():
            other.execute("BEGIN")
            other.execute("UPDATE r.left_side SET v = v - 1")
            other.execute("UPDATE r.right_side SET v = v + 1")
            other.execute("COMMIT")
    mover = threading.Thread(target=move)
    mover.start()
    try:
        for _ in range(30):
            assert con.execute("SELECT a.v + b.v FROM r.left_side a, r.right_side b, one").fetchone() == (1000,)
    finally:
        stop.set()
        mover.join()


def test_ways_to_attach(server, new_database, monkeypatch):
    name = new_database()
    con = connect()
    con.execute(f"ATTACH '{name}' AS a (TYPE openduck, ENDPOINT '{server.endpoint}', TOKEN '{server.token}')")
    con.execute("CREATE TABLE a.t AS SELECT 7 AS i")
    con.execute(f"ATTACH 'od:{name}?endpoint=http://{server.endpoint}&token={server.token}' AS b")
    assert con.execute("FROM b.t").fetchall() == [(7,)]
    con.execute(f"CREATE SECRET s (TYPE openduck, ENDPOINT '{server.endpoint}', TOKEN '{server.token}')")
    con.execute(f"ATTACH 'openduck:{name}' AS c")
    assert con.execute("SELECT a.i + b.i + c.i FROM a.t a, b.t b, c.t c").fetchall() == [(21,)]
    con.execute(f"ATTACH 'openduck:{name}?endpoint={server.endpoint}&token={server.token}' AS d (READ_ONLY)")
    with pytest.raises(duckdb.Error, match="(?i)read.only"):
        con.execute("INSERT INTO d.t VALUES (1)")
    con.execute("DETACH a")
    assert con.execute("FROM b.t").fetchall() == [(7,)]
    monkeypatch.setenv("OPENDUCK_ENDPOINT", server.endpoint)
    monkeypatch.setenv("OPENDUCK_TOKEN", server.token)
    fresh = connect()
    fresh.execute(f"ATTACH 'openduck:{name}' AS e")
    assert fresh.execute("FROM e.t").fetchall() == [(7,)]


def test_two_servers_in_one_query(server, new_database, start_server):
    second = start_server()
    con = server.attach("a", new_database())
    second.attach("b", con=con)
    con.execute("CREATE TABLE a.t AS SELECT range AS i FROM range(100)")
    con.execute("CREATE TABLE b.t AS SELECT i * 2 AS i FROM a.t")
    assert con.execute("SELECT count(*) FROM a.t JOIN b.t USING (i)").fetchone() == (50,)


@pytest.mark.parametrize("uri, words", [
    ("openduck:no_such_database?endpoint={e}&token={t}", "no_such_database"),
    ("openduck:main?endpoint={e}&token=wrong", "token"),
    ("openduck:main?endpoint={e}", "token"),
    ("openduck:main?endpoint=127.0.0.1:1&token=x", "127.0.0.1:1"),
])
def test_attach_errors(server, uri, words):
    with pytest.raises(duckdb.Error, match=words):
        con = connect()
        con.execute(f"ATTACH '{uri.format(e=server.endpoint, t=server.token)}' AS x")
        con.execute("FROM x.t")


def test_a_restarted_server_gives_one_error_in_a_transaction(start_server):
    server = start_server()
    con = server.attach("r")
    con.execute("CREATE TABLE r.t AS SELECT 1 AS i")
    con.execute("BEGIN")
    con.execute("INSERT INTO r.t VALUES (2)")
    server.kill()
    server.start()
    with pytest.raises(duckdb.Error):
        con.execute("INSERT INTO r.t VALUES (3)")
    con.execute("ROLLBACK")
    assert con.execute("FROM r.t").fetchall() == [(1,)]
    con.execute("INSERT INTO r.t VALUES (4)")
    assert con.execute("FROM r.t ORDER BY 1").fetchall() == [(1,), (4,)]


def test_frames_go_up(con):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"i": [1, 2, 3], "s": ["a", None, "c"]})
    con.register("frame", frame)
    con.execute("CREATE OR REPLACE TABLE r.f AS SELECT * FROM frame")
    assert con.execute("FROM r.f ORDER BY i").fetchall() == [(1, "a"), (2, None), (3, "c")]
    con.executemany("INSERT INTO r.f VALUES (?, ?)", [(4, "d"), (5, None)])
    assert con.execute("SELECT count(*), count(s) FROM r.f").fetchone() == (5, 3)
    assert con.execute("SELECT s FROM r.f WHERE i = ?", [4]).fetchall() == [("d",)]
