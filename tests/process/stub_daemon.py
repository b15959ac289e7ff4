#!/usr/bin/python3 -ISB
"""Stands in for md, md_log, md_repl, io_conn, millrace-conf, store-check and oplogdump (by the name under which it is started), so that tests of the
supervisor can make a daemon fail in a chosen way.

It speaks the supervisor's protocol (tools/supervisor/process.py). The file `behaviour.json` beside the program says how
each one acts, looked up by "io_conn-1", then "io_conn":

    (nothing)  serves: an io_conn answers +PONG on every listening socket and drains when it is told to retire
    crash      a line on stderr, exit status 3, no word on the ready-fd
    error      an `error:` sentence on the ready-fd, exit status 1
    hang       never says `ready`, nor `standby`
    deaf       serves, and ignores SIGTERM
    die        says `ready` (or `standby`) and dies at once
    slow       serves, and takes 0.4 s to end (`version`: what asks for the version waits for 2 s)
    late       takes 0.4 s to come up
    ask        serves, and asks the supervisor for another number of io_conn; its log has the answer
    fail       an md that says `standby`, then an `error:` sentence instead of taking over
    load       an md that says `loading: N %` every 20 ms, from 0 to 99 and then 99 on, until the file `loaded` is beside the program
    stick      an md that says `loading: 0 %` once and nothing more

At SIGTERM an md_log appends `saved` to a file in DIR/data; at SIGUSR1 it ends at once. Its behaviours are also

    save       it says `saving: N %` every 20 ms until the file `saved` is beside the program
    silent     the same, and says nothing
    full       it cannot save: an `error:` sentence and exit status 1

The two md share a lease as the real ones do: a lock on the file `lease` in shared memory, which dies with its holder.
"""

import fcntl

import json
import os
import select
import signal
import socket
import sys
import time

OPTIONS = {"port": 6379, "bind": "127.0.0.1", "unixsocket": "", "unixsocketperm": "700", "tcp-backlog": 511,
           "io-conns": 2, "maxclients": 100, "shm-dir": "/dev/shm", "ring-size": 65536, "maxmemory": 0,
           "user": ""}


def main():
    role = os.path.basename(sys.argv[0])
    if role == "millrace-conf":
        return configuration(sys.argv[1:])
    if role == "oplogdump":
        print("problem  data files: damaged" if behaviour_of(role, 0) == "error" else "ok       data files: %s is whole" % sys.argv[2])
        return 1 if behaviour_of(role, 0) == "error" else 0
    if role == "store-check":
        print("the store of the stubs is whole")
        return 0
    if "--version" in sys.argv:
        if behaviour_of("version", 0) == "slow":
            time.sleep(2)
        print("millrace 0.1.0")
        return 0
    return daemon(role, Arguments(sys.argv[1:]))


# --- millrace-conf --------------------------------------------------------------------------------------------------

def assign(options, where, key, value):
    """Sets one option as millrace-conf would; ends the program with a sentence when it is wrong."""
    if key not in OPTIONS:
        sys.exit("millrace: %s: there is no option %s" % (where, key))
    if isinstance(OPTIONS[key], int) and not value.isdigit():
        sys.exit("millrace: %s: '%s' is no value for %s" % (where, value, key))
    options[key] = int(value) if isinstance(OPTIONS[key], int) else value


def configuration(words):
    options = dict(OPTIONS)
    pairs = iter(words[1:])
    for option, word in zip(pairs, pairs):
        if option == "--file":
            with open(word) as file:
                for number, line in enumerate(file, 1):
                    key, _, value = line.partition("=")
                    assign(options, "%s:%d" % (word, number), key.strip(), value.strip())
        else:
            key, _, value = word.partition("=")
            assign(options, "--set", key, value)
    if words[0] == "--json":
        print(json.dumps(options))
    else:
        print("".join("%s = %s\n" % pair for pair in options.items()), end="")
    return 0


# --- the daemons ----------------------------------------------------------------------------------------------------

class Arguments:
    """The daemon's command line."""

    def __init__(self, words):
        words = [word for word in words if word != "--repair"]
        pairs = list(zip(words[::2], words[1::2]))
        given = dict(pairs)
        self.dir, self.index = given["--dir"], int(given["--index"])
        self.ready_fd = int(given["--ready-fd"])
        self.last_word = ""
        self.listen_fds = [int(value) for option, value in pairs if option == "--listen-fd"]
        for needed in ("--config", "--instance", "--generation", "--restarts"):
            assert given[needed], needed
        assert os.path.isfile(given["--config"])


def behaviour_of(role, index):
    """How to act. Read at every start, so that a test can change it for the next process."""
    try:
        with open(os.path.join(os.path.dirname(sys.argv[0]), "behaviour.json")) as file:
            table = json.load(file)
    except FileNotFoundError:
        return ""
    return table.get("%s-%d" % (role, index), table.get(role, ""))


def say(arguments, word):
    arguments.last_word = word
    try:
        os.write(arguments.ready_fd, word.encode() + b"\n")
    except BrokenPipeError:
        pass            # the supervisor is dead: the daemon goes on all the same


def answer_roll_call(arguments, listening=()):
    """A new supervisor asks who is there, and for the listening sockets."""
    if arguments.last_word:
        say(arguments, arguments.last_word)
    if listening:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
                door.connect(os.path.relpath(os.path.join(arguments.dir, "run", "supervisor-sockets.sock")))
                socket.send_fds(door, [b"s"], [each.fileno() for each in listening])
        except OSError:
            pass


def daemon(role, arguments):
    signals = Signals()
    behaviour = behaviour_of(role, arguments.index)
    print("stub %s-%d: %s" % (role, arguments.index, " ".join(sys.argv[1:])), file=sys.stderr, flush=True)
    if behaviour == "crash":
        print("the stub crashes as it was told to", file=sys.stderr)
        return 3
    if behaviour == "error":
        say(arguments, "error: the stub fails as it was told to")
        return 1
    if behaviour == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour == "late":
        time.sleep(0.4)
    if behaviour == "hang":
        serve(arguments, signals)
        return 0
    if role != "md" or take_lease(arguments, signals, behaviour):
        make_segments(role, arguments)
        if behaviour in ("load", "stick") and not load(arguments, signals, behaviour):
            say(arguments, "ended")
            return 0
        say(arguments, "ready")
        if behaviour == "ask":
            ask_supervisor(arguments)
        if behaviour != "die":
            end = serve(arguments, signals)
            if role == "md_log" and end == signal.SIGTERM and not save(arguments, behaviour):
                return 1
    if behaviour == "die":
        return 4
    if behaviour == "slow":
        time.sleep(0.4)
    say(arguments, "ended")
    return 0


def exists_beside(name):
    return os.path.exists(os.path.join(os.path.dirname(sys.argv[0]), name))


def load(arguments, signals, behaviour):
    """Says how far it has come until it is allowed to go on; False when it was told to end."""
    number = 0
    while not exists_beside("loaded"):
        if number == 0 or behaviour == "load":
            say(arguments, "loading: %d %%" % min(number, 99))
        number += 1
        readable, _, _ = select.select([signals.receive], [], [], 0.02)
        numbers = signals.take() if readable else b""
        if signal.SIGUSR2 in numbers:
            answer_roll_call(arguments)
        if signal.SIGTERM in numbers:
            return False
    return True


def save(arguments, behaviour):
    """What md_log does at its end; False if it cannot."""
    number = 0
    while behaviour in ("save", "silent") and not exists_beside("saved"):
        if behaviour == "save":
            say(arguments, "saving: %d %%" % min(number, 99))
        number += 1
        time.sleep(0.02)
    if behaviour == "full":
        say(arguments, "error: the disk of the stub is full")
        return False
    with open(os.path.join(arguments.dir, "data", "log-" + "0" * 20), "a") as file:
        file.write("saved\n")
    return True


def ask_supervisor(arguments):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.connect(os.path.relpath(os.path.join(arguments.dir, "run", "supervisor.sock")))
        link.sendall(b'{"op": "scale", "io_conns": 3}\n')
        print("answer: " + link.recv(1000).decode(), file=sys.stderr, flush=True)


def make_segments(role, arguments):
    """Files in shared memory as the real daemons make them."""
    index = arguments.index
    names = {"md": ["control", "roster", "counters-md-%d" % index], "md_log": ["counters-md_log-%d" % index],
             "md_repl": [],
             "io_conn": ["rings-%d" % index, "clients-%d" % index, "counters-io_conn-%d" % index]}
    for name in names[role]:
        with open(os.path.join(arguments.dir, "run", "shm", name), "w") as file:
            file.write("segment\n")
    if role == "md":        # the store is made once; who serves writes to it
        with open(os.path.join(arguments.dir, "run", "shm", "store"), "a") as file:
            file.write("pid %d\n" % os.getpid())


def take_lease(arguments, signals, behaviour):
    """Waits for the turn to serve; False when it was told to end (or to die) while it waited. Never closed: see above."""
    lease = os.open(os.path.join(arguments.dir, "run", "shm", "lease"), os.O_RDWR | os.O_CREAT, 0o600)
    waits = False
    while True:
        try:
            fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if waits and behaviour == "fail":
                say(arguments, "error: the stub cannot take over, as it was told to")
                sys.exit(1)
            return True
        except BlockingIOError:
            pass
        if not waits:
            waits = True
            say(arguments, "standby")
            if behaviour == "die":
                return False
        readable, _, _ = select.select([signals.receive], [], [], 0.01)
        numbers = signals.take() if readable else b""
        if signal.SIGUSR2 in numbers:
            answer_roll_call(arguments)
        if signal.SIGTERM in numbers and signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
            return False


class Signals:
    """SIGTERM, SIGUSR1 and SIGUSR2 as something that select() sees."""

    def __init__(self):
        self.receive, send = os.pipe()
        os.set_blocking(send, False)
        signal.set_wakeup_fd(send)
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2):
            signal.signal(number, lambda *_: None)

    def take(self):
        """The numbers that have come."""
        return os.read(self.receive, 100)


def serve(arguments, signals):
    """Answers +PONG to whatever comes, until told to end, or retired and alone; gives the signal that told it."""
    listening = [socket.socket(fileno=each) for each in arguments.listen_fds]
    clients = []
    retiring = False
    while not (retiring and not clients):
        readable, _, _ = select.select([signals.receive] + listening + clients, [], [])
        for each in readable:
            if each is signals.receive:
                numbers = signals.take()
                if signal.SIGTERM in numbers and signal.getsignal(signal.SIGTERM) != signal.SIG_IGN:
                    return signal.SIGTERM
                if signal.SIGUSR1 in numbers:
                    listening, retiring = [], True
                    if arguments.listen_fds:
                        say(arguments, "draining")
                if signal.SIGUSR2 in numbers:
                    answer_roll_call(arguments, listening)
            elif each in listening:
                accept(each, clients)
            elif each in clients:
                answer(each, clients)
    return signal.SIGUSR1


def accept(listener, clients):
    try:
        clients.append(listener.accept()[0])
    except BlockingIOError:
        pass        # another io_conn was faster


def answer(client, clients):
    try:
        if client.recv(1000):
            client.sendall(b"+PONG\r\n")
            return
    except OSError:
        pass
    client.close()
    clients.remove(client)


if __name__ == "__main__":
    sys.exit(main())
