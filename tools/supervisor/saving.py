"""The last save: how md_log ends at a stop, so that nothing is thrown away that is not on disk.

md_log ends last, when nobody changes the data any more. At SIGTERM it writes what it has not yet written, if so configured a
snapshot too, and ends with status 0; that takes as long as it takes, and nobody kills it for that. An md_log that is dead
when its turn comes is started once more, because the data in shared memory still has to be saved. If it ends in any other way, the
data stays in shared memory, where the next start finds it. `stop --force` gives it no more time than any other daemon, and gives up
what is not saved by then.
"""

import asyncio
import os
import signal

from .errors import Failure
from .limits import KILL_S, PROGRESS_S, STOP_PATIENCE_S, STOP_S


def has_store(shm_folder):
    """Whether there is data in shared memory."""
    return bool(shm_folder) and os.path.exists(os.path.join(shm_folder, "store"))


class LastSave:
    """The end of one md_log.

    slot        where it lives
    shm_folder  where the data is
    tell        called every PROGRESS_S
    """

    def __init__(self, slot, shm_folder, tell):
        self._slot = slot
        self._shm_folder = shm_folder
        self._tell = tell
        self._hurry = asyncio.Event()
        self._killed = False

    def hurry(self):
        """It gets no more time than any other daemon from now on, and is not started again."""
        self._hurry.set()

    def kill(self):
        """It ends at once."""
        self._killed = True
        self._hurry.set()
        self._slot.kill()

    async def run(self, settles=True):
        """Gives why the data is not saved; None: it is, or there is none. May take long.

        settles  it may be just starting; an adopted one is not, and may be saving already
        """
        slot = self._slot
        if settles:
            await self._unless_hurried(slot.settles())      # one that is just starting would not understand the signal
        slot.give_up()
        try:
            if not _lives(slot) and not await self._start_again():
                return None
            return await self._end(slot.process)
        except Failure as error:
            return str(error)
        finally:
            await slot.stop()

    async def _start_again(self):
        """A dead one is started, once. Gives False if there is nothing to save. Raises Failure."""
        await self._slot.stop()         # what would have started the next one
        if not has_store(self._shm_folder):
            return False
        if self._hurry.is_set():
            raise Failure("md_log was killed" if self._killed else "md_log does not run")
        has_started = await self._unless_hurried(self._slot.start(insist=False))
        self._slot.give_up()
        if not has_started or not _lives(self._slot):
            raise Failure("md_log was killed while it was starting" if self._killed else "md_log ended as soon as it was started")
        return True

    async def _unless_hurried(self, work):
        """Awaits `work`; gives False if it is not done when there is no more time."""
        task, hurry = asyncio.create_task(work), asyncio.create_task(self._hurry.wait())
        await asyncio.wait([task, hurry], return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        return False

    async def _end(self, process):
        """Waits for as long as it works."""
        process.ask_to_end()
        wait_s = STOP_PATIENCE_S
        while not process.exited.done() and not self._hurry.is_set():
            await self._unless_hurried(process.gone_within(wait_s))
            wait_s = PROGRESS_S
            if not process.exited.done():
                self._tell()
        if not await process.gone_within(STOP_S):
            process.send(signal.SIGKILL)
            await process.gone_within(KILL_S)
            return f"md_log had not done it within {STOP_S:g} s"
        if self._killed:
            return "md_log was killed"
        return None if process.exited.result() == "exit:0" else f"md_log: {process.reason()}"


def _lives(slot):
    return slot.process is not None and not slot.process.exited.done()
