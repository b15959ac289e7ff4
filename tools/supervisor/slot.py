"""One place in the group, such as md 0 or io_conn 3, and the rule that a process lives there.

States, as `status` shows them (of the two md, pair.py has more to say):

                  started        ready, standby
        down ──────────────► starting ────► up ──retire──► draining
          ▲                      │           │                 │
          └──────────────────────┴───────────┴─────────────────┘   the process has ended

An md that loads data is starting for as long as that takes. From its first `loading` on others can join it: the place is open.
"""

import asyncio
import signal

from .errors import Failure
from .limits import BACKOFF_FIRST_S, BACKOFF_MAX_S, EARLY_DEATH_S, LOADING_S, PROGRESS_BYTES_MAX, READY_S, STOP_S
from .procfs import is_dying


class Backoff:
    """How long to wait before the next try: not at all after the first death, then doubling while it dies early."""

    def __init__(self, early_s=EARLY_DEATH_S):
        self._early_s = early_s
        self._early_deaths = 0

    def delay_s(self, lived_s):
        """The pause after a process that lived for so long."""
        if lived_s >= self._early_s:
            self._early_deaths = 0
        deaths = self._early_deaths
        # Counting on without end would one day overflow the power.
        self._early_deaths = min(deaths + 1, 32)
        return 0.0 if deaths == 0 else min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2 ** (deaths - 1))


class Slot:
    """Keeps a process alive in one place of the group.

    host  the Group: launch(slot) starts a process; serves(), waits(), drains(), kept(), progresses(), died(), pausing() and changed()
          hear what happens
    """

    def __init__(self, role, index, host):
        self.role = role
        self.index = index
        self.state = "down"
        self.restarts = 0
        self.retiring = False       # set by the group: this place is to go
        self.process = None
        self.progress = None        # how far its process has come with what takes long: loading, saving
        self.served_s = 0.0         # how long the process before this one lived, if it has come up
        self.turn = 0               # the number of its last `ready` in this life; 0: it has said none, or waits again
        self.next_try = None        # loop time at which a pause ends; None: there is none
        self._host = host
        self._backoff = Backoff()
        self._unwanted = asyncio.Event()
        self._stir = asyncio.Event()    # the pause is to be looked at again
        self._task = None
        self._verdict = None        # a future: how the first try ended, None if well, else why not
        self._opened = None         # a future: the same for what others wait for who join it
        self._patience_until = 0.0  # loop time at which the present process has to be up
        self._settled = None        # a future: the present process has come up, or failed

    @property
    def name(self):
        """As messages call it."""
        return self.role if (self.role, self.index) in (("md", 0), ("md_log", 0), ("md_repl", 0)) else f"{self.role} {self.index}"

    async def start(self, insist):
        """Starts it and waits until it serves. Raises Failure with the reason if the first try fails.

        insist  go on trying after a failed first try (a restart must not give up); otherwise the place stays empty
        """
        self.begin(insist)
        await self.serves()

    async def opens(self):
        """Waits until others can join it: it serves, or loads. Raises Failure as start(). REQUIRES: begin()."""
        await self._good(self._opened)

    async def serves(self):
        """Waits until it serves. Raises Failure as start(). REQUIRES: begin()."""
        await self._good(self._verdict)

    async def _good(self, verdict):
        reason = await asyncio.shield(verdict)
        if reason is not None:
            raise Failure(f"{self.name} does not start: {reason}")

    async def settles(self):
        """Waits until its process, if it is just starting, has come up or failed."""
        if self.process is not None:
            await asyncio.wait([self._settled, self.process.exited], return_when=asyncio.FIRST_COMPLETED)

    def adopt(self, process):
        """Guards a process of an earlier supervisor, which is asked what it does, and those that follow it."""
        self.begin(True, process)
        self._decide(None)

    def start_unawaited(self):
        """Starts it, tries again until it comes up, and is content with an md that waits for its turn."""
        self.begin(insist=True)
        self._decide(None)

    def begin(self, insist, adopted=None):
        """Starts it, or guards `adopted`, and does not wait."""
        self._unwanted.clear()
        loop = asyncio.get_running_loop()
        self._verdict, self._opened = loop.create_future(), loop.create_future()
        if adopted is not None:
            self._take(adopted)
        self._task = asyncio.create_task(self._live(insist, adopted))

    def give_up(self):
        """When its process ends, no other one follows."""
        self._unwanted.set()
        self._stir.set()

    async def stop(self, number=signal.SIGTERM):
        """Ends the process, if any, and what would start the next one. May be called at any time, also twice."""
        self.give_up()
        process = self.process
        if process is not None and not process.exited.done():
            gone = await process.end(STOP_S, lambda: self._host.log.event(
                "child_killed", role=self.role, index=self.index, pid=process.pid,
                reason=f"did not end within {STOP_S:g} s of {number.name}"), number)
            if not gone:
                self._host.log.event("child_unkillable", role=self.role, index=self.index, pid=process.pid)
                self._task.cancel()
        if self._task is not None:
            await asyncio.wait([self._task])

    def retire(self):
        """Lets it end by itself when its last client has gone. REQUIRES: state is up."""
        self.give_up()
        self.process.send(signal.SIGUSR1)
        self._enter("draining")

    def kill(self):
        """Ends the process at once."""
        self.give_up()
        if self.process is not None:
            self.process.send(signal.SIGKILL)

    def hurry(self, seconds):
        """Ends a pause after so many seconds, if it would last longer. REQUIRES: it pauses."""
        self.next_try = min(self.next_try, asyncio.get_running_loop().time() + seconds)
        self._stir.set()

    def hear(self, process, word):
        """A word of the process on its ready-fd. `status` is true from here on."""
        if word == "draining" and process is self.process:
            if not self.retiring:
                self._host.drains(self)
            self._enter("draining")
            self._settle()
        if word.startswith(("loading: ", "saving: ")) and process is self.process:
            self._hear_progress(*word.split(": ", 1))
            return
        if process is not self.process or self._unwanted.is_set():
            return
        if word.startswith("kept: "):
            self._host.kept(word.removeprefix("kept: "))
        elif word == "ready":
            if self.turn == 0:
                took_over = self.state == "up"
                self.turn = self._host.next_turn()
                self._come_up()
                self._decide(None)
                self._host.serves(self, process, took_over)
        elif word == "standby":
            self.turn = 0
            if self._verdict.done():        # else somebody waits for it to serve
                self._come_up()
            self._host.waits(self, process)
        else:
            # It says that it cannot go on, and has the usual time to end by itself.
            asyncio.get_running_loop().call_later(STOP_S, process.send, signal.SIGKILL)
            self._settle()

    def _hear_progress(self, what, how_far):
        """It does what takes its time, and has got so far. Who says that is not taken for one that hangs."""
        self.progress = how_far[:PROGRESS_BYTES_MAX]
        self._patience_until = max(self._patience_until, asyncio.get_running_loop().time() + LOADING_S)
        if what == "loading" and not self._opened.done():
            self._opened.set_result(None)
        self._host.progresses(self, what)

    @property
    def is_dying(self):
        """Whether its process, if any, has ended or is about to, although nobody has said so yet."""
        return self.process is None or is_dying(self.process.pid)

    @property
    def is_wanted(self):
        """Whether a process is meant to live here."""
        return not self._unwanted.is_set()

    @property
    def ended(self):
        """The task that ends when nothing lives here any more and nothing will."""
        return self._task

    def _enter(self, state):
        """The one function that changes the state."""
        self.state = state
        self.progress = None
        self._host.changed()

    async def _live(self, insist, process):
        """One life after the other until unwanted. `process`: the first one, if it runs already."""
        while not self._unwanted.is_set() or process is not None:
            lived_s = await self._guarded_life(process)
            process = None
            failed_first = self._verdict.done() and self._verdict.result() is not None
            if self._unwanted.is_set() or (failed_first and not insist):
                break
            insist = True
            self.restarts += 1
            await self._pause(self._backoff.delay_s(lived_s))
        self._decide("it was stopped")

    async def _guarded_life(self, process):
        """_one_life(), and whatever goes wrong in the supervisor itself does not end the guarding."""
        try:
            return await self._one_life(process)
        except Exception as error:      # noqa: BLE001 (a bug of ours; the place must stay guarded)
            self._host.log.exception(f"slot {self.name}", error)
            self._decide("the supervisor met an unexpected error; see log/supervisor.log")
            if self.process is not None:
                await asyncio.shield(self.process.exited)
            return 0.0

    def _take(self, process):
        """This process lives here now."""
        self.process = process
        self.turn = 0
        loop = asyncio.get_running_loop()
        self._settled, self._patience_until = loop.create_future(), loop.time() + READY_S
        self._enter("starting")

    async def _one_life(self, process):
        """A process from start to end; gives the seconds that it lived."""
        if process is None:
            try:
                process = self._host.launch(self)
            except (OSError, Failure) as error:     # no memory, no descriptor, the program is being replaced, ...
                self._host.log.event("child_not_started", role=self.role, index=self.index, cause=error)
                self._decide(str(error))
                return 0.0
            self._take(process)
        await self._come_up_in_time(process)
        # Shielded: if this task is given up, the process may still end later and say so.
        cause = await asyncio.shield(process.exited)
        lived_s = process.uptime_s()
        reason = None if process.word in ("ready", "standby") else process.reason()
        self.served_s = lived_s if reason is None else 0.0
        self._decide(reason or "it ended before it served")
        self.process = None
        self._enter("down")
        self._host.died(self, process, cause, lived_s, reason)
        return lived_s

    async def _come_up_in_time(self, process):
        """Waits until it has come up or failed; what does neither, and does not say that it loads, is ended."""
        loop = asyncio.get_running_loop()
        while not (self._settled.done() or process.exited.done()) and (left := self._patience_until - loop.time()) > 0:
            await asyncio.wait([self._settled, process.exited], timeout=left, return_when=asyncio.FIRST_COMPLETED)
        if self._settled.done() or process.exited.done() or self._unwanted.is_set():
            return
        limit_s, reason = READY_S, f"it was not ready within {READY_S:g} s"
        if self.progress is not None:
            limit_s, reason = LOADING_S, f"it was loading ({self.progress}) and said nothing more for {LOADING_S:g} s"
        self._host.log.event("child_not_ready", role=self.role, index=self.index, pid=process.pid, limit_s=f"{limit_s:g}")
        self._decide(reason)
        process.send(signal.SIGKILL)

    def _come_up(self):
        self._enter("up")
        self._settle()

    def _settle(self):
        if not self._settled.done():
            self._settled.set_result(None)

    def _decide(self, reason):
        """Tells start() how the first try ended (None: well)."""
        for future in (self._opened, self._verdict):
            if not future.done():
                future.set_result(reason)

    async def _pause(self, seconds):
        """Waits before the next life, but not when it has become unwanted."""
        loop = asyncio.get_running_loop()
        self.next_try = loop.time() + seconds
        if seconds > 0:
            self._host.pausing(self)
        while not self._unwanted.is_set() and (left := self.next_try - loop.time()) > 0:
            self._stir.clear()
            try:
                await asyncio.wait_for(self._stir.wait(), left)
            except asyncio.TimeoutError:
                pass
        self.next_try = None
