"""import, export, backup and restore: files of Redis's become an instance's data and the reverse, and data folders are copied.

millrace-convert does the work, into a folder aside (data/incoming-<pid>) or beside the target; here is what concerns the instance: that
it is stopped, that nothing is overwritten, and that what was made comes into its place as a whole. Of the data's files the log's are moved last to
first, then the snapshots: wherever that ends, a start finds either all of it or a gap, and never the data of an earlier moment.
"""

import contextlib
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
import time

from . import config, control, leftovers, privileges
from .errors import Failure, Interrupted
from .eventlog import say
from .instance import Instance, is_locked, remove_file, shm_folders, take_lock, write_whole
from .procfs import name_of
from .saving import has_store

_DATA = re.compile(r"(log|snapshot)-\d{20}(\.partial)?\Z")
_ASIDE = re.compile(r"incoming-\d+\Z")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def run_import(args):
    """The command `import`."""
    source = _readable(args)
    with _stopped(args) as instance, _aside(instance) as made:
        identity = instance.read_id() or secrets.token_hex(8)
        if status := _convert("import", source, made, "--instance", identity):
            return status
        if instance.read_id() is None:
            write_whole(instance.id_file, f"id = {identity}\n", durable=True)
        _install(instance, made)
    return 0


def restore(args):
    """The command `restore`."""
    source = _readable(args)
    words = [] if args.to_number is None else ["--to-number", str(args.to_number)]
    words += [] if args.to_time is None else ["--to-time", args.to_time]
    with _stopped(args) as instance, _aside(instance) as made:
        if status := _convert("restore", source, made, *words):
            return status
        _install(instance, made)
    return 0


def export(args):
    """The command `export`. Of an instance that runs a backup is made first, beside the file."""
    instance = _existing(args)
    target = os.path.abspath(args.file)
    if os.path.isdir(target):
        raise Failure(f"{target} is a folder: name the file that is to be written")
    _with_interrupts()
    if not _runs(instance):
        _require_saved(instance)
        return _convert("export", instance.data, target)
    with _beside(target) as copy:
        return _convert("backup", instance.data, copy) or _convert("export", copy, target)


def backup(args):
    """The command `backup`."""
    instance = _existing(args)
    target = os.path.abspath(args.dest)
    if os.path.lexists(target) and not (os.path.isdir(target) and not os.listdir(target)):
        raise Failure(f"{target} exists: name a folder that does not, or an empty one")
    _with_interrupts()
    with _beside(target) as copy:
        if status := _convert("backup", instance.data, copy):
            return status
        try:
            os.rename(copy, target)
            _sync(os.path.dirname(target))
        except OSError as error:
            raise Failure(f"{target} cannot be made: {error.strerror}") from None
    if not _runs(instance) and _unsaved(instance):
        say(f"millrace: {instance.dir} is stopped with data in shared memory, which may be newer than what was copied: 'millrace stop' saves it")
    say(f"millrace: the backup is {target}; 'millrace restore' brings it back")
    return 0


# --- millrace-convert -----------------------------------------------------------------------------------------------

def _convert(*words):
    """Runs it to its end and gives its status; it has told what was wrong."""
    status = subprocess.run([config.program("millrace-convert"), *words], stdin=subprocess.DEVNULL, check=False).returncode
    if status < 0:
        raise Failure(f"millrace-convert was ended by signal {-status}; nothing has changed (it needs as much memory as the data)")
    return status


def _with_interrupts():
    """From here on a signal ends the command in order: what was made is removed."""
    def interrupt(*_):
        raise Interrupted("interrupted; nothing has changed")
    for number in _SIGNALS:
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)


def _readable(args):
    """The path of what is read, as seen by the account of the instance."""
    privileges.act_for(Instance(args.dir))
    path = os.path.abspath(args.source)
    if not os.path.exists(path):
        raise Failure(f"{path} does not exist, or the account {name_of(os.geteuid())} cannot see it")
    if not os.access(path, os.R_OK):
        raise Failure(f"{path} cannot be read by the account {name_of(os.geteuid())}: copy it to where it can, or change its mode")
    return path


# --- the instance ---------------------------------------------------------------------------------------------------

def _existing(args):
    privileges.act_for(Instance(args.dir))
    instance = control.instance_of(args.dir)
    if not os.path.isdir(instance.data):
        raise Failure(f"{instance.data} does not exist: name the instance folder with --dir")
    return instance


def _runs(instance):
    return is_locked(instance) or bool(leftovers.owners(instance))


def _unsaved(instance):
    return any(has_store(folder) for folder in shm_folders(instance))


def _require_saved(instance):
    if _unsaved(instance):
        raise Failure(f"{instance.dir} holds data in shared memory that may not be on disk: 'millrace stop' saves it first")


@contextlib.contextmanager
def _stopped(args):
    """The instance, which nobody starts meanwhile. Raises Failure if it runs, or holds data and is not to give it up."""
    instance = control.instance_of(args.dir)
    if is_locked(instance):
        raise Failure(f"{instance.dir} is running: stop it first with 'millrace stop'")
    os.umask(0o077)
    instance.create_folders()
    lock = take_lock(instance)
    if lock is None:
        raise Failure(f"{instance.dir} is being started or stopped by somebody else: try again")
    try:
        if leftovers.owners(instance):
            raise Failure(f"{instance.dir} has daemons without a supervisor: end them first with 'millrace stop'")
        _require_saved(instance)
        held = _data_files(instance.data)
        if held and not args.replace:
            raise Failure(f"{instance.data} holds data already ({len(held)} files): choose another --dir, or move it aside with --replace")
        _with_interrupts()
        yield instance
    finally:
        remove_file(instance.lock)
        os.close(lock)


def _data_files(folder):
    return sorted(name for name in os.listdir(folder) if _DATA.match(name))


@contextlib.contextmanager
def _aside(instance):
    """A folder for what is made, on the data's file system; removed at the end, as is that of one who was killed. REQUIRES: the lock."""
    for name in os.listdir(instance.data):
        if _ASIDE.match(name):
            shutil.rmtree(os.path.join(instance.data, name), ignore_errors=True)
    path = os.path.join(instance.data, f"incoming-{os.getpid()}")
    try:
        os.mkdir(path, 0o700)
    except OSError as error:
        raise Failure(f"{path} cannot be made: {error.strerror}") from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def _beside(target):
    """A folder in that of the target, removed at the end if it is still there."""
    try:
        path = tempfile.mkdtemp(prefix=f".{os.path.basename(target)}.", suffix=".partial", dir=os.path.dirname(target))
    except OSError as error:
        raise Failure(f"{os.path.dirname(target)} cannot be written to: {error.strerror}") from None
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


# --- into its place -------------------------------------------------------------------------------------------------

def _install(instance, made):
    """Moves the old files away and the new ones into the data folder."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        replaced = _replace(instance)
        for name in sorted(os.listdir(made), key=_order):
            os.rename(os.path.join(made, name), os.path.join(instance.data, name))
        _sync(instance.data)
    except OSError as error:
        raise Failure(f"{error.filename or instance.data} cannot be moved: {error.strerror}; what was there is in {instance.data} or in a folder "
                      "'replaced-' in it") from None
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
    kept = f"; what was there before is in {replaced}" if replaced else ""
    say(f"millrace: {instance.data} is complete: 'millrace start --dir {instance.dir}' begins with it{kept}")


def _order(name):
    """The instance's id, the log from its end, the snapshots."""
    kind, _, number = name.partition("-")
    return ({"instance": 0, "log": 1}.get(kind, 2), -int(number or 0))


def _replace(instance):
    """Moves data files away; gives the folder, or None if there was nothing."""
    names = _data_files(instance.data)
    if not names:
        return None
    folder = os.path.join(instance.data, time.strftime("replaced-%Y%m%dT%H%M%S"))
    while os.path.lexists(folder):
        folder += "-1"
    os.mkdir(folder, 0o700)
    for name in names:
        os.rename(os.path.join(instance.data, name), os.path.join(folder, name))
    if os.path.exists(instance.id_file):        # a copy of it: what was replaced can be restored like a backup
        shutil.copy2(instance.id_file, folder)
    _sync(folder)
    _sync(instance.data)
    return folder


def _sync(folder):
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
