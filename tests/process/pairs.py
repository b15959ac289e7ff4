"""The same connections to redis-server and to millrace, and what is known of each: its database, its transaction, what it watches.

`Pairs.difference` sends a pipeline to both and gives the first reply that differs and that allowed_differences.py does not allow. A
pipeline is cut where a look at the bytes is not enough: at conversations, at WATCH, and after an EXEC that depends on one.

Where an allowed difference makes the data of both differ from then on (a transaction that only one has executed), both begin again,
empty, with new connections: `began_again` says so.
"""

import collections
import re

import conversations
from accounting import Accounts
from allowed_differences import EXECABORT, NIL, Call, entry_for
from compare import CLOSED, empty
from harness import wait_for
from makers import Conversation
from wire import WireClosed, WireTimeout, decode, encode, end_of_reply

CONNECTIONS = 5
DATABASES = 16
LARGE_BYTES = 32_000        # with key and header, what is no small item any more
MILLISECONDS_APART = 10_000
SECONDS_UNTIL_GONE = 20
QUEUED = b"+QUEUED\r\n"
SKETCHED = {b"PFADD", b"PFCOUNT", b"PFMERGE", b"PFDEBUG"}       # sent alone, so that what they have seen can be looked at

Found = collections.namedtuple("Found", "command want got")


class Connection:
    """What is known of one connection, from redis-server's replies."""

    def __init__(self):
        self.database = 0
        self.queue = None           # commands since MULTI
        self.refused = False        # one of them by millrace only
        self.watches = {}           # {(database, key): what was kept there, see _kept}


class Pairs:
    def __init__(self, sides, accounts=None):
        self.servers = (sides.oracle, *sides.subjects.values())
        self.accounts = accounts or Accounts()
        self.control = [server.wire() for server in self.servers]
        self.wires, self.states, self.began_again = [], [], 0
        self.begin()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._close()
        for wire in self.control:
            wire.close()

    def _close(self):
        for wire in (wire for pair in self.wires for wire in pair):
            wire.close()

    def begin(self):
        """Empty databases, the usual options, new connections."""
        self._close()
        self.wires = []
        self.wait_until_gone()
        for wire, server in zip(self.control, self.servers):
            wire.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "0")
            empty(server)
        self.wires = [self.connect() for _ in range(CONNECTIONS)]
        self.states = [Connection() for _ in range(CONNECTIONS)]

    def wait_until_gone(self):
        """A connection that was closed here is listed until its process has seen that, which on a busy machine is a moment."""
        here = [{wire.socket.getsockname()[1] for wire in wires} for wires in zip(self.control, *self.wires)]
        for wire, ports in zip(self.control, here):
            wait_for(lambda: set(map(int, re.findall(rb" addr=[^ ]*:(\d+) ", wire.command("CLIENT", "LIST")))) <= ports, SECONDS_UNTIL_GONE, "closed connections to go")

    def connect(self):
        """A new connection to each, that has been answered."""
        wires = [server.wire() for server in self.servers]
        for wire in wires:
            wire.command("PING")
        return wires

    # --- a pipeline -------------------------------------------------------------------------------------------------------

    def difference(self, number, commands, cut=lambda data: [data]):
        """The first Found, or None."""
        batch = []
        for command in commands:
            is_watch = command[:1] and command[0].upper() == b"WATCH"
            if isinstance(command, Conversation) or is_watch:
                found = self._exchange(number, batch, cut)
                batch = []
                if not found and isinstance(command, Conversation):
                    found = self._converse(number, command)
                elif not found:
                    found = self._watch(number, command)
                if found:
                    return found
                continue
            alone = self.states[number].queue is None and command[:1] and command[0].upper() in SKETCHED
            if alone:
                found = self._exchange(number, batch, cut)
                batch = []
                if found:
                    return found
            batch.append(command)
            if alone or (command[:1] and command[0].upper() == b"EXEC" and self.states[number].watches):
                found = self._exchange(number, batch, cut)
                batch = []
                if found:
                    return found
        return self._exchange(number, batch, cut)

    def _exchange(self, number, commands, cut=lambda data: [data]):
        if not commands:
            return None
        data = b"".join(encode(*command) for command in commands)
        pieces = cut(data)
        expected, actual = (self._replies(wire, pieces, len(commands)) for wire in self.wires[number])
        for command, want, got in zip(commands, expected, actual):
            generation = self.began_again
            if not self.agree(number, command, want, got):
                return Found(command, want, got)
            if self.began_again != generation:
                break       # the rest went to connections that are no more
        return None

    def _begin_again(self):
        self.begin()
        self.began_again += 1

    @staticmethod
    def _replies(wire, pieces, count):
        """The replies, with what was left of them and CLOSED when the connection has ended."""
        try:
            return wire.exchange(pieces, count)
        except WireClosed as closed:
            return [closed.received + CLOSED] * count
        except WireTimeout as late:
            return [b"<nothing: %s>" % str(late).encode()] * count

    def _watch(self, number, command):
        state = self.states[number]
        place = state.database
        noted = {} if state.queue is not None else {(place, key): self._kept(place, key) for key in command[1:]}
        found = self._exchange(number, [command])
        if not found and state.queue is None:
            for key, kept in noted.items():
                state.watches.setdefault(key, kept)
        return found

    def _kept(self, place, key):
        """What redis-server keeps there: DUMP, the length, the moment of expiry. Both are asked, since CLIENT LIST shows that."""
        for wire in self.control:
            wire.send(encode("SELECT", place) + encode("DUMP", key) + encode("STRLEN", key) + encode("PEXPIRETIME", key))
        (_, dump, length, moment), *_others = [wire.replies(4) for wire in self.control]
        return dump, decode(length), decode(moment)

    def _is_as_it_was(self, place, kept):
        now = self._kept(*place)
        return now[:2] == kept[:2] and abs(now[2] - kept[2]) <= MILLISECONDS_APART

    def _converse(self, number, command):
        """Left out in a transaction, where one reply more or less would be another command's."""
        if self.states[number].queue is not None:
            return None
        exchange = conversations.OF[command[0].upper()]
        for want, got, facts in exchange(self, number, command):
            self.accounts.note(command, want)
            if not self._allowed(Call(command, want, got, facts)):
                return Found(command, want, got)
        return None

    # --- one reply ----------------------------------------------------------------------------------------------------------

    def _allowed(self, call):
        if call.want == call.got:
            return True
        entry = entry_for(call)
        if entry:
            entry.used += 1
        return entry is not None

    def agree(self, number, command, want, got):
        """Whether the replies are equal or their difference is allowed; notes what the command has changed."""
        state, verb = self.states[number], command[0].upper() if command else b""
        if want == QUEUED:
            state.queue.append(command)
            if got != want:
                state.refused = True
                return self._allowed(Call(command, want, got))
            return True
        if verb == b"EXEC" and state.queue is not None and len(command) == 1:
            return self._end(state, command, want, got)
        self.accounts.note(command, want)
        if verb in SKETCHED and want == got and want.startswith(b"-INVALIDOBJ") and self._breaks_off(state.database, command[1:]):
            self._begin_again()     # redis-server may have written behind the value before it found out
        if verb in SKETCHED and want != got and self._allowed(Call(command, want, got, {"a sketch breaks off": self._breaks_off(state.database, command[1:])})):
            self._begin_again()
            return True
        if not self._allowed(Call(command, want, got)):
            return False
        self._note(state, verb, command, want)
        return True

    def _breaks_off(self, place, keys):
        """Whether one of millrace's sketches ends in the middle of a run."""
        for wire in self.control:
            wire.command("SELECT", place)
        values = [[decode(wire.command("GET", key)) or b"" for key in keys] for wire in self.control]
        return any(map(breaks_off, values[1]))

    @staticmethod
    def _note(state, verb, command, want):
        if verb == b"MULTI" and want == b"+OK\r\n":
            state.queue, state.refused = [], False
        elif verb == b"SELECT" and want == b"+OK\r\n":
            state.database = int(command[1])
        elif verb in (b"DISCARD", b"RESET") and not want.startswith(b"-"):
            state.queue, state.watches = None, {}
            state.database = 0 if verb == b"RESET" else state.database
        elif verb == b"UNWATCH" and want == b"+OK\r\n":
            state.watches = {}

    def _end(self, state, command, want, got):
        """EXEC: its replies are compared one by one."""
        self.accounts.note(command, want)
        queue, state.queue = state.queue, None
        watches, state.watches = state.watches, {}
        if want in NIL or got in NIL or got == EXECABORT or not want.startswith(b"*") or not got.startswith(b"*"):
            if want == got:
                return True
            facts = {"a queued command was refused": state.refused,
                     "watched keys are as they were": all(self._is_as_it_was(place, kept) for place, kept in watches.items()),
                     "a watched key is large": any(kept[1] > LARGE_BYTES for kept in watches.values())}
            if not self._allowed(Call(command, want, got, facts)):
                return False
            self._begin_again()
            return True
        expected, actual = elements(want), elements(got)
        if len(expected) != len(actual) or len(expected) != len(queue):
            return False
        facts = {"EXEC changes the configuration": any(queued[:2] and queued[0].upper() == b"CONFIG" and queued[1].upper() == b"SET" for queued in queue)}
        for queued, one, other in zip(queue, expected, actual):
            self.accounts.note(queued, one)
            if not self._allowed(Call(queued, one, other, facts)):
                return False
            self._note(state, queued[0].upper(), queued, one)
        return True

    # --- all of the data ------------------------------------------------------------------------------------------------------

    def difference_of_data(self):
        """The first database or key whose contents differ, as Found."""
        for place in range(DATABASES):
            for wire in self.control:
                wire.command("SELECT", place)
            keys = [sorted(decode(wire.command("KEYS", "*"))) for wire in self.control]
            if keys[0] != keys[1]:
                return Found([b"KEYS in database %d" % place], b"%r" % keys[0], b"%r" % keys[1])
            for key in keys[0]:
                request = encode("DUMP", key) + encode("PEXPIRETIME", key)
                for wire in self.control:
                    wire.send(request)
                (theirs, their_moment), (ours, our_moment) = (wire.replies(2) for wire in self.control)
                if theirs != ours:
                    return Found([b"DUMP in database %d" % place, key], theirs, ours)
                if their_moment != our_moment and not 0 < abs(decode(their_moment) - decode(our_moment)) <= MILLISECONDS_APART:
                    return Found([b"PEXPIRETIME in database %d" % place, key], their_moment, our_moment)
        return None


def breaks_off(sketch):
    """Whether a sparse sketch ends after the first byte of a run that takes two (md/hyperloglog.h)."""
    at = 16
    while sketch[:5] == b"HYLL\1" and at < len(sketch):
        at += 2 if sketch[at] & 0xC0 == 0x40 else 1
    return at > len(sketch) > 16


def elements(reply):
    """The bytes of each element of an array."""
    start = reply.index(b"\r\n") + 2
    found = []
    for _ in range(int(reply[1:start - 2])):
        end = end_of_reply(reply, start)
        found.append(reply[start:end])
        start = end
    return found
