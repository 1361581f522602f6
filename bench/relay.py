"""A link of some rate and delay in front of a TCP port: python relay.py PORT MBIT_PER_S ROUND_TRIP_MS

Prints the port it listens on, and for each line read from standard input the bytes carried so far, as "DOWN UP" (down: from
the target). Ends with its standard input. All connections share the link, each direction has the whole rate; half of the
round trip passes on each way. At most 50 ms worth of bytes, or 64 KiB, wait in front of the link, as in a router's queue.
"""
import collections
import socket
import sys
import threading
import time

QUEUE_S = 0.05
PIECE = 64 << 10


class Direction:
    """One way of the link: when a piece that is handed to it will have come out at the other end."""

    def __init__(self, bytes_per_s, delay_s):
        self.bytes_per_s, self.delay_s = bytes_per_s, delay_s
        self.lock = threading.Lock()
        self.free_at = 0.0
        self.carried = 0

    def take(self, size):
        with self.lock:
            now = time.monotonic()
            self.free_at = max(self.free_at, now) + size / self.bytes_per_s
            self.carried += size
            wait = self.free_at - now - max(QUEUE_S, PIECE / self.bytes_per_s)
            arrives = self.free_at + self.delay_s
        if wait > 0:
            time.sleep(wait)   # the sender sees the queue full
        return arrives


def carry(source, sink, direction):
    """Reads pieces and hands each on when it has arrived: two threads, so that pieces are under way at the same time."""
    under_way = collections.deque()
    there = threading.Semaphore(0)

    def deliver():
        while True:
            there.acquire()
            arrives, data = under_way.popleft()
            wait = arrives - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            try:
                if not data:
                    sink.shutdown(socket.SHUT_WR)
                    return
                sink.sendall(data)
            except OSError:
                source.close()
                return
    threading.Thread(target=deliver, daemon=True).start()
    while True:
        try:
            data = source.recv(PIECE)
        except OSError:
            data = b""
        under_way.append((direction.take(len(data)), data))
        there.release()
        if not data:
            return


def main():
    port, bytes_per_s, delay_s = int(sys.argv[1]), float(sys.argv[2]) * 1e6 / 8, float(sys.argv[3]) / 2000
    down, up = Direction(bytes_per_s, delay_s), Direction(bytes_per_s, delay_s)
    listener = socket.create_server(("127.0.0.1", 0))

    def accept():
        while True:
            client, _ = listener.accept()
            server = socket.create_connection(("127.0.0.1", port))
            for end in (client, server):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for way in ((client, server, up), (server, client, down)):
                threading.Thread(target=carry, args=way, daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    for _ in sys.stdin:
        print(down.carried, up.carried, flush=True)


if __name__ == "__main__":
    main()
