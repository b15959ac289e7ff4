"""md_log has its place in the group, saves when all the others have ended, and nothing is thrown away that it could not save; an md that
loads its data from disk is waited for."""

import json
import os
import pty
import re
import select
import signal
import time
import unittest

from harness import is_alive, wait_for
from supervisor_case import StubCase


class MdLogCase(StubCase):
    def order(self, name):
        return [(event["role"], event["index"]) for event in self.group.events(name)]

    def saves(self):
        """How often an md_log has saved."""
        path = self.group.dir / "data" / ("log-" + "0" * 20)
        return path.read_text().count("saved\n") if path.exists() else 0

    def allow(self, name):
        """Lets the stubs go on that wait for this file."""
        (self.group.bin / name).write_text("")

    def state_of(self, role):
        return next((each["state"] for each in self.group.status()["processes"] if each["role"] == role), None)

    def kill_all(self, *but):
        status = self.group.status()
        self.group.kill_together([status["supervisor_pid"], *(each["pid"] for each in status["processes"] if each["pid"] and each["role"] not in but)])

    def on_a_terminal(self, verb, *arguments):
        """The script with a pseudo terminal as its standard streams: (process, the other end)."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        process = self.group.begin(verb, *arguments, stdin=slave, stdout=slave, stderr=slave)
        os.close(slave)
        return process, master

    @staticmethod
    def read(master, pattern):
        """Reads the terminal until it has shown that."""
        shown = ""
        while not re.search(pattern, shown):
            assert select.select([master], [], [], 20)[0], shown
            shown += os.read(master, 10000).decode()
        return shown


class InTheGroup(MdLogCase):
    def test_it_starts_between_the_two_md_and_ends_last(self):
        self.group.start("--io", 2)
        self.assertEqual(self.order("child_started"), [("md", "0"), ("md_log", "0"), ("md_repl", "0"), ("io_conn", "0"), ("io_conn", "1"), ("md", "1")])
        self.assertIn("md_log-0.fifo", os.listdir(self.group.dir / "run"))
        self.assertIn("stub md_log-0", (self.group.dir / "log" / "md_log-0.log").read_text())
        self.stops()
        self.assertEqual(sorted(self.order("child_ended")[:2]), [("io_conn", "0"), ("io_conn", "1")])
        self.assertEqual(sorted(self.order("child_ended")[2:4]), [("md", "1"), ("md_repl", "0")])
        self.assertEqual(self.order("child_ended")[4:], [("md", "0"), ("md_log", "0")])
        self.assertEqual(self.saves(), 1)

    def test_clients_are_served_when_it_is_ready(self):
        self.group.behave(md_log="late")
        self.group.start("--io", 1, whole=False)
        self.assertEqual(self.state_of("md_log"), "up")
        self.stops()

    def test_if_it_cannot_start_the_start_fails_with_its_sentence(self):
        for behaviour, words in (("error", "the stub fails as it was told to"), ("crash", "exit:3")):
            self.group.behave(md_log=behaviour)
            self.fails(self.group.run("start", "--port", self.group.port, "--daemon"), "md_log does not start", words)
            self.assertEqual(self.group.left_over(), [])
        (self.group.bin / "md_log").unlink()
        self.fails(self.group.run("start", "--port", self.group.port, "--daemon"), "the program md_log is not in")

    def test_one_that_dies_is_started_again(self):
        self.group.start("--io", 1)
        before = self.group.pids()
        fifo = os.open(self.group.dir / "run" / "io_conn-0.fifo", os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, fifo)
        os.read(fifo, 1000)
        self.group.kill("md_log-0")
        self.group.wait_until_whole()
        after = self.group.pids()
        self.assertNotEqual(after.pop("md_log-0"), before.pop("md_log-0"))
        self.assertEqual(after, before)
        self.assertTrue(os.read(fifo, 1000))            # all are told that somebody has died
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_without_it_the_group_is_degraded_and_the_pauses_grow(self):
        self.group.start("--io", 1)
        self.group.behave(md_log="crash")
        self.group.kill("md_log-0")
        wait_for(lambda: len(self.group.events("child_died")) >= 6, 20, "six deaths")
        self.assertEqual(self.group.status()["state"], "degraded")
        deaths = [event["at"] for event in self.group.events("child_died")]
        births = [event["at"] for event in self.group.events("child_started") if event["role"] == "md_log"][1:]
        for number, (death, birth) in enumerate(zip(deaths[1:5], births[1:5])):
            self.assertGreaterEqual(birth - death, 0.019 * 2 ** number)
        self.fails(self.group.run("start", "--daemon"), "already running", "not all of it is up")
        self.group.behave()
        self.group.wait_until_whole()
        self.stops()

    def test_one_that_stands_still_is_left_alone(self):
        self.group.start("--io", 1)
        stopped = self.group.kill("md_log-0", signal.SIGSTOP)
        time.sleep(2.5)         # two looks for daemons that hang; the stubs' own hang limits are off
        self.assertEqual((self.group.pids()["md_log-0"], self.group.events("child_hung")), (stopped, []))
        self.stops()
        self.assertEqual(self.saves(), 1)

    def test_restart_does_not_save(self):
        self.group.behave(md_log="save")        # would not end at SIGTERM
        self.group.start("--io", 1)
        before = self.group.pids()["md_log-0"]
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.group.wait_until_whole()
        self.assertNotEqual(self.group.pids()["md_log-0"], before)
        self.assertEqual((self.saves(), self.group.events("child_killed")), (0, []))
        self.assertEqual({event["cause"] for event in self.group.events("child_ended")}, {"exit:0"})
        self.assertEqual(self.order("child_ended")[-1], ("md_log", "0"))
        self.allow("saved")
        self.stops()

    def test_a_restart_after_which_it_does_not_come_up_goes_on_trying(self):
        self.group.start("--io", 1)
        self.group.behave(md_log="error")
        self.fails(self.group.run("restart"), "md_log does not start")
        self.assertEqual(self.group.status()["state"], "degraded")
        self.group.behave()
        self.group.wait_until_whole()
        self.stops()


class Saving(MdLogCase):
    def test_it_has_all_the_time_it_needs_and_says_how_far_it_is(self):
        self.group.limits(stop=0.3)
        self.group.environment["MILLRACE_PROGRESS_INTERVAL"] = "0.3"
        self.group.behave(md_log="save")
        self.group.start("--io", 1)
        stopping = self.group.begin("stop")
        wait_for(lambda: (self.group.status()["saving"] or "").endswith("%"), 10, "the save to be shown")
        self.assertRegex(self.group.run("status").stdout, r"(?m)^saving: \d+ %$")
        self.assertEqual([name for name in self.group.pids()], ["md_log-0"])
        wait_for(lambda: len(self.group.events("saving")) >= 3, 10, "three lines in the log")
        self.fails(self.group.run("start", "--daemon"), "is being stopped", "md_log is saving")
        self.allow("saved")
        output, errors = stopping.communicate(timeout=20)
        self.assertEqual((stopping.returncode, output, errors), (0, "millrace: stopped\n", ""))
        self.assertEqual((self.saves(), self.group.left_over(), self.group.events("child_killed")), (1, [], []))

    def test_one_that_says_nothing_is_waited_for_all_the_same(self):
        self.group.limits(stop=0.2, ready=0.5)
        self.group.environment["MILLRACE_PROGRESS_INTERVAL"] = "0.3"
        self.group.behave(md_log="silent")
        self.group.start("--io", 1)
        stopping = self.group.begin("stop")
        wait_for(lambda: len(self.group.events("saving")) >= 2, 10, "two lines in the log")
        self.assertEqual(self.group.status()["saving"], "")
        self.allow("saved")
        self.assertEqual(stopping.wait(20), 0)
        self.assertEqual(self.group.left_over(), [])

    def test_a_terminal_shows_it_in_place(self):
        self.group.behave(md_log="save")
        self.group.start("--io", 1)
        stopping, master = self.on_a_terminal("stop")
        shown = self.read(master, r"\rmillrace: md_log is saving \d+ % ...")
        self.assertNotIn("\n", shown)
        self.allow("saved")
        self.read(master, "millrace: stopped\r\n")
        self.assertEqual(stopping.wait(20), 0)

    def test_a_second_stop_waits_too(self):
        self.group.limits(answer=0.5)
        self.group.behave(md_log="save")
        self.group.start("--io", 1)
        stopping = [self.group.begin("stop")]
        wait_for(lambda: self.group.status()["saving"] is not None, 10, "the save to begin")
        stopping.append(self.group.begin("stop"))
        time.sleep(1.0)         # longer than a supervisor may be silent
        self.allow("saved")
        for each in stopping:
            self.assertEqual((each.wait(20), each.stderr.read()), (0, ""))
        self.assertEqual(self.saves(), 1)

    def test_one_that_is_dead_when_its_turn_comes_is_started_to_save(self):
        self.group.start("--io", 1)
        self.group.behave(md_log="crash")
        self.group.kill("md_log-0")
        wait_for(lambda: len(self.group.events("child_died")) >= 8, 20, "long pauses")
        self.group.behave()
        self.stops()
        self.assertEqual(self.saves(), 1)

    def test_a_start_that_is_broken_off_while_md_loads_saves_nothing(self):
        self.group.behave(md="load")
        starting = self.group.begin("start", "--port", self.group.port, "--daemon")
        wait_for(lambda: self.state_of("md_log") == "up", 10, "md_log to be up")
        self.assertEqual((self.group.run("stop").returncode, starting.wait(20)), (0, 1))
        self.assertEqual((self.group.left_over(), self.saves()), ([], 0))

    def test_one_that_dies_while_the_others_end_comes_back_to_save(self):
        self.group.behave(io_conn="slow")
        self.group.start("--io", 1)
        stopping = self.group.begin("stop")
        wait_for(lambda: self.group.events("stopping"), 10, "the stop to begin")
        self.group.kill("md_log-0")
        self.assertEqual(stopping.wait(20), 0)
        self.assertEqual((self.saves(), self.group.left_over()), (1, []))


class NotSaved(MdLogCase):
    def start_with(self, behaviour):
        self.group.behave(md_log=behaviour)
        self.group.start("--io", 1)
        return (self.group.shm() / "store").read_text()

    def goes_on_with(self, data):
        """The next start has that data, and can save it."""
        self.group.behave()
        self.allow("saved")
        self.assertEqual(self.group.status()["state"], "stopped")
        self.group.start("--io", 1)
        self.assertTrue((self.group.shm() / "store").read_text().startswith(data))
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_the_data_stays_and_the_next_start_has_it(self):
        data = self.start_with("full")
        self.fails(self.group.run("stop"), "could not be saved", "the disk of the stub is full", "--force")
        self.assertEqual(self.saves(), 0)
        self.assertIn("the disk of the stub is full", self.group.events("not_saved")[-1]["reason"] + (self.group.dir / "log" / "supervisor.log").read_text())
        self.assertEqual(sorted(os.listdir(self.group.dir / "run")), ["effective.conf", "shm", "status.json"])
        self.goes_on_with(data)

    def test_the_next_stop_tries_again(self):
        self.start_with("full")
        self.fails(self.group.run("stop"), "could not be saved")
        self.fails(self.group.run("stop"), "could not be saved", "the disk of the stub is full")
        self.group.behave()
        self.assertIn("not running", self.stops())
        self.assertEqual(self.saves(), 1)

    def test_force_gives_it_up(self):
        self.start_with("full")
        done = self.group.run("stop", "--force")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("the data was given up: md_log: the disk of the stub is full", done.stdout)
        self.assertEqual(self.group.left_over(), [])

    def test_force_after_a_stop_that_failed(self):
        self.start_with("full")
        self.fails(self.group.run("stop"), "could not be saved")
        done = self.group.run("stop", "--force")
        self.assertEqual((done.returncode, self.group.left_over()), (0, []), done)
        self.assertIn("given up", done.stdout)

    def test_force_saves_what_can_be_saved_at_once(self):
        self.start_with("")
        self.assertEqual(self.group.run("stop", "--force").stdout, "millrace: stopped\n")
        self.assertEqual((self.saves(), self.group.left_over()), (1, []))

    def test_force_ends_a_save_that_takes_too_long(self):
        self.group.limits(stop=0.3)
        self.start_with("save")
        stopping = self.group.begin("stop")
        wait_for(lambda: self.group.status()["saving"] is not None, 10, "the save to begin")
        done = self.group.run("stop", "--force")
        self.assertEqual((done.returncode, stopping.wait(20)), (0, 0), done)
        self.assertIn("given up: md_log had not done it within 0.3 s", done.stdout)
        self.assertEqual(self.group.left_over(), [])

    def test_one_that_is_killed_while_it_saves(self):
        data = self.start_with("save")
        stopping = self.group.begin("stop")
        wait_for(lambda: self.group.status()["saving"] is not None, 10, "the save to begin")
        self.group.kill("md_log-0")
        _, errors = stopping.communicate(timeout=20)
        self.assertEqual(stopping.returncode, 1)
        self.assertIn("SIGKILL", errors)
        self.goes_on_with(data)

    def test_one_that_cannot_be_started_to_save(self):
        data = self.start_with("")
        self.group.behave(md_log="error")
        self.group.kill("md_log-0")
        wait_for(lambda: len(self.group.events("child_died")) >= 3, 20, "three deaths")
        self.fails(self.group.run("stop"), "could not be saved", "md_log", "the stub fails as it was told to")
        self.goes_on_with(data)

    def test_the_foreground_says_so_and_ends_with_1(self):
        self.group.behave(md_log="full")
        process, master = self.on_a_terminal("start", "--port", self.group.port, "--io", 1)
        self.read(master, "redis-cli")
        data = (self.group.shm() / "store").read_text()
        os.kill(process.pid, signal.SIGTERM)
        self.read(master, "millrace: the data could not be saved .*the disk of the stub is full")
        self.assertEqual(process.wait(20), 1)
        self.goes_on_with(data)

    def test_a_second_ctrl_c_keeps_the_data(self):
        self.group.behave(md_log="save")
        process, master = self.on_a_terminal("start", "--port", self.group.port, "--io", 1)
        self.read(master, "redis-cli")
        self.group.wait_until_whole()
        data = (self.group.shm() / "store").read_text()
        os.kill(process.pid, signal.SIGINT)
        self.read(master, r"\rmillrace: saving \d+ % ...")
        os.kill(process.pid, signal.SIGINT)
        self.read(master, "could not be saved and stays in shared memory: md_log was killed")
        self.assertEqual(process.wait(20), 1)
        self.goes_on_with(data)

    def test_a_client_s_shutdown_keeps_it_too(self):
        data = self.start_with("full")
        pid = self.group.status()["supervisor_pid"]
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not is_alive(pid), 20, "the supervisor to end")
        self.goes_on_with(data)


class WithoutSupervisor(MdLogCase):
    def test_stop_has_it_save(self):
        self.group.start("--io", 1)
        self.group.kill("supervisor")
        self.assertIn("5 daemons without a supervisor ended", self.stops())
        self.assertEqual((self.saves(), self.order("child_ended")[-1]), (1, ("md_log", "0")))

    def test_stop_after_everything_was_killed_starts_it_to_save(self):
        self.group.start("--io", 1)
        self.kill_all()
        self.stops()
        self.assertEqual(self.saves(), 1)

    def test_what_it_cannot_save_stays(self):
        self.group.behave(md_log="full")
        self.group.start("--io", 1)
        data = (self.group.shm() / "store").read_text()
        self.group.kill("supervisor")
        self.fails(self.group.run("stop"), "could not be saved", "the disk of the stub is full")
        self.group.behave()
        self.group.start("--io", 1)
        self.assertTrue((self.group.shm() / "store").read_text().startswith(data))
        self.stops()

    def test_a_save_is_waited_for_and_can_be_cut_short(self):
        self.group.limits(stop=0.3, ready=0.5)
        self.group.behave(md_log="silent")
        self.group.start("--io", 1)
        self.group.kill("supervisor")
        stopping = self.group.begin("stop")
        wait_for(lambda: list(self.group.pids()) == ["md_log-0"], 10, "the others to end")
        time.sleep(1.5)
        self.assertIsNone(stopping.poll())
        self.allow("saved")
        self.assertEqual(stopping.wait(20), 0)
        self.assertEqual((self.saves(), self.group.left_over()), (1, []))

    def test_force_without_a_supervisor(self):
        self.group.limits(stop=0.3)
        self.group.behave(md_log="silent")
        self.group.start("--io", 1)
        self.group.kill("supervisor")
        done = self.group.run("stop", "--force")
        self.assertEqual((done.returncode, self.group.left_over()), (0, []), done)
        self.assertIn("given up", done.stdout)

    def test_one_that_cannot_be_heard_is_replaced_by_one_that_can(self):
        self.group.start("--io", 1)
        self.group.kill("supervisor")
        (self.group.dir / "run" / "md_log-0.words").unlink()
        self.stops()
        self.assertEqual(self.saves(), 1)

    def test_a_start_in_the_middle_of_a_last_save_goes_on_with_the_data(self):
        self.group.behave(md_log="silent")
        self.group.limits(stop=0.3)
        self.group.start("--io", 1)
        data = (self.group.shm() / "store").read_text()
        stopping = self.group.begin("stop")
        wait_for(lambda: self.group.status()["saving"] is not None, 10, "the save to begin")
        stopping.kill()         # it would go on without the supervisor
        stopping.wait(10)
        self.group.kill("supervisor")
        self.group.start("--io", 1)
        self.assertTrue((self.group.shm() / "store").read_text().startswith(data))
        self.allow("saved")
        self.stops()

    def test_an_adopted_one_that_saves_is_believed(self):
        self.group.start("--io", 1)
        for behaviour, status in (("", 0), ("full", 1)):
            with self.subTest(behaviour=behaviour):
                self.group.behave(md_log=behaviour)
                self.group.kill("md_log-0")
                self.group.wait_until_whole()
                self.group.kill("supervisor")
                self.group.start("--io", 1)
                self.assertEqual(self.group.run("stop").returncode, status)
                self.group.start("--io", 1)
        self.group.behave()
        self.group.kill("md_log-0")
        self.group.wait_until_whole()
        self.stops()

    def test_one_that_is_missing_is_started_by_the_next_supervisor(self):
        self.group.start("--io", 1)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.group.kill_together([before.pop("md_log-0")])
        self.group.start("--io", 1)
        after = self.group.pids()
        self.assertIn("md_log-0", after)
        self.assertEqual({name: after[name] for name in before}, before)
        self.stops()


class Loading(MdLogCase):
    def test_the_start_waits_and_io_conn_answer_meanwhile(self):
        self.group.limits(ready=0.5)
        self.group.behave(md_0="load")
        starting = self.group.begin("start", "--port", self.group.port, "--io", 2, "--daemon")
        wait_for(lambda: self.state_of("md_log") == "up" and re.fullmatch(r"\d+ %", self.group.status()["loading"] or ""), 10, "the loading to be shown")
        time.sleep(1.0)         # longer than one may take that does not say what it does
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        status = self.group.status()
        self.assertEqual((status["state"], self.state_of("md"), self.state_of("io_conn")), ("degraded", "starting", "up"))
        self.assertRegex(self.group.run("status").stdout, r"(?m)^loading: \d+ %$")
        self.assertNotIn(("md", "1"), self.order("child_started"))
        self.assertIsNone(starting.poll())
        self.fails(self.group.run("start", "--daemon"), "already running", "not all of it is up")
        self.fails(self.group.run("scale", 3), "try again")
        self.allow("loaded")
        self.assertEqual(starting.wait(20), 0, starting.stderr)
        self.group.wait_until_whole()
        self.assertIsNone(self.group.status()["loading"])
        self.assertEqual(self.order("child_started")[-1], ("md", "1"))
        self.stops()

    def test_one_that_says_nothing_more_is_given_up(self):
        self.group.limits(ready=0.3, loading=1)
        self.group.behave(md="stick")
        done = self.group.run("start", "--port", self.group.port, "--daemon")
        self.fails(done, "md does not start: it was loading (0 %) and said nothing more for 1 s")
        self.assertEqual((self.group.left_over(), self.saves()), ([], 0))

    def test_one_that_dies_while_it_loads_fails_the_start(self):
        self.group.behave(md="load")
        starting = self.group.begin("start", "--port", self.group.port, "--daemon")
        wait_for(lambda: self.state_of("md_log") == "up", 10, "md_log to be up")
        self.group.kill("md-0")
        _, errors = starting.communicate(timeout=20)
        self.assertIn("md does not start: it ended with SIGKILL", errors)
        self.assertEqual((starting.returncode, self.group.left_over(), self.saves()), (1, [], 0))

    def test_lines_where_there_is_no_terminal(self):
        self.group.environment["MILLRACE_PROGRESS_INTERVAL"] = "0.2"
        self.group.behave(md="load")
        starting = self.group.begin("start", "--port", self.group.port)
        wait_for(lambda: len(self.group.events("loading")) >= 3, 10, "three lines")
        moments = [event["at"] for event in self.group.events("loading")]
        self.assertGreaterEqual(moments[2] - moments[1], 0.15)
        self.allow("loaded")
        self.group.wait_until_whole()
        self.stops()
        self.assertRegex(starting.communicate(timeout=20)[1], r'event=loading how_far="\d+ %"\n')

    def test_in_place_on_a_terminal(self):
        self.group.behave(md="load")
        for more in ([], ["--daemon"]):
            with self.subTest(more=more):
                _, master = self.on_a_terminal("start", "--port", self.group.port, *more)
                shown = self.read(master, r"\rmillrace: loading \d+ % ...\x1b\[K\rmillrace: loading")
                self.assertNotIn("event=loading", shown)
                self.allow("loaded")
                self.assertRegex(self.read(master, "redis-cli -p"), r"\r\x1b\[K")
                self.group.wait_until_whole()
                self.stops()
                (self.group.bin / "loaded").unlink()

    def test_it_is_adopted_while_it_loads(self):
        self.group.limits(ready=0.5)
        self.group.behave(md_0="load")
        self.group.begin("start", "--port", self.group.port, "--io", 1, "--daemon")
        wait_for(lambda: self.group.status()["loading"] is not None and len(self.group.pids()) == 4, 10, "md to load")
        before = self.group.pids()
        self.group.kill("supervisor")
        starting = self.group.begin("start", "--port", self.group.port, "--daemon")
        wait_for(lambda: self.group.status()["supervisor_pid"] and self.group.status()["loading"] is not None, 10, "the loading to be heard of")
        time.sleep(1.0)
        self.assertEqual((self.group.pids(), self.state_of("md"), starting.poll()), (before, "starting", None))
        self.allow("loaded")
        self.assertEqual(starting.wait(20), 0)
        self.group.wait_until_whole()
        after = self.group.pids()
        self.assertIn("md_standby-1", after)
        self.assertEqual({name: after[name] for name in before}, before)
        self.stops()

    def test_stop_while_it_loads(self):
        self.group.behave(md="load")
        starting = self.group.begin("start", "--port", self.group.port, "--daemon")
        wait_for(lambda: self.group.status()["loading"] is not None, 10, "md to load")
        self.assertEqual((self.group.run("stop").returncode, starting.wait(20)), (0, 1))
        self.assertEqual(self.group.left_over(), [])


class Files(MdLogCase):
    def test_repair_goes_to_the_first_md_once(self):
        self.group.start("--io", 1, "--repair")
        self.group.kill("md-0")
        self.group.wait_until_whole()
        words = {name: (self.group.dir / "log" / name).read_text() for name in os.listdir(self.group.dir / "log")}
        self.assertEqual({name: text.count("--repair") for name, text in words.items() if "--repair" in text}, {"md-0.log": 1})
        self.assertEqual(words["md-0.log"].count("stub md-0"), 2)
        self.stops()

    def test_data_files_are_private_and_stay(self):
        self.group.start("--io", 1)
        self.stops()
        self.group.start("--io", 1)
        self.assertEqual((self.group.dir / "data").stat().st_mode & 0o777, 0o700)
        self.stops()
        self.assertEqual(self.saves(), 2)

    def test_check_looks_at_them(self):
        self.group.start("--io", 1)
        self.assertNotIn("data files", self.group.run("check", "--port", self.group.port).stdout)     # the program is not there
        (self.group.bin / "oplogdump").symlink_to((self.group.bin / "md").readlink())
        done = self.group.run("check", "--port", self.group.port)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("ok       data files: %s is whole\n" % (self.group.dir / "data"), done.stdout)
        self.group.behave(oplogdump="error")
        done = self.group.run("check", "--port", self.group.port)
        self.fails(done, "1 problem found")
        self.assertIn("problem  data files: damaged\n", done.stdout)

    def test_the_record_of_the_group_has_what_status_shows(self):
        self.group.start("--io", 1)
        record = json.loads((self.group.dir / "run" / "status.json").read_text())
        self.assertEqual((record["loading"], record["saving"], record["serves"]), (None, None, True))
        self.stops()


if __name__ == "__main__":
    unittest.main()
