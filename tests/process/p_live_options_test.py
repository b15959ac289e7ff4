"""What CONFIG SET changes while the group runs: every process acts on it, and it outlives each of them."""

import os
import signal
import socket
import time
import unittest

from harness import FreshInstanceCase, needs_millrace, wait_for
from wire import WireClosed, Wire

PASSWORD = 'a "quoted\\ pass#word\' of %s' % ("x" * 400)
NOAUTH = b"-NOAUTH Authentication required.\r\n"
MIB = 1024 * 1024


@needs_millrace
class LiveOptions(FreshInstanceCase):
    def set(self, instance, *words, password=None):
        with instance.wire() as wire:
            if password is not None:
                self.assertEqual(wire.command("AUTH", password), b"+OK\r\n")
            self.assertEqual(wire.command("CONFIG", "SET", *words), b"+OK\r\n")

    def everywhere(self, instance, *command, count=8):
        """The replies to a command on as many fresh connections, which all io_conn share."""
        wires = [self.connect(instance) for _ in range(count)]
        return {wire.command(*command) for wire in wires}

    def kill(self, instance, role):
        pids = instance.pids(role)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not set(pids) & set(instance.pids()) and instance.status()["state"] == "running", 20, "new processes for " + role)
        instance.remember()

    def test_a_password_outlives_every_process(self):
        instance = self.start(io=2)
        before = self.connect(instance)
        before.command("SET", "k", "v")
        self.set(instance, "requirepass", PASSWORD)
        self.assertEqual(before.command("GET", "k"), b"$1\r\nv\r\n")  # who was let in stays in
        self.assertEqual(self.everywhere(instance, "GET", "k"), {NOAUTH})
        self.assertEqual(self.everywhere(instance, "AUTH", PASSWORD[:-1])
                         , {b"-WRONGPASS invalid username-password pair or user is disabled.\r\n"})
        self.kill(instance, "md")
        self.kill(instance, "md_standby")
        self.assertEqual(self.everywhere(instance, "AUTH", PASSWORD), {b"+OK\r\n"})
        self.kill(instance, "io_conn")
        self.assertEqual(self.everywhere(instance, "GET", "k"), {NOAUTH})
        self.assertEqual(instance.control("restart").returncode, 0)
        instance.remember()
        self.assertEqual(self.everywhere(instance, "GET", "k"), {NOAUTH})
        self.set(instance, "requirepass", "", password=PASSWORD)
        self.assertEqual(self.everywhere(instance, "GET", "k"), {b"$1\r\nv\r\n"})

    def test_a_stranger_is_none_when_the_password_has_gone(self):
        instance = self.start(io=2, requirepass="x")
        stranger = self.connect(instance)
        self.assertEqual(stranger.command("GET", "k"), NOAUTH)
        self.set(instance, "requirepass", "", password="x")
        self.assertEqual(stranger.command("GET", "k"), b"$-1\r\n")

    def test_passwords_that_cannot_be_kept(self):
        instance = self.start(io=1)
        wire = self.connect(instance)
        for password in ("x" * 513, "a\nb", "\x7f"):
            self.assertEqual(wire.command("CONFIG", "SET", "timeout", "5", "requirepass", password),
                             b"-ERR CONFIG SET failed (possibly related to argument 'requirepass') - argument must be a password of up to 512 bytes without control characters\r\n")
        self.assertEqual(wire.command("CONFIG", "GET", "timeout"), b"*2\r\n$7\r\ntimeout\r\n$1\r\n0\r\n")

    def test_timeout(self):
        instance = self.start(io=2)
        idle = [self.connect(instance) for _ in range(4)]
        for wire in idle:
            wire.command("PING")
        self.set(instance, "timeout", "1")
        began = time.monotonic()
        for wire in idle:
            self.assertEqual(wire.until_closed(), b"")
        self.assertLess(time.monotonic() - began, 5)

    def test_maxclients_goes_up_and_down(self):
        instance = self.start(io=2, maxclients=3)
        self.set(instance, "maxclients", "40")
        wires = [self.connect(instance) for _ in range(30)]
        self.assertEqual({wire.command("PING") for wire in wires}, {b"+PONG\r\n"})
        wires[0].command("CONFIG", "SET", "maxclients", "10")
        self.assertEqual(self.connect(instance).until_closed(), b"-ERR max number of clients reached\r\n")
        self.assertEqual({wire.command("PING") for wire in wires}, {b"+PONG\r\n"})

    def test_proto_max_bulk_len(self):
        instance = self.start(io=2)
        big = "x" * (3 * MIB // 2)
        with self.assertRaises(WireClosed):
            wire = self.connect(instance)
            wire.command("SET", "k", big)
            wire.command("PING")
        self.set(instance, "proto-max-bulk-len", "2mb")
        self.assertEqual(self.everywhere(instance, "SET", "k", big), {b"+OK\r\n"})
        self.assertEqual(self.everywhere(instance, "SETRANGE", "k", str(2 * MIB), "x"), {b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"})
        self.set(instance, "proto-max-bulk-len", "1mb")
        self.assertEqual(self.everywhere(instance, "APPEND", "k", "x"), {b"-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"})

    def test_assembly_memory(self):
        instance = self.start(io=1, proto_max_bulk_len="16mb")
        big = "x" * (6 * MIB)
        self.set(instance, "assembly-memory", "4mb")
        wire = self.connect(instance)
        self.assertIn(b"assembly-memory", wire.command("SET", "k", big))
        self.set(instance, "assembly-memory", "1gb")
        self.assertEqual(self.connect(instance).command("SET", "k", big), b"+OK\r\n")

    def test_md_hang_timeout(self):
        instance = self.start(io=1, md_hang_timeout=60)
        self.set(instance, "md-hang-timeout", "1")
        pid = instance.pids("md")[0]
        wire = self.connect(instance)
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        self.assertEqual(wire.command("SET", "k", "v"), b"+OK\r\n")
        self.assertLess(time.monotonic() - began, 10)
        wait_for(lambda: instance.status()["state"] == "running", 20, "a new standby")
        instance.remember()

    def test_loglevel(self):
        instance = self.start(io=1)
        log = instance.folder / "log" / "md-0.log"
        self.set(instance, "loglevel", "verbose")
        self.kill(instance, "io_conn")
        wait_for(lambda: "attached" in log.read_text(), 5, "what md says at that level")

    def test_protected_mode(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
            except OSError:
                self.skipTest("this host has no other address than that of the loopback interface")
            address = probe.getsockname()[0]
        instance = self.start(io=2, bind="0.0.0.0")
        for value, denied in (("yes", True), ("no", False), ("yes", True)):
            self.set(instance, "protected-mode", value)
            for _ in range(4):
                with Wire((address, instance.port)) as wire:
                    self.assertEqual(wire.command("PING").startswith(b"-DENIED"), denied)


if __name__ == "__main__":
    unittest.main()
