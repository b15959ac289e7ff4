"""Power loss under `appendfsync always`: what was answered, or read by anybody, is there again, and nothing of it half.

Each round starts a group whose md_log writes through the disk shim (tests/disk), lets clients write and read, kills everything at a random
moment, makes what the disk could then hold, and starts a group on that. MILLRACE_LONG=1 makes it 200 rounds.
"""

import os
import random
import shutil
import time
import unittest

from answered_clients import faults_found, started_clients
from disk_case import LIBRARY
from disk_shim import DiskShim
from harness import Instance, needs_millrace, new_folder
from leftovers import end_processes_of, remove_shared_memory

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
ROUNDS = int(os.environ.get("ROUNDS") or (200 if os.environ.get("MILLRACE_LONG") else 3))


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
            clients = started_clients(first, SEED)
            time.sleep(0.1 + pick.random() * 0.8)
            memory = first.shm_folder()
            end_processes_of(first.folder)
            remove_shared_memory(memory)
            for client in clients:
                client.join(30)
            shim.make_outcome(second.folder / "data", SEED + number, "random")
            second.start()
            with second.wire() as wire:
                faults = faults_found(wire, clients)
            self.answers += sum(client.answers for client in clients)
            return faults
        finally:
            first.destroy()
            second.control("stop")
            second.destroy()

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
