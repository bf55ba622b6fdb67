"""How fast each destination is written to, by all lanes of all processes together.

A destination that throttles is left alone until its hint is over; then it is given half the
transfers that it could not take, and twice as many every few seconds. Limits that an operator sets
hold from the start: requests are counted as jobs are claimed, bytes as they are sent. All of it is
kept on the destination's row, and costs nothing where there is no limit.
"""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

import structlog
from django.db import connection, transaction

from replication.jobs import claiming
from replication.jobs.claiming import ClaimedJob
from replication.models import ReplicationRule
from replication.stores.transport.fibers import run_blocking

log = structlog.get_logger(__name__)

# How long a destination is left alone that asks for fewer requests and does not say for how long.
THROTTLED_SECONDS = 1.0
# A destination is not made slower again until so long after it could be written to once more.
SETTLED_SECONDS = 1.0
NARROWEST = 2.0  # with one transfer at a time, a single slow one would be all there is
# Who waits for bytes looks that often whether its job may go on.
LOOK_SECONDS = 0.5
# A lane fetches the bytes for so long at a time: short enough to be shared evenly, long enough to
# cost few statements.
GRANT_SECONDS = 0.25

# Held, in PostgreSQL, while jobs are counted and claimed where a limit must not be overstepped.
_CLAIM_LOCK = 0x53335332


def note_throttled(destination_id: int, *, seconds: float) -> None:
    """Keep all lanes from the destination for that long (0: it gave no hint), then go on slowly.

    Of the many transfers that are refused at once, the first alone makes it slower; and what
    started before it was made slower does not make it slower again.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_destination AS destination
            SET throttled_until = GREATEST(throttled_until, now() + hint),
                width = CASE WHEN width_at > now() - settled THEN width
                             ELSE GREATEST(%s, running / 2.0) END,
                width_at = CASE WHEN width_at > now() - settled THEN width_at
                                ELSE now() + hint END
            FROM make_interval(secs => %s) AS settled, make_interval(secs => %s) AS hint,
                 LATERAL (SELECT
                     (SELECT count(*) FROM replication_transferjob AS job
                      JOIN replication_replicationrule AS rule ON rule.id = job.rule_id
                      WHERE job.state = 'running' AND rule.destination_id = %s)
                     + (SELECT count(*) FROM replication_uploadpart AS part
                        JOIN replication_multipartupload AS upload ON upload.id = part.upload_id
                        WHERE part.lease_expires_at > now() AND upload.destination_id = %s)
                     AS running) AS writers
            WHERE destination.id = %s
            RETURNING name, width, width_at = now() + hint
            """,
            [
                NARROWEST,
                SETTLED_SECONDS,
                seconds or THROTTLED_SECONDS,
                *[destination_id] * 3,
            ],
        )
        name, width, is_first = cursor.fetchone()
    if is_first:
        log.warning("destination.throttled", destination=name, transfers_at_once=width)


def claim(
    lane: UUID,
    rules: Iterable[ReplicationRule],
    *,
    limit: int,
    lease_seconds: float,
    room: dict[int, int],
    known_bytes_at_most: int | None = None,
) -> list[ClaimedJob]:
    """Claim jobs; one lane at a time where a rule has a limit that all lanes share."""
    claim_of_lane = partial(
        claiming.claim,
        lane,
        limit=limit,
        lease_seconds=lease_seconds,
        room=room,
        known_bytes_at_most=known_bytes_at_most,
    )
    by_id = {rule.pk: rule for rule in rules}
    if not any(map(is_limited, by_id.values())):
        return claim_of_lane()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])
        claimed = claim_of_lane()
        count_requests([job.rule_id for job in claimed if has_request_limit(by_id[job.rule_id])])
    return claimed


def is_limited(rule: ReplicationRule) -> bool:
    """Whether lanes have to ask each other before they claim a job of the rule."""
    return bool(rule.max_concurrency or has_request_limit(rule))


def has_request_limit(rule: ReplicationRule) -> bool:
    """Whether the rule's requests are to be counted."""
    return bool(rule.destination.max_requests_per_second)


def count_requests(rule_ids: list[int]) -> None:
    """Let a request for each take its share of the second, at its rule's destination."""
    if not rule_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_destination AS destination
            SET requests_paced_until = GREATEST(requests_paced_until, now() - interval '1 s')
                    + make_interval(secs => taken.jobs / max_requests_per_second::float8)
            FROM (SELECT rule.destination_id, count(*) AS jobs
                  FROM unnest(%s::bigint[]) AS job (rule_id)
                  JOIN replication_replicationrule AS rule ON rule.id = job.rule_id
                  GROUP BY 1) AS taken
            WHERE destination.id = taken.destination_id AND max_requests_per_second IS NOT NULL
            """,
            [rule_ids],
        )


class ByteAllowance:
    """What this process may still send to a destination; the lane's own thread fills it.

    Transfers wait in `spend` while there is nothing left. `bytes_per_second` is what all processes
    may send together; None sets everybody free.
    """

    def __init__(self, destination_id: int, bytes_per_second: int | None) -> None:
        self._destination_id = destination_id
        self._bytes_per_second = bytes_per_second
        self._left = 0.0
        self._changed = threading.Condition()

    @property
    def left(self) -> float:
        """Bytes that may go at once; less than none where more were taken than there were."""
        return self._left

    def spend(self, size_bytes: int, *, may_go_on: Callable[[], None]) -> None:
        """Wait until there is something left, then take so many bytes, and more than are left.

        Raises:
            TransferStopped: what `may_go_on` raises; it is asked while we wait.
        """
        if not self._bytes_per_second:
            return
        with self._changed:
            has_some = self._left > 0
            if has_some:
                self._left -= size_bytes
        if not has_some:
            run_blocking(partial(self._wait_and_spend, size_bytes, may_go_on))

    def _wait_and_spend(self, size_bytes: int, may_go_on: Callable[[], None]) -> None:
        with self._changed:
            while self._bytes_per_second and self._left <= 0:
                self._changed.wait(LOOK_SECONDS)
                may_go_on()
            self._left -= size_bytes

    def fill(self, bytes_per_second: int | None) -> None:
        """Fetch what may be sent until the next call, which is due in GRANT_SECONDS."""
        with self._changed:
            self._bytes_per_second = bytes_per_second
            if not bytes_per_second:
                self._left = 0.0
                self._changed.notify_all()
                return
            missing = bytes_per_second * GRANT_SECONDS - self._left
        granted = _grant(self._destination_id, bytes_per_second, missing) if missing > 0 else 0.0
        with self._changed:
            self._left += granted
            self._changed.notify_all()


def _grant(destination_id: int, bytes_per_second: int, wanted: float) -> float:
    """Take at most so many bytes from what the destination's seconds have left."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            WITH locked AS (
                SELECT id, GREATEST(bytes_paced_until, now() - interval '1 s') AS since
                FROM replication_destination WHERE id = %(id)s FOR NO KEY UPDATE
            ), granted AS (
                SELECT id, since, GREATEST(0, LEAST(%(wanted)s,
                    extract(epoch FROM now() - since) * %(rate)s))::float8 AS bytes FROM locked
            )
            UPDATE replication_destination AS destination
            SET bytes_paced_until = since + make_interval(secs => granted.bytes / %(rate)s)
            FROM granted WHERE destination.id = granted.id
            RETURNING granted.bytes
            """,
            {"rate": float(bytes_per_second), "wanted": wanted, "id": destination_id},
        )
        row = cursor.fetchone()
    return float(row[0]) if row else 0.0
