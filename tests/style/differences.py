"""The README's table of differences from Redis is the list of tests/process/allowed_differences.py.

    tests/style/differences.py --write      puts it into the README
"""

import sys
import unittest

from readme_section import Section
from source_tree import ROOT

sys.path.insert(0, str(ROOT / "tests" / "process"))

from allowed_differences import ENTRIES, LIMIT  # noqa: E402


def table():
    rows = ["| what differs from Redis | why |", "|---|---|"] + ["| %s | %s |" % (entry.what, entry.why) for entry in ENTRIES]
    return "".join(row + "\n" for row in rows)


SECTION = Section("differences", "tests/style/differences.py", table)


class Differences(unittest.TestCase):
    def test_the_readme_has_them(self):
        SECTION.check(self)

    def test_are_few(self):
        self.assertLessEqual(len(ENTRIES), LIMIT)


if __name__ == "__main__":
    SECTION.main()
