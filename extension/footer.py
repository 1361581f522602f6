#!/usr/bin/env python3
"""Appends DuckDB's extension metadata to a shared library.

    footer.py LIBRARY OUTPUT EXTENSION_VERSION DUCKDB_VERSION PLATFORM

DuckDB reads the last 512 bytes of an extension before it opens it: eight NUL-padded fields of 32 bytes, the last one
first, then room for a signature. ABI "CPP" means: only this very DuckDB version may load it.
"""

import os
import sys

source, output, version, duckdb, platform = sys.argv[1:6]
fields = ["", "", "", "CPP", version, duckdb, platform, "4"]
with open(source, "rb") as file:
    library = file.read()
# A WebAssembly custom section header, so that the same bytes are valid there too.
section = b"\0\x93\x04\x10duckdb_signature\x80\x04"
metadata = b"".join(field.encode().ljust(32, b"\0") for field in fields)
with open(output + ".new", "wb") as file:
    file.write(library + section + metadata + bytes(256))
os.chmod(output + ".new", 0o755)
os.replace(output + ".new", output)
