"""A client of the protocol written from the .proto alone: plain grpcio, stubs generated here."""
import importlib
import itertools
import queue
import sys
import tempfile
import uuid
from pathlib import Path

import grpc
import pyarrow as pa
from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent.parent


def _generate():
    folder = tempfile.mkdtemp(prefix="openduck-stubs-")
    status = protoc.main(["protoc", f"-I{ROOT}/proto", f"--python_out={folder}", f"--grpc_python_out={folder}",
                          "openduck/v1/execution.proto", "grpc/health/v1/health.proto"])
    assert status == 0
    # Not as packages called "grpc" or "openduck", which exist already.
    for path in Path(folder).rglob("*.py"):
        text = path.read_text().replace("from openduck.v1 import", "import").replace("from grpc.health.v1 import", "import")
        (Path(folder) / path.name).write_text(text)
    sys.path.insert(0, folder)
    return [importlib.import_module(name) for name in
            ("execution_pb2", "execution_pb2_grpc", "health_pb2", "health_pb2_grpc")]


pb, rpc, health, health_rpc = _generate()


class Failed(Exception):
    """An RPC that failed: .code is ours, .status gRPC's."""

    def __init__(self, error):
        self.status = error.code()
        details = {key: value for key, value in error.trailing_metadata() or ()}
        self.detail = pb.ErrorDetail.FromString(details["openduck-error-bin"]) if "openduck-error-bin" in details else None
        self.code = self.detail.code if self.detail else None
        super().__init__(f"{self.code} ({self.status.name}): {error.details()}")


def failing(call, *arguments, **more):
    """Runs something that must fail; gives what it failed with."""
    try:
        call(*arguments, **more)
    except Failed as failed:
        return failed
    raise AssertionError("it was expected to fail")


class Stream:
    """One Stream call, driven by hand: batches arrive when read, acknowledgements go when sent."""

    def __init__(self, client, ticket, first=0, window=0, partition=0, open_it=True):
        self.requests = queue.SimpleQueue()
        if open_it:
            self.requests.put(pb.StreamRequest(open=pb.StreamOpen(ticket=ticket, partition=partition, first_batch=first,
                                                                  window_bytes=window)))
        self.call = client.stub.Stream(iter(self.requests.get, None), metadata=client.metadata)

    def ack(self, number):
        self.requests.put(pb.StreamRequest(ack=pb.StreamAck(next_batch=number)))

    def half_close(self):
        self.requests.put(None)

    def next(self):
        """The next message; None when the call has ended well."""
        try:
            return next(self.call)
        except StopIteration:
            return None
        except grpc.RpcError as error:
            raise Failed(error) from None

    def rest(self, acknowledge=True):
        """All batches up to the end; checks that numbers follow each other. Gives (batches, end)."""
        batches = []
        while (message := self.next()) is not None:
            if message.HasField("end"):
                return batches, message.end
            if batches:
                assert message.batch.number == batches[-1].number + 1
            batches.append(message.batch)
            if acknowledge:
                self.ack(message.batch.number + 1)
        raise AssertionError("the stream ended without its end")

    def drop(self):
        self.call.cancel()


class Client:
    def __init__(self, endpoint, token=None, options=()):
        self.channel = grpc.insecure_channel(endpoint, options=[
            ("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1), *options])
        self.stub = rpc.ExecutionServiceStub(self.channel)
        self.admin = rpc.AdminServiceStub(self.channel)
        self.health = health_rpc.HealthStub(self.channel)
        self.metadata = [("authorization", f"Bearer {token}")] if token else []
        self.token = token or ""

    def close(self):
        self.channel.close()

    def call(self, method, request, **more):
        try:
            return method(request, metadata=self.metadata, **more)
        except grpc.RpcError as error:
            raise Failed(error) from None

    def request(self, sql, database="main", **fields):
        fields.setdefault("request_id", uuid.uuid4().hex)
        return pb.ExecuteRequest(sql=sql, database=database, **fields)

    def execute(self, sql, database="main", deadline_s=60, **fields):
        return self.call(self.stub.Execute, self.request(sql, database, **fields), timeout=deadline_s)

    def later(self, sql, database="main", deadline_s=60, **fields):
        """A future; result_of(future) waits."""
        return self.stub.Execute.future(self.request(sql, database, **fields), metadata=self.metadata,
                                        timeout=deadline_s)

    def rows(self, sql, database="main", **fields):
        return rows(self, self.execute(sql, database, **fields))

    def value(self, sql, database="main", **fields):
        (row,) = self.rows(sql, database, **fields)
        return next(iter(row.values()))

    def cancel(self, execution_id):
        return self.call(self.stub.CancelExecution, pb.CancelRequest(execution_id=execution_id)).acknowledged

    def session(self, database="main"):
        return Session(self, database)

    def info(self):
        return self.call(self.admin.ServerInfo, pb.ServerInfoRequest())


class Session:
    def __init__(self, client, database="main"):
        self.client, self.database, self.id = client, database, uuid.uuid4().hex
        self.numbers = itertools.count(1)

    def execute(self, sql, **fields):
        fields.setdefault("sequence", next(self.numbers) if "sequence" not in fields else 0)
        return self.client.execute(sql, self.database, session_id=self.id, **fields)

    def rows(self, sql, **fields):
        return rows(self.client, self.execute(sql, **fields))

    def value(self, sql, **fields):
        (row,) = self.rows(sql, **fields)
        return next(iter(row.values()))

    def close(self):
        self.client.call(self.client.stub.CloseSession,
                         pb.CloseSessionRequest(database=self.database, session_id=self.id))


def result_of(future):
    try:
        return future.result()
    except grpc.RpcError as error:
        raise Failed(error) from None


def table(schema, batches):
    """Encapsulated messages to a pyarrow table."""
    stream = bytes(schema) + b"".join(bytes(batch.ipc) for batch in batches) + b"\xff\xff\xff\xff\0\0\0\0"
    return pa.ipc.open_stream(stream).read_all()


def rows(client, reply):
    """All rows of an answer, streamed if they are not in it."""
    batches = list(reply.batches)
    end = reply.end
    if not reply.HasField("end"):
        (ticket,) = reply.tickets
        more, end = Stream(client, ticket.ticket, len(batches)).rest()
        batches += more
    assert end.batches == len(batches) and end.rows == sum(batch.rows for batch in batches)
    return table(reply.schema, batches).to_pylist()


def upload(client, upload_id, schema, batches, database="main", finish=None, first=0):
    """Sends pyarrow record batches; waits for the server's last word."""
    def requests():
        yield pb.UploadRequest(open=pb.UploadOpen(database=database, upload_id=upload_id,
                                                  schema=schema.serialize().to_pybytes()))
        for number, batch in enumerate(batches):
            if number >= first:
                yield pb.UploadRequest(batch=pb.Batch(number=number, rows=batch.num_rows,
                                                      ipc=batch.serialize().to_pybytes()))
        end = finish or pb.End(batches=len(batches), rows=sum(batch.num_rows for batch in batches))
        yield pb.UploadRequest(finish=end)
    try:
        return list(client.stub.Upload(requests(), metadata=client.metadata, timeout=60))
    except grpc.RpcError as error:
        raise Failed(error) from None


def fragment(client, sql, **fields):
    """ExecuteFragment as first-generation clients call it. Gives (tables, errors, finished)."""
    tables, errors, finished = [], [], False
    request = pb.ExecuteFragmentRequest(plan=sql.encode(), access_token=client.token, **fields)
    for chunk in client.stub.ExecuteFragment(request, timeout=60):
        kind = chunk.WhichOneof("payload")
        if kind == "arrow_batch":
            tables.append(pa.ipc.open_stream(chunk.arrow_batch.ipc_stream_payload).read_all())
        elif kind == "error":
            errors.append(chunk.error)
        else:
            finished = chunk.finished
    return tables, errors, finished
