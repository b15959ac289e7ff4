"""CONFIG REWRITE: the configuration file says what holds now, so that the group started again has the same values.

Comments, order and what does not differ stay as they are. A line of an option whose value is another one now is written anew,
further lines of it go, and what the file does not mention follows at its end, unless it has its default. The file is
replaced in one step, and only after millrace-conf has read the right values from it.
"""

import os

from . import config
from .errors import Failure

MARK = "# Written by CONFIG REWRITE"


def rewrite(instance, settings, live, io_conns, for_good):
    """Gives the file's path.

    live      {name: text} of the options that CONFIG SET may have changed; others are refused
    io_conns  how many there are to be
    for_good  false: all is tried but to put the new file in place
    """
    path = settings.file() or instance.conf
    now = config.values(["--file", instance.effective_conf])
    unknown = set(live) - set(now)
    if unknown:
        raise Failure(f"'{min(unknown)}' is no option of this version: restart the group after an upgrade")
    # Who asks is an io_conn, which somebody may have taken over: no other value of the next start is its affair.
    fixed = set(live) - config.live_names()
    if fixed:
        raise Failure(f"'{min(fixed)}' does not change while the group runs")
    was = now["maxmemory"]
    now.update({name: type(now[name])(text) for name, text in live.items()})
    if now["maxmemory"] == was and settings.configured()["maxmemory"] == 0:
        now["maxmemory"] = 0        # it came from the control group's limit and is to follow that
    now["io-conns"] = io_conns
    text = new_text(_read(path), now, config.values([]), config.values(["--file", path]) if os.path.exists(path) else {})
    aside = path + ".new"
    try:
        _write(aside, text, path)
        _check(aside, now)
        if not for_good:
            _remove(aside)
            return path
        os.rename(aside, path)
        _sync_folder(path)
    except OSError as error:
        _remove(aside)
        raise Failure(f"{path} cannot be written: {error.strerror}") from None
    except Failure:
        _remove(aside)
        raise
    return path


def new_text(text, now, defaults, in_file):
    """The file's new text.

    now, defaults, in_file   {name: value}; the last is what the present text says, {} without a file
    """
    lines, written = [], set()
    for line in text.removesuffix("\n").split("\n") if text else []:     # not at what else Unicode takes for line ends
        name, comment = _split(line)
        if name not in now or in_file.get(name) == now[name]:
            lines.append(line)
        elif name not in written:
            lines.append(_assignment(name, now[name]) + (f"  {comment}" if comment else ""))
        if name in now:
            written.add(name)
    missing = [name for name in now if name not in written and now[name] != defaults.get(name)]
    if missing and MARK not in lines:
        lines += [""] * bool(lines and lines[-1]) + [MARK]
    lines += [_assignment(name, now[name]) for name in missing]
    return "".join(line + "\n" for line in lines)


def _split(line):
    """(name, comment) of a line; the name is None if it sets nothing."""
    quote, escaped = "", False
    content, comment = line, ""
    for place, char in enumerate(line):
        if char == "#" and not quote:
            content, comment = line[:place], line[place:]
            break
        if not quote and char in "\"'":
            quote = char
        elif char == quote and not escaped:
            quote = ""
        escaped = char == "\\" and quote == '"' and not escaped
    name, equals, _ = content.partition("=")
    return (name.strip().lower() if equals else None), comment


def _assignment(name, value):
    """A line as millrace-conf writes it."""
    if isinstance(value, int):
        return f"{name} = {value}"
    return '%s = "%s"' % (name, value.replace("\\", "\\\\").replace('"', '\\"'))


def _read(path):
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="") as file:
            return file.read()
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise Failure(f"{path} cannot be read: {error.strerror}") from None


def _write(aside, text, path):
    """Writes the new file beside the old one, for nobody to read but those who could read that one."""
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        if os.path.exists(path):
            old = os.stat(path)
            os.fchmod(descriptor, old.st_mode & 0o7777)
            if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, old.st_uid, old.st_gid)
        file.write(text)
        file.flush()
        os.fsync(descriptor)


def _check(aside, now):
    """The new file is read as the daemons would read it."""
    found = config.values(["--file", aside])
    wrong = [name for name in now if found.get(name) != now[name]]
    if wrong:
        raise Failure(f"the value of {wrong[0]} cannot be written to a file")


def _sync_folder(path):
    descriptor = os.open(os.path.dirname(path) or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path):
    try:
        os.unlink(path)
    except OSError:
        pass
