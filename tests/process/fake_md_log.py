"""Stands in for md_log in tests of those who listen to it: stops the real one and writes the words of common/log_words.h by itself.

The places of the words are read from that header, so that a test needs no change when it gets another one.
"""

import mmap
import os
import re
import signal
import struct
from pathlib import Path

from harness import wait_for

ROOT = Path(__file__).resolve().parents[2]
PAYLOAD = 4096                      # what stands before it is the segment's header
LINE = 128                          # kCacheLineDistance
IO_CONNS = 64                       # kMaxIoConns
REPLICA_ROWS, REPLICA_ROW = 16, 120  # kReplicasMax, sizeof(ReplicaRow)
PAIR_ROW = 6 * 8                    # bytes of a PairRow: a version and five words
ALL_DURABLE = 2**64 - 1


def places(header="log_words.h", struct_name="LogWords"):
    """{word: (offset, format)} of a struct of words; arrays are word and number, as in save_seen0. Rows have the place of the first, and no format."""
    text = (ROOT / "common" / header).read_text(encoding="utf-8")
    body = re.search(r"struct %s \{\n(.*?)\n\};" % struct_name, text, re.DOTALL).group(1)
    found, at = {}, 0
    for line in body.splitlines():
        if rows := re.match(r"    alignas\(kCacheLineDistance\) std::array<ReplicaRow, kReplicasMax> (\w+);", line):
            at = -(-at // LINE) * LINE
            found[rows.group(1)] = (PAYLOAD + at, None)
            at += REPLICA_ROWS * REPLICA_ROW
            continue
        if re.match(r"    alignas\(kCacheLineDistance\) PairRow (\w+);", line):
            at = -(-at // LINE) * LINE + PAIR_ROW
            continue
        declared = re.match(r"    (alignas\(kCacheLineDistance\) )?std::(array<std::)?atomic<uint(32|64)_t>(?:, kMaxIoConns>)? ([\w, ]+);", line)
        if not declared:
            if not line.strip().startswith("//"):
                raise AssertionError("a line of struct %s does not look like the others: %s" % (struct_name, line))
            continue
        aligned, array, bits, names = declared.groups()
        size = int(bits) // 8
        at = -(-at // (LINE if aligned else size)) * (LINE if aligned else size)
        for name in names.split(", "):
            for word in ["%s%d" % (name, i) for i in range(IO_CONNS)] if array else [name]:
                found[word] = (PAYLOAD + at, "<Q" if size == 8 else "<I")
                at += size
    return found


def has_begun(instance):
    """Whether md_log does nothing of its own accord now, and keeps the promises of `always` if it is to."""
    with instance.wire() as wire:
        info, asked = wire.command("INFO", "everything"), wire.command("CONFIG", "GET", "append*")
    waits = b"always" in asked and b"yes" in asked
    return b"rdb_bgsave_in_progress:0" in info and not (waits and b"log_durable_number:all" in info)


class Words:
    """A struct of words in a segment of an instance, as attributes."""

    def __init__(self, instance, segment, places_of):
        descriptor = os.open(instance.shm_folder() / segment, os.O_RDWR)
        self.__dict__.update(instance=instance, places=places_of, memory=mmap.mmap(descriptor, 0))
        os.close(descriptor)

    def __getattr__(self, name):
        at, kind = self.places[name]
        return struct.unpack_from(kind, self.memory, at)[0]

    def __setattr__(self, name, value):
        at, kind = self.places[name]
        struct.pack_into(kind, self.memory, at, value)


class FakeMdLog(Words):
    """The words of an instance's md_log, as attributes; the real one is stopped until end()."""

    def __init__(self, instance):
        wait_for(lambda: has_begun(instance), 20, "the beginning of the log to be on disk")
        self.__dict__["stopped"] = instance.pids("md_log")
        for pid in self.stopped:
            os.kill(pid, signal.SIGSTOP)
        super().__init__(instance, "log", places())

    def tail(self):
        """(the oplog's tail, the number of the last commit)."""
        with self.instance.wire() as wire:
            info = wire.command("INFO", "millrace")
        return tuple(int(re.search(rb"\r\n%s:(\d+)" % name, info).group(1)) for name in (b"oplog_bytes", b"commits"))

    def make_durable(self, position, number):
        """The disk has all up to here; the io_conn are told."""
        self.durable_position = position
        self.durable_number = number
        self.wake()

    def sync(self):
        self.make_durable(*self.tail())

    def wake(self):
        for path in (self.instance.folder / "run").glob("io_conn-*.fifo"):
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
            os.write(descriptor, b"w")
            os.close(descriptor)

    def end(self):
        """Lets go of everything, and of the real one."""
        self.make_durable(ALL_DURABLE, ALL_DURABLE)
        self.trouble = self.loading = self.saving = 0
        for pid in self.stopped:
            os.kill(pid, signal.SIGCONT)
