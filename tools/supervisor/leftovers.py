"""What a killed group leaves behind: daemons that go on serving, shared memory, files in run/.

A process is ours if its command line carries `--instance <id>` and either it was recorded in status.json with the same
start time, or its `--dir` is this very folder. (The record alone would miss a daemon started just before the supervisor
was killed; the folder alone would miss the daemons of an instance that was moved while it ran.)
"""

import os
import select
import signal
import time

from . import listeners, state
from .errors import Failure
from .instance import remove_run_files, remove_shm_folder
from .limits import KILL_S, STOP_S
from .procfs import all_pids, arguments, start_ticks


class Leftover:
    """A daemon without a supervisor. Holds a pidfd, so that a signal can never reach another process."""

    def __init__(self, pid, pidfd, role):
        self.pid = pid
        self.pidfd = pidfd
        self.role = role        # of the two md, the one that was recorded as the standby is "md_standby"

    def send(self, number):
        """Sends a signal; to a dead process: nothing."""
        try:
            signal.pidfd_send_signal(self.pidfd, number)
        except ProcessLookupError:
            pass


def _value_of(words, option):
    """The word after an option on a command line."""
    try:
        return words[words.index(option) + 1]
    except (ValueError, IndexError):
        return None


def _is_ours(pid, instance, instance_id, recorded):
    """Whether this pid is a daemon of this instance."""
    words = arguments(pid)
    if _value_of(words, "--instance") != instance_id:
        return False
    if pid in recorded and start_ticks(pid) == recorded[pid]:
        return True
    folder = _value_of(words, "--dir")
    try:
        return folder is not None and os.path.samefile(folder, instance.dir)
    except OSError:
        return False


def find(instance):
    """The leftover daemons of an instance. REQUIRES: the lock (a live supervisor's daemons would look the same)."""
    try:
        instance_id = instance.read_id()
    except Failure:
        instance_id = None
    if instance_id is None:
        return []
    processes = state.read(instance).get("processes", [])
    recorded = {each.get("pid"): each.get("ticks") for each in processes}
    standby = {each.get("pid") for each in processes if each.get("role") == "md_standby"}
    found = []
    for pid in all_pids():
        if pid == os.getpid() or not _is_ours(pid, instance, instance_id, recorded):
            continue
        try:
            pidfd = os.pidfd_open(pid)
        except OSError:
            continue
        # Looked at again now that the pidfd pins the process.
        if start_ticks(pid) is not None and _is_ours(pid, instance, instance_id, recorded):
            # The first words, because a script has its interpreter and options before its name.
            is_md = any(os.path.basename(word) == "md" for word in arguments(pid)[:3])
            role = "io_conn" if not is_md else "md_standby" if pid in standby else "md"
            found.append(Leftover(pid, pidfd, role))
        else:
            os.close(pidfd)
    return found


def _wait_gone(processes, seconds):
    """Waits for processes to end; gives those that have not."""
    waiting = {each.pidfd: each for each in processes}
    poller = select.poll()
    for pidfd in waiting:
        poller.register(pidfd, select.POLLIN)
    deadline = time.monotonic() + seconds
    while waiting and (left := deadline - time.monotonic()) > 0:
        for pidfd, _ in poller.poll(left * 1000):
            poller.unregister(pidfd)
            del waiting[pidfd]
    return list(waiting.values())


def end(processes, log):
    """Ends leftover daemons in order: io_conn, the standby md, md. Gives those that the kernel cannot end."""
    immortal = []
    for role in ("io_conn", "md_standby", "md"):
        batch = [each for each in processes if each.role == role]
        for each in batch:
            each.send(signal.SIGTERM)
            each.send(signal.SIGCONT)
        stubborn = _wait_gone(batch, STOP_S)
        for each in stubborn:
            log.event("child_killed", pid=each.pid, reason=f"did not end within {STOP_S:g} s of SIGTERM")
            each.send(signal.SIGKILL)
        immortal += _wait_gone(stubborn, KILL_S)
        for each in batch:
            if each not in immortal:
                log.event("leftover_ended", role="io_conn" if role == "io_conn" else "md", pid=each.pid)
    for each in processes:
        os.close(each.pidfd)
    return immortal


def clear(instance, log):
    """Ends leftover daemons and removes everything of a dead group but the lock holder's own files.

    Gives the number of daemons that were still alive. REQUIRES: the lock.
    """
    found = find(instance)
    if found:
        log.event("leftovers", pids=",".join(str(each.pid) for each in found))
        immortal = end(found, log)
        if immortal:
            raise Failure(f"process {immortal[0].pid} of the earlier group does not end even after SIGKILL "
                          "(it waits in the kernel, often for a disk): mend that, then try again")
    content = state.read(instance)
    for known in content.get("sockets", []):
        listeners.remove_unix(known)
    remove_shm_folder(instance, also=[content.get("shm")])
    return len(found)


def remove_all(instance, log):
    """clear(), then run/ is emptied of everything of ours, the lock last. REQUIRES: the lock."""
    count = clear(instance, log)
    remove_run_files(instance)
    return count
