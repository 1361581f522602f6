"""Benches of the server's behaviour: memory under a slow client, work after a cancel or a lost client, kept writes."""
import subprocess
import sys
import threading
import time

from machine import cpu_of, short

SLOW = """
import sys, time
sys.path.insert(0, {here!r})
from subjects import SUBJECTS
con = SUBJECTS[{subject!r}].connect({spec!r}).con
reader = con.execute("SELECT l.* FROM r.lineitem l, range(10)").to_arrow_reader(20_000)
print("first", reader.read_next_batch().num_rows, flush=True)
for batch in reader:
    time.sleep({pause})
"""


def resident_of(pid):
    for line in open(f"/proc/{pid}/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0


def child_reader(c, pause):
    here = __file__.rpartition("/")[0]
    text = SLOW.format(here=here, subject=c.subject.name, spec=c.spec, pause=pause)
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)


def memory(c):
    """60 M rows on their way to a client that reads 20,000 rows every 50 ms: the server's memory above idle."""
    pid = c.spec["server_pid"]
    idle = peak = resident_of(pid)
    reader = child_reader(c, 0.05)
    reader.stdout.readline()
    end = time.monotonic() + 20
    while time.monotonic() < end and reader.poll() is None:
        peak = max(peak, resident_of(pid))
        time.sleep(0.1)
    reader.kill()
    reader.wait()
    yield {"case": "slow client", "idle_mib": idle, "above_idle_mib": peak - idle}


def abandoned(c):
    """A client is killed in mid-result: the server's CPU from 100 ms later on (0.2 s grace for parking, then 3 s)."""
    pid = c.spec["server_pid"]
    reader = child_reader(c, 0.0)
    reader.stdout.readline()
    time.sleep(0.5)
    reader.kill()
    reader.wait()
    time.sleep(0.1)
    before = cpu_of(pid)
    time.sleep(3)
    yield {"case": "killed client", "server_cpu_s_in_next_3_s": cpu_of(pid) - before}


def kept(c):
    """8 clients insert 25 rows each at once, ten times over: every acknowledged row must be there."""
    c.remote.insert("CREATE TABLE {r}kept(id BIGINT)")
    acknowledged, errors = 0, []
    for turn in range(10):
        sessions = [c.new_client() for _ in range(8)]
        done = [0] * len(sessions)

        def work(me):
            for i in range(25):
                try:
                    sessions[me].insert(f"INSERT INTO {{r}}kept VALUES ({turn * 1000 + me * 100 + i})")
                    done[me] += 1
                except Exception as problem:
                    errors.append(short(problem))
        threads = [threading.Thread(target=work, args=(me,)) for me in range(len(sessions))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        acknowledged += sum(done)
    found = c.remote.rows("SELECT count(*), count(DISTINCT id) FROM {r}kept")[0]
    result = {"case": "concurrent inserts", "acknowledged": acknowledged, "rows": found[0], "distinct": found[1],
              "errors": len(errors)}
    yield result | ({"error": errors[0]} if errors else {})


SERVER_BENCHES = {"memory": memory, "abandoned": abandoned, "kept": kept}
