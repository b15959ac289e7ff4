#!/usr/bin/env python3
"""How late replies come while a store grows from empty: millrace and redis-server take the same inserts, one after the other.

    growth.py [--keys N] [--depth N] [--clients N,…]

Prints p99.99 and the worst latency of both for each number of connections, and the longest turn that md counted: its own CPU
time, which other processes do not lengthen, but a virtual machine's host does. `make bench-slices` measures without that.
"""

import argparse
import json
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from harness import PROGRAMS, Instance, Oracle      # noqa: E402
from wire import decode                             # noqa: E402


def insert(server, wanted, clients):
    """Latencies in microseconds of that many SETs of new keys."""
    ended = subprocess.run(
        [PROGRAMS / "millrace-bench", "--port", str(server.port), "--clients", str(clients), "--pipeline", str(wanted.depth),
         "--requests", str(wanted.keys), "--keys", str(wanted.keys), "--dist", "sequential", "--mix", "set=100", "--json", "--quiet"],
        capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise SystemExit("millrace-bench ended with %d: %s%s" % (ended.returncode, ended.stdout[-300:], ended.stderr[-300:]))
    return json.loads(ended.stdout)["latency_us"]


def measure(server, name, wanted, clients):
    latency = insert(server, wanted, clients)
    with server.wire() as wire:
        keys = int(decode(wire.command("DBSIZE")))
    print("%-9s %9d keys  %3d connections  p50 %7.0f us  p99 %7.0f us  p99.99 %7.0f us  worst %7.0f us" % (
        name, keys, clients, latency["p50"], latency["p99"], latency["p99.99"], latency["max"]), flush=True)


def longest_turn_us(instance):
    """Of all md processes that there are."""
    found = []

    def collect(value):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
            if key == "longest_turn_cpu_us":
                found.append(inner)
            collect(inner)

    collect(json.loads(instance.viewstats("--once", "--json")))
    return max(found)


def main():
    parser = argparse.ArgumentParser(description="latencies while a store grows from empty, beside redis-server")
    parser.add_argument("--keys", type=int, default=10_000_000)
    parser.add_argument("--depth", type=int, default=16)
    parser.add_argument("--clients", default="1,50", help="numbers of connections, a run for each (default 1,50)")
    wanted = parser.parse_args()
    for clients in [int(number) for number in wanted.clients.split(",")]:
        for name, kind in (("redis", Oracle), ("millrace", Instance)):
            server = kind()
            try:
                measure(server, name, wanted, clients)
                if name == "millrace":
                    print("md's longest turn: %d us of CPU" % longest_turn_us(server), flush=True)
            finally:
                server.stop()


if __name__ == "__main__":
    main()
