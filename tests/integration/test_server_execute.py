"""Execute, sessions, cancellation and what a server refuses, asked by a plain gRPC client."""
import threading
import time
import uuid

import grpc
import pytest

from plain_client import Client, Failed, Session, Stream, failing, fragment, health, pb, result_of, rows, table

LONG = "SELECT count(*) FROM range(1000000) a, range(1000000) b WHERE a.range + b.range < 0"


@pytest.fixture
def client(server):
    client = Client(server.endpoint, server.token)
    yield client
    client.close()


@pytest.fixture
def database(new_database):
    return new_database()


def at_once(client, sql):
    """An answer with everything in it. One that took longer than 100 ms (a busy machine) may have a ticket instead."""
    for _ in range(50):
        reply = client.execute(sql)
        if reply.HasField("end"):
            return reply
        client.cancel(reply.execution_id)
    raise AssertionError("never answered at once")


def test_small_result_in_one_answer(client):
    reply = at_once(client, "SELECT 42 AS a, 'x' AS b")
    assert reply.HasField("end") and not reply.tickets
    assert (reply.end.batches, reply.end.rows) == (len(reply.batches), 1)
    assert table(reply.schema, reply.batches).to_pylist() == [{"a": 42, "b": "x"}]
    assert reply.statement == "SELECT" and reply.read_only and not reply.in_transaction
    assert reply.result == pb.STATEMENT_RESULT_ROWS
    assert reply.catalog_version and reply.catalog_name and reply.incarnation and reply.execution_id


def test_no_rows_has_a_schema(client):
    reply = at_once(client, "SELECT 1 AS a WHERE false")
    assert reply.end.rows == 0
    assert table(reply.schema, reply.batches).column_names == ["a"]


def test_writes_count(client, database):
    assert client.execute("CREATE TABLE t (i INTEGER)", database).result == pb.STATEMENT_RESULT_NOTHING
    reply = client.execute("INSERT INTO t SELECT range FROM range(10)", database)
    assert reply.result == pb.STATEMENT_RESULT_CHANGED_ROWS and not reply.read_only
    assert rows(client, reply) == [{"Count": 10}]
    assert client.value("SELECT sum(i) FROM t", database) == 45


def test_describe_runs_nothing(client, database):
    client.execute("CREATE TABLE t (i INTEGER)", database)
    reply = client.execute("INSERT INTO t VALUES (1) RETURNING i", database, describe_only=True)
    assert reply.schema and not reply.batches and not reply.read_only
    assert client.value("SELECT count(*) FROM t", database) == 0


def test_errors_are_typed(client, database):
    failed = failing(client.execute, "SELEC 1")
    assert failed.code == "SQL" and failed.detail.error_class == "Parser"
    failed = failing(client.execute, "SELECT * FROM no_such_table")
    assert failed.detail.error_class == "Catalog" and "no_such_table" in failed.detail.message
    failed = failing(client.execute, "SELECT no_such_function(1)")
    assert failed.detail.error_class == "Catalog"
    failed = failing(client.execute, "SELECT 'x'::INTEGER")
    assert failed.detail.error_class == "Conversion" and not failed.detail.retryable
    failed = failing(client.execute, "SELECT 1", "nowhere")
    assert failed.code == "NOT_FOUND" and "nowhere" in failed.detail.message and "main" in failed.detail.message


def test_a_trace_is_found_in_the_log_and_in_errors(start_server):
    server = start_server("--log-level", "debug")
    client = Client(server.endpoint, server.token)
    traces = [f"{number:032x}" for number in (0xabc, 0xdef, 0x123)]

    def context(trace):
        return f"00-{trace}-00f067aa0ba902b7-01"
    client.execute("SELECT 1", traceparent=context(traces[0]))
    for sql in ("SELECT 'x'::INTEGER", "SELECT (range::VARCHAR || 'x')::INTEGER FROM range(3000000)"):
        failed = failing(client.execute, sql, traceparent=context(traces[1]))
        assert {setting.name: setting.value for setting in failed.detail.extra}["trace_id"] == traces[1]
    failed = failing(client.execute, "SELECT no_such_function()", traceparent=f"xx-{traces[2]}-00f067aa0ba902b7-01")
    assert all(setting.name != "trace_id" for setting in failed.detail.extra)
    client.close()
    server.stop()
    log = server.log_text()
    assert f'trace {traces[0]}: a statement of database "main": OK' in log
    assert f'trace {traces[1]}: a statement of database "main": SQL Conversion' in log
    assert traces[2] not in log


def test_error_after_the_first_rows_is_no_short_result(client):
    reply = client.execute("SELECT CASE WHEN range < 3000000 THEN range ELSE error('late') END FROM range(4000000)")
    failed = failing(rows, client, reply)
    assert "late" in str(failed)


def test_refused_requests(client):
    for fields, part in [({"sql": ""}, "no SQL"), ({"sql": "SELECT 1", "snapshot": "monday"}, "monday"),
                         ({"sql": "SELECT 1", "sequence": 1}, "session"), ({"sql": "SELECT 1", "session_id": "s"}, "sequence"),
                         ({"sql": "SELECT 1\0"}, "NUL"), ({"sql": "SELECT 1", "request_id": "x" * 1000}, "request id"),
                         ({"sql": "SELECT 1", "timeout_ms": 2 ** 63}, "timeout")]:
        failed = failing(client.execute, **fields)
        assert part in str(failed), failed
    assert failing(client.execute, "SELECT 1; SELECT 2").code in ("SQL", "INVALID")


def test_garbage_and_unknown_methods(server, client):
    def raw(method, payload):
        call = client.channel.unary_unary(method)
        with pytest.raises(grpc.RpcError) as caught:
            call(payload, metadata=client.metadata, timeout=20)
        return caught.value.code()
    assert raw("/openduck.v1.ExecutionService/Execute", b"\xff\xff\xff garbage") == grpc.StatusCode.INVALID_ARGUMENT
    assert raw("/openduck.v1.ExecutionService/Nothing", b"") == grpc.StatusCode.UNIMPLEMENTED
    assert raw("/nobody.Knows/This", b"") == grpc.StatusCode.UNIMPLEMENTED
    assert raw("/openduck.v1.ExecutionService/RegisterWorker", b"") == grpc.StatusCode.UNIMPLEMENTED
    assert raw("/openduck.v1.ExecutionService/Heartbeat", b"") == grpc.StatusCode.UNIMPLEMENTED
    assert raw("/openduck.v1.ExecutionService/Execute", bytes(70 << 20)) == grpc.StatusCode.RESOURCE_EXHAUSTED
    assert client.value("SELECT 1") == 1


def test_ten_megabytes_of_sql(client):
    text = "x" * (10 << 20)
    assert client.value(f"SELECT length('{text}')") == len(text)


def test_token(server):
    for token in (None, "wrong", server.token + "x", server.token[:-1]):
        client = Client(server.endpoint, token)
        assert failing(client.execute, "SELECT 1").code == "UNAUTHENTICATED"
        assert failing(client.cancel, "x").code == "UNAUTHENTICATED"
        assert failing(client.info).code == "UNAUTHENTICATED"
        client.close()


def test_health(server):
    client = Client(server.endpoint)  # needs no token
    assert client.health.Check(health.HealthCheckRequest(), timeout=20).status == health.HealthCheckResponse.SERVING
    client.close()


# ---- deadlines, cancellation, abandonment

def test_timeout(client):
    start = time.monotonic()
    failed = failing(client.rows, LONG, timeout_ms=300)
    assert failed.code == "TIMEOUT" and "300 ms" in str(failed)
    assert time.monotonic() - start < 20


def eventually(condition, seconds=10):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def read_all(client, future):
    return rows(client, result_of(future))


@pytest.mark.parametrize("by", ["request", "execution"])
def test_cancel(client, by):
    request_id = uuid.uuid4().hex
    if by == "request":
        future = client.later(LONG, request_id=request_id)
        while not client.cancel(request_id):
            time.sleep(0.01)
        assert failing(read_all, client, future).code in ("CANCELLED", "NOT_FOUND")
    else:
        reply = client.execute(LONG, request_id=request_id)  # answers after 100 ms
        assert reply.tickets
        stream = Stream(client, reply.tickets[0].ticket)
        time.sleep(0.1)
        assert client.cancel(reply.execution_id)
        assert failing(stream.rest).code == "CANCELLED"
    eventually(lambda: client.cancel(request_id) is False)  # forgotten once the client has been told
    assert client.cancel("never heard of") is False


def becomes_idle(server):
    """Its statement, which would run for hours, has been stopped. (How soon is measured in bench/.)"""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        before = server.cpu_s()
        time.sleep(0.5)
        if server.cpu_s() - before < 0.1:
            return True
    return False


def test_abandoned_query_uses_no_processor(start_server):
    server = start_server()
    client = Client(server.endpoint, server.token)
    client.execute("SELECT 1")
    future = client.later(LONG)
    time.sleep(0.08)
    future.cancel()
    time.sleep(0.4)
    assert becomes_idle(server)
    reply = client.execute(LONG)  # with a ticket, and then the client is gone
    stream = Stream(client, reply.tickets[0].ticket)
    time.sleep(0.2)
    stream.drop()
    time.sleep(0.4)
    assert becomes_idle(server)
    assert client.info().running == 0
    client.close()


# ---- request ids

def test_request_sent_again_is_answered_again(client, database):
    client.execute("CREATE TABLE t (i INTEGER)", database)
    first = client.execute("INSERT INTO t VALUES (1), (2)", database, request_id="again")
    again = client.execute("INSERT INTO t VALUES (1), (2)", database, request_id="again")
    assert again == first
    assert client.value("SELECT count(*) FROM t", database) == 2


def test_failed_write_may_be_sent_again(client, database):
    assert failing(client.execute, "INSERT INTO t VALUES (1)", database, request_id="x").detail.error_class == "Catalog"
    client.execute("CREATE TABLE t (i INTEGER)", database)
    client.execute("INSERT INTO t VALUES (1)", database, request_id="x")
    assert client.value("SELECT count(*) FROM t", database) == 1


def test_live_request_is_joined(client, database):
    client.execute("CREATE SEQUENCE s", database)
    sql = "SELECT nextval('s') AS n, count(*) AS c FROM range(30000000) WHERE hash(range) % 7 = 3"
    futures = [client.later(sql, database, request_id="same") for _ in range(4)]
    replies = [result_of(future) for future in futures]
    assert len({reply.execution_id for reply in replies}) == 1
    assert client.value("SELECT nextval('s')", database) <= 2


def test_request_first_asked_elsewhere(client, database):
    """The ledger of the database knows that it did not commit, so it runs."""
    client.execute("CREATE TABLE t (i INTEGER)", database)
    client.execute("INSERT INTO t VALUES (1)", database, first_incarnation="another server")
    assert client.value("SELECT count(*) FROM t", database, first_incarnation="another server") == 1


def test_read_only_refuses_writes(client, database):
    failed = failing(client.execute, "CREATE TABLE t (i INTEGER)", database, read_only=True)
    assert failed.code == "READ_ONLY"


# ---- sessions

def test_session_keeps_state(client, database):
    session = client.session(database)
    session.execute("CREATE TEMP TABLE t AS SELECT 7 AS i")
    assert session.value("SELECT i FROM t") == 7
    assert failing(client.execute, "SELECT i FROM t", database).detail.error_class == "Catalog"
    session.close()
    session.close()  # idempotent
    assert failing(session.execute, "SELECT i FROM t").code == "SESSION_LOST"


def test_session_transaction(client, database):
    client.execute("CREATE TABLE t (i INTEGER)", database)
    session = client.session(database)
    assert session.execute("BEGIN").in_transaction
    session.execute("INSERT INTO t VALUES (1)")
    assert session.value("SELECT count(*) FROM t") == 1
    assert client.value("SELECT count(*) FROM t", database) == 0
    assert not session.execute("COMMIT").in_transaction
    assert client.value("SELECT count(*) FROM t", database) == 1
    session.execute("BEGIN")
    session.execute("DELETE FROM t")
    session.close()
    assert client.value("SELECT count(*) FROM t", database) == 1


def test_a_statement_begins_its_transaction(client, database):
    client.execute("CREATE TABLE t (i INTEGER PRIMARY KEY)", database)
    session = client.session(database)
    first = session.execute("INSERT INTO t VALUES (1)", sequence=1, request_id="one", begin_transaction=True)
    assert first.in_transaction
    assert session.execute("INSERT INTO t VALUES (1)", sequence=1, request_id="one", begin_transaction=True) == first
    assert session.execute("INSERT INTO t VALUES (2)", sequence=2, begin_transaction=True).in_transaction
    assert client.value("SELECT count(*) FROM t", database) == 0
    assert not session.execute("COMMIT", sequence=3).in_transaction
    assert client.value("SELECT count(*) FROM t", database) == 2
    assert failing(client.execute, "SELECT 1", database, begin_transaction=True).code == "INVALID"


@pytest.mark.parametrize("begin", ["BEGIN", None])
@pytest.mark.parametrize("fails", ["FROM nothing", "INSERT INTO t VALUES (1)"])
def test_what_a_failed_first_statement_leaves(client, database, begin, fails):
    client.execute("CREATE TABLE t (i INTEGER PRIMARY KEY)", database)
    client.execute("INSERT INTO t VALUES (1)", database)
    session = client.session(database)
    if begin:
        session.execute(begin)
    failing(session.execute, fails, begin_transaction=not begin)
    if fails.startswith("FROM"):
        assert session.execute("INSERT INTO t VALUES (2)", begin_transaction=not begin).in_transaction
        session.execute("COMMIT")
    else:
        again = failing(session.execute, "INSERT INTO t VALUES (2)", begin_transaction=not begin)
        assert "aborted" in str(again)
        session.execute("ROLLBACK")
    assert client.value("SELECT count(*) FROM t", database) == (2 if fails.startswith("FROM") else 1)


def test_session_numbers(client, database):
    session = client.session(database)
    assert failing(session.execute, "SELECT 1", sequence=2).code == "SESSION_LOST"
    session.execute("CREATE TABLE t (i INTEGER)", sequence=1)
    first = session.execute("INSERT INTO t VALUES (1)", sequence=2, request_id="two")
    assert session.execute("INSERT INTO t VALUES (1)", sequence=2, request_id="two") == first
    assert failing(session.execute, "INSERT INTO t VALUES (2)", sequence=2, request_id="other").code == "SESSION_LOST"
    assert failing(session.execute, "SELECT 1", sequence=1).code == "SESSION_LOST"
    assert session.value("SELECT count(*) FROM t", sequence=3, request_id="three") == 1
    assert session.value("SELECT count(*) FROM t", sequence=3, request_id="three") == 1
    session.close()


def test_sessions_belong_to_a_database_and_an_id(client, database, new_database):
    session = client.session(database)
    session.execute("CREATE TEMP TABLE t AS SELECT 1 AS i")
    other = Session(client, new_database())
    other.id = session.id
    assert failing(other.execute, "SELECT * FROM t").detail.error_class == "Catalog"
    session.close()
    other.close()


def test_begin_without_a_session(client):
    failed = failing(client.execute, "BEGIN")
    assert failed.code == "INVALID" and "session" in str(failed)
    assert client.value("SELECT 1") == 1


def test_nothing_leaks_between_statements(client, database):
    client.execute("CREATE TEMP TABLE leak AS SELECT 1 AS i", database)
    client.execute("SET default_order = 'DESC'", database)
    client.execute("PREPARE leak AS SELECT 1", database)
    for _ in range(20):
        assert client.value("SELECT count(*) FROM duckdb_tables() WHERE table_name = 'leak'", database) == 0
        assert client.value("SELECT current_setting('default_order')", database).upper() == "ASCENDING" or \
            client.value("SELECT current_setting('default_order')", database).upper() == "ASC"


def test_cancel_does_not_hit_the_next_statement(client, database):
    session = client.session(database)
    session.execute("SELECT 1")
    for _ in range(100):
        request_id = uuid.uuid4().hex
        stop = threading.Event()

        def cancel():
            while not stop.is_set():
                client.cancel(request_id)
        thread = threading.Thread(target=cancel)
        thread.start()
        try:
            session.execute("SELECT sum(range) FROM range(1000)", request_id=request_id)
        except Failed as failed:
            assert failed.code == "CANCELLED"
        assert session.value("SELECT 1") == 1
        stop.set()
        thread.join()
    session.close()


def test_idle_sessions_end(start_server):
    server = start_server("--session-timeout", "3s", "--transaction-timeout", "1s", "--max-sessions", "2")
    client = Client(server.endpoint, server.token)
    idle, busy = client.session(), client.session()
    idle.execute("SELECT 1")
    busy.execute("BEGIN")
    assert failing(client.session().execute, "SELECT 1").code == "LIMIT"
    time.sleep(2.6)
    failed = failing(busy.execute, "SELECT 1")
    assert failed.code == "SESSION_LOST" and "idle" in str(failed)
    assert idle.value("SELECT 1") == 1
    client.session().execute("SELECT 1")
    client.close()


# ---- admission

def test_busy(start_server):
    server = start_server("--max-running", "1", "--max-queued", "1", "--queue-wait", "30s")
    client = Client(server.endpoint, server.token)
    client.execute("SELECT 1")
    running = client.later(LONG, request_id="running")
    time.sleep(0.05)
    waiting = client.later("SELECT 2", request_id="waiting")
    eventually(lambda: client.info().queued == 1)
    failed = failing(client.execute, "SELECT 3")
    assert failed.code == "BUSY" and failed.detail.retryable and failed.status == grpc.StatusCode.UNAVAILABLE
    client.cancel("running")
    assert rows(client, result_of(waiting)) == [{"2": 2}]
    client.close()


def test_queue_wait_is_bounded(start_server):
    server = start_server("--max-running", "1", "--queue-wait", "500ms")
    client = Client(server.endpoint, server.token)
    client.execute("SELECT 1")
    reply = client.execute(LONG)
    failed = failing(client.execute, "SELECT 2")
    assert failed.code == "BUSY" and "waited" in str(failed)
    client.cancel(reply.execution_id)
    client.close()


# ---- snapshot groups

def test_group_sees_one_snapshot(client, database):
    client.execute("CREATE TABLE t (i INTEGER)", database)
    stop = threading.Event()

    def write():
        while not stop.is_set():
            client.execute("INSERT INTO t VALUES (1)", database)
    writers = [threading.Thread(target=write) for _ in range(2)]
    for writer in writers:
        writer.start()
    try:
        for n in range(20):
            group = pb.SnapshotGroup(id=f"g{n}", size=3)
            counts = {client.value("SELECT count(*) FROM t", database, group=group) for _ in range(3)}
            assert len(counts) == 1
            assert "come already" in str(failing(client.execute, "SELECT 1", database, group=group))
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert failing(client.execute, "SELECT 1", database, group=pb.SnapshotGroup(id="g", size=1000)).code == "INVALID"


# ---- the one call of first-generation clients

def test_fragment(client, database):
    tables, errors, finished = fragment(client, "SELECT range AS i, 'a' || range AS s FROM range(10000)", database=database)
    assert finished and not errors
    assert all(part.num_rows <= 2048 for part in tables)
    values = [value for part in tables for value in part["i"].to_pylist()]
    assert values == list(range(10000))
    assert tables[-1]["s"].to_pylist()[-1] == "a9999"


def test_fragment_without_rows_has_a_schema(client):
    tables, errors, finished = fragment(client, "SELECT 1 AS a WHERE false")
    assert finished and not errors and tables[0].column_names == ["a"]


def test_fragment_errors_are_in_the_data(client):
    tables, errors, _ = fragment(client, "SELECT * FROM no_such_table")
    assert not tables and "no_such_table" in errors[0]
    tables, errors, _ = fragment(client, "SELECT 1", snapshot_id="x")
    assert errors
    with pytest.raises(grpc.RpcError) as caught:
        client.token = "wrong"
        fragment(client, "SELECT 1")
    assert caught.value.code() == grpc.StatusCode.UNAUTHENTICATED


def test_fragment_default_database_and_large_rows(client):
    tables, errors, finished = fragment(client, "SELECT repeat('x', 100000) AS s FROM range(200)", database="default")
    assert finished and not errors and sum(part.num_rows for part in tables) == 200


def test_a_statement_sees_the_commit_that_it_names(start_server):
    server = start_server()
    client = Client(server.endpoint, server.token)
    client.execute("CREATE TABLE seen (i INTEGER)")
    commit = client.execute("INSERT INTO seen VALUES (1)").commit
    token = lambda **more: pb.CommitToken(**({"branch": commit.branch, "epoch": commit.epoch, "lsn": commit.lsn} | more))
    select = lambda wanted: client.execute("SELECT count(*) FROM seen", min_commit=wanted)
    select(token())
    assert failing(select, token(lsn=commit.lsn + (1 << 20))).code == "NOT_FOUND"
    assert failing(select, token(epoch=commit.epoch + 1)).code == "UNAVAILABLE"
    assert failing(select, token(branch=str(uuid.uuid4()))).code == "NOT_FOUND"
    assert failing(select, token(branch="nonsense")).code == "NOT_FOUND"
    client.close()
    server.kill()
    server = start_server(folder=server.folder)
    client = Client(server.endpoint, server.token)
    select(token())  # of an earlier epoch, which this one goes on from
    assert client.execute("SELECT 1", min_commit=token()).commit.epoch > commit.epoch
    client.close()
