#!/usr/bin/env python3
"""Large values read by slow clients while they are overwritten all the time: is every reply whole, does anybody wait, what does it cost?

    slow_large.py [--clients N] [--megabytes N] [--seconds S] [--keys N]

Each client reads a value of so many megabytes at a pace at which it takes seconds, again and again, and looks at every byte: a value is
one letter that follows from its number. A writer sets the keys to new values as fast as it can. Another client measures how long a small
GET and SET take meanwhile. Printed: replies, what the shared memory and the io_conn grew by at most, md's longest turn.
"""

import argparse
import pathlib
import socket
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from growth import longest_turn_us              # noqa: E402
from harness import Instance                    # noqa: E402
from wire import encode                         # noqa: E402

PIECE = 256 * 1024
HEAD = 12                                       # digits in front of the letters


def value_of(number, size):
    return b"%012d" % number + bytes([97 + number % 26]) * (size - HEAD)


class Totals:
    def __init__(self):
        self.replies, self.wrong, self.sets, self.ended = 0, [], 0, False


def read_slowly(address, key, size, seconds_a_value, totals):
    try:
        with socket.create_connection(address) as link:
            link.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            head = b"$%d\r\n" % size
            while not totals.ended:
                link.sendall(encode("GET", key))
                left, number, buffer = len(head) + size + 2, None, b""
                began = time.monotonic()
                while left > 0:
                    piece = link.recv(min(left, PIECE))
                    if not piece:
                        raise AssertionError("the connection was closed")
                    left -= len(piece)
                    if number is None:
                        buffer += piece
                        if len(buffer) < len(head) + HEAD:
                            continue
                        if not buffer.startswith(head):
                            raise AssertionError("a reply begins with %r" % buffer[:20])
                        number, piece = int(buffer[len(head):len(head) + HEAD]), buffer[len(head) + HEAD:]
                    letters = piece[:-2] if left == 0 and len(piece) >= 2 else piece
                    if letters.count(97 + number % 26) != len(letters) and left > 1:
                        raise AssertionError("value %d of %s is not whole" % (number, key))
                    behind = began + seconds_a_value * (1 - left / size) - time.monotonic()
                    if behind > 0 and not totals.ended:
                        time.sleep(behind)
                totals.replies += 1
    except (AssertionError, OSError, ValueError) as error:
        totals.wrong.append(str(error))


def overwrite(address, keys, size, totals):
    with socket.create_connection(address) as link:
        while not totals.ended:
            totals.sets += 1
            link.sendall(encode("SET", "big%d" % (totals.sets % keys), value_of(totals.sets, size)))
            if link.recv(100) != b"+OK\r\n":
                totals.wrong.append("a SET fails")


def taken(instance):
    return sum(path.stat().st_blocks for path in instance.shm_folder().iterdir()) * 512


def resident(pids):
    return sum(int(pathlib.Path("/proc/%d/status" % pid).read_text().split("RssAnon:")[1].split()[0]) for pid in pids) * 1024


def main():
    parser = argparse.ArgumentParser(description="large values read slowly while they are overwritten")
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--megabytes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=40)
    parser.add_argument("--keys", type=int, default=4)
    wanted = parser.parse_args()
    size = wanted.megabytes * 1024 * 1024
    instance, totals = Instance(io=2, proto_max_bulk_len="512mb"), Totals()
    try:
        with instance.wire(timeout=60) as wire:
            for key in range(wanted.keys):
                wire.command("SET", "big%d" % key, value_of(key, size))
            io_conns = instance.pids("io_conn")
            shared, private = taken(instance), resident(io_conns)
            threads = [threading.Thread(target=read_slowly, args=(instance.address, "big%d" % (i % wanted.keys), size, wanted.seconds / 3, totals))
                       for i in range(wanted.clients)]
            threads.append(threading.Thread(target=overwrite, args=(instance.address, wanted.keys, size, totals)))
            for thread in threads:
                thread.start()
            waits, most_shared, most_private, end = [], shared, private, time.monotonic() + wanted.seconds
            while time.monotonic() < end:
                for words in (("SET", "small", "1"), ("GET", "small")):
                    began = time.perf_counter()
                    wire.command(*words)
                    waits.append(time.perf_counter() - began)
                most_shared, most_private = max(most_shared, taken(instance)), max(most_private, resident(io_conns))
                time.sleep(0.01)
            totals.ended = True
            for thread in threads:
                thread.join()
            waits.sort()
            print("%d slow clients, values of %d MB: %d replies, %d wrong%s; %d SETs of such values meanwhile" % (
                wanted.clients, wanted.megabytes, totals.replies, len(totals.wrong), " (%s)" % totals.wrong[0] if totals.wrong else "", totals.sets))
            print("shared memory %.0f -> at most %.0f MB, io_conn's own %.0f -> at most %.0f MB; small SET and GET p50 %.2f ms, p99 %.2f, worst %.2f; "
                  "md's longest turn %d us" % (shared / 1e6, most_shared / 1e6, private / 1e6, most_private / 1e6, waits[len(waits) // 2] * 1e3,
                                              waits[int(len(waits) * 0.99)] * 1e3, waits[-1] * 1e3, longest_turn_us(instance)))
            print("afterwards %.0f MB" % (taken(instance) / 1e6))
    finally:
        instance.stop()
    return 1 if totals.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
