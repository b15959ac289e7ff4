#!/usr/bin/env python3
"""Lets Spin look at every behaviour of strict_pair.pml within its bounds; shows that it sees what it is there to see.

    run.py [--long] [--only WORD] [--folder FOLDER]
    run.py --show DEFINE...        the shortest way to what is wrong with these defines, one line an event

Three things are required: the bounded pairs of PAIRS have no error; each MISTAKE_... of the model, a rule left out, has one; each REACH_...,
a situation without which the model would show nothing, comes about. --long adds the pairs that take minutes and 5 GB. FOLDER (default:
build/model) is for what Spin and gcc make. The last line is "N passed, N failed".
"""

import argparse
import collections
import concurrent.futures
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = pathlib.Path(__file__).resolve().with_name("strict_pair.pml")
LONGEST_PATH = 100_000          # more than any path has; Spin says when it was not enough
SECONDS = 1500

Bounds = collections.namedtuple("Bounds", "writes crashes promotions timeouts orders alone memory_mb", defaults=(False, 2500))
SMALL = Bounds(writes=2, crashes=1, promotions=1, timeouts=1, orders=1)
PAIRS = {
    "two deaths": Bounds(writes=2, crashes=2, promotions=1, timeouts=1, orders=1),
    "two promotions and two timeouts": Bounds(writes=2, crashes=1, promotions=2, timeouts=2, orders=1),
    "three writes and two timeouts": Bounds(writes=3, crashes=1, promotions=1, timeouts=2, orders=1),
    "alone, two timeouts": SMALL._replace(timeouts=2, alone=True),
}
LONG_PAIRS = {
    "two deaths and two promotions": Bounds(writes=2, crashes=2, promotions=2, timeouts=1, orders=1, memory_mb=5500),
    "alone, two deaths": Bounds(writes=2, crashes=2, promotions=1, timeouts=1, orders=1, alone=True, memory_mb=5500),
}
# The mistakes that do harm only once a server acknowledges without the other one.
ONLY_ALONE = ("MISTAKE_ALONE_HEEDS_LATE_VOID_RECORD", "MISTAKE_ALONE_WHILE_HANDING_OVER", "MISTAKE_LOWER_EPOCH_GOES_ON")

Outcome = collections.namedtuple("Outcome", "error complete states depth seconds")


def defines_of(bounds):
    values = [("WRITES", bounds.writes), ("CRASHES", bounds.crashes), ("PROMOTIONS", bounds.promotions), ("TIMEOUTS", bounds.timeouts),
              ("ORDERS", bounds.orders)]
    return ["-D%s=%d" % pair for pair in values] + (["-DALONE"] if bounds.alone else [])


def call(arguments, folder):
    done = subprocess.run(arguments, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=SECONDS)
    return done.returncode, done.stdout


def required(arguments, folder):
    status, text = call(arguments, folder)
    if status != 0:
        sys.exit("run.py: %s failed in %s:\n%s" % (" ".join(arguments), folder, text[-3000:]))
    return text


def build(folder, defines, memory_mb, extra=()):
    """A program that looks at all of the states of the model with these defines."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    shutil.copy(MODEL, folder)
    required(["spin", "-a", *defines, MODEL.name], folder)
    required(["gcc", "-O2", "-w", "-DSAFETY", "-DNOFAIR", "-DCOLLAPSE", "-DMEMLIM=%d" % memory_mb, *extra, "-o", "pan", "pan.c"], folder)


def look(folder):
    """What the program of the folder finds."""
    _, text = call(["./pan", "-m%d" % LONGEST_PATH, "-w22"], folder)
    (folder / "found").write_text(text)
    error = re.search(r"^pan:\d+: (.*)$", text, re.MULTILINE)
    states = re.search(r"(\d+) states, stored", text)
    depth = re.search(r"depth reached (\d+), errors: (\d+)", text)
    if not states or not depth:
        return Outcome("no result: " + text.strip()[-300:], False, 0, 0, 0)
    complete = "Search not completed" not in text and "max search depth too small" not in text
    return Outcome(error.group(1) if error else None, complete, int(states.group(1)), int(depth.group(1)), 0)


def events(folder, defines):
    """The events of the trail in the folder, of which the last ends in the error."""
    _, text = call(["spin", "-t", *defines, MODEL.name], folder)
    return [line.strip() for line in text.splitlines() if re.match(r" *[01]: |spin: ", line)]


def run(name, defines, memory_mb, folder):
    start = time.monotonic()
    build(folder, defines, memory_mb)
    outcome = look(folder)._replace(seconds=time.monotonic() - start)
    return name, defines, folder, outcome


def seeded(prefix):
    return sorted(set(re.findall(r"#if(?:n?def) (%s_[A-Z_]+)" % prefix, MODEL.read_text(encoding="utf-8"))))


def figures(outcome):
    return "%d states, depth %d, %.0f s" % (outcome.states, outcome.depth, outcome.seconds)


def judge_pair(found):
    name, defines, folder, outcome = found
    if outcome.error is None and outcome.complete:
        print("ok    %-40s %s" % (name, figures(outcome)), flush=True)
        return True
    print("FAIL  %-40s %s" % (name, outcome.error or "the search did not get to its end"))
    if "assertion" in (outcome.error or ""):
        print("      " + "\n      ".join(events(folder, defines)), flush=True)
    return False


def judge_seeded(found):
    name, _, _, outcome = found
    seen = "assertion violated" in (outcome.error or "")
    print("%-5s %-56s %s" % ("ok" if seen else "FAIL", name, "found after %d states" % outcome.states if seen else outcome.error or "not found"), flush=True)
    return seen


def show(names, folder):
    defines = defines_of(SMALL) + ["-D" + name for name in names] + (["-DALONE"] if set(names) & set(ONLY_ALONE) else [])
    build(folder, defines, 4000, ["-DREACH"])
    call(["./pan", "-m%d" % LONGEST_PATH, "-w22", "-i"], folder)
    print("\n".join(events(folder, defines)))


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--long", action="store_true")
    parser.add_argument("--only", default="", metavar="WORD", help="pairs, mistakes and situations whose name contains this")
    parser.add_argument("--folder", type=pathlib.Path, default=ROOT / "build" / "model")
    parser.add_argument("--show", nargs="+", metavar="DEFINE")
    options = parser.parse_args()
    folder = options.folder.resolve()
    if shutil.which("spin") is None:
        sys.exit("run.py: there is no spin: apt-get install spin")
    if options.show:
        show(options.show, folder / "show")
        return

    mistakes, situations = seeded("MISTAKE"), seeded("REACH")
    unknown = set(ONLY_ALONE) - set(mistakes)
    if unknown or len(mistakes) < 20 or len(situations) < 5:
        sys.exit("run.py: the model does not have the mistakes that this expects: %s" % (", ".join(sorted(unknown)) or "too few"))
    pairs = dict(PAIRS, **(LONG_PAIRS if options.long else {}))
    passed = []
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        def start(name, bounds, more=()):
            return pool.submit(run, name, defines_of(bounds) + list(more), bounds.memory_mb, folder / re.sub(r"\W+", "_", name))
        small = [start(name, bounds) for name, bounds in pairs.items() if options.only in name and bounds.memory_mb <= 2500]
        wrong = [start(name, SMALL._replace(alone=name in ONLY_ALONE), ["-D" + name]) for name in mistakes + situations if options.only in name]
        passed += [judge_pair(job.result()) for job in small]
        passed += [judge_seeded(job.result()) for job in wrong]
    for name, bounds in pairs.items():                     # these want the memory for themselves
        if options.only in name and bounds.memory_mb > 2500:
            passed.append(judge_pair(run(name, defines_of(bounds), bounds.memory_mb, folder / re.sub(r"\W+", "_", name))))
    print("%d passed, %d failed" % (sum(passed), len(passed) - sum(passed)))
    sys.exit(0 if passed and all(passed) else 1)


if __name__ == "__main__":
    main()
