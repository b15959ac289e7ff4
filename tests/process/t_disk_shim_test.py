"""The tool that the tests of durability stand on: whether a power loss takes what it may take, and nothing else, and whether faults are what they say."""

import ctypes
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
import unittest
from pathlib import Path

from harness import PROGRAMS, ROOT, new_folder, wait_for

sys.path.insert(0, str(ROOT / "tests" / "disk"))

from disk_journal import records  # noqa: E402
from disk_model import Unclear, contents  # noqa: E402
from disk_shim import DiskShim  # noqa: E402
from durable_writer import recover  # noqa: E402
from power_loss import make_outcome  # noqa: E402

LIBRARY = PROGRAMS.parent / "tests" / "disk_shim.so"
WRITER = ROOT / "tests" / "disk" / "durable_writer.py"
POWER_LOSS = ROOT / "tests" / "disk" / "power_loss.py"
PYTHON = os.path.realpath("/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable)
ROUNDS = 200
STEPS = 60
SEED = int(os.environ.get("SEED") or random.SystemRandom().randrange(1 << 30))


@unittest.skipUnless(LIBRARY.exists(), "a sanitizer's build has no disk_shim.so")
class DiskCase(unittest.TestCase):
    def setUp(self):
        self.top = new_folder("disk")
        self.addCleanup(shutil.rmtree, self.top, ignore_errors=True)
        self.folder = self.top / "data"
        self.made = 0

    def shim(self, *faults, name=os.path.basename(PYTHON)):
        """A shim over the folder as it is now."""
        self.made += 1
        self.folder.mkdir(exist_ok=True)
        return DiskShim(LIBRARY, self.folder, self.top / ("shim %d" % self.made), name, faults)

    def start(self, shim, *arguments, **options):
        return subprocess.Popen([PYTHON, *map(str, arguments)], env={**os.environ, **shim.environment()}, cwd=self.top, text=True, **options)

    def run_code(self, shim, code, *arguments):
        """Runs Python under the shim, with `folder` as the name of the folder; what it prints, or -N when a signal ended it."""
        code = "import os, sys\nfolder = sys.argv[1]\n" + textwrap.dedent(code)
        process = self.start(shim, "-c", code, self.folder, *arguments, stdout=subprocess.PIPE)
        output = process.communicate(timeout=60)[0]
        self.assertLessEqual(process.returncode, 0, "the program has failed")
        return process.returncode or output.strip()

    def outcome(self, shim, seed=0, keep="none", upto=None):
        """{path: bytes} after a power loss."""
        out = self.top / "outcome"
        shim.make_outcome(out, seed, keep, upto)
        try:
            return contents(out)
        finally:
            shutil.rmtree(out)

    def outcomes(self, shim, count=ROUNDS):
        return [self.outcome(shim, seed, "random") for seed in range(count)]

    def whole(self, shim):
        self.assertEqual(shim.unexplained(), [])


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


FILTERED = """
    import ctypes, errno
    names = ("openat read write writev pwrite64 close fstat newfstatat fdatasync fsync lseek ftruncate rename unlink mmap munmap brk mremap madvise "
             "rt_sigaction rt_sigprocmask rt_sigreturn exit_group futex ioctl").split()
    here = os.open(folder, os.O_RDONLY)
    library = ctypes.CDLL("libseccomp.so.2")
    library.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(library.seccomp_init(ctypes.c_uint32(0x80000000)))
    for name in names:
        call = library.seccomp_syscall_resolve_name(name.encode())
        assert library.seccomp_rule_add_array(context, ctypes.c_uint32(0x7fff0000), call, 0, None) == 0
    assert library.seccomp_load(context) == 0
    fd = os.open("tmp", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(fd, b"one ")
    os.fdatasync(fd)
    os.writev(fd, [b"two ", b"three "])
    os.pwrite(fd, b"four", 14)
    os.fsync(fd)
    os.ftruncate(fd, 16)
    os.close(fd)
    os.rename(folder + "/tmp", folder + "/name")
    os.fsync(here)
    os.unlink(folder + "/name")
    print("done", flush=True)
    os._exit(0)
"""


class Filtered(DiskCase):
    """J5 and J6: behind a filter that kills for any other system call."""

    def test_nothing_unusual_is_asked(self):
        shim = self.shim()
        self.assertEqual(self.run_code(shim, FILTERED), "done")
        self.whole(shim)

    def test_the_filter_is_one(self):
        shim = self.shim()
        self.assertEqual(self.run_code(shim, FILTERED.replace("os.fdatasync(fd)", "os.getppid()")), -signal.SIGSYS)

    def test_kills_and_waits_need_nothing_else(self):
        for what in ("kill-before", "kill-after"):
            shim = self.shim("rename:1:" + what)
            self.assertEqual(self.run_code(shim, FILTERED), -signal.SIGKILL)
            self.assertEqual(set(contents(self.folder)), {"tmp"} if what == "kill-before" else {"name"})
            shutil.rmtree(self.folder)
        began = time.monotonic()
        self.assertEqual(self.run_code(self.shim("unlink:1:slow:700"), FILTERED), "done")
        self.assertGreater(time.monotonic() - began, 0.7)


# Each prints "ok" or the name of the error for each of three.
THREE = {
    "write": "os.write(fd, b'abcdefgh')",
    "sync": "os.fdatasync(fd) if i % 2 else os.fsync(fd)",
    "dirsync": "os.fsync(here)",
    "open": "os.close(os.open(folder + '/new%d' % i, os.O_WRONLY | os.O_CREAT))",
    "rename": "os.rename(folder + '/old%d' % i, folder + '/renamed%d' % i)",
    "truncate": "os.ftruncate(fd, 100 + i)",
    "unlink": "os.unlink(folder + '/old%d' % i)",
    "allocate": "os.posix_fallocate(fd, 0, 200 + i)",
    "mkdir": "os.mkdir(folder + '/folder%d' % i)",
}


class Faults(DiskCase):
    """Each fault is what it says, at the call that it names, and not another."""

    def setUp(self):
        super().setUp()
        self.folder.mkdir()
        for name in ("file", "old0", "old1", "old2"):
            (self.folder / name).write_bytes(b"")

    def three(self, shim, call):
        return self.run_code(shim, """
            import errno
            here, fd = os.open(folder, os.O_RDONLY), os.open(folder + "/file", os.O_RDWR)
            for i in range(3):
                try:
                    %s
                    print("ok")
                except OSError as error:
                    print(errno.errorcode[error.errno])
        """ % THREE[call])

    def test_errors_of_every_call(self):
        for call, error in zip(THREE, ("ENOSPC", "EIO", "EROFS", "EDQUOT", "EIO", "ENOSPC", "EIO", "ENOSPC", "EROFS")):
            with self.subTest(call):
                shim = self.shim("%s:2:%s" % (call, error))
                before = contents(self.folder)
                self.assertEqual(self.three(shim, call).split(), ["ok", error, "ok"])
                self.assertEqual((shim.calls()[call], shim.faults_injected()), (3, 1))
                self.whole(shim)
                changed = {"open": "new", "rename": "renamed", "mkdir": "folder"}.get(call)
                if changed:
                    self.assertEqual([changed + str(i) in contents(self.folder) for i in range(3)], [True, False, True])
                self.restore(before)

    def restore(self, before):
        shutil.rmtree(self.folder)
        self.folder.mkdir()
        for name, data in before.items():
            (self.folder / name).write_bytes(data)

    def test_several_in_a_row_and_forever(self):
        self.assertEqual(self.three(self.shim("write:2:ENOSPC:2"), "write").split(), ["ok", "ENOSPC", "ENOSPC"])
        shim = self.shim("write:5:EIO:forever", "write:1:EDQUOT")
        self.assertEqual(self.three(shim, "write").split(), ["EDQUOT", "ok", "ok"])
        self.assertEqual(self.three(shim, "write").split(), ["ok", "EIO", "EIO"], "counts go on in the next program")
        self.assertEqual(self.three(shim, "write").split(), ["EIO", "EIO", "EIO"])

    def test_short(self):
        shim = self.shim("write:2:short", "write:4:short")
        self.assertEqual(self.run_code(shim, """
            fd = os.open(folder + "/file", os.O_WRONLY)
            print(os.write(fd, b"abcdef"), os.write(fd, b"ghijkl"), os.write(fd, b"jkl"), os.writev(fd, [b"12", b"3456", b"78"]))
        """), "6 3 3 4")
        self.assertEqual((self.folder / "file").read_bytes(), b"abcdefghijkl1234")
        self.whole(shim)

    def test_kills(self):
        expected = {"kill-before": (b"abcdefgh", b"abcdefgh" * 4), "kill-after": (b"abcdefgh" * 2, b"abcdefgh" * 5)}
        for what, (killed, later) in expected.items():
            (self.folder / "file").write_bytes(b"")
            shim = self.shim("write:2:" + what)
            code = "fd = os.open(folder + '/file', os.O_WRONLY | os.O_APPEND)\nfor i in range(3): os.write(fd, b'abcdefgh')"
            self.assertEqual(self.run_code(shim, code), -signal.SIGKILL)
            self.assertEqual((self.folder / "file").read_bytes(), killed)
            self.whole(shim)
            self.run_code(shim, code)
            self.assertEqual((self.folder / "file").read_bytes(), later)

    def test_a_killed_child_is_the_child(self):
        shim = self.shim("write:1:kill-before")
        self.assertEqual(self.run_code(shim, """
            child = os.fork()
            if child == 0:
                os.write(os.open(folder + "/file", os.O_WRONLY), b"x")
            print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        """), "-9")

    def test_slow(self):
        shim = self.shim("sync:2:slow:400")
        took = self.run_code(shim, """
            import time
            fd = os.open(folder + "/file", os.O_WRONLY)
            for i in range(2):
                began = time.monotonic()
                os.fsync(fd)
                print(time.monotonic() - began)
        """).split()
        self.assertGreater(float(took[1]), 0.4)
        self.assertEqual(self.outcome(shim)["file"], b"")

    def test_after_a_failed_sync_no_later_one_covers_its_bytes(self):
        shim = self.shim("sync:1:EIO")
        self.run_code(shim, """
            fd = os.open(folder + "/file", os.O_WRONLY)
            os.write(fd, b"a" * 512)
            try:
                os.fsync(fd)
            except OSError:
                os.fsync(fd)
            os.write(fd, b"b" * 512)
            os.fsync(fd)
        """)
        self.assertEqual(self.outcome(shim)["file"], b"\0" * 512 + b"b" * 512)
        self.assertEqual(self.outcome(shim, keep="all")["file"], b"a" * 512 + b"b" * 512)

    def test_after_a_failed_sync_of_the_folder_the_same(self):
        shim = self.shim("dirsync:1:EIO")
        self.assertEqual(self.three(shim, "open").split(), ["ok"] * 3)
        self.assertEqual(self.three(shim, "dirsync").split(), ["EIO", "ok", "ok"])
        self.assertNotIn("new0", self.outcome(shim))

    def test_orders_at_run_time(self):
        shim = self.shim()
        code = """
            import errno, os, sys
            fd = os.open(sys.argv[1] + "/file", os.O_WRONLY)
            for line in sys.stdin:
                try:
                    print(os.write(fd, b"abcd"), flush=True)
                except OSError as error:
                    print(errno.errorcode[error.errno], flush=True)
        """
        process = self.start(shim, "-c", textwrap.dedent(code), self.folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

        def ask():
            process.stdin.write("\n")
            process.stdin.flush()
            return process.stdout.readline().strip()
        answers = [ask()]
        for order in ("write ENOSPC", "sync EIO, write EROFS", "rename EIO", "write short", ""):
            shim.order(order)
            answers.append(ask())
        process.communicate()
        self.assertEqual(answers, ["4", "ENOSPC", "EROFS", "4", "2", "4"])
        self.assertEqual((shim.calls()["write"], shim.faults_injected()), (6, 3))

    def test_nonsense_ends_the_program(self):
        for fault in ("write:0:EIO", "writes:1:EIO", "write:1:EWHAT", "write:1", "write:1:slow"):
            process = self.start(self.shim(fault), "-c", "", stderr=subprocess.PIPE)
            self.assertIn("MILLRACE_SHIM_FAULT makes no sense", process.communicate()[1])
            self.assertEqual(process.returncode, -signal.SIGABRT)


if __name__ == "__main__":
    unittest.main()
