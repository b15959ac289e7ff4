"""CLIENT: what connections are told about each other, and what one can do to others, over all io_conn."""

import os
import signal
import threading
import time
import unittest

from compare import CompareCase, start_sides, stop_sides
from counting_load import server_of
from harness import FreshInstanceCase, all_up, needs_millrace, wait_for
from wire import WireClosed, encode


def setUpModule():
    start_sides(io_counts=(1, 3))


def tearDownModule():
    stop_sides()


class AsRedisAnswers(CompareCase):
    def test_bad_words(self):
        self.each_same("CLIENT KILL", "CLIENT KILL 1.2.3.4:5", "CLIENT KILL ID x", "CLIENT KILL ID 0", "CLIENT KILL ID 999999", "CLIENT KILL TYPE foo",
                       "CLIENT KILL TYPE normal SKIPME x", "CLIENT KILL ADDR", "CLIENT KILL foo bar", "CLIENT KILL USER nobody", "CLIENT KILL LADDR 1:2 ID 5",
                       "CLIENT KILL ID 1 ID", "CLIENT KILL TYPE pubsub", "CLIENT KILL TYPE normal ADDR 1:2", "CLIENT PAUSE x", "CLIENT PAUSE -1",
                       "CLIENT PAUSE 0 foo", "CLIENT PAUSE 5 ALL x", "CLIENT PAUSE 1.5", "CLIENT PAUSE", "CLIENT UNPAUSE", "CLIENT UNPAUSE x", "CLIENT REPLY foo",
                       "CLIENT REPLY", "CLIENT REPLY ON x", "CLIENT NO-EVICT foo", "CLIENT NO-EVICT on", "CLIENT NO-EVICT OFF", "CLIENT GETREDIR", "CLIENT UNBLOCK 5",
                       "CLIENT UNBLOCK 5 foo", "CLIENT UNBLOCK x", "CLIENT UNBLOCK 5 error", "CLIENT UNBLOCK 5 ERROR x", "CLIENT LIST TYPE", "CLIENT INFO x",
                       "CLIENT", "CLIENT nonsense")

    def test_reply(self):
        self.same("SET a 1", encode("CLIENT", "REPLY", "SKIP") + encode("SET", "a", "2") + encode("GET", "a"),
                  encode("CLIENT", "REPLY", "OFF") + encode("SET", "a", "3") + encode("GET", "a") + encode("nonsense") + encode("PING") + encode("CLIENT", "REPLY", "ON"),
                  "GET a", encode("CLIENT", "REPLY", "SKIP") + encode("CLIENT", "ID") + encode("PING"),
                  encode("CLIENT", "REPLY", "SKIP") + encode("nonsense") + encode("PING"),
                  encode("CLIENT", "REPLY", "SKIP") * 2 + encode("PING") + encode("GET", "a"),
                  encode("CLIENT", "REPLY", "OFF") + encode("CLIENT", "REPLY", "SKIP") + encode("PING") + encode("CLIENT", "REPLY", "ON"),
                  encode("CLIENT", "REPLY", "SKIP") + encode("CLIENT", "REPLY", "ON"), "GET a",
                  ("SET", "big", "x" * 300_000), encode("CLIENT", "REPLY", "SKIP") + encode("GET", "big") + encode("STRLEN", "big"),
                  encode("CLIENT", "REPLY", "SKIP") + encode("MGET", "a", "big") + encode("GET", "a"),
                  encode("CLIENT", "REPLY", "SKIP") + encode("MULTI") + encode("GET", "a"), "EXEC", "PING",
                  encode("CLIENT", "REPLY", "SKIP") + encode("CLIENT", "REPLY", "foo") + encode("PING"), encode("CLIENT", "REPLY", "SKIP") + encode("CLIENT", "REPLY") + encode("PING"))

    def test_reply_in_a_pipeline_of_writes(self):
        many = b"".join(encode("INCR", "n") for _ in range(500))
        self.same(encode("CLIENT", "REPLY", "OFF") + many + encode("CLIENT", "REPLY", "ON"), "GET n",
                  b"".join(encode("CLIENT", "REPLY", "SKIP") + encode("INCR", "n") for _ in range(100)) + encode("GET", "n"))


@needs_millrace
class Clients(FreshInstanceCase):
    def setUp(self):
        self.instance = self.start(io=4)
        wait_for(lambda: all_up(self.instance), 20, "the group")
        self.wires = [self.instance.wire() for _ in range(16)]
        for wire in self.wires:
            self.addCleanup(wire.close)
        self.ids = [int(wire.command("CLIENT", "ID")[1:]) for wire in self.wires]
        self.killer = self.instance.wire()
        self.addCleanup(self.killer.close)

    def assert_closed(self, *wires):
        for wire in wires:
            with self.assertRaises(WireClosed):
                wire.reply()

    def lines(self, wire=None):
        text = (wire or self.killer).command("CLIENT", "LIST").decode()
        return {int(line.split()[0][3:]): dict(word.split("=", 1) for word in line.split()) for line in text.splitlines() if line.startswith("id=")}

    def test_kill_closes_connections_of_all_io_conn(self):
        self.assertEqual(sorted(set(self.instance.counters("io_conn", "connected_clients"))) != [0], True)
        self.assertEqual(self.killer.command("CLIENT", "KILL", "ID", str(self.ids[0])), b":1\r\n")
        self.assertNotIn(self.ids[0], self.lines())
        self.assert_closed(self.wires[0])
        self.assertEqual(self.killer.command("CLIENT", "KILL", "ID", str(self.ids[0])), b":0\r\n")
        self.assertEqual(self.killer.command("CLIENT", "KILL", "%s:%d" % self.wires[1].socket.getsockname()), b"+OK\r\n")
        self.assert_closed(self.wires[1])
        self.assertEqual(self.killer.command("CLIENT", "KILL", "TYPE", "normal"), b":14\r\n")
        self.assert_closed(*self.wires[2:])
        self.assertEqual(len(self.lines()), 1)
        self.assertEqual(self.killer.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no"), b":1\r\n")
        self.assert_closed(self.killer)

    def test_many_are_killed_at_once(self):
        more = [self.instance.wire() for _ in range(900)]
        for wire in more:
            self.addCleanup(wire.close)
            wire.send(encode("PING"))
        for wire in more:       # some may still wait to be accepted
            self.assertEqual(wire.reply(), b"+PONG\r\n")
        self.assertEqual(self.killer.command("CLIENT", "KILL", "TYPE", "normal"), b":%d\r\n" % (len(more) + len(self.wires)))
        self.assert_closed(*self.wires, *more)
        self.assertEqual(self.killer.command("PING"), b"+PONG\r\n")

    def test_two_kill_each_others(self):
        """Crossing orders: all of them are carried out."""
        killers = [self.instance.wire() for _ in range(4)]
        for wire in killers:
            self.addCleanup(wire.close)
        for wire, victims in zip(killers, (self.ids[:4], self.ids[4:8], self.ids[8:12], self.ids[12:])):
            wire.send(b"".join(encode("CLIENT", "KILL", "ID", str(victim)) for victim in victims))
        for wire in killers:
            self.assertEqual(wire.replies(4), [b":1\r\n"] * 4)
        self.assert_closed(*self.wires)

    def test_a_stopped_io_conn_holds_nobody_up_for_long(self):
        victim = max(self.instance.processes("io_conn"), key=lambda process: process["index"])["pid"]
        os.kill(victim, signal.SIGSTOP)
        try:
            answers = []
            for client in self.ids[:6]:
                wire = self.instance.wire()
                self.addCleanup(wire.close)
                began = time.monotonic()
                wire.send(encode("CLIENT", "KILL", "ID", str(client)))
                if not wire.silent(2.5):  # otherwise it is the stopped one's
                    answers.append(time.monotonic() - began)
            self.assertTrue(answers)
            self.assertLess(max(answers), 2.5)
        finally:
            os.kill(victim, signal.SIGCONT)
        # What was ordered is carried out once it goes on.
        wire = self.instance.wire()
        self.addCleanup(wire.close)
        wait_for(lambda: not set(self.ids[:6]) & set(self.lines(wire)), 10, "the ordered ends of connections")

    def closed_after(self, wires):
        """Reads what the wires still get, to their ends. Gives the seconds that this took."""
        began = time.monotonic()
        for wire in wires:
            with self.assertRaises(WireClosed):
                while True:
                    wire.reply()
        return time.monotonic() - began

    def by_io_conn(self):
        """{pid: wires} of those whose io_conn is not the killer's."""
        port, pids = self.instance.port, self.instance.pids("io_conn")
        places = {}
        for _ in range(16):
            wire = self.instance.wire()
            self.addCleanup(wire.close)
            wire.command("PING")
            places.setdefault(server_of(port, wire.socket.getsockname()[1], pids), []).append(wire)
        places.pop(server_of(port, self.killer.socket.getsockname()[1], pids), None)
        return places

    def end_what_md_has_to_do(self, end):
        """end(pid, its wires) while md has much of theirs to do: none of it is done after their clients have seen their ends."""
        self.assertEqual(self.killer.command("SET", "some", "x" * 400_000), b"+OK\r\n")
        places = self.by_io_conn()
        victim, *others = places
        for wire in places[victim]:
            wire.send((encode("BITCOUNT", "some") + encode("SET", "late", "old")) * 100)
        time.sleep(0.02)
        end(victim, places[victim])
        self.closed_after(places[victim])
        self.assertEqual(places[others[0]][0].command("SET", "late", "new"), b"+OK\r\n")
        time.sleep(1.0)
        self.assertEqual(places[others[0]][0].command("GET", "late"), b"$3\r\nnew\r\n")

    def test_nothing_of_a_killed_client_is_executed_after_its_end(self):
        def end(_, wires):
            for wire in wires:
                address = "%s:%d" % wire.socket.getsockname()
                self.assertEqual(self.killer.command("CLIENT", "KILL", address), b"+OK\r\n")
        self.end_what_md_has_to_do(end)

    def test_nothing_of_a_killed_io_conn_is_executed_after_its_end(self):
        for _ in range(3):
            self.end_what_md_has_to_do(lambda pid, _: os.kill(pid, signal.SIGKILL))
            wait_for(lambda: all_up(self.instance), 20, "the io_conn's successor")

    def test_a_killed_client_does_not_wait_long_for_an_md_that_does_not_answer(self):
        serving = self.instance.pids("md")[0]
        os.kill(serving, signal.SIGSTOP)
        try:
            self.wires[0].send(encode("SET", "a", "1"))
            wait_for(lambda: self.lines()[self.ids[0]]["cmd"] == "set", 5, "the request to be read")
            self.assertEqual(self.killer.command("CLIENT", "KILL", "ID", str(self.ids[0])), b":1\r\n")
            self.assertLess(self.closed_after(self.wires[:1]), 2.5)
        finally:
            os.kill(serving, signal.SIGCONT)

    def test_an_io_conn_that_was_restarted_takes_part(self):
        victim = self.instance.processes("io_conn")[1]["pid"]
        self.killer.command("CLIENT", "KILL", "ID", str(self.ids[0]))
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: victim not in self.instance.pids("io_conn") and all_up(self.instance), 20, "the io_conn's successor")
        fresh = [self.instance.wire() for _ in range(12)]
        for wire in fresh:
            self.addCleanup(wire.close)
        ids = [int(wire.command("CLIENT", "ID")[1:]) for wire in fresh]
        killer = self.instance.wire()
        self.addCleanup(killer.close)
        for client in ids:
            self.assertEqual(killer.command("CLIENT", "KILL", "ID", str(client)), b":1\r\n")
        self.assert_closed(*fresh)

    def test_pause_of_writes(self):
        reader, writer = self.wires[:2]
        self.assertEqual(self.killer.command("CLIENT", "PAUSE", "60000", "WRITE"), b"+OK\r\n")
        writer.send(encode("SET", "a", "1") + encode("GET", "a"))
        self.wires[2].send(encode("MULTI") + encode("INCR", "n"))
        self.wires[3].send(encode("MULTI") + encode("GET", "n") + encode("EXEC"))
        self.assertEqual(self.wires[3].replies(3), [b"+OK\r\n", b"+QUEUED\r\n", b"*1\r\n$-1\r\n"])
        self.assertEqual(self.wires[2].reply(), b"+OK\r\n")
        self.assertTrue(writer.silent(0.1))
        self.assertEqual(reader.command("GET", "a"), b"$-1\r\n")
        self.assertEqual(reader.command("PING"), b"+PONG\r\n")
        self.assertEqual(self.killer.command("CLIENT", "UNPAUSE"), b"+OK\r\n")
        self.assertEqual(writer.replies(2), [b"+OK\r\n", b"$1\r\n1\r\n"])
        self.assertEqual(self.wires[2].reply(), b"+QUEUED\r\n")
        self.assertEqual(self.wires[2].command("EXEC"), b"*1\r\n:1\r\n")

    def test_pause_ends_by_itself_and_is_not_made_shorter(self):
        self.killer.command("CLIENT", "PAUSE", "600", "WRITE")
        began = time.monotonic()
        self.killer.command("CLIENT", "PAUSE", "10", "ALL")
        self.assertEqual(self.wires[0].command("GET", "a"), b"$-1\r\n")
        self.assertGreater(time.monotonic() - began, 0.5)

    def test_pause_holds_what_comes_after_it_in_a_pipeline(self):
        wire = self.wires[0]
        for mode in ("WRITE", "ALL"):
            began = time.monotonic()
            wire.send(encode("GET", "a") + encode("CLIENT", "PAUSE", "400", mode) + encode("SET", "a", "1") + encode("GET", "a"))
            self.assertEqual(wire.replies(4)[1:], [b"+OK\r\n", b"+OK\r\n", b"$1\r\n1\r\n"])
            self.assertGreater(time.monotonic() - began, 0.35)

    def test_who_waits_in_a_pause_is_not_idle(self):
        self.killer.command("CONFIG", "SET", "timeout", "1")
        self.killer.command("CLIENT", "PAUSE", "2500", "WRITE")
        self.wires[0].send(encode("SET", "a", "1"))
        self.assertEqual(self.wires[0].reply(), b"+OK\r\n")

    def test_kill_in_a_transaction_is_done_if_the_transaction_is(self):
        for aborts in (True, False):
            one, victim = self.wires[0], self.wires[1]
            one.command("WATCH", "w")
            if aborts:
                self.killer.command("INCR", "w")
            one.command("MULTI"), one.command("CLIENT", "KILL", "ID", str(self.ids[1])), one.command("CLIENT", "NO-EVICT", "ON"), one.command("SET", "a", "1")
            self.assertEqual(one.command("EXEC"), b"*-1\r\n" if aborts else b"*3\r\n:1\r\n+OK\r\n+OK\r\n")
            self.assertEqual(self.lines()[self.ids[0]]["flags"], "N" if aborts else "e")
            if aborts:
                self.assertEqual(victim.command("PING"), b"+PONG\r\n")
            else:
                self.assert_closed(victim)
        self.wires[2].command("MULTI"), self.wires[2].command("CLIENT", "KILL", "ID", str(self.ids[2]), "SKIPME", "no")
        self.assertEqual(self.wires[2].command("EXEC"), b"*1\r\n:1\r\n")
        self.assert_closed(self.wires[2])

    def test_pause_outlives_md(self):
        self.killer.command("CLIENT", "PAUSE", "60000", "WRITE")
        wait_for(lambda: all_up(self.instance), 20, "the standby")
        os.kill(self.instance.pids("md")[0], signal.SIGKILL)
        self.wires[0].send(encode("SET", "a", "1"))
        self.assertTrue(self.wires[0].silent(0.3))
        self.assertEqual(self.killer.command("CLIENT", "UNPAUSE"), b"+OK\r\n")
        self.assertEqual(self.wires[0].reply(), b"+OK\r\n")

    def test_nothing_is_written_after_the_answer_to_pause(self):
        """What other io_conn have handed to md before is executed before the answer, and nothing after it."""
        stop = threading.Event()

        def write(wire, words):
            try:
                while not stop.is_set():
                    wire.send(words)
                    wire.replies(50)
            except (OSError, AssertionError):
                stop.set()
                raise

        self.killer.command("SETRANGE", "slow", "4000000", "x")     # so that much waits in the rings
        writers = [self.instance.wire() for _ in range(12)]
        slow = encode("BITCOUNT", "slow") + encode("INCR", "n")
        large = encode("SETRANGE", "large", "0", "x" * 900_000) + encode("INCR", "n")
        threads = [threading.Thread(target=write, args=(wire, large * 25 if i == 0 else slow * 25)) for i, wire in enumerate(writers)]
        for thread in threads:
            thread.start()
        try:
            numbers = []
            for turn in range(30):
                if turn % 2:
                    self.assertEqual(self.killer.command("CLIENT", "PAUSE", "10000", "WRITE"), b"+OK\r\n")
                else:
                    self.killer.send(encode("MULTI") + encode("CLIENT", "PAUSE", "10000", "WRITE") + encode("EXEC"))
                    self.assertEqual(self.killer.replies(3)[-1], b"*1\r\n+OK\r\n")
                first = self.killer.command("GET", "n")
                time.sleep(0.02)
                self.assertEqual(self.killer.command("GET", "n"), first)
                numbers.append(first)
                self.assertEqual(self.killer.command("CLIENT", "UNPAUSE"), b"+OK\r\n")
                wait_for(lambda: self.killer.command("GET", "n") != first, 10, "writes to go on")
            self.assertGreater(len(set(numbers)), 25)
        finally:
            stop.set()
            self.killer.command("CLIENT", "UNPAUSE")
            for thread in threads:
                thread.join()
            for wire in writers:
                wire.close()

    def test_pause_does_not_wait_long_for_a_stopped_io_conn(self):
        os.kill(self.instance.pids("io_conn")[0], signal.SIGSTOP)
        try:
            for wire in self.wires[:8]:
                began = time.monotonic()
                wire.send(encode("CLIENT", "PAUSE", "60000", "WRITE"))
                if not wire.silent(2.5):  # otherwise it is the stopped one's
                    break
            else:
                self.fail("eight clients of one io_conn")
            self.assertEqual(wire.reply(), b"+OK\r\n")
            self.assertGreater(time.monotonic() - began, 0.9)
        finally:
            os.kill(self.instance.pids("io_conn")[0], signal.SIGCONT)
        wait_for(lambda: self.wires[9].command("CLIENT", "UNPAUSE") == b"+OK\r\n", 10, "the end of the pause")

    def test_nothing_expires_in_a_pause(self):
        self.killer.command("SET", "a", "1", "PX", "50")
        self.killer.command("CLIENT", "PAUSE", "60000", "WRITE")
        time.sleep(0.3)  # several rounds of expiry
        self.assertEqual(self.killer.command("GET", "a"), b"$-1\r\n")
        self.assertEqual(self.killer.command("DBSIZE"), b":1\r\n")
        self.killer.command("CLIENT", "UNPAUSE")
        wait_for(lambda: self.killer.command("DBSIZE") == b":0\r\n", 10, "expiry after the pause")

    def test_list_and_info(self):
        one, other = self.wires[:2]
        one.command("CLIENT", "SETNAME", "me")
        one.command("CLIENT", "SETINFO", "LIB-NAME", "library")
        one.command("CLIENT", "SETINFO", "LIB-VER", "1.2.3")
        one.command("CLIENT", "NO-EVICT", "ON")
        one.command("MULTI"), one.command("GET", "a"), one.command("GET", "b")
        row = self.lines(other)[self.ids[0]]
        self.assertEqual((row["name"], row["lib-name"], row["lib-ver"], row["flags"], row["multi"]), ("me", "library", "1.2.3", "xe", "2"))
        one.command("DISCARD")
        info = dict(word.split("=", 1) for word in one.command("CLIENT", "INFO").decode().split("\r\n")[1].split())
        self.assertEqual((info["id"], info["cmd"], info["multi"], info["addr"]), (str(self.ids[0]), "client|info", "-1", "%s:%d" % one.socket.getsockname()))
        for words in (("LIB-NAME", "a b"), ("LIB-VER", "\n"), ("other", "x")):
            self.assertTrue(one.command("CLIENT", "SETINFO", *words).startswith(b"-ERR "))
        one.command("RESET")
        self.assertEqual(self.lines(other)[self.ids[0]]["flags"], "e")


@needs_millrace
class NoTouch(FreshInstanceCase):
    def test_reads_of_such_a_client_leave_no_mark(self):
        self.instance = self.start(maxmemory_policy="allkeys-lru", maxmemory="100mb")
        with self.instance.wire() as quiet, self.instance.wire() as wire:
            wire.command("SET", "a", "1")
            quiet.command("CLIENT", "NO-TOUCH", "ON")
            wait_for(lambda: wire.command("OBJECT", "IDLETIME", "a") not in (b":0\r\n", b":1\r\n"), 10, "two seconds of idle time")
            quiet.command("GET", "a"), quiet.command("GETEX", "a"), quiet.command("MULTI"), quiet.command("GET", "a"), quiet.command("EXEC")
            self.assertNotIn(wire.command("OBJECT", "IDLETIME", "a"), (b":0\r\n", b":1\r\n"))
            quiet.command("CLIENT", "NO-TOUCH", "OFF")
            quiet.command("GET", "a")
            self.assertEqual(wire.command("OBJECT", "IDLETIME", "a"), b":0\r\n")


if __name__ == "__main__":
    unittest.main()
