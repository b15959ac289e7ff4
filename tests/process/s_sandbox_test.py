"""The daemons' filters on system calls: what somebody who has taken an io_conn over might do, done inside of a running one under load."""

import os
import re
import signal
import unittest

from counting_load import CountingLoad, server_of
from harness import PROGRAMS, FreshInstanceCase, all_up, is_alive, needs_millrace, run, wait_for

INJECT = PROGRAMS.parent / "tests" / "inject_syscall"
EPERM = "result -1"
HERE = "-100"                       # AT_FDCWD
PROTECTED = 1 << 20                 # common/protected_names.h, kProtectedBegin
READ, WRITE, EXECUTE = 1, 2, 4      # PROT_*
SHARED, PRIVATE, FIXED, ANONYMOUS = 1, 2, 0x10, 0x20    # MAP_*
DIES = ("killed SYS", "killed ABRT")
CONNECTIONS = 8
SANITIZED = "san-" in str(PROGRAMS)


def inject(pid, call, *arguments):
    """Executes a system call in the process; what came of it, as tests/inject/inject_syscall.cc prints it."""
    ended = run([INJECT, pid, call, *arguments], 20)
    if ended.returncode != 0:
        raise AssertionError("%s %r: %s" % (call, arguments, ended.stderr))
    return ended.stdout.strip()


def address_of(pid, name):
    """Where the process has mapped the file of that name."""
    with open("/proc/%d/maps" % pid, encoding="utf-8") as maps:
        return int(next(line for line in maps if line.rstrip().endswith("/" + name)).split("-")[0], 16)


def listener_of(pid):
    """A descriptor of a listening TCP socket of the process."""
    with open("/proc/net/tcp", encoding="ascii") as table:
        listening = {"socket:[%s]" % line.split()[9] for line in table if line.split()[3] == "0A"}
    return next(int(name) for name in os.listdir("/proc/%d/fd" % pid) if os.readlink("/proc/%d/fd/%s" % (pid, name)) in listening)


def unix_address(path):
    """A sockaddr_un in the tool's hexadecimal form."""
    return "@" + (b"\1\0" + path.encode().ljust(108, b"\0")).hex()


@needs_millrace
@unittest.skipIf(SANITIZED, "a sanitizer's build has no filter")
class Sandbox(FreshInstanceCase):
    def setUp(self):
        self.group = self.start(io=2)
        self.group.refuses = True

    def places(self):
        processes = wait_for(lambda: all_up(self.group), 20, "the group to be whole")
        self.group.remember()
        return {(each["role"], each["index"]): each["pid"] for each in processes}

    def refused(self, pid, md):
        """(what it is, the call) of somebody in this io_conn who gets nothing for it."""
        store = self.group.shm_folder() / "store"
        return [
            ("opens a file", ("openat", HERE, "/etc/passwd", 0)),
            ("makes a file", ("openat", HERE, self.group.folder / "made", os.O_CREAT | os.O_RDWR, 0o600)),
            ("opens the store for writing", ("openat", HERE, store, os.O_RDWR)),
            ("opens a protected name for writing", ("openat", HERE, PROTECTED, os.O_RDWR)),
            ("opens the end of a protected name", ("openat", HERE, PROTECTED + 1, os.O_RDONLY)),
            ("removes the store", ("unlink", store)),
            ("looks at the memory of md", ("openat", HERE, "/proc/%d/mem" % md, os.O_RDWR)),
            ("reaches another server", ("socket", 2, 1, 0)),
            ("connects to another socket", ("connect", 0, unix_address(self.group.unix_path), 110)),
            ("has signals sent to md", ("fcntl", 0, 8, md)),
            ("empties the protected names", ("madvise", PROTECTED, 4096, 4)),
        ]

    def deadly(self, pid, md):
        """(what it is, the call) of somebody in this io_conn whose process ends with it."""
        mapped = address_of(pid, "store")
        return [
            ("starts a program", ("execve", "/bin/true", 0, 0)),
            ("forks", ("fork",)),
            ("makes a thread", ("clone", 0x10f00, 0, 0, 0, 0)),
            ("makes the store writable", ("mprotect", mapped, 4096, READ | WRITE)),
            ("maps a file shared and writable", ("mmap", 0, 4096, READ | WRITE, SHARED, 0, 0)),
            ("maps over the store", ("mmap", mapped, 4096, READ | WRITE, PRIVATE | ANONYMOUS | FIXED, -1, 0)),
            ("maps instructions", ("mmap", 0, 4096, READ | EXECUTE, PRIVATE | ANONYMOUS, -1, 0)),
            ("unmaps the protected names", ("munmap", PROTECTED, 4096)),
            ("makes the protected names writable", ("mprotect", PROTECTED, 4096, READ | WRITE)),
            ("maps other names in their place", ("mmap", PROTECTED, 4096, READ | WRITE, PRIVATE | ANONYMOUS | FIXED, -1, 0)),
            ("closes the door for all io_conn", ("shutdown", listener_of(pid), 2)),
            ("kills md", ("kill", md, int(signal.SIGKILL))),
            ("kills md in another way", ("tgkill", md, md, int(signal.SIGKILL))),
            ("traces md", ("ptrace", 16, md, 0, 0)),
            ("writes into md", ("process_vm_writev", md, 0, 0, 0, 0, 0)),
        ]

    def assert_serves(self, load):
        seen = load.replies
        wait_for(lambda: load.replies > seen + 100, 10, "answers")
        load.check()

    def test_what_is_refused_does_nothing(self):
        places = self.places()
        pid = places["io_conn", 0]
        with CountingLoad(self.group.address, CONNECTIONS) as load:
            for what, call in self.refused(pid, places["md", 0]):
                with self.subTest(what):
                    self.assertEqual(inject(pid, *call), EPERM)
                    self.assert_serves(load)
            self.assertEqual(self.places(), places)
            self.assertEqual(load.breaks, [])
            load.end()
        self.assertFalse((self.group.folder / "made").exists())
        said = "\n".join(self.group.refusals())
        for call in ("openat", "unlink", "socket", "connect", "fcntl", "madvise"):
            self.assertEqual(said.count(" %s (" % call), 1, said)

    def test_an_io_conn_that_attacks_ends_alone(self):
        places = self.places()
        with CountingLoad(self.group.address, CONNECTIONS) as load:
            for number in range(len(self.deadly(places["io_conn", 0], places["md", 0]))):
                pid = places["io_conn", 0]
                what, call = self.deadly(pid, places["md", 0])[number]
                with self.subTest(what):
                    io_conns = [pid for (role, _), pid in places.items() if role == "io_conn"]
                    owners = {port: server_of(self.group.port, port, io_conns) for port in load.ports()}
                    load.breaks.clear()
                    self.assertIn(inject(pid, *call), DIES)
                    wait_for(lambda: not is_alive(pid), 10, "its end")
                    after = self.places()
                    self.assertEqual({place: old for place, old in places.items() if old != after[place]}, {("io_conn", 0): pid})
                    wait_for(lambda: len(load.breaks) >= sum(owner == pid for owner in owners.values()), 10, "the broken connections")
                    self.assert_serves(load)
                    self.assertEqual({port for _, port in load.breaks}, {port for port, owner in owners.items() if owner == pid})
                    places = after
            load.end()

    def test_what_is_left_to_it(self):
        pid = self.places()["io_conn", 0]
        self.assertEqual(inject(pid, "getpid"), "result %d" % pid)
        self.assertRegex(inject(pid, "openat", HERE, PROTECTED, os.O_RDONLY), r"\Aresult [0-9]+\Z")
        with self.group.wire() as wire:
            self.assertEqual(wire.command("PING"), b"+PONG\r\n")

    def test_a_captured_md_does_no_more_than_its_work(self):
        for call in (("execve", "/bin/true", 0, 0), ("socket", 1, 1, 0), ("mmap", 0, 4096, READ | EXECUTE, PRIVATE | ANONYMOUS, -1, 0)):
            places = self.places()
            serving = next(pid for (role, _), pid in places.items() if role == "md")
            with self.group.wire() as wire:
                self.assertEqual(wire.command("SET", "k", call[0]), b"+OK\r\n")
                self.assertEqual(inject(serving, *call), "killed ABRT")
                self.assertEqual(wire.command("GET", "k"), b"$%d\r\n%s\r\n" % (len(call[0]), call[0].encode()))
                self.assertEqual(wire.command("SET", "k", "w"), b"+OK\r\n")
            after = self.places()
            self.assertEqual({each: after[each] for each in after if each[0] == "io_conn"}, {each: places[each] for each in places if each[0] == "io_conn"})
        self.assertEqual(len(self.group.refusals()), 3)


@needs_millrace
class Switch(FreshInstanceCase):
    def filters(self, instance):
        """{role: number of filters on system calls} of all processes."""
        found = {}
        for process in wait_for(lambda: all_up(instance), 20, "the group to be whole"):
            with open("/proc/%d/status" % process["pid"], encoding="utf-8") as status:
                found["%s-%d" % (process["role"], process["index"])] = int(re.search(r"^Seccomp_filters:\s*(\d+)", status.read(), re.MULTILINE).group(1))
        return found

    def warnings(self, instance):
        return [path.name for path in sorted((instance.folder / "log").glob("*")) if "NO FILTER on system calls" in path.read_text()]

    @unittest.skipIf(SANITIZED, "a sanitizer's build has no filter")
    def test_every_daemon_has_one(self):
        instance = self.start(io=2)
        self.assertEqual(set(self.filters(instance).values()), {1})
        self.assertEqual(self.warnings(instance), [])

    def test_off_is_said_by_each(self):
        instance = self.start(io=2, seccomp="no")
        self.assertEqual(set(self.filters(instance).values()), {0})
        if not SANITIZED:
            self.assertEqual(len(self.warnings(instance)), 6)
        with instance.wire() as wire:
            self.assertEqual(wire.command("CONFIG", "GET", "seccomp"), b"*2\r\n$7\r\nseccomp\r\n$2\r\nno\r\n")


@needs_millrace
class Work(FreshInstanceCase):
    """Everything for which an io_conn needs more than its sockets goes on behind the filter; stop() looks that nothing was refused."""

    def test_commands_about_the_group(self):
        instance = self.start(io=3)
        wires = [self.connect(instance) for _ in range(9)]
        wire = wires[0]
        for each in wires:
            self.assertEqual(each.command("CLIENT", "SETNAME", "w"), b"+OK\r\n")
        self.assertEqual(wire.command("CONFIG", "SET", "slowlog-log-slower-than", "0", "latency-monitor-threshold", "1", "maxclients", "300"), b"+OK\r\n")
        for number in range(300):
            for each in wires:
                self.assertEqual(each.command("SET", "k%d" % number, "v"), b"+OK\r\n")
        info = wire.command("INFO", "everything").decode()
        for field, least in (("used_memory_rss", 1 << 20), ("used_cpu_user", 0), ("used_cpu_sys", 0), ("total_system_memory", 1 << 20)):
            self.assertGreaterEqual(float(re.search(r"^%s:([0-9.]+)" % field, info, re.MULTILINE).group(1)), least)
        self.assertGreater(float(re.search(r"^used_cpu_user:([0-9.]+)", info, re.MULTILINE).group(1)) + float(re.search(r"^used_cpu_sys:([0-9.]+)", info, re.MULTILINE).group(1)), 0)
        self.assertEqual(len(re.findall(r"^io_conn_\d:pid=\d+,state=up", info, re.MULTILINE)), 3)
        self.assertRegex(info, r"\nmd_standby:pid=\d+\r")
        self.assertEqual(wire.command("CLIENT", "LIST").count(b"name=w"), 9)
        self.assertIn(b"k299", wire.command("SLOWLOG", "GET", "20"))
        for words in (("LATENCY", "LATEST"), ("LATENCY", "HISTOGRAM"), ("LATENCY", "DOCTOR"), ("MEMORY", "STATS"), ("MEMORY", "DOCTOR"), ("MEMORY", "MALLOC-STATS"),
                      ("MEMORY", "PURGE"), ("CONFIG", "REWRITE"), ("CONFIG", "RESETSTAT"), ("LOLWUT",), ("COMMAND",), ("TIME",)):
            self.assertNotEqual(wire.command(*words)[:1], b"-", words)
        self.assertEqual(wire.command("CLIENT", "KILL", "TYPE", "normal"), b":8\r\n")
        for each in wires[1:]:
            self.assertEqual(each.until_closed(), b"")

    def test_memory_is_told_while_processes_are_stopped(self):
        instance = self.start(io=2)
        wire = self.connect(instance)
        self.assertEqual(wire.command("SETRANGE", "k", "900000", "v"), b":900001\r\n")
        wait_for(lambda: instance.counters("md", "resident_bytes")[0] > 1 << 20, 10, "md to tell its memory")
        told = lambda: int(re.search(rb"used_memory_rss:(\d+)", wire.command("INFO", "memory")).group(1))
        before = told()
        md = instance.pids("md")[0]
        os.kill(md, signal.SIGSTOP)
        try:
            self.assertLess(abs(told() - before), before / 4)
        finally:
            os.kill(md, signal.SIGCONT)

    def test_a_new_supervisor_takes_the_group_over(self):
        instance = self.start(io=2)
        wire = self.connect(instance)
        before = sorted(instance.pids())
        supervisor = instance.status()["supervisor_pid"]
        os.kill(supervisor, signal.SIGKILL)
        wait_for(lambda: not is_alive(supervisor), 10, "its death")
        ended = instance.control("start", *instance.start_arguments())
        self.assertEqual(ended.returncode, 0, ended.stderr)
        wait_for(lambda: all_up(instance), 20, "the group to be whole")
        instance.remember()
        self.assertEqual(sorted(instance.pids()), before)
        self.assertEqual(wire.command("CONFIG", "REWRITE"), b"+OK\r\n")
        os.kill(instance.pids("io_conn")[0], signal.SIGKILL)        # its listening sockets were handed over
        wait_for(lambda: all_up(instance) and sorted(instance.pids()) != before, 20, "another io_conn")
        with instance.wire() as another:
            self.assertEqual(another.command("PING"), b"+PONG\r\n")

    def test_shutdown(self):
        instance = self.start(io=2)
        with instance.wire() as wire:
            wire.send(b"SHUTDOWN\r\n")
            self.assertEqual(wire.until_closed(), b"")
        wait_for(lambda: instance.status()["state"] == "stopped", 20, "the end")


if __name__ == "__main__":
    unittest.main()
