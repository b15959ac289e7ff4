#!/usr/bin/python3
"""Limits that hold when clients behave oddly: ends that come with the last bytes, non-readers beside senders, requests
that wait for a stopped md, processes that wait for their last client."""

import os
import signal
import socket
import subprocess
import time
import unittest

from harness import PROGRAMS, FreshInstanceCase, needs_millrace, wait_for
from wire import encode

MEGABYTE = 1_000_000
BURST_CLIENTS, BURST_KEY_BYTES = 700, 15_000
UNSENT_MAX = 256            # kUnsentMax in io_conn/server.h
TICKS = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    with open("/proc/%d/stat" % pid, encoding="ascii") as line:
        fields = line.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def resident(pid):
    with open("/proc/%d/status" % pid, encoding="ascii") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) * 1024


@needs_millrace
class Ends(FreshInstanceCase):
    """The end of the stream in the same packet as the last bytes is not missed: nothing stays open behind it."""

    LAST_WORDS = (b"*2\r\n$3\r\nGE", b"PING\r\n*2\r\n$3\r\nGE", b"\r\n", b"GET a\r\n", b"PING\r\n")

    def both_sockets(self, instance):
        tcp = socket.create_connection(("127.0.0.1", instance.port))
        local = socket.socket(socket.AF_UNIX)
        local.connect(instance.unix_path)
        return tcp, local

    def test_connections_that_end_with_their_last_bytes_are_closed(self):
        instance = self.start(io=2)
        for words in self.LAST_WORDS:
            waiting = []
            for _ in range(30):
                for client in self.both_sockets(instance):
                    client.sendall(words)
                    client.shutdown(socket.SHUT_WR)
                    waiting.append(client)
            for client in waiting:
                client.settimeout(10)
                while client.recv(4096):
                    pass
                client.close()
            wait_for(lambda: sum(instance.counters("io_conn", "connected_clients")) == 0, 10, "all to be closed: %r" % words)


@needs_millrace
class Memory(FreshInstanceCase):
    def test_who_does_not_read_keeps_nobody_from_sending(self):
        instance = self.start(io=1, **{"assembly-memory": "4mb"})
        self.connect(instance).command("SET", "value", "x" * 4000)
        readers = [self.connect(instance, receive_buffer=4096) for _ in range(20)]
        for reader in readers:
            reader.send(encode("MGET", "value", "value") * 700)
        wait_for(lambda: sum(instance.counters("io_conn", "output_limit_hits")) >= 10, 20, "the readers to be at their limit")
        sender = self.connect(instance)
        whole = encode("SET", "large", "y" * 200_000)
        for start in range(0, len(whole), 50_000):
            sender.send(whole[start:start + 50_000])
            time.sleep(0.01)  # pieces, so that the request waits for its rest
        self.assertEqual(sender.up_to(5)[0], b"+OK\r\n")

    def test_requests_that_wait_for_md_are_bounded_and_counted(self):
        instance = self.start(io=1, **{"assembly-memory": "8mb"})
        md, io_conn = instance.pids("md")[0], instance.pids("io_conn")[0]
        before = resident(io_conn)
        os.kill(md, signal.SIGSTOP)
        try:
            senders = [self.connect(instance) for _ in range(40)]
            for sender in senders:
                sender.send(encode("SET", "large", "z" * MEGABYTE))
            wait_for(lambda: sum(instance.counters("io_conn", "error_replies")) >= 20, 20, "some to be refused")
            limit = (200 if "/san-" in str(PROGRAMS) else 30) * MEGABYTE
            self.assertLess(resident(io_conn) - before, limit)
            wait_for(lambda: sum(instance.counters("io_conn", "buffer_bytes")) > MEGABYTE, 5, "what waits to be counted")
        finally:
            os.kill(md, signal.SIGCONT)
        answers = [sender.up_to(4)[0] for sender in senders]
        self.assertIn(b"+OK\r\n", answers)
        self.assertTrue(all(answer.startswith((b"+OK", b"-OOM", b"-ERR")) for answer in answers), answers)

    @unittest.skipIf("/san-" in str(PROGRAMS), "a sanitizer's malloc gives nothing back")
    def test_memory_of_a_burst_goes_back_to_the_system_while_its_clients_stay(self):
        instance = self.start(io=1)
        process = instance.pids("io_conn")[0]
        request = encode("GET", "k" * BURST_KEY_BYTES)
        clients = []
        for _ in range(BURST_CLIENTS):      # each buffer beside its connection, so that no page is free as a whole by chance
            clients.append(socket.create_connection(("127.0.0.1", instance.port)))
            clients[-1].sendall(request[:-10])
        wait_for(lambda: sum(instance.counters("io_conn", "connected_clients")) == BURST_CLIENTS, 20, "all to be there")
        taken = wait_for(lambda: (now := resident(process)) > BURST_CLIENTS * BURST_KEY_BYTES and now, 20, "half a request of each to be kept")
        for client in clients:
            client.sendall(request[-10:])
        for client in clients:
            client.settimeout(10)
            self.assertEqual(client.recv(100), b"$-1\r\n")
        wait_for(lambda: resident(process) < taken // 2, 20, "the memory to go back")
        for client in clients:
            client.sendall(request)
            self.assertEqual(client.recv(100), b"$-1\r\n")
            client.close()


@needs_millrace
class Crowd(FreshInstanceCase):
    """When many clients' replies are there at once, the first ones are sent before the last ones are made."""

    def setUp(self):
        self.instance = self.start(io=1, md_hang_timeout=0)
        self.io_conn, self.md = self.instance.pids("io_conn")[0], self.instance.pids("md")[0]
        self.clients = [self.connect(self.instance, timeout=20) for _ in range(BURST_CLIENTS)]
        wait_for(lambda: self.counter("connected_clients") == BURST_CLIENTS, 20, "all to be there")

    def counter(self, name, role="io_conn"):
        return self.instance.counters(role, name)[0]

    def largest(self, name):
        return next(row["histograms"][name]["max"] for row in self.instance.stats() if row["role"] == "io_conn")

    def ask_all(self, *words):
        for client in self.clients:
            client.send(encode(*words))

    def test_of_clients_that_read(self):
        for _ in range(2):      # the first time libevent finds out how many events there can be at once
            os.kill(self.io_conn, signal.SIGSTOP)
            try:
                self.ask_all("GET", "miss")
            finally:
                os.kill(self.io_conn, signal.SIGCONT)
            self.assertEqual({client.reply() for client in self.clients}, {b"$-1\r\n"})
        self.assertEqual(self.largest("send_batch"), UNSENT_MAX)

    def test_of_clients_that_wait_for_md(self):
        served = self.counter("requests", "md")
        os.kill(self.md, signal.SIGSTOP)
        try:
            self.ask_all("INCR", "n")
            wait_for(lambda: self.counter("requests_sent") == BURST_CLIENTS, 20, "all to be handed to md")
            os.kill(self.io_conn, signal.SIGSTOP)
            os.kill(self.md, signal.SIGCONT)
            wait_for(lambda: self.counter("requests", "md") == served + BURST_CLIENTS, 20, "md to have executed all")
        finally:
            os.kill(self.md, signal.SIGCONT)
            os.kill(self.io_conn, signal.SIGCONT)
        self.assertEqual(sorted(int(client.reply()[1:]) for client in self.clients), list(range(1, BURST_CLIENTS + 1)))
        self.assertGreater(self.largest("reply_batch"), 2 * UNSENT_MAX)
        self.assertEqual(self.largest("send_batch"), UNSENT_MAX)


@needs_millrace
class Idle(FreshInstanceCase):
    def test_a_retired_process_sleeps_while_its_clients_stay(self):
        instance = self.start(io=2)
        clients = [self.connect(instance) for _ in range(8)]
        for client in clients:
            client.command("PING")
        retired = instance.pids("io_conn")[1]
        instance.control("scale", "1")
        began = cpu_seconds(retired)
        time.sleep(1)  # the time measured, not a wait
        self.assertLess(cpu_seconds(retired) - began, 0.2)
        for client in clients:
            self.assertEqual(client.command("PING"), b"+PONG\r\n")

    def test_an_interval_that_is_no_number_is_refused(self):
        for value in ("nan", "inf", "-1", "0"):
            ended = subprocess.run([str(PROGRAMS / "viewstats"), "--interval", value], capture_output=True, timeout=10, check=False)
            self.assertEqual(ended.returncode, 2, value)


if __name__ == "__main__":
    unittest.main()
