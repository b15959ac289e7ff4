"""maxmemory and its policies, changed while the server runs: what goes, what stays, and that the limit is kept."""

import os
import signal
import threading
import time
import unittest

from h_takeover_test import md_pids
from harness import FreshInstanceCase, InstanceCase, needs_millrace, wait_for
from wire import encode

OOM = b"-OOM command not allowed when used memory > 'maxmemory'.\r\n"
VALUE = b"v" * 1000
POLICIES = ("allkeys-lru", "allkeys-lfu", "allkeys-random", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl")


def info(wire, field):
    for line in wire.command("INFO").split(b"\r\n"):
        if line.startswith(field.encode() + b":"):
            return line.split(b":", 1)[1].decode()
    raise AssertionError("INFO has no field " + field)


def configure(wire, *pairs):
    reply = wire.command("CONFIG", "SET", *pairs)
    assert reply == b"+OK\r\n", reply


def fill(wire, count, prefix="k", *more):
    """How many of so many SETs were refused."""
    refused = 0
    for start in range(0, count, 100):
        names = range(start, min(count, start + 100))
        wire.send(b"".join(encode("SET", "%s%d" % (prefix, name), VALUE, *more) for name in names))
        for reply in wire.replies(len(names)):
            assert reply in (b"+OK\r\n", OOM), reply
            refused += reply == OOM
    return refused


def used(wire):
    return int(info(wire, "allocator_allocated"))    # what counts against maxmemory


@needs_millrace
class AtRunTime(FreshInstanceCase):
    def start_filled(self, count=3000, **settings):
        instance = self.start(io=2, **settings)
        wire = self.connect(instance)
        self.assertEqual(fill(wire, count), 0)
        return instance, wire

    def test_a_lower_limit_is_kept_without_any_command_and_md_death_does_not_undo_it(self):
        instance, wire = self.start_filled()
        limit = used(wire) // 2
        configure(wire, "maxmemory", limit, "maxmemory-policy", "allkeys-lru")
        wait_for(lambda: used(wire) <= limit, 10, "the limit to be kept")
        left = int(info(wire, "evicted_keys"))
        self.assertEqual(wire.command("DBSIZE"), b":%d\r\n" % (3000 - left))
        serving, _ = wait_for(lambda: md_pids(instance), 20, "md and its standby")
        os.kill(serving, signal.SIGKILL)
        self.assertEqual(fill(wire, 3000, "other"), 0)
        self.assertLessEqual(used(wire), limit + 2 * len(VALUE))
        self.assertEqual(wire.command("CONFIG", "GET", "maxmemory*"),
                         b"*6\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(word), word) for word in (
                             b"maxmemory", b"%d" % limit, b"maxmemory-policy", b"allkeys-lru", b"maxmemory-samples", b"5")))
        self.assertGreater(int(info(wire, "evicted_keys")), left)
        self.assertEqual(info(wire, "maxmemory_policy"), "allkeys-lru")
        self.assertEqual(instance.control("check").returncode, 0)

    def test_each_policy_keeps_the_limit_under_writes(self):
        instance, wire = self.start_filled(100)
        for policy in POLICIES:
            with self.subTest(policy=policy):
                self.assertEqual(wire.command("FLUSHALL"), b"+OK\r\n")
                configure(wire, "maxmemory", "2mb", "maxmemory-policy", policy)
                self.assertEqual(fill(wire, 6000, "k", "EX", "1000"), 0)
                self.assertLessEqual(used(wire), 2 * 1024 * 1024 + 2 * len(VALUE))
                self.assertGreater(used(wire), 1024 * 1024)
        self.assertEqual(instance.control("check").returncode, 0)

    def test_volatile_policies_refuse_when_no_key_expires_and_never_take_one_that_does_not(self):
        for policy in POLICIES[3:]:
            with self.subTest(policy=policy):
                _, wire = self.start_filled(1000)
                configure(wire, "maxmemory", used(wire) + 100_000, "maxmemory-policy", policy)
                self.assertEqual(fill(wire, 1000, "short", "EX", "1000"), 0)
                self.assertGreater(fill(wire, 1000, "long"), 500)
                self.assertEqual(wire.command("EXISTS", *["k%d" % name for name in range(1000)]), b":1000\r\n")
                self.assertEqual(wire.command("EXISTS", *["short%d" % name for name in range(1000)]), b":0\r\n")

    def test_marks_have_memory_only_while_a_policy_needs_them(self):
        instance, wire = self.start_filled(20_000)
        marks = instance.shm_folder() / "marks"

        def taken():
            return marks.stat().st_blocks * 512

        self.assertEqual(taken(), 4096)
        configure(wire, "maxmemory-policy", "volatile-lfu")
        wait_for(lambda: taken() > 20_000 * 4, 10, "the marks")
        configure(wire, "maxmemory-policy", "allkeys-lru")
        wait_for(lambda: wire.command("OBJECT", "IDLETIME", "k1") == b":0\r\n", 10, "the other marks")
        configure(wire, "maxmemory-policy", "volatile-ttl")
        wait_for(lambda: taken() == 4096, 10, "the memory of the marks to be given back")

    def test_keys_in_use_survive_a_flood_of_others_read_by_io_conn(self):
        instance, wire = self.start_filled(0)
        configure(wire, "maxmemory", "2mb", "maxmemory-policy", "allkeys-lru")
        hot = ["hot%d" % name for name in range(200)]
        for name in hot:
            wire.command("SET", name, VALUE)
        with instance.wire() as other:      # on another io_conn, perhaps
            for start in range(0, 20_000, 400):
                self.assertEqual(fill(wire, 400, "flood%d." % start), 0)
                other.command("MGET", *hot)
                time.sleep(0.02)
            self.assertGreaterEqual(int(other.command("EXISTS", *hot)[1:]), 195)
        self.assertGreater(sum(instance.counters("io_conn", "direct_reads")), 40)

    def test_writers_of_large_values_do_not_outrun_eviction(self):
        _, wire = self.start_filled(0)
        configure(wire, "maxmemory", "64mb", "maxmemory-policy", "allkeys-lru")
        self.assertEqual(fill(wire, 50_000, "small"), 0)
        large, worst = b"l" * 900_000, 0
        for number in range(300):
            self.assertEqual(wire.command("SET", "large%d" % (number % 40), large), b"+OK\r\n")
            worst = max(worst, used(wire))
        self.assertLess(worst, 64 * 1024 * 1024 * 17 // 16 + 2 * len(large))

    def test_many_writers_at_once_keep_the_limit(self):
        instance, wire = self.start_filled(0)
        configure(wire, "maxmemory", "4mb", "maxmemory-policy", "allkeys-lfu")
        refused = []

        def write(number):
            with instance.wire() as own:
                refused.append(fill(own, 4000, "w%d." % number))

        writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        self.assertEqual(refused, [0] * 4)
        self.assertLessEqual(used(wire), 4 * 1024 * 1024 + 8 * len(VALUE))

    def test_the_configuration_file_counts_again_when_it_has_changed(self):
        instance, wire = self.start_filled(100, maxmemory="10mb")
        configure(wire, "maxmemory", "20mb")
        self.assertEqual(instance.control("restart").returncode, 0)
        wire = self.connect(instance)
        self.assertIn(b"20971520", wire.command("CONFIG", "GET", "maxmemory"))
        self.assertEqual(wire.command("DBSIZE"), b":100\r\n")


@needs_millrace
class Marks(InstanceCase):
    def test_idle_time_is_that_since_the_last_use_and_questions_are_none(self):
        wire = self.connect()
        configure(wire, "maxmemory-policy", "allkeys-lru")
        wire.command("SET", "idle", "v")
        wire.command("SET", "used", "v")
        for _ in range(11):
            time.sleep(0.1)
            for words in (("EXISTS", "idle"), ("TTL", "idle"), ("TYPE", "idle"), ("PTTL", "idle"), ("OBJECT", "IDLETIME", "idle"), ("GET", "used")):
                wire.command(*words)
        self.assertIn(wire.command("OBJECT", "IDLETIME", "idle"), (b":1\r\n", b":2\r\n"))
        self.assertEqual(wire.command("OBJECT", "IDLETIME", "used"), b":0\r\n")
        for words in (("GET", "idle"), ("MGET", "idle"), ("STRLEN", "idle"), ("GETRANGE", "idle", "0", "1"), ("APPEND", "idle", "w")):
            wire.command("SET", "idle", "v")
            time.sleep(1.05)
            self.assertNotEqual(wire.command("OBJECT", "IDLETIME", "idle"), b":0\r\n")
            wire.command(*words)
            self.assertEqual(wire.command("OBJECT", "IDLETIME", "idle"), b":0\r\n", words)

    def test_the_frequency_rises_with_reads_and_begins_at_five(self):
        wire = self.connect()
        configure(wire, "maxmemory-policy", "allkeys-lfu")
        wire.command("SET", "often", "v")

        def rises():
            for _ in range(500):
                wire.command("GET", "often")
            return int(wire.command("OBJECT", "FREQ", "often")[1:]) > 8

        wait_for(rises, 10, "the counter to rise")
        wire.command("SET", "new", "v")
        self.assertEqual(wire.command("OBJECT", "FREQ", "new"), b":5\r\n")
        configure(wire, "maxmemory-policy", "noeviction")
        self.assertTrue(wire.command("OBJECT", "IDLETIME", "often").startswith(b"-ERR An LRU maxmemory policy is not selected"))


if __name__ == "__main__":
    unittest.main()
