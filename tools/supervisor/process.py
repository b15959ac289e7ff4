"""One daemon process: how it is started, how it says that it serves, how it ended.

The protocol between the supervisor and a daemon, complete:

    command line   --dir DIR --config FILE --instance HEX16 --index I --generation G --restarts R --ready-fd N
                   [--listen-fd N]... (io_conn only)
    ready-fd       the daemon writes `ready\\n`, or `error: <sentence>\\n` and exits with status 1; an md that waits for
                   its turn writes `standby\\n` first, and `ready\\n` when it has taken over, perhaps days later
    stdin, stdout  /dev/null and the log file; stderr is the log file too
    SIGTERM        end in good order; after the time limit comes SIGKILL
    SIGUSR1        (io_conn) accept no more, end when the last connection has closed
    FIFO           a byte in it means only "look again"

A daemon runs in a session of its own, so that Ctrl-C in the supervisor's terminal reaches the supervisor alone.
"""

import asyncio
import os
import signal
import subprocess

from .limits import KILL_S, LOG_TAIL_BYTES, READY_WORD_BYTES_MAX
from .procfs import start_ticks, uptime_s


class Process:
    """A started process. Must be made inside the event loop.

    exited  a future: how it ended ("SIGKILL", "exit:1")
    word    its last word on the ready-fd ("ready", "standby", "error: ..."; "" if it has said nothing)
    hear    called as hear(process, word) for each of its words, and with "" if it closes the ready-fd without one
    """

    def __init__(self, argv, log_path, listen_fds, hear):
        loop = asyncio.get_running_loop()
        self._loop = loop
        self.exited = loop.create_future()
        self.word = ""
        self._hear = hear
        self._log_path = log_path
        self._unread = b""          # the part of a line that has come so far
        self._log_start = _size(log_path)
        self._ready_fd, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            os.set_blocking(write_end, True)
            self._popen = _spawn(argv + ["--ready-fd", str(write_end)], log_path, [write_end, *listen_fds])
        except BaseException:
            os.close(self._ready_fd)
            raise
        finally:
            os.close(write_end)
        self.pid = self._popen.pid
        self.ticks = start_ticks(self.pid)
        try:
            self._pidfd = os.pidfd_open(self.pid)
        except OSError:
            self._popen.kill()      # a process that cannot be watched must not run
            self._popen.wait()
            os.close(self._ready_fd)
            raise
        loop.add_reader(self._pidfd, self._on_exit)
        loop.add_reader(self._ready_fd, self._on_words)

    def send(self, number):
        """Sends a signal; to a dead process: nothing."""
        if not self.exited.done():
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    async def end(self, patience_s, on_kill):
        """Ends it: SIGTERM, then SIGKILL. Gives True when it is gone (False: the kernel cannot end it).

        SIGCONT goes along because a stopped process would otherwise not see the SIGTERM.
        """
        self.send(signal.SIGTERM)
        self.send(signal.SIGCONT)
        if await self.gone_within(patience_s):
            return True
        on_kill()
        self.send(signal.SIGKILL)
        return await self.gone_within(KILL_S)

    async def gone_within(self, seconds):
        """Whether it has ended before so many seconds have passed."""
        done, _ = await asyncio.wait([self.exited], timeout=seconds)
        return bool(done)

    def uptime_s(self):
        """Seconds since its start."""
        return uptime_s(self.ticks) if self.ticks is not None else 0.0

    def reason(self):
        """Why it does not serve: its own sentence, or how it ended and the last thing that it logged."""
        if self.word.startswith("error: "):
            return self.word.removeprefix("error: ")
        how = f"it ended with {self.exited.result()}" if self.exited.done() else "it gave no sign of life"
        last = self._last_log_line()
        return f"{how}; its last words: {last}" if last else f"{how} and left no word in {self._log_path}"

    def _on_words(self):
        """The ready-fd is readable: lines, a part of one, or the end. Gives False when nothing was there."""
        if self._ready_fd is None:
            return False
        try:
            got = os.read(self._ready_fd, READY_WORD_BYTES_MAX)
        except BlockingIOError:
            return False
        *lines, self._unread = (self._unread + got).split(b"\n")
        if not got or len(self._unread) >= READY_WORD_BYTES_MAX:
            self._close_ready()
            lines += [self._unread] if self._unread or not self.word else []
        for line in lines:
            self.word = line.decode("utf-8", "replace").strip()
            self._hear(self, self.word)
        return True

    def _close_ready(self):
        if self._ready_fd is not None:
            self._loop.remove_reader(self._ready_fd)
            os.close(self._ready_fd)
            self._ready_fd = None

    def _on_exit(self):
        """The pidfd is readable: the process has ended."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        status = self._popen.wait()
        while self._on_words():
            pass                    # a last sentence may still be in the pipe
        self._close_ready()
        self.exited.set_result(_cause(status))

    def _last_log_line(self):
        """The last line that this process (not an earlier one) put into its log."""
        try:
            with open(self._log_path, "rb") as file:
                file.seek(max(self._log_start, _size(self._log_path) - LOG_TAIL_BYTES))
                lines = file.read(LOG_TAIL_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


def _spawn(argv, log_path, descriptors):
    """Starts the program. A log that cannot be opened (full or damaged disk) does not keep a daemon from running."""
    try:
        log = os.open(log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        log = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    try:
        return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=descriptors,
                                start_new_session=True)
    finally:
        os.close(log)


def _cause(status):
    """A wait status as the log shows it."""
    if status >= 0:
        return f"exit:{status}"
    try:
        return signal.Signals(-status).name
    except ValueError:
        return f"signal:{-status}"


def _size(path):
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
