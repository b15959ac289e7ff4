"""Every history of answers has an order: reads by io_conn and writes by md together, while md is killed, stopped and replaced."""

import os
import signal
import subprocess
import time
import unittest

from h_takeover_test import md_pids
from harness import PROGRAMS, FreshInstanceCase, needs_millrace, wait_for

CLIENT = PROGRAMS.parent / "tests" / "linear_client"
SECONDS = float(os.environ.get("MILLRACE_LINEAR_SECONDS", "3"))
PATIENCE_S = 60


@needs_millrace
class Linear(FreshInstanceCase):
    def check(self, instance, meanwhile=None, clients=8):
        """Runs the checking client; `meanwhile` is called until it ends."""
        arguments = [CLIENT, str(instance.port), str(SECONDS), str(clients)] + ([os.environ["SEED"]] if "SEED" in os.environ else [])
        with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as client:
            try:
                while client.poll() is None and meanwhile is not None:
                    meanwhile()
                said = client.communicate(timeout=SECONDS + PATIENCE_S)[0]
            finally:
                client.kill()
        self.assertEqual(client.returncode, 0, said)
        self.assertIn("right:", said)
        print(said.strip())

    def test_undisturbed(self):
        for io in (1, 3):
            instance = self.start(io=io)
            self.check(instance)
            self.assertGreater(sum(instance.counters("io_conn", "direct_reads")), 1000)

    def test_md_is_killed(self):
        instance = self.start(io=2)

        def kill():
            pids = wait_for(lambda: md_pids(instance), 20, "md and its standby")
            os.kill(pids[0], signal.SIGKILL)
            time.sleep(0.1)

        self.check(instance, kill)
        wait_for(lambda: md_pids(instance), 20, "md and its standby")
        instance.remember()

    def test_md_is_stopped_again_and_again(self):
        instance = self.start(io=2)
        md = instance.pids("md")[0]

        def stop():
            os.kill(md, signal.SIGSTOP)
            time.sleep(0.05)
            os.kill(md, signal.SIGCONT)
            time.sleep(0.05)

        self.check(instance, stop)

    def test_io_conn_is_stopped_again_and_again(self):
        """Readers that are caught anywhere and go on much later."""
        instance = self.start(io=2)
        readers = instance.pids("io_conn")

        def stop():
            for pid in readers:
                os.kill(pid, signal.SIGSTOP)
                time.sleep(0.01)
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.01)

        self.check(instance, stop)


if __name__ == "__main__":
    unittest.main()
