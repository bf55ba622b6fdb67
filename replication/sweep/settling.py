"""Looks again at what differed.

A listing is of the past: an event may have been about to mend what it showed. Only what still
differs later, by a look at both objects, while no job works on the key, is called a difference.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.db.models.functions import Now

from replication.errors import MEANINGS, ReplicationError
from replication.models import (
    FindingState,
    Sweep,
    SweepFinding,
    SweepState,
)
from replication.sweep import lifecycle, recording, slices
from replication.sweep.causes import (
    Cause,
    announced,
    causes_of,
    database_now,
    last_jobs,
    may_be_told,
)
from replication.sweep.comparing import Sides
from replication.sweep.ending import end_if_settled
from replication.sweep.judging import DIFFERENCES, Judgement, Verdict
from replication.sweep.looking import Looker

log = structlog.get_logger(__name__)

LOOKS = 200  # at a time
AGAIN_IN_SECONDS = 0.5  # while a sweep waits for its jobs or its second looks
AGAIN_SECONDS = 5  # while a job works on the key
MOST_LOOKS = 200  # then the key's job does not get through, which the status page tells
MOST_ORDERS = 5  # looks, after which an ordered key that still differs is not ordered again

_CHANGED = (
    *("verdict", "reason", "cause", "code", "state", "is_ordered", "look_at"),
    *("source_size", "source_etag", "source_modified"),
    *("replica_size", "replica_etag", "replica_modified"),
)


def settle(
    sweep_id: int | None = None, *, lookers: Executor, gives_up: bool = False
) -> float | None:
    """Look again at some findings that are due, and end sweeps that are settled.

    With `gives_up`, a sweep fails where a side can't be reached for minutes. Returns in how many
    seconds to come back, 0 if more may be due now; None if nothing will be due soon: never while
    the one sweep that is named is unended.
    """
    chosen = lifecycle.under_way() | lifecycle.ended_early()
    if sweep_id is not None:
        chosen = lifecycle.under_way().filter(pk=sweep_id)
    again = None if sweep_id is None else AGAIN_IN_SECONDS
    for sweep in chosen.select_related("rule__source", "rule__destination").order_by("pk"):
        found = _take_due(sweep)
        if found:
            try:
                _look_again(sweep, found, lookers)
            except ReplicationError as error:  # they are due again when nobody holds them
                text = f"{error} {MEANINGS[error.code].hint}"
                chosen.filter(pk=sweep.pk).update(error=text)
                if gives_up and max(one.looks for one in found) >= MOST_ORDERS:
                    slices.end_sweep(sweep.pk, SweepState.FAILED, error=text)
                continue
            again = 0.0
        elif sweep.state == SweepState.SETTLING and not end_if_settled(sweep):
            again = AGAIN_IN_SECONDS if again is None and not _waits_long(sweep) else again
    return again if sweep_id is None or chosen.exists() else None


def _waits_long(sweep: Sweep) -> bool:
    """Whether nothing is to be looked at again within a minute; the lanes may end any moment."""
    seen = sweep.findings.filter(state=FindingState.SEEN)
    in_a_minute = Now() + timedelta(minutes=1)
    return seen.exists() and not seen.filter(look_at__lt=in_a_minute).exists()


def is_due_soon(*, seconds: float) -> bool:
    """Whether a second look is due within so many seconds, or a sweep waits for its jobs alone."""
    chosen = lifecycle.under_way()
    seen = SweepFinding.objects.filter(sweep=OuterRef("pk"), state=FindingState.SEEN)
    due = seen.filter(look_at__lt=Now() + timedelta(seconds=seconds))
    return chosen.filter(Exists(due) | Q(state=SweepState.SETTLING) & ~Exists(seen)).exists()


def _is_under_way(sweep: Sweep) -> bool:
    return sweep.state in {SweepState.RUNNING, SweepState.SETTLING}


def _take_due(sweep: Sweep) -> list[SweepFinding]:
    """Take findings whose second look is due. If that takes too long, another worker takes them:
    their number of looks fences off the first one. Of a sweep that ended early, they are those that
    it has ordered.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_sweepfinding
            SET look_at = now() + make_interval(secs => %s), looks = looks + 1
            WHERE id IN (
                SELECT id FROM replication_sweepfinding
                WHERE sweep_id = %s AND state = 'seen' AND look_at <= now()
                  AND (is_ordered OR %s)
                ORDER BY look_at LIMIT %s FOR UPDATE SKIP LOCKED)
            RETURNING id
            """,
            [settings.S3SYNC.lease_seconds, sweep.pk, _is_under_way(sweep), LOOKS],
        )
        ids = [pk for (pk,) in cursor.fetchall()]
    return list(SweepFinding.objects.filter(pk__in=ids).order_by("key"))


def _look_again(sweep: Sweep, found: Sequence[SweepFinding], lookers: Executor) -> None:
    """
    Raises:
        ReplicationError: a side refuses, or can't be reached.
    """
    since = database_now()
    jobs = last_jobs(sweep.rule, [one.key for one in found])
    unfinished = {
        key: [job for job in jobs_of_key if job.is_unfinished] for key, jobs_of_key in jobs.items()
    }
    held = {key for key, of_key in unfinished.items() if of_key and all(j.is_held for j in of_key)}
    idle = [one for one in found if not unfinished.get(one.key) or one.key in held]
    sides = Sides.of(sweep.rule)
    looker = Looker(sweep.rule, sides.source, sides.destination, lookers)
    looked = {one.pair.key: one for one in looker.look([one.key for one in idle])}
    differing = [one for one in looked.values() if one.verdict in DIFFERENCES]
    extra = [one.pair.key for one in differing if one.verdict is Verdict.EXTRA]
    causes = causes_of(sweep.rule, differing, listed_since=since) if differing else {}
    settling = _Settling(
        sweep,
        causes=causes,
        foreign=set(extra) - looker.ours(extra),
        announced=announced(sweep.rule, idle),
        held=held,
    )
    settling.counts["source_requests"] += looker.source_requests
    settling.counts["destination_requests"] += looker.destination_requests
    under_way = {key for key, (cause, _) in causes.items() if cause is Cause.PENDING} - held
    with transaction.atomic():
        ours = SweepFinding.objects.select_for_update().filter(
            pk__in=[one.pk for one in found], state=FindingState.SEEN
        )
        looks = dict(ours.order_by("pk").values_list("pk", "looks"))
        found = [one for one in found if looks.get(one.pk) == one.looks]
        for one in found:
            if one.key in looked and one.key not in under_way:
                settling.settle(one, looked[one.key])
            else:
                settling.wait_for_job(one)
        settling.counts["ordered"] += recording.order(sweep, settling.to_order)
        SweepFinding.objects.bulk_update(found, _CHANGED)
        Sweep.objects.filter(pk=sweep.pk).update(
            **{name: F(name) + number for name, number in settling.counts.items()}
        )


class _Settling:
    """Settles findings of a sweep, one by one, and collects what to count and to order."""

    def __init__(
        self,
        sweep: Sweep,
        *,
        causes: Mapping[str, tuple[Cause, str]],
        foreign: Collection[str],
        announced: Collection[str],
        held: Collection[str],
    ) -> None:
        """
        Args:
            held: the keys whose deletes await a person.
        """
        self._sweep = sweep
        self._announced = announced
        self._causes = causes
        self._foreign = foreign
        self._held = held
        self.counts = Counter[str]()
        self.to_order: list[str] = []

    def wait_for_job(self, finding: SweepFinding) -> None:
        """Look once more, unless the key's job does not get through."""
        if finding.looks < MOST_LOOKS:
            finding.look_at = datetime.now(UTC) + timedelta(seconds=AGAIN_SECONDS)
            return
        self._leave_to_job(finding)

    def _leave_to_job(self, finding: SweepFinding) -> None:
        finding.state, finding.cause = FindingState.GONE, Cause.PENDING
        self._move(finding, "under_way")

    def settle(self, finding: SweepFinding, judgement: Judgement) -> None:
        """Settle a finding by a look at both sides, while no job works on its key."""
        # Of other causes an event has told long ago.
        came_late = finding.key in self._announced and finding.cause in {Cause.LOST, Cause.RECENT}
        if finding.is_ordered and finding.cause == Cause.RECENT and not may_be_told(finding):
            finding.cause = Cause.LOST
        recording.describe(finding, judgement)
        if judgement.verdict is Verdict.EQUAL:
            if finding.is_ordered and not came_late:
                finding.state = FindingState.MENDED
                self.counts["lost"] += finding.cause == Cause.LOST
            else:
                finding.state = FindingState.GONE
                self._move(finding, "found_again")
            return
        if finding.key in self._held and finding.cause != Cause.LOST:
            self._leave_to_job(finding)
            return
        self._move(finding, judgement.verdict.counter)
        finding.verdict = judgement.verdict.value
        if finding.key in self._foreign:
            finding.state, finding.cause = FindingState.CONFIRMED, Cause.FOREIGN
            self._move(finding, "foreign")
        elif judgement.verdict is Verdict.LEFT_OUT and finding.cause != Cause.LOST:
            finding.state = FindingState.GONE  # the rule was edited, or the key is not its own
        elif self._may_order(finding, judgement):
            self.to_order.append(finding.key)
            finding.is_ordered = True
            self._note_cause(finding, came_late=came_late)
            finding.look_at = datetime.now(UTC) + timedelta(seconds=AGAIN_SECONDS)
        else:
            finding.state = FindingState.CONFIRMED
            self._note_cause(finding, came_late=came_late)
            self.counts["lost"] += finding.cause == Cause.LOST

    def _note_cause(self, finding: SweepFinding, *, came_late: bool) -> None:
        """Note why the key still differs. A lost event stays lost, whatever its job has done."""
        cause, finding.code = self._causes.get(finding.key, (None, ""))
        if finding.cause != Cause.LOST or came_late:
            finding.cause = cause.value if cause else ""

    def _may_order(self, finding: SweepFinding, judgement: Judgement) -> bool:
        """Whether a job is to look at the key: it has not yet, or the object changed since."""
        if finding.key in self._held or not _is_under_way(self._sweep):
            return False
        if not recording.is_mended(self._sweep, judgement, self._causes):
            return False
        return not finding.is_ordered or (
            self._causes[finding.key][0] is not Cause.FAILED and finding.looks < MOST_ORDERS
        )

    def _move(self, finding: SweepFinding, to: str) -> None:
        """Count the finding as something else."""
        self.counts[Verdict(finding.verdict).counter] -= 1
        self.counts[to] += 1
