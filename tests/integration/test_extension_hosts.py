"""One extension binary in every stock host: the CLI wheel and Node. (The Python wheel is test_extension.py.)"""
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import ROOT, extension_file


def script(server, database):
    return [f"LOAD '{extension_file()}'",
            f"ATTACH 'openduck:{database}?endpoint={server.endpoint}&token={server.token}' AS r",
            "CREATE TABLE r.t AS SELECT range AS i FROM range(1000)",
            "INSERT INTO r.t VALUES (1000) RETURNING i",
            "UPDATE r.t SET i = i + 1 WHERE i = 1000",
            "CREATE TEMP TABLE l AS SELECT unnest([1, 5, 1001]) AS i"]


QUERY = "SELECT count(*) AS n, sum(i)::BIGINT AS s FROM r.t JOIN l USING (i)"
WRITTEN = "SELECT count(*) AS n, max(i)::BIGINT AS s FROM r.t"


def test_cli(server, new_database):
    program = Path(sys.executable).with_name("duckdb")
    if not program.exists():
        pytest.skip("the duckdb-cli wheel is not installed")
    text = ";\n".join([*script(server, new_database()), QUERY]) + ";\n"
    done = subprocess.run([program, "-unsigned", "-json"], input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == [{"n": 3, "s": 1007}]


DOTS = """CREATE TABLE people (id INTEGER PRIMARY KEY, name VARCHAR NOT NULL, born DATE DEFAULT '2000-01-01');
CREATE VIEW adults AS SELECT name FROM people WHERE id < 3;
CREATE INDEX by_name ON people (name);
CREATE SCHEMA other;
CREATE TABLE other.t (i INTEGER);
.import --csv --skip 1 {csv} people
.tables
.tables pe%
.schema
.schema people
.indexes
.mode insert people
SELECT * FROM people ORDER BY id;
.mode csv
SELECT * FROM adults ORDER BY ALL;
.dump
"""


def test_cli_dot_commands(server, new_database, tmp_path):
    """What the shell's own commands say of an attached database is what they say of a local one."""
    program = Path(sys.executable).with_name("duckdb")
    if not program.exists():
        pytest.skip("the duckdb-cli wheel is not installed")
    csv = tmp_path / "people.csv"
    csv.write_text("id,name,born\n1,Ada,1815-12-10\n2,Bob,2000-01-01\n3,Cy,1990-05-05\n")
    said = []
    for attach in (f"ATTACH '{tmp_path}/r.duckdb' AS r (STORAGE_VERSION 'v1.5.0');\n",
                   ";\n".join(script(server, new_database())[:2]) + ";\n"):
        done = subprocess.run([program, "-unsigned"], input=f"{attach}USE r;\n{DOTS.format(csv=csv)}", capture_output=True,
                              text=True, timeout=120)
        # The number of rows that .tables shows is an estimate.
        said.append((done.returncode, done.stderr, [line for line in done.stdout.splitlines() if " rows " not in line]))
    assert said[1] == said[0]
    assert any("Ada" in line for line in said[0][2])


def test_node(server, new_database, tmp_path):
    modules = Path(os.environ.get("OPENDUCK_NODE_PATH", ROOT / ".deps/node/node_modules"))
    if not shutil.which("node") or not modules.exists():
        pytest.skip("Node or its DuckDB package is not installed")
    program = tmp_path / "host.js"
    program.write_text("""
const { DuckDBInstance } = require('@duckdb/node-api');
(async () => {
  const instance = await DuckDBInstance.create(':memory:', { allow_unsigned_extensions: 'true' });
  const con = await instance.connect();
  for (const sql of %s) await con.run(sql);
  const appender = await con.createAppender('t', 'main', 'r');
  for (let i = 0; i < 5000; i++) { appender.appendBigInt(BigInt(i + 2000)); appender.endRow(); }
  appender.closeSync();
  const put = await con.prepare('INSERT INTO r.t VALUES ($1)');
  for (let i = 0; i < 3; i++) { put.bindBigInt(1, 10000n + BigInt(i)); await put.run(); }
  const rows = [];
  for (const sql of %s) rows.push(...(await con.runAndReadAll(sql)).getRowObjects());
  console.log(JSON.stringify(rows, (_, v) => typeof v === 'bigint' ? Number(v) : v));
})().catch(problem => { console.error(problem); process.exit(1); });
""" % (json.dumps(script(server, new_database())), json.dumps([QUERY, WRITTEN])))
    done = subprocess.run(["node", program], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"NODE_PATH": str(modules)})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"n": 3, "s": 1007}, {"n": 1001 + 5000 + 3, "s": 10002}]
