"""Measures OpenDuck and its peers on one set of work: python run.py --help

Each subject does the same things as DuckDB in the same process ("native", the physical limit); both are timed in turns,
so that a noisy machine moves them together. One JSON object a line goes to standard output; report.py makes the table.

This process needs only the standard library. Environments, data and run folders are kept under OPENDUCK_BENCH_HOME
(default ~/.cache/openduck-bench). Clients run in a child process, so that a crash or a hang of a peer costs one result.
"""
import argparse
import json
import os
import sys

import harness
from harness import BENCHES, Run, database, python_for
from machine import private_loopback, rounded, short
from subjects import SUBJECTS


def main():
    if len(sys.argv) > 1 and sys.argv[1].startswith("_"):
        return getattr(harness, "child" + sys.argv[1])(*sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--subject", default="all", help="all, or of " + ", ".join(SUBJECTS))
    parser.add_argument("--bench", default="all", help="all, or of " + ", ".join(BENCHES))
    parser.add_argument("--sf", type=lambda text: int(text) if text.isdigit() else float(text), default=1,
                        help="TPC-H scale factor (default 1)")
    parser.add_argument("--runs", type=int, default=3, help="runs of each case (default 3)")
    parser.add_argument("--budget", type=float, default=30, help="seconds after which a case takes no further run, and `split` no further pair on a network")
    parser.add_argument("--seed", type=int, default=1, help="of what `split` draws (default 1)")
    args = parser.parse_args()
    subjects = [n for n in SUBJECTS ] if args.subject == "all" else args.subject.split(",")
    benches = list(BENCHES) if args.bench == "all" else args.bench.split(",")
    database(args.sf)
    for name in {*subjects, "quack"}:
        python_for(SUBJECTS[name])   # while the network is there
    private = private_loopback()
    for bench in benches:
        for name in subjects:
            head = {"subject": name, "bench": bench, "sf": args.sf, "private_lo": private}
            try:
                with Run(SUBJECTS[name], bench, args) as run:
                    for result in run.results():
                        load = round(os.getloadavg()[0], 1)
                        print(json.dumps(head | rounded(result) | {"load": load}), flush=True)
            except Exception as problem:
                print(json.dumps(head | {"error": short(problem)}), flush=True)


if __name__ == "__main__":
    main()
