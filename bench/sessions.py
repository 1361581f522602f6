"""What a client does with a subject: one class per way of talking to it, all with the same methods."""
from workload import HYBRID


class Attached:
    """A DuckDB connection that sees the remote tables under r."""

    def __init__(self, con):
        self.con = con

    def text(self, sql):
        return sql.replace("{r}", "r.")

    def arrow(self, sql):
        return self.con.execute(self.text(sql)).to_arrow_table()

    def stream(self, sql):
        reader = self.con.execute(self.text(sql)).to_arrow_reader(100_000)
        return sum(batch.num_rows for batch in reader)

    def rows(self, sql):
        return self.con.execute(self.text(sql)).fetchall()

    def shipped(self, sql):
        """The statement sent whole to the server, where the subject has such a way."""
        return self.rows(sql)

    def local(self, sql):
        self.con.execute(sql)

    def ctas(self, name, sql):
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {self.text(sql)}")

    def upload(self, table, local):
        self.con.execute(f"CREATE TABLE r.{table} AS SELECT * FROM {local}")

    def hybrids(self):
        return {"hybrid": lambda: self.rows(HYBRID)}

    def use(self):
        self.con.execute("USE r")

    insert = rows


class QuackText(Attached):
    """Quack, with every statement shipped whole: FROM r.query('...')."""

    def text(self, sql):
        sql = sql.replace("{r}", "").rstrip().rstrip(";")
        return "FROM r.query('" + sql.replace("'", "''") + "')"

    def hybrids(self):
        def pull():
            part = self.text("SELECT l_orderkey, l_extendedprice FROM lineitem")
            return self.con.execute("SELECT count(*), sum(l_extendedprice) FROM "
                                    f"({part}) JOIN keys ON l_orderkey = k").fetchall()

        def push():
            keys = ",".join(str(k) for k, in self.con.execute("FROM keys").fetchall())
            return self.rows("SELECT count(*), sum(l_extendedprice) FROM lineitem"
                             f" WHERE l_orderkey IN ({keys})")
        return {"hybrid pull": pull, "hybrid push": push}

    def use(self):
        pass


class FlightSql:
    """An ADBC connection for remote text, and a DuckDB for local work."""

    def __init__(self, uri, options):
        import adbc_driver_flightsql
        import adbc_driver_manager
        import duckdb
        self.adbc = adbc_driver_manager
        self.database = adbc_driver_flightsql.connect(uri, db_kwargs=options)
        self.link = adbc_driver_manager.AdbcConnection(self.database)
        self.con = duckdb.connect()

    def reader(self, sql):
        import pyarrow
        statement = self.adbc.AdbcStatement(self.link)
        statement.set_sql_query(sql.replace("{r}", ""))
        handle, _ = statement.execute_query()
        reader = pyarrow.RecordBatchReader._import_from_c(handle.address)
        return statement, reader

    def arrow(self, sql):
        statement, reader = self.reader(sql)
        table = reader.read_all()
        statement.close()
        return table

    def stream(self, sql):
        statement, reader = self.reader(sql)
        rows = sum(batch.num_rows for batch in reader)
        statement.close()
        return rows

    def shipped(self, sql):
        return self.rows(sql)

    def rows(self, sql):
        table = self.arrow(sql)
        return [tuple(row.values()) for row in table.to_pylist()]

    def local(self, sql):
        self.con.execute(sql)

    def ctas(self, name, sql):
        statement, arriving = self.reader(sql)
        self.con.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM arriving")
        statement.close()

    def insert(self, sql):
        statement = self.adbc.AdbcStatement(self.link)
        statement.set_sql_query(sql.replace("{r}", ""))
        statement.execute_update()
        statement.close()

    def upload(self, table, local):
        statement = self.adbc.AdbcStatement(self.link)
        statement.set_options(**{"adbc.ingest.target_table": table,
                                 "adbc.ingest.mode": "adbc.ingest.mode.create"})
        statement.bind_stream(self.con.execute(f"FROM {local}").to_arrow_reader(61440))
        statement.execute_update()
        statement.close()

    def hybrids(self):
        def pull():
            statement, arriving = self.reader("SELECT l_orderkey, l_extendedprice FROM lineitem")
            row = self.con.execute("SELECT count(*), sum(l_extendedprice) FROM arriving"
                                   " JOIN keys ON l_orderkey = k").fetchall()
            statement.close()
            return row

        def push():
            self.upload("pushed_keys", "keys")
            row = self.rows("SELECT count(*), sum(l_extendedprice) FROM lineitem"
                            " JOIN pushed_keys ON l_orderkey = k")
            self.insert("DROP TABLE pushed_keys")
            return row
        return {"hybrid pull": pull, "hybrid push": push}

    def use(self):
        pass
