"""viewstats prints every process's counters as text, JSON and Prometheus format: while all is well, while md stands still, after all have died."""

import json
import os
import re
import signal
import unittest

from harness import VIEWSTATS, FreshInstanceCase, InstanceCase, is_alive, needs_millrace, run, wait_for
from wire import encode

STATES = {"up", "stopped", "dead"}
HISTOGRAM_FIELDS = {"count", "p50", "p99", "max"}
METRIC_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABELS = r'\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)*\}'
SAMPLE = re.compile(r"(%s)(%s)? (\S+)( -?\d+)?\Z" % (METRIC_NAME, LABELS))
COMMENT = re.compile(r"# (HELP|TYPE) (%s) (.+)\Z" % METRIC_NAME)
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}


class Metrics:
    """Prometheus's text format, read strictly: every sample's family has one TYPE before it and its lines stand together."""

    def __init__(self, text):
        self.types, self.samples, self.helps = {}, {}, {}
        self.last_family, closed = None, set()
        if not text.endswith("\n"):
            raise AssertionError("the last line has no end")
        for line in filter(None, text.split("\n")):
            family = self._comment(line) if line.startswith("#") else self._sample(line)
            if family != self.last_family:
                if family in closed:
                    raise AssertionError("the lines of %s are not together" % family)
                closed.add(self.last_family)
                self.last_family = family

    def _comment(self, line):
        match = COMMENT.match(line)
        if not match:
            raise AssertionError("not a HELP or TYPE line: " + line)
        kind, name, rest = match.groups()
        book = self.helps if kind == "HELP" else self.types
        if name in book:
            raise AssertionError("a second %s of %s" % (kind, name))
        if kind == "TYPE" and rest not in TYPES:
            raise AssertionError("no such type: " + line)
        book[name] = rest
        return name

    def _sample(self, line):
        match = SAMPLE.match(line)
        if not match:
            raise AssertionError("not a sample: " + line)
        name, labels, value, _ = match.groups()
        family = self._family(name)
        if (name, labels) in self.samples:
            raise AssertionError("the same sample twice: " + line)
        self.samples[name, labels] = float(value)
        return family

    def _family(self, name):
        for ending in ("", "_bucket", "_sum", "_count"):
            base = name[:len(name) - len(ending)] if ending and name.endswith(ending) else name
            if base in self.types and (not ending or self.types[base] in ("histogram", "summary")):
                return base
        raise AssertionError("no TYPE before a sample of " + name)

    def values(self, name_part):
        return [value for (name, _), value in self.samples.items() if name_part in name]


def shape_is_right(test, document):
    for row in document["processes"]:
        test.assertLessEqual({"role", "index", "pid", "state", "counters", "histograms"}, set(row))
        test.assertIn(row["state"], STATES)
        test.assertTrue(all(isinstance(value, int) for value in row["counters"].values()), row)
        test.assertTrue(row["counters"] and (row["histograms"] or row["role"] == "md_repl"), row)
        for name, histogram in row["histograms"].items():
            test.assertLessEqual(HISTOGRAM_FIELDS, set(histogram), name)
            test.assertLessEqual(histogram["p50"], histogram["p99"], name)
            test.assertLessEqual(histogram["p99"], histogram["max"], name)


@needs_millrace
class Running(InstanceCase):
    IO = 2

    def setUp(self):
        self.wires = [self.connect() for _ in range(4)]
        for wire in self.wires:
            wire.exchange([encode("SET", "k", "v") * 50 + encode("GET", "k") * 50], 100)

    def rows(self):
        return {(row["role"], row["index"]): row for row in self.instance.stats()}

    def test_json_has_the_promised_shape(self):
        document = json.loads(self.instance.viewstats("--json"))
        shape_is_right(self, document)
        expected = {(process["role"], process["index"]): process["pid"] for process in self.instance.processes()
                    if process["role"] != "md_standby"}     # one that waits counts nothing
        self.assertEqual({(row["role"], row["index"]): row["pid"] for row in document["processes"]}, expected)
        self.assertEqual({row["state"] for row in document["processes"]}, {"up"})

    def test_counters_count(self):
        def totals():
            rows = self.instance.stats()
            names = ("commands", "requests_sent", "input_bytes", "output_bytes", "requests", "keyspace_hits")
            return {name: sum(row["counters"].get(name, 0) for row in rows) for name in names}

        # An io_conn counts what it has sent after the system call: its client may be faster, unless its connection is closed as well.
        for wire in self.wires:
            wire.close()
        wait_for(lambda: sum(self.instance.counters("io_conn", "connected_clients")) == 0, 5, "what was before to be counted")
        wire, before = self.connect(), totals()
        request, count = encode("GETSET", "k", "v"), 300     # a read alone would not go to md
        wire.exchange([request * count], count)
        sent = count * len(b"$1\r\nv\r\n")
        wait_for(lambda: totals()["output_bytes"] - before["output_bytes"] >= sent, 5, "the replies to be counted")
        after = totals()
        grown = {name: after[name] - before[name] for name in after}
        self.assertEqual(grown["commands"], count)
        self.assertEqual((grown["requests_sent"], grown["requests"], grown["keyspace_hits"]), (count, count, count))
        self.assertEqual(grown["input_bytes"], count * len(request))
        self.assertEqual(grown["output_bytes"], sent)

    def test_histograms_fill(self):
        self.assertGreater(self.rows()["md", 0]["histograms"]["batch"]["count"], 0)
        self.assertGreater(sum(row["histograms"]["batch"]["count"] for row in self.instance.stats() if row["role"] == "io_conn"), 0)

    def test_text_names_every_process_and_counter(self):
        text = self.instance.viewstats("--once")
        for (role, _), row in self.rows().items():
            self.assertIn(role, text)
            self.assertIn(str(row["pid"]), text)
        for name in ("commands", "connected_clients", "requests", "keyspace_hits"):
            self.assertIn(name, text)

    def test_prometheus(self):
        metrics = Metrics(self.instance.viewstats("--prom"))
        self.assertEqual(set(metrics.types) - set(metrics.helps), set(), "metrics without HELP")
        wait_for(lambda: sum(Metrics(self.instance.viewstats("--prom")).values("connected_clients")) == 4, 10, "four clients to be counted")
        self.assertGreaterEqual(sum(metrics.values("keyspace_hits")), 200)
        self.assertEqual({metrics.types[name] for name in metrics.types if "connected_clients" in name}, {"gauge"})
        self.assertEqual({metrics.types[name] for name in metrics.types if "keyspace_hits" in name}, {"counter"})

    def test_every_counter_is_in_both_formats(self):
        families = " ".join(Metrics(self.instance.viewstats("--prom")).types)
        for row in self.instance.stats():
            for name in [*row["counters"], *row["histograms"]]:
                self.assertIn(name, families)

    def test_it_disturbs_nobody(self):
        """Looking does not make the processes do anything."""
        before = sum(row["counters"]["commands"] for row in self.instance.stats() if row["role"] == "io_conn")
        for _ in range(5):
            self.instance.viewstats("--once")
        after = sum(row["counters"]["commands"] for row in self.instance.stats() if row["role"] == "io_conn")
        self.assertEqual(after, before)

    def test_live_screen_ends_when_told(self):
        """Without --once it goes on printing until it is interrupted."""
        script = "import subprocess, sys; p = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE); print(len(p.stdout.read1(100)) > 0); " \
                 "print(p.poll()); p.send_signal(2); p.stdout.read(); print(p.wait(10) in (0, -2, 130))"
        ended = run(["/usr/bin/python3", "-c", script, VIEWSTATS, "--dir", self.instance.folder, "--interval", "0.1"], 30)
        self.assertEqual(ended.stdout.split(), ["True", "None", "True"], ended.stderr)


@needs_millrace
class Broken(FreshInstanceCase):
    def states(self, instance):
        document = json.loads(instance.viewstats("--json"))
        shape_is_right(self, document)
        return {(row["role"], row["index"]): row["state"] for row in document["processes"] if row["role"] not in ("md_log", "md_repl")}

    def test_while_md_stands_still(self):
        instance = self.start(io=2)
        md = instance.pids("md")[0]
        os.kill(md, signal.SIGSTOP)
        try:
            # The signal is on its way when kill() returns; the process stops at its next chance.
            wait_for(lambda: self.states(instance)["md", 0] == "stopped", 5, "md to be seen as stopped")
            self.assertEqual(self.states(instance), {("md", 0): "stopped", ("io_conn", 0): "up", ("io_conn", 1): "up"})
            Metrics(instance.viewstats("--prom"))
            self.assertIn("stopped", instance.viewstats("--once"))
        finally:
            os.kill(md, signal.SIGCONT)
        wait_for(lambda: self.states(instance)["md", 0] == "up", 5, "md to be seen as up")

    def test_after_everything_died(self):
        instance = self.start(io=2)
        with instance.wire() as wire:
            wire.exchange([encode("SET", "k", "v") * 100], 100)
        before = instance.counters("md", "requests")
        # The standby before its md: it would take over, and begin to count anew, in the time between two kills.
        standby = instance.pids("md_standby")
        pids = [instance.status()["supervisor_pid"], *standby, *(pid for pid in instance.pids() if pid not in standby)]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda gone=pid: not is_alive(gone), 10, "a killed process to end")
        self.assertEqual(set(self.states(instance).values()), {"dead"})
        self.assertEqual(instance.counters("md", "requests"), before)
        Metrics(instance.viewstats("--prom"))
        self.assertIn("dead", instance.viewstats("--once"))
        instance.start()
        self.assertEqual(set(self.states(instance).values()), {"up"})

    def test_totals_survive_the_death_of_a_process(self):
        instance = self.start(io=1)
        with instance.wire() as wire:
            wire.exchange([encode("SET", "k", "v") * 100], 100)
        before = instance.counters("io_conn", "commands")[0]
        self.assertGreaterEqual(before, 100)
        old = instance.pids("io_conn")
        os.kill(old[0], signal.SIGKILL)
        wait_for(lambda: instance.status()["state"] == "running" and instance.pids("io_conn") != old, 20, "io_conn to come back")
        instance.remember()
        self.assertGreaterEqual(instance.counters("io_conn", "commands")[0], before)
        self.assertEqual(instance.counters("io_conn", "restarts"), [1])

    def test_after_the_number_of_io_conn_has_changed(self):
        instance = self.start(io=1)
        self.assertEqual(instance.control("scale", "3").returncode, 0)
        instance.remember()
        wait_for(lambda: list(self.states(instance).values()).count("up") == 4, 20, "three io_conn and md to be up")


@needs_millrace
class WithoutInstance(unittest.TestCase):
    def test_folder_that_holds_none(self):
        for arguments in (["--json"], ["--once"], ["--prom"]):
            ended = run([VIEWSTATS, "--dir", "/nonexistent", *arguments])
            self.assertEqual(ended.returncode, 1, ended.stdout)
            self.assertIn("/nonexistent", ended.stderr)
            self.assertEqual(len(ended.stderr.strip().splitlines()), 1, ended.stderr)

    def test_bad_usage(self):
        self.assertEqual(run([VIEWSTATS, "--nonsense"]).returncode, 2)

    def test_help(self):
        ended = run([VIEWSTATS, "--help"])
        self.assertEqual(ended.returncode, 0)
        for option in ("--dir", "--once", "--json", "--prom", "--interval"):
            self.assertIn(option, ended.stdout)


if __name__ == "__main__":
    unittest.main()
