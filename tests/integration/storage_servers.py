"""The servers under the storage, for tests: PostgreSQL as an ordinary user, S3, and a proxy that loses what it carries.

Each listens on a free loopback port, keeps its files in a folder of its own, and is ended by its process id.
"""
import glob
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for_port(port, process, wait_s=60):
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.05)
    raise RuntimeError(f"nothing listens on port {port}")


class Postgres:
    """One PostgreSQL cluster. It refuses to run as root, so then it runs as nobody."""

    def __init__(self):
        found = sorted(glob.glob("/usr/lib/postgresql/*/bin"))
        self.bin = Path(found[-1] if found else os.path.dirname(shutil.which("initdb")))
        self.folder = Path(tempfile.mkdtemp(prefix="openduck-pg-"))
        self.prefix = []
        if os.getuid() == 0:
            self.prefix = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups"]
            shutil.chown(self.folder, "nobody", "nogroup")
        self.port = free_port()
        self.process = None
        self.run("initdb", "-D", self.folder / "data", "-A", "trust", "-U", "duck", "--no-sync", "-E", "UTF8",
                 "--locale=C")

    def run(self, program, *arguments):
        subprocess.run([*self.prefix, self.bin / program, *arguments], check=True, capture_output=True, cwd="/",
                       timeout=120)

    def start(self, fsync=False):
        log = open(self.folder / "log", "ab")
        self.process = subprocess.Popen(
            [*self.prefix, self.bin / "postgres", "-D", self.folder / "data", "-k", self.folder, "-p", str(self.port),
             "-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB", "-c", f"fsync={'on' if fsync else 'off'}", "-c",
             "max_connections=50"], stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/")
        end = time.monotonic() + 60
        while time.monotonic() < end and self.process.poll() is None:
            if subprocess.run([self.bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]).returncode == 0:
                return self
            time.sleep(0.05)
        raise RuntimeError((self.folder / "log").read_text()[-2000:])

    def stop(self):
        """At once, as a machine that loses its power; start() goes on from what is there."""
        if self.process and self.process.poll() is None:
            self.run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "-s", "stop")
            self.process.wait(60)

    def address(self, database, port=None, user="duck"):
        return f"postgres://{user}@127.0.0.1:{port or self.port}/{database}"

    def new_database(self, name):
        self.run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "duck", name)
        return self.address(name)

    def sql(self, database, text):
        self.run("psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "duck", "-d", database, "-c", text)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class S3:
    """An S3 server with one bucket: versitygw where it is installed, else moto, which is Python."""

    KEY, SECRET, BUCKET = "testkey", "testsecret123", "layers"

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="openduck-s3-"))
        self.port = free_port()
        self.process = None
        for name in ("files", "sidecar"):
            (self.folder / name).mkdir()
        (self.folder / "files" / self.BUCKET).mkdir()

    def start(self):
        log = open(self.folder / "log", "ab")
        command = s3_server_command(self.port, self.folder)
        self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        wait_for_port(self.port, self.process)
        if command[0] == sys.executable:
            request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{self.BUCKET}", method="PUT")
            urllib.request.urlopen(request, timeout=30).close()
        return self

    @classmethod
    def environment_of(cls, port, **more):
        return os.environ | {"S3_ENDPOINT": f"http://127.0.0.1:{port}", "S3_BUCKET": cls.BUCKET, "S3_KEY": cls.KEY,
                             "S3_SECRET": cls.SECRET} | more

    def environment(self, port=None, **more):
        return self.environment_of(port or self.port, **more)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait(60)

    def remove(self):
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


def s3_server_command(port, folder=Path(".")):
    """None: no S3 server is installed. OPENDUCK_VERSITYGW names one."""
    built = Path(__file__).resolve().parent.parent.parent / ".deps/bin/versitygw"  # tools/setup s3
    gateway = os.environ.get("OPENDUCK_VERSITYGW") or shutil.which("versitygw") or (built.exists() and built)
    if gateway:
        return [gateway, "--port", f"127.0.0.1:{port}", "--access", S3.KEY, "--secret", S3.SECRET, "--region",
                "us-east-1", "--quiet", "posix", "--sidecar", folder / "sidecar", folder / "files"]
    if importlib.util.find_spec("moto"):
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    return None


class Proxy:
    """Carries TCP connections to a port. `watch(data)` sees what clients send; while it answers True, the next thing the
    server says is not carried back: the connection is cut instead."""

    def __init__(self, port, watch):
        self.target, self.watch = port, watch
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.cuts = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self.target))
            state = {"cut": False}
            threading.Thread(target=self.carry, args=(client, server, state, True), daemon=True).start()
            threading.Thread(target=self.carry, args=(server, client, state, False), daemon=True).start()

    def carry(self, source, sink, state, from_client):
        try:
            while data := source.recv(65536):
                if from_client and self.watch(data):
                    state["cut"] = True
                elif not from_client and state["cut"]:
                    self.cuts += 1
                    break
                sink.sendall(data)
        except OSError:
            pass
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()
