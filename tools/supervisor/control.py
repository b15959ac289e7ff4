"""The socket between `millrace stop|restart|scale` and the supervisor: DIR/run/supervisor.sock.

One JSON line each way: {"op": "stop" | "restart" | "scale" | "status" | "rewrite" | "rewrite-check",
"io_conns": N} and
{"ok": true, ...} or {"ok": false, "error": "<sentence>"}. `stop` may bring "force": true (what cannot be saved is given up) and
"follow": true: then lines {"saving": "<how far>" or null} come until the end, the last one is {"not_saved": "<reason>" or null,
"given_up": whether it was by force}. An io_conn asks here too (io_conn/supervisor_link.h), for SHUTDOWN and
CONFIG REWRITE: `rewrite` brings "options", {name: text} of those that can be changed while the group runs, in which a byte is
the character of its number; `rewrite-check` tries all but to put the new file in place.

The path of a Unix socket is limited to 108 bytes and DIR is not, therefore both sides reach it through a descriptor
of run/: /proc/self/fd/<n>/supervisor.sock.
"""

import json
import os
import socket

from .errors import Failure
from .instance import Instance, remove_file
from .limits import ANSWER_BYTES_MAX, KNOCK_S

NAME = "supervisor.sock"


def _reach(instance):
    """A descriptor of run/ and a short path through it."""
    directory = os.open(instance.run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    return directory, f"/proc/self/fd/{directory}/{NAME}"


def listen(instance):
    """The supervisor's end. REQUIRES: the lock, hence whatever lies there is stale. Raises Failure."""
    remove_file(os.path.join(instance.run, NAME))
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    directory, path = _reach(instance)
    try:
        made.bind(path)
        os.chmod(path, 0o600)
        made.listen(16)
        made.setblocking(False)
        return made
    except OSError as error:
        made.close()
        raise Failure(f"the control socket in {instance.run} cannot be made: {error.strerror}") from None
    finally:
        os.close(directory)


def request(instance, message, limit_s):
    """Sends one request and gives the answer as a dict; None if nobody takes or answers it in time."""
    return next(conversation(instance, message, limit_s, limit_s), None)


def conversation(instance, message, first_s, next_s):
    """Sends one request and gives its answers as dicts, until there are no more, or none comes in time: the first one within first_s,
    each other one within next_s."""
    try:
        directory, path = _reach(instance)
    except OSError:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
            link.settimeout(first_s)
            link.connect(path)
            link.sendall(json.dumps(message).encode() + b"\n")
            with link.makefile("rb") as answers:
                while isinstance(answer := json.loads(answers.readline(ANSWER_BYTES_MAX)), dict):
                    yield answer
                    link.settimeout(next_s)
    except (OSError, ValueError):
        return
    finally:
        os.close(directory)


def instance_of(folder):
    """The instance in a folder. A supervisor whose lock file somebody has removed makes it anew when it is spoken to: so that
    nobody takes it for dead, it is."""
    instance = Instance(folder)
    if os.path.isdir(instance.run) and not os.path.lexists(instance.lock):
        request(instance, {"op": "status"}, KNOCK_S)
    return instance
