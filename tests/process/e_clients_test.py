"""Real clients work unchanged: python3-redis with pipelines and threads, redis-cli, redis-benchmark."""

import csv
import io
import multiprocessing
import os
import re
import subprocess
import threading
import unittest

import redis
import redis.lock

from harness import InstanceCase, Oracle, run

PIPED_COMMANDS = 100_000
THREADS = 8


class PythonClient(InstanceCase):
    IO = 4

    def client(self, **options):
        client = redis.Redis("127.0.0.1", self.instance.port, socket_timeout=20, **options)
        self.addCleanup(client.close)
        return client

    def setUp(self):
        self.client().flushall()

    def test_every_command_of_this_version(self):
        client = self.client(decode_responses=True)
        self.assertTrue(client.ping())
        self.assertEqual(client.echo("hello"), "hello")
        self.assertTrue(client.set("k", "v", ex=100))
        self.assertIsNone(client.set("k", "w", nx=True))
        self.assertEqual(client.set("k", "w", get=True), "v")
        self.assertEqual(client.getset("k", "x"), "w")
        self.assertEqual(client.append("k", "yz"), 3)
        self.assertEqual(client.strlen("k"), 3)
        self.assertEqual(client.type("k"), "string")
        self.assertEqual(client.getdel("k"), "xyz")
        self.assertTrue(client.setnx("k", "1"))
        self.assertEqual([client.incr("k"), client.decr("k"), client.incrby("k", 5), client.decrby("k", 2)], [2, 1, 6, 4])
        self.assertTrue(client.mset({"a": 1, "b": 2}))
        self.assertEqual(client.mget("a", "none", "b"), ["1", None, "2"])
        self.assertEqual((client.exists("a", "b", "c"), client.dbsize(), client.delete("a", "b", "c")), (2, 3, 2))
        self.assertTrue(client.client_setname("me"))
        self.assertEqual(client.client_getname(), "me")
        self.assertEqual(client.client_id(), client.client_id())
        self.assertIn("me", [line["name"] for line in client.client_list()])
        self.assertEqual(client.config_get("maxclients"), {"maxclients": "10000"})
        self.assertTrue(client.info()["redis_version"].startswith("7.0"))
        self.assertEqual(client.command_count(), len(client.command()))

    def test_errors_become_exceptions(self):
        client = self.client()
        client.set("k", "v")
        for call in (lambda: client.incr("k"), lambda: client.execute_command("NONSENSE"), lambda: client.set("k", "v", px=0)):
            with self.assertRaises(redis.ResponseError):
                call()

    def test_databases(self):
        first, second = self.client(), self.client(db=9)
        first.set("k", "first")
        self.assertIsNone(second.get("k"))
        second.set("k", "second")
        self.assertEqual((first.get("k"), second.get("k")), (b"first", b"second"))

    def test_pipeline(self):
        pipeline = self.client().pipeline(transaction=False)
        for number in range(5000):
            pipeline.set("key:%d" % number, number)
            pipeline.get("key:%d" % number)
            pipeline.incr("sum")
        answers = pipeline.execute()
        self.assertEqual(answers[1::3], [b"%d" % number for number in range(5000)])
        self.assertEqual(answers[2::3], list(range(1, 5001)))

    def test_binary_and_unicode(self):
        client = self.client(decode_responses=True)
        for text in ("grüße", "日本語", "\r\n", "", "a" * 300000):
            client.set(text, text)
            self.assertEqual(client.get(text), text)

    def test_threads_count_together(self):
        """No increment is lost or done twice, whichever io_conn a thread is connected to."""
        client, failures = self.client(), []

        def count():
            try:
                seen = [client.incr("shared") for _ in range(500)]
                if seen != sorted(set(seen)):
                    failures.append("an increment went backwards")
            except Exception as error:  # whatever a thread meets has to reach the test
                failures.append(repr(error))

        threads = [threading.Thread(target=count) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [])
        self.assertEqual(client.get("shared"), b"%d" % (500 * THREADS))

    def test_what_one_connection_wrote_the_next_one_reads(self):
        clients = [redis.Redis("127.0.0.1", self.instance.port, single_connection_client=True) for _ in range(8)]
        for client in clients:
            self.addCleanup(client.close)
        for number in range(800):
            clients[number % 8].set("k", number)
            self.assertEqual(clients[(number * 3 + 1) % 8].get("k"), b"%d" % number)

    def test_nobody_sees_half_an_mset(self):
        client, stop, failures = self.client(), threading.Event(), []
        names = ["part:%d" % number for number in range(20)]
        client.mset(dict.fromkeys(names, 0))

        def write(first):
            for number in range(first, first + 4000, 2):
                client.mset(dict.fromkeys(names, number))

        def read():
            while not stop.is_set():
                values = set(client.mget(names))
                if len(values) != 1:
                    failures.append(values)

        readers, writers = [threading.Thread(target=read) for _ in range(3)], [threading.Thread(target=write, args=(n,)) for n in (1, 2)]
        for thread in readers + writers:
            thread.start()
        for thread in writers:
            thread.join(60)
        stop.set()
        for thread in readers:
            thread.join(20)
        self.assertEqual(failures, [])

    def test_unix_socket(self):
        client = redis.Redis(unix_socket_path=self.instance.unix_path)
        self.addCleanup(client.close)
        client.set("k", "v")
        self.assertEqual(self.client().get("k"), b"v")

    def test_its_pipelines_are_transactions_and_watch_retries(self):
        client = self.client()
        client.flushall()
        with client.pipeline() as pipe:      # MULTI and EXEC, unless told otherwise
            self.assertEqual(pipe.set("a", 1).incr("a").mget("a", "none").execute(), [True, 2, [b"2", None]])
        tries = []

        def add(pipe):
            now = int(pipe.get("a"))
            if not tries:
                client.incr("a")        # somebody else, between WATCH and EXEC
            tries.append(now)
            pipe.multi()
            pipe.set("a", now + 10)

        self.assertEqual(client.transaction(add, "a"), [True])
        self.assertEqual((tries, client.get("a")), ([2, 3], b"13"))


class WatchedLock(redis.lock.Lock):
    """redis.lock.Lock, but that it gives the lock back by WATCH and MULTI instead of a script."""

    def register_scripts(self):
        pass

    def do_release(self, expected_token):
        def give_back(pipe):
            if pipe.get(self.name) != expected_token:
                raise redis.exceptions.LockNotOwnedError("the lock is not owned any more")
            pipe.multi()
            pipe.delete(self.name)

        self.redis.transaction(give_back, self.name)


def add_one(address, turns, tries):
    """So many increments under WATCH; in `tries`, how often they were tried."""
    client = redis.Redis(*address)

    def add(pipe):
        with tries.get_lock():
            tries.value += 1
        now = int(pipe.get("counter") or 0)
        pipe.multi()
        pipe.set("counter", now + 1)
        pipe.incr("check")

    for _ in range(turns):
        client.transaction(add, "counter")
    client.close()


def take_turns(address, lock_class, turns, inside, wrong):
    """So many turns with the lock, each of which is alone inside, and counts without any help of the server."""
    client = redis.Redis(*address)
    for _ in range(turns):
        with lock_class(client, "lock", timeout=60, sleep=0.001):
            inside.value += 1
            wrong.value += inside.value != 1
            client.set("counter", int(client.get("counter") or 0) + 1)
            inside.value -= 1
    client.close()


class Contention(InstanceCase):
    """Several processes and threads want the same keys at the same time."""

    IO = 2
    PROCESSES, TURNS = 4, 200

    def setUp(self):
        self.client = redis.Redis("127.0.0.1", self.instance.port, socket_timeout=20)
        self.addCleanup(self.client.close)
        self.client.flushall()

    def at_once(self, target, *arguments):
        """Runs it in processes and in one thread of this process, and waits for all."""
        workers = [multiprocessing.Process(target=target, args=(self.instance.address, *arguments)) for _ in range(self.PROCESSES)]
        workers.append(threading.Thread(target=target, args=(self.instance.address, *arguments)))
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join(120)
        late = [worker for worker in workers if worker.is_alive()]
        for worker in late:
            if hasattr(worker, "kill"):
                worker.kill()
        self.assertEqual(late, [])
        self.assertEqual([worker.exitcode for worker in workers[:-1]], [0] * self.PROCESSES)

    def test_a_counter_under_watch_is_exact(self):
        tries, count = multiprocessing.Value("q", 0), (self.PROCESSES + 1) * self.TURNS
        self.at_once(add_one, self.TURNS, tries)
        self.assertEqual((self.client.get("counter"), self.client.get("check")), (b"%d" % count, b"%d" % count))
        print("%d increments in %d tries" % (count, tries.value))
        self.assertGreaterEqual(tries.value, count)

    def locked(self, lock_class):
        inside, wrong = multiprocessing.Value("i", 0, lock=False), multiprocessing.Value("i", 0, lock=False)
        self.at_once(take_turns, lock_class, self.TURNS, inside, wrong)
        self.assertEqual((wrong.value, inside.value), (0, 0))
        self.assertEqual(self.client.get("counter"), b"%d" % ((self.PROCESSES + 1) * self.TURNS))
        self.assertEqual(self.client.exists("lock"), 0)

    def test_one_at_a_time_has_the_lock(self):
        self.locked(WatchedLock)

    def test_one_at_a_time_has_the_lock_that_scripts_give_back(self):
        try:
            self.client.script_exists("0" * 40)
        except redis.ResponseError as error:
            self.skipTest("no scripts yet: %s" % str(error)[:60])
        self.locked(redis.lock.Lock)

    def test_a_lock_ends_by_itself_and_is_not_given_back_by_whoever_has_lost_it(self):
        first, second = (WatchedLock(self.client, "lock", timeout=timeout, blocking_timeout=20) for timeout in (0.2, 60))
        self.assertTrue(first.acquire())
        self.assertFalse(WatchedLock(self.client, "lock", timeout=60).acquire(blocking=False))
        self.assertTrue(second.acquire())       # waits until the first one has expired
        self.assertRaises(redis.exceptions.LockNotOwnedError, first.release)
        self.assertTrue(second.owned())
        second.release()
        self.assertEqual(self.client.exists("lock"), 0)

    def test_pipelines_of_several_threads_are_each_whole(self):
        """A pipeline is a transaction: what it sets together is read together, whoever writes."""
        names, failures = ["part:%d" % number for number in range(10)], []

        def work(start):
            try:
                for number in range(start, start + 150):
                    with self.client.pipeline() as pipe:
                        for name in names:
                            pipe.set(name, number)
                        answers = pipe.mget(names).execute()
                    if answers[:-1] != [True] * len(names) or set(answers[-1]) != {b"%d" % number}:
                        failures.append(answers)
            except Exception as error:  # whatever a thread meets has to reach the test
                failures.append(repr(error))

        threads = [threading.Thread(target=work, args=(1000 * thread,)) for thread in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        self.assertEqual(failures, [])
        self.assertEqual(len(set(self.client.mget(names))), 1)


class RedisCli(InstanceCase):
    IO = 2

    def cli(self, *arguments, stdin=None):
        ended = subprocess.run(["redis-cli", "-p", str(self.instance.port), *arguments], input=stdin, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, timeout=60, check=False)
        return ended.returncode, ended.stdout.decode(errors="replace")

    def test_arguments(self):
        self.assertEqual(self.cli("set", "a b", "c d"), (0, "OK\n"))
        self.assertEqual(self.cli("get", "a b"), (0, "c d\n"))
        self.assertEqual(self.cli("--no-raw", "mget", "a b", "none"), (0, '1) "c d"\n2) (nil)\n'))
        self.assertEqual(self.cli("-n", "5", "get", "a b"), (0, "\n"))
        self.assertIn("ERR unknown command", self.cli("nonsense")[1])

    def test_resp3(self):
        self.assertEqual(self.cli("-3", "--no-raw", "get", "none"), (0, "(nil)\n"))
        self.assertEqual(self.cli("-3", "--no-raw", "config", "get", "maxclients"), (0, '1# "maxclients" => "10000"\n'))
        self.assertIn("# Server", self.cli("-3", "info", "server")[1])

    def test_unix_socket(self):
        ended = run(["redis-cli", "-s", self.instance.unix_path, "echo", "hello"])
        self.assertEqual((ended.returncode, ended.stdout), (0, "hello\n"))

    def test_commands_from_standard_input(self):
        self.assertEqual(self.cli(stdin=b'set k "a\\nb"\nget k\nstrlen k\n\nnonsense\n')[1].splitlines()[:4], ["OK", "a", "b", "3"])

    def test_value_from_standard_input(self):
        value = os.urandom(1 << 20)
        self.assertEqual(self.cli("-x", "set", "big", stdin=value), (0, "OK\n"))
        with self.instance.wire() as wire:
            self.assertEqual(wire.command("GET", "big"), b"$1048576\r\n" + value + b"\r\n")

    def test_repeated(self):
        self.cli("set", "n", "0")
        self.assertEqual(self.cli("-r", "100", "incr", "n")[1].split(), [str(number) for number in range(1, 101)])

    def test_pipe(self):
        stream = b"".join(b"*3\r\n$3\r\nSET\r\n$10\r\nk%09d\r\n$9\r\n%09d\r\n" % (number, number) for number in range(PIPED_COMMANDS))
        status, text = self.cli("--pipe", stdin=stream)
        self.assertEqual(status, 0, text)
        self.assertIn("errors: 0, replies: %d" % PIPED_COMMANDS, text)
        with self.instance.wire() as wire:
            self.assertGreaterEqual(int(wire.command("DBSIZE")[1:]), PIPED_COMMANDS)
            self.assertEqual(wire.command("GET", "k%09d" % 77777), b"$9\r\n000077777\r\n")

    # --- its own tools, in both protocols

    PROTOCOLS = ([], ["-3"])

    def filled(self, count=3000):
        self.cli("flushall")
        with self.instance.wire() as wire:
            wire.exchange([b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\nkey:%d\r\n$1\r\nv\r\n" % (len("key:%d" % number), number) for number in range(count - 1))], count - 1)
            wire.command("SET", "the big one", "x" * 70_000)

    def test_help(self):
        """Its own texts, and those of commands that it does not know, by COMMAND DOCS."""
        for options in self.PROTOCOLS:
            status, text = self.cli(*options, "help", "set")
            self.assertEqual(status, 0, text)
            self.assertRegex(text, r"(?s)SET.*summary:.* Set the string value of a key.*since:.* 1\.0\.0.*group:.* string")
            status, text = self.cli(*options, "--no-raw", "command", "docs", "getex", "bitop", "client|id")
            self.assertEqual(status, 0, text)
            for word in ('"getex"', '"bitop"', '"summary"', '"since"', '"group"', '"complexity"'):
                self.assertIn(word, text)
            self.assertGreater(len(self.cli(*options, "command", "docs")[1]), 5000)

    def test_bigkeys(self):
        self.filled()
        for options in self.PROTOCOLS:
            status, text = self.cli(*options, "--bigkeys")
            self.assertEqual(status, 0, text)
            self.assertRegex(text, r'Biggest string found \'"the big one"\' has 70000 bytes')
            self.assertIn("Sampled 3000 keys in the keyspace", text)
            self.assertRegex(text, r"3000 strings with \d+ bytes \(100.00% of keys")

    def test_memkeys(self):
        self.filled()
        if "unknown command" in self.cli("memory", "usage", "key:1")[1]:
            self.skipTest("MEMORY USAGE is not here yet")
        for options in self.PROTOCOLS:
            status, text = self.cli(*options, "--memkeys")
            self.assertEqual(status, 0, text)
            self.assertRegex(text, r'Biggest string found \'"the big one"\' has \d+ bytes')
            self.assertIn("Sampled 3000 keys in the keyspace", text)

    def test_scan(self):
        self.filled()
        names = {"key:%d" % number for number in range(2999)} | {"the big one"}
        for options in self.PROTOCOLS:
            status, text = self.cli(*options, "--scan")
            self.assertEqual((status, set(text.splitlines())), (0, names))
            status, text = self.cli(*options, "--scan", "--pattern", "key:12?")
            self.assertEqual((status, sorted(text.split())), (0, ["key:12%d" % number for number in range(10)]))
            status, text = self.cli(*options, "--scan", "--quoted-pattern", '"the\\x20*"')
            self.assertEqual((status, text.strip()), (0, "the big one"))

    def test_stat(self):
        """It goes on for ever: three of its lines are read, which come one by one because of stdbuf."""
        self.filled()
        for options in self.PROTOCOLS:
            process = subprocess.Popen(["stdbuf", "-oL", "redis-cli", "-p", str(self.instance.port), *options, "--stat", "-i", "0.05"], stdin=subprocess.DEVNULL,
                                       stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            with process:
                try:
                    lines = [process.stdout.readline() for _ in range(5)]
                finally:
                    process.kill()
            self.assertIn("keys", lines[1])
            for line in lines[2:]:
                self.assertRegex(line, r"^3000 +\d+\.\d+[KM] +\d+ +\d+ +\d+ \(\+\d+\)")

    def test_latency(self):
        """Not on a terminal, it prints one line of numbers after the time that -i says."""
        for options in self.PROTOCOLS:
            status, text = self.cli(*options, "--latency", "-i", "0.3")
            self.assertEqual(status, 0, text)
            least, most, mean, samples = map(float, text.split()[:4])
            self.assertTrue(0 <= least <= mean <= most, text)
            self.assertGreater(samples, 5, text)

    def test_pipe_of_inline_commands_and_both_protocols(self):
        for options in self.PROTOCOLS:
            status, text = self.cli(*options, "--pipe", stdin=b"".join(b"SET inline:%d %d\r\n" % (number, number) for number in range(2000)))
            self.assertEqual(status, 0, text)
            self.assertIn("errors: 0, replies: 2000", text)

    def test_pipe_counts_errors(self):
        status, text = self.cli("--pipe", stdin=b"SET k x\r\nINCR k\r\nnonsense\r\nGET k\r\n")
        self.assertNotEqual(status, 0)
        self.assertIn("errors: 2, replies: 4", text)

    def test_same_output_as_with_redis_server(self):
        oracle = Oracle()
        self.addCleanup(oracle.stop)
        self.cli("flushall")
        for line in ("set k v", "get k", "mget k n", "incr k", "nonsense a b", "del k n", "type k", "dbsize", "get", "ping hi", "select 99"):
            for options in ([], ["-3"], ["--no-raw"], ["--csv"], ["-3", "--json"]):
                theirs = run(["redis-cli", "-p", oracle.port, *options, *line.split()])
                ours = run(["redis-cli", "-p", self.instance.port, *options, *line.split()])
                self.assertEqual((ours.returncode, ours.stdout, ours.stderr), (theirs.returncode, theirs.stdout, theirs.stderr), (options, line))


class Benchmark(InstanceCase):
    """redis-benchmark ends well and says a rate for each of its tests."""

    TESTS = {"PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET (10 keys)"}

    def benchmark(self, *arguments):
        ended = run(["redis-benchmark", "-t", "ping,set,get,incr,mset", "-n", "3000", "-c", "20", "--csv", *arguments], 120)
        self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
        self.assertNotIn("rror", ended.stderr)
        rows = list(csv.DictReader(io.StringIO(ended.stdout)))
        self.assertEqual({row["test"] for row in rows}, self.TESTS, ended.stdout)
        for row in rows:
            self.assertGreater(float(row["rps"]), 100, row)

    def both_ways(self, *arguments):
        self.benchmark("-p", str(self.instance.port), *arguments)
        self.benchmark("-s", self.instance.unix_path, *arguments)

    def test_depth_1(self):
        self.both_ways("-P", "1")

    def test_depth_16(self):
        self.both_ways("-P", "16")

    def test_many_keys_and_large_values(self):
        self.both_ways("-P", "4", "-r", "1000", "-d", "5000")

    def test_as_people_call_it(self):
        """Quietly, with the tests of strings that it has by default, in both protocols: a line of requests a second for each, and no error."""
        for options in (["-P", "1"], ["-P", "16"], ["-P", "16", "-3"]):
            ended = run(["redis-benchmark", "-p", self.instance.port, "-t", "set,get,incr,mset,ping", "-n", "5000", "-q", *options], 120)
            self.assertEqual(ended.returncode, 0, ended.stdout + ended.stderr)
            self.assertNotRegex(ended.stdout + ended.stderr, "(?i)error|warning")
            rates = re.findall(r"([A-Z_0-9]+(?: \(10 keys\))?): [\d.]+ requests per second", ended.stdout)
            self.assertEqual(set(rates), self.TESTS, ended.stdout)

    def test_three_threads_of_clients(self):
        self.both_ways("-P", "16", "--threads", "3")


class BenchmarkOneIoConn(Benchmark):
    IO = 1


class BenchmarkFourIoConn(Benchmark):
    IO = 4


if __name__ == "__main__":
    unittest.main()
