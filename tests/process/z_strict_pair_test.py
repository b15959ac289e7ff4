"""Strict pairs: whatever is killed or cut, an acknowledged write is there, one that was answered with an error is not, what was read stays, both have the same
data in the end, and reads go on. MILLRACE_LONG=1: 100 rounds.
"""

import os
import random
import shutil
import signal
import time
import unittest

import pair_clients
from cutting_proxy import CuttingProxy
from harness import Instance, needs_millrace, wait_for
from leftovers import end_processes_of, remove_shared_memory
from replicas import info
from wire import WireClosed, WireTimeout, encode

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
ROUNDS = int(os.environ.get("ROUNDS") or (100 if os.environ.get("MILLRACE_LONG") else 2))
ONLY = os.environ.get("DISTURBANCE")
TIMEOUT_MS = 400
SYNC_SECONDS = 40


class Pair:
    """Two servers, each reached by the other through a proxy of its own."""

    def __init__(self, test, mode="strict", **settings):
        self.servers, self.proxies = [], []
        for number in (0, 1):
            master = {} if number == 0 else {"replicaof": "127.0.0.1 %d" % self.proxies[0].port}
            server = Instance(io=2 - number, save="", replication_mode=mode, replication_timeout=TIMEOUT_MS, repl_timeout=10, enable_debug_command="yes", **master, **settings)
            test.addCleanup(server.destroy)
            proxy = CuttingProxy(server.address)
            test.addCleanup(proxy.close)
            self.servers.append(server)
            self.proxies.append(proxy)
        self.primary = 0

    @property
    def secondary(self):
        return 1 - self.primary

    def ask(self, number, *words):
        with self.servers[number].wire(timeout=10) as wire:
            return wire.command(*words)

    def state(self, number):
        with self.servers[number].wire(timeout=10) as wire:
            found = info(wire)
        return found["pair_role"], found["pair_state"]

    def is_in_sync(self):
        try:
            return self.state(self.primary) == ("primary", "in_sync") and self.state(self.secondary) == ("secondary", "in_sync")
        except (OSError, WireClosed, WireTimeout, KeyError, AttributeError):
            return False

    def wait_in_sync(self):
        try:
            wait_for(self.is_in_sync, SYNC_SECONDS, "the pair to be in sync")
        except AssertionError:
            print([self.state(number) for number in (0, 1)], self.servers[0].log_tails(), self.servers[1].log_tails())
            raise

    def promote_secondary(self):
        reply = b""
        end = time.monotonic() + SYNC_SECONDS
        while time.monotonic() < end:
            try:
                reply = self.ask(self.secondary, "REPLICAOF", "NO", "ONE")
                if reply == b"+OK\r\n":
                    break
            except (OSError, WireClosed, WireTimeout):
                pass
            time.sleep(0.1)
        assert reply == b"+OK\r\n", reply
        self.primary = self.secondary

    def follow(self):
        """The one that is not primary follows the other one."""
        def done():
            try:
                return self.ask(self.secondary, "REPLICAOF", "127.0.0.1", self.proxies[self.primary].port).startswith(b"+OK")
            except (OSError, WireClosed, WireTimeout):
                return False
        wait_for(done, SYNC_SECONDS, "the old primary to follow")

    def kill(self, number, role):
        for pid in self.servers[number].pids(role)[:1]:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def kill_all(self, number, memory=True, disk=True):
        server = self.servers[number]
        folder = server.shm_folder()
        end_processes_of(server.folder)
        if memory:
            done = server.control("check")
            assert done.returncode == 0, done.stdout + done.stderr
        else:
            remove_shared_memory(folder)
        if not disk:
            shutil.rmtree(server.folder / "data")


@needs_millrace
class StrictPair(unittest.TestCase):
    def pair(self, **settings):
        pair = Pair(self, **settings)
        pair.wait_in_sync()
        self.assertEqual(pair.ask(0, "SET", pair_clients.STEADY, "here"), b"+OK\r\n")
        return pair

    # --- disturbances: what happens to a pair under load ---
    def cut(self, pair, pick):
        pair.proxies[pair.primary].cut()

    def block(self, pair, pick):
        pair.proxies[pair.primary].block()
        time.sleep(pick.choice((0.1, 0.3, 1.2)))
        pair.proxies[pair.primary].unblock()

    def stall(self, pair, pick):
        """One direction of the link: nothing is lost, and nothing comes."""
        proxy = pair.proxies[pair.primary]
        proxy.stalled = pick.choice(("up", "down"))
        time.sleep(pick.choice((0.2, 0.8, 1.5)))
        if pick.random() < 0.5:
            proxy.cut()
        proxy.stalled = None

    def kill_one(self, pair, pick):
        for _ in range(pick.randrange(1, 4)):
            pair.kill(pick.randrange(2), pick.choice(("md", "md_repl", "md_log", "io_conn", "md", "md_repl")))
            time.sleep(pick.random() * 0.3)

    def kill_secondary(self, pair, pick):
        memory = pick.random() < 0.5
        pair.kill_all(pair.secondary, memory=memory, disk=memory or pick.random() < 0.5)
        time.sleep(pick.random())
        pair.servers[pair.secondary].start()
        if not memory:
            pair.follow()       # its configuration may say something else

    def kill_primary(self, pair, pick):
        pair.kill_all(pair.primary)
        time.sleep(pick.random() * 0.5)
        pair.servers[pair.primary].start()

    def promote(self, pair, pick):
        """The primary is cut off, with writes under way; the other one takes over, and it comes back as the secondary."""
        pair.proxies[pair.primary].block()
        time.sleep(pick.choice((0, 0.1, 0.6)))
        pair.promote_secondary()
        pair.proxies[pair.secondary].unblock()
        time.sleep(pick.random() * 0.6)
        pair.follow()

    def lose_primary(self, pair, pick):
        """The primary's memory goes, so the other one is promoted; it comes back with its file."""
        pair.kill_all(pair.primary, memory=False)
        pair.promote_secondary()
        pair.servers[pair.secondary].start()
        pair.follow()

    def kill_primary_and_promote(self, pair, pick):
        pair.kill_all(pair.primary)
        pair.promote_secondary()
        time.sleep(pick.random())
        pair.servers[pair.secondary].start()
        pair.follow()

    DISTURBANCES = ("cut", "block", "stall", "kill_one", "kill_secondary", "kill_primary", "promote", "lose_primary", "kill_primary_and_promote")

    def round(self, pair, number):
        pick = random.Random(SEED + number)
        names = [ONLY or self.DISTURBANCES[(SEED + number) % len(self.DISTURBANCES)]] + pick.sample(self.DISTURBANCES, 1)
        writers, readers = pair_clients.started(pair.servers, SEED + number, "r%d" % number)
        what = "SEED=%d round %d: %s" % (SEED, number, " ".join(names))
        try:
            for name in names:
                time.sleep(0.2 + pick.random() * 0.5)
                getattr(self, name)(pair, pick)
                pair.wait_in_sync()
            time.sleep(0.2)
        finally:
            pair_clients.ended(writers + readers)
        pair.wait_in_sync()
        with pair.servers[pair.primary].wire(timeout=20) as wire:
            faults = pair_clients.faults_found(wire, writers, readers)
        digests = [pair.ask(number, "DEBUG", "DIGEST") for number in (0, 1)]
        if digests[0] != digests[1]:
            faults.append("P5: the data of both differs")
        self.answers += sum(writer.answers for writer in writers)
        self.undone += sum(writer.errors for writer in writers)
        self.reads += sum(reader.reads for reader in readers)
        self.assertEqual(faults, [], what)
        self.assertTrue(all(reader.steady for reader in readers), what + ": reads did not go on")
        for server in pair.servers:
            server.check_nothing_refused()

    def test_nothing_that_was_promised_is_broken(self):
        self.answers = self.undone = self.reads = 0
        pair = self.pair()
        for number in range(ROUNDS):
            self.round(pair, number)
        self.assertGreater(self.answers, 0)
        print("%d rounds, %d writes acknowledged, %d undone, %d values read; SEED=%d" % (ROUNDS, self.answers, self.undone, self.reads, SEED))

    def test_without_waiting_for_the_other_one_it_is_seen(self):
        """The control: the same with servers that answer at once."""
        for number in range(6):
            pair = Pair(self, mode="async")
            wait_for(lambda: b"state=online" in pair.ask(0, "INFO", "replication"), SYNC_SECONDS, "the replica")
            writers, readers = pair_clients.started(pair.servers, SEED + number, "r")
            time.sleep(0.5)
            pair.proxies[0].block()
            time.sleep(0.2)
            pair.kill_all(0, memory=False)
            pair_clients.ended(writers + readers)
            pair.promote_secondary()
            with pair.servers[1].wire() as wire:
                if pair_clients.faults_found(wire, writers, readers):
                    return
            self.doCleanups()
        self.fail("the test sees nothing")

    def test_a_cut_undoes_what_is_not_confirmed_and_reads_go_on(self):
        pair = self.pair()
        self.assertEqual(pair.ask(0, "SET", "key", "before"), b"+OK\r\n")
        pair.proxies[0].block()
        began = time.monotonic()
        with pair.servers[0].wire(timeout=10) as wire, pair.servers[0].wire(timeout=10) as reader:
            wire.send(encode("SET", "key", "after"))
            self.assertEqual(reader.command("GET", pair_clients.STEADY), b"$4\r\nhere\r\n")
            self.assertIn(b"-NOREPLICAS", wire.reply())
            self.assertLess(time.monotonic() - began, 10 * TIMEOUT_MS / 1000)
            self.assertEqual(reader.command("GET", "key"), b"$6\r\nbefore\r\n")
            self.assertIn(b"-NOREPLICAS", wire.command("SET", "key", "refused"))
            shown = pair.ask(1, "GET", "key")       # it may have come there, and nobody there knows what became of it
            self.assertTrue(shown == b"$6\r\nbefore\r\n" or shown.startswith(b"-NOREPLICAS"), shown)
            self.assertEqual(pair.ask(1, "GET", pair_clients.STEADY), b"$4\r\nhere\r\n")
            pair.proxies[0].unblock()
            pair.wait_in_sync()
            self.assertEqual(wire.command("SET", "key", "again"), b"+OK\r\n")
        wait_for(lambda: pair.ask(1, "GET", "key") == b"$5\r\nagain\r\n", 5, "the secondary to show it")

    def test_both_have_the_same_data_and_no_failover_is_taken(self):
        pair = self.pair()
        for number in range(50):
            self.assertEqual(pair.ask(0, "SET", "key:%d" % number, number), b"+OK\r\n")
        self.assertIn(b"-ERR FAILOVER is not for a strict pair", pair.ask(0, "FAILOVER"))
        def is_verified():
            ended = pair.servers[0].control("verify-replicas", "--timeout", "10")
            return ended.returncode == 0 or print(ended.stdout, ended.stderr)
        wait_for(is_verified, 30, "the data of both to be compared")
        self.assertEqual(pair.ask(0, "SET", "key", "value"), b"+OK\r\n")

    def test_alone_on_order_until_the_other_one_is_back(self):
        pair = self.pair()
        self.assertIn(b"connected", pair.ask(0, "MS_ALONE", "yes"))
        self.assertIn(b"not the primary", pair.ask(1, "MS_ALONE", "yes"))
        pair.kill_all(1)
        wait_for(lambda: pair.ask(0, "MS_ALONE", "yes") == b"+OK\r\n", 20, "the link to be gone")
        self.assertEqual(pair.ask(0, "SET", "alone", "1"), b"+OK\r\n")
        self.assertEqual(pair.ask(0, "GET", "alone"), b"$1\r\n1\r\n")
        pair.servers[1].start()
        pair.wait_in_sync()
        self.assertEqual(pair.ask(1, "GET", "alone"), b"$1\r\n1\r\n")
        with pair.servers[0].wire() as wire:
            self.assertEqual(info(wire)["pair_alone"], "0")

    def test_it_begins_with_the_data_of_one_on_order(self):
        pair = Pair(self)
        pair.proxies[0].block()
        pair.kill_all(1, memory=False, disk=False)
        pair.kill_all(0, memory=False, disk=False)
        pair.servers[0].start()
        self.assertIn(b"no complete data", pair.ask(0, "GET", "key"))
        self.assertIn(b"no complete data", pair.ask(0, "SET", "key", 1))
        self.assertEqual(pair.ask(0, "MS_ALONE", "yes"), b"+OK\r\n")
        for number in range(300):
            self.assertEqual(pair.ask(0, "SET", "key%d" % number, number), b"+OK\r\n")
        pair.proxies[0].unblock()
        pair.servers[1].start()
        pair.wait_in_sync()
        self.assertEqual(pair.ask(1, "GET", "key299"), b"$3\r\n299\r\n")
        self.assertIn(b"a start of both servers", pair.ask(0, "CONFIG", "SET", "replication-mode", "async"))

    def test_there_is_no_third_one(self):
        pair = self.pair()
        for mode in ("strict", "async"):
            third = Instance(io=1, save="", replication_mode=mode, replicaof="127.0.0.1 %d" % pair.proxies[0].port)
            self.addCleanup(third.destroy)

            def is_refused(third=third):
                with third.wire() as wire:
                    return info(wire)["link_refused"] == "1"
            wait_for(is_refused, 20, "the third server to be refused")
        self.assertTrue(pair.is_in_sync())
        self.assertEqual(pair.ask(0, "SET", "key", 1), b"+OK\r\n")

    def test_what_expires_goes_at_both(self):
        pair = self.pair()
        for number in range(50):
            self.assertEqual(pair.ask(0, "SET", "key%d" % number, "x" * 100, "PX", 300), b"+OK\r\n")
        wait_for(lambda: pair.ask(0, "DBSIZE") == b":1\r\n" and pair.ask(1, "DBSIZE") == b":1\r\n", 20, "the keys to be gone at both")
        self.assertEqual(pair.ask(0, "FLUSHALL"), b"+OK\r\n")
        wait_for(lambda: pair.ask(1, "DBSIZE") == b":0\r\n", 5, "the secondary to have no keys")

    def test_a_cleared_database_comes_back(self):
        pair = self.pair()
        pair.ask(0, "MSET", *[word for number in range(500) for word in ("key%d" % number, number)])
        digest = pair.ask(0, "DEBUG", "DIGEST")
        pair.proxies[0].stalled = "up"      # the secondary clears it as well, and nobody hears of that
        self.assertIn(b"undone", pair.ask(0, "FLUSHALL"))
        self.assertEqual(pair.ask(0, "DEBUG", "DIGEST"), digest)
        pair.proxies[0].cut()
        pair.proxies[0].stalled = None
        pair.wait_in_sync()
        self.assertEqual(pair.ask(1, "DEBUG", "DIGEST"), digest)
        # The log says nothing of what came back: a copy is made of a snapshot from behind it.
        pair.kill_all(1, memory=False, disk=False)
        pair.servers[1].start()
        pair.wait_in_sync()
        self.assertEqual(pair.ask(1, "DEBUG", "DIGEST"), digest)
        self.assertEqual(pair.ask(0, "SET", "key", 1), b"+OK\r\n")

    def test_a_server_without_complete_data_shows_nothing_and_is_not_promoted(self):
        pair = self.pair()
        pair.proxies[0].block()
        pair.kill_all(1, memory=False)
        pair.servers[1].start()
        self.assertIn(b"-NOREPLICAS", pair.ask(1, "GET", pair_clients.STEADY))
        self.assertIn(b"not complete", pair.ask(1, "REPLICAOF", "NO", "ONE"))
        pair.proxies[0].unblock()
        pair.wait_in_sync()
        self.assertEqual(pair.ask(1, "GET", pair_clients.STEADY), b"$4\r\nhere\r\n")


if __name__ == "__main__":
    unittest.main()
