"""Clients that know what they were answered, and what has to be there afterwards whatever happens to the server meanwhile."""

import random
import threading

from wire import WireClosed, WireTimeout, decode

CONNECTIONS = 50
KEYS = 4            # of each connection
READERS = 5


class Client(threading.Thread):
    """Writes rising numbers to keys of its own: single ones, and all of them by one MSET. Or reads those of others."""

    def __init__(self, instance, seed, number, reads):
        super().__init__(daemon=True)
        self.instance, self.number, self.reads = instance, number, reads
        self.random = random.Random(seed * 1000 + number)
        self.sent, self.answered, self.group = {}, {}, 0
        self.seen = {}
        self.answers = 0

    def key(self, number, which):
        return "c%d:%d" % (number, which)

    def run(self):
        try:
            with self.instance.wire(timeout=30) as wire:
                while True:
                    if self.reads:
                        self.read(wire)
                    else:
                        self.write(wire)
                    self.answers += 1
        except (OSError, WireClosed, WireTimeout, AssertionError):
            pass        # everything was killed

    def read(self, wire):
        key = self.key(self.random.randrange(READERS, CONNECTIONS), self.random.randrange(KEYS))
        value = decode(wire.command("GET", key))
        if isinstance(value, bytes):
            self.seen[key] = max(self.seen.get(key, 0), int(value.split(b".")[0]))

    def write(self, wire):
        self.group += 1
        padding = ".%s" % ("x" * self.random.choice((5, 60, 700)))
        if self.random.random() < 0.3:
            keys = ["m%d:%d" % (self.number, which) for which in range(KEYS)]
            command = ["MSET"] + [word for key in keys for word in (key, "%d%s" % (self.group, padding))]
        else:
            keys = [self.key(self.number, self.random.randrange(KEYS))]
            command = ["SET", keys[0], "%d%s" % (self.group, padding)]
        for key in keys:
            self.sent[key] = self.group
        if wire.command(*command) != b"+OK\r\n":
            raise AssertionError("refused")
        for key in keys:
            self.answered[key] = self.group


def numbers_in(wire, keys):
    """{key: number} of the keys that are there."""
    values = decode(wire.command("MGET", *keys))
    return {key: int(value.split(b".")[0]) for key, value in zip(keys, values) if value is not None}


def faults_found(wire, clients):
    """What is missing, or half there, of what clients were answered or have read; a list of sentences."""
    faults = []
    writers = [client for client in clients if not client.reads]
    found = numbers_in(wire, [key for client in writers for key in client.sent] or ["none"])
    for client in writers:
        for key, sent in client.sent.items():
            if not client.answered.get(key, 0) <= found.get(key, 0) <= sent:
                faults.append("%s: answered %d, sent %d, found %d" % (key, client.answered.get(key, 0), sent, found.get(key, 0)))
        group = {found.get("m%d:%d" % (client.number, which), 0) for which in range(KEYS)}
        if len(group) != 1:
            faults.append("half an MSET of client %d: %r" % (client.number, group))
    for client in clients:
        for key, seen in client.seen.items():
            if found.get(key, 0) < seen:
                faults.append("%s: read as %d, found %d" % (key, seen, found.get(key, 0)))
    return faults


def started_clients(instance, seed):
    clients = [Client(instance, seed, index, index < READERS) for index in range(CONNECTIONS)]
    for client in clients:
        client.start()
    return clients
