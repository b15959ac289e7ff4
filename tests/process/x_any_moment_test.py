"""Power lost at chosen moments of one run: right after an answer, and right after a file has got its name.

The disk shim (tests/disk) has a journal of all that md_log does to the data folder, so what the disk has at each of its moments can be made afterwards
and looked at with oplogdump; a group is started on some of it. Most outcomes have of what was not durable nothing at all. MILLRACE_LONG=1: many moments.
"""

import glob
import json
import os
import random
import shutil
import threading
import unittest

from disk_case import LIBRARY
from disk_journal import FOLDER, records
from disk_shim import DiskShim
from harness import PROGRAMS, Instance, needs_millrace, new_folder, run, wait_for
from leftovers import end_processes_of, remove_shared_memory
from wire import WireClosed, WireTimeout, decode

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
LONG = bool(os.environ.get("MILLRACE_LONG"))
ANSWERS = 400 if LONG else 12       # moments after answers
WRITERS = 4
SAVES = 3


class Writer(threading.Thread):
    """Gives one key rising numbers; `answers` is how long the journal was, at most, when each of them had been made durable."""

    def __init__(self, instance, shim, number):
        super().__init__(daemon=True)
        self.instance, self.shim, self.key = instance, shim, "writer:%d" % number
        self.answers = []
        self.ended = False

    def run(self):
        number = 0
        try:
            with self.instance.wire(timeout=30) as wire:
                while not self.ended:
                    number += 1
                    if wire.command("SET", self.key, "%d.%s" % (number, "x" * (number * 37 % 900))) == b"+OK\r\n":
                        self.answers.append((self.shim.journal_bytes(), number))
        except (OSError, WireClosed, WireTimeout):
            pass

    def answered(self, point):
        """The last number that was answered before this moment."""
        return max((number for journal_bytes, number in self.answers if journal_bytes <= point), default=0)


def numbers_in(folder):
    """{key: number}: what the newest snapshot says, and the log."""
    paths = sorted(glob.glob(glob.escape(str(folder)) + "/snapshot-" + "[0-9]" * 20))[-1:] + [folder]
    found = {}
    for line in run([PROGRAMS / "oplogdump", "--json", *paths]).stdout.splitlines():
        if line.startswith("{"):
            effect = json.loads(line)
            found[effect["key"]] = max(found.get(effect["key"], 0), int(effect["value"].split(".")[0]))
    return found


@needs_millrace
@unittest.skipUnless(LIBRARY.exists(), "a sanitizer's build has no disk_shim.so")
class AnyMoment(unittest.TestCase):
    def written(self, policy):
        """What a group has done under that policy: the shim, and the writers."""
        scratch = new_folder("shim")
        self.addCleanup(shutil.rmtree, scratch, ignore_errors=True)
        instance = Instance(io=2, start=False, appendonly="yes", appendfsync=policy, save="")
        self.addCleanup(instance.destroy)
        (instance.folder / "data").mkdir(parents=True, exist_ok=True)
        shim = DiskShim(LIBRARY, instance.folder / "data", scratch / "journal", "md_log")
        with shim.in_environment():
            instance.start()
        shim.order("sync slow:3")       # who does not wait for it is the earlier
        writers = [Writer(instance, shim, number) for number in range(WRITERS)]
        for writer in writers:
            writer.start()
        with instance.wire(timeout=30) as wire:
            for number in range(SAVES):
                wanted = (number + 1) * max(ANSWERS, 60)
                wait_for(lambda: sum(len(writer.answers) for writer in writers) >= wanted, 60, "answers")
                self.assertTrue(wire.command("SAVE").startswith(b"+OK"))
                self.assertEqual(len(glob.glob(glob.escape(str(shim.folder)) + "/snapshot-*")), min(number + 1, 2))
        for writer in writers:
            writer.ended = True
        for writer in writers:
            writer.join(30)
        memory = instance.shm_folder()
        end_processes_of(instance.folder)
        remove_shared_memory(memory)
        self.scratch, self.shim, self.writers = scratch, shim, writers

    def moments_of_names(self):
        """Where a sync of the folder has ended: what has got its name before has to be whole."""
        begun, found = set(), []
        for record in records(self.shim.journal):
            if record.kind == "B" and record.flags & FOLDER:
                begun.add(record.token)
            elif record.kind == "E" and record.token in begun:
                found.append(record.end)
        return found

    def faults_at(self, point, seed, keep, owed):
        """What is wrong with what the disk has then; `owed`: what was answered has to be there."""
        out = self.scratch / "outcome"
        self.shim.make_outcome(out, seed, keep, point)
        try:
            checked = run([PROGRAMS / "oplogdump", "--verify", out])
            faults = [] if checked.returncode == 0 else [checked.stdout]
            found = numbers_in(out)
            for writer in self.writers:
                answered, last = writer.answered(point) if owed else 0, max(number for _, number in writer.answers) + 1
                if not answered <= found.get(writer.key, 0) <= last:
                    faults.append("%s: answered %d, found %d, written %d" % (writer.key, answered, found.get(writer.key, 0), last))
            return ["moment %d, seed %d, keep %s: %s" % (point, seed, keep, fault) for fault in faults]
        finally:
            shutil.rmtree(out)

    def check_start(self, point, owed):
        other = Instance(io=1, start=False, appendonly="yes", save="")
        self.addCleanup(other.stop)
        self.shim.make_outcome(other.folder / "data", SEED, "none", point)
        other.start()
        with other.wire() as wire:
            for writer in self.writers:
                value = decode(wire.command("GET", writer.key)) or b"0"
                self.assertGreaterEqual(int(value.split(b".")[0]), writer.answered(point) if owed else 0)

    def check(self, policy, owed):
        self.written(policy)
        pick = random.Random(SEED)
        names = self.moments_of_names()
        answers = sorted(point for writer in self.writers for point, _ in writer.answers)
        chosen = answers[:1] + pick.sample(answers, ANSWERS)
        outcomes = [(point, "none") for point in names + chosen]
        outcomes += [(point, "random") for point in pick.sample(names, 2) + pick.sample(answers, ANSWERS // 3)]
        for number, (point, keep) in enumerate(outcomes):
            self.assertEqual(self.faults_at(point, SEED + number, keep, owed), [], "SEED=%d" % SEED)
        self.assertGreaterEqual(len(names), 1 + 2 * SAVES)      # the first log file; and with each snapshot another one
        print("%s: %d answers, power lost at %d moments; SEED=%d" % (policy, len(answers), len(outcomes), SEED))
        self.check_start(names[-1], owed)

    def test_always_nothing_that_was_answered_is_missing(self):
        self.check("always", True)

    def test_everysec_what_there_is_is_whole(self):
        self.check("everysec", False)


if __name__ == "__main__":
    unittest.main()
