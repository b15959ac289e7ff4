"""The command line, and the one place where errors become a sentence on stderr and an exit status.

Exit status: 0 done, 1 failed (one sentence `millrace: ...`), 2 bad usage.
"""

import argparse
import os
import re
import signal
import sys
import traceback

from .config import set_script_dir, version
from .errors import Failure, Interrupted
from .eventlog import EventLog, say
from .instance import Instance
from .limits import IO_CONN_MAX

# How a name leads to its function; imported late, because `status` should not pay for the event loop of `start`.
_COMMANDS = {"start": ("start", "run"), "stop": ("commands", "stop"), "restart": ("commands", "restart"),
             "status": ("commands", "status"), "scale": ("commands", "scale"), "check": ("check", "run"),
             "verify-replicas": ("commands", "verify_replicas"),
             "import": ("migrate", "run_import"), "export": ("migrate", "export"), "backup": ("migrate", "backup"), "restore": ("migrate", "restore")}


def main(words, script_dir):
    """Runs one command; gives the exit status."""
    _guard_standard_streams()
    set_script_dir(script_dir)
    parser = _parser()
    args = parser.parse_args(words)
    if getattr(args, "dir", None) == "":
        parser.error("--dir is empty: name the instance folder")     # an unset $DIR would mean the current folder
    if args.command != "start":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)       # `millrace status | head`
    module, function = _COMMANDS[args.command]
    try:
        run = getattr(__import__(f"supervisor.{module}", fromlist=[function]), function)
        return run(args)
    except (Failure, Interrupted) as error:
        _complain(str(error))
    except Exception as error:      # noqa: BLE001 (no traceback ever reaches a user)
        _unexpected(error, args)
    return 1


def _guard_standard_streams():
    """Descriptors 0 to 2 are always open (no socket of ours becomes somebody's stdout), and any text is printable."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.reconfigure(errors="backslashreplace")


def _complain(sentence):
    say("millrace: " + " ".join(sentence.split("\n")), sys.stderr)


def _unexpected(error, args):
    """One sentence for the user; the traceback goes to the log if there is one, else it is asked for by a variable."""
    instance = Instance(args.dir)
    where = ""
    if os.path.isdir(instance.log):
        EventLog(instance.supervisor_log).exception(f"millrace {args.command}", error)
        where = f": see {instance.supervisor_log}"
    elif os.environ.get("MILLRACE_TRACEBACK"):
        traceback.print_exception(error)
    text = getattr(error, "strerror", None) or str(error) or "no details"
    _complain(f"{args.command} met an unexpected error ({type(error).__name__}: {text}){where}")


def _count(word):
    """The N of `scale`."""
    number = int(word) if word.isascii() and word.isdigit() else 0
    if not 1 <= number <= IO_CONN_MAX:
        raise argparse.ArgumentTypeError(f"'{word}' is not a number from 1 to {IO_CONN_MAX}")
    return number


def _seconds(word):
    """The S of --timeout."""
    if not (word.isascii() and word.isdigit() and 0 < int(word) < 1 << 31):
        raise argparse.ArgumentTypeError(f"'{word}' is not a number of seconds")
    return int(word)


def _record(word):
    """The N of --to-number."""
    if not (word.isascii() and word.isdigit() and int(word) < 1 << 63):
        raise argparse.ArgumentTypeError(f"'{word}' is not the number of a record")
    return int(word)


def _moment(word):
    """The time of --to-time; whether there is such a day is millrace-convert's business."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,3})?Z?", word, re.ASCII):
        raise argparse.ArgumentTypeError(f"'{word}' is not a time like 2026-11-26T14:00:00 (local) or 2026-11-26T14:00:00.123Z (UTC)")
    return word


def _pair(word):
    """The KEY=VALUE of --set; which keys and values exist is millrace-conf's business."""
    if not word.partition("=")[1] or not word.partition("=")[0].strip():
        raise argparse.ArgumentTypeError(f"'{word}' is not KEY=VALUE")
    return word


class _Version(argparse.Action):
    """--version asks md, so that it names what would run."""

    def __call__(self, parser, *_):
        say(f"millrace {version() or '(version unknown: md is not built)'}")
        parser.exit(0)


def _parser():
    parser = argparse.ArgumentParser(
        prog="millrace", allow_abbrev=False,
        description="Start, stop, watch and resize a millrace server (an in-memory key-value server, Redis protocol).",
        epilog="Exit status: 0 done, 1 failed (one sentence on stderr), 2 bad usage. See millrace(1).")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name, sentence):
        command = commands.add_parser(name, help=sentence, description=sentence, allow_abbrev=False)
        command.add_argument("--dir", default="./instance", metavar="DIR",
                             help="the instance folder: one folder is one server (default: ./instance)")
        return command

    start = add("start", "start the group; in the foreground unless --daemon is given")
    start.add_argument("--daemon", action="store_true", help="go to the background once clients are served")
    start.add_argument("--repair", action="store_true", help="cut off what is damaged at the end of the data files, which else stops the start")
    _add_settings(start)
    add("stop", "end all processes and save the data; nothing stays in shared memory or in run/").add_argument(
        "--force", action="store_true", help="give up the data that cannot be saved at once")
    add("restart", "replace every process and read the configuration again; the data stays in shared memory")
    add("status", "say what runs").add_argument("--json", action="store_true", help="for programs")
    add("scale", "change the number of io_conn processes").add_argument(
        "count", type=_count, metavar="N", help=f"1 to {IO_CONN_MAX}")
    add("verify-replicas", "have this server and all that follow it read their data anew, and compare it").add_argument(
        "--timeout", metavar="S", type=_seconds, default=600, help="give up after so many seconds (default: 600)")
    _add_settings(add("check", "examine configuration and folders; start nothing"))
    _add_copies(add)
    return parser


def _add_copies(add):
    """import, export, backup and restore."""
    imported = add("import", "take over the strings of an RDB or AOF of Redis's; the instance is stopped")
    imported.add_argument("source", metavar="FILE", help="an RDB, an AOF, or the folder appendonlydir of Redis 7")
    add("export", "write an RDB that Redis loads").add_argument("file", metavar="FILE", help="the RDB to be written")
    add("backup", "copy the data, also of an instance that runs").add_argument("dest", metavar="DEST", help="the folder to be made")
    restored = add("restore", "bring a backup back; the instance is stopped")
    restored.add_argument("source", metavar="SOURCE", help="what backup has made, or another copy of a data folder")
    until = restored.add_mutually_exclusive_group()
    until.add_argument("--to-number", metavar="N", type=_record, help="as of record N (oplogdump shows them)")
    until.add_argument("--to-time", metavar="TIME", type=_moment, help="as of a time: YYYY-MM-DDTHH:MM:SS[.mmm], with Z in UTC")
    for command in (imported, restored):
        command.add_argument("--replace", action="store_true", help="move data that is there to DIR/data/replaced-<time>")


def _add_settings(command):
    command.add_argument("--config", metavar="FILE", help="read FILE instead of DIR/millrace.conf")
    command.add_argument("--port", metavar="P", help="the same as --set port=P")
    command.add_argument("--io", metavar="N", help="the number of io_conn, the same as --set io-conns=N")
    command.add_argument("--set", metavar="KEY=VALUE", type=_pair, action="append", default=[],
                         help="an option that goes over the file; may be repeated")
