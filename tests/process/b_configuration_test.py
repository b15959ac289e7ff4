"""CONFIG SET, and OBJECT about marks, answer as redis-server does."""

import unittest

from compare import CompareCase, start_sides, stop_sides

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
