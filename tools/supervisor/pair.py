"""The two places of md: one serves, the other is its warm standby, and each may be either.

The daemons settle between them who serves (a lease in shared memory); the supervisor only hears of it: `standby` from the
one that waits, `ready` from the one that serves. Rules:

  - The one whose `ready` came last serves, as long as it lives. Two that have said it: the earlier one has lost the lease,
    by dying (which is heard in a moment) or by handing it over.
  - A place that backs off may wait as long as the other one lives. When neither does, both are tried without the pauses
    that their own deaths have earned, which may have been those of a standby. Only lives in which nothing was served are
    slowed down here, or a group that cannot start would spin.
"""

import asyncio

from .limits import SERVED_S
from .slot import Backoff

PLACES = 2


class Pair:
    """The places of md, in the order of their indices. They are added by the group."""

    def __init__(self):
        self.slots = []
        self._turns = 0
        self._served_since = None       # loop time of the last `ready` since an md was missing
        self._gap = Backoff(SERVED_S)

    def next_turn(self):
        """Called at every `ready`: a number that rises."""
        self._turns += 1
        self._served_since = asyncio.get_running_loop().time()
        return self._turns

    def serving(self):
        """The place whose md serves; None while there is none."""
        heard = [slot for slot in self.slots if slot.state == "up" and slot.turn]
        return max(heard, key=lambda slot: slot.turn, default=None)

    def waiting(self):
        """The other places: these end first when both end, or one of them would take over meanwhile."""
        return [slot for slot in self.slots if slot is not self.serving()]

    def healthy(self):
        """One serves and the other waits for its turn."""
        return len(self.slots) == PLACES and [each[1:] for each in self.shown()] == [("md", "up"), ("md_standby", "up")]

    def shown(self):
        """What `status` says: [(slot, role, state)], the one with the role md first.

        While none serves that is the one that will serve soonest, and it is not up yet.
        """
        order = ("up", "starting", "draining", "down")
        serving = self.serving()
        first = serving or min(self.slots, key=lambda slot: order.index(slot.state), default=None)
        if first is None:
            return []
        state = "starting" if serving is None and first.state == "up" else first.state
        rest = [(slot, "md_standby", "down" if slot.turn and slot.is_dying else slot.state)
                for slot in self.slots if slot is not first]
        return [(first, "md", state)] + rest

    def pausing(self):
        """A place is about to wait for its next try; cuts all pauses short if no md is left."""
        if any(slot.state != "down" for slot in self.slots):
            return
        loop = asyncio.get_running_loop()
        served_s = 0.0 if self._served_since is None else loop.time() - self._served_since
        self._served_since = None
        delay_s = self._gap.delay_s(served_s)
        for slot in self.slots:
            if slot.next_try is not None:
                slot.hurry(delay_s)
