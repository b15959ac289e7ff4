"""io_conn copies bytes of the store only by the functions of common/racing_copy.h, but for replies that md leaves as they are."""

import re
import unittest

from source_tree import files_ending, lines_of

# Who may hold a pointer into the store: the view, which reads replies that nobody changes, and the direct reader.
VIEW = ("store_view.h", "store_view.cc")
READER = ("direct_reader.h", "direct_reader_impl.h", "direct_reader.cc")
OTHER_COPIES = re.compile(r"\b(memcpy|memmove|memcmp|strncmp|std::copy\w*|string_view\(|std::string\()")


class Racing(unittest.TestCase):
    def code(self, *names):
        return [(path, number, line.split("//")[0]) for path in files_ending(".h", ".cc") if path.parts[0] == "io_conn" and path.name in names
                for number, line in enumerate(lines_of(path), 1)]

    def test_the_direct_reader_copies_by_racing_copies_only(self):
        lines = self.code(*READER)
        self.assertGreater(len(lines), 150)
        self.assertEqual(["%s:%d" % (path, number) for path, number, line in lines if OTHER_COPIES.search(line)], [])

    def test_nobody_else_gets_a_pointer_into_the_store(self):
        """base() is asked for in one place: where the reader is made."""
        others = [(path, number, line) for path in files_ending(".h", ".cc") if path.parts[0] == "io_conn" and path.name not in VIEW + READER
                  for number, line in enumerate(lines_of(path), 1)]
        asks = ["%s" % path for path, _, line in others if re.search(r"store_?(\(\))?\.(base|at|bytes)\b", line)]
        self.assertEqual(asks, ["io_conn/md_link.h"])


if __name__ == "__main__":
    unittest.main()
