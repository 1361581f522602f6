"""Plans that read several databases: whatever part of them runs on a server, the answer is that of one local DuckDB.

Every query runs over tables that are all local, all remote, and split over two servers' databases and this side at random,
for each value of openduck_placement.
"""
import random
import re

import duckdb
import pytest

from conftest import connect

TABLES = {
    "t": "k INTEGER, a BIGINT, d DECIMAL(9, 2), s VARCHAR, f DOUBLE, w DATE",
    "u": "k INTEGER, b SMALLINT, e DECIMAL(15, 3), s VARCHAR, g DOUBLE",
    "v": "k INTEGER, c BIGINT, s VARCHAR, y TIMESTAMP",
}
VALUES = {
    "INTEGER": ["NULL", "0", "1", "2", "3", "4", "7", "-2147483648", "2147483647"],
    "SMALLINT": ["NULL", "0", "1", "-32768", "32767", "5"],
    "BIGINT": ["NULL", "0", "1", "2", "5", "9007199254740993", "-9000000000000000000"],
    "DECIMAL(9, 2)": ["NULL", "0.00", "1.10", "-1.10", "9999999.99", "0.05"],
    "DECIMAL(15, 3)": ["NULL", "0.000", "1.100", "-7.125", "123456789.125"],
    "VARCHAR": ["NULL", "''", "'a'", "'A'", "'ab'", "'it''s'", "'x' || chr(10)", "'\u00e9'"],
    "DOUBLE": ["NULL", "0.0", "'-0.0'", "1.5", "'nan'", "'inf'", "'-inf'", "1e300"],
    "DATE": ["NULL", "'1992-02-29'", "'2024-12-31'", "'0001-01-01'", "'infinity'"],
    "TIMESTAMP": ["NULL", "'2024-02-29 12:34:56.789'", "'1969-12-31 23:59:59'"],
}
SHAPES = [
    "SELECT t.k, u.b, v.c FROM t JOIN u ON t.k = u.k JOIN v ON u.k = v.k",
    "SELECT t.k, u.s, v.s FROM t, u, v WHERE t.k = v.k AND u.k = t.k AND u.b > 0",
    "SELECT v.s, count(*), sum(t.d), min(u.e), max(t.f + 0.0) FROM t, u, v WHERE t.k = u.k AND t.s = v.s GROUP BY v.s",
    "SELECT t.k, x.n, x.m FROM t LEFT JOIN (SELECT k, count(*) n, sum(e * 2) m FROM u GROUP BY k) x ON t.k = x.k",
    "SELECT * FROM (SELECT k, s FROM t UNION ALL SELECT k, s FROM u) z JOIN v USING (k)",
    "SELECT * FROM (SELECT k FROM t EXCEPT SELECT k FROM u) z FULL JOIN v ON z.k = v.k",
    "SELECT * FROM v WHERE k IN (SELECT t.k FROM t JOIN u ON t.s = u.s)",
    "SELECT * FROM v WHERE k NOT IN (SELECT t.k FROM t WHERE t.k IN (SELECT k FROM u))",
    "SELECT v.k, (SELECT sum(d) FROM t) q, (SELECT avg(e) FROM u WHERE b >= 0) r FROM v",
    "SELECT * FROM v WHERE EXISTS (SELECT 1 FROM t WHERE t.k = v.k AND t.a > 0)",
    "SELECT * FROM v, (SELECT DISTINCT s FROM t) z WHERE v.s = z.s",
    "SELECT v.c, z.* FROM v JOIN (SELECT t.k, t.d * u.e p, t.d + u.e q, 1 - t.d r FROM t JOIN u ON t.k = u.k "
    "WHERE abs(t.d) < 100 AND u.e < 1000) z ON z.k = v.k",
    "SELECT z.* FROM v RIGHT JOIN (SELECT k, s FROM t ORDER BY k DESC NULLS LAST, s, a, d, f, w LIMIT 7) z ON v.k = z.k",
    "WITH z AS (SELECT t.k, count(DISTINCT u.s) FILTER (WHERE u.b > 0) n FROM t JOIN u ON t.k = u.k GROUP BY t.k) "
    "SELECT z1.k, z1.n, z2.n, v.c FROM z z1 JOIN z z2 ON z1.n = z2.n JOIN v ON v.k = z1.k",
    "SELECT t.f, u.g, v.k FROM t JOIN u ON t.f = u.g LEFT JOIN v ON v.k = t.k AND v.c IS NOT DISTINCT FROM t.a",
    "SELECT * FROM t SEMI JOIN u ON t.k = u.k AND t.s = u.s WHERE t.k IN (SELECT k FROM v)",
    "SELECT * FROM t ANTI JOIN u ON t.k = u.k CROSS JOIN (SELECT max(k) m, any_value(NULL) FROM v) z",
    "SELECT w, count(*) OVER (PARTITION BY w) n, u.k FROM t JOIN u USING (k) WHERE u.k IN (SELECT k FROM v)",
    "SELECT count(*) FROM t, u, v WHERE t.k = u.k AND v.k = u.k",
    "SELECT upper(t.s) q, x.n FROM t JOIN (SELECT s, sum(b) n FROM u GROUP BY s HAVING count(*) > 1) x ON x.s = t.s, v "
    "WHERE v.s = t.s AND CASE WHEN v.c > 1 THEN true ELSE v.k IS NULL END",
]


def random_query(rng):
    """A join of all tables in a random order, with random conditions, perhaps grouped, cut or made distinct."""
    names = rng.sample(sorted(TABLES), 3)
    kinds = ["JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN"]
    numbers = {"t": ["t.k", "t.a", "t.d"], "u": ["u.k", "u.b", "u.e"], "v": ["v.k", "v.c"]}

    def link(left, right):
        if rng.random() < 0.3:
            return f"{left}.s = {right}.s"
        return f"{rng.choice(numbers[left])} {rng.choice(['=', '=', '=', 'IS NOT DISTINCT FROM'])} " \
               f"{rng.choice(numbers[right])}"

    def condition(name):
        column = rng.choice(numbers[name])
        return rng.choice([f"{column} > 0", f"{column} IS NULL", f"{column} IN (0, 1, 2)", f"{name}.s <> 'a'",
                           f"{name}.s LIKE '%a%'", f"coalesce({column}, 1) <= 3", f"NOT ({column} BETWEEN 0 AND 2)"])

    first, second, third = names
    if rng.random() < 0.35:
        text = f"{first}, {second}, {third}"
        where = [link(first, second), link(rng.choice([first, second]), third)]
    elif rng.random() < 0.4:
        text = f"{third} {rng.choice(kinds)} ({first} {rng.choice(kinds)} {second} ON {link(first, second)}) " \
               f"ON {link(first, third)}"
        where = []
    else:
        text = f"{first} {rng.choice(kinds)} {second} ON {link(first, second)} {rng.choice(kinds)} {third} " \
               f"ON {link(second, third)}"
        where = []
    where += [condition(rng.choice(names)) for _ in range(rng.randrange(3))]
    clause = f" WHERE {' AND '.join(where)}" if where else ""
    if rng.random() < 0.4:
        key = f"{rng.choice(names)}.s"
        value = rng.choice(numbers[rng.choice(names)])
        call = rng.choice([f"sum({value})", f"min({value})", f"max({value})", f"count({value})",
                           f"count(DISTINCT {value})", f"avg({value}) FILTER (WHERE {value} > 0)"])
        return f"SELECT {key} q, {call} r, count(*) FROM {text}{clause} GROUP BY {key}"
    columns = ", ".join(rng.sample(sorted(sum((numbers[name] for name in names), [])), 4))
    return f"SELECT {rng.choice(['', 'DISTINCT '])}{columns} FROM {text}{clause}"


def fill(con, place, table, rows):
    con.execute(f"CREATE TABLE {place}.{table} ({TABLES[table]})")
    if rows:
        con.execute(f"INSERT INTO {place}.{table} VALUES " + ", ".join(rows))


def answer(con, query):
    try:
        return sorted(repr(row) for row in con.execute(query).fetchall())
    except Exception as error:  # the same failure must come from every side
        return type(error).__name__


@pytest.fixture(scope="module")
def sides(server, new_database):
    """A connection with every table here (memory), on two attached databases, and under a schema of our own."""
    con = connect()
    rng = random.Random(7)
    for alias in ("r1", "r2"):
        server.attach(alias, new_database(), con)
    for table, columns in TABLES.items():
        types = [column.strip().split(" ", 1)[1] for column in columns.replace(", 2)", "; 2)").replace(", 3)", "; 3)")
                 .split(",")]
        rows = ["(" + ", ".join(rng.choice(VALUES[kind.replace(";", ",")]) for kind in types) + ")"
                for _ in range(23)]
        rows += rng.sample(rows, 4)
        for place in ("memory.main", "r1.main", "r2.main"):
            fill(con, place, table, rows)
    yield con
    con.close()


def placed(query, places):
    """The query with each table in its place; columns are still named by the table alone."""
    return re.sub(r"(?<![\w.'])([tuv])(?![\w.'])", lambda found: f"{places[found[1]]}.main.{found[1]}", query)


def compare(con, query, rng, splits):
    """The query over every placement against the local one; gives how many ran."""
    con.execute("SET openduck_placement = 'auto'")
    expected = answer(con, query)
    ways = [dict.fromkeys(TABLES, "r1")]
    ways += [{name: rng.choice(["memory", "r1", "r1", "r2"]) for name in TABLES} for _ in range(splits)]
    for places in ways:
        placement = rng.choice(["auto", "auto", "remote", "local", f"random:{rng.randrange(1 << 30)}",
                                f"random:{rng.randrange(1 << 30)}"])
        con.execute(f"SET openduck_placement = '{placement}'")
        assert answer(con, placed(query, places)) == expected, (placement, placed(query, places))


@pytest.mark.parametrize("number", range(len(SHAPES)))
def test_shapes(sides, number):
    compare(sides, SHAPES[number], random.Random(number), 6)


@pytest.mark.parametrize("seed", range(5))
def test_random_queries(sides, seed):
    rng = random.Random(seed)
    for _ in range(50):
        compare(sides, random_query(rng), rng, 2)


def plan_of(con, query):
    return "".join(row[1] for row in con.execute("EXPLAIN " + query).fetchall())


def test_relations_of_one_server_are_joined_there(sides):
    query = "SELECT t.k, u.b, v.c FROM r1.t t, memory.v v, r1.u u WHERE t.k = v.k AND t.k = u.k"
    sides.execute("SET openduck_placement = 'remote'")
    assert plan_of(sides, query).count("OPENDUCK_SCAN") == 1
    sides.execute("SET openduck_placement = 'local'")
    assert plan_of(sides, query).count("OPENDUCK_SCAN") == 2
    with pytest.raises(Exception, match="'auto', 'local' or 'remote'"):
        sides.execute("SET openduck_placement = 'elsewhere'")


def test_keys_of_a_local_table_reduce_what_is_fetched(sides):
    sides.execute("SET openduck_placement = 'local'")
    sides.execute("CREATE OR REPLACE TABLE r1.many AS SELECT range i, repeat('x', 100) p FROM range(200000)")
    sides.execute("CREATE OR REPLACE TABLE memory.main.keys AS SELECT range * 199 k FROM range(1000)")

    def traffic():
        return sides.execute("SELECT bytes_sent + bytes_received, rows_read FROM openduck_stats() WHERE catalog = 'r1'"
                             ).fetchone()

    sides.execute("FROM r1.many LIMIT 0").fetchall()
    before = traffic()
    found = sides.execute("SELECT count(*), sum(i) FROM memory.main.keys JOIN r1.many ON k = i").fetchone()
    after = traffic()
    assert found == (1000, sum(i * 199 for i in range(1000)))
    assert after[1] - before[1] == 1000
    assert after[0] - before[0] < 40000
    # By cost the keys are sent and the join is made there: its one row comes back.
    sides.execute("SET openduck_placement = 'auto'")
    plan_of(sides, "SELECT count(*), sum(i) FROM memory.main.keys JOIN r1.many ON k = i")  # asks for statistics once
    before = traffic()
    assert sides.execute("SELECT count(*), sum(i) FROM memory.main.keys JOIN r1.many ON k = i").fetchone() == found
    after = traffic()
    assert after[1] - before[1] == 1
    assert after[0] - before[0] < 16000
    assert sides.execute("SELECT current_setting('dynamic_or_filter_threshold')").fetchone() == (50,)


@pytest.mark.parametrize("rows", [0, 1, 2048, 19999, 60001])
def test_local_rows_reach_a_remote_part(sides, rows):
    """Few in the request, many streamed beside it; with every kind of value, in order, prepared and in a transaction."""
    sides.execute("SET openduck_placement = 'remote'")
    sides.execute("CREATE OR REPLACE TABLE r1.few AS SELECT range::INTEGER i FROM range(-3, 4)")
    sides.execute(f"""CREATE OR REPLACE TABLE memory.main.sent AS SELECT range id, (range % 5)::INTEGER i,
        CASE WHEN range % 7 = 0 THEN NULL ELSE 'text ' || range END s, (range / 7)::DOUBLE f,
        (range * 0.01)::DECIMAL(18, 2) d, [range, NULL] l, {{'a': range, 'b': 'x' || range}} st,
        TIMESTAMP '2020-01-01' + INTERVAL (range) SECOND t, 'b' || range::VARCHAR::BLOB b FROM range({rows})""")
    query = "SELECT sent.*, few.i j FROM sent JOIN {}.few ON sent.i = few.i"
    whole = f"SELECT count(*), count(s), sum(d), min(t), max(b), count(DISTINCT l), bool_and(st.a = id) FROM ({query})"
    sides.execute("CREATE OR REPLACE TABLE memory.main.few AS FROM r1.few")
    assert plan_of(sides, whole.format("r1")).count("OPENDUCK_UPLOAD") == 1
    expected = sides.execute(whole.format("memory")).fetchall()
    for begin, end in (("", ""), ("BEGIN", "ROLLBACK")):
        sides.execute(begin)
        for _ in range(2):
            assert sides.execute(whole.format("r1")).fetchall() == expected
        sides.execute(end)
    sides.execute("PREPARE again AS " + whole.format("r1"))
    for _ in range(2):
        assert sides.execute("EXECUTE again").fetchall() == expected
    order = " ORDER BY id"
    assert sides.execute(query.format("r1") + order).fetchall() == sides.execute(query.format("memory") + order).fetchall()
    sides.execute("SET openduck_placement = 'auto'")


def test_a_remote_part_that_fails_says_why(sides):
    sides.execute("SET openduck_placement = 'remote'")
    sides.execute("CREATE OR REPLACE TABLE memory.main.sent AS SELECT range id, 'x' s FROM range(60001)")
    sides.execute("CREATE OR REPLACE TABLE r1.few AS SELECT range i FROM range(5)")
    for _ in range(3):
        with pytest.raises(duckdb.Error, match="x"):
            sides.execute("SELECT sum(s::INTEGER) FROM memory.main.sent JOIN r1.few ON id = i").fetchall()
        with pytest.raises(duckdb.Error, match="x"):  # on this side, before anything is sent
            sides.execute("SELECT sum(z) FROM (SELECT id, s::INTEGER z FROM memory.main.sent, (SELECT any_value(id) v "
                          "FROM memory.main.sent)) q JOIN r1.few ON id = i").fetchall()
        assert sides.execute("SELECT count(*) FROM memory.main.sent JOIN r1.few ON id = i").fetchall() == [(5,)]
        # More is sent than is read.
        assert len(sides.execute("SELECT id FROM memory.main.sent, r1.few LIMIT 3").fetchall()) == 3
    sides.execute("SET openduck_placement = 'auto'")


def test_prepared_and_repeated(sides):
    sides.execute("SET openduck_placement = 'auto'")
    query = "SELECT count(*) FROM r1.t t JOIN r1.u u ON t.k = u.k JOIN memory.v v ON v.k = t.k WHERE v.c > $1"
    expected = sides.execute(query.replace("r1.", "memory."), [0]).fetchall()
    for _ in range(3):
        assert sides.execute(query, [0]).fetchall() == expected
    sides.execute("BEGIN")
    assert sides.execute(query, [0]).fetchall() == expected
    sides.execute("ROLLBACK")
    sides.execute("PRAGMA disable_optimizer")
    assert sides.execute(query, [0]).fetchall() == expected
    sides.execute("PRAGMA enable_optimizer")
