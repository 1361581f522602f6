"""Transactions and sessions of the attached database when the server, or the other side, does not play along."""
import time

import duckdb
import pytest



def test_an_idle_transaction_ends_with_one_clear_error(start_server):
    server = start_server("--transaction-timeout", "1s")
    con = server.attach()
    con.execute("CREATE TABLE r.t (i INTEGER)")
    con.execute("BEGIN")
    con.execute("INSERT INTO r.t VALUES (1)")
    time.sleep(2.6)
    with pytest.raises(duckdb.Error, match="idle.*rolled back"):
        con.execute("INSERT INTO r.t VALUES (2)")
    con.execute("ROLLBACK")
    assert con.execute("SELECT count(*) FROM r.t").fetchone() == (0,)
    con.execute("BEGIN")
    con.execute("INSERT INTO r.t VALUES (3)")
    con.execute("COMMIT")
    assert con.execute("FROM r.t").fetchall() == [(3,)]


def test_an_idle_session_without_state_is_not_missed(start_server):
    server = start_server("--session-timeout", "1s", "--transaction-timeout", "1s")
    con = server.attach()
    con.execute("CREATE TABLE r.t (i INTEGER)")
    for i in range(2):
        con.execute("BEGIN")
        con.execute(f"INSERT INTO r.t VALUES ({i})")
        con.execute("COMMIT")
        time.sleep(2.6)
    assert con.execute("SELECT count(*) FROM r.t").fetchone() == (2,)


def test_lost_temporary_objects_are_said_once(start_server):
    server = start_server("--session-timeout", "1s", "--transaction-timeout", "1s")
    con = server.attach()
    con.execute("CALL openduck_execute('r', 'CREATE TEMP TABLE mine AS SELECT 42 AS x')")
    time.sleep(2.6)
    with pytest.raises(duckdb.Error, match="session"):
        con.execute("FROM openduck_query('r', 'SELECT x FROM mine')")
    with pytest.raises(duckdb.CatalogException, match="mine"):
        con.execute("FROM openduck_query('r', 'SELECT x FROM mine')")
    assert con.execute("FROM openduck_query('r', 'SELECT 1')").fetchall() == [(1,)]


@pytest.mark.parametrize("end", ["COMMIT", "ROLLBACK"])
def test_a_server_that_restarts_in_mid_transaction(start_server, end):
    server = start_server()
    con = server.attach()
    con.execute("CREATE TABLE r.t (i INTEGER)")
    con.execute("BEGIN")
    con.execute("INSERT INTO r.t VALUES (1)")
    server.kill()
    server.start()
    if end == "ROLLBACK":
        with pytest.raises(duckdb.Error, match="rolled back"):
            con.execute("INSERT INTO r.t VALUES (2)")
        con.execute("ROLLBACK")
    else:
        with pytest.raises(duckdb.Error, match="rolled back"):
            con.execute("COMMIT")
    assert con.execute("SELECT count(*) FROM r.t").fetchone() == (0,)
    con.execute("BEGIN")
    con.execute("INSERT INTO r.t VALUES (3)")
    con.execute("COMMIT")
    assert con.execute("FROM r.t").fetchall() == [(3,)]


def test_two_servers_in_one_transaction(start_server):
    con = start_server().attach("a")
    start_server().attach("b", con=con)
    for alias in "ab":
        con.execute(f"CREATE TABLE {alias}.t AS SELECT 1 AS i")
    con.execute("BEGIN")
    con.execute("INSERT INTO a.t SELECT i + 1 FROM b.t")
    with pytest.raises(duckdb.TransactionException, match="single attached database"):
        con.execute("INSERT INTO b.t VALUES (9)")
    con.execute("ROLLBACK")
    assert con.execute("SELECT (SELECT count(*) FROM a.t), (SELECT count(*) FROM b.t)").fetchall() == [(1, 1)]
    con.execute("BEGIN")
    assert con.execute("SELECT count(*) FROM a.t JOIN b.t USING (i)").fetchone() == (1,)
    con.execute("INSERT INTO b.t SELECT i + 1 FROM a.t")
    con.execute("COMMIT")
    assert con.execute("FROM b.t ORDER BY ALL").fetchall() == [(1,), (2,)]


def test_a_prepared_statement_over_a_table_that_another_has_changed(server, new_database):
    name = new_database()
    con, other = server.attach("r", name), server.attach("r", name)
    con.execute("CREATE TABLE r.t AS SELECT 1 AS i")
    con.execute("PREPARE all_of AS SELECT * FROM r.t WHERE i >= ?")
    assert con.execute("EXECUTE all_of(0)").fetchall() == [(1,)]
    other.execute("ALTER TABLE r.t ADD COLUMN s VARCHAR DEFAULT 'new'")
    assert answer(con, "EXECUTE all_of(0)") == [(1, "new")]
    other.execute("DROP TABLE r.t")
    with pytest.raises(duckdb.Error, match="t"):
        answer(con, "EXECUTE all_of(0)")
    other.execute("CREATE TABLE r.t AS SELECT 7 AS i")
    assert answer(con, "EXECUTE all_of(0)") == [(7,)]


def answer(con, statement):
    """A statement planned before another client's change may fail once, and says so."""
    try:
        return con.execute(statement).fetchall()
    except duckdb.TransactionException as error:
        assert "run it again" in str(error)
        return con.execute(statement).fetchall()


def test_conflicting_writers_get_duckdbs_error(server, new_database):
    name = new_database()
    con, other = server.attach("r", name), server.attach("r", name)
    con.execute("CREATE TABLE r.t AS SELECT 1 AS i")
    con.execute("BEGIN")
    con.execute("UPDATE r.t SET i = 2")
    other.execute("BEGIN")
    with pytest.raises(duckdb.TransactionException, match="Conflict on update"):
        other.execute("UPDATE r.t SET i = 3")
    other.execute("ROLLBACK")
    con.execute("COMMIT")
    assert other.execute("FROM r.t").fetchall() == [(2,)]


def test_a_transaction_keeps_its_snapshot(server, new_database):
    name = new_database()
    con, other = server.attach("r", name), server.attach("r", name)
    con.execute("CREATE TABLE r.t AS SELECT 1 AS i")
    con.execute("BEGIN")
    assert con.execute("SELECT count(*) FROM r.t").fetchone() == (1,)
    other.execute("INSERT INTO r.t VALUES (2)")
    assert con.execute("SELECT count(*) FROM r.t").fetchone() == (1,)
    con.execute("COMMIT")
    assert con.execute("SELECT count(*) FROM r.t").fetchone() == (2,)
