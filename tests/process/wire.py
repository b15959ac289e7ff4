"""A client that sends bytes as they are and hands back each reply as the bytes that came.

`Wire` never repairs, decodes or retries anything, so two servers can be compared byte for byte. `encode` makes a
request, `decode` turns the bytes of one reply into Python values for the tests that look at its shape.
"""

import select
import socket
import time

RECEIVE_BYTES = 1 << 18
AGGREGATES = {b"*": 1, b"~": 1, b">": 1, b"%": 2, b"|": 2}
LENGTHS = (b"$", b"=", b"!")


class WireClosed(Exception):
    """The server closed the connection; `received` is what came before that and was not a whole reply."""

    def __init__(self, received=b""):
        super().__init__("the server closed the connection after %r" % received[-200:])
        self.received = received


class WireTimeout(Exception):
    """The server did not say what was asked for in time."""


def as_bytes(argument):
    return argument if isinstance(argument, bytes) else str(argument).encode()


def encode(*arguments):
    """One request as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(arguments)]
    for argument in map(as_bytes, arguments):
        parts.append(b"$%d\r\n%s\r\n" % (len(argument), argument))
    return b"".join(parts)


def end_of_reply(data, start=0):
    """The offset behind the reply that begins at `start`, or None while it is not complete."""
    remaining = 1
    while remaining:
        remaining -= 1
        line_end = data.find(b"\r\n", start)
        if line_end < 0:
            return None
        kind, number = bytes(data[start:start + 1]), data[start + 1:line_end]
        start = line_end + 2
        if kind in LENGTHS:
            start += int(number) + 2 if int(number) >= 0 else 0
            if start > len(data):
                return None
        elif kind in AGGREGATES:
            remaining += max(int(number), 0) * AGGREGATES[kind]
            remaining += 1 if kind == b"|" else 0
    return start


class Error(str):
    """An error reply's text, so that a test can tell it from a string."""


def decode(reply):
    """One reply's bytes as Python values: bytes, str (status), int, float, bool, None, list, dict, Error."""
    value, _ = _decode_at(reply, 0)
    return value


def _decode_at(data, start):
    line_end = data.index(b"\r\n", start)
    kind, text, after = data[start:start + 1], data[start + 1:line_end], line_end + 2
    if kind in LENGTHS:
        return _decode_bulk(kind, data, int(text), after)
    if kind in AGGREGATES:
        return _decode_aggregate(kind, data, int(text), after)
    scalars = {b"+": lambda: text.decode(), b"-": lambda: Error(text.decode("latin-1")), b":": lambda: int(text),
               b",": lambda: float(text), b"#": lambda: text == b"t", b"_": lambda: None, b"(": lambda: int(text)}
    return scalars[kind](), after


def _decode_bulk(kind, data, length, after):
    if length < 0:
        return None, after
    body = data[after:after + length]
    return (body[4:] if kind == b"=" else body), after + length + 2


def _decode_aggregate(kind, data, count, after):
    if count < 0:
        return None, after
    items = []
    for _ in range(count * AGGREGATES[kind]):
        item, after = _decode_at(data, after)
        items.append(item)
    if kind == b"%":
        return dict(zip(items[::2], items[1::2])), after
    return items, after


class Wire:
    """One connection to a (host, port) pair or to a Unix socket's path."""

    def __init__(self, address, timeout=20, receive_buffer=None):
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.timeout = timeout
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        try:
            self.socket.connect(address if isinstance(address, tuple) else str(address))
        except OSError:
            self.socket.close()
            raise
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.socket.close()

    def send(self, data):
        """Sends all of it; a connection that the server has closed is noticed by the next read."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            pass

    def reply(self):
        """The bytes of the next reply."""
        deadline = time.monotonic() + self.timeout
        while True:
            end = self._whole_reply()
            if end is not None:
                reply = bytes(self.buffer[:end])
                del self.buffer[:end]
                return reply
            if not self._receive(deadline):
                raise WireClosed(self.taken())

    def replies(self, count):
        return [self.reply() for _ in range(count)]

    def command(self, *arguments):
        self.send(encode(*arguments))
        return self.reply()

    def exchange(self, pieces, count):
        """Sends the pieces one by one while it reads, so that neither side's buffers can stop the other; then `count`
        replies."""
        deadline = time.monotonic() + self.timeout
        for piece in pieces:
            self._send_while_reading(memoryview(piece), deadline)
        return self._replies_until(count, deadline)

    def until_closed(self):
        """What comes until the server closes the connection; WireTimeout when it stays open."""
        deadline = time.monotonic() + self.timeout
        while self._receive(deadline):
            pass
        return self.taken()

    def until_closed_or(self, ending):
        """(what came, whether the server closed): reads until the bytes end with `ending` or the connection ends."""
        deadline = time.monotonic() + self.timeout
        while not self.buffer.endswith(ending):
            if not self._receive(deadline):
                return self.taken(), True
        return self.taken(), False

    def up_to(self, count):
        """(what came, whether the server closed): reads until there are that many bytes or the connection ends."""
        deadline = time.monotonic() + self.timeout
        while len(self.buffer) < count:
            if not self._receive(deadline):
                return self.taken(), True
        return self.taken(), False

    def silent(self, seconds):
        """True when nothing arrives and the connection stays open for that long."""
        return not self.buffer and not select.select([self.socket], [], [], seconds)[0]

    def taken(self):
        """What has been received and not yet handed out."""
        taken = bytes(self.buffer)
        self.buffer.clear()
        return taken

    def _whole_reply(self):
        """Big bulk strings arrive in many pieces: the first line tells how much to wait for before looking again."""
        if not self.buffer:
            return None
        if self.buffer[:1] == b"$":
            line_end = self.buffer.find(b"\r\n")
            if line_end < 0 or len(self.buffer) < line_end + 2 + max(0, int(self.buffer[1:line_end])):
                return None
        return end_of_reply(self.buffer)

    def _receive(self, deadline):
        """True when bytes came, False when the server closed."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise WireTimeout("no more than %r (%d bytes) came in %g s" % (
                bytes(self.buffer[-200:]), len(self.buffer), self.timeout))
        if not select.select([self.socket], [], [], left)[0]:
            return self._receive(deadline)
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def _send_while_reading(self, data, deadline):
        self.socket.setblocking(False)
        try:
            while data:
                data = data[self._send_some_or_read(data, deadline):]
        finally:
            self.socket.settimeout(self.timeout)

    def _send_some_or_read(self, data, deadline):
        left = max(0.0, deadline - time.monotonic())
        readable, writable, _ = select.select([self.socket], [self.socket], [], left)
        if not readable and not writable:
            raise WireTimeout("the server took no more bytes within %g s" % self.timeout)
        if readable and not self._receive(deadline):
            return len(data)
        try:
            return self.socket.send(data) if writable else 0
        except BlockingIOError:
            return 0
        except (BrokenPipeError, ConnectionResetError):
            return len(data)

    def _replies_until(self, count, deadline):
        replies, start = [], 0
        while len(replies) < count:
            end = end_of_reply(self.buffer, start)
            if end is not None:
                replies.append(bytes(self.buffer[start:end]))
                start = end
            elif not self._receive(deadline):
                raise WireClosed(self.taken()[start:])
        del self.buffer[:start]
        return replies
