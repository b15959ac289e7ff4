"""Counts calls and successes of each command of the table, as redis-server answers them; a success is a reply that is no error."""

from command_rows import name_of, names_of_the_table

PER_COMMANDS = 2_000_000        # in so many commands
CALLS_MIN = 5_000               # each occurs so often,
SUCCESS_MIN = 0.4               # and this part of its calls succeeds

EXEMPT = {
    "pfselftest": "takes seconds in redis-server, and is the same each time",
    "debug": "refused by both unless the configuration allows it",
    "latency|graph": "an error as long as there are no events, which depend on the machine",
    "shutdown": "ends the server",
    "config|rewrite": "writes the server's file; q_supervisor_link_test.py has it",
    "save": "writes the server's files, and answers as its disk is; u_save_test.py has it",
    "bgsave": "answers as its snapshots come; u_save_test.py has it",
    "bgrewriteaof": "answers as its snapshots come; u_save_test.py has it",
}


class Accounts:
    def __init__(self):
        self.calls, self.successes = {}, {}

    def note(self, command, reply):
        name = name_of(command)
        if name is None:
            return
        self.calls[name] = self.calls.get(name, 0) + 1
        if not reply.startswith(b"-"):
            self.successes[name] = self.successes.get(name, 0) + 1

    def total(self):
        return sum(self.calls.values())

    def rate(self, name):
        calls = self.calls.get(name, 0)
        return self.successes.get(name, 0) / calls if calls else 0.0

    def short(self, commands):
        """Names of commands that occur too seldom, or succeed too seldom, in a run of so many commands."""
        least = CALLS_MIN * commands / PER_COMMANDS
        return [name for name in names_of_the_table() if name not in EXEMPT and not name.startswith("debug|") and (self.calls.get(name, 0) < least or self.rate(name) < SUCCESS_MIN)]

    def table(self):
        names = sorted({*names_of_the_table(), *self.calls})
        lines = ["%-28s %9s %9s" % ("command", "calls", "success")]
        lines += ["%-28s %9d %8.1f%%%s" % (name, self.calls.get(name, 0), 100 * self.rate(name), "  (exempt: %s)" % EXEMPT[name] if name in EXEMPT else "") for name in names]
        return "\n".join(lines)
