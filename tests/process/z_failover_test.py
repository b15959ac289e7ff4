"""FAILOVER: the master hands its part over to a replica, and nothing that was answered is missing there; what is refused, aborted or out of time leaves the
master as it was."""

import os
import signal
import threading
import time
import unittest

from harness import needs_millrace, wait_for
from replicas import LINK_SECONDS, ReplicaCase, info, said
from wire import WireClosed, decode, encode

OK = b"+OK\r\n"


class Counter(threading.Thread):
    """A client that counts up keys of its own wherever the master is, and knows what it was told."""

    def __init__(self, servers, number):
        super().__init__(daemon=True)
        self.servers, self.key, self.told, self.ended, self.read_only, self.worst = servers, "count:%d" % number, 0, False, 0, 0.0

    def run(self):
        at = 0
        while not self.ended:
            try:
                with self.servers[at].wire(timeout=20) as wire:
                    while not self.ended:
                        began = time.monotonic()
                        reply = wire.command("INCR", self.key)
                        self.worst = max(self.worst, time.monotonic() - began)
                        if reply[:1] != b":":
                            self.read_only += reply.startswith(b"-READONLY")
                            break
                        self.told = decode(reply)
            except (WireClosed, ConnectionError):
                pass
            at = (at + 1) % len(self.servers)
            time.sleep(0.01)


@needs_millrace
class Failover(ReplicaCase):
    def pair(self, **settings):
        master = self.server(**settings)
        replica = self.follower(master, **settings)
        self.wait_linked(replica)
        with master.wire() as wire:
            wait_for(lambda: "state=online" in info(wire).get("slave0", ""), LINK_SECONDS, "the replica to be online")
        return master, replica

    def stop(self, instance):
        """It hears and says nothing, and its links stay."""
        os.kill(instance.pids("md_repl")[0], signal.SIGSTOP)
        self.addCleanup(self.go_on, instance)

    def go_on(self, instance):
        for pid in instance.pids("md_repl"):
            os.kill(pid, signal.SIGCONT)

    def state(self, instance):
        with instance.wire(timeout=30) as wire:
            found = info(wire)
            return found["role"], found["master_failover_state"]

    def wait_swapped(self, master, replica):
        wait_for(lambda: self.state(replica) == ("master", "no-failover"), LINK_SECONDS, "the replica to be promoted")
        wait_for(lambda: self.state(master) == ("slave", "no-failover"), LINK_SECONDS, "the failover to end")
        self.wait_linked(master)

    def test_nothing_that_was_answered_is_missing(self):
        master, replica = self.pair()
        clients = [Counter([master, replica], number) for number in range(4)]
        for client in clients:
            client.start()
        for old, new in ((master, replica), (replica, master), (master, replica)):
            time.sleep(0.3)
            with old.wire() as wire:
                self.assertEqual(wire.command("FAILOVER", "TIMEOUT", 20_000), OK)
            self.wait_swapped(old, new)
        time.sleep(0.3)
        for client in clients:
            client.ended = True
            client.join(30)
        with replica.wire() as wire:
            for client in clients:
                self.assertGreater(client.told, 0)
                self.assertGreaterEqual(decode(wire.command("GET", client.key) or b""), b"")
                self.assertEqual(int(decode(wire.command("GET", client.key))), client.told, client.key)
        self.wait_same(replica, master)
        self.assertEqual(self.syncs(replica)[0] + self.syncs(master)[0], 1, "full syncs")
        self.assertGreater(sum(client.read_only for client in clients), 0)

    def test_to_the_one_that_is_named(self):
        master, one = self.pair()
        other = self.follower(master)
        self.wait_linked(other)
        with master.wire() as wire:
            wire.command("SET", "key", "value")
            wait_for(lambda: wire.command("FAILOVER", "TO", "127.0.0.1", other.port) == OK, LINK_SECONDS, "the other replica to be online")
        self.wait_swapped(master, other)
        self.assertEqual(self.state(one)[0], "slave")
        self.wait_same(other, master)

    def test_refused(self):
        master, replica = self.pair()
        with master.wire() as wire, replica.wire() as other:
            for words, error in (
                    (("ABORT",), "No failover in progress."), (("TO", "127.0.0.1", 1), "FAILOVER target HOST and PORT is not a replica."),
                    (("TO", "127.0.0.1", replica.port, "FORCE"), "FAILOVER with force option requires both a timeout and target HOST and IP."),
                    (("TIMEOUT", 0), "FAILOVER timeout must be greater than 0"), (("NOW",), "syntax error")):
                self.assertEqual(wire.command("FAILOVER", *words), b"-ERR %s\r\n" % error.encode())
            self.assertEqual(other.command("FAILOVER"), b"-ERR FAILOVER is not valid when server is a replica.\r\n")
            self.assertEqual(wire.command("SET", "still", "master"), OK)

    def test_out_of_time_and_aborted(self):
        master, replica = self.pair(repl_timeout=60)
        self.stop(replica)
        with master.wire() as wire, master.wire() as other:
            wire.command("SET", "key", "not there")
            self.assertEqual(other.command("FAILOVER", "TIMEOUT", 500), OK)
            self.assertEqual(other.command("FAILOVER"), b"-ERR FAILOVER already in progress.\r\n")
            self.assertEqual(info(other)["master_failover_state"], "waiting-for-sync")
            wire.send(encode("SET", "key", "waits"))        # perhaps before the pause begins, and a second one in any case after it
            time.sleep(0.1)
            began = time.monotonic()
            self.assertEqual(other.command("SET", "key", "waits"), OK)
            self.assertGreater(time.monotonic() - began, 0.2)
            self.assertEqual(wire.reply(), OK)
            self.assertEqual(info(wire)["master_failover_state"], "no-failover")
            self.assertIn("no follower had everything in time", said(master))
            self.assertEqual(other.command("FAILOVER"), OK)
            wait_for(lambda: info(other)["master_failover_state"] == "waiting-for-sync", 10, "the failover to begin")
            self.assertEqual(other.command("FAILOVER", "ABORT"), OK)
            wait_for(lambda: info(other)["master_failover_state"] == "no-failover", 10, "it to be aborted")
            self.assertEqual(wire.command("SET", "key", "again"), OK)
        self.go_on(replica)
        self.wait_linked(replica)
        self.wait_same(master, replica)

    def test_forced(self):
        """To one that does not say that it has everything."""
        master, replica = self.pair(repl_timeout=60)
        self.stop(replica)
        with master.wire() as wire:
            wire.command("SET", "key", "perhaps lost")
            self.assertEqual(wire.command("FAILOVER", "TO", "127.0.0.1", replica.port, "FORCE", "TIMEOUT", 300), OK)
        wait_for(lambda: self.state(master) == ("slave", "failover-in-progress"), 10, "the master to step down")
        self.go_on(replica)
        self.wait_swapped(master, replica)
        self.wait_same(replica, master)

    def test_a_replica_that_dies_meanwhile_leaves_the_master(self):
        master, replica = self.pair(repl_timeout=3)
        self.stop(replica)
        with master.wire(timeout=30) as wire:
            wire.command("SET", "key", "value")
            self.assertEqual(wire.command("FAILOVER"), OK)
            wait_for(lambda: self.state(master)[1] == "waiting-for-sync", 10, "the failover to begin")
            replica.control("stop", "--force")
            os.kill(master.pids("md_repl")[0], signal.SIGKILL)      # what it has paused goes on by itself
            began = time.monotonic()
            self.assertEqual(wire.command("SET", "key", "again"), OK)
            self.assertLess(time.monotonic() - began, 10)
        self.assertEqual(self.state(master), ("master", "no-failover"))

    def test_one_that_cannot_be_reached_any_more(self):
        """Between the steps: this server follows it already, and it does not answer."""
        master, replica = self.pair(repl_timeout=2)
        with master.wire(timeout=30) as wire:
            with replica.wire() as other:
                self.assertEqual(other.command("CONFIG", "SET", "requirepass", "unknown there"), OK)
            self.assertEqual(wire.command("FAILOVER"), OK)
            wait_for(lambda: self.state(master) == ("slave", "failover-in-progress"), 10, "the master to step down")
            self.assertIn(b"-READONLY", wire.command("SET", "key", "value"))
            wait_for(lambda: self.state(master) == ("master", "no-failover"), 20, "it to be the master again")
            self.assertEqual(wire.command("SET", "key", "value"), OK)
        self.assertIn("does not take over", said(master))


if __name__ == "__main__":
    unittest.main()
