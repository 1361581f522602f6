"""EXPLAIN of statements on an attached database; files of this side written from rows of the server."""
import json


def test_explain_shows_the_servers_plan(attach_empty):
    con = attach_empty("r")
    con.execute("USE r; CREATE TABLE t AS SELECT range AS i, range % 7 AS g FROM range(1000)")
    for _ in range(2):
        text = con.execute("EXPLAIN SELECT g, sum(i) FROM t WHERE i > 5 GROUP BY g").fetchone()[1]
        assert text.index("OPENDUCK") < text.index("HASH_GROUP_BY") < text.index("SEQ_SCAN")
    analyzed = con.execute("EXPLAIN ANALYZE SELECT g, sum(i) FROM t GROUP BY g").fetchone()
    assert analyzed[0] == "analyzed_plan" and "OPENDUCK" in analyzed[1] and "1000 rows" in analyzed[1].replace(",", "")
    plan = json.loads(con.execute("EXPLAIN (FORMAT JSON) SELECT sum(i) FROM t").fetchone()[1])
    assert "SEQ_SCAN" in json.dumps(plan)


def test_explain_has_no_effect_and_explain_analyze_has(attach_empty):
    con = attach_empty("r")
    con.execute("USE r; CREATE TABLE t (i INTEGER)")
    assert "INSERT" in con.execute("EXPLAIN INSERT INTO t VALUES (1)").fetchone()[1]
    assert con.execute("SELECT count(*) FROM t").fetchone() == (0,)
    con.execute("EXPLAIN ANALYZE INSERT INTO t VALUES (1)").fetchall()
    assert con.execute("SELECT count(*) FROM t").fetchone() == (1,)


def test_copy_uses_files_of_this_side(attach_empty, tmp_path):
    con = attach_empty("r")
    con.execute("USE r; CREATE TABLE t AS SELECT range AS i, range::VARCHAR AS s FROM range(20000)")
    for kind in ("csv", "parquet", "json"):
        file = tmp_path / f"rows.{kind}"
        con.execute(f"COPY t TO '{file}' (FORMAT {kind})")
        con.execute(f"CREATE OR REPLACE TABLE back (i BIGINT, s VARCHAR); COPY back FROM '{file}' (FORMAT {kind})")
        assert con.execute("SELECT count(*) FROM (FROM t EXCEPT FROM back)").fetchone() == (0,)
        assert con.execute("SELECT count(*) FROM back").fetchone() == (20000,)
        con.execute(f"INSERT INTO back SELECT i + 100000, s FROM '{file}' WHERE i < 10")
        con.execute(f"UPDATE back SET s = 'new' FROM '{file}' f WHERE f.i + 100000 = back.i")
        assert con.execute("SELECT count(*) FROM back WHERE s = 'new'").fetchone() == (10,)
        con.execute(f"DELETE FROM back USING '{file}' f WHERE f.i = back.i")
        assert con.execute("SELECT count(*) FROM back").fetchone() == (10,)
    con.execute("SET threads = 4")
    con.execute(f"COPY (FROM t UNION ALL FROM t) TO '{tmp_path}/each' (FORMAT parquet, PER_THREAD_OUTPUT)")
    assert con.execute(f"SELECT count(*) FROM '{tmp_path}/each/*.parquet'").fetchone() == (40000,)
    assert len(list((tmp_path / "each").iterdir())) > 1
