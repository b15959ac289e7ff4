"""KEYS, SCAN and RANDOMKEY: what they give depends on the server's own order, so they are looked at by what they promise."""

import sys
import threading
import unittest

from harness import ROOT, InstanceCase, needs_millrace
from wire import decode, encode

sys.path.insert(0, str(ROOT / "tests" / "bench"))

import scan_growth  # noqa: E402


def fill(wire, names, *words):
    for start in range(0, len(names), 200):
        some = names[start:start + 200]
        wire.send(b"".join(encode("SET", name, "v", *words) for name in some))
        wire.replies(len(some))


def scan(wire, *words, after_each=lambda: None):
    """(keys in the order in which they came, calls)."""
    cursor, keys, calls = b"0", [], 0
    while True:
        cursor, some = decode(wire.command("SCAN", cursor, *words))
        keys += some
        calls += 1
        after_each()
        if cursor == b"0":
            return keys, calls


@needs_millrace
class Scan(InstanceCase):
    def setUp(self):
        self.wire = self.connect()
        self.assertEqual(self.wire.command("FLUSHALL"), b"+OK\r\n")

    def test_every_key_once_when_nothing_changes(self):
        names = ["key:%d" % number for number in range(5000)]
        fill(self.wire, names)
        for count in ("1", "10", "100", "100000"):
            keys, calls = scan(self.wire, "COUNT", count)
            self.assertEqual(sorted(keys), sorted(name.encode() for name in names))
            self.assertGreaterEqual(calls, min(5000 // (int(count) + 40), 1))
        self.assertEqual(scan(self.wire, "COUNT", "9223372036854775807")[1], 1)

    def test_an_empty_database(self):
        self.assertEqual(self.wire.command("SCAN", "0"), b"*2\r\n$1\r\n0\r\n*0\r\n")
        self.assertEqual(self.wire.command("KEYS", "*"), b"*0\r\n")
        self.assertEqual(self.wire.command("RANDOMKEY"), b"$-1\r\n")

    def test_match_and_type(self):
        fill(self.wire, ["a:%d" % number for number in range(300)] + ["b:%d" % number for number in range(700)])
        self.assertEqual(len(scan(self.wire, "MATCH", "a:*")[0]), 300)
        self.assertEqual(len(scan(self.wire, "match", "b:1?", "count", "50")[0]), 10)
        self.assertEqual(len(scan(self.wire, "TYPE", "string")[0]), 1000)
        self.assertEqual(scan(self.wire, "TYPE", "list")[0], [])
        self.assertEqual(len(decode(self.wire.command("KEYS", "a:[12]?"))), 20)

    def test_expired_keys_are_not_shown(self):
        fill(self.wire, ["gone%d" % number for number in range(200)], "PXAT", "1")
        fill(self.wire, ["stays%d" % number for number in range(10)])
        self.assertEqual(len(scan(self.wire)[0]), 10)
        self.assertEqual(len(decode(self.wire.command("KEYS", "*"))), 10)
        for _ in range(50):
            self.assertTrue(decode(self.wire.command("RANDOMKEY")).startswith(b"stays"))

    def test_nothing_is_missed_while_keys_come_and_go(self):
        names = ["stays:%d" % number for number in range(20_000)]
        fill(self.wire, names)
        ended = threading.Event()

        def churn():
            with self.instance.wire() as other:
                for turn in range(1_000_000):
                    if ended.is_set():
                        return
                    fill(other, ["comes:%d:%d" % (turn, number) for number in range(500)])
                    if turn > 20:
                        other.command("DEL", *["comes:%d:%d" % (turn - 20, number) for number in range(500)])

        thread = threading.Thread(target=churn)
        thread.start()
        try:
            for _ in range(3):
                keys = scan(self.wire)[0]
                self.assertEqual({name.encode() for name in names} - set(keys), set())
        finally:
            ended.set()
            thread.join()

    def test_nothing_is_missed_while_the_store_grows_to_four_times_its_keys_and_shrinks(self):
        """What bench/scan_growth.py does with millions of keys."""
        for count in (10, 100):
            found = scan_growth.measure(self.instance.address, 30_000, 120_000, count)
            self.assertEqual((found.missing, found.left), (0, 0), found)
            self.assertGreater(found.peak, 100_000, found)
            self.assertLess(found.twice, 3_000, found)
            self.wire.command("FLUSHALL")

    def test_random_keys_are_any(self):
        names = ["key:%d" % number for number in range(50)]
        fill(self.wire, names)
        seen = {decode(self.wire.command("RANDOMKEY")) for _ in range(2000)}
        self.assertGreater(len(seen), 40)

    def test_databases_are_apart(self):
        fill(self.wire, ["zero"])
        self.wire.command("SELECT", "3")
        fill(self.wire, ["three"])
        self.assertEqual(scan(self.wire)[0], [b"three"])
        self.assertEqual(self.wire.command("FLUSHDB"), b"+OK\r\n")
        self.wire.command("SELECT", "0")
        self.assertEqual(scan(self.wire)[0], [b"zero"])

    def test_bad_calls(self):
        for words in (("x",), ("1 ",), (" 1",), ("99999999999999999999999",)):
            self.assertEqual(self.wire.command("SCAN", *words), b"-ERR invalid cursor\r\n")
        for words in (("0", "COUNT"), ("0", "COUNT", "0"), ("0", "nonsense", "1"), ("0", "COUNT", "-5")):
            self.assertEqual(self.wire.command("SCAN", *words), b"-ERR syntax error\r\n")
        self.assertEqual(self.wire.command("SCAN", "0", "COUNT", "x"), b"-ERR value is not an integer or out of range\r\n")
        for cursor in ("18446744073709551615", "17179869184", "9999999999"):     # nobody gave these
            self.assertTrue(self.wire.command("SCAN", cursor).startswith(b"*2\r\n"))


if __name__ == "__main__":
    unittest.main()
