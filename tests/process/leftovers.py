"""Which processes belong to a folder, so that tests can end what they started by pid and notice what they left behind.

A process belongs to a folder when its command line names it, or when it works in it or holds a file of it open.
"""

import os
import shutil
import signal
import time
from pathlib import Path


def is_alive(pid):
    """True while the process runs; a zombie that nobody has waited for does not."""
    try:
        with open("/proc/%d/stat" % pid, "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False


def processes_of(folder):
    """The living processes of a folder, this one and its ancestors excepted, as {pid: command line}."""
    folder, own = str(folder), _ancestors()
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) not in own and is_alive(int(name)) and _belongs(name, folder):
            found[int(name)] = _command_line(name)
    return found


def end_processes_of(folder, tries=50):
    """Kills a folder's processes one by one, again for what a supervisor starts meanwhile; returns what it killed."""
    killed = {}
    for _ in range(tries):
        found = processes_of(folder)
        if not found:
            return killed
        killed.update(found)
        for pid in found:
            _kill(pid)
        time.sleep(0.02)
    raise RuntimeError("processes of %s come back faster than they can be ended: %r" % (folder, found))


def remove_shared_memory_of(folder):
    """Removes the shared memory folders that instances below `folder` have left (run/shm points to each)."""
    for link in Path(folder).glob("**/run/shm"):
        if link.is_symlink():
            remove_shared_memory(os.readlink(link))


def remove_shared_memory(folder):
    """Removes one instance's folder of shared memory; never /dev/shm itself, which others share."""
    if len(Path(folder).parts) > 3:
        shutil.rmtree(folder, ignore_errors=True)


def _belongs(name, folder):
    if folder in _command_line(name):
        return True
    inside = folder.rstrip("/") + "/"
    return any((target + "/").startswith(inside) for target in _open_paths(name))


def _command_line(name):
    try:
        with open("/proc/%s/cmdline" % name, "rb") as file:
            return file.read().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""


def _open_paths(name):
    paths = ["/proc/%s/cwd" % name]
    try:
        paths += [entry.path for entry in os.scandir("/proc/%s/fd" % name)]
    except OSError:
        pass
    for path in paths:
        try:
            yield os.readlink(path)
        except OSError:
            continue


def _ancestors():
    pids, pid = set(), os.getpid()
    while pid > 0:
        pids.add(pid)
        with open("/proc/%d/stat" % pid) as file:
            pid = int(file.read().rpartition(")")[2].split()[1])
    return pids


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
