"""Pages of jobs, newest first; each page reads few rows, however many there are.

No page counts rows. If no index serves a filter, a page scans a limited number of jobs, and its
cursor says where to continue.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from django.db.models import Q, QuerySet

from replication.api.cursors import Cursor, read_cursor
from replication.models import FINAL_STATES, Job, JobFields, JobState

AnyJob = TypeVar("AnyJob", bound=JobFields)

# Takes some tens of milliseconds.
MAX_SCANNED = 50_000


@dataclass(frozen=True)
class JobFilter:
    """Which jobs to list; an empty field matches any job, but an empty set of rules none."""

    state: JobState | None = None
    rule_ids: frozenset[int] | None = None
    error: str = ""
    prefix: str = ""

    @property
    def is_ordered_by_end(self) -> bool:
        """Whether an index lists the jobs by their end; otherwise they are listed by id."""
        return self.state in FINAL_STATES

    @property
    def needs_scan(self) -> bool:
        """Whether no index finds the jobs, so that a page must scan other jobs too."""
        return (
            self.state in {None, JobState.COMPLETED}
            and (self.rule_ids is not None or bool(self.error))
            and not self.prefix
        )

    def apply(self, jobs: QuerySet[AnyJob]) -> QuerySet[AnyJob]:
        """The jobs that match the filter."""
        if self.state:
            jobs = jobs.filter(state=self.state)
        if self.rule_ids is not None:
            jobs = jobs.filter(rule__in=self.rule_ids)
        if self.error:
            jobs = jobs.filter(error_code=self.error)
        if self.prefix:
            jobs = jobs.filter(key__startswith=self.prefix)
        return jobs


@dataclass(frozen=True)
class Page:
    """Some jobs; `next_cursor` is empty on the last page. Another page may have no jobs, too."""

    jobs: Sequence[Job]
    next_cursor: str


def read_page(wanted: JobFilter, *, cursor: str, limit: int) -> Page:
    """Read at most `limit` jobs.

    Raises:
        Refused: 422 for a cursor that is not from this list.
    """
    jobs = Job.objects.select_related("rule")
    after = read_cursor(cursor, has_time=wanted.is_ordered_by_end) if cursor else None
    if after:
        jobs = _after(jobs, after)
    scan_end = _scan_end(wanted, after) if wanted.needs_scan else None
    if scan_end:
        jobs = (
            jobs.filter(finalized_at__gte=scan_end.at)
            if scan_end.at
            else jobs.filter(id__gte=scan_end.id)
        )
    order = ("-finalized_at", "-id") if wanted.is_ordered_by_end else ("-id",)
    found = list(wanted.apply(jobs).order_by(*order)[: limit + 1])
    if len(found) > limit:
        last = found[limit - 1]
        end = Cursor(last.finalized_at if wanted.is_ordered_by_end else None, last.pk)
        return Page(found[:limit], str(end))
    return Page(found, str(scan_end) if scan_end else "")


def _after(jobs: QuerySet[Job], cursor: Cursor) -> QuerySet[Job]:
    if cursor.at is None:
        return jobs.filter(id__lt=cursor.id)
    # The first condition uses the index; the second separates jobs with the same end time.
    return jobs.filter(
        Q(finalized_at__lte=cursor.at), Q(finalized_at__lt=cursor.at) | Q(id__lt=cursor.id)
    )


def _scan_end(wanted: JobFilter, after: Cursor | None) -> Cursor | None:
    """Where a scan must stop; None if it may run to the end of the list."""
    if not wanted.is_ordered_by_end:
        newest = next(iter(Job.objects.order_by("-id").values_list("id", flat=True)[:1]), None)
        oldest = next(iter(Job.objects.order_by("id").values_list("id", flat=True)[:1]), None)
        if newest is None or oldest is None:
            return None
        lowest: int = (after.id if after else newest + 1) - MAX_SCANNED
        return Cursor(None, lowest) if lowest > oldest else None
    ended = Job.objects.filter(state=wanted.state)
    if after:
        ended = ended.filter(finalized_at__lte=after.at)
    # An index answers this without reading the table.
    ends = ended.order_by("-finalized_at").values_list("finalized_at", flat=True)
    last_end = next(iter(ends[MAX_SCANNED : MAX_SCANNED + 1]), None)
    return Cursor(last_end, 0) if last_end else None
