"""The parts of large objects that a lane carries, whichever lane leads the object."""

import math
import time
from collections.abc import Sequence
from functools import partial
from uuid import UUID

import structlog
from django.conf import settings

from replication import jobs
from replication.cluster import loops
from replication.errors import Disposition, ErrorCode, HandOver, ReplicationError
from replication.jobs import rate_limits, uploads
from replication.models import ReplicationRule
from replication.transfer.results import CarriedPart
from replication.worker import leases, steps
from replication.worker.capacity import Rulebook
from replication.worker.leases import Claim, FinishedPart, HeldPart
from replication.worker.runner import Runner

log = structlog.get_logger(__name__)

# Attempts of a part before the job's attempt ends with the part's error.
PART_TRIES = 5
# The share of a lane's places for parts that parts may take at once.
PARTS_SHARE = 0.75
# The share of these that must be free before the lane asks for more: a question costs as much for
# one part as for several.
FREE_SHARE = 1 / 6


class PartCarrier:
    """Called on the lane's own thread. `runner` carries parts beside it; their ends come back to
    `settle`."""

    def __init__(
        self,
        lane: UUID,
        rulebook: Rulebook,
        runner: Runner,
    ) -> None:
        self._lane = lane
        self._rulebook = rulebook
        self._runner = runner
        self._limits = settings.S3SYNC
        self._held: dict[Claim, HeldPart] = {}
        self.more_may_be_due = True
        self.is_saturated = False

    @property
    def count(self) -> int:
        """How many parts are in flight."""
        return len(self._held)

    def expect_parts(self) -> None:
        """Ask for parts in the next round."""
        self.more_may_be_due = True

    def claim(self, *, free: int) -> None:
        """Carry as many more parts as there are free places, if parts are due."""
        most = math.ceil(self._limits.part_concurrency * PARTS_SHARE)
        left = most - len(self._held)
        if 0 < left < most * FREE_SHARE:
            return  # until more of ours are carried
        limit = min(free, left)
        if limit <= 0 or loops.are_told_to_stop():
            self.more_may_be_due = False  # until one of ours is carried
            return
        asked_at = time.monotonic()
        claimed = uploads.claim_parts(
            self._lane, limit=limit, lease_seconds=self._limits.lease_seconds
        )
        rules = {part.rule_id: self._rulebook.of(part.rule_id) for part in claimed}
        rate_limits.count_requests(
            [part.rule_id for part in claimed if rate_limits.has_request_limit(rules[part.rule_id])]
        )
        self.more_may_be_due = self.is_saturated = len(claimed) == limit
        until = leases.trusted_until(asked_at, lease_seconds=self._limits.lease_seconds)
        for part in claimed:
            rule = rules[part.rule_id]
            held = self._held[part.claim] = HeldPart(until, part=part)
            step = partial(steps.carry, held, rule, allowance=self._rulebook.allowance(rule))
            self._runner.start_part(held, step)

    def settle(self, finished: Sequence[FinishedPart]) -> None:
        """Record the parts that were carried, and those that another lane must carry."""
        carried = [
            (end.part, end.result) for end in finished if isinstance(end.result, CarriedPart)
        ]
        if carried:
            uploads.settle(carried)
        for end in finished:
            if isinstance(end.result, HandOver):
                uploads.put_back(end.part)
            elif isinstance(end.result, ReplicationError):
                self._apply_error(end, end.result, self._rulebook.of(end.part.rule_id))
            self._held.pop(end.part.claim, None)
        self.more_may_be_due = True

    def _apply_error(
        self, end: FinishedPart, error: ReplicationError, rule: ReplicationRule
    ) -> None:
        part = end.part
        log.warning(
            "part.try_failed",
            rule=rule.name,
            key=part.key,
            number=part.number,
            code=error.code.value,
            detail=error.detail,
        )
        if error.code is ErrorCode.DESTINATION_THROTTLED:
            rate_limits.note_throttled(rule.destination_id, seconds=error.retry_after_seconds)
            uploads.put_back(part, delay_seconds=error.retry_after_seconds)
        elif (
            error.disposition in {Disposition.PERSON, Disposition.PERMANENT}
            or error.code in uploads.HOPELESS
            or part.failures + 1 >= PART_TRIES
        ):
            uploads.give_up(part, error)
        else:
            delay = jobs.backoff_seconds(part.failures, hint_seconds=error.retry_after_seconds)
            uploads.put_back(part, delay_seconds=delay, is_failure=True)

    def extend_leases(self) -> None:
        """Extend the leases of the parts in flight."""
        lease_seconds = self._limits.lease_seconds
        parts = [held.part for held in self._held.values()]
        leases.extend(
            self._held,
            lambda: uploads.extend_leases(self._lane, parts, lease_seconds=lease_seconds),
            lease_seconds=lease_seconds,
        )

    def hand_over(self) -> None:
        """Stop carrying, also in the middle of a part."""
        for held in self._held.values():
            held.is_to_be_handed_over = True
