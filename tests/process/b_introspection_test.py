"""COMMAND, CONFIG GET and INFO tell about our commands, options and fields in the shape and by the names of redis-server."""

import re
import time
import unittest

import compare
from compare import CompareCase, start_sides, stop_sides
from harness import needs_millrace
from wire import decode

COMMANDS = {"ping", "echo", "quit", "reset", "hello", "select", "auth", "get", "set", "getset", "getdel", "setnx", "mset", "mget",
            "del", "exists", "incr", "decr", "incrby", "decrby", "append", "strlen", "type", "dbsize", "flushall", "command",
            "config", "info", "client"}
INFO_FIELDS = {
    "Server": ["redis_version", "redis_mode", "os", "arch_bits", "process_id", "run_id", "tcp_port", "uptime_in_seconds",
               "uptime_in_days"],
    "Clients": ["connected_clients", "maxclients", "blocked_clients"],
    "Memory": ["used_memory", "used_memory_human", "maxmemory", "maxmemory_policy"],
    "Stats": ["total_connections_received", "total_commands_processed", "keyspace_hits", "keyspace_misses", "rejected_connections",
              "expired_keys", "evicted_keys", "total_net_input_bytes", "total_net_output_bytes"],
    "Replication": ["role", "connected_slaves"],
    "CPU": ["used_cpu_sys", "used_cpu_user"],
}
OWN_SECTIONS = ("Millrace", "Keyspace", "Commandstats", "Errorstats", "Latencystats")  # what they list depends on use
OPTIONS = ("port", "bind", "maxclients", "timeout", "tcp-keepalive", "proto-max-bulk-len", "databases", "unixsocket", "loglevel", "save",
           "appendonly")


def setUpModule():
    start_sides()


def tearDownModule():
    stop_sides()


class ShapeCase(CompareCase):
    """Tests that look at each server by itself, on a connection of its own."""

    def for_each_subject(self, protocol=2):
        for name, subject in compare.sides.subjects.items():
            with subject.wire() as wire:
                compare.hello(wire, protocol)
                yield name, wire

    def oracle_says(self, *arguments, protocol=2):
        with compare.sides.oracle.wire() as wire:
            compare.hello(wire, protocol)
            return decode(wire.command(*arguments))


class Command(ShapeCase):
    def test_count_is_the_length_of_the_list(self):
        for name, wire in self.for_each_subject():
            count = decode(wire.command("COMMAND", "COUNT"))
            self.assertEqual(len(decode(wire.command("COMMAND"))), count, name)
            self.assertGreaterEqual(count, len(COMMANDS), name)

    def test_every_row_says_what_redis_says(self):
        theirs = {row[0]: row for row in self.oracle_says("COMMAND")}
        for name, wire in self.for_each_subject():
            rows = decode(wire.command("COMMAND"))
            for row in rows:
                their = theirs.get(row[0])
                if their is None:
                    continue
                self.assertEqual(len(row), len(their), (name, row))
                self.assertEqual((row[1], row[3:6]), (their[1], their[3:6]), "arity or key positions of %r" % row[0])
                for flag in ("readonly", "write", "denyoom"):
                    self.assertEqual(flag in row[2], flag in their[2], "flag %s of %r" % (flag, row[0]))
            self.assertEqual(COMMANDS - {row[0].decode() for row in rows}, set(), name)

    def test_info_of_some(self):
        for name, wire in self.for_each_subject():
            rows = decode(wire.command("COMMAND", "INFO", "get", "nonsense", "SET"))
            self.assertEqual([row and row[0] for row in rows], [b"get", None, b"set"], name)
            self.assertEqual([row[1] for row in (rows[0], rows[2])], [2, -3], name)

    def test_info_of_an_unknown_one(self):
        self.same("COMMAND INFO nonsense", "COMMAND INFO nonsense other", "COMMAND DOCS nonsense", "COMMAND COUNT x")

    def test_docs(self):
        for protocol in (2, 3):
            theirs = self._docs(self.oracle_says("COMMAND", "DOCS", "get", "SET", protocol=protocol), protocol)
            for name, wire in self.for_each_subject(protocol):
                ours = self._docs(decode(wire.command("COMMAND", "DOCS", "get", "SET")), protocol)
                self.assertEqual(set(ours), {b"get", b"set"}, name)
                for command, fields in ours.items():
                    self.assertEqual(set(fields) - set(theirs[command]), set(), (name, command))
                    self.assertTrue(fields[b"summary"], (name, command))

    def _docs(self, reply, protocol):
        """{command: {field: value}} from either protocol's shape."""
        if protocol == 3:
            return reply
        return {command: dict(zip(fields[::2], fields[1::2])) for command, fields in zip(reply[::2], reply[1::2])}

    def test_docs_of_all_lists_every_command(self):
        for name, wire in self.for_each_subject(3):
            docs, rows = decode(wire.command("COMMAND", "DOCS")), decode(wire.command("COMMAND"))
            self.assertEqual(set(docs), {row[0] for row in rows}, name)


class ConfigGet(ShapeCase):
    def test_known_options(self):
        for name, wire in self.for_each_subject(3):
            for option in OPTIONS:
                self.assertEqual(list(decode(wire.command("CONFIG", "GET", option))), [option.encode()], name)

    def test_same_values_where_both_have_defaults(self):
        self.same(*["CONFIG GET " + option for option in ("maxclients", "timeout", "tcp-keepalive", "proto-max-bulk-len",
                                                          "databases", "save", "appendonly", "bind", "loglevel")])

    def test_port_is_the_one_that_was_asked_for(self):
        for name, subject in compare.sides.subjects.items():
            with subject.wire() as wire:
                self.assertEqual(decode(wire.command("CONFIG", "GET", "port")), [b"port", b"%d" % subject.port], name)
                self.assertEqual(decode(wire.command("CONFIG", "GET", "unixsocket")), [b"unixsocket", subject.unix_path.encode()])

    def test_unknown_and_case(self):
        self.same("CONFIG GET nonsense", "CONFIG GET MaxClients", "config get TIMEOUT", ("CONFIG", "GET", ""), "CONFIG GET",
                  "CONFIG GET maxclient", "CONFIG GET maxclients?")

    def test_patterns(self):
        self.same("CONFIG GET maxcl*", "CONFIG GET m?xclients", "CONFIG GET [lm]axclients", "CONFIG GET max[a-d]lients",
                  "CONFIG GET [^a]axclients", "CONFIG GET *xclients", "CONFIG GET MAXCL*", ("CONFIG", "GET", "max\\clients"),
                  "CONFIG GET databases*", "CONFIG GET max[")

    def test_several_patterns_give_each_option_once(self):
        for name, wire in self.for_each_subject(3):
            reply = wire.command("CONFIG", "GET", "timeout", "maxclients", "nonsense", "timeout", "t*")
            fields = decode(reply)
            self.assertLessEqual({b"timeout", b"maxclients", b"tcp-keepalive"}, set(fields), name)
            self.assertTrue(all(field == b"maxclients" or field.startswith(b"t") for field in fields), fields)
            self.assertEqual(int(reply[1:reply.index(b"\r")]), len(fields), "%s: an option comes twice" % name)

    @needs_millrace
    def test_star_gives_everything_by_known_names(self):
        theirs = set(self.oracle_says("CONFIG", "GET", "*", protocol=3))
        for name, wire in self.for_each_subject(3):
            ours = decode(wire.command("CONFIG", "GET", "*"))
            self.assertLessEqual({option.encode() for option in OPTIONS}, set(ours), name)
            self.assertLessEqual({b"io-conns", b"ring-size"}, set(ours) - theirs, name)


class Info(ShapeCase):
    def sections(self, wire, *arguments):
        """{section: {field: value}} of a reply whose form is checked."""
        text = decode(wire.command("INFO", *arguments)).decode()
        sections, current = {}, None
        for line in text.split("\r\n"):
            if line.startswith("# "):
                current = sections.setdefault(line[2:], {})
            elif line:
                self.assertRegex(line, r"\A[a-zA-Z0-9_|.-]+:.*\Z")
                self.assertIsNotNone(current, "a field before the first section: " + line)
                field, _, value = line.partition(":")
                self.assertNotIn(field, current)
                current[field] = value
        return sections

    def oracle_sections(self):
        with compare.sides.oracle.wire() as wire:
            wire.command("SET", "k", "v", "PX", "100000")
            return self.sections(wire, "everything")

    def test_sections_and_fields_are_redis_ones(self):
        theirs = self.oracle_sections()
        for name, wire in self.for_each_subject():
            wire.command("SET", "k", "v", "PX", "100000")
            ours = self.sections(wire)
            for section, fields in ours.items():
                if section not in OWN_SECTIONS:
                    self.assertIn(section, theirs, name)
                    foreign = {field for field in set(fields) - set(theirs[section]) if not field.startswith("millrace_")}
                    self.assertEqual(foreign, set(), "%s: unknown fields in %s" % (name, section))
            for section, fields in INFO_FIELDS.items():
                self.assertEqual(set(fields) - set(ours.get(section, {})), set(), "%s: missing in %s" % (name, section))

    def test_values_that_are_known(self):
        for name, subject in compare.sides.subjects.items():
            compare.empty(subject)
            with subject.wire() as wire, subject.wire() as second:
                second.command("PING")  # accepted by now, perhaps by another process
                before = self.sections(wire)
                wire.command("MSET", "a", "1", "b", "2")
                wire.command("SET", "c", "3", "EX", "100")
                wire.command("SELECT", "3")
                wire.command("SET", "a", "1")
                after = self.sections(wire)
            self.assertTrue(after["Server"]["redis_version"].startswith("7.0"), name)
            self.assertEqual(after["Server"]["tcp_port"], str(subject.port), name)
            self.assertEqual(after["Clients"]["connected_clients"], "2", name)
            self.assertRegex(after["Keyspace"]["db0"], r"\Akeys=3,expires=1,avg_ttl=\d+\Z", name)
            self.assertRegex(after["Keyspace"]["db3"], r"\Akeys=1,expires=0,avg_ttl=0\Z", name)
            self.assertEqual(after["Replication"]["role"], "master", name)
            commands = [int(sections["Stats"]["total_commands_processed"]) for sections in (before, after)]
            self.assertGreaterEqual(commands[1], commands[0] + 5, name)

    def test_the_fields_that_are_here_come_in_redis_order(self):
        with compare.sides.oracle.wire() as wire:
            theirs = self.sections(wire, "everything")
        for name, wire in self.for_each_subject():
            for section, fields in self.sections(wire, "everything").items():
                if section not in OWN_SECTIONS:
                    here = [field for field in fields if field in theirs[section]]
                    self.assertEqual([field for field in theirs[section] if field in here], here, (name, section))

    def test_rates(self):
        for name, subject in compare.sides.subjects.items():
            with subject.wire() as wire:
                deadline = time.monotonic() + 5
                while True:
                    for _ in range(2000):
                        wire.command("SET", "k", "v" * 100)
                    stats = self.sections(wire, "stats")["Stats"]
                    if int(stats["instantaneous_ops_per_sec"]) > 100 and float(stats["instantaneous_input_kbps"]) > 10 and float(stats["instantaneous_output_kbps"]) > 1:
                        break
                    self.assertLess(time.monotonic(), deadline, (name, stats))

    @needs_millrace
    def test_what_an_operator_needs(self):
        for name, subject in compare.sides.subjects.items():
            with subject.wire() as wire:
                before = self.sections(wire, "millrace")["Millrace"]
                wire.command("SET", "k", "v")
                after = self.sections(wire, "millrace")["Millrace"]
            self.assertGreater(int(after["commits"]), int(before["commits"]), name)
            self.assertEqual(after["md_standby"], "pid=%d" % subject.pids("md_standby")[0], name)
            self.assertTrue(after["rings"].startswith("count=%d,bytes=1048576," % (2 * subject.io)), name)

    def test_hits_and_misses(self):
        for name, subject in compare.sides.subjects.items():
            compare.empty(subject)
            with subject.wire() as wire:
                wire.command("SET", "k", "v")
                before = self.sections(wire, "stats")["Stats"]
                wire.command("GET", "k")
                wire.command("GET", "none")
                wire.command("MGET", "k", "none", "k")
                after = self.sections(wire, "stats")["Stats"]
            grown = {field: int(after[field]) - int(before[field]) for field in ("keyspace_hits", "keyspace_misses")}
            self.assertEqual(grown, {"keyspace_hits": 3, "keyspace_misses": 2}, name)

    def test_chosen_sections(self):
        for name, wire in self.for_each_subject():
            self.assertEqual(list(self.sections(wire, "server")), ["Server"], name)
            self.assertEqual(list(self.sections(wire, "SERVER")), ["Server"], name)
            self.assertEqual(set(self.sections(wire, "clients", "cpu")), {"Clients", "CPU"}, name)
            self.assertEqual(set(self.sections(wire, "default")), set(self.sections(wire)), name)
            self.assertLessEqual(set(self.sections(wire, "all")), set(self.sections(wire, "everything")), name)

    def test_unknown_section(self):
        self.same("INFO nonsense", ("INFO", ""), "INFO nonsense other")

    def test_is_verbatim_in_resp3(self):
        for name, wire in self.for_each_subject(3):
            self.assertTrue(re.match(rb"\A=\d+\r\ntxt:# Server", wire.command("INFO", "server")), name)
        for name, wire in self.for_each_subject(2):
            self.assertTrue(re.match(rb"\A\$\d+\r\n# Server", wire.command("INFO", "server")), name)


if __name__ == "__main__":
    unittest.main()
