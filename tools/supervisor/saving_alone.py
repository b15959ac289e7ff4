"""The last save without a supervisor (saving.py says what that is): `stop` finds md_log, or starts it, and ends it."""

import asyncio
import os
import signal
import time

from . import leftovers, state
from .errors import Failure
from .instance import is_fifo, link_shm_folder, remove_file
from .limits import KILL_S
from .process import Adopted, Child, command_line
from .saving import LastSave
from .slot import Slot


class _Host:
    """What a Slot needs of the group around it, where there is none but md_log."""

    def __init__(self, instance, log):
        self._instance = instance
        self.log = log

    def launch(self, slot):
        """As Group.launch()."""
        instance = self._instance
        if not os.path.isfile(instance.effective_conf):
            raise Failure(f"its configuration, {instance.effective_conf}, is gone, and 'millrace start' makes it anew")
        if not os.path.exists(os.path.join(instance.shm_link, "control")):
            raise Failure("only a group that serves can save what is left of one since a later start has failed; see what that said")
        for role in (slot.role, "md", "md_repl"):       # whom it would wake
            fifo = instance.fifo(role, 0)
            if not is_fifo(fifo):
                remove_file(fifo)
                os.mkfifo(fifo, 0o600)
        generation = max(int(time.time() * 1000), int(state.read(instance).get("generation", 0)) + 1)
        process = Child(command_line(instance, instance.read_id(), slot.role, slot.index, generation, 0),
                        instance.words(slot.role, slot.index), instance.daemon_log(slot.role, slot.index), [], slot.hear)
        self.log.event("child_started", role=slot.role, index=slot.index, pid=process.pid, generation=generation, restarts=0)
        return process

    def adopt(self, slot, leftover):
        """One that runs goes on in the slot. Gives False if it cannot be heard: then nobody would know whether it has saved."""
        instance = self._instance
        try:
            slot.adopt(Adopted(leftover, instance.words(slot.role, slot.index), instance.daemon_log(slot.role, slot.index), slot.hear))
        except OSError:
            return False
        return True

    def next_turn(self):
        """As Group.next_turn(); here there are no turns."""
        return 1

    def progresses(self, slot, what):
        """As Group.progresses()."""
        self.log.progress(what, slot.progress or "")

    def died(self, slot, process, cause, _lived_s, _reason):
        """As Group.died()."""
        self.log.event("child_ended", role=slot.role, index=slot.index, pid=process.pid, cause=cause)

    def serves(self, *_):
        """Nobody else has to know."""

    waits = drains = kept = pausing = changed = serves


def save(instance, shm_folder, leftover, log, force):
    """Gives why the data in shm_folder is not saved; None: it is.

    leftover  an md_log that runs, or None
    force     it gets no more time than any other daemon, and is not started if it does not run

    REQUIRES: the lock, and no md alive.
    """
    if os.path.realpath(instance.shm_link) != os.path.realpath(shm_folder):
        link_shm_folder(instance, shm_folder)
    try:
        return asyncio.run(_save(instance, shm_folder, leftover, log, force))
    finally:
        log.end_progress()


async def _save(instance, shm_folder, leftover, log, force):
    host = _Host(instance, log)
    slot = Slot("md_log", 0, host)
    last_save = LastSave(slot, shm_folder, lambda: host.progresses(slot, "saving"))
    if force:
        last_save.hurry()
    if leftover is not None and not host.adopt(slot, leftover):
        leftover.send(signal.SIGKILL)
        leftovers.wait_gone([leftover], KILL_S)
        os.close(leftover.pidfd)
    return await last_save.run(settles=False)
