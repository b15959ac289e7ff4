"""SAVE, BGSAVE, BGREWRITEAOF, LASTSAVE and INFO persistence answer as redis-server does, by what md_log says; one written here stands in for it."""

import os
import re
import time
import unittest

import compare
from compare import CompareCase, start_sides, stop_sides
from fake_md_log import FakeMdLog
from harness import FreshInstanceCase, needs_millrace, wait_for
from wire import encode

OK = b"+OK\r\n"
UNDER_WAY = b"-ERR Background save already in progress\r\n"
STARTED = b"+Background saving started\r\n"
REWRITES = b"+Background append only file rewriting started\r\n"
TABLE = ("CONFIG", "SET", "save", "", "appendfsync", "everysec", "rdbcompression", "yes", "stop-writes-on-bgsave-error", "yes",
         "auto-aof-rewrite-percentage", "100", "auto-aof-rewrite-min-size", "64mb")


def setUpModule():
    start_sides()


def tearDownModule():
    stop_sides()


class AsRedisAnswers(CompareCase):
    def test_command_rows(self):
        self.each_same(*["COMMAND INFO %s" % name for name in ("save", "bgsave", "bgrewriteaof", "lastsave")])

    def test_words_that_are_wrong(self):
        self.same("SAVE x", "BGSAVE x", "BGSAVE SCHEDULE x", "BGREWRITEAOF x", "LASTSAVE x", "MULTI", "SAVE", "EXEC", "MULTI", "BGSAVE x", "BGSAVE SCHEDULE x", "EXEC")

    def test_options(self):
        show = ["CONFIG GET %s" % name for name in TABLE[2::2]]
        for words in (("save", "60 1"), ("save", "60 1 10 5"), ("save", "60 0"), ("save", "010 05"), ("save", "10 "), ("save", " 10 1"), ("save", "10  1"), ("save", "x"), ("save", "10"),
                      ("save", "0 1"), ("save", "10 1 20"), ("save", "10 -1"), ("save", "10 1", "save", "20 2"), ("appendfsync", "always"), ("appendfsync", "NO"), ("appendfsync", "x"),
                      ("rdbcompression", "no"), ("rdbcompression", "x"), ("stop-writes-on-bgsave-error", "no"), ("stop-writes-on-bgsave-error", "1"),
                      ("auto-aof-rewrite-percentage", "0"), ("auto-aof-rewrite-percentage", "-1"), ("auto-aof-rewrite-percentage", "x"), ("auto-aof-rewrite-min-size", "1kb"),
                      ("auto-aof-rewrite-min-size", "x"), ("auto-aof-rewrite-min-size", "-1"), ("appendonly", "x"), ("save", "60 1", "appendfsync", "x")):
            with self.subTest(words=words):
                self.same(TABLE, ("CONFIG", "SET", *words), *show)
        self.same(TABLE, *show)


class SaveCase(FreshInstanceCase):
    def begin(self, **settings):
        instance = self.start(io=1, **settings)
        words = FakeMdLog(instance)
        self.addCleanup(words.end)
        return instance, words, self.connect(instance)

    def info(self, wire, section="persistence"):
        return dict(line.split(":", 1) for line in wire.command("INFO", section).decode().split("\r\n") if ":" in line)


@needs_millrace
class Commands(SaveCase):
    def test_save_waits_for_the_disk(self):
        instance, words, wire = self.begin()
        other = self.connect(instance)
        wire.send(encode("SAVE") + encode("PING"))
        self.assertTrue(wire.silent(0.2))
        self.assertEqual(other.command("PING"), b"+PONG\r\n")
        other.send(encode("SAVE"))
        self.assertTrue(other.silent(0.1))
        words.save_seen0 = 1
        self.assertEqual([wire.reply(), wire.reply()], [OK, b"+PONG\r\n"])
        self.assertTrue(other.silent(0.1))
        words.save_failed0 = 2
        self.assertEqual(other.reply(), b"-ERR\r\n")
        words.save_seen0 = 3
        self.assertEqual(other.command("SAVE"), OK)

    def test_save_comes_behind_what_its_client_has_sent(self):
        instance, words, wire = self.begin()
        wire.send(encode("INCR", "n") * 100 + encode("SAVE") + encode("INCR", "n"))
        for number in range(1, 101):
            self.assertEqual(wire.reply(), b":%d\r\n" % number)
        self.assertTrue(wire.silent(0.1))
        words.save_seen0 = 1
        self.assertEqual([wire.reply(), wire.reply()], [OK, b":101\r\n"])

    def test_a_client_that_goes_while_it_waits(self):
        instance, words, wire = self.begin()
        with instance.wire() as going:
            going.send(encode("SAVE"))
            self.assertTrue(going.silent(0.1))
        killed = self.connect(instance)
        number = killed.command("CLIENT", "ID")[1:-2]
        killed.send(encode("SAVE"))
        self.assertTrue(killed.silent(0.1))
        self.assertEqual(wire.command("CLIENT", "KILL", "ID", number), b":1\r\n")
        self.assertEqual(killed.until_closed(), b"")
        words.save_seen0 = 2
        wait_for(lambda: instance.counters("io_conn", "connected_clients") == [1], 5, "the others to be gone")
        words.save_seen0 = 3
        self.assertEqual(wire.command("SAVE"), OK)

    def test_md_log_is_woken_when_it_sleeps(self):
        instance, words, wire = self.begin()
        fifo = os.open(instance.folder / "run" / "md_log-0.fifo", os.O_RDWR | os.O_NONBLOCK)
        self.addCleanup(os.close, fifo)
        words.park = 2
        self.assertEqual(wire.command("BGSAVE"), STARTED)
        self.assertEqual(wire.command("BGSAVE"), UNDER_WAY)
        words.save_seen0 = 1
        with self.assertRaises(BlockingIOError):
            os.read(fifo, 1)
        words.park = 3
        self.assertEqual(wire.command("BGSAVE"), STARTED)
        self.assertEqual(len(os.read(fifo, 10)), 1)

    def test_while_a_snapshot_is_written(self):
        _instance, words, wire = self.begin()
        words.saving = 1
        for command in (("BGSAVE",), ("BGSAVE", "SCHEDULE")):
            self.assertEqual(wire.command(*command), UNDER_WAY, command)
        self.assertEqual(wire.command("BGREWRITEAOF"), b"+Background append only file rewriting scheduled\r\n")
        words.saving = 0
        self.assertEqual(wire.command("BGSAVE"), UNDER_WAY)     # that one has still to come
        self.assertEqual(self.info(wire)["rdb_bgsave_in_progress"], "1")
        words.save_seen0 = 1
        self.assertEqual(self.info(wire)["rdb_bgsave_in_progress"], "0")
        self.assertEqual(wire.command("BGSAVE", "schedule"), STARTED)
        words.save_failed0 = 2
        self.assertEqual(wire.command("BGREWRITEAOF"), REWRITES)
        words.save_seen0 = 4
        self.assertEqual(wire.command("SAVE"), OK)     # three were asked for before

    def test_a_transaction_is_executed_before_it_is_saved(self):
        _instance, words, wire = self.begin()
        other = self.connect(_instance)
        replies = [wire.command(*each) for each in (("MULTI",), ("SET", "k", "v"), ("BGSAVE",), ("BGREWRITEAOF",), ("EXEC",))]
        self.assertEqual(replies[-1], b"*3\r\n+OK\r\n+Background saving scheduled\r\n+Background append only file rewriting scheduled\r\n")
        words.save_seen0 = 2
        self.assertEqual(wire.command("SAVE"), OK)     # both are one request
        for each in (("WATCH", "k"), ("MULTI",), ("BGSAVE",)):
            wire.command(*each)
        self.assertEqual(other.command("SET", "k", "w"), OK)
        self.assertEqual(wire.command("EXEC"), b"*-1\r\n")
        words.save_seen0 = 3
        self.assertEqual(wire.command("SAVE"), OK)     # what was not executed has asked for none

    def test_lastsave(self):
        _instance, words, wire = self.begin()
        began = int(wire.command("LASTSAVE")[1:-2])
        self.assertLess(abs(began - time.time()), 60)
        self.assertEqual(int(self.info(wire)["rdb_last_save_time"]), began)
        words.last_save_s = 1700000000
        self.assertEqual(wire.command("LASTSAVE"), b":1700000000\r\n")

    def test_while_data_is_loaded(self):
        _instance, words, wire = self.begin()
        words.loading = 1
        for name in ("SAVE", "BGSAVE", "BGREWRITEAOF"):
            self.assertEqual(wire.command(name), b"-LOADING Redis is loading the dataset in memory\r\n")
        self.assertTrue(wire.command("LASTSAVE").startswith(b":"))


@needs_millrace
class Info(SaveCase):
    def test_of_snapshots(self):
        _instance, words, wire = self.begin()
        for number in range(5):
            wire.command("SET", "k%d" % number, "v")
        fresh = self.info(wire)
        self.assertEqual([fresh[name] for name in ("loading", "rdb_bgsave_in_progress", "rdb_saves", "rdb_last_bgsave_status", "rdb_last_bgsave_time_sec", "rdb_current_bgsave_time_sec",
                                                   "aof_enabled", "aof_last_write_status")], ["0", "0", "0", "ok", "-1", "-1", "0", "ok"])
        self.assertNotIn("loading_start_time", fresh)
        words.changes, words.changes_saved = 120, 100
        words.saves, words.last_save, words.last_save_took_s, words.last_save_s = 7, 2, 12, 1700000000
        words.saving, words.save_keys, words.save_began_s = 1, 3, int(time.time()) - 100
        shown = self.info(wire)
        self.assertEqual([shown[name] for name in ("rdb_changes_since_last_save", "rdb_saves", "rdb_last_bgsave_status", "rdb_last_bgsave_time_sec", "rdb_last_save_time",
                                                   "rdb_bgsave_in_progress", "current_save_keys_processed", "current_save_keys_total", "aof_rewrite_in_progress")],
                         ["20", "7", "err", "12", "1700000000", "1", "3", "5", "0"])
        self.assertIn(int(shown["rdb_current_bgsave_time_sec"]), range(100, 110))

    def test_of_the_log(self):
        _instance, words, wire = self.begin(appendonly="yes")
        words.log_bytes, words.log_syncs = 4711, 5
        words.durable_number = 3
        words.error, words.trouble = 28, 1
        shown = self.info(wire)
        self.assertEqual([shown[name] for name in ("aof_enabled", "aof_current_size", "aof_last_write_status", "aof_rewrite_in_progress")], ["1", "4711", "err", "0"])
        words.trouble, words.saving = 0, 1
        self.assertEqual([self.info(wire)[name] for name in ("aof_last_write_status", "aof_rewrite_in_progress")], ["ok", "1"])
        ours = self.info(wire, "millrace")
        self.assertEqual([ours[name] for name in ("log_durable_number", "log_syncs", "disk_trouble")], ["3", "5", "none"])
        unread = int(ours["oplog_unread_bytes"])
        wire.command("SET", "k", "v" * 1000)
        self.assertGreater(int(self.info(wire, "millrace")["oplog_unread_bytes"]), unread + 1000)

    def test_of_loading(self):
        _instance, words, wire = self.begin()
        words.loading, words.load_began_s, words.load_bytes, words.load_bytes_done = 1, int(time.time()) - 10, 1000, 250
        shown = self.info(wire)
        self.assertEqual([shown[name] for name in ("loading", "loading_total_bytes", "loading_loaded_bytes", "loading_loaded_perc")], ["1", "1000", "250", "25.00"])
        self.assertIn(int(shown["loading_eta_seconds"]), range(29, 40))
        self.assertEqual(int(shown["loading_start_time"]), words.load_began_s)
        words.load_bytes = words.load_bytes_done = 0
        self.assertEqual(self.info(wire)["loading_loaded_perc"], "0.00")

    def test_our_fields_are_redis_s(self):
        """All that redis-server has in this section, and nothing else."""
        _instance, _words, wire = self.begin()
        with compare.sides.oracle.wire() as oracle:
            theirs = re.findall(rb"\n(\w+):", oracle.command("INFO", "persistence"))
        self.assertEqual(re.findall(rb"\n(\w+):", wire.command("INFO", "persistence")), theirs)


if __name__ == "__main__":
    unittest.main()
