"""SLOWLOG, LATENCY, INFO's statistics of commands and CONFIG RESETSTAT: as redis-server words them, over all processes, also while md is gone."""

import os
import re
import signal
import time
import unittest

from compare import CompareCase, start_sides, stop_sides
from harness import FreshInstanceCase, all_up, needs_millrace, wait_for
from wire import decode, encode


def setUpModule():
    start_sides(io_counts=(1, 3))


def tearDownModule():
    stop_sides()


def without_times(reply):
    """SLOWLOG GET's reply without numbers, times and addresses."""
    if b"127.0.0.1" not in reply:
        return reply
    return [([word.lower() for word in entry[3]], entry[5]) for entry in decode(reply)]


class AsRedisAnswers(CompareCase):
    def test_bad_words(self):
        self.each_same("SLOWLOG", "SLOWLOG GET x", "SLOWLOG GET -2", "SLOWLOG GET 1 2", "SLOWLOG LEN x", "SLOWLOG RESET x", "SLOWLOG nonsense", "LATENCY", "LATENCY HISTORY",
                       "LATENCY HISTORY nonsense", "LATENCY RESET nonsense", "LATENCY LATEST x", "LATENCY LATEST", "LATENCY HISTOGRAM nonsense", "LATENCY nonsense",
                       "CONFIG RESETSTAT x", "CONFIG SET slowlog-log-slower-than x", "CONFIG SET slowlog-max-len -1", "CONFIG SET latency-tracking maybe",
                       "CONFIG SET latency-monitor-threshold -1", "CONFIG GET slowlog-log-slower-than", "CONFIG GET slowlog-max-len", "CONFIG GET latency-tracking",
                       "CONFIG GET latency-monitor-threshold")

    def test_what_is_in_the_slow_log(self):
        long, many = "x" * 500, ["k%d" % i for i in range(100)]
        self.same("SLOWLOG RESET", "CONFIG SET slowlog-log-slower-than 0", "GET a", ("SET", "a", long), ("MGET", *many), ("DEL", *many[:32]), "incr n", "INCRBY n x", "PING",
                  "CLIENT SETNAME me", "SET b 1 EX 100", "CONFIG SET slowlog-log-slower-than -1", "GET a", "SLOWLOG GET 128", "SLOWLOG GET 2", "SLOWLOG LEN",
                  "CONFIG SET slowlog-max-len 3", "SLOWLOG GET 2", "CONFIG SET slowlog-max-len 128", "SLOWLOG RESET", "SLOWLOG LEN", "SLOWLOG GET",
                  "CONFIG SET slowlog-log-slower-than 10000", mask=without_times)

    def test_passwords_are_not_in_it(self):
        self.same("SLOWLOG RESET", "CONFIG SET slowlog-log-slower-than 0", "AUTH default secret1", "AUTH secret2", "HELLO 2 AUTH default secret3 SETNAME me",
                  ("CONFIG", "SET", "requirepass", ""), ("CONFIG", "SET", "maxmemory-samples", "5", "RequirePass", ""), "CONFIG SET slowlog-log-slower-than 10000", "SLOWLOG GET",
                  "SLOWLOG RESET", protocols=(2,), mask=lambda reply: b"" if reply[:1] == b"*" and b"maxmemory" not in reply else b"secret" in reply or [words[:2] for words, _ in without_times(reply)] if b"127.0.0.1" in reply else reply)

    def test_each_command_of_a_transaction(self):
        self.same("SLOWLOG RESET", "CONFIG SET slowlog-log-slower-than 0", "MULTI", "SET a 1", "INCR a", "PING", "EXEC", "CONFIG SET slowlog-log-slower-than 10000",
                  "SLOWLOG GET", "SLOWLOG RESET",
                  mask=lambda reply: sorted(without_times(reply)))


def statistics(text):
    """{command: {field: number}} of INFO commandstats."""
    return {name: dict(pair.split("=") for pair in fields.split(",")) for name, fields in re.findall(r"cmdstat_([^:]+):(\S+)", text)}


@needs_millrace
class OfAllProcesses(FreshInstanceCase):
    def setUp(self):
        self.instance = self.start(io=3)
        wait_for(lambda: all_up(self.instance), 20, "the group")
        self.wires = [self.connect(self.instance) for _ in range(9)]

    def info(self, section):
        return self.wires[0].command("INFO", section).decode()

    def test_calls_are_exact(self):
        for wire in self.wires:
            wire.send(encode("SET", "a", "1") * 50 + encode("GET", "a") * 100 + encode("INCRBY", "a", "x") * 3 + encode("GET") * 2)
            wire.replies(155)
        found = statistics(self.info("commandstats"))
        self.assertEqual((found["set"]["calls"], found["get"]["calls"], found["incrby"]["calls"]), ("450", "900", "27"))
        self.assertEqual((found["incrby"]["failed_calls"], found["get"]["rejected_calls"], found["set"]["failed_calls"]), ("27", "18", "0"))
        self.assertIn("errorstat_ERR:count=45", self.info("errorstats"))
        self.assertIn("latency_percentiles_usec_get:p50=", self.info("latencystats"))
        self.assertNotIn("cmdstat", self.info("default"))
        self.assertIn("cmdstat", self.info("all"))

    def test_histograms_count_all_calls(self):
        for wire in self.wires:
            wire.send(encode("SET", "a", "1") * 10 + encode("GET", "a") * 20)
            wire.replies(30)
        found = decode(self.wires[0].command("LATENCY", "HISTOGRAM", "get", "set"))
        found = dict(zip(found[::2], found[1::2]))
        for name, calls in ((b"get", 180), (b"set", 90)):
            sum_of = dict(zip(found[name][::2], found[name][1::2]))
            self.assertEqual(sum_of[b"calls"], calls)
            steps = sum_of[b"histogram_usec"]
            self.assertEqual(steps[-1], calls)
            self.assertEqual(steps[1::2], sorted(steps[1::2]))
        self.wires[0].command("CONFIG", "SET", "latency-tracking", "no")
        self.wires[0].command("CONFIG", "RESETSTAT")
        self.wires[0].command("SET", "a", "1")
        self.assertEqual(self.wires[0].command("LATENCY", "HISTOGRAM", "set"), b"*0\r\n")
        self.assertEqual(statistics(self.info("commandstats"))["set"]["calls"], "1")

    def test_resetstat_is_of_all(self):
        for wire in self.wires:
            wire.command("SET", "a", "1"), wire.command("GET", "a"), wire.command("nonsense")
        self.assertEqual(self.wires[0].command("CONFIG", "RESETSTAT"), b"+OK\r\n")
        wait_for(lambda: "cmdstat_set" not in self.info("commandstats") and "cmdstat_get" not in self.info("commandstats"), 10, "the end of all counts")
        self.assertNotIn("errorstat", self.info("errorstats"))
        wait_for(lambda: "keyspace_hits:0\r\n" in self.info("stats"), 10, "all processes to have forgotten")    # at their next turn
        self.wires[3].command("GET", "a")
        self.assertIn("keyspace_hits:1\r\n", self.info("stats"))

    def test_resetstat_is_also_of_io_conn_that_have_gone(self):
        for wire in self.wires:
            wire.send(encode("GET", "a") * 10)
            wire.replies(10)
            wire.close()
        self.instance.control("scale", "1")
        wait_for(lambda: len(self.instance.processes("io_conn")) == 1, 20, "two io_conn to go")
        wire = self.connect(self.instance)
        self.assertEqual(statistics(wire.command("INFO", "commandstats").decode())["get"]["calls"], "90")
        wire.command("CONFIG", "RESETSTAT")
        wait_for(lambda: "get" not in statistics(wire.command("INFO", "commandstats").decode()), 10, "the end of all counts")
        self.assertNotIn(b"get", wire.command("LATENCY", "HISTOGRAM", "get"))

    def test_they_outlive_md_and_are_read_without_it(self):
        wire = self.wires[0]
        wire.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
        wire.command("SET", "a", "1")
        wire.command("CONFIG", "SET", "slowlog-log-slower-than", "10000")
        before = wire.command("SLOWLOG", "GET", "100")
        self.assertIn(b"$3\r\nset\r\n", before)
        victim = self.instance.pids("md")[0]
        os.kill(victim, signal.SIGSTOP)
        try:
            self.assertEqual(wire.command("SLOWLOG", "GET", "100"), before)
            self.assertIn("cmdstat_set:calls=1,", self.info("commandstats"))
        finally:
            os.kill(victim, signal.SIGKILL)
        self.assertEqual(wire.command("SET", "a", "2"), b"+OK\r\n")
        self.assertEqual(wire.command("SLOWLOG", "GET", "100"), before)
        self.assertIn("cmdstat_set:calls=2,", self.info("commandstats"))
        self.assertEqual(wire.command("SLOWLOG", "RESET"), b"+OK\r\n")
        self.assertEqual(self.wires[1].command("SLOWLOG", "LEN"), b":0\r\n")

    def test_a_slow_command_names_its_client(self):
        wire = self.wires[0]
        wire.command("CLIENT", "SETNAME", "somebody")
        for command in (("SET", "big", "x" * 1_000_000), ("GET", "big"), ("COMMAND",)):
            wire.command("CONFIG", "SET", "slowlog-log-slower-than", "0")
            wire.command(*command)
            wire.command("CONFIG", "SET", "slowlog-log-slower-than", "-1")
            entry = [row for row in decode(wire.command("SLOWLOG", "GET", "100")) if row[3][0].lower() == command[0].lower().encode()][0]
            self.assertEqual((entry[4], entry[5]), (b"%s:%d" % (wire.socket.getsockname()[0].encode(), wire.socket.getsockname()[1]), b"somebody"))
            self.assertLess(abs(entry[1] - time.time()), 100)

    def test_latency_of_a_long_command(self):
        wire = self.wires[0]
        self.assertIn(b"not noted", wire.command("LATENCY", "DOCTOR"))
        wire.command("CONFIG", "SET", "latency-monitor-threshold", "1")
        self.assertEqual(wire.command("PFSELFTEST"), b"+OK\r\n")        # counts 100,000 elements
        latest = {row[0]: row for row in decode(wire.command("LATENCY", "LATEST"))}
        self.assertIn(b"command", latest)
        self.assertGreaterEqual(latest[b"command"][3], latest[b"command"][2])
        self.assertTrue(decode(wire.command("LATENCY", "HISTORY", "command")))
        self.assertIn(b"command: ", wire.command("LATENCY", "DOCTOR"))
        wire.command("CONFIG", "SET", "latency-monitor-threshold", "0")     # on a busy machine any command may be slow
        self.assertEqual(wire.command("LATENCY", "RESET", "nonsense"), b":0\r\n")
        self.assertNotEqual(wire.command("LATENCY", "RESET"), b":0\r\n")
        self.assertEqual(wire.command("LATENCY", "LATEST"), b"*0\r\n")


if __name__ == "__main__":
    unittest.main()
