"""The loop of a cluster that carries sweeps on while there are any."""

import time

from replication.cluster import loops
from replication.cluster.loops import Loop
from replication.models import LoopKind
from replication.sweep import lifecycle, settling, slices
from replication.sweep.carrying import LOOK_SECONDS, Carrier
from replication.sweep.sharing import workers

# A short sweep ends while its reader watches; a long wait takes no place of the cluster, which
# looks again each minute.
STAY_SECONDS = 20.0
SHARE_SECONDS = 0.5  # before other clusters are asked again to take a share; then twice as long


def run(loop: Loop, *, seconds: float) -> None:
    """Start the sweeps that are due, and carry sweeps on, for up to so many seconds."""
    lifecycle.start_backfills()
    lifecycle.start_scrub()
    ends_at = time.monotonic() + seconds

    share_at, wait_seconds = time.monotonic(), SHARE_SECONDS

    def beat() -> None:
        nonlocal share_at, wait_seconds
        loop.beat_if_due()
        if time.monotonic() < share_at:
            return
        # Whichever cluster takes the request; a second sweeper of this one ends at once.
        if slices.are_any_free() or slices.splittable(workers=workers()).exists():
            loops.request(LoopKind.SWEEPER)
        share_at = time.monotonic() + wait_seconds
        wait_seconds = min(2 * wait_seconds, loops.BEAT_SECONDS)

    def should_stop() -> bool:
        return loops.are_told_to_stop() or time.monotonic() >= ends_at

    carrier = Carrier(should_stop=should_stop, on_look=beat)
    carrier.run()
    stays_until = time.monotonic() + STAY_SECONDS
    while (
        not should_stop()
        and time.monotonic() < stays_until
        and settling.is_due_soon(seconds=STAY_SECONDS)
    ):
        time.sleep(LOOK_SECONDS)
        carrier.run()
    if time.monotonic() >= ends_at and not loops.are_told_to_stop():
        loop.renew()
