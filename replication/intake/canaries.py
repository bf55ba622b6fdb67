"""Puts canaries at the sources of rules that ask for them, and notes when events tell of them.

Lost events show by themselves only to a comparison of the buckets. The event of a canary takes the
same way as all others, so its silence shows within minutes that events are lost.
"""

import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta

import structlog
from django.db import connection
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Coalesce, Now

from replication.errors import ErrorCode, ReplicationError
from replication.jobs import JobOrder
from replication.models import CANARY_GRACE, Canary, JobOrigin, ReplicationRule, SourceKind
from replication.models.rules import CANARY_NAME
from replication.stores.factory import source_store

log = structlog.get_logger(__name__)

# A little less than five minutes: a timer asks each minute, and is never quite punctual.
INTERVAL = timedelta(minutes=5) - timedelta(seconds=15)
MOST_AT_ONCE = 200  # in one task; the others are due again a minute later
THREADS = 16

_ROUTES = {JobOrigin.EVENT: "queue", JobOrigin.API: "api"}


def is_due() -> bool:
    """Whether a canary should be put, or is to be forgotten."""
    return _due_rules().exists() or _unwanted().exists()


def put_due() -> int:
    """Put the canaries that are due. Returns how many were put.

    Of several processes that call this at once, one puts each canary.
    """
    # So an operator can forget a route that is no longer in use: off, and on again.
    _unwanted().delete()
    rules = {rule.pk: rule for rule in _due_rules().select_related("source")[:MOST_AT_ONCE]}
    claimed = _claim(rules.values())
    with ThreadPoolExecutor(THREADS, "canary") as pool:
        errors = pool.map(lambda claim: _put(rules[claim[0]], claim[1]), claimed)
        results = list(zip(claimed, errors, strict=True))
    for (rule_id, tried_at), error in results:
        if error is None:
            _note_put(rule_id, tried_at)
        else:
            _note_failed(rule_id, tried_at, error)
            log.warning("canary.not_put", rule=rules[rule_id].name, reason=str(error))
    return sum(error is None for _, error in results)


def note_heard(orders: Iterable[JobOrder], *, origin: JobOrigin) -> None:
    """Note the canaries among the keys of events that have just come."""
    # Most keys end here: an event costs no statement more.
    found = [order for order in orders if CANARY_NAME in order.key]
    if not found:
        return
    route = _ROUTES[origin]
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE replication_canary SET {route}_heard_at = now(), {route}_unheard_since = NULL
            WHERE rule_id IN (
                SELECT canary.rule_id FROM replication_canary AS canary
                    JOIN json_to_recordset(%s) AS heard (rule_id bigint, key text)
                    USING (rule_id, key)
                -- In one order, so that two pollers can't deadlock.
                ORDER BY canary.rule_id FOR UPDATE OF canary)
            """,  # noqa: S608  the names are ours
            [json.dumps([{"rule_id": order.rule_id, "key": order.key} for order in found])],
        )


def _due_rules() -> QuerySet[ReplicationRule]:
    """The rules whose canary is due, the longest first; none that is parked.

    Requests to a source that does not answer would take long, and the status page tells of it.
    """
    tried_long_ago = Q(last_canary__tried_at__lt=Now() - INTERVAL)
    return ReplicationRule.objects.filter(
        Q(last_canary=None) | tried_long_ago,
        canary=True,
        enabled=True,
        parked_at=None,
        source__kind=SourceKind.S3,
    ).order_by(F("last_canary__tried_at").asc(nulls_first=True))


def _unwanted() -> QuerySet[Canary]:
    return Canary.objects.filter(rule__canary=False)


def _claim(rules: Iterable[ReplicationRule]) -> list[tuple[int, datetime]]:
    """Take the canaries that no other process has taken; by rule, with the time of the claim."""
    keys = [{"rule_id": rule.pk, "key": rule.canary_key} for rule in rules]
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO replication_canary AS canary (rule_id, key, tried_at)
            SELECT rule_id, key, now() FROM json_to_recordset(%s) AS due (rule_id bigint, key text)
            ON CONFLICT (rule_id) DO UPDATE SET tried_at = now(), key = excluded.key
                WHERE canary.tried_at < now() - make_interval(secs => %s)
            RETURNING rule_id, tried_at
            """,
            [json.dumps(keys), INTERVAL.total_seconds()],
        )
        return cursor.fetchall()


def _put(rule: ReplicationRule, at: datetime) -> ReplicationError | None:
    """Put the canary, on a thread without the database; returns the error, if any."""
    content = f"A canary of s3sync: rule {rule.name}, {at.isoformat()}\n"
    try:
        source_store(rule.source).put(rule.canary_key, content.encode())
    except ReplicationError as error:
        return error
    except Exception as error:  # whatever it is, it must not hold up the other canaries
        return ReplicationError(ErrorCode.UNEXPECTED, f"{type(error).__name__}: {error}")
    return None


def _note_put(rule_id: int, tried_at: datetime) -> None:
    """Note that the canary was put; its event may have come already.

    After a gap, because no cluster ran or the rule was disabled, silence counts anew: an event of
    the canary before may have been dropped.
    """
    unheard = ", ".join(
        f"""{route}_unheard_since = CASE
            WHEN {route}_heard_at >= tried_at THEN NULL
            WHEN put_at > tried_at - make_interval(secs => %(grace)s)
                THEN coalesce({route}_unheard_since, tried_at)
            ELSE tried_at END"""
        for route in _ROUTES.values()
    )
    with connection.cursor() as cursor:
        cursor.execute(
            f"""
            UPDATE replication_canary
            SET put_at = tried_at, failing_since = NULL, error_code = '', error_detail = '',
                {unheard}
            WHERE rule_id = %(rule)s AND tried_at = %(tried_at)s
            """,  # noqa: S608  the names are ours
            {"grace": CANARY_GRACE.total_seconds(), "rule": rule_id, "tried_at": tried_at},
        )


def _note_failed(rule_id: int, tried_at: datetime, error: ReplicationError) -> None:
    Canary.objects.filter(rule=rule_id, tried_at=tried_at).update(
        failing_since=Coalesce("failing_since", "tried_at"),
        error_code=error.code,
        error_detail=error.detail,
    )
