#!/usr/bin/env python3
"""Hit ratios of a cache at a tenth of its data, beside redis-server: the same keys in the same order to both.

    hit_ratio.py [--keys N] [--requests N] [--seeds N] [--policies a,b] [--mixes a,b]

A client reads keys and puts in what it misses (GET; SET after a miss). Mixes: zipf0.9 and zipf1.1 draw keys of N by rank; `scan` draws
three of four requests from zipf0.9, and reads all keys in order with the others. maxmemory of each server is a tenth of
what it takes for all N keys, so both have room for about as many; `--equal-bytes` gives millrace Redis's maxmemory instead.
The first third of the requests fills the cache and does not count. Printed: hit ratio in percent, mean over the seeds.
"""

import argparse
import itertools
import pathlib
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from harness import Instance, free_port, wait_for      # noqa: E402

VALUE = b"v" * 64
BATCH = 64
SCAN_SHARE = 0.25


def key(number):
    return b"key:%012d" % number


class Link:
    """A connection; replies are counted by what they look like."""

    def __init__(self, address):
        self.socket = socket.create_connection(address)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def ask(self, *words):
        self.socket.sendall(b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words))
        return self.receive_until(lambda data: data.endswith(b"\r\n"))

    def receive_until(self, complete):
        data = b""
        while not complete(data):
            piece = self.socket.recv(1 << 18)
            if not piece:
                raise SystemExit("the server closed the connection")
            data += piece
        return data

    def hits(self, numbers):
        """Reads the keys; a list of which were there."""
        self.socket.sendall(b"".join(b"*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n" % key(number) for number in numbers))
        hit, miss = len(b"$64\r\n") + len(VALUE) + 2, len(b"$-1\r\n")
        found, data, at = [], b"", 0
        while len(found) < len(numbers):
            data += self.socket.recv(1 << 18)
            while len(found) < len(numbers):
                there = data[at:at + 2] == b"$6"
                end = at + (hit if there else miss)
                if len(data) < max(end, at + 2):
                    break
                found.append(there)
                at = end
        return found

    def put(self, numbers):
        self.socket.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$64\r\n%s\r\n" % (key(number), VALUE) for number in numbers))
        replies = self.receive_until(lambda data: data.count(b"\r\n") >= len(numbers))
        if replies != b"+OK\r\n" * len(numbers):
            raise SystemExit("a SET was answered with %r" % replies[:200])

    def used(self):
        info = self.receive_info()
        return int(info.split(b"used_memory:")[1].split(b"\r\n")[0])

    def receive_info(self):
        self.socket.sendall(b"*2\r\n$4\r\nINFO\r\n$6\r\nmemory\r\n")
        return self.receive_until(lambda data: b"\r\n" in data and len(data) >= int(data[1:data.index(b"\r\n")]) + data.index(b"\r\n") + 4)


class Redis:
    def __init__(self):
        self.folder = tempfile.mkdtemp()
        self.address = ("127.0.0.1", free_port())
        self.process = subprocess.Popen(["redis-server", "--port", str(self.address[1]), "--save", "", "--dir", self.folder],
                                        executable=shutil.which("redis-check-rdb"), stdout=subprocess.DEVNULL)
        wait_for(lambda: socket.create_connection(self.address), 10, "redis-server")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)


class Zipf:
    """Ranks by their cumulated weights; which key has which rank is shuffled."""

    def __init__(self, keys, exponent, seed):
        self.dice = random.Random(seed)
        self.numbers = list(range(keys))
        self.dice.shuffle(self.numbers)
        self.cumulated = list(itertools.accumulate((rank + 1) ** -exponent for rank in range(keys)))

    def draw(self, count):
        return self.dice.choices(self.numbers, cum_weights=self.cumulated, k=count)


def requests(mix, keys, count, seed):
    """Batches of key numbers."""
    zipf = Zipf(keys, 1.1 if mix == "zipf1.1" else 0.9, seed)
    dice, scanned = random.Random(seed + 1000), 0
    for _ in range(0, count, BATCH):
        batch = zipf.draw(BATCH)
        if mix == "scan":
            for place in range(BATCH):
                if dice.random() < SCAN_SHARE:
                    batch[place] = scanned % keys
                    scanned += 1
        yield batch


def run(link, mix, keys, count, seed):
    hits = asked = done = 0
    for batch in requests(mix, keys, count, seed):
        found = link.hits(batch)
        missing = {number for number, there in zip(batch, found) if not there}
        if missing:
            link.put(sorted(missing))
        done += len(batch)
        if done > count // 3:
            hits += sum(found)
            asked += len(batch)
    return 100 * hits / asked


def used_for_all(link, keys):
    link.ask(b"CONFIG", b"SET", b"maxmemory-policy", b"allkeys-lru", b"maxmemory", b"0")     # with what the policy itself needs
    link.ask(b"FLUSHALL")
    time.sleep(0.5)
    empty = link.used()
    for start in range(0, keys, 1000):
        link.put(range(start, min(keys, start + 1000)))
    time.sleep(0.3)     # millrace's gauges
    full = link.used()
    link.ask(b"FLUSHALL")
    return empty, full


def main():
    parser = argparse.ArgumentParser(description="hit ratios beside redis-server")
    parser.add_argument("--keys", type=int, default=200_000)
    parser.add_argument("--requests", type=int, default=1_200_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--policies", default="allkeys-lru,allkeys-lfu")
    parser.add_argument("--mixes", default="zipf0.9,zipf1.1,scan")
    parser.add_argument("--equal-bytes", action="store_true")
    wanted = parser.parse_args()
    redis, millrace = Redis(), Instance(io=1)
    try:
        links = {"redis": Link(redis.address), "millrace": Link(millrace.address)}
        limits = {}
        for name, link in links.items():
            empty, full = used_for_all(link, wanted.keys)
            limits[name] = empty + (full - empty) // 10
            print("%-9s %d keys take %.1f MB, maxmemory %.2f MB" % (name, wanted.keys, (full - empty) / 1e6, limits[name] / 1e6))
        if wanted.equal_bytes:
            limits["millrace"] = limits["redis"]
        for policy in wanted.policies.split(","):
            for mix in wanted.mixes.split(","):
                ratios = {name: [] for name in links}
                kept = {}
                for seed in range(wanted.seeds):
                    for name, link in links.items():
                        link.ask(b"CONFIG", b"SET", b"maxmemory", b"%d" % limits[name], b"maxmemory-policy", policy.encode())
                        link.ask(b"FLUSHALL")
                        time.sleep(0.3)
                        ratios[name].append(run(link, mix, wanted.keys, wanted.requests, seed))
                        kept[name] = int(link.ask(b"DBSIZE")[1:])
                mean = {name: sum(values) / len(values) for name, values in ratios.items()}
                print("%-12s %-8s redis %6.2f (%d keys)   millrace %6.2f (%d keys)   difference %+.2f   by seed %s" % (
                    policy, mix, mean["redis"], kept["redis"], mean["millrace"], kept["millrace"], mean["millrace"] - mean["redis"],
                    " ".join("%+.2f" % (ours - theirs) for ours, theirs in zip(ratios["millrace"], ratios["redis"]))), flush=True)
    finally:
        millrace.stop()
        redis.stop()


if __name__ == "__main__":
    main()
