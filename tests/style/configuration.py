"""The sample configuration is the one that the option table makes, and it is a valid configuration."""

import os
import re
import subprocess
import unittest
from pathlib import Path

from source_tree import ROOT, lines_of

MAKER = Path(os.environ.get("MILLRACE_BIN") or ROOT / "build" / "bin") / "millrace-conf"
SAMPLE = ROOT / "etc" / "millrace.conf"


class Sample(unittest.TestCase):
    def test_is_what_the_table_makes(self):
        made = subprocess.run([MAKER, "--sample"], stdout=subprocess.PIPE, text=True, check=True, timeout=20)
        self.assertEqual(SAMPLE.read_text(), made.stdout, "millrace-conf --sample makes another one: run it into etc/millrace.conf")

    def test_has_every_option_of_the_table(self):
        names = re.findall(r'^MR_OPTION\(\w+, "([^"]+)"', "\n".join(lines_of("common/options.def")), re.MULTILINE)
        self.assertGreater(len(names), 10)
        text = SAMPLE.read_text()
        missing = [name for name in names if not re.search(r"^#? ?%s *=" % re.escape(name), text, re.MULTILINE)]
        self.assertEqual(missing, [])


if __name__ == "__main__":
    unittest.main()
