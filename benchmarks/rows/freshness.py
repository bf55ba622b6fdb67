"""Measures the lag under a steady stream of events."""

from benchmarks.report import Check, Row
from benchmarks.sitting import Sitting
from benchmarks.stand_ins import Keys

EVENTS_A_SECOND = 200
SIZES = (1000, 1_000_000)


def measure(sitting: Sitting) -> Row:
    """The lag from an event's arrival in SQS (SQS's clock) to its settled job (PostgreSQL's)."""
    seconds = 10 if sitting.is_quick else 60
    keys = Keys("fresh/", EVENTS_A_SECOND * seconds, SIZES)
    row = Row(
        f"Freshness: {EVENTS_A_SECOND} events/s for {seconds} s, "
        f"objects of {SIZES[0] / 1000:g} KB to {SIZES[1] / 1e6:g} MB",
        notes=[
            "The sizes are spread evenly over the orders of magnitude. All clocks are the host's."
        ],
    )
    sitting.begin(keys)
    with sitting.installation() as installation, installation.cluster() as cluster:
        run = cluster.copy(keys, queue=sitting.queue, per_second=EVENTS_A_SECOND)
        lags = {
            f"lag_p{share * 100:g}_s": installation.figure(
                f"percentile_disc({share}) WITHIN GROUP "
                "(ORDER BY extract(epoch FROM finalized_at - event_at))"
            )
            for share in (0.5, 0.99, 1)
        }
        waits = {
            "to_job_p99_s": installation.figure(
                "percentile_disc(0.99) WITHIN GROUP "
                "(ORDER BY extract(epoch FROM enqueued_at - event_at))"
            )
        }
    sitting.require_equal()
    cpu_percent = run.cpu_seconds / run.seconds * 100
    row.add("s3sync", **lags, **waits, cpu_percent_of_a_core=cpu_percent)
    row.checks = [
        Check("lag, p50, s", lags["lag_p50_s"], at_most=0.3),
        Check("lag, p99, s", lags["lag_p99_s"], at_most=0.8, aim=0.3),
    ]
    return row
