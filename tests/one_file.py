"""Runs one file of unittest tests and tells tests/run.py, line by line as JSON, what happens.

    one_file.py FILE REPORT [TEST...]    without TEST: all; REPORT: where the lines go; TEST as printed by --list
    one_file.py --list FILE...           prints the names of their tests, a line of JSON for each file
"""

import importlib.util
import json
import os
import sys
import time
import unittest


def tests_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_of(test)
        else:
            yield test


def short_name(test):
    """Class.method: the same for every way of loading the file."""
    return ".".join(test.id().split(".")[-2:])


def load(path):
    sys.path.insert(0, os.path.dirname(path))
    name = os.path.splitext(os.path.basename(path))[0]
    specification = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    specification.loader.exec_module(module)
    return unittest.defaultTestLoader.loadTestsFromModule(module)


def names_in(path):
    """A file that cannot be loaded has one test: that it can."""
    try:
        return [short_name(test) for test in tests_of(load(path))]
    except Exception:  # whatever the file does
        return ["loading"]


def only(suite, names):
    """The same nesting with the other tests left out, so that class and module fixtures still run once."""
    if isinstance(suite, unittest.TestSuite):
        return unittest.TestSuite(filter(None, (only(test, names) for test in suite)))
    return suite if short_name(suite) in names else None


class Report(unittest.TestResult):
    """Writes one line at the start and one at the end of each test; a fixture's failure has a line of its own."""

    def __init__(self, file):
        super().__init__()
        self.file, self.trouble, self.began = file, [], 0.0

    def say(self, **fields):
        self.file.write(json.dumps(fields) + "\n")
        self.file.flush()

    def startTest(self, test):
        super().startTest(test)
        self.trouble, self.skipped_because, self.began = [], None, time.monotonic()
        self.say(event="start", test=short_name(test))

    def stopTest(self, test):
        super().stopTest(test)
        self.say(event="end", test=short_name(test), seconds=time.monotonic() - self.began, skipped=self.skipped_because,
                 trouble="\n".join(self.trouble))

    def _note(self, test, error, label=""):
        text = label + self._exc_info_to_string(error, test)
        if isinstance(test, unittest.TestCase):
            self.trouble.append(text)
        else:
            self.say(event="fixture", test=str(test), trouble=text)

    def addError(self, test, error):
        self._note(test, error)

    def addFailure(self, test, error):
        self._note(test, error)

    def addSubTest(self, test, subtest, error):
        if error is not None:
            self._note(test, error, "%s\n" % subtest._subDescription())

    def addSkip(self, test, reason):
        if isinstance(test, unittest.TestCase):
            self.skipped_because = reason
        else:
            self.say(event="fixture", test=str(test), trouble="", skipped=reason)

    def addUnexpectedSuccess(self, test):
        self.trouble.append("it was expected to fail and did not")


def main(arguments):
    if arguments[0] == "--list":
        for path in arguments[1:]:
            print(json.dumps([path, names_in(path)]), flush=True)
        return
    suite = load(arguments[0])
    if arguments[2:]:
        suite = only(suite, set(arguments[2:]))
    with open(arguments[1], "w", encoding="utf-8") as file:
        suite.run(Report(file))


if __name__ == "__main__":
    main(sys.argv[1:])
