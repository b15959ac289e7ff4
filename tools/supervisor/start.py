"""start: what is prepared before the first daemon, and what is taken back when that fails.

Order: options are checked (nothing has been touched yet), folders, lock, leftovers of an earlier life, shared memory,
sockets. Every step either succeeds or is one sentence; release() takes back all of them.
"""

import asyncio
import os
import resource
import signal
import sys
import time

from . import check, config, control, detach, leftovers, listeners, state
from .errors import Failure, Interrupted
from .eventlog import EventLog, say
from .instance import (is_locked, make_shm_folder, remove_file, remove_made_folder,
                       remove_run_files, remove_shm_folder,
                       take_lock, write_whole)
from .limits import FILES_BESIDE_CLIENTS
from .supervise import Supervisor


class Launch:
    """Everything that a group needs to run, filled step by step by prepare()."""

    def __init__(self, instance, settings, options, detached):
        self.instance = instance
        self.settings = settings
        self.options = options
        self.detached = detached
        self.ready = False
        self.supervisor_pid = os.getpid()
        self.version = None
        self.instance_id = None
        self.first_generation = None
        self.lock_fd = None
        self.shm_folder = None
        self.control_socket = None
        self.listeners = {}


def run(args):
    """The command `start`."""
    instance = control.instance_of(args.dir)
    if is_locked(instance):
        return already_running(instance)
    settings = config.settings_of(args, instance)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    os.umask(0o077)
    if args.daemon:
        detach.close_inherited()
    launch = Launch(instance, settings, settings.options(), args.daemon)
    log = EventLog(instance.supervisor_log, None if args.daemon else sys.stderr)
    try:
        if not prepare(launch, log):
            return already_running(instance)
        if args.daemon:
            return detach.run(launch, log, supervise, release)
        return supervise(launch, log, lambda: say(
            f"millrace {launch.version}: ready for clients: {listeners.how_to_connect(launch.listeners)}"))
    finally:
        release(launch)


def prepare(launch, log):
    """Everything up to the first daemon. Gives False if a supervisor turned up meanwhile. Raises Failure."""
    instance = launch.instance
    for name in ("md", "io_conn"):
        config.program(name)
    instance.create_folders()
    launch.lock_fd = take_lock(instance)
    if launch.lock_fd is None:
        return False
    write_whole(instance.pid_file, f"{os.getpid()}\n")
    launch.instance_id = instance.read_or_make_id()
    launch.version = config.version() or "(version unknown)"
    log.event("start", dir=instance.dir, pid=os.getpid(), version=launch.version)
    _clear_leftovers(launch, log)
    check.shm_room(launch.options)
    launch.shm_folder = make_shm_folder(instance, launch.instance_id, launch.options.shm_dir)
    write_whole(instance.effective_conf, launch.settings.effective())
    launch.listeners = listeners.open_all(launch.options, instance.dir)
    launch.control_socket = control.listen(instance)
    _raise_file_limit(launch.options.maxclients, log)
    return True


def supervise(launch, log, on_ready):
    """Runs the group until it is told to stop; gives the exit status. Raises Failure if it did not come up."""
    def ready():
        launch.ready = True
        on_ready()

    launch.supervisor_pid = os.getpid()
    write_whole(launch.instance.pid_file, f"{os.getpid()}\n")
    try:
        asyncio.run(Supervisor(launch, log, ready).run())
    except (Failure, Interrupted) as error:
        log.event("start_failed", reason=error)
        raise
    return 0


def release(launch):
    """Takes back what prepare() did. Without the lock it touches nothing."""
    if launch.lock_fd is None:
        return
    listeners.close(launch.listeners.items())
    remove_made_folder(launch.shm_folder)   # by its path: DIR, which knows it too, may have been deleted meanwhile
    remove_shm_folder(launch.instance)
    remove_run_files(launch.instance)
    if launch.control_socket is not None:
        launch.control_socket.close()
    os.close(launch.lock_fd)
    launch.lock_fd = None


def already_running(instance):
    """`start` on a running instance says so and changes nothing; a success if clients are served."""
    answer = state.report(instance, True)
    where = f"pid {answer['supervisor_pid'] or '?'}, port {answer['port'] if answer['port'] is not None else '?'}"
    if answer["state"] == "running" or state.serves(instance):
        without = "" if answer["state"] == "running" else "; the standby of md is not up (yet): see 'millrace status'"
        say(f"millrace: already running: {instance.dir} ({where}){without}")
        return 0
    raise Failure(f"already running, but not all of it is up: {instance.dir} ({where}): see 'millrace status'")


def _interrupt(number, _frame):
    """A signal during the preparations breaks them off; the event loop installs its own handlers later."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)    # while the pieces are taken back
    raise Interrupted(f"the start was broken off by {signal.Signals(number).name}")


def _clear_leftovers(launch, log):
    """What an earlier life of this instance left, and the generation from which this one counts."""
    known = state.read(launch.instance)
    launch.first_generation = max(int(time.time() * 1000), int(known.get("generation", 0)) + 1)
    count = leftovers.clear(launch.instance, log)
    remove_file(launch.instance.status_file)
    if count:
        say(f"millrace: an earlier supervisor had died: {count} daemon{'s' if count > 1 else ''} of it ended first")


def _raise_file_limit(clients, log):
    """Daemons inherit the limit of open files: one for every client, and some."""
    wanted = clients + FILES_BESIDE_CLIENTS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.event("file_limit_low", hard=hard, wanted=wanted, cure="raise 'ulimit -Hn' or lower maxclients")
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < reachable:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
