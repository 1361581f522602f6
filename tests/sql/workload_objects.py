"""More of SQL at random: views, macros, sequences, indexes, constraints, nested types, MERGE, ON CONFLICT, RETURNING,
listings, prepared statements and local tables, on top of workload.py."""
from workload import TYPES, Workload

NESTED = {
    "STRUCT(a INTEGER, b STRUCT(c VARCHAR[], d DATE))":
        lambda r: f"{{'a': {r.randrange(9)}, 'b': {{'c': ['x{r.randrange(5)}', NULL], 'd': DATE '2024-01-0{r.randrange(1, 9)}'}}}}",
    "MAP(VARCHAR, INTEGER)": lambda r: f"MAP {{'k{r.randrange(3)}': {r.randrange(9)}, 'z': NULL}}",
    "UNION(n INTEGER, s VARCHAR)": lambda r: r.choice([f"union_value(n := {r.randrange(9)})", "union_value(s := 'one')"]),
    "INTEGER[3]": lambda r: f"[{r.randrange(9)}, NULL, {r.randrange(9)}]::INTEGER[3]",
    "STRUCT(x INTEGER)[]": lambda r: r.choice(["[]", f"[{{'x': {r.randrange(9)}}}, NULL]"]),
    "VARCHAR[][]": lambda r: r.choice(["[['a'], [], NULL]", "[]"]),
    "TIMESTAMPTZ": lambda r: f"TIMESTAMPTZ '2024-03-1{r.randrange(9)} 12:00:00+00'",
    "UUID": lambda r: f"'0000000{r.randrange(9)}-0000-4000-8000-000000000000'::UUID",
    "HUGEINT": lambda r: str(r.choice([0, -1, 2**100])),
    "BLOB": lambda r: f"'\\x0{r.randrange(9)}ab'::BLOB",
    "BIT": lambda r: f"'10{r.randrange(2)}'::BIT",
    "INTERVAL": lambda r: f"INTERVAL {r.randrange(20)} MONTH",
}
SUMMABLE = {"INTEGER", "BIGINT", "DECIMAL(12, 3)"}
for _type, _make in NESTED.items():
    TYPES.setdefault(_type, _make)


class ObjectWorkload(Workload):
    def __init__(self, seed, connections=3):
        super().__init__(seed, connections)
        self.keyed = set()      # tables whose column id is a key
        self.views = {}         # name -> columns, like tables
        self.macros, self.table_macros, self.sequences, self.indexes, self.enums = [], [], [], [], []
        self.prepared = [0] * connections

    def statements(self, count):
        for connection in range(self.connections):
            yield connection, "CREATE TEMP TABLE mine AS SELECT range AS id, 'row ' || range AS s FROM range(20)", False
        makers = [(4, self.create), (1, self.drop), (4, self.alter), (8, self.insert), (4, self.update), (3, self.delete),
                  (8, self.select), (2, self.join), (4, self.transaction), (1, self.wrong), (1, self.copy_table),
                  (2, self.view), (2, self.use_view), (2, self.macro), (2, self.use_macro), (2, self.sequence),
                  (3, self.use_sequence), (3, self.index), (3, self.constrained), (4, self.merge), (4, self.conflict),
                  (4, self.returning), (3, self.listing), (2, self.prepare), (2, self.execute), (3, self.mixed),
                  (1, self.enum), (1, self.comment), (1, self.truncate)]
        yield 0, "CREATE TABLE anchor (i INTEGER)", False
        for _ in range(count):
            maker = self.random.choices([m for _, m in makers], [w for w, _ in makers])[0]
            connection = self.random.randrange(self.connections)
            made = maker(connection) if self.tables or maker == self.create else self.create(connection)
            yield connection, *made
            if made[0] == "BEGIN":
                yield connection, "SELECT count(*) FROM anchor", False
        for connection in range(self.connections):
            if self.in_transaction[connection]:
                yield connection, "ROLLBACK", False

    def new(self, letter):
        self.names += 1
        return f"{letter}{self.names}"

    def pick(self, names):
        return self.random.choice(names) if names else "no_such"

    def keyed_table(self):
        names = sorted(name for name in self.keyed if name in self.tables)
        return self.random.choice(names) if names else None

    # ---- definitions

    def alter(self, connection):
        r = self.random
        if r.random() < 0.5:
            return super().alter(connection)
        name = self.table()
        columns = self.tables[name]
        column = r.choice(sorted(columns))
        kind = r.randrange(6)
        if kind == 0 and name.startswith("t"):
            fresh = self.new("t")
            self.tables[fresh] = self.tables.pop(name)
            if name in self.keyed:
                self.keyed.add(fresh)
            return f"ALTER TABLE {name} RENAME TO {fresh}", False
        if kind == 1:
            return f"ALTER TABLE {name} ALTER COLUMN {column} SET DEFAULT {TYPES[columns[column]](r)}", False
        if kind == 2:
            return f"ALTER TABLE {name} ALTER COLUMN {column} DROP DEFAULT", False
        if kind == 3:
            return f"ALTER TABLE {name} ALTER COLUMN {column} {r.choice(['SET', 'DROP'])} NOT NULL", False
        if kind == 4 and columns[column] in SUMMABLE:
            columns[column] = "VARCHAR"
            return f"ALTER TABLE {name} ALTER COLUMN {column} TYPE VARCHAR", False
        return f"ALTER TABLE IF EXISTS no_such ADD COLUMN IF NOT EXISTS {column} INTEGER", False

    def constrained(self, _):
        r, name = self.random, self.new("t")
        parent = self.keyed_table()
        columns = {"id": "INTEGER", "n": "INTEGER", "s": "VARCHAR", "x": r.choice(sorted(NESTED))}
        parts = ["id INTEGER PRIMARY KEY", "n INTEGER CHECK (n IS NULL OR n < 500)", "s VARCHAR UNIQUE NOT NULL DEFAULT 'd'",
                 f"x {columns['x']}"]
        if self.sequences and r.random() < 0.3:
            parts[0] = f"id INTEGER PRIMARY KEY DEFAULT nextval('{self.pick(self.sequences)}')"
        if r.random() < 0.3:
            parts.append("g INTEGER GENERATED ALWAYS AS (n + 1) VIRTUAL")
        if parent and r.random() < 0.4:
            parts.append(f"p INTEGER REFERENCES {parent} (id)")
            columns["p"] = "INTEGER"
        self.tables[name] = columns
        self.keyed.add(name)
        return f"CREATE TABLE {name} ({', '.join(parts)})", False

    def view(self, _):
        r, name = self.random, self.table()
        if self.views and r.random() < 0.3:
            old = r.choice(sorted(self.views))
            if r.random() < 0.5:
                del self.views[old]
                return f"DROP VIEW {old}", False
            fresh = self.new("v")
            self.views[fresh] = self.views.pop(old)
            return f"ALTER VIEW {old} RENAME TO {fresh}", False
        columns = self.tables[name]
        chosen = r.sample(sorted(columns), r.randrange(1, len(columns) + 1))
        view = r.choice([self.new("v"), *sorted(self.views)][:2])
        self.views[view] = {column: columns[column] for column in chosen}
        return (f"CREATE OR REPLACE VIEW {view} AS SELECT {', '.join(chosen)} FROM {name} WHERE {self.predicate(columns)}",
                False)

    def use_view(self, _):
        name = self.pick(sorted(self.views))
        return self.random.choice([(f"SELECT * FROM {name} ORDER BY ALL", True), (f"SELECT count(*) FROM {name}", False),
                                   (f"DESCRIBE {name}", False), (f"DESCRIBE SELECT * FROM {name}", False)])

    def macro(self, _):
        r = self.random
        if r.random() < 0.3 and self.macros:
            return f"DROP MACRO {self.macros.pop(r.randrange(len(self.macros)))}", False
        if r.random() < 0.4:
            name = self.new("tm")
            self.table_macros.append(name)
            return f"CREATE MACRO {name}(a) AS TABLE SELECT *, a AS extra FROM {self.table()}", False
        name = r.choice([self.new("m"), *self.macros][:2])
        if name not in self.macros:
            self.macros.append(name)
        body = r.choice(["a + b", "coalesce(a, b) * 2", f"(SELECT count(*) FROM {self.table()}) + a + b"])
        return f"CREATE OR REPLACE MACRO {name}(a, b := {r.randrange(5)}) AS {body}", False

    def use_macro(self, _):
        r = self.random
        if self.table_macros and r.random() < 0.4:
            return f"SELECT * FROM {self.pick(self.table_macros)}(7) ORDER BY ALL", True
        return f"SELECT {self.pick(self.macros)}({r.randrange(9)}) AS x", False

    def sequence(self, _):
        r = self.random
        if r.random() < 0.2 and self.sequences:
            return f"DROP SEQUENCE {self.sequences.pop(r.randrange(len(self.sequences)))}", False
        name = self.new("s")
        self.sequences.append(name)
        return f"CREATE SEQUENCE {name} START {r.randrange(1, 50)} INCREMENT BY {r.choice([1, 1, 3])}", False

    def use_sequence(self, _):
        name = self.pick(self.sequences)
        return self.random.choice([
            (f"SELECT nextval('{name}')", False), (f"SELECT currval('{name}')", False),
            (f"SELECT nextval('{name}') FROM range(3)", True),
            (f"INSERT INTO {self.table()} (id) VALUES (nextval('{name}'))", False)])

    def index(self, _):
        r, name = self.random, self.table()
        if r.random() < 0.3 and self.indexes:
            return f"DROP INDEX {self.indexes.pop(r.randrange(len(self.indexes)))}", False
        index = self.new("i")
        self.indexes.append(index)
        column = r.choice(sorted(self.tables[name]))
        return f"CREATE {r.choice(['', '', 'UNIQUE '])}INDEX {index} ON {name} ({column})", False

    def enum(self, _):
        if self.enums and self.random.random() < 0.6:
            return f"SELECT enum_range(NULL::{self.pick(self.enums)})", False
        name = self.new("e")
        self.enums.append(name)
        return f"CREATE TYPE {name} AS ENUM ('low', 'mid{self.names}', 'high')", False

    def comment(self, _):
        name = self.table()
        column = self.random.choice(sorted(self.tables[name]))
        return self.random.choice([f"COMMENT ON TABLE {name} IS 'about {self.names}'",
                                   f"COMMENT ON COLUMN {name}.{column} IS 'column {self.names}'"]), False

    def truncate(self, _):
        return f"TRUNCATE {self.table()}", False

    def listing(self, _):
        name = self.table().strip('"')
        return self.random.choice([
            "SELECT table_name, column_count, has_primary_key, index_count, check_constraint_count, comment, sql "
            "FROM duckdb_tables() WHERE database_name = 'r'",
            f"SELECT column_name, data_type, column_default, is_nullable, comment FROM duckdb_columns() WHERE table_name = '{name}' "
            "AND database_name = 'r'",
            "SELECT table_name, constraint_type, constraint_text, constraint_column_names FROM duckdb_constraints() "
            "WHERE database_name = 'r'",
            "SELECT index_name, table_name, is_unique, expressions FROM duckdb_indexes() WHERE database_name = 'r'",
            "SELECT view_name, column_count FROM duckdb_views() WHERE database_name = 'r' AND NOT internal",
            "SELECT sequence_name, start_value, increment_by FROM duckdb_sequences() WHERE database_name = 'r'",
            "SELECT type_name, labels FROM duckdb_types() WHERE database_name = 'r' AND NOT internal",
            "SELECT function_name, parameters FROM duckdb_functions() WHERE database_name = 'r' AND NOT internal",
            "SHOW TABLES", f"DESCRIBE {self.table()}", f"PRAGMA table_info('{name}')",
            "SELECT table_name, table_type FROM information_schema.tables WHERE table_catalog = 'r'"]), False

    # ---- rows

    def source(self, columns):
        """Rows for `columns`: VALUES, another table of the server, or one of this side."""
        rows = ", ".join("(" + ", ".join(self.random.choice([str(self.random.randrange(30)), "NULL"]) if c == "id"
                                        else self.literal(t) for c, t in columns.items()) + ")" for _ in range(3))
        return f"(VALUES {rows}) AS src ({', '.join(columns)})"

    def merge(self, _):
        name = self.keyed_table()
        if not name:
            return self.constrained(_)
        r, columns = self.random, self.tables[name]
        if "id" not in columns:
            return f"SELECT count(*) FROM {name}", False
        names = ["id", *r.sample(sorted(c for c in columns if c != "id"), min(2, len(columns) - 1))]
        chosen = {c: columns[c] for c in names}
        sets = ", ".join(f"{c} = src.{c}" for c in names[1:]) or "id = src.id"
        matched = r.choice([f"UPDATE SET {sets}", "DELETE", "DO NOTHING"])
        missing = r.choice([f"INSERT ({', '.join(names)}) VALUES ({', '.join('src.' + c for c in names)})", "DO NOTHING"])
        source = self.source(chosen)
        if r.random() < 0.3:
            source, matched, missing = "mine AS src", r.choice(["DELETE", "DO NOTHING"]), "DO NOTHING"
        end = r.choice(["", "", " RETURNING merge_action, id"])
        return (f"MERGE INTO {name} USING {source} ON {name}.id = src.id WHEN MATCHED THEN {matched} "
                f"WHEN NOT MATCHED THEN {missing}{end}"), False

    def conflict(self, _):
        name = self.keyed_table()
        if not name:
            return self.constrained(_)
        r, columns = self.random, self.tables[name]
        names = [c for c in ("id", *sorted(columns)) if c in columns]
        names = list(dict.fromkeys(names))[:4]
        rows = ", ".join("(" + ", ".join(str(r.randrange(30)) if c == "id" else self.literal(columns[c]) for c in names) + ")"
                         for _ in range(r.randrange(1, 4)))
        other = r.choice(names)
        action = r.choice(["ON CONFLICT DO NOTHING", f"ON CONFLICT (id) DO UPDATE SET {other} = excluded.{other}",
                           "ON CONFLICT (id) DO NOTHING", f"ON CONFLICT (id) DO UPDATE SET {other} = excluded.{other} WHERE "
                           f"{name}.id > 5"])
        how = "INSERT" if r.random() < 0.8 else r.choice(["INSERT OR REPLACE", "INSERT OR IGNORE"])
        action = action if how == "INSERT" else ""
        return (f"{how} INTO {name} ({', '.join(names)}) VALUES {rows} {action}{r.choice(['', ' RETURNING *', ' RETURNING id'])}",
                False)

    def returning(self, _):
        r, name = self.random, self.table()
        columns = self.tables[name]
        column = r.choice(sorted(columns))
        where = self.predicate(columns)
        return r.choice([
            f"UPDATE {name} SET {column} = {self.literal(columns[column])} WHERE {where} RETURNING {column}",
            f"DELETE FROM {name} WHERE {where} RETURNING *",
            f"INSERT INTO {name} BY NAME SELECT {self.literal(columns[column])} AS {column} RETURNING {column}",
            f"INSERT INTO {name} DEFAULT VALUES RETURNING *",
            f"UPDATE {name} AS a SET {column} = b.{column} FROM {name} AS b WHERE a.rowid = b.rowid AND {where.replace(column, 'a.' + column, 1) if where.startswith(column) else 'true'}",
            f"DELETE FROM {name} USING anchor WHERE anchor.i = 1 AND {where}"]), False

    def mixed(self, _):
        """Rows of this side and of the server in one statement."""
        r, name = self.random, self.table()
        columns = self.tables[name]
        text = [c for c, t in columns.items() if t == "VARCHAR"]
        number = [c for c, t in columns.items() if t in ("INTEGER", "BIGINT")]
        choices = [(f"SELECT count(*) FROM {name} a JOIN mine b ON a.{c}::VARCHAR = b.id::VARCHAR", False) for c in number]
        choices += [(f"INSERT INTO {name} ({c}) SELECT id FROM mine WHERE id < {r.randrange(4)}", False) for c in number]
        choices += [(f"INSERT INTO {name} ({c}) SELECT s FROM mine WHERE id > {r.randrange(16, 20)}", False) for c in text]
        choices += [(f"UPDATE {name} SET {c} = 'from mine' WHERE {c} IN (SELECT s FROM mine)", False) for c in text]
        choices += [(f"DELETE FROM {name} USING mine WHERE {name}.{c} = mine.id AND mine.id > 10", False) for c in number]
        choices += [(f"SELECT b.s, count(*) FROM mine b LEFT JOIN {name} a ON a.{c} = b.id GROUP BY ALL ORDER BY ALL", True)
                    for c in number]
        choices.append((f"CREATE OR REPLACE TEMP TABLE kept AS SELECT * FROM {name}", False))
        return r.choice(choices)

    # ---- prepared statements

    def prepare(self, connection):
        name = self.table()
        self.prepared[connection] += 1
        body = self.random.choice([f"SELECT count(*) FROM {name} WHERE $1::INTEGER > 3", f"SELECT * FROM {name} ORDER BY ALL LIMIT $1",
                                   f"DELETE FROM {name} WHERE $1::INTEGER = 4", f"SELECT $1::INTEGER + count(*) FROM {name}"])
        return f"PREPARE p{self.prepared[connection]} AS {body}", False

    def execute(self, connection):
        if not self.prepared[connection]:
            return self.prepare(connection)
        return f"EXECUTE p{self.random.randrange(1, self.prepared[connection] + 1)}({self.random.randrange(8)})", True
