"""check: what a start would trip over, without starting anything.

start.py uses the look at shared memory too: a full one could not be cured once clients are served.
"""

import os
import resource
import subprocess
import time

from . import cgroup, config, control, listeners, privileges, procfs, state
from .errors import Failure
from .eventlog import say
from .instance import is_locked
from .limits import FILES_BESIDE_CLIENTS, SHM_BESIDE_RINGS_BYTES

STORE_TRIES = 5
STORE_NOT_LOOKED_AT = 3     # status of store-check when the store changes all the time
STORE_TOO_LARGE = 4         # and when a busy md would have to be held still for too long


def run(args):
    """The command `check`: one line a finding; status 1 if there is a problem."""
    instance = control.instance_of(args.dir)
    if is_locked(instance):
        privileges.act_for(instance)
    settings = config.settings_of(args, instance)
    options = settings.options()        # a bad configuration ends here, with millrace-conf's sentence
    running = is_locked(instance)
    say("ok       configuration: every option is known and in range")
    findings = [
        ("programs", _programs),
        ("account", lambda: procfs.name_of(os.geteuid()) if running else privileges.examine(options, instance)),
        ("instance folder", lambda: _folders(instance)),
        ("instance id", lambda: instance.read_id() or "none yet; the first start makes one"),
        ("shared memory", lambda: _shm(options, running)),
        ("addresses", lambda: _addresses(options, instance, running)),
        ("open files", lambda: _files(options)),
    ]
    derived = settings.derived()
    if derived:
        findings.append(("memory limit", lambda: f"{memory_limit()}; maxmemory becomes {derived['maxmemory']}, unless it is set"))
    if os.path.exists(os.path.join(instance.shm_link, "store")):
        findings.append(("store", lambda: _store(instance, running)))
    problems = 0
    for subject, examine in findings:
        try:
            say(f"ok       {subject}: {examine()}")
        except Failure as error:
            problems += 1
            say(f"problem  {subject}: {error}")
    problems += _data(instance)
    if problems:
        raise Failure(f"{problems} problem{'s' if problems > 1 else ''} found, see above; nothing was started")
    return 0


def shm_room(options):
    """Raises Failure if shm-dir cannot take the group's shared memory; gives the room as a sentence."""
    need = options.io_conns * 2 * options.ring_bytes + SHM_BESIDE_RINGS_BYTES
    try:
        room = os.statvfs(options.shm_dir)
    except OSError as error:
        raise Failure(f"shm-dir {options.shm_dir}: {error.strerror}; name an existing folder on a tmpfs") from None
    if not os.access(options.shm_dir, os.W_OK | os.X_OK):
        raise Failure(f"shm-dir {options.shm_dir} is not writable for this account: name another folder on a tmpfs")
    free = room.f_bavail * room.f_frsize
    if free < need:
        raise Failure(f"shm-dir {options.shm_dir} has {_mib(free)} MiB free and the group needs {_mib(need)} MiB: "
                      "enlarge it (containers: --shm-size), name another folder with shm-dir, "
                      "or lower ring-size or io-conns")
    return f"{options.shm_dir} has {_mib(free)} MiB free, {_mib(need)} MiB are needed at start"


def memory_limit():
    """The limit of the control group in words. REQUIRES: there is one."""
    limit, path = cgroup.limit()
    return f"the control group may use {_mib(limit)} MiB ({path})"


def _mib(size):
    return f"{size / (1 << 20):.1f}"


def _programs():
    """All that a start runs."""
    return ", ".join(config.program(name) for name in (*config.DAEMONS, "millrace-conf"))


def _folders(instance):
    """DIR and its parts, or the place where they would be made."""
    for folder in (instance.data, instance.log, instance.run, instance.dir):
        if os.path.lexists(folder) and not (os.path.isdir(folder) and os.access(folder, os.W_OK | os.X_OK)):
            raise Failure(f"{folder} is not a folder that this account can write to: "
                          "change its owner, or use another --dir")
    if os.path.isdir(instance.dir):
        return instance.dir
    parent = os.path.dirname(instance.dir)
    while not os.path.lexists(parent):
        parent = os.path.dirname(parent)
    if not (os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK)):
        raise Failure(f"{instance.dir} cannot be made in {parent}: change that folder's owner, or use another --dir")
    return f"{instance.dir} does not exist yet; start makes it"


def _shm(options, running):
    return f"{options.shm_dir} (in use by this instance)" if running else shm_room(options)


def _addresses(options, instance, running):
    """Binds every address for a moment; those that this very instance holds are fine."""
    wanted = listeners.wanted(options, instance.dir)
    text = ", ".join(key[1] if key[0] == "unix" else listeners.shown(*key[1:]) for key in wanted) or "none"
    if running:
        port = state.read(instance).get("port")
        if port == options.port:
            return f"{text} (in use by this instance)"
        return f"{text} in the configuration; the instance that runs was started with port {port}"
    opened = listeners.open_all(options, instance.dir)
    listeners.close(opened.items())
    return f"{text} free"


def _hold_ms(instance, running):
    """How long md may be held still while its store is copied, as the words for store-check."""
    if not running or not os.path.exists(instance.effective_conf):
        return []
    timeout_s = config.Settings.running(instance).options().md_hang_timeout
    return [str(timeout_s * 500)] if timeout_s else []      # half of what the watchdog allows


def _store(instance, running):
    """Every invariant of the data in shared memory, of a live, stopped or dead group."""
    store, hold = os.path.join(instance.shm_link, "store"), _hold_ms(instance, running)
    for _ in range(STORE_TRIES):        # another md may take over in the middle of it
        serving = [str(each["pid"]) for each in state.read(instance).get("processes", [])
                   if each.get("role") == "md" and each.get("pid")]
        words = [serving[0], *hold] if serving else []
        done = subprocess.run([config.program("store-check"), store, *words], capture_output=True, stdin=subprocess.DEVNULL, text=True,
                              errors="replace", check=False)
        if done.returncode != STORE_NOT_LOOKED_AT:
            break
        time.sleep(0.1)
    text = (done.stdout if done.returncode == 1 else done.stdout + done.stderr).strip()
    if done.returncode in (STORE_NOT_LOOKED_AT, STORE_TOO_LARGE):
        raise Failure(text)
    if done.returncode != 0:
        raise Failure(f"{text.replace(chr(10), '; ')}; keep a copy of {os.path.realpath(instance.shm_link)}/store for the "
                      "developers, then restart with 'millrace stop' and 'millrace start'")
    return text


def _data(instance):
    """The data files: prints what the program that knows their format finds, and gives the number of problems."""
    program = config.find_program("oplogdump")
    if program is None or not os.path.isdir(instance.data):
        return 0
    done = subprocess.run([program, "--verify", instance.data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                          errors="replace", check=False)
    lines = done.stdout.splitlines()
    problems = sum(line.startswith("problem") for line in lines)
    if done.returncode != 0 and not problems:
        lines.append(f"problem  data files: {os.path.basename(program)} ended with status {done.returncode}")
        problems = 1
    for line in lines:
        say(line)
    return problems


def _files(options):
    """The hard limit of open files against maxclients."""
    need = options.maxclients + FILES_BESIDE_CLIENTS
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard != resource.RLIM_INFINITY and hard < need:
        raise Failure(f"the hard limit is {hard} and maxclients {options.maxclients} needs {need}: "
                      "raise 'ulimit -Hn' or lower maxclients")
    return f"the hard limit is {'unlimited' if hard == resource.RLIM_INFINITY else hard}, {need} are needed"
