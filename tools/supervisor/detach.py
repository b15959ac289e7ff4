"""start --daemon: the supervisor leaves the terminal; the caller waits for the verdict on a pipe.

    caller ──fork──► session leader ──fork──► supervisor
      ▲                                          │
      └───── pipe: one JSON line, the verdict ───┘
"""

import json
import os
import select
import signal
import sys

from . import listeners
from .errors import Failure, Interrupted
from .eventlog import InPlace, say


def close_inherited():
    """Closes descriptors that some caller forgot (a lock of a cron job would be held for ever).

    Python opens its own ones non-inheritable, so the inheritable ones are foreign.
    """
    for name in os.listdir("/proc/self/fd"):
        number = int(name)
        try:
            if number > 2 and os.get_inheritable(number):
                os.close(number)
        except OSError:
            pass


def run(launch, log, supervise, release):
    """Detaches and runs supervise(launch, log, on_ready) there, release(launch) at its end.

    In the caller: gives the exit status, or raises Failure.
    """
    receive, send = os.pipe()
    first = os.fork()
    if first == 0:
        os.setsid()
        if os.fork() != 0:
            os._exit(0)
        os.close(receive)
        _become_daemon(launch)
        _child(launch, log, supervise, release, send)   # never returns
    os.close(send)
    lock_fd, launch.lock_fd = launch.lock_fd, None      # the child's now: the caller releases nothing
    os.close(lock_fd)
    os.waitpid(first, 0)
    return _await_verdict(launch, receive)


def _become_daemon(launch):
    """No terminal, no folder kept busy; what is printed goes to the log."""
    log = os.open(launch.instance.supervisor_log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for each in (null, log):
        if each > 2:
            os.close(each)
    os.chdir("/")


def _child(launch, log, supervise, release, send):
    """The supervisor's whole life, and its verdict to the caller."""
    def verdict(**words):
        nonlocal send
        if send is not None:
            _tell(send, **words)
            os.close(send)
            send = None

    status = 1
    def progress(**words):
        # A caller that stands still is not to hold up the supervisor.
        if send is not None and select.select([], [send], [], 0)[1]:
            _tell(send, **words)

    launch.tell_caller = progress
    try:
        _tell(send, pid=os.getpid())    # so that the caller can pass on a Ctrl-C
        status = supervise(launch, log, lambda: verdict(
            ok=f"pid {os.getpid()}: {listeners.how_to_connect(launch.listeners)}{launch.what_was_kept()}"))
    except (Failure, Interrupted) as error:
        release(launch)     # before the verdict: the caller may start again at once
        verdict(error=str(error))
    except BaseException as error:      # noqa: BLE001
        log.exception("supervisor", error)
        release(launch)
        verdict(error=f"the supervisor met an unexpected error ({error!r}): see {launch.instance.supervisor_log}")
    finally:
        release(launch)
        os._exit(status)


def _pass_on(pid):
    """Tells the supervisor, once its pid is known, that its caller was interrupted."""
    if pid is not None:
        try:
            os.kill(pid, signal.SIGTERM)
        except ProcessLookupError:
            pass


def _tell(send, **words):
    """A line for the caller. If the caller was killed, the supervisor goes on all the same."""
    try:
        os.write(send, json.dumps(words).encode() + b"\n")
    except OSError:
        pass


def _await_verdict(launch, receive):
    """Reads the pipe to its verdict. Ctrl-C here breaks off the start there."""
    pid, interrupted, in_place = None, None, InPlace(sys.stderr)
    with open(receive, "rb") as lines:
        while True:
            try:
                line = lines.readline()
            except Interrupted as error:    # raised by the signal handler of start.py
                interrupted = error
                _pass_on(pid)
                continue
            word = json.loads(line) if line.endswith(b"\n") else {}
            if "pid" in word:
                pid = word["pid"]
                _pass_on(pid if interrupted else None)
            if "loading" in word:
                in_place.show(f"millrace: loading {word['loading']} ...")
                continue
            in_place.clear()
            if "ok" in word:
                say(f"millrace {launch.version}: running, {word['ok']}")
                return 0
            if "error" in word:
                raise Failure(word["error"])
            if "pid" not in word:
                raise interrupted or Failure(
                    f"the supervisor ended without a word: see {launch.instance.supervisor_log}")
