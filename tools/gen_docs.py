#!/usr/bin/env python3
"""Writes the reference pages that are made from tables in the code: python3 tools/gen_docs.py [--check].

With --check nothing is written and the exit status is 1 when a page is not what the code says.
"""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
GRPC = ("OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED "
        "RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS "
        "UNAUTHENTICATED").split()


def errors():
    text = (ROOT / "include/openduck/status.h").read_text()
    rows = re.findall(r'X\((\w+), (\d+), (true|false), "([^"]*)"\)', text)
    lines = ["# Error codes", "",
             "Made from the table in `include/openduck/status.h` by `tools/gen_docs.py`. A failed call has the gRPC status,",
             "and an `ErrorDetail` message in the trailing metadata `openduck-error-bin` with the code's name. Errors of",
             "DuckDB itself are `SQL`, with DuckDB's exception class and its own words.", "",
             "| code | number | gRPC status | may be sent again unchanged | meaning |", "|--|--|--|--|--|"]
    lines += [f"| `{name}` | {number} | {GRPC[int(grpc)]} | {'yes' if retry == 'true' else 'no'} | {meaning} |"
              for number, (name, grpc, retry, meaning) in enumerate(rows)]
    return "\n".join(lines) + "\n"


PAGES = {"docs/reference/errors.md": errors}


def main():
    stale = []
    for name, make in PAGES.items():
        page, text = ROOT / name, make()
        if page.exists() and page.read_text() == text:
            continue
        if "--check" in sys.argv:
            stale.append(name)
        else:
            page.parent.mkdir(parents=True, exist_ok=True)
            page.write_text(text)
    if stale:
        sys.exit(f"not what the code says: {', '.join(stale)}; run python3 tools/gen_docs.py")


if __name__ == "__main__":
    main()
