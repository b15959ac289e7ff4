"""COMMAND tells of our commands what redis-server tells of them: flags, categories, tips, keys, arguments; the words of a summary are ours."""

import unittest

import compare
from command_rows import newer_names
from compare import CompareCase, start_sides, stop_sides
from wire import decode

OWN_WORDS = (b"summary", b"complexity", b"history")
GETKEYS = ("GET a", "GET", "GET a b", "PING x", "PING", "nonsense a", "MSET a 1 b", "MSET a 1 b 2", "OBJECT", "OBJECT ENCODING k", "OBJECT nonsense k", "SET a b", "SET a",
           "SET a b GET", "set a b nonsense get", "SET a b EX 1", "BITOP AND d a b", "BITOP NOT d", "BITOP AND d a", "BITFIELD a", "BITFIELD a GET u8 0",
           "BITFIELD a get u8 0 overflow wrap GET u8 0", "BITFIELD a OVERFLOW wrap SET u8 0 1", "BITFIELD a GET u8", "BITFIELD a INCRBY u8 0 1", "BITFIELD a nonsense",
           "BITFIELD_RO a GET u8 0", "COPY a b", "COPY a b DB 1", "LCS a b", "LCS a b IDX", "PFMERGE a", "PFMERGE a b c", "PFCOUNT a b", "EXISTS a b", "WATCH a b", "DEL a b",
           "RENAME a b", "RENAME a", "GETEX a", "CONFIG GET x", "CONFIG", "CLIENT LIST", "COMMAND INFO", "COMMAND nonsense", "COMMAND COUNT", "TOUCH a", "KEYS a", "SCAN 0",
           "RESTORE a 0 x", "OBJECT FREQ k", "MULTI x", "EXEC x")
FILTERS = ("ACLCAT bitmap", "ACLCAT BitMap", "ACLCAT nonsense", "ACLCAT @read", "ACLCAT transaction", "MODULE x", "PATTERN *bit*", "PATTERN CONFIG|[gs]et", "PATTERN nonsense",
           "nonsense x", "MODULE", "ACLCAT", "")


def setUpModule():
    start_sides(io_counts=(1,))


def tearDownModule():
    stop_sides()


def fields(reply, protocol):
    """A map of RESP3, or its words in turn in RESP2, as a dict."""
    return reply if protocol == 3 else dict(zip(reply[::2], reply[1::2]))


class Command(CompareCase):
    def both(self, *arguments, protocol=2):
        """The replies of redis-server and of millrace."""
        replies = []
        for server in (compare.sides.oracle, *compare.sides.subjects.values()):
            with server.wire() as wire:
                compare.hello(wire, protocol)
                replies.append(decode(wire.command(*arguments)))
        return replies

    def names(self):
        """Those of all our commands and subcommands."""
        theirs, ours = self.both("COMMAND", "LIST")
        names = {name.decode() for name in ours} - newer_names()
        self.assertEqual(names - {name.decode() for name in theirs}, set(), "commands that redis-server has not")
        return sorted(names)

    def test_info_of_each(self):
        for name in self.names():
            for protocol in (2, 3):
                theirs, ours = self.both("COMMAND", "INFO", name, protocol=protocol)
                with self.subTest(command=name, protocol=protocol):
                    self.assertEqual(ours[0][:8], theirs[0][:8])
                    self.assertEqual([fields(spec, protocol) for spec in ours[0][8]],
                                     [{name: value for name, value in fields(spec, protocol).items() if name != b"notes"} for spec in theirs[0][8]])
                    self.assertEqual({row[0] for row in ours[0][9]} - {row[0] for row in theirs[0][9]} - {name.encode() for name in newer_names()}, set())

    def test_info_is_the_same_to_the_byte(self):
        self.each_same("COMMAND INFO get", "COMMAND INFO mget", "COMMAND INFO copy nonsense dump", "COMMAND INFO object|freq client|list bitop ping", "COMMAND INFO config|nonsense",
                       "COMMAND INFO nonsense|get")

    def test_docs_of_each(self):
        for name in self.names():
            for protocol in (2, 3):
                theirs, ours = (fields(reply, protocol)[name.encode()] for reply in self.both("COMMAND", "DOCS", name, protocol=protocol))
                theirs, ours = fields(theirs, protocol), fields(ours, protocol)
                subcommands = [set(fields(docs.pop(b"subcommands", [] if protocol == 2 else {}), protocol)) for docs in (theirs, ours)]
                with self.subTest(command=name, protocol=protocol):
                    self.assertEqual(list(ours), [field for field in theirs if field != b"history"])
                    self.assertEqual({key: ours[key] for key in ours if key not in OWN_WORDS}, {key: theirs[key] for key in theirs if key not in OWN_WORDS})
                    self.assertLessEqual(subcommands[1] - {name.encode() for name in newer_names()}, subcommands[0])

    def test_getkeys(self):
        self.each_same(*["COMMAND GETKEYS " + words for words in GETKEYS], "COMMAND GETKEYS")

    def test_getkeysandflags(self):
        self.each_same(*["COMMAND GETKEYSANDFLAGS " + words for words in GETKEYS], "COMMAND GETKEYSANDFLAGS")

    def test_list(self):
        here = set(self.both("COMMAND", "LIST")[1])
        for words in FILTERS:
            with self.subTest(filter=words):
                theirs, ours = self.both("COMMAND", "LIST", "FILTERBY", *words.split())
                if isinstance(theirs, list):
                    theirs, ours = here & set(theirs), set(ours)
                self.assertEqual(ours, theirs)
        self.each_same("COMMAND LIST nonsense", "COMMAND LIST nonsense ACLCAT read", "COMMAND LIST FILTERBY MODULE x y", "COMMAND LIST FILTERBY PATTERN nonsense", "COMMAND COUNT x")

    def test_help(self):
        self.each_same("COMMAND HELP x", "OBJECT HELP x")


if __name__ == "__main__":
    unittest.main()
