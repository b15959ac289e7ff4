#!/usr/bin/python3
"""Whatever dies, hangs or refuses to end, the supervisor keeps the group going, and a stop leaves nothing behind."""

import os
import pty
import random
import select
import signal
import socket
import subprocess
import sys
import time
import unittest

from harness import ROOT, is_alive, wait_for
from supervisor_case import StubCase

sys.path.insert(0, str(ROOT / "tools"))
from supervisor.slot import Backoff  # noqa: E402


class Deaths(StubCase):
    def test_what_is_killed_comes_back(self):
        self.group.start()
        dead = self.group.kill("io_conn-1")
        wait_for(lambda: self.group.pids().get("io_conn-1", dead) != dead, 10, "io_conn 1 to come back")
        self.group.wait_until_whole()
        self.assertEqual([each["restarts"] for each in self.group.status()["processes"]], [0, 0, 0, 0, 0, 1])
        death = self.group.events("child_died")[0]
        self.assertEqual((death["role"], death["index"], death["cause"]), ("io_conn", "1", "SIGKILL"))
        self.stops()

    def test_the_first_restart_is_immediate(self):
        self.group.start()
        self.group.kill("io_conn-0")
        wait_for(lambda: len(self.group.events("child_started")) == 7, 10, "the restart")
        death, birth = self.group.events("child_died")[0], self.group.events("child_started")[6]
        self.assertLess(birth["at"] - death["at"], 0.5)

    def test_every_fifo_gets_a_byte(self):
        self.group.start()
        fifos = [os.open(self.group.dir / "run" / name, os.O_RDONLY | os.O_NONBLOCK)
                 for name in ("md.fifo", "md_log-0.fifo", "md_repl-0.fifo", "io_conn-0.fifo", "io_conn-1.fifo")]
        for fifo in fifos:
            self.drain(fifo)
        self.group.kill("io_conn-1")
        for fifo in fifos:
            readable, _, _ = select.select([fifo], [], [], 10)
            self.assertEqual(readable, [fifo])
            os.close(fifo)

    @staticmethod
    def drain(fifo):
        try:
            while os.read(fifo, 1000):
                pass
        except BlockingIOError:
            pass

    def test_while_one_is_down_the_state_is_degraded(self):
        self.group.start("--io", 1)
        self.group.behave(io_conn="crash")
        self.group.kill("io_conn-0")
        wait_for(lambda: len(self.group.events("child_died")) >= 3, 10, "two failed restarts")
        self.assertIn("reason=", (self.group.dir / "log" / "supervisor.log").read_text())
        self.assertEqual(self.group.status()["state"], "degraded")
        self.assertIn("degraded", self.group.run("status").stdout)
        self.fails(self.group.run("start", "--daemon"), "already running")
        self.group.behave()
        wait_for(lambda: self.group.status()["state"] == "running", 10, "the group to run")

    def test_status_is_written_as_soon_as_it_can_be_again(self):
        self.group.start()
        obstacle = self.group.dir / "run" / "status.json.new"
        obstacle.mkdir()
        for _ in range(2):
            dead = self.group.status()["processes"][4]["pid"] or self.group.events("child_started")[-1]["pid"]
            os.kill(int(dead), signal.SIGKILL)
            wait_for(lambda: any(each["pid"] == str(dead) for each in self.group.events("child_died")), 10, "the death")
            time.sleep(0.3)
        self.assertEqual(self.group.status()["state"], "degraded")
        obstacle.rmdir()
        self.group.wait_until_whole()
        self.assertEqual(len(self.group.events("status_not_written")), 1)
        self.stops()

    def test_the_only_io_conn_is_not_waited_for(self):
        self.group.start("--io", 1)
        for _ in range(6):
            self.group.kill("io_conn-0")
            self.group.wait_until_whole()
            time.sleep(0.15)        # it has served for a while
        deaths, births = [[event["at"] for event in self.group.events(name) if event["role"] == "io_conn"] for name in ("child_died", "child_started")]
        self.assertLess(max(birth - death for birth, death in zip(births[1:], deaths)), 0.1)

    def test_the_pauses_of_one_that_always_dies_grow(self):
        self.group.start("--io", 1)
        self.group.behave(io_conn="die")
        self.group.kill("io_conn-0")
        wait_for(lambda: len(self.group.events("child_died")) >= 6, 20, "six deaths")
        deaths = [event["at"] for event in self.group.events("child_died")]
        births = [event["at"] for event in self.group.events("child_started") if event["role"] == "io_conn"][1:]
        for number, (death, birth) in enumerate(zip(deaths[1:5], births[1:5])):
            # The log tells milliseconds, so one may be missing.
            self.assertGreaterEqual(birth - death, 0.019 * 2 ** number)
        self.stops()

    def test_an_io_conn_may_not_command(self):
        self.group.start("--io", 1)
        self.group.behave(io_conn="ask")
        self.group.kill("io_conn-0")
        log = self.group.dir / "log" / "io_conn-0.log"
        wait_for(lambda: "answer: " in log.read_text(), 10, "the answer")
        self.assertIn("no request of an io_conn", log.read_text())
        self.group.wait_until_whole()
        self.assertEqual(len(self.group.pids()), 5)

    def test_the_rule_of_the_pauses(self):
        backoff = Backoff()
        pauses = [backoff.delay_s(0.1) for _ in range(50)]
        self.assertEqual(pauses[:7], [0, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64])
        self.assertEqual(set(pauses[7:]), {1.0})
        self.assertEqual(backoff.delay_s(10.0), 0)
        self.assertEqual(backoff.delay_s(0.1), 0.02)

    def test_a_program_that_vanishes_for_a_while(self):
        self.group.start("--io", 1)
        (self.group.bin / "io_conn").rename(self.group.bin / "elsewhere")
        self.group.kill("io_conn-0")
        wait_for(lambda: self.group.events("child_not_started"), 10, "a failed restart")
        (self.group.bin / "elsewhere").rename(self.group.bin / "io_conn")
        wait_for(lambda: self.group.status()["state"] == "running", 10, "the group to run")

    def test_one_that_hangs_at_a_restart_is_ended_and_tried_again(self):
        self.group.limits(ready=1)
        self.group.start("--io", 1)
        self.group.behave(io_conn="hang")
        self.group.kill("io_conn-0")
        wait_for(lambda: self.group.events("child_not_ready"), 10, "the supervisor to lose patience")
        self.group.behave()
        wait_for(lambda: self.group.status()["state"] == "running", 10, "the group to run")


class FailedStarts(StubCase):
    def check(self, behaviour, *words):
        self.group.behave(**behaviour)
        done = self.group.run("start", "--port", self.group.port, "--daemon")
        self.fails(done, *words)
        self.assertEqual(self.group.left_over(), [])

    def test_the_reason_of_a_daemon_is_passed_on(self):
        for name, words in ("md_0", ["md does not start"]), ("io_conn_1", ["io_conn 1 does not start"]):
            self.check({name: "error"}, *words, "the stub fails as it was told to")
            self.check({name: "crash"}, *words, "exit:3", "the stub crashes as it was told to")

    def test_one_that_is_never_ready(self):
        self.group.limits(ready=1)
        self.check({"md": "hang"}, "not ready within 1 s")

    def test_a_missing_program(self):
        (self.group.bin / "io_conn").unlink()
        self.check({}, "io_conn", "MILLRACE_BIN")

    def test_a_bad_configuration_touches_nothing(self):
        self.fails(self.group.run("start", "--daemon", "--set", "port=x"), "'x'")
        self.fails(self.group.run("start", "--daemon", "--config", "/nowhere/at.all"), "/nowhere/at.all")
        self.assertFalse(self.group.dir.exists())

    def test_a_damaged_instance_id(self):
        (self.group.dir / "data").mkdir(parents=True)
        (self.group.dir / "data" / "instance").write_text("id = nonsense\n")
        self.fails(self.group.run("start", "--daemon"), self.group.dir / "data" / "instance")
        self.assertEqual(self.group.left_over(), [])

    def test_a_folder_that_cannot_be_made(self):
        (self.group.root / "file").write_text("")
        self.fails(self.group.run("start", "--daemon", folder=self.group.root / "file" / "below"), "Not a directory")

    def test_in_the_foreground(self):
        self.group.behave(md="error")
        done = self.group.run("start", "--port", self.group.port)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(len(self.group.events("child_started")), 1)    # a first start is not tried again
        self.assertIn("\nmillrace: md does not start: the stub fails as it was told to\n", done.stderr)
        self.assertEqual(self.group.left_over(), [])

    def test_broken_off_by_a_signal(self):
        self.group.behave(md="hang")
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            for more in ([], ["--daemon"]):
                with self.subTest(signal=number.name, more=more):
                    starting = self.group.begin("start", "--port", str(self.group.port), *more)
                    wait_for(lambda: "md-0" in self.group.pids(), 20, "md to be started")
                    starting.send_signal(number)
                    _, errors = starting.communicate(timeout=20)
                    self.assertEqual(starting.returncode, 1)
                    self.assertIn("broken off", errors)
                    self.assertEqual(self.group.left_over(), [])

    def test_stop_during_the_start(self):
        self.group.behave(io_conn="hang")
        starting = self.group.begin("start", "--port", str(self.group.port), "--daemon")
        wait_for(lambda: "io_conn-0" in self.group.pids(), 20, "io_conn to be started")
        self.assertEqual(self.group.status()["state"], "degraded")
        self.assertEqual(self.group.run("stop").returncode, 0)
        _, errors = starting.communicate(timeout=20)
        self.assertEqual(self.group.left_over(), [])
        self.assertEqual((starting.returncode, errors.count("\n")), (1, 1), errors)


class Stops(StubCase):
    def test_after_the_kill_of_each_process(self):
        for name in ("md-0", "md_standby-1", "md_log-0", "md_repl-0", "io_conn-0", "supervisor"):
            with self.subTest(killed=name):
                self.group.start("--io", 1)
                self.group.kill(name)
                self.stops()

    def test_one_that_ignores_sigterm_is_killed(self):
        self.group.limits(stop=0.3)
        self.group.behave(io_conn="deaf")
        self.group.start("--io", 1)
        self.stops()
        self.assertEqual([event["role"] for event in self.group.events("child_killed")], ["io_conn"])

    def test_a_stopped_daemon_still_ends_in_order(self):
        self.group.start("--io", 1)
        self.group.kill("md-0", signal.SIGSTOP)
        self.assertEqual(self.group.status()["state"], "running")
        self.stops()
        self.assertEqual({event["cause"] for event in self.group.events("child_ended")}, {"exit:0"})

    def test_a_hung_supervisor_is_killed(self):
        self.group.limits(answer=0.5)
        self.group.start("--io", 1)
        self.group.kill("supervisor", signal.SIGSTOP)
        self.fails(self.group.run("scale", 2), "does not answer", "millrace stop")
        done = self.group.run("stop")
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("does not answer", done.stderr)
        self.assertEqual(self.group.left_over(), [])

    def test_a_unix_socket_of_a_dead_supervisor_goes_too(self):
        path = self.group.root / "client.sock"
        self.group.start("--set", "unixsocket=%s" % path)
        self.group.kill("supervisor")
        self.stops()
        self.assertFalse(path.exists())

    def test_a_recorded_pid_that_belongs_to_somebody_else_now(self):
        self.group.start("--io", 1)
        daemon = self.group.pids()["io_conn-0"]
        record = self.group.dir / "run" / "status.json"
        identity = (self.group.dir / "data" / "instance").read_text().split()[2]
        stranger = subprocess.Popen([sys.executable, "-c", "input()", "--instance", identity, "--dir", "/elsewhere"],
                                    stdin=subprocess.PIPE)
        self.group.kill("supervisor")
        record.write_text(record.read_text().replace(": %d," % daemon, ": %d," % stranger.pid))
        self.assertNotIn("io_conn-0", self.group.pids())
        self.stops()
        self.assertIsNone(stranger.poll())      # a pid alone is not believed
        stranger.communicate(b"\n", timeout=10)


class DeadSupervisor(StubCase):
    def test_the_daemons_go_on_and_status_says_so(self):
        self.group.start("--io", 1)
        before = self.group.pids()
        self.group.kill("supervisor")
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        status = self.group.status()
        self.assertEqual((status["state"], status["supervisor_pid"]), ("degraded", None))
        self.assertEqual(self.group.pids(), before)
        self.fails(self.group.run("scale", 2), "not running")

    def test_a_daemon_that_was_not_yet_recorded_is_found(self):
        self.group.start("--io", 1)
        self.group.kill("supervisor")
        (self.group.dir / "run" / "status.json").unlink()
        self.stops()

    def test_start_after_everything_was_killed(self):
        self.group.start()
        for pid in [self.group.status()["supervisor_pid"], *self.group.pids().values()]:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.group.status()["state"] == "stopped", 10, "all to be dead")
        self.group.start()
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_stop_after_everything_was_killed(self):
        self.group.start()
        for pid in [self.group.status()["supervisor_pid"], *self.group.pids().values()]:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.group.status()["state"] == "stopped", 10, "all to be dead")
        self.stops()


class Foreground(StubCase):
    """The terminal is a pseudo terminal, so that Ctrl-C goes the way it goes for a user."""

    def start_on_a_terminal(self, *arguments):
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)

        def take_terminal():
            import fcntl
            import termios
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        process = self.group.start_in_foreground(*arguments, stdin=slave, stdout=slave, stderr=slave,
                                                 preexec_fn=take_terminal)
        self.addCleanup(process.wait)
        os.close(slave)
        return process, master

    @staticmethod
    def read(master, text):
        """Reads the terminal until it shows that text."""
        shown = b""
        while text.encode() not in shown:
            readable, _, _ = select.select([master], [], [], 20)
            assert readable, shown
            shown += os.read(master, 10000)
        return shown.decode()

    def test_ctrl_c_stops_all_in_order(self):
        process, master = self.start_on_a_terminal("--io", "1")
        self.read(master, "redis-cli -p %d" % self.group.port)
        os.write(master, b"\x03")
        self.assertEqual(process.wait(20), 0)
        self.assertEqual({event["cause"] for event in self.group.events("child_ended")}, {"exit:0"})
        self.assertEqual(self.group.left_over(), [])

    def test_events_are_shown(self):
        process, master = self.start_on_a_terminal("--io", "1")
        self.group.kill("io_conn-0")
        self.read(master, "event=child_died role=io_conn index=0")
        os.write(master, b"\x03")
        self.assertEqual(process.wait(20), 0)

    def test_a_second_ctrl_c_kills_at_once(self):
        self.group.limits(stop=60)
        self.group.behave(io_conn="deaf")
        process, master = self.start_on_a_terminal("--io", "1")
        os.write(master, b"\x03")
        self.read(master, "event=stopping")
        os.write(master, b"\x03")
        self.assertEqual(process.wait(20), 1)
        self.assertEqual([event["cause"] for event in self.group.events("child_ended")], ["SIGKILL"] * 5)
        self.assertTrue((self.group.shm() / "store").exists())      # nobody has saved it
        self.stops()

    def test_sigterm_and_a_vanished_terminal(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            process = self.group.start_in_foreground("--io", "1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            process.send_signal(number)
            self.assertEqual(process.wait(20), 0)
            self.assertEqual(self.group.left_over(), [])

    def test_millrace_stop_ends_it(self):
        process = self.group.start_in_foreground("--io", "1", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.stops()
        self.assertEqual(process.wait(20), 0)


class Detached(StubCase):
    def test_sighup_changes_nothing(self):
        self.group.start("--io", 1)
        self.group.kill("supervisor", signal.SIGHUP)
        wait_for(lambda: self.group.events("signal_ignored"), 10, "the signal to be seen")
        self.assertEqual(self.group.status()["state"], "running")

    def test_sigterm_stops_all(self):
        self.group.start("--io", 1)
        pid = self.group.kill("supervisor", signal.SIGTERM)
        wait_for(lambda: not is_alive(pid), 10, "the supervisor to end")
        self.assertEqual(self.group.left_over(), [])

    def test_nothing_of_the_caller_is_kept(self):
        self.group.start("--io", 1)
        pid = self.group.status()["supervisor_pid"]
        self.assertEqual(os.readlink("/proc/%d/cwd" % pid), "/")
        self.assertEqual(os.readlink("/proc/%d/fd/0" % pid), "/dev/null")
        self.assertEqual(os.readlink("/proc/%d/fd/2" % pid), str(self.group.dir / "log" / "supervisor.log"))
        self.assertNotIn(os.getsid(pid), (os.getsid(0), pid))   # no session leader: it cannot gain a terminal


class ControlSocket(StubCase):
    def test_junk_is_no_harm(self):
        self.group.start("--io", 1)
        seed = random.randrange(1 << 32)
        dice = random.Random(seed)
        directory = os.open(self.group.dir / "run", os.O_PATH)
        self.addCleanup(os.close, directory)
        lines = [b"", b"\n", b"[]\n", b"7\n", b"null\n", b'{"op": []}\n', b'{"op": "scale"}\n',
                 b'{"op": "scale", "io_conns": 0}\n', b'{"op": "scale", "io_conns": true}\n',
                 b'{"op": "scale", "io_conns": "2"}\n', b"x" * 100000 + b"\n", b"[" * 4000 + b"\n"]
        lines += [dice.randbytes(dice.randrange(200)) + b"\n" for _ in range(30)]
        for line in lines:
            with self.subTest(seed=seed, line=line[:40]), socket.socket(socket.AF_UNIX) as link:
                link.settimeout(10)
                link.connect("/proc/self/fd/%d/supervisor.sock" % directory)
                try:
                    link.sendall(line)
                    link.shutdown(socket.SHUT_WR)
                    self.assertNotIn(b'"ok": true', link.recv(1000))
                except (BrokenPipeError, ConnectionResetError):
                    pass
        self.assertEqual(self.group.status()["state"], "running")
        self.assertEqual(self.group.events("internal_error"), [])
        self.stops()

    def test_two_operations_at_once(self):
        self.group.behave(io_conn="slow")
        self.group.start("--io", 1)
        restarting = self.group.begin("restart")
        wait_for(lambda: self.group.events("restarting"), 20, "the restart to begin")
        self.fails(self.group.run("scale", 2), "try again")
        restarting.communicate(timeout=20)
        self.assertEqual(self.group.run("scale", 2).returncode, 0)

    def test_stop_during_a_restart(self):
        self.group.start("--io", 1)
        self.group.behave(md="hang")
        restarting = self.group.begin("restart")
        wait_for(lambda: len(self.group.events("child_started")) == 6, 20, "the new md to be started")
        self.stops()
        _, errors = restarting.communicate(timeout=20)
        self.assertEqual(restarting.returncode, 1)
        self.assertIn("broken off", errors)


if __name__ == "__main__":
    unittest.main()
