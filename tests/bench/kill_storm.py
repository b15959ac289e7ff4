#!/usr/bin/env python3
"""Kills md again and again under a load of which every reply is checked, and prints how long clients had to wait.

    kill_storm.py [--kills N] [--double N] [--keys N] [--value BYTES] [--connections N] [--think MS]

First the store is filled with --keys keys. Then --kills times, each once `status` shows a standby: the serving md gets SIGKILL;
then --double times md and standby together. A kill's pause is the longest time of any client's batch that waits at some moment of
the 50 ms after it, to its end. The machine has pauses of its own; so the same is measured without a kill just before, and both
again for 250 ms, where the chance to meet one of the machine's is five times as great. Any error, closed connection or wrong
reply ends it with status 1.
"""

import argparse
import os
import pathlib
import signal
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from h_takeover_test import Storm, md_pids      # noqa: E402
from harness import Instance, wait_for          # noqa: E402

NEAR_S, SPAN_S = 0.05, 0.25
GOAL_MS = 10
BATCH = 200


def fill(address, keys, value_bytes):
    value = b"v" * value_bytes
    with socket.create_connection(address) as link:
        for start in range(0, keys, BATCH):
            count = min(BATCH, keys - start)
            link.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\nf%015d\r\n$%d\r\n%s\r\n" % (key, value_bytes, value)
                                  for key in range(start, start + count)))
            left = 5 * count
            while left > 0:
                left -= len(link.recv(min(left, 65536)))


def line(name, pauses):
    pauses = sorted(pauses)
    over = sum(pause > GOAL_MS for pause in pauses)
    return "%-30s %4d times: median %7.2f ms, p99 %7.2f ms, worst %7.2f ms, %.1f %% over %d ms" % (
        name, len(pauses), pauses[len(pauses) // 2], pauses[min(len(pauses) - 1, int(len(pauses) * 0.99))], pauses[-1],
        100 * over / len(pauses), GOAL_MS)


def longest_waits(storm):
    """The longest wait near this moment, and in the whole span, milliseconds."""
    time.sleep(NEAR_S)
    near = storm.longest_ms()
    time.sleep(SPAN_S - NEAR_S)
    later = storm.longest_ms()
    return (near if near < 1000 * NEAR_S else max(near, later)), max(near, later)


def rounds(instance, storm, count, victims):
    """Pauses without and with kills, in turn, and the times until the next standby stood by, all in milliseconds."""
    without, pauses, standby = [], [], []
    killed_at = None
    for number in range(count):
        pids = wait_for(lambda: md_pids(instance), 30, "md and its standby before kill %d" % number)
        if killed_at is not None:
            standby.append((time.monotonic() - killed_at) * 1000)
        storm.longest_ms()
        without.append(longest_waits(storm))
        killed_at = time.monotonic()
        for pid in pids[:victims]:
            os.kill(pid, signal.SIGKILL)
        pauses.append(longest_waits(storm))
    return without, pauses, standby


def print_pauses(name, pauses):
    print(line(name, [near for near, _ in pauses]))
    print(line("    within 250 ms", [whole for _, whole in pauses]))


def main():
    parser = argparse.ArgumentParser(description="kills md under load and prints the clients' pauses")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--double", type=int, default=20)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--value", type=int, default=64)
    parser.add_argument("--connections", type=int, default=50)
    parser.add_argument("--think", type=float, default=10, help="milliseconds from a reply to the next batch of a connection")
    wanted = parser.parse_args()
    instance = Instance(io=2)
    try:
        fill(instance.address, wanted.keys, wanted.value)
        stored = (instance.shm_folder() / "store").stat().st_blocks * 512
        time.sleep(2)       # for the standby to have all of it mapped
        with Storm(instance.port, wanted.connections, int(wanted.think * 1000)) as storm:
            without, pauses, standby = rounds(instance, storm, wanted.kills, 1)
            both_without, both, _ = rounds(instance, storm, wanted.double, 2) if wanted.double else ([], [], [])
            done = storm.end()
        with instance.wire() as wire:
            total = int(wire.command("GET", "total").split(b"\r\n")[1])
        print("%.0f MB of store, %d connections, %d commands, every reply right; counter %d of %d" % (
            stored / 1e6, wanted.connections, done["commands"], total, done["total"]))
        print_pauses("without a kill", without + both_without)
        print_pauses("md killed", pauses)
        if both:
            print_pauses("md and standby killed", both)
        if standby:
            print("the next standby was up after %.0f ms (median; the supervisor waits for up to a second when md dies often)" % sorted(standby)[len(standby) // 2])
        if total != done["total"]:
            raise SystemExit("the counter is wrong")
        checked = instance.control("check")
        print([text for text in checked.stdout.splitlines() if " store: " in text][0])
    finally:
        instance.control("stop")
        instance.destroy()


if __name__ == "__main__":
    main()
