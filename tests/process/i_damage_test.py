"""The store's segment damaged while no md runs, and shared memory that is full: a sentence, a fallback, and no harm beyond it."""

import ctypes
import os
import signal
import struct
import subprocess
import threading
import time
import unittest

from h_takeover_test import md_pids
from harness import FreshInstanceCase, all_up, needs_millrace, wait_for
from wire import WireClosed, WireTimeout, decode, encode

CLONE_NEWNS, CLONE_NEWUSER = 0x00020000, 0x10000000
SMALL_SHM_BYTES = 48 * 1024 * 1024
VALUE = "v" * 10_000
COMMITTED_AT = 4096 + 4096 + 128      # of the root's second pair of cache lines, common/store_layout.h
GARBAGE_AT = COMMITTED_AT + 128 + 40
LARGE = "l" * 500_000
KEY_COUNT = 1000
REFUSALS_OF_FULL_MEMORY = 32
RING_BYTES = 1 << 20


def enter_mount_namespace():
    """From here on this process and its children see mounts of their own; False where the system does not allow it."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() == 0:
        if libc.unshare(CLONE_NEWNS) != 0:
            return False
    else:
        ids = os.geteuid(), os.getegid()
        if libc.unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0:
            return False
        for name, text in (("setgroups", "deny"), ("uid_map", "0 %d 1" % ids[0]), ("gid_map", "0 %d 1" % ids[1])):
            with open("/proc/self/" + name, "w") as file:
                file.write(text)
    return subprocess.run(["mount", "--make-rprivate", "/"], capture_output=True, check=False).returncode == 0


def value_of(instance, *command):
    """The decoded reply of a command on a connection of its own; None when there is none yet."""
    try:
        with instance.wire(timeout=5) as wire:
            value = decode(wire.command(*command))
            return value.decode() if isinstance(value, bytes) else value
    except (OSError, WireClosed, WireTimeout):
        return None


@needs_millrace
class DamagedStore(FreshInstanceCase):
    def damage(self, change):
        """Fills a store, ends both md without anybody starting another, changes the file, and lets the group go on."""
        instance = self.start()
        with instance.wire() as wire:
            for number in range(100):
                wire.command("SET", "k%d" % number, "v")
        both = wait_for(lambda: md_pids(instance), 20, "md and its standby")
        supervisor = instance.status()["supervisor_pid"]
        os.kill(supervisor, signal.SIGSTOP)
        try:
            for pid in both:
                os.kill(pid, signal.SIGKILL)
            path = instance.shm_folder() / "store"
            with open(path, "r+b") as file:
                change(file)
        finally:
            os.kill(supervisor, signal.SIGCONT)
        wait_for(lambda: set(md_pids(instance) or both).isdisjoint(both), 30, "two other md")
        wait_for(lambda: all_up(instance), 30, "all processes")
        instance.remember()
        return instance

    def begins_empty(self, change, sentence):
        instance = self.damage(change)
        self.assertEqual(wait_for(lambda: value_of(instance, "SET", "new", "1"), 20, "a client to be served"), "OK")
        self.assertEqual(value_of(instance, "DBSIZE"), 1)
        self.assertTrue((instance.shm_folder() / "store.refused").exists())
        logs = instance.log_tails(200)
        self.assertIn(sentence, logs)
        self.assertIn("put aside as", logs)
        restarts = sum(process["restarts"] for process in instance.processes("md") + instance.processes("md_standby"))
        self.assertLessEqual(restarts, 4, "md was started again and again")
        # What follows is an instance like any other: a killed md is not noticed.
        os.kill(md_pids(instance)[0], signal.SIGKILL)
        self.assertEqual(value_of(instance, "GET", "new"), "1")

    def test_a_flipped_bit_in_the_magic_number(self):
        def change(file):
            first = file.read(1)
            file.seek(0)
            file.write(bytes([first[0] ^ 1]))
        self.begins_empty(change, "it is not a millrace segment")

    def test_another_layout(self):
        def change(file):
            file.seek(8)
            word = struct.unpack("<Q", file.read(8))[0]
            file.seek(8)
            file.write(struct.pack("<Q", word ^ 1))
        self.begins_empty(change, "another layout")

    def test_a_commit_without_its_list(self):
        def change(file):
            file.seek(COMMITTED_AT)
            file.write(struct.pack("<Q", 12345))
        self.begins_empty(change, "the commit that was under way has no list")

    def test_another_instance(self):
        with_another = self.start()
        with open(with_another.shm_folder() / "store", "rb") as file:
            header = file.read(4096)
        self.begins_empty(lambda file: file.write(header), "it belongs to instance")

    def test_truncated(self):
        self.begins_empty(lambda file: file.truncate(100 * 4096), "its header says")

    def test_md_fails_on_what_it_finds(self):
        """Nothing in the header tells it: md after md follows a wild reference, until the store is put aside."""
        def change(file):
            file.seek(GARBAGE_AT)
            file.write(struct.pack("<Q", (1 << 39) + 4096))
        instance = self.damage(change)
        wait_for(lambda: value_of(instance, "DBSIZE") == 0, 30, "an empty store")
        self.assertEqual(value_of(instance, "SET", "new", "1"), "OK")
        wait_for(lambda: all_up(instance), 30, "all processes")
        self.assertTrue((instance.shm_folder() / "store.refused").exists())
        self.assertIn("times while it executed no request", instance.log_tails(200))
        os.kill(wait_for(lambda: md_pids(instance), 20, "md and its standby")[0], signal.SIGKILL)
        self.assertEqual(value_of(instance, "GET", "new"), "1")
        instance.remember()

    def test_a_roster_that_was_removed(self):
        instance = self.start()
        self.assertEqual(value_of(instance, "SET", "k", "v"), "OK")
        os.unlink(instance.shm_folder() / "roster")
        os.kill(wait_for(lambda: md_pids(instance), 20, "md and its standby")[0], signal.SIGKILL)
        wait_for(lambda: value_of(instance, "GET", "k") == "v", 30, "the group to serve again, with its data")
        wait_for(lambda: all_up(instance), 30, "all processes")
        instance.remember()

    def test_nothing_left_of_it(self):
        self.begins_empty(lambda file: file.truncate(0), "is no segment's")


@needs_millrace
class FullSharedMemory(FreshInstanceCase):
    def setUp(self):
        if not enter_mount_namespace():
            self.skipTest("the system allows no mount namespace")

    def test_writers_are_told_reads_go_on_and_freed_memory_is_used_again(self):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d,mode=1777" % SMALL_SHM_BYTES, "millrace-test", "/mnt"],
                                 capture_output=True, text=True, check=False)
        self.assertEqual(mounted.returncode, 0, mounted.stderr)
        folder = "/mnt"
        instance = self.start(io=1, shm_dir=folder, ring_size=RING_BYTES)
        with instance.wire() as wire:
            wire.command("SET", "large before", LARGE)
            stored = 0
            while True:
                reply = wire.command("SET", "k%d" % stored, VALUE)
                if reply.startswith(b"-"):
                    break
                stored += 1
                self.assertLess(stored, SMALL_SHM_BYTES // len(VALUE), "the memory never became full")
            self.assertTrue(reply.startswith(b"-OOM "), reply)
            self.assertGreater(stored, KEY_COUNT)
            # What was refused may have wanted room in the index only: keys that need none there take the chunks that are left.
            further = refused = 0
            for number in range(KEY_COUNT):
                if refused == REFUSALS_OF_FULL_MEMORY:
                    break
                reply = wire.command("SET", "further%d" % number, VALUE)
                further, refused = (further + 1, 0) if reply == b"+OK\r\n" else (further, refused + 1)
            self.assertEqual(refused, REFUSALS_OF_FULL_MEMORY, "the memory never became full")
            # Small and large, new and old: every write is told, nothing is lost by it.
            for command in (("SET", "large", "x" * 900_000), ("APPEND", "k0", VALUE), ("MSET", "a", VALUE, "b", VALUE)):
                reply = wire.command(*command)
                self.assertTrue(reply.startswith(b"-OOM "), "%s: %r" % (command[0], reply[:100]))
            for number in (0, stored // 2, stored - 1):
                self.assertEqual(decode(wire.command("GET", "k%d" % number)), VALUE.encode())
            self.assertEqual(decode(wire.command("GET", "large before")), LARGE.encode())
            self.assertEqual(decode(wire.command("DBSIZE")), stored + further + 1)
            # Many at once, more than the ring can hold, and their reader slow.
            count = 2 * RING_BYTES // len(VALUE)
            wire.send(b"".join(encode("GET", "k%d" % number) for number in range(count)))
            time.sleep(0.2)
            for number in range(count):
                self.assertEqual(decode(wire.reply()), VALUE.encode(), "GET number %d of a pipeline" % number)
            # Neither does it hinder a take-over, again and again.
            for _ in range(3):
                os.kill(wait_for(lambda: md_pids(instance), 20, "md and its standby")[0], signal.SIGKILL)
                self.assertEqual(decode(wire.command("GET", "k1")), VALUE.encode())
        self.assertNotIn("cannot take", instance.log_tails(200))
        # What has died or is restarted finds the memory that it had before.
        os.kill(instance.pids("io_conn")[0], signal.SIGKILL)
        wait_for(lambda: value_of(instance, "DBSIZE") == stored + further + 1, 20, "the io_conn to be back")
        wait_for(lambda: all_up(instance), 20, "all processes")
        restarted = instance.control("restart")
        self.assertEqual(restarted.returncode, 0, restarted.stderr)
        self.assertEqual(wait_for(lambda: value_of(instance, "DBSIZE"), 20, "the group to be back"), stored + further + 1)
        wait_for(lambda: all_up(instance), 20, "all processes")
        instance.remember()
        with instance.wire() as wire:
            self.assertEqual(decode(wire.command("DEL", *["k%d" % number for number in range(stored // 2)])), stored // 2)
            again = wait_for(lambda: wire.command("SET", "again", VALUE) == b"+OK\r\n", 10, "freed memory to be usable")
            self.assertTrue(again)
            for number in range(stored // 4):
                self.assertEqual(wire.command("SET", "n%d" % number, VALUE), b"+OK\r\n")
            self.assertEqual(decode(wire.command("DBSIZE")), stored - stored // 2 + further + 2 + stored // 4)
        checked = instance.control("check")
        self.assertEqual(checked.returncode, 0, checked.stdout + checked.stderr)


    def test_a_killed_io_conn_is_back_although_others_go_on_writing(self):
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%d,mode=1777" % SMALL_SHM_BYTES, "millrace-test", "/mnt"],
                                 capture_output=True, text=True, check=False)
        self.assertEqual(mounted.returncode, 0, mounted.stderr)
        instance, ended, full = self.start(io=2, shm_dir="/mnt", ring_size=RING_BYTES), threading.Event(), threading.Event()

        def write(name):
            number = 0
            while not ended.is_set():
                try:
                    with instance.wire(timeout=20) as wire:
                        while not ended.is_set():
                            number += 20
                            wire.send(b"".join(encode("SET", "%s%d" % (name, number + i), VALUE) for i in range(20)))
                            if b"-OOM " in b"".join(wire.replies(20)):
                                full.set()
                except (OSError, AssertionError):
                    time.sleep(0.01)            # its io_conn was killed

        threads = [threading.Thread(target=write, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        try:
            self.assertTrue(full.wait(60), "the memory never became full")
            for number in range(8):
                victim = instance.pids("io_conn")[number % 2]
                os.kill(victim, signal.SIGKILL)
                wait_for(lambda: all_up(instance) and victim not in instance.pids("io_conn"), 10, "the io_conn to be back after kill %d" % number)
        finally:
            ended.set()
            for thread in threads:
                thread.join()
        instance.remember()


if __name__ == "__main__":
    unittest.main()
