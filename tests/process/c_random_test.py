"""Long random sequences of commands, cut at random bytes, get the same bytes from redis-server and from millrace.

What may differ stands in allowed_differences.py. The seed is printed; it is always the same unless SEED=n says another or
MILLRACE_LONG=1 asks for millions of commands of a random one. MILLRACE_COMMANDS=n runs so many. A long run also looks that every
command of the table occurs and succeeds often enough (accounting.py).
"""

import collections
import os
import random
import re
import shutil
import tempfile
import unittest
from pathlib import Path

import harness
from accounting import PER_COMMANDS, Accounts
from allowed_differences import ENTRIES, LIMIT, Call, entry_for
from compare import IO_COUNTS, SHOWN_BYTES, Sides, shortened
from makers import MAKERS, Conversation
from pairs import CONNECTIONS, Pairs
from random_source import Source, without_maker
from shrink import shrink
from wire import encode, end_of_reply

LONG = bool(os.environ.get("MILLRACE_LONG"))
COMMANDS = int(os.environ.get("MILLRACE_COMMANDS", 700_000 if LONG else 30_000))      # against each group
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6) if LONG else 20_260))
LOOKS_AT_DATA = 20      # in a run
HISTORY = 3000          # pipelines that are kept for finding a short way to a difference
SHRINK_SECONDS = 15
PIPELINES_SHOWN, COMMANDS_SHOWN = 10, 10
OWN_FIELDS = re.compile(rb"\b(?:id|addr|laddr|fd|age|idle|qbuf|qbuf-free|argv-mem|multi-mem|rbs|rbp|obl|oll|omem|tot-mem)=\S* ")

# A wrong error text for the mutant: of the same length, in the program that gives it.
WRONG_TEXT = ("md", b"bit offset is not an integer or out of range", b"bit offset is not an integer or out of scope")


def encoded(commands):
    return b"".join(encode(*command) for command in commands)


def known_names(sides):
    """The makers' commands that every server under test knows, by COMMAND INFO."""
    known = set(MAKERS)
    for subject in sides.subjects.values():
        with subject.wire() as wire:
            for name in sorted(known):
                asked = "debug" if name.startswith("debug|") else name       # which is no container
                if wire.command("COMMAND", "INFO", asked) in (b"*1\r\n*-1\r\n", b"*1\r\n$-1\r\n"):
                    known.discard(name)
    return known


def difference_of(sides, pipelines):
    """The first difference when these pipelines, (connection, commands) each, are sent whole."""
    with Pairs(sides) as pairs:
        for number, commands in pipelines:
            found = pairs.difference(number, commands)
            if found:
                return found
        return pairs.difference_of_data()


def shortest(sides, pipelines):
    """Fewer pipelines, then fewer commands in each, that still make a difference."""
    def fails(shorter):
        return difference_of(sides, shorter) is not None

    if not fails(pipelines):
        return pipelines
    pipelines = shrink(pipelines, fails, SHRINK_SECONDS)
    for place, (number, commands) in enumerate(pipelines):
        def fails_with(shorter):
            return fails(pipelines[:place] + [(number, shorter)] + pipelines[place + 1:])

        pipelines[place] = (number, shrink(commands, fails_with, SHRINK_SECONDS / len(pipelines)))
    return pipelines


def apart(want, got):
    """Both replies for people: long ones from shortly before the first byte that differs, CLIENT LIST without what always does."""
    want, got = (b"\n".join(sorted(OWN_FIELDS.sub(b"", reply).replace(b" lib-name= lib-ver=", b"").split(b"\n")[1:])) if b" laddr=" in reply else reply for reply in (want, got))
    if max(len(want), len(got)) > SHOWN_BYTES:
        place = next((place for place, (one, other) in enumerate(zip(want, got)) if one != other), min(len(want), len(got)))
        want, got = (b"[%d bytes]..." % max(0, place - 60) + reply[max(0, place - 60):] for reply in (want, got))
    return shortened(want), shortened(got)


class Run:
    """One run against one group: a difference shows at once, because each pipeline goes to both before the next one."""

    def __init__(self, sides, seed, accounts=None):
        self.sides, self.accounts = sides, accounts or Accounts()
        self.source = Source(seed, known_names(sides))
        self.history = collections.deque(maxlen=HISTORY)

    def difference(self, count):
        """The first difference in so many commands, or None; then `history` holds what led to it."""
        done, looks = 0, 0
        with Pairs(self.sides, self.accounts) as pairs:
            while done < count:
                number, commands = self.source.random.randrange(CONNECTIONS), self.source.pipeline()
                generation = pairs.began_again
                self.history.append((number, commands))
                found = pairs.difference(number, commands, self.source.pieces)
                done += len(commands)
                if pairs.began_again != generation:
                    self.history.clear()
                if not found and done * LOOKS_AT_DATA >= count * (looks + 1):
                    looks += 1
                    found = pairs.difference_of_data()
                if found:
                    return found
        return None


class Random(unittest.TestCase):
    accounts = Accounts()

    def against(self, io_count):
        sides = Sides(io_counts=(io_count,))
        self.addCleanup(sides.stop)
        run = Run(sides, SEED * 10 + io_count, self.accounts)
        print("seed %d, %d commands, %d io_conn; not known to millrace: %s" % (SEED, COMMANDS, io_count, " ".join(run.source.left_out) or "none"), flush=True)
        found = run.difference(COMMANDS)
        if found:
            self.differ(sides, found, list(run.history))

    def differ(self, sides, found, history):
        """Fails with a short way to a difference, which may be another one than the first."""
        history = shortest(sides, history)
        again = difference_of(sides, history)
        lines = ["connection %d: %s" % (number, " | ".join(shortened(b" ".join(command)) for command in commands[:COMMANDS_SHOWN]))
                 for number, commands in history[-PIPELINES_SHOWN:]]
        self.fail("seed %d:\n    %s\n    at %s\n    redis    %s\n    millrace %s%s" % (
            SEED, "\n    ".join(lines), shortened(b" ".join((again or found).command)), *apart(*(again or found)[1:]),
            "" if again else "\n    which these pipelines alone do not show again"))

    def test_generated_replies_are_whole(self):
        """The source makes only commands that get exactly one reply."""
        source = Source(SEED)
        sides = Sides(io_counts=())
        self.addCleanup(sides.stop)
        with sides.oracle.wire() as wire:
            for _ in range(50):
                commands = [command for command in source.pipeline() if not isinstance(command, Conversation)]
                replies = wire.exchange([encoded(commands)], len(commands))
                self.assertTrue(all(end_of_reply(reply) == len(reply) for reply in replies))
                self.assertFalse(wire.buffer, commands)

    def test_every_command_of_the_table_is_made(self):
        self.assertEqual(without_maker(), [], "write a maker for each (makers.py says how)")

    def test_when_all_has_run(self):
        """Runs after the others, whose names come before it: what occurred, what succeeded, what differed."""
        print(self.accounts.table())
        unused = [entry.what for entry in ENTRIES if not entry.used]
        print("\n".join("%9d  %s" % (entry.used, entry.what) for entry in ENTRIES))
        commands = COMMANDS * len(IO_COUNTS)
        if not self.accounts.total() or commands < PER_COMMANDS:
            self.skipTest("looked at in runs of %d commands" % PER_COMMANDS)
        print("allowed differences that did not occur: %s" % ("; ".join(unused) or "none"))
        self.assertEqual(self.accounts.short(commands), [], "these occur or succeed too seldom:\n" + self.accounts.table())


@harness.needs_millrace
class WrongText(unittest.TestCase):
    """A build with one wrong error text is seen. It is made by a change of the program's bytes, which costs no compiler."""

    def test_is_seen(self):
        program, right, wrong = WRONG_TEXT
        folder = Path(tempfile.mkdtemp(prefix="mutant "))
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        for path in harness.PROGRAMS.resolve().iterdir():
            if path.name != program:
                (folder / path.name).symlink_to(path)
        image = (harness.PROGRAMS / program).read_bytes()
        self.assertEqual((image.count(right), len(right)), (1, len(wrong)), "the text is in the program once")
        (folder / program).write_bytes(image.replace(right, wrong))
        (folder / program).chmod(0o755)
        before = os.environ.get("MILLRACE_BIN")
        os.environ["MILLRACE_BIN"] = str(folder)
        self.addCleanup(lambda: os.environ.pop("MILLRACE_BIN") if before is None else os.environ.update(MILLRACE_BIN=before))
        sides = Sides(io_counts=(2,))
        self.addCleanup(sides.stop)
        found = Run(sides, SEED * 10 + 2).difference(COMMANDS)
        self.assertTrue(found, "no difference in %d commands of seed %d" % (COMMANDS, SEED))
        self.assertEqual((right in found.want, wrong in found.got), (True, True), found)


class AllowedDifferences(unittest.TestCase):
    """The list is short, and no entry takes an error, a missing reply or a reply of another shape for a difference in words."""

    def test_are_few(self):
        self.assertLessEqual(len(ENTRIES), LIMIT)
        self.assertEqual([entry.what for entry in ENTRIES if not entry.why], [])
        self.assertLessEqual({name for entry in ENTRIES for name in entry.names}, set(MAKERS))

    def test_excuse_no_other_reply(self):
        replies = [b"-ERR one\r\n", b"-ERR other\r\n", b"+OK\r\n", b"$-1\r\n", b":1\r\n", b":-1\r\n", b"*0\r\n", b"*-1\r\n", b"$3\r\nabc\r\n", b"<closed>"]
        for entry in ENTRIES:
            for name in entry.names or ("get", "exec"):
                command = [word.encode() for word in name.upper().split("|")] + [b"x"]
                for want, got in ((want, got) for want in replies for got in replies if want != got and b"-" in (want[:1], got[:1]) or got == b"<closed>"):
                    self.assertIsNone(entry_for(Call(command, want, got)), (name, want, got))


def _add_tests():
    for count in IO_COUNTS:
        def test(self, count=count):
            self.against(count)
        setattr(Random, "test_against_%d_io_conn" % count, test)


_add_tests()


if __name__ == "__main__":
    unittest.main()
