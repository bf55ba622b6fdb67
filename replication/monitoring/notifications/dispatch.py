"""One look at what is wrong, and at most one message to each target.

Each target is claimed for a while, so that however many processes look at once, one tells it; no
transaction is open meanwhile. What could not be told is told by a later look.
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

# Far longer than a message may take; whoever dies with a claim delays its target by so much.
CLAIM_SECONDS = 120
# A target that fails is tried after this, then after twice as long, and so on, up to the cap.
RETRY_SECONDS = 60
RETRY_CAP_SECONDS = 3600
MAX_CONCURRENT_TESTS = 8


@dataclass(frozen=True)
class Delivery:
    """What came of a target: `title` of the message, empty if there was none; or why it failed."""

    target: str
    title: str = ""
    error: str = ""
    accepted_by: tuple[str, ...] = ()


def notify_targets() -> list[Delivery]:
    """Look for every enabled target, and tell it what is new.

    Ends early where the cluster is told to stop. A target that another process has in hand is
    left to it.
    """
    state.close_disabled(at=_now())
    done = []
    for target in NotificationTarget.objects.filter(enabled=True).order_by("last_told_at", "pk"):
        if loops.are_told_to_stop():
            break
        with _claimed(target) as is_ours:
            if is_ours:
                done.append(_notify_safely(target))
    return done


def send_test_messages(targets: Sequence[NotificationTarget]) -> list[Delivery]:
    """Send each a test message, all at the same time, whatever is claimed or waits.

    Somebody waits for the answer. What came of it is on the targets.
    """
    trials = [(target, compose_test(target.name)) for target in targets]
    with ThreadPoolExecutor(MAX_CONCURRENT_TESTS) as pool:
        results = list(pool.map(lambda pair: _send(*pair), trials))
    return [_record_result(*pair, sent) for pair, sent in zip(trials, results, strict=True)]


def _notify_safely(target: NotificationTarget) -> Delivery:
    """A fault of ours about one target must not keep the others from being told."""
    try:
        return _notify(target)
    except DATABASE_AWAY:
        raise
    except Exception as error:
        log.error("notification.failed_unexpectedly", target=target.name, exc_info=error)
        reason = f"{type(error).__name__}; the log has more"
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
    """Without the database, so that it may be on a thread."""
    try:
        return send(target.credential_profile, message)
    except Unsendable as refusal:
        return SendResult((), (str(refusal),))


def _record_result(target: NotificationTarget, message: Message, sent: SendResult) -> Delivery:
    """Note on the target how it went."""
    error = "; ".join(sent.errors)
    row = NotificationTarget.objects.filter(pk=target.pk)
    if sent.accepted_by:
        row.update(last_told_at=Now(), errors_in_a_row=0, try_again_at=None)
        log.info(
            "notification.sent", target=target.name, title=message.title, services=sent.accepted_by
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
    return Delivery(target.name, message.title, error, sent.accepted_by)


@contextmanager
def _claimed(target: NotificationTarget) -> Iterator[bool]:
    """Whether the target is ours until the end; read anew, as another may have just had it."""
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
        # Not that of another, who took it over because ours had run out.
        NotificationTarget.objects.filter(pk=target.pk, claimed_until=claim[0]).update(
            claimed_until=None
        )


def _now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("SELECT now()")
        [now] = cursor.fetchone()
    assert isinstance(now, datetime)
    return now
