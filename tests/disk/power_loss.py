#!/usr/bin/python3
"""Makes a folder as a disk might have it after a power loss at the end of the journal that disk_shim.so has written.

    power_loss.py --base FOLDER --journal FILE --out FOLDER --seed N [--keep none|random|all] [--upto BYTES]
    power_loss.py --base FOLDER --journal FILE --check FOLDER

The base is a copy of the folder as it was when the journal began; what is in it is durable. --upto loses the power earlier, when the journal
had that many bytes: whoever notes the journal's size at an acknowledgement knows which points come after it. --check says whether the
journal explains the folder as it is now: only then has the shim seen everything.

What is sure is there (disk_model.py). What is not:

  L1  Each sector of 512 bytes of a file has any one of the contents that it had from its last sure change on; the sectors of a page are mostly
      written together. The size is any that the file had since its last sure change; what lies below it and was not written is zeros.
  L2  Each change of a name is there or not, by itself, in the order in which they were made. A rename is never half there: a file has one name.
  L3  "none" keeps only what is sure, "all" everything; "random" draws for each outcome how much is likely to be kept, so that extremes occur.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

from disk_model import Folder, Model, Unclear, contents

SECTOR, PAGE = 512, 4096
LIKELY = (0.0, 0.1, 0.5, 0.9, 1.0)
# How often a page's sectors go different ways.
TORN = 0.1


class Chance:
    """Draws what is kept of that which is not sure."""

    def __init__(self, seed, keep):
        self.random, self.keep = random.Random(seed), keep
        self.likely = {"none": 0.0, "all": 1.0}.get(keep)

    def new_likelihood(self):
        return self.random.choice(LIKELY) if self.likely is None else self.likely

    def keeps(self, likely):
        return self.random.random() < likely

    def version(self, first, last, newest):
        """One of first..last: usually the newest or the oldest, as asked for."""
        if self.likely is None and self.random.random() < TORN:
            return self.random.randint(first, last)
        return last if newest else first


class Sectors:
    """A file from its first unsure change on: what each sector and the size have been, and from which version on that is sure."""

    def __init__(self, file):
        self.bytes = file.first_bytes()
        self.size = len(self.bytes)
        self.versions, self.sure = {}, {}
        for change in file.operations[:file.settled]:
            self._apply(change)
        self.sizes, self.sure_size = [self.size], 0
        for change in file.operations[file.settled:]:
            self._change(change)

    def _apply(self, change):
        """Returns the range of bytes that have changed."""
        if change.size is not None:
            begin, end = min(change.size, self.size), self.size
            del self.bytes[begin:]
            self.size = change.size
            return begin, end
        end = change.offset + len(change.data)
        if len(self.bytes) < change.offset:
            self.bytes.extend(bytes(change.offset - len(self.bytes)))
        self.bytes[change.offset:end] = change.data
        self.size = max(self.size, end)
        return change.offset, end

    def _sector(self, number):
        return bytes(self.bytes[number * SECTOR:(number + 1) * SECTOR]).ljust(SECTOR, b"\0")

    def _change(self, change):
        begin, end = (min(change.size, self.size), self.size) if change.size is not None else (change.offset, change.offset + len(change.data))
        touched = range(begin // SECTOR, -(-end // SECTOR))
        for number in touched:
            self.versions.setdefault(number, [self._sector(number)])
        self._apply(change)
        for number in touched:
            self.versions[number].append(self._sector(number))
            if change.sure:
                self.sure[number] = len(self.versions[number]) - 1
        self.sizes.append(self.size)
        if change.sure:
            self.sure_size = len(self.sizes) - 1

    def outcome(self, chance):
        likely = chance.new_likelihood()
        size = self.sizes[chance.version(self.sure_size, len(self.sizes) - 1, chance.keeps(likely))]
        result = bytearray(self.bytes[:size].ljust(size, b"\0"))
        newest = {}
        for number in sorted(self.versions):
            page = number * SECTOR // PAGE
            if page not in newest:
                newest[page] = chance.keeps(likely)
            versions = self.versions[number]
            chosen = versions[chance.version(self.sure.get(number, 0), len(versions) - 1, newest[page])]
            room = max(0, min(SECTOR, size - number * SECTOR))
            result[number * SECTOR:number * SECTOR + room] = chosen[:room]
        return result


def surviving_names(model, chance):
    """{folder: {name: node}}"""
    entries = {node: dict(node.first) for node in model.nodes if isinstance(node, Folder)}
    likely = chance.new_likelihood()
    for naming in model.namings:
        if naming.sure or chance.keeps(likely):
            naming.apply(entries)
    return entries


def write_folder(folder, entries, path, chance):
    path.mkdir()
    for name, node in sorted(entries[folder].items()):
        if isinstance(node, Folder):
            write_folder(node, entries, path / name, chance)
        else:
            (path / name).write_bytes(Sectors(node).outcome(chance))


def make_outcome(base, journal, out, seed, keep="random", upto=None):
    """Makes the folder `out`, which must not exist yet. `base` may be None or missing: an empty folder."""
    write_outcome(Model(base, journal, upto), out, seed, keep)


def write_outcome(model, out, seed, keep="random"):
    """The same from a model, of which any number of outcomes can be made."""
    chance = Chance(seed, keep)
    write_folder(model.root, surviving_names(model, chance), Path(out), chance)


def unexplained(base, journal, folder):
    """What differs between the folder and what the journal says of it: a list of sentences."""
    with tempfile.TemporaryDirectory() as scratch:
        make_outcome(base, journal, Path(scratch) / "all", 0, "all")
        expected, found = contents(Path(scratch) / "all"), contents(folder)
    lines = []
    for path in sorted(expected.keys() | found.keys()):
        if path not in expected or path not in found:
            lines.append("%s is only in the %s" % (path, "folder" if path in found else "journal"))
        elif expected[path] != found[path]:
            lines.append("%s has other bytes than the journal says" % path)
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--base", type=Path, help="the folder as it was before; without: empty")
    parser.add_argument("--journal", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="the folder to make")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", choices=("none", "random", "all"), default="random", help="of what is not sure (%(default)s)")
    parser.add_argument("--upto", type=int, help="only this many bytes of the journal")
    parser.add_argument("--check", type=Path, help="a folder that the journal has to explain")
    options = parser.parse_args()
    try:
        if options.out:
            make_outcome(options.base, options.journal, options.out, options.seed, options.keep, options.upto)
        differences = unexplained(options.base, options.journal, options.check) if options.check else []
    except Unclear as error:
        sys.exit("power_loss.py: the journal does not say enough: %s" % error)
    print("\n".join(differences), end="\n" if differences else "")
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
