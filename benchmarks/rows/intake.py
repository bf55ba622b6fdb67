"""Measures the way from messages in SQS to committed jobs, with one `pollsqs` and no lanes."""

import itertools

from benchmarks.ours import Installation
from benchmarks.processes import Group
from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import Keys
from sandbox.child import Child

DISTANCE_MS = 20
NEAR, FAR = "s3sync", f"s3sync, {DISTANCE_MS} ms from SQS"
STREAMS_PER_SECOND = (1000, 2)


def measure(sitting: Sitting) -> Row:
    """A backlog without and with distance; then steady streams of many and of few events."""
    count, rounds = (3000, 1) if sitting.is_quick else (10_000, 3)
    row = Row(
        f"Intake: {count:,} events in the queue, one poller",
        notes=[
            "“To commit” is from an event's arrival in SQS to the beginning of its transaction."
        ],
    )
    prefixes = (f"intake/{number}/" for number in itertools.count())
    sitting.begin()
    with sitting.installation() as installation:
        poller = installation.start("pollsqs", {})
        try:
            poller.await_ready(lambda: bool(installation.loops()), advice="See its log.")
            for _ in range(rounds):
                for subject, distance_ms in ((NEAR, 0), (FAR, DISTANCE_MS)):
                    sitting.queue.delay(distance_ms)
                    keys = Keys(next(prefixes), count, (1, 1))
                    row.add(subject, **_take_in(sitting, installation, poller, keys))
            sitting.queue.delay(0)
            for per_second in STREAMS_PER_SECOND:
                keys = Keys(next(prefixes), min(count, per_second * 10), (1, 1))
                figures = _take_in(sitting, installation, poller, keys, per_second=per_second)
                row.add(f"s3sync, {per_second:,} events/s", **figures, **_to_commit(installation))
        finally:
            poller.stop(grace_seconds=1)
    row.checks = [
        Check("events/s", row.median(NEAR, "events_a_second"), at_least=1500, aim=5000),
        Check(f"events/s, {DISTANCE_MS} ms away", row.median(FAR, "events_a_second"), aim=1500),
        Check(
            "ms of CPU an event at 1,000 a second",
            row.median("s3sync, 1,000 events/s", "cpu_ms_an_event"),
            at_most=0.2,
        ),
    ]
    return row


def _take_in(
    sitting: Sitting,
    installation: Installation,
    poller: Child,
    keys: Keys,
    *,
    per_second: float = 0,
) -> dict[str, float]:
    group = Group(poller.pid)
    group.start()
    installation.mark()
    began_at = sitting.queue.announce(keys, per_second=per_second)
    for _ in installation.await_jobs(keys.count, "true", poller, timeout_seconds=280):
        group.sample()
    group.sample()
    # Up to the beginning of the transaction with the last job.
    seconds = installation.figure("extract(epoch FROM max(enqueued_at))") - began_at
    cpu_seconds = sum(process.cpu_seconds for process in group.usage().values())
    return {
        "events_a_second": keys.count / seconds,
        "cpu_ms_an_event": cpu_seconds / keys.count * 1000,
    }


def _to_commit(installation: Installation) -> dict[str, float]:
    waited = "extract(epoch FROM enqueued_at - event_at) * 1000"
    return {
        f"to_commit_p{share * 100:g}_ms": installation.figure(
            f"percentile_disc({share}) WITHIN GROUP (ORDER BY {waited})"
        )
        for share in (0.5, 0.99)
    }
