"""Holds deletes, as a lane does when a rule's brake refuses them."""

from datetime import UTC, datetime
from uuid import uuid4

from django.db import connection
from django.db.models.functions import Now

from replication import jobs
from replication.jobs import ClaimedJob, held_deletes
from replication.models import ActorKind, DeletePermit, Job, ReplicationRule
from replication.operations import confirmations
from replication.operations.audit import Actor
from replication.operations.confirmations import Seen
from tests.support.examples import a_job


def claim_deletes(rule: ReplicationRule, *keys: str) -> list[ClaimedJob]:
    """Running jobs of these keys; the rule is braked."""
    ReplicationRule.objects.filter(pk=rule.pk).update(braked_at=Now())
    for key in keys:
        a_job(rule, key, available_at=datetime.fromtimestamp(0, UTC))  # first in the queue
    return jobs.claim(uuid4(), limit=len(keys), lease_seconds=60)


def hold(rule: ReplicationRule, *keys: str) -> None:
    """Hold the deletes of these keys, one after the other."""
    for key in keys:
        jobs.await_confirmation(claim_deletes(rule, key))


def hold_many(rule: ReplicationRule, count: int, *, key: str = "'photos/' || n") -> None:
    """Hold so many deletes, all at one instant; `key` is SQL about a number n."""
    ReplicationRule.objects.filter(pk=rule.pk).update(braked_at=Now())
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            INSERT INTO replication_transferjob
                (rule_id, key, state, delete_permit, origin, priority, attempt, attempt_limit,
                 event_at, enqueued_at, available_at,
                 source_etag, source_version_id, source_crc64, source_request_id,
                 destination_etag, destination_crc64, destination_request_id,
                 error_code, error_detail)
            SELECT %s, {key}, 'pending', 'awaited', 'event', 0, 0, 10, now(), now(), now(),
                   '', '', '', '', '', '', '', '', ''
            FROM generate_series(1, %s) AS n
            """,
            [rule.pk, count],
        )


def held_keys(rule: ReplicationRule) -> set[str]:
    held = Job.objects.filter(rule=rule, delete_permit=DeletePermit.AWAITED)
    return set(held.values_list("key", flat=True))


def confirmed_keys(rule: ReplicationRule) -> set[str]:
    confirmed = Job.objects.filter(rule=rule, delete_permit=DeletePermit.CONFIRMED)
    return set(confirmed.values_list("key", flat=True))


def confirm_all(rule: ReplicationRule) -> int:
    """Confirm all that the rule holds, as a person does on the page; returns how many."""
    held = held_deletes.read(rule.pk)
    by = Actor(ActorKind.USER, "on-call")
    confirmation = confirmations.begin(rule, Seen(held.count, held.last), by=by)
    while not (progress := confirmations.progress(confirmation)).is_complete:
        confirmations.go_on(confirmation)
    return progress.confirmed
