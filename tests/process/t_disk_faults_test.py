"""The disk shim's faults are what they say, at the call that they name, also behind a filter on system calls."""

import shutil
import signal
import subprocess
import textwrap
import time
import unittest

from disk_case import DiskCase

from disk_model import contents

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
        self.assertGreater(float(took[1]), 0.39)
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
