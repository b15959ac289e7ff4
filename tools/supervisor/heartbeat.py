"""Heartbeats: which daemons hang. The file and its rules are described in common/heartbeat.h."""

import os

from .instance import write_whole

PLACES = 2 + 64         # md, then io_conn
DISTANCE = 128          # bytes from one word to the next
NAME = "heartbeats"


def make(shm_folder):
    """Makes the file anew; daemons that have the one before go on with that. Raises Failure."""
    write_whole(os.path.join(shm_folder, NAME), "\0" * (PLACES * DISTANCE))


class Pulse:
    """What the heartbeats were at each look; a look is taken every HEARTBEAT_S."""

    def __init__(self, shm_folder):
        self._path = os.path.join(shm_folder, NAME)
        self._seen = {}         # (role, index) -> (pid, word, looks at which it was the same)

    def look(self, processes):
        """`processes`: {(role, index): pid}. Gives {(role, index): looks in a row at which its word has not changed}."""
        try:
            with open(self._path, "rb") as file:
                content = file.read(PLACES * DISTANCE)
        except OSError:
            self._seen = {}
            return {}
        now = {}
        for (role, index), pid in processes.items():
            at = (index if role == "md" else 2 + index) * DISTANCE
            word = content[at:at + 8]
            known = self._seen.get((role, index))
            same = known[2] + 1 if known is not None and known[:2] == (pid, word) else 0
            now[role, index] = (pid, word, same)
        self._seen = now
        return {place: same for place, (_, _, same) in now.items()}
