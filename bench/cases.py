"""The benches: generators of one result per case. Every case runs on the subject and on DuckDB in process, in turns."""
import itertools
import random
import threading
import time

from machine import middle, short
from sessions import Attached
from workload import HYBRID, JOIN, KEYS, LOOKUP, SUM, UPLOAD


def bench_scan(c):
    sql = "SELECT * FROM {r}lineitem"
    rows = c.base.rows("SELECT count(*) FROM {r}lineitem")[0][0]
    name = "arrow" if c.spec["sf"] <= 1 else "stream"
    yield c.pair(f"scan {name}", lambda: getattr(c.remote, name)(sql) and 0,
                 lambda: getattr(c.base, name)(sql) and 0, rows)
    yield c.pair("scan ctas", lambda: c.remote.ctas("copied", sql),
                 lambda: c.base.ctas("copied", sql), rows,
                 after=lambda session: session.local("DROP TABLE copied"))
    two = "SELECT l_orderkey, l_extendedprice FROM {r}lineitem"
    yield c.pair("scan 2 columns", lambda: getattr(c.remote, name)(two) and 0,
                 lambda: getattr(c.base, name)(two) and 0, rows)


def bench_latency(c):
    rng = random.Random(7)
    top = 1_500_000 * c.spec["sf"] // 8
    keys = [32 * (k // 8) + k % 8 + 1 for k in (rng.randrange(top) * 8 for _ in range(300))]
    for case, way, texts in (("select 1 from a table", "rows", ["SELECT 1 FROM {r}region LIMIT 1"] * 300),
                             ("select 1 as text", "shipped", ["SELECT 1"] * 300),
                             ("lookup", "rows", [LOOKUP % key for key in keys]),
                             ("lookup as text", "shipped", [LOOKUP % key for key in keys])):
        result = {"case": case}
        try:
            for side, session in (("native_", c.base), ("", c.remote)):
                getattr(session, way)(texts[0])
                times, sent, start = [], [], time.perf_counter()
                for text in texts:
                    _, stats = c.once(lambda: getattr(session, way)(text))
                    times.append(stats["s"] * 1e3)
                    sent.append(stats["bytes"])
                    if time.perf_counter() - start > c.budget:
                        break
                result[f"{side}p50_ms"] = middle(times)
                result[f"{side}p99_ms"] = sorted(times)[int(len(times) * .99)]
                result[f"{side}n"] = len(times)
            result["bytes"] = middle(sent)
            result["ratio"] = result["p50_ms"] / result["native_p50_ms"]
        except Exception as problem:
            result["error"] = short(problem)
        yield result


def bench_pushdown(c):
    for case, sql in (("filter aggregate", SUM),
                      ("count", "SELECT count(*) FROM {r}lineitem"),
                      ("top 10", "SELECT * FROM {r}lineitem ORDER BY l_extendedprice DESC, l_orderkey LIMIT 10"),
                      ("group by", "SELECT l_returnflag, l_linestatus, sum(l_quantity), avg(l_tax)"
                                   " FROM {r}lineitem GROUP BY 1, 2")):
        yield c.pair(case, lambda: c.remote.rows(sql), lambda: c.base.rows(sql))


def bench_join(c):
    yield c.pair("remote join", lambda: c.remote.rows(JOIN), lambda: c.base.rows(JOIN))
    for session in (c.remote, c.base):
        session.local(f"CREATE TEMP TABLE keys AS {KEYS}")
    for case, work in c.remote.hybrids().items():
        yield c.pair(case, work, lambda: c.base.rows(HYBRID))


def burst(sessions, tag, seconds):
    """Autocommit single-row inserts, a thread a session: commits, time, errors, stuck."""
    done, errors = [0] * len(sessions), []
    gate = threading.Barrier(len(sessions) + 1)

    def work(me):
        gate.wait()
        end = time.perf_counter() + seconds
        while time.perf_counter() < end and len(errors) < 1000:
            try:
                sessions[me].insert(f"INSERT INTO {{r}}ins VALUES ({tag * 10**9 + done[me]}, 'v')")
                done[me] += 1
            except Exception as problem:
                errors.append(short(problem))
    pool = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(len(sessions))]
    for thread in pool:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    for thread in pool:
        thread.join(seconds + 30)
    stuck = sum(thread.is_alive() for thread in pool)
    return sum(done), time.perf_counter() - start, errors, stuck


def bench_inserts(c):
    make = "CREATE TABLE {r}ins(id BIGINT, v VARCHAR)"
    c.base.rows(make)
    c.remote.insert(make)
    expected = 0
    for threads in (1, 2, 4, 8, 32):
        base = [Attached(c.base.con.cursor()) for _ in range(threads)]
        ours = [c.new_client() for _ in range(threads)]
        rates, native, errors, stuck = [], [], [], 0
        for turn in range(5):
            done, took, _, _ = burst(base, turn, 1)
            native.append(done / took)
            done, took, wrong, stuck = burst(ours, turn, 1)
            rates.append(done / took)
            expected += done
            errors += wrong
            if stuck:
                break
        kept = c.remote.rows("SELECT count(*) FROM {r}ins")[0][0]
        result = {"case": f"insert {threads}", "tx_per_s": middle(rates), "native_tx_per_s": middle(native),
                  "ratio": middle(native) / max(middle(rates), 1e-9), "errors": len(errors), "stuck": stuck,
                  "kept_all": kept == expected}
        expected = kept
        yield result | ({"error": errors[0]} if errors else {})
        if stuck:
            break


def bench_upload(c):
    for session in (c.remote, c.base):
        session.local(f"CREATE TEMP TABLE source AS {UPLOAD}")
    names = (f"up{n}" for n in itertools.count())   # never the same: a peer may cache the catalog

    def put(session):
        session.target = next(names)
        session.upload(session.target, "source")

    def check(session):
        kept = session.rows(f"SELECT count(*) FROM {{r}}{session.target}")[0][0]
        session.insert(f"DROP TABLE {{r}}{session.target}")
        if kept != 1_000_000:
            raise ValueError(f"{kept} rows of 1000000 arrived")
    yield c.pair("upload", lambda: put(c.remote), lambda: put(c.base), 1_000_000, after=check)


def bench_writes(c):
    """Statements that change tables of the server and read nothing else."""
    for session in (c.remote, c.base):
        session.insert("CREATE TABLE {r}written AS SELECT * FROM {r}lineitem LIMIT 0")
    rows = c.base.rows("SELECT count(*) FROM {r}lineitem")[0][0]
    yield c.pair("insert select", lambda: c.remote.insert("INSERT INTO {r}written SELECT * FROM {r}lineitem") and 0,
                 lambda: c.base.insert("INSERT INTO {r}written SELECT * FROM {r}lineitem") and 0, rows,
                 after=lambda session: session.insert("TRUNCATE {r}written"))
    for session in (c.remote, c.base):
        session.insert("INSERT INTO {r}written SELECT * FROM {r}lineitem LIMIT 1000000")
    update = "UPDATE {r}written SET l_quantity = l_quantity + 1, l_comment = 'changed' WHERE l_orderkey % 10 = 3"
    yield c.pair("update", lambda: c.remote.insert(update), lambda: c.base.insert(update))
    remove = "DELETE FROM {r}written WHERE l_orderkey % 10 = 7"
    back = "INSERT INTO {r}written SELECT * FROM (FROM {r}lineitem LIMIT 1000000) WHERE l_orderkey % 10 = 7"
    yield c.pair("delete", lambda: c.remote.insert(remove), lambda: c.base.insert(remove),
                 after=lambda session: session.insert(back))
    merge = """MERGE INTO {r}written AS w USING (SELECT * FROM {r}orders WHERE o_orderkey % 10 = 1) AS o ON w.l_orderkey = o.o_orderkey
               AND w.l_linenumber = 1 WHEN MATCHED THEN UPDATE SET l_shipdate = o.o_orderdate"""
    yield c.pair("merge", lambda: c.remote.insert(merge), lambda: c.base.insert(merge))


def bench_planning(c):
    """What it costs to plan a statement whose tables' definitions are known: PREPARE sends nothing."""
    texts = {"plan one table": "SELECT l_comment FROM {r}lineitem WHERE l_orderkey = $1",
             "plan a join": "SELECT o_orderdate, sum(l_tax) FROM {r}lineitem JOIN {r}orders ON l_orderkey = o_orderkey GROUP BY ALL"}
    for case, text in texts.items():
        result = {"case": case}
        for side, session in (("native_", c.base), ("", c.remote)):
            times = []
            for _ in range(400):
                _, stats = c.once(lambda: session.rows(f"PREPARE planned AS {text}"))
                times.append(stats["s"] * 1e3)
                session.rows("DEALLOCATE planned")
            result[f"{side}p50_ms"] = middle(times)
            result[f"{side}p99_ms"] = sorted(times)[int(len(times) * .99)]
        result["ratio"] = result["p50_ms"] / result["native_p50_ms"]
        yield result


def bench_tpch(c):
    c.remote.use()
    c.base.use()
    for number, text in c.spec["queries"]:
        yield {"case": f"q{number:02}", "started": True}
        yield c.pair(f"q{number:02}", lambda: c.remote.rows(text), lambda: c.base.rows(text))
