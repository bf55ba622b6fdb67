"""What is done by hand to jobs, rules, dead letters and notification targets, audited."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from django.db.models import QuerySet

from replication import jobs
from replication.intake import dead_letters, matching
from replication.intake.dead_letters import Replayed
from replication.jobs import delete_brake, parking
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
    """What came of failed jobs that were to be tried again."""

    retried: int
    superseded: int  # a newer job of the same key serves them


def retry(chosen: QuerySet[TransferJob], *, by: Actor) -> Retried:
    """Have the failed ones of these jobs tried again, with all their tries."""
    with recorded(by, AuditAction.JOBS_RETRIED, about=_jobs(chosen)) as record:
        failed = chosen.filter(state=JobState.FAILED).count()
        record.affected = moved = jobs.retry(chosen)
    return Retried(moved, max(0, failed - moved))


def cancel(chosen: QuerySet[TransferJob], *, by: Actor) -> int:
    """Cancel the pending ones of these jobs. Returns how many."""
    with recorded(by, AuditAction.JOBS_CANCELLED, about=_jobs(chosen)) as record:
        record.affected = cancelled = jobs.cancel(chosen)
    return cancelled


def pause(rules: QuerySet[ReplicationRule], *, by: Actor) -> int:
    """Have these rules' jobs wait. Returns how many rules were not paused before."""
    with recorded(by, AuditAction.RULES_PAUSED, about=_rules(rules)) as record:
        record.affected = paused = ReplicationRule.pause(rules)
    return paused


def resume(rules: QuerySet[ReplicationRule], *, by: Actor) -> int:
    """Let rules go on that were paused or parked. Returns how many were."""
    with recorded(by, AuditAction.RULES_RESUMED, about=_rules(rules)) as record:
        record.affected = resumed = parking.resume(rules)
    return resumed


def confirm_deletes(rules: QuerySet[ReplicationRule], *, by: Actor) -> int:
    """Let the deletes go on that these rules' brakes hold. Returns how many."""
    with recorded(by, AuditAction.DELETES_CONFIRMED, about=_rules(rules)) as record:
        record.affected = confirmed = delete_brake.confirm(rules)
    return confirmed


def look_again(rule: ReplicationRule, keys: Sequence[str], *, by: Actor) -> list[int]:
    """Make a job of each key, whatever the rule's filters say. Returns their ids."""
    about = audit.describe(f"rule {rule.name}: keys", list(keys[: audit.MAX_NAMED + 1]))
    with recorded(by, AuditAction.LOOKED_AGAIN, about=about) as record:
        job_ids = matching.look_again(rule, keys)
        record.affected = len(job_ids)
    return job_ids


def replay(letters: QuerySet[DeadLetter], *, by: Actor) -> Replayed:
    """Give these messages another chance."""
    with recorded(by, AuditAction.LETTERS_REPLAYED, about=_letters(letters)) as record:
        replayed = dead_letters.replay(letters)
        record.affected = replayed.letters
    return replayed


def delete(letters: QuerySet[DeadLetter], *, by: Actor) -> int:
    """Delete these messages for good. Returns how many."""
    with recorded(by, AuditAction.LETTERS_DELETED, about=_letters(letters)) as record:
        record.affected, _ = letters.delete()
    return record.affected


def send_tests(targets: QuerySet[NotificationTarget], *, by: Actor) -> list[Delivery]:
    """Send a test message to each of them, and say how it went."""
    about = audit.describe(
        "targets", _first(targets.order_by("name").values_list("name", flat=True))
    )
    with recorded(by, AuditAction.TARGETS_TESTED, about=about) as record:
        done = send_test_messages(list(targets.order_by("name")))
        record.affected = sum(bool(each.accepted_by) for each in done)
    return done


# -- what it is about, for the record ----------------------------------------------------------


def _jobs(chosen: QuerySet[TransferJob]) -> str:
    return audit.describe("jobs", _first(chosen.order_by().values_list("pk", flat=True)))


def _rules(rules: QuerySet[ReplicationRule]) -> str:
    return audit.describe("rules", _first(rules.order_by("name").values_list("name", flat=True)))


def _letters(letters: QuerySet[DeadLetter]) -> str:
    return audit.describe("dead letters", _first(letters.values_list("message_id", flat=True)))


def _first(values: QuerySet) -> list[str]:
    first: Iterable[object] = values[: audit.MAX_NAMED + 1]
    return [str(value) for value in first]
