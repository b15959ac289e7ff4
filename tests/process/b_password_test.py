"""requirepass and protected mode: what a client may do before it has said who it is, as redis-server has it."""

import os
import signal
import socket
import struct
import unittest

import compare
from compare import CompareCase, start_sides, stop_sides
from harness import FreshInstanceCase, needs_millrace
from wire import Wire, encode

PASSWORD = "s3cret-word"


def setUpModule():
    start_sides(io_counts=(2,), requirepass=PASSWORD)


def tearDownModule():
    stop_sides()


class Password(CompareCase):
    def test_before_it_nothing_else_works(self):
        self.same("GET k", "SET k v", "PING", "INFO", "CONFIG GET *", "CLIENT ID", "nonsense", "GET", "MGET a b", ("AUTH", "wrong"), "GET k",
                  ("AUTH", PASSWORD), "GET k", "PING", protocols=(2,), prepare=False)

    def test_auth_with_a_name(self):
        self.same(("AUTH", "default", "wrong"), ("AUTH", "somebody", PASSWORD), ("AUTH", "default", PASSWORD, "more"), ("AUTH", PASSWORD + "x"), ("AUTH", ""),
                  ("AUTH", PASSWORD[:-1]), "GET k", ("AUTH", "default", PASSWORD), "GET k", protocols=(2,), prepare=False)

    def test_a_wrong_one_does_not_undo_a_right_one(self):
        self.same(("AUTH", PASSWORD), ("AUTH", "wrong"), "GET k", "RESET", "GET k", protocols=(2,), prepare=False)

    def test_hello(self):
        self.same("HELLO 3", "HELLO 2", ("HELLO", "3", "AUTH", "default", "wrong"), "GET k", "HELLO 9", "QUIT", protocols=(2,), prepare=False)
        self.same(("HELLO", "3", "AUTH", "default", PASSWORD, "SETNAME", "me"), "CLIENT GETNAME", "GET k", protocols=(2,), prepare=False, mask=lambda reply: reply[:3])

    def test_what_strangers_send_is_short(self):
        many = encode("SET", *["x"] * 11)
        self.same(many, protocols=(2,), prepare=False)
        self.same(encode("AUTH", "x" * 16_385), protocols=(2,), prepare=False)
        self.same(encode("AUTH", "x" * 16_384), "PING", protocols=(2,), prepare=False)
        self.same(encode("EXISTS", *["x"] * 9), "PING", protocols=(2,), prepare=False)

    def test_pipelined_behind_auth(self):
        with self.subject_wire() as wire:
            wire.send(encode("GET", "k") + encode("AUTH", PASSWORD) + encode("SET", "k", "v") + encode("GET", "k") + encode("MGET", "k", "k"))
            self.assertEqual(wire.replies(5), [b"-NOAUTH Authentication required.\r\n", b"+OK\r\n", b"+OK\r\n", b"$1\r\nv\r\n", b"*2\r\n$1\r\nv\r\n$1\r\nv\r\n"])

    def subject_wire(self):
        return next(iter(compare.sides.subjects.values())).wire()


@needs_millrace
class Protected(FreshInstanceCase):
    def own_address(self):
        """An address of this host that is not of the loopback interface; None without one."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect(("192.0.2.1", 9))
                address = probe.getsockname()[0]
            except OSError:
                return None
        return None if address.startswith("127.") else address

    def test_nor_is_what_a_peer_has_sent_that_is_gone_already(self):
        address = self.own_address()
        if address is None:
            self.skipTest("this host has no other address than that of the loopback interface")
        instance = self.start(io=1, bind="0.0.0.0")
        pid = instance.pids("io_conn")[0]
        os.kill(pid, signal.SIGSTOP)        # so that it meets connections that have been reset
        for _ in range(20):
            with socket.socket() as peer:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                peer.connect((address, instance.port))
                peer.sendall(encode("INCR", "evil"))
        os.kill(pid, signal.SIGCONT)
        with instance.wire() as wire:
            for _ in range(20):
                self.assertEqual(wire.command("EXISTS", "evil"), b":0\r\n")

    def test_other_hosts_are_refused_without_a_password(self):
        address = self.own_address()
        if address is None:
            self.skipTest("this host has no other address than that of the loopback interface")
        for settings, denied in (({}, True), ({"protected_mode": "no"}, False), ({"requirepass": "x"}, False)):
            with self.subTest(settings=settings):
                instance = self.start(io=1, bind="0.0.0.0", **settings)
                with Wire((address, instance.port)) as wire:
                    reply = wire.command("PING")
                    self.assertEqual(reply.startswith(b"-DENIED millrace is in protected mode"), denied, reply)


if __name__ == "__main__":
    unittest.main()
