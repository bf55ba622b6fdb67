"""Lists, reads, starts, paces, pauses, resumes and cancels sweeps, and lists their findings."""

from collections.abc import Callable
from datetime import time
from typing import Annotated, Any, Literal

from django.db.models import QuerySet
from django.http import HttpRequest
from ninja import Field, Path, Query, Router, Schema
from ninja import Status as Answer
from pydantic import AfterValidator

from replication.api.authentication import caller_of
from replication.api.cursors import Cursor, invalid_cursor, read_cursor
from replication.api.refusals import Refused, no_such_sweep, refusals
from replication.api.rules import find_rule
from replication.api.sweep_reports import (
    FindingPage,
    SweepPage,
    SweepReport,
    finding_of,
    report_of,
    summary_of,
)
from replication.api.values import MAX_ID, Body, Id, Name, Text
from replication.models import FindingState, Sweep, SweepKind, SweepLevel, SweepState
from replication.operations import sweeps as operations
from replication.sweep.causes import Cause
from replication.sweep.judging import Verdict
from replication.sweep.lifecycle import CantStart

router = Router(tags=["sweeps"])

MAX_LISTED = 500
MAX_SETTLE_SECONDS = 86_400


def _check_window(text: str) -> str:
    began, until = text.split("-")
    if began == until:
        raise ValueError("begins and ends at the same time, so that the sweep would never run")
    return text


_TIME = r"([01]\d|2[0-3]):[0-5]\d"
Window = Annotated[str, Field(pattern=f"^{_TIME}-{_TIME}$"), AfterValidator(_check_window)]


class SweepQuery(Schema):
    rule: Name | None = Field(None, description="The rule's name")
    state: SweepState | None = None
    limit: int = Field(100, ge=1, le=MAX_LISTED)
    cursor: Text = Field("", description="The next_cursor of the previous page")


class FindingQuery(Schema):
    verdict: Verdict | None = None
    cause: Cause | None = None
    state: FindingState | None = None
    limit: int = Field(100, ge=1, le=MAX_LISTED)
    cursor: Text = Field("", description="The next_cursor of the previous page")


class Limits(Body):
    """What a sweep may take; null is no limit."""

    requests_per_second: float | None = Field(
        None, ge=0.1, le=1e6, description="To each side, of all hosts together"
    )
    window: Window | None = Field(
        None,
        description="The times of the day to run, in UTC",
        json_schema_extra={"example": "22:00-06:00"},
    )
    most_requests: int | None = Field(
        None, ge=1, le=MAX_ID, description="To both sides together; then the sweep pauses"
    )

    def as_fields(self) -> dict[str, Any]:
        """The limits that the caller named, as fields of a sweep."""
        fields = self.model_dump(include=set(Limits.model_fields), exclude_unset=True)
        if "window" in fields:
            began, _, until = (fields.pop("window") or "").partition("-")
            fields["window_from"] = time.fromisoformat(began) if began else None
            fields["window_until"] = time.fromisoformat(until) if until else None
        return fields


class SweepOrder(Limits):
    """A backfill always mends missing and different keys; mends_extras implies mends."""

    kind: Literal[SweepKind.BACKFILL, SweepKind.RECONCILE]
    mends: bool = False
    mends_extras: bool = False
    level: SweepLevel = SweepLevel.LISTING
    prefix: Text = ""
    settle_seconds: int = Field(900, ge=0, le=MAX_SETTLE_SECONDS)

    def as_fields(self) -> dict[str, Any]:
        """What the sweep is to do, as fields of a sweep; without those at their defaults."""
        fields = super().as_fields() | self.model_dump(
            include={"mends", "mends_extras", "level", "prefix", "settle_seconds"},
            exclude_defaults=True,
        )
        if self.mends_extras or self.kind == SweepKind.BACKFILL:
            fields["mends"] = True
        return {name: value for name, value in fields.items() if value is not None}


@router.get("/sweeps", response={200: SweepPage, **refusals(404, 422)})
def list_sweeps(request: HttpRequest, query: Query[SweepQuery]) -> SweepPage:
    """List sweeps, newest first."""
    sweeps = caller_of(request).limit(Sweep.objects.select_related("rule"), "rule")
    sweeps = sweeps.order_by("-pk")
    if query.rule:
        sweeps = sweeps.filter(rule=find_rule(request, query.rule).get())
    if query.state:
        sweeps = sweeps.filter(state=query.state)
    if query.cursor:
        sweeps = sweeps.filter(pk__lt=read_cursor(query.cursor, has_time=False).id)
    found = list(sweeps[: query.limit + 1])
    page = found[: query.limit]
    return SweepPage([summary_of(one) for one in page], _next_cursor(found, page))


@router.get("/sweeps/{sweep_id}", response={200: SweepReport, **refusals(404, 422)})
def read_sweep(request: HttpRequest, sweep_id: Path[Id]) -> SweepReport:
    """Return the report of one sweep, as far as it is."""
    return _report(sweep_id)


@router.get("/sweeps/{sweep_id}/findings", response={200: FindingPage, **refusals(404, 422)})
def list_findings(
    request: HttpRequest, sweep_id: Path[Id], query: Query[FindingQuery]
) -> FindingPage:
    """List the keys that did not compare as equal, in their order: the first 100,000 of a sweep."""
    findings = _query(sweep_id).get().findings.order_by("key")
    if query.cursor:
        after = read_cursor(query.cursor, has_time=False).id
        last = findings.filter(pk=after).values_list("key", flat=True).first()
        if last is None:
            raise invalid_cursor()
        findings = findings.filter(key__gt=last)
    wanted = {"verdict": query.verdict, "cause": query.cause, "state": query.state}
    findings = findings.filter(**{name: value for name, value in wanted.items() if value})
    found = list(findings[: query.limit + 1])
    page = found[: query.limit]
    return FindingPage([finding_of(one) for one in page], _next_cursor(found, page))


@router.post("/rules/{name}/sweeps", response={202: SweepReport, **refusals(403, 404, 409, 422)})
def start_sweep(request: HttpRequest, name: Path[Name], order: SweepOrder) -> Answer[SweepReport]:
    """Start a backfill or a reconcile of the rule's buckets; a cluster begins within a minute."""
    rule = find_rule(request, name).select_related("source").get()
    if order.mends_extras and order.kind == SweepKind.BACKFILL:
        raise Refused(422, "invalid_request", "Only a reconcile can have mends_extras.")
    kind = SweepKind(order.kind)
    try:
        sweep = operations.start(rule, kind, by=caller_of(request).actor, **order.as_fields())
    except CantStart as error:
        raise Refused(409, "cant_start", str(error)) from error
    return Answer(202, _report(sweep.pk))


@router.patch("/sweeps/{sweep_id}", response={200: SweepReport, **refusals(403, 404, 409, 422)})
def change_limits(request: HttpRequest, sweep_id: Path[Id], limits: Limits) -> SweepReport:
    """Change limits of a sweep that is not over; null removes one, the others stay."""
    fields = limits.as_fields()
    if not fields:
        raise Refused(422, "invalid_request", "No limit is set, so nothing would change.")
    by = caller_of(request).actor
    if not operations.limit(_query(sweep_id), by=by, **fields):
        raise _wrong_state(sweep_id, "changed")
    return _report(sweep_id)


@router.post(
    "/sweeps/{sweep_id}/pause", response={200: SweepReport, **refusals(403, 404, 409, 422)}
)
def pause_sweep(request: HttpRequest, sweep_id: Path[Id]) -> SweepReport:
    """Pause a sweep until it is resumed."""
    return _operate(request, sweep_id, operations.pause, "paused")


@router.post(
    "/sweeps/{sweep_id}/resume", response={200: SweepReport, **refusals(403, 404, 409, 422)}
)
def resume_sweep(request: HttpRequest, sweep_id: Path[Id]) -> SweepReport:
    """Go on with a paused or failed sweep where it was; a spent budget is given once more."""
    return _operate(request, sweep_id, operations.resume, "resumed")


@router.post(
    "/sweeps/{sweep_id}/cancel", response={200: SweepReport, **refusals(403, 404, 409, 422)}
)
def cancel_sweep(request: HttpRequest, sweep_id: Path[Id]) -> SweepReport:
    """End a sweep where it is; jobs that it has made go on."""
    return _operate(request, sweep_id, operations.cancel, "cancelled")


def _operate(
    request: HttpRequest, sweep_id: int, action: Callable[..., int], done: str
) -> SweepReport:
    if not action(_query(sweep_id), by=caller_of(request).actor):
        raise _wrong_state(sweep_id, done)
    return _report(sweep_id)


def _query(sweep_id: int) -> QuerySet[Sweep]:
    """A query for this sweep only.

    Raises:
        Refused: 404.
    """
    sweep = Sweep.objects.filter(pk=sweep_id)
    if not sweep.exists():
        raise no_such_sweep(sweep_id)
    return sweep


def _wrong_state(sweep_id: int, done: str) -> Refused:
    sweep = _query(sweep_id).get()
    why = f"it is {sweep.get_state_display()}"
    if done == "resumed" and sweep.state in {SweepState.PAUSED, SweepState.FAILED}:
        why = "another sweep of its rule is under way"
    return Refused(409, "wrong_state", f"Sweep {sweep_id} can't be {done}: {why}.")


def _report(sweep_id: int) -> SweepReport:
    return report_of(_query(sweep_id).select_related("rule__source", "rule__destination").get())


def _next_cursor(found: list[Any], page: list[Any]) -> str:
    return str(Cursor(None, page[-1].pk)) if len(found) > len(page) else ""
