"""The servers that compare.py measures: how each is found, started on a free loopback port, pinned, asked for its
processes, and ended. A server that is not installed is Missing, which is a sentence for the reader and no error.
Everything started here is ended by its process id, and its folder removed."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BIN = os.path.join(ROOT, "build", "bin")
READY_SECONDS_MAX = 20.0
END_SECONDS_MAX = 10.0
MEMORY_MB = 1024
NANOS = 1e9


class Missing(Exception):
    """This server cannot take part; the text says why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pinned(core, command):
    return ["taskset", "-c", str(core)] + command if shutil.which("taskset") else command


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Missing(f"{what} within {seconds:.0f} s")
        time.sleep(0.02)


def accepts(port):
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


def is_running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cpu_seconds_of(pid):
    """CPU time of all threads that a process has now: nanosecond accounting where the kernel keeps it."""
    nanos = 0
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/schedstat") as file:
                nanos += int(file.read().split()[0])
        return nanos / NANOS
    except (FileNotFoundError, ProcessLookupError):
        return cpu_seconds_in_ticks(pid)


def cpu_seconds_in_ticks(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except (FileNotFoundError, ProcessLookupError):
        return 0.0


class Server:
    """One server process, started directly; `core`: the number of a processor, or several with commas."""

    name = ""
    protocol = "redis"

    def __init__(self, core):
        self.core = core
        self.port = free_port()
        self.folder = tempfile.mkdtemp(prefix=f"millrace-bench-{self.name}-")
        self.process = None

    def command(self):
        raise NotImplementedError

    def start(self):
        command, program = self.command()
        with open(os.path.join(self.folder, "output"), "wb") as output:
            # `program` may differ from command[0]: one Redis binary serves under several names.
            self.process = subprocess.Popen(command, executable=program, stdout=output, stderr=output,
                                            cwd=self.folder, start_new_session=True,
                                            preexec_fn=lambda: os.sched_setaffinity(0, {int(core) for core in str(self.core).split(",")}))
        wait_until(self.is_ready, READY_SECONDS_MAX, f"{self.name} did not listen on port {self.port}")

    def is_ready(self):
        if self.process.poll() is not None:
            raise Missing(f"{self.name} ended at once with status {self.process.returncode}: {self.last_words()}")
        return accepts(self.port)

    def last_words(self):
        with open(os.path.join(self.folder, "output"), errors="replace") as file:
            lines = file.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"

    def pids(self):
        return {self.process.pid: self.name}

    def cpu_seconds(self):
        return sum(cpu_seconds_of(pid) for pid in self.pids())

    def end_processes(self):
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(END_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stop(self):
        try:
            self.end_processes()
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)


class Redis(Server):
    name = "redis"

    def command(self):
        # redis-check-rdb is the same binary; it is a server when called by that name.
        program = shutil.which("redis-server") or shutil.which("redis-check-rdb")
        if not program:
            raise Missing("redis-server is not installed (apt-get install redis-server)")
        return ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--dir", self.folder, "--daemonize", "no"], program


class Memcached(Server):
    name = "memcached"
    protocol = "memcached"

    def command(self):
        program = shutil.which("memcached")
        if not program:
            raise Missing("memcached is not installed (apt-get install memcached)")
        as_user = ["-u", "nobody"] if os.geteuid() == 0 else []
        return ["memcached", "-l", "127.0.0.1", "-p", str(self.port), "-t", "1", "-m", str(MEMORY_MB),
                *as_user], program


class EpollFloor(Server):
    name = "floor"

    def __init__(self, core, value_bytes=64):
        super().__init__(core)
        self.value_bytes = value_bytes

    def command(self):
        program = os.path.join(BIN, "millrace-epoll-floor")
        if not os.path.exists(program):
            raise Missing(f"{program} is not built (make)")
        return [program, "--port", str(self.port), "--reply", f"bulk:{self.value_bytes}"], program


class Millrace(Server):
    """The group, through its control script: many processes, found by their status."""

    name = "millrace"
    script = os.path.join(ROOT, "tools", "millrace")

    def start(self):
        if not os.path.exists(self.script):
            raise Missing("tools/millrace does not exist")
        done = self.call("start", "--port", str(self.port), "--io", "1", "--set", "appendonly=no", "--set", "save=", "--daemon")
        if done.returncode != 0:
            reason = (done.stderr or done.stdout).strip().splitlines() or ["no reason given"]
            raise Missing(f"millrace did not start: {reason[-1]}")
        wait_until(lambda: accepts(self.port), READY_SECONDS_MAX, f"millrace did not listen on port {self.port}")

    def call(self, *words):
        command = [self.script, words[0], "--dir", self.folder, *words[1:]]
        return subprocess.run(pinned(self.core, command), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=3 * READY_SECONDS_MAX, check=False,
                              env={"MILLRACE_DEFAULT_USER": "root", **os.environ})      # the folder is its own account's only

    def pids(self):
        done = self.call("status", "--json")
        try:
            status = json.loads(done.stdout)
        except ValueError:
            return {}
        found = {one["pid"]: one["role"] for one in status.get("processes", []) if one.get("pid")}
        if status.get("supervisor_pid"):
            found[status["supervisor_pid"]] = "supervisor"
        return found

    def end_processes(self):
        pids = self.pids()
        self.call("stop")
        try:
            wait_until(lambda: not any(map(is_running, pids)), END_SECONDS_MAX,
                       "millrace stop did not end all processes")
        except Missing as reason:
            print(reason, file=sys.stderr)
            for pid in filter(is_running, pids):
                os.kill(pid, signal.SIGKILL)


KINDS = {kind.name: kind for kind in (Redis, Memcached, EpollFloor, Millrace)}
