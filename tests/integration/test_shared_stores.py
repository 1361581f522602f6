"""Databases whose layers are in S3 and whose metadata is in PostgreSQL: any machine opens them."""
import json
import time

import pytest

from plain_client import Client, Failed, failing, result_of
from shared_stores import openduck, own, postgres, stores, until_free  # noqa: F401 (fixtures)


def test_another_machine_opens_what_was_closed(own, stores):
    flags, environment, s3 = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t AS SELECT range AS i, range::VARCHAR AS text FROM range(200000)")
    client.execute("INSERT INTO t VALUES (-1, 'last')")
    assert server.stop() == 0
    assert sum("/layers/" in key for key in s3.objects) >= 1
    assert not (server.folder / "data" / "metadata.sqlite").exists()
    assert not (server.folder / "data" / "objects").exists()
    other, client = own(flags, environment)
    assert other.folder != server.folder
    assert client.rows("SELECT count(*) AS n, sum(i)::BIGINT AS s, max(text) AS m FROM t") == [
        {"n": 200001, "s": sum(range(200000)) - 1, "m": "last"}]
    client.execute("INSERT INTO t VALUES (-2, 'other')")
    assert other.stop() == 0
    _, client = own(flags, environment, folder=server.folder)
    assert client.value("SELECT count(*) FROM t") == 200002


def test_one_writer_at_a_time(own, stores):
    flags, environment, _ = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t AS SELECT 1 AS i")
    _, late = own(flags, environment)
    failed = failing(late.execute, "SELECT * FROM t")
    assert failed.code == "LOCKED" and str(server.folder / "data") in str(failed)
    assert client.value("SELECT count(*) FROM t") == 1


def test_a_dead_machine_is_replaced(own, stores):
    """What was shipped is there; the word of the operator is needed while the lease of the dead one runs."""
    flags, environment, s3 = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t AS SELECT range AS i FROM range(1000)")
    assert server.stop() == 0
    server, client = own(flags, environment, folder=server.folder)
    client.execute("INSERT INTO t VALUES (5000)")
    server.kill()
    other, client = own([*flags, "--take-over"], environment)
    assert client.value("SELECT count(*) FROM t") == 1000  # the insert is on the disk of the dead machine only
    client.execute("INSERT INTO t VALUES (6000)")
    assert other.stop() == 0
    # The dead one comes back: its unshipped commit is not mixed into a history that went on without it.
    _, client = own(flags, environment, folder=server.folder)
    assert client.rows("SELECT i FROM t WHERE i >= 1000") == [{"i": 6000}]


def test_the_same_machine_after_a_crash(own, stores):
    """Its own lease does not keep it out, and nothing acknowledged is lost."""
    flags, environment, _ = stores
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t (i INTEGER)")
    for n in range(20):
        client.execute(f"INSERT INTO t VALUES ({n})", request_id=f"insert {n}")
    server.kill()
    server, client = own(flags, environment, folder=server.folder)
    client.execute("INSERT INTO t VALUES (19)", request_id="insert 19")
    assert client.value("SELECT count(*) FROM t") == 20


def test_databases_of_other_machines_are_seen(own, stores):
    flags, environment, _ = stores
    server, _ = own(flags, environment)
    other, client = own(flags, environment)
    server.run("db", "create", "fresh")
    client.execute("CREATE TABLE t AS SELECT 7 AS i", "fresh")
    assert client.value("SELECT i FROM t", "fresh") == 7
    assert "fresh" in other.run("db", "list").stdout


def test_two_machines_begin_at_once(own, stores):
    """Both make "main"; one of them made it, and has it until it lets go."""
    flags, environment, _ = stores
    clients = [own([*flags, "--database-timeout", "1s"], environment)[1] for _ in range(2)]
    futures = [client.later("SELECT 1") for client in clients]
    outcomes = []
    for future in futures:
        try:
            result_of(future)
            outcomes.append("OK")
        except Failed as failed:
            outcomes.append(failed.code)
    assert sorted(outcomes) in (["LOCKED", "OK"], ["OK", "OK"])
    for n, client in enumerate(clients):
        until_free(lambda: client.execute(f"CREATE TABLE t{n} (i INTEGER)"))
    assert until_free(lambda: clients[0].value("SELECT count(*) FROM duckdb_tables()")) == 2


def test_copy_to_other_stores_and_back(own, stores, tmp_path, start_server):
    flags, environment, _ = stores
    local = start_server()
    client = Client(local.endpoint, local.token)
    client.execute("CREATE TABLE t AS SELECT range AS i FROM range(5000)")
    client.close()
    assert local.stop() == 0
    to = ["--to-metadata", flags[1], "--to-objects", flags[3]]
    summary = json.loads(openduck("copy-store", "--from", local.folder / "data", *to, "--json", environment=environment))
    assert summary["databases"] == 1 and summary["objects"] >= 2 and summary["bytes"] > 0
    assert "metadata already" in openduck("copy-store", "--from", local.folder / "data", *to, environment=environment, ok=False)
    _, client = own(flags, environment)
    assert client.value("SELECT sum(i)::BIGINT FROM t") == sum(range(5000))
    client.execute("INSERT INTO t VALUES (1)")
    back = tmp_path / "back"
    openduck("copy-store", "--from-metadata", flags[1], "--from-objects", flags[3], "--to", back / "data",
             environment=environment)
    server = start_server(folder=back)
    client = Client(server.endpoint, server.token)
    assert client.value("SELECT count(*) FROM t") >= 5000
    client.close()


@pytest.mark.parametrize("flags, said", [
    (["--metadata", "postgres://127.0.0.1:1/x"], "--metadata and --objects together"),
    (["--metadata", "mysql://x", "--objects", "s3://b"], "mysql"),
    (["--metadata", "postgres://127.0.0.1:1/x", "--objects", "s3://b?colour=red"], "127.0.0.1"),
    (["--metadata", "m.sqlite", "--objects", "s3://b?colour=red"], "colour"),
    (["--metadata", "m.sqlite", "--objects", "s3://"], "bucket"),
    (["--metadata", "m.sqlite", "--objects", "ftp://x"], "ftp"),
])
def test_addresses_that_are_none(tmp_path, flags, said):
    flags = [str(tmp_path / flag) if flag == "m.sqlite" else flag for flag in flags]
    error = openduck("serve", "--data", tmp_path / "data", "--listen", "127.0.0.1:0", *flags,
                     environment={"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "y"}, ok=False)
    assert said in error


def test_a_directory_with_metadata_of_its_own(own, stores, start_server):
    flags, environment, _ = stores
    local = start_server()
    assert local.stop() == 0
    error = openduck("serve", "--data", local.folder / "data", "--listen", "127.0.0.1:0", *flags,
                     environment=environment, ok=False)
    assert "copy-store" in error
