"""The project's SQL tests, run natively and through ATTACH: tests/sql/*.test."""
import sys
from pathlib import Path

import duckdb
import pytest

SQL = Path(__file__).resolve().parent.parent / "sql"
sys.path.insert(0, str(SQL))

import runner  # noqa: E402

FILES = sorted(SQL.glob("*.test"))


def native(folder):
    con = duckdb.connect()
    con.execute(f"ATTACH '{folder}/r.duckdb' AS r (STORAGE_VERSION 'v1.5.0')")

    def connect():
        cursor = con.cursor()
        cursor.execute("USE r")
        return cursor
    return connect


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_native(path, tmp_path):
    """The expectations themselves: DuckDB alone gives these results."""
    runner.run(path, native(tmp_path))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_attached(path, attach_empty):
    """The same file on a fresh remote database."""
    con = attach_empty("r")

    def connect():
        cursor = con.cursor()
        cursor.execute("USE r")
        return cursor
    runner.run(path, connect)
