"""MULTI, EXEC, DISCARD, WATCH and UNWATCH, as redis-server answers them; and that a transaction is one step."""

import os
import signal
import threading
import unittest

from compare import CompareCase, start_sides, stop_sides
from h_takeover_test import md_pids
from harness import FreshInstanceCase, needs_millrace, wait_for
from wire import encode


def setUpModule():
    start_sides()


def tearDownModule():
    stop_sides()


class Transactions(CompareCase):
    def test_queue_and_exec(self):
        self.same("MULTI", "SET a 1", "INCR a", "GET a", "GET none", "EXEC", "GET a")
        self.same("MULTI", "EXEC", "MULTI", "DISCARD", "EXEC", "DISCARD", "MULTI", "MULTI", "SET a 1", "EXEC", "GET a")

    def test_errors_inside_do_not_undo_the_rest(self):
        self.same("SET s text", "MULTI", "INCR s", "SET b 1", "INCRBY b x", "GETRANGE s 0 x", "EXEC", "GET b")

    def test_errors_while_queueing_refuse_it(self):
        for bad in ("GET", "nonsense a", "SET a", "OBJECT nosuch a", "EXEC x"):
            self.same("MULTI", "SET a 1", bad, "SET b 2", "EXEC", "EXISTS a b", "EXEC")
        self.same("MULTI", "SET a 1", "WATCH a", "EXEC", "GET a")
        self.same("MULTI", "SET a 1", "GET", "DISCARD", "MULTI", "GET a", "EXEC")

    def test_each_command_sees_those_before(self):
        self.same("SET a 1", "MULTI", "APPEND a 2", "STRLEN a", "APPEND a 3", "GET a", "DEL a", "GET a", "EXISTS a", "SET a x", "APPEND a y", "GETDEL a", "SETNX a z", "EXEC", "GET a")
        self.same("SET a v PXAT 33177117420000", "MULTI", "PERSIST a", "TTL a", "EXPIREAT a 33177117420", "EXPIRETIME a", "APPEND a w", "PEXPIRETIME a", "RENAME a b",
                  "PEXPIRETIME b", "COPY b c", "GET c", "EXEC", "EXISTS a b c", "PEXPIRETIME c")
        self.same("MULTI", "SETBIT a 7 1", "SETBIT a 9 1", "BITCOUNT a", "BITFIELD a SET u8 0 255", "GET a", "SETRANGE a 1 xyz", "EXEC", "GET a")
        self.same("MULTI", "INCR n", "INCR n", "INCRBYFLOAT n 0.5", "MSET a 1 b 2 a 3", "MGET a b n", "MSETNX c 1 a 2", "EXEC", "MGET a b c n")

    def test_a_value_set_into_the_past_is_gone_for_those_behind(self):
        self.same("MULTI", "SET a v PXAT 1", "GET a", "EXISTS a", "DEL a", "SET a w EXAT 1", "STRLEN a", "APPEND a x", "SET b v PXAT 1", "RENAME b c", "EXEC", "GET a", "TTL a",
                  "EXISTS b c")

    def test_databases_inside(self):
        self.same("MULTI", "SET a zero", "SELECT 3", "SET a three", "DBSIZE", "MOVE a 4", "SELECT 99", "DBSIZE", "EXEC", "DBSIZE", "SELECT 4", "GET a", "SELECT 0", "GET a")

    def test_flush_inside(self):
        self.same("MSET a 1 b 2 c 3", "MULTI", "SET d 4", "DBSIZE", "FLUSHDB", "DBSIZE", "GET a", "SET a new", "DBSIZE", "EXEC", "DBSIZE", "GET a", "GET b")
        self.same("SET a 1", "SELECT 2", "SET b 1", "MULTI", "FLUSHALL", "SET c 1", "EXEC", "DBSIZE", "SELECT 0", "DBSIZE")

    def test_keys_and_what_io_conn_answers_inside(self):
        self.same("MSET a 1 b 2", "MULTI", "PING", "SET c 3", "ECHO hello", "DEL a", "DEL b", "KEYS *", "DBSIZE", "CLIENT GETNAME", "CONFIG GET maxclients", "TYPE c", "EXEC")

    def test_watch(self):
        self.same("WATCH a", "MULTI", "SET a 1", "EXEC", "GET a")
        self.same("WATCH a", "SET a 1", "MULTI", "SET a 2", "EXEC", "GET a", "MULTI", "SET a 3", "EXEC", "GET a")
        self.same("SET a 1", "WATCH a b", "SET b 1", "UNWATCH", "MULTI", "SET a 2", "EXEC", "GET a")
        self.same("SET a 1", "WATCH a", "DEL a", "MULTI", "PING", "EXEC")
        self.same("SET a 1", "WATCH a", "EXPIREAT a 33177117420", "MULTI", "PING", "EXEC")
        self.same("SET a 1", "WATCH a", "SET a 2", "DISCARD", "MULTI", "DISCARD", "MULTI", "GET a", "EXEC")
        self.same("WATCH a", "SELECT 1", "SET a 1", "MULTI", "PING", "EXEC")
        self.same("SET a 1", "WATCH a", "FLUSHALL", "MULTI", "PING", "EXEC", "UNWATCH", "WATCH", "WATCH a", "RESET", "MULTI", "RESET", "EXEC")

    def test_a_database_selected_inside_stays_unless_it_is_not_executed(self):
        self.same("WATCH a", "SET a 1", "MULTI", "SELECT 3", "SET b 1", "EXEC", "SET where here", "SELECT 0", "GET where")
        self.same("WATCH a", "MULTI", "SELECT 3", "SET b 1", "EXEC", "SET where here", "SELECT 0", "GET where", "SELECT 3", "GET where")

    def test_options_inside(self):
        for count in (0, 1, 10, 17, 300):
            self.same("MULTI", "CONFIG SET maxmemory-samples 7", *["SET k%d v" % number for number in range(count)], "EXEC", "CONFIG GET maxmemory-samples",
                      "CONFIG SET maxmemory-samples 5", protocols=(2,))
        self.same(("CONFIG", "SET", "x" * 16_000, "1"), "PING")

    def test_flushing_again_and_again(self):
        self.same("MSET a 1 b 2", "MULTI", *["FLUSHALL", "SET a 1", "DBSIZE"] * 30, "EXEC", "DBSIZE", protocols=(2,))

    def test_all_in_one_pipeline(self):
        steps = [encode("SET", "a", "1"), encode("WATCH", "a", "b", "a"), encode("GET", "a"), encode("MULTI"), encode("INCR", "a"), encode("GET", "a"), encode("EXEC"),
                 encode("GET", "a"), encode("WATCH", "a"), encode("SET", "a", "7"), encode("MULTI"), encode("SET", "a", "8"), encode("EXEC"), encode("GET", "a")]
        import compare
        for server in (compare.sides.oracle, *compare.sides.subjects.values()):
            with server.wire() as wire:
                wire.command("FLUSHALL")
                wire.send(b"".join(steps))
                self.assertEqual(b"".join(wire.replies(len(steps))), b"+OK\r\n+OK\r\n$1\r\n1\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n:2\r\n$1\r\n2\r\n$1\r\n2\r\n"
                                 b"+OK\r\n+OK\r\n+OK\r\n+QUEUED\r\n*-1\r\n$1\r\n7\r\n")

    def test_large_ones(self):
        value = "v" * 300_000
        self.same("MULTI", ("SET", "a", value), "GET a", ("APPEND", "a", "x"), "STRLEN a", "SETRANGE a 5 yy", "GET a", "GETSET a short", "GET a", "EXEC", "GET a")
        self.same("MULTI", *[("SET", "k%d" % number, "v" * 200) for number in range(500)], *["GET k%d" % number for number in range(500)], "EXEC", "DBSIZE", protocols=(2,))


@needs_millrace
class OneStep(FreshInstanceCase):
    def test_nobody_sees_half_of_one_and_none_is_lost_or_done_twice_when_md_dies(self):
        instance = self.start(io=2)
        ended, seen, done = threading.Event(), [], []

        def read():
            with instance.wire() as wire:
                while not ended.is_set():
                    one, other = wire.command("MGET", "one", "other").split(b"\r\n")[2::2][:2]
                    if one != other:
                        seen.append((one, other))

        def write():
            with instance.wire() as wire:
                count = 0
                while not ended.is_set():
                    wire.send(encode("MULTI") + encode("INCR", "one") + encode("SET", "noise", "x" * (count % 500)) + encode("INCR", "other") + encode("INCR", "all") + encode("EXEC"))
                    wire.replies(6)
                    count += 1
                done.append(count)

        with instance.wire() as wire:
            wire.command("MSET", "one", "0", "other", "0", "all", "0")
        threads = [threading.Thread(target=read) for _ in range(2)] + [threading.Thread(target=write) for _ in range(3)]
        for thread in threads:
            thread.start()
        for number in range(5):
            serving, _ = wait_for(lambda: md_pids(instance), 20, "md and its standby before kill %d" % number)
            os.kill(serving, signal.SIGKILL)
        wait_for(lambda: md_pids(instance), 20, "md and its standby")
        ended.set()
        for thread in threads:
            thread.join()
        self.assertEqual(seen, [])
        with instance.wire() as wire:
            self.assertEqual(wire.command("GET", "all").split(b"\r\n")[1], b"%d" % sum(done))
        self.assertGreater(sum(done), 100)
        self.assertEqual(instance.control("check").returncode, 0)

    def test_a_refused_exec_leaves_the_connection_as_it_was(self):
        instance = self.start(io=1)
        with instance.wire() as wire:
            wire.command("SET", "filler", "x")
            wire.command("CONFIG", "SET", "maxmemory", "1")
            wire.send(encode("MULTI") + encode("SELECT", "3") + encode("CLIENT", "SETNAME", "me") + encode("SET", "z", "1") + encode("EXEC") + encode("CLIENT", "GETNAME"))
            replies = wire.replies(6)
            self.assertTrue(replies[4].startswith(b"-EXECABORT Transaction discarded because of: OOM"), replies)
            self.assertEqual(replies[5], b"$-1\r\n")
            wire.command("CONFIG", "SET", "maxmemory", "0")
            wire.command("SET", "where", "here")
            self.assertEqual(wire.command("SELECT", "0") + wire.command("GET", "where"), b"+OK\r\n$4\r\nhere\r\n")

    def test_increments_under_watch_are_all_there(self):
        instance = self.start(io=2)
        total = []

        def work():
            with instance.wire() as wire:
                aborted = 0
                for _ in range(100):
                    while True:
                        wire.command("WATCH", "n")
                        value = wire.command("GET", "n")
                        now = int(value.split(b"\r\n")[1]) if value != b"$-1\r\n" else 0
                        wire.send(encode("MULTI") + encode("SET", "n", now + 1) + encode("EXEC"))
                        if wire.replies(3)[2] != b"*-1\r\n":
                            break
                        aborted += 1
                total.append(aborted)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with instance.wire() as wire:
            self.assertEqual(wire.command("GET", "n"), b"$3\r\n400\r\n")
        self.assertGreater(sum(total), 0)


if __name__ == "__main__":
    unittest.main()
