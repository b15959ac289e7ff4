#!/usr/bin/python3
"""The control script does what it promises in everyday use: start, stop, restart, status, scale and check, wherever the
instance folder lies. (What happens when processes die is in supervisor_faults_test.py.)"""

import os
import shutil
import socket
import unittest
from pathlib import Path

from harness import CONTROL, free_port, is_alive, run, wait_for
from supervisor_case import StubCase


ALL_MD = ["md-0", "md_log-0", "md_repl-0", "md_standby-1"]


class StartAndStop(StubCase):
    def test_clients_are_served_when_start_returns(self):
        done = self.group.start()
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.assertIn("redis-cli -p %d" % self.group.port, done.stdout)
        self.assertIn("stopped", self.stops())

    def test_the_daemons_get_the_promised_command_line(self):
        self.group.start("--io", 2)
        lines = [(self.group.dir / "log" / name).read_text().split() for name in ("md-0.log", "io_conn-1.log")]
        for words in lines:
            self.assertEqual(words[words.index("--restarts") + 1], "0")
            self.assertIn("--ready-fd", words)
        generations = [int(words[words.index("--generation") + 1]) for words in lines]
        self.assertLess(generations[0], generations[1])
        self.assertNotIn("--listen-fd", lines[0])
        self.assertEqual(lines[1].count("--listen-fd"), 1)
        identity = (self.group.dir / "data" / "instance").read_text()
        self.assertRegex(identity, r"\Aid = [0-9a-f]{16}\n\Z")
        self.assertIn(identity.split()[2], lines[0])

    def test_each_daemon_has_a_session_of_its_own(self):
        self.group.start()
        for pid in self.group.pids().values():
            self.assertEqual(os.getsid(pid), pid)

    def test_generations_rise_over_supervisors(self):
        self.group.start()
        self.stops()
        self.group.start()
        generations = [int(event["generation"]) for event in self.group.events("child_started")]
        self.assertEqual(generations, sorted(set(generations)))

    def test_start_on_a_running_instance_says_so_and_changes_nothing(self):
        self.group.start()
        before = self.group.status()
        done = self.group.run("start", "--port", free_port(), "--daemon")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("already running", done.stdout)
        self.assertIn(str(before["supervisor_pid"]), done.stdout)
        self.assertIn(str(self.group.port), done.stdout)
        self.assertEqual([each["pid"] for each in self.group.status()["processes"]],
                         [each["pid"] for each in before["processes"]])

    def test_a_lock_file_that_was_removed_is_made_again(self):
        self.group.start()
        before = self.group.status()
        lock = self.group.dir / "run" / "lock"
        lock.unlink()
        done = self.group.run("start", "--port", free_port(), "--daemon")
        self.assertIn("already running", done.stdout)
        lock.unlink()
        self.assertEqual(self.group.status(), before)
        self.assertEqual(len(self.group.events("lock_made_again")), 2)
        lock.unlink()
        self.stops()

    def test_of_many_starts_at_once_one_wins(self):
        starts = [self.group.begin("start", "--port", self.group.port, "--daemon") for _ in range(4)]
        ends = [(each.communicate(timeout=40), each.returncode) for each in starts]
        wins = [output for (output, _), status in ends if status == 0 and "running, pid" in output]
        self.assertEqual(len(wins), 1, ends)
        self.assertEqual(len(self.group.events("serving")), 1)
        self.stops()

    def test_stop_and_status_of_what_does_not_run(self):
        done = self.group.run("stop")
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertEqual(self.group.status(), {"state": "stopped", "port": None, "supervisor_pid": None,
                                               "version": "0.1.0", "loading": None, "saving": None, "processes": []})
        self.assertFalse(self.group.dir.exists())
        self.group.start()
        self.stops()
        self.assertIn("not running", self.stops())
        self.assertIn("stopped", self.group.run("status").stdout)

    def test_restart_and_scale_of_what_does_not_run(self):
        self.fails(self.group.run("restart"), "not running", "millrace start")
        self.fails(self.group.run("scale", 3), "not running")

    def test_bad_usage(self):
        for words in (["nonsense"], [], ["start", "--nonsense"], ["start", "--set", "key"], ["scale"], ["scale", "0"],
                      ["scale", "65"], ["scale", "many"], ["upgrade"]):
            done = run([CONTROL, *words])
            self.assertEqual(done.returncode, 2, done)
            self.assertNotIn("Traceback", done.stderr)

    def test_a_forgotten_descriptor_of_the_caller_is_not_kept(self):
        receive, send = os.pipe()
        os.set_inheritable(send, True)
        self.group.start(close_fds=False)
        os.close(send)
        os.set_blocking(receive, False)
        self.assertEqual(os.read(receive, 1), b"")      # end of file: nobody else holds it
        os.close(receive)

    def test_a_caller_without_standard_streams(self):
        self.group.start("--io", 1)
        self.stops()
        done = run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *self.group.words(
            "start", "--port", self.group.port, "--daemon")], env=self.group.environment)
        self.assertEqual(done.returncode, 0)
        self.assertEqual(self.group.ping(), b"+PONG\r\n")

    def test_an_idle_supervisor_sleeps(self):
        self.group.start()
        pid = self.group.status()["supervisor_pid"]

        def switches():
            return [line for line in Path("/proc/%d/status" % pid).read_text().splitlines() if "voluntary" in line]
        before = wait_for(lambda: (look := switches()) == switches() and look, 10, "the supervisor to become idle")
        with self.assertRaises(socket.timeout), socket.create_connection(("127.0.0.1", self.group.port)) as link:
            link.settimeout(1.0)
            link.recv(1)            # a second in which nothing happens to the supervisor
        count = lambda lines: sum(int(line.split()[-1]) for line in lines)      # noqa: E731
        self.assertLessEqual(count(switches()) - count(before), 2)      # its look for daemons that hang

    def test_soft_file_limit_is_raised_for_the_daemons(self):
        self.group.start("--set", "maxclients=3000", preexec_fn=_soft_limit_1000)
        limits = Path("/proc/%d/limits" % self.group.pids()["io_conn-0"]).read_text()
        self.assertRegex(limits, r"Max open files +3064 ")

    def test_low_hard_file_limit_is_said(self):
        self.group.start("--set", "maxclients=30000000")
        self.assertEqual(self.group.events("file_limit_low")[0]["wanted"], "30000064")


def _soft_limit_1000():
    import resource
    resource.setrlimit(resource.RLIMIT_NOFILE, (1000, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))


class Folders(StubCase):
    def check_folder(self, folder, **options):
        self.group.dir = Path(options.get("cwd", "."), folder).resolve()
        done = self.group.run("start", "--port", self.group.port, "--daemon", folder=folder, **options)
        self.assertEqual(done.returncode, 0, done)
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.assertEqual(self.group.status()["state"], "running")
        self.assertEqual(self.group.run("scale", 1, folder=folder, **options).returncode, 0)
        self.assertEqual(self.group.run("stop", folder=folder, **options).returncode, 0)
        self.assertEqual(self.group.left_over(), [])

    def test_strange_names(self):
        root = self.group.root
        for name in (" two  spaces ", "größe-数据", "trailing/", "quote\"and'line\nbreak", "-dash"):
            with self.subTest(name=name):
                self.check_folder("%s/%s" % (root, name))

    def test_a_path_longer_than_a_socket_address(self):
        self.check_folder("%s/%s/%s" % (self.group.root, "a" * 100, "b" * 100))

    def test_a_relative_path(self):
        self.check_folder("below/../relative", cwd=self.group.root)

    def test_folders_are_private(self):
        self.group.start()
        for folder in (self.group.dir / "data", self.group.dir / "log", self.group.dir / "run", self.group.shm()):
            self.assertEqual(folder.stat().st_mode & 0o777, 0o700, folder)

    def test_two_instances_side_by_side(self):
        other = self.another()
        self.group.start()
        other.start()
        self.assertNotEqual(self.group.shm(), other.shm())
        self.stops(other)
        self.assertEqual(self.group.ping(), b"+PONG\r\n")

    def copy_of_a_running_instance(self):
        self.group.start("--io", 1)
        copy = self.another()
        shutil.copytree(self.group.dir / "data", copy.dir / "data")
        shutil.copytree(self.group.dir / "run", copy.dir / "run", symlinks=True, ignore=lambda folder, names: [
            name for name in names if name.endswith((".fifo", ".words", ".sock"))])
        return copy

    def test_a_copied_folder_gets_memory_of_its_own(self):
        copy = self.copy_of_a_running_instance()
        before = self.group.pids()
        copy.start("--io", 1)
        self.assertNotEqual(self.group.shm(), copy.shm())
        self.stops(copy)
        self.assertEqual(self.group.pids(), before)
        self.assertTrue((self.group.shm() / "rings-0").exists())
        self.assertEqual(self.group.ping(), b"+PONG\r\n")

    def test_stopping_a_copied_folder_does_not_touch_the_original(self):
        copy = self.copy_of_a_running_instance()
        before = self.group.pids()
        self.assertEqual(copy.status()["state"], "stopped")
        self.stops(copy)
        self.assertEqual(self.group.pids(), before)
        self.assertTrue((self.group.shm() / "rings-0").exists())
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.assertEqual(self.group.status()["state"], "running")

    def test_unknown_files_in_run_stay(self):
        (self.group.dir / "run").mkdir(parents=True)
        (self.group.dir / "run" / "notes.txt").write_text("mine")
        self.group.start()
        self.group.run("stop")
        self.assertEqual(self.group.left_over(), ["notes.txt"])

    def test_dangling_link_after_a_reboot(self):
        self.group.start()
        self.stops()
        (self.group.dir / "run" / "shm").symlink_to("/dev/shm/millrace-gone")
        self.group.start()
        self.assertTrue((self.group.shm() / "rings-0").exists())
        self.stops()


class Addresses(StubCase):
    def test_a_port_in_use_is_named(self):
        with socket.create_server(("127.0.0.1", self.group.port)):
            done = self.group.run("start", "--port", self.group.port, "--daemon")
        self.fails(done, "127.0.0.1:%d is already in use" % self.group.port, "--port")
        self.assertEqual(self.group.left_over(), [])

    def test_several_addresses_of_which_one_may_fail(self):
        self.group.start("--set", "bind=127.0.0.1 127.0.0.2 -192.0.2.1")
        for address in ("127.0.0.1", "127.0.0.2"):
            socket.create_connection((address, self.group.port), timeout=5).close()
        self.stops()
        self.fails(self.group.run("start", "--daemon", "--set", "bind=192.0.2.1"), "192.0.2.1", "bind")
        self.assertEqual(self.group.left_over(), [])

    def test_unix_socket(self):
        path = self.group.root / "client.sock"
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(path))
        stale.close()           # a file without a server
        self.group.start("--set", "unixsocket=%s" % path, "--set", "unixsocketperm=750")
        self.assertEqual(path.stat().st_mode & 0o777, 0o750)
        with socket.socket(socket.AF_UNIX) as link:
            link.connect(str(path))
            self.assertEqual(self.group.ask(link), b"+PONG\r\n")
        self.stops()
        self.assertFalse(path.exists())

    def test_unix_socket_of_a_living_server_or_another_file_is_left_alone(self):
        path = self.group.root / "taken"
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
            server.listen()
            self.fails(self.group.run("start", "--daemon", "--set", "unixsocket=%s" % path), "in use", path)
        path.unlink()
        path.write_text("precious")
        self.fails(self.group.run("start", "--daemon", "--set", "unixsocket=%s" % path), "not a socket", path)
        self.assertEqual(path.read_text(), "precious")
        self.assertEqual(self.group.left_over(), [])

    def test_nothing_to_listen_on(self):
        self.fails(self.group.run("start", "--daemon", "--port", 0), "nothing to listen on")


class Status(StubCase):
    def test_for_programs(self):
        self.group.start("--io", 1)
        status = self.group.status()
        self.assertEqual(set(status), {"state", "port", "supervisor_pid", "version", "loading", "saving", "processes"})
        self.assertEqual((status["loading"], status["saving"]), (None, None))
        self.assertEqual((status["state"], status["port"], status["version"]), ("running", self.group.port, "0.1.0"))
        self.assertTrue(is_alive(status["supervisor_pid"]))
        for each in status["processes"]:
            self.assertEqual(set(each), {"role", "index", "pid", "state", "restarts", "uptime_s"})
            self.assertEqual((each["state"], each["restarts"]), ("up", 0))
        self.assertEqual([(each["role"], each["index"]) for each in status["processes"]], [("md", 0), ("md_standby", 1), ("md_log", 0), ("md_repl", 0), ("io_conn", 0)])

    def test_for_people(self):
        self.group.start()
        text = self.group.run("status").stdout
        self.assertRegex(text, r"(?m)^md +0 .* up .*\n^md_standby +1 .* up .*\n^md_log +0 .* up .*\n^md_repl +0 .* up .*\n^io_conn +0 ")
        for word in ("running", self.group.port, self.group.dir, *self.group.pids().values()):
            self.assertIn(str(word), text)

    def test_a_damaged_file_is_no_crash(self):
        self.group.start()
        for junk in ("", "{", "[1]", '{"folder": 1}'):
            (self.group.dir / "run" / "status.json").write_text(junk)
            self.assertEqual(self.group.status()["state"], "degraded")


class Scale(StubCase):
    def test_up_and_down(self):
        self.group.start("--io", 1)
        self.assertIn("4 io_conn serving", self.group.run("scale", 4).stdout)
        self.assertEqual(sorted(self.group.pids()), ["io_conn-0", "io_conn-1", "io_conn-2", "io_conn-3", *ALL_MD])
        self.group.run("scale", 2)
        wait_for(lambda: sorted(self.group.pids()) == ["io_conn-0", "io_conn-1", *ALL_MD], 10, "two to go")
        self.assertEqual(sorted(os.listdir(self.group.shm()))[:4],
                         ["clients-0", "clients-1", "control", "counters-io_conn-0"])
        self.assertFalse((self.group.dir / "run" / "io_conn-2.fifo").exists())
        self.assertEqual(self.group.status()["state"], "running")
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_a_draining_io_conn_keeps_its_client_and_its_place(self):
        self.group.start("--io", 1)
        links = []
        self.group.run("scale", 2)
        while not any(self.serves(self.group.pids()["io_conn-1"], link) for link in links):
            links.append(self.group.connect())
            self.group.ask(links[-1])
        kept = next(link for link in links if self.serves(self.group.pids()["io_conn-1"], link))
        self.assertIn("1 draining", self.group.run("scale", 1).stdout)
        self.assertEqual([each["state"] for each in self.group.status()["processes"]], ["up", "up", "up", "up", "up", "draining"])
        self.assertEqual(self.group.status()["state"], "running")
        self.assertEqual(self.group.ask(kept), b"+PONG\r\n")
        self.group.run("scale", 2)
        self.assertEqual(sorted(self.group.pids()), ["io_conn-0", "io_conn-1", "io_conn-2", *ALL_MD])
        for link in links:
            link.close()
        wait_for(lambda: sorted(self.group.pids()) == ["io_conn-0", "io_conn-2", *ALL_MD], 10, "io_conn 1 to end")
        self.assertFalse((self.group.shm() / "rings-1").exists())
        self.stops()

    @staticmethod
    def serves(pid, link):
        """Whether that process holds the server's end of a connection."""
        table = Path("/proc/net/tcp").read_text().splitlines()[1:]
        ends = tuple("0100007F:%04X" % each.getsockname()[1] for each in (link,))
        inodes = [line.split()[9] for line in table if line.split()[2] == ends[0]]
        held = [os.readlink("/proc/%d/fd/%s" % (pid, name)) for name in os.listdir("/proc/%d/fd" % pid)]
        return any("socket:[%s]" % inode in held for inode in inodes)

    def test_one_that_does_not_start_leaves_the_group_as_it_was(self):
        self.group.start("--io", 1)
        self.group.behave(io_conn_2="error")
        self.fails(self.group.run("scale", 3), "io_conn 2", "the stub fails as it was told to")
        self.assertEqual(sorted(self.group.pids()), ["io_conn-0", *ALL_MD])
        self.assertEqual(self.group.status()["state"], "running")


class Restart(StubCase):
    def test_every_process_is_new_and_clients_only_wait(self):
        self.group.behave(io_conn="slow")
        self.group.start("--io", 2)
        before = self.group.status()
        restarting = self.group.begin("restart")
        wait_for(lambda: self.group.events("restarting"), 20, "the restart to begin")
        with self.group.connect() as link:
            link.settimeout(20)
            link.sendall(b"PING\r\n")
            try:
                answer = link.recv(100)
            except ConnectionResetError:                # the same, with the request not yet read
                answer = b""
        output, _ = restarting.communicate(timeout=30)
        self.assertEqual(restarting.returncode, 0)
        self.assertIn("the data stayed", output)
        self.assertIn(answer, (b"+PONG\r\n", b""))      # b"": an old io_conn had accepted it before it ended
        self.group.wait_until_whole()
        after = self.group.status()
        self.assertEqual(after["supervisor_pid"], before["supervisor_pid"])
        self.assertFalse({each["pid"] for each in before["processes"]} & {each["pid"] for each in after["processes"]})
        self.assertEqual([each["restarts"] for each in after["processes"]], [1, 1, 1, 1, 1, 1])
        self.stops()

    def test_io_conn_end_before_md_and_the_standby_before_the_one_that_serves(self):
        self.group.start("--io", 1)
        self.group.kill("md-0")
        self.group.wait_until_whole()
        self.assertEqual(self.group.run("restart").returncode, 0)
        order = [(event["role"], event["index"]) for event in self.group.events("child_ended") if event["role"] != "md_repl"]
        self.assertEqual(order, [("io_conn", "0"), ("md", "0"), ("md", "1"), ("md_log", "0")])
        self.group.wait_until_whole()
        started = [(event["role"], event["index"]) for event in self.group.events("child_started")[-5:]]
        self.assertEqual(started, [("md", "0"), ("md_log", "0"), ("md_repl", "0"), ("io_conn", "0"), ("md", "1")])
        self.assertEqual(sorted(self.group.pids()), ["io_conn-0", *ALL_MD])

    def test_the_store_stays(self):
        self.group.start("--io", 1)
        store = self.group.shm() / "store"
        before = store.read_text()
        for _ in range(3):
            self.assertEqual(self.group.run("restart").returncode, 0)
        self.group.wait_until_whole()
        after = store.read_text()
        self.assertTrue(after.startswith(before))
        self.assertEqual(after.count("pid"), 4)         # no standby took over on the way
        self.assertEqual(self.group.events("md_took_over"), [])

    def test_configuration_is_read_again(self):
        self.group.dir.mkdir()
        (self.group.dir / "millrace.conf").write_text("io-conns = 1\nmaxclients = 50\n")
        self.group.start()
        (self.group.dir / "millrace.conf").write_text("io-conns = 3\nmaxclients = 60\n")
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.assertEqual(len(self.group.status()["processes"]), 7)
        self.assertIn("maxclients = 60", (self.group.dir / "run" / "effective.conf").read_text())

    def test_a_bad_configuration_changes_nothing(self):
        self.group.start()
        before = self.group.pids()
        path = self.group.dir / "millrace.conf"
        path.write_text("maxclients = 50\nmaxclients = many\n")
        self.fails(self.group.run("restart"), "%s:2" % path, "many")
        path.write_text("bind = 192.0.2.1\n")
        self.fails(self.group.run("restart"), "192.0.2.1")
        path.write_text("shm-dir = /tmp\n")
        self.fails(self.group.run("restart"), "shm-dir")
        self.assertEqual(self.group.pids(), before)
        self.assertEqual(self.group.ping(), b"+PONG\r\n")

    def test_a_new_port(self):
        self.group.dir.mkdir()
        ports = [free_port(), free_port()]
        for port in ports:
            (self.group.dir / "millrace.conf").write_text("port = %d\n" % port)
            self.assertEqual(self.group.run("restart" if port == ports[1] else "start", *(
                [] if port == ports[1] else ["--daemon"])).returncode, 0)
            self.group.connect(port).close()
        with self.assertRaises(ConnectionRefusedError):
            self.group.connect(ports[0])
        self.assertEqual(self.group.status()["port"], ports[1])

    def test_a_number_set_with_scale_stays(self):
        self.group.start("--io", 1)
        self.group.run("scale", 3)
        self.group.run("restart")
        self.assertEqual(len(self.group.status()["processes"]), 7)

    def test_a_daemon_that_does_not_come_back_is_tried_again(self):
        self.group.start("--io", 1)
        self.group.behave(md="crash")
        self.fails(self.group.run("restart"), "md does not start", "the stub crashes")
        self.assertEqual(self.group.status()["state"], "degraded")
        self.group.behave()
        self.group.wait_until_whole()
        self.assertEqual(self.group.ping(), b"+PONG\r\n")


class Check(StubCase):
    def test_a_good_one(self):
        done = self.group.run("check", "--port", self.group.port)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertIn("%d" % self.group.port, done.stdout)
        self.assertFalse(self.group.dir.exists())

    def test_of_a_running_instance(self):
        self.group.start()
        done = self.group.run("check", "--port", self.group.port)
        self.assertEqual((done.returncode, done.stderr), (0, ""))

    def test_findings(self):
        with socket.create_server(("127.0.0.1", self.group.port)):
            done = self.group.run("check", "--port", self.group.port, "--set", "ring-size=99999999999999")
        self.fails(done, "2 problems")
        self.assertIn("%d is already in use" % self.group.port, done.stdout)
        self.assertRegex(done.stdout, r"problem +shared memory: .*(--shm-size)")
        self.fails(self.group.run("check", "--set", "nonsense=1"), "nonsense")
        self.fails(self.group.run("check", "--config", "/nowhere/at.all"), "/nowhere/at.all")

    def test_too_small_shared_memory_is_one_sentence_at_start(self):
        self.fails(self.group.run("start", "--daemon", "--port", self.group.port, "--set", "ring-size=99999999999999"),
                   "shm-dir", "--shm-size")
        self.assertEqual(self.group.left_over(), [])


if __name__ == "__main__":
    unittest.main()
