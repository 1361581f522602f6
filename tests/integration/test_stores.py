"""The stores under the storage on real servers: the C suites of tests/conformance, lost answers, restarts, refusals."""
import os
import subprocess

import pytest
from conftest import ROOT
from storage_servers import Postgres, Proxy


def program(name):
    for folder in (os.environ.get("OPENDUCK_CONFORMANCE"), ROOT / "build/asan/tests/conformance"):
        if folder and os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    pytest.fail(f"{name} is not built: make test")


def run(name, *arguments, **more):
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=150, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def postgres():
    server = Postgres()
    try:
        yield server.start()
    finally:
        server.remove()


def test_postgres_suite(postgres):
    run("run_postgres", "suite", postgres.new_database("suite"), postgres.new_database("empty"))


def test_postgres_lost_answer_of_a_commit(postgres):
    address = postgres.new_database("lost")
    proxy = Proxy(postgres.port, lambda data: b"layer_publish" in data)
    try:
        run("run_postgres", "lost-answer", address, postgres.address("lost", proxy.port))
        assert proxy.cuts == 1
    finally:
        proxy.close()


def test_postgres_refusals(postgres):
    address = postgres.new_database("refused")
    run("run_postgres", "refused", address, "UNSUPPORTED", "openduck migrate")
    run("run_postgres", "refused", postgres.address("no_such_database"), "NOT_FOUND", "no_such_database")
    run("run_postgres", "refused", "postgres://127.0.0.1:1/x", "UNAVAILABLE", "127.0.0.1")
    run("run_postgres", "refused", "postgres://[", "INVALID", "wrong")
    postgres.sql("refused", "CREATE SCHEMA openduck; CREATE TABLE openduck.schema_version(version integer);"
                            "INSERT INTO openduck.schema_version VALUES (99)")
    run("run_postgres", "refused", address, "UNSUPPORTED", "version 99")
    assert subprocess.run([program("run_postgres"), "suite", address, address], capture_output=True).returncode != 0


def test_postgres_restart_between_calls():
    server = Postgres()
    try:
        server.start()
        address = server.new_database("restart")
        process = subprocess.Popen([program("run_postgres"), "restart", address], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert process.stdout.readline() == "ready\n"
        server.stop()
        server.start()
        _, errors = process.communicate("go\n", timeout=60)
        assert process.returncode == 0, errors
    finally:
        server.remove()
