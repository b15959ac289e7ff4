"""Servers that follow another one: they get all of its data and then what it does, come back after any cut, and keep apart what is not the same data.

MILLRACE_LONG=1: 100 random schedules of kills, cuts and stops."""

import os
import random
import shutil
import signal
import time
import unittest

from changing_writer import Writer
from harness import needs_millrace, wait_for
from replicas import LINK_SECONDS, ReplicaCase, info, lose_memory, said
from wire import WireClosed, decode, encode

PROTOCOL = 2        # md/repl/frames.h
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
SCHEDULES = int(os.environ.get("ROUNDS") or (100 if os.environ.get("MILLRACE_LONG") else 1))


@needs_millrace
class Replication(ReplicaCase):
    def writers(self, instance, count=2, large=True):
        return self.started([Writer(instance, SEED + number, large=large) for number in range(count)])

    def test_a_follower_gets_all_and_then_what_is_done(self):
        for appendonly in ("no", "yes"):
            with self.subTest(appendonly=appendonly):
                master = self.server(appendonly=appendonly)
                wire = self.connect(master)
                for number in range(500):
                    wire.command("SET", "before:%d" % number, "v" * number)
                wire.command("SET", "dies", "soon", "EX", 1000)
                writers = self.writers(master)
                follower = self.follower(master, appendonly=appendonly)
                self.wait_linked(follower)
                time.sleep(1)
                for writer in writers:
                    writer.end()
                wire.command("MULTI")
                wire.command("SET", "one", "1")
                wire.command("DEL", "before:1")
                wire.command("EXEC")
                wire.command("SWAPDB", 0, 1)
                wire.command("SET", "behind", "that")
                self.wait_same(master, follower)
                self.assertEqual(self.syncs(master), (1, 0))

    def test_a_cut_link_is_gone_on_with(self):
        master = self.server()
        proxy = self.proxy(master)
        follower = self.follower(master, proxy.port)
        self.wait_linked(follower)
        writers = self.writers(master)
        for _ in range(3):
            time.sleep(0.5)
            proxy.cut()
        for writer in writers:
            writer.end()
        self.wait_linked(follower)
        self.wait_same(master, follower)
        full, partial = self.syncs(master)
        self.assertEqual(full, 1)
        self.assertGreaterEqual(partial, 1)

    def test_always_fully(self):
        master = self.server()
        proxy = self.proxy(master)
        follower = self.follower(master, proxy.port, replica_always_full_sync="yes")
        self.wait_linked(follower)
        with master.wire() as wire:
            wire.command("SET", "key", "value")
        self.wait_same(master, follower)
        proxy.cut()
        wait_for(lambda: self.syncs(master) == (2, 0), LINK_SECONDS, "all to be sent again")
        self.wait_linked(follower)
        self.wait_same(master, follower)
        with follower.wire() as wire:
            self.assertEqual(wire.command("CONFIG", "SET", "replica-always-full-sync", "no"), b"+OK\r\n")
        proxy.cut()
        wait_for(lambda: self.syncs(master) == (2, 1), LINK_SECONDS, "what was missed to be sent")

    def test_beyond_the_log_all_is_sent_again(self):
        master = self.server(auto_aof_rewrite_percentage=0)
        proxy = self.proxy(master)
        follower = self.follower(master, proxy.port)
        self.wait_linked(follower)
        proxy.block()
        wire = self.connect(master)
        for turn in range(4):       # the last two snapshots and the log behind the older one are kept
            wire.command("SET", "turn", turn)
            self.assertEqual(wire.command("SAVE"), b"+OK\r\n")
        proxy.unblock()
        self.wait_linked(follower)
        self.wait_same(master, follower)
        self.assertEqual(self.syncs(master)[0], 2)

    def schedule(self, seed):
        """A master and two followers, one of them through a bad network, the other one followed itself; whatever happens, they end up with the same."""
        pick = random.Random(seed)
        master = self.server(appendonly=pick.choice(("yes", "no")), auto_aof_rewrite_min_size="200kb", auto_aof_rewrite_percentage=pick.choice((0, 100)))
        proxy = self.proxy(master)
        followers = [self.follower(master, proxy.port, appendonly=pick.choice(("yes", "no"))), self.follower(master)]
        followers.append(self.follower(followers[1]))
        for follower in followers:
            self.wait_linked(follower)
        writers = self.writers(master)
        servers = [master] + followers

        def kill():
            server = pick.choice(servers)
            for pid in server.pids(pick.choice(("md", "md_repl", "md_log") + ("io_conn",) * (server is not master)))[:1]:
                os.kill(pid, signal.SIGKILL)

        def stop():
            pids = pick.choice(servers).pids("md_repl")[:1]
            for number in (signal.SIGSTOP, signal.SIGCONT):
                for pid in pids:
                    try:
                        os.kill(pid, number)
                    except ProcessLookupError:
                        pass
                time.sleep(pick.random() / 2)

        def block():
            proxy.block()
            time.sleep(pick.random())
            proxy.unblock()

        def tell():
            with pick.choice(servers).wire(timeout=30) as wire:
                wire.command(*pick.choice((("BGSAVE",), ("CONFIG", "SET", "appendonly", pick.choice(("yes", "no"))))))

        for _ in range(12):
            try:
                pick.choice((kill, kill, proxy.cut, stop, block, tell))()
            except (OSError, WireClosed):
                pass        # whoever was asked is not there just now
            time.sleep(pick.random() * 0.4)
        for writer in writers:
            writer.end()
        for follower in followers:
            self.wait_linked(follower)
        self.wait_same(master, *followers)
        self.doCleanups()

    def test_whatever_happens_on_either_side(self):
        for number in range(SCHEDULES):
            with self.subTest(seed=SEED + number):
                self.schedule(SEED + number)

    def test_a_follower_refuses_writes_and_can_be_promoted(self):
        master = self.server()
        follower = self.follower(master)
        self.wait_linked(follower)
        wire, other = self.connect(master), self.connect(follower)
        wire.command("SET", "key", "value")
        self.wait_same(master, follower)
        self.assertEqual(other.command("SET", "key", "mine"), b"-READONLY You can't write against a read only replica.\r\n")
        self.assertEqual(other.command("GET", "key"), b"$5\r\nvalue\r\n")
        self.assertEqual(decode(other.command("ROLE"))[:4], [b"slave", b"127.0.0.1", master.port, b"connected"])
        name = info(wire)["master_replid"]
        self.assertEqual(other.command("REPLICAOF", "NO", "ONE"), b"+OK\r\n")
        self.assertEqual(other.command("SET", "key", "mine"), b"+OK\r\n")
        found = info(other)
        self.assertEqual((found["role"], found["master_replid2"]), ("master", name))
        # The old master comes back as a follower of the new one: it had nothing that the new one has not.
        self.assertEqual(wire.command("REPLICAOF", "127.0.0.1", follower.port), b"+OK\r\n")
        self.wait_linked(master)
        self.wait_same(follower, master)
        self.assertEqual(self.syncs(follower), (0, 1))
        self.assertEqual(wire.command("GET", "key"), b"$4\r\nmine\r\n")

    def test_an_old_master_with_other_data_gets_all_anew(self):
        master = self.server()
        follower = self.follower(master)
        self.wait_linked(follower)
        wire, other = self.connect(master), self.connect(follower)
        wire.command("SET", "both", "have this")
        self.wait_same(master, follower)
        other.command("REPLICAOF", "NO", "ONE")
        wire.command("SET", "only", "here")
        other.command("SET", "only", "there")
        wire.command("REPLICAOF", "127.0.0.1", follower.port)
        self.wait_linked(master)
        self.wait_same(follower, master)
        self.assertGreaterEqual(self.syncs(follower)[0], 1)

    def test_followers_of_followers(self):
        master = self.server()
        middle = self.follower(master)
        self.wait_linked(middle)
        last = self.follower(middle)
        self.wait_linked(last)
        for writer in self.writers(master):
            time.sleep(0.5)
            writer.end()
        self.wait_same(master, middle, last)

    def test_starts_from_disk(self):
        master = self.server(appendonly="yes")
        follower = self.follower(master, appendonly="yes")
        self.wait_linked(follower)
        wire = self.connect(master)
        for number in range(200):
            wire.command("SET", "key:%d" % number, number)
        self.wait_same(master, follower)
        wire.command("SET", "more", "than that")
        self.wait_same(master, follower)
        time.sleep(1.2)     # everysec
        before = self.syncs(master)
        lose_memory(follower)
        with master.wire() as other:
            other.command("SET", "meanwhile", "this")
        follower.start()
        self.wait_linked(follower)
        self.wait_same(master, follower)
        self.assertEqual(self.syncs(master), (before[0], before[1] + 1))
        lose_memory(master)
        master.start()
        self.wait_linked(follower)
        with master.wire() as other:
            other.command("SET", "after", "that")
        self.wait_same(master, follower)

    def test_a_master_that_has_lost_its_data_takes_nobody_s(self):
        master = self.server()
        follower = self.follower(master)
        self.wait_linked(follower)
        with master.wire() as wire:
            for number in range(100):
                wire.command("SET", "key:%d" % number, number)
        self.wait_same(master, follower)
        lose_memory(master)
        shutil.rmtree(master.folder / "data")
        master.start()
        wait_for(lambda: "it has lost what this server has from it" in said(follower), LINK_SECONDS, "the refusal to be said")
        wire = self.connect(follower)
        self.assertEqual(wire.command("DBSIZE"), b":100\r\n")
        self.assertEqual(wire.command("CONFIG", "SET", "replica-refuse-older-master", "no"), b"+OK\r\n")
        self.wait_linked(follower)
        self.wait_same(master, follower)

    def test_a_wrong_password_and_a_stranger(self):
        master = self.server(requirepass="secret")
        follower = self.follower(master)
        wait_for(lambda: "NOAUTH" in said(follower), LINK_SECONDS, "the refusal to be said")
        wire = self.connect(follower)
        self.assertEqual(wire.command("CONFIG", "SET", "masterauth", "secret"), b"+OK\r\n")
        self.wait_linked(follower)
        with master.wire() as stranger:
            self.assertEqual(stranger.command("MS_REGISTER_SLAVE", 1, 1, "0" * 16, 100)[:7], b"-NOAUTH")
            stranger.command("AUTH", "secret")
            self.assertIn(b"unknown command", stranger.command("MS_APPLY", 0, 1, "x"))
            stranger.send(encode("MS_REGISTER_SLAVE", PROTOCOL, 1, "0" * 16, 100))
            wait_for(lambda: said(master).count("has registered") == 2, LINK_SECONDS, "the stranger to be heard")
            stranger.send(b"nonsense" * 1000)
            wait_for(lambda: "does not check" in said(master), LINK_SECONDS, "the stranger to be turned out")
        with master.wire() as wire:
            wire.command("AUTH", "secret")
            wire.command("SET", "still", "serving")

    def test_a_server_does_not_follow_itself(self):
        server = self.server()
        wire = self.connect(server)
        wire.command("SET", "key", "value")
        wire.command("REPLICAOF", "127.0.0.1", server.port)
        wait_for(lambda: "follow itself" in said(server), LINK_SECONDS, "the refusal to be said")
        wire.command("REPLICAOF", "NO", "ONE")
        self.assertEqual(wire.command("GET", "key"), b"$5\r\nvalue\r\n")

    def test_a_stopped_follower_costs_the_master_no_memory(self):
        master = self.server()
        follower = self.follower(master, repl_timeout=60)
        self.wait_linked(follower)
        with master.wire() as wire:
            wire.command("CONFIG", "SET", "repl-timeout", 60)
        pid = follower.pids("md_repl")[0]
        own = master.pids("md_repl")[0]
        os.kill(pid, signal.SIGSTOP)
        try:
            with master.wire(timeout=30) as wire:
                for number in range(3000):
                    wire.command("SET", "key:%d" % (number % 100), "x" * 20_000)
            resident = int(next(line for line in open("/proc/%d/status" % own) if line.startswith("RssAnon")).split()[1]) * 1024
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertLess(resident, 24 << 20)
        self.wait_linked(follower)
        self.wait_same(master, follower)

    def test_wait(self):
        master = self.server()
        wire = self.connect(master)
        wire.command("SET", "key", "value")
        self.assertEqual(wire.command("WAIT", 0, 0), b":0\r\n")
        began = time.monotonic()
        self.assertEqual(wire.command("WAIT", 1, 200), b":0\r\n")
        self.assertGreaterEqual(time.monotonic() - began, 0.2)
        proxy = self.proxy(master)
        follower = self.follower(master, proxy.port)
        self.wait_linked(follower)
        for number in range(20):
            wire.command("SET", "key", number)
            self.assertEqual(wire.command("WAIT", 1, 10_000), b":1\r\n")
            with follower.wire() as other:
                self.assertEqual(decode(other.command("GET", "key")), b"%d" % number)
        self.assertEqual(wire.command("WAIT", 2, 50), b":1\r\n")
        proxy.block()
        wire.command("SET", "key", "cut")
        self.assertEqual(wire.command("WAIT", 1, 100), b":0\r\n")
        proxy.unblock()
        self.assertEqual(wire.command("WAIT", 1, 20_000), b":1\r\n")
        wire.command("MULTI")
        wire.command("WAIT", 9, 0)
        self.assertEqual(wire.command("EXEC"), b"*1\r\n:1\r\n")
        with follower.wire() as other:
            self.assertTrue(other.command("WAIT", 1, 1).startswith(b"-ERR WAIT cannot be used with replica instances."))
        for words, error in ((("x", 1), "value is not an integer or out of range"), ((1, "x"), "timeout is not an integer or out of range"), ((1, -1), "timeout is negative")):
            self.assertEqual(wire.command("WAIT", *words), b"-ERR %s\r\n" % error.encode())

    def test_too_few_replicas(self):
        master = self.server(min_replicas_to_write=1, min_replicas_max_lag=3)
        wire = self.connect(master)
        self.assertEqual(wire.command("SET", "key", "value"), b"-NOREPLICAS Not enough good replicas to write.\r\n")
        follower = self.follower(master)
        self.wait_linked(follower)
        wait_for(lambda: wire.command("SET", "key", "value") == b"+OK\r\n", LINK_SECONDS, "the follower to count")
        follower.stop()
        wait_for(lambda: wire.command("SET", "key", "value")[:11] == b"-NOREPLICAS", LINK_SECONDS, "its end to be noticed")


if __name__ == "__main__":
    unittest.main()
