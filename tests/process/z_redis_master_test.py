"""A redis-server as master: all of its data and then what it does, each command once, whoever dies; what cannot be had is said, and nothing is let go of.

MILLRACE_LONG=1: a million strings under a live writer, promoted away from."""

import os
import random
import shutil
import signal
import subprocess
import threading
import time
import unittest

from changing_writer import Writer
from harness import START_SECONDS, Oracle, needs_millrace, wait_for
from replicas import LINK_SECONDS, ReplicaCase, info, lose_memory, said
from wire import WireClosed, WireTimeout, decode, encode

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))
DATABASES = 4
LONG_KEYS = 1_000_000


def contents(server, databases=16, batch=2000):
    """{(database, key): (value, expiry)} of whatever speaks the protocol."""
    found = {}
    with server.wire(timeout=60) as wire:
        for database in range(databases):
            wire.command("SELECT", database)
            cursor, keys = b"0", set()
            while True:
                cursor, some = decode(wire.command("SCAN", cursor, "COUNT", batch))
                keys.update(some)
                if cursor == b"0":
                    break
            keys = sorted(keys)
            for at in range(0, len(keys), batch):
                part = keys[at:at + batch]
                replies = wire.exchange([b"".join(encode("GET", key) + encode("PEXPIRETIME", key) for key in part)], 2 * len(part))
                for key, value, expiry in zip(part, replies[::2], replies[1::2]):
                    if value != b"$-1\r\n":
                        found[database, key] = (decode(value), decode(expiry))
    return found


class RedisWriter(Writer):
    """Changes random keys of a redis-server in every way that has to do with strings, until told to end."""

    EXPECTED = (b"-ERR", b"-BUSYKEY", b"-WRONGTYPE")

    def __init__(self, redis, seed, clears=True):
        super().__init__(redis, seed)
        self.clears = clears

    def some_commands(self):
        pick = self.random
        if pick.random() < 0.1:
            return [("MULTI",), *(self.one() for _ in range(pick.randrange(6))), ("EXEC",)]
        if pick.random() < 0.02:
            dump = decode(self.wire.command("DUMP", "key:%d" % pick.randrange(100)))
            return [("RESTORE", "key:%d" % pick.randrange(100), pick.choice((0, 5_000_000)), dump, "REPLACE")] if dump else []
        return [self.one()]

    def one(self):
        pick = self.random
        key, other = ("key:%d" % pick.randrange(100) for _ in range(2))
        value = pick.choice("abcdef") * (pick.choice((3, 30, 300, 3000)) if pick.random() < 0.98 else pick.randrange(40_000, 200_000))
        number, sketch = "number:%d" % pick.randrange(9), "sketch:%d" % pick.randrange(3)
        if self.clears and pick.random() < 0.005:
            return pick.choice((("FLUSHDB",), ("FLUSHALL", "ASYNC"), ("SWAPDB", pick.randrange(DATABASES), pick.randrange(DATABASES)), ("SWAPDB", 0, 1)))
        return pick.choice((
            ("SET", key, value), ("SET", key, value, "PX", pick.choice((1, 50, 3_600_000))), ("SETEX", key, 100, value[:9]), ("SET", key, value[:9], "KEEPTTL"),
            ("APPEND", key, value[:50]), ("SETRANGE", key, pick.randrange(200), value[:40]), ("SETBIT", key, pick.randrange(5000), 1), ("DEL", key), ("UNLINK", key, other),
            ("MSET", key, value, other, value[:7]), ("MSETNX", key, value[:3], other, "x"), ("SETNX", key, "if there is none"), ("INCR", number), ("DECRBY", number, 3),
            ("INCRBY", number, 7), ("INCRBYFLOAT", number, "1"), ("RENAME", key, other), ("COPY", key, other, "REPLACE"), ("MOVE", key, pick.randrange(DATABASES)),
            ("EXPIRE", key, 5000), ("PEXPIRE", key, 30), ("PERSIST", key), ("GETEX", key, "EX", 4000), ("GETEX", key, "PERSIST"), ("GETDEL", key), ("GETSET", key, value[:5]),
            ("SELECT", pick.randrange(DATABASES)), ("PFADD", sketch, value[:9], pick.random()), ("PFMERGE", "sketch:all", sketch), ("PFCOUNT", sketch),
            ("BITOP", "XOR", key, other, "key:1"), ("BITFIELD", key, "INCRBY", "u8", "#%d" % pick.randrange(9), 3), ("PUBLISH", "channel", "message"),
            ("EVAL", "redis.call('INCR', KEYS[1]) redis.call('SELECT', 2) return redis.call('APPEND', KEYS[2], 'x')", 2, number, key)))


@needs_millrace
class RedisMaster(ReplicaCase):
    def redis(self, **settings):
        server = Oracle(**{"proto_max_bulk_len": "512mb", "repl_diskless_sync_delay": 0, "repl_ping_replica_period": 1, "enable_debug_command": "yes", **settings})
        self.addCleanup(server.stop)
        return server

    def follower(self, master, port=None, io=1, **settings):
        return self.start(io=io, **{"proto_max_bulk_len": "512mb", "repl_timeout": 5, "replicaof": "127.0.0.1 %d" % (port or master.port), **settings})

    def restart(self, redis):
        """Kills it, and starts it with what is in its folder."""
        redis.process.kill()
        redis.process.wait()
        arguments = ["redis-server"] + [str(word) for name, value in redis.settings.items() for word in ("--" + name, value)]
        redis.process = subprocess.Popen(arguments, executable=shutil.which("redis-check-rdb"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(redis._answers, START_SECONDS, "redis-server to answer again")

    def replication(self, instance):
        try:
            with instance.wire(timeout=30) as wire:
                return info(wire)
        except (WireClosed, WireTimeout, ConnectionError, AttributeError):      # md is loading, or another io_conn begins
            return {}

    def wait_linked(self, instance, seconds=LINK_SECONDS):
        wait_for(lambda: self.replication(instance).get("master_link_status") == "up", seconds, "the follower to be linked")

    def wait_reached(self, redis, instance, seconds=LINK_SECONDS):
        """Until the follower says that it has all; nobody writes meanwhile."""
        def reached():
            with redis.wire() as wire:
                return self.replication(instance).get("slave_repl_offset") == info(wire)["master_repl_offset"]
        wait_for(reached, seconds, "the follower to have everything")

    def wait_same(self, redis, *instances):
        for instance in instances:
            self.wait_reached(redis, instance)
        wanted = contents(redis)
        for instance in instances:
            found = contents(instance)
            over = (time.time() + 1) * 1000     # what has gone between the two looks
            for each in (wanted, found):
                for key in [key for key, (_, expiry) in each.items() if 0 <= expiry < over]:
                    del each[key]
            wrong = [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
            self.assertEqual(wrong[:5], [], "SEED=%d: %d of %d differ, such as %r here and %r there" % (
                SEED, len(wrong), len(wanted), found.get(wrong[0]) if wrong else None, wanted.get(wrong[0]) if wrong else None))

    def writers(self, redis, count=2, **options):
        return self.started([RedisWriter(redis, SEED + number, **options) for number in range(count)])

    def resident(self, instance):
        """Bytes of memory of its own that md_repl has."""
        pid = instance.pids("md_repl")[0]
        return int(next(line for line in open("/proc/%d/status" % pid) if line.startswith("RssAnon")).split()[1]) * 1024

    def fill(self, redis, keys=500):
        with redis.wire() as wire:
            for database in (0, 3, 15):
                wire.command("SELECT", database)
                for number in range(keys):
                    wire.command("SET", "before:%d" % number, "v" * number)
                wire.command("SET", "number", -70_000 + database)
                wire.command("SET", "lives", "long", "PX", 3_600_000)
                wire.command("SET", b"\0\r\nany \xff", os.urandom(3_000_000) if database == 3 else b"")

    def test_all_of_the_data_in_both_forms(self):
        for diskless in ("yes", "no"):
            with self.subTest(diskless=diskless):
                redis = self.redis(repl_diskless_sync=diskless)
                self.fill(redis)
                with redis.wire() as wire:
                    wire.command("DEBUG", "SET-ACTIVE-EXPIRE", 0)
                    wire.command("SET", "is over", "but there", "PX", 1)
                follower = self.follower(redis)
                self.wait_linked(follower)
                self.wait_same(redis, follower)
                self.assertEqual(self.syncs(redis)[0], 1)
                with redis.wire() as wire:
                    self.assertRegex(info(wire)["slave0"], r"ip=127.0.0.1,port=%d,state=online,offset=\d+,lag=[01]$" % follower.port)
                    wire.command("SET", "is over", "no more")
                    self.assertEqual(wire.command("WAIT", 1, 5000), b":1\r\n")
                with follower.wire() as wire:
                    self.assertEqual(wire.command("GET", "is over"), b"$7\r\nno more\r\n")
                    self.assertEqual(decode(wire.command("ROLE"))[:4], [b"slave", b"127.0.0.1", redis.port, b"connected"])
                    self.assertEqual(wire.command("SET", "mine", "too"), b"-READONLY You can't write against a read only replica.\r\n")

    def test_what_is_done_is_done_here(self):
        redis = self.redis()
        self.fill(redis, 50)
        writers = self.writers(redis)
        follower = self.follower(redis)
        self.wait_linked(follower)
        time.sleep(2)
        for writer in writers:
            writer.end()
            self.assertGreater(writer.commands, 100)
        self.wait_same(redis, follower)
        with redis.wire() as wire:      # a database with more keys than a client's transaction may clear
            wire.command("SELECT", 1)
            wire.command("DEBUG", "POPULATE", 120_000)
        full = self.syncs(redis)[0]     # FLUSHALL ends a snapshot that Redis is writing
        with follower.wire() as wire:
            wire.command("REPLICAOF", "NO", "ONE")
            wire.command("REPLICAOF", "127.0.0.1", redis.port)
        wait_for(lambda: self.syncs(redis)[0] > full, LINK_SECONDS, "another full sync")
        self.wait_linked(follower)
        self.wait_reached(redis, follower)
        with redis.wire() as wire, follower.wire() as own:
            own.command("SELECT", 1)
            wire.command("SELECT", 1)
            self.assertEqual(own.command("DBSIZE"), wire.command("DBSIZE"))
            for command in (("SELECT", 1), ("MULTI",), ("SET", "before", 1), ("FLUSHDB",), ("SET", "after", 2), ("APPEND", "after", 3), ("EXEC",)):
                wire.command(*command)
        self.wait_same(redis, follower)

    def test_a_cut_link_is_gone_on_with(self):
        redis = self.redis(repl_backlog_size="64mb")
        proxy = self.proxy(redis)
        follower = self.follower(redis, proxy.port)
        self.wait_linked(follower)
        writers = self.writers(redis)
        for cuts in range(3):
            time.sleep(0.3)
            proxy.cut()
            wait_for(lambda cuts=cuts: self.syncs(redis)[1] > cuts, LINK_SECONDS, "the follower to come back")
        for writer in writers:
            writer.end()
        self.wait_same(redis, follower)
        full, partial = self.syncs(redis)
        self.assertEqual(full, 1)
        self.assertGreaterEqual(partial, 3)

    def test_nothing_is_done_twice_or_left_out_whoever_dies(self):
        redis = self.redis(repl_backlog_size="64mb")
        follower = self.follower(redis, io=2)
        self.wait_linked(follower)
        pick = random.Random(SEED)
        writers = self.writers(redis, 2, clears=False)
        counting = threading.Event()

        def count():
            with redis.wire(timeout=30) as wire:
                for number in range(1_000_000):
                    if counting.is_set():
                        return
                    wire.exchange([encode("INCR", "counted") + encode("APPEND", "written", "%d " % number) + encode("PUBLISH", "c", "m")], 3)
        counter = threading.Thread(target=count, daemon=True)
        counter.start()
        self.addCleanup(counting.set)
        for role in ("md", "md_repl", "io_conn") + tuple(pick.choice(("md", "md_repl", "io_conn")) for _ in range(6)):
            time.sleep(pick.random() * 0.5)
            for pid in follower.pids(role)[:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
        time.sleep(0.5)
        counting.set()
        counter.join()
        for writer in writers:
            writer.end()
        self.wait_same(redis, follower)
        self.assertEqual(self.syncs(redis)[0], 1)

    def test_shared_memory_is_lost_and_the_log_says_where_to_go_on(self):
        redis = self.redis(repl_backlog_size="64mb")
        follower = self.follower(redis, appendonly="yes")
        self.wait_linked(follower)
        for saves in (False, True):
            with self.subTest(saves=saves):
                writers = self.writers(redis, clears=not saves)
                time.sleep(0.5)
                if saves:       # the stream number of a snapshot that is made meanwhile has to be exact
                    with follower.wire() as wire:
                        wire.command("BGSAVE")
                time.sleep(0.7)
                lose_memory(follower)
                with redis.wire() as wire:
                    wire.command("INCR", "meanwhile")
                follower.start()
                self.wait_linked(follower)
                for writer in writers:
                    writer.end()
                self.wait_same(redis, follower)
                self.assertEqual(self.syncs(redis)[0], 1)
        with redis.wire() as wire:
            for command in (("SELECT", 7), ("SET", "selected", "seven")):
                wire.command(*command)
            self.wait_reached(redis, follower)
            lose_memory(follower)
            wire.command("APPEND", "selected", "!")     # Redis does not say the database again
        follower.start()
        self.wait_linked(follower)
        self.wait_same(redis, follower)
        self.assertEqual(self.syncs(redis)[0], 1)

    def test_a_stop_keeps_the_place_in_the_stream(self):
        redis = self.redis(repl_backlog_size="64mb")
        follower = self.follower(redis, save="3600 1")
        self.wait_linked(follower)
        with redis.wire() as wire:
            for command in (("SELECT", 7), ("SET", "selected", "seven"), ("INCR", "number")):
                wire.command(*command)
            self.wait_reached(redis, follower)
            self.assertEqual(follower.control("stop").returncode, 0)
            wire.command("INCR", "number")       # Redis does not say the database again
        follower.start()
        self.wait_linked(follower)
        self.wait_same(redis, follower)
        self.assertEqual(self.syncs(redis), (1, 1))

    def test_data_that_is_no_strings_is_refused_and_the_old_data_stays(self):
        redis, second = self.redis(), self.redis()
        follower = self.follower(redis)
        self.wait_linked(follower)
        with redis.wire() as wire, second.wire() as other:
            wire.command("SET", "kept", "this")
            other.command("SELECT", 2)
            other.command("RPUSH", "queue\r\n", "job")
            other.command("SET", "more", "strings")
        self.wait_reached(redis, follower)
        with follower.wire() as wire:
            wire.command("REPLICAOF", "127.0.0.1", second.port)
            wait_for(lambda: "its data has a list, key 'queue\\x0d\\x0a' in database 2" in said(follower), LINK_SECONDS, "the refusal to be said")
            found = info(wire)
            self.assertEqual((found["master_link_status"], found["link_refused"]), ("down", "1"))
            self.assertEqual(wire.command("GET", "kept"), b"$4\r\nthis\r\n")
            self.assertEqual(wire.command("REPLICAOF", "NO", "ONE"), b"+OK\r\n")
            self.assertEqual(wire.command("SET", "kept", "mine"), b"+OK\r\n")
        self.assertFalse((follower.folder / "data" / "sync").exists())

    def test_a_command_that_is_not_known_stops_the_link(self):
        redis = self.redis()
        follower = self.follower(redis)
        self.wait_linked(follower)
        with redis.wire() as wire:
            for command in (("SET", "before", "it"), ("MULTI",), ("SET", "with", "it"), ("LPUSH", "queue", "job"), ("EXEC",), ("SET", "after", "it")):
                wire.command(*command)
        wait_for(lambda: "of its stream 'lpush' of key 'queue' came" in said(follower).lower(), LINK_SECONDS, "the refusal to be said")
        with follower.wire() as wire:
            found = info(wire)
            self.assertEqual((found["master_link_status"], found["link_refused"]), ("down", "1"))
            self.assertEqual(decode(wire.command("ROLE"))[3], b"connect")
            self.assertEqual([decode(wire.command("GET", key)) for key in ("before", "with", "after")], [b"it", None, None])
        time.sleep(2)
        self.assertEqual(said(follower).lower().count("'lpush'"), 1)

    def test_passwords(self):
        redis = self.redis(requirepass="secret")
        follower = self.follower(redis)
        wait_for(lambda: "set masterauth" in said(follower), LINK_SECONDS, "the lack of a password to be said")
        with follower.wire() as wire:
            wire.command("CONFIG", "SET", "masterauth", "guessed")
            wait_for(lambda: "WRONGPASS" in said(follower), LINK_SECONDS, "the wrong password to be said")
            wire.command("CONFIG", "SET", "masterauth", "secret")
        self.wait_linked(follower)

    def test_a_master_that_is_no_master_itself(self):
        first = self.redis()
        second = self.redis(replicaof="127.0.0.1 %d" % first.port)
        with first.wire() as wire, second.wire() as other:
            wait_for(lambda: info(other)["master_link_status"] == "up", LINK_SECONDS, "the other replica")
            wire.command("SELECT", 5)
            wire.command("SET", "in", "five")
            wait_for(lambda: info(other)["slave_repl_offset"] == info(wire)["master_repl_offset"], LINK_SECONDS, "the other replica to have all")
            follower = self.follower(second)
            self.wait_linked(follower)
            wire.command("APPEND", "in", ", too")       # only the RDB says which database is selected
            wire.command("SET", "here", "as well")
            wait_for(lambda: info(wire)["master_repl_offset"] == self.replication(follower)["slave_repl_offset"], LINK_SECONDS, "the follower to have everything")
            self.assertEqual(contents(follower), contents(first))
            wire.send(encode("SHUTDOWN", "NOSAVE"))
            with follower.wire() as own:
                own.command("REPLICAOF", "NO", "ONE")
                own.command("REPLICAOF", "127.0.0.1", second.port)
            wait_for(lambda: "it is not ready yet: -NOMASTERLINK" in said(follower), LINK_SECONDS, "the master's lack of a master to be said")

    def test_a_master_that_hangs(self):
        redis = self.redis()
        follower = self.follower(redis, repl_timeout=2)
        self.wait_linked(follower)
        redis.process.send_signal(signal.SIGSTOP)
        try:
            wait_for(lambda: self.replication(follower)["master_link_status"] == "down", LINK_SECONDS, "the silence to be noticed")
        finally:
            redis.process.send_signal(signal.SIGCONT)
        with redis.wire() as wire:
            wire.command("SET", "it", "lives")
        wait_for(lambda: self.syncs(redis) == (1, 1), LINK_SECONDS, "the follower to come back")
        self.wait_linked(follower)
        self.wait_same(redis, follower)

    def test_large_values_and_transactions_in_pieces(self):
        redis = self.redis(repl_backlog_size="256mb")
        proxy = self.proxy(redis)
        follower = self.follower(redis, proxy.port, io=2)
        self.wait_linked(follower)
        large = os.urandom(1 << 20)
        with redis.wire(timeout=60) as wire:
            wire.command("SET", "large", large * 3)
            wire.command("MULTI")
            for number in range(10):
                wire.command("SET", "part:%d" % number, large)
            wire.command("RENAME", "large", "renamed")
            wire.command("EXEC")
            proxy.cut()
            for number in range(50):
                wire.command("SETRANGE", "renamed", number * 60_000, "here")
                wire.command("SETBIT", "renamed", number * 400_000 + 7, number % 2)
            proxy.cut()
            wire.command("APPEND", "renamed", large * 5)
        self.wait_same(redis, follower)
        self.assertEqual(self.syncs(redis)[0], 1)

    def test_promoted_away_from(self):
        redis = self.redis()
        self.fill(redis, 50)
        follower = self.follower(redis)
        self.wait_linked(follower)
        for writer in self.writers(redis):
            time.sleep(0.5)
            writer.end()
        self.wait_same(redis, follower)
        wanted = contents(redis)
        with follower.wire() as wire, redis.wire() as other:
            name = info(wire)["master_replid"]
            self.assertEqual(name, info(other)["master_replid"])
            self.assertEqual(wire.command("REPLICAOF", "NO", "ONE"), b"+OK\r\n")
            found = info(wire)
            self.assertEqual((found["role"], found["master_replid2"]), ("master", name))
            self.assertEqual(contents(follower), wanted)
            self.assertEqual(wire.command("SET", "mine", "now"), b"+OK\r\n")
            self.assertEqual(wire.command("SET", "short", "life", "PX", 1), b"+OK\r\n")
            wait_for(lambda: wire.command("DBSIZE") == b":%d\r\n" % (sum(1 for database, _ in wanted if database == 0) + 1), LINK_SECONDS, "what is over to go")

    def test_a_master_that_is_restarted(self):
        redis = self.redis(appendonly="yes")
        self.fill(redis, 20)
        follower = self.follower(redis)
        self.wait_linked(follower)
        self.restart(redis)
        with redis.wire() as wire:
            wire.command("SET", "after", "the restart")
        wait_for(lambda: self.syncs(redis)[0] == 1, LINK_SECONDS, "the follower to come back")
        self.wait_linked(follower)
        self.wait_same(redis, follower)
        wanted = contents(redis)
        redis.settings["appendonly"] = "no"
        self.restart(redis)
        wait_for(lambda: "it has come back empty" in said(follower), LINK_SECONDS, "the refusal to be said")
        self.assertEqual(contents(follower), wanted)

    def test_a_replica_of_the_master_s_is_promoted(self):
        first = self.redis()
        second = self.redis(replicaof="127.0.0.1 %d" % first.port)
        self.fill(first, 20)
        follower = self.follower(first)
        self.wait_linked(follower)
        with second.wire() as wire, first.wire() as other, follower.wire() as own:
            wait_for(lambda: info(wire)["master_link_status"] == "up", LINK_SECONDS, "the other replica")
            other.command("SELECT", 6)
            other.command("SET", "last", "of the first")
            self.wait_reached(first, follower)
            wait_for(lambda: info(wire)["slave_repl_offset"] == info(other)["master_repl_offset"], LINK_SECONDS, "the other replica to have all")
            wire.command("REPLICAOF", "NO", "ONE")
            before = info(other)["master_replid"]
            own.command("REPLICAOF", "127.0.0.1", second.port)
            self.wait_linked(follower)
            wire.command("SELECT", 6)
            wire.command("SET", "first", "of the second")
            self.wait_same(second, follower)
            found = info(own)
            self.assertEqual((found["master_replid"], found["master_replid2"]), (info(wire)["master_replid"], before))
        self.assertEqual(self.syncs(second), (0, 1))

    def test_others_follow_the_follower(self):
        redis = self.redis(repl_backlog_size="64mb")
        self.fill(redis, 20)
        middle = self.follower(redis)
        self.wait_linked(middle)
        last = self.follower(middle)
        self.wait_linked(last)
        for writer in self.writers(redis):
            time.sleep(0.5)
            writer.end()
        with redis.wire() as wire:
            wire.command("SELECT", 9)
            wire.command("SET", "in", "nine")
        self.wait_same(redis, middle, last)
        full = self.syncs(redis)[0]
        with last.wire() as wire:       # it knows where in the stream it is as well
            wire.command("REPLICAOF", "127.0.0.1", redis.port)
        self.wait_linked(last)
        with redis.wire() as wire:
            wire.command("SELECT", 9)
            wire.command("APPEND", "in", "!")
        self.wait_same(redis, middle, last)
        self.assertEqual(self.syncs(redis)[0], full)

    @unittest.skipUnless(os.environ.get("MILLRACE_LONG"), "MILLRACE_LONG=1")
    def test_a_million_strings_and_promoted_away_from(self):
        redis = self.redis(client_output_buffer_limit="replica 1gb 0 0")
        with redis.wire(timeout=120) as wire:
            for at in range(0, LONG_KEYS, 10_000):
                wire.exchange([b"".join(encode("SET", "key:%d" % (number % 100 + 100 * number), "value of %d " % number * 5, *(("PX", 3_600_000 + number) if number % 10 == 0 else ()))
                                        for number in range(at, at + 10_000))], 10_000)
        writers = self.writers(redis, 2, clears=False)
        began = time.monotonic()
        follower = self.follower(redis)
        resident = []
        wait_for(lambda: resident.append(self.resident(follower)) or self.replication(follower).get("master_link_status") == "up", 120, "the follower to be linked")
        linked = time.monotonic() - began
        time.sleep(10)
        resident.append(self.resident(follower))
        with redis.wire() as wire:
            reached = int(self.replication(follower)["slave_repl_offset"])
            lag = int(info(wire)["master_repl_offset"]) - reached
        for writer in writers:
            writer.end()
        began = time.monotonic()
        self.wait_reached(redis, follower)
        caught_up = time.monotonic() - began
        with follower.wire() as wire:
            self.assertEqual(wire.command("REPLICAOF", "NO", "ONE"), b"+OK\r\n")
        self.assertEqual(contents(follower), contents(redis))
        self.assertLess(max(resident), 64 << 20)
        print("%d strings: linked after %.1f s, %d commands meanwhile, %d bytes behind under load, all there %.2f s after the last write; md_repl took %.1f MB" % (
            LONG_KEYS, linked, sum(writer.commands for writer in writers), lag, caught_up, max(resident) / 1e6))


if __name__ == "__main__":
    unittest.main()
