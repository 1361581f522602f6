"""The systems that are measured: how each is started and attached.

A further subject is a class with `name`, `duckdb` (the client's version), `packages` (pip), `command(db, port)` (the
server's argument list; a first word ending in ".py" is run by the subject's own interpreter) and `connect(spec)`, which
gives a session. If DuckDB can attach it as `r`, the session is `Attached(con)`.
"""
import os
import subprocess
from pathlib import Path

from machine import TOKEN
from sessions import Attached, FlightSql, QuackText

HERE = Path(__file__).resolve().parent
BUILD = Path(os.environ.get("OPENDUCK_BUILD", HERE.parent / "build"))


class Subject:
    """start() in the top process; connect() in the client process."""
    name = ""
    duckdb = "1.5.5"
    packages = ()

    def command(self, db, port):
        return None

    def environment(self):
        return {}

    def connect(self, spec):
        raise NotImplementedError



def attached_file(file):
    import duckdb
    con = duckdb.connect()
    # The format that servers write: it decides how strings are compressed, and so what an UPDATE of them costs.
    con.execute(f"ATTACH '{file}' AS r (STORAGE_VERSION 'v1.5.0')")
    return con


class Native(Subject):
    """DuckDB in the same process on a file: what a remote can at best reach.
    Measured against itself, it shows the noise of the machine."""
    name = "native"
    con = None

    def connect(self, spec):
        self.con = self.con or attached_file(spec["file"])
        return Attached(self.con.cursor())


def loaded(*names, file=":memory:"):
    """A DuckDB connection with extensions from their PyPI packages."""
    import duckdb
    import importlib
    con = duckdb.connect(file)
    for name in names:
        folder = Path(importlib.import_module(f"duckdb_extension_{name}").__file__).parent
        file = next(folder.glob(f"extensions/*/{name}.duckdb_extension"))
        con.execute(f"LOAD '{file}'")
    return con


class Quack(Subject):
    """DuckDB's own protocol, tables used through ATTACH."""
    name = "quack"
    packages = ("duckdb-extension-quack==1.5.5", "duckdb-extension-httpfs==1.5.5")
    session = Attached

    def command(self, db, port):
        return [str(HERE / "run.py"), "_quack", str(db), str(port)]

    def connect(self, spec):
        con = loaded("httpfs", "quack")
        con.execute(f"ATTACH 'quack:127.0.0.1:{spec['port']}' AS r (TOKEN '{TOKEN}')")
        return self.session(con)


class QuackQuery(Quack):
    """DuckDB's own protocol, each statement sent whole by the user."""
    name = "quack-query"
    session = QuackText


class Flight(Subject):
    """Flight SQL: GizmoSQL if GIZMOSQL_SERVER names its binary, else a stand-in."""
    name = "flight"
    packages = ("adbc-driver-flightsql==1.13.0", "adbc-driver-manager==1.13.0")
    binary = os.environ.get("GIZMOSQL_SERVER")

    def command(self, db, port):
        if self.binary:
            return [self.binary, "--backend", "duckdb", "--database-filename", str(db),
                    "--hostname", "127.0.0.1", "--port", str(port)]
        return [str(HERE / "flight_standin.py"), str(db), str(port), TOKEN]

    def environment(self):
        return {"GIZMOSQL_USERNAME": "bench", "GIZMOSQL_PASSWORD": TOKEN}

    def connect(self, spec):
        options = {"adbc.flight.sql.client_option.with_max_msg_size": str(1 << 30)}
        if self.binary:
            options |= {"username": "bench", "password": TOKEN}
        else:
            options["adbc.flight.sql.authorization_header"] = f"Bearer {TOKEN}"
        return FlightSql(f"grpc://127.0.0.1:{spec['port']}", options)


class OpenDuckSession(Attached):
    """Ours, with one more way: the user's text sent whole."""

    def shipped(self, sql):
        return self.con.execute("FROM openduck_query('r', ?)", [sql.replace("{r}", "")]).fetchall()


class OpenDuck(Subject):
    """Our own server and extension, from OPENDUCK_BUILD (default ../build)."""
    name = "openduck"
    duckdb = "1.5.6"

    def command(self, db, port):
        data = f"{db}.data"
        subprocess.run([BUILD / "openduck", "db", "create", "db", "--from", db, "--data", data], check=True,
                       stdout=subprocess.DEVNULL)
        return [str(BUILD / "openduck"), "serve", "--data", data, "--listen", f"127.0.0.1:{port}", "--token", TOKEN]

    def connect(self, spec):
        import duckdb
        con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
        con.execute(f"LOAD '{BUILD / 'openduck.duckdb_extension'}'")
        con.execute(f"ATTACH 'openduck:db?endpoint=127.0.0.1:{spec['port']}&token={TOKEN}' AS r")
        return OpenDuckSession(con)


SUBJECTS = {s.name: s for s in (Native(), Quack(), QuackQuery(), Flight(), OpenDuck())}
