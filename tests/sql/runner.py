"""Runs the project's SQL tests: files in the sqllogictest format, each natively and through ATTACH, with equal results.

    statement ok | statement error        one statement; after ---- of an error: text its message must contain
    query TYPES [rowsort]                 one statement; after ----: its rows, a line each, columns separated by tabs
    connection NAME                       the following records run on that connection (all share one database)
    loop VAR FROM TO ... endloop          repeats with ${VAR}

A file starts with an empty database attached as `r`, and `USE r` on every connection.
"""
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Record:
    kind: str          # "ok", "error", "query"
    sql: str
    line: int
    connection: str = "main"
    sort: bool = False
    expected: list = field(default_factory=list)


def parse(text):
    """The records of a file, loops unrolled."""
    lines = text.split("\n")
    records, _ = _block(lines, 0, {})
    return records


def _block(lines, at, variables):
    records, connection = [], "main"
    while at < len(lines):
        line = lines[at].strip()
        if not line or line.startswith("#"):
            at += 1
        elif line.startswith("loop "):
            _, name, first, last = line.split()
            end = at
            for value in range(int(first), int(last)):
                inner, end = _block(lines, at + 1, variables | {name: str(value)})
                records += inner
            at = end
        elif line == "endloop":
            return records, at + 1
        elif line.startswith("connection "):
            connection = line.split()[1]
            at += 1
        else:
            record, at = _record(lines, at, variables)
            record.connection = connection
            records.append(record)
    return records, at


def _record(lines, at, variables):
    head, first = lines[at].split(), at + 1
    at += 1
    sql, expected, below = [], [], False
    while at < len(lines) and lines[at].strip():
        if lines[at] == "----" and not below:
            below = True
        else:
            (expected if below else sql).append(lines[at])
        at += 1
    text = "\n".join(sql)
    for name, value in variables.items():
        text = text.replace("${" + name + "}", value)
        expected = [row.replace("${" + name + "}", value) for row in expected]
    if head[0] == "statement" and head[1] in ("ok", "error"):
        return Record(head[1], text, first, expected=expected), at
    if head[0] == "query":
        return Record("query", text, first, sort="rowsort" in head, expected=expected), at
    raise ValueError(f"line {first - 1}: unknown record {' '.join(head)}")


def show(value):
    """A value as the files write it: DuckDB's own text, NULL for null, (empty) for empty text."""
    if value is None:
        return "NULL"
    return value if value != "" else "(empty)"


def run(path, connect):
    """Runs one file. connect() gives a new connection to the attached database. Raises AssertionError with the line."""
    connections = {}
    for record in parse(Path(path).read_text()):
        if record.connection not in connections:
            connections[record.connection] = connect()
        where = f"{Path(path).name}:{record.line}: {record.sql[:200]}"
        con = connections[record.connection]
        try:
            # Values are compared as DuckDB writes them, so that no client type conversion hides a difference.
            result = con.execute(record.sql)
            rows = []
            if record.kind == "query":
                relation = result.fetchall()
                rows = ["\t".join(show(None if v is None else _text(con, v)) for v in row) for row in relation]
        except Exception as problem:  # noqa: BLE001 - every failure of the statement is a result here
            assert record.kind == "error", f"{where}\nfailed: {problem}"
            for part in record.expected:
                assert part in str(problem), f"{where}\nexpected an error with {part!r}, got: {problem}"
            continue
        assert record.kind != "error", f"{where}\nwas expected to fail"
        if record.kind == "query":
            want = sorted(record.expected) if record.sort else record.expected
            got = sorted(rows) if record.sort else rows
            assert got == want, f"{where}\nexpected {want}\ngot      {got}"
    for con in connections.values():
        con.close()


def _text(con, value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (bytes, bytearray)):
        return "".join(chr(b) if 32 <= b < 127 and b != 92 else f"\\x{b:02X}" for b in value)
    return str(value)
