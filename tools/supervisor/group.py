"""The group as a whole: the order of start and stop, restart, scale, and waking the daemons when one of them died.

The first md makes the store, so it starts alone and first; when it serves, or loads, those that join it start: all io_conn, md_log
and md_repl. Its standby starts last, because clients need not wait for it. At the end io_conn go first, because they need md's end of
the rings; then md_repl, whose way into the group is a connection to an io_conn, and of the two md the standby, or it would take over;
and md_log last, when there is nothing more to write (saving.py). After a death nobody is told who died: every FIFO gets a byte, and
each daemon looks for itself what has changed.
"""

import asyncio
import os
import signal

from . import heartbeat, listeners, state
from .errors import Failure
from .instance import is_fifo, remove_file, write_whole
from .limits import BACKOFF_ALONE_S, HEARTBEAT_S, IO_CONN_MAX, LOADING_S, READY_S, SERVED_S
from .pair import PLACES, Pair
from .process import Adopted, Child, command_line
from .saving import LastSave
from .slot import Slot

# Beside md, one of each: md_log has the data on disk, md_repl speaks with other servers.
HELPERS = ("md_log", "md_repl")


class Group:
    """All daemons of one instance.

    launch  what start.py prepared: instance, id, settings, options, listening sockets, shared memory folder
    log     the event log
    """

    def __init__(self, launch, log):
        self.launch_data = launch
        self.log = log
        self._slots = {}            # (role, index) -> Slot
        self._pair = Pair()         # those of md
        self._fifos = {}            # path -> descriptor, kept open so that a writer always finds a reader
        self._generation = launch.first_generation - 1      # of the process that was started last
        self._later = []            # places of md whose turn comes when the other one serves
        self._stopping = False
        self._last_save = None      # of md_log, once it has a place
        self._owes_save = False     # clients may have written what is not on disk
        self._is_saving = False
        self._may_repair = launch.repair
        self._dirty = False
        self._is_status_written = True
        self._stir = asyncio.Event()    # something has changed

    # --- what the control socket asks for ---------------------------------------------------------------------------

    async def start(self):
        """Starts md, then all io_conn, md_log and md_repl; returns when all of them serve. Raises Failure at the first that cannot.

        The standby comes up later; if it cannot, the group serves without it.
        """
        first, *others = [self._add("md", index) for index in range(PLACES)]
        helpers = [self._add(role, 0) for role in HELPERS]      # md opens their FIFOs
        first.begin(insist=False)
        await first.opens()
        joining = helpers + [self._add("io_conn", index) for index in range(self.launch_data.options.io_conns)]
        await self._first_failure(first.serves(), *(slot.start(insist=False) for slot in joining))
        self._start_unawaited(others)

    async def adopt(self, inheritance):
        """Guards the daemons of a dead supervisor's group, and starts those that are missing. Gives when all serve, or
        after READY_S in which no md has said that it loads. Raises Failure if there is no md and none can be started."""
        self._owes_save = not inheritance.is_loading
        for index in range(PLACES):
            self._add("md", index)
        helpers = [self._add(role, 0) for role in HELPERS]
        for each in sorted(inheritance.processes, key=lambda leftover: (leftover.role, leftover.index)):
            slot = self._place(each.place_role, each.index)
            slot.restarts = each.restarts
            self._take_over(slot, each, (each.place_role, each.index) in inheritance.draining)
        missing = [self._place("io_conn", index) for index in inheritance.missing] + [slot for slot in helpers if slot.process is None]
        idle = [slot for slot in self._of("md") if slot.process is None]
        for slot in missing + idle[:1]:
            slot.restarts += 1
        if len(idle) == PLACES:
            first = idle.pop(0)
            first.begin(insist=False)
            await first.opens()
            self._start_unawaited(missing)
            await first.serves()
            missing = []
        elif inheritance.is_starting:
            self._later, idle = idle, []        # as in start(): the other one is to come first
        self._start_unawaited(missing + idle)
        await self._wait_until_served()

    async def _wait_until_served(self):
        """Gives when all serve, or after READY_S without a word about loading."""
        loop = asyncio.get_running_loop()
        until = loop.time() + READY_S
        while not self.all_serve():
            if self._loading() is not None:
                until = loop.time() + READY_S       # the place of md knows when to lose patience
            if (left := until - loop.time()) <= 0:
                return
            self._stir.clear()
            try:
                await asyncio.wait_for(self._stir.wait(), left)
            except asyncio.TimeoutError:
                pass

    def _take_over(self, slot, leftover, is_draining):
        instance = self.launch_data.instance
        try:
            process = Adopted(leftover, instance.words(slot.role, slot.index), instance.daemon_log(slot.role, slot.index), slot.hear)
        except OSError as error:    # it cannot be heard, so it cannot be guarded
            self.log.event("not_adopted", role=slot.role, index=slot.index, pid=leftover.pid, cause=error)
            leftover.send(signal.SIGKILL)
            os.close(leftover.pidfd)
            if slot.role == "io_conn":      # an empty place of the others is seen by adopt(): started here too, it would have two processes
                slot.start_unawaited()
            return
        self.log.event("child_adopted", role=slot.role, index=slot.index, pid=process.pid)
        slot.adopt(process)
        if is_draining:
            self.drains(slot)

    async def stop(self):
        """Ends everything in order: first those who talk to clients, then md_repl and the standby, then md, then md_log, which saves.

        Gives why the data is not saved; None: it is, or nothing was to be saved.
        """
        self._stopping = True
        await self._stop_slots(self._of("io_conn"))
        await self._stop_md()
        if not self._owes_save:         # what is on disk is newer than what a broken off start may have begun to load
            await self._stop_slots(self._of("md_log"), signal.SIGUSR1)
            return None
        self._is_saving = True
        self.changed()
        reason = await self._last_save.run()
        self._is_saving = False
        return reason

    def saving(self):
        """How far the last save has come, "" if md_log has not said; None if it is not under way."""
        return (self._slots["md_log", 0].progress or "") if self._is_saving else None

    def hurry(self):
        """The last save gets no more time than the end of any other daemon."""
        if self._last_save is not None:
            self._last_save.hurry()

    def kill(self):
        """Ends everything at once; stop() then finds nothing to wait for."""
        for slot in self._slots.values():
            slot.kill()
        if self._last_save is not None:
            self._last_save.kill()

    async def restart(self):
        """Replaces every process and reads the configuration again. A bad one raises Failure and changes nothing."""
        data = self.launch_data
        options, text, opened = await asyncio.to_thread(self._read_again)
        try:
            write_whole(data.instance.effective_conf, text)
            self.log.event("restarting")
            await self._stop_slots(self._of("io_conn"))
            await self._stop_md()
            await self._stop_slots(self._of("md_log"), signal.SIGUSR1)
        except BaseException:
            listeners.close(item for item in opened.items() if item[0] not in data.listeners)
            raise
        listeners.close(item for item in data.listeners.items() if item[0] not in opened)
        listeners.adjust(opened, options)
        # A number set with `scale` stays, unless the configuration itself has changed.
        count = options.io_conns if options.io_conns != data.options.io_conns else len(self._serving())
        data.options, data.listeners = options, opened
        data.notifier.keep(listeners.tcp_of(opened))
        self._resize_stopped(count)
        first, *others = self._of("md")
        joining = self._helpers() + self._of("io_conn")
        try:
            first.begin(insist=True)
            await first.opens()
            await self._first_failure(first.serves(), *(slot.start(insist=True) for slot in joining))
        except Failure:
            # All are tried until they come up: nobody else would start those whose turn has not come.
            self._start_unawaited(slot for slot in joining + others if not slot.is_wanted)
            raise
        self._start_unawaited(others)

    async def scale(self, count):
        """Changes the number of io_conn. Gives (serving, draining)."""
        serving = self._serving()
        if count < len(serving):
            for slot in serving[count:]:
                await self._retire(slot)
        elif count > len(serving):
            await self._grow(count - len(serving))
        self.log.event("scaled", io_conns=count)
        return len(self._serving()), len(self._of("io_conn")) - len(self._serving())

    async def watch(self):
        """Ends what does not turn any more, for as long as the supervisor lives. Of an md that serves its standby takes care.
        An md_log has no heartbeat: on a slow disk it may stand still in fsync for long, and to end it would make nothing faster. Nor has
        md_repl: it writes whole snapshots to disk.

        It also writes what a full disk has kept out of status.json, as soon as that has room again.
        """
        pulse = heartbeat.Pulse(self.launch_data.shm_folder)
        while True:
            await asyncio.sleep(HEARTBEAT_S)
            try:
                self._look_for_hangs(pulse)
            except Exception as error:      # noqa: BLE001 (a bug of ours; the watch must go on)
                self.log.exception("watch for hangs", error)
            if not self._is_status_written:
                self.changed()

    def _look_for_hangs(self, pulse):
        options = self.launch_data.options
        limits = {"io_conn": options.io_conn_hang_timeout, "md": options.md_hang_timeout}
        watched = {place: slot for place, slot in self._slots.items()
                   if slot.role in limits and slot.state in ("up", "draining") and slot is not self._pair.serving()}
        looks = pulse.look({place: slot.process.pid for place, slot in watched.items()})
        for place, same in looks.items():
            slot, limit = watched[place], limits[place[0]]
            if limit and same * HEARTBEAT_S >= limit:
                self.log.event("child_hung", role=slot.role, index=slot.index, pid=slot.process.pid, limit_s=limit)
                slot.process.send(signal.SIGKILL)
        if any(looks.values()):
            self._wake_all()    # who sleeps turns once

    def is_io_conn(self, pid):
        """Whether this is one of ours."""
        return any(slot.process is not None and slot.process.pid == pid for slot in self._of("io_conn"))

    def io_conns(self):
        """How many io_conn there are to be."""
        return len(self._serving())

    # --- what the slots need ----------------------------------------------------------------------------------------

    def launch(self, slot):
        """Starts a process for a slot. Raises OSError or Failure."""
        data = self.launch_data
        self._generation += 1
        argv = command_line(data.instance, data.instance_id, slot.role, slot.index, self._generation, slot.restarts)
        descriptors = [each.fileno() for each in data.listeners.values()] if slot.role == "io_conn" else []
        for descriptor in descriptors:
            argv += ["--listen-fd", str(descriptor)]
        if slot.role == "md" and self._may_repair:
            self._may_repair = False        # a later md loads nothing, or what has been repaired
            argv.append("--repair")
        process = Child(argv, data.instance.words(slot.role, slot.index), data.instance.daemon_log(slot.role, slot.index),
                        descriptors, slot.hear)
        self.log.event("child_started", role=slot.role, index=slot.index, pid=process.pid,
                       generation=self._generation, restarts=slot.restarts)
        self._wake_all()
        return process

    def next_turn(self):
        """A number for a `ready`, higher than the one before."""
        return self._pair.next_turn()

    def serves(self, slot, process, took_over):
        """A slot's process serves; `took_over`: it was a standby before."""
        if took_over:
            self.log.event("md_took_over", index=slot.index, pid=process.pid)
        else:
            self.log.event("child_ready", role=slot.role, index=slot.index, pid=process.pid)
        self._owes_save |= self._can_write()
        if slot.role == "md":
            self._start_unawaited(self._later)
            self._later = []
        self._wake_all()

    def drains(self, slot):
        """A slot's io_conn was retired by an earlier supervisor, which may have died before it noted that."""
        slot.retiring = True
        slot.give_up()
        self._let_drain(slot)
        if not self._serving():
            self._start_unawaited([self._add("io_conn", self._free_indices()[0])])

    def waits(self, slot, process):
        """A slot's md has everything mapped and waits for its turn."""
        self.log.event("child_standby", role=slot.role, index=slot.index, pid=process.pid)

    def kept(self, sentence):
        """An md has found a store and goes on with it."""
        self.launch_data.kept = sentence
        self.log.event("kept", what=sentence)

    def progresses(self, slot, what):
        """A slot's process is `loading` or `saving` and has come as far as slot.progress says."""
        self._tell_progress(what, slot.progress)
        self.changed()

    def pausing(self, slot):
        """A slot is about to wait before its next try."""
        if slot.role == "md":
            self._pair.pausing()
        elif slot.role == "io_conn" and slot.served_s >= SERVED_S and not any(other.state == "up" for other in self._serving()):
            slot.hurry(BACKOFF_ALONE_S)     # nobody else would take clients

    def died(self, slot, process, cause, lived_s, reason):
        """A slot's process has ended, on purpose or not. `reason`: why it never served, if so."""
        fields = {"role": slot.role, "index": slot.index, "pid": process.pid, "cause": cause,
                  "lived_s": f"{lived_s:.3f}"}
        if slot.is_wanted and reason is not None:
            fields["reason"] = reason
        self.log.event("child_died" if slot.is_wanted else "child_ended", **fields)
        self._wake_all()

    def changed(self):
        """Something that `status` shows has changed: the file is written once at the end of this turn of the loop."""
        self._stir.set()
        if not self._dirty:
            self._dirty = True
            asyncio.get_running_loop().call_soon(self._write_status)

    # --- inside -----------------------------------------------------------------------------------------------------

    def _of(self, role):
        return [slot for (each, _), slot in sorted(self._slots.items()) if each == role]

    def _helpers(self):
        return [slot for role in HELPERS for slot in self._of(role)]

    def _serving(self):
        """The io_conn that are meant to stay, by index."""
        return [slot for slot in self._of("io_conn") if not slot.retiring]

    def _free_indices(self):
        return [index for index in range(IO_CONN_MAX) if ("io_conn", index) not in self._slots]

    def _add(self, role, index):
        """A new, empty place with its FIFO."""
        path = self.launch_data.instance.fifo(role, index)
        if path not in self._fifos:
            try:
                if not (self.launch_data.adopts and is_fifo(path)):     # daemons that are adopted have it open
                    remove_file(path)
                    os.mkfifo(path, 0o600)
                self._fifos[path] = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                raise Failure(f"the FIFO {path} cannot be made: {error.strerror}") from None
        slot = self._slots[role, index] = Slot(role, index, self)
        if role == "md":
            self._pair.slots.append(slot)
        if role == "md_log":
            self._last_save = LastSave(slot, self.launch_data.shm_folder, lambda: self._tell_progress("saving", slot.progress))
        return slot

    def _place(self, role, index):
        """That place, made if there is none."""
        return self._slots.get((role, index)) or self._add(role, index)

    def _forget(self, slot):
        """Removes an io_conn's place and all files that only it used. REQUIRES: its process has ended."""
        self._slots.pop((slot.role, slot.index), None)
        path = self.launch_data.instance.fifo(slot.role, slot.index)
        descriptor = self._fifos.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)
        remove_file(path)
        remove_file(self.launch_data.instance.words(slot.role, slot.index))
        for name in (f"rings-{slot.index}", f"clients-{slot.index}", f"counters-io_conn-{slot.index}"):
            remove_file(os.path.join(self.launch_data.shm_folder, name))
        self.changed()

    @staticmethod
    async def _first_failure(*works):
        """Awaits several at the same time. Raises the first Failure as soon as it is known."""
        tasks = [asyncio.create_task(work) for work in works]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in tasks:
                task.cancel()
        for task in done:
            task.result()

    @staticmethod
    def _start_unawaited(slots):
        for slot in slots:
            slot.start_unawaited()

    @staticmethod
    async def _stop_slots(slots, number=signal.SIGTERM):
        await asyncio.gather(*(slot.stop(number) for slot in slots))

    async def _stop_md(self):
        """The standby first, and md_repl. None comes back, also when the roles change meanwhile."""
        for slot in self._of("md"):
            slot.give_up()
        await self._stop_slots(self._of("md_repl") + self._pair.waiting())
        await self._stop_slots(self._of("md"))

    async def _grow(self, more):
        """Adds io_conn at the lowest free indices; if one of them does not start, all the new ones go again."""
        free = self._free_indices()
        if more > len(free):
            raise Failure(f"only {len(free)} of the {IO_CONN_MAX} places for io_conn are free "
                          "(draining ones still hold theirs): try again when they are gone")
        new = [self._add("io_conn", index) for index in free[:more]]
        try:
            await self._first_failure(*(slot.start(insist=False) for slot in new))
        except Failure:
            await self._stop_slots(new)
            for slot in new:
                self._forget(slot)
            raise

    async def _retire(self, slot):
        """Takes an io_conn out of service: one that serves may drain, one that does not is simply ended."""
        slot.retiring = True
        if slot.state == "up":
            slot.retire()
            self._let_drain(slot)
        else:
            await slot.stop()
            self._forget(slot)

    def _let_drain(self, slot):
        """An io_conn that drains does not do so for ever, if the operator does not want that; its place goes when it has ended."""
        if self.launch_data.options.drain_timeout:
            asyncio.get_running_loop().call_later(self.launch_data.options.drain_timeout, slot.process.send, signal.SIGTERM)
        slot.ended.add_done_callback(lambda _: self._forget_unless_stopping(slot))

    def _forget_unless_stopping(self, slot):
        if self._slots.get((slot.role, slot.index)) is slot:
            self._forget(slot)

    def _resize_stopped(self, count):
        """Brings the io_conn to a number while none of them runs, and counts the restart of those that stay."""
        for slot in self._serving()[count:]:
            self._forget(slot)
        for slot in self._slots.values():
            slot.restarts += 1
        for index in self._free_indices()[:max(0, count - len(self._serving()))]:
            self._add("io_conn", index)

    def _read_again(self):
        """For restart: options, effective configuration and sockets, all of it before anything is changed."""
        data = self.launch_data
        options = data.settings.options()
        if options.shm_dir != data.options.shm_dir:
            raise Failure(f"shm-dir cannot change from {data.options.shm_dir} to {options.shm_dir} "
                          "while the group runs: use 'millrace stop' and 'millrace start'")
        text = data.settings.effective()
        return options, text, listeners.open_all(options, data.instance.dir, data.listeners)

    def _wake_all(self):
        """A byte into every FIFO: each daemon looks again at its rings and its peers."""
        for descriptor in self._fifos.values():
            try:
                os.write(descriptor, b"!")
            except OSError:
                pass    # full: then it is awake, or will be

    def _tell_progress(self, what, how_far):
        """What takes long is shown, and the service manager does not lose patience."""
        self.log.progress(what, how_far or "")
        self.launch_data.notifier.extend(LOADING_S)
        if what == "loading":
            self.launch_data.tell_caller(loading=how_far)

    def _loading(self):
        """How far an md has come that loads data before it serves; None if none does."""
        return next((slot.progress for slot in self._of("md") if slot.state == "starting" and slot.progress is not None), None)

    def state(self):
        """The word that `status` shows first."""
        return "running" if self.all_serve() and self._pair.healthy() and self._is_up("md_repl") else "degraded"

    def all_serve(self):
        """Whether every client is served, and what it writes goes to disk: only the standby and md_repl may be missing."""
        serving = self._serving()
        io_conn_up = bool(serving) and all(slot.state == "up" for slot in serving)
        return not self._stopping and self._can_write() and io_conn_up

    def _can_write(self):
        """Whether md and md_log serve."""
        return self._pair.serving() is not None and self._is_up("md_log")

    def _is_up(self, role):
        return any(slot.state == "up" for slot in self._of(role))

    def record(self):
        """Everything that status.json holds."""
        shown = self._pair.shown() + [(slot, slot.role, slot.state) for slot in self._helpers() + self._of("io_conn")]
        processes = [{"role": role, "index": slot.index, "state": word, "restarts": slot.restarts,
                      "pid": slot.process.pid if slot.process else None,
                      "ticks": slot.process.ticks if slot.process else None}
                     for slot, role, word in shown]
        return state.record(self.launch_data, self.state(), self.all_serve(), processes, self._generation, self._loading(), self.saving())

    def _summary(self):
        """The group in a line."""
        serving = self._pair.serving()
        up = sum(slot.state == "up" for slot in self._serving())
        md = f"md {serving.process.pid}" if serving else "no md"
        standby = "with a standby" if self._pair.healthy() else "without a standby"
        if (loading := self._loading()) is not None:
            return f"{self.state()}: md loads: {loading}"
        if (saving := self.saving()) is not None:
            return f"{self.state()}: md_log is saving{': ' if saving else ''}{saving}"
        missing = "".join(f"no {role}, " for role in HELPERS if not self._is_up(role))
        return f"{self.state()}: {md} {standby}, {missing}{up} of {len(self._serving())} io_conn, port {self.launch_data.options.port or 'none'}"

    def _write_status(self):
        self._dirty = False
        self.launch_data.notifier.status(self._summary())
        try:
            state.write(self.launch_data.instance, self.record())
            self._is_status_written = True
        except Failure as error:
            if self._is_status_written:     # of many failures in a row the first one says it
                self.log.event("status_not_written", what=error)
            self._is_status_written = False
