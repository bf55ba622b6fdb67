"""The loop of a cluster that carries sweeps on while there are any."""

import time

from replication.cluster import loops
from replication.cluster.loops import Loop
from replication.models import LoopKind
from replication.sweep import lifecycle, slices
from replication.sweep.carrying import Carrier


def run(loop: Loop, *, seconds: float) -> None:
    """Start the sweeps that are due, and carry sweeps on, for up to so many seconds."""
    lifecycle.start_backfills()
    lifecycle.start_scrub()
    ends_at = time.monotonic() + seconds

    def beat() -> None:
        # For another cluster: a second sweeper of this one ends at once.
        if loop.beat_if_due() and (slices.are_any_free() or slices.splittable().exists()):
            loops.request(LoopKind.SWEEPER)

    Carrier(
        should_stop=lambda: loops.are_told_to_stop() or time.monotonic() >= ends_at,
        on_look=beat,
    ).run()
    if time.monotonic() >= ends_at and not loops.are_told_to_stop():
        loop.renew()
