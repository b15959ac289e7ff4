#!/usr/bin/python3
"""All of `make test`: its parts one after the other, each with its output as it comes; the last line is the sum of their last lines.

    all.py COMMAND [--and COMMAND | --beside COMMAND]...

A command after --beside runs at the same time as the one before it, and its output comes after that one's: most tests wait for something most
of the time. Every command ends with the line "N passed, N failed". A sentence in front of a command, TEXT:, is printed before it. The exit status is 0
when nothing failed and every part got to its end.
"""

import concurrent.futures
import re
import subprocess
import sys

COUNTS = re.compile(r"^(\d+) passed, (\d+) failed$")


def parts(words):
    """Lists of commands that run at the same time, each command a list of words."""
    found = [[[]]]
    for word in words:
        if word == "--and":
            found.append([[]])
        elif word == "--beside":
            found[-1].append([])
        else:
            found[-1][-1].append(word)
    return [commands for part in found if (commands := [command for command in part if command])]


def run(command, show):
    """Passed, failed; a part that does not get to its last line has failed once. Each line of its output goes to `show`."""
    if command[0].endswith(":"):
        show(command.pop(0) + "\n")
    last = ""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace") as process:
        for line in process.stdout:
            show(line)
            last = line.strip() or last
    counts = COUNTS.match(last)
    passed, failed = (int(number) for number in counts.groups()) if counts else (0, 1)
    return passed, failed or int(process.returncode != 0)


def run_together(commands):
    """The sums of all of them. The first one's output comes at once, that of the others when it has ended."""
    kept = [[] for _ in commands[1:]]
    with concurrent.futures.ThreadPoolExecutor(len(commands)) as pool:
        others = [pool.submit(run, command, lines.append) for command, lines in zip(commands[1:], kept)]
        counts = [run(commands[0], lambda line: print(line, end="", flush=True))]
        for other, lines in zip(others, kept):
            counts.append(other.result())
            print("".join(lines), end="", flush=True)
    return tuple(map(sum, zip(*counts)))


def main():
    passed = failed = 0
    try:
        for commands in parts(sys.argv[1:]):
            more = run_together(commands)
            passed, failed = passed + more[0], failed + more[1]
    except KeyboardInterrupt:
        return 130
    print("%d passed, %d failed" % (passed, failed))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
