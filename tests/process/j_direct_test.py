"""Plain reads are answered by io_conn alone: while md is stopped or dead, and never older than what their client has written."""

import os
import random
import signal
import threading
import time
import unittest

from h_takeover_test import md_pids
from harness import FreshInstanceCase, InstanceCase, needs_millrace, wait_for
from wire import encode

FAR_S = 10**6


def bulk(value):
    return b"$%d\r\n%s\r\n" % (len(value), value)


def direct_reads(instance):
    return sum(instance.counters("io_conn", "direct_reads"))


@needs_millrace
class WithoutMd(FreshInstanceCase):
    READS = (("GET", "hit"), ("GET", "miss"), ("GET", "over"), ("GET", "long"), ("MGET", "hit", "miss", "over", "hit"), ("EXISTS", "hit", "miss", "over", "hit"),
             ("STRLEN", "hit"), ("STRLEN", "long"), ("TYPE", "hit"), ("TYPE", "over"), ("TTL", "hit"), ("TTL", "miss"), ("PTTL", "over"),
             ("GETRANGE", "hit", 1, -2), ("GETRANGE", "long", 65530, 65550), ("GETRANGE", "miss", 0, -1))
    LONG = bytes(random.Random(1).randbytes(200_000))
    ANSWERS = (bulk(b"value"), b"$-1\r\n", b"$-1\r\n", bulk(LONG), b"*4\r\n" + bulk(b"value") + b"$-1\r\n$-1\r\n" + bulk(b"value"), b":2\r\n",
               b":5\r\n", b":200000\r\n", b"+string\r\n", b"+none\r\n", b":-1\r\n", b":-2\r\n", b":-2\r\n", bulk(b"alu"), bulk(LONG[65530:65551]), bulk(b""))

    def prepare(self, **settings):
        instance = self.start(io=2, **settings)
        wires = [self.connect(instance, timeout=20) for _ in range(4)]
        for words in (("SET", "hit", "value"), ("SET", "long", self.LONG), ("SET", "over", "x", "PX", "1")):
            self.assertEqual(wires[0].command(*words), b"+OK\r\n")
        time.sleep(0.005)
        return instance, wires

    def check(self, wires):
        for wire in wires:
            for words, answer in zip(self.READS, self.ANSWERS):
                self.assertEqual(wire.command(*words), answer, words)
            wire.send(b"".join(encode(*words) for words in self.READS))
            for words, answer in zip(self.READS, self.ANSWERS):
                self.assertEqual(wire.reply(), answer, words)

    def test_md_is_stopped(self):
        instance, wires = self.prepare(md_hang_timeout=0)
        md = instance.pids("md")[0]
        os.kill(md, signal.SIGSTOP)
        try:
            self.check(wires)
            self.check([self.connect(instance)])        # one that comes meanwhile
            wires[0].send(encode("SET", "hit", "other"))
            self.assertTrue(wires[0].silent(0.2))
            self.check(wires[1:])
            wires[0].send(encode("GET", "hit"))         # its own write comes first
            self.assertTrue(wires[0].silent(0.2))
        finally:
            os.kill(md, signal.SIGCONT)
        self.assertEqual(wires[0].replies(2), [b"+OK\r\n", bulk(b"other")])
        self.assertEqual(wires[1].command("GET", "hit"), bulk(b"other"))

    def test_no_md_is_left(self):
        instance, wires = self.prepare()
        supervisor = instance.status()["supervisor_pid"]
        md, standby = wait_for(lambda: md_pids(instance), 20, "md and its standby")
        os.kill(supervisor, signal.SIGSTOP)             # so that no new one comes
        try:
            os.kill(standby, signal.SIGKILL)
            os.kill(md, signal.SIGKILL)
            self.check(wires)
            wires[0].send(encode("INCR", "n"))
            self.assertTrue(wires[0].silent(0.2))
            self.check(wires[1:])
        finally:
            os.kill(supervisor, signal.SIGCONT)
        self.assertEqual(wires[0].reply(), b":1\r\n")
        wait_for(lambda: md_pids(instance), 20, "md and its standby")
        instance.remember()

    def test_a_key_whose_time_is_over_does_not_come_back(self):
        """io_conn reads the clock for itself; md, busy with others, must not go by an older one when the next request comes."""
        instance, ended = self.start(io=1), threading.Event()

        def keep_md_busy():
            with instance.wire(timeout=20) as busy:
                batch = encode("MSET", *["busy%d" % i for i in range(200)]) * 40
                while not ended.is_set():
                    busy.send(batch)
                    busy.replies(40)

        threads = [threading.Thread(target=keep_md_busy) for _ in range(2)]
        for thread in threads:
            thread.start()
        try:
            wires = [self.connect(instance, timeout=20) for _ in range(4)]
            for number in range(150):
                wire, other = wires[number % 4], wires[(number + 1) % 4]
                self.assertEqual(wire.command("SET", "short", "v", "PX", 2), b"+OK\r\n")
                while other.command("GET", "short") != b"$-1\r\n":
                    pass
                self.assertEqual(wire.command("GETSET", "short", "w"), b"$-1\r\n")
        finally:
            ended.set()
            for thread in threads:
                thread.join()

    def test_a_killed_reader_holds_back_no_memory(self):
        """An io_conn that was killed while it read, as its line in the roster says, is no reader any more."""
        instance = self.start(io=2)
        wire = self.connect(instance, timeout=20)
        for _ in range(5):
            os.kill(instance.pids("io_conn")[1], signal.SIGKILL)
            wait_for(lambda: len(instance.pids("io_conn")) == 2, 10, "io_conn to be back")
        with instance.wire(timeout=20) as wire:
            before = sum(path.stat().st_blocks for path in instance.shm_folder().iterdir()) * 512
            for start in range(0, 100_000, 1000):
                wire.send(b"".join(encode("SET", "k%d" % key, "v" * 200) for key in range(start, start + 1000)))
                wire.replies(1000)
            wire.command("FLUSHALL")
            wait_for(lambda: sum(path.stat().st_blocks for path in instance.shm_folder().iterdir()) * 512 < before + 8 * 1024 * 1024, 20,
                     "the memory to be given back")
        instance.remember()


@needs_millrace
class Sharing(InstanceCase):
    IO = 4

    def test_reads_do_not_go_to_md(self):
        with self.instance.wire() as wire:
            wire.command("SET", "k", "v")
            before, served = direct_reads(self.instance), sum(self.instance.counters("md", "requests"))
            for _ in range(100):
                self.assertEqual(wire.command("GET", "k"), bulk(b"v"))
                self.assertEqual(wire.command("GET", "none"), b"$-1\r\n")
            self.assertEqual(direct_reads(self.instance) - before, 200)
            self.assertEqual(sum(self.instance.counters("md", "requests")), served)

    def test_info_counts_hits_and_misses_of_both(self):
        with self.instance.wire() as wire:
            def keyspace():
                lines = wire.command("INFO", "stats").decode().split("\r\n")
                return [int(line.split(":")[1]) for line in lines if line.startswith("keyspace_")]
            wire.command("SET", "k", "v")
            hits, misses = keyspace()
            wire.send(encode("GET", "k") + encode("GET", "none") + encode("SET", "k", "w") + encode("GET", "k") + encode("MGET", "k", "none", "k"))
            wire.replies(5)
            self.assertEqual(keyspace(), [hits + 4, misses + 2])

    def test_a_client_sees_its_own_writes(self):
        source = random.Random(os.environ.get("SEED", "7"))
        with self.instance.wire() as wire:
            known = {}
            for _ in range(400):
                requests, answers = [], []
                for _ in range(source.choice((1, 2, 5, 40))):
                    key = "own%d" % source.randrange(20)
                    if source.random() < 0.4:
                        known[key] = b"%d" % source.randrange(10**9) * source.choice((1, 1, 30, 300))
                        requests.append(encode("SET", key, known[key]))
                        answers.append(b"+OK\r\n")
                    elif source.random() < 0.1:
                        requests.append(encode("DEL", key))
                        answers.append(b":%d\r\n" % (known.pop(key, None) is not None))
                    else:
                        requests.append(encode("GET", key))
                        answers.append(bulk(known[key]) if key in known else b"$-1\r\n")
                wire.send(b"".join(requests))
                self.assertEqual(wire.replies(len(requests)), answers)

    def test_what_one_client_was_told_every_other_sees(self):
        wires = [self.connect() for _ in range(12)]
        for number in range(500):
            writer = wires[number % len(wires)]
            self.assertEqual(writer.command("SET", "shared", number), b"+OK\r\n")
            for wire in wires:
                wire.send(encode("GET", "shared"))
            for wire in wires:
                self.assertEqual(wire.reply(), bulk(b"%d" % number))

    def connect(self):
        wire = self.instance.wire()
        self.addCleanup(wire.close)
        return wire

    def test_inline_requests_in_one_piece_and_in_many(self):
        with self.instance.wire() as wire:
            long = "long" * 20
            wire.command("MSET", "a", "VAL-A", "b", "VAL-B", "c", "VAL-C", long, "VAL-LONG")
            a, b, c = (bulk(b"VAL-" + name) for name in (b"A", b"B", b"C"))
            cases = ((b"GET a\r\nGET b\r\nGET c\r\n", [a, b, c]), (b"GET a\r\nPING\r\nGET b\r\n", [a, b"+PONG\r\n", b]),
                     (b"MGET a b c\r\nSTRLEN a\r\nEXISTS a b zz\r\nTTL a\r\nTYPE b\r\n", [b"*3\r\n" + a + b + c, b":5\r\n", b":2\r\n", b":-1\r\n", b"+string\r\n"]),
                     (b"GET a\r\n" + encode("GET", "b") + b"GET c\r\n" + encode("GET", "a"), [a, b, c, a]),
                     (encode("GET", "b") * 20 + b"GET c\r\n" + encode("GET", "a") * 20, [b] * 20 + [c] + [a] * 20),
                     (b"SET d 1\r\nGET d\r\nGET a\r\n", [b"+OK\r\n", bulk(b"1"), a]),
                     (b"GET %s\r\nGET a\r\n" % long.encode(), [bulk(b"VAL-LONG"), a]))
            for request, answers in cases:
                for cut in (0, *range(1, len(request), 7)):
                    wire.send(request[:cut])
                    if cut:
                        time.sleep(0.002)
                    wire.send(request[cut:])
                    self.assertEqual(wire.replies(len(answers)), answers, (request, cut))

    def test_values_too_long_to_be_copied_come_from_md(self):
        value = random.Random(2).randbytes(1024 * 1024 - 100)
        with self.instance.wire(timeout=20) as wire:
            wire.command("SET", "a", value)
            wire.command("SET", "b", value)
            before = sum(self.instance.counters("io_conn", "direct_too_large"))
            self.assertEqual(wire.command("GET", "a"), bulk(value))
            self.assertEqual(sum(self.instance.counters("io_conn", "direct_too_large")), before)
            self.assertEqual(wire.command("MGET", "a", "b"), b"*2\r\n" + bulk(value) + bulk(value))
            self.assertEqual(sum(self.instance.counters("io_conn", "direct_too_large")), before + 1)

    def test_more_keys_than_are_read_directly(self):
        with self.instance.wire(timeout=20) as wire:
            wire.command("MSET", *[word for key in range(5000) for word in ("many%d" % key, key)])
            names = ["many%d" % key for key in range(5000)]
            for count in (1, 15, 16, 17, 33, 4096, 4097, 5000):
                self.assertEqual(wire.command("EXISTS", *names[:count]), b":%d\r\n" % count)
                self.assertEqual(wire.command("MGET", *names[:count]), b"*%d\r\n" % count + b"".join(bulk(b"%d" % key) for key in range(count)))


if __name__ == "__main__":
    unittest.main()
