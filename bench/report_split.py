"""The part of RESULTS.md about TPC-H split over this side and a server (split.py)."""

NETWORK_BARS = {"auto_to_best": 1.0, "worst": 2.0}
LOCAL_TO_AUTO = ("split 100 Mbit/s, 20 ms", 2.0)
TEXT_BAR, PLANNING_BAR_MS = 1.05, 2.0
SLOW = 1.25   # pairs beyond are listed


def of_split(result):
    return result.get("bench") == "split"


def judged(text, met):
    return text if met else f"**{text}**"


def section(results, table):
    """Markdown of the results of this bench; nothing without any. Figures beyond their bars are bold."""
    ours = [result for result in results if of_split(result)]
    networks = [result for result in ours if "auto_to_best" in result]
    if not networks:
        return ""
    slow = sorted((r for r in ours if r["case"] == "split pair" and "error" not in r), reverse=True,
                  key=lambda r: r["auto_s"] / min(r["local_s"], r["remote_s"]))
    lines = ["## TPC-H with its tables on both sides\n",
             "Each of 20 drawn splits puts some of the eight tables on the server, the others into the client's file; a pair is a",
             "query with a split in which it reads both. The better of forced local (all pulled) and forced remote (all pushed that",
             "can be) is compared with the default (auto); the best of up to three runs of each in turns, what takes five times as",
             "long as auto is stopped. All shares the same processors, so a server costs more here than a machine of its own.\n"]
    rows = [["network", "pairs", "answers", "auto / better of both (<= 1.00)", "worst (<= 2)", "local / auto (>= 2 at 100 Mbit/s)",
             "remote / auto", "auto's bytes / least of the three", "seconds of auto, local, remote", "stopped"]]
    for r in networks:
        gains = r["case"] != LOCAL_TO_AUTO[0] or r["local_to_auto"] >= LOCAL_TO_AUTO[1]
        rows.append([r["case"].removeprefix("split "), str(r["pairs"]), "all right" if r["right"] else "**WRONG**",
                     judged(f"{r['auto_to_best']:.2f}", r["auto_to_best"] <= NETWORK_BARS["auto_to_best"]),
                     judged(f"{r['worst']:.2f} ({r['worst_pair']})", r["worst"] <= NETWORK_BARS["worst"]),
                     judged(f"{r['local_to_auto']:.2f}", gains), f"{r['remote_to_auto']:.2f}",
                     f"{r['bytes_to_least']:.2f}", f"{r['auto_s']:.1f}, {r['local_s']:.1f}, {r['remote_s']:.1f}",
                     str(r["stopped"])])
    lines += [table(rows), ""]
    for r in ours:
        if r["case"] == "wholly remote":
            lines.append("Wholly remote, the 22 queries: " + judged(f"{r['ratio_to_text']:.2f}x", r["ratio_to_text"] <= TEXT_BAR)
                         + f" of the same SQL sent as text (bar {TEXT_BAR}x).")
        elif r["case"] == "planning":
            lines.append("Planning query 8 (eight tables, four of them remote): "
                         + judged(f"{r['overhead_ms']:.1f} ms", r["overhead_ms"] <= PLANNING_BAR_MS)
                         + f" beyond the same over local tables (bar {PLANNING_BAR_MS:.0f} ms).")
        elif "error" in r:
            lines.append(f"{r.get('pair', r['case'])}: **{r['error'][:100]}**")
    beyond = [r for r in slow if r["auto_s"] / min(r["local_s"], r["remote_s"]) > SLOW][:12]
    if beyond:
        rows = [["network", "pair", "remote tables", "auto s (MB)", "local s (MB)", "remote s (MB)"]]
        for r in beyond:
            rows.append([r["network"], r["pair"], r["remote"].replace(",", ", ")] + [
                f"{r[p + '_s']:.2f}{'+' if p in r['stopped'] else ''} ({r[p + '_bytes'] / 1e6:.1f})" for p in ("auto", "local", "remote")])
        lines += [f"\nThe pairs in which auto took more than {SLOW} times the better one (a dozen at most):\n", table(rows)]
    return "\n".join(lines) + "\n"
