"""A part of README.md between two marks that a file of tests/style makes, writes with --write and checks."""

import sys
import unittest

from source_tree import ROOT

README = ROOT / "README.md"


class Section:
    def __init__(self, name, file, make):
        """`make` gives the text between the marks <!-- NAME: made by FILE --> and <!-- end of NAME -->."""
        self.begin, self.end = "<!-- %s: made by %s -->\n" % (name, file), "<!-- end of %s -->\n" % name
        self.file, self.make = file, make

    def check(self, case):
        text = README.read_text()
        found = text[text.index(self.begin) + len(self.begin):text.index(self.end)]
        case.assertEqual(found, self.make(), "%s --write puts another one there" % self.file)

    def main(self):
        """For the file that makes it, when it is run by hand."""
        if sys.argv[1:] != ["--write"]:
            return unittest.main()
        text = README.read_text()
        README.write_text(text[:text.index(self.begin) + len(self.begin)] + self.make() + text[text.index(self.end):])
