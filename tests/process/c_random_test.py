"""Long random sequences of commands, cut at random bytes, get the same bytes from redis-server and from millrace.

The seed is printed; SEED=n repeats a run. MILLRACE_LONG=1 runs millions of commands instead of thousands, MILLRACE_COMMANDS=n so many.
"""

import collections
import os
import random
import unittest

from compare import IO_COUNTS, Sides, empty, mask_hello, shortened
from shrink import shrink
from wire import encode, end_of_reply

COMMANDS_PER_GROUP = int(os.environ.get("MILLRACE_COMMANDS", 3_000_000 if os.environ.get("MILLRACE_LONG") else 12_000))
SEED = int(os.environ.get("SEED", random.SystemRandom().randrange(10**6)))
CONNECTIONS = 5
HISTORY = 3000  # pipelines that are kept for finding a short way to a difference
SHRINK_SECONDS = 15
PIPELINES_SHOWN, COMMANDS_SHOWN = 10, 10


def crc64(data):
    """Redis's checksum, as DUMP appends it."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc.to_bytes(8, "little")


KEYS = [b"a", b"b", b"c", b"k:1", b"k:2", b"", b"\0\r\n", b"n1", b"n2", b"n3", b"long" * 100]
NUMBERS = [b"0", b"1", b"-1", b"7", b"10", b"100", b"-100", b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808",
           b"9223372036854775806", b"4611686018427387904", b"2147483648", b"4294967296", b"", b" 1", b"1 ", b"+1", b"01", b"-0", b"1.5",
           b"abc", b"1e2", b"99999999999999999999999"]
VALUES = NUMBERS + [b"v", b"value", b"\r\n", b"\0", b"*1\r\n$4\r\nPING\r\n", b"\xff" * 20, b"x" * 43, b"y" * 44, b"z" * 45, b"w" * 1000,
                    b"u" * 40000]
LIFETIMES = [b"10000000", b"100000000", b"0", b"-1", b"abc", b"", b"9223372036854775807", b"9223372036854775", b"1 "]
# Keys whose expiry is only ever stated as a moment, so that both sides can be asked for it.
TIMED = [b"t1", b"t2", b"t3"]
FLOATS = [b"1.5", b"-0.1", b"3e2", b"1e400", b"inf", b"-inf", b"nan", b"0x10", b" 1", b"1 ", b"", b"5.0e3", b".5", b"1.", b"-0", b"1e-20", b"0.1"]
FIELDS = [b"u8", b"i8", b"u1", b"i1", b"u63", b"i64", b"i5", b"u13", b"u64", b"i65", b"i0", b"x8", b"u", b"U8"]
OFFSETS = [b"0", b"1", b"7", b"8", b"9", b"63", b"64", b"100", b"1000", b"-1", b"x", b"#0", b"#1", b"#3", b"8388607", b"8388608", b"9223372036854775807",
           b"#9223372036854775807"]
# What DUMP has given for 1, -70000, "" and a text of 40 letters, and things that are none.
DUMPS = [b"\0\xc0\x01\n\0", b"\0\xc2\x90\xee\xfe\xff\n\0", b"\0\0\n\0", b"\0\xc3\t\x28\x01aa\xe0\x1a\0\x01aa\n\0", b"\1\xc0\x01\n\0", b"\0\xc0\x01\n\1"]
DUMPS = [dump + crc64(dump) for dump in DUMPS] + [b"", b"short", b"\0" * 20]
MOMENTS = [b"33177117420", b"33177117420000", b"0", b"-5", b"x", b"9223372036854775807", b"9223372036854776"]


class Source:
    """Makes random commands; each method gives one list of arguments."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.makers = ([self.set] * 12 + [self.get] * 12 + [self.incr] * 8 + [self.mset, self.mget, self.delete, self.append, self.getrange] * 4
                       + [self.bits] * 12 + [self.expiry] * 12 + [self.moved] * 6 + [self.dumped] * 4 + [self.transaction] * 5 + [self.text] * 8 + [self.with_key] * 8 + [self.with_key_and_value] * 5 + [self.small] * 3 + [self.rare, self.odd, self.expired])

    def key(self):
        return self.random.choice(KEYS)

    def keys(self):
        return [self.key() for _ in range(self.random.choice((1, 1, 2, 3, 8, 40)))]

    def value(self):
        if self.random.random() < 0.1:
            return self.random.randbytes(self.random.choice((1, 5, 20, 200, 5000)))
        return self.random.choice(VALUES)

    def number(self):
        return self.random.choice(NUMBERS) if self.random.random() < 0.6 else b"%d" % self.random.randint(-2000, 2000)

    def set_option(self):
        name = self.random.choice((b"EX", b"PX", b"EXAT", b"PXAT", b"KEEPTTL", b"NX", b"XX", b"GET", b"NX", b"XX", b"GET"))
        if name in (b"EX", b"PX"):
            return [name, b"10000000" if self.random.random() < 0.6 else self.random.choice(LIFETIMES)]
        if name in (b"EXAT", b"PXAT"):
            return [name, self.random.choice(MOMENTS if name == b"EXAT" else MOMENTS[1:])]
        return [name]

    def set(self):
        options = [word for _ in range(self.random.choice((0, 0, 0, 1, 1, 2, 3))) for word in self.set_option()]
        return [b"SET", self.key(), self.value() if self.random.random() < 0.6 else self.number(), *options]

    def get(self):
        return [b"GET", self.key()]

    def incr(self):
        name = self.random.choice((b"INCR", b"DECR", b"INCRBY", b"DECRBY"))
        return [name, self.random.choice(KEYS[-4:-1])] + ([self.number()] if name.endswith(b"BY") else [])

    def mset(self):
        return [b"MSET"] + [argument for key in self.keys() for argument in (key, self.value())]

    def mget(self):
        return [b"MGET", *self.keys()]

    def getrange(self):
        return [b"GETRANGE", self.key(), self.number(), self.number()]

    def delete(self):
        return [self.random.choice((b"DEL", b"EXISTS", b"TOUCH", b"UNLINK")), *self.keys()]

    def any_key(self):
        return self.random.choice(KEYS + TIMED)

    def offset(self):
        return self.random.choice(OFFSETS) if self.random.random() < 0.4 else b"%d" % self.random.randint(0, 300)

    def field(self):
        kind = self.random.choice((b"GET", b"SET", b"INCRBY", b"INCRBY", b"OVERFLOW", b"get"))
        if kind == b"OVERFLOW":
            return [kind, self.random.choice((b"WRAP", b"SAT", b"FAIL", b"sat", b"x"))]
        value = [] if kind in (b"GET", b"get") else [self.number() if self.random.random() < 0.5 else b"%d" % self.random.randint(-300, 300)]
        return [kind, self.random.choice(FIELDS[:8] if self.random.random() < 0.85 else FIELDS), self.offset(), *value]

    def bits(self):
        key, unit = self.any_key(), self.random.choice(([], [b"BYTE"], [b"BIT"], [b"bit"], [b"x"]))
        kind = self.random.randrange(8)
        if kind == 0:
            return [b"SETBIT", key, self.offset(), self.random.choice((b"0", b"1", b"1", b"2", b"x"))]
        if kind == 1:
            return [b"GETBIT", key, self.offset()]
        if kind == 2:
            return [b"BITCOUNT", key, *self.random.choice(([], [self.number()], [self.number(), self.number(), *unit], [b"1", b"-2", *unit]))]
        if kind in (3, 4):
            bit = self.random.choice((b"0", b"1", b"1", b"2", b"x"))
            return [b"BITPOS", key, bit, *self.random.choice(([], [self.number()], [b"2"], [self.number(), self.number(), *unit], [b"1", b"-1", *unit]))]
        if kind == 5:
            operation = self.random.choice((b"AND", b"OR", b"XOR", b"NOT", b"xor", b"NAND"))
            return [b"BITOP", operation, self.any_key(), *([self.any_key()] if operation == b"NOT" and self.random.random() < 0.8 else self.keys()[:4])]
        return [self.random.choice((b"BITFIELD", b"BITFIELD", b"BITFIELD_RO")), key, *[word for _ in range(self.random.choice((0, 1, 2, 3))) for word in self.field()]]

    def condition(self):
        return self.random.choice(([], [], [], [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"gt"], [b"XX", b"GT"], [b"NX", b"XX"], [b"GT", b"LT"], [b"x"]))

    def expiry(self):
        kind = self.random.randrange(8)
        if kind == 0:
            return [b"SET", self.random.choice(TIMED), self.value(), *self.random.choice(([], [b"KEEPTTL"], [b"EXAT", self.random.choice(MOMENTS)], [b"PXAT", self.random.choice(MOMENTS[1:])]))]
        if kind == 1:
            return [self.random.choice((b"EXPIRE", b"PEXPIRE")), self.key(), self.random.choice(LIFETIMES),
                    *self.random.choice(([], [], [b"NX"], [b"XX"], [b"x"], [b"GT", b"LT"], [b"NX", b"LT"]))]  # two lifetimes may be equal on one side only
        if kind in (2, 3):
            name = self.random.choice((b"EXPIREAT", b"PEXPIREAT"))
            return [name, self.random.choice(TIMED), self.random.choice(MOMENTS if name == b"EXPIREAT" else MOMENTS[1:]), *self.condition()]
        if kind == 4:
            return [self.random.choice((b"EXPIRETIME", b"PEXPIRETIME")), self.random.choice(TIMED)]
        if kind == 5:
            return [b"PERSIST", self.any_key()]
        if kind == 6:
            option = self.random.choice(([], [b"PERSIST"], [b"EXAT", self.random.choice(MOMENTS)], [b"PXAT", self.random.choice(MOMENTS[1:])], [b"PERSIST", b"EXAT", b"1"],
                                         [b"EX"], [b"KEEPTTL"], [b"x"]))
            return [b"GETEX", self.random.choice(TIMED), *option]
        name = self.random.choice((b"SETEX", b"PSETEX"))
        return [name, self.key(), self.random.choice(LIFETIMES), self.value()]

    def moved(self):
        keys = TIMED if self.random.random() < 0.4 else KEYS
        one, other = self.random.choice(keys), self.random.choice(keys)
        database = self.random.choice((b"0", b"1", b"15", b"16", b"-1", b"x", b"99999999999"))
        return self.random.choice(([b"RENAME", one, other], [b"RENAMENX", one, other], [b"MOVE", one, database],
                                   [b"COPY", one, other, *self.random.choice(([], [b"REPLACE"], [b"DB", database], [b"DB", database, b"REPLACE"], [b"DB"], [b"x"]))]))

    def dumped(self):
        """DUMP's bytes, and RESTORE of what some value's DUMP was, or of something like it."""
        if self.random.random() < 0.4:
            return [b"DUMP", self.any_key()]
        dump = self.random.choice(DUMPS)
        if dump and self.random.random() < 0.15:
            place = self.random.randrange(len(dump))
            dump = dump[:place] + bytes([self.random.randrange(256)]) + dump[place + 1:]
        options = [word for _ in range(self.random.choice((0, 0, 1, 2))) for word in self.random.choice(
            ([b"REPLACE"], [b"REPLACE"], [b"ABSTTL"], [b"IDLETIME", b"5"], [b"FREQ", b"7"], [b"IDLETIME", b"-1"], [b"FREQ", b"256"], [b"FREQ", b"x"], [b"FREQ"], [b"x"]))]
        lifetime = self.random.choice((b"0", b"0", b"0", b"-1", b"x", b"10000000000", b"33177117420000"))
        return [b"RESTORE", self.key(), lifetime, dump, *options]

    def transaction(self):
        """Some commands between MULTI and EXEC, or DISCARD; now and then one that is refused, or none of the two."""
        makers = (self.set, self.get, self.incr, self.mset, self.append, self.delete, self.bits, self.expiry, self.moved, self.text, self.with_key, self.with_key_and_value)
        commands = [self.random.choice(makers)() for _ in range(self.random.choice((0, 1, 2, 5, 12)))]
        if self.random.random() < 0.15:
            commands.append(self.random.choice(([b"FLUSHDB"], [b"DBSIZE"], [b"PING"], [b"ECHO", b"x"], [b"nonsense"], [b"MULTI"], [b"GET"], [b"SELECT", b"1"], [b"DBSIZE"])))
            commands += [self.set(), [b"DBSIZE"], self.get()]
        return ([b"MULTI"], *commands, [self.random.choice((b"EXEC", b"EXEC", b"EXEC", b"EXEC", b"DISCARD"))])

    def text(self):
        kind = self.random.randrange(7)
        if kind == 0:
            return [b"SETRANGE", self.key(), self.random.choice((b"0", b"1", b"5", b"100", b"-1", b"x", b"1048576", b"1048575", b"9223372036854775807")), self.value()[:2000]]
        if kind == 1:
            return [b"SUBSTR", self.key(), self.number(), self.number()]
        if kind in (2, 3):
            return [b"INCRBYFLOAT", self.random.choice(KEYS[-4:-1]), self.random.choice(FLOATS) if self.random.random() < 0.7 else self.number()]
        if kind == 4:
            return [b"MSETNX"] + [argument for _ in range(self.random.choice((1, 1, 2))) for argument in (self.random.choice([*KEYS, b"fresh%d" % self.random.randrange(30)]), self.value())]
        options = self.random.choice(([], [b"LEN"], [b"IDX"], [b"IDX", b"MINMATCHLEN", self.random.choice((b"2", b"4", b"-1", b"x"))], [b"IDX", b"WITHMATCHLEN"], [b"LEN", b"IDX"],
                                      [b"MINMATCHLEN"], [b"x"]))
        return [b"LCS", self.key(), self.key(), *options]

    def append(self):
        return [b"APPEND", self.key(), self.random.choice((b"", b"1", b"abc", b"\0" * 50, b"5"))]

    def with_key(self):
        return [self.random.choice((b"GETDEL", b"STRLEN", b"TYPE", b"EXISTS", b"DEL", b"STRLEN")), self.key()]

    def with_key_and_value(self):
        return [self.random.choice((b"GETSET", b"SETNX", b"APPEND")), self.key(), self.value()]

    def small(self):
        return self.random.choice(([b"DBSIZE"], [b"PING"], [b"PING", self.value()], [b"ECHO", self.value()], [b"CLIENT", b"GETNAME"],
                                   [b"SELECT", self.random.choice((b"0", b"0", b"0", b"1", b"15", b"16", b"-1", b"x", b""))]))

    def rare(self):
        return self.random.choice(([b"FLUSHALL"], [b"FLUSHALL", b"ASYNC"], [b"FLUSHALL", self.value()], [b"SWAPDB", b"0", b"1"], [b"SWAPDB", b"1", b"15"], [b"SWAPDB", self.number(), self.number()], [b"FLUSHDB"], [b"FLUSHDB", b"SYNC"], [b"FLUSHDB", self.value()], [b"RESET"], [b"HELLO", b"3"],
                                   [b"HELLO", b"2"], [b"HELLO", self.number()], [b"CLIENT", b"SETNAME", self.value()[:100]],
                                   [b"CONFIG", b"GET", b"maxclients"], [b"CONFIG", b"GET", self.random.choice(VALUES)[:50]], [b"AUTH", self.value()],
                                   [b"AUTH", b"default", self.value()], [b"COMMAND", b"INFO", b"nonsense"]))

    def odd(self):
        """A command with an argument too few or too many, or a name that does not exist."""
        arguments = self.random.choice((self.set, self.get, self.incr, self.mset, self.mget, self.append, self.with_key))()
        kind = self.random.random()
        if kind < 0.3:
            return arguments[:-1]
        if kind < 0.6:
            return arguments + [self.value()]
        if kind < 0.8:
            return [self.random.choice((arguments[0].lower(), arguments[0].capitalize())), *arguments[1:]]
        return [self.random.choice((b"nonsense", b"gett", b"", self.value()[:50])), *arguments[1:]]

    def expired(self):
        """A value that is gone at once. DEL follows, since until then DBSIZE may count it or not."""
        key = self.key()
        return [b"SET", key, self.value(), self.random.choice((b"EXAT", b"PXAT")), b"1"], [b"GET", key], [b"DEL", key]

    def pipeline(self):
        """A list of commands for one connection."""
        length = self.random.choice((1, 1, 2, 5, 20, 100))
        commands = []
        while len(commands) < length:
            made = self.random.choice(self.makers)()
            commands += made if isinstance(made, tuple) else [made]
        return commands

    def pieces(self, data):
        """The bytes cut at random places; often not at all."""
        cuts = self.random.choice((0, 0, 1, 3, 10))
        places = sorted(self.random.randrange(len(data) + 1) for _ in range(cuts))
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)])]


class Pairs:
    """The same connections to redis-server and to millrace, both on empty databases."""

    def __init__(self, sides):
        self.servers = (sides.oracle, *sides.subjects.values())
        for server in self.servers:
            empty(server)
        self.wires = [[server.wire() for server in self.servers] for _ in range(CONNECTIONS)]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for wire in (wire for pair in self.wires for wire in pair):
            wire.close()

    def difference(self, number, commands, pieces):
        """Sends a pipeline to both; the first command whose replies differ, with both replies."""
        expected, actual = [wire.exchange(pieces, len(commands)) for wire in self.wires[number]]
        for command, want, got in zip(commands, expected, actual):
            if want != got and mask_hello(want) != mask_hello(got):
                return command, want, got
        return None


def difference_of(sides, pipelines):
    """The first difference when these pipelines, (connection, commands) each, are sent whole."""
    with Pairs(sides) as pairs:
        for number, commands in pipelines:
            found = pairs.difference(number, commands, [b"".join(encode(*command) for command in commands)])
            if found:
                return found
    return None


def shortest(sides, pipelines):
    """Fewer pipelines, then fewer commands in each, that still make a difference."""
    def fails(shorter):
        return difference_of(sides, shorter) is not None

    if not fails(pipelines):
        return pipelines
    pipelines = shrink(pipelines, fails, SHRINK_SECONDS)
    for place, (number, commands) in enumerate(pipelines):
        def fails_with(shorter):
            return fails(pipelines[:place] + [(number, shorter)] + pipelines[place + 1:])

        pipelines[place] = (number, shrink(commands, fails_with, SHRINK_SECONDS / len(pipelines)))
    return pipelines


class Random(unittest.TestCase):
    """One pair of servers at a time, so that a difference shows at once: each pipeline goes to both, then the replies are compared."""

    def against(self, io_count):
        print("seed %d, %d commands, %d io_conn" % (SEED, COMMANDS_PER_GROUP, io_count), flush=True)
        sides = Sides(io_counts=(io_count,))
        self.addCleanup(sides.stop)
        source, history, done = Source(SEED * 10 + io_count), collections.deque(maxlen=HISTORY), 0
        with Pairs(sides) as pairs:
            while done < COMMANDS_PER_GROUP:
                number, commands = source.random.randrange(CONNECTIONS), source.pipeline()
                pieces = source.pieces(b"".join(encode(*command) for command in commands))
                history.append((number, commands))
                done += len(commands)
                found = pairs.difference(number, commands, pieces)
                if found:
                    self.differ(sides, found, list(history))

    def differ(self, sides, found, history):
        """Fails with a short way to a difference, which may be another one than the first."""
        history = shortest(sides, history)
        found = difference_of(sides, history) or found
        lines = ["connection %d: %s" % (number, " | ".join(shortened(b" ".join(command)) for command in commands[:COMMANDS_SHOWN]))
                 for number, commands in history[-PIPELINES_SHOWN:]]
        self.fail("seed %d:\n    %s\n    at %s\n    redis    %s\n    millrace %s" % (
            SEED, "\n    ".join(lines), *map(shortened, (b" ".join(found[0]), *found[1:]))))

    def test_generated_replies_are_whole(self):
        """The source makes only commands that get exactly one reply."""
        source = Source(SEED)
        sides = Sides(io_counts=())
        self.addCleanup(sides.stop)
        with sides.oracle.wire() as wire:
            for _ in range(50):
                commands = source.pipeline()
                replies = wire.exchange([b"".join(encode(*command) for command in commands)], len(commands))
                self.assertTrue(all(end_of_reply(reply) == len(reply) for reply in replies))
                self.assertFalse(wire.buffer, commands)


def _add_tests():
    for count in IO_COUNTS:
        def test(self, count=count):
            self.against(count)
        setattr(Random, "test_against_%d_io_conn" % count, test)


_add_tests()


if __name__ == "__main__":
    unittest.main()
