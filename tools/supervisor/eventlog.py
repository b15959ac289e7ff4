"""log/supervisor.log: one line an event, `time event=... key=value ...`; in the foreground also on the terminal."""

import json
import os
import re
import sys
import time
import traceback

from .limits import PROGRESS_S

_PLAIN = re.compile(r"[\w./:+@%,-]+\Z")


def _field(value):
    """A value as it stands in a line: bare when it is one word, quoted as JSON otherwise (so a line stays a line)."""
    text = str(value)
    return text if _PLAIN.match(text) else json.dumps(text, ensure_ascii=False)


def _now():
    """UTC with milliseconds."""
    seconds = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + f".{int(seconds * 1000) % 1000:03d}Z"


def _line(name, fields):
    words = [_now(), f"event={name}"] + [f"{key}={_field(value)}" for key, value in fields.items()]
    return " ".join(words) + "\n"


class InPlace:
    """The last line of a terminal, written over again and again. On anything else nothing is shown."""

    def __init__(self, stream):
        self._stream = stream
        self._is_shown = False

    def show(self, text):
        """Gives whether there is a terminal."""
        try:
            if self._stream is None or not self._stream.isatty():
                return False
            width = os.get_terminal_size(self._stream.fileno()).columns or 80
            self._stream.write("\r" + text[:width - 1] + "\x1b[K")
            self._stream.flush()
        except (OSError, ValueError):
            return False
        self._is_shown = True
        return True

    def clear(self):
        """Makes room for an ordinary line."""
        if self._is_shown:
            self._is_shown = False
            try:
                self._stream.write("\r\x1b[K")
                self._stream.flush()
            except (OSError, ValueError):
                pass        # the terminal has gone, which the next line will notice


class EventLog:
    """Writes events. The file is opened for every line, so it can be rotated by renaming it.

    terminal     shows every line, too
    progress_on  a stream that shows nothing but progress(), if it is a terminal

    A full disk must not end the supervisor: a line that cannot be written is dropped.
    """

    def __init__(self, path, terminal=None, progress_on=None):
        self._path = path
        self.terminal = terminal
        self._in_place = InPlace(terminal if progress_on is None else progress_on)
        self._progress = (None, 0.0)        # what was told last, and when the next line about it is due

    def event(self, name, **fields):
        """Writes one line."""
        line = _line(name, fields)
        self._append(line)
        self._show(line)

    def end_progress(self):
        """What took long is over."""
        self._in_place.clear()

    def progress(self, what, how_far):
        """Tells how far something has come that takes long: in place on a terminal, elsewhere by an event every PROGRESS_S."""
        on_terminal = self._in_place.show(f"millrace: {what} {how_far} ...")
        told, due = self._progress
        if what != told or time.monotonic() >= due:
            self._progress = (what, time.monotonic() + PROGRESS_S)
            line = _line(what, {"how_far": how_far} if how_far else {})
            self._append(line)
            if not on_terminal:
                self._show(line)

    def _show(self, line):
        if self.terminal is None:
            return
        try:
            self._in_place.clear()
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
