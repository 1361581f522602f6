"""Starting, stopping and killing servers, and their databases."""
import os
import signal
import subprocess
import threading
import time

import duckdb
import pytest

from conftest import server_program
from plain_client import Client, Failed, failing, pb, result_of, rows


def serve(*flags, timeout=30, **environment):
    """A server that is expected to refuse to start."""
    return subprocess.run([server_program(), "serve", *map(str, flags)], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, timeout=timeout, env=os.environ | environment)


@pytest.fixture
def own(start_server):
    """start(flags): (server, client) with a process of its own."""
    clients = []

    def start(*flags, **more):
        server = start_server(*flags, **more)
        client = Client(server.endpoint, server.token)
        clients.append(client)
        return server, client
    yield start
    for client in clients:
        client.close()


def test_ready_line(own):
    server, _ = own()
    assert server.ready_line.startswith("openduck ")
    assert f"ATTACH 'openduck:main?endpoint=127.0.0.1:{server.port}&token=...'" in server.ready_line
    assert server.token not in server.ready_line


def test_one_server_a_directory(own):
    server, client = own()
    client.execute("CREATE TABLE t AS SELECT 1 AS i")
    done = serve("--data", server.folder / "data", "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and str(server.pid) in done.stderr and "locked" in done.stderr
    assert client.value("SELECT i FROM t") == 1


def test_refuses_to_start(own, tmp_path):
    server, _ = own()
    done = serve("--data", tmp_path / "a", "--listen", f"127.0.0.1:{server.port}")
    assert done.returncode != 0 and str(server.port) in done.stderr
    done = serve("--data", tmp_path / "b", "--listen", "0.0.0.0:0")
    assert done.returncode == 2 and "--token-file" in done.stderr
    done = serve("--data", "/proc/nowhere", "--listen", "127.0.0.1:0")
    assert done.returncode != 0 and "/proc/nowhere" in done.stderr
    done = serve("--data", tmp_path / "c", "--no-such-flag")
    assert done.returncode == 2 and "no-such-flag" in done.stderr


def test_acknowledged_writes_survive_sigkill(own):
    server, client = own()
    client.execute("CREATE TABLE t (i BIGINT)")
    written = set()

    def write(worker):
        mine = Client(server.endpoint, server.token)
        for n in range(100000):
            try:
                mine.execute(f"INSERT INTO t VALUES ({worker * 1000000 + n})")
            except Failed:
                break
            written.add(worker * 1000000 + n)
        mine.close()
    workers = [threading.Thread(target=write, args=(n,)) for n in range(4)]
    for worker in workers:
        worker.start()
    time.sleep(1.5)
    server.kill()
    for worker in workers:
        worker.join()
    assert len(written) > 20
    folder = server.folder
    server, client = own(folder=folder)
    kept = {row["i"] for row in client.rows("SELECT i FROM t")}
    assert written <= kept
    assert len(kept - written) <= 4  # at most the one that each was waiting for
    assert server.stop() == 0


def test_many_clients_lose_nothing(own):
    _, client = own()
    client.execute("CREATE TABLE t (i BIGINT)")
    for n in range(2):
        threads = [threading.Thread(target=lambda: [client.execute("INSERT INTO t VALUES (1)") for _ in range(25)])
                   for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert client.value("SELECT count(*) FROM t") == 200 * (n + 1)


def test_sessions_do_not_survive_a_restart(own):
    server, client = own()
    session = client.session()
    session.execute("BEGIN")
    incarnation = client.info().incarnation
    assert server.stop() == 0
    server, client = own(folder=server.folder)
    assert client.info().incarnation != incarnation
    session.client = client
    assert failing(session.execute, "SELECT 1").code == "SESSION_LOST"


# ---- stopping

def test_drain_lets_statements_finish(own):
    server, client = own()
    client.execute("CREATE TABLE t AS SELECT 1 AS i")
    sql = "SELECT count(*) AS c FROM range(60000000) WHERE hash(range) % 7 = 3"
    future = client.later(sql, inline_limit=1 << 20)
    time.sleep(0.05)
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.1)
    assert rows(client, result_of(future))[0]["c"] > 0
    assert server.process.wait(30) == 0


def test_drain_is_bounded_and_refuses_new_work(own):
    server, client = own("--drain-timeout", "1s")
    reply = client.execute("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range < 0")
    start = time.monotonic()
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    failed = failing(client.execute, "SELECT 1")
    assert failed.code == "UNAVAILABLE" and failed.detail.retryable
    with pytest.raises(Failed):
        rows(client, reply)
    assert server.process.wait(30) == 0
    assert time.monotonic() - start < 15


def test_open_transaction_may_commit_while_draining(own):
    server, client = own("--drain-timeout", "10s")
    client.execute("CREATE TABLE t (i INTEGER)")
    session = client.session()
    session.execute("BEGIN")
    session.execute("INSERT INTO t VALUES (1)")
    server.process.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    session.execute("COMMIT")
    assert server.process.wait(30) == 0
    _, client = own(folder=server.folder)
    assert client.value("SELECT count(*) FROM t") == 1


def test_second_signal_ends_the_drain(own):
    server, client = own("--drain-timeout", "60s")
    client.execute("SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range < 0")
    start = time.monotonic()
    server.process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    server.process.send_signal(signal.SIGINT)
    assert server.process.wait(30) == 0
    assert time.monotonic() - start < 20


# ---- databases

def names(client):
    reply = client.call(client.admin.ListDatabases, pb.ListDatabasesRequest())
    return {database.name: database for database in reply.databases}


def create(client, name, data=b"", **fields):
    def requests():
        yield pb.CreateDatabaseRequest(name=name, **fields)
        for at in range(0, len(data), 1 << 20):
            yield pb.CreateDatabaseRequest(data=data[at:at + (1 << 20)])
    return client.call(client.admin.CreateDatabase, requests(), timeout=60).database


def drop(client, name, **fields):
    return client.call(client.admin.DropDatabase, pb.DropDatabaseRequest(name=name, **fields)).dropped


def duckdb_file(path):
    con = duckdb.connect(str(path))
    con.execute("CREATE TABLE t AS SELECT range AS i FROM range(100000)")
    con.close()
    return path.read_bytes()


def test_databases(own, tmp_path):
    server, client = own()
    assert set(names(client)) == {"main"}
    create(client, "one")
    assert create(client, "two", duckdb_file(tmp_path / "x.duckdb")).bytes > 0
    assert client.value("SELECT sum(i) FROM t", "two") == sum(range(100000))
    assert failing(create, client, "one").code == "EXISTS"
    create(client, "one", if_not_exists=True)
    client.execute("CREATE TABLE o AS SELECT 1 AS i", "one")
    assert set(names(client)) == {"main", "one", "two"}
    for bad in ("", "../x", "a/b", ".hidden", "-x", "a b", "a'b", "x" * 200):
        assert failing(create, client, bad).code == "INVALID"
    assert failing(create, client, "junk", b"not a database" * 1000).code in ("CORRUPT", "IO")
    assert "junk" not in names(client)
    session = client.session("one")
    session.execute("SELECT 1")
    assert names(client)["one"].sessions == 1
    assert failing(drop, client, "one").code == "BUSY"
    session.close()
    assert drop(client, "one") is True
    assert failing(drop, client, "one").code == "NOT_FOUND"
    assert drop(client, "one", if_exists=True) is False
    assert failing(client.execute, "SELECT 1", "one").code == "NOT_FOUND"
    assert server.stop() == 0
    _, client = own(folder=server.folder)
    assert set(names(client)) == {"main", "two"}
    assert client.value("SELECT count(*) FROM t", "two") == 100000


def test_main_from_a_file(own, tmp_path):
    _, client = own()
    create(client, "main", duckdb_file(tmp_path / "x.duckdb"))
    assert client.value("SELECT count(*) FROM t") == 100000
    assert failing(create, client, "main").code == "EXISTS"


def test_many_start_with_main_at_once(own):
    _, client = own()
    futures = [client.later("SELECT 1 AS one") for _ in range(10)]
    assert all(rows(client, result_of(future)) == [{"one": 1}] for future in futures)
