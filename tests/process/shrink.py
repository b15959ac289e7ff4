"""Makes a failing sequence short: leaves out what the failure does not need, for as long as there is time."""

import time


def shrink(sequence, fails, seconds):
    """A subsequence for which fails(subsequence) is still true, or the whole sequence when none was found in time."""
    deadline, size = time.monotonic() + seconds, max(1, len(sequence) // 2)
    while size:
        start = 0
        while start < len(sequence):
            if time.monotonic() > deadline:
                return sequence
            shorter = sequence[:start] + sequence[start + size:]
            if shorter and fails(shorter):
                sequence = shorter
            else:
                start += size
        size //= 2
    return sequence
