#!/usr/bin/env python3
"""What reads that do not need md are worth: their rate while md is stopped or dead, and their answers while hot keys are written.

    direct_reads.py [--seconds S] [--reads N]

First the rate of GETs (hits, misses, expired keys) and MGETs on two io_conn: with md running, with md stopped, with md killed and
nobody to take over for two seconds; each after the other and as ratios to the first. Then N reads of 100 hot keys beside a writer
that sets them as fast as it can, every answer looked at, and how many of them had to be tried again or went to md.
"""

import argparse
import os
import pathlib
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from h_takeover_test import md_pids             # noqa: E402
from harness import PROGRAMS, Instance, wait_for  # noqa: E402
from wire import encode                         # noqa: E402

HOT_KEYS = PROGRAMS.parent / "tests" / "hot_keys"
CONNECTIONS, BATCH, KEYS = 6, 64, 3000
ROUNDS = 3


class Load:
    """Connections that read in pipelines; `rate` of answers a second over a span."""

    def __init__(self, instance):
        names = ["key%d" % key for key in range(KEYS)]
        with instance.wire() as wire:
            for start in range(0, KEYS, 100):
                wire.command("MSET", *[word for name in names[start:start + 100] for word in (name, "v" * 64)])
            for key in range(100):
                wire.command("SET", "over%d" % key, "x", "PX", "1")
        kinds = [b"".join(encode("GET", names[(7 * i) % KEYS]) for i in range(BATCH)), b"".join(encode("GET", "none%d" % i) for i in range(BATCH)),
                 b"".join(encode("GET", "over%d" % i) for i in range(BATCH)), encode("MGET", *names[:BATCH])]
        sizes = [BATCH * len(b"$64\r\n%s\r\n" % (b"v" * 64)), BATCH * 5, BATCH * 5, len(b"*64\r\n") + BATCH * len(b"$64\r\n%s\r\n" % (b"v" * 64))]
        self.done, self.ended = [0] * CONNECTIONS, False
        self.threads = [threading.Thread(target=self.read, args=(index, instance.address, kinds, sizes), daemon=True) for index in range(CONNECTIONS)]
        for thread in self.threads:
            thread.start()

    def read(self, index, address, kinds, sizes):
        with socket.create_connection(address) as link:
            link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self.ended:
                for request, size in zip(kinds, sizes):
                    link.sendall(request)
                    while size > 0:
                        size -= len(link.recv(min(size, 65536)))
                    self.done[index] += BATCH

    def rate(self, seconds):
        before, began = sum(self.done), time.monotonic()
        time.sleep(seconds)
        return (sum(self.done) - before) / (time.monotonic() - began)


def without_md(seconds):
    instance = Instance(io=2, md_hang_timeout=0)
    try:
        load = Load(instance)
        load.rate(0.5)
        ratios = []
        for _ in range(ROUNDS):
            md, standby = wait_for(lambda: md_pids(instance), 20, "md and its standby")
            running = load.rate(seconds)
            os.kill(md, signal.SIGSTOP)
            with instance.wire(timeout=seconds + 20) as wire:
                wire.send(encode("SET", "written", "1"))
                stopped = load.rate(seconds)
                waited = wire.silent(0.01)
                os.kill(md, signal.SIGCONT)
                good = wire.reply() == b"+OK\r\n"
            supervisor = instance.status()["supervisor_pid"]
            os.kill(supervisor, signal.SIGSTOP)
            os.kill(standby, signal.SIGKILL)
            os.kill(md, signal.SIGKILL)
            dead = load.rate(2.0)
            os.kill(supervisor, signal.SIGCONT)
            ratios.append((running, stopped / running, dead / running))
            print("reads: %.0f a second; md stopped %.2f of that (a SET waited: %s, then succeeded: %s); md dead for 2 s %.2f" % (
                running, stopped / running, waited, good, dead / running), flush=True)
            wait_for(lambda: md_pids(instance), 20, "md and its standby")
        print("medians: md stopped %.2f, md dead %.2f" % (statistics.median(r[1] for r in ratios), statistics.median(r[2] for r in ratios)))
        load.ended = True
        for thread in load.threads:
            thread.join()
        instance.remember()
    finally:
        instance.stop()


def hot_keys(reads):
    instance = Instance(io=2)
    try:
        ended = subprocess.run([HOT_KEYS, str(instance.port), str(reads)], capture_output=True, text=True, check=False)
        print(ended.stdout.strip(), flush=True)
        total = sum(instance.counters("io_conn", "direct_reads"))
        retries, fallbacks = (sum(instance.counters("io_conn", name)) for name in ("direct_retries", "direct_fallbacks"))
        print("answered directly %d, tried again %d times (%.3f %%), handed to md %d (%.4f %%)" % (
            total, retries, 100 * retries / max(1, total), fallbacks, 100 * fallbacks / max(1, total)), flush=True)
        return ended.returncode
    finally:
        instance.stop()


def main():
    parser = argparse.ArgumentParser(description="what reads that do not need md are worth")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--reads", type=int, default=100_000_000)
    wanted = parser.parse_args()
    without_md(wanted.seconds)
    return hot_keys(wanted.reads)


if __name__ == "__main__":
    sys.exit(main())
