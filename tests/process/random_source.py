"""Random commands of all makers in pipelines, from one seed; makers of commands that the server under test does not know are left out."""

import itertools

import makers_keys  # noqa: F401  (notes its makers)
import makers_server  # noqa: F401
from command_rows import name_of, names_of_the_table
from makers import MAKERS, Words

LENGTHS = (1, 1, 2, 5, 20, 100)
ODD = 0.02      # so many commands get an argument too few or too many, or another spelling of their name


def without_maker():
    """Commands of the table that nobody makes."""
    return sorted(set(names_of_the_table()) - set(MAKERS))


class Source(Words):
    def __init__(self, seed, known=None):
        """`known`: the names that the server under test knows; without it those of the table."""
        super().__init__(seed)
        known = set(names_of_the_table() if known is None else known)
        self.left_out = sorted(name for name in MAKERS if name not in known)
        self.names = [name for name in MAKERS if name in known]
        self.weights = list(itertools.accumulate(MAKERS[name][0] for name in self.names))

    def command(self):
        """One command as a list, or a tuple of some that belong together."""
        name = self.random.choices(self.names, cum_weights=self.weights)[0]
        made = MAKERS[name][1](self, name)
        if self.random.random() < ODD and type(made) is list:
            return self.odd(made)
        return made

    def odd(self, command):
        """An argument too few or too many, a name in other letters, or one that there is not."""
        kind = self.random.random()
        if kind < 0.3 and len(command) > 1:
            command = command[:-1]
        elif kind < 0.5:
            command = [*command, self.value()]
        elif kind < 0.8:
            return [self.one_of(command[0].lower(), command[0].capitalize()), *command[1:]]
        else:
            return [self.one_of(b"nonsense", b"gett", b"", self.value()[:50]), *command[1:]]
        return command if is_comparable(command) else [b"PING"]

    def pipeline(self):
        """A list of commands for one connection."""
        length, commands = self.random.choice(LENGTHS), []
        while len(commands) < length:
            made = self.command()
            commands += made if isinstance(made, tuple) else [made]
        return commands

    def pieces(self, data):
        """The bytes cut at random places; often not at all."""
        cuts = self.random.choice((0, 0, 1, 3, 10))
        places = sorted(self.random.randrange(len(data) + 1) for _ in range(cuts))
        return [data[start:end] for start, end in zip([0, *places], [*places, len(data)])]


NOT_ALONE = {b"SCAN", b"RANDOMKEY", b"QUIT", b"WATCH", b"EXEC"}


def is_comparable(command):
    """Whether a command with an argument more or less gets one reply that can be looked at alone."""
    name = name_of(command)
    return command[0].upper() not in NOT_ALONE and name not in ("object|encoding", "client|reply", "client|kill", "client|pause", "slowlog|get", "latency|histogram")
