"""Fixtures of tests whose databases are in S3 and PostgreSQL: a cluster of its own for each test."""
import os
import subprocess
import time

import pytest

from conftest import server_program
from fake_s3 import FakeS3
from plain_client import Client, Failed
from storage_servers import S3, Postgres


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


def environment_of(port):
    return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": S3.KEY,
            "AWS_SECRET_ACCESS_KEY": S3.SECRET, "AWS_REGION": "us-east-1"}


@pytest.fixture
def stores(postgres, request):
    """(flags of a server, its environment, the S3 server) of a cluster of its own."""
    s3 = FakeS3()
    name = "".join(c if c.isalnum() else "_" for c in request.node.name).lower()
    metadata = postgres.new_database(name)
    flags = ["--metadata", metadata, "--objects", f"s3://{S3.BUCKET}/cluster?path_style=true"]
    openduck("migrate", "--metadata", metadata)
    yield flags, environment_of(s3.port), s3
    s3.close()


def openduck(*arguments, environment=None, ok=True):
    """Standard output of `openduck ARGUMENTS`; standard error when it has to fail."""
    done = subprocess.run([server_program(), *map(str, arguments)], capture_output=True, text=True, timeout=120,
                          stdin=subprocess.DEVNULL, env=os.environ | (environment or {}))
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout if ok else done.stderr


@pytest.fixture
def own(start_server):
    """A factory of (server, client) on a data directory of its own."""
    clients = []

    def start(flags, environment, **more):
        server = start_server(*flags, environment=environment, **more)
        client = Client(server.endpoint, server.token)
        clients.append(client)
        return server, client
    yield start
    for client in clients:
        client.close()


def until_free(call):
    """The answer once the machine that has the database has let go of it."""
    end = time.monotonic() + 60
    while True:
        try:
            return call()
        except Failed as failed:
            if failed.code != "LOCKED" or time.monotonic() > end:
                raise
        time.sleep(0.2)
