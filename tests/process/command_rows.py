"""The rows of common/commands.def and the names of options, as the tests need them."""

import functools
import os
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
ALL_OF_REDIS = os.environ.get("MILLRACE_SUBJECT") == "oracle"     # the server under test knows more than the table
HELP_OF = ("client", "command", "config", "object", "slowlog", "latency", "memory", "debug")


@functools.cache
def rows():
    """{name: (arity, where it runs)}, but for commands that are between servers and that no client is told of."""
    text = (ROOT / "common" / "commands.def").read_text(encoding="utf-8")
    found = re.findall(r'^MR_COMMAND\(\w+, "([^"]+)", (-?\d+), ([^,]+), -?\d+, -?\d+, -?\d+, (\w+),', text, re.MULTILINE)
    if len(found) != len(re.findall(r"^MR_COMMAND\(", text, re.MULTILINE)):
        raise AssertionError("a row of common/commands.def does not look like the others")
    return {name: (int(arity), where) for name, arity, flags, where in found if "|" in name or "internal" not in flags}


@functools.cache
def names_of_the_table():
    """The commands that can be called, subcommands as container|name."""
    return [name for name, (_, where) in rows().items() if where != "container" and name not in newer_names()]


@functools.cache
def newer_names():
    """Those that came after Redis 7.0, so that redis-server 7.0 cannot be asked."""
    text = (ROOT / "common" / "commands.def").read_text(encoding="utf-8")
    found = re.findall(r'^MR_COMMAND\(\w+, "([^"]+)", .*?, (?:io|md|container), "[^"]*", "(\d+)\.(\d+)\.', text, re.MULTILINE)
    return {name for name, major, minor in found if (int(major), int(minor)) > (7, 0)}


@functools.cache
def top_names():
    return [name for name in rows() if "|" not in name]


@functools.cache
def known_names():
    """Those of the table, and the HELP of containers that may come."""
    return sorted({*names_of_the_table(), *(container + "|help" for container in HELP_OF)})


@functools.cache
def option_names():
    text = (ROOT / "common" / "options.def").read_text(encoding="utf-8")
    return re.findall(r'^MR_OPTION\(\w+, "([^"]+)"', text, re.MULTILINE)


def name_of(command):
    """The table's name of a list of arguments: "client|getname"; None when it is none of the table's."""
    if not command:
        return None
    name = command[0].decode("latin-1").lower()
    if ALL_OF_REDIS and name not in rows() or name in HELP_OF and ALL_OF_REDIS:
        return "%s|%s" % (name, command[1].decode("latin-1").lower()) if name in HELP_OF and len(command) > 1 else name
    if len(command) > 1:
        subcommand = "%s|%s" % (name, command[1].decode("latin-1").lower())
        if subcommand in rows():
            return subcommand
    return name if name in rows() and rows()[name][1] != "container" else None
