#!/usr/bin/python3
"""Replication as an io_conn has to do with it: what clients see of master and replicas, and md_repl's door. A stub stands in for md_repl, and
redis-server says what is right."""

import re
import struct
import time
import unittest

from compare import run_script
from fake_md_repl import Door, Programs, ReplWords
from harness import Instance, Oracle, free_port, needs_millrace, wait_for
from wire import Wire, encode

INSTANCE = "0123456789abcdef"
REGISTER = ("MS_REGISTER_SLAVE", "1", "7000", INSTANCE, "100")
BUSY = b"-ERR nothing else may be under way on a connection with MS_REGISTER_SLAVE\r\n"
NOT_THERE = b"-ERR md_repl is not there; try again\r\n"
PASSWORD = "a long one"

programs = None


def setUpModule():
    global programs
    programs = Programs()


def tearDownModule():
    programs.end()


def info(server, section="replication"):
    """The section's fields in their order."""
    with server.wire() as wire:
        text = wire.command("INFO", section).decode("latin-1")
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line)


def follow(server, port, *, wire=None):
    with wire or server.wire() as client:
        return client.command("REPLICAOF", "127.0.0.1", port)


class GroupCase(unittest.TestCase):
    """One group with a stub for md_repl, whose words each test leaves as they were."""

    IO = 1
    SETTINGS = {}

    @classmethod
    def setUpClass(cls):
        cls.instance = Instance(io=cls.IO, **cls.SETTINGS)
        cls.words = ReplWords(cls.instance)

    @classmethod
    def tearDownClass(cls):
        cls.instance.stop()

    def tearDown(self):
        for row in range(4):
            self.words.replica(row, "none")
        self.words.link("none")

    def connect(self, address=None):
        wire = Wire(address or self.instance.address)
        self.addCleanup(wire.close)
        return wire

    def open_door(self, instance=None):
        door = Door(instance or self.instance)
        self.addCleanup(door.end)
        return door

    def link(self, door, only="*"):
        """md_repl's own connection, as one that speaks the protocol."""
        self.words.want_door(only)
        line, visitor, given = door.take()
        self.assertEqual((line, given), (b"link\n", None))
        return self.wire_over(visitor)

    def wire_over(self, connection):
        wire = Wire.__new__(Wire)
        wire.socket, wire.timeout, wire.buffer = connection, 20, bytearray()
        self.addCleanup(wire.close)
        return wire


@needs_millrace
class Registration(GroupCase):
    def test_a_connection_is_handed_over(self):
        door, client = self.open_door(), self.connect()
        self.assertEqual(client.command("PING"), b"+PONG\r\n")
        client.send(encode(*REGISTER))
        line, _, given = door.take()
        self.addCleanup(given.close)
        self.assertEqual(line, b"replica 127.0.0.1 1 7000 0123456789abcdef 100\n")
        self.assertEqual(given.getpeername(), client.socket.getsockname())
        self.assertTrue(client.silent(0.3))             # the answer is md_repl's
        given.sendall(b"+WELCOME\r\n")
        self.assertEqual(client.reply(), b"+WELCOME\r\n")
        client.send(b"and on")
        self.assertEqual(given.recv(100), b"and on")
        self.assertEqual(info(self.instance, "clients")["connected_clients"], "1")
        given.close()
        self.assertEqual(client.until_closed(), b"")

    def test_without_md_repl_the_connection_stays(self):
        client = self.connect()
        for _ in range(3):
            self.assertEqual(client.command(*REGISTER), NOT_THERE)
        self.assertEqual(client.command("PING"), b"+PONG\r\n")

    def test_a_door_that_takes_nobody_holds_nobody_up(self):
        door, clients = self.open_door(), []
        for _ in range(40):
            clients.append(self.connect())
            clients[-1].send(encode(*REGISTER))
        self.assertEqual(clients[-1].reply(), NOT_THERE)
        self.assertTrue(door.take()[0].startswith(b"replica "))

    def test_words_that_are_none(self):
        client = self.connect()
        self.open_door()
        for place, words in ((1, ("x", "-1", "", "1.5", "4294967296")), (2, ("x", "-1", "65536", "")), (4, ("x", "-1", " 1"))):
            for word in words:
                request = [*REGISTER]
                request[place] = word
                self.assertEqual(client.command(*request), b"-ERR value is not an integer or out of range\r\n", request)
        for word in ("", INSTANCE[1:], INSTANCE + "0", "0123456789abcdeg", INSTANCE[1:] + "\n"):
            self.assertEqual(client.command(*REGISTER[:3], word, "1"), b"-ERR an instance is 16 hexadecimal digits\r\n", word)
        self.assertEqual(client.command(*REGISTER[:4]), b"-ERR wrong number of arguments for 'ms_register_slave' command\r\n")
        self.assertEqual(client.command("PING"), b"+PONG\r\n")

    def test_nothing_else_may_be_under_way(self):
        door = self.open_door()
        for before, behind in (((), ("PING",)), (("PING",), ()), ((), (b"x",))):
            client = self.connect()
            client.send((encode(*before) if before else b"") + encode(*REGISTER) + (b"x" if behind == (b"x",) else encode(*behind) if behind else b""))
            if before:
                client.reply()
            self.assertEqual(client.reply(), BUSY, (before, behind))
            if behind == ("PING",):
                self.assertEqual(client.reply(), b"+PONG\r\n")
        client = self.connect()
        client.command("MULTI")
        self.assertEqual(client.command(*REGISTER), b"-ERR Command not allowed inside a transaction\r\n")
        self.assertTrue(client.command("EXEC").startswith(b"-EXECABORT"))
        self.assertTrue(door.nobody_comes(0.3))

    def test_what_md_owes_goes_first(self):
        door, client = self.open_door(), self.connect()
        client.send(encode("SET", "k", "v") + encode(*REGISTER))
        self.assertEqual(client.reply(), b"+OK\r\n")
        self.assertTrue(door.take()[0].startswith(b"replica "))

    def test_only_over_tcp(self):
        self.open_door()
        client = self.connect(self.instance.unix_path)
        self.assertEqual(client.command(*REGISTER), b"-ERR a server that wants to follow this one has to come over TCP\r\n")

    def test_what_was_watched_is_forgotten(self):
        door, client = self.open_door(), self.connect()
        client.command("WATCH", "k")
        client.send(encode(*REGISTER))
        line, _, given = door.take()
        given.close()
        self.assertTrue(line.startswith(b"replica "))
        self.assertEqual(client.until_closed(), b"")


@needs_millrace
class Link(GroupCase):
    IO = 2
    SETTINGS = {"requirepass": PASSWORD, "timeout": 1, "maxclients": 3}

    def client(self):
        client = self.connect()
        self.assertEqual(client.command("AUTH", PASSWORD), b"+OK\r\n")
        return client

    def test_one_io_conn_comes_and_serves(self):
        door = self.open_door()
        link = self.link(door)
        self.assertTrue(door.nobody_comes(0.5))
        self.assertEqual(self.words.door_taken, self.words.door_wanted)
        self.assertEqual(link.command("SET", "linked", "1"), b"+OK\r\n")         # no password is asked for
        self.assertEqual(link.command("GET", "linked"), b"$1\r\n1\r\n")
        self.assertEqual(link.command("MS_RELOAD"), b"-NOTFOLLOWING this server follows nobody any more\r\n")
        self.assertEqual(link.command("MS_APPLY", "0", "1", ""), b"-NOTFOLLOWING this server follows nobody any more\r\n")
        link.command("MULTI")
        self.assertEqual(link.command("MS_RELOAD"), b"-ERR Command not allowed inside a transaction\r\n")
        link.command("DISCARD")

    def test_strangers_are_asked_for_their_password(self):
        self.open_door()
        client = self.connect()
        self.assertEqual(client.command(*REGISTER), b"-NOAUTH Authentication required.\r\n")

    def test_its_commands_are_unknown_elsewhere(self):
        oracle = Oracle()
        self.addCleanup(oracle.stop)
        client = self.client()
        with oracle.wire() as wire:
            for command in (("MS_APPLY", "1", "2", "x" * 200), ("ms_reload",), ("MS_RELOAD", "a\0b"), ("Ms_Apply",)):
                self.assertEqual(client.command(*command), wire.command(*command))
            for each in (client, wire):
                each.command("MULTI")
            for command in (("MS_RELOAD",), ("EXEC",)):
                self.assertEqual(client.command(*command), wire.command(*command))
        listed = client.command("COMMAND", "LIST")
        self.assertNotIn(b"ms_", listed)
        self.assertEqual(client.command("COMMAND", "COUNT").strip(b":\r\n"), b"%d" % (client.command("COMMAND").count(b"*10\r\n$") - listed.count(b"|")))

    def test_it_is_no_client(self):
        link = self.link(self.open_door())
        clients = [self.client() for _ in range(3)]
        self.assertRegex(self.connect().until_closed(), b"max number of clients")
        self.assertEqual(re.search(rb"connected_clients:(\d+)", clients[0].command("INFO", "clients")).group(1), b"3")
        lines = clients[0].command("CLIENT", "LIST", "TYPE", "master").decode()
        self.assertEqual(lines.count("flags=M"), 1, lines)
        self.assertEqual(clients[0].command("CLIENT", "LIST", "TYPE", "normal").count(b"flags="), 3)
        self.assertEqual(link.command("CLIENT", "LIST").count(b"flags="), 4)
        self.assertEqual(clients[0].command("CLIENT", "KILL", "TYPE", "master"), b":1\r\n")
        self.assertEqual(link.until_closed(), b"")

    def test_it_waits_for_no_pause(self):
        link = self.link(self.open_door())
        pausing, waiting = self.client(), self.client()
        self.assertEqual(pausing.command("CLIENT", "PAUSE", "100000"), b"+OK\r\n")
        waiting.send(encode("PING"))
        self.assertTrue(waiting.silent(0.2))
        self.assertEqual(link.command("SET", "k", "v"), b"+OK\r\n")
        self.assertEqual(link.command("CLIENT", "UNPAUSE"), b"+OK\r\n")
        self.assertEqual(waiting.reply(), b"+PONG\r\n")

    def test_it_may_be_idle(self):
        link, client = self.link(self.open_door()), self.client()
        self.assertEqual(client.until_closed(), b"")    # after `timeout`
        time.sleep(1.5)
        self.assertEqual(link.command("PING"), b"+PONG\r\n")

    def test_long_arguments_and_many(self):
        link = self.link(self.open_door())
        large = b"x" * (3 << 20)                        # clients may send 1 MiB
        self.assertEqual(link.exchange([encode("SET", "large", large)], 1), [b"+OK\r\n"])
        self.assertEqual(link.command("STRLEN", "large"), b":%d\r\n" % len(large))
        for _ in range(3):
            self.assertEqual(link.exchange([encode("DEL", *(b"key:%d" % i for i in range(300_000)))], 1), [b":0\r\n"])
        self.assertEqual(link.exchange([encode("PING") * 1000], 1000), [b"+PONG\r\n"] * 1000)

    def test_nobody_is_there_at_first(self):
        self.words.want_door()
        wait_for(lambda: self.words.door_taken == self.words.door_wanted, 5, "an io_conn to try")
        self.assertEqual(self.link(self.open_door()).command("PING"), b"+PONG\r\n")

    def test_asking_again_gives_another_one(self):
        door = self.open_door()
        first = self.link(door)
        second = self.link(door)
        first.close()
        self.assertEqual(second.command("PING"), b"+PONG\r\n")

    def test_one_that_retires_lets_go_of_it(self):
        door = self.open_door()
        link = self.link(door, only="1")
        if b"laddr" not in link.command("CLIENT", "LIST") or self.io_conn_of(link) != 1:
            self.skipTest("the other io_conn was quicker")
        self.assertEqual(self.instance.control("scale", "1").returncode, 0)
        self.assertEqual(link.until_closed(), b"")
        self.assertEqual(self.link(door).command("PING"), b"+PONG\r\n")
        self.assertEqual(self.instance.control("scale", "2").returncode, 0)

    def io_conn_of(self, link):
        """The index of the io_conn at the other end."""
        pid = struct.unpack("3i", link.socket.getsockopt(1, 17, 12))[0]     # SOL_SOCKET, SO_PEERCRED
        return next(each["index"] for each in self.instance.processes("io_conn") if each["pid"] == pid)


@needs_millrace
class Applying(GroupCase):
    def setUp(self):
        self.port = free_port()
        follow(self.instance, self.port)
        self.addCleanup(lambda: self.connect().command("REPLICAOF", "NO", "ONE"))

    def test_a_follower_is_quick_to_come_without_being_woken(self):
        door = self.open_door()
        self.words.door_wanted += 1
        self.assertEqual(door.take(0.6)[0], b"link\n")

    def test_what_the_master_did_is_done_and_told(self):
        self.connect().command("CONFIG", "SET", "replica-serve-stale-data", "no")
        self.addCleanup(lambda: self.connect().command("CONFIG", "SET", "replica-serve-stale-data", "yes"))
        link = self.link(self.open_door())
        before = int(info(self.instance)["slave_repl_offset"])
        self.assertEqual(link.command("MS_APPLY", before, before + 5, ""), b"+OK\r\n")
        self.assertEqual(info(self.instance)["slave_repl_offset"], str(before + 5))
        self.assertEqual(link.command("MS_APPLY", before, before + 5, ""), b"-NOTNEXT %d\r\n" % (before + 5))
        self.words.link("following")
        self.assertEqual(self.connect().command("ROLE"), b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:%d\r\n$9\r\nconnected\r\n:%d\r\n" % (self.port, before + 5))


class OracleCase(GroupCase):
    """Compares with redis-server as a master, and as a replica of it or of nobody."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.master, cls.replica, cls.lonely = Oracle(), Oracle(), Oracle()
        cls.nobody = free_port()
        follow(cls.replica, cls.master.port)
        follow(cls.lonely, cls.nobody)
        wait_for(lambda: info(cls.replica)["master_link_status"] == "up" and "state=online" in info(cls.master).get("slave0", ""), 20, "redis-server to follow")

    @classmethod
    def tearDownClass(cls):
        for oracle in (cls.replica, cls.lonely, cls.master):
            oracle.stop()
        super().tearDownClass()

    def begin_to_follow(self, port):
        self.assertEqual(follow(self.instance, port), b"+OK\r\n")
        self.addCleanup(lambda: self.connect().command("REPLICAOF", "NO", "ONE"))

    def both(self, *steps, mask=lambda reply: reply):
        """The same script gets the same replies from the lonely replica and from this one, over both protocols."""
        for protocol in (2, 3):
            want, got = run_script(self.lonely, protocol, steps), run_script(self.instance, protocol, steps)
            for step, one, other in zip((*steps, "the end"), want, got):
                self.assertEqual(mask(other), mask(one), step)


@needs_millrace
class Told(OracleCase):
    DATA = ["millrace_checksum_kept", "millrace_checked_number", "millrace_verified_number", "millrace_damaged_number"]
    OURS = ["link_state", "link_refused", *DATA]

    def test_info_of_a_master(self):
        self.words.replica(0, "online", id=9, acknowledged=77, acknowledged_ms=int(time.monotonic() * 1000) - 3500, checked=70, verified=60, damaged=50, port=7000, address="10.0.0.5")
        self.words.replica(2, "sending", id=5, to_send=10, port=7001, address="::1")
        ours, theirs = info(self.instance), info(self.master)
        self.assertEqual([name for name in ours if name != "slave1"], [*theirs, *self.DATA, "millrace_replica0", "millrace_replica1"])
        self.assertEqual(ours["slave0"], "ip=::1,port=7001,state=send_bulk,offset=0,lag=0")
        self.assertEqual(ours["slave1"], "ip=10.0.0.5,port=7000,state=online,offset=77,lag=3")
        self.assertEqual((ours["millrace_replica0"], ours["millrace_replica1"]), ("checked=0,verified=0,damaged=0", "checked=70,verified=60,damaged=50"))
        self.assertEqual(re.sub("=[^,]*", "", theirs["slave0"]), "ip,port,state,offset,lag")
        self.assertEqual((ours["role"], ours["connected_slaves"]), ("master", "2"))
        self.assertRegex(ours["master_replid"], r"^[0-9a-f]{40}$")
        self.words.replica(2, "saving", id=5, port=7001, address="::1")
        self.assertIn("state=wait_bgsave", info(self.instance)["slave0"])

    def test_histories(self):
        self.assertEqual(follow(self.instance, self.nobody), b"+OK\r\n")
        before = info(self.instance)
        self.assertEqual(self.connect().command("REPLICAOF", "NO", "ONE"), b"+OK\r\n")
        after = info(self.instance)
        self.assertNotEqual(after["master_replid"], before["master_replid"])
        self.assertEqual((after["master_replid2"], after["second_repl_offset"]), (before["master_replid"], before["master_repl_offset"]))
        fresh = Instance(io=1)
        self.addCleanup(fresh.stop)
        ours, theirs = info(fresh), info(self.master)
        self.assertEqual([ours[name] for name in ("master_replid2", "second_repl_offset")], [theirs[name] for name in ("master_replid2", "second_repl_offset")])

    def test_what_is_kept_for_those_who_come_back(self):
        self.words.needs_log = 1
        wait_for(lambda: info(self.instance)["master_repl_offset"] != "0", 10, "the numbers of records to begin")
        last = int(info(self.instance)["master_repl_offset"])
        for kept_from, first in ((2**64 - 1, last + 1), (last, last + 1), (0, 1)):
            self.words.keep_from = kept_from
            ours = info(self.instance)
            self.assertEqual([ours["repl_backlog_" + name] for name in ("active", "first_byte_offset", "histlen")], ["1", str(first), str(last + 1 - first)])
        self.words.needs_log, self.words.keep_from = 0, 2**64 - 1
        self.assertEqual(info(self.instance)["repl_backlog_active"], "0")

    def test_good_replicas_are_told_where_they_are_wanted(self):
        for server in (self.instance, self.master):
            with server.wire() as wire:
                wire.command("CONFIG", "SET", "min-replicas-to-write", "1")
        self.words.replica(0, "online", id=1, port=7000, address="::1")
        ours, theirs = info(self.instance), info(self.master)
        for server in (self.instance, self.master):
            with server.wire() as wire:
                wire.command("CONFIG", "SET", "min-replicas-to-write", "0")
        self.assertEqual(list(ours), [*theirs, *self.DATA, "millrace_replica0"])
        self.assertEqual(ours["min_slaves_good_slaves"], "0")

    def test_info_of_a_follower(self):
        self.begin_to_follow(self.nobody)
        ours, theirs = info(self.instance), info(self.lonely)
        self.assertEqual(list(ours), [*theirs, *self.OURS])
        for name in ("role", "master_host", "master_port", "master_link_status", "master_last_io_seconds_ago", "master_sync_in_progress", "slave_priority", "slave_read_only",
                     "replica_announced"):
            self.assertEqual(ours[name], theirs[name], name)
        self.words.heard_ms = int(time.monotonic() * 1000) - 2500
        self.words.link("following")
        ours, theirs = info(self.instance), info(self.replica)
        self.assertEqual(list(ours), [*theirs, *self.OURS])
        self.assertEqual((ours["master_link_status"], ours["master_last_io_seconds_ago"], ours["link_state"]), ("up", "2", "following"))

    def test_info_while_the_data_comes(self):
        self.begin_to_follow(self.nobody)
        self.words.sync_bytes, self.words.sync_bytes_done = 2000, 500
        self.words.heard_ms = int(time.monotonic() * 1000)
        self.words.link_down_since_s = int(time.time()) - 7
        self.words.link("receiving")
        ours = info(self.instance)
        names = list(ours)
        at = names.index("slave_repl_offset") + 1
        # These are in redis-server's text while it is in this state, which cannot be held there.
        self.assertEqual(names[at:at + 7], ["master_sync_total_bytes", "master_sync_read_bytes", "master_sync_left_bytes", "master_sync_perc",
                                            "master_sync_last_io_seconds_ago", "master_link_down_since_seconds", "slave_priority"])
        self.assertEqual([ours[name] for name in names[at:at + 5]], ["2000", "500", "1500", "25.00", "0"])
        self.assertEqual(ours["master_sync_in_progress"], "1")
        self.assertIn(ours["master_link_down_since_seconds"], ("7", "8"))

    def test_synchronisations(self):
        self.words.full_syncs, self.words.partial_syncs, self.words.partial_refused = 3, 2, 1
        ours, theirs = info(self.instance, "stats"), info(self.master, "stats")
        self.assertEqual([ours[name] for name in ("sync_full", "sync_partial_ok", "sync_partial_err")], ["3", "2", "1"])
        self.assertEqual([name for name in ours if name.startswith("sync")], [name for name in theirs if name.startswith("sync")])
        self.words.full_syncs = self.words.partial_syncs = self.words.partial_refused = 0

    def test_role(self):
        offset = re.compile(rb":-?\d+\r\n|\$\d+\r\n\d+\r\n")
        self.words.replica(0, "online", id=1, acknowledged=14, port=self.replica.port, address="127.0.0.1")
        self.words.replica(1, "sending", id=2, port=7000, address="10.0.0.5")
        with self.master.wire() as wire:
            self.assertEqual(offset.sub(b"N", self.connect().command("ROLE")), offset.sub(b"N", wire.command("ROLE")))
        self.begin_to_follow(self.nobody)
        for state, word in (("none", b"connect"), ("connect", b"connect"), ("connecting", b"connecting"), ("waiting", b"sync"), ("receiving", b"sync"), ("loading", b"sync")):
            self.words.link(state)
            self.assertEqual(self.connect().command("ROLE"), b"*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:%d\r\n$%d\r\n%s\r\n:-1\r\n" % (self.nobody, len(word), word))
        self.words.link("following")
        with self.replica.wire() as wire:
            port = re.compile(rb":\d+\r\n")
            self.assertEqual(port.sub(b"N", self.connect().command("ROLE")), port.sub(b"N", wire.command("ROLE")))

    def test_hello(self):
        self.begin_to_follow(self.nobody)
        self.assertIn(b"$4\r\nrole\r\n$7\r\nreplica\r\n", self.connect().command("HELLO"))

    def test_whom_to_follow_is_no_matter_for_config_set(self):
        self.both(("CONFIG", "SET", "replicaof", "127.0.0.1 1"), "CONFIG SET replica-read-only maybe",
                  mask=lambda reply: reply.split(b" - ")[0])


@needs_millrace
class Refused(OracleCase):
    def setUp(self):
        self.begin_to_follow(self.nobody)

    def set_both(self, option, value, back):
        for server in (self.instance, self.lonely):
            for wanted in (value, back):
                def change(server=server, wanted=wanted):
                    with server.wire() as wire:
                        self.assertEqual(wire.command("CONFIG", "SET", option, wanted), b"+OK\r\n")
                if wanted == value:
                    change()
                else:
                    self.addCleanup(change)

    def test_writes(self):
        self.both("SET k v", "GET k", "MULTI", "GET k", "SET k v", "GET k", "EXEC", "PFCOUNT k", "FLUSHALL", "MULTI", "GET k", "EXEC", "DEL k")
        self.both("WATCH k", "MULTI", "INCR k", "DISCARD", "MULTI", "PING", "EXEC")

    def test_writes_that_are_allowed(self):
        self.set_both("replica-read-only", "no", "yes")
        self.both("SET k v", "MULTI", "SET k w", "EXEC", "GET k", "DEL k")

    def test_stale_data(self):
        self.set_both("replica-serve-stale-data", "no", "yes")
        self.both("GET k", "MGET k k", "PING", "SET k v", "DBSIZE", "SELECT 1", "ECHO x", "EXISTS k", "KEYS *", "CONFIG GET maxmemory-samples", "CLIENT ID x", "WATCH k", "UNWATCH", "TYPE k")
        self.both("MULTI", "GET k", "EXEC", "MULTI", "SET k v", "PING", "EXEC", "MULTI", "EXEC", "MULTI", "CLIENT GETNAME", "EXEC", "EXEC", "DISCARD")
        self.both(b"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n" * 1, "GET", "nonsense", "SAVE", "BGSAVE", "FLUSHALL", "LASTSAVE x", "CLIENT SETNAME x", "CLIENT GETNAME", "COMMAND COUNT x", "AUTH x y z")
        self.words.link("following")
        client = self.connect()
        self.assertEqual(client.command("GET", "k"), b"$-1\r\n")
        self.assertEqual(client.command("PING"), b"+PONG\r\n")
        self.words.link("connecting")
        self.assertTrue(client.command("GET", "k").startswith(b"-MASTERDOWN "))

    def test_a_transaction_that_has_become_stale(self):
        client = self.connect()
        for command in (("MULTI",), ("GET", "k")):
            client.command(*command)
        self.set_both("replica-serve-stale-data", "no", "yes")
        with self.lonely.wire() as wire:
            self.assertEqual(client.command("EXEC"), self.stale_exec(wire))

    def stale_exec(self, wire):
        """What redis-server says to the same, one after the other."""
        with self.lonely.wire() as other:
            other.command("CONFIG", "SET", "replica-serve-stale-data", "yes")
            for command in (("MULTI",), ("GET", "k")):
                wire.command(*command)
            other.command("CONFIG", "SET", "replica-serve-stale-data", "no")
        return wire.command("EXEC")


@needs_millrace
class TooFewFollow(OracleCase):
    def test_is_said_when_a_write_is_queued(self):
        oracle = Oracle(min_replicas_to_write=1)
        self.addCleanup(oracle.stop)
        self.connect().command("CONFIG", "SET", "min-replicas-to-write", "1")
        self.addCleanup(lambda: self.connect().command("CONFIG", "SET", "min-replicas-to-write", "0"))
        script = ("SET k v", "GET k", "MULTI", "SET k v", "GET k", "EXEC", "MULTI", "GET k", "EXEC")
        self.assertEqual(run_script(self.instance, 2, script), run_script(oracle, 2, script))
        self.words.good_replicas = 1
        self.assertEqual(run_script(self.instance, 2, ("MULTI", "SET k v", "EXEC", "DEL k"))[:3], [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n+OK\r\n"])
        self.words.good_replicas = 0


if __name__ == "__main__":
    unittest.main()
