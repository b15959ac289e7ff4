#!/usr/bin/env python3
"""A group that is left alone for long among bad luck: random kills, stops, scales, changed options, hostile clients, and load.

    group_soak.py [--seconds S] [--seed N] [--connections N]

Counting clients check every reply all the time (tests/process/counting_load.py). One after the other come acts of a seeded random choice: a
process, a pair, the supervisor or everything gets SIGKILL; a process is stopped for a while; the number of io_conn changes; options are set;
strangers send garbage, half requests, or never read. Between acts the group has to become whole again. Now and then it is brought to the same
state - two io_conn, nothing but the load - and what it takes of memory and descriptors is noted (without what each process keeps of slow
commands, which fills up to a bound). At the end: `millrace check` is clean, every
counter is exact, and the notes of the last third are not above those of the first. Exit status 1 otherwise.
"""

import argparse
import os
import pathlib
import random
import re
import signal
import socket
import statistics
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from counting_load import CountingLoad      # noqa: E402
from harness import Instance, all_up, is_alive, wait_for      # noqa: E402
from wire import encode      # noqa: E402

WHOLE_S = 20
NOTE_EVERY_S = 15
MEMORY_SLACK = 1.10         # of the last third over the first
DESCRIPTOR_SLACK = 2        # descriptors
FILL_KEYS, FILL_BYTES = 20_000, 500


class Soak:
    def __init__(self, arguments):
        self.random = random.Random(arguments.seed)
        self.until = time.monotonic() + arguments.seconds
        self.instance = Instance(io=2, drain_timeout=3, md_hang_timeout=2, io_conn_hang_timeout=3, maxclients=3000, maxmemory="1gb", enable_debug_command="yes")
        self.load = CountingLoad(self.instance.address, arguments.connections)
        self.sockets = []       # hostile clients that stay
        self.acts = {}
        self.notes = []
        self.hurt = 0

    # --- acts -------------------------------------------------------------------------------------------------------

    def processes(self):
        return [each for each in self.instance.processes() if each["pid"]]

    def kill_one(self):
        self.kill([self.random.choice(self.processes())["pid"]])

    def kill_two(self):
        self.kill([each["pid"] for each in self.random.sample(self.processes(), 2)])

    def kill_md(self):
        self.kill([each["pid"] for each in self.processes() if each["role"] == "md"])

    def kill_supervisor(self):
        self.kill([self.instance.status()["supervisor_pid"]])
        self.start()

    def kill_supervisor_and_some(self):
        self.kill([self.instance.status()["supervisor_pid"]] + [each["pid"] for each in self.random.sample(self.processes(), 2)])
        self.start()

    def kill_everything(self):
        self.kill([self.instance.status()["supervisor_pid"]] + [each["pid"] for each in self.processes()])
        self.start()

    def kill(self, pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        wait_for(lambda: not any(is_alive(pid) for pid in pids), 20, "deaths")

    def start(self):
        started = self.instance.control("start", *self.instance.start_arguments())
        assert started.returncode == 0, started.stderr

    def stop_one(self):
        pid = self.random.choice(self.processes())["pid"]
        os.kill(pid, signal.SIGSTOP)
        time.sleep(self.random.choice((0.05, 0.5, 1.5, 4.5)))       # the last one is beyond the hang timeouts
        try:
            os.kill(pid, signal.SIGCONT)
        except ProcessLookupError:
            pass

    def scale(self):
        scaled = self.instance.control("scale", str(self.random.randint(1, 6)))
        assert scaled.returncode == 0 or "places for io_conn are free" in scaled.stderr, scaled.stderr

    def restart(self):
        restarted = self.instance.control("restart")
        assert restarted.returncode == 0, restarted.stderr

    def set_options(self):
        name, values = self.random.choice((("loglevel", ("notice", "warning", "verbose")), ("maxclients", ("3000", "2500")), ("timeout", ("0", "300")),
                                           ("maxmemory", ("1gb", "2gb")), ("md-hang-timeout", ("2", "3")), ("slowlog-log-slower-than", ("0", "10000", "-1")),
                                           ("latency-monitor-threshold", ("0", "1"))))
        self.say(("CONFIG", "SET", name, self.random.choice(values)), b"+OK\r\n")

    def rewrite(self):
        self.say(("CONFIG", "REWRITE"), b"+OK\r\n")

    def look(self):
        for words in (("INFO", "everything"), ("CLIENT", "LIST"), ("SLOWLOG", "GET"), ("MEMORY", "STATS"), ("COMMAND", "DOCS")):
            with self.instance.wire() as wire:
                wire.command(*words)
        self.instance.viewstats("--once", "--json")

    def kill_clients(self):
        with self.instance.wire() as wire:
            wire.command("CLIENT", "KILL", "TYPE", "normal")

    def pause(self):
        self.say(("CLIENT", "PAUSE", "300", self.random.choice(("WRITE", "ALL"))), b"+OK\r\n")

    def fill(self):
        """Keys come, some with an expiry, and go."""
        with self.instance.wire() as wire:
            for start in range(0, FILL_KEYS, 500):
                wire.send(b"".join(encode("SET", "fill%d" % key, "x" * self.random.randint(1, FILL_BYTES), "PX", str(self.random.randint(1, 5000)))
                                   for key in range(start, start + 500)))
                wire.replies(500)

    def large(self):
        with self.instance.wire() as wire:
            wire.command("SET", "large", "x" * 900_000), wire.command("APPEND", "large", "y" * 900_000), wire.command("GET", "large"), wire.command("DEL", "large")

    def garbage(self):
        for _ in range(self.random.randint(1, 40)):
            self.hostile(self.random.choice((
                self.random.randbytes(self.random.randint(1, 20_000)), b"*1000000\r\n$1\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$900000\r\n" + b"x" * 1000, b"*-5\r\n$-1\r\n",
                b"GET / HTTP/1.1\r\n\r\n", encode("SET", "h", "1") * 500, encode("MULTI") + encode("INCR", "hm") * 100 + b"*1\r\n$4\r\nEX", b"*2\r\n$3\r\nGET\r\n$99999999999\r\n",
                encode("EVAL", "return 1", "0") * 10, b"\r\n" * 1000)), stays=self.random.random() < 0.3)

    def never_reads(self):
        for _ in range(10):
            self.hostile(encode("SET", "h", "x" * 100_000) + encode("GET", "h") * 200, stays=True)

    def flood(self):
        for _ in range(self.random.randint(100, 400)):
            self.hostile(b"PING\r\n", stays=self.random.random() < 0.2)

    def hostile(self, data, stays):
        try:
            link = socket.create_connection(self.instance.address, timeout=5)
            link.setblocking(False)
            link.send(data)
        except OSError:
            return
        self.sockets.append(link)
        if not stays or len(self.sockets) > 300:
            self.sockets.pop(0 if stays else -1).close()

    def say(self, words, expected):
        """With a few tries: the io_conn that has the connection may just be dying."""
        def once():
            with self.instance.wire() as wire:
                return wire.command(*words) == expected
        wait_for(lambda: self._without_breaks(once), WHOLE_S, words)

    @staticmethod
    def _without_breaks(action):
        try:
            return action()
        except Exception:       # noqa: BLE001 (a broken connection, in whatever form)
            return False

    # --- the run ----------------------------------------------------------------------------------------------------

    ACTS = {"kill_one": 10, "kill_two": 5, "kill_md": 5, "kill_supervisor": 3, "kill_supervisor_and_some": 2, "kill_everything": 1, "stop_one": 6, "scale": 6, "restart": 1,
            "set_options": 4, "rewrite": 2, "look": 3, "kill_clients": 1, "pause": 2, "fill": 3, "large": 3, "garbage": 6, "never_reads": 3, "flood": 3}

    def run(self):
        names, weights = zip(*self.ACTS.items())
        noted = 0.0
        with self.load:
            while time.monotonic() < self.until:
                if time.monotonic() - noted > NOTE_EVERY_S:
                    self.note()
                    noted = time.monotonic()
                name = self.random.choices(names, weights)[0]
                self.acts[name] = self.acts.get(name, 0) + 1
                try:
                    getattr(self, name)()
                except Exception as error:      # noqa: BLE001 (said with the act in which it happened)
                    if name not in ("look", "kill_clients", "fill", "large") or isinstance(error, AssertionError):
                        raise AssertionError("%s: %r" % (name, error)) from error
                    self.hurt += 1      # its connection was cut by the act before
                wait_for(lambda: all_up(self.instance), WHOLE_S, "the group to be whole after %s" % name)
                self.load.check()
                time.sleep(self.random.choice((0.0, 0.05, 0.3)))
            self.note()
            replies = self.load.end()
        return replies

    def note(self):
        for link in self.sockets:
            link.close()
        self.sockets = []
        wait_for(lambda: self.instance.control("scale", "2").returncode == 0, WHOLE_S, "two io_conn")
        wait_for(lambda: len(self.instance.processes("io_conn")) == 2, WHOLE_S, "the others to drain")
        self.say(("CONFIG", "SET", "maxmemory", "1gb"), b"+OK\r\n")
        time.sleep(5.5)     # what has an expiry goes
        sizes = {entry.name: entry.stat().st_blocks * 512 for entry in os.scandir(self.instance.shm_folder())}
        kept_notes = sum(size for name, size in sizes.items() if name.startswith("diagnostics-"))      # slow commands: bounded, and full after a while
        shared = sum(sizes.values()) - kept_notes
        pids = {each["role"] if each["role"] != "io_conn" else "io_conn-%d" % number: each["pid"]
                for number, each in enumerate(sorted(self.processes(), key=lambda each: (each["role"], each["index"])))}
        pids["supervisor"] = self.instance.status()["supervisor_pid"]
        with self.instance.wire() as wire:
            clients = {role: self.clients_of(pid) for role, pid in pids.items() if role.startswith("io_conn")}
            keys = int(wire.command("DBSIZE")[1:])
        self.notes.append({
            "shared": shared, "keys": keys,
            "private": {role: private_bytes(pid) for role, pid in pids.items()},
            "descriptors": {role: len(os.listdir("/proc/%d/fd" % pid)) - clients.get(role, 0) for role, pid in pids.items()}})
        print("%4d s  %.1f MB shared, %.1f MB of notes, %d keys; private MB %s; descriptors %s; %d replies, %d broken connections" % (
            time.monotonic() - self.began, shared / 1e6, kept_notes / 1e6, keys, {role: round(value / 1e6, 1) for role, value in self.notes[-1]["private"].items()},
            self.notes[-1]["descriptors"], self.load.replies, len(self.load.breaks)), flush=True)

    @staticmethod
    def clients_of(pid):
        """Sockets of a process that are connections."""
        count = 0
        with open("/proc/net/tcp", encoding="ascii") as table:
            established = {line.split()[9] for line in table if line.split()[3] == "01"}
        for name in os.listdir("/proc/%d/fd" % pid):
            try:
                count += os.readlink("/proc/%d/fd/%s" % (pid, name)).removeprefix("socket:[").rstrip("]") in established
            except OSError:
                pass
        return count

    def flat(self):
        """What has grown, as sentences."""
        third = max(1, len(self.notes) // 3)
        first, last = self.notes[1:1 + third], self.notes[-third:]
        found = []

        def compare(what, value, slack):
            before, after = statistics.median(map(value, first)), statistics.median(map(value, last))
            print("%-32s %12.0f in the first third, %12.0f in the last" % (what, before, after))
            if after > slack(before):
                found.append("%s has grown from %.0f to %.0f" % (what, before, after))
        compare("shared memory, bytes", lambda note: note["shared"], lambda before: before * MEMORY_SLACK)
        for role in self.notes[0]["descriptors"]:
            family = re.sub(r"\d+$", "", role)
            if family == "io_conn-" and role != min(each for each in self.notes[0]["descriptors"] if each.startswith("io_conn-")):
                continue
            compare("private memory of %s, bytes" % role.rstrip("-0123456789"), lambda note: of_family(note["private"], family), lambda before: before * MEMORY_SLACK + 2e6)
            compare("descriptors of %s" % role.rstrip("-0123456789"), lambda note: of_family(note["descriptors"], family), lambda before: before + DESCRIPTOR_SLACK)
        return found


def of_family(table, family):
    """The mean of all with that beginning."""
    return statistics.mean(value for role, value in table.items() if re.sub(r"\d+$", "", role) == family)


def private_bytes(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as status:
        return int(re.search(r"^RssAnon:\s+(\d+) kB", status.read(), re.MULTILINE).group(1)) * 1024


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=1200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--connections", type=int, default=24)
    arguments = parser.parse_args()
    print("seed %d" % arguments.seed, flush=True)
    soak = Soak(arguments)
    soak.began = time.monotonic()
    try:
        replies = soak.run()
    except BaseException:
        print(soak.acts, file=sys.stderr)
        print(soak.instance.log_tails(), file=sys.stderr)
        raise
    checked = soak.instance.control("check")
    print("\n".join(line for line in checked.stdout.splitlines() if " store: " in line))
    grown = soak.flat()
    print("%d acts: %s" % (sum(soak.acts.values()), ", ".join("%d %s" % (count, name) for name, count in sorted(soak.acts.items()))))
    print("%d replies, every one right; %d connections broken, every counter exact" % (replies, len(soak.load.breaks)))
    soak.instance.stop()
    for sentence in grown:
        print("FAIL: " + sentence)
    if checked.returncode != 0:
        print("FAIL: " + checked.stdout + checked.stderr)
    sys.exit(1 if grown or checked.returncode != 0 else 0)


if __name__ == "__main__":
    main()
