"""log/supervisor.log: one line an event, `time event=... key=value ...`; in the foreground also on the terminal."""

import json
import re
import sys
import time
import traceback

_PLAIN = re.compile(r"[\w./:+@%,-]+\Z")


def _field(value):
    """A value as it stands in a line: bare when it is one word, quoted as JSON otherwise (so a line stays a line)."""
    text = str(value)
    return text if _PLAIN.match(text) else json.dumps(text, ensure_ascii=False)


def _now():
    """UTC with milliseconds."""
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


class EventLog:
    """Writes events. The file is opened for every line, so it can be rotated by renaming it.

    A full disk must not end the supervisor: a line that cannot be written is dropped.
    """

    def __init__(self, path, terminal=None):
        self._path = path
        self.terminal = terminal

    def event(self, name, **fields):
        """Writes one line."""
        words = [_now(), f"event={name}"] + [f"{key}={_field(value)}" for key, value in fields.items()]
        line = " ".join(words) + "\n"
        self._append(line)
        if self.terminal is not None:
            try:
                self.terminal.write(line)
                self.terminal.flush()
            except (OSError, ValueError):
                self.terminal = None    # the terminal has gone; the file goes on

    def exception(self, where, error):
        """Puts an unexpected exception with its traceback into the file (never on the terminal)."""
        self._append(f"{_now()} event=internal_error where={_field(where)} what={_field(repr(error))}\n"
                     + "".join(traceback.format_exception(error)))

    def _append(self, text):
        try:
            with open(self._path, "a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(text)
        except OSError:
            pass


def say(text, stream=None):
    """Prints a line for the user. A closed or vanished terminal is not an error."""
    target = sys.stdout if stream is None else stream
    if target is None:
        return
    try:
        print(text, file=target, flush=True)
    except (OSError, ValueError):
        pass
