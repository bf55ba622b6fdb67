"""Keeps what each target was told and what is still to be told: the only writer of Condition.

The caller must hold the target's claim; see dispatch.py.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from django.db import transaction
from django.db.models import Q

from replication.models import Condition, ConditionKind, NotificationTarget
from replication.monitoring.notifications.evaluation import (
    Evaluation,
    Observation,
    Snapshot,
    count_new_letters,
    lag_summary,
)

# While a queue has dead letters, further ones are reported at most this often.
REPEAT_LETTERS_AFTER = timedelta(hours=1)

NO_LONGER_WATCHED = "It is no longer watched."


class News(Enum):
    """What an item reports about its condition."""

    OPENED = "opened"
    STILL = "still"  # a reminder
    OVER = "over"
    CAME_AND_WENT = "came and went"  # over before its beginning could be told


@dataclass(frozen=True)
class Item:
    """One piece of news to send."""

    condition: Condition
    news: News


@transaction.atomic
def update(target: NotificationTarget, snapshot: Snapshot) -> list[Item]:
    """Open, update and close the target's conditions. Returns the news to send.

    Returns the same news until `mark_told` is called.
    """
    open_ones = {
        (each.kind, each.rule, each.queue): each
        for each in Condition.objects.filter(target=target, closed_at=None)
    }
    wrong = []
    for observation in snapshot.observations:
        key = (observation.kind.value, observation.rule, observation.queue)
        condition = open_ones.pop(key, None)
        if observation.evaluation is Evaluation.WRONG:
            wrong.append(_update_open(condition, target, observation, at=snapshot.at))
        elif condition is not None and condition.confirmed_at is None:
            condition.delete()  # it did not last long enough
        elif condition is not None and observation.evaluation is Evaluation.FINE:
            _close(condition, observation, at=snapshot.at)
    _close_silently(open_ones.values(), at=snapshot.at)
    return _items_to_send(target, wrong, at=snapshot.at)


def mark_told(items: Sequence[Item], *, at: datetime) -> None:
    """Record that the target was told."""
    for item in items:
        condition = item.condition
        # Not save(): it would recreate a row that was deleted together with its target.
        Condition.objects.filter(pk=condition.pk).update(
            told_at=condition.told_at or at,
            last_told_at=at,
            closing_told_at=at if condition.closed_at else None,
        )


def close_disabled(*, at: datetime) -> None:
    """Close the conditions of disabled targets without a message."""
    _close_silently(Condition.objects.filter(target__enabled=False, closed_at=None), at=at)


def _update_open(
    condition: Condition | None,
    target: NotificationTarget,
    observation: Observation,
    *,
    at: datetime,
) -> Condition:
    if condition is None:
        condition = Condition(
            target=target,
            kind=observation.kind,
            rule=observation.rule,
            queue=observation.queue,
            # A value that was read a moment after the numbers can be later than `at`.
            began_at=min(observation.since or at, at),
        )
    condition.detail = observation.detail
    if observation.lag_seconds is not None:
        condition.worst_lag_seconds = max(condition.worst_lag_seconds or 0, observation.lag_seconds)
    if condition.confirmed_at is None and at - condition.began_at >= observation.must_last:
        condition.confirmed_at = at
    condition.save()
    return condition


def _close(condition: Condition, observation: Observation, *, at: datetime) -> None:
    condition.closed_at = at
    condition.closing = observation.closing
    if condition.kind == ConditionKind.LAG:
        condition.closing += f" {lag_summary(condition, at=at)}"
    condition.save()


def _close_silently(conditions: Iterable[Condition], *, at: datetime) -> None:
    """End conditions that are no longer watched, without news; delete those never told."""
    for condition in conditions:
        if condition.told_at is None:
            condition.delete()
            continue
        condition.closed_at = condition.closing_told_at = at
        condition.closing = NO_LONGER_WATCHED
        condition.save()


def _items_to_send(
    target: NotificationTarget, wrong: Sequence[Condition], *, at: datetime
) -> list[Item]:
    """Conditions that are wrong, then those that are over; each group by its beginning."""
    items = []
    for condition in sorted(wrong, key=lambda each: (each.began_at, each.pk)):
        if condition.told_at is None:
            if condition.confirmed_at is not None:
                items.append(Item(condition, News.OPENED))
        elif _is_repeat_due(target, condition, at=at):
            items.append(Item(condition, News.STILL))
    over = Condition.objects.filter(Q(closed_at__isnull=False), target=target, closing_told_at=None)
    for condition in over.order_by("began_at", "pk"):
        items.append(Item(condition, News.OVER if condition.told_at else News.CAME_AND_WENT))
    return items


def _is_repeat_due(target: NotificationTarget, condition: Condition, *, at: datetime) -> bool:
    assert condition.last_told_at is not None
    silent_for = at - condition.last_told_at
    if target.remind_hours and silent_for >= timedelta(hours=target.remind_hours):
        return True
    return (
        condition.kind == ConditionKind.DEAD_LETTERS
        and silent_for >= REPEAT_LETTERS_AFTER
        and count_new_letters(condition) > 0
    )
