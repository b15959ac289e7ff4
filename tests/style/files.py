"""Every source file opens with a paragraph about itself, stays short, and has no tabs, trailing blanks or paths of one machine."""

import re
import unittest

from source_tree import ROOT, files_ending, lines_of, tree_files

LINES_MAX = 600
OPENING_WORDS_MIN = 6
SOURCES = (".h", ".cc", ".def", ".py")
HOME_FOLDERS = ("work", "root", "home")
MACHINE_PATH = re.compile(r"(?<![\w./~$}-])/(?:%s)(?=/\w|[\s\"'`),;:]|$)" % "|".join(HOME_FOLDERS))


def opening(path):
    """The words of the comment or docstring that a file opens with."""
    lines = lines_of(path)
    if lines and lines[0].startswith("#!"):
        lines = lines[1:]
    text = "\n".join(lines).lstrip("\n")
    if path.suffix == ".py":
        match = re.match(r'(?:#[^\n]*\n)*\s*r?"""(.*?)"""', text, re.DOTALL) or re.match(r"((?:#[^\n]*\n)+)", text)
    else:
        match = re.match(r"((?://[^\n]*\n)+)", text) or re.match(r"/\*(.*?)\*/", text, re.DOTALL)
    return re.findall(r"\w+", match.group(1)) if match else []


class Files(unittest.TestCase):
    def test_open_with_a_paragraph(self):
        wrong = [str(path) for path in files_ending(*SOURCES) if path.name != "__init__.py" and len(opening(path)) < OPENING_WORDS_MIN]
        self.assertEqual(wrong, [])

    def test_are_not_too_long(self):
        wrong = ["%s: %d lines" % (path, len(lines_of(path)) - 1) for path in files_ending(*SOURCES) if len(lines_of(path)) - 1 > LINES_MAX]
        self.assertEqual(wrong, [])

    def test_have_no_tabs(self):
        wrong = ["%s:%d" % (path, number) for path in tree_files() if path.name != "Makefile" and path.suffix != ".mk"
                 for number, line in enumerate(lines_of(path), 1) if "\t" in line]
        self.assertEqual(wrong, [])

    def test_have_no_trailing_blanks(self):
        wrong = ["%s:%d" % (path, number) for path in tree_files() for number, line in enumerate(lines_of(path), 1)
                 if line != line.rstrip()]
        self.assertEqual(wrong, [])

    def test_end_with_one_line_end(self):
        wrong = [str(path) for path in tree_files() if lines_of(path) and (lines_of(path)[-1] or lines_of(path)[-2:-1] == [""])]
        self.assertEqual(wrong, [])

    def test_name_no_folder_of_one_machine(self):
        wrong = ["%s:%d: %s" % (path, number, line.strip()[:100]) for path in tree_files()
                 for number, line in enumerate(lines_of(path), 1) if MACHINE_PATH.search(line)]
        self.assertEqual(wrong, [])

    def test_programs_can_be_run(self):
        wrong = [str(path) for path in tree_files() if lines_of(path)[:1] and lines_of(path)[0].startswith("#!")
                 and not (ROOT / path).stat().st_mode & 0o100]
        self.assertEqual(wrong, [])


if __name__ == "__main__":
    unittest.main()
