"""Makes RESULTS.md of the JSON lines of run.py: python report.py RESULTS.jsonl > RESULTS.md

The bars are those the project sets itself; a figure beyond its bar says so in the table.
"""
import json
import platform
import sys

import report_split

# case -> (what, bar as text, test over (ours, all results of the case by subject))
BARS = {
    "scan arrow": ("lineitem (6,001,215 rows) as Arrow in the client", "<= 1.4x native",
                   lambda o, by: o["ratio"] <= 1.4),
    "scan ctas": ("lineitem as a local table", "<= 1.6x native and <= 0.65x Flight's time",
                  lambda o, by: o["ratio"] <= 1.6 and ("flight" not in by or o["s"] <= 0.65 * by["flight"]["s"])),
    "scan 2 columns": ("two columns of lineitem as Arrow", "<= 2.0x native", lambda o, by: o["ratio"] <= 2.0),
    "scan stream": ("SF10 lineitem (60 M rows) streamed", "<= 1.1x Flight's time",
                    lambda o, by: "flight" not in by or o["s"] <= 1.1 * by["flight"]["s"]),
    "select 1 as text": ("`SELECT 1` sent as text, p50", "<= 0.8x Quack's",
                         lambda o, by: "quack-query" not in by or o["p50_ms"] <= 0.8 * by["quack-query"]["p50_ms"]),
    "lookup": ("one row by key from the attached table, p50", "<= Quack's sent as text",
               lambda o, by: "quack-query" not in by or o["p50_ms"] <= by["quack-query"]["p50_ms"]),
    "upload": ("1 M local rows into a new remote table", "<= 2.0x native", lambda o, by: o["ratio"] <= 2.0),
    "slow client": ("server memory above idle, 60 M rows to a slow client", "<= 512 MiB",
                    lambda o, by: o["above_idle_mib"] <= 512),
    "killed client": ("server CPU in the 3 s after a client was killed in mid-result", "0 s",
                      lambda o, by: o["server_cpu_s_in_next_3_s"] <= 0.05),
    "cancel": ("server CPU in the 3 s after a cancel", "0 s", lambda o, by: o["server_cpu_s_in_next_3_s"] <= 0.05),
    "concurrent inserts": ("8 clients x 25 inserts, 10 times: rows kept of those acknowledged", "all",
                           lambda o, by: o["rows"] == o["acknowledged"] and not o["errors"]),
} | {case: (f"{what} wholly on the server", "<= 1.1x native", lambda o, by: o["ratio"] <= 1.1)
     for case, what in (("insert select", "`INSERT ... SELECT` of lineitem"), ("update", "`UPDATE` of a tenth of 1 M rows"),
                        ("delete", "`DELETE` of a tenth of 1 M rows"), ("merge", "`MERGE` with orders"))
} | {case: (f"{what}, definitions known, p50", "<= 0.3 ms above native", lambda o, by: o["p50_ms"] - o["native_p50_ms"] <= 0.3)
     for case, what in (("plan one table", "planning a look-up"), ("plan a join", "planning a join"))
} | {f"insert {n}": (f"single-row autocommit inserts, {n} connection{'s' if n > 1 else ''}", "<= 2.2x native's time",
                     lambda o, by: o["ratio"] <= 2.2 and o["kept_all"]) for n in (1, 2, 4, 8, 32)}


def figure(result):
    """The result in words: ratio to native and absolute value."""
    if "error" in result:
        return "error: " + result["error"][:60]
    if "p50_ms" in result:
        return f"{result['p50_ms']:.2f} ms (native {result['native_p50_ms']:.2f})"
    if "tx_per_s" in result:
        lost = "" if result.get("kept_all", True) else ", ROWS LOST"
        return f"{result['ratio']:.2f}x ({result['tx_per_s']:.0f}/s, native {result['native_tx_per_s']:.0f}/s){lost}"
    if "ratio" in result:
        return f"{result['ratio']:.2f}x ({result['s']:.3f} s, native {result['native_s']:.3f} s)"
    if "above_idle_mib" in result:
        return f"{result['above_idle_mib']:.0f} MiB"
    if "server_cpu_s_in_next_3_s" in result:
        return f"{result['server_cpu_s_in_next_3_s']:.2f} s"
    if "acknowledged" in result:
        return f"{result['rows']} of {result['acknowledged']}, {result['errors']} errors"
    return "yes" if result.get("ok") else "no"


def table(rows):
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|" + "--|" * len(rows[0]))
    return "\n".join(lines)


def main():
    everything = [json.loads(line) for line in open(sys.argv[1])]
    results = [result for result in everything if not report_split.of_split(result)]
    cases, subjects = {}, []
    for result in results:
        key = f"{result['case']} (SF10)" if result.get("sf", 1) > 1 and "case" in result else result.get("case", "start")
        cases.setdefault(key, {})[result["subject"]] = result
        if result["subject"] not in subjects:
            subjects.append(result["subject"])
    subjects.sort(key=lambda name: (name != "openduck", name == "native", name))
    print("# Measured\n")
    print("Made by `make bench` (`bench/run`); do not edit. Every figure is a ratio to the same work by DuckDB in the client's")
    print("own process (\"native\"), timed in turns in the same minutes; medians, absolute values in brackets.")
    print("One system's cases of one bench are of one run; between benches and systems compare ratios, not seconds.")
    loads = [r["load"] for r in everything if "load" in r]
    print(f"Machine: {platform.machine()}, load average {min(loads, default=0)} to {max(loads, default=0)}.\n")
    print("## Against the bars\n")
    rows = [["what", "bar", "met", *subjects]]
    for case, (what, bar, test) in BARS.items():
        by = cases.get(case) or cases.get(f"{case} (SF10)") or {}
        ours = by.get("openduck")
        if not ours:
            continue
        met = "no" if "error" in ours or not test(ours, by) else "yes"
        rows.append([what, bar, met, *(figure(by[s]) if s in by else "" for s in subjects)])
    print(table(rows))
    print("\n" + report_split.section(everything, table))
    print("## Everything measured\n")
    rows = [["bench", "case", *subjects]]
    for case, by in cases.items():
        bench = next(iter(by.values()))["bench"]
        if bench != "features" or case == "cancel":
            rows.append([bench, case, *(figure(by[s]) if s in by else "" for s in subjects)])
    print(table(rows))
    features = {case: by for case, by in cases.items() if next(iter(by.values()))["bench"] == "features" and case != "cancel"}
    if features:
        print("\n## Statements through ATTACH\n")
        rows = [["statement", *subjects]]
        rows += [[case, *(("yes" if by[s].get("ok") else "no") if s in by else "" for s in subjects)]
                 for case, by in features.items()]
        rows.append(["accepted", *(str(sum(bool(by[s].get("ok")) for by in features.values() if s in by)) for s in subjects)])
        print(table(rows))


if __name__ == "__main__":
    main()
