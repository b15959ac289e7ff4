"""Power loss under `appendfsync always`: what was answered, or read by anybody, is there again, and nothing of it half.

Each round starts a group whose md_log writes through the disk shim (tests/disk), lets clients write and read, kills everything at a random
moment, makes what the disk could then hold, and starts a group on that. MILLRACE_LONG=1 makes it 200 rounds.
"""

import os
import random
import shutil
import threading
import time
import unittest

from disk_case import LIBRARY
from disk_shim import DiskShim
from harness import Instance, needs_millrace, new_folder
from leftovers import end_processes_of, remove_shared_memory
from wire import WireClosed, WireTimeout, decode

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
ROUNDS = int(os.environ.get("ROUNDS") or (200 if os.environ.get("MILLRACE_LONG") else 3))
CONNECTIONS = 50
KEYS = 4            # of each connection
READERS = 5


class Client(threading.Thread):
    """Writes rising numbers to keys of its own: single ones, and all of them by one MSET. Or reads those of others."""

    def __init__(self, instance, number, reads):
        super().__init__(daemon=True)
        self.instance, self.number, self.reads = instance, number, reads
        self.random = random.Random(SEED * 1000 + number)
        self.sent, self.answered, self.group = {}, {}, 0
        self.seen = {}
        self.answers = 0

    def key(self, number, which):
        return "c%d:%d" % (number, which)

    def run(self):
        try:
            with self.instance.wire(timeout=30) as wire:
                while True:
                    if self.reads:
                        self.read(wire)
                    else:
                        self.write(wire)
                    self.answers += 1
        except (OSError, WireClosed, WireTimeout, AssertionError):
            pass        # everything was killed

    def read(self, wire):
        key = self.key(self.random.randrange(READERS, CONNECTIONS), self.random.randrange(KEYS))
        value = decode(wire.command("GET", key))
        if isinstance(value, bytes):
            self.seen[key] = max(self.seen.get(key, 0), int(value.split(b".")[0]))

    def write(self, wire):
        self.group += 1
        padding = ".%s" % ("x" * self.random.choice((5, 60, 700)))
        if self.random.random() < 0.3:
            keys = ["m%d:%d" % (self.number, which) for which in range(KEYS)]
            command = ["MSET"] + [word for key in keys for word in (key, "%d%s" % (self.group, padding))]
        else:
            keys = [self.key(self.number, self.random.randrange(KEYS))]
            command = ["SET", keys[0], "%d%s" % (self.group, padding)]
        for key in keys:
            self.sent[key] = self.group
        if wire.command(*command) != b"+OK\r\n":
            raise AssertionError("refused")
        for key in keys:
            self.answered[key] = self.group


def numbers_in(wire, keys):
    """{key: number} of the keys that are there."""
    values = decode(wire.command("MGET", *keys))
    return {key: int(value.split(b".")[0]) for key, value in zip(keys, values) if value is not None}


@needs_millrace
@unittest.skipUnless(LIBRARY.exists(), "a sanitizer's build has no disk_shim.so")
class PowerLoss(unittest.TestCase):
    def round(self, number, policy="always"):
        """Faults found after one power loss."""
        pick = random.Random(SEED + number)
        scratch = new_folder("shim")
        self.addCleanup(shutil.rmtree, scratch, ignore_errors=True)
        first = Instance(io=2, start=False, appendonly="yes", appendfsync=policy, auto_aof_rewrite_min_size="200kb", auto_aof_rewrite_percentage=1, save="")
        (first.folder / "data").mkdir(parents=True, exist_ok=True)
        shim = DiskShim(LIBRARY, first.folder / "data", scratch / "journal", "md_log")
        second = Instance(io=1, start=False, appendonly="yes", save="")
        try:
            with shim.in_environment():
                first.start()
            clients = [Client(first, index, index < READERS) for index in range(CONNECTIONS)]
            for client in clients:
                client.start()
            time.sleep(0.1 + pick.random() * 0.8)
            memory = first.shm_folder()
            end_processes_of(first.folder)
            remove_shared_memory(memory)
            for client in clients:
                client.join(30)
            shim.make_outcome(second.folder / "data", SEED + number, "random")
            second.start()
            with second.wire() as wire:
                faults = self.compare(wire, clients)
            self.answers += sum(client.answers for client in clients)
            return faults
        finally:
            first.destroy()
            second.control("stop")
            second.destroy()

    def compare(self, wire, clients):
        faults = []
        writers = [client for client in clients if not client.reads]
        found = numbers_in(wire, [key for client in writers for key in client.sent] or ["none"])
        for client in writers:
            for key, sent in client.sent.items():
                if not client.answered.get(key, 0) <= found.get(key, 0) <= sent:
                    faults.append("%s: answered %d, sent %d, found %d" % (key, client.answered.get(key, 0), sent, found.get(key, 0)))
            group = {found.get("m%d:%d" % (client.number, which), 0) for which in range(KEYS)}
            if len(group) != 1:
                faults.append("half an MSET of client %d: %r" % (client.number, group))
        for client in clients:
            for key, seen in client.seen.items():
                if found.get(key, 0) < seen:
                    faults.append("%s: read as %d, found %d" % (key, seen, found.get(key, 0)))
        return faults

    def test_nothing_that_was_answered_or_read_is_missing(self):
        self.answers = 0
        for number in range(ROUNDS):
            self.assertEqual(self.round(number), [], "SEED=%d round %d" % (SEED, number))
        print("%d rounds, %d answers, none missing; SEED=%d" % (ROUNDS, self.answers, SEED))

    def test_without_waiting_for_the_disk_answers_are_missing(self):
        self.answers = 0
        self.assertTrue(any(self.round(number, "everysec") for number in range(5)), "the test sees nothing")


if __name__ == "__main__":
    unittest.main()
