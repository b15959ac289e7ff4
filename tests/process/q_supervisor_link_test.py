"""CONFIG REWRITE and SHUTDOWN: what an io_conn has the supervisor do, and what clients see when it does not."""

import json
import os
import signal
import socket
import sys
import threading
import unittest

from compare import CompareCase, start_sides, stop_sides
from harness import ROOT, FreshInstanceCase, is_alive, needs_millrace, wait_for
from wire import encode

sys.path.insert(0, str(ROOT / "tools"))
from supervisor.rewrite import MARK, new_text  # noqa: E402

OK = b"+OK\r\n"
FILE = """# of the operator

maxmemory = 10mb  # ten
timeout = 3
# timeout = 9
Timeout = 4   # the later one counts
io-conns = 1
requirepass = "a # b" # secret
"""


def setUpModule():
    start_sides(io_counts=(1,))


def tearDownModule():
    stop_sides()


class Words(CompareCase):
    def test_shutdown_that_is_none(self):
        self.each_same("SHUTDOWN nonsense", "SHUTDOWN SAVE NOSAVE", "SHUTDOWN ABORT", "shutdown abort now", "SHUTDOWN ABORT FORCE", "SHUTDOWN NOSAVE ABORT", "SHUTDOWN NOW nonsense",
                       "CONFIG REWRITE x", "CONFIG HELP x")
        self.same("MULTI", "SHUTDOWN", "SET k v", "EXEC")


class Text(unittest.TestCase):
    DEFAULTS = {"port": 6379, "maxmemory": 0, "timeout": 0, "io-conns": 2, "requirepass": ""}
    IN_FILE = {"port": 6379, "maxmemory": 10485760, "timeout": 4, "io-conns": 1, "requirepass": "a # b"}

    def test_what_has_not_changed_stays_to_the_byte(self):
        self.assertEqual(new_text(FILE, self.IN_FILE, self.DEFAULTS, self.IN_FILE), FILE)

    def test_what_has_changed(self):
        now = {"port": 7000, "maxmemory": 5, "timeout": 0, "io-conns": 1, "requirepass": 'x"\\#'}
        self.assertEqual(new_text(FILE, now, self.DEFAULTS, self.IN_FILE), """# of the operator

maxmemory = 5  # ten
timeout = 0
# timeout = 9
io-conns = 1
requirepass = "x\\"\\\\#"  # secret

%s
port = 7000
""" % MARK)

    def test_lines_end_at_line_ends_alone(self):
        odd = "# form feed \f, next line \x85, line separator \u2028\r\ntimeout = 4\n"
        self.assertEqual(new_text(odd, dict(self.DEFAULTS, timeout=5), self.DEFAULTS, dict(self.DEFAULTS, timeout=4)), odd.replace("= 4", "= 5"))

    def test_both_kinds_of_quotes(self):
        line = "requirepass = 'a#b\"' # hidden\n"
        self.assertEqual(new_text(line, dict(self.DEFAULTS, requirepass="new"), self.DEFAULTS, dict(self.DEFAULTS, requirepass='a#b"')),
                         'requirepass = "new"  # hidden\n')

    def test_again(self):
        once = new_text("", dict(self.DEFAULTS, port=1), self.DEFAULTS, {})
        self.assertEqual(once, MARK + "\nport = 1\n")
        twice = new_text(once, dict(self.DEFAULTS, port=1, timeout=5), self.DEFAULTS, dict(self.DEFAULTS, port=1))
        self.assertEqual(twice, MARK + "\nport = 1\ntimeout = 5\n")


@needs_millrace
class Link(FreshInstanceCase):
    def values(self, instance, password=None):
        with instance.wire() as wire:
            if password is not None:
                self.assertEqual(wire.command("AUTH", password), OK)
            return wire.command("CONFIG", "GET", "*")

    def test_a_group_started_again_has_the_values_of_now(self):
        instance = self.start(io=2, timeout=100)
        conf = instance.folder / "millrace.conf"
        conf.write_text("# mine\nmaxclients = 50  # few\n")
        password = 'p"\\ \u00e9#' + "x" * 200
        with instance.wire() as wire:
            self.assertEqual(wire.command("CONFIG", "SET", "maxmemory", "100mb", "requirepass", password, "maxclients", "70", "loglevel", "verbose"), OK)
            self.assertEqual(wire.command("CONFIG", "REWRITE"), OK)
        before = self.values(instance, password)
        text = conf.read_text()
        self.assertTrue(text.startswith("# mine\nmaxclients = 70  # few\n\n%s\n" % MARK), text)
        self.assertEqual(sorted(os.listdir(instance.folder)), ["client.sock", "data", "log", "millrace.conf", "run"])
        self.assertEqual(instance.control("stop").returncode, 0)
        instance.port, instance.io, instance.settings = instance.port, 2, {"unixsocket": instance.settings["unixsocket"]}
        ended = instance.control("start", "--daemon")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        wait_for(lambda: instance.status()["state"] == "running", 20, "the group to run")
        self.assertEqual(self.values(instance, password), before)

    def test_what_stands_in_the_way_is_said(self):
        instance = self.start(io=1)
        conf = instance.folder / "millrace.conf"
        (instance.folder / "millrace.conf.new").mkdir()
        wire = self.connect(instance)
        reply = wire.command("CONFIG", "REWRITE")
        self.assertEqual(reply, b"-ERR Rewriting config file: %s cannot be written: Is a directory\r\n" % str(conf.resolve()).encode())
        self.assertFalse(conf.exists())
        (instance.folder / "millrace.conf.new").rmdir()
        self.assertEqual(wire.command("CONFIG", "REWRITE"), OK)

    def test_an_io_conn_that_wants_other_options_written(self):
        instance = self.start(io=1)
        folder = os.open(instance.folder / "run", os.O_PATH | os.O_DIRECTORY)
        self.addCleanup(os.close, folder)
        for options, name in (({"bind": "0.0.0.0"}, "bind"), ({"timeout": "3", "seccomp": "no"}, "seccomp"), ({"unixsocket": "/tmp/s"}, "unixsocket")):
            with socket.socket(socket.AF_UNIX) as link:
                link.connect("/proc/self/fd/%d/supervisor.sock" % folder)
                link.sendall(json.dumps({"op": "rewrite", "options": options}).encode() + b"\n")
                answer = json.loads(link.makefile().readline())
            self.assertEqual(answer, {"ok": False, "error": "'%s' does not change while the group runs" % name})
        self.assertFalse((instance.folder / "millrace.conf").exists())

    def exec(self, wire, *commands):
        """The reply to EXEC with these commands."""
        wire.send(encode("MULTI") + b"".join(encode(*words.split()) for words in commands) + encode("EXEC"))
        return wire.replies(len(commands) + 2)[-1]

    def test_inside_multi(self):
        instance = self.start(io=2)
        conf = instance.folder / "millrace.conf"
        wire, other = self.connect(instance), self.connect(instance)
        for count in range(71, 80):  # what the same transaction has set is written, and the file is there when the answer comes
            self.assertEqual(self.exec(wire, "CONFIG SET maxclients %d" % count, "CONFIG REWRITE", "INCR n"), b"*3\r\n+OK\r\n+OK\r\n:%d\r\n" % (count - 70))
            self.assertIn("maxclients = %d\n" % count, conf.read_text())
        # one that is not executed writes nothing
        wire.command("WATCH", "w"), other.command("SET", "w", "1")
        self.assertEqual(self.exec(wire, "CONFIG SET maxclients 90", "CONFIG REWRITE"), b"*-1\r\n")
        self.assertIn("maxclients = 79\n", conf.read_text())
        self.assertEqual(sorted(os.listdir(instance.folder)), ["client.sock", "data", "log", "millrace.conf", "run"])
        # as Sentinel does it; long answers, and a second pipelined transaction
        other.command("SET", "big", "x" * 300_000)
        ids = [int(w.command("CLIENT", "ID")[1:]) for w in (wire, other)]
        wire.send(b"".join(encode(*words) for words in (("MULTI",), ("CONFIG", "SET", "maxclients", "81"), ("GET", "big"), ("CONFIG", "REWRITE"), ("CLIENT", "KILL", "TYPE", "normal"),
                                                        ("CLIENT", "PAUSE", "1", "WRITE"), ("EXEC",), ("CONFIG", "GET", "maxclients"))))
        replies = wire.replies(8)
        self.assertEqual(replies[-2], b"*5\r\n+OK\r\n$300000\r\n" + b"x" * 300_000 + b"\r\n+OK\r\n:1\r\n+OK\r\n")
        self.assertEqual(replies[-1], b"*2\r\n$10\r\nmaxclients\r\n$2\r\n81\r\n")
        self.assertEqual(other.until_closed(), b"")
        self.assertNotEqual(ids[0], ids[1])
        wait_for(lambda: "maxclients = 81\n" in conf.read_text(), 10, "the file")

    def test_inside_multi_with_something_in_the_way(self):
        instance = self.start(io=1)
        wire = self.connect(instance)
        aside = instance.folder / "millrace.conf.new"
        aside.mkdir()
        reply = self.exec(wire, "CONFIG SET maxclients 71", "CONFIG REWRITE", "GET k")
        self.assertRegex(reply, rb"\A\*3\r\n\+OK\r\n-ERR Rewriting config file: .* cannot be written: Is a directory\r\n\$-1\r\n\Z")
        aside.rmdir()
        os.kill(instance.status()["supervisor_pid"], signal.SIGKILL)
        self.assertIn(b"-ERR Rewriting config file: the supervisor is not there", self.exec(wire, "CONFIG REWRITE", "SET k v"))
        self.assertEqual(wire.command("GET", "k"), b"$1\r\nv\r\n")

    def test_who_asks_inside_multi_and_goes(self):
        instance = self.start(io=1)
        supervisor = instance.status()["supervisor_pid"]
        waiting, gone, other = self.connect(instance), self.connect(instance), self.connect(instance)
        os.kill(supervisor, signal.SIGSTOP)
        try:
            for wire in (waiting, gone):
                wire.send(encode("MULTI") + encode("CONFIG", "REWRITE") + encode("INCR", "n") + encode("EXEC") + encode("PING"))
                self.assertEqual(wire.replies(3), [OK, b"+QUEUED\r\n", b"+QUEUED\r\n"])
            self.assertTrue(waiting.silent(0.3))
            gone.close()
            self.assertEqual(other.command("GET", "n"), b"$-1\r\n")
        finally:
            os.kill(supervisor, signal.SIGCONT)
        self.assertEqual(waiting.replies(2), [b"*2\r\n+OK\r\n:1\r\n", b"+PONG\r\n"])

    def test_many_at_once(self):
        instance = self.start(io=2)
        wires = [self.connect(instance) for _ in range(16)]
        for i, wire in enumerate(wires):
            wire.send(encode("CONFIG", "REWRITE") if i % 2 else encode("MULTI") + encode("CONFIG", "REWRITE") + encode("EXEC"))
        for i, wire in enumerate(wires):
            self.assertEqual(wire.reply() if i % 2 else wire.replies(3)[-1], OK if i % 2 else b"*1\r\n+OK\r\n")

    def test_without_a_supervisor(self):
        instance = self.start(io=1)
        os.kill(instance.status()["supervisor_pid"], signal.SIGKILL)
        wire = self.connect(instance)
        self.assertEqual(wire.command("CONFIG", "REWRITE"),
                         b"-ERR Rewriting config file: the supervisor is not there; 'millrace start' brings it back\r\n")
        self.assertTrue(wire.command("SHUTDOWN").startswith(b"-ERR Errors trying to SHUTDOWN: the supervisor is not there"))
        self.assertEqual(wire.command("SET", "k", "v"), OK)

    def test_who_waits_for_the_supervisor_waits_alone(self):
        instance = self.start(io=1)
        supervisor = instance.status()["supervisor_pid"]
        waiting, other, gone = self.connect(instance), self.connect(instance), self.connect(instance)
        waiting.command("SET", "k", "v")
        os.kill(supervisor, signal.SIGSTOP)
        try:
            waiting.send(encode("CONFIG", "REWRITE") + encode("GET", "k"))
            gone.send(encode("CONFIG", "REWRITE"))
            gone.close()
            self.assertTrue(waiting.silent(0.5))
            self.assertEqual(other.command("GET", "k"), b"$1\r\nv\r\n")
            many = [self.connect(instance) for _ in range(20)]
            for wire in many:
                wire.send(encode("CONFIG", "REWRITE"))
            self.assertEqual(many[-1].reply(), b"-ERR Rewriting config file: too many requests to the supervisor are under way\r\n")
        finally:
            os.kill(supervisor, signal.SIGCONT)
        self.assertEqual(waiting.reply(), OK)
        self.assertEqual(waiting.reply(), b"$1\r\nv\r\n")
        self.assertEqual(other.command("CONFIG", "REWRITE"), OK)

    def test_shutdown(self):
        instance = self.start(io=2)
        pids = instance.pids() + [instance.status()["supervisor_pid"]]
        other, wire = self.connect(instance), self.connect(instance)
        other.command("PING")
        self.assertEqual(wire.command("SHUTDOWN", "SAVE"),
                         b"-ERR Errors trying to SHUTDOWN: there are neither rules of 'save' nor a log by which it would save; send SAVE before\r\n")
        wire.send(encode("SET", "k", "v") + encode("SHUTDOWN", "NOSAVE", "NOW") + encode("PING"))
        self.assertEqual(wire.until_closed(), OK)
        self.assertEqual(other.until_closed(), b"")
        wait_for(lambda: not any(is_alive(pid) for pid in pids), 20, "the end of all processes")
        instance.check_nothing_left()
        self.assertEqual(instance.status()["state"], "stopped")

    def test_two_shutdowns_and_a_rewrite(self):
        instance = self.start(io=2)
        wires = [self.connect(instance) for _ in range(6)]
        started = threading.Barrier(len(wires))

        def order(wire, *words):
            started.wait()
            wire.send(encode(*words))

        threads = [threading.Thread(target=order, args=(wire, *(("SHUTDOWN",) if i % 2 else ("CONFIG", "REWRITE")))) for i, wire in enumerate(wires)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        replies = [wire.until_closed() for wire in wires[1::2]]
        self.assertIn(b"", replies)
        for reply in replies:  # who asks when the end has begun may be told that nobody is there to be asked
            self.assertRegex(reply, rb"\A(-ERR Errors trying to SHUTDOWN: .*\r\n)?\Z")


if __name__ == "__main__":
    unittest.main()
