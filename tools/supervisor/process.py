"""One daemon process: how it is started, how it says that it serves, how it ended.

The protocol between the supervisor and a daemon, complete:

    command line   --dir DIR --config FILE --instance HEX16 --index I --generation G --restarts R --ready-fd N
                   [--listen-fd N]... (io_conn only) [--repair] (md only, once)
    ready-fd       the writing end of the FIFO run/<role>-<index>.words, open for the daemon's whole life: it writes `ready\\n`, or
                   `error: <sentence>\\n` and exits with status 1; an md that waits for its turn writes `standby\\n` first, and
                   `ready\\n` when it has taken over, perhaps days later; one that has found a store writes `kept: <sentence>\\n`;
                   one that loads data writes `loading: <how far>\\n` again and again, the first time as soon as others can join
                   it; an md_log that saves before it ends writes `saving: <how far>\\n`; and every daemon that ends in good
                   order `ended\\n`, because only a parent hears the exit status
    stdin, stdout  /dev/null and the log file; stderr is the log file too
    SIGTERM        end in good order; after the time limit comes SIGKILL, but not for an md_log, which saves (saving.py)
    SIGUSR1        (io_conn) accept no more, end when the last connection has closed; (md_log) end at once, because the data stays
                   in shared memory
    SIGUSR2        say the last word again (`draining\\n` for an io_conn that got SIGUSR1): a new supervisor asks; an io_conn
                   also hands it the listening sockets, through run/supervisor-sockets.sock if that is there
    FIFO           a byte in it means only "look again"

A daemon runs in a session of its own, so that Ctrl-C in the supervisor's terminal reaches the supervisor alone.
"""

import asyncio
import os
import signal
import subprocess

from . import config
from .instance import remove_file
from .limits import KILL_S, LOG_TAIL_BYTES, READY_WORD_BYTES_MAX
from .procfs import start_ticks, uptime_s

_REMARKS = ("kept: ", "loading: ", "saving: ")      # words that say nothing about what a daemon is


def command_line(instance, instance_id, role, index, generation, restarts):
    """What every daemon gets. Raises Failure if there is no such program."""
    return [config.program(role), "--dir", instance.dir, "--config", instance.effective_conf, "--instance", instance_id,
            "--index", str(index), "--generation", str(generation), "--restarts", str(restarts)]


class Process:
    """A daemon, watched through a pidfd. Must be made inside the event loop.

    exited  a future: how it ended ("SIGKILL", "exit:1"; "unknown" for one that an earlier supervisor has started and that did not say)
    word    its last word about what it is ("ready", "standby", "draining", "error: ..."; "" if it has said nothing)
    hear    called as hear(process, word) for each of its words, and with "" if it closes its end without one
    """

    def __init__(self, pid, pidfd, words_fd, log_path, log_start, hear):
        self._loop = asyncio.get_running_loop()
        self.pid = pid
        self.ticks = start_ticks(pid)
        self.exited = self._loop.create_future()
        self.word = ""
        self._has_said_ended = False
        self._hear = hear
        self._log_path = log_path
        self._log_start = log_start
        self._unread = b""          # the part of a line that has come so far
        self._pidfd = pidfd
        self._words_fd = words_fd
        self._loop.add_reader(pidfd, self._on_exit)
        self._loop.add_reader(words_fd, self._on_words)

    def send(self, number):
        """Sends a signal; to a dead process: nothing."""
        if not self.exited.done():
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                pass

    async def end(self, patience_s, on_kill, number=signal.SIGTERM):
        """Ends it: SIGTERM (or `number`), then SIGKILL. Gives True when it is gone (False: the kernel cannot end it)."""
        self.ask_to_end(number)
        if await self.gone_within(patience_s):
            return True
        on_kill()
        self.send(signal.SIGKILL)
        return await self.gone_within(KILL_S)

    def ask_to_end(self, number=signal.SIGTERM):
        """SIGCONT goes along because a stopped process would otherwise not see the signal."""
        self.send(number)
        self.send(signal.SIGCONT)

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
        """The FIFO is readable: lines, a part of one, or the end. Gives False when nothing was there."""
        if self._words_fd is None:
            return False
        try:
            got = os.read(self._words_fd, READY_WORD_BYTES_MAX)
        except BlockingIOError:
            return False
        *lines, self._unread = (self._unread + got).split(b"\n")
        if not got or len(self._unread) >= READY_WORD_BYTES_MAX:
            self._close_words()
            lines += [self._unread] if self._unread or not self.word else []
        for line in lines:
            self._take_word(line.decode("utf-8", "replace").strip())
        return True

    def _take_word(self, word):
        if word == "ended":
            self._has_said_ended = True
            return
        if not word.startswith(_REMARKS):
            self.word = word
        self._hear(self, word)

    def _close_words(self):
        if self._words_fd is not None:
            self._loop.remove_reader(self._words_fd)
            os.close(self._words_fd)
            self._words_fd = None

    def _on_exit(self):
        """The pidfd is readable: the process has ended."""
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        while self._on_words():
            pass                    # a last sentence may still be there
        self._close_words()
        self.exited.set_result(self._how_it_ended())

    def _how_it_ended(self):
        """Only a parent hears that; of another one's child its last words tell it."""
        return "exit:0" if self._has_said_ended else "exit:1" if self.word.startswith("error: ") else "unknown"

    def _last_log_line(self):
        """The last line that this process (not an earlier one) put into its log."""
        try:
            with open(self._log_path, "rb") as file:
                size = _size(self._log_path)
                begin = self._log_start if self._log_start <= size else 0       # else it was truncated meanwhile (logrotate)
                file.seek(max(begin, size - LOG_TAIL_BYTES))
                lines = file.read(LOG_TAIL_BYTES).decode("utf-8", "replace").split("\n")
        except OSError:
            return ""
        return next((line.strip() for line in reversed(lines) if line.strip()), "")


class Child(Process):
    """A process that this supervisor starts. Raises OSError."""

    def __init__(self, argv, words_path, log_path, listen_fds, hear):
        remove_file(words_path)
        os.mkfifo(words_path, 0o600)
        log_start = _size(log_path)
        words_fd = os.open(words_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            write_end = os.open(words_path, os.O_WRONLY | os.O_CLOEXEC)
            try:
                self._popen = _spawn(argv + ["--ready-fd", str(write_end)], log_path, [write_end, *listen_fds])
            finally:
                os.close(write_end)
            try:
                pidfd = os.pidfd_open(self._popen.pid)
            except OSError:
                self._popen.kill()      # a process that cannot be watched must not run
                self._popen.wait()
                raise
        except BaseException:
            os.close(words_fd)
            raise
        super().__init__(self._popen.pid, pidfd, words_fd, log_path, log_start, hear)

    def _how_it_ended(self):
        return _cause(self._popen.wait())


class Adopted(Process):
    """A process of an earlier supervisor, as leftovers.py has found it. Raises OSError."""

    def __init__(self, leftover, words_path, log_path, hear):
        words_fd = os.open(words_path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        super().__init__(leftover.pid, leftover.pidfd, words_fd, log_path, _size(log_path), hear)
        self.send(signal.SIGUSR2)


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
