"""Killed md, again and again, under load of which every reply is checked: nobody notices."""

import json
import os
import re
import signal
import statistics
import subprocess
import time
import unittest

from harness import PROGRAMS, FreshInstanceCase, needs_millrace, wait_for

STORM = PROGRAMS.parent / "tests" / "storm_client"
KILLS = int(os.environ.get("MILLRACE_KILLS", "12"))
CONNECTIONS = 50


class Storm:
    """The checking client, running."""

    def __init__(self, port, connections=CONNECTIONS, think_us=0):
        self.process = subprocess.Popen([STORM, str(port), str(connections), str(think_us)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self):
        return self

    def __exit__(self, *unused):
        self.process.kill()
        self.process.communicate()

    def _order(self, word):
        try:
            self.process.stdin.write(word + "\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass            # what it said before it ended is read now
        line = self.process.stdout.readline().strip()
        if not line or line.startswith("wrong"):
            raise AssertionError("the client says: " + (line or "nothing, it has ended"))
        return line

    def longest_ms(self):
        """The longest time of a batch since the last call."""
        return int(self._order("mark")) / 1000

    def end(self):
        return json.loads(self._order("end"))


def md_pids(instance):
    """The md that serves and its standby, once both are there."""
    found = {process["role"]: process["pid"] for process in instance.status()["processes"]
             if process["role"] in ("md", "md_standby") and process["state"] == "up"}
    return (found["md"], found["md_standby"]) if len(found) == 2 else None


@needs_millrace
class TakeOver(FreshInstanceCase):
    def storm(self, kills, both, **settings):
        """Kills so often; gives the longest wait of a client around each kill, milliseconds."""
        instance = self.start(io=2, **settings)
        io_conns = instance.pids("io_conn")
        pauses = []
        with Storm(instance.port) as storm:
            for number in range(kills):
                pids = wait_for(lambda: md_pids(instance), 20, "md and its standby after kill %d" % number)
                storm.longest_ms()
                for pid in pids if both else pids[:1]:
                    os.kill(pid, signal.SIGKILL)
                time.sleep(0.25)
                pauses.append(storm.longest_ms())
            self.store_is_good(instance)        # a busy one
            done = storm.end()
        self.store_is_good(instance)
        with instance.wire() as wire:
            self.assertEqual(wire.command("GET", "total"), b"$%d\r\n%d\r\n" % (len(str(done["total"])), done["total"]))
        self.assertEqual(instance.pids("io_conn"), io_conns)
        wait_for(lambda: md_pids(instance), 20, "md and its standby at the end")
        instance.remember()
        if os.environ.get("MILLRACE_KILLS"):
            print("%d kills, %d commands: longest wait median %.1f ms, p99 %.1f ms, worst %.1f ms" % (
                kills, done["commands"], statistics.median(pauses), sorted(pauses)[int(len(pauses) * 0.99)], max(pauses)))
        return pauses

    def store_is_good(self, instance):
        checked = instance.control("check")
        line = [line for line in checked.stdout.splitlines() if " store: " in line]
        self.assertTrue(line and line[0].startswith("ok "), checked.stdout + checked.stderr)

    def test_killed_md(self):
        self.storm(KILLS, both=False)

    def test_killed_with_its_standby(self):
        self.storm(max(3, KILLS // 10), both=True)

    def test_a_busy_md_is_held_still_for_no_longer_than_told(self):
        instance = self.start(io=1)
        serving, _ = wait_for(lambda: md_pids(instance), 20, "md and its standby")
        store = str(instance.shm_folder() / "store")
        with instance.wire() as wire:
            for number in range(60):        # so that copying takes longer than the time between two commits
                wire.command("SET", "megabyte%d" % number, "m" * 1_000_000)
        with Storm(instance.port) as storm:
            for hold_ms, status in ((0, 4), (5000, 0)):
                done = subprocess.run([PROGRAMS / "store-check", store, str(serving), str(hold_ms)], capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, status, done.stdout + done.stderr)
            storm.end()
        self.assertEqual(md_pids(instance)[0], serving)

    def test_totals_go_on_with_the_next_md(self):
        instance = self.start(io=1)
        hits = lambda wire: int(re.search(rb"keyspace_hits:(\d+)", wire.command("INFO", "stats")).group(1))   # noqa: E731
        with instance.wire() as wire:
            wire.command("SET", "k", "v")
            for number in range(3):     # each md takes the other's place in turn, and its file
                serving, _ = wait_for(lambda: md_pids(instance), 20, "md and its standby")
                for _ in range(100):
                    wire.command("GET", "k")
                self.assertEqual(hits(wire), 100 * (number + 1))
                os.kill(serving, signal.SIGKILL)
                wire.command("PING")
                wire.command("STRLEN", "nothing")
            self.assertEqual(hits(wire), 300)
        instance.remember()

    def test_a_stopped_md_is_replaced_after_the_hang_timeout(self):
        instance = self.start(io=1, md_hang_timeout=1)
        serving, standby = wait_for(lambda: md_pids(instance), 20, "md and its standby")
        with instance.wire() as wire:
            wire.command("SET", "n", "1")
            os.kill(serving, signal.SIGSTOP)
            began = time.monotonic()
            self.assertEqual(wire.command("INCR", "n"), b":2\r\n")
            self.assertGreater(time.monotonic() - began, 0.9)
            self.assertEqual(wait_for(lambda: md_pids(instance), 20, "md and its standby")[0], standby)
        instance.remember()

    def test_a_stopped_md_without_requests_is_left_alone(self):
        instance = self.start(io=1, md_hang_timeout=1)
        serving, _ = wait_for(lambda: md_pids(instance), 20, "md and its standby")
        os.kill(serving, signal.SIGSTOP)
        time.sleep(2)
        self.assertEqual(md_pids(instance)[0], serving)
        os.kill(serving, signal.SIGCONT)
        with instance.wire() as wire:
            self.assertEqual(wire.command("INCR", "n"), b":1\r\n")


if __name__ == "__main__":
    unittest.main()
