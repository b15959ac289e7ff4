"""systemd's service protocol (sd_notify(3), sd_listen_fds(3)): what the service manager hears, and the sockets that it keeps.

Without a service manager every call does nothing. The variables are taken out of the environment, so that no daemon speaks in our place.
"""

import os
import socket

FIRST_DESCRIPTOR = 3        # SD_LISTEN_FDS_START
STATUS_BYTES_MAX = 1000


def _number(name):
    text = os.environ.pop(name, "")
    return int(text) if text.isascii() and text.isdigit() else 0


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
        listen_pid, self._given = _number("LISTEN_PID"), _number("LISTEN_FDS")
        os.environ.pop("LISTEN_FDNAMES", None)
        if listen_pid != os.getpid():
            self._given = 0
        self._status = None

    def take_sockets(self):
        """The listening sockets that were kept over a restart of the service; once."""
        sockets = []
        for descriptor in range(FIRST_DESCRIPTOR, FIRST_DESCRIPTOR + self._given):
            os.set_inheritable(descriptor, False)
            try:
                made = socket.socket(fileno=descriptor)
                made.setblocking(False)
                sockets.append(made)
            except OSError:
                pass        # something else than a socket
        self._given = 0
        return sockets

    def ready(self, sockets):
        """Clients are served. These sockets are kept for the next start, in the place of those that were kept before."""
        self._send("READY=1")
        self._send("FDSTOREREMOVE=1\nFDNAME=listen")
        for each in sockets:
            self._send("FDSTORE=1\nFDNAME=listen\nFDPOLL=0", [each.fileno()])

    def stopping(self):
        """The end has begun."""
        self._send("STOPPING=1")

    def status(self, text):
        """One line for `systemctl status`; the same one again is not sent."""
        if text != self._status:
            self._status = text
            self._send("STATUS=" + text.replace("\n", " ")[:STATUS_BYTES_MAX])

    def alive(self):
        """The answer to the watchdog."""
        self._send("WATCHDOG=1")

    def _send(self, text, descriptors=()):
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
                link.connect(self._address)
                socket.send_fds(link, [text.encode("utf-8", "replace")], list(descriptors), socket.MSG_DONTWAIT)
        except OSError:
            pass            # a service manager that does not listen is no reason to do anything else
