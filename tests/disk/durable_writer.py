#!/usr/bin/python3
"""The program that t_disk_shim_test.py runs under the shim: appends records to a log and replaces a snapshot, and acknowledges what is durable.

    durable_writer.py FOLDER JOURNAL ACKNOWLEDGEMENTS MISTAKE SEED STEPS

An acknowledgement is a line "log NUMBER JOURNAL-BYTES" or "snapshot NUMBER JOURNAL-BYTES" in a file outside of the folder. MISTAKE is "none", or the
name of the one thing that is done wrong. `recover` reads a folder as a start of such a program would. A program that is started again goes on
where the folder ends.
"""

import os
import random
import struct
import sys
import zlib
from pathlib import Path

HEAD = struct.Struct("<IIQ")        # bytes of the payload, checksum of number and payload, number
PER_LOG, PER_SNAPSHOT = 12, 7
PAYLOAD_MAX = 6000


def packed(number, payload):
    check = zlib.crc32(struct.pack("<Q", number) + payload)
    return HEAD.pack(len(payload), check, number) + payload


def whole_records(data):
    """The numbers of the records up to the first that is not whole, and where that one begins."""
    numbers, at = [], 0
    while at + HEAD.size <= len(data):
        length, check, number = HEAD.unpack_from(data, at)
        payload = data[at + HEAD.size:at + HEAD.size + length]
        if len(payload) < length or zlib.crc32(struct.pack("<Q", number) + payload) != check or number == 0:
            break
        numbers.append(number)
        at += HEAD.size + length
    return numbers, at


def logs_of(folder):
    return sorted(Path(folder).glob("log.*"))


def recover(folder):
    """(number of the last record before a gap, number of the snapshot); 0 for none."""
    last, snapshot = 0, Path(folder) / "snapshot"
    for path in logs_of(folder):
        for number in whole_records(path.read_bytes())[0]:
            last = number if number == last + 1 else last
    numbers = whole_records(snapshot.read_bytes())[0] if snapshot.exists() else []
    return last, numbers[0] if numbers else 0


class Writer:
    def __init__(self, folder, journal, acknowledgements, mistake, seed):
        self.folder, self.journal, self.mistake = folder, journal, mistake
        self.random = random.Random(seed)
        self.acknowledgements = os.open(acknowledgements, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.makedirs(folder, exist_ok=True)
        self.folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self.number = recover(folder)[0]
        self.log = None

    def acknowledge(self, what):
        os.write(self.acknowledgements, b"%s %d %d\n" % (what.encode(), self.number, os.stat(self.journal).st_size))

    def payload(self):
        return self.random.randbytes(self.random.choice((3, 100, 700, PAYLOAD_MAX)))

    def sync(self, fd):
        if self.mistake == "no fsync":
            return
        try:
            self.random.choice((os.fsync, os.fdatasync))(fd)
        except OSError:
            if self.mistake != "trusts the second fsync":
                raise
            os.fsync(fd)

    def sync_folder(self):
        if self.mistake != "no fsync of the folder":
            os.fsync(self.folder_fd)

    def new_log(self):
        """A log of a program that has ended before may end in half a record: it is left alone."""
        if self.log is not None:
            os.close(self.log)
        name = "log.%08d" % (self.number + 1)
        self.log = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600, dir_fd=self.folder_fd)
        self.sync_folder()

    def append(self):
        if self.log is None or self.number % PER_LOG == 0:
            self.new_log()
        self.number += 1
        os.write(self.log, packed(self.number, self.payload()))
        if self.mistake == "acknowledges too early":
            self.acknowledge("log")
        self.sync(self.log)
        if self.mistake != "acknowledges too early":
            self.acknowledge("log")

    def replace_snapshot(self):
        fd = os.open(os.path.join(self.folder, "snapshot.tmp"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(fd, packed(self.number, self.payload()))
        self.sync(fd)
        os.close(fd)
        os.rename("snapshot.tmp", "snapshot", src_dir_fd=self.folder_fd, dst_dir_fd=self.folder_fd)
        self.sync_folder()
        self.acknowledge("snapshot")

    def run(self, steps):
        for _ in range(steps):
            self.append()
            if self.number % PER_SNAPSHOT == 0:
                self.replace_snapshot()


if __name__ == "__main__":
    Writer(*sys.argv[1:6]).run(int(sys.argv[6]))
