"""What /proc tells about a process. A pid alone is never trusted: it may have been given to somebody else."""

import os
import time

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def start_ticks(pid):
    """When the process started, in clock ticks since boot; None if there is no such process or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field is the name in parentheses and may hold anything, so count from the last one.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return None
    if not fields or fields[0] in (b"Z", b"X"):
        return None
    return int(fields[19])


def uptime_s(ticks):
    """Seconds since a moment that start_ticks() gave."""
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / _TICKS_PER_S)


def arguments(pid):
    """The command line as a list; empty if the process has gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return [os.fsdecode(word) for word in file.read().split(b"\0")[:-1]]
    except OSError:
        return []


def has_open(pid, path):
    """Whether the process has this very file open."""
    try:
        wanted = os.stat(path)
        names = os.listdir(f"/proc/{pid}/fd")
    except OSError:
        return False
    for name in names:
        try:
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), wanted):
                return True
        except OSError:
            continue
    return False


def all_pids():
    """Every process that can be seen."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]
