"""From Redis and back: what redis-server has written is imported, what is exported it loads, and copies of an instance come back."""

import os
import random
import shutil
import signal
import struct
import subprocess
import time
import unittest
from pathlib import Path

from harness import CONTROL, Instance, Oracle, needs_millrace, new_folder, run, wait_for
from leftovers import is_alive
from wire import decode

OTHER_TYPES = [
    ("RPUSH", "list small", *range(5)), ("RPUSH", "list long", *("element %d" % i * 20 for i in range(500))), ("RPUSH", "list plain", "x" * 20_000, "y"),
    ("SADD", "set ints", *range(9)), ("SADD", "set words", "a", "b"), ("SADD", "set large", *("member %d" % i for i in range(600))),
    ("HSET", "hash small", "f", "v"), ("HSET", "hash large", "f", "v" * 1000, "g", "1"),
    ("ZADD", "zset small", 1.5, "a", "-inf", "b"), ("ZADD", "zset large", *(word for i in range(300) for word in (i / 3, "member %d" % i))),
    ("XADD", "stream", "1-1", "f", "v"), ("XADD", "stream", "2-0", "g", "w"), ("XGROUP", "CREATE", "stream", "group", 0), ("XGROUP", "CREATE", "stream", "second", "$"),
    ("XREADGROUP", "GROUP", "group", "someone", "COUNT", 1, "STREAMS", "stream", ">"), ("XDEL", "stream", "2-0"),
    ("FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"),
]


def ask(wire, *words):
    answer = decode(wire.command(*words))
    assert not str(answer).startswith(("ERR", "WRONG")), (words, answer)
    return answer


def strings_of(server):
    """{(database, key): (value, when it expires)} of every string."""
    found = {}
    with server.wire() as wire:
        for database in range(16):
            ask(wire, "SELECT", database)
            for key in ask(wire, "KEYS", "*"):
                if ask(wire, "TYPE", key) == "string":
                    found[database, key] = ask(wire, "GET", key), ask(wire, "PEXPIRETIME", key)
    return found


def fill(server, count=200):
    """Strings of every kind in some databases."""
    source = random.Random(os.environ.get("SEED", "migration"))
    later = int(time.time() * 1000) + 3_600_000
    with server.wire() as wire:
        for database in (0, 1, 7, 15):
            ask(wire, "SELECT", database)
            for i in range(count):
                value = source.choice([source.randbytes(source.randrange(300)), b"%d" % source.randrange(-1 << 62, 1 << 62), b"%d" % source.randrange(-200, 200),
                                       b"abc" * source.randrange(200), b"", b"007", source.randbytes(10) * source.randrange(2000)])
                ask(wire, "SET", b"key %d " % i + source.randbytes(source.randrange(20)), value, *(("PXAT", later + i) if i % 3 == 0 else ()))
            ask(wire, "SET", "large", source.randbytes(700_000))
            ask(wire, "SET", "large and simple", b"a" * 900_000)
            ask(wire, "SETBIT", "bits", 10_000, 1)
            ask(wire, "PFADD", "counted", *range(1000))


def change(server):
    """Commands of the string family, as an AOF has them."""
    with server.wire() as wire:
        for words in [("SELECT", 2), ("MSET", "a", 1, "b", 2, "c", 3), ("INCRBY", "a", 41), ("APPEND", "b", "xyz"), ("INCRBYFLOAT", "c", "0.5"),
                      ("SETRANGE", "r", 5, "range"),
                      ("SETEX", "e", 1000, "v"), ("EXPIRE", "a", 2000), ("PERSIST", "e"), ("GETEX", "b", "EX", 500), ("GETDEL", "c"), ("RENAME", "r", "r2"),
                      ("COPY", "a", "a2", "DB", 3),
                      ("SET", "moved", 1), ("MOVE", "moved", 4), ("SET", "gone", 1), ("DEL", "gone"), ("SET", "gone", 1, "PX", 1),
                      ("SET", "k", "v", "EX", 100, "NX"), ("SET", "k", "w", "KEEPTTL"),
                      ("SELECT", 5), ("SET", "flushed", 1), ("FLUSHDB",), ("SET", "swapped", 1), ("SWAPDB", 5, 6), ("SET", "in 5", 1), ("RPUSH", "list", 1),
                      ("SETBIT", "bits", 77, 1),
                      ("MULTI",), ("SET", "in", "transaction"), ("INCR", "n"), ("EXEC",), ("SETNX", "nx", 1), ("GETSET", "nx", 2), ("DECRBY", "n", 5)]:
            ask(wire, *words)
        wait_for(lambda: ask(wire, "SELECT", 2) and ask(wire, "EXISTS", "gone") == 0, 5, "a key to expire")


def crc32c(data, crc=0):
    """The checksum of everything on disk (common/disk/crc.h)."""
    crc ^= 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def log_file(after, records):
    """The bytes of a log file (common/disk/log_format.h) with these {number: (key, value, second)}: SET key value, written at that second."""
    header = struct.pack("<8sIIQQQqQQ", b"mrLOG\r\n\x1a", 1, 0, 7, after, 0, 0, 1, 0)
    seed = crc32c(header)
    file = header[:12] + struct.pack("<I", seed) + header[16:]
    for number, (key, value, second) in records.items():
        effect = struct.pack("<BBHIQq", 1, 0, 0, len(key), len(value), -1) + key + value
        for kind, body, last in ((2, struct.pack("<Qq", len(file), second * 1000), after), (1, effect, number)):
            body += bytes(-len(body) % 8)
            front = struct.pack("<IQQQ", kind, len(body), last, after)
            file += struct.pack("<I", crc32c(front + body, seed)) + front + body
        after = number
    return file


class MigrationCase(unittest.TestCase):
    def setUp(self):
        self.folder = new_folder("migration")
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.dir = self.folder / "instance"

    def server(self, **settings):
        server = Oracle(proto_max_bulk_len="512mb", enable_debug_command="yes", **settings)
        self.addCleanup(server.stop)
        return server

    def control(self, verb, *words, status=0, folder=None):
        """Runs the control script; what it has printed, or the sentence of its failure."""
        ended = run([CONTROL, verb, "--dir", folder or self.dir, *words])
        self.assertEqual(ended.returncode, status, ended.stdout + ended.stderr)
        self.assertNotIn("Traceback", ended.stderr)
        if status == 0:
            return ended.stdout
        if status == 1:
            self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
            self.assertTrue(ended.stderr.startswith("millrace: "), ended.stderr)
        return ended.stderr

    def exported(self, name="dump.rdb", folder=None):
        """The folder of an RDB of the instance, which redis-check-rdb accepts."""
        target = self.folder / ("exported %d" % len(list(self.folder.iterdir())))
        target.mkdir()
        self.control("export", target / name, folder=folder)
        self.assertEqual([path.name for path in target.iterdir()], [name])
        checked = run(["redis-check-rdb", target / name])
        self.assertEqual(checked.returncode, 0, checked.stdout)
        self.assertIn("RDB looks OK", checked.stdout)
        return target

    def loaded(self, folder=None):
        """A redis-server that has loaded what the instance exports."""
        return self.server(dir=self.exported(folder=folder))

    def data(self):
        return sorted(path.name for path in (self.dir / "data").iterdir())

    def small_rdb(self, name="small.rdb"):
        """An RDB with two keys of database 0 and one of database 3."""
        server = self.server()
        with server.wire() as wire:
            for words in [("SET", "a", "1"), ("SET", "b", "text", "EX", 5000), ("SELECT", 3), ("SET", "c", "x" * 100), ("SAVE",)]:
                ask(wire, *words)
        return Path(shutil.copy(server.folder / "dump.rdb", self.folder / name))


@needs_millrace
class Rdb(MigrationCase):
    def check_everything(self, **settings):
        server = self.server(**settings)
        fill(server)
        with server.wire() as wire:
            for words in OTHER_TYPES:
                ask(wire, *words)
            ask(wire, "SAVE")
        said = self.control("import", server.folder / "dump.rdb")
        self.assertIn("skipped: 3 lists, 3 sets, 2 hashes, 2 sorted sets, 1 library of functions, 1 stream\n", said)
        expected = strings_of(server)
        self.assertGreater(len(expected), 800)
        self.assertIn("%d keys in 4 databases" % len(expected), said)
        back = self.loaded()
        self.assertEqual(strings_of(back), expected)
        with server.wire() as wire, back.wire() as other:
            for name in ("stream", *(words[1] for words in OTHER_TYPES if words[0] in ("RPUSH", "SADD", "HSET", "ZADD"))):
                ask(wire, "DEL", name)
            self.assertEqual(ask(wire, "DEBUG", "DIGEST"), ask(other, "DEBUG", "DIGEST"))
        return server

    def test_every_type_and_string_with_compression(self):
        self.check_everything(rdbcompression="yes")

    def test_every_type_and_string_as_hashtables_and_without_checksum(self):
        self.check_everything(rdbcompression="no", rdbchecksum="no", hash_max_listpack_entries=0, set_max_intset_entries=0, zset_max_listpack_entries=0, list_max_listpack_size=1,
                              maxmemory_policy="allkeys-lfu")

    def test_export_and_import_again_is_the_same(self):
        self.control("import", self.small_rdb())
        first = self.exported()
        self.control("import", first / "dump.rdb", folder=self.folder / "second")
        second = self.exported(folder=self.folder / "second")
        self.assertEqual(strings_of(self.server(dir=first)), strings_of(self.server(dir=second)))
        self.assertEqual(len(strings_of(self.server(dir=second))), 3)

    def test_what_has_expired_is_left_out_on_both_ways(self):
        server = self.server()
        with server.wire() as wire:
            for words in [("DEBUG", "SET-ACTIVE-EXPIRE", 0), ("SET", "a", 1, "PX", 1), ("SET", "b", 1, "PX", 4000), ("SET", "c", 1), ("SAVE",)]:
                ask(wire, *words)
        self.assertIn("expired, and left out: 1 key\n", self.control("import", server.folder / "dump.rdb"))
        time.sleep(4)   # b's time has to pass
        self.assertEqual(list(strings_of(self.loaded())), [(0, b"c")])

    def test_damage_changes_nothing(self):
        self.control("import", self.small_rdb())
        before = self.data()
        damaged = bytearray((self.folder / "small.rdb").read_bytes())
        damaged[-20] ^= 1
        (self.folder / "damaged.rdb").write_bytes(damaged)
        sentence = self.control("import", self.folder / "damaged.rdb", "--replace", status=1)
        self.assertIn("damaged.rdb at offset", sentence)
        self.assertEqual(self.data(), before)
        self.assertEqual(os.listdir(self.dir / "run"), [])
        self.assertIn("does not exist", self.control("import", self.folder / "none", status=1))

    def test_a_new_import_replaces_only_when_told_to(self):
        rdb = self.small_rdb()
        self.control("import", rdb)
        self.assertIn("holds data already", self.control("import", rdb, status=1))
        said = self.control("import", rdb, "--replace")
        replaced = next(name for name in self.data() if name.startswith("replaced-"))
        self.assertIn(replaced, said)
        self.assertEqual(sorted(os.listdir(self.dir / "data" / replaced)), ["instance", "snapshot-00000000000000000001"])
        self.assertEqual(self.data(), ["instance", replaced, "snapshot-00000000000000000001"])
        self.control("restore", self.dir / "data" / replaced, "--replace")     # and back
        self.control("check", "--port", 0, "--set", "unixsocket=" + str(self.folder / "s.sock"))

    def test_an_interrupt_leaves_nothing(self):
        server = self.server()
        with server.wire() as wire:
            ask(wire, "DEBUG", "POPULATE", 300_000, "key", 200)
            ask(wire, "SAVE")
        process = subprocess.Popen([CONTROL, "import", server.folder / "dump.rdb", "--dir", self.dir], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: any(name.startswith("incoming-") for name in self.data()), 10, "the import to begin")
        process.send_signal(signal.SIGTERM)
        said, sentence = process.communicate(timeout=20)
        self.assertEqual((process.returncode, said), (1, ""), sentence)
        self.assertIn("interrupted; nothing has changed", sentence)
        self.assertEqual(self.data(), [])


@needs_millrace
class Aof(MigrationCase):
    def writer(self, **settings):
        server = self.server(appendonly="yes", appendfsync="always", auto_aof_rewrite_percentage=0, **settings)
        fill(server, 20)
        with server.wire() as wire:
            ask(wire, "BGREWRITEAOF")
            wait_for(lambda: b"aof_rewrite_in_progress:0" in ask(wire, "INFO", "persistence"), 20, "the rewriting")
            wait_for(lambda: b"aof_rewrite_scheduled:0" in ask(wire, "INFO", "persistence"), 20, "the rewriting")
        change(server)
        return server

    def plain(self, server):
        """The same AOF as one file, as Redis before 7 wrote it."""
        folder = server.folder / "appendonlydir"
        base, = folder.glob("*.base.*")
        increments = sorted(folder.glob("*.incr.aof"))
        target = self.folder / "appendonly.aof"
        target.write_bytes(b"".join(path.read_bytes() for path in [base, *increments]))
        return target

    def check_both_styles(self, server):
        expected = strings_of(server)
        for source in (server.folder / "appendonlydir", self.plain(server)):
            said = self.control("import", source, "--replace")
            self.assertIn("skipped commands: 1 RPUSH\n", said)
            self.assertNotIn("not applied", said)
            self.assertEqual(strings_of(self.loaded()), expected)

    def test_with_an_rdb_before_it(self):
        self.check_both_styles(self.writer(aof_timestamp_enabled="yes"))

    def test_of_commands_alone(self):
        self.check_both_styles(self.writer(aof_use_rdb_preamble="no"))

    def test_a_cut_end_is_what_redis_makes_of_it(self):
        source = self.plain(self.writer(aof_use_rdb_preamble="no"))
        content = source.read_bytes()
        for bytes_cut in (1, 5, 33, 100, 200):
            source.write_bytes(content[:-bytes_cut])
            self.assertIn("is left out, as Redis does", self.control("import", source, "--replace"))
            with self.subTest(bytes_cut=bytes_cut):
                old = self.folder / ("old %d" % bytes_cut)
                old.mkdir()
                shutil.copy(source, old / "appendonly.aof")
                self.assertEqual(strings_of(self.loaded()), strings_of(self.server(dir=old, appendonly="yes")))

    def test_damage_in_the_middle(self):
        source = self.plain(self.writer(aof_use_rdb_preamble="no"))
        content = bytearray(source.read_bytes())
        content[content.index(b"*3\r\n", len(content) // 2)] = ord("x")
        source.write_bytes(content)
        self.assertIn("appendonly.aof at offset", self.control("import", source, status=1))
        self.assertEqual(self.data(), [])


@needs_millrace
class Copies(MigrationCase):
    def test_a_backup_comes_back(self):
        self.control("import", self.small_rdb())
        expected = strings_of(self.loaded())
        backup = self.folder / "back up"
        self.control("backup", backup)
        self.assertEqual(sorted(os.listdir(backup)), ["instance", "snapshot-00000000000000000001"])
        self.assertIn("exists", self.control("backup", backup, status=1))
        for words in ([], ["--to-number", "1"], ["--to-time", "2100-01-01T00:00:00Z"]):
            second = self.folder / ("second" + "".join(words).replace(":", ""))
            self.control("restore", backup, *words, folder=second)
            self.assertEqual(strings_of(self.loaded(folder=second)), expected)
            self.assertEqual((second / "data" / "instance").read_text(), (self.dir / "data" / "instance").read_text())
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".partial")], [])

    def with_log(self):
        """The small RDB's keys, and a log behind them that sets key a."""
        self.control("import", self.small_rdb())
        records = {number: (b"a", b"%d" % number, 1_800_000_000 + number) for number in (2, 3, 5)}
        (self.dir / "data" / "log-00000000000000000001").write_bytes(log_file(1, records))

    def value(self, **options):
        return strings_of(self.loaded(**options))[0, b"a"][0]

    def test_the_log_counts_and_restore_goes_back_in_it(self):
        self.with_log()
        self.assertEqual(self.value(), b"5")
        backup = self.folder / "backup"
        self.assertIn("up to record 5", self.control("backup", backup))
        for words, expected in ((["--to-number", 1], b"1"), (["--to-number", 3], b"3"), (["--to-number", 4], b"3"), ([], b"5"),
                                (["--to-time", "2027-01-15T08:00:02Z"], b"2"), (["--to-time", "2027-01-15T08:00:02.999Z"], b"2"), (["--to-time", "2027-01-15T08:00:03.000Z"], b"3")):
            self.control("restore", backup, *words, "--replace")
            self.assertEqual(self.value(), expected, words)

    def test_an_instance_goes_back_in_its_own_log(self):
        self.with_log()
        self.control("restore", self.dir / "data", "--to-number", 3, "--replace")
        self.assertEqual(self.value(), b"3")
        replaced, = (self.dir / "data").glob("replaced-*")
        self.control("restore", replaced, "--replace")
        self.assertEqual(self.value(), b"5")

    def test_a_log_that_grows_is_copied_up_to_what_is_whole(self):
        self.with_log()
        log = self.dir / "data" / "log-00000000000000000001"
        whole = log.read_bytes()
        log.write_bytes(whole + b"a frame that is being written")
        self.control("backup", self.folder / "backup")
        self.assertEqual((self.folder / "backup" / log.name).read_bytes(), whole)

    def test_a_log_that_does_not_reach_back(self):
        self.with_log()
        (self.dir / "data" / "snapshot-00000000000000000001").unlink()
        self.assertIn("run BGSAVE first", self.control("backup", self.folder / "backup", status=1))
        self.assertFalse((self.folder / "backup").exists())
        self.assertIn("begins after record 1", self.control("export", self.folder / "out.rdb", status=1))
        (self.dir / "data" / "log-00000000000000000000").write_bytes(log_file(0, {1: (b"a", b"1", 1_800_000_000)}))
        (self.dir / "data" / "log-00000000000000000001").unlink()
        self.control("backup", self.folder / "backup")
        self.control("restore", self.folder / "backup", "--replace")
        self.assertEqual(self.value(), b"1")

    def test_what_cannot_be_restored(self):
        self.control("import", self.small_rdb())
        backup = self.folder / "backup"
        self.control("backup", backup)
        other = self.folder / "other"
        self.assertIn("there is no record 2", self.control("restore", backup, "--to-number", 2, status=1, folder=other))
        self.assertIn("there is no time", self.control("restore", backup, "--to-time", "2026-13-01T00:00:00", status=1, folder=other))
        for words in (["--to-time", "yesterday"], ["--to-number", "-1"], ["--to-number", "1", "--to-time", "2026-11-26T14:00:00"]):
            self.control("restore", backup, *words, status=2, folder=other)
        snapshot = backup / "snapshot-00000000000000000001"
        content = bytearray(snapshot.read_bytes())
        content[100] ^= 1
        snapshot.write_bytes(content)
        self.assertIn("snapshot-00000000000000000001: at offset 64", self.control("restore", backup, status=1, folder=other))
        self.assertEqual(os.listdir(other / "data"), [])
        self.assertIn("holds no snapshot and no log", self.control("export", self.folder / "out.rdb", status=1, folder=other))
        self.assertIn("does not exist", self.control("backup", self.folder / "new", status=1, folder=self.folder / "nowhere"))


@needs_millrace
class Running(MigrationCase):
    def test_an_instance_that_runs_is_copied_and_not_overwritten(self):
        instance = Instance()
        self.addCleanup(instance.stop)
        rdb = self.small_rdb()
        for verb, source in (("import", rdb), ("restore", self.folder)):
            ended = instance.control(verb, source, "--replace")
            self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended)
            self.assertIn("is running: stop it first", ended.stderr)
        self.assertEqual(instance.status()["state"], "running")
        ended = instance.control("backup", self.folder / "backup")
        if ended.returncode:    # nothing is on disk yet
            self.assertIn("run BGSAVE first", ended.stderr)
        self.assertEqual([name for name in os.listdir(self.folder) if name.endswith(".partial")], [])

    def test_data_that_is_in_shared_memory_alone_is_not_passed_over(self):
        instance = Instance()
        self.addCleanup(instance.stop)
        with instance.wire() as wire:
            ask(wire, "SET", "a", "1")
        for pid in [instance.status()["supervisor_pid"], *instance.pids()]:
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: not is_alive(pid), 10, "a death")
        for verb, *words in (("import", self.small_rdb(), "--replace"), ("restore", self.folder, "--replace"), ("export", self.folder / "out.rdb")):
            ended = instance.control(verb, *words)
            self.assertEqual(ended.returncode, 1, ended)
            self.assertIn("holds data in shared memory", ended.stderr)
        instance.start()
        with instance.wire() as wire:
            self.assertEqual(ask(wire, "GET", "a"), b"1")

    def test_an_instance_begins_with_what_was_imported(self):
        instance = Instance(start=False)
        self.addCleanup(instance.stop)
        ended = instance.control("import", self.small_rdb())
        self.assertEqual(ended.returncode, 0, ended)
        instance.start()
        with instance.wire() as wire:
            if ask(wire, "EXISTS", "a") == 0:
                self.skipTest("md does not load what is on disk")
            self.assertEqual(ask(wire, "GET", "a"), b"1")
            self.assertGreater(ask(wire, "PTTL", "b"), 0)
            ask(wire, "SELECT", 3)
            self.assertEqual(ask(wire, "GET", "c"), b"x" * 100)


if __name__ == "__main__":
    unittest.main()
