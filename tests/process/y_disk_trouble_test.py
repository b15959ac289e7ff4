"""A disk that is full, fails, or forgets: writes are refused with Redis's words, reads go on, it mends itself, and nothing that was answered is lost.

The disk is the shim's (tests/disk) under md_log. MILLRACE_LONG=1 injects each fault at the first call of its kind, the second, and so on, until the
workload does not reach it any more.
"""

import glob
import json
import os
import shutil
import threading
import time
import unittest

from disk_case import LIBRARY
from disk_shim import DiskShim
from harness import PROGRAMS, Failed, FreshInstanceCase, Instance, needs_millrace, new_folder, run, wait_for
from leftovers import end_processes_of, remove_shared_memory
from wire import WireClosed, WireTimeout

REFUSAL = b"-MISCONF Errors writing to the AOF file: "
LARGE = "v" * 3000      # has sectors of its own
LONG = bool(os.environ.get("MILLRACE_LONG"))
KILLS = ("kill-before", "kill-after")
# What each kind of call may meet; half a write is an error's beginning.
FAULTS = {
    "write": ("{0}:ENOSPC", "{0}:EIO", "{0}:short", "{0}:short,write:{1}:ENOSPC", *("{0}:" + kill for kill in KILLS)),
    "sync": ("{0}:EIO", "{0}:ENOSPC", *("{0}:" + kill for kill in KILLS)),
    "dirsync": ("{0}:EIO", *("{0}:" + kill for kill in KILLS)),
    "open": ("{0}:ENOSPC", "{0}:EMFILE", *("{0}:" + kill for kill in KILLS)),
    "rename": ("{0}:EIO", "{0}:ENOSPC", *("{0}:" + kill for kill in KILLS)),
    "truncate": ("{0}:EIO", *("{0}:" + kill for kill in KILLS)),
    "unlink": ("{0}:EIO", *("{0}:" + kill for kill in KILLS)),
}
# Of them, and at which call, where there is no time for all.
FEW = {"write": {1: "{0}:kill-before", 2: "{0}:ENOSPC", 5: "{0}:short,write:{1}:ENOSPC"}, "sync": {2: "{0}:kill-before", 3: "{0}:kill-after"},
       "rename": {2: "{0}:EIO"}, "truncate": {1: "{0}:EIO"}}
FAILURES_MAX = 3    # then it goes on with no other call


def keys_in(folder):
    """What the newest snapshot has, and the log behind it."""
    paths = sorted(glob.glob(glob.escape(str(folder)) + "/snapshot-" + "[0-9]" * 20))[-1:] + [folder]
    return {json.loads(line)["key"] for line in run([PROGRAMS / "oplogdump", "--json", *paths]).stdout.splitlines() if line.startswith("{")}


class ShimCase(FreshInstanceCase):
    def on_shim(self, *faults, **settings):
        scratch = new_folder("shim")
        self.addCleanup(shutil.rmtree, scratch, ignore_errors=True)
        instance = Instance(io=1, start=False, **{"appendonly": "yes", "save": "", **settings})
        self.addCleanup(instance.destroy)
        (instance.folder / "data").mkdir(parents=True, exist_ok=True)
        shim = DiskShim(LIBRARY, instance.folder / "data", scratch / "journal", "md_log", list(faults))
        with shim.in_environment():
            instance.start()
        return instance, shim

    def after_power_loss(self, instance, shim, seed=1, keep="random"):
        """Another instance on what the disk has."""
        memory = instance.shm_folder()
        end_processes_of(instance.folder)
        remove_shared_memory(memory)
        other = Instance(io=1, start=False, appendonly="yes", save="")
        self.addCleanup(other.stop)
        shim.make_outcome(other.folder / "data", seed, keep)
        other.start()
        return self.connect(other)

    def write_until(self, wire, wanted, seconds=20, value="v"):
        """Sets keys until a reply begins as wanted; gives the answered ones."""
        answered, until = [], time.monotonic() + seconds
        while time.monotonic() < until:
            key = "key:%d:%d" % (id(wire), len(answered))
            reply = wire.command("SET", key, value)
            if reply == b"+OK\r\n":
                answered.append(key)
            if reply.startswith(wanted):
                return answered
            time.sleep(0.01)
        self.fail("no %r within %d s" % (wanted, seconds))

    def check_there(self, wire, keys):
        missing = [key for key in keys if wire.command("EXISTS", key) != b":1\r\n"]
        self.assertEqual(missing, [])


@needs_millrace
@unittest.skipUnless(LIBRARY.exists(), "a sanitizer's build has no disk_shim.so")
class DiskTrouble(ShimCase):
    def test_a_full_disk_and_room_again(self):
        instance, shim = self.on_shim()
        wire = self.connect(instance)
        answered = self.write_until(wire, b"+OK")
        shim.order("write ENOSPC")
        answered += self.write_until(wire, REFUSAL + b"No space left on device")
        self.assertEqual(wire.command("GET", answered[0]), b"$1\r\nv\r\n")
        shim.order()
        answered += self.write_until(wire, b"+OK")
        wait_for(lambda: shim.calls()["sync"] > 2, 10, "a sync")
        time.sleep(2.2)     # everysec, and the marks
        self.check_there(self.after_power_loss(instance, shim), answered)

    def test_a_failed_sync_is_not_believed_again(self):
        for policy in ("everysec", "always"):
            with self.subTest(policy=policy):
                instance, shim = self.on_shim(appendfsync=policy)
                wire = self.connect(instance, timeout=30)
                answered = self.write_until(wire, b"+OK", value=LARGE)
                shim.order("sync EIO")
                held = []
                if policy == "everysec":
                    answered += self.write_until(wire, REFUSAL + b"Input/output error", value=LARGE)
                else:
                    # What md has executed is answered when the disk has it, and not before.
                    waiting = instance.wire(timeout=30)
                    self.addCleanup(waiting.close)
                    thread = threading.Thread(target=lambda: held.append(waiting.command("SET", "held", LARGE)))
                    thread.start()
                    time.sleep(1.5)
                    self.assertEqual(held, [])
                shim.order()
                answered += self.write_until(self.connect(instance, timeout=30), b"+OK")
                if policy == "always":
                    thread.join(20)
                    self.assertEqual(held, [b"+OK\r\n"])
                    answered.append("held")
                else:
                    time.sleep(2.2)
                self.check_there(self.after_power_loss(instance, shim, keep="none"), answered)


@needs_millrace
@unittest.skipUnless(LIBRARY.exists(), "a sanitizer's build has no disk_shim.so")
class EachCall(ShimCase):
    """One fault, at one call, under `always`: it goes by, and all that was answered is there after a power loss."""

    def write(self, instance, count, answered):
        """So many keys more, whatever becomes of connections."""
        wanted, until = len(answered) + count, time.monotonic() + 30
        while len(answered) < wanted:
            self.assertLess(time.monotonic(), until, instance.log_tails())
            try:
                with instance.wire(timeout=20) as wire:
                    answered += self.write_until(wire, b"+OK")
            except (OSError, WireClosed, WireTimeout):
                time.sleep(0.05)

    def save(self, instance):
        """Whether a snapshot was written."""
        try:
            with instance.wire(timeout=20) as wire:
                return wire.command("SAVE") == b"+OK\r\n"
        except (OSError, WireClosed, WireTimeout):
            return False

    def meets(self, fault, number):
        """A workload with log files and snapshots that come and go, which meets the fault. False: it has not come so far."""
        answered = []
        try:
            instance, shim = self.on_shim(fault, appendfsync="always")
        except Failed as error:
            # The very start can fail: that is said, and nothing was answered.
            self.assertRegex(str(error), "millrace: .*(md_log|disk|data)")
            self.starts_failed.append(fault)
            return True
        try:
            for _ in range(3):
                self.write(instance, 3, answered)
                self.save(instance)
            self.write(instance, 2, answered)
            reached = shim.faults_injected() > 0
            wait_for(lambda: self.save(instance), 20, "a snapshot after the trouble")
            self.check_disk(shim, number, answered)
            if number % 5 == 0 or not LONG:
                self.check_there(self.after_power_loss(instance, shim, number), answered)
        finally:
            instance.destroy()
        return reached

    def check_disk(self, shim, number, answered):
        for keep in ("none", "random"):
            out = shim.scratch / "outcome"
            shim.make_outcome(out, number, keep)
            checked = run([PROGRAMS / "oplogdump", "--verify", out])
            self.assertEqual((checked.returncode, set(answered) - keys_in(out)), (0, set()), checked.stdout)
            shutil.rmtree(out)

    def each(self, call):
        self.starts_failed = []
        for what in FAULTS[call] if LONG else ():
            began, number, failures = time.monotonic(), 0, 0
            reached = True
            while reached:
                number += 1
                failures += 1
                fault = "%s:%s" % (call, what.format(number, number + 1))
                with self.subTest(fault=fault):
                    reached = self.meets(fault, number)
                    failures -= 1
                self.assertLess(failures, FAILURES_MAX)
            print("%s:%s: %d calls, %.0f s" % (call, what, number - 1, time.monotonic() - began), flush=True)
        if LONG:
            print("starts that the fault has ended: %s" % (", ".join(self.starts_failed) or "none"), flush=True)
        for number, what in {} if LONG else FEW.get(call, {}).items():
            with self.subTest(number=number, what=what):
                self.assertTrue(self.meets("%s:%s" % (call, what.format(number, number + 1)), number), "the call was not reached")

    def test_write(self):
        self.each("write")

    def test_sync(self):
        self.each("sync")

    def test_rename(self):
        self.each("rename")

    def test_truncate(self):
        self.each("truncate")

    @unittest.skipUnless(LONG, "MILLRACE_LONG=1")
    def test_the_others(self):
        for call in ("dirsync", "open", "unlink"):
            self.each(call)


if __name__ == "__main__":
    unittest.main()
