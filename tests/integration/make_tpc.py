"""make_tpc.py PACKAGES FOLDER: a DuckDB file with TPC-H and one with TPC-DS, tiny, and their queries as JSON.

Runs with the DuckDB in PACKAGES (tools/setup test: .deps/tpc), whose extensions make both; what they make is read by any
later DuckDB.
"""
import json
import sys
from pathlib import Path

packages, folder = map(Path, sys.argv[1:])
sys.path.insert(0, str(packages))
import duckdb  # noqa: E402

for name, generate in (("tpch", "CALL dbgen(sf = 0.01)"), ("tpcds", "CALL dsdgen(sf = 0.01)")):
    file = folder / f"{name}.duckdb"
    file.unlink(missing_ok=True)
    con = duckdb.connect(str(file))
    con.execute(f"LOAD '{next(packages.glob(f'duckdb_extension_{name}/extensions/*/{name}.duckdb_extension'))}'")
    con.execute(generate)
    queries = con.execute(f"FROM {name}_queries() ORDER BY 1").fetchall()
    (folder / f"{name}.json").write_text(json.dumps(queries))
    con.close()
