"""Comparison, after DuckDB's own runner: hashes, row-wise or value-wise expectations, 1 % on floats."""

import decimal
import hashlib
import math
import re

from duckdb_c import BOOLEAN, DECIMAL, DOUBLE, FLOAT, INTEGERS

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
