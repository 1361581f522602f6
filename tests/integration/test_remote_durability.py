"""Commits acknowledged when they are in the object store: what a lost machine loses then, and what it costs."""
import signal
import threading
import time

import pytest

from plain_client import Client, Failed, failing
from shared_stores import openduck, own, postgres, stores, until_free  # noqa: F401 (fixtures)


def layers(s3):
    return [key for key in list(s3.objects) if "/layers/" in key]


def test_another_machine_goes_on_by_itself(own, stores):
    """No word of an operator, and nothing acknowledged is lost."""
    flags, environment, _ = stores
    flags = [*flags, "--durability", "remote"]
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t (i INTEGER)")
    for i in range(10):
        client.execute(f"INSERT INTO t VALUES ({i})")
    server.kill()
    other, client = own(flags, environment)
    assert until_free(lambda: client.value("SELECT count(*) FROM t")) == 10
    client.execute("INSERT INTO t VALUES (10)")
    assert other.stop() == 0
    _, client = own(flags, environment, folder=server.folder)
    assert client.value("SELECT count(*) FROM t") == 11


def test_of_one_database_and_of_one_session(own, stores):
    flags, environment, s3 = stores
    server, client = own(flags, environment)
    server.run("db", "create", "safe", "--durability", "remote")
    assert "not \"far\"" in server.run("db", "create", "x", "--durability", "far").stderr
    client.execute("CREATE TABLE t (i INTEGER)")
    client.execute("CREATE TABLE t (i INTEGER)", "safe")
    count = len(layers(s3))
    client.execute("INSERT INTO t VALUES (1)")
    assert len(layers(s3)) == count
    client.execute("INSERT INTO t VALUES (1)", "safe")
    assert len(layers(s3)) == count + 1
    session = client.session("main")
    session.execute("SET openduck_durability = 'remote'")  # its answer follows the commit before it
    assert len(layers(s3)) == count + 2
    session.execute("INSERT INTO t VALUES (2)")
    assert len(layers(s3)) == count + 3
    assert "'database', 'local' or 'remote'" in str(failing(session.execute, "SET openduck_durability = 'far'"))
    session = client.session("safe")
    session.execute("SET openduck_durability = 'local'")
    session.execute("INSERT INTO t VALUES (2)")
    assert len(layers(s3)) == count + 3
    client.execute("SELECT * FROM t", "safe")  # shows the commit of that session, so it is shipped
    assert len(layers(s3)) == count + 4
    server.run("clone", "safe", "copy")
    client.execute("INSERT INTO t VALUES (3)", "copy")
    assert len(layers(s3)) == count + 5


def test_many_commits_share_an_object(own, stores):
    """Of 64 clients, once they are under way: an object is made when all have committed whom the last one answered. Objects
    take a while here, so that the machine's speed does not matter."""
    flags, environment, s3 = stores
    server, first = own([*flags, "--durability", "remote", "--max-running", "70"], environment)
    first.execute("CREATE TABLE t (i INTEGER)")
    s3.faults = lambda method, key, count: time.sleep(0.4) if method == "PUT" and "/layers/" in key else None
    clients, rounds, failures, counts = 64, 15, [], []
    ready = threading.Barrier(clients, lambda: counts.append(len(layers(s3))))

    def write(number):
        client = Client(server.endpoint, server.token)
        try:
            for i in range(-4, rounds):
                if i == 0:
                    ready.wait(60)
                client.execute(f"INSERT INTO t VALUES ({number * 100 + i})")
        except Exception as failure:
            failures.append(failure)
            ready.abort()
        client.close()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    made = len(layers(s3)) - counts[0]
    assert first.value("SELECT count(DISTINCT i) FROM t") == clients * (rounds + 4)
    print(f"{clients * rounds / made:.1f} commits an object")
    assert clients * rounds / made >= 50


def test_the_object_store_is_away_for_a_while(own, stores):
    """Nothing is acknowledged meanwhile, and nothing is lost or run twice afterwards."""
    flags, environment, s3 = stores
    _, client = own([*flags, "--durability", "remote"], environment)
    client.execute("CREATE TABLE t (i INTEGER)")
    away = threading.Event()
    s3.faults = lambda method, key, count: 503 if away.is_set() and method == "PUT" else None
    away.set()
    future = client.later("INSERT INTO t VALUES (1)")
    time.sleep(1.5)
    assert not future.done()
    away.clear()
    future.result(60)
    assert client.value("SELECT count(*) FROM t") == 1


def test_a_writer_that_was_stopped(own, stores):
    """Beyond its lease another one takes over; what it commits then is refused, never acknowledged."""
    flags, environment, _ = stores
    flags = [*flags, "--durability", "remote"]
    server, client = own(flags, environment)
    client.execute("CREATE TABLE t (i INTEGER)")
    client.execute("INSERT INTO t VALUES (1)")
    server.process.send_signal(signal.SIGSTOP)
    try:
        _, other = own(flags, environment)
        until_free(lambda: other.execute("INSERT INTO t VALUES (2)"))
        late = [client.later("INSERT INTO t VALUES (3)"), client.later("SELECT count(*) FROM t")]
    finally:
        server.process.send_signal(signal.SIGCONT)
    for future in late:
        with pytest.raises(Exception) as failed:
            future.result(60)
        # It finds out by its lease, by the statement, or by opening the database again.
        assert any(text in str(failed.value) for text in ("taken over", "taken it over", "is writing this database"))
    assert failing(client.execute, "SELECT * FROM t").code in ("LOCKED", "UNAVAILABLE")
    assert other.rows("SELECT i FROM t ORDER BY i") == [{"i": 1}, {"i": 2}]


def test_what_may_be_lost_is_the_databases_own_choice(own, stores):
    flags, environment, _ = stores
    server, client = own(flags, environment)
    server.run("db", "create", "log", "--failover", "allow-loss")
    client.execute("CREATE TABLE t (i INTEGER)", "log")
    server.run("snapshot", "create", "log", "--name", "shipped")
    client.execute("INSERT INTO t VALUES (1)", "log")
    server.kill()
    other, client = own(flags, environment)
    assert until_free(lambda: client.value("SELECT count(*) FROM t", "log")) == 0
    assert "not shipped" in other.log_text() and str(server.folder / "data") in other.log_text()


def test_what_waits_for_the_object_store_is_bounded(own, stores):
    """Writers wait, too, and go on when it takes objects again; nothing is lost."""
    flags, environment, s3 = stores
    server, client = own([*flags, "--unshipped-limit", "1MiB"], environment)
    client.execute("CREATE TABLE t (i DOUBLE)")
    away, tried = threading.Event(), threading.Event()

    def faults(method, key, count):
        if away.is_set() and method == "PUT":
            if "/layers/" in key:
                tried.set()
            return 503
        return None
    s3.faults = faults
    away.set()
    client.execute("INSERT INTO t SELECT random() FROM range(1000000)")
    snapshot = threading.Thread(target=lambda: server.run("snapshot", "create", "main"))  # closes the journal
    snapshot.start()
    assert tried.wait(60)
    future = client.later("INSERT INTO t SELECT random() FROM range(1000)")
    time.sleep(2)
    assert not future.done()
    away.clear()
    future.result(60)
    snapshot.join(60)
    assert client.value("SELECT count(*) FROM t") == 1001000
