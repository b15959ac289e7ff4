"""The listening sockets: made once by the supervisor, inherited by every io_conn, kept open over `restart`.

Because the supervisor holds them, a client that connects while io_conn are being replaced waits in the backlog
instead of being refused.
"""

import errno
import os
import shlex
import signal
import socket
import stat

from .errors import Failure
from .instance import remove_file
from .limits import LISTENERS_MAX, LISTENERS_S

_WILDCARDS = {"*": "0.0.0.0", "::*": "::"}
_NO_SUCH_PROTOCOL = (errno.ENOPROTOOPT, errno.EPROTONOSUPPORT, errno.ESOCKTNOSUPPORT, errno.EPFNOSUPPORT,
                     errno.EAFNOSUPPORT)
_UNIX_PATH_MAX = 107


def wanted(options, folder):
    """The addresses to listen on: {key: optional}; a key is ("tcp", address, port) or ("unix", path)."""
    keys = {}
    if options.port:
        for word in options.bind:
            address = word.removeprefix("-")
            keys["tcp", _WILDCARDS.get(address, address), options.port] = word.startswith("-")
    if options.unixsocket:
        keys["unix", os.path.join(folder, options.unixsocket)] = False
    return keys


def ask_for(instance, processes, options):
    """The listening sockets of a group whose supervisor has died, from one of its io_conn: {key: socket}.

    Empty if none of them gives any within LISTENERS_S.
    """
    path = os.path.join(instance.run, "supervisor-sockets.sock")
    remove_file(path)
    directory = os.open(instance.run, os.O_PATH | os.O_DIRECTORY)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
            door.bind(f"/proc/self/fd/{directory}/{os.path.basename(path)}")
            door.listen(16)
            door.settimeout(LISTENERS_S)
            for each in processes:
                each.send(signal.SIGUSR2)
            caller, _ = door.accept()
            with caller:
                caller.settimeout(LISTENERS_S)
                _, descriptors, _, _ = socket.recv_fds(caller, 1, LISTENERS_MAX, socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return {}
    finally:
        os.close(directory)
        remove_file(path)
    return named([socket.socket(fileno=each) for each in descriptors], options, instance.dir)


def named(sockets, options, folder):
    """{key: socket}, with the keys that wanted() gives where the addresses are the same."""
    keys = {}
    for key in wanted(options, folder):
        if key[0] == "tcp":
            try:
                keys[socket.getaddrinfo(key[1], key[2], type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0][4][:2]] = key
            except OSError:
                pass
    unix = next((key for key in wanted(options, folder) if key[0] == "unix"), None)
    result = {}
    for each in sockets:
        name = each.getsockname()
        if each.family == socket.AF_UNIX:
            key = unix or ("unix", name)
        else:
            key = keys.get(name[:2], ("tcp", *name[:2]))
        result[key] = each
    return result


def open_all(options, folder, kept=None):
    """Opens every wanted address, taking over those in `kept`; gives {key: socket}. All or nothing; raises Failure."""
    kept = kept or {}
    opened = {}
    try:
        for key, optional in wanted(options, folder).items():
            if key in kept:
                made = kept[key]
            elif key[0] == "unix":
                made = _open_unix(key[1], options)
            else:
                made = _open_tcp(key, options.backlog, optional)
            if made is not None:
                opened[key] = made
        if not opened:
            raise Failure("there is nothing to listen on: set port and bind, or unixsocket")
    except BaseException:
        close(item for item in opened.items() if item[0] not in kept)
        raise
    return opened


def open_privileged(options, folder, kept, ports_end):
    """Sockets for those of the wanted addresses whose ports are root's, but for those in `kept`: as a list. Raises Failure."""
    made = []
    for key, optional in wanted(options, folder).items():
        if key[0] == "tcp" and key[2] < ports_end and key not in kept:
            made.append(_open_tcp(key, options.backlog, optional))
    return [each for each in made if each is not None]


def adjust(opened, options):
    """Brings kept sockets to the present tcp-backlog and unixsocketperm."""
    for key, each in opened.items():
        each.listen(options.backlog)
        if key[0] == "unix":
            try:
                os.chmod(key[1], options.unixsocketperm)
            except OSError:
                pass    # somebody removed the file: clients cannot come that way until the next start


def close(items):
    """Closes sockets given as (key, socket) pairs, and removes the file of a Unix one if it is still ours."""
    for key, each in items:
        if key[0] == "unix":
            remove_unix(identity(key))
        each.close()


def tcp_of(opened):
    """The TCP sockets among these. Only they can be kept over a restart of the service: the file of a Unix one goes at the end."""
    return [each for key, each in opened.items() if key[0] == "tcp"]


def identity(key):
    """The file of a Unix socket as [path, device, inode], so that only this very file is removed later."""
    try:
        found = os.lstat(key[1])
    except OSError:
        return None
    return [key[1], found.st_dev, found.st_ino]


def remove_unix(known):
    """Removes the socket file that identity() described, unless somebody has put another one there."""
    try:
        path, device, inode = known
        found = os.lstat(path)
        if stat.S_ISSOCK(found.st_mode) and (found.st_dev, found.st_ino) == (device, inode):
            os.unlink(path)
    except (OSError, TypeError, ValueError):
        pass


def how_to_connect(keys):
    """The command that reaches the server from this host."""
    for kind, *rest in keys:
        if kind == "tcp":
            address, port = rest
            host = "" if address in ("127.0.0.1", "0.0.0.0", "::", "localhost") else f"-h {address} "
            return f"redis-cli {host}-p {port}"
    return "redis-cli -s " + shlex.quote(next(iter(keys))[1])


def shown(address, port):
    """An address as a human writes it."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


def _open_tcp(key, backlog, optional):
    """One TCP address; None when it is optional (written `-address`) and this host does not have it."""
    _, address, port = key
    try:
        family, _, _, _, target = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM,
                                                     flags=socket.AI_PASSIVE)[0]
    except OSError as error:
        raise Failure(f"the address '{address}' in 'bind' is not known here: {error.strerror}") from None
    try:
        made = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        if optional and error.errno in _NO_SUCH_PROTOCOL:
            return None
        _refuse(error, address, port)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(target)
        made.listen(backlog)
        made.setblocking(False)
    except OSError as error:
        made.close()
        if optional and error.errno in _NO_SUCH_PROTOCOL + (errno.EADDRNOTAVAIL,):
            return None
        _refuse(error, address, port)
    return made


def _refuse(error, address, port):
    """Says what is wrong with an address and what to do about it."""
    cures = {
        errno.EADDRINUSE: ("is already in use", "choose another port with --port, or stop the program that holds it"),
        errno.EACCES: ("may not be used by this account", "choose a port above 1023, or stop the group and start it as root"),
        errno.EADDRNOTAVAIL: ("is not an address of this host", "correct 'bind'"),
    }
    what, cure = cures.get(error.errno, (f"cannot be listened on ({error.strerror})", "correct 'bind' or 'port'"))
    raise Failure(f"{shown(address, port)} {what}: {cure}")


def _open_unix(path, options):
    """The Unix socket. The file of a dead server is replaced; a live server's, or any other file, is an error."""
    folder, name = os.path.split(path)
    try:
        directory = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    except OSError as error:
        raise Failure(f"the folder of unixsocket, {folder}: {error.strerror}; "
                      "make it, or correct 'unixsocket'") from None
    # A path beyond the 108 bytes of sockaddr_un is reached through its folder's descriptor.
    reach = path if len(os.fsencode(path)) <= _UNIX_PATH_MAX else f"/proc/self/fd/{directory}/{name}"
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_way(path, reach)
        made.bind(reach)
        os.chmod(reach, options.unixsocketperm)
        made.listen(options.backlog)
        made.setblocking(False)
        return made
    except OSError as error:
        made.close()
        raise Failure(f"the Unix socket {path} cannot be made: {error.strerror}; correct 'unixsocket'") from None
    except Failure:
        made.close()
        raise
    finally:
        os.close(directory)


def _make_way(path, reach):
    """Removes a dead server's socket file from `path`."""
    try:
        mode = os.lstat(reach).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise Failure(f"{path} exists and is not a socket: correct 'unixsocket', or move that file away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(reach)
        except ConnectionRefusedError:
            os.unlink(reach)
            return
        except OSError:
            pass        # a full backlog or a missing permission: somebody is there
    raise Failure(f"the Unix socket {path} is in use by another server: stop it, or choose another 'unixsocket'")
