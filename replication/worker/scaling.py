"""Asks the cluster for a lane's successor, and for more lanes while this one is saturated."""

import time

from replication.cluster import loops
from replication.models import LoopKind

# How often a saturated lane asks for one more lane. Where this cluster already runs as many as it
# may, the request is for another host, and is made less often.
GROW_SECONDS = 1.0
GROW_WHERE_FULL_SECONDS = 2.0
# How often a lane asks for one on another host; there may be no other host.
LEAVE_SECONDS = 5.0


class Scaling:
    """Called on the lane's own thread."""

    def __init__(self, loop: loops.Loop) -> None:
        self._loop = loop
        self._was_saturated = False
        self._grow_at = 0.0

    @property
    def is_due(self) -> bool:
        """Whether a saturated lane may ask for another lane now."""
        return time.monotonic() >= self._grow_at

    def grow(self) -> None:
        """Ask for one more lane."""
        self._was_saturated = True
        is_full = loops.is_full_here()
        loops.request(LoopKind.LANE)
        self._grow_at = time.monotonic() + (GROW_WHERE_FULL_SECONDS if is_full else GROW_SECONDS)

    def leave_to_others(self) -> None:
        """Ask for a lane on another host, because credentials of this one are refused."""
        seconds = GROW_SECONDS
        if not loops.has_lane_elsewhere():
            loops.request(LoopKind.LANE)
            seconds = LEAVE_SECONDS
        self._grow_at = time.monotonic() + seconds

    def ask_for_successor(self) -> None:
        """Renew this lane, unless it was idle and a younger lane watches the queue."""
        if self._was_saturated or not self._loop.has_younger_peer():
            self._loop.renew()
