#!/usr/bin/python3
"""Shows that store_steps sees what it is there to see: builds it with each bug of md/seeded_bugs.h that a store can have,
one a build, and requires that it fails; and that it passes without any. The same for the unit tests of channels with each bug
of channel_server.cc, whose other objects are those of the usual build, and the same with each bug of io_conn/seeded_bugs.h: store_steps
sees those of direct readers, a process test that of server_direct.cc. Those of common/disk/seeded_bugs.h are md_log's: process tests of power losses and
of disk trouble see them.

    mutants.py [--build FOLDER] [--jobs N] [--unit "OBJECT..."] [--io-conn "OBJECT..."] [--md-log "OBJECT..."] [--programs FOLDER] [BUG...]

FOLDER (default: build/crash-mutants) is for objects and programs. Without --unit the bugs of channels are left out, without --io-conn
and --programs (where the other programs of a group are) those of server_direct.cc, without --md-log and --programs those of md_log. The last line is
"N passed, N failed".
"""

import argparse
import concurrent.futures
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# The parts of md that a bug can be in, with the readers; one translation unit, because there are many builds.
MUTATED = ["md/write_set.cc", "md/commit.cc", "md/allocator.cc", "md/index.cc", "md/items.cc", "md/oplog.cc", "md/store.cc", "md/store_oplog.cc",
           "md/store_check.cc", "md/store_checksum.cc", "md/store_options.cc", "md/store_pair.cc", "md/store_replication.cc", "md/strict_pair.cc", "md/window.cc", "tests/crash/reader.cc", "tests/crash/direct.cc"]
SHARED = ["tests/crash/arena.cc", "tests/crash/contents.cc", "tests/crash/judge.cc", "tests/crash/scenario.cc",
          "tests/crash/stepper.cc", "tests/crash/store_steps.cc", "common/check.cc", "common/effects.cc", "md/marks.cc"]
FLAGS = ["-I.", "-std=c++20", "-O0", "-Wall", "-Wextra", "-DSPDLOG_COMPILED_LIB", "-DSPDLOG_FMT_EXTERNAL"]
LIBRARIES = ["-lfmt", "-lxxhash"]
UNIT_LIBRARIES = ["-lspdlog", "-lfmt", "-levent_core", "-lxxhash", "-llzf", "-lseccomp", "-lisal", "-llz4", "-lzstd", "-lpthread"]
RUN_SECONDS = 300
SEES_OVERTAKING = ["tests/process/j_direct_test.py", "Sharing.test_a_client_sees_its_own_writes"]
AT_ANY_MOMENT = ["tests/process/x_any_moment_test.py", "AnyMoment.test_always_nothing_that_was_answered_is_missing"]
SEES_IN_LOG = {
    "log_behind_snapshot": ["tests/process/x_any_moment_test.py", "AnyMoment.test_everysec_what_there_is_is_whole"],
    "log_sync_asked_again": ["tests/process/y_disk_trouble_test.py", "DiskTrouble.test_a_failed_sync_is_not_believed_again"],
}


def seeded_bugs():
    """The names in the enumerations, but for the first, which is none: those of stores, channels, readers and server_direct.cc."""
    found = []
    for path, second in (("md/seeded_bugs.h", "channel_server.cc"), ("io_conn/seeded_bugs.h", "server_direct.cc")):
        text = (ROOT / path).read_text(encoding="utf-8")
        sections = re.search(r"    none,\n(.*?)// of " + second + r":(.*?)};", text, re.DOTALL).groups()
        found += [re.findall(r"^\s*(\w+),", section, re.MULTILINE) for section in sections]
    return found


def seeded_log_bugs():
    """{name: the source file that it is in}"""
    found, path = {}, None
    for line in (ROOT / "common/disk/seeded_bugs.h").read_text(encoding="utf-8").splitlines():
        if of := re.match(r"\s*// of (\S+):", line):
            path = of.group(1)
        elif bug := re.match(r"\s*(log_\w+),", line):
            found[bug.group(1)] = path
    return found


def definition(bug):
    kind = "READER_" if bug.startswith("reader_") else "LOG_" if bug.startswith("log_") else ""
    return "-DMILLRACE_SEEDED_%sBUG=%s" % (kind, bug)


def compile_object(compiler, target, arguments, source=None):
    done = subprocess.run([compiler, *FLAGS, *arguments, "-c", "-o", target], cwd=ROOT, input=source, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        sys.exit("mutants.py: cannot compile %s:\n%s" % (target.name, done.stdout))


def shared_objects(compiler, folder):
    objects = []
    for path in SHARED:
        objects.append(folder / (path.replace("/", "_") + ".o"))
        compile_object(compiler, objects[-1], [path])
    return objects


def build(compiler, folder, shared, bug):
    """The program with a bug, or without any."""
    name = bug or "without_bug"
    source = "".join('#include "%s"\n' % path for path in MUTATED)
    part = folder / (name + ".o")
    compile_object(compiler, part, ([definition(bug)] if bug else []) + ["-x", "c++", "-"], source)
    program = folder / ("store_steps_" + name)
    subprocess.run([compiler, "-o", program, *shared, part, *LIBRARIES], cwd=ROOT, check=True)
    return program


def build_unit(compiler, folder, objects, bug):
    """The unit tests with a bug of channels."""
    part = folder / (bug + ".o")
    compile_object(compiler, part, [definition(bug), "md/channel_server.cc"])
    program = folder / ("unit_" + bug)
    others = [path for path in objects if not path.endswith("/md/channel_server.o")]
    subprocess.run([compiler, "-o", program, *others, part, *UNIT_LIBRARIES], cwd=ROOT, check=True)
    return program


def build_group(compiler, folder, objects, programs, bug, mutated, source):
    """A folder of programs of which `mutated` has a bug, in that source file."""
    part = folder / (bug + ".o")
    compile_object(compiler, part, [definition(bug), source])
    group = folder / bug / "bin"
    group.mkdir(parents=True, exist_ok=True)
    for program in Path(programs).resolve().iterdir():
        link = group / program.name
        link.unlink(missing_ok=True)
        if program.name != mutated:
            link.symlink_to(program)
    tests = group.parent / "tests"      # libraries for the tests are there
    tests.unlink(missing_ok=True)
    tests.symlink_to(Path(programs).resolve().parent / "tests")
    others = [path for path in objects if not path.endswith("/" + source.replace(".cc", ".o"))]
    subprocess.run([compiler, "-o", group / mutated, *others, part, *UNIT_LIBRARIES], cwd=ROOT, check=True)
    return group


def run(arguments, **environment):
    """How the program ended, and the lines that say why."""
    try:
        done = subprocess.run(arguments, cwd=ROOT, env={**os.environ, **environment}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, timeout=RUN_SECONDS,
                              errors="replace", check=False)
    except subprocess.TimeoutExpired:
        return None, ["no end after %d s" % RUN_SECONDS]
    lines = done.stdout.splitlines()
    reasons = [line.strip() for line in lines if line.startswith("    ")] or lines[-1:]
    return done.returncode, reasons


def verdict(arguments, bug, **environment):
    """Whether the outcome of the program is the right one, and a line about it."""
    began = time.monotonic()
    status, reasons = run(arguments, **environment)
    # A bug of channels may end in one of md's own CHECKs, which is seen as well.
    right = status in ((1, -signal.SIGABRT) if bug else (0,))
    outcome = {0: "passes", 1: "fails", -signal.SIGABRT: "is seen by md itself"}.get(status, "ended with %s" % status)
    line = "%s %-24s %s (%.0f s)" % ("ok   " if right else "WRONG", bug or "(no bug)", outcome, time.monotonic() - began)
    return right, line + "".join("\n        " + reason[:200] for reason in reasons[:1] if status != 0)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", type=Path, default=ROOT / "build/crash-mutants")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--unit", default="", help="the objects of the unit tests")
    parser.add_argument("--io-conn", default="", help="the objects of io_conn")
    parser.add_argument("--md-log", default="", help="the objects of md_log")
    parser.add_argument("--programs", default="", help="the folder with the other programs")
    parser.add_argument("bugs", nargs="*", metavar="BUG")
    options = parser.parse_args()
    compiler = os.environ.get("CXX", "g++")
    folder = options.build.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    shared = shared_objects(compiler, folder)
    of_stores, of_channels, of_readers, of_servers = seeded_bugs()
    of_logs = seeded_log_bugs()
    # Those first whose tests wait most.
    bugs = options.bugs or [*(of_logs if options.md_log else []), None, *of_stores, *of_readers, *(of_channels if options.unit else []),
                            *(of_servers if options.io_conn else [])]

    def judge(bug):
        if bug in of_channels:
            return verdict([build_unit(compiler, folder, options.unit.split(), bug), "-tc=channel server*,take-over*", "-m"], bug)
        if bug in of_servers:
            group = build_group(compiler, folder, options.io_conn.split(), options.programs, bug, "io_conn", "io_conn/server_direct.cc")
            return verdict([sys.executable, *SEES_OVERTAKING], bug, MILLRACE_BIN=str(group))
        if bug in of_logs:
            group = build_group(compiler, folder, options.md_log.split(), options.programs, bug, "md_log", of_logs[bug])
            return verdict([sys.executable, *SEES_IN_LOG.get(bug, AT_ANY_MOMENT)], bug, MILLRACE_BIN=str(group))
        return verdict([build(compiler, folder, shared, bug), "--first-failure"], bug)

    wrong = 0
    with concurrent.futures.ThreadPoolExecutor(options.jobs) as pool:
        for right, line in pool.map(judge, bugs):
            print(line, flush=True)
            wrong += not right
    print("%d passed, %d failed" % (len(bugs) - wrong, wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
