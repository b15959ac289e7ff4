"""Options and programs.

The script never reads millrace.conf itself: millrace-conf does, from the one table of options.
"""

import contextlib
import json
import os
import subprocess

from . import cgroup
from .errors import Failure
from .limits import PROGRAM_S

_script_dir = "."

DAEMONS = ("md", "md_log", "md_repl", "io_conn")


def set_script_dir(path):
    """Told once by the script: programs are looked for relative to it."""
    global _script_dir
    _script_dir = path


def program(name):
    """The path of one of our programs. Raises Failure."""
    path = find_program(name)
    if path is None:
        chosen = os.environ.get("MILLRACE_BIN")
        where = f"$MILLRACE_BIN ({chosen})" if chosen else os.path.realpath(_folders()[0])
        raise Failure(f"the program {name} is not in {where}: build it with 'make', or set MILLRACE_BIN")
    return path


def _folders():
    """Where our programs may be: $MILLRACE_BIN, else the build folder, else the installed place."""
    chosen = os.environ.get("MILLRACE_BIN")
    return [chosen] if chosen else [os.path.join(_script_dir, "..", "build", "bin"), os.path.join(_script_dir, "..", "libexec", "millrace")]


def find_program(name):
    """The path of one of our programs; None if it is missing."""
    for folder in _folders():
        path = os.path.abspath(os.path.join(folder, name))
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return None


def version():
    """What `md --version` says, without the name; None if it says nothing usable."""
    try:
        done = subprocess.run([program("md"), "--version"], capture_output=True, stdin=subprocess.DEVNULL,
                              timeout=PROGRAM_S, check=False)
    except (OSError, Failure, subprocess.SubprocessError):
        return None
    words = done.stdout.decode("utf-8", "replace").split()
    return words[-1] if done.returncode == 0 and words else None


def settings_of(args, instance):
    """What a command line asks for. --port and --io are short for --set, which comes last: the later word wins."""
    overrides = []
    if args.port is not None:
        overrides.append(f"port={args.port}")
    if args.io is not None:
        overrides.append(f"io-conns={args.io}")
    if args.config and not os.path.exists(args.config):
        raise Failure(f"the configuration file {args.config} does not exist: correct --config")
    return Settings(instance, args.config, overrides + args.set)


class Settings:
    """Where the options of an instance come from: a file, and what the command line puts over it.

    The supervisor keeps this object and asks again at every `restart`.
    """

    def __init__(self, instance, config=None, overrides=()):
        self._instance = instance
        self._config = os.path.realpath(config) if config else None
        self._overrides = list(overrides)
        self._may_derive = True

    @classmethod
    def running(cls, instance):
        """Those that the running group was started with: nothing in them is open."""
        made = cls(instance, instance.effective_conf)
        made._may_derive = False
        return made

    def file(self):
        """The configuration file; None if there is none. It is looked for every time: it may have come or gone since the start."""
        return self._config or (self._instance.conf if os.path.exists(self._instance.conf) else None)

    def _given(self):
        file = self.file()
        words = ["--file", file] if file else []
        for pair in self._overrides:
            words += ["--set", pair]
        return words

    def _arguments(self):
        return self._given() + [word for name, value in self.derived().items() for word in ("--set", f"{name}={value}")]

    def configured(self):
        """{name: value} of every option as file and command line have it."""
        return values(self._given())

    def derived(self):
        """{name: value} of what file and command line leave open and this host decides."""
        found = cgroup.limit() if self._may_derive else None
        if found is None or self.configured().get("maxmemory") != 0:
            return {}
        return {"maxmemory": cgroup.share(found[0])}

    def options(self):
        """Every effective option with its typed value."""
        with _expected_shape():
            return Options(values(self._arguments()))

    def effective(self):
        """The same as `key = value` lines: what the daemons read."""
        return _ask("--effective", self._arguments())


def _ask(what, words):
    """Runs millrace-conf; its sentence about a bad value becomes ours."""
    try:
        done = subprocess.run([program("millrace-conf"), what] + words, capture_output=True,
                              stdin=subprocess.DEVNULL, timeout=PROGRAM_S, check=False)
    except subprocess.TimeoutExpired:
        raise Failure(f"millrace-conf gave no answer within {PROGRAM_S:.0f} s") from None
    except OSError as error:
        raise Failure(f"millrace-conf cannot be run: {error.strerror}") from None
    if done.returncode != 0:
        sentence = done.stderr.decode("utf-8", "backslashreplace").strip().removeprefix("millrace: ")
        raise Failure(sentence or f"millrace-conf ended with status {done.returncode} and no word")
    return done.stdout.decode("utf-8", "surrogateescape")


@contextlib.contextmanager
def _expected_shape():
    """What is wrong with millrace-conf's answer becomes a Failure."""
    try:
        yield
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Failure(f"millrace-conf --json gave something unexpected ({error!r}): "
                      "the script and the programs are of different versions; install both again") from None


def values(words):
    """{name: value} of every option after millrace-conf has read these arguments; without any these are the defaults."""
    with _expected_shape():
        return dict(json.loads(_ask("--json", words)))


def live_names():
    """The names of the options that CONFIG SET changes."""
    with _expected_shape():
        return set(json.loads(_ask("--live", [])))


class Options:
    """The options that the supervisor itself needs. Raises KeyError, TypeError or ValueError on a wrong shape."""

    def __init__(self, given):
        self.port = int(given["port"])
        self.bind = given["bind"].split()
        self.unixsocket = given["unixsocket"]
        self.unixsocketperm = int(given["unixsocketperm"] or "700", 8)
        self.backlog = int(given["tcp-backlog"])
        self.io_conns = int(given["io-conns"])
        self.md_hang_timeout = int(given.get("md-hang-timeout", 0))
        self.io_conn_hang_timeout = int(given.get("io-conn-hang-timeout", 0))
        self.drain_timeout = int(given.get("drain-timeout", 0))
        self.maxclients = int(given["maxclients"])
        self.shm_dir = os.path.abspath(given["shm-dir"])
        self.ring_bytes = int(given["ring-size"])
        self.user = given.get("user", "")
