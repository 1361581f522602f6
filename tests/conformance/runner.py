#!/usr/bin/env python3
"""Runs DuckDB's sqllogictest corpus on a catalog attached as `r` and scores it against native DuckDB.

All files: forks (one process per file), time limits, what to run. duckdb_c.py is the binding, dialect.py and compare.py
the sqllogictest dialect, execution.py one file, report.py the score; README.md says how to use it; subjects.py holds what
is attached.
"""

import argparse
import collections
import importlib.util
import json
import mmap
import os
import re
import shutil
import signal
import sys
import tempfile
import time

import subjects
from duckdb_c import Engine
from execution import run_file
from report import report, touches_catalog


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
