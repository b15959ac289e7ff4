"""What a killed group leaves behind: daemons that go on serving, shared memory with the data, files in run/.

`start` takes the daemons over (adopt), or, where there are none, the data (keep_store); `stop` ends and removes all of it.

A process is ours if its command line carries `--instance <id>` and either it was recorded in status.json with the same
start time, or its `--dir` is this very folder. (The record alone would miss a daemon started just before the supervisor
was killed; the folder alone would miss the daemons of an instance that was moved while it ran.)
"""

import os
import select
import signal
import stat
import time

from . import config, errors, heartbeat, listeners, state
from .errors import Failure
from .instance import is_fifo, link_shm_folder, remove_file, remove_made_folder, remove_run_files, remove_shm_folder, shm_folders
from .limits import KILL_S, STOP_S
from .procfs import all_pids, arguments, name_of, owner, start_ticks


class Leftover:
    """A daemon without a supervisor. Holds a pidfd, so that a signal can never reach another process."""

    def __init__(self, pid, pidfd, role, words):
        self.pid = pid
        self.pidfd = pidfd
        self.role = role        # of the two md, the one that was recorded as the standby is "md_standby"
        self.place_role = "md" if role == "md_standby" else role
        self.index = _number(words, "--index")
        self.generation = _number(words, "--generation")
        self.restarts = _number(words, "--restarts")

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


def _number(words, option):
    """The number after an option on a command line; 0 if there is none."""
    text = _value_of(words, option)
    return int(text) if text is not None and text.isascii() and text.isdigit() else 0


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


def find(instance, instance_id=None):
    """The leftover daemons of an instance, by default of the id that it has. REQUIRES: the lock (a live supervisor's daemons would look the same)."""
    try:
        instance_id = instance_id or instance.read_id()
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
            words = arguments(pid)
            role = _role_of(words)
            found.append(Leftover(pid, pidfd, "md_standby" if role == "md" and pid in standby else role, words))
        else:
            os.close(pidfd)
    return found


def _role_of(words):
    """Which daemon a command line starts: its first words say so, because a script has its interpreter and options before its name."""
    names = {os.path.basename(word) for word in words[:3]}
    return next((role for role in ("md", "md_log", "md_repl") if role in names), "io_conn")


def owners(instance):
    """The accounts (uids) that the leftover daemons of an instance run under. REQUIRES: as find()."""
    found = find(instance)
    uids = {owner(each.pid) for each in found}
    for each in found:
        os.close(each.pidfd)
    return uids - {None}


def wait_gone(processes, seconds):
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
    """Ends leftover daemons in order: io_conn, md_repl and the standby md, md, and md_log, which saves nothing. Gives those that the kernel cannot end."""
    immortal = []
    for roles in (("io_conn",), ("md_repl", "md_standby"), ("md",), ("md_log",)):
        batch = [each for each in processes if each.role in roles]
        for each in batch:
            each.send(signal.SIGUSR1 if each.role == "md_log" else signal.SIGTERM)
            each.send(signal.SIGCONT)
        stubborn = wait_gone(batch, STOP_S)
        for each in stubborn:
            log.event("child_killed", pid=each.pid, reason=f"did not end within {STOP_S:g} s of its signal")
            each.send(signal.SIGKILL)
        immortal += wait_gone(stubborn, KILL_S)
        for each in batch:
            if each not in immortal:
                log.event("leftover_ended", role=each.place_role, pid=each.pid)
    for each in processes:
        os.close(each.pidfd)
    return immortal


class Inheritance:
    """What a start takes over from a dead supervisor's group.

    shm_folder   with the store in it
    processes    daemons that serve; at most one for each place
    draining     (role, index) of those of them that were retired
    missing      indices of io_conn that have died since
    is_starting  no md among them was known to be up
    is_loading   one of them was known to load data: then nobody has written yet, unless it says that it serves
    """

    def __init__(self, shm_folder, processes=(), draining=(), missing=(), is_starting=False, is_loading=False):
        self.shm_folder = shm_folder
        self.processes = processes
        self.draining = draining
        self.missing = missing
        self.is_starting = is_starting
        self.is_loading = is_loading


def inherit(instance, options, log):
    """What can be taken over; None if there is nothing, and then nothing is left. REQUIRES: the lock."""
    found = find(instance)
    folder = _shm_folder(instance, options)
    if folder is None:
        for each in found:
            os.close(each.pidfd)
        clear(instance, log)
        return None
    if os.path.realpath(instance.shm_link) != os.path.realpath(folder):
        link_shm_folder(instance, folder)
    lost = _lost(instance, folder, found)
    if lost:
        log.event("leftovers", pids=",".join(str(each.pid) for each in found),
                  reason=f"{lost} is lost or damaged: they are replaced, and the data is kept")
        _end_all(found, log)
        found = []
    if not any(each.role not in ("md_log", "md_repl") for each in found):
        _end_all(found, log)            # md_log may be in the middle of a last save, which is for nothing now
        found = []
    kept = _one_for_each_place(found, log)
    if not kept:
        keep_store(folder)
        _remove_sockets(instance)
        return Inheritance(folder)
    recorded = state.read(instance).get("processes", [])
    known = [each for each in recorded if each.get("role") == "io_conn"]
    up = {each.get("pid") for each in recorded if each["state"] == "up"}
    alive = {each.index for each in kept if each.role == "io_conn"}
    draining = {("io_conn", each["index"]) for each in known if each["state"] == "draining" and each["index"] in alive}
    missing = [each["index"] for each in known if each["state"] != "draining" and each["index"] not in alive]
    is_starting = not any(each.place_role == "md" and each.pid in up for each in kept)
    return Inheritance(folder, kept, draining, missing, is_starting, state.read(instance).get("loading") is not None)


# Without these those that run go on, but nobody could join them.
_JOINS_A_GROUP = (heartbeat.NAME, "control", "roster")


def _lost(instance, folder, found):
    """What those that run have and others could not open any more; None if they can be guarded."""
    if not found:
        return None
    try:
        config.Settings.running(instance).options()
    except Failure:
        return instance.effective_conf
    files = [os.path.join(folder, name) for name in _JOINS_A_GROUP] + [instance.effective_conf]
    fifos = [instance.fifo(each.place_role, each.index) for each in found]
    return next((path for path in files if not os.path.isfile(path)), None) or next((path for path in fifos if not is_fifo(path)), None)


def _under_another_id(instance):
    """A folder of shared memory with a store in it that is this very folder's, from when its data had another id, and that id; (None, None) if there is
    none. Somebody has put another data folder, or none, in the place of the one that belongs to it."""
    candidates = [state.read(instance).get("shm")]
    try:
        own = instance.read_id()
        candidates.append(os.readlink(instance.shm_link))
    except Failure:
        return None, None       # the start says what is the matter with the id
    except OSError:
        pass
    for path in candidates:
        other = instance.id_in(path) if path else None
        if other not in (None, own) and _owner_of_store(path) is not None:
            return path, other
    return None, None


def look_at_owner(instance):
    """Raises Failure if there is data in shared memory that does not belong to the data folder. REQUIRES: the lock."""
    folder, other = _under_another_id(instance)
    if folder is None:
        return
    own = instance.read_id()
    whose = f"is that of {own}" if own else "has no instance id"
    raise Failure(f"{folder} holds the data of instance {other}, and {instance.data} {whose}: put the data folder of {other} back to go on with it; or "
                  "'millrace stop --force' gives up what is in shared memory, and the next start begins with what is in the folder")


def _give_up_other(instance, log):
    """Ends what lives of the instance whose data folder is gone, and removes its data."""
    folder, other = _under_another_id(instance)
    if folder is not None:
        _end_all(find(instance, other), log)
        log.event("given_up", reason=f"{folder} holds the data of instance {other}, and the data folder is another one")
        remove_made_folder(folder)


def _shm_folder(instance, options):
    """This instance's own folder of shared memory with a store in it; None if there is none. Raises Failure if it is another account's.

    run/ may have been tidied up by somebody, but the data outlives that: the folder's name says whose it is.
    """
    try:
        own = instance.shm_name(instance.read_id() or "none")
    except Failure:
        return None
    candidates = [state.read(instance).get("shm"), os.path.join(options.shm_dir, own)]
    try:
        candidates.insert(0, os.readlink(instance.shm_link))
    except OSError:
        pass
    for path in candidates:
        uid = _owner_of_store(path) if path and os.path.basename(path) == own else None
        if uid == os.geteuid():
            return path
        if uid is not None:
            raise Failure(f"the data of the group before, in {path}, belongs to the account {name_of(uid)}: start as that account, "
                          "or 'millrace stop' as that account to give the data up")
    return None


def _owner_of_store(path):
    """The account (uid) of a folder of shared memory with a store in it; None if this is none."""
    try:
        found = os.lstat(path)
        return found.st_uid if stat.S_ISDIR(found.st_mode) and os.path.exists(os.path.join(path, "store")) else None
    except OSError:
        return None


def _one_for_each_place(found, log):
    """The youngest daemon of each place; an older one that has not ended yet does so."""
    places = {}
    for each in sorted(found, key=lambda leftover: leftover.generation):
        place = (each.place_role, each.index)
        if place in places:
            places[place].send(signal.SIGKILL)
            log.event("leftover_ended", role=place[0], pid=places[place].pid)
            os.close(places[place].pidfd)
        places[place] = each
    return list(places.values())


# Of a dead group's shared memory: the data, how far it is on disk, what the policy of eviction knows, and statistics.
_OUTLIVES_THE_GROUP = ("store", "log", "marks", "counters-md", "diagnostics-")


def keep_store(folder):
    """Removes what was between processes that are all dead. REQUIRES: they are."""
    for name in os.listdir(folder):
        if not name.startswith(_OUTLIVES_THE_GROUP):
            remove_file(os.path.join(folder, name))


def _remove_sockets(instance):
    for known in state.read(instance).get("sockets", []):
        listeners.remove_unix(known)


def clear(instance, log):
    """Ends leftover daemons and removes everything of a dead group but the lock holder's own files. REQUIRES: the lock, and no data."""
    found = _find_and_note(instance, log)
    _end_all(found, log)
    _remove_shared(instance)


def _find_and_note(instance, log):
    found = find(instance)
    if found:
        log.event("leftovers", pids=",".join(str(each.pid) for each in found))
    return found


def _remove_shared(instance):
    _remove_sockets(instance)
    remove_shm_folder(instance, also=[state.read(instance).get("shm")])


def _end_all(found, log):
    immortal = end(found, log)
    if immortal:
        raise Failure(f"process {immortal[0].pid} of the earlier group does not end even after SIGKILL "
                      "(it waits in the kernel, often for a disk): mend that, then try again")


def remove_all(instance, log, force):
    """For `stop`: ends leftover daemons, saves what they have left, and removes all of it, of run/ everything of ours, the lock last.

    Gives the number of daemons that were still alive, and why the data was given up; None: it was saved, or there was none.
    Raises Failure if it could not be saved, and then it stays; `force`: it is given up. REQUIRES: the lock.
    """
    if force:
        _give_up_other(instance, log)
    look_at_owner(instance)
    found = _find_and_note(instance, log)
    writers = [each for each in found if each.role == "md_log"]
    _end_all([each for each in found if each.role != "md_log"], log)
    not_saved = _save(instance, writers, log, force)
    if not_saved is not None:
        log.event("given_up" if force else "not_saved", reason=not_saved)
        if not force:
            raise errors.not_saved(not_saved)
    _remove_shared(instance)
    remove_run_files(instance)
    return len(found), not_saved


def _save(instance, writers, log, force):
    """Gives why the data is not saved; None: it is, or there is none. REQUIRES: no md alive."""
    folder = _own_store(instance)
    _end_all(writers[1:] if folder is not None else writers, log)
    if folder is None:
        return None
    from . import saving_alone      # late, because `status` should not pay for the event loop
    return saving_alone.save(instance, folder, writers[0] if writers else None, log, force)


def _own_store(instance):
    """This instance's folder of shared memory with a store of this account's in it; None if there is none."""
    candidates = shm_folders(instance, also=[state.read(instance).get("shm")])
    return next((path for path in candidates if _owner_of_store(path) == os.geteuid()), None)
