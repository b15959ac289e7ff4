"""The top of the tree holds what it is allowed to hold, and every folder explains itself in a README.md."""

import re
import unittest

from source_tree import ROOT, lines_of, tree_files

FOLDERS = {"io_conn", "md", "common", "tools", "tests", "etc"}
TOP = FOLDERS | {"Makefile", "README.md", "LICENSE", ".ci", ".clang-format", ".gitignore", ".clang-tidy", ".gitattributes", ".editorconfig"}
EXPLAINED = ("io_conn", "md", "common", "tools", "tests")
README_LINES = range(5, 201)


class Layout(unittest.TestCase):
    def test_top_holds_only_what_it_may(self):
        self.assertEqual({path.parts[0] for path in tree_files()} - TOP, set())

    def test_every_folder_has_a_readme(self):
        missing = [folder for folder in EXPLAINED if not (ROOT / folder / "README.md").is_file()]
        self.assertEqual(missing, [])

    def test_readmes_are_a_page(self):
        for folder in EXPLAINED:
            path = ROOT / folder / "README.md"
            if path.is_file():
                self.assertIn(len(lines_of(path)), README_LINES, path)
                self.assertTrue(lines_of(path)[0].startswith("# "), path)

    def test_top_has_its_files(self):
        missing = [name for name in ("Makefile", "README.md", "LICENSE", ".gitignore", ".ci/run") if not (ROOT / name).is_file()]
        self.assertEqual(missing, [])

    def test_every_process_test_opens_with_a_sentence(self):
        wrong = []
        for path in sorted((ROOT / "tests" / "process").glob("*_test.py")):
            if not re.match(r'(#!.*\n)?"""[A-Za-z][^"]*\.\)?\n?"""\n', path.read_text(encoding="utf-8")):
                wrong.append(path.name)
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
