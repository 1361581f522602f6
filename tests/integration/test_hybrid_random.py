"""Random queries over random schemas, split over two servers and this side: equal to the same query over local tables.

A seed makes a schema, its rows, and its queries. HYBRID_QUERIES=N asks for N queries in place of 500, HYBRID_SEED=S for other
ones; a failure names the seed of its schema and the number of its query, and HYBRID_SEED=S HYBRID_ONLY=N asks for it again.
"""
import os
import random

import pytest

from conftest import connect

QUERIES = int(os.environ.get("HYBRID_QUERIES", "500"))
SEED = int(os.environ.get("HYBRID_SEED", "1"))
ONLY = os.environ.get("HYBRID_ONLY")
PER_SCHEMA = 50
SEEDS = [SEED] if ONLY else range(SEED * 1000, SEED * 1000 + max(1, QUERIES // PER_SCHEMA))
PLACES = ["memory", "r1", "r1", "r2"]

VALUES = {
    "INTEGER": ["0", "1", "2", "3", "4", "-1", "-2147483648", "2147483647"],
    "BIGINT": ["0", "1", "2", "9007199254740993", "-9223372036854775807", "9223372036854775807"],
    "DECIMAL(9,2)": ["0.00", "1.00", "1.10", "-1.10", "9999999.99", "-9999999.99"],
    "DOUBLE": ["0.0", "1.0", "'-0.0'", "1.5", "'nan'", "'inf'", "'-inf'", "1e300", "5e-324"],
    "VARCHAR": ["''", "'a'", "'A'", "'ab'", "'b'", "'it''s'", "'%_'", "'\u00e9'", "'\U0001f986'", "'a' || chr(0) || 'b'", "repeat('xyz', 50)"],
    "DATE": ["'1992-02-29'", "'2024-12-31'", "'0001-01-01'", "'infinity'", "'-infinity'", "'2000-01-01'"],
    "BOOLEAN": ["true", "false"],
    "INTEGER[]": ["[]", "[1]", "[1, 2, NULL]", "[3, 3]"],
}
KINDS = list(VALUES)
NUMBERS = ["INTEGER", "BIGINT", "DECIMAL(9,2)", "DOUBLE"]


class Table:
    def __init__(self, rng, name):
        self.name = name
        self.columns = [("id", "INTEGER"), ("k", "INTEGER")]
        self.columns += [(f"{name}{i}", rng.choice(KINDS)) for i in range(rng.randrange(2, 5))]
        count = rng.choice([0, 1, 7, 30, 30, 30])
        nulls = rng.choice([0.0, 0.15, 0.5])
        self.rows = []
        for number in range(count):
            row = [str(number), rng.choice(["0", "1", "2", "3", "NULL"])]
            row += ["NULL" if rng.random() < nulls else rng.choice(VALUES[kind]) for _, kind in self.columns[2:]]
            self.rows.append(row)

    def create(self, con, place):
        con.execute(f"CREATE TABLE {place}.main.{self.name} ({', '.join(f'{n} {k}' for n, k in self.columns)})")
        if self.rows:
            con.execute(f"INSERT INTO {place}.main.{self.name} VALUES " + ", ".join(f"({', '.join(r)})" for r in self.rows))


class Maker:
    """Queries whose answer SQL fixes: windows and limits have total orders, nothing overflows, nothing is drawn."""

    def __init__(self, rng, tables):
        self.rng, self.tables, self.aliases = rng, tables, 0

    def alias(self):
        self.aliases += 1
        return f"x{self.aliases}"

    # scalars; a scope is a list of (alias, [(column, kind)])
    def column(self, scope, kind):
        found = [f"{a}.{n}" for a, columns in scope for n, k in columns if k == kind]
        return self.rng.choice(found) if found else None

    def literal(self, kind):
        return "NULL::" + kind if self.rng.random() < 0.1 else f"({self.rng.choice(VALUES[kind])})::{kind}"

    def value(self, scope, kind, depth=2):
        column = self.column(scope, kind)
        if column and (depth == 0 or self.rng.random() < 0.5):
            return column
        if depth == 0 or self.rng.random() < 0.15:
            return self.literal(kind)
        def inner(k):
            return self.value(scope, k, depth - 1)
        choices = [
            lambda: f"CASE WHEN {self.condition(scope, depth - 1)} THEN {inner(kind)} ELSE {inner(kind)} END",
            lambda: f"coalesce({inner(kind)}, {inner(kind)})",
            lambda: f"nullif({inner(kind)}, {inner(kind)})",
        ]
        if kind == "INTEGER":
            choices += [lambda: f"({inner(kind)} % 7)", lambda: f"length({inner('VARCHAR')})::INTEGER", lambda: f"len({inner('INTEGER[]')})::INTEGER",
                        lambda: f"year({inner('DATE')})::INTEGER", lambda: f"({inner(kind)} & {inner(kind)})",
                        lambda: f"list_extract({inner('INTEGER[]')}, 1)", lambda: f"sign({inner('DECIMAL(9,2)')})::INTEGER"]
        elif kind == "BIGINT":
            choices += [lambda: f"({inner('INTEGER')}::BIGINT * 3)", lambda: f"({inner('INTEGER')}::BIGINT - {inner('INTEGER')})",
                        lambda: f"({inner(kind)} // 5)", lambda: f"date_diff('day', DATE '2000-01-01', nullif(nullif({inner('DATE')}, 'infinity'), '-infinity'))"]
        elif kind == "DECIMAL(9,2)":
            choices += [lambda: f"TRY_CAST(round({inner(kind)}, 1) AS {kind})", lambda: f"TRY_CAST({inner('INTEGER')} AS {kind})",
                        lambda: f"TRY_CAST({inner(kind)} * {inner(kind)} AS {kind})", lambda: f"greatest({inner(kind)}, {inner(kind)})"]
        elif kind == "DOUBLE":
            choices += [lambda: f"({inner(kind)} + {inner(kind)})", lambda: f"({inner('INTEGER')} / {inner('INTEGER')})", lambda: f"floor({inner(kind)})",
                        lambda: f"abs({inner(kind)})", lambda: f"CAST({inner('DECIMAL(9,2)')} AS DOUBLE)"]
        elif kind == "VARCHAR":
            choices += [lambda: f"upper({inner(kind)})", lambda: f"({inner(kind)} || {inner(kind)})", lambda: f"substring({inner(kind)}, 1, 2)",
                        lambda: f"replace({inner(kind)}, 'a', 'q')", lambda: f"CAST({inner('DECIMAL(9,2)')} AS VARCHAR)", lambda: f"reverse({inner(kind)})",
                        lambda: f"CAST({inner('INTEGER[]')} AS VARCHAR)", lambda: f"lpad({inner(kind)}, 3, '*')", lambda: f"regexp_replace({inner(kind)}, '[ab]', '_', 'g')"]
        elif kind == "DATE":
            choices += [lambda: f"last_day({inner(kind)})" , lambda: f"least({inner(kind)}, {inner(kind)})"]
        elif kind == "BOOLEAN":
            choices += [lambda: f"({self.condition(scope, depth - 1)})"]
        else:
            choices += [lambda: f"list_transform({inner(kind)}, lambda v: v % 3)", lambda: f"list_concat({inner(kind)}, {inner(kind)})",
                        lambda: f"[{inner('INTEGER')}]", lambda: f"list_filter({inner(kind)}, lambda v: v > 1)"]
        return self.rng.choice(choices)()

    def condition(self, scope, depth=2):
        kind = self.rng.choice(KINDS)
        def inner(k=kind):
            return self.value(scope, k, max(depth - 1, 0))
        choices = [
            lambda: f"{inner()} {self.rng.choice(['=', '<>', '<', '<=', '>', '>=', 'IS DISTINCT FROM', 'IS NOT DISTINCT FROM'])} {inner()}",
            lambda: f"{inner()} IS {self.rng.choice(['', 'NOT '])}NULL",
            lambda: f"{inner()} {self.rng.choice(['', 'NOT '])}IN ({self.literal(kind)}, {self.literal(kind)})",
            # DuckDB itself refuses to filter lists by BETWEEN
            lambda: f"{inner()} {'=' if kind == 'INTEGER[]' else f'BETWEEN {self.literal(kind)} AND'} {self.literal(kind)}",
            lambda: f"{inner('VARCHAR')} {self.rng.choice(['LIKE', 'ILIKE', 'NOT LIKE'])} {self.rng.choice(['%a%', 'A_', '_%'])!r}",
            lambda: f"list_contains({inner('INTEGER[]')}, {inner('INTEGER')})",
            lambda: inner("BOOLEAN"),
        ]
        if depth > 0:
            choices += [lambda: f"({self.condition(scope, depth - 1)} {self.rng.choice(['AND', 'OR'])} {self.condition(scope, depth - 1)})",
                        lambda: f"NOT ({self.condition(scope, depth - 1)})"]
        return self.rng.choice(choices)()

    # relations: each gives (text in FROM, scope)
    def table(self):
        table, alias = self.rng.choice(self.tables), self.alias()
        return f"{{{table.name}}} {alias}", [(alias, table.columns)]

    def relation(self, depth):
        if depth == 0 or self.rng.random() < 0.4:
            return self.table()
        if self.rng.random() < 0.5:
            text, columns = self.query(depth - 1)
            alias = self.alias()
            return f"({text}) {alias}", [(alias, columns)]
        left, first = self.relation(depth - 1)
        right, second = self.relation(depth - 1)
        scope = first + second
        kind = self.rng.choice(["JOIN", "JOIN", "LEFT JOIN", "RIGHT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN", "CROSS JOIN"])
        if kind == "CROSS JOIN":
            return f"({left} CROSS JOIN {right})", scope
        on = self.equality(first, second)
        if self.rng.random() < 0.3:
            on += f" AND {self.condition(scope, 1)}"
        if kind in ("SEMI JOIN", "ANTI JOIN"):
            return f"({left} {kind} {right} ON {on})", first
        return f"({left} {kind} {right} ON {on})", scope

    def equality(self, first, second):
        kinds = [k for k in KINDS if self.column(first, k) and self.column(second, k)]
        kind = self.rng.choice(kinds + ["INTEGER"] * 3 if "INTEGER" in kinds else kinds) if kinds else None
        if not kind:
            return "true"
        return f"{self.column(first, kind)} {self.rng.choice(['=', '=', '=', 'IS NOT DISTINCT FROM'])} {self.column(second, kind)}"

    def subquery(self, scope):
        """A correlated condition or value."""
        text, inner = self.table()
        link = self.equality(scope, inner)
        where = f"{link} AND {self.condition(inner, 1)}" if self.rng.random() < 0.5 else link
        kind = self.rng.choice(["INTEGER", "VARCHAR", "DECIMAL(9,2)"])
        return self.rng.choice([
            lambda: f"{self.rng.choice(['', 'NOT '])}EXISTS (SELECT 1 FROM {text} WHERE {where})",
            lambda: f"{self.value(scope, kind, 1)} {self.rng.choice(['', 'NOT '])}IN (SELECT {self.value(inner, kind, 1)} FROM {text} WHERE {where})",
            lambda: f"{self.value(scope, kind, 1)} {self.rng.choice(['', 'NOT '])}IN (SELECT {self.value(inner, kind, 1)} FROM {text})",
            lambda: f"{self.value(scope, kind, 0)} {self.rng.choice(['<', '=', '>'])} (SELECT {self.rng.choice(['min', 'max'])}({self.value(inner, kind, 1)}) FROM {text} WHERE {where})",
            lambda: f"{self.value(scope, kind, 0)} {self.rng.choice(['<', '=', '>='])} {self.rng.choice(['ANY', 'ALL'])} (SELECT {self.value(inner, kind, 0)} FROM {text})",
            lambda: f"(SELECT count(*) FROM {text} WHERE {where}) {self.rng.choice(['=', '<'])} {self.rng.randrange(4)}",
        ])()

    def where(self, scope):
        parts = [self.condition(scope) for _ in range(self.rng.choice([0, 0, 1, 2]))]
        if self.rng.random() < 0.25:
            parts.append(self.subquery(scope))
        return f" WHERE {' AND '.join(f'({p})' for p in parts)}" if parts else ""

    def select(self, depth):
        text, scope = self.relation(depth)
        columns = [(f"c{i}", self.rng.choice(KINDS)) for i in range(self.rng.randrange(1, 4))]
        values = [f"{self.value(scope, kind)} AS {name}" for name, kind in columns]
        if self.rng.random() < 0.1:
            values.append(f"({self.subquery(scope)}) AS s0")
            columns.append(("s0", "BOOLEAN"))
        distinct = "DISTINCT " if self.rng.random() < 0.15 else ""
        return f"SELECT {distinct}{', '.join(values)} FROM {text}{self.where(scope)}", columns

    def aggregate(self, scope):
        kind = self.rng.choice(KINDS)
        number = self.rng.choice(["INTEGER", "DECIMAL(9,2)"])
        call, result = self.rng.choice([
            ("count(*)", "BIGINT"), (f"count({self.value(scope, kind, 1)})", "BIGINT"), (f"count(DISTINCT {self.value(scope, kind, 1)})", "BIGINT"),
            (f"min({self.value(scope, kind, 1)})", kind), (f"max({self.value(scope, kind, 1)})", kind),
            (f"sum({self.value(scope, number, 1)})", None), (f"sum(DISTINCT {self.value(scope, number, 1)})", None),
            (f"avg({self.value(scope, number, 1)})", "DOUBLE"), (f"bool_or({self.condition(scope, 1)})", "BOOLEAN"),
            (f"bit_xor({self.value(scope, 'INTEGER', 1)})", "INTEGER"), (f"median({self.value(scope, 'INTEGER', 1)})", "DOUBLE")])
        if self.rng.random() < 0.3:
            call += f" FILTER (WHERE {self.condition(scope, 1)})"
        return (f"CAST({call} AS VARCHAR)", "VARCHAR") if result is None else (call, result)

    def grouped(self, depth):
        text, scope = self.relation(depth)
        keys = [(f"g{i}", self.rng.choice(KINDS)) for i in range(self.rng.randrange(0, 3))]
        values = [f"{self.value(scope, kind, 1)} AS {name}" for name, kind in keys]
        columns = list(keys)
        for i in range(self.rng.randrange(1, 3)):
            call, kind = self.aggregate(scope)
            values.append(f"{call} AS a{i}")
            columns.append((f"a{i}", kind))
        names = [f'"{name}"' for name, _ in keys]
        group = ""
        if names:
            group = " GROUP BY " + self.rng.choice([", ".join(names)] * 3 + [f"ROLLUP ({', '.join(names)})", f"CUBE ({', '.join(names)})",
                                                                               f"GROUPING SETS (({', '.join(names)}), ({names[0]}), ())"])
            if self.rng.random() < 0.2:
                group += " HAVING count(*) > 1"
        return f"SELECT {', '.join(values)} FROM {text}{self.where(scope)}{group}", columns

    def windowed(self, depth):
        table, alias = self.rng.choice(self.tables), self.alias()
        scope = [(alias, table.columns)]
        text = f"{{{table.name}}} {alias}"
        total = f"{self.value(scope, self.rng.choice(KINDS), 0)} {self.rng.choice(['ASC', 'DESC'])} NULLS {self.rng.choice(['FIRST', 'LAST'])}, {alias}.id"
        part = f"PARTITION BY {self.value(scope, self.rng.choice(KINDS), 1)} " if self.rng.random() < 0.6 else ""
        frame = self.rng.choice(["", " ROWS BETWEEN 2 PRECEDING AND 1 FOLLOWING", " ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING",
                                 " GROUPS BETWEEN 1 PRECEDING AND CURRENT ROW EXCLUDE CURRENT ROW", " RANGE BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING"])
        kind = self.rng.choice(KINDS)
        call, result = self.rng.choice([
            ("row_number()", "BIGINT"), ("rank()", "BIGINT"), ("ntile(3)", "BIGINT"), ("cume_dist()", "DOUBLE"), (f"lag({self.value(scope, kind, 1)})", kind),
            (f"lead({self.value(scope, kind, 1)}, 2)", kind), (f"first_value({self.value(scope, kind, 1)})", kind),
            (f"last_value({self.value(scope, kind, 1)} IGNORE NULLS)", kind), (f"nth_value({self.value(scope, kind, 1)}, 2)", kind),
            ("count(*)", "BIGINT"), (f"max({self.value(scope, kind, 1)})", kind), (f"count({self.value(scope, kind, 1)})", "BIGINT")])
        text = f"SELECT {alias}.id AS c0, {call} OVER ({part}ORDER BY {total}{frame}) AS c1 FROM {text}{self.where(scope)}"
        if self.rng.random() < 0.4 and result == "BIGINT":
            text += f" QUALIFY c1 <= {self.rng.randrange(1, 4)}"
        return text, [("c0", "INTEGER"), ("c1", result)]

    def united(self, depth):
        first, columns = self.select(0)
        text, scope = self.relation(depth)
        second = f"SELECT {', '.join(self.value(scope, kind, 1) for _, kind in columns)} FROM {text}{self.where(scope)}"
        word = self.rng.choice(["UNION", "UNION ALL", "EXCEPT", "EXCEPT ALL", "INTERSECT", "INTERSECT ALL"])
        return f"({first}) {word} ({second})", columns

    def cut(self, depth):
        text, columns = self.rng.choice([self.select, self.grouped])(depth)
        order = ", ".join(f'"{name}" {self.rng.choice(["ASC", "DESC"])} NULLS {self.rng.choice(["FIRST", "LAST"])}' for name, _ in columns)
        return f"SELECT * FROM ({text}) {self.alias()} ORDER BY {order} LIMIT {self.rng.randrange(0, 6)} OFFSET {self.rng.randrange(0, 2)}", columns

    def named(self, depth):
        definition, columns = self.grouped(0)
        name, first, second = f"n{self.aliases}", self.alias(), self.alias()
        on = self.equality([(first, columns)], [(second, columns)])
        other, scope = self.table()
        both = [(first, columns), (second, columns)] + scope
        values = [(f"c{i}", self.rng.choice(KINDS)) for i in range(2)]
        return (f"WITH {name} AS {self.rng.choice(['', 'MATERIALIZED ', 'NOT MATERIALIZED '])}({definition}) SELECT "
                + ", ".join(f"{self.value(both, kind, 1)} AS {column}" for column, kind in values)
                + f" FROM {name} {first} JOIN {name} {second} ON {on}, {other}"), values

    def query(self, depth):
        return self.rng.choice([self.select, self.select, self.grouped, self.grouped, self.windowed, self.united, self.cut, self.named])(depth)


def answer(con, query):
    return sorted(repr(row) for row in con.execute(query).fetchall())


@pytest.fixture(scope="module")
def con(server, new_database):
    con = connect()
    for alias in ("r1", "r2"):
        server.attach(alias, new_database(), con)
    yield con
    con.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_random_queries(con, seed):
    rng = random.Random(seed)
    tables = [Table(rng, name) for name in "tuv"]
    for place in ("memory", "r1", "r2"):
        con.execute("; ".join(f"DROP TABLE IF EXISTS {place}.main.{table.name}" for table in tables))
        for table in tables:
            table.create(con, place)
    ran = 0
    for number in range(PER_SCHEMA):
        case = random.Random(f"{seed}/{number}")
        query, columns = Maker(case, tables).query(2)
        query = f"SELECT {', '.join(name for name, _ in columns)} FROM ({query}) z"
        if ONLY and int(ONLY) != number:
            continue
        local = {table.name: f"memory.main.{table.name}" for table in tables}
        con.execute("SET openduck_placement = 'auto'")
        try:
            expected = answer(con, query.format(**local))
        except Exception:  # what cannot be computed at all may be computed where nobody asks for it
            continue
        ran += 1
        for way in range(2):
            places = {name: f"{'r1' if way == 0 and case.random() < 0.3 else case.choice(PLACES)}.main.{name}" for name in local}
            placement = case.choice(["auto", "auto", "remote", "local"])
            con.execute(f"SET openduck_placement = '{placement}'")
            text = query.format(**places)
            told = f"seed {seed}, query {number}, {placement}: {text}"
            try:
                found = answer(con, text)
            except Exception as error:
                pytest.fail(f"{told}: {error}")
            assert found == expected, told
    assert ONLY or ran > PER_SCHEMA // 2


# What random queries have found.
FOUND = [
    # the text of a statement had lost the parentheses of a join on the right side of a CROSS JOIN
    "SELECT count(*) FROM {empty} a CROSS JOIN ({many} b FULL JOIN {some} c ON b.i = c.i)",
    "SELECT count(*) FROM {some} a CROSS JOIN ({empty} b RIGHT JOIN ({some} c CROSS JOIN ({many} d LEFT JOIN {some} e ON d.i = e.i)) ON b.i = c.i)",
    "SELECT count(*) FROM {some} a NATURAL JOIN ({many} b JOIN (SELECT i j FROM {some}) c ON b.i = c.j)",
    "SELECT count(*) FROM {some} a, {some} b LEFT JOIN ({empty} c JOIN {many} d USING (i)) ON b.i = d.i",
    # a CTE that is written into each of its places has more scans than the bound plan
    "WITH n AS NOT MATERIALIZED (SELECT i % 3 g, count(*) a FROM {many} WHERE i NOT IN (SELECT i FROM {some}) GROUP BY g) "
    "SELECT x.g, y.a FROM n x JOIN n y ON x.g = y.g, {empty} z RIGHT JOIN {some} w ON true",
    # a recursion runs its scans in every step
    "WITH RECURSIVE c(n) AS (SELECT i FROM {some} WHERE i = 1 UNION ALL SELECT t.i + 1 FROM c JOIN {many} t ON t.i = c.n WHERE n < 9) "
    "SELECT n, u.i FROM c, {many} u WHERE u.i = n",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION SELECT t.i FROM c JOIN {many} t ON t.i <= c.n + 1 WHERE t.i NOT IN (SELECT i FROM {some} WHERE i > 5)) "
    "SELECT n FROM c",
]


@pytest.fixture(scope="module")
def filled(con):
    for place in ("memory", "r1", "r2"):
        con.execute(f"CREATE TABLE {place}.main.empty (i INTEGER)")
        con.execute(f"CREATE TABLE {place}.main.some AS SELECT range::INTEGER i FROM range(1, 8)")
        con.execute(f"CREATE TABLE {place}.main.many AS SELECT (range * 3 % 40)::INTEGER i FROM range(40)")
    return con


@pytest.mark.parametrize("number", range(len(FOUND)))
def test_found_before(filled, number):
    names = ["empty", "some", "many"]
    expected = answer(filled, FOUND[number].format(**{name: f"memory.main.{name}" for name in names}))
    for places in (("r1",) * 3, ("memory", "r1", "r1"), ("r1", "memory", "r2"), ("r2", "r1", "r1")):
        for placement in ("auto", "local", "remote"):
            filled.execute(f"SET openduck_placement = '{placement}'")
            query = FOUND[number].format(**{name: f"{place}.main.{name}" for name, place in zip(names, places)})
            assert answer(filled, query) == expected, (placement, query)
