#!/usr/bin/python3
"""Side by side: millrace, redis-server, memcached and the epoll floor under the same load (this is `make bench`).

Servers run on one core, the load generator on another. Within each round every server is measured once per case,
in an order that turns from round to round, so that what else the machine does strikes all alike; the table shows
medians.
Its main figure is requests per *server CPU second* (all processes of a server together), which does not depend on how
busy the machine is; requests per second and latency are shown beside it.
"""

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import time

from servers import BIN, KINDS, Missing, pinned

BENCH = os.path.join(BIN, "millrace-bench")
SERVER_CORE = 0
CLIENT_CORE = 1 if (os.cpu_count() or 1) > 1 else 0
KEYS = 100_000
VALUE_BYTES = 64
SEED = 1
PROFILE_SYMBOLS = 20
PROFILE_HERTZ = 997

# (command, pipeline depth, connections)
CASES = [(command, depth, clients) for command in ("get", "set") for depth in (1, 16) for clients in (1, 50)]


def case_name(case):
    return "{}:{}:{}".format(*case)


def say(text):
    print(text, file=sys.stderr, flush=True)


def parse_words():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5, help="measurements per server and case (default 5)")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (default 1)")
    parser.add_argument("--only", metavar="NAME,…", help="of the servers " + ",".join(KINDS))
    parser.add_argument("--cases", metavar="CASE,…", help="COMMAND:DEPTH:CONNECTIONS, such as get:16:50")
    parser.add_argument("--json", metavar="FILE", help="write all samples there")
    parser.add_argument("--profile", action="store_true",
                        help="instead: perf record millrace's processes at depth 1 and 16 and show the top symbols")
    words = parser.parse_args()
    words.only = words.only.split(",") if words.only else list(KINDS)
    words.chosen = [case for case in CASES if not words.cases or case_name(case) in words.cases.split(",")]
    unknown = [name for name in words.only if name not in KINDS]
    if unknown or not words.chosen or words.rounds < 1 or words.seconds <= 0:
        parser.error(f"no such server: {unknown[0]}" if unknown else "nothing to measure: see --help")
    return words


def bench_command(server, case, seconds):
    command, depth, clients = case
    return pinned(CLIENT_CORE, [BENCH, "--port", str(server.port), "--protocol", server.protocol, "--mix", command,
                                "--pipeline", str(depth), "--clients", str(clients), "--seconds", str(seconds),
                                "--keys", str(KEYS), "--value-size", str(VALUE_BYTES), "--seed", str(SEED),
                                "--json", "--quiet"])


def run_bench(server, case, seconds):
    done = subprocess.run(bench_command(server, case, seconds), capture_output=True, text=True, check=False)
    result = json.loads(done.stdout) if done.stdout.startswith("{") else {}
    if done.returncode != 0 or not result.get("replies"):
        reason = done.stderr.strip() or json.dumps(result.get("errors", {}))
        raise RuntimeError(f"{server.name} {case_name(case)}: {reason}")
    return result


def preload(server):
    words = bench_command(server, ("set", 64, 1), 0)
    words[words.index("--seconds"):words.index("--seconds") + 2] = ["--requests", str(KEYS), "--dist", "sequential"]
    subprocess.run(words, stdout=subprocess.DEVNULL, check=True)


def measure(server, case, seconds):
    before = server.cpu_seconds()
    result = run_bench(server, case, seconds)
    used = server.cpu_seconds() - before
    return {
        "server": server.name, "case": case_name(case), "replies": result["replies"], "cpu_seconds": used,
        "per_cpu_second": result["replies"] / used if used > 0 else 0.0,
        "per_second": result["requests_per_second"],
        "client_load": result["client_cpu_seconds"] / result["seconds"],
        "p50": result["latency_us"]["p50"], "p99": result["latency_us"]["p99"],
    }


def start_servers(names):
    """Those that can be started, each with all keys set. The caller stops them, whatever happens."""
    for name in names:
        server = KINDS[name](SERVER_CORE)
        try:
            server.start()
            preload(server)
            yield server
        except (Missing, subprocess.SubprocessError, OSError) as reason:
            say(f"without {name}: {reason}")
            server.stop()
        except BaseException:
            server.stop()
            raise


def run_rounds(servers, words):
    samples = []
    total = words.rounds * len(words.chosen)
    for round_number in range(words.rounds):
        for number, case in enumerate(words.chosen):
            say(f"round {round_number + 1} of {words.rounds}: {case_name(case)} "
                f"({round_number * len(words.chosen) + number + 1}/{total})")
            turn = (round_number + number) % len(servers)
            for server in servers[turn:] + servers[:turn]:
                try:
                    samples.append(measure(server, case, words.seconds))
                except RuntimeError as reason:
                    say(f"no sample: {reason}")
    return samples


def medians(samples):
    """{(server, case): {figure: median}}"""
    groups = {}
    for sample in samples:
        groups.setdefault((sample["server"], sample["case"]), []).append(sample)
    return {key: {figure: statistics.median(one[figure] for one in group)
                  for figure in ("per_cpu_second", "per_second", "client_load", "p50", "p99")}
            for key, group in groups.items()}


def throughput_cell(figures, name, case):
    mine, base = figures.get((name, case)), figures.get(("redis", case))
    if not mine:
        return "–"
    text = f"{mine['per_cpu_second'] / 1000:.0f}"
    if base and base["per_cpu_second"]:
        text += f" ({mine['per_cpu_second'] / base['per_cpu_second']:.2f}×)"
    return text


def latency_cell(figures, name, case):
    mine = figures.get((name, case))
    return f"{mine['per_second'] / 1000:.0f} k/s, {mine['p50']:.0f} / {mine['p99']:.0f}" if mine else "–"


def table(title, figures, names, cases, cell):
    lines = [title, "", "| command | depth | connections | " + " | ".join(names) + " |",
             "|---|---:|---:|" + "---:|" * len(names)]
    for case in cases:
        cells = [cell(figures, name, case_name(case)) for name in names]
        lines.append(f"| {case[0].upper()} | {case[1]} | {case[2]} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def report(samples, names, words):
    figures = medians(samples)
    setting = (f"medians of {words.rounds} rounds of {words.seconds:g} s, {KEYS} keys, {VALUE_BYTES}-byte values, "
               f"server on core {SERVER_CORE}, client on core {CLIENT_CORE}")
    print(table(f"Thousand requests per server CPU second (× Redis); {setting}:", figures, names, words.chosen,
                throughput_cell))
    print(table("Requests per second of the clock, and latency p50 / p99 in microseconds, of the same runs:", figures,
                names, words.chosen, latency_cell))
    if words.json:
        with open(words.json, "w") as file:
            json.dump({"setting": setting, "samples": samples,
                       "medians": [{"server": key[0], "case": key[1], **value} for key, value in figures.items()]},
                      file, indent=1)


def record(server, pid, case, seconds):
    """perf's report on one process while it is under this load."""
    data = os.path.join(server.folder, f"perf-{pid}.data")
    load = subprocess.Popen(bench_command(server, case, seconds + 1), stdout=subprocess.DEVNULL)
    try:
        recorded = subprocess.run(["perf", "record", "-g", "-e", "cpu-clock", "-F", str(PROFILE_HERTZ),
                                   "-p", str(pid), "-o", data, "--", "sleep", str(seconds)],
                                  capture_output=True, text=True, check=False)
    finally:
        load.terminate()
        load.wait()
    if recorded.returncode != 0 or not os.path.exists(data):
        return "perf record failed: " + (recorded.stderr.strip().splitlines() or ["no reason given"])[-1]
    shown = subprocess.run(["perf", "report", "-i", data, "--stdio", "--no-children", "-g", "none",
                            "-s", "dso,symbol"], capture_output=True, text=True, check=False)
    lines = [line.rstrip(" -") for line in shown.stdout.splitlines() if line.strip() and not line.startswith("#")]
    return "\n".join(lines[:PROFILE_SYMBOLS])


def profile(server, seconds):
    if not shutil.which("perf"):
        say("perf is not installed (apt-get install linux-perf): no profile")
        return
    for case in (("get", 1, 50), ("set", 1, 50), ("get", 16, 50), ("set", 16, 50)):
        for pid, role in server.pids().items():
            if role in ("md", "io_conn", server.name):
                print(f"== {role} under {case_name(case)}\n{record(server, pid, case, seconds)}\n", flush=True)


def end_on_signal(_number, _frame):
    raise KeyboardInterrupt


def main():
    words = parse_words()
    if not os.path.exists(BENCH):
        say(f"compare.py: {BENCH} is not built: run make first")
        return 1
    signal.signal(signal.SIGTERM, end_on_signal)
    servers = []
    try:
        # One by one into the list, so that an interruption finds all of them there.
        for server in start_servers(["millrace"] if words.profile and len(words.only) > 1 else words.only):
            servers.append(server)
        if not servers:
            say("compare.py: no server could be started")
            return 1
        if words.profile:
            for server in servers:
                profile(server, words.seconds)
        else:
            time.sleep(0.5)  # start-up work of the last one
            report(run_rounds(servers, words), [server.name for server in servers], words)
        return 0
    except KeyboardInterrupt:
        say("\ninterrupted: ending the servers")
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        for server in servers:
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
