"""The large objects that a lane leads, and the parts, of any lane's, that it carries.

To lead is to see to it that an upload is begun, and completed when all its parts are there. The
leader has the job and its lease; the parts are carried by whichever lane has a place.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from uuid import UUID

import structlog
from django.conf import settings

from replication import jobs
from replication.errors import (
    Disposition,
    ErrorCode,
    HandOver,
    ReplicationError,
    TransferStopped,
)
from replication.jobs import ClaimedJob, rate_limits, uploads
from replication.jobs.rate_limits import ByteAllowance
from replication.mapping.parts import MAX_PUT_BYTES
from replication.models import MultipartUpload, ReplicationRule
from replication.stores.factory import destination_store
from replication.transfer.multipart import begin_upload, complete_upload
from replication.transfer.results import CarriedPart, Completion, LargeObject, UploadBegun
from replication.worker.leases import (
    Finished,
    FinishedPart,
    HeldJob,
    HeldPart,
    JobResult,
    PartResult,
    Place,
    _place,
    trusted_until,
)
from replication.worker.part_carrier import PART_TRIES, PARTS_SHARE
from replication.worker.steps import _carry

log = structlog.get_logger(__name__)

LED_SHARE = 0.5


@dataclass
class _Led:
    held: HeldJob
    rule: ReplicationRule
    large: LargeObject
    upload: MultipartUpload | None = None  # None while it is being begun
    is_completing: bool = False


class LargeObjects:
    """Called on the lane's own thread; `start_step` and `start_part` run what they are given
    beside the lane's thread, and the results come back through the lane's inbox."""

    def __init__(
        self,
        lane: UUID,
        *,
        start_step: Callable[[HeldJob, Callable[[], JobResult]], None],
        start_part: Callable[[HeldPart, Callable[[], PartResult]], None],
        end_step: Callable[[Finished], None],
    ) -> None:
        self._lane = lane
        self._start_step = start_step
        self._start_part = start_part
        self._end_step = end_step
        self._limits = settings.S3SYNC
        self._led: dict[Place, _Led] = {}
        self._parts: dict[Place, HeldPart] = {}
        self._is_ending = False
        self.more_may_be_due = True
        self.is_saturated = False

    # -- leading -------------------------------------------------------------------------------

    @property
    def led_count(self) -> int:
        return len(self._led)

    def leads(self, job: ClaimedJob) -> bool:
        """Whether the job is a large object's, and led here."""
        return _place(job) in self._led

    @property
    def may_lead_more(self) -> bool:
        return not self._is_ending and len(self._led) < math.ceil(
            self._limits.lane_concurrency * LED_SHARE
        )

    def must_be_in_one_piece(self, end: Finished) -> bool:
        """Whether the object's source turned out to give no parts, and one PUT can carry it."""
        led = self._led.get(_place(end.job))
        return (
            isinstance(end.result, ReplicationError)
            and end.result.code is ErrorCode.SOURCE_RANGE_IGNORED
            and led is not None
            and led.large.info.size_bytes <= MAX_PUT_BYTES
        )

    def lead(self, held: HeldJob, rule: ReplicationRule, large: LargeObject) -> None:
        """Go on with the object's upload, or begin one."""
        led = _Led(held, rule, large)
        self._led[_place(held.job)] = led
        led.upload = uploads.resumable(held.job, large, rule.destination)
        if led.upload is None:
            step = partial(
                begin_upload, large, destination_store(rule.destination), may_go_on=held.may_go_on
            )
            self._start_step(held, step)
        self.more_may_be_due = True

    def take_begun(self, job: ClaimedJob, begun: UploadBegun) -> None:
        """OSS has begun the upload: let the lanes have its parts."""
        led = self._led[_place(job)]
        led.upload = uploads.begin(job, begun.large, led.rule, upload_id=begun.upload_id)
        self.more_may_be_due = True

    def look(self) -> None:
        """Complete what has all its parts, end what can't go on."""
        under_way = {
            led.upload.pk: led
            for led in self._led.values()
            if led.upload is not None and not led.is_completing
        }
        if not under_way:
            return
        self.more_may_be_due = True  # a part that failed may be due again
        progress = uploads.progress(under_way.keys())
        for pk, led in under_way.items():
            self._look_at(led, progress.get(pk))

    def _look_at(self, led: _Led, progress: uploads.Progress | None) -> None:
        assert led.upload is not None
        try:
            led.held.may_go_on()
        except TransferStopped as stopped:
            self._end_step(Finished(led.held.job, stopped))
            led.is_completing = True
            return
        if progress is None:
            gone = ReplicationError(ErrorCode.UPLOAD_GONE, "its record was deleted")
            self._end_step(Finished(led.held.job, gone))
        elif progress.error is not None:
            self._end_step(Finished(led.held.job, progress.error))
        elif progress.missing:
            return
        else:
            step = partial(
                complete_upload,
                led.large,
                led.upload,
                uploads.carried(led.upload),
                destination_store(led.rule.destination),
                may_go_on=led.held.may_go_on,
            )
            self._start_step(led.held, step)
        led.is_completing = True

    def hand_over_led(self) -> None:
        """Lead no more, and let another lane lead what is not being completed; the parts stay where
        they are."""
        self._is_ending = True
        for led in self._led.values():
            if led.upload is not None and not led.is_completing:
                self._end_step(
                    Finished(led.held.job, HandOver(), size_bytes=led.large.info.size_bytes)
                )
                led.is_completing = True

    def forget(self, job: ClaimedJob, result: JobResult) -> None:
        """The job is settled with this result."""
        led = self._led.pop(_place(job), None)
        if led is None or led.upload is None:
            return
        if isinstance(result, Completion):
            uploads.forget(led.upload.pk)
        elif isinstance(result, ReplicationError):
            uploads.note_error(led.upload.pk, result)

    # -- carrying ------------------------------------------------------------------------------

    @property
    def parts_count(self) -> int:
        return len(self._parts)

    def claim_parts(
        self,
        rule_of: Callable[[int], ReplicationRule],
        *,
        free: int,
        allowance: Callable[[ReplicationRule], ByteAllowance | None],
    ) -> None:
        """Carry as many more parts as there are places for, if there are parts to carry."""
        most = math.ceil(self._limits.lane_concurrency * PARTS_SHARE)
        limit = min(free, most - len(self._parts))
        if limit <= 0:
            self.more_may_be_due = False  # until one of ours is carried
            return
        asked_at = time.monotonic()
        claimed = uploads.claim_parts(
            self._lane, limit=limit, lease_seconds=self._limits.lease_seconds
        )
        rate_limits.count_requests(
            [
                part.rule_id
                for part in claimed
                if rate_limits.has_request_limit(rule_of(part.rule_id))
            ]
        )
        self.more_may_be_due = self.is_saturated = len(claimed) == limit
        until = trusted_until(asked_at, lease_seconds=self._limits.lease_seconds)
        for part in claimed:
            held = HeldPart(until, part=part)
            self._parts[part.id, part.attempt] = held
            rule = rule_of(part.rule_id)
            step = partial(_carry, held, rule, allowance=allowance(rule))
            self._start_part(held, step)

    def settle_parts(
        self, finished: list[FinishedPart], rule_of: Callable[[int], ReplicationRule]
    ) -> None:
        """Note what was carried, and what another must carry."""
        carried = [
            (end.part, end.result) for end in finished if isinstance(end.result, CarriedPart)
        ]
        if carried:
            uploads.settle(carried)
        for end in finished:
            if isinstance(end.result, HandOver):
                uploads.put_back(end.part)
            elif isinstance(end.result, ReplicationError):
                self._set_back(end, end.result, rule_of(end.part.rule_id))
            self._parts.pop((end.part.id, end.part.attempt), None)
        self.more_may_be_due = True

    def _set_back(self, end: FinishedPart, error: ReplicationError, rule: ReplicationRule) -> None:
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
        """Keep the parts that are being carried."""
        if not self._parts:
            return
        asked_at = time.monotonic()
        ours = uploads.extend_leases(
            self._lane,
            [held.part for held in self._parts.values()],
            lease_seconds=self._limits.lease_seconds,
        )
        until = trusted_until(asked_at, lease_seconds=self._limits.lease_seconds)
        for place, held in self._parts.items():
            held.held_until = until if place in ours else 0.0

    def hand_over_parts(self) -> None:
        """Stop carrying, in the middle of parts too."""
        for held in self._parts.values():
            held.is_to_be_handed_over = True
