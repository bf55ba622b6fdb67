"""Lists, reads, retries and cancels jobs."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Path, Query, Router, Schema

from replication import models
from replication.api.authentication import caller_of
from replication.api.job_pages import JobFilter, read_page
from replication.api.refusals import Refused, no_such_job, refusals
from replication.api.rules import find_rule
from replication.api.values import Body, Id, Name, Text
from replication.errors import ErrorCode
from replication.models import JobOrigin, JobState, Outcome, TransferJob
from replication.operations import actions
from replication.operations.actions import Retried
from replication.operations.proof import Proof, proof_of

router = Router(tags=["jobs"])

# So that one call ends within some seconds.
MAX_RETRIED = 10_000
MAX_LISTED = 500


@dataclass(frozen=True)
class Job:
    """One key that a rule keeps equal; `cause` and `hint` explain `error_code`."""

    id: int
    rule: str
    key: str
    state: JobState
    outcome: Outcome | None
    origin: JobOrigin
    size_bytes: int | None
    unsuccessful_tries: int
    tries_at_most: int
    awaits_confirmation: bool  # its delete is held by the rule's brake
    event_at: datetime
    enqueued_at: datetime
    due_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    error_code: str
    error_detail: str
    cause: str
    hint: str


@dataclass(frozen=True)
class Try:
    """One unsuccessful try."""

    number: int
    started_at: datetime
    ended_at: datetime
    code: str
    detail: str
    request_id: str
    cause: str
    hint: str


@dataclass(frozen=True)
class JobWithHistory:
    """A job with its unsuccessful tries, and its proof once the job is completed."""

    job: Job
    tries: list[Try]
    proof: Proof | None


@dataclass(frozen=True)
class JobPage:
    """`next_cursor` is empty on the last page."""

    jobs: list[Job]
    next_cursor: str


class JobQuery(Schema):
    state: JobState | None = None
    rule: Name | None = Field(None, description="The rule's name")
    error: ErrorCode | None = Field(None, description="The error code of the last unsuccessful try")
    prefix: Text = Field("", description="The beginning of the key")
    limit: int = Field(100, ge=1, le=MAX_LISTED)
    cursor: Text = Field(
        "", description="The next_cursor of the previous page; keep all other parameters the same"
    )


class RetryOrder(Body):
    """Selects failed jobs. Set at least one field; a job must match all fields that are set."""

    rule: Name | None = None
    error: ErrorCode | None = None
    prefix: Text = ""


@dataclass(frozen=True)
class RetriedMany(Retried):
    """`more` is true if other jobs match too: send the same call again."""

    more: bool


@dataclass(frozen=True)
class Cancelled:
    cancelled: int


@router.get("/jobs", response={200: JobPage, **refusals(404, 422)})
def list_jobs(request: HttpRequest, query: Query[JobQuery]) -> JobPage:
    """List jobs, newest first: by their end if `state` is a final state, else by their creation."""
    wanted = JobFilter(query.state, _rule_ids(request, query.rule), query.error or "", query.prefix)
    page = read_page(wanted, cursor=query.cursor, limit=query.limit)
    return JobPage([_job(job) for job in page.jobs], page.next_cursor)


# Before /jobs/{job_id}, which would take “retry” for an id.
@router.post("/jobs/retry", response={200: RetriedMany, **refusals(403, 404, 413, 422)})
def retry_jobs(request: HttpRequest, order: RetryOrder) -> RetriedMany:
    """Retry failed jobs, the newest first, at most 10,000 per call."""
    if not (order.rule or order.error or order.prefix):
        raise Refused(
            422, "invalid_request", "No filter is set. Set a rule, an error or a prefix of keys."
        )
    wanted = JobFilter(
        JobState.FAILED, _rule_ids(request, order.rule), order.error or "", order.prefix
    )
    newest = wanted.apply(TransferJob.objects.all()).order_by("-finalized_at")
    job_ids = list(newest.values_list("pk", flat=True)[: MAX_RETRIED + 1])
    chosen = TransferJob.objects.filter(pk__in=job_ids[:MAX_RETRIED])
    done = actions.retry(chosen, by=caller_of(request).actor)
    return RetriedMany(done.retried, done.superseded, more=len(job_ids) > MAX_RETRIED)


@router.get("/jobs/{job_id}", response={200: JobWithHistory, **refusals(404, 422)})
def read_job(request: HttpRequest, job_id: Path[Id]) -> JobWithHistory:
    """Return one job with its unsuccessful tries and its proof."""
    related = ("rule__source", "rule__destination")
    job = models.Job.objects.select_related(*related).filter(pk=job_id).first()
    if job is None:
        raise no_such_job(job_id)
    return JobWithHistory(
        job=_job(job),
        tries=[_try(one) for one in job.tries],
        proof=proof_of(job) if job.state == JobState.COMPLETED else None,
    )


@router.post("/jobs/{job_id}/retry", response={200: Retried, **refusals(403, 404, 409, 422)})
def retry_job(request: HttpRequest, job_id: Path[Id]) -> Retried:
    """Retry a failed job, with all its tries."""
    done = actions.retry(_in_state(job_id, JobState.FAILED), by=caller_of(request).actor)
    if not done.retried + done.superseded:
        raise _not_in_state(job_id, JobState.FAILED)
    return done


@router.post("/jobs/{job_id}/cancel", response={200: Cancelled, **refusals(403, 404, 409, 422)})
def cancel_job(request: HttpRequest, job_id: Path[Id]) -> Cancelled:
    """Cancel a pending job; the next event for its key creates a new one."""
    cancelled = actions.cancel(_in_state(job_id, JobState.PENDING), by=caller_of(request).actor)
    if not cancelled:
        raise _not_in_state(job_id, JobState.PENDING)
    return Cancelled(cancelled)


def _rule_ids(request: HttpRequest, name: str | None) -> frozenset[int] | None:
    """The id of the named rule, or those of the caller's; None: of all rules.

    Refuse an unknown name: a typo must not look like an empty list.
    """
    if name:
        return frozenset([find_rule(request, name).get().pk])
    return caller_of(request).rule_ids


def _in_state(job_id: int, state: JobState) -> QuerySet[TransferJob]:
    """A query for this job of the queue only.

    Raises:
        Refused: 404 if there is no such job, 409 if it is in another state.
    """
    found = models.Job.objects.filter(pk=job_id).values_list("state", flat=True).first()
    if found is None:
        raise no_such_job(job_id)
    if found != state:
        raise _not_in_state(job_id, state)
    return TransferJob.objects.filter(pk=job_id)


def _not_in_state(job_id: int, state: JobState) -> Refused:
    return Refused(
        409, "wrong_state", f"Job {job_id} is not {state.value}, so nothing was changed."
    )


def _job(job: models.Job) -> Job:
    values: dict[str, Any] = {
        name: getattr(job, name)
        for name in (
            *("id", "key", "size_bytes", "awaits_confirmation"),
            *("event_at", "enqueued_at", "started_at", "error_code", "error_detail"),
        )
    }
    return Job(
        **values,
        rule=job.rule.name,
        state=JobState(job.state),
        outcome=Outcome(job.outcome) if job.outcome else None,
        origin=JobOrigin(job.origin),
        unsuccessful_tries=job.attempt,
        tries_at_most=job.attempt_limit,
        due_at=job.available_at,
        finished_at=job.finalized_at,
        cause=job.error.cause if job.error else "",
        hint=job.error.hint if job.error else "",
    )


def _try(one: models.Try) -> Try:
    return Try(**vars(one), cause=one.cause, hint=one.hint)
