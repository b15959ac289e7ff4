"""What io_conn makes of md_log's words: nothing is shown that the disk does not have, writes are refused in trouble, and clients wait while data is loaded."""

import os
import signal
import time
import unittest

from fake_md_log import ALL_DURABLE, FakeMdLog
from harness import FreshInstanceCase, needs_millrace, wait_for
from wire import encode

OK = b"+OK\r\n"
LOADING = b"-LOADING Redis is loading the dataset in memory\r\n"
ALWAYS = {"appendonly": "yes", "appendfsync": "always"}
QUIET_S = 0.15


class WordsCase(FreshInstanceCase):
    """An instance whose md_log is a stand-in, under `appendfsync always` if the test does not say otherwise."""

    def begin(self, io=1, **settings):
        instance = self.start(io=io, **{**ALWAYS, **settings})
        words = FakeMdLog(instance)
        self.addCleanup(words.end)
        words.sync()
        return instance, words

    def send(self, wire, *words):
        wire.send(encode(*words))

    def check_silent(self, *wires):
        self.assertTrue(wires[0].silent(QUIET_S))
        for wire in wires[1:]:
            self.assertTrue(wire.silent(0.01))


@needs_millrace
class HeldReplies(WordsCase):
    def test_a_write_is_answered_when_the_disk_has_it(self):
        instance, words = self.begin()
        wire = self.connect(instance)
        self.send(wire, "SET", "k", "v")
        self.check_silent(wire)
        words.sync()
        self.assertEqual(wire.reply(), OK)
        self.assertGreater(sum(instance.counters("io_conn", "replies_held")), 0)

    def test_an_earlier_write_does_not_wait_for_a_later_one(self):
        instance, words = self.begin()
        wires = [self.connect(instance) for _ in range(5)]
        positions = []
        for number, wire in enumerate(wires):
            self.send(wire, "SET", "k%d" % number, "v")
            self.check_silent(wire)
            positions.append(words.tail())
        self.assertEqual(len(set(positions)), len(wires))
        for number, wire in enumerate(wires):
            words.make_durable(positions[number][0] - 8, positions[number][1])
            self.check_silent(*wires[number:])
            words.make_durable(*positions[number])
            self.assertEqual(wire.reply(), OK)

    def test_a_pipeline_is_answered_in_order(self):
        instance, words = self.begin()
        wire = self.connect(instance)
        wire.send(b"".join(encode(*each) for each in (("SET", "k", "1"), ("INCR", "k"), ("PING",), ("GET", "k"), ("ECHO", "x"), ("DEL", "k"), ("GET", "k"))))
        self.check_silent(wire)
        with instance.wire() as other:
            self.assertEqual(other.command("PING"), b"+PONG\r\n")
        words.sync()
        self.assertEqual([wire.reply() for _ in range(7)], [OK, b":2\r\n", b"+PONG\r\n", b"$1\r\n2\r\n", b"$1\r\nx\r\n", b":1\r\n", b"$-1\r\n"])

    def test_all_io_conn_hold_what_is_theirs(self):
        instance, words = self.begin(io=2)
        wires = [self.connect(instance) for _ in range(8)]
        for number, wire in enumerate(wires):
            self.send(wire, "SET", "k%d" % number, "v")
        self.check_silent(*wires)
        words.sync()
        self.assertEqual({wire.reply() for wire in wires}, {OK})

    def test_more_than_the_ring_takes_waits_and_comes_in_the_end(self):
        instance, words = self.begin(ring_size="64kb", md_hang_timeout=0)
        wires = [self.connect(instance, timeout=20) for _ in range(20)]
        number = 2000
        for wire in wires:
            wire.send(encode("INCR", "n") * number)
        self.check_silent(*wires)
        words.make_durable(ALL_DURABLE, ALL_DURABLE)
        answers = sorted(int(wire.reply()[1:]) for wire in wires for _ in range(number))
        self.assertEqual(answers, list(range(1, len(wires) * number + 1)))

    def test_another_md_answers_no_sooner_and_nothing_twice(self):
        instance, words = self.begin()
        wires = [self.connect(instance, timeout=20) for _ in range(3)]
        for wire in wires:
            self.send(wire, "INCR", "n")
        self.check_silent(*wires)
        md = instance.pids("md")[0]
        os.kill(md, signal.SIGKILL)
        wait_for(lambda: instance.pids("md") != [md] and instance.status()["state"] == "running", 20, "another md")
        instance.remember()
        self.send(wires[0], "INCR", "n")
        self.check_silent(*wires)
        words.sync()
        self.assertEqual(sorted(wire.reply() for wire in wires), [b":1\r\n", b":2\r\n", b":3\r\n"])
        self.assertEqual(wires[0].reply(), b":4\r\n")

    def test_nothing_is_held_unless_the_configuration_says_so(self):
        for settings in ({"appendfsync": "everysec"}, {"appendonly": "no"}):
            instance, words = self.begin(**settings)
            words.make_durable(0, 0)
            wire = self.connect(instance)
            self.assertEqual(wire.command("SET", "k", "v"), OK)
            self.assertEqual(wire.command("GET", "k"), b"$1\r\nv\r\n")
            self.assertEqual(instance.counters("io_conn", "direct_not_durable"), [0])
            words.end()

    def test_it_is_as_config_set_says(self):
        instance, words = self.begin(io=2)
        wires = [self.connect(instance) for _ in range(4)]
        for wire in wires:
            self.send(wire, "SET", "k", "v")
        self.check_silent(*wires)
        with instance.wire() as other:
            self.assertEqual(other.command("CONFIG", "SET", "appendfsync", "everysec"), OK)
            self.assertEqual({wire.reply() for wire in wires}, {OK})
            self.assertEqual(other.command("SET", "k", "v"), OK)
            self.send(other, "CONFIG", "SET", "appendfsync", "always")
            words.sync()
            self.assertEqual(other.reply(), OK)     # whether it had to wait itself or not: what comes behind it does
            self.send(other, "SET", "k", "v")
            self.check_silent(other)
            words.sync()
            self.assertEqual(other.reply(), OK)


@needs_millrace
class DirectReads(WordsCase):
    def prepare(self):
        instance, words = self.begin()
        writer = self.connect(instance)
        for number in range(100):
            self.send(writer, "SET", "k%d" % number, "old")
        words.sync()
        time.sleep(QUIET_S)
        words.sync()
        self.assertEqual({writer.reply() for _ in range(100)}, {OK})
        return instance, words, writer, self.connect(instance)

    def test_a_value_is_shown_when_the_disk_has_it(self):
        instance, words, writer, reader = self.prepare()
        self.assertEqual(reader.command("GET", "k1"), b"$3\r\nold\r\n")
        before = sum(instance.counters("io_conn", "direct_not_durable"))
        self.send(writer, "SET", "k1", "new")
        self.send(writer, "DEL", "k2")
        self.check_silent(writer)
        changed = (("GET", "k1"), ("EXISTS", "k2"), ("MGET", "k3", "k1"), ("TTL", "k2"))
        readers = [self.connect(instance) for _ in changed]
        for wire, command in zip(readers, changed):
            self.send(wire, *command)
        self.check_silent(writer, *readers)
        others = [self.connect(instance) for _ in range(20)]
        for number, wire in enumerate(others):
            self.send(wire, "GET", "k%d" % (10 + number))
        time.sleep(QUIET_S)
        self.assertLess(sum(wire.silent(0) for wire in others), len(others) / 2)    # but for those whose bucket has changed
        words.sync()
        self.assertEqual({wire.reply() for wire in others}, {b"$3\r\nold\r\n"})
        self.assertEqual([wire.reply() for wire in readers], [b"$3\r\nnew\r\n", b":0\r\n", b"*2\r\n$3\r\nold\r\n$3\r\nnew\r\n", b":-2\r\n"])
        self.assertEqual([writer.reply(), writer.reply()], [OK, b":1\r\n"])
        self.assertGreaterEqual(sum(instance.counters("io_conn", "direct_not_durable")) - before, len(changed))

    def test_an_emptied_database_is_shown_when_the_disk_has_that(self):
        instance, words, writer, reader = self.prepare()
        self.send(writer, "FLUSHALL")
        self.check_silent(writer)
        self.send(reader, "GET", "k1")
        self.check_silent(reader)
        words.sync()
        self.assertEqual(reader.reply(), b"$-1\r\n")
        self.assertEqual(writer.reply(), OK)


@needs_millrace
class Trouble(WordsCase):
    MISCONF = b"-MISCONF Errors writing to the AOF file: No space left on device\r\n"

    def test_writes_and_ping_are_refused_at_once(self):
        instance, words = self.begin()
        held, wire = self.connect(instance), self.connect(instance)
        self.send(wire, "SET", "first", "v")  # the first key makes the whole index
        self.check_silent(wire)
        words.sync()
        self.assertEqual(wire.reply(), OK)
        self.send(held, "SET", "k", "v")
        self.check_silent(held)
        words.error = 28
        words.trouble = 1
        for command in (("SET", "k", "w"), ("DEL", "k"), ("PING",), ("FLUSHALL",)):
            self.assertEqual(wire.command(*command), self.MISCONF, command)
        readers = [self.connect(instance) for _ in range(8)]
        for number, reader in enumerate(readers):
            self.send(reader, "GET", "other%d" % number)
        time.sleep(QUIET_S)
        self.assertLess(sum(reader.silent(0) for reader in readers), len(readers) / 2)  # but for those whose bucket has changed
        self.assertEqual(wire.command("ECHO", "x"), b"$1\r\nx\r\n")
        self.assertEqual([wire.command(*each) for each in (("MULTI",), ("GET", "k"), ("SET", "k", "x"), ("EXEC",))],
                         [OK, b"+QUEUED\r\n", self.MISCONF, b"-EXECABORT Transaction discarded because of previous errors.\r\n"])
        self.check_silent(held)
        words.trouble = 0
        self.send(wire, "SET", "k", "w")
        self.check_silent(wire)
        words.sync()
        self.assertEqual([held.reply(), wire.reply()], [OK, OK])

    def test_a_snapshot_that_failed(self):
        instance, words = self.begin(appendfsync="everysec")
        wire = self.connect(instance)
        words.trouble = 2
        self.assertTrue(wire.command("SET", "k", "v").startswith(b"-MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. "))
        self.assertTrue(wire.command("PING").startswith(b"-MISCONF Redis is configured to save RDB snapshots"))
        words.trouble = 0
        self.assertEqual(wire.command("SET", "k", "v"), OK)


@needs_millrace
class Loading(WordsCase):
    def test_what_is_answered_meanwhile(self):
        instance, words = self.begin(appendonly="no")
        wire = self.connect(instance)
        self.assertEqual(wire.command("SET", "k", "v"), OK)
        sent = sum(instance.counters("io_conn", "requests_sent"))
        words.loading = 1
        for command in (("GET", "k"), ("SET", "k", "w"), ("PING",), ("DBSIZE",), ("EXISTS", "k"), ("MGET", "k", "l"), ("KEYS", "*"), ("FLUSHALL",)):
            self.assertEqual(wire.command(*command), LOADING, command)
        wire.send(encode("GET", "k") * 40)
        self.assertEqual({wire.reply() for _ in range(40)}, {LOADING})
        for command in (("INFO",), ("CONFIG", "GET", "port"), ("CLIENT", "ID"), ("HELLO", "2"), ("COMMAND", "COUNT"), ("ECHO", "x"), ("SELECT", "1"), ("SELECT", "0"), ("TIME",), ("ROLE",)):
            self.assertFalse(wire.command(*command).startswith(b"-"), command)
        self.assertEqual(wire.command("GET"), b"-ERR wrong number of arguments for 'get' command\r\n")
        self.assertEqual(wire.command("NOSUCH"), b"-ERR unknown command 'NOSUCH', with args beginning with: \r\n")
        self.assertEqual(sum(instance.counters("io_conn", "requests_sent")), sent)
        words.loading = 0
        self.assertEqual(wire.command("GET", "k"), b"$1\r\nv\r\n")
        self.assertEqual(wire.command("PING"), b"+PONG\r\n")

    def test_transactions(self):
        instance, words = self.begin(appendonly="no")
        wire = self.connect(instance)
        words.loading = 1
        self.assertEqual([wire.command(*each) for each in (("EXEC",), ("MULTI",), ("SET", "k", "v"), ("EXEC",))],
                         [b"-ERR EXEC without MULTI\r\n", OK, LOADING, b"-EXECABORT Transaction discarded because of previous errors.\r\n"])
        self.assertEqual([wire.command(*each) for each in (("MULTI",), ("GET", "k"), ("DISCARD",), ("EXEC",))],
                         [OK, LOADING, OK, b"-ERR EXEC without MULTI\r\n"])
        words.loading = 0
        self.assertEqual([wire.command(*each) for each in (("MULTI",), ("SET", "k", "v"), ("EXEC",))], [OK, b"+QUEUED\r\n", b"*1\r\n+OK\r\n"])

    def test_with_a_password(self):
        instance, words = self.begin(appendonly="no")
        with instance.wire() as wire:
            self.assertEqual(wire.command("CONFIG", "SET", "requirepass", "secret"), OK)
        words.loading = 1
        wire = self.connect(instance)
        self.assertEqual(wire.command("GET", "k"), b"-NOAUTH Authentication required.\r\n")
        self.assertEqual(wire.command("AUTH", "secret"), OK)
        self.assertEqual(wire.command("GET", "k"), LOADING)


@needs_millrace
class WithTheRealOne(FreshInstanceCase):
    def test_many_clients_write_and_read_what_they_have_written(self):
        instance = self.start(io=2, **ALWAYS)
        wires = [self.connect(instance) for _ in range(10)]
        for number in range(50):
            for index, wire in enumerate(wires):
                wire.send(encode("SET", "k%d" % index, number) + encode("GET", "k%d" % index) + encode("INCR", "n"))
            for wire in wires:
                self.assertEqual([wire.reply(), wire.reply()], [OK, b"$%d\r\n%d\r\n" % (len(str(number)), number)])
                self.assertTrue(wire.reply().startswith(b":"))
        self.assertEqual(wires[0].command("GET", "n"), b"$3\r\n500\r\n")
        self.assertGreater(sum(instance.counters("io_conn", "replies_held")), 0)
        self.assertEqual({process["restarts"] for process in instance.processes()}, {0})

    def test_snapshots(self):
        instance = self.start(io=2)
        wire = self.connect(instance)
        self.assertEqual(wire.command("SET", "k", "v"), OK)
        self.assertEqual(wire.command("SAVE"), OK)
        self.assertEqual(len(list((instance.folder / "data").glob("snapshot-*"))), 1)
        self.assertEqual(wire.command("BGSAVE"), b"+Background saving started\r\n")
        wait_for(lambda: b"rdb_bgsave_in_progress:0" in wire.command("INFO", "persistence"), 20, "the end of the snapshot")
        self.assertIn(b"rdb_saves:2\r\n", wire.command("INFO", "persistence"))
        self.assertLess(abs(int(wire.command("LASTSAVE")[1:-2]) - time.time()), 60)


if __name__ == "__main__":
    unittest.main()
