"""maxmemory follows the limit of the control group that the supervisor runs in, where the configuration leaves it open."""

import os
import sys
import unittest
from unittest import mock

from harness import ROOT, FreshInstanceCase, needs_millrace
from supervisor_case import StubCase, StubGroup

sys.path.insert(0, str(ROOT / "tools"))
from supervisor.cgroup import limit  # noqa: E402

MIB = 1 << 20


def make_tree(root, mib):
    """Control groups whose outermost has a limit, as both versions show it to whoever is below."""
    (root / "memory").mkdir(parents=True)
    (root / "memory.max").write_text("%d\n" % (mib * MIB))
    (root / "memory" / "memory.limit_in_bytes").write_text("%d\n" % (mib * MIB))


class Limits(unittest.TestCase):
    """What is read from a made-up tree."""

    def setUp(self):
        group = StubGroup()
        self.addCleanup(group.destroy)
        self.root, self.membership = group.root / "cgroup", group.root / "membership"
        self.root.mkdir()

    def write(self, path, text):
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_text("%s\n" % text)

    def found(self, membership, machine=1 << 40):
        self.membership.write_text(membership)
        result = limit(str(self.root), str(self.membership), machine)
        return None if result is None else (result[0], os.path.relpath(result[1], self.root))

    def test_version_2(self):
        self.write("a/b/memory.max", "max")
        self.write("a/memory.max", 5000)
        self.write("memory.max", 9000)
        self.assertEqual(self.found("0::/a/b\n"), (5000, "a/memory.max"))

    def test_version_1(self):
        self.write("memory/a/b/memory.limit_in_bytes", 3000)
        self.write("memory/a/memory.limit_in_bytes", 4000)
        self.write("memory/memory.limit_in_bytes", 9223372036854771712)
        self.assertEqual(self.found("9:cpu,cpuacct:/x\n4:memory:/a/b\n0::/\n"), (3000, "memory/a/b/memory.limit_in_bytes"))

    def test_both_at_once(self):
        self.write("memory/memory.limit_in_bytes", 4000)
        self.write("unified/a/memory.max", 3000)
        self.assertEqual(self.found("4:memory:/\n0::/a\n"), (3000, "unified/a/memory.max"))

    def test_a_container_that_sees_its_own_group_as_the_root(self):
        self.write("memory/memory.limit_in_bytes", 4000)
        self.assertEqual(self.found("4:memory:/docker/0123\n"), (4000, "memory/memory.limit_in_bytes"))
        self.write("memory.max", 3000)
        self.assertEqual(self.found("0::/../0123\n"), (3000, "memory.max"))

    def test_none_that_counts(self):
        self.assertIsNone(self.found("0::/a\n"))
        self.write("a/memory.max", "max")
        self.assertIsNone(self.found("0::/a\n"))
        self.write("a/memory.max", 5000)
        self.assertIsNone(self.found("0::/a\n", machine=5000))
        self.assertIsNone(self.found("1:cpu:/a\nnonsense\n\n"))
        self.write("a/memory.max", "nonsense")
        self.assertIsNone(self.found("0::/a\n"))

    def test_no_list_of_groups(self):
        self.assertIsNone(limit(str(self.root), str(self.root / "missing"), 1 << 40))


class Starts(StubCase):
    def setUp(self):
        super().setUp()
        make_tree(self.group.root / "cgroup", 400)
        self.group.environment["MILLRACE_CGROUP_ROOT"] = str(self.group.root / "cgroup")

    def effective(self):
        lines = (self.group.dir / "run" / "effective.conf").read_text().splitlines()
        return int(dict(line.split(" = ") for line in lines)["maxmemory"])

    def test_three_quarters_of_it(self):
        self.group.start()
        self.assertEqual(self.effective(), 300 * MIB)
        event = self.group.events("memory_limit")
        self.assertEqual([each["maxmemory"] for each in event], [str(300 * MIB)])
        self.assertIn("400.0 MiB", (self.group.dir / "log" / "supervisor.log").read_text())
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.assertEqual(self.effective(), 300 * MIB)
        self.group.wait_until_whole()
        self.group.kill("supervisor")
        done = self.group.start()
        self.assertNotIn("'millrace restart' applies the present one", done.stdout)
        self.stops()

    def test_what_is_set_holds(self):
        self.group.start("--set", "maxmemory=%d" % (350 * MIB))
        self.assertEqual((self.effective(), self.group.events("memory_limit")), (350 * MIB, []))
        self.stops()

    def test_without_a_limit(self):
        self.group.environment["MILLRACE_CGROUP_ROOT"] = str(self.group.root / "no such folder")
        self.group.start()
        self.assertEqual((self.effective(), self.group.events("memory_limit")), (0, []))
        self.stops()

    def test_check_says_it(self):
        done = self.group.run("check", "--port", self.group.port)
        self.assertEqual(done.returncode, 0, done)
        self.assertIn("ok       memory limit: the control group may use 400.0 MiB (", done.stdout)
        self.assertIn("maxmemory becomes %d" % (300 * MIB), done.stdout)


@needs_millrace
class Rewriting(FreshInstanceCase):
    """CONFIG REWRITE leaves open what was open."""

    def test_it_is_written_only_when_it_was_changed(self):
        tree = StubGroup()
        self.addCleanup(tree.destroy)
        make_tree(tree.root / "cgroup", 400)
        with mock.patch.dict(os.environ, MILLRACE_CGROUP_ROOT=str(tree.root / "cgroup")):
            instance = self.start(io=1)
        file = instance.folder / "millrace.conf"
        with instance.wire() as wire:
            self.assertEqual(wire.command("CONFIG", "GET", "maxmemory"), b"*2\r\n$9\r\nmaxmemory\r\n$9\r\n314572800\r\n")
            self.assertEqual(wire.command("CONFIG", "REWRITE"), b"+OK\r\n")
            self.assertNotIn("maxmemory =", file.read_text())
            self.assertEqual(wire.command("CONFIG", "SET", "maxmemory", "50mb"), b"+OK\r\n")
            self.assertEqual(wire.command("CONFIG", "REWRITE"), b"+OK\r\n")
            self.assertIn("maxmemory = 52428800\n", file.read_text())


if __name__ == "__main__":
    unittest.main()
