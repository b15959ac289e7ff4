"""replication-mode sync: what was answered, or read by anybody, is on the replica when the master is destroyed, with its memory and its disk; and a master
that is cut off answers nothing more. MILLRACE_LONG=1: 100 rounds.
"""

import os
import random
import shutil
import time
import unittest

from answered_clients import faults_found, started_clients
from cutting_proxy import CuttingProxy
from harness import Failed, Instance, needs_millrace, wait_for
from leftovers import end_processes_of, remove_shared_memory
from replicas import said
from wire import WireClosed, WireTimeout, decode

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
ROUNDS = int(os.environ.get("ROUNDS") or (100 if os.environ.get("MILLRACE_LONG") else 2))
LINK_SECONDS = 30


@needs_millrace
class SyncMode(unittest.TestCase):
    def pair(self, through=None, mode="sync"):
        """A master, and a replica that it waits for."""
        master = Instance(io=2, save="", replication_mode=mode, repl_timeout=60)
        self.addCleanup(master.destroy)
        proxy = CuttingProxy(master.address)
        self.addCleanup(proxy.close)
        replica = Instance(io=1, save="", replicaof="127.0.0.1 %d" % proxy.port, repl_timeout=60)
        self.addCleanup(replica.destroy)
        with master.wire() as wire:
            def is_waited_for():
                return mode == "sync" and wire.command("SET", "first", 1) == b"+OK\r\n" or b"state=online" in wire.command("INFO", "replication")
            try:
                wait_for(is_waited_for, LINK_SECONDS, "the replica to be waited for")
            except Failed:
                print("master: %r\n%r\n%s\n%s\nreplica:\n%s" % (wire.command("INFO", "replication"), wire.command("INFO", "persistence"), said(master),
                                                             (master.folder / "log" / "md_log-0.log").read_text(), said(replica)))
                raise
        return master, replica, proxy

    def destroyed(self, number, mode="sync"):
        """Faults after the master was destroyed and the replica promoted."""
        pick = random.Random(SEED + number)
        master, replica, _ = self.pair(mode=mode)
        clients = started_clients(master, SEED)
        time.sleep(0.1 + pick.random() * 0.8)
        memory = master.shm_folder()
        end_processes_of(master.folder)
        remove_shared_memory(memory)
        shutil.rmtree(master.folder / "data")
        for client in clients:
            client.join(30)
        with replica.wire() as wire:
            self.assertEqual(wire.command("REPLICAOF", "NO", "ONE"), b"+OK\r\n")
            faults = faults_found(wire, clients)
        self.answers += sum(client.answers for client in clients)
        self.writes += sum(len(client.answered) > 0 for client in clients)
        self.doCleanups()
        return faults

    def test_nothing_that_was_answered_or_read_is_missing(self):
        self.answers = self.writes = 0
        for number in range(ROUNDS):
            self.assertEqual(self.destroyed(number), [], "SEED=%d round %d" % (SEED, number))
        self.assertGreater(self.writes, 0, "nothing was written")
        if ROUNDS > 2:
            print("%d rounds, %d answers, none missing; SEED=%d" % (ROUNDS, self.answers, SEED))
        print("%d rounds, %d answers, none missing; SEED=%d" % (ROUNDS, self.answers, SEED))

    def test_without_waiting_answers_are_missing(self):
        self.answers = self.writes = 0
        self.assertTrue(any(self.destroyed(number, "async") for number in range(8)), "the test sees nothing")

    def test_a_master_that_is_cut_off_answers_nothing(self):
        master, replica, proxy = self.pair()
        with master.wire(timeout=3) as wire, master.wire(timeout=20) as reader:
            self.assertEqual(wire.command("SET", "key", "before"), b"+OK\r\n")
            proxy.block()
            try:
                refused = wire.command("SET", "key", "after")
                self.assertIn(b"NOREPLICAS", refused)
            except WireTimeout:
                pass
            # Nobody reads what only this server may have; what both have, everybody does.
            self.assertEqual(reader.command("GET", "first"), b"$1\r\n1\r\n")
            try:
                with master.wire(timeout=3) as other:
                    self.assertEqual(other.command("GET", "key"), b"$6\r\nbefore\r\n")
            except (WireTimeout, WireClosed):
                pass
            proxy.unblock()
            wait_for(lambda: decode(reader.command("SET", "again", 1)) == "OK" or reader.command("SET", "again", 1) == b"+OK\r\n", LINK_SECONDS, "the replica to be back")


if __name__ == "__main__":
    unittest.main()
