"""The life of the supervisor: it starts the group, then sleeps until a signal, a request or a death wakes it.

SIGINT, SIGTERM                stop in good order; a second SIGINT kills every daemon at once (and the data stays in shared memory)
SIGHUP with a terminal         the same (the terminal has gone); without one (--daemon) it changes nothing
"""

import asyncio
import json
import os
import signal
import socket
import struct

from .errors import Failure, Interrupted
from .group import Group
from .instance import holds_lock, take_lock
from .limits import FOLLOW_S, IO_CONN_MAX, REQUEST_BYTES_MAX, REQUEST_S, STOP_PATIENCE_S
from .rewrite import rewrite


def _are_texts(given):
    """Whether this is a table of texts, each character of which is a byte."""
    return isinstance(given, dict) and all(isinstance(text, str) and all(ord(char) < 256 for char in text) for text in given.values())


OF_CLIENTS = ("rewrite", "rewrite-check", "stop")      # CONFIG REWRITE and SHUTDOWN


def _peer_pid(writer):
    """The process at the other end of a connection to the control socket."""
    credentials = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    return struct.unpack("3i", credentials)[0]


class Supervisor:
    """Runs a prepared instance until it is told to stop.

    launch    what start.py prepared
    log       the event log
    on_ready  called once, when clients are served
    """

    def __init__(self, launch, log, on_ready):
        self._launch = launch
        self._log = log
        self._on_ready = on_ready
        self._group = Group(launch, log)
        self._stop_cause = None
        self._stop = asyncio.Event()
        self._give_up_data = False  # `stop --force`
        self._outcome = None        # of the stop, for those who follow it
        self._ended = asyncio.Event()
        self._followers = set()
        self._operation = None      # the task of a running restart, scale or rewriting
        self._operation_name = None

    async def run(self):
        """Gives when everything has been stopped. Raises Failure if the group did not come up."""
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._on_loop_error)
        self._install_signals(loop)
        server = await asyncio.start_unix_server(self._converse, sock=self._launch.control_socket,
                                                 limit=REQUEST_BYTES_MAX)
        feeding = None
        try:
            self._group.changed()
            inheritance = self._launch.inheritance
            adopts = self._launch.adopts
            await self._unless_stopped(self._group.adopt(inheritance) if adopts else self._group.start())
            self._log.event("serving", pid=self._launch.supervisor_pid)
            self._on_ready()
            watch, feeding = asyncio.create_task(self._group.watch()), asyncio.create_task(self._feed_watchdog())
            await self._stop.wait()
            self._launch.notifier.stopping()
            watch.cancel()
        finally:
            await self._end_operation()
            self._conclude(await self._group.stop())
            self._log.event("stopped")
            if feeding is not None:
                feeding.cancel()
            self._ended.set()
            if self._followers:
                await asyncio.wait(self._followers, timeout=FOLLOW_S)
            server.close()
            # The loop takes its handlers away when it closes; no signal may cut short what is left to tidy up.
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])

    def _conclude(self, not_saved):
        """What becomes of the data. `not_saved`: why it is not on disk; None if it is."""
        if not_saved is not None:
            self._log.event("given_up" if self._give_up_data else "not_saved", reason=not_saved)
        self._launch.not_saved = None if self._give_up_data else not_saved
        self._outcome = {"not_saved": not_saved, "given_up": self._give_up_data}

    def _install_signals(self, loop):
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._on_signal, number)
        if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:       # nohup(1) asks for exactly that
            loop.add_signal_handler(signal.SIGHUP, self._on_signal, signal.SIGHUP)

    def _on_signal(self, number):
        if number == signal.SIGHUP and self._launch.detached:
            self._log.event("signal_ignored", signal="SIGHUP")
        elif number == signal.SIGINT and self._stop.is_set():
            self._log.event("killing", cause="second SIGINT")
            self._group.kill()
        else:
            self._request_stop(signal.Signals(number).name)

    def _request_stop(self, cause):
        if not self._stop.is_set():
            self._stop_cause = cause
            self._log.event("stopping", cause=cause)
            self._stop.set()

    async def _unless_stopped(self, work):
        """Awaits `work`, but gives it up when a stop is requested meanwhile."""
        task = asyncio.create_task(work)
        stopper = asyncio.create_task(self._stop.wait())
        await asyncio.wait([task, stopper], return_when=asyncio.FIRST_COMPLETED)
        stopper.cancel()
        if not task.done():
            task.cancel()
            await asyncio.wait([task])
            raise Interrupted(f"the start was broken off by {self._stop_cause}")
        task.result()

    async def _end_operation(self):
        """A restart or scale that is under way gives way to the stop."""
        if self._is_busy():
            self._operation.cancel()
            await asyncio.wait([self._operation])

    def _on_loop_error(self, _loop, context):
        """A bug of ours in a callback: it is written down, and the guarding goes on."""
        error = context.get("exception") or RuntimeError(context.get("message"))
        self._log.exception("event loop", error)

    async def _feed_watchdog(self):
        """Tells the service manager that this loop turns."""
        notifier = self._launch.notifier
        while notifier.watchdog_s:
            notifier.alive()
            await asyncio.sleep(notifier.watchdog_s / 3)

    def _keep_lock(self):
        """A lock file that somebody has removed is made anew: whoever misses it asks here before it takes us for dead."""
        try:
            if holds_lock(self._launch.instance, self._launch.lock_fd):
                return
            again = take_lock(self._launch.instance)
        except OSError:
            return
        if again is not None:
            os.close(self._launch.lock_fd)
            self._launch.lock_fd = again
            self._log.event("lock_made_again", path=self._launch.instance.lock)

    # --- requests ---------------------------------------------------------------------------------------------------

    async def _converse(self, reader, writer):
        """One connection to the control socket: a line in, a line out."""
        try:
            line = await asyncio.wait_for(reader.readline(), REQUEST_S)
            if line:
                by_io_conn = self._group.is_io_conn(_peer_pid(writer))
                answer = await self._answer(line, by_io_conn)
                await self._write(writer, answer)
                if answer.get("follows"):
                    await self._follow(writer)
        except (asyncio.TimeoutError, ValueError, OSError):
            pass        # too slow, too long, or gone
        finally:
            writer.close()

    @staticmethod
    async def _write(writer, answer):
        writer.write(json.dumps(answer).encode() + b"\n")
        await writer.drain()

    async def _follow(self, writer):
        """Tells somebody who waits for the stop how it goes on, and its outcome."""
        task = asyncio.current_task()
        self._followers.add(task)
        try:
            told, due = None, 0.0
            while self._outcome is None:
                now, saving = asyncio.get_running_loop().time(), self._group.saving()
                if saving != told or now >= due:
                    told, due = saving, now + STOP_PATIENCE_S
                    await self._write(writer, {"saving": saving})
                try:
                    await asyncio.wait_for(self._ended.wait(), FOLLOW_S)
                except asyncio.TimeoutError:
                    pass
            await self._write(writer, self._outcome)
        finally:
            self._followers.discard(task)

    async def _answer(self, line, by_io_conn):
        """Carries out a request and gives the answer. An io_conn, which somebody may have taken over, asks for what clients may have."""
        self._keep_lock()
        try:
            message = json.loads(line)
            operation = message["op"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return {"ok": False, "error": "the request is not understood"}
        if by_io_conn and operation not in OF_CLIENTS:
            self._log.event("refused", op=operation, reason="an io_conn has asked for it")
            return {"ok": False, "error": "that is no request of an io_conn"}
        if operation == "stop":
            self._request_stop("SHUTDOWN" if message.get("by") == "client" else "millrace stop")
            if message.get("force") is True and not by_io_conn:
                self._give_up_data = True
                self._group.hurry()
            return {"ok": True, "pid": self._launch.supervisor_pid, **({"follows": True} if message.get("follow") is True else {})}
        if operation == "status":
            return {"ok": True, "status": self._group.record()}
        if operation in ("rewrite", "rewrite-check") and _are_texts(message.get("options")):
            while self._operation_name == "rewrite" and self._is_busy():     # they are short: one waits for the other
                await asyncio.wait({self._operation})
            return await self._exclusively(self._rewrite(message["options"], operation == "rewrite"), "rewrite")
        if operation == "restart":
            return await self._exclusively(self._group.restart(), "restart")
        count = message.get("io_conns")
        if operation == "scale" and type(count) is int and 1 <= count <= IO_CONN_MAX:
            return await self._exclusively(self._scale(count), "scale")
        return {"ok": False, "error": "the request is not understood"}

    async def _rewrite(self, live, for_good):
        """CONFIG REWRITE, or a look whether it is possible."""
        data = self._launch
        live = {name: text.encode("latin-1").decode("utf-8", "surrogateescape") for name, text in live.items()}
        path = await asyncio.to_thread(rewrite, data.instance, data.settings, live, self._group.io_conns(), for_good)
        if for_good:
            self._log.event("rewritten", path=path)

    async def _scale(self, count):
        serving, draining = await self._group.scale(count)
        return {"serving": serving, "draining": draining}

    def _is_busy(self):
        return self._operation is not None and not self._operation.done()

    async def _exclusively(self, work, name):
        """Runs an operation on the group; a second one meanwhile is refused. The client may leave, the work goes on."""
        if self._is_busy() or not self._launch.ready or self._stop.is_set():
            work.close()
            return {"ok": False,
                    "error": "the group is being started, stopped, restarted or scaled, or its configuration rewritten: try again when that is done"}
        self._operation_name = name
        self._operation = asyncio.create_task(work)
        try:
            result = await asyncio.shield(self._operation)
        except Failure as error:
            self._log.event("refused", op=name, reason=error)
            return {"ok": False, "error": str(error)}
        except asyncio.CancelledError:
            return {"ok": False, "error": f"{name} was broken off, because the group is being stopped"}
        except Exception as error:      # noqa: BLE001 (a bug of ours; the supervisor must live)
            self._log.exception(name, error)
            return {"ok": False, "error": f"{name} met an unexpected error ({error!r}): see log/supervisor.log"}
        return {"ok": True, **(result or {})}
