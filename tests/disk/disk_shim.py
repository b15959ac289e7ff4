"""Runs programs under disk_shim.so: `DiskShim` keeps a folder's base, journal and control file, and makes outcomes of a power loss.

    shim = DiskShim(library, folder, scratch, "md_log", faults=["sync:3:EIO"])
    with shim.in_environment():
        ...start what shall run under it...
    point = shim.journal_bytes()            # at an acknowledgement: every outcome from here on has to have it
    shim.make_outcome(out, seed=1, upto=point)
"""

import contextlib
import os
import shutil
import struct
from pathlib import Path
from unittest import mock

from disk_model import Model
from power_loss import unexplained, write_outcome

CALLS = ("write", "sync", "dirsync", "open", "rename", "truncate", "unlink", "allocate", "mkdir")
# Of the control file (journal_format.h).
CALLS_AT, FAULTS_AT, ERROR_AT, ERROR_BYTES, CONTROL_BYTES = 8, 136, 512, 256, 4096


class DiskShim:
    """`program` is the name of the program's file. The base is copied now: nothing may change the folder until the program does. `scratch` is a
    folder outside of it for base and journal."""

    def __init__(self, library, folder, scratch, program, faults=()):
        self.library, self.program, self.faults = Path(library), program, list(faults)
        self.folder, self.scratch = Path(folder).resolve(), Path(scratch).resolve()
        self.base, self.journal, self.control = (self.scratch / name for name in ("base", "journal", "control"))
        self.scratch.mkdir(parents=True, exist_ok=True)
        if self.folder.exists():
            shutil.copytree(self.folder, self.base)
        self.journal.touch()
        with open(self.control, "xb") as control:
            control.truncate(CONTROL_BYTES)

    def environment(self):
        """What a program needs of variables; programs of other names run as ever."""
        return {"LD_PRELOAD": str(self.library.resolve()), "MILLRACE_SHIM_PROGRAM": self.program, "MILLRACE_SHIM_FOLDER": str(self.folder),
                "MILLRACE_SHIM_JOURNAL": str(self.journal), "MILLRACE_SHIM_CONTROL": str(self.control),
                "MILLRACE_SHIM_FAULT": ",".join(self.faults)}

    @contextlib.contextmanager
    def in_environment(self):
        """For what starts programs with this process's own variables."""
        with mock.patch.dict(os.environ, self.environment()):
            yield self

    def order(self, text=""):
        """From now on: "write ENOSPC", "sync EIO, write slow:5", or nothing any more. Holds for calls that begin later."""
        words = text.encode()
        assert len(words) < ERROR_BYTES, text
        with open(self.control, "r+b", buffering=0) as control:
            os.pwrite(control.fileno(), b"\0", ERROR_AT)    # no half of the text is ever an order
            os.pwrite(control.fileno(), words[1:].ljust(ERROR_BYTES - 1, b"\0"), ERROR_AT + 1)
            os.pwrite(control.fileno(), words[:1] or b"\0", ERROR_AT)

    def calls(self):
        """{call: how often it was made since the beginning}, the failed ones with them."""
        return dict(zip(CALLS, struct.unpack_from("<%dQ" % len(CALLS), self.control.read_bytes(), CALLS_AT)))

    def faults_injected(self):
        return struct.unpack_from("<Q", self.control.read_bytes(), FAULTS_AT)[0]

    def journal_bytes(self):
        return self.journal.stat().st_size

    def model(self, upto=None):
        return Model(self.base, self.journal, upto)

    def make_outcome(self, out, seed, keep="random", upto=None):
        write_outcome(self.model(upto), out, seed, keep)

    def unexplained(self):
        """What the shim has not seen: empty, or the test is worth nothing. To be asked while nothing is being written."""
        return unexplained(self.base, self.journal, self.folder)
