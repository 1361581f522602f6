"""TPC-H with its tables split over this side and a server, on simulated networks, for each placement.

A split says of each of the eight tables where it is; 20 are drawn. A pair is a query with a split in which it reads tables
of both sides. Pairs are visited in a drawn order in which queries take turns, until the budget of the network is spent;
each is run with openduck_placement auto, local and remote in turns. What takes longer than CUT times auto is stopped there
and counts as that: the ratios then understate what auto gains.
"""
import json
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

from machine import TOKEN, loopback, same, short
from workload import TABLES

SPLITS = 20
NETWORKS = {"loopback": None, "1 Gbit/s, 1 ms": (1000, 1), "100 Mbit/s, 20 ms": (100, 20)}
PLACEMENTS = ("auto", "local", "remote")
CUT, CUT_AT_LEAST_S, LIMIT_S = 5, 2.0, 60
RUNS, AGAIN_S = 3, 1.0   # what is shorter than this is run again, and the best counts


class Network:
    """An attachment of the served database under `alias`, through a link."""

    def __init__(self, con, alias, port, link):
        self.relay = None
        if link:
            command = [sys.executable, str(Path(__file__).with_name("relay.py")), str(port), *map(str, link)]
            self.relay = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
            port = int(self.relay.stdout.readline())
        self.alias = alias
        con.execute(f"ATTACH 'openduck:db?endpoint=127.0.0.1:{port}&token={TOKEN}' AS {alias}")

    def carried(self):
        """Bytes so far, both ways."""
        if not self.relay:
            return loopback()
        self.relay.stdin.write("\n")
        self.relay.stdin.flush()
        return sum(map(int, self.relay.stdout.readline().split()))

    def close(self):
        if self.relay:
            self.relay.stdin.close()
            self.relay.wait()


def splits(seed):
    """For each split the set of remote tables: at least one, and not all."""
    rng, result = random.Random(seed), []
    while len(result) < SPLITS:
        remote = {table for table in TABLES if rng.random() < 0.5}
        if 0 < len(remote) < len(TABLES):
            result.append(remote)
    return result


class Query:
    """A query text whose tables can be given a catalog each."""

    def __init__(self, con, number, text):
        self.con, self.number = con, number
        self.tree = json.loads(con.execute("SELECT json_serialize_sql(?)", [text]).fetchone()[0])
        self.tables = {node["table_name"] for node in self.nodes(self.tree)}

    def nodes(self, tree):
        if isinstance(tree, dict):
            if tree.get("type") == "BASE_TABLE" and tree["table_name"] in TABLES:
                yield tree
            for part in tree.values():
                yield from self.nodes(part)
        elif isinstance(tree, list):
            for part in tree:
                yield from self.nodes(part)

    def text(self, remote, alias):
        for node in self.nodes(self.tree):
            node["catalog_name"], node["schema_name"] = alias if node["table_name"] in remote else "here", "main"
        return self.con.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(self.tree)]).fetchone()[0]


def pairs(queries, ways, seed):
    """Every query with every split in which it is mixed, queries taking turns."""
    rng = random.Random(seed)
    left = {}
    for query in queries:
        numbers = [n for n, remote in enumerate(ways) if query.tables & remote and query.tables - remote]
        rng.shuffle(numbers)
        left[query.number] = numbers
    while any(left.values()):
        turn = [query for query in queries if left[query.number]]
        rng.shuffle(turn)
        for query in turn:
            yield query, left[query.number].pop()


def timed(con, network, placement, text, limit):
    """(seconds, bytes, rows or None when it was stopped)."""
    con.execute(f"SET openduck_placement = '{placement}'")
    before, rows = network.carried(), None
    timer = threading.Timer(limit, con.interrupt)
    start = time.perf_counter()
    timer.start()
    try:
        rows = con.execute(text).fetchall()
    except Exception as problem:
        if "nterrupt" not in str(problem):
            raise
    seconds = time.perf_counter() - start
    timer.cancel()
    timer.join()
    return seconds, network.carried() - before, rows


def measure(con, network, query, remote, want):
    """One pair: the best of its runs for each placement."""
    text, found, stopped, right = query.text(remote, network.alias), {}, [], True
    for turn in range(RUNS):
        limit = LIMIT_S
        for placement in PLACEMENTS:
            if placement in stopped or (turn and found[placement][0] > AGAIN_S):
                continue
            seconds, crossed, rows = timed(con, network, placement, text, limit)
            if rows is None:
                stopped.append(placement)
            else:
                right = right and same(rows, want)
            if placement == "auto":
                limit = min(max(CUT * seconds, CUT_AT_LEAST_S), LIMIT_S)
            if placement not in found or seconds < found[placement][0]:
                found[placement] = (seconds, crossed)
    result = {f"{placement}_s": found[placement][0] for placement in PLACEMENTS}
    result |= {f"{placement}_bytes": found[placement][1] for placement in PLACEMENTS}
    return result | {"stopped": stopped, "right": right}


def mean(ratios):
    """The geometric one."""
    product, count = 1.0, 0
    for ratio in ratios:
        product, count = product * ratio, count + 1
    return product ** (1 / count) if count else None


def best(pair):
    return min(pair["local_s"], pair["remote_s"])


def summary(network, done):
    worst = max(done, key=lambda pair: pair["auto_s"] / best(pair))
    return {"case": f"split {network}", "pairs": len(done), "right": all(pair["right"] for pair in done),
            "auto_to_best": mean(pair["auto_s"] / best(pair) for pair in done),
            "worst": worst["auto_s"] / best(worst), "worst_pair": worst["pair"],
            "local_to_auto": mean(pair["local_s"] / pair["auto_s"] for pair in done),
            "remote_to_auto": mean(pair["remote_s"] / pair["auto_s"] for pair in done),
            "auto_s": sum(pair["auto_s"] for pair in done), "local_s": sum(pair["local_s"] for pair in done),
            "remote_s": sum(pair["remote_s"] for pair in done),
            "bytes_to_least": mean(max(pair["auto_bytes"], 1) / max(1, min(pair[f"{p}_bytes"] for p in PLACEMENTS))
                                   for pair in done),
            "stopped": sum(len(pair["stopped"]) for pair in done)}


def wholly_remote(con, network, queries):
    """Attached tables against the same text sent by hand, in turns."""
    ratios = []
    for query in queries:
        attached = query.text(TABLES, network.alias)
        sent = query.text(TABLES, "db")
        ours, theirs = [], []
        for _ in range(5):
            start = time.perf_counter()
            con.execute(attached).fetchall()
            middle_of = time.perf_counter()
            con.execute(f"FROM openduck_query('{network.alias}', ?)", [sent]).fetchall()
            ours.append(middle_of - start)
            theirs.append(time.perf_counter() - middle_of)
        ratios.append(min(ours) / min(theirs))
    return {"case": "wholly remote", "ratio_to_text": mean(ratios), "worst": max(ratios)}


def planning(con, network, query):
    """EXPLAIN of a query of eight tables, half of them remote, beside the same over local tables."""
    def explained(text):
        con.execute("SET openduck_placement = 'auto'")
        times = []
        for _ in range(40):
            start = time.perf_counter()
            con.execute("EXPLAIN " + text).fetchall()
            times.append(time.perf_counter() - start)
        return min(times) * 1000
    ours = explained(query.text(set(TABLES[::2]), network.alias))
    local = explained(query.text(set(), network.alias))
    return {"case": "planning", "ms": ours, "native_ms": local, "overhead_ms": ours - local}


def bench_split(c):
    con = c.remote.con
    c.base.con.execute("DETACH r")   # one process opens a file once
    con.execute(f"ATTACH '{c.spec['native']}' AS here (READ_ONLY)")
    seed = c.spec["seed"]
    queries = [Query(con, number, text) for number, text in c.spec["queries"]]
    wants = {query.number: con.execute(query.text(set(), "here")).fetchall() for query in queries}
    ways = splits(seed)
    for number, (name, link) in enumerate(NETWORKS.items()):
        network = Network(con, f"net{number}", c.spec["port"], link)
        try:
            if not link:
                yield wholly_remote(con, network, queries)
                yield planning(con, network, next(query for query in queries if query.number == 8))
            done, start = [], time.perf_counter()
            for query, split in pairs(queries, ways, f"{seed}/{name}"):
                if time.perf_counter() - start > c.budget:
                    break
                pair = {"network": name, "pair": f"q{query.number:02} split {split}"}
                yield {"started": True, "case": pair["pair"]}
                try:
                    pair |= measure(con, network, query, ways[split], wants[query.number])
                except Exception as problem:
                    yield pair | {"case": "split pair", "error": short(problem)}
                    continue
                done.append(pair)
                yield pair | {"case": "split pair", "remote": ",".join(sorted(ways[split] & query.tables))}
            yield summary(name, done)
        finally:
            network.close()
