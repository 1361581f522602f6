"""The machine under a benchmark: a private loopback, CPU seconds, memory, ports; and the arithmetic of results."""
import ctypes
import fcntl
import os
import socket
import statistics
import struct
import time
from pathlib import Path

HOME = Path(os.environ.get("OPENDUCK_BENCH_HOME", "~/.cache/openduck-bench")).expanduser()
TOKEN = "bench-token"


def private_loopback():
    """Give this process and its children a loopback of their own, so that the
    byte counts are exact. Needs root; False where it cannot be had."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):   # CLONE_NEWNET
        return False
    up, get, put = 1, 0x8913, 0x8914   # IFF_UP, SIOCGIFFLAGS, SIOCSIFFLAGS
    with socket.socket() as s:
        request = fcntl.ioctl(s, get, struct.pack("16sh22x", b"lo", 0))
        name, flags = struct.unpack("16sh22x", request)
        fcntl.ioctl(s, put, struct.pack("16sh22x", name, flags | up))
    return True


def loopback():
    for line in Path("/proc/net/dev").read_text().splitlines():
        name, _, rest = line.strip().partition(":")
        if name == "lo":
            return int(rest.split()[0])
    return 0


def cpu_of(pid):
    if not pid:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_of(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) // 1024
    return 0


def middle(values):
    return statistics.median(values)


def short(problem):
    return " ".join(f"{type(problem).__name__}: {problem}".split())[:300]


def plain(value):
    if isinstance(value, (int, float)) or type(value).__name__ == "Decimal":
        return float(value)
    return str(value)


def same(got, want):
    """Equal as bags of rows, numbers within one in a million."""
    if len(got) != len(want):
        return False
    bags = [sorted(([plain(v) for v in row] for row in side), key=lambda r: [
        f"{v:.4g}" if isinstance(v, float) else v for v in r]) for side in (got, want)]
    return all(a == b or (isinstance(a, float) and isinstance(b, float)
                          and abs(a - b) <= 1e-6 * max(abs(a), abs(b)))
               for x, y in zip(*bags) for a, b in zip(x, y))


def rounded(result):
    return {k: round(v, 4) if isinstance(v, float) else v for k, v in result.items()}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def await_port(port, server, limit=30):
    end = time.monotonic() + limit
    while time.monotonic() < end:
        if server.poll() is not None:
            raise RuntimeError(f"server ended with {server.returncode}")
        with socket.socket() as s:
            if s.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise RuntimeError("server did not listen")
