"""What a request costs in instructions, counted by callgrind: as recorded here, within five per cent."""

import os
import re
import shutil
import tempfile
import unittest
from pathlib import Path

from harness import PROGRAMS, Instance, needs_millrace
from wire import encode

KEYS, BATCH = 1000, 16
FEW, MANY = 3200, 9600          # requests; what the difference between the two runs costs is theirs alone
TOLERANCE = 0.05
SLACK = 40                      # instructions; timers strike now and then

# Instructions a request in io_conn and in md, in pipelines of 16 on one connection, keys of 16 bytes, values of 64. g++ 12, -O2.
# A change that makes one of them smaller is recorded here as well, so that the next one is measured against it.
RECORDED = {
    "GET hit": (1400, 0),
    "GET miss": (1325, 0),
    "SET new": (1119, 4973),
    "SET overwrite": (1119, 3232),
}


def request(kind, number):
    value = "w" * 64
    if kind == "GET hit":
        return encode("GET", "key:%012d" % (number % KEYS))
    if kind == "GET miss":
        return encode("GET", "nok:%012d" % (number % KEYS))
    if kind == "SET new":
        return encode("SET", "new:%012d" % number, value)
    return encode("SET", "key:%012d" % (number % KEYS), value)


@needs_millrace
@unittest.skipUnless(shutil.which("valgrind"), "valgrind is not installed")
@unittest.skipIf("san-" in str(PROGRAMS), "a sanitizer's build counts its own instructions")
class Instructions(unittest.TestCase):
    def setUp(self):
        """A folder of programs in which md and io_conn are run by callgrind."""
        self.folder = Path(tempfile.mkdtemp(prefix="mill counted "))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        for program in PROGRAMS.iterdir():
            if program.name not in ("md", "io_conn"):
                (self.folder / program.name).symlink_to(program.resolve())
                continue
            wrapper = self.folder / program.name
            wrapper.write_text("#!/bin/sh\nexec valgrind --quiet --tool=callgrind --callgrind-out-file='%s/out.%s.%%p' '%s' \"$@\"\n" % (
                self.folder, program.name, program.resolve()))
            wrapper.chmod(0o755)
        before = os.environ.get("MILLRACE_BIN")
        os.environ["MILLRACE_BIN"] = str(self.folder)
        self.addCleanup(lambda: os.environ.pop("MILLRACE_BIN") if before is None else os.environ.update(MILLRACE_BIN=before))

    def count(self, kind, requests):
        """Instructions of io_conn and of the md that served, from their start to their end."""
        for old in self.folder.glob("out.*"):
            old.unlink()
        instance = Instance(io=1, md_hang_timeout=0, seccomp="no")     # valgrind needs system calls of its own
        try:
            with instance.wire(timeout=60) as wire:
                for total, of_kind in ((KEYS, "SET overwrite"), (requests, kind)):
                    for start in range(0, total, BATCH):
                        wire.send(b"".join(request(of_kind, start + i) for i in range(BATCH)))
                        wire.replies(BATCH)
        finally:
            instance.stop()
        totals = {"io_conn": 0, "md": 0}
        for path in self.folder.glob("out.*"):
            found = re.search(r"^(?:summary|totals): (\d+)", path.read_text(), re.MULTILINE)
            name = path.name.split(".")[1]
            totals[name] = max(totals[name], int(found.group(1)) if found else 0)
        return totals["io_conn"], totals["md"]

    def test_each_kind_of_request(self):
        for kind, recorded in RECORDED.items():
            with self.subTest(kind):
                few, many = self.count(kind, FEW), self.count(kind, MANY)
                measured = tuple((more - less) / (MANY - FEW) for more, less in zip(many, few))
                print("%-14s %5.0f instructions of io_conn, %5.0f of md" % (kind, *measured))
                for process, now, then in zip(("io_conn", "md"), measured, recorded):
                    self.assertLess(abs(now - then), TOLERANCE * then + SLACK, "%s of a %s: %.0f instructions, %d are recorded" % (process, kind, now, then))


if __name__ == "__main__":
    unittest.main()
