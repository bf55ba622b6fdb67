"""Limits how fast all lanes of all processes together write to each destination.

A destination that throttles gets no transfers until its hint has expired. Then it gets half the
transfers that it could not take, and twice as many every few seconds. Limits that an operator sets
apply from the start: requests are counted as jobs are claimed, bytes as they are sent. All of this
state is on the destination's row, and costs nothing where there is no limit.
"""

import threading
from collections.abc import Callable, Iterable
from functools import partial
from uuid import UUID

import structlog
from django.db import connection, transaction

from replication.jobs import claiming
from replication.jobs.claiming import ClaimedJob
from replication.jobs.turns import Turns
from replication.models import ReplicationRule
from replication.stores.transport.fibers import run_blocking

log = structlog.get_logger(__name__)

# How long to pause for a destination that asks for fewer requests without a hint for how long.
DEFAULT_HINT_SECONDS = 1.0
# After the hint of a slowdown has expired, the destination is not slowed down again for this long.
SLOWDOWN_GRACE_SECONDS = 1.0
MIN_WIDTH = 2.0  # with one transfer at a time, a single slow one would hold up all others
# How often a transfer that waits for bytes checks whether its job may go on.
CHECK_SECONDS = 0.5
# A lane takes the bytes for this long at a time: short enough to be shared evenly, long enough to
# cost few statements.
GRANT_SECONDS = 0.25

# PostgreSQL advisory lock: count and claim jobs under it where a limit must not be exceeded.
_CLAIM_LOCK = 0x53335332


def note_throttled(destination_id: int, *, seconds: float) -> None:
    """Keep all lanes from the destination for that long (0: it gave no hint), then go on slowly.

    Of many transfers that are refused at once, only the first slows the destination down. Further
    refusals don't until SLOWDOWN_GRACE_SECONDS after the hint has expired, because their transfers
    may have started before the slowdown.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            UPDATE replication_destination AS destination
            SET throttled_until = GREATEST(throttled_until, now() + hint),
                width = CASE WHEN width_at > now() - grace THEN width
                             ELSE GREATEST(%s, running / 2.0) END,
                width_at = CASE WHEN width_at > now() - grace THEN width_at
                                ELSE now() + hint END
            FROM make_interval(secs => %s) AS grace, make_interval(secs => %s) AS hint,
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
                MIN_WIDTH,
                SLOWDOWN_GRACE_SECONDS,
                seconds or DEFAULT_HINT_SECONDS,
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
    turns: Turns | None = None,
) -> list[ClaimedJob]:
    """Claim jobs; one lane at a time if any rule has a limit that all lanes share."""
    claim_jobs = partial(
        claiming.claim,
        lane,
        limit=limit,
        lease_seconds=lease_seconds,
        room=room,
        known_bytes_at_most=known_bytes_at_most,
        turns=turns,
    )
    by_id = {rule.pk: rule for rule in rules}
    if not any(map(is_limited, by_id.values())):
        return claim_jobs()
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_CLAIM_LOCK])
        claimed = claim_jobs()
        count_requests([job.rule_id for job in claimed if has_request_limit(by_id[job.rule_id])])
    return claimed


def is_limited(rule: ReplicationRule) -> bool:
    """Whether lanes must take turns to claim jobs of the rule."""
    return bool(rule.max_concurrency or has_request_limit(rule))


def has_request_limit(rule: ReplicationRule) -> bool:
    """Whether the rule's requests must be counted."""
    return bool(rule.destination.max_requests_per_second)


def count_requests(rule_ids: list[int]) -> None:
    """Count one request for each item against the limit of its rule's destination."""
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
    """The bytes that this process may still send to a destination; the lane's own thread fills it.

    Transfers wait in `spend` while nothing is left. `bytes_per_second` is the limit for all
    processes together; None means no limit.
    """

    def __init__(self, destination_id: int, bytes_per_second: int | None) -> None:
        self._destination_id = destination_id
        self._bytes_per_second = bytes_per_second
        self._left = 0.0
        self._changed = threading.Condition()

    @property
    def left(self) -> float:
        """Bytes that may be sent at once; negative if more were taken than were left."""
        return self._left

    def spend(self, size_bytes: int, *, raise_if_stopped: Callable[[], None]) -> None:
        """Wait until something is left, then take so many bytes, even if fewer are left.

        Raises:
            TransferStopped: `raise_if_stopped`, which is called during the wait, raised it.
        """
        if not self._bytes_per_second:
            return
        with self._changed:
            has_some = self._left > 0
            if has_some:
                self._left -= size_bytes
        if not has_some:
            run_blocking(partial(self._wait_and_spend, size_bytes, raise_if_stopped))

    def _wait_and_spend(self, size_bytes: int, raise_if_stopped: Callable[[], None]) -> None:
        with self._changed:
            while self._bytes_per_second and self._left <= 0:
                self._changed.wait(CHECK_SECONDS)
                raise_if_stopped()
            self._left -= size_bytes

    def fill(self, bytes_per_second: int | None) -> None:
        """Take the bytes that may be sent until the next call, which is due in GRANT_SECONDS."""
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
    """Take up to `wanted` bytes from what the destination's limit has left; return how many."""
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
