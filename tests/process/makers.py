"""What makers of random commands share: the registry of them by the command's name, and the words that commands are made of.

A maker is a function that gets `Words` and the name of a command, and gives one of
    a list of arguments           one command with one reply
    a tuple of such lists         commands that belong together, sent to one connection in this order
    a Conversation                one command whose replies take more than a look at the bytes (conversations.py)
The name is the command table's: a subcommand is "container|name". `makes` says how often a command is made: a weight of 1 is some 0.4 %
of all commands. At least 40 % of the calls have to succeed (accounting.py looks at it), so makers mostly mean what they say.
"""

import random

MAKERS = {}     # {name: (weight, function)}


def makes(*names, weight=1.0):
    """Notes a function as the maker of these commands, each of which is made that often."""
    def note(function):
        for name in names:
            if name in MAKERS:
                raise ValueError("two makers of " + name)
            MAKERS[name] = (weight, function)
        return function
    return note


class Conversation(list):
    """A command that has more than one reply, or whose reply is another on every server."""


def crc64(data):
    """Redis's checksum, as DUMP appends it."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x95AC9329AC4BC9B5 if crc & 1 else 0)
    return crc.to_bytes(8, "little")


# Keys by what is mostly kept under them.
KEYS = [b"a", b"b", b"c", b"k:1", b"k:2", b"", b"\0\r\n", b"long" * 100]
COUNTS = [b"n1", b"n2", b"n3"]
FRACTIONS = [b"f1", b"f2"]
TIMED = [b"t1", b"t2", b"t3"]       # whose expiry is mostly stated as a moment, so that both sides have the same
SKETCHES = [b"p1", b"p2", b"p3", b"p4"]
LETTERS = [b"l1", b"l2", b"l3"]     # short texts of few letters, for LCS, whose work is the product of the lengths
EVERY = KEYS + COUNTS + FRACTIONS + TIMED + SKETCHES + LETTERS

ODD_NUMBERS = [b"9223372036854775807", b"-9223372036854775808", b"9223372036854775808", b"9223372036854775806", b"4611686018427387904", b"2147483648",
               b"4294967296", b"", b" 1", b"1 ", b"+1", b"01", b"-0", b"1.5", b"abc", b"1e2", b"99999999999999999999999"]
NUMBERS = [b"0", b"1", b"-1", b"7", b"10", b"100", b"-100"]
VALUES = NUMBERS + ODD_NUMBERS + [b"v", b"value", b"\r\n", b"\0", b"*1\r\n$4\r\nPING\r\n", b"\xff" * 20, b"x" * 43, b"y" * 44, b"z" * 45, b"w" * 1000]
LARGE_VALUE = b"u" * 40000
LIFETIMES = [b"10000000", b"100000000"]
ODD_LIFETIMES = [b"0", b"-1", b"abc", b"", b"9223372036854775807", b"9223372036854775", b"1 "]
FLOATS = [b"1.5", b"-0.1", b"3e2", b".5", b"1.", b"-0", b"1e-20", b"0.1", b"5.0e3"]
ODD_FLOATS = [b"1e400", b"inf", b"-inf", b"nan", b"0x10", b" 1", b"1 ", b""]
OFFSETS = [b"0", b"1", b"7", b"8", b"9", b"63", b"64", b"100", b"1000"]
ODD_OFFSETS = [b"-1", b"x", b"#0", b"8388608", b"9223372036854775807", b"#9223372036854775807", b""]
MOMENTS = [b"33177117420", b"33177117420000"]
ODD_MOMENTS = [b"-5", b"x", b"9223372036854775807", b"9223372036854776", b"0"]
DATABASES = [b"0", b"0", b"1", b"15"]
ODD_DATABASES = [b"16", b"-1", b"x", b"99999999999", b""]
PATTERNS = [b"*", b"*", b"?", b"[a-c]", b"k:*", b"[^a]", b"?1", b"t[12]", b"\\a", b"[a-", b"*l*", b"", b"nosuch"]


class Words:
    """Random words, from one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.made = 0

    def chance(self, probability):
        return self.random.random() < probability

    def one_of(self, *choices):
        return self.random.choice(choices)

    def usual(self, choices, odd, probability=0.08):
        """One of the choices, but now and then an odd one."""
        return self.random.choice(odd if self.random.random() < probability else choices)

    def key(self, family=()):
        """A key of a family, or of KEYS; one in twenty is any key."""
        return self.random.choice(EVERY if self.random.random() < 0.05 else family or KEYS)

    def any_key(self):
        return self.random.choice(EVERY)

    def keys(self, family=()):
        many = 40 if self.random.random() < 0.02 else self.random.choice((1, 1, 1, 2, 3, 8))
        return [self.key(family) for _ in range(many)]

    def some(self, make, counts=(0, 0, 1, 2)):
        """The words of so many calls of `make`, one after the other."""
        return [word for _ in range(self.random.choice(counts)) for word in make()]

    def value(self):
        chance = self.random.random()
        if chance < 0.1:
            return self.random.randbytes(self.random.choice((1, 5, 20, 200, 5000)))
        return LARGE_VALUE if chance < 0.12 else self.random.choice(VALUES)

    def fresh_value(self):
        """A value that was not there before."""
        self.made += 1
        return b"fresh%d" % self.made

    def integer(self):
        return b"%d" % self.random.randint(-2000, 2000)

    def number(self, odd=0.12):
        chance = self.random.random()
        return self.random.choice(ODD_NUMBERS) if chance < odd else self.random.choice(NUMBERS) if chance < 0.5 else self.integer()

    def index(self):
        """A place in a string."""
        return self.random.choice(ODD_NUMBERS) if self.random.random() < 0.08 else b"%d" % self.random.randint(-30, 60)

    def offset(self):
        """A place of a bit."""
        chance = self.random.random()
        if chance < 0.005:
            return b"8388607"
        return self.random.choice(ODD_OFFSETS) if chance < 0.08 else self.random.choice(OFFSETS) if chance < 0.5 else b"%d" % self.random.randint(0, 300)

    def moment(self, seconds):
        """A moment in the far future in seconds, or in milliseconds; never one that is past but valid: DBSIZE may count such a key or not."""
        return self.usual(MOMENTS if seconds else MOMENTS[1:], ODD_MOMENTS, 0.2)

    def database(self):
        return self.usual(DATABASES, ODD_DATABASES)

    def lifetime(self):
        return self.usual(LIFETIMES, ODD_LIFETIMES, 0.2)

    def name_of_letters(self):
        return bytes(self.random.choice(b"abcxyz") for _ in range(self.random.choice((1, 3, 10))))
