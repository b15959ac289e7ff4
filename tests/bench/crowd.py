#!/usr/bin/env python3
"""A crowd: thousands of connections with a request a second each, millrace and redis-server one after the other.

    crowd.py [--connections N] [--seconds S] [--rounds N] [--io N]

Every answer is looked at. Printed for each: how late answers come, and what a connection takes of the server's memory: private memory
(RssAnon of all processes) and shared memory (blocks of the instance's folder), with all connections there and served, less what there was
before, over connections; and the same once they have gone. Exit status 1 if an answer is wrong or missing.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from harness import PROGRAMS, Instance, Oracle, wait_for      # noqa: E402

BENCH = PROGRAMS / "millrace-bench"
SETTLE_S = 1.5


def private_bytes(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as status:
        return int(re.search(r"^RssAnon:\s+(\d+) kB", status.read(), re.MULTILINE).group(1)) * 1024


def taken(server):
    """(private, shared) bytes of a server."""
    if isinstance(server, Oracle):
        return private_bytes(server.process.pid), 0
    shared = sum(entry.stat().st_blocks * 512 for entry in os.scandir(server.shm_folder()))
    return sum(private_bytes(pid) for pid in server.pids()), shared


def clients(server):
    with server.wire() as wire:
        return int(re.search(rb"connected_clients:(\d+)", wire.command("INFO", "clients")).group(1)) - 1


def measure(name, server, arguments):
    """One round; gives (bytes a connection, p99 in ms, failures)."""
    words = [str(BENCH), "-p", str(server.port), "--scenario", "crowd", "-c", str(arguments.connections), "--rate", str(arguments.connections),
             "--seconds", str(arguments.seconds), "--verify", "--preload", "-r", "100000", "--seed", "7", "--json", "-q"]
    clients(server)     # so that what a first client takes is there
    warm = subprocess.run([str(BENCH), "-p", str(server.port), "-r", "100000", "--preload", "-n", "1000", "--seed", "7", "-q", "--json"], capture_output=True, text=True, check=True)
    assert json.loads(warm.stdout)
    time.sleep(SETTLE_S)
    before = taken(server)
    run = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    wait_for(lambda: clients(server) >= arguments.connections, 60, "all connections")
    time.sleep(arguments.seconds * 0.6)
    during = taken(server)
    result = json.loads(run.communicate()[0])
    wait_for(lambda: clients(server) == 0, 30, "all connections to go")
    time.sleep(SETTLE_S)
    after = taken(server)
    parts = [(now - then) / arguments.connections for now, then in zip(during, before)]
    left = [(now - then) / 1024 for now, then in zip(after, before)]
    latency = result["latency_us"]
    failures = result["errors"]["total"] + result["lost"] + result["unsent"] + result["misses"] + (result["connected"] != arguments.connections)
    print("%-9s %d connections, %d requests: p50 %.2f, p99 %.2f, worst %.1f ms; %.0f bytes a connection (%.0f private, %.0f shared); %.0f KiB private and %.0f KiB "
          "shared left when they had gone; %d failures" % (name, arguments.connections, result["replies"], latency["p50"] / 1000, latency["p99"] / 1000, latency["max"] / 1000,
                                                           sum(parts), *parts, *left, failures), flush=True)
    return sum(parts), latency["p99"] / 1000, failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=10_000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--io", type=int, default=2)
    arguments = parser.parse_args()
    failures = 0
    for _ in range(arguments.rounds):
        for name in ("redis", "millrace"):
            settings = {"maxclients": arguments.connections + 100}
            server = Oracle(**settings) if name == "redis" else Instance(io=arguments.io, **settings)
            try:
                failures += measure(name, server, arguments)[2]
            finally:
                server.stop()
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
