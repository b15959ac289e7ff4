"""Commands that take long: they are no hang, and they take no more memory than what they make."""

import os
import unittest
from pathlib import Path

from harness import FreshInstanceCase, needs_millrace

LARGE = b"x" * 8_000_000


def cpu_seconds(pid):
    fields = Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@needs_millrace
class LongCommands(FreshInstanceCase):
    def test_bitop_of_many_large_values(self):
        instance = self.start(io=1, md_hang_timeout=1, proto_max_bulk_len="64mb")
        wire = self.connect(instance, timeout=60)
        self.assertEqual(wire.command("SET", "k", LARGE), b"+OK\r\n")
        serving = next(process["pid"] for process in instance.status()["processes"] if process["role"] == "md")
        self.assertEqual(wire.command("BITOP", "XOR", "d", *["k"] * 301), b":%d\r\n" % len(LARGE))
        self.assertEqual(wire.command("GETRANGE", "d", "0", "9"), b"$10\r\n" + LARGE[:10] + b"\r\n")
        self.assertEqual(next(process["pid"] for process in instance.status()["processes"] if process["role"] == "md"), serving)
        peak = next(line for line in Path("/proc/%d/status" % serving).read_text().splitlines() if line.startswith("RssAnon"))
        self.assertLess(int(peak.split()[1]), 100_000, peak)

    def test_one_bit_of_a_large_value_costs_no_copy_of_it(self):
        instance = self.start(io=1, proto_max_bulk_len="64mb")
        wire = self.connect(instance, timeout=60)
        self.assertEqual(wire.command("SET", "k", LARGE * 7), b"+OK\r\n")
        serving = next(process["pid"] for process in instance.status()["processes"] if process["role"] == "md")
        before = cpu_seconds(serving)
        for offset in range(0, 400_000_000, 40_000_000):
            self.assertEqual(wire.command("SETBIT", "k", offset, 1), b":%d\r\n" % (LARGE[0] >> 7 & 1))
            self.assertEqual(wire.command("GETBIT", "k", offset), b":1\r\n")
            self.assertEqual(wire.command("BITFIELD", "k", "GET", "u8", offset, "SET", "u8", offset, "3", "INCRBY", "u8", offset, "1"), b"*3\r\n:248\r\n:248\r\n:4\r\n")
            self.assertEqual(wire.command("SETRANGE", "k", offset // 8, "xy"), b":56000000\r\n")
        self.assertLess(cpu_seconds(serving) - before, 0.3)     # 40 copies of it take 1.5 s


if __name__ == "__main__":
    unittest.main()
