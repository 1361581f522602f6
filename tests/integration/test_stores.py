"""The stores under the storage on real servers: the C suites of tests/conformance, lost answers, restarts, refusals."""
import os
import subprocess

import pytest
from conftest import ROOT
from fake_s3 import FakeS3
from shared_stores import postgres  # noqa: F401 (a fixture)
from storage_servers import S3, Postgres, Proxy, s3_server_command


def program(name):
    for folder in (os.environ.get("OPENDUCK_CONFORMANCE"), ROOT / "build/asan/tests/conformance"):
        if folder and os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    pytest.fail(f"{name} is not built: make test")


def run(name, *arguments, **more):
    done = subprocess.run([program(name), *arguments], capture_output=True, text=True, timeout=150, **more)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done


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


@pytest.fixture(scope="module")
def s3():
    if not s3_server_command(0):
        pytest.skip("neither versitygw nor moto is installed; the tests with the small server of fake_s3.py do run")
    server = S3()
    try:
        yield server.start()
    finally:
        server.remove()


@pytest.mark.parametrize("prefix", ["", "a/cluster"])
def test_s3_suite(s3, prefix):
    run("run_s3", "suite", env=s3.environment(S3_PREFIX=prefix))


def test_s3_large_objects_go_up_in_parts(s3):
    run("run_s3", "large", "65", env=s3.environment())


def test_s3_lost_answer_of_a_put_is_found_out(s3):
    """The put reaches the server, its answer does not: tried again it is refused, and by its id known to be our own."""
    lost = []

    def watch(data):
        if data.startswith(b"PUT ") and b"/lost-" in data and not lost:
            lost.append(data)
            return True
        return False
    proxy = Proxy(s3.port, watch)
    try:
        done = run("run_s3", "put", "lost-1", env=s3.environment(proxy.port))
        assert done.stdout == "OK\n" and proxy.cuts == 1
        done = run("run_s3", "put", "lost-1", env=s3.environment(proxy.port))
        assert done.stdout == "EXISTS\n"
    finally:
        proxy.close()


def test_s3_unknown_outcome_is_said(s3):
    """All answers about the key are lost until the deadline."""
    proxy = Proxy(s3.port, lambda data: b"/never-" in data)
    try:
        done = run("run_s3", "put", "never-1", env=s3.environment(proxy.port, S3_DEADLINE_MS="1500"))
        assert done.stdout == "OUTCOME_UNKNOWN\n"
    finally:
        proxy.close()


def test_s3_refusals(s3):
    run("run_s3", "refused", "NOT_FOUND", "nobucket", env=s3.environment(S3_BUCKET="nobucket"))
    run("run_s3", "refused", "INVALID", "name of a bucket", env=s3.environment(S3_BUCKET="No Bucket"))
    run("run_s3", "refused", "UNAVAILABLE", "127.0.0.1", env=s3.environment(1, S3_DEADLINE_MS="300"))
    run("run_s3", "refused", "UNAUTHENTICATED", "credentials", env=s3.environment(S3_SECRET="wrong"))


@pytest.fixture
def fake_s3():
    made = []

    def make(**more):
        made.append(FakeS3(**more))
        return made[-1]
    yield make
    for server in made:
        server.close()


def fake_environment(server, **more):
    return S3.environment_of(server.port, **more)


def test_s3_suite_on_the_small_server(fake_s3):
    server = fake_s3()
    run("run_s3", "suite", env=fake_environment(server, S3_PREFIX="p"))
    run("run_s3", "large", "65", env=fake_environment(server))


@pytest.mark.parametrize("status", [409, 429, 500, 503])
def test_s3_passing_faults_are_not_noticed(fake_s3, status):
    server = fake_s3(faults=lambda method, key, count: status if "it" in key and count % 2 else None)
    assert run("run_s3", "put", "it", env=fake_environment(server)).stdout == "OK\n"
    assert len(server.objects["it"][0]) == 1000


def test_s3_full_or_forbidden_is_said(fake_s3):
    for status, code in ((403, "FORBIDDEN"), (507, "UNAVAILABLE")):
        server = fake_s3(faults=lambda method, key, count, status=status: status if "it" in key else None)
        done = run("run_s3", "put", "it", env=fake_environment(server, S3_DEADLINE_MS="500"))
        assert done.stdout in (f"{code}\n", "OUTCOME_UNKNOWN\n")


def test_s3_without_sound_conditions_is_refused(fake_s3):
    for conditions in ("ignored", "racy"):
        server = fake_s3(conditions=conditions)
        run("run_s3", "refused", "UNSUPPORTED", "If-None-Match", env=fake_environment(server))
        assert not server.objects  # what the trial put is gone
