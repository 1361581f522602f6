"""Processes of a bench run: environments, data, the server, the client child."""
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

from cases_server import SERVER_BENCHES
import cases
import features
import split
from machine import HOME, TOKEN, await_port, cpu_of, free_port, loopback, middle, peak_of, same, short
from sessions import Attached
from subjects import SUBJECTS, Native, Quack, attached_file, loaded
from workload import TABLES

ENTRY = Path(__file__).resolve().with_name("run.py")
QUIET_LIMIT_S = {"tpch": 90, "features": 60}
BENCHES = {name[6:]: function for module in (cases, features, split)
           for name, function in vars(module).items() if name.startswith("bench_")} | SERVER_BENCHES


class Client:
    """What a bench function gets: the subject's session and the native one."""

    def __init__(self, spec):
        self.spec = spec
        self.subject = SUBJECTS[spec["subject"]]
        self.remote = self.subject.connect(spec)
        self.base = Attached(attached_file(spec["native"]))
        self.runs = spec["runs"]
        self.budget = spec["budget"]

    def new_client(self):
        return self.subject.connect(self.spec)

    def once(self, work):
        pid = self.spec["server_pid"]
        sent, server, mine, start = loopback(), cpu_of(pid), time.process_time(), time.perf_counter()
        value = work()
        return value, {"s": time.perf_counter() - start, "bytes": loopback() - sent,
                       "cpu_client_s": time.process_time() - mine, "cpu_server_s": cpu_of(pid) - server}

    def pair(self, case, remote, native, rows=None, after=None, **more):
        """Time native and remote in turns; answer one result."""
        ours, theirs, error, value, want = [], [], None, None, None
        start = time.perf_counter()
        for _ in range(self.runs):
            want, stats = self.once(native)
            theirs.append(stats["s"])
            if after:
                after(self.base)
            try:
                value, stats = self.once(remote)
                ours.append(stats)
                if after:
                    after(self.remote)
            except Exception as problem:
                error = short(problem)
                break
            if time.perf_counter() - start > self.budget:
                break
        result = {"case": case, "runs": len(ours), "native_s": middle(theirs), **more}
        if error:
            return result | {"error": error}
        for key in ours[0]:
            result[key] = (min if key == "bytes" else middle)(s[key] for s in ours)
        result["ratio"] = result["s"] / result["native_s"]
        if rows:
            result["rows"] = rows
            result["rows_per_s"] = rows / result["s"]
        if isinstance(want, list):
            result["right"] = same(value, want)
        return result


def python_for(subject):
    """The interpreter of the subject's own environment, made on first use."""
    folder = HOME / f"venv-{subject.duckdb}"
    python = folder / "bin" / "python"
    want = {f"duckdb=={subject.duckdb}", "pyarrow", "tpchgen-cli==4.0.0", "pytz", *subject.packages}
    if subject.duckdb == "1.5.5":
        want.add("duckdb-extension-tpch==1.5.5")
    mark = folder / "installed.json"
    have = set(json.loads(mark.read_text())) if mark.exists() else set()
    if want - have:
        if not python.exists():
            subprocess.run([sys.executable, "-m", "venv", folder], check=True, stdout=sys.stderr)
        subprocess.run([python, "-m", "pip", "install", "-q", *sorted(want)], check=True, stdout=sys.stderr)
        mark.write_text(json.dumps(sorted(want | have)))
    return str(python)


def database(sf):
    """A DuckDB file with TPC-H tables, made once by DuckDB 1.5.5."""
    file = HOME / "db" / f"sf{sf}.duckdb"
    if file.exists():
        return file
    python = python_for(Native())
    parquet = Path(os.environ.get("OPENDUCK_BENCH_TPCH", HOME / "tpch")) / f"sf{sf}"
    tables = TABLES if sf <= 1 else ["region", "nation", "orders", "lineitem"]
    if not (parquet / "lineitem.parquet").exists():
        subprocess.run([Path(python).with_name("tpchgen-cli"), "parquet", "-s", str(sf), "-q",
                        f"--output-dir={parquet}", f"--tables={','.join(tables)}"], check=True, stdout=sys.stderr)
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.unlink(missing_ok=True)
    subprocess.run([python, str(ENTRY), "_load", str(part), str(parquet), *tables], check=True)
    part.rename(file)
    return file


class Run:
    """One bench on one subject: its folder, its server, its client."""

    def __init__(self, subject, bench, args):
        self.subject, self.bench, self.args = subject, bench, args
        self.folder = HOME / "run" / f"{os.getpid()}-{subject.name}-{bench}"
        self.server = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def start(self):
        self.python = python_for(self.subject)
        self.folder.mkdir(parents=True)
        source = database(self.args.sf)
        for name in ("native", "served"):
            subprocess.run(["cp", "--reflink=auto", source, self.folder / f"{name}.duckdb"], check=True)
        self.port = free_port()
        command = self.subject.command(self.folder / "served.duckdb", self.port)
        if command:
            if command[0].endswith(".py"):
                command.insert(0, self.python)
            log = open(self.folder / "server.log", "wb")
            self.server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                           env=os.environ | self.subject.environment())
            try:
                await_port(self.port, self.server)
            except RuntimeError as problem:
                tail = (self.folder / "server.log").read_text(errors="replace")[-200:]
                raise RuntimeError(f"{problem}: {tail}") from None

    def __exit__(self, *_):
        if self.server:
            self.server.terminate()
            try:
                self.server.wait(10)
            except subprocess.TimeoutExpired:
                self.server.kill()
                self.server.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def client(self, queries):
        spec = {"subject": self.subject.name, "bench": self.bench, "port": self.port, "sf": self.args.sf,
                "runs": self.args.runs, "budget": self.args.budget,
                "native": str(self.folder / "native.duckdb"), "file": str(self.folder / "served.duckdb"),
                "server_pid": self.server.pid if self.server else 0, "queries": queries, "seed": self.args.seed}
        child = subprocess.Popen([self.python, str(ENTRY), "_client", json.dumps(spec)],
                                 stdout=subprocess.PIPE, stderr=sys.stderr, text=True)
        lines = queue.Queue()

        def pump():
            for line in child.stdout:
                lines.put(json.loads(line))
            lines.put(None)
        threading.Thread(target=pump, daemon=True).start()
        case, outcome = "client", None
        try:
            while True:
                try:
                    result = lines.get(timeout=QUIET_LIMIT_S.get(self.bench, 300))
                except queue.Empty:
                    outcome = "no answer in time, client killed"
                    break
                if result is None:
                    if child.wait():
                        outcome = f"client ended with {child.returncode}"
                    break
                if result.get("started"):
                    case = result["case"]
                    continue
                case = "client"
                yield result
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
        if outcome:
            yield {"case": case, "error": outcome}

    def results(self):
        queries = tpch_queries() if self.bench in ("tpch", "split") else []
        while True:
            lost = None
            for result in self.client(queries):
                if self.server:
                    dead = self.server.poll()
                    if dead is not None:
                        result["server_died"] = dead
                    else:
                        result["server_peak_mib"] = peak_of(self.server.pid)
                if result.get("error", "").startswith(("no answer", "client ended")):
                    lost = result["case"]
                yield result
            rest = [q for q in queries if lost and f"q{q[0]:02}" > lost]
            if not lost or not rest or self.bench == "split" or (self.server and self.server.poll() is not None):
                return
            queries = rest


def tpch_queries():
    python = python_for(Quack())
    out = subprocess.run([python, str(ENTRY), "_queries"], check=True, capture_output=True, text=True)
    return json.loads(out.stdout)


# Entries of the child processes.

def child_client(spec):
    spec = json.loads(spec)
    for result in BENCHES[spec["bench"]](Client(spec)):
        print(json.dumps(result), flush=True)
    sys.stdout.flush()
    os._exit(0)   # daemon threads of a stuck peer must not hold us


def child_quack(db, port):
    con = loaded("httpfs", "quack", file=db)
    con.execute(f"CALL quack_serve('quack:127.0.0.1:{port}', token := '{TOKEN}')")
    signal.pause()


def child_load(file, parquet, *tables):
    import duckdb
    con = duckdb.connect(file)
    for table in tables:
        con.execute(f"CREATE TABLE {table} AS FROM '{parquet}/{table}.parquet'")


def child_queries():
    print(json.dumps(loaded("tpch").execute("FROM tpch_queries()").fetchall()))
