"""The README's table of differences from Redis is the list of tests/process/allowed_differences.py.

    tests/style/differences.py --write      puts it into the README
"""

import sys
import unittest

from source_tree import ROOT

sys.path.insert(0, str(ROOT / "tests" / "process"))

from allowed_differences import ENTRIES, LIMIT  # noqa: E402

README = ROOT / "README.md"
BEGIN, END = "<!-- differences: made by tests/style/differences.py -->\n", "<!-- end of differences -->\n"


def table():
    rows = ["| what differs from Redis | why |", "|---|---|"] + ["| %s | %s |" % (entry.what, entry.why) for entry in ENTRIES]
    return "".join(row + "\n" for row in rows)


class Differences(unittest.TestCase):
    def test_the_readme_has_them(self):
        text = README.read_text()
        self.assertEqual(text[text.index(BEGIN) + len(BEGIN):text.index(END)], table(), "tests/style/differences.py --write puts another one there")

    def test_are_few(self):
        self.assertLessEqual(len(ENTRIES), LIMIT)


if __name__ == "__main__":
    if sys.argv[1:] == ["--write"]:
        text = README.read_text()
        README.write_text(text[:text.index(BEGIN) + len(BEGIN)] + table() + text[text.index(END):])
    else:
        unittest.main()
