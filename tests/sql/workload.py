"""A random SQL workload: schemas, DDL, DML, queries and transactions of several connections, all from one seed.

`Workload(seed).statements(n)` yields (connection number, sql, ordered). Statements are valid most of the time and wrong
some of the time on purpose: errors are compared too.
"""
import random

TYPES = {
    "INTEGER": lambda r: str(r.choice([0, 1, -1, 7, 100, 2147483647, -2147483648, r.randrange(1000)])),
    "BIGINT": lambda r: str(r.choice([0, 9223372036854775807, r.randrange(10**12)])),
    "DOUBLE": lambda r: r.choice(["1.5", "-0.25", "'nan'::DOUBLE", "'inf'::DOUBLE", str(r.randrange(100) / 8)]),
    "DECIMAL(12, 3)": lambda r: f"{r.randrange(-10**6, 10**6) / 1000}",
    "VARCHAR": lambda r: r.choice(["''", "'a'", "'it''s'", "'Ünïcode 🦆'", f"'v{r.randrange(50)}'"]),
    "DATE": lambda r: f"DATE '20{r.randrange(10, 30)}-0{r.randrange(1, 10)}-1{r.randrange(10)}'",
    "BOOLEAN": lambda r: r.choice(["true", "false"]),
    "INTEGER[]": lambda r: r.choice(["[]", "[1, 2, 3]", "[NULL, 5]"]),
    "STRUCT(x INTEGER, y VARCHAR)": lambda r: f"{{'x': {r.randrange(9)}, 'y': 'y{r.randrange(9)}'}}",
}


class Workload:
    def __init__(self, seed, connections=3):
        self.random = random.Random(seed)
        self.connections = connections
        self.tables = {}        # name -> {column: type}; a guess that rollbacks make wrong, which is fine
        self.in_transaction = [False] * connections
        self.names = 0

    def statements(self, count):
        makers = [(4, self.create), (1, self.drop), (2, self.alter), (12, self.insert), (6, self.update), (4, self.delete),
                  (14, self.select), (3, self.join), (4, self.transaction), (1, self.wrong), (2, self.copy_table)]
        yield 0, "CREATE TABLE anchor (i INTEGER)", False
        for _ in range(count):
            maker = self.random.choices([m for _, m in makers], [w for w, _ in makers])[0]
            connection = self.random.randrange(self.connections)
            made = maker(connection) if self.tables or maker == self.create else self.create(connection)
            yield connection, *made
            if made[0] == "BEGIN":
                # A transaction's snapshot is that of its first statement that reaches the database; a statement that
                # fails before that begins it in DuckDB, not on a server. This one begins it in both.
                yield connection, "SELECT count(*) FROM anchor", False
        for connection in range(self.connections):
            if self.in_transaction[connection]:
                yield connection, "ROLLBACK", False

    def table(self):
        return self.random.choice(sorted(self.tables))

    def literal(self, kind):
        return "NULL" if self.random.random() < 0.15 else TYPES[kind](self.random)

    def create(self, _):
        r = self.random
        self.names += 1
        name = r.choice([f"t{self.names}", f'"T {self.names}"'])
        columns = {f"c{i}": r.choice(sorted(TYPES)) for i in range(r.randrange(1, 6))}
        parts = [f"{c} {t}" + (" DEFAULT " + TYPES[t](r) if r.random() < 0.2 else "") for c, t in columns.items()]
        if r.random() < 0.4:
            columns = {"id": "INTEGER"} | columns
            parts.insert(0, "id INTEGER PRIMARY KEY")
        self.tables[name] = columns
        return f"CREATE TABLE {name} ({', '.join(parts)})", False

    def drop(self, _):
        name = self.table()
        if len(self.tables) > 2:
            del self.tables[name]
            return f"DROP TABLE {name}", False
        return f"SELECT count(*) FROM {name}", False

    def alter(self, _):
        r, name = self.random, self.table()
        columns = self.tables[name]
        kind = r.randrange(3)
        if kind == 0 and len(columns) < 8:
            self.names += 1
            column, column_type = f"a{self.names}", r.choice(sorted(TYPES))
            columns[column] = column_type
            return f"ALTER TABLE {name} ADD COLUMN {column} {column_type} DEFAULT {TYPES[column_type](r)}", False
        column = r.choice(sorted(columns))
        if kind == 1 and len(columns) > 2 and column != "id":
            del columns[column]
            return f"ALTER TABLE {name} DROP COLUMN {column}", False
        self.names += 1
        columns[f"n{self.names}"] = columns.pop(column)
        return f"ALTER TABLE {name} RENAME COLUMN {column} TO n{self.names}", False

    def insert(self, _):
        r, name = self.random, self.table()
        columns = self.tables[name]
        rows = [", ".join(self.literal(t) for t in columns.values()) for _ in range(r.randrange(1, 5))]
        names = ", ".join(columns)
        extra = r.choice(["", "", "", " RETURNING *"])
        how = r.choice(["INSERT", "INSERT", "INSERT OR IGNORE"]) if "id" in columns else "INSERT"
        return f"{how} INTO {name} ({names}) VALUES " + ", ".join(f"({row})" for row in rows) + extra, False

    def predicate(self, columns):
        column = self.random.choice(sorted(columns))
        kind = columns[column]
        return self.random.choice([f"{column} = {TYPES[kind](self.random)}", f"{column} IS NULL", f"{column} IS NOT NULL",
                                   f"{column} > {TYPES[kind](self.random)}",
                                   f"{column} IN ({TYPES[kind](self.random)}, {TYPES[kind](self.random)})", "true"])

    def update(self, _):
        name = self.table()
        columns = self.tables[name]
        column = self.random.choice(sorted(columns))
        return f"UPDATE {name} SET {column} = {self.literal(columns[column])} WHERE {self.predicate(columns)}", False

    def delete(self, _):
        name = self.table()
        return f"DELETE FROM {name} WHERE {self.predicate(self.tables[name])}", False

    def select(self, _):
        r, name = self.random, self.table()
        columns = self.tables[name]
        chosen = ", ".join(r.sample(sorted(columns), r.randrange(1, len(columns) + 1)))
        where = f"WHERE {self.predicate(columns)}"
        return r.choice([
            (f"SELECT {chosen} FROM {name} {where}", False),
            (f"SELECT count(*), count({chosen.split(',')[0]}) FROM {name} {where}", False),
            (f"SELECT {chosen} FROM {name} {where} ORDER BY ALL", True),
            (f"SELECT DISTINCT {chosen} FROM {name} ORDER BY ALL LIMIT 5", True),
            (f"SELECT {chosen}, count(*) FROM {name} GROUP BY ALL ORDER BY ALL", True),
            (f"SELECT * FROM {name} {where} ORDER BY ALL LIMIT 3 OFFSET 1", True),
            (f"SELECT max({chosen.split(',')[0]}) FROM {name} {where}", False)])

    def join(self, _):
        a, b = self.table(), self.table()
        x, y = self.random.choice(sorted(self.tables[a])), self.random.choice(sorted(self.tables[b]))
        how = self.random.choice(["JOIN", "LEFT JOIN", "FULL JOIN", "SEMI JOIN", "ANTI JOIN"])
        return f"SELECT count(*) FROM {a} p {how} {b} q ON p.{x}::VARCHAR = q.{y}::VARCHAR", False

    def copy_table(self, _):
        name = self.table()
        self.names += 1
        self.tables[f"t{self.names}"] = dict(self.tables[name])
        return f"CREATE TABLE t{self.names} AS SELECT * FROM {name}", False

    def transaction(self, connection):
        if self.in_transaction[connection]:
            self.in_transaction[connection] = False
            return self.random.choice(["COMMIT", "ROLLBACK"]), False
        self.in_transaction[connection] = True
        return "BEGIN", False

    def wrong(self, _):
        return self.random.choice([f"SELECT no_such FROM {self.table()}", "SELECT * FROM no_such_table",
                                   f"INSERT INTO {self.table()} VALUES ('x', 'y', 'z', 1, 2, 3, 4, 5, 6, 7)",
                                   "SELECT 'abc'::INTEGER", "SELEC 1"]), False
