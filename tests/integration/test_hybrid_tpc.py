"""The 22 queries of TPC-H and the 99 of TPC-DS on tiny data: all tables on one server, and split over two servers and this
side at random, equal the same query over local tables.

Each run takes some of them, so that all come within a few; HYBRID_TPC=N takes all, each in N random splits, and HYBRID_SEED=S
other splits.
"""
import json
import math
import os
import random
import subprocess
import sys
import threading
import zlib

import pytest

from conftest import ROOT, connect

ALL = int(os.environ.get("HYBRID_TPC", "0"))
SEED = int(os.environ.get("HYBRID_SEED", "1"))
QUERIES = [("tpch", number) for number in range(1, 23)] + [("tpcds", number) for number in range(1, 100)]
PACKAGES = ROOT / ".deps/tpc"
PLACEMENTS = ["auto", "auto", "remote", "local", "random:{}"]
#: A placement that is forced or drawn may be as slow as it likes: given up after this long, and then not compared.
PATIENCE_S = 30


@pytest.fixture(scope="module")
def data():
    """The folder with both databases; made once and kept in build/."""
    if not PACKAGES.exists():
        pytest.skip("the TPC extensions are not installed: tools/setup test")
    maker = ROOT / "tests/integration/make_tpc.py"
    folder = ROOT / f"build/tpc-{zlib.crc32(maker.read_bytes()):08x}"
    if not folder.exists():
        part = folder.with_name(f"{folder.name}.{os.getpid()}")
        part.mkdir(parents=True)
        subprocess.run([sys.executable, "-I", maker, PACKAGES, part], check=True)
        part.rename(folder)
    return folder


class Sides:
    def __init__(self, server, new_database, folder, name):
        self.con = connect()
        self.queries = dict(json.loads((folder / f"{name}.json").read_text()))
        self.con.execute(f"ATTACH '{folder / name}.duckdb' AS native (READ_ONLY)")
        self.tables = [row[0] for row in self.con.execute(
            "SELECT table_name FROM duckdb_tables() WHERE database_name = 'native' ORDER BY 1").fetchall()]
        for alias in ("r1", "r2"):
            server.attach(alias, new_database(), self.con)
            self.con.execute("BEGIN; " + "".join(f"CREATE TABLE {alias}.{table} AS FROM native.{table};" for table in self.tables)
                             + "COMMIT")
        self.con.execute("CREATE SCHEMA split")

    def answer(self, where, number, placement):
        """The rows, or None: it took too long."""
        self.con.execute(f"USE {where}; SET openduck_placement = '{placement}'")
        given_up = threading.Event()

        def give_up():
            given_up.set()
            self.con.interrupt()
        timer = threading.Timer(PATIENCE_S, give_up)
        if placement not in ("auto", "local"):
            timer.start()
        try:
            return in_any_order(self.con.execute(self.queries[number]).fetchall())
        except Exception:
            if given_up.is_set():
                return None
            raise
        finally:
            timer.cancel()

    def split(self, rng):
        places = {table: rng.choice(["native", "r1", "r1", "r2"]) for table in self.tables}
        for table, place in places.items():
            self.con.execute(f"CREATE OR REPLACE VIEW memory.split.{table} AS FROM {place}.main.{table}")
        return places


@pytest.fixture(scope="module")
def sides(server, data, new_database):
    made = {}

    def get(name):
        if name not in made:
            made[name] = Sides(server, new_database, data, name)
        return made[name]
    yield get
    for each in made.values():
        each.con.close()


def rounded(value):
    """Sums of floating-point numbers differ in their last bits with the order of the rows."""
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.9g}")
    return value


def in_any_order(rows):
    return sorted(repr(tuple(map(rounded, row))) for row in rows)


def chosen(every, shift):
    return QUERIES if ALL else [query for at, query in enumerate(QUERIES) if at % every == shift]


@pytest.mark.parametrize("name, number", chosen(5, 0))
def test_all_on_one_server(sides, name, number):
    both = sides(name)
    assert both.answer("r1", number, "auto") == both.answer("native", number, "auto")


@pytest.mark.parametrize("name, number", chosen(3, 1))
def test_split_at_random(sides, name, number):
    both = sides(name)
    expected = both.answer("native", number, "auto")
    rng = random.Random(f"{name} {number} {SEED}")
    for _ in range(max(1, ALL)):
        places = both.split(rng)
        placement = rng.choice(PLACEMENTS).format(rng.randrange(1000))
        told = f"{name} {number}, {placement}, {places}"
        try:
            found = both.answer("memory.split", number, placement)
        except Exception as error:
            pytest.fail(f"{told}: {error}")
        assert found is None or found == expected, told
