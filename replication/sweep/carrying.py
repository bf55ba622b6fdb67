"""Carries sweeps on: takes slices, compares them, and records each batch in one transaction.

A process compares several slices at a time, each on a thread with a database connection of its own.
A worker with nothing to do asks another one, of whatever host, for the rest of its slice. A worker
that is killed costs the next one a batch.
"""

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from functools import partial

import structlog
from django.conf import settings
from django.db import DatabaseError, connection

from replication.errors import ReplicationError
from replication.models import SweepLevel, SweepSlice, SweepState
from replication.sweep import lifecycle, progress, recording, settling, slices
from replication.sweep.comparing import CantCompare, Comparison, Sides
from replication.sweep.looking import LOOKS_AT_ONCE
from replication.sweep.merging import Range
from replication.sweep.reading import Unordered
from replication.sweep.sharing import PLACES, Sharing
from replication.sweep.sorting import sorted_listing

log = structlog.get_logger(__name__)

NICENESS = 10
LOOK_SECONDS = 0.2  # how soon a free place notices a slice


def yield_to_lanes() -> None:
    """Give this thread less of a busy CPU than lanes get. Only on Linux a thread has a priority."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


@dataclass
class Carrier:
    """Carries sweeps on until it is told to stop, or nothing is left to do.

    Args:
        sweep_id: only this sweep; None for all that run.
        should_stop: asked between batches.
        gives_up: end a sweep as failed where a side can't be reached for minutes; otherwise it is
            tried for as long as that lasts.
        on_look: called at least once a second.
    """

    should_stop: Callable[[], bool]
    sweep_id: int | None = None
    gives_up: bool = False
    on_look: Callable[[], None] = lambda: None
    _held: dict[int, SweepSlice] = field(default_factory=dict)  # by id
    _comparisons: dict[int, Comparison] = field(default_factory=dict)  # by the ids of their slices
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Carry on until `should_stop`, or until no slice and no second look is left to do now."""
        renewed_at = time.monotonic()
        sharing = Sharing(self.sweep_id, on_asked=self._end_batch)
        with (
            ThreadPoolExecutor(PLACES, "slice", yield_to_lanes) as places,
            ThreadPoolExecutor(2 * PLACES, "listing", yield_to_lanes) as listers,
            ThreadPoolExecutor(LOOKS_AT_ONCE, "look", yield_to_lanes) as lookers,
        ):
            running: set[Future[None]] = set()
            carry = partial(self._carry, listers=listers, lookers=lookers)
            while not self.should_stop():
                while len(running) < PLACES and (held := slices.hold_one(self.sweep_id)):
                    with self._lock:
                        self._held[held.pk] = held
                    running.add(places.submit(carry, held))
                self.on_look()
                free = PLACES - len(running)
                may_get_more = free > 0 and sharing.ask(lookers, free=free)
                is_time = time.monotonic() - renewed_at > settings.S3SYNC.lease_seconds / 6
                if is_time:
                    slices.renew(self._all_held())
                    progress.sample()
                    renewed_at = time.monotonic()
                if is_time or not running:
                    again = settling.settle(self.sweep_id, lookers=lookers, gives_up=self.gives_up)
                if not running:
                    if again is None and not may_get_more:
                        return
                    time.sleep(LOOK_SECONDS if again is None else again)
                    continue
                done, running = wait(running, timeout=LOOK_SECONDS, return_when=FIRST_COMPLETED)
                for one in done:
                    one.result()

    def _all_held(self) -> list[SweepSlice]:
        with self._lock:
            return list(self._held.values())

    # -- a slice, on a thread of its own -------------------------------------------------------

    def _carry(
        self, held: SweepSlice, *, listers: ThreadPoolExecutor, lookers: ThreadPoolExecutor
    ) -> None:
        try:
            with closing(connection):
                self._compare(held, listers, lookers)
        except DatabaseError as error:  # another worker takes the slice when nobody renews it
            log.warning("slice.lost", sweep=held.sweep_id, slice=held.pk, error=str(error))
        finally:
            with self._lock:
                del self._held[held.pk]
                self._comparisons.pop(held.pk, None)

    def _compare(
        self, held: SweepSlice, listers: ThreadPoolExecutor, lookers: ThreadPoolExecutor
    ) -> None:
        """Compare the slice until its end, or until this worker must leave it."""
        sweep = held.sweep
        try:
            if lifecycle.restart_if_changed(sweep):
                return
            if slices.are_lanes_behind(sweep):
                slices.release(held, seconds=slices.BEHIND_SECONDS)
                return
            compare = partial(self._compare_batches, held, listers=listers, lookers=lookers)
            with ExitStack() as sorting:
                sides = Sides.of(sweep.rule)
                while (unordered := compare(sides)) is not None:
                    log.info("sweep.sorting", rule=sweep.rule.name, why=str(unordered))
                    listing = sorted_listing(
                        unordered.side, prefix=sweep.listed_prefix, on_page=self._stop_if_told
                    )
                    sides = sides.listed_by(unordered.side, sorting.enter_context(listing))
        except slices.Lost:
            log.info("slice.lost", sweep=sweep.pk, slice=held.pk)
            slices.release(held)  # if it is still ours, its sweep was paused or ended
        except ReplicationError as error:
            slices.fail(held, error, gives_up=self.gives_up)
        except CantCompare as error:
            slices.end_sweep(sweep.pk, SweepState.FAILED, error=str(error))

    def _compare_batches(
        self,
        held: SweepSlice,
        sides: Sides,
        *,
        listers: ThreadPoolExecutor,
        lookers: ThreadPoolExecutor,
    ) -> Unordered | None:
        """Compare from the cursor on. Returns what says which side must be sorted first, if any."""
        comparison = Comparison(
            sides,
            Range(held.sweep.listed_prefix, held.cursor, held.until_key),
            level=SweepLevel(held.sweep.level),
            listers=listers,
            lookers=lookers,
        )
        with self._lock:
            self._comparisons[held.pk] = comparison
        try:
            for batch in comparison.batches():
                recorded = recording.record(held, batch)
                if recorded.ends_at is not None:
                    comparison.end_at(recorded.ends_at)
                if not batch.is_last and not self._may_go_on(held, recorded):
                    return None
        except Unordered as unordered:
            return unordered
        recording.end_slice(held)
        return None

    def _stop_if_told(self) -> None:
        if self.should_stop():
            raise slices.Lost

    def _may_go_on(self, held: SweepSlice, recorded: recording.Recorded) -> bool:
        """Whether to read on, after the pause that the sweep's rate asks for."""
        if recorded.is_behind:
            slices.release(held, seconds=slices.BEHIND_SECONDS)
            return False
        resume_at = time.monotonic() + recorded.pace.wait_seconds
        while recorded.pace.is_in_window and not self.should_stop():
            if (rest := resume_at - time.monotonic()) <= 0:
                return True
            time.sleep(min(rest, LOOK_SECONDS))
        slices.release(held)
        return False

    def _end_batch(self, slice_id: int) -> None:
        """Have a slice, if it is ours, give its rest away at its next page."""
        with self._lock:
            if (ours := self._comparisons.get(slice_id)) is not None:
                ours.end_batch()
