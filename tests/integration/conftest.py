"""Fixtures of the integration tests: the real server as a process, and stock DuckDB clients of it.

OPENDUCK_SERVER names the server program (default: the sanitized build, else the release one), OPENDUCK_EXTENSION the
extension. Every server listens on a free loopback port, has a directory of its own, and is ended by its process id; its
log is printed when a test fails.
"""
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import duckdb
import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TOKEN = "integration-token"
NAMES = itertools.count()


def first_that_exists(variable, *candidates):
    if variable in os.environ:
        return Path(os.environ[variable])
    for candidate in candidates:
        if (ROOT / candidate).exists():
            return ROOT / candidate
    pytest.exit(f"{variable} is not set and none of {candidates} is built: make test", returncode=2)


def server_program():
    return first_that_exists("OPENDUCK_SERVER", "build/asan/src/cli/openduck", "build/release/src/cli/openduck",
                             "build/openduck")


def extension_file():
    return first_that_exists("OPENDUCK_EXTENSION", "build/openduck.duckdb_extension",
                             "build/release/extension/openduck.duckdb_extension")


class Server:
    """One `openduck serve` process."""

    def __init__(self, folder, *flags, token=TOKEN, environment=None):
        self.folder = Path(folder)
        self.token = token
        self.flags = [*flags, *(("--token", token) if token else ())]
        self.environment = environment or {}
        self.process = None
        self.port = 0

    def start(self, wait_s=60):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.log = open(self.folder / "server.log", "ab")
        out = self.folder / "ready"
        with open(out, "wb") as ready:
            self.process = subprocess.Popen(
                [server_program(), "serve", "--data", self.folder / "data", "--listen", f"127.0.0.1:{self.port}",
                 *self.flags],
                stdin=subprocess.DEVNULL, stdout=ready, stderr=self.log,
                env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0:handle_segv=2"} | self.environment)
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            text = out.read_text()
            if text.endswith("\n"):
                self.ready_line = text.strip()
                self.port = int(text.split(" ready on 127.0.0.1:")[1].split(";")[0])
                return self
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise RuntimeError(f"the server did not start: {self.log_text()}")

    @property
    def endpoint(self):
        return f"127.0.0.1:{self.port}"

    @property
    def pid(self):
        return self.process.pid

    def log_text(self):
        return (self.folder / "server.log").read_text(errors="replace")[-4000:]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self, wait_s=60):
        """Ends it in an orderly way; gives the exit status."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(wait_s)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
        return self.process.returncode if self.process else None

    def cpu_s(self):
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def run(self, *arguments, **more):
        """`openduck ARGUMENTS` against this server."""
        return subprocess.run([server_program(), *arguments, "--endpoint", self.endpoint, "--token", self.token],
                              capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL, **more)

    def attach(self, alias="r", database="main", con=None, options=""):
        """A stock DuckDB connection with the database attached."""
        con = con or connect()
        con.execute(f"ATTACH 'openduck:{database}?endpoint={self.endpoint}&token={self.token}' AS {alias} {options}")
        return con


def connect(**config):
    con = duckdb.connect(config={"allow_unsigned_extensions": "true"} | config)
    con.execute(f"LOAD '{extension_file()}'")
    return con


@pytest.fixture
def start_server():
    """A factory of servers for tests that end, kill or configure theirs."""
    started, folders = [], []

    def start(*flags, folder=None, **more):
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="openduck-"))
            folders.append(folder)
        server = Server(folder, *flags, **more)
        started.append(server)
        return server.start()
    yield start
    for server in started:
        if server.process and server.process.poll() is None:
            server.kill()
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def server(tmp_path_factory):
    """The server that most tests share, each with a database of its own. It must stop cleanly in the end."""
    server = Server(tmp_path_factory.mktemp("server")).start()
    yield server
    assert server.process.poll() is None, f"the server died: {server.log_text()}"
    assert server.stop() == 0, server.log_text()


@pytest.fixture(scope="session")
def new_database(server):
    """Makes a fresh database on the shared server; gives its name."""
    def make():
        name = f"db{next(NAMES)}"
        done = server.run("db", "create", name)
        assert done.returncode == 0, done.stderr
        return name
    return make


@pytest.fixture(scope="session")
def attach_empty(server, new_database):
    """attach_empty(alias): a stock DuckDB connection with a fresh, empty remote database attached."""
    connections = []

    def attach(alias="r"):
        con = server.attach(alias, new_database())
        connections.append(con)
        return con
    yield attach
    for con in connections:
        con.close()
