#!/usr/bin/python3
"""Slow readers beside working clients: what 180 connections do while 20 others were asked for 100 MB each and never read,
as a share of what they do beside 20 idle ones; and how much memory the group takes for it.

Both kinds of neighbours are measured in turn, several rounds, server and client on a core each; the median ratio counts.
Prints a line a round and the verdict; exit status 1 when the share is below 90 % or the memory above 100 MB.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
MILLRACE = os.path.join(ROOT, "tools", "millrace")
BENCH = os.path.join(os.environ.get("MILLRACE_BIN", os.path.join(ROOT, "build", "bin")), "millrace-bench")
VALUE_BYTES = 1_000_000
SLOW, WORKING, GETS = 20, 180, 100
SHARE_MIN, MEMORY_MAX_MB = 0.90, 100


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def request(*words):
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in words)


def memory_mb(folder):
    """Private memory of all processes of the group and the blocks of its segments."""
    status = json.loads(subprocess.check_output([MILLRACE, "status", "--dir", folder, "--json"]))
    kilobytes = 0
    for process in status["processes"]:
        with open("/proc/%d/status" % process["pid"], encoding="ascii") as lines:
            kilobytes += sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon"))
    shared = os.path.realpath(os.path.join(folder, "run", "shm"))
    blocks = sum(os.stat(os.path.join(shared, name)).st_blocks for name in os.listdir(shared))
    return kilobytes / 1024 + blocks * 512 / (1 << 20)


def connections(port, greedy):
    """SLOW connections; greedy ones ask for 100 values of a megabyte (half of them with one MGET) and never read."""
    result = []
    for index in range(SLOW):
        client = socket.create_connection(("127.0.0.1", port))
        if greedy:
            client.sendall(request(b"MGET", *[b"large"] * GETS) if index % 2 else request(b"GET", b"large") * GETS)
        result.append(client)
    return result


def rate(port, seconds):
    command = ["taskset", "-c", "1", BENCH, "--port", str(port), "--clients", str(WORKING), "--pipeline", "4", "--seconds",
               str(seconds), "--mix", "get=80,set=20", "--keys", "10000", "--quiet", "--json"]
    report = json.loads(subprocess.check_output(command))
    return report["requests_per_second"]


def measure(port, folder, options):
    shares, growth = [], []
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(request(b"SET", b"large", b"x" * VALUE_BYTES))
        assert client.recv(16) == b"+OK\r\n"
    rate(port, options.seconds)  # warms everything up
    for number in range(1, options.rounds + 1):
        idle = connections(port, greedy=False)
        beside_idle = rate(port, options.seconds)
        before = memory_mb(folder)
        for client in idle:
            client.close()
        greedy = connections(port, greedy=True)
        beside_greedy = rate(port, options.seconds)
        growth.append(memory_mb(folder) - before)
        for client in greedy:
            client.close()
        shares.append(beside_greedy / beside_idle)
        print("round %d: %d requests/s beside idle ones, %d beside slow readers: %.1f %%; memory %+.1f MB" % (
            number, beside_idle, beside_greedy, 100 * shares[-1], growth[-1]), flush=True)
    return statistics.median(shares), max(growth)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--io", type=int, default=2)
    options = parser.parse_args()
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="millrace slow ") as folder:
        subprocess.run(["taskset", "-c", "0", MILLRACE, "start", "--dir", folder, "--port", str(port), "--io",
                        str(options.io), "--daemon"], check=True, stdout=subprocess.DEVNULL)
        try:
            share, growth = measure(port, folder, options)
        finally:
            subprocess.run([MILLRACE, "stop", "--dir", folder], check=True, stdout=subprocess.DEVNULL)
    good = share >= SHARE_MIN and growth <= MEMORY_MAX_MB
    print("%s: median share %.1f %% (at least %d %%), memory at most %+.1f MB (limit %d MB)" % (
        "PASS" if good else "FAIL", 100 * share, 100 * SHARE_MIN, growth, MEMORY_MAX_MB))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
