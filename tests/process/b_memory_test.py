"""MEMORY and LOLWUT in the shape of redis-server; their numbers are ours."""

import unittest

import compare
from compare import CompareCase, start_sides, stop_sides
from harness import wait_for
from wire import decode

EMPTY = "too little for anything to be odd about it"


def setUpModule():
    start_sides(io_counts=(1, 2))


def tearDownModule():
    stop_sides()


def subjects():
    return compare.sides.subjects.items()


class Memory(CompareCase):
    def test_words(self):
        self.each_same("MEMORY", "MEMORY nonsense", "MEMORY USAGE", "MEMORY USAGE none", "MEMORY USAGE none SAMPLES", "MEMORY USAGE none SAMPLES x", "MEMORY USAGE none SAMPLES -1",
                       "MEMORY USAGE none samples 5", "MEMORY USAGE none SAMPLES 0", "MEMORY USAGE none nonsense 5", "MEMORY USAGE none SAMPLES 1 SAMPLES x", "MEMORY STATS x",
                       "MEMORY DOCTOR x", "MEMORY PURGE", "MEMORY PURGE x", "MEMORY MALLOC-STATS x", "LOLWUT VERSION x")

    def test_usage_is_what_the_key_takes(self):
        for name, subject in subjects():
            compare.empty(subject)
            with subject.wire() as wire:
                def usage(key, value):
                    wire.command("SET", key, value)
                    return decode(wire.command("MEMORY", "USAGE", key))

                self.assertEqual(usage("k" * 16, "v" * 64), 8 + 16 + 64 + 8, name)
                for bytes_ in (1, 100, 1000, 10_000, 100_000, 1_000_000):
                    used = usage("key", "v" * bytes_)
                    self.assertGreater(used, bytes_ + 11, name)
                    self.assertLess(used, 1.35 * bytes_ + 64, name)  # the last part of a large value may be a whole page
                wire.command("SET", "a", "x" * 100)
                self.assertEqual(decode(wire.command("MEMORY", "USAGE", "a")), 8 + 1 + 100 + 3 + 8, name)
                wire.command("MULTI")
                wire.command("SET", "fresh", "12345")
                wire.command("MEMORY", "USAGE", "fresh")
                self.assertEqual(decode(wire.command("EXEC"))[1], 8 + 5 + 5, name)

    def test_stats(self):
        with compare.sides.oracle.wire() as wire:
            compare.hello(wire, 3)
            theirs = decode(wire.command("MEMORY", "STATS"))
        for name, subject in subjects():
            compare.empty(subject)
            for protocol in (2, 3):
                with subject.wire() as wire:
                    compare.hello(wire, protocol)
                    for i in range(100):
                        wire.command("SET", "key:%d" % i, "v" * 1000)
                    ours = decode(wire.command("MEMORY", "STATS"))
                    if protocol == 2:
                        ours = dict(zip(ours[::2], ours[1::2]))
                self.assertEqual([key for key in theirs if key in ours], list(ours), name)
                if protocol == 3:
                    self.assertEqual({key: type(value) for key, value in ours.items()}, {key: type(theirs[key]) for key in ours}, name)
                self.assertEqual(ours[b"keys.count"], 100, name)
                self.assertGreater(ours[b"dataset.bytes"], 100_000 - 65_536, name)  # a page of the index counts as a whole
                self.assertGreaterEqual(ours[b"peak.allocated"], ours[b"total.allocated"], name)
                self.assertEqual(ours[b"total.allocated"], ours[b"dataset.bytes"] + ours[b"overhead.total"], name)

    def test_doctor(self):
        for name, subject in subjects():
            compare.empty(subject)
            with subject.wire() as wire:
                self.assertIn(EMPTY, decode(wire.command("MEMORY", "DOCTOR")).decode(), name)
                for i in range(10):
                    wire.command("SET", "key:%d" % i, "v" * 1_000_000)
                self.assertNotIn(EMPTY, decode(wire.command("MEMORY", "DOCTOR")).decode(), name)
                wire.command("CONFIG", "SET", "maxmemory", "10100000")
                self.assertIn(b"* Limit:", wire.command("MEMORY", "DOCTOR"), name)
                wire.command("CONFIG", "SET", "maxmemory", "0")
                wire.command("FLUSHALL")
                for i in range(43):
                    wire.command("SET", "key:%d" % i, "v" * 100_000)
                # What FLUSHALL has cleared is freed bit by bit.
                wait_for(lambda: b"* Peak memory:" in wire.command("MEMORY", "DOCTOR"), 10, "the doctor to see the peak of " + name)

    def test_texts_for_people(self):
        for name, subject in subjects():
            for protocol, begin in ((2, rb"\A\$\d+\r\n"), (3, rb"\A=\d+\r\ntxt:")):
                with subject.wire() as wire:
                    compare.hello(wire, protocol)
                    for words in (("MEMORY", "MALLOC-STATS"), ("MEMORY", "DOCTOR"), ("LOLWUT",), ("LOLWUT", "VERSION", "6"), ("LOLWUT", "1", "2")):
                        self.assertRegex(wire.command(*words), begin, (name, words))
                    self.assertRegex(wire.command("LOLWUT"), rb"O[^O]*\nmillrace ver\. \d+\.\d+\.\d+\n\r\n\Z")


if __name__ == "__main__":
    unittest.main()
