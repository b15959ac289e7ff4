"""What the process tests start and stop: `Instance` is a millrace group, `Oracle` the redis-server it is compared with.

Both listen on loopback only, in a folder of their own whose name has a space in it, and both end what they started by
pid. MILLRACE_SUBJECT=oracle puts a redis-server in the place of millrace where a test only compares the two: a test that
fails then is wrong itself.
"""

import atexit
import json
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

from leftovers import end_processes_of, is_alive, processes_of, remove_shared_memory
from wire import Wire

ROOT = Path(__file__).resolve().parents[2]
CONTROL = ROOT / "tools" / "millrace"
PROGRAMS = Path(os.environ.get("MILLRACE_BIN") or ROOT / "build" / "bin")
VIEWSTATS = PROGRAMS / "viewstats"
START_SECONDS = 30
STOP_SECONDS = 30
# Below the ports that the system gives to outgoing connections; tests that run beside others have a range of their own.
FIRST_PORT, LAST_PORT = map(int, os.environ.get("MILLRACE_TEST_PORTS", "20000-26000").split("-"))
REFUSED = "the filter on system calls has refused"
# What a test starts depends neither on the accounts of this host nor on the control group that the tests run in.
os.environ.setdefault("MILLRACE_DEFAULT_USER", "root")
os.environ.setdefault("MILLRACE_CGROUP_ROOT", "/proc/self/no-such-folder")
SUBJECT_IS_ORACLE = os.environ.get("MILLRACE_SUBJECT") == "oracle"


class Failed(AssertionError):
    """A program did something else than it should; the message holds what it printed."""


def wait_for(condition, seconds, what):
    """The condition's first true value; fails naming `what` when there is none in time. An AssertionError or OSError
    inside the condition counts as not yet."""
    deadline, last = time.monotonic() + seconds, None
    while True:
        try:
            value = condition()
            if value:
                return value
            last = value
        except (AssertionError, OSError) as error:
            last = error
        if time.monotonic() > deadline:
            raise Failed("waited %g s in vain for %s (last: %r)" % (seconds, what, last))
        time.sleep(0.01)


def free_port(ports=range(FIRST_PORT, LAST_PORT)):
    for port in random.SystemRandom().sample(ports, min(len(ports), 200)):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("no free port in %r" % ports)


def new_folder(kind):
    return Path(tempfile.mkdtemp(prefix="mill %s " % kind))


def run(arguments, seconds=60, **options):
    """Runs a program to its end and returns it with its output as text."""
    options.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.run([str(argument) for argument in arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, errors="replace", timeout=seconds, check=False, **options)


class _Server:
    """What both kinds have in common: a folder, addresses, connections, and an end at the end of the test program."""

    def __init__(self, kind):
        self.folder = new_folder(kind)
        self.port = free_port()
        self.address = ("127.0.0.1", self.port)
        atexit.register(self.destroy)

    def wire(self, **options):
        return Wire(self.address, **options)

    def unix_wire(self, **options):
        return Wire(self.unix_path, **options)

    def destroy(self):
        """Ends whatever is left, without complaint."""
        atexit.unregister(self.destroy)
        end_processes_of(self.folder)
        if not os.environ.get("MILLRACE_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)


class Oracle(_Server):
    """A redis-server 7.0 without persistence. redis-tools holds it under another name: redis-check-rdb is the same
    program, and what it does depends on the name it is called by."""

    def __init__(self, io=None, **settings):
        super().__init__("oracle")
        program = shutil.which("redis-check-rdb")
        if not program:
            raise Failed("redis-check-rdb is not installed; the package redis-tools has it")
        self.unix_path = str(self.folder / "oracle.sock")
        self.settings = {"port": self.port, "bind": "127.0.0.1", "unixsocket": self.unix_path, "save": "",
                         "appendonly": "no", "proto-max-bulk-len": "1mb", "dir": self.folder, "logfile": "oracle.log"}
        self.settings.update(option_names(settings))
        arguments = ["redis-server"]
        for name, value in self.settings.items():
            arguments += ["--" + name, str(value)]
        self.process = subprocess.Popen(arguments, executable=program, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._answers, START_SECONDS, "redis-server to answer")

    def _answers(self):
        if self.process.poll() is not None:
            raise RuntimeError("redis-server ended: " + (self.folder / "oracle.log").read_text())
        with self.wire() as wire:
            return wire.command("PING").startswith((b"+PONG", b"-NOAUTH"))

    def stop(self):
        self.process.terminate()
        self.process.wait(STOP_SECONDS)
        self.destroy()

    def destroy(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        super().destroy()


def option_names(settings):
    """Python's keyword arguments as option names: maxclients=3, proto_max_bulk_len="1mb"."""
    return {name.replace("_", "-"): value for name, value in settings.items()}


class Instance(_Server):
    """A group of millrace processes, started by its control script."""

    def __init__(self, io=2, start=True, **settings):
        super().__init__("instance")
        self.io = io
        self.settings = option_names(settings)
        self.unix_path = str(self.folder / "client.sock")
        self.settings.setdefault("unixsocket", self.unix_path)
        self.settings.setdefault("save", "")                       # as the oracle: nothing is saved unasked
        self.settings.setdefault("proto-max-bulk-len", "1mb")      # as the oracle, so that tests of the limit are quick
        self.pids_seen = set()
        self.shm_folders = set()
        self.refuses = False        # whether a test has the filters on system calls refuse something
        if start:
            self.start()

    def control(self, verb, *arguments, seconds=60):
        """Runs tools/millrace on this instance, whatever comes of it."""
        return run([CONTROL, verb, "--dir", self.folder, *arguments], seconds)

    def start_arguments(self):
        arguments = ["--port", self.port, "--io", self.io]
        for name, value in self.settings.items():
            arguments += ["--set", "%s=%s" % (name, value)]
        return arguments + ["--daemon"]

    def start(self):
        ended = self.control("start", *self.start_arguments(), seconds=START_SECONDS + 10)
        if ended.returncode != 0:
            raise Failed("start failed with %d:\n%s%s\n%s" % (
                ended.returncode, ended.stdout, ended.stderr, self.log_tails()))
        # `start` returns when clients are served; the standby comes up a moment later.
        wait_for(lambda: all_up(self), START_SECONDS, "all processes to be up")
        self.remember()

    def status(self):
        ended = self.control("status", "--json")
        if ended.returncode not in (0, 1) or not ended.stdout.strip():
            raise Failed("status --json ended with %d:\n%s%s" % (ended.returncode, ended.stdout, ended.stderr))
        return json.loads(ended.stdout)

    def processes(self, role=None):
        return [process for process in self.status()["processes"] if role in (None, process["role"])]

    def pids(self, role=None):
        return [process["pid"] for process in self.processes(role) if process.get("pid")]

    def remember(self):
        """Notes which processes and shared memory there are, for the look at what is left after the stop."""
        status = self.status()
        self.pids_seen.update(process["pid"] for process in status["processes"] if process.get("pid"))
        if status.get("supervisor_pid"):
            self.pids_seen.add(status["supervisor_pid"])
        self.shm_folders.add(self.shm_folder())

    def shm_folder(self):
        return Path(os.path.realpath(self.folder / "run" / "shm"))

    def viewstats(self, *arguments):
        ended = run([VIEWSTATS, "--dir", self.folder, *arguments], 20)
        if ended.returncode != 0:
            raise Failed("viewstats %s ended with %d:\n%s%s" % (
                " ".join(arguments), ended.returncode, ended.stdout, ended.stderr))
        return ended.stdout

    def stats(self):
        return json.loads(self.viewstats("--once", "--json"))["processes"]

    def counters(self, role, name):
        """One counter of every process with that role, in the order of their indices."""
        rows = sorted((row for row in self.stats() if row["role"] == role), key=lambda row: row["index"])
        return [row["counters"][name] for row in rows]

    def stop(self):
        """Stops the group and looks that nothing of it is left, then removes its folder."""
        try:
            self.remember()
            ended = self.control("stop", seconds=STOP_SECONDS + 10)
            if ended.returncode != 0:
                raise Failed("stop failed with %d:\n%s%s\n%s" % (
                    ended.returncode, ended.stdout, ended.stderr, self.log_tails()))
            self.check_nothing_left()
            self.check_nothing_refused()
        finally:
            self.destroy()

    def check_nothing_left(self):
        living = [pid for pid in self.pids_seen if is_alive(pid)]
        left = processes_of(self.folder)
        if living or left:
            raise Failed("stopped, but these processes live on: %r %r" % (living, left))
        memory = [str(folder) for folder in self.shm_folders if folder.exists()]
        if memory:
            raise Failed("stopped, but shared memory is left in %s" % ", ".join(memory))
        if os.path.lexists(self.settings["unixsocket"]):
            raise Failed("stopped, but the socket %s is left" % self.settings["unixsocket"])
        run_folder = self.folder / "run"
        files = sorted(os.listdir(run_folder)) if run_folder.exists() else []
        if files:
            raise Failed("stopped, but run/ still holds %s" % ", ".join(files))

    def refusals(self):
        """What the daemons' filters on system calls have refused, as their logs say it."""
        return [line for path in sorted((self.folder / "log").glob("*")) for line in path.read_text(errors="replace").splitlines() if REFUSED in line]

    def check_nothing_refused(self):
        """A daemon that does its work needs nothing that its filter refuses."""
        if self.refusals() and not self.refuses:
            raise Failed("a filter on system calls is in the way of its daemon:\n%s" % "\n".join(self.refusals()))

    def log_tails(self, lines=15):
        tails = []
        for path in sorted((self.folder / "log").glob("*")):
            text = path.read_text(errors="replace").splitlines()[-lines:]
            tails.append("--- %s\n%s" % (path.name, "\n".join(text)))
        return "\n".join(tails)

    def destroy(self):
        super().destroy()
        for folder in self.shm_folders:
            remove_shared_memory(folder)


def all_up(instance):
    """The processes, once all of them run."""
    status = instance.status()
    return status["processes"] if status["state"] == "running" else None


Subject = Oracle if SUBJECT_IS_ORACLE else Instance


def needs_millrace(test_class):
    """For tests of the group itself, which make no sense when redis-server stands in for it."""
    return unittest.skipIf(SUBJECT_IS_ORACLE, "MILLRACE_SUBJECT=oracle: nothing of millrace runs")(test_class)


class InstanceCase(unittest.TestCase):
    """A test class that shares one instance between its tests; IO and SETTINGS say which."""

    IO = 2
    SETTINGS = {}

    @classmethod
    def setUpClass(cls):
        cls.instance = Subject(io=cls.IO, **cls.SETTINGS)

    @classmethod
    def tearDownClass(cls):
        cls.instance.stop()

    def connect(self, **options):
        """A connection that ends with the test."""
        wire = self.instance.wire(**options)
        self.addCleanup(wire.close)
        return wire


class FreshInstanceCase(unittest.TestCase):
    """A test class whose tests kill, stop or fill things: each makes an instance of its own."""

    def start(self, io=2, **settings):
        instance = Subject(io=io, **settings)
        self.addCleanup(instance.stop)
        return instance

    def connect(self, instance, **options):
        wire = instance.wire(**options)
        self.addCleanup(wire.close)
        return wire
