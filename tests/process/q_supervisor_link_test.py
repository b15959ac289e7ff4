"""CONFIG REWRITE and SHUTDOWN: what an io_conn has the supervisor do, and what clients see when it does not."""

import os
import signal
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

    def test_not_inside_multi(self):
        wire = self.connect(self.start(io=1))
        self.assertEqual([wire.command(*words.split()) for words in ("MULTI", "CONFIG REWRITE", "EXEC")],
                         [OK, b"-ERR Command not allowed inside a transaction\r\n", b"-EXECABORT Transaction discarded because of previous errors.\r\n"])

    def test_without_a_supervisor(self):
        instance = self.start(io=1)
        os.kill(instance.status()["supervisor_pid"], signal.SIGKILL)
        wire = self.connect(instance)
        self.assertEqual(wire.command("CONFIG", "REWRITE"),
                         b"-ERR Rewriting config file: the supervisor is not there; 'millrace stop' and 'millrace start' bring it back\r\n")
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
        self.assertIn(waiting.reply(), (OK, b"-ERR Rewriting config file: the group is being started, stopped, restarted or scaled, or its configuration rewritten: try again when that is done\r\n"))
        self.assertEqual(waiting.reply(), b"$1\r\nv\r\n")
        self.assertEqual(other.command("CONFIG", "REWRITE"), OK)

    def test_shutdown(self):
        instance = self.start(io=2)
        pids = instance.pids() + [instance.status()["supervisor_pid"]]
        other, wire = self.connect(instance), self.connect(instance)
        other.command("PING")
        self.assertEqual(wire.command("SHUTDOWN", "SAVE"),
                         b"-ERR Errors trying to SHUTDOWN: there is no disk to save to in this version; SHUTDOWN NOSAVE ends the group\r\n")
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
