"""Carries sweeps on in the test's own process, as a cluster's sweeper does."""

from unittest.mock import patch

from django.db.models.functions import Now

from replication.models import Sweep, SweepFinding, SweepKind, SweepSlice, SweepState
from replication.sweep import lifecycle, recording, settling
from replication.sweep.carrying import Carrier
from replication.sweep.comparing import Batch
from replication.sweep.recording import Recorded


def carry_on(*, batches: int | None = None) -> None:
    """Carry sweeps on until nothing is left to do now, or for so many batches."""
    recorded, record = 0, recording.record

    def count(held: SweepSlice, batch: Batch) -> Recorded:
        nonlocal recorded
        done = record(held, batch)
        recorded += 1
        return done

    # Lanes may be at work or not: a test says itself when to look again.
    without_waiting = patch.object(settling, "_waits_long", return_value=True)
    with patch.object(recording, "record", count), without_waiting:
        Carrier(should_stop=lambda: batches is not None and recorded >= batches).run()


def scrub(*, batches: int | None = None) -> Sweep:
    """Start the scrub that is due, if any, and carry it on; returns the newest one."""
    lifecycle.start_scrub()
    carry_on(batches=batches)
    return Sweep.objects.filter(kind=SweepKind.SCRUB).latest("pk")


def later() -> None:
    """Let time pass: slices that wait can be taken, and findings are due for a second look."""
    SweepSlice.objects.filter(held_by="").update(held_until=None)
    SweepFinding.objects.filter(look_at__isnull=False).update(look_at=Now())


def settled(sweep: Sweep) -> Sweep:
    """Let the second looks come, and return the sweep after its end."""
    later()
    carry_on()
    sweep.refresh_from_db()
    assert sweep.state == SweepState.COMPLETED, sweep.state
    return sweep
