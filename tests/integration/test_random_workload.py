"""Random workloads run natively and through ATTACH, compared after every statement.

A failure prints its seed; OPENDUCK_SEED=N runs that one, OPENDUCK_SEEDS=N that many (default 6).
"""
import os
import sys
from pathlib import Path

import duckdb
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sql"))

from workload import Workload  # noqa: E402
from workload_objects import ObjectWorkload  # noqa: E402

SEEDS = [int(os.environ["OPENDUCK_SEED"])] if "OPENDUCK_SEED" in os.environ else range(int(os.environ.get("OPENDUCK_SEEDS", 6)))
STATEMENTS = 150
ABORTED = "the transaction is aborted"


def outcome(con, sql, ordered):
    """Rows as text (sorted unless ordered), or the error's class."""
    try:
        rows = [repr(row) for row in con.execute(sql).fetchall()]
        return rows if ordered else sorted(rows)
    except duckdb.Error as problem:
        return ABORTED if "transaction is aborted" in str(problem) else type(problem).__name__


def same(got, want):
    """In an aborted transaction DuckDB folds constants before it says so: either error will do."""
    return got == want or (isinstance(got, str) and isinstance(want, str) and ABORTED in (got, want))


def compare(workload, both, seed):
    history = []
    for connection, sql, ordered in workload.statements(STATEMENTS):
        history.append(f"[{connection}] {sql}")
        want, got = (outcome(con, sql, ordered) for con in both[connection])
        assert same(got, want), f"seed {seed}, statement {len(history)}: {sql}\nnative {want}\nremote {got}\n" + "\n".join(history)


def native_database(folder):
    native = duckdb.connect()
    native.execute(f"ATTACH '{folder}/native.duckdb' AS r (STORAGE_VERSION 'v1.5.0')")
    return native


def using(con):
    con.execute("USE r")
    return con


@pytest.mark.parametrize("seed", SEEDS)
def test_workload(seed, tmp_path, attach_empty):
    native = native_database(tmp_path)
    remote = attach_empty("r")
    workload = Workload(seed)
    compare(workload, [(using(native.cursor()), using(remote.cursor())) for _ in range(workload.connections)], seed)


@pytest.mark.parametrize("seed", SEEDS)
def test_objects(seed, tmp_path, server, new_database):
    """Views, macros, sequences, ...; every client of the server is a DuckDB of its own."""
    native = native_database(tmp_path)
    name = new_database()
    workload = ObjectWorkload(seed)
    both = [(using(native.cursor()), using(server.attach("r", name))) for _ in range(workload.connections)]
    compare(workload, both, seed)
    for _, remote in both:
        remote.close()
