"""Random nested types and values go up and come back bit for bit.

A failure prints its seed; OPENDUCK_SEED=N runs that one, OPENDUCK_TYPE_SEEDS=N that many (default 25).
"""
import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "sql"))

from random_types import RandomTypes  # noqa: E402

SEEDS = ([int(os.environ["OPENDUCK_SEED"])] if "OPENDUCK_SEED" in os.environ
         else range(int(os.environ.get("OPENDUCK_TYPE_SEEDS", 25))))


@pytest.fixture(scope="module")
def con(attach_empty):
    return attach_empty("r")


def differences(con, want, got, columns):
    """Rows that differ, by DuckDB's own comparison and by text (which tells -0.0 from 0.0)."""
    unequal = " OR ".join(f"a.{c} IS DISTINCT FROM b.{c} OR a.{c}::VARCHAR IS DISTINCT FROM b.{c}::VARCHAR" for c in columns)
    return con.execute(f"SELECT a.*, b.* FROM (SELECT *, row_number() OVER () AS od_n FROM {want}) a FULL JOIN"
                       f" (SELECT *, row_number() OVER () AS od_n FROM {got}) b USING (od_n) WHERE {unequal}").fetchall()


@pytest.mark.parametrize("seed", SEEDS)
def test_round_trip(seed, con):
    definitions, values = RandomTypes(seed).table()
    con.execute(f"CREATE OR REPLACE TEMP TABLE sent ({definitions})")
    con.execute(f"INSERT INTO sent VALUES {values}")
    columns = [row[0] for row in con.execute("DESCRIBE sent").fetchall()]
    types = [row[1] for row in con.execute("DESCRIBE sent").fetchall()]

    con.execute(f"CREATE OR REPLACE TABLE r.up AS SELECT * FROM sent")
    assert [row[1] for row in con.execute("DESCRIBE r.up").fetchall()] == types, f"seed {seed}"
    con.execute("CREATE OR REPLACE TEMP TABLE back AS SELECT * FROM r.up")
    assert [row[1] for row in con.execute("DESCRIBE back").fetchall()] == types, f"seed {seed}"
    assert con.execute("SELECT count(*) FROM back").fetchone() == (20,), f"seed {seed}"
    assert differences(con, "sent", "back", columns) == [], f"seed {seed}: {definitions}"

    # The same values written by the server itself, from text.
    con.execute(f"CREATE OR REPLACE TABLE r.made ({definitions})")
    con.execute(f"INSERT INTO r.made VALUES {values}")
    con.execute("CREATE OR REPLACE TEMP TABLE back AS SELECT * FROM r.made")
    assert differences(con, "sent", "back", columns) == [], f"seed {seed}: {definitions}"
