"""The score: what is counted, and how faults are grouped."""

import collections
import re


def directory_of(name):
    parts = name.split("/")[2:-1]  # test/sql/<directory>/...
    return "/".join(parts[:2]) if parts[0] == "function" and len(parts) > 1 else parts[0]


WRITES = re.compile(
    r"^\s*(CREATE(?!\s+(OR\s+REPLACE\s+)?(LOCAL\s+)?TEMP)|INSERT|UPDATE|DELETE|ALTER|DROP|MERGE|TRUNCATE|COPY\s+\w+\s+FROM)\b",
    re.IGNORECASE | re.MULTILINE,
)


def touches_catalog(path):
    """Whether a file creates or changes anything in the attached database (else it only computes)."""
    with open(path, encoding="utf-8", errors="replace") as file:
        return WRITES.search(file.read()) is not None


def group_of(record):
    if record["status"] in ("setup", "crash"):
        return "%s: %s" % (record["status"], record["reason"][:100])
    fault = record.get("fault")
    if record["status"] == "timeout":
        return "timeout" + (" after: " + fault["kind"] if fault else "")
    text = fault["detail"]
    if fault["kind"] == "wrong result":
        explain = re.match(r"\s*EXPLAIN\b", fault["sql"], re.IGNORECASE)
        return "wrong result: plan text of EXPLAIN" if explain else "wrong result"
    if fault["kind"] in ("wrong result: row count", "error expected, none came"):
        return fault["kind"]
    if fault["kind"] == "other error than expected":
        text = text.split(", expected ")[0]
    text = re.split(r"\s*(?:LINE \d+:|Candidate (?:bindings|tables|functions):|Did you mean)", text)[0]
    text = re.sub(r"'[^']*'|\"[^\"]*\"", "X", text)
    text = re.sub(r"\b(0x)?[0-9a-f]{8,}\b|\d+", "N", text)
    return "%s: %s" % (fault["kind"], text[:110])


def is_silent(record):
    """Worse than a refusal: the caller cannot tell. Plan text of EXPLAIN may differ and does not count here."""
    fault = record.get("fault") or {}
    silent = fault.get("kind") in ("wrong result", "wrong result: row count", "error expected, none came")
    return silent and not re.match(r"\s*EXPLAIN\b", fault["sql"], re.IGNORECASE)


def percent(part, whole):
    return "%5.1f %%" % (100.0 * part / whole) if whole else "      -"


def report(names, native, subject, options):
    """The score as text. Files that native DuckDB does not pass do not exist here."""
    counted = [name for name in names if native[name]["status"] == "pass" and native[name]["ok"]]
    table, touching = collections.defaultdict(lambda: [0, 0, 0, 0]), [0, 0, 0, 0]
    total, groups = [0, 0, 0, 0], collections.defaultdict(list)
    for name in counted:
        mine, statements = subject[name], native[name]["ok"]
        row = [1, mine["status"] == "pass", statements, min(mine["ok"], statements)]
        sums = [table[directory_of(name)], total] + ([touching] if native[name]["touches"] else [])
        for target in sums:
            target[:] = [a + b for a, b in zip(target, row)]
        if mine["status"] != "pass":
            groups[group_of(mine)].append(name)
    lines = ["%-22s %6s %6s %8s   %10s %10s %8s" % ("directory", "native", "passed", "files", "statements", "passed", "")]
    whole = sorted(table.items()) + [("files that write", touching), ("all", total)]
    for key, (files, passed, statements, good) in whole:
        lines.append("%-22s %6d %6d %8s   %10d %10d %8s" % (
            key, files, passed, percent(passed, files), statements, good, percent(good, statements)))
    lines += ["", "first fault per file, grouped (top %d of %d groups)" % (min(options.top, len(groups)), len(groups))]
    ranked = sorted(groups.items(), key=lambda item: (-len(item[1]), item[0]))
    for text, files in ranked[: options.top]:
        lines.append("%5d  %s" % (len(files), text))
        lines.append("       e.g. %s" % files[0])
    silent = [name for name in counted if is_silent(subject[name])]
    lines += ["", "silent differences (first fault is a wrong result, or no error where one is due): %d files" % len(silent)]
    lines += ["       " + name for name in silent]
    broken = [name for name in counted if subject[name]["status"] == "setup"]
    if broken:
        lines += ["", "WARNING: %d files failed in setup, e.g. %s: %s" % (
            len(broken), broken[0], subject[broken[0]]["reason"])]
    return "\n".join(lines)
