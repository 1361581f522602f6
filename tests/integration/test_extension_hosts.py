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


def test_cli(server, new_database):
    program = Path(sys.executable).with_name("duckdb")
    if not program.exists():
        pytest.skip("the duckdb-cli wheel is not installed")
    text = ";\n".join([*script(server, new_database()), QUERY]) + ";\n"
    done = subprocess.run([program, "-unsigned", "-json"], input=text, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.strip().splitlines()[-1]) == [{"n": 3, "s": 1007}]


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
  const rows = (await con.runAndReadAll(%s)).getRowObjects();
  console.log(JSON.stringify(rows, (_, v) => typeof v === 'bigint' ? Number(v) : v));
})().catch(problem => { console.error(problem); process.exit(1); });
""" % (json.dumps(script(server, new_database())), json.dumps(QUERY)))
    done = subprocess.run(["node", program], capture_output=True, text=True, timeout=120,
                          env=os.environ | {"NODE_PATH": str(modules)})
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [{"n": 3, "s": 1007}]
