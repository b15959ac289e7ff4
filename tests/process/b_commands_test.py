"""Every string and keyspace command answers as redis-server does, byte for byte: values, options, errors, arity."""

import unittest

from compare import CompareCase, start_sides, stop_sides

BIG = str(2**63 - 1)
SMALL = str(-2**63)
NO_INTEGERS = ("", " ", "abc", " 1", "1 ", "+1", "01", "-0", "00", "1.0", "1e3", "0x10", "--1", "-", "9223372036854775808",
               "-9223372036854775809", "99999999999999999999999", "1\0", "１")


def setUpModule():
    start_sides()


def tearDownModule():
    stop_sides()


class Set(CompareCase):
    def test_plain(self):
        self.same("GET k", "SET k v", "GET k", "SET k w", "GET k", ("SET", "", ""), ("GET", ""), "set K v", "Get K")

    def test_nx_and_xx(self):
        self.same("SET k v XX", "GET k", "SET k v NX", "SET k w NX", "GET k", "SET k w XX", "GET k", "set k x nX", "GET k")

    def test_get_option(self):
        self.same("SET k v GET", "SET k w GET", "GET k", "SET k x NX GET", "GET k", "SET n x NX GET", "GET n",
                  "SET k y XX GET", "GET k", "SET m y XX GET", "GET m", "SET k z GET EX 100", "SET k z GET GET")

    def test_expiry_options_are_accepted(self):
        for option in ("EX 100", "PX 100000", "EXAT 33177117420", "PXAT 33177117420000", "KEEPTTL", "ex 100", "Px 100000"):
            with self.subTest(option):
                self.same("SET k v " + option, "GET k", "SET k w %s NX" % option, "SET k w %s XX" % option, "GET k",
                          "SET k x NX " + option, "SET k x GET " + option, "GET k")

    def test_bad_expiry(self):
        for option in ("EX", "PX", "EXAT", "PXAT"):
            for number in ("0", "-1", BIG, SMALL, "9223372036854775", "9223372036854776", "9223372036854775807", *NO_INTEGERS):
                if option in ("PX", "PXAT") or number not in ("9223372036854775",):
                    with self.subTest(option, number=number):
                        self.same(("SET", "k", "v", option, number), "GET k", "EXISTS k")

    def test_expiry_overflow_at_the_edge(self):
        self.same("SET k v PX " + BIG, "SET k v EX 9223372036854775", "SET k v EX 9223370000000000", "GET k",
                  "SET k v PXAT " + BIG, "GET k", "SET k v EXAT 9223372036854775", "GET k", "SET k v EXAT 9223372036854776",
                  "GET k")

    def test_time_in_the_past_is_gone_at_once(self):
        self.same("SET k v EXAT 1", "GET k", "EXISTS k", "SET k v", "SET k w PXAT 1", "GET k", "DEL k", "SET k v XX")

    def test_conflicting_options(self):
        options = ["EX 100", "PX 100000", "EXAT 33177117420", "PXAT 33177117420000", "KEEPTTL", "NX", "XX", "GET"]
        for first in options:
            for second in options:
                with self.subTest(first=first, second=second):
                    self.same("SET k v %s %s" % (first, second), "GET k", "SET k w %s %s" % (first, second), "GET k")

    def test_three_options(self):
        self.each_same("SET k v NX GET EX 10", "SET k v XX GET KEEPTTL", "SET k v NX XX GET", "SET k v EX 10 NX PX 10",
                       "SET k v GET NX XX", "SET k v EX 10 PX 10 KEEPTTL", "SET k v NX EX", "SET k v GET PX")

    def test_syntax_errors(self):
        self.each_same("SET", "SET k", "SET k v w", "SET k v EX", "SET k v PX", "SET k v EXAT", "SET k v PXAT", "SET k v NX w",
                       "SET k v PERSIST", "SET k v EX NX", "SET k v NX EX 10 10", "SET k v KEEPTTL 10", "SET k v EX 10 EX 20",
                       ("SET", "k", "v", ""), ("SET", "k", "v", "E X", "1"), "SET k v EX abc NX XX", "SET k v GETX")

    def test_keeps_or_drops_the_expiry(self):
        self.same("SET k v PX 100000", "SET k w KEEPTTL", "GET k", "SET k x", "GET k", "SET k y KEEPTTL", "GET k",
                  "SET n v KEEPTTL", "GET n")

    def test_after_an_error_nothing_has_changed(self):
        self.same("SET k v", "SET k w EX 0", "GET k", "SET k w NX XX", "GET k", "SET k w EX abc", "GET k", "DBSIZE")


class GetAndOthers(CompareCase):
    def test_getset_and_getdel(self):
        self.same("GETSET k a", "GETSET k b", "GET k", "GETDEL k", "GETDEL k", "GET k", ("GETSET", "k", ""), "GETDEL k")

    def test_setnx(self):
        self.same("SETNX k a", "SETNX k b", "GET k", "DEL k", "SETNX k b", "GET k", ("SETNX", "", ""), "SETNX k k")

    def test_mset_and_mget(self):
        self.same("MSET a 1 b 2", "MGET a b c", "MSET a 3 a 4", "MGET a a", "MGET none", "MSET a 1 b", "MSET", "MGET",
                  "MSET a", ("MSET", "", ""), ("MGET", "", "a", ""), "MSET a 1 b 2 c", "DBSIZE")

    def test_del_and_exists(self):
        self.same("EXISTS k", "SET k v", "EXISTS k k k", "EXISTS k n k", "DEL k k", "EXISTS k", "MSET a 1 b 2 c 3",
                  "DEL a n b a", "EXISTS a b c", "DEL n", "DBSIZE")

    def test_append_and_strlen(self):
        self.same("STRLEN k", "APPEND k abc", "APPEND k def", "GET k", "STRLEN k", ("APPEND", "k", ""), ("APPEND", "n", ""),
                  "EXISTS n", "STRLEN n", "TYPE n", ("APPEND", "k", b"\0\r\n"), "GET k", "SET i 10", "APPEND i 5", "INCR i",
                  "STRLEN i", "APPEND i x", "INCR i")

    def test_append_keeps_the_expiry_and_the_value(self):
        self.same("SET k v PX 100000", "APPEND k w", "GET k", "INCR k", "SET i 1 PX 100000", "INCR i", "GET i")

    def test_type(self):
        self.same("TYPE k", "SET k v", "TYPE k", "SET k 12", "TYPE k", "DEL k", "TYPE k")

    def test_dbsize_and_flushall(self):
        self.same("DBSIZE", "MSET a 1 b 2", "DBSIZE", "FLUSHALL", "DBSIZE", "SET a 1", "FLUSHALL ASYNC", "DBSIZE", "SET a 1",
                  "FLUSHALL SYNC", "DBSIZE", "SET a 1", "flushall async", "GET a", "SET a 1", "FLUSHALL NOW", "GET a",
                  "FLUSHALL ASYNC SYNC", "FLUSHALL SYNC SYNC", "GET a", ("FLUSHALL", ""), "GET a")

    def test_values_of_many_lengths(self):
        steps = []
        for length in (0, 1, 11, 12, 20, 44, 45, 63, 64, 65, 127, 128, 255, 256, 1000, 4095, 4096, 4097, 16384, 65535, 65536,
                       65537, 200000):
            value = (b"%d-" % length * (length // 2 + 1))[:length]
            steps += [("SET", "k%d" % length, value), "GET k%d" % length, "STRLEN k%d" % length, ("APPEND", "all", value)]
        self.same(*steps, "GET all", "DBSIZE")

    def test_keys_of_many_lengths(self):
        keys = [b"\xff" * length for length in (0, 1, 2, 15, 16, 31, 32, 63, 64, 255, 256, 1000, 65535, 65536, 100000)]
        self.same(*[("SET", key, len(key)) for key in keys], ("MGET", *keys), ("EXISTS", *keys), "DBSIZE", ("DEL", *keys),
                  "DBSIZE")

    def test_value_shrinks_and_grows(self):
        steps = []
        for length in (10, 100000, 10, 300, 70000, 0, 65536, 1):
            steps += [("SET", "k", b"x" * length), "STRLEN k", ("APPEND", "k", b"yz"), "GET k", ("GETSET", "k", b"w" * length)]
        self.same(*steps)


class Ranges(CompareCase):
    NUMBERS = ("0", "1", "-1", "2", "-2", "5", "-5", "6", "-6", "7", "100", "-100", BIG, SMALL)

    def test_every_pair_of_ends(self):
        self.same("SET k 123456", *["GETRANGE k %s %s" % (start, end) for start in self.NUMBERS for end in self.NUMBERS])

    def test_missing_empty_and_long(self):
        self.same("GETRANGE none 0 -1", "GETRANGE none 1 0", ("SET", "e", ""), "GETRANGE e 0 -1", "GETRANGE e 0 0", "GETRANGE e -1 -1",
                  ("SET", "l", "0123456789" * 20_000), "GETRANGE l 65530 65540", "GETRANGE l -5 -1", "GETRANGE l 0 9", "STRLEN l",
                  ("GETRANGE", "l", "100", "-100"), "APPEND l tail", "GETRANGE l -7 -1")

    def test_no_numbers(self):
        for number in NO_INTEGERS:
            self.same("SET k 123456", ("GETRANGE", "k", number, "3"), ("GETRANGE", "k", "0", number), ("GETRANGE", "none", number, "0"))


class TimeToLive(CompareCase):
    def test_absent_and_without_an_expiry(self):
        self.same("TTL k", "PTTL k", "SET k v", "TTL k", "PTTL k", "DEL k", "TTL k", "SET k v EXAT 1", "TTL k", "PTTL k")

    def test_seconds(self):
        self.same("SET k v EX 1000", "TTL k", "SET k v PX 1000000", "TTL k", "SET k v EX 9223370000000000", "TTL k", "SET k w KEEPTTL", "TTL k",
                  "SET k v", "TTL k")

    def test_milliseconds(self):
        near = lambda reply: b":near" if reply.startswith(b":99") and len(reply) == len(b":999999\r\n") else reply
        self.same("SET k v PX 999999", "PTTL k", "GET k", "PTTL k", mask=near)


class Counting(CompareCase):
    def test_incr_and_decr(self):
        self.same("INCR n", "INCR n", "DECR n", "GET n", "DECR m", "GET m", "INCRBY n 10", "DECRBY n 3", "GET n", "INCRBY n -5",
                  "DECRBY n -5", "INCRBY n 0", "STRLEN n", "INCRBY new 7", "DECRBY new2 7")

    def test_limits(self):
        self.same("SET n " + BIG, "INCR n", "GET n", "INCRBY n 1", "DECR n", "INCRBY n 1", "INCRBY n -1", "INCRBY n 2", "GET n")
        self.same("SET n " + SMALL, "DECR n", "GET n", "DECRBY n 1", "INCR n", "DECRBY n 1", "DECRBY n 2", "GET n")
        self.same("DECRBY n " + SMALL, "SET n 0", "DECRBY n " + SMALL, "DECRBY n -" + BIG, "INCRBY n " + BIG, "GET n",
                  "INCRBY m " + SMALL, "INCRBY m " + BIG, "INCRBY m " + SMALL, "INCRBY m " + SMALL, "GET m")

    def test_value_is_no_integer(self):
        for value in NO_INTEGERS:
            with self.subTest(value=value):
                self.same(("SET", "n", value), "INCR n", "DECR n", "INCRBY n 1", "DECRBY n 1", "GET n")

    def test_amount_is_no_integer(self):
        for amount in NO_INTEGERS:
            with self.subTest(amount=amount):
                self.same(("INCRBY", "n", amount), ("DECRBY", "n", amount), "EXISTS n", "SET n x", ("INCRBY", "n", amount))

    def test_numbers_that_strings_become(self):
        self.same("SET n -5", "INCR n", "SET n 5", "APPEND n 0", "INCR n", ("SET", "n", "1"), "GETSET n 8", "INCR n", "GETDEL n",
                  "INCR n", "SET n 9223372036854775806", "INCR n", "STRLEN n", "SET n -1", "INCR n", "GET n", "STRLEN n")


class Databases(CompareCase):
    def test_select(self):
        self.same("SET k zero", "SELECT 1", "GET k", "SET k one", "DBSIZE", "SELECT 0", "GET k", "SELECT 15", "GET k",
                  "SELECT 16", "GET k", "SELECT -1", "SELECT abc", ("SELECT", ""), "SELECT 1 2", "SELECT", "SELECT 1",
                  "GET k", "FLUSHALL", "GET k", "SELECT 0", "GET k", "SELECT 01", "SELECT 99999999999", "SELECT " + BIG,
                  "SELECT 9223372036854775808", ("SELECT", " 1"))

    def test_reset_goes_back_to_the_first(self):
        self.same("SELECT 3", "SET k v", "RESET", "GET k", "SELECT 3", "GET k")

    def test_databases_do_not_see_each_other(self):
        self.same(*[step for db in range(16) for step in ("SELECT %d" % db, "SET k %d" % db, "INCR n")],
                  *[step for db in range(16) for step in ("SELECT %d" % db, "MGET k n", "DBSIZE", "DEL k", "EXISTS k n")])


class Arity(CompareCase):
    COMMANDS = ("ECHO GET GETSET GETDEL GETRANGE SETNX STRLEN TYPE TTL PTTL INCR DECR INCRBY DECRBY APPEND SELECT DEL EXISTS MGET MSET DBSIZE AUTH "
                "RESET CONFIG CLIENT").split()

    def test_no_argument_and_too_many(self):
        for command in self.COMMANDS:
            with self.subTest(command):
                if command not in ("DBSIZE", "RESET"):
                    self.same(command, command.lower(), command.capitalize())
                if command not in ("DEL", "EXISTS", "MGET", "MSET", "CONFIG", "CLIENT"):
                    self.same(command + " a b c d", command + " a b c")

    def test_words_in_errors(self):
        """Up to a NUL byte, with blanks for line ends, without those at the end; options as they were typed."""
        for word in ("a\0b", "\0", "a\r\nb", "\r\na\r\n", "\n", "x" * 300):
            self.each_same(("EXPIRE", "k", "100", word), ("PEXPIREAT", "k", "33177117420000", word), ("CONFIG", "SET", word, "1"), ("HELLO", "2", word), ("CLIENT", "LIST", "TYPE", word),
                           (word, word), ("CLIENT", word), protocols=(2,))
        self.each_same("CONFIG SET maxmemory-samples 5 MAXMEMORY-samples 5", "CONFIG SET MaxMemory-Samples x", protocols=(2,))

    def test_one_argument_where_two_are_due(self):
        self.each_same("GETSET k", "SETNX k", "INCRBY k", "DECRBY k", "APPEND k", "MSET k", "SET k", "GETDEL k v", "GET k v",
                       "DBSIZE x", "INCR k 1", "DECR k 1", "STRLEN k k", "TYPE k k", "ECHO a b", "RESET now", "PING a b",
                       "QUIT now", "MSET a b c", "FLUSHALL a b c")


if __name__ == "__main__":
    unittest.main()
