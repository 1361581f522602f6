"""Snapshots, clones, restores, exports, checks and rebuilds, as `openduck` gives them to operators: on a running server and
on a data directory that no server holds."""
import json
import subprocess
import threading
import time
from pathlib import Path

import duckdb
import pytest
from conftest import server_program

ISO = "2026-01-02T03:04:05"


def ok(done):
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows(done):
    return [json.loads(line) for line in ok(done).splitlines()]


def offline(folder, *arguments):
    return subprocess.run([server_program(), *arguments, "--data", str(folder)], capture_output=True, text=True,
                          timeout=120, stdin=subprocess.DEVNULL)


def count(server, database):
    return int(ok(server.run("sql", "-d", database, "SELECT count(*) FROM t", "--format", "csv")).split()[1])


@pytest.fixture
def database(server, new_database):
    """A database with ten rows, the snapshot "ten", then an eleventh."""
    name = new_database()
    ok(server.run("sql", "-d", name, "CREATE TABLE t AS SELECT range AS i FROM range(10)"))
    ok(server.run("snapshot", "create", name, "--name", "ten"))
    ok(server.run("sql", "-d", name, "INSERT INTO t VALUES (10)"))
    return name


def read(file, query="SELECT count(*), sum(i) FROM t"):
    with duckdb.connect(str(file), read_only=True) as con:
        return con.sql(query).fetchone()


# ---- snapshots, clones

def test_a_snapshot_does_not_wait_for_a_bulk_load(server, new_database):
    name = new_database()
    ok(server.run("sql", "-d", name, "CREATE TABLE t AS SELECT range AS i FROM range(10)"))
    load = threading.Thread(target=lambda: ok(server.run(
        "sql", "-d", name, "CREATE TABLE big AS SELECT i, hash(i) AS h, i::VARCHAR AS s FROM range(8000000) r(i)")))
    load.start()
    taken = 0
    while load.is_alive() and taken < 10:
        ok(server.run("snapshot", "create", name, "--name", f"during-{taken}"))
        taken += 1
    load.join()
    for number in range(taken):
        ok(server.run("clone", f"{name}@during-{number}", f"{name}_{number}"))
        assert count(server, f"{name}_{number}") == 10


def test_snapshots_are_made_listed_and_dropped(server, database):
    ok(server.run("sql", "-d", database, "CHECKPOINT"))  # ends with file operations that DuckDB does not sync
    made, = rows(server.run("snapshot", "create", database, "--json"))
    assert made["snapshot"].startswith("snapshot-2") and not made["automatic"] and made["database"] == database
    assert set(made) == {"database", "snapshot", "epoch", "lsn", "time", "created", "automatic"}
    listed = rows(server.run("snapshot", "list", database, "--json"))
    assert [row["snapshot"] for row in listed] == ["ten", made["snapshot"]]
    assert listed[1] == made and listed[0]["lsn"] < made["lsn"] and listed[0]["time"] < made["time"] <= made["created"]
    assert ok(server.run("snapshot", "list", database)).splitlines()[1].split()[0] == "ten"
    dropped, = rows(server.run("snapshot", "drop", database, "ten", "--json"))
    assert dropped == {"database": database, "snapshot": "ten", "dropped": True}
    gone = server.run("snapshot", "drop", database, "ten")
    assert gone.returncode == 1 and f"'{made['snapshot']}'" in gone.stderr
    assert rows(server.run("snapshot", "drop", database, "ten", "--if-exists", "--json"))[0]["dropped"] is False
    assert count(server, database) == 11


def test_a_clone_and_its_origin_go_their_own_ways(server, database):
    origin = rows(server.run("clone", f"{database}@ten", f"{database}_c", "--json"))
    assert origin == [{"database": f"{database}_c", "from": database, "selector": "ten"}]
    ok(server.run("clone", database, f"{database}_now"))
    ok(server.run("sql", "-d", f"{database}_c", "INSERT INTO t SELECT 100 FROM range(5); CREATE TABLE own AS SELECT 1"))
    ok(server.run("sql", "-d", database, "DELETE FROM t WHERE i < 8"))
    assert [count(server, name) for name in (database, f"{database}_c", f"{database}_now")] == [3, 15, 11]
    assert server.run("sql", "-d", database, "FROM own").returncode == 1
    ok(server.run("db", "drop", database))
    assert count(server, f"{database}_c") == 15  # what it stands on stays


def test_snapshots_beside_a_writer(server, new_database):
    """Each snapshot is the state after some commit, and none of the writer's commits is lost."""
    name, acknowledged, stop = new_database(), [], threading.Event()
    ok(server.run("sql", "-d", name, "CREATE TABLE t(i INTEGER, twice INTEGER)"))
    con = server.attach(database=name)

    def write():
        while not stop.is_set():
            con.execute("INSERT INTO r.t SELECT ?, i FROM (VALUES (1), (2)) v(i)", [len(acknowledged)])
            acknowledged.append(len(acknowledged))
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for i in range(5):
            ok(server.run("snapshot", "create", name, "--name", f"s{i}"))
    finally:
        stop.set()
        writer.join()
    con.close()
    assert count(server, name) == 2 * len(acknowledged) > 0
    seen = []
    for i in range(5):
        ok(server.run("clone", f"{name}@s{i}", f"{name}_{i}"))
        whole, halves = ok(server.run(
            "sql", "-d", f"{name}_{i}", "SELECT count(*) // 2, count(*) - 2 * count(DISTINCT i) FROM t", "--format",
            "csv")).splitlines()[1].split(",")
        assert halves == "0"
        seen.append(int(whole))
    assert seen == sorted(seen) and seen[-1] <= len(acknowledged)


def test_automatic_snapshots(start_server):
    server = start_server("--snapshot-every", "300ms", "--snapshot-keep", "3")
    ok(server.run("snapshot", "create", "main", "--name", "by-hand"))
    end, seen = time.monotonic() + 60, set()
    while len(seen) < 6 and time.monotonic() < end:
        ok(server.run("sql", "CREATE TABLE IF NOT EXISTS t(i INTEGER); INSERT INTO t VALUES (1)"))
        listed = rows(server.run("snapshot", "list", "main", "--json"))
        automatic = [row["snapshot"] for row in listed if row["automatic"]]
        assert len(automatic) <= 4  # one may have been made, and the oldest not dropped yet
        seen |= set(automatic)
    assert len(seen) >= 6, seen
    assert "by-hand" in [row["snapshot"] for row in rows(server.run("snapshot", "list", "main", "--json"))]
    assert server.stop() == 0


# ---- restores

def test_a_restore_can_be_undone(server, database):
    restored, = rows(server.run("restore", f"{database}@ten", "--json"))
    before = restored["before"]["snapshot"]
    assert restored["database"] == database and restored["selector"] == "ten"
    assert before.startswith("before-restore-")
    assert count(server, database) == 10
    ok(server.run("sql", "-d", database, "INSERT INTO t SELECT 1 FROM range(90)"))
    assert [row["snapshot"] for row in rows(server.run("snapshot", "list", database, "--json"))] == ["ten", before]
    ok(server.run("restore", f"{database}@{before}"))
    assert count(server, database) == 11
    assert len(rows(server.run("snapshot", "list", database, "--json"))) == 3


def test_a_restore_needs_the_database_for_itself(server, database):
    con = server.attach(database=database)
    con.execute("BEGIN; INSERT INTO r.t VALUES (77)")
    refused = server.run("restore", f"{database}@ten")
    assert refused.returncode == 1 and "is in use" in refused.stderr
    con.execute("COMMIT")
    con.close()
    end = time.monotonic() + 30
    while (done := server.run("restore", f"{database}@ten")).returncode and time.monotonic() < end:
        assert "is in use" in done.stderr
    assert count(server, database) == 10


# ---- exports

def test_an_export_is_a_plain_duckdb_file(server, database, tmp_path):
    now, then = tmp_path / "now.duckdb", tmp_path / "then.duckdb"
    told, = rows(server.run("export", f"{database}@ten", str(then), "--json"))
    assert told == {"database": database, "selector": "ten", "file": str(then), "files": 1,
                    "bytes": then.stat().st_size}
    ok(server.run("export", database, str(now)))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["now.duckdb", "then.duckdb"]
    assert read(now) == (11, 55) and read(then) == (10, 45)
    taken = server.run("export", database, str(now))
    assert taken.returncode == 1 and "exists" in taken.stderr and read(now) == (11, 55)
    ok(server.run("db", "create", f"{database}_back", "--from", str(now)))
    assert count(server, f"{database}_back") == 11


def test_an_export_of_some_size_and_one_that_is_killed(server, new_database, tmp_path):
    name, file = new_database(), tmp_path / "big.duckdb"
    ok(server.run("sql", "-d", name, "CREATE TABLE t AS SELECT hash(range) AS i, md5(range::VARCHAR) AS s FROM range(1000000)"))
    expected = ok(server.run("sql", "-d", name, "SELECT count(*), sum(hash(i, s)) FROM t", "--format", "csv")).splitlines()[1]
    for _ in range(3):
        process = subprocess.Popen([server_program(), "export", name, str(tmp_path / "killed.duckdb"), "--endpoint",
                                    server.endpoint, "--token", server.token], stdin=subprocess.DEVNULL)
        while not (tmp_path / "killed.duckdb.partial").exists() and process.poll() is None:
            time.sleep(0.005)
        process.kill()
        process.wait()
    ok(server.run("export", name, str(file)))
    assert ",".join(str(value) for value in read(file, "SELECT count(*), sum(hash(i, s)) FROM t")) == expected
    assert file.stat().st_size > 16 << 20  # more than the window
    end = time.monotonic() + 30  # the killed ones have let go of it
    while (dropped := server.run("db", "drop", name)).returncode and time.monotonic() < end:
        pass
    ok(dropped)


# ---- errors

@pytest.mark.parametrize("arguments, status, words", [
    (["snapshot", "create", "nowhere"], 1, "there is no database \"nowhere\""),
    (["snapshot", "list", "nowhere"], 1, "there is no database \"nowhere\""),
    (["snapshot", "drop", "nowhere", "x"], 1, "there is no database \"nowhere\""),
    (["snapshot", "create", "DB", "--name", "ten"], 1, "has a snapshot 'ten'"),
    (["snapshot", "create", "DB", "--name", "2026-01-02"], 2, "reads as a position or a time"),
    (["snapshot", "create", "DB", "--name", "a/b"], 2, "cannot be a name"),
    (["snapshot", "create"], 2, "missing"),
    (["snapshot", "drop", "DB"], 2, "are needed"),
    (["snapshot", "melt", "DB"], 2, "no command"),
    (["clone", "nowhere", "new"], 1, "there is no database \"nowhere\""),
    (["clone", "DB@eleven", "new"], 1, "has no snapshot 'eleven'; the newest are 'ten'"),
    (["clone", "DB@999999999999", "new"], 1, "no position 999999999999"),
    (["clone", "DB@3000-01-01", "new"], 2, "in the future"),
    (["clone", f"DB@{ISO}", "new"], 1, "no position as old as that"),
    (["clone", "DB@", "new"], 2, "has to follow"),
    (["clone", "DB@ten", "DB"], 1, "exists already"),
    (["clone", "DB", "a b"], 2, "cannot name a database"),
    (["restore", "DB"], 2, "DB@SELECTOR"),
    (["restore", "DB@eleven"], 1, "has no snapshot 'eleven'"),
    (["restore", "nowhere@x"], 1, "there is no database \"nowhere\""),
    (["export", "DB@eleven", "FILE"], 1, "has no snapshot 'eleven'"),
    (["export", "nowhere", "FILE"], 1, "there is no database \"nowhere\""),
    (["export", "DB", "/nowhere/at/all"], 1, "/nowhere/at/all"),
    (["fsck", "nowhere"], 1, "there is no database \"nowhere\""),
    (["rebuild"], 2, "--data DIR is needed"),
])
def test_what_cannot_be_done(server, tmp_path, arguments, status, words, shared=[]):
    if not shared:
        ok(server.run("db", "create", "history_errors"))
        ok(server.run("snapshot", "create", "history_errors", "--name", "ten"))
        shared.append(True)
    arguments = [text.replace("DB", "history_errors").replace("FILE", str(tmp_path / "f")) for text in arguments]
    if arguments == ["rebuild"]:
        done = subprocess.run([server_program(), "rebuild"], capture_output=True, text=True, timeout=60)
    else:
        done = server.run(*arguments)
    assert done.returncode == status and words in done.stderr, done
    assert list(tmp_path.iterdir()) == []


def test_a_directory_in_use_is_left_alone(server, database):
    folder = server.folder / "data"
    for command in (["snapshot", "create", database], ["clone", database, "x"], ["fsck"], ["rebuild", "--replace"]):
        held = offline(folder, *command)
        assert held.returncode == 1 and "locked by process" in held.stderr, held
    assert count(server, database) == 11


# ---- damage, lost metadata

def test_a_changed_byte_is_found_and_named(start_server):
    server = start_server()
    ok(server.run("sql", "CREATE TABLE t AS SELECT range AS i, md5(range::VARCHAR) AS s FROM range(20000)"))
    ok(server.run("snapshot", "create", "main", "--name", "s"))
    whole, = rows(server.run("fsck", "--json"))
    assert set(whole) == {"objects", "layers", "bytes", "rows", "unreferenced", "problems"}
    assert whole["problems"] == 0 and whole["layers"] >= 1
    assert "no problem" in ok(server.run("fsck", "main"))
    assert server.stop() == 0
    layer = max((server.folder / "data/objects/layers").iterdir(), key=lambda file: file.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 0x10
    layer.chmod(0o600)
    layer.write_bytes(data)
    for done in (offline(server.folder / "data", "fsck", "--json"),
                 offline(server.folder / "data", "fsck", "main", "--json")):
        assert done.returncode == 1, done
        *problems, summary = [json.loads(line) for line in done.stdout.splitlines()]
        assert summary["problems"] == len(problems) >= 1
        assert problems[0]["object"] == f"layers/{layer.name}" and problems[0]["code"] == "CORRUPT"
        assert "offset" in problems[0]["message"]
    server.start()
    online = server.run("fsck")
    assert online.returncode == 1 and f"layers/{layer.name}" in online.stdout and "offset" in online.stdout
    assert server.stop() == 0


def test_snapshots_can_be_read_when_the_newest_state_cannot(start_server, tmp_path):
    server = start_server()
    layers = server.folder / "data/objects/layers"
    ok(server.run("sql", "CREATE TABLE t AS SELECT range AS i FROM range(10)"))
    ok(server.run("snapshot", "create", "main", "--name", "ten"))
    assert server.stop() == 0
    before = set(layers.iterdir())
    server.start()
    ok(server.run("sql", "INSERT INTO t VALUES (10)"))
    assert server.stop() == 0
    for layer in set(layers.iterdir()) - before:
        layer.chmod(0o600)
        layer.write_bytes(layer.read_bytes()[:-40] + bytes(40))
    server.start()
    for command in (["sql", "FROM t"], ["export", "main", str(tmp_path / "x")], ["clone", "main", "x"]):
        done = server.run(*command)
        assert done.returncode == 1 and "layers/" in done.stderr and "offset" in done.stderr, done
    ok(server.run("clone", "main@ten", "saved"))
    assert count(server, "saved") == 10
    ok(server.run("export", "main@ten", str(tmp_path / "saved.duckdb")))
    assert read(tmp_path / "saved.duckdb") == (10, 45)
    assert server.stop() == 0


def test_lost_metadata_is_made_again(start_server):
    server = start_server()
    folder = server.folder / "data"
    ok(server.run("sql", "CREATE TABLE t AS SELECT range AS i FROM range(10)"))
    ok(server.run("snapshot", "create", "main", "--name", "ten"))
    ok(server.run("sql", "INSERT INTO t VALUES (10)"))
    ok(server.run("clone", "main@ten", "ünï"))
    ok(server.run("restore", "main@ten"))
    ok(server.run("sql", "INSERT INTO t SELECT 5 FROM range(90)"))
    server.kill()  # the last commit is in a journal only
    (folder / "metadata.sqlite").rename(server.folder / "lost")
    for rest in folder.glob("metadata.sqlite-*"):
        rest.unlink()
    refused = offline(folder, "db", "list")
    assert refused.returncode == 1 and f"openduck rebuild --data {folder}" in refused.stderr
    made, = rows(offline(folder, "rebuild", "--json"))
    assert made["databases"] == 2 and made["snapshots"] == 2 and made["problems"] == 0 and made["kept"] is None
    again = offline(folder, "rebuild")
    assert again.returncode == 1 and "--replace" in again.stderr
    assert Path(rows(offline(folder, "rebuild", "--replace", "--json"))[0]["kept"]).exists()
    server.start()
    assert [row["name"] for row in rows(server.run("db", "list", "--json"))] == ["main", "ünï"]
    assert count(server, "main") == 100 and count(server, "ünï") == 10
    names = [row["snapshot"] for row in rows(server.run("snapshot", "list", "main", "--json"))]
    assert names[0] == "ten" and names[1].startswith("before-restore-")
    ok(server.run("restore", f"main@{names[1]}"))
    assert count(server, "main") == 11
    assert server.stop() == 0
    assert "no problem" in ok(offline(folder, "fsck"))


def test_a_directory_without_a_server(start_server, tmp_path):
    server = start_server()
    folder = server.folder / "data"
    ok(server.run("sql", "CREATE TABLE t AS SELECT range AS i FROM range(10)"))
    assert server.stop() == 0
    ok(offline(folder, "snapshot", "create", "main", "--name", "ten"))
    ok(offline(folder, "clone", "main@ten", "c"))
    ok(offline(folder, "export", "c", str(tmp_path / "c.duckdb")))
    assert read(tmp_path / "c.duckdb") == (10, 45)
    assert rows(offline(folder, "restore", "main@ten", "--json"))[0]["before"]["snapshot"].startswith("before-restore-")
    assert len(rows(offline(folder, "snapshot", "list", "main", "--json"))) == 2
    ok(offline(folder, "snapshot", "drop", "main", "ten"))
    assert "no problem" in ok(offline(folder, "fsck"))
