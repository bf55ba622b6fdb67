"""How fast a lane's transfers end, and so how many jobs it may claim ahead of its places."""

import time
from collections import deque

# What is claimed ahead is begun by the fiber whose transfer ended, while the lane still settles
# that. More than a moment's worth would wait here, where no other lane can take it: a lane whose
# transfers are slow claims nothing ahead.
AHEAD_SECONDS = 0.1
WINDOW_SECONDS = 0.5


class Flow:
    """The ends of transfers of the last moment. Used on the lane's own thread."""

    def __init__(self) -> None:
        self._ends: deque[tuple[float, int]] = deque()
        self._count = 0

    def note(self, count: int) -> None:
        """So many transfers ended."""
        self._ends.append((time.monotonic(), count))
        self._count += count

    def ahead(self) -> int:
        """How many will end in a moment, if they go on like that."""
        while self._ends and time.monotonic() - self._ends[0][0] > WINDOW_SECONDS:
            self._count -= self._ends.popleft()[1]
        return int(self._count / WINDOW_SECONDS * AHEAD_SECONDS)
