#!/usr/bin/python3
"""Of the two md one serves and one waits: whichever dies, hangs or cannot start, clients are served, the status is true, and
a stop leaves nothing behind."""

import asyncio
import os
import signal
import sys
import time
import unittest

from harness import ROOT, is_alive, wait_for
from supervisor_case import StubCase

sys.path.insert(0, str(ROOT / "tools"))
from supervisor.limits import SERVED_S  # noqa: E402
from supervisor.pair import Pair  # noqa: E402


class StandbyCase(StubCase):
    def shown(self):
        """{role: (index, state)} of the two md."""
        return {each["role"]: (each["index"], each["state"]) for each in self.group.status()["processes"]
                if each["role"] in ("md", "md_standby")}

    def md_events(self, name, index=None):
        return [event for event in self.group.events(name)
                if event.get("role", "md") == "md" and index in (None, int(event["index"]))]

    def io_conn_pids(self):
        return {name: pid for name, pid in self.group.pids().items() if name.startswith("io_conn")}

    def serves(self):
        self.assertEqual(self.group.ping(), b"+PONG\r\n")


class Beginning(StandbyCase):
    def test_it_starts_last_and_nobody_waits_for_it(self):
        self.group.behave(md_1="hang")
        done = self.group.start("--io", 2, whole=False)
        self.assertIn("running", done.stdout)
        self.serves()
        self.assertEqual(self.shown(), {"md": (0, "up"), "md_standby": (1, "starting")})
        self.assertEqual(self.group.status()["state"], "degraded")
        self.assertRegex(self.group.run("status").stdout, r"(?m)^md +0 .* up .*\n^md_standby +1 .* starting ")
        order = [(event["role"], event["index"]) for event in self.group.events("child_started")]
        self.assertEqual((order[0], order[-1]), (("md", "0"), ("md", "1")))
        ready = [event["at"] for event in self.group.events("child_ready")]
        self.assertLessEqual(max(ready), self.md_events("child_started", 1)[0]["at"])
        self.stops()

    def test_start_is_content_with_a_group_whose_standby_is_missing(self):
        self.group.behave(md_1="hang")
        self.group.start("--io", 1, whole=False)
        done = self.group.run("start", "--daemon")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("already running", done.stdout)
        self.assertIn("standby", done.stdout)

    def test_logs_and_command_lines(self):
        self.group.start("--io", 1)
        for index in (0, 1):
            words = (self.group.dir / "log" / ("md-%d.log" % index)).read_text().split()
            self.assertEqual(words[words.index("--index") + 1], str(index))
        self.assertEqual([event["pid"] for event in self.md_events("child_standby")],
                         [str(self.group.pids()["md_standby-1"])])
        self.assertEqual(self.group.events("md_took_over"), [])
        self.assertEqual(sorted(name for name in os.listdir(self.group.dir / "run") if name.startswith("md")), ["md-0.words", "md-1.words", "md.fifo", "md_log-0.fifo", "md_log-0.words", "md_repl-0.fifo", "md_repl-0.words"])

    def check_one_that_cannot_start(self, behaviour, event):
        self.group.limits(ready=1)
        self.group.behave(md_1=behaviour)
        self.group.start("--io", 1, whole=False)
        before = self.group.pids()
        wait_for(lambda: len(self.md_events(event, 1)) >= 2, 15, "two failures")
        self.serves()
        self.assertEqual(self.group.status()["state"], "degraded")
        self.assertEqual(self.shown()["md"], (0, "up"))
        self.assertEqual(self.shown()["md_standby"][0], 1)
        now = self.group.pids()
        self.assertEqual({name: now[name] for name in ("md-0", "io_conn-0")},
                         {name: before[name] for name in ("md-0", "io_conn-0")})

    def test_one_that_says_why_it_cannot_start(self):
        self.check_one_that_cannot_start("error", "child_died")
        self.assertIn("the stub fails as it was told to", (self.group.dir / "log" / "supervisor.log").read_text())
        self.group.behave()
        self.group.wait_until_whole()
        self.stops()

    def test_one_that_crashes(self):
        self.check_one_that_cannot_start("crash", "child_died")
        self.stops()

    def test_one_that_is_never_ready(self):
        self.check_one_that_cannot_start("hang", "child_not_ready")
        self.group.behave()
        self.group.wait_until_whole()

    def test_its_pauses_grow(self):
        self.group.behave(md_1="die")
        self.group.start("--io", 1, whole=False)
        wait_for(lambda: len(self.md_events("child_died", 1)) >= 6, 20, "six deaths")
        deaths = [event["at"] for event in self.md_events("child_died", 1)]
        births = [event["at"] for event in self.md_events("child_started", 1)]
        for number, (death, birth) in enumerate(zip(deaths[1:5], births[2:6])):
            self.assertGreaterEqual(birth - death, 0.019 * 2 ** number)
        self.assertEqual(len(self.md_events("child_started", 0)), 1)


class TakeOver(StandbyCase):
    def test_of_one_that_was_killed(self):
        self.group.start("--io", 2)
        before = self.group.pids()
        self.group.kill("md-0")
        self.group.wait_until_whole()
        now = self.group.pids()
        self.assertEqual(self.shown(), {"md": (1, "up"), "md_standby": (0, "up")})
        self.assertEqual(now["md-1"], before["md_standby-1"])
        self.assertNotIn(now["md_standby-0"], before.values())
        self.assertEqual(self.io_conn_pids(), {name: before[name] for name in ("io_conn-0", "io_conn-1")})
        self.assertEqual([(event["index"], event["pid"]) for event in self.group.events("md_took_over")],
                         [("1", str(now["md-1"]))])
        self.assertEqual([(each["role"], each["restarts"]) for each in self.group.status()["processes"][:2]],
                         [("md", 0), ("md_standby", 1)])
        self.serves()
        self.stops()

    def test_the_death_of_a_standby_disturbs_nobody(self):
        self.group.start("--io", 2)
        before = self.group.pids()
        dead = self.group.kill("md_standby-1")
        wait_for(lambda: self.group.pids().get("md_standby-1", dead) != dead, 10, "a new standby")
        self.group.wait_until_whole()
        now = self.group.pids()
        self.assertEqual({**now, "md_standby-1": dead}, before)
        self.assertEqual(self.group.events("md_took_over"), [])
        self.stops()

    def test_after_both_were_killed(self):
        self.group.start("--io", 2)
        before = self.group.pids()
        for name in ("md-0", "md_standby-1"):
            os.kill(before[name], signal.SIGKILL)
        wait_for(lambda: self.group.status()["state"] == "running"
                 and not set(before.values()) & set(self.md_pids()), 10, "two new md")
        self.assertEqual(self.io_conn_pids(), {name: before[name] for name in ("io_conn-0", "io_conn-1")})
        self.assertEqual(sorted(self.shown().values()), [(0, "up"), (1, "up")])
        self.stops()

    def md_pids(self):
        return [pid for name, pid in self.group.pids().items() if name.startswith(("md-", "md_standby-"))]

    def test_again_and_again(self):
        self.group.start("--io", 1)
        supervisor = self.group.status()["supervisor_pid"]
        descriptors = len(os.listdir("/proc/%d/fd" % supervisor))
        io_conn = self.io_conn_pids()
        for number in range(8):
            self.group.kill("md-%d" % (number % 2))
            self.group.wait_until_whole()
            self.assertEqual(self.shown(), {"md": (1 - number % 2, "up"), "md_standby": (number % 2, "up")})
        self.assertEqual(self.io_conn_pids(), io_conn)
        self.assertEqual(len(self.group.events("md_took_over")), 8)
        self.assertLessEqual(len(os.listdir("/proc/%d/fd" % supervisor)), descriptors + 1)     # /proc/PID/fd itself
        self.stops()

    def test_the_role_changes_at_once_and_the_new_standby_takes_its_time(self):
        self.group.start("--io", 1)
        self.group.behave(md_0="hang")
        self.group.kill("md-0")
        wait_for(lambda: self.shown() == {"md": (1, "up"), "md_standby": (0, "starting")}, 10, "the roles to change")
        self.assertEqual(self.group.status()["state"], "degraded")
        self.serves()
        self.stops()

    def test_while_none_serves_one_is_shown_as_md(self):
        self.group.start("--io", 1)
        self.group.behave(md="hang")
        pids = self.group.pids()
        for name in ("md-0", "md_standby-1"):
            os.kill(pids[name], signal.SIGKILL)
        wait_for(lambda: [state for _, state in self.shown().values()] == ["starting"] * 2, 10, "both to start")
        self.assertEqual(set(self.shown()), {"md", "md_standby"})
        self.assertEqual(self.group.status()["state"], "degraded")
        self.fails(self.group.run("start", "--daemon"), "already running", "not all of it is up")
        self.stops()

    def test_by_one_that_fails_at_it(self):
        self.group.behave(md_1="fail")
        self.group.start("--io", 1)
        self.group.behave()
        self.group.kill("md-0")
        wait_for(lambda: self.md_events("child_died", 1), 10, "the standby to fail")
        self.assertIn("cannot take over", (self.group.dir / "log" / "supervisor.log").read_text())
        self.group.wait_until_whole()
        self.serves()


class Pauses(StandbyCase):
    def test_a_standby_that_always_dies_costs_no_service(self):
        self.group.behave(md_1="crash")
        self.group.start("--io", 1, whole=False)
        wait_for(lambda: len(self.md_events("child_died", 1)) >= 8, 30, "long pauses")
        for _ in range(8):                              # by itself, the pause after the last one would be the longest
            time.sleep(2 * SERVED_S)                    # one that has not served that long may be kept waiting
            serving = self.group.kill("md-0")
            wait_for(lambda: self.group.pids().get("md-0", serving) != serving
                     and self.shown()["md"] == (0, "up"), 10, "md 0 to serve")
        deaths, births = self.md_events("child_died", 0), self.md_events("child_started", 0)[1:]
        gaps = [birth["at"] - death["at"] for death, birth in zip(deaths, births)]
        self.assertLess(max(gaps), 0.5, gaps)

    def test_two_that_cannot_start_do_not_spin(self):
        self.group.start("--io", 1)
        pids = self.group.pids()
        self.group.behave(md="crash")
        for name in ("md-0", "md_standby-1"):
            os.kill(pids[name], signal.SIGKILL)
        wait_for(lambda: len(self.md_events("child_died")) >= 18, 40, "many deaths")
        deaths, births = ([event["at"] for event in self.md_events(name)] for name in ("child_died", "child_started"))
        pauses = [birth - max(death for death in deaths if death <= birth) for birth in births if birth > deaths[0]]
        self.assertLess(min(pauses), 0.1, pauses)
        self.assertGreater(max(pauses), 0.15, pauses)
        self.group.behave()
        self.group.wait_until_whole()
        self.stops()

    class Place:
        """A slot as far as Pair sees it."""

        def __init__(self, state="down", turn=0, next_try=None):
            self.state, self.turn, self.next_try, self.hurried = state, turn, next_try, []
            self.is_dying = False

        def hurry(self, seconds):
            self.hurried.append(seconds)

    def test_the_rule_of_the_gap(self):
        async def play():
            now = asyncio.get_running_loop().time()
            pair, first, second = Pair(), self.Place(next_try=now + 1.0), self.Place("starting", next_try=None)
            pair.slots = [first, second]
            pair.next_turn()
            await asyncio.sleep(0.15)
            pair.pausing()
            self.assertEqual(first.hurried, [])         # the other may come up
            second.state, second.next_try = "down", now + 0.5
            for _ in range(5):
                pair.pausing()
            self.assertEqual(first.hurried, [0.0, 0.02, 0.04, 0.08, 0.16])
            self.assertEqual(second.hurried, first.hurried)
            pair.next_turn()
            await asyncio.sleep(0.15)                   # somebody served: the next one is at once again
            pair.pausing()
            self.assertEqual(second.hurried[5:], [0.0])
        asyncio.run(play())

    def test_the_last_word_ready_counts_as_long_as_its_process_lives(self):
        pair, first, second = Pair(), self.Place("up", 2), self.Place("up", 1)
        pair.slots = [first, second]
        self.assertTrue(pair.healthy())                 # the second one has handed over
        second.is_dying = True                          # or it is being taken apart, and nobody has said so yet
        self.assertEqual(pair.shown(), [(first, "md", "up"), (second, "md_standby", "down")])
        self.assertFalse(pair.healthy())
        second.is_dying = False
        first.state, first.turn = "down", 0
        self.assertEqual(pair.shown(), [(second, "md", "up"), (first, "md_standby", "down")])
        first.state = "up"
        self.assertTrue(pair.healthy())
        second.state, second.turn = "starting", 0
        self.assertEqual(pair.shown(), [(first, "md", "starting"), (second, "md_standby", "starting")])


class Ending(StandbyCase):
    def test_the_standby_ends_before_the_one_that_serves(self):
        self.group.start("--io", 1)
        self.group.kill("md-0")
        self.group.wait_until_whole()
        self.stops()
        ends = [(event["role"], event["index"], event["cause"]) for event in self.group.events("child_ended") if event["role"] != "md_repl"]
        self.assertEqual(ends, [("io_conn", "0", "exit:0"), ("md", "0", "exit:0"), ("md", "1", "exit:0"), ("md_log", "0", "exit:0")])
        self.assertEqual(len(self.group.events("md_took_over")), 1)

    def test_in_every_state_of_the_standby(self):
        self.group.limits(stop=0.5)
        for behaviour in ("hang", "error", "crash", "die", "late", "deaf", "slow"):
            with self.subTest(standby=behaviour):
                self.group.behave(md_1=behaviour)
                self.group.start("--io", 1, whole=False)
                wait_for(lambda: self.md_events("child_started", 1), 10, "the standby to be started")
                self.stops()

    def test_while_both_back_off(self):
        self.group.start("--io", 1)
        pids = self.group.pids()
        self.group.behave(md="crash")
        for name in ("md-0", "md_standby-1"):
            os.kill(pids[name], signal.SIGKILL)
        wait_for(lambda: len(self.md_events("child_died")) >= 14, 30, "long pauses")
        self.stops()

    def test_when_the_one_that_serves_dies_meanwhile(self):
        self.group.behave(md_1="slow")
        self.group.start("--io", 1)
        serving, standby = (self.group.pids()[name] for name in ("md-0", "md_standby-1"))
        stopping = self.group.begin("stop")
        wait_for(lambda: self.group.events("child_ended"), 10, "io_conn to end")
        os.kill(serving, signal.SIGKILL)
        stopping.communicate(timeout=20)
        self.assertEqual(stopping.returncode, 0)
        self.assertEqual(self.group.left_over(), [])
        self.assertFalse(is_alive(standby))
        self.assertEqual(len(self.md_events("child_started")), 2)

    def test_when_the_standby_has_just_taken_over(self):
        for _ in range(5):
            self.group.start("--io", 1)
            os.kill(self.group.pids()["md-0"], signal.SIGKILL)
            self.stops()

    def test_while_they_stand_still(self):
        self.group.start("--io", 1)
        for name in ("md-0", "md_standby-1"):
            self.group.kill(name, signal.SIGSTOP)
        self.stops()
        self.assertEqual({event["cause"] for event in self.group.events("child_ended")}, {"exit:0"})

    def test_restart_when_the_standby_cannot_start(self):
        self.group.behave(md_1="error")
        self.group.start("--io", 1, whole=False)
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.serves()
        self.group.behave()
        self.group.wait_until_whole()
        self.assertEqual(self.shown(), {"md": (0, "up"), "md_standby": (1, "up")})
        self.stops()

    def test_restart_of_md_0_that_fails_is_healed_by_md_1(self):
        self.group.start("--io", 1)
        self.group.behave(md_0="error")
        self.fails(self.group.run("restart"), "md does not start")
        wait_for(lambda: self.shown()["md"] == (1, "up"), 10, "md 1 to serve")
        wait_for(lambda: self.group.ping() == b"+PONG\r\n", 10, "clients to be served")
        self.assertEqual(self.group.status()["state"], "degraded")
        self.group.behave()
        self.group.wait_until_whole()
        self.stops()


class WithoutSupervisor(StandbyCase):
    def test_a_take_over_is_shown(self):
        self.group.start("--io", 1)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.assertEqual(self.group.pids(), before)
        self.group.kill("md-0")
        self.assertEqual(self.shown(), {"md": (1, "up"), "md_standby": (0, "down")})
        wait_for(lambda: "pid %d\n" % before["md_standby-1"] in (self.group.shm() / "store").read_text(), 10,
                 "the standby to take over without anybody to tell")
        self.serves()
        self.assertIn("4 daemons", self.group.start("--io", 1).stdout)
        self.assertEqual(self.shown(), {"md": (1, "up"), "md_standby": (0, "up")})
        self.assertEqual(self.group.pids()["md-1"], before["md_standby-1"])
        self.stops()

    def test_start_after_everything_was_killed(self):
        self.group.start("--io", 1)
        for pid in [self.group.status()["supervisor_pid"], *self.group.pids().values()]:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.group.status()["state"] == "stopped", 10, "all to be dead")
        self.group.start("--io", 1)
        self.assertEqual((self.group.shm() / "store").read_text().count("pid"), 2)     # the one from before
        self.stops()


if __name__ == "__main__":
    unittest.main()
