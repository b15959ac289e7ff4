"""Malformed, enormous, cut and half requests get redis-server's answer, and the connection closes where redis-server closes it."""

import unittest

import compare
from compare import CompareCase, run_script, shortened, start_sides, stop_sides
from wire import Wire, WireTimeout, as_bytes, decode, encode

MEGABYTE = 1 << 20
SENTINEL = encode("PING", "the sentinel")
ORACLE_SILENCE = 1  # redis-server is taken to have said everything when it has been silent for so many seconds
SENTINEL_REPLY = b"$12\r\nthe sentinel\r\n"
BIG_ARGUMENTS = 100_000


def setUpModule():
    start_sides()


def tearDownModule():
    stop_sides()


def servers():
    return [("redis", compare.sides.oracle), *compare.sides.subjects.items()]


class Malformed(CompareCase):
    """Each stream is followed by a PING: either its answer comes or the connection closes, on both sides alike."""

    def same_end(self, *streams):
        for stream in streams:
            with self.subTest(stream=shortened(stream)):
                answer, closed = self.oracle_outcome(stream)
                for name, subject in compare.sides.subjects.items():
                    self.assertEqual(self.outcome_like(subject, stream, answer, closed), (shortened(answer), closed), name)

    def oracle_outcome(self, stream):
        """(what came, whether the connection was closed). A stream can swallow the PING: then it ends with silence."""
        with compare.sides.oracle.wire(timeout=ORACLE_SILENCE) as wire:
            wire.send(stream + SENTINEL)
            try:
                return wire.until_closed_or(SENTINEL_REPLY)
            except WireTimeout:
                return wire.taken(), False

    def outcome_like(self, subject, stream, answer, closed):
        """The same of the other side, which may take its time; shortened, unless it differs only in the middle."""
        with subject.wire(timeout=10) as wire:
            wire.send(stream + SENTINEL)
            if closed:
                came, ended = wire.until_closed(), True
            else:
                came, ended = wire.up_to(len(answer))
                ended = ended or not wire.silent(0.05)
        if came != answer and shortened(came) == shortened(answer):
            return came, ended
        return shortened(came), ended

    def test_bad_number_of_arguments(self):
        self.same_end(b"*abc\r\n", b"*\r\n", b"* 1\r\n", b"*1 \r\n", b"*+1\r\n", b"*01\r\n", b"*1.0\r\n", b"*0x1\r\n", b"*--1\r\n",
                      b"*-\r\n", b"*99999999999999999999\r\n", b"*9223372036854775808\r\n", b"*2147483648\r\n",
                      b"*9223372036854775807\r\n")

    def test_too_many_arguments(self):
        self.same_end(b"*1048577\r\n", b"*1048577\r\n$4\r\nPING\r\n", b"*2147483647\r\n$3\r\nGET\r\n")

    def test_null_and_negative_arrays_are_skipped(self):
        self.same_end(b"*0\r\n", b"*-1\r\n", b"*-10\r\n", b"*-9223372036854775808\r\n", b"*0\r\n*0\r\n*-1\r\n", b"*0\r\n" * 5000)

    def test_bad_length_of_an_argument(self):
        self.same_end(b"*1\r\n$abc\r\n", b"*1\r\n$\r\n", b"*1\r\n$-1\r\n", b"*1\r\n$-0\r\n", b"*1\r\n$ 4\r\nPING\r\n", b"*1\r\n$4 \r\nPING\r\n",
                      b"*1\r\n$+4\r\nPING\r\n", b"*1\r\n$04\r\nPING\r\n", b"*2\r\n$3\r\nGET\r\n$-5\r\n", b"*2\r\n$3\r\nGET\r\n$x\r\n",
                      b"*1\r\n$99999999999999999999\r\n", b"*1\r\n$9223372036854775807\r\n", b"*1\r\n$4.0\r\nPING\r\n")

    def test_missing_dollar(self):
        self.same_end(b"*1\r\nPING\r\n", b"*1\r\n:4\r\n", b"*1\r\n*1\r\n$4\r\nPING\r\n", b"*2\r\n$4\r\nPING\r\nx\r\n", b"*1\r\n\r\n",
                      b"*1\r\n\xff\r\n", b"*1\r\n'\r\n", b"*2\r\n$3\r\nGET\r\n+k\r\n")

    def test_argument_that_is_longer_than_it_says(self):
        self.same_end(b"*1\r\n$4\r\nPINGPONG\r\n", b"*2\r\n$4\r\nPING\r\n$2\r\nabcdef\r\n", b"*1\r\n$0\r\nPING\r\n")

    def test_what_comes_in_place_of_the_line_end_is_not_looked_at(self):
        self.same_end(b"*1\r\n$4\r\nPINGxy", b"*2\r\n$4\r\nPINGxy$1\r\na--", b"*1xx$4\r\nPING\r\n"[:3] + b"\r\n$4\r\nPING\r\n",
                      b"*1\rx$4\rxPING\r\n")

    def test_empty_argument_in_every_place(self):
        self.same_end(b"*1\r\n$0\r\n\r\n", b"*2\r\n$0\r\n\r\n$0\r\n\r\n", b"*3\r\n$3\r\nSET\r\n$0\r\n\r\n$0\r\n\r\n", b"*2\r\n$3\r\nGET\r\n$0\r\n\r\n")

    def test_requests_before_the_error_are_answered(self):
        for bad in (b"*abc\r\n", b"*1\r\nPING\r\n", b"*1\r\n$x\r\n", b'ECHO "\r\n'):
            self.same_end(encode("SET", "k", "v") + encode("GET", "k") + bad, b"PING\r\n" * 500 + bad,
                          encode("GET", "k") + encode("INCR", "k") + encode("nonsense") + bad + encode("GET", "k"))

    def test_inline_too_long(self):
        """Well above the limit of 64 KiB: just above it, redis-server's answer depends on how the bytes arrive."""
        for length in (60000, 200000, 1000000):
            self.same_end(b"x" * length)
        self.same_end(b"PING " + b"y" * 1000 + b"\r\n", b"ECHO " + b"y" * 60000 + b"\r\n")

    def test_endless_count_lines(self):
        self.same_end(b"*" + b"1" * 200000, b"*1\r\n$" + b"1" * 200000)

    def test_argument_longer_than_the_limit(self):
        self.same_end(b"*1\r\n$%d\r\n" % (MEGABYTE + 1), b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (MEGABYTE + 1),
                      b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870912\r\n", b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$536870913\r\n",
                      b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % (MEGABYTE + 1) + b"x" * (MEGABYTE + 1) + b"\r\n")

    def test_error_text_shows_odd_characters(self):
        self.same_end(*[b"*1\r\n%c\r\n" % character for character in range(1, 256) if character != ord("$")])

    def test_other_protocols(self):
        self.same_end(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n", b"Host: x\r\n", b"host: x\r\nPING\r\n",
                      b"\x16\x03\x01\x02\x01\xfc\x03\x03\r\n", b"set k 0 0 1\r\nv\r\n")


class Unfinished(CompareCase):
    HALVES = (b"*", b"*1", b"*1\r", b"*1\r\n", b"*1\r\n$", b"*1\r\n$4\r\n", b"*1\r\n$4\r\nPI", b"*1\r\n$4\r\nPING", b"*1\r\n$4\r\nPING\r",
              b"PING", b"PING\r", b"\r", b"*2\r\n$4\r\nPING\r\n$1000\r\nabc")

    def test_half_a_request_then_silence_holds_nobody_up(self):
        for name, server in servers():
            silent = [server.wire() for _ in self.HALVES]
            for wire, half in zip(silent, self.HALVES):
                wire.send(half)
            with server.wire() as wire:
                self.assertEqual(wire.command("PING"), b"+PONG\r\n", name)
                self.assertEqual(wire.command("SET", "k", "v"), b"+OK\r\n", name)
            for wire, half in zip(silent, self.HALVES):
                self.assertTrue(wire.silent(0), (name, half))
                wire.close()

    def test_half_a_request_is_answered_once_it_is_whole(self):
        whole = encode("SET", "k", "some value") + encode("GET", "k") + b"GET k\r\n"
        for name, server in servers():
            for cut in range(1, len(whole)):
                with server.wire() as wire:
                    wire.send(whole[:cut])
                    with server.wire() as other:
                        other.command("PING")
                    wire.send(whole[cut:])
                    self.assertEqual(b"".join(wire.replies(3)), b"+OK\r\n" + b"$10\r\nsome value\r\n" * 2, (name, cut))

    def test_a_byte_at_a_time(self):
        stream = (encode("SET", "k", b"v\r\n\0") + b"GET k\r\n" + encode("MSET", "a", "1", "b", "") + encode("MGET", "a", "b", "c")
                  + b'echo "a\\x00b"\r\n' + b"\r\n" + encode("INCR", "n") + encode("GET") + b"*0\r\n" + SENTINEL)
        outcomes = {}
        for name, server in servers():
            compare.empty(server)
            with server.wire() as wire:
                for number in range(len(stream)):
                    wire.send(stream[number:number + 1])
                outcomes[name] = wire.until_closed_or(SENTINEL_REPLY)
        for name, outcome in outcomes.items():
            self.assertEqual(outcome, outcomes["redis"], name)

    def test_client_leaves_in_the_middle(self):
        for name, server in servers():
            for half in self.HALVES + (b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$500000\r\n" + b"x" * 300000,):
                wire = server.wire()
                wire.send(encode("SET", "left", "yes") + half)
                self.assertEqual(wire.reply(), b"+OK\r\n", name)
                wire.close()
            with server.wire() as wire:
                self.assertEqual(wire.command("GET", "left"), b"$3\r\nyes\r\n", name)

    def test_client_leaves_without_reading_its_replies(self):
        for name, server in servers():
            with server.wire() as wire:
                wire.command("SET", "big", b"x" * 100000)
            for _ in range(20):
                with server.wire() as wire:
                    wire.send(encode("GET", "big") * 50 + encode("INCR", "n") * 100)
            with server.wire() as wire:
                self.assertEqual(wire.command("STRLEN", "big"), b":100000\r\n", name)

    def test_client_closes_its_writing_half(self):
        """What was sent before is executed, whether or not the answers still go out."""
        for name, server in servers():
            with server.wire() as wire, server.wire() as other:
                wire.send(encode("SET", "half", "closed"))
                self.assertEqual(wire.reply(), b"+OK\r\n", name)
                wire.socket.shutdown(1)
                self.assertEqual(wire.until_closed(), b"", name)
                self.assertEqual(other.command("GET", "half"), b"$6\r\nclosed\r\n", name)

    def test_nul_bytes_in_the_protocol_harm_nobody(self):
        """redis-server takes a NUL for the end of what has arrived; nobody has to follow it in that."""
        for name, server in servers():
            for line in (b"ECHO a\0b\r\n", b"\0\r\n", b"PING\0\r\n", b"\0" * 70000 + b"\r\n", b"*1\0\r\n", b"*1\r\n\0\r\n", b"*1\r\n$4\0\r\n",
                         b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n"):
                with server.wire() as wire:
                    wire.send(line)
                with server.wire() as wire:
                    self.assertEqual(wire.command("PING"), b"+PONG\r\n", name)


class Large(CompareCase):
    """Sizes at the limits, compared by their bytes."""

    def same_large(self, *steps):
        expected = self.all_replies(compare.sides.oracle, steps)
        for name, subject in compare.sides.subjects.items():
            for step, want, got in zip(steps, expected, self.all_replies(subject, steps)):
                label = step if isinstance(step, str) else b" ".join(map(as_bytes, step[:3]))[:60]
                self.assertTrue(want == got, "%s: %s\n    redis    %s\n    millrace %s" % (name, label, shortened(want), shortened(got)))

    def all_replies(self, server, steps):
        """Each step with its reply read meanwhile, so that no buffer fills up on the way."""
        compare.empty(server)
        replies = []
        with server.wire() as wire:
            for step in steps:
                replies += wire.exchange([compare.request(step)], 1)
        return replies

    def test_100000_arguments(self):
        keys = ["key:%d" % number for number in range(BIG_ARGUMENTS)]
        pairs = [word for key in keys[:BIG_ARGUMENTS // 2] for word in (key, "value of " + key)]
        self.same_large(("PING", *keys), ("MSET", *pairs), ("EXISTS", *keys), ("MGET", *keys), "DBSIZE", ("GET", *keys), ("DEL", *keys), "DBSIZE",
                        ("nonsense", *keys), ("MSET", *pairs[:-1]), "DBSIZE", ("EXISTS", *keys))

    def test_as_many_arguments_as_there_may_be(self):
        self.same_large(("DEL", *["k"] * (MEGABYTE - 1)), ("EXISTS", *[""] * (MEGABYTE - 1)), "PING")

    def test_binary_keys_and_values(self):
        words = [b"\r\n", b"\0", b"", b"\xff\xfe", b"*1\r\n", b"$-1\r\n", bytes(range(256)), b"\r", b"\n", b"\0" * 1000]
        self.same(("MSET", *[word for key in words for word in (key, key[::-1])]), ("MGET", *words), "DBSIZE",
                  *[("GET", word) for word in words], *[("APPEND", word, word) for word in words], ("MGET", *words), ("DEL", *words))

    def test_megabyte_values(self):
        value = bytes(range(256)) * (MEGABYTE // 256)
        self.same_large(("SET", "k", value), "GET k", "STRLEN k", ("GETSET", "k", value[::-1]), "GET k", ("SET", "k", value, "GET"), ("SETNX", "n", value),
                        ("MSET", *[word for number in range(20) for word in (number, value[number:])]), ("MGET", *range(20), "k", "none"),
                        "GETDEL k", "EXISTS k", ("ECHO", value), ("PING", value), ("GETSET", "k", ""), "GET k")

    def test_append_up_to_the_limit(self):
        half = b"h" * (MEGABYTE // 2)
        self.same_large(("APPEND", "k", half), ("APPEND", "k", half[:-1]), "STRLEN k", "APPEND k x", "STRLEN k", "APPEND k x", "STRLEN k",
                        ("APPEND", "k", ""), "GET k", ("APPEND", "k", half), "STRLEN k", ("APPEND", "n", half), ("APPEND", "n", half), ("APPEND", "n", half))

    def test_megabyte_keys(self):
        key = b"k" * MEGABYTE
        self.same_large(("SET", key, "v"), ("GET", key), ("EXISTS", key, key[1:]), ("STRLEN", key), ("INCR", key), ("DEL", key), ("GET", key))

    def test_megabytes_where_small_things_belong(self):
        big = b"1" * MEGABYTE
        self.same_large(("INCRBY", "n", big), ("SET", "k", "v", "EX", big), ("SET", "k", "v", big), ("SELECT", big), ("HELLO", big), (big, "x"), ("FLUSHALL", big),
                        ("CONFIG", "GET", big), ("CLIENT", big), ("AUTH", big), ("CLIENT", "SETNAME", b"n" * 100000), "CLIENT GETNAME", "PING")

    def test_long_pipeline_of_large_values(self):
        value = b"v" * 100000
        commands = [("SET", "k%d" % (number % 7), value[number:]) if number % 3 else ("GET", "k%d" % (number % 7)) for number in range(300)]
        stream = b"".join(map(compare.request, commands))
        outcomes = {}
        for name, server in servers():
            compare.empty(server)
            with server.wire() as wire:
                outcomes[name] = wire.exchange([stream], len(commands))
        for name, outcome in outcomes.items():
            self.assertTrue(outcome == outcomes["redis"], name)

    def test_100000_pings_in_one_stream(self):
        for name, server in servers():
            with server.wire() as wire:
                replies = wire.exchange([b"PING\r\n" * 50000 + encode("PING") * 50000], 100000)
            self.assertEqual(set(replies), {b"+PONG\r\n"}, name)


class UnixSocket(CompareCase):
    def test_same_over_the_unix_socket(self):
        steps = ["SET k v", "GET k", ("SET", "b", b"x" * MEGABYTE), "GET b", b"*1\r\n$x\r\n"]
        outcomes = {name: run_script(OverUnix(server), 2, steps) for name, server in servers()}
        for name, outcome in outcomes.items():
            self.assertEqual(list(map(shortened, outcome)), list(map(shortened, outcomes["redis"])), name)

    def test_addresses_in_client_list(self):
        for name, server in servers():
            with server.unix_wire() as wire:
                self.assertIn(b"addr=%s:0 laddr=%s:0 " % ((server.unix_path.encode(),) * 2), decode(wire.command("CLIENT", "LIST")), name)


class OverUnix:
    """A server whose connections go through its Unix socket."""

    def __init__(self, server):
        self.server = server

    def wire(self):
        return Wire(self.server.unix_path)


if __name__ == "__main__":
    unittest.main()
