"""A forwarding proxy between two servers, which cuts, blocks and stops at will: what a network does on a bad day."""

import socket
import threading
import time


class CuttingProxy:
    """Listens on a port of its own and forwards to `address`."""

    def __init__(self, address):
        self.address = address
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.lock = threading.Lock()
        self.pairs = set()
        self.blocked = False
        self.stalled = None     # "up" or "down": what goes that way waits
        self.closed = False
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self):
        """Ends all connections at once, in the middle of whatever they carry."""
        with self.lock:
            pairs, self.pairs = self.pairs, set()
        for pair in pairs:
            for each in pair:
                try:
                    each.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass

    def block(self):
        """Cuts, and lets nobody through until unblock()."""
        self.blocked = True
        self.cut()

    def unblock(self):
        self.blocked = False

    def close(self):
        self.closed = True
        self.listener.close()
        self.cut()

    def _accept(self):
        while not self.closed:
            try:
                client = self.listener.accept()[0]
            except OSError:
                return
            if self.blocked:
                client.close()
                continue
            try:
                server = socket.create_connection(self.address)
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self.lock:
                self.pairs.add(pair)
            for source, target, way in ((client, server, "up"), (server, client, "down")):
                threading.Thread(target=self._forward, args=(source, target, way), daemon=True).start()

    def _forward(self, source, target, way):
        try:
            while data := source.recv(65536):
                while self.stalled == way and not self.closed:
                    time.sleep(0.01)
                target.sendall(data)
        except OSError:
            pass
        for each in (source, target):
            try:
                each.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
