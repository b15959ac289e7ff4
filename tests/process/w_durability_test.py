"""What is on disk comes back: after a stop, after everything was killed and shared memory is gone, after damage; and what a sick disk does."""

import os
import random
import shutil
import signal
import time
import unittest

from changing_writer import Writer
from harness import FreshInstanceCase, Instance, needs_millrace, wait_for
from leftovers import end_processes_of, remove_shared_memory
from wire import decode

SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))


def data_files(instance, kind):
    return sorted(path for path in (instance.folder / "data").glob(kind + "-*") if not path.name.endswith(("partial", "damaged")))


def lose_memory(instance):
    """Everything dies at once, and shared memory with it: only the disk is left."""
    folder = instance.shm_folder()
    end_processes_of(instance.folder)
    remove_shared_memory(folder)


def digest(wire):
    return decode(wire.command("DEBUG", "DIGEST"))


@needs_millrace
class Kept(FreshInstanceCase):
    def durable(self, **settings):
        return self.start(io=1, **{"enable_debug_command": "yes", "proto_max_bulk_len": "512mb", "save": "3600 1", **settings})

    def again(self, instance):
        instance.start()
        return self.connect(instance)

    def test_a_stop_saves_and_a_start_loads(self):
        instance = self.durable()
        wire = self.connect(instance)
        wire.command("SET", "key", "value")
        wire.command("SET", "gone", "soon", "EX", 1000)
        before = digest(wire)
        self.assertEqual(instance.control("stop").returncode, 0)
        self.assertEqual(len(data_files(instance, "snapshot")), 1)
        wire = self.again(instance)
        self.assertEqual(digest(wire), before)
        self.assertEqual(wire.command("GET", "key"), b"$5\r\nvalue\r\n")

    def test_without_rules_and_log_a_stop_saves_nothing(self):
        instance = self.durable(save="")
        self.connect(instance).command("SET", "key", "value")
        self.assertEqual(instance.control("stop").returncode, 0)
        self.assertEqual(data_files(instance, "snapshot") + data_files(instance, "log"), [])
        self.assertEqual(self.again(instance).command("DBSIZE"), b":0\r\n")

    def test_the_log_brings_everything_back_that_was_answered(self):
        for compression in ("no", "lz4"):
            with self.subTest(compression=compression):
                instance = self.durable(appendonly="yes", appendfsync="always", log_compression=compression)
                writers = [Writer(instance, SEED + number, large=True) for number in range(3)]
                for writer in writers:
                    writer.start()
                time.sleep(1.5)
                for writer in writers:
                    writer.end()
                before = digest(self.connect(instance))
                lose_memory(instance)
                wire = self.again(instance)
                self.assertEqual(digest(wire), before, "SEED=%d" % SEED)
                self.assertIn(" 0 of the snapshot", instance.log_tails(40))
                wire.command("SET", "after", "that")
                before = digest(wire)
                lose_memory(instance)
                self.assertEqual(digest(self.again(instance)), before)

    def test_snapshots_under_a_storm_of_writes_and_kills(self):
        for log in ("yes", "no"):
            with self.subTest(appendonly=log):
                instance = self.durable(appendonly=log, appendfsync="always", save="")
                writers = [Writer(instance, SEED + 10 + number, large=True) for number in range(3)]
                for writer in writers:
                    writer.start()
                wire = self.connect(instance)
                for round_number in range(3):
                    self.assertEqual(wire.command("SAVE")[:3], b"+OK", instance.log_tails())
                    os.kill(instance.pids("md")[0], signal.SIGKILL)
                    wait_for(lambda: len(instance.pids("md_standby")) == 1, 30, "a standby")
                    if round_number == 1:
                        os.kill(instance.pids("md_log")[0], signal.SIGKILL)
                        wait_for(lambda: len(instance.pids("md_log")) == 1 and instance.status()["state"] == "running", 30, "md_log again")
                for writer in writers:
                    writer.end()
                if log == "no":     # what came after the last snapshot is not promised
                    self.assertEqual(wire.command("SAVE")[:3], b"+OK", instance.log_tails())
                before = digest(wire)
                self.assertLessEqual(len(data_files(instance, "snapshot")), 2)
                checked = instance.control("check")
                self.assertEqual(checked.returncode, 0, checked.stdout)
                lose_memory(instance)
                wire = self.again(instance)
                self.assertEqual(digest(wire), before, "SEED=%d\n%s" % (SEED, instance.log_tails()))

    def test_restart_keeps_the_log_going(self):
        instance = self.durable(appendonly="yes")
        wire = self.connect(instance)
        wire.command("SET", "one", 1)
        self.assertEqual(instance.control("restart").returncode, 0)
        wire = self.connect(instance)
        wire.command("SET", "two", 2)
        before = digest(wire)
        self.assertEqual(instance.control("stop").returncode, 0)
        self.assertEqual(len(data_files(instance, "log")), 1)
        self.assertEqual(digest(self.again(instance)), before)

    def test_the_log_can_be_switched_on_and_off(self):
        instance = self.durable(save="")
        wire = self.connect(instance)
        wire.command("SET", "before", 1)
        self.assertEqual(wire.command("CONFIG", "SET", "appendonly", "yes"), b"+OK\r\n")
        wait_for(lambda: data_files(instance, "snapshot"), 20, "the snapshot with which the log begins")
        wire.command("CONFIG", "SET", "appendfsync", "always")
        time.sleep(0.3)
        wire.command("SET", "after", 1)
        before = digest(wire)
        lose_memory(instance)
        wire = self.again(instance)
        self.assertEqual(digest(wire), before)

    def test_what_was_done_while_the_log_was_off_is_not_lost(self):
        instance = self.durable(appendonly="yes", appendfsync="always", save="")
        wire = self.connect(instance)
        for turn in range(3):
            wire.command("SET", "on:%d" % turn, turn)
            self.assertEqual(wire.command("CONFIG", "SET", "appendonly", "no"), b"+OK\r\n")
            wire.command("SET", "off:%d" % turn, turn)
            self.assertEqual(wire.command("CONFIG", "SET", "appendonly", "yes"), b"+OK\r\n")
            wait_for(lambda: b"log_durable_number:all" not in wire.command("INFO", "everything"), 20, "the log, with what is before it, to give all back")
        wire.command("SET", "last", 1)
        before = digest(wire)
        lose_memory(instance)
        self.assertEqual(digest(self.again(instance)), before)

    def test_the_log_off_and_on_while_a_snapshot_is_written(self):
        """The snapshot under way needs the log of all that time: it is begun again, and takes the place of none that is good."""
        keys, pick = 40_000, random.Random(SEED)
        instance = self.durable(appendonly="yes", appendfsync="always", save="", snapshot_rate=1_000_000)
        wire = self.connect(instance)
        wire.command("DEBUG", "POPULATE", keys)
        for pause in (0.3, 0.6, 1.0):
            for turn in range(6):
                self.assertEqual(wire.command("CONFIG", "SET", "appendonly", "no"), b"+OK\r\n")
                wire.command("SET", "off:%d" % turn, pause)
                self.assertEqual(wire.command("CONFIG", "SET", "appendonly", "yes"), b"+OK\r\n")
                wire.command("SET", "on:%d" % turn, pause)
                time.sleep(pause * (0.8 + pick.random() * 0.4))
            lose_memory(instance)       # perhaps before there is a snapshot again: what was there before the log was off is there in any case
            wire = self.again(instance)
            self.assertGreaterEqual(decode(wire.command("DBSIZE")), keys, "SEED=%d" % SEED)
        wire.command("CONFIG", "SET", "appendonly", "no")
        wire.command("SET", "off", 1)
        wire.command("CONFIG", "SET", "appendonly", "yes")
        wait_for(lambda: b"log_durable_number:all" not in wire.command("INFO", "everything"), 30, "the log, with what is before it, to give all back")
        wire.command("SET", "last", 1)
        before = digest(wire)
        lose_memory(instance)
        self.assertEqual(digest(self.again(instance)), before, "SEED=%d" % SEED)

    def test_what_comes_behind_a_hole_is_put_aside(self):
        instance = self.durable(appendonly="yes")
        wire = self.connect(instance)
        for turn in range(2):
            wire.command("SET", "key:%d" % turn, turn)
            self.assertEqual(wire.command("SAVE"), b"+OK\r\n")
        for number in range(300):
            wire.command("SET", "behind", "the hole: %d" % number)
        self.assertEqual(instance.control("stop").returncode, 0)
        data_files(instance, "snapshot")[-1].unlink()
        data_files(instance, "log")[-2].unlink()
        for turn in range(2):       # and the next start finds nothing in its way
            wire = self.again(instance)
            self.assertEqual(wire.command("MGET", "key:0", "key:1", "behind"), b"*3\r\n$1\r\n0\r\n$-1\r\n$-1\r\n")
            self.assertEqual(wire.command("SET", "goes", "on"), b"+OK\r\n")
            self.assertEqual(instance.control("stop").returncode, 0)

    def test_a_snapshot_that_was_broken_off_is_in_nobody_s_way(self):
        instance = self.durable(save="", snapshot_rate=1_000_000)
        wire = self.connect(instance)
        wire.command("DEBUG", "POPULATE", 30_000)
        wire.command("BGSAVE")
        wait_for(lambda: b"rdb_bgsave_in_progress:1" in wire.command("INFO", "persistence"), 10, "the snapshot to begin")
        os.kill(instance.pids("md_log")[0], signal.SIGKILL)
        wait_for(lambda: instance.pids("md_log"), 10, "another md_log")
        wire.command("BGSAVE")
        wait_for(lambda: wire.command("SET", "key", "value") == b"+OK\r\n", 10, "writes to be taken")
        self.assertEqual(wire.command("SAVE"), b"+OK\r\n")

    def test_an_older_snapshot_is_not_taken_with_a_log_that_has_a_hole(self):
        instance = self.durable(save="3600 1")
        wire = self.connect(instance)
        for turn in range(3):       # the log is on while a snapshot is written, and off between
            wire.command("SET", "key:%d" % turn, turn)
            self.assertEqual(wire.command("SAVE"), b"+OK\r\n")
            wire.command("SET", "between:%d" % turn, turn)
        self.assertEqual(instance.control("stop").returncode, 0)
        newest = data_files(instance, "snapshot")[-1]
        newest.write_bytes(newest.read_bytes()[:-1])
        self.assertEqual(instance.control("start", *instance.start_arguments(), "--repair").returncode, 0)
        keys = ["%s:%d" % (name, turn) for turn in range(3) for name in ("key", "between")]
        found = [value is not None for value in decode(self.connect(instance).command("MGET", *keys))]
        self.assertTrue(any(found))
        self.assertEqual(found, sorted(found, reverse=True), "data with a hole was loaded")

    def test_old_files_go(self):
        instance = self.durable(appendonly="yes")
        wire = self.connect(instance)
        for number in range(4):
            wire.command("SET", "key", number)
            self.assertEqual(wire.command("SAVE"), b"+OK\r\n")
        self.assertEqual(len(data_files(instance, "snapshot")), 2)
        self.assertLessEqual(len(data_files(instance, "log")), 3)


@needs_millrace
class Damage(FreshInstanceCase):
    def stopped(self, **settings):
        """An instance with a log of 200 keys, stopped."""
        instance = self.start(io=1, appendonly="yes", **settings)
        wire = self.connect(instance)
        for number in range(200):
            wire.command("SET", "key:%d" % number, "v" * 50)
        self.assertEqual(instance.control("stop").returncode, 0)
        return instance

    def test_a_torn_tail_is_cut_with_a_message(self):
        instance = self.stopped()
        log = data_files(instance, "log")[-1]
        with open(log, "ab") as file:
            file.write(b"\x01torn")
        instance.start()
        self.assertEqual(self.connect(instance).command("DBSIZE"), b":200\r\n")
        self.assertIn("cut off", instance.log_tails(40))

    def test_damage_in_the_middle_stops_the_start_and_repair_goes_on(self):
        instance = self.stopped()
        log = data_files(instance, "log")[-1]
        content = bytearray(log.read_bytes())
        content[len(content) // 2] ^= 1
        with open(log, "wb") as file:
            file.write(content)
        ended = instance.control("start", *instance.start_arguments())
        self.assertEqual(ended.returncode, 1)
        for word in (log.name, "offset", "--repair"):
            self.assertIn(word, ended.stderr)
        self.assertEqual(instance.control("check").returncode, 1)
        ended = instance.control("start", "--repair", *instance.start_arguments())
        self.assertEqual(ended.returncode, 0, ended.stderr)
        keys = int(self.connect(instance).command("DBSIZE")[1:])
        self.assertGreater(keys, 50)
        self.assertLess(keys, 200)
        self.assertTrue(list((instance.folder / "data").glob("*.damaged")))

    def test_a_damaged_snapshot_stops_the_start(self):
        instance = self.stopped()
        instance.start()
        wire = self.connect(instance)
        self.assertEqual(wire.command("SAVE"), b"+OK\r\n")
        wire.command("SET", "more", 1)
        self.assertEqual(wire.command("SAVE"), b"+OK\r\n")
        self.assertEqual(instance.control("stop").returncode, 0)
        newest = data_files(instance, "snapshot")[-1]
        os.truncate(newest, newest.stat().st_size - 1)
        ended = instance.control("start", *instance.start_arguments())
        self.assertEqual(ended.returncode, 1)
        self.assertIn(newest.name, ended.stderr)
        ended = instance.control("start", "--repair", *instance.start_arguments())
        self.assertEqual(ended.returncode, 0, ended.stderr)
        self.assertEqual(self.connect(instance).command("DBSIZE"), b":201\r\n")


if __name__ == "__main__":
    unittest.main()
