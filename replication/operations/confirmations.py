"""Confirms the held deletes that a person has seen, and no other, in steps that hold nobody up."""

from dataclasses import dataclass
from datetime import UTC

import structlog
from django.db import transaction

from replication import jobs
from replication.jobs import delete_brake, held_deletes
from replication.jobs.held_deletes import MAX_SHOWN, Place
from replication.models import AuditAction, AuditEntry, ReplicationRule
from replication.operations import audit
from replication.operations.audit import Actor

log = structlog.get_logger(__name__)

# No event is enqueued while a batch is confirmed: some 40 ms.
BATCH = 1000
# A step is one request: well below a second.
BATCHES_PER_STEP = 10


@dataclass(frozen=True)
class Seen:
    """What a page showed: so many held deletes, the newest of them at `last`; None if none."""

    count: int
    last: Place | None


@dataclass(frozen=True)
class Confirmation:
    """A person's decision that the held deletes of a rule that they have seen may go on."""

    rule_id: int
    seen: Seen
    entry_id: int  # of the audit, which counts what is confirmed


@dataclass(frozen=True)
class Progress:
    confirmed: int
    is_complete: bool


class NotAllSeen(Exception):
    """More deletes are held than the person has seen; nothing was confirmed."""

    def __init__(self, unseen: int) -> None:
        super().__init__(f"{unseen} held deletes were not seen")
        self.unseen = unseen


def begin(rule: ReplicationRule, seen: Seen, *, by: Actor) -> Confirmation:
    """Accept the decision, and record it. go_on() then confirms.

    A page shows at most MAX_SHOWN deletes. If it showed so many, further ones may be held.

    Raises:
        NotAllSeen: a delete was held since the page was made.
    """
    if unseen := _unseen(rule.pk, seen):
        raise NotAllSeen(unseen)
    about = f"rule {rule.name}: {seen.count} deletes held until {_time(seen.last)}"
    entry_id = audit.begin(by, AuditAction.DELETES_CONFIRMED, about=about)
    return Confirmation(rule.pk, seen, entry_id)


def go_on(confirmation: Confirmation) -> None:
    """Confirm some more, in a few short transactions. Harmless if repeated or interrupted.

    When all are confirmed, the brake ends, unless a delete has been held that was not seen.
    """
    if progress(confirmation).is_complete:
        return
    for _ in range(BATCHES_PER_STEP):
        if _confirm_batch(confirmation) < BATCH:
            _complete(confirmation)
            return


def progress(confirmation: Confirmation) -> Progress:
    """How far it is; complete, if the audit has forgotten it."""
    entry = AuditEntry.objects.filter(pk=confirmation.entry_id).first()
    if entry is None:
        return Progress(0, is_complete=True)
    return Progress(entry.affected or 0, is_complete=entry.ended_at is not None)


def _unseen(rule_id: int, seen: Seen) -> int:
    if seen.count >= MAX_SHOWN:
        return 0
    # The total tells even if the database's clock was set back since.
    more = held_deletes.count(rule_id) - seen.count
    return max(held_deletes.count(rule_id, after=seen.last), more)


def _confirm_batch(confirmation: Confirmation) -> int:
    """One batch and its count, in one transaction: an interruption leaves the audit correct."""
    if confirmation.seen.last is None:
        return 0
    with transaction.atomic():
        confirmed = jobs.confirm_deletes(
            confirmation.rule_id, last=confirmation.seen.last, limit=BATCH
        )
        audit.add(confirmation.entry_id, confirmed)
    return confirmed


def _complete(confirmation: Confirmation) -> None:
    brake_ended = delete_brake.end(confirmation.rule_id)
    if audit.end(confirmation.entry_id):
        log.info(
            "rule.deletes_confirmed",
            rule=ReplicationRule.objects.get(pk=confirmation.rule_id).name,
            jobs=progress(confirmation).confirmed,
            brake_ended=brake_ended,
        )


def _time(last: Place | None) -> str:
    return f"{last.held_at.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f} UTC" if last else "now"
