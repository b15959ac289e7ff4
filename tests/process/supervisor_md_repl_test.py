#!/usr/bin/python3
"""md_repl has its place in the group: it comes back when it dies, its end harms nobody, and a new supervisor takes it over."""

import os

from harness import wait_for
from supervisor_case import StubCase


class MdReplCase(StubCase):
    def ends(self):
        return [event["role"] for event in self.group.events("child_ended")]

    def state_of(self, role):
        return next((each["state"] for each in self.group.status()["processes"] if each["role"] == role), None)


class InTheGroup(MdReplCase):
    def test_it_ends_between_io_conn_and_the_md_that_serves(self):
        self.group.start("--io", 2)
        self.assertIn("md_repl-0.fifo", os.listdir(self.group.dir / "run"))
        self.assertIn("stub md_repl-0", (self.group.dir / "log" / "md_repl-0.log").read_text())
        self.stops()
        ends = self.ends()
        self.assertEqual((ends[:2], sorted(ends[2:4]), ends[4:]), (["io_conn"] * 2, ["md", "md_repl"], ["md", "md_log"]))

    def test_a_group_that_cannot_have_it_does_not_start(self):
        self.group.behave(md_repl="error")
        self.fails(self.group.run("start", "--port", self.group.port, "--daemon"), "md_repl does not start", "the stub fails as it was told to")
        self.group.behave()
        (self.group.bin / "md_repl").unlink()
        self.fails(self.group.run("start", "--port", self.group.port, "--daemon"), "the program md_repl is not in")

    def test_one_that_dies_is_started_again_and_nobody_else(self):
        self.group.start("--io", 1)
        before = self.group.pids()
        self.group.kill("md_repl-0")
        self.group.wait_until_whole()
        after = self.group.pids()
        self.assertNotEqual(after.pop("md_repl-0"), before.pop("md_repl-0"))
        self.assertEqual(after, before)
        self.stops()

    def test_without_it_the_group_is_degraded_and_serves(self):
        self.group.start("--io", 1)
        self.group.behave(md_repl="crash")
        self.group.kill("md_repl-0")
        wait_for(lambda: len(self.group.events("child_died")) >= 3, 20, "three deaths")
        self.assertEqual((self.group.status()["state"], self.group.ping()), ("degraded", b"+PONG\r\n"))
        done = self.group.run("start", "--daemon")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("already running", done.stdout)
        self.assertIn("md_repl", done.stdout)
        self.stops()

    def test_a_deaf_one_is_killed_at_a_stop(self):
        self.group.limits(stop=0.3)
        self.group.behave(md_repl="deaf")
        self.group.start("--io", 1)
        self.stops()
        self.assertEqual([event["role"] for event in self.group.events("child_killed")], ["md_repl"])

    def test_restart_replaces_it(self):
        self.group.start("--io", 1)
        before = self.group.pids()["md_repl-0"]
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.group.wait_until_whole()
        self.assertNotEqual(self.group.pids()["md_repl-0"], before)
        self.stops()


class WithoutASupervisor(MdReplCase):
    def test_it_is_taken_over(self):
        self.group.start("--io", 1)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.group.start("--io", 1)
        self.assertEqual(self.group.pids(), before)
        self.stops()

    def test_one_that_is_missing_is_started(self):
        self.group.start("--io", 1)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.group.kill_together([before.pop("md_repl-0")])
        self.group.start("--io", 1)
        after = self.group.pids()
        self.assertIn("md_repl-0", after)
        self.assertEqual({name: after[name] for name in before}, before)
        self.stops()

    def test_one_that_is_all_that_is_left_is_ended_and_the_data_goes_on(self):
        self.group.start("--io", 1)
        data = (self.group.shm() / "store").read_text()
        pids = self.group.pids()
        alone = pids.pop("md_repl-0")
        self.group.kill("supervisor")
        self.group.kill_together(list(pids.values()))
        self.group.start("--io", 1)
        self.assertNotEqual(self.group.pids()["md_repl-0"], alone)
        self.assertTrue((self.group.shm() / "store").read_text().startswith(data))
        self.stops()

    def test_a_stop_ends_it(self):
        self.group.start("--io", 1)
        self.group.kill("supervisor")
        self.stops()


if __name__ == "__main__":
    import unittest
    unittest.main()
