"""DuckDB through its C API (the shared object inside the `duckdb` wheel). Results become text the way DuckDB's own test
runner does it: every value is cast to VARCHAR by DuckDB, never by Python."""

import ctypes
import struct

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
