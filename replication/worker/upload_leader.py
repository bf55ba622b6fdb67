"""The large objects that a lane leads: uploads begun, watched, and completed.

The leader holds the job and its lease. It has the upload begun, and completed once all its parts
are at OSS; whichever lane has a free place carries the parts.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from django.conf import settings

from replication.errors import ErrorCode, HandOver, LeaseLost, ReplicationError, TransferStopped
from replication.jobs import ClaimedJob, uploads
from replication.mapping.parts import MAX_PUT_BYTES
from replication.models import MultipartUpload, ReplicationRule
from replication.stores.factory import destination_store
from replication.transfer.multipart import begin_upload, complete_upload
from replication.transfer.results import Completion, LargeObject, UploadBegun
from replication.worker.capacity import Rulebook
from replication.worker.inbox import Inbox
from replication.worker.leases import Claim, Finished, HeldJob, JobResult
from replication.worker.runner import Runner

# How many large objects a lane may lead, as a share of its places for parts.
LED_SHARE = 0.5


@dataclass
class _Led:
    held: HeldJob
    rule: ReplicationRule
    large: LargeObject
    upload: MultipartUpload | None = None  # None until OSS has begun it
    is_ending: bool = False  # its last step has been started, or its end is in the inbox


class UploadLeader:
    """Called on the lane's own thread. `runner` takes steps beside it; their ends come to `inbox`.
    `offer_parts` is called when parts may be due."""

    def __init__(
        self,
        rulebook: Rulebook,
        runner: Runner,
        inbox: Inbox,
        *,
        offer_parts: Callable[[], None],
    ) -> None:
        self._rulebook = rulebook
        self._runner = runner
        self._inbox = inbox
        self._offer_parts = offer_parts
        self._limits = settings.S3SYNC
        self._led: dict[Claim, _Led] = {}
        self._is_handing_over = False

    @property
    def count(self) -> int:
        """How many large objects are led here."""
        return len(self._led)

    def leads(self, job: ClaimedJob) -> bool:
        """Whether the job is a large object's, and led here."""
        return job.claim in self._led

    @property
    def may_lead_more(self) -> bool:
        return not self._is_handing_over and len(self._led) < math.ceil(
            self._limits.part_concurrency * LED_SHARE
        )

    def must_be_in_one_piece(self, end: Finished) -> bool:
        """Whether the source ignored a range request, and one PUT can carry the object."""
        led = self._led.get(end.job.claim)
        return (
            isinstance(end.result, ReplicationError)
            and end.result.code is ErrorCode.SOURCE_RANGE_IGNORED
            and led is not None
            and led.large.info.size_bytes <= MAX_PUT_BYTES
        )

    def go_on(self, held: HeldJob, end: Finished) -> bool:
        """Start the next step of a large object; returns whether it has one here."""
        if isinstance(end.result, UploadBegun):
            self._take_begun(end.job, end.result)
            return True
        # Led already: this statement runs once more, because the database was away.
        if isinstance(end.result, LargeObject) and (self.leads(end.job) or self.may_lead_more):
            try:
                self._lead(held, end.result)
            except ReplicationError as error:
                self._inbox.put(Finished(end.job, error))
            return True
        return False

    def _lead(self, held: HeldJob, large: LargeObject) -> None:
        """Resume the object's upload, or begin one."""
        rule = self._rulebook.of(held.job.rule_id)
        led = self._led[held.job.claim] = _Led(held, rule, large)
        led.upload = uploads.resumable(held.job, large, rule.destination)
        if led.upload is None:
            step = partial(
                begin_upload,
                large,
                destination_store(rule.destination),
                raise_if_stopped=held.raise_if_stopped,
            )
            self._runner.start_step(held, step)
        self._offer_parts()

    def _take_begun(self, job: ClaimedJob, begun: UploadBegun) -> None:
        """Record the upload that OSS has begun, so that lanes can claim its parts."""
        led = self._led[job.claim]
        led.upload = uploads.begin(job, begun.large, led.rule, upload_id=begun.upload_id)
        if led.upload is None:
            self._inbox.put(Finished(job, LeaseLost()))
        self._offer_parts()

    def look(self) -> None:
        """Complete the uploads that have all their parts; end those that can't go on."""
        under_way = {
            led.upload.pk: led
            for led in self._led.values()
            if led.upload is not None and not led.is_ending
        }
        if not under_way:
            return
        self._offer_parts()  # a part that failed may be due again
        progress = uploads.progress(under_way.keys())
        for pk, led in under_way.items():
            self._look_at(led, progress.get(pk))

    def _look_at(self, led: _Led, progress: uploads.Progress | None) -> None:
        assert led.upload is not None
        reason = _reason_to_end(led, progress)
        if reason is not None:
            self._inbox.put(Finished(led.held.job, reason))
        elif progress is not None and progress.missing:
            return
        else:
            step = partial(
                complete_upload,
                led.large,
                led.upload,
                uploads.carried(led.upload),
                destination_store(led.rule.destination),
                raise_if_stopped=led.held.raise_if_stopped,
            )
            self._runner.start_step(led.held, step)
        led.is_ending = True

    def hand_over(self) -> None:
        """Lead nothing new, and let other lanes lead what is not being completed. Parts in flight
        stay with the lanes that carry them."""
        self._is_handing_over = True
        for led in self._led.values():
            if led.upload is not None and not led.is_ending:
                self._inbox.put(
                    Finished(led.held.job, HandOver(), size_bytes=led.large.info.size_bytes)
                )
                led.is_ending = True

    def forget(self, job: ClaimedJob, result: JobResult) -> None:
        """Lead the job no more: it is settled with this result, or goes on in one piece."""
        led = self._led.pop(job.claim, None)
        if led is None or led.upload is None:
            return
        if isinstance(result, Completion):
            uploads.forget(led.upload.pk)
        elif isinstance(result, ReplicationError):
            uploads.note_error(led.upload.pk, result)


def _reason_to_end(
    led: _Led, progress: uploads.Progress | None
) -> TransferStopped | ReplicationError | None:
    try:
        led.held.raise_if_stopped()
    except TransferStopped as stopped:
        return stopped
    if progress is None:
        return ReplicationError(ErrorCode.UPLOAD_GONE, "its record was deleted")
    return progress.error
