"""Which statements an attached catalog accepts, and what an interrupt does."""
import threading
import time

from machine import cpu_of, short
from sessions import Attached, QuackText

FEATURES = """
two remote tables|SELECT count(*) FROM r.nation JOIN r.region ON n_regionkey = r_regionkey
self join|SELECT count(*) FROM r.nation a JOIN r.nation b ON a.n_regionkey = b.n_regionkey
IN subquery|SELECT count(*) FROM r.nation WHERE n_regionkey IN (SELECT r_regionkey FROM r.region)
union all|SELECT count(*) FROM (FROM r.nation UNION ALL FROM r.nation)
show tables|SELECT * FROM duckdb_tables() WHERE database_name = 'r'
describe|DESCRIBE r.lineitem
create schema|CREATE SCHEMA r.s2
create table|CREATE TABLE r.f(a INTEGER PRIMARY KEY, b VARCHAR DEFAULT upper('x'), c INTEGER CHECK (c > 0))
insert|INSERT INTO r.f VALUES (1, 'a', 1), (2, 'b', 2)
insert columns|INSERT INTO r.f(a, c) VALUES (3, 3)
default kept|SELECT CASE WHEN count(*) FILTER (b = 'X') = 1 THEN 1 ELSE error('default lost') END FROM r.f
insert returning|INSERT INTO r.f VALUES (4, 'd', 4) RETURNING a
unique violation*|INSERT INTO r.f VALUES (1, 'again', 1)
check violation*|INSERT INTO r.f VALUES (9, 'bad', -1)
upsert|INSERT OR REPLACE INTO r.f VALUES (1, 'new', 5)
update|UPDATE r.f SET b = 'z' WHERE a = 2
delete|DELETE FROM r.f WHERE a = 2
merge|MERGE INTO r.f USING (SELECT 1 AS a) s ON r.f.a = s.a WHEN MATCHED THEN UPDATE SET b = 'm'
truncate|TRUNCATE r.f
ctas from remote|CREATE TABLE r.g AS SELECT * FROM r.nation
insert from remote|INSERT INTO r.f SELECT n_nationkey + 100, n_name, 1 FROM r.nation
alter table|ALTER TABLE r.f ADD COLUMN d DATE
create index|CREATE INDEX fi ON r.f(c)
create view|CREATE VIEW r.v AS SELECT 1 AS x
read view|SELECT * FROM r.v
create sequence|CREATE SEQUENCE r.sq
rollback|BEGIN; INSERT INTO r.f(a, c) VALUES (77, 7); ROLLBACK; SELECT CASE WHEN count(*) = 0 THEN 1 ELSE error('not rolled back') END FROM r.f WHERE a = 77
read own write|BEGIN; INSERT INTO r.f(a, c) VALUES (78, 7); SELECT CASE WHEN count(*) = 1 THEN 1 ELSE error('own write not seen') END FROM r.f WHERE a = 78; COMMIT
nested types|CREATE TABLE r.n1 AS SELECT [1,2] AS l, {'a': 1} AS s, MAP {'k': 2} AS m, [1,2]::INTEGER[2] AS f
scalar types|CREATE TABLE r.n2 AS SELECT 1::HUGEINT h, 2::UHUGEINT u, INTERVAL 1 MONTH i, now() z, uuid() d, 'a'::BLOB b, '101'::BIT t, TIME '10:00' tm, TIMESTAMP_NS '2020-01-01' ns
enum type|CREATE TABLE r.n3 AS SELECT 'a'::ENUM('a','b') e
read types|SELECT * FROM (FROM r.n1); SELECT * FROM r.n2; SELECT * FROM r.n3
time travel|SELECT * FROM r.nation AT (VERSION => 1)
explain analyze|EXPLAIN ANALYZE SELECT count(*) FROM r.lineitem
"""


def bench_features(c):
    """Which statements a user's ATTACH accepts; a star: must be refused."""
    if isinstance(c.remote, QuackText) or not isinstance(c.remote, Attached):
        return
    run = c.remote.con.execute

    def parts(line):
        for part in line.split("; "):
            run(part).fetchall()
        return True
    new = lambda: c.new_client().con.execute
    todo = [(check.__name__.replace("_", " "), lambda check=check: check(run, new))
            for check in (sees_new_table, ctas_after_drop, sees_new_columns, keeps_snapshot)]
    for line in FEATURES.strip().splitlines():
        name, _, sql = line.partition("|")
        todo.append((name, lambda sql=sql: parts(sql)))
    todo.append(("attach again", lambda: new() and True))
    for name, work in todo:
        result = {"case": name.rstrip("*")}
        yield result | {"started": True}
        refuse = name.endswith("*")
        try:
            result["ok"] = work() and not refuse
        except Exception as problem:
            result |= {"ok": refuse, "error": short(problem)}
        try:
            run("ROLLBACK")
        except Exception:
            pass
        yield result
    yield cancel(c)


# Two clients of one server: what one does, the other must see without asking.

def sees_new_table(a, new):
    a("FROM r.nation").fetchall()
    new()("CREATE TABLE r.late(x INTEGER)")
    return a("FROM r.late").fetchall() == []


def ctas_after_drop(a, new):
    a("CREATE TABLE r.again AS SELECT range AS i FROM range(10)")
    new()("DROP TABLE r.again")
    a("CREATE TABLE r.again AS SELECT range AS i FROM range(10)")
    kept, = new()("SELECT count(*) FROM r.again").fetchone()
    if kept != 10:
        raise ValueError(f"{kept} rows of 10 arrived, no error")
    return True


def sees_new_columns(a, new):
    a("CREATE TABLE r.wider(x INTEGER)")
    b = new()
    b("DROP TABLE r.wider")
    b("CREATE TABLE r.wider(x INTEGER, y INTEGER)")
    b("INSERT INTO r.wider VALUES (1, 2)")
    got = a("FROM r.wider").fetchall()
    if got != [(1, 2)]:
        raise ValueError(f"read {got}")
    return True


def keeps_snapshot(a, new):
    b = new()
    a("BEGIN")
    before = a("SELECT count(*) FROM r.region").fetchall()
    b("INSERT INTO r.region VALUES (99, 'new', '')")
    after = a("SELECT count(*) FROM r.region").fetchall()
    if before != after:
        raise ValueError(f"count was {before[0][0]}, then {after[0][0]} in one transaction")
    return True


def cancel(c):
    """How fast an interrupt returns, and how long the server works on."""
    if not c.spec["server_pid"]:
        return {"case": "cancel"}
    timer = threading.Timer(0.5, c.remote.con.interrupt)
    timer.start()
    start = time.perf_counter()
    try:
        c.remote.con.execute("SELECT * FROM r.lineitem").to_arrow_table()
        outcome = "ran to its end"
    except Exception as problem:
        outcome = short(problem)
    back = time.perf_counter() - start - 0.5
    before = cpu_of(c.spec["server_pid"])
    time.sleep(3)
    return {"case": "cancel", "returned_after_s": back, "outcome": outcome,
            "server_cpu_s_in_next_3_s": cpu_of(c.spec["server_pid"]) - before}
