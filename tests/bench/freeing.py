#!/usr/bin/env python3
"""What freeing much at once costs: DEL, overwrite and FLUSHALL of many gigabytes of keys, and of one value of 512 MB.

    freeing.py [--gigabytes N] [--value BYTES]

For each case the store is filled, then another client measures its own latency (a SET and a GET at a time, every half
millisecond) before and during the case. Printed: how long the freeing commands took, until when the memory was back with the
system, and the p99 of the other client: with nobody else, where many commands free beside as many commands of the same kind
that free nothing, and during the case.
"""

import argparse
import multiprocessing
import pathlib
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from harness import Instance, wait_for      # noqa: E402

PAUSE_S = 0.0005
CALM_S = 3.0
LARGE_BYTES = 512 * 1024 * 1024 - 1024
KEYS_PER_DEL = 100
LARGE_TIMES = 20


class Prober:
    """A client that measures how long its own requests take, in a process of its own."""

    def __init__(self, instance):
        self.ours, theirs = multiprocessing.Pipe()
        self.process = multiprocessing.Process(target=self.run, args=(instance.address, theirs), daemon=True)
        self.process.start()

    @staticmethod
    def run(address, pipe):
        link = socket.create_connection(address)
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        waits = []
        while True:
            began = time.perf_counter()
            link.sendall(b"*3\r\n$3\r\nSET\r\n$5\r\nprobe\r\n$1\r\n1\r\n*2\r\n$3\r\nGET\r\n$5\r\nprobe\r\n")
            receive(link, len(b"+OK\r\n$1\r\n1\r\n"))
            waits.append(time.perf_counter() - began)
            if pipe.poll():
                pipe.recv()
                pipe.send(waits)
                waits = []
            time.sleep(PAUSE_S)

    def take(self):
        """What was measured since the last call, seconds."""
        self.ours.send(None)
        return self.ours.recv()

    def end(self):
        self.process.kill()
        self.process.join()


def receive(link, count):
    while count > 0:
        piece = link.recv(min(count, 1 << 20))
        if not piece:
            raise SystemExit("the server closed a connection")
        count -= len(piece)


def command(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def send(link, requests, reply_bytes):
    """Seconds until all replies were there."""
    began = time.perf_counter()
    link.sendall(requests)
    receive(link, reply_bytes)
    return time.perf_counter() - began


def fill(link, keys, value):
    batch = 64
    for start in range(0, keys, batch):
        names = range(start, min(keys, start + batch))
        send(link, b"".join(command(b"SET", b"key:%012d" % key, value) for key in names), 5 * len(names))


def delete_all(link, keys):
    worst = 0.0
    for start in range(0, keys, KEYS_PER_DEL):
        names = [b"key:%012d" % key for key in range(start, min(keys, start + KEYS_PER_DEL))]
        worst = max(worst, send(link, command(b"DEL", *names), len(b":%d\r\n" % len(names))))
    return "%d DELs of %d keys, the slowest %.1f ms" % (-(-keys // KEYS_PER_DEL), KEYS_PER_DEL, worst * 1e3)


def overwrite_all(link, keys):
    worst = 0.0
    for key in range(keys):
        worst = max(worst, send(link, command(b"SET", b"key:%012d" % key, b"short"), 5))
    return "%d SETs, the slowest %.1f ms" % (keys, worst * 1e3)


def one(link, *words):
    return "%.2f ms" % (send(link, command(*words), 5 if words[0] != b"DEL" else 4) * 1e3)


def for_a_while(link, reply_bytes, *words):
    until = time.monotonic() + CALM_S
    while time.monotonic() < until:
        send(link, command(*words), reply_bytes)


def taken(instance):
    return sum(path.stat().st_blocks for path in instance.shm_folder().iterdir()) * 512


def free_once(instance, link, free, empty, full):
    """What `free` says, and the seconds until it was answered and until the memory was back."""
    began = time.perf_counter()
    what = free(link)
    answered = time.perf_counter() - began
    goal = empty + (full - empty) // 20
    wait_for(lambda: taken(instance) < goal, 120, "the memory to be given back")
    return what, answered, time.perf_counter() - began


def p99(waits):
    return sorted(waits)[int(len(waits) * 0.99)] * 1e3


def case(name, prepare, free, busy=None, times=1):
    """One case on an instance of its own. `busy` sends for a while what is like `free` and frees nothing. What is over soon is
    done several times, for enough of the other client's measurements."""
    instance = Instance(io=2, proto_max_bulk_len="512mb")
    try:
        with socket.create_connection(instance.address) as link:
            empty = taken(instance)
            prepare(link)
            full = taken(instance)
            prober = Prober(instance)
            time.sleep(CALM_S)
            measured = [prober.take()]
            if busy:
                busy(link)
                measured.append(prober.take())
            during, back = [], 0.0
            for turn in range(times):
                if turn != 0:
                    prepare(link)
                    prober.take()
                what, answered, seconds = free_once(instance, link, free, empty, full)
                during += prober.take()
                back = max(back, seconds)
            prober.end()
        measured.append(during)
        print("%-30s %6.0f MB: %s; answered in %.3f s, memory back after %.2f s; others' p99 %s ms, worst %s ms" % (
            name, (full - empty) / 1e6, what, answered, back, " -> ".join("%.2f" % p99(waits) for waits in measured),
            " -> ".join("%.2f" % (max(waits) * 1e3) for waits in measured)), flush=True)
    finally:
        instance.stop()


def main():
    parser = argparse.ArgumentParser(description="what freeing much memory at once costs")
    parser.add_argument("--gigabytes", type=float, default=10)
    parser.add_argument("--value", type=int, default=10_000, help="bytes of a value (default 10000)")
    wanted = parser.parse_args()
    value = b"v" * wanted.value
    keys = int(wanted.gigabytes * 1e9 / (wanted.value + 16))
    large = b"l" * LARGE_BYTES

    hundred = [b"none:%011d" % key for key in range(KEYS_PER_DEL)]

    def prepare_many(link):
        fill(link, keys, value)

    def prepare_large(link):
        send(link, command(b"SET", b"large", large), 5)

    case("FLUSHALL of many keys", prepare_many, lambda link: one(link, b"FLUSHALL"))
    case("DEL of many keys", prepare_many, lambda link: delete_all(link, keys), lambda link: for_a_while(link, 4, b"EXISTS", *hundred))
    case("many keys overwritten", prepare_many, lambda link: overwrite_all(link, keys), lambda link: for_a_while(link, 5, b"SET", b"other", b"short"))
    case("FLUSHALL of one large value", prepare_large, lambda link: one(link, b"FLUSHALL"), times=LARGE_TIMES)
    case("DEL of one large value", prepare_large, lambda link: one(link, b"DEL", b"large"), times=LARGE_TIMES)
    case("one large value overwritten", prepare_large, lambda link: one(link, b"SET", b"large", b"short"), times=LARGE_TIMES)


if __name__ == "__main__":
    main()
