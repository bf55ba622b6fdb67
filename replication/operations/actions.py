"""Manual actions on jobs, rules, dead letters and notification targets; each is audited.

confirmations.py has the one that takes several steps: confirming held deletes.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from replication import jobs
from replication.intake import dead_letters, matching
from replication.intake.dead_letters import Replayed
from replication.jobs import circuits
from replication.models import (
    AuditAction,
    DeadLetter,
    JobState,
    NotificationTarget,
    ReplicationRule,
    TransferJob,
)
from replication.monitoring.notifications.dispatch import Delivery, send_test_messages
from replication.operations import audit
from replication.operations.audit import Actor, recorded


@dataclass(frozen=True)
class Retried:
    """The result of a retry of failed jobs."""

    retried: int
    superseded: int  # replaced by a newer job of the same key


def retry(chosen: QuerySet[TransferJob], *, by: Actor) -> Retried:
    """Retry the failed jobs among these, each with its full number of tries."""
    with recorded(by, AuditAction.JOBS_RETRIED, about=_jobs(chosen)) as record:
        failed = chosen.filter(state=JobState.FAILED).count()
        record.affected = moved = jobs.retry(chosen)
    return Retried(moved, max(0, failed - moved))


def cancel(chosen: QuerySet[TransferJob], *, by: Actor) -> int:
    """Cancel the pending jobs among these. Returns how many."""
    with recorded(by, AuditAction.JOBS_CANCELLED, about=_jobs(chosen)) as record:
        record.affected = cancelled = jobs.cancel(chosen)
    return cancelled


def pause(rules: QuerySet[ReplicationRule], *, by: Actor) -> int:
    """Pause these rules, so that their jobs wait. Returns how many were not paused before."""
    with recorded(by, AuditAction.RULES_PAUSED, about=_rules(rules)) as record:
        record.affected = paused = ReplicationRule.pause(rules)
    return paused


def resume(rules: QuerySet[ReplicationRule], *, by: Actor) -> int:
    """Resume the paused and the parked rules among these. Returns how many there were."""
    with recorded(by, AuditAction.RULES_RESUMED, about=_rules(rules)) as record:
        record.affected = resumed = circuits.resume(rules)
    return resumed


def look_again(rule: ReplicationRule, keys: Sequence[str], *, by: Actor) -> list[int]:
    """Make a job for each key, whatever the rule's filters say. Returns the jobs' ids.

    Raises:
        KeysOutsideRule: some are outside the rule's source prefix, or outside the filters of a
            public rule; nothing is done.
    """
    matching.check_keys(rule, keys)
    about = audit.describe(f"rule {rule.name}: keys", list(keys[: audit.MAX_NAMED + 1]))
    with recorded(by, AuditAction.LOOKED_AGAIN, about=about) as record:
        job_ids = matching.look_again(rule, keys)
        record.affected = len(job_ids)
    return job_ids


def replay(letters: QuerySet[DeadLetter], *, by: Actor) -> Replayed:
    """Take these records and messages in again."""
    with recorded(by, AuditAction.LETTERS_REPLAYED, about=_letters(letters)) as record:
        replayed = dead_letters.replay(letters)
        record.affected = replayed.letters
    return replayed


def delete(letters: QuerySet[DeadLetter], *, by: Actor) -> int:
    """Delete these records and messages for good. Returns how many."""
    with recorded(by, AuditAction.LETTERS_DELETED, about=_letters(letters)) as record:
        record.affected, _ = letters.delete()
    return record.affected


def send_tests(targets: QuerySet[NotificationTarget], *, by: Actor) -> list[Delivery]:
    """Send a test message to each target. Returns the results."""
    about = audit.describe(
        "targets", _first(targets.order_by("name").values_list("name", flat=True))
    )
    with recorded(by, AuditAction.TARGETS_TESTED, about=about) as record:
        deliveries = send_test_messages(list(targets.order_by("name")))
        record.affected = sum(bool(each.accepted_by) for each in deliveries)
    return deliveries


# -- the objects of an action, in words --------------------------------------------------------


def _jobs(chosen: QuerySet[TransferJob]) -> str:
    return audit.describe("jobs", _first(chosen.order_by().values_list("pk", flat=True)))


def _rules(rules: QuerySet[ReplicationRule]) -> str:
    return audit.describe("rules", _first(rules.order_by("name").values_list("name", flat=True)))


def _letters(letters: QuerySet[DeadLetter]) -> str:
    named = letters.select_related(None).only("message_id", "record")
    return audit.describe("dead letters", _first(named))


def _first(values: QuerySet) -> list[str]:
    first: Iterable[object] = values[: audit.MAX_NAMED + 1]
    return [str(value) for value in first]
