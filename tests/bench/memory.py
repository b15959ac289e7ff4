#!/usr/bin/env python3
"""Bytes of shared memory over key and value, at 16 sizes from 1 to 2 million keys of 16 bytes with values of 64.

Everything in the instance's shared memory folder is counted (rings, client rows and counters too), by the blocks that the
system has given. Prints one line a size, the mean and the worst.
"""

import pathlib
import socket
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "process"))

from harness import Instance      # noqa: E402

KEY_BYTES, VALUE_BYTES = 16, 64
SIZES = [1_000_000 + 1_000_000 * i // 15 for i in range(16)]
BATCH = 1000


def fill(link, first, last):
    """SETs keys number first to last - 1."""
    for start in range(first, last, BATCH):
        count = min(BATCH, last - start)
        link.sendall(b"".join(b"*3\r\n$3\r\nSET\r\n$16\r\n%016d\r\n$64\r\n%s\r\n" % (key, b"v" * VALUE_BYTES)
                              for key in range(start, start + count)))
        left = 5 * count        # +OK\r\n each
        while left > 0:
            left -= len(link.recv(min(left, 65536)))


def main():
    instance = Instance(io=2)
    over = []
    try:
        with socket.create_connection(instance.address) as link:
            done = 0
            for size in SIZES:
                fill(link, done, size)
                done = size
                taken = sum(path.stat().st_blocks for path in instance.shm_folder().iterdir()) * 512
                over.append(taken / size - KEY_BYTES - VALUE_BYTES)
                print("%9d keys  %6.1f MB  %5.2f bytes over" % (size, taken / 1e6, over[-1]), flush=True)
    finally:
        instance.control("stop")
        instance.destroy()
    print("mean %.2f, worst %.2f" % (sum(over) / len(over), max(over)))


if __name__ == "__main__":
    main()
