"""Attaching databases of many tables: time and memory of the client, and of the first query.

    python3 bench/catalogs.py [--tables 1000 100000]

A file of so many tables is made by DuckDB, given to a server of its own, and attached by fresh processes: "cold" to a
server that has just started (it opens the database first, which is also measured natively), "warm" to one that has it open.
"""
import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

BUILD = Path(os.environ.get("OPENDUCK_BUILD", Path(__file__).resolve().parent.parent / "build"))
TOKEN = "bench-token"
CLIENT = """
import json, resource, sys, time
import duckdb
con = duckdb.connect(config={"allow_unsigned_extensions": "true"})
load, attach, query = sys.argv[1:]
if load:
    con.execute(load)
con.execute("SET enable_progress_bar = false").fetchall()
rss = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
found, before, start = {}, rss(), time.perf_counter()
for name, sql in (("attach_ms", attach), ("first_query_ms", query), ("next_query_ms", query)):
    start = time.perf_counter()
    con.execute(sql).fetchall()
    found[name] = round((time.perf_counter() - start) * 1000, 1)
print(json.dumps(found | {"client_mib": round(rss() - before, 1)}))
"""


def make(path, tables):
    import duckdb
    con = duckdb.connect(str(path), config={"storage_compatibility_version": "v1.5.0"})
    con.execute("BEGIN")
    for first in range(0, tables, 1000):
        con.execute(";".join(f"CREATE TABLE table_{i} (id BIGINT PRIMARY KEY, name VARCHAR NOT NULL, price DECIMAL(18, 3),"
                             f" made TIMESTAMP DEFAULT now(), tags VARCHAR[])"
                             for i in range(first, min(first + 1000, tables))))
    con.execute("COMMIT")
    con.close()


def client(load, attach, query):
    done = subprocess.run([sys.executable, "-c", CLIENT, load, attach, query], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    return json.loads(done.stdout)


class Server:
    def __init__(self, folder):
        self.command = [BUILD / "openduck", "serve", "--data", folder / "data", "--listen", "127.0.0.1:0", "--token", TOKEN]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, text=True)
        self.port = int(self.process.stdout.readline().split(" ready on 127.0.0.1:")[1].split(";")[0])
        return self

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()


def measure(folder, tables):
    file = folder / f"many{tables}.duckdb"
    start = time.perf_counter()
    make(file, tables)
    print(json.dumps({"tables": tables, "case": "made natively", "s": round(time.perf_counter() - start, 1)}), flush=True)
    query = "SELECT count(*) FROM r.table_7"
    load = f"LOAD '{BUILD / 'openduck.duckdb_extension'}'"
    name = f"many{tables}"
    native = client("", f"ATTACH '{file}' AS r (READ_ONLY)", query)
    print(json.dumps({"tables": tables, "case": "native"} | native), flush=True)
    with Server(folder) as server:
        subprocess.run([BUILD / "openduck", "db", "create", name, "--from", file, "--endpoint", f"127.0.0.1:{server.port}",
                        "--token", TOKEN], check=True, stdout=subprocess.DEVNULL)
    with Server(folder) as server:
        attach = f"ATTACH 'openduck:{name}?endpoint=127.0.0.1:{server.port}&token={TOKEN}' AS r"
        for case in ("cold", "warm", "warm"):
            print(json.dumps({"tables": tables, "case": case} | client(load, attach, query)), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, nargs="+", default=[1000, 100_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="openduck-bench-") as folder:
        for tables in options.tables:
            measure(Path(folder), tables)


if __name__ == "__main__":
    main()
