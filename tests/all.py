#!/usr/bin/python3
"""All of `make test`: its parts one after the other, each with its output as it comes; the last line is the sum of their last lines.

    all.py COMMAND [--and COMMAND]...

Every command ends with the line "N passed, N failed". A sentence in front of a command, TEXT:, is printed before it. The exit status is 0
when nothing failed and every part got to its end.
"""

import re
import subprocess
import sys

COUNTS = re.compile(r"^(\d+) passed, (\d+) failed$")


def parts(words):
    """The commands, each a list of words."""
    found = [[]]
    for word in words:
        if word == "--and":
            found.append([])
        else:
            found[-1].append(word)
    return [part for part in found if part]


def run(command):
    """Passed, failed; a part that does not get to its last line has failed once."""
    if command[0].endswith(":"):
        print(command.pop(0), flush=True)
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, errors="replace") as process:
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip() or last
    counts = COUNTS.match(last)
    passed, failed = (int(number) for number in counts.groups()) if counts else (0, 1)
    return passed, failed or int(process.returncode != 0)


def main():
    passed = failed = 0
    try:
        for command in parts(sys.argv[1:]):
            more = run(command)
            passed, failed = passed + more[0], failed + more[1]
    except KeyboardInterrupt:
        return 130
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
