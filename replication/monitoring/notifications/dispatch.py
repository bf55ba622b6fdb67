"""Evaluates what is wrong, and sends at most one message to each target.

A process claims a target before it notifies it, so that only one of several concurrent processes
sends the message. No transaction is open meanwhile. A later run sends what could not be sent.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from replication.cluster import loops
from replication.cluster.database import DATABASE_AWAY
from replication.models import NotificationTarget
from replication.monitoring.notifications import evaluation, state
from replication.monitoring.notifications.rendering import compose, compose_test
from replication.monitoring.notifications.sender import Message, SendResult, Unsendable, send

log = structlog.get_logger(__name__)

# Far longer than a message may take. A process that dies with a claim delays its target by this.
CLAIM_SECONDS = 120
# The wait before a failed target is tried again; doubled with each failure, up to the cap.
RETRY_SECONDS = 60
RETRY_CAP_SECONDS = 3600
MAX_CONCURRENT_TESTS = 8


@dataclass(frozen=True)
class Delivery:
    """The result for one target.

    `title` is that of the message, empty if there was none. `error` says which services did not
    accept it, and why.
    """

    target: str
    title: str = ""
    error: str = ""
    accepted_by: tuple[str, ...] = ()


def notify_targets() -> list[Delivery]:
    """Evaluate every enabled target, and send it what is new.

    Skips a target that another process has claimed. Ends early when the cluster is being stopped.
    """
    state.close_disabled(at=_now())
    deliveries = []
    for target in NotificationTarget.objects.filter(enabled=True).order_by("last_told_at", "pk"):
        if loops.are_told_to_stop():
            break
        with _claimed(target) as is_ours:
            if is_ours:
                deliveries.append(_notify_safely(target))
    return deliveries


def send_test_messages(targets: Sequence[NotificationTarget]) -> list[Delivery]:
    """Send a test message to all targets at the same time, and record the results on the targets.

    Ignores claims and `try_again_at`, because a person waits for the result.
    """
    tests = [(target, compose_test(target.name)) for target in targets]
    with ThreadPoolExecutor(MAX_CONCURRENT_TESTS) as pool:
        results = list(pool.map(lambda test: _send(*test), tests))
    return [_record_result(*test, result) for test, result in zip(tests, results, strict=True)]


def _notify_safely(target: NotificationTarget) -> Delivery:
    """Notify the target; a bug that shows with one target must not stop the others' messages."""
    try:
        return _notify(target)
    except DATABASE_AWAY:
        raise
    except Exception as error:
        log.error("notification.failed_unexpectedly", target=target.name, exc_info=error)
        reason = f"{type(error).__name__}: see the log"
        NotificationTarget.objects.filter(pk=target.pk).update(
            last_error=reason, last_error_at=Now()
        )
        return Delivery(target.name, error=reason)


def _notify(target: NotificationTarget) -> Delivery:
    snapshot = evaluation.evaluate(target)
    items = state.update(target, snapshot)
    must_wait = target.try_again_at is not None and target.try_again_at > snapshot.at
    if not items or must_wait:
        return Delivery(target.name, error=target.last_error if must_wait else "")
    message = compose(items, snapshot.numbers)
    delivery = _record_result(target, message, _send(target, message))
    if delivery.accepted_by:
        state.mark_told(items, at=snapshot.at)
    return delivery


def _send(target: NotificationTarget, message: Message) -> SendResult:
    """Send without using the database, so that it can run on any thread."""
    try:
        return send(target.credential_profile, message)
    except Unsendable as refusal:
        return SendResult((), (str(refusal),))


def _record_result(target: NotificationTarget, message: Message, result: SendResult) -> Delivery:
    """Record on the target whether it was sent, why not, and when to try again."""
    error = "; ".join(result.errors)
    row = NotificationTarget.objects.filter(pk=target.pk)
    if result.accepted_by:
        row.update(last_told_at=Now(), errors_in_a_row=0, try_again_at=None)
        log.info(
            "notification.sent",
            target=target.name,
            title=message.title,
            services=result.accepted_by,
        )
    else:
        wait = min(RETRY_SECONDS * 2 ** min(target.errors_in_a_row, 10), RETRY_CAP_SECONDS)
        row.update(
            errors_in_a_row=F("errors_in_a_row") + 1,
            try_again_at=Now() + timedelta(seconds=wait),
        )
    if error:
        row.update(last_error=error, last_error_at=Now())
        log.warning("notification.not_sent", target=target.name, reason=error)
    else:
        row.update(last_error="")
    return Delivery(target.name, message.title, error, result.accepted_by)


@contextmanager
def _claimed(target: NotificationTarget) -> Iterator[bool]:
    """Claim the target; yield whether that succeeded.

    Reads the target again after the claim, as another process may just have changed it.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_notificationtarget
            SET claimed_until = now() + make_interval(secs => %s)
            WHERE id = %s AND enabled AND (claimed_until IS NULL OR claimed_until < now())
            RETURNING claimed_until
            """,
            [CLAIM_SECONDS, target.pk],
        )
        claim = cursor.fetchone()
    if claim is None:
        yield False
        return
    target.refresh_from_db()
    try:
        yield True
    finally:
        # Only our own claim: if it expired, another process may have claimed the target since.
        NotificationTarget.objects.filter(pk=target.pk, claimed_until=claim[0]).update(
            claimed_until=None
        )


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        [now] = cursor.fetchone()
    assert isinstance(now, datetime)
    return now
