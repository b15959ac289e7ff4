"""Includes go one way: io_conn to common, md to common, tools to common; and never back, and never between io_conn and md."""

import re
import unittest

from source_tree import ROOT, files_ending, lines_of

ALLOWED = {
    "common": {"common"},
    "io_conn": {"io_conn", "common"},
    "md": {"md", "common"},
    "tools": {"tools", "common"},
    "tests": {"tests", "io_conn", "md", "tools", "common"},
}
INCLUDE = re.compile(r'\s*#\s*include\s*"([^"]+)"')


def includes():
    """(file, line number, included name) for every include with quotation marks."""
    for path in files_ending(".h", ".cc", ".def"):
        for number, line in enumerate(lines_of(path), 1):
            match = INCLUDE.match(line)
            if match:
                yield path, number, match.group(1)


class Includes(unittest.TestCase):
    def test_arrows_go_one_way(self):
        wrong = ["%s:%d includes %s" % (path, number, name) for path, number, name in includes()
                 if name.split("/")[0] not in ALLOWED.get(path.parts[0], set())]
        self.assertEqual(wrong, [])

    def test_names_start_at_the_root(self):
        wrong = ["%s:%d includes %s" % (path, number, name) for path, number, name in includes() if not (ROOT / name).is_file()]
        self.assertEqual(wrong, [])

    def test_there_are_includes_to_look_at(self):
        self.assertGreater(len(list(includes())), 20)

    def test_headers_are_read_once(self):
        wrong = [str(path) for path in files_ending(".h") if "#pragma once" not in lines_of(path)]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
