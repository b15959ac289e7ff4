"""What the supervisor tells a service manager, and the sockets that one keeps for it, with stub daemons."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

from harness import free_port, wait_for
from supervisor_case import StubCase

VARIABLES = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES")

# Starts a program as systemd does: its sockets are the descriptors from 3 on, and the variables name its pid.
AS_SYSTEMD = """
import os, sys
count, pid = int(sys.argv[1]), sys.argv[2] or str(os.getpid())
high = [os.dup2(int(word), 100 + place) for place, word in enumerate(sys.argv[3:3 + count])]
for place, each in enumerate(high):
    os.dup2(each, 3 + place)
os.closerange(3 + count, 200)
os.environ.update(LISTEN_FDS=str(count), LISTEN_PID=pid, LISTEN_FDNAMES="listen")
os.execv(sys.argv[3 + count], sys.argv[3 + count:])
"""


class Manager:
    """The socket of a service manager: `messages` in the order in which they came, `stored` the descriptors that came along."""

    def __init__(self, group):
        self.path = str(group.root / "notify")
        self.link = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.link.bind(self.path)
        self.link.setblocking(False)      # recv_fds() does not heed MSG_DONTWAIT
        self.messages, self.stored = [], []
        group.environment["NOTIFY_SOCKET"] = self.path

    def take(self):
        """Reads what has come."""
        while True:
            try:
                text, descriptors, _, _ = socket.recv_fds(self.link, 4096, 16)
            except BlockingIOError:
                return self.messages
            self.messages.append(text.decode())
            if "FDSTOREREMOVE=1" in self.messages[-1]:
                self.forget()
            self.stored += [socket.socket(fileno=each) for each in descriptors]

    def statuses(self):
        return [text.removeprefix("STATUS=") for text in self.take() if text.startswith("STATUS=")]

    def wait_for(self, text):
        wait_for(lambda: text in self.take(), 20, "the message %s" % text)

    def forget(self):
        for each in self.stored:
            each.close()
        self.stored = []

    def close(self):
        self.forget()
        self.link.close()


def listens_on(each):
    """The port of a socket that listens."""
    assert each.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    return each.getsockname()[1]


class Service(StubCase):
    def setUp(self):
        super().setUp()
        self.manager = Manager(self.group)
        self.addCleanup(self.manager.close)

    def begin(self, *arguments, sockets=(), pid=""):
        """`start` in the foreground, as a service; returns at once."""
        words = [sys.executable, "-c", AS_SYSTEMD, str(len(sockets)), pid, *(str(each.fileno()) for each in sockets),
                 *self.group.words("start", *arguments)]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   env=self.group.environment, start_new_session=True, pass_fds=[each.fileno() for each in sockets])
        self.group.begun.append(process)
        return process

    def start(self, *arguments, **options):
        process = self.begin("--port", self.group.port, *arguments, **options)
        self.manager.wait_for("READY=1")
        return process

    def kill_supervisor(self, process):
        process.kill()
        process.wait(10)


class Words(Service):
    def test_ready_comes_once_clients_are_served(self):
        self.group.behave(md="late", io_conn="late")
        self.begin("--port", self.group.port)
        self.manager.wait_for("READY=1")
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        before = self.manager.messages[:self.manager.messages.index("READY=1")]
        self.assertTrue(before and all(text.startswith("STATUS=degraded") for text in before), before)
        self.assertEqual(self.manager.messages.count("READY=1"), 1)
        self.stops()

    def test_never_if_the_start_fails(self):
        self.group.behave(io_conn_1="error")
        process = self.begin("--port", self.group.port)
        self.assertEqual(process.wait(20), 1)
        self.assertNotIn("READY=1", self.manager.take())

    def test_ready_waits_for_room(self):
        filler = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.addCleanup(filler.close)
        filler.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:
                filler.sendto(b"STATUS=another service", self.manager.path)
        self.begin("--port", self.group.port)
        wait_for(lambda: self.group.events("serving"), 20, "the group to serve")
        time.sleep(0.2)
        self.manager.wait_for("READY=1")
        self.group.wait_until_whole()
        self.stops()

    def test_the_status_follows_the_state(self):
        self.start("--io", 2)
        whole = r"running: md %d with a standby, 2 of 2 io_conn, port %d"
        self.group.wait_until_whole()
        self.assertIn(whole % (self.group.pids()["md-0"], self.group.port), self.manager.statuses())
        self.group.behave(io_conn="hang")
        self.group.kill("io_conn-1")
        wait_for(lambda: re.fullmatch(r"degraded: md \d+ with a standby, 1 of 2 io_conn, port \d+", self.manager.statuses()[-1]), 10, "degraded")
        self.group.behave()
        self.group.kill("md-0")
        wait_for(lambda: "running: md %d" % self.group.pids()["md-1"] in " ".join(self.manager.statuses()[-3:])
                 or "degraded: md %d" % self.group.pids()["md-1"] in " ".join(self.manager.statuses()[-3:]), 10, "the other md in the status")
        self.stops()

    def test_the_same_status_comes_once(self):
        self.start("--io", 1)
        self.group.wait_until_whole()
        found = self.manager.statuses()
        self.assertFalse(any(one == two for one, two in zip(found, found[1:])), found)
        self.stops()

    def test_the_watchdog_is_answered(self):
        self.group.environment["WATCHDOG_USEC"] = "300000"
        self.start()
        wait_for(lambda: self.manager.take().count("WATCHDOG=1") >= 5, 10, "five answers")
        self.assertGreater(self.manager.messages.index("WATCHDOG=1"), self.manager.messages.index("READY=1"))
        self.stops()

    def test_a_supervisor_that_stands_still_does_not_answer_it(self):
        self.group.environment["WATCHDOG_USEC"] = "300000"
        process = self.start()
        self.manager.wait_for("WATCHDOG=1")
        process.send_signal(signal.SIGSTOP)
        time.sleep(0.1)
        count = self.manager.take().count("WATCHDOG=1")
        time.sleep(0.5)
        self.assertEqual(self.manager.take().count("WATCHDOG=1"), count)
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: self.manager.take().count("WATCHDOG=1") > count, 10, "answers again")
        self.stops()

    def test_the_watchdog_of_another_process_is_not(self):
        self.group.environment.update(WATCHDOG_USEC="200000", WATCHDOG_PID="1")
        self.start()
        time.sleep(0.5)
        self.assertNotIn("WATCHDOG=1", self.manager.take())
        self.stops()

    def test_stopping_is_said_before_it_is_done(self):
        self.group.behave(io_conn="slow")
        process = self.start()
        process.send_signal(signal.SIGTERM)
        self.manager.wait_for("STOPPING=1")
        self.assertIsNone(process.poll())
        self.assertEqual(process.wait(20), 0)

    def test_what_takes_long_extends_the_time_limits(self):
        self.group.behave(md="load", md_log="save")
        process = self.begin("--port", self.group.port)
        self.manager.wait_for("EXTEND_TIMEOUT_USEC=60000000")
        wait_for(lambda: any(re.fullmatch(r"degraded: md loads: \d+ %", each) for each in self.manager.statuses()), 10, "the loading in the status")
        self.assertNotIn("READY=1", self.manager.messages)
        (self.group.bin / "loaded").write_text("")
        self.manager.wait_for("READY=1")
        self.manager.messages.clear()
        process.send_signal(signal.SIGTERM)
        self.manager.wait_for("EXTEND_TIMEOUT_USEC=60000000")
        wait_for(lambda: any(re.fullmatch(r"degraded: md_log is saving: \d+ %", each) for each in self.manager.statuses()), 10, "the save in the status")
        (self.group.bin / "saved").write_text("")
        self.assertEqual(process.wait(20), 0)
        self.assertIn("STOPPING=1", self.manager.take())

    def test_an_abstract_socket(self):
        name = "millrace test %d" % self.group.port
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as link:
            link.bind("\0" + name)
            link.settimeout(20)
            self.group.environment["NOTIFY_SOCKET"] = "@" + name
            self.begin("--port", self.group.port)
            while link.recv(4096) != b"READY=1":
                pass
        self.group.wait_until_whole()
        self.stops()

    def test_nobody_at_the_other_end_is_no_error(self):
        self.manager.close()
        os.unlink(self.manager.path)
        self.begin("--port", self.group.port)
        self.group.wait_until_whole()
        self.stops()

    def test_daemons_inherit_none_of_it(self):
        self.group.environment.update(WATCHDOG_USEC="5000000")
        with socket.create_server(("127.0.0.1", self.group.port)) as kept:
            self.start(sockets=[kept])
        self.group.wait_until_whole()
        for name, pid in self.group.pids().items():
            with open("/proc/%d/environ" % pid, "rb") as file:
                names = [each.partition(b"=")[0].decode() for each in file.read().split(b"\0")]
            self.assertEqual(set(names) & set(VARIABLES), set(), name)
            sockets = [each for each in os.listdir("/proc/%d/fd" % pid) if os.readlink("/proc/%d/fd/%s" % (pid, each)).startswith("socket:")]
            self.assertEqual(len(sockets), 1 if name.startswith("io_conn") else 0, name)
        self.stops()


class Sockets(Service):
    def test_they_are_given_to_be_kept(self):
        self.start("--set", "bind=127.0.0.1 127.0.0.2", "--set", "unixsocket=client.sock")
        wait_for(lambda: self.manager.take() and len(self.manager.stored) == 2, 10, "two sockets")
        self.assertEqual([listens_on(each) for each in self.manager.stored], [self.group.port] * 2)
        messages = [text.split("\n") for text in self.manager.messages if "FDSTORE" in text]
        self.assertEqual(messages, [["FDSTOREREMOVE=1", "FDNAME=listen"]] + [["FDSTORE=1", "FDNAME=listen", "FDPOLL=0"]] * 2)
        self.stops()

    def test_who_connects_while_nothing_runs_is_served_by_the_next(self):
        self.start()
        wait_for(lambda: self.manager.take() and self.manager.stored, 10, "the socket")
        self.stops()
        self.manager.messages.clear()
        with self.group.connect() as early:
            early.sendall(b"PING\r\n")
            self.start(sockets=self.manager.stored)
            self.assertEqual(early.recv(100), b"+PONG\r\n")
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_in_the_background_too(self):
        with socket.create_server(("127.0.0.1", self.group.port)) as kept:
            with self.group.connect() as early:
                early.sendall(b"PING\r\n")
                self.assertEqual(self.begin("--port", self.group.port, "--daemon", sockets=[kept]).wait(20), 0)
                self.assertEqual(early.recv(100), b"+PONG\r\n")
        self.group.wait_until_whole()
        self.stops()

    def test_those_of_another_process_are_not_used(self):
        with socket.create_server(("127.0.0.1", self.group.port)) as kept:
            process = self.begin("--port", self.group.port, sockets=[kept], pid="1")
            self.assertEqual(process.wait(20), 1)
            self.assertIn("already in use", process.stderr.read())

    def test_what_is_not_wanted_is_closed(self):
        other = free_port()
        pair = socket.socketpair()
        with socket.create_server(("127.0.0.1", other)) as unwanted, pair[0], pair[1]:
            process = self.start(sockets=[unwanted, pair[0]])
        self.assertRaises(ConnectionRefusedError, self.group.connect, other)
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.assertIsNone(process.poll())
        self.group.wait_until_whole()
        self.stops()

    def test_another_port_after_a_restart_takes_the_place_of_the_old_one(self):
        self.group.dir.mkdir()
        old, new = self.group.port, free_port()
        (self.group.dir / "millrace.conf").write_text("port = %d\n" % old)
        self.begin()
        self.group.wait_until_whole()
        wait_for(lambda: self.manager.take() and [listens_on(each) for each in self.manager.stored] == [old], 10, "the first port")
        (self.group.dir / "millrace.conf").write_text("port = %d\n" % new)
        self.assertEqual(self.group.run("restart").returncode, 0)
        wait_for(lambda: self.manager.take() and [listens_on(each) for each in self.manager.stored] == [new], 10, "the second port")
        self.assertRaises(ConnectionRefusedError, self.group.connect, old)
        self.group.wait_until_whole()
        self.stops()

    def test_a_group_that_goes_on_keeps_its_own(self):
        process = self.start()
        wait_for(lambda: self.manager.take() and self.manager.stored, 10, "the socket")
        self.group.wait_until_whole()
        before, stored = self.group.pids(), [each.dup() for each in self.manager.stored]
        with self.group.connect() as link:
            self.group.ask(link)
            self.kill_supervisor(process)
            self.manager.messages.clear()
            self.start(sockets=stored)
            self.assertEqual(self.group.ask(link), b"+PONG\r\n")
        self.assertEqual(self.group.pids(), before)
        for each in stored:
            each.close()
        self.stops()
        self.manager.take()
        self.manager.forget()
        self.assertRaises(ConnectionRefusedError, self.group.connect)

    def test_kept_ones_serve_when_io_conn_do_not_give_theirs(self):
        process = self.start()
        wait_for(lambda: self.manager.take() and self.manager.stored, 10, "the socket")
        self.group.wait_until_whole()
        for name, pid in self.group.pids().items():
            if name.startswith("io_conn"):
                os.kill(pid, signal.SIGSTOP)
        self.kill_supervisor(process)
        self.manager.messages.clear()
        stored = [each.dup() for each in self.manager.stored]
        self.start(sockets=stored)
        for each in stored:
            each.close()
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.group.wait_until_whole()
        self.stops()


if __name__ == "__main__":
    unittest.main()
