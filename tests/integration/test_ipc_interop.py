"""Arrow IPC of src/arrow against pyarrow, in both directions, through the helper tests/support/ipc_echo.c."""

import datetime
import decimal
import os
import pathlib
import struct
import subprocess

import pyarrow as pa
import pyarrow.ipc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("OPENDUCK_TEST_BUILD", ROOT / "build" / "asan"))
ECHO = BUILD / "tests" / "support" / "ipc_echo"

pytestmark = pytest.mark.skipif(not ECHO.exists(), reason=f"{ECHO} is not built")


def stream_of(table, **options):
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


def run(stream, *arguments):
    return subprocess.run([ECHO, *map(str, arguments)], input=stream, capture_output=True, timeout=60)


def echo(table, *arguments):
    done = run(stream_of(table), *arguments)
    assert done.returncode == 0, done.stderr.decode()
    result = pa.ipc.open_stream(done.stdout).read_all()
    result.validate(full=True)
    return result


D = decimal.Decimal
COLUMNS = {
    "null": pa.nulls(5),
    "bool": pa.array([True, None, False, True, True]),
    "int8": pa.array([1, None, -3, 127, -128], pa.int8()),
    "uint16": pa.array([1, None, 3, 65535, 0], pa.uint16()),
    "int64": pa.array([1, 2, 3, 2**63 - 1, -(2**63)], pa.int64()),
    "half": pa.array([1.5, None, -2, 0, 4], pa.float16()),
    "double": pa.array([1.5, None, float("inf"), 0, -0.0]),
    "decimal32": pa.array([D("1.25"), None, D("-3.00"), D("0.01"), D("9.99")], pa.decimal32(5, 2)),
    "decimal64": pa.array([D("1.25"), None, D("-3.00"), D("0.01"), D("9.99")], pa.decimal64(15, 2)),
    "decimal128": pa.array([D("1.25"), None, D("-3.00"), D("0.01"), D("9.99")], pa.decimal128(30, 2)),
    "decimal256": pa.array([D("1.25"), None, D("-3.00"), D("0.01"), D("9.99")], pa.decimal256(60, 2)),
    "date32": pa.array([datetime.date(2020, 1, i + 1) for i in range(5)]),
    "date64": pa.array([0, 86400000, None, 3 * 86400000, 0], pa.date64()),
    "time32": pa.array([0, 1, None, 3, 4], pa.time32("ms")),
    "time64": pa.array([0, 1, None, 3, 4], pa.time64("us")),
    "timestamp": pa.array([0, 1, None, 3, 4], pa.timestamp("ns")),
    "timestamp tz": pa.array([0, 1, None, 3, 4], pa.timestamp("us", "Europe/Lisbon")),
    "duration": pa.array([0, 1, None, 3, 4], pa.duration("s")),
    "interval": pa.array([(1, 2, 3), None, (0, 0, 0), (-1, -2, -3), (4, 5, 6)], pa.month_day_nano_interval()),
    "utf8": pa.array(["", None, "a", "ünïcödé", "x" * 1000]),
    "binary": pa.array([b"", None, b"\0\xff", b"abc", b"d"]),
    "large utf8": pa.array(["", None, "a", "b", "c"], pa.large_utf8()),
    "large binary": pa.array([b"", None, b"a", b"b", b"c"], pa.large_binary()),
    "fixed binary": pa.array([b"abc", None, b"def", b"ghi", b"jkl"], pa.binary(3)),
    "list": pa.array([[1, 2], None, [], [None, 3], [4]], pa.list_(pa.int32())),
    "large list": pa.array([["a"], None, [], [None, "b"], ["c"]], pa.large_list(pa.utf8())),
    "fixed list": pa.array([[1, 2], None, [3, None], [5, 6], [7, 8]], pa.list_(pa.int16(), 2)),
    "struct": pa.array([{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}, {"a": 4, "b": None}, {"a": 5, "b": ""}]),
    "map": pa.array([[("a", 1)], None, [], [("b", None), ("c", 3)], [("d", 4)]], pa.map_(pa.utf8(), pa.int64())),
    "nested": pa.array([[[{"a": [1]}]], None, [None, []], [[{"a": None}]], []],
                       pa.list_(pa.list_(pa.struct([("a", pa.list_(pa.int8()))])))),
    "sparse union": pa.UnionArray.from_sparse(pa.array([0, 1, 0, 0, 1], pa.int8()),
                                              [pa.array([1, 2, 3, None, 5]), pa.array(list("abcde"))]),
    "dense union": pa.UnionArray.from_dense(pa.array([0, 1, 0, 0, 1], pa.int8()), pa.array([0, 0, 1, 2, 1], pa.int32()),
                                            [pa.array([1, 2, None]), pa.array(["a", "b"])]),
}


@pytest.mark.parametrize("name", COLUMNS)
def test_a_column_comes_back_equal(name):
    table = pa.table({name: COLUMNS[name]})
    assert echo(table).equals(table, check_metadata=True)


def test_all_columns_together_in_several_batches():
    table = pa.concat_tables([pa.table(COLUMNS)] * 3)
    assert echo(table).equals(table)


@pytest.mark.parametrize("start,rows", [(0, 0), (1, 3), (2, 2), (4, 1), (5, 0)])
def test_a_slice_is_written_from_its_first_row(start, rows):
    table = pa.table(COLUMNS)
    assert echo(table, start, rows).equals(table.slice(start, rows))


def test_long_bitmaps_are_sliced_at_any_bit():
    table = pa.table({"b": [None if i % 7 == 0 else i % 3 == 0 for i in range(1000)], "s": [str(i) for i in range(1000)]})
    for start, rows in [(1, 999), (7, 65), (8, 64), (13, 900)]:
        assert echo(table, start, rows).equals(table.slice(start, rows))


def test_no_rows_and_no_columns():
    assert echo(pa.table(COLUMNS).slice(0, 0)).num_rows == 0
    assert echo(pa.table({})).num_columns == 0


def test_metadata_survives():
    schema = pa.schema([pa.field("a", pa.int32(), nullable=False, metadata={"openduck.type": "UTINYINT", "k": "v"}),
                        pa.field("u", pa.uuid())], metadata={"x": "y"})
    table = pa.table([pa.array([1, 2], pa.int32()), pa.array([b"0" * 16, None], pa.uuid())], schema=schema)
    assert echo(table).schema.equals(table.schema, check_metadata=True)


@pytest.mark.parametrize("name,table,options,code,text", [
    ("dictionary", pa.table({"d": pa.array(["a", "b"]).dictionary_encode()}), {}, "UNSUPPORTED", "dictionary"),
    ("view", pa.table({"v": pa.array(["a"], pa.string_view())}), {}, "UNSUPPORTED", "utf8 view"),
    ("run ends", pa.table({"r": pa.RunEndEncodedArray.from_arrays([3], [7])}), {}, "UNSUPPORTED", "run-end"),
    ("union ids", pa.table({"u": pa.UnionArray.from_sparse(pa.array([5, 7], pa.int8()),
                                                           [pa.array([1, 2]), pa.array([3, 4])], type_codes=[5, 7])}), {},
     "UNSUPPORTED", "type ids"),
], ids=lambda value: value if isinstance(value, str) else "")
def test_what_is_not_supported_says_so(name, table, options, code, text):
    done = run(stream_of(table, **options))
    assert done.returncode == 1
    message = done.stderr.decode()
    assert message.startswith(code + ":") and text in message


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_bodies_are_read(codec):
    table = pa.concat_tables([pa.table(COLUMNS)] * 400).combine_chunks()
    done = run(stream_of(table, compression=codec))
    assert done.returncode == 0, done.stderr.decode()
    assert pa.ipc.open_stream(done.stdout).read_all().equals(table)


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_compressed_bodies_are_written(codec):
    table = pa.table({"i": pa.array([None if i % 5 == 0 else i for i in range(5000)]), "s": ["the same"] * 5000,
                      "l": [[i % 3] * (i % 4) for i in range(5000)]})
    done = run(stream_of(table), codec)
    assert done.returncode == 0, done.stderr.decode()
    assert len(done.stdout) < len(run(stream_of(table)).stdout) / 2
    result = pa.ipc.open_stream(done.stdout).read_all()
    result.validate(full=True)
    assert result.equals(table)


def test_deep_nesting_stops_at_the_limit():
    def nested(levels):
        value_type, value = pa.int8(), 1
        for _ in range(levels - 1):
            value_type, value = pa.list_(value_type), [value]
        return pa.table({"n": pa.array([value], value_type)})

    assert echo(nested(64)).equals(nested(64))
    refused = run(nested(65).schema.serialize().to_pybytes())
    assert refused.returncode == 1 and refused.stderr.startswith(b"LIMIT:")


def test_values_of_duckdb():
    duckdb = pytest.importorskip("duckdb")
    con = duckdb.connect()
    con.execute("SET arrow_lossless_conversion = true")
    result = con.execute("""SELECT i, i::VARCHAR AS s, MAP {i: 'x'} AS m, {'a': i, 'b': [i, NULL]} AS n, [i, i]::INT[2] AS f,
        INTERVAL (i) DAY AS iv, i::HUGEINT AS h, uuid() AS u, i::DECIMAL(4,1) AS d, '101'::BIT AS b,
        union_value(k := i) AS un, NULL AS z, TIMETZ '10:00:00+02' AS t FROM range(10) r(i)""")
    table = result.to_arrow_table()
    assert echo(table).equals(table)


def mutated(stream, place, value):
    return stream[:place] + bytes([value]) + stream[place + 1:]


SMALL = stream_of(pa.table({"a": pa.array([1, None, 3]), "s": pa.array(["x", "yy", None]),
                            "l": pa.array([[1], [], None], pa.list_(pa.int32()))}))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(st.integers(0, len(SMALL) - 1), st.integers(0, 255)), min_size=1, max_size=4))
def test_a_damaged_stream_is_refused_or_read_but_never_crashes(changes):
    stream = SMALL
    for place, value in changes:
        stream = mutated(stream, place, value)
    done = run(stream)
    assert done.returncode in (0, 1), done.stderr.decode()
    assert done.returncode == 0 or b": " in done.stderr


def test_the_header_is_laid_out_as_pyarrow_reads_it():
    stream = pa.py_buffer(run(SMALL).stdout)
    schema_bytes = 8 + struct.unpack_from("<I", stream, 4)[0]
    assert [message.type for message in pa.ipc.MessageReader.open_stream(stream)] == ["schema", "record batch"]
    batch = pa.ipc.open_stream(stream).read_next_batch()
    assert batch.num_rows == 3 and batch.schema.names == ["a", "s", "l"]
    for buffer in batch.column(0).buffers() + batch.column(1).buffers():
        assert (buffer.address - stream.address - schema_bytes) % 64 == 0  # from the start of the message
