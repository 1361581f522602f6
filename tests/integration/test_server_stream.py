"""Stream and Upload: acknowledgement, resumption, tickets, slow and vanished clients, asked by a plain gRPC client."""
import queue
import time

import pyarrow as pa
import pytest

from plain_client import Client, Failed, Stream, failing, pb, result_of, rows, table, upload

ROWS = 3_000_000
LARGE = f"SELECT range AS i, 'row ' || range AS s FROM range({ROWS})"


@pytest.fixture
def client(server):
    client = Client(server.endpoint, server.token)
    yield client
    client.close()


@pytest.fixture
def database(new_database):
    return new_database()


def large(client, sql=LARGE, **fields):
    reply = client.execute(sql, inline_limit=1, **fields)  # nothing inline
    assert not reply.batches and not reply.HasField("end")
    return reply, reply.tickets[0].ticket


def numbers(reply, batches):
    return table(reply.schema, batches)["i"].to_pylist()


def test_large_result_arrives_in_order(client):
    reply, ticket = large(client)
    batches, end = Stream(client, ticket).rest()
    assert (end.batches, end.rows) == (len(batches), ROWS)
    assert numbers(reply, batches) == list(range(ROWS))


def test_inline_batches_count(client):
    reply = client.execute(LARGE, inline_limit=3 << 20)
    assert reply.batches and [batch.number for batch in reply.batches] == list(range(len(reply.batches)))
    more, end = Stream(client, reply.tickets[0].ticket, len(reply.batches)).rest()
    assert more[0].number == len(reply.batches)
    assert numbers(reply, list(reply.batches) + more) == list(range(ROWS))


def test_without_acknowledgements_the_window_ends_it(client):
    _, ticket = large(client)
    stream = Stream(client, ticket, window=3 << 20)
    got = [stream.next().batch for _ in range(2)]
    time.sleep(0.5)
    stream.ack(got[-1].number + 1)
    batches, _ = stream.rest()
    assert sum(batch.rows for batch in got + batches) == ROWS


def test_half_closed_reader_gets_everything(client):
    reply, ticket = large(client)
    stream = Stream(client, ticket)
    stream.half_close()
    batches, end = stream.rest(acknowledge=False)
    assert numbers(reply, batches) == list(range(ROWS)) and end.rows == ROWS
    assert stream.next() is None


def test_resume_after_a_broken_connection(server, client):
    reply, ticket = large(client)
    broken = Client(server.endpoint, server.token)
    stream = Stream(broken, ticket)
    got = [stream.next().batch for _ in range(3)]
    stream.ack(2)
    time.sleep(0.2)
    broken.close()  # the transport is gone; batch 2 was not acknowledged
    time.sleep(0.3)
    again = Stream(client, ticket, 2)
    batches, _ = again.rest()
    assert batches[0].number == 2
    assert numbers(reply, got[:2] + batches) == list(range(ROWS))


def test_acknowledged_batches_are_gone(client):
    _, ticket = large(client)
    stream = Stream(client, ticket)
    for _ in range(3):
        number = stream.next().batch.number
        stream.ack(number + 1)
    time.sleep(0.3)
    stream.drop()
    assert failing(Stream(client, ticket, 0).next).code == "BATCH_GONE"
    assert failing(Stream(client, ticket, 100000).next).code == "INVALID"
    resumed = Stream(client, ticket, 3)
    assert resumed.next().batch.number == 3
    resumed.drop()


def test_newer_stream_supersedes(client):
    reply, ticket = large(client)
    old = Stream(client, ticket, window=1 << 20)
    first = old.next().batch
    new = Stream(client, ticket, 0)
    batches, _ = new.rest()
    assert batches[0].ipc == first.ipc
    with pytest.raises(Failed) as caught:
        while old.next() is not None:
            pass
    assert caught.value.code == "SUPERSEDED"
    assert numbers(reply, batches) == list(range(ROWS))


def test_bad_tickets(server, client):
    reply, ticket = large(client)
    forged = bytearray(ticket)
    forged[20] ^= 1
    for bad in (bytes(forged), b"", b"x" * len(ticket), ticket[:-1]):
        assert failing(Stream(client, bad).next).code == "TICKET_INVALID"
    assert failing(Stream(client, ticket, partition=1).next).code == "TICKET_INVALID"
    client.cancel(reply.execution_id)


def test_ticket_of_another_server(start_server, client):
    server = start_server()
    other = Client(server.endpoint, server.token)
    reply, ticket = large(client)
    assert failing(Stream(other, ticket).next).code == "TICKET_INVALID"
    client.cancel(reply.execution_id)
    other.close()


def test_finished_result_is_not_found(client):
    _, ticket = large(client)
    stream = Stream(client, ticket)
    stream.rest()
    assert stream.next() is None
    assert failing(Stream(client, ticket).next).code == "NOT_FOUND"


def test_malformed_streams(client):
    _, ticket = large(client)
    stream = Stream(client, b"", open_it=False)
    stream.ack(1)
    assert failing(stream.next).code == "INVALID"
    stream = Stream(client, b"", open_it=False)
    stream.half_close()
    assert failing(stream.next).code == "INVALID"
    stream = Stream(client, ticket)
    stream.next()
    stream.ack(1 << 40)  # never sent
    with pytest.raises(Failed) as caught:
        while stream.next() is not None:
            pass
    assert caught.value.code == "INVALID"


def test_request_sent_again_gets_the_same_tickets(client):
    reply, ticket = large(client, request_id="stream again")
    again = client.execute(LARGE, inline_limit=1, request_id="stream again")
    assert again == reply
    client.cancel(reply.execution_id)


def test_returning_is_streamed_after_the_commit(client, database):
    client.execute("CREATE TABLE t (i BIGINT)", database)
    reply = client.execute("INSERT INTO t SELECT range FROM range(1000000) RETURNING i", database)
    assert client.value("SELECT count(*) FROM t", database) in (0, 1000000)
    assert [row["i"] for row in rows(client, reply)] == list(range(1000000))
    assert client.value("SELECT count(*) FROM t", database) == 1000000


def test_transaction_reads_large_results(client, database):
    session = client.session(database)
    session.execute("BEGIN")
    session.execute("CREATE TABLE t AS SELECT range AS i FROM range(2000000)")
    first = session.execute("SELECT i FROM t", inline_limit=1)
    second = session.execute("SELECT count(*) AS c FROM t")  # while the first is unread
    assert rows(client, second) == [{"c": 2000000}]
    batches, _ = Stream(client, first.tickets[0].ticket).rest()
    assert numbers(first, batches) == list(range(2000000))
    session.close()


def test_stalled_readers_do_not_harm_others(start_server):
    server = start_server("--max-running", "3", "--threads", "2")
    client = Client(server.endpoint, server.token)
    stalled = []
    for _ in range(6):
        _, ticket = large(client, f"SELECT range AS i, repeat('x', 100) AS s FROM range({50 * ROWS})")
        stream = Stream(client, ticket, window=1 << 20)
        stream.next()
        stalled.append(stream)
        time.sleep(0.3)
    for _ in range(20):
        start = time.monotonic()
        assert client.value("SELECT 1") == 1
        assert time.monotonic() - start < 5
    for stream in stalled:
        stream.drop()
    client.close()


def checkpoint_succeeds(client, seconds):
    """Whether CHECKPOINT gets through: not while a transaction needs what an update has replaced."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            client.execute("CHECKPOINT")
            return True
        except Failed:
            time.sleep(0.1)
    return False


def test_a_statement_ends_although_nobody_reads_its_rows(start_server):
    server = start_server("--spill-after", "1s", "--threads", "2")
    client = Client(server.endpoint, server.token)
    client.execute(f"CREATE TABLE wide AS {LARGE}")
    client.execute("CREATE TABLE counter AS SELECT 0 AS v FROM range(1000)")
    reply, ticket = large(client, "SELECT * FROM wide")
    stream = Stream(client, ticket, window=1 << 20)
    first = stream.next().batch
    client.execute("UPDATE counter SET v = 1")
    assert checkpoint_succeeds(client, 60)
    stream.ack(first.number + 1)
    batches, end = stream.rest()
    assert (end.batches, end.rows) == (len(batches) + 1, ROWS)
    assert numbers(reply, [first] + batches) == list(range(ROWS))
    client.close()


def test_rows_that_nobody_reads_have_a_limit_on_disk(start_server):
    server = start_server("--spill-after", "1s", "--temp-limit", "4MB")
    client = Client(server.endpoint, server.token)
    _, ticket = large(client)
    stream = Stream(client, ticket, window=1 << 20)
    first = stream.next().batch
    client.execute("CREATE TABLE counter AS SELECT 0 AS v FROM range(1000)")
    client.execute("UPDATE counter SET v = 1")
    assert checkpoint_succeeds(client, 60)
    stream.ack(first.number + 1)
    failed = failing(stream.rest)
    assert failed.code == "LIMIT" and "--temp-limit" in str(failed)
    assert client.value("SELECT 1") == 1
    client.close()


# ---- uploads

def data(rows_=100000, batches=10):
    per = rows_ // batches
    return [pa.record_batch({"i": pa.array(range(n * per, (n + 1) * per), pa.int64()),
                             "s": [f"s{i}" for i in range(n * per, (n + 1) * per)]}) for n in range(batches)]


def test_upload_before_the_statement(client, database):
    batches = data(1000, 2)
    replies = upload(client, "early", batches[0].schema, batches, database)
    assert replies[0].next_batch == 0 and replies[-1].next_batch == 2
    client.execute("CREATE TABLE t AS SELECT * FROM openduck_upload('early')", database)
    assert client.rows("SELECT count(*) AS c, sum(i) AS i, min(s) AS s FROM t", database) == [
        {"c": 1000, "i": 499500, "s": "s0"}]


def test_upload_into_a_waiting_statement(client, database):
    batches = data(1_000_000, 100)
    client.execute("CREATE TABLE t (i BIGINT, s VARCHAR)", database)
    gate = pa.schema(batches[0].schema)
    requests = queue.SimpleQueue()
    requests.put(pb.UploadRequest(open=pb.UploadOpen(database=database, upload_id="u", schema=gate.serialize().to_pybytes())))
    call = client.stub.Upload(iter(requests.get, None), metadata=client.metadata, timeout=60)
    assert next(call).next_batch == 0
    insert = client.later("INSERT INTO t SELECT * FROM openduck_upload('u')", database)
    for number, batch in enumerate(batches):
        requests.put(pb.UploadRequest(batch=pb.Batch(number=number, rows=batch.num_rows, ipc=batch.serialize().to_pybytes())))
    requests.put(pb.UploadRequest(finish=pb.End(batches=len(batches), rows=1_000_000)))
    requests.put(None)
    *_, last = call
    assert last.next_batch == len(batches)
    assert rows(client, result_of(insert)) == [{"Count": 1_000_000}]
    assert client.value("SELECT sum(i) FROM t", database) == sum(range(1_000_000))


def test_upload_that_lies_leaves_nothing(client, database):
    batches = data(1000, 2)
    client.execute("CREATE TABLE t (i BIGINT, s VARCHAR)", database)
    insert = client.later("INSERT INTO t SELECT * FROM openduck_upload('lie')", database)
    failed = failing(upload, client, "lie", batches[0].schema, batches, database, pb.End(batches=2, rows=999))
    assert failed.code in ("INVALID", "CORRUPT")
    failing(result_of, insert)
    assert client.value("SELECT count(*) FROM t", database) == 0


def test_upload_given_up_fails_its_statement(client, database):
    batches = data(1000, 2)
    client.execute("CREATE TABLE t (i BIGINT, s VARCHAR)", database)

    def requests():
        yield pb.UploadRequest(open=pb.UploadOpen(database=database, upload_id="up", schema=batches[0].schema.serialize().to_pybytes()))
        yield pb.UploadRequest(batch=pb.Batch(number=0, rows=batches[0].num_rows, ipc=batches[0].serialize().to_pybytes()))
        time.sleep(0.5)
    call = client.stub.Upload(requests(), metadata=client.metadata, timeout=60)
    assert next(call).next_batch == 0
    insert = client.later("INSERT INTO t SELECT * FROM openduck_upload('up')", database)
    assert failing(lambda: rows(client, result_of(insert)))
    assert client.value("SELECT count(*) FROM t", database) == 0


def test_upload_resumes(server, client, database):
    batches = data(1000, 4)
    schema = batches[0].schema.serialize().to_pybytes()
    broken = Client(server.endpoint, server.token)
    requests = queue.SimpleQueue()
    requests.put(pb.UploadRequest(open=pb.UploadOpen(database=database, upload_id="r", schema=schema)))
    for number in (0, 1):
        requests.put(pb.UploadRequest(batch=pb.Batch(number=number, rows=250, ipc=batches[number].serialize().to_pybytes())))
    call = broken.stub.Upload(iter(requests.get, None), metadata=broken.metadata, timeout=60)
    while next(call).next_batch < 2:
        pass
    broken.close()
    requests.put(None)
    time.sleep(0.3)
    replies = upload(client, "r", batches[0].schema, batches, database, first=1)  # sends batch 1 again
    assert replies[0].next_batch == 2
    assert client.value("SELECT count(*) FROM openduck_upload('r')", database) == 1000


def test_hostile_uploads(client, database):
    batch = data(1000, 1)[0]
    schema = batch.schema.serialize().to_pybytes()
    good = batch.serialize().to_pybytes()

    def send(*messages):
        try:
            list(client.stub.Upload(iter(messages), metadata=client.metadata, timeout=20))
        except Exception as error:
            return Failed(error).code
        return None

    def opening(name, text=schema):
        return pb.UploadRequest(open=pb.UploadOpen(database=database, upload_id=name, schema=text))
    assert send(opening("h1", b"junk")) in ("CORRUPT", "INVALID")
    assert send(opening("", schema)) == "INVALID"
    assert send(pb.UploadRequest(batch=pb.Batch(ipc=good))) == "INVALID"
    assert send(pb.UploadRequest()) == "INVALID"
    for name, ipc, rows_ in [("h2", b"junk" * 100, 1000), ("h3", good[:-100], 1000), ("h4", good, 999), ("h5", schema, 0)]:
        requests = queue.SimpleQueue()
        requests.put(opening(name))
        call = client.stub.Upload(iter(requests.get, None), metadata=client.metadata, timeout=20)
        next(call)
        requests.put(pb.UploadRequest(batch=pb.Batch(number=0, rows=rows_, ipc=ipc)))
        with pytest.raises(Exception) as caught:
            next(call)
        assert Failed(caught.value).code in ("CORRUPT", "INVALID")
        requests.put(None)
    assert client.value("SELECT 1") == 1


def test_cancel_an_upload(client, database):
    requests = queue.SimpleQueue()
    batch = data(1000, 1)[0]
    requests.put(pb.UploadRequest(open=pb.UploadOpen(database=database, upload_id="c", schema=batch.schema.serialize().to_pybytes())))
    call = client.stub.Upload(iter(requests.get, None), metadata=client.metadata, timeout=20)
    next(call)
    assert client.cancel("c")
    with pytest.raises(Exception) as caught:
        next(call)
    assert Failed(caught.value).code == "CANCELLED"
    requests.put(None)
