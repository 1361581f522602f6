#!/usr/bin/env python3
"""Runs DuckDB's sqllogictest corpus on a catalog attached as `r` and scores it against native DuckDB.

Three parts, top to bottom: a binding to DuckDB's C API (the shared object inside the `duckdb` wheel), the
sqllogictest dialect (parser, comparison), and the run itself (one forked process per file, report).
README.md says how to use it; subjects.py holds what is attached.
"""

import argparse
import collections
import ctypes
import decimal
import hashlib
import importlib.util
import json
import math
import mmap
import os
import re
import shutil
import signal
import struct
import sys
import tempfile
import time

import subjects

# ----------------------------------------------------------------------------------------------------
# DuckDB through its C API. Results become text the way DuckDB's own test runner does it: every value is
# cast to VARCHAR by DuckDB, never by Python.
# ----------------------------------------------------------------------------------------------------

BOOLEAN, FLOAT, DOUBLE, DECIMAL = 1, 10, 11, 19
INTEGERS = {2, 3, 4, 5, 6, 7, 8, 9, 16, 32, 38}
NESTED = {24: "list", 25: "struct", 26: "map", 28: "union", 33: "array"}
WITH_TIME_ZONE = {30, 31}


class CResult(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("columns", "rows", "changed", "values", "error", "internal")]


class Engine:
    """The loaded library: opens databases, and owns the helper database that casts results to text."""

    def __init__(self, path):
        lib = ctypes.CDLL(path)
        P, S, I = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_uint64
        R = ctypes.POINTER(CResult)
        for name, result, arguments in (
            ("create_config", ctypes.c_int, [P]),
            ("set_config", ctypes.c_int, [P, S, S]),
            ("open_ext", ctypes.c_int, [S, P, P, P]),
            ("connect", ctypes.c_int, [P, P]),
            ("disconnect", None, [P]),
            ("query", ctypes.c_int, [P, S, R]),
            ("result_error", S, [R]),
            ("destroy_result", None, [R]),
            ("column_count", I, [R]),
            ("column_name", S, [R, I]),
            ("column_logical_type", P, [R, I]),
            ("get_type_id", ctypes.c_int, [P]),
            ("decimal_scale", ctypes.c_uint8, [P]),
            ("list_type_child_type", P, [P]),
            ("array_type_child_type", P, [P]),
            ("map_type_key_type", P, [P]),
            ("map_type_value_type", P, [P]),
            ("struct_type_child_count", I, [P]),
            ("struct_type_child_type", P, [P, I]),
            ("union_type_member_count", I, [P]),
            ("union_type_member_type", P, [P, I]),
            ("destroy_logical_type", None, [P]),
            ("fetch_chunk", P, [CResult]),
            ("destroy_data_chunk", None, [P]),
            ("data_chunk_get_size", I, [P]),
            ("data_chunk_set_size", None, [P, I]),
            ("data_chunk_get_vector", P, [P, I]),
            ("vector_get_data", P, [P]),
            ("vector_get_validity", P, [P]),
            ("vector_reference_vector", None, [P, P]),
            ("create_table_function", P, []),
            ("table_function_set_name", None, [P, S]),
            ("table_function_set_bind", None, [P, P]),
            ("table_function_set_init", None, [P, P]),
            ("table_function_set_function", None, [P, P]),
            ("register_table_function", ctypes.c_int, [P, P]),
            ("bind_add_result_column", None, [P, S, P]),
            ("library_version", S, []),
        ):
            function = getattr(lib, "duckdb_" + name)
            function.restype, function.argtypes = result, arguments
            setattr(self, name, function)
        self.caster = None

    def Database(self, path, **settings):
        return Database(self, path, settings)

    def text_of(self, result):
        if self.caster is None:  # opened on first use: its threads must not exist before a fork
            self.caster = Caster(self)
        return self.caster.text_of(result)


class Database:
    def __init__(self, engine, path, settings):
        self.engine = engine
        config = ctypes.c_void_p()
        engine.create_config(ctypes.byref(config))
        for key, value in {
            "allow_unsigned_extensions": "true",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "allow_unredacted_secrets": "true",
            **settings,
        }.items():
            engine.set_config(config, key.encode(), value.encode())
        self.handle, error = ctypes.c_void_p(), ctypes.c_char_p()
        if engine.open_ext(path.encode(), ctypes.byref(self.handle), config, ctypes.byref(error)):
            raise RuntimeError("open %s: %s" % (path, error.value))

    def connect(self):
        return Connection(self)


class Connection:
    def __init__(self, database):
        self.engine = database.engine
        self.handle = ctypes.c_void_p()
        if self.engine.connect(database.handle, ctypes.byref(self.handle)):
            raise RuntimeError("connect failed")

    def query(self, sql):
        return Result(self, sql)

    def close(self):
        self.engine.disconnect(ctypes.byref(self.handle))


class Result:
    """A materialised result. `error` is the message or None; `close` frees it."""

    def __init__(self, connection, sql):
        self.connection, self.engine = connection, connection.engine
        self.raw, self.types = CResult(), []
        text = sql.encode("utf-8", "surrogateescape")
        failed = self.engine.query(connection.handle, text, ctypes.byref(self.raw))
        self.error = None
        if failed:
            self.error = (self.engine.result_error(self.raw) or b"(no message)").decode(errors="replace")
            return
        count = self.engine.column_count(self.raw)
        self.names = [self.engine.column_name(self.raw, i).decode(errors="replace") for i in range(count)]
        self.types = [ctypes.c_void_p(self.engine.column_logical_type(self.raw, i)) for i in range(count)]
        self.type_ids = [self.engine.get_type_id(kind) for kind in self.types]

    def chunks(self):
        """Each chunk may be taken once; the caller destroys it."""
        while chunk := self.engine.fetch_chunk(self.raw):
            yield ctypes.c_void_p(chunk)

    def scale(self, column):
        return self.engine.decimal_scale(self.types[column])

    def has_time_zone(self):
        return any(self._zoned(kind) for kind in self.types)

    def _zoned(self, kind):
        e, word = self.engine, self.engine.get_type_id(kind)
        if word not in NESTED:
            return word in WITH_TIME_ZONE
        if NESTED[word] == "list":
            children = [e.list_type_child_type(kind)]
        elif NESTED[word] == "array":
            children = [e.array_type_child_type(kind)]
        elif NESTED[word] == "map":
            children = [e.map_type_key_type(kind), e.map_type_value_type(kind)]
        elif NESTED[word] == "struct":
            children = [e.struct_type_child_type(kind, i) for i in range(e.struct_type_child_count(kind))]
        else:
            children = [e.union_type_member_type(kind, i) for i in range(e.union_type_member_count(kind))]
        children = [ctypes.c_void_p(child) for child in children]
        zoned = any(self._zoned(child) for child in children)
        for child in children:
            e.destroy_logical_type(ctypes.byref(child))
        return zoned

    def rows(self):
        """The values of an all-VARCHAR result, row by row: bytes, or None for NULL."""
        width = len(self.types)
        for chunk in self.chunks():
            size = self.engine.data_chunk_get_size(chunk)
            columns = [self._strings(self.engine.data_chunk_get_vector(chunk, i), size) for i in range(width)]
            self.engine.destroy_data_chunk(ctypes.byref(chunk))
            yield from zip(*columns)

    def _strings(self, vector, size):
        raw = ctypes.string_at(self.engine.vector_get_data(vector), 16 * size)
        validity = self.engine.vector_get_validity(vector)
        words = ctypes.string_at(validity, 8 * ((size + 63) // 64)) if validity else b"\xff" * (size // 8 + 8)
        values = []
        for i in range(size):
            if not words[i >> 3] >> (i & 7) & 1:
                values.append(None)
                continue
            length, pointer = struct.unpack_from("<I4xQ", raw, 16 * i)
            inline = raw[16 * i + 4 : 16 * i + 4 + length]
            values.append(inline if length <= 12 else ctypes.string_at(pointer, length))
        return values

    def close(self):
        for kind in self.types:
            self.engine.destroy_logical_type(ctypes.byref(kind))
        self.engine.destroy_result(ctypes.byref(self.raw))


class Caster:
    """A private in-memory DuckDB whose table function `result()` hands out the chunks of another result."""

    def __init__(self, engine):
        self.engine, self.source, self.pending, self.held = engine, None, None, []
        self.connection = Database(engine, ":memory:", {"threads": "1"}).connect()
        pointer, callback = ctypes.c_void_p, ctypes.CFUNCTYPE
        self.callbacks = (  # kept alive here: DuckDB stores only the addresses
            callback(None, pointer)(self._bind),
            callback(None, pointer)(lambda info: None),
            callback(None, pointer, pointer)(self._fill),
        )
        bind, init, fill = (ctypes.cast(each, ctypes.c_void_p) for each in self.callbacks)
        function = engine.create_table_function()
        engine.table_function_set_name(function, b"result")
        engine.table_function_set_bind(function, bind)
        engine.table_function_set_init(function, init)
        engine.table_function_set_function(function, fill)
        if engine.register_table_function(self.connection.handle, function):
            raise RuntimeError("cannot register the casting function")

    def _bind(self, info):
        for i, kind in enumerate(self.source.types):
            self.engine.bind_add_result_column(info, b"c%d" % i, kind)

    def _fill(self, _info, output):
        chunk = next(self.pending, None)
        if chunk is None:
            self.engine.data_chunk_set_size(output, 0)
            return
        self.held.append(chunk)
        for i in range(len(self.source.types)):
            self.engine.vector_reference_vector(
                self.engine.data_chunk_get_vector(output, i), self.engine.data_chunk_get_vector(chunk, i)
            )
        self.engine.data_chunk_set_size(output, self.engine.data_chunk_get_size(chunk))

    def text_of(self, source):
        """All values of `source` row by row as the strings a test file expects."""
        if source.has_time_zone():
            self._copy_time_zone(source.connection)
        self.source, self.pending = source, source.chunks()
        casts = ", ".join("CAST(c%d AS VARCHAR)" % i for i in range(len(source.types)))
        result = self.connection.query("SELECT %s FROM result()" % casts)
        try:
            if result.error:
                raise RuntimeError("cannot show the result: " + result.error)
            return [
                expected_form(value, source.type_ids[i]) for row in result.rows() for i, value in enumerate(row)
            ]
        finally:
            result.close()
            for chunk in self.held:
                self.engine.destroy_data_chunk(ctypes.byref(chunk))
            self.held.clear()

    def _copy_time_zone(self, connection):
        answer = connection.query("SELECT current_setting('TimeZone')")
        if not answer.error:
            for (zone,) in answer.rows():
                self.connection.query("SET TimeZone = '%s'" % zone.decode()).close()
        answer.close()


def expected_form(value, type_id):
    if value is None:
        return "NULL"
    if type_id == BOOLEAN:
        return "1" if value == b"true" else "0"
    return value.decode("utf-8", "surrogateescape").replace("\0", "\\0") or "(empty)"


# ----------------------------------------------------------------------------------------------------
# The dialect: a file becomes a list of commands; loops nest.
# ----------------------------------------------------------------------------------------------------


class Skip(Exception):
    """This file cannot be run here (in either mode)."""


class Statement:
    def __init__(self, line, sql, expected, error, connection, conditions):
        self.line, self.sql, self.expected, self.error = line, sql, expected, error
        self.connection, self.conditions = connection, conditions


class Query:
    def __init__(self, line, sql, columns, values, sort, label, connection, conditions):
        self.line, self.sql, self.columns, self.values = line, sql, columns, values
        self.sort, self.label, self.connection, self.conditions = sort, label, connection, conditions


class Loop:
    def __init__(self, variable, values):
        self.variable, self.values, self.body = variable, values, []


class Simple:
    """reconnect, sleep, seed, reset label, continue, hash-threshold"""

    def __init__(self, what, argument=None, conditions=()):
        self.what, self.argument, self.conditions = what, argument, conditions


PRESENT = {
    "notmusl", "notmingw", "notwindows", "longdouble", "64bit", "noforcestorage", "no_force_storage", "nothreadsan",
    "strinline", "skip_reload", "no_alternative_verify", "no_latest_storage", "no_vector_verification",
    "no_extension_autoloading", "allow_unsigned_extensions", "ram", "disk_space",
    "core_functions", "icu", "json", "parquet",
}
SORTS = {"nosort": "nosort", "none": "nosort", "rowsort": "rowsort", "sort": "rowsort", "valuesort": "valuesort"}
SIGNED = ["tinyint", "smallint", "integer", "bigint", "hugeint"]
UNSIGNED = ["utinyint", "usmallint", "uinteger", "ubigint", "uhugeint"]
NUMERIC = SIGNED + UNSIGNED + ["float", "double"]
TOKENS = {
    "<signed>": SIGNED,
    "<unsigned>": UNSIGNED,
    "<integral>": SIGNED + UNSIGNED,
    "<numeric>": NUMERIC,
    "<alltypes>": NUMERIC + ["bool", "interval", "varchar"],
    "<compression>": "none uncompressed rle bitpacking dictionary fsst dict_fsst alp alprd".split(),
    "<all_types_columns>": (
        "bool tinyint smallint int bigint hugeint uhugeint utinyint usmallint uint ubigint date time timestamp "
        "timestamp_s timestamp_ms timestamp_ns time_tz timestamp_tz float double dec_4_1 dec_9_4 dec_18_6 dec38_10 "
        "uuid interval varchar blob bit small_enum medium_enum large_enum int_array double_array date_array "
        "timestamp_array timestamptz_array varchar_array nested_int_array struct struct_of_arrays array_of_structs "
        "map union fixed_int_array fixed_varchar_array fixed_nested_int_array fixed_nested_varchar_array "
        "fixed_struct_array struct_of_fixed_array fixed_array_of_int_list list_of_fixed_int_array"
    ).split(),
}


class Parser:
    def __init__(self, lines, environment):
        self.lines, self.at, self.environment = lines, 0, environment
        self.body, self.open_loops = [], []

    def parse(self):
        """The commands of the file; Skip if it uses what this runner, or this machine, does not have."""
        skipping, seen = 0, False
        while True:
            if seen:
                self._pass_text()
            seen = True
            while self.at < len(self.lines) and blank(self.lines[self.at]):
                self.at += 1
            if self.at >= len(self.lines):
                break
            words = self.lines[self.at].split()
            conditions, excluded = [], False
            while words[0] in ("skipif", "onlyif"):
                text = self.lines[self.at].split()[1].lower()
                if any(sign in text for sign in "=<>"):
                    conditions += [parse_condition(part, words[0] == "skipif") for part in text.split("&&")]
                elif (text == "duckdb") == (words[0] == "skipif"):
                    excluded = True
                    break
                self.at += 1
                words = self.lines[self.at].split()
            if excluded:
                continue
            if words[0] == "mode" and words[1] in ("skip", "unskip"):
                skipping += 1 if words[1] == "skip" else -1
                continue
            if skipping > 0:
                continue
            if words[0] == "halt":
                break
            self._command(words, conditions)
        if self.open_loops:
            raise Skip("loop without end")
        return self.body

    def _pass_text(self):
        while self.at < len(self.lines) and not blank(self.lines[self.at]):
            self.at += 1

    def _command(self, words, conditions):
        kind, arguments = words[0], words[1:]
        if kind == "statement":
            self._statement(arguments, conditions)
        elif kind == "query":
            self._query(arguments, conditions)
        elif kind == "loop":
            first, end = int(arguments[1]), int(arguments[2])
            self._open(Loop(arguments[0], [str(i) for i in range(first, max(end, first + 1))]))
        elif kind == "foreach":
            self._open(Loop(arguments[0], foreach_values(arguments[1:])))
        elif kind == "endloop":
            if not self.open_loops:
                raise Skip("endloop without loop")
            self.body = self.open_loops.pop()
        elif kind == "require":
            self._require(arguments)
        elif kind == "test-env":
            self.environment[arguments[0]] = arguments[1].strip("'\"")
        elif kind == "set" and arguments[0] == "seed":
            self.body.append(Simple("seed", arguments[1]))
        elif kind == "set" and arguments[0] in ("ignore_error_messages", "always_fail_error_messages"):
            pass  # an error is an error here
        elif kind == "reset":
            self.body.append(Simple("reset", arguments[1]))
        elif kind == "sleep":
            unit = {"s": 1.0, "mil": 1e-3, "mic": 1e-6, "n": 1e-9}
            factor = next(value for prefix, value in unit.items() if arguments[1].startswith(prefix))
            self.body.append(Simple("sleep", float(arguments[0]) * factor))
        elif kind == "hash-threshold":
            self.body.append(Simple("hash-threshold", int(arguments[0])))
        elif kind in ("reconnect", "continue"):
            self.body.append(Simple(kind, None, conditions))
        elif kind == "tags":
            pass
        else:  # concurrentloop, concurrentforeach, load, restart, unzip, require-env, mode output_...
            raise Skip(kind)

    def _open(self, loop):
        self.body.append(loop)
        self.open_loops.append(self.body)
        self.body = loop.body

    def _require(self, arguments):
        what = arguments[0].lower()
        if what in ("vector_size", "exact_vector_size"):
            size = int(arguments[1])
            if size > 2048 or (what == "exact_vector_size" and size != 2048):
                raise Skip("require " + " ".join(arguments))
        elif what == "block_size":
            if arguments[1] != "262144":
                raise Skip("require " + " ".join(arguments))
        elif what not in PRESENT:
            raise Skip("require " + what)

    def _sql(self):
        start = self.at = self.at + 1
        while self.at < len(self.lines) and not blank(self.lines[self.at]) and self.lines[self.at] != "----":
            self.at += 1
        return "\n".join(self.lines[start : self.at])

    def _expected(self):
        if self.at < len(self.lines) and self.lines[self.at] == "----":
            self.at += 1
        start = self.at
        while self.at < len(self.lines) and self.lines[self.at]:
            self.at += 1
        return self.lines[start : self.at]

    def _statement(self, arguments, conditions):
        if arguments[0] not in ("ok", "error", "maybe"):
            raise Skip("statement " + arguments[0])
        line, sql, error = self.at + 1, self._sql(), ""
        if arguments[0] != "ok" and self.at < len(self.lines) and self.lines[self.at] == "----":
            error = "\n".join(self._expected())
        connection = arguments[1] if len(arguments) > 1 else ""
        self.body.append(Statement(line, sql, arguments[0], error, connection, conditions))

    def _query(self, arguments, conditions):
        line, sql, values = self.at + 1, self._sql(), self._expected()
        word = arguments[1] if len(arguments) > 1 else "nosort"
        connection = "" if word in SORTS else word
        label = arguments[2] if len(arguments) > 2 else ""
        sort = SORTS.get(word, "nosort")
        self.body.append(Query(line, sql, len(arguments[0]), values, sort, label, connection, conditions))


def blank(line):
    return not line or line.startswith("#")


def parse_condition(text, skip_if):
    for sign in ("<>", ">=", ">", "<=", "<", "="):
        if sign in text:
            name, value = text.split(sign)
            return name.strip(), sign, value.strip(), skip_if
    raise Skip("condition " + text)


def foreach_values(words):
    values = []
    for word in words:
        key = word.lower()
        if key.startswith("!") and word[1:] in values:
            values.remove(word[1:])
        elif key in TOKENS:
            values += TOKENS[key]
        else:
            values.append(word)
    return values


def condition_holds(condition, loops):
    name, sign, wanted, skip_if = condition
    if name not in loops:
        raise Skip("condition on " + name)
    have = loops[name]
    if sign in ("=", "<>"):
        holds = (have == wanted) == (sign == "=")
    else:
        a, b = int(have), int(wanted)
        holds = {">": a > b, ">=": a >= b, "<": a < b, "<=": a <= b}[sign]
    return holds != skip_if


# ----------------------------------------------------------------------------------------------------
# Comparison, after DuckDB's own runner: hashes, row-wise or value-wise expectations, 1 % on floats.
# ----------------------------------------------------------------------------------------------------

HASH = re.compile(r"\d+ values hashing to [0-9a-z]{32}")


class Mismatch(Exception):
    """kind groups the report, detail is for a reader."""

    def __init__(self, kind, detail):
        super().__init__(detail)
        self.kind, self.detail = kind, detail


def matches_regex(text, pattern):
    wanted = pattern.startswith("<REGEX>:")
    body = pattern.replace("<REGEX>:", "").replace("<!REGEX>:", "")
    return (re.fullmatch(body, text, re.DOTALL) is not None) == wanted


def is_regex(text):
    return text.startswith(("<REGEX>:", "<!REGEX>:"))


def number(text, type_id, scale):
    if text == "NULL":
        return None
    if type_id in (FLOAT, DOUBLE):
        return float(text)
    value = decimal.Decimal(text.strip())
    places = decimal.Decimal(1).scaleb(-scale if type_id == DECIMAL else 0)
    return value.quantize(places, decimal.ROUND_HALF_UP, decimal.Context(prec=60))


def equal(have, wanted, type_id, scale, replace):
    if have == wanted or have == replace(wanted) or (is_regex(wanted) and matches_regex(have, wanted)):
        return True
    if type_id in INTEGERS or type_id in (FLOAT, DOUBLE, DECIMAL):
        try:
            a, b = number(have, type_id, scale), number(wanted, type_id, scale)
        except (ValueError, ArithmeticError):
            return False
        if a is None or b is None or type_id not in (FLOAT, DOUBLE) or not (math.isfinite(a) and math.isfinite(b)):
            return a == b or (a is not None and b is not None and a != a and b != b)
        return abs(a - b) <= abs(b) * 0.01 + 0.00000001
    if type_id == BOOLEAN:
        truth = {"true": "1", "false": "0"}
        return truth.get(have.lower(), have) == truth.get(wanted.lower(), wanted)
    return False


def sorted_values(values, sort, width):
    if sort == "valuesort":
        return sorted(values)
    if sort == "rowsort" and width:
        return [value for row in sorted(zip(*[iter(values)] * width)) for value in row]
    return values


def shorten(text, limit=300):
    text = " ".join(text.split())
    return text if len(text) <= limit else text[:limit] + "..."


def check_query(command, result, values, expected, run):
    """Raises Mismatch unless `values` (the result as text) is what the file expects."""
    width, total = len(result.types), len(values)
    rows = total // width if width else 0
    values = sorted_values(values, command.sort, width)
    is_hash = len(expected) == 1 and HASH.fullmatch(expected[0])
    if command.label or is_hash or 0 < run.hash_threshold < total:
        digest = hashlib.md5("".join(value + "\n" for value in values).encode("utf-8", "surrogateescape")).hexdigest()
        text = "%d values hashing to %s" % (total, digest)
        if command.label and run.labels.setdefault(command.label, text) != text:
            raise Mismatch("wrong result", "differs from the earlier result labelled " + command.label)
        if is_hash and expected[0] != text:
            raise Mismatch("wrong result", "hash %s, expected %s" % (text, expected[0]))
        return
    row_wise = width > 1 and len(expected) == rows or all("\t" in line for line in expected)
    if row_wise:
        split = [[part for part in line.split("\t") if part] or [line] for line in expected]
        if len(split) == rows and any(len(line) != width for line in split):
            raise Mismatch("wrong result", "%d columns, expected %d" % (width, len(split[0])))
        expected_rows, wanted = len(split), [value for line in split for value in line]
    else:
        if len(expected) % width:
            raise Mismatch("wrong result", "%d columns, expected %d" % (width, command.columns))
        expected_rows, wanted = len(expected) // width, expected
    if expected_rows != rows:
        shown = ", ".join(values[:6])
        raise Mismatch("wrong result: row count", "%d rows, expected %d: %s" % (rows, expected_rows, shown))
    scales = [result.scale(i) if kind == DECIMAL else 0 for i, kind in enumerate(result.type_ids)]
    for i, (have, want) in enumerate(zip(values, wanted)):
        column = i % width
        if not equal(have, want, result.type_ids[column], scales[column], run.replace):
            raise Mismatch("wrong result", "row %d column %d: %s, expected %s" % (i // width + 1, column + 1, have, want))
    if width != command.columns:
        raise Mismatch("wrong result", "%d columns, expected %d" % (width, command.columns))


# ----------------------------------------------------------------------------------------------------
# One file in one process.
# ----------------------------------------------------------------------------------------------------

VERIFICATION = re.compile(
    r"\s*PRAGMA\s+(enable_verification|disable_verification|(disable_)?verify_\w+|(enable|disable)_verify_\w+)\s*;?\s*",
    re.IGNORECASE,
)


class Run:
    """Executes the commands of one file on a database in which `r` is attached."""

    def __init__(self, engine, name, setup, workdir, environment, options, note):
        self.engine, self.name, self.options, self.note = engine, name, options, note
        self.workdir, self.environment = workdir, environment
        self.labels, self.hash_threshold, self.connections = {}, 0, {}
        self.database = engine.Database(":memory:")
        self.setup = setup
        self.main = self.database.connect()
        for sql in ["SET secret_directory='%s/secrets'" % workdir] + setup + ["USE r"]:
            self._must(self.main, sql)

    @staticmethod
    def _must(connection, sql):
        result = connection.query(sql)
        error = result.error
        result.close()
        if error:
            raise subjects.SubjectError("%s: %s" % (sql, error))

    def replace(self, text):
        for key, value in self.environment.items():
            text = text.replace("${%s}" % key, value).replace("{%s}" % key, value)
        for key, value in (
            ("{TEST_DIR}", self.workdir),
            ("__TEST_DIR__", self.workdir),
            ("{TEST_NAME}", self.name),
            ("{BASE_TEST_NAME}", self.name.replace("/", "_")),
            ("{UUID}", "00000000-0000-4000-8000-000000000000"),
            ("__WORKING_DIRECTORY__", os.getcwd()),
        ):
            text = text.replace(key, value)
        return text

    def _with_loops(self, text, loops):
        for name, value in loops.items():
            value = self.replace(value)
            names, values = (name.split(","), value.split(",")) if "," in name else ([name], [value])
            for one, replacement in zip(names, values):
                text = text.replace("${%s}" % one, replacement).replace("{%s}" % one, replacement)
        return text

    def _connection(self, label):
        if not label:
            return self.main
        if label not in self.connections:
            self.connections[label] = self.database.connect()
            self._must(self.connections[label], "USE r")
        return self.connections[label]

    def execute(self, commands, loops):
        """True if a `continue` ended this pass through a loop body."""
        for command in commands:
            if isinstance(command, Loop):
                for value in command.values:
                    self.execute(command.body, {**loops, command.variable: value})
                continue
            if not all(condition_holds(condition, loops) for condition in command.conditions):
                continue
            if isinstance(command, Simple):
                if command.what == "continue":
                    return True
                self._simple(command)
                continue
            sql = self._with_loops(self.replace(command.sql), loops)
            if VERIFICATION.fullmatch(sql) and not self.options.verification:
                continue
            try:
                self._one(command, sql, loops)
            except Mismatch as fault:
                self.note(False, {
                    "line": command.line, "sql": shorten(sql, 200), "kind": fault.kind,
                    "detail": shorten(fault.detail),
                })
            except subjects.SubjectError as fault:
                self.note(False, {
                    "line": command.line, "sql": shorten(sql, 200), "kind": "new connection",
                    "detail": shorten(str(fault)),
                })
            else:
                self.note(True, None)
        return False

    def _simple(self, command):
        if command.what == "seed":
            self.main.query("SELECT setseed(%s)" % command.argument).close()
        elif command.what == "reset":
            self.labels.pop(command.argument, None)
        elif command.what == "sleep":
            time.sleep(command.argument)
        elif command.what == "hash-threshold":
            self.hash_threshold = command.argument
        elif command.what == "reconnect":
            self.main.close()
            self.main = self.database.connect()
            self._must(self.main, "USE r")

    def _one(self, command, sql, loops):
        result = self._connection(command.connection).query(sql)
        try:
            if isinstance(command, Statement):
                self._check_statement(command, result)
            elif result.error:
                raise Mismatch("error", result.error)
            else:
                expected = command.values
                if len(expected) == 1 and expected[0].startswith("<FILE>:"):
                    path = self._with_loops(self.replace(expected[0][len("<FILE>:") :]), loops)
                    expected = self._expected_file(path, len(result.types))
                try:
                    values = self.engine.text_of(result)
                except RuntimeError as fault:
                    raise Mismatch("error", str(fault)) from fault
                check_query(command, result, values, expected, self)
        finally:
            result.close()

    def _expected_file(self, path, width):
        connection = self.engine.Database(":memory:", threads="1").connect()
        columns = ", ".join("'c%d': 'VARCHAR'" % i for i in range(width))
        sql = "SELECT * FROM read_csv('%s', header=1, sep='|', columns={%s}, auto_detect=false)" % (path, columns)
        result = connection.query(sql)
        if result.error:
            raise Mismatch("error", "expected result: " + result.error)
        values = ["NULL" if value is None else value.decode() for row in result.rows() for value in row]
        result.close()
        return values

    def _check_statement(self, command, result):
        if command.expected == "ok":
            if result.error:
                raise Mismatch("error", result.error)
            return
        if not result.error:
            if command.expected == "error":
                raise Mismatch("error expected, none came", command.error)
            return
        if "INTERNAL" in result.error or "differs from original result!" in result.error:
            raise Mismatch("internal error", result.error)
        wanted = command.error
        if not wanted or wanted in result.error or self.replace(wanted) in result.error:
            return
        if is_regex(wanted) and matches_regex(result.error + "\n", wanted):
            return
        raise Mismatch("other error than expected", "%s, expected %s" % (shorten(result.error, 180), shorten(wanted, 110)))


def read_commands(path, name):
    with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        lines = [line.rstrip("\n").replace("\r", "") for line in file]
    here = os.getcwd()
    environment = {"WORKING_DIR": here, "DATA_DIR": here + "/data", "TEST_UUID": "conformance"}
    return Parser(lines, environment).parse(), environment


def run_file(engine, kind, name, options, workdir, counters, report):
    """In the child: runs one file and writes what there is to say to the open file `report`."""
    first_fault = []

    def note(passed, fault):
        counters[0 if passed else 1] += 1
        if not passed and not first_fault:
            first_fault.append(fault)
            report.write(json.dumps(fault) + "\n")
            report.flush()
            if options.stop_at_first:
                raise StopIteration

    os.chdir(options.corpus)
    subject = kind(options.subject_options, workdir, engine)
    try:
        commands, environment = read_commands(name, name)
        environment.update(TEMP_DIR=workdir, CATALOG_DIR=workdir + "/catalog")
        Run(engine, name, subject.start(), workdir, environment, options, note).execute(commands, {})
    except StopIteration:
        pass
    except Skip as reason:
        report.write(json.dumps({"skip": str(reason)}) + "\n")
    except subjects.SubjectError as reason:
        report.write(json.dumps({"setup": shorten(str(reason))}) + "\n")
    finally:
        report.flush()
        subject.stop()


# ----------------------------------------------------------------------------------------------------
# All files: forks, time limits, report.
# ----------------------------------------------------------------------------------------------------


class Child:
    """A forked process running one file; its counters are shared memory, so they survive its death."""

    def __init__(self, engine, kind, name, options):
        self.name = name
        self.workdir = tempfile.mkdtemp(prefix="conformance-", dir=options.tmp)
        self.shared = mmap.mmap(-1, mmap.PAGESIZE)
        self.counters = memoryview(self.shared).cast("Q")
        self.report = self.workdir + ".report"
        self.started = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            os.setpgid(0, 0)
            subjects.die_with_parent()
            status = 1
            try:
                quiet = os.open(os.devnull, os.O_RDWR)
                for descriptor in (0, 1, 2):
                    os.dup2(quiet, descriptor)
                with open(self.report, "w", encoding="utf-8", errors="backslashreplace") as report:
                    try:
                        run_file(engine, kind, name, options, self.workdir, self.counters, report)
                        status = 0
                    except BaseException as fault:  # a fault of the runner itself: must be seen
                        report.write(json.dumps({"setup": "runner: %r" % fault}) + "\n")
            finally:
                os._exit(status)

    def poll(self, limit):
        """The finished record, or None while it runs."""
        ended = os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        seconds = time.monotonic() - self.started
        late = ended is None and seconds > limit
        if ended is None and not late:
            return None
        # The child leads its own group and is not yet reaped, so this ends it and its server and nothing else.
        os.killpg(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        return self._record(status, seconds, late)

    def _record(self, status, seconds, late):
        notes = []
        try:
            with open(self.report, encoding="utf-8") as report:
                notes = [json.loads(line) for line in report if line.endswith("\n")]
            os.unlink(self.report)
        except FileNotFoundError:
            pass
        shutil.rmtree(self.workdir, ignore_errors=True)
        record = {"ok": self.counters[0], "bad": self.counters[1], "seconds": round(seconds, 2)}
        fault = next((entry for entry in notes if "kind" in entry), None)
        skip = next((entry["skip"] for entry in notes if "skip" in entry), None)
        setup = next((entry["setup"] for entry in notes if "setup" in entry), None)
        if skip is not None:
            record.update(status="skip", reason=skip)
        elif setup is not None:
            record.update(status="setup", reason=setup)
        elif late:
            record.update(status="timeout", fault=fault)
        elif os.WIFSIGNALED(status):
            record.update(status="crash", reason="signal %d" % os.WTERMSIG(status), fault=fault)
        elif status:
            record.update(status="setup", reason="exit status %d" % os.WEXITSTATUS(status))
        else:
            record.update(status="fail" if record["bad"] else "pass", fault=fault)
        return record


def run_all(engine, kind, names, options, limit):
    records, waiting, running = {}, collections.deque(names), []
    began, shown = time.monotonic(), 0
    while waiting or running:
        while waiting and len(running) < options.jobs:
            running.append(Child(engine, kind, waiting.popleft(), options))
        time.sleep(0.004)
        for child in list(running):
            record = child.poll(limit)
            if record is not None:
                running.remove(child)
                records[child.name] = record
        if len(records) // 100 > shown:
            shown = len(records) // 100
            print("%s: %d of %d, %.0f s" % (kind.name, len(records), len(names), time.monotonic() - began),
                  file=sys.stderr, flush=True)
    return records


def directory_of(name):
    parts = name.split("/")[2:-1]  # test/sql/<directory>/...
    return "/".join(parts[:2]) if parts[0] == "function" and len(parts) > 1 else parts[0]


WRITES = re.compile(
    r"^\s*(CREATE(?!\s+(OR\s+REPLACE\s+)?(LOCAL\s+)?TEMP)|INSERT|UPDATE|DELETE|ALTER|DROP|MERGE|TRUNCATE|COPY\s+\w+\s+FROM)\b",
    re.IGNORECASE | re.MULTILINE,
)


def touches_catalog(path):
    """Whether a file creates or changes anything in the attached database (else it only computes)."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return WRITES.search(file.read()) is not None


def group_of(record):
    if record["status"] in ("setup", "crash"):
        return "%s: %s" % (record["status"], record["reason"][:100])
    fault = record.get("fault")
    if record["status"] == "timeout":
        return "timeout" + (" after: " + fault["kind"] if fault else "")
    text = fault["detail"]
    if fault["kind"] == "wrong result":
        explain = re.match(r"\s*EXPLAIN\b", fault["sql"], re.IGNORECASE)
        return "wrong result: plan text of EXPLAIN" if explain else "wrong result"
    if fault["kind"] in ("wrong result: row count", "error expected, none came"):
        return fault["kind"]
    if fault["kind"] == "other error than expected":
        text = text.split(", expected ")[0]
    text = re.split(r"\s*(?:LINE \d+:|Candidate (?:bindings|tables|functions):|Did you mean)", text)[0]
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "X", text)
    text = re.sub(r"\b(0x)?[0-9a-f]{8,}\b|\d+", "N", text)
    return "%s: %s" % (fault["kind"], text[:110])


def is_silent(record):
    """Worse than a refusal: the caller cannot tell. Plan text of EXPLAIN may differ and does not count here."""
    fault = record.get("fault") or {}
    silent = fault.get("kind") in ("wrong result", "wrong result: row count", "error expected, none came")
    return silent and not re.match(r"\s*EXPLAIN\b", fault["sql"], re.IGNORECASE)


def percent(part, whole):
    return "%5.1f %%" % (100.0 * part / whole) if whole else "      -"


def report(names, native, subject, options):
    """The score as text. Files that native DuckDB does not pass do not exist here."""
    counted = [name for name in names if native[name]["status"] == "pass" and native[name]["ok"]]
    table, touching = collections.defaultdict(lambda: [0, 0, 0, 0]), [0, 0, 0, 0]
    total, groups = [0, 0, 0, 0], collections.defaultdict(list)
    for name in counted:
        mine, statements = subject[name], native[name]["ok"]
        row = [1, mine["status"] == "pass", statements, min(mine["ok"], statements)]
        sums = [table[directory_of(name)], total] + ([touching] if native[name]["touches"] else [])
        for target in sums:
            target[:] = [a + b for a, b in zip(target, row)]
        if mine["status"] != "pass":
            groups[group_of(mine)].append(name)
    lines = ["%-22s %6s %6s %8s   %10s %10s %8s" % ("directory", "native", "passed", "files", "statements", "passed", "")]
    whole = sorted(table.items()) + [("files that write", touching), ("all", total)]
    for key, (files, passed, statements, good) in whole:
        lines.append("%-22s %6d %6d %8s   %10d %10d %8s" % (
            key, files, passed, percent(passed, files), statements, good, percent(good, statements)))
    lines += ["", "first fault per file, grouped (top %d of %d groups)" % (min(options.top, len(groups)), len(groups))]
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    for text, files in ranked[: options.top]:
        lines.append("%5d  %s" % (len(files), text))
        lines.append("       e.g. %s" % files[0])
    silent = [name for name in counted if is_silent(subject[name])]
    lines += ["", "silent differences (first fault is a wrong result, or no error where one is due): %d files" % len(silent)]
    lines += ["       " + name for name in silent]
    broken = [name for name in counted if subject[name]["status"] == "setup"]
    if broken:
        lines += ["", "WARNING: %d files failed in setup, e.g. %s: %s" % (
            len(broken), broken[0], subject[broken[0]]["reason"])]
    return "\n".join(lines)


def library_path():
    found = importlib.util.find_spec("_duckdb")
    if not found:
        sys.exit("no duckdb in this Python: pip install duckdb, or give --library")
    return found.origin


def native_records(engine, names, options):
    """Runs the reference, or takes it from the cache if that was made by the same DuckDB on the same files."""
    version = engine.library_version().decode()
    key = [version, options.verification]
    if options.native and os.path.exists(options.native):
        with open(options.native, encoding="utf-8") as file:
            cache = json.load(file)
        if cache["key"] == key and all(name in cache["records"] for name in names):
            return cache["records"]
    records = run_all(engine, subjects.Native, names, options, options.timeout)
    for name in names:
        records[name]["touches"] = touches_catalog(os.path.join(options.corpus, name))
    if options.native:
        with open(options.native, "w", encoding="utf-8") as file:
            json.dump({"key": key, "records": records}, file, indent=0, sort_keys=True)
    return records


def spread(corpus, count):
    """`count` test files, evenly spaced over the sorted names of all files under 200 lines."""
    names = []
    for root, _, files in os.walk(os.path.join(corpus, "test/sql")):
        for name in files:
            path = os.path.join(root, name)
            with open(path, "rb") as file:
                if name.endswith(".test") and sum(1 for _ in file) < 200:
                    names.append(os.path.relpath(path, corpus))
    names.sort()
    count = min(count, len(names))
    return [names[i * len(names) // count] for i in range(count)]


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--corpus", required=True, help="root of a DuckDB source tree (has test/sql and data)")
    parser.add_argument("--subject", choices=sorted(subjects.ALL), default="native")
    parser.add_argument("--opt", action="append", default=[], metavar="KEY=VALUE", help="option of the subject")
    parser.add_argument("--spread", type=int, default=2600, metavar="N", help="N test files, evenly spaced over all")
    parser.add_argument("--files", help="a list of test files instead")
    parser.add_argument("--only", help="regular expression on the file name")
    parser.add_argument("--native", metavar="CACHE", help="keep the reference results in this JSON file")
    parser.add_argument("--out", help="write the subject's records to this JSON file")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--timeout", type=float, default=20.0, help="seconds per file")
    parser.add_argument("--top", type=int, default=20, help="groups of faults to show")
    parser.add_argument("--tmp", default=None, help="where the databases lie")
    parser.add_argument("--library", help="libduckdb.so instead of the one in the duckdb wheel")
    parser.add_argument("--verification", action="store_true", help="obey PRAGMA enable_verification")
    parser.add_argument("--stop-at-first", action="store_true", help="end a file at its first fault")
    parser.add_argument("--faults", action="store_true", help="print each failed file with its first fault")
    options = parser.parse_args()
    options.subject_options = dict(word.split("=", 1) for word in options.opt)
    return options


def main():
    options = parse_arguments()
    os.environ.setdefault("TZ", "UTC")
    engine = Engine(options.library or library_path())
    if options.files:
        with open(options.files, encoding="utf-8") as file:
            names = [line.strip() for line in file if line.strip() and not line.startswith("#")]
    else:
        names = spread(options.corpus, options.spread)
    if options.only:
        names = [name for name in names if re.search(options.only, name)]
    native = native_records(engine, names, options)
    states = collections.Counter(native[name]["status"] for name in names)
    print("DuckDB %s; native: %s" % (engine.library_version().decode(), dict(states)))
    if options.subject == "native" and not options.faults:
        return
    counted = [name for name in names if native[name]["status"] == "pass" and native[name]["ok"]]
    began = time.monotonic()
    if options.subject == "native":
        subject = native
    else:
        subject = run_all(engine, subjects.ALL[options.subject], counted, options, options.timeout)
        print("subject %s: %d files in %.0f s\n" % (options.subject, len(counted), time.monotonic() - began))
    if options.out:
        with open(options.out, "w", encoding="utf-8") as file:
            json.dump(subject, file, indent=0, sort_keys=True)
    if options.faults:
        for name in names:
            record = subject.get(name)
            if record and record["status"] not in ("pass", "skip"):
                print(name, record["status"], json.dumps(record.get("fault") or record.get("reason")))
    if options.subject != "native":
        print(report(names, native, subject, options))


if __name__ == "__main__":
    main()
