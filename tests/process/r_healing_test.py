"""The group under load while its processes die, hang, are scaled and lose their supervisor: what breaks, and what must not."""

import collections
import itertools
import os
import random
import signal
import socket
import threading
import time
import traceback
import unittest

from counting_load import CountingLoad, server_of
from harness import FreshInstanceCase, all_up, is_alive, needs_millrace, wait_for
from wire import WireClosed, encode

DEATHS_EACH = 10
WHOLE_S = 1.0           # from a death to a group that is whole again
STOP_S = 5.0            # how long a process stays stopped
CONNECTIONS = 24
STOPPED_CONNECTIONS = 8


def name_of(process):
    return "%s-%d" % (process["role"], process["index"])


@needs_millrace
class Healing(FreshInstanceCase):
    def places(self, instance):
        """{"md": pid, "md_standby": pid, "io_conn-0": pid, ...} once all are up."""
        processes = wait_for(lambda: all_up(instance), 20, "the group to be whole")
        return {each["role"] if each["role"].startswith("md") else name_of(each): each["pid"] for each in processes}

    def owners(self, instance, load):
        """{port of a client: pid of the io_conn that has it}."""
        pids = instance.pids("io_conn")
        return {port: server_of(instance.port, port, pids) for port in load.ports()}

    def assert_broken_are_of(self, load, owners, victims):
        broken = {port for _, port in load.breaks}
        load.breaks.clear()
        self.assertEqual(broken, {port for port, pid in owners.items() if pid in victims})

    def whole_again_in(self, instance, began):
        wait_for(lambda: all_up(instance), 20, "the group to be whole again")
        return time.monotonic() - began

    def test_every_process_and_every_pair_is_killed(self):
        """In groups of a few deaths: a place whose process dies again and again earns itself a pause before the next one."""
        names = ["io_conn-0", "io_conn-1", "io_conn-2", "md", "md_log", "md_repl", "md_standby"]
        wanted = [(name,) for name in names] + list(itertools.combinations(names, 2))
        random.Random(1).shuffle(wanted)
        slow = []
        for first in range(0, len(wanted), DEATHS_EACH):
            slow += self.killed(wanted[first:first + DEATHS_EACH])
        self.assertEqual(slow, [])

    def killed(self, wanted):
        """Kills these in a group of their own; what took too long."""
        instance = self.start(io=3)
        slow = []
        with CountingLoad(instance.address, CONNECTIONS) as load:
            time.sleep(0.3)
            for victims in wanted:
                places = self.places(instance)
                owners = self.owners(instance, load)
                self.assertNotIn(None, owners.values())
                began = time.monotonic()
                for name in victims:
                    os.kill(places[name], signal.SIGKILL)
                wait_for(lambda: not any(is_alive(places[name]) for name in victims), 10, "the deaths")
                took_s = self.whole_again_in(instance, began)
                if took_s > WHOLE_S:
                    slow.append((victims, took_s))
                time.sleep(0.2)
                load.check()
                self.assert_broken_are_of(load, owners, [places[name] for name in victims if name.startswith("io_conn")])
                instance.remember()
            self.assertGreater(load.end(), 1000)
        self.assertIn("ok       store", instance.control("check").stdout)
        instance.stop()
        return slow

    def stopped(self, name, timeout_s, results):
        """In a group of its own one process is stopped for STOP_S; notes whether it was replaced, or what went wrong."""
        try:
            instance = self.start(io=2, md_hang_timeout=timeout_s, io_conn_hang_timeout=timeout_s)
            with CountingLoad(instance.address, STOPPED_CONNECTIONS) as load:
                places = self.places(instance)
                owners = self.owners(instance, load)
                os.kill(places[name], signal.SIGSTOP)
                time.sleep(STOP_S)
                try:
                    os.kill(places[name], signal.SIGCONT)
                except ProcessLookupError:
                    pass
                self.whole_again_in(instance, time.monotonic())
                time.sleep(0.3)
                load.check()
                replaced = self.places(instance)[name] != places[name]
                self.assert_broken_are_of(load, owners, [places[name]] if name.startswith("io_conn") and replaced else [])
                instance.remember()
                self.assertGreater(load.end(), 1000)
            results[name] = replaced
        except Exception as error:      # noqa: BLE001 (what is not as it must be is compared)
            results[name] = "".join(traceback.format_exception(error))

    def each_stopped(self, timeout_s):
        """{name: whether it was replaced}; all at the same time, because that is mostly waiting."""
        results = {}
        threads = [threading.Thread(target=self.stopped, args=(name, timeout_s, results)) for name in ("md", "md_standby", "io_conn-0", "io_conn-1")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return results

    def test_stopped_for_less_than_the_hang_timeouts(self):
        self.assertEqual(self.each_stopped(20), {"io_conn-0": False, "io_conn-1": False, "md": False, "md_standby": False})

    def test_stopped_for_longer_than_the_hang_timeouts(self):
        self.assertEqual(self.each_stopped(2), {"io_conn-0": True, "io_conn-1": True, "md": True, "md_standby": True})

    def test_an_io_conn_is_back_soon(self):
        """The time until clients of a group with only one io_conn are served again."""
        instance = self.start(io=1)
        times = []
        for _ in range(5):
            pid = self.places(instance)["io_conn-0"]
            time.sleep(0.2)
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: not is_alive(pid), 10, "the death")
            with instance.wire() as wire:       # waits in the backlog of the socket that the supervisor keeps
                self.assertEqual(wire.command("PING"), b"+PONG\r\n")
            times.append(time.monotonic() - began)
            instance.remember()
        self.assertLess(min(times), 0.5, times)

    def test_a_supervisor_is_killed_under_load(self):
        instance = self.start(io=2)
        places = self.places(instance)
        with CountingLoad(instance.address, CONNECTIONS) as load:
            for _ in range(3):
                supervisor = instance.status()["supervisor_pid"]
                os.kill(supervisor, signal.SIGKILL)
                wait_for(lambda: not is_alive(supervisor), 10, "its death")
                time.sleep(0.2)
                started = instance.control("start", *instance.start_arguments())
                self.assertEqual(started.returncode, 0, started.stderr)
                self.assertEqual(self.places(instance), places)
                instance.remember()
            load.check()
            self.assertEqual(load.breaks, [])
            os.kill(places["md"], signal.SIGKILL)       # it is guarded as before
            self.places(instance)
            instance.remember()
            self.assertGreater(load.end(), 1000)
            self.assertEqual(load.breaks, [])

    def kill_all(self, instance):
        status = instance.status()
        pids = [status["supervisor_pid"]] + [each["pid"] for each in status["processes"] if each["pid"]]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in pids), 20, "all to be dead")

    def test_everything_is_killed_at_once(self):
        instance = self.start(io=2, maxmemory="200mb", maxmemory_policy="allkeys-lru")
        with instance.wire() as wire:
            wire.command("SET", "large", "x" * 900_000), wire.command("SELECT", "3"), wire.command("SET", "k", "v", "EX", "1000")
            self.assertEqual(wire.command("CONFIG", "SET", "maxmemory", "100mb"), b"+OK\r\n")
        load = CountingLoad(instance.address, CONNECTIONS)
        with load:
            time.sleep(0.5)
            load._stop.set()
            self.kill_all(instance)     # whatever is in the rings just then
        for turn in range(3):
            started = instance.control("start", *instance.start_arguments())
            self.assertEqual(started.returncode, 0, started.stderr)
            self.assertRegex(started.stdout, r"kept from the group before: \d+ keys in [0-9.]+ MB of shared memory")
            self.places(instance)
            instance.remember()
            with instance.wire() as wire:
                self.assertEqual(wire.command("STRLEN", "large"), b":900000\r\n")
                self.assertEqual(wire.command("DBSIZE"), b":%d\r\n" % (CONNECTIONS + 1))
                wire.command("SELECT", "3")
                self.assertEqual(wire.command("GET", "k"), b"$1\r\nv\r\n")
                self.assertIn(wire.command("TTL", "k"), [b":%d\r\n" % left for left in range(900, 1001)])
            for client in load.clients:
                load._settle(client)
            self.assertIn("ok       store", instance.control("check").stdout)
            if turn < 2:
                self.kill_all(instance)

    def test_a_store_that_cannot_be_used_is_no_obstacle(self):
        instance = self.start(io=1)
        with instance.wire() as wire:
            wire.command("SET", "k", "v")
        store = instance.shm_folder() / "store"
        self.kill_all(instance)
        with open(store, "r+b") as file:
            file.write(b"\xff" * 4096)
        started = instance.control("start", *instance.start_arguments())
        self.assertEqual(started.returncode, 0, started.stderr)
        self.places(instance)
        instance.remember()
        with instance.wire() as wire:
            self.assertEqual(wire.command("GET", "k"), b"$-1\r\n")


@needs_millrace
class Scaling(FreshInstanceCase):
    def counts(self, instance):
        """Connections of each io_conn that serves."""
        serving = {each["index"] for each in instance.processes("io_conn") if each["state"] == "up"}
        return {row["index"]: row["counters"]["connected_clients"] for row in instance.stats() if row["role"] == "io_conn" and row["index"] in serving}

    def test_up_and_down_under_load(self):
        instance = self.start(io=1)
        with CountingLoad(instance.address, 100) as load:
            for count in (8, 2):
                scaled = instance.control("scale", str(count))
                self.assertEqual(scaled.returncode, 0, scaled.stderr)
                time.sleep(0.3)
                load.check()
                self.assertEqual(load.breaks, [])
                instance.remember()
                if count == 8:      # the new ones take what comes, in equal shares
                    before = self.counts(instance)
                    fresh = [socket.create_connection(instance.address) for _ in range(350)]
                    for link in fresh:
                        link.sendall(encode("PING"))
                    for link in fresh:
                        self.assertEqual(link.recv(100), b"+PONG\r\n")
                    after = self.counts(instance)
                    shares = [after[index] - before[index] for index in sorted(after) if index != 0]
                    self.assertEqual(len(shares), 7)
                    self.assertLessEqual(max(shares), 1.2 * sum(shares) / 7, shares)
                    self.assertGreaterEqual(min(shares), 0.8 * sum(shares) / 7, shares)
            states = collections.Counter(each["state"] for each in instance.processes("io_conn"))
            self.assertEqual((states["up"], states["draining"]), (2, 6))
            for link in fresh:
                link.sendall(encode("PING"))
            for link in fresh:
                self.assertEqual(link.recv(100), b"+PONG\r\n")
                link.close()
            wait_for(lambda: len(instance.processes("io_conn")) == 2, 10, "the retired ones to go")
            self.assertGreater(load.end(), 1000)
            self.assertEqual(load.breaks, [])

    def test_retired_ones_end_after_the_drain_timeout(self):
        instance = self.start(io=4, drain_timeout=1)
        wires = [self.connect(instance) for _ in range(16)]
        for wire in wires:
            wire.command("PING")
        began = time.monotonic()
        self.assertEqual(instance.control("scale", "1").returncode, 0)
        instance.remember()
        wait_for(lambda: len(instance.processes("io_conn")) == 1, 10, "the retired ones to go")
        self.assertGreater(time.monotonic() - began, 0.9)
        for wire in wires:      # of the one that is left, or closed
            wire.send(encode("PING"))
            try:
                self.assertEqual(wire.reply(), b"+PONG\r\n")
            except (WireClosed, ConnectionError):
                continue


if __name__ == "__main__":
    unittest.main()
