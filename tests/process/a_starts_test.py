"""A group starts, says what runs, serves over TCP and the Unix socket, refuses a second start, and stops without a trace."""

import os
import socket
import unittest

from harness import CONTROL, FreshInstanceCase, Instance, InstanceCase, free_port, is_alive, needs_millrace, run, wait_for
from wire import Wire

STATUS_FIELDS = {"state", "port", "supervisor_pid", "version", "processes"}
PROCESS_FIELDS = {"role", "index", "pid", "state", "restarts", "uptime_s"}


def listening_addresses(port):
    """The addresses, as the kernel writes them, where something listens on that port."""
    found = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in open(table).readlines()[1:]:
            address, _, number = line.split()[1].partition(":")
            if int(number, 16) == port and line.split()[3] == "0A":
                found.add(address)
    return found


@needs_millrace
class Running(InstanceCase):
    def test_status_has_the_promised_fields(self):
        status = self.instance.status()
        self.assertLessEqual(STATUS_FIELDS, set(status))
        self.assertEqual(status["state"], "running")
        self.assertEqual(status["port"], self.instance.port)
        self.assertTrue(is_alive(status["supervisor_pid"]))
        self.assertTrue(status["version"])
        for process in status["processes"]:
            self.assertLessEqual(PROCESS_FIELDS, set(process), process)
            self.assertEqual((process["state"], process["restarts"]), ("up", 0), process)
            self.assertTrue(is_alive(process["pid"]), process)
            self.assertGreaterEqual(process["uptime_s"], 0)

    def test_status_lists_both_md_and_each_io_conn(self):
        processes = self.instance.processes()
        self.assertEqual([(process["role"], process["index"]) for process in processes[:2]], [("md", 0), ("md_standby", 1)])
        self.assertEqual([process["index"] for process in processes if process["role"] == "io_conn"], [0, 1])
        pids = [process["pid"] for process in processes]
        self.assertEqual(len(set(pids)), len(pids))

    def test_status_for_people(self):
        ended = self.instance.control("status")
        self.assertEqual(ended.returncode, 0, ended.stderr)
        for process in self.instance.processes():
            self.assertIn(str(process["pid"]), ended.stdout)

    def test_redis_cli(self):
        for arguments, answer in ((["set", "a", "1"], "OK"), (["get", "a"], "1"), (["incr", "a"], "2")):
            ended = run(["redis-cli", "-p", self.instance.port, *arguments])
            self.assertEqual((ended.returncode, ended.stdout), (0, answer + "\n"), ended.stderr)

    def test_unix_socket_serves_the_same_data(self):
        with self.instance.unix_wire() as unix:
            self.assertEqual(unix.command("SET", "shared", "over unix"), b"+OK\r\n")
            self.assertEqual(self.connect().command("GET", "shared"), b"$9\r\nover unix\r\n")
            self.assertEqual(unix.command("PING"), b"+PONG\r\n")

    def test_unix_socket_is_private(self):
        self.assertEqual(os.stat(self.instance.unix_path).st_mode & 0o777, 0o700)

    def test_listens_on_loopback_only(self):
        self.assertEqual(listening_addresses(self.instance.port), {"0100007F"})  # 127.0.0.1, lowest byte first

    def test_second_start_says_so_and_changes_nothing(self):
        before = self.instance.status()
        ended = self.instance.control("start", *self.instance.start_arguments())
        self.assertNotEqual(ended.stdout + ended.stderr, "")
        self.assertIn("running", (ended.stdout + ended.stderr).lower())
        after = self.instance.status()
        self.assertEqual([process["pid"] for process in after["processes"]],
                         [process["pid"] for process in before["processes"]])
        self.assertEqual(after["supervisor_pid"], before["supervisor_pid"])
        self.assertEqual(self.connect().command("PING"), b"+PONG\r\n")

    def test_start_on_a_taken_port_fails_with_the_reason(self):
        other = Instance(start=False)
        self.addCleanup(other.destroy)
        other.port = self.instance.port
        ended = other.control("start", *other.start_arguments())
        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        self.assertIn(str(self.instance.port), ended.stderr)
        self.assertEqual(self.connect().command("PING"), b"+PONG\r\n")
        self.assertEqual(other.status()["state"], "stopped")

    def test_a_second_instance_beside_it_has_other_data(self):
        other = Instance(io=1)
        self.addCleanup(other.stop)
        self.connect().command("SET", "whose", "first")
        with other.wire() as wire:
            self.assertEqual(wire.command("GET", "whose"), b"$-1\r\n")
            self.assertEqual(wire.command("SET", "whose", "second"), b"+OK\r\n")
        self.assertEqual(self.connect().command("GET", "whose"), b"$5\r\nfirst\r\n")


@needs_millrace
class StartAndStop(FreshInstanceCase):
    def test_stop_with_clients_connected(self):
        instance = Instance(io=2)
        wires = [instance.wire() for _ in range(10)]
        for wire in wires:
            wire.command("SET", "k", "v")
        instance.stop()
        for wire in wires:
            self.assertEqual(wire.until_closed(), b"")
            wire.close()

    def test_stop_when_nothing_runs(self):
        instance = Instance(start=False)
        self.addCleanup(instance.destroy)
        self.assertEqual(instance.status()["state"], "stopped")
        ended = instance.control("stop")
        self.assertIn(ended.returncode, (0, 1))
        self.assertNotIn("Traceback", ended.stderr)

    def test_status_after_stop(self):
        instance = self.start(io=1)
        self.assertEqual(instance.control("stop").returncode, 0)
        status = instance.status()
        self.assertEqual((status["state"], status["processes"]), ("stopped", []))
        with self.assertRaises(OSError):
            Wire(instance.address)
        instance.start()
        with instance.wire() as wire:
            self.assertEqual(wire.command("PING"), b"+PONG\r\n")

    def test_start_stop_start_on_the_same_port(self):
        instance = self.start(io=1)
        for round_number in range(3):
            with instance.wire() as wire:
                self.assertEqual(wire.command("INCR", "n"), b":1\r\n", "round %d" % round_number)
            self.assertEqual(instance.control("stop").returncode, 0)
            instance.check_nothing_left()
            instance.start()

    def test_without_tcp(self):
        instance = Instance(io=1, start=False)
        self.addCleanup(instance.destroy)
        instance.port = 0
        instance.start()
        with instance.unix_wire() as wire:
            self.assertEqual(wire.command("PING"), b"+PONG\r\n")
        instance.stop()

    def test_numbers_of_io_conn(self):
        for count in (1, 3, 8):
            instance = Instance(io=count)
            self.assertEqual(len(instance.pids("io_conn")), count)
            instance.stop()

    def test_settings_reach_the_group(self):
        instance = self.start(io=1, maxclients=77, timeout=55)
        with instance.wire() as wire:
            self.assertEqual(wire.command("CONFIG", "GET", "maxclients"), b"*2\r\n$10\r\nmaxclients\r\n$2\r\n77\r\n")
            self.assertEqual(wire.command("CONFIG", "GET", "timeout"), b"*2\r\n$7\r\ntimeout\r\n$2\r\n55\r\n")

    def test_configuration_file(self):
        instance = Instance(io=1, start=False)
        self.addCleanup(instance.stop)
        (instance.folder / "millrace.conf").write_text("# a comment\nmaxclients = 88\ntimeout = 66\n")
        instance.settings["timeout"] = 44
        instance.start()
        with instance.wire() as wire:
            self.assertEqual(wire.command("CONFIG", "GET", "maxclients"), b"*2\r\n$10\r\nmaxclients\r\n$2\r\n88\r\n")
            self.assertEqual(wire.command("CONFIG", "GET", "timeout"), b"*2\r\n$7\r\ntimeout\r\n$2\r\n44\r\n")


@needs_millrace
class BadStarts(unittest.TestCase):
    def setUp(self):
        self.instance = Instance(start=False)
        self.addCleanup(self.instance.destroy)

    def start_fails(self, *arguments):
        ended = self.instance.control("start", *arguments, "--daemon")
        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
        self.assertEqual(self.instance.status()["state"], "stopped")
        return ended.stderr

    def test_unknown_key(self):
        self.assertIn("nonsense", self.start_fails("--port", free_port(), "--set", "nonsense=1"))

    def test_bad_value(self):
        self.assertIn("maxclients", self.start_fails("--port", free_port(), "--set", "maxclients=many"))

    def test_bad_line_in_the_file_is_named(self):
        (self.instance.folder / "millrace.conf").write_text("maxclients = 10\ntimeout = soon\n")
        message = self.start_fails("--port", free_port())
        for word in ("millrace.conf", "2", "timeout"):
            self.assertIn(word, message)

    def test_bad_usage(self):
        for arguments in (["nonsense"], ["start", "--nonsense"], []):
            ended = run([CONTROL, *arguments])
            self.assertEqual(ended.returncode, 2, (arguments, ended.stderr))
            self.assertNotIn("Traceback", ended.stderr)

    def test_port_taken_by_a_stranger(self):
        with socket.socket() as stranger:
            stranger.bind(("127.0.0.1", 0))
            stranger.listen()
            port = stranger.getsockname()[1]
            self.assertIn(str(port), self.start_fails("--port", port))


@needs_millrace
class Killed(FreshInstanceCase):
    def test_start_after_everything_was_killed(self):
        instance = self.start(io=2)
        with instance.wire() as wire:
            wire.command("SET", "k", "v")
        pids = [instance.status()["supervisor_pid"], *instance.pids()]
        for pid in pids:
            os.kill(pid, 9)
        wait_for(lambda: not any(map(is_alive, pids)), 10, "the killed processes to end")
        self.assertNotEqual(instance.status()["state"], "running")
        instance.start()
        self.assertEqual(self.connect(instance).command("PING"), b"+PONG\r\n")


if __name__ == "__main__":
    unittest.main()
