"""Under which account a group runs that root starts, what then belongs to whom, and who can do what with it; with stub daemons."""

import grp
import os
import pwd
import resource
import socket
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

from harness import CONTROL, free_port, is_alive, wait_for
from supervisor_case import STUB, StubCase

PRIVILEGED_PORTS = range(600, 1024)     # only root may listen on them
NAME = "nobody"         # there is one on every Debian, and nothing is its


def why_not():
    """Why these tests cannot run here; "" if they can."""
    if os.geteuid() != 0:
        return "only root can start a group under another account"
    try:
        account = pwd.getpwnam(NAME)
    except KeyError:
        return "there is no account %s" % NAME
    for path in (CONTROL, STUB):
        if subprocess.run(["/usr/bin/test", "-r", path], user=account.pw_uid, group=account.pw_gid, extra_groups=[], check=False).returncode:
            return "the account %s cannot read %s" % (NAME, path)
    return ""


def identity(pid):
    """(the four user ids, the four group ids, other groups, capabilities that it has or can get) of a process."""
    with open("/proc/%d/status" % pid) as file:
        found = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
    capabilities = [int(found[name], 16) for name in ("CapPrm", "CapEff", "CapAmb")]
    return set(found["Uid"].split()), set(found["Gid"].split()), found["Groups"].split(), capabilities


@unittest.skipIf(why_not(), why_not())
class AccountCase(StubCase):
    def setUp(self):
        super().setUp()
        self.account = pwd.getpwnam(NAME)
        self.group_name = grp.getgrgid(self.account.pw_gid).gr_name
        self.let_pass(self.group.root)

    def let_pass(self, folder):
        """The account can reach a folder among the temporary ones."""
        top = Path(tempfile.gettempdir())
        for each in (folder, *folder.parents):
            if each == top or top in each.parents:
                each.chmod(each.stat().st_mode | 0o011)

    def start_as(self, *arguments, **options):
        return self.group.start("--set", "user=" + NAME, *arguments, **options)

    def as_account(self, verb, *arguments):
        return self.group.run(verb, *arguments, user=self.account.pw_uid, group=self.account.pw_gid, extra_groups=[])

    def pids(self):
        return [self.group.status()["supervisor_pid"], *self.group.pids().values()]

    def strangers(self):
        """What below DIR and in shared memory does not belong to the account, but for symlinks, whose owner means nothing."""
        paths = [self.group.dir, *self.group.dir.rglob("*"), self.group.shm(), *self.group.shm().rglob("*")]
        return sorted(str(path) for path in paths if not path.is_symlink() and path.lstat().st_uid != self.account.pw_uid)

    def uids(self):
        return {uid for pid in self.pids() for uid in identity(pid)[0]}

    def assert_runs_as_account(self):
        uid, gid = str(self.account.pw_uid), str(self.account.pw_gid)
        for pid in self.pids():
            uids, gids, others, capabilities = identity(pid)
            self.assertEqual((uids, gids, set(others) - {gid}, capabilities), ({uid}, {gid}, set(), [0, 0, 0]))


class Running(AccountCase):
    def test_all_processes_and_all_files_are_the_account_s(self):
        self.start_as("--io", 2, "--set", "unixsocket=client.sock", extra_groups=[0, 1, 2])
        self.assert_runs_as_account()
        self.assertEqual(self.strangers(), [])
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.assertEqual(self.group.events("start")[-1]["account"], NAME)
        for pid in self.pids()[1:]:
            os.kill(pid, 9)
        self.group.wait_until_whole()
        self.assert_runs_as_account()
        self.stops()
        self.assertEqual(self.group.dir.stat().st_uid, self.account.pw_uid)

    def test_in_the_foreground_the_process_stays_the_same(self):
        process = self.group.start_in_foreground("--set", "user=" + NAME)
        self.assertEqual(self.group.status()["supervisor_pid"], process.pid)
        self.assert_runs_as_account()
        process.terminate()
        self.assertEqual(process.wait(20), 0)
        self.assertEqual(self.group.left_over(), [])

    def test_root_can_do_everything(self):
        self.start_as("--io", 1)
        for words in (("restart",), ("scale", 3), ("status",), ("check", "--port", self.group.port)):
            done = self.group.run(*words)
            self.assertEqual(done.returncode, 0, done)
            self.group.wait_until_whole()
        self.assertEqual((len(self.group.pids()), self.strangers()), (7, []))
        self.assert_runs_as_account()
        self.stops()

    def test_so_can_the_account(self):
        self.start_as("--io", 1)
        for words in (("restart",), ("scale", 3), ("status",), ("check", "--port", self.group.port)):
            done = self.as_account(*words)
            self.assertEqual(done.returncode, 0, done)
            self.group.wait_until_whole()
        self.assertEqual(len(self.group.pids()), 7)
        done = self.as_account("stop")
        self.assertEqual((done.returncode, self.group.left_over()), (0, []), done)

    def test_a_second_start_changes_nothing(self):
        self.start_as()
        before = self.pids()
        for done in (self.group.run("start", "--port", self.group.port, "--daemon"), self.as_account("start", "--port", self.group.port, "--daemon")):
            self.assertEqual(done.returncode, 0, done)
            self.assertIn("already running", done.stdout)
        self.assertEqual((self.pids(), self.strangers()), (before, []))
        self.stops()

    def test_a_supervisor_that_does_not_answer_is_ended_by_both(self):
        self.group.limits(answer=0.5)
        for stop in (lambda: self.group.run("stop"), lambda: self.as_account("stop")):
            self.start_as()
            os.kill(self.group.status()["supervisor_pid"], 19)
            done = stop()
            self.assertEqual((done.returncode, self.group.left_over()), (0, []), done)

    def test_stop_without_a_supervisor(self):
        for stop in (lambda: self.group.run("stop"), lambda: self.as_account("stop")):
            self.start_as()
            self.group.kill("supervisor")
            done = stop()
            self.assertEqual((done.returncode, self.group.left_over()), (0, []), done)

    def test_root_s_commands_leave_nothing_of_root_s(self):
        self.start_as()
        self.stops()
        for words in (("stop",), ("status",), ("restart",), ("check", "--port", self.group.port)):
            self.group.run(*words)
        self.assertEqual([str(path) for path in self.group.dir.rglob("*") if path.lstat().st_uid == 0], [])
        self.assertEqual(self.as_account("start", "--port", self.group.port, "--daemon").returncode, 0)
        self.group.wait_until_whole()
        self.stops()

    def test_the_hard_limit_of_files_is_raised(self):
        def few():
            resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))
        may = subprocess.run(["/bin/sh", "-c", "ulimit -n 564"], preexec_fn=few, stderr=subprocess.DEVNULL, check=False)
        if may.returncode != 0:
            self.skipTest("root may not raise the hard limit of open files here")
        done = self.group.run("start", "--port", self.group.port, "--set", "user=" + NAME, "--set", "maxclients=500", "--daemon", preexec_fn=few)
        self.assertEqual(done.returncode, 0, done)
        with open("/proc/%d/limits" % self.group.pids()["io_conn-0"]) as file:
            line = next(line for line in file if line.startswith("Max open files"))
        self.assertEqual(line.split()[3:5], ["564", "564"])
        self.group.wait_until_whole()
        self.stops()


class Ports(AccountCase):
    def test_one_of_root_s(self):
        self.group.port = free_port(PRIVILEGED_PORTS)
        self.start_as("--set", "bind=127.0.0.1 -127.0.0.2")
        self.assert_runs_as_account()
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.group.wait_until_whole()
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.group.kill("supervisor")
        self.start_as()
        self.assertEqual(self.group.ping(), b"+PONG\r\n")
        self.stops()

    def test_another_one_of_root_s_at_a_restart(self):
        self.group.dir.mkdir()
        (self.group.dir / "millrace.conf").write_text("port = %d\nuser = %s\n" % (self.group.port, NAME))
        self.assertEqual(self.group.run("start", "--daemon").returncode, 0)
        self.group.wait_until_whole()
        before = self.pids()
        (self.group.dir / "millrace.conf").write_text("port = %d\nuser = %s\n" % (free_port(PRIVILEGED_PORTS), NAME))
        self.fails(self.group.run("restart"), "may not be used by this account", "start it as root")
        self.assertEqual((self.pids(), self.group.ping()), (before, b"+PONG\r\n"))
        self.stops()

    def test_one_that_is_in_use(self):
        port = free_port(PRIVILEGED_PORTS)
        with socket.create_server(("127.0.0.1", port)):
            self.fails(self.group.run("start", "--port", port, "--set", "user=" + NAME, "--daemon"), "127.0.0.1:%d is already in use" % port)
        self.assertEqual(self.group.left_over(), [])


class Choice(AccountCase):
    def test_an_unknown_account(self):
        for verb in ("start", "check"):
            done = self.group.run(verb, "--set", "user=no-such-account", *(["--daemon"] if verb == "start" else []))
            text = done.stderr + done.stdout
            self.assertEqual(done.returncode, 1)
            self.assertIn("there is no account 'no-such-account', which 'user' names", text)
        self.assertFalse(self.group.dir.exists())

    def test_a_folder_that_it_cannot_reach(self):
        closed = self.group.root / "closed"
        closed.mkdir(0o700)
        done = self.group.run("start", "--set", "user=" + NAME, "--daemon", folder=closed / "a" / "b")
        self.fails(done, NAME, "cannot reach %s" % closed, "chmod o+x")
        done = self.group.run("check", "--set", "user=" + NAME, folder=closed / "a" / "b")
        self.assertEqual(done.returncode, 1)
        self.assertIn("problem  account: ", done.stdout)
        self.assertEqual((os.listdir(closed), closed.stat().st_uid), ([], 0))

    def test_a_configuration_that_it_cannot_read(self):
        file = self.group.root / "secret.conf"
        file.write_text("port = %d\n" % self.group.port)
        file.chmod(0o600)
        self.fails(self.group.run("start", "--set", "user=" + NAME, "--config", file, "--daemon"), "cannot read %s" % file, "restart")
        os.chown(file, 0, self.account.pw_gid)
        file.chmod(0o640)
        self.start_as("--config", file)
        self.assertEqual(self.group.run("restart").returncode, 0)
        self.group.wait_until_whole()
        self.stops()

    def test_folders_on_the_way_are_made_so_that_it_can_pass(self):
        self.group.dir = self.group.root / "one" / "two" / "three"
        self.start_as()
        self.assertEqual(self.strangers(), [])
        self.assertEqual(self.group.dir.parent.stat().st_uid, 0)
        self.stops()

    def test_without_one_it_runs_as_root_and_says_so(self):
        self.group.environment["MILLRACE_DEFAULT_USER"] = "no-such-account"
        done = self.group.start()
        self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
        self.assertIn("runs as root, because there is no account no-such-account", done.stderr)
        self.assertEqual((self.uids(), len(self.group.events("runs_as_root"))), ({"0"}, 1))
        self.stops()

    def test_the_default_account(self):
        self.group.environment["MILLRACE_DEFAULT_USER"] = NAME
        self.assertEqual(self.group.start().stderr, "")
        self.assert_runs_as_account()
        self.stops()

    def test_root_by_name(self):
        self.group.environment["MILLRACE_DEFAULT_USER"] = NAME
        self.assertEqual(self.group.start("--set", "user=root").stderr, "")
        self.assertEqual((self.uids(), self.group.events("runs_as_root")), ({"0"}, []))
        self.stops()

    def test_who_is_not_root_cannot_choose(self):
        self.group.dir.mkdir()
        os.chown(self.group.dir, self.account.pw_uid, self.account.pw_gid)
        done = self.as_account("start", "--port", self.group.port, "--set", "user=root", "--daemon")
        self.assertEqual((done.returncode, done.stderr), (0, ""), done)
        self.assert_runs_as_account()
        self.assertEqual(self.group.events("user_ignored")[-1]["user"], "root")
        self.group.wait_until_whole()
        self.stops()


class Given(AccountCase):
    def test_only_what_is_root_s_and_the_group_s(self):
        self.group.start("--set", "user=root")
        self.stops()
        outside = self.group.root / "outside"
        outside.write_text("of root\n")
        log = self.group.dir / "log"
        (log / "link.log").symlink_to(outside)
        os.link(outside, log / "hard.log")
        (log / "other.log").write_text("of somebody else\n")
        os.chown(log / "other.log", 1, 1)
        self.start_as()
        self.assertEqual((outside.stat().st_uid, (log / "other.log").stat().st_uid), (0, 1))
        self.assertEqual(self.strangers(), [str(log / "hard.log"), str(log / "other.log")])
        self.stops()

    def test_a_folder_with_other_things_stays_root_s(self):
        self.group.dir.mkdir(0o755)
        notes = self.group.dir / "notes"
        notes.write_text("of root\n")
        self.start_as()
        self.assertEqual(set(self.strangers()), {str(self.group.dir), str(notes)})
        self.stops()

    def test_a_data_folder_of_somebody_else_s(self):
        data = self.group.dir / "data"
        data.mkdir(0o755, parents=True)
        (data / "accounts.db").write_text("of root\n")
        self.fails(self.group.run("start", "--port", self.group.port, "--set", "user=" + NAME, "--daemon"), data, "Permission denied")
        self.assertEqual((data.stat().st_uid, (data / "accounts.db").stat().st_uid), (0, 0))

    def test_a_linked_folder_is_not_given(self):
        elsewhere = self.group.root / "elsewhere"
        elsewhere.mkdir(0o700)
        self.group.dir.mkdir()
        (self.group.dir / "log").symlink_to(elsewhere)
        self.fails(self.group.run("start", "--port", self.group.port, "--set", "user=" + NAME, "--daemon"), "log", "Permission denied")
        self.assertEqual(elsewhere.stat().st_uid, 0)
        os.chown(elsewhere, self.account.pw_uid, self.account.pw_gid)
        self.start_as()
        self.assertTrue((elsewhere / "supervisor.log").exists())
        self.stops()


class TakenOver(AccountCase):
    def kill_all(self):
        pids = self.pids()
        for pid in pids:
            os.kill(pid, 9)
        wait_for(lambda: not any(is_alive(pid) for pid in pids), 10, "all to be dead")

    def test_root_s_start_goes_on_as_the_account(self):
        self.start_as()
        before = self.group.pids()
        self.group.kill("supervisor")
        self.group.start()
        self.assertEqual(self.group.pids(), before)
        self.assert_runs_as_account()
        self.assertEqual(self.strangers(), [])
        self.stops()

    def test_a_group_of_root_s_stays_root_s(self):
        self.group.start("--set", "user=root")
        before = self.group.pids()
        self.group.kill("supervisor")
        self.start_as()
        self.assertEqual((self.group.pids(), self.uids()), (before, {"0"}))
        self.stops()

    def test_data_of_a_killed_group_of_root_s_is_given(self):
        self.group.start("--set", "user=root")
        first = (self.group.shm() / "store").read_text()
        self.kill_all()
        self.start_as()
        self.assert_runs_as_account()
        self.assertTrue((self.group.shm() / "store").read_text().startswith(first))
        self.assertEqual(self.strangers(), [])
        self.assertEqual(stat.S_IMODE(self.group.shm().stat().st_mode), 0o700)
        self.stops()

    def test_data_of_a_killed_group_of_the_account_s_is_kept(self):
        self.start_as()
        first = (self.group.shm() / "store").read_text()
        self.kill_all()
        self.start_as()
        self.assertTrue((self.group.shm() / "store").read_text().startswith(first))
        self.stops()

    def test_data_of_a_killed_group_of_the_account_s_is_not_lost_by_another_account_s_start(self):
        self.start_as()
        first = (self.group.shm() / "store").read_text()
        self.kill_all()
        self.fails(self.group.run("start", "--port", self.group.port, "--set", "user=root", "--daemon"), self.group.shm(), "belongs to the account " + NAME)
        self.start_as()
        self.assertTrue((self.group.shm() / "store").read_text().startswith(first))
        self.assertEqual(self.strangers(), [])
        self.stops()


if __name__ == "__main__":
    unittest.main()
