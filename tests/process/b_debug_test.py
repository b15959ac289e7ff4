"""DEBUG as redis-server has it, where it is allowed: test values, digests, populating, sleeping; and where it is not."""

import re
import threading
import time
import unittest

import compare
from compare import CompareCase, start_sides, stop_sides
from harness import FreshInstanceCase, needs_millrace
from wire import decode, encode

TYPES = ("string", "integer", "double", "bignum", "null", "array", "set", "map", "attrib", "push", "verbatim", "true", "FALSE", "nonsense")
REFUSED = (b'-ERR DEBUG command not allowed. If the enable-debug-command option is set to "local", you can run it from a local connection, otherwise you need to set this '
           b"option in the configuration file, and then restart the server.\r\n")
NOTHING = b"+" + b"0" * 40 + b"\r\n"


def setUpModule():
    start_sides(enable_debug_command="local")


def tearDownModule():
    stop_sides()


def subjects():
    return compare.sides.subjects.items()


class Debug(CompareCase):
    def test_protocol(self):
        self.each_same(*["DEBUG PROTOCOL " + name for name in TYPES if name not in ("attrib", "push")])
        self.each_same("DEBUG PROTOCOL attrib", "DEBUG PROTOCOL push", protocols=(2,))

    def test_protocol_of_pushes(self):
        for name in ("attrib", "push"):
            replies = []
            for server in (compare.sides.oracle, *compare.sides.subjects.values()):
                with server.wire() as wire:
                    compare.hello(wire, 3)
                    wire.send(encode("DEBUG", "PROTOCOL", name) + encode("ECHO", "end"))
                    replies.append(wire.up_to(len(b"$3\r\nend\r\n") + 60)[0])
            self.assertEqual(len(set(replies)), 1, replies)

    def test_words(self):
        self.each_same("DEBUG", "DEBUG nonsense", "DEBUG PROTOCOL", "DEBUG SLEEP", "DEBUG SLEEP 0 0", "DEBUG SLEEP x", "DEBUG SLEEP 0.01", "DEBUG SET-ACTIVE-EXPIRE",
                       "DEBUG SET-ACTIVE-EXPIRE 5", "DEBUG OBJECT", "DEBUG OBJECT none", "DEBUG OBJECT a b", "DEBUG DIGEST x", "DEBUG POPULATE", "DEBUG POPULATE x",
                       "DEBUG POPULATE -1", "DEBUG POPULATE 1 a x", "DEBUG POPULATE 1 a -1", "DEBUG POPULATE 1 a 2 3", "DEBUG LOG hello", "DEBUG LOG", "DEBUG ERROR",
                       ("DEBUG", "ERROR", "MINE of two\r\nlines"), "DEBUG HELP x", "DEBUG STRINGMATCH-LEN a b", "DEBUG DIGEST-VALUE", "COMMAND INFO debug", "COMMAND INFO debug|sleep")

    def test_populate(self):
        self.same("SET key:1 mine", "DEBUG POPULATE 3", "GET key:0", "GET key:1", "GET key:2", "GET key:3", "DBSIZE", "DEBUG POPULATE 2 pre 3", "GET pre:1",
                  "DEBUG POPULATE 2 long 12", "GET long:1", "DEBUG POPULATE 0", "DBSIZE", "SELECT 3", "DEBUG POPULATE 2", "DBSIZE")
        self.same("MULTI", "DEBUG POPULATE 2", "DBSIZE", "DEBUG PROTOCOL map", "DEBUG nonsense", "EXEC", "GET key:1")

    def test_object(self):
        def mask(reply):
            return re.sub(rb"lru:\d+", b"lru:L", re.sub(rb"at:0x[0-9a-f]+", b"at:X", reply))

        self.same("SET k abc", "DEBUG OBJECT k", "SET k 12345", "DEBUG OBJECT k", "SET k 123456789012", ("SET", "k", "a" * 79), "DEBUG OBJECT k", ("SET", "k", ""), "DEBUG OBJECT k",
                  "SET k -5", "DEBUG OBJECT k", mask=mask)

    def test_digest_of_nothing_and_of_missing_keys(self):
        self.same("DEBUG DIGEST", "DEBUG DIGEST-VALUE none", "DEBUG DIGEST-VALUE a b")

    def test_digest_tells_data_not_its_way(self):
        def digest(wire, *steps):
            for words in (("FLUSHALL",), *steps):
                self.assertFalse(wire.command(*words).startswith(b"-"))
            reply = wire.command("DEBUG", "DIGEST")
            self.assertRegex(reply, rb"\A\+[0-9a-f]{40}\r\n\Z")
            return reply

        big = "x" * 300_000
        for name, subject in subjects():
            with subject.wire() as wire:
                one = digest(wire, ("SET", "a", "1"), ("SET", "b", big), ("SET", "c", "3", "PXAT", "99999999999999"))
                self.assertEqual(digest(wire, ("SET", "c", "x"), ("SET", "c", "3", "PXAT", "99999999999999"), ("SET", "b", big[1:]), ("APPEND", "b", "x"), ("SET", "d", "1"),
                                        ("RENAME", "d", "a")), one, name)
                others = [digest(wire, ("SET", "a", "1"), ("SET", "b", big), ("SET", "c", "3")), digest(wire, ("SET", "a", "2"), ("SET", "b", big)),
                          digest(wire, ("SET", "a", "1")), digest(wire, ("SET", "b", "1")), digest(wire, ("SELECT", "1"), ("SET", "a", "1"), ("SELECT", "0")), NOTHING, one]
                self.assertEqual(len(set(others)), len(others), name)
                wire.command("MSET", "x", "same", "y", "same", "z", "other")
                values = decode(wire.command("DEBUG", "DIGEST-VALUE", "x", "y", "z"))
                self.assertEqual((values[0] == values[1], values[0] == values[2]), (True, False), name)
                self.assertEqual(digest(wire, ("SET", "a", "1", "PX", "1"), ("DEBUG", "SLEEP", "0.01")), NOTHING, name)

    def test_active_expiry(self):
        for name, subject in subjects():
            with subject.wire() as wire:
                wire.command("FLUSHALL")
                self.assertEqual(wire.command("DEBUG", "SET-ACTIVE-EXPIRE", "0"), b"+OK\r\n")
                wire.command("SET", "k", "v", "PX", "1")
                time.sleep(0.5)
                self.assertEqual(wire.command("DBSIZE"), b":1\r\n", name)
                self.assertEqual(wire.command("DEBUG", "SET-ACTIVE-EXPIRE", "1"), b"+OK\r\n")
                deadline = time.monotonic() + 10
                while wire.command("DBSIZE") != b":0\r\n":
                    self.assertLess(time.monotonic(), deadline, name)

    def test_sleep_holds_writes_up(self):
        for name, subject in subjects():
            with subject.wire() as sleeper, subject.wire() as writer:
                began = time.monotonic()
                threading.Timer(0.1, writer.send, (encode("SET", "k", "v"),)).start()
                self.assertEqual(sleeper.command("DEBUG", "SLEEP", "0.6"), b"+OK\r\n")
                self.assertEqual(writer.reply(), b"+OK\r\n")
                self.assertGreater(time.monotonic() - began, 0.55, name)


@needs_millrace
class Guarded(FreshInstanceCase):
    def test_refused_by_default(self):
        wire = self.connect(self.start(io=1))
        for words in ("DEBUG SLEEP 0", "DEBUG DIGEST", "DEBUG HELP", "DEBUG nonsense"):
            self.assertEqual(wire.command(*words.split()), REFUSED)
        self.assertEqual(wire.command("DEBUG"), b"-ERR wrong number of arguments for 'debug' command\r\n")
        self.assertEqual([wire.command("MULTI"), wire.command("DEBUG", "DIGEST"), wire.command("EXEC")],
                         [b"+OK\r\n", REFUSED, b"-EXECABORT Transaction discarded because of previous errors.\r\n"])
        self.assertEqual(wire.command("CONFIG", "SET", "enable-debug-command", "yes"),
                         b"-ERR CONFIG SET failed (possibly related to argument 'enable-debug-command') - can't set immutable config\r\n")

    def test_a_long_sleep_is_no_hang(self):
        instance = self.start(io=1, enable_debug_command="yes", md_hang_timeout=1)
        pids = instance.pids()
        self.assertEqual(self.connect(instance).command("DEBUG", "SLEEP", "3"), b"+OK\r\n")
        self.assertEqual(instance.pids(), pids)

    def test_bounds(self):
        wire = self.connect(self.start(io=1, enable_debug_command="yes"))
        self.assertTrue(wire.command("DEBUG", "POPULATE", "100001").startswith(b"-ERR at most 100000 keys"))
        self.assertTrue(wire.command("DEBUG", "POPULATE", "1000", "k", "9223372036854775807").startswith(b"-ERR at most 100000 keys"))
        self.assertEqual(wire.command("DEBUG", "POPULATE", "100000", "many", "20"), b"+OK\r\n")
        self.assertEqual(wire.command("DBSIZE"), b":100000\r\n")

    def test_expiry_stays_off_when_md_dies(self):
        instance = self.start(io=1, enable_debug_command="yes")
        wire = self.connect(instance)
        wire.command("DEBUG", "SET-ACTIVE-EXPIRE", "0")
        wire.command("SET", "k", "v", "PX", "1")
        instance.control("restart")
        instance.remember()
        time.sleep(0.5)
        self.assertEqual(self.connect(instance).command("DBSIZE"), b":1\r\n")


if __name__ == "__main__":
    unittest.main()
