"""The sqllogictest dialect: a file becomes a list of commands; loops nest."""




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
