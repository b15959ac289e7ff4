#!/usr/bin/env python3
"""millrace and redis-server with the same promises about the disk, on the same file system, side by side.

    durability.py [--rounds N] [--keys N] [--folder DIR] [--cases POLICY:DEPTH:CONNECTIONS,...] [PART...]

Parts: throughput (SET per second of the clock, appendfsync everysec and always), snapshot (latency of writes at a fixed rate while a snapshot is
written, and memory then), stall (the log's process stopped for 3 s), load (time to start from a snapshot and a log). Without any: all.
DIR is where the servers keep their files; no file system in memory. Servers are pinned to core 0, the client to core 1; but while they load, when nobody
asks for anything, they have both, and their files are in the kernel's cache.
"""

import argparse
import json
import os
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tools" / "bench"))

import servers as base                                  # noqa: E402
from compare import BENCH, CLIENT_CORE, SERVER_CORE     # noqa: E402

SNAPSHOT_RATE = 20_000
BOTH_CORES = "%s,%s" % (SERVER_CORE, CLIENT_CORE)


class Redis(base.Redis):
    def __init__(self, core, **settings):
        super().__init__(core)
        self.settings = settings

    def command(self):
        words, program = super().command()
        for name, value in self.settings.items():
            words += ["--" + name.replace("_", "-"), value]
        return words, program

    def restart(self):
        """Ends it with all on disk, and starts it again; seconds until it serves."""
        self.cli("SHUTDOWN")
        self.process.wait(120)
        read_files(self)
        began = time.monotonic()
        self.start()
        wait_loaded(self)
        return time.monotonic() - began

    def cli(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *words], capture_output=True, text=True, check=False, timeout=300).stdout.strip()


class Millrace(base.Millrace):
    def __init__(self, core, **settings):
        super().__init__(core)
        self.settings = settings

    def start(self):
        words = []
        for name, value in {"appendonly": "no", "save": "", **self.settings}.items():
            words += ["--set", "%s=%s" % (name.replace("_", "-"), value)]
        done = self.call("start", "--port", str(self.port), "--io", "1", *words, "--daemon")
        if done.returncode != 0:
            raise base.Missing(done.stderr.strip())
        base.wait_until(lambda: base.accepts(self.port), 20, "millrace does not listen")

    def restart(self):
        self.call("stop")
        read_files(self)
        began = time.monotonic()
        self.start()
        wait_loaded(self)
        return time.monotonic() - began

    cli = Redis.cli


def read_files(server):
    """Into the kernel's cache."""
    for path in pathlib.Path(server.folder).rglob("*"):
        if path.is_file() and "shm" not in path.parts:
            with open(path, "rb") as file:
                while file.read(1 << 20):
                    pass


def wait_loaded(server):
    base.wait_until(lambda: server.cli("PING") == "PONG", 300, "%s does not load" % server.name)


def bench(server, *words):
    command = [BENCH, "--port", str(server.port), "--keys", str(ARGS.keys), "--value-size", "64", "--seed", "7", "--json", "--quiet", *map(str, words)]
    done = subprocess.run(base.pinned(CLIENT_CORE, command), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit("%s: %s%s" % (server.name, done.stdout[:300], done.stderr[:300]))
    return json.loads(done.stdout)


def both(**settings):
    started = []
    for kind in (Redis, Millrace):
        server = kind(SERVER_CORE, **settings)
        server.start()
        started.append(server)
    return started


def end(started):
    for server in started:
        server.stop()


def disk_line():
    with tempfile.NamedTemporaryFile(dir=ARGS.folder) as file:
        times = []
        for _ in range(200):
            os.write(file.fileno(), b"x" * 4096)
            began = time.perf_counter()
            os.fdatasync(file.fileno())
            times.append((time.perf_counter() - began) * 1e6)
    kind = subprocess.run(["stat", "-f", "-c", "%T", ARGS.folder], capture_output=True, text=True, check=False).stdout.strip()
    print("file system %s, fdatasync of 4 KiB: p50 %.0f us, p99 %.0f us" % (kind, statistics.median(times), sorted(times)[197]))


def throughput():
    cases = [(policy, int(depth), int(clients)) for policy, depth, clients in (case.split(":") for case in ARGS.cases.split(","))]
    for policy in dict.fromkeys(case[0] for case in cases):
        started = both(appendonly="yes", appendfsync=policy, auto_aof_rewrite_percentage="0")
        try:
            for server in started:
                bench(server, "--mix", "set", "-P", 64, "-c", 1, "--requests", ARGS.keys, "--dist", "sequential")
            for _, depth, clients in [case for case in cases if case[0] == policy]:
                figures = {server.name: [] for server in started}
                cpu = {server.name: [] for server in started}
                for number in range(ARGS.rounds):
                    for server in started[::1 if number % 2 else -1]:
                        before = server.cpu_seconds()
                        result = bench(server, "--mix", "set", "-P", depth, "-c", clients, "--seconds", 2)
                        figures[server.name].append(result["requests_per_second"])
                        cpu[server.name].append(result["replies"] / max(1e-9, server.cpu_seconds() - before))
                ratio = statistics.median(mine / theirs for mine, theirs in zip(figures["millrace"], figures["redis"]))
                per_cpu = statistics.median(cpu["millrace"]) / statistics.median(cpu["redis"])
                print("SET %-8s depth %2d, %2d connections: redis %8.0f/s, millrace %8.0f/s, ratio %.2f (a CPU second %.2f)" % (
                    policy, depth, clients, statistics.median(figures["redis"]), statistics.median(figures["millrace"]), ratio, per_cpu), flush=True)
        finally:
            end(started)


def memory_of(server):
    """RssAnon of all processes, with children, and shared memory, bytes."""
    total = 0
    pids = set(server.pids())
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            status = dict(line.split(":", 1) for line in open("/proc/%s/status" % name).read().splitlines() if ":" in line)
            if int(name) in pids or int(status["PPid"]) in pids:
                total += int(status.get("RssAnon", "0").split()[0]) * 1024
        except (OSError, KeyError, ValueError):
            continue
    shm = os.path.join(server.folder, "run", "shm")
    if os.path.exists(shm):
        total += sum(os.stat(os.path.join(shm, name)).st_blocks * 512 for name in os.listdir(shm))
    return total


def saving(server):
    text = server.cli("INFO", "persistence")
    return "rdb_bgsave_in_progress:1" in text


def snapshot():
    """2 million keys of 1 KB; writes at a fixed rate (latency), then at full load (memory)."""
    for server in (Redis(SERVER_CORE), Millrace(SERVER_CORE)):
        server.start()
        try:
            bench(server, "--mix", "set", "-P", 64, "-c", 4, "--requests", ARGS.big_keys, "--keys", ARGS.big_keys, "--value-size", 1024, "--dist", "sequential")
            load = ["--mix", "set", "--keys", ARGS.big_keys, "--value-size", 1024, "-c", 50]
            quiet = bench(server, *load, "--rate", SNAPSHOT_RATE, "--seconds", 5)
            before = memory_of(server)
            results, peak = [], before
            worker = threading.Thread(target=lambda: results.append(bench(server, *load, "--rate", SNAPSHOT_RATE, "--seconds", ARGS.save_seconds)))
            worker.start()
            time.sleep(0.5)
            began = time.monotonic()
            server.cli("BGSAVE")
            took = None
            while worker.is_alive():
                time.sleep(0.05)
                if took is None and not saving(server):
                    took = time.monotonic() - began
            worker.join()
            with_save = results.pop()["latency_us"]
            worker = threading.Thread(target=lambda: results.append(bench(server, *load, "-P", 16, "--seconds", ARGS.save_seconds)))
            worker.start()
            time.sleep(0.5)
            before = memory_of(server)
            server.cli("BGSAVE")
            while worker.is_alive():
                peak = max(peak, memory_of(server))
                time.sleep(0.05)
            worker.join()
            print("%s: writes at %d/s: p99.9 %.0f us without, %.0f us with a snapshot (p99 %.0f, worst %.0f), which took %s s; memory %.0f MB, at most %.0f MB while one is written under full load: %+.1f %%" % (
                server.name, SNAPSHOT_RATE, quiet["latency_us"]["p99.9"], with_save["p99.9"], with_save["p99"], with_save["max"], "%.1f" % took if took else "more than all",
                before / 1e6, peak / 1e6, 100 * (peak - before) / before), flush=True)
        finally:
            server.stop()


def stall():
    """md_log stopped for 3 s under everysec, while others read and write."""
    server = Millrace(SERVER_CORE, appendonly="yes")
    server.start()
    try:
        bench(server, "--mix", "set", "-P", 64, "-c", 1, "--requests", ARGS.keys, "--dist", "sequential")
        log = [process["pid"] for process in json.loads(server.call("status", "--json").stdout)["processes"] if process["role"] == "md_log"][0]
        def reads_beside_writes(stopped):
            """GET at a fixed rate for 3 s, while INCRs go on for 5 s."""
            results, writes = [], []
            readers = threading.Thread(target=lambda: results.append(bench(server, "--mix", "get", "-c", 20, "--rate", 10_000, "--seconds", 3)))
            writer = threading.Thread(target=lambda: writes.append(bench(server, "--mix", "incr", "-c", 20, "-P", 4, "--seconds", 5, "--timeout", 30)))
            if stopped:
                os.kill(log, signal.SIGSTOP)
            try:
                readers.start()
                writer.start()
                time.sleep(3)
            finally:
                os.kill(log, signal.SIGCONT)
            readers.join()
            writer.join()
            return results[0]["latency_us"]["p99"], writes[0]

        before, _ = reads_beside_writes(False)
        meanwhile, written = reads_beside_writes(True)
        print("md_log stopped for 3 s, with INCRs: GET p99 %.0f us, and %.0f us with md_log; INCR: %d answered, worst %.2f s" % (
            meanwhile, before, written["replies"], written["latency_us"]["max"] / 1e6), flush=True)
    finally:
        server.stop()


def load():
    figures = {}
    for server in (Redis(BOTH_CORES), Millrace(BOTH_CORES)):
        server.start()
        try:
            bench(server, "--mix", "set", "-P", 64, "-c", 4, "--requests", ARGS.big_keys, "--keys", ARGS.big_keys, "--value-size", 1024, "--dist", "sequential")
            server.cli("SAVE")
            gb = ARGS.big_keys * (1024 + 20) / 1e9
            seconds = [server.restart() for _ in range(3)]
            figures[server.name] = gb / statistics.median(seconds)
            print("%s: %.2f GB of keys and values from a snapshot: %s s, %.2f GB a second" % (server.name, gb, ["%.2f" % each for each in seconds], figures[server.name]), flush=True)
            if server.name == "millrace":
                began = time.monotonic()
                server.call("restart")
                print("millrace restart (the segment is kept): %.2f s" % (time.monotonic() - began))
        finally:
            server.stop()
    print("ratio %.2f" % (figures["millrace"] / figures["redis"]))


PARTS = {"throughput": throughput, "snapshot": snapshot, "stall": stall, "load": load}

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="millrace and redis-server with the same promises about the disk")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--keys", type=int, default=100_000)
    parser.add_argument("--big-keys", type=int, default=2_000_000)
    parser.add_argument("--save-seconds", type=int, default=30)
    parser.add_argument("--cases", default="everysec:16:50,everysec:1:50,everysec:16:1,everysec:1:1,always:1:50,always:16:50,always:1:1")
    parser.add_argument("--folder", default=tempfile.gettempdir())
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS])
    ARGS = parser.parse_args()
    tempfile.tempdir = ARGS.folder
    disk_line()
    for part in ARGS.parts or PARTS:
        PARTS[part]()
