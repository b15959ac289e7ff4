#!/usr/bin/env python3
"""SCAN from its first call to its last one while other clients let the store grow to four times its keys and shrink again.

    scan_growth.py [--keys N] [--peak N] [--writers N] [--count N,…] [--redis]

Every key that was there all along has to be given; how many were given more than once is counted. The scan and the writers wait for
each other, so that one scan sees all of the growth and all of the shrinking: when it has half of the keys, the store is at its peak.
--redis does the same with redis-server. The exit status is 1 when a key is missing.
"""

import argparse
import collections
import multiprocessing
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from harness import Instance, Oracle, wait_for      # noqa: E402
from wire import Wire, decode, encode               # noqa: E402

BATCH = 500
SHARE_AHEAD = 0.02      # of the scan, by which the writers may be ahead of it, or it of them
SECONDS = 600

Figures = collections.namedtuple("Figures", "missing twice calls keys longest_ms peak left seconds")


def send_batch(wire, requests):
    wire.send(b"".join(requests))
    wire.replies(len(requests))


def fill(wire, name, numbers):
    for start in range(numbers.start, numbers.stop, BATCH):
        send_batch(wire, [encode("SET", b"%s:%d" % (name, number), "some value of a key") for number in range(start, min(start + BATCH, numbers.stop))])


def write(address, writer, numbers, turns, scanned):
    """Sets its keys, then deletes them: turns[writer] goes from 0 to 1 while the store grows, and to 2 while it shrinks."""
    batches = [range(start, min(start + BATCH, numbers.stop)) for start in range(numbers.start, numbers.stop, BATCH)]
    with Wire(address) as wire:
        for done in range(2 * len(batches)):
            wait_for(lambda turn=done / len(batches): turn <= scanned.value + 2 * SHARE_AHEAD, SECONDS, "the scan to get on")
            some = batches[done % len(batches)]
            verb = ["SET", "DEL"][done // len(batches)]
            send_batch(wire, [encode(verb, b"comes:%d" % number, *(["some value of a key"] if verb == "SET" else [])) for number in some])
            turns[writer] = (done + 1) / len(batches)


def scan(wire, stable, count, turns, scanned):
    """(how often each stable key was given, calls, keys, longest call in seconds, most keys in the store)."""
    seen, given, calls, keys, longest, peak, cursor = bytearray(stable), 0, 0, 0, 0.0, 0, b"0"
    while True:
        wait_for(lambda: min(turns) >= min(2.0, scanned.value) - 2 * SHARE_AHEAD, SECONDS, "the writers to get on")
        began = time.monotonic()
        cursor, some = decode(wire.command("SCAN", cursor, "COUNT", count))
        longest = max(longest, time.monotonic() - began)
        calls, keys = calls + 1, keys + len(some)
        for key in some:
            if key.startswith(b"stays:"):
                number = int(key[6:])
                given += not seen[number]
                seen[number] = min(255, seen[number] + 1)
        scanned.value = 2 * given / stable
        if calls % 50 == 0:
            peak = max(peak, decode(wire.command("DBSIZE")))
        if cursor == b"0":
            return seen, calls, keys, longest, peak


def measure(address, stable, peak, count=100, writers=2):
    """Figures of one scan. The store is left as it was but for the stable keys."""
    turns, scanned = multiprocessing.Array("d", writers), multiprocessing.Value("d", 0.0)
    share = (peak - stable) // writers
    clients = [multiprocessing.Process(target=write, args=(address, writer, range(writer * share, (writer + 1) * share), turns, scanned)) for writer in range(writers)]
    with Wire(address) as wire:
        fill(wire, b"stays", range(stable))
        began = time.monotonic()
        try:
            for client in clients:
                client.start()
            seen, calls, keys, longest, most = scan(wire, stable, count, turns, scanned)
            scanned.value = 2.0
            for client in clients:
                client.join(SECONDS)
        finally:
            for client in clients:
                if client.is_alive():
                    client.kill()
        left = decode(wire.command("DBSIZE")) - stable
    return Figures(seen.count(0), stable - seen.count(0) - seen.count(1), calls, keys, longest * 1000, most, left, time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description="SCAN while the store grows and shrinks")
    parser.add_argument("--keys", type=int, default=1_000_000, help="that are there all along (%(default)s)")
    parser.add_argument("--peak", type=int, default=4_000_000, help="keys at the peak (%(default)s)")
    parser.add_argument("--writers", type=int, default=2)
    parser.add_argument("--count", default="10,100,1000", help="COUNT, a scan for each (%(default)s)")
    parser.add_argument("--redis", action="store_true", help="redis-server as well")
    wanted = parser.parse_args()
    wrong = 0
    for name, kind in (("millrace", Instance), ("redis", Oracle))[:2 if wanted.redis else 1]:
        server = kind()
        try:
            for count in [int(number) for number in wanted.count.split(",")]:
                found = measure(server.address, wanted.keys, wanted.peak, count, wanted.writers)
                print("%-8s COUNT %5d: %d keys all along, %d at the peak, %d left over; %d calls gave %d keys, %d of the %d twice or more, %d missing; "
                      "longest call %.1f ms, %.0f s" % (name, count, wanted.keys, found.peak, found.left, found.calls, found.keys, found.twice, wanted.keys,
                                                        found.missing, found.longest_ms, found.seconds), flush=True)
                wrong += found.missing
        finally:
            server.stop()
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
