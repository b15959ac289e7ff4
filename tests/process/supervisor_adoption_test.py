"""A start after the supervisor alone, or everything, was killed: what runs goes on under the new one, and the data is kept."""

import json
import os
import signal
import socket
import time
import unittest

from harness import is_alive, wait_for
from supervisor_case import StubCase


class Adoption(StubCase):
    def kill_supervisor_and_start(self, *arguments, **options):
        self.group.kill("supervisor")
        return self.group.start(*arguments, **options)

    def connect_to_the_last_one(self):
        """Connections to io_conn 1, which scale ends first."""
        other = self.group.pids()["io_conn-0"]
        os.kill(other, signal.SIGSTOP)
        links = [self.group.connect() for _ in range(5)]
        for link in links:
            self.assertEqual(self.group.ask(link), b"+PONG\r\n")
            self.addCleanup(link.close)
        os.kill(other, signal.SIGCONT)
        return links

    def test_nothing_is_restarted(self):
        self.group.start("--io", 2)
        before, old = self.group.pids(), self.group.status()["supervisor_pid"]
        with self.group.connect() as link:
            self.assertEqual(self.group.ask(link), b"+PONG\r\n")
            for _ in range(3):
                done = self.kill_supervisor_and_start()
                self.assertIn("its 6 daemons go on under this one", done.stdout)
            self.assertEqual(self.group.ask(link), b"+PONG\r\n")
        status = self.group.status()
        self.assertEqual((status["state"], status["port"], self.group.pids()), ("running", self.group.port, before))
        self.assertNotEqual(status["supervisor_pid"], old)
        self.assertEqual({each["restarts"] for each in status["processes"]}, {0})
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()
        self.assertFalse(any(is_alive(pid) for pid in before.values()))

    def test_it_is_guarded_as_before(self):
        self.group.start("--io", 2)
        before = self.group.pids()
        self.kill_supervisor_and_start()
        for victim in ("io_conn-1", "md-0"):
            self.group.kill(victim)
            self.group.wait_until_whole()
        after = self.group.pids()
        self.assertEqual((after["io_conn-0"], after["md-1"]), (before["io_conn-0"], before["md_standby-1"]))
        self.assertNotIn(after["io_conn-1"], before.values())
        self.assertEqual(self.group.run("scale", 3).returncode, 0)
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.group.wait_until_whole()
        self.assertEqual(len(self.group.pids()), 7)
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_what_has_died_meanwhile_is_started(self):
        self.group.start("--io", 3)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.group.kill_together([before["io_conn-1"], before["md-0"]])
        self.group.start()
        after = self.group.pids()
        self.assertEqual(sorted(after), ["io_conn-0", "io_conn-1", "io_conn-2", "md-1", "md_log-0", "md_repl-0", "md_standby-0"])
        self.assertEqual([after[name] for name in ("io_conn-0", "io_conn-2", "md-1")],
                         [before[name] for name in ("io_conn-0", "io_conn-2", "md_standby-1")])
        self.stops()

    def test_without_md(self):
        self.group.start("--io", 2)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.group.kill_together([before["md_standby-1"], before["md-0"]])
        self.group.start()
        after = self.group.pids()
        self.assertEqual([after[name] for name in ("io_conn-0", "io_conn-1")], [before[name] for name in ("io_conn-0", "io_conn-1")])
        self.assertIn("md-0", after)
        self.stops()

    def test_a_retired_one_goes_on_draining(self):
        self.group.start("--io", 2)
        links = self.connect_to_the_last_one()
        self.assertEqual(self.group.run("scale", 1).returncode, 0)
        draining = [each["pid"] for each in self.group.status()["processes"] if each["state"] == "draining"]
        self.assertEqual(len(draining), 1)
        self.kill_supervisor_and_start()
        self.assertEqual([each["pid"] for each in self.group.status()["processes"] if each["state"] == "draining"], draining)
        for link in links:
            link.close()
        wait_for(lambda: len(self.group.pids()) == 5, 10, "the retired one to go")
        self.assertEqual(self.group.status()["state"], "running")
        self.stops()

    def test_a_retired_one_goes_on_draining_also_when_nobody_has_noted_it(self):
        self.group.limits(stop=0.5)
        self.group.start("--io", 2)
        links = self.connect_to_the_last_one()
        self.group.kill("supervisor")
        retired = self.group.pids()["io_conn-1"]
        os.kill(retired, signal.SIGUSR1)
        self.group.start(whole=False)
        self.group.wait_until_whole()
        self.assertEqual([each["pid"] for each in self.group.status()["processes"] if each["state"] == "draining"], [retired])
        time.sleep(1.0)         # longer than what cannot go on has to end by itself
        for link in links:
            self.assertEqual(self.group.ask(link), b"+PONG\r\n")
            link.close()
        wait_for(lambda: len(self.group.pids()) == 5, 10, "the retired one to go")
        self.stops()

    def test_a_start_that_is_broken_off_costs_a_living_group_nothing(self):
        self.group.start("--io", 2)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.group.behave(version="slow")       # md --version: the start has the lock, and has not looked yet
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            begun = len(self.group.events("start"))
            process = self.group.begin("start", "--port", self.group.port, "--daemon")
            wait_for(lambda: (self.group.dir / "run" / "supervisor.pid").read_text() == "%d\n" % process.pid, 10, "the lock to be taken")
            process.send_signal(number)
            self.assertEqual(process.wait(10), 1)
            self.assertIn("the start was broken off by " + number.name, process.stderr.read())
            self.assertEqual(len(self.group.events("start")), begun)
        # A signal may come before the start knows of its child, which then ends by itself.
        wait_for(lambda: not any("--version" in line for line in self.group.left_over()), 10, "the end of md --version")
        self.assertTrue((self.group.shm() / "store").exists())
        self.group.behave()
        self.group.start()
        self.assertEqual(self.group.pids(), before)
        self.stops()

    def test_what_others_could_not_join_is_replaced_and_the_data_kept(self):
        self.group.start("--io", 2)
        run = self.group.dir / "run"
        for name in ("effective.conf", "md.fifo", "md_log-0.fifo", "md_repl-0.fifo", "io_conn-0.fifo", "shm/heartbeats", "shm/control", "shm/roster"):
            before, data = self.group.pids(), (self.group.shm() / "store").read_text()
            self.group.kill("supervisor")
            (run / name).unlink()
            self.group.start()
            self.assertFalse(set(before.values()) & set(self.group.pids().values()), name)
            self.assertTrue((self.group.shm() / "store").read_text().startswith(data), name)
            self.assertEqual(self.group.run("scale", 3).returncode, 0, name)
            self.assertEqual(self.group.run("scale", 2).returncode, 0, name)
            wait_for(lambda: len(self.group.pids()) == 6, 10, "the third io_conn to go")
        self.stops()

    def test_what_cannot_be_heard_is_replaced_by_one_each(self):
        for name in ("md-0.words", "md-1.words", "md_log-0.words", "md_repl-0.words", "io_conn-0.words"):
            self.group.start("--io", 2)
            self.group.kill("supervisor")
            (self.group.dir / "run" / name).unlink()
            self.group.start()
            self.assertEqual((len(self.group.pids()), len(self.group.events("not_adopted"))), (6, 1), name)
            self.assertEqual(len(self.group.events("child_started")), 7, name)
            self.stops()
            (self.group.dir / "log" / "supervisor.log").unlink()

    def test_a_damaged_record_of_the_group_is_no_obstacle(self):
        self.group.start("--io", 2)
        before, run = self.group.pids(), self.group.dir / "run"
        record = json.loads((run / "status.json").read_text())
        for damaged in ("", "[]", json.dumps({**record, "processes": [1, {"role": 5}]}), json.dumps({**record, "generation": "x"})):
            self.group.kill("supervisor")
            (run / "status.json").write_text(damaged)
            self.group.start()
            self.assertEqual(self.group.pids(), before)
        self.group.kill("supervisor")
        (run / "effective.conf").write_text("what = is this\n")
        self.group.start()
        self.assertFalse(set(before.values()) & set(self.group.pids().values()))
        self.stops()

    def test_io_conn_that_do_not_answer_are_replaced(self):
        self.group.start("--io", 2)
        before = self.group.pids()
        for name in ("io_conn-0", "io_conn-1"):
            os.kill(before[name], signal.SIGSTOP)
        self.kill_supervisor_and_start()
        after = self.group.pids()
        self.assertEqual((after["md-0"], after["md_standby-1"]), (before["md-0"], before["md_standby-1"]))
        self.assertFalse(any(is_alive(before[name]) for name in ("io_conn-0", "io_conn-1")))
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_one_that_does_not_answer_does_not_hold_up_the_others(self):
        self.group.limits(ready=2)
        self.group.start("--io", 2)
        before = self.group.pids()
        os.kill(before["io_conn-0"], signal.SIGSTOP)
        self.kill_supervisor_and_start(whole=False)
        self.group.wait_until_whole()
        after = self.group.pids()
        self.assertEqual(after["io_conn-1"], before["io_conn-1"])
        self.assertNotEqual(after["io_conn-0"], before["io_conn-0"])
        self.stops()

    def test_the_running_options_hold_until_restart(self):
        self.group.start("--io", 1)
        self.group.kill("supervisor")
        done = self.group.run("start", "--port", self.group.port, "--set", "maxclients=77", "--io", 3, "--daemon")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("'millrace restart' applies the present one", done.stdout)
        self.group.wait_until_whole()
        self.assertEqual(len(self.group.pids()), 5)
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.group.wait_until_whole()
        self.assertEqual(len(self.group.pids()), 7)
        self.stops()


class Data(StubCase):
    """The store of the stubs is a file with a line for each md that has served."""

    def kill_all(self):
        pids = [self.group.status()["supervisor_pid"], *self.group.pids().values()]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.group.status()["state"] == "stopped", 10, "all to be dead")

    def lines(self):
        return (self.group.shm() / "store").read_text().splitlines()

    def test_it_outlives_all_processes(self):
        self.group.start("--io", 2)
        first = self.lines()
        self.kill_all()
        done = self.group.start("--io", 1)
        self.assertEqual(self.lines()[:len(first)], first)
        self.assertGreater(len(self.lines()), len(first))
        self.assertEqual(sorted(path.name for path in self.group.shm().iterdir() if path.name.startswith(("rings", "clients"))), ["clients-0", "rings-0"])
        self.assertNotIn("go on", done.stdout)
        self.stops()

    def test_a_start_that_fails_does_not_cost_it(self):
        self.group.start("--io", 1)
        first = self.lines()
        self.kill_all()
        with socket.create_server(("127.0.0.1", self.group.port)):
            self.assertIn("already in use", self.group.run("start", "--port", self.group.port, "--daemon").stderr)
        self.group.behave(md="error")
        self.assertNotEqual(self.group.run("start", "--port", self.group.port, "--daemon").returncode, 0)
        self.group.behave(io_conn="crash")
        self.assertNotEqual(self.group.run("start", "--port", self.group.port, "--daemon").returncode, 0)
        self.group.behave()
        self.group.start()
        self.assertEqual(self.lines()[:len(first)], first)
        self.stops()

    def test_it_outlives_the_files_in_run(self):
        self.group.start("--io", 1)
        for name in ("shm", "effective.conf", "status.json"):
            data = self.lines()
            self.kill_all()
            (self.group.dir / "run" / name).unlink()
            self.group.start()
            self.assertEqual(self.lines()[:len(data)], data, name)
        self.stops()

    def test_a_start_that_fails_with_another_shm_dir_does_not_cost_it(self):
        self.group.start("--io", 1)
        first, folder = self.lines(), self.group.shm()
        other = self.group.root / "other shm"
        other.mkdir()
        self.kill_all()
        with socket.create_server(("127.0.0.1", self.group.port)):
            self.assertIn("already in use", self.group.run("start", "--port", self.group.port, "--set", "shm-dir=%s" % other).stderr)
        self.group.behave(md="error")
        self.assertEqual(self.group.run("start", "--port", self.group.port, "--set", "shm-dir=%s" % other, "--daemon").returncode, 1)
        self.assertEqual((list(other.iterdir()), self.group.shm(), self.lines()), ([], folder, first))
        self.group.behave()
        done = self.group.start("--set", "shm-dir=%s" % other)
        self.assertIn("is removed as soon as this one serves", done.stdout)
        wait_for(lambda: not folder.exists(), 5, "the old folder to go")
        self.stops()
        self.assertEqual(list(other.iterdir()), [])

    def test_stop_removes_it(self):
        self.group.start("--io", 1)
        self.kill_all()
        self.stops()


if __name__ == "__main__":
    unittest.main()
