"""Checksums of the data: master and replicas compare them at the end of each sync; `millrace verify-replicas` has all read their data anew, and finds what is not
what was written. MILLRACE_LONG=1: replicas are cut off for 10 s."""

import os
import random
import signal
import threading
import time
import unittest

from changing_writer import Writer
from harness import needs_millrace, wait_for
from replicas import LINK_SECONDS, ReplicaCase, info, said

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
CUT_SECONDS = 10 if os.environ.get("MILLRACE_LONG") else 1
MARK = b"<a value that is looked for in memory>"


def flip(instance):
    """Changes a byte of MARK where the store has it."""
    with open(instance.shm_folder() / "store", "r+b") as store:
        found, at = [], 0
        while True:
            try:
                begin = os.lseek(store.fileno(), at, os.SEEK_DATA)
            except OSError:         # there is nothing more
                break
            at = os.lseek(store.fileno(), begin, os.SEEK_HOLE)
            data = os.pread(store.fileno(), at - begin, begin)
            place = data.find(MARK)
            while place >= 0:
                found.append(begin + place)
                place = data.find(MARK, place + 1)
        assert found, "the value is not in the store"
        for place in found:         # the oplog's ring may have it, too
            os.pwrite(store.fileno(), b">", place + 4)


@needs_millrace
class VerifyReplicas(ReplicaCase):
    def pair(self, followers=1, keys=2000):
        master = self.server()
        with master.wire() as wire:
            wire.command("DEBUG", "POPULATE", keys)
            wire.command("SET", "timed", "value", "PXAT", 4102444800000)
            wire.command("SET", "large", "x" * 300_000)
            wire.command("SELECT", 3)
            wire.command("SET", "marked", MARK + b"." * 60)
        replicas = [self.follower(master) for _ in range(followers)]
        for replica in replicas:
            self.wait_linked(replica)
        self.wait_same(master, *replicas)
        return (master, *replicas)

    def checked(self, instance):
        with instance.wire(timeout=30) as wire:
            return int(info(wire)["millrace_checked_number"])

    def verify(self, instance, seconds=60):
        return instance.control("verify-replicas", "--timeout", str(seconds))

    def test_compared_at_the_end_of_a_sync(self):
        master, replica = self.pair()
        wait_for(lambda: self.checked(replica) > 0, LINK_SECONDS, "the checksums to be compared")
        with master.wire() as wire:
            wait_for(lambda: "checked=%d," % self.checked(replica) in info(wire).get("millrace_replica0", ""), LINK_SECONDS, "the master to hear of it")
            self.assertEqual(info(wire)["millrace_checksum_kept"], "1")

    def test_three_replicas_cut_under_writes(self):
        """Cut for a while they get what they missed; beyond the log, everything; and all have the same then."""
        master = self.server(auto_aof_rewrite_percentage=0)
        proxies = [self.proxy(master) for _ in range(3)]
        replicas = [self.follower(master, proxy.port) for proxy in proxies]
        for replica in replicas:
            self.wait_linked(replica)
        writers = self.started([Writer(master, seed=SEED + number) for number in range(2)])
        time.sleep(0.5)
        for proxy in proxies:
            proxy.block()
        time.sleep(CUT_SECONDS)
        for proxy in proxies:
            proxy.unblock()
        for replica in replicas:
            self.wait_linked(replica)
        full, partial = self.syncs(master)
        self.assertEqual(full, 3, "full syncs, SEED=%d" % SEED)
        self.assertGreaterEqual(partial, 3, "partial syncs, SEED=%d" % SEED)        # a busy machine may break a link once more
        ended = self.verify(master)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        for proxy in proxies:
            proxy.block()
        with master.wire(timeout=60) as wire:
            for _ in range(4):       # the last two snapshots and the log behind the older one are kept
                time.sleep(0.1)
                self.assertEqual(wire.command("SAVE"), b"+OK\r\n")
        for proxy in proxies:
            proxy.unblock()
        for replica in replicas:
            self.wait_linked(replica)
        self.assertEqual(self.syncs(master)[0], 6, "full syncs, SEED=%d" % SEED)
        for writer in writers:
            writer.end()
        self.wait_same(master, *replicas)
        ended = self.verify(master)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

    def test_equal(self):
        master, one, other = self.pair(2)
        ended = self.verify(master)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertIn("this server: 2003 keys, all as they were written", ended.stdout)
        for replica in (one, other):
            self.assertIn("127.0.0.1 port %d: the same data" % replica.port, ended.stdout)

    def test_equal_under_writes_and_with_md_killed_meanwhile(self):
        master, replica = self.pair(keys=200_000)
        writer, = self.started([Writer(master, seed=7)])
        result = []
        asking = threading.Thread(target=lambda: result.append(self.verify(master)))
        asking.start()
        for server in (replica, master, replica):
            time.sleep(0.05)
            os.kill(server.pids("md")[0], signal.SIGKILL)
        asking.join()
        writer.end()
        self.assertEqual(result[0].returncode, 0, result[0].stdout + result[0].stderr)
        self.assertGreater(writer.commands, 0)

    def test_a_byte_flipped_in_a_replica_is_found_and_mended(self):
        master, replica, other = self.pair(2)
        self.assertEqual(self.verify(master).returncode, 0)
        flip(replica)
        with replica.wire() as wire:
            wire.command("SELECT", 3)
            self.assertNotIn(MARK, wire.command("GET", "marked"))
        ended = self.verify(master)
        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        self.assertIn("127.0.0.1 port %d: DAMAGED" % replica.port, ended.stdout)
        self.assertIn("127.0.0.1 port %d: the same data" % other.port, ended.stdout)
        self.assertIn("THE DATA OF THIS SERVER IS NOT THAT OF ITS MASTER", said(replica))
        self.wait_linked(replica)
        self.wait_same(master, replica)
        with replica.wire() as wire:
            wire.command("SELECT", 3)
            self.assertIn(MARK, wire.command("GET", "marked"))
        ended = self.verify(master)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)

    def test_a_byte_flipped_in_the_master_is_found(self):
        master, replica = self.pair()
        wait_for(lambda: self.checked(replica) > 0, LINK_SECONDS, "the checksums to be compared")
        flip(master)
        ended = self.verify(master)
        self.assertEqual(ended.returncode, 1, ended.stdout + ended.stderr)
        self.assertIn("this server: DAMAGED", ended.stdout)
        self.assertIn("127.0.0.1 port %d: the same data" % replica.port, ended.stdout)

    def test_a_replica_that_went_its_own_way_syncs_fully(self):
        master, replica = self.pair()
        wait_for(lambda: self.checked(replica) > 0, LINK_SECONDS, "the checksums to be compared")
        with replica.wire() as wire:
            wire.command("CONFIG", "SET", "replica-read-only", "no")
            self.assertEqual(wire.command("SET", "own", "way"), b"+OK\r\n")
            wire.command("CONFIG", "SET", "replica-read-only", "yes")
        self.verify(master)     # the comparison of now and then may have been faster
        self.assertIn("THE DATA OF THIS SERVER IS NOT THAT OF ITS MASTER", said(replica))
        self.wait_linked(replica)
        self.wait_same(master, replica)
        self.assertEqual(self.verify(master).returncode, 0)

    def test_who_cannot_be_asked(self):
        lonely = self.server()
        ended = self.verify(lonely)
        self.assertEqual((ended.returncode, ended.stderr), (1, "millrace: nobody follows this server, nor has for an hour: there is nothing to compare with\n"))
        master, replica = self.pair()
        ended = self.verify(replica)
        self.assertEqual((ended.returncode, ended.stderr), (1, "millrace: this server follows another one: it is that one that has to be asked\n"))
        os.kill(replica.pids("md_repl")[0], signal.SIGSTOP)
        try:
            ended = self.verify(master, 1)
        finally:
            os.kill(replica.pids("md_repl")[0], signal.SIGCONT)
        self.assertEqual(ended.returncode, 1)
        self.assertIn("has not answered in time", ended.stdout)
        self.assertIn("this server: 2003 keys", ended.stdout)


if __name__ == "__main__":
    unittest.main()
