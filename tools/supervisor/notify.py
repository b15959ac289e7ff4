"""systemd's service protocol (sd_notify(3), sd_listen_fds(3)): what the service manager hears, and the sockets that it keeps.

Without a service manager every call does nothing. The variables are taken out of the environment, so that no daemon speaks in our place.
"""

import os
import socket
import time

from .limits import EXTEND_S, NOTIFY_S

FIRST_DESCRIPTOR = 3        # SD_LISTEN_FDS_START
STATUS_BYTES_MAX = 1000


def _number(name):
    text = os.environ.pop(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0


def given_sockets():
    """The listening sockets that a service manager, or privileges.py, has left to this process."""
    listen_pid, count = _number("LISTEN_PID"), _number("LISTEN_FDS")
    os.environ.pop("LISTEN_FDNAMES", None)
    if listen_pid != os.getpid():
        return []               # they were meant for somebody else, and so are the descriptors
    sockets = []
    for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + count):
        try:
            os.set_inheritable(descriptor, False)
            made = socket.socket(fileno=descriptor)
        except OSError:
            continue            # it is closed, or something else than a socket
        if made.type == socket.SOCK_STREAM and made.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            made.setblocking(False)
            sockets.append(made)
        else:
            made.close()
    return sockets


class Notifier:
    """The line to the service manager.

    watchdog_s  it wants to hear from us at least once in so many seconds; 0: it does not
    """

    def __init__(self):
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        if self._address.startswith("@"):
            self._address = "\0" + self._address[1:]
        watched_pid = _number("WATCHDOG_PID")
        watchdog_s = _number("WATCHDOG_USEC") / 1e6
        self.watchdog_s = watchdog_s if self._address and watched_pid in (0, os.getpid()) else 0
        self._sockets = given_sockets()
        self._status = None
        self._extend_at = 0.0       # not before

    def take_sockets(self):
        """The listening sockets that were kept over a restart of the service; once."""
        sockets, self._sockets = self._sockets, []
        return sockets

    def ready(self):
        """Clients are served. This one message waits for room: without it the service would be taken for one that hangs."""
        self._send("READY=1", wait_s=NOTIFY_S)

    def keep(self, sockets):
        """These sockets are kept for the next start, in the place of those that were kept before, which else would go on listening."""
        self._send("FDSTOREREMOVE=1\nFDNAME=listen", wait_s=NOTIFY_S)
        for each in sockets:
            self._send("FDSTORE=1\nFDNAME=listen\nFDPOLL=0", [each.fileno()], NOTIFY_S)

    def stopping(self):
        """The end has begun."""
        self._send("STOPPING=1")

    def extend(self, seconds):
        """The start, or the stop, goes on: the time limits of the service count anew from now on."""
        if time.monotonic() >= self._extend_at:
            self._extend_at = time.monotonic() + EXTEND_S
            self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def status(self, text):
        """One line for `systemctl status`; the same one again is not sent."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + text.replace("\n", " ")[:STATUS_BYTES_MAX])

    def alive(self):
        """The answer to the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, text, descriptors=(), wait_s=0):
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.settimeout(wait_s)
                link.connect(self._address)
                socket.send_fds(link, [text.encode("utf-8", "replace")], list(descriptors))
        except OSError:
            pass            # a service manager that does not listen is no reason to do anything else
