"""CONFIG SET, and OBJECT about marks, answer as redis-server does."""

import re
import unittest

from compare import PROTOCOLS, CompareCase, start_sides, stop_sides

AS_IT_WAS = [("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction", "maxmemory-samples", "5", "lfu-log-factor", "10", "lfu-decay-time", "1")]
SHOW = [("CONFIG", "GET", "maxmemory"), ("CONFIG", "GET", "maxmemory-policy"), ("CONFIG", "GET", "maxmemory-samples"),
        ("CONFIG", "GET", "lfu-log-factor"), ("CONFIG", "GET", "lfu-decay-time")]


def setUpModule():
    start_sides()


def tearDownModule():
    stop_sides()


class Configuration(CompareCase):
    def test_config_set(self):
        for words in (("maxmemory", "10mb"), ("MaxMemory", "0"), ("maxmemory", "abc"), ("maxmemory", "-1"), ("maxmemory-policy", "nothing"),
                      ("maxmemory-policy", "allkeys-lru", "maxmemory-samples", "7"), ("maxmemory-samples", "0"), ("maxmemory-samples", "x"),
                      ("maxmemory-samples", "6000000000"), ("maxmemory", "1", "maxmemory"), ("nosuch", "1"), ("no\r\nsuch", "1"),
                      ("maxmemory", "10mb", "maxmemory", "2"), ("databases", "3"), ("lfu-decay-time", "-1"), ("lfu-log-factor", "5"),
                      ("lfu-decay-time", "0", "lfu-log-factor", "10"), ("maxmemory",), ("maxmemory-samples", "9", "maxmemory-policy", "bad"),
                      ("maxmemory", "10mb", "nosuch", "x"), ("maxmemory-policy", "VOLATILE-TTL"), ("lfu-decay-time", "1"), ()):
            with self.subTest(words=words):
                self.same(*AS_IT_WAS, ("CONFIG", "SET", *words), *SHOW)
        self.same(*AS_IT_WAS)

    def test_options_of_the_server(self):
        as_it_was = ("CONFIG", "SET", "timeout", "0", "tcp-keepalive", "300", "maxclients", "10000", "loglevel", "notice", "proto-max-bulk-len", "1mb", "protected-mode", "yes")
        show = [("CONFIG", "GET", name) for name in as_it_was[2::2]]
        for words in (("timeout", "100"), ("timeout", "-1"), ("timeout", "99999999999"), ("timeout", "x"), ("TimeOut", "5", "tcp-keepalive", "0"), ("tcp-keepalive", "x"),
                      ("tcp-keepalive", "-5"), ("maxclients", "200"), ("maxclients", "x"), ("maxclients", "200", "timeout", "x"), ("maxclients", "200", "databases", "3"),
                      ("loglevel", "debug"), ("loglevel", "WARNING"), ("loglevel", "x"), ("proto-max-bulk-len", "2mb"), ("proto-max-bulk-len", "3000000"),
                      ("proto-max-bulk-len", "x"), ("protected-mode", "no"), ("protected-mode", "YES"), ("protected-mode", "x"), ("timeout", "7", "loglevel", "x", "maxclients", "5"),
                      ("tcp-backlog", "5"), ("unixsocketperm", "700"), ("databases", "5", "timeout", "3"), ("timeout", "3", "timeout", "4")):
            with self.subTest(words=words):
                self.same(as_it_was, ("CONFIG", "SET", *words), *show)
        self.same(as_it_was, *show)

    def test_more_clients_than_files(self):
        self.same(("CONFIG", "SET", "maxclients", "900000"), "CONFIG GET maxclients", mask=lambda reply: re.sub(rb"try with \d+", b"try with N", reply))

    def test_what_goes_to_disk(self):
        self.same(("CONFIG", "SET", "save", ""), ("CONFIG", "SET", "appendonly", "no"), ("CONFIG", "SET", "appendonly", "No", "save", "", "timeout", "0"), "CONFIG GET save",
                  "CONFIG GET appendonly", ("CONFIG", "SET", "save", "900 1", "appendonly", "x"), "CONFIG GET save", ("CONFIG", "SET", "save", "900 1 60 10000"), "CONFIG GET save",
                  ("CONFIG", "SET", "save", ""), "CONFIG GET save")

    def test_password(self):
        for protocol in PROTOCOLS:  # the last step lets everybody in again
            self.same(("CONFIG", "SET", "requirepass", "secret"), "CONFIG GET requirepass", "GET k", ("AUTH", "x"), ("AUTH", "secret"), "RESET", "GET k", ("AUTH", "default", "secret"),
                      ("CONFIG", "SET", "requirepass", "with \" and \\ and ' and # in it"), "GET k", "CONFIG GET requirepass", ("AUTH", "secret"),
                      ("AUTH", "with \" and \\ and ' and # in it"), ("CONFIG", "SET", "requirepass", ""), ("AUTH", "secret"), "RESET", "GET k", protocols=(protocol,))

    def test_all_of_a_config_set_or_none(self):
        self.same(*AS_IT_WAS, ("CONFIG", "SET", "maxmemory", "5mb", "maxmemory-samples", "3"), ("CONFIG", "SET", "maxmemory", "6mb", "maxmemory-samples", "0"), *SHOW)
        self.same(*AS_IT_WAS)

    def test_object_freq_and_idletime(self):
        for policy in ("allkeys-lru", "volatile-lru", "allkeys-lfu", "volatile-lfu"):
            self.same(("CONFIG", "SET", "maxmemory-policy", policy), "SET k v", "OBJECT FREQ none", "object idletime none", "OBJECT IDLETIME k")
        for policy in ("allkeys-random", "volatile-ttl", "noeviction"):
            self.same(("CONFIG", "SET", "maxmemory-policy", policy), "SET k v", "OBJECT FREQ k", "OBJECT IDLETIME none")
        self.each_same("OBJECT", "OBJECT FREQ", "OBJECT FREQ a b", "OBJECT nosuch k", "OBJECT IDLETIME none")
        self.same(*AS_IT_WAS)


if __name__ == "__main__":
    unittest.main()
