"""Writes down what became of a lane's jobs: many in one statement, and each apart if need be."""

from collections.abc import Sequence

import structlog
from django.db import DataError

from replication import jobs, setbacks
from replication.errors import Disposition, ErrorCode, HandOver, ReplicationError
from replication.holding import Finished
from replication.jobs import ClaimedJob, JobOrder, parking
from replication.models import JobOrigin, Outcome
from replication.rulebook import Rulebook
from replication.transfer.results import Completion, DeleteWanted, LargeObject

log = structlog.get_logger(__name__)

_WRITTEN = {Outcome.COPIED, Outcome.DELETED, Outcome.UNCHANGED}


def settle(finished: Sequence[Finished], rulebook: Rulebook) -> None:
    """Settle these jobs, or give them back; to do it twice changes nothing more.

    Whoever lost a job while it wrote may have written after its heir: somebody looks again.

    Raises:
        DataError: one of them can't be recorded as it is; `settle_alone` finds out which.
    """
    completions = [(end.job, end.result) for end in finished if isinstance(end.result, Completion)]
    lost = _complete(completions, rulebook)
    jobs.await_confirmation([end.job for end in finished if isinstance(end.result, DeleteWanted)])
    for end in finished:
        if isinstance(end.result, HandOver):
            jobs.hand_over(end.job, size_bytes=end.size_bytes)
        elif isinstance(end.result, LargeObject):
            # This lane leads as many as it may; another will.
            jobs.hand_over(end.job, size_bytes=end.result.info.size_bytes)
        elif isinstance(end.result, ReplicationError):
            lost += _set_back(end.job, end.result, rulebook)
    jobs.enqueue(
        [JobOrder(job.rule_id, job.key) for job in lost],
        origin=JobOrigin.LOST_LEASE,
        priority=jobs.PRIORITY_EVENT,
    )


def settle_alone(end: Finished, rulebook: Rulebook) -> None:
    """Settle one job, as unsuccessful if its completion can't be recorded."""
    try:
        settle([end], rulebook)
    except DataError as error:
        log.exception("job.not_recorded", job=end.job.id, key=end.job.key)
        reason = f"what the stores answered can't be recorded: {type(error.__cause__).__name__}"
        settle([Finished(end.job, ReplicationError(ErrorCode.UNEXPECTED, reason))], rulebook)


def _complete(
    completions: Sequence[tuple[ClaimedJob, Completion]], rulebook: Rulebook
) -> list[ClaimedJob]:
    """Returns those that were not ours any more."""
    completed = jobs.complete(completions)
    written = {job.rule_id for job, done in completions if done.outcome in _WRITTEN}
    rulebook.prove(written)
    for rule_id in written:
        if rulebook.of(rule_id).errors_in_a_row:
            parking.note_success(rule_id)
            rulebook.expire()
    for job, done in completions:
        if job.id in completed:
            log.info(
                "job.completed",
                job=job.id,
                rule=rulebook.of(job.rule_id).name,
                key=job.key,
                outcome=done.outcome.value,
                size_bytes=done.size_bytes,
            )
    return [job for job, _ in completions if job.id not in completed]


def _set_back(job: ClaimedJob, error: ReplicationError, rulebook: Rulebook) -> list[ClaimedJob]:
    """Returns the job if it was not ours any more."""
    rule = rulebook.of(job.rule_id)
    state = setbacks.settle(job, rule, error)
    if error.disposition is Disposition.PERSON:
        rulebook.doubt(rule.pk)
    rulebook.expire()  # it may have been parked
    log.warning(
        "job.try_failed",
        job=job.id,
        rule=rule.name,
        key=job.key,
        code=error.code.value,
        detail=error.detail,
        state=state.value if state else "lease lost",
    )
    return [] if state else [job]
