"""What the tests of the disk shim have in common: a folder, shims over it, programs under them, and outcomes of a power loss."""

import os
import random
import shutil
import subprocess
import sys
import textwrap
import unittest

from harness import PROGRAMS, ROOT, new_folder

sys.path.insert(0, str(ROOT / "tests" / "disk"))

from disk_model import contents  # noqa: E402
from disk_shim import DiskShim  # noqa: E402

LIBRARY = PROGRAMS.parent / "tests" / "disk_shim.so"
PYTHON = os.path.realpath("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable)
ROUNDS = 200
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))


@unittest.skipUnless(LIBRARY.exists(), "a sanitizer's build has no disk_shim.so")
class DiskCase(unittest.TestCase):
    def setUp(self):
        self.top = new_folder("disk")
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.folder = self.top / "data"
        self.made = 0

    def shim(self, *faults, name=os.path.basename(PYTHON)):
        """A shim over the folder as it is now."""
        self.made += 1
        self.folder.mkdir(exist_ok=True)
        return DiskShim(LIBRARY, self.folder, self.top / ("shim %d" % self.made), name, faults)

    def start(self, shim, *arguments, **options):
        return subprocess.Popen([PYTHON, *map(str, arguments)], env={**os.environ, **shim.environment()}, cwd=self.top, text=True, **options)

    def run_code(self, shim, code, *arguments):
        """Runs Python under the shim, with `folder` as the name of the folder; what it prints, or -N when a signal ended it."""
        code = "import os, sys\nfolder = sys.argv[1]\n" + textwrap.dedent(code)
        process = self.start(shim, "-c", code, self.folder, *arguments, stdout=subprocess.PIPE)
        output = process.communicate(timeout=60)[0]
        self.assertLessEqual(process.returncode, 0, "the program has failed")
        return process.returncode or output.strip()

    def outcome(self, shim, seed=0, keep="none", upto=None):
        """{path: bytes} after a power loss."""
        out = self.top / "outcome"
        shim.make_outcome(out, seed, keep, upto)
        try:
            return contents(out)
        finally:
            shutil.rmtree(out)

    def outcomes(self, shim, count=ROUNDS):
        return [self.outcome(shim, seed, "random") for seed in range(count)]

    def whole(self, shim):
        self.assertEqual(shim.unexplained(), [])
