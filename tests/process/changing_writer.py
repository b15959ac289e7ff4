"""A client that changes random keys in all ways that an effect can tell."""

import random
import threading

DATABASES = 3


class Writer(threading.Thread):
    """Changes random keys in all ways that an effect can tell, until told to end."""

    EXPECTED = (b"-ERR",)       # answers that may come

    def __init__(self, instance, seed, large=False):
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.wire = instance.wire(timeout=60)
        self.large = large
        self.ended = False
        self.commands = 0
        self.failure = None

    def run(self):
        try:
            while not self.ended:
                for command in self.some_commands():
                    reply = self.wire.command(*command)
                    self.commands += 1
                    if reply[:1] == b"-" and not reply.startswith(self.EXPECTED):
                        raise AssertionError("%r: %r" % (command[:2], reply[:200]))
        except Exception as failure:
            self.failure = failure

    def some_commands(self):
        return [self.any_command()]

    def any_command(self):
        pick = self.random
        key, other = ("key:%d" % pick.randrange(400) for _ in range(2))
        size = pick.choice((3, 30, 300, 3000)) if pick.random() < 0.98 or not self.large else pick.randrange(40_000, 400_000)
        value = pick.choice("abcdef") * size
        return pick.choice((
            ("SET", key, value), ("SET", key, value), ("SET", key, value, "PX", 3_600_000 + pick.randrange(1000)), ("APPEND", key, value[:50]), ("SETRANGE", key, pick.randrange(200), value[:40]),
            ("SETBIT", key, pick.randrange(5000), 1), ("DEL", key), ("DEL", key, other), ("MSET", key, value, other, value[:7]), ("INCR", "counter:%d" % pick.randrange(9)),
            ("RENAME", key, other), ("COPY", key, other, "REPLACE"), ("EXPIRE", key, 5000), ("PERSIST", key), ("SELECT", pick.randrange(DATABASES)),
            ("FLUSHDB",) if pick.random() < 0.02 else ("GETSET", key, value), ("PFADD", "sketch", value[:9])))

    def stop(self):
        """At the end of a test, however it went."""
        self.ended = True

    def end(self):
        self.ended = True
        self.join(60)
        if self.failure:
            raise self.failure
