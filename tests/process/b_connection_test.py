"""Connections behave as redis-server's: PING to QUIT, HELLO, AUTH, CLIENT, inline commands, unknown commands."""

import unittest

import compare
from compare import CompareCase, mask_hello, start_sides, stop_sides
from wire import Error, decode, encode


def setUpModule():
    start_sides()


def tearDownModule():
    stop_sides()


class Connection(CompareCase):
    def test_ping_and_echo(self):
        self.same("PING", "ping", "pInG", "PING hello", ("PING", ""), ("PING", b"\0\r\n"), "ECHO hello", ("ECHO", ""),
                  ("ECHO", b"\xff\0\r\n\t"), ("ECHO", b"x" * 100000), ("PING", b"y" * 100000))

    def test_quit_answers_and_closes(self):
        self.same("SET k v", "QUIT", "GET k")
        self.same("quit now please")

    def test_what_follows_quit_is_not_executed(self):
        for server in [compare.sides.oracle, *compare.sides.subjects.values()]:
            compare.empty(server)
            with server.wire() as wire:
                wire.send(encode("SET", "k", "v") + encode("QUIT") + encode("SET", "k", "w"))
                self.assertEqual(wire.until_closed(), b"+OK\r\n+OK\r\n")
            with server.wire() as wire:
                self.assertEqual(wire.command("GET", "k"), b"$1\r\nv\r\n")

    def test_reset(self):
        self.same("SELECT 4", "CLIENT SETNAME me", "RESET", "CLIENT GETNAME", "PING", "SET k v", "GET n", "RESET x")


class Hello(CompareCase):
    def test_forms_that_are_right(self):
        self.same("HELLO", "HELLO 2", "GET none", "HELLO 3", "GET none", "hello 2", "GET none", "HELLO", mask=mask_hello)

    def test_setname(self):
        self.same("HELLO 3 SETNAME me", "CLIENT GETNAME", "HELLO 2 SETNAME you SETNAME her", "CLIENT GETNAME",
                  ("HELLO", "3", "SETNAME", ""), "CLIENT GETNAME", mask=mask_hello)

    def test_auth(self):
        self.same("HELLO 3 AUTH default x", "HELLO 2 AUTH default x SETNAME me", "CLIENT GETNAME", "HELLO 3 AUTH nobody x",
                  "CLIENT GETNAME", "HELLO 3 SETNAME you AUTH nobody x", "CLIENT GETNAME", "GET none", mask=mask_hello)

    def test_errors(self):
        self.same("HELLO 1", "HELLO 4", "HELLO abc", ("HELLO", ""), "HELLO -1", "HELLO 99999999999999999999", "HELLO 3 AUTH",
                  "HELLO 3 AUTH default", "HELLO 3 SETNAME", "HELLO 3 NONSENSE", "HELLO 3 SETNAME a b",
                  ("HELLO", "3", "SETNAME", "a b"), ("HELLO", "3", "SETNAME", b"a\nb"), "HELLO AUTH default x", "GET none",
                  "HELLO 4 AUTH default x", "HELLO 02", "HELLO 2.0", mask=mask_hello)

    def test_error_changes_nothing(self):
        self.same("HELLO 3 SETNAME me NONSENSE", "CLIENT GETNAME", "GET none", "HELLO 9", "GET none", protocols=[2])

    def test_reset_goes_back_to_resp2(self):
        self.same("HELLO 3", "GET none", "RESET", "GET none", mask=mask_hello)

    def test_own_version_is_not_empty(self):
        for subject in compare.sides.subjects.values():
            with subject.wire() as wire:
                fields = decode(wire.command("HELLO", "3"))
            self.assertTrue(fields[b"version"])
            self.assertGreater(fields[b"id"], 0)


class Auth(CompareCase):
    def test_without_a_password_set(self):
        self.same("AUTH", "AUTH x", ("AUTH", ""), "AUTH default x", "AUTH nobody x", "AUTH DEFAULT x", "AUTH a b c", "PING",
                  ("AUTH", "default", ""), ("AUTH", "", ""), "GET none")


class Client(CompareCase):
    def test_names(self):
        self.same("CLIENT GETNAME", "CLIENT SETNAME me", "CLIENT GETNAME", "client getname", ("CLIENT", "SETNAME", ""),
                  "CLIENT GETNAME", ("CLIENT", "SETNAME", "a b"), ("CLIENT", "SETNAME", b"a\nb"), ("CLIENT", "SETNAME", b"\xff"),
                  "CLIENT GETNAME", ("CLIENT", "SETNAME", "n" * 1000), "CLIENT GETNAME")

    def test_arity_and_unknown_subcommands(self):
        self.same("CLIENT", "CLIENT NONSENSE", "CLIENT SETNAME", "CLIENT SETNAME a b", "CLIENT GETNAME a", "CLIENT ID a",
                  ("CLIENT", ""), ("CLIENT", "a b"), ("CLIENT", "x" * 300), "client nonsense a b")

    def test_ids_are_numbers_that_rise(self):
        for subject in compare.sides.subjects.values():
            wires = [subject.wire() for _ in range(6)]
            numbers = [decode(wire.command("CLIENT", "ID")) for wire in wires]
            again = [decode(wire.command("CLIENT", "ID")) for wire in wires]
            for wire in wires:
                wire.close()
            self.assertEqual(numbers, again, "a connection's id changed")
            self.assertEqual(len(set(numbers)), len(numbers), "two connections have one id: %r" % numbers)
            self.assertTrue(all(isinstance(number, int) and number > 0 for number in numbers), numbers)

    def test_list_shows_every_connection_with_its_fields(self):
        fields = self._fields_of_own_line(compare.sides.oracle)
        for name, subject in compare.sides.subjects.items():
            own = self._fields_of_own_line(subject)
            self.assertEqual(set(own) - set(fields) - {"lib-name", "lib-ver"}, set(), "%s: fields that Redis has not" % name)
            for field in ("id", "addr", "laddr", "fd", "name", "age", "idle", "flags", "db", "cmd", "user", "resp"):
                self.assertIn(field, own, name)
            for field in ("name", "db", "cmd", "user", "resp"):
                if field in fields:
                    self.assertEqual(own[field], fields[field], "%s: %s" % (name, field))

    def _fields_of_own_line(self, server):
        """This connection's line of CLIENT LIST, after checks that hold for every server."""
        with server.wire() as wire, server.wire() as other:
            other.command("CLIENT", "SETNAME", "other")
            wire.command("CLIENT", "SETNAME", "looker")
            wire.command("SELECT", "3")
            number = decode(wire.command("CLIENT", "ID"))
            text = decode(wire.command("CLIENT", "LIST")).decode()
            address = "%s:%d" % wire.socket.getsockname()
        self.assertTrue(text.endswith("\n"), repr(text))
        lines = [dict(word.split("=", 1) for word in line.split(" ")) for line in text.splitlines()]
        self.assertIn("other", [line["name"] for line in lines], text)
        own = [line for line in lines if line["id"] == str(number)]
        self.assertEqual(len(own), 1, text)
        self.assertEqual(own[0]["addr"], address)
        self.assertEqual(own[0]["laddr"], "%s:%d" % server.address)
        return own[0]

    def test_list_type_is_verbatim_in_resp3(self):
        for server in [compare.sides.oracle, *compare.sides.subjects.values()]:
            with server.wire() as wire:
                self.assertEqual(wire.command("CLIENT", "LIST")[:1], b"$")
                wire.command("HELLO", "3")
                self.assertRegex(wire.command("CLIENT", "LIST"), rb"\A=\d+\r\ntxt:")


class UnknownCommands(CompareCase):
    def test_error_shows_the_beginning_of_the_arguments(self):
        self.each_same("nonsense", "nonsense a", "nonsense a b c", ("no sense", "a b"), ("nonsense", ""), ("", "a"), ("",),
                       ("nonsense", *["arg%d" % number for number in range(100)]), ("nonsense", "x" * 1000),
                       ("nonsense", "x" * 100, "y" * 100), ("n" * 1000, "a"), ("n" * 127,), ("n" * 128,), ("n" * 129, "b"),
                       ("nonsense", "x" * 124, "y"), ("nonsense", "x" * 125, "y"), ("nonsense", "x" * 126, "y"),
                       ("nonsense", "x" * 128, "y"), "Nonsense A", ("nonsense", "it's"), ("nonsense", "'"))

    def test_preview_cuts_at_the_same_place(self):
        self.each_same(*[("nonsense", "x" * length, "yy", "z") for length in range(110, 131)],
                       *[("nonsense", *["ab"] * count) for count in range(20, 32)])

    def test_control_characters_in_the_error(self):
        self.each_same(("non\r\nsense", "a\r\nb"), ("nonsense", b"\r"), ("nonsense", b"\n+OK\r\n"), (b"\xff\xfe", b"\xff"),
                       ("nonsense", b"a\0b", "c"), (b"a\0b", "c"), (b"\0get",), ("nonsense", "\t"))

    def test_near_misses_of_real_names(self):
        self.each_same("gett k", "ge k", ("get ", "k"), (" get", "k"), ("get\n", "k"), "set_ k v", "getk")

    def test_connection_goes_on(self):
        self.same("nonsense", "PING", "GET", "PING", "SET k v", "nonsense k", "GET k")


class SubcommandErrors(CompareCase):
    def test_unknown_subcommands(self):
        self.each_same("CONFIG NONSENSE", "CONFIG nonsense a b", ("CONFIG", ""), "COMMAND NONSENSE", "COMMAND nonsense x",
                       ("COMMAND", "x" * 300), ("CONFIG", "a\r\nb"), "CONFIG GET", "config|get x", "COMMAND COUNT x",
                       "client|id", "CONFIG GETT x")


class Inline(CompareCase):
    def test_plain(self):
        self.same(b"PING\r\n", b"PING\n", b"ping   hello  \r\n", b"SET k v\r\n", b"GET k\n", b"\tGET\tk\r\n", b" PING\r\n",
                  b"nonsense a b\r\n", b"GET\r\n")

    def test_quotes_and_escapes(self):
        self.each_same(b'ECHO "a b"\r\n', b"ECHO 'a b'\r\n", b'ECHO ""\r\n', b"ECHO ''\r\n", b'ECHO "\\x41\\x7a\\xff\\x00"\r\n',
                       b'ECHO "\\n\\r\\t\\b\\a\\\\\\"\\q"\r\n', b"ECHO 'it\\'s'\r\n", b"ECHO 'a\\nb'\r\n", b'ECHO "\\xg1"\r\n',
                       b'ECHO "\\x4"\r\n', b'ECHO a"b\r\n', b'ECHO a"b c"\r\n', b'"ECHO" "x"\r\n', b"ECHO a'b'\r\n",
                       b'ECHO \\x41\r\n', b'ECHO "a\tb"\r\n', b'"" x\r\n', b"ECHO \xff\xfe\r\n", b'"PING"\r\n')

    def test_unbalanced_quotes_close(self):
        self.each_same(b'ECHO "a b\r\n', b"ECHO 'a b\r\n", b'ECHO "a"b\r\n', b"ECHO 'a'b\r\n", b'"\r\n', b"'\r\n",
                       b'ECHO "a\\"\r\n', b'ECHO "a""b"\r\n')

    def test_empty_lines_have_no_answer(self):
        self.same(b"\r\nPING\r\n", b"\n\n\r\nPING\r\n", b"   \r\nPING\r\n", b"\t\n" + encode("PING", "x"), b"\r\n" * 1000 + b"PING\n")

    def test_mixed_with_arrays(self):
        self.same(encode("SET", "k", "v"), b"GET k\r\n", encode("APPEND", "k", "w"), b"STRLEN k\r\n", b"*1\r\n$4\r\nPING\r\n",
                  b"*0\r\nPING\r\n", b"*-1\r\nPING\r\n", b"*-100\r\nPING\r\n")


class Cases(CompareCase):
    def test_names_and_options_in_any_case(self):
        self.same("sEt k v eX 100", "gEt k", "mSeT a 1", "InCr a", "cLiEnT gEtNaMe", "CoNfIg gEt TIMEOUT", "flushALL sync",
                  "DbSiZe", "sElEcT 0", "typE k", "strLEN k", "eXiStS k", "DEL k", "echo Hello", "aPPend k v", "incrBY n 3")


class Errors(CompareCase):
    def test_error_replies_are_errors(self):
        for subject in compare.sides.subjects.values():
            with subject.wire() as wire:
                for arguments in (["GET"], ["nonsense"], ["SET", "k", "v", "EX", "0"], ["INCRBY", "k", "x"], ["HELLO", "9"]):
                    self.assertIsInstance(decode(wire.command(*arguments)), Error, arguments)


if __name__ == "__main__":
    unittest.main()
