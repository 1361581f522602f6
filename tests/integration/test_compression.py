"""Compression on the wire: the same rows as without, in fewer bytes, in both directions."""
import duckdb
import pytest
from conftest import TOKEN, connect

ROWS = """SELECT range AS n, 'value ' || range % 10 AS t, CASE WHEN range % 3 = 0 THEN NULL ELSE range % 7 END AS m,
          [range % 5, NULL] AS l, {'a': range % 2, 'b': 'x'} AS s FROM range(300000)"""


def attach(server, database, compression):
    con = connect()
    con.execute(f"ATTACH '{database}' AS r (TYPE openduck, ENDPOINT '{server.endpoint}', TOKEN '{TOKEN}', "
                f"COMPRESSION '{compression}')")
    return con


def traffic(con):
    return con.sql("SELECT bytes_received, bytes_sent FROM openduck_stats() WHERE catalog = 'r'").fetchone()


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_results_and_uploads_are_compressed(server, new_database, codec):
    database = new_database()
    plain, packed = attach(server, database, "none"), attach(server, database, codec)
    sent = {}
    for name, con in (("plain", plain), ("packed", packed)):
        con.execute(f"CREATE TEMP TABLE here AS {ROWS}")
        before = traffic(con)
        con.execute(f"CREATE TABLE r.{name} AS FROM here")
        con.execute(f"CREATE TEMP TABLE back AS FROM r.{name}")
        sent[name] = [after - earlier for after, earlier in zip(traffic(con), before)]
        assert con.sql("(FROM back EXCEPT ALL FROM here) UNION ALL (FROM here EXCEPT ALL FROM back)").fetchall() == []
        assert sent["plain"][0] > 1_000_000 and sent["plain"][1] > 1_000_000
    for direction in range(2):
        assert sent["packed"][direction] < sent["plain"][direction] / 2


def test_rows_of_a_write_are_compressed_too(server, new_database):
    con = attach(server, new_database(), "zstd")
    con.execute("CREATE TABLE r.t (n BIGINT, t VARCHAR)")
    rows = con.sql("INSERT INTO r.t SELECT range, 'same' FROM range(20000) RETURNING n, t").fetchall()
    assert sorted(rows) == [(n, "same") for n in range(20000)]


def test_an_unknown_codec_is_refused(server):
    with pytest.raises(duckdb.BinderException, match='none, lz4 or zstd, not "snappy"'):
        attach(server, "main", "snappy")
    done = server.run("sql", "SELECT 1", "--compression", "snappy")
    assert done.returncode != 0 and "none, lz4 or zstd" in done.stderr
    done = server.run("sql", "SELECT count(*) AS n FROM range(10)", "--compression", "lz4", "--format", "csv")
    assert done.stdout.split() == ["n", "10"]
