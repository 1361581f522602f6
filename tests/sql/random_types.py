"""Random DuckDB types and values as SQL text, from a seed: nested, extreme, NULL at every level."""
import random

SCALARS = {
    "BOOLEAN": ["true", "false"],
    "TINYINT": ["-128", "127", "0"],
    "SMALLINT": ["-32768", "32767"],
    "INTEGER": ["-2147483648", "2147483647", "1"],
    "BIGINT": ["'-9223372036854775808'", "9223372036854775807"],
    "HUGEINT": ["'-170141183460469231731687303715884105728'", "'170141183460469231731687303715884105727'", "1"],
    "UTINYINT": ["255", "0"],
    "USMALLINT": ["65535"],
    "UINTEGER": ["4294967295"],
    "UBIGINT": ["18446744073709551615", "0"],
    "UHUGEINT": ["'340282366920938463463374607431768211455'", "0"],
    "FLOAT": ["'nan'", "'inf'", "'-inf'", "'-0.0'", "1.17549435e-38", "0.1", "3.4028235e38"],
    "DOUBLE": ["'nan'", "'inf'", "'-inf'", "'-0.0'", "5e-324", "0.1", "1.7976931348623157e308"],
    "DECIMAL(4, 1)": ["'999.9'", "'-999.9'", "0"],
    "DECIMAL(9, 4)": ["'99999.9999'", "'-99999.9999'"],
    "DECIMAL(18, 0)": ["'999999999999999999'", "'-999999999999999999'"],
    "DECIMAL(38, 37)": ["'9.9999999999999999999999999999999999999'", "'-0.0000000000000000000000000000000000001'"],
    "VARCHAR": ["''", "'a'", "'twelve bytes'", "'thirteen byte'", "'Ü🦆'", "('a' || chr(0) || 'b')", "chr(0)", "repeat('long ', 500)"],
    "BLOB": ["''", "'\\x00\\xFF'", "repeat('x', 1000)::BLOB"],
    "BIT": ["'0'", "'10110'", "'1111111111111111111'"],
    "BIGNUM": ["'0'", "'-1234567890123456789012345678901234567890'", "'99999999999999999999999999999999999999999999'"],
    "UUID": ["'00000000-0000-0000-0000-000000000000'", "'ffffffff-ffff-ffff-ffff-ffffffffffff'", "'12345678-9abc-def0-1234-56789abcdef0'"],
    "DATE": ["'infinity'", "'-infinity'", "'0001-01-01'", "'4000-12-31'", "'1969-12-31'"],
    "TIME": ["'00:00:00'", "'23:59:59.999999'", "'24:00:00'"],
    "TIMETZ": ["'00:00:00+15:59:59'", "'23:59:59.999999-15:59:59'"],
    "TIMESTAMP": ["'infinity'", "'-infinity'", "'1969-12-31 23:59:59.999999'", "'4000-01-01 00:00:00.000001'"],
    "TIMESTAMP_S": ["'infinity'", "'2024-02-29 12:00:00'"],
    "TIMESTAMP_MS": ["'2024-02-29 12:00:00.123'"],
    "TIMESTAMP_NS": ["'2024-02-29 12:00:00.123456789'", "'1677-09-22 00:00:00'"],
    "TIMESTAMPTZ": ["'infinity'", "'2024-02-29 12:00:00+00'", "'1900-01-01 00:00:00.5+00'"],
    "INTERVAL": ["INTERVAL 5 YEARS", "to_days(-7)", "to_microseconds('9223372036854775807'::BIGINT)", "to_months(-2147483648)"],
    "ENUM('a', '', 'ü', 'long value of an enum')": ["'a'", "''", "'ü'", "'long value of an enum'"],
    "JSON": ["'{\"a\": [1, null]}'", "'null'", "'\"x\"'"],
}


class RandomTypes:
    def __init__(self, seed):
        self.random = random.Random(seed)

    def type(self, depth=0):
        r = self.random
        if depth > 3 or r.random() < 0.55:
            return r.choice(sorted(SCALARS))
        kind = r.randrange(5)
        child = lambda: self.type(depth + 1)  # noqa: E731
        if kind == 0:
            return ("LIST", child())
        if kind == 1:
            return ("ARRAY", child(), r.randrange(1, 4))
        if kind == 2:
            names = r.sample(["a", "b b", "c\"c", "ü", "select"], r.randrange(1, 4))
            return ("STRUCT", [(name, child()) for name in names])
        if kind == 3:
            return ("MAP", r.choice(["INTEGER", "VARCHAR", "DATE", "UUID"]), child())
        return ("UNION", [(f"m{i}", child()) for i in range(r.randrange(1, 4))])

    def text(self, t):
        """The type in SQL."""
        if isinstance(t, str):
            return t
        if t[0] == "LIST":
            return self.text(t[1]) + "[]"
        if t[0] == "ARRAY":
            return f"{self.text(t[1])}[{t[2]}]"
        if t[0] == "MAP":
            return f"MAP({self.text(t[1])}, {self.text(t[2])})"
        return f"{t[0]}(" + ", ".join('"' + n.replace('"', '""') + f'" {self.text(c)}' for n, c in t[1]) + ")"

    def value(self, t):
        """A random value of the type in SQL, with the exact type."""
        r = self.random
        if r.random() < 0.15:
            return f"NULL::{self.text(t)}"
        if isinstance(t, str):
            return f"({r.choice(SCALARS[t])})::{t}"
        if t[0] == "LIST":
            return "[" + ", ".join(self.value(t[1]) for _ in range(r.choice([0, 0, 1, 3]))) + f"]::{self.text(t)}"
        if t[0] == "ARRAY":
            return "[" + ", ".join(self.value(t[1]) for _ in range(t[2])) + f"]::{self.text(t)}"
        if t[0] == "STRUCT":
            return "struct_pack(" + ", ".join('"' + n.replace('"', '""') + f'" := {self.value(c)}' for n, c in t[1]) + ")"
        if t[0] == "MAP":
            keys = r.sample({"INTEGER": ["1", "2", "-3"], "VARCHAR": ["'x'", "''", "'ü'"], "DATE": ["'2020-01-01'", "'infinity'"],
                             "UUID": SCALARS["UUID"]}[t[1]], r.randrange(3))
            pairs = ", ".join(f"({k})::{t[1]}: {self.value(t[2])}" for k in keys)
            return f"MAP {{{pairs}}}::{self.text(t)}"
        name, child = r.choice(t[1])
        return f"union_value({name} := {self.value(child)})::{self.text(t)}"

    def table(self, columns=4, rows=20):
        """(column definitions, VALUES text) of a random table."""
        types = [self.type() for _ in range(self.random.randrange(1, columns + 1))]
        definitions = ", ".join(f"c{i} {self.text(t)}" for i, t in enumerate(types))
        rows = ["(" + ", ".join(self.value(t) for t in types) + ")" for _ in range(rows)]
        return definitions, ", ".join(rows)
