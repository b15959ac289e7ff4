"""run/status.json: the supervisor writes it at every change; `status` and the clean-up of a dead group read it.

It holds what CONTRACT promises to users of `status --json`, plus what is needed to recognise leftovers: the start time
of every pid (a pid may be reused), the identity of the folder (the file may have been copied along with it), the paths
outside DIR. Nothing in the file is believed about a process without looking at /proc.
"""

import json

from .instance import write_whole
from .procfs import start_ticks, uptime_s
from . import config, listeners


def record(launch, word, serves, processes, generation, loading, saving):
    """The content of the file. `serves`: clients are served, which they may be while a process is missing; `loading`, `saving`: how far
    that has come, None if nobody does it."""
    return {
        "state": word,
        "serves": serves,
        "port": launch.options.port,
        "supervisor_pid": launch.supervisor_pid,
        "version": launch.version,
        "loading": loading,
        "saving": saving,
        "processes": processes,
        "instance": launch.instance_id,
        "folder": launch.instance.identity(),
        "generation": generation,
        "shm": launch.shm_folder,
        "sockets": [listeners.identity(key) for key in launch.listeners if key[0] == "unix"],
    }


def write(instance, content):
    """Replaces the file in one step. Raises Failure."""
    write_whole(instance.status_file, json.dumps(content) + "\n")


def read(instance):
    """The last written content; {} if there is none, it is damaged, or it was copied from another folder."""
    try:
        with open(instance.status_file, encoding="utf-8") as file:
            content = json.load(file)
    except (OSError, ValueError):
        return {}
    if not isinstance(content, dict) or content.get("folder") != instance.identity():
        return {}
    return content if _is_whole(content) else {}


def _is_whole(content):
    """Whether what others rely on has the shape that record() gives it."""
    processes = content.get("processes")
    return (isinstance(processes, list) and isinstance(content.get("sockets"), list) and type(content.get("generation")) is int
            and isinstance(content.get("shm"), (str, type(None)))
            and all(isinstance(each, dict) and isinstance(each.get("role"), str) and isinstance(each.get("state"), str)
                    and type(each.get("index")) is int and type(each.get("restarts")) is int
                    and all(isinstance(each.get(name), (int, type(None))) for name in ("pid", "ticks"))
                    for each in processes))


def _seen(process):
    """One process as it is now: what the file says, corrected by what /proc says."""
    ticks = process.get("ticks")
    alive = process.get("pid") is not None and ticks is not None and start_ticks(process["pid"]) == ticks
    return {
        "role": process["role"],
        "index": process["index"],
        "pid": process["pid"] if alive else None,
        "state": process["state"] if alive else "down",
        "restarts": process["restarts"],
        "uptime_s": int(uptime_s(ticks)) if alive else 0,
    }


def _after_takeover(processes):
    """Without a supervisor nobody hears that a standby has taken over; but where md is dead, it has."""
    md, standby = (next((each for each in processes if each["role"] == role), None) for role in ("md", "md_standby"))
    if md is None or standby is None or md["pid"] is not None or standby["state"] != "up":
        return processes
    return [{**standby, "role": "md"}, {**md, "role": "md_standby"}] + [
        each for each in processes if each is not md and each is not standby]


def serves(instance):
    """Whether the living supervisor has written that clients are served. REQUIRES: there is one."""
    content = read(instance)
    return content.get("supervisor_pid") == instance.read_pid() and content.get("serves") is True


def report(instance, supervised):
    """What `status --json` prints. `supervised`: a supervisor holds the lock."""
    content = read(instance)
    supervisor = instance.read_pid() if supervised else None
    processes = [_seen(process) for process in content.get("processes", [])]
    if not supervised:
        processes = _after_takeover(processes)
    alive = [process for process in processes if process["pid"] is not None]
    # A file of an earlier supervisor says nothing about the one that is just starting.
    current = supervised and content.get("supervisor_pid") == supervisor
    healthy = current and content.get("state") == "running" and len(alive) == len(processes)
    if not supervised and not alive:
        return {"state": "stopped", "port": None, "supervisor_pid": None, "version": config.version(),
                "loading": None, "saving": None, "processes": []}
    return {
        "state": "running" if healthy else "degraded",
        "port": content.get("port"),
        "supervisor_pid": supervisor,
        "version": content.get("version") or config.version(),
        "loading": _text(content.get("loading")) if alive else None,
        "saving": _text(content.get("saving")) if alive else None,
        "processes": processes,
    }


def _text(given):
    return given if isinstance(given, str) else None


def table(answer, folder):
    """The same for humans."""
    first = [f"millrace {answer['version'] or '(version unknown)'}", answer["state"]]
    if answer["state"] != "stopped":
        first.append(f"port {answer['port']}" if answer["port"] else "no TCP port")
        first.append(f"supervisor {answer['supervisor_pid'] or 'dead (see millrace(1): start mends it)'}")
    lines = ["   ".join(first + [folder])]
    lines += [f"{what}: {answer[what] or '...'}" for what in ("loading", "saving") if answer[what] is not None]
    if answer["processes"]:
        lines.append(f"{'ROLE':<10}{'INDEX':>7}{'PID':>9}  {'STATE':<9}{'RESTARTS':>9}{'UPTIME':>11}")
    for each in answer["processes"]:
        uptime = duration(each["uptime_s"]) if each["pid"] else "-"
        lines.append(f"{each['role']:<10}{each['index']:>7}{each['pid'] or '-':>9}  {each['state']:<9}"
                     f"{each['restarts']:>9}{uptime:>11}")
    return "\n".join(lines)


def duration(seconds):
    """Seconds for humans: the two largest units."""
    for size, unit, small_size, small in ((86400, "d", 3600, "h"), (3600, "h", 60, "min"), (60, "min", 1, "s")):
        if seconds >= size:
            return f"{seconds // size} {unit} {seconds % size // small_size} {small}"
    return f"{seconds} s"
