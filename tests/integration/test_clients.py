"""What clients do beside SQL text: frames, parameters, executemany, relations, the Appender, whole databases copied."""
import ctypes
import datetime
import decimal
import shutil
import uuid
from pathlib import Path

import duckdb
import numpy
import pandas
import pyarrow
import pytest

from conftest import ROOT, extension_file


@pytest.fixture
def con(attach_empty):
    con = attach_empty("r")
    con.execute("USE r")
    return con


FRAME = pandas.DataFrame({"i": range(5), "s": [None, "a", "b", "c", "d"],
                          "d": pandas.date_range("2024-01-01", periods=5)})
ARROW = pyarrow.table({"i": [1, 2, 3], "l": [[1], [2, 3], None], "m": [{"a": 1}, None, {"a": 3}]})


# ---- frames

def test_frames_become_tables_and_rows(con):
    frame, arrow = FRAME, ARROW    # found by name
    con.execute("CREATE TABLE f AS FROM frame")
    con.execute("INSERT INTO f SELECT i + 10, s, d FROM frame")
    con.execute("CREATE TABLE a AS FROM arrow")
    con.execute("INSERT INTO a FROM arrow")
    assert con.execute("SELECT count(*), sum(i), count(s) FROM f").fetchone() == (10, 70, 8)
    assert con.execute("SELECT * FROM a ORDER BY i LIMIT 2").fetchall() == [(1, [1], {"a": 1})] * 2
    assert con.execute("FROM f WHERE i < 5 ORDER BY i").df().equals(con.execute("FROM frame ORDER BY i").df())
    assert con.execute("SELECT i, l FROM a ORDER BY ALL").to_arrow_table().equals(
        con.execute("SELECT i, l FROM arrow UNION ALL SELECT i, l FROM arrow ORDER BY ALL").to_arrow_table())


def test_frames_are_joined_and_written_from(con):
    con.register("frame", FRAME)
    con.execute("CREATE TABLE f AS FROM frame")
    assert con.execute("SELECT count(*) FROM f JOIN frame USING (i) WHERE f.s = frame.s").fetchone() == (4,)
    con.execute("UPDATE f SET s = frame.s || '!' FROM frame WHERE f.i = frame.i AND f.i > 2")
    assert con.execute("SELECT s FROM f WHERE i > 1 ORDER BY i").fetchall() == [("b",), ("c!",), ("d!",)]
    con.execute("DELETE FROM f WHERE i IN (SELECT i FROM frame WHERE i < 2)")
    con.execute("MERGE INTO f USING frame ON f.i = frame.i WHEN MATCHED THEN UPDATE SET s = frame.s "
                "WHEN NOT MATCHED THEN INSERT VALUES (frame.i, frame.s, frame.d)")
    assert con.execute("FROM f ORDER BY i").fetchall() == con.execute("FROM frame ORDER BY i").fetchall()
    con.append("f", FRAME)
    assert con.execute("SELECT count(*) FROM f").fetchone() == (10,)


def test_a_frame_survives_the_journey(con):
    """Through the server and back it is what a local table would have made of it."""
    frame = pandas.DataFrame({
        "b": [True, False, None], "f": [1.5, float("nan"), float("inf")], "n": numpy.array([1, 2, 3], dtype="int8"),
        "t": pandas.to_datetime(["2024-01-01 00:00:00.123456", None, "1969-12-31 00:00:00.5"]),
        "z": pandas.to_datetime(["2024-01-01", "2024-06-01", None]).tz_localize("Europe/Paris"),
        "d": pandas.to_timedelta(["1 days", "2 hours", None]), "c": pandas.Categorical(["x", "y", "x"]),
        "o": [[1, 2], None, []], "u": [uuid.UUID(int=5)] * 3})
    for name in ("r.main.back", "memory.main.back"):
        con.execute(f"CREATE TABLE {name} AS FROM frame")
    assert con.execute("FROM r.main.back").to_arrow_table().equals(con.execute("FROM memory.main.back").to_arrow_table())
    assert con.execute("DESCRIBE r.main.back").fetchall() == con.execute("DESCRIBE memory.main.back").fetchall()


def test_relations(con):
    made = con.from_df(FRAME)
    made.create("made")
    made.insert_into("made")
    table = con.table("made")
    assert table.filter("i > 3").order("i").fetchall() == [(4, "d", datetime.datetime(2024, 1, 5))] * 2
    assert table.aggregate("count(*), sum(i)").fetchall() == [(10, 20)]
    table.insert([9, "x", datetime.datetime(2024, 1, 1)])
    con.sql("SELECT 10 AS i, 'y' AS s, NULL::TIMESTAMP AS d").insert_into("made")
    assert con.sql("SELECT count(*) FROM made WHERE i >= 9").fetchall() == [(2,)]
    assert table.join(con.from_df(FRAME).set_alias("f"), "i").count("i").fetchall() == [(10,)]


def test_relations_between_two_databases(con, tmp_path):
    """Relations over the attached and a local database, written from one into the other, by qualified names."""
    csv = tmp_path / "rows.csv"
    csv.write_text("i,s\n1,one\n2,two\n3,\n")
    con.read_csv(str(csv)).to_table("r.main.t")
    con.sql("CREATE TABLE memory.main.local (i BIGINT, s VARCHAR)")
    con.table("r.main.t").filter("i > 1").insert_into("memory.main.local")
    con.table("memory.main.local").insert_into("r.main.t")
    assert con.table("r.main.t").order("i, s").fetchall() == [(1, "one"), (2, "two"), (2, "two"), (3, None), (3, None)]
    con.table("r.main.t").filter("s IS NOT NULL").project("i, upper(s) AS u").create("r.main.copied")
    con.table("r.main.t").aggregate("s, count(*) AS n", "s").create_view("totals")
    assert con.view("totals").filter("n = 2").order("s").fetchall() == [("two", 2), (None, 2)]
    assert con.table("r.main.copied").union(con.sql("SELECT 9::BIGINT, 'L'")).order("i").fetchall() == \
        [(1, "ONE"), (2, "TWO"), (2, "TWO"), (9, "L")]
    assert con.table("r.main.copied").except_(con.table("r.main.copied").limit(0)).count("*").fetchall() == [(3,)]
    con.table("r.main.t").update({"s": duckdb.ConstantExpression("none")}, condition=duckdb.ColumnExpression("s").isnull())
    con.from_arrow(ARROW).project("i, 'arrow' AS s").insert_into("r.main.t")
    assert con.table("r.main.t").aggregate("count(*), count(s), count(DISTINCT s)").fetchall() == [(8, 8, 4)]
    con.table("r.main.t").write_csv(str(csv))
    assert con.sql(f"SELECT count(*) FROM '{csv}'").fetchall() == [(8,)]
    assert con.table("r.main.t").describe().fetchall()[0][:2] == ("count", 8.0)


# ---- parameters

PARAMETERS = [
    True, 7, -2**63, 2**100, 1.5, "text with ' and \0"[:16], b"\x00\xff", decimal.Decimal("12.345"),
    datetime.date(2024, 2, 29), datetime.time(1, 2, 3, 4), datetime.datetime(2024, 1, 1, 12, 0, 0, 5),
    datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc), datetime.timedelta(days=3, seconds=4),
    uuid.UUID(int=7), [1, 2, None], ["a", None], {"a": 1, "b": "x"}, None,
]


@pytest.mark.parametrize("value", PARAMETERS, ids=lambda value: type(value).__name__)
def test_parameters_of_every_type(con, value):
    found = []
    for table in ("r.main.t", "memory.main.t"):
        con.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT ? AS v", [value])
        found.append(con.execute(f"SELECT v::VARCHAR, typeof(v), v IS NOT DISTINCT FROM ? FROM {table}",
                                 [value]).fetchall())
    assert found[0] == found[1]
    for _ in range(3):
        con.execute("INSERT INTO t VALUES ($v)", {"v": value})
    assert con.execute("SELECT count(*) FROM t WHERE v IS NOT DISTINCT FROM $1", [value]).fetchone() == (4,)


def test_prepared_statements_run_again_and_again(con):
    con.execute("CREATE TABLE t (i INTEGER, s VARCHAR)")
    con.execute("PREPARE put AS INSERT INTO t VALUES ($1, $2)")
    con.execute("PREPARE find AS SELECT s FROM t WHERE i = $1 ORDER BY s")
    con.execute("PREPARE change AS UPDATE t SET s = $2 WHERE i = $1 RETURNING i")
    for i in range(5):
        con.execute(f"EXECUTE put({i}, 'row {i}')")
        assert con.execute(f"EXECUTE find({i})").fetchall() == [(f"row {i}",)]
        assert con.execute(f"EXECUTE change({i}, 'new {i}')").fetchall() == [(i,)]
        assert con.execute(f"EXECUTE find({i})").fetchall() == [(f"new {i}",)]
    con.execute("DEALLOCATE put")
    assert con.execute("SELECT count(*) FROM t").fetchone() == (5,)


def test_executemany(con):
    con.execute("CREATE TABLE t (i INTEGER PRIMARY KEY, s VARCHAR)")
    con.executemany("INSERT INTO t VALUES (?, ?)", [(i, str(i)) for i in range(20)])
    con.executemany("UPDATE t SET s = ? WHERE i = ?", [(str(2 * i), i) for i in range(20)])
    con.executemany("DELETE FROM t WHERE i = $i", [{"i": i} for i in range(5)])
    assert con.execute("SELECT count(*), sum(s::INTEGER) FROM t").fetchone() == (15, 360)
    with pytest.raises(duckdb.ConstraintException):
        con.executemany("INSERT INTO t VALUES (?, ?)", [(100, "a"), (100, "b"), (101, "c")])
    assert con.execute("SELECT count(*) FROM t WHERE i >= 100").fetchone()[0] in (0, 1)


# ---- the Appender, which only C and its bindings have

class CLibrary:
    def __init__(self):
        self.lib = ctypes.CDLL(str(ROOT / ".deps/duckdb/lib/libduckdb.so"))
        for name in ("duckdb_appender_error",):
            getattr(self.lib, name).restype = ctypes.c_char_p
        self.db, self.con = ctypes.c_void_p(), ctypes.c_void_p()
        config = ctypes.c_void_p()
        assert self.lib.duckdb_create_config(ctypes.byref(config)) == 0
        assert self.lib.duckdb_set_config(config, b"allow_unsigned_extensions", b"true") == 0
        assert self.lib.duckdb_open_ext(None, ctypes.byref(self.db), config, None) == 0
        self.lib.duckdb_destroy_config(ctypes.byref(config))
        assert self.lib.duckdb_connect(self.db, ctypes.byref(self.con)) == 0

    def query(self, sql):
        assert self.lib.duckdb_query(self.con, sql.encode(), None) == 0, sql

    def close(self):
        self.lib.duckdb_disconnect(ctypes.byref(self.con))
        self.lib.duckdb_close(ctypes.byref(self.db))


def test_the_appender(server, new_database):
    name = new_database()
    check = server.attach("r", name)
    check.execute("CREATE TABLE r.t (i INTEGER PRIMARY KEY, s VARCHAR DEFAULT 'none')")
    c = CLibrary()
    c.query(f"LOAD '{extension_file()}'")
    c.query(f"ATTACH 'openduck:{name}?endpoint={server.endpoint}&token={server.token}' AS r")

    def append(rows):
        appender = ctypes.c_void_p()
        assert c.lib.duckdb_appender_create_ext(c.con, b"r", b"main", b"t", ctypes.byref(appender)) == 0
        for i, s in rows:
            assert c.lib.duckdb_append_int32(appender, i) == 0
            assert (c.lib.duckdb_append_varchar(appender, s) if s else c.lib.duckdb_append_default(appender)) == 0
            assert c.lib.duckdb_appender_end_row(appender) == 0
        failed = c.lib.duckdb_appender_flush(appender) != 0
        message = c.lib.duckdb_appender_error(appender)
        c.lib.duckdb_appender_destroy(ctypes.byref(appender))
        return message if failed else None

    try:
        assert append([(i, b"row") for i in range(3000)]) is None
        assert append([(3000, None)]) is None
        assert b"onstraint" in append([(5000, b"x"), (5000, b"y")])
        c.query("BEGIN")
        assert append([(6000, b"x")]) is None
        c.query("ROLLBACK")
    finally:
        c.close()
    assert check.execute("SELECT count(*), max(i), max(s) FROM r.t").fetchone() == (3001, 3000, "row")
    assert check.execute("SELECT s FROM r.t WHERE i = 3000").fetchone() == ("none",)


# ---- whole databases

DATABASE = """
    CREATE SCHEMA s;
    CREATE TYPE mood AS ENUM ('low', 'high');
    CREATE SEQUENCE q START 7;
    CREATE TABLE p (i INTEGER PRIMARY KEY, m mood, x INTEGER DEFAULT nextval('q'), g INTEGER AS (i + 1), CHECK (i > 0));
    CREATE TABLE s.c (i INTEGER, "a name" VARCHAR COLLATE NOCASE);
    CREATE INDEX ix ON s.c ("a name");
    CREATE VIEW v AS SELECT i, m FROM p;
    CREATE MACRO plus(a, b := 2) AS a + b;
    CREATE MACRO above(n) AS TABLE SELECT * FROM p WHERE i > n;
    COMMENT ON TABLE p IS 'first';
    COMMENT ON COLUMN p.m IS 'how one feels';
    INSERT INTO p (i, m) VALUES (1, 'low'), (2, 'high'), (3, NULL);
    INSERT INTO s.c VALUES (1, 'x'), (NULL, NULL)
"""


def contents(con, database):
    con.execute(f"USE {database}")
    found = [con.execute(sql).fetchall() for sql in (
        "FROM p ORDER BY i", "FROM s.c ORDER BY ALL", "FROM v ORDER BY ALL", "SELECT plus(1)", "FROM above(2)",
        f"SELECT schema_name, table_name, comment, sql FROM duckdb_tables() WHERE database_name = '{database}' ORDER BY ALL",
        f"SELECT column_name, comment FROM duckdb_columns() WHERE database_name = '{database}' AND table_name = 'p'",
        f"SELECT index_name, sql FROM duckdb_indexes() WHERE database_name = '{database}'",
        "INSERT INTO p (i) VALUES (100) RETURNING x", "DELETE FROM p WHERE i = 100")]
    with pytest.raises(duckdb.ConstraintException):
        con.execute("INSERT INTO p (i) VALUES (1)")
    con.execute("USE memory")
    return found


def local_copy(con, name="native"):
    con.execute(f"ATTACH ':memory:' AS {name}; USE {name}; {DATABASE}; USE memory")
    return name


def test_copy_from_database_both_ways(attach_empty):
    con = attach_empty("r")
    source = local_copy(con)
    con.execute(f"COPY FROM DATABASE {source} TO r")
    con.execute("ATTACH ':memory:' AS back")
    con.execute("COPY FROM DATABASE r TO back")
    con.execute(f"ATTACH ':memory:' AS expected; COPY FROM DATABASE {source} TO expected")
    expected = contents(con, "expected")
    assert contents(con, "r") == expected
    assert contents(con, "back") == expected


def test_copy_from_database_is_all_or_nothing(attach_empty):
    con = attach_empty("r")
    con.execute("ATTACH ':memory:' AS source")
    con.execute("CREATE TABLE source.a AS SELECT 1 AS i; CREATE TABLE source.b AS SELECT 2 AS i")
    con.execute("CREATE TABLE r.b (i INTEGER)")
    with pytest.raises(duckdb.Error, match="b.*already exists"):
        con.execute("COPY FROM DATABASE source TO r")
    assert con.execute("SELECT table_name FROM duckdb_tables() WHERE database_name = 'r'").fetchall() == [("b",)]
    con.execute("CREATE TABLE r.a (i INTEGER CHECK (i < 0))")
    with pytest.raises(duckdb.ConstraintException):
        con.execute("COPY FROM DATABASE source TO r (DATA)")
    assert con.execute("SELECT count(*) FROM (FROM r.a UNION ALL FROM r.b)").fetchone() == (0,)
    con.execute("BEGIN; DROP TABLE r.a; DROP TABLE r.b; COPY FROM DATABASE source TO r; COMMIT")
    assert con.execute("FROM r.a UNION ALL FROM r.b ORDER BY ALL").fetchall() == [(1,), (2,)]


@pytest.mark.parametrize("form", ["", "(FORMAT parquet)"])
def test_export_and_import(attach_empty, tmp_path, form):
    con, other = attach_empty("r"), attach_empty("r")
    con.execute(f"USE r; {DATABASE}")
    local = duckdb.connect()
    local.execute("ATTACH ':memory:' AS r; USE r")
    local.execute(DATABASE)
    for who, where in ((con, "exported"), (local, "native")):
        who.execute(f"EXPORT DATABASE '{tmp_path / where}' {form}")
    files = sorted(path.name for path in (tmp_path / "native").iterdir())
    assert sorted(path.name for path in (tmp_path / "exported").iterdir()) == files
    for name in files:
        if not name.endswith(".parquet"):
            text = (tmp_path / "exported" / name).read_text()
            assert text.replace(str(tmp_path / "exported"), str(tmp_path / "native")) == \
                (tmp_path / "native" / name).read_text(), name
    other.execute(f"USE r; IMPORT DATABASE '{tmp_path / 'exported'}'")
    assert other.execute("FROM p ORDER BY i").fetchall() == local.execute("FROM p ORDER BY i").fetchall()
    assert other.execute("FROM s.c ORDER BY ALL").fetchall() == local.execute("FROM s.c ORDER BY ALL").fetchall()
    shutil.rmtree(tmp_path / "exported")
