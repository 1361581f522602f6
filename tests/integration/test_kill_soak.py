"""kill -9 under concurrent writers, again and again: what was acknowledged is there exactly once.

OPENDUCK_SOAK_S=3600 makes it longer, OPENDUCK_SOAK_SEED=7 repeats the writers' and the killer's choices (not the timing).
"""
import os
import random
import threading
import time

from plain_client import Client, Failed, rows

SECONDS = float(os.environ.get("OPENDUCK_SOAK_S", "20"))
SEED = int(os.environ.get("OPENDUCK_SOAK_SEED", random.randrange(1 << 30)))
WRITERS = 4
BULK_ROWS = 3000
PATIENCE_S = 120  # for an answer, over any number of restarts
FINGERPRINT = "SELECT count(*) AS n, coalesce(sum(hash(w, n, part)::HUGEINT), 0)::VARCHAR AS hashes FROM t"


class Lost(Exception):
    """The transaction's session died with its server: nothing of it is there."""


class Connection:
    """A client that asks until it has an answer, however often the server dies in between."""

    def __init__(self, server):
        self.server, self.client = server, None

    def ask(self, sql, **fields):
        end = time.monotonic() + PATIENCE_S
        while True:
            try:
                self.client = self.client or Client(self.server.endpoint, self.server.token)
                reply = self.client.execute(sql, **fields)
                return reply, rows(self.client, reply)
            except Failed as failed:
                if failed.code == "SESSION_LOST":
                    raise Lost from None
                if failed.code not in (None, "UNAVAILABLE", "OUTCOME_UNKNOWN") or time.monotonic() > end:
                    raise
            self.close()
            time.sleep(0.05)

    def close(self):
        if self.client:
            self.client.close()
        self.client = None


class Writer(threading.Thread):
    """Numbered rows, counted updates, tables: each under a request id of its own."""

    def __init__(self, number, server, stop):
        super().__init__()
        self.number, self.server, self.stop = number, server, stop
        self.random = random.Random(SEED * 100 + number)
        self.connection = Connection(server)
        self.expected, self.updates, self.tables, self.snapshots = {}, 0, [], []
        self.answers = []  # (sql, request id, rows of the answer)
        self.problem = None

    def run(self):
        try:
            n = 0
            while not self.stop.is_set():
                n += 1
                self.random.choice([self.insert, self.insert, self.bulk, self.transaction, self.update, self.table])(n)
                if self.answers and self.random.random() < 0.2:
                    self.send_again()
        except Exception as problem:  # pylint: disable=broad-except
            self.problem = problem
        finally:
            self.connection.close()

    def write(self, sql, n, answer):
        request_id = f"{self.number} {n}"
        reply, found = self.connection.ask(sql, request_id=request_id)
        assert found == answer, (sql, found)
        self.answers.append((sql, request_id, answer))
        if self.random.random() < 0.05:
            self.remember_snapshot(reply)

    def send_again(self):
        sql, request_id, answer = self.random.choice(self.answers)
        assert self.connection.ask(sql, request_id=request_id)[1] == answer, (sql, request_id)

    def insert(self, n):
        self.write(f"INSERT INTO t VALUES ({self.number}, {n}, 0)", n, [{"Count": 1}])
        self.expected[n] = 1

    def bulk(self, n):
        self.write(f"INSERT INTO t SELECT {self.number}, {n}, range FROM range({BULK_ROWS})", n, [{"Count": BULK_ROWS}])
        self.expected[n] = BULK_ROWS

    def update(self, n):
        self.write(f"UPDATE c SET v = v + 1 WHERE w = {self.number}", n, [{"Count": 1}])
        self.updates += 1

    def table(self, n):
        self.write(f"CREATE TABLE t_{self.number}_{n} (i INTEGER)", n, [])
        self.tables.append(f"t_{self.number}_{n}")

    def transaction(self, n):
        """Two statements and COMMIT; begun anew when the server dies before the COMMIT took effect."""
        for attempt in range(1000):
            session = f"{SEED:032x}{self.number:08x}{n:012x}{attempt:012x}"[-32:]
            fields = {"session_id": session}
            try:
                self.connection.ask("BEGIN", sequence=1, **fields)
                for part in (0, 1):
                    self.connection.ask(f"INSERT INTO t VALUES ({self.number}, {n}, {part})", sequence=2 + part, **fields)
                self.connection.ask("COMMIT", sequence=4, request_id=f"{self.number} {n} {attempt}", **fields)
            except Lost:
                continue
            self.expected[n] = 2
            return
        raise AssertionError("no transaction ever comes to its end")

    def remember_snapshot(self, reply):
        position = f"{reply.commit.epoch}.{reply.commit.lsn}"
        self.snapshots.append((position, self.connection.ask(FINGERPRINT, snapshot=position)[1]))


def check(writers, connection):
    """Every acknowledged row exactly once, nothing else; every snapshot as it was."""
    for writer in writers:
        found = {row["n"]: row["c"] for row in connection.ask(
            f"SELECT n, count(*) AS c FROM t WHERE w = {writer.number} GROUP BY n")[1]}
        assert found == writer.expected
        assert connection.ask(f"SELECT v FROM c WHERE w = {writer.number}")[1] == [{"v": writer.updates}]
        for position, fingerprint in writer.snapshots[-10:]:
            assert connection.ask(FINGERPRINT, snapshot=position)[1] == fingerprint, position
        for sql, request_id, answer in writer.answers[-20:]:
            assert connection.ask(sql, request_id=request_id)[1] == answer
        assert {row["n"]: row["c"] for row in connection.ask(
            f"SELECT n, count(*) AS c FROM t WHERE w = {writer.number} GROUP BY n")[1]} == writer.expected
    tables = {row["table_name"] for row in connection.ask(
        "SELECT table_name FROM duckdb_tables() WHERE starts_with(table_name, 't_')")[1]}
    assert tables == {name for writer in writers for name in writer.tables}


def test_kill_soak(start_server):
    print(f"OPENDUCK_SOAK_SEED={SEED}")
    server = start_server()
    connection = Connection(server)
    connection.ask("CREATE TABLE t (w INTEGER, n INTEGER, part INTEGER)")
    connection.ask(f"CREATE TABLE c AS SELECT range AS w, 0::BIGINT AS v FROM range({WRITERS})")
    stop, chance, kills = threading.Event(), random.Random(SEED), 0
    writers = [Writer(number, server, stop) for number in range(WRITERS)]
    for writer in writers:
        writer.start()
    end = time.monotonic() + SECONDS
    try:
        while time.monotonic() < end and not any(writer.problem for writer in writers):
            time.sleep(chance.uniform(0.1, 2))
            server.kill()
            server.start()
            kills += 1
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert not any(writer.problem for writer in writers), [writer.problem for writer in writers]
    check(writers, connection)
    server.kill()
    server.start()
    check(writers, connection)
    assert server.stop() == 0
    server.start()
    check(writers, connection)
    answered = sum(len(writer.expected) + writer.updates + len(writer.tables) for writer in writers)
    snapshots = sum(len(writer.snapshots) for writer in writers)
    print(f"{kills} kills, {answered} requests answered, {snapshots} snapshots")
    assert kills and answered > WRITERS
    connection.close()
