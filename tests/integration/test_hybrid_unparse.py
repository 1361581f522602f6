"""Operators and expressions that run on the server as SQL text: each as its own query, beside a local one-row table so that
the plan is split, compared with the same query over local tables, and seen to be one scan of text."""
import json
import re
from pathlib import Path

import pytest

from conftest import connect

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("i INTEGER, j BIGINT, n SMALLINT, d DECIMAL(9, 2), f DOUBLE, s VARCHAR, w DATE, x TIMESTAMP, m TIME, b BLOB, "
           "g BOOLEAN, y INTERVAL, l INTEGER[], ls VARCHAR[], r STRUCT(a INTEGER, \"b c\" VARCHAR), "
           "p MAP(VARCHAR, INTEGER), u UUID, h HUGEINT, a3 INTEGER[3], e ENUM('z', 'a', 'm'), q INTEGER")
ROWS = [
    "(1, 10, 1, 1.10, 1.5, 'abc', '2024-02-29', '2024-02-29 12:34:56.789', '12:34:56', '\\x00\\xFF', true, INTERVAL 3 DAY, "
    "[3, 1, NULL], ['x', 'y'], {'a': 1, 'b c': 'x'}, MAP {'k': 1}, '00000000-0000-0000-0000-000000000001', 1, [1, 2, 3], 'a', 1)",
    "(2, 20, 2, -1.10, 'nan', '', '1969-12-31', '1969-12-31 23:59:59', '00:00:00', '', false, INTERVAL '-1 month 40 days', "
    "[], [], {'a': NULL, 'b c': ''}, MAP {}, 'ffffffff-ffff-ffff-ffff-ffffffffffff', -1, [0, NULL, 5], 'z', 2)",
    "(2, NULL, 3, 0.05, '-0.0', 'it''s', '2024-12-31', '2000-01-01 00:00:00', '23:59:59.999999', 'a', NULL, INTERVAL 25 HOUR, "
    "[1, 2, 3, 4], ['A', NULL, ''], NULL, MAP {'a': NULL, 'b': 2}, NULL, 170141183460469231731687303715884105727, NULL, 'm', 3)",
    "(NULL, 9007199254740993, -32768, 9999999.99, 'inf', '\u00e9t\u00e9 ', '0001-01-01', '1992-09-20 11:30:00', NULL, NULL, true, "
    "NULL, NULL, NULL, {'a': 7, 'b c': NULL}, NULL, NULL, NULL, [7, 8, 9], NULL, 4)",
    "(2147483647, 5, 32767, NULL, 1e300, 'A b,c', NULL, NULL, '01:02:03', 'xyz', false, INTERVAL 1 YEAR, [5], ['b'], "
    "{'a': -5, 'b c': 'zz'}, MAP {'z': 9}, NULL, 0, [1, 1, 1], 'a', 5)",
    "(1, 10, 1, 1.10, 1.5, 'abc', '2024-02-29', '2024-02-29 12:34:56.789', '12:34:56', '\\x00\\xFF', true, INTERVAL 3 DAY, "
    "[3, 1, NULL], ['x', 'y'], {'a': 1, 'b c': 'x'}, MAP {'k': 1}, '00000000-0000-0000-0000-000000000001', 1, [1, 2, 3], 'a', 6)",
    "(NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, 7)",
]

FOLDED = [
    # windows
    "SELECT q, sum(j) OVER (PARTITION BY i ORDER BY q) v FROM t",
    "SELECT q, row_number() OVER (ORDER BY i DESC NULLS FIRST, q) v, rank() OVER (ORDER BY i), dense_rank() OVER (ORDER BY i), "
    "percent_rank() OVER (ORDER BY i), cume_dist() OVER (ORDER BY i), ntile(3) OVER (ORDER BY q) FROM t",
    "SELECT q, lag(s) OVER (ORDER BY q), lead(j, 2) OVER (ORDER BY q), lag(j, 1, 77) OVER (PARTITION BY i ORDER BY q) FROM t",
    "SELECT q, first_value(s) OVER w, last_value(j IGNORE NULLS) OVER w, nth_value(d, 2) OVER w FROM t "
    "WINDOW w AS (ORDER BY q ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING)",
    "SELECT q, count(*) OVER (ORDER BY i GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE TIES), "
    "sum(j) OVER (ORDER BY q ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING EXCLUDE CURRENT ROW), "
    "max(s) OVER (ORDER BY q ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING EXCLUDE GROUP) FROM t",
    "SELECT q, sum(q) OVER (ORDER BY q RANGE BETWEEN 2 PRECEDING AND 1 FOLLOWING), "
    "count(*) OVER (ORDER BY w DESC RANGE BETWEEN INTERVAL 20 YEAR PRECEDING AND INTERVAL 1 DAY FOLLOWING) FROM t",
    "SELECT q, count(DISTINCT i) FILTER (WHERE g) OVER (PARTITION BY g), min(e) OVER (PARTITION BY i) FROM t",
    "SELECT q, sum(sum(j)) OVER (ORDER BY q) FROM t GROUP BY q",
    "SELECT q, first_value(i ORDER BY q DESC) OVER (PARTITION BY g ORDER BY s RANGE BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING) FROM t",
    "SELECT q, i FROM t QUALIFY row_number() OVER (PARTITION BY i ORDER BY q) = 1",
    # groups
    "SELECT i, g, sum(d), GROUPING(i), GROUPING(i, g) FROM t GROUP BY ROLLUP (i, g)",
    "SELECT i, g, s, count(*) FROM t GROUP BY CUBE (i, g, s)",
    "SELECT i - 1 v, g, max(x), count(s) FROM t GROUP BY GROUPING SETS ((v, g), (v), ()) HAVING count(*) > 0",
    "SELECT sum(j), count(*) FROM t GROUP BY GROUPING SETS ((), ())",
    "SELECT g, count(DISTINCT i) FILTER (WHERE q > 1), avg(d), median(j), stddev(q), bool_or(g), corr(q, j), min(u), max(e) FROM t GROUP BY g",
    "SELECT i, first(q ORDER BY q) b, list(s ORDER BY q, s) e FROM t GROUP BY i",
    "SELECT i, array_agg(DISTINCT j ORDER BY j) c FROM t GROUP BY i",
    "SELECT count(*) FROM t WHERE false GROUP BY i",
    # set operations
    "SELECT i FROM t UNION SELECT q FROM v",
    "SELECT i, s FROM t EXCEPT ALL SELECT q, s FROM v WHERE q > 5",
    "SELECT i FROM t INTERSECT ALL SELECT i FROM v",
    "SELECT i, d FROM t UNION ALL BY NAME SELECT d, i FROM v",
    # subqueries
    "SELECT q, (SELECT sum(v.j) FROM v WHERE v.i = t.i) z FROM t",
    "SELECT q, (SELECT count(*) FROM v WHERE v.i = t.i AND v.g) z FROM t",
    "SELECT q FROM t WHERE EXISTS (SELECT 1 FROM v WHERE v.i = t.i AND v.q > t.q)",
    "SELECT q, EXISTS (SELECT 1 FROM v WHERE v.i = t.i AND v.j IS NULL) z FROM t",
    "SELECT q, NOT EXISTS (SELECT 1 FROM v WHERE v.s = t.s AND v.q <> t.q) z FROM t",
    "SELECT q, q IN (SELECT v.q FROM v WHERE v.i = t.i) z, i NOT IN (SELECT v.j FROM v WHERE v.g = t.g) y FROM t",
    "SELECT q, j < ANY (SELECT j FROM v) z, j >= ALL (SELECT j FROM v WHERE j IS NOT NULL) y FROM t",
    "SELECT q, s IN (SELECT s FROM v WHERE q < 3) z FROM t",
    "SELECT t.q, z.n FROM t, LATERAL (SELECT count(*) n, max(v.q) k FROM v WHERE v.i = t.i) z",
    "SELECT t.q, z.q k FROM t LEFT JOIN LATERAL (SELECT v.q FROM v WHERE v.i = t.i) z ON true",
    "SELECT q FROM t WHERE j > (SELECT avg(v.j) FROM v WHERE v.i = t.i OR v.i IS NULL)",
    "SELECT q FROM t WHERE (SELECT sum(v.q) FROM v WHERE v.i = t.i AND EXISTS (SELECT 1 FROM t t2 WHERE t2.q = v.q AND t2.i = t.i)) > 1",
    # joins
    "SELECT t.q, v.q k FROM t ASOF JOIN v ON t.i = v.i AND t.q >= v.q",
    "SELECT t.q, v.q k FROM t ASOF LEFT JOIN v ON t.q < v.q",
    "SELECT a.q, c.k FROM t a POSITIONAL JOIN (SELECT q k FROM v WHERE q > 2) c",
    "SELECT t.q, v.q k FROM t FULL JOIN v ON t.i = v.j AND t.q <> v.q",
    "SELECT t.q, v.q k FROM t JOIN v ON t.e = v.e AND t.u IS NOT DISTINCT FROM v.u",
    "SELECT t.q, v.q k FROM t LEFT JOIN v ON t.q BETWEEN v.q - 1 AND v.q + 1 OR t.s = v.s",
    # CTEs, recursion, unnest, limits
    "WITH c AS MATERIALIZED (SELECT i, sum(q) k FROM t GROUP BY i) SELECT a.i, a.k, z.k k2 FROM c a JOIN c z ON a.k = z.k",
    "WITH RECURSIVE c(n, p) AS (SELECT q, 0 FROM t WHERE q = 1 UNION ALL SELECT t.q, c.n FROM c JOIN t ON t.q = c.n + 1) SELECT * FROM c",
    "WITH RECURSIVE c(n) AS (SELECT i FROM t UNION SELECT (n + 1) % 5 FROM c WHERE n < 100) SELECT n FROM c",
    "SELECT q, unnest(l) k, unnest(ls) k2 FROM t",
    "SELECT i, s FROM t ORDER BY i DESC NULLS LAST, q LIMIT 3 OFFSET 1",
    "SELECT DISTINCT ON (i) i, q FROM t ORDER BY i, q DESC",
    "SELECT DISTINCT i, s, r FROM t",
    "UNPIVOT (SELECT q, i, n::INTEGER n FROM t) ON i, n INTO NAME k VALUE z",
    # values
    "SELECT q, list_transform(l, lambda k: k + 1) a, list_transform(l, lambda k, o: k * o + q) b, list_filter(l, lambda k: k > 1) c, "
    "list_reduce(list_filter(l, lambda k: k IS NOT NULL), lambda k, o: k * 10 - o) e, "
    "list_reduce(l, lambda k, o: coalesce(k, 0) - coalesce(o, 0), 100) h FROM t WHERE len(l) > 0",
    "SELECT q, list_transform(l, lambda k: list_transform([k, q], lambda o: o + k)) z FROM t",
    "SELECT q, r.a, r['b c'] z, {'m': i, 'n o': s} st, p['k'] mk, map_keys(p) ks, map([s], [i]) mp, l[1:2] sl, a3[2] el FROM t WHERE s IS NOT NULL",
    "SELECT q, [i, 5] li, list_contains(l, 1) c, flatten([l, [9]]) fl, len(ls) n, cardinality(p) k, range(q) ra FROM t",
    "SELECT q, CASE WHEN g THEN 'nan'::DOUBLE WHEN i = 1 THEN 'infinity'::DOUBLE ELSE f END z, f = 'nan'::DOUBLE n, isnan(f) k FROM t",
    "SELECT q, w < DATE 'infinity' a, x > TIMESTAMP '-infinity' b, w + INTERVAL 1 MONTH c, x - INTERVAL '1 month 3 days' e, y + INTERVAL 2 HOUR h FROM t",
    "SELECT q, e = 'a' a, e IN ('m', 'z') b, CAST(e AS VARCHAR) c FROM t",
    "SELECT q, MAP {'a': 1, 'b': NULL} a, [1, NULL]::INTEGER[2] b, union_value(k := 5) c, {'a': [1, NULL]} e, INTERVAL '-3 months 5 days 1 us' h, "
    "'x' || chr(0) || 'y' k, '\\xAA'::BLOB n, B'101' o FROM t",
    "SELECT q, strftime(x, '%Y-%m/%d %H') a, date_trunc('month', x) b, date_part('epoch', x) c, extract(dow FROM w) e, datediff('day', w, DATE '2024-01-01') h, "
    "dayname(w) k, last_day(w) n, make_date(2020, 1, q) o FROM t WHERE w IS NULL OR w > DATE '1900-01-01'",
    "SELECT q, regexp_replace(s, '[a-c]', '_', 'g') a, regexp_matches(s, '^A') b, s LIKE 'a%' c, s ILIKE '%B%' e, s SIMILAR TO '.*c' h, "
    "string_split(s, ' ') k, lpad(s, 5, '*') n, printf('%d-%s', q, s) o, concat_ws('|', s, q) r2, s[2] z, substring(s, 2, 2) y2 FROM t",
    "SELECT q, i // 2 a, j % 7 b, f ** 2 c, d * d e, d / 3 h, -n::INTEGER k, i & 3 m2, i << 1 o, @ (q - 4) ab, greatest(i, q) g2, xor(q, 1) x2, h + 0 h2 FROM t "
    "WHERE q < 5 AND n > -100",
    "SELECT q, TRY_CAST(s AS INTEGER) a, CAST(d AS VARCHAR) b, CAST(l AS VARCHAR) c, CAST(r AS VARCHAR) e, CAST(q AS DECIMAL(18, 3)) h, TRY(q / 0) k FROM t",
    "SELECT q, coalesce(i, j, 0) a, nullif(i, 1) b, ifnull(s, '?') c, i IS DISTINCT FROM j e, NOT g h, i IN (1, 2, NULL) k FROM t",
    "SELECT t.q FROM t JOIN v ON t.l = v.l AND t.r = v.r AND t.p = v.p",
]

KEPT = [
    "PIVOT t ON g USING sum(q) GROUP BY i",
    "SELECT i, list(s ORDER BY s DESC NULLS LAST) a FROM t GROUP BY i",
    "SELECT q, current_date z FROM t",
    "SELECT i, list(s) z FROM (SELECT i, s FROM t ORDER BY q) GROUP BY i",
    "SELECT q, row_number() OVER () z FROM t",
    "SELECT q, list_sort(l) z FROM t",
    "SELECT q, epoch(x::TIMESTAMPTZ) z FROM t",
    "SELECT e < 'm' z FROM t",
    "SELECT i, quantile_disc(q, 0.5) z FROM t GROUP BY i",
    "SELECT q, (SELECT v.q FROM v WHERE v.q = t.q) z FROM t",
]


@pytest.fixture(scope="module")
def sides(server, new_database):
    con = connect()
    server.attach("r1", new_database(), con)
    for place in ("memory.main", "r1.main"):
        for table in "tv":
            con.execute(f"CREATE TABLE {place}.{table} ({COLUMNS})")
            con.execute(f"INSERT INTO {place}.{table} VALUES {', '.join(ROWS)}")
    con.execute("CREATE TABLE memory.main.one AS SELECT 1 AS here")
    con.execute("SET openduck_placement = 'remote'")
    yield con
    con.close()


def at(query, place):
    return re.sub(r"(?<=FROM )([tv])\b|(?<=JOIN )([tv])\b|(?<=FROM t, )(v)\b|(?<=PIVOT )(t)\b",
                  lambda found: f"{place}.main.{found[0]} {found[0]}".replace(f" {found[0]}", "", 1)
                  if re.match(r"\s+(a|t2)\b(?!\.)", query[found.end():]) else f"{place}.main.{found[0]}", query)


def split(query):
    return f"SELECT z.*, o.here FROM ({query}) z CROSS JOIN memory.main.one o"


def rows(con, query):
    return sorted(repr(row) for row in con.execute(query).fetchall())


def plan_of(con, query):
    return "".join(row[1] for row in con.execute("EXPLAIN " + query).fetchall())


def scans_of(con, query):
    """What each remote scan of the plan reads: 'SQL' for text, 'Table' for a table."""
    def walk(node):
        if node["name"].strip() == "OPENDUCK_SCAN":
            yield "SQL" if "SQL" in node["extra_info"] else "Table"
        for child in node["children"]:
            yield from walk(child)
    trees = json.loads(con.execute("EXPLAIN (FORMAT json) " + query).fetchone()[1])
    return [scan for tree in trees for scan in walk(tree)]


@pytest.mark.parametrize("number", range(len(FOLDED)))
def test_runs_on_the_server(sides, number):
    query = FOLDED[number]
    assert rows(sides, split(at(query, "r1"))) == rows(sides, split(at(query, "memory")))
    assert scans_of(sides, split(at(query, "r1"))) == ["SQL"], query


@pytest.mark.parametrize("number", range(len(KEPT)))
def test_runs_here(sides, number):
    query = KEPT[number]
    assert rows(sides, split(at(query, "r1"))) == rows(sides, split(at(query, "memory")))


def test_macros_of_the_server_do_not_stand_for_functions(server, new_database):
    database = new_database()
    con = connect()
    owner = server.attach("r1", database, con) or con
    owner.execute("CREATE TABLE r1.t AS SELECT range i, 'a' || range s, [range] l FROM range(10)")
    for macro in ("upper(x) AS 'no'", "sum(x) AS 42", "\"+\"(a, b) AS 99", "\"~~\"(a, b) AS false", "list_value(a) AS 5",
                  "struct_pack(a) AS 5", "count_star() AS 5", "to_months(x) AS 5", "chr(x) AS 'zz'", "concat(a, b) AS 'no'"):
        owner.execute(f"CREATE MACRO r1.main.{macro}")
    owner.execute("CREATE TABLE memory.main.one AS SELECT 1 AS here")
    owner.execute("SET openduck_placement = 'remote'")
    query = ("SELECT z.*, o.here FROM (SELECT upper(s) u, i + 1 p, i + sum(i) OVER (ORDER BY i) w, [i] li, {'a': i} st, s LIKE 'a1' k, "
             "concat(s, 'x') c, INTERVAL 1 MONTH m, 'q' || chr(0) n FROM r1.t WHERE i < 8) z CROSS JOIN memory.main.one o")
    expected = [row + (1,) for row in connect().execute(
        "SELECT upper(s) u, i + 1 p, i + sum(i) OVER (ORDER BY i) w, [i] li, {'a': i} st, s LIKE 'a1' k, concat(s, 'x') c, INTERVAL 1 MONTH m, "
        "'q' || chr(0) n FROM (SELECT range i, 'a' || range s FROM range(8))").fetchall()]
    assert sorted(map(repr, owner.execute(query).fetchall())) == sorted(map(repr, expected))
    counted = "SELECT z.n, z.m FROM (SELECT count(*) n, sum(i) m FROM r1.t) z, memory.main.one"
    assert owner.execute(counted).fetchall() == [(10, 45)]
    con.close()


def test_parameters_travel(sides):
    query = "SELECT z.* FROM (SELECT q, q + $1 v FROM r1.main.t WHERE q > $2 AND s <> $3) z CROSS JOIN memory.main.one o"
    for values in ([1, 2, "abc"], [7, 0, "x"]):
        local = sides.execute(query.replace("r1.", "memory."), values).fetchall()
        assert sorted(map(repr, sides.execute(query, values).fetchall())) == sorted(map(repr, local))
    sides.execute("PREPARE ask AS " + query)
    for values in ("1, 2, 'abc'", "7, 0, 'x'", "NULL, 1, ''"):
        local = sides.execute(f"SELECT q, q + ({values.split(',')[0]}) FROM memory.main.t WHERE q > ({values.split(',')[1]}) "
                              f"AND s <> ({values.split(',')[2]})").fetchall()
        assert sorted(map(repr, sides.execute(f"EXECUTE ask({values})").fetchall())) == sorted(map(repr, local))
    assert scans_of(sides, "EXECUTE ask(1, 2, 'x')") == ["SQL"]
    sides.execute("PREPARE again AS SELECT z.* FROM (SELECT q, s FROM r1.main.t WHERE q > $1 AND s <> $2) z, memory.main.one")
    for least, other in ((0, ""), (2, "abc"), (5, "x")):
        local = sides.execute("SELECT q, s FROM memory.main.t WHERE q > $1 AND s <> $2", [least, other]).fetchall()
        assert sorted(map(repr, sides.execute(f"EXECUTE again({least}, '{other}')").fetchall())) == sorted(map(repr, local))
    assert "$2" in plan_of(sides, "EXECUTE again(2, 'x')")


def test_the_guide_lists_what_stays_here():
    table = re.compile(r"^(?:// )?\| (.*) \| (.*) \|$", re.M)
    code = table.findall((ROOT / "extension/hybrid_unparse.cpp").read_text())
    guide = table.findall((ROOT / "docs/guides/hybrid.md").read_text())
    assert len(code) > 5 and [row for row in code if row not in guide] == []
