"""Power loss as the tests of durability know it takes what it may take and nothing else, and the disk shim sees all that a program does."""

import random
import shutil
import signal
import subprocess
import time
import unittest

from disk_case import PYTHON, ROUNDS, SEED, DiskCase
from harness import ROOT, wait_for

from disk_journal import records
from disk_model import Unclear, contents
from durable_writer import recover

WRITER = ROOT / "tests" / "disk" / "durable_writer.py"
POWER_LOSS = ROOT / "tests" / "disk" / "power_loss.py"
STEPS = 60


class Losses(DiskCase):
    """A program that does it right loses nothing that it has acknowledged; each mistake is seen."""

    def write(self, mistake, *faults):
        shim = self.shim(*faults)
        process = self.start(shim, WRITER, self.folder, shim.journal, self.top / "acknowledged", mistake, SEED, STEPS)
        self.assertEqual(process.wait(60), 0)
        self.whole(shim)
        return shim

    def acknowledged(self):
        """[(log or snapshot, number, bytes of the journal)]"""
        lines = (self.top / "acknowledged").read_text().splitlines()
        return [(what, int(number), int(point)) for what, number, point in map(str.split, lines)]

    def lost(self, shim, acknowledged, seed, point):
        """What a power loss at that point has taken away of what was acknowledged before."""
        out = self.top / "outcome"
        shim.make_outcome(out, seed, upto=point)
        log, snapshot = recover(out)
        shutil.rmtree(out)
        found = {"log": log, "snapshot": snapshot}
        return ["seed %d, point %d: %s %d, found %d" % (seed, point, what, number, found[what])
                for what, number, at in acknowledged if at <= point and found[what] < number]

    def rounds_lost(self, mistake, *faults):
        """Power losses right after an acknowledgement and anywhere."""
        shim, choice = self.write(mistake, *faults), random.Random(SEED)
        acknowledged = self.acknowledged()
        self.assertGreater(len(acknowledged), STEPS)
        points = [choice.choice(acknowledged)[2] if choice.random() < 0.5 else choice.randrange(shim.journal_bytes()) for _ in range(ROUNDS)]
        return [lost for seed, point in enumerate(points, SEED) for lost in [self.lost(shim, acknowledged, seed, point)] if lost]

    def assert_seen(self, mistake, *faults):
        rounds = self.rounds_lost(mistake, *faults)
        self.assertGreater(len(rounds), 0, "%r was not seen; SEED=%d" % (mistake, SEED))

    def test_the_right_order_loses_nothing(self):
        self.assertEqual(self.rounds_lost("none"), [], "SEED=%d" % SEED)

    def test_no_fsync_is_seen(self):
        self.assert_seen("no fsync")

    def test_no_fsync_of_the_folder_is_seen(self):
        self.assert_seen("no fsync of the folder")

    def test_an_acknowledgement_before_the_fsync_is_seen(self):
        self.assert_seen("acknowledges too early")

    def test_trust_in_a_second_fsync_is_seen(self):
        self.assert_seen("trusts the second fsync", *("sync:%d:EIO" % number for number in range(5, STEPS, 8)))

    def test_a_program_that_goes_on_after_a_power_loss_loses_nothing(self):
        for generation in range(4):
            shim = self.write("none")
            shim.make_outcome(self.top / "outcome", SEED + generation)
            numbers = {what: number for what, number, _ in self.acknowledged()}
            self.assertEqual(recover(self.top / "outcome"), (numbers["log"], numbers["snapshot"]), "SEED=%d" % SEED)
            shutil.rmtree(self.folder)
            (self.top / "outcome").rename(self.folder)


class Model(DiskCase):
    """What is there for sure, and what may be missing, in small cases."""

    def test_what_is_synced_is_there_and_the_rest_may_be(self):
        shim = self.shim()
        self.run_code(shim, """
            fd = os.open(folder + "/file", os.O_WRONLY | os.O_CREAT)
            os.fsync(os.open(folder, os.O_RDONLY))
            os.write(fd, b"a" * 1000)
            os.fdatasync(fd)
            os.write(fd, b"b" * 20000)
        """)
        self.assertEqual(self.outcome(shim), {"file": b"a" * 1000})
        self.assertEqual(self.outcome(shim, keep="all"), {"file": b"a" * 1000 + b"b" * 20000})
        found = [outcome["file"] for outcome in self.outcomes(shim)]
        self.assertTrue(all(each[:1000] == b"a" * 1000 for each in found))
        self.assertGreater(sum(len(each) == 1000 for each in found), 10, "a lost extension is a shorter file")
        self.assertGreater(sum(len(each) > 20000 and b"\0" * 512 in each for each in found), 10, "or leaves zeros")
        self.assertTrue(any(sector_torn(each) for each in found), "sectors of a page go different ways")

    def test_an_overwritten_sector_is_old_or_new(self):
        (self.folder).mkdir()
        (self.folder / "file").write_bytes(b"a" * 4096)
        shim = self.shim()
        self.run_code(shim, """
            fd = os.open(folder + "/file", os.O_WRONLY)
            for letter in (b"b", b"c"):
                os.pwrite(fd, letter * 1024, 512)
        """)
        sectors = {each["file"][at:at + 512] for each in self.outcomes(shim) for at in (512, 1024)}
        self.assertEqual(sectors, {letter * 512 for letter in (b"a", b"b", b"c")})

    def test_a_synced_file_without_a_synced_name_may_be_missing(self):
        shim = self.shim()
        self.run_code(shim, """
            fd = os.open(folder + "/new", os.O_WRONLY | os.O_CREAT)
            os.write(fd, b"whole")
            os.fsync(fd)
            os.rename(folder + "/new", folder + "/name")
        """)
        self.assertEqual(self.outcome(shim), {})
        found = self.outcomes(shim)
        for expected in ({}, {"new": b"whole"}, {"name": b"whole"}):
            self.assertIn(expected, found)
        self.assertTrue(all(len(each) < 2 and set(each.values()) <= {b"whole"} for each in found))

    def test_a_replaced_file_is_the_old_or_the_new_one(self):
        (self.folder).mkdir()
        (self.folder / "name").write_bytes(b"old")
        shim = self.shim()
        self.run_code(shim, """
            with open(folder + "/tmp", "wb") as file:
                file.write(b"new")
                file.flush()
                os.fsync(file.fileno())
            os.fsync(os.open(folder, os.O_RDONLY))
            os.rename(folder + "/tmp", folder + "/name")
        """)
        found = self.outcomes(shim, 50)
        self.assertTrue(all(each in ({"name": b"new"}, {"name": b"old", "tmp": b"new"}) for each in found))
        self.assertEqual(len({frozenset(each) for each in found}), 2)

    def test_an_unlinked_file_may_come_back(self):
        (self.folder).mkdir()
        (self.folder / "file").write_bytes(b"old")
        shim = self.shim()
        self.run_code(shim, "os.unlink(folder + '/file')")
        self.assertEqual(self.outcome(shim), {"file": b"old"})
        self.assertIn({}, self.outcomes(shim, 50))
        self.run_code(shim, "os.fsync(os.open(folder, os.O_RDONLY))")
        self.assertEqual(self.outcome(shim), {})

    def test_a_folder_is_a_name_in_the_one_above(self):
        shim = self.shim()
        self.run_code(shim, """
            os.mkdir(folder + "/sub")
            os.close(os.open(folder + "/sub/file", os.O_WRONLY | os.O_CREAT))
            os.fsync(os.open(folder + "/sub", os.O_RDONLY))
        """)
        self.assertEqual(self.outcome(shim), {})
        self.run_code(shim, "os.fsync(os.open(folder, os.O_RDONLY))")
        self.assertEqual(self.outcome(shim), {"sub": None, "sub/file": b""})

    def test_a_truncation_is_lost_or_not(self):
        (self.folder).mkdir()
        (self.folder / "file").write_bytes(b"a" * 3000)
        shim = self.shim()
        self.run_code(shim, "os.truncate(folder + '/file', 700)")
        self.assertEqual({len(each["file"]) for each in self.outcomes(shim, 50)}, {700, 3000})

    def test_a_sync_covers_only_what_came_before_it(self):
        """Writes of another thread during a slow fsync are not covered by it."""
        shim = self.shim("sync:1:slow:500")
        self.run_code(shim, """
            import threading, time
            fd = os.open(folder + "/file", os.O_WRONLY | os.O_CREAT)
            os.fsync(os.open(folder, os.O_RDONLY))
            os.write(fd, b"before")
            thread = threading.Thread(target=os.fsync, args=(fd,))
            thread.start()
            time.sleep(0.2)
            os.write(fd, b"meanwhile")
            thread.join()
        """)
        kinds = "".join(record.kind for record in records(shim.journal))
        self.assertTrue(kinds.endswith("WBWE"), kinds)
        self.assertEqual(self.outcome(shim), {"file": b"before"})

    def test_the_same_seed_makes_the_same_outcome(self):
        shim = self.shim()
        self.run_code(shim, "open(folder + '/file', 'wb').write(b'x' * 50000)")
        self.assertEqual(self.outcome(shim, 7, "random"), self.outcome(shim, 7, "random"))
        self.assertGreater(len({len(each.get("file", b"")) for each in self.outcomes(shim, 20)}), 1)

    def test_as_a_program(self):
        (self.folder).mkdir()
        (self.folder / "old").write_bytes(b"old")
        shim = self.shim()
        self.run_code(shim, "open(folder + '/file', 'wb').write(b'x')")
        words = [PYTHON, POWER_LOSS, "--base", shim.base, "--journal", shim.journal]
        subprocess.run(words + ["--out", self.top / "out", "--seed", "3", "--keep", "all", "--check", self.folder], check=True)
        self.assertEqual(contents(self.top / "out"), {"old": b"old", "file": b"x"})
        (self.folder / "old").write_bytes(b"changed")
        ended = subprocess.run(words + ["--check", self.folder], stdout=subprocess.PIPE, text=True, check=False)
        self.assertEqual((ended.returncode, ended.stdout), (1, "old has other bytes than the journal says\n"))


def sector_torn(data):
    """Whether a page of the file has sectors with and without content."""
    pages = [data[at:at + 4096] for at in range(4096, len(data) - 4096, 4096)]
    return any(len({page[at:at + 512] == bytes(512) for at in range(0, 4096, 512)}) == 2 for page in pages)


class Seen(DiskCase):
    """All that the program does to the folder is in the journal, however it does it."""

    def test_names_by_every_way(self):
        shim = self.shim()
        self.run_code(shim, """
            os.chdir(folder)
            open("one", "w").write("1")
            above = os.open("..", os.O_RDONLY)
            inner = os.dup(os.open("data/./../data", os.O_RDONLY, dir_fd=above))
            fd = os.open("two", os.O_WRONLY | os.O_CREAT, dir_fd=inner)
            os.write(os.dup(fd), b"2")
            os.dup2(fd, 50)
            os.pwritev(50, [b"3", b"", b"4" * 5000], 10)
            os.rename("two", "three", src_dir_fd=inner, dst_dir_fd=inner)
            os.mkdir("sub", dir_fd=inner)
            os.open("sub/four", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, dir_fd=inner)
            os.fchdir(os.open("sub", os.O_RDONLY))
            os.writev(os.open("five", os.O_RDWR | os.O_CREAT | os.O_APPEND), [b"5"] * 900)
            os.unlink("../one")
            os.posix_fallocate(fd, 0, 9000)
            os.ftruncate(50, 8000)
        """)
        self.whole(shim)
        self.assertEqual(self.outcome(shim, keep="all"), contents(self.folder))
        self.assertEqual(set(contents(self.folder)), {"three", "sub", "sub/four", "sub/five"})

    def test_a_program_that_closes_what_it_does_not_know(self):
        shim = self.shim()
        self.run_code(shim, """
            os.closerange(3, 4000)
            for fd in range(3, 4000):
                try: os.close(fd)
                except OSError: pass
            os.write(os.open(folder + "/file", os.O_WRONLY | os.O_CREAT), b"x")
        """)
        self.assertEqual(self.outcome(shim, keep="all"), {"file": b"x"})

    def test_streams_of_the_c_library_only_by_the_check(self):
        """fwrite writes inside of the C library: the check says so."""
        shim = self.shim()
        self.run_code(shim, """
            import ctypes
            c = ctypes.CDLL(None)
            c.fopen.restype = ctypes.c_void_p
            stream = ctypes.c_void_p(c.fopen((folder + "/file").encode(), b"w"))
            c.fputs(b"bytes", stream)
            c.fclose(stream)
        """)
        self.assertEqual(shim.unexplained(), ["file has other bytes than the journal says"])

    def test_a_link_is_refused(self):
        shim = self.shim()
        self.run_code(shim, "open(folder + '/a', 'w').close(); os.link(folder + '/a', folder + '/b')")
        with self.assertRaises(Unclear):
            shim.unexplained()

    def test_what_others_write_is_noticed(self):
        shim = self.shim()
        self.run_code(shim, "open(folder + '/a', 'w').write('a')")
        (self.folder / "a").write_bytes(b"longer")
        self.run_code(shim, "open(folder + '/a', 'r').close()")
        with self.assertRaises(Unclear):
            self.outcome(shim)

    def test_only_the_program_and_the_folder(self):
        other = self.shim(name="another")
        self.run_code(other, "open(folder + '/a', 'w').write('a')")
        self.assertEqual((other.journal_bytes(), sum(other.calls().values())), (0, 0))
        shim = self.shim("open:1:EIO")
        self.run_code(shim, "open(folder + '/../beside', 'w').write('a'); open(folder + 'base', 'w').write('a')")
        self.assertEqual((shim.journal_bytes(), sum(shim.calls().values())), (0, 0))

    def test_threads_and_children(self):
        shim = self.shim()
        self.run_code(shim, """
            import threading
            log = os.open(folder + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            def work(name):
                for i in range(60):
                    os.write(log, name.encode() * (i * 37))
                    fd = os.open(folder + "/" + name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                    os.write(fd, name.encode() * i)
                    os.fsync(fd)
                    os.close(fd)
                    os.rename(folder + "/" + name, folder + "/renamed " + name)
            child = os.fork()
            threads = [threading.Thread(target=work, args=(name,)) for name in ("abc" if child else "xyz")]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            if child: os.waitpid(child, 0)
        """)
        self.whole(shim)
        self.assertEqual(sum(record.kind == "E" for record in records(shim.journal)), 360)

    def test_several_programs_at_a_time(self):
        shim = self.shim()
        code = """if True:
            import os, sys
            log = os.open(sys.argv[1] + "/log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
            print("ready", flush=True)
            sys.stdin.readline()
            for i in range(200):
                os.write(log, sys.argv[2].encode() * i)
        """
        started = [self.start(shim, "-c", code, self.folder, name, stdin=subprocess.PIPE, stdout=subprocess.PIPE) for name in "abc"]
        self.assertEqual([process.stdout.readline() for process in started], ["ready\n"] * 3)
        for process in started:
            process.stdin.write("\n")
            process.stdin.flush()
        for process in started:
            process.communicate()
            self.assertEqual(process.returncode, 0)
        self.whole(shim)
        self.assertEqual((self.folder / "log").stat().st_size, 3 * sum(range(200)))

    def test_killed_at_any_time_and_started_again(self):
        """J4: what a successor finds is in the journal."""
        shim, choice = self.shim(), random.Random(SEED)
        for _ in range(12):
            size = shim.journal_bytes()
            process = self.start(shim, WRITER, self.folder, shim.journal, self.top / "acknowledged", "none", SEED, 100000)
            wait_for(lambda: shim.journal_bytes() > size + 20000, 20, "the writer to write")
            time.sleep(choice.random() / 50)
            process.kill()
            process.wait()
        self.run_code(shim, "")
        self.whole(shim)
        log, snapshot = recover(self.folder)
        self.assertGreater(min(log, snapshot), 0)

    def test_killed_between_an_operation_and_its_record(self):
        """J4, for each kind of operation."""
        code = """
            fd = os.open(folder + "/file", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
            os.write(fd, b"x" * 100000)
            os.ftruncate(fd, 5000)
            os.posix_fallocate(fd, 0, 7000)
            os.rename(folder + "/file", folder + "/renamed")
            os.unlink(folder + "/renamed")
            os.mkdir(folder + "/sub")
            os.rmdir(folder + "/sub")
            os.fsync(os.open(folder, os.O_RDONLY))
        """
        for call in ("open:1", "write:1", "truncate:1", "allocate:1", "rename:1", "unlink:1", "unlink:2", "mkdir:1", "dirsync:1"):
            with self.subTest(call):
                shim = self.shim(call + ":kill-inside")
                self.assertEqual(self.run_code(shim, code), -signal.SIGKILL)
                if call != "dirsync:1":
                    self.assertNotEqual(shim.unexplained(), [])
                self.run_code(shim, "")
                self.whole(shim)
                shutil.rmtree(self.folder)

    def test_a_record_that_is_cut_is_nothing(self):
        shim = self.shim()
        self.run_code(shim, "open(folder + '/a', 'w').write('a' * 9000)")
        whole = shim.journal.read_bytes()
        shim.journal.write_bytes(whole[:-5000] + whole)
        kinds = "".join(record.kind for record in records(shim.journal))
        self.assertEqual(kinds, "O" + "OW")


if __name__ == "__main__":
    unittest.main()
