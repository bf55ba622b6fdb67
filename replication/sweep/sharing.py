"""Asks whoever holds a large slice, of whatever host, to leave its rest to a free worker."""

import math
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass, field

from replication.cluster import loops
from replication.errors import ReplicationError
from replication.models import LoopKind, SweepSlice
from replication.stores.listing import Listable, Unlistable
from replication.sweep import slices, splitting
from replication.sweep.comparing import Sides

PLACES = 4  # slices that a process compares at a time; listing waits for the network mostly
NOT_SPLIT_SECONDS = 0.5  # before the same slice is asked again
NOT_SPLIT_GROWTH = 2  # by what a slice grows before a split of it is looked for again in vain


def workers() -> int:
    """How many slices the sweepers that are alive can compare at a time."""
    return PLACES * max(1, loops.count(LoopKind.SWEEPER))


@dataclass
class Sharing:
    """Where a process looks for splits of large slices.

    Args:
        sweep_id: only of this sweep; None for all that run.
        on_asked: called with the id of a slice that was asked for its rest.
    """

    sweep_id: int | None
    on_asked: Callable[[int], None]
    _searches: dict[SweepSlice, Future[list[str]]] = field(default_factory=dict)
    _asked: dict[int, float] = field(default_factory=dict)  # when each slice was asked
    _unsplit: dict[int, int] = field(default_factory=dict)  # the pages of those that had no split

    def ask(self, lookers: Executor, *, free: int) -> bool:
        """Look for splits on other threads, of one slice for each free place, and ask whoever holds
        those for which some were found. Returns whether there are large slices.
        """
        for one, search in [*self._searches.items()]:
            if search.done():
                del self._searches[one]
                self._ask(one, search.result())
        large = list(
            slices.splittable(self.sweep_id, workers=workers()).select_related(
                "sweep__rule__source", "sweep__rule__destination"
            )
        )
        unasked = [one for one in large if self._may_ask(one)]
        unasked.sort(key=lambda one: splitting.narrowness(one.cursor, one.until_key))
        for one in unasked[: max(0, free - len(self._searches))]:
            self._searches[one] = lookers.submit(_find_splits, one)
        return bool(large)

    def _may_ask(self, one: SweepSlice) -> bool:
        return (
            not one.splits
            and one not in self._searches
            and time.monotonic() - self._asked.get(one.pk, -math.inf) >= NOT_SPLIT_SECONDS
            and one.pages >= NOT_SPLIT_GROWTH * self._unsplit.get(one.pk, 0)
        )

    def _ask(self, large: SweepSlice, splits: list[str]) -> None:
        self._asked[large.pk] = time.monotonic()
        if splits:
            slices.ask_for_rest(large.pk, splits)
            self.on_asked(large.pk)
        else:
            self._unsplit[large.pk] = large.pages


def _find_splits(large: SweepSlice) -> list[str]:
    with suppress(ReplicationError, Unlistable):  # whoever holds the slice meets it too
        source = Sides.of(large.sweep.rule).source
        assert isinstance(source, Listable)
        return splitting.find_splits(
            source, prefix=large.sweep.listed_prefix, cursor=large.cursor, until=large.until_key
        )
    return []
