"""The account that the group runs under, and how a start by root becomes a start by that account.

What only root can do is done first: the hard limit of open files is raised, ports that are root's are bound, the instance
folder is given to the account. Then this process becomes the account for good and executes the script once more, with the same
words and with the sockets where a service manager would have left them (notify.py). All that follows is what the account would
have done by itself, so whatever the group makes belongs to the account. (A process that merely changes its account would have a
/proc entry that its own account may not look into.)

root's commands on an instance of another account are carried out as that account: what lies in its folders can then lead root
nowhere.
"""

import fcntl
import os
import pwd
import re
import resource
import stat
import sys

from . import config, leftovers, listeners
from .errors import Failure
from .instance import OURS_IN_RUN
from .limits import FILES_BESIDE_CLIENTS
from .notify import FIRST_DESCRIPTOR, given_sockets
from .procfs import name_of, privileged_ports_end

DEFAULT_ACCOUNT = os.environ.get("MILLRACE_DEFAULT_USER", "millrace")     # tests, which root may run, stay root with "root"

# What belongs to the group in its folders. A folder with anything else in it belongs to somebody else, and so do the others' files.
_OURS = {".": re.compile(r"(millrace\.conf(\.new)?|data|log|run|.+\.sock)\Z"), "data": re.compile(r"(instance(\.new)?|(log|snapshot)-\d{20}(\.partial)?|replaced-[\dT-]+|incoming-\d+)\Z"),
         "log": re.compile(r".+\.log([.-].*)?\Z"), "run": OURS_IN_RUN}


def remark(options):
    """(event, fields, sentence) to be noted at the start; None if there is nothing. The sentence is for the user, or empty."""
    name = options.user
    if os.geteuid() == 0:
        if name or _entry(DEFAULT_ACCOUNT) is not None:
            return None
        return ("runs_as_root", {"cure": f"make the account {DEFAULT_ACCOUNT}, or name one with 'user'"},
                f"the group runs as root, because there is no account {DEFAULT_ACCOUNT}: make it with "
                f"'adduser --system --group {DEFAULT_ACCOUNT}', or name an account (or root) with 'user'")
    if name and (_entry(name) is None or _entry(name).pw_uid != os.geteuid()):
        return "user_ignored", {"user": name, "runs_as": name_of(os.geteuid()), "cause": "only a start by root can choose, and only where no group runs"}, ""
    return None


def account_for(options, instance):
    """The account that this process has to become before it starts the group; None if it stays what it is. Raises Failure.

    Daemons that are taken over keep theirs. REQUIRES: no supervisor lives.
    """
    if os.geteuid() != 0:
        return None
    running = leftovers.owners(instance)
    if running:
        uid = min(running)
        return None if uid == 0 else _entry_of(uid)
    name = options.user or DEFAULT_ACCOUNT
    entry = _entry(name)
    if entry is None and options.user:
        raise Failure(f"there is no account '{name}', which 'user' names: make it with 'adduser --system --group {name}', or correct 'user'")
    return None if entry is None or entry.pw_uid == 0 else entry


def start_as(account, args, instance, settings, options):
    """Goes on as that account: never returns. Raises Failure."""
    obstacle = _seen_by(account, lambda: _obstacle(_ways_of(instance)))
    if obstacle:
        raise Failure(f"the account {account.pw_name} cannot reach {obstacle}: let it pass (chmod o+x), use another --dir, or name another account with 'user'")
    raise_hard_file_limit(options.maxclients + FILES_BESIDE_CLIENTS)
    sockets = given_sockets()
    if not leftovers.owners(instance):
        kept = listeners.named(sockets, options, instance.dir)
        sockets += listeners.open_privileged(options, instance.dir, kept, privileged_ports_end())
    _give_all(instance, options, account)
    become(account)
    file = settings.file()
    if file and not os.access(file, os.R_OK):
        raise Failure(f"the account {account.pw_name} cannot read {file}, which 'millrace restart' has to: change the file's group or owner")
    _leave(sockets)
    os.environ.update(HOME=account.pw_dir, USER=account.pw_name, LOGNAME=account.pw_name)
    script = os.path.realpath(sys.argv[0])
    words = [*sys.orig_argv[:-len(sys.argv)], script, *_words(args, instance)]
    os.execv(sys.executable, words)


def act_for(instance):
    """root becomes the account whose group this is, for the rest of this command."""
    if os.geteuid() != 0:
        return
    for path in (instance.lock, instance.run):
        try:
            uid = os.lstat(path).st_uid
        except OSError:
            continue
        if uid != 0:
            become(_entry_of(uid))
        return


def examine(options, instance):
    """For `check`: the account of a start, as a sentence. Raises Failure."""
    account = account_for(options, instance)
    if account is None:
        note = remark(options)
        return name_of(os.geteuid()) + (f"; {note[2]}" if note and note[2] else "")
    obstacle = _seen_by(account, lambda: _obstacle(_ways_of(instance)))
    if obstacle:
        raise Failure(f"{account.pw_name} cannot reach {obstacle}: let it pass (chmod o+x), use another --dir, or name another account with 'user'")
    return account.pw_name


def become(account):
    """Changes the account of this process for good. Raises Failure if there would be a way back."""
    uid, gid = account.pw_uid, account.pw_gid
    try:
        os.initgroups(account.pw_name, gid)
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    except OSError as error:
        raise Failure(f"this process cannot become the account {account.pw_name}: {error.strerror}; start it as that account") from None
    if os.getresuid() != (uid, uid, uid) or os.getresgid() != (gid, gid, gid) or _can_come_back():
        raise Failure(f"this process became the account {account.pw_name} and kept rights of root: start it as that account")


def raise_hard_file_limit(wanted):
    """Raises the hard limit of open files where this process may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, wanted))
        except (OSError, ValueError):
            pass        # the start says what is missing


def _entry(name):
    try:
        return pwd.getpwnam(name)
    except (KeyError, ValueError):
        return None


def _entry_of(uid):
    try:
        return pwd.getpwuid(uid)
    except KeyError:
        raise Failure(f"the group belongs to the account {uid}, which has no name on this host: use that account itself") from None


def _can_come_back():
    """Whether root's identity can be had again, or any of root's capabilities are left."""
    try:
        os.setuid(0)
        return True
    except PermissionError:
        pass
    with open("/proc/self/status", encoding="ascii", errors="replace") as file:
        held = [line.split()[1] for line in file if line.startswith(("CapPrm:", "CapEff:", "CapAmb:"))]
    return any(int(each, 16) for each in held)


# --- what the account can reach -------------------------------------------------------------------------------------

def _ways_of(instance):
    """[path, access] of all that the account needs before a sentence of its own can say what is wrong."""
    script = os.path.realpath(sys.argv[0])
    package = os.path.dirname(os.path.realpath(__file__))
    return [(os.path.dirname(instance.dir), os.X_OK), (script, os.R_OK), (package, os.R_OK | os.X_OK)] + [
        (config.program(name), os.X_OK) for name in (*config.DAEMONS, "millrace-conf")]


def _obstacle(ways):
    """The first folder or file on these ways that this process cannot pass; "" if there is none. What does not exist is no obstacle."""
    for path, access in ways:
        parts = path.split("/")
        for end in range(2, len(parts)):
            folder = "/".join(parts[:end])
            if os.path.isdir(folder) and not os.access(folder, os.X_OK):
                return f"{path}, because of {folder}"
        if os.path.lexists(path) and not os.access(path, access):
            return path
    return ""


def _seen_by(account, look):
    """What look() gives to a process of that account: a short text."""
    receive, send = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            become(account)
            os.write(send, os.fsencode(look()))
            os._exit(0)
        except Failure as error:
            os.write(send, str(error).encode())
        finally:
            os._exit(1)
    os.close(send)
    with open(receive, "rb") as answer:
        text = os.fsdecode(answer.read())
    if os.waitpid(child, 0)[1] != 0:
        raise Failure(text or f"what the account {account.pw_name} can reach could not be found out: start as that account")
    return text


# --- giving the folder away -----------------------------------------------------------------------------------------

def _give_all(instance, options, account):
    """DIR, its folders and their files, as far as they are the group's and root's, become the account's."""
    try:
        before = os.umask(0o022)
        os.makedirs(os.path.dirname(instance.dir), exist_ok=True)
        os.umask(before)
        top = _open_folder(instance.dir, None)
        try:
            for name in ("data", "log", "run"):
                try:
                    folder = _open_folder(name, top)
                except OSError:
                    if os.path.islink(os.path.join(instance.dir, name)):
                        continue    # it leads elsewhere, and whoever made it says whose that is
                    raise
                _give_folder(folder, _OURS[name], account)
                os.close(folder)
            _give_folder(top, _OURS["."], account)
        finally:
            os.close(top)
        _give_shm(instance, options, account)
    except OSError as error:
        raise Failure(f"{error.filename or instance.dir} cannot be given to the account {account.pw_name}: {error.strerror}; "
                      "choose another --dir, or change its owner by hand") from None


def _open_folder(name, above):
    """A folder, made if it is missing; never through a symlink."""
    try:
        os.mkdir(name, 0o700, dir_fd=above)
    except FileExistsError:
        pass
    return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)


def _give_folder(folder, ours, account):
    """Our files in it; and the folder itself, unless there is something else in it too."""
    names = os.listdir(folder)
    for name in names:
        if ours.match(name):
            _give(name, folder, account)
    if all(ours.match(name) for name in names) and os.fstat(folder).st_uid == 0:
        os.fchown(folder, account.pw_uid, account.pw_gid)


def _give(name, folder, account):
    """One file of root's. What else could be reached under its name (a symlink, a hard link, a device) is left alone."""
    try:
        found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return
    try:
        facts = os.fstat(found)
        plain = stat.S_ISREG(facts.st_mode) or stat.S_ISFIFO(facts.st_mode) or stat.S_ISSOCK(facts.st_mode)
        if facts.st_uid == 0 and plain and facts.st_nlink == 1:
            os.chown(f"/proc/self/fd/{found}", account.pw_uid, account.pw_gid)
    finally:
        os.close(found)


def _give_shm(instance, options, account):
    """The shared memory of a group of root's that was killed."""
    try:
        path = os.readlink(instance.shm_link)
        if path != os.path.join(options.shm_dir, instance.shm_name(instance.read_id() or "none")):
            return
        folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (OSError, Failure):
        return
    try:
        if os.fstat(folder).st_uid == 0:
            _give_folder(folder, re.compile(""), account)
    finally:
        os.close(folder)


# --- executing the script once more ---------------------------------------------------------------------------------

def _leave(sockets):
    """Puts the sockets where given_sockets() finds them."""
    beyond = FIRST_DESCRIPTOR + len(sockets)
    copies = [fcntl.fcntl(each.fileno(), fcntl.F_DUPFD_CLOEXEC, beyond) for each in sockets]     # a place may hold another one of them
    for place, each in enumerate(copies, FIRST_DESCRIPTOR):
        os.dup2(each, place)
    if sockets:
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(sockets)))


def _words(args, instance):
    """The command line of `start`, with paths that do not depend on the present folder."""
    words = ["start", "--dir", instance.dir]
    if args.config:
        words += ["--config", os.path.realpath(args.config)]
    for option, value in (("--port", args.port), ("--io", args.io)):
        words += [option, value] if value is not None else []
    for pair in args.set:
        words += ["--set", pair]
    return words + ["--repair"] * args.repair + ["--daemon"] * args.daemon
