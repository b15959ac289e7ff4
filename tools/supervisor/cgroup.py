"""How much memory the control group of this process may use (cgroups(7), versions 1 and 2): what `maxmemory` is made from when
the configuration leaves it open. Beyond that limit the kernel ends processes, while maxmemory gives errors or evicts.

Shared memory counts in the group whose process touched it first, like any other memory.
"""

import os

# The control groups as the kernel shows them; tests, which must not depend on the group that they run in, name a folder of their own.
ROOT = os.environ.get("MILLRACE_CGROUP_ROOT", "/sys/fs/cgroup")
MEMBERSHIP = "/proc/self/cgroup"
SHARE_PERCENT = 75          # for keys and values; the rest is for the index, rings, buffers, the processes and what grows while values are copied


def limit(root=None, membership=MEMBERSHIP, machine=None):
    """(bytes, file) of the lowest limit on the way from this process's group to the root; None if none is below the machine's memory."""
    if machine is None:
        machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    found = [(value, path) for path in _files(root or ROOT, membership) if (value := _value(path)) is not None and value < machine]
    return min(found) if found else None


def share(limit_bytes):
    """What maxmemory becomes."""
    return limit_bytes * SHARE_PERCENT // 100


def _files(root, membership):
    """Every file that may hold a limit. A container may see its own group as the root and its path as the host has it; then the
    folders on that path are missing here, and the way upwards ends at the right one."""
    try:
        with open(membership, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.read().splitlines()
    except OSError:
        return
    for line in lines:
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if "memory" in controllers.split(","):
            tops, name = [os.path.join(root, "memory")], "memory.limit_in_bytes"
        elif number == "0" and not controllers:
            tops, name = [root, os.path.join(root, "unified")], "memory.max"
        else:
            continue
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        for top in tops:
            for end in range(len(parts), -1, -1):
                yield os.path.join(top, *parts[:end], name)


def _value(path):
    """The number in a file; None if there is none (`max`, no such file)."""
    try:
        with open(path, encoding="ascii") as file:
            text = file.read().strip()
    except (OSError, ValueError):
        return None
    return int(text) if text.isdigit() else None
