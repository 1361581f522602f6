"""The client library against the real server through a proxy that cuts, swallows and stalls: nothing lost, nothing twice."""
import hashlib
import socket
import subprocess
import threading
import time

import pytest
from conftest import server_program


class Proxy:
    """Forwards TCP connections. cut() ends all of them at once; cut_after is a number of bytes towards the client."""

    def __init__(self, port):
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = []
        self.connections = 0
        self.forwarded = 0
        self.cut_after = []
        self.swallow_next_answer = False
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.pairs.append((client, server))
            threading.Thread(target=self.pump, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self.pump, args=(server, client, True), daemon=True).start()

    def pump(self, source, sink, to_client):
        try:
            while data := source.recv(65536):
                if to_client:
                    with self.lock:
                        self.forwarded += len(data)
                        over = bool(self.cut_after) and self.forwarded > self.cut_after[0]
                        if over:
                            self.cut_after.pop(0)
                            self.forwarded = 0
                    if over:
                        self.cut()
                        return
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def cut(self):
        with self.lock:
            pairs, self.pairs = self.pairs, []
        for pair in pairs:
            for end in pair:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def close(self):
        self.listener.close()
        self.cut()


@pytest.fixture
def proxy(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


def sql(server, port, *arguments):
    return subprocess.run([server_program(), "sql", *arguments, "--endpoint", f"127.0.0.1:{port}", "--token",
                           server.token], capture_output=True, timeout=120, stdin=subprocess.DEVNULL)


BIG = "SELECT range AS n, hash(range) AS h, 'row number ' || range AS s FROM range(2000000)"


def test_a_result_is_whole_although_the_connection_broke_in_it(server, proxy):
    expected = sql(server, server.port, BIG, "--format", "csv")
    assert expected.returncode == 0, expected.stderr
    proxy.cut_after = [5_000_000, 3_000_000, 20_000_000, 100_000]
    done = sql(server, proxy.port, BIG, "--format", "csv")
    assert done.returncode == 0, done.stderr
    assert proxy.cut_after == [], "the connection was never cut"
    assert proxy.connections >= 5
    assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(expected.stdout).digest()


def test_writes_take_effect_once_although_answers_are_lost(server, proxy):
    run = lambda text, port: sql(server, port, text, "--format", "csv")
    assert run("CREATE OR REPLACE TABLE once (n INTEGER)", server.port).returncode == 0
    stop = threading.Event()

    def cut_now_and_then():
        while not stop.wait(0.25):
            proxy.cut()
    thread = threading.Thread(target=cut_now_and_then)
    thread.start()
    written, unknown = [], []
    try:
        for n in range(12):
            # One statement of about the time between cuts, then the row: so answers are lost.
            done = run(f"INSERT INTO once SELECT {n} WHERE (SELECT count(*) FROM range(40000000)) > 0", proxy.port)
            (written if done.returncode == 0 else unknown).append(n)
    finally:
        stop.set()
        thread.join()
    rows = run("SELECT n FROM once ORDER BY n", server.port).stdout.split()[1:]
    rows = [int(row) for row in rows]
    assert len(rows) == len(set(rows)), "a row was written twice"
    assert set(written) <= set(rows), "an acknowledged row is missing"
    assert len(written) >= 6, "the client gave up too often"


def test_a_server_that_is_killed_in_mid_result_is_an_error(start_server):
    server = start_server()
    process = subprocess.Popen([server_program(), "sql", "SELECT a.range FROM range(100000) a, range(100000) b",
                                "--format", "csv", "--endpoint", server.endpoint, "--token", server.token],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    server.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 3, errors
    assert "resumed" in errors


def test_a_restarted_server_does_not_know_the_result(start_server):
    server = start_server()
    process = subprocess.Popen([server_program(), "sql", "SELECT a.range FROM range(100000) a, range(100000) b",
                                "--format", "csv", "--endpoint", server.endpoint, "--token", server.token],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    time.sleep(2)
    server.kill()
    server.start()
    _, errors = process.communicate(timeout=60)
    assert process.returncode in (1, 3), errors
    assert "ticket" in errors or "resumed" in errors


def test_the_second_endpoint_serves_when_the_first_is_gone(server):
    done = subprocess.run([server_program(), "sql", "SELECT 1 AS a", "--format", "csv", "--endpoint",
                           f"127.0.0.1:1,{server.endpoint}", "--token", server.token], capture_output=True, text=True,
                          timeout=60)
    assert done.stdout == "a\n1\n", done.stderr
