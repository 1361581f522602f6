"""What a server remembers of requests and of the past: over restarts, storage failures, at snapshots."""
import os
import subprocess
import threading
import time

import pytest

from plain_client import Client, Failed, failing, pb, rows


@pytest.fixture
def own(start_server):
    """start(folder): (server, client) with a process of its own."""
    clients = []

    def start(**more):
        server = start_server(**more)
        client = Client(server.endpoint, server.token)
        clients.append(client)
        return server, client
    yield start
    for client in clients:
        client.close()


def again(own, server):
    """Another process on the same directory, after the first was killed."""
    server.kill()
    return own(folder=server.folder)


def test_write_sent_again_after_a_crash(own):
    server, client = own()
    client.execute("CREATE TABLE t (i INTEGER)", request_id="create")
    first = client.execute("INSERT INTO t VALUES (1), (2)", request_id="insert")
    server, client = again(own, server)
    second = client.execute("INSERT INTO t VALUES (1), (2)", request_id="insert")
    assert rows(client, second) == rows(client, first) == [{"Count": 2}]
    client.execute("CREATE TABLE t (i INTEGER)", request_id="create")
    assert client.value("SELECT count(*) FROM t") == 2
    client.execute("INSERT INTO t VALUES (3)", request_id="another insert")
    assert client.value("SELECT count(*) FROM t") == 3
    failed = failing(client.execute, "CREATE TABLE t (i INTEGER)", request_id="create once more")
    assert failed.detail.error_class == "Catalog"


def test_rows_of_returning_are_not_remembered(own):
    server, client = own()
    client.execute("CREATE TABLE t (i INTEGER)")
    client.execute("INSERT INTO t VALUES (1) RETURNING i", request_id="returning")
    _, client = again(own, server)
    assert failing(client.execute, "INSERT INTO t VALUES (1) RETURNING i", request_id="returning").code == "RESULT_GONE"
    assert client.value("SELECT count(*) FROM t") == 1


def test_commit_sent_again_after_a_crash(own):
    server, client = own()
    client.execute("CREATE TABLE t (i INTEGER)")
    session = client.session()
    session.execute("BEGIN")
    session.execute("INSERT INTO t VALUES (1)")
    session.execute("COMMIT", request_id="commit")
    _, client = again(own, server)
    reply = client.execute("COMMIT", request_id="commit", session_id=session.id, sequence=3)
    assert not reply.in_transaction
    assert client.value("SELECT count(*) FROM t") == 1


def test_transaction_that_a_crash_ended(own):
    server, client = own()
    client.execute("CREATE TABLE t (i INTEGER)")
    session = client.session()
    session.execute("BEGIN")
    session.execute("INSERT INTO t VALUES (1)", request_id="insert")
    _, client = again(own, server)
    for sequence, sql, request_id in ((2, "INSERT INTO t VALUES (1)", "insert"), (3, "COMMIT", "commit")):
        failed = failing(client.execute, sql, request_id=request_id, session_id=session.id, sequence=sequence)
        assert failed.code == "SESSION_LOST"
    assert client.value("SELECT count(*) FROM t") == 0


def test_another_caller_is_another_request(own):
    """Request ids are the caller's own: they are not remembered across databases either."""
    server, client = own()
    client.call(client.admin.CreateDatabase, iter([pb.CreateDatabaseRequest(name="other")]))
    for database in ("main", "other"):
        client.execute("CREATE TABLE t (i INTEGER)", database)
    client.execute("INSERT INTO t VALUES (1)", "main", request_id="same")
    server, client = again(own, server)
    client.execute("INSERT INTO t VALUES (1)", "other", request_id="same")
    assert client.value("SELECT count(*) FROM t", "other") == 1


# ---- a disk that fails

@pytest.fixture
def broken_disk(tmp_path):
    """(environment of a server, the file that makes its syncs fail as long as it exists)"""
    library = tmp_path / "sync_fault.so"
    source = os.path.join(os.path.dirname(__file__), "sync_fault.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    fault = tmp_path / "fault"
    environment = {"LD_PRELOAD": str(library), "SYNC_FAULT": str(fault),
                   "ASAN_OPTIONS": "detect_leaks=0:handle_segv=2:verify_asan_link_order=0"}
    return environment, fault


def until_answered(call):
    """The answer once the database is open again: those who were in it have to leave first."""
    for _ in range(200):
        try:
            return call()
        except Failed as failed:
            if failed.code not in ("UNAVAILABLE", "OUTCOME_UNKNOWN", "IO"): # IO: it could not be opened yet
                raise
        time.sleep(0.05)
    return call()


def test_an_unknown_outcome_is_resolved_by_asking_again(own, broken_disk):
    environment, fault = broken_disk
    server, client = own(environment=environment)
    client.execute("CREATE TABLE t (i INTEGER)")
    session = client.session()
    session.execute("SELECT 1")
    acknowledged = []
    for n in range(5):
        fault.touch()
        assert failing(client.execute, f"INSERT INTO t VALUES ({n})", request_id=f"insert {n}").code == "OUTCOME_UNKNOWN"
        # It stays what it was for everybody else: closed, and opened when the disk is well again.
        assert failing(client.execute, "INSERT INTO t VALUES (100)").code in ("UNAVAILABLE", "IO", "OUTCOME_UNKNOWN")
        fault.unlink()
        reply = until_answered(lambda: client.execute(f"INSERT INTO t VALUES ({n})", request_id=f"insert {n}"))
        acknowledged += rows(client, reply)
        assert client.rows("SELECT i FROM t ORDER BY i") == [{"i": i} for i in range(n + 1)]
    assert acknowledged == [{"Count": 1}] * 5
    assert failing(session.execute, "SELECT 1").code == "SESSION_LOST"
    assert "opened again when its sessions have ended" in server.log_text()


def test_many_writers_and_a_disk_that_fails_now_and_then(own, broken_disk):
    """Each row is there exactly once for whoever asked until an answer came."""
    environment, fault = broken_disk
    server, client = own(environment=environment)
    client.execute("CREATE TABLE t (writer INTEGER, n INTEGER)")
    done, problems = threading.Event(), []

    def write(writer):
        mine = Client(server.endpoint, server.token)
        for n in range(40):
            until_answered(lambda: mine.execute(f"INSERT INTO t VALUES ({writer}, {n})", request_id=f"{writer} {n}"))
        mine.close()

    def guarded(writer):
        try:
            write(writer)
        except Exception as problem:  # pylint: disable=broad-except
            problems.append(problem)

    writers = [threading.Thread(target=guarded, args=(writer,)) for writer in range(4)]
    for writer in writers:
        writer.start()

    def fail():
        while not done.wait(0.15):
            fault.touch()
            time.sleep(0.02)
            fault.unlink()
    failer = threading.Thread(target=fail)
    failer.start()
    for writer in writers:
        writer.join()
    done.set()
    failer.join()
    assert not problems, problems
    counts = until_answered(lambda: client.rows(
        "SELECT writer, count(*) AS n, count(DISTINCT n) AS different FROM t GROUP BY writer ORDER BY writer"))
    assert counts == [{"writer": writer, "n": 40, "different": 40} for writer in range(4)]


# ---- positions and the past

def position(reply):
    return f"{reply.commit.epoch}.{reply.commit.lsn}"


def test_positions_rise(own):
    _, client = own()
    created = client.execute("CREATE TABLE t (i INTEGER)").commit
    inserted = client.execute("INSERT INTO t VALUES (1)").commit
    read = client.execute("SELECT * FROM t").commit
    assert created.branch == inserted.branch == read.branch and len(read.branch) == 36
    assert created.epoch == inserted.epoch == read.epoch >= 1
    assert 0 < created.lsn < inserted.lsn <= read.lsn


def test_what_was_there(own):
    server, client = own()
    moments = [client.execute("CREATE TABLE t (i INTEGER)")]
    for n in range(1, 6):
        moments.append(client.execute(f"INSERT INTO t VALUES ({n})"))
    client.execute("ALTER TABLE t ADD COLUMN j INTEGER")
    client.execute("DELETE FROM t")

    def check(client):
        for n, moment in enumerate(moments):
            assert client.value("SELECT count(*) FROM t", snapshot=position(moment)) == n
            assert client.rows("SELECT * FROM t ORDER BY i", snapshot=position(moment)) == [
                {"i": i} for i in range(1, n + 1)]
        assert client.value("SELECT count(*) FROM t") == 0
    check(client)
    server, client = again(own, server)
    check(client)
    server.stop()
    _, client = own(folder=server.folder)
    check(client)


def test_a_snapshot_is_read_only(own):
    _, client = own()
    moment = client.execute("CREATE TABLE t AS SELECT 42 AS i")
    for sql in ("INSERT INTO t VALUES (1)", "CREATE TABLE u (i INTEGER)", "DROP TABLE t"):
        assert failing(client.execute, sql, snapshot=position(moment)).code in ("READ_ONLY", "SQL")
    session = client.session()
    session.execute("CREATE TEMP TABLE mine AS SELECT 1 AS i", snapshot=position(moment))
    assert session.value("SELECT sum(i) FROM (FROM t UNION ALL FROM mine)", snapshot=position(moment)) == 43
    assert failing(session.execute, "SELECT 1").code == "INVALID"


def test_snapshots_that_are_not(own):
    _, client = own()
    client.execute("CREATE TABLE t AS SELECT 42 AS i")
    for selector in ("nothing", "1.999999999", "999999999", "2001-01-01"):
        failed = failing(client.execute, "SELECT 1", snapshot=selector)
        assert failed.code == "NOT_FOUND", selector
    assert failing(client.execute, "SELECT 1", snapshot="2999-01-01").code == "INVALID"
    assert client.value("SELECT i FROM t") == 42


def test_many_snapshots_at_once(own):
    """More than may be open at a time: those that nobody reads give way."""
    _, client = own()
    client.execute("CREATE TABLE t (i INTEGER)")
    moments = [position(client.execute(f"INSERT INTO t VALUES ({n})")) for n in range(40)]
    for n, moment in enumerate(moments):
        assert client.value("SELECT count(*) FROM t", snapshot=moment) == n + 1


# ---- what nobody needs any more

def test_layers_of_dropped_databases_go(start_server):
    server = start_server("--collect-every", "1s", "--keep-dropped", "1ms")
    client = Client(server.endpoint, server.token)
    for name in ("stays", "goes"):
        client.call(client.admin.CreateDatabase, iter([pb.CreateDatabaseRequest(name=name)]))
        client.execute("CREATE TABLE t AS SELECT range AS i FROM range(100000)", name)
    assert server.stop() == 0
    client.close()
    layers = server.folder / "data" / "objects" / "layers"
    before = set(os.listdir(layers))
    server = start_server("--collect-every", "1s", "--keep-dropped", "1ms", folder=server.folder)
    client = Client(server.endpoint, server.token)
    client.call(client.admin.DropDatabase, pb.DropDatabaseRequest(name="goes"))
    end = time.monotonic() + 60
    while before <= set(os.listdir(layers)) and time.monotonic() < end:
        time.sleep(0.2)
    assert not before <= set(os.listdir(layers))
    assert client.value("SELECT count(*) FROM t", "stays") == 100000
    assert server.stop() == 0
    client.close()
    server = start_server(folder=server.folder)
    client = Client(server.endpoint, server.token)
    assert client.value("SELECT sum(i)::BIGINT FROM t", "stays") == sum(range(100000))
    client.close()


def open_databases(client):
    reply = client.call(client.admin.ListDatabases, pb.ListDatabasesRequest())
    return {database.name for database in reply.databases if database.open}


def test_a_database_that_nobody_uses_is_closed(start_server):
    server = start_server("--database-timeout", "1s")
    client = Client(server.endpoint, server.token)
    client.execute("CREATE TABLE t (i INTEGER)")
    session = client.session()
    session.execute("BEGIN")
    session.execute("INSERT INTO t VALUES (1)")
    end = time.monotonic() + 4
    while time.monotonic() < end:  # as long as a session is in it, it stays
        assert open_databases(client) == {"main"}
        time.sleep(0.2)
    session.execute("COMMIT")
    session.close()
    for n in range(2, 4):
        end = time.monotonic() + 60
        while open_databases(client) and time.monotonic() < end:
            time.sleep(0.1)
        assert not open_databases(client)
        client.execute(f"INSERT INTO t VALUES ({n})")
        assert client.value("SELECT count(*) FROM t") == n
    client.close()
