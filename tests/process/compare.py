"""The same bytes to redis-server and to millrace, and a look at whether the same bytes come back.

A script is a list of steps, and each step is answered by one reply: a str is a command, split at blanks; a tuple is a
command with arguments of any bytes; bytes go over the wire as they are. `CompareCase.same` runs a script over RESP2 and
RESP3, against groups of 1, 2 and 4 io_conn, each time on empty databases.
"""

import re
import unittest

from harness import Oracle, Subject
from wire import WireClosed, encode

IO_COUNTS = (1, 2, 4)
PROTOCOLS = (2, 3)
CLOSED = b"<closed>"
SHOWN_BYTES = 300

sides = None


class Sides:
    """The oracle and one group for each number of io_conn, shared by a test file."""

    def __init__(self, io_counts=IO_COUNTS, **settings):
        self.oracle = Oracle(**settings)
        self.subjects = {}
        for count in io_counts:
            self.subjects["%d io_conn" % count] = Subject(io=count, **settings)

    def stop(self):
        failures = []
        for server in [*self.subjects.values(), self.oracle]:
            try:
                server.stop()
            except AssertionError as error:
                failures.append(str(error))
        if failures:
            raise AssertionError("\n".join(failures))


def start_sides(**options):
    """For setUpModule."""
    global sides
    sides = Sides(**options)


def stop_sides():
    """For tearDownModule."""
    sides.stop()


def request(step):
    """A step's bytes."""
    if isinstance(step, bytes):
        return step
    return encode(*(step.split() if isinstance(step, str) else step))


def shortened(data):
    if len(data) <= SHOWN_BYTES:
        return repr(data)
    return "%r… (%d bytes)" % (data[:SHOWN_BYTES], len(data))


def empty(server):
    with server.wire() as wire:
        reply = wire.command("FLUSHALL")
    if reply != b"+OK\r\n":
        raise AssertionError("FLUSHALL was answered with %r" % reply)


def hello(wire, protocol):
    if protocol == 3:
        reply = wire.command("HELLO", "3")
        if not reply.startswith(b"%"):
            raise AssertionError("HELLO 3 was answered with %r" % reply)


def run_script(server, protocol, steps):
    """The reply to each step; CLOSED for all from the one where the server closes."""
    replies = []
    with server.wire() as wire:
        hello(wire, protocol)
        for step in steps:
            wire.send(request(step))
            try:
                replies.append(wire.reply())
            except WireClosed as closed:
                replies.append(closed.received + CLOSED)
                break
        else:
            replies.append(b"" if not wire.buffer else b"more than one reply: " + bytes(wire.buffer))
    return replies


def mask_hello(reply):
    """HELLO's reply without what may differ: the connection's number and the server's version."""
    reply = re.sub(rb"(\$2\r\nid\r\n):\d+\r\n", rb"\1:ID\r\n", reply)
    return re.sub(rb"(\$7\r\nversion\r\n)\$\d+\r\n[^\r]*\r\n", rb"\1VERSION\r\n", reply)


class CompareCase(unittest.TestCase):
    """Compares whole scripts of commands."""

    def same(self, *steps, mask=None, protocols=PROTOCOLS, prepare=True):
        """`prepare`: whether the databases are emptied first, which takes a client that is let in."""
        for protocol in protocols:
            if prepare:
                empty(sides.oracle)
            expected = run_script(sides.oracle, protocol, steps)
            for name, subject in sides.subjects.items():
                if prepare:
                    empty(subject)
                actual = run_script(subject, protocol, steps)
                self._compare("%s, RESP%d" % (name, protocol), steps, expected, actual, mask or (lambda reply: reply))

    def each_same(self, *steps, **options):
        """The same for commands that need nothing from each other: each difference is told, not only the first."""
        for step in steps:
            with self.subTest(step=step):
                self.same(step, **options)

    def _compare(self, where, steps, expected, actual, mask):
        labels = [shortened(step) if isinstance(step, bytes) else str(step)[:SHOWN_BYTES] for step in steps] + ["the end"]
        for number, (want, got) in enumerate(zip(expected, actual)):
            if mask(want) != mask(got):
                before = "".join("\n    after    %s" % label for label in labels[max(0, number - 6):number])
                self.fail("%s: %s%s\n    redis    %s\n    millrace %s" % (
                    where, labels[number], before, shortened(want), shortened(got)))
        self.assertEqual(len(expected), len(actual), "%s: one side closed earlier, after %s" % (
            where, labels[min(len(expected), len(actual)) - 1]))
