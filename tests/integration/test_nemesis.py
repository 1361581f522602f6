"""Real processes that are killed, stopped, cut off and robbed of their memory, by a seed; then everything is counted.

Two machines share PostgreSQL and an object store and write one database, acknowledged as remote. Clients insert numbers under
request ids and ask again, anywhere, until they are told; somebody makes snapshots. After each trouble, and at the end on a
third, empty machine: what was acknowledged is there, nothing is there twice, and each snapshot reads what it read.

OPENDUCK_NEMESIS_SEED (1) chooses the troubles and their order, OPENDUCK_NEMESIS_SECONDS (25) how long it goes on.
"""
import itertools
import os
import random
import signal
import socket
import subprocess
import threading
import time

from conftest import Server
from fake_s3 import FakeS3
from plain_client import Client, Failed
from shared_stores import environment_of, openduck
from storage_servers import S3, Postgres

SEED = int(os.environ.get("OPENDUCK_NEMESIS_SEED", "1"))
SECONDS = float(os.environ.get("OPENDUCK_NEMESIS_SECONDS", "25"))
DATABASE = "nemesis"


class Link:
    """Carries connections to a port; may be slow, or cut."""

    def __init__(self, port):
        self.target, self.delay_s, self.is_cut = port, 0.0, False
        self.sockets, self.lock = set(), threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                if self.is_cut:
                    raise OSError
                server = socket.create_connection(("127.0.0.1", self.target), 5)
            except OSError:
                client.close()
                continue
            with self.lock:
                self.sockets |= {client, server}
            for source, sink in ((client, server), (server, client)):
                threading.Thread(target=self.carry, args=(source, sink), daemon=True).start()

    def carry(self, source, sink):
        try:
            while data := source.recv(65536):
                time.sleep(self.delay_s)
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            with self.lock:
                self.sockets.discard(end)

    def cut(self):
        self.is_cut = True
        with self.lock:
            for end in self.sockets:
                try:
                    end.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def heal(self):
        self.is_cut, self.delay_s = False, 0.0

    def close(self):
        self.cut()
        self.listener.close()


class World:
    def __init__(self, folder):
        self.folder, self.random = folder, random.Random(SEED)
        self.postgres, self.s3 = Postgres().start(), FakeS3()
        self.postgres.new_database(DATABASE)
        self.links = {"postgres": Link(self.postgres.port), "s3": Link(self.s3.port)}
        self.metadata = self.postgres.address(DATABASE, self.links["postgres"].port)
        self.flags = ["--metadata", self.metadata, "--objects", f"s3://{S3.BUCKET}/cluster?path_style=true"]
        self.environment = environment_of(self.links["s3"].port)
        openduck("migrate", "--metadata", self.metadata)
        self.servers = [self.machine(name) for name in ("a", "b")]
        self.clients = {}
        self.numbers, self.lock = itertools.count(), threading.Lock()
        self.acknowledged, self.snapshots = set(), {}
        self.stopping, self.is_old = False, False  # is_old: the metadata, until the operator has made it again
        self.backup = None

    def machine(self, name):
        server = Server(self.folder / name, *self.flags, "--durability", "remote", environment=self.environment)
        return server.start()

    # ---- clients

    def client(self, server):
        key = (threading.get_ident(), id(server))
        if key not in self.clients:
            self.clients[key] = Client(server.endpoint, server.token)
        return self.clients[key]

    def anywhere(self, call, wait_s=90):
        """The answer of whichever machine has the database, asked again until there is one."""
        end = time.monotonic() + wait_s
        order = list(self.servers)
        while True:
            for server in order:
                try:
                    return call(self.client(server))
                except Failed as failed:
                    last = failed
                    known = self.is_old and "the metadata is older than the objects" in str(failed)
                    assert known or failed.code not in ("CORRUPT", "INVALID", "INTERNAL"), failed
            assert time.monotonic() < end, f"no machine answers: {last}"
            time.sleep(0.05)

    def insert(self):
        with self.lock:
            number = next(self.numbers)
        self.anywhere(lambda client: client.execute(f"INSERT INTO t VALUES ({number})", deadline_s=15,
                                                    request_id=f"number {number}"))
        with self.lock:
            self.acknowledged.add(number)

    def work(self):
        while not self.stopping:
            self.insert()

    # ---- what is checked

    def rows(self, **more):
        return [row["i"] for row in self.anywhere(lambda client: client.rows("SELECT i FROM t ORDER BY i", **more))]

    def check(self):
        with self.lock:
            expected = set(self.acknowledged)
        found = self.rows()
        assert len(found) == len(set(found)), f"twice: {sorted(i for i in set(found) if found.count(i) > 1)[:20]}"
        assert expected <= set(found), f"lost: {sorted(expected - set(found))[:20]}"

    def snapshot(self):
        name = f"s{len(self.snapshots)}"
        for server in self.servers:
            if server.process.poll() is None and server.run("snapshot", "create", "main", "--name", name).returncode == 0:
                self.snapshots[name] = self.rows(snapshot=name)
                return

    def check_snapshots(self):
        for name, rows in self.snapshots.items():
            assert self.rows(snapshot=name) == rows, name

    # ---- troubles

    def restart(self, server):
        if server.process.poll() is None:
            server.kill()
        end = time.monotonic() + 30
        while True:
            try:
                return server.start()
            except RuntimeError:  # a store is away just now
                assert time.monotonic() < end
                time.sleep(0.2)

    def kill_server(self):
        server = self.random.choice(self.servers)
        server.kill()
        time.sleep(self.random.choice((0.0, 1.0, 7.0)))
        self.restart(server)

    def kill_postgres(self):
        self.postgres.process.send_signal(signal.SIGKILL)
        self.postgres.process.wait()
        time.sleep(self.random.uniform(0.0, 2.0))
        (self.postgres.folder / "data" / "postmaster.pid").unlink(missing_ok=True)
        time.sleep(0.5)  # its children end
        self.postgres.start()

    def kill_s3(self):
        self.s3.stop()
        time.sleep(self.random.uniform(0.2, 2.0))
        self.s3.start_again()

    def stop_a_writer(self):
        server = self.random.choice(self.servers)
        server.process.send_signal(signal.SIGSTOP)
        time.sleep(self.random.choice((1.0, 7.5)))  # within the lease, or beyond it
        server.process.send_signal(signal.SIGCONT)

    def slow_link(self):
        link = self.random.choice(list(self.links.values()))
        link.delay_s = self.random.choice((0.02, 0.1))
        time.sleep(2)
        link.heal()

    def cut_link(self):
        link = self.random.choice(list(self.links.values()))
        link.cut()
        time.sleep(self.random.choice((0.1, 2.0)))
        link.heal()

    def expired_credentials(self):
        self.s3.faults = lambda method, key, count: 403
        time.sleep(1.5)
        self.s3.faults = lambda method, key, count: None

    def take_backup(self):
        path = self.folder / "backup.sql"
        done = subprocess.run([self.postgres.bin / "pg_dump", "-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", "duck",
                               DATABASE], capture_output=True, timeout=60)
        assert done.returncode == 0, done.stderr
        path.write_bytes(done.stdout)
        self.backup = path

    def new_metadata(self):
        self.postgres.sql("postgres", f"DROP DATABASE {DATABASE} WITH (FORCE)")
        self.postgres.new_database(DATABASE)

    def rebuild(self, *flags):
        openduck("rebuild", *self.flags, *flags, environment=self.environment)

    def put_back_a_backup(self):
        """While objects went on; then the operator does what the manual says."""
        self.is_old = True
        self.new_metadata()
        subprocess.run([self.postgres.bin / "psql", "-q", "-h", "127.0.0.1", "-p", str(self.postgres.port), "-U", "duck",
                        "-d", DATABASE, "-f", self.backup], check=True, capture_output=True, timeout=60)
        time.sleep(1)
        self.rebuild("--replace")
        self.take_backup()
        self.is_old = False

    def lose_postgres(self):
        self.new_metadata()
        self.rebuild()

    def run(self):
        troubles = [self.kill_server, self.kill_postgres, self.kill_s3, self.stop_a_writer, self.slow_link, self.cut_link,
                    self.expired_credentials, self.put_back_a_backup, self.lose_postgres]
        end = time.monotonic() + SECONDS
        left = []
        while time.monotonic() < end:
            left = left or self.random.sample(troubles, len(troubles))
            trouble = left.pop()
            print(f"{SECONDS - (end - time.monotonic()):6.1f} s  {len(self.acknowledged):6} acknowledged  {trouble.__name__}",
                  flush=True)
            trouble()
            self.check()
            self.snapshot()

    def close(self):
        self.stopping = True
        for server in self.servers:
            if server.process.poll() is None:
                server.process.send_signal(signal.SIGCONT)
                server.kill()
        for client in self.clients.values():
            client.close()
        for link in self.links.values():
            link.close()
        self.s3.close()
        self.postgres.remove()


def test_nothing_acknowledged_is_lost(tmp_path):
    print(f"seed {SEED}")
    world = World(tmp_path)
    failures = []

    def work():
        try:
            world.work()
        except BaseException as failure:
            failures.append(failure)
            raise
    try:
        world.anywhere(lambda client: client.execute("CREATE TABLE IF NOT EXISTS t (i INTEGER)"))
        workers = [threading.Thread(target=work, daemon=True) for _ in range(3)]
        for worker in workers:
            worker.start()
        world.take_backup()
        world.run()
        world.stopping = True
        for worker in workers:
            worker.join(120)
        assert not failures
        world.check()
        world.check_snapshots()
        for server in world.servers:
            server.kill()
        world.servers = [world.machine("empty")]
        world.check()
        world.check_snapshots()
        assert len(world.acknowledged) > 20 and world.snapshots
    except BaseException:
        for server in world.servers:
            print(server.log_text())
        raise
    finally:
        world.close()
