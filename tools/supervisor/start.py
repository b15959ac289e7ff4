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

from . import check, config, control, detach, heartbeat, leftovers, listeners, privileges, procfs, state
from .errors import Failure, Interrupted, not_saved
from .eventlog import EventLog, say
from .instance import (is_locked, link_shm_folder, make_shm_folder, remove_file, remove_made_folder,
                       remove_run_files, remove_shm_folder,
                       take_lock, write_whole)
from .limits import FILES_BESIDE_CLIENTS, KILL_S
from .notify import Notifier
from .supervise import Supervisor


class Launch:
    """Everything that a group needs to run, filled step by step by prepare()."""

    def __init__(self, instance, settings, options, detached, repair=False):
        self.instance = instance
        self.settings = settings
        self.options = options
        self.detached = detached
        self.repair = repair        # md may cut damaged data files
        self.ready = False
        self.supervisor_pid = os.getpid()
        self.version = None
        self.instance_id = None
        self.first_generation = None
        self.lock_fd = None
        self.shm_folder = None
        self.control_socket = None
        self.listeners = {}
        self.inheritance = None     # what a dead supervisor has left, if it can be used
        self.owns_files = False     # an earlier life has left nothing that is of use: all that is in run/ and shm-dir is this start's
        self.left_behind = None     # the shared memory folder of the group before, if this one has it elsewhere
        self.notifier = Notifier()
        self.tell_caller = lambda **_: None     # words for who waits in `start --daemon`
        self.not_saved = None       # after the stop: why the data is not on disk, and therefore stays in shared memory
        self.kept = None            # md's sentence about the data that it has found

    def what_was_kept(self):
        """For the end of a sentence."""
        return f"; kept from the group before: {self.kept}" if self.kept else ""

    @property
    def adopts(self):
        """Whether daemons are taken over."""
        return self.inheritance is not None and bool(self.inheritance.processes)


def run(args):
    """The command `start`."""
    instance = control.instance_of(args.dir)
    if is_locked(instance):
        return already_running(instance)
    settings = config.settings_of(args, instance)
    options = settings.options()
    account = privileges.account_for(options, instance)
    if account is not None:
        privileges.start_as(account, args, instance, settings, options)     # never returns
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    os.umask(0o077)
    launch = Launch(instance, settings, options, args.daemon, args.repair)
    if args.daemon:
        detach.close_inherited()
    log = EventLog(instance.supervisor_log, None if args.daemon else sys.stderr)
    try:
        if not prepare(launch, log):
            return already_running(instance)
        if args.daemon:
            return detach.run(launch, log, supervise, release)
        return supervise(launch, log, lambda: say(
            f"millrace {launch.version}: ready for clients: {listeners.how_to_connect(launch.listeners)}{launch.what_was_kept()}"))
    finally:
        release(launch)


def prepare(launch, log):
    """Everything up to the first daemon. Gives False if a supervisor turned up meanwhile. Raises Failure."""
    instance = launch.instance
    for name in config.DAEMONS:
        config.program(name)
    instance.create_folders()
    launch.lock_fd = take_lock(instance)
    if launch.lock_fd is None:
        return False
    write_whole(instance.pid_file, f"{os.getpid()}\n")
    leftovers.look_at_owner(instance)
    launch.instance_id = instance.read_or_make_id()
    launch.version = config.version() or "(version unknown)"
    log.event("start", dir=instance.dir, pid=os.getpid(), version=launch.version, account=procfs.name_of(os.geteuid()))
    _say_remark(launch, log)
    _look_for_leftovers(launch, log)
    if launch.adopts:
        _adopt(launch, log)
    else:
        _make_anew(launch, log)
    launch.control_socket = control.listen(instance)
    _raise_file_limit(launch.options.maxclients, log)
    return True


def _make_anew(launch, log):
    """Shared memory (with the store of a group that was killed, if there is one), options and sockets."""
    instance = launch.instance
    check.shm_room(launch.options)
    inherited = launch.inheritance.shm_folder if launch.inheritance is not None else None
    if inherited is not None and os.path.dirname(inherited) != launch.options.shm_dir:
        launch.left_behind, inherited = inherited, None
    launch.shm_folder = inherited or make_shm_folder(instance, launch.instance_id, launch.options.shm_dir)
    heartbeat.make(launch.shm_folder)
    write_whole(instance.effective_conf, launch.settings.effective())
    for name, value in launch.settings.derived().items():
        log.event("memory_limit", **{name: value}, because=check.memory_limit())
    given = listeners.named(launch.notifier.take_sockets(), launch.options, instance.dir)
    launch.listeners = listeners.open_all(launch.options, instance.dir, given)
    listeners.close(item for item in given.items() if item[0] not in launch.listeners)
    listeners.adjust(launch.listeners, launch.options)
    if launch.left_behind:
        say(f"millrace: shm-dir is {launch.options.shm_dir} now: the data of the group that was killed, in {launch.left_behind}, "
            "is removed as soon as this one serves")


def _adopt(launch, log):
    """The group runs: it keeps its options until `restart`, and its sockets."""
    instance, inheritance = launch.instance, launch.inheritance
    launch.shm_folder = inheritance.shm_folder
    running = config.Settings.running(instance)
    if launch.settings.effective() != running.effective():
        say("millrace: the group runs with the configuration that it was started with; 'millrace restart' applies the present one")
    launch.options = running.options()
    io_conns = [each for each in inheritance.processes if each.role == "io_conn"]
    launch.listeners = listeners.ask_for(instance, io_conns, launch.options)
    given = listeners.named(launch.notifier.take_sockets(), launch.options, instance.dir)
    if not launch.listeners:
        for each in io_conns:       # nobody else can be given sockets that these hold
            each.send(signal.SIGKILL)
            log.event("child_killed", role="io_conn", index=each.index, pid=each.pid, reason="it did not give its listening sockets")
        leftovers.wait_gone(io_conns, KILL_S)
        launch.listeners = listeners.open_all(launch.options, instance.dir, given)
    listeners.close(item for item in given.items() if item[1] not in launch.listeners.values())


def supervise(launch, log, on_ready):
    """Runs the group until it is told to stop; gives the exit status. Raises Failure if it did not come up."""
    def ready():
        launch.ready = True
        remove_made_folder(launch.left_behind)
        launch.notifier.ready()
        launch.notifier.keep(listeners.tcp_of(launch.listeners))
        on_ready()

    launch.supervisor_pid = os.getpid()
    write_whole(launch.instance.pid_file, f"{os.getpid()}\n")
    try:
        asyncio.run(Supervisor(launch, log, ready).run())
    except (Failure, Interrupted) as error:
        log.event("start_failed", reason=error)
        if launch.not_saved is not None:
            raise type(error)(f"{error}; besides, {not_saved(launch.not_saved)}") from None
        raise
    finally:
        log.end_progress()
    if launch.not_saved is not None:
        raise not_saved(launch.not_saved)
    return 0


def release(launch):
    """Takes back what prepare() did. Without the lock it touches nothing, and a start that fails does not cost the data of the
    group before: the next one finds all that this one has found."""
    if launch.lock_fd is None:
        return
    if launch.not_saved is not None:
        listeners.close(launch.listeners.items())
        remove_run_files(launch.instance, keep=("shm", "effective.conf", "status.json"))    # what a later start or stop needs
    elif launch.owns_files or launch.ready:
        listeners.close(launch.listeners.items())
        remove_made_folder(launch.shm_folder)   # by its path: DIR, which knows it too, may have been deleted meanwhile
        remove_shm_folder(launch.instance)
        remove_run_files(launch.instance)
    elif launch.left_behind:
        remove_made_folder(launch.shm_folder)
        link_shm_folder(launch.instance, launch.left_behind)
    elif launch.inheritance is None:    # broken off before anybody has looked: a living group may have all the rest
        remove_file(launch.instance.pid_file)
        remove_file(launch.instance.lock)
    elif not launch.adopts:             # what this group has made between its processes is nobody's
        leftovers.keep_store(launch.shm_folder or launch.inheritance.shm_folder)
    if launch.control_socket is not None:
        launch.control_socket.close()
    os.close(launch.lock_fd)
    launch.lock_fd = None


def already_running(instance):
    """`start` on a running instance says so and changes nothing; a success if clients are served."""
    answer = state.report(instance, True)
    where = f"pid {answer['supervisor_pid'] or '?'}, port {answer['port'] if answer['port'] is not None else '?'}"
    if answer["state"] == "running" or state.serves(instance):
        without = "" if answer["state"] == "running" else "; the standby of md, or md_repl, is not up (yet): see 'millrace status'"
        say(f"millrace: already running: {instance.dir} ({where}){without}")
        return 0
    if answer["saving"] is not None:
        raise Failure(f"{instance.dir} is being stopped, and md_log is saving {answer['saving']}: wait for its end, then start")
    raise Failure(f"already running, but not all of it is up: {instance.dir} ({where}): see 'millrace status'")


def _interrupt(number, _frame):
    """A signal during the preparations breaks them off; the event loop installs its own handlers later."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)    # while the pieces are taken back
    raise Interrupted(f"the start was broken off by {signal.Signals(number).name}")


def _look_for_leftovers(launch, log):
    """What an earlier life of this instance left, and the generation from which this one counts."""
    known = state.read(launch.instance)
    launch.first_generation = max(int(time.time() * 1000), int(known.get("generation", 0)) + 1)
    launch.inheritance = leftovers.inherit(launch.instance, launch.options, log)
    launch.owns_files = launch.inheritance is None
    if launch.adopts:
        pids = [str(each.pid) for each in launch.inheritance.processes]
        log.event("adopting", pids=",".join(pids))
        say(f"millrace: an earlier supervisor had died: its {len(pids)} daemon{'s go' if len(pids) > 1 else ' goes'} on under this one")
    else:
        remove_file(launch.instance.status_file)


def _say_remark(launch, log):
    """What is to be known about the account that the group runs under."""
    found = privileges.remark(launch.options)
    if found is not None:
        event, fields, sentence = found
        log.event(event, **fields)
        if sentence:
            say(f"millrace: {sentence}", sys.stderr)


def _raise_file_limit(clients, log):
    """Daemons inherit the limit of open files: one for every client, and some."""
    wanted = clients + FILES_BESIDE_CLIENTS
    privileges.raise_hard_file_limit(wanted)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        log.event("file_limit_low", hard=hard, wanted=wanted, cure="raise 'ulimit -Hn' or lower maxclients")
    reachable = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < reachable:
        resource.setrlimit(resource.RLIMIT_NOFILE, (reachable, hard))
