"""Clients that count and check every reply, for tests in which processes die: what breaks, breaks for a reason that is known.

Each connection has a counter of its own in the store and increments it in pipelines, with reads between. Every reply must be the next
number. A connection that breaks is made again: its counter then says how much of what had no reply was executed, and never less than
what was answered.
"""

import os
import selectors
import socket
import threading
import time

from wire import encode

DEPTH = 8
RECONNECT_S = 15


class Wrong(AssertionError):
    """A reply that is not the one that was due."""


class _Client:
    def __init__(self, name):
        self.name = name
        self.socket = None
        self.acknowledged = 0   # the counter as of the last reply
        self.sent = 0           # as it will be when all that was sent is executed
        self.expected = []      # replies that are due
        self.received = b""

    @property
    def port(self):
        """The client's own, by which the server's process can be found (server_of)."""
        return self.socket.getsockname()[1]


class CountingLoad:
    """Runs in a thread of its own between start() and end().

    breaks   [(client name, its port)] of connections that the server has closed
    """

    def __init__(self, address, connections=20, think_s=0.0):
        self.address = address
        self.clients = [_Client("count%d" % i) for i in range(connections)]
        self.think_s = think_s
        self.breaks = []
        self.replies = 0
        self._stop = threading.Event()
        self._error = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self):
        for client in self.clients:
            self._connect(client)
        self._thread.start()
        return self

    def __exit__(self, *unused):
        self._stop.set()
        self._thread.join()
        for client in self.clients:
            client.socket.close()

    def check(self):
        """Raises what went wrong."""
        if self._error is not None:
            raise self._error

    def end(self):
        """Stops, and looks that each counter is what it must be. Gives the number of replies."""
        self._stop.set()
        self._thread.join()
        self.check()
        for client in self.clients:
            answered = client.acknowledged
            self._settle(client)
            if client.acknowledged != answered:
                raise Wrong("%s is %d, and all %d increments were answered" % (client.name, client.acknowledged, answered))
        return self.replies

    def ports(self):
        """{port: client name} of the present connections."""
        return {client.port: client.name for client in self.clients}

    # --- inside -----------------------------------------------------------------------------------------------------

    def _connect(self, client):
        client.socket = socket.create_connection(self.address, timeout=RECONNECT_S)
        client.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.expected, client.received = [], b""

    def _settle(self, client):
        """Asks on a connection of its own how far the counter is."""
        with socket.create_connection(self.address, timeout=RECONNECT_S) as link:
            link.sendall(encode("INCRBY", client.name, "0"))
            reply = b""
            while not reply.endswith(b"\r\n"):
                piece = link.recv(1000)
                if not piece:
                    raise ConnectionResetError("closed instead of an answer about %s" % client.name)
                reply += piece
        value = int(reply[1:])
        if not client.acknowledged <= value <= client.sent:
            raise Wrong("%s is %d, and %d increments were answered of %d sent" % (client.name, value, client.acknowledged, client.sent))
        client.acknowledged = client.sent = value

    def _send(self, client):
        words = []
        for _ in range(DEPTH):
            client.sent += 1
            words.append(encode("INCR", client.name))
            client.expected.append(b":%d\r\n" % client.sent)
            words.append(encode("GET", client.name))
            client.expected.append(b"$%d\r\n%d\r\n" % (len(str(client.sent)), client.sent))
        client.socket.sendall(b"".join(words))

    def _receive(self, client):
        piece = client.socket.recv(65536)
        if not piece:
            raise ConnectionResetError
        client.received += piece
        while client.expected and len(client.received) >= len(client.expected[0]):
            due = client.expected[0]
            if not client.received.startswith(due):
                raise Wrong("%s: %r instead of %r" % (client.name, client.received[:200], due))
            client.expected.pop(0)
            client.received = client.received[len(due):]
            self.replies += 1
            if due.startswith(b":"):
                client.acknowledged = int(due[1:])
        if not client.expected and client.received:
            raise Wrong("%s: %r that nobody asked for" % (client.name, client.received[:200]))

    def _mend(self, client):
        self.breaks.append((client.name, client.port))
        until = time.monotonic() + RECONNECT_S
        while True:
            client.socket.close()
            try:
                self._connect(client)
                self._settle(client)        # the broken one's requests are executed or gone: ask, then go on
                return
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)

    def _run(self):
        try:
            with selectors.DefaultSelector() as selector:
                for client in self.clients:
                    self._begin(selector, client)
                while any(client.expected for client in self.clients):
                    ready = selector.select(RECONNECT_S + 5)
                    if not ready:
                        raise Wrong("no reply for %d s" % (RECONNECT_S + 5))
                    for key, _ in ready:
                        self._turn(selector, key.data)
        except Exception as error:      # noqa: BLE001 (told by check())
            self._error = error

    def _begin(self, selector, client):
        selector.register(client.socket, selectors.EVENT_READ, client)
        if not self._stop.is_set():
            self._send(client)

    def _turn(self, selector, client):
        try:
            self._receive(client)
            if not client.expected and not self._stop.is_set():
                if self.think_s:
                    self._stop.wait(self.think_s / len(self.clients))
                self._send(client)
        except (ConnectionError, TimeoutError):
            selector.unregister(client.socket)
            self._mend(client)
            self._begin(selector, client)


def server_of(port, client_port, pids):
    """Which of these processes has the server's end of the connection from 127.0.0.1:client_port; None if it is gone."""
    wanted = "0100007F:%04X 0100007F:%04X" % (port, client_port)
    with open("/proc/net/tcp", encoding="ascii") as table:
        inode = next((line.split()[9] for line in table if wanted in line), None)
    for pid in pids if inode not in (None, "0") else []:
        try:
            for name in os.listdir("/proc/%d/fd" % pid):
                if os.readlink("/proc/%d/fd/%s" % (pid, name)) == "socket:[%s]" % inode:
                    return pid
        except OSError:
            continue
    return None
