"""The instance folder: every file name that the supervisor uses is spelled here, and who owns which file.

DIR/data/instance     `id = <16 hex digits>`, made at the first start
DIR/data/             the log and snapshots, which md_log writes and md reads; here only migrate.py touches them, while nothing runs
DIR/data/replaced-<time>/  what was there before an import or a restore
DIR/data/incoming-<pid>/   what an import or a restore is making
DIR/log/              supervisor.log, <role>-<index>.log
DIR/run/lock          flock held as long as a supervisor lives: that, and nothing else, means "running"
DIR/run/shm           symlink to <shm-dir>/millrace-<id>-<device>-<inode of DIR>, so that a copied DIR gets its own

The name of the shared memory folder contains what cannot be copied (device and inode of DIR). Everything that removes
shared memory checks that name, therefore a copy of DIR, with its copied symlink, never touches the original's memory.
"""

import fcntl
import os
import re
import secrets
import shutil
import stat
import time

from .errors import Failure

# What the group makes in run/. Other names belong to somebody else and are left alone.
OURS_IN_RUN = re.compile(r"(lock|shm|((status\.json|effective\.conf|supervisor\.pid)(\.new)?)"
                         r"|(supervisor|md|md_[a-z]+|io_conn)(-\d+|-sockets)?\.(pid|sock|fifo|words))\Z")
_SHM_NAME = re.compile(r"millrace-([0-9a-f]{16})-([0-9a-f]+-[0-9a-f]+)\Z")
_ID_LINE = re.compile(r"id = ([0-9a-f]{16})\Z")


class Instance:
    """Names and files of one instance folder. The folder need not exist."""

    def __init__(self, folder):
        self.dir = os.path.realpath(folder)
        self.data = os.path.join(self.dir, "data")
        self.log = os.path.join(self.dir, "log")
        self.run = os.path.join(self.dir, "run")
        self.conf = os.path.join(self.dir, "millrace.conf")
        self.id_file = os.path.join(self.data, "instance")
        self.supervisor_log = os.path.join(self.log, "supervisor.log")
        self.lock = os.path.join(self.run, "lock")
        self.pid_file = os.path.join(self.run, "supervisor.pid")
        self.status_file = os.path.join(self.run, "status.json")
        self.effective_conf = os.path.join(self.run, "effective.conf")
        self.shm_link = os.path.join(self.run, "shm")

    def fifo(self, role, index):
        """The wake-up FIFO of a daemon; the two md share one, whose reader is the one that serves."""
        return os.path.join(self.run, "md.fifo" if role == "md" else f"{role}-{index}.fifo")

    def words(self, role, index):
        """The FIFO through which a daemon speaks to the supervisor (process.py)."""
        return os.path.join(self.run, f"{role}-{index}.words")

    def daemon_log(self, role, index):
        """Where a daemon's stdout and stderr go."""
        return os.path.join(self.log, f"{role}-{index}.log")

    def identity(self):
        """Device and inode of the folder: what a copy does not share. None if there is no folder."""
        try:
            found = os.stat(self.dir)
        except OSError:
            return None
        return f"{found.st_dev:x}-{found.st_ino:x}"

    def create_folders(self):
        """Makes DIR, data/, log/ and run/ where they are missing."""
        try:
            os.makedirs(self.dir, exist_ok=True)
            for folder in (self.data, self.log, self.run):
                os.makedirs(folder, mode=0o700, exist_ok=True)
                if not os.access(folder, os.W_OK | os.X_OK):
                    raise PermissionError(13, "Permission denied", folder)
        except OSError as error:
            raise Failure(f"the instance folder cannot be used: {error.filename}: {error.strerror}; "
                          "choose another one with --dir, or change its owner") from None

    def read_id(self):
        """The instance id; None if the instance was never started."""
        try:
            with open(self.id_file, encoding="ascii", errors="replace") as file:
                match = _ID_LINE.match(file.readline().strip())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Failure(f"{self.id_file} cannot be read: {error.strerror}") from None
        if match is None:
            raise Failure(f"{self.id_file} holds no line 'id = <16 hex digits>': put it back from a copy, "
                          "or remove the file to make this a new instance")
        return match.group(1)

    def read_or_make_id(self):
        """The instance id, made at the first start."""
        found = self.read_id()
        if found is not None:
            return found
        made = secrets.token_hex(8)
        write_whole(self.id_file, f"id = {made}\n", durable=True)
        return made

    def read_pid(self):
        """The pid in supervisor.pid; None if there is none. Means something only while the lock is held."""
        try:
            with open(self.pid_file, encoding="ascii") as file:
                return int(file.read())
        except (OSError, ValueError):
            return None

    def shm_name(self, instance_id):
        """The name of the shared memory folder inside shm-dir."""
        return f"millrace-{instance_id}-{self.identity()}"

    def id_in(self, path):
        """The instance id in the name of a shared memory folder of this very folder's; None if it is another one's."""
        match = _SHM_NAME.match(os.path.basename(path))
        return match.group(1) if match and match.group(2) == self.identity() else None

    def log_end(self, role, index):
        """The present size of a daemon's log."""
        try:
            return os.stat(self.daemon_log(role, index)).st_size
        except OSError:
            return 0


def write_whole(path, text, durable=False):
    """Replaces a file in one step: a reader sees the old text or the new one. Raises Failure."""
    aside = path + ".new"
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(text)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.rename(aside, path)
    except OSError as error:
        raise Failure(f"{path} cannot be written: {error.strerror}") from None


def remove_file(path):
    """Removes a file if it is there; what cannot be removed stays."""
    try:
        os.unlink(path)
    except OSError:
        pass


def is_fifo(path):
    """Whether there is a FIFO of that name."""
    try:
        return stat.S_ISFIFO(os.lstat(path).st_mode)
    except OSError:
        return False


# --- the lock -------------------------------------------------------------------------------------------------------

def take_lock(instance):
    """Takes DIR/run/lock. Gives the descriptor to keep open, or None when somebody else holds it."""
    # `status` holds a shared lock for an instant to look; the few retries are for that.
    for _ in range(20):
        descriptor = os.open(instance.lock, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The holder before us may have removed the file after we opened it: then this lock guards nothing.
            if holds_lock(instance, descriptor):
                return descriptor
        except BlockingIOError:
            pass
        os.close(descriptor)
        time.sleep(0.01)
    return None


def holds_lock(instance, descriptor):
    """Whether this is still the lock: somebody may have removed the file, or put another in its place."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(instance.lock))
    except FileNotFoundError:
        return False


def is_locked(instance):
    """Whether a supervisor lives."""
    try:
        descriptor = os.open(instance.lock, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise Failure(f"{instance.lock} cannot be opened: {error.strerror}; "
                      "use the account that started the instance") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


# --- the shared memory folder ---------------------------------------------------------------------------------------

def make_shm_folder(instance, instance_id, shm_dir):
    """Makes the (empty) shared memory folder and DIR/run/shm. REQUIRES: the lock, and no daemon of ours alive."""
    path = os.path.join(shm_dir, instance.shm_name(instance_id))
    try:
        _remove_own_folder(path)
        os.mkdir(path, 0o700)
    except OSError as error:
        raise Failure(f"the shared memory folder {path} cannot be made: {error.strerror}; "
                      "name a folder on a tmpfs with --set shm-dir=FOLDER") from None
    link_shm_folder(instance, path)
    return path


def link_shm_folder(instance, path):
    """Makes DIR/run/shm point to the shared memory folder. Raises Failure."""
    try:
        remove_file(instance.shm_link)
        os.symlink(path, instance.shm_link)
    except OSError as error:
        raise Failure(f"{instance.shm_link} cannot be made: {error.strerror}") from None


def _remove_own_folder(path):
    """Removes a folder left by an earlier life. A symlink or a stranger's folder of that name is an error."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise OSError(17, "it exists and belongs to somebody else")
    shutil.rmtree(path)


def remove_made_folder(path):
    """Removes the shared memory folder that this very process has made; None is no folder."""
    try:
        if path:
            _remove_own_folder(path)
    except OSError:
        pass


def shm_folders(instance, also=()):
    """Where this instance's shared memory may be: what DIR/run/shm points to, the usual place, and the paths in `also`, as far as they carry
    its own name."""
    try:
        name = instance.shm_name(instance.read_id() or "none")
    except Failure:
        return []   # without an id there is no name to be sure about
    candidates = [path for path in also if path] + [os.path.join("/dev/shm", name)]
    try:
        candidates.append(os.readlink(instance.shm_link))
    except OSError:
        pass
    return [path for path in candidates if os.path.basename(path) == name]


def remove_shm_folder(instance, also=()):
    """Removes what shm_folders() gives."""
    for path in shm_folders(instance, also):
        try:
            _remove_own_folder(path)
        except OSError:
            pass


def remove_run_files(instance, keep=()):
    """Removes everything of ours from run/ but the names in `keep`. The lock goes last: until then nobody else can start."""
    try:
        names = os.listdir(instance.run)
    except OSError:
        return
    for name in sorted(names, key=lambda each: each == "lock"):
        if OURS_IN_RUN.match(name) and name not in keep:
            remove_file(os.path.join(instance.run, name))
