"""Commands whose replies have to be looked at together with others: SCAN from the first call to the last one, RANDOMKEY, OBJECT ENCODING,
QUIT, CLIENT LIST, CLIENT REPLY and CLIENT KILL.

Each function gives (redis-server's reply, millrace's reply, facts for allowed_differences.py) for each call, where what cannot be equal
(cursors, numbers of connections) is left out of the replies. Both servers have the same data then, and nobody else changes it.
"""

import time

from allowed_differences import Call, entry_for
from compare import CLOSED
from wire import Error, WireClosed, decode, encode

CALLS_MAX = 20_000
SECONDS_UNTIL_SHOWN = 2
PROBE = b"probe of an encoding"


def reply_of(wire, command):
    """A reply, or what came before the connection ended."""
    wire.send(encode(*command))
    try:
        return wire.reply()
    except WireClosed as closed:
        return closed.received + CLOSED


def encoded(items):
    return b"*%d\r\n" % len(items) + b"".join(b"$%d\r\n%s\r\n" % (len(item), item) for item in items)


def scan(pairs, number, command):
    """Every key of one is given by the other, in the same shape; given twice counts once."""
    ends = []
    for wire in pairs.wires[number]:
        cursor, keys, calls = command[1], set(), 0
        while True:
            reply = decode(reply_of(wire, [command[0], cursor, *command[2:]]))
            if isinstance(reply, Error):
                keys = {str(reply).encode()}
                break
            cursor, some = reply
            keys.update(some)
            calls += 1
            if cursor == b"0" or calls > CALLS_MAX:
                break
        ends.append(encoded([cursor, *sorted(keys)]))
    return [(*ends, {})]


def randomkey(pairs, number, command):
    """Each key that one gives has to be there on the other side as well."""
    wires = pairs.wires[number]
    replies = [reply_of(wire, command) for wire in wires]
    keys = [decode(reply) for reply in replies]
    there = all(isinstance(key, bytes) and reply_of(wire, [b"EXISTS", key]) == b":1\r\n" for key in keys for wire in wires)
    return [(*replies, {"both keys exist on both sides": there})]


def object_encoding(pairs, number, command):
    """Where they differ, redis-server is asked how a new value of the same bytes would be kept."""
    wires = pairs.wires[number]
    replies = [reply_of(wire, command) for wire in wires]
    facts = {}
    if replies[0] != replies[1]:
        probes = []
        for wire in pairs.control:
            reply_of(wire, [b"SELECT", b"%d" % pairs.states[number].database])
            value = decode(reply_of(wire, [b"GET", command[2]])) or b""
            reply_of(wire, [b"SET", PROBE, value])
            probes.append(reply_of(wire, [b"OBJECT", b"ENCODING", PROBE]))
            reply_of(wire, [b"DEL", PROBE])
        facts["encoding of a new value"] = probes[0]
    return [(*replies, facts)]


def quit_connection(pairs, number, command):
    """Both answer, then close."""
    ends = []
    for wire in pairs.wires[number]:
        reply = reply_of(wire, command)
        try:
            ends.append(reply + wire.until_closed() + CLOSED)
        finally:
            wire.close()
    pairs.wires[number] = pairs.connect()
    pairs.states[number] = type(pairs.states[number])()
    return [(*ends, {})]


def client_reply(pairs, number, command):
    """What is answered before, after and until CLIENT REPLY ON; ECHO's words tell which answers they are."""
    ends = []
    for wire in pairs.wires[number]:
        wire.send(encode(*command) + encode("ECHO", "one") + encode("ECHO", "two") + encode("CLIENT", "REPLY", "ON") + encode("ECHO", "the end"))
        came = b""
        while not came.endswith(b"$7\r\nthe end\r\n"):
            try:
                came += wire.reply()
            except WireClosed as closed:
                came += closed.received + CLOSED
                break
        ends.append(came)
    return [(*ends, {})]


def client_kill(pairs, number, command):
    """Another connection, made for this, is closed; or nobody."""
    ends = []
    for wire, victim in zip(pairs.wires[number], pairs.connect()):
        with victim:
            address, server = (b"%s:%d" % (name[0].encode(), name[1]) for name in (victim.socket.getsockname(), victim.socket.getpeername()))
            number_of = b"%d" % decode(victim.command("CLIENT", "ID"))
            how = {b"ID": [b"ID", number_of], b"ADDR": [b"ADDR", address], b"LADDR": [b"LADDR", server, b"ID", number_of], b"old": [address]}[command[2]]
            reply = reply_of(wire, [*command[:2], *how])
            ends.append(reply + (victim.until_closed() + CLOSED if reply in (b":1\r\n", b"+OK\r\n") else b"<nobody>"))
    pairs.wait_until_gone()
    return [(*ends, {})]


def client_list(pairs, number, command):
    """What a client did on a connection to another process is shown a moment later: asked again until both agree or it takes too long."""
    deadline = time.monotonic() + SECONDS_UNTIL_SHOWN
    while True:
        replies = [reply_of(wire, command) for wire in pairs.wires[number]]
        if replies[0] == replies[1] or entry_for(Call(command, *replies)) or time.monotonic() > deadline:
            return [(*replies, {})]


OBJECTS = {b"ENCODING": object_encoding}
CLIENTS = {b"LIST": client_list, b"REPLY": client_reply, b"KILL": client_kill}
OF = {
    b"SCAN": scan,
    b"RANDOMKEY": randomkey,
    b"QUIT": quit_connection,
    b"OBJECT": lambda pairs, number, command: OBJECTS[command[1].upper()](pairs, number, command),
    b"CLIENT": lambda pairs, number, command: CLIENTS[command[1].upper()](pairs, number, command),
}
