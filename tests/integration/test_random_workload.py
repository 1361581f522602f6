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

SEEDS = [int(os.environ["OPENDUCK_SEED"])] if "OPENDUCK_SEED" in os.environ else range(int(os.environ.get("OPENDUCK_SEEDS", 6)))
STATEMENTS = 150


def outcome(con, sql, ordered):
    """Rows as text (sorted unless ordered), or the error's class."""
    try:
        rows = [repr(row) for row in con.execute(sql).fetchall()]
        return rows if ordered else sorted(rows)
    except duckdb.Error as problem:
        return type(problem).__name__


@pytest.mark.parametrize("seed", SEEDS)
def test_workload(seed, tmp_path, attach_empty):
    native = duckdb.connect()
    native.execute(f"ATTACH '{tmp_path}/native.duckdb' AS r (STORAGE_VERSION 'v1.5.0')")
    remote = attach_empty("r")
    workload = Workload(seed)
    both = []
    for _ in range(workload.connections):
        pair = (native.cursor(), remote.cursor())
        for con in pair:
            con.execute("USE r")
        both.append(pair)
    history = []
    for connection, sql, ordered in workload.statements(STATEMENTS):
        history.append(f"[{connection}] {sql}")
        want, got = (outcome(con, sql, ordered) for con in both[connection])
        assert got == want, f"seed {seed}, statement {len(history)}: {sql}\nnative {want}\nremote {got}\n" + "\n".join(history[-12:])
