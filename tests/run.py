#!/usr/bin/python3
"""Runs the tests: unit programs, stress programs, checks of the tree, and process tests; says at the end how many passed.

    tests/run.py [PATTERN...] [--list] [--seconds N] [--verbose] [--build FOLDER]

PATTERN is a part of a test's name, or a shell pattern for all of it; names are as --list prints them:
unit/FILE/CASE, stress/PROGRAM, style/FILE/CLASS.TEST, process/FILE/CLASS.TEST.
"""

import argparse
import fnmatch
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from collections import namedtuple
from pathlib import Path

TESTS = Path(__file__).resolve().parent
ROOT = TESTS.parent
PYTHON = "/usr/bin/python3" if os.path.exists("/usr/bin/python3") else sys.executable
sys.path.insert(0, str(TESTS / "process"))

from leftovers import end_processes_of, processes_of, remove_shared_memory_of  # noqa: E402

BUDGET_SECONDS = 480
PROGRAM_SECONDS = 180
FILE_SECONDS = 3600 if os.environ.get("MILLRACE_LONG") else 300
SLOWEST = 10
LOG_LINES = 12
LOGS_SHOWN = 8
OUTPUT_LINES = 60
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

Outcome = namedtuple("Outcome", "name passed seconds trouble skipped", defaults=(None,))


class Interrupted(Exception):
    """Somebody wants the run to end."""


# --- what there is ----------------------------------------------------------------------------------------------------

def executables(folder, ending):
    return [path for path in sorted(folder.glob("*" + ending)) if os.access(path, os.X_OK) and path.is_file()]


class Stress:
    """A program that prints PASS or FAIL as its last line and ends with 0 when it has passed."""

    def __init__(self, path):
        self.path, self.prefix = path, "stress/%s" % path.name

    def names(self):
        return [self.prefix]

    def run(self, _names, screen, folder):
        return run_stress(self, screen, folder)


class Doctest:
    """A program made of doctest's TEST_CASEs, each of which is a test here."""

    def __init__(self, path):
        self.path, self.prefix = path, "unit/%s" % path.name
        self._names = None

    def names(self):
        if self._names is None:
            listed = subprocess.run([self.path, "--list-test-cases", "-r=xml"], stdout=subprocess.PIPE, text=True, check=False,
                                    timeout=PROGRAM_SECONDS)
            cases = re.findall(r"<TestCase name=.*?/>", listed.stdout, re.DOTALL)
            self._names = [doctest_name(xml.etree.ElementTree.fromstring(case)) for case in cases] or [self.prefix]
        return self._names

    def run(self, names, screen, folder):
        return run_doctest(self, names, screen, folder)


def doctest_name(case):
    return "unit/%s/%s" % (Path(case.get("filename") or "?").stem, case.get("name"))


class PythonFile:
    """A file of unittest tests, run in a process of its own."""

    def __init__(self, part, path, listed):
        self.path, self.listed = path, listed
        self.prefix = "%s/%s" % (part, path.stem)

    def names(self):
        return ["%s/%s" % (self.prefix, word) for word in self.listed().get(str(self.path), ["loading"])]

    def run(self, names, screen, folder):
        return run_python_file(self, names, screen, folder)


def all_units(built):
    units = [Doctest(path) for path in executables(built, "_unit")]
    units += [Stress(path) for path in executables(built, "_stress")]
    files = [("style", path) for path in sorted((TESTS / "style").glob("*.py"))] + [("process", path) for path in sorted((TESTS / "process").glob("*_test.py"))]
    listed = functools.cache(lambda: names_in_python_files([path for _, path in files]))
    return units + [PythonFile(part, path, listed) for part, path in files]


def names_in_python_files(paths):
    """Of every file its tests: all loaded by one process, because most of what they load is the same."""
    listed = subprocess.run([PYTHON, TESTS / "one_file.py", "--list", *paths], stdout=subprocess.PIPE, text=True, check=False, timeout=FILE_SECONDS)
    return dict(json.loads(line) for line in listed.stdout.splitlines() if line.startswith("["))


def chosen(name, patterns):
    return not patterns or any(pattern in name or fnmatch.fnmatch(name, pattern) for pattern in patterns)


# --- how each kind is run ---------------------------------------------------------------------------------------------

def run_to_end(arguments, folder, seconds):
    """(exit status or None when it took too long, output). The program gets the folder for its temporary files."""
    with open(folder / "output", "w+", errors="replace") as output:
        process = start(arguments, folder, output)
        try:
            status = process.wait(seconds)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            end(process, folder)
        output.seek(0)
        return status, output.read()


def start(arguments, folder, output):
    environment = dict(os.environ, TMPDIR=str(folder), MILLRACE_KEEP="1", PYTHONDONTWRITEBYTECODE="1")
    return subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                            env=environment, cwd=ROOT, start_new_session=True)


def end(process, folder):
    """Ends the process if it still runs, and all that it started in its folder."""
    if process.poll() is None:
        process.kill()
        process.wait()
    end_processes_of(folder)


def run_doctest(program, names, screen, folder):
    """One outcome for each TEST_CASE that was asked for; one that the program did not get to has failed."""
    screen.began(program.prefix)
    arguments = [program.path, "-r=xml", "-d=1"]
    if len(names) < len(program.names()):
        arguments.append("-tc=" + ",".join(name.split("/", 2)[2].replace(",", "?") for name in names))
    status, text = run_to_end(arguments, folder, PROGRAM_SECONDS)
    outcomes = [outcome for outcome in doctest_outcomes(text) if outcome.name in names]
    seen = {outcome.name for outcome in outcomes}
    trouble = "%s before this test was done\n%s" % (ending_of(status), last_lines(text, OUTPUT_LINES))
    outcomes += [Outcome(name, False, 0.0, trouble) for name in names if name not in seen]
    if status != 0 and all(outcome.passed for outcome in outcomes):
        outcomes.append(Outcome(program.prefix, False, 0.0, trouble))
    for outcome in outcomes:
        screen.ended(outcome)
    return outcomes


def doctest_outcomes(text):
    """What doctest's XML says; it breaks off in the middle of a case when the program is killed. Cases that were left
    out are elements without content."""
    for element in re.findall(r'<TestCase (?:[^"/>]|"[^"]*")*>.*?</TestCase>', text, re.DOTALL):
        case = xml.etree.ElementTree.fromstring(element)
        result = case.find("OverallResultsAsserts")
        passed = result is not None and result.get("test_case_success") == "true"
        seconds = float(result.get("duration") or 0) if result is not None else 0.0
        yield Outcome(doctest_name(case), passed, seconds, "" if passed else element)


def run_stress(program, screen, folder):
    screen.began(program.prefix)
    began = time.monotonic()
    status, text = run_to_end([program.path], folder, PROGRAM_SECONDS)
    final = (text.strip().splitlines() or [""])[-1]
    passed = status == 0 and final.startswith("PASS:")
    outcome = Outcome(program.prefix, passed, time.monotonic() - began,
                      "" if passed else "%s\n%s" % (ending_of(status), last_lines(text, OUTPUT_LINES)))
    screen.ended(outcome)
    return [outcome]


def run_python_file(file, names, screen, folder):
    """Follows the file's own report; tests that it does not get to have failed."""
    words = [name[len(file.prefix) + 1:] for name in names]
    report, output = folder / "report", folder / "output"
    report.touch()
    with open(output, "w", errors="replace") as sink:
        process = start([PYTHON, TESTS / "one_file.py", file.path, report, *words], folder, sink)
        try:
            outcomes, fixtures = follow(file, process, report, screen)
        finally:
            late = process.poll() is None
            left = {} if late else processes_of(folder)
            end(process, folder)
    if left and all(outcome.passed for outcome in outcomes):
        fixtures.append("these processes were left behind: %r" % left)
    seen = {outcome.name for outcome in outcomes}
    missing = [name for name in names if name not in seen]
    why = "took more than %d s" % FILE_SECONDS if late else "was not reached"
    for name in missing:
        outcomes.append(Outcome(name, False, 0.0, why))
        screen.ended(outcomes[-1])
    if fixtures and not missing:
        outcomes.append(Outcome(file.prefix + "/around the tests", False, 0.0, "\n".join(fixtures)))
        screen.ended(outcomes[-1])
    if fixtures or missing or any(not outcome.passed for outcome in outcomes):
        explain(file, fixtures, output, screen)
    return outcomes


def follow(file, process, report, screen):
    """Reads the report until the process has ended or has taken too long."""
    deadline, outcomes, fixtures = time.monotonic() + FILE_SECONDS, [], []
    with open(report, encoding="utf-8") as lines:
        partial = ""
        while True:
            over = process.poll() is not None or time.monotonic() > deadline
            line = lines.readline()
            partial += line
            if partial.endswith("\n"):
                take_line(json.loads(partial), file, outcomes, fixtures, screen)
                partial = ""
            elif not line and over:
                return outcomes, fixtures
            elif not line:
                time.sleep(0.02)


def take_line(event, file, outcomes, fixtures, screen):
    name = "%s/%s" % (file.prefix, event["test"])
    if event["event"] == "start":
        screen.began(name)
    elif event["event"] == "fixture":
        fixtures.append("%s\n%s" % (event["test"], event["trouble"]))
    else:
        outcomes.append(Outcome(name, not event["trouble"], event["seconds"], event["trouble"], event["skipped"]))
        screen.ended(outcomes[-1])


def explain(file, fixtures, output, screen):
    """What the failures' own texts do not say: fixtures, what was printed, the ends of the logs."""
    lines = list(fixtures)
    printed = last_lines(output.read_text(errors="replace"), OUTPUT_LINES)
    if printed:
        lines.append("--- printed by %s\n%s" % (file.path.name, printed))
    logs = sorted(output.parent.glob("*/log/*"), key=lambda log: log.stat().st_mtime)
    for log in logs[-LOGS_SHOWN:]:
        lines.append("--- the end of %s\n%s" % (log, last_lines(log.read_text(errors="replace"), LOG_LINES)))
    screen.note(file.prefix, "\n".join(lines))


def ending_of(status):
    if status is None:
        return "it took more than %d s" % PROGRAM_SECONDS
    return "it ended by signal %d" % -status if status < 0 else "it ended with status %d" % status


def last_lines(text, count):
    return "\n".join(text.rstrip().splitlines()[-count:])


# --- what the reader sees ---------------------------------------------------------------------------------------------

class Screen:
    """One line for each test on a terminal or with --verbose, else one for each file; failures in full at the end."""

    def __init__(self, verbose):
        self.live = sys.stdout.isatty()
        self.each = verbose or self.live
        self.notes = {}

    def began(self, name):
        if self.live:
            print("\r\033[K… " + name[:150], end="", flush=True)

    def ended(self, outcome):
        word = "skipped" if outcome.skipped else "ok" if outcome.passed else "FAILED"
        if self.each or not outcome.passed:
            print("%s%-7s %6.2f s  %s" % ("\r\033[K" if self.live else "", word, outcome.seconds, outcome.name), flush=True)

    def group(self, prefix, outcomes, seconds):
        if not self.each:
            print("%-40s %3d of %3d  %6.1f s" % (prefix, sum(outcome.passed for outcome in outcomes), len(outcomes), seconds), flush=True)

    def note(self, prefix, text):
        self.notes[prefix] = text


def summarize(outcomes, screen, seconds, budget):
    failed = [outcome for outcome in outcomes if not outcome.passed]
    for outcome in failed:
        print("\n=== FAILED %s\n%s" % (outcome.name, outcome.trouble))
    for prefix, text in screen.notes.items():
        print("\n=== more about %s\n%s" % (prefix, text))
    print("\nthe slowest:")
    for outcome in sorted(outcomes, key=lambda outcome: -outcome.seconds)[:SLOWEST]:
        print("  %7.2f s  %s" % (outcome.seconds, outcome.name))
    for reason in sorted({outcome.skipped for outcome in outcomes if outcome.skipped}):
        print("skipped %d: %s" % (sum(outcome.skipped == reason for outcome in outcomes), reason))
    print("all of it took %.0f s%s" % (seconds, ": more than the budget of %d s" % budget if seconds > budget else ""))
    passed = sum(outcome.passed and not outcome.skipped for outcome in outcomes)
    print("%d passed, %d failed" % (passed, len(failed)), flush=True)
    return 1 if failed or not passed else 0


# --- the run ----------------------------------------------------------------------------------------------------------

def run_one(unit, names, screen):
    """Runs a unit in a folder of its own; the folder stays when something failed."""
    folder, passed = Path(tempfile.mkdtemp(prefix="millrace test ")), False
    began = time.monotonic()
    try:
        outcomes = unit.run(names, screen, folder)
        passed = all(outcome.passed for outcome in outcomes)
        screen.group(unit.prefix, outcomes, time.monotonic() - began)
        return outcomes
    except Interrupted:
        passed = True  # nothing has failed that the folder could explain
        raise
    finally:
        end_processes_of(folder)
        remove_shared_memory_of(folder)
        if passed:
            shutil.rmtree(folder, ignore_errors=True)
        else:
            screen.note(unit.prefix, screen.notes.get(unit.prefix, "") + "\nkept: %s" % folder)


def on_signal(number, _frame):
    raise Interrupted(signal.Signals(number).name)


def run_all(units, patterns, screen):
    outcomes = []
    for unit in units:
        names = [name for name in unit.names() if chosen(name, patterns)]
        if names:
            outcomes += run_one(unit, names, screen)
    return outcomes


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("pattern", nargs="*", help="run only tests whose name contains or matches this")
    parser.add_argument("--list", action="store_true", help="print the names and run nothing")
    parser.add_argument("--seconds", type=int, default=BUDGET_SECONDS, help="say so when all of it takes longer (%(default)s)")
    parser.add_argument("--build", type=Path, default=ROOT / "build", help="where the test programs were built (%(default)s)")
    parser.add_argument("--verbose", action="store_true", help="one line for each test, also when not on a terminal")
    options = parser.parse_args()
    units = all_units(options.build / "tests")
    if options.list:
        print("\n".join(name for unit in units for name in unit.names() if chosen(name, options.pattern)))
        return 0
    for number in SIGNALS:
        signal.signal(number, on_signal)
    screen, began = Screen(options.verbose), time.monotonic()
    try:
        outcomes = run_all(units, options.pattern, screen)
    except Interrupted as reason:
        print("\ninterrupted by %s; what was started has been ended" % reason)
        return 130
    return summarize(outcomes, screen, time.monotonic() - began, options.seconds)


if __name__ == "__main__":
    sys.exit(main())
