"""What the supervisor's tests share: a group of stub daemons (stub_daemon.py) under the real control script."""

import atexit
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import unittest
from datetime import datetime
from pathlib import Path

from harness import CONTROL, free_port, is_alive, wait_for
from leftovers import end_processes_of, processes_of, remove_shared_memory

STUB = Path(__file__).resolve().parent / "stub_daemon.py"


class StubGroup:
    """An instance folder, its own folder of stub programs, and the script to be tested."""

    def __init__(self, name="in stance"):
        self.root = Path(tempfile.mkdtemp(prefix="mill stub "))
        atexit.register(self.destroy)
        self.bin = self.root / "bin"
        self.bin.mkdir()
        for program in ("md", "md_log", "md_repl", "io_conn", "millrace-conf", "store-check"):
            (self.bin / program).symlink_to(STUB)
        self.dir = self.root / name
        self.port = free_port()
        self.begun = []
        self.environment = dict(os.environ, MILLRACE_BIN=str(self.bin))

    def limits(self, **seconds):
        """Shorter time limits, such as ready=1, for what is started from now on."""
        for name, value in seconds.items():
            self.environment["MILLRACE_%s_TIMEOUT" % name.upper()] = str(value)

    def behave(self, **table):
        """How the next stub daemons act; `io_conn_1` is io_conn 1."""
        names = {re.sub(r"_(\d)$", r"-\1", name): value for name, value in table.items()}
        (self.bin / "behaviour.json").write_text(json.dumps(names))

    def words(self, verb, *arguments, folder=None):
        return [str(word) for word in (CONTROL, verb, "--dir", folder or self.dir, *arguments)]

    def run(self, verb, *arguments, folder=None, **options):
        """Runs the script to its end."""
        done = subprocess.run(self.words(verb, *arguments, folder=folder), stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=40,
                              env=self.environment, check=False, **options)
        assert "Traceback" not in done.stdout + done.stderr, done
        return done

    def begin(self, verb, *arguments, **options):
        """Starts the script and does not wait."""
        options.setdefault("stdout", subprocess.PIPE)
        options.setdefault("stderr", subprocess.PIPE)
        process = subprocess.Popen(self.words(verb, *arguments), text=True, env=self.environment,
                                   start_new_session=True, **options)
        self.begun.append(process)
        return process

    def start(self, *arguments, whole=True, **options):
        """Starts the group; `whole`: and waits for the standby too, which `start` does not."""
        done = self.run("start", "--port", self.port, "--daemon", *arguments, **options)
        assert done.returncode == 0, done
        if whole:
            self.wait_until_whole()
        return done

    def wait_until_whole(self):
        wait_for(lambda: self.status()["state"] == "running", 20, "the group to run")

    def start_in_foreground(self, *arguments, **options):
        """A supervisor that is the test's own child; returns when it serves."""
        process = self.begin("start", "--port", self.port, *arguments, **options)
        self.wait_until_whole()
        return process

    def status(self, folder=None):
        done = self.run("status", "--json", folder=folder)
        assert done.returncode == 0, done
        return json.loads(done.stdout)

    def pids(self):
        """{"md-0": pid, "md_standby-1": pid, ...} of the daemons that live."""
        return {"%s-%d" % (each["role"], each["index"]): each["pid"]
                for each in self.status()["processes"] if each["pid"]}

    def kill(self, name, number=signal.SIGKILL):
        """Sends a signal to one daemon, or to the supervisor, and waits for the end if it is SIGKILL."""
        pid = self.status()["supervisor_pid"] if name == "supervisor" else self.pids()[name]
        os.kill(pid, number)
        if number == signal.SIGKILL:
            wait_for(lambda: not is_alive(pid), 10, "%s to die" % name)
        return pid

    def kill_together(self, pids):
        """SIGKILL to several, and waits for all their ends."""
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(is_alive(pid) for pid in pids), 10, "%d deaths" % len(pids))

    def ping(self):
        with self.connect() as link:
            return self.ask(link)

    def connect(self, port=None):
        return socket.create_connection(("127.0.0.1", port or self.port), timeout=10)

    @staticmethod
    def ask(link):
        link.sendall(b"PING\r\n")
        return link.recv(100)

    def shm(self):
        return Path(os.readlink(self.dir / "run" / "shm"))

    def events(self, name):
        """The events of that name in supervisor.log, oldest first, as dictionaries; `at` is the time in seconds."""
        try:
            lines = (self.dir / "log" / "supervisor.log").read_text().splitlines()
        except FileNotFoundError:
            return []
        found = []
        for line in lines:
            moment, event, *rest = line.split(" ")
            if event == "event=" + name:
                fields = dict(word.partition("=")[::2] for word in rest)
                fields["at"] = datetime.fromisoformat(moment.rstrip("Z")).timestamp()
                found.append(fields)
        return found

    def left_over(self):
        """Everything that a stopped group must not leave: processes, files in run/, shared memory."""
        found = [str(command) for command in processes_of(self.root).values() if command]      # without a command line it has ended
        if (self.dir / "run").exists():
            found += os.listdir(self.dir / "run")
        found += shared_memory_of(self.dir)
        return found

    def destroy(self):
        atexit.unregister(self.destroy)
        end_processes_of(self.root)
        for process in self.begun:
            process.wait(10)
            for pipe in (process.stdout, process.stderr):
                if pipe:
                    pipe.close()
        for path in self.root.glob("*/data"):
            for name in shared_memory_of(path.parent):
                remove_shared_memory(Path("/dev/shm") / name)
        shutil.rmtree(self.root, ignore_errors=True)


def shared_memory_of(folder):
    """The names in /dev/shm that belong to an instance folder."""
    if not folder.exists():
        return []
    found = os.stat(folder)
    return [name for name in os.listdir("/dev/shm")
            if name.startswith("millrace-") and name.endswith("-%x-%x" % (found.st_dev, found.st_ino))]


class StubCase(unittest.TestCase):
    """Each test gets a group of its own."""

    def setUp(self):
        self.group = StubGroup()
        self.addCleanup(self.group.destroy)

    def another(self, name="in stance"):
        group = StubGroup(name)
        self.addCleanup(group.destroy)
        return group

    def fails(self, done, *words, status=1):
        """A command that failed as CONTRACT wants it: its status and one sentence that holds those words."""
        self.assertEqual(done.returncode, status, done)
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertTrue(done.stderr.startswith("millrace: "), done.stderr)
        for word in words:
            self.assertIn(str(word), done.stderr)

    def stops(self, group=None):
        """Stops a group and looks that nothing is left."""
        group = group or self.group
        done = group.run("stop")
        self.assertEqual(done.returncode, 0, done)
        wait_for(lambda: self.supervisor_has_ended(group), 5, "the supervisor, which has said that it ends, to do so")
        self.assertEqual(group.left_over(), [])
        return done.stdout

    @staticmethod
    def supervisor_has_ended(group):
        """Whether no control script of the group runs any more."""
        return not any("tools/millrace" in str(command) for command in processes_of(group.root).values())
