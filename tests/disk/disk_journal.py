"""Reads the journal that disk_shim.so writes (journal_format.h has the same bytes): `records` of a file, in the order of the operations."""

import mmap
import os
import struct
import zlib
from collections import namedtuple

MAGIC = 0x4A53484D
HEAD = struct.Struct("<4I3Q4I")
AFTER_CHECK = 8
CREATES, EMPTIES, DURABLE, FOLDER, EVERYTHING = 1, 2, 4, 8, 16

# `end` is where the record ends in the journal; `token` ties a sync's two records together.
Record = namedtuple("Record", "kind id offset token flags path other data end")


def record_at(journal, at, end):
    """The record that begins there, or None when it was cut short by the end of its process."""
    if at + HEAD.size > end:
        return None
    magic, check, length, kind, number, offset, token, flags, _pid, path_bytes, other_bytes = HEAD.unpack_from(journal, at)
    if magic != MAGIC or length < HEAD.size + path_bytes + other_bytes or at + length > end:
        return None
    if zlib.adler32(journal[at + AFTER_CHECK:at + length]) != check:
        return None
    path = at + HEAD.size
    other = path + path_bytes
    data = other + other_bytes
    return Record(chr(kind), number, offset, token, flags, os.fsdecode(journal[path:other]), os.fsdecode(journal[other:data]),
                  journal[data:at + length], at + length)


def records(path, upto=None):
    """All whole records of the journal's first `upto` bytes (default: all)."""
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return
        journal = mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    end = size if upto is None else min(upto, size)
    at = 0
    with journal:
        while at < end:
            record = record_at(journal, at, end)
            if record is not None:
                yield record
                at = record.end
                continue
            at = journal.find(struct.pack("<I", MAGIC), at + 1, end)
            if at < 0:
                return
