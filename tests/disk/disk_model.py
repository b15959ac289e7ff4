"""What a folder is and what of it is durable: replays the shim's journal over a copy of the folder as it was before.

`Model` holds files and names apart, as a disk does. Every operation is sure (covered by a later sync that has succeeded) or not:

  M1  A sync of a file makes its earlier operations sure, its size with them; a sync of a folder the earlier operations on names in it. Neither does
      the other's work. A rename between two folders needs both.
  M2  A sync that fails makes nothing sure, and what it would have covered stays unsure for good (J3 of disk_shim.cc).
  M3  What was there before the journal begins is sure, and so is the folder itself: its own name lies outside of it.
"""

import os
from pathlib import Path

from disk_journal import CREATES, DURABLE, EMPTIES, EVERYTHING, FOLDER, records


class Unclear(Exception):
    """The journal does not say what has happened to the folder: another program changed it, or in a way the shim does not see."""


class Operation:
    """One change. `waits` is what has yet to be synced for it: the file, or one or two folders."""

    def __init__(self, waits):
        self.waits = set(waits)
        self.spoiled = False

    @property
    def sure(self):
        return not self.waits


class Change(Operation):
    """Of a file's bytes: `data` at `offset`, or a new size."""

    def __init__(self, file, offset=0, data=b"", size=None):
        super().__init__([file])
        self.offset, self.data, self.size = offset, data, size


class Naming(Operation):
    """Of names: `node` gets the name `to`, and loses `gone`; each is (folder, name) or None."""

    def __init__(self, node, to=None, gone=None):
        super().__init__([place[0] for place in (to, gone) if place])
        self.node, self.to, self.gone = node, to, gone

    def apply(self, entries):
        """`entries` is a dict of names for each folder."""
        if self.to:
            for names in entries.values():
                for name in [name for name, node in names.items() if node is self.node]:
                    del names[name]
            entries.setdefault(self.to[0], {})[self.to[1]] = self.node
        elif entries.get(self.gone[0], {}).get(self.gone[1]) is self.node:
            del entries[self.gone[0]][self.gone[1]]


class Node:
    """A file or a folder: operations that a sync of it covers, oldest first."""

    def __init__(self):
        self.operations = []
        self.settled = 0        # the operations before this one are sure

    def add(self, operation):
        self.operations.append(operation)

    def synced(self, count):
        for operation in self.operations[self.settled:count]:
            if not operation.spoiled:
                operation.waits.discard(self)
        while self.settled < len(self.operations) and self.operations[self.settled].sure:
            self.settled += 1

    def sync_failed(self, count):
        for operation in self.operations[self.settled:count]:
            operation.spoiled = operation.spoiled or self in operation.waits


class File(Node):
    """`base` is where its first bytes are, None for a new one."""

    def __init__(self, base=None):
        super().__init__()
        self.base = base
        self.size = base.stat().st_size if base else 0

    def change(self, change):
        self.add(change)
        self.size = change.size if change.size is not None else max(self.size, change.offset + len(change.data))

    def resize(self, size):
        self.change(Change(self, size=size))

    def first_bytes(self):
        return bytearray(self.base.read_bytes() if self.base else b"")


class Folder(Node):
    """Its names now; `first` are those that it had at the beginning."""

    def __init__(self):
        super().__init__()
        self.names, self.first = {}, {}


class Model:
    """The folder after a journal's first `upto` bytes."""

    def __init__(self, base, journal, upto=None):
        self.root = Folder()
        self.namings = []
        self.nodes = [self.root]
        self.by_id, self.identified = {}, set()
        self.syncs = {}
        if base is not None and Path(base).exists():
            self._take_base(self.root, Path(base))
        for record in records(journal, upto):
            self._STEPS[record.kind](self, record)

    def _take_base(self, folder, path):
        for entry in sorted(path.iterdir()):
            node = Folder() if entry.is_dir() else File(entry)
            if isinstance(node, Folder):
                self._take_base(node, entry)
            folder.first[entry.name] = folder.names[entry.name] = node
            self.nodes.append(node)

    # --- paths

    def _folder(self, path):
        folder = self.root
        for part in [part for part in path.split("/") if part]:
            folder = folder.names.get(part)
            if not isinstance(folder, Folder):
                raise Unclear("%s is no folder" % path)
        return folder

    def _place(self, path):
        above, _, name = path.rpartition("/")
        return self._folder(above), name

    def _node(self, path):
        folder, name = self._place(path)
        return folder.names.get(name)

    def _name(self, naming):
        for place in {naming.to, naming.gone} - {None}:
            place[0].add(naming)
        self.namings.append(naming)
        if naming.gone:
            naming.gone[0].names.pop(naming.gone[1], None)
        if naming.to:
            naming.to[0].names[naming.to[1]] = naming.node

    def _file(self, record):
        file = self._node(record.path) if record.path else self.by_id.get(record.id)
        if not isinstance(file, File):
            raise Unclear("a file %s%d that was never opened" % (record.path, record.id))
        return file

    # --- what each record does

    def _open(self, record):
        file = self._node(record.path)
        known = self.by_id.get(record.id)
        if file is None:
            if not record.flags & CREATES:
                raise Unclear("%s was made by something else" % record.path)
            file = File()
            self.nodes.append(file)
            self._name(Naming(file, to=self._place(record.path)))
        elif known is not file and file in self.identified:
            raise Unclear("%s was replaced by something else" % record.path)
        self.by_id[record.id] = file
        self.identified.add(file)
        if record.flags & EMPTIES and file.size > 0:
            file.resize(0)
        if file.size != record.offset:
            raise Unclear("%s has %d bytes and not %d: something else wrote it" % (record.path, record.offset, file.size))

    def _write(self, record):
        change = Change(self._file(record), record.offset, record.data)
        if record.flags & DURABLE:
            change.waits.clear()
        self._file(record).change(change)

    def _truncate(self, record):
        self._file(record).resize(record.offset)

    def _extend(self, record):
        file = self._file(record)
        file.resize(max(file.size, record.offset))

    def _rename(self, record):
        node = self._node(record.path)
        if isinstance(node, Folder):
            raise Unclear("the folder %s was renamed, which is not modelled" % record.path)
        if node is not None:
            self._name(Naming(node, to=self._place(record.other), gone=self._place(record.path)))

    def _unlink(self, record):
        node = self._node(record.path)
        if node is not None:
            self._name(Naming(node, gone=self._place(record.path)))

    def _make_folder(self, record):
        if record.path and self._node(record.path) is None:
            node = Folder()
            self.nodes.append(node)
            self._name(Naming(node, to=self._place(record.path)))

    def _sync_begins(self, record):
        if record.flags & EVERYTHING:
            nodes = self.nodes
        else:
            nodes = [self._folder(record.path) if record.flags & FOLDER else self._file(record)]
        self.syncs[record.token] = [(node, len(node.operations)) for node in nodes]

    def _sync_ends(self, record):
        for node, count in self.syncs.pop(record.token, ()):
            node.synced(count)

    def _sync_fails(self, record):
        for node, count in self.syncs.pop(record.token, ()):
            node.sync_failed(count)

    def _unmodelled(self, record):
        raise Unclear(record.path)

    _STEPS = {"O": _open, "W": _write, "T": _truncate, "A": _extend, "R": _rename, "U": _unlink, "K": _make_folder, "B": _sync_begins,
              "E": _sync_ends, "F": _sync_fails, "X": _unmodelled}


def contents(folder):
    """{relative path: bytes, or None for a folder}"""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in folders:
            found[os.path.relpath(os.path.join(above, name), folder)] = None
        for name in files:
            path = os.path.join(above, name)
            found[os.path.relpath(path, folder)] = Path(path).read_bytes()
    return found
