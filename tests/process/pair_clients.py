"""Clients of a strict pair: writers of rising numbers to keys of their own, at whichever server takes them, and readers of both. They know what was answered,
refused, left open and read, and say what of it must not be so in the end.
"""

import random
import threading
import time

from wire import WireClosed, WireTimeout, decode

KEYS = 5            # of each writer
WRITERS = 4
STEADY = "steady"   # a key that nobody changes


class PairClient(threading.Thread):
    def __init__(self, servers, seed, number, name):
        super().__init__(daemon=True)
        self.servers, self.number, self.name_of_keys = servers, number, name
        self.random = random.Random(seed * 1000 + number)
        self.ends = threading.Event()
        self.which = 0
        self.wire = None

    def connected(self):
        if self.wire is None:
            self.wire = self.servers[self.which].wire(timeout=20)
        return self.wire

    def lose(self):
        if self.wire is not None:
            self.wire.close()
        self.wire = None

    def key(self, writer, which):
        return "%s-w%d:%s" % (self.name_of_keys, writer, which)

    def run(self):
        while not self.ends.is_set():
            try:
                self.turn()
            except (OSError, WireClosed, WireTimeout):
                self.lose()
                self.after_loss()
                time.sleep(0.05)
        self.lose()

    def after_loss(self):
        pass


class Writer(PairClient):
    def __init__(self, servers, seed, number, name):
        super().__init__(servers, seed, number, name)
        self.last = {}                  # key: number sent last
        self.acknowledged = {}          # key: highest number that was answered OK
        self.failed = {}                # key: numbers that were answered with an error
        self.answers = self.errors = 0
        self.refused = 0

    def after_loss(self):
        self.which = 1 - self.which

    def turn(self):
        wire = self.connected()
        keys = [self.key(self.number, self.random.randrange(KEYS))]
        if self.random.random() < 0.2:
            keys = [self.key(self.number, "m%d" % which) for which in range(3)]
        number = 1 + max(self.last.get(key, 0) for key in keys)
        value = "%d.%s" % (number, "x" * self.random.choice((3, 50, 400, 40000 if self.random.random() < 0.05 else 9)))
        for key in keys:
            self.last[key] = number
        reply = wire.command("MSET", *[word for key in keys for word in (key, value)]) if len(keys) > 1 else wire.command("SET", keys[0], value)
        if reply == b"+OK\r\n":
            self.answers += 1
            for key in keys:
                self.acknowledged[key] = number
            return
        self.errors += b"undone" in reply
        self.refused += 1
        for key in keys:
            self.failed.setdefault(key, set()).add(number)
        self.lose()
        self.which = 1 - self.which
        time.sleep(0.02)


class Reader(PairClient):
    """Of one server. What it reads of a key never goes back."""

    def __init__(self, servers, seed, number, name, which):
        super().__init__(servers, seed, number, name)
        self.which = which
        self.seen = {}          # key: numbers
        self.faults = []
        self.reads = self.steady = 0

    def turn(self):
        wire = self.connected()
        if self.random.random() < 0.2:
            if decode(wire.command("GET", STEADY)) == b"here":
                self.steady += 1
            return
        writer = self.random.randrange(WRITERS)
        key = self.key(writer, self.random.choice(["%d" % which for which in range(KEYS)] + ["m%d" % which for which in range(3)]))
        reply = wire.command("GET", key)
        if reply.startswith(b"-"):
            return
        value = decode(reply)
        number = 0 if value is None else int(value.split(b".")[0])
        self.reads += 1
        seen = self.seen.setdefault(key, [])
        if seen and number < seen[-1]:
            self.faults.append("%s was %d at server %d, and then %d" % (key, seen[-1], self.which, number))
        if not seen or seen[-1] != number:
            seen.append(number)


def started(servers, seed, name):
    """`name`: of the keys, which nobody has used before."""
    writers = [Writer(servers, seed, number, name) for number in range(WRITERS)]
    readers = [Reader(servers, seed, 100 + which, name, which) for which in (0, 1)]
    for client in writers + readers:
        client.start()
    return writers, readers


def ended(clients):
    for client in clients:
        client.ends.set()
    for client in clients:
        client.join(40)


def faults_found(wire, writers, readers, errors_count=True):
    """What is not as it was answered or read; a list of sentences. The pair is in sync, and nobody writes."""
    faults = [fault for reader in readers for fault in reader.faults]
    for writer in writers:
        keys = sorted(writer.last)
        values = decode(wire.command("MGET", *keys)) if keys else []
        for key, value in zip(keys, values):
            number = 0 if value is None else int(value.split(b".")[0])
            if number < writer.acknowledged.get(key, 0):
                faults.append("P1: %s: %d was acknowledged, %d is there" % (key, writer.acknowledged[key], number))
            if errors_count and number in writer.failed.get(key, ()):
                faults.append("P2: %s: %d was answered with an error, and is there" % (key, number))
            for reader in readers:
                seen = reader.seen.get(key, [])
                if seen and max(seen) > number:
                    faults.append("P3: %s: %d was read at server %d, %d is there" % (key, max(seen), reader.which, number))
                wrong = writer.failed.get(key, set()).intersection(seen) if errors_count else ()
                if wrong:
                    faults.append("P2: %s: %r was answered with an error, and read at server %d" % (key, wrong, reader.which))
        groups = {None if value is None else value.split(b".")[0] for key, value in zip(keys, values) if ":m" in key}
        if len(groups) > 1:
            faults.append("half an MSET of writer %d: %r" % (writer.number, groups))
    return faults
