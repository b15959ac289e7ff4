"""Stands in for md_repl in tests of those who listen to it: the group runs with a stub in its place, and the test writes the words of
common/repl_words.h and listens at md_repl's door by itself."""

import os
import shutil
import socket
import struct
import tempfile
from pathlib import Path

from fake_md_log import Words, places
from harness import PROGRAMS, Failed

STUB = Path(__file__).resolve().parent / "stub_daemon.py"
LINK_STATES = ("none", "connect", "connecting", "waiting", "receiving", "loading", "following")
REPLICA_STATES = ("none", "registered", "saving", "sending", "online")
REPLICA = "<QQQQQQQIHH48s"             # struct Replica


class Programs:
    """A folder of all programs, with a stub in the place of md_repl; groups are started from it until end()."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="mill bin "))
        for program in PROGRAMS.iterdir():
            (self.folder / program.name).symlink_to(STUB if program.name == "md_repl" else program)
        self.before = os.environ.get("MILLRACE_BIN")
        os.environ["MILLRACE_BIN"] = str(self.folder)

    def end(self):
        if self.before is None:
            del os.environ["MILLRACE_BIN"]
        else:
            os.environ["MILLRACE_BIN"] = self.before
        shutil.rmtree(self.folder)


class ReplWords(Words):
    """The words of an instance, as attributes."""

    def __init__(self, instance):
        super().__init__(instance, "repl", places("repl_words.h", "ReplWords"))

    def link(self, state):
        self.link_state = LINK_STATES.index(state)
        self.wake()

    def replica(self, row, state, *, id=0, acknowledged=0, acknowledged_ms=0, to_send=0, checked=0, verified=0, damaged=0, port=0, address=""):
        """Writes a row of the followers (versioned_words.h)."""
        at = self.places["replicas"][0] + row * (8 + struct.calcsize(REPLICA))
        version = struct.unpack_from("<Q", self.memory, at)[0]
        struct.pack_into("<Q", self.memory, at, version + 1)
        struct.pack_into(REPLICA, self.memory, at + 8, id, acknowledged, acknowledged_ms, to_send, checked, verified, damaged, REPLICA_STATES.index(state), port, 0, address.encode())
        struct.pack_into("<Q", self.memory, at, version + 2)

    def wake(self, only="*"):
        """The io_conn look again."""
        for path in (self.instance.folder / "run").glob("io_conn-%s.fifo" % only):
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            os.write(descriptor, b"w")
            os.close(descriptor)

    def want_door(self, only="*"):
        self.door_wanted += 1
        self.wake(only)


class Door:
    """md_repl's door: what io_conn hand in there."""

    def __init__(self, instance):
        self.path = instance.folder / "run" / "md_repl.sock"
        self.listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        folder = os.open(self.path.parent, os.O_PATH)
        self.listener.bind("/proc/self/fd/%d/%s" % (folder, self.path.name))       # the path itself may be too long
        os.close(folder)
        self.listener.listen(8)
        self.taken = []

    def take(self, seconds=10):
        """(line, connection of the one who came, the connection that it has given or None)."""
        self.listener.settimeout(seconds)
        try:
            visitor, _ = self.listener.accept()
        except TimeoutError:
            raise Failed("nobody came to md_repl's door") from None
        visitor.settimeout(10)
        line, descriptors, _, _ = socket.recv_fds(visitor, 4096, 4)
        if len(descriptors) > 1:
            raise Failed("more than one descriptor")
        given = socket.socket(fileno=descriptors[0]) if descriptors else None
        self.taken += [each for each in (visitor, given) if each is not None]
        if given is not None:
            given.settimeout(10)
        return line, visitor, given

    def nobody_comes(self, seconds):
        self.listener.settimeout(seconds)
        try:
            self.listener.accept()[0].close()
        except TimeoutError:
            return True
        return False

    def end(self):
        for each in (self.listener, *self.taken):
            each.close()
        self.path.unlink(missing_ok=True)
