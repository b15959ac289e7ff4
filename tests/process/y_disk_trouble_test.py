"""A disk that is full, fails, or forgets: writes are refused with Redis's words, reads go on, it mends itself, and nothing that was answered is lost.

The disk is the shim's (tests/disk) under md_log. MILLRACE_LONG=1 injects each fault at every call that there is.
"""

import os
import shutil
import threading
import time
import unittest

from disk_case import LIBRARY
from disk_shim import DiskShim
from harness import FreshInstanceCase, Instance, needs_millrace, new_folder, wait_for
from leftovers import end_processes_of, remove_shared_memory
from wire import WireClosed, WireTimeout

REFUSAL = b"-MISCONF Errors writing to the AOF file: "
LARGE = "v" * 3000      # has sectors of its own
LONG = bool(os.environ.get("MILLRACE_LONG"))


@needs_millrace
@unittest.skipUnless(LIBRARY.exists(), "a sanitizer's build has no disk_shim.so")
class DiskTrouble(FreshInstanceCase):
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

    def test_each_fault_at_each_call(self):
        kinds = ["write:%d:ENOSPC", "write:%d:short", "sync:%d:EIO", "dirsync:%d:EIO", "open:%d:ENOSPC", "rename:%d:EIO", "write:%d:kill-before", "sync:%d:kill-before", "sync:%d:kill-after"]
        faults = [kind % number for kind in kinds for number in (range(1, 9) if LONG else (2,) if "kill" in kind or "write" in kind else ())]
        for number, fault in enumerate(faults):
            with self.subTest(fault=fault):
                try:
                    instance, shim = self.on_shim(fault, appendfsync="always")
                except Exception:
                    if "kill" in fault or "open" in fault or "rename" in fault or "dirsync" in fault:
                        continue    # the very start can fail: that is said, and nothing was answered
                    raise
                answered, until = [], time.monotonic() + 20
                while len(answered) < 12 and time.monotonic() < until:
                    try:
                        with instance.wire(timeout=20) as wire:
                            answered += self.write_until(wire, b"+OK")
                    except (OSError, WireClosed, WireTimeout):
                        time.sleep(0.1)
                self.assertGreaterEqual(len(answered), 12, instance.log_tails())
                if fault.split(":")[0] in ("write", "sync"):
                    self.assertGreater(shim.faults_injected(), 0)
                self.check_there(self.after_power_loss(instance, shim, number), answered)


if __name__ == "__main__":
    unittest.main()
