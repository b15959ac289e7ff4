"""What /proc tells about a process. A pid alone is never trusted: it may have been given to somebody else."""

import os
import pwd
import time

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


_EXITING = 0x4      # PF_EXITING of the kernel: set before a dying process lets go of anything


def _fields(pid):
    """What /proc/PID/stat says from the third field on; empty if there is no such process or it is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # The second field is the name in parentheses and may hold anything, so count from the last one.
            fields = file.read().rpartition(b")")[2].split()
    except OSError:
        return []
    return [] if fields and fields[0] in (b"Z", b"X") else fields


def start_ticks(pid):
    """When the process started, in clock ticks since boot; None if there is no such process or it is a zombie."""
    fields = _fields(pid)
    return int(fields[19]) if fields else None


def is_dying(pid):
    """Whether the process has ended or is about to: of a large one the memory takes the kernel some time."""
    fields = _fields(pid)
    return not fields or bool(int(fields[6]) & _EXITING)


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


def owner(pid):
    """The account of a process: its effective uid; None if it has gone."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
            return next(int(line.split()[2]) for line in file if line.startswith("Uid:"))
    except (OSError, StopIteration, ValueError, IndexError):
        return None


def name_of(uid):
    """The account's name; of an account without one, the number."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def privileged_ports_end():
    """The first port that everybody may listen on."""
    try:
        with open("/proc/sys/net/ipv4/ip_unprivileged_port_start", encoding="ascii") as file:
            return int(file.read())
    except (OSError, ValueError):
        return 1024
