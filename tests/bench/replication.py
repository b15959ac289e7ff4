#!/usr/bin/env python3
"""millrace and redis-server with replicas, side by side.

    replication.py [--rounds N] [--rate N] [--clients N] [--seconds S] [--gigabytes G] [--folder DIR] [PART...]

Parts: cpu (processor time of the master for a million SETs at a fixed rate with one replica), sync (latency of writes at a fixed rate at a master with
three replicas, and while one of them gets all data anew). Without any: both. Masters are pinned to core 0, replicas and the client to core 1; ratios
count, absolute times do not.
"""

import argparse
import pathlib
import statistics
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "bench"))

import durability as base                                # noqa: E402
from compare import CLIENT_CORE, SERVER_CORE             # noqa: E402


def linked(server):
    return "master_link_status:up" in server.cli("INFO", "replication")


def with_replicas(kind, count):
    """A master and its replicas, linked."""
    master = kind(SERVER_CORE)
    master.start()
    replicas = []
    for _ in range(count):
        replica = kind(CLIENT_CORE, replicaof="127.0.0.1 %d" % master.port)
        replica.start()
        replicas.append(replica)
    for replica in replicas:
        base.base.wait_until(lambda replica=replica: linked(replica), 120, "%s's replica is not linked" % master.name)
    return master, replicas


def end(servers):
    for server in servers:
        server.stop()


def cpu():
    """CPU seconds a million SETs."""
    figures = {"redis": [], "millrace": []}
    for number in range(ARGS.rounds):
        for kind in (base.Redis, base.Millrace)[::1 if number % 2 else -1]:
            master, replicas = with_replicas(kind, 1)
            try:
                load = ["--mix", "set", "-c", ARGS.clients, "--rate", ARGS.rate]
                base.bench(master, *load, "--seconds", 2)
                before = master.cpu_seconds()
                done = base.bench(master, *load, "--seconds", ARGS.seconds)["replies"]
                figures[master.name].append((master.cpu_seconds() - before) * 1e6 / done)
            finally:
                end([master] + replicas)
    redis, millrace = (statistics.median(figures[name]) for name in ("redis", "millrace"))
    print("master with one replica, %d SETs a second from %d clients: redis %.2f CPU seconds a million, millrace %.2f, ratio %.2f" % (ARGS.rate, ARGS.clients, redis, millrace, redis / millrace), flush=True)


def sync():
    """p99 of writes in steady state with three replicas, and while one of them is sent all data."""
    keys = int(ARGS.gigabytes * 1e9 / 1044)
    master, replicas = with_replicas(base.Millrace, 3)
    try:
        base.bench(master, "--mix", "set", "-P", 64, "-c", 4, "--requests", keys, "--keys", keys, "--value-size", 1024, "--dist", "sequential")
        base.base.wait_until(lambda: all("lag=0" in line or "lag=1" in line for line in master.cli("INFO", "replication").splitlines() if line.startswith("slave")), 120, "the replicas lag")
        load = ["--mix", "set", "--keys", keys, "--value-size", 64, "-c", 20, "--rate", 5000, "--seconds", ARGS.seconds]
        steady, during = [], []
        for _ in range(ARGS.rounds):
            steady.append(base.bench(master, *load)["latency_us"]["p99"])
            before = int(next(line for line in master.cli("INFO", "stats").splitlines() if line.startswith("sync_full")).split(":")[1])
            replica = replicas[0]
            replica.cli("REPLICAOF", "NO", "ONE")
            replica.cli("FLUSHALL")
            results = []
            worker = threading.Thread(target=lambda: results.append(base.bench(master, *load)))
            worker.start()
            time.sleep(0.3)
            replica.cli("REPLICAOF", "127.0.0.1", str(master.port))
            worker.join()
            during.append(results[0]["latency_us"]["p99"])
            base.base.wait_until(lambda: linked(replica), 120, "the replica is not linked")
            after = int(next(line for line in master.cli("INFO", "stats").splitlines() if line.startswith("sync_full")).split(":")[1])
            if after != before + 1:
                raise SystemExit("there was no full sync")
        ratios = [one / other for one, other in zip(during, steady)]
        print("%.1f GB, three replicas, 5000 SETs a second: p99 %.0f us in steady state, %.0f us during a full sync, ratio %.2f" % (
            ARGS.gigabytes, statistics.median(steady), statistics.median(during), statistics.median(ratios)), flush=True)
    finally:
        end([master] + replicas)


PARTS = {"cpu": cpu, "sync": sync}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="millrace and redis-server with replicas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--clients", type=int, default=50, help="of the part cpu")
    parser.add_argument("--seconds", type=int, default=8)
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    ARGS = parser.parse_args()
    tempfile.tempdir = ARGS.folder
    base.ARGS = argparse.Namespace(keys=100_000)
    for part in ARGS.parts or PARTS:
        PARTS[part]()
