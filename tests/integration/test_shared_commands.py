"""The commands on stores elsewhere (--metadata, --objects), without a server; and metadata made again from the bucket."""
import json
import os
import subprocess

import duckdb

from conftest import server_program
from plain_client import failing
from storage_servers import S3
from shared_stores import openduck, own, postgres, stores  # noqa: F401 (fixtures)


def run_failing_fsck(flags, environment):
    done = subprocess.run([server_program(), "fsck", "--json", *flags], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, env=os.environ | environment)
    assert done.returncode == 1, done.stderr
    return [line for line in done.stdout.splitlines() if '"object"' in line]


def test_commands_without_a_server(stores, tmp_path):
    flags, environment, s3 = stores

    def run(*arguments, ok=True):
        return openduck(*arguments, *flags, environment=environment, ok=ok)
    with duckdb.connect(str(tmp_path / "t.duckdb")) as con:
        con.execute("CREATE TABLE t AS SELECT range AS i FROM range(70000)")
    run("db", "create", "a", "--from", tmp_path / "t.duckdb")
    run("db", "create", "b")
    names = [json.loads(line)["name"] for line in run("db", "list", "--json").splitlines()]
    assert names == ["a", "b", "main"]
    run("snapshot", "create", "a", "--name", "first")
    assert json.loads(run("snapshot", "list", "a", "--json"))["snapshot"] == "first"
    run("clone", "a@first", "c")
    run("restore", "a@first")
    run("export", "c", tmp_path / "out.duckdb")
    with duckdb.connect(str(tmp_path / "out.duckdb")) as con:
        assert con.execute("SELECT sum(i) FROM t").fetchall() == [(sum(range(70000)),)]
    summary = json.loads(run("fsck", "--json"))
    assert summary["problems"] == 0 and summary["layers"] > 0
    run("snapshot", "drop", "a", "first")
    run("db", "drop", "b")
    assert "exists" in run("clone", "a", "c", ok=False)


def test_objects_altered_and_deleted_by_hand(stores, tmp_path):
    """Each is named; everything else goes on; nothing is overwritten."""
    flags, environment, s3 = stores

    def run(*arguments, ok=True):
        return openduck(*arguments, *flags, environment=environment, ok=ok)
    with duckdb.connect(str(tmp_path / "t.duckdb")) as con:
        con.execute("CREATE TABLE t AS SELECT range AS i FROM range(70000)")
    layers = []
    for name in ("altered", "deleted", "whole"):
        run("db", "create", name, "--from", tmp_path / "t.duckdb")
        layers.append([key for key in s3.objects if "/layers/" in key and key not in sum(layers, [])])
    altered, deleted = max(layers[0], key=lambda key: len(s3.objects[key][0])), layers[1][-1]
    data, put_id = s3.objects[altered]
    s3.objects[altered] = (data[:5000] + bytes([data[5000] ^ 1]) + data[5001:], put_id)
    del s3.objects[deleted]
    before = dict(s3.objects)
    problems = {json.loads(line)["object"] for line in run_failing_fsck(flags, environment)}
    assert {key.partition("cluster/")[2] for key in (altered, deleted)} <= problems
    assert deleted.partition("cluster/")[2] in run("export", "deleted", tmp_path / "x.duckdb", ok=False)
    run("export", "whole", tmp_path / "whole.duckdb")
    with duckdb.connect(str(tmp_path / "whole.duckdb")) as con:
        assert con.execute("SELECT count(*) FROM t").fetchall() == [(70000,)]
    assert all(s3.objects[key] == before[key] for key in before if "/layers/" in key)


def test_what_another_server_writes(own, stores):
    flags, environment, _ = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t AS SELECT range AS i FROM range(10)")
    server.run("snapshot", "create", "main", "--name", "s")
    client.execute("INSERT INTO t VALUES (99)")
    for command in (["db", "drop", "main"], ["restore", "main@s"], ["clone", "main", "x"]):
        error = openduck(*command, *flags, environment=environment, ok=False)
        assert str(server.folder / "data") in error, error
    openduck("clone", "main@s", "copy", *flags, environment=environment)
    assert json.loads(openduck("snapshot", "list", "main", "--json", *flags, environment=environment))["snapshot"] == "s"
    assert client.value("SELECT count(*) FROM t") == 11
    assert client.value("SELECT count(*) FROM t", "copy") == 10


def test_postgres_is_lost(own, stores, postgres):
    """The bucket alone gives back every database, snapshot and clone."""
    flags, environment, s3 = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t AS SELECT range AS i FROM range(1000)")
    server.run("snapshot", "create", "main", "--name", "s")
    client.execute("DELETE FROM t WHERE i >= 500")
    server.run("clone", "main@s", "copy")
    server.run("db", "create", "gone")
    server.run("db", "drop", "gone")
    assert server.stop() == 0
    postgres.sql("postgres", "DROP DATABASE test_postgres_is_lost WITH (FORCE)")
    postgres.new_database("test_postgres_is_lost")
    summary = json.loads(openduck("rebuild", *flags, "--json", environment=environment))
    assert summary["databases"] == 2 and summary["problems"] == 0 and summary["kept"] is None
    assert "--replace" in openduck("rebuild", *flags, environment=environment, ok=False)
    kept = json.loads(openduck("rebuild", *flags, "--replace", "--json", environment=environment))["kept"]
    assert kept.startswith("openduck_replaced_")
    _, client = own(flags, environment)
    assert client.value("SELECT count(*) FROM t") == 500
    assert client.value("SELECT count(*) FROM t", "copy") == 1000


def test_a_rebuild_that_fails_changes_nothing(own, stores):
    flags, environment, s3 = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t AS SELECT range AS i FROM range(1000)")
    assert server.stop() == 0
    key = next(key for key in s3.objects if "/layers/" in key)
    whole = s3.objects[key]
    s3.objects[key] = (whole[0][:-10], whole[1])
    error = openduck("rebuild", *flags, "--replace", environment=environment, ok=False)
    assert key.partition("cluster/")[2] in error
    s3.objects[key] = whole
    _, client = own(flags, environment)
    assert client.value("SELECT count(*) FROM t") == 1000
    assert failing(client.execute, "SELECT * FROM nothing").code


def serve_fails(flags, environment, tmp_path):
    return openduck("serve", "--data", tmp_path / "none", "--listen", "127.0.0.1:0", *flags, environment=environment,
                    ok=False)


def test_stores_that_do_not_belong_together(own, stores, postgres, tmp_path):
    """Metadata and objects of two clusters, of none, and of another prefix: refused by name, and nothing is changed."""
    flags, environment, s3 = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t AS SELECT 1 AS i")
    assert server.stop() == 0
    before = dict(s3.objects)
    fresh = postgres.new_database("fresh")
    openduck("migrate", "--metadata", fresh)
    error = serve_fails(["--metadata", fresh, *flags[2:]], environment, tmp_path)
    assert "the metadata is new" in error and "rebuild" in error
    error = serve_fails([*flags[:3], f"s3://{S3.BUCKET}/elsewhere?path_style=true"], environment, tmp_path)
    assert "another bucket or prefix" in error and "main" in error
    own_prefix = ["--metadata", fresh, "--objects", f"s3://{S3.BUCKET}/second?path_style=true"]
    other, client = own(own_prefix, environment)
    client.execute("CREATE TABLE t AS SELECT 2 AS i")
    assert other.stop() == 0
    # Both know databases and have objects.
    s3.objects |= {key.replace("second/", "cluster/"): value for key, value in s3.objects.items()
                   if "second/branches/" in key}
    error = serve_fails(["--metadata", fresh, *flags[2:]], environment, tmp_path)
    assert "two clusters cannot share a prefix" in error
    assert all(s3.objects[key] == value for key, value in before.items())
    _, client = own(flags, environment)
    assert client.value("SELECT i FROM t") == 1
