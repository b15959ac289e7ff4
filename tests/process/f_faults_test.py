"""Slow readers, killed and stopped processes, too many and idle clients: each harms nobody but whom it has to."""

import os
import signal
import time
import unittest

from harness import PROGRAMS, FreshInstanceCase, all_up, is_alive, needs_millrace, wait_for
from wire import WireClosed, decode, encode

MEGABYTE = 1 << 20
SLOW_READERS = 20
# AddressSanitizer keeps freed memory in quarantine and pads every block.
MEMORY_BOUND = (300 if "/san-" in str(PROGRAMS) else 100) * MEGABYTE
OTHERS_SECONDS = 2


def anonymous_bytes(pid):
    """RssAnon: what only this process has; shared memory is counted by its folder."""
    for line in open("/proc/%d/status" % pid):
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


def memory_of(instance):
    status = instance.status()
    pids = [status["supervisor_pid"], *[process["pid"] for process in status["processes"]]]
    blocks = sum(path.stat().st_blocks for path in instance.shm_folder().iterdir())
    return sum(map(anonymous_bytes, pids)) + blocks * 512


def place_of(process):
    """Its program and index: the two md change their roles."""
    return process["role"].removesuffix("_standby"), process["index"]


def kill_and_wait(instance, process):
    """Ends one process by SIGKILL and waits for its successor in the same place, which is returned."""
    os.kill(process["pid"], signal.SIGKILL)

    def successor():
        for now in all_up(instance) or ():
            if place_of(now) == place_of(process) and now["pid"] != process["pid"]:
                return now
        return None

    found = wait_for(successor, 20, "%s %d to come back" % (process["role"], process["index"]))
    instance.remember()
    return found


class SlowReaders(FreshInstanceCase):
    def setUp(self):
        self.instance = self.start(io=2)
        self.other = self.connect(self.instance)
        self.other.command("SET", "big", os.urandom(MEGABYTE))
        self.other.command("GET", "big")

    def others_go_on(self):
        """A new connection and an old one get their answers promptly."""
        for wire in (self.other, self.connect(self.instance), self.connect(self.instance)):
            began = time.monotonic()
            self.assertEqual(wire.command("SET", "small", "v"), b"+OK\r\n")
            self.assertEqual(wire.command("GET", "small"), b"$1\r\nv\r\n")
            self.assertEqual(wire.command("STRLEN", "big"), b":%d\r\n" % MEGABYTE)
            self.assertLess(time.monotonic() - began, OTHERS_SECONDS)

    def never_read(self, request):
        """Connections that ask and do not read; returns them when the group has nothing more to do for them."""
        readers = [self.connect(self.instance, receive_buffer=4096) for _ in range(SLOW_READERS)]
        for reader in readers:
            reader.send(request)
        self.settled(self.written)
        return readers

    def written(self):
        return sum(self.instance.counters("io_conn", "output_bytes"))

    def settled(self, number):
        """Waits until a growing number has stood still for ten looks in a row."""
        seen = []

        def still():
            seen.append(number())
            time.sleep(0.05)
            return len(seen) > 10 and len(set(seen[-10:])) == 1

        wait_for(still, 60, "the output to slow readers to stop")

    def bounded(self, request, expected):
        before = memory_of(self.instance)
        readers = self.never_read(request)
        grown = memory_of(self.instance) - before
        self.others_go_on()
        self.assertLess(grown, MEMORY_BOUND, "%d MB more for %d slow readers" % (grown >> 20, SLOW_READERS))
        self.assertEqual(self.fed(readers[0], len(expected)), expected)
        for reader in readers:
            reader.close()
        wait_for(lambda: sum(self.instance.counters("io_conn", "connected_clients")) <= 6, 20, "the slow readers to be forgotten")
        self.others_go_on()
        wait_for(lambda: memory_of(self.instance) - before < MEMORY_BOUND // 4, 20, "the slow readers' memory to be given back")

    def fed(self, reader, count):
        """A slow reader that begins to read gets all that it asked for."""
        received, _ = reader.up_to(count)
        return received

    @needs_millrace
    def test_pipelined_gets(self):
        reply = self.other.command("GET", "big")
        self.bounded(encode("GET", "big") * 100, reply * 100)

    @needs_millrace
    def test_one_mget(self):
        reply = self.other.command("GET", "big")
        self.bounded(encode("MGET", *["big"] * 100), b"*100\r\n" + reply * 100)

    def test_value_is_the_one_at_the_time_of_the_command(self):
        """What a slow reader gets later is what was there when its command was executed."""
        old = self.other.command("GET", "big")
        reader = self.connect(self.instance, receive_buffer=4096)
        reader.send(encode("INCR", "started") + encode("MGET", *["big"] * 20))
        self.assertEqual(reader.reply(), b":1\r\n")
        wait_for(lambda: reader.socket.recv(1, 0x2), 10, "the reply to begin")  # MSG_PEEK
        for number in range(5):
            self.other.command("SET", "big", b"%d" % number * MEGABYTE)
        self.other.command("FLUSHALL")
        self.assertEqual(reader.reply(), b"*20\r\n" + old * 20)

    def test_slow_sender_of_a_large_value(self):
        senders = [self.connect(self.instance) for _ in range(SLOW_READERS)]
        for sender in senders:
            sender.send(b"*3\r\n$3\r\nSET\r\n$4\r\nlate\r\n$%d\r\n" % MEGABYTE + b"x" * 500000)
        self.others_go_on()
        self.assertEqual(self.other.command("EXISTS", "late"), b":0\r\n")
        for sender in senders:
            sender.send(b"x" * (MEGABYTE - 500000) + b"\r\n")
            self.assertEqual(sender.reply(), b"+OK\r\n")
        self.assertEqual(self.other.command("STRLEN", "late"), b":%d\r\n" % MEGABYTE)


@needs_millrace
class AssemblyMemory(FreshInstanceCase):
    """Requests that have arrived in part take memory that is counted, bounded and given back."""

    HALF = b"*3\r\n$3\r\nSET\r\n$4\r\nlate\r\n$%d\r\n" % MEGABYTE + b"x" * (MEGABYTE - 1000)
    REST = b"x" * 1000 + b"\r\n"

    def nothing_is_held(self, instance):
        return sum(instance.counters("md", "assembly_bytes")) == 0

    def test_is_given_back(self):
        instance = self.start(io=2)
        for sender in [self.connect(instance) for _ in range(4)]:
            sender.send(self.HALF + self.REST)
            self.assertEqual(sender.reply(), b"+OK\r\n")
        wait_for(lambda: self.nothing_is_held(instance), 5, "finished requests to hold no memory")
        wires = [self.connect(instance) for _ in range(4)]
        for wire in wires:
            wire.send(self.HALF)
            self.assertEqual(self.connect(instance).command("EXISTS", "late"), b":1\r\n")
            wire.close()
        wait_for(lambda: self.nothing_is_held(instance), 5, "requests whose clients have left to hold no memory")

    def test_is_bounded(self):
        """With room for 4 MB, 16 clients with a MB each cannot all be served: some get an error, and nobody else suffers."""
        instance = self.start(io=2, assembly_memory="4mb")
        senders, endings = [self.connect(instance) for _ in range(16)], []
        for sender in senders:
            sender.send(self.HALF)
        self.assertEqual(self.connect(instance).command("SET", "small", "v"), b"+OK\r\n")
        for sender in senders:
            sender.send(self.REST)
            answer, closed = sender.until_closed_or(b"\r\n")
            endings.append((answer[:1], closed))
        self.assertIn((b"-", False), endings, "nobody was refused: %r" % endings)
        self.assertIn((b"+", False), endings, "nobody was served: %r" % endings)
        for sender, (kind, _) in zip(senders, endings):
            if kind == b"-":
                self.assertEqual(sender.until_closed(), b"", "a refused client is closed")
        wait_for(lambda: self.nothing_is_held(instance), 5, "refused requests to hold no memory")
        self.assertEqual(self.connect(instance).command("SET", "big", b"x" * MEGABYTE), b"+OK\r\n")


@needs_millrace
class KilledIoConn(FreshInstanceCase):
    def test_others_live_on_and_it_comes_back(self):
        instance = self.start(io=2)
        wires = [self.connect(instance) for _ in range(20)]
        for wire in wires:
            self.assertEqual(wire.command("SET", "k", "v"), b"+OK\r\n")
        counts = instance.counters("io_conn", "connected_clients")
        self.assertEqual(sum(counts), 20)
        kill_and_wait(instance, instance.processes("io_conn")[0])
        self.assertEqual(sum(self.alive(wire) for wire in wires), counts[1])
        fresh = [self.connect(instance) for _ in range(20)]
        for wire in fresh:
            self.assertEqual(wire.command("GET", "k"), b"$1\r\nv\r\n")
        self.assertTrue(all(instance.counters("io_conn", "connected_clients")), "the new io_conn serves nobody")

    def alive(self, wire):
        try:
            return wire.command("GET", "k") == b"$1\r\nv\r\n"
        except WireClosed:
            return False

    def test_in_the_middle_of_large_requests_and_replies(self):
        instance = self.start(io=2)
        with instance.wire() as wire:
            wire.command("SET", "big", b"b" * MEGABYTE)
        for index in (0, 1, 0):
            busy = [self.connect(instance) for _ in range(8)]
            for number, wire in enumerate(busy):
                half = b"*3\r\n$3\r\nSET\r\n$4\r\nhalf\r\n$%d\r\n" % MEGABYTE + b"x" * 600000
                wire.send(half if number % 2 else encode("MGET", *["big"] * 50))
            kill_and_wait(instance, instance.processes("io_conn")[index])
            for wire in busy:
                wire.close()
            with instance.wire() as wire:
                self.assertEqual(wire.command("STRLEN", "big"), b":%d\r\n" % MEGABYTE)
                self.assertEqual(wire.command("EXISTS", "half"), b":0\r\n")
        wait_for(lambda: instance.counters("md", "assembly_bytes") == [0], 10, "the halves of dead connections to be dropped")

    def test_last_one(self):
        instance = self.start(io=1)
        wire = self.connect(instance)
        wire.command("SET", "k", "v")
        kill_and_wait(instance, instance.processes("io_conn")[0])
        self.assertEqual(wire.until_closed(), b"")
        self.assertEqual(self.connect(instance).command("GET", "k"), b"$1\r\nv\r\n")

    def test_restarts_are_counted(self):
        instance = self.start(io=2)
        kill_and_wait(instance, instance.processes("io_conn")[1])
        self.assertEqual([process["restarts"] for process in instance.processes("io_conn")], [0, 1])


@needs_millrace
class KilledMd(FreshInstanceCase):
    def test_idle_connections_and_data_live_on(self):
        instance = self.start(io=2)
        idle = [self.connect(instance) for _ in range(6)]
        for wire in idle:
            self.assertEqual(wire.command("SET", "k", "v"), b"+OK\r\n")
        idle[0].command("SELECT", "5")
        kill_and_wait(instance, instance.processes("md")[0])
        for wire in idle[1:]:
            self.assertEqual(wire.command("PING"), b"+PONG\r\n")
            self.assertEqual(wire.command("GET", "k"), b"$1\r\nv\r\n")
        self.assertEqual(idle[0].command("SET", "five", "v"), b"+OK\r\n")
        self.assertEqual(idle[1].command("GET", "five"), b"$-1\r\n", "the connection's database was forgotten")

    def test_connections_waiting_for_an_answer_get_it(self):
        instance = self.start(io=2)
        md = instance.processes("md")[0]
        idle, waiting = self.connect(instance), [self.connect(instance) for _ in range(6)]
        idle.command("GET", "k")
        large = self.connect(instance)
        for wire in waiting:
            self.assertEqual(wire.command("INCR", "n")[:1], b":")
        os.kill(md["pid"], signal.SIGSTOP)
        for wire in waiting:
            wire.send(encode("INCR", "n"))
        large.send(encode("APPEND", "large", b"x" * 900000))
        wait_for(lambda: sum(instance.counters("io_conn", "requests_sent")) - sum(instance.counters("io_conn", "replies_received")) >= 6,
                 10, "the requests to be handed to md")
        kill_and_wait(instance, md)
        self.assertEqual(sorted(wire.replies(1)[0] for wire in waiting), [b":%d\r\n" % n for n in (10, 11, 12, 7, 8, 9)])
        self.assertEqual(large.replies(1), [b":900000\r\n"])
        self.assertEqual(idle.command("GET", "n"), b"$2\r\n12\r\n")
        self.assertEqual(idle.command("STRLEN", "large"), b":900000\r\n")

    def test_a_large_request_whose_reply_is_being_read_is_not_executed_again(self):
        instance = self.start(io=1)
        wire = self.connect(instance)
        value = os.urandom(MEGABYTE)
        wire.command("SET", "k", value)
        wire.send(encode("SET", "k", value[::-1], "GET") * 8)
        wait_for(lambda: sum(instance.counters("io_conn", "replies_received")) >= 2, 10, "the first reply to be there")
        kill_and_wait(instance, instance.processes("md")[0])
        for number in range(8):
            expected = value if number == 0 else value[::-1]
            self.assertTrue(wire.reply() == b"$%d\r\n%s\r\n" % (MEGABYTE, expected), "reply %d is another" % number)
        self.assertEqual(wire.command("PING"), b"+PONG\r\n")

    def test_a_reply_that_is_being_read_comes_whole(self):
        instance = self.start(io=1)
        other, wire = self.connect(instance), self.connect(instance)
        value = os.urandom(MEGABYTE)
        for key in range(8):
            other.command("SET", "big%d" % key, value)
        wire.send(encode("MGET", *["big%d" % (n % 8) for n in range(64)]))
        wait_for(lambda: sum(instance.counters("io_conn", "replies_received")) >= 9, 10, "the reply to be there")
        for key in range(8):
            other.command("SET", "big%d" % key, "short")
        kill_and_wait(instance, instance.processes("md")[0])
        header = b"$%d\r\n" % MEGABYTE
        self.assertTrue(wire.replies(1)[0] == b"*64\r\n" + (header + value + b"\r\n") * 64, "the reply is another")
        self.assertEqual(other.command("GET", "big0"), b"$5\r\nshort\r\n")

    def test_again_and_again_under_load(self):
        instance = self.start(io=2)
        for round_number in range(5):
            loaded = [self.connect(instance) for _ in range(4)]
            for wire in loaded:
                wire.send(encode("INCR", "n") * 5000 + encode("SET", "big", b"x" * 200000) * 20)
            kill_and_wait(instance, instance.processes("md")[0])
            for wire in loaded:
                wire.close()
            self.assertEqual(self.connect(instance).command("SET", "k", "v"), b"+OK\r\n", "round %d" % round_number)
        self.assertEqual(sum(process["restarts"] for process in instance.processes() if place_of(process)[0] == "md"), 5)

    def test_client_that_asks_meanwhile_gets_its_answer(self):
        instance = self.start(io=1)
        wire = self.connect(instance)
        wire.command("SET", "k", "v")
        os.kill(instance.pids("md")[0], signal.SIGKILL)
        wire.send(encode("GET", "k") + encode("PING"))
        self.assertEqual(wire.replies(2), [b"$1\r\nv\r\n", b"+PONG\r\n"])
        wait_for(lambda: all_up(instance), 20, "md to come back")
        instance.remember()


@needs_millrace
class Everything(FreshInstanceCase):
    def test_all_daemons_killed_at_once(self):
        instance = self.start(io=2)
        pids = instance.pids()
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not any(map(is_alive, pids)), 10, "the processes to end")
        wait_for(lambda: all_up(instance), 20, "the group to come back")
        instance.remember()
        self.assertEqual(self.connect(instance).command("SET", "k", "v"), b"+OK\r\n")

    def test_each_in_turn_keeps_its_descriptors_and_shared_memory(self):
        """After many deaths there is no more of anything than after the first."""
        instance = self.start(io=2)

        def one_round():
            for process in instance.processes():
                kill_and_wait(instance, process)
            with instance.wire() as wire:
                self.assertEqual(wire.command("SET", "k", "v"), b"+OK\r\n")
            pids = [instance.status()["supervisor_pid"], *instance.pids()]
            return [len(os.listdir("/proc/%d/fd" % pid)) for pid in pids], sorted(os.listdir(instance.shm_folder()))

        first = one_round()
        for _ in range(2):
            last = one_round()
        self.assertEqual(last[1], first[1])
        for before, after in zip(first[0], last[0]):
            self.assertLessEqual(after, before + 2)


@needs_millrace
class StoppedMd(FreshInstanceCase):
    def test_ping_is_answered_and_viewstats_prints(self):
        instance = self.start(io=2)
        md = instance.pids("md")[0]
        wires = [self.connect(instance) for _ in range(4)]
        for wire in wires:
            wire.command("SET", "k", "v")
        os.kill(md, signal.SIGSTOP)
        try:
            for wire in wires:
                self.assertEqual(wire.command("PING"), b"+PONG\r\n")
                self.assertEqual(wire.command("ECHO", "hello"), b"$5\r\nhello\r\n")
            self.assertEqual(self.connect(instance).command("PING"), b"+PONG\r\n")
            wait_for(lambda: {(row["role"], row["state"]) for row in instance.stats()} == {("md", "stopped"), ("md_log", "up"), ("md_repl", "up"), ("io_conn", "up")}, 5,
                     "viewstats to see that md is stopped and nobody else")
            self.assertIn("stopped", instance.viewstats("--once"))
            self.assertIn(instance.status()["state"], ("running", "degraded"))
            wires[0].send(encode("INCR", "n"))
            self.assertTrue(wires[0].silent(0.2))
        finally:
            os.kill(md, signal.SIGCONT)
        self.assertEqual(wires[0].reply(), b":1\r\n")
        self.assertEqual(wires[1].command("GET", "n"), b"$1\r\n1\r\n")
        self.assertEqual(instance.pids("md"), [md])

    def test_more_requests_than_a_ring_holds(self):
        """While md stands still io_conn stop reading; afterwards everything is answered in order."""
        instance = self.start(io=2, ring_size="64kb")
        md = instance.pids("md")[0]
        os.kill(md, signal.SIGSTOP)
        try:
            wires = [self.connect(instance) for _ in range(4)]
            for number, wire in enumerate(wires):
                wire.send(encode("INCR", "n%d" % number) * 5000)
            self.assertEqual(self.connect(instance).command("PING"), b"+PONG\r\n")
        finally:
            os.kill(md, signal.SIGCONT)
        for wire in wires:
            self.assertEqual(wire.replies(5000), [b":%d\r\n" % number for number in range(1, 5001)])

    def test_stop_while_it_stands_still(self):
        instance = self.start(io=2)
        os.kill(instance.pids("md")[0], signal.SIGSTOP)


class Limits(FreshInstanceCase):
    def refused(self, instance):
        with instance.wire() as wire:
            return wire.until_closed()

    def check_maxclients(self, io):
        instance = self.start(io=io, maxclients=10)
        wires = [self.connect(instance) for _ in range(10)]
        for wire in wires:
            self.assertEqual(wire.command("PING"), b"+PONG\r\n")
        for _ in range(3):
            self.assertEqual(self.refused(instance), b"-ERR max number of clients reached\r\n")
        self.assertIn(b"rejected_connections:3\r\n", decode(wires[0].command("INFO", "stats")))
        for wire in wires:
            self.assertEqual(wire.command("SET", "k", "v"), b"+OK\r\n")
        wires.pop().close()
        wait_for(lambda: self.served(instance), 10, "the place of a client that left to be free")
        wait_for(lambda: self.served(instance), 10, "the same once more")

    def served(self, instance):
        with instance.wire() as wire:
            try:
                return wire.command("PING") == b"+PONG\r\n"
            except WireClosed:
                return False

    def test_maxclients_with_one_io_conn(self):
        self.check_maxclients(1)

    def test_maxclients_with_four_io_conn(self):
        self.check_maxclients(4)

    def test_timeout_closes_idle_connections_only(self):
        instance = self.start(io=2, timeout=1)
        idle, busy = [self.connect(instance) for _ in range(4)], self.connect(instance)
        began = time.monotonic()
        closed_after = []
        while idle:
            self.assertEqual(busy.command("PING"), b"+PONG\r\n")
            for wire in [wire for wire in idle if not wire.silent(0.05)]:
                self.assertEqual(wire.until_closed(), b"")
                closed_after.append(time.monotonic() - began)
                idle.remove(wire)
            self.assertLess(time.monotonic() - began, 10, "idle connections are not closed")
        self.assertGreaterEqual(min(closed_after), 0.9)
        self.assertEqual(busy.command("PING"), b"+PONG\r\n")

    def test_without_a_timeout_idle_connections_stay(self):
        instance = self.start(io=1, timeout=0)
        idle = self.connect(instance)
        self.assertTrue(idle.silent(3))
        self.assertEqual(idle.command("PING"), b"+PONG\r\n")


@needs_millrace
class Distribution(FreshInstanceCase):
    def test_connections_spread_evenly(self):
        instance = self.start(io=4)
        wires = []
        for total in (20, 40, 100, 200):
            while len(wires) < total:
                wires.append(self.connect(instance))
                self.assertEqual(wires[-1].command("PING"), b"+PONG\r\n")
            self.check_even(instance, total)

    def test_connections_at_once_spread_evenly(self):
        instance = self.start(io=4)
        wires = [self.connect(instance) for _ in range(200)]
        for wire in wires:
            wire.send(encode("PING"))
        for wire in wires:
            self.assertEqual(wire.reply(), b"+PONG\r\n")
        self.check_even(instance, 200)

    def test_connections_at_once_are_handed_round_without_pauses(self):
        instance = self.start(io=2)
        for _ in range(10):
            wires = [self.connect(instance) for _ in range(20)]
            for wire in wires:
                self.assertEqual(wire.command("PING"), b"+PONG\r\n")
            for wire in wires:
                wire.close()
            wait_for(lambda: sum(instance.counters("io_conn", "connected_clients")) == 0, 10, "the connections to be closed")
        late = sum(instance.counters("io_conn", "accepts_late"))
        self.assertLess(late, 50, "of 200 connections so many waited for a pause to end")

    def check_even(self, instance, total):
        counts = instance.counters("io_conn", "connected_clients")
        self.assertEqual(sum(counts), total, counts)
        for count in counts:
            self.assertLessEqual(abs(count - total / 4), total / 4 * 0.2, counts)

    def test_a_stopped_io_conn_holds_up_no_new_connection(self):
        instance = self.start(io=2)
        stopped = instance.pids("io_conn")[0]
        os.kill(stopped, signal.SIGSTOP)
        try:
            for _ in range(10):
                self.assertEqual(self.connect(instance, timeout=5).command("SET", "k", "v"), b"+OK\r\n")
        finally:
            os.kill(stopped, signal.SIGCONT)


if __name__ == "__main__":
    unittest.main()
